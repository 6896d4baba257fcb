package rollout_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// world is one store and one cache, and the processes that are alive.
type world struct {
	t         testing.TB
	store     *memory.Store
	cache     *memory.Cache
	namespace string // in which they work
	delays    bool   // calls of the backends take time
	outages   bool   // the cache does not take all marks of writes, which wait for others then
	clash     bool   // values of unique fields may clash
	steps     int    // that a program makes in each half of a phase
	wrap      func(*backendtest.FaultyStore) driver.Store

	alive []*process
	done  []string // the last steps
	reads int      // that were checked
	stale string   // the first wrong answer
}

func newWorld(t testing.TB) *world {
	return &world{t: t, store: memory.NewStore(nil), cache: memory.NewCache(nil), steps: steps}
}

// process is a program with one graph.
type process struct {
	name  string
	v     version
	root  *graphcache.Graph
	g     *graphcache.Graph // in the world's namespace
	store *backendtest.FaultyStore
	cache *backendtest.FaultyCache
	log   *buffer
	asked []asked // not long ago
}

// asked is a read that may be made again: what is cached is found by asking twice.
type asked struct {
	what string
	ask  question
}

// askedAgain is how many reads a process remembers.
const askedAgain = 24

// buffer is a log that goroutines share.
type buffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// delay lets some calls take a while.
func (w *world) delay(_ context.Context, c backendtest.Call) backendtest.Fault {
	most := 20 * time.Millisecond
	switch c.Method {
	case "Read", "Write", "Look", "Tx.Commit":
		most = 200 * time.Millisecond
	}
	fault := backendtest.Fault{}
	switch rand.IntN(3) {
	case 0:
		fault.Delay = rand.N(most)
	case 1:
		d := rand.N(most)
		fault.After = func(context.Context) { time.Sleep(d) }
	}
	return fault
}

// outage lets some calls of writes fail, before or after they are made.
func outage(_ context.Context, c backendtest.Call) backendtest.Fault {
	if c.Method != "Hold" && c.Method != "Release" {
		return backendtest.Fault{}
	}
	switch rand.IntN(4) {
	case 0:
		return backendtest.Fault{Action: backendtest.Fail}
	case 1:
		return backendtest.Fault{Action: backendtest.DropReply}
	}
	return backendtest.Fault{}
}

// open starts a process.
func (w *world) open(v version, change ...func(*graphcache.Options)) *process {
	w.t.Helper()
	p := &process{
		name: v.label(), v: v, log: new(buffer),
		store: backendtest.NewFaultyStore(w.store, nil), cache: backendtest.NewFaultyCache(w.cache, nil),
	}
	if w.delays {
		p.store.SetHook(w.delay)
		p.cache.SetHook(w.delay)
	}
	opts := &graphcache.Options{
		Cache: p.cache, ReadTimeout: time.Second,
		Logger: slog.New(slog.NewTextHandler(io.Writer(p.log), nil)),
	}
	if w.outages {
		p.cache.SetHook(outage)
		opts.WhenCacheDown = graphcache.Wait
	}
	for _, f := range change {
		f(opts)
	}
	var store driver.Store = p.store
	if w.wrap != nil {
		store = w.wrap(p.store)
	}
	var err error
	if p.root, err = graphcache.Open(context.Background(), v.schema(), store, opts); err != nil {
		w.t.Fatalf("open %s: %v", p.name, err)
	}
	if p.g, err = p.root.Namespace(context.Background(), w.namespace); err != nil {
		w.t.Fatalf("open %s: %v", p.name, err)
	}
	w.alive = append(w.alive, p)
	w.note("open " + p.name)
	return p
}

// end ends a process.
func (w *world) end(p *process) {
	w.t.Helper()
	if err := p.root.Close(context.Background()); err != nil {
		w.t.Fatalf("close %s: %v", p.name, err)
	}
	w.alive = slices.DeleteFunc(w.alive, func(q *process) bool { return q == p })
	w.note("close " + p.name)
}

// endAll ends all of them.
func (w *world) endAll() {
	for len(w.alive) > 0 {
		w.end(w.alive[0])
	}
}

// noted is how many of the last steps a failure shows.
const noted = 40

func (w *world) note(step string) {
	if w.done = append(w.done, step); len(w.done) > noted {
		w.done = w.done[1:]
	}
}

// check compares a random read of the process, mostly one that it has made before, with
// what the store says.
func (w *world) check(p *process, r *rand.Rand) {
	w.t.Helper()
	if len(p.asked) > 0 && r.IntN(3) > 0 {
		again := p.asked[r.IntN(len(p.asked))]
		w.compare(p, again.what, again.ask)
		return
	}
	what, ask := p.v.read(r)
	if p.asked = append(p.asked, asked{what, ask}); len(p.asked) > askedAgain {
		p.asked = p.asked[1:]
	}
	w.compare(p, what, ask)
}

func (w *world) compare(p *process, what string, ask question) {
	w.t.Helper()
	ctx := context.Background()
	got, err := ask(ctx, p.g, false)
	if err != nil {
		w.t.Fatalf("%s: %s: %v\n%s", p.name, what, err, strings.Join(w.done, "\n"))
	}
	want, err := ask(ctx, p.g, true)
	if err != nil {
		w.t.Fatalf("%s: %s: fresh: %v\n%s", p.name, what, err, strings.Join(w.done, "\n"))
	}
	w.reads++
	w.note(fmt.Sprintf("%s: %s = %s", p.name, what, got))
	if got != want && w.stale == "" {
		w.stale = fmt.Sprintf("%s: %s = %s, but the store has %s; after\n%s", p.name, what, got, want, strings.Join(w.done, "\n"))
	}
}

// write makes a random write.
func (w *world) write(p *process, r *rand.Rand) {
	w.t.Helper()
	what, err := p.v.write(context.Background(), p.g, r, w.clash)
	w.note(fmt.Sprintf("%s: %s: %v", p.name, what, err))
	if err != nil && !expected(err) {
		w.t.Fatalf("%s: %s: %v\n%s", p.name, what, err, strings.Join(w.done, "\n"))
	}
}

// run makes n random steps, each in a random process, until there is a wrong answer.
func (w *world) run(r *rand.Rand, n int) {
	w.t.Helper()
	for range n {
		p := w.alive[r.IntN(len(w.alive))]
		switch k := r.IntN(20); {
		case k < 5:
			w.write(p, r)
		case k < 17:
			w.check(p, r)
		case k < 19:
			if err := p.g.Settle(context.Background()); err != nil {
				w.t.Fatal(err)
			}
		default:
			d := time.Duration(r.IntN(2500)) * time.Millisecond
			w.note("sleep " + d.String())
			time.Sleep(d)
		}
		if w.stale != "" {
			return
		}
	}
}

// readiness is longer than it takes until a new index is used, a look included.
func readiness() time.Duration { return readyAfter + 2*lookPeriod }

// The defaults of graphcache, and how long an index that is new for a kind is not used.
const (
	lookPeriod = time.Second
	holdTTL    = 15 * time.Second
	readyAfter = 4*lookPeriod + 3*holdTTL
)
