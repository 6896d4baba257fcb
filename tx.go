package graphcache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// Tx is a transaction: a [Conn] whose reads see its own writes and go to the store,
// and whose writes take effect together when [Graph.Tx] commits them. It may be
// used by several goroutines, one at a time at the store, until the function that
// it was passed to returns.
type Tx struct {
	g  *Graph
	mu sync.Mutex // protects what follows, and serialises the use of tx

	tx      driver.Tx
	anchors []anchor
	epoch   int64 // of the registry, by which they were computed
	err     error // the first failure after which the transaction must not commit
	ended   bool  // Commit or Rollback has been called
	kept    bool  // the writes were, or may have been, applied
	undo    []func()
}

func (t *Tx) conn() conn { return conn{g: t.g, tx: t} }

var errTxDone = fmt.Errorf("%w: the transaction has ended", ErrInvalid)

// Tx runs fn in a transaction and commits it if fn returns nil; else it returns what
// fn returned, and nothing has been written. If a record that fn wrote, or in a store
// whose transactions are serializable one that it read, has been changed by somebody
// else, fn runs again from the start in a new transaction, at most Options.MaxAttempts
// times; then Tx returns [ErrConflict]. So fn must have no other effects, or effects
// that may be repeated. What fn does through the graph, not through the Tx that it is
// given, is not part of the transaction.
//
// The reads of a transaction go to the store and leave the cache as it is. The
// anchors of all its writes are held right before the commit. If Tx returns
// [ErrUnknownOutcome] the commit may have been applied, all of it or nothing.
//
// A store that has no transactions says so before fn runs: the error wraps
// [errors.ErrUnsupported].
func (g *Graph) Tx(ctx context.Context, fn func(*Tx) error) (err error) {
	ctx, op := g.start(ctx, "tx", "")
	defer op.end(&err)
	var aborted error // what fn returned
	err = g.runTxs(ctx, func(t *Tx) error {
		if aborted = fn(t); aborted != nil {
			return errAborted
		}
		return nil
	})
	if errors.Is(err, errAborted) {
		return aborted
	}
	wrap(&err, "transaction", "", "")
	return err
}

var (
	// errAborted says that the function wants no commit.
	errAborted = errors.New("graphcache: transaction aborted")
	// errTxConflict says that the transaction lost against another and can run
	// again.
	errTxConflict = errors.New("graphcache: transaction conflict")
)

// runTxs runs fn in transactions until one commits.
func (g *Graph) runTxs(ctx context.Context, fn func(*Tx) error) error {
	store, ok := g.store.(driver.Transactor)
	if !ok || !g.store.Capabilities().Transactions {
		return fmt.Errorf("the store (%s) has no transactions: %w", g.store.Capabilities().Name, errors.ErrUnsupported)
	}
	return g.conn().attempts(ctx, func() (bool, error) {
		err := g.runTx(ctx, store, fn)
		if errors.Is(err, errTxConflict) {
			return false, nil
		}
		return true, err
	})
}

// runTx runs fn once.
func (g *Graph) runTx(ctx context.Context, store driver.Transactor, fn func(*Tx) error) error {
	if !g.shared.begin() {
		return errClosed
	}
	defer g.shared.end()
	epoch := g.shared.registry.epoch.Load()
	dtx, err := g.beginTx(ctx, store)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	t := &Tx{g: g, tx: dtx, epoch: epoch}
	defer t.rollback(ctx) // also when fn panics; no effect after a commit
	err = fn(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil && errors.Is(t.err, ErrConflict):
		return errTxConflict
	case err != nil:
		return err
	case t.err != nil:
		return fmt.Errorf("an operation in it failed: %w", t.err)
	}
	return t.commitLocked(ctx)
}

// beginTx starts a transaction under the deadline of a write.
func (g *Graph) beginTx(ctx context.Context, store driver.Transactor) (driver.Tx, error) {
	ctx, cancel := context.WithTimeout(ctx, g.shared.opts.WriteTimeout)
	defer cancel()
	return store.Begin(ctx)
}

