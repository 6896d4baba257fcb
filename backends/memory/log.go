package memory

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// LogOptions configures [NewLog]. The zero value is ready to use.
type LogOptions struct {
	// Now is the clock by which keys expire and sparklines move. The default is
	// time.Now. It is called with a lock held and must not call back.
	Now func() time.Time
	// MaxKeys is the number of keys that are kept; 0 or less means 10,000. One
	// more makes room by dropping the key that is the next to expire, as if it
	// had expired.
	MaxKeys int
	// MaxBytes bounds the bytes of all keys, entries and names together, without
	// the overhead of holding them; 0 or less means 256 MiB. Room is made in the
	// same way, but the key that was written last stays, whatever its size.
	MaxBytes int
	// MaxUnique is the number of distinct members that a key counts; 0 or less
	// means 10,000. Up to there Unique is exact, and there it stays.
	MaxUnique int
}

// Log implements [driver.Log] and [driver.LogWaker] in the memory of one process.
// It never loses a key before its time, except at the bounds of [LogOptions]. It
// is safe for concurrent use and runs no goroutine: each call clears away a few
// keys that have expired.
type Log struct {
	now       func() time.Time
	maxKeys   int
	maxBytes  int
	maxUnique int
	bell      logBell

	mu       sync.Mutex // protects what follows
	closed   bool
	keys     map[string]*logKey
	expiring dueHeap // the keys, by when they expire
	size     int     // of all keys
}

// logKey is what is known of a key.
type logKey struct {
	due
	name      string
	position  driver.Position
	total     int64
	entries   [][]byte // newest first; replaced, never modified, for readers have it
	types     map[string]int64
	members   map[string]struct{}
	producers map[string]logProducer
	turn      uint64 // the number of batches applied
	spark     logSpark
	created   time.Time
	size      int // bytes of what is above
}

// logProducer is what a key remembers of a producer.
type logProducer struct {
	number uint64
	turn   uint64 // of the key when it was applied; the lowest is forgotten first
}

// NewLog returns an empty log. Nil options mean the defaults.
func NewLog(o *LogOptions) *Log {
	if o == nil {
		o = &LogOptions{}
	}
	l := &Log{
		now:       o.Now,
		maxKeys:   counterDefault(o.MaxKeys, 10_000),
		maxBytes:  counterDefault(o.MaxBytes, 256<<20),
		maxUnique: counterDefault(o.MaxUnique, 10_000),
		keys:      make(map[string]*logKey),
		bell:      logBell{listeners: make(map[*logListener]struct{}), closed: make(chan struct{})},
	}
	if l.now == nil {
		l.now = time.Now
	}
	return l
}

// Append implements [driver.Log].
func (l *Log) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	for _, b := range batches {
		if err := b.Validate(); err != nil {
			return nil, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readyLocked(ctx); err != nil {
		return nil, err
	}
	heads := make([]driver.LogHead, len(batches))
	for i, b := range batches {
		heads[i] = l.appendLocked(b, l.now()).head()
	}
	return heads, nil
}

// appendLocked applies a batch and returns its key. The room is made last, when the
// key has its new place among those to expire: it may be the next one itself.
func (l *Log) appendLocked(b driver.LogBatch, now time.Time) *logKey {
	k := l.findLocked(b.Key, now)
	if k == nil {
		k = l.createLocked(b.Key, now)
	}
	before := k.size
	if !k.first(b) {
		return k
	}
	k.add(b, l.maxUnique, now)
	k.at = dueAfter(now, b.TTL)
	heap.Fix(&l.expiring, k.index)
	l.size += k.size - before
	l.makeRoomLocked(k)
	return k
}

// createLocked returns a new key, which is to be given a time to live.
func (l *Log) createLocked(name string, now time.Time) *logKey {
	k := &logKey{
		name:      name,
		position:  driver.Position{Epoch: rand.Uint64N(1<<64-1) + 1},
		types:     make(map[string]int64),
		members:   make(map[string]struct{}),
		producers: make(map[string]logProducer),
		created:   now,
		size:      len(name),
	}
	k.at = now
	l.keys[name] = k
	l.size += k.size
	heap.Push(&l.expiring, k)
	return k
}

// findLocked returns the key unless it has expired. It clears away two others that
// have: a call creates one at the most for each time it comes here, so that keys
// which nobody asks for again cannot pile up.
func (l *Log) findLocked(name string, now time.Time) *logKey {
	for range 2 {
		if l.expiring.isDue(now) {
			l.dropLocked(l.expiring[0].(*logKey))
		}
	}
	k := l.keys[name]
	if k != nil && !now.Before(k.at) {
		l.dropLocked(k)
		return nil
	}
	return k
}

func (l *Log) dropLocked(k *logKey) {
	heap.Remove(&l.expiring, k.index)
	delete(l.keys, k.name)
	l.size -= k.size
}

func (l *Log) fullLocked() bool { return len(l.keys) > l.maxKeys || l.size > l.maxBytes }

// makeRoomLocked drops keys until the bounds hold, but not the one given.
func (l *Log) makeRoomLocked(keep *logKey) {
	if !l.fullLocked() {
		return
	}
	heap.Remove(&l.expiring, keep.index)
	for l.fullLocked() && len(l.expiring) > 0 {
		l.dropLocked(l.expiring[0].(*logKey))
	}
	heap.Push(&l.expiring, keep)
}

// Snapshot implements [driver.Log].
func (l *Log) Snapshot(ctx context.Context, keys []string) ([]driver.LogSnapshot, error) {
	snapshots := make([]driver.LogSnapshot, len(keys))
	err := l.each(ctx, keys, func(i int, k *logKey, now time.Time) {
		snapshots[i] = k.snapshot(now)
	})
	if err != nil {
		return nil, err
	}
	return snapshots, nil
}

// Heads implements [driver.Log].
func (l *Log) Heads(ctx context.Context, keys []string) ([]driver.LogHead, error) {
	heads := make([]driver.LogHead, len(keys))
	err := l.each(ctx, keys, func(i int, k *logKey, _ time.Time) {
		heads[i] = k.head()
	})
	if err != nil {
		return nil, err
	}
	return heads, nil
}

// After implements [driver.Log].
func (l *Log) After(ctx context.Context, reads []driver.LogAfter) ([]driver.LogDelta, error) {
	keys := make([]string, len(reads))
	for i, r := range reads {
		if err := r.Validate(); err != nil {
			return nil, err
		}
		keys[i] = r.Key
	}
	deltas := make([]driver.LogDelta, len(reads))
	err := l.each(ctx, keys, func(i int, k *logKey, _ time.Time) {
		s := driver.LogSnapshot{Head: k.head()}
		if k != nil {
			s.Entries = k.entries
		}
		deltas[i] = s.After(reads[i].Position)
	})
	if err != nil {
		return nil, err
	}
	return deltas, nil
}

// each calls f for the keys in order, under the lock, with nil for a key that does
// not exist.
func (l *Log) each(ctx context.Context, keys []string, f func(i int, k *logKey, now time.Time)) error {
	if err := driver.ValidateLogKeys(keys); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readyLocked(ctx); err != nil {
		return err
	}
	now := l.now()
	for i, key := range keys {
		f(i, l.findLocked(key, now), now)
	}
	return nil
}

func (l *Log) readyLocked(ctx context.Context) error {
	if l.closed {
		return errLogClosed()
	}
	return ctx.Err()
}

func errLogClosed() error {
	return fmt.Errorf("memory: the log is closed: %w", driver.ErrUnavailable)
}

// Close implements [driver.Log], frees the memory and ends the sequences of Wakes.
func (l *Log) Close(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		l.keys, l.expiring = nil, nil
		close(l.bell.closed)
	}
	return nil
}

