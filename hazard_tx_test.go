package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// hazardTxReads are reads of one value each, of every sort that is cached, that a
// transaction of hazardTxWrite changes.
var hazardTxReads = []struct {
	name     string
	read     func(context.Context, graphcache.Conn) (string, error)
	old, new string
}{
	{"an object", func(ctx context.Context, c graphcache.Conn) (string, error) {
		i, err := shopItems.Get(ctx, c, "i01")
		if err != nil {
			return "", err
		}
		return i.Name, nil
	}, "old", "new"},
	{"the old entry", hazardTxIDs(shopItems.Where(itemCity.Eq("rome"))), "i01 i02", "i02"},
	{"the new entry", hazardTxIDs(shopItems.Where(itemCity.Eq("oslo"))), "", "i01"},
	{"an ordered page", func(ctx context.Context, c graphcache.Conn) (string, error) {
		q := shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()).Limit(1)
		ids, err := q.IDs(ctx, c)
		return strings.Join(hazardStrings(ids), " "), err
	}, "i01", "i02"},
	{"a scan", func(ctx context.Context, c graphcache.Conn) (string, error) {
		ids, err := shopFlags.Where(flagOn.Eq(true)).IDs(ctx, c)
		return strings.Join(hazardStrings(ids), " "), err
	}, "", "f1"},
	{"a list", func(ctx context.Context, c graphcache.Conn) (string, error) {
		ids, err := shopBought.Out(shopBuyerID("b1")).IDs(ctx, c)
		return strings.Join(hazardStrings(ids), " "), err
	}, "", "i01"},
	{"what is absent", func(ctx context.Context, c graphcache.Conn) (string, error) {
		m, err := shopItems.GetMany(ctx, c, []shopItemID{"i09"})
		return fmt.Sprint(len(m)), err
	}, "0", "1"},
}

func hazardTxIDs(q shopItemsQ) func(context.Context, graphcache.Conn) (string, error) {
	return func(ctx context.Context, c graphcache.Conn) (string, error) {
		ids, err := q.IDs(ctx, c)
		return strings.Join(hazardStrings(ids), " "), err
	}
}

// hazardTxWorld is what is old.
func hazardTxWorld(t testing.TB, e *fixtureEngine) {
	t.Helper()
	ctx := t.Context()
	fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: "i01", Name: "old", City: "rome", Shelf: "top", Rank: 1}))
	fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: "i02", City: "rome", Shelf: "top", Rank: 2}))
	fixtureMust(t, shopFlags.Create(ctx, e, &shopFlag{ID: "f1"}))
	fixtureMust(t, shopBuyers.Create(ctx, e, &shopBuyer{ID: "b1"}))
}

// hazardTxWrite makes it new, in several writes of which two are of one object.
func hazardTxWrite(ctx context.Context, tx *graphcache.Tx) error {
	if _, err := shopItems.Apply(ctx, tx, "i01", itemName.Set("between"), itemStock.Add(1)); err != nil {
		return err
	}
	_, err := shopItems.Update(ctx, tx, "i01", func(i *shopItem) error {
		if i.Name != "between" || i.Stock != 1 {
			return fmt.Errorf("the transaction does not see its own write: %+v", i)
		}
		i.Name, i.City, i.Rank = "new", "oslo", 3
		return nil
	})
	if err != nil {
		return err
	}
	if _, err := shopFlags.Apply(ctx, tx, "f1", flagOn.Set(true)); err != nil {
		return err
	}
	if err := shopItems.Create(ctx, tx, &shopItem{ID: "i09"}); err != nil {
		return err
	}
	return shopBought.Add(ctx, tx, "b1", "i01", shopSale{})
}

