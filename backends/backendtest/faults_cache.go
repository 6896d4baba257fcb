package backendtest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// FaultyCache is a driver.Cache that does to the calls of another what its hook
// says, and counts them.
type FaultyCache struct {
	*Faults
	cache driver.Cache

	muted atomic.Bool

	mu      sync.Mutex // protects what follows
	rewinds []*func(time.Time)
	muffled map[*muffled]struct{}
}

var (
	_ driver.Cache    = (*FaultyCache)(nil)
	_ driver.Rewinder = (*FaultyCache)(nil)
	_ driver.Notifier = (*FaultyCache)(nil)
)

// NewFaultyCache wraps a cache. With a nil hook it only counts.
func NewFaultyCache(cache driver.Cache, hook Hook) *FaultyCache {
	return &FaultyCache{Faults: &Faults{hook: hook}, cache: cache, muffled: map[*muffled]struct{}{}}
}

// Lookup implements driver.Cache.
func (c *FaultyCache) Lookup(ctx context.Context, lookups []driver.Lookup) ([]driver.Entry, error) {
	return do(ctx, c.Faults, "Lookup", lookups, c.cache.Lookup, nil)
}

// Claim implements driver.Cache.
func (c *FaultyCache) Claim(ctx context.Context, claims []driver.Claim) ([]driver.Entry, error) {
	return do(ctx, c.Faults, "Claim", claims, c.cache.Claim, nil)
}

// Fill implements driver.Cache.
func (c *FaultyCache) Fill(ctx context.Context, fills []driver.Fill) ([]driver.Outcome, error) {
	return do(ctx, c.Faults, "Fill", fills, c.cache.Fill, nil)
}

// Hold implements driver.Cache.
func (c *FaultyCache) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	return do(ctx, c.Faults, "Hold", holds, c.cache.Hold, nil)
}

// Release implements driver.Cache.
func (c *FaultyCache) Release(ctx context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	return do(ctx, c.Faults, "Release", releases, c.cache.Release, nil)
}

// OnRewind implements driver.Rewinder, whether or not the cache behind it does.
func (c *FaultyCache) OnRewind(f func(since time.Time)) (stop func()) {
	inner := func() {}
	if r, ok := c.cache.(driver.Rewinder); ok {
		inner = r.OnRewind(f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rewinds = append(c.rewinds, &f)
	return func() {
		inner()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.rewinds = slices.DeleteFunc(c.rewinds, func(g *func(time.Time)) bool { return g == &f })
	}
}

// Rewind says that the cache may have gone back in time, and have values from before the
// moment since. It is for the test to see to it that it has.
func (c *FaultyCache) Rewind(since time.Time) {
	c.mu.Lock()
	all := slices.Clone(c.rewinds)
	c.mu.Unlock()
	for _, f := range all {
		(*f)(since)
	}
}

// Notify implements driver.Notifier with that of the cache behind it. It is neither shown to
// the hook nor counted.
func (c *FaultyCache) Notify(ctx context.Context, every time.Duration, n driver.Notices) error {
	inner, ok := c.cache.(driver.Notifier)
	if !ok {
		return errors.ErrUnsupported
	}
	m := &muffled{n, &c.muted}
	c.mu.Lock()
	c.muffled[m] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.muffled, m)
	}()
	return inner.Notify(ctx, every, m)
}

// Mute has those who called Notify told nothing, as on a connection that hangs, until it is
// undone; they have then lost what there was.
func (c *FaultyCache) Mute(mute bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.muted.Swap(mute) && !mute {
		for m := range c.muffled {
			m.Notices.Lost()
		}
	}
}

// muffled are notices that may be swallowed.
type muffled struct {
	driver.Notices
	muted *atomic.Bool
}

func (m *muffled) Held(anchor string) {
	if !m.muted.Load() {
		m.Notices.Held(anchor)
	}
}

func (m *muffled) Current(at time.Time) {
	if !m.muted.Load() {
		m.Notices.Current(at)
	}
}

func (m *muffled) Lost() {
	if !m.muted.Load() {
		m.Notices.Lost()
	}
}

// Close implements driver.Cache. It is neither shown to the hook nor counted.
func (c *FaultyCache) Close(ctx context.Context) error {
	return c.cache.Close(ctx)
}
