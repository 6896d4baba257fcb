package graphcache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// Graph gives access to the objects and edges of one store through one cache. It
// is safe for concurrent use, and meant to be opened once and shared.
type Graph struct {
	shared  *shared
	store   driver.Store
	space   keyspace
	objects map[*objectKind]*boundKind
	edges   map[*edgeKind]*boundKind
	kinds   map[string]*boundKind // all of them, by name
}

// shared is what a graph and its namespaces have in common.
type shared struct {
	opts        Options
	schema      *Schema
	counters    map[string]*kindCounters
	flights     flights
	loads       chan struct{}               // one element for each store read under way
	releases    chan struct{}               // one for each refused write whose marks are being taken off
	closing     chan struct{}               // closed by Close
	stopLooking func(context.Context) error // nil if there are no looks

	stopWatching func() // ends the watch for rewinds of the cache; nil if it cannot tell

	watches sync.WaitGroup // calls of Watch; none begins once the graph is closed

	ledger      driver.Ledger // nil if the store has none
	looks       looks
	journal     journal
	near        *near // nil if there is none
	stopNear    func(context.Context) error
	registry    registry
	generations map[string]*atomic.Uint64 // of the kinds, by name

	dropped   func(anchor) bool // set by tests
	unchecked bool              // set by tests

	storeReads, storeWrites, cacheErrors, cacheRewinds, foreignChanges atomic.Int64

	mu         sync.Mutex // protects what follows
	closed     bool
	running    int           // writes, transactions and background work under way; grows only while not closed
	idle       chan struct{} // closed when running falls to 0, if anybody waits for that
	namespaces map[string]*Graph
}

// boundKind is a kind as one graph uses it.
type boundKind struct {
	name        string
	object      *objectKind // one of object and edge is set
	edge        *edgeKind
	fingerprint uint64
	prefixes    [kindAnchor + 1]string // of anchor keys
	counters    *kindCounters
	space       keyspace
	generation  *atomic.Uint64
	indexes     []*index                    // of an object kind; writes hold the anchors of all of them
	building    *building                   // nil if the store has built all of them
	registered  *atomic.Pointer[registered] // of an object kind
}

func (k *boundKind) plan() *plan.Plan {
	if k.edge != nil {
		return k.edge.plan
	}
	return k.object.plan
}

// anchorKey returns the key of one of the kind's anchors.
func (k *boundKind) anchorKey(t anchorType, id string) string {
	return anchorKeyAfter(k.prefixes[t], id)
}

// Open checks the schema and the options, prepares the store for the schema, and
// returns a graph. opts may be nil.
//
// The store and the cache stay the caller's to close, after the graph. Objects
// whose deletion an earlier process began and did not finish are removed in the
// background.
func Open(ctx context.Context, schema *Schema, store driver.Store, opts *Options) (*Graph, error) {
	if store == nil {
		return nil, fmt.Errorf("%w: open: the store is nil", ErrInvalid)
	}
	o := opts.withDefaults()
	if err := errors.Join(o.validate(), schema.validate()); err != nil {
		return nil, err
	}
	id, err := store.ID(ctx)
	if err != nil {
		return nil, fmt.Errorf("graphcache: open: identity of the store: %w", err)
	}
	s := &shared{
		opts: o, schema: schema,
		counters:    map[string]*kindCounters{},
		loads:       make(chan struct{}, o.MaxLoads),
		releases:    make(chan struct{}, maxReleases),
		closing:     make(chan struct{}),
		namespaces:  map[string]*Graph{},
		generations: map[string]*atomic.Uint64{},
	}
	s.flights.m = map[flightKey]*flight{}
	for _, k := range schema.objects {
		s.counters[k.name] = &kindCounters{kind: k.name, logger: o.Logger}
	}
	for _, k := range schema.edges {
		s.counters[k.name] = &kindCounters{kind: k.name, logger: o.Logger}
	}
	for name := range s.counters {
		s.generations[name] = new(atomic.Uint64)
	}
	s.looks.init()
	s.journal.init()
	s.registry.init(s)
	s.ledger, _ = store.(driver.Ledger)
	if o.NearCache != nil {
		s.near = newNear(s)
	}
	if err := s.openLedger(ctx); err != nil {
		return nil, err
	}
	g, err := s.open(ctx, store, keyspace{database: id})
	if err != nil {
		return nil, err
	}
	s.namespaces[""] = g
	if o.Cache != nil {
		s.keepUp()
		s.watchCache()
		s.startNear()
	}
	return g, nil
}

