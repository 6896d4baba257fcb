package graphcache

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// A look is what every process reads from the store each LookPeriod to learn what other
// processes have decided (driver.Ledger): the journal, the registry, and the generations
// of the kinds. What the protocol promises across processes rests on how long ago the
// last look was:
//
//   - A write whose last look began more than one and a half periods ago looks first, so
//     it knows of every index that is in use: none is before Options.readyAfter.
//   - A read whose last look began more than two periods ago goes to the store: the
//     process was paused, and may not know what was journalled meanwhile. If the look
//     fails, because the store is down, the cache is believed all the same, unless
//     Options.Strict says otherwise.

// looks is what a process knows of its looks. Times are nanoseconds since start.
type looks struct {
	start   time.Time
	began   atomic.Int64 // the last one that succeeded
	trusted atomic.Int64 // until then the cache answers reads
	stamp   atomic.Pointer[driver.Stamp]

	done, failed atomic.Int64 // how many

	mu      sync.Mutex
	running *looking
}

// looking is a look under way. err is set before done is closed.
type looking struct {
	done chan struct{}
	err  error
}

// init has the cache trusted for good, until a look says more.
func (l *looks) init() {
	l.start = time.Now()
	l.trusted.Store(math.MaxInt64)
}

func (l *looks) now() int64 { return int64(time.Since(l.start)) }

// age returns how long ago the last look began that succeeded.
func (l *looks) age() time.Duration { return time.Duration(l.now() - l.began.Load()) }

// leastLookTimeout keeps short periods from making every look on a busy machine fail.
const leastLookTimeout = 500 * time.Millisecond

// lookTimeout bounds a look, and what else is asked of the ledger in the background.
func (s *shared) lookTimeout() time.Duration {
	return min(s.opts.LoadTimeout, max(s.opts.LookPeriod, leastLookTimeout))
}

// look looks, or waits for the look under way.
func (s *shared) look(ctx context.Context) error {
	l := &s.looks
	l.mu.Lock()
	running := l.running
	if running == nil {
		running = &looking{done: make(chan struct{})}
		l.running = running
		l.mu.Unlock()
		running.err = s.lookOnce(context.WithoutCancel(ctx))
		l.mu.Lock()
		l.running = nil
		l.mu.Unlock()
		close(running.done)
		return running.err
	}
	l.mu.Unlock()
	select {
	case <-running.done:
		return running.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lookAgain looks, and not before it was called.
func (s *shared) lookAgain(ctx context.Context) error {
	s.looks.mu.Lock()
	running := s.looks.running
	s.looks.mu.Unlock()
	if running != nil {
		select {
		case <-running.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return s.look(ctx)
}

// lookOnce reads the ledger and takes in what it says. A panic of the store is an error.
func (s *shared) lookOnce(ctx context.Context) (err error) {
	l := &s.looks
	began, moment := l.now(), time.Now()
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
		if err != nil {
			l.failed.Add(1)
			if !s.opts.Strict {
				l.trust(l.now(), s.opts.LookPeriod)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, s.lookTimeout())
	defer cancel()
	look, err := s.ledger.Look(ctx)
	if err != nil {
		return err
	}
	// The journal last: who finds an entry gone must have the generations that were
	// raised before it went.
	s.seeGenerations(look.Generations)
	s.registry.see(look.Registry)
	s.journal.see(look.Journal, moment)
	if s.near != nil {
		for i := range look.Journal {
			s.near.Held(look.Journal[i].Anchor)
		}
	}
	l.stamp.Store(&look.Stamp)
	l.began.Store(began)
	l.trust(began, s.opts.LookPeriod)
	l.done.Add(1)
	return nil
}

// trust lets the cache answer reads for two periods from the moment.
func (l *looks) trust(from int64, period time.Duration) {
	l.trusted.Store(from + int64(2*period))
}

// trustsCache reports whether reads may be answered by the cache.
func (s *shared) trustsCache() bool {
	trusted := s.looks.trusted.Load()
	return trusted == math.MaxInt64 || s.looks.now() <= trusted
}

// lookFirst makes sure that a write knows what is registered.
func (s *shared) lookFirst(ctx context.Context) error {
	if s.ledger == nil || s.opts.Cache == nil || s.looks.age() <= s.opts.LookPeriod*3/2 {
		return nil
	}
	err := s.look(ctx)
	if err != nil && ctx.Err() == nil {
		err = s.look(ctx) // the first may have begun while the store was still away
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return because(ErrUnavailable, "the store did not tell a write what is cached", err)
	}
	return nil
}

// keepUp looks every LookPeriod, and drains the journal, until the graph is closed. A
// drain waits for a store that hangs; the looks must not wait with it.
func (s *shared) keepUp() {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.keepLooking(ctx) })
	running.Go(func() { s.keepDraining(ctx) })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		running.Wait()
	}()
	s.stopLooking = func(ctx context.Context) error {
		cancel()
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keepLooking looks every LookPeriod until ctx ends. It says so once when the store stops
// answering.
func (s *shared) keepLooking(ctx context.Context) {
	if s.ledger == nil {
		return
	}
	ticker := time.NewTicker(s.opts.LookPeriod)
	defer ticker.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
		if ctx.Err() != nil {
			return // select takes either
		}
		err := s.look(ctx)
		if err == nil {
			err = s.registry.keep(ctx)
		}
		if err != nil && !failing && ctx.Err() == nil {
			s.opts.Logger.WarnContext(ctx, "graphcache: the store does not answer a look: what other processes decide is not known here", "error", err, "strict", s.opts.Strict)
		}
		if err == nil && failing {
			s.opts.Logger.InfoContext(ctx, "graphcache: the store answers looks again")
		}
		failing = err != nil
		if s.journal.any.Load() {
			s.journal.wake()
		}
	}
}

// The pauses between attempts to drain what this process owes.
const (
	minDrainPause = 10 * time.Millisecond
	maxDrainPause = time.Second
)

// keepDraining drains the journal until ctx ends: when it is woken, and again after pauses
// that grow while something is left.
func (s *shared) keepDraining(ctx context.Context) {
	again := time.NewTimer(math.MaxInt64)
	defer again.Stop()
	pause := minDrainPause
	for {
		select {
		case <-ctx.Done():
		case <-s.journal.kick:
		case <-again.C:
		}
		if ctx.Err() != nil {
			return
		}
		if !s.drain(ctx) {
			pause = minDrainPause
			again.Reset(s.journal.next())
			continue
		}
		again.Reset(pause)
		pause = min(2*pause, maxDrainPause)
		_ = sleep(ctx, minDrainPause) // every write that is journalled wakes it
	}
}

// openLedger registers what the schema caches under and looks for the first time.
func (s *shared) openLedger(ctx context.Context) error {
	if s.ledger == nil || s.opts.Cache == nil {
		return nil
	}
	if err := s.registry.register(ctx); err != nil {
		return fmt.Errorf("graphcache: open: register the indexes: %w", err)
	}
	if err := s.look(ctx); err != nil {
		return fmt.Errorf("graphcache: open: read the journal, the registry and the generations: %w", err)
	}
	return nil
}
