package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// nearly has the graph keep a near cache.
func nearly(o *graphcache.Options) { o.NearCache = &graphcache.NearCache{MaxStale: time.Second} }

// nearNew returns a process with a near cache that is served.
func nearNew(t testing.TB, set ...func(*graphcache.Options)) *fixtureEngine {
	t.Helper()
	e := fixtureNew(t, append([]func(*graphcache.Options){nearly}, set...)...)
	e.served(t)
	return e
}

// served waits until the near cache is served.
func (e *fixtureEngine) served(t testing.TB) {
	t.Helper()
	fixtureEventually(t, "the near cache is served", func() bool { return e.Stats().Near.Serving })
}

// lookups returns how many fragments read looks up in the shared cache.
func (e *fixtureEngine) lookups(read func()) int {
	before := e.fcache.Items("Lookup")
	read()
	return e.fcache.Items("Lookup") - before
}

// warm reads twice, first to fill the shared cache.
func (e *fixtureEngine) warm(t testing.TB, read func()) {
	t.Helper()
	read()
	e.settle(t)
	read()
}

// TestNearHits: what was read from the shared cache, and what was filled into it, is not
// looked up again.
func TestNearHits(t *testing.T) {
	e := nearNew(t)
	e.seed(t, []fixtureUserID{"ann", "bob", "cat"}, "p")
	for i, to := range []fixtureUserID{"bob", "cat"} {
		_, err := fixtureFollows.AddEdge(t.Context(), e, fixtureEdge{From: "ann", To: to, Time: time.UnixMilli(int64(i))})
		fixtureMust(t, err)
	}
	out := fixtureFollows.Out(fixtureUserID("ann"))
	for _, tt := range []struct {
		name string
		read func(context.Context, graphcache.Conn) (any, error)
	}{
		{"Get", func(ctx context.Context, c graphcache.Conn) (any, error) { return fixtureUsers.Get(ctx, c, "ann") }},
		{"GetInto", func(ctx context.Context, c graphcache.Conn) (any, error) {
			u := fixtureUser{Name: "left over", Secret: "left over"}
			err := fixtureUsers.GetInto(ctx, c, "ann", &u)
			return u, err
		}},
		{"GetMany", func(ctx context.Context, c graphcache.Conn) (any, error) {
			return fixtureUsers.GetMany(ctx, c, []fixtureUserID{"ann", "bob", "nobody"})
		}},
		{"Edges", func(ctx context.Context, c graphcache.Conn) (any, error) { return out.Edges(ctx, c) }},
		{"All", func(ctx context.Context, c graphcache.Conn) (any, error) { return out.All(ctx, c) }},
		{"Count", func(ctx context.Context, c graphcache.Conn) (any, error) { return out.Count(ctx, c) }},
		{"Where", func(ctx context.Context, c graphcache.Conn) (any, error) {
			return out.Since(time.UnixMilli(1)).All(ctx, c)
		}},
		{"two hops", func(ctx context.Context, c graphcache.Conn) (any, error) {
			return fixtureFollows.In(fixtureFollows.Out(fixtureUserID("ann"))).All(ctx, c)
		}},
		{"an empty list", func(ctx context.Context, c graphcache.Conn) (any, error) {
			return fixtureWrote.Out(fixtureUserID("ann")).Edges(ctx, c)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			read := func() any {
				got, err := tt.read(t.Context(), e)
				fixtureMust(t, err)
				return got
			}
			e.warm(t, func() { read() })
			var got any
			if n := e.lookups(func() { got = read() }); n > 0 {
				t.Errorf("%d fragments looked up in the shared cache, want none", n)
			}
			if diff := cmp.Diff(read(), got); diff != "" {
				t.Error(diff)
			}
			fresh, err := tt.read(t.Context(), e.another(t))
			fixtureMust(t, err)
			if diff := cmp.Diff(fresh, got); diff != "" {
				t.Errorf("a process without a near cache reads something else (-it +near):\n%s", diff)
			}
		})
	}
	if st := e.Stats(); st.Kinds["user"].NearHits == 0 || st.Near.Entries == 0 || st.Near.Bytes == 0 {
		t.Errorf("%+v: nothing counted", st.Near)
	}
}

