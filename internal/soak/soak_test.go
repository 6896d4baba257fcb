//go:build linux

package soak_test

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
	"github.com/graphcache/graphcache/internal/redistest"
)

var (
	soakTime   = flag.Duration("soak.time", 0, "how long each phase works; 0 is a single phase of a few seconds")
	soakSeed   = flag.Uint64("soak.seed", 0, "what is done at random is chosen by this; 0 is another one each time")
	soakPhases = flag.String("soak.phases", "", "the names of the phases, separated by commas; all if empty")
	soakWhole  = flag.Bool("soak.whole", false, "in the controls, leave nothing out: none must be found out then")
	soakLog    = flag.Bool("soak.log", false, "show what the graphs log")
)

// phase is a run with faults of some kinds.
type phase struct {
	name     string
	mode     string // what becomes of writes that the cache is not told of
	faults   string // what is done, by the letters below
	strict   bool   // Options.Strict
	usual    bool   // the graphs have the default settings
	dumps    bool   // Redis saves what it has, by its default save points
	versions bool   // some processes are of a version without an index
	control  string
	cells    int           // default 8
	writes   int64         // per second and process, default 40
	delay    time.Duration // of some writes in the store
	lists    bool          // nothing but links is read and written
	fresh    int           // reads in 1,000 that do not ask the cache, default 2
}

// The letters of faults: r Redis, c connections to Redis, C a Cluster, s the store, k two processes
// killed, p two others paused, q one of these, v versions replaced, x parts cut off from each
// other, f only flushes, o only refused connections.
var phases = []phase{
	{name: "ack", mode: "ack", faults: "rc"},
	{name: "wait", mode: "wait", faults: "rc"},
	{name: "fail", mode: "fail", faults: "rc"},
	{name: "dumps", mode: "ack", faults: "rc", dumps: true},
	{name: "store", mode: "ack", faults: "s"},
	{name: "split", mode: "ack", faults: "x"},
	{name: "strict", mode: "wait", faults: "xcs", strict: true},
	{name: "killed", mode: "ack", faults: "ck"},
	{name: "paused", mode: "ack", faults: "cp"},
	{name: "cluster", mode: "ack", faults: "C"},
	{name: "versions", mode: "ack", faults: "cv", versions: true},
	{name: "forgotten", mode: "ack", faults: "rkp", dumps: true},
	{name: "everything", mode: "ack", faults: "rcskq", dumps: true},
	{name: "everything-wait", mode: "wait", faults: "rcskq", dumps: true},
	{name: "everything-fail", mode: "fail", faults: "rcskq", dumps: true},
	{name: "defaults", mode: "ack", faults: "rcskq", usual: true},
	{name: "nothing", mode: "ack"},
}

// run is a phase under way.
type run struct {
	phase
	t      *testing.T
	seed   uint64
	long   bool
	crew   *crew
	faults *faults
	graph  *graphcache.Graph // without a cache
	ledger driver.Ledger
	began  time.Time
	worked time.Duration
}

const processes = 4

