package graphcache_test

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// TestOptionsMistakes: settings that cannot work are refused by Open with the reason.
func TestOptionsMistakes(t *testing.T) {
	type options = graphcache.Options
	const s, ms, year = time.Second, time.Millisecond, 365 * 24 * time.Hour
	for _, tt := range []struct {
		name string
		opts options
		want string // "" is no mistake
	}{
		{"zero", options{}, ""},
		{"TTL", options{TTL: -1}, "Options.TTL is -1ns: negative"},
		{"ReadTimeout", options{ReadTimeout: -s}, "Options.ReadTimeout is -1s: negative"},
		{"HoldTimeout", options{HoldTimeout: -s}, "Options.HoldTimeout is -1s: negative"},
		{"WriteTimeout", options{WriteTimeout: -s}, "Options.WriteTimeout is -1s: negative"},
		{"HoldTTL", options{HoldTTL: -s}, "Options.HoldTTL is -1s: negative"},
		{"LoadTimeout", options{LoadTimeout: -s}, "Options.LoadTimeout is -1s: negative"},
		{"LeaseTTL", options{LeaseTTL: -s}, "Options.LeaseTTL is -1s: negative"},
		{"LookPeriod", options{LookPeriod: -s}, "Options.LookPeriod is -1s: negative"},
		{"MaxFragmentBytes", options{MaxFragmentBytes: -1}, "Options.MaxFragmentBytes is -1: negative"},
		{"MaxFragments", options{MaxFragments: -2}, "Options.MaxFragments is -2: negative"},
		{"MaxLoads", options{MaxLoads: -3}, "Options.MaxLoads is -3: negative"},
		{"MaxAttempts", options{MaxAttempts: -4}, "Options.MaxAttempts is -4: negative"},
		{"longest", options{TTL: 144 * time.Hour, ReadTimeout: year / 4, HoldTimeout: year / 4, WriteTimeout: year / 4, HoldTTL: year, LoadTimeout: year / 4, LeaseTTL: year, LookPeriod: 14 * time.Hour}, ""},
		{"a TTL that outlives the registry", options{TTL: 144*time.Hour + 1}, "Options.TTL is 144h0m0.000000001s: more than 144h0m0s, so a value could outlive what the store knows of the program that cached it"},
		{"long TTL", options{TTL: year + 1}, "Options.TTL is 8760h0m0.000000001s: more than 8760h0m0s"},
		{"endless TTL", options{TTL: math.MaxInt64}, "Options.TTL is 2562047h47m16.854775807s: more than 8760h0m0s"},
		{"endless ReadTimeout", options{ReadTimeout: math.MaxInt64}, "Options.ReadTimeout is 2562047h47m16.854775807s: more than 8760h0m0s"},
		{"endless HoldTimeout", options{HoldTimeout: math.MaxInt64}, "Options.HoldTimeout is 2562047h47m16.854775807s: more than 8760h0m0s"},
		{"endless WriteTimeout", options{WriteTimeout: math.MaxInt64}, "Options.WriteTimeout is 2562047h47m16.854775807s: more than 8760h0m0s"},
		{"endless HoldTTL", options{HoldTTL: math.MaxInt64}, "Options.HoldTTL is 2562047h47m16.854775807s: more than 8760h0m0s"},
		{"endless LoadTimeout", options{LoadTimeout: math.MaxInt64}, "Options.LoadTimeout is 2562047h47m16.854775807s: more than 8760h0m0s"},
		{"endless LeaseTTL", options{LeaseTTL: math.MaxInt64}, "Options.LeaseTTL is 2562047h47m16.854775807s: more than 8760h0m0s"},
		{"endless LookPeriod", options{LookPeriod: math.MaxInt64}, "Options.LookPeriod is 2562047h47m16.854775807s: more than 8760h0m0s"},
		{"shortest TTL", options{TTL: s}, ""},
		{"short TTL", options{TTL: s - 1}, "Options.TTL is 999.999999ms: less than 1s"},
		{"shortest HoldTTL", options{HoldTTL: 8 * s}, ""},
		{"short HoldTTL", options{HoldTTL: 8*s - ms}, "Options.HoldTTL is 7.999s: less than 2·HoldTimeout + WriteTimeout + 2s = 8s, so a hold could end before its write"},
		{"long WriteTimeout", options{WriteTimeout: 13 * s}, "Options.HoldTTL is 15s: less than 2·HoldTimeout + WriteTimeout + 2s = 16s, so a hold could end before its write"},
		{"shortest LeaseTTL", options{LeaseTTL: 3050*ms + 1}, ""},
		{"short LeaseTTL", options{LeaseTTL: 3050 * ms}, "Options.LeaseTTL is 3.05s: not more than LoadTimeout + ReadTimeout = 3.05s, so a lease could end before its load"},
		{"long LookPeriod", options{TTL: 10 * s, LookPeriod: s + ms}, "Options.LookPeriod is 1.001s: more than TTL/10 = 1s"},
		{"LookPeriod follows TTL", options{TTL: 5 * s}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := graphcache.Open(t.Context(), fixtureSchema, memory.NewStore(nil), &tt.opts)
			if tt.want == "" && err != nil {
				t.Errorf("Open = %v, want no error", err)
			}
			if want := "graphcache: invalid: " + tt.want; tt.want != "" && (!errors.Is(err, graphcache.ErrInvalid) || err.Error() != want) {
				t.Errorf("Open = %v\nwant %s", err, want)
			}
		})
	}
	if _, err := graphcache.Open(t.Context(), fixtureSchema, nil, nil); !errors.Is(err, graphcache.ErrInvalid) || err.Error() != "graphcache: invalid: open: the store is nil" {
		t.Errorf("Open without a store: %v", err)
	}
}

