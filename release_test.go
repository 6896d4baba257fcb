package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/bubble"
)

// releaseCache is a cache that answers holds and releases as a test wants.
type releaseCache struct {
	driver.Cache
	outcome  driver.Outcome                  // of holds, with an error, unless it is Done
	release  func(ctx context.Context) error // nil: what the cache does
	releases atomic.Int64
}

func (c *releaseCache) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	if c.outcome == driver.Done {
		return c.Cache.Hold(ctx, holds)
	}
	outcomes := make([]driver.Outcome, len(holds))
	for i := range outcomes {
		outcomes[i] = c.outcome
	}
	return outcomes, errors.New("not now")
}

func (c *releaseCache) Release(ctx context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	c.releases.Add(1)
	if c.release != nil {
		if err := c.release(ctx); err != nil {
			return nil, err
		}
	}
	return c.Cache.Release(ctx, releases)
}

func releaseGraph(t *testing.T, c *releaseCache) *graphcache.Graph {
	t.Helper()
	c.Cache = memory.NewCache(nil)
	g, err := graphcache.Open(t.Context(), fixtureSchema, memory.NewStore(nil), &graphcache.Options{Cache: c, WhenCacheDown: graphcache.Fail})
	fixtureMust(t, err)
	t.Cleanup(func() { fixtureMust(t, g.Close(context.WithoutCancel(t.Context()))) })
	return g
}

func releaseWrite(ctx context.Context, g *graphcache.Graph, id string) error {
	return fixtureUsers.Put(ctx, g, &fixtureUser{ID: fixtureUserID(id), Name: "n"})
}

// TestReleaseRefusedHolds: marks that were certainly not placed are not taken off.
func TestReleaseRefusedHolds(t *testing.T) {
	c := &releaseCache{outcome: driver.Refused}
	g := releaseGraph(t, c)
	err := releaseWrite(t.Context(), g, "ann")
	fixtureMust(t, g.Settle(t.Context()))
	if !errors.Is(err, graphcache.ErrUnavailable) || c.releases.Load() != 0 || g.Stats().Kinds["user"].AbandonedHolds != 0 {
		t.Errorf("error %v, %d releases, stats %+v, want ErrUnavailable and none", err, c.releases.Load(), g.Stats().Kinds["user"])
	}
}

// TestReleasesPile: a cache that hangs is not met with ever more releases of refused
// writes: beyond some, their callers wait.
func TestReleasesPile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &releaseCache{outcome: driver.Unknown, release: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
		g := releaseGraph(t, c)
		before := bubble.Goroutines()
		most := 0
		for i := range 1000 {
			if err := releaseWrite(t.Context(), g, fmt.Sprint(i)); !errors.Is(err, graphcache.ErrUnavailable) {
				t.Fatal(err)
			}
			most = max(most, bubble.Goroutines()-before)
		}
		if most > 200 {
			t.Errorf("%d goroutines more while writes are refused, want a few for each of 64", most)
		}
	})
}

// TestReleaseLater: a mark that could not be taken off goes when the cache works again,
// although the write has been acknowledged long since.
func TestReleaseLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var works atomic.Bool
		c := &releaseCache{outcome: driver.Done, release: func(context.Context) error {
			if !works.Load() {
				return errors.New("not now")
			}
			return nil
		}}
		g := releaseGraph(t, c)
		fixtureMust(t, releaseWrite(t.Context(), g, "ann"))
		time.Sleep(5 * time.Second)
		tokens := c.Cache.(*memory.Cache).Tokens
		if tokens() == 0 {
			t.Error("no mark stands while releases fail")
		}
		works.Store(true)
		time.Sleep(2 * time.Second)
		if n := tokens(); n != 0 {
			t.Errorf("%d marks stand after the cache has worked for 2s, long before their deadline", n)
		}
		n := c.releases.Load()
		time.Sleep(time.Minute)
		if again := c.releases.Load(); again != n {
			t.Errorf("%d releases after the one that was confirmed", again-n)
		}
	})
}
