package streams

import (
	"context"
	"fmt"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Snapshot is what is known of a key.
type Snapshot[E any] struct {
	// Events are the newest first. They are shared with nobody.
	Events []Event[E]
	// Pos is the position of the newest event, from which [Stream.Tail] goes on.
	Pos Pos
	// Total is the number of events since the key came into being, at Created.
	Total   int64
	Created time.Time
	// Unique is the number of different members, an estimate beyond some
	// thousands; see Options.Member.
	Unique int64
	// Types are the numbers of events by type, sorted by type. There are up to 64 types
	// besides "", under which those that come later are counted.
	Types []TypeCount
	// Spark has the numbers of events in the last 60 intervals of length Bucket, the
	// present one last.
	Spark  [driver.LogBuckets]int64
	Bucket time.Duration
}

// TypeCount is the number of events of a type.
type TypeCount struct {
	Type  string
	Count int64
}

// Recent reads what is known of a key, in one round trip; Redis takes a second one when a
// process comes across a key with members for the first time, or in a new epoch. A key that does not exist, or has
// expired, has the zero Snapshot. The error wraps driver.ErrUnavailable if the log does not
// answer, and driver.ErrInvalid if the key is too long.
func (s *Stream[E]) Recent(ctx context.Context, key string) (Snapshot[E], error) {
	name, err := s.logKey(key)
	if err != nil {
		return Snapshot[E]{}, err
	}
	if s.closed.Load() {
		return Snapshot[E]{}, ErrClosed
	}
	s.stats.reads.Add(1)
	found, err := s.log.Snapshot(ctx, []string{name})
	if err != nil {
		return Snapshot[E]{}, fmt.Errorf("streams: recent of %.40q: %w", key, err)
	}
	return s.snapshotOf(&found[0]), nil
}

func (s *Stream[E]) snapshotOf(found *driver.LogSnapshot) Snapshot[E] {
	sn := Snapshot[E]{
		Events:  make([]Event[E], len(found.Entries)),
		Pos:     Pos(found.Head.Position),
		Total:   found.Head.Total,
		Created: found.Created,
		Unique:  found.Unique,
		Spark:   found.Spark,
		Bucket:  found.Bucket,
	}
	for i, entry := range found.Entries {
		sn.Events[i] = *s.opts.decode(entry, Pos{sn.Pos.Epoch, sn.Pos.Seq - int64(i)})
	}
	for _, t := range found.Types {
		sn.Types = append(sn.Types, TypeCount(t))
	}
	return sn
}
