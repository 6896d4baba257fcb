package redis_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/lincheck"
	"github.com/graphcache/graphcache/internal/redistest"
)

// disturbed is a run of a check while the servers suffer.
type disturbed struct {
	check    func(context.Context, lincheck.Config) *lincheck.Report
	backends []*redis.Backend
	disturb  func(ctx context.Context, faults *atomic.Int64) error
	blind    bool          // the graphs are not told that servers have old data
	least    time.Duration // that it takes to suffer twice
	cells    int           // default 8
	writes   float64       // default 0.1
}

// run runs the check and fails the test for what no fault excuses: a read that fails, or
// returns what an acknowledged write had overwritten for longer than excused. Marks of
// writes that are at work can be lost where it is said so: until the write is
// acknowledged, a read may then return what was before it, though another has returned
// what it writes.
func (d disturbed) run(t *testing.T, holdsLost bool, excused time.Duration) *lincheck.Report {
	t.Helper()
	report := d.report(t)
	judge(t, report, holdsLost, excused)
	return report
}

func (d disturbed) report(t *testing.T) *lincheck.Report {
	t.Helper()
	cfg := linearConfig(t, d.backends, slowJitter)
	cfg.Duration = max(3*time.Second, d.least, *linearTime)
	cfg.Disturb = d.disturb
	cfg.Clients, cfg.Cells, cfg.Writes = 24, 8, 0.1
	if d.cells > 0 {
		cfg.Cells = d.cells
	}
	if d.writes > 0 {
		cfg.Writes = d.writes
	}
	if d.blind {
		for i, c := range cfg.Caches {
			cfg.Caches[i] = noRewinds{c}
		}
	}
	cfg.RoundTime = time.Second
	cfg.Logf = func(string, ...any) {}
	report := d.check(t.Context(), cfg)
	t.Logf("seed %d: %s", cfg.Seed, linearLine(report, d.backends))
	return report
}

func judge(t *testing.T, report *lincheck.Report, holdsLost bool, excused time.Duration) {
	t.Helper()
	if err := report.Failure(); err != nil {
		t.Error(err)
	}
	stale := report.StaleReads - report.BackwardReads
	switch {
	case report.Unknown > 0 || report.Violations > report.StaleReads,
		report.BackwardReads > 0 && (!holdsLost || report.LostHolds+report.AbandonedHolds == 0),
		stale > 0 && report.LongestStale > excused:
		t.Errorf("%d violations, %d of them stale reads: %v", report.Violations, stale, report.Err())
	case report.Violations > 0:
		t.Logf("excused: %d stale reads, %d of them before the write was acknowledged:\n%s",
			report.StaleReads, report.BackwardReads, strings.Join(report.Details, "\n"))
	}
	if report.FailedReads > 0 {
		t.Errorf("%d reads failed: %v", report.FailedReads, report.ReadError)
	}
	if report.Faults == 0 || report.Hits == 0 || report.Writes == 0 {
		t.Errorf("%d faults, %d hits, %d writes: nothing was tried", report.Faults, report.Hits, report.Writes)
	}
}

// TestLinearizableUnderFaults checks what is read while servers and connections fail.
// Where no mark that was acknowledged can be lost, histories are searched; elsewhere
// each read is judged, and how stale it is. Those that mostly wait come first.
func TestLinearizableUnderFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T)
	}{
		{"masters of a Cluster are killed", mastersAreKilled},
		{"Sentinel fails over", sentinelFailsOver},
		{"slots are moved", slotsAreMoved},
		{"the server pauses", serverPauses},
		{"values are evicted", valuesAreEvicted},
		{"replies are lost", repliesAreLost},
		{"the server comes back empty", serverComesBackEmpty},
		{"the server comes back with old data", serverComesBackOld},
		{"scripts are flushed", scriptsAreFlushed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t)
		})
	}
}

func keysOf(s *redistest.Server) (map[string]bool, error) {
	list, err := s.CLI("--raw", "KEYS", "*")
	keys := make(map[string]bool)
	for key := range strings.Lines(list) {
		keys[strings.TrimSpace(key)] = true
	}
	return keys, err
}

