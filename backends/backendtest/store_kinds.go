package backendtest

import (
	"fmt"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// toOne tests kinds with at most one edge per From.
func (r *storeRig) toOne() {
	const rule = "a kind that is ToOne has at most one edge per From, whatever its To"
	r.done(r.s, insertEdge(pinned, "a", "p", 1, 10), insertEdge(pinned, "b", "p", 2, 20))
	got := r.wants(rule, r.s, insertEdge(pinned, "a", "q", 3, 30), driver.Exists)
	if got.Edge != nil && got.Edge.To != "p" {
		r.Errorf("Exists returns the present record: got %+v", got.Edge)
	}
	got = r.wants("Replace may change the edge's To", r.s, driver.Write{
		Op: driver.Replace, Kind: pinned, Edge: edgeAt("a", "q", 4, 40), Expect: 1,
	}, driver.Done)
	r.oldEdge("Replace that changes its To", got, edgeAt("a", "p", 1, 10))
	lists := r.read(r.s, driver.Step{Op: driver.ListEdges, Kind: pinned, Direction: driver.Out, IDs: []string{"a", "b"}}).Lists
	r.equal("Replace may change the edge's To", lists, [][]driver.Edge{{*edgeAt("a", "q", 4, 40)}, {*edgeAt("b", "p", 2, 20)}})
	lists = r.read(r.s, driver.Step{Op: driver.ListEdges, Kind: pinned, Direction: driver.In, IDs: []string{"p", "q"}}).Lists
	r.equal("an edge whose To changed is in the list of the new end only", lists, [][]driver.Edge{{*edgeAt("b", "p", 2, 20)}, {*edgeAt("a", "q", 4, 40)}})
	lists = r.read(r.s, driver.Step{Op: driver.GetEdges, Kind: pinned, IDs: []string{"a"}, Ends: []string{"p"}}).Lists
	r.equal("GetEdges does not find an edge under its old end", lists, [][]driver.Edge{nil})
	got = r.wants("the key of an edge that is ToOne is its From", r.s, driver.Write{
		Op: driver.Delete, Kind: pinned, Edge: &driver.Edge{From: "a", To: "elsewhere"}, Expect: 4,
	}, driver.Done)
	r.oldEdge("Delete by From", got, edgeAt("a", "q", 4, 40))
	r.equal("the key of an edge that is ToOne is its From", r.list(r.s, pinned, driver.Out, "a", driver.Range{}), []driver.Edge(nil))
}

// symmetric tests kinds whose edges have no direction.
func (r *storeRig) symmetric() {
	r.done(r.s, insertEdge(friends, "a", "b", 1, 10), insertEdge(friends, "b", "b", 2, 10), insertEdge(friends, "b", "c", 3, 10), insertEdge(friends, "A", "b", 4, 5))
	lists := r.read(r.s, driver.Step{Op: driver.ListEdges, Kind: friends, IDs: []string{"a", "b", "c"}}).Lists
	ab, bb, bc := *edgeAt("a", "b", 1, 10), *edgeAt("b", "b", 2, 10), *edgeAt("b", "c", 3, 10)
	r.equal("a symmetric edge is in the list of both its ends, once if they are the same, ordered by the end that is not the ID",
		lists, [][]driver.Edge{{ab}, {ab, bb, bc, *edgeAt("A", "b", 4, 5)}, {bc}})
	r.equal("a symmetric edge counts once", r.counts(r.s, driver.Step{Kind: friends, IDs: []string{"a", "b", "c"}}), []int{1, 4, 1})
	found := r.read(r.s, driver.Step{Op: driver.GetEdges, Kind: friends, IDs: []string{"b", "c"}, Ends: []string{"a", "b", "c"}}).Lists
	r.equal("GetEdges finds a symmetric edge from either end", found, [][]driver.Edge{{ab, bb, bc}, {bc}})
	r.done(r.s, driver.Write{Op: driver.Replace, Kind: friends, Edge: edgeAt("b", "b", 5, 99)})
	r.equal("an edge from an object to itself is one edge", r.list(r.s, friends, driver.Out, "b", driver.Range{Limit: 2}), []driver.Edge{*edgeAt("b", "b", 5, 99), ab})
	r.done(r.s, driver.Write{Op: driver.Delete, Kind: friends, Edge: &driver.Edge{From: "b", To: "b"}}, driver.Write{Op: driver.Delete, Kind: friends, Edge: &driver.Edge{From: "b", To: "c"}})
	r.equal("Delete takes a symmetric edge out of both lists", r.counts(r.s, driver.Step{Kind: friends, IDs: []string{"a", "b", "c"}}), []int{1, 2, 0})

	r.done(r.s, insertEdge(follows, "a", "a", 1, 10))
	for _, dir := range []driver.Direction{driver.Out, driver.In} {
		r.equal("an edge from an object to itself is once in each of its lists", r.list(r.s, follows, dir, "a", driver.Range{}), []driver.Edge{*edgeAt("a", "a", 1, 10)})
	}
}

// rekind tests moving an edge between the kinds of a family, in every sort of
// kind.
func (r *storeRig) rekind() {
	for _, pair := range [][2]string{{follows, blocks}, {pinned, retired}, {friends, closest}} {
		from, to := pair[0], pair[1]
		rekind := func(id string, version, expect int64) driver.Write {
			return driver.Write{Op: driver.Rekind, Kind: from, NewKind: to, Edge: &driver.Edge{From: id, To: "z", Version: version}, Expect: expect}
		}
		move := insertEdge(from, "moves", "z", 5, 30)
		move.Edge.Data = driver.Document{{Name: "note", Value: "kept"}}
		r.done(r.s, move, insertEdge(from, "taken", "z", 6, 20), insertEdge(to, "taken", "z", 7, 10), insertEdge(from, "stays", "z", 8, 10))

		r.wants("Rekind of an edge that is not there", r.s, rekind("nobody", 9, 0), driver.Missing)
		r.wants("Rekind of an edge that has another version", r.s, rekind("moves", 9, 4), driver.Conflict)
		r.wants("a version is judged before the new kind is looked at", r.s, rekind("taken", 9, 4), driver.Conflict)
		r.wants("Rekind when the key is taken in the new kind", r.s, rekind("taken", 9, 6), driver.Exists)
		stale := rekind("moves", 9, 5)
		stale.Old = driver.Document{{Name: "note", Value: "other"}}
		r.wants("Rekind of an edge whose data differs from Old", r.s, stale, driver.Conflict)
		r.equal("a write that is not Done changes nothing", r.counts(r.s, driver.Step{Kind: from, Direction: driver.Out, IDs: []string{"moves", "taken", "stays"}}), []int{1, 1, 1})

		good := rekind("moves", 9, 5)
		good.Old = move.Edge.Data
		got := r.wants("Rekind", r.s, good, driver.Done)
		want := *move.Edge
		want.Version = 9
		r.equal("Rekind gives the edge the new version and keeps time and data", got.Edge, &want)
		r.oldEdge("Rekind", got, move.Edge)
		r.equal("Rekind moves the edge to the new kind", r.list(r.s, to, driver.Out, "moves", driver.Range{}), []driver.Edge{want})
		r.equal("Rekind takes the edge out of the old kind", r.list(r.s, from, driver.Out, "moves", driver.Range{}), []driver.Edge(nil))
		if from != friends {
			r.equal("Rekind moves the edge in the lists of both ends", r.counts(r.s, driver.Step{Kind: from, Direction: driver.In, IDs: []string{"z"}}), []int{2})
			r.equal("Rekind moves the edge in the lists of both ends", r.counts(r.s, driver.Step{Kind: to, Direction: driver.In, IDs: []string{"z"}}), []int{2})
		}
		r.wants("the key is free again in the old kind", r.s, insertEdge(from, "moves", "z", 10, 1), driver.Done)
	}
}

// scanEdges tests paging through all edges of a kind.
func (r *storeRig) scanEdges() {
	for _, kind := range []string{wrote, pinned, friends} {
		var want []driver.Edge
		var writes []driver.Write
		for i, from := range []string{"b", "a", "é", "A", "ab", "aa"} {
			for j, to := range []string{"éy", "éx", "éz"} {
				if j > 0 && kind == pinned {
					break
				}
				w := insertEdge(kind, from, to, int64(10*i+j+1), int64(i*7%5))
				writes, want = append(writes, w), append(want, *w.Edge)
			}
		}
		r.done(r.s, writes...)
		slices.SortFunc(want, compareKeys)
		for _, limit := range []int{1, 2, 4, len(want), 100} {
			r.equal(fmt.Sprintf("ScanEdges pages through all edges of %s ordered by (From, To), each once, by %d", kind, limit), r.scan(kind, limit), want)
		}
		last := r.read(r.s, driver.Step{Op: driver.ScanEdges, Kind: kind, IDs: []string{"aaa", "nobody"}, Range: driver.Range{Limit: 1}}).Lists[0]
		if len(last) != 1 || last[0].From != "ab" {
			r.Errorf("ScanEdges starts after ends that need not be there: got %v", last)
		}
	}
}

// scan pages through a kind.
func (r *storeRig) scan(kind string, limit int) []driver.Edge {
	r.Helper()
	var all []driver.Edge
	step := driver.Step{Op: driver.ScanEdges, Kind: kind, Range: driver.Range{Limit: limit}}
	for len(all) < 1000 {
		lists := r.read(r.s, step).Lists
		if len(lists) != 1 || len(lists[0]) > limit {
			r.Fatalf("ScanEdges gives a single list of up to Limit edges: got %d lists", len(lists))
		}
		if len(lists[0]) == 0 {
			break
		}
		all = append(all, lists[0]...)
		last := all[len(all)-1]
		step.IDs = []string{last.From, last.To}
	}
	return all
}

// scanDeleting tests finding the objects that are marked.
func (r *storeRig) scanDeleting() {
	r.equal("ScanDeleting finds nothing when nothing is marked", r.marked(3), []string(nil))
	var want []string
	for i, id := range []string{"d", "a", "é", "c", "A", "b", "aa"} {
		w := insertObject(users, id, int64(i+1), nil)
		w.Object.Deleting = i%3 != 1
		r.done(r.s, w)
		if w.Object.Deleting {
			want = append(want, id)
		}
	}
	other := insertObject(posts, "other kind", 1, nil)
	other.Object.Deleting = true
	r.done(r.s, other)
	mark := func(id string, deleting bool) driver.Write {
		return driver.Write{Op: driver.Replace, Kind: users, Object: &driver.Object{ID: id, Version: 9, Deleting: deleting}}
	}
	r.done(r.s, mark("a", true), mark("c", false), mark("d", true), driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "é"}})
	want = append(slices.DeleteFunc(want, func(id string) bool { return id == "c" || id == "é" }), "a")
	slices.Sort(want)
	for _, limit := range []int{1, 2, 100} {
		r.equal(fmt.Sprintf("ScanDeleting pages through the marked objects of a kind ordered by ID, by %d", limit), r.marked(limit), want)
	}
	if o := r.get(r.s, users, "a"); o == nil || !o.Deleting || o.Version != 9 {
		r.Errorf("Deleting is data to a store: GetObjects gives %+v", o)
	}
	if o := r.get(r.s, users, "c"); o == nil || o.Deleting {
		r.Errorf("Deleting is data to a store: GetObjects gives %+v", o)
	}
}

// marked pages through the users marked Deleting.
func (r *storeRig) marked(limit int) []string {
	r.Helper()
	var ids []string
	step := driver.Step{Op: driver.ScanDeleting, Kind: users, Range: driver.Range{Limit: limit}}
	for len(ids) < 1000 {
		objects := r.read(r.s, step).Objects
		if len(objects) > limit {
			r.Fatalf("ScanDeleting gives up to Limit objects: got %d for %d", len(objects), limit)
		}
		if len(objects) == 0 {
			break
		}
		for _, o := range objects {
			if o == nil || !o.Deleting {
				r.Fatalf("ScanDeleting gives marked objects without gaps: got %+v", o)
			}
			ids = append(ids, o.ID)
		}
		step.IDs = []string{ids[len(ids)-1]}
	}
	return ids
}
