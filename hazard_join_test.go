package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// TestHazard12JoinAcrossWrite: a read that begins after a write was acknowledged does
// not take the result of a load whose store read was answered before the write, and
// the readers who come then share one load of their own.
func TestHazard12JoinAcrossWrite(t *testing.T) {
	if got := hazardJoinPlain(t); got != "old" {
		t.Errorf("a plain collapse of loads gives %q, so the order shows nothing", got)
	}
	down := func(c fixtureCall) bool { return c.is("Lookup", "Claim", "Fill") }
	for _, tt := range []struct {
		name  string
		fresh graphcache.Freshness
		held  bool                   // another writer's hold stands all the time
		fails func(fixtureCall) bool // cache calls of the readers' process that fail
		set   func(*graphcache.Options)
	}{
		{name: "with a version"},
		{name: "Fresh", fresh: graphcache.Fresh},
		{name: "beside a hold", held: true},
		{name: "cache down", fails: down},
		{name: "no cache", set: func(o *graphcache.Options) { o.Cache = nil }},
	} {
		for _, writer := range []string{"same process", "another process"} {
			t.Run(tt.name+"/"+writer, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					set := tt.set
					if set == nil {
						set = func(*graphcache.Options) {}
					}
					e := fixtureNew(t, set)
					w := e
					if writer == "another process" {
						w = e.another(t, set)
					}
					w.seed(t, []fixtureUserID{"ann"})
					if tt.held {
						anchor := e.anchors(t, func() { e.name(t, "ann") })[0]
						_, err := e.cache.Hold(t.Context(), []driver.Hold{{Anchor: anchor, Token: "another", TTL: time.Hour}})
						fixtureMust(t, err)
					}
					gate := backendtest.NewGate(backendtest.Nth("Read", 1))
					e.on(func(c fixtureCall) backendtest.Fault {
						if tt.fails != nil && tt.fails(c) {
							return backendtest.Fault{Action: backendtest.Fail}
						}
						return gate.ReplyHook(c.ctx, c.Call)
					})
					read := func() string { return hazardName(t, e, tt.fresh) }
					loads := e.Stats().Kinds["user"].Loads
					first := fixtureGo(t, read)
					fixtureMust(t, gate.Await(t.Context()))
					fixtureMust(t, w.rename(t.Context(), "ann", "new"))
					var later []func() string
					for range 3 {
						later = append(later, fixtureGo(t, read))
						synctest.Wait() // it has joined whatever it joins
					}
					gate.Open()
					if got := first(); got != "v1 of ann" {
						t.Errorf("the load that was answered before the write gave %q", got)
					}
					for i, wait := range later {
						if got := wait(); got != "new" {
							t.Errorf("reader %d began after the write was acknowledged and got %q", i, got)
						}
					}
					e.settle(t)
					if got := e.Stats().Kinds["user"].Loads - loads; got != 2 {
						t.Errorf("one reader before the write and three after it made %d loads, want 2", got)
					}
					for range 2 {
						if got := read(); got != "new" {
							t.Errorf("after the late load was done a read gives %q", got)
						}
						e.settle(t)
					}
				})
			})
		}
	}
}

// hazardName reads ann's name.
func hazardName(t testing.TB, e *fixtureEngine, fresh graphcache.Freshness) string {
	u, err := fixtureUsers.Get(t.Context(), e, "ann", fresh)
	if err != nil {
		return err.Error()
	}
	return u.Name
}

// hazardJoinPlain plays the same order with loads collapsed by key alone, and
// returns what the reader after the write gets.
func hazardJoinPlain(t testing.TB) string {
	t.Helper()
	type load struct {
		done  chan struct{}
		value string
	}
	var mu sync.Mutex
	store, loads := "old", map[string]*load{}
	answered, goOn := make(chan struct{}), make(chan struct{})
	get := func() func() string {
		mu.Lock()
		defer mu.Unlock()
		if l := loads["ann"]; l != nil {
			return func() string { <-l.done; return l.value }
		}
		l := &load{done: make(chan struct{}), value: store}
		loads["ann"] = l
		return func() string {
			close(answered)
			<-goOn
			close(l.done)
			return l.value
		}
	}
	first := fixtureGo(t, get())
	fixtureAwait(t, answered, "the first load")
	mu.Lock()
	store = "new"
	mu.Unlock()
	second := get()
	close(goOn)
	first()
	return second()
}

