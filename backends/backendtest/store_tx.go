package backendtest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/graphcache/graphcache/driver"
)

// transactions tests the store as a driver.Transactor.
func (r *storeRig) transactions() {
	transactor, ok := r.s.(driver.Transactor)
	if !r.s.Capabilities().Transactions {
		r.Skip("the store has no transactions")
	}
	if !ok {
		r.Fatal("Capabilities.Transactions: the store is a Transactor; it is not")
	}
	tests := []struct {
		name         string
		serializable bool // only asked of transactions that are
		run          func(*txRig)
	}{
		{"Isolation", false, (*txRig).isolation},
		{"Rollback", false, (*txRig).rollback},
		{"Outcomes", false, (*txRig).outcomes},
		{"LostUpdate", false, (*txRig).lostUpdate},
		{"WriteConflict", false, (*txRig).writeConflict},
		{"Contention", false, (*txRig).contention},
		{"Namespace", false, (*txRig).namespace},
		{"End", false, (*txRig).end},
		{"Ownership", false, (*txRig).ownership},
		{"Find", false, (*txRig).find},
		{"Unique", false, (*txRig).unique},
		{"Modify", false, (*txRig).modify},
		{"StaleReads", true, (*txRig).staleReads},
		{"OwnWritesDoNotConflict", false, (*txRig).ownWrites},
	}
	for _, test := range tests {
		r.Run(test.name, func(t *testing.T) {
			if test.serializable && !r.h.Serializable {
				t.Skip("the transactions are not serializable")
			}
			// Each test has a namespace of its own.
			s := r.s.Namespace("tx " + test.name)
			if err := s.Ensure(t.Context(), suiteSchema()); err != nil {
				t.Fatal(err)
			}
			if transactor, ok = s.(driver.Transactor); !ok {
				t.Fatal("a view of a store that is a Transactor is one too")
			}
			test.run(&txRig{storeRig: &storeRig{T: t, h: r.h, s: s}, transactor: transactor})
		})
	}
}

// txRig is a test of transactions.
type txRig struct {
	*storeRig
	transactor driver.Transactor
}

func (r *txRig) begin() driver.Tx {
	r.Helper()
	tx, err := r.transactor.Begin(r.Context())
	r.must(err)
	return tx
}

// conflicts checks that the transaction cannot commit. It may have said so before
// with an error that wraps ErrConflict.
func (r *txRig) conflicts(rule string, tx driver.Tx, before error) {
	r.Helper()
	if before != nil {
		if !errors.Is(before, driver.ErrConflict) {
			r.Errorf("%s: error %v, want one that wraps ErrConflict", rule, before)
		}
		if err := tx.Rollback(r.Context()); err != nil {
			r.Errorf("%s: Rollback: %v", rule, err)
		}
		return
	}
	if _, err := tx.Commit(r.Context()); !errors.Is(err, driver.ErrConflict) {
		r.Errorf("%s: Commit gives %v, want an error that wraps ErrConflict", rule, err)
	}
}

// replaceObject makes a write that puts another version in place of the object.
func replaceObject(id string, version int64) driver.Write {
	return driver.Write{Op: driver.Replace, Kind: users, Object: &driver.Object{ID: id, Version: version}}
}

// version returns the version of a user, 0 if there is none.
func (r *txRig) version(from readWriter, id string) int64 {
	r.Helper()
	if o := r.get(from, users, id); o != nil {
		return o.Version
	}
	return 0
}

// isolation tests who sees a transaction's writes.
func (r *txRig) isolation() {
	r.done(r.s, insertObject(users, "a", 1, nil), insertObject(users, "gone", 1, nil), insertEdge(follows, "a", "z", 1, 1))
	tx := r.begin()
	marked := insertObject(users, "b", 3, nil)
	marked.Object.Deleting = true
	results := r.done(tx, replaceObject("a", 2), marked,
		driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "gone"}}, insertEdge(wrote, "a", "p", 4, 10),
		driver.Write{Op: driver.Rekind, Kind: follows, NewKind: blocks, Edge: &driver.Edge{From: "a", To: "z", Version: 5}},
		replaceObject("a", 2))
	r.oldObject("in a transaction", results[0], &driver.Object{ID: "a", Version: 1})
	r.oldObject("in a transaction", results[2], &driver.Object{ID: "gone", Version: 1})
	r.oldEdge("in a transaction", results[4], edgeAt("a", "z", 1, 1))
	r.oldObject("a transaction sees its own writes", results[5], &driver.Object{ID: "a", Version: 2})
	see := func(from readWriter) []int64 {
		counts := func(kind string) int64 {
			return int64(r.counts(from, driver.Step{Kind: kind, IDs: []string{"a"}})[0])
		}
		deleting := r.read(from, driver.Step{Op: driver.ScanDeleting, Kind: users}).Objects
		scanned := r.read(from, driver.Step{Op: driver.ScanEdges, Kind: wrote}).Lists[0]
		return []int64{
			r.version(from, "a"), r.version(from, "b"), r.version(from, "gone"), counts(wrote), counts(follows), counts(blocks),
			int64(len(deleting)), int64(len(scanned)),
		}
	}
	before, after := []int64{1, 0, 1, 0, 1, 0, 0, 0}, []int64{2, 3, 0, 1, 0, 1, 1, 1}
	r.equal("a transaction sees its own writes", see(tx), after)
	r.equal("nobody else sees the writes before Commit", see(r.s), before)
	stamp, err := tx.Commit(r.Context())
	r.must(err)
	r.equal("Commit applies the writes", see(r.s), after)
	if next := r.done(r.s, insertObject(users, "later", 1, nil))[0].Stamp; r.s.Capabilities().Stamps && (stamp == "" || next <= stamp) {
		r.Errorf("Commit returns the moment of the writes: stamp %q, then %q", stamp, next)
	}
}

