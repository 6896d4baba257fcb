package samplers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

// flakyCounters fail in all the ways in which counters may: calls are not made, are made and
// not answered, are made later, or are answered in part. They know the truth about
// windows.
type flakyCounters struct {
	driver.Counters
	now func() time.Time

	mu      sync.Mutex // protects what follows
	random  *rand.Rand
	odds    float64 // of a failure
	late    [][]driver.Increment
	windows map[string]*flakyWindow // by member
}

// flakyWindow is what was last counted of a key.
type flakyWindow struct {
	epoch uint64
	count int64
	end   time.Time
}

func (c *flakyCounters) setOdds(odds float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.odds = odds
}

func (c *flakyCounters) Increment(ctx context.Context, batch []driver.Increment) ([]driver.Count, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.late) > 0 && c.random.IntN(3) == 0 {
		if _, err := c.applyLocked(c.late[0]); err != nil {
			return nil, err
		}
		c.late = c.late[1:]
	}
	if c.random.Float64() >= c.odds {
		return c.applyLocked(batch)
	}
	switch c.random.IntN(4) {
	case 0: // does not arrive
	case 1:
		c.late = append(c.late, append([]driver.Increment(nil), batch...))
	case 2:
		_, _ = c.applyLocked(batch)
	case 3:
		made := c.random.IntN(len(batch))
		counts, err := c.applyLocked(batch[:made])
		if err != nil {
			return nil, err
		}
		return append(counts, make([]driver.Count, len(batch)-made)...), driver.ErrUnavailable
	}
	return nil, driver.ErrUnavailable
}

func (c *flakyCounters) applyLocked(batch []driver.Increment) ([]driver.Count, error) {
	counts, err := c.Counters.Increment(context.Background(), batch)
	for i, count := range counts {
		w := c.windows[batch[i].Key.Member]
		if w == nil || batch[i].Token == "" || count.Outcome != driver.Done {
			continue
		}
		if w.epoch != count.Epoch {
			*w = flakyWindow{epoch: count.Epoch, end: c.now().Add(count.Remaining)}
		}
		w.count = max(w.count, count.Count)
	}
	return counts, err
}

// window returns the epoch of a key's open window, and how many were counted in it.
func (c *flakyCounters) window(op string) (epoch uint64, count int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w := c.windows[op]; c.now().Before(w.end) {
		return w.epoch, w.count
	}
	return 0, 0
}

// TestFleetFaults has counters that often fail, and twice do not answer at all for a
// while. Whatever happens, no place of a window is taken twice, nothing is throttled
// before the first n of its window were counted, and no total is too high.
func TestFleetFaults(t *testing.T) {
	for _, odds := range []float64{0.02, 0.2, 0.5} {
		t.Run(fmt.Sprint(odds), func(t *testing.T) { testFleetFaults(t, odds) })
	}
}

