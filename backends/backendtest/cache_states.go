package backendtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
)

// modelFields are the fragments that cacheActs touches.
var modelFields = []string{"", "f", "g"}

// sequences does every sequence of three acts, each to an entry of its own, and
// compares every answer and the entry after every act with the model.
func (r *cacheRig) sequences() {
	acts := cacheActs()
	for i := range len(acts) * len(acts) * len(acts) {
		sequence := []cacheAct{acts[i/len(acts)/len(acts)], acts[i/len(acts)%len(acts)], acts[i%len(acts)]}
		anchor, m := fmt.Sprint("sequence ", i), newCacheModel()
		for n, act := range sequence {
			if m.repeats(act) {
				break
			}
			r.act(anchor, m, act, sequence[:n+1])
			if r.Failed() {
				return
			}
		}
	}
}

// act does one act to model and cache and compares.
func (r *cacheRig) act(anchor string, m *cacheModel, act cacheAct, done []cacheAct) {
	r.Helper()
	want := act.model(m)
	got := act.cache(r, anchor)
	if entry, ok := got.(driver.Entry); ok {
		got, want = settleDoubt(m, act, entry, want)
	}
	if diff := cmp.Diff(want, got); want != nil && diff != "" {
		r.Errorf("%s\nafter %s: answer (-want +got):\n%s", act.rule, names(done), diff)
	}
	r.compare(anchor, m, act.rule, done)
}

// compare looks at every fragment of the entry.
func (r *cacheRig) compare(anchor string, m *cacheModel, rule string, done []cacheAct) {
	r.Helper()
	lookups := make([]driver.Lookup, len(modelFields))
	for i, field := range modelFields {
		lookups[i] = driver.Lookup{Anchor: anchor, Field: field}
	}
	entries, err := r.c.Lookup(r.Context(), lookups)
	if err != nil || len(entries) != len(lookups) {
		r.Fatalf("Lookup: %d entries for %d, %v", len(entries), len(lookups), err)
	}
	for i, field := range modelFields {
		if m.doubtful && field != "" && entries[i].Value == nil {
			m.lose(field, entries[i].Loading)
		}
		if diff := cmp.Diff(m.see(field), entries[i]); diff != "" {
			r.Errorf("%s\nafter %s: %s (-want +got):\n%s", rule, names(done), fieldName(field), diff)
		}
	}
}

// lose makes the model agree to the loss of a value.
func (m *cacheModel) lose(field string, loading bool) {
	delete(m.values, field)
	m.loading[field] = loading
}

// settleDoubt lets a claim meet a secondary fragment that was lost.
func settleDoubt(m *cacheModel, act cacheAct, got driver.Entry, want any) (any, any) {
	if field := "f"; m.doubtful && got.Value == nil && act.name == "claim "+fieldName(field) {
		m.lose(field, got.Loading)
		return nil, nil
	}
	return got, want
}

// idempotent does every act twice in every state that two acts lead to: what the
// second time leaves must be what the first time left.
func (r *cacheRig) idempotent() {
	acts := cacheActs()
	for i := range len(acts) * len(acts) * len(acts) {
		first, second, act := acts[i/len(acts)/len(acts)], acts[i/len(acts)%len(acts)], acts[i%len(acts)]
		anchor, m := fmt.Sprint("twice ", i), newCacheModel()
		for _, act := range []cacheAct{first, second, act} {
			act.model(m)
			act.cache(r, anchor)
		}
		act.cache(r, anchor)
		r.compare(anchor, m, "rule 7: applying a batch twice is the same as once", []cacheAct{first, second, act, act})
		if r.Failed() {
			return
		}
	}
}

func names(acts []cacheAct) string {
	words := make([]string, len(acts))
	for i, act := range acts {
		words[i] = act.name
	}
	return strings.Join(words, ", ")
}

// batches checks that results come in the order asked and that elements do not
// touch each other.
func (r *cacheRig) batches() {
	const n = 500
	var claims []driver.Claim
	var fills []driver.Fill
	var lookups []driver.Lookup
	for i := range n {
		anchor := fmt.Sprint("batch ", i)
		claims = append(claims, driver.Claim{Anchor: anchor, Version: uint64(i + 1), Lease: long, TTL: long})
		version := uint64(i + 1 + i%2) // every second one is another's
		fills = append(fills, driver.Fill{Anchor: anchor, Version: version, Value: []byte(anchor), TTL: long})
		lookups = append(lookups, driver.Lookup{Anchor: anchor})
	}
	entries, err := r.c.Claim(r.Context(), claims)
	if err != nil || len(entries) != n {
		r.Fatalf("Claim: %d entries for %d, %v", len(entries), n, err)
	}
	outcomes, err := r.c.Fill(r.Context(), fills)
	if err != nil || len(outcomes) != n {
		r.Fatalf("Fill: %d outcomes for %d, %v", len(outcomes), n, err)
	}
	found, err := r.c.Lookup(r.Context(), lookups)
	if err != nil || len(found) != n {
		r.Fatalf("Lookup: %d entries for %d, %v", len(found), n, err)
	}
	for i := range n {
		wantOutcome, wantValue := driver.Done, lookups[i].Anchor
		if i%2 == 1 {
			wantOutcome, wantValue = driver.Refused, ""
		}
		if entries[i].Version != uint64(i+1) || outcomes[i] != wantOutcome || string(found[i].Value) != wantValue {
			r.Fatalf("a result has one element for each element asked, in the same order: element %d: %v %v %q",
				i, entries[i].Version, outcomes[i], found[i].Value)
		}
	}
	r.sameTwice()
	if entries, err := r.c.Lookup(r.Context(), nil); err != nil || len(entries) != 0 {
		r.Errorf("an empty batch has an empty result: got %v, %v", entries, err)
	}
}