// TestHazard03Windows: a reader that has obtained its version in any window of a
// transaction, before its first write, inside it, and between commit and release, and
// that fills in any later one, leaves nothing of an older state in the cache.
func TestHazard03Windows(t *testing.T) {
	for _, r := range hazardTxReads {
		t.Run(r.name, func(t *testing.T) {
			reader := shopNew(t)
			writer, other := shopAnother(t, reader), shopAnother(t, reader)
			hazardTxWorld(t, other)
			h := &hazardRace{
				read:  func(ctx context.Context, e *fixtureEngine) (string, error) { return r.read(ctx, e) },
				write: func(ctx context.Context, e *fixtureEngine) error { return hazardTxAll(ctx, e, nil) },
				reset: hazardTxReset,
				old:   r.old, new: r.new,
				readCalls: 4,
			}
			// The windows are where the reader's calls are among the writer's: all
			// that come before Hold are alike, so one of them is enough.
			h.reset(t, other)
			var trace hazardTrace
			probe := &hazardActor{name: "writer", e: writer, act: func(ctx context.Context) error { return h.write(ctx, writer) }}
			trace.steps(t, probe, -1)
			fixtureMust(t, probe.err)
			h.writeCalls = len(trace)
			hold := 0
			for i, call := range trace {
				if call == "writer.Hold" {
					hold = i
				}
			}
			for _, order := range hazardOrders(h.readCalls, h.writeCalls-hold+1) {
				var whole []int
				writes := 0
				for _, who := range order {
					if who == 0 {
						whole = append(whole, 0)
						continue
					}
					if writes++; writes == 1 {
						for range hold - 1 {
							whole = append(whole, 1)
						}
					}
					whole = append(whole, 1)
				}
				h.reset(t, other)
				h.play(t, whole, nil, reader, writer, other)
			}
		})
	}
}

// hazardTxAll runs hazardTxWrite in a transaction, and then, inside it.
func hazardTxAll(ctx context.Context, e *fixtureEngine, inside func(*graphcache.Tx) error) error {
	return e.Tx(ctx, func(tx *graphcache.Tx) error {
		if err := hazardTxWrite(ctx, tx); err != nil || inside == nil {
			return err
		}
		return inside(tx)
	})
}

// hazardTxReset makes everything old again.
func hazardTxReset(t testing.TB, e *fixtureEngine) {
	t.Helper()
	ctx := t.Context()
	fixtureMust(t, shopItems.Put(ctx, e, &shopItem{ID: "i01", Name: "old", City: "rome", Shelf: "top", Rank: 1}))
	_, err := shopFlags.Apply(ctx, e, "f1", flagOn.Set(false))
	fixtureMust(t, err)
	for _, err := range []error{shopItems.Delete(ctx, e, "i09"), shopBought.Remove(ctx, e, "b1", "i01")} {
		if err != nil && !errors.Is(err, graphcache.ErrNotFound) {
			t.Fatal(err)
		}
	}
}

// hazardTxView is what a process or a transaction sees.
func hazardTxView(t testing.TB, c graphcache.Conn) (v []string) {
	t.Helper()
	for _, r := range hazardTxReads {
		s, err := r.read(t.Context(), c)
		fixtureMust(t, err)
		v = append(v, s)
	}
	return v
}

func hazardTxExpect(t testing.TB, isNew bool) (v []string) {
	t.Helper()
	for _, r := range hazardTxReads {
		v = append(v, map[bool]string{false: r.old, true: r.new}[isNew])
	}
	return v
}

