package nearproof_test

import (
	"context"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
)

// TestOwnLostHold: the cache loses the hold of a write under way, so that the value before
// the write is cached again, here too. When the write is acknowledged its own process must
// not return that value, even if the notice of what the release has cleared comes late.
//
//  1. a write holds an object; the cache loses the hold
//  2. a read of the same process finds nothing, loads the object as it was, and keeps it
//  3. the object is written; the release finds no hold, clears the entry and says so
//  4. the write is acknowledged before the process hears of that
func TestOwnLostHold(t *testing.T) {
	ctx := t.Context()
	shared := memory.NewCache(nil)
	cache := backendtest.NewFaultyCache(shared, nil)
	var g *graphcache.Graph
	read := func(when string, fresh graphcache.Freshness) int64 {
		u, err := users.Get(ctx, g, userID(0), fresh)
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		return u.N
	}
	meanwhile := func() {}
	store := backendtest.NewFaultyStore(memory.NewStore(nil), func(_ context.Context, c backendtest.Call) backendtest.Fault {
		if c.Method == "Write" {
			meanwhile()
		}
		return backendtest.Fault{}
	})
	g, err := graphcache.Open(ctx, schema, store, &graphcache.Options{Cache: cache, NearCache: &graphcache.NearCache{}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close(ctx)
	if err := users.Create(ctx, g, &user{ID: userID(0)}); err != nil {
		t.Fatal(err)
	}
	await(t, "the near cache is served", func() bool { return g.Stats().Near.Serving })
	hits := func() int64 { return g.Stats().Kinds[users.Name()].NearHits }
	meanwhile = func() {
		shared.Flush()
		before := hits()
		await(t, "the object is kept as it was", func() bool {
			read("meanwhile", graphcache.Cached)
			return hits() > before
		})
		cache.Mute(true)
	}
	if _, err := users.Update(ctx, g, userID(0), func(u *user) error { u.N++; return nil }); err != nil {
		t.Fatal(err)
	}
	if n := read("afterwards", graphcache.Shared); n != 1 {
		t.Errorf("a Shared read returns state %d after the write of state 1 was acknowledged", n)
	}
	if n := read("afterwards", graphcache.Cached); n != 1 {
		t.Errorf("a read returns state %d after its own process's write of state 1 was acknowledged", n)
	}
}

// await waits until the condition holds.
func await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}
