package lincheck_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/lincheck"
)

// jitter makes calls of a backend take a random while, before they take effect and
// after, so that they interleave in every order.
func jitter(context.Context, backendtest.Call) backendtest.Fault {
	fault := backendtest.Fault{After: func(context.Context) { yield() }}
	switch rand.IntN(60) {
	case 0:
		fault.Delay = time.Duration(rand.IntN(2000)) * time.Microsecond
	case 1, 2:
		fault.Delay = time.Duration(rand.IntN(200)) * time.Microsecond
	default:
		yield()
	}
	return fault
}

// yield lets others run, a few times.
func yield() {
	for range rand.IntN(4) {
		runtime.Gosched()
	}
}

// config returns a config of four graphs on one cache and one store in memory.
func config(t *testing.T, cache driver.Cache) lincheck.Config {
	t.Helper()
	return lincheck.Config{
		Caches: slices.Repeat([]driver.Cache{cache}, 4),
		Store:  backendtest.NewFaultyStore(memory.NewStore(nil), jitter),
		Dir:    t.TempDir(),
		Logf:   t.Logf,
	}
}

var checks = []struct {
	name string
	run  func(context.Context, lincheck.Config) *lincheck.Report
}{{"Run", lincheck.Run}, {"Soak", lincheck.Soak}}

func TestLinearizable(t *testing.T) {
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			cfg := config(t, backendtest.NewFaultyCache(memory.NewCache(nil), jitter))
			cfg.Operations = 20_000
			report := check.run(t.Context(), cfg)
			t.Log(report)
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			if n := report.Operations(); n < 20_000 {
				t.Errorf("only %d operations were checked", n)
			}
			if report.Hits < 5_000 || report.Misses < 1_000 || report.Joins == 0 {
				t.Errorf("%d hits, %d misses and %d joins: not all ways to an answer were tried", report.Hits, report.Misses, report.Joins)
			}
		})
	}
}

// outage makes the calls of cache and store fail in all ways for a moment, again and
// again. Some writes of the store are applied when their writers have long given up.
type outage struct {
	faults atomic.Pointer[atomic.Int64] // nil between the outages
}

func (o *outage) hook(ctx context.Context, call backendtest.Call) backendtest.Fault {
	fault := jitter(ctx, call)
	if faults := o.faults.Load(); faults != nil && rand.IntN(8) == 0 {
		faults.Add(1)
		actions := []backendtest.Action{backendtest.Fail, backendtest.DropReply, backendtest.Hang}
		if call.Method == "Write" {
			actions = append(actions, backendtest.Late, backendtest.Late)
		}
		until := make(chan struct{})
		time.AfterFunc(rand.N(1500*time.Millisecond), func() { close(until) })
		fault.Action, fault.Until = actions[rand.IntN(len(actions))], until
	}
	return fault
}

func (o *outage) disturb(ctx context.Context, faults *atomic.Int64) error {
	for on := false; ; on = !on {
		o.faults.Store(nil)
		if on {
			o.faults.Store(faults)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// TestOutages checks that writes of unknown outcome are no violations, and that what is
// read meanwhile is none either.
func TestOutages(t *testing.T) {
	t.Parallel()
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			o := new(outage)
			cfg := config(t, backendtest.NewFaultyCache(memory.NewCache(nil), o.hook))
			cfg.Store = backendtest.NewFaultyStore(memory.NewStore(nil), o.hook)
			cfg.Options = graphcache.Options{
				ReadTimeout: 20 * time.Millisecond, HoldTimeout: 50 * time.Millisecond,
				WriteTimeout: 100 * time.Millisecond, HoldTTL: 2200 * time.Millisecond,
				LoadTimeout: 200 * time.Millisecond, LeaseTTL: 300 * time.Millisecond,
				LookPeriod: 200 * time.Millisecond, WhenCacheDown: graphcache.Fail,
				Logger: slog.New(slog.DiscardHandler),
			}
			cfg.Cells, cfg.Duration, cfg.Disturb = 12, 3*time.Second, o.disturb
			cfg.RoundOperations, cfg.RoundTime = 100, 400*time.Millisecond
			report := check.run(t.Context(), cfg)
			t.Log(report)
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			if report.AmbiguousWrites == 0 || report.RefusedWrites == 0 || report.Faults == 0 {
				t.Error("the outages did nothing")
			}
		})
	}
}

// The checkers must find out when a cache does not keep to the protocol.

// noHolds confirms holds that it does not place.
type noHolds struct{ driver.Cache }

func (noHolds) Hold(_ context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	return slices.Repeat([]driver.Outcome{driver.Done}, len(holds)), nil
}

// lateFills stores values under whatever version there is when they arrive, and makes one
// if there is none.
type lateFills struct{ driver.Cache }

func (c lateFills) Fill(ctx context.Context, fills []driver.Fill) ([]driver.Outcome, error) {
	fills = slices.Clone(fills)
	for i, f := range fills {
		e, err := c.Claim(ctx, []driver.Claim{{Anchor: f.Anchor, Field: f.Field, Version: f.Version, Lease: time.Second, TTL: time.Minute}})
		if err != nil {
			return nil, err
		}
		fills[i].Version = e[0].Version
	}
	return c.Cache.Fill(ctx, fills)
}

func TestRunFindsMissingHolds(t *testing.T) {
	t.Parallel()
	cfg := config(t, backendtest.NewFaultyCache(noHolds{memory.NewCache(nil)}, jitter))
	cfg.Cells = 1
	cfg.Operations = 500_000 // it stops at the first
	found(t, lincheck.Run(t.Context(), cfg))
}

func TestFindsLateFills(t *testing.T) {
	for _, check := range checks {
		t.Run(check.name, func(t *testing.T) {
			cfg := config(t, backendtest.NewFaultyCache(lateFills{memory.NewCache(nil)}, jitter))
			cfg.Cells, cfg.Operations = 1, 10_000
			found(t, check.run(t.Context(), cfg))
		})
	}
}

// found fails the test if no violation was found.
func found(t *testing.T, report *lincheck.Report) {
	t.Helper()
	t.Log(report)
	if report.Violations == 0 {
		t.Fatal("no violation was found")
	}
	t.Log(report.Details[0])
}
