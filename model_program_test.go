package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/graphcache/graphcache"
)

// modelProgram is a random run: the queries that are asked again and again, and
// the steps between.
type modelProgram struct {
	Kinds      []string // the edge kinds that it uses
	CacheBytes int
	Edges      []modelOp // that are there at the start
	Queries    []modelPath
	Steps      []modelStep
}

// modelStep is a change of the graph or of the cache, and a query that has not been
// asked before.
type modelStep struct {
	modelOp
	Query modelPath
}

// modelOp is one operation. It uses the fields that it needs.
type modelOp struct {
	What     string
	Graph    int // which of the graphs writes
	Space    int // the namespace
	Kind     string
	From, To string // of an edge; From is also the ID of an object
	Other    string // the kind to change to
	Time     time.Time
	N        int
	Tx       []modelOp
}

// The programs of a failure are printed in this form.

func (p modelProgram) GoString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "kinds %q, cache of %d bytes\n", p.Kinds, p.CacheBytes)
	for _, e := range p.Edges {
		fmt.Fprintf(&b, "\t%v\n", e)
	}
	for _, q := range p.Queries {
		fmt.Fprintf(&b, "\task %v\n", q)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "\t%d: %v\n\t\task %v\n", i, s.modelOp, s.Query)
	}
	return b.String()
}

func (o modelOp) String() string {
	s := fmt.Sprintf("%s on graph %d/%d", o.What, o.Graph, o.Space)
	if o.Kind != "" {
		s = fmt.Sprintf("%s %s %q", o.What, o.Kind, o.From)
		if o.To != "" {
			s += fmt.Sprintf(" to %q at %s", o.To, modelTimeString(o.Time))
		}
		s += fmt.Sprintf(" on graph %d/%d", o.Graph, o.Space)
	}
	if o.Other != "" {
		s += " to kind " + o.Other
	}
	for _, inner := range o.Tx {
		s += fmt.Sprintf("; %v", inner)
	}
	return fmt.Sprintf("%s, n %d", s, o.N)
}

func (p modelPath) String() string {
	s := fmt.Sprintf("%q", p.Start)
	if len(p.Start) > 9 {
		s = fmt.Sprintf("%d objects", len(p.Start))
	}
	for _, h := range p.Hops {
		s += fmt.Sprintf(" → %v", h)
	}
	return s
}

func (h modelHop) String() string {
	s := h.Kind + ".Out"
	if h.In {
		s = h.Kind + ".In"
	}
	for _, n := range []struct {
		name string
		n    int
	}{{"LimitPer", h.LimitPer}, {"Offset", h.Offset}, {"Limit", h.Limit}} {
		if n.n > 0 {
			s += fmt.Sprintf(".%s(%d)", n.name, n.n)
		}
	}
	if h.Distinct {
		s += ".Distinct()"
	}
	if !h.Since.IsZero() {
		s += fmt.Sprintf(".Since(%s)", modelTimeString(h.Since))
	}
	if !h.Until.IsZero() {
		s += fmt.Sprintf(".Until(%s)", modelTimeString(h.Until))
	}
	return s
}

// modelTimeString prints a time as its distance from modelBase.
func modelTimeString(t time.Time) string {
	if t.IsZero() {
		return "none"
	}
	return t.Sub(modelBase).String()
}

// modelTimes are the times that edges get: few, so that many are equal, one before
// 1970, one in another zone with parts of a millisecond, and none at all, for
// which the store's clock steps in.
var modelTimes = []time.Time{
	{}, modelBase, modelBase.Add(1 * time.Millisecond), modelBase.Add(2 * time.Millisecond),
	modelBase.Add(3 * time.Millisecond), modelBase.Add(time.Hour),
	time.Date(1931, 7, 1, 0, 0, 0, int(time.Millisecond), time.UTC),
	modelBase.Add(2*time.Millisecond + 700*time.Microsecond).In(time.FixedZone("east", 3600)),
}

