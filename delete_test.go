package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// deleteOldSchema is that of a program that does not know of likes and loves yet.
var deleteOldSchema = graphcache.NewSchema(fixtureUsers, fixturePosts, fixtureFollows, fixtureWrote, fixtureBoss, fixtureFriends)

// deleteWorld makes users with edges of kinds that the old program knows and of some
// that it does not.
func deleteWorld(t *testing.T, e *fixtureEngine) []fixtureUserID {
	t.Helper()
	users, ctx := []fixtureUserID{"ann", "bob", "cat"}, t.Context()
	e.seed(t, users)
	for _, err := range []error{
		fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{}), fixtureFollows.Add(ctx, e, "cat", "ann", fixtureFollow{}),
		fixtureLikes.Add(ctx, e, "ann", "bob", cancelNone), fixtureLikes.Add(ctx, e, "cat", "ann", cancelNone),
		fixtureLikes.Add(ctx, e, "bob", "cat", cancelNone), fixtureLoves.Add(ctx, e, "ann", "cat", cancelNone),
	} {
		fixtureMust(t, err)
	}
	hazardMirrored(t, e, users) // and all is cached
	return users
}

// deleteLeft returns the edges of deleteWorld that are there, in the store and in the
// cache, as "kind from>to".
func deleteLeft(t *testing.T, e *fixtureEngine, users []fixtureUserID) (left []string) {
	t.Helper()
	for kind, edges := range hazardMirrored(t, e, users) {
		for edge := range edges {
			left = append(left, kind+" "+edge)
		}
	}
	slices.Sort(left)
	return left
}

// deleteRecord returns the user's record, nil if there is none.
func deleteRecord(t *testing.T, e *fixtureEngine, id string) *driver.Object {
	t.Helper()
	results, err := e.store.Read(t.Context(), []driver.Step{{Op: driver.GetObjects, Kind: "user", IDs: []string{id}}}, "")
	fixtureMust(t, err)
	return results[0].Objects[0]
}

// TestDeleteByTwoSchemas: an old program finishes the deletion that a new one has begun,
// at any moment of it, and removes the record while edges of kinds that it does not know
// remain. The new one's Delete removes these too.
func TestDeleteByTwoSchemas(t *testing.T) {
	const marked = 4 // the calls up to the mark: Read, Hold, Write, Release
	markedAgain := 0
	for call, more := marked+1, true; more; call++ {
		e := fixtureNew(t)
		users := deleteWorld(t, e)
		old := e.withSchema(t, deleteOldSchema)
		more = false
		inserts := 0
		var oldErr error
		e.on(func(c fixtureCall) backendtest.Fault {
			if c.total == call {
				more, oldErr = true, fixtureUsers.Delete(t.Context(), old, "ann")
			}
			if w, ok := c.Batch.([]driver.Write); ok && w[0].Op == driver.Insert {
				inserts++
			}
			return backendtest.Fault{}
		})
		err := fixtureUsers.Delete(t.Context(), e, "ann")
		e.on(nil)
		if err != nil || oldErr != nil && !errors.Is(oldErr, graphcache.ErrNotFound) {
			t.Errorf("the old program came before call %d: Delete returned %v, the old one's %v", call, err, oldErr)
		}
		markedAgain += inserts
		if diff := cmp.Diff([]string{"likes bob>cat"}, deleteLeft(t, e, users)); diff != "" {
			t.Errorf("the old program came before call %d: Delete returned %v and left edges (-want +got):\n%s", call, err, diff)
		}
		if o := deleteRecord(t, e, "ann"); o != nil {
			t.Errorf("the old program came before call %d: the record is left: %+v", call, o)
		}
		if n := e.cache.Tokens(); n > 0 {
			t.Errorf("the old program came before call %d: %d marks are left in the cache", call, n)
		}
		if t.Failed() {
			return
		}
	}
	if markedAgain < 2 {
		t.Errorf("the mark was put back %d times: the calls do not show the race", markedAgain)
	}
}

