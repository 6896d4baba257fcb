package mongo_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/mongo"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/mongotest"
)

// open returns a store in an empty database of the server.
func open(t testing.TB, s *mongotest.Server, o mongo.Options) *mongo.Store {
	t.Helper()
	o.Database = s.Database(t)
	return reopen(t, s, o)
}

// reopen returns a store in the database that the options name.
func reopen(t testing.TB, s *mongotest.Server, o mongo.Options) *mongo.Store {
	t.Helper()
	o.Plain = o.Plain || s.Lacks[mongotest.Lookup]
	if s.Lacks[mongotest.ConcurrentUpdates] {
		o.Batch, o.Concurrency = 40, 10
	}
	store, err := mongo.Open(t.Context(), s.URI, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close(context.WithoutCancel(t.Context())) })
	return store
}

func TestStore(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		databases := make(map[driver.Store]string)
		backendtest.Store(t, backendtest.StoreHarness{
			StoredUnique: true,
			Rounds:       rounds(s),
			Holds:        holds(s),
			Skip:         skips(s),
			New: func(t *testing.T) driver.Store {
				o := mongo.Options{Database: s.Database(t)}
				store := reopen(t, s, o)
				databases[store] = o.Database
				return store
			},
			Reopen: func(t *testing.T, there driver.Store) driver.Store {
				return reopen(t, s, mongo.Options{Database: databases[there]})
			},
		})
	})
}

// holds returns what the server can hold, nil for all.
func holds(s *mongotest.Server) func(driver.Value) bool {
	if !s.Lacks[mongotest.Decimal128] {
		return nil
	}
	// FerretDB cuts the connection at a NaN and a decimal, puts _id first in nested
	// documents, and takes an update for none that only gives the same values other
	// names ("remark" is an older one).
	return func(v driver.Value) bool {
		switch v := v.(type) {
		case uint64:
			return false
		case float64:
			return !math.IsNaN(v) && !math.IsInf(v, 0)
		case []driver.Value:
			return !slices.ContainsFunc(v, func(v driver.Value) bool {
				switch v.(type) {
				case []driver.Value, driver.Document:
					return true
				}
				return false
			})
		case driver.Document:
			return v[0].Name != "_id" && v[0].Name != "remark" && !strings.ContainsFunc(v[0].Name, func(r rune) bool { return unicode.IsControl(r) || r == ' ' })
		}
		return true
	}
}

// skips returns the tests that are about what the server lacks.
func skips(s *mongotest.Server) map[string]string {
	all := make(map[string]string)
	if s.Lacks[mongotest.ConcurrentUpdates] {
		all["Lists"] = fmt.Sprintf("%s would take half a minute; RandomLists asks for the same", s.Name)
	}
	if s.Lacks[mongotest.UniqueOnUpdate] {
		why := fmt.Sprintf("%s does not say which unique index a write would break, and answers an update that would with an internal error", s.Name)
		for _, test := range []string{"Rekind", "Unique", "UniqueEnsure", "UniqueOneWins", "UniqueRandom"} {
			all[test] = why
		}
	}
	return all
}

// rounds is how long random searches may take: FerretDB answers some hundred of them a second.
func rounds(s *mongotest.Server) int {
	if s.Lacks[mongotest.ConcurrentUpdates] {
		return 1
	}
	return 0
}