// start starts the servers and the processes.
func (p phase) start(t *testing.T, seed uint64) *run {
	t.Helper()
	p.cells, p.writes, p.fresh = cmp.Or(p.cells, 8), cmp.Or(p.writes, 40), cmp.Or(p.fresh, 2)
	r := &run{phase: p, t: t, seed: seed}
	ctx := t.Context()
	f := &faults{pause: 20 * time.Second, dumps: p.dumps}
	r.faults = f
	f.store = mongotest.Lungo(t, "-file", filepath.Join(t.TempDir(), "lungo"))
	database := f.store.Database(t)
	targets := make([]target, processes)
	switch {
	case strings.Contains(p.faults, "C"):
		f.cluster = redistest.StartCluster(t, 3, 1)
	case p.dumps:
		f.redis = redistest.Start(t, "--save", "3600 1 300 100 60 10000")
	default:
		f.redis = redistest.Start(t)
	}
	for i := range targets {
		m := mongotest.NewProxy(t, f.store.Addr)
		f.mproxies = append(f.mproxies, m)
		targets[i].uri = m.URI()
		if f.cluster != nil {
			targets[i].redis = f.cluster.Addrs()
			continue
		}
		proxy := redistest.NewProxy(t, f.redis.Addr)
		f.proxies = append(f.proxies, proxy)
		targets[i].redis = []string{proxy.Addr}
	}
	quiet := slog.New(slog.DiscardHandler)
	s, err := mongo.Open(ctx, f.store.URI, &mongo.Options{Database: database, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	if p.versions { // of which the one without an index was there first
		g, err := graphcache.Open(ctx, plainSchema, s, &graphcache.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close(ctx)
	}
	g, err := graphcache.Open(ctx, schema, s, &graphcache.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	r.graph, r.ledger = g, driver.Store(s).(driver.Ledger)
	r.crew = newCrew(t, plan{
		Database: database, Seed: seed, Places: processes, Cells: p.cells, Readers: 8, Lists: p.lists,
		WhenCacheDown: p.mode, Strict: p.strict, Usual: p.usual, Control: p.control, Quiet: !*soakLog, StoreWriteDelay: p.delay, Fresh: p.fresh,
	}, targets)
	f.crew = r.crew
	r.crew.shared.writes.Store(p.writes)
	if p.versions {
		r.crew.plain[0], r.crew.plain[1] = true, true
	}
	if err := r.fill(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for place := range processes {
			r.crew.kill(place)
		}
	})
	if err := r.crew.each(r.crew.start); err != nil {
		t.Fatal(err)
	}
	return r
}

// work has the processes work while parts fail, for so long or until enough says so.
func (r *run) work(d time.Duration, enough func() bool) {
	ctx, stop := context.WithTimeout(r.t.Context(), d)
	defer stop()
	r.crew.shared.mode.Store(work)
	r.began = time.Now()
	var wg sync.WaitGroup
	for i, acts := range r.acts() {
		wg.Go(func() { r.faults.again(ctx, rand.New(rand.NewPCG(r.seed, uint64(i))), acts.mean, acts.acts...) })
	}
	told := time.Now()
	for ctx.Err() == nil {
		sleep(ctx, 100*time.Millisecond)
		if enough != nil && enough() {
			stop()
		}
		if time.Since(told) > 30*time.Second {
			told = time.Now()
			r.t.Logf("%v: %d reads, %d writes, %d stale", time.Since(r.began).Round(time.Second), r.crew.sum(cReads), r.crew.sum(cWrites)+r.crew.sum(cTxs), r.crew.sum(cStale))
		}
	}
	r.worked = time.Since(r.began)
	wg.Wait()
}

// acts are what is done at a time, and how long after each other on average.
type acts struct {
	mean time.Duration
	acts []act
}

func (r *run) acts() (all []acts) {
	f := r.faults
	for _, letter := range r.phase.faults {
		switch letter {
		case 'r':
			list := []act{f.redisKilled, f.redisStopped, f.redisPauses, f.redisPauses, f.redisFlushed, f.redisFlushed, f.redisEvicts}
			if r.dumps {
				list = append(list, f.redisSaved, f.redisSaved, f.redisKilled)
			}
			all = append(all, acts{2 * time.Second, list})
		case 'c':
			all = append(all, acts{time.Second, []act{f.connectionsCut, f.repliesDropped, f.repliesSlow, f.redisRefuses, f.redisHangs}})
		case 'C':
			all = append(all, acts{3 * time.Second, []act{f.masterKilled, f.slotsMoved, f.nodeStopped}})
		case 's':
			all = append(all, acts{2 * time.Second, []act{f.storeStopped, f.storeKilled, f.storeRefuses, f.storeCut, f.storeCuts, f.storeSlow, f.storeHoldsBack}})
		case 'k':
			at := f.atSteps([]int{0, 1}, true)
			all = append(all, acts{time.Second, []act{at, at, at, f.atAnyTime([]int{0, 1}, true)}})
		case 'p', 'q':
			for place := 3; place >= 2; place-- {
				at := f.atSteps([]int{place}, false)
				all = append(all, acts{time.Second, []act{at, at, at, f.atAnyTime([]int{place}, false)}})
				if letter == 'q' {
					break
				}
			}
		case 'v':
			all = append(all, acts{5 * time.Second, []act{f.replaced}})
		case 'x':
			all = append(all, acts{2 * time.Second, []act{f.split}})
		case 'f':
			all = append(all, acts{100 * time.Millisecond, []act{f.redisFlushed}})
		case 'o':
			all = append(all, acts{200 * time.Millisecond, []act{f.redisRefusesBriefly}})
		}
	}
	return all
}

// finish ends the run and reports what it has found.
func (r *run) finish(wantStale bool) {
	t, c := r.t, r.crew
	t.Helper()
	var quiet error
	began := time.Now()
	if !wantStale {
		quiet = r.quiet(t.Context())
	}
	rested := time.Since(began)
	r.dismiss()
	stale := r.faults.stale(c)
	t.Log(r.report(stale, rested))
	if r.faults.err != nil {
		t.Error(r.faults.err)
	}
	if quiet != nil {
		t.Errorf("at rest: %v", quiet)
	}
	switch none := stale[""]; {
	case wantStale && none == nil:
		t.Error("no stale read was found")
	case !wantStale && none != nil:
		t.Errorf("%d reads were stale by no exception:\n%s", none.reads, none.example)
	}
	if c.sum(cReads) == 0 || c.sum(cWrites) == 0 {
		t.Error("nothing was done")
	}
	if !wantStale && *soakTime > 0 && c.hits < c.misses/4 {
		t.Error("the cache was of little use")
	}
}

// report describes the run.
func (r *run) report(stale map[string]*staleness, rested time.Duration) string {
	c := r.crew
	var b strings.Builder
	fmt.Fprintf(&b, "phase %q, seed %d: %v of work; %d reads checked (%.0f per second; %d fresh, %d failed), %d writes and %d transactions (%d refused, %d unknown, %d owed)\n",
		r.name, r.seed, r.worked.Round(time.Second), c.sum(cReads), float64(c.sum(cReads))/r.worked.Seconds(), c.sum(cFresh), c.sum(cFailedReads),
		c.sum(cWrites), c.sum(cTxs), c.sum(cRefused), c.sum(cAmbiguous), c.sum(cOwed))
	fmt.Fprintf(&b, "faults: %s\n", r.faults.kinds())
	fmt.Fprintf(&b, "processes at the end: %d hits, %d misses; all was at rest after %v\n", c.hits, c.misses, rested.Round(time.Second))
	for _, kind := range slices.Sorted(maps.Keys(c.errors)) {
		fmt.Fprintf(&b, "processes at the end: %d errors, %s\n", c.errors[kind], kind)
	}
	for _, name := range slices.Sorted(maps.Keys(stale)) {
		s := stale[name]
		fmt.Fprintf(&b, "stale: %d reads, the longest for %v after: %s\n", s.reads, s.longest.Round(time.Millisecond), cmp.Or(name, "NO EXCEPTION"))
		if name != "" && name != cacheDown {
			fmt.Fprintln(&b, s.example)
		}
	}
	return b.String()
}

// dismiss ends the processes.
func (r *run) dismiss() {
	r.t.Helper()
	if err := r.crew.dismiss(); err != nil {
		r.t.Errorf("at the end: %v", err)
	}
}

// seed returns the seed, which is told.
func seed(t *testing.T) uint64 {
	s := *soakSeed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-soak.seed=%d", s)
	return s
}

// TestSoak is the run itself.
func TestSoak(t *testing.T) {
	if *soakTime == 0 {
		p := phase{name: "smoke", mode: "ack", faults: "rck", cells: 2, writes: 20}
		r := p.start(t, seed(t))
		r.work(3*time.Second, nil)
		r.finish(false)
		return
	}
	chosen := phases
	if *soakPhases != "" {
		chosen = nil
		for name := range strings.SplitSeq(*soakPhases, ",") {
			i := slices.IndexFunc(phases, func(p phase) bool { return p.name == name })
			if i < 0 {
				t.Fatalf("there is no phase %q", name)
			}
			chosen = append(chosen, phases[i])
		}
	}
	total := time.Duration(len(chosen)) * *soakTime
	t.Logf("%d phases of %v, and of some two minutes each until all is at rest: %v and some %.0f million reads, or more",
		len(chosen), *soakTime, total, total.Seconds()*25_000/1e6)
	for _, p := range chosen {
		t.Run(p.name, func(t *testing.T) {
			r := p.start(t, seed(t))
			r.long = *soakTime >= 2*time.Minute
			r.work(*soakTime, nil)
			r.finish(false)
		})
	}
}
