package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// roundtripPeople are the users of roundtripWorld.
var roundtripPeople = []fixtureUserID{"ann", "bob", "cid", "dan"}

// roundtripWorld fills a process with something for every write in roundtripWrites.
func roundtripWorld(t testing.TB, e *fixtureEngine) {
	t.Helper()
	ctx, no := t.Context(), graphcache.NoData{}
	e.seed(t, roundtripPeople[:3], "p1")
	fixtureMust(t, fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{Note: "hi"}))
	fixtureMust(t, fixtureWrote.Add(ctx, e, "bob", "p1", no))
	fixtureMust(t, fixtureBoss.Add(ctx, e, "ann", "bob", no))
	fixtureMust(t, fixtureFriends.Add(ctx, e, "ann", "bob", no))
	fixtureMust(t, fixtureLikes.Add(ctx, e, "ann", "bob", no))
}

// roundtripWrites are all the ways to write, each possible once in a roundtripWorld, and
// the calls that it makes of the cache and of the store.
var roundtripWrites = []struct {
	name         string
	cache, store int
	write        func(context.Context, *fixtureEngine) error
}{
	{"Create", 2, 1, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureUsers.Create(ctx, e, &fixtureUser{ID: "dan", Name: "new"})
	}},
	{"Put of a new object", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureUsers.Put(ctx, e, &fixtureUser{ID: "dan", Name: "new"})
	}},
	{"Put", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureUsers.Put(ctx, e, &fixtureUser{ID: "ann", Name: "v2"})
	}},
	{"Update", 2, 2, func(ctx context.Context, e *fixtureEngine) error { return e.rename(ctx, "ann", "v2") }},
	// Reads and marks the object, looks for its edges in ten lists, and removes the
	// record; five lists have one, to be read beside the mark, removed and looked for.
	{"Delete without edges", 4, 13, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureUsers.Delete(ctx, e, "cid")
	}},
	{"Delete", 14, 28, func(ctx context.Context, e *fixtureEngine) error { return fixtureUsers.Delete(ctx, e, "bob") }},
	{"Add", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureFollows.Add(ctx, e, "bob", "ann", fixtureFollow{})
	}},
	{"Add of an edge that exists", 2, 3, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{Note: "again"})
	}},
	{"Add of a symmetric edge", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureFriends.Add(ctx, e, "cid", "ann", graphcache.NoData{})
	}},
	{"Add of a to-one edge", 2, 3, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureBoss.Add(ctx, e, "bob", "cid", graphcache.NoData{})
	}},
	{"Add in the place of a to-one edge", 2, 4, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureBoss.Add(ctx, e, "ann", "cid", graphcache.NoData{})
	}},
	{"Remove", 2, 1, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureFollows.Remove(ctx, e, "ann", "bob")
	}},
	{"Remove of a to-one edge", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureBoss.Remove(ctx, e, "ann", "bob")
	}},
	{"ChangeKind", 2, 2, func(ctx context.Context, e *fixtureEngine) error {
		return fixtureLikes.ChangeKind(ctx, e, "ann", "bob", fixtureLoves)
	}},
	// Begin, read, write, write, read and commit.
	{"Tx", 2, 6, func(ctx context.Context, e *fixtureEngine) error {
		return e.Tx(ctx, func(tx *graphcache.Tx) error {
			if err := fixtureUsers.Put(ctx, tx, &fixtureUser{ID: "ann", Name: "v2"}); err != nil {
				return err
			}
			return fixtureFollows.Add(ctx, tx, "bob", "ann", fixtureFollow{})
		})
	}},
}

// roundtripCount checks the calls since counting began.
func roundtripCount(t *testing.T, e *fixtureEngine, what string, cache, store int) {
	t.Helper()
	e.settle(t)
	if c, s := e.fcache.Total(), e.fstore.Total(); c != cache || s != store {
		t.Errorf("%s: %d calls of the cache and %d of the store, want %d and %d", what, c, s, cache, store)
	}
	e.on(nil)
}

// TestRoundtripsOfWrites: a write marks all its anchors in one call of the cache and
// takes the marks off in another, however many they are.
func TestRoundtripsOfWrites(t *testing.T) {
	for _, tt := range roundtripWrites {
		t.Run(tt.name, func(t *testing.T) {
			e := fixtureNew(t)
			roundtripWorld(t, e)
			e.on(nil)
			fixtureMust(t, tt.write(t.Context(), e))
			holds, releases := e.fcache.Calls("Hold"), e.fcache.Calls("Release")
			if holds != tt.cache/2 || releases != tt.cache/2 {
				t.Errorf("%d calls of Hold and %d of Release, want %d of each", holds, releases, tt.cache/2)
			}
			roundtripCount(t, e, tt.name, tt.cache, tt.store)
			if n := e.cache.Tokens(); n != 0 {
				t.Errorf("%d marks are left after the write", n)
			}
		})
	}
}

