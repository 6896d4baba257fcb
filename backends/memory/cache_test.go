package memory_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol/replay"
)

// clock is a clock that only a test moves.
type clock struct{ elapsed atomic.Int64 }

func (c *clock) Now() time.Time {
	return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Add(time.Duration(c.elapsed.Load()))
}

func (c *clock) Advance(d time.Duration) { c.elapsed.Add(int64(d)) }

func TestCache(t *testing.T) {
	var now clock
	backendtest.Cache(t, backendtest.CacheHarness{
		New: func(*testing.T) driver.Cache {
			return memory.NewCache(&memory.CacheOptions{Now: now.Now})
		},
		Advance: now.Advance,
	})
}

// TestCacheInRealTime is the way of backends that have a clock of their own.
func TestCacheInRealTime(t *testing.T) {
	backendtest.Cache(t, backendtest.CacheHarness{
		New: func(*testing.T) driver.Cache { return memory.NewCache(nil) },
	})
}

// TestCacheReplay puts the cache through every transition of the protocol's model.
func TestCacheReplay(t *testing.T) {
	var now clock
	replay.All(t, replay.Backend{
		Cache: memory.NewCache(&memory.CacheOptions{Now: now.Now}),
		Pass:  now.Advance,
	})
}

const hour = time.Hour

func hold(t *testing.T, c *memory.Cache, anchor, token string, ttl time.Duration) {
	t.Helper()
	outcomes, err := c.Hold(t.Context(), []driver.Hold{{Anchor: anchor, Token: token, TTL: ttl}})
	if err != nil || outcomes[0] != driver.Done {
		t.Fatalf("Hold: %v, %v", outcomes, err)
	}
}

func release(t *testing.T, c *memory.Cache, anchor, token string, stamp driver.Stamp) driver.Outcome {
	t.Helper()
	outcomes, err := c.Release(t.Context(), []driver.Release{{Anchor: anchor, Token: token, Stamp: stamp, KeepStamp: hour}})
	if err != nil {
		t.Fatal(err)
	}
	return outcomes[0]
}

// fill claims and fills a primary value, and returns the fill's outcome.
func fill(t *testing.T, c *memory.Cache, anchor string, size int) driver.Outcome {
	t.Helper()
	if _, err := c.Claim(t.Context(), []driver.Claim{{Anchor: anchor, Version: 1, Lease: hour, TTL: hour}}); err != nil {
		t.Fatal(err)
	}
	outcomes, err := c.Fill(t.Context(), []driver.Fill{{Anchor: anchor, Version: 1, Value: make([]byte, size), TTL: hour}})
	if err != nil {
		t.Fatal(err)
	}
	return outcomes[0]
}

func lookup(t *testing.T, c *memory.Cache, anchor string) driver.Entry {
	t.Helper()
	entries, err := c.Lookup(t.Context(), []driver.Lookup{{Anchor: anchor}})
	if err != nil {
		t.Fatal(err)
	}
	return entries[0]
}

func TestEvictionOrder(t *testing.T) {
	c := memory.NewCache(&memory.CacheOptions{MaxBytes: 10_500})
	for i := range 4 {
		fill(t, c, fmt.Sprint(i), 2_000) // with what it costs to keep them, four fit
	}
	lookup(t, c, "0")
	fill(t, c, "4", 2_000)
	for i, want := range []bool{true, false, true, true, true} {
		if got := lookup(t, c, fmt.Sprint(i)).Value != nil; got != want {
			t.Errorf("entry %d is there: %v, want %v, since 1 was used least recently", i, got, want)
		}
	}
}

func TestHoldsAreNotEvicted(t *testing.T) {
	var now clock
	c := memory.NewCache(&memory.CacheOptions{Now: now.Now, MaxBytes: 20_000})
	const holds = 200 // more than fit
	for i := range holds {
		hold(t, c, fmt.Sprint("held ", i), "t", hour)
	}
	for i := range 100 {
		fill(t, c, fmt.Sprint("value ", i), 1_000)
	}
	if got := c.Tokens(); got != holds {
		t.Errorf("%d tokens stand, want %d: a hold was evicted", got, holds)
	}
	for i := range holds {
		if state := lookup(t, c, fmt.Sprint("held ", i)).State; state != driver.Held {
			t.Fatalf("entry %d is %v, want held", i, state)
		}
	}
	// Once they have expired, the next calls make room.
	now.Advance(2 * hour)
	if got := c.Tokens(); got != 0 {
		t.Errorf("%d tokens stand, want none", got)
	}
	for i := range holds {
		fill(t, c, fmt.Sprint("later ", i), 100)
	}
	fill(t, c, "last", 10_000)
	if lookup(t, c, "last").Value == nil {
		t.Error("expired holds still take the room of values")
	}
}

