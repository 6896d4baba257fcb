package nearproof_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

var (
	full     = flag.Bool("nearproof.full", false, "repeat each fault for -nearproof.time, and use the default LookPeriod")
	fullTime = flag.Duration("nearproof.time", 30*time.Second, "how long each fault is repeated with -nearproof.full")
)

func TestMain(m *testing.M) {
	flag.Parse()
	goredis.SetLogger(silent{})
	m.Run()
}

// silent has go-redis not log that connections break.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// maxStale is the default of NearCache.MaxStale.
const maxStale = time.Second

// paced returns the settings with the pace of a run: 1,000 writes per second, and for short
// runs beside each other less, above all with the race detector.
func (s settings) paced() settings {
	switch {
	case *full:
		s.rate, s.pause = 1000, time.Millisecond
	case raceEnabled:
		s.rate, s.pause = 100, 100*time.Millisecond
	case s.rate == 0:
		s.rate, s.pause = 250, 20*time.Millisecond
	default:
		s.pause = 10 * time.Millisecond
	}
	s.period = lookPeriod()
	return s
}

// lookPeriod is Options.LookPeriod.
func lookPeriod() time.Duration {
	if *full {
		return time.Second
	}
	return 200 * time.Millisecond
}

// beside lets a short run take place beside others.
func beside(t *testing.T) {
	if !*full {
		t.Parallel()
	}
}

// again does something a few times, or for as long as the flags say.
func again(times int, do func()) {
	for began := clock(); times > 0 || *full && clock()-began < *fullTime; times-- {
		do()
	}
}

// cli has the servers do something.
func cli(t *testing.T, servers []*redistest.Server, args ...string) {
	t.Helper()
	for _, s := range servers {
		if _, err := s.CLI(args...); err != nil {
			t.Error(err)
		}
	}
}

// between returns a random time.
func between(least, most time.Duration) time.Duration { return least + rand.N(most-least) }

// finish shows what was measured, and checks it.
func (w *world) finish(t *testing.T, b bounds) {
	t.Helper()
	t.Log(table(w.all))
	for _, p := range w.all {
		if p.reads[0].Load() == 0 || p.writes.Load() == 0 {
			t.Errorf("%s: %d reads and %d writes", p.name, p.reads[0].Load(), p.writes.Load())
		}
		p.check(t, b)
	}
}

// TestStaleness: no read is staler than MaxStale, none misses a write of its own process,
// and none that is Shared misses any, whatever becomes of the server and of the connections
// to it.
func TestStaleness(t *testing.T) {
	beside(t)
	s := redistest.Start(t)
	servers := []*redistest.Server{s}
	w := start(t, settings{addrs: []string{s.Addr}, down: graphcache.Wait, rate: 1000}.paced())
	calm := w.during("calm", func() { again(1, func() { time.Sleep(time.Second) }) })
	if calm.nearHits == 0 {
		t.Error("the near cache has answered nothing")
	}
	w.during("CLIENT KILL TYPE pubsub", func() {
		again(5, func() {
			cli(t, servers, "CLIENT", "KILL", "TYPE", "pubsub")
			time.Sleep(between(0, 200*time.Millisecond))
		})
	})
	w.during("CLIENT KILL TYPE normal", func() {
		again(5, func() {
			cli(t, servers, "CLIENT", "KILL", "TYPE", "normal")
			time.Sleep(between(0, 200*time.Millisecond))
		})
	})
	w.during("CLIENT PAUSE ALL, 50–650 ms", func() {
		again(1, func() {
			cli(t, servers, "CLIENT", "PAUSE", strconv.Itoa(50+rand.IntN(600)), "ALL")
			time.Sleep(between(200*time.Millisecond, 900*time.Millisecond))
		})
	})
	w.during("one subscription swallowed", func() {
		again(1, func() {
			w.lines[0].set(swallows)
			time.Sleep(between(800*time.Millisecond, 1600*time.Millisecond))
			w.lines[0].set(passes)
			if *full {
				w.recovered()
				time.Sleep(between(0, time.Second))
			}
		})
	})
	w.during("one subscription held back", func() {
		again(1, func() {
			w.lines[1].set(delays)
			time.Sleep(between(100*time.Millisecond, 1500*time.Millisecond))
			w.lines[1].set(passes)
			time.Sleep(between(0, 300*time.Millisecond))
		})
	})
	w.during("SIGSTOP, 0.3–2 s", func() {
		most := time.Second
		if *full {
			most = 2 * time.Second
		}
		again(1, func() {
			s.Suspend()
			time.Sleep(between(300*time.Millisecond, most))
			s.Resume()
			time.Sleep(between(100*time.Millisecond, 300*time.Millisecond))
		})
	})
	w.during("restart, empty", func() {
		again(1, func() {
			s.Kill()
			time.Sleep(between(0, 300*time.Millisecond))
			if err := s.Restart(); err != nil {
				t.Error(err)
			}
			time.Sleep(between(100*time.Millisecond, 300*time.Millisecond))
		})
	})
	w.during("FLUSHALL", func() {
		again(3, func() {
			cli(t, servers, "FLUSHALL")
			time.Sleep(between(0, 200*time.Millisecond))
		})
	})
	w.finish(t, bounds{cached: maxStale})
}

