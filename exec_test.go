package graphcache_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// execWorld makes ann, who follows u1 to u5, at these milliseconds, and bob, who follows
// u1 and u2.
func execWorld(t *testing.T, e *fixtureEngine) {
	t.Helper()
	e.seed(t, []fixtureUserID{"ann", "bob", "u1", "u2", "u3", "u4", "u5"}, "p1")
	for i, to := range []fixtureUserID{"u1", "u2", "u3", "u4", "u5", "u1", "u2"} {
		edge := fixtureEdge{From: "ann", To: to, Time: time.UnixMilli(int64(i + 1))}
		if i >= 5 {
			edge.From = "bob"
		}
		_, err := fixtureFollows.AddEdge(t.Context(), e, edge)
		fixtureMust(t, err)
	}
}

// TestExecAsksForWhatItNeeds: a read that does not go through the cache asks the store
// for what it needs and nothing more, in a transaction, if it is Fresh, and in a graph
// without a cache.
func TestExecAsksForWhatItNeeds(t *testing.T) {
	ctx, ann, bob := t.Context(), fixtureUserID("ann"), fixtureUserID("bob")
	both := graphcache.IDs[fixtureUser]{ann, bob}
	ms := func(n int64) time.Time { return time.UnixMilli(n).UTC() }
	objects := func(kind string, ids ...string) driver.Step {
		return driver.Step{Op: driver.GetObjects, Kind: kind, IDs: ids}
	}
	list := func(r driver.Range, ids ...string) driver.Step {
		return driver.Step{Op: driver.ListEdges, Kind: "follows", IDs: ids, Range: r}
	}
	ends := func(id string, ends ...string) driver.Step {
		return driver.Step{Op: driver.GetEdges, Kind: "follows", IDs: []string{id}, Ends: ends}
	}
	count := func(r driver.Range, ids ...string) driver.Step {
		return driver.Step{Op: driver.CountEdges, Kind: "follows", IDs: ids, Range: r}
	}
	type query = graphcache.Query[fixtureUser, fixtureEdge]
	edges := func(q query) func(graphcache.Conn, graphcache.Freshness) (int, error) {
		return func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			all, err := execFresh(q, f).Edges(ctx, c)
			return len(all), err
		}
	}
	counts := func(q query) func(graphcache.Conn, graphcache.Freshness) (int, error) {
		return func(c graphcache.Conn, f graphcache.Freshness) (int, error) { return execFresh(q, f).Count(ctx, c) }
	}
	out, many := fixtureFollows.Out(ann), fixtureFollows.Out(both)
	tests := []struct {
		name  string
		read  func(graphcache.Conn, graphcache.Freshness) (found int, err error)
		found int
		want  []driver.Step
	}{
		{"an object", func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			_, err := fixtureUsers.Get(ctx, c, ann, f)
			return 1, err
		}, 1, []driver.Step{objects("user", "ann")}},
		{"objects", func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			m, err := fixtureUsers.GetMany(ctx, c, []fixtureUserID{ann, "nobody", bob, ann}, f)
			return len(m), err
		}, 2, []driver.Step{objects("user", "ann", "nobody", "bob")}},
		{"an edge", func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			_, err := fixtureFollows.Get(ctx, c, ann, "u3", f)
			return 1, err
		}, 1, []driver.Step{ends("ann", "u3")}},
		{"edges to some", func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			m, err := fixtureFollows.GetMany(ctx, c, ann, []fixtureUserID{"u3", bob, "u1", "u3"}, f)
			return len(m), err
		}, 2, []driver.Step{ends("ann", "u3", "bob", "u1")}},

		{"a count", counts(out), 5, []driver.Step{count(driver.Range{}, "ann")}},
		{"a count of times", counts(out.Since(ms(2)).Until(ms(4))), 3, []driver.Step{count(driver.Range{High: ms(4), Low: ms(2)}, "ann")}},
		{"a count within limits", counts(out.Offset(1).Limit(3)), 3, []driver.Step{count(driver.Range{}, "ann")}},
		{"a count of distinct ends of one", counts(out.Distinct()), 5, []driver.Step{count(driver.Range{}, "ann")}},
		{"a count for several", counts(many.LimitPer(3)), 5, []driver.Step{count(driver.Range{}, "ann", "bob")}},
		{"a count of distinct ends of several", counts(many.Distinct()), 5, []driver.Step{list(driver.Range{}, "ann", "bob")}},
		{"whether there is one", func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			ok, err := execFresh(out, f).Exists(ctx, c)
			return map[bool]int{true: 1}[ok], err
		}, 1, []driver.Step{list(driver.Range{Limit: 1}, "ann")}},

		{"a list", edges(out), 5, []driver.Step{list(driver.Range{}, "ann")}},
		{"a limit", edges(out.Limit(2)), 2, []driver.Step{list(driver.Range{Limit: 2}, "ann")}},
		{"an offset", edges(out.Offset(3)), 2, []driver.Step{list(driver.Range{Offset: 3}, "ann")}},
		{"a position and a limit", edges(out.Offset(1).Limit(2)), 2, []driver.Step{list(driver.Range{Offset: 1, Limit: 2}, "ann")}},
		{"a position far away", edges(out.Offset(5000).Limit(20)), 0, []driver.Step{list(driver.Range{Offset: 5000, Limit: 20}, "ann")}},
		{"an offset within times", edges(out.Until(ms(4)).Offset(1).Limit(5)), 3, []driver.Step{list(driver.Range{High: ms(4), Offset: 1, Limit: 5}, "ann")}},
		{"a limit per object, and an offset", edges(out.LimitPer(3).Offset(1)), 2, []driver.Step{list(driver.Range{Limit: 3}, "ann")}},
		{"an offset of several", edges(many.Offset(4).Limit(2)), 2, []driver.Step{list(driver.Range{Limit: 6}, "ann", "bob")}},
		{"a limit per object of several", edges(many.LimitPer(2).Limit(9)), 4, []driver.Step{list(driver.Range{Limit: 2}, "ann", "bob")}},
		{"the other direction", func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			ids, err := execFresh(fixtureFollows.In(fixtureUserID("u1")).Offset(1), f).IDs(ctx, c)
			return len(ids), err
		}, 1, []driver.Step{{Op: driver.ListEdges, Kind: "follows", Direction: driver.In, IDs: []string{"u1"}, Range: driver.Range{Offset: 1}}}},

		{"two hops", edges(fixtureFollows.Out(fixtureFollows.In(fixtureUserID("u3")).Limit(1)).Offset(1).Limit(2)), 2, []driver.Step{
			{Op: driver.ListEdges, Kind: "follows", Direction: driver.In, IDs: []string{"u3"}, Range: driver.Range{Limit: 1}},
			list(driver.Range{Offset: 1, Limit: 2}, "ann"),
		}},
		{"the first object", func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			_, err := execFresh(out.Offset(2), f).First(ctx, c)
			return 1, err
		}, 1, []driver.Step{list(driver.Range{Offset: 2, Limit: 1}, "ann"), objects("user", "u3")}},
		{"the objects", func(c graphcache.Conn, f graphcache.Freshness) (int, error) {
			all, err := execFresh(many.Limit(6), f).All(ctx, c)
			return len(all), err
		}, 6, []driver.Step{list(driver.Range{Limit: 6}, "ann", "bob"), objects("user", "u5", "u4", "u3", "u2", "u1")}},
	}
	e := fixtureNew(t)
	execWorld(t, e)
	uncached := e.another(t, func(o *graphcache.Options) { o.Cache = nil })
	for _, way := range []struct {
		name  string
		e     *fixtureEngine
		fresh graphcache.Freshness
		run   func(func(graphcache.Conn)) error
	}{
		{"fresh", e, graphcache.Fresh, func(read func(graphcache.Conn)) error { read(e); return nil }},
		{"in a transaction", e, graphcache.Cached, func(read func(graphcache.Conn)) error {
			return e.Tx(ctx, func(tx *graphcache.Tx) error { read(tx); return nil })
		}},
		{"fresh in a transaction", e, graphcache.Fresh, func(read func(graphcache.Conn)) error {
			return e.Tx(ctx, func(tx *graphcache.Tx) error { read(tx); return nil })
		}},
		{"without a cache", uncached, graphcache.Cached, func(read func(graphcache.Conn)) error { read(uncached); return nil }},
	} {
		for _, tt := range tests {
			t.Run(way.name+"/"+tt.name, func(t *testing.T) {
				steps := execSteps(way.e)
				err := way.run(func(c graphcache.Conn) {
					found, err := tt.read(c, way.fresh)
					if found != tt.found || err != nil {
						t.Errorf("found %d, %v, want %d", found, err, tt.found)
					}
				})
				fixtureMust(t, err)
				if diff := cmp.Diff(tt.want, steps()); diff != "" {
					t.Errorf("what the store is asked for (-want +got):\n%s", diff)
				}
				if n := way.e.fcache.Total(); n > 0 {
					t.Errorf("a read that is not to use the cache called it %d times", n)
				}
			})
		}
	}
}

