package backendtest

import (
	"context"
	"errors"
	"fmt"

	"github.com/graphcache/graphcache/driver"
)

// FaultyStore is a driver.Store that does to the calls of another what its hook
// says, and counts them. Its namespace views and transactions share hook and
// counters.
//
// It always has the methods of driver.Transactor, driver.Ledger and driver.Indexer.
// If the store that it wraps has not, Begin and calls that would change a ledger fail,
// Capabilities says that there are no transactions, Look shows nothing, and every index is
// ready.
type FaultyStore struct {
	*Faults
	store driver.Store
}

var (
	_ driver.Store      = (*FaultyStore)(nil)
	_ driver.Transactor = (*FaultyStore)(nil)
	_ driver.Ledger     = (*FaultyStore)(nil)
	_ driver.Indexer    = (*FaultyStore)(nil)
)

// NewFaultyStore wraps a store. With a nil hook it only counts.
func NewFaultyStore(store driver.Store, hook Hook) *FaultyStore {
	return &FaultyStore{Faults: &Faults{hook: hook}, store: store}
}

// ID implements driver.Store.
func (s *FaultyStore) ID(ctx context.Context) (string, error) {
	return do(ctx, s.Faults, "ID", nil, func(ctx context.Context, _ []struct{}) (string, error) {
		return s.store.ID(ctx)
	}, nil)
}

// Ensure implements driver.Store.
func (s *FaultyStore) Ensure(ctx context.Context, schema driver.Schema) error {
	_, err := do(ctx, s.Faults, "Ensure", []driver.Schema{schema}, func(ctx context.Context, _ []driver.Schema) (struct{}, error) {
		return struct{}{}, s.store.Ensure(ctx, schema)
	}, nil)
	return err
}

// Read implements driver.Store.
func (s *FaultyStore) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	return do(ctx, s.Faults, "Read", steps, func(ctx context.Context, steps []driver.Step) ([]driver.Result, error) {
		return s.store.Read(ctx, steps, atLeast)
	}, nil)
}

// Write implements driver.Store.
func (s *FaultyStore) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	return do(ctx, s.Faults, "Write", writes, s.store.Write, refused(len(writes)))
}

// Namespace implements driver.Store.
func (s *FaultyStore) Namespace(name string) driver.Store {
	return &FaultyStore{Faults: s.Faults, store: s.store.Namespace(name)}
}

// Capabilities implements driver.Store.
func (s *FaultyStore) Capabilities() driver.Capabilities {
	c := s.store.Capabilities()
	if _, ok := s.store.(driver.Transactor); !ok {
		c.Transactions = false
	}
	return c
}

// Close implements driver.Store. It is neither shown to the hook nor counted.
func (s *FaultyStore) Close(ctx context.Context) error {
	return s.store.Close(ctx)
}

// Begin implements driver.Transactor.
func (s *FaultyStore) Begin(ctx context.Context) (driver.Tx, error) {
	transactor, ok := s.store.(driver.Transactor)
	if !ok {
		return nil, fmt.Errorf("backendtest: the store has no transactions: %w", driver.ErrInvalid)
	}
	tx, err := do(ctx, s.Faults, "Begin", nil, func(ctx context.Context, _ []struct{}) (driver.Tx, error) {
		return transactor.Begin(ctx)
	}, nil)
	if err != nil {
		return nil, err
	}
	return &faultyTx{faults: s.Faults, tx: tx}, nil
}

// Look implements driver.Ledger.
func (s *FaultyStore) Look(ctx context.Context) (driver.Look, error) {
	ledger, ok := s.store.(driver.Ledger)
	return do(ctx, s.Faults, "Look", nil, func(ctx context.Context, _ []struct{}) (driver.Look, error) {
		if !ok {
			return driver.Look{}, nil
		}
		return ledger.Look(ctx)
	}, nil)
}

// Owe implements driver.Ledger.
func (s *FaultyStore) Owe(ctx context.Context, entries []driver.JournalEntry) error {
	return doLedger(ctx, s, "Owe", entries, driver.Ledger.Owe)
}

// Settle implements driver.Ledger.
func (s *FaultyStore) Settle(ctx context.Context, entries []driver.JournalEntry) error {
	return doLedger(ctx, s, "Settle", entries, driver.Ledger.Settle)
}

// Register implements driver.Ledger.
func (s *FaultyStore) Register(ctx context.Context, entries []driver.RegistryEntry) error {
	return doLedger(ctx, s, "Register", entries, driver.Ledger.Register)
}

// Raise implements driver.Ledger.
func (s *FaultyStore) Raise(ctx context.Context, kinds []string, atLeast uint64) error {
	return doLedger(ctx, s, "Raise", kinds, func(l driver.Ledger, ctx context.Context, kinds []string) error {
		return l.Raise(ctx, kinds, atLeast)
	})
}

// doLedger makes a call that changes the ledger, if the store has one.
func doLedger[E any](ctx context.Context, s *FaultyStore, method string, batch []E, call func(driver.Ledger, context.Context, []E) error) error {
	ledger, ok := s.store.(driver.Ledger)
	if !ok {
		return fmt.Errorf("backendtest: the store has no ledger: %w", driver.ErrInvalid)
	}
	_, err := do(ctx, s.Faults, method, batch, func(ctx context.Context, batch []E) (struct{}, error) {
		return struct{}{}, call(ledger, ctx, batch)
	}, nil)
	return err
}

// Ready implements driver.Indexer. It is neither shown to the hook nor counted.
func (s *FaultyStore) Ready(kind, index string) bool {
	indexer, ok := s.store.(driver.Indexer)
	return !ok || indexer.Ready(kind, index)
}

// faultyTx is a transaction of a FaultyStore.
type faultyTx struct {
	faults *Faults
	tx     driver.Tx
}

// Read implements driver.Tx.
func (t *faultyTx) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	return do(ctx, t.faults, "Tx.Read", steps, func(ctx context.Context, steps []driver.Step) ([]driver.Result, error) {
		return t.tx.Read(ctx, steps, atLeast)
	}, nil)
}

// Write implements driver.Tx.
func (t *faultyTx) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	return do(ctx, t.faults, "Tx.Write", writes, t.tx.Write, refused(len(writes)))
}

// Commit implements driver.Tx. A commit that is never made is rolled back, since no
// other call may follow.
func (t *faultyTx) Commit(ctx context.Context) (driver.Stamp, error) {
	return do(ctx, t.faults, "Tx.Commit", nil, func(ctx context.Context, _ []struct{}) (driver.Stamp, error) {
		return t.tx.Commit(ctx)
	}, func(error) driver.Stamp {
		// The transaction is over either way; there is nobody to tell.
		_ = t.tx.Rollback(context.WithoutCancel(ctx))
		return ""
	})
}

// Rollback implements driver.Tx.
func (t *faultyTx) Rollback(ctx context.Context) error {
	_, err := do(ctx, t.faults, "Tx.Rollback", nil, func(ctx context.Context, _ []struct{}) (struct{}, error) {
		return struct{}{}, t.tx.Rollback(ctx)
	}, nil)
	return err
}

// refused makes the results of n writes that are never made. There are none if the
// caller cannot know that.
func refused(n int) func(err error) []driver.WriteResult {
	return func(err error) []driver.WriteResult {
		if errors.Is(err, driver.ErrUnknownOutcome) {
			return nil
		}
		results := make([]driver.WriteResult, n)
		for i := range results {
			results[i].Outcome = driver.Refused
		}
		return results
	}
}
