package memory

import (
	"context"
	"maps"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// ledger is what implements driver.Ledger, under the lock of the database.
type ledger struct {
	journal     map[journalKey]driver.JournalEntry
	registry    map[string]map[string]registered // by kind and spec
	generations map[string]uint64
}

type journalKey struct{ anchor, owner string }

type registered struct {
	ready   bool
	renewed time.Time
}

func newLedger() ledger {
	return ledger{map[journalKey]driver.JournalEntry{}, map[string]map[string]registered{}, map[string]uint64{}}
}

// Look implements driver.Ledger. It is all of one moment.
func (s *Store) Look(ctx context.Context) (driver.Look, error) {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return driver.Look{}, err
	}
	l := &s.db.ledger
	look := driver.Look{Generations: maps.Clone(l.generations), Stamp: s.db.stampLocked()}
	for _, e := range l.journal {
		look.Journal = append(look.Journal, e)
	}
	for kind, specs := range l.registry {
		for spec, r := range specs {
			look.Registry = append(look.Registry, driver.RegistryEntry{Kind: kind, Spec: spec, Ready: r.ready})
		}
	}
	return look, nil
}

// Owe implements driver.Ledger. With an error nothing was added.
func (s *Store) Owe(ctx context.Context, entries []driver.JournalEntry) error {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return err
	}
	for _, e := range entries {
		s.db.ledger.journal[journalKey{e.Anchor, e.Owner}] = e
	}
	return nil
}

// Settle implements driver.Ledger. With an error nothing was removed.
func (s *Store) Settle(ctx context.Context, entries []driver.JournalEntry) error {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return err
	}
	for _, e := range entries {
		key := journalKey{e.Anchor, e.Owner}
		if there, ok := s.db.ledger.journal[key]; ok && there.Token == e.Token {
			delete(s.db.ledger.journal, key)
		}
	}
	return nil
}

// Register implements driver.Ledger. With an error nothing was changed.
func (s *Store) Register(ctx context.Context, entries []driver.RegistryEntry) error {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return err
	}
	now := time.Now()
	fresh := map[string]bool{} // kinds of which nothing was registered
	for _, e := range entries {
		specs := s.db.ledger.registry[e.Kind]
		if specs == nil {
			specs, fresh[e.Kind] = map[string]registered{}, true
			s.db.ledger.registry[e.Kind] = specs
		}
		specs[e.Spec] = registered{e.Ready || fresh[e.Kind] || specs[e.Spec].ready, now}
	}
	for _, e := range entries {
		maps.DeleteFunc(s.db.ledger.registry[e.Kind], func(_ string, r registered) bool {
			return now.Sub(r.renewed) > driver.RegistryTTL
		})
	}
	return nil
}

// Raise implements driver.Ledger. With an error nothing was raised.
func (s *Store) Raise(ctx context.Context, kinds []string, atLeast uint64) error {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return err
	}
	for _, kind := range kinds {
		g := s.db.ledger.generations
		g[kind] = max(g[kind]+1, atLeast)
	}
	return nil
}
