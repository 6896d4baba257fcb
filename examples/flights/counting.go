package main

import (
	"context"
	"sync/atomic"

	"github.com/graphcache/graphcache/driver"
)

// counter counts what the wrappers in this file see.
type counter struct {
	storeReads, cacheHits, cacheMisses atomic.Int64
	storeWrites                        atomic.Int64 // ever
}

// counts are the values of a counter.
type counts struct {
	StoreReads  int64 `json:"store_reads"`
	CacheHits   int64 `json:"cache_hits"`
	CacheMisses int64 `json:"cache_misses"`
}

// take returns the counts since it was last called.
func (c *counter) take() counts {
	return counts{c.storeReads.Swap(0), c.cacheHits.Swap(0), c.cacheMisses.Swap(0)}
}

// countingStore counts the calls of Read and Write; one call may be for many records. It
// passes on all of driver.Store and the generations of kinds, and hides what else the
// store can do, such as transactions.
type countingStore struct {
	store
	seen *counter
}

func (s countingStore) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	s.seen.storeReads.Add(1)
	return s.store.Read(ctx, steps, atLeast)
}

func (s countingStore) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	s.seen.storeWrites.Add(1)
	return s.store.Write(ctx, writes)
}

// countingCache counts the values that the cache was asked for: those it had, and
// those it had not.
type countingCache struct {
	driver.Cache
	seen *counter
}

func (c countingCache) Lookup(ctx context.Context, lookups []driver.Lookup) ([]driver.Entry, error) {
	entries, err := c.Cache.Lookup(ctx, lookups)
	hits := 0
	for _, e := range entries {
		if e.Value != nil {
			hits++
		}
	}
	c.seen.cacheHits.Add(int64(hits))
	c.seen.cacheMisses.Add(int64(len(lookups) - hits))
	return entries, err
}
