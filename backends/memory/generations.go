package memory

import (
	"context"
	"maps"
)

// Generations implements driver.Generations.
func (s *Store) Generations(ctx context.Context) (map[string]uint64, error) {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return nil, err
	}
	return maps.Clone(s.db.generations), nil
}

// Raise implements driver.Generations. With an error nothing was raised.
func (s *Store) Raise(ctx context.Context, kinds []string, atLeast uint64) error {
	s.db.mu.Lock()
	defer s.db.mu.Unlock()
	if err := s.db.usableLocked(ctx); err != nil {
		return err
	}
	for _, kind := range kinds {
		s.db.generations[kind] = max(s.db.generations[kind]+1, atLeast)
	}
	return nil
}