func TestHugeValue(t *testing.T) {
	c := memory.NewCache(&memory.CacheOptions{MaxBytes: 10_000})
	fill(t, c, "small", 1_000)
	if got := fill(t, c, "huge", 20_000); got != driver.Refused {
		t.Errorf("a value that cannot fit: %v, want refused", got)
	}
	if lookup(t, c, "small").Value == nil || lookup(t, c, "huge").Value != nil {
		t.Error("a value that cannot fit drives out others")
	}
	if unbounded := memory.NewCache(&memory.CacheOptions{MaxBytes: -1}); fill(t, unbounded, "huge", 100<<20) != driver.Done {
		t.Error("MaxBytes -1 is no bound")
	}
}

func TestEvict(t *testing.T) {
	c := memory.NewCache(nil)
	for _, anchor := range []string{"a", "b", "c"} {
		hold(t, c, anchor, "t", hour)
		release(t, c, anchor, "t", "s")
		hold(t, c, anchor, "t", hour)
	}
	c.Evict("a")
	c.Evict("nothing")
	if got := lookup(t, c, "a"); got.State != driver.Empty || got.Stamp != "" || c.Tokens() != 2 {
		t.Errorf("after Evict: %+v, %d tokens", got, c.Tokens())
	}
	if got := release(t, c, "a", "t", ""); got != driver.Refused {
		t.Errorf("Release of a token that was evicted: %v, want refused", got)
	}
	c.Flush()
	if got := lookup(t, c, "b"); got.State != driver.Empty || c.Tokens() != 0 {
		t.Errorf("after Flush: %+v, %d tokens", got, c.Tokens())
	}
	if fill(t, c, "b", 10) != driver.Done {
		t.Error("after Flush the cache is as new")
	}
}

func TestTokens(t *testing.T) {
	var now clock
	c := memory.NewCache(&memory.CacheOptions{Now: now.Now})
	hold(t, c, "a", "t", hour)
	hold(t, c, "a", "u", time.Minute)
	hold(t, c, "b", "t", time.Minute)
	if got := c.Tokens(); got != 3 {
		t.Errorf("%d tokens, want 3", got)
	}
	now.Advance(time.Minute)
	if got := c.Tokens(); got != 1 {
		t.Errorf("%d tokens, want 1: a token counts for nothing at its deadline", got)
	}
	release(t, c, "a", "t", "")
	if got := c.Tokens(); got != 0 {
		t.Errorf("%d tokens, want none", got)
	}
}

// TestDefaultClock shows that the cache follows the clock of a test bubble.
func TestDefaultClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memory.NewCache(nil)
		hold(t, c, "a", "t", hour)
		<-time.After(hour - 1)
		if got := lookup(t, c, "a").State; got != driver.Held {
			t.Errorf("before the deadline: %v", got)
		}
		<-time.After(1)
		if got := lookup(t, c, "a").State; got != driver.Empty {
			t.Errorf("at the deadline: %v", got)
		}
	})
}

func TestClaimWithoutVersion(t *testing.T) {
	c := memory.NewCache(nil)
	entries, err := c.Claim(t.Context(), []driver.Claim{{Anchor: "a", Lease: hour, TTL: hour}, {Anchor: "b", Version: 1, Lease: hour, TTL: hour}})
	if !errors.Is(err, driver.ErrInvalid) || entries[0].State != driver.StateUnknown || !entries[1].Claimed {
		t.Errorf("a batch may fail in parts: %+v, %v", entries, err)
	}
}

func TestCacheClosed(t *testing.T) {
	c := memory.NewCache(nil)
	if err := errors.Join(c.Close(t.Context()), c.Close(context.Background())); err != nil {
		t.Fatal(err)
	}
	entries, err := c.Lookup(t.Context(), []driver.Lookup{{Anchor: "a"}})
	if entries != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Lookup after Close: %v, %v", entries, err)
	}
	outcomes, err := c.Hold(t.Context(), []driver.Hold{{Anchor: "a", Token: "t", TTL: hour}})
	if outcomes != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Hold after Close: %v, %v", outcomes, err)
	}
}

// TestLookupAllocations shows that a look-up makes its result and nothing else.
func TestLookupAllocations(t *testing.T) {
	c := memory.NewCache(nil)
	fill(t, c, "filled", 1_000)
	hold(t, c, "held", "t", hour)
	lookups := []driver.Lookup{{Anchor: "filled"}, {Anchor: "filled", Field: "f"}, {Anchor: "held"}, {Anchor: "nothing"}}
	ctx := t.Context()
	got := testing.AllocsPerRun(100, func() {
		if _, err := c.Lookup(ctx, lookups); err != nil {
			t.Error(err)
		}
	})
	if got > 1 {
		t.Errorf("Lookup makes %v allocations, want 1", got)
	}
}
