//go:build linux

package lincheck_test

import (
	"context"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/lincheck"
)

// end is one end of a connection between goroutines that stand for processes.
type end struct {
	*io.PipeReader
	*io.PipeWriter
	dead atomic.Bool
}

func (e *end) Close() error {
	e.PipeReader.Close()
	return e.PipeWriter.Close()
}

// hook is jitter until the goroutine is dead. It then does nothing more.
func (e *end) hook(ctx context.Context, call backendtest.Call) backendtest.Fault {
	if e.dead.Load() {
		return backendtest.Fault{Action: backendtest.Fail}
	}
	return jitter(ctx, call)
}

// goroutines is a crew of goroutines with a store and a cache in common.
type goroutines struct {
	cfg   lincheck.Config
	ends  [3]atomic.Pointer[end] // of the goroutines
	cache driver.Cache
	store driver.Store
}

func (g *goroutines) start(ctx context.Context, place int) (io.ReadWriteCloser, error) {
	fromHere, there := io.Pipe()
	fromThere, here := io.Pipe()
	theirs := &end{PipeReader: fromHere, PipeWriter: here}
	g.ends[place].Store(theirs)
	cfg := g.cfg
	cfg.Caches = []driver.Cache{backendtest.NewFaultyCache(g.cache, theirs.hook)}
	cfg.Store = backendtest.NewFaultyStore(g.store, theirs.hook)
	go func() {
		_ = lincheck.Serve(context.WithoutCancel(ctx), cfg, theirs)
		theirs.Close()
	}()
	return &end{PipeReader: fromThere, PipeWriter: there}, nil
}

func (g *goroutines) kill(ctx context.Context, faults *atomic.Int64) error {
	for {
		select {
		case <-time.After(700 * time.Millisecond):
			faults.Add(1)
			e := g.ends[rand.IntN(len(g.ends))].Load()
			e.dead.Store(true)
			e.Close()
		case <-ctx.Done():
			return nil
		}
	}
}

func crewOf(t *testing.T, cache driver.Cache) (*goroutines, lincheck.Crew) {
	cfg := config(t, cache)
	cfg.Caches = cfg.Caches[:1]
	cfg.Operations = 5_000
	cfg.RoundTime = 300 * time.Millisecond
	cfg.Options = graphcache.Options{
		HoldTimeout: 100 * time.Millisecond, WriteTimeout: 500 * time.Millisecond, HoldTTL: 2700 * time.Millisecond,
		LookPeriod: 200 * time.Millisecond, WhenCacheDown: graphcache.Fail,
	}
	g := &goroutines{cfg: cfg, cache: cache, store: memory.NewStore(nil)}
	g.cfg.Store, g.cfg.Logf = g.store, nil // a member that was killed may outlast the test
	return g, lincheck.Crew{Processes: len(g.ends), Start: g.start}
}

var crewChecks = []struct {
	name string
	run  func(context.Context, lincheck.Config, lincheck.Crew) *lincheck.Report
}{{"Run", lincheck.RunCrew}, {"Soak", lincheck.SoakCrew}}

func TestCrew(t *testing.T) {
	t.Parallel()
	for _, check := range crewChecks {
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			g, crew := crewOf(t, memory.NewCache(nil))
			cfg := g.cfg
			cfg.Cells = 16
			cfg.Disturb, cfg.Duration = g.kill, 3*time.Second
			report := check.run(t.Context(), cfg, crew)
			t.Log(report)
			if err := report.Err(); err != nil {
				t.Fatal(err)
			}
			if report.Operations() < 5_000 || report.Writes == 0 || report.Hits < 1_000 || report.StoreReads == 0 {
				t.Error("too little was done")
			}
			if report.Deaths == 0 || report.Deaths > report.Faults || report.FailedReads > 0 {
				t.Errorf("%d deaths where %d were killed, %d reads failed", report.Deaths, report.Faults, report.FailedReads)
			}
		})
	}
}

func TestCrewFindsLateFills(t *testing.T) {
	t.Parallel()
	for _, check := range crewChecks {
		t.Run(check.name, func(t *testing.T) {
			t.Parallel()
			g, crew := crewOf(t, lateFills{memory.NewCache(nil)})
			cfg := g.cfg
			cfg.Cells, cfg.Operations = 1, 10_000
			found(t, check.run(t.Context(), cfg, crew))
		})
	}
}
