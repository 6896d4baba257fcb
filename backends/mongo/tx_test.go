package mongo_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// txTest is a test of the transactions of a store. The suite in package backendtest has
// the rules; here is what can go wrong with this database.
type txTest struct {
	*testing.T
	s driver.Store
}

// eachTx runs f on an ensured store of each server that has transactions.
func eachTx(t *testing.T, f func(r txTest)) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Need(t, mongotest.Transactions)
		store := open(t, s, mongo.Options{})
		ensure(t, store, someSchema)
		f(txTest{t, store})
	})
}

func (r txTest) begin() driver.Tx {
	r.Helper()
	tx, err := r.s.(driver.Transactor).Begin(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return tx
}

// write makes a write in the transaction that must end with the outcome.
func (r txTest) write(tx driver.Tx, w driver.Write, want driver.Outcome) driver.WriteResult {
	r.Helper()
	results, err := tx.Write(r.Context(), []driver.Write{w})
	if err != nil || results[0].Outcome != want {
		r.Fatalf("in the transaction %v %s %v %v: %v, %v, want %v", w.Op, w.Kind, w.Object, w.Edge, results[0].Outcome, err, want)
	}
	return results[0]
}

func (r txTest) commit(tx driver.Tx) driver.Stamp {
	r.Helper()
	stamp, err := tx.Commit(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	return stamp
}

// txReads asks for everything there is of the objects a, b and c, in every way.
func txReads() []driver.Step {
	ids := []string{"a", "b", "c"}
	steps := []driver.Step{
		{Op: driver.GetObjects, Kind: "user", IDs: ids},
		{Op: driver.FindObjects, Kind: "user", Order: []driver.Order{{Column: countColumn}}},
		{Op: driver.FindObjects, Kind: "user", Count: true},
	}
	for _, kind := range []string{"follows", "friend", "home", "likes", "hates"} {
		steps = append(steps,
			driver.Step{Op: driver.ListEdges, Kind: kind, IDs: ids},
			driver.Step{Op: driver.CountEdges, Kind: kind, IDs: ids},
			driver.Step{Op: driver.ScanEdges, Kind: kind},
			driver.Step{Op: driver.FindEdges, Kind: kind, IDs: ids},
		)
	}
	return steps
}

// state shows everything there is of the objects a, b and c.
func (r txTest) state(from interface {
	Read(context.Context, []driver.Step, driver.Stamp) ([]driver.Result, error)
}) string {
	r.Helper()
	results, err := from.Read(r.Context(), txReads(), "")
	if err != nil {
		r.Fatal(err)
	}
	var b strings.Builder
	for i := range results {
		for _, o := range results[i].Objects {
			if o != nil {
				fmt.Fprintf(&b, "%+v ", *o)
			}
		}
		fmt.Fprintf(&b, "%v %v %v %v\n", results[i].Lists, results[i].Counts, results[i].IDs, results[i].Rows)
	}
	return b.String()
}

// is checks the state that the store has.
func (r txTest) is(rule, want string) {
	r.Helper()
	if got := r.state(r.s); got != want {
		r.Errorf("%s: the state is\n%s\nwant\n%s", rule, got, want)
	}
}

func txUser(op driver.WriteOp, id string, version int64, fields ...driver.Field) driver.Write {
	return driver.Write{Op: op, Kind: "user", Object: &driver.Object{ID: id, Version: version, Doc: fields}}
}

func txEdge(op driver.WriteOp, kind, to string, version int64) driver.Write {
	e := &driver.Edge{From: "a", To: to, Version: version, Time: time.UnixMilli(version).UTC()}
	return driver.Write{Op: op, Kind: kind, Edge: e}
}

func email(s string) driver.Field { return driver.Field{Name: "email", Value: s} }

// isConflict checks an error after which a transaction can be run again.
func (r txTest) isConflict(doing string, err error) {
	r.Helper()
	if !errors.Is(err, driver.ErrConflict) || errors.Is(err, driver.ErrUnknownOutcome) {
		r.Errorf("%s: %v, want ErrConflict", doing, err)
	}
}

// lost checks that a transaction has lost: nothing can be done with it but to end it.
func (r txTest) lost(tx driver.Tx) {
	r.Helper()
	_, err := tx.Read(r.Context(), txReads()[:1], "")
	r.isConflict("Read after a conflict", err)
	results, err := tx.Write(r.Context(), []driver.Write{txUser(driver.Insert, "late", 1)})
	r.isConflict("Write after a conflict", err)
	if len(results) != 1 || results[0].Outcome != driver.Refused {
		r.Errorf("Write after a conflict: %v, want Refused", results)
	}
	_, err = tx.Commit(r.Context())
	r.isConflict("Commit after a conflict", err)
	if get(r, r.s, "user", "late") != nil {
		r.Error("a write after a conflict was applied")
	}
}

// TestTxConflicts lets a transaction write what somebody else has written since it began.
func TestTxConflicts(t *testing.T) {
	add := driver.Write{Op: driver.Modify, Kind: "user", Object: &driver.Object{ID: "a"}, Changes: plus("a", 1).Changes}
	loop := txEdge(driver.Rekind, "likes", "p", 3)
	loop.NewKind = "hates"
	tests := []struct {
		name         string
		ours, theirs driver.Write
	}{
		{"insert", txUser(driver.Insert, "b", 1), txUser(driver.Insert, "b", 2)},
		{"replace", txUser(driver.Replace, "a", 2), txUser(driver.Replace, "a", 3)},
		{"modify", add, add},
		{"modify and replace", add, txUser(driver.Replace, "a", 3)},
		{"delete and replace", txUser(driver.Delete, "a", 0), txUser(driver.Replace, "a", 3)},
		{"replace and delete", txUser(driver.Replace, "a", 2), txUser(driver.Delete, "a", 0)},
		{"unique", txUser(driver.Insert, "b", 1, email("x")), txUser(driver.Insert, "c", 1, email("x"))},
		{"unique of a replace", txUser(driver.Replace, "a", 2, email("x")), txUser(driver.Insert, "c", 1, email("x"))},
		{"edge", txEdge(driver.Insert, "follows", "b", 1), txEdge(driver.Insert, "follows", "b", 2)},
		{"to-one edge", txEdge(driver.Insert, "home", "p", 1), txEdge(driver.Insert, "home", "q", 2)},
		{"edge of a family", txEdge(driver.Insert, "hates", "q", 1), txEdge(driver.Insert, "hates", "q", 2)},
		{"change of kind", loop, txEdge(driver.Delete, "likes", "p", 0)},
		{"into the way of a change of kind", loop, txEdge(driver.Insert, "hates", "p", 2)},
	}
	eachTx(t, func(r txTest) {
		for i, tt := range tests {
			r.Run(tt.name, func(t *testing.T) {
				for _, committed := range []bool{true, false} {
					r := txTest{t, r.s.Namespace(fmt.Sprint("conflict ", i, committed))}
					ensure(t, r.s, someSchema)
					write(t, r.s, txUser(driver.Insert, "a", 1, driver.Field{Name: "n", Value: int64(1)}), driver.Done)
					write(t, r.s, txEdge(driver.Insert, "likes", "p", 1), driver.Done)
					tx := r.begin()
					r.write(tx, txUser(driver.Insert, "bystander", 1), driver.Done)
					end := func() {}
					if committed {
						write(t, r.s, tt.theirs, driver.Done)
					} else {
						other := r.begin()
						r.write(other, tt.theirs, driver.Done)
						end = func() { r.commit(other) }
					}
					_, err := tx.Write(t.Context(), []driver.Write{tt.ours})
					r.isConflict(fmt.Sprintf("a write of what somebody else has written, committed %v", committed), err)
					r.lost(tx)
					end()
					r.won(tt.theirs)
				}
			})
		}
	})
}

// won checks that there is what one write has made of the objects a and likes p, and nothing
// else.
func (r txTest) won(w driver.Write) {
	r.Helper()
	expected := r.s.Namespace("won " + rand.Text())
	ensure(r, expected, someSchema)
	write(r, expected, txUser(driver.Insert, "a", 1, driver.Field{Name: "n", Value: int64(1)}), driver.Done)
	write(r, expected, txEdge(driver.Insert, "likes", "p", 1), driver.Done)
	write(r, expected, w, driver.Done)
	want := txTest{r.T, expected}.state(expected)
	r.is("the one who loses leaves nothing", want)
}

// TestTxOutcomes lets writes of a transaction find something in their way, which does not
// end it.
func TestTxOutcomes(t *testing.T) {
	eachTx(t, func(r txTest) {
		write(r, r.s, txUser(driver.Insert, "a", 1, email("a")), driver.Done)
		write(r, r.s, txEdge(driver.Insert, "likes", "p", 1), driver.Done)
		write(r, r.s, txEdge(driver.Insert, "hates", "p", 1), driver.Done)
		write(r, r.s, txEdge(driver.Insert, "home", "p", 1), driver.Done)
		tx := r.begin()
		expecting := func(w driver.Write, version int64) driver.Write { w.Expect = version; return w }
		rekind := txEdge(driver.Rekind, "likes", "p", 2)
		rekind.NewKind = "hates"
		for _, w := range []struct {
			driver.Write
			want  driver.Outcome
			index string
		}{
			{txUser(driver.Insert, "a", 2), driver.Exists, ""},
			{txUser(driver.Insert, "b", 1, email("a")), driver.Exists, "email"},
			{txUser(driver.Insert, "b", 1, email("b")), driver.Done, ""},
			{txUser(driver.Replace, "b", 2, email("a")), driver.Exists, "email"},
			{txUser(driver.Insert, "c", 1, email("b")), driver.Exists, "email"},
			{expecting(txUser(driver.Replace, "b", 2), 9), driver.Conflict, ""},
			{txUser(driver.Replace, "c", 2), driver.Missing, ""},
			{txUser(driver.Delete, "c", 0), driver.Missing, ""},
			{plus("c", 1), driver.Missing, ""},
			{plus("b", 3), driver.Done, ""},
			{txEdge(driver.Insert, "likes", "p", 3), driver.Exists, ""},
			{txEdge(driver.Insert, "home", "q", 3), driver.Exists, ""},
			{rekind, driver.Exists, ""},
			{txEdge(driver.Delete, "hates", "p", 0), driver.Done, ""},
			{rekind, driver.Done, ""},
			{txEdge(driver.Delete, "likes", "p", 0), driver.Missing, ""},
		} {
			if got := r.write(tx, w.Write, w.want); got.Index != w.index || got.Stamp != "" {
				r.Errorf("%v of %v %v: index %q and stamp %q, want index %q and no stamp", w.Op, w.Object, w.Edge, got.Index, got.Stamp, w.index)
			}
		}
		if _, err := tx.Write(r.Context(), []driver.Write{txUser(driver.Insert, "", 1)}); !errors.Is(err, driver.ErrInvalid) {
			r.Errorf("an object without an ID: %v, want ErrInvalid", err)
		}
		within := r.state(tx)
		r.commit(tx)
		r.is("what was Done is there after Commit, and nothing else", within)
		if n := field(get(r, r.s, "user", "b"), "n"); n != int64(3) {
			r.Errorf("n is %v, want 3", n)
		}
	})
}

// TestTxSnapshot reads in a transaction while others write.
func TestTxSnapshot(t *testing.T) {
	eachTx(t, func(r txTest) {
		write(r, r.s, txUser(driver.Insert, "a", 1), driver.Done)
		write(r, r.s, txEdge(driver.Insert, "follows", "b", 1), driver.Done)
		before := r.state(r.s)
		tx := r.begin()
		if got := r.state(tx); got != before {
			r.Errorf("a transaction sees\n%s\nwhere there is\n%s", got, before)
		}
		write(r, r.s, txUser(driver.Replace, "a", 2), driver.Done)
		write(r, r.s, txUser(driver.Insert, "b", 1), driver.Done)
		write(r, r.s, txEdge(driver.Insert, "follows", "c", 2), driver.Done)
		write(r, r.s, txEdge(driver.Delete, "follows", "b", 0), driver.Done)
		if got := r.state(tx); got != before {
			r.Errorf("a transaction sees\n%s\nwhere there was\n%s\nwhen it began", got, before)
		}
		r.write(tx, txUser(driver.Insert, "c", 1), driver.Done)
		r.write(tx, txEdge(driver.Insert, "home", "p", 1), driver.Done)
		if got := r.state(tx); !strings.Contains(got, "ID:c ") || strings.Contains(got, "ID:b ") {
			r.Errorf("a transaction sees its own writes and those from before it alone, not\n%s", got)
		}
		outside := r.state(r.s)
		if strings.Contains(outside, "ID:c ") {
			r.Error("a write is seen before Commit")
		}
		r.commit(tx)
		if got := r.state(r.s); !strings.Contains(got, "ID:b ") || !strings.Contains(got, "ID:c ") {
			r.Errorf("after Commit there is\n%s\nwant b and c in it", got)
		}
	})
}

// TestTxEnd uses transactions that have ended.
func TestTxEnd(t *testing.T) {
	ends := map[string]func(ctx context.Context, tx driver.Tx) error{
		"commit":   func(ctx context.Context, tx driver.Tx) error { _, err := tx.Commit(ctx); return err },
		"rollback": func(ctx context.Context, tx driver.Tx) error { return tx.Rollback(ctx) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			eachTx(t, func(r txTest) {
				for _, empty := range []bool{true, false} {
					tx := r.begin()
					if !empty {
						r.write(tx, txUser(driver.Insert, "a", 1), driver.Done)
					}
					if err := end(r.Context(), tx); err != nil {
						r.Errorf("the end, of one that did nothing %v: %v", empty, err)
					}
					_, read := tx.Read(r.Context(), txReads(), "")
					results, written := tx.Write(r.Context(), []driver.Write{txUser(driver.Insert, "b", 1)})
					_, committed := tx.Commit(r.Context())
					for doing, err := range map[string]error{"Read": read, "Write": written, "Commit": committed, "Rollback": tx.Rollback(r.Context())} {
						if !errors.Is(err, driver.ErrInvalid) {
							r.Errorf("%s after the end: %v, want ErrInvalid", doing, err)
						}
					}
					if results[0].Outcome != driver.Refused || get(r, r.s, "user", "b") != nil {
						r.Errorf("a write after the end is %v, want Refused", results[0].Outcome)
					}
				}
				if there := get(r, r.s, "user", "a") != nil; there != (name == "commit") {
					r.Errorf("after %s, what was written is there: %v", name, there)
				}
			})
		})
	}
}

// TestTxContextEnded calls with a context that has ended before: nothing is sent.
func TestTxContextEnded(t *testing.T) {
	eachTx(t, func(r txTest) {
		ended, cancel := context.WithCancel(r.Context())
		cancel()
		if _, err := r.s.(driver.Transactor).Begin(ended); !errors.Is(err, driver.ErrUnavailable) || !errors.Is(err, context.Canceled) {
			r.Errorf("Begin: %v, want ErrUnavailable and the context's error", err)
		}
		tx := r.begin()
		r.write(tx, txUser(driver.Insert, "a", 1), driver.Done)
		if _, err := tx.Commit(ended); !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrUnknownOutcome) {
			r.Errorf("Commit: %v, want ErrUnavailable", err)
		}
		if get(r, r.s, "user", "a") != nil {
			r.Error("a commit with a context that had ended was applied")
		}
		// It has ended at the server, too.
		write(r, r.s, txUser(driver.Insert, "a", 2), driver.Done)
	})
}

