package driver

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// Log keeps, for each key, the newest entries that were appended to it and counts
// of all of them: what a page shows that follows a busy key live. It is a window
// onto a stream and not the stream: what a reader is too late for is gone, but the
// reader learns exactly how much that was.
//
// # Positions
//
// A key's position is the number of entries appended since the key was created.
// The list is newest first, everywhere: the entry at index 0 has the key's
// position, the one at index i has i less. Nothing needs to be stored with an
// entry, since the list never has a hole: a batch that leaves out some of what it
// adds sends Cap entries, and those alone are then the list.
//
// So a reader that has seen position s of a key now at c, with k entries to read
// that are newer than s, has missed c-s-k, never more or less. Positions compare
// only within an epoch, a random number that is drawn when the key is created. A
// key is created by the first batch that finds none, and is gone when it expires,
// is evicted, or is lost with its server; the next batch then draws a new epoch and
// counts from 0.
//
// Not promised: a server that fails over may take back acknowledged batches and
// then give their positions to others in the same epoch. A reader that sees the
// position go back is told to start again (Reset); one that looks too late for
// that has the wrong entries under some positions.
//
// # At most once
//
// A producer numbers its batches, and sends the next batch of a key only when it
// has the answer to the last or has given it up. A batch whose number is not above
// the last one applied of that producer and key is a repetition: nothing changes,
// and the answer is Done. So a batch may be repeated until it is answered, and one
// that was given up and comes late, after its successor, is dropped. Never send
// the content of an unanswered batch again under another number.
//
// A key remembers the last number of LogProducers producers at the least, those
// that appended to it last, as long as it lives. A repetition is applied again
// only when that many others have come between, or the key is a new one and the
// first application went with the old.
//
// # What a key holds
//
// Total, types and members count from the key's creation on, and each of them only
// what the batches say about it: they are not compared with the number of entries.
// At most LogTypes types are kept; those that come later are counted under the
// empty type, so that the sum stays right. The sparkline is LogBuckets counts, the
// last of which is the bucket that the backend's clock is in. All of it expires
// together, TTL after the last batch that was applied, and its size is bounded by
// the constants below.
//
// # Batches
//
// The elements of a call are independent: each is applied or read atomically, in
// order, the call as a whole not. A key may occur more than once. Keys are
// arbitrary bytes, compared as such.
//
// A call with an element that does not pass its Validate, or a key that does not,
// is refused as a whole with an error that wraps ErrInvalid, before anything is
// applied. So is a call whose context has ended already, with the context's error,
// and every call after Close, with one that wraps ErrUnavailable. An empty batch
// does nothing and gives an empty result.
//
// Otherwise a call may fail in parts. The error then says why, and the elements
// that were not confirmed have Outcome Unknown; if the result is nil, that is all
// of them. An element that is Unknown may have been applied, or be applied later.
//
// For a server with scripts: one hash holds a key, the epoch, the position, the counts
// and the producers in some fields and the entries in others, those of a batch together,
// so that another Cap moves nothing. Members may live in a key of their own, whose name has the
// epoch in it: adding one twice is the same as once, so they can follow when the
// batch is confirmed, and a repetition brings them along if they did not.
type Log interface {
	// Append applies batches and answers with the heads that this leaves, or,
	// for a repetition, with the head that was there.
	Append(ctx context.Context, batches []LogBatch) ([]LogHead, error)

	// Snapshot reads all that is known of each key, in one round trip. What is
	// in a snapshot is of one state of the key, but for Unique, which may
	// already count a little more or still a little less.
	Snapshot(ctx context.Context, keys []string) ([]LogSnapshot, error)

	// Heads tells how far the keys are, without their entries. It is what a
	// poller asks again and again for every key that is watched, and must be
	// much cheaper than a Snapshot.
	Heads(ctx context.Context, keys []string) ([]LogHead, error)

	// After reads what is newer than a position, as [LogSnapshot.After] defines
	// it.
	After(ctx context.Context, reads []LogAfter) ([]LogDelta, error)

	// Close releases the log's resources; a second Close does nothing. Calls
	// that are under way may fail.
	Close(ctx context.Context) error
}

// LogWaker is a [Log] that can tell readers in other processes that a key has
// changed, so that they need not poll often. Wake-ups are hints: they may be late,
// lost, merged or repeated, and a reader that gets none still polls now and then.
type LogWaker interface {
	// Wake tells that the keys have changed. It sends at most one message,
	// however many keys there are, and never waits for a reader. A call with
	// more than MaxLogWake keys may be heard as "anything may have changed".
	Wake(ctx context.Context, keys []string) error

	// Wakes yields the keys that were woken, each slice once and owned by the
	// receiver. A nil slice says that anything may have changed: it comes first,
	// when the subscription stands, and again whenever wake-ups may have been
	// lost. The sequence ends when ctx does, or with an error when it cannot go
	// on, one that wraps ErrUnavailable after Close. It is used by one
	// goroutine, once.
	Wakes(ctx context.Context) iter.Seq2[[]string, error]
}

