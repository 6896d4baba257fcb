package samplers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
	"github.com/graphcache/graphcache/samplers"
)

var prefixes atomic.Int64

// openCounters returns counters of several backends, which stand for as many machines,
// in a part of the server that is the test's own.
func openCounters(t testing.TB, addrs []string, backends int, batchTimeout time.Duration) []driver.Counters {
	t.Helper()
	prefix := fmt.Sprint("test:", time.Now().UnixNano(), ":", prefixes.Add(1), ":")
	counters := make([]driver.Counters, backends)
	for i := range counters {
		b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{Addrs: addrs}, &redis.Options{
			Prefix: prefix, BatchTimeout: batchTimeout, Logger: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close(context.Background()) })
		counters[i] = b.Counters()
	}
	return counters
}

// TestFleetRedis is TestFleet with a hundredth of the keys, a real server, and processes
// that decide at the same time. With -samplers.full there are more requests.
func TestFleetRedis(t *testing.T) {
	addrs := redistest.Addrs(t)
	z := newTraffic(500, 10, 1.1)
	for _, test := range []struct{ requests, processes int }{
		{1e5, 1}, {1e5, 8}, {1e5, 64}, {1e5, 256},
		{1e6, 1}, {1e6, 8},
	} {
		if !*full && test.requests > 1e5 || allocRace && test.processes > 8 {
			continue
		}
		t.Run(fmt.Sprintf("%.0e requests/%d processes", float64(test.requests), test.processes), func(t *testing.T) {
			began, clock := time.Now(), newFakeClock() // which stands still: the server's does not
			var counted []*countedCounters
			for _, c := range openCounters(t, addrs, 2, patience) {
				counted = append(counted, &countedCounters{Counters: c})
			}
			var fleet []*samplers.Sampler
			for i := range test.processes {
				fleet = append(fleet, newSampler(t, counted[i%len(counted)], &samplers.Options{
					FirstN: fleetN, Window: fleetWindow, Timeout: patience, LocalBytes: 1 << 20, Now: clock.now, Logger: quiet,
				}))
			}
			kept, all := hammer(t, fleet, z, 32, test.requests, 1)
			checkOneWindow(t, kept, all)
			calls, took := counted[0].decisions.Load()+counted[1].decisions.Load(), time.Since(began)
			closeAll(t, fleet)
			if test.processes == 8 {
				model := &fleetModel{kept: loadAll(kept), all: loadAll(all)}
				fleetResult{fleetModel: model, fleet: fleet, clock: clock}.checkTotals(t, z)
			}
			t.Logf("%d kept, %.1f calls for 1,000 requests, %.1f reports; %v, %v with the reports", sum(loadAll(kept)),
				float64(calls)/float64(test.requests)*1000,
				float64(counted[0].reports.Load()+counted[1].reports.Load())/float64(test.requests)*1000,
				took.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
		})
	}
}

// asked is what came of the call that a decision made.
type asked struct {
	calls int
	count driver.Count
}

type askedKey struct{}

// observedCounters tell those who ask, by their context, what they are answered, and note
// when windows end at the latest.
type observedCounters struct {
	driver.Counters
	windows *sync.Map // of *observedWindow, by driver.CounterKey
}

// observedWindow is the last window of a counter.
type observedWindow struct {
	mu    sync.Mutex // protects epoch
	epoch uint64
	end   atomic.Int64 // it is over by then, in ns since the test began
}

func (c *observedCounters) Increment(ctx context.Context, batch []driver.Increment) ([]driver.Count, error) {
	counts, err := c.Counters.Increment(ctx, batch)
	a, ok := ctx.Value(askedKey{}).(*asked)
	if !ok || len(counts) == 0 || counts[0].Outcome != driver.Done {
		return counts, err
	}
	a.calls++
	a.count = counts[0]
	w := c.window(batch[0].Key.Member)
	// A server says what is left in whole milliseconds, and keeps a key until the last
	// of them is over.
	end := sinceStart() + int64(counts[0].Remaining+2*time.Millisecond)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.epoch == counts[0].Epoch {
		end = min(end, w.end.Load())
	} else if end < w.end.Load() {
		return counts, err // an answer of a window before
	}
	w.epoch = counts[0].Epoch
	w.end.Store(end)
	return counts, err
}

func (c *observedCounters) window(member string) *observedWindow {
	w, _ := c.windows.LoadOrStore(member, new(observedWindow))
	return w.(*observedWindow)
}

var started = time.Now()

func sinceStart() int64 { return int64(time.Since(started)) }

// windowsSeen are the windows of a test, with what was decided in them.
type windowsSeen struct {
	mu       sync.Mutex // protects what follows
	windows  map[seenKey]*seenWindow
	late     []time.Duration // after the end of its window a request was dropped because of it
	requests int
}

type seenKey struct {
	op    int
	epoch uint64
}

type seenWindow struct {
	kept map[uint64]bool // by their places
	most int64           // the highest count
}

// drop takes note of a request that was dropped without asking, so long after the end of
// its window.
func (w *windowsSeen) drop(after int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	if after > 0 {
		w.late = append(w.late, time.Duration(after))
	}
}

// answer takes note of a request that was decided by an answer.
func (w *windowsSeen) answer(t *testing.T, op int, d samplers.Decision, count driver.Count) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests++
	if first := count.Count <= fleetN; d.Keep != first {
		t.Errorf("%+v with an answer of %+v", d, count)
	}
	in := w.windows[seenKey{op, count.Epoch}]
	if in == nil {
		in = &seenWindow{kept: make(map[uint64]bool)}
		w.windows[seenKey{op, count.Epoch}] = in
	}
	in.most = max(in.most, count.Count)
	if d.Keep {
		if in.kept[d.Seq] {
			t.Errorf("place %d of a window is kept twice", d.Seq)
		}
		in.kept[d.Seq] = true
	}
}