// TestTxStamps holds the stamps of commits against those of writes.
func TestTxStamps(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Need(t, mongotest.Transactions, mongotest.OperationTime)
		o := mongo.Options{Database: s.Database(t)}
		r := txTest{t, reopen(t, s, o)}
		other := reopen(t, s, o)
		ensure(t, r.s, someSchema)
		ensure(t, other, someSchema)
		before := write(t, r.s, txUser(driver.Insert, "a", 1), driver.Done).Stamp
		for i := range 10 {
			tx := r.begin()
			if o := r.state(tx); !strings.Contains(o, "ID:a ") {
				t.Fatalf("a transaction does not see what this store has written before: %s", o)
			}
			id := fmt.Sprint("c", i)
			r.write(tx, txUser(driver.Insert, id, 1), driver.Done)
			stamp := r.commit(tx)
			if stamp <= before {
				t.Errorf("the stamp of a commit is %x, after %x", stamp, before)
			}
			results, err := other.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{id}}}, stamp)
			if err != nil || results[0].Objects[0] == nil {
				t.Errorf("a read that asks for what was committed does not see it: %v", err)
			}
			if before = write(t, other, plus(id, 1), driver.Done).Stamp; before <= stamp {
				t.Errorf("the stamp of a write is %x, after a commit at %x", before, stamp)
			}
		}
		tx := r.begin()
		r.state(tx)
		r.commit(tx) // it has only read
	})
}

