package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/bubble"
)

// abandonedLoads is MaxLoads in these tests.
const abandonedLoads = 2

// abandonedHang returns a process whose store answers no read until the gate is opened,
// and with that many reads, of the users "busy …", under way.
func abandonedHang(t *testing.T, set ...func(*graphcache.Options)) (e *fixtureEngine, gate *fixtureGate, busy []func() error, ids func() []string) {
	t.Helper()
	e = fixtureNew(t, append(set, func(o *graphcache.Options) { o.MaxLoads = abandonedLoads })...)
	var users []fixtureUserID
	for i := range abandonedLoads {
		users = append(users, fixtureUserID(fmt.Sprint("busy ", i)))
	}
	e.seed(t, append(slices.Clone(users), "ann", "bob"))
	gate = &fixtureGate{backendtest.NewGate(backendtest.On("Read"))}
	var mu sync.Mutex
	var read []string
	e.on(func(c fixtureCall) backendtest.Fault {
		if c.is("Read") {
			mu.Lock()
			for _, s := range c.Batch.([]driver.Step) {
				read = append(read, s.IDs...)
			}
			mu.Unlock()
		}
		return gate.Hook(c.ctx, c.Call)
	})
	for _, id := range users {
		busy = append(busy, loadGet(t.Context(), t, e, id))
		gate.await(t)
	}
	return e, gate, busy, func() []string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(read)
		return slices.DeleteFunc(slices.Clone(read), func(id string) bool { return slices.Contains(users, fixtureUserID(id)) })
	}
}

// abandonedFinish opens the gate and waits for what is under way.
func abandonedFinish(t *testing.T, e *fixtureEngine, gate *fixtureGate, waits ...func() error) {
	t.Helper()
	gate.Open()
	for _, wait := range waits {
		fixtureMust(t, wait())
	}
	e.settle(t)
}

// TestAbandonedLoads: of readers whose contexts end while the store hangs nothing is
// left. Their loads are not sent when the store recovers, their goroutines are gone, and
// no other process waits for them.
func TestAbandonedLoads(t *testing.T) {
	none := func(o *graphcache.Options) { o.Cache = nil }
	out := fixtureFollows.Out(fixtureUserID("ann"))
	for _, tt := range []struct {
		name string
		set  []func(*graphcache.Options)
		read func(ctx context.Context, e *fixtureEngine, id fixtureUserID) error
	}{
		{"objects", nil, func(ctx context.Context, e *fixtureEngine, id fixtureUserID) error {
			_, err := fixtureUsers.Get(ctx, e, id)
			return err
		}},
		{"several objects", nil, func(ctx context.Context, e *fixtureEngine, id fixtureUserID) error {
			_, err := fixtureUsers.GetMany(ctx, e, []fixtureUserID{id, "ann", id + "'"})
			return err
		}},
		{"lists", nil, func(ctx context.Context, e *fixtureEngine, id fixtureUserID) error {
			_, err := fixtureFollows.Out(id).All(ctx, e)
			return err
		}},
		{"one list", nil, func(ctx context.Context, e *fixtureEngine, _ fixtureUserID) error {
			_, err := out.Edges(ctx, e)
			return err
		}},
		{"fresh objects", nil, func(ctx context.Context, e *fixtureEngine, id fixtureUserID) error {
			_, err := fixtureUsers.Get(ctx, e, id, graphcache.Fresh)
			return err
		}},
		{"one fresh count", nil, func(ctx context.Context, e *fixtureEngine, _ fixtureUserID) error {
			_, err := out.Fresh().Count(ctx, e)
			return err
		}},
		{"without a cache", []func(*graphcache.Options){none}, func(ctx context.Context, e *fixtureEngine, id fixtureUserID) error {
			_, err := fixtureUsers.Get(ctx, e, id)
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const readers = 300
				e, gate, busy, ids := abandonedHang(t, tt.set...)
				synctest.Wait() // the gate has one of the busy loads; both are to be there
				before := bubble.Goroutines()
				ctx, cancel := context.WithCancel(t.Context())
				var waits []func() error
				for i := range readers {
					waits = append(waits, fixtureGo(t, func() error { return tt.read(ctx, e, fixtureUserID(fmt.Sprint("u", i))) }))
				}
				synctest.Wait()
				cancel()
				for _, wait := range waits {
					if err := wait(); !errors.Is(err, context.Canceled) {
						t.Errorf("a reader that gave up got %v", err)
					}
				}
				synctest.Wait()
				fixtureEventually(t, fmt.Sprintf("as few goroutines as before the readers came, %d", before), func() bool { return bubble.Goroutines() <= before })

				start, other := time.Now(), e.another(t)
				for i := range readers {
					if err := tt.read(t.Context(), other, fixtureUserID(fmt.Sprint("u", i))); err != nil && !errors.Is(err, graphcache.ErrNotFound) {
						t.Fatal(err)
					}
				}
				if took := time.Since(start); took > 0 {
					t.Errorf("%d reads of another process took %v: it waited for loads that are not coming", readers, took)
				}
				abandonedFinish(t, e, gate, busy...)
				if got := ids(); len(got) > 0 {
					t.Errorf("the store was read for nobody: %d objects, %.100q", len(got), got)
				}
			})
		})
	}
}

