package graphcache_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// The hazards of a cache beside a store, each with all interleavings of the calls
// that matter, or with the one that is known to hurt. hazardActor and hazardPlay
// force them: an actor's calls are made one at a time, when its turn comes.

// hazardActor is a process in an interleaving.
type hazardActor struct {
	name  string
	e     *fixtureEngine
	act   func(context.Context) error
	fault func(fixtureCall) backendtest.Fault // what happens to its calls, may be nil

	arrived  chan string // the methods of calls that wait for their turn
	proceed  chan struct{}
	done     chan struct{}
	waiting  []string
	started  bool
	finished bool
	err      error // of act
	settled  error // of the background work after it
}

// start runs the actor up to its first call.
func (a *hazardActor) start(t testing.TB) {
	a.started = true
	a.arrived, a.proceed, a.done = make(chan string, 64), make(chan struct{}), make(chan struct{})
	a.e.on(func(c fixtureCall) backendtest.Fault {
		if c.is("Look", "Owe", "Settle") {
			return backendtest.Fault{} // what the process does by itself is no step of the actor
		}
		select {
		case <-a.done: // so this is not, either
		default:
			a.arrived <- c.Method
			select {
			case <-a.proceed:
			case <-a.done:
			}
		}
		if a.fault != nil {
			return a.fault(c)
		}
		return backendtest.Fault{}
	})
	go func() {
		defer close(a.done)
		a.err = a.act(t.Context())
		a.settled = a.e.Settle(t.Context())
	}()
}

// await returns when a call waits for its turn, or all is done.
func (a *hazardActor) await(t testing.TB) {
	t.Helper()
	patience := time.NewTimer(fixturePatience)
	defer patience.Stop()
	for len(a.waiting) == 0 && !a.finished {
		select {
		case method := <-a.arrived:
			a.waiting = append(a.waiting, method)
		case <-a.done:
			a.finished = true
			a.e.on(nil)
		case <-patience.C:
			t.Fatalf("%s neither makes a call nor ends", a.name)
		}
	}
}

// step makes the actor's next call and returns its method, "" if there is none.
func (a *hazardActor) step(t testing.TB) (method string) {
	t.Helper()
	if !a.started {
		a.start(t)
	}
	if a.await(t); a.finished {
		return ""
	}
	method, a.waiting = a.waiting[0], a.waiting[1:]
	select {
	case a.proceed <- struct{}{}:
	case <-a.done: // it was a call that the process made by itself
	}
	a.await(t)
	return method
}

// hazardTrace is what has happened in an interleaving, for messages.
type hazardTrace []string

func (tr hazardTrace) String() string { return strings.Join(tr, " ") }

// steps makes up to n calls of the actor, or with -1 all that are left.
func (tr *hazardTrace) steps(t testing.TB, a *hazardActor, n int) {
	t.Helper()
	for ; n != 0; n-- {
		method := a.step(t)
		if method == "" {
			break
		}
		*tr = append(*tr, a.name+"."+method)
	}
	if a.finished && a.settled != nil {
		t.Fatalf("%v: %s does not settle: %v", tr, a.name, a.settled)
	}
}

// hazardPlay makes the actors' calls in the order given, by their numbers, and then
// those that are left. between, if it is not nil, runs before each turn and after
// the last, with the number of turns that have passed.
func hazardPlay(t testing.TB, order []int, between func(turn int), actors ...*hazardActor) hazardTrace {
	t.Helper()
	var tr hazardTrace
	for turn, who := range order {
		if between != nil {
			between(turn)
		}
		tr.steps(t, actors[who], 1)
	}
	if between != nil {
		between(len(order))
	}
	for _, a := range actors {
		tr.steps(t, a, -1)
	}
	return tr
}

// hazardOrders returns all interleavings of sequences with the lengths given.
func hazardOrders(lengths ...int) [][]int {
	var orders [][]int
	var grow func(left, order []int)
	grow = func(left, order []int) {
		ended := true
		for who, n := range left {
			if n > 0 {
				ended = false
				left[who]--
				grow(left, append(order[:len(order):len(order)], who))
				left[who]++
			}
		}
		if ended {
			orders = append(orders, order)
		}
	}
	grow(lengths, nil)
	return orders
}