// The weights of the operations are the number of times they are named.
var (
	modelEdgeOps = []string{
		"add", "add", "add", "add", "add", "add", "add", "remove", "remove", "rekind", "rekind",
	}
	modelObjectOps = []string{"create", "create", "put", "put stale", "update", "update", "delete"}
	modelCacheOps  = []string{"flush", "evict", "evict", "advance", "advance"}
)

// modelOneEdge draws an edge to be added.
func modelOneEdge(kinds []string) *rapid.Generator[modelOp] {
	return rapid.Custom(func(t *rapid.T) modelOp {
		k := modelKindNamed(rapid.SampledFrom(kinds).Draw(t, "kind"))
		return modelOp{
			What: "add", Kind: k.name, N: rapid.IntRange(0, 9).Draw(t, "n"),
			From: rapid.SampledFrom(k.from.ids).Draw(t, "from"), To: rapid.SampledFrom(k.to.ids).Draw(t, "to"),
			Time: rapid.SampledFrom(modelTimes).Draw(t, "time"),
		}
	})
}

// modelOneWrite draws a single write with one of the kinds.
func modelOneWrite(kinds []string) *rapid.Generator[modelOp] {
	return rapid.Custom(func(t *rapid.T) modelOp {
		k := modelKindNamed(rapid.SampledFrom(kinds).Draw(t, "kind"))
		what := modelEdgeOps
		if rapid.IntRange(0, 3).Draw(t, "sort") == 3 {
			what = modelObjectOps
		}
		op := modelOp{What: rapid.SampledFrom(what).Draw(t, "what"), Kind: k.name, N: rapid.IntRange(0, 9).Draw(t, "n")}
		if slices.Contains(modelObjectOps, op.What) {
			end := rapid.SampledFrom([]*modelObjects{k.from, k.to}).Draw(t, "end")
			op.Kind, op.From = end.name, rapid.SampledFrom(end.ids).Draw(t, "id")
			return op
		}
		op.From, op.To = rapid.SampledFrom(k.from.ids).Draw(t, "from"), rapid.SampledFrom(k.to.ids).Draw(t, "to")
		op.Time = rapid.SampledFrom(modelTimes).Draw(t, "time")
		if op.What != "rekind" {
			return op
		}
		for _, other := range modelKinds {
			if k.family != "" && other.family == k.family && other != k {
				op.Other = other.name
				return op
			}
		}
		op.What = "add"
		return op
	})
}

// modelAnyOp draws an operation, now and then a transaction or a change of the
// cache alone.
func modelAnyOp(kinds []string) *rapid.Generator[modelOp] {
	return rapid.Custom(func(t *rapid.T) modelOp {
		var op modelOp
		switch rapid.IntRange(0, 9).Draw(t, "class") {
		case 9:
			op.What = rapid.SampledFrom([]string{"tx", "tx", "rollback"}).Draw(t, "what")
			op.Tx = rapid.SliceOfN(modelOneWrite(kinds), 1, 5).Draw(t, "tx")
		case 8:
			op.What, op.N = rapid.SampledFrom(modelCacheOps).Draw(t, "what"), rapid.IntRange(0, 20).Draw(t, "n")
		default:
			op = modelOneWrite(kinds).Draw(t, "write")
		}
		op.Graph = rapid.IntRange(0, 1).Draw(t, "graph")
		op.Space = rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "space")
		return op
	})
}

// modelAnyPath draws a query of one to three hops.
func modelAnyPath(kinds []string) *rapid.Generator[modelPath] {
	return rapid.Custom(func(t *rapid.T) modelPath {
		type step struct {
			kind *modelKind
			in   bool
		}
		var end *modelObjects
		var p modelPath
		for range rapid.SampledFrom([]int{1, 1, 2, 2, 3}).Draw(t, "hops") {
			var steps []step
			for _, name := range kinds {
				k := modelKindNamed(name)
				if end == nil || k.from == end {
					steps = append(steps, step{k, false})
				}
				if end == nil || k.to == end {
					steps = append(steps, step{k, true})
				}
			}
			s := rapid.SampledFrom(steps).Draw(t, "kind")
			start := s.kind.from
			if end = s.kind.to; s.in {
				start, end = s.kind.to, s.kind.from
			}
			if p.Start == nil {
				p.Start = rapid.SliceOfN(rapid.SampledFrom(start.ids), rapid.SampledFrom([]int{1, 1, 4}).Draw(t, "at least"), 5).Draw(t, "start")
			}
			h := modelAnyHop.Draw(t, "hop")
			h.Kind, h.In = s.kind.name, s.in
			p.Hops = append(p.Hops, h)
		}
		return p
	})
}