// TestStalenessAck: writes are acknowledged although their process does not reach the cache.
// Others learn of it within two LookPeriods, which come on top.
func TestStalenessAck(t *testing.T) {
	beside(t)
	s := redistest.Start(t)
	w := start(t, settings{addrs: []string{s.Addr}, down: graphcache.Ack}.paced())
	w.during("Ack: an instance cut off", func() {
		again(1, func() {
			w.lines[0].set(cuts)
			time.Sleep(between(time.Second, 1500*time.Millisecond))
			w.lines[0].set(passes)
		})
	})
	w.during("Ack: restart, empty", func() {
		again(1, func() {
			s.Kill()
			time.Sleep(between(300*time.Millisecond, time.Second))
			if err := s.Restart(); err != nil {
				t.Error(err)
			}
			time.Sleep(between(100*time.Millisecond, 300*time.Millisecond))
		})
	})
	w.finish(t, bounds{cached: maxStale + 2*lookPeriod(), shared: 2 * lookPeriod()})
}

// TestStalenessCluster: so it is in a Cluster.
func TestStalenessCluster(t *testing.T) {
	beside(t)
	c := redistest.StartCluster(t, 3, 1)
	w := start(t, settings{addrs: c.Addrs(), down: graphcache.Wait}.paced())
	w.during("Cluster: calm", func() { again(1, func() { time.Sleep(500 * time.Millisecond) }) })
	w.during("Cluster: CLIENT KILL TYPE pubsub", func() {
		again(2, func() {
			cli(t, c.Servers, "CLIENT", "KILL", "TYPE", "pubsub")
			time.Sleep(between(0, 200*time.Millisecond))
		})
	})
	w.during("Cluster: slots move", func() {
		again(1, func() {
			masters, err := c.Masters()
			if err == nil {
				err = c.Reshard(t.Context(), masters[0], masters[1], 32)
			}
			if err != nil {
				t.Error(err)
			}
		})
	})
	w.during("Cluster: a master killed", func() {
		again(1, func() {
			masters, err := c.Masters()
			if err != nil {
				t.Error(err)
				return
			}
			m := masters[rand.IntN(len(masters))]
			m.Kill()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := c.WaitOK(ctx); err != nil {
				t.Error(err)
			}
			if !*full {
				return
			}
			if err := m.Restart(); err != nil {
				t.Error(err)
			}
			if err := c.WaitOK(ctx); err != nil {
				t.Error(err)
			}
		})
	})
	w.finish(t, bounds{cached: maxStale})
}

// TestControls: what breaks the promises is found out.
func TestControls(t *testing.T) {
	if raceEnabled && !*full {
		t.Skip("they take long with the race detector")
	}
	wrap := func(notices func(driver.Notices) driver.Notices) func(i int, c *redis.Cache) driver.Cache {
		return func(i int, c *redis.Cache) driver.Cache {
			if i > 0 {
				return c
			}
			return &wrapped{c, notices}
		}
	}
	tooOld := func(p *phase) bool { return p.worst(0) > maxStale+p.slack() }
	for _, tt := range []struct {
		name  string
		wrap  func(i int, c *redis.Cache) driver.Cache
		found func(p *phase) bool
	}{
		{"notices are mute", wrap(func(n driver.Notices) driver.Notices { return mute{n} }), tooOld},
		{"notices are late", wrap(func(n driver.Notices) driver.Notices { return late{n, 3 * maxStale} }), tooOld},
		{"no holds", func(_ int, c *redis.Cache) driver.Cache { return unheld{c} }, func(p *phase) bool {
			return p.own.Load() > 0 && p.worst(1) > 0 && tooOld(p)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			beside(t)
			s := redistest.Start(t)
			w := start(t, settings{addrs: []string{s.Addr}, down: graphcache.Wait, wrap: tt.wrap}.paced())
			w.during(tt.name, func() {
				p := w.phase.Load()
				await(t, "the control is found out", func() bool { return tt.found(p) })
			})
			t.Log(table(w.all))
		})
	}
}