// isCommit is for [faulty.arm].
func isCommit(cmd string) bool { return cmd == "commitTransaction" }

// twoWrites begins a transaction of the store behind the proxy with two writes, of which the
// second shows how often it was applied.
func (f *faulty) twoWrites(t *testing.T, id string) driver.Tx {
	t.Helper()
	write(t, f.clean, driver.Write{Op: driver.Insert, Kind: "user", Object: numbered(id, 1, 0)}, driver.Done)
	r := txTest{t, f.store}
	tx := r.begin()
	r.write(tx, txUser(driver.Insert, id+" other", 1), driver.Done)
	r.write(tx, plus(id, 1), driver.Done)
	return tx
}

// applied returns how often the two writes were applied.
func (f *faulty) applied(t *testing.T, id string) int64 {
	t.Helper()
	results, err := f.clean.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{id, id + " other"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	n, _ := field(results[0].Objects[0], "n").(int64)
	if there := results[0].Objects[1] != nil; there != (n > 0) {
		t.Errorf("half of a transaction is there: n is %d, the other object is there: %v", n, there)
	}
	return n
}

// TestTxCommitCut cuts the connection while the commit is under way. One that is sent again
// is applied once.
func TestTxCommitCut(t *testing.T) {
	f := newFaulty(t, "")
	for _, tt := range []struct {
		name   string
		action mongotest.Action
		times  int
		want   int64
		known  bool
	}{
		{"once before it is applied", mongotest.CutBefore, 1, 1, true},
		{"once after it was applied", mongotest.CutAfter, 1, 1, true},
		{"some times before it is applied", mongotest.CutBefore, 3, 1, true},
		{"some times after it was applied", mongotest.CutAfter, 3, 1, true},
		{"always before it is applied", mongotest.CutBefore, 1000, 0, false},
		{"always after it was applied", mongotest.CutAfter, 1000, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := f.behind(t, "")
			tx := f.twoWrites(t, tt.name)
			f.arm(tt.action, tt.times, isCommit)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			stamp, err := tx.Commit(ctx)
			switch {
			case tt.known && (err != nil || stamp == ""):
				t.Errorf("Commit gives the stamp %q and %v, want a stamp and no error", stamp, err)
			case !tt.known && !errors.Is(err, driver.ErrUnknownOutcome), !tt.known && errors.Is(err, driver.ErrUnavailable):
				t.Errorf("Commit: %v, want ErrUnknownOutcome alone", err)
			}
			if n := f.applied(t, tt.name); n != tt.want {
				t.Errorf("the writes were applied %d times, want %d", n, tt.want)
			}
		})
	}
}

