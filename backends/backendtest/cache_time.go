package backendtest

import (
	"fmt"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// tokenDeadlines tests that each token has its own deadline.
func (r *cacheRig) tokenDeadlines() {
	const nothing = "rule 4: while a token stands Claim and Fill do nothing, also not for later"
	r.hold("expires", "t", r.short())
	r.hold("short, then long", "t", r.short())
	r.hold("short, then long", "u", long)
	r.hold("long, then short", "t", long)
	r.hold("long, then short", "u", r.short())
	r.hold("prolonged", "t", r.short())
	r.hold("prolonged", "t", long)
	r.hold("shortened", "t", long)
	r.hold("shortened", "t", r.short())
	r.hold("released", "t", r.short())
	r.hold("released", "u", long)
	r.filled("written", 1, "old")
	r.fill("written", "f", 1, "old as well")
	r.hold("written", "t", r.short())
	r.hold("claimed", "t", r.short())
	r.claimed(nothing, r.claim("claimed", "", 7), false)
	r.outcome(nothing, r.fill("claimed", "", 7, "early"), driver.Refused)
	r.pass()

	const own = "rule 5: a token stands until its own deadline and counts for nothing after it"
	r.state(own, "expires", driver.Empty)
	r.state(own, "short, then long", driver.Held)
	r.state(own, "long, then short", driver.Held)
	const again = "Hold gives a token that is there already the new deadline"
	r.state(again, "prolonged", driver.Held)
	r.state(again, "shortened", driver.Empty)

	r.state(nothing, "claimed", driver.Empty)
	r.outcome(nothing, r.fill("claimed", "", 7, "late"), driver.Refused)
	const dropped = "rule 3: Hold drops the version, and with it every value, for good"
	r.state(dropped, "written", driver.Empty)
	r.claim("written", "f", 2)
	r.value(dropped, "written", "", "")
	r.value(dropped, "written", "f", "")

	r.claimed("rule 5: an entry whose tokens have all expired is Empty", r.claim("expires", "", 5), true)
	r.claimed("rule 4: Claim does nothing while a token stands", r.claim("long, then short", "", 5), false)
	r.outcome("the outcome of Release is Done if the token was there", r.release("released", "u", ""), driver.Done)
	r.state("rule 5: an expired token does not keep the entry Held when the others are released", "released", driver.Empty)
}

// lostToken tests a release that comes after the token was lost:
//
//	W1 hold → token lost → R claim → R reads the old value → R fill →
//	W1 store write → W1 release: the value is stale and must go
func (r *cacheRig) lostToken() {
	const rule = "Release of a token that was lost is Refused and makes the entry Empty unless other tokens stand"
	r.hold("filled", "t", r.short())
	r.hold("taken over", "t", r.short())
	r.pass()
	r.filled("filled", 3, "stale")
	r.claim("filled", "f", 3)
	r.fill("filled", "f", 3, "stale as well")
	r.outcome(rule, r.release("filled", "t", "s1"), driver.Refused)
	got := r.lookup("filled", "")
	if got.State != driver.Empty || got.Stamp != "s1" {
		r.Errorf("%s, remembering the stamp: got %v with stamp %q", rule, got.State, got.Stamp)
	}
	r.claim("filled", "", 4)
	r.value("rule 3: values go with their version", "filled", "f", "")

	r.hold("taken over", "u", long)
	r.outcome(rule, r.release("taken over", "t", "s1"), driver.Refused)
	got = r.lookup("taken over", "")
	if got.State != driver.Held || got.Stamp != "s1" {
		r.Errorf("%s, remembering the stamp: got %v with stamp %q", rule, got.State, got.Stamp)
	}
	r.outcome(rule, r.release("never held", "t", ""), driver.Refused)
	r.state(rule, "never held", driver.Empty)
}

// leases tests the loading deadlines.
func (r *cacheRig) leases() {
	short := driver.Claim{Anchor: "a", Version: 1, Lease: r.short(), TTL: long}
	for _, field := range []string{"", "f"} {
		short.Field = field
		r.claimed("the first to claim a fragment loads it", r.claimFor(short), true)
		r.claimed("nobody else loads before the loading deadline", r.claim("b", field, 2), true)
		r.claimed("nobody else loads before the loading deadline", r.claim("b", field, 3), false)
	}
	r.pass()
	for _, field := range []string{"", "f"} {
		got := r.claim("a", field, 9)
		r.claimed("after the loading deadline the next claim takes over", got, true)
		if got.Version != 1 {
			r.Errorf("Claim takes a load over under the version that is there: version %d, want 1", got.Version)
		}
		r.claimed("the claim that takes over sets a new loading deadline", r.claim("a", field, 10), false)
		r.claimed("a loading deadline is each claim's own", r.claim("b", field, 4), false)
	}
	r.outcome("a late loader whose version still stands may fill", r.fill("a", "", 1, "late"), driver.Done)
	r.value("a late loader whose version still stands may fill", "a", "", "late")
}

// lives tests the times to live of versions and primary values.
func (r *cacheRig) lives() {
	brief := driver.Claim{Version: 1, Lease: long, TTL: r.short()}
	for _, brief.Anchor = range []string{"version", "refreshed"} {
		r.claimFor(brief)
	}
	r.outcome("Fill stores a value", r.fill("refreshed", "", 1, "new"), driver.Done)
	r.claim("value", "", 1)
	r.fillFor(driver.Fill{Anchor: "value", Version: 1, Value: []byte("old"), TTL: r.short()})
	r.claim("again", "", 1)
	r.fillFor(driver.Fill{Anchor: "again", Version: 1, Value: []byte("old"), TTL: r.short()})
	r.claim("again", "", 2)
	r.fill("again", "", 1, "new")
	r.claim("later claim", "", 1)
	brief.Anchor = "later claim"
	brief.Field = "f"
	r.claimFor(brief)
	r.pass()

	r.state("Claim.TTL is how long the entry lives if the claim makes it Versioned", "version", driver.Empty)
	r.value("Fill.TTL is how long the value lives", "value", "", "")
	r.value("Fill.TTL is how long the value lives, also beyond Claim.TTL", "refreshed", "", "new")
	r.value("a value that replaces another has a life of its own", "again", "", "new")
	r.state("the TTL of a claim that finds a version does not count", "later claim", driver.Versioned)
	got := r.claim("version", "", 2)
	if !got.Claimed || got.Version != 2 {
		r.Errorf("an entry that has expired is Empty: Claim gave %v, version %d", got.Claimed, got.Version)
	}
	r.outcome("Fill is Refused under a version that has expired", r.fill("version", "", 1, "stale"), driver.Refused)
}

// secondaryLife tests that a secondary value does not prolong the life of those
// that are there. Where time is real, a pause between the two fills would look
// like a failure; then it tries again.
func (r *cacheRig) secondaryLife() {
	for try := 0; ; try++ {
		anchor := fmt.Sprint("a", try)
		r.claim(anchor, "", 1)
		start := time.Now()
		r.fillFor(driver.Fill{Anchor: anchor, Field: "f", Version: 1, Value: []byte("first"), TTL: r.short(), Limit: 9})
		r.fillFor(driver.Fill{Anchor: anchor, Field: "g", Version: 1, Value: []byte("second"), TTL: long, Limit: 9})
		r.fillFor(driver.Fill{Anchor: anchor, Field: "f", Version: 1, Value: []byte("third"), TTL: long, Limit: 9})
		if r.h.Advance == nil && time.Since(start) > r.short()/2 && try < 20 {
			continue
		}
		r.value("a secondary value is stored", anchor, "g", "second")
		r.pass()
		const rule = "all secondary values of an anchor expire together: a later one does not prolong their life"
		r.value(rule, anchor, "f", "")
		r.value(rule, anchor, "g", "")
		r.state("secondary values expire without the version", anchor, driver.Versioned)
		r.outcome("a fragment that has expired can be filled again", r.fill(anchor, "g", 1, "new"), driver.Done)
		r.pass()
		r.value("secondary values stored after the others have expired have a life of their own", anchor, "g", "new")
		r.newVersionNewLife(anchor)
		return
	}
}

// newVersionNewLife tests that what is left of an old version's deadline does not
// end the life of the next version's values.
func (r *cacheRig) newVersionNewLife(anchor string) {
	anchor += " next"
	r.claim(anchor, "", 1)
	r.fillFor(driver.Fill{Anchor: anchor, Field: "f", Version: 1, Value: []byte("old"), TTL: r.short(), Limit: 9})
	r.hold(anchor, "t", long)
	r.release(anchor, "t", "s1") // something of the entry stays
	r.claim(anchor, "", 2)
	r.outcome("Fill stores a secondary value", r.fill(anchor, "f", 2, "new"), driver.Done)
	r.pass()
	r.value("the first secondary value of a version begins a new life", anchor, "f", "new")
}

// stamps tests that a stamp outlives whatever happens to the entry.
func (r *cacheRig) stamps() {
	for _, anchor := range []string{"idle", "held", "claimed", "filled", "again"} {
		r.hold(anchor, "t", long)
		r.release(anchor, "t", "s5")
	}
	r.hold("held", "u", r.short())
	r.claimFor(driver.Claim{Anchor: "claimed", Version: 1, Lease: long, TTL: r.short()})
	r.claim("filled", "", 1)
	r.fillFor(driver.Fill{Anchor: "filled", Version: 1, Value: []byte("v"), TTL: r.short()})
	r.hold("again", "u", long)
	if _, err := r.c.Release(r.Context(), []driver.Release{{Anchor: "again", Token: "u", Stamp: "s3", KeepStamp: r.short()}}); err != nil {
		r.Fatalf("Release: %v", err)
	}
	r.pass()
	for _, anchor := range []string{"idle", "held", "claimed", "filled", "again"} {
		if got := r.lookup(anchor, "").Stamp; got != "s5" {
			r.Errorf("%s: a stamp stays for KeepStamp or longer, and only a later one replaces it: got %q, want %q", anchor, got, "s5")
		}
	}
	if got := r.claim("idle", "", 1); got.Stamp != "s5" || got.State != driver.Versioned {
		r.Errorf("Claim makes an Empty entry Versioned, keeping its stamp: got %v with stamp %q", got.State, got.Stamp)
	}
	r.binaryStamps()
}

// binaryStamps tests that stamps are compared byte by byte and may be any bytes.
func (r *cacheRig) binaryStamps() {
	steps := []struct{ release, want driver.Stamp }{
		{"\x00\x00\x00\x09", "\x00\x00\x00\x09"},
		{"\x00\x00\x00\x10", "\x00\x00\x00\x10"},
		{"\x00\x00\x00\x0f", "\x00\x00\x00\x10"},
		{"\x00\x00\x00\x80", "\x00\x00\x00\x80"},
		{"\x00\x00\x00\x7f", "\x00\x00\x00\x80"},
		{"\x00\x00\x00\x80\x00", "\x00\x00\x00\x80\x00"},
		{"", "\x00\x00\x00\x80\x00"},
		{"\xff", "\xff"},
	}
	for _, step := range steps {
		r.hold("binary", "t", long)
		r.release("binary", "t", step.release)
		if got := r.lookup("binary", "").Stamp; got != step.want {
			r.Errorf("Release remembers the later stamp, byte by byte: after %q got %q, want %q", step.release, got, step.want)
		}
	}
}
