package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

var (
	cancelUsers = []fixtureUserID{"ann", "bob", "cat", "new"}
	cancelPosts = []fixturePostID{"p1", "p2"}
	cancelNone  = graphcache.NoData{}
)

// cancelWrite is a write whose caller gives up.
type cancelWrite struct {
	name string
	act  func(context.Context, *fixtureEngine) error
	// applied says whether the store shows the write, all of it; it fails the
	// test if it shows a part.
	applied func(*testing.T, *fixtureEngine) bool
	// refused is the error with which the write ends if nobody gives up, nil
	// for one that is applied.
	refused error
	deletes bool // it may be left half done
	setup   func(*testing.T, *fixtureEngine)
}

// cancelLeads reports whether the store has an edge between two users.
func cancelLeads[D any](k *graphcache.EdgeKind[fixtureUser, fixtureUser, D], from, to fixtureUserID) func(*testing.T, *fixtureEngine) bool {
	return func(t *testing.T, e *fixtureEngine) bool {
		t.Helper()
		m, err := k.GetMany(t.Context(), e, from, []fixtureUserID{to}, graphcache.Fresh)
		fixtureMust(t, err)
		return m[to] != nil
	}
}

// cancelNamed reports whether the store has a user of that name.
func cancelNamed(id fixtureUserID, name string) func(*testing.T, *fixtureEngine) bool {
	return func(t *testing.T, e *fixtureEngine) bool { return e.name(t, id, graphcache.Fresh) == name }
}

// cancelNot is the opposite.
func cancelNot(applied func(*testing.T, *fixtureEngine) bool) func(*testing.T, *fixtureEngine) bool {
	return func(t *testing.T, e *fixtureEngine) bool { return !applied(t, e) }
}

// cancelAll reports whether all of several things are so, and fails if only some are.
func cancelAll(what ...func(*testing.T, *fixtureEngine) bool) func(*testing.T, *fixtureEngine) bool {
	return func(t *testing.T, e *fixtureEngine) bool {
		t.Helper()
		n := 0
		for _, applied := range what {
			if applied(t, e) {
				n++
			}
		}
		if n != 0 && n != len(what) {
			t.Errorf("%d of the %d effects of one write are there", n, len(what))
		}
		return n == len(what)
	}
}

