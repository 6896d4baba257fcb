package graphcache

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestEdgeListAnswers: a prefix answers a span only with what the whole list would.
func TestEdgeListAnswers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := drawEdges(t)
		n := rapid.IntRange(0, len(all)).Draw(t, "prefix")
		flags := byte(0)
		if n == len(all) {
			flags = flagComplete
		}
		body, _ := appendList(nil, all[:n], flags, 0)
		l, err := parseList(body)
		if err != nil {
			t.Fatal(err)
		}
		s := span{
			high: drawBound(t, "high"), low: drawBound(t, "low"),
			offset: rapid.SampledFrom([]int{0, 0, 1, 2, 5, 30, math.MaxInt}).Draw(t, "offset"),
			limit:  rapid.SampledFrom([]int{0, 1, 2, 3, 30, math.MaxInt}).Draw(t, "limit"),
		}
		from, to, ok := l.answer(s)
		if n == len(all) && !ok {
			t.Fatalf("a complete list does not answer %+v", s)
		}
		if !ok {
			return
		}
		if diff := cmp.Diff(naiveSpan(all, s), l.slice(from, to), compareInternals); diff != "" {
			t.Fatalf("%d of %d edges answer %+v wrongly (-want +got):\n%s", n, len(all), s, diff)
		}
	})
}

// drawEdges returns a list in order, with ties in time.
func drawEdges(t *rapid.T) []edge {
	n := rapid.IntRange(0, 20).Draw(t, "edges")
	ms := int64(10)
	var all []edge
	for i := range n {
		ms -= int64(rapid.IntRange(0, 2).Draw(t, "step"))
		all = append(all, edge{far: fmt.Sprintf("%02d", i), ms: ms, data: []byte(fmt.Sprint(i))})
	}
	return all
}

func drawBound(t *rapid.T, label string) bound {
	return someBound(rapid.Int64Range(-15, 15).Draw(t, label), rapid.Bool().Draw(t, "has "+label))
}

func naiveSpan(all []edge, s span) []edge {
	kept := []edge{}
	skipped := 0
	for _, e := range all {
		switch {
		case s.high.set && e.ms > s.high.ms || s.low.set && e.ms < s.low.ms:
		case skipped < s.offset:
			skipped++
		case s.limit == 0 || len(kept) < s.limit:
			kept = append(kept, e)
		}
	}
	return kept
}

func TestEdgeListOnTies(t *testing.T) {
	l := func(flags byte, times ...int64) edgeList {
		var edges []edge
		for i, ms := range times {
			edges = append(edges, edge{far: fmt.Sprint(i), ms: ms})
		}
		body, _ := appendList(nil, edges, flags, 0)
		l, err := parseList(body)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	tests := []struct {
		name string
		list edgeList
		span span
		want int
		ok   bool
	}{
		{"an older edge is there", l(0, 5, 4, 4, 3), span{low: someBound(4, true)}, 3, true},
		{"the last edges tie with the bound", l(0, 5, 4, 4), span{low: someBound(4, true)}, 3, false},
		{"but nothing follows", l(flagComplete, 5, 4, 4), span{low: someBound(4, true)}, 3, true},
		{"the limit is reached within the ties", l(0, 4, 4, 4), span{limit: 2}, 2, true},
		{"the limit is reached at the end", l(0, 4, 4, 4), span{limit: 3}, 3, true},
		{"the limit is not reached", l(0, 4, 4, 4), span{limit: 4}, 3, false},
		{"nothing is old enough yet", l(0, 4, 4), span{high: someBound(3, true), limit: 1}, 0, false},
		{"empty and complete", l(flagComplete), span{high: someBound(3, true)}, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, to, ok := tt.list.answer(tt.span)
			if ok != tt.ok || to-from != tt.want {
				t.Errorf("answer = %d edges, %v, want %d, %v", to-from, ok, tt.want, tt.ok)
			}
		})
	}
}

func TestEdgeListIsCut(t *testing.T) {
	edges := []edge{{"a", 3, make([]byte, 100)}, {"b", 2, make([]byte, 100)}, {"c", 1, nil}}
	body, cut := appendList(nil, edges, flagComplete, listHeader+2*(entryWidth+101))
	l, err := parseList(body)
	if err != nil {
		t.Fatal(err)
	}
	if !cut || l.len() != 2 || l.complete() || !l.capped() {
		t.Errorf("cut %v, %d edges, complete %v, capped %v; want true, 2, false, true", cut, l.len(), l.complete(), l.capped())
	}
	if got := l.find("b"); got != 1 {
		t.Errorf("find(b) = %d, want 1", got)
	}
	if got := l.find("c"); got != -1 {
		t.Errorf("find(c) = %d, want -1", got)
	}
}

func TestBounds(t *testing.T) {
	at := time.UnixMilli(1234)
	tests := []struct {
		t                time.Time
		latest, earliest int64
	}{
		{at, 1234, 1234},
		{at.Add(1), 1234, 1235},
		{at.Add(time.Millisecond - 1), 1234, 1235},
		{at.Add(-1), 1233, 1234},
		{time.UnixMilli(-1234), -1234, -1234},
		{time.UnixMilli(-1234).Add(1), -1234, -1233},
	}
	for _, tt := range tests {
		if got := latest(tt.t).ms; got != tt.latest {
			t.Errorf("latest(%v) = %d, want %d", tt.t, got, tt.latest)
		}
		if got := earliest(tt.t).ms; got != tt.earliest {
			t.Errorf("earliest(%v) = %d, want %d", tt.t, got, tt.earliest)
		}
	}
}