// TestAbandonedComesAgain: a reader who comes after others have given up is served,
// whether the store still hangs or not.
func TestAbandonedComesAgain(t *testing.T) {
	for _, fresh := range []graphcache.Freshness{graphcache.Cached, graphcache.Fresh} {
		t.Run(fmt.Sprint("fresh ", fresh == graphcache.Fresh), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, gate, busy, ids := abandonedHang(t)
				get := func(ctx context.Context) func() error {
					return fixtureGo(t, func() error { _, err := fixtureUsers.Get(ctx, e, "ann", fresh); return err })
				}
				for range 3 { // one generation after the other
					ctx, cancel := context.WithCancel(t.Context())
					left := get(ctx)
					synctest.Wait()
					cancel()
					if err := left(); !errors.Is(err, context.Canceled) {
						t.Errorf("a reader that gave up got %v", err)
					}
				}
				start := time.Now()
				early := []func() error{get(t.Context()), get(t.Context())}
				synctest.Wait()
				abandonedFinish(t, e, gate, append(busy, early...)...)
				fixtureMust(t, get(t.Context())())
				want := []string{"ann"}
				if fresh == graphcache.Fresh {
					want = []string{"ann", "ann"} // the last reader does not look in the cache
				}
				if got := ids(); !slices.Equal(got, want) || time.Since(start) > largeLooks {
					t.Errorf("after others gave up the store was read for %q, after %v, want %q at once", got, time.Since(start), want)
				}
			})
		})
	}
}

// TestAbandonedByOne: a load that several wait for is sent as long as one of them
// stays, with all that it was started for.
func TestAbandonedByOne(t *testing.T) {
	for _, fresh := range []graphcache.Freshness{graphcache.Cached, graphcache.Fresh} {
		for _, tt := range []struct {
			name   string
			leaves [2]bool // who gives up: the one who came first, and the two who joined
			sent   []string
		}{
			{"the first leaves", [2]bool{true, false}, []string{"ann", "bob"}},
			{"those who joined leave", [2]bool{false, true}, []string{"ann", "bob"}},
			{"all leave", [2]bool{true, true}, nil},
		} {
			t.Run(fmt.Sprint(tt.name, ", fresh ", fresh == graphcache.Fresh), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					e, gate, busy, ids := abandonedHang(t)
					var stay []func() error
					leave := map[*func() error]func(){}
					for i, users := range [][]fixtureUserID{{"ann", "bob"}, {"bob"}, {"bob", "ann"}} {
						ctx, cancel := context.WithCancel(t.Context())
						defer cancel()
						wait := fixtureGo(t, func() error { _, err := fixtureUsers.GetMany(ctx, e, users, fresh); return err })
						synctest.Wait()
						if tt.leaves[min(i, 1)] {
							leave[&wait] = cancel
						} else {
							stay = append(stay, wait)
						}
					}
					for wait, cancel := range leave { // in any order
						cancel()
						if err := (*wait)(); !errors.Is(err, context.Canceled) {
							t.Errorf("a reader that gave up got %v", err)
						}
						synctest.Wait()
					}
					abandonedFinish(t, e, gate, append(busy, stay...)...)
					if got := ids(); !slices.Equal(got, tt.sent) {
						t.Errorf("%s: the store was read for %q, want %q", tt.name, got, tt.sent)
					}
				})
			})
		}
	}
}

// TestAbandonedBehindAnother: a Fresh reader that waits for the end of a load that it
// must not join, and gives up, has nothing sent for it; one that stays is served.
func TestAbandonedBehindAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t)
		e.seed(t, []fixtureUserID{"ann"})
		gate := e.stopAt(backendtest.On("Read"))
		get := func(ctx context.Context) func() error {
			return fixtureGo(t, func() error { _, err := fixtureUsers.Get(ctx, e, "ann", graphcache.Fresh); return err })
		}
		stay := []func() error{get(t.Context())}
		gate.await(t)
		for _, stays := range []bool{false, true, false} {
			ctx, cancel := context.WithCancel(t.Context())
			leave := []func() error{get(ctx), get(ctx)}
			synctest.Wait()
			if stays {
				stay = append(stay, get(t.Context()))
				synctest.Wait()
			}
			cancel()
			for _, wait := range leave {
				if err := wait(); !errors.Is(err, context.Canceled) {
					t.Errorf("a reader that gave up got %v", err)
				}
			}
			synctest.Wait()
		}
		abandonedFinish(t, e, gate, stay...)
		if n := e.fstore.Calls("Read"); n != 2 {
			t.Errorf("the store was read %d times, want once for the first and once for the one who stayed", n)
		}
	})
}
