package redis_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

type hotUser struct {
	ID   graphcache.ID[hotUser] `json:"id"`
	Name string                 `json:"name"`
	City string                 `json:"city" graph:"index"`
}

type hotID = graphcache.ID[hotUser]

var (
	hotUsers   = graphcache.NewObjectKind[hotUser]("user")
	hotFollows = graphcache.NewEdgeKind[graphcache.NoData]("follows", hotUsers, hotUsers)
	hotCity    = graphcache.StringFieldOf(hotUsers, func(u *hotUser) *string { return &u.City })
	hotSchema  = graphcache.NewSchema(hotUsers, hotFollows)
)

// hotReads are reads of one anchor each, which know what they are to return.
var hotReads = []struct {
	name string
	read func(ctx context.Context, g *graphcache.Graph) error
}{
	{"an object", func(ctx context.Context, g *graphcache.Graph) error {
		u, err := hotUsers.Get(ctx, g, "hot")
		if err == nil && u.Name != "Hot" {
			err = fmt.Errorf("the name is %q", u.Name)
		}
		return err
	}},
	{"a list", func(ctx context.Context, g *graphcache.Graph) error {
		edges, err := hotFollows.Out(hotID("hot")).Edges(ctx, g)
		if err == nil && len(edges) != hotFans {
			err = fmt.Errorf("%d edges", len(edges))
		}
		return err
	}},
	{"an index", func(ctx context.Context, g *graphcache.Graph) error {
		ids, err := hotUsers.Where(hotCity.Eq("Oslo")).IDs(ctx, g)
		if err == nil && len(ids) != hotFans+1 {
			err = fmt.Errorf("%d users", len(ids))
		}
		return err
	}},
}

const hotFans = 20

// hotOptions have time for what a busy machine is slow at: a look-up that is not answered
// in time would be a read of the store.
func hotOptions() graphcache.Options {
	return graphcache.Options{
		Logger: quiet, ReadTimeout: time.Second, LoadTimeout: time.Second, LeaseTTL: 2200 * time.Millisecond,
	}
}

// hotStore returns a store that counts, with the records, of which nothing is cached on
// the servers of the backends.
func hotStore(t *testing.T, cache *redis.Backend) *backendtest.FaultyStore {
	t.Helper()
	store := backendtest.NewFaultyStore(memory.NewStore(nil), nil)
	g := hotGraph(t, store, cache)
	put := func(id hotID, name string) {
		if err := hotUsers.Put(t.Context(), g, &hotUser{ID: id, Name: name, City: "Oslo"}); err != nil {
			t.Fatal(err)
		}
	}
	put("hot", "Hot")
	for i := range hotFans {
		id := hotID(fmt.Sprint("fan ", i))
		put(id, "Fan")
		if err := hotFollows.Add(t.Context(), g, "hot", id, graphcache.NoData{}); err != nil {
			t.Fatal(err)
		}
	}
	store.Reset()
	return store
}

func hotGraph(t *testing.T, store driver.Store, cache *redis.Backend) *graphcache.Graph {
	t.Helper()
	options := hotOptions()
	options.Cache = cache.Cache()
	g, err := graphcache.Open(t.Context(), hotSchema, store, &options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(context.Background()) })
	return g
}

func hotGraphs(t *testing.T, store driver.Store, backends []*redis.Backend) (graphs []*graphcache.Graph) {
	t.Helper()
	for _, b := range backends {
		graphs = append(graphs, hotGraph(t, store, b))
	}
	return graphs
}