// roundtripCrowd is a process on a store in which ann follows 100 users, each of
// whom wrote one post, and bob follows 3,000, the newest of them u02999.
func roundtripCrowd(t testing.TB) *fixtureEngine {
	t.Helper()
	const fans, many = 100, 3000
	e := fixtureNew(t)
	var writes []driver.Write
	object := func(kind, id string) {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: kind, Object: &driver.Object{ID: id, Version: 1}})
	}
	edge := func(kind, from, to string, ms int) {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: kind,
			Edge: &driver.Edge{From: from, To: to, Version: 1, Time: time.UnixMilli(int64(ms)).UTC()}})
	}
	object("user", "ann")
	object("user", "bob")
	for i := range many {
		id := fmt.Sprintf("u%05d", i)
		object("user", id)
		edge("follows", "bob", id, i)
		if i < fans {
			object("post", "of "+id)
			edge("wrote", id, "of "+id, i)
			edge("follows", "ann", id, i)
		}
	}
	_, err := e.store.Write(t.Context(), writes)
	fixtureMust(t, err)
	return e
}

// TestRoundtripsOfReads: the calls of a read do not grow with what it finds.
func TestRoundtripsOfReads(t *testing.T) {
	ctx, ann, bob := t.Context(), fixtureUserID("ann"), fixtureUserID("bob")
	hundred := make([]fixtureUserID, 100)
	for i := range hundred {
		hundred[i] = fixtureUserID(fmt.Sprintf("u%05d", i))
	}
	e := roundtripCrowd(t)
	for _, tt := range []struct {
		name                 string
		coldCache, coldStore int
		warmCache, want      int
		read                 func() (n int, err error)
	}{
		{"an object", 3, 1, 1, 1, func() (int, error) { _, err := fixtureUsers.Get(ctx, e, ann); return 1, err }},
		{"100 objects", 3, 1, 1, 100, func() (int, error) {
			m, err := fixtureUsers.GetMany(ctx, e, hundred)
			return len(m), err
		}},
		{"the IDs of one hop", 3, 1, 1, 100, func() (int, error) {
			ids, err := fixtureFollows.Out(ann).IDs(ctx, e)
			return len(ids), err
		}},
		{"the objects of one hop", 6, 2, 2, 100, func() (int, error) {
			all, err := fixtureFollows.Out(ann).All(ctx, e)
			return len(all), err
		}},
		{"the objects of two hops", 9, 3, 3, 100, func() (int, error) {
			all, err := fixtureWrote.Out(fixtureFollows.Out(ann)).All(ctx, e)
			return len(all), err
		}},
		{"the count of two hops", 6, 2, 2, 100, func() (int, error) {
			return fixtureWrote.Out(fixtureFollows.Out(ann)).Count(ctx, e)
		}},
		{"an edge", 3, 1, 1, 1, func() (int, error) {
			m, err := fixtureFollows.GetMany(ctx, e, ann, hundred[99:])
			return len(m), err
		}},
		{"20 of 3,000 edges", 3, 1, 1, 20, func() (int, error) {
			edges, err := fixtureFollows.Out(bob).Limit(20).Edges(ctx, e)
			return len(edges), err
		}},
		{"500 of 3,000 edges", 3, 1, 1, 500, func() (int, error) {
			edges, err := fixtureFollows.Out(bob).Limit(500).Edges(ctx, e)
			return len(edges), err
		}},
		{"a range beyond the prefix", 6, 2, 2, 10, func() (int, error) {
			edges, err := fixtureFollows.Range(ctx, e, bob, 2000, 10)
			return len(edges), err
		}},
		{"times beyond the prefix", 6, 2, 2, 11, func() (int, error) {
			edges, err := fixtureFollows.TimeRange(ctx, e, bob, time.UnixMilli(110), time.UnixMilli(100), 0)
			return len(edges), err
		}},
		{"all of 3,000 edges", 6, 2, 2, 3000, func() (int, error) {
			edges, err := fixtureFollows.Out(bob).Edges(ctx, e)
			return len(edges), err
		}},
		{"the count of 3,000 edges", 6, 2, 2, 3000, func() (int, error) { return fixtureFollows.Count(ctx, e, bob) }},
		{"whether there are edges", 3, 1, 1, 1, func() (int, error) {
			ok, err := fixtureFollows.Out(bob).Exists(ctx, e)
			return map[bool]int{true: 1}[ok], err
		}},
		{"edges beyond the prefix", 6, 2, 2, 2, func() (int, error) {
			m, err := fixtureFollows.GetMany(ctx, e, bob, []fixtureUserID{"u00003", "u00004", "nobody"})
			return len(m), err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.cache.Flush()
			e.on(nil)
			check := func(what string, cache, store int) {
				t.Helper()
				n, err := tt.read()
				if n != tt.want || err != nil {
					t.Errorf("%s: found %d, %v, want %d", what, n, err, tt.want)
				}
				roundtripCount(t, e, what, cache, store)
			}
			check("cold", tt.coldCache, tt.coldStore)
			check("warm", tt.warmCache, 0)
		})
	}
}

