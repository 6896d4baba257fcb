//go:build linux

package soak_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache"
)

// writing is a write that a client has under way. The hooks of store and cache find it in the
// context, with which the write goes through all its steps.
type writing struct {
	w      *worker
	owed   atomic.Bool // its anchors are in the journal
	mu     sync.Mutex
	states map[int]int64 // that it is to make, protected by mu
}

// begin notes that the write is about to make a state.
func (wr *writing) begin(seq int, n int64) {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	wr.states[seq] = n
	wr.w.shared.sequences[seq].begin(n, wr.w.plan.Place)
}

// owe notes that the anchors of the write are in the journal.
func (wr *writing) owe() {
	wr.owed.Store(true)
	wr.mu.Lock()
	defer wr.mu.Unlock()
	for seq, n := range wr.states {
		wr.w.shared.sequences[seq].owe(n, wr.w.plan.Place)
	}
}

// ack notes that the write was acknowledged.
func (wr *writing) ack() {
	wr.mu.Lock()
	defer wr.mu.Unlock()
	for seq, n := range wr.states {
		wr.w.shared.sequences[seq].ack(n, wr.w.plan.Place)
	}
}

type writingKey struct{}

func (w *worker) writing(ctx context.Context) (context.Context, *writing) {
	wr := &writing{w: w, states: make(map[int]int64)}
	return context.WithValue(ctx, writingKey{}, wr), wr
}

// writer is a client that writes.
type writer struct {
	w   *worker
	rng *rand.Rand
}

func (c *writer) write(ctx context.Context) {
	cell := c.rng.IntN(c.w.plan.Cells)
	switch kind := c.rng.IntN(100); {
	case c.w.plan.Lists:
		c.next(ctx, linkAt(cell, c.rng.IntN(cellHubs), c.rng.IntN(cellEnds)))
	case kind < 40:
		c.updateAccount(ctx, cell, c.rng.IntN(cellAccounts))
	case kind < 55:
		i := c.rng.IntN(cellAccounts)
		c.transfer(ctx, cell, i, (i+1+c.rng.IntN(cellAccounts-1))%cellAccounts)
	case kind < 75:
		c.next(ctx, thingAt(cell, c.rng.IntN(cellThings)))
	default:
		c.next(ctx, linkAt(cell, c.rng.IntN(cellHubs), c.rng.IntN(cellEnds)))
	}
}

// change is what a write does to an account.
type change struct {
	wr      *writing
	cell, i int
	amount  int64
}

func (ch *change) apply(n, balance *int64, group *string) error {
	*n++
	*balance += ch.amount
	*group = groupName(ch.cell, accountGroupOf(ch.i, *n))
	ch.wr.begin(accountAt(ch.cell, ch.i), *n)
	return nil
}

func (ch *change) update(ctx context.Context, conn graphcache.Conn) (err error) {
	if ch.wr.w.plan.Plain {
		_, err = plainAccounts.Update(ctx, conn, accountID[plainAccount](ch.cell, ch.i), func(a *plainAccount) error {
			return ch.apply(&a.N, &a.Balance, &a.Group)
		})
	} else {
		_, err = accounts.Update(ctx, conn, accountID[account](ch.cell, ch.i), func(a *account) error {
			return ch.apply(&a.N, &a.Balance, &a.Group)
		})
	}
	return err
}

// updateAccount writes an account as any process may: its version in the store keeps a write
// that comes late from being applied after another.
func (c *writer) updateAccount(ctx context.Context, cell, i int) {
	ctx, wr := c.w.writing(ctx)
	ch := change{wr: wr, cell: cell, i: i}
	err := ch.update(ctx, c.w.graph)
	if err == nil {
		wr.ack()
	}
	c.done(cWrites, wr, err)
}

// transfer moves an amount from one account to another.
func (c *writer) transfer(ctx context.Context, cell, from, to int) {
	ctx, wr := c.w.writing(ctx)
	amount := 1 + c.rng.Int64N(9)
	less := change{wr: wr, cell: cell, i: from, amount: -amount}
	more := change{wr: wr, cell: cell, i: to, amount: amount}
	err := c.w.graph.Tx(ctx, func(tx *graphcache.Tx) error {
		return errors.Join(less.update(ctx, tx), more.update(ctx, tx))
	})
	if err == nil {
		wr.ack()
	}
	c.done(cTxs, wr, err)
}

// next makes the next state of a thing or a link, which only this place writes. After a write
// of unknown outcome it waits until that can no longer be applied, and makes the same again.
func (c *writer) next(ctx context.Context, seq int) {
	w := c.w
	if seq%w.plan.Places != w.plan.Place || !w.busy[seq].TryLock() {
		return
	}
	defer w.busy[seq].Unlock()
	s := &w.shared.sequences[seq]
	if clock() < s.clear.Load() {
		return
	}
	n := s.acked.Load() + 1
	ctx, wr := w.writing(ctx)
	wr.begin(seq, n)
	err := w.make(ctx, seq, n)
	if errors.Is(err, graphcache.ErrNotFound) && !present(n) {
		err = nil // an earlier attempt has removed it
	}
	switch {
	case err == nil:
		wr.ack()
	case !withoutEffect(err) || !present(n): // removing takes several steps
		s.clear.Store(clock() + int64(w.plan.settle()))
	}
	c.done(cWrites, wr, err)
}

// make writes state n of a thing or a link.
func (w *worker) make(ctx context.Context, seq int, n int64) error {
	cell, i := seq/cellSize, seq%cellSize-cellAccounts
	if i < cellThings {
		if !present(n) {
			return things.Delete(ctx, w.graph, thingID(cell, i))
		}
		return things.Put(ctx, w.graph, &thing{ID: thingID(cell, i), N: n, Group: groupName(cell, thingGroupOf(i, n))})
	}
	i -= cellThings
	from, to := hubID(cell, i/cellEnds), endID(cell, i%cellEnds)
	if !present(n) {
		return links.Remove(ctx, w.graph, from, to)
	}
	_, err := links.AddEdge(ctx, w.graph, link{From: from, To: to, Time: time.UnixMilli(n).UTC(), Data: linkData{n}})
	return err
}

// done counts a write.
func (c *writer) done(what int, wr *writing, err error) {
	switch {
	case err == nil:
		c.w.count(what, 1)
		if wr.owed.Load() {
			c.w.count(cOwed, 1)
		}
	case withoutEffect(err):
		c.w.count(cRefused, 1)
		c.w.failed("refused", err)
	default:
		c.w.count(cAmbiguous, 1)
		c.w.failed("unknown", err)
	}
}

// finish writes everything that this place is to write once more, so that no write of
// unknown outcome is the last one of a record.
func (w *worker) finish(ctx context.Context) error {
	c := writer{w: w, rng: rand.New(rand.NewPCG(1, 2))}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for seq := w.plan.Place; seq < w.plan.Cells*cellSize; seq += w.plan.Places {
		s := &w.shared.sequences[seq]
		for before := s.acked.Load(); s.acked.Load() == before; {
			if ctx.Err() != nil {
				return fmt.Errorf("%s cannot be written", describe(seq, itself))
			}
			if i := seq % cellSize; i < cellAccounts {
				c.updateAccount(ctx, seq/cellSize, i)
			} else {
				c.next(ctx, seq)
			}
			if s.acked.Load() == before {
				time.Sleep(50 * time.Millisecond)
			}
		}
	}
	return nil
}
