package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// modelSpaces are the namespaces of a run. What happens in one must not be seen in
// the other.
var modelSpaces = []string{"", "tenant"}

// modelClock is the clock of the store and of the caches. It moves only when a
// program says so.
type modelClock struct {
	mu  sync.Mutex // protects now
	now time.Time
}

func (c *modelClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *modelClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// modelEvictable is a cache that forgets when it is told to, and says how many tokens
// stand.
type modelEvictable interface {
	driver.Cache
	Evict(anchor string)
	Flush()
	Tokens() int
}

// modelCache remembers which anchors have had values, so that a program can evict
// one.
type modelCache struct {
	modelEvictable
	mu      sync.Mutex // protects anchors
	anchors []string
}

func (c *modelCache) Fill(ctx context.Context, fills []driver.Fill) ([]driver.Outcome, error) {
	c.mu.Lock()
	for _, f := range fills {
		c.anchors = append(c.anchors, f.Anchor)
	}
	c.mu.Unlock()
	return c.modelEvictable.Fill(ctx, fills)
}

// Notify is that of the cache.
func (c *modelCache) Notify(ctx context.Context, every time.Duration, n driver.Notices) error {
	return c.modelEvictable.(driver.Notifier).Notify(ctx, every, n)
}

// evict evicts the anchor of the n-th last fill.
func (c *modelCache) evict(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.anchors) > 0 {
		c.Evict(c.anchors[len(c.anchors)-1-n%len(c.anchors)])
	}
}

// modelRun is one store with its graphs, and beside it the naive worlds that they
// are compared with. Two graphs share the cache, like two processes. The third has
// a cache of its own that is empty before every read: what is wrong there is wrong
// without any staleness.
type modelRun struct {
	ctx       context.Context
	clock     *modelClock
	cache     *modelCache
	coldCache *memory.Cache
	graphs    [2][]*graphcache.Graph // by namespace
	cold      []*graphcache.Graph
	worlds    []*modelWorld

	// What is being written, for those that drop anchors.
	writing modelWriting
	checked int
	turn    int
}

// modelWriting is a write under way: its operation, and for an edge the far end of
// the one whose place it takes.
type modelWriting struct {
	modelOp
	Old string
}

// modelDrop chooses an anchor that a write is to leave out.
type modelDrop func(w modelWriting, kind string, a graphcache.AnchorType, id string) bool

// modelOptions are the options of every graph: with so much patience that a machine
// that is slow does not look like a cache that is down.
func modelOptions(cache driver.Cache) *graphcache.Options {
	return &graphcache.Options{
		Cache: cache, ReadTimeout: 2 * time.Second, LoadTimeout: 20 * time.Second, LeaseTTL: 30 * time.Second,
		HoldTimeout: 5 * time.Second, WriteTimeout: 20 * time.Second, HoldTTL: time.Minute, MaxAttempts: 1000,
	}
}

// modelNear is the near cache of one of the graphs. Caches in memory tell of a hold before
// they confirm it, so what it serves is as good as what they have.
var modelNear = &graphcache.NearCache{MaxStale: time.Minute}

// newModelRun opens the graphs. cacheBytes bounds the shared cache, 0 for the
// default.
func newModelRun(ctx context.Context, cacheBytes int, drop modelDrop) (*modelRun, error) {
	m := &modelRun{ctx: ctx, clock: &modelClock{now: modelBase.Add(3 * time.Millisecond)}}
	store := memory.NewStore(&memory.StoreOptions{Now: m.clock.Now})
	m.cache = &modelCache{modelEvictable: memory.NewCache(&memory.CacheOptions{Now: m.clock.Now, MaxBytes: cacheBytes})}
	m.coldCache = memory.NewCache(&memory.CacheOptions{Now: m.clock.Now})
	open := func(cache driver.Cache, near bool) ([]*graphcache.Graph, error) {
		opts := modelOptions(cache)
		if near {
			opts.NearCache = modelNear
		}
		root, err := graphcache.Open(ctx, modelSchema, store, opts)
		if err != nil {
			return nil, err
		}
		if drop != nil {
			graphcache.DropAnchors(root, func(kind string, a graphcache.AnchorType, id string) bool {
				return drop(m.writing, kind, a, id)
			})
		}
		var graphs []*graphcache.Graph
		for _, name := range modelSpaces {
			g, err := root.Namespace(ctx, name)
			if err != nil {
				return nil, err
			}
			graphs = append(graphs, g)
		}
		return graphs, nil
	}
	var errs [3]error
	m.graphs[0], errs[0] = open(m.cache, false)
	m.graphs[1], errs[1] = open(m.cache, true)
	m.cold, errs[2] = open(m.coldCache, false)
	for range modelSpaces {
		m.worlds = append(m.worlds, newModelWorld())
	}
	return m, errors.Join(errs[:]...)
}

