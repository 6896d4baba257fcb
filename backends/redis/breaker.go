package redis

import (
	"context"
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

// newBreaker returns the breaker of the node at an address: calls of a server that does not answer fail
// at once, and nobody waits for its time-outs.
func newBreaker(n *node, addr string) *gobreaker.TwoStepCircuitBreaker[any] {
	return gobreaker.NewTwoStepCircuitBreaker[any](gobreaker.Settings{
		Timeout:     breakerPause*3/4 + rand.N(breakerPause/2),
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= breakerFailures },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			switch {
			case to == gobreaker.StateOpen && from == gobreaker.StateClosed:
				n.b.counters.opened.Add(1)
				n.b.opts.Logger.WarnContext(context.Background(), "graphcache: redis does not answer: it is not asked for a while", "node", addr, "error", *n.last.Load())
			case to == gobreaker.StateClosed:
				n.b.opts.Logger.InfoContext(context.Background(), "graphcache: redis answers again", "node", addr)
			}
		},
	})
}