// TestTxCommitHangs ends the context of a commit that is not answered.
func TestTxCommitHangs(t *testing.T) {
	f := newFaulty(t, "")
	for _, action := range []mongotest.Action{mongotest.HangBefore, mongotest.HangAfter} {
		for _, cancelled := range []bool{false, true} {
			t.Run(fmt.Sprintf("action %d, cancelled %v", action, cancelled), func(t *testing.T) {
				f := f.behind(t, "")
				tx := f.twoWrites(t, t.Name())
				f.arm(action, 1, isCommit)
				ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
				defer cancel()
				if cancelled {
					ctx, cancel = context.WithCancel(t.Context())
					time.AfterFunc(400*time.Millisecond, cancel)
				}
				begin := time.Now()
				_, err := tx.Commit(ctx)
				if !errors.Is(err, driver.ErrUnknownOutcome) || errors.Is(err, driver.ErrUnavailable) {
					t.Errorf("Commit: %v, want ErrUnknownOutcome alone", err)
				}
				if d := time.Since(begin); d > 2*time.Second {
					t.Errorf("Commit took %v after its context had ended", d)
				}
				if n := f.applied(t, t.Name()); n != 0 && action == mongotest.HangBefore || n != 1 && action == mongotest.HangAfter {
					t.Errorf("the writes were applied %d times", n)
				}
				f.proxy.Release()
				time.Sleep(50 * time.Millisecond)
				if n := f.applied(t, t.Name()); n > 1 {
					t.Errorf("the writes were applied %d times, at most once is right", n)
				}
			})
		}
	}
}

