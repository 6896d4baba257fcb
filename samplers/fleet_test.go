package samplers_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/samplers"
)

var full = flag.Bool("samplers.full", false, "run the proofs at full length, which takes an hour or two")

const (
	fleetN      = 5
	fleetWindow = 15 * time.Minute
	// patience is a time-out that does not occur, however busy the machine is.
	patience = time.Minute
)

// fleetRun is a trace of requests that are spread evenly over some windows, and at random
// over the processes of a fleet.
type fleetRun struct {
	traffic   *traffic
	requests  int
	processes int
	windows   float64
	phases    bool // the processes' clocks differ
	// localBytes is that of each process: enough for the keys it is to meet, if 0.
	localBytes int
	seed       uint64
}

// fleetResult is what became of it.
type fleetResult struct {
	*fleetModel
	counted *countedCounters
	clock   *fakeClock
	fleet   []*samplers.Sampler
}

// run has the requests decided one after the other.
func (r fleetRun) run(t testing.TB) fleetResult {
	t.Helper()
	clock, random := newFakeClock(), rand.NewPCG(r.seed, 0)
	counted := &countedCounters{Counters: memory.NewCounters(&memory.CountersOptions{
		Now: clock.now, MaxCounters: 1 << 30, MaxGroups: 1 << 30,
	})}
	localBytes := cmp.Or(r.localBytes, r.enough())
	var fleet []*samplers.Sampler
	for range r.processes {
		o := &samplers.Options{FirstN: fleetN, Window: fleetWindow, Timeout: patience, Now: clock.now, LocalBytes: localBytes}
		if r.phases {
			phase := time.Duration(random.Uint64() % uint64(time.Hour))
			o.Now = func() time.Time { return clock.now().Add(phase) }
		}
		fleet = append(fleet, newSampler(t, counted, o))
	}
	model := newFleetModel(len(r.traffic.keys), fleetN, int64(fleetWindow))
	start, span := clock.ns.Load(), r.windows*float64(fleetWindow)
	for i := range r.requests {
		now := start + int64(span*(float64(i)/float64(r.requests)))
		clock.ns.Store(now)
		key, process := r.traffic.draw(random), 0
		if r.processes > 1 {
			process = int(random.Uint64() >> 32 * uint64(r.processes) >> 32)
		}
		model.judge(key, now, fleet[process].Decide(context.Background(), r.traffic.keys[key]).Keep)
	}
	return fleetResult{model, counted, clock, fleet}
}

// enough returns memory for the keys that a process meets in a window, at three quarters
// of the table, and for their names.
func (r fleetRun) enough() int {
	met := 0.0
	for _, share := range r.traffic.shares {
		met -= math.Expm1(-share * float64(r.requests) / r.windows / float64(r.processes))
	}
	tenants := len(r.traffic.keys) / r.traffic.each
	return int(max(met*28/0.75, float64(tenants+r.traffic.each)*90*8)) + 1<<20
}

// check checks what holds for every fleet: all of the first n are kept, and no more.
func (r fleetResult) check(t *testing.T) {
	t.Helper()
	kept := sum(r.kept)
	if kept != r.exact || r.dropped != 0 || r.over != 0 {
		t.Errorf("kept/exact is %d/%d, with %d of the first %d dropped and %d kept beyond: want 1, 0 and 0",
			kept, r.exact, r.dropped, r.n, r.over)
	}
	first := int64(0)
	for _, s := range r.fleet {
		st := s.Stats()
		if first += st.First; st.Outages+st.Local+st.Other != 0 {
			t.Errorf("%+v: want no outage, and no other operations", st)
		}
	}
	if first != kept {
		t.Errorf("the samplers say that %d were kept, the model %d", first, kept)
	}
}

// lost returns the requests that were not reported, and the keys that lost their place.
func (r fleetResult) lost() (lost, evictions int64) {
	for _, s := range r.fleet {
		st := s.Stats()
		lost += st.Lost + st.Unconfirmed
		evictions += st.Evictions
	}
	return lost, evictions
}

// TestFleet compares every decision on a window of Zipf's traffic with a model that sees
// the whole fleet, and the calls with those of a simulation in which each process knows
// when its keys' windows end. It runs two settings of 10^7 requests, and with
// -samplers.full all, up to 10^9.
func TestFleet(t *testing.T) {
	type column struct {
		processes int
		calls     float64 // a thousand requests, in the simulation
	}
	tests := []struct {
		requests int
		columns  []column
	}{
		{1e7, []column{{1, 114}, {8, 155}, {64, 259}, {256, 362}}},
		{1e8, []column{{1, 27}, {8, 46}, {64, 108}, {256, 184}}},
		{1e9, []column{{1, 3.0}, {8, 6.5}, {64, 27}, {256, 64}}},
	}
	small := allocRace || testing.Short()
	z := newTraffic(10_000, 50, 1.1)
	if small {
		z = newTraffic(1000, 50, 1.1)
	}
	for _, test := range tests {
		for _, c := range test.columns {
			requests := test.requests
			switch {
			case !*full && (test.requests > 1e7 || c.processes > 8):
				continue
			case small:
				requests = 1e5
			}
			t.Run(fmt.Sprintf("%.0e requests/%d processes", float64(test.requests), c.processes), func(t *testing.T) {
				if requests <= 1e7 {
					t.Parallel()
				}
				began := time.Now()
				r := fleetRun{traffic: z, requests: requests, processes: c.processes, windows: 1, seed: 1}.run(t)
				r.check(t)
				decided := time.Since(began)
				calls := float64(r.counted.decisions.Load()) / float64(requests) * 1000
				if requests == test.requests && calls > 1.05*c.calls {
					t.Errorf("%.1f calls for 1,000 requests, want at most 1.05 * %v", calls, c.calls)
				}
				closeAll(t, r.fleet)
				lost, evictions := r.lost()
				t.Logf("%d requests: %d kept, %.2f calls for 1,000 (%.2f kept), %.2f reports (%d requests lost in them), %d evictions; %v",
					requests, r.exact, calls, float64(r.exact)/float64(requests)*1000,
					float64(r.counted.reports.Load())/float64(requests)*1000, lost, evictions, decided.Round(time.Millisecond))
				if evictions > int64(requests)/1000 {
					t.Errorf("%d evictions: the tables are too small to tell", evictions)
				}
			})
		}
	}
}

