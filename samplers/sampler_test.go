package samplers_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

// newSampler returns a sampler that is closed with the test.
func newSampler(t testing.TB, counters driver.Counters, o *samplers.Options) *samplers.Sampler {
	t.Helper()
	s, err := samplers.New(counters, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

// newFleet returns samplers that stand for as many processes.
func newFleet(t testing.TB, processes int, counters driver.Counters, o *samplers.Options) []*samplers.Sampler {
	fleet := make([]*samplers.Sampler, processes)
	for i := range fleet {
		fleet[i] = newSampler(t, counters, o)
	}
	return fleet
}

// fakeClock is a clock that is set by hand.
type fakeClock struct{ ns atomic.Int64 }

func newFakeClock() *fakeClock {
	c := &fakeClock{}
	c.ns.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return c
}

func (c *fakeClock) now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *fakeClock) advance(d time.Duration) { c.ns.Add(int64(d)) }

// closeAll ends the samplers, which report what they owe.
func closeAll(t *testing.T, fleet []*samplers.Sampler) {
	t.Helper()
	for _, s := range fleet {
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// window is what a model knows of a key.
type window struct {
	end   time.Time
	count int
}

// modelDecision returns whether a request is one of the first n of its window.
func modelDecision(model map[samplers.Key]*window, k samplers.Key, now time.Time, n int, length time.Duration) (keep bool, place int) {
	w := model[k]
	if w == nil || !now.Before(w.end) {
		w = &window{end: now.Add(length)}
		model[k] = w
	}
	w.count++
	return w.count <= n, w.count
}

// TestFirstN compares each decision of several processes with those of a model that sees
// all of them, over many windows, and the totals with what the model has dropped.
func TestFirstN(t *testing.T) {
	for _, n := range []int{1, 5, 50} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			clock, rnd := newFakeClock(), rand.New(rand.NewPCG(1, uint64(n)))
			counters := memory.NewCounters(&memory.CountersOptions{Now: clock.now})
			const length = 10 * time.Second
			fleet := newFleet(t, 4, counters, &samplers.Options{FirstN: n, Window: length, Now: clock.now, MaxOps: -1, LocalBytes: 256 << 10, Timeout: time.Minute})
			model := make(map[samplers.Key]*window)
			kept, all, from := make(map[samplers.Key]int64), make(map[samplers.Key]int64), clock.now()
			requests := 200_000
			if allocRace {
				requests = 40_000
			}
			for range requests {
				clock.advance(time.Duration(rnd.IntN(int(2 * time.Millisecond))))
				k := samplers.Key{Tenant: fmt.Sprint(rnd.IntN(20)), Op: fmt.Sprint(int(rnd.ExpFloat64() * 10))}
				want, place := modelDecision(model, k, clock.now(), n, length)
				d := fleet[rnd.IntN(len(fleet))].Decide(t.Context(), k)
				if d.Keep != want || want && (d.Reason != samplers.First || d.Weight != 1 || d.Seq != uint64(place)) ||
					!want && (d.Reason != samplers.Throttled || d.Weight != 0) {
					t.Fatalf("request %d of %v: %+v", place, k, d)
				}
				all[k]++
				if d.Keep {
					kept[k]++
				}
			}
			closeAll(t, fleet)
			for k, n := range all {
				total := int64(0)
				for at := from; at.Before(clock.now().Add(24 * time.Hour)); at = at.Add(24 * time.Hour) {
					beyond, err := fleet[0].Total(t.Context(), k, at)
					if err != nil {
						t.Fatal(err)
					}
					total += beyond
				}
				if total+kept[k] != n {
					t.Errorf("%v: %d kept and a total of %d beyond, want %d together", k, kept[k], total, n)
				}
			}
			if s := fleet[0].Stats(); s.Evictions+s.Lost+s.Unconfirmed+s.Outages != 0 {
				t.Errorf("%+v: want no losses", s)
			}
		})
	}
}

// TestClockWraps has windows around the moments at which 32 bits of milliseconds begin
// anew, and are half gone.
func TestClockWraps(t *testing.T) {
	clock := newFakeClock()
	counters := memory.NewCounters(&memory.CountersOptions{Now: clock.now})
	s := newSampler(t, counters, &samplers.Options{FirstN: 1, Window: time.Minute, Now: clock.now, Timeout: time.Minute})
	k := samplers.Key{Tenant: "t", Op: "o"}
	start := clock.now()
	for _, ms := range []int64{1 << 31, 1 << 32, 3 << 31, 1 << 33} {
		wrap := start.Add(time.Duration(ms) * time.Millisecond)
		for _, from := range []time.Duration{-90 * time.Second, -30 * time.Second, -time.Millisecond, 0, 20 * time.Minute} {
			clock.ns.Store(wrap.Add(from).UnixNano())
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
			keep := s.Decide(t.Context(), k).Keep
			if want := from != -time.Millisecond && from != 0; keep != want {
				t.Errorf("%v from a reading of %d: keep is %t, want %t", from, ms, keep, want)
			}
			if s.Decide(t.Context(), k).Keep {
				t.Errorf("%v from a reading of %d: the second is kept", from, ms)
			}
		}
	}
}