// TestNearAbsent: that there is no object is kept as well.
func TestNearAbsent(t *testing.T) {
	e := nearNew(t)
	e.warm(t, func() { e.name(t, "nobody") })
	n := e.lookups(func() {
		if _, err := fixtureUsers.Get(t.Context(), e, "nobody"); !errors.Is(err, graphcache.ErrNotFound) {
			t.Errorf("Get: %v", err)
		}
		var u fixtureUser
		if err := fixtureUsers.GetInto(t.Context(), e, "nobody", &u); !errors.Is(err, graphcache.ErrNotFound) {
			t.Errorf("GetInto: %v", err)
		}
	})
	if n > 0 {
		t.Errorf("%d fragments looked up", n)
	}
	e.seed(t, []fixtureUserID{"nobody"})
	if got := e.name(t, "nobody"); got == "" {
		t.Error("a user that this process has created is not there")
	}
}

// TestNearWrites: every kind of write is seen at once by the process that makes it, and by
// another one as soon as it is told.
func TestNearWrites(t *testing.T) {
	ctx := t.Context()
	e := nearNew(t)
	other := e.another(t, nearly)
	other.served(t)
	e.seed(t, []fixtureUserID{"ann", "bob"})
	for i, write := range []func() error{
		func() error { return e.rename(ctx, "ann", "v2") },
		func() error { return fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{}) },
		func() error {
			return e.Tx(ctx, func(tx *graphcache.Tx) error {
				_, err := fixtureUsers.Update(ctx, tx, "ann", func(u *fixtureUser) error { u.Name = "v3"; return nil })
				return err
			})
		},
		func() error { return fixtureUsers.Delete(ctx, e, "bob") },
		func() error { return fixtureUsers.Create(ctx, e, &fixtureUser{ID: "bob"}) },
	} {
		read := func(g *fixtureEngine) map[string]any {
			return g.view(t, []fixtureUserID{"ann", "bob"}, nil, graphcache.Cached)
		}
		for _, g := range []*fixtureEngine{e, other} {
			g.warm(t, func() { read(g) })
		}
		fixtureMust(t, write())
		want := e.view(t, []fixtureUserID{"ann", "bob"}, nil, graphcache.Fresh)
		for name, g := range map[string]*fixtureEngine{"its own": e, "another": other} {
			if diff := cmp.Diff(want, read(g)); diff != "" {
				t.Errorf("after write %d %s process reads (-want +got):\n%s", i, name, diff)
			}
		}
	}
}

