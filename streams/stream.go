package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Stream has the newest events of each of many keys. It is safe for concurrent use.
type Stream[E any] struct {
	log      driver.Log
	waker    driver.LogWaker // nil if the log cannot wake
	opts     Options[E]
	prefix   string // of the log's keys
	producer string

	seed   maphash.Seed
	shards [shardCount]shard[E]
	keys   atomic.Int64 // in all shards
	busy   atomic.Int64 // those that have something to send
	clock  atomic.Int64 // milliseconds since 1970, read every clockTick
	full   chan string  // keys with so many events that they are to be sent at once
	flush  flusher[E]
	hub    hub[E]
	stats  counts

	closing chan struct{}
	closed  atomic.Bool
	running sync.WaitGroup
}

const (
	shardCount = 64
	clockTick  = 10 * time.Millisecond
)

// shard has some of the keys of which there are events to send.
type shard[E any] struct {
	mu   sync.Mutex             // protects what follows
	keys map[uint64]*pending[E] // by the hash of the key
	_    [64]byte               // so that shards do not share a cache line
}

// ErrClosed is returned by calls on a stream that is closed. It wraps driver.ErrUnavailable.
var ErrClosed = fmt.Errorf("streams: closed: %w", driver.ErrUnavailable)

// New returns a stream in the log. Several streams may share it, and must then have names
// of their own, in Options.Name. Close ends the stream; it does not close the log. Options
// that are out of their bounds are refused with an error that wraps driver.ErrInvalid.
func New[E any](log driver.Log, o *Options[E]) (*Stream[E], error) {
	if log == nil {
		return nil, fmt.Errorf("streams: %w: no log", driver.ErrInvalid)
	}
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Stream[E]{
		log:      log,
		opts:     opts,
		prefix:   strconv.Itoa(len(opts.Name)) + ":" + opts.Name,
		producer: rand.Text(),
		seed:     maphash.MakeSeed(),
		full:     make(chan string, 64),
		closing:  make(chan struct{}),
	}
	s.waker, _ = log.(driver.LogWaker)
	for i := range s.shards {
		s.shards[i].keys = make(map[uint64]*pending[E])
	}
	s.clock.Store(time.Now().UnixMilli())
	s.flush.init(s)
	s.hub.init(s)
	s.running.Go(s.tick)
	s.running.Go(s.flush.run)
	return s, nil
}

// tick reads the clock, which takes as long as the rest of an Append.
func (s *Stream[E]) tick() {
	t := time.NewTicker(clockTick)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			s.clock.Store(now.UnixMilli())
		case <-s.closing:
			return
		}
	}
}

// Close sends what has not been sent, as long as ctx lets it, and ends what runs in the
// background. Tails end with [ErrClosed]. It returns an error that says what could not be
// sent, and how much of that may have arrived. Events that are appended later are dropped.
// A second Close does nothing. Close the stream before the log, and give it a context that
// ends: it tries until then.
func (s *Stream[E]) Close(ctx context.Context) error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.closing)
	stop := context.AfterFunc(ctx, s.flush.cancel)
	s.running.Wait()
	stop()
	s.flush.cancel()
	s.hub.close()
	return s.flush.finish(ctx)
}

// logKey returns the key of the log. An error says that the key is too long.
func (s *Stream[E]) logKey(key string) (string, error) {
	if len(key) > driver.MaxLogKey-len(s.prefix) {
		return "", fmt.Errorf("streams: %w: key of %d bytes: at most %d", driver.ErrInvalid, len(key), driver.MaxLogKey-len(s.prefix))
	}
	return s.prefix + key, nil
}

// Append adds an event to a key. It never waits for the log and allocates nothing once the
// key is known: the event is sent within Options.FlushEvery, if it is among the newest
// Options.Cap then, and counted in any case. The event must not be modified afterwards.
//
// An event is dropped, and counted in Stats.Dropped, if the stream is closed, if the key is
// too long (1,024 bytes less the Name), or if there are events of more than Options.MaxKeys
// keys to send. Use [Stream.AppendSync] to know what becomes of it.
func (s *Stream[E]) Append(key string, e E) {
	_ = s.append(key, e)
}

