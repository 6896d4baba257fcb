package rollout_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// forgetfulStore has a registry that can forget, which all processes share.
type forgetfulStore struct {
	*backendtest.FaultyStore
	reg *registry
}

// registry is one that can forget.
type registry struct {
	mu      sync.Mutex
	entries map[[2]string]bool // by kind and spec: whether it is ready
}

func (s *forgetfulStore) Register(ctx context.Context, entries []driver.RegistryEntry) error {
	if err := s.FaultyStore.Register(ctx, nil); err != nil {
		return err
	}
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	known := map[string]bool{}
	for key := range s.reg.entries {
		known[key[0]] = true
	}
	for _, e := range entries {
		key := [2]string{e.Kind, e.Spec}
		s.reg.entries[key] = s.reg.entries[key] || e.Ready || !known[e.Kind]
	}
	return nil
}

func (s *forgetfulStore) Look(ctx context.Context) (driver.Look, error) {
	look, err := s.FaultyStore.Look(ctx)
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	look.Registry = nil
	for key, ready := range s.reg.entries {
		look.Registry = append(look.Registry, driver.RegistryEntry{Kind: key[0], Spec: key[1], Ready: ready})
	}
	return look, err
}

// isOf reports whether a spec is of the type, "index" or "scans".
func isOf(spec, typ string) bool { return len(spec) > 0 && strings.HasPrefix(spec[1:], "\x01\xa5"+typ) }

// forget forgets the entries of the type, and returns how many that were.
func (r *registry) forget(typ string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.entries {
		if isOf(key[1], typ) {
			delete(r.entries, key)
			n++
		}
	}
	return n
}

// forgetting returns a world whose registry can forget.
func forgetting(t testing.TB) (*world, *registry) {
	w, reg := newWorld(t), &registry{entries: map[[2]string]bool{}}
	w.wrap = func(s *backendtest.FaultyStore) driver.Store { return &forgetfulStore{s, reg} }
	return w, reg
}

// TestEntryIsLost has the registry forget what a version caches under, while that is in use.
// It must not be used from when the version knows, and be right when it is used again.
func TestEntryIsLost(t *testing.T) {
	for _, tt := range news {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, reg := forgetting(t)
				defer w.endAll()
				typ := map[string]string{"index": "index", "CacheScans": "scans"}[tt.name]
				old := w.open(make1("plain", false, nil))
				put(t, old, "a")
				p := w.open(tt.make())
				readyWithin(t, p, 2*time.Minute)
				search(t, p, "a", false)
				search(t, p, "b", false)
				if n := reg.forget(typ); n != 1 {
					t.Fatalf("%d entries were forgotten", n)
				}
				lost := time.Now()
				time.Sleep(2*lookPeriod + lookPeriod/2)
				if isReady(t, p) {
					t.Error("it is used although it is not registered")
				}
				put(t, old, "b")
				right(t, p)
				readyWithin(t, p, 2*time.Minute)
				if took := time.Since(lost); took < readyAfter || took > readyAfter+4*lookPeriod {
					t.Errorf("ready again after %v", took)
				}
				right(t, p)
				put(t, old, "c")
				right(t, p)
			})
		})
	}
}

// TestEntryIsLostUnseen has the registry forget, and the old version write before anybody
// has seen that: when the new version uses the index again, what was cached before must be
// gone.
func TestEntryIsLostUnseen(t *testing.T) {
	for _, fail := range []string{"", "Raise", "Register"} {
		t.Run(fail, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, reg := forgetting(t)
				defer w.endAll()
				old := w.open(make1("plain", false, nil))
				put(t, old, "a")
				p := w.open(make1("by city", false, byCity))
				readyWithin(t, p, 2*time.Minute)
				right(t, p)
				reg.forget("index")
				p.store.Reset()
				var blind atomic.Bool
				blind.Store(true)
				p.store.SetHook(func(_ context.Context, c backendtest.Call) backendtest.Fault {
					if blind.Load() && c.Method == "Look" || c.Method == fail && c.N == 1 {
						return backendtest.Fault{Action: backendtest.Fail}
					}
					return backendtest.Fault{}
				})
				time.Sleep(2*lookPeriod + lookPeriod/2)
				put(t, old, "b")
				blind.Store(false)
				time.Sleep(2 * lookPeriod)
				if isReady(t, p) {
					t.Error("it is used although it was lost")
				}
				readyWithin(t, p, 2*time.Minute)
				right(t, p)
			})
		})
	}
}

// TestUnreadyEntryIsLost has the registry forget an entry that is not ready yet. The wait
// begins again when it is back.
func TestUnreadyEntryIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, reg := forgetting(t)
		defer w.endAll()
		old := w.open(make1("plain", false, nil))
		put(t, old, "a")
		p := w.open(make1("by city", false, byCity))
		time.Sleep(readyAfter - 10*time.Second)
		reg.forget("index")
		lost := time.Now()
		readyWithin(t, p, 5*time.Minute)
		if took := time.Since(lost); took < readyAfter {
			t.Errorf("ready %v after it was forgotten, less than %v", took, readyAfter)
		}
		right(t, p)
	})
}

