package backendtest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/graphcache/graphcache/driver"
)

func edgeAt(from, to string, version, ms int64) *driver.Edge {
	return &driver.Edge{From: from, To: to, Version: version, Time: time.UnixMilli(ms).UTC()}
}

// edgeModel is what the contract says about the edges of one kind: a set, and
// lists that are computed from it by brute force.
type edgeModel struct {
	toOne, symmetric bool
	edges            map[[2]string]driver.Edge // by From and, unless toOne, To
}

func (m *edgeModel) key(e *driver.Edge) [2]string {
	if m.toOne {
		return [2]string{e.From}
	}
	return [2]string{e.From, e.To}
}

// list returns the edges of an object in list order.
func (m *edgeModel) list(dir driver.Direction, id string) []driver.Edge {
	var found []driver.Edge
	for _, e := range m.edges {
		if m.symmetric && (e.From == id || e.To == id) || !m.symmetric && dir == driver.Out && e.From == id || dir == driver.In && e.To == id {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b driver.Edge) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(farEnd(a, id), farEnd(b, id)))
	})
	return found
}

// farEnd returns the end that is not id, or id if both are.
func farEnd(e driver.Edge, id string) string {
	if e.From == id {
		return e.To
	}
	return e.From
}

// cut returns the part of a list that a Range asks for.
func cut(list []driver.Edge, r driver.Range) []driver.Edge {
	list = slices.DeleteFunc(slices.Clone(list), func(e driver.Edge) bool {
		return !r.High.IsZero() && e.Time.After(r.High) || !r.Low.IsZero() && e.Time.Before(r.Low)
	})
	list = list[min(r.Offset, len(list)):]
	if r.Limit > 0 {
		list = list[:min(r.Limit, len(list))]
	}
	return list
}

// among returns the edges of a list whose far end is one of the ends.
func among(list []driver.Edge, id string, ends []string) []driver.Edge {
	return slices.DeleteFunc(slices.Clone(list), func(e driver.Edge) bool {
		return !slices.Contains(ends, farEnd(e, id))
	})
}

// lists tests every part of a list that has ties in time, from both ends.
func (r *storeRig) lists() {
	m := &edgeModel{edges: make(map[[2]string]driver.Edge)}
	for i, e := range []struct {
		to string
		ms int64
	}{{"c", 30}, {"a", 20}, {"b", 20}, {"d", 20}, {"é", 20}, {"e", 10}, {"B", 20}, {"f", -5}, {"g", 30}, {"h", 40}} {
		for _, w := range []driver.Write{insertEdge(wrote, "me", e.to, int64(i+1), e.ms), insertEdge(wrote, e.to, "me", int64(i+100), e.ms)} {
			r.done(r.s, w)
			m.edges[m.key(w.Edge)] = *w.Edge
		}
	}
	// Another's edges must not show.
	r.done(r.s, insertEdge(wrote, "you", "a", 500, 20), insertEdge(wrote, "a", "you", 501, 20), insertEdge(follows, "me", "a", 502, 20))
	for _, dir := range []driver.Direction{driver.Out, driver.In} {
		want := m.list(dir, "me")
		r.equal("a list is ordered by time descending, then far end ascending as bytes", r.list(r.s, wrote, dir, "me", driver.Range{}), want)
		r.parts(dir, want)
		for _, ends := range [][]string{{"b"}, {"f", "h", "nobody", "B", "a"}, {"nobody"}, nil} {
			got := r.read(r.s, driver.Step{Op: driver.GetEdges, Kind: wrote, Direction: dir, IDs: []string{"nobody", "me"}, Ends: ends})
			r.equal(fmt.Sprintf("GetEdges returns the edges to the Ends in list order: %q", ends), got.Lists, [][]driver.Edge{nil, among(want, "me", ends)})
		}
	}
}

