package graphcache

import (
	"context"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// NearCache are the settings of the near cache: the values that a process has read from
// the shared cache, kept in its own memory, and the objects decoded. 0 in a field is its
// default, and a negative value is refused with [ErrInvalid].
//
// The near cache answers reads that are [Cached], as reads are by default, and no others.
// They may be older than what the shared cache has: by MaxStale, see there. What was
// written through the same [Graph], or one of its namespaces, they show at once; two graphs
// in one process are as two processes. A read that must be linearizable is [Shared].
type NearCache struct {
	// MaxBytes bounds the values, the decoded objects and an estimate of what it takes to
	// keep them. Beyond it what was used least is evicted. Default 64 MiB.
	MaxBytes int64
	// MaxStale is how long after a write by another process was acknowledged a read may
	// return what was there before. Most often it is the time that a message from the
	// shared cache takes. MaxStale is the bound when no message comes: the process makes
	// sure of the way of the messages eight times in MaxStale, and serves nothing from the
	// near cache when it has heard nothing for half of it. Default 1 s, at least 50 ms.
	//
	// Two things come on top of it: two LookPeriods for writes that were acknowledged while
	// their process could not reach the shared cache ([Ack]), and the time for which this
	// process was stopped, or did not get to run what keeps the near cache up to date.
	MaxStale time.Duration
	// TTL is how long a value is kept, give or take an eighth. The time that it has been in the shared cache comes
	// on top, so it adds to Options.TTL where that bounds an exception. Default 1 minute, or
	// Options.TTL if that is less.
	TTL time.Duration
}

const leastStale = 50 * time.Millisecond

func (o *NearCache) withDefaults(ttl time.Duration) *NearCache {
	c := *o
	setDefault(&c.MaxBytes, 64<<20)
	setDefault(&c.MaxStale, time.Second)
	setDefault(&c.TTL, min(time.Minute, ttl))
	return &c
}

func (o *NearCache) validate(cache driver.Cache) error {
	_, notifies := cache.(driver.Notifier)
	switch {
	case cache == nil:
		return fmt.Errorf("%w: Options.NearCache needs Options.Cache", ErrInvalid)
	case !notifies:
		return fmt.Errorf("%w: Options.NearCache: %T does not tell what changes: it is no driver.Notifier", ErrInvalid, cache)
	case o.MaxBytes < 0:
		return fmt.Errorf("%w: NearCache.MaxBytes is %d: negative", ErrInvalid, o.MaxBytes)
	case o.MaxStale < leastStale || o.MaxStale > maxDuration:
		return fmt.Errorf("%w: NearCache.MaxStale is %v: not between %v and %v", ErrInvalid, o.MaxStale, leastStale, time.Duration(maxDuration))
	case o.TTL < 0 || o.TTL > maxDuration:
		return fmt.Errorf("%w: NearCache.TTL is %v: not between 0 and %v", ErrInvalid, o.TTL, time.Duration(maxDuration))
	}
	return nil
}

// near is the near cache of a process. It is told of every hold by the shared cache
// (driver.Notifier), by the writes of this process before they write the store, and by
// what a look finds in the journal.
//
// A read that finds nothing notes how often the anchor's stripe was told of anything, then
// looks in the shared cache, and keeps what it finds there only if the stripe has not been
// told of anything since. So what is kept was current after the read had begun to listen,
// and whatever ends that is heard later:
//
//  1. a read notes the count of the stripe
//  2. it finds a value in the shared cache, or fills one that the cache accepts
//  3. a write holds the anchor, and this process is told
//  4. the read must not keep the value, or drop it again: the count has moved
//
// Nothing is served, and nothing is kept, while now is 0.
type near struct {
	shared  *shared
	opts    *NearCache
	entries *otter.Cache[nearKey, *nearEntry]
	seed    maphash.Seed
	stripes [nearStripes]nearStripe

	// now is the time, in nanoseconds since the looks began, as of when it was made sure
	// that the near cache may be served: reading a clock for every hit would cost as much
	// as all the rest of it.
	now atomic.Int64

	mu      sync.Mutex // protects what follows, and writes of now
	current int64      // all holds before it are known; 0 before the first
	closed  bool

	notices, losses atomic.Int64
}

// nearKey names an anchor: one of the prefixes of a boundKind's keys, by its address, and
// the ID.
type nearKey struct {
	prefix *string
	id     string
}

// nearEntry is what is kept of an anchor. It is never changed. The first value is in it
// because most have no other.
type nearEntry struct {
	nearValue
	more []nearValue
}

// nearValue is a fragment.
type nearValue struct {
	field      string
	generation uint64
	expires    int64 // as near.now
	value      value
	object     any // of an object whose copies share nothing: a *T
	bytes      int
}

// nearStripe counts what was told of the anchors that share it. Values are kept, and
// dropped, under its lock.
type nearStripe struct {
	mu   sync.Mutex // protects the entries of the stripe
	told atomic.Uint64
	_    [48]byte // the rest of a cache line
}

const (
	nearStripes = 512
	// nearFields is how many fragments of an anchor are kept.
	nearFields = 16
	// nearOverhead is about what an entry takes besides its values: measured.
	nearOverhead = 320
)

func newNear(s *shared) *near {
	n := &near{shared: s, opts: s.opts.NearCache, seed: maphash.MakeSeed()}
	n.entries = otter.Must(&otter.Options[nearKey, *nearEntry]{
		MaximumWeight: uint64(n.opts.MaxBytes),
		Weigher: func(key nearKey, e *nearEntry) uint32 {
			bytes := nearOverhead + len(key.id) + e.bytes
			for i := range e.more {
				bytes += e.more[i].bytes
			}
			return uint32(min(bytes, math.MaxInt32))
		},
		Executor: func(f func()) { f() },
	})
	return n
}

// key returns the key of the request's anchor.
func (r *request) nearKey() nearKey { return nearKey{&r.kind.prefixes[r.typ], r.id} }

func (n *near) stripe(key nearKey) *nearStripe {
	return &n.stripes[maphash.Comparable(n.seed, key)%nearStripes]
}

// find returns a fragment that may be served, nil if there is none.
func (n *near) find(k *boundKind, t anchorType, id, field string) *nearValue {
	now := n.now.Load()
	if now == 0 {
		return nil
	}
	e, ok := n.entries.GetIfPresent(nearKey{&k.prefixes[t], id})
	if !ok {
		return nil
	}
	v := &e.nearValue
	for i := 0; v.field != field; i++ {
		if i == len(e.more) {
			return nil
		}
		v = &e.more[i]
	}
	if v.expires < now || v.generation < k.generation.Load() {
		return nil
	}
	return v
}

// near returns what the near cache has of an object, nil if it has nothing or is not to be
// asked: the short way for a read that nobody traces.
func (c conn) near(k *objectKind, id string, fresh []Freshness) *nearValue {
	n := c.g.shared.near
	if n == nil || len(fresh) > 0 && fresh[0] != Cached || !c.untraced() {
		return nil
	}
	b := c.g.objects[k]
	if b == nil {
		return nil
	}
	v := n.find(b, objectAnchor, id, "")
	if v != nil {
		b.counters.nearHits.add()
	}
	return v
}

// nearList returns the prefix of an object's list that the near cache has. If it answers
// the read, that is to be counted.
func (c conn) nearList(k *boundKind, d driver.Direction, id string, fresh Freshness) (l edgeList, ok bool) {
	n := c.g.shared.near
	if n == nil || fresh != Cached || !c.untraced() {
		return l, false
	}
	if v := n.find(k, edgesAnchor(d), id, ""); v != nil {
		return v.value.list, true
	}
	return l, false
}

// untraced reports whether nobody is told how a read is answered, and nothing but the
// caches may have to.
func (c conn) untraced() bool { return c.tx == nil && c.peek == nil && c.g.shared.opts.Tracer == nil }

// answer answers the requests that it can, and notes for the others what may be kept of
// their answers. It reports whether all are answered.
func (n *near) answer(reqs []request) bool {
	all := true
	for i := range reqs {
		r := &reqs[i]
		if r.direct {
			all = false
			continue
		}
		if v := n.find(r.kind, r.typ, r.id, r.field); v != nil {
			r.value = v.value
			if !r.isList() || !r.short() {
				r.next.Action, r.way = protocol.Hit, wayNear
				r.kind.counters.nearHits.add()
				continue
			}
			r.value = value{}
		}
		all = false
		// Before the time: should the notices be lost in between, either the count has
		// moved or the time is 0.
		r.told, r.asked = n.stripe(r.nearKey()).told.Load(), r.field
		r.keep = n.now.Load() != 0
	}
	return all
}

// keepHits keeps what the shared cache has answered.
func (n *near) keepHits(reqs []request) {
	for i := range reqs {
		if r := &reqs[i]; r.keep && r.next.Action == protocol.Hit && r.way != wayNear {
			n.keep(r, r.value)
		}
	}
}

// keep keeps the answer that the shared cache has for the request, or has accepted from it.
func (n *near) keep(r *request, v value) {
	entry := nearValue{field: r.asked, generation: r.generation, value: v, bytes: len(v.body) + len(r.asked)}
	if int64(entry.bytes) > n.opts.MaxBytes/64 {
		return
	}
	key := r.nearKey()
	s := n.stripe(key)
	if s.told.Load() != r.told {
		return // before the work
	}
	key.id = strings.Clone(key.id) // it may be a part of something large
	if r.typ == objectAnchor && r.asked == "" && r.kind.object.copied != nil {
		entry.object = r.kind.object.copied(key.id, &v)
		entry.bytes += len(v.body) + int(r.kind.object.typ.Size())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := n.now.Load()
	if now == 0 || s.told.Load() != r.told {
		return
	}
	entry.expires = now + int64(n.opts.TTL)
	kept := &nearEntry{nearValue: entry}
	add := func(v nearValue) {
		if v.field != r.asked && len(kept.more) < nearFields-1 {
			kept.more = append(kept.more, v)
		}
	}
	if old, ok := n.entries.GetEntryQuietly(key); ok {
		add(old.Value.nearValue)
		for _, v := range old.Value.more {
			add(v)
		}
	}
	n.entries.Set(key, kept)
}

// Held implements driver.Notices.
func (n *near) Held(anchor string) {
	n.notices.Add(1)
	if anchor == allAnchors {
		n.dropAll()
		return
	}
	s := n.shared
	space, a, err := readAnchor(anchor)
	if err != nil { // of a program that writes other keys, or of none
		n.losses.Add(1)
		n.dropAll()
		return
	}
	s.mu.Lock()
	g := s.namespaces[space.namespace]
	s.mu.Unlock()
	if g == nil || g.space != space {
		return
	}
	k := g.kinds[a.kind]
	if k == nil || k.prefixes[a.typ] == "" {
		return
	}
	n.drop(nearKey{&k.prefixes[a.typ], a.id})
}

func (n *near) drop(key nearKey) {
	s := n.stripe(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told.Add(1)
	n.entries.Invalidate(key)
}

// dropAll drops everything, and what reads under way would keep.
func (n *near) dropAll() {
	for i := range n.stripes {
		s := &n.stripes[i]
		s.mu.Lock()
		s.told.Add(1)
		s.mu.Unlock()
	}
	n.entries.InvalidateAll()
}

// Current implements driver.Notices.
func (n *near) Current(at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.shared.looks.now()
	n.current = max(n.current, min(int64(at.Sub(n.shared.looks.start)), now), 1)
	n.renewLocked()
}

// Lost implements driver.Notices.
func (n *near) Lost() {
	n.losses.Add(1)
	n.mu.Lock() // until all is gone: it must not be served again before
	defer n.mu.Unlock()
	n.current = 0
	n.renewLocked()
	n.dropAll()
}

// startNear keeps the near cache up to date, if there is one.
func (s *shared) startNear() {
	if s.near == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.near.run(ctx)
	}()
	s.stopNear = func(ctx context.Context) error {
		cancel()
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// renewLocked lets the near cache be served from now on, or not.
func (n *near) renewLocked() {
	s := n.shared
	now := max(s.looks.now(), 1)
	if n.closed || n.current == 0 || now-n.current > int64(n.opts.MaxStale/2) || !s.trustsCache() {
		now = 0
	}
	n.now.Store(now)
}

// nearBeats is how often in MaxStale it is made sure that the near cache may be served.
const nearBeats = 8

// run keeps the near cache up to date until ctx ends.
func (n *near) run(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { n.listen(ctx) })
	tick := time.NewTicker(min(n.opts.MaxStale, max(n.opts.TTL, leastStale)) / nearBeats)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			n.mu.Lock()
			n.renewLocked()
			n.mu.Unlock()
		}
	}
	running.Wait()
	n.entries.InvalidateAll()
}

// listen has the cache tell what is held, again and again.
func (n *near) listen(ctx context.Context) {
	notifier := n.shared.opts.Cache.(driver.Notifier)
	for ctx.Err() == nil {
		err := n.notify(ctx, notifier)
		n.Lost()
		if ctx.Err() != nil {
			return
		}
		n.shared.opts.Logger.WarnContext(ctx, "graphcache: the near cache is not served: the cache does not tell what changes", "error", err)
		_ = sleep(ctx, time.Second+rand.N(time.Second))
	}
}

func (n *near) notify(ctx context.Context, notifier driver.Notifier) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = newPanicError(v)
		}
	}()
	return notifier.Notify(ctx, n.opts.MaxStale/nearBeats, n)
}

func (n *near) stats() NearStats {
	return NearStats{
		Entries: int64(n.entries.EstimatedSize()), Bytes: int64(n.entries.WeightedSize()),
		Notices: n.notices.Load(), Losses: n.losses.Load(), Serving: n.now.Load() != 0,
	}
}

// close serves nothing any more.
func (n *near) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.renewLocked()
}

// heldHere notes that a write of this process has held the anchors, or owes them.
func (s *shared) heldHere(anchors []string) {
	if s.near == nil {
		return
	}
	for _, a := range anchors {
		s.near.Held(a)
	}
}

// stripedCounter is a counter that several processors add to without waiting for each
// other.
type stripedCounter struct {
	stripes [8]struct {
		n atomic.Int64
		_ [56]byte // the rest of a cache line
	}
}

func (c *stripedCounter) add() { c.stripes[rand.Uint32()%uint32(len(c.stripes))].n.Add(1) }

func (c *stripedCounter) load() (n int64) {
	for i := range c.stripes {
		n += c.stripes[i].n.Load()
	}
	return n
}