// hazardLast returns the last turn of an actor in an order, and hazardFirst the first.
func hazardLast(order []int, who int) (turn int) {
	for i, w := range order {
		if w == who {
			turn = i
		}
	}
	return turn
}

func hazardFirst(order []int, who int) int {
	for i, w := range order {
		if w == who {
			return i
		}
	}
	return len(order)
}

// hazardControl plays sequences of steps in all interleavings, each on what fresh
// returns, and says in how many of them stale is true at the end.
func hazardControl(fresh func() (sequences [][]func(), stale func() bool)) (n int) {
	sequences, _ := fresh()
	lengths := make([]int, len(sequences))
	for i, s := range sequences {
		lengths[i] = len(s)
	}
	for _, order := range hazardOrders(lengths...) {
		sequences, stale := fresh()
		for _, who := range order {
			sequences[who][0]()
			sequences[who] = sequences[who][1:]
		}
		if stale() {
			n++
		}
	}
	return n
}

// hazardRace is one read that races one write: before the write the read's answer
// is old, after it new.
type hazardRace struct {
	read     func(context.Context, *fixtureEngine) (string, error)
	write    func(context.Context, *fixtureEngine) error
	reset    func(t testing.TB, e *fixtureEngine) // makes it old again
	old, new string
	// readCalls and writeCalls are how many calls the two make if nothing
	// comes in between.
	readCalls, writeCalls int
}

// play runs the race in one order on the reader's and the writer's process, and then
// reads in all processes given: now the write is acknowledged.
func (h *hazardRace) play(t testing.TB, order []int, between func(int), processes ...*fixtureEngine) {
	t.Helper()
	var value string
	reader := &hazardActor{name: "reader", e: processes[0], act: func(ctx context.Context) (err error) {
		value, err = h.read(ctx, processes[0])
		return err
	}}
	writer := &hazardActor{name: "writer", e: processes[1], act: func(ctx context.Context) error {
		return h.write(ctx, processes[1])
	}}
	trace := hazardPlay(t, order, between, reader, writer)
	if reader.err != nil || writer.err != nil {
		t.Fatalf("%v: the reader's error is %v, the writer's %v", trace, reader.err, writer.err)
	}
	if value != h.new && (value != h.old || hazardLast(order, 1) < hazardFirst(order, 0)) {
		t.Fatalf("%v: the read returned %q, which was never there or was replaced before the read began", trace, value)
	}
	for _, pass := range []string{"a read that fills", "a read that hits"} {
		for i, e := range processes {
			got, err := h.read(t.Context(), e)
			if err != nil || got != h.new {
				t.Fatalf("%v: after the write was acknowledged %s in process %d returned %q, %v, want %q", trace, pass, i, got, err, h.new)
			}
			e.settle(t)
		}
	}
}

// hazardRename is the race of a read of an object and an Update.
func hazardRename() *hazardRace {
	return &hazardRace{
		read: func(ctx context.Context, e *fixtureEngine) (string, error) {
			u, err := fixtureUsers.Get(ctx, e, "ann")
			if err != nil {
				return "", err
			}
			return u.Name, nil
		},
		write:     func(ctx context.Context, e *fixtureEngine) error { return e.rename(ctx, "ann", "new") },
		reset:     func(t testing.TB, e *fixtureEngine) { fixtureMust(t, e.rename(t.Context(), "ann", "old")) },
		old:       "old",
		new:       "new",
		readCalls: 4, writeCalls: 4, // Lookup Claim Read Fill, Read Hold Write Release
	}
}