// open returns a graph on the store, which is a namespace's view or the store
// itself.
func (s *shared) open(ctx context.Context, store driver.Store, space keyspace) (*Graph, error) {
	if err := store.Ensure(ctx, s.schema.driver()); err != nil {
		return nil, fmt.Errorf("graphcache: open: prepare the store: %w", err)
	}
	g := s.bind(store, space)
	if err := g.resumeDeletes(ctx); err != nil {
		return nil, err
	}
	return g, nil
}

// bind returns a graph on a store that may not be prepared for it.
func (s *shared) bind(store driver.Store, space keyspace) *Graph {
	g := &Graph{
		shared: s, store: store, space: space,
		objects: make(map[*objectKind]*boundKind, len(s.schema.objects)),
		edges:   make(map[*edgeKind]*boundKind, len(s.schema.edges)),
		kinds:   make(map[string]*boundKind, len(s.schema.objects)+len(s.schema.edges)),
	}
	for _, k := range s.schema.objects {
		b := g.bind(k.name, k, nil, k.plan.Fingerprint(), objectAnchor, indexAnchor, kindAnchor)
		b.indexes, b.registered = s.schema.indexesOf(k), s.registry.kinds[k.name]
		b.building = newBuilding(store, b, s.opts.LookPeriod)
		g.objects[k] = b
	}
	for _, k := range s.schema.edges {
		g.edges[k] = g.bind(k.name, nil, k, k.plan.Fingerprint(), outAnchor, inAnchor)
	}
	return g
}

func (g *Graph) bind(name string, o *objectKind, e *edgeKind, fingerprint uint64, anchors ...anchorType) *boundKind {
	k := &boundKind{name: name, object: o, edge: e, fingerprint: fingerprint, counters: g.shared.counters[name], space: g.space, generation: g.shared.generations[name]}
	for _, t := range anchors {
		k.prefixes[t] = string(g.space.appendAnchorPrefix(nil, t, name))
	}
	g.kinds[name] = k
	return k
}

// MaxNamespaceLen is the length in bytes that a namespace's name may have.
const MaxNamespaceLen = 128

// Namespace returns a graph of the same schema whose records, cache keys and loads
// are apart from those of every other namespace: one tenant of several. The name is
// any UTF-8 string without NUL of up to [MaxNamespaceLen] bytes; the empty name is the
// graph that Open returned, and names are not nested. The first call for a name
// prepares the store; later ones return the same graph and cost a map look-up. Names
// must come from a bounded set: their graphs are kept until the graph is closed.
func (g *Graph) Namespace(ctx context.Context, name string) (*Graph, error) {
	if len(name) > MaxNamespaceLen || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
		return nil, fmt.Errorf("%w: namespace %.80q: up to %d bytes of UTF-8 without NUL", ErrInvalid, name, MaxNamespaceLen)
	}
	s := g.shared
	if s.isClosed() {
		return nil, errClosed
	}
	s.mu.Lock()
	n := s.namespaces[name]
	s.mu.Unlock()
	if n != nil {
		return n, nil
	}
	n, err := s.open(ctx, s.root().store.Namespace(name), keyspace{database: g.space.database, namespace: name})
	if err != nil {
		wrap(&err, "namespace", "", name)
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first := s.namespaces[name]; first != nil {
		return first, nil
	}
	s.namespaces[name] = n
	return n, nil
}

