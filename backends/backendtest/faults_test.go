package backendtest_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

var schema = driver.Schema{Objects: []driver.ObjectKind{{Name: "user"}}}

func newStore(t *testing.T, hook backendtest.Hook) *backendtest.FaultyStore {
	t.Helper()
	store := memory.NewStore(nil)
	if err := store.Ensure(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	return backendtest.NewFaultyStore(store, hook)
}

func insert(id string) []driver.Write {
	return []driver.Write{{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: id, Version: 1}}}
}

// there reports whether the store has the user, past all faults.
func there(t *testing.T, s *backendtest.FaultyStore, id string) bool {
	t.Helper()
	s.SetHook(nil)
	results, err := s.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{id}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	return results[0].Objects[0] != nil
}

// The suites pass through wrappers that do nothing.
func TestTransparent(t *testing.T) {
	t.Run("Store", func(t *testing.T) {
		backendtest.Store(t, backendtest.StoreHarness{
			New:          func(*testing.T) driver.Store { return backendtest.NewFaultyStore(memory.NewStore(nil), nil) },
			Serializable: true,
		})
	})
	t.Run("Cache", func(t *testing.T) {
		now := time.Now()
		backendtest.Cache(t, backendtest.CacheHarness{
			New: func(*testing.T) driver.Cache {
				return backendtest.NewFaultyCache(memory.NewCache(&memory.CacheOptions{Now: func() time.Time { return now }}), nil)
			},
			Advance: func(d time.Duration) { now = now.Add(d) },
		})
	})
}

func TestWriteFaults(t *testing.T) {
	mine := errors.New("mine")
	lost := backendtest.Inject(backendtest.On(), backendtest.Fault{Action: backendtest.Fail, Err: driver.ErrUnknownOutcome})
	tests := []struct {
		name     string
		hook     backendtest.Hook
		outcomes []driver.Outcome
		err      error
		applied  bool
	}{
		{"nil", nil, []driver.Outcome{driver.Done}, nil, true},
		{"fail", backendtest.FailOn(backendtest.On("Write"), nil), []driver.Outcome{driver.Refused}, driver.ErrUnavailable, false},
		{"fail with mine", backendtest.FailOn(backendtest.On("Write"), mine), []driver.Outcome{driver.Refused}, mine, false},
		{"lost on the way", lost, nil, driver.ErrUnknownOutcome, false},
		{"drop the reply", backendtest.DropReplies(backendtest.On("Write"), nil), nil, driver.ErrUnknownOutcome, true},
		{"drop the reply with mine", backendtest.DropReplies(backendtest.On("Write"), mine), nil, mine, true},
		{"hang", backendtest.HangOn(backendtest.On("Write")), nil, context.DeadlineExceeded, false},
		{"delay beyond the deadline", backendtest.DelayOn(backendtest.On("Write"), time.Hour), []driver.Outcome{driver.Refused}, context.DeadlineExceeded, false},
		{"delay", backendtest.DelayOn(backendtest.On("Write"), time.Second), []driver.Outcome{driver.Done}, nil, true},
		{"another method", backendtest.FailOn(backendtest.On("Read", "ID"), nil), []driver.Outcome{driver.Done}, nil, true},
		{"another number", backendtest.FailOn(backendtest.Nth("Write", 2), nil), []driver.Outcome{driver.Done}, nil, true},
		{"this number", backendtest.FailOn(backendtest.Nth("Write", 1), nil), []driver.Outcome{driver.Refused}, driver.ErrUnavailable, false},
		{"the first in a chain that does something",
			backendtest.Chain(backendtest.FailOn(backendtest.On("Read"), nil), backendtest.FailOn(backendtest.On("Write"), mine), backendtest.HangOn(backendtest.On())),
			[]driver.Outcome{driver.Refused}, mine, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStore(t, test.hook)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				results, err := s.Write(ctx, insert("a"))
				var outcomes []driver.Outcome
				for _, result := range results {
					outcomes = append(outcomes, result.Outcome)
				}
				if diff := cmp.Diff(test.outcomes, outcomes); diff != "" || !errors.Is(err, test.err) {
					t.Errorf("outcomes (-want +got):\n%s\nerror %v, want %v", diff, err, test.err)
				}
				if got := there(t, s, "a"); got != test.applied {
					t.Errorf("applied: %v, want %v", got, test.applied)
				}
			})
		})
	}
}

