package redis

import (
	"cmp"
	"context"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// Snapshot implements driver.Log.
func (l *Log) Snapshot(ctx context.Context, keys []string) ([]driver.LogSnapshot, error) {
	if err := cmp.Or(driver.ValidateLogKeys(keys), l.ready(ctx)); err != nil {
		return nil, err
	}
	calls := make([]call, len(keys), 2*len(keys))
	for i, k := range keys {
		calls[i] = logSnapshotScript.run(l.b.key(k, logSuffix))
		calls[i].size += logReply
	}
	// The members' key has the epoch in it: it is asked for the one known.
	guesses := make([]logGuess, len(keys))
	for i, k := range keys {
		if e, ok := l.epoch(k); ok {
			guesses[i] = logGuess{e, len(calls)}
			calls = append(calls, l.unique(k, e))
		}
	}
	if err := l.read(ctx, calls); err != nil {
		return nil, err
	}
	r := logReading{l: l, keys: keys, snapshots: make([]driver.LogSnapshot, len(keys))}
	for i := range keys {
		members := r.read(i, &calls[i])
		switch g := guesses[i]; {
		case !members:
		case g.epoch == r.snapshots[i].Head.Position.Epoch:
			r.count(i, &calls[g.place])
		default:
			r.again = append(r.again, i)
		}
	}
	r.countAgain(ctx)
	if r.err != nil && !slices.ContainsFunc(r.snapshots, func(s driver.LogSnapshot) bool { return s.Head.Outcome != driver.Unknown }) {
		return nil, r.err
	}
	return r.snapshots, r.err
}

// logGuess is an epoch that a key may still have, and the place of the call that counts
// its members.
type logGuess struct {
	epoch uint64
	place int
}

// unique returns the call that counts the members of an epoch.
func (l *Log) unique(key string, epoch uint64) call {
	k := l.members(key, epoch)
	return call{key: k, cmd: goredis.NewIntCmd(noContext, "pfcount", k), size: len(k)}
}

// logReading is a call of Snapshot.
type logReading struct {
	l         *Log
	keys      []string
	snapshots []driver.LogSnapshot
	again     []int // whose members are still to be counted
	err       error // the first
}

// read reads what the script says about a key, and reports whether it has members.
func (r *logReading) read(i int, c *call) (members bool) {
	h, parts, err := logReplyOf(c, 5)
	if err != nil {
		r.err = firstOf(r.err, err)
		return false
	}
	s := &r.snapshots[i]
	s.Head = h.LogHead
	if parts == nil {
		return false
	}
	now, _ := parts[1].(int64)
	types, _ := parts[2].(string)
	spark, _ := parts[3].(string)
	s.Created = h.created
	s.Entries = logEntries(&h, parts[4])
	var typesOK, sparkOK bool
	s.Types, typesOK = parseTypes(types)
	s.Spark, s.Bucket, sparkOK = parseSpark(spark, now)
	if !typesOK || !sparkOK {
		r.l.b.counters.corrupt.Add(1)
	}
	return h.members
}

// count reads the number of a key's members. What cannot be counted has none.
func (r *logReading) count(i int, c *call) {
	err := c.failure()
	switch {
	case err == nil:
		r.snapshots[i].Unique = max(0, c.cmd.(*goredis.IntCmd).Val())
	case c.wrongType(), goredis.HasErrorPrefix(c.err(), "INVALIDOBJ"):
		r.l.b.counters.corrupt.Add(1)
	default:
		r.err = firstOf(r.err, err)
		r.snapshots[i] = driver.LogSnapshot{}
	}
}

// countAgain counts the members of the epochs that turned out to be others.
func (r *logReading) countAgain(ctx context.Context) {
	calls := make([]call, len(r.again))
	for n, i := range r.again {
		epoch := r.snapshots[i].Head.Position.Epoch
		calls[n] = r.l.unique(r.keys[i], epoch)
		r.l.setEpoch(r.keys[i], epoch)
	}
	if err := r.l.read(ctx, calls); err != nil {
		r.err = firstOf(r.err, err)
		for _, i := range r.again {
			r.snapshots[i] = driver.LogSnapshot{}
		}
		return
	}
	for n, i := range r.again {
		r.count(i, &calls[n])
	}
}

// parseTypes reads the counts by type, none if they cannot be read.
func parseTypes(raw string) (types []driver.LogCount, ok bool) {
	for raw != "" {
		if len(raw) < 2 || len(types) > driver.LogTypes {
			return nil, false
		}
		end := 2 + be16(raw)
		if len(raw) < end+8 {
			return nil, false
		}
		types = append(types, driver.LogCount{Type: raw[2:end], Count: int64(min(be64(raw[end:]), maxExact))})
		raw = raw[end+8:]
	}
	slices.SortFunc(types, func(a, b driver.LogCount) int { return cmp.Compare(a.Type, b.Type) })
	return types, true
}

// parseSpark reads a sparkline as it is at a time of the server, in milliseconds. There
// is none if it cannot be read.
func parseSpark(raw string, now int64) (spark [driver.LogBuckets]int64, bucket time.Duration, ok bool) {
	const longest = uint64(1<<63-1) / uint64(time.Millisecond)
	if raw == "" {
		return spark, 0, true
	}
	if len(raw) != 16+8*driver.LogBuckets || be64(raw) < 1 || be64(raw) > longest || be64(raw[8:]) > latest {
		return spark, 0, false
	}
	width := int64(be64(raw))
	gone := now/width - int64(be64(raw[8:]))
	if gone < -driver.LogBuckets {
		return spark, 0, false
	}
	for i := max(0, gone); i < driver.LogBuckets; i++ {
		at := 16 + 8*int(i)
		spark[i-max(0, gone)] = int64(min(be64(raw[at:]), maxExact))
	}
	return spark, time.Duration(width) * time.Millisecond, true
}
