package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/graphcache/graphcache"
)

// modelLong is a run on one long list: around the edges of what is cached of it,
// by number or by bytes.
type modelLong struct {
	Kind   string
	In     bool
	Size   int
	Spread int // how many different times the edges have
	Bytes  int // of an edge's data
	Asked  []modelQuestion
	Steps  []modelLongStep
}

// modelQuestion is a query of the list, its numbers relative to what is there when
// it is asked.
type modelQuestion struct {
	What          string
	Offset, Limit modelPosition
	Since, Until  modelPosition
	Parts         [4]bool // which of the four are asked for
	Distinct      bool
	PerParent     bool // Limit is LimitPer
}

// modelPosition is a place in the list: From a landmark, so many edges further.
type modelPosition struct{ From, Delta int }

// modelLandmarks are the places around which positions lie: the negative ones are
// parts of the list's length in percent.
var modelLandmarks = []int{0, graphcache.ShortPrefix, graphcache.LongPrefix, -33, -60, -100}

// in returns the position in a list of n edges.
func (p modelPosition) in(n int) int {
	from := p.From
	if from < 0 {
		from = -from * n / 100
	}
	return max(0, from+p.Delta)
}

// modelLongStep changes the list at a place, and asks one more question.
type modelLongStep struct {
	What     string
	At, To   modelPosition
	Graph    int
	Question modelQuestion
}

var (
	modelAnyPosition = rapid.Custom(func(t *rapid.T) modelPosition {
		return modelPosition{rapid.SampledFrom(modelLandmarks).Draw(t, "from"), rapid.IntRange(-2, 2).Draw(t, "delta")}
	})
	modelAnyQuestion = rapid.Custom(func(t *rapid.T) modelQuestion {
		q := modelQuestion{
			What:      rapid.SampledFrom([]string{"IDs", "All", "Edges", "Count", "Exists", "First", "edge", "edges", "shortcuts"}).Draw(t, "what"),
			Offset:    modelAnyPosition.Draw(t, "offset"),
			Limit:     modelAnyPosition.Draw(t, "limit"),
			Since:     modelAnyPosition.Draw(t, "since"),
			Until:     modelAnyPosition.Draw(t, "until"),
			Distinct:  rapid.Bool().Draw(t, "distinct"),
			PerParent: rapid.Bool().Draw(t, "per parent"),
		}
		for i := range q.Parts {
			q.Parts[i] = rapid.Bool().Draw(t, "part")
		}
		return q
	})
	modelAnyLongStep = rapid.Custom(func(t *rapid.T) modelLongStep {
		return modelLongStep{
			What:     rapid.SampledFrom([]string{"add", "remove", "move", "delete", "flush", "evict", "advance"}).Draw(t, "what"),
			At:       modelAnyPosition.Draw(t, "at"),
			To:       modelAnyPosition.Draw(t, "to"),
			Graph:    rapid.IntRange(0, 1).Draw(t, "graph"),
			Question: modelAnyQuestion.Draw(t, "question"),
		}
	})
)

// modelAnyLong draws a run on a list of about one of the sizes.
func modelAnyLong(sizes []int, dataBytes []int, steps int) *rapid.Generator[modelLong] {
	return rapid.Custom(func(t *rapid.T) modelLong {
		p := modelLong{
			Kind:  rapid.SampledFrom([]string{"follows", "friend", "boss"}).Draw(t, "kind"),
			Size:  rapid.SampledFrom(sizes).Draw(t, "size") + rapid.IntRange(-1, 3).Draw(t, "more"),
			Bytes: rapid.SampledFrom(dataBytes).Draw(t, "bytes"),
		}
		p.In = modelKindNamed(p.Kind).toOne || rapid.Bool().Draw(t, "in")
		p.Spread = rapid.SampledFrom([]int{1, 3, 1 + p.Size/4, 10 * p.Size}).Draw(t, "spread")
		p.Asked = rapid.SliceOfN(modelAnyQuestion, 4, 6).Draw(t, "asked")
		p.Steps = rapid.SliceOfN(modelAnyLongStep, 1, steps).Draw(t, "steps")
		return p
	})
}

func (p modelLong) GoString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d edges of kind %s, in %v, at %d times, of %d bytes\n", p.Size, p.Kind, p.In, p.Spread, p.Bytes)
	for _, q := range p.Asked {
		fmt.Fprintf(&b, "\task %+v\n", q)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "\t%d: %+v\n", i, s)
	}
	return b.String()
}

// modelHub is the object whose list it is. Its ID lies among those of the others,
// so that in a symmetric kind it is the lesser end of some edges and the greater
// of others.
const modelHub = "p0030"

func modelPeer(i int) string {
	id := fmt.Sprintf("p%04d", i)
	if id == modelHub {
		return "hub's neighbour"
	}
	return id
}

