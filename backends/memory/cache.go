package memory

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// DefaultMaxBytes is the size of a [Cache] unless its options say otherwise.
const DefaultMaxBytes = 64 << 20

// CacheOptions are the options of [NewCache]. The zero CacheOptions, and nil,
// consist entirely of default values.
type CacheOptions struct {
	// Now is the clock by which deadlines are set and judged. Defaults to
	// time.Now. It is called with a lock held and must not call back.
	Now func() time.Time
	// MaxBytes bounds the keys, the values and an estimate of what it costs to
	// keep them. Beyond it the entries that were used least recently are
	// evicted, but never one that is held. Defaults to DefaultMaxBytes; -1 is
	// no bound.
	MaxBytes int
}

// Cache is a driver.Cache in memory. It has no goroutine: what has expired counts
// for nothing at once, and is removed when it is met.
type Cache struct {
	now      func() time.Time
	start    time.Time // deadlines are durations since then
	maxBytes int

	mu      sync.Mutex // protects what follows, and the entries
	closed  bool
	entries map[string]*entry
	recent  queue // entries that may be evicted, the most recently used last
	held    queue // entries that are held
	bytes   int

	listeners map[*driver.Notices]struct{}
}

var (
	_ driver.Cache    = (*Cache)(nil)
	_ driver.Notifier = (*Cache)(nil)
)

// NewCache returns an empty cache.
func NewCache(options *CacheOptions) *Cache {
	var o CacheOptions
	if options != nil {
		o = *options
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxBytes < 0 {
		o.MaxBytes = math.MaxInt
	}
	return &Cache{
		now:      o.Now,
		start:    o.Now(),
		maxBytes: cmp.Or(o.MaxBytes, DefaultMaxBytes),
		entries:  make(map[string]*entry),

		listeners: make(map[*driver.Notices]struct{}),
	}
}

// Lookup implements driver.Cache.
func (c *Cache) Lookup(ctx context.Context, lookups []driver.Lookup) ([]driver.Entry, error) {
	now, err := c.lock(ctx)
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	entries := make([]driver.Entry, len(lookups))
	for i := range lookups {
		entries[i] = c.entryLocked(lookups[i].Anchor, now).view(lookups[i].Field, now)
	}
	return entries, nil
}

// Claim implements driver.Cache.
func (c *Cache) Claim(ctx context.Context, claims []driver.Claim) ([]driver.Entry, error) {
	now, err := c.lock(ctx)
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	entries := make([]driver.Entry, len(claims))
	for i := range claims {
		if claims[i].Version == 0 {
			err = cmp.Or(err, fmt.Errorf("memory: claim of %q: the version is 0: %w", claims[i].Anchor, driver.ErrInvalid))
			continue
		}
		entries[i] = c.claimLocked(&claims[i], now)
	}
	return entries, err
}

func (c *Cache) claimLocked(claim *driver.Claim, now moment) driver.Entry {
	e := c.entryLocked(claim.Anchor, now)
	if e.state() == driver.Empty {
		e = c.obtainLocked(e, claim.Anchor)
		e.version, e.until = claim.Version, now.add(claim.TTL)
	}
	claimed := e.claim(claim.Field, now, now.add(claim.Lease))
	c.settleLocked(e, now)
	seen := e.view(claim.Field, now)
	seen.Claimed = claimed
	return seen
}

// Fill implements driver.Cache.
func (c *Cache) Fill(ctx context.Context, fills []driver.Fill) ([]driver.Outcome, error) {
	now, err := c.lock(ctx)
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	outcomes := make([]driver.Outcome, len(fills))
	for i := range fills {
		outcomes[i] = c.fillLocked(&fills[i], now)
	}
	return outcomes, nil
}

func (c *Cache) fillLocked(fill *driver.Fill, now moment) driver.Outcome {
	e := c.entryLocked(fill.Anchor, now)
	if e.state() != driver.Versioned || e.version != fill.Version {
		return driver.Refused
	}
	// A value that cannot fit must not drive out all others first.
	outcome := driver.Done
	if e.sizeWith(fill) > c.maxBytes || !e.fill(fill, now) {
		outcome = driver.Refused
		e.giveBack(fill.Field)
	}
	c.settleLocked(e, now)
	return outcome
}

// Hold implements driver.Cache.
func (c *Cache) Hold(ctx context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	now, err := c.lock(ctx)
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	outcomes := make([]driver.Outcome, len(holds))
	for i, hold := range holds {
		e := c.obtainLocked(c.entryLocked(hold.Anchor, now), hold.Anchor)
		e.hold(hold.Token, now.add(hold.TTL))
		c.settleLocked(e, now)
		outcomes[i] = driver.Done
		c.notifyLocked(hold.Anchor)
	}
	c.sweepLocked(2*len(holds), now)
	return outcomes, nil
}

// Release implements driver.Cache.
func (c *Cache) Release(ctx context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	now, err := c.lock(ctx)
	defer c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	outcomes := make([]driver.Outcome, len(releases))
	for i := range releases {
		r := &releases[i]
		e := c.obtainLocked(c.entryLocked(r.Anchor, now), r.Anchor)
		if outcomes[i] = e.release(r.Token); outcomes[i] != driver.Done {
			c.notifyLocked(r.Anchor)
		}
		e.keep(r.Stamp, now.add(r.KeepStamp))
		c.settleLocked(e, now)
	}
	return outcomes, nil
}

// Notify implements driver.Notifier. Notices come before the calls return that cause them.
func (c *Cache) Notify(ctx context.Context, every time.Duration, n driver.Notices) error {
	if err := c.listen(ctx, &n); err != nil {
		return err
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.listeners, &n)
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		n.Current(time.Now())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if err := c.listen(ctx, &n); err != nil {
			return err
		}
	}
}

