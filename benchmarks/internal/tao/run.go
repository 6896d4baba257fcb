// Package tao measures ways of caching a graph under the load that Facebook has published of
// TAO, on a graph of LinkBench's shape.
//
// The shares of operations, how often queries find something, limits and mean lengths of data
// are those of Bronson et al., "TAO: Facebook's distributed data store for the social graph",
// USENIX ATC 2013. The distribution of degrees, the exponents of the Zipf distributions by
// which objects are chosen, and the shapes of lengths are those of Armstrong et al.,
// "LinkBench: a database benchmark based on the Facebook social graph", SIGMOD 2013, and its
// FBWorkload.
package tao

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// Variants are the names of all ways that are compared. There is another one, "floor": what
// the measurement itself takes, with a share of writes of 0.
var Variants = []string{"direct", "cacheaside", "cacheaside-plain", "graphcache", "graphcache+near"}

// Config says what is run.
type Config struct {
	Objects  int           // in the beginning
	Seed     uint64        // of the graph and of what is asked
	Mix      string        // tao or storm
	Writes   float64       // the share of writes
	Callers  int           // each asks as soon as it has its answer
	Duration time.Duration // of what is measured
	WarmUp   time.Duration // before it
	Memory   float64       // what Redis may use for values, in shares of their length; 0 is all it needs
	Cold     bool          // begin with an empty cache, and report every second
	Variants []string

	// Delay is how long the store takes for a call, besides what it takes in memory; Slots is
	// how many calls it answers at once; Pause is how long after it has answered a read the
	// answer arrives.
	Delay, Pause time.Duration
	Slots        int
	// Mongo is the URI of the store to use; empty is one in memory.
	Mongo string

	NearBytes    int64
	NearMaxStale time.Duration
	NearTTL      time.Duration

	Profiles string // a directory for processor profiles, empty for none
}

// Result is what a variant did.
type Result struct {
	Variant  string  `json:"variant"`
	Setting  string  `json:"setting,omitempty"` // of a sweep
	Second   int     `json:"second,omitempty"`  // of a cold start
	Mix      string  `json:"mix"`
	Objects  int     `json:"objects"`
	Callers  int     `json:"callers"`
	Writes   float64 `json:"writes"`
	Seconds  float64 `json:"seconds"`
	Ops      int64   `json:"ops"`
	OpsPerS  float64 `json:"ops_per_s"`
	P50      float64 `json:"p50_us"`
	P99      float64 `json:"p99_us"`
	P999     float64 `json:"p999_us"`
	WriteP50 float64 `json:"write_p50_us"`
	WriteP99 float64 `json:"write_p99_us"`

	// StoreCalls are reads and writes of the store. StoreItems are the objects, lists, counts
	// and single edges that reads of the application asked of it; StoreWriteItems are those
	// that its writes did.
	StoreCalls      int64   `json:"store_calls"`
	StoreItems      int64   `json:"store_items"`
	StoreItemsPer   float64 `json:"store_items_per_1000"` // reads of the application
	StoreWriteItems int64   `json:"store_write_items"`
	StoreLooks      int64   `json:"store_looks"`

	MissesCompulsory int64   `json:"misses_compulsory"`
	MissesWrite      int64   `json:"misses_write"`
	MissesCapacity   int64   `json:"misses_capacity"`
	HitRate          float64 `json:"hit_rate"`
	NearRate         float64 `json:"near_rate"`

	// CacheTrips is how often Redis read from a connection, CacheCommands what it was asked.
	CacheTrips    int64 `json:"cache_trips"`
	CacheCommands int64 `json:"cache_commands"`
	Evicted       int64 `json:"evicted"`

	Checked    int64   `json:"checked_reads"`
	Stale      int64   `json:"stale_reads"`
	StaleMaxMS float64 `json:"stale_max_ms"`
	StaleFirst string  `json:"stale_first,omitempty"`
	Errors     int64   `json:"errors"`

	RedisBytes int64 `json:"redis_bytes"`
	// CPUs is how many processors the program had on the average: on a machine with much else to
	// do fewer than it could have used, and then speeds compare as CPUPerOp does.
	CPUs        float64 `json:"cpus"`
	CPUPerOp    float64 `json:"cpu_ns_per_op"`
	RedisCPU    float64 `json:"redis_cpu_ns_per_op"`
	AllocsPerOp float64 `json:"allocs_per_op"`
	BytesPerOp  float64 `json:"bytes_per_op"`
}

// run is that of one variant.
type run struct {
	Config
	name    string
	server  server
	before  usage // of the empty server
	store   *store
	v       variant
	check   *checker
	mixture *mixture
	clients []*client

	over   atomic.Bool
	errs   atomic.Int64
	errOne atomic.Pointer[error]
}