// TestTxCommitUnreachable takes the server away after a commit was sent, or before. What
// could not be sent again may have been applied the first time.
func TestTxCommitUnreachable(t *testing.T) {
	f := newFaulty(t, "")
	for _, sent := range []bool{true, false} {
		t.Run(fmt.Sprintf("sent %v", sent), func(t *testing.T) {
			t.Parallel()
			f := f.behind(t, "")
			tx := f.twoWrites(t, t.Name())
			if sent {
				f.proxy.On(func(cmd string) mongotest.Action {
					if !isCommit(cmd) {
						return mongotest.Pass
					}
					time.AfterFunc(0, func() { f.proxy.On(func(string) mongotest.Action { return mongotest.CutBefore }) })
					return mongotest.CutAfter
				})
			} else {
				f.proxy.Refuse(true)
			}
			_, err := tx.Commit(t.Context())
			n := f.applied(t, t.Name())
			switch {
			case sent && (n != 1 || !errors.Is(err, driver.ErrUnknownOutcome) || errors.Is(err, driver.ErrUnavailable)):
				t.Errorf("after a commit that was applied %d times: %v, want ErrUnknownOutcome alone", n, err)
			case !sent && (n != 0 || err == nil):
				t.Errorf("a commit that was not sent was applied %d times: %v", n, err)
			}
		})
	}
}