func cancelWrites() []cancelWrite {
	oldNote := func(note string) func(*testing.T, *fixtureEngine) bool {
		return func(t *testing.T, e *fixtureEngine) bool {
			m, err := fixtureFollows.GetMany(t.Context(), e, "ann", []fixtureUserID{"bob"}, graphcache.Fresh)
			fixtureMust(t, err)
			return m["bob"] != nil && m["bob"].Data.Note == note
		}
	}
	follow := func(from, to fixtureUserID, note string) func(context.Context, *fixtureEngine) error {
		return func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFollows.Add(ctx, e, from, to, fixtureFollow{Note: note})
		}
	}
	transaction := func(ctx context.Context, e *fixtureEngine) error {
		return e.Tx(ctx, func(tx *graphcache.Tx) error {
			if err := fixtureUsers.Create(ctx, tx, &fixtureUser{ID: "new", Name: "mine"}); err != nil {
				return err
			}
			if err := fixtureFollows.Add(ctx, tx, "cat", "new", fixtureFollow{}); err != nil {
				return err
			}
			if _, err := fixtureUsers.Update(ctx, tx, "ann", func(u *fixtureUser) error { u.Name = "v2"; return nil }); err != nil {
				return err
			}
			if err := fixtureBoss.Add(ctx, tx, "ann", "cat", cancelNone); err != nil {
				return err
			}
			return fixtureFollows.Remove(ctx, tx, "ann", "bob")
		})
	}
	return []cancelWrite{
		{name: "Create", applied: cancelNamed("new", "mine"), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureUsers.Create(ctx, e, &fixtureUser{ID: "new", Name: "mine"})
		}},
		{name: "Create existing", applied: cancelNamed("ann", "mine"), refused: graphcache.ErrExists, act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureUsers.Create(ctx, e, &fixtureUser{ID: "ann", Name: "mine"})
		}},
		{name: "Put new", applied: cancelNamed("new", "mine"), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureUsers.Put(ctx, e, &fixtureUser{ID: "new", Name: "mine"})
		}},
		{name: "Put existing", applied: cancelNamed("ann", "v2"), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureUsers.Put(ctx, e, &fixtureUser{ID: "ann", Name: "v2"})
		}},
		{name: "Put one that is half deleted", setup: cancelHalf, applied: cancelNamed("ann", "v2"), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureUsers.Put(ctx, e, &fixtureUser{ID: "ann", Name: "v2"})
		}},
		{name: "Create one that is half deleted", setup: cancelHalf, applied: cancelNamed("ann", "v2"), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureUsers.Create(ctx, e, &fixtureUser{ID: "ann", Name: "v2"})
		}},
		{name: "Update", applied: cancelNamed("ann", "v2"), act: func(ctx context.Context, e *fixtureEngine) error {
			return e.rename(ctx, "ann", "v2")
		}},
		{name: "Delete with edges", applied: cancelNamed("ann", ""), deletes: true, act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureUsers.Delete(ctx, e, "ann")
		}},
		{name: "Delete without edges", applied: cancelNamed("new", ""), deletes: true, setup: func(t *testing.T, e *fixtureEngine) {
			e.seed(t, []fixtureUserID{"new"})
		}, act: func(ctx context.Context, e *fixtureEngine) error { return fixtureUsers.Delete(ctx, e, "new") }},
		{name: "Add", applied: cancelLeads(fixtureFollows, "bob", "ann"), act: follow("bob", "ann", "")},
		{name: "Add existing", applied: oldNote("again"), act: follow("ann", "bob", "again")},
		{name: "Add to nobody", applied: cancelLeads(fixtureFollows, "ann", "new"), refused: graphcache.ErrNotFound, act: follow("ann", "new", "")},
		{name: "Add to-one", applied: cancelLeads(fixtureBoss, "bob", "cat"), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureBoss.Add(ctx, e, "bob", "cat", cancelNone)
		}},
		{name: "Add to-one in the place of another", act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureBoss.Add(ctx, e, "ann", "cat", cancelNone)
		}, applied: cancelAll(cancelLeads(fixtureBoss, "ann", "cat"), cancelNot(cancelLeads(fixtureBoss, "ann", "bob")))},
		{name: "Add symmetric", act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFriends.Add(ctx, e, "cat", "ann", cancelNone)
		}, applied: cancelAll(cancelLeads(fixtureFriends, "ann", "cat"), cancelLeads(fixtureFriends, "cat", "ann"))},
		{name: "Remove", applied: cancelNot(cancelLeads(fixtureFollows, "ann", "bob")), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFollows.Remove(ctx, e, "ann", "bob")
		}},
		{name: "Remove to-one", applied: cancelNot(cancelLeads(fixtureBoss, "ann", "bob")), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureBoss.Remove(ctx, e, "ann", "bob")
		}},
		{name: "Remove symmetric", applied: cancelNot(cancelLeads(fixtureFriends, "ann", "bob")), act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFriends.Remove(ctx, e, "ann", "bob")
		}},
		{name: "ChangeKind", act: func(ctx context.Context, e *fixtureEngine) error {
			return fixtureLikes.ChangeKind(ctx, e, "ann", "cat", fixtureLoves)
		}, applied: cancelAll(cancelLeads(fixtureLoves, "ann", "cat"), cancelNot(cancelLeads(fixtureLikes, "ann", "cat")))},
		{name: "Tx", act: transaction, applied: cancelAll(cancelNamed("new", "mine"), cancelNamed("ann", "v2"),
			cancelNot(cancelLeads(fixtureFollows, "ann", "bob")), cancelLeads(fixtureBoss, "ann", "cat"))},
		{name: "Tx that deletes", act: func(ctx context.Context, e *fixtureEngine) error {
			return e.Tx(ctx, func(tx *graphcache.Tx) error { return fixtureUsers.Delete(ctx, tx, "ann") })
		}, applied: cancelAll(cancelNamed("ann", ""), cancelNot(cancelLeads(fixtureFollows, "cat", "ann")))},
	}
}

