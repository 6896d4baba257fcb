package backendtest

import (
	"context"
	"testing"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// CacheHarness is what [Cache] must know about an implementation.
type CacheHarness struct {
	// New returns an empty cache, apart from every other that is in use. The
	// suite closes it.
	New func(t *testing.T) driver.Cache
	// Advance moves the clock of the caches forward. Without it the suite lets
	// short deadlines pass in real time.
	Advance func(d time.Duration)
	// Corrupt makes the entry of the anchor one that the cache cannot parse.
	// Without it the suite does not test corrupt entries.
	Corrupt func(t *testing.T, c driver.Cache, anchor string)
}

// Cache tests a driver.Cache.
func Cache(t *testing.T, h CacheHarness) {
	tests := []struct {
		name string
		run  func(*cacheRig)
	}{
		{"Sequences", (*cacheRig).sequences},
		{"Idempotent", (*cacheRig).idempotent},
		{"TokenDeadlines", (*cacheRig).tokenDeadlines},
		{"LostToken", (*cacheRig).lostToken},
		{"Leases", (*cacheRig).leases},
		{"Lives", (*cacheRig).lives},
		{"SecondaryLife", (*cacheRig).secondaryLife},
		{"SecondaryLimit", (*cacheRig).secondaryLimit},
		{"Stamps", (*cacheRig).stamps},
		{"Values", (*cacheRig).values},
		{"Keys", (*cacheRig).keys},
		{"Ownership", (*cacheRig).ownership},
		{"Batches", (*cacheRig).batches},
		{"Context", (*cacheRig).canceled},
		{"Corrupt", (*cacheRig).corrupt},
		{"Scan", (*cacheRig).scan},
		{"OneClaimant", (*cacheRig).oneClaimant},
		{"Race", (*cacheRig).race},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := h.New(t)
			t.Cleanup(func() {
				if err := c.Close(context.WithoutCancel(t.Context())); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			test.run(&cacheRig{T: t, h: h, c: c})
		})
	}
}

// Durations of the suite: long never passes during a test, short does in pass.
const (
	long           = time.Hour
	shortByClock   = 10 * time.Second
	shortByWaiting = 400 * time.Millisecond
)

// cacheRig is a test with the cache that it is about.
type cacheRig struct {
	*testing.T
	h      CacheHarness
	c      driver.Cache
	timers int
}

// short is a duration that has passed after pass.
func (r *cacheRig) short() time.Duration {
	if r.h.Advance != nil {
		return shortByClock
	}
	return shortByWaiting
}

// pass returns when every deadline that was short before has passed. Without a
// clock to move, it sets one more of them and waits for that, so that it is the
// cache's clock that counts.
func (r *cacheRig) pass() {
	r.Helper()
	if r.h.Advance != nil {
		r.h.Advance(2 * shortByClock)
		return
	}
	r.timers++
	anchor := "timer " + string(rune('a'+r.timers))
	r.hold(anchor, "timer", r.short())
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); <-tick.C {
		if r.lookup(anchor, "").State != driver.Held {
			return
		}
	}
	r.Fatalf("rule 5: a token with a time to live of %v still stands after 30s", r.short())
}

func (r *cacheRig) lookup(anchor, field string) driver.Entry {
	r.Helper()
	entries, err := r.c.Lookup(r.Context(), []driver.Lookup{{Anchor: anchor, Field: field}})
	return one(r.T, "Lookup", entries, err)
}

func (r *cacheRig) claim(anchor, field string, version uint64) driver.Entry {
	r.Helper()
	return r.claimFor(driver.Claim{Anchor: anchor, Field: field, Version: version, Lease: long, TTL: long})
}

func (r *cacheRig) claimFor(claim driver.Claim) driver.Entry {
	r.Helper()
	entries, err := r.c.Claim(r.Context(), []driver.Claim{claim})
	return one(r.T, "Claim", entries, err)
}

func (r *cacheRig) fill(anchor, field string, version uint64, value string) driver.Outcome {
	r.Helper()
	return r.fillFor(driver.Fill{Anchor: anchor, Field: field, Version: version, Value: []byte(value), TTL: long, Limit: 100})
}

func (r *cacheRig) fillFor(fill driver.Fill) driver.Outcome {
	r.Helper()
	outcomes, err := r.c.Fill(r.Context(), []driver.Fill{fill})
	return one(r.T, "Fill", outcomes, err)
}

func (r *cacheRig) hold(anchor, token string, ttl time.Duration) {
	r.Helper()
	outcomes, err := r.c.Hold(r.Context(), []driver.Hold{{Anchor: anchor, Token: token, TTL: ttl}})
	if got := one(r.T, "Hold", outcomes, err); got != driver.Done {
		r.Fatalf("Hold adds the token whatever the state: outcome %v, want %v", got, driver.Done)
	}
}

func (r *cacheRig) release(anchor, token string, stamp driver.Stamp) driver.Outcome {
	r.Helper()
	outcomes, err := r.c.Release(r.Context(), []driver.Release{
		{Anchor: anchor, Token: token, Stamp: stamp, KeepStamp: long},
	})
	return one(r.T, "Release", outcomes, err)
}

// filled makes the entry Versioned with a primary value.
func (r *cacheRig) filled(anchor string, version uint64, value string) {
	r.Helper()
	r.claim(anchor, "", version)
	r.outcome("Fill stores the value (Done) if the entry has the fill's version", r.fill(anchor, "", version, value), driver.Done)
}

// state fails the test, naming the rule, if the entry is not in the state.
func (r *cacheRig) state(rule, anchor string, want driver.State) {
	r.Helper()
	if got := r.lookup(anchor, ""); got.State != want {
		r.Errorf("%s: the entry is %v, want %v", rule, got.State, want)
	}
}

// value fails the test if the fragment does not have the value; "" is none.
func (r *cacheRig) value(rule, anchor, field, want string) {
	r.Helper()
	if got := r.lookup(anchor, field); string(got.Value) != want {
		r.Errorf("%s: the value is %q, want %q", rule, got.Value, want)
	}
}

func (r *cacheRig) outcome(rule string, got, want driver.Outcome) {
	r.Helper()
	if got != want {
		r.Errorf("%s: outcome %v, want %v", rule, got, want)
	}
}

func (r *cacheRig) claimed(rule string, got driver.Entry, want bool) {
	r.Helper()
	if got.Claimed != want {
		r.Errorf("%s: claimed %v, want %v", rule, got.Claimed, want)
	}
}

// one returns the only result of a batch of one.
func one[R any](t *testing.T, method string, results []R, err error) R {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", method, err)
	}
	if len(results) != 1 {
		t.Fatalf("%s: a result has one element for each element asked: got %d for 1", method, len(results))
	}
	return results[0]
}
