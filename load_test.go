package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// loadGet reads a user in a goroutine.
func loadGet(ctx context.Context, t *testing.T, e *fixtureEngine, id fixtureUserID) (wait func() error) {
	return fixtureGo(t, func() error { _, err := fixtureUsers.Get(ctx, e, id); return err })
}

// TestLoadPanics: a store that panics in a read makes one caller panic; those who have
// joined its load get an error, and those who wait for the claim of it load themselves.
// The next read works, in this process and in others.
func TestLoadPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const readers = 10
		e := fixtureNew(t, fixtureDefaults)
		e.seed(t, []fixtureUserID{"ann"})
		gate := backendtest.NewGate(backendtest.Nth("Read", 1))
		e.on(func(c fixtureCall) backendtest.Fault {
			if c.is("Read") && c.N == 1 {
				gate.Hook(c.ctx, c.Call)
				panic("boom")
			}
			return backendtest.Fault{}
		})
		var panics, errs, found atomic.Int32
		var waits []func() bool
		for range readers {
			waits = append(waits, fixtureGo(t, func() bool {
				defer func() {
					if recover() != nil {
						panics.Add(1)
					}
				}()
				u, err := fixtureUsers.Get(t.Context(), e, "ann")
				switch {
				case errors.Is(err, graphcache.ErrUnavailable):
					errs.Add(1)
				case err == nil && u.Name == "v1 of ann":
					found.Add(1)
				}
				return true
			}))
		}
		synctest.Wait()
		gate.Open()
		for _, wait := range waits {
			wait()
		}
		if panics.Load() != 1 || errs.Load()+found.Load() != readers-1 {
			t.Errorf("%d callers panicked, %d got ErrUnavailable and %d the object, want 1 and in all %d", panics.Load(), errs.Load(), found.Load(), readers-1)
		}
		e.settle(t)
		start := time.Now()
		for _, reader := range []*fixtureEngine{e.another(t, fixtureDefaults), e} {
			if got := reader.name(t, "ann"); got != "v1 of ann" || time.Since(start) > 0 {
				t.Errorf("after a panic: name %q after %v, want an answer at once", got, time.Since(start))
			}
		}
	})
}

// TestLoadWritePanics: a store that panics in a write makes its caller panic. Whether
// it has written is unknown, so the marks stay, and Close does not wait for ever.
func TestLoadWritePanics(t *testing.T) {
	boom := backendtest.Inject(backendtest.On("Write", "Tx.Write"), backendtest.Fault{After: func(context.Context) { panic("boom") }})
	for _, w := range roundtripWrites {
		t.Run(w.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := fixtureNew(t, fixtureDefaults)
				roundtripWorld(t, e)
				e.consistent(t, roundtripPeople)
				e.on(func(c fixtureCall) backendtest.Fault { return boom(c.ctx, c.Call) })
				func() {
					defer func() {
						if v := recover(); v != "boom" {
							t.Errorf("the caller recovered %v, want boom", v)
						}
					}()
					err := w.write(t.Context(), e)
					t.Errorf("returned %v, want a panic", err)
				}()
				e.on(nil)
				e.consistent(t, roundtripPeople, "p1")
				other := e.another(t, fixtureDefaults)
				other.settle(t) // it finishes deletions
				other.consistent(t, roundtripPeople, "p1")
			})
		})
	}
}

// TestLoadClaimReplyLost: a claim that was not answered is given back, and nobody
// waits for a load that is not coming.
func TestLoadClaimReplyLost(t *testing.T) {
	for _, action := range []backendtest.Action{backendtest.DropReply, backendtest.Fail} {
		synctest.Test(t, func(t *testing.T) {
			e := fixtureNew(t, fixtureDefaults)
			roundtripWorld(t, e)
			other := e.another(t, fixtureDefaults)
			e.on(func(c fixtureCall) backendtest.Fault {
				return backendtest.Inject(backendtest.On("Claim"), backendtest.Fault{Action: action})(c.ctx, c.Call)
			})
			e.view(t, roundtripPeople, []fixturePostID{"p1"}, graphcache.Cached)
			e.settle(t)
			start := time.Now()
			other.consistent(t, roundtripPeople, "p1")
			if took := time.Since(start); took > time.Second {
				t.Errorf("after action %d on claims reads took %v: they waited for leases of 5s", action, took)
			}
			if n := other.Stats().Kinds["user"].Fills; n == 0 {
				t.Errorf("after action %d on claims the other process did not fill", action)
			}
		})
	}
}