// commitLocked holds the anchors of the writes and commits.
func (t *Tx) commitLocked(ctx context.Context) error {
	commit := func(ctx context.Context, s *session) (err error) {
		t.ended, t.kept = true, true
		s.stamp, err = t.tx.Commit(ctx)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrConflict):
			t.kept = false
			return errTxConflict
		case errors.Is(err, ErrUnavailable):
			t.kept = false
			return fmt.Errorf("commit: %w", err)
		}
		s.unknown = true
		return because(ErrUnknownOutcome, "commit", err)
	}
	if len(t.anchors) == 0 { // it only read; its reads are checked all the same
		ctx, cancel := context.WithTimeout(ctx, t.g.shared.opts.WriteTimeout)
		defer cancel()
		began, s := time.Now(), new(session)
		err := commit(ctx, s)
		t.g.shared.wrote(ctx, began, protocol.WriteStore, s.event())
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.g.shared.lookFirst(ctx); err != nil {
		return err
	}
	if t.epoch != t.g.shared.registry.epoch.Load() {
		return errTxConflict // there may be more anchors now
	}
	// Not by Graph.mutate, which refuses to begin anything once the graph is being
	// closed: Close waits for this transaction, so it may end as it would have.
	m := mutation{g: t.g, anchors: t.anchors, session: session{g: t.g, store: t.g.store}}
	return m.run(context.WithoutCancel(ctx), commit)
}

// rollback ends a transaction that was not committed, and gives the objects that it
// wrote their IDs and versions back, the last first.
func (t *Tx) rollback(ctx context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.kept {
		for _, undo := range slices.Backward(t.undo) {
			undo()
		}
	}
	if t.ended {
		return
	}
	t.ended = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.g.shared.opts.WriteTimeout)
	defer cancel()
	if err := t.tx.Rollback(ctx); err != nil {
		t.g.shared.opts.Logger.WarnContext(ctx, "graphcache: a transaction was not rolled back", "error", err)
	}
}

// fetch answers the requests from the store, as the transaction sees it.
func (t *Tx) fetch(ctx context.Context, reqs []request) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return errTxDone
	}
	pointers := make([]*request, len(reqs))
	for i := range reqs {
		pointers[i] = &reqs[i]
	}
	ctx, cancel := context.WithTimeout(ctx, t.g.shared.opts.LoadTimeout)
	defer cancel()
	values, errs, err := t.g.shared.readRequests(ctx, t.tx, pointers, "")
	if err != nil {
		return t.failLocked(err)
	}
	for i := range reqs {
		reqs[i].value, reqs[i].err = values[i], errs[i]
	}
	return firstError(reqs)
}

// read reads the steps as the transaction sees them.
func (t *Tx) read(ctx context.Context, steps []driver.Step) ([]driver.Result, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil, errTxDone
	}
	ctx, cancel := context.WithTimeout(ctx, t.g.shared.opts.LoadTimeout)
	defer cancel()
	results, err := t.g.shared.readSteps(ctx, t.tx, steps, "")
	return results, t.failLocked(err)
}

// mutate runs fn and remembers the anchors, to be held before the commit.
func (t *Tx) mutate(ctx context.Context, anchors []anchor, fn func(context.Context, *session) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return errTxDone
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	t.anchors = append(t.anchors, anchors...)
	ctx, cancel := context.WithTimeout(ctx, t.g.shared.opts.WriteTimeout)
	defer cancel()
	s := &session{g: t.g, store: t.tx, tx: true}
	if t.g.shared.opts.Cache != nil {
		s.held = make(map[anchor]bool, len(anchors))
		for _, a := range anchors {
			s.held[a] = true
		}
	}
	began := time.Now()
	err := fn(ctx, s)
	t.g.shared.wrote(ctx, began, protocol.WriteStore, s.event())
	t.anchors = append(t.anchors, s.unheld...)
	return t.failLocked(err)
}

// failLocked remembers an error of the store. One that only says what is there, or
// that an argument is wrong, does not spoil the transaction.
func (t *Tx) failLocked(err error) error {
	if err == nil {
		return nil
	}
	harmless := false
	for _, said := range []error{ErrNotFound, ErrExists, ErrInvalid, errChanged} {
		harmless = harmless || errors.Is(err, said)
	}
	// A backend's error may say both why and that it cannot be relied upon.
	if (!harmless || errors.Is(err, ErrUnavailable)) && t.err == nil {
		t.err = err
	}
	return err
}