// cancelWorld makes ann, bob and cat and an edge of every kind.
func cancelWorld(t *testing.T, e *fixtureEngine) {
	t.Helper()
	e.seed(t, cancelUsers[:3], cancelPosts...)
	ctx := t.Context()
	for _, err := range []error{
		fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{Note: "old"}),
		fixtureFollows.Add(ctx, e, "cat", "ann", fixtureFollow{Note: "old"}),
		fixtureWrote.Add(ctx, e, "ann", "p1", cancelNone),
		fixtureBoss.Add(ctx, e, "ann", "bob", cancelNone), fixtureBoss.Add(ctx, e, "cat", "ann", cancelNone),
		fixtureFriends.Add(ctx, e, "bob", "ann", cancelNone),
		fixtureLikes.Add(ctx, e, "ann", "cat", cancelNone),
	} {
		fixtureMust(t, err)
	}
}

// cancelHalf deletes ann and stops when she is marked and has her edges still.
func cancelHalf(t *testing.T, e *fixtureEngine) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	e.on(func(c fixtureCall) backendtest.Fault {
		if c.is("Write") && c.N == 1 {
			cancel()
		}
		return backendtest.Fault{}
	})
	defer e.on(nil)
	if err := fixtureUsers.Delete(ctx, e, "ann"); !errors.Is(err, context.Canceled) {
		t.Fatalf("a Delete that was given up returned %v", err)
	}
}

// TestCancel: the caller of a write may give up at any moment. What then is in the
// store is what the error says, nothing is left standing in the cache, and what is
// cached is what the store has.
func TestCancel(t *testing.T) {
	for _, w := range cancelWrites() {
		t.Run(w.name, func(t *testing.T) {
			// The error is nil or ctx's, whatever the moment; both must occur.
			outcomes := map[bool]int{}
			steps := 0
			for step, more := 0, true; more; step++ {
				for _, moment := range []string{"before", "after"} {
					var err error
					more, err = w.run(t, step, moment == "before")
					if t.Failed() {
						t.Fatalf("the caller gave up %s call %d; the error was %v", moment, step, err)
					}
					outcomes[err == nil]++
				}
				steps = step
			}
			if steps < 3 || outcomes[false] < 2 || outcomes[true] == 0 && w.refused == nil {
				t.Errorf("%d calls were cut; %d times the write was applied, %d times not: the cuts do not show both",
					steps, outcomes[true], outcomes[false])
			}
		})
	}
}

// run gives up before or after a call, or with 0 before the write begins. It reports
// whether there was such a call.
func (w cancelWrite) run(t *testing.T, step int, before bool) (more bool, err error) {
	e := fixtureNew(t)
	cancelWorld(t, e)
	if w.setup != nil {
		w.setup(t, e)
	}
	e.view(t, cancelUsers, cancelPosts, graphcache.Cached) // so that a stale value would be found
	e.settle(t)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var calls, sent atomic.Int64
	if step == 0 {
		cancel()
	}
	e.on(func(c fixtureCall) backendtest.Fault {
		calls.Store(int64(c.total))
		if c.is("Hold", "Write", "Tx.Write", "Tx.Commit") {
			sent.Add(1)
		}
		switch {
		case c.total != step:
		case before:
			cancel()
		default:
			return backendtest.Fault{After: func(context.Context) { cancel() }}
		}
		return backendtest.Fault{}
	})
	err = w.act(ctx, e)
	more = step == 0 || int(calls.Load()) >= step
	e.on(nil)
	e.settle(t)

	if n := e.cache.Tokens(); n != 0 {
		t.Errorf("%d tokens are left in the cache", n)
	}
	w.check(t, e, err)
	if step == 0 && (!errors.Is(err, context.Canceled) || sent.Load() > 0) {
		t.Errorf("a write whose context had ended before returned %v and sent %d writes and holds", err, sent.Load())
	}
	if !more && !errors.Is(err, w.refused) {
		t.Errorf("nobody gave up and the error is %v, want %v", err, w.refused)
	}
	e.consistent(t, cancelUsers, cancelPosts...)
	if w.deletes && err != nil {
		w.finish(t, e)
	}
	return more, err
}

