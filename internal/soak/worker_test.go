//go:build linux

package soak_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

// plan is what a process needs to know. It is in the environment, as JSON.
type plan struct {
	Shared          string // a file
	URI, Database   string
	Redis           []string
	Seed            uint64
	Place, Places   int
	Incarnation     int
	Cells           int
	Readers         int
	Lists           bool   // nothing but links is read and written
	Plain           bool   // its schema has no index of accounts
	WhenCacheDown   string // ack, wait or fail
	Strict          bool
	Usual           bool   // the graphs' settings are the defaults
	Control         string // what is left out, or nothing
	Quiet           bool
	Fresh           int // reads in 1,000
	StoreWriteDelay time.Duration
}

const planVariable = "GRAPHCACHE_SOAK_PLAN"

// settings are those of the graphs that count here.
type settings struct {
	lookPeriod, writeTimeout, holdTTL time.Duration
}

// settings returns the usual ones, or shorter ones, so that what waits for a time-out is seen within
// seconds.
func (p *plan) settings() settings {
	if p.Usual {
		return settings{lookPeriod: time.Second, writeTimeout: 5 * time.Second, holdTTL: 15 * time.Second}
	}
	return settings{lookPeriod: 500 * time.Millisecond, writeTimeout: time.Second, holdTTL: 4 * time.Second}
}

// heldBack is for how long a proxy holds a request back at most.
const heldBack = 1500 * time.Millisecond

// settle is how long a write of unknown outcome may still be applied: for as long as its writer
// waits, and then a proxy holds it back.
func (p *plan) settle() time.Duration { return p.settings().writeTimeout + heldBack + time.Second }

func (p *plan) options(cache driver.Cache, logger *slog.Logger) *graphcache.Options {
	o := &graphcache.Options{Cache: cache, Logger: logger, Strict: p.Strict}
	if !p.Usual {
		s := p.settings()
		o.TTL, o.LookPeriod, o.WriteTimeout, o.HoldTTL = 2*time.Minute, s.lookPeriod, s.writeTimeout, s.holdTTL
		o.ReadTimeout, o.HoldTimeout = 100*time.Millisecond, 200*time.Millisecond
		o.LoadTimeout, o.LeaseTTL = 2*time.Second, 2500*time.Millisecond
	}
	whenCacheDown(o, p.WhenCacheDown)
	return o
}

// worker is one of the processes.
type worker struct {
	plan    plan
	shared  *shared
	graph   *graphcache.Graph
	busy    [maxSequences]sync.Mutex // while a writer writes the sequence
	looks   looks
	closing []func()

	mu    sync.Mutex // protects what follows
	known map[staleKey]*staleRead

	errors sync.Map // of string, to *atomic.Int64
}

// TestWorker is what the processes run. They do what they are told on the standard input, and
// answer on the standard output.
func TestWorker(t *testing.T) {
	text := os.Getenv(planVariable)
	if text == "" {
		return
	}
	w := &worker{known: make(map[staleKey]*staleRead)}
	if err := w.serve(t.Context(), text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (w *worker) serve(ctx context.Context, text string) (err error) {
	if err := json.Unmarshal([]byte(text), &w.plan); err != nil {
		return err
	}
	if w.shared, err = mapShared(w.plan.Shared); err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); ; {
		if err = w.open(ctx); err == nil {
			break
		}
		if time.Now().After(end) {
			return err
		}
		w.close(ctx)
		time.Sleep(100 * time.Millisecond)
	}
	w.resume()
	stop := w.begin(ctx)
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		r := reply{Errors: map[string]int64{}}
		switch in.Text() {
		case "finish":
			if err := w.finish(ctx); err != nil {
				r.Faults = append(r.Faults, err.Error())
			}
		case "verify":
			r.Faults = w.verify(ctx)
		}
		w.errors.Range(func(k, v any) bool {
			r.Errors[k.(string)] = v.(*atomic.Int64).Load()
			return true
		})
		for _, k := range w.graph.Stats().Kinds {
			r.Hits, r.Misses = r.Hits+k.Hits, r.Misses+k.Misses
		}
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		fmt.Printf("%s\n", b)
	}
	stop()
	w.close(ctx)
	return nil
}