func TestLate(t *testing.T) {
	arrive := make(chan struct{})
	s := newStore(t, backendtest.Inject(backendtest.On("Write"), backendtest.Fault{Action: backendtest.Late, Until: arrive}))
	ctx, cancel := context.WithCancel(t.Context())
	writes := insert("a")
	writes[0].Object.Doc = driver.Document{{Name: "f", Value: []driver.Value{driver.Document{{Name: "g", Value: []byte("x")}}}}}
	if results, err := s.Write(ctx, writes); results != nil || !errors.Is(err, driver.ErrUnknownOutcome) {
		t.Errorf("Write: %v, %v, want nothing and an unknown outcome", results, err)
	}
	cancel()
	writes[0].Object.ID = "b"
	if there(t, s, "a") {
		t.Error("a late write was made too early")
	}
	close(arrive)
	s.WaitLate()
	if !there(t, s, "a") || there(t, s, "b") {
		t.Error("a late write is made after all, as it was given")
	}
}

func TestCacheFaults(t *testing.T) {
	c := backendtest.NewFaultyCache(memory.NewCache(nil), backendtest.DropReplies(backendtest.On("Hold"), nil))
	outcomes, err := c.Hold(t.Context(), []driver.Hold{{Anchor: "a", Token: "t", TTL: time.Hour}, {Anchor: "b", Token: "t", TTL: time.Hour}})
	if outcomes != nil || !errors.Is(err, driver.ErrUnknownOutcome) {
		t.Errorf("Hold: %v, %v, want nothing and an unknown outcome", outcomes, err)
	}
	entries, err := c.Lookup(t.Context(), []driver.Lookup{{Anchor: "a"}})
	if err != nil || entries[0].State != driver.Held {
		t.Errorf("after a Hold without reply: %v, %v, want held", entries, err)
	}
	c.SetHook(backendtest.FailOn(backendtest.On(), nil))
	if entries, err = c.Lookup(t.Context(), []driver.Lookup{{Anchor: "a"}}); entries != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Lookup: %v, %v, want nothing and unavailable", entries, err)
	}
	if c.Calls("Hold") != 1 || c.Items("Hold") != 2 || c.Calls("Lookup") != 2 || c.Total() != 3 {
		t.Errorf("counted %d holds of %d, %d look-ups, %d calls", c.Calls("Hold"), c.Items("Hold"), c.Calls("Lookup"), c.Total())
	}
	c.Reset()
	if c.Calls("Hold") != 0 || c.Items("Hold") != 0 || c.Total() != 0 {
		t.Error("Reset sets the counters to 0")
	}
}

func TestTxFaults(t *testing.T) {
	s := newStore(t, nil)
	view := s.Namespace("tenant").(*backendtest.FaultyStore)
	if err := view.Ensure(t.Context(), schema); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"Begin", "Tx.Read", "Tx.Write", "Tx.Commit"} {
		s.SetHook(backendtest.FailOn(backendtest.On(method), nil))
		if err := transaction(t, view); !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("%s was made to fail: got %v", method, err)
		}
		if there(t, view, "a") {
			t.Errorf("%s was made to fail: the transaction has an effect", method)
		}
	}
	s.SetHook(backendtest.DropReplies(backendtest.On("Tx.Commit"), nil))
	if err := transaction(t, view); !errors.Is(err, driver.ErrUnknownOutcome) {
		t.Errorf("the reply of Commit was dropped: got %v", err)
	}
	if !there(t, view, "a") {
		t.Error("the reply of Commit was dropped: the transaction has no effect")
	}
	if got := s.Calls("Tx.Commit"); got != 2 {
		t.Errorf("a view counts with its store: %d commits, want 2", got)
	}
}

func transaction(t *testing.T, s *backendtest.FaultyStore) error {
	tx, err := s.Begin(t.Context())
	if err != nil {
		return err
	}
	_, err = tx.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}}}, "")
	if err == nil {
		_, err = tx.Write(t.Context(), insert("a"))
	}
	if err != nil {
		return errors.Join(err, tx.Rollback(t.Context()))
	}
	_, err = tx.Commit(t.Context())
	return err
}