// parts tests every combination of bounds, offset and limit.
func (r *storeRig) parts(dir driver.Direction, whole []driver.Edge) {
	r.Helper()
	bounds := []time.Time{{}}
	for _, ms := range []int64{-6, -5, 0, 10, 15, 20, 30, 40, 41} {
		bounds = append(bounds, time.UnixMilli(ms).UTC())
	}
	bounds = append(bounds, time.UnixMilli(20).UTC().Add(time.Microsecond), time.UnixMilli(19).UTC().Add(999*time.Microsecond))
	var steps []driver.Step
	for _, high := range bounds {
		for _, low := range bounds {
			part := driver.Range{High: high, Low: low, Offset: 3, Limit: 2}
			steps = append(steps, driver.Step{Op: driver.CountEdges, Kind: wrote, Direction: dir, IDs: []string{"me", "nobody"}, Range: part})
			for _, part.Offset = range []int{0, 1, 4, 10, 11} {
				for _, part.Limit = range []int{0, 1, 3, 10, 99} {
					steps = append(steps, driver.Step{Op: driver.ListEdges, Kind: wrote, Direction: dir, IDs: []string{"nobody", "me"}, Range: part})
				}
			}
		}
	}
	for batch := range slices.Chunk(steps, 250) {
		results, err := r.s.Read(r.Context(), batch, "")
		if err != nil || len(results) != len(batch) {
			r.Fatalf("Read: %d results for %d, %v", len(results), len(batch), err)
		}
		for i, step := range batch {
			r.part(step, results[i], whole)
		}
	}
}

func (r *storeRig) part(step driver.Step, got driver.Result, whole []driver.Edge) {
	r.Helper()
	part := step.Range
	what := fmt.Sprintf("High %v, Low %v, Offset %d, Limit %d", part.High, part.Low, part.Offset, part.Limit)
	if step.Op == driver.CountEdges {
		part.Offset, part.Limit = 0, 0
		r.equal("CountEdges counts the edges within High and Low, both inclusive; Offset and Limit do not apply: "+what,
			got.Counts, []int{len(cut(whole, part)), 0})
		return
	}
	r.equal("ListEdges gives the edges within High and Low, both inclusive, without the first Offset, at most Limit: "+what,
		got.Lists, [][]driver.Edge{nil, cut(whole, part)})
}

// randomLists does random writes to a few objects and compares everything that can
// be read with the model.
func (r *storeRig) randomLists() {
	for _, kind := range []string{wrote, pinned, friends} {
		seed := rand.Uint64()
		r.Logf("%s: seed %d", kind, seed)
		random := rand.New(rand.NewPCG(seed, 0))
		m := &edgeModel{toOne: kind == pinned, symmetric: kind == friends, edges: make(map[[2]string]driver.Edge)}
		for round := range 12 {
			var writes []driver.Write
			var want []driver.Outcome
			for i := range 20 {
				w := randomWrite(random, kind, m.symmetric, int64(100*round+i+1))
				writes = append(writes, w)
				want = append(want, m.apply(&w))
			}
			results, err := r.s.Write(r.Context(), writes)
			r.must(err)
			var got []driver.Outcome
			for i := range results {
				got = append(got, results[i].Outcome)
			}
			r.equal(kind+": outcomes of random writes", got, want)
			r.compareLists(kind, m)
			if r.Failed() {
				return
			}
		}
	}
}

var randomIDs = []string{"a", "b", "c", "d", "e"}

func randomWrite(random *rand.Rand, kind string, symmetric bool, version int64) driver.Write {
	from, to := randomIDs[random.IntN(5)], randomIDs[random.IntN(5)]
	if symmetric && to < from {
		from, to = to, from
	}
	op := []driver.WriteOp{driver.Insert, driver.Insert, driver.Replace, driver.Delete}[random.IntN(4)]
	return driver.Write{Op: op, Kind: kind, Edge: edgeAt(from, to, version, int64(random.IntN(6)-2))}
}

