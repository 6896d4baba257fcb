package rollout_test

import (
	"context"
	"flag"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	seed = flag.Uint64("rollout.seed", 0, "the seed of the random programs; 0 is a random one")
	runs = flag.Int("rollout.runs", 1, "how many programs there are of each scenario and order")
)

// steps is how many a random program makes in each half of a phase.
const steps = 120

// order is a way in which versions come and go, given the scenario's: it calls run
// in each phase.
type order struct {
	name string
	play func(w *world, versions []version, run func())
}

func orders() []order {
	last := func(versions []version) version { return versions[len(versions)-1] }
	return []order{
		{"old then new", func(w *world, versions []version, run func()) {
			for _, v := range versions {
				w.open(v)
				run()
			}
			for len(w.alive) > 1 {
				w.end(w.alive[0])
				run()
			}
		}},
		{"new then old", func(w *world, versions []version, run func()) {
			w.open(last(versions))
			run()
			for i := len(versions) - 2; i >= 0; i-- {
				w.open(versions[i])
				run()
			}
			w.end(w.alive[0])
			run()
		}},
		{"old, new, old", func(w *world, versions []version, run func()) {
			old := w.open(versions[0])
			run()
			for _, v := range versions[1:] {
				w.open(v)
			}
			run()
			w.end(old)
			run()
			w.open(versions[0])
			run()
			w.end(w.alive[0])
			run()
			w.open(last(versions))
			run()
		}},
		{"one process after another", func(w *world, versions []version, run func()) {
			w.open(versions[0])
			w.open(versions[0])
			run()
			for _, v := range versions[1:] {
				for range 2 {
					w.open(v)
					run()
					w.end(w.alive[0])
					run()
				}
			}
		}},
		{"at once", func(w *world, versions []version, run func()) {
			for _, v := range versions {
				w.open(v)
			}
			run()
		}},
	}
}

// source returns the random numbers of a program.
func source(t testing.TB, n int) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(t.Name()))
	return rand.New(rand.NewPCG(*seed, h.Sum64()+uint64(n)))
}

// announce prints the seed, which is chosen if none is given.
func announce(t testing.TB) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-rollout.seed=%d", *seed)
}

// checked counts the reads of a test.
type checked struct {
	n     atomic.Int64
	since time.Time
}

func (c *checked) report(t testing.TB) {
	t.Logf("%d reads were checked, %.0f a second", c.n.Load(), float64(c.n.Load())/time.Since(c.since).Seconds())
}

// TestVersions runs random programs, one step at a time, while versions come and go. Every
// read must be what the store says.
func TestVersions(t *testing.T) {
	each(t, func(w *world, s scenario, o order, r *rand.Rand) { play(w, s, o, r) })
}

// TestVersionsWithOutages is TestVersions with a cache that does not take all marks.
func TestVersionsWithOutages(t *testing.T) {
	each(t, func(w *world, s scenario, o order, r *rand.Rand) {
		w.outages = true
		play(w, s, o, r)
	})
}

// each runs random programs of all scenarios and orders.
func each(t *testing.T, play func(w *world, s scenario, o order, r *rand.Rand)) {
	announce(t)
	reads := checked{since: time.Now()}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			for _, o := range orders() {
				t.Run(o.name, func(t *testing.T) {
					for i := range *runs {
						r := source(t, i)
						synctest.Test(t, func(t *testing.T) {
							w := newWorld(t)
							if i%2 == 1 {
								w.namespace = "tenant"
							}
							play(w, s, o, r)
							reads.n.Add(int64(w.reads))
							if w.stale != "" {
								t.Errorf("program %d: %s", i, w.stale)
							}
						})
					}
				})
			}
		})
	}
	reads.report(t)
}

// play runs a random program.
func play(w *world, s scenario, o order, r *rand.Rand) {
	w.t.Helper()
	defer w.endAll()
	opened := map[string]bool{}
	o.play(w, s.versions, func() {
		w.t.Helper()
		for _, p := range w.alive {
			opened[p.name] = true
		}
		w.clash = s.clash && len(opened) == len(s.versions)
		if w.stale == "" {
			w.run(r, w.steps)
		}
		if w.stale == "" {
			w.note("wait until all is ready")
			time.Sleep(readiness())
			w.run(r, w.steps)
		}
	})
}

// TestVersionsAtOnce runs random programs in all processes at the same time, with backends
// that take their time. When they rest, every read must be what the store says.
func TestVersionsAtOnce(t *testing.T) {
	each(t, func(w *world, s scenario, o order, r *rand.Rand) {
		w.delays = true
		playAtOnce(w, s, o, r)
	})
}

func playAtOnce(w *world, s scenario, o order, r *rand.Rand) {
	w.t.Helper()
	defer w.endAll()
	o.play(w, s.versions, func() {
		w.t.Helper()
		for round := 0; round < 16 && w.stale == ""; round++ {
			if round == 8 {
				time.Sleep(readiness())
			}
			w.crowd(r)
			for range 8 {
				w.check(w.alive[r.IntN(len(w.alive))], r)
			}
		}
	})
}

// crowd makes random steps in all processes at once.
func (w *world) crowd(r *rand.Rand) {
	w.t.Helper()
	var wg sync.WaitGroup
	for _, p := range w.alive {
		for range 2 {
			own := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
			wg.Go(func() {
				for range 4 {
					if own.IntN(2) == 0 {
						if what, err := p.v.write(context.Background(), p.g, own, false); err != nil && !expected(err) {
							w.t.Errorf("%s: %s: %v", p.name, what, err)
						}
					} else if what, ask := p.v.read(own); true {
						if _, err := ask(context.Background(), p.g, false); err != nil {
							w.t.Errorf("%s: %s: %v", p.name, what, err)
						}
					}
				}
			})
		}
	}
	wg.Wait()
	w.note("…")
}