// TestOptionsDefaults: what the backends are given when nothing is set is what the
// documentation says.
func TestOptionsDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t, fixtureDefaults)
		var mu sync.Mutex
		deadlines := map[string]time.Duration{}
		other := map[string]time.Duration{}
		var ttls []time.Duration
		e.on(func(c fixtureCall) backendtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			if d, ok := c.ctx.Deadline(); ok {
				deadlines[c.Method] = time.Until(d)
			}
			switch batch := c.Batch.(type) {
			case []driver.Claim:
				other["lease"] = batch[0].Lease
				ttls = append(ttls, batch[0].TTL)
			case []driver.Fill:
				other["fragments"] = time.Duration(batch[0].Limit)
				ttls = append(ttls, batch[0].TTL)
			case []driver.Hold:
				other["hold"] = batch[0].TTL
			case []driver.Release:
				other["stamp"] = batch[0].KeepStamp
			}
			return backendtest.Fault{}
		})
		for i := range 200 {
			id := fixtureUserID(strings.Repeat("x", i+1))
			e.seed(t, []fixtureUserID{id})
			e.name(t, id)
			e.settle(t)
		}
		want := map[string]time.Duration{
			"Lookup": 50 * time.Millisecond, "Claim": 50 * time.Millisecond, "Fill": 500 * time.Millisecond,
			"Hold": 500 * time.Millisecond, "Release": 500 * time.Millisecond, "Write": 5 * time.Second, "Read": 3 * time.Second,
		}
		if diff := cmp.Diff(want, deadlines); diff != "" {
			t.Errorf("deadlines of calls (-want +got):\n%s", diff)
		}
		want = map[string]time.Duration{"lease": 5 * time.Second, "hold": 15 * time.Second, "stamp": 30 * time.Second, "fragments": 1024}
		if diff := cmp.Diff(want, other); diff != "" {
			t.Errorf("what the cache is asked for (-want +got):\n%s", diff)
		}
		least, most := slices.Min(ttls), slices.Max(ttls)
		if least < 9*time.Minute || most > 11*time.Minute || most-least < time.Minute {
			t.Errorf("values live between %v and %v, want 10 minutes ± 10 %% at random", least, most)
		}
	})
}

// TestOptionsMaxFragmentBytes: a value that is too large is served, counted, and not
// cached, and nobody waits for it.
func TestOptionsMaxFragmentBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t, func(o *graphcache.Options) { o.MaxFragmentBytes = 1000 })
		name := strings.Repeat("x", 1000)
		fixtureMust(t, fixtureUsers.Create(t.Context(), e, &fixtureUser{ID: "ann", Name: name}))
		e.on(nil)
		start := time.Now()
		for range 3 {
			if e.name(t, "ann") != name {
				t.Error("a large value is not served as it is")
			}
			e.settle(t)
		}
		if s := e.Stats().Kinds["user"]; s.Refusals != 3 || s.Fills != 0 || s.Hits != 0 || e.fstore.Calls("Read") != 3 || time.Since(start) > 0 {
			t.Errorf("three reads of a value that is too large, in %v: %+v", time.Since(start), s)
		}
	})
}