// rollback tests that a transaction that is dropped leaves nothing.
func (r *txRig) rollback() {
	r.done(r.s, insertObject(users, "a", 1, nil))
	tx := r.begin()
	r.done(tx, replaceObject("a", 2), insertObject(users, "b", 2, nil), insertEdge(wrote, "a", "p", 2, 1))
	r.must(tx.Rollback(r.Context()))
	r.equal("Rollback ends the transaction without effect", []int64{r.version(r.s, "a"), r.version(r.s, "b")}, []int64{1, 0})
	r.equal("Rollback ends the transaction without effect", r.list(r.s, wrote, driver.Out, "a", driver.Range{}), []driver.Edge(nil))
	r.done(r.s, replaceObject("a", 3), insertObject(users, "b", 3, nil))
}

// outcomes tests that outcomes in a transaction are judged against what it sees,
// and that one that is not Done does not end it.
func (r *txRig) outcomes() {
	r.done(r.s, insertObject(users, "a", 1, nil))
	tx := r.begin()
	const rule = "an outcome is judged against the state that the transaction sees"
	r.wants(rule, tx, insertObject(users, "a", 2, nil), driver.Exists)
	r.wants(rule, tx, replaceObject("none", 2), driver.Missing)
	r.wants(rule, tx, insertObject(users, "b", 2, nil), driver.Done)
	r.wants(rule, tx, insertObject(users, "b", 3, nil), driver.Exists)
	stale := replaceObject("b", 4)
	stale.Expect = 9
	r.wants(rule, tx, stale, driver.Conflict)
	stale.Expect = 2
	r.wants(rule, tx, stale, driver.Done)
	r.wants(rule, tx, driver.Write{Op: driver.Delete, Kind: users, Object: &driver.Object{ID: "a"}}, driver.Done)
	r.wants(rule, tx, insertObject(users, "a", 5, nil), driver.Done)
	_, err := tx.Commit(r.Context())
	r.must(err)
	r.equal("Commit applies the writes that were Done", []int64{r.version(r.s, "a"), r.version(r.s, "b")}, []int64{5, 4})
}

// lostUpdate tests the order
//
//	tx: read a   other: replace a   tx: replace a, commit
func (r *txRig) lostUpdate() {
	for _, expect := range []int64{0, 1} {
		id := fmt.Sprint("expect ", expect)
		r.done(r.s, insertObject(users, id, 1, nil))
		tx := r.begin()
		r.version(tx, id)
		r.done(r.s, replaceObject(id, 2))
		w := replaceObject(id, 3)
		w.Expect = expect
		results, err := tx.Write(r.Context(), []driver.Write{w})
		if err == nil && len(results) == 1 && results[0].Outcome == driver.Conflict {
			r.must(tx.Rollback(r.Context())) // it saw the other's version, which is as good
		} else {
			r.conflicts("a record that was read and then written by another conflicts", tx, err)
		}
		r.equal("a transaction that conflicts has no effect", r.version(r.s, id), int64(2))
	}
}

// writeConflict tests the order
//
//	first: replace a   second: replace a   first: commit   second: commit
func (r *txRig) writeConflict() {
	r.done(r.s, insertObject(users, "a", 1, nil))
	first, second := r.begin(), r.begin()
	update := replaceObject("a", 2)
	update.Expect = 1
	results, err := first.Write(r.Context(), []driver.Write{update})
	r.must(err)
	r.equal("a write in a transaction is Done if nothing stands against it", results[0].Outcome, driver.Done)
	update = replaceObject("a", 3)
	update.Expect = 1
	_, err = second.Write(r.Context(), []driver.Write{update})
	if _, err := first.Commit(r.Context()); err != nil {
		r.Fatalf("the first of two writers commits: %v", err)
	}
	r.conflicts("the second of two writers of one record conflicts", second, err)
	r.equal("the second of two writers of one record has no effect", r.version(r.s, "a"), int64(2))
}