// sameTwice puts the same entry into one batch several times.
func (r *cacheRig) sameTwice() {
	holds := []driver.Hold{
		{Anchor: "twice", Token: "t", TTL: long}, {Anchor: "other", Token: "t", TTL: long}, {Anchor: "twice", Token: "u", TTL: long},
	}
	if _, err := r.c.Hold(r.Context(), holds); err != nil {
		r.Fatalf("Hold: %v", err)
	}
	r.release("twice", "t", "")
	r.state("each element of a batch of holds adds its own token", "twice", driver.Held)
	r.release("twice", "u", "")
	r.state("when the last token is released the entry becomes Empty", "twice", driver.Empty)
	r.state("a token stands until it is released at its own entry", "other", driver.Held)
}

// canceled calls every method with a context that has ended.
func (r *cacheRig) canceled() {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	r.filled("full", 1, "value")
	calls := []struct {
		name string
		call func() (int, error)
	}{
		{"Lookup", func() (int, error) {
			entries, err := r.c.Lookup(ctx, []driver.Lookup{{Anchor: "full"}})
			return known(entries, func(e driver.Entry) bool { return e.State == driver.StateUnknown }), err
		}},
		{"Claim", func() (int, error) {
			entries, err := r.c.Claim(ctx, []driver.Claim{{Anchor: "a", Version: 1, Lease: long, TTL: long}})
			return known(entries, func(e driver.Entry) bool { return e.State == driver.StateUnknown }), err
		}},
		{"Fill", func() (int, error) {
			outcomes, err := r.c.Fill(ctx, []driver.Fill{{Anchor: "full", Version: 1, Value: []byte("new"), TTL: long}})
			return known(outcomes, isUnknown), err
		}},
		{"Hold", func() (int, error) {
			outcomes, err := r.c.Hold(ctx, []driver.Hold{{Anchor: "b", Token: "t", TTL: long}})
			return known(outcomes, isUnknown), err
		}},
		{"Release", func() (int, error) {
			outcomes, err := r.c.Release(ctx, []driver.Release{{Anchor: "b", Token: "t"}})
			return known(outcomes, isUnknown), err
		}},
	}
	for _, test := range calls {
		n, err := test.call()
		if err == nil {
			r.Errorf("%s: a call whose context has ended returns an error", test.name)
		}
		if n != 0 {
			r.Errorf("%s: an element that was not confirmed is Unknown", test.name)
		}
	}
}

func isUnknown(o driver.Outcome) bool { return o == driver.Unknown }

// known counts the results about which something is said.
func known[R any](results []R, unknown func(R) bool) int {
	n := 0
	for _, result := range results {
		if !unknown(result) {
			n++
		}
	}
	return n
}

// corrupt tests entries that the cache cannot parse.
func (r *cacheRig) corrupt() {
	if r.h.Corrupt == nil {
		r.Skip("the harness cannot corrupt an entry")
	}
	r.h.Corrupt(r.T, r.c, "a")
	seen := r.lookup("a", "")
	if seen.State != driver.Empty || len(seen.Corrupt) == 0 {
		r.Fatalf("an entry that cannot be parsed is Empty and comes with its raw content: got %v, %q", seen.State, seen.Corrupt)
	}
	claim := driver.Claim{Anchor: "a", Version: 7, Lease: long, TTL: long}
	r.claimed("Claim does not replace a corrupt entry without being given its bytes", r.claimFor(claim), false)
	claim.Replace = append([]byte("not "), seen.Corrupt...)
	r.claimed("Claim replaces only exactly the bytes in Replace", r.claimFor(claim), false)
	claim.Replace = seen.Corrupt
	got := r.claimFor(claim)
	r.claimed("Claim replaces an entry that is corrupt with the bytes in Replace", got, true)
	if got.State != driver.Versioned || got.Version != 7 {
		r.Errorf("Claim makes a corrupt entry Versioned with its Version: got %v %d", got.State, got.Version)
	}
	r.h.Corrupt(r.T, r.c, "b")
	r.hold("b", "t", long)
	r.state("Hold makes an entry Held whatever its state", "b", driver.Held)
	claim.Anchor = "b"
	r.claimed("a hold is never replaced as if it were corrupt", r.claimFor(claim), false)
	r.state("a hold is never replaced as if it were corrupt", "b", driver.Held)
}
