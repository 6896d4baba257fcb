package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// largeLease is what nobody is to wait for; largeLooks, what one may who meets another
// process's load.
const (
	largeLease = 5 * time.Second
	largeLooks = 100 * time.Millisecond
)

// largeSlowFills makes the replies to fills late: the cache has decided, and the
// process does not know yet.
func largeSlowFills(processes ...*fixtureEngine) {
	for _, e := range processes {
		e.on(func(c fixtureCall) backendtest.Fault {
			if c.is("Fill") {
				return backendtest.Fault{After: func(context.Context) { <-time.After(40 * time.Millisecond) }}
			}
			return backendtest.Fault{}
		})
	}
}

// largeCrowd reads many times, in many goroutines of each process, for longer than a
// lease, and returns the longest time that a read took.
func largeCrowd(t *testing.T, processes []*fixtureEngine, read func(context.Context, *fixtureEngine) error) (worst time.Duration) {
	t.Helper()
	const readers, rounds = 4, 150
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, e := range processes {
		for j := range readers {
			wg.Go(func() {
				for range rounds {
					start := time.Now()
					if err := read(t.Context(), e); err != nil {
						t.Errorf("process %d: %v", i, err)
					}
					mu.Lock()
					worst = max(worst, time.Since(start))
					mu.Unlock()
					<-time.After(time.Duration(7+3*i+11*j) * time.Millisecond)
				}
			})
		}
	}
	wg.Wait()
	return worst
}

// largeReads are reads of values of every kind in a largeWorld, each of which says
// what is wrong with its answer.
var largeReads = []struct {
	name, kind string
	read       func(context.Context, *fixtureEngine) error
}{
	{"an object", "user", func(ctx context.Context, e *fixtureEngine) error {
		u, err := fixtureUsers.Get(ctx, e, "ann")
		if err == nil && len(u.Name) != largeName {
			err = fmt.Errorf("the name has %d bytes, want %d", len(u.Name), largeName)
		}
		return err
	}},
	{"the prefix of a list", "follows", func(ctx context.Context, e *fixtureEngine) error {
		return largeCheck(10)(fixtureFollows.Out(fixtureUserID("ann")).Limit(10).Edges(ctx, e))
	}},
	{"a list from its other end", "follows", func(ctx context.Context, e *fixtureEngine) error {
		return largeCheck(1)(fixtureFollows.In(fixtureUserID("u0000")).Edges(ctx, e))
	}},
	{"an edge beyond the prefix", "follows", func(ctx context.Context, e *fixtureEngine) error {
		_, err := fixtureFollows.Get(ctx, e, "ann", "u0003")
		return err
	}},
	{"a range beyond the prefix", "follows", func(ctx context.Context, e *fixtureEngine) error {
		return largeCheck(30)(fixtureFollows.Range(ctx, e, "ann", 1100, 30))
	}},
}

func largeCheck(want int) func([]fixtureEdge, error) error {
	return func(edges []fixtureEdge, err error) error {
		if err == nil && len(edges) != want {
			err = fmt.Errorf("%d edges, want %d", len(edges), want)
		}
		return err
	}
}

// largeName is the length of ann's name in a largeWorld, largeEdges the number of users
// that she follows.
const largeName, largeEdges = 4000, 1200

// largeWorld makes ann, who has a long name and follows many users with long notes.
func largeWorld(t *testing.T, e *fixtureEngine) {
	t.Helper()
	text := func(name string, n int) driver.Document {
		return driver.Document{{Name: name, Value: strings.Repeat("x", n)}}
	}
	writes := []driver.Write{{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "ann", Version: 1, Doc: text("name", largeName)}}}
	for i := range largeEdges {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{
			From: "ann", To: fmt.Sprintf("u%04d", i), Version: 1, Time: time.UnixMilli(int64(i)).UTC(), Data: text("note", 150),
		}})
	}
	_, err := e.store.Write(t.Context(), writes)
	fixtureMust(t, err)
}

// TestLargeValues: a value that is too large to be cached is served to everybody at
// once, in two processes whose fills are answered late, and each load of it counts as a
// refusal.
func TestLargeValues(t *testing.T) {
	for _, tt := range largeReads {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				small := func(o *graphcache.Options) { o.MaxFragmentBytes = 100 }
				a := fixtureNew(t, fixtureDefaults, small)
				b := a.another(t, fixtureDefaults, small)
				largeWorld(t, a)
				both := []*fixtureEngine{a, b}
				largeSlowFills(both...)
				if worst := largeCrowd(t, both, tt.read); worst > largeLooks {
					t.Errorf("a reader of %s that is too large waited %v, want no lease of %v", tt.name, worst, largeLease)
				}
				for i, e := range both {
					e.settle(t)
					if s := e.Stats().Kinds[tt.kind]; s.Refusals == 0 || s.Refusals != s.Loads || s.Fills != 0 || s.Hits != 0 || s.Corrupt != 0 {
						t.Errorf("process %d: each load of a large value is one refusal, and nothing else: %+v", i, s)
					}
				}
			})
		})
	}
}