func slotsAreMoved(t *testing.T) {
	c := redistest.StartCluster(t, 3, 0)
	backends := linearServer(t, c.Addrs()...)
	moves := 0
	reshard := func(ctx context.Context, faults *atomic.Int64) error {
		i := rand.IntN(3)
		from, to := c.Servers[i], c.Servers[(i+1+rand.IntN(2))%3]
		before, err := keysOf(from)
		if err != nil {
			return err
		}
		if err := c.Reshard(context.WithoutCancel(ctx), from, to, 500); err != nil {
			return err
		}
		moves++
		after, err := keysOf(to)
		for key := range after {
			if before[key] {
				faults.Add(1)
			}
		}
		return err
	}
	d := disturbed{check: lincheck.Run, backends: backends, cells: 24, least: 5 * time.Second,
		disturb: again(time.Millisecond, 100*time.Millisecond, reshard)}
	report := d.run(t, false, 0)
	t.Logf("%d reshards moved %d keys", moves, report.Faults)
	if report.CacheErrors*5 > report.Reads { // a busy machine makes a few
		t.Errorf("%d errors of the cache for %d reads: slots that move are to be followed", report.CacheErrors, report.Reads)
	}
	if n := linearSum(backends, func(s redis.Stats) int64 { return s.Rewinds }); n > 0 {
		t.Errorf("%d rewinds, though every server has all that it had", n)
	}
}

// lag cuts a replica from its master, so that it has old data until it is mended.
func lag(master, replica *redistest.Server) error {
	// The master has no password, and refuses who offers one.
	if _, err := replica.CLI("CONFIG", "SET", "masterauth", "wrong"); err != nil {
		return err
	}
	_, err := master.CLI("CLIENT", "KILL", "TYPE", "replica")
	return err
}

func mend(replica *redistest.Server) error {
	_, err := replica.CLI("CONFIG", "SET", "masterauth", "")
	return err
}

// reaches waits until a backend reaches every master, as far as 100 keys tell.
func reaches(ctx context.Context, b *redis.Backend) error {
	lookups := make([]driver.Lookup, 100)
	for i := range lookups {
		lookups[i].Anchor = strconv.Itoa(i)
	}
	for {
		_, err := b.Cache().Lookup(ctx, lookups)
		if err == nil {
			return nil
		}
		if late := pause(ctx, 20*time.Millisecond); late != nil {
			return fmt.Errorf("a backend does not find the new master: %w", err)
		}
	}
}

// mastersAreKilled promotes replicas that lag. What they have from before, marks and
// values, is not to be trusted; whoever meets them drops all that is cached. In between
// the others may be served what a writer, whose mark was lost, has overwritten:
// until they have met the promoted replica too, or have looked in the store.
func mastersAreKilled(t *testing.T) {
	c := redistest.StartCluster(t, 3, 1, "--cluster-node-timeout", "1500")
	backends := linearServer(t, c.Addrs()...)
	kill := func(ctx context.Context, faults *atomic.Int64) error {
		// One pair suffices, and takes turns.
		master, replica := c.Servers[0], c.Servers[3]
		masters, err := c.Masters()
		if err != nil {
			return err
		}
		if slices.Contains(masters, replica) {
			master, replica = replica, master
		}
		if err := lag(master, replica); err != nil {
			return err
		}
		if err := pause(ctx, between(100*time.Millisecond, 600*time.Millisecond)); err != nil {
			return mend(replica)
		}
		faults.Add(1)
		master.Kill()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if err := c.WaitOK(ctx); err != nil {
			return err
		}
		if err := mend(replica); err != nil {
			return err
		}
		for _, b := range backends {
			if err := reaches(ctx, b); err != nil {
				return err
			}
		}
		if err := master.Restart(); err != nil {
			return err
		}
		return c.WaitOK(ctx)
	}
	d := disturbed{check: lincheck.Soak, backends: backends, least: 12 * time.Second, cells: 6, writes: 0.02,
		disturb: again(time.Millisecond, 300*time.Millisecond, kill)}
	report := d.run(t, true, promotedBound)
	for i, b := range backends {
		if n := b.Stats().Rewinds; n < report.Faults {
			t.Errorf("backend %d has noticed %d of %d promotions", i, n, report.Faults)
		}
	}
}

