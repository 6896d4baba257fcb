package backendtest

import (
	"fmt"

	"github.com/graphcache/graphcache/driver"
)

// staleReads tests the order
//
//	tx: look   other: change what was seen   tx: write elsewhere, commit
//
// and the one in which the write elsewhere comes first, for everything that a
// transaction can look at, absence included.
func (r *txRig) staleReads() {
	step := func(s driver.Step) func(driver.Tx) {
		return func(tx driver.Tx) { r.read(tx, s) }
	}
	whole := not(on(field("n"), driver.AnyOf, 0.5))
	tests := []struct {
		name string
		look func(tx driver.Tx)
		// change is done by another in between.
		change driver.Write
	}{
		{"an object that changed", step(driver.Step{Op: driver.GetObjects, Kind: users, IDs: []string{"a"}}), replaceObject("a", 2)},
		{"an object that came", step(driver.Step{Op: driver.GetObjects, Kind: users, IDs: []string{"none"}}), insertObject(users, "none", 2, nil)},
		{"an object that went", step(driver.Step{Op: driver.GetObjects, Kind: users, IDs: []string{"a", "z"}}),
			driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "a"}}},
		{"a list with one more edge", step(driver.Step{Op: driver.ListEdges, Kind: wrote, IDs: []string{"a"}}), insertEdge(wrote, "a", "q", 2, 2)},
		{"a list seen from the far end", step(driver.Step{Op: driver.ListEdges, Kind: wrote, Direction: driver.In, IDs: []string{"q"}}), insertEdge(wrote, "a", "q", 2, 2)},
		{"a count", step(driver.Step{Op: driver.CountEdges, Kind: wrote, IDs: []string{"a"}}), insertEdge(wrote, "a", "q", 2, 2)},
		{"an edge that was not there", step(driver.Step{Op: driver.GetEdges, Kind: wrote, IDs: []string{"a"}, Ends: []string{"q"}}), insertEdge(wrote, "a", "q", 2, 2)},
		{"an edge that changed", step(driver.Step{Op: driver.GetEdges, Kind: wrote, IDs: []string{"a"}, Ends: []string{"p"}}),
			driver.Write{Op: driver.Replace, Kind: wrote, Edge: edgeAt("a", "p", 2, 1)}},
		{"a scan", step(driver.Step{Op: driver.ScanEdges, Kind: wrote}), insertEdge(wrote, "b", "q", 2, 2)},
		{"a mark", step(driver.Step{Op: driver.ScanDeleting, Kind: users}),
			driver.Write{Op: driver.Replace, Kind: users, Object: &driver.Object{ID: "a", Version: 2, Deleting: true}}},
		{"an outcome Exists", func(tx driver.Tx) { r.wants("Insert", tx, insertObject(users, "a", 5, nil), driver.Exists) },
			driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "a"}}},
		{"a search that finds one more", step(driver.Step{Op: driver.FindObjects, Kind: users}), insertObject(users, "none", 2, nil)},
		{"a search that finds one less", step(driver.Step{Op: driver.FindObjects, Kind: users, Filter: &whole}),
			driver.Write{Op: driver.Replace, Kind: users, Object: &driver.Object{ID: "a", Version: 2, Doc: driver.Document{{Name: "n", Value: 0.5}}}}},
		{"a search whose order changed", step(driver.Step{Op: driver.FindObjects, Kind: users, Order: []driver.Order{order(field("n"), false)}}),
			modifyUser("a", add("n", int64(1), nil, nil))},
		{"the number of what a search finds", step(driver.Step{Op: driver.FindObjects, Kind: users, Count: true}), insertObject(users, "none", 2, nil)},
		{"a row more", step(driver.Step{Op: driver.FindEdges, Kind: wrote, IDs: []string{"a"}}), insertEdge(wrote, "a", "q", 2, 2)},
		{"a row that changed", step(driver.Step{Op: driver.FindEdges, Kind: wrote, IDs: []string{"a"}}),
			driver.Write{Op: driver.Replace, Kind: wrote, Edge: edgeAt("a", "p", 2, 1)}},
		{"a row whose far end came", step(driver.Step{Op: driver.FindEdges, Kind: wrote, IDs: []string{"a"}, Far: posts}), insertObject(posts, "p", 2, nil)},
		{"the number of rows", step(driver.Step{Op: driver.FindEdges, Kind: wrote, Direction: driver.In, IDs: []string{"q"}, Count: true}), insertEdge(wrote, "b", "q", 2, 2)},
		{"an outcome Conflict of a sum", func(tx driver.Tx) {
			r.wants("Modify", tx, modifyUser("a", add("n", int64(1), nil, int64(0))), driver.Conflict)
		},
			modifyUser("a", add("n", int64(-5), nil, nil))},
		{"an outcome Exists of an index", func(tx driver.Tx) { r.breaks("Insert", tx, account(driver.Insert, "b", 1, "email", "x"), "by email") },
			driver.Write{Op: driver.Delete, Kind: accounts, Object: &driver.Object{ID: "a"}}},
		{"an outcome Exists of an index, then of another", func(tx driver.Tx) {
			r.breaks("Insert", tx, account(driver.Insert, "b", 1, "email", "x", "room", "r"), "by email")
		}, account(driver.Replace, "a", 2, "room", "r")},
		{"an outcome Missing", func(tx driver.Tx) { r.wants("Replace", tx, replaceObject("none", 5), driver.Missing) }, insertObject(users, "none", 2, nil)},
	}
	for _, test := range tests {
		for _, writeFirst := range []bool{false, true} {
			r.staleRead(fmt.Sprintf("%s, write first: %v", test.name, writeFirst), test.look, test.change, writeFirst)
		}
	}
}

func (r *txRig) staleRead(name string, look func(driver.Tx), change driver.Write, writeFirst bool) {
	r.Helper()
	r.reset()
	tx := r.begin()
	elsewhere := replaceObject("elsewhere", 9)
	if writeFirst {
		r.done(tx, elsewhere)
	}
	look(tx)
	r.done(r.s, change)
	var err error
	if !writeFirst {
		_, err = tx.Write(r.Context(), []driver.Write{elsewhere})
	}
	r.conflicts("a transaction cannot commit after what it saw has changed: "+name, tx, err)
	r.equal("a transaction that conflicts has no effect: "+name, r.version(r.s, "elsewhere"), int64(1))
}

// reset brings back the records of staleReads.
func (r *txRig) reset() {
	r.Helper()
	var writes []driver.Write
	for _, id := range []string{"a", "none", "elsewhere"} {
		writes = append(writes, driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: id}})
	}
	for _, ends := range [][2]string{{"a", "p"}, {"a", "q"}, {"b", "q"}} {
		writes = append(writes, driver.Write{Op: driver.Delete, Kind: wrote, Edge: &driver.Edge{From: ends[0], To: ends[1]}})
	}
	writes = append(writes, driver.Write{Op: driver.Delete, Kind: posts, Object: &driver.Object{ID: "p"}},
		driver.Write{Op: driver.Delete, Kind: accounts, Object: &driver.Object{ID: "a"}}, account(driver.Insert, "a", 1, "email", "x"))
	_, err := r.s.Write(r.Context(), writes)
	r.must(err)
	r.done(r.s, insertObject(users, "a", 1, nil), insertObject(users, "elsewhere", 1, nil), insertEdge(wrote, "a", "p", 1, 1))
}
