package graphcache

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// A look is what every process reads from the store each LookPeriod to learn what other
// processes have decided: so far the generations of the kinds. A value in the cache of
// an earlier generation than the one that a process knows is no value to it.

// look reads the generations, if the store keeps them.
func (s *shared) look(ctx context.Context, store driver.Store) error {
	keeper, ok := store.(driver.Generations)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.LoadTimeout)
	defer cancel()
	now, err := keeper.Generations(ctx)
	if err != nil {
		return err
	}
	for name, n := range now {
		if known := s.generations[name]; known != nil {
			raise(known, n)
		}
	}
	return nil
}

// raise sets known to n, unless it is more.
func raise(known *atomic.Uint64, n uint64) {
	for {
		old := known.Load()
		if n <= old || known.CompareAndSwap(old, n) {
			return
		}
	}
}

// keepLooking looks every LookPeriod until the graph is closed.
func (s *shared) keepLooking(store driver.Store) {
	if _, ok := store.(driver.Generations); !ok || s.opts.Cache == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.stopLooking = func(ctx context.Context) error {
		cancel()
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	go func() {
		defer close(ended)
		s.looks(ctx, store)
	}()
}

// looks looks until ctx ends. It says so once when the store stops answering.
func (s *shared) looks(ctx context.Context, store driver.Store) {
	ticker := time.NewTicker(s.opts.LookPeriod)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if ctx.Err() != nil {
			return // select takes either
		}
		err := s.lookSafely(ctx, store)
		if err != nil && !failing && ctx.Err() == nil {
			s.opts.Logger.WarnContext(ctx, "graphcache: the store does not answer: kinds that another process invalidates are still served", "error", err)
		}
		failing = err != nil
	}
}

// lookSafely is look, but a panic of the store is an error.
func (s *shared) lookSafely(ctx context.Context, store driver.Store) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
	}()
	return s.look(ctx, store)
}