// TestLoadOfADeadProcess: a process that dies between its claim and its fill delays
// the readers of others for no longer than a lease, and they read the store once.
func TestLoadOfADeadProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lease = 5 * time.Second
		e := fixtureNew(t, fixtureDefaults)
		e.seed(t, []fixtureUserID{"ann"})
		anchor := e.anchors(t, func() { e.name(t, "ann") })[0]
		e.cache.Flush()
		entries, err := e.cache.Claim(t.Context(), []driver.Claim{{Anchor: anchor, Version: 7, Lease: lease, TTL: time.Minute}})
		if err != nil || !entries[0].Claimed {
			t.Fatalf("the dead process could not claim: %v, %v", entries, err)
		}
		e.on(nil)
		start := time.Now()
		var waits []func() error
		for range 10 {
			waits = append(waits, loadGet(t.Context(), t, e, "ann"))
		}
		for _, wait := range waits {
			fixtureMust(t, wait())
		}
		if took := time.Since(start); took < lease || took > lease+100*time.Millisecond {
			t.Errorf("the readers waited %v for a dead process, want a lease of %v and a look", took, lease)
		}
		if n := e.fstore.Calls("Read"); n != 1 {
			t.Errorf("the readers read the store %d times, want once", n)
		}
		if n := e.fcache.Calls("Lookup"); n > 10+int(lease/(40*time.Millisecond)) {
			t.Errorf("10 waiting readers looked %d times, want one poller", n)
		}
		e.settle(t)
		e.on(nil)
		e.name(t, "ann")
		if n := e.fstore.Calls("Read"); n != 0 {
			t.Error("what was loaded after the lease is not cached")
		}
	})
}

// loadLingering is a cache that shows loading deadlines also when they have passed,
// as a cache may.
type loadLingering struct{ driver.Cache }

func (c loadLingering) Lookup(ctx context.Context, lookups []driver.Lookup) ([]driver.Entry, error) {
	entries, err := c.Cache.Lookup(ctx, lookups)
	for i := range entries {
		entries[i].Loading = entries[i].State == driver.Versioned && entries[i].Value == nil
	}
	return entries, err
}

// TestLoadImpatience: a waiter asks for the claim itself after a lease, whatever the
// cache shows.
func TestLoadImpatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t)
		e.seed(t, []fixtureUserID{"ann"})
		anchor := e.anchors(t, func() { e.name(t, "ann") })[0]
		e.cache.Flush()
		_, err := e.cache.Claim(t.Context(), []driver.Claim{{Anchor: anchor, Version: 7, Lease: time.Second, TTL: time.Hour}})
		fixtureMust(t, err)
		n := e.another(t, fixtureDefaults, func(o *graphcache.Options) { o.Cache = loadLingering{e.cache} })
		start := time.Now()
		if err := loadGet(t.Context(), t, n, "ann")(); err != nil || time.Since(start) > 6*time.Second {
			t.Errorf("a waiter got %v after %v, want an answer after a lease of 5s", err, time.Since(start))
		}
	})
}