// execFresh returns the query with the freshness.
func execFresh[T, E any](q graphcache.Query[T, E], f graphcache.Freshness) graphcache.Query[T, E] {
	if f == graphcache.Fresh {
		return q.Fresh()
	}
	return q
}

// execSteps makes the process note what it asks its store for, and returns a function
// that ends this and returns the notes.
func execSteps(e *fixtureEngine) (stop func() []driver.Step) {
	var mu sync.Mutex
	var steps []driver.Step
	e.on(func(c fixtureCall) backendtest.Fault {
		batch, _ := c.Batch.([]driver.Step)
		mu.Lock()
		defer mu.Unlock()
		for _, s := range batch {
			s.IDs, s.Ends = slices.Clone(s.IDs), slices.Clone(s.Ends)
			steps = append(steps, s)
		}
		return backendtest.Fault{}
	})
	return func() []driver.Step {
		mu.Lock()
		defer mu.Unlock()
		e.fstore.SetHook(nil)
		e.fcache.SetHook(nil)
		return steps
	}
}

// TestExecOffsetThroughTheCache: an offset beyond the cached prefix reaches the store as
// one, and the answer is cached as what it is.
func TestExecOffsetThroughTheCache(t *testing.T) {
	e := fixtureNew(t)
	largeWorld(t, e)
	read := func(ctx context.Context) {
		t.Helper()
		edges, err := fixtureFollows.Range(ctx, e, "ann", graphcache.LongPrefix, 20)
		if err != nil || len(edges) != 20 || edges[0].To != "u0175" {
			t.Errorf("a range of %d edges from %d on: %d edges, %v", 20, graphcache.LongPrefix, len(edges), err)
		}
		e.settle(t)
	}
	steps := execSteps(e)
	read(t.Context())
	want := []driver.Step{
		{Op: driver.ListEdges, Kind: "follows", IDs: []string{"ann"}, Range: driver.Range{Limit: graphcache.ShortPrefix + 1}},
		{Op: driver.ListEdges, Kind: "follows", IDs: []string{"ann"}, Range: driver.Range{Offset: graphcache.LongPrefix, Limit: 20}},
	}
	if diff := cmp.Diff(want, steps()); diff != "" {
		t.Errorf("what the store is asked for (-want +got):\n%s", diff)
	}
	e.on(nil)
	read(t.Context())
	if n := e.fstore.Calls("Read"); n > 0 {
		t.Errorf("the range is not cached: %d store reads", n)
	}
}