var modelAnyHop = rapid.Custom(func(t *rapid.T) modelHop {
	h := modelHop{Distinct: rapid.Bool().Draw(t, "distinct")}
	small := rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3, 6})
	if rapid.Bool().Draw(t, "limits") {
		h.LimitPer, h.Offset, h.Limit = small.Draw(t, "per"), small.Draw(t, "offset"), small.Draw(t, "limit")
	}
	if rapid.IntRange(0, 2).Draw(t, "bounds") == 2 {
		h.Since, h.Until = rapid.SampledFrom(modelTimes).Draw(t, "since"), rapid.SampledFrom(modelTimes).Draw(t, "until")
	}
	return h
})

// modelAnyProgram draws a program that uses some of the kinds, one to three at a
// time so that the same lists are written and read often.
func modelAnyProgram(from []string, steps int) *rapid.Generator[modelProgram] {
	return rapid.Custom(func(t *rapid.T) modelProgram {
		kinds := rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, min(3, len(from)), rapid.ID[string]).Draw(t, "kinds")
		kinds = modelWithFamilies(kinds)
		atLeast := rapid.SampledFrom([]int{1, steps / 2, steps / 2, steps / 2}).Draw(t, "at least")
		return modelProgram{
			Kinds:      kinds,
			CacheBytes: rapid.SampledFrom([]int{0, 0, 0, 12 << 10}).Draw(t, "cache bytes"),
			Edges:      rapid.SliceOfN(modelOneEdge(kinds), 0, 30).Draw(t, "edges"),
			Queries:    rapid.SliceOfN(modelAnyPath(kinds), 4, 6).Draw(t, "queries"),
			Steps: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) modelStep {
				return modelStep{modelAnyOp(kinds).Draw(t, "op"), modelAnyPath(kinds).Draw(t, "query")}
			}), atLeast, steps).Draw(t, "steps"),
		}
	})
}

// modelDenseProgram draws a program that has many edges and queries, and no steps.
var modelDenseProgram = rapid.Custom(func(t *rapid.T) modelProgram {
	kinds := rapid.SliceOfNDistinct(rapid.SampledFrom(modelKindNames()), 1, 2, rapid.ID[string]).Draw(t, "kinds")
	return modelProgram{
		Kinds:   kinds,
		Edges:   rapid.SliceOfN(modelOneEdge(kinds), rapid.SampledFrom([]int{1, 60}).Draw(t, "at least"), 80).Draw(t, "edges"),
		Queries: rapid.SliceOfN(modelAnyPath(kinds), rapid.SampledFrom([]int{1, 40}).Draw(t, "at least"), 60).Draw(t, "queries"),
	}
})

// modelWithFamilies adds the kinds that edges of the kinds given can change to.
func modelWithFamilies(kinds []string) []string {
	all := slices.Clone(kinds)
	for _, name := range kinds {
		for _, k := range modelKinds {
			if k.family != "" && k.family == modelKindNamed(name).family && !slices.Contains(all, k.name) {
				all = append(all, k.name)
			}
		}
	}
	return all
}

// modelKindNames are the names of all edge kinds.
func modelKindNames() []string {
	var names []string
	for _, k := range modelKinds {
		names = append(names, k.name)
	}
	return names
}

