package backendtest

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// scan tests a driver.Scanner.
func (r *cacheRig) scan() {
	s, ok := r.c.(driver.Scanner)
	if !ok {
		r.Skip("the cache is no driver.Scanner")
	}
	r.scanKeys(s)
	r.scanChanges(s)
	r.scanBusy(s)
	r.scanLarge(s)
	ended, cancel := context.WithCancel(r.Context())
	cancel()
	if _, _, err := s.Scan(ended, "", "", 10); err == nil {
		r.Errorf("a Scan whose context has ended says so: no error")
	} else if !errors.Is(err, driver.ErrUnavailable) {
		r.Errorf("a call that was not made wraps driver.ErrUnavailable: %v", err)
	}
}

// walk returns how often each fragment is returned.
func (r *cacheRig) walk(s driver.Scanner, prefix string, count int, between func()) map[driver.Lookup]int {
	r.Helper()
	seen := map[driver.Lookup]int{}
	for cursor, pages := "", 0; ; pages++ {
		found, next, err := s.Scan(r.Context(), prefix, cursor, count)
		if err != nil {
			r.Fatalf("Scan: %v", err)
		}
		for _, l := range found {
			seen[l]++
			if !strings.HasPrefix(l.Anchor, prefix) {
				r.Errorf("Scan returns anchors that begin with the prefix: %.40q for %.40q", l.Anchor, prefix)
			}
		}
		if next == "" {
			return seen
		}
		if cursor = next; pages > 100_000 {
			r.Fatalf("Scan comes to an end: it did not in %d pages", pages)
		}
		if between != nil {
			between()
		}
	}
}

// scanKeys tests that every value is found by every prefix of its anchor.
func (r *cacheRig) scanKeys(s driver.Scanner) {
	anchors := []string{
		"a", "ab", "abc", "a:b", "{a}", "{a", "a}", "{}", "%7Ba", "\x00", "\x00\x00", "\xff\xfe", "a\r\nb",
		"*?[a-z]", "*", "?", "[a", "[^a]", "\\", "\\*", "a\\", "]", "a*", "a?b", "a[b]", strings.Repeat("k", 3000),
	}
	want := map[driver.Lookup]bool{}
	for i, anchor := range anchors {
		for _, field := range []string{"", "f", "\x00*", "{}"}[:1+i%4] {
			entry := r.claim(anchor, field, uint64(i+1))
			r.outcome("Fill stores a value", r.fill(anchor, field, entry.Version, "v"), driver.Done)
			want[driver.Lookup{Anchor: anchor, Field: field}] = true
		}
	}
	prefixes := map[string]bool{"": true, "zz": true}
	for _, anchor := range anchors {
		for n := 1; n <= min(len(anchor), 6); n++ {
			prefixes[anchor[:n]] = true
		}
	}
	for prefix := range prefixes {
		for _, count := range []int{1, 1000} {
			if count == 1 && prefix != "a" {
				continue
			}
			seen := r.walk(s, prefix, count, nil)
			for l := range want {
				if strings.HasPrefix(l.Anchor, prefix) && seen[l] == 0 {
					r.Errorf("Scan returns every fragment that has a value: with the prefix %q and count %d it is not %.40q %q", prefix, count, l.Anchor, l.Field)
				}
			}
			for l := range seen {
				if l.Field != "" && !want[l] {
					r.Errorf("Scan returns fields that somebody has filled: %.40q %q", l.Anchor, l.Field)
				}
			}
		}
	}
}

// scanChanges tests that nothing is changed.
func (r *cacheRig) scanChanges(s driver.Scanner) {
	r.filled("held", 1, "v")
	r.hold("held", "t", long)
	r.claim("loading", "", 1)
	r.claim("loading", "f", 1)
	r.filled("stays", 77, "v")
	r.walk(s, "", 10, nil)
	r.state("Scan changes nothing", "held", driver.Held)
	r.outcome("Scan changes nothing", r.release("held", "t", ""), driver.Done)
	for _, field := range []string{"", "f"} {
		if !r.lookup("loading", field).Loading {
			r.Errorf("Scan changes nothing: a loading deadline is gone")
		}
	}
	if got := r.lookup("stays", ""); got.Version != 77 || string(got.Value) != "v" {
		r.Errorf("Scan changes nothing: the version is %d and the value %q", got.Version, got.Value)
	}
}

// scanBusy tests that what is there throughout is found while other things come and go.
func (r *cacheRig) scanBusy(s driver.Scanner) {
	const n = 200
	for i := range n {
		r.filled(fmt.Sprint("busy stays ", i), 1, "v")
		if i%10 == 0 {
			r.fill(fmt.Sprint("busy stays ", i), "f", 1, "v")
		}
	}
	turn := 0
	seen := r.walk(s, "busy ", 10, func() {
		turn++
		r.filled(fmt.Sprint("busy comes ", turn), 1, "v")
		r.hold(fmt.Sprint("busy comes ", turn/2), "t", long)
		r.release(fmt.Sprint("busy comes ", turn/2), "t", "")
	})
	for i := range n {
		l := driver.Lookup{Anchor: fmt.Sprint("busy stays ", i)}
		if seen[l] == 0 {
			r.Errorf("Scan returns what is there throughout: it is not %q", l.Anchor)
		}
		if l.Field = "f"; i%10 == 0 && seen[l] == 0 {
			r.Errorf("Scan returns what is there throughout: it is not %q, %q", l.Anchor, l.Field)
		}
	}
}

// scanLarge tests that all of many secondary values are found.
func (r *cacheRig) scanLarge(s driver.Scanner) {
	const n = 5000
	r.claim("many", "", 1)
	fills := make([]driver.Fill, n)
	for i := range fills {
		fills[i] = driver.Fill{Anchor: "many", Field: fmt.Sprint("f", i), Version: 1, Value: []byte("v"), TTL: long, Limit: n}
	}
	outcomes, err := r.c.Fill(r.Context(), fills)
	if err != nil || len(outcomes) != n {
		r.Fatalf("Fill: %d outcomes, error %v", len(outcomes), err)
	}
	seen := r.walk(s, "many", 64, nil)
	for _, f := range fills {
		if seen[driver.Lookup{Anchor: "many", Field: f.Field}] == 0 {
			r.Fatalf("Scan returns all of %d secondary values: it does not return %s", n, f.Field)
		}
	}
}
