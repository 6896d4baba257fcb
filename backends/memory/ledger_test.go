package memory_test

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// An entry of the registry that nobody has renewed for driver.RegistryTTL goes when another of
// its kind is registered.
func TestRegistryTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.NewStore(nil)
		register := func(kind, spec string) {
			t.Helper()
			if err := s.Register(t.Context(), []driver.RegistryEntry{{Kind: kind, Spec: spec}}); err != nil {
				t.Fatal(err)
			}
		}
		check := func(when string, want ...string) {
			t.Helper()
			look, err := s.Look(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range look.Registry {
				got = append(got, e.Kind+" "+e.Spec)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", when, diff)
			}
		}
		register("user", "a")
		register("user", "b")
		register("post", "a")
		time.Sleep(driver.RegistryTTL / 2)
		register("user", "a")
		time.Sleep(driver.RegistryTTL / 2)
		register("user", "c")
		check("b is as old as it may be", "post a", "user a", "user b", "user c")
		time.Sleep(time.Millisecond)
		register("user", "c")
		check("b is older", "post a", "user a", "user c")
		time.Sleep(2 * driver.RegistryTTL)
		check("nothing has been registered", "post a", "user a", "user c")
		register("user", "a")
		check("a was renewed late", "post a", "user a")
	})
}

// A ledger whose store is closed does nothing and says so.
func TestLedgerClosed(t *testing.T) {
	s := memory.NewStore(nil)
	view := s.Namespace("tenant").(driver.Ledger)
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, look := view.Look(t.Context())
	for call, err := range map[string]error{
		"Look": look, "Owe": view.Owe(t.Context(), nil), "Settle": view.Settle(t.Context(), nil),
		"Register": view.Register(t.Context(), nil), "Raise": view.Raise(t.Context(), nil, 0),
	} {
		if !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("%s of a store that is closed: %v", call, err)
		}
	}
}
