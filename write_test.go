package graphcache_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

var errWrite = errors.New("my reason")

// TestWriteErrors: what a write that cannot be done returns, word for word, and that
// it changes nothing.
func TestWriteErrors(t *testing.T) {
	ctx, no := t.Context(), graphcache.NoData{}
	e := fixtureNew(t)
	roundtripWorld(t, e)
	fixtureMust(t, fixtureLikes.Add(ctx, e, "cid", "ann", no))
	fixtureMust(t, fixtureLoves.Add(ctx, e, "cid", "ann", no))
	_, err := e.store.Write(ctx, []driver.Write{{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "eve", Version: 41}}})
	fixtureMust(t, err)
	update := func(id fixtureUserID, change func(*fixtureUser) error) error {
		_, err := fixtureUsers.Update(ctx, e, id, change)
		return err
	}
	long := strings.Repeat("x", graphcache.MaxIDLen+1)
	for _, tt := range []struct {
		name string
		err  error
		is   error
		want string
	}{
		{"Create of nil", fixtureUsers.Create(ctx, e, nil), graphcache.ErrInvalid, `graphcache: create user: invalid: the object is nil`},
		{"Create of what is there", fixtureUsers.Create(ctx, e, &fixtureUser{ID: "ann"}), graphcache.ErrExists, `graphcache: create user "ann": already exists`},
		{"Create with a long ID", fixtureUsers.Create(ctx, e, &fixtureUser{ID: fixtureUserID(long)}), graphcache.ErrInvalid,
			`graphcache: create user "` + long[:80] + `": invalid: user: the ID has 513 bytes, more than 512: "` + long[:40] + `"…`},
		{"Create with an ID that is not text", fixtureUsers.Create(ctx, e, &fixtureUser{ID: "\xff"}), graphcache.ErrInvalid, `graphcache: create user "\xff": invalid: user: the ID "\xff" is not valid UTF-8`},
		{"Put of nil", fixtureUsers.Put(ctx, e, nil), graphcache.ErrInvalid, `graphcache: put user: invalid: the object is nil`},
		{"Put over another version", fixtureUsers.Put(ctx, e, &fixtureUser{ID: "eve", Version: 40}), graphcache.ErrConflict, `graphcache: put user "eve": conflict: the record's version is 41, not 40`},
		{"Put of a version that is gone", fixtureUsers.Put(ctx, e, &fixtureUser{ID: "dan", Version: 7}), graphcache.ErrConflict, `graphcache: put user "dan": conflict: the record does not exist, so it does not have version 7`},
		{"Put of a version without an ID", fixtureUsers.Put(ctx, e, &fixtureUser{Version: 7}), graphcache.ErrInvalid, `graphcache: put user: invalid: user: the ID is empty`},
		{"Update of nobody", update("dan", func(*fixtureUser) error { return nil }), graphcache.ErrNotFound, `graphcache: update user "dan": not found`},
		{"Update without an ID", update("", func(*fixtureUser) error { return nil }), graphcache.ErrInvalid, `graphcache: update user: invalid: user: the ID is empty`},
		{"Update that fails", update("ann", func(u *fixtureUser) error { u.Name = "no"; return errWrite }), errWrite, `graphcache: update user "ann": my reason`},
		{"Update of the ID", update("ann", func(u *fixtureUser) error { u.ID = "bob"; return nil }), graphcache.ErrInvalid, `graphcache: update user "ann": invalid: the ID was changed to "bob"`},
		{"Update of the version", update("eve", func(u *fixtureUser) error { u.Version = 40; return nil }), graphcache.ErrConflict, `graphcache: update user "eve": conflict: the record's version is 41, not 40`},
		{"Delete of nobody", fixtureUsers.Delete(ctx, e, "dan"), graphcache.ErrNotFound, `graphcache: delete user "dan": not found`},
		{"Add to nobody", fixtureFollows.Add(ctx, e, "ann", "dan", fixtureFollow{}), graphcache.ErrNotFound, `graphcache: add follows "ann" to "dan": not found: user "dan"`},
		{"Add from nobody", fixtureFriends.Add(ctx, e, "dan", "ann", no), graphcache.ErrNotFound, `graphcache: add friends "dan" to "ann": not found: user "dan"`},
		{"Add to no post", fixtureWrote.Add(ctx, e, "ann", "p9", no), graphcache.ErrNotFound, `graphcache: add wrote "ann" to "p9": not found: post "p9"`},
		{"Add in the place of an edge, to nobody", fixtureBoss.Add(ctx, e, "ann", "dan", no), graphcache.ErrNotFound, `graphcache: add boss "ann" to "dan": not found: user "dan"`},
		{"Remove of no edge", fixtureFollows.Remove(ctx, e, "bob", "ann"), graphcache.ErrNotFound, `graphcache: remove follows "bob" to "ann": not found`},
		{"Remove of another to-one edge", fixtureBoss.Remove(ctx, e, "ann", "cid"), graphcache.ErrNotFound, `graphcache: remove boss "ann" to "cid": not found`},
		{"ChangeKind to nil", fixtureLikes.ChangeKind(ctx, e, "ann", "bob", nil), graphcache.ErrInvalid, `graphcache: change kind of likes "ann" to "bob": invalid: the other kind is nil`},
		{"ChangeKind to itself", fixtureLikes.ChangeKind(ctx, e, "ann", "bob", fixtureLikes), graphcache.ErrInvalid, `graphcache: change kind of likes "ann" to "bob": invalid: "likes" and "likes" are not two kinds of one family`},
		{"ChangeKind without a family", fixtureBoss.ChangeKind(ctx, e, "ann", "bob", fixtureFriends), graphcache.ErrInvalid, `graphcache: change kind of boss "ann" to "bob": invalid: "boss" and "friends" are not two kinds of one family`},
		{"ChangeKind of no edge", fixtureLoves.ChangeKind(ctx, e, "ann", "bob", fixtureLikes), graphcache.ErrNotFound, `graphcache: change kind of loves "ann" to "bob": not found`},
		{"ChangeKind to an edge that is there", fixtureLikes.ChangeKind(ctx, e, "cid", "ann", fixtureLoves), graphcache.ErrExists, `graphcache: change kind of likes "cid" to "ann": already exists`},
	} {
		if !errors.Is(tt.err, tt.is) || tt.err.Error() != tt.want {
			t.Errorf("%s: %v\nwant %s", tt.name, tt.err, tt.want)
		}
	}
	var kinds []string
	for _, k := range writeEdgeKinds {
		results, err := e.store.Read(ctx, []driver.Step{{Op: driver.ScanEdges, Kind: k, Range: driver.Range{Limit: 10}}}, "")
		fixtureMust(t, err)
		for _, edge := range results[0].Lists[0] {
			kinds = append(kinds, k+" "+edge.From+" "+edge.To)
		}
	}
	want := []string{"follows ann bob", "wrote bob p1", "boss ann bob", "friends ann bob", "likes ann bob", "likes cid ann", "loves cid ann"}
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("writes that failed have left something behind (-want +got):\n%s", diff)
	}
	if got := e.name(t, "ann", graphcache.Fresh); got != "v1 of ann" {
		t.Errorf("writes that failed have changed a name to %q", got)
	}
}

