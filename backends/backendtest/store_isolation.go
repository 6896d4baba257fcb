package backendtest

import (
	"context"
	"fmt"
	"sync"

	"github.com/graphcache/graphcache/driver"
)

// namespaces tests that the records of namespaces are apart.
func (r *storeRig) namespaces() {
	spaces := []driver.Store{r.s, r.s.Namespace("red"), r.s.Namespace("blue"), r.s.Namespace("Red")}
	const rule = "the records of a namespace are apart from those of every other"
	for i, s := range spaces {
		r.must(s.Ensure(r.Context(), suiteSchema()))
		marked := insertObject(users, fmt.Sprint("marked ", i), 1, nil)
		marked.Object.Deleting = true
		r.done(s, insertObject(users, "a", int64(i+1), nil), insertEdge(wrote, "a", "p", int64(i+1), int64(i)),
			insertEdge(pinned, "a", "p", int64(i+1), int64(i)), marked)
	}
	r.done(spaces[1], driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "a"}})
	for i, s := range spaces {
		o := r.get(s, users, "a")
		if i == 1 && o != nil || i != 1 && (o == nil || o.Version != int64(i+1)) {
			r.Errorf("%s: namespace %d reads %+v", rule, i, o)
		}
		want := []driver.Edge{*edgeAt("a", "p", int64(i+1), int64(i))}
		r.equal(rule, r.list(s, wrote, driver.Out, "a", driver.Range{}), want)
		r.equal(rule, r.list(s, pinned, driver.In, "p", driver.Range{}), want)
		r.equal(rule, r.read(s, driver.Step{Op: driver.ScanEdges, Kind: wrote}).Lists, [][]driver.Edge{want})
		marked := r.read(s, driver.Step{Op: driver.ScanDeleting, Kind: users}).Objects
		if len(marked) != 1 || marked[0].ID != fmt.Sprint("marked ", i) {
			r.Errorf("%s: namespace %d scans %d marked objects", rule, i, len(marked))
		}
	}
	r.equal("the empty name is the store itself", r.get(r.s.Namespace(""), users, "a").Version, int64(1))
	r.equal("views of the same name are the same namespace", r.get(r.s.Namespace("blue"), users, "a").Version, int64(3))
	r.must(spaces[2].Close(r.Context()))
	r.equal("closing a view does nothing", r.get(spaces[2], users, "a").Version, int64(3))
	r.equal("closing a view does nothing", r.get(r.s, users, "a").Version, int64(1))
}

// oneState moves edges about while they are read. Whatever the moment, a list has
// them all:
//
//	W: replace edge i, giving it another time or end   R: read one step
func (r *storeRig) oneState() {
	const edges, moves, readers = 20, 60, 4
	for i := range edges {
		r.done(r.s, insertEdge(wrote, "a", fmt.Sprint("p", i), 1, int64(i)))
	}
	r.done(r.s, insertEdge(pinned, "a", "x", 1, 1))
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	var group sync.WaitGroup
	for range readers {
		group.Go(func() {
			for ctx.Err() == nil {
				if err := r.readState(edges); err != nil {
					r.Error(err)
					return
				}
			}
		})
	}
	for i := range moves {
		move := insertEdge(wrote, "a", fmt.Sprint("p", i%edges), int64(i+2), int64(edges+i))
		turn := insertEdge(pinned, "a", []string{"y", "x"}[i%2], int64(i+2), 1)
		move.Op, turn.Op = driver.Replace, driver.Replace
		r.done(r.s, move, turn)
	}
	stop()
	group.Wait()
}

func (r *storeRig) readState(edges int) error {
	results, err := r.s.Read(r.Context(), []driver.Step{
		{Op: driver.ListEdges, Kind: wrote, IDs: []string{"a"}},
		{Op: driver.CountEdges, Kind: wrote, IDs: []string{"a"}},
		{Op: driver.GetEdges, Kind: pinned, IDs: []string{"a"}, Ends: []string{"x", "y"}},
		{Op: driver.ListEdges, Kind: pinned, Direction: driver.In, IDs: []string{"x", "y"}},
	}, "")
	if err != nil {
		return err
	}
	got := []int{len(results[0].Lists[0]), results[1].Counts[0], len(results[2].Lists[0]), len(results[3].Lists[0]) + len(results[3].Lists[1])}
	distinct := make(map[string]bool)
	for _, e := range results[0].Lists[0] {
		distinct[e.To] = true
	}
	if got[0] != edges || got[1] != edges || len(distinct) != edges || got[2] != 1 || got[3] != 1 {
		return fmt.Errorf("Read answers each step from one state of the database: want %d edges, %d counted, 1 to x or y, 1 from x or y; got %v, %d distinct",
			edges, edges, got, len(distinct))
	}
	return nil
}
