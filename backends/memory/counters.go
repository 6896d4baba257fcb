package memory

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// CountersOptions configures [NewCounters]. The zero value is ready to use.
type CountersOptions struct {
	// Now is the clock by which windows open and end. The default is time.Now.
	// It is called with a lock held and must not call back.
	Now func() time.Time
	// MaxCounters is the number of counters with a window that are kept; 0 or
	// less means 1,048,576. One more makes room by giving up the window that is
	// the next to end, whose counter then starts again from 0.
	MaxCounters int
	// MaxGroups is the same for the groups whose counters are bounded; 0 or less
	// means 65,536. A group that is given up has all its room again.
	MaxGroups int
}

// Counters implements [driver.Counters] in the memory of one process. It never
// loses a counter before its window ends, except at the bounds of
// [CountersOptions]. It is safe for concurrent use and runs no goroutine: each
// call clears away a few windows that have ended.
type Counters struct {
	now         func() time.Time
	maxCounters int
	maxGroups   int

	mu       sync.Mutex // protects what follows
	closed   bool
	epoch    uint64 // of the last window opened
	counters map[driver.CounterKey]*counterState
	groups   map[string]*counterGroup
	ending   dueHeap // the counters, by the end of their windows
	leaving  dueHeap // the groups, by the end of theirs
}

// counterState is a counter while its window is open.
type counterState struct {
	due
	key    driver.CounterKey
	epoch  uint64
	count  int64
	tokens map[counterToken]int64 // the counts that were answered to remembered tokens
}

// counterToken is a token with the member it was sent for, which is another than the
// counter's own if this one counts for it.
type counterToken struct{ member, token string }

// counterGroup is a group while its window is open. It knows how many counters it has
// opened, and not which: one that was lost and is opened again takes room twice.
type counterGroup struct {
	due
	name   string
	opened int
}

// NewCounters returns empty counters. Nil options mean the defaults.
func NewCounters(o *CountersOptions) *Counters {
	if o == nil {
		o = &CountersOptions{}
	}
	c := &Counters{
		now:         o.Now,
		maxCounters: counterDefault(o.MaxCounters, 1<<20),
		maxGroups:   counterDefault(o.MaxGroups, 1<<16),
		counters:    make(map[driver.CounterKey]*counterState),
		groups:      make(map[string]*counterGroup),
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c
}

func counterDefault(n, otherwise int) int {
	if n > 0 {
		return n
	}
	return otherwise
}

// Increment implements [driver.Counters].
func (c *Counters) Increment(ctx context.Context, increments []driver.Increment) ([]driver.Count, error) {
	for _, i := range increments {
		if err := i.Validate(); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.readyLocked(ctx); err != nil {
		return nil, err
	}
	counts := make([]driver.Count, len(increments))
	for n, i := range increments {
		counts[n] = c.incrementLocked(i, c.now())
	}
	return counts, nil
}

func (c *Counters) incrementLocked(i driver.Increment, now time.Time) driver.Count {
	c.sweepLocked(now)
	key, other := i.Key, false
	s := c.findLocked(key, now)
	if i.Epoch != 0 && (s == nil || s.epoch != i.Epoch) || i.N == 0 && s == nil {
		return driver.Count{Outcome: driver.Refused}
	}
	if i.N == 0 {
		return s.answer(s.count, now)
	}
	if s == nil && i.Members > 0 && key.Member != i.Other {
		key.Member = i.Other
		s = c.findLocked(key, now)
		other = s.remembers(i) || !c.takeRoomLocked(i, now)
		if !other {
			key, s = i.Key, nil
		}
	}
	if s == nil {
		s = c.openLocked(key, i.Window, now)
	}
	count := s.answer(s.add(i), now)
	count.Other = other
	return count
}

// findLocked returns a counter, nil if its window is not open.
func (c *Counters) findLocked(key driver.CounterKey, now time.Time) *counterState {
	s := c.counters[key]
	if s != nil && !now.Before(s.at) {
		c.endLocked(s)
		return nil
	}
	return s
}

func (s *counterState) answer(count int64, now time.Time) driver.Count {
	return driver.Count{Outcome: driver.Done, Count: count, Remaining: s.at.Sub(now), Epoch: s.epoch}
}

// remembers reports whether the increment was counted by its token. There may be no
// counter.
func (s *counterState) remembers(i driver.Increment) bool {
	if s == nil {
		return false
	}
	_, ok := s.tokens[counterToken{i.Key.Member, i.Token}]
	return ok
}

// add counts the increment, unless its token was counted already, and returns the
// answer to it.
func (s *counterState) add(i driver.Increment) int64 {
	token := counterToken{i.Key.Member, i.Token}
	if count, ok := s.tokens[token]; ok {
		return count
	}
	before := s.count
	s.count += i.N
	if i.Token != "" && before < i.Exact {
		if s.tokens == nil {
			s.tokens = make(map[counterToken]int64, 1)
		}
		s.tokens[token] = s.count
	}
	return s.count
}

// openLocked opens a window. Epochs are numbered, which keeps them apart as surely
// as chance would.
func (c *Counters) openLocked(key driver.CounterKey, window time.Duration, now time.Time) *counterState {
	for len(c.counters) >= c.maxCounters {
		c.endLocked(c.ending[0].(*counterState))
	}
	c.epoch++
	s := &counterState{key: key, epoch: c.epoch}
	s.at = dueAfter(now, window)
	c.counters[key] = s
	heap.Push(&c.ending, s)
	return s
}

func (c *Counters) endLocked(s *counterState) {
	heap.Remove(&c.ending, s.index)
	delete(c.counters, s.key)
}

// takeRoomLocked counts the opening of a counter in its group, unless as many as it has
// room for were counted in its window.
func (c *Counters) takeRoomLocked(i driver.Increment, now time.Time) bool {
	g := c.groups[i.Key.Group]
	if g != nil && !now.Before(g.at) {
		c.leaveLocked(g)
		g = nil
	}
	if g == nil {
		g = c.gatherLocked(i, now)
	}
	if g.opened >= i.Members {
		return false
	}
	g.opened++
	return true
}

// gatherLocked opens the window of a group.
func (c *Counters) gatherLocked(i driver.Increment, now time.Time) *counterGroup {
	for len(c.groups) >= c.maxGroups {
		c.leaveLocked(c.leaving[0].(*counterGroup))
	}
	g := &counterGroup{name: i.Key.Group}
	g.at = dueAfter(now, i.Window)
	c.groups[g.name] = g
	heap.Push(&c.leaving, g)
	return g
}

func (c *Counters) leaveLocked(g *counterGroup) {
	heap.Remove(&c.leaving, g.index)
	delete(c.groups, g.name)
}

// sweepLocked ends two windows of either sort that are over. An element opens one of
// either at the most, so the windows that nobody asks for again cannot pile up.
func (c *Counters) sweepLocked(now time.Time) {
	for range 2 {
		if c.ending.isDue(now) {
			c.endLocked(c.ending[0].(*counterState))
		}
		if c.leaving.isDue(now) {
			c.leaveLocked(c.leaving[0].(*counterGroup))
		}
	}
}

func (c *Counters) readyLocked(ctx context.Context) error {
	if c.closed {
		return fmt.Errorf("memory: counters are closed: %w", driver.ErrUnavailable)
	}
	return ctx.Err()
}

// Close implements [driver.Counters] and frees the memory.
func (c *Counters) Close(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.counters, c.groups, c.ending, c.leaving = nil, nil, nil, nil
	return nil
}
