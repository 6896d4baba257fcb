package main

import (
	"reflect"
	"slices"
	"testing"

	"github.com/graphcache/graphcache/internal/redistest"
)

// TestPeers: every peer that is in this module reads what it has written. What is opened is
// verified.
func TestPeers(t *testing.T) {
	p := &peerSet{addr: redistest.Start(t).Addr}
	defer p.close()
	if err := p.openGraphs(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.openRedis(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.openProcess(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, r := range p.rows {
		for _, w := range []way{r.users, r.feeds} {
			if w.op == nil {
				continue
			}
			if err := w.op(1); err != nil {
				t.Errorf("%s: once everything is cached: %v", w.name, err)
			}
		}
	}
}

// TestPeerKeys: the canonical key tells the pairs of searches apart, and knows those that are
// the same. The others are known to fail at it: the pairs can tell.
func TestPeerKeys(t *testing.T) {
	printed := 0
	for i, p := range searchPairs() {
		a, err := p.a.graphKey()
		if err != nil {
			t.Fatal(err)
		}
		b, err := p.b.graphKey()
		if err != nil {
			t.Fatal(err)
		}
		if (a == b) != p.same {
			t.Errorf("pair %d: same key: %v, want %v", i, a == b, p.same)
		}
		a, _ = p.a.printedKey()
		b, _ = p.b.printedKey()
		if (a == b) != p.same {
			printed++
		}
	}
	if printed == 0 {
		t.Error("the pairs find nothing wrong with a printed key")
	}
}

func TestCountMarked(t *testing.T) {
	got := map[string]*codeCount{}
	countMarked(`not counted
// count:begin declare x
one

	// a comment
two("user:" + id) // count this
// count:end
not counted
	// count:begin read x
p.c.Delete("teams:"+user)
// count:end
// count:begin types
three
// count:end
`, got)
	want := map[string]*codeCount{
		"x": {lines: map[string]int{"declare": 2, "read": 1}, keys: 2, invalidations: 1},
		"":  {lines: map[string]int{"types": 1}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("counted %+v and %+v, want %+v and %+v", got["x"], got[""], want["x"], want[""])
	}
	if _, err := peerLines(t.Context(), settings{}); err != nil {
		t.Error(err)
	}
}

// TestReportHasEverything: every experiment is in one section of the report.
func TestReportHasEverything(t *testing.T) {
	var want, got []string
	for _, e := range experiments {
		want = append(want, e.name)
	}
	for _, s := range sections {
		got = append(got, s.names...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("the sections have the experiments %v, want %v", got, want)
	}
}