// modelLongRun is a modelLong that runs.
type modelLongRun struct {
	*modelRun
	modelLong
	kind  *modelKind
	peers int // how many have been made
}

// run runs the program; see modelProgram.run.
func (p modelLong) run(ctx context.Context, drop modelDrop) (checked int, err error) {
	m, err := newModelRun(ctx, -1, drop)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	r := modelLongRun{modelRun: m, modelLong: p, kind: modelKindNamed(p.Kind)}
	if err := r.populate(); err != nil {
		return m.checked, fmt.Errorf("at the start: %w", err)
	}
	m.checked = 0 // of the queries, not of the edges that were added
	for i, s := range p.Steps {
		if err := r.step(s); err != nil {
			return m.checked, fmt.Errorf("step %d, %+v: %w", i, s, err)
		}
	}
	return m.checked, nil
}

// populate makes the list.
func (r *modelLongRun) populate() error {
	g := r.graphs[0][0]
	if err := r.write(g, r.worlds[0], modelOp{What: "create", Kind: "user", From: modelHub}); err != nil {
		return err
	}
	for i := range r.Size {
		// A prime, so that the times are in no order.
		t := modelBase.Add(time.Duration(i*7919%r.Spread) * time.Millisecond)
		if err := r.add(g, t); err != nil {
			return err
		}
	}
	return nil
}

// add adds an edge to a new peer.
func (r *modelLongRun) add(c graphcache.Conn, t time.Time) error {
	peer := modelPeer(r.peers)
	r.peers++
	if err := r.write(c, r.worlds[0], modelOp{What: "create", Kind: "user", From: peer}); err != nil {
		return err
	}
	return r.write(c, r.worlds[0], r.op("add", peer, t))
}

// op returns an operation on the edge between the hub and the peer.
func (r *modelLongRun) op(what, peer string, t time.Time) modelOp {
	op := modelOp{What: what, Kind: r.Kind, From: modelHub, To: peer, Time: t, N: r.Bytes}
	if r.In {
		op.From, op.To = op.To, op.From
	}
	return op
}

// list returns the hub's list.
func (r *modelLongRun) list() []modelRow { return r.worlds[0].list(r.kind, r.In, modelHub) }

// at returns the edge at the position, or the last one; one out of nothing if there
// are none.
func (r *modelLongRun) at(p modelPosition) modelRow {
	list := r.list()
	if len(list) == 0 {
		return modelRow{far: modelPeer(0), edge: modelEdge{Time: modelBase}}
	}
	return list[min(p.in(len(list)), len(list)-1)]
}

// step changes the list, and then asks everything of everybody.
func (r *modelLongRun) step(s modelLongStep) error {
	if err := r.change(s); err != nil {
		return err
	}
	for _, v := range []modelView{r.view(0, 0), r.view(1, 0), r.coldView(0)} {
		for _, q := range append(r.Asked, s.Question) {
			if err := r.ask(v, q); err != nil {
				return err
			}
		}
	}
	return nil
}

// change makes the step's change. An edge that is added gets the time of the one
// that is there, and so comes to lie beside it.
func (r *modelLongRun) change(s modelLongStep) error {
	g, there := r.graphs[s.Graph][0], r.at(s.At)
	switch s.What {
	case "add":
		return r.add(g, there.edge.Time)
	case "remove":
		return r.write(g, r.worlds[0], r.op("remove", there.far, time.Time{}))
	case "move":
		return r.write(g, r.worlds[0], r.op("add", there.far, r.at(s.To).edge.Time))
	case "delete":
		return r.write(g, r.worlds[0], modelOp{What: "delete", Kind: "user", From: there.far})
	}
	return r.apply(modelOp{What: s.What, N: s.At.in(100)})
}

// ask asks one question.
func (r *modelLongRun) ask(v modelView, q modelQuestion) error {
	n := len(r.list())
	h := modelHop{Kind: r.Kind, In: r.In, Distinct: q.Distinct}
	if q.Parts[0] {
		h.Offset = q.Offset.in(n)
	}
	if q.Parts[1] {
		h.Limit = q.Limit.in(n)
	}
	if q.PerParent {
		h.Limit, h.LimitPer = 0, h.Limit
	}
	if q.Parts[2] {
		h.Since = r.at(q.Since).edge.Time
	}
	if q.Parts[3] {
		h.Until = r.at(q.Until).edge.Time
	}
	far := r.at(q.Offset).far
	near, other := modelHub, far
	if r.In {
		near, other = far, modelHub
	}
	switch q.What {
	case "edge":
		return v.edge(r.kind, near, other)
	case "edges":
		return v.edges(r.kind, near, []string{other, r.at(q.Limit).far, r.at(q.Since).far, modelPeer(0)})
	case "shortcuts":
		return v.shortcuts(r.kind, near, h.Offset, h.Limit, h.Until, h.Since)
	}
	return v.ask(modelPath{[]string{modelHub}, []modelHop{h}}, q.What)
}