// run runs the program and compares after every step. It returns how many answers
// were compared, and the first that was wrong.
func (p modelProgram) run(ctx context.Context, drop modelDrop) (checked int, err error) {
	m, err := newModelRun(ctx, p.CacheBytes, drop)
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, m.close())
	}()
	if err := p.populate(m); err != nil {
		return m.checked, fmt.Errorf("at the start: %w", err)
	}
	for _, q := range p.Queries {
		for _, terminal := range modelTerminals {
			if err := m.view(0, 0).ask(q, terminal); err != nil {
				return m.checked, fmt.Errorf("at the start: %w", err)
			}
		}
	}
	for i, s := range p.Steps {
		if err := m.apply(s.modelOp); err != nil {
			return m.checked, fmt.Errorf("step %d, %v: %w", i, s.modelOp, err)
		}
		if err := p.check(m, s, i); err != nil {
			return m.checked, fmt.Errorf("after step %d, %v: %w", i, s.modelOp, err)
		}
	}
	return m.checked, nil
}

// populate creates most objects in both namespaces, and edges in one. The first
// object of each kind is left to be found missing.
func (p modelProgram) populate(m *modelRun) error {
	for space := range modelSpaces {
		for _, k := range modelObjectKinds {
			for i, id := range k.ids[1:] {
				if err := m.apply(modelOp{What: "create", Kind: k.name, From: id, N: i, Space: space}); err != nil {
					return err
				}
			}
		}
	}
	for _, e := range p.Edges {
		if err := m.apply(e); err != nil {
			return fmt.Errorf("%v: %w", e, err)
		}
	}
	return nil
}

// check asks the program's queries and the step's own of everybody, and looks
// closely at what the step has written.
func (p modelProgram) check(m *modelRun, s modelStep, i int) error {
	for graph := range m.graphs {
		v := m.view(graph, s.Space)
		for _, q := range p.Queries {
			if err := v.askNext(q); err != nil {
				return err
			}
		}
		for _, terminal := range modelTerminals {
			if err := v.ask(s.Query, terminal); err != nil {
				return err
			}
		}
		if err := m.look(v, s.modelOp); err != nil {
			return err
		}
		if err := v.sweep(p.Kinds); err != nil {
			return err
		}
	}
	cold := m.coldView(s.Space)
	for _, q := range append(p.Queries, s.Query) {
		if err := cold.askNext(q); err != nil {
			return err
		}
	}
	if i%4 > 0 {
		return nil
	}
	return p.checkNow(m, s)
}

// checkNow asks the store itself, a transaction, and the other namespace.
func (p modelProgram) checkNow(m *modelRun, s modelStep) error {
	fresh := m.view(s.Graph, s.Space)
	fresh.fresh = true
	for _, q := range append(p.Queries, s.Query) {
		if err := fresh.askNext(q); err != nil {
			return err
		}
	}
	if err := m.look(fresh, s.modelOp); err != nil {
		return err
	}
	if err := m.view(s.Graph, 1-s.Space).sweep(p.Kinds); err != nil {
		return err
	}
	return m.graphs[s.Graph][s.Space].Tx(m.ctx, func(tx *graphcache.Tx) error {
		v := m.view(s.Graph, s.Space)
		v.name, v.conn = "transaction on "+v.name, tx
		if err := v.askNext(s.Query); err != nil {
			return err
		}
		return m.look(v, s.modelOp)
	})
}

// look reads what the operation has written, by every way that leads there.
func (m *modelRun) look(v modelView, op modelOp) error {
	for _, inner := range op.Tx {
		if err := m.look(v, inner); err != nil {
			return err
		}
	}
	if slices.Contains(modelObjectOps, op.What) {
		return v.object(modelObjectsNamed(op.Kind), op.From)
	}
	for _, name := range []string{op.Kind, op.Other} {
		if name == "" || op.From == "" {
			continue
		}
		k := modelKindNamed(name)
		low, high := modelTimes[op.N%len(modelTimes)], op.Time
		if err := errors.Join(
			v.edge(k, op.From, op.To),
			v.edges(k, op.From, append([]string{op.To, op.To}, k.to.ids[op.N%2:]...)),
			v.shortcuts(k, op.From, op.N%3, op.N%4, high, low),
		); err != nil {
			return err
		}
	}
	return nil
}