// promotedBound is how long a value may be served that was overwritten while two servers
// were masters: until the last process has left the deposed one, and the others have read
// in the store that it has. Far less than the minute that a value lives.
const promotedBound = 10 * time.Second

// sentinelFailsOver replaces masters that are well, and after that one that is not.
func sentinelFailsOver(t *testing.T) {
	s := redistest.StartSentinel(t)
	backends := linearBackends(t, func(int) goredis.UniversalOptions {
		return goredis.UniversalOptions{MasterName: s.MasterName, Addrs: s.Addrs()}
	})
	n := 0
	failover := func(ctx context.Context, faults *atomic.Int64) error {
		ctx = context.WithoutCancel(ctx)
		defer faults.Add(1)
		n++
		if n%2 == 1 {
			return s.Failover(ctx)
		}
		master, err := s.Master()
		if err != nil {
			return err
		}
		master.Kill()
		if err := s.Failover(ctx); err != nil {
			return err
		}
		return master.Restart()
	}
	d := disturbed{check: lincheck.Soak, backends: backends, least: 8 * time.Second, cells: 6, writes: 0.02,
		disturb: again(500*time.Millisecond, time.Second, failover)}
	report := d.run(t, true, promotedBound)
	rewinds := linearSum(backends, func(s redis.Stats) int64 { return s.Rewinds })
	t.Logf("%d failovers, %d rewinds", report.Faults, rewinds)
	if rewinds < report.Faults {
		t.Errorf("%d rewinds of %d backends for %d failovers", rewinds, linearGraphs, report.Faults)
	}
}

func serverPauses(t *testing.T) {
	s := redistest.Start(t)
	backends := linearServer(t, s.Addr)
	rest := func(ctx context.Context, faults *atomic.Int64) error {
		faults.Add(1)
		switch n := rand.IntN(10); {
		case n < 8:
			mode := []string{"WRITE", "ALL"}[n%2]
			_, err := s.CLI("CLIENT", "PAUSE", strconv.Itoa(20+rand.IntN(280)), mode)
			return err
		default:
			s.Suspend()
			defer s.Resume()
			_ = pause(ctx, between(100*time.Millisecond, 2*time.Second))
			return nil
		}
	}
	d := disturbed{check: lincheck.Run, backends: backends, least: 6 * time.Second,
		disturb: again(50*time.Millisecond, 400*time.Millisecond, rest)}
	d.run(t, false, 0)
	if n := linearSum(backends, func(s redis.Stats) int64 { return s.Rewinds }); n > 0 {
		t.Errorf("%d rewinds, though the server has all that it had", n)
	}
}

// valuesAreEvicted leaves the server a little less memory than it uses, again and again.
// Marks are evicted as well.
func valuesAreEvicted(t *testing.T) {
	s := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	backends := linearServer(t, s.Addr)
	info := func(section, name string) (int64, error) {
		text, err := s.CLI("INFO", section)
		if err != nil {
			return 0, err
		}
		_, value, _ := strings.Cut(text, name+":")
		value, _, _ = strings.Cut(value, "\r")
		return strconv.ParseInt(value, 10, 64)
	}
	squeeze := func(_ context.Context, faults *atomic.Int64) error {
		used, err := info("memory", "used_memory")
		if err != nil {
			return err
		}
		if _, err := s.CLI("CONFIG", "SET", "maxmemory", strconv.FormatInt(used-10_000, 10)); err != nil {
			return err
		}
		n, err := info("stats", "evicted_keys")
		faults.Store(n)
		return err
	}
	d := disturbed{check: lincheck.Soak, backends: backends,
		disturb: again(5*time.Millisecond, 30*time.Millisecond, squeeze)}
	report := d.run(t, true, 0)
	if report.LostHolds == 0 {
		t.Log("no mark was evicted")
	}
}

