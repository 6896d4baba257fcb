package rollout_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// inCity is the search that an index on City answers, and so do CacheScans.
func inCity(v version, city string) graphcache.Query[plain, graphcache.NoEdge] {
	k := v.(*program[plain, linkData]).kind
	return k.Where(graphcache.StringFieldOf(k, func(o *plain) *string { return &o.City }).Eq(city))
}

// put writes the object p.
func put(t testing.TB, p *process, city string) {
	t.Helper()
	if err := p.v.(*program[plain, linkData]).kind.Put(t.Context(), p.g, &plain{ID: "p", City: city}); err != nil {
		t.Fatalf("%s: put: %v", p.name, err)
	}
}

// access says how the process answers inCity, and why.
func access(t testing.TB, p *process) (graphcache.Access, string) {
	t.Helper()
	plan := inCity(p.v, "a").Explain(t.Context(), p.g)
	if plan.Err != nil {
		t.Fatal(plan.Err)
	}
	return plan.Steps[0].Access, plan.Steps[0].Reason
}

// isReady reports whether the process caches inCity.
func isReady(t testing.TB, p *process) bool {
	t.Helper()
	a, reason := access(t, p)
	switch {
	case a == graphcache.ByIndex || a == graphcache.ByScan:
		return true
	case a != graphcache.ByStore || !strings.Contains(reason, "not all processes know of it yet"):
		t.Fatalf("%s: access %v because %q", p.name, a, reason)
	}
	return false
}

// search asks for the objects of a city, in the way that is cached.
func search(t testing.TB, p *process, city string, fresh bool) string {
	t.Helper()
	q := inCity(p.v, city)
	if fresh {
		q = q.Fresh()
	}
	ids, err := q.IDs(t.Context(), p.g)
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	if err := p.g.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	return strings.Join(texts(ids), " ")
}

func texts(ids graphcache.IDs[plain]) (s []string) {
	for _, id := range ids {
		s = append(s, string(id))
	}
	return s
}

// right fails the test if a cached answer is not what the store says.
func right(t testing.TB, p *process) {
	t.Helper()
	for _, city := range words {
		if got, want := search(t, p, city, false), search(t, p, city, true); got != want {
			t.Errorf("%s: in city %q: %q, but the store has %q", p.name, city, got, want)
		}
	}
}

// readyWithin waits until the process caches inCity and returns how long that took.
func readyWithin(t testing.TB, p *process, limit time.Duration) time.Duration {
	t.Helper()
	start := time.Now()
	for !isReady(t, p) {
		if time.Since(start) > limit {
			t.Fatalf("%s: not ready after %v", p.name, limit)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(start)
}

// what a new version caches under.
var news = []struct {
	name string
	make func() version
}{
	{"index", func() version { return make1("by city", false, byCity) }},
	{"CacheScans", func() version { return make1("scans", true, nil) }},
}

func TestNewIsNotUsedBeforeItIsReady(t *testing.T) {
	for _, tt := range news {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.endAll()
				old := w.open(make1("plain", false, nil))
				put(t, old, "a")
				first := w.open(tt.make())
				began := time.Now()
				time.Sleep(10 * time.Second)
				second := w.open(tt.make())
				for range 10 {
					search(t, first, "a", false)
					search(t, second, "a", false)
				}
				for _, p := range []*process{first, second} {
					if isReady(t, p) {
						t.Errorf("%s is ready before its time", p.name)
					}
					if k := p.g.Stats().Kinds["part"]; k.Hits+k.Misses+k.Fills > 0 {
						t.Errorf("the cache was asked: %+v", k)
					}
				}
				readyWithin(t, first, time.Minute)
				took := time.Since(began)
				if took <= readyAfter || took > readyAfter+2*lookPeriod {
					t.Errorf("ready after %v, not %v and two periods", took, readyAfter)
				}
				later := readyWithin(t, second, time.Minute)
				if later > lookPeriod+100*time.Millisecond {
					t.Errorf("another process sees that it is ready only %v later", later)
				}
				third := w.open(tt.make())
				if !isReady(t, third) {
					t.Error("a process that starts later does not see that it is ready")
				}
				search(t, first, "a", false)
				for _, p := range []*process{first, second, third} {
					search(t, p, "a", false)
					if p.g.Stats().Kinds["part"].Hits == 0 {
						t.Errorf("%s has no hits although it is ready", p.name)
					}
				}
				put(t, old, "b")
				for _, p := range []*process{first, second, third} {
					right(t, p)
				}
				t.Logf("ready after %v; in another process %v later", took, later)
			})
		})
	}
}

