package redis_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/lincheck"
	"github.com/graphcache/graphcache/internal/redistest"
)

// These tests let several graphs, each with a client of its own as if they were processes,
// work on one store and one Redis, and check that what they read is linearizable.

var (
	linearTime  = flag.Duration("linear.time", 0, "how long each of the tests with faults runs at least, instead of a few seconds")
	linearReads = flag.Int("linear.reads", 40_000, "how many reads the long test checks")
)

// linearGraphs is how many graphs there are.
const linearGraphs = 4

var quiet = slog.New(slog.DiscardHandler)

// noLog keeps go-redis from writing a line for each connection that is refused. It is set
// before any test begins.
type noLog struct{}

func (noLog) Printf(context.Context, string, ...any) {}

var _ = func() bool { goredis.SetLogger(noLog{}); return true }()

// linearOptions are short, so that what waits for a time-out is seen within seconds.
func linearOptions() graphcache.Options {
	return graphcache.Options{
		Logger: quiet, TTL: time.Minute,
		ReadTimeout: 100 * time.Millisecond, LoadTimeout: 3 * time.Second, LeaseTTL: 3200 * time.Millisecond,
		HoldTimeout: 250 * time.Millisecond, WriteTimeout: time.Second, HoldTTL: 3500 * time.Millisecond,
		LookPeriod: linearLook, WhenCacheDown: graphcache.Fail,
	}
}

const linearLook = 200 * time.Millisecond

// linearBackends opens a backend for each graph, as what connects it says.
func linearBackends(t *testing.T, connect func(i int) goredis.UniversalOptions) []*redis.Backend {
	t.Helper()
	var all []*redis.Backend
	for i := range linearGraphs {
		options := connect(i)
		b, err := redis.OpenUniversal(t.Context(), &options, &redis.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close(t.Context()) })
		all = append(all, b)
	}
	return all
}

func linearServer(t *testing.T, addrs ...string) []*redis.Backend {
	t.Helper()
	return linearBackends(t, func(int) goredis.UniversalOptions { return goredis.UniversalOptions{Addrs: addrs} })
}

// linearConfig is that of graphs on the backends and one store in memory, whose calls
// the hook disturbs.
func linearConfig(t *testing.T, backends []*redis.Backend, hook backendtest.Hook) lincheck.Config {
	t.Helper()
	cfg := lincheck.Config{
		Store:   backendtest.NewFaultyStore(memory.NewStore(nil), hook),
		Options: linearOptions(),
		Dir:     t.TempDir(),
		Seed:    rand.Uint64(),
		Logf:    t.Logf,
	}
	for _, b := range backends {
		cfg.Caches = append(cfg.Caches, b.Cache())
	}
	return cfg
}

// jitter makes a few calls of the store take a moment, before they take effect or after,
// so that they interleave in every order.
func jitter(context.Context, backendtest.Call) (fault backendtest.Fault) {
	switch rand.IntN(50) {
	case 0:
		fault.Delay = rand.N(2 * time.Millisecond)
	case 1:
		fault.After = func(context.Context) { time.Sleep(rand.N(2 * time.Millisecond)) }
	default:
		runtime.Gosched()
	}
	return fault
}

// slowJitter is jitter of which some takes so long, writes above all, that servers come
// and go meanwhile.
func slowJitter(ctx context.Context, call backendtest.Call) backendtest.Fault {
	fault := jitter(ctx, call)
	often := 200
	if call.Method == "Write" {
		often = 10
	}
	if rand.IntN(often) == 0 {
		fault.Delay = rand.N(300 * time.Millisecond)
	}
	return fault
}

// TestLinearizable checks what is read while nothing fails.
func TestLinearizable(t *testing.T) {
	for _, tt := range []struct {
		name       string
		operations int
		backends   func(t *testing.T) []*redis.Backend
	}{
		{"standalone", 75_000, func(t *testing.T) []*redis.Backend { return linearServer(t, redistest.Start(t).Addr) }},
		{"Cluster", 30_000, func(t *testing.T) []*redis.Backend {
			return linearServer(t, redistest.StartCluster(t, 3, 0).Addrs()...)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := linearConfig(t, tt.backends(t), jitter)
			cfg.Operations = tt.operations
			cfg.Clients, cfg.Cells, cfg.RoundOperations = 24, 6, 500
			report := lincheck.Run(t.Context(), cfg)
			t.Logf("seed %d: %v", cfg.Seed, report)
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			if n := report.Operations(); n < int64(tt.operations) {
				t.Errorf("only %d operations were checked", n)
			}
			if report.Hits < int64(tt.operations)/4 || report.Misses == 0 || report.Joins == 0 {
				t.Errorf("%d hits, %d misses and %d joins: not all ways to an answer were tried", report.Hits, report.Misses, report.Joins)
			}
		})
	}
}