// check checks that the first n of each window were kept, and returns how many that are.
func (w *windowsSeen) check(t *testing.T) (kept int) {
	t.Helper()
	for k, in := range w.windows {
		if kept += len(in.kept); len(in.kept) != int(min(in.most, fleetN)) {
			t.Errorf("a window of operation %d: %d are kept of %d that were counted", k.op, len(in.kept), in.most)
		}
	}
	return kept
}

// TestRedisWindows has windows that a real server ends, under load: of each window the
// first n are kept, and nothing is dropped because of a window that is over.
func TestRedisWindows(t *testing.T) {
	const (
		length  = 300 * time.Millisecond
		windows = 12
		ops     = 16
		workers = 8
	)
	observed := &observedCounters{windows: new(sync.Map)}
	var fleet []*samplers.Sampler
	for _, c := range openCounters(t, redistest.Addrs(t), 4, patience) {
		fleet = append(fleet, newSampler(t, &observedCounters{c, observed.windows}, &samplers.Options{
			FirstN: fleetN, Window: length, Timeout: patience, Logger: quiet,
		}))
	}
	seen := windowsSeen{windows: make(map[seenKey]*seenWindow)}
	request := func(random *rand.Rand) {
		// The first operations are hot, the last ones have less than a request a window.
		op := min(int(random.ExpFloat64()*2), ops-1)
		if op > ops/2 || random.IntN(1000) == 0 {
			time.Sleep(time.Duration(random.IntN(int(2 * length / windows))))
		}
		a := new(asked)
		ctx := context.WithValue(t.Context(), askedKey{}, a)
		member, at := fmt.Sprint("op", op), sinceStart()
		d := fleet[random.IntN(len(fleet))].Decide(ctx, samplers.Key{Op: member})
		switch {
		case a.calls > 0:
			seen.answer(t, op, d, a.count)
		case d.Keep:
			t.Errorf("%+v without an answer", d)
		default:
			seen.drop(at - observed.window(member).end.Load())
		}
	}
	var wg sync.WaitGroup
	over := sinceStart() + int64(windows*length)
	for worker := range workers {
		wg.Go(func() {
			for random := rand.New(rand.NewPCG(4, uint64(worker))); sinceStart() < over; {
				request(random)
			}
		})
	}
	wg.Wait()
	kept := seen.check(t)
	if len(seen.windows) < windows*ops/4 {
		t.Errorf("only %d windows", len(seen.windows))
	}
	time.Sleep(50 * time.Millisecond) // the clock's lag is known when it has ticked again
	lag := time.Duration(0)
	for _, s := range fleet {
		st := s.Stats()
		if lag = max(lag, st.ClockLag); st.Local != 0 {
			t.Errorf("%+v: want no decision without the counters", st)
		}
	}
	worst := slices.Max(append(seen.late, 0))
	// The clock that is read rarely is not trusted in a window's last 100 ms.
	if worst > max(lag-80*time.Millisecond, 20*time.Millisecond) {
		t.Errorf("a request was dropped %v after its window, with a clock that lags %v", worst, lag)
	}
	t.Logf("%d requests, %d kept in %d windows; %d dropped after the end of theirs, up to %v; a clock lagged %v",
		seen.requests, kept, len(seen.windows), len(seen.late), worst, lag)
}

// cutCounters cuts the connections while calls are under way, and never in a call's second
// attempt.
type cutCounters struct {
	driver.Counters
	proxy *redistest.Proxy

	mu       sync.Mutex // protects what follows; held while connections are cut
	failed   map[string]bool
	answered int // since the last cut
	cuts     int
	retried  int
}

func (c *cutCounters) Increment(ctx context.Context, batch []driver.Increment) ([]driver.Count, error) {
	c.cut()
	counts, err := c.Counters.Increment(ctx, batch)
	c.mu.Lock()
	defer c.mu.Unlock()
	token := batch[0].Token
	if err != nil {
		c.failed[token] = true
		return counts, err
	}
	c.answered++
	if c.failed[token] {
		c.retried++
		delete(c.failed, token)
	}
	return counts, nil
}

// cut cuts the connections, if all calls that have failed were answered.
func (c *cutCounters) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failed) > 0 || c.answered < 300 {
		return
	}
	c.answered = 0
	c.cuts++
	c.proxy.Cut()
}

// TestRedisCut loses connections under load, with answers on their way: a call that is
// repeated counts once.
func TestRedisCut(t *testing.T) {
	proxy := redistest.NewProxy(t, redistest.Start(t).Addr)
	c := &cutCounters{Counters: openCounters(t, []string{proxy.Addr}, 1, patience)[0], proxy: proxy, failed: make(map[string]bool)}
	clock := newFakeClock()
	fleet := newFleet(t, 4, c, &samplers.Options{FirstN: fleetN, Timeout: patience, Now: clock.now, Logger: quiet, TotalPeriod: -1})
	kept, all := hammer(t, fleet, newTraffic(500, 10, 1.1), 32, 100_000, 5)
	checkOneWindow(t, kept, all)
	for _, s := range fleet {
		if st := s.Stats(); st.Local+st.Outages != 0 {
			t.Errorf("%+v: want no decision without the counters", st)
		}
	}
	if c.retried == 0 {
		t.Error("no call was repeated")
	}
	t.Logf("%d cuts, %d calls repeated", c.cuts, c.retried)
}