// TestFirstVersionIsReadyAtOnce opens a version that is the first of its kind.
func TestFirstVersionIsReadyAtOnce(t *testing.T) {
	for _, tt := range news {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.endAll()
				p := w.open(tt.make())
				if !isReady(t, p) {
					t.Error("not ready")
				}
				// What rolls the version back to one that does not know of it holds it
				// from its first write on.
				put(t, p, "a")
				search(t, p, "a", false)
				old := w.open(make1("plain", false, nil))
				put(t, old, "b")
				right(t, p)
			})
		})
	}
}

// TestLongestWrite has a write begin that does not know of a new index, and lets it take as
// long as a write may. The index must not be used before the store has applied it.
func TestLongestWrite(t *testing.T) {
	almost := 10 * time.Millisecond
	tests := []struct {
		name  string
		cache func(o *graphcache.Options) backendtest.Hook // of the writer
		opts  func(o *graphcache.Options)
	}{
		{name: "marked slowly", cache: func(o *graphcache.Options) backendtest.Hook {
			return backendtest.DelayOn(backendtest.On("Hold"), o.HoldTimeout-almost)
		}},
		{name: "marked at the second attempt", cache: func(o *graphcache.Options) backendtest.Hook {
			return backendtest.Chain(
				backendtest.Inject(backendtest.Nth("Hold", 1), backendtest.Fault{Delay: o.HoldTimeout - 2*almost, Action: backendtest.Fail}),
				backendtest.DelayOn(backendtest.On("Hold"), o.HoldTimeout-almost))
		}},
		{name: "journalled and waiting", opts: func(o *graphcache.Options) { o.WhenCacheDown = graphcache.Wait },
			cache: func(o *graphcache.Options) backendtest.Hook { return backendtest.HangOn(backendtest.On("Hold")) }},
		{name: "journalled and waiting, short HoldTTL", cache: func(o *graphcache.Options) backendtest.Hook { return backendtest.HangOn(backendtest.On("Hold")) },
			opts: func(o *graphcache.Options) {
				o.WhenCacheDown = graphcache.Wait
				o.HoldTimeout, o.WriteTimeout, o.HoldTTL = 2*time.Second, 10*time.Second, 16*time.Second
			}},
		{name: "journalled and waiting, long LookPeriod", cache: func(o *graphcache.Options) backendtest.Hook { return backendtest.HangOn(backendtest.On("Hold")) },
			opts: func(o *graphcache.Options) {
				o.WhenCacheDown, o.LookPeriod, o.HoldTTL = graphcache.Wait, 20*time.Second, 45*time.Second
			}},
		{name: "journalled and waiting, long HoldTimeout", cache: func(o *graphcache.Options) backendtest.Hook { return backendtest.HangOn(backendtest.On("Hold")) },
			opts: func(o *graphcache.Options) {
				o.WhenCacheDown = graphcache.Wait
				o.HoldTimeout, o.WriteTimeout, o.HoldTTL = 20*time.Second, 100*time.Millisecond, 43*time.Second
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.endAll()
				opts := graphcache.Options{HoldTimeout: 500 * time.Millisecond, WriteTimeout: 5 * time.Second, HoldTTL: holdTTL, LookPeriod: lookPeriod}
				if tt.opts != nil {
					tt.opts(&opts)
				}
				set := func(o *graphcache.Options) {
					o.WhenCacheDown, o.LookPeriod = opts.WhenCacheDown, opts.LookPeriod
					o.HoldTimeout, o.WriteTimeout, o.HoldTTL = opts.HoldTimeout, opts.WriteTimeout, opts.HoldTTL
				}
				old := w.open(make1("plain", false, nil), set)
				put(t, old, "a")
				time.Sleep(4*opts.LookPeriod + almost) // it has just looked
				old.cache.SetHook(tt.cache(&opts))
				old.cache.Reset()
				applied := time.Time{}
				old.store.SetHook(func(ctx context.Context, c backendtest.Call) backendtest.Fault {
					switch c.Method {
					case "Look":
						return backendtest.Fault{Action: backendtest.Fail}
					case "Owe":
						return backendtest.Fault{Delay: opts.HoldTimeout}
					case "Write":
						return backendtest.Fault{Delay: opts.WriteTimeout - almost, After: func(context.Context) { applied = time.Now() }}
					}
					return backendtest.Fault{}
				})
				began := time.Now()
				p := w.open(make1("by city", false, byCity), set)
				done := make(chan error)
				go func() {
					time.Sleep(opts.LookPeriod*3/2 - 2*almost)
					done <- old.v.(*program[plain, linkData]).kind.Put(context.Background(), old.g, &plain{ID: "p", City: "b"})
				}()
				readyAt := began.Add(readyWithin(t, p, 10*time.Minute))
				search(t, p, "a", false)
				search(t, p, "b", false)
				err := <-done
				if err != nil {
					t.Fatalf("the write: %v", err)
				}
				if !applied.Before(readyAt) {
					t.Errorf("applied after %v, but ready after %v", applied.Sub(began), readyAt.Sub(began))
				}
				right(t, p)
				t.Logf("applied after %v, ready after %v", applied.Sub(began), readyAt.Sub(began))
			})
		})
	}
}

