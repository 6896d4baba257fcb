//go:build linux

package mongo_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache/internal/lincheck"
	"github.com/graphcache/graphcache/internal/mongotest"
	"github.com/graphcache/graphcache/internal/redistest"
)

// These tests let four processes, each with a graph of its own, work on one store and one
// Redis, and check that what they read is linearizable. The store is in the server that has
// transactions and a logical clock.

var (
	linearReads      = flag.Int("linear.reads", 8_000, "how many reads the long test checks")
	linearOperations = flag.Int("linear.operations", 3_000, "how many operations each of the other tests of linearizability checks")
)

// linear prepares a check of processes on a store in the server.
func linear(t *testing.T, s *mongotest.Server, plan linearPlan) (lincheck.Config, *linearCrew) {
	t.Helper()
	s.Need(t, mongotest.OperationTime)
	plan.URI, plan.Database, plan.Redis = s.URI, s.Database(t), redistest.Start(t).Addr
	cfg, closeAll, err := plan.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeAll)
	cfg.Clients, cfg.Operations = 24, *linearOperations
	cfg.RoundOperations = 1000 // the time is what ends a round
	cfg.Seed, cfg.Dir, cfg.Logf = rand.Uint64(), t.TempDir(), t.Logf
	return cfg, &linearCrew{t: t, plan: plan}
}

func (c *linearCrew) crew() lincheck.Crew {
	return lincheck.Crew{Processes: linearProcesses, Start: c.start}
}

// linearJudge fails the test unless the check has found nothing wrong, and no more reads have
// failed than are excused.
func linearJudge(t *testing.T, cfg *lincheck.Config, report *lincheck.Report, excused int64) {
	t.Helper()
	t.Logf("seed %d: %v", cfg.Seed, report)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	if report.FailedReads > excused {
		t.Errorf("%d reads failed: %v", report.FailedReads, report.ReadError)
	}
	if n := report.Operations(); n < int64(cfg.Operations) {
		t.Errorf("only %d operations were checked", n)
	}
	if report.Writes == 0 || report.Hits < report.Reads/8 || report.Misses == 0 {
		t.Errorf("%d writes, %d hits and %d misses: not all ways to an answer were tried", report.Writes, report.Hits, report.Misses)
	}
}

// TestLinearizable searches for an order that explains what was read.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	cfg, c := linear(t, mongotest.SharedLungo(t), linearPlan{})
	report := lincheck.RunCrew(t.Context(), cfg, c.crew())
	linearJudge(t, &cfg, report, 0)
	if report.Deaths > 0 {
		t.Errorf("%d processes have ended", report.Deaths)
	}
}

// TestLinearizableLong checks very many reads, each less closely.
func TestLinearizableLong(t *testing.T) {
	t.Parallel()
	cfg, c := linear(t, mongotest.SharedLungo(t), linearPlan{})
	cfg.Operations, cfg.Writes = *linearReads, 0.05
	report := lincheck.SoakCrew(t.Context(), cfg, c.crew())
	linearJudge(t, &cfg, report, 0)
	if report.Deaths > 0 {
		t.Errorf("%d processes have ended", report.Deaths)
	}
}

// TestLinearizableWithKilledProcesses kills a process now and then. The marks that it had
// set stand until their deadline, and what it was writing may have been written or not.
func TestLinearizableWithKilledProcesses(t *testing.T) {
	t.Parallel()
	cfg, c := linear(t, mongotest.SharedLungo(t), linearPlan{})
	cfg.Cells = 8 // of which those that wait for a deadline are but a part
	cfg.RoundTime, cfg.Duration = time.Second, 5*time.Second
	cfg.Disturb = func(ctx context.Context, faults *atomic.Int64) error {
		return c.again(ctx, time.Second, func(p *linearProcess) error {
			faults.Add(1)
			return p.kill()
		})
	}
	report := lincheck.RunCrew(t.Context(), cfg, c.crew())
	linearJudge(t, &cfg, report, 0)
	if report.Deaths == 0 || report.Deaths > report.Faults {
		t.Errorf("%d processes have ended, of %d that were killed", report.Deaths, report.Faults)
	}
}