// TestModelPrefixWork counts what it costs to read long lists. An answer is the same
// whether the cache gives it or the store, so no comparison of answers notices a
// prefix that does not grow, or is loaded again and again because it cannot.
func TestModelPrefixWork(t *testing.T) {
	tests := []struct {
		name        string
		size, bytes int
		// After the first hop the second must be answered by the cache.
		first, second modelHop
	}{
		{"short prefix", 100, 0, modelHop{Limit: 10}, modelHop{Offset: 50, Limit: 14}},
		{"short prefix, complete", 60, 0, modelHop{Limit: 10}, modelHop{}},
		{"grown", 200, 0, modelHop{Limit: 65}, modelHop{Offset: 100}},
		{"grown from short", 200, 0, modelHop{Offset: 60, Limit: 10}, modelHop{Offset: 150, Limit: 50}},
		{"long", 1100, 0, modelHop{Offset: 1000, Limit: 24}, modelHop{Offset: 70, Limit: 900}},
		{"beyond long", 1100, 0, modelHop{Offset: 1050, Limit: 10}, modelHop{Offset: 1050, Limit: 10}},
		{"all of a list beyond long", 1100, 0, modelHop{}, modelHop{}},
		{"all of a list cut by bytes", 60, graphcache.PrefixBytes / 20, modelHop{}, modelHop{}},
		{"an edge as large as the prefix", 2, graphcache.PrefixBytes, modelHop{}, modelHop{}},
		{"within bytes", 60, graphcache.PrefixBytes / 20, modelHop{Limit: 10}, modelHop{Offset: 5, Limit: 12}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := newModelRun(t.Context(), -1, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := modelLongRun{modelRun: m, modelLong: modelLong{Kind: "follows", Size: tt.size, Spread: tt.size, Bytes: tt.bytes}, kind: modelKindNamed("follows")}
			if err := r.populate(); err != nil {
				t.Fatal(err)
			}
			v, g := m.view(0, 0), m.graphs[0][0]
			if short := (modelHop{Kind: "follows", Limit: 1}); tt.name == "grown from short" {
				if err := v.ask(modelPath{[]string{modelHub}, []modelHop{short}}, "Edges"); err != nil {
					t.Fatal(err)
				}
			}
			tt.first.Kind, tt.second.Kind = "follows", "follows"
			if err := v.ask(modelPath{[]string{modelHub}, []modelHop{tt.first}}, "Edges"); err != nil {
				t.Fatal(err)
			}
			before := g.Stats().StoreReads
			if err := v.ask(modelPath{[]string{modelHub}, []modelHop{tt.second}}, "Edges"); err != nil {
				t.Fatal(err)
			}
			if n := g.Stats().StoreReads - before; n != 0 {
				t.Errorf("%v after %v: the store was read %d times", tt.second, tt.first, n)
			}
		})
	}
}

// modelCheckLong compares random long lists of about the sizes.
func modelCheckLong(t *testing.T, sizes, dataBytes []int, steps, floor int) {
	checked := 0
	for round := 0; round < *modelScale || modelTooFew(checked, floor) && round < 4**modelScale; round++ {
		rapid.Check(t, func(t *rapid.T) {
			n, err := modelAnyLong(sizes, dataBytes, steps).Draw(t, "program").run(t.Context(), nil)
			checked += n
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	modelEnough(t, checked, floor)
}

// TestModelShortPrefix is about lists as long as the short prefix.
func TestModelShortPrefix(t *testing.T) {
	modelCheckLong(t, []int{graphcache.ShortPrefix}, []int{0, 9}, 16, 10_000)
}

// TestModelPrefixBytes is about lists of which the size in bytes cuts off the
// prefix.
func TestModelPrefixBytes(t *testing.T) {
	modelCheckLong(t, []int{20, 40}, []int{graphcache.PrefixBytes / 30, graphcache.PrefixBytes / 15}, 12, 6_000)
}

// TestModelLongPrefix is about lists as long as the long prefix. One run has many
// steps instead of many runs having few, because such a list takes a while to make.
func TestModelLongPrefix(t *testing.T) {
	checked := 0
	for i := range 6 * *modelScale {
		// With a seed of its own for each, which the failure tells.
		program := modelAnyLong([]int{graphcache.LongPrefix}, []int{0, 40}, 40).Example(i)
		n, err := program.run(t.Context(), nil)
		checked += n
		if err != nil {
			t.Fatalf("seed %d: %v\n%#v", i, err, program)
		}
	}
	modelEnough(t, checked, 1_000)
}
