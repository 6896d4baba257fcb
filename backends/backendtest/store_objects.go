package backendtest

import (
	"context"
	"fmt"

	"github.com/graphcache/graphcache/driver"
)

// identity tests the store's name for itself.
func (r *storeRig) identity() {
	id, err := r.s.ID(r.Context())
	r.must(err)
	if id == "" {
		r.Errorf("ID is the random identity of the database: got an empty one")
	}
	again, err := r.s.ID(r.Context())
	r.must(err)
	r.equal("ID is made once", again, id)
	viewed, err := r.s.Namespace("tenant").ID(r.Context())
	r.must(err)
	r.equal("ID is the same for every namespace", viewed, id)
	other := r.h.New(r.T)
	defer other.Close(context.WithoutCancel(r.Context()))
	otherID, err := other.ID(r.Context())
	r.must(err)
	if otherID == id {
		r.Errorf("ID differs between two databases: both have %q", id)
	}
	if r.s.Capabilities().Name == "" {
		r.Errorf("Capabilities.Name says what the store is: it is empty")
	}
}

// ensure tests that declaring kinds is idempotent, additive and concurrent.
func (r *storeRig) ensure() {
	r.done(r.s, insertObject(users, "a", 1, nil), insertEdge(wrote, "a", "p", 1, 5))
	errs := make(chan error, 8)
	for i := range cap(errs) {
		go func() {
			schema := suiteSchema()
			schema.Objects = append(schema.Objects, driver.ObjectKind{Name: fmt.Sprint("more", i%2)})
			errs <- r.s.Ensure(r.Context(), schema)
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			r.Errorf("Ensure may be called by many at once: %v", err)
		}
	}
	r.must(r.s.Ensure(r.Context(), driver.Schema{Objects: []driver.ObjectKind{{Name: "alone"}}}))
	r.done(r.s, insertObject("more0", "a", 1, nil), insertObject("more1", "a", 1, nil), insertObject("alone", "a", 1, nil))
	if r.get(r.s, users, "a") == nil || len(r.list(r.s, wrote, driver.Out, "a", driver.Range{})) != 1 {
		r.Errorf("Ensure drops nothing and leaves other kinds alone: records are gone")
	}
}

// objects tests how objects are read.
func (r *storeRig) objects() {
	r.done(r.s,
		insertObject(users, "a", 11, driver.Document{{Name: "name", Value: "Ann"}}),
		insertObject(users, "b", 12, nil),
		insertObject(posts, "a", 13, driver.Document{{Name: "title", Value: "A"}}))
	got := r.read(r.s, driver.Step{Op: driver.GetObjects, Kind: users, IDs: []string{"b", "none", "a", "A"}})
	r.equal("GetObjects gives one object for each ID in order, nil where there is none", got.Objects, []*driver.Object{
		{ID: "b", Version: 12}, nil, {ID: "a", Version: 11, Doc: driver.Document{{Name: "name", Value: "Ann"}}}, nil,
	})
	r.equal("kinds are apart", r.get(r.s, posts, "a").Version, int64(13))
	steps := []driver.Step{
		{Op: driver.GetObjects, Kind: posts, IDs: []string{"a"}},
		{Op: driver.ListEdges, Kind: wrote, IDs: []string{"a", "b"}},
		{Op: driver.CountEdges, Kind: wrote, IDs: []string{"a", "b", "c"}},
		{Op: driver.GetObjects, Kind: users},
	}
	results, err := r.s.Read(r.Context(), steps, "")
	r.must(err)
	if len(results) != 4 || len(results[0].Objects) != 1 || len(results[1].Lists) != 2 || len(results[2].Counts) != 3 || len(results[3].Objects) != 0 {
		r.Errorf("Read answers each step, with an element for each ID: got %+v", results)
	}
	if results, err := r.s.Read(r.Context(), nil, ""); err != nil || len(results) != 0 {
		r.Errorf("an empty batch has an empty result: got %v, %v", results, err)
	}
	r.manyObjects()
}

// manyObjects reads thousands in one step.
func (r *storeRig) manyObjects() {
	const n = 3000
	var writes []driver.Write
	var ids []string
	for i := range n {
		id := fmt.Sprintf("many %d", (i*7919)%n)
		ids = append(ids, id)
		writes = append(writes, insertObject(posts, id, int64(i+1), nil))
	}
	r.done(r.s, writes...)
	for i, o := range r.read(r.s, driver.Step{Op: driver.GetObjects, Kind: posts, IDs: ids}).Objects {
		if o == nil || o.ID != ids[i] || o.Version != int64(i+1) {
			r.Fatalf("a step may have thousands of IDs, answered in order: element %d is %+v, want %q", i, o, ids[i])
		}
	}
}

