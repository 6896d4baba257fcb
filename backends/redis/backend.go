package redis

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// Backend is the connection to a Redis server, a Sentinel group or a Cluster. Its
// Cache, Counters and Log share it. It is safe for concurrent use.
type Backend struct {
	opts    Options
	client  goredis.UniversalClient
	owned   bool                   // the client was made by Open and is closed by Close
	cluster *goredis.ClusterClient // nil unless it is a Cluster
	single  *node                  // nil if it is one
	nodes   sync.Map               // *goredis.Client → *node, in a Cluster
	layout  layout
	watch   watch
	log     *Log
	closed  atomic.Bool
	closing chan struct{} // closed by Close

	counters struct {
		batches, calls, failed, rejected, left, sources, opened, rewinds, corrupt atomic.Int64
	}
}

// Cache returns the backend as a cache. All its caches are the same.
func (b *Backend) Cache() *Cache { return &Cache{b} }

// Counters returns the backend as counters. All its counters are the same.
func (b *Backend) Counters() *Counters { return &Counters{b} }

// Log returns the backend as a log. All its logs are the same.
func (b *Backend) Log() *Log { return b.log }

// Client returns the client that the backend uses.
func (b *Backend) Client() goredis.UniversalClient { return b.client }

var errClosed = fmt.Errorf("redis: closed: %w", driver.ErrUnavailable)

// Close closes the client, unless it was brought by the caller of [New]. Calls that are
// under way may fail, later ones do; a second Close does nothing. Closing the Cache,
// the Counters or the Log does the same.
func (b *Backend) Close(context.Context) error {
	if b.closed.Swap(true) {
		return nil
	}
	close(b.closing)
	if b.single != nil {
		b.single.close()
	}
	b.nodes.Range(func(_, n any) bool {
		n.(*node).close()
		return true
	})
	if !b.owned {
		return nil
	}
	if err := b.client.Close(); err != nil {
		return fmt.Errorf("redis: close: %w", err)
	}
	return nil
}

// Stats counts what a backend has done since it was opened.
type Stats struct {
	// Batches are pipelines sent; Calls, the commands in them.
	Batches, Calls int64
	// FailedBatches are pipelines that the server did not answer, or only to say that
	// it does not serve. RejectedCalls are commands that were not sent because the last
	// batches had failed. Outages is how often the breaker of a node opened.
	FailedBatches, RejectedCalls, Outages int64
	// AbandonedCalls are commands whose caller did not wait for the answer.
	AbandonedCalls int64
	// ScriptLoads are commands that were sent again because the server did not know the
	// script.
	ScriptLoads int64
	// Rewinds are the times that a server was found which may have older data than was
	// acknowledged.
	Rewinds int64
	// Corrupt are entries and values that could not be parsed.
	Corrupt int64
}

// Stats returns the counts so far.
func (b *Backend) Stats() Stats {
	c := &b.counters
	return Stats{
		Batches: c.batches.Load(), Calls: c.calls.Load(),
		FailedBatches: c.failed.Load(), RejectedCalls: c.rejected.Load(), Outages: c.opened.Load(),
		AbandonedCalls: c.left.Load(), ScriptLoads: c.sources.Load(),
		Rewinds: c.rewinds.Load(), Corrupt: c.corrupt.Load(),
	}
}