// open connects to the servers and opens the graph.
func (w *worker) open(ctx context.Context) error {
	p := &w.plan
	logger := slog.New(slog.DiscardHandler)
	if p.Quiet {
		goredis.SetLogger(silent{})
	} else {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("place", p.Place)
	}
	ms, err := mongo.Open(ctx, p.URI, &mongo.Options{Database: p.Database, Logger: logger})
	if err != nil {
		return err
	}
	// What a process that ends does not close, its end does.
	w.closing = append(w.closing, func() { _ = ms.Close(ctx) })
	backend, err := redis.OpenUniversal(ctx, &goredis.UniversalOptions{Addrs: p.Redis}, &redis.Options{Logger: logger, BatchTimeout: 200 * time.Millisecond})
	if err != nil {
		return err
	}
	w.closing = append(w.closing, func() { _ = backend.Close(ctx) })
	s, c := graphSchema(p), w.wrapCache(backend.Cache())
	w.graph, err = graphcache.Open(ctx, s, w.wrapStore(ms), p.options(c, logger))
	if err == nil {
		g := w.graph
		w.closing = append(w.closing, func() { _ = g.Close(ctx) })
	}
	return err
}

// silent is what go-redis logs to.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func graphSchema(p *plan) *graphcache.Schema {
	if p.Plain {
		return plainSchema
	}
	return schema
}

func (w *worker) close(ctx context.Context) {
	for len(w.closing) > 0 {
		w.closing[len(w.closing)-1]()
		w.closing = w.closing[:len(w.closing)-1]
	}
}

// resume goes on where the process before this one in its place was ended.
func (w *worker) resume() {
	for seq := range w.plan.Cells * cellSize {
		s := &w.shared.sequences[seq]
		if seq%cellSize >= cellAccounts && seq%w.plan.Places == w.plan.Place && s.begun.Load() > s.acked.Load() {
			raise(&s.clear, clock()+int64(w.plan.settle()))
		}
	}
	p := &w.shared.places[w.plan.Place]
	p.working.Store(0)
	p.trap.action.Store(0)
}

// begin starts the clients.
func (w *worker) begin(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	ids := newIDSet(w.plan.Cells)
	random := func(i int) *rand.Rand {
		return rand.New(rand.NewPCG(w.plan.Seed, uint64(w.plan.Place)<<32|uint64(w.plan.Incarnation)<<8|uint64(i)))
	}
	for i := range w.plan.Readers {
		r := &reader{w: w, rng: random(i), ids: ids}
		wg.Go(func() { w.repeat(ctx, r.read, func() time.Duration { return 0 }) })
	}
	const writers = 4
	for i := range writers {
		wr := &writer{w: w, rng: random(128 + i)}
		wg.Go(func() {
			w.repeat(ctx, wr.write, func() time.Duration {
				mean := writers * time.Second / time.Duration(max(1, w.shared.writes.Load()))
				return time.Duration(wr.rng.ExpFloat64() * float64(mean))
			})
		})
	}
	return func() { cancel(); wg.Wait() }
}

// repeat does something again and again while clients are to work.
func (w *worker) repeat(ctx context.Context, do func(context.Context), pause func() time.Duration) {
	p := &w.shared.places[w.plan.Place]
	for ctx.Err() == nil {
		if d := pause(); d > 0 {
			time.Sleep(d)
		}
		p.working.Add(1)
		if w.shared.mode.Load() != work {
			p.working.Add(-1)
			time.Sleep(10 * time.Millisecond)
			continue
		}
		do(context.WithoutCancel(ctx))
		p.working.Add(-1)
	}
}

func (w *worker) count(what int, n int64) { w.shared.places[w.plan.Place].counts[what].Add(n) }