// TestNearOwnUntold: a process needs nobody to tell it of its own writes.
func TestNearOwnUntold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func(ctx context.Context, e *fixtureEngine) error
	}{
		{"Update", func(ctx context.Context, e *fixtureEngine) error { return e.rename(ctx, "ann", "v2") }},
		{"Delete", func(ctx context.Context, e *fixtureEngine) error { return fixtureUsers.Delete(ctx, e, "bob") }},
		{"Add", func(ctx context.Context, e *fixtureEngine) error {
			return fixtureFollows.Add(ctx, e, "ann", "bob", fixtureFollow{})
		}},
		{"UpdateAll", func(ctx context.Context, e *fixtureEngine) error {
			_, err := fixtureUsers.ByID("ann").UpdateAll(ctx, e, func(u *fixtureUser) error { u.Age = 7; return nil })
			return err
		}},
		{"Tx", func(ctx context.Context, e *fixtureEngine) error {
			return e.Tx(ctx, func(tx *graphcache.Tx) error {
				return fixtureUsers.Put(ctx, tx, &fixtureUser{ID: "ann", Name: "v3"})
			})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // no time passes
				e := nearNew(t)
				e.seed(t, []fixtureUserID{"ann", "bob"})
				read := func() map[string]any {
					return e.view(t, []fixtureUserID{"ann", "bob"}, nil, graphcache.Cached)
				}
				e.warm(t, func() { read() })
				e.fcache.Mute(true)
				fixtureMust(t, tt.write(t.Context(), e))
				if diff := cmp.Diff(e.view(t, []fixtureUserID{"ann", "bob"}, nil, graphcache.Fresh), read()); diff != "" {
					t.Errorf("after the write (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestNearStale: a process that is told nothing serves what it has for MaxStale at most,
// and then serves nothing until it is told again.
func TestNearStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := nearNew(t)
		other := e.another(t, nearly)
		other.served(t)
		e.seed(t, []fixtureUserID{"ann"})
		name := func(fresh ...graphcache.Freshness) string { return other.name(t, "ann", fresh...) }
		other.warm(t, func() { name() })
		for range 20 { // it goes on for as long as the notices come
			time.Sleep(time.Second)
			if n := other.lookups(func() { name() }); n > 0 {
				t.Fatalf("%d looked up although nothing has changed", n)
			}
		}
		other.fcache.Mute(true)
		fixtureMust(t, e.rename(t.Context(), "ann", "v2"))
		acked := time.Now()
		for _, fresh := range []graphcache.Freshness{graphcache.Shared, graphcache.Fresh} {
			if got := name(fresh); got != "v2" {
				t.Errorf("freshness %d: %q", fresh, got)
			}
		}
		var u fixtureUser
		fixtureMust(t, fixtureUsers.GetInto(t.Context(), other, "ann", &u, graphcache.Shared))
		if u.Name != "v2" {
			t.Errorf("GetInto, Shared: %q", u.Name)
		}
		stale := 0
		for ; time.Since(acked) < 3*time.Second; time.Sleep(5 * time.Millisecond) {
			if name() == "v2" {
				continue
			}
			if stale++; time.Since(acked) > time.Second {
				t.Fatalf("stale %v after the write", time.Since(acked))
			}
		}
		if stale == 0 {
			t.Error("never stale: the test does not see what it is about")
		}
		if other.Stats().Near.Serving {
			t.Error("the near cache is served although nothing is heard")
		}
		fixtureMust(t, e.rename(t.Context(), "ann", "v3"))
		if got := name(); got != "v3" {
			t.Errorf("without the near cache: %q", got)
		}
		other.fcache.Mute(false)
		other.served(t)
		other.warm(t, func() { name() })
		if n := other.lookups(func() { name() }); n > 0 {
			t.Errorf("%d looked up when the notices have come again", n)
		}
		fixtureMust(t, e.rename(t.Context(), "ann", "v4"))
		if got := name(); got != "v4" {
			t.Errorf("when the notices have come again: %q", got)
		}
	})
}

// TestNearLost: nothing of before a loss is served after it, though nothing was changed.
func TestNearLost(t *testing.T) {
	e := nearNew(t)
	e.seed(t, []fixtureUserID{"ann"})
	e.warm(t, func() { e.name(t, "ann") })
	gate := e.stopReplyAt(backendtest.On("Lookup"))
	reading := fixtureGo(t, func() string { return e.name(t, "ann", graphcache.Shared) })
	gate.await(t)
	gate.Open()
	reading()
	e.on(nil)
	before := e.Stats().Near.Losses
	e.fcache.Mute(true)
	fixtureMust(t, e.another(t).rename(t.Context(), "ann", "v2"))
	e.fcache.Mute(false)
	if got := e.Stats().Near.Losses; got != before+1 {
		t.Errorf("%d losses, want %d", got, before+1)
	}
	e.served(t)
	if got := e.name(t, "ann"); got != "v2" {
		t.Errorf("after a loss: %q", got)
	}
}

// TestNearRaces: a read does not keep what it has from before a write that it was told of
// while it was under way, whether it found the value or loaded it, and whoever wrote.
func TestNearRaces(t *testing.T) {
	for _, own := range []bool{true, false} {
		for _, call := range []string{"Lookup", "Fill", "Claim", "Read"} {
			t.Run(fmt.Sprintf("%s own %t", call, own), func(t *testing.T) {
				e := nearNew(t)
				writer := e
				if !own {
					writer = e.another(t)
				}
				e.seed(t, []fixtureUserID{"ann"})
				if call == "Lookup" { // which finds it
					other := e.another(t)
					other.warm(t, func() { other.name(t, "ann") })
				}
				gate := e.stopReplyAt(backendtest.On(call))
				reading := fixtureGo(t, func() string { return e.name(t, "ann") })
				gate.await(t)
				wrote := fixtureGo(t, func() error { return writer.rename(t.Context(), "ann", "v2") })
				if call == "Read" && own {
					// The write reads the store as well.
					gate.Open()
				}
				fixtureMust(t, wrote())
				gate.Open()
				reading()
				e.settle(t)
				for range 2 {
					if got := e.name(t, "ann"); got != "v2" {
						t.Fatalf("after the write: %q", got)
					}
					e.settle(t)
				}
			})
		}
	}
}

// TestNearOwnWrites: under load no reader sees less than what its own process has been
// acknowledged, though another one writes too and notices come and go.
func TestNearOwnWrites(t *testing.T) {
	e := nearNew(t)
	other := e.another(t, nearly)
	e.seed(t, []fixtureUserID{"ann"})
	var acked atomic.Int64
	var stop atomic.Bool
	var running sync.WaitGroup
	running.Go(func() {
		for i := 1; i <= 300; i++ {
			if i%50 == 0 {
				e.fcache.Mute(i%100 == 0)
			}
			_, err := fixtureUsers.Update(t.Context(), e, "ann", func(u *fixtureUser) error { u.Age++; return nil })
			if err != nil {
				t.Error(err)
			}
			acked.Add(1)
		}
		stop.Store(true)
	})
	running.Go(func() {
		for !stop.Load() {
			if err := other.rename(t.Context(), "ann", "other"); err != nil {
				t.Error(err)
			}
		}
	})
	var hits atomic.Int64
	for range 3 {
		running.Go(func() {
			for !stop.Load() {
				least := acked.Load()
				var u fixtureUser
				if err := fixtureUsers.GetInto(t.Context(), e, "ann", &u); err != nil {
					t.Error(err)
				}
				if int64(u.Age) < least {
					t.Errorf("read %d after %d were acknowledged", u.Age, least)
				}
				hits.Add(1)
			}
		})
	}
	running.Wait()
	if e.Stats().Kinds["user"].NearHits == 0 {
		t.Error("the near cache was never hit")
	}
}

// TestNearJournal: a write that the shared cache was not told of is seen at once by its
// own process, and by another one when that has looked.
func TestNearJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ack := func(o *graphcache.Options) {
			o.WhenCacheDown, o.LookPeriod = graphcache.Ack, 2*time.Second
			o.HoldTimeout, o.ReadTimeout = time.Second, time.Second
		}
		e := nearNew(t, ack)
		other := e.another(t, nearly, ack)
		other.served(t)
		e.seed(t, []fixtureUserID{"ann"})
		for _, g := range []*fixtureEngine{e, other} {
			g.warm(t, func() { g.name(t, "ann") })
		}
		e.on(func(c fixtureCall) backendtest.Fault {
			if c.ofCache() {
				return backendtest.Fault{Action: backendtest.Fail}
			}
			return backendtest.Fault{}
		})
		other.on(func(c fixtureCall) backendtest.Fault { // nor can it drain, which would tell it
			if c.is("Hold", "Release") {
				return backendtest.Fault{Action: backendtest.Fail}
			}
			return backendtest.Fault{}
		})
		fixtureMust(t, e.rename(t.Context(), "ann", "v2"))
		acked := time.Now()
		if got := e.name(t, "ann"); got != "v2" {
			t.Errorf("its own process reads %q", got)
		}
		stale := 0
		for ; time.Since(acked) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
			if other.name(t, "ann") == "v2" {
				continue
			}
			if stale++; time.Since(acked) > 5*time.Second { // MaxStale and two periods
				t.Fatalf("stale %v after the write", time.Since(acked))
			}
		}
		if stale == 0 {
			t.Error("never stale: the test does not see what it is about")
		}
	})
}