// apply does the operation to the graph and to the naive world, and compares what
// it returns.
func (m *modelRun) apply(op modelOp) error {
	g := m.graphs[op.Graph][op.Space]
	switch op.What {
	case "flush":
		m.cache.Flush()
		return nil
	case "evict":
		m.cache.evict(op.N)
		return nil
	case "advance":
		m.clock.Advance(modelAdvance(op.N))
		return nil
	case "tx", "rollback":
		return m.transaction(g, op)
	}
	return m.write(g, m.worlds[op.Space], op)
}

// modelAdvance is how far the clock moves: sometimes only past an edge, else so far that
// values end.
func modelAdvance(n int) time.Duration {
	return time.Duration(n%3) * (7*time.Minute + time.Millisecond)
}

var errModelRollback = errors.New("the transaction is to be rolled back")

// transaction does several writes at once, and reads in between what they have
// done.
func (m *modelRun) transaction(g *graphcache.Graph, op modelOp) error {
	var world *modelWorld
	var mismatch error
	err := g.Tx(m.ctx, func(tx *graphcache.Tx) error {
		world = m.worlds[op.Space].clone()
		v := modelView{"in the transaction", tx, world, false, op.Space, m}
		for _, inner := range op.Tx {
			mismatch = errors.Join(m.write(tx, world, inner), m.look(v, inner))
			if mismatch != nil {
				return mismatch
			}
			m.writing = modelWriting{modelOp: op} // also what the commit writes
		}
		if op.What == "rollback" {
			return errModelRollback
		}
		return nil
	})
	switch {
	case mismatch != nil:
		return mismatch
	case op.What == "rollback" && errors.Is(err, errModelRollback):
		return nil
	case err != nil || op.What == "rollback":
		return &modelMismatch{"the end of the transaction", fmt.Sprint(err)}
	}
	m.worlds[op.Space] = world
	return nil
}

// write does one write.
func (m *modelRun) write(c graphcache.Conn, w *modelWorld, op modelOp) error {
	if slices.Contains(modelObjectOps, op.What) {
		m.writing = modelWriting{modelOp: op}
		return m.writeObject(c, w, op)
	}
	k := modelKindNamed(op.Kind)
	m.writing = modelWriting{modelOp: op}
	if i := w.inTheWay(k, op.From, op.To); i >= 0 {
		m.writing.Old = w.edges[k.name][i].To
	}
	switch op.What {
	case "add":
		e := modelEdge{op.From, op.To, op.Time, k.data(op.N)}
		got, err := k.add(m.ctx, c, e)
		if e.Time.IsZero() {
			e.Time = m.clock.Now()
		}
		want, wantErr := w.add(k, e)
		return m.compare(got, err, want, wantErr, "created")
	case "remove":
		err := k.remove(m.ctx, c, op.From, op.To)
		return m.compare(nil, err, nil, w.remove(k, op.From, op.To), "remove")
	case "rekind":
		other := modelKindNamed(op.Other)
		err := k.rekind(m.ctx, c, op.From, op.To, other)
		return m.compare(nil, err, nil, w.rekind(k, other, op.From, op.To), "change kind")
	}
	panic("no operation " + op.What)
}

func (m *modelRun) writeObject(c graphcache.Conn, w *modelWorld, op modelOp) error {
	k := modelObjectsNamed(op.Kind)
	objects := w.objects[k.name]
	present := objects[op.From] != nil
	var o any
	var err, wantErr error
	switch op.What {
	case "create":
		if present {
			wantErr = graphcache.ErrExists
		}
		o, err = k.create(m.ctx, c, op.From, op.N)
	case "put":
		o, err = k.put(m.ctx, c, op.From, op.N, false)
	case "put stale":
		if k.versioned {
			wantErr = graphcache.ErrConflict
		}
		o, err = k.put(m.ctx, c, op.From, op.N, k.versioned)
	case "update":
		if !present {
			wantErr = graphcache.ErrNotFound
		}
		o, err = k.update(m.ctx, c, op.From, op.N)
	case "delete":
		err = k.delete(m.ctx, c, op.From)
		return m.compare(nil, err, nil, w.delete(k, op.From), "delete")
	}
	if err == nil {
		objects[op.From] = o
	}
	return m.compare(nil, err, nil, wantErr, "%s", op.What)
}