// TestLargeOrNot: a value may become too large and small again, by writes of two
// processes. Each read sees the last write, and what is small is cached.
func TestLargeOrNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := fixtureNew(t, fixtureDefaults, func(o *graphcache.Options) { o.MaxFragmentBytes = 1000 })
		b := a.another(t, fixtureDefaults, func(o *graphcache.Options) { o.MaxFragmentBytes = 1000 })
		a.seed(t, []fixtureUserID{"ann"})
		for i, size := range []int{10, 2000, 3000, 20, 30, 5000, 1} {
			name, start := strings.Repeat(fmt.Sprint(i), size), time.Now()
			writer, reader := a, b
			if i%3 == 0 {
				writer, reader = b, a
			}
			fixtureMust(t, writer.rename(t.Context(), "ann", name))
			for _, e := range []*fixtureEngine{reader, writer, reader} {
				if got := e.name(t, "ann"); got != name {
					t.Errorf("write %d: a read sees %.1q of %d bytes, want %.1q of %d", i, got, len(got), name, size)
				}
				e.settle(t)
			}
			a.on(nil)
			b.on(nil)
			a.name(t, "ann")
			b.name(t, "ann")
			reads, want := a.fstore.Calls("Read")+b.fstore.Calls("Read"), 0
			if size > 1000 {
				want = 2
			}
			if took := time.Since(start); reads != want || took > 0 {
				t.Errorf("write %d, of %d bytes: two more reads after %v were %d of the store, want %d at once", i, size, took, reads, want)
			}
		}
	})
}

// TestLargeForOneProcess: a value that is too large for one process is cached by one
// that allows more, and the first then takes it from there.
func TestLargeForOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := fixtureNew(t, fixtureDefaults, func(o *graphcache.Options) { o.MaxFragmentBytes = 100 })
		b := a.another(t, fixtureDefaults)
		largeWorld(t, a)
		read, start := largeReads[0].read, time.Now()
		for _, e := range []*fixtureEngine{a, b} {
			fixtureMust(t, read(t.Context(), e))
			e.settle(t)
		}
		a.on(nil)
		fixtureMust(t, read(t.Context(), a))
		if n, took := a.fstore.Calls("Read"), time.Since(start); n != 0 || took > 0 {
			t.Errorf("what another process has cached in the place of a large value was read from the store %d times, after %v", n, took)
		}
	})
}

// TestLargeIsLoadedByEach: once a value is known to be too large, a reader does not wait
// for the load of another process, from which it could take nothing.
func TestLargeIsLoadedByEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		small := func(o *graphcache.Options) { o.MaxFragmentBytes = 100 }
		a := fixtureNew(t, fixtureDefaults, small)
		b := a.another(t, fixtureDefaults, small)
		largeWorld(t, a)
		for _, tt := range largeReads {
			fixtureMust(t, tt.read(t.Context(), a))
			a.settle(t)
			gate := a.stopAt(backendtest.On("Read"))
			loading := fixtureGo(t, func() error { return tt.read(t.Context(), a) })
			gate.await(t)
			start := time.Now()
			fixtureMust(t, tt.read(t.Context(), b))
			if took := time.Since(start); took > 0 {
				t.Errorf("a reader of %s that is too large waited %v for another process's load", tt.name, took)
			}
			gate.Open()
			fixtureMust(t, loading())
			a.settle(t)
		}
	})
}

// TestLargeAbsence: the place of a large value says nothing about whether the object
// is there.
func TestLargeAbsence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t, fixtureDefaults, func(o *graphcache.Options) { o.MaxFragmentBytes = 10 })
		largeWorld(t, e)
		for i := range 3 {
			fixtureMust(t, largeReads[0].read(t.Context(), e))
			e.settle(t)
			if _, err := fixtureUsers.Get(t.Context(), e, "nobody"); !errors.Is(err, graphcache.ErrNotFound) {
				t.Errorf("read %d of nobody: %v, want ErrNotFound", i, err)
			}
			e.settle(t)
		}
		fixtureMust(t, fixtureUsers.Delete(t.Context(), e, "ann"))
		if _, err := fixtureUsers.Get(t.Context(), e, "ann"); !errors.Is(err, graphcache.ErrNotFound) {
			t.Errorf("Get of a large object that was deleted: %v, want ErrNotFound", err)
		}
	})
}