// TestNearGenerations: dropping a kind drops it from the near cache.
func TestNearGenerations(t *testing.T) {
	e := nearNew(t)
	e.seed(t, []fixtureUserID{"ann"})
	e.warm(t, func() { e.name(t, "ann") })
	// Behind the back of all graphs.
	fixtureMust(t, fixtureUsers.Delete(t.Context(), nearBlind(t, e), "ann"))
	if got := e.name(t, "ann"); got != "v1 of ann" {
		t.Fatalf("the near cache does not have it: %q", got)
	}
	fixtureMust(t, e.InvalidateKind(t.Context(), fixtureUsers))
	if got := e.name(t, "ann"); got != "" {
		t.Errorf("after InvalidateKind: %q", got)
	}
}

// nearBlind returns a graph on the store without a cache.
func nearBlind(t *testing.T, e *fixtureEngine) *graphcache.Graph {
	t.Helper()
	g, err := graphcache.Open(t.Context(), fixtureSchema, e.store, nil)
	fixtureMust(t, err)
	t.Cleanup(func() { fixtureMust(t, g.Close(context.Background())) })
	return g
}

// TestNearStrict: while the store does not answer looks the near cache is served, unless the
// graph is Strict.
func TestNearStrict(t *testing.T) {
	for _, strict := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e := nearNew(t, func(o *graphcache.Options) { o.Strict, o.LookPeriod = strict, time.Second })
			e.on(func(c fixtureCall) backendtest.Fault {
				if c.is("Look") {
					return backendtest.Fault{Action: backendtest.Fail}
				}
				return backendtest.Fault{}
			})
			time.Sleep(10 * time.Second)
			if got := e.Stats().Near.Serving; got == strict {
				t.Errorf("strict %t: served %t", strict, got)
			}
			e.on(nil)
			time.Sleep(3 * time.Second)
			if !e.Stats().Near.Serving {
				t.Errorf("strict %t: not served when the store answers again", strict)
			}
		})
	}
}