// writeEdgeKinds are the names of the fixture's edge kinds.
var writeEdgeKinds = []string{"follows", "wrote", "boss", "friends", "likes", "loves"}

// TestWriteVersions: a version that a form was filled with is checked, once, and the
// object has the new one after it was written.
func TestWriteVersions(t *testing.T) {
	ctx, e := t.Context(), fixtureNew(t)
	created := &fixtureUser{Name: "Ann"}
	fixtureMust(t, fixtureUsers.Create(ctx, e, created))
	if len(created.ID) != 26 || created.Version <= 0 || created.Version >= 1<<53 {
		t.Errorf("Create set ID %q and version %d, want 26 characters and a JSON number", created.ID, created.Version)
	}
	for range 2 { // a miss and a hit
		form, err := fixtureUsers.Get(ctx, e, created.ID)
		if diff := cmp.Diff(created, form); diff != "" || err != nil {
			t.Fatalf("%v (-created +read):\n%s", err, diff)
		}
		e.settle(t)
	}
	form := *created
	for i := range 3 {
		form.Age = i
		fixtureMust(t, fixtureUsers.Put(ctx, e, &form)) // each has the version of the one before
		if want := created.Version + graphcache.Version(i) + 1; form.Version != want {
			t.Errorf("Put %d set version %d, want %d", i, form.Version, want)
		}
	}
	if err := fixtureUsers.Put(ctx, e, created); !errors.Is(err, graphcache.ErrConflict) {
		t.Errorf("Put with an old version: %v, want ErrConflict", err)
	}
	unchecked := &fixtureUser{ID: created.ID, Name: "Eve"}
	fixtureMust(t, fixtureUsers.Put(ctx, e, unchecked))
	updated, err := fixtureUsers.Update(ctx, e, created.ID, func(u *fixtureUser) error { u.Age++; return nil })
	fixtureMust(t, err)
	if want := (fixtureUser{ID: created.ID, Version: form.Version + 2, Name: "Eve", Age: 1}); *updated != want {
		t.Errorf("Update returned %+v, want %+v", *updated, want)
	}
	fixtureMust(t, fixtureUsers.Delete(ctx, e, created.ID))
	again := &fixtureUser{ID: created.ID, Version: updated.Version}
	if err := fixtureUsers.Put(ctx, e, again); !errors.Is(err, graphcache.ErrConflict) {
		t.Errorf("Put with the version of an object that was deleted: %v, want ErrConflict", err)
	}
	fixtureMust(t, fixtureUsers.Create(ctx, e, again))
	if again.Version == updated.Version {
		t.Error("an object that was deleted and created again repeats its version")
	}
}

