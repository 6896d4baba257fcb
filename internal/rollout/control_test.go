package rollout_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// lonelyStore shows a process what it has registered itself and nothing of others.
type lonelyStore struct {
	*backendtest.FaultyStore
	mu  sync.Mutex
	own map[driver.RegistryEntry]bool // without Ready
}

func (s *lonelyStore) Register(ctx context.Context, entries []driver.RegistryEntry) error {
	s.mu.Lock()
	for _, e := range entries {
		e.Ready = false
		s.own[e] = true
	}
	s.mu.Unlock()
	return s.FaultyStore.Register(ctx, entries)
}

func (s *lonelyStore) Look(ctx context.Context) (driver.Look, error) {
	look, err := s.FaultyStore.Look(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	look.Registry = slices.DeleteFunc(look.Registry, func(e driver.RegistryEntry) bool {
		e.Ready = false
		return !s.own[e]
	})
	return look, err
}

// hastyStore says of everything registered that it is ready.
type hastyStore struct{ *backendtest.FaultyStore }

func (s hastyStore) Look(ctx context.Context) (driver.Look, error) {
	look, err := s.FaultyStore.Look(ctx)
	for i := range look.Registry {
		look.Registry[i].Ready = true
	}
	return look, err
}

// TestControl hides from every process what others have registered. Wherever the registry is
// needed, the programs of TestVersions must find a wrong answer then, and nowhere else.
func TestControl(t *testing.T) {
	announce(t)
	lonely := func(s *backendtest.FaultyStore) driver.Store {
		return &lonelyStore{FaultyStore: s, own: map[driver.RegistryEntry]bool{}}
	}
	for _, s := range scenarios() {
		t.Run(s.name, func(t *testing.T) {
			most := 300
			if !s.needs {
				most = 5
			}
			switch found := spoiled(t, s, lonely, 8*steps, most); {
			case found && !s.needs:
				t.Error("a wrong answer, though this needs no registry")
			case !found && s.needs:
				t.Errorf("%d programs find nothing wrong", most)
			}
		})
	}
}

// TestControlReadiness has everything that is registered be ready at once. The programs must
// find a wrong answer: there are writers that do not know yet.
func TestControlReadiness(t *testing.T) {
	announce(t)
	hasty := func(s *backendtest.FaultyStore) driver.Store { return hastyStore{s} }
	for _, s := range scenarios() {
		switch s.name {
		case "new index", "index on another field", "compound index", "CacheScans on":
			t.Run(s.name, func(t *testing.T) {
				if !spoiled(t, s, hasty, steps/4, 1000) {
					t.Error("1000 programs find nothing wrong")
				}
			})
		}
	}
}

// spoiled reports whether one of the programs finds a wrong answer.
func spoiled(t *testing.T, s scenario, wrap func(*backendtest.FaultyStore) driver.Store, steps, most int) (found bool) {
	for i := range most {
		r := source(t, i)
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.wrap, w.steps = wrap, steps
			play(w, s, orders()[0], r)
			found = w.stale != ""
		})
		if found {
			t.Logf("program %d finds a wrong answer", i)
			return true
		}
	}
	return false
}