// TestNearTTL: a value is kept for the near cache's TTL.
func TestNearTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := nearNew(t, func(o *graphcache.Options) { o.NearCache.TTL = 3 * time.Second })
		e.seed(t, []fixtureUserID{"ann"})
		e.warm(t, func() { e.name(t, "ann") })
		time.Sleep(2 * time.Second)
		if n := e.lookups(func() { e.name(t, "ann") }); n != 0 {
			t.Errorf("%d looked up before the end", n)
		}
		time.Sleep(2 * time.Second)
		if n := e.lookups(func() { e.name(t, "ann") }); n != 1 {
			t.Errorf("%d looked up after the end, want 1", n)
		}
		slow := e.another(t, func(o *graphcache.Options) {
			o.NearCache = &graphcache.NearCache{MaxStale: time.Hour, TTL: time.Second}
		})
		slow.served(t)
		slow.warm(t, func() { slow.name(t, "ann") })
		time.Sleep(2 * time.Second)
		if n := slow.lookups(func() { slow.name(t, "ann") }); n != 1 {
			t.Errorf("%d looked up after the end of a TTL that is shorter than MaxStale, want 1", n)
		}
	})
}

// TestNearBound: the near cache stays within MaxBytes, and keeps what is read most.
func TestNearBound(t *testing.T) {
	const bound = 64 << 10
	e := nearNew(t, func(o *graphcache.Options) { o.NearCache.MaxBytes = bound })
	var ids []fixtureUserID
	for i := range 1000 {
		ids = append(ids, fixtureUserID(fmt.Sprint("u", i)))
	}
	e.seed(t, ids)
	for _, id := range ids {
		for range 3 {
			e.name(t, id)
			e.name(t, ids[0])
			e.settle(t)
		}
		if got := e.Stats().Near.Bytes; got > bound {
			t.Fatalf("%d bytes, more than %d", got, bound)
		}
	}
	if n := e.lookups(func() { e.name(t, ids[0]) }); n > 0 {
		t.Error("what is read most was evicted")
	}
	if n := e.Stats().Near.Entries; n < 20 || n > 500 {
		t.Errorf("%d entries", n)
	}
}

// TestNearNamespaces: namespaces do not see each other's objects.
func TestNearNamespaces(t *testing.T) {
	e := nearNew(t)
	a, err := e.Namespace(t.Context(), "a")
	fixtureMust(t, err)
	for i, g := range []*graphcache.Graph{e.Graph, a} {
		fixtureMust(t, fixtureUsers.Create(t.Context(), g, &fixtureUser{ID: "ann", Age: i}))
	}
	for range 3 {
		for i, g := range []*graphcache.Graph{e.Graph, a} {
			u, err := fixtureUsers.Get(t.Context(), g, "ann")
			fixtureMust(t, err)
			if u.Age != i {
				t.Errorf("namespace %d reads that of %d", i, u.Age)
			}
			e.settle(t)
		}
	}
}