// TestDoubtDelaysReadiness has a write arrive at the store long after its writer has given
// up, which has not known of a new index.
func TestDoubtDelaysReadiness(t *testing.T) {
	for _, dies := range []bool{false, true} {
		name := map[bool]string{false: "the writer lives", true: "the writer ends"}[dies]
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.endAll()
				old := w.open(make1("plain", false, nil))
				put(t, old, "a")
				let := make(chan struct{})
				time.Sleep(4 * lookPeriod)
				old.store.SetHook(backendtest.Chain(
					backendtest.FailOn(backendtest.On("Look"), nil),
					backendtest.Inject(backendtest.On("Write"), backendtest.Fault{Action: backendtest.Late, Until: let})))
				p := w.open(make1("by city", false, byCity))
				began := time.Now()
				err := old.v.(*program[plain, linkData]).kind.Put(t.Context(), old.g, &plain{ID: "p", City: "b"})
				if !errors.Is(err, graphcache.ErrUnknownOutcome) {
					t.Fatalf("the write: %v", err)
				}
				old.store.SetHook(nil)
				if dies {
					w.end(old)
				}
				time.AfterFunc(110*time.Second, func() { close(let) })
				took := readyWithin(t, p, 10*time.Minute)
				if took < 2*time.Minute {
					t.Errorf("ready after %v, while a write may yet be applied", took)
				}
				old.store.WaitLate()
				right(t, p)
				t.Logf("ready after %v", time.Since(began))
			})
		})
	}
}

// TestTxAcrossRegistration has a transaction begin before a new version registers an index
// and commit after it, and after it is ready.
func TestTxAcrossRegistration(t *testing.T) {
	for _, tt := range []struct {
		name string
		wait time.Duration
	}{
		{"it is registered", 3 * lookPeriod},
		{"it is ready", readiness()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				defer w.endAll()
				old := w.open(make1("plain", false, nil))
				put(t, old, "a")
				k := old.v.(*program[plain, linkData]).kind
				var p *process
				attempts := 0
				err := old.g.Tx(t.Context(), func(tx *graphcache.Tx) error {
					attempts++
					if err := k.Put(t.Context(), tx, &plain{ID: "p", City: "b"}); err != nil {
						return err
					}
					if attempts == 1 {
						p = w.open(make1("by city", false, byCity))
						time.Sleep(tt.wait)
						search(t, p, "a", false)
						search(t, p, "b", false)
					}
					return nil
				})
				if err != nil || attempts != 2 {
					t.Errorf("%d attempts, error %v; want 2 and nil", attempts, err)
				}
				right(t, p)
				time.Sleep(readiness())
				right(t, p)
			})
		})
	}
	t.Run("the registry is not seen", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.endAll()
			old := w.open(make1("plain", false, nil))
			put(t, old, "a")
			k := old.v.(*program[plain, linkData]).kind
			old.store.SetHook(backendtest.FailOn(backendtest.On("Look"), nil))
			var p *process
			err := old.g.Tx(t.Context(), func(tx *graphcache.Tx) error {
				p = w.open(make1("by city", false, byCity))
				time.Sleep(readiness())
				search(t, p, "a", false)
				return k.Put(t.Context(), tx, &plain{ID: "p", City: "b"})
			})
			if !errors.Is(err, graphcache.ErrUnavailable) {
				t.Errorf("error %v, want one that wraps ErrUnavailable", err)
			}
			if got := search(t, p, "a", true); got != "p" {
				t.Errorf("in city a the store has %q", got)
			}
			right(t, p)
		})
	})
}

// TestWriteWithoutLook has a write begin that cannot learn what is registered.
func TestWriteWithoutLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.endAll()
		old := w.open(make1("plain", false, nil))
		put(t, old, "a")
		old.store.SetHook(backendtest.FailOn(backendtest.On("Look"), nil))
		p := w.open(make1("by city", false, byCity))
		time.Sleep(readiness())
		search(t, p, "a", false)
		err := old.v.(*program[plain, linkData]).kind.Put(t.Context(), old.g, &plain{ID: "p", City: "b"})
		if !errors.Is(err, graphcache.ErrUnavailable) || errors.Is(err, driver.ErrUnknownOutcome) {
			t.Errorf("error %v, want one that wraps ErrUnavailable", err)
		}
		old.store.SetHook(nil)
		put(t, old, "b") // looks first
		right(t, p)
	})
}