// check compares the error with what has become of the write.
func (w cancelWrite) check(t *testing.T, e *fixtureEngine, err error) {
	t.Helper()
	applied := w.applied(t, e)
	switch {
	case errors.Is(err, graphcache.ErrUnknownOutcome):
		t.Errorf("the outcome of a write is unknown only because its caller gave up: %v", err)
	case err == nil && !applied:
		t.Error("the error is nil and the write is not applied")
	case err == nil || w.refused != nil && errors.Is(err, w.refused) && !applied:
	case !errors.Is(err, context.Canceled):
		t.Errorf("the error is neither nil nor the context's: %v", err)
	case applied && !w.deletes:
		t.Errorf("the write is applied and its error is %v", err)
	}
}

// finish checks that what is left of a deletion goes when it is asked for again, or
// when a graph is opened.
func (w cancelWrite) finish(t *testing.T, e *fixtureEngine) {
	t.Helper()
	if w.applied(t, e) { // it was begun
		next := e.another(t)
		next.settle(t)
		if err := w.act(t.Context(), next); !errors.Is(err, graphcache.ErrNotFound) {
			t.Errorf("after the next Open a Delete that was half done is still to be finished: %v", err)
		}
		e = next
	} else {
		fixtureMust(t, w.act(t.Context(), e))
	}
	if !w.applied(t, e) {
		t.Error("what was deleted again is there")
	}
	e.consistent(t, cancelUsers, cancelPosts...)
	for _, u := range cancelUsers {
		if from := cancelLeads(fixtureFollows, u, "ann")(t, e); from && e.name(t, "ann") == "" {
			t.Errorf("an edge from %s to a deleted object is left", u)
		}
	}
}

// TestCancelDeleteAgain: a Delete that was given up at any moment is finished by the
// next one.
func TestCancelDeleteAgain(t *testing.T) {
	for step, more := 1, true; more; step++ {
		e := fixtureNew(t)
		cancelWorld(t, e)
		ctx, cancel := context.WithCancel(t.Context())
		var calls atomic.Int64
		e.on(func(c fixtureCall) backendtest.Fault {
			if calls.Store(int64(c.total)); c.total == step {
				cancel()
			}
			return backendtest.Fault{}
		})
		err := fixtureUsers.Delete(ctx, e, "ann")
		cancel()
		more = int(calls.Load()) >= step
		e.on(nil)
		if err != nil {
			if err = fixtureUsers.Delete(t.Context(), e, "ann"); err != nil && !errors.Is(err, graphcache.ErrNotFound) {
				t.Errorf("cut at call %d: a second Delete returned %v", step, err)
			}
		}
		want := map[string]any{}
		for name, v := range e.view(t, cancelUsers, cancelPosts, graphcache.Fresh) {
			if name != "users" && name != "posts" {
				want[name] = v
			}
		}
		if len(want) > 0 || e.name(t, "ann") != "" {
			t.Errorf("cut at call %d: after a second Delete there are still %v", step, want)
		}
		e.consistent(t, cancelUsers, cancelPosts...)
	}
}

// TestCancelDeadline: a write whose caller's deadline has passed is not begun, and
// one that has begun does not end at it.
func TestCancelDeadline(t *testing.T) {
	for _, method := range []string{"Hold", "Write", "Release"} {
		t.Run(fmt.Sprint("at ", method), func(t *testing.T) {
			e := fixtureNew(t)
			gate := e.stopAt(backendtest.On(method))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			wait := fixtureGo(t, func() error {
				return fixtureUsers.Create(ctx, e, &fixtureUser{ID: "ann", Name: "mine"})
			})
			gate.await(t)
			<-ctx.Done()
			gate.Open()
			if err := wait(); err != nil {
				t.Errorf("a write that had begun ended with its caller's deadline: %v", err)
			}
			if got := e.name(t, "ann"); got != "mine" || e.cache.Tokens() != 0 {
				t.Errorf("then the name is %q and %d tokens stand", got, e.cache.Tokens())
			}
		})
	}
	e := fixtureNew(t)
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	if err := fixtureUsers.Create(ctx, e, &fixtureUser{ID: "ann"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a write whose deadline has passed returned %v", err)
	}
	if n := e.fcache.Total() + e.fstore.Calls("Write"); n != 0 {
		t.Errorf("a write whose deadline has passed made %d calls", n)
	}
}
