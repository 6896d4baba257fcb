package redis_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// trip is a process on a store in which ann follows 100 users, each of whom follows bob.
type trip struct {
	*graphcache.Graph
	b     *redis.Backend
	cache *backendtest.FaultyCache // in front of b's
	addrs []string
}

func newTrip(t *testing.T, addrs []string) *trip {
	t.Helper()
	b := open(t, addrs, redis.Options{BatchTimeout: countersPatience, Logger: slog.New(slog.DiscardHandler)})
	store := memory.NewStore(nil)
	e := &trip{b: b, cache: backendtest.NewFaultyCache(b.Cache(), nil), addrs: addrs}
	e.Graph = openGraph(t, store, e.cache, func(o *graphcache.Options) { o.ReadTimeout, o.LeaseTTL = 5*time.Second, 20*time.Second })
	var writes []driver.Write
	user := func(id string) {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: id, Version: 1}})
	}
	follow := func(from, to string) {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &driver.Edge{From: from, To: to, Version: 1}})
	}
	user("ann")
	user("bob")
	for i := range 100 {
		id := fmt.Sprint("user ", i)
		user(id)
		follow("ann", id)
		follow(id, "bob")
	}
	if _, err := store.Write(t.Context(), writes); err != nil {
		t.Fatal(err)
	}
	// The scripts are known, and so is every server.
	works(t, b.Cache())
	rename(t, e.Graph, "bob", "bob")
	return e
}

// batches returns the number of pipelines that f takes in the end.
func (e *trip) batches(t *testing.T, want int64, f func() error) {
	t.Helper()
	before := e.b.Stats().Batches
	if err := f(); err != nil {
		t.Fatal(err)
	}
	until(t, fmt.Sprint(want, " pipelines"), func() bool { return e.b.Stats().Batches-before >= want })
	time.Sleep(20 * time.Millisecond) // for one too many
	if n := e.b.Stats().Batches - before; n != want {
		t.Errorf("%d pipelines, want %d", n, want)
	}
}

// scripts returns how many scripts the servers have run.
func (e *trip) scripts(t *testing.T) string {
	t.Helper()
	var all []string
	for _, addr := range e.addrs {
		for line := range strings.Lines(do(t, addr, "info", "commandstats")) {
			if strings.HasPrefix(line, "cmdstat_eval") {
				calls, _, _ := strings.Cut(line, ",")
				all = append(all, calls)
			}
		}
	}
	return strings.Join(all, " ")
}

func TestRoundTrips(t *testing.T) {
	e := newTrip(t, []string{redistest.Start(t).Addr})
	ctx := patient(t)
	get := func() error {
		_, err := watchUsers.Get(ctx, e, "ann")
		return err
	}
	twoHops := func(want int) func() error {
		return func() error {
			ids, err := watchFollows.Out(watchFollows.Out(graphcache.ID[watchUser]("ann"))).IDs(ctx, e)
			if len(ids) != want && err == nil {
				err = fmt.Errorf("%d of %d paths", len(ids), want)
			}
			return err
		}
	}
	objects := func() error {
		all, err := watchFollows.Out(watchFollows.Out(graphcache.ID[watchUser]("ann"))).All(ctx, e)
		if len(all) != 100 && err == nil {
			err = fmt.Errorf("%d of 100 paths", len(all))
		}
		return err
	}
	secondary := func() error {
		_, err := watchFollows.Range(ctx, e, "ann", 0, 3)
		return err
	}
	for _, tt := range []struct {
		name       string
		cold, warm int64
		f          func() error
	}{
		{"an object", 3, 1, get},
		{"the IDs of two hops", 6, 2, twoHops(100)},
		{"the objects of two hops, of which there is one", 3 + 2, 3, objects},
		{"a range of a list that is cached", 1, 1, secondary},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e.batches(t, tt.cold, tt.f)
			before := e.scripts(t)
			for range 3 {
				e.batches(t, tt.warm, tt.f)
			}
			if after := e.scripts(t); after != before {
				t.Errorf("hits have run scripts: %s became %s", before, after)
			}
		})
	}
	t.Run("a write", func(t *testing.T) {
		e.batches(t, 2, func() error {
			_, err := watchUsers.Update(ctx, e, "ann", func(u *watchUser) error { u.Name = "new"; return nil })
			return err
		})
		e.batches(t, 2, func() error { return watchFollows.Add(ctx, e, "ann", "bob", graphcache.NoData{}) })
	})
	t.Run("after the write", func(t *testing.T) {
		e.batches(t, 3, get)
		e.batches(t, 1, get)
	})
	if s := e.b.Stats(); s.FailedBatches != 0 || s.ScriptLoads > 20 {
		t.Errorf("%+v", s)
	}
}

// TestRoundTripsFill: a reader has its answer while the fill is still to come.
func TestRoundTripsFill(t *testing.T) {
	e := newTrip(t, []string{redistest.Start(t).Addr})
	gate := backendtest.NewGate(backendtest.On("Fill"))
	defer gate.Open()
	e.cache.SetHook(gate.Hook)
	e.batches(t, 2, func() error {
		_, err := watchUsers.Get(patient(t), e, "ann")
		return err
	})
	if err := gate.Await(patient(t)); err != nil {
		t.Fatal(err)
	}
	e.batches(t, 1, func() error { gate.Open(); return nil })
	e.batches(t, 1, func() error {
		_, err := watchUsers.Get(patient(t), e, "ann")
		return err
	})
}

// TestRoundTripsCluster: a hop is one pipeline for each node that has some of it.
func TestRoundTripsCluster(t *testing.T) {
	e := newTrip(t, redistest.StartCluster(t, 3, 0).Addrs())
	ctx := patient(t)
	ids := func() error {
		_, err := watchFollows.Out(watchFollows.Out(graphcache.ID[watchUser]("ann"))).IDs(ctx, e)
		return err
	}
	e.batches(t, 3*(1+3), ids) // read, claim and fill, on one node and on all
	before := e.scripts(t)
	e.batches(t, 1+3, ids)
	e.batches(t, 1+3, ids)
	if after := e.scripts(t); after != before {
		t.Errorf("hits have run scripts: %s became %s", before, after)
	}
}
