package backendtest

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// secondaryLimit tests that an anchor has at most Limit secondary values.
func (r *cacheRig) secondaryLimit() {
	fill := func(field string, version uint64) driver.Outcome {
		return r.fillFor(driver.Fill{Anchor: "a", Field: field, Version: version, Value: []byte(field), TTL: long, Limit: 2})
	}
	const rule = "an anchor has at most Limit secondary values"
	r.claim("a", "", 1)
	r.claim("a", "loading", 1)
	r.claim("a", "loading too", 1)
	r.claim("a", "loading as well", 1)
	r.outcome(rule+", loading deadlines not counted", fill("f", 1), driver.Done)
	r.outcome(rule+", loading deadlines not counted", fill("g", 1), driver.Done)
	r.outcome(rule, fill("h", 1), driver.Refused)
	r.value(rule, "a", "h", "")
	r.refusedFill(2)
	r.outcome(rule+"; one in the place of another is not one more", fill("f", 1), driver.Done)
	r.outcome(rule+"; the primary does not count", r.fillFor(
		driver.Fill{Anchor: "a", Version: 1, Value: []byte("p"), TTL: long, Limit: 2}), driver.Done)
	r.value(rule+"; those that are there stay", "a", "g", "g")

	r.hold("a", "t", long)
	r.release("a", "t", "s1") // something of the entry stays
	r.claim("a", "", 2)
	r.outcome(rule+"; those of an earlier version do not count", fill("h", 2), driver.Done)
	r.value(rule+"; those of an earlier version do not count", "a", "h", "h")
}

// refusedFill tests that nobody waits for a value that was refused although its
// version is right. The entry has version 1 and as many secondary values as the limit
// allows.
func (r *cacheRig) refusedFill(limit int) {
	const rule = "a Fill that is Refused although the version is right removes the loading deadline"
	fill := func(version uint64) driver.Outcome {
		return r.fillFor(driver.Fill{Anchor: "a", Field: "late", Version: version, Value: []byte("v"), TTL: long, Limit: limit})
	}
	for range 2 { // a second load ends like the first
		r.claimed(rule+", so the next reader may load", r.claim("a", "late", 1), true)
		if !r.lookup("a", "late").Loading {
			r.Errorf("a fragment that was claimed has a loading deadline: it has none")
		}
		r.outcome("a Fill of another version is Refused", fill(2), driver.Refused)
		if !r.lookup("a", "late").Loading {
			r.Errorf("a Fill of another version leaves the loading deadline: it is gone")
		}
		r.outcome("an anchor has at most Limit secondary values", fill(1), driver.Refused)
		if got := r.lookup("a", "late"); got.Loading || got.Version != 1 {
			r.Errorf("%s, and nothing else: loading %v, version %d, want false and 1", rule, got.Loading, got.Version)
		}
		if !r.lookup("a", "loading").Loading {
			r.Errorf("%s of that fragment only: another one's is gone", rule)
		}
	}
}

// values tests that any bytes come back as they were.
func (r *cacheRig) values() {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	tests := []struct {
		name  string
		value []byte
	}{
		{"empty", []byte{}},
		{"every byte", every},
		{"zeros", make([]byte, 40)},
		{"256 KiB", bytes.Repeat(every, 1024)},
	}
	for _, test := range tests {
		for _, field := range []string{"", "f"} {
			anchor := test.name + field
			r.claim(anchor, field, 1<<63+5)
			r.outcome("Fill stores a value", r.fillFor(driver.Fill{
				Anchor: anchor, Field: field, Version: 1<<63 + 5, Value: test.value, TTL: long, Limit: 9,
			}), driver.Done)
			got := r.lookup(anchor, field)
			if got.Value == nil || !bytes.Equal(got.Value, test.value) || got.Version != 1<<63+5 {
				r.Errorf("%s, %s: Lookup returns the value that was filled, not nil, and its version: got %d bytes (nil: %v), version %d",
					test.name, fieldName(field), len(got.Value), got.Value == nil, got.Version)
			}
			r.claimed("an empty value is a value", r.claim(anchor, field, 2), false)
		}
	}
}

// keys tests that anchors and fields are arbitrary bytes and never run together.
func (r *cacheRig) keys() {
	keys := []driver.Lookup{
		{Anchor: "a", Field: "bc"}, {Anchor: "ab", Field: "c"}, {Anchor: "abc", Field: ""},
		{Anchor: "a", Field: ""}, {Anchor: "a:b", Field: "c"}, {Anchor: "a", Field: "b:c"},
		{Anchor: "{a}", Field: "x"}, {Anchor: "{a", Field: "x"}, {Anchor: "a}", Field: "x"}, {Anchor: "{}", Field: "x"},
		{Anchor: "\x00", Field: "\x00"}, {Anchor: "\x00\x00", Field: "\xff"}, {Anchor: "\xff\xfe", Field: "v"},
		{Anchor: "a\r\nb", Field: "\n"}, {Anchor: "*?[a-z]", Field: "*"},
		{Anchor: strings.Repeat("k", 32<<10), Field: strings.Repeat("f", 32<<10)},
		{Anchor: strings.Repeat("k", 2047), Field: strings.Repeat("f", 2047)},
	}
	for i, key := range keys {
		entry := r.claim(key.Anchor, key.Field, uint64(i+1))
		r.outcome("anchors and fields are arbitrary bytes", r.fill(key.Anchor, key.Field, entry.Version, fmt.Sprint("value ", i)), driver.Done)
	}
	for i, key := range keys {
		r.value(fmt.Sprintf("different keys are different fragments: %.20q %.20q", key.Anchor, key.Field),
			key.Anchor, key.Field, fmt.Sprint("value ", i))
	}
	token := strings.Repeat("\xff", 64)
	r.hold("\x00", token, long)
	r.hold("\x00", token[1:], long)
	r.outcome("a token is any bytes, at most 64", r.release("\x00", token, ""), driver.Done)
	r.state("tokens that differ in length are different", "\x00", driver.Held)
	r.outcome("a token is any bytes, at most 64", r.release("\x00", token[1:], ""), driver.Done)
	r.state("when the last token is released the entry becomes Empty", "\x00", driver.Empty)
}

// ownership tests that values are copied in and never change afterwards.
func (r *cacheRig) ownership() {
	for _, field := range []string{"", "f"} {
		r.claim("a", field, 1)
		value := []byte("value")
		r.fillFor(driver.Fill{Anchor: "a", Field: field, Version: 1, Value: value, TTL: long, Limit: 9})
		copy(value, "XXXXX")
		r.value("a slice that is passed in belongs to the caller again when the call returns", "a", field, "value")
		got := r.lookup("a", field)
		r.fill("a", field, 1, "other")
		if string(got.Value) != "value" {
			r.Errorf("a slice that was returned is never modified by anyone: got %q", got.Value)
		}
	}
	lookups := []driver.Lookup{{Anchor: "a"}}
	entries, err := r.c.Lookup(r.Context(), lookups)
	lookups[0].Anchor = "b"
	if got := one(r.T, "Lookup", entries, err); string(got.Value) != "other" {
		r.Errorf("Lookup: got %q", got.Value)
	}
}