// stampede lets very many readers of each graph begin at once, and fails the test for
// each that is not answered.
func stampede(t *testing.T, graphs []*graphcache.Graph, read func(context.Context, *graphcache.Graph) error) {
	t.Helper()
	const readers = 250
	var failed atomic.Int64
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range readers * len(graphs) {
		wg.Go(func() {
			<-begin
			if err := read(t.Context(), graphs[i%len(graphs)]); err != nil && failed.Add(1) == 1 {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	close(begin)
	wg.Wait()
	if n := failed.Load(); n > 0 {
		t.Errorf("%d of %d readers failed", n, readers*len(graphs))
	}
}

// TestStampede lets 1,000 readers in four processes miss the same thing at once: the store
// is read once.
func TestStampede(t *testing.T) {
	backends := linearServer(t, redistest.Start(t).Addr)
	for _, tt := range hotReads {
		t.Run(tt.name, func(t *testing.T) {
			store := hotStore(t, backends[0])
			graphs := hotGraphs(t, store, backends)
			store.Reset()
			stampede(t, graphs, tt.read)
			if n := store.Calls("Read"); n != 1 {
				t.Errorf("the store was read %d times", n)
				for i, g := range graphs { // why
					t.Logf("graph %d: %+v", i, g.Stats())
				}
			}
		})
	}
}

// TestStampedeBehindTheDead lets a process claim a load and then vanish: its read of the
// store hangs, and its connections are gone. The others wait for it until its claim
// ends, and then one of them loads.
func TestStampedeBehindTheDead(t *testing.T) {
	s := redistest.Start(t)
	backends := linearServer(t, s.Addr)
	for _, tt := range hotReads {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxy := redistest.NewProxy(t, s.Addr)
			options := goredis.UniversalOptions{Addrs: []string{proxy.Addr}}
			mortal, err := redis.OpenUniversal(t.Context(), &options, &redis.Options{Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { mortal.Close(t.Context()) })
			store := hotStore(t, backends[0])
			graphs := hotGraphs(t, store, backends)

			hanging := backendtest.NewFaultyStore(store, nil)
			dead := hotGraph(t, hanging, mortal)
			gate := backendtest.NewGate(backendtest.On("Read"))
			t.Cleanup(gate.Open)
			hanging.SetHook(gate.Hook)
			died := make(chan error, 1)
			began := time.Now()
			go func() { died <- tt.read(context.Background(), dead) }()
			if err := gate.Await(t.Context()); err != nil {
				t.Fatal(err)
			}
			proxy.Refuse(true)

			store.Reset()
			stampede(t, graphs, tt.read)
			waited := time.Since(began)
			if err := <-died; !errors.Is(err, graphcache.ErrUnavailable) {
				t.Errorf("the dead reader got %v", err)
			}
			// When its time is over, the read that hung reaches the store, and is refused.
			if n := store.Calls("Read"); n != 2 {
				t.Errorf("the store was read %d times, one of them by the dead", n)
			}
			if least := hotOptions().LeaseTTL; waited < least {
				t.Errorf("the readers waited for %v, less than a claim of %v stands", waited, least)
			}
			t.Logf("the readers waited for %v, a claim stands for %v", waited, hotOptions().LeaseTTL)
		})
	}
}

// TestStoreReadsPerWriteRate prints how often the store is read for one object that many
// read and one writes.
func TestStoreReadsPerWriteRate(t *testing.T) {
	backends := linearServer(t, redistest.Start(t).Addr)
	for _, rate := range []int{1, 10, 100, 1000} {
		t.Run(fmt.Sprint(rate, " writes a second"), func(t *testing.T) {
			const readers, duration = 16, 1200 * time.Millisecond
			graphs := hotGraphs(t, hotStore(t, backends[0]), backends)
			ctx, cancel := context.WithTimeout(t.Context(), duration)
			defer cancel()
			var reads, writes atomic.Int64
			var wg sync.WaitGroup
			for i := range readers * len(graphs) {
				wg.Go(func() {
					for ctx.Err() == nil {
						if _, err := hotUsers.Get(t.Context(), graphs[i%len(graphs)], "hot"); err != nil {
							t.Error(err)
							return
						}
						reads.Add(1)
					}
				})
			}
			began := time.Now()
			for tick := time.Tick(time.Second / time.Duration(rate)); ctx.Err() == nil; {
				// The index, of the city, is not touched.
				u := hotUser{ID: "hot", Name: fmt.Sprint("Hot ", writes.Add(1)), City: "Oslo"}
				if err := hotUsers.Put(t.Context(), graphs[0], &u); err != nil {
					t.Error(err)
					break
				}
				select {
				case <-tick:
				case <-ctx.Done():
				}
			}
			wg.Wait()
			seconds := time.Since(began).Seconds()
			var loads, hits, misses int64
			for _, g := range graphs {
				k := g.Stats().Kinds["user"]
				loads, hits, misses = loads+k.Loads, hits+k.Hits, misses+k.Misses
			}
			t.Logf("%.0f reads/s, %.0f writes/s: %.0f store reads/s, %.1f%% hits",
				float64(reads.Load())/seconds, float64(writes.Load())/seconds,
				float64(loads)/seconds, 100*float64(hits)/float64(hits+misses))
			if hits == 0 || loads == 0 || loads > reads.Load() {
				t.Errorf("%d hits and %d loads for %d reads", hits, loads, reads.Load())
			}
		})
	}
}
