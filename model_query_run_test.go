package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// mqRun is one store with its graphs, and beside it the naive world that they are
// compared with. Three graphs share the cache: two processes of the present version and
// one of the next. The fourth has a cache of its own that is empty before every read. The
// oldest version has no cache, and what it writes the others are told of.
type mqRun struct {
	ctx       context.Context
	setup     mqSetup
	clock     *modelClock
	store     *backendtest.FaultyStore
	cache     *modelCache
	coldCache *memory.Cache
	graphs    [3]*graphcache.Graph
	cold, old *graphcache.Graph
	world     *mqWorld

	writing mqWriting // what is being written, for those that drop anchors
	walks   []mqWalk
	keys    map[string]string             // the answers to queries, by their keys, until the next write
	swept   map[string]map[string]mqQuery // by index, what sweep asks for
	checked int
	turn    int
}

// mqWriting is a write under way, and an object before it and after it, nil if it is not
// there.
type mqWriting struct {
	mqOp
	Objects       string // the kind
	Before, After map[string]*mqObject
}

// mqDrop chooses an anchor that a write is to leave out.
type mqDrop func(w mqWriting, kind string, a graphcache.AnchorType, id string) bool

// mqFault is a mutation of the engine.
type mqFault struct {
	drop    mqDrop
	uncheck bool
}

// mqSetup is what a run is made of. The zero mqSetup is backends in memory and an engine
// without a fault.
type mqSetup struct {
	fault mqFault
	store func(ctx context.Context) (driver.Store, error) // its clock is its own
	cache func() modelEvictable
	// vague: the store cannot tell which unique index a write breaks, and takes a nil in
	// one for a value like others. Such writes are left out.
	vague bool
	// locks: who writes what a transaction has written waits until it has ended.
	locks bool
}

// newMQRun opens the graphs. cacheBytes bounds the shared cache, 0 for the default.
func newMQRun(ctx context.Context, cacheBytes int, setup mqSetup) (*mqRun, error) {
	m := &mqRun{ctx: ctx, setup: setup, clock: &modelClock{now: modelBase.Add(3 * time.Millisecond)}, world: newMQWorld()}
	m.world.nilsCollide = setup.vague
	fault := setup.fault
	var store driver.Store = memory.NewStore(&memory.StoreOptions{Now: m.clock.Now})
	if setup.store != nil {
		var err error
		if store, err = setup.store(ctx); err != nil {
			return nil, err
		}
	}
	m.store = backendtest.NewFaultyStore(store, nil)
	var cache modelEvictable = memory.NewCache(&memory.CacheOptions{Now: m.clock.Now, MaxBytes: cacheBytes})
	if setup.cache != nil {
		cache = setup.cache()
	}
	m.cache = &modelCache{modelEvictable: cache}
	m.coldCache = memory.NewCache(&memory.CacheOptions{Now: m.clock.Now})
	var failed error
	open := func(version int, cache driver.Cache, near bool) *graphcache.Graph {
		opts := modelOptions(cache)
		opts.LookPeriod, opts.HoldTTL = time.Minute, 3*time.Minute // nobody learns of a generation by himself
		if near {
			opts.NearCache = modelNear
		}
		g, err := graphcache.Open(ctx, mqVersions[version].schema, m.store, opts)
		if err != nil {
			failed = errors.Join(failed, err)
			return nil
		}
		if fault.drop != nil {
			graphcache.DropAnchors(g, func(kind string, a graphcache.AnchorType, id string) bool {
				return fault.drop(m.writing, kind, a, id)
			})
		}
		if fault.uncheck {
			graphcache.Uncheck(g)
		}
		return g
	}
	near := setup.cache == nil // others tell of a hold when they have confirmed it
	m.graphs[0], m.graphs[1], m.graphs[2] = open(1, m.cache, false), open(1, m.cache, near), open(2, m.cache, near)
	m.cold, m.old = open(1, m.coldCache, false), open(0, nil, false)
	return m, failed
}

// close ends the graphs, and complains about holds that are left.
func (m *mqRun) close() error {
	for _, g := range append(m.graphs[:], m.cold, m.old) {
		if err := g.Close(m.ctx); err != nil {
			return err
		}
	}
	if n := m.cache.Tokens(); n > 0 {
		return fmt.Errorf("%d holds are left standing", n)
	}
	return m.store.Close(m.ctx)
}

