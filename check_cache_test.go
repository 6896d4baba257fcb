package graphcache_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// checkUntyped runs CheckCache.
func checkUntyped(t testing.TB, e *fixtureEngine, namespace string) *graphcache.CheckReport {
	t.Helper()
	report, err := graphcache.CheckCache(t.Context(), e.store, e.cache, namespace, &graphcache.CheckOptions{Rate: -1})
	fixtureMust(t, err)
	return report
}

// TestCheckCache: a check without the types finds what one with them does.
func TestCheckCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		checkShop(t, e)
		space, err := e.Namespace(t.Context(), "space")
		fixtureMust(t, err)
		lookWrite(t, e, "space", foreignItem(driver.Insert, "i01", "rome", 1))
		same := func(namespace string, g *graphcache.Graph) int {
			t.Helper()
			typed, err := g.Check(t.Context(), &graphcache.CheckOptions{Rate: -1})
			fixtureMust(t, err)
			untyped := checkUntyped(t, e, namespace)
			byKey := cmpopts.SortSlices(func(a, b graphcache.Finding) bool { return a.AnchorKey+a.FieldKey < b.AnchorKey+b.FieldKey })
			if diff := cmp.Diff(typed, untyped, byKey, cmpopts.IgnoreFields(graphcache.CheckReport{}, "Elapsed")); diff != "" {
				t.Errorf("namespace %q (-typed +untyped):\n%s", namespace, diff)
			}
			return untyped.Found()
		}
		if n := same("", e.Graph); n > 0 {
			t.Errorf("%d findings where nothing is wrong", n)
		}
		fixtureMust(t, checkRead(t.Context(), space))
		e.settle(t)
		if n := same("space", space); n > 0 {
			t.Errorf("%d findings in the namespace where nothing is wrong", n)
		}
		lookWrite(t, e, "space", foreignItem(driver.Replace, "i01", "oslo", 7))
		if n := same("space", space); n < 3 {
			t.Errorf("%d findings in the namespace, want those of an item", n)
		}
		lookWrite(t, e, "", foreignItem(driver.Replace, "i00", "kyiv", 98), foreignItem(driver.Replace, "i03", "kyiv", 99))
		lookWrite(t, e, "", driver.Write{Op: driver.Replace, Kind: "flag", Object: &driver.Object{ID: "f0", Version: 1}})
		if n := same("", e.Graph); n < 10 {
			t.Errorf("%d findings, want those of two items and a flag", n)
		}
	})
}

// TestCheckCacheLayouts: the values of each version of a program are compared in their own
// layout.
func TestCheckCacheLayouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type user struct {
			ID   graphcache.ID[user] `json:"id"`
			Name string              `json:"name"`
			New  int                 `json:"new"`
		}
		users := graphcache.NewObjectKind[user]("user")
		e := fixtureNew(t)
		e.seed(t, []fixtureUserID{"ann", "bob"})
		newer := e.withSchema(t, graphcache.NewSchema(users))
		e.name(t, "ann")
		e.name(t, "bob")
		e.settle(t)
		_, err := users.Get(t.Context(), newer, "ann")
		fixtureMust(t, err)
		newer.settle(t)
		checkFound(t, checkUntyped(t, e, ""))
		lookWrite(t, e, "", driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: "ann", Version: 1}})
		report := checkUntyped(t, e, "")
		checkFound(t, report, `stale: user "ann", object`)
		if report.Found() != 2 || report.Checked() != 3 || len(report.Skipped) > 0 {
			t.Errorf("want both versions' values of one user: %v", report)
		}
	})
}

// TestCheckCacheRefused: what cannot be checked.
func TestCheckCacheRefused(t *testing.T) {
	store, cache := memory.NewStore(nil), memory.NewCache(nil)
	if _, err := graphcache.CheckCache(t.Context(), store, cache, "", nil); !errors.Is(err, graphcache.ErrNotFound) {
		t.Errorf("a store that no program has used: error %v", err)
	}
	if _, err := graphcache.CheckCache(t.Context(), nil, cache, "", nil); !errors.Is(err, graphcache.ErrInvalid) {
		t.Errorf("no store: error %v", err)
	}
	if _, err := graphcache.CheckCache(t.Context(), store, nil, "", nil); !errors.Is(err, graphcache.ErrInvalid) {
		t.Errorf("no cache: error %v", err)
	}
	if _, err := graphcache.CheckCache(t.Context(), struct{ driver.Store }{store}, cache, "", nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a store without a ledger: error %v", err)
	}
	e := fixtureNew(t)
	if _, err := graphcache.CheckCache(t.Context(), e.store, struct{ driver.Cache }{e.cache}, "", nil); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a cache that is no scanner: error %v", err)
	}
	if _, err := graphcache.CheckCache(t.Context(), e.store, e.cache, "", &graphcache.CheckOptions{Kinds: []string{"nobody"}}); !errors.Is(err, graphcache.ErrSchema) {
		t.Errorf("a kind that there is not: error %v", err)
	}
}