// TestHazard12TwoProcesses: a process that waits for another one's load does not make
// readers wait with it who come after a write.
func TestHazard12TwoProcesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loader := fixtureNew(t)
		waiter, writer := loader.another(t), loader.another(t)
		writer.seed(t, []fixtureUserID{"ann"})
		gate := loader.stopReplyAt(backendtest.Nth("Read", 1))
		first := fixtureGo(t, func() string { return hazardName(t, loader, graphcache.Cached) })
		gate.await(t)
		waits := fixtureGo(t, func() string { return hazardName(t, waiter, graphcache.Cached) })
		synctest.Wait()
		if n := waiter.fstore.Calls("Read"); n != 0 {
			t.Fatalf("a process whose value another one loads read the store %d times", n)
		}
		fixtureMust(t, writer.rename(t.Context(), "ann", "new"))
		for i, e := range []*fixtureEngine{waiter, loader, writer} {
			if got := hazardName(t, e, graphcache.Cached); got != "new" {
				t.Errorf("process %d: a read that began after the write got %q", i, got)
			}
		}
		gate.Open()
		if got := first(); got != "v1 of ann" {
			t.Errorf("the load that was answered before the write gave %q", got)
		}
		if got := waits(); got != "new" {
			t.Errorf("the reader that waited for the other process got %q, want what was loaded after the write", got)
		}
		for _, e := range []*fixtureEngine{loader, waiter, writer} {
			e.settle(t)
		}
		for i, e := range []*fixtureEngine{waiter, loader, writer} {
			if got := hazardName(t, e, graphcache.Cached); got != "new" {
				t.Errorf("process %d: after the late load a read got %q", i, got)
			}
		}
		if got := loader.Stats().Kinds["user"].Refusals; got != 1 {
			t.Errorf("the late load's fill was refused %d times, want once", got)
		}
	})
}

// TestHazard12Leader: when the reader that started a load gives up or meets a panic,
// those who joined it are neither failed with its context nor left hanging.
func TestHazard12Leader(t *testing.T) {
	for _, fresh := range []graphcache.Freshness{graphcache.Cached, graphcache.Fresh} {
		t.Run(fmt.Sprint("cancel/", fresh), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := fixtureNew(t)
				e.seed(t, []fixtureUserID{"ann"})
				gate := e.stopAt(backendtest.On("Read"))
				ctx, cancel := context.WithCancel(t.Context())
				leader := fixtureGo(t, func() error { _, err := fixtureUsers.Get(ctx, e, "ann", fresh); return err })
				gate.await(t)
				joined := fixtureGo(t, func() string { return hazardName(t, e, fresh) })
				synctest.Wait()
				cancel()
				if err := leader(); !errors.Is(err, context.Canceled) {
					t.Errorf("the leader gave up and got %v", err)
				}
				gate.Open()
				if got := joined(); got != "v1 of ann" {
					t.Errorf("a reader that joined a load whose leader gave up got %q", got)
				}
			})
		})
	}
	t.Run("panic", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := fixtureNew(t)
			e.seed(t, []fixtureUserID{"ann"})
			gate := backendtest.NewGate(backendtest.On("Read"))
			e.on(func(c fixtureCall) backendtest.Fault {
				if gate.Hook(c.ctx, c.Call); c.is("Read") && c.N == 1 {
					panic("the driver is broken")
				}
				return backendtest.Fault{}
			})
			leader := fixtureGo(t, func() (v any) {
				defer func() { v = recover() }()
				hazardName(t, e, graphcache.Cached)
				return nil
			})
			fixtureMust(t, gate.Await(t.Context()))
			joined := fixtureGo(t, func() error { _, err := fixtureUsers.Get(t.Context(), e, "ann"); return err })
			synctest.Wait()
			gate.Open()
			if leader() == nil {
				t.Error("the reader that caused a panic does not see it")
			}
			if err := joined(); !errors.Is(err, graphcache.ErrUnavailable) {
				t.Errorf("a reader that joined a load that panicked got %v, want ErrUnavailable", err)
			}
			e.settle(t)
			if got := hazardName(t, e, graphcache.Cached); got != "v1 of ann" {
				t.Errorf("after a load that panicked a read got %q", got)
			}
		})
	})
}