// first reports whether the batch is applied for the first time, and remembers
// that it was.
func (k *logKey) first(b driver.LogBatch) bool {
	p, known := k.producers[b.Producer]
	if known && b.Number <= p.number {
		return false
	}
	if !known {
		k.forgetProducer()
		k.size += len(b.Producer)
	}
	k.turn++
	k.producers[b.Producer] = logProducer{number: b.Number, turn: k.turn}
	return true
}

// forgetProducer makes room for one more producer.
func (k *logKey) forgetProducer() {
	if len(k.producers) < driver.LogProducers {
		return
	}
	oldest := ""
	for name, p := range k.producers {
		if oldest == "" || p.turn < k.producers[oldest].turn {
			oldest = name
		}
	}
	delete(k.producers, oldest)
	k.size -= len(oldest)
}

func (k *logKey) add(b driver.LogBatch, maxUnique int, now time.Time) {
	k.position.Seq += b.Added
	k.total += b.Added + b.Counted
	k.addEntries(b)
	for _, c := range b.Types {
		k.addType(c)
	}
	for _, m := range b.Members {
		if _, known := k.members[m]; !known && len(k.members) < maxUnique {
			k.members[m] = struct{}{}
			k.size += len(m)
		}
	}
	if len(b.Times) > 0 {
		k.spark.setWidth(b.Bucket.Milliseconds(), now)
		for _, c := range b.Times {
			k.spark.add(c, now)
		}
	}
}

// addEntries puts the batch's entries before those that are there. A batch that
// left some out has as many as its cap, and so nothing stays behind the gap: the
// positions of the list are given by its order alone.
func (k *logKey) addEntries(b driver.LogBatch) {
	older := k.entries[:min(len(k.entries), b.Cap-len(b.Entries))]
	entries := make([][]byte, 0, len(b.Entries)+len(older))
	for _, e := range b.Entries {
		entries = append(entries, bytes.Clone(e))
	}
	entries = append(entries, older...)
	k.size += logBytes(entries) - logBytes(k.entries)
	k.entries = entries
}

func logBytes(entries [][]byte) int {
	n := 0
	for _, e := range entries {
		n += len(e)
	}
	return n
}

// addType adds to the count of a type, or to that of all types for which there is
// no room: the empty one, which does not count among them.
func (k *logKey) addType(c driver.LogCount) {
	if c.Count == 0 {
		return
	}
	named := len(k.types)
	if _, other := k.types[""]; other {
		named--
	}
	name := c.Type
	if _, known := k.types[name]; !known {
		if named == driver.LogTypes {
			name = ""
		}
		k.size += len(name)
	}
	k.types[name] += c.Count
}

// head returns the head of the key, which is nil if there is no such key.
func (k *logKey) head() driver.LogHead {
	if k == nil {
		return driver.LogHead{Outcome: driver.Done}
	}
	return driver.LogHead{Outcome: driver.Done, Position: k.position, Total: k.total}
}

// snapshot returns what is known of the key, which is nil if there is no such key.
// The entries are shared, all else is copied.
func (k *logKey) snapshot(now time.Time) driver.LogSnapshot {
	s := driver.LogSnapshot{Head: k.head()}
	if k == nil {
		return s
	}
	s.Entries = slices.Clip(k.entries)
	s.Unique = int64(len(k.members))
	for name, n := range k.types {
		s.Types = append(s.Types, driver.LogCount{Type: name, Count: n})
	}
	slices.SortFunc(s.Types, func(a, b driver.LogCount) int { return cmp.Compare(a.Type, b.Type) })
	k.spark.moveTo(now)
	s.Spark = k.spark.counts
	s.Bucket = time.Duration(k.spark.width) * time.Millisecond
	s.Created = k.created
	return s
}