func repliesAreLost(t *testing.T) {
	s := redistest.Start(t)
	var proxies []*redistest.Proxy
	backends := linearBackends(t, func(int) goredis.UniversalOptions {
		p := redistest.NewProxy(t, s.Addr)
		proxies = append(proxies, p)
		return goredis.UniversalOptions{Addrs: []string{p.Addr}}
	})
	fail := func(ctx context.Context, faults *atomic.Int64) error {
		faults.Add(1)
		p := proxies[rand.IntN(len(proxies))]
		switch rand.IntN(3) {
		case 0:
			p.Cut()
		case 1:
			p.DropReplies(true)
			defer p.DropReplies(false)
			_ = pause(ctx, between(5*time.Millisecond, 100*time.Millisecond))
		case 2:
			p.Delay(between(time.Millisecond, 250*time.Millisecond))
			defer p.Delay(0)
			_ = pause(ctx, between(5*time.Millisecond, 300*time.Millisecond))
		}
		return nil
	}
	d := disturbed{check: lincheck.Run, backends: backends,
		disturb: again(5*time.Millisecond, 100*time.Millisecond, fail)}
	d.run(t, false, 0)
	if n := linearSum(backends, func(s redis.Stats) int64 { return s.Rewinds }); n > 0 {
		t.Errorf("%d rewinds, though the server has all that it had", n)
	}
}

// restarting kills a server again and again and restarts it, with what is in its
// directory.
func restarting(t *testing.T, s *redistest.Server, before func() error) disturbed {
	t.Helper()
	restart := func(ctx context.Context, faults *atomic.Int64) error {
		if err := before(); err != nil {
			return err
		}
		faults.Add(1)
		s.Kill()
		if rand.IntN(2) == 0 {
			_ = pause(ctx, rand.N(500*time.Millisecond))
		}
		return s.Restart()
	}
	return disturbed{check: lincheck.Soak, backends: linearServer(t, s.Addr), least: 5 * time.Second,
		disturb: again(50*time.Millisecond, 1500*time.Millisecond, restart)}
}

// noticed fails the test if restarts were overlooked: of two within one pause of the
// breaker a backend sees only the second.
func noticed(t *testing.T, report *lincheck.Report, backends []*redis.Backend) {
	t.Helper()
	rewinds := linearSum(backends, func(s redis.Stats) int64 { return s.Rewinds })
	t.Logf("%d restarts, %d rewinds", report.Faults, rewinds)
	if rewinds < report.Faults {
		t.Errorf("%d rewinds of %d backends for %d restarts", rewinds, linearGraphs, report.Faults)
	}
}

func serverComesBackEmpty(t *testing.T) {
	d := restarting(t, redistest.Start(t), func() error { return nil })
	d.run(t, true, 0)
}

// oldDump saves a dump now and then, with which the server comes back several times.
func oldDump(s *redistest.Server) func() error {
	n := 0
	return func() error {
		if n++; n%3 != 1 {
			return nil
		}
		_, err := s.CLI("SAVE")
		if err == nil {
			_, err = os.Stat(filepath.Join(s.Dir, "dump.rdb"))
		}
		return err
	}
}

func serverComesBackOld(t *testing.T) {
	s := redistest.Start(t)
	d := restarting(t, s, oldDump(s))
	noticed(t, d.run(t, true, 0), d.backends)
}

// noRewinds is a cache that does not tell when it has gone back in time.
type noRewinds struct{ driver.Cache }

// TestLinearizableFindsOldData is the control: an old dump is found out.
func TestLinearizableFindsOldData(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	d := restarting(t, s, oldDump(s))
	d.blind, d.least = true, 7*time.Second
	foundOut(t, d.report(t))
}

func scriptsAreFlushed(t *testing.T) {
	s := redistest.Start(t)
	backends := linearServer(t, s.Addr)
	admin := goredis.NewClient(&goredis.Options{Addr: s.Addr})
	t.Cleanup(func() { admin.Close() })
	d := disturbed{check: lincheck.Run, backends: backends,
		disturb: again(time.Microsecond, 2*time.Millisecond, func(ctx context.Context, faults *atomic.Int64) error {
			faults.Add(1)
			return admin.ScriptFlush(ctx).Err()
		})}
	report := d.run(t, false, 0)
	if n := linearSum(backends, func(s redis.Stats) int64 { return s.ScriptLoads }); n == 0 {
		t.Error("no script was loaded again")
	}
	if report.CacheErrors*5 > report.Reads { // a busy machine makes a few
		t.Errorf("%d errors of the cache for %d reads", report.CacheErrors, report.Reads)
	}
}
