package graphcache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// The registry is kept in the store (driver.Ledger) and lists what the live versions of
// the program cache under besides objects and edge lists: indexes, by their columns, and
// kinds with CacheScans. Every write holds the anchors of all of them, which it can
// compute from the document, also of those that its own program does not know; so when
// versions live side by side, whatever one of them caches the others invalidate.
//
// A process caches under an index only when the registry says that it is ready: every
// writer has looked since it was registered, and no write from before can still be
// applied. Whoever has known the entry for that long says so. What is the first to be
// registered of a kind is ready at once, as no other version can be writing the kind.

// registered is what the registry means for one object kind. It is never modified.
type registered struct {
	indexes []*index // of other versions
	alien   bool     // one of them has a field that this version does not know
	scans   bool     // this or another version has CacheScans
	fields  []string // names at the top of a document that the indexes depend on, its own included

	unready   []*index // of this version, under which nothing may be cached yet
	scanReady bool
}

// registry is what a process knows of it.
type registry struct {
	s     *shared
	own   []driver.RegistryEntry
	kinds map[string]*atomic.Pointer[registered] // of objects, by name
	epoch atomic.Int64                           // changes with what writes have to hold

	mu      sync.Mutex
	there   map[specKey]bool      // what the last look has shown, and whether it is ready
	first   map[specKey]time.Time // when what is not ready was first seen
	renewed time.Time
}

type specKey struct{ kind, spec string }

// renewPeriod is how often a process renews its entries. It is short compared to
// driver.RegistryTTL.
const renewPeriod = time.Hour

// init describes the schema. Without a ledger nobody else caches under anything.
func (r *registry) init(s *shared) {
	r.s, r.kinds, r.first = s, map[string]*atomic.Pointer[registered]{}, map[specKey]time.Time{}
	for _, k := range s.schema.objects {
		r.own = append(r.own, driver.RegistryEntry{Kind: k.name, Spec: describedSpec(k.describe())})
		for _, ix := range s.schema.indexesOf(k) {
			r.own = append(r.own, driver.RegistryEntry{Kind: k.name, Spec: ix.spec()})
		}
		if k.scans {
			r.own = append(r.own, driver.RegistryEntry{Kind: k.name, Spec: scansSpec()})
		}
		r.kinds[k.name] = new(atomic.Pointer[registered])
		r.kinds[k.name].Store(r.of(k, nil))
	}
	for _, k := range s.schema.edges {
		r.own = append(r.own, driver.RegistryEntry{Kind: k.name, Spec: describedSpec(k.describe())})
	}
}

// register adds this process's entries, or renews them.
func (r *registry) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, r.s.opts.LoadTimeout)
	defer cancel()
	if err := r.s.ledger.Register(ctx, r.own); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.renewed = time.Now()
	return nil
}

// see takes in what a look has found.
func (r *registry) see(entries []driver.RegistryEntry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	there := make(map[specKey]bool, len(entries))
	for _, e := range entries {
		there[specKey{e.Kind, e.Spec}] = e.Ready
	}
	if maps.Equal(there, r.there) {
		return
	}
	r.there = there
	for key, ready := range there {
		if _, known := r.first[key]; !known && !ready {
			r.first[key] = time.Now()
		}
	}
	maps.DeleteFunc(r.first, func(key specKey, _ time.Time) bool {
		ready, known := there[key]
		return ready || !known
	})
	for _, k := range r.s.schema.objects {
		r.kinds[k.name].Store(r.of(k, there))
	}
	r.epoch.Add(1) // afterwards, so that who reads it first computes by no older kinds
}

// of returns what the entries mean for a kind. If they are nil, there is no registry.
func (r *registry) of(k *objectKind, there map[specKey]bool) *registered {
	reg := &registered{scans: k.scans, scanReady: k.scans && (there == nil || there[specKey{k.name, scansSpec()}])}
	all := r.s.schema.indexesOf(k)
	own, known := map[string]bool{}, k.columnsOf()
	for _, ix := range all {
		own[ix.spec()] = true
	}
	for _, key := range slices.SortedFunc(maps.Keys(there), func(a, b specKey) int { return strings.Compare(a.spec, b.spec) }) {
		if key.kind != k.name || own[key.spec] {
			continue
		}
		ix, scans, err := k.readSpec(key.spec)
		switch {
		case err != nil:
			r.s.opts.Logger.Error("graphcache: another version of the program has registered what this one cannot read: what that caches may be stale", "kind", k.name, "error", err)
		case ix != nil:
			reg.indexes = append(reg.indexes, ix)
			reg.alien = reg.alien || slices.ContainsFunc(ix.columns, func(c *column) bool { return known[c.key] == nil })
		case scans:
			reg.scans = true
		}
	}
	reg.fields = fieldsOf(append(all, reg.indexes...))
	r.setUnready(reg, k, there)
	return reg
}

// setUnready notes the kind's own indexes that are not ready. They are those that plans
// know, which are made anew for each graph, so they go by their spec.
func (r *registry) setUnready(reg *registered, k *objectKind, there map[specKey]bool) {
	if there == nil {
		return
	}
	for _, ix := range r.s.schema.indexesOf(k) {
		if !there[specKey{k.name, ix.spec()}] {
			reg.unready = append(reg.unready, ix)
		}
	}
}

// isReady reports whether values may be cached under the index.
func (reg *registered) isReady(ix *index) bool {
	return !slices.ContainsFunc(reg.unready, func(u *index) bool { return u.spec() == ix.spec() })
}