// The limits of a [Log]. A backend need not serve more, and bounds its memory by
// them.
const (
	// MaxLogKey is the greatest length of a key, in bytes.
	MaxLogKey = 1 << 10
	// MaxLogCap is the greatest Cap, and so the most entries that a key has.
	MaxLogCap = 1_000
	// MaxLogEntry is the greatest length of an entry, in bytes.
	MaxLogEntry = 64 << 10
	// MaxLogTTL is the longest TTL.
	MaxLogTTL = 366 * 24 * time.Hour
	// MaxLogName is the greatest length of a producer, a type or a member, in
	// bytes.
	MaxLogName = 512
	// MaxLogParts is the greatest number of Types, of Members and of Times that
	// a batch may have.
	MaxLogParts = 10_000
	// MaxLogCount is the greatest of each number in a batch. Sums are exact up
	// to 2^53.
	MaxLogCount = 1 << 32
	// MaxLogWake is the most keys that a wake-up names.
	MaxLogWake = 1_000
	// LogProducers is the number of producers that a key remembers.
	LogProducers = 256
	// LogTypes is the number of types, besides the empty one, that a key counts
	// apart.
	LogTypes = 64
	// LogBuckets is the number of buckets of a sparkline.
	LogBuckets = 60
)

// Position is a place in a key's stream. The zero Position is before all entries:
// that of a key that does not exist, and of a reader that has seen nothing.
type Position struct {
	// Epoch is never 0 for a key that exists, and has no order.
	Epoch uint64
	// Seq is the number of entries appended in the epoch so far.
	Seq int64
}

// LogBatch is what one producer has to say about one key. The slices belong to the
// caller again when the call returns.
type LogBatch struct {
	Key string
	// Producer is a random name, new whenever the producer starts: not empty,
	// at most MaxLogName bytes.
	Producer string
	// Number orders the producer's batches for the key. It starts at 1 or above
	// and rises, by any step.
	Number uint64
	// Cap is how many entries the key keeps, from 1 to MaxLogCap. Producers of
	// a key should agree; if they do not, each batch applies its own.
	Cap int
	// TTL is how long the key lives from here on, unless another batch follows:
	// from one millisecond to MaxLogTTL, rounded up to the next millisecond.
	TTL time.Duration

	// Added is how many entries the batch appends: it moves the position, and
	// adds to the total.
	Added int64
	// Entries are the newest of them, newest first: all, or Cap if there are
	// more. Any other number is invalid, as it would leave a hole.
	Entries [][]byte
	// Counted is added to the total and does not move the position: for what is
	// counted while nobody looks, and has no entries that anyone could miss.
	Counted int64

	// Types are added to the counts by type; a count of 0 changes nothing.
	Types []LogCount
	// Members are added to the set whose size is Unique, for instance users.
	Members []string
	// Bucket is the width of the sparkline's buckets, in whole milliseconds;
	// unused without Times. Buckets are cut at the multiples of their width
	// since the Unix epoch, so that all producers mean the same ones. A width
	// other than the last one starts the sparkline anew.
	Bucket time.Duration
	// Times are added to the sparkline. A time that is past the present bucket
	// counts in that one, since a producer's clock may be ahead; one that is
	// before the first bucket does not count.
	Times []LogTime
}

// LogCount is a number of events of one type.
type LogCount struct {
	Type  string
	Count int64
}

// LogTime is a number of events at about one time.
type LogTime struct {
	Time  time.Time
	Count int64
}

// LogHead is how far a key is.
type LogHead struct {
	// Outcome is Done or Unknown. A key that does not exist is Done, with the
	// other fields zero, as they are when it is Unknown.
	Outcome  Outcome
	Position Position
	// Total is the sum of all Added and Counted. A poller sees by it that
	// counts have changed although the position has not.
	Total int64
}

// LogSnapshot is all that is known of a key.
type LogSnapshot struct {
	Head LogHead
	// Entries are the newest first: the one at index i has the position
	// Head.Position.Seq-i. There are never more than Seq.
	Entries [][]byte
	// Unique is the number of distinct members, or an estimate: for up to a
	// thousand it is within five percent, beyond that a backend documents what
	// it does.
	Unique int64
	// Types are the counts by type, sorted by type.
	Types []LogCount
	// Spark has the present bucket last. Bucket is its width, 0 if the key has
	// no sparkline.
	Spark  [LogBuckets]int64
	Bucket time.Duration
	// Created is when the epoch began, by the backend's clock.
	Created time.Time
}

