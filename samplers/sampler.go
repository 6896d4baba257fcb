package samplers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/within"
)

// Sampler decides which requests are kept. It is safe for concurrent use. Most of its
// decisions, those on keys that are throttled, take no lock, allocate nothing and call
// nobody.
type Sampler struct {
	counters  driver.Counters
	opts      Options
	groups    groups
	threshold uint64  // of the tail
	weight    float64 // of the tail
	table     *table
	clock     clock
	outage    outage
	totals    totals
	stats     counts

	closing chan struct{}
	closed  atomic.Bool
	running sync.WaitGroup
	cancel  context.CancelFunc // of the calls in the background
}

// New returns a sampler that counts in counters. Several samplers may share them, and
// must then have names of their own, in Options.Name. Close ends it; it does not close the
// counters. Options that are out of their bounds are refused with an error that wraps
// driver.ErrInvalid.
func New(counters driver.Counters, o *Options) (*Sampler, error) {
	if counters == nil {
		return nil, fmt.Errorf("samplers: %w: no counters", driver.ErrInvalid)
	}
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Sampler{
		counters:  counters,
		opts:      opts,
		groups:    newGroups(opts.Name),
		threshold: thresholdOf(opts.Tail),
		table:     newTable(opts.FirstN, opts.LocalBytes),
		closing:   make(chan struct{}),
	}
	s.weight = weightOf(s.threshold)
	s.outage.init(s)
	s.totals.init(s)
	if opts.Now != nil {
		s.clock.init(opts.Now)
	} else {
		s.clock.init(time.Now)
		s.running.Go(func() { s.clock.run(s.closing) })
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.running.Go(func() { s.totals.run(ctx) })
	return s, nil
}

// Close reports what is still owed to the totals, as [Sampler.Flush] does for windows that
// are over, and ends what runs in the background. It needs a context that has not ended, unlike
// that of a program which is interrupted. It returns an error if something could not be
// reported: another Close tries again with what was not sent. Decisions made later are
// those of an outage, and are not reported.
func (s *Sampler) Close(ctx context.Context) error {
	if !s.closed.Swap(true) {
		close(s.closing)
		stop := context.AfterFunc(ctx, s.cancel)
		s.running.Wait()
		stop()
		s.cancel()
		s.outage.is.Store(true)
	}
	return s.totals.flush(ctx, true)
}

// Decide decides whether a request of the key is kept. It never fails: if the counters do
// not answer within Options.Timeout, or before ctx ends, it decides by itself, as
// Options.OnOutage says. Ask once for each request, and use [ContextWithDecision] to hand
// the decision to all that the request brings forth.
func (s *Sampler) Decide(ctx context.Context, k Key) Decision {
	print := s.table.fingerprint(k)
	switch {
	case !s.table.throttled(print, &s.clock):
		return s.ask(ctx, k, print, coin{})
	case s.threshold == nobody:
		return Decision{}
	}
	return s.tail(coin{})
}

// DecideRandom is [Sampler.Decide] with the caller's own coin for the tail: 56 random bits,
// such as the last seven bytes of a trace's ID. Services that share it, and Options.Tail,
// keep the same requests. It is kept if it is at least [Decision.Threshold].
func (s *Sampler) DecideRandom(ctx context.Context, k Key, random uint64) Decision {
	print, c := s.table.fingerprint(k), coin{random & (1<<randomBits - 1), true}
	if !s.table.throttled(print, &s.clock) {
		return s.ask(ctx, k, print, c)
	}
	return s.tail(c)
}

// coin is what the tail is decided by.
type coin struct {
	random uint64
	given  bool
}

// tail decides on a request beyond the first n.
func (s *Sampler) tail(c coin) Decision {
	if !c.given {
		c.random = rand.Uint64() >> (64 - randomBits)
	}
	if c.random < s.threshold {
		return Decision{}
	}
	s.stats.tail.Add(1)
	return Decision{Keep: true, Weight: s.weight, Reason: Tail}
}

// ask decides on a request whose key is not known to be throttled: with the counters, if
// they answer.
func (s *Sampler) ask(ctx context.Context, k Key, print uint64, c coin) Decision {
	t := s.table
	i := t.find(print)
	if i >= 0 && t.spill(i, print) && t.throttled(print, &s.clock) {
		return s.tail(c)
	}
	k = k.shorten()
	switch {
	case s.outage.is.Load():
		return s.decideAlone(s.opts.OnOutage, k, print, c)
	case ctx.Err() != nil: // which is not the fault of the counters
		return s.decideAlone(KeepLocal, k, print, c)
	}
	var owed report
	if i >= 0 && !s.outage.near() {
		owed = t.takeEnded(i, print, k, &s.clock)
	}
	count, sent, ok := s.increment(ctx, k, owed)
	switch {
	case !ok && ctx.Err() != nil:
		return s.decideAlone(KeepLocal, k, print, c)
	case !ok:
		return s.decideAlone(s.opts.OnOutage, k, print, c)
	}
	return s.settle(k, print, count, sent, c)
}

// settle decides by what the counters have answered to a call that was sent when the
// clock read sent.
func (s *Sampler) settle(k Key, print uint64, count driver.Count, sent uint32, c coin) Decision {
	if count.Other {
		k.Op = OtherOp
		s.stats.other.Add(1)
	}
	n, end := int64(s.opts.FirstN), sent+uint32(count.Remaining.Milliseconds())
	d := Decision{Keep: true, Weight: 1, Reason: First}
	switch {
	case count.Count < n:
		// The next one may be among the first, too.
	case count.Count == n:
		s.table.throttle(print, k, sent, end, 0)
	default:
		s.table.throttle(print, k, sent, end, 1)
		d = s.tail(c)
	}
	if d.Reason == First {
		s.stats.first.Add(1)
	}
	d.Seq = uint64(count.Count)
	return d
}

// increment counts a request in the window of its key, and tells the totals what is owed
// of the key's last one. It tries again once if it fails early. It returns false if there
// is no answer.
func (s *Sampler) increment(ctx context.Context, k Key, owed report) (count driver.Count, sent uint32, ok bool) {
	limited := within.New(ctx, s.opts.Timeout)
	defer limited.End()
	again := time.Now().Add(s.opts.Timeout / 2)
	batch := append(make([]driver.Increment, 0, 2), driver.Increment{
		Key:     s.groups.window(k),
		N:       1,
		Window:  s.opts.Window,
		Token:   newToken(),
		Exact:   int64(s.opts.FirstN),
		Members: max(s.opts.MaxOps, 0),
		Other:   OtherOp,
	})
	batch = s.totals.appendReport(batch, owed)
	for {
		sent = s.clock.precise()
		call := s.stats.calls.Add(1)
		counts, err := s.counters.Increment(limited, batch)
		if len(counts) != len(batch) {
			counts = make([]driver.Count, len(batch)) // Unknown
		}
		s.totals.confirm(batch[1:], counts[1:])
		if counts[0].Outcome == driver.Done {
			s.outage.answered()
			return counts[0], sent, true
		}
		if ctx.Err() != nil { // the caller's time was up, which may have been short
			if !time.Now().Before(again) {
				s.outage.unanswered(call, k, err)
			}
			return driver.Count{}, sent, false
		}
		if batch = batch[:1]; errors.Is(err, driver.ErrInvalid) || !time.Now().Before(again) {
			s.outage.unanswered(call, k, err)
			return driver.Count{}, sent, false
		}
		again = time.Time{}
	}
}

// newToken returns the token of a call. A call has the token of one that was remembered in
// its counter with odds of 2^-61.
func newToken() string {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], rand.Uint64())
	return string(b[:])
}