// TestTail checks that the tail is as large as it should be, and its weight.
func TestTail(t *testing.T) {
	s := newSampler(t, memory.NewCounters(nil), &samplers.Options{Tail: 0.25, Timeout: time.Minute})
	k, kept, sum := samplers.Key{Tenant: "t"}, 0, 0.0
	const requests = 100_000
	for range requests {
		if d := s.Decide(t.Context(), k); d.Keep {
			kept++
			sum += d.Weight
		}
	}
	if want := requests / 4; kept < want*9/10 || kept > want*11/10 {
		t.Errorf("%d kept, want about %d", kept, want)
	}
	if sum < requests*0.9 || sum > requests*1.1 {
		t.Errorf("weights sum up to %v, want about %d", sum, requests)
	}
	if st := s.Stats(); st.First != 5 || st.Tail != int64(kept-5) || st.Throttled != int64(requests-kept) {
		t.Errorf("%+v with %d kept", st, kept)
	}
	if below := s.DecideRandom(t.Context(), k, 3<<54-1); below.Keep {
		t.Errorf("a coin just below the threshold: %+v", below)
	}
	at := s.DecideRandom(t.Context(), k, 3<<54)
	if !at.Keep || at.Weight != 4 || at.Reason != samplers.Tail || at.Threshold() != 3<<54 {
		t.Errorf("a coin at the threshold: %+v, threshold %x", at, at.Threshold())
	}
}

// TestThresholds goes through probabilities: the weight is the inverse of what the threshold lets
// through, and gives the threshold back.
func TestThresholds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 10_000 {
		p := max(rnd.Float64(), 1.0/(1<<28))
		if i%2 == 0 {
			p = max(p*p*p*p, 1.0/(1<<28))
		}
		s := newTailSampler(t, p)
		d := s.DecideRandom(t.Context(), samplers.Key{}, 1<<56-1)
		if !d.Keep || d.Reason != samplers.Tail {
			t.Fatalf("probability %v: %+v for the greatest coin", p, d)
		}
		if let := float64(1<<56-d.Threshold()) / (1 << 56); let*d.Weight != 1 && (let*d.Weight < 1-1e-15 || let*d.Weight > 1+1e-15) {
			t.Fatalf("probability %v: weight %v, and %v are let through", p, d.Weight, let)
		}
		if d.Threshold() > 0 && s.DecideRandom(t.Context(), samplers.Key{}, d.Threshold()-1).Keep {
			t.Fatalf("probability %v: a coin below threshold %x is kept", p, d.Threshold())
		}
		_ = s.Close(t.Context())
		if i >= 200 && testing.Short() {
			break
		}
	}
}

// newTailSampler returns a sampler that has used up the first of the zero key.
func newTailSampler(t *testing.T, p float64) *samplers.Sampler {
	t.Helper()
	s, err := samplers.New(memory.NewCounters(nil), &samplers.Options{FirstN: 1, Tail: p, LocalBytes: 64 << 10, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s.Decide(t.Context(), samplers.Key{})
	return s
}

// TestMaxOps has a client that invents operations: they share one, in the fleet as in a
// process that is on its own.
func TestMaxOps(t *testing.T) {
	for name, hook := range map[string]backendtest.Hook{
		"fleet": nil,
		"alone": func(context.Context, backendtest.Call) backendtest.Fault {
			return backendtest.Fault{Action: backendtest.Fail}
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := newFakeClock()
			counters := backendtest.NewFaultyCounters(memory.NewCounters(&memory.CountersOptions{Now: clock.now}), hook)
			processes := 3
			if hook != nil {
				processes = 1
			}
			fleet := newFleet(t, processes, counters, &samplers.Options{FirstN: 5, MaxOps: 10, Now: clock.now, Timeout: time.Minute, Logger: slog.New(slog.DiscardHandler)})
			kept := 0
			for i := range 3000 {
				if d := fleet[i%len(fleet)].Decide(t.Context(), samplers.Key{Tenant: "bad", Op: fmt.Sprint("/", i/3)}); d.Keep {
					kept++
				}
			}
			if want := 10*3 + 5; kept != want { // three requests each, and the first five of the others
				t.Errorf("%d kept, want %d", kept, want)
			}
			if d := fleet[0].Decide(t.Context(), samplers.Key{Tenant: "good", Op: "/"}); !d.Keep {
				t.Error("another tenant is not kept")
			}
			clock.advance(16 * time.Minute)
			if d := fleet[0].Decide(t.Context(), samplers.Key{Tenant: "bad", Op: "/new"}); !d.Keep {
				t.Error("the next window has no room")
			}
			if hook != nil {
				return
			}
			closeAll(t, fleet)
			total, err := fleet[0].Total(t.Context(), samplers.Key{Tenant: "bad", Op: samplers.OtherOp}, clock.now())
			if want := int64(3000 - 10*3 - 5); err != nil || total != want {
				t.Errorf("a total of %d of the other operations, error %v; want %d", total, err, want)
			}
		})
	}
}

// TestOutage goes through the ways to decide without the counters, and back.
func TestOutage(t *testing.T) {
	for _, action := range []backendtest.Action{backendtest.Fail, backendtest.Hang, backendtest.DropReply} {
		for _, mode := range []samplers.Outage{samplers.KeepLocal, samplers.KeepAll, samplers.DropAll} {
			t.Run(fmt.Sprint(action, mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testOutage(t, action, mode) })
			})
		}
	}
}