// TestEntriesOfTheFuture has the registry list what a version that is yet to be written may
// register, and what nobody would. It must be logged, and do no harm.
func TestEntriesOfTheFuture(t *testing.T) {
	announce(t)
	var specs []string
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.endAll()
		w.open(make1("by both", true, byBoth))
		w.open(makeMoved("moved"))
		w.open(makeColored("by tags", true, true))
		look, err := w.store.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range look.Registry {
			specs = append(specs, e.Spec)
		}
		slices.Sort(specs)
	})
	r := source(t, 0)
	const programs = 300
	logged := 0
	for range programs {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			defer w.endAll()
			w.open(make1("plain", false, nil))
			entries := []driver.RegistryEntry{
				{Kind: "part", Spec: "\x92\x02\xa5index"},     // another format
				{Kind: "part", Spec: "\x92\x01\xa5vapor"},     // another type
				{Kind: "part", Spec: ""},                      // nothing
				{Kind: "part", Spec: "\x94\x01\xa4kind\x01x"}, // a kind with more to say
				{Kind: "a kind of the future", Spec: "\x92\x01\xa4kind"},
				{Kind: "link", Spec: "\x92\x01\xa5scans"},
			}
			for range 10 {
				entries = append(entries, driver.RegistryEntry{Kind: "part", Spec: mutated(r, specs[r.IntN(len(specs))])})
			}
			if err := w.store.Register(t.Context(), entries); err != nil {
				t.Fatal(err)
			}
			w.open(make1("by city", false, byCity))
			w.open(makeColored("by tags", true, true))
			time.Sleep(readiness())
			w.run(r, 60)
			if w.stale != "" {
				t.Error(w.stale)
			}
			for _, p := range w.alive {
				if s := p.g.Stats(); s.FailedLooks > 0 || s.CacheErrors > 0 {
					t.Errorf("%s: %d looks failed, %d calls of the cache", p.name, s.FailedLooks, s.CacheErrors)
				}
				if strings.Contains(p.log.String(), "what this one cannot read") {
					logged++
				}
				if strings.Contains(p.log.String(), "panic") {
					t.Errorf("%s: %s", p.name, p.log)
				}
			}
		})
	}
	if logged != 3*programs {
		t.Errorf("%d of %d processes have logged what they cannot read", logged, 3*programs)
	}
}

// mutated returns the spec with some bytes changed, cut, doubled or put in.
func mutated(r *rand.Rand, spec string) string {
	b := []byte(spec)
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			break
		}
		i := r.IntN(len(b))
		switch r.IntN(5) {
		case 0:
			b = b[:i]
		case 1:
			b = slices.Insert(b, i, b[i:]...)
		case 2:
			b = slices.Insert(b, i, byte(r.Uint32()))
		case 3:
			b[i] ^= 1 << r.IntN(8)
		default:
			b[i] = []byte{0xc0, 0xc1, 0xdd, 0xdf, 0x90, 0x80, 0xa0, 0xc6, 0xcf, 0xff, 0xd3}[r.IntN(11)]
		}
	}
	return string(b)
}

// TestEntriesAreRenewed lets days pass.
func TestEntriesAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		defer w.endAll()
		slow := func(o *graphcache.Options) { o.TTL, o.LookPeriod, o.HoldTTL = time.Hour, time.Minute, 4*time.Minute }
		old := w.open(make1("plain", false, nil), slow)
		put(t, old, "a")
		p := w.open(make1("by city", false, byCity), slow)
		old.store.Reset()
		time.Sleep(24*time.Hour + time.Minute)
		if n := old.store.Calls("Register"); n < 22 || n > 24 {
			t.Errorf("entries were renewed %d times in a day", n)
		}
		count := func() (n int) {
			look, err := w.store.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range look.Registry {
				if isOf(e.Spec, "index") {
					n++
				}
			}
			return n
		}
		time.Sleep(9 * 24 * time.Hour)
		if !isReady(t, p) || count() != 1 {
			t.Error("what a live version caches under is gone after ten days")
		}
		w.end(p)
		time.Sleep(driver.RegistryTTL - 2*time.Hour)
		if count() != 1 {
			t.Error("the entry of a version that has ended is gone before its time")
		}
		time.Sleep(4 * time.Hour)
		if count() != 0 {
			t.Error("the entry of a version that ended a week ago is still there")
		}
		again := w.open(make1("by city", false, byCity), slow)
		if isReady(t, again) {
			t.Error("it is used again at once")
		}
		readyWithin(t, again, time.Hour)
		search(t, again, "a", false)
		put(t, old, "b")
		right(t, again)
	})
}