// contention lets many transactions read a counter and write it back; retried on
// conflict, none is lost.
func (r *txRig) contention() {
	const writers, rounds = 4, 10
	r.done(r.s, insertObject(users, "counter", 1, nil))
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range rounds {
				for {
					err := r.increment()
					if err == nil {
						break
					}
					if !errors.Is(err, driver.ErrConflict) {
						r.Errorf("a transaction under contention: %v, want no error or one that wraps ErrConflict", err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	r.equal("of transactions that read and write the same record none is lost", r.version(r.s, "counter"), int64(1+writers*rounds))
}

func (r *txRig) increment() error {
	tx, err := r.transactor.Begin(r.Context())
	if err != nil {
		return err
	}
	results, err := tx.Read(r.Context(), []driver.Step{{Op: driver.GetObjects, Kind: users, IDs: []string{"counter"}}}, "")
	if err != nil {
		return errors.Join(err, tx.Rollback(r.Context()))
	}
	now := results[0].Objects[0].Version
	w := replaceObject("counter", now+1)
	w.Expect = now
	written, err := tx.Write(r.Context(), []driver.Write{w})
	if err == nil && written[0].Outcome == driver.Conflict {
		err = driver.ErrConflict
	}
	if err != nil {
		return errors.Join(err, tx.Rollback(r.Context()))
	}
	_, err = tx.Commit(r.Context())
	return err
}

// namespace tests that a transaction of a view is in its namespace.
func (r *txRig) namespace() {
	other := r.s.Namespace("tx other")
	r.must(other.Ensure(r.Context(), suiteSchema()))
	r.done(other, insertObject(users, "a", 9, nil))
	tx := r.begin()
	r.equal("a transaction of a view is in its namespace", r.version(tx, "a"), int64(0))
	r.done(tx, insertObject(users, "a", 1, nil))
	_, err := tx.Commit(r.Context())
	r.must(err)
	r.equal("a transaction of a view is in its namespace", []int64{r.version(r.s, "a"), r.version(other, "a")}, []int64{1, 9})
}

// end tests that a transaction is over after Commit and Rollback.
func (r *txRig) end() {
	for _, name := range []string{"Commit", "Rollback"} {
		tx := r.begin()
		r.done(tx, insertObject(users, name, 1, nil))
		if name == "Commit" {
			_, err := tx.Commit(r.Context())
			r.must(err)
		} else {
			r.must(tx.Rollback(r.Context()))
		}
		const rule = "a transaction ends with exactly one call of Commit or Rollback"
		if _, err := tx.Read(r.Context(), []driver.Step{{Op: driver.GetObjects, Kind: users, IDs: []string{"a"}}}, ""); err == nil {
			r.Errorf("%s: Read after %s gives no error", rule, name)
		}
		if _, err := tx.Write(r.Context(), []driver.Write{insertObject(users, "late", 1, nil)}); err == nil {
			r.Errorf("%s: Write after %s gives no error", rule, name)
		}
		if _, err := tx.Commit(r.Context()); err == nil {
			r.Errorf("%s: Commit after %s gives no error", rule, name)
		}
	}
	r.equal("what comes after the end has no effect", r.version(r.s, "late"), int64(0))
}

// ownership tests that the caller may change what it passed in before Commit.
func (r *txRig) ownership() {
	tx := r.begin()
	inner := driver.Document{{Name: "x", Value: "mine"}}
	old := driver.Document{{Name: "x", Value: "mine"}}
	w := insertObject(users, "a", 1, inner)
	r.done(tx, w)
	replace := replaceObject("a", 2)
	replace.Object.Doc, replace.Old = inner, old
	r.done(tx, replace)
	ids := []string{"a"}
	r.read(tx, driver.Step{Op: driver.GetObjects, Kind: users, IDs: ids})
	ids[0], inner[0].Value, old[0].Value, w.Object.ID, replace.Object.Version = "b", "theirs", "theirs", "b", 77
	_, err := tx.Commit(r.Context())
	r.must(err)
	got := r.get(r.s, users, "a")
	r.equal("what is passed in belongs to the caller again when the call returns", got,
		&driver.Object{ID: "a", Version: 2, Doc: driver.Document{{Name: "x", Value: "mine"}}})
}

// ownWrites tests that a transaction's own writes do not make its reads stale.
func (r *txRig) ownWrites() {
	r.done(r.s, insertObject(users, "a", 1, nil))
	tx := r.begin()
	for i := range 4 {
		r.equal("a transaction sees its own writes", r.version(tx, "a"), int64(i+1))
		r.equal("a transaction sees its own writes", r.counts(tx, driver.Step{Kind: wrote, IDs: []string{"a"}}), []int{i})
		r.done(tx, replaceObject("a", int64(i+2)), insertEdge(wrote, "a", fmt.Sprint("p", i), 1, int64(i)))
	}
	r.done(r.s, insertObject(users, "unrelated", 1, nil), insertEdge(wrote, "b", "p1", 1, 1))
	if _, err := tx.Commit(r.Context()); err != nil {
		r.Errorf("a transaction commits when others wrote only what it did not look at: %v", err)
	}
	r.equal("Commit applies the writes", r.version(r.s, "a"), int64(5))
}
