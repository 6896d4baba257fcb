package backendtest

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/graphcache/graphcache/driver"
)

// subject is one sort of record, so that a rule can be tested on each.
type subject struct {
	name string
	// write makes a write of the record that id names.
	write func(op driver.WriteOp, id string, version int64, doc driver.Document) driver.Write
	// read returns the record's version and document, version 0 if there is none.
	read func(r *storeRig, id string) (int64, driver.Document)
}

func subjects() []subject {
	object := subject{
		name: "object",
		write: func(op driver.WriteOp, id string, version int64, doc driver.Document) driver.Write {
			return driver.Write{Op: op, Kind: users, Object: &driver.Object{ID: id, Version: version, Doc: doc}}
		},
		read: func(r *storeRig, id string) (int64, driver.Document) {
			if o := r.get(r.s, users, id); o != nil {
				return o.Version, o.Doc
			}
			return 0, nil
		},
	}
	all := []subject{object}
	for _, kind := range []string{wrote, follows, pinned, friends} {
		all = append(all, edgeSubject(kind))
	}
	return all
}

func edgeSubject(kind string) subject {
	return subject{
		name: kind,
		write: func(op driver.WriteOp, id string, version int64, doc driver.Document) driver.Write {
			e := edgeAt(id, "z", version, 1000)
			e.Data = doc
			return driver.Write{Op: op, Kind: kind, Edge: e}
		},
		read: func(r *storeRig, id string) (int64, driver.Document) {
			edges := r.list(r.s, kind, driver.Out, id, driver.Range{})
			if len(edges) == 1 {
				return edges[0].Version, edges[0].Data
			}
			return 0, nil
		},
	}
}

// outcomes tests every operation on a record that is absent and on one that is
// there, with every expectation.
func (r *storeRig) outcomes() {
	present := driver.Document{{Name: "name", Value: "Ann"}, {Name: "age", Value: int64(30)}, {Name: "gone", Value: nil}}
	olds := []struct {
		name string
		old  driver.Document
		ok   bool
	}{
		{"no Old", nil, true},
		{"Old as it is", driver.Document{{Name: "age", Value: int64(30)}, {Name: "name", Value: "Ann"}}, true},
		{"Old with another value", driver.Document{{Name: "name", Value: "Ann"}, {Name: "age", Value: int64(31)}}, false},
		{"Old nil for a missing field", driver.Document{{Name: "nothing", Value: nil}}, true},
		{"Old nil for a nil field", driver.Document{{Name: "gone", Value: nil}}, true},
		{"Old nil for a field with a value", driver.Document{{Name: "name", Value: nil}}, false},
		{"Old with a value for a missing field", driver.Document{{Name: "nothing", Value: "x"}}, false},
	}
	for _, s := range subjects() {
		n := 0
		for _, there := range []bool{false, true} {
			for _, op := range []driver.WriteOp{driver.Insert, driver.Replace, driver.Delete} {
				for _, expect := range []int64{0, 5, 6, -5} {
					for _, old := range olds {
						n++
						id := fmt.Sprintf("%s %d", s.name, n)
						if there {
							r.done(r.s, s.write(driver.Insert, id, 5, present))
						}
						w := s.write(op, id, 9, driver.Document{{Name: "name", Value: "Bob"}})
						w.Expect, w.Old = expect, old.old
						want := wantOutcome(op, there, (expect == 0 || expect == 5) && old.ok)
						rule := fmt.Sprintf("%s, present: %v, Expect %d of 5, %s", s.name, there, expect, old.name)
						got := r.wants(rule, r.s, w, want)
						r.after(rule, s, id, op, want, there)
						r.returned(rule, got, op)
						r.replaced(rule, got, op, want, s.write(driver.Insert, id, 5, present))
					}
				}
			}
		}
	}
}

// wantOutcome is the table of the contract.
func wantOutcome(op driver.WriteOp, there, expected bool) driver.Outcome {
	switch {
	case op == driver.Insert && there:
		return driver.Exists
	case op != driver.Insert && !there:
		return driver.Missing
	case op != driver.Insert && !expected:
		return driver.Conflict
	}
	return driver.Done
}

// after checks the record after a write.
func (r *storeRig) after(rule string, s subject, id string, op driver.WriteOp, outcome driver.Outcome, there bool) {
	r.Helper()
	var want int64
	switch {
	case outcome != driver.Done && there:
		want = 5
	case outcome == driver.Done && op != driver.Delete:
		want = 9
	}
	version, doc := s.read(r, id)
	if version != want {
		r.Errorf("%s: after %v the record has version %d, want %d", rule, outcome, version, want)
	}
	if name, _ := doc.Get("name"); want == 9 && name != "Bob" || want == 5 && name != "Ann" {
		r.Errorf("%s: after %v the record has the name %v", rule, outcome, name)
	}
}

