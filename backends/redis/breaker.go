package redis

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/sony/gobreaker/v2"
)

const (
	// breakerFailures is the number of pipelines in a row that fail before no more are
	// sent to a node.
	breakerFailures = 5
	// breakerPause is how long that lasts, give or take a quarter chosen at random, so
	// that processes do not come back all at once. Then one pipeline is let through,
	// and what becomes of it decides.
	breakerPause = 500 * time.Millisecond
)

// newBreaker returns the breaker of the node at an address: calls of a server that does
// not answer fail at once, and nobody waits for its time-outs.
func newBreaker(n *node, addr string) *gobreaker.TwoStepCircuitBreaker[any] {
	return gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Timeout:       breakerPause*3/4 + rand.N(breakerPause/2),
		ReadyToTrip:   func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		OnStateChange: func(_ string, from, to gobreaker.State) { n.breakerChanged(addr, from, to) },
	})
}

// breakerChanged counts an outage and logs every change. The probes of an outage are for
// debugging only: there is one every half second.
func (n *node) breakerChanged(addr string, from, to gobreaker.State) {
	level, what := slog.LevelDebug, "graphcache: redis is tried again"
	switch {
	case from == gobreaker.StateClosed:
		n.b.counters.opened.Add(1)
		level, what = slog.LevelWarn, "graphcache: redis does not answer: it is not asked for a while"
	case to == gobreaker.StateOpen:
		what = "graphcache: redis still does not answer"
	case to == gobreaker.StateClosed:
		level, what = slog.LevelInfo, "graphcache: redis answers again"
	}
	attrs := []slog.Attr{slog.String("node", addr), slog.String("from", from.String()), slog.String("to", to.String())}
	if last := n.last.Load(); to == gobreaker.StateOpen && last != nil {
		attrs = append(attrs, slog.Any("error", *last))
	}
	n.b.opts.Logger.LogAttrs(context.Background(), level, what, attrs...)
}