// readyAfter is how long after something was registered no write is under way that does
// not know of it: the look of the longest may be one and a half periods old, it tries to
// mark its anchors, to journal them, waits for others to look, writes, and journals that
// it does not know the outcome.
func (o *Options) readyAfter() time.Duration { return 4*o.LookPeriod + 3*o.HoldTTL }

// keep renews what this process has registered when it is time, or if it is gone, and says
// what has become ready.
func (r *registry) keep(ctx context.Context) error {
	r.mu.Lock()
	renew := time.Since(r.renewed) > renewPeriod
	var ready []driver.RegistryEntry
	var lost []string
	wait := r.s.opts.readyAfter()
	doubted := r.s.doubted()
	for _, e := range r.own {
		key := specKey{e.Kind, e.Spec}
		isReady, there := r.there[key]
		switch first := r.first[key]; {
		case !there:
			renew, lost = true, append(lost, e.Kind)
		case !isReady && !doubted && time.Since(first) > wait:
			e.Ready = true
			ready = append(ready, e)
		}
	}
	r.mu.Unlock()
	if len(lost) > 0 {
		// What was cached before may be old: nobody has invalidated it since.
		if err := r.s.raiseAndLook(ctx, distinct(lost)); err != nil {
			return err
		}
	}
	if renew {
		if err := r.register(ctx); err != nil {
			return err
		}
	}
	if len(ready) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.s.lookTimeout())
	defer cancel()
	if err := r.s.ledger.Register(ctx, ready); err != nil {
		return err
	}
	return r.s.look(ctx)
}

// kindNames returns the names of all kinds that this or another version knows.
func (r *registry) kindNames() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := map[string]bool{}
	for _, e := range r.own {
		names[e.Kind] = true
	}
	for key := range r.there {
		names[key.kind] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// A spec is [format, type, …] in MessagePack.
const specFormat = 1

const (
	specKind  = "kind"
	specIndex = "index"
	specScans = "scans"
)

func appendSpec(typ string, parts uint32) []byte {
	b := msgp.AppendArrayHeader(nil, 2+parts)
	b = msgp.AppendInt(b, specFormat)
	return msgp.AppendString(b, typ)
}

func scansSpec() string { return string(appendSpec(specScans, 0)) }

// spec describes the columns of the index: [[[name…], [[older name…]…], zero, list]…].
func (ix *index) spec() string {
	b := appendSpec(specIndex, 1)
	b = msgp.AppendArrayHeader(b, uint32(len(ix.columns)))
	for _, c := range ix.columns {
		b = msgp.AppendArrayHeader(b, 4)
		b = appendStrings(b, c.Path)
		b = msgp.AppendArrayHeader(b, uint32(len(c.Was)))
		for _, was := range c.Was {
			b = appendStrings(b, was)
		}
		b = appendValue(b, c.Zero)
		b = msgp.AppendBool(b, c.List)
	}
	return string(b)
}

func appendStrings(b []byte, list []string) []byte {
	b = msgp.AppendArrayHeader(b, uint32(len(list)))
	for _, s := range list {
		b = msgp.AppendString(b, s)
	}
	return b
}

var errSpec = errors.New("graphcache: malformed entry in the registry")

// readSpec reads what another version of the program has registered of the kind.
func (k *objectKind) readSpec(spec string) (ix *index, scans bool, err error) {
	r := &keyReader{b: []byte(spec)}
	parts := part(r, msgp.ReadArrayHeaderBytes)
	if format := r.int(); r.err != nil || format != specFormat {
		return nil, false, fmt.Errorf("%w: format %d", errSpec, format)
	}
	switch typ := r.string(); {
	case typ == specScans && parts == 2:
		return nil, true, r.end()
	case typ == specKind:
		return nil, false, nil
	case typ != specIndex || parts != 3:
		return nil, false, fmt.Errorf("%w: %d parts of type %.80q", errSpec, parts, typ)
	}
	ix = &index{kind: k}
	names := func() []string { return readAll(r, 1, r.string) }
	ix.columns = readAll(r, 4, func() *column {
		r.array(4)
		d := driver.Column{Path: names()}
		if d.Was = readAll(r, 1, names); d.Was != nil && len(d.Was) != len(d.Path) {
			r.fail()
		}
		d.Zero, d.List = r.value(), r.bool()
		return newColumn(recordKind{object: k}, nil, d)
	})
	if err := r.end(); err != nil {
		return nil, false, fmt.Errorf("%w: %w", errSpec, err)
	}
	if err := ix.checkRead(); err != nil {
		return nil, false, fmt.Errorf("%w: %w", errSpec, err)
	}
	ix.prefix = ix.makePrefix()
	return ix, false, nil
}

// checkRead says why an index that was read cannot be one of a document.
func (ix *index) checkRead() error {
	if n := len(ix.columns); n == 0 || n > maxIndexColumns {
		return fmt.Errorf("%d columns", n)
	}
	lists := 0
	for _, c := range ix.columns {
		if len(c.Path) == 0 {
			return errors.New("a column without a name")
		}
		if c.List {
			lists++
		}
		for _, name := range slices.Concat(append(slices.Clone(c.Was), c.Path)...) {
			if err := plan.CheckName(name); err != nil {
				return err
			}
		}
	}
	if lists > 1 {
		return errors.New("more than one slice")
	}
	return nil
}
