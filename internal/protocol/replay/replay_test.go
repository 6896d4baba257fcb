package replay_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol/replay"
)

const hour = time.Hour

// recorder is a test that counts its errors instead of failing.
type recorder struct {
	testing.TB
	errors int
	first  string
}

func (r *recorder) Errorf(format string, args ...any) {
	if r.errors == 0 {
		r.first = fmt.Sprintf(format, args...)
	}
	r.errors++
}

// replayed replays on the cache that wrap makes of one that follows the clock of a test
// bubble, which goes on by itself.
func replayed(t *testing.T, wrap func(driver.Cache) driver.Cache) *recorder {
	r := &recorder{}
	synctest.Test(t, func(t *testing.T) {
		r.TB = t
		replay.All(r, replay.Backend{
			Cache: wrap(memory.NewCache(nil)),
			Pass:  time.Sleep,
			Soon:  300 * time.Millisecond,
		})
	})
	return r
}

// TestSlowCaches shows that no deadline is missed because the calls before it take long.
func TestSlowCaches(t *testing.T) {
	for _, delay := range []time.Duration{0, time.Millisecond, 200 * time.Millisecond, time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			r := replayed(t, func(c driver.Cache) driver.Cache { return slow{c, delay} })
			if r.errors != 0 {
				t.Errorf("%d errors, the first: %s", r.errors, r.first)
			}
		})
	}
}

// slow is a cache whose look-ups take long.
type slow struct {
	driver.Cache
	delay time.Duration
}

func (c slow) Lookup(ctx context.Context, lookups []driver.Lookup) ([]driver.Entry, error) {
	time.Sleep(c.delay)
	return c.Cache.Lookup(ctx, lookups)
}

// TestCorruptEntries replays on a cache that has such entries. No transition is left out.
func TestCorruptEntries(t *testing.T) {
	var now time.Time
	c := &corruptible{memory.NewCache(&memory.CacheOptions{Now: func() time.Time { return now }}), make(map[string]bool)}
	for _, prefix := range []string{"first ", "second "} {
		replay.All(t, replay.Backend{
			Cache:  c,
			Pass:   func(d time.Duration) { now = now.Add(d) },
			Garble: c.garble,
			Prefix: prefix,
		})
	}
}

// corruptible is a cache in memory with entries that it cannot parse.
type corruptible struct {
	*memory.Cache
	garbled map[string]bool
}

func (c *corruptible) garble(anchor string) {
	c.Evict(anchor)
	c.garbled[anchor] = true
}

var garbage = driver.Entry{State: driver.Empty, Corrupt: []byte("garbage")}

func (c *corruptible) Lookup(ctx context.Context, lookups []driver.Lookup) ([]driver.Entry, error) {
	if c.garbled[lookups[0].Anchor] {
		return []driver.Entry{garbage}, nil
	}
	return c.Cache.Lookup(ctx, lookups)
}

func (c *corruptible) Claim(ctx context.Context, claims []driver.Claim) ([]driver.Entry, error) {
	if c.garbled[claims[0].Anchor] && claims[0].Replace == nil {
		return []driver.Entry{garbage}, nil
	}
	delete(c.garbled, claims[0].Anchor)
	return c.Cache.Claim(ctx, claims)
}

func (c *corruptible) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	delete(c.garbled, holds[0].Anchor)
	return c.Cache.Hold(ctx, holds)
}

func (c *corruptible) Release(ctx context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	delete(c.garbled, releases[0].Anchor)
	return c.Cache.Release(ctx, releases)
}

// TestControls replays on caches that are wrong. A replay that did not notice would
// prove nothing.
func TestControls(t *testing.T) {
	tests := []struct {
		name string
		wrap func(driver.Cache) driver.Cache
	}{
		{"loading deadlines do not pass", func(c driver.Cache) driver.Cache { return longLease{c} }},
		{"tokens do not expire", func(c driver.Cache) driver.Cache { return longHold{c} }},
		{"tokens expire at once", func(c driver.Cache) driver.Cache { return shortHold{c} }},
		{"a fill is done under any version", func(c driver.Cache) driver.Cache { return anyVersion{c} }},
		{"a release is always done", func(c driver.Cache) driver.Cache { return releaseDone{c} }},
		{"stamps are lost", func(c driver.Cache) driver.Cache { return noStamps{c} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := replayed(t, test.wrap)
			if r.errors == 0 {
				t.Error("no error")
			}
			t.Logf("%d errors, the first: %s", r.errors, r.first)
		})
	}
}

type longLease struct{ driver.Cache }

func (c longLease) Claim(ctx context.Context, claims []driver.Claim) ([]driver.Entry, error) {
	claims[0].Lease = hour
	return c.Cache.Claim(ctx, claims)
}

type longHold struct{ driver.Cache }

func (c longHold) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	holds[0].TTL = hour
	return c.Cache.Hold(ctx, holds)
}

type shortHold struct{ driver.Cache }

func (c shortHold) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	defer time.Sleep(time.Millisecond)
	holds[0].TTL = time.Millisecond
	return c.Cache.Hold(ctx, holds)
}

type anyVersion struct{ driver.Cache }

func (c anyVersion) Fill(ctx context.Context, fills []driver.Fill) ([]driver.Outcome, error) {
	entries, err := c.Lookup(ctx, []driver.Lookup{{Anchor: fills[0].Anchor}})
	if err != nil {
		return nil, err
	}
	fills[0].Version = entries[0].Version
	return c.Cache.Fill(ctx, fills)
}

type releaseDone struct{ driver.Cache }

func (c releaseDone) Release(ctx context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	_, err := c.Cache.Release(ctx, releases)
	return []driver.Outcome{driver.Done}, err
}

type noStamps struct{ driver.Cache }

func (c noStamps) Release(ctx context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	releases[0].Stamp = ""
	return c.Cache.Release(ctx, releases)
}