// TestHazard03Isolation: while a transaction is open others see what was before it,
// cached or not; it sees its own writes and fills nothing; a rollback leaves nothing.
func TestHazard03Isolation(t *testing.T) {
	rollback := errors.New("no")
	for _, commits := range []bool{true, false} {
		for _, warm := range []bool{true, false} {
			t.Run(fmt.Sprintf("commits %v, warm %v", commits, warm), func(t *testing.T) {
				e := shopNew(t)
				other := shopAnother(t, e)
				hazardTxWorld(t, e)
				if warm {
					hazardTxView(t, other)
					other.settle(t)
				}
				e.on(nil)
				err := hazardTxAll(t.Context(), e, func(tx *graphcache.Tx) error {
					if diff := gocmp.Diff(hazardTxExpect(t, true), hazardTxView(t, tx)); diff != "" {
						t.Errorf("inside the transaction (-want +got):\n%s", diff)
					}
					e.noCacheCalls(t)
					for range 2 {
						if diff := gocmp.Diff(hazardTxExpect(t, false), hazardTxView(t, other)); diff != "" {
							t.Errorf("another process, during the transaction (-want +got):\n%s", diff)
						}
						other.settle(t)
					}
					if !commits {
						return rollback
					}
					return nil
				})
				if want := map[bool]error{true: nil, false: rollback}[commits]; !errors.Is(err, want) {
					t.Fatalf("Tx returned %v, want %v", err, want)
				}
				wantHolds := map[bool]int{true: 1}[commits]
				if holds, lookups := e.fcache.Calls("Hold"), e.fcache.Calls("Lookup"); holds != wantHolds || lookups != 0 {
					t.Errorf("the transaction made %d Holds and %d Lookups, want %d and none", holds, lookups, wantHolds)
				}
				for range 2 {
					for _, p := range []*fixtureEngine{other, e} {
						if diff := gocmp.Diff(hazardTxExpect(t, commits), hazardTxView(t, p)); diff != "" {
							t.Errorf("after the transaction (-want +got):\n%s", diff)
						}
						p.settle(t)
					}
				}
			})
		}
	}
}

// noCacheCalls checks that the cache was left alone.
func (e *fixtureEngine) noCacheCalls(t testing.TB) {
	t.Helper()
	if n := e.fcache.Total(); n != 0 {
		t.Errorf("reads and writes of an open transaction made %d calls of the cache", n)
	}
}

// TestTxQueries: in a transaction every query sees the transaction's own writes, and
// gives what it gives outside once that is committed.
func TestTxQueries(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	var inside []string
	err := e.Tx(ctx, func(tx *graphcache.Tx) error {
		for i, m := range hazardMoves[:len(hazardMoves)-1] { // the last begins a transaction itself
			if err := m.move(ctx, tx); err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			if allocRace && i%6 != 0 { // which is slow
				continue
			}
			for _, diff := range shopDiff(t, tx) {
				t.Errorf("in a transaction, after %s: %s", m.name, diff)
			}
		}
		inside = hazardTxAnswers(t, tx)
		return nil
	})
	fixtureMust(t, err)
	for range 2 {
		if diff := gocmp.Diff(inside, hazardTxAnswers(t, e)); diff != "" {
			t.Errorf("the answers in the transaction and after it (-inside +after):\n%s", diff)
		}
		e.settle(t)
	}
	shopCheck(t, "after the transaction", e)
}

func hazardTxAnswers(t testing.TB, c graphcache.Conn) (v []string) {
	t.Helper()
	for _, q := range shopQueries {
		ids, err := q.query.IDs(t.Context(), c)
		fixtureMust(t, err)
		v = append(v, fmt.Sprint(q.name, ids))
	}
	return v
}