// listen has the listener told of everything from now on.
func (c *Cache) listen(ctx context.Context, n *driver.Notices) error {
	_, err := c.lock(ctx)
	defer c.mu.Unlock()
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	c.listeners[n] = struct{}{}
	return err
}

// notifyLocked tells the listeners of the anchor.
func (c *Cache) notifyLocked(anchor string) {
	for n := range c.listeners {
		(*n).Held(anchor)
	}
}

// Close forgets everything; every later call fails.
func (c *Cache) Close(context.Context) error {
	c.Flush()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	return nil
}

// Evict forgets an entry in whatever state, with its tokens. A cache that works
// never does this to a held one: Evict is for tests of what happens when a hold is
// lost.
func (c *Cache) Evict(anchor string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[anchor]; e != nil {
		c.forgetLocked(e)
	}
}

// Flush forgets every entry with its tokens, like a cache server that was started
// again. Like [Cache.Evict] it is for tests.
func (c *Cache) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.recent, c.held = queue{}, queue{}
	c.bytes = 0
}

// Tokens returns the number of tokens that stand. Tests assert with it that
// nothing was left behind.
func (c *Cache) Tokens() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.momentNow()
	n := 0
	for e := c.held.first; e != nil; e = e.next {
		n += e.standing(now)
	}
	return n
}

// lock locks the cache, whatever it returns, and returns the moment at which the
// call takes effect or the reason why it has none.
func (c *Cache) lock(ctx context.Context) (moment, error) {
	c.mu.Lock()
	if err := ctx.Err(); err != nil {
		return 0, fmt.Errorf("memory: %w: %w", driver.ErrUnavailable, err)
	}
	if c.closed {
		return 0, fmt.Errorf("memory: the cache is closed: %w", driver.ErrUnavailable)
	}
	return c.momentNow(), nil
}

// momentNow reads the clock. A difference of two readings of time.Now is free of
// the jumps of the wall clock.
func (c *Cache) momentNow() moment {
	return moment(c.now().Sub(c.start))
}

// entryLocked returns the entry of the anchor as it stands now, and counts that as
// a use of it; nil if it is Empty without a stamp.
func (c *Cache) entryLocked(anchor string, now moment) *entry {
	e := c.entries[anchor]
	if e == nil {
		return nil
	}
	if e.expire(now) {
		c.settleLocked(e, now)
		return c.entries[anchor]
	}
	if e.queue == &c.recent {
		c.recent.remove(e)
		c.recent.push(e)
	}
	return e
}

// obtainLocked returns e, or a new entry for the anchor if e is nil.
func (c *Cache) obtainLocked(e *entry, anchor string) *entry {
	if e != nil {
		return e
	}
	anchor = strings.Clone(anchor) // it may be a part of something large
	e = &entry{anchor: anchor}
	c.entries[anchor] = e
	return e
}

// settleLocked puts a changed entry where it belongs, and makes room.
func (c *Cache) settleLocked(e *entry, now moment) {
	c.placeLocked(e)
	if c.bytes > c.maxBytes {
		c.sweepLocked(2, now)
	}
	for c.bytes > c.maxBytes && c.recent.first != nil {
		c.forgetLocked(c.recent.first)
	}
}

// placeLocked puts an entry into the queue that its state asks for, last, and
// accounts for its size. An entry that says nothing is forgotten.
func (c *Cache) placeLocked(e *entry) {
	if e.void() {
		c.forgetLocked(e)
		return
	}
	size := e.size()
	c.bytes += size - e.accounted
	e.accounted = size
	if e.queue != nil {
		e.queue.remove(e)
	}
	if len(e.tokens) > 0 {
		c.held.push(e)
	} else {
		c.recent.push(e)
	}
}

// sweepLocked looks at up to n held entries for tokens that have expired, at other
// ones each time, so that what dead writers leave behind goes in the end.
func (c *Cache) sweepLocked(n int, now moment) {
	for e := c.held.first; e != nil && n > 0; e = c.held.first {
		n--
		e.expire(now)
		c.placeLocked(e)
	}
}

func (c *Cache) forgetLocked(e *entry) {
	delete(c.entries, e.anchor)
	c.bytes -= e.accounted
	e.accounted = 0
	if e.queue != nil {
		e.queue.remove(e)
	}
}