func testFleetFaults(t *testing.T, odds float64) {
	const processes, keys = 3, 40
	requests := 100_000
	if allocRace {
		requests = 30_000
	}
	clock := newFakeClock()
	c := &flakyCounters{
		Counters: memory.NewCounters(&memory.CountersOptions{Now: clock.now}), now: clock.now,
		random: rand.New(rand.NewPCG(8, 0)), odds: odds, windows: make(map[string]*flakyWindow),
	}
	var ops [keys]string
	for i := range ops {
		ops[i] = fmt.Sprint("op", i)
		c.windows[ops[i]] = &flakyWindow{}
	}
	fleet := newFleet(t, processes, c, &samplers.Options{
		FirstN: fleetN, Window: 10 * time.Second, Tail: 0.25, Timeout: patience, Now: clock.now, Logger: quiet,
	})
	type place struct {
		op    int
		epoch uint64
		seq   uint64
	}
	taken, beyond := make(map[place]bool), make([]int64, keys)
	made, reasons := make([]int, processes), make(map[samplers.Reason]int)
	random := rand.New(rand.NewPCG(9, 0))
	for i := range requests {
		switch i {
		case requests / 3, requests * 2 / 3:
			c.setOdds(1)
		case requests/3 + 5000, requests*2/3 + 5000:
			c.setOdds(odds)
			for _, s := range fleet {
				for s.Stats().Outage {
					time.Sleep(10 * time.Millisecond)
				}
			}
		}
		clock.advance(time.Duration(random.IntN(int(20 * time.Millisecond))))
		op, process := min(int(random.ExpFloat64()*8), keys-1), random.IntN(processes)
		d := fleet[process].Decide(t.Context(), samplers.Key{Op: ops[op]})
		made[process]++
		reasons[d.Reason]++
		if !(d.Keep && (d.Reason == samplers.First || d.Reason == samplers.Local)) {
			beyond[op]++
		}
		epoch, count := c.window(ops[op])
		switch p := (place{op, epoch, d.Seq}); {
		case d.Reason == samplers.First:
			if !d.Keep || epoch == 0 || d.Seq < 1 || d.Seq > fleetN || taken[p] {
				t.Fatalf("request %d: %+v in window %d, taken: %t", i, d, epoch, taken[p])
			}
			taken[p] = true
		case d.Reason != samplers.Local && count < fleetN && d.Seq != 0:
			t.Fatalf("request %d: %+v with %d counted in window %d", i, d, count, epoch)
		case d.Reason == samplers.Throttled && count < fleetN:
			t.Fatalf("request %d: %+v with %d counted in window %d", i, d, count, epoch)
		}
	}
	c.setOdds(0)
	closeAll(t, fleet)
	reported, unconfirmed := int64(0), int64(0)
	for i, s := range fleet {
		st := s.Stats()
		checkSums(t, st, made[i])
		if st.Reported+st.Unconfirmed+st.Lost != st.Throttled+st.Tail || st.Lost != 0 {
			t.Errorf("%+v: reports do not add up", st)
		}
		reported, unconfirmed = reported+st.Reported, unconfirmed+st.Unconfirmed
	}
	totals, missing := int64(0), int64(0)
	for i, op := range ops {
		total, err := fleet[0].Total(t.Context(), samplers.Key{Op: op}, clock.now())
		if err != nil {
			t.Fatal(err)
		}
		if total > beyond[i] {
			t.Errorf("%s: a total of %d, want at most %d", op, total, beyond[i])
		}
		totals, missing = totals+total, missing+beyond[i]-total
	}
	if missing > unconfirmed || totals < reported {
		t.Errorf("%d requests in totals and %d missing, with %d reported and %d not confirmed", totals, missing, reported, unconfirmed)
	}
	if reasons[samplers.First] == 0 || reasons[samplers.Local] == 0 || reasons[samplers.Throttled] == 0 || reasons[samplers.Tail] == 0 {
		t.Errorf("%v: want some of each", reasons)
	}
	t.Logf("%v; %d requests not confirmed, %d missing in totals", reasons, unconfirmed, missing)
}

// TestCloseUnderLoad closes a sampler and reports what it owes while it is in use.
func TestCloseUnderLoad(t *testing.T) {
	for range 8 {
		counters := memory.NewCounters(nil)
		s := newSampler(t, counters, &samplers.Options{FirstN: fleetN, Window: 100 * time.Millisecond, Timeout: patience, Logger: quiet})
		var requests, kept atomic.Int64
		stop := make(chan struct{})
		var load sync.WaitGroup
		for worker := range 4 {
			load.Go(func() {
				random := rand.New(rand.NewPCG(10, uint64(worker)))
				for {
					select {
					case <-stop:
						return
					default:
					}
					if s.Decide(t.Context(), samplers.Key{Op: fmt.Sprint(random.IntN(20))}).Keep {
						kept.Add(1)
					}
					requests.Add(1)
				}
			})
		}
		for requests.Load() < 1000 {
			if err := s.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		for at := requests.Load(); requests.Load() < at+100; {
			time.Sleep(time.Millisecond)
		}
		close(stop)
		load.Wait()
		st := s.Stats()
		checkSums(t, st, int(requests.Load()))
		if st.First+st.Local != kept.Load() || st.Unconfirmed+st.Lost != 0 {
			t.Errorf("%+v: %d were kept", st, kept.Load())
		}
	}
}
