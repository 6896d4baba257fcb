package redis

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// layout sees to it that callers do not all wait for a Cluster that was never reached:
// until it is known which node has which keys, go-redis asks for that in every call.
type layout struct {
	cluster *goredis.ClusterClient
	asking  chan struct{} // has an element while somebody asks
	known   atomic.Bool
	next    atomic.Int64 // when to ask again, in Unix milliseconds
}

// ready returns nil when the layout is known. One caller asks and the others wait for
// that; if it was in vain, all are told at once for a while.
func (l *layout) ready(ctx context.Context) error {
	if l.known.Load() {
		return nil
	}
	select {
	case l.asking <- struct{}{}:
		defer func() { <-l.asking }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errNoLayout, ctx.Err())
	}
	if l.known.Load() {
		return nil
	}
	if time.Now().UnixMilli() < l.next.Load() {
		return errNoLayout
	}
	if _, err := l.cluster.MasterForKey(ctx, "any"); err != nil {
		if ctx.Err() == nil { // else it was the caller who had no time
			l.next.Store(time.Now().Add(breakerPause).UnixMilli())
		}
		return fmt.Errorf("%w: %w", errNoLayout, err)
	}
	l.known.Store(true)
	return nil
}

var errNoLayout = fmt.Errorf("redis: the Cluster has not been reached yet: %w", driver.ErrUnavailable)