// Close stops the graph and all its namespaces, also if it is called on one of them,
// and waits until the writes, transactions, background work and calls of [Graph.Watch]
// under way have ended, or ctx has. Every later read and write returns [ErrUnavailable], those of a running
// transaction excepted. Close does not close the store and the cache. A second call
// does the same as the first. The function of a transaction must not call it: it would
// wait for itself.
func (g *Graph) Close(ctx context.Context) error {
	s := g.shared
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	if s.stopWatching != nil {
		s.stopWatching()
	}
	if s.near != nil {
		s.near.close()
	}
	err := s.wait(ctx)
	if err == nil {
		err = s.waitForWatches(ctx)
	}
	for _, stop := range []func(context.Context) error{s.stopLooking, s.stopNear} {
		if stop == nil {
			continue
		}
		if stopped := stop(ctx); err == nil {
			err = stopped
		}
	}
	if err == nil && s.journal.any.Load() {
		s.drain(ctx) // what is left is in the store, for others
	}
	if err != nil {
		return fmt.Errorf("graphcache: close: work is still under way: %w", err)
	}
	return nil
}

// Settle waits until nothing is under way: above all, until the values that reads have
// loaded are in the cache, but also for writes and transactions of other goroutines. A
// test calls it between a read that fills and one that it expects to hit. The function
// of a transaction must not call it: it would wait for itself.
func (g *Graph) Settle(ctx context.Context) error {
	if err := g.shared.wait(ctx); err != nil {
		return fmt.Errorf("graphcache: settle: %w", err)
	}
	return nil
}

// wait returns when nothing is running, or with ctx's error.
func (s *shared) wait(ctx context.Context) error {
	s.mu.Lock()
	if s.running == 0 {
		s.mu.Unlock()
		return nil
	}
	if s.idle == nil {
		s.idle = make(chan struct{})
	}
	idle := s.idle
	s.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// root returns the graph that Open returned.
func (s *shared) root() *Graph {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.namespaces[""]
}

var errClosed = fmt.Errorf("%w: the graph is closed", ErrUnavailable)

// isClosed reports whether Close has been called.
func (s *shared) isClosed() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

// begin registers work that Close waits for; the caller ends it with end. It
// reports false when the graph is closed.
func (s *shared) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running++
	return true
}

func (s *shared) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	if s.running == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
}

// spawn runs f in the background. It reports false when the graph is closed.
func (s *shared) spawn(f func()) bool {
	if !s.begin() {
		return false
	}
	go func() {
		defer s.end()
		f()
	}()
	return true
}

// untilClosed returns a context that also ends when the graph is being closed.
func (s *shared) untilClosed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// boundObject returns the kind as this graph uses it.
func (g *Graph) boundObject(k *objectKind) (*boundKind, error) {
	if b := g.objects[k]; b != nil {
		return b, nil
	}
	return nil, g.notInSchema("object", k.name)
}

// notInSchema is the error for a kind that the graph does not have.
func (g *Graph) notInSchema(what, name string) error {
	if g.shared.counters[name] != nil {
		return fmt.Errorf("%w: the graph's schema has another kind %q: was this one replaced by what CacheScans, ToOne, Symmetric or Family returned?", ErrSchema, name)
	}
	return fmt.Errorf("%w: %s kind %q is not in the graph's schema", ErrSchema, what, name)
}

// boundEdge returns the kind as this graph uses it.
func (g *Graph) boundEdge(k *edgeKind) (*boundKind, error) {
	if b := g.edges[k]; b != nil {
		return b, nil
	}
	return nil, g.notInSchema("edge", k.name)
}

// panicError is a panic of a backend, carried to the reader that caused the call.
type panicError struct {
	value any
	stack []byte
}

func newPanicError(v any) *panicError { return &panicError{value: v, stack: debug.Stack()} }

func (p *panicError) Error() string {
	return fmt.Sprintf("graphcache: a backend panicked: %v\n\n%s", p.value, p.stack)
}
