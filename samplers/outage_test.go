package samplers_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/samplers"
)

// switchable returns counters that fail as long as they are down.
func switchable(clock *fakeClock) (c *backendtest.FaultyCounters, down *atomic.Bool) {
	down = new(atomic.Bool)
	hook := func(context.Context, backendtest.Call) backendtest.Fault {
		if down.Load() {
			return backendtest.Fault{Action: backendtest.Fail}
		}
		return backendtest.Fault{}
	}
	return backendtest.NewFaultyCounters(memory.NewCounters(&memory.CountersOptions{Now: clock.now}), hook), down
}

// TestMaxOpsInOutage has a client that invents operations go on in an outage, with those that
// were met before as well: in the next window they share one key again.
func TestMaxOpsInOutage(t *testing.T) {
	clock := newFakeClock()
	counters, down := switchable(clock)
	s := newSampler(t, counters, &samplers.Options{Logger: quiet, Now: clock.now, MaxOps: 10, Timeout: time.Minute})
	invent := func() (kept int) {
		for i := range 12_000 {
			if s.Decide(t.Context(), samplers.Key{Tenant: "t", Op: fmt.Sprint("/raw/", i/6)}).Keep {
				kept++
			}
		}
		return kept
	}
	if kept := invent(); kept != 55 {
		t.Errorf("%d kept, want 55", kept)
	}
	down.Store(true)
	clock.advance(16 * time.Minute)
	if kept := invent(); kept != 55 {
		t.Errorf("%d kept in an outage, want 55", kept)
	}
}

// TestOutageOverflows has more keys in an outage than there is memory for.
func TestOutageOverflows(t *testing.T) {
	clock := newFakeClock()
	counters, down := switchable(clock)
	down.Store(true)
	s := newSampler(t, counters, &samplers.Options{Logger: quiet, Now: clock.now, LocalBytes: 64 << 10, MaxOps: -1})
	const keys, rounds = 25_000, 10
	kept := 0
	for range rounds {
		for i := range keys {
			if s.Decide(t.Context(), samplers.Key{Tenant: "t", Op: fmt.Sprint(i)}).Keep {
				kept++
			}
		}
	}
	if kept > 5*2_500 {
		t.Errorf("%d of %d kept, want the first five of the keys that there is room for", kept, keys*rounds)
	}
	checkSums(t, s.Stats(), keys*rounds)
}

// TestEndedCallers have no time to wait: each key has its first few for them, whatever is done in an outage.
func TestEndedCallers(t *testing.T) {
	for _, mode := range []samplers.Outage{samplers.KeepLocal, samplers.KeepAll, samplers.DropAll} {
		s := newSampler(t, memory.NewCounters(nil), &samplers.Options{OnOutage: mode})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		kept := 0
		for range 100 {
			if s.Decide(ctx, samplers.Key{}).Keep {
				kept++
			}
		}
		if kept != 5 || s.Stats().Outages != 0 {
			t.Errorf("mode %d: %d kept, %+v", mode, kept, s.Stats())
		}
	}
}

// TestOnePause fails all calls that are under way, which is no outage; five failures one after the other are one.
func TestOnePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		counters := backendtest.NewFaultyCounters(memory.NewCounters(nil), func(context.Context, backendtest.Call) backendtest.Fault {
			if hang.Load() {
				return backendtest.Fault{Action: backendtest.Hang}
			}
			return backendtest.Fault{}
		})
		s, err := samplers.New(counters, &samplers.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		hang.Store(true)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { s.Decide(t.Context(), samplers.Key{Op: fmt.Sprint(i)}) })
		}
		wg.Wait()
		if st := s.Stats(); st.Outages != 0 {
			t.Errorf("%+v: one pause is taken for an outage", st)
		}
		for i := range 4 {
			s.Decide(t.Context(), samplers.Key{Op: fmt.Sprint("next ", i)})
		}
		if st := s.Stats(); st.Outages != 1 {
			t.Errorf("%+v: want an outage", st)
		}
		hang.Store(false)
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestLongOutage lasts longer than the clock can tell: a key that was throttled when it began is not for ever.
func TestLongOutage(t *testing.T) {
	clock := newFakeClock()
	counters, down := switchable(clock)
	s := newSampler(t, counters, &samplers.Options{Logger: quiet, Now: clock.now, OnOutage: samplers.KeepAll})
	k := samplers.Key{Tenant: "t", Op: "o"}
	for range 6 {
		s.Decide(t.Context(), k)
	}
	down.Store(true)
	for i := range 6 {
		s.Decide(t.Context(), samplers.Key{Op: fmt.Sprint(i)})
	}
	for day := range 60 {
		clock.advance(24 * time.Hour)
		if err := s.Flush(t.Context()); err == nil {
			t.Fatal("a flush without counters")
		}
		if d := s.Decide(t.Context(), k); !d.Keep {
			t.Errorf("day %d: %+v", day+1, d)
		}
	}
}