func TestGate(t *testing.T) {
	tests := []struct {
		name string
		hook func(*backendtest.Gate) backendtest.Hook
		want bool // the write is applied while the gate is closed
	}{
		{"before the call", func(g *backendtest.Gate) backendtest.Hook { return g.Hook }, false},
		{"before the reply", func(g *backendtest.Gate) backendtest.Hook { return g.ReplyHook }, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := backendtest.NewGate(backendtest.Nth("Write", 2))
				s := newStore(t, test.hook(gate))
				if _, err := s.Write(t.Context(), insert("first")); err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				go func() {
					_, err := s.Write(t.Context(), insert("second"))
					done <- err
				}()
				if err := gate.Await(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if len(done) != 0 || there(t, s, "second") != test.want {
					t.Errorf("behind the gate: returned %d, applied %v", len(done), !test.want)
				}
				gate.Open()
				gate.Open()
				if err := <-done; err != nil || !there(t, s, "second") {
					t.Errorf("after the gate was opened: %v", err)
				}
			})
		})
	}
}

func TestGateGivesUp(t *testing.T) {
	gate := backendtest.NewGate(backendtest.On("Write"))
	s := newStore(t, gate.Hook)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.Write(ctx, insert("a"))
		done <- err
	}()
	if err := gate.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || there(t, s, "a") {
		t.Errorf("a call whose context ends at the gate: %v", err)
	}
	if err := gate.Await(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Await ends with its context: %v", err)
	}
}

func TestReorder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t, backendtest.Reorder(backendtest.On("Write")))
		var order []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			if _, err := s.Write(t.Context(), insert("first")); err != nil {
				t.Error(err)
			}
			order = append(order, "first")
		}()
		synctest.Wait() // the first is held back
		results, err := s.Write(t.Context(), insert("first"))
		if err != nil || results[0].Outcome != driver.Done {
			t.Errorf("the later call goes first: %v, %v", results, err)
		}
		<-done
		if len(order) != 1 {
			t.Error("the first call follows")
		}
		if _, err := s.Write(t.Context(), insert("third")); err != nil {
			t.Errorf("Reorder works once: %v", err)
		}
	})
}

// plain hides whatever a store can do beyond driver.Store.
type plain struct{ driver.Store }

func TestNoTransactor(t *testing.T) {
	s := backendtest.NewFaultyStore(plain{memory.NewStore(nil)}, nil)
	if s.Capabilities().Transactions {
		t.Error("Capabilities: a store that is no Transactor has no transactions")
	}
	if _, err := s.Begin(t.Context()); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("Begin without transactions: %v", err)
	}
}

func TestLedgerFaults(t *testing.T) {
	store := memory.NewStore(nil)
	s := backendtest.NewFaultyStore(store, nil)
	view := s.Namespace("tenant").(driver.Ledger)
	owed := []driver.JournalEntry{{Anchor: "a", Owner: "me", Token: "1"}, {Anchor: "b", Owner: "me", Token: "1"}}
	registered := []driver.RegistryEntry{{Kind: "user", Spec: "a"}}
	calls := []struct {
		method string
		batch  any
		items  int
		make   func(driver.Ledger) error
	}{
		{"Owe", owed, 2, func(l driver.Ledger) error { return l.Owe(t.Context(), owed) }},
		{"Settle", owed[:1], 1, func(l driver.Ledger) error { return l.Settle(t.Context(), owed[:1]) }},
		{"Register", registered, 1, func(l driver.Ledger) error { return l.Register(t.Context(), registered) }},
		{"Raise", []string{"user"}, 1, func(l driver.Ledger) error { return l.Raise(t.Context(), []string{"user"}, 5) }},
		{"Look", nil, 0, func(l driver.Ledger) error { _, err := l.Look(t.Context()); return err }},
	}
	var shown any
	for _, c := range calls {
		s.SetHook(func(_ context.Context, c backendtest.Call) backendtest.Fault {
			shown = c.Batch
			return backendtest.Fault{Action: backendtest.Fail}
		})
		if err := c.make(view); !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("%s was made to fail: got %v", c.method, err)
		}
		if diff := cmp.Diff(c.batch, shown); diff != "" {
			t.Errorf("the hook is shown the batch of %s (-want +got):\n%s", c.method, diff)
		}
	}
	if look, err := store.Look(t.Context()); err != nil || len(look.Journal)+len(look.Registry)+len(look.Generations) != 0 {
		t.Errorf("what was made to fail was made: %v, %v", look, err)
	}
	s.SetHook(backendtest.DropReplies(backendtest.On(), nil))
	for _, c := range calls {
		if err := c.make(s); !errors.Is(err, driver.ErrUnknownOutcome) {
			t.Errorf("the reply of %s was dropped: got %v", c.method, err)
		}
	}
	s.SetHook(nil)
	look, err := view.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	registered[0].Ready = true
	want := driver.Look{Journal: owed[1:], Registry: registered, Generations: map[string]uint64{"user": 5}, Stamp: look.Stamp}
	if diff := cmp.Diff(want, look); diff != "" {
		t.Errorf("what the replies were dropped of was made (-want +got):\n%s", diff)
	}
	for _, c := range calls {
		if got := s.Calls(c.method); got < 2 || s.Items(c.method) != got*c.items {
			t.Errorf("%s: counted %d calls with %d elements", c.method, got, s.Items(c.method))
		}
	}
}

