package memory

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// tx is a transaction. It holds no lock between calls and changes nothing before
// Commit; it remembers what it read and wrote. Every call makes the transaction's
// own writes once more, looks, and takes them back. Commit makes them once more
// and keeps them if every read and every write still answers as it did: then the
// whole transaction might have run at that moment, so it is serializable.
type tx struct {
	db     *database
	name   string // the namespace
	events []event
	ended  bool
}

// event is one thing that a transaction has seen: a read and its results, or a
// write and what became of it.
type event struct {
	steps   []driver.Step
	results []driver.Result

	write  *driver.Write // nil for a read
	result driver.WriteResult
}

// Begin implements driver.Transactor.
func (s *Store) Begin(ctx context.Context) (driver.Tx, error) {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return nil, err
	}
	return &tx{db: s.db, name: s.name}, nil
}

// Read implements driver.Tx.
func (t *tx) Read(ctx context.Context, steps []driver.Step, _ driver.Stamp) ([]driver.Result, error) {
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	if err := t.usableLocked(ctx); err != nil {
		return nil, err
	}
	var log []change
	defer func() { t.db.undoLocked(log) }()
	if err := t.redoLocked(&log); err != nil {
		return nil, err
	}
	results, err := t.db.spaces[t.name].read(steps)
	if err != nil {
		return nil, err
	}
	t.events = append(t.events, event{steps: copySteps(steps), results: results})
	return results, nil
}

// Write implements driver.Tx. The results have no stamps: the moment of the writes
// is that of Commit.
func (t *tx) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	prepared, errs := prepareAll(writes, t.db.now)
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	if err := t.usableLocked(ctx); err != nil {
		return refuseAll(len(writes)), err
	}
	var log []change
	defer func() { t.db.undoLocked(log) }()
	if err := t.redoLocked(&log); err != nil {
		return refuseAll(len(writes)), err
	}
	results := make([]driver.WriteResult, len(writes))
	for i := range prepared {
		if errs[i] == nil {
			results[i], errs[i] = t.db.writeLocked(t.name, &prepared[i], &log)
		}
		if errs[i] != nil {
			results[i] = driver.WriteResult{Outcome: driver.Refused}
			continue
		}
		t.events = append(t.events, event{write: &prepared[i], result: results[i]})
	}
	return results, cmp.Or(errs...)
}

// Commit implements driver.Tx.
func (t *tx) Commit(ctx context.Context) (driver.Stamp, error) {
	t.db.mu.Lock()
	defer t.db.mu.Unlock()
	err := t.usableLocked(ctx)
	t.ended = true
	if err != nil {
		return "", err
	}
	var log []change
	if err := t.verifyLocked(&log); err != nil {
		t.db.undoLocked(log)
		return "", err
	}
	if len(log) == 0 {
		return t.db.stampLocked(), nil
	}
	return t.db.commitLocked(), nil
}

// Rollback implements driver.Tx. It does not need the context.
func (t *tx) Rollback(context.Context) error {
	if t.ended {
		return errEnded()
	}
	t.ended = true
	t.events = nil
	return nil
}

func (t *tx) usableLocked(ctx context.Context) error {
	if t.ended {
		return errEnded()
	}
	return t.db.usableLocked(ctx)
}

func errEnded() error {
	return fmt.Errorf("memory: the transaction has ended: %w", driver.ErrInvalid)
}

// redoLocked makes the transaction's writes, those that were done.
func (t *tx) redoLocked(log *[]change) error {
	for i := range t.events {
		e := &t.events[i]
		if e.write == nil || e.result.Outcome != driver.Done {
			continue
		}
		if err := t.rewriteLocked(e, log); err != nil {
			return err
		}
	}
	return nil
}

// verifyLocked makes the writes and repeats every look in its place.
func (t *tx) verifyLocked(log *[]change) error {
	for i := range t.events {
		e := &t.events[i]
		if e.write != nil {
			if err := t.rewriteLocked(e, log); err != nil {
				return err
			}
			continue
		}
		now, err := t.db.spaces[t.name].read(e.steps)
		if err != nil || !slices.EqualFunc(now, e.results, sameResult) {
			return fmt.Errorf("memory: what the transaction read has changed: %w", driver.ErrConflict)
		}
	}
	return nil
}

// rewriteLocked repeats a write. An outcome such as Exists is something that the
// transaction has seen, with the records that it came with.
func (t *tx) rewriteLocked(e *event, log *[]change) error {
	now, err := t.db.writeLocked(t.name, e.write, log)
	if err == nil && now.Outcome == e.result.Outcome && now.Index == e.result.Index &&
		sameObject(now.Object, e.result.Object) && sameEdge(now.Edge, e.result.Edge) &&
		sameObject(now.OldObject, e.result.OldObject) && sameEdge(now.OldEdge, e.result.OldEdge) {
		return nil
	}
	return fmt.Errorf("memory: a record of kind %q was changed by another writer: %w", e.write.Kind, driver.ErrConflict)
}

func sameResult(a, b driver.Result) bool {
	return slices.EqualFunc(a.Objects, b.Objects, sameObject) &&
		slices.Equal(a.Counts, b.Counts) &&
		slices.Equal(a.IDs, b.IDs) &&
		slices.EqualFunc(a.Keys, b.Keys, sameValues) &&
		slices.EqualFunc(a.Rows, b.Rows, func(a, b driver.Row) bool { return a.ID == b.ID && sameEdge(&a.Edge, &b.Edge) }) &&
		slices.EqualFunc(a.Lists, b.Lists, func(a, b []driver.Edge) bool {
			return slices.EqualFunc(a, b, func(a, b driver.Edge) bool { return sameEdge(&a, &b) })
		})
}

func sameValues(a, b []driver.Value) bool { return slices.EqualFunc(a, b, driver.Equal) }

func sameObject(a, b *driver.Object) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ID == b.ID && a.Version == b.Version && a.Deleting == b.Deleting
}

func sameEdge(a, b *driver.Edge) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.From == b.From && a.To == b.To && a.Version == b.Version
}

// copySteps copies what the caller may change after the call, which a filter and its
// columns are not.
func copySteps(steps []driver.Step) []driver.Step {
	steps = slices.Clone(steps)
	for i := range steps {
		steps[i].IDs = slices.Clone(steps[i].IDs)
		steps[i].Ends = slices.Clone(steps[i].Ends)
		steps[i].Order = slices.Clone(steps[i].Order)
		steps[i].After = slices.Clone(steps[i].After)
	}
	return steps
}