var (
	errTooManyKeys   = errors.New("there are events of more than Options.MaxKeys keys to send")
	errTooManyEvents = errors.New("there are too many events of the key to send")
)

func (s *Stream[E]) append(key string, e E) error {
	sh, hash := s.shardOf(key)
	sh.mu.Lock()
	defer sh.mu.Unlock() // also if Type or Member panics
	p := sh.findLocked(hash, key)
	if p == nil || s.closed.Load() {
		var err error
		if p, err = s.newPendingLocked(sh, hash, key); err != nil {
			s.stats.dropped.Add(1)
			return err
		}
	}
	if err := p.admit(s); err != nil {
		s.stats.dropped.Add(1)
		return err
	}
	p.add(s, e, s.clock.Load())
	if p.n == int64(s.opts.FlushEvents) {
		select {
		case s.full <- key:
		default: // the next flush is not far
		}
	}
	return nil
}

func (s *Stream[E]) newPendingLocked(sh *shard[E], hash uint64, key string) (*pending[E], error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	name, err := s.logKey(key)
	if err != nil {
		return nil, err
	}
	if s.busy.Load() >= int64(s.opts.MaxKeys) {
		return nil, errTooManyKeys
	}
	s.keys.Add(1)
	p := &pending[E]{shard: &sh.mu, place: int(hash % shardCount), key: name, name: name[len(s.prefix):], other: sh.keys[hash]}
	sh.keys[hash] = p
	return p, nil
}

// AppendSync adds an event and returns when it is in the log, together with what was
// appended to the key before. The error says why it is not, or that it is unknown: then it
// wraps driver.ErrUnknownOutcome, and the event will still be sent. It wraps
// driver.ErrInvalid if the event cannot be encoded or is too large, and nothing is added.
func (s *Stream[E]) AppendSync(ctx context.Context, key string, e E) error {
	data, err := s.opts.safeEncode(&e)
	switch {
	case err != nil:
		return fmt.Errorf("streams: append to %.40q: %w: %w", key, driver.ErrInvalid, err)
	case len(data) > maxEvent:
		return fmt.Errorf("streams: append to %.40q: %w: event of %d bytes: at most %d", key, driver.ErrInvalid, len(data), maxEvent)
	}
	if err := s.append(key, e); err != nil {
		return fmt.Errorf("streams: append to %.40q: %w", key, err)
	}
	if err := s.flush.key(ctx, key); err != nil {
		return fmt.Errorf("streams: append to %.40q: %w: %w", key, driver.ErrUnknownOutcome, err)
	}
	return nil
}

// Flush sends what has been appended and returns when it is in the log. It tries once:
// what is not confirmed is sent again with the next flush, and counted once however often
// it is sent.
func (s *Stream[E]) Flush(ctx context.Context) error { return s.flush.all(ctx) }

// shardOf returns the shard of a key, and the key's hash.
func (s *Stream[E]) shardOf(key string) (*shard[E], uint64) {
	hash := maphash.String(s.seed, key)
	return &s.shards[hash%shardCount], hash
}

// findLocked returns a key, nil if there is nothing of it.
func (sh *shard[E]) findLocked(hash uint64, key string) *pending[E] {
	p := sh.keys[hash]
	for p != nil && p.name != key {
		p = p.other
	}
	return p
}

// forgetLocked removes a key.
func (sh *shard[E]) forgetLocked(hash uint64, p *pending[E]) {
	at := sh.keys[hash]
	if at != p {
		for at.other != p {
			at = at.other
		}
		at.other = p.other
		return
	}
	if p.other == nil {
		delete(sh.keys, hash)
	} else {
		sh.keys[hash] = p.other
	}
}