// TestLargeNumberOfValues: when a list has as many secondary values as it may, a further
// range, count or edge is served to everybody at once and is a refusal; those that were
// there stay.
func TestLargeNumberOfValues(t *testing.T) {
	span := func(e *fixtureEngine, ctx context.Context, ms int64) error {
		return largeCheck(10)(fixtureFollows.TimeRange(ctx, e, "ann", time.UnixMilli(ms+9), time.UnixMilli(ms), 0))
	}
	for _, tt := range []struct {
		name string
		read func(context.Context, *fixtureEngine) error
	}{
		{"a range", func(ctx context.Context, e *fixtureEngine) error { return span(e, ctx, 50) }},
		{"a count", func(ctx context.Context, e *fixtureEngine) error {
			n, err := fixtureFollows.Count(ctx, e, "ann")
			if err == nil && n != largeEdges {
				err = fmt.Errorf("the count is %d, want %d", n, largeEdges)
			}
			return err
		}},
		{"an edge", func(ctx context.Context, e *fixtureEngine) error {
			_, err := fixtureFollows.Get(ctx, e, "ann", "u0003")
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				few := func(o *graphcache.Options) { o.MaxFragments = 1 }
				a := fixtureNew(t, fixtureDefaults, few)
				b := a.another(t, fixtureDefaults, few)
				largeWorld(t, a)
				fixtureMust(t, span(a, t.Context(), 100)) // takes the only place
				a.settle(t)
				both := []*fixtureEngine{a, b}
				largeSlowFills(both...)
				before := a.Stats().Kinds["follows"]
				if worst := largeCrowd(t, both, tt.read); worst > largeLooks {
					t.Errorf("a reader of %s beyond MaxFragments waited %v, want no lease of %v", tt.name, worst, largeLease)
				}
				for _, e := range both {
					e.settle(t)
					e.on(nil)
					fixtureMust(t, span(e, t.Context(), 100))
					if n := e.fstore.Calls("Read"); n != 0 {
						t.Errorf("the value that was there before has been driven out: %d store reads", n)
					}
				}
				after := a.Stats().Kinds["follows"]
				if loads, refusals := after.Loads-before.Loads, after.Refusals-before.Refusals; refusals == 0 || refusals != loads || after.Fills != before.Fills {
					t.Errorf("%d loads of %s, %d refusals and %d fills, want each load refused", loads, tt.name, refusals, after.Fills-before.Fills)
				}
				fixtureMust(t, fixtureUsers.Create(t.Context(), a, &fixtureUser{ID: "new"}))
				fixtureMust(t, fixtureFollows.Add(t.Context(), b, "ann", "new", fixtureFollow{}))
				if n, err := fixtureFollows.Count(t.Context(), a, "ann"); n != largeEdges+1 || err != nil {
					t.Errorf("after a write the count is %d, %v, want %d", n, err, largeEdges+1)
				}
			})
		})
	}
}

// TestLargePrefixLeavesTheShortOne: a prefix that turns out too large to be cached does
// not cost the readers of a shorter one theirs.
func TestLargePrefixLeavesTheShortOne(t *testing.T) {
	e := fixtureNew(t, func(o *graphcache.Options) { o.MaxFragmentBytes = 16 << 10 })
	e.seed(t, []fixtureUserID{"ann"})
	for i := range 200 {
		id := fixtureUserID(fmt.Sprintf("u%03d", i))
		e.seed(t, []fixtureUserID{id})
		fixtureMust(t, fixtureFollows.Add(t.Context(), e, "ann", id, fixtureFollow{Note: strings.Repeat("x", 100)}))
	}
	read := func(limit int) {
		t.Helper()
		got, err := fixtureFollows.Range(t.Context(), e, "ann", 0, limit)
		if err != nil || len(got) != limit {
			t.Fatalf("Range of %d = %d edges, %v", limit, len(got), err)
		}
		e.settle(t)
	}
	read(10)
	read(80)
	before := e.Stats().StoreReads
	read(10)
	if n := e.Stats().StoreReads - before; n != 0 {
		t.Errorf("the short prefix was read from the store again, %d times, after a long one was too large", n)
	}
}
