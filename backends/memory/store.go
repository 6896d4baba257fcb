package memory

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// DefaultMaxRecords is the number of records that a [Store] accepts unless its
// options say otherwise.
const DefaultMaxRecords = 10_000_000

// StoreOptions are the options of [NewStore]. The zero StoreOptions, and nil,
// consist entirely of default values.
type StoreOptions struct {
	// Now is the clock that gives edges without a time theirs. Defaults to
	// time.Now. It must be safe for concurrent use.
	Now func() time.Time
	// MaxRecords bounds the number of objects and edges in all namespaces
	// together; one more is refused with an error that wraps
	// driver.ErrUnavailable. Defaults to DefaultMaxRecords; -1 is no bound.
	MaxRecords int
}

// Store is a driver.Store in memory, with transactions and a ledger. A store and its
// namespace views share one lock: each Read, and each Write batch, sees one state.
type Store struct {
	db   *database
	name string // the namespace
}

var (
	_ driver.Store      = (*Store)(nil)
	_ driver.Transactor = (*Store)(nil)
	_ driver.Ledger     = (*Store)(nil)
)

// database is what a store shares with its namespace views.
type database struct {
	id         string
	now        func() time.Time
	maxRecords int // negative: no bound

	mu      sync.RWMutex // protects what follows, and all that it leads to
	closed  bool
	commits uint64
	records int
	spaces  map[string]*space
	ledger  ledger
}

// NewStore returns an empty store.
func NewStore(options *StoreOptions) *Store {
	var o StoreOptions
	if options != nil {
		o = *options
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxRecords == 0 {
		o.MaxRecords = DefaultMaxRecords
	}
	return &Store{db: &database{
		id:         rand.Text(),
		now:        o.Now,
		maxRecords: o.MaxRecords,
		spaces:     make(map[string]*space),
		ledger:     newLedger(),
	}}
}

// ID returns the random identity that NewStore gave the store.
func (s *Store) ID(ctx context.Context) (string, error) {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return "", err
	}
	return s.db.id, nil
}

// Ensure declares the kinds of a schema in the store's namespace.
func (s *Store) Ensure(ctx context.Context, schema driver.Schema) error {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return err
	}
	sp := s.db.spaces[s.name]
	if sp == nil {
		sp = newSpace()
		s.db.spaces[s.name] = sp
	}
	return sp.declare(schema)
}

// Read implements driver.Store. The whole batch is answered from one state.
func (s *Store) Read(ctx context.Context, steps []driver.Step, _ driver.Stamp) ([]driver.Result, error) {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return nil, err
	}
	return s.db.spaces[s.name].read(steps)
}

// Write implements driver.Store. No Read sees a part of the batch.
func (s *Store) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	prepared, errs := prepareAll(writes, s.db.now)
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return refuseAll(len(writes)), err
	}
	results := make([]driver.WriteResult, len(writes))
	for i := range prepared {
		if errs[i] == nil {
			results[i], errs[i] = s.db.writeLocked(s.name, &prepared[i], nil)
		}
		switch {
		case errs[i] != nil:
			results[i] = driver.WriteResult{Outcome: driver.Refused}
		case results[i].Outcome == driver.Done:
			results[i].Stamp = s.db.commitLocked()
		}
	}
	return results, cmp.Or(errs...)
}

// Namespace returns the view of that name. Names are not nested: the view of a
// view is that of the store.
func (s *Store) Namespace(name string) driver.Store {
	return &Store{db: s.db, name: name}
}

// Capabilities implements driver.Store.
func (s *Store) Capabilities() driver.Capabilities {
	return driver.Capabilities{Name: "memory", Stamps: true, Transactions: true}
}

// Close drops the data; every later call fails. Closing a namespace view does
// nothing.
func (s *Store) Close(context.Context) error {
	if s.name != "" {
		return nil
	}
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	s.db.closed = true
	s.db.records = 0
	clear(s.db.spaces)
	return nil
}

// usableLocked returns the reason why a call cannot be served. Such a call has no
// effect, and its error says so.
func (db *database) usableLocked(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memory: %w: %w", driver.ErrUnavailable, err)
	}
	if db.closed {
		return fmt.Errorf("memory: the store is closed: %w", driver.ErrUnavailable)
	}
	return nil
}

// commitLocked advances the logical clock and returns the new moment.
func (db *database) commitLocked() driver.Stamp {
	db.commits++
	return db.stampLocked()
}

func (db *database) stampLocked() driver.Stamp {
	return driver.Stamp(binary.BigEndian.AppendUint64(nil, db.commits))
}

func refuseAll(n int) []driver.WriteResult {
	results := make([]driver.WriteResult, n)
	for i := range results {
		results[i].Outcome = driver.Refused
	}
	return results
}