// TestHazard01LateFill: a reader that has read the store before a write does not
// fill the cache after it, whatever the order of their calls.
func TestHazard01LateFill(t *testing.T) {
	control := hazardControl(func() ([][]func(), func() bool) {
		store, cache, read := "old", "", ""
		reader := []func(){func() { read = store }, func() { cache = read }}
		writer := []func(){func() { store = "new" }, func() { cache = "" }}
		return [][]func(){reader, writer}, func() bool { return cache != "" && cache != store }
	})
	if control == 0 {
		t.Error("the orders do no harm to plain cache-aside, so they show nothing")
	}
	reader := fixtureNew(t)
	writer, other := reader.another(t), reader.another(t)
	reader.seed(t, []fixtureUserID{"ann"})
	h := hazardRename()
	for _, order := range hazardOrders(h.readCalls, h.writeCalls) {
		h.reset(t, other)
		h.play(t, order, nil, reader, writer, other)
	}
	if s := reader.Stats().Kinds["user"]; s.Refusals == 0 || s.Fills == 0 {
		t.Errorf("the reader filled %d values and %d were refused: want some of both", s.Fills, s.Refusals)
	}
}

// TestHazard02FenceLoss: what stands between a late fill and the cache may vanish at
// any step. Reads that start after the acknowledgement are right even when the hold
// of a live writer was lost, and that is counted.
func TestHazard02FenceLoss(t *testing.T) {
	control := hazardControl(func() ([][]func(), func() bool) {
		// Versions that are counted, from 0 again after an eviction.
		store, cache, version := "old", "", 0
		read, seen := "", 0
		reader := []func(){func() { seen = version }, func() { read = store }, func() {
			if version == seen {
				cache = read
			}
		}}
		writer := []func(){func() { store = "new" }, func() { version++; cache = "" }}
		evict := []func(){func() { version, cache = 0, "" }}
		return [][]func(){reader, writer, evict}, func() bool { return cache != "" && cache != store }
	})
	if control == 0 {
		t.Error("the orders do no harm to versions that start again, so they show nothing")
	}
	short := func(o *graphcache.Options) { o.TTL = time.Second } // less than a hold lives
	for _, tt := range []struct {
		name   string
		tokens bool // they vanish too
		read   bool // another process reads then
		loss   func(e *fixtureEngine, clock *fixtureClock, anchor string)
	}{
		{"eviction", true, false, func(e *fixtureEngine, _ *fixtureClock, anchor string) { e.cache.Evict(anchor) }},
		{"eviction and a reader", true, true, func(e *fixtureEngine, _ *fixtureClock, anchor string) { e.cache.Evict(anchor) }},
		{"flush and a reader", true, true, func(e *fixtureEngine, _ *fixtureClock, _ string) { e.cache.Flush() }},
		{"expiry of values and a reader", false, true, func(_ *fixtureEngine, c *fixtureClock, _ string) { c.advance(2 * time.Second) }},
		{"expiry of all and a reader", true, true, func(_ *fixtureEngine, c *fixtureClock, _ string) { c.advance(time.Hour) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reader, clock := fixtureTimed(t, short)
			writer, other := reader.another(t, short), reader.another(t, short)
			reader.seed(t, []fixtureUserID{"ann"})
			anchor := reader.anchors(t, func() { reader.name(t, "ann") })[0]
			h := hazardRename()
			lostHolds := int64(0)
			for _, order := range hazardOrders(h.readCalls, h.writeCalls) {
				for at := range len(order) + 1 {
					h.reset(t, other)
					writes := 0 // calls of the writer before the loss
					for _, who := range order[:at] {
						writes += who
					}
					if tt.tokens && (writes == 2 || writes == 3) {
						lostHolds++
					}
					h.play(t, order, func(turn int) {
						if turn != at {
							return
						}
						tt.loss(reader, clock, anchor)
						if !tt.read {
							return
						}
						if got := other.name(t, "ann"); got != h.new && (writes > 2 && !tt.tokens || writes > 3 || got != h.old) {
							t.Errorf("order %v: after %d calls of the writer a reader got %q", order, writes, got)
						}
						other.settle(t)
					}, reader, writer, other)
				}
			}
			if got := writer.Stats().Kinds["user"].LostHolds; got != lostHolds {
				t.Errorf("%d holds of a live writer were lost and %d were counted", lostHolds, got)
			}
		})
	}
}