type nearShared struct {
	ID   graphcache.ID[nearShared] `json:"id"`
	Tags []string                  `json:"tags"`
	Sub  *nearSub                  `json:"sub"`
	Map  map[string]int            `json:"map"`
}

type nearSub struct {
	N int `json:"n"`
}

var (
	nearShares = graphcache.NewObjectKind[nearShared]("share")
	nearSchema = graphcache.NewSchema(nearShares)
)

// TestNearCopies: what a reader does to what it was given is not seen by others.
func TestNearCopies(t *testing.T) {
	e := &fixtureEngine{store: memory.NewStore(nil), cache: memory.NewCache(nil)}
	e = e.withSchema(t, nearSchema, nearly)
	e.served(t)
	whole := func() *nearShared {
		return &nearShared{ID: "x", Tags: []string{"a", "b"}, Sub: &nearSub{7}, Map: map[string]int{"k": 1}}
	}
	fixtureMust(t, nearShares.Create(t.Context(), e, whole()))
	for i := range 4 {
		var into nearShared
		fixtureMust(t, nearShares.GetInto(t.Context(), e, "x", &into))
		got, err := nearShares.Get(t.Context(), e, "x")
		fixtureMust(t, err)
		for _, o := range []*nearShared{&into, got} {
			if diff := cmp.Diff(whole(), o); diff != "" {
				t.Fatalf("read %d (-want +got):\n%s", i, diff)
			}
			o.Tags[0], o.Sub.N, o.Map["k"] = "changed", 8, 2
		}
		e.settle(t)
	}
	if n := e.lookups(func() { _, _ = nearShares.Get(t.Context(), e, "x") }); n > 0 {
		t.Error("it is not in the near cache")
	}
}

// TestNearLostHold: a write is seen at once by its own process also if the cache has lost
// its mark meanwhile, so that what was there before was filled again, and tells nothing.
func TestNearLostHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := nearNew(t)
		e.seed(t, []fixtureUserID{"ann"})
		e.warm(t, func() { e.name(t, "ann") })
		key := e.anchors(t, func() { e.name(t, "ann", graphcache.Shared) })[0]
		e.fcache.Mute(true)
		gate := e.stopAt(backendtest.On("Write"))
		wrote := fixtureGo(t, func() error { return e.rename(t.Context(), "ann", "v2") })
		gate.await(t)
		e.cache.Evict(key)
		e.name(t, "ann")
		synctest.Wait() // for the fill
		gate.Open()
		fixtureMust(t, wrote())
		if got := e.name(t, "ann"); got != "v2" {
			t.Errorf("after the write: %q", got)
		}
	})
}

// TestNearKeepsNoMore: the near cache does not keep what an ID was cut from.
func TestNearKeepsNoMore(t *testing.T) {
	const large = 256 << 10
	e := nearNew(t)
	var ids []fixtureUserID
	for i := range 200 {
		ids = append(ids, fixtureUserID(fmt.Sprint("user", i)))
	}
	e.seed(t, ids)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for _, id := range ids {
		e.warm(t, func() {
			request := string(id) + strings.Repeat("x", large)
			_, err := fixtureUsers.Get(t.Context(), e, fixtureUserID(request[:len(id)]))
			fixtureMust(t, err)
		})
	}
	if more := heap() - before; more > int64(len(ids))*large/4 {
		t.Errorf("%d bytes more for %d objects, of which Stats says %d", more, len(ids), e.Stats().Near.Bytes)
	}
}

type nearOld struct {
	ID graphcache.ID[nearOld] `json:"id"`
	A  string                 `json:"a"`
}

type nearNewer struct {
	ID graphcache.ID[nearNewer] `json:"id"`
	A  string                   `json:"a"`
	B  string                   `json:"b"`
}

