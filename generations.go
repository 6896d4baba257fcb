package graphcache

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// A generation is a counter for each kind, kept in the store (driver.Ledger). Every
// cached value carries the one that its reader knew before it read the store, and a value
// of an earlier generation than a process knows is no value to it: raising the counter
// drops a kind at once. It is no part of a key: a process that has not looked yet must
// see the holds of one that has.

// seeGenerations takes in what a look has found.
func (s *shared) seeGenerations(now map[string]uint64) {
	for name, n := range now {
		if known := s.generations[name]; known != nil && raise(known, n) && s.looks.done.Load() > 0 {
			s.counters[name].drops.Add(1)
			s.opts.Logger.Info("graphcache: a kind was dropped from the cache", "kind", name, "generation", n)
		}
	}
}

// raise sets known to n and reports that, unless it is n or more.
func raise(known *atomic.Uint64, n uint64) bool {
	for {
		old := known.Load()
		if n <= old {
			return false
		}
		if known.CompareAndSwap(old, n) {
			return true
		}
	}
}

// raiseKinds raises the generations of the kinds, in the store and here.
func (s *shared) raiseKinds(ctx context.Context, names []string) error {
	if s.ledger == nil {
		return fmt.Errorf("the store (%s) keeps no generations: %w", s.root().store.Capabilities().Name, errors.ErrUnsupported)
	}
	if !s.begin() {
		return errClosed
	}
	defer s.end()
	return s.raiseAndLook(ctx, names)
}

func (s *shared) raiseAndLook(ctx context.Context, names []string) error {
	timed, cancel := context.WithTimeout(ctx, s.opts.WriteTimeout)
	defer cancel()
	// More than any counter was before the database was restored, if it was: a count
	// of calls does not get ahead of the clock.
	if err := s.ledger.Raise(timed, names, uint64(time.Now().UnixMilli())); err != nil {
		return fmt.Errorf("raise the generations: %w", err)
	}
	return s.lookAgain(ctx)
}

// raiseHere raises all generations in this process above what any of them is, and returns
// their names and to what. The clock is a count that no other process repeats.
func (s *shared) raiseHere() (names []string, least uint64) {
	least = uint64(time.Now().UnixMilli())
	for name, known := range s.generations {
		least = max(least, known.Load()+1)
		names = append(names, name)
	}
	for name, known := range s.generations {
		if raise(known, least) {
			s.counters[name].drops.Add(1)
		}
	}
	return names, least
}