// TestLinearizableLong checks very many reads, each less closely.
func TestLinearizableLong(t *testing.T) {
	cfg := linearConfig(t, linearServer(t, redistest.Start(t).Addr), jitter)
	cfg.Operations, cfg.Clients, cfg.Cells, cfg.Writes = *linearReads, 32, 8, 0.05
	report := lincheck.Soak(t.Context(), cfg)
	t.Logf("seed %d: %v", cfg.Seed, report)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.Reads < int64(*linearReads) || report.Writes == 0 {
		t.Errorf("only %d reads and %d writes were made", report.Reads, report.Writes)
	}
}

// The controls: what is not linearizable must be found out on the same servers.

const asideKeys = 50

// aside is what is commonly built: a reader that misses loads from the store and sets
// what it got; a writer writes the store and then deletes the key. A reader that has
// loaded before the write and sets after the deletion leaves the old value there.
type aside struct {
	cache goredis.UniversalClient
	mu    sync.Mutex
	store [asideKeys]int64 // protected by mu
}

func (a *aside) load(key int) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.store[key]
}

func (a *aside) get(ctx context.Context, _, key int) (int64, error) {
	name := fmt.Sprint("aside:", key)
	value, err := a.cache.Get(ctx, name).Int64()
	if err != goredis.Nil {
		return value, err
	}
	value = a.load(key)
	time.Sleep(5 * time.Millisecond)
	return value, a.cache.Set(ctx, name, value, 0).Err()
}

func (a *aside) put(ctx context.Context, _, key int, value int64) error {
	a.mu.Lock()
	a.store[key] = value
	a.mu.Unlock()
	return a.cache.Del(ctx, fmt.Sprint("aside:", key)).Err()
}

func TestLinearizableFindsCacheAside(t *testing.T) {
	a := &aside{cache: open(t, []string{redistest.Start(t).Addr}, redis.Options{}).Client()}
	report := lincheck.RunRegisters(t.Context(), lincheck.Config{
		Operations: 100_000, // it stops at the first
		Writes:     0.5, RoundOperations: 100, Dir: t.TempDir(),
	}, lincheck.Registers{
		Keys: asideKeys, Get: a.get, Put: a.put,
		Stored: func(context.Context) ([]int64, error) { return a.store[:], nil },
	})
	foundOut(t, report)
}

// noHolds is a cache that confirms holds and does not place them.
type noHolds struct{ driver.Cache }

func (noHolds) Hold(_ context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	return slices.Repeat([]driver.Outcome{driver.Done}, len(holds)), nil
}

func TestLinearizableFindsMissingHolds(t *testing.T) {
	cfg := linearConfig(t, linearServer(t, redistest.Start(t).Addr), jitter)
	for i, c := range cfg.Caches {
		cfg.Caches[i] = noHolds{c}
	}
	cfg.Cells, cfg.Operations, cfg.Writes = 1, 500_000, 0.3 // it stops at the first
	foundOut(t, lincheck.Run(t.Context(), cfg))
}

func foundOut(t *testing.T, report *lincheck.Report) {
	t.Helper()
	t.Log(report)
	if report.Violations == 0 {
		t.Fatal("no violation was found")
	}
	t.Log(report.Details[0])
}

// linearLine says in one line what came of a test, and what the backends did.
func linearLine(r *lincheck.Report, backends []*redis.Backend) string {
	var s redis.Stats
	for _, b := range backends {
		one := b.Stats()
		s.Batches += one.Batches
		s.Calls += one.Calls
		s.FailedBatches += one.FailedBatches
		s.RejectedCalls += one.RejectedCalls
		s.Outages += one.Outages
		s.AbandonedCalls += one.AbandonedCalls
		s.ScriptLoads += one.ScriptLoads
		s.Rewinds += one.Rewinds
		s.Corrupt += one.Corrupt
	}
	return fmt.Sprintf("%v: %d reads (%d failed), %d writes, %d refused, %d ambiguous; %d faults; "+
		"%d violations, %d stale reads, %d of them backward, the longest for %v; "+
		"%d hits, %d misses, %d holds lost, %d abandoned, %d cache errors; backends %s",
		r.Elapsed.Round(time.Millisecond), r.Reads, r.FailedReads, r.Writes, r.RefusedWrites, r.AmbiguousWrites, r.Faults,
		r.Violations, r.StaleReads, r.BackwardReads, r.LongestStale.Round(time.Millisecond),
		r.Hits, r.Misses, r.LostHolds, r.AbandonedHolds, r.CacheErrors,
		strings.Trim(fmt.Sprintf("%+v", s), "{}"))
}

// linearSum adds up a count of the backends.
func linearSum(backends []*redis.Backend, count func(redis.Stats) int64) (sum int64) {
	for _, b := range backends {
		sum += count(b.Stats())
	}
	return sum
}

// pause waits for d or until ctx ends, which is the error.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// between returns a random duration.
func between(low, high time.Duration) time.Duration { return low + rand.N(high-low) }

// again does something again and again with pauses of between low and high until ctx ends.
func again(low, high time.Duration, do func(ctx context.Context, faults *atomic.Int64) error) func(context.Context, *atomic.Int64) error {
	return func(ctx context.Context, faults *atomic.Int64) error {
		for {
			if err := pause(ctx, between(low, high)); err != nil {
				return nil
			}
			if err := do(ctx, faults); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		}
	}
}