// TestNearVersions: what the cache has in another version's layout is kept as well, in this
// one's.
func TestNearVersions(t *testing.T) {
	olds, news := graphcache.NewObjectKind[nearOld]("thing"), graphcache.NewObjectKind[nearNewer]("thing")
	e := &fixtureEngine{store: memory.NewStore(nil), cache: memory.NewCache(nil)}
	before := e.withSchema(t, graphcache.NewSchema(olds))
	after := e.withSchema(t, graphcache.NewSchema(news), nearly)
	after.served(t)
	fixtureMust(t, olds.Create(t.Context(), before, &nearOld{ID: "x", A: "a"}))
	before.warm(t, func() {
		_, err := olds.Get(t.Context(), before, "x")
		fixtureMust(t, err)
	})
	read := func() {
		o, err := news.Get(t.Context(), after, "x")
		fixtureMust(t, err)
		if o.A != "a" {
			t.Errorf("%+v", o)
		}
	}
	after.warm(t, read)
	if n := after.lookups(read); n > 0 {
		t.Errorf("%d looked up", n)
	}
	fixtureMust(t, olds.Delete(t.Context(), before, "x"))
	if _, err := news.Get(t.Context(), after, "x"); !errors.Is(err, graphcache.ErrNotFound) {
		t.Errorf("after the other version has deleted it: %v", err)
	}
}

// nearTold is a cache whose notices the test makes.
type nearTold struct {
	driver.Cache
	told chan driver.Notices
}

func (c *nearTold) Notify(ctx context.Context, _ time.Duration, n driver.Notices) error {
	c.told <- n
	<-ctx.Done()
	return ctx.Err()
}

// TestNearAhead: a moment that has not come yet does not keep the near cache served for
// longer.
func TestNearAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cache *nearTold
		e := fixtureNew(t, nearly, func(o *graphcache.Options) {
			cache = &nearTold{o.Cache, make(chan driver.Notices, 1)}
			o.Cache = cache
		})
		n := <-cache.told
		n.Current(time.Now().Add(time.Hour))
		if !e.Stats().Near.Serving {
			t.Error("not served")
		}
		time.Sleep(2 * time.Second)
		if e.Stats().Near.Serving {
			t.Error("served after two seconds of silence")
		}
	})
}

// TestNearAllocs: a hit costs no allocation, or that of the new object.
func TestNearAllocs(t *testing.T) {
	if allocRace {
		t.Skip("the race detector allocates")
	}
	ctx := t.Context()
	e := nearNew(t)
	e.seed(t, []fixtureUserID{"ann"})
	e.warm(t, func() { e.name(t, "ann") })
	var u fixtureUser
	var conn graphcache.Conn = e.Graph
	if n := testing.AllocsPerRun(1000, func() { _ = fixtureUsers.GetInto(ctx, conn, "ann", &u) }); n != 0 || u.Name == "" {
		t.Errorf("GetInto: %v allocations, want 0 (%+v)", n, u)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = fixtureUsers.Get(ctx, conn, "ann") }); n != 1 {
		t.Errorf("Get: %v allocations, want 1", n)
	}
}

// TestNearCloses: after Close nothing is served, and nothing runs.
func TestNearCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a goroutine that is left fails it
		e := nearNew(t)
		e.seed(t, []fixtureUserID{"ann"})
		e.warm(t, func() { e.name(t, "ann") })
		fixtureMust(t, e.Close(t.Context()))
		if _, err := fixtureUsers.Get(t.Context(), e, "ann"); !errors.Is(err, graphcache.ErrUnavailable) {
			t.Errorf("Get after Close: %v", err)
		}
		time.Sleep(time.Minute)
		if e.Stats().Near.Serving {
			t.Error("served after Close")
		}
	})
}

// nearDeaf is a cache that tells nothing.
type nearDeaf struct{ driver.Cache }

// nearRefuses is one that says that it cannot, at first by a panic.
type nearRefuses struct {
	driver.Cache
	calls atomic.Int64
}

func (c *nearRefuses) Notify(context.Context, time.Duration, driver.Notices) error {
	if c.calls.Add(1) == 1 {
		panic("no")
	}
	return errors.New("it may not subscribe")
}