// TestTxConflict: a transaction whose reads or writes were overtaken runs again, as
// often as it takes, with what is there then; and one that always loses says so.
func TestTxConflict(t *testing.T) {
	ctx, e := t.Context(), shopNew(t, func(o *graphcache.Options) { o.MaxAttempts = 5 })
	shopFill(t, e)
	runs, losses, created := 0, 3, 20
	run := func(tx *graphcache.Tx) error {
		runs++
		n, err := shopItems.Where(itemCity.Eq("rome")).Count(ctx, tx)
		if err != nil {
			return err
		}
		if runs <= losses { // somebody else moves an item there
			fixtureMust(t, shopItems.Create(ctx, e, &shopItem{ID: shopItemID(fmt.Sprint("i", created)), City: "rome", Hall: "b"}))
			created++
		}
		_, err = shopItems.Where(itemCity.Eq("oslo")).ApplyAll(ctx, tx, itemStock.Set(int64(n)))
		return err
	}
	fixtureMust(t, e.Tx(ctx, run))
	if runs != losses+1 {
		t.Errorf("the transaction ran %d times, want %d", runs, losses+1)
	}
	got, err := shopItems.Get(ctx, e, "i01")
	fixtureMust(t, err)
	if got.Stock != 6+3 {
		t.Errorf("it has written what it has seen at first: %d, want 9", got.Stock)
	}
	runs, losses = 0, 1000
	if err := e.Tx(ctx, run); !errors.Is(err, graphcache.ErrConflict) || runs != 5 {
		t.Errorf("a transaction that always loses ran %d times and returned %v, want 5 times and ErrConflict", runs, err)
	}
	shopCheck(t, "after conflicts", e)
}

// TestTxUnique: what stands against a write in a unique index is said at once, and the
// transaction can go on and commit without it.
func TestTxUnique(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	taken := &shopItem{ID: "i99", Code: shopPtr("code 1")}
	err := e.Tx(ctx, func(tx *graphcache.Tx) error { return shopItems.Create(ctx, tx, taken) })
	if !errors.Is(err, graphcache.ErrExists) || !strings.Contains(fmt.Sprint(err), `"code"`) {
		t.Errorf("Tx returned %v, want ErrExists with the name of the index", err)
	}
	fixtureMust(t, e.Tx(ctx, func(tx *graphcache.Tx) error {
		for _, write := range []error{
			shopItems.Create(ctx, tx, taken),
			hazardUpdate("i02", func(i *shopItem) { i.Code = taken.Code })(ctx, tx),
			hazardApply("i02", itemCode.Set("code 1"))(ctx, tx),
			hazardApplyAll(shopItems.Where(itemID.Eq("i02")), itemHall.Set("b"), itemSlot.Set(1))(ctx, tx),
		} {
			if !errors.Is(write, graphcache.ErrExists) {
				t.Errorf("a write in a transaction returned %v, want ErrExists", write)
			}
		}
		// The value is free once its owner has given it up.
		if err := shopItems.Delete(ctx, tx, "i01"); err != nil {
			return err
		}
		return shopItems.Create(ctx, tx, taken)
	}))
	shopCheck(t, "after the transaction", e)
	if n, err := shopItems.Where(itemCode.Eq("code 1")).Count(ctx, e); n != 1 || err != nil {
		t.Errorf("%d items have the value, %v", n, err)
	}
}

// TestTxCommit: what Tx returns when the cache takes no marks or the store does not
// answer the commit, and that the cache is right then.
func TestTxCommit(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fault  func(c fixtureCall) backendtest.Action
		is     error
		commit bool
	}{
		{"the cache takes no marks", func(c fixtureCall) backendtest.Action { return changeFault(c, "Hold", backendtest.Fail) }, graphcache.ErrUnavailable, false},
		{"the commit is refused", func(c fixtureCall) backendtest.Action { return changeFault(c, "Tx.Commit", backendtest.Fail) }, graphcache.ErrUnavailable, false},
		{"the reply is lost", func(c fixtureCall) backendtest.Action { return changeFault(c, "Tx.Commit", backendtest.DropReply) }, graphcache.ErrUnknownOutcome, true},
		{"a write is not answered", func(c fixtureCall) backendtest.Action { return changeFault(c, "Tx.Write", backendtest.DropReply) }, graphcache.ErrUnavailable, false},
		{"a read fails", func(c fixtureCall) backendtest.Action { return changeFault(c, "Tx.Read", backendtest.Fail) }, graphcache.ErrUnavailable, false},
		{"the marks stay", func(c fixtureCall) backendtest.Action { return changeFault(c, "Release", backendtest.Fail) }, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := shopNew(t)
			other := shopAnother(t, e)
			hazardTxWorld(t, e)
			hazardTxView(t, other)
			other.settle(t)
			e.on(func(c fixtureCall) backendtest.Fault { return backendtest.Fault{Action: tt.fault(c)} })
			if err := hazardTxAll(t.Context(), e, nil); !errors.Is(err, tt.is) {
				t.Errorf("Tx returned %v, want %v", err, tt.is)
			}
			e.on(nil)
			for range 2 {
				for _, p := range []*fixtureEngine{other, e} {
					if diff := gocmp.Diff(hazardTxExpect(t, tt.commit), hazardTxView(t, p)); diff != "" {
						t.Errorf("after the transaction (-want +got):\n%s", diff)
					}
					p.settle(t)
				}
			}
		})
	}
}

