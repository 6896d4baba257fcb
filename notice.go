package graphcache

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// noticePeriod is how often a notice is logged at most.
const noticePeriod = time.Minute

// notice is an event that may come in floods. It is logged when it happens for the first
// time, and after that once a period at most, with how often it has happened since it was
// logged last.
type notice struct {
	next  atomic.Int64 // Unix nanoseconds before which it is not logged
	times atomic.Int64 // since it was logged
}

func (n *notice) log(l *slog.Logger, level slog.Level, what string, attrs ...slog.Attr) {
	n.times.Add(1)
	ctx, now, next := context.Background(), time.Now().UnixNano(), n.next.Load()
	if now < next || !l.Enabled(ctx, level) || !n.next.CompareAndSwap(next, now+int64(noticePeriod)) {
		return
	}
	l.LogAttrs(ctx, level, what, append(attrs, slog.Int64("times", n.times.Swap(0)))...)
}

// foundCorrupt counts a cached value that could not be read.
func (c *kindCounters) foundCorrupt(err error) {
	c.corrupt.Add(1)
	c.corruptNotice.log(c.logger, slog.LevelWarn, "graphcache: a cached value could not be read, and is replaced",
		slog.String("kind", c.kind), slog.Any("error", err))
}

// refused counts a value that was not stored in the cache.
func (c *kindCounters) refused(why string) {
	c.refusals.Add(1)
	c.refusalNotice.log(c.logger, slog.LevelDebug, "graphcache: a value was not cached",
		slog.String("kind", c.kind), slog.String("reason", why))
}

// refusedWrite counts a write whose anchors neither the cache nor the journal took.
func (c *kindCounters) refusedWrite(err error) {
	c.refusedWrites.Add(1)
	c.refusedNotice.log(c.logger, slog.LevelWarn, "graphcache: a write was refused",
		slog.String("kind", c.kind), slog.Any("error", err))
}

// lostHold counts a mark that the cache has lost.
func (c *kindCounters) lostHold() {
	c.lostHolds.Add(1)
	c.lostNotice.log(c.logger, slog.LevelWarn, "graphcache: the cache lost the mark of a write under way: what it changed may have been served as it was",
		slog.String("kind", c.kind))
}

// metUnheld counts a write that met a record which something else has changed.
func (c *kindCounters) metUnheld() {
	c.unheld.Add(1)
	c.unheldNotice.log(c.logger, slog.LevelWarn, "graphcache: something else writes the store: call Invalidate after such writes, or run Watch",
		slog.String("kind", c.kind))
}