// A call that is made late has what it was given, whatever its caller does with the batch.
func TestLateOwe(t *testing.T) {
	arrive := make(chan struct{})
	s := newStore(t, backendtest.Inject(backendtest.On("Owe"), backendtest.Fault{Action: backendtest.Late, Until: arrive}))
	owed := []driver.JournalEntry{{Anchor: "a", Owner: "me", Token: "1"}}
	want := slices.Clone(owed)
	if err := s.Owe(t.Context(), owed); !errors.Is(err, driver.ErrUnknownOutcome) {
		t.Errorf("Owe: %v, want an unknown outcome", err)
	}
	owed[0].Anchor = "theirs"
	if look, err := s.Look(t.Context()); err != nil || len(look.Journal) != 0 {
		t.Errorf("Look before it: %v, %v", look, err)
	}
	close(arrive)
	s.WaitLate()
	look, err := s.Look(t.Context())
	if diff := cmp.Diff(want, look.Journal); diff != "" || err != nil {
		t.Errorf("the journal (-want +got):\n%s%v", diff, err)
	}
}

func TestNoLedger(t *testing.T) {
	s := backendtest.NewFaultyStore(plain{memory.NewStore(nil)}, nil)
	if got, err := s.Look(t.Context()); len(got.Journal)+len(got.Registry)+len(got.Generations) != 0 || err != nil {
		t.Errorf("Look without a ledger: %v, %v", got, err)
	}
	for call, err := range map[string]error{
		"Owe": s.Owe(t.Context(), nil), "Settle": s.Settle(t.Context(), nil),
		"Register": s.Register(t.Context(), nil), "Raise": s.Raise(t.Context(), []string{"user"}, 0),
	} {
		if !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%s without a ledger: %v", call, err)
		}
	}
}

func TestLateModify(t *testing.T) {
	arrive := make(chan struct{})
	s := newStore(t, nil)
	if _, err := s.Write(t.Context(), insert("a")); err != nil {
		t.Fatal(err)
	}
	s.SetHook(backendtest.Inject(backendtest.On("Write"), backendtest.Fault{Action: backendtest.Late, Until: arrive}))
	value := []byte("x")
	w := driver.Write{Op: driver.Modify, Kind: "user", Object: &driver.Object{ID: "a"},
		Changes: []driver.Change{{Column: &driver.Column{Path: []string{"f"}}, Set: value}}}
	if _, err := s.Write(t.Context(), []driver.Write{w}); !errors.Is(err, driver.ErrUnknownOutcome) {
		t.Errorf("Write: %v, want an unknown outcome", err)
	}
	value[0], w.Changes[0].Set = 'y', "theirs"
	close(arrive)
	s.WaitLate()
	s.SetHook(nil)
	results, err := s.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{"a"}}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(driver.Document{{Name: "f", Value: []byte("x")}}, results[0].Objects[0].Doc); diff != "" {
		t.Errorf("a late write is made after all, as it was given (-want +got):\n%s", diff)
	}
}
