package graphcache

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Conn is what every read and write takes: a [*Graph], or a [*Tx] to be part of a
// transaction.
type Conn interface {
	conn() conn
}

// conn is the way to the store: through the cache, or inside a transaction.
type conn struct {
	g    *Graph
	tx   *Tx   // nil outside a transaction
	peek *peek // set by Explain
}

func (g *Graph) conn() conn { return conn{g: g} }

// cached reports whether the cache may answer reads of the freshness.
func (c conn) cached(fresh Freshness) bool {
	return c.tx == nil && fresh != Fresh && c.g.shared.opts.Cache != nil
}

// fetch answers the requests.
func (c conn) fetch(ctx context.Context, reqs []request, fresh Freshness) (err error) {
	if span := c.g.shared.span(ctx); span != nil && len(reqs) > 0 {
		defer c.fetched(span, time.Now(), reqs, reqs[0].access(), fresh, &err)
	}
	if c.peek != nil {
		name(reqs)
		return c.peek.fetch(ctx, c, reqs, fresh)
	}
	if c.tx != nil {
		return c.tx.fetch(ctx, reqs)
	}
	return c.g.fetch(ctx, reqs, fresh)
}

// read reads the steps from the store itself, for a write that depends on what is
// there. What is written then is compared with what was read, so that only a
// reader who acts on what is not there needs a stamp.
func (c conn) read(ctx context.Context, steps ...driver.Step) ([]driver.Result, error) {
	return c.readAt(ctx, "", steps...)
}

// readAt is read of a state that is not before the stamp.
func (c conn) readAt(ctx context.Context, stamp driver.Stamp, steps ...driver.Step) (_ []driver.Result, err error) {
	if span := c.g.shared.span(ctx); span != nil {
		defer haveRead(span, time.Now(), steps, &err)
	}
	if c.tx != nil {
		return c.tx.read(ctx, steps)
	}
	if c.g.shared.isClosed() {
		return nil, errClosed
	}
	ctx, cancel := context.WithTimeout(ctx, c.g.shared.opts.LoadTimeout)
	defer cancel()
	return c.g.shared.readSteps(ctx, c.g.store, steps, stamp)
}

// mutate runs fn, which writes the store and touches only the anchors that touched
// returns.
func (c conn) mutate(ctx context.Context, touched func() []anchor, fn func(context.Context, *session) error) error {
	if c.tx != nil {
		return c.tx.mutate(ctx, touched(), fn)
	}
	return c.g.mutate(ctx, touched, fn)
}

// onRollback runs undo if what is being written is in a transaction that does not
// commit.
func (c conn) onRollback(undo func()) {
	if c.tx != nil {
		c.tx.mu.Lock()
		defer c.tx.mu.Unlock()
		c.tx.undo = append(c.tx.undo, undo)
	}
}

// attempts runs try until it reports that it is done, at most Options.MaxAttempts
// times, and then returns ErrConflict.
func (c conn) attempts(ctx context.Context, try func() (done bool, err error)) error {
	for i := range c.g.shared.opts.MaxAttempts {
		if err := backoff(ctx, i); err != nil {
			return err
		}
		if done, err := try(); done || err != nil {
			return err
		}
	}
	return ErrConflict
}

// backoff waits before an attempt after the first, a random time that grows to
// 32 ms.
func backoff(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return ctx.Err()
	}
	return sleep(ctx, rand.N(time.Millisecond<<min(attempt-1, 5)))
}

// sleep waits for d, or returns ctx's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