// hazardPlainStore is a store without transactions, generations and the like.
type hazardPlainStore struct{ store driver.Store }

func (s hazardPlainStore) ID(ctx context.Context) (string, error) { return s.store.ID(ctx) }
func (s hazardPlainStore) Ensure(ctx context.Context, schema driver.Schema) error {
	return s.store.Ensure(ctx, schema)
}
func (s hazardPlainStore) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	return s.store.Read(ctx, steps, atLeast)
}
func (s hazardPlainStore) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	return s.store.Write(ctx, writes)
}
func (s hazardPlainStore) Namespace(name string) driver.Store {
	return hazardPlainStore{s.store.Namespace(name)}
}
func (s hazardPlainStore) Capabilities() driver.Capabilities {
	c := s.store.Capabilities()
	c.Name, c.Transactions = "plain", false
	return c
}
func (s hazardPlainStore) Close(ctx context.Context) error { return s.store.Close(ctx) }

// hazardPlain opens a graph on a store that has no abilities beyond the least.
func hazardPlain(t testing.TB, e *fixtureEngine) *graphcache.Graph {
	t.Helper()
	g, err := graphcache.Open(t.Context(), shopSchema, hazardPlainStore{e.fstore}, &graphcache.Options{Cache: e.fcache})
	fixtureMust(t, err)
	t.Cleanup(func() { fixtureMust(t, g.Close(context.Background())) })
	return g
}

// TestTxUnsupported: a store without transactions says so before the function runs and
// before anything is sent.
func TestTxUnsupported(t *testing.T) {
	e := shopNew(t)
	g := hazardPlain(t, e)
	e.on(nil)
	err := g.Tx(t.Context(), func(*graphcache.Tx) error {
		t.Error("the function was run")
		return nil
	})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(fmt.Sprint(err), "plain") {
		t.Errorf("Tx returned %v, want errors.ErrUnsupported with the name of the store", err)
	}
	if n := e.fstore.Total() + e.fcache.Total(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}

// TestTxEnded: after the end of its function a transaction answers nothing.
func TestTxEnded(t *testing.T) {
	ctx, e := t.Context(), shopNew(t)
	shopFill(t, e)
	var kept *graphcache.Tx
	fixtureMust(t, e.Tx(ctx, func(tx *graphcache.Tx) error { kept = tx; return nil }))
	e.on(nil)
	_, err1 := shopItems.Where(itemCity.Eq("rome")).IDs(ctx, kept)
	_, _, err2 := shopItems.Where(itemCity.Eq("rome")).Limit(1).Page(ctx, kept, "")
	_, err3 := shopItems.Apply(ctx, kept, "i01", itemStock.Add(1))
	_, err4 := shopItems.Where(itemCity.Eq("rome")).ApplyAll(ctx, kept, itemStock.Add(1))
	_, err5 := shopItems.Where(itemStock.Gt(1)).Count(ctx, kept)
	for i, err := range []error{err1, err2, err3, err4, err5} {
		if !errors.Is(err, graphcache.ErrInvalid) {
			t.Errorf("use %d of a transaction that has ended: %v, want ErrInvalid", i, err)
		}
	}
	if n := e.fstore.Total() + e.fcache.Total(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
}