// TestTxCut breaks the connection in the middle of a transaction.
func TestTxCut(t *testing.T) {
	f := newFaulty(t, "")
	for _, action := range []mongotest.Action{mongotest.CutBefore, mongotest.CutAfter} {
		for _, cmd := range []string{"insert", "find"} {
			t.Run(fmt.Sprintf("%s, action %d", cmd, action), func(t *testing.T) {
				f := f.behind(t, "")
				r := txTest{t, f.store}
				tx := f.twoWrites(t, t.Name())
				f.arm(action, 1, func(c string) bool { return c == cmd })
				if cmd == "insert" {
					_, err := tx.Write(t.Context(), []driver.Write{txUser(driver.Insert, t.Name()+" third", 1)})
					r.isConflict("a write that is cut off", err)
				} else {
					_, err := tx.Read(t.Context(), txReads(), "")
					r.isConflict("a read that is cut off", err)
				}
				r.lost(tx)
				if n := f.applied(t, t.Name()); n != 0 || get(t, f.clean, "user", t.Name()+" third") != nil {
					t.Errorf("writes of a transaction that was cut off were applied %d times", n)
				}
				write(t, f.clean, plus(t.Name(), 1), driver.Done) // the server has forgotten the transaction
			})
		}
	}
}

// TestTxHangs ends the context of a write that is not answered. The transaction cannot
// commit then: nobody knows what is in it.
func TestTxHangs(t *testing.T) {
	f := newFaulty(t, "")
	for _, action := range []mongotest.Action{mongotest.HangBefore, mongotest.HangAfter} {
		for _, cancelled := range []bool{false, true} {
			t.Run(fmt.Sprintf("action %d, cancelled %v", action, cancelled), func(t *testing.T) {
				f := f.behind(t, "")
				tx := f.twoWrites(t, t.Name())
				f.arm(action, 1, isWrite)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				if cancelled {
					ctx, cancel = context.WithCancel(t.Context())
					time.AfterFunc(300*time.Millisecond, cancel)
				}
				if _, err := tx.Write(ctx, []driver.Write{txUser(driver.Insert, t.Name()+" third", 1)}); err == nil {
					t.Error("a write that is not answered gives no error")
				}
				_, err := tx.Commit(t.Context())
				if !errors.Is(err, driver.ErrConflict) && !errors.Is(err, driver.ErrUnavailable) || errors.Is(err, driver.ErrUnknownOutcome) {
					t.Errorf("Commit: %v, want an error that says that nothing was applied", err)
				}
				if n := f.applied(t, t.Name()); n != 0 {
					t.Errorf("the writes were applied %d times", n)
				}
				f.proxy.Release()
				time.Sleep(50 * time.Millisecond)
				if n := f.applied(t, t.Name()); n != 0 {
					t.Errorf("the writes were applied %d times, after all", n)
				}
			})
		}
	}
}