// TestFleetWindows crosses the ends of windows, with clocks that agree and that do not,
// and adds up the totals afterwards.
func TestFleetWindows(t *testing.T) {
	for name, r := range map[string]fleetRun{
		"one clock":   {processes: 8},
		"phases":      {processes: 8, phases: true},
		"many phases": {processes: 64, phases: true},
		"overflow":    {processes: 8, phases: true, localBytes: 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r.traffic, r.requests, r.windows, r.seed = newTraffic(1000, 20, 1.1), 1_000_000, 3.3, 2
			if allocRace || testing.Short() {
				r.requests = 200_000
				if r.localBytes > 0 {
					r.requests = 600_000 // or nothing overflows
				}
			}
			got := r.run(t)
			got.check(t)
			if got.exact < int64(len(r.traffic.keys)) {
				t.Fatalf("%d of %d keys' requests are to be kept: no test of windows", got.exact, len(r.traffic.keys))
			}
			closeAll(t, got.fleet)
			lost, evictions := got.lost()
			if r.localBytes == 0 {
				got.checkTotals(t, r.traffic)
				if lost+evictions != 0 {
					t.Errorf("%d requests were not reported, %d keys evicted", lost, evictions)
				}
			} else if evictions == 0 {
				t.Error("the table does not overflow")
			}
			t.Logf("%d kept, %d calls, %d reports, %d requests lost in them, %d evictions", got.exact,
				got.counted.decisions.Load(), got.counted.reports.Load(), lost, evictions)
		})
	}
}

// checkTotals checks that each request of each key was kept or is in a total.
func (r fleetResult) checkTotals(t *testing.T, z *traffic) {
	t.Helper()
	wrong := 0
	for i, k := range z.keys {
		total := r.kept[i]
		for _, day := range []int{-1, 0, 1} {
			beyond, err := r.fleet[0].Total(t.Context(), k, r.clock.now().AddDate(0, 0, day))
			if err != nil {
				t.Fatal(err)
			}
			total += beyond
		}
		if total != r.all[i] {
			if wrong++; wrong <= 5 {
				t.Errorf("%v: %d kept or in totals, want %d", k, total, r.all[i])
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d keys have wrong totals", wrong, len(z.keys))
	}
}

// TestFleetConcurrent has all processes decide at the same time, in one window: how many
// requests of a key are kept does not depend on who comes first.
func TestFleetConcurrent(t *testing.T) {
	clock := newFakeClock()
	counters := memory.NewCounters(&memory.CountersOptions{Now: clock.now})
	z, requests := newTraffic(200, 10, 1.1), 400_000
	if allocRace {
		requests = 100_000
	}
	fleet := newFleet(t, 6, counters, &samplers.Options{FirstN: fleetN, Timeout: patience, Now: clock.now})
	kept, all := hammer(t, fleet, z, 8, requests, 3)
	checkOneWindow(t, kept, all)
	closeAll(t, fleet)
	model := &fleetModel{kept: loadAll(kept), all: loadAll(all)}
	fleetResult{fleetModel: model, fleet: fleet, clock: clock}.checkTotals(t, z)
}

// TestHotKey has goroutines decide on one key, of which none is forgotten.
func TestHotKey(t *testing.T) {
	s := newSampler(t, memory.NewCounters(nil), &samplers.Options{FirstN: fleetN, Timeout: patience})
	requests := 2_000_000
	if allocRace {
		requests = 200_000
	}
	kept, all := hammer(t, []*samplers.Sampler{s}, newTraffic(1, 1, 1), 8, requests, 7)
	checkOneWindow(t, kept, all)
	checkSums(t, s.Stats(), requests)
}

// hammer has goroutines make requests of processes that each of them picks at random, and
// returns for each key how many were kept, and made.
func hammer(t testing.TB, fleet []*samplers.Sampler, z *traffic, workers, requests int, seed uint64) (kept, all []atomic.Int64) {
	kept, all = make([]atomic.Int64, len(z.keys)), make([]atomic.Int64, len(z.keys))
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			random := rand.NewPCG(seed, uint64(w))
			for range requests / workers {
				key := z.draw(random)
				all[key].Add(1)
				if fleet[random.Uint64()%uint64(len(fleet))].Decide(t.Context(), z.keys[key]).Keep {
					kept[key].Add(1)
				}
			}
		})
	}
	wg.Wait()
	return kept, all
}

func loadAll(from []atomic.Int64) []int64 {
	all := make([]int64, len(from))
	for i := range from {
		all[i] = from[i].Load()
	}
	return all
}

// checkOneWindow checks that the first n of each key were kept, and no more.
func checkOneWindow(t *testing.T, kept, all []atomic.Int64) {
	t.Helper()
	over, dropped, exact := int64(0), int64(0), int64(0)
	for i := range all {
		want := min(all[i].Load(), fleetN)
		exact += want
		over += max(kept[i].Load()-want, 0)
		dropped += max(want-kept[i].Load(), 0)
	}
	if over != 0 || dropped != 0 {
		t.Errorf("of %d to be kept %d were dropped, and %d were kept beyond", exact, dropped, over)
	}
}