// close ends the graphs, and complains about holds that are left.
func (m *modelRun) close() error {
	for _, graphs := range [][]*graphcache.Graph{m.graphs[0], m.graphs[1], m.cold} {
		if err := graphs[0].Close(m.ctx); err != nil {
			return err
		}
	}
	if n := m.cache.Tokens(); n > 0 {
		return fmt.Errorf("%d holds are left standing", n)
	}
	return nil
}

// modelMismatch is an answer that is not the naive one.
type modelMismatch struct {
	what string
	diff string
}

func (m *modelMismatch) Error() string { return fmt.Sprintf("%s (-want +got):\n%s", m.what, m.diff) }

// compare counts a comparison and returns what is wrong. wantErr is nil or a
// sentinel that the error must wrap; then the result does not count.
func (m *modelRun) compare(got any, err error, want any, wantErr error, format string, args ...any) error {
	m.checked++
	switch {
	case wantErr != nil && errors.Is(err, wantErr):
		return nil
	case err != nil || wantErr != nil:
		return &modelMismatch{fmt.Sprintf(format, args...), fmt.Sprintf("-error %v\n+error %v", wantErr, err)}
	case reflect.DeepEqual(got, want):
		return nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return &modelMismatch{fmt.Sprintf(format, args...), diff}
	}
	return nil
}

// modelView is somebody who reads: a graph or a transaction, and the world that it
// must see.
type modelView struct {
	name  string
	conn  graphcache.Conn
	world *modelWorld
	fresh bool
	space int
	run   *modelRun
}

func (m *modelRun) view(graph, space int) modelView {
	return modelView{fmt.Sprintf("graph %d, namespace %d", graph, space), m.graphs[graph][space], m.worlds[space], false, space, m}
}

func (m *modelRun) coldView(space int) modelView {
	return modelView{fmt.Sprintf("cold, namespace %d", space), m.cold[space], m.worlds[space], false, space, m}
}

// freshness is what the view passes to reads that take it as an argument.
func (v modelView) freshness() []graphcache.Freshness {
	if v.fresh {
		return []graphcache.Freshness{graphcache.Fresh}
	}
	return nil
}

// begin empties the cold cache if that is what the view reads through.
func (v modelView) begin() {
	if v.conn == graphcache.Conn(v.run.cold[v.space]) {
		v.run.coldCache.Flush()
	}
}

// settle waits until what was read is in the cache, so that a run does the same
// every time.
func (v modelView) settle() error {
	if g, ok := v.conn.(*graphcache.Graph); ok {
		return g.Settle(v.run.ctx)
	}
	return nil
}

// build makes the query.
func (p modelPath) build() modelQuery {
	var q modelQuery
	for i, h := range p.Hops {
		k := modelKindNamed(h.Kind)
		near, hop := k.from, k.out
		if h.In {
			near, hop = k.to, k.in
		}
		if i == 0 {
			q = hop(near.source(p.Start))
		} else {
			q = hop(q.source())
		}
		q = q.refine(h)
	}
	return q
}

// end returns the kind of the objects that the path leads to.
func (p modelPath) end() *modelObjects {
	h := p.Hops[len(p.Hops)-1]
	if k := modelKindNamed(h.Kind); h.In {
		return k.from
	} else {
		return k.to
	}
}

// modelTerminals are the calls that run a query.
var modelTerminals = []string{"IDs", "All", "Edges", "Count", "Exists", "First", "Only"}

// ask runs the query with one of the terminals and compares.
func (v modelView) ask(p modelPath, terminal string) error {
	m, ctx, q := v.run, v.run.ctx, p.build()
	if v.fresh {
		q = q.fresh()
	}
	v.begin()
	rows := v.world.rows(p)
	objects := v.world.objects[p.end().name]
	var got any
	var want any
	var err, wantErr error
	switch terminal {
	case "IDs":
		ids := make([]string, len(rows))
		for i, r := range rows {
			ids[i] = r.far
		}
		want = ids
		got, err = q.ids(ctx, v.conn)
	case "All":
		all := make([]any, len(rows))
		for i, r := range rows {
			all[i] = objects[r.far]
		}
		want = all
		got, err = q.all(ctx, v.conn)
	case "Edges":
		edges := make([]modelEdge, len(rows))
		for i, r := range rows {
			edges[i] = r.edge
		}
		want = edges
		got, err = q.edges(ctx, v.conn)
	case "Count":
		want = len(rows)
		got, err = q.count(ctx, v.conn)
	case "Exists":
		want = len(rows) > 0
		got, err = q.exists(ctx, v.conn)
	case "First":
		// The newest, whatever the limit.
		if len(rows) == 0 {
			wantErr = graphcache.ErrNotFound
		} else {
			want = objects[rows[0].far]
		}
		got, err = q.first(ctx, v.conn)
	case "Only":
		switch len(rows) {
		case 0:
			wantErr = graphcache.ErrNotFound
		case 1:
			want = objects[rows[0].far]
		default:
			wantErr = graphcache.ErrNotUnique
		}
		got, err = q.only(ctx, v.conn)
	}
	if err := m.compare(got, err, want, wantErr, "%s: %s of %v, fresh %v", v.name, terminal, p, v.fresh); err != nil {
		return err
	}
	return v.settle()
}

