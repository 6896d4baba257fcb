//go:build linux

package soak_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// whenCacheDown sets what becomes of writes that the cache is not told of.
func whenCacheDown(o *graphcache.Options, mode string) {
	switch mode {
	case "wait":
		o.WhenCacheDown = graphcache.Wait
	case "fail":
		o.WhenCacheDown = graphcache.Fail
	}
}

// The controls: what can be left out.
const (
	cacheAside     = "cache-aside"
	releaseOnce    = "release without retry"
	oneOwner       = "holds with one owner"
	withoutJournal = "journal off"
	noRegistry     = "registry off"
)

// soakStore is the store as a worker's graph sees it: it notes what the journal is told and
// when looks were made.
type soakStore struct {
	*backendtest.FaultyStore
	w *worker
}

func (w *worker) wrapStore(s driver.Store) driver.Store {
	return &soakStore{backendtest.NewFaultyStore(s, w.storeHook), w}
}

// storeHook slows writes down, if the plan says so, for what is to happen meanwhile.
func (w *worker) storeHook(ctx context.Context, c backendtest.Call) backendtest.Fault {
	fault := w.hook(ctx, c)
	if d := w.plan.StoreWriteDelay; d > 0 && (c.Method == "Write" || c.Method == "Tx.Commit") {
		fault.Delay = rand.N(d)
		if fault.After == nil && rand.IntN(2) == 0 {
			fault.Delay, fault.After = 0, func(context.Context) { time.Sleep(rand.N(d)) }
		}
	}
	return fault
}

func (s *soakStore) Look(ctx context.Context) (driver.Look, error) {
	began := clock()
	look, err := s.FaultyStore.Look(ctx)
	s.w.looks.add(began, err)
	switch s.w.plan.Control {
	case withoutJournal:
		look.Journal = nil
	case noRegistry:
		look.Registry = onlyOwn(look.Registry, s.w.plan.Plain)
	}
	return look, err
}

// onlyOwn hides what the other version of the program has registered: the index of accounts.
func onlyOwn(all []driver.RegistryEntry, plain bool) (own []driver.RegistryEntry) {
	for _, e := range all {
		if plain && e.Kind == accounts.Name() && strings.Contains(e.Spec[:min(10, len(e.Spec))], "index") {
			continue
		}
		e.Ready = true
		own = append(own, e)
	}
	return own
}

func (s *soakStore) Owe(ctx context.Context, entries []driver.JournalEntry) error {
	if s.w.plan.Control != withoutJournal {
		if err := s.FaultyStore.Owe(ctx, entries); err != nil {
			return err
		}
	}
	if wr, ok := ctx.Value(writingKey{}).(*writing); ok {
		wr.owe()
	}
	return nil
}

// soakCache is the cache as a worker's graph sees it.
type soakCache struct {
	*backendtest.FaultyCache
	control string
}

func (w *worker) wrapCache(c driver.Cache) driver.Cache {
	return &soakCache{FaultyCache: backendtest.NewFaultyCache(c, w.hook), control: w.plan.Control}
}

func (c *soakCache) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	switch c.control {
	case oneOwner:
		for i := range holds {
			holds[i].Token = "the only one"
		}
	case cacheAside:
		return done(len(holds)), nil
	}
	return c.FaultyCache.Hold(ctx, holds)
}

func (c *soakCache) Release(ctx context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	if c.control == oneOwner {
		for i := range releases {
			releases[i].Token = "the only one"
		}
	}
	outcomes, err := c.FaultyCache.Release(ctx, releases)
	if c.control == releaseOnce && err != nil || c.control == cacheAside {
		return done(len(releases)), nil
	}
	return outcomes, err
}

// Fill is that of cache-aside for the control: whatever was read is set.
func (c *soakCache) Fill(ctx context.Context, fills []driver.Fill) ([]driver.Outcome, error) {
	if c.control == cacheAside {
		claims := make([]driver.Claim, len(fills))
		for i, f := range fills {
			claims[i] = driver.Claim{Anchor: f.Anchor, Field: f.Field, Version: rand.Uint64() | 1, Lease: time.Millisecond, TTL: f.TTL}
		}
		entries, err := c.FaultyCache.Claim(ctx, claims)
		if err != nil {
			return nil, err
		}
		for i, e := range entries {
			fills[i].Version = e.Version
		}
	}
	return c.FaultyCache.Fill(ctx, fills)
}

func done(n int) []driver.Outcome {
	outcomes := make([]driver.Outcome, n)
	for i := range outcomes {
		outcomes[i] = driver.Done
	}
	return outcomes
}
