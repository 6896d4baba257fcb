package graphcache

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// A cache that may have gone back in time (driver.Rewinder) is dealt with like the
// invalidation of every kind: from that moment on this process takes no value of an
// earlier generation, and it raises the generations in the store, so that the others do
// the same once they have looked, and what they fill is worth something to this one.
// They mostly meet the server themselves before that.

// watchCache arranges for rewinds to be noticed until the graph is closed.
func (s *shared) watchCache() {
	cache, ok := s.opts.Cache.(driver.Rewinder)
	if !ok {
		return
	}
	s.stopWatching = cache.OnRewind(s.rewound)
}

// clockSkew is how far the clocks of two processes may be apart.
const clockSkew = 5 * time.Second

// rewound raises all generations, here at once and in the store in the background. If
// another process has done so since the cache was as it is, and this one knows, that is
// enough: the generations are times then. One that lies ahead says nothing: the clock of
// whoever raised it is wrong.
func (s *shared) rewound(since time.Time) {
	done := true
	from, to := uint64(since.Add(clockSkew).UnixMilli()), uint64(time.Now().Add(clockSkew).UnixMilli())
	for _, known := range s.generations {
		n := known.Load()
		done = done && n > from && n <= to
	}
	if done {
		return
	}
	s.cacheRewinds.Add(1)
	names, least := s.raiseHere()
	s.opts.Logger.Warn("graphcache: the cache may have gone back in time: all kinds are dropped from it", "since", since, "generation", least)
	if s.ledger == nil {
		return
	}
	s.spawn(func() {
		ctx, cancel := s.untilClosed(context.Background())
		defer cancel()
		s.raiseInStore(ctx, names, least)
	})
}

// raiseInStore tries until it succeeds or ctx ends.
func (s *shared) raiseInStore(ctx context.Context, names []string, least uint64) {
	for {
		err := s.raiseOnce(ctx, names, least)
		if err == nil || ctx.Err() != nil {
			return
		}
		s.opts.Logger.WarnContext(ctx, "graphcache: the cache may have old values, and the store does not take the news: this process alone refuses them", "error", err)
		if sleep(ctx, s.opts.LookPeriod+rand.N(s.opts.LookPeriod)) != nil {
			return
		}
	}
}

func (s *shared) raiseOnce(ctx context.Context, names []string, least uint64) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, s.opts.WriteTimeout)
	defer cancel()
	return s.ledger.Raise(ctx, names, least)
}