// TestOptionsCreateAll: CreateAll stops at the first object that it cannot create.
func TestOptionsCreateAll(t *testing.T) {
	type twin struct{ ID graphcache.ID[twin] }
	one, two := graphcache.NewObjectKind[twin]("one"), graphcache.NewObjectKind[twin]("two")
	e := fixtureNew(t).withSchema(t, graphcache.NewSchema(fixtureUsers, one, two))
	for _, tt := range []struct {
		name   string
		object any
		is     error
		want   string
	}{
		{"a struct", fixtureUser{ID: "x"}, graphcache.ErrInvalid, "graphcache: create object 1: invalid: a graphcache_test.fixtureUser is not a pointer to an object"},
		{"nil", nil, graphcache.ErrInvalid, "graphcache: create object 1: invalid: a <nil> is not a pointer to an object"},
		{"a nil pointer", (*fixtureUser)(nil), graphcache.ErrInvalid, "graphcache: create object 1: invalid: a *graphcache_test.fixtureUser is not a pointer to an object"},
		{"no kind", &fixturePost{}, graphcache.ErrSchema, "graphcache: create object 1: schema: no object kind is of type graphcache_test.fixturePost"},
		{"two kinds", &twin{ID: "x"}, graphcache.ErrSchema, `graphcache: create object 1: schema: the object kinds "one" and "two" are both of type graphcache_test.twin`},
		{"one that exists", &fixtureUser{ID: "before nil"}, graphcache.ErrExists, `graphcache: create user "before nil": already exists`},
	} {
		before, after := fixtureUserID("before "+tt.name), fixtureUserID("after "+tt.name)
		err := e.CreateAll(t.Context(), &fixtureUser{ID: before, Name: "x"}, tt.object, &fixtureUser{ID: after, Name: "x"})
		if !errors.Is(err, tt.is) || err.Error() != tt.want {
			t.Errorf("%s: %v\nwant %s", tt.name, err, tt.want)
		}
		if e.name(t, before) == "" || e.name(t, after) != "" {
			t.Errorf("%s: the object before the mistake is to be there, the one after it not", tt.name)
		}
	}
}

// TestOptionsNamespaces: graphs of different namespaces share neither records nor
// cache keys nor loads; those of one name are one graph.
func TestOptionsNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, e := t.Context(), fixtureNew(t)
		graphs := map[string]*graphcache.Graph{"": e.Graph}
		keys := map[string]string{}
		for _, name := range []string{"", "acme", "acme2", "é/:\n"} {
			g, err := e.Namespace(ctx, name)
			fixtureMust(t, err)
			if again, err := g.Namespace(ctx, name); again != g || err != nil || name == "" && g != e.Graph {
				t.Errorf("namespace %q is not one graph: %v", name, err)
			}
			graphs[name] = g
			fixtureMust(t, fixtureUsers.Create(ctx, g, &fixtureUser{ID: "ann", Name: "ann of " + name}))
			fixtureMust(t, fixtureUsers.Create(ctx, g, &fixtureUser{ID: "bob"}))
			fixtureMust(t, fixtureFollows.Add(ctx, g, "ann", "bob", fixtureFollow{Note: name}))
			for _, key := range e.anchors(t, func() { _, _ = fixtureFollows.Out(fixtureUserID("ann")).All(ctx, g) }) {
				if of, ok := keys[key]; ok {
					t.Errorf("namespaces %q and %q share the key %q", of, name, key)
				}
				keys[key] = name
			}
		}
		gate := e.stopAt(backendtest.On("Read"))
		var waits []func() error
		for name, g := range graphs {
			waits = append(waits, fixtureGo(t, func() error {
				u, err := fixtureUsers.Get(ctx, g, "ann")
				if err == nil && u.Name != "ann of "+name {
					t.Errorf("namespace %q has the record %q", name, u.Name)
				}
				return err
			}))
		}
		synctest.Wait()
		gate.Open()
		for _, wait := range waits {
			fixtureMust(t, wait())
		}
		if n := e.fstore.Calls("Read"); n != len(graphs) {
			t.Errorf("%d namespaces load %d times: loads are shared", len(graphs), n)
		}
		fixtureMust(t, fixtureUsers.Delete(ctx, graphs["acme"], "ann"))
		if n, err := fixtureFollows.Count(ctx, graphs["acme2"], "ann"); n != 1 || err != nil {
			t.Errorf("a deletion in one namespace is seen in another: count %d, %v", n, err)
		}
		for _, name := range []string{strings.Repeat("x", 129), "\xff", "a\x00b"} {
			if _, err := e.Namespace(ctx, name); !errors.Is(err, graphcache.ErrInvalid) {
				t.Errorf("namespace %q: %v, want ErrInvalid", name, err)
			}
		}
	})
}

