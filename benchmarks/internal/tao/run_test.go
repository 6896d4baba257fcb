package tao

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/internal/redistest"
)

func config(mix string, writes float64, variants ...string) Config {
	return Config{
		Objects: 2000, Seed: 1, Mix: mix, Writes: writes, Callers: 32, Duration: time.Second, Variants: variants,
		Delay: time.Millisecond, Slots: 32, NearBytes: 64 << 20, NearMaxStale: time.Second, NearTTL: time.Minute,
	}
}

// Whatever the mix, reads through graphcache see what was acknowledged before they began, and
// with a near cache what their own process has written.
func TestNothingIsStale(t *testing.T) {
	addr := redistest.Start(t).Addr
	storm := config("storm", 0.5, "direct", "graphcache", "graphcache+near")
	storm.Pause = 5 * time.Millisecond
	small := config("tao", 0.1, "graphcache")
	small.Memory = 0.3
	for name, cfg := range map[string]Config{
		"tao": config("tao", 0.02, "direct", "graphcache", "graphcache+near"), "storm": storm, "little memory": small,
	} {
		t.Run(name, func(t *testing.T) {
			err := Run(t.Context(), cfg, addr, func(r Result) {
				if r.Stale > 0 || r.Errors > 0 || r.Checked == 0 || r.Ops == r.Checked {
					t.Errorf("%s: %d operations, %d reads, %d of them stale, %d errors: %s", r.Variant, r.Ops, r.Checked, r.Stale, r.Errors, r.StaleFirst)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The storm shows that what is measured would be seen if it were stale: cache-aside stores what
// it has read before a write after that write has deleted it.
func TestStormCatchesCacheAside(t *testing.T) {
	addr := redistest.Start(t).Addr
	cfg := config("storm", 0.5, "cacheaside")
	cfg.Pause = 5 * time.Millisecond
	for range 10 {
		stale := int64(0)
		if err := Run(t.Context(), cfg, addr, func(r Result) { stale = r.Stale }); err != nil {
			t.Fatal(err)
		}
		if stale > 0 {
			return
		}
	}
	t.Error("no read was stale")
}

// Every variant answers every kind of read as the store does, and writes what it is told to.
func TestVariantsAgree(t *testing.T) {
	addr := redistest.Start(t).Addr
	for _, name := range Variants {
		t.Run(name, func(t *testing.T) {
			c, _ := newTestClient(t, name, addr)
			for i := range 5000 {
				if err := c.do(t.Context(), c.m.table.next(c.r)); err != nil {
					t.Fatalf("operation %d: %v", i, err)
				}
				c.at = c.c.now()
			}
			for o, n := range c.asked {
				if n == 0 {
					t.Errorf("no %s", opNames[o])
				}
			}
			if n := c.c.stale.Load(); n > 0 {
				t.Errorf("%d reads of a single caller are wrong: %s", n, *c.c.first.Load())
			}
		})
	}
}

// newTestClient returns a client of a variant with a graph of its own, half of whose operations are
// writes.
func newTestClient(t *testing.T, name, addr string) (*client, *store) {
	t.Helper()
	cfg := config("tao", 0.5, name)
	g := NewGraph(1000, 2)
	r := &run{Config: cfg, name: name, server: server{newClient(addr)}, check: newChecker(g), mixture: newMixture(g, "tao", 0.5)}
	t.Cleanup(func() { _ = r.server.client.Close() })
	if _, err := r.server.empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := memory.NewStore(nil)
	if err := g.load(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	r.store = newStore(s, 8)
	v, err := r.open(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.close(context.Background()) })
	return r.client(0, v), r.store
}

// forgetful is cache-aside that does not delete what it has written.
type forgetful struct{ *aside }

func (f forgetful) update(ctx context.Context, o *Object) error { return f.direct.update(ctx, o) }

func TestPlantedStaleRead(t *testing.T) {
	c, _ := newTestClient(t, "cacheaside", redistest.Start(t).Addr)
	c.v = forgetful{c.v.(*aside)}
	read := func() {
		c.at = c.c.now()
		o, err := c.v.object(t.Context(), c.m.g.ids[0])
		if err != nil {
			t.Fatal(err)
		}
		c.c.readObject(c.at, 0, o)
	}
	read()
	if n := c.c.stale.Load(); n != 0 {
		t.Fatalf("%d stale reads before the write", n)
	}
	if err := c.update(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	read()
	if n := c.c.stale.Load(); n != 1 {
		t.Errorf("%d stale reads after the write, want 1", n)
	}
}

func TestMisses(t *testing.T) {
	c, s := newTestClient(t, "graphcache", redistest.Start(t).Addr)
	m := newMisses()
	c.n, s.misses = m, m
	v := c.v.(*graph)
	get := func() {
		t.Helper()
		if _, err := v.object(t.Context(), c.m.g.ids[0]); err != nil {
			t.Fatal(err)
		}
		if err := v.settle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := func(compulsory, written, capacity int64) {
		t.Helper()
		if a, b, d := m.compulsory.Load(), m.written.Load(), m.capacity.Load(); a != compulsory || b != written || d != capacity {
			t.Errorf("misses: %d compulsory, %d written, %d capacity, want %d, %d, %d", a, b, d, compulsory, written, capacity)
		}
	}
	get()
	get()
	want(1, 0, 0)
	if err := c.update(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	get()
	want(1, 1, 0)
	if err := v.b.Client().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	m.began = m.began.Add(-2 * sameLoad) // as if it had been a while ago
	get()
	want(1, 1, 1)
}

func TestGraph(t *testing.T) {
	g := NewGraph(10_000, 1)
	atMost := func(n int) (share float64) {
		for _, d := range g.degree {
			if int(d) <= n {
				share++
			}
		}
		return share / float64(g.size)
	}
	for n, want := range map[int]float64{0: 0.453, 1: 0.775, 2: 0.870, 5: 0.958, 15: 0.99, 264: 0.999} {
		if got := atMost(n); got < want-0.001 || got > want+0.001 {
			t.Errorf("%.4f of the objects have at most %d edges, want %.3f", got, n, want)
		}
	}
	again := NewGraph(10_000, 1)
	for i := range g.size {
		if g.degree[i] != again.degree[i] || string(g.data(i, 3)) != string(again.data(i, 3)) {
			t.Fatalf("object %d of a graph with the same seed is another one", i)
		}
	}
}

func TestShuffle(t *testing.T) {
	for _, n := range []int{1, 2, 3, 1000, 4097} {
		s, seen := newShuffle(n, 5), make([]bool, n)
		for i := range n {
			seen[s.at(i)] = true
		}
		for i, ok := range seen {
			if !ok {
				t.Fatalf("n = %d: nothing leads to %d", n, i)
			}
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0: time.Microsecond, 0.5: 500 * time.Microsecond, 0.99: 990 * time.Microsecond} {
		if got := h.quantile(q); got < want*98/100 || got > want*102/100 {
			t.Errorf("the quantile %g is %v, want %v", q, got, want)
		}
	}
}

func TestDescribe(t *testing.T) {
	if err := Describe(t.Context(), config("tao", 0.01), io.Discard); err != nil {
		t.Fatal(err)
	}
}