// TestWriteConflicts: a write that loses every race gives up after MaxAttempts, one
// that wins the last one is done.
func TestWriteConflicts(t *testing.T) {
	const most = 3
	for _, losses := range []int{most - 1, most} {
		e := fixtureNew(t, func(o *graphcache.Options) { o.MaxAttempts = most })
		e.seed(t, []fixtureUserID{"ann"})
		other := e.another(t)
		lose := func(c fixtureCall) backendtest.Fault {
			if c.is("Hold") && c.N <= losses {
				fixtureMust(t, other.rename(c.ctx, "ann", fmt.Sprint("rival ", c.N)))
			}
			return backendtest.Fault{}
		}
		runs := 0
		for _, write := range []struct {
			name string
			run  func() error
		}{
			{"update", func() error {
				_, err := fixtureUsers.Update(t.Context(), e, "ann", func(u *fixtureUser) error { runs++; u.Age++; return nil })
				return err
			}},
			{"put", func() error { return fixtureUsers.Put(t.Context(), e, &fixtureUser{ID: "ann", Age: 1}) }},
		} {
			e.on(lose)
			err := write.run()
			if got := e.fstore.Calls("Write"); got != most {
				t.Errorf("%s: %d attempts with %d losses, want %d", write.name, got, losses, most)
			}
			want := fmt.Sprintf(`graphcache: %s user "ann": conflict`, write.name)
			if losses == most && (!errors.Is(err, graphcache.ErrConflict) || err.Error() != want) || losses < most && err != nil {
				t.Errorf("%s: %v with %d losses in %d attempts", write.name, err, losses, most)
			}
		}
		if runs != most {
			t.Errorf("the callback of Update ran %d times, want %d", runs, most)
		}
		if n := e.Stats().Kinds["user"].Conflicts; n != int64(2*losses) {
			t.Errorf("%d conflicts were counted, want %d", n, 2*losses)
		}
	}
}