// failed counts an error by its kind.
func (w *worker) failed(what string, err error) {
	kind := "another"
	for _, known := range []error{
		graphcache.ErrUnavailable, graphcache.ErrUnknownOutcome, graphcache.ErrConflict, graphcache.ErrNotFound,
		graphcache.ErrExists, graphcache.ErrInvalid, context.DeadlineExceeded,
	} {
		if errors.Is(err, known) {
			kind = strings.TrimPrefix(known.Error(), "graphcache: ")
			break
		}
	}
	if kind == "another" || errors.Is(err, graphcache.ErrInvalid) || errors.Is(err, graphcache.ErrNotFound) || errors.Is(err, graphcache.ErrExists) {
		kind += ": " + err.Error()[:min(200, len(err.Error()))]
	}
	n, _ := w.errors.LoadOrStore(what+": "+kind, new(atomic.Int64))
	n.(*atomic.Int64).Add(1)
}

// verify compares what the cache has with the store, and with what was acknowledged.
func (w *worker) verify(ctx context.Context) (faults []string) {
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	ids := newIDSet(w.plan.Cells)
	for range 2 { // the first round fills
		c := &reader{w: w, rng: rand.New(rand.NewPCG(1, 1)), ids: ids}
		for cell := range w.plan.Cells {
			for _, fresh := range []graphcache.Freshness{graphcache.Cached, graphcache.Fresh} {
				faults = append(faults, c.everything(ctx, cell, fresh)...)
			}
		}
	}
	for seq := range w.plan.Cells * cellSize {
		s := &w.shared.sequences[seq]
		if begun, acked := s.begun.Load(), s.acked.Load(); begun != acked {
			fault("%s is in state %d, but %d was begun", describe(seq, itself), acked, begun)
		}
	}
	return faults
}

// everything reads all that there is in a cell. All states are known.
func (c *reader) everything(ctx context.Context, cell int, fresh graphcache.Freshness) (faults []string) {
	stale := func() int64 { return c.w.shared.places[c.w.plan.Place].counts[cStale].Load() }
	before := stale()
	try := func(what string, read func(context.Context, int, graphcache.Freshness) (int, error)) {
		if _, err := read(ctx, cell, fresh); err != nil {
			faults = append(faults, fmt.Sprintf("cell %d, %s: %v", cell, what, err))
		}
		if now := stale(); now > before {
			faults = append(faults, fmt.Sprintf("cell %d, %s, fresh %v: %d are not in their last state", cell, what, fresh == graphcache.Fresh, now-before))
			before = now
		}
	}
	try("accounts", c.getAccounts)
	try("things", c.getThings)
	try("links", c.links)
	for range 4 * cellEnds { // at random
		try("links by their ends", c.linksTo)
		try("number of links", c.countLinks)
		try("things in a group", c.thingsIn)
		if !c.w.plan.Plain {
			try("accounts in a group", c.accountsIn)
			try("number of accounts in a group", c.countAccounts)
			try("accounts by their group", c.findAccounts)
		}
	}
	return faults
}

// looks are the last looks of the process. A look is begun only when the one before it has been
// taken in.
type looks struct {
	mu     sync.Mutex
	last   [8]look // of those that succeeded, the latest first
	failed int64   // when the last one ended that did not
}

type look struct{ began, ended int64 }

func (l *looks) add(began int64, err error) {
	ended := clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed = ended
		return
	}
	copy(l.last[1:], l.last[:])
	l.last[0] = look{began, ended}
}

// before returns when the last look began that had been taken in at a moment, and when the last
// one had failed.
func (l *looks) before(moment int64) (began, failed int64) {
	const toTakeIn = 200 * time.Millisecond
	l.mu.Lock()
	defer l.mu.Unlock()
	next := moment + 1
	for _, look := range l.last {
		if look.ended != 0 && (next <= moment || look.ended+int64(toTakeIn) <= moment) {
			return look.began, l.failed
		}
		next = look.began
	}
	return 0, l.failed
}