// LogAfter asks for what is newer than a position of a key.
type LogAfter struct {
	Key      string
	Position Position
}

// LogDelta answers a [LogAfter].
type LogDelta struct {
	Head LogHead
	// Entries are those newer than the position asked for, newest first: the
	// one at index i has the position Head.Position.Seq-i.
	Entries [][]byte
	// Missed is how many were appended after the position asked for, or after
	// the start of a new epoch, and are neither in Entries nor to be had again.
	Missed int64
	// Reset: the position asked for is not of this epoch, or is ahead of the
	// head. Entries and Missed then count from the start of the epoch. How much
	// of the old epoch the reader missed, nobody knows.
	Reset bool
}

// After returns what the snapshot has beyond a position. It is for readers that
// share a snapshot, and it defines what [Log] returns from its After. The result
// shares the entries.
func (s LogSnapshot) After(p Position) LogDelta {
	d := LogDelta{Head: s.Head}
	head := s.Head.Position
	seen := p.Seq
	if p.Epoch != head.Epoch || p.Seq < 0 || p.Seq > head.Seq {
		seen = 0
		// A reader that has seen nothing has nothing to start again.
		d.Reset = p != Position{}
	}
	fresh := head.Seq - seen
	n := min(fresh, int64(len(s.Entries)))
	d.Entries = s.Entries[:n:n]
	d.Missed = fresh - n
	return d
}

// Validate returns an error that wraps ErrInvalid if a part of the batch is beyond
// its limit, or if its entries would leave a hole.
func (b LogBatch) Validate() error {
	switch {
	case len(b.Key) > MaxLogKey:
		return fmt.Errorf("%w: log key over %d bytes", ErrInvalid, MaxLogKey)
	case b.Producer == "" || len(b.Producer) > MaxLogName:
		return fmt.Errorf("%w: producer of %d bytes", ErrInvalid, len(b.Producer))
	case b.Number == 0:
		return fmt.Errorf("%w: batch number 0", ErrInvalid)
	case b.Cap < 1 || b.Cap > MaxLogCap:
		return fmt.Errorf("%w: cap of %d entries", ErrInvalid, b.Cap)
	case b.TTL < time.Millisecond || b.TTL > MaxLogTTL:
		return fmt.Errorf("%w: time to live of %v", ErrInvalid, b.TTL)
	case !logCountValid(b.Added) || !logCountValid(b.Counted):
		return fmt.Errorf("%w: %d entries, %d counted", ErrInvalid, b.Added, b.Counted)
	case int64(len(b.Entries)) != min(b.Added, int64(b.Cap)):
		return fmt.Errorf("%w: %d entries for %d added under a cap of %d", ErrInvalid, len(b.Entries), b.Added, b.Cap)
	}
	return b.validateParts()
}

func (b LogBatch) validateParts() error {
	if max(len(b.Types), len(b.Members), len(b.Times)) > MaxLogParts {
		return fmt.Errorf("%w: over %d types, members or times", ErrInvalid, MaxLogParts)
	}
	for _, e := range b.Entries {
		if len(e) > MaxLogEntry {
			return fmt.Errorf("%w: entry of %d bytes", ErrInvalid, len(e))
		}
	}
	for _, c := range b.Types {
		if len(c.Type) > MaxLogName || !logCountValid(c.Count) {
			return fmt.Errorf("%w: type of %d bytes with %d events", ErrInvalid, len(c.Type), c.Count)
		}
	}
	for _, m := range b.Members {
		if len(m) > MaxLogName {
			return fmt.Errorf("%w: member of %d bytes", ErrInvalid, len(m))
		}
	}
	if len(b.Times) > 0 && (b.Bucket < time.Millisecond || b.Bucket%time.Millisecond != 0) {
		return fmt.Errorf("%w: sparkline buckets of %v", ErrInvalid, b.Bucket)
	}
	for _, c := range b.Times {
		if !logCountValid(c.Count) {
			return fmt.Errorf("%w: %d events at a time", ErrInvalid, c.Count)
		}
	}
	return nil
}

func logCountValid(n int64) bool { return n >= 0 && n <= MaxLogCount }

// Validate returns an error that wraps ErrInvalid if the key is too long or the
// position is below zero.
func (a LogAfter) Validate() error {
	if a.Position.Seq < 0 {
		return fmt.Errorf("%w: position %d", ErrInvalid, a.Position.Seq)
	}
	return ValidateLogKeys([]string{a.Key})
}

// ValidateLogKeys returns an error that wraps ErrInvalid if a key is too long.
func ValidateLogKeys(keys []string) error {
	for _, k := range keys {
		if len(k) > MaxLogKey {
			return fmt.Errorf("%w: log key over %d bytes", ErrInvalid, MaxLogKey)
		}
	}
	return nil
}