// apply does a write to the model.
func (m *edgeModel) apply(w *driver.Write) driver.Outcome {
	_, there := m.edges[m.key(w.Edge)]
	outcome := wantOutcome(w.Op, there, true)
	switch {
	case outcome == driver.Done && w.Op == driver.Delete:
		delete(m.edges, m.key(w.Edge))
	case outcome == driver.Done:
		m.edges[m.key(w.Edge)] = *w.Edge
	}
	return outcome
}

// compareLists reads the lists, counts and single edges of every object.
func (r *storeRig) compareLists(kind string, m *edgeModel) {
	r.Helper()
	directions := []driver.Direction{driver.Out, driver.In}
	if m.symmetric {
		directions = directions[:1]
	}
	ends := randomIDs[1:4]
	for _, dir := range directions {
		step := driver.Step{Kind: kind, Direction: dir, IDs: randomIDs, Ends: ends}
		steps := []driver.Step{step, step, step}
		steps[0].Op, steps[1].Op, steps[2].Op = driver.ListEdges, driver.CountEdges, driver.GetEdges
		results, err := r.s.Read(r.Context(), steps, "")
		r.must(err)
		var lists, some [][]driver.Edge
		var counts []int
		for _, id := range randomIDs {
			list := m.list(dir, id)
			lists, some, counts = append(lists, list), append(some, among(list, id, ends)), append(counts, len(list))
		}
		r.equal(kind+": ListEdges after random writes", results[0].Lists, lists)
		r.equal(kind+": CountEdges after random writes", results[1].Counts, counts)
		r.equal(kind+": GetEdges after random writes", results[2].Lists, some)
	}
	scanned := r.read(r.s, driver.Step{Op: driver.ScanEdges, Kind: kind})
	all := slices.SortedFunc(maps.Values(m.edges), compareKeys)
	r.equal(kind+": ScanEdges has every edge once", scanned.Lists, [][]driver.Edge{all})
}

func compareKeys(a, b driver.Edge) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
}

// times tests the times that a store gives, and that of a Replace.
func (r *storeRig) times() {
	w := driver.Write{Op: driver.Insert, Kind: wrote, Edge: &driver.Edge{From: "a", To: "p", Version: 1}}
	first := r.done(r.s, w)[0].Edge
	if first == nil || first.Time.IsZero() || !first.Time.Equal(first.Time.Truncate(time.Millisecond)) || first.Time.Location() != time.UTC {
		r.Fatalf("a zero Time asks the store for its own, which comes back with the result, UTC in whole milliseconds: got %+v", first)
	}
	r.equal("the time in the result is the one that is stored", r.list(r.s, wrote, driver.Out, "a", driver.Range{})[0].Time, first.Time)
	w.Edge.To = "q"
	if second := r.done(r.s, w)[0].Edge; second.Time.Before(first.Time) {
		r.Errorf("the store's clock does not go back: %v, then %v", first.Time, second.Time)
	}
	w.Op, w.Edge = driver.Replace, edgeAt("a", "p", 2, 7)
	r.done(r.s, w)
	w.Edge = &driver.Edge{From: "a", To: "p", Version: 3}
	if again := r.done(r.s, w)[0].Edge; again.Time.Before(first.Time) {
		r.Errorf("a zero Time asks the store for its own in a Replace too: got %v", again.Time)
	}
	far := time.Date(1969, 7, 20, 20, 17, 40, 123e6, time.UTC)
	w.Edge = &driver.Edge{From: "a", To: "p", Version: 4, Time: far.In(time.FixedZone("", 7200))}
	r.done(r.s, w)
	list := r.list(r.s, wrote, driver.Out, "a", driver.Range{High: far, Low: far})
	if len(list) != 1 || list[0].Time != far {
		r.Errorf("times before 1970 and in other zones are kept as UTC: got %v, want %v", list, far)
	}
}