// batches tests that writes are applied in order and each for itself.
func (r *storeRig) batches() {
	r.done(r.s, insertObject(users, "there", 1, nil))
	replace := insertObject(users, "new", 3, nil)
	replace.Op, replace.Expect = driver.Replace, 2
	stale := replace
	remove := driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "new"}, Expect: 3}
	results, err := r.s.Write(r.Context(), []driver.Write{
		insertObject(users, "there", 2, nil),
		insertObject(users, "new", 2, nil),
		{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "missing"}},
		replace,
		stale,
		insertEdge(wrote, "there", "p", 1, 1),
		remove,
		insertObject(users, "new", 4, nil),
	})
	r.must(err)
	var got []driver.Outcome
	for i := range results {
		got = append(got, results[i].Outcome)
	}
	r.equal("Write applies the writes in order, a later one even if an earlier one was not applied", got, []driver.Outcome{
		driver.Exists, driver.Done, driver.Missing, driver.Done, driver.Conflict, driver.Done, driver.Done, driver.Done,
	})
	r.equal("Write applies the writes in order", r.get(r.s, users, "new").Version, int64(4))
	r.equal("a write that is not Done changes nothing", r.get(r.s, users, "there").Version, int64(1))
	if results, err := r.s.Write(r.Context(), nil); err != nil || len(results) != 0 {
		r.Errorf("an empty batch has an empty result: got %v, %v", results, err)
	}
}

// canceled calls the store with a context that has ended.
func (r *storeRig) canceled() {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	if results, err := r.s.Read(ctx, []driver.Step{{Op: driver.GetObjects, Kind: users, IDs: []string{"a"}}}, ""); err == nil || results != nil {
		r.Errorf("Read with a context that has ended: with an error the results are nil: got %v, %v", results, err)
	}
	results, err := r.s.Write(ctx, []driver.Write{insertObject(users, "a", 1, nil), insertObject(users, "b", 1, nil)})
	if err == nil {
		r.Errorf("Write with a context that has ended returns an error")
	}
	for i, id := range []string{"a", "b"} {
		there := r.get(r.s, users, id) != nil
		outcome := driver.Unknown
		if i < len(results) {
			outcome = results[i].Outcome
		}
		if outcome != driver.Unknown && there != (outcome == driver.Done) {
			r.Errorf("the outcomes say what is known of each write: %v, and the record is there: %v", outcome, there)
		}
	}
	if _, err := r.s.ID(r.Context()); err != nil {
		r.Errorf("a context that has ended spoils the next call: %v", err)
	}
}

// stamps tests the store's logical clock.
func (r *storeRig) stamps() {
	if !r.s.Capabilities().Stamps {
		r.equal("a store without a logical clock returns no stamps", r.done(r.s, insertObject(users, "a", 1, nil))[0].Stamp, driver.Stamp(""))
		return
	}
	var last driver.Stamp
	stores := []driver.Store{r.s, r.s.Namespace("tenant")}
	r.must(stores[1].Ensure(r.Context(), suiteSchema()))
	for i := range 20 {
		id := fmt.Sprint(i)
		writes := []driver.Write{insertObject(users, id, 1, nil), insertEdge(wrote, id, "p", 1, 1)}
		if i%5 == 4 {
			writes = []driver.Write{{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: fmt.Sprint(i - 2)}}}
		}
		before := last
		for _, result := range r.done(stores[i%2], writes...) {
			if result.Stamp <= before || result.Stamp < last || len(result.Stamp) > 64 {
				r.Errorf("the later of two stamps of one store is the greater string, at most 64 bytes: %q after %q", result.Stamp, last)
			}
			last = result.Stamp
		}
	}
	var many []driver.Write
	for i := range 600 { // beyond one byte of a counter
		many = append(many, insertObject(posts, fmt.Sprint(i), 1, nil))
	}
	for i, result := range r.done(r.s, many...) {
		if result.Stamp < last {
			r.Fatalf("the later of two stamps of one store is the greater string: write %d has %q after %q", i, result.Stamp, last)
		}
		last = result.Stamp
	}
	results, err := stores[0].Read(r.Context(), []driver.Step{{Op: driver.GetObjects, Kind: users, IDs: []string{"18"}}}, last)
	if got := one(r.T, "Read", results, err); got.Objects[0] == nil {
		r.Errorf("Read includes every write whose stamp is not after atLeast: it is not there")
	}
}

// reopen tests what a second store over the same database sees.
func (r *storeRig) reopen() {
	if r.h.Reopen == nil {
		r.Skip("the harness cannot open a database a second time")
	}
	id, err := r.s.ID(r.Context())
	r.must(err)
	stamp := r.done(r.s, insertObject(users, "a", 7, nil), insertEdge(pinned, "a", "p", 8, 1))[1].Stamp
	other := r.h.Reopen(r.T, r.s)
	defer other.Close(context.WithoutCancel(r.Context()))
	r.must(other.Ensure(r.Context(), suiteSchema()))
	otherID, err := other.ID(r.Context())
	r.must(err)
	r.equal("ID is kept in the database", otherID, id)
	results, err := other.Read(r.Context(), []driver.Step{{Op: driver.GetObjects, Kind: users, IDs: []string{"a"}}}, stamp)
	if got := one(r.T, "Read", results, err).Objects[0]; got == nil || got.Version != 7 {
		r.Errorf("records are durable: a second store reads %+v", got)
	}
	r.wants("records are durable", other, insertEdge(pinned, "a", "q", 9, 1), driver.Exists)
}