// TestLoadLimit: beyond MaxLoads readers queue until their contexts end; a reader
// whose load is under way only has its context's error.
func TestLoadLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t, func(o *graphcache.Options) { o.MaxLoads = 1 })
		e.seed(t, []fixtureUserID{"ann", "bob", "cid"})
		gate := e.stopAt(backendtest.On("Read"))
		loading := loadGet(t.Context(), t, e, "ann")
		gate.await(t)
		patient := loadGet(t.Context(), t, e, "bob")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		tests := []struct {
			id         fixtureUserID
			overloaded bool
			text       string
		}{
			{"ann", false, `graphcache: get user "ann": context deadline exceeded`},
			{"bob", true, `graphcache: get user "bob": overloaded: 1 loads are under way: context deadline exceeded`},
			{"cid", true, `graphcache: get user "cid": overloaded: 1 loads are under way: context deadline exceeded`},
		}
		var waits []func() error
		for _, tt := range tests {
			waits = append(waits, loadGet(ctx, t, e, tt.id))
		}
		for i, tt := range tests {
			err := waits[i]()
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, graphcache.ErrOverloaded) != tt.overloaded || err.Error() != tt.text {
				t.Errorf("%s: %v\nwant %s", tt.id, err, tt.text)
			}
		}
		if n := e.fstore.Calls("Read"); n != 1 {
			t.Errorf("%d store reads are under way with MaxLoads 1", n)
		}
		gate.Open()
		fixtureMust(t, loading())
		fixtureMust(t, patient())
	})
}

// TestLoadOutlivesItsLeader: a reader that leaves takes nobody with it, and what it
// has started is not started again.
func TestLoadOutlivesItsLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t)
		e.seed(t, []fixtureUserID{"ann"})
		gate := e.stopAt(backendtest.On("Read"))
		ctx, cancel := context.WithCancel(t.Context())
		leader := loadGet(ctx, t, e, "ann")
		gate.await(t)
		follower := loadGet(t.Context(), t, e, "ann")
		foreign := loadGet(t.Context(), t, e.another(t), "ann")
		synctest.Wait()
		cancel()
		if err := leader(); !errors.Is(err, context.Canceled) {
			t.Errorf("the leader that was cancelled got %v", err)
		}
		gate.Open()
		for who, wait := range map[string]func() error{"a follower": follower, "another process": foreign} {
			if err := wait(); err != nil {
				t.Errorf("%s got %v, because the leader was cancelled", who, err)
			}
		}
		if n := e.fstore.Calls("Read"); n != 1 {
			t.Errorf("the store was read %d times, want once", n)
		}
	})
}

// TestLoadClose: Close waits for a write under way, until its context ends; after it
// every call is refused, in the namespaces too.
func TestLoadClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t)
		roundtripWorld(t, e)
		tenant, err := e.Namespace(t.Context(), "acme")
		fixtureMust(t, err)
		gate := e.stopAt(backendtest.On("Write"))
		write := fixtureGo(t, func() error { return e.rename(t.Context(), "ann", "v2") })
		gate.await(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := e.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || err.Error() != "graphcache: close: work is still under way: context deadline exceeded" {
			t.Errorf("Close beside a write: %v", err)
		}
		gate.Open()
		fixtureMust(t, e.Close(t.Context()))
		fixtureMust(t, write())
		if n := e.cache.Tokens(); n != 0 {
			t.Errorf("Close returned before the write had taken off %d marks", n)
		}
		for _, w := range roundtripWrites {
			if err := w.write(t.Context(), e); !errors.Is(err, graphcache.ErrUnavailable) {
				t.Errorf("%s after Close: %v, want ErrUnavailable", w.name, err)
			}
		}
		for i, g := range []*graphcache.Graph{e.Graph, tenant} {
			for name, read := range loadReads(t.Context(), g) {
				if err := read(); !errors.Is(err, graphcache.ErrUnavailable) {
					t.Errorf("graph %d: %s after Close: %v, want ErrUnavailable", i, name, err)
				}
			}
		}
	})
}