// TestNearRefused: without notices reads go to the shared cache.
func TestNearRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var cache *nearRefuses
		e := fixtureNew(t, nearly, func(o *graphcache.Options) {
			cache = &nearRefuses{Cache: o.Cache}
			o.Cache = cache
		})
		e.seed(t, []fixtureUserID{"ann"})
		e.warm(t, func() { e.name(t, "ann") })
		time.Sleep(time.Minute)
		if n := e.lookups(func() { e.name(t, "ann") }); n != 1 {
			t.Errorf("%d looked up, want 1", n)
		}
		if n := cache.calls.Load(); n < 10 || n > 100 {
			t.Errorf("it was asked %d times in a minute", n)
		}
	})
}

// TestNearOptions: what cannot work is refused, with the setting's name.
func TestNearOptions(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*graphcache.Options)
	}{
		{"no cache", func(o *graphcache.Options) { o.Cache = nil }},
		{"a deaf cache", func(o *graphcache.Options) { o.Cache = nearDeaf{o.Cache} }},
		{"MaxBytes", func(o *graphcache.Options) { o.NearCache.MaxBytes = -1 }},
		{"MaxStale", func(o *graphcache.Options) { o.NearCache.MaxStale = time.Millisecond }},
		{"TTL", func(o *graphcache.Options) { o.NearCache.TTL = -1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &graphcache.Options{Cache: memory.NewCache(nil), NearCache: new(graphcache.NearCache)}
			tt.set(o)
			if _, err := graphcache.Open(t.Context(), fixtureSchema, memory.NewStore(nil), o); !errors.Is(err, graphcache.ErrInvalid) {
				t.Errorf("Open: %v", err)
			}
		})
	}
	e := nearNew(t)
	if err := fixtureUsers.GetInto(t.Context(), e, "ann", nil); !errors.Is(err, graphcache.ErrInvalid) {
		t.Errorf("GetInto nil: %v", err)
	}
	u := fixtureUser{Name: "kept"}
	if err := fixtureUsers.GetInto(t.Context(), e, "", &u); !errors.Is(err, graphcache.ErrInvalid) || u.Name != "kept" {
		t.Errorf("GetInto without an ID: %v, %+v", err, u)
	}
}

// TestNearNotices: what a cache may say that is wrong drops too much rather than too little.
func TestNearNotices(t *testing.T) {
	e := nearNew(t)
	e.seed(t, []fixtureUserID{"ann"})
	read := func() { e.name(t, "ann") }
	e.warm(t, read)
	keys := e.anchors(t, func() { e.name(t, "ann", graphcache.Shared) })
	for _, tt := range []struct {
		anchor string
		drops  bool
	}{
		{"", true}, {"x", true}, {keys[0], true}, {keys[0][:len(keys[0])-1], true}, {keys[0] + "x", true},
		{e.anchors(t, func() { e.name(t, "another", graphcache.Shared) })[0], false},
	} {
		e.warm(t, read)
		graphcache.NearHeld(e.Graph, tt.anchor)
		if dropped := e.lookups(read) > 0; dropped != tt.drops {
			t.Errorf("told of %q: dropped %t", tt.anchor, dropped)
		}
	}
}

func BenchmarkNear(b *testing.B) {
	ctx := context.Background()
	e := nearNew(b, func(o *graphcache.Options) { o.Cache = memory.NewCache(nil) })
	ids := make([]fixtureUserID, 1000)
	for i := range ids {
		ids[i] = fixtureUserID(fmt.Sprintf("user-%07d", i*7919))
	}
	e.seed(b, slices.Clone(ids))
	for _, id := range ids {
		e.warm(b, func() { e.name(b, id) })
	}
	b.Run("GetInto", func(b *testing.B) {
		b.ReportAllocs()
		var u fixtureUser
		for i := 0; b.Loop(); i++ {
			_ = fixtureUsers.GetInto(ctx, e.Graph, ids[i%len(ids)], &u)
		}
	})
	b.Run("GetInto in parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			var u fixtureUser
			for i := 0; pb.Next(); i++ {
				_ = fixtureUsers.GetInto(ctx, e.Graph, ids[i%len(ids)], &u)
			}
		})
	})
	b.Run("Get", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, _ = fixtureUsers.Get(ctx, e.Graph, ids[i%len(ids)])
		}
	})
}
