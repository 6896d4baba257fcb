package graphcache_test

import (
	"testing"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// TestHazardClaimBringsBack: a version that a write has dropped must not come back with
// the claim of a reader who saw it before the write, or a fill of another fragment of the
// anchor that was loaded before the write would be accepted after it.
func TestHazardClaimBringsBack(t *testing.T) {
	writer := shopNew(t)
	late, other := shopAnother(t, writer), shopAnother(t, writer)
	fixtureMust(t, shopFlags.Create(t.Context(), writer, &shopFlag{ID: "f", On: true}))
	ids := func(e *fixtureEngine, p graphcache.Predicate[shopFlag]) graphcache.IDs[shopFlag] {
		found, err := shopFlags.Where(p).IDs(t.Context(), e)
		fixtureMust(t, err)
		return found
	}

	// 1. one reader has loaded what is on, and its fill is late
	fill := late.stopAt(backendtest.On("Fill"))
	if got := ids(late, flagOn.Eq(true)); len(got) != 1 {
		t.Fatalf("before the write %q are on, want f", got)
	}
	fill.await(t)
	// 2. another one has looked up another search under the same version
	claim := other.stopAt(backendtest.On("Claim"))
	levels := fixtureGo(t, func() error {
		_, err := shopFlags.Where(flagLevel.Ge(0)).IDs(t.Context(), other)
		return err
	})
	claim.await(t)
	// 3. a write
	_, err := shopFlags.Apply(t.Context(), writer, "f", flagOn.Set(false))
	fixtureMust(t, err)
	// 4. the claim, and then the fill
	claim.Open()
	fixtureMust(t, levels())
	other.settle(t)
	fill.Open()
	late.settle(t)

	if got := ids(writer, flagOn.Eq(true)); len(got) != 0 {
		t.Errorf("after the write %q are on, want none", got)
	}
}

// TestHazardClaimGivenBack: a claim whose answer was lost may have been granted under the
// version that the entry had. It is given back under that one too, or the next reader
// would wait for a load that is not coming.
func TestHazardClaimGivenBack(t *testing.T) {
	e := shopNew(t)
	other := shopAnother(t, e)
	fixtureMust(t, shopFlags.Create(t.Context(), e, &shopFlag{ID: "f", On: true}))
	if _, err := shopFlags.Where(flagOn.Eq(true)).IDs(t.Context(), e); err != nil { // the entry has a version now
		t.Fatal(err)
	}
	e.settle(t)
	q := shopFlags.Where(flagLevel.Ge(0))
	e.on(func(c fixtureCall) backendtest.Fault {
		if c.Method == "Claim" {
			return backendtest.Fault{Action: backendtest.DropReply}
		}
		return backendtest.Fault{}
	})
	_, err := q.IDs(t.Context(), e)
	fixtureMust(t, err)
	e.settle(t)

	ids, err := q.IDs(t.Context(), other)
	fixtureMust(t, err)
	if len(ids) != 1 {
		t.Errorf("%q are found, want f", ids)
	}
	// One look-up, or two if it had to wait: a wait would go on for a lease.
	if n := other.fcache.Calls("Lookup"); n != 1 {
		t.Errorf("the next reader looked %d times, want once", n)
	}
}