// TestRoundtripsCollapse: however many readers miss the same value at the same time,
// in however many processes, the store is read once.
func TestRoundtripsCollapse(t *testing.T) {
	for _, processes := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d processes", processes), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := fixtureNew(t)
				a.seed(t, []fixtureUserID{"ann"})
				engines := []*fixtureEngine{a, a.another(t)}[:processes]
				gate := backendtest.NewGate(backendtest.On("Read"))
				for _, e := range engines {
					e.on(func(c fixtureCall) backendtest.Fault { return gate.Hook(c.ctx, c.Call) })
				}
				var waits []func() error
				for i := range 100 {
					e := engines[i%processes]
					waits = append(waits, fixtureGo(t, func() error {
						_, err := fixtureUsers.Get(t.Context(), e, "ann")
						return err
					}))
				}
				synctest.Wait()
				gate.Open()
				reads := 0
				for _, wait := range waits {
					fixtureMust(t, wait())
				}
				for _, e := range engines {
					reads += e.fstore.Calls("Read")
				}
				if reads != 1 {
					t.Errorf("100 readers of one object read the store %d times, want once", reads)
				}
			})
		})
	}
}

// roundtripRestarts are the ways in which a deletion that was begun is brought to its
// end.
var roundtripRestarts = []struct {
	name    string
	restart func(context.Context, *fixtureEngine) error
	want    string // the name that the user then has
}{
	{"a process starts", func(context.Context, *fixtureEngine) error { return nil }, ""},
	{"Delete", func(ctx context.Context, e *fixtureEngine) error {
		if err := fixtureUsers.Delete(ctx, e, "bob"); !errors.Is(err, graphcache.ErrNotFound) {
			return err
		}
		return nil
	}, ""},
	{"Create", func(ctx context.Context, e *fixtureEngine) error {
		return fixtureUsers.Create(ctx, e, &fixtureUser{ID: "bob", Name: "new"})
	}, "new"},
	{"Put", func(ctx context.Context, e *fixtureEngine) error {
		return fixtureUsers.Put(ctx, e, &fixtureUser{ID: "bob", Name: "new"})
	}, "new"},
}

// TestRoundtripsOfDeleteCrash: a process that dies at any step of a deletion leaves either
// the whole object, or one that reads as absent and is removed by the next.
func TestRoundtripsOfDeleteCrash(t *testing.T) {
	for i, r := range roundtripRestarts {
		t.Run(r.name, func(t *testing.T) {
			crashed := true
			for step := 1; crashed; step++ {
				synctest.Test(t, func(t *testing.T) { crashed = roundtripCrash(t, i, step) })
				if step > 100 {
					t.Fatal("Delete makes more than 100 calls")
				}
			}
		})
	}
}

// roundtripCrash deletes bob in a process whose calls fail from the step on, and restarts.
// It reports false if the deletion was done before the step.
func roundtripCrash(t *testing.T, restart, step int) (crashed bool) {
	r := &roundtripRestarts[restart]
	dying := fixtureNew(t, fixtureDefaults)
	roundtripWorld(t, dying)
	other := dying.another(t, fixtureDefaults)
	other.consistent(t, roundtripPeople, "p1")
	dying.on(func(c fixtureCall) backendtest.Fault {
		if c.total >= step {
			return backendtest.Fault{Action: backendtest.Fail}
		}
		return backendtest.Fault{}
	})
	err := fixtureUsers.Delete(t.Context(), dying, "bob")
	dying.on(nil)
	other.consistent(t, roundtripPeople, "p1")
	whole := other.name(t, "bob") != ""
	if err == nil && whole {
		t.Errorf("step %d: Delete returned nil and the object is there", step)
	}
	next := other
	if r.name == "a process starts" {
		next = other.another(t, fixtureDefaults)
		next.settle(t)
	}
	want := r.want
	if whole && r.name != "Delete" && r.name != "Put" {
		want = "v1 of bob"
	}
	if err := r.restart(t.Context(), next); err != nil && (!whole || !errors.Is(err, graphcache.ErrExists)) {
		t.Errorf("step %d: %v", step, err)
	}
	if got := next.name(t, "bob", graphcache.Fresh); got != want {
		t.Errorf("step %d: the name is %q, want %q", step, got, want)
	}
	results, readErr := next.store.Read(t.Context(), []driver.Step{
		{Op: driver.ScanDeleting, Kind: "user", Range: driver.Range{Limit: 10}},
		{Op: driver.ListEdges, Kind: "follows", Direction: driver.In, IDs: []string{"bob"}},
		{Op: driver.ListEdges, Kind: "wrote", IDs: []string{"bob"}},
		{Op: driver.ListEdges, Kind: "friends", IDs: []string{"bob"}},
	}, "")
	fixtureMust(t, readErr)
	edges := len(results[1].Lists[0]) + len(results[2].Lists[0]) + len(results[3].Lists[0])
	if left := len(results[0].Objects); left != 0 || edges != 0 && !whole || edges != 3 && whole && r.name != "Delete" {
		t.Errorf("step %d: %d marked objects and %d edges are left of an object that was whole: %v", step, left, edges, whole)
	}
	next.consistent(t, roundtripPeople, "p1")
	return err != nil
}