// returned checks the record that came with an outcome.
func (r *storeRig) returned(rule string, got driver.WriteResult, op driver.WriteOp) {
	r.Helper()
	var version int64
	switch {
	case got.Object != nil:
		version = got.Object.Version
	case got.Edge != nil:
		version = got.Edge.Version
	}
	switch got.Outcome {
	case driver.Done:
		if want := map[bool]int64{true: 0, false: 9}[op == driver.Delete]; version != want {
			r.Errorf("%s: a Done write returns the record written, none after Delete: version %d, want %d", rule, version, want)
		}
	case driver.Exists, driver.Conflict:
		if version != 0 && version != 5 {
			r.Errorf("%s: %v returns the present record: version %d, want 5", rule, got.Outcome, version)
		}
	case driver.Missing:
		if version != 0 {
			r.Errorf("%s: Missing returns no record: version %d", rule, version)
		}
	}
}

// replaced checks the record that a write has replaced or deleted: the one that was
// inserted. A store that cannot tell leaves it nil.
func (r *storeRig) replaced(rule string, got driver.WriteResult, op driver.WriteOp, outcome driver.Outcome, inserted driver.Write) {
	r.Helper()
	if outcome != driver.Done || op == driver.Insert {
		if got.OldObject != nil || got.OldEdge != nil {
			r.Errorf("%s: only a write that is Done and replaces, deletes or modifies a record returns an old one: %+v, %+v", rule, got.OldObject, got.OldEdge)
		}
		return
	}
	r.oldObject(rule, got, inserted.Object)
	r.oldEdge(rule, got, inserted.Edge)
}

// oldObject compares the old object of a write that is Done; a store may not tell.
func (r *storeRig) oldObject(rule string, got driver.WriteResult, want *driver.Object) {
	r.Helper()
	if got.OldObject != nil {
		r.equal("OldObject is the object that was replaced, deleted or modified: "+rule, got.OldObject, want)
	}
}

// oldEdge is oldObject for edges.
func (r *storeRig) oldEdge(rule string, got driver.WriteResult, want *driver.Edge) {
	r.Helper()
	if got.OldEdge != nil {
		r.equal("OldEdge is the edge that was replaced, deleted or moved: "+rule, got.OldEdge, want)
	}
}

// oneWins lets many write the same record at once.
func (r *storeRig) oneWins() {
	const writers = 12
	for _, s := range subjects() {
		for _, op := range []driver.WriteOp{driver.Insert, driver.Replace, driver.Delete} {
			id := fmt.Sprint("contended ", op)
			if op != driver.Insert {
				r.done(r.s, s.write(driver.Insert, id, 5, nil))
			}
			won := r.contend(writers, func(i int) driver.Write {
				w := s.write(op, id, int64(100+i), nil)
				w.Expect = 5
				return w
			})
			if won != 1 {
				r.Errorf("of %d writers of one %s that expect the same version exactly one is Done: operation %d had %d", writers, s.name, op, won)
			}
		}
	}
	won := r.contend(writers, func(i int) driver.Write { return insertEdge(pinned, "me", fmt.Sprint("p", i), 1, int64(i)) })
	if got := r.list(r.s, pinned, driver.Out, "me", driver.Range{}); won != 1 || len(got) != 1 {
		r.Errorf("a kind that is ToOne has at most one edge per From: %d of %d inserts were Done, %d edges are there", won, writers, len(got))
	}
	r.done(r.s, insertEdge(follows, "a", "b", 5, 1))
	won = r.contend(writers, func(i int) driver.Write {
		return driver.Write{Op: driver.Rekind, Kind: follows, NewKind: blocks, Edge: edgeAt("a", "b", int64(100+i), 0), Expect: 5}
	})
	if won != 1 {
		r.Errorf("of %d Rekinds of one edge exactly one is Done: %d were", writers, won)
	}
}

// contend does the writes all at once and returns how many were Done.
func (r *storeRig) contend(writers int, write func(i int) driver.Write) int {
	r.Helper()
	var won atomic.Int32
	var group sync.WaitGroup
	for i := range writers {
		group.Go(func() {
			w := write(i)
			results, err := r.s.Write(r.Context(), []driver.Write{w})
			if err != nil || len(results) != 1 {
				r.Errorf("%s: %d results, %v", describe(&w), len(results), err)
				return
			}
			if results[0].Outcome == driver.Done {
				won.Add(1)
			}
		})
	}
	group.Wait()
	return int(won.Load())
}