func testOutage(t *testing.T, action backendtest.Action, mode samplers.Outage) {
	counters := backendtest.NewFaultyCounters(memory.NewCounters(nil), nil)
	s, err := samplers.New(counters, &samplers.Options{OnOutage: mode, Window: 5 * time.Minute, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	decide := func(op string, times int) (kept int) {
		for range times {
			began := time.Now()
			d := s.Decide(t.Context(), samplers.Key{Tenant: "t", Op: op})
			if took := time.Since(began); took > 11*time.Millisecond {
				t.Errorf("a decision took %v", took)
			}
			requests++
			if d.Keep {
				kept++
			}
		}
		return kept
	}
	if kept := decide("before", 10); kept != 5 {
		t.Fatalf("%d kept, want 5", kept)
	}
	counters.SetHook(func(context.Context, backendtest.Call) backendtest.Fault { return backendtest.Fault{Action: action} })
	if kept := decide("before", 10); kept != 0 {
		t.Errorf("%d kept of a key that is throttled", kept)
	}
	want := map[samplers.Outage]int{samplers.KeepLocal: 5, samplers.KeepAll: 20, samplers.DropAll: 0}[mode]
	if kept := decide("during", 20); kept != want {
		t.Errorf("%d kept during the outage, want %d", kept, want)
	}
	if st := s.Stats(); !st.Outage || st.Outages != 1 {
		t.Errorf("%+v: want an outage", st)
	}
	calls, began := counters.Calls("Increment"), time.Now()
	if decide("during", 1000); counters.Calls("Increment") != calls || time.Since(began) != 0 {
		t.Errorf("requests waited %v for the counters in an outage", time.Since(began))
	}
	if err := s.Flush(t.Context()); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("flush during the outage: error %v", err)
	}
	counters.SetHook(nil)
	time.Sleep(2 * time.Second)
	if st := s.Stats(); st.Outage {
		t.Errorf("%+v: want the outage to be over", st)
	}
	before := counters.Calls("Increment")
	if kept := decide("during", 20); action != backendtest.DropReply && kept != 5 {
		t.Errorf("%d kept after the outage, want 5", kept)
	}
	if counters.Calls("Increment") == before {
		t.Error("the counters are not asked after the outage")
	}
	time.Sleep(20 * time.Minute) // windows end, and are reported
	checkSums(t, s.Stats(), requests)
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	checkSums(t, s.Stats(), requests)
	total := int64(0)
	for _, op := range []string{"before", "during"} {
		for _, at := range []time.Time{time.Now(), time.Now().Add(-24 * time.Hour)} {
			n, err := s.Total(t.Context(), samplers.Key{Tenant: "t", Op: op}, at)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
	}
	if st := s.Stats(); total != st.Throttled || st.Lost+st.Unconfirmed != 0 {
		t.Errorf("totals of %d with %+v", total, st)
	}
}

// checkSums checks that every request is in the statistics, once.
func checkSums(t *testing.T, st samplers.Stats, requests int) {
	t.Helper()
	if sum := st.First + st.Tail + st.Local + st.Throttled; sum != int64(requests) {
		t.Errorf("%+v: %d requests, want %d", st, sum, requests)
	}
}

// TestConcurrent has goroutines that decide on many keys in tables that are too small, and
// checks that no request is counted twice or forgotten.
func TestConcurrent(t *testing.T) {
	clock := newFakeClock()
	counters := memory.NewCounters(&memory.CountersOptions{Now: clock.now})
	fleet := newFleet(t, 3, counters, &samplers.Options{FirstN: 2, Window: 10 * time.Second, Tail: 0.1, LocalBytes: 64 << 10, MaxOps: -1, Now: clock.now, Timeout: time.Minute})
	const workers = 8
	each := 20_000
	if allocRace {
		each = 5_000
	}
	var wg sync.WaitGroup
	var requests, kept [3]atomic.Int64
	var mu sync.Mutex
	beyond := make(map[samplers.Key]int64) // which mu protects
	for w := range workers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(7, uint64(w)))
			for range each {
				if rnd.IntN(10) == 0 {
					clock.advance(time.Millisecond)
				}
				i := rnd.IntN(3)
				k := samplers.Key{Tenant: fmt.Sprint(rnd.IntN(10)), Op: fmt.Sprint(int(rnd.ExpFloat64() * 1000))}
				d := fleet[i].Decide(t.Context(), k)
				if d.Keep {
					kept[i].Add(1)
				}
				requests[i].Add(1)
				if d.Reason == samplers.Throttled || d.Reason == samplers.Tail {
					mu.Lock()
					beyond[k]++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	closeAll(t, fleet)
	missing := int64(0)
	for k, n := range beyond {
		total, err := fleet[0].Total(t.Context(), k, clock.now())
		if err != nil {
			t.Fatal(err)
		}
		if total > n {
			t.Errorf("a total of %d for %v, of which only %d came beyond the first", total, k, n)
		}
		missing += n - total
	}
	for i, s := range fleet {
		st := s.Stats()
		checkSums(t, st, int(requests[i].Load()))
		if st.First+st.Tail+st.Local != kept[i].Load() {
			t.Errorf("%+v: %d were kept", st, kept[i].Load())
		}
		if st.Reported+st.Unconfirmed+st.Lost != st.Throttled+st.Tail {
			t.Errorf("%+v: reports do not add up", st)
		}
		if st.Evictions == 0 {
			t.Errorf("%+v: the table was large enough", st)
		}
		missing -= st.Lost
	}
	if missing != 0 {
		t.Errorf("%d more requests are missing in the totals than were lost", missing)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]samplers.Options{
		"Name":        {Name: string(make([]byte, 129))},
		"FirstN":      {FirstN: -1},
		"Window":      {Window: time.Millisecond},
		"Tail":        {Tail: 1.5},
		"MaxOps":      {MaxOps: -2},
		"OnOutage":    {OnOutage: 3},
		"Timeout":     {Timeout: time.Microsecond},
		"LocalBytes":  {LocalBytes: 1},
		"TotalPeriod": {TotalPeriod: time.Second},
	} {
		_, err := samplers.New(memory.NewCounters(nil), &o)
		if !errors.Is(err, driver.ErrInvalid) || !containsAll(err.Error(), "samplers: ", "Options."+name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestAfterClose decides, reads and closes again.
func TestAfterClose(t *testing.T) {
	s := newSampler(t, memory.NewCounters(nil), nil)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := s.Decide(t.Context(), samplers.Key{}); !d.Keep || d.Reason != samplers.Local {
		t.Errorf("%+v: want it kept by this process", d)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCancelled has a caller whose time is up: it is decided without the counters, which are
// not to blame.
func TestCancelled(t *testing.T) {
	s := newSampler(t, memory.NewCounters(nil), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 20 {
		if d := s.Decide(ctx, samplers.Key{Op: fmt.Sprint(i)}); !d.Keep || d.Reason != samplers.Local {
			t.Errorf("%+v: want it kept by this process", d)
		}
	}
	if st := s.Stats(); st.Outages != 0 {
		t.Errorf("%+v: want no outage", st)
	}
}

// TestRetry loses replies: a call that is repeated counts once.
func TestRetry(t *testing.T) {
	counters := backendtest.NewFaultyCounters(memory.NewCounters(nil), func(_ context.Context, c backendtest.Call) backendtest.Fault {
		if c.N%2 == 1 {
			return backendtest.Fault{Action: backendtest.DropReply}
		}
		return backendtest.Fault{}
	})
	s := newSampler(t, counters, &samplers.Options{Timeout: time.Minute})
	for i := range 10 {
		d := s.Decide(t.Context(), samplers.Key{})
		if want := i < 5; d.Keep != want || want && d.Seq != uint64(i+1) {
			t.Errorf("request %d: %+v", i+1, d)
		}
	}
}
