package graphcache_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	mongodriver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
	"github.com/graphcache/graphcache/internal/redistest"
)

// TestModelMongo runs the programs of [TestModelQueries] on a store in MongoDB.
func TestModelMongo(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		steps, enough := 16, 5_000
		if s.Lacks[mongotest.ConcurrentUpdates] {
			mqOrdinary(t)
			steps, enough = 4, 1_000
		}
		t.Run("memory", func(t *testing.T) { mqFollow(t, mqOnMongo(t, s), steps, enough) })
		t.Run("redis", func(t *testing.T) {
			setup := mqOnMongo(t, s)
			server := redistest.Addrs(t)[0]
			setup.cache = func() modelEvictable { return newModelRemote(t, server) }
			mqFollow(t, setup, steps, enough)
		})
	})
}

// mqOnMongo has each run on an empty database of the server.
func mqOnMongo(t *testing.T, s *mongotest.Server) mqSetup {
	t.Helper()
	client, err := mongodriver.Connect(options.Client().ApplyURI(s.URI))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.Background()) })
	return mqSetup{
		locks: true,
		vague: s.Lacks[mongotest.UniqueOnUpdate],
		store: func(ctx context.Context) (driver.Store, error) {
			o := &mongo.Options{Database: s.Database(t)}
			if s.Lacks[mongotest.ConcurrentUpdates] {
				o.Plain, o.Batch, o.Concurrency = true, 40, 10
			}
			t.Cleanup(func() {
				if err := client.Database(o.Database).Drop(context.Background()); err != nil {
					t.Error(err)
				}
			})
			return mongo.New(ctx, client, o)
		},
	}
}

// mqFollow runs programs of so many steps until enough queries have been checked.
func mqFollow(t *testing.T, setup mqSetup, steps, enough int) {
	t.Helper()
	programs := mqAnyProgram(steps, mqFocus{})
	begin := time.Now()
	n, checked := 0, 0
	for ; modelTooFew(checked, enough); n++ {
		seed := rand.IntN(1 << 30)
		p := programs.Example(seed)
		c, err := p.run(t.Context(), setup)
		checked += c
		if err != nil {
			t.Fatalf("the program of seed %d:\n%#v%v", seed, p, err)
		}
	}
	t.Logf("%d programs in %v", n, time.Since(begin).Round(time.Millisecond))
	modelEnough(t, checked, enough)
}

// TestModelMongoMutation spoils what the store is asked, and sees that the model notices.
func TestModelMongoMutation(t *testing.T) {
	s := mongotest.SharedLungo(t)
	on := func(spoil func(s *driver.Step)) mqSetup {
		setup := mqOnMongo(t, s)
		whole := setup.store
		setup.store = func(ctx context.Context) (driver.Store, error) {
			store, err := whole(ctx)
			if err != nil {
				return nil, err
			}
			return &spoiltStore{store.(*mongo.Store), spoil}, nil
		}
		return setup
	}
	for _, tt := range []struct {
		name  string
		setup mqSetup
	}{
		{"Offset is ignored", on(func(s *driver.Step) { s.Range.Offset = 0 })},
		{"Limit is ignored", on(func(s *driver.Step) { s.Range.Limit = 0 })},
		{"objects at the far ends are not looked at", on(func(s *driver.Step) {
			if s.Far != "" && len(s.Order) == 0 {
				s.Far, s.Filter = "", nil
			}
		})},
		{"LimitPer is ignored", on(func(s *driver.Step) { s.LimitPer = 0 })},
	} {
		t.Run(tt.name, func(t *testing.T) { mqMustFail(t, mqFocus{}, tt.setup) })
	}
}

// spoiltStore changes the steps of reads that are not in a transaction.
type spoiltStore struct {
	*mongo.Store
	spoil func(s *driver.Step)
}

// Read implements driver.Store.
func (s *spoiltStore) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	steps = slices.Clone(steps)
	for i := range steps {
		s.spoil(&steps[i])
	}
	return s.Store.Read(ctx, steps, atLeast)
}

// modelRemote is a cache on a server of which a model knows the anchors.
type modelRemote struct {
	driver.Cache
	t       *testing.T
	mu      sync.Mutex      // protects anchors
	anchors map[string]bool // that were claimed or held
}

func newModelRemote(t *testing.T, addr string) *modelRemote {
	b, err := redis.Open(t.Context(), "redis://"+addr, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(context.WithoutCancel(t.Context())) })
	return &modelRemote{Cache: b.Cache(), t: t, anchors: map[string]bool{}}
}

func (c *modelRemote) note(anchor string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.anchors[anchor] = true
}

// Claim implements driver.Cache.
func (c *modelRemote) Claim(ctx context.Context, claims []driver.Claim) ([]driver.Entry, error) {
	for i := range claims {
		c.note(claims[i].Anchor)
	}
	return c.Cache.Claim(ctx, claims)
}

// Hold implements driver.Cache.
func (c *modelRemote) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	for i := range holds {
		c.note(holds[i].Anchor)
	}
	return c.Cache.Hold(ctx, holds)
}

// Evict makes the entry Empty, as a write does that changes nothing.
func (c *modelRemote) Evict(anchor string) {
	hold := driver.Hold{Anchor: anchor, Token: "evict", TTL: time.Minute}
	_, held := c.Cache.Hold(c.t.Context(), []driver.Hold{hold})
	_, released := c.Cache.Release(c.t.Context(), []driver.Release{{Anchor: anchor, Token: "evict", KeepStamp: time.Minute}})
	if err := errors.Join(held, released); err != nil {
		c.t.Error(err)
	}
}

// Flush evicts everything.
func (c *modelRemote) Flush() {
	for _, anchor := range c.known() {
		c.Evict(anchor)
	}
}

func (c *modelRemote) known() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var known []string
	for anchor := range c.anchors {
		known = append(known, anchor)
	}
	return known
}

// Tokens returns the number of entries that are Held.
func (c *modelRemote) Tokens() int {
	var lookups []driver.Lookup
	for _, anchor := range c.known() {
		lookups = append(lookups, driver.Lookup{Anchor: anchor})
	}
	n := 0
	for part := range slices.Chunk(lookups, 100) {
		entries, err := c.Cache.Lookup(c.t.Context(), part)
		if err != nil {
			c.t.Error(err)
		}
		for i := range entries {
			if entries[i].State == driver.Held {
				n++
			}
		}
	}
	return n
}
