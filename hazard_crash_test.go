package graphcache_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// hazardWorld is what the writes of the crash tests find: ann has an edge of every
// kind in every direction.
func hazardWorld(t testing.TB, e *fixtureEngine) (users []fixtureUserID, posts []fixturePostID) {
	t.Helper()
	users, posts = []fixtureUserID{"ann", "bob", "cat"}, []fixturePostID{"p1", "p2"}
	e.seed(t, users, posts...)
	ctx, none := t.Context(), graphcache.NoData{}
	for _, err := range []error{
		fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{Note: "1"}),
		fixtureFollows.Add(ctx, e, "ann", "ann", fixtureFollow{Note: "2"}),
		fixtureFollows.Add(ctx, e, "cat", "ann", fixtureFollow{Note: "3"}),
		fixtureFollows.Add(ctx, e, "cat", "bob", fixtureFollow{Note: "4"}),
		fixtureWrote.Add(ctx, e, "ann", "p1", none), fixtureWrote.Add(ctx, e, "ann", "p2", none),
		fixtureBoss.Add(ctx, e, "ann", "bob", none), fixtureBoss.Add(ctx, e, "cat", "ann", none),
		fixtureFriends.Add(ctx, e, "bob", "ann", none), fixtureFriends.Add(ctx, e, "bob", "cat", none),
		fixtureLikes.Add(ctx, e, "ann", "cat", none), fixtureLoves.Add(ctx, e, "bob", "ann", none),
	} {
		fixtureMust(t, err)
	}
	return users, posts
}

// TestHazard09Crash: a process dies, or loses its store, after any of the writes that
// an operation consists of. The next Open finishes deletions, and Repair removes
// edges that hang.
func TestHazard09Crash(t *testing.T) {
	none := graphcache.NoData{}
	for _, tt := range []struct {
		name string
		act  func(context.Context, *fixtureEngine) error
		// hangs: an edge that hangs can be left. gone: ann's deletion is finished
		// once it was begun.
		hangs, gone bool
	}{
		{"Delete", func(ctx context.Context, e *fixtureEngine) error { return fixtureUsers.Delete(ctx, e, "ann") }, false, true},
		{"Add", func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFollows.Add(ctx, e, "bob", "cat", fixtureFollow{})
		}, false, false},
		{"Add again", func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{Note: "9"})
		}, false, false},
		{"Add to nobody", func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFollows.Add(ctx, e, "bob", "nobody", fixtureFollow{})
		}, true, false},
		{"Add from nobody", func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFriends.Add(ctx, e, "nobody", "bob", none)
		}, true, false},
		{"Add in the place of another", func(ctx context.Context, e *fixtureEngine) error {
			return fixtureBoss.Add(ctx, e, "ann", "cat", none)
		}, false, false},
		{"ChangeKind", func(ctx context.Context, e *fixtureEngine) error {
			return fixtureLikes.ChangeKind(ctx, e, "ann", "cat", fixtureLoves)
		}, false, false},
	} {
		for _, dies := range []string{"process", "store"} {
			t.Run(tt.name+"/"+dies, func(t *testing.T) {
				hung := 0
				crashed := true
				for k := 0; crashed; k++ {
					synctest.Test(t, func(t *testing.T) {
						var report graphcache.RepairReport
						crashed, report = hazardCrash(t, k, dies == "process", tt.gone, tt.act)
						hung += report.Hanging
					})
					if t.Failed() {
						t.Fatalf("after a crash behind write %d", k)
					}
				}
				if (hung > 0) != tt.hangs {
					t.Errorf("%d edges were left that hang, want some: %v", hung, tt.hangs)
				}
			})
		}
	}
}

// hazardCrash runs act until k of its writes are made and checks what the next
// process makes of the rest. It reports whether act was cut short.
func hazardCrash(t *testing.T, k int, wholeProcess, gone bool, act func(context.Context, *fixtureEngine) error) (crashed bool, report graphcache.RepairReport) {
	e, clock := fixtureTimed(t)
	users, posts := hazardWorld(t, e)
	users = append(users, "nobody")
	hazardMirrored(t, e, users, posts...)

	var dead, hit atomic.Bool
	e.on(func(c fixtureCall) backendtest.Fault {
		switch {
		case c.is("Write") && k == 0:
			dead.Store(true)
		case c.is("Write") && c.N == k:
			return backendtest.Fault{After: func(context.Context) { dead.Store(true) }}
		}
		if dead.Load() && (wholeProcess || c.is("Read", "Write")) {
			hit.Store(true)
			return backendtest.Fault{Action: backendtest.Fail}
		}
		return backendtest.Fault{}
	})
	err := act(t.Context(), e)
	crashed = hit.Load()
	if !crashed && err != nil && !errors.Is(err, graphcache.ErrNotFound) {
		t.Errorf("nothing failed and the error is %v", err)
	}
	e.on(nil)

	next := e.another(t)
	next.settle(t) // deletions that Open resumes
	if gone && k > 0 {
		if got := next.name(t, "ann"); got != "" {
			t.Errorf("a deletion that was begun is not finished after the next Open: there is %q", got)
		}
		if rest, err := next.Repair(t.Context()); err != nil || rest.Deletions > 0 || rest.Hanging > 0 {
			t.Errorf("Open has left deletions or edges of deleted objects: Repair did %+v, %v", rest, err)
		}
	}
	report, err = next.Repair(t.Context())
	fixtureMust(t, err)
	if again, err := next.Repair(t.Context()); err != nil || again.Hanging > 0 || again.Deletions > 0 {
		t.Errorf("Repair has left something to a second Repair: %+v, %v", again, err)
	}
	for _, standing := range []bool{true, false} { // the holds of the dead process
		if !standing {
			clock.advance(5 * fixturePatience)
		}
		hazardMirrored(t, next, users, posts...)
		next.consistent(t, users, posts...)
	}
	return crashed, report
}