// TestTxSuspended ends transactions of which the server says nothing more: who waits for
// that waits no longer than the context lets it, or a moment if it has ended.
func TestTxSuspended(t *testing.T) {
	f := newFaulty(t, "")
	patience := map[string]time.Duration{"soon": 300 * time.Millisecond, "already": -1}
	for name, d := range patience {
		for _, end := range []string{"commit", "rollback"} {
			t.Run(end+" "+name, func(t *testing.T) {
				tx := f.twoWrites(t, t.Name())
				ctx, cancel := context.WithTimeout(t.Context(), d)
				defer cancel()
				f.server.Suspend()
				var err error
				begin := time.Now()
				if end == "commit" {
					_, err = tx.Commit(ctx)
				} else {
					err = tx.Rollback(ctx)
				}
				took := time.Since(begin)
				f.server.Resume()
				if (err == nil) != (end == "rollback") || took > 3*time.Second {
					t.Errorf("%s: %v after %v, want an error of a commit, and soon", end, err, took)
				}
				if unknown := errors.Is(err, driver.ErrUnknownOutcome); unknown != (end == "commit" && d > 0) {
					t.Errorf("%s: %v; the outcome is unknown: %v", end, err, unknown)
				}
				time.Sleep(100 * time.Millisecond)
				if n := f.applied(t, t.Name()); n != 0 && (end != "commit" || d < 0) {
					t.Errorf("%s: the writes were applied %d times", end, n)
				}
			})
		}
	}
}

// TestTxServerKilled kills the server in the middle of a transaction, and after it has
// applied a commit of which it has told nobody.
func TestTxServerKilled(t *testing.T) {
	restart := func(t *testing.T, f *faulty) {
		f.server.Kill()
		if err := f.server.Restart(); err != nil {
			t.Error(err)
		}
	}
	t.Run("in the middle", func(t *testing.T) {
		f := newFaulty(t, "")
		r := txTest{t, f.store}
		tx := f.twoWrites(t, "a")
		restart(t, f)
		_, err := tx.Write(t.Context(), []driver.Write{txUser(driver.Insert, "third", 1)})
		if !errors.Is(err, driver.ErrConflict) {
			t.Errorf("a write after the server was killed: %v, want ErrConflict", err)
		}
		r.lost(tx)
		if n := f.applied(t, "a"); n != 0 {
			t.Errorf("the writes were applied %d times", n)
		}
		write(t, f.clean, plus("a", 1), driver.Done)
	})
	t.Run("before the commit", func(t *testing.T) {
		f := newFaulty(t, "")
		tx := f.twoWrites(t, "a")
		restart(t, f)
		if _, err := tx.Commit(t.Context()); !errors.Is(err, driver.ErrConflict) {
			t.Errorf("Commit after the server was killed: %v, want ErrConflict", err)
		}
		if n := f.applied(t, "a"); n != 0 {
			t.Errorf("the writes were applied %d times", n)
		}
	})
	t.Run("after the commit", func(t *testing.T) {
		f := newFaulty(t, "")
		tx := f.twoWrites(t, "a")
		var commits atomic.Int32
		f.proxy.On(func(cmd string) mongotest.Action {
			if !isCommit(cmd) {
				return mongotest.Pass
			}
			switch commits.Add(1) {
			case 1:
				return mongotest.CutAfter
			case 2:
				restart(t, f)
			}
			return mongotest.Pass
		})
		if _, err := tx.Commit(t.Context()); err != nil {
			t.Errorf("Commit, sent %d times: %v", commits.Load(), err)
		}
		if n := f.applied(t, "a"); n != 1 {
			t.Errorf("the writes were applied %d times, want once", n)
		}
	})
}