// TestWriteEdges: Add says whether it created the edge, replaces data and time, and
// truncates the time; the store's clock gives the time that the caller does not.
func TestWriteEdges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, e := t.Context(), fixtureNew(t)
		e.seed(t, []fixtureUserID{"ann", "bob"})
		e.on(func(c fixtureCall) backendtest.Fault {
			writes, _ := c.Batch.([]driver.Write)
			for _, w := range writes {
				if at := w.Edge.Time; at.Location() != time.UTC || at.Nanosecond()%int(time.Millisecond) != 0 {
					t.Errorf("the store was given the time %v, want UTC and whole milliseconds", at)
				}
			}
			return backendtest.Fault{}
		})
		<-time.After(1500 * time.Microsecond)
		now := time.Now().UTC().Truncate(time.Millisecond)
		rome := time.Date(1969, 7, 20, 20, 17, 40, 1_999_999, time.FixedZone("CET", 3600))
		for i, tt := range []struct{ given, want time.Time }{
			{rome, time.Date(1969, 7, 20, 19, 17, 40, 1_000_000, time.UTC)},
			{time.Time{}, now},
			{time.Unix(0, -1), time.UnixMilli(-1).UTC()},
			{time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_000_000, time.UTC)},
		} {
			note := fixtureFollow{Note: fmt.Sprint(i)}
			created, err := fixtureFollows.AddEdge(ctx, e, fixtureEdge{From: "ann", To: "bob", Time: tt.given, Data: note})
			if created != (i == 0) || err != nil {
				t.Errorf("AddEdge at %v: created %v, %v, want %v", tt.given, created, err, i == 0)
			}
			for _, fresh := range []graphcache.Freshness{graphcache.Fresh, graphcache.Cached, graphcache.Cached} {
				got, err := fixtureFollows.Get(ctx, e, "ann", "bob", fresh)
				want := &fixtureEdge{From: "ann", To: "bob", Time: tt.want, Data: note}
				if diff := cmp.Diff(want, got); diff != "" || err != nil || got.Time.Location() != time.UTC {
					t.Errorf("the edge added at %v, %v (-want +got):\n%s", tt.given, err, diff)
				}
				e.settle(t)
			}
		}
		for _, bad := range []time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC)} {
			_, err := fixtureFollows.AddEdge(ctx, e, fixtureEdge{From: "ann", To: "bob", Time: bad})
			if !errors.Is(err, graphcache.ErrInvalid) {
				t.Errorf("AddEdge at %v: %v, want ErrInvalid", bad, err)
			}
		}
	})
}

// TestWriteToOne: a to-one edge that takes the place of another leaves the list of
// the old target and enters that of the new one.
func TestWriteToOne(t *testing.T) {
	ctx, e := t.Context(), fixtureNew(t)
	e.seed(t, roundtripPeople)
	bosses := func(of fixtureUserID) string {
		ids, err := fixtureBoss.In(of).IDs(ctx, e)
		fixtureMust(t, err)
		e.settle(t)
		return fmt.Sprint(ids)
	}
	for _, to := range []fixtureUserID{"bob", "cid", "cid", "ann", "bob"} {
		fixtureMust(t, fixtureBoss.Add(ctx, e, "ann", to, graphcache.NoData{}))
		for range 2 { // a miss and a hit
			for _, u := range roundtripPeople {
				if want := map[bool]string{true: "[ann]", false: "[]"}[u == to]; bosses(u) != want {
					t.Errorf("the boss of ann is %s: the list of %s is %s, want %s", to, u, bosses(u), want)
				}
			}
		}
	}
	e.consistent(t, roundtripPeople)
}