// compare counts a comparison and returns what is wrong. wantErr is nil or a sentinel
// that the error must wrap; then the result does not count.
func (m *mqRun) compare(got string, err error, want string, wantErr error, format string, args ...any) error {
	m.checked++
	var taken *mqTaken
	switch {
	case wantErr != nil && errors.Is(err, wantErr):
		return nil
	case errors.As(wantErr, &taken) && errors.Is(err, graphcache.ErrExists) && strings.Contains(err.Error(), fmt.Sprintf("%q", taken.index)):
		return nil
	case err != nil || wantErr != nil:
		return &modelMismatch{fmt.Sprintf(format, args...), fmt.Sprintf("-error %v\n+error %v", wantErr, err)}
	case got == want:
		return nil
	}
	return &modelMismatch{fmt.Sprintf(format, args...), cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n"))}
}

// mqReader is somebody who reads: a graph or a transaction, and what it must see.
type mqReader struct {
	name  string
	conn  graphcache.Conn
	view  mqView
	fresh bool
	run   *mqRun
}

// versionOf returns the version of the program of one of the graphs.
func mqVersionOf(graph int) *mqVersion { return mqVersions[1+graph/2] }

func (m *mqRun) reader(graph int) mqReader {
	return mqReader{fmt.Sprintf("graph %d", graph), m.graphs[graph], mqView{m.world, mqVersionOf(graph)}, false, m}
}

func (m *mqRun) coldReader() mqReader {
	return mqReader{"cold graph", m.cold, mqView{m.world, mqPresent}, false, m}
}

// begin empties the cold cache if that is what the reader reads through.
func (r mqReader) begin() {
	if r.conn == graphcache.Conn(r.run.cold) {
		r.run.coldCache.Flush()
	}
}

// settle waits until what was read is in the cache, so that a run does the same every
// time.
func (r mqReader) settle() error {
	if g, ok := r.conn.(*graphcache.Graph); ok {
		return g.Settle(r.run.ctx)
	}
	return nil
}

func mqShowIDs(ids []string) string { return fmt.Sprintf("%q", ids) }

func mqShowAll(k *mqObjects, objects []*mqObject) string {
	lines := make([]string, len(objects))
	for i, o := range objects {
		lines[i] = k.show(o)
	}
	return strings.Join(lines, "\n")
}

func mqShowEdges(edges []mqEdge) string {
	lines := make([]string, len(edges))
	for i := range edges {
		lines[i] = edges[i].show()
	}
	return strings.Join(lines, "\n")
}

func mqIDsOf(objects []*mqObject) []string {
	ids := make([]string, len(objects))
	for i, o := range objects {
		ids[i] = o.ID
	}
	return ids
}

// mqObjectsIn and mqEdgesIn return what the rows have.
func mqObjectsIn(rows []*mqRow) []*mqObject {
	objects := make([]*mqObject, len(rows))
	for i, r := range rows {
		objects[i] = r.object
	}
	return objects
}

func mqEdgesIn(rows []*mqRow) []mqEdge {
	edges := make([]mqEdge, len(rows))
	for i, r := range rows {
		edges[i] = *r.edge
	}
	return edges
}

// mqTerminals are the calls that run a query.
var mqTerminals = []string{"IDs", "All", "Count", "Edges", "Exists", "With", "First", "WithObjects", "Only", "Pages", "Explain"}

// ask runs the query with one of the terminals and compares.
func (r mqReader) ask(q mqQuery, terminal string) error {
	built := q.build(r.view.mqVersion)
	if r.fresh {
		built = built.fresh()
	}
	r.begin()
	rows := r.view.rows(q)
	if err := r.askOf(q, built, terminal, rows); err != nil {
		return err
	}
	return r.settle()
}

func (r mqReader) askOf(q mqQuery, built mqRunnable, terminal string, rows []*mqRow) error {
	m, ctx, end := r.run, r.run.ctx, r.view.end(q)
	var got, want string
	var err, wantErr error
	noEdges := q.Hops[len(q.Hops)-1].Edge == ""
	switch {
	case terminal == "Pages":
		return r.askPages(q, built)
	case terminal == "Explain":
		return r.askExplain(q, built)
	case noEdges && (terminal == "Edges" || terminal == "WithObjects"):
		wantErr = graphcache.ErrInvalid
	}
	var object *mqObject
	switch terminal {
	case "IDs":
		var ids []string
		ids, err = built.ids(ctx, r.conn)
		got, want = mqShowIDs(ids), mqShowIDs(mqIDsOf(mqObjectsIn(rows)))
		if err := r.checkKey(built, want); err != nil {
			return err
		}
	case "All":
		var all []*mqObject
		all, err = built.all(ctx, r.conn)
		got, want = mqShowAll(end, all), mqShowAll(end, mqObjectsIn(rows))
	case "With":
		var all, attached []*mqObject
		all, err = built.with(r.view.attachments(q.With)).all(ctx, r.conn)
		for _, row := range rows {
			attached = append(attached, r.view.attached(row.object, q.With))
		}
		got, want = mqShowAll(end, all), mqShowAll(end, attached)
	case "Edges":
		var edges []mqEdge
		edges, err = built.edges(ctx, r.conn)
		if wantErr == nil {
			got, want = mqShowEdges(edges), mqShowEdges(mqEdgesIn(rows))
		}
	case "WithObjects":
		var edges []mqEdge
		var all []*mqObject
		edges, all, err = built.withObjects(ctx, r.conn)
		if wantErr == nil {
			got = mqShowEdges(edges) + "\n" + mqShowAll(end, all)
			want = mqShowEdges(mqEdgesIn(rows)) + "\n" + mqShowAll(end, mqObjectsIn(rows))
		}
	case "Count":
		var n int
		n, err = built.count(ctx, r.conn)
		got, want = fmt.Sprint(n), fmt.Sprint(len(rows))
	case "Exists":
		var ok bool
		ok, err = built.exists(ctx, r.conn)
		got, want = fmt.Sprint(ok), fmt.Sprint(len(rows) > 0)
	case "First", "Only":
		if terminal == "First" {
			object, err = built.first(ctx, r.conn)
		} else {
			object, err = built.only(ctx, r.conn)
		}
		got = end.show(object)
		switch {
		case len(rows) == 0:
			wantErr = graphcache.ErrNotFound
		case len(rows) > 1 && terminal == "Only":
			wantErr = graphcache.ErrNotUnique
		default:
			want = end.show(rows[0].object)
		}
	}
	return m.compare(got, err, want, wantErr, "%s: %s of %v, fresh %v", r.name, terminal, q, r.fresh)
}

// checkKey sees that queries with the same key have the same answer.
func (r mqReader) checkKey(built mqRunnable, want string) error {
	if _, inTx := r.conn.(*graphcache.Tx); inTx || r.run.keys == nil {
		return nil
	}
	key, err := built.key()
	key = fmt.Sprint(r.view.n, key)
	if seen, ok := r.run.keys[key]; ok && seen != want && err == nil {
		err = &modelMismatch{"queries with the same key have different answers", cmp.Diff(seen, want)}
	}
	r.run.keys[key] = want
	return err
}

// askExplain sees that a query of which Explain says that everything is cached does not
// read the store.
func (r mqReader) askExplain(q mqQuery, built mqRunnable) error {
	plan := built.explain(r.run.ctx, r.conn)
	g, ok := r.conn.(*graphcache.Graph)
	cached := ok && plan.Err == nil
	for _, s := range plan.Steps {
		cached = cached && s.Starts >= 0
		for _, f := range s.Fragments {
			cached = cached && f.Source == graphcache.FromCache
		}
	}
	if err := r.run.compare(fmt.Sprint(len(plan.Steps)), plan.Err, fmt.Sprint(len(q.Hops)), nil, "%s: steps of the plan of %v", r.name, q); err != nil || !cached {
		return err
	}
	before := g.Stats().StoreReads
	_, err := built.all(r.run.ctx, r.conn)
	return r.run.compare(fmt.Sprint(g.Stats().StoreReads-before), err, "0", nil,
		"%s: store reads of %v, of which Explain said that all is cached:\n%v", r.name, q, plan)
}

// pageable says whether there are pages of the query.
func (q mqQuery) pageable() bool {
	last := q.Hops[len(q.Hops)-1]
	return last.Limit > 0 && (len(q.Hops) == 1 || len(last.Order) > 0)
}

// askPages compares all pages together with all results.
func (r mqReader) askPages(q mqQuery, built mqRunnable) error {
	last := q.Hops[len(q.Hops)-1]
	rows := r.view.results(q, last, r.view.starts(q))
	want := mqObjectsIn(rows[min(last.Offset, len(rows)):])
	k := r.view.end(q)
	var all []*mqObject
	for cursor := ""; ; {
		page, next, err := built.page(r.run.ctx, r.conn, cursor)
		if !q.pageable() {
			return r.run.compare("", err, "", graphcache.ErrInvalid, "%s: page of %v", r.name, q)
		}
		all = append(all, page...)
		wanted := want[min(len(all)-len(page), len(want)):min(len(all)-len(page)+last.Limit, len(want))]
		if err := r.run.compare(mqShowAll(k, page), err, mqShowAll(k, wanted), nil, "%s: page after %d of %v, fresh %v", r.name, len(all)-len(page), q, r.fresh); err != nil {
			return err
		}
		if err := r.run.compare(fmt.Sprint(next != ""), nil, fmt.Sprint(len(all) < len(want)), nil, "%s: whether a page follows the one that ends at %d of %v", r.name, len(all), q); err != nil {
			return err
		}
		if cursor = next; cursor == "" {
			return nil
		}
		r.begin()
	}
}

// mqWalk is a reader of pages while the graph changes.
type mqWalk struct {
	q      mqQuery
	cursor string
	last   *mqRow // the last one that was read, as it was then
}

// next reads the next page, which must be what follows the last row now.
func (w *mqWalk) next(r mqReader) error {
	last := w.q.Hops[len(w.q.Hops)-1]
	starts := r.view.starts(w.q)
	rows := r.view.results(w.q, last, starts)
	if w.cursor == "" {
		rows = rows[min(last.Offset, len(rows)):]
	} else {
		rows = slices.DeleteFunc(rows, func(row *mqRow) bool { return r.view.compare(w.q, last, row, w.last, starts) <= 0 })
	}
	more := len(rows) > last.Limit
	rows = rows[:min(last.Limit, len(rows))]
	page, next, err := w.q.build(r.view.mqVersion).page(r.run.ctx, r.conn, w.cursor)
	k := r.view.end(w.q)
	if err := r.run.compare(mqShowAll(k, page), err, mqShowAll(k, mqObjectsIn(rows)), nil, "%s: the next page of %v", r.name, w.q); err != nil {
		return err
	}
	if err := r.run.compare(fmt.Sprint(next != ""), nil, fmt.Sprint(more), nil, "%s: whether a page follows the next one of %v", r.name, w.q); err != nil {
		return err
	}
	if w.cursor = next; next != "" {
		w.last = rows[len(rows)-1]
	}
	return r.settle()
}

// askNext asks with the terminals in turn.
func (r mqReader) askNext(q mqQuery) error {
	r.run.turn++
	return r.ask(q, mqTerminals[r.run.turn%len(mqTerminals)])
}

// maxSwept is for how many entries of an index sweep asks.
const maxSwept = 20

// sweep asks for what is under every value of the index's first column and under its
// entries, those included that there were earlier.
func (r mqReader) sweep(ix mqIndexOf) error {
	k := r.view.kind(ix.Kind)
	if r.run.swept == nil {
		r.run.swept = map[string]map[string]mqQuery{}
	}
	queries := r.run.swept[ix.name]
	if queries == nil {
		queries = map[string]mqQuery{}
		r.run.swept[ix.name] = queries
	}
	add := func(preds ...mqPred) {
		if len(queries) < maxSwept {
			q := mqQuery{Kind: ix.Kind, Hops: []mqHop{{Where: preds}}}
			queries[q.String()] = q
		}
	}
	first := k.column(ix.columns[0])
	for i := range min(first.args, maxSwept/2) {
		add(mqEquality(first, i))
	}
	if k.scans {
		add(mqPred{Op: "ge", Column: "score", Args: []int{1}})
	}
	for _, id := range slices.Sorted(maps.Keys(r.view.mqWorld.objects[ix.Kind])) {
		o := r.view.object(k, id)
		var preds []mqPred
		for _, name := range ix.columns {
			c := k.column(name)
			for i := range c.args {
				if p := mqEquality(c, i); c.match(o, p.Op, p.Args) {
					preds = append(preds, p)
					break
				}
			}
		}
		if len(preds) == len(ix.columns) {
			add(preds...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(queries)) {
		r.run.turn++
		if err := r.ask(queries[name], []string{"IDs", "Count"}[r.run.turn%2]); err != nil {
			return err
		}
	}
	return nil
}

// mqEquality is the condition that an index on the column decides.
func mqEquality(c *mqColumn, arg int) mqPred {
	p := mqPred{Op: "eq", Column: c.name, Args: []int{arg}}
	if slices.Contains(c.ops, "has") {
		p.Op = "has"
	}
	return p
}

// objects compares Get and GetMany of the objects of a kind.
func (r mqReader) objects(k *mqObjects) error {
	r.begin()
	got, err := k.getMany(r.run.ctx, r.conn, k.ids)
	want := make([]*mqObject, len(k.ids))
	for i, id := range k.ids {
		want[i] = r.view.object(k, id)
	}
	if err := r.run.compare(mqShowAll(k, got), err, mqShowAll(k, want), nil, "%s: all of kind %s", r.name, k.name); err != nil {
		return err
	}
	return r.settle()
}

// run runs the program and compares after every step. It returns how many answers were
// compared, and the first that was wrong.
func (p mqProgram) run(ctx context.Context, setup mqSetup) (checked int, err error) {
	m, err := newMQRun(ctx, p.CacheBytes, setup)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	for _, o := range p.Objects {
		o.What = "put"
		if err := m.apply(o); err != nil {
			return m.checked, fmt.Errorf("at the start: %v: %w", o, err)
		}
	}
	for _, o := range p.Edges {
		o.What = "add"
		if err := m.apply(o); err != nil {
			return m.checked, fmt.Errorf("at the start: %v: %w", o, err)
		}
	}
	m.checked = 0
	for _, q := range p.Paged {
		m.walks = append(m.walks, mqWalk{q: q})
	}
	for i, s := range append([]mqStep{{mqOp{What: "nothing"}, p.Queries[0]}}, p.Steps...) {
		if err := m.apply(s.mqOp); err != nil {
			return m.checked, fmt.Errorf("step %d, %v: %w", i-1, s.mqOp, err)
		}
		if err := p.check(m, s, i); err != nil {
			return m.checked, fmt.Errorf("after step %d, %v: %w", i-1, s.mqOp, err)
		}
	}
	return m.checked, nil
}

// check asks the program's queries and the step's own.
func (p mqProgram) check(m *mqRun, s mqStep, i int) error {
	m.keys = map[string]string{}
	for graph := range m.graphs {
		r := m.reader(graph)
		for _, q := range p.Queries {
			if err := r.askNext(q); err != nil {
				return err
			}
		}
	}
	asking := m.reader(s.Graph)
	for _, terminal := range mqTerminals {
		if err := asking.ask(s.Query, terminal); err != nil {
			return err
		}
	}
	for _, ix := range p.Indexes {
		if err := m.reader(i % 2).sweep(ix); err != nil {
			return err
		}
		if i%3 > 0 {
			continue
		}
		if err := m.reader(2).sweep(ix); err != nil {
			return err
		}
	}
	for j := range m.walks {
		if err := m.walks[j].next(m.reader((i + j) % 2)); err != nil {
			return err
		}
	}
	fresh := asking
	fresh.fresh = true
	for _, q := range append(p.Queries[:1:1], s.Query) {
		if err := errors.Join(m.coldReader().askNext(q), fresh.askNext(q)); err != nil {
			return err
		}
	}
	for _, k := range asking.view.mqVersion.objects {
		if err := asking.objects(k); err != nil {
			return err
		}
	}
	return nil
}