// Run runs the variants one after the other against the redis-server, and passes what they
// did to emit.
func Run(ctx context.Context, cfg Config, addr string, emit func(Result)) error {
	g := NewGraph(cfg.Objects, cfg.Seed)
	client := newClient(addr)
	defer client.Close()
	for _, name := range cfg.Variants {
		if name != "floor" && !slices.Contains(Variants, name) {
			return fmt.Errorf("no variant %q", name)
		}
		r := &run{Config: cfg, name: name, server: server{client}, check: newChecker(g), mixture: newMixture(g, cfg.Mix, cfg.Writes)}
		if err := r.run(ctx, g, addr, emit); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (r *run) run(ctx context.Context, g *Graph, addr string, emit func(Result)) (err error) {
	if r.before, err = r.server.empty(ctx); err != nil {
		return err
	}
	if r.Memory > 0 {
		if err := r.server.limit(ctx, r.before.memory+int64(r.Memory*float64(g.bytes))); err != nil {
			return err
		}
	}
	b, drop, err := r.backend(ctx)
	if err != nil {
		return err
	}
	defer drop()
	if err := g.load(ctx, b); err != nil {
		return err
	}
	r.store = newStore(b, r.Slots)
	if r.name != "direct" && r.name != "floor" {
		r.store.misses = newMisses()
	}
	if r.v, err = r.open(ctx, addr); err != nil {
		return err
	}
	defer r.v.close(ctx)
	for i := range r.Callers {
		r.clients = append(r.clients, r.client(i, r.v))
	}
	if !r.Cold && r.store.misses != nil {
		if err := r.sweep(ctx); err != nil {
			return err
		}
	}
	r.store.delay.Store(int64(r.Delay))
	r.store.pause.Store(int64(r.Pause))
	defer debug.SetGCPercent(r.relax())
	if r.Cold {
		return r.cold(ctx, emit)
	}
	if _, err := r.measure(ctx, r.WarmUp); err != nil {
		return err
	}
	stop, err := r.profile()
	if err != nil {
		return err
	}
	result, err := r.measure(ctx, r.Duration)
	stop()
	if err == nil {
		emit(result)
	}
	return err
}

// garbage is how many bytes are allocated between two collections. The store is in the same
// process, and has millions of pointers: with the usual percentage, what a variant
// allocates would cost it many times what it costs where the store is elsewhere.
const garbage = 2 << 30

// relax collects what loading has left, and arranges for collections from here on. It returns
// the percentage that was set before.
func (r *run) relax() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return debug.SetGCPercent(max(1, int(garbage*100/max(m.HeapAlloc, 1))))
}

func (r *run) client(i int, v variant) *client {
	return &client{m: r.mixture, v: v, c: r.check, n: r.store.misses, r: rand.New(rand.NewPCG(r.Seed, uint64(i)+100))}
}

// backend returns an empty store.
func (r *run) backend(ctx context.Context) (b backend, drop func(), err error) {
	if r.Mongo != "" {
		return openMongo(ctx, r.Mongo)
	}
	s := memory.NewStore(&memory.StoreOptions{MaxRecords: -1})
	return s, func() { _ = s.Close(ctx) }, nil
}

func (r *run) open(ctx context.Context, addr string) (variant, error) {
	var s driver.Store = r.store
	switch r.name {
	case "direct":
		return direct{s}, nil
	case "floor":
		return newFloor(r.mixture.g), nil
	case "cacheaside":
		return openAside(s, addr)
	case "cacheaside-plain":
		return openPlain(s, addr)
	case "graphcache":
		return openGraph(ctx, s, addr, nil)
	}
	return openGraph(ctx, s, addr, &nearSettings{r.NearBytes, r.NearMaxStale, r.NearTTL})
}

// sweep reads every object and every list once, without the store's delay.
func (r *run) sweep(ctx context.Context) error {
	var next atomic.Int64
	g, errs := r.mixture.g, make([]error, r.Callers)
	var wg sync.WaitGroup
	for n, c := range r.clients {
		wg.Go(func() {
			for errs[n] == nil {
				i := int(next.Add(1)) - 1
				if i >= g.size {
					return
				}
				errs[n] = c.sweep(ctx, i)
			}
		})
	}
	wg.Wait()
	return errors.Join(append(errs, r.v.settle(ctx))...)
}

func (c *client) sweep(ctx context.Context, i int) error {
	g := c.m.g
	c.at = c.c.now()
	o, err := c.v.object(ctx, g.ids[i])
	if err != nil {
		return err
	}
	c.c.readObject(c.at, i, o)
	for kind := range kinds {
		c.at = c.c.now()
		if _, err := c.listOf(ctx, kind, i, limitMost); err != nil {
			return err
		}
		if int(g.count[kind][i]) < prefixEdges/2 {
			continue
		}
		c.at = c.c.now()
		reading := c.c.readList(c.at, kind, i)
		n, err := c.v.count(ctx, kind, g.ids[i])
		if err != nil {
			return err
		}
		c.c.readCount(reading, kind, i, n)
	}
	return nil
}

// cold reports every second of a run.
func (r *run) cold(ctx context.Context, emit func(Result)) error {
	for second := 1; time.Duration(second)*time.Second <= r.Duration; second++ {
		result, err := r.measure(ctx, time.Second)
		if err != nil {
			return err
		}
		result.Second = second
		emit(result)
	}
	return nil
}

func (r *run) profile() (stop func(), err error) {
	if r.Profiles == "" {
		return func() {}, nil
	}
	f, err := os.Create(filepath.Join(r.Profiles, r.name+".pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile(); _ = f.Close() }, nil
}

// measure runs the mix for so long.
func (r *run) measure(ctx context.Context, d time.Duration) (result Result, err error) {
	r.over.Store(false)
	r.errs.Store(0)
	r.store.reset()
	hits, near, misses := r.v.lookups()
	stale := r.check.stale.Load()
	r.check.oldest.Store(0)
	first, err := r.server.usage(ctx)
	if err != nil {
		return result, err
	}
	var m1, m2 runtime.MemStats
	runtime.ReadMemStats(&m1)
	used, begin := processTime(), time.Now()
	timer := time.AfterFunc(d, func() { r.over.Store(true) })
	defer timer.Stop()
	reads, writes, readCount, writeCount := r.drive(ctx)
	took, cpu := time.Since(begin), processTime()-used
	runtime.ReadMemStats(&m2)
	last, err := r.server.usage(ctx)
	if err != nil {
		return result, err
	}
	if err := r.v.settle(ctx); err != nil {
		return result, err
	}
	after, err := r.server.usage(ctx)
	if err != nil {
		return result, err
	}
	if e := r.errOne.Load(); e != nil {
		fmt.Fprintf(os.Stderr, "%s: %d errors, the first of which: %v\n", r.name, r.errs.Load(), *e)
	}
	ops := float64(max(readCount+writeCount, 1))
	hits2, near2, misses2 := r.v.lookups()
	s := r.store
	result = Result{
		Variant: r.name, Mix: r.Mix, Objects: r.Objects, Callers: r.Callers, Writes: r.Writes, Seconds: took.Seconds(),
		Ops: readCount + writeCount, OpsPerS: ops / took.Seconds(),
		P50: micros(reads.quantile(0.5)), P99: micros(reads.quantile(0.99)), P999: micros(reads.quantile(0.999)),
		WriteP50: micros(writes.quantile(0.5)), WriteP99: micros(writes.quantile(0.99)),
		StoreCalls: s.calls.Load(), StoreItems: s.items.Load(), StoreWriteItems: s.writeItems.Load(), StoreLooks: s.looks.Load(),
		StoreItemsPer: 1000 * float64(s.items.Load()) / float64(max(readCount, 1)),
		HitRate:       share(hits2-hits, misses2-misses), NearRate: share(near2-near, hits2-hits-near2+near+misses2-misses),
		CacheTrips: last.reads - first.reads, CacheCommands: last.commands - first.commands, Evicted: last.evict - first.evict,
		Checked: readCount, Stale: r.check.stale.Load() - stale,
		StaleMaxMS: float64(r.check.oldest.Load()) / 1e6, Errors: r.errs.Load(),
		RedisBytes: after.memory - r.before.memory, CPUs: cpu.Seconds() / took.Seconds(), CPUPerOp: float64(cpu.Nanoseconds()) / ops, RedisCPU: (last.cpu - first.cpu) * 1e9 / ops,
		AllocsPerOp: float64(m2.Mallocs-m1.Mallocs) / ops, BytesPerOp: float64(m2.TotalAlloc-m1.TotalAlloc) / ops,
	}
	if m := s.misses; m != nil {
		result.MissesCompulsory, result.MissesWrite, result.MissesCapacity = m.compulsory.Load(), m.written.Load(), m.capacity.Load()
	}
	if first := r.check.first.Load(); first != nil && result.Stale > 0 {
		result.StaleFirst = *first
	}
	return result, nil
}

// drive lets all clients work until the time is over.
func (r *run) drive(ctx context.Context) (reads, writes *histogram, readCount, writeCount int64) {
	reads, writes = new(histogram), new(histogram)
	var mu sync.Mutex // protects the results
	var wg sync.WaitGroup
	for _, c := range r.clients {
		wg.Go(func() {
			var h [2]histogram
			var n [2]int64
			c.at = r.check.now()
			for !r.over.Load() {
				o := c.m.table.next(c.r)
				if err := c.do(ctx, o); err != nil {
					r.failed(err)
				}
				end := r.check.now()
				i := 0
				if o >= objAdd {
					i = 1
				}
				h[i].add(time.Duration(end - c.at))
				n[i]++
				c.at = end
			}
			mu.Lock()
			defer mu.Unlock()
			reads.merge(&h[0])
			writes.merge(&h[1])
			readCount, writeCount = readCount+n[0], writeCount+n[1]
		})
	}
	wg.Wait()
	return reads, writes, readCount, writeCount
}

func (r *run) failed(err error) {
	r.errs.Add(1)
	r.errOne.CompareAndSwap(nil, &err)
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()/10) / 100 }

func share(a, b int64) float64 {
	if a+b == 0 {
		return 0
	}
	return float64(a) / float64(a+b)
}

// processTime returns the processor time that the program has taken so far.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