// TestWriteTxRollback: an object that was written in a transaction that does not
// commit has the ID and the version that it had before, so that it can be written
// again; one of a transaction that commits has the new ones.
func TestWriteTxRollback(t *testing.T) {
	fail := func(*graphcache.Tx) error { return errWrite }
	for _, tt := range []struct {
		name string
		hook backendtest.Hook
		last func(*graphcache.Tx) error // what fn does in the end
		is   error
		want string
		kept bool // the writes were, or may have been, applied
	}{
		{"commit", nil, nil, nil, "", true},
		{"the function fails", nil, fail, errWrite, "my reason", false},
		{"an unimportant error", nil, func(tx *graphcache.Tx) error {
			if _, err := fixtureUsers.Get(t.Context(), tx, "nobody"); !errors.Is(err, graphcache.ErrNotFound) {
				t.Errorf("Get of nobody: %v", err)
			}
			return nil
		}, nil, "", true},
		{"a read fails unnoticed", backendtest.FailOn(backendtest.Nth("Tx.Read", 3), errWrite), func(tx *graphcache.Tx) error {
			_, _ = fixtureUsers.Get(t.Context(), tx, "bob")
			return nil
		}, errWrite, `graphcache: transaction: an operation in it failed: read the store: my reason`, false},
		{"a write fails unnoticed", backendtest.FailOn(backendtest.Nth("Tx.Write", 3), errWrite), func(tx *graphcache.Tx) error {
			_ = fixtureUsers.Create(t.Context(), tx, &fixtureUser{ID: "dan"})
			return nil
		}, errWrite, `graphcache: transaction: an operation in it failed: write the store: my reason`, false},
		{"a write is not answered, unnoticed", backendtest.DropReplies(backendtest.Nth("Tx.Write", 3), driver.ErrNotFound), func(tx *graphcache.Tx) error {
			_ = fixtureUsers.Create(t.Context(), tx, &fixtureUser{ID: "dan"})
			return nil
		}, graphcache.ErrUnavailable,
			`graphcache: transaction: an operation in it failed: unavailable: the transaction cannot commit: the store did not answer a write: not found`, false},
		{"the holds fail", backendtest.FailOn(backendtest.On("Hold"), errWrite), nil, graphcache.ErrUnavailable,
			"graphcache: transaction: unavailable: the cache did not accept the holds of a write: my reason", false},
		{"the commit is refused", backendtest.FailOn(backendtest.On("Tx.Commit"), driver.ErrUnavailable), nil, graphcache.ErrUnavailable,
			"graphcache: transaction: commit: unavailable", false},
		{"the commit is not answered", backendtest.DropReplies(backendtest.On("Tx.Commit"), errWrite), nil, graphcache.ErrUnknownOutcome,
			"graphcache: transaction: unknown outcome: commit: my reason", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := fixtureNew(t)
			e.seed(t, []fixtureUserID{"ann", "bob"})
			old, err := fixtureUsers.Get(t.Context(), e, "ann")
			fixtureMust(t, err)
			created, put := fixtureUser{Name: "new"}, *old
			put.Name = "v2"
			if tt.hook != nil {
				e.on(func(c fixtureCall) backendtest.Fault { return tt.hook(c.ctx, c.Call) })
			}
			var outside *graphcache.Tx
			err = e.Tx(t.Context(), func(tx *graphcache.Tx) error {
				outside = tx
				fixtureMust(t, fixtureUsers.Create(t.Context(), tx, &created))
				fixtureMust(t, fixtureUsers.Put(t.Context(), tx, &put))
				if got, err := fixtureUsers.Get(t.Context(), tx, "ann"); err != nil || *got != put {
					t.Errorf("a transaction does not see its own write: %+v, %v", got, err)
				}
				if got := e.name(t, "ann"); got != "v1 of ann" {
					t.Errorf("a write is seen before it is committed: name %q", got)
				}
				if tt.last == nil {
					return nil
				}
				return tt.last(tx)
			})
			if !errors.Is(err, tt.is) || err != nil && err.Error() != tt.want {
				t.Errorf("Tx = %v\nwant %s", err, tt.want)
			}
			if _, err := fixtureUsers.Get(t.Context(), outside, "ann"); !errors.Is(err, graphcache.ErrInvalid) {
				t.Errorf("Get in a transaction that has ended: %v, want ErrInvalid", err)
			}
			e.on(nil)
			if tt.kept != (created.ID != "") || tt.kept != (created.Version != 0) || tt.kept != (put.Version == old.Version+1) {
				t.Errorf("kept %v: the objects have %+v and %+v, and had no ID and version %d", tt.kept, created, put, old.Version)
			}
			if got := e.name(t, "ann"); (got == "v2") != tt.kept {
				t.Errorf("kept %v: the name is %q", tt.kept, got)
			}
		})
	}
}