// TestLinearizableWithStoppedProcesses stops a process now and then for 2 seconds: longer
// than a write may take, and shorter than its marks stand.
func TestLinearizableWithStoppedProcesses(t *testing.T) {
	t.Parallel()
	cfg, c := linear(t, mongotest.SharedLungo(t), linearPlan{})
	cfg.Cells = 6
	cfg.Disturb = func(ctx context.Context, faults *atomic.Int64) error {
		return c.again(ctx, 300*time.Millisecond, func(p *linearProcess) error {
			faults.Add(1)
			return p.rest("2")
		})
	}
	report := lincheck.RunCrew(t.Context(), cfg, c.crew())
	linearJudge(t, &cfg, report, report.Faults*int64(cfg.Clients)) // those that it had begun
	if report.Deaths > 0 || report.Faults == 0 {
		t.Errorf("%d processes have ended; %d times one was stopped", report.Deaths, report.Faults)
	}
}

// TestLinearizableWithLateWrites holds back some of the writes on their way to the server
// until their writers have given up, and drops some of the answers.
func TestLinearizableWithLateWrites(t *testing.T) {
	t.Parallel()
	s := mongotest.SharedLungo(t)
	cfg, c := linear(t, s, linearPlan{})
	proxy := mongotest.NewProxy(t, s.Addr)
	c.plan.URI = proxy.URI()
	cfg.Cells, cfg.Writes = 8, 0.15
	cfg.Disturb = func(ctx context.Context, faults *atomic.Int64) error {
		defer proxy.Release()
		defer proxy.On(nil)
		proxy.On(func(cmd string) mongotest.Action {
			switch cmd {
			case "insert", "update", "delete", "findAndModify":
				if rand.IntN(12) == 0 {
					faults.Add(1)
					return mongotest.Action(rand.IntN(int(mongotest.HangAfter) + 1))
				}
			}
			return mongotest.Pass
		})
		for {
			select {
			case <-time.After(1500 * time.Millisecond): // longer than a writer waits, and shorter than its marks stand
				proxy.Release()
			case <-ctx.Done():
				return nil
			}
		}
	}
	report := lincheck.RunCrew(t.Context(), cfg, c.crew())
	linearJudge(t, &cfg, report, report.Faults) // a connection that breaks takes reads along
	if report.AmbiguousWrites == 0 {
		t.Error("the outcome of every write was known")
	}
}

// A deposed primary answers for a while with old data, unless it is told how old they may be.
const linearStale = 100 * time.Millisecond

// deposed checks processes on such a server. Reads are judged one by one. What a write that
// is at work has written has no stamp yet, so one read may return it and the next, which
// meets older data, what was there before: until the write is acknowledged. Such reads are
// backward ones, and are counted apart.
func deposed(t *testing.T, plan linearPlan) *lincheck.Report {
	t.Helper()
	plan.CacheTimeout = 2 * time.Second // who has no answer from the cache has no stamp
	cfg, c := linear(t, mongotest.Lungo(t, "-stale", linearStale.String()), plan)
	cfg.Stale, cfg.Operations = linearStale*3/2, *linearOperations/2
	report := lincheck.SoakCrew(t.Context(), cfg, c.crew())
	t.Logf("seed %d: %v", cfg.Seed, report)
	if err := report.Failure(); err != nil {
		t.Error(err)
	}
	if report.FailedReads > 0 {
		t.Errorf("%d reads failed: %v", report.FailedReads, report.ReadError)
	}
	if report.Writes == 0 || report.Hits < report.Reads/8 || report.Misses == 0 {
		t.Errorf("%d writes, %d hits and %d misses: not all ways to an answer were tried", report.Writes, report.Hits, report.Misses)
	}
	if report.CacheErrors > 0 {
		t.Logf("%d times the cache did not answer, so that there was no stamp", report.CacheErrors)
	}
	return report
}

// TestLinearizableOnDeposedPrimary: the stamps of writes keep what they have overwritten from
// being read.
func TestLinearizableOnDeposedPrimary(t *testing.T) {
	t.Parallel()
	report := deposed(t, linearPlan{})
	if report.Violations > report.BackwardReads {
		t.Error(report.Err())
	}
}

// TestLinearizableFindsDroppedStamps is the control.
func TestLinearizableFindsDroppedStamps(t *testing.T) {
	t.Parallel()
	report := deposed(t, linearPlan{DropStamps: true})
	if report.StaleReads == report.BackwardReads {
		t.Fatal("no read of what was overwritten was found")
	}
	t.Log(report.Details[0])
}