// TestOptionsRepair: Repair removes edges that hang and finishes deletions, and leaves
// alone an edge whose end appears while it waits.
func TestOptionsRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		e := fixtureNew(t, fixtureDefaults)
		roundtripWorld(t, e) // with five edges
		edge := func(kind, from, to string) driver.Write {
			return driver.Write{Op: driver.Insert, Kind: kind, Edge: &driver.Edge{From: from, To: to, Version: 1}}
		}
		_, err := e.store.Write(ctx, []driver.Write{
			edge("follows", "ann", "ghost"), edge("follows", "ann", "late"), edge("wrote", "ghost", "p1"), edge("friends", "cid", "ghost"),
			edge("follows", "gone", "ann"),
			{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: "gone", Version: 1, Deleting: true}},
		})
		fixtureMust(t, err)
		people := append(slices.Clone(roundtripPeople), "ghost", "gone", "late")
		e.view(t, people, []fixturePostID{"p1"}, graphcache.Cached)
		e.settle(t)
		start := time.Now()
		repair := fixtureGo(t, func() graphcache.RepairReport {
			r, err := e.Repair(ctx)
			if err != nil {
				t.Error(err)
			}
			return r
		})
		<-time.After(time.Second)
		fixtureMust(t, fixtureUsers.Create(ctx, e, &fixtureUser{ID: "late"}))
		want := graphcache.RepairReport{Edges: 9, Hanging: 3, Deletions: 1}
		if got := repair(); got != want || time.Since(start) < 5*time.Second {
			t.Errorf("Repair = %+v after %v, want %+v after a WriteTimeout", got, time.Since(start), want)
		}
		e.consistent(t, people, "p1")
		again, err := e.Repair(ctx)
		if want = (graphcache.RepairReport{Edges: 6}); again != want || err != nil {
			t.Errorf("Repair of what is whole = %+v, %v, want %+v", again, err, want)
		}
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := e.Repair(ctx); !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "graphcache: repair: ") {
			t.Errorf("Repair with a context that has ended: %v", err)
		}
	})
}

// TestOptionsStats: the counts are those of what was done, over all namespaces.
func TestOptionsStats(t *testing.T) {
	ctx := t.Context()
	g, err := graphcache.Open(ctx, fixtureSchema, memory.NewStore(nil), &graphcache.Options{Cache: memory.NewCache(nil), Logger: slog.New(slog.DiscardHandler)})
	fixtureMust(t, err)
	tenant, err := g.Namespace(ctx, "acme")
	fixtureMust(t, err)
	start := g.Stats()
	for _, n := range []*graphcache.Graph{g, tenant} {
		fixtureMust(t, n.CreateAll(ctx, &fixtureUser{ID: "ann"}, &fixtureUser{ID: "bob"}))
		fixtureMust(t, fixtureFollows.Add(ctx, n, "ann", "bob", fixtureFollow{}))
		for range 3 {
			_, err := fixtureUsers.GetMany(ctx, n, []fixtureUserID{"ann", "bob", "dan"})
			fixtureMust(t, err)
			_, err = fixtureFollows.Out(fixtureUserID("ann")).Edges(ctx, n)
			fixtureMust(t, err)
			fixtureMust(t, n.Settle(ctx))
		}
	}
	got := tenant.Stats()
	// Reads of one Add, of one GetMany and of one Edges, twice each.
	if reads, writes := got.StoreReads-start.StoreReads, got.StoreWrites-start.StoreWrites; reads != 6 || writes != 6 || got.CacheErrors != 0 {
		t.Errorf("%d store reads, %d store writes and %d errors, want 6, 6 and 0", reads, writes, got.CacheErrors)
	}
	want := map[string]graphcache.KindStats{
		"user":    {Hits: 12, Misses: 6, Loads: 6, Items: 4, Fills: 6, Writes: 4},
		"follows": {Hits: 4, Misses: 2, Loads: 2, Items: 2, Fills: 2, Writes: 2},
		"post":    {}, "wrote": {}, "boss": {}, "friends": {}, "likes": {}, "loves": {},
	}
	if diff := cmp.Diff(want, got.Kinds); diff != "" {
		t.Errorf("counts of the kinds (-want +got):\n%s", diff)
	}
	fixtureMust(t, g.Close(ctx))
}
