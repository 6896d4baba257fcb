package backendtest

import (
	"errors"
	"fmt"
	"sync"

	"github.com/graphcache/graphcache/driver"
)

// find tests that FindObjects and FindEdges see a transaction's own writes.
func (r *txRig) find() {
	thing := func(op driver.WriteOp, id string, version, n int64) driver.Write {
		w := insertObject(things, id, version, driver.Document{{Name: "number", Value: n}})
		w.Op = op
		return w
	}
	r.done(r.s, thing(driver.Insert, "a", 1, 1), thing(driver.Insert, "b", 1, 2), thing(driver.Insert, "gone", 1, 1), insertEdge(likes, "me", "a", 1, 1))
	filter := on(field("number"), driver.AnyOf, int64(1))
	objects := driver.Step{Op: driver.FindObjects, Kind: things, Filter: &filter}
	edges := driver.Step{Op: driver.FindEdges, Kind: likes, IDs: []string{"me"}, Far: things, Filter: &filter}
	counted := objects
	counted.Count = true
	see := func(from readWriter) []string {
		var far []string
		for _, row := range r.read(from, edges).Rows {
			far = append(far, row.Edge.To)
		}
		return []string{fmt.Sprint(r.read(from, objects).IDs), fmt.Sprint(far), fmt.Sprint(r.read(from, counted).Counts)}
	}
	before, after := []string{"[a gone]", "[a]", "[2]"}, []string{"[b c d]", "[c b]", "[3]"}
	for _, commit := range []bool{false, true} {
		tx := r.begin()
		r.done(tx, thing(driver.Replace, "a", 2, 2), thing(driver.Insert, "c", 2, 1), driver.Write{Op: driver.Delete, Kind: things, Object: &driver.Object{ID: "gone"}},
			thing(driver.Insert, "d", 2, 1), driver.Write{Op: driver.Modify, Kind: things, Object: &driver.Object{ID: "b"}, Changes: []driver.Change{add("number", int64(-1), nil, nil)}},
			insertEdge(likes, "me", "b", 2, 1), insertEdge(likes, "me", "c", 2, 2))
		r.equal("a transaction sees its own writes", see(tx), after)
		r.equal("nobody else sees the writes before Commit", see(r.s), before)
		if !commit {
			r.must(tx.Rollback(r.Context()))
			r.equal("Rollback ends the transaction without effect", see(r.s), before)
			continue
		}
		_, err := tx.Commit(r.Context())
		r.must(err)
		r.equal("Commit applies the writes", see(r.s), after)
	}
}

// unique tests unique indexes in transactions.
func (r *txRig) unique() {
	const rule = "an outcome is judged against the state that the transaction sees, entries of unique indexes included"
	r.done(r.s, account(driver.Insert, "a", 1, "email", "x"))
	remove := driver.Write{Op: driver.Delete, Kind: accounts, Object: &driver.Object{ID: "a"}}
	for _, commit := range []bool{false, true} {
		tx := r.begin()
		r.breaks(rule, tx, account(driver.Insert, "b", 2, "email", "x"), "by email")
		r.done(tx, remove)
		r.wants(rule, tx, account(driver.Insert, "b", 2, "email", "x"), driver.Done)
		r.breaks(rule, tx, account(driver.Insert, "c", 2, "email", "x"), "by email")
		if !commit {
			r.must(tx.Rollback(r.Context()))
			r.breaks("Rollback ends the transaction without effect", r.s, account(driver.Insert, "c", 2, "email", "x"), "by email")
			continue
		}
		_, err := tx.Commit(r.Context())
		r.must(err)
	}
	r.equal("Commit applies the writes", []bool{r.get(r.s, accounts, "a") != nil, r.get(r.s, accounts, "b") != nil}, []bool{false, true})

	first, second := r.begin(), r.begin()
	r.done(first, account(driver.Insert, "m", 3, "email", "y"))
	_, err := second.Write(r.Context(), []driver.Write{account(driver.Insert, "n", 3, "email", "y")})
	if _, err := first.Commit(r.Context()); err != nil {
		r.Fatalf("the first of two that take an entry commits: %v", err)
	}
	r.conflicts("the second of two transactions that take the same entry conflicts", second, err)
	filter := on(field("email"), driver.AnyOf, "y")
	r.finds("the second of two transactions that take the same entry has no effect", accounts, &filter, []string{"m"})
}

// modify tests Modify in transactions.
func (r *txRig) modify() {
	one := add("n", int64(1), nil, nil)
	r.done(r.s, insertObject(users, "a", 1, nil))
	tx := r.begin()
	r.equal("a transaction sees its own writes", r.done(tx, modifyUser("a", one))[0].Object.Version, int64(2))
	r.equal("a transaction sees its own writes", r.done(tx, modifyUser("a", one), modifyUser("a", one))[1].Object.Version, int64(4))
	r.wants("an outcome is judged against the state that the transaction sees", tx, modifyUser("a", add("n", int64(1), nil, int64(3))), driver.Conflict)
	n, _ := r.get(tx, users, "a").Doc.Get("n")
	r.equal("a transaction sees its own writes", n, driver.Value(int64(3)))
	r.equal("nobody else sees the writes before Commit", r.version(r.s, "a"), int64(1))
	changes := []driver.Change{set("f", driver.Document{{Name: "x", Value: "mine"}})}
	r.done(tx, modifyUser("a", changes...))
	changes[0].Set.(driver.Document)[0].Value = "theirs"
	changes[0] = set("f", "theirs")
	_, err := tx.Commit(r.Context())
	r.must(err)
	r.equal("Commit applies the writes, as they were when they were passed in", r.get(r.s, users, "a"), &driver.Object{ID: "a", Version: 5,
		Doc: driver.Document{{Name: "n", Value: int64(3)}, {Name: "f", Value: driver.Document{{Name: "x", Value: "mine"}}}}})
	tx = r.begin()
	r.done(tx, modifyUser("a", one))
	r.must(tx.Rollback(r.Context()))
	r.equal("Rollback ends the transaction without effect", r.version(r.s, "a"), int64(5))

	first, second := r.begin(), r.begin()
	r.done(first, modifyUser("a", one))
	_, err = second.Write(r.Context(), []driver.Write{modifyUser("a", one)})
	if _, err := first.Commit(r.Context()); err != nil {
		r.Fatalf("the first of two that change an object commits: %v", err)
	}
	r.conflicts("the second of two writers of one record conflicts", second, err)
	r.modifyContention()
}

// modifyContention lets transactions add to one number; retried on conflict, no sum
// is lost.
func (r *txRig) modifyContention() {
	const writers, rounds = 4, 8
	r.done(r.s, insertObject(users, "sum", 1, nil))
	var group sync.WaitGroup
	for range writers {
		group.Go(func() {
			for range rounds {
				err := r.addOne()
				for errors.Is(err, driver.ErrConflict) {
					err = r.addOne()
				}
				if err != nil {
					r.Errorf("a transaction under contention: %v, want no error or one that wraps ErrConflict", err)
					return
				}
			}
		})
	}
	group.Wait()
	n, _ := r.get(r.s, users, "sum").Doc.Get("n")
	r.equal("of transactions that add to the same number none is lost", n, driver.Value(int64(writers*rounds)))
}

func (r *txRig) addOne() error {
	tx, err := r.transactor.Begin(r.Context())
	if err != nil {
		return err
	}
	if _, err := tx.Write(r.Context(), []driver.Write{modifyUser("sum", add("n", int64(1), nil, nil))}); err != nil {
		return errors.Join(err, tx.Rollback(r.Context()))
	}
	_, err = tx.Commit(r.Context())
	return err
}