// askNext asks with the terminals in turn.
func (v modelView) askNext(p modelPath) error {
	v.run.turn++
	return v.ask(p, modelTerminals[v.run.turn%len(modelTerminals)])
}

// object compares Get of an object.
func (v modelView) object(k *modelObjects, id string) error {
	want := v.world.objects[k.name][id]
	var wantErr error
	if want == nil {
		wantErr = graphcache.ErrNotFound
	}
	v.begin()
	got, err := k.get(v.run.ctx, v.conn, id, v.freshness()...)
	if err := v.run.compare(got, err, want, wantErr, "%s: get %s %q, fresh %v", v.name, k.name, id, v.fresh); err != nil {
		return err
	}
	return v.settle()
}

// objects compares GetMany of objects.
func (v modelView) objects(k *modelObjects, ids []string) error {
	want := map[string]any{}
	for _, id := range ids {
		if o := v.world.objects[k.name][id]; o != nil {
			want[id] = o
		}
	}
	v.begin()
	got, err := k.getMany(v.run.ctx, v.conn, ids, v.freshness()...)
	if err := v.run.compare(got, err, want, nil, "%s: get many %s %q, fresh %v", v.name, k.name, ids, v.fresh); err != nil {
		return err
	}
	return v.settle()
}

// edge compares Get of an edge.
func (v modelView) edge(k *modelKind, from, to string) error {
	want, ok := v.world.between(k, from, to)
	var wantErr error
	if !ok {
		wantErr = graphcache.ErrNotFound
	}
	v.begin()
	got, err := k.get(v.run.ctx, v.conn, from, to, v.freshness()...)
	if err := v.run.compare(got, err, want, wantErr, "%s: get %s %q to %q, fresh %v", v.name, k.name, from, to, v.fresh); err != nil {
		return err
	}
	return v.settle()
}

// edges compares GetMany of edges.
func (v modelView) edges(k *modelKind, from string, to []string) error {
	want := map[string]modelEdge{}
	for _, id := range to {
		if e, ok := v.world.between(k, from, id); ok {
			want[id] = e
		}
	}
	v.begin()
	got, err := k.getMany(v.run.ctx, v.conn, from, to, v.freshness()...)
	if err := v.run.compare(got, err, want, nil, "%s: get many %s %q to %q, fresh %v", v.name, k.name, from, to, v.fresh); err != nil {
		return err
	}
	return v.settle()
}

// shortcuts compares Count, Range and TimeRange of an edge kind with the queries
// that they stand for.
func (v modelView) shortcuts(k *modelKind, from string, position, limit int, high, low time.Time) error {
	m, ctx := v.run, v.run.ctx
	edges := func(h modelHop) []modelEdge {
		h.Kind = k.name
		list := []modelEdge{}
		for _, r := range v.world.hop(h, []string{from}) {
			list = append(list, r.edge)
		}
		return list
	}
	v.begin()
	n, err := k.count(ctx, v.conn, from)
	if err := m.compare(n, err, len(edges(modelHop{})), nil, "%s: count %s %q", v.name, k.name, from); err != nil {
		return err
	}
	list, err := k.span(ctx, v.conn, from, position, limit)
	if err := m.compare(list, err, edges(modelHop{Offset: position, Limit: limit}), nil,
		"%s: range %s %q from %d limit %d", v.name, k.name, from, position, limit); err != nil {
		return err
	}
	list, err = k.times(ctx, v.conn, from, high, low, limit)
	if err := m.compare(list, err, edges(modelHop{Until: high, Since: low, Limit: limit}), nil,
		"%s: time range %s %q from %v to %v limit %d", v.name, k.name, from, high, low, limit); err != nil {
		return err
	}
	return v.settle()
}

// sweep compares every list of the kinds and every object at their ends. What is
// stale anywhere is found at the latest here.
func (v modelView) sweep(kinds []string) error {
	seen := map[*modelObjects]bool{}
	for _, name := range kinds {
		k := modelKindNamed(name)
		for _, p := range []modelPath{
			{k.from.ids, []modelHop{{Kind: name}}},
			{k.to.ids, []modelHop{{Kind: name, In: true}}},
		} {
			if err := v.ask(p, "Edges"); err != nil {
				return err
			}
		}
		for _, o := range []*modelObjects{k.from, k.to} {
			if seen[o] {
				continue
			}
			seen[o] = true
			if err := v.objects(o, o.ids); err != nil {
				return err
			}
		}
	}
	return nil
}