// TestWriteTxConflicts: a transaction that lost a race runs again with the same
// objects, and gives up after MaxAttempts.
func TestWriteTxConflicts(t *testing.T) {
	const most = 3
	for _, losses := range []int{most - 1, most} {
		e := fixtureNew(t, func(o *graphcache.Options) { o.MaxAttempts = most })
		e.seed(t, []fixtureUserID{"ann", "bob"})
		other := e.another(t)
		created := fixtureUser{Name: "new"}
		put, err := fixtureUsers.Get(t.Context(), e, "ann")
		fixtureMust(t, err)
		put.Name = "v2"
		runs := 0
		err = e.Tx(t.Context(), func(tx *graphcache.Tx) error {
			if _, err := fixtureUsers.Get(t.Context(), tx, "bob"); err != nil {
				return err
			}
			if runs++; runs <= losses {
				fixtureMust(t, other.rename(t.Context(), "bob", fmt.Sprint("rival ", runs)))
			}
			return errors.Join(fixtureUsers.Put(t.Context(), tx, put), fixtureUsers.Create(t.Context(), tx, &created))
		})
		if runs != most {
			t.Errorf("%d losses: the function ran %d times, want %d", losses, runs, most)
		}
		if losses < most && (err != nil || e.name(t, "ann") != "v2" || e.name(t, created.ID) != "new") {
			t.Errorf("%d losses: %v, names %q and %q", losses, err, e.name(t, "ann"), e.name(t, created.ID))
		}
		if losses == most && (!errors.Is(err, graphcache.ErrConflict) || created.ID != "" || e.name(t, "ann") != "v1 of ann") {
			t.Errorf("%d losses: %v, created %+v, name %q, want ErrConflict and nothing done", losses, err, created, e.name(t, "ann"))
		}
	}
}

// TestWriteTxPanics: a panic in the function rolls the transaction back.
func TestWriteTxPanics(t *testing.T) {
	e := fixtureNew(t)
	created := fixtureUser{Name: "new"}
	func() {
		defer func() { _ = recover() }()
		_ = e.Tx(t.Context(), func(tx *graphcache.Tx) error {
			fixtureMust(t, fixtureUsers.Create(t.Context(), tx, &created))
			panic("boom")
		})
		t.Error("the panic did not reach the caller of Tx")
	}()
	if created.ID != "" || e.fstore.Calls("Tx.Rollback") != 1 || e.fstore.Calls("Tx.Commit") != 0 {
		t.Errorf("after a panic: %+v, %d rollbacks and %d commits", created, e.fstore.Calls("Tx.Rollback"), e.fstore.Calls("Tx.Commit"))
	}
}

// TestWriteTxUnsupported: a store without transactions says so before anything runs.
func TestWriteTxUnsupported(t *testing.T) {
	plain := struct{ driver.Store }{fixtureNew(t).store}
	g, err := graphcache.Open(t.Context(), fixtureSchema, plain, nil)
	fixtureMust(t, err)
	err = g.Tx(t.Context(), func(*graphcache.Tx) error { t.Error("the function ran"); return nil })
	const want = "graphcache: transaction: the store (memory) has no transactions: unsupported operation"
	if !errors.Is(err, errors.ErrUnsupported) || err.Error() != want {
		t.Errorf("Tx = %v\nwant %s", err, want)
	}
}