// TestDeleteAndCreatedMeanwhile: while a program finishes a deletion that an old one has
// finished its way, somebody creates an object with that ID. It and its edges are left
// alone, whenever it was created.
func TestDeleteAndCreatedMeanwhile(t *testing.T) {
	const marked = 4
	refused := 0 // the new object was there when the mark was to be put back
	for call, more := marked+1, true; more; call++ {
		for later := range 4 { // calls between the end of the old deletion and the new object
			e := fixtureNew(t)
			users := deleteWorld(t, e)
			old := e.withSchema(t, deleteOldSchema)
			more = false
			created := false
			create := func() {
				err := fixtureUsers.Create(t.Context(), old, &fixtureUser{ID: "ann", Name: "new"})
				if errors.Is(err, graphcache.ErrExists) {
					t.Errorf("calls %d and %d: an object that was deleted is there: %v", call, call+later, err)
				}
				fixtureMust(t, err)
				fixtureMust(t, fixtureFollows.Add(t.Context(), old, "ann", "cat", fixtureFollow{Note: "new"}))
				created = true
			}
			e.on(func(c fixtureCall) backendtest.Fault {
				if c.total == call {
					more = true
					if err := fixtureUsers.Delete(t.Context(), old, "ann"); err != nil && !errors.Is(err, graphcache.ErrNotFound) {
						t.Errorf("the old program's Delete: %v", err)
					}
				}
				if c.total == call+later {
					w, ok := c.Batch.([]driver.Write)
					create()
					if ok && w[0].Op == driver.Insert {
						refused++
					}
				}
				return backendtest.Fault{}
			})
			err := fixtureUsers.Delete(t.Context(), e, "ann")
			e.on(nil)
			if err != nil {
				t.Errorf("calls %d and %d: Delete returned %v", call, call+later, err)
			}
			if !created {
				continue // the deletion had ended before
			}
			left := deleteLeft(t, e, users)
			if got := e.name(t, "ann"); got != "new" || !slices.Contains(left, "follows ann>cat") {
				t.Errorf("calls %d and %d: the new object has the name %q, and there are %q", call, call+later, got, left)
			}
			if o := deleteRecord(t, e, "ann"); o == nil || o.Deleting {
				t.Errorf("calls %d and %d: the new object's record is %+v", call, call+later, o)
			}
			if t.Failed() {
				return
			}
		}
	}
	if refused == 0 {
		t.Error("in no order was the new object there when the mark was to be put back: the test does not show the race")
	}
}

// TestDeleteGoesOn: of the deletions that are finished by Open or by Repair, one that
// fails keeps no other from being finished, also of those beyond the first batch.
func TestDeleteGoesOn(t *testing.T) {
	const objects, failing = 600, "o0007"
	fail := func(_ context.Context, c backendtest.Call) backendtest.Fault {
		if w, ok := c.Batch.([]driver.Write); ok && w[0].Object != nil && w[0].Object.ID == failing {
			return backendtest.Fault{Action: backendtest.Fail, Err: errWrite}
		}
		return backendtest.Fault{}
	}
	marked := func(t *testing.T, e *fixtureEngine) (ids []string) {
		results, err := e.store.Read(t.Context(), []driver.Step{{Op: driver.ScanDeleting, Kind: "user", Range: driver.Range{Limit: 2 * objects}}}, "")
		fixtureMust(t, err)
		for _, o := range results[0].Objects {
			ids = append(ids, o.ID)
		}
		return ids
	}
	for _, tt := range []struct {
		name   string
		finish func(*testing.T, *fixtureEngine)
	}{
		{"Open", func(t *testing.T, e *fixtureEngine) {
			g, err := graphcache.Open(t.Context(), fixtureSchema, backendtest.NewFaultyStore(e.store, fail),
				&graphcache.Options{Cache: e.cache, Logger: slog.New(slog.DiscardHandler)})
			fixtureMust(t, err)
			fixtureMust(t, g.Settle(t.Context()))
			fixtureMust(t, g.Close(t.Context()))
		}},
		{"Repair", func(t *testing.T, e *fixtureEngine) {
			e.on(func(c fixtureCall) backendtest.Fault { return fail(c.ctx, c.Call) })
			report, err := e.Repair(t.Context())
			const want = `graphcache: repair: user "o0007": write the store: my reason`
			if !errors.Is(err, errWrite) || err.Error() != want || report.Deletions != objects-1 {
				t.Errorf("Repair = %+v, %v\nwant %d deletions and %s", report, err, objects-1, want)
			}
			e.on(nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := fixtureNew(t)
			var writes []driver.Write
			for i := range objects {
				writes = append(writes, driver.Write{Op: driver.Insert, Kind: "user",
					Object: &driver.Object{ID: fmt.Sprintf("o%04d", i), Version: 1, Deleting: true}})
			}
			_, err := e.store.Write(t.Context(), writes)
			fixtureMust(t, err)
			tt.finish(t, e)
			if diff := cmp.Diff([]string{failing}, marked(t, e)); diff != "" {
				t.Errorf("deletions that are not finished (-want +got):\n%s", diff)
			}
			report, err := e.Repair(t.Context())
			if left := marked(t, e); len(left) > 0 || report.Deletions != 1 || err != nil {
				t.Errorf("once it can be finished Repair = %+v, %v, and leaves %q", report, err, left)
			}
		})
	}
}