// loadReads are the calls that are no writes.
func loadReads(ctx context.Context, g *graphcache.Graph) map[string]func() error {
	out, ann := fixtureWrote.Out(fixtureUserID("ann")), []fixtureUserID{"ann"}
	return map[string]func() error{
		"Get":          func() error { _, err := fixtureUsers.Get(ctx, g, "ann"); return err },
		"Get of fresh": func() error { _, err := fixtureUsers.Get(ctx, g, "ann", graphcache.Fresh); return err },
		"GetMany":      func() error { _, err := fixtureUsers.GetMany(ctx, g, ann); return err },
		"edge Get":     func() error { _, err := fixtureFollows.Get(ctx, g, "ann", "bob"); return err },
		"edge GetMany": func() error { _, err := fixtureFollows.GetMany(ctx, g, "ann", ann); return err },
		"All":          func() error { _, err := out.All(ctx, g); return err },
		"First":        func() error { _, err := out.First(ctx, g); return err },
		"IDs":          func() error { _, err := out.IDs(ctx, g); return err },
		"Edges":        func() error { _, err := out.Fresh().Edges(ctx, g); return err },
		"Count":        func() error { _, err := out.Count(ctx, g); return err },
		"Exists":       func() error { _, err := out.Exists(ctx, g); return err },
		"Repair":       func() error { _, err := g.Repair(ctx); return err },
		"Tx":           func() error { return g.Tx(ctx, func(*graphcache.Tx) error { return nil }) },
		"Namespace":    func() error { _, err := g.Namespace(ctx, "another"); return err },
		"CreateAll":    func() error { return g.CreateAll(ctx, &fixtureUser{ID: "dan"}) },
	}
}

// TestLoadLeavesNoGoroutine: after Close nothing of a graph runs, whatever has gone
// wrong before.
func TestLoadLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	e := fixtureNew(t, func(o *graphcache.Options) { o.ReadTimeout, o.MaxLoads = time.Millisecond, 2 })
	roundtripWorld(t, e)
	gate := backendtest.NewGate(backendtest.On("Read"))
	e.on(func(c fixtureCall) backendtest.Fault {
		switch {
		case c.is("Read"):
			return gate.Hook(c.ctx, c.Call)
		case c.is("Claim") && c.N%2 == 0:
			return backendtest.Fault{Action: backendtest.DropReply}
		case c.is("Fill") && c.N%2 == 0:
			return backendtest.Fault{Action: backendtest.Fail}
		}
		return backendtest.Fault{}
	})
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 50 {
		go func() { _, _ = fixtureUsers.Get(ctx, e, roundtripPeople[i%4]) }()
		go func() { _, _ = fixtureFollows.Out(roundtripPeople[i%4]).All(ctx, e) }()
	}
	fixtureEventually(t, "readers are at work", func() bool { return runtime.NumGoroutine() > before+20 })
	cancel()
	gate.Open()
	fixtureMust(t, e.Close(t.Context()))
	fixtureEventually(t, fmt.Sprintf("as few goroutines as before, %d", before), func() bool { return runtime.NumGoroutine() <= before })
}

// TestLoadFreshness: a Fresh read is that of the store, and leaves the cache as it is,
// also what was changed behind the graph's back.
func TestLoadFreshness(t *testing.T) {
	e := fixtureNew(t)
	roundtripWorld(t, e)
	e.on(nil)
	e.name(t, "ann", graphcache.Fresh)
	_, err := fixtureFollows.Get(t.Context(), e, "ann", "bob", graphcache.Fresh)
	fixtureMust(t, err)
	_, err = fixtureFollows.Out(fixtureUserID("ann")).Fresh().All(t.Context(), e)
	fixtureMust(t, err)
	roundtripCount(t, e, "fresh reads", 0, 4)

	e.name(t, "ann")
	e.settle(t)
	_, err = e.store.Write(t.Context(), []driver.Write{{Op: driver.Replace, Kind: "user", Object: &driver.Object{
		ID: "ann", Version: 9, Doc: driver.Document{{Name: "name", Value: "behind"}},
	}}})
	fixtureMust(t, err)
	got := []string{e.name(t, "ann"), e.name(t, "ann", graphcache.Fresh), e.name(t, "ann")}
	if diff := cmp.Diff([]string{"v1 of ann", "behind", "v1 of ann"}, got); diff != "" {
		t.Errorf("cached, fresh, cached (-want +got):\n%s", diff)
	}
}
