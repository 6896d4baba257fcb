package lincheck

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"
)

// edgeState is an edge in a list: at most one leads to each end. The zero value is
// an edge that is absent.
type edgeState struct {
	end   int
	rank  int   // its time; the list is in descending order of it, then by end
	value int64 // distinct in all writes; negative in edges that are never written
}

// maxEnds is how many ends a list may have to which edges are added and removed.
const maxEnds = 6

// listState has at each end the edge that leads there.
type listState [maxEnds]edgeState

func (s listState) String() string { return fmt.Sprint(s.sorted(nil)) }

// sorted appends the edges in the order of the list.
func (s *listState) sorted(edges []edgeState) []edgeState {
	for _, e := range s {
		if e != (edgeState{}) {
			edges = append(edges, e)
		}
	}
	slices.SortFunc(edges, compareEdges)
	return edges
}

func compareEdges(a, b edgeState) int {
	return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(a.end, b.end))
}

// listCall is what is asked of a list. The outputs are, in this order: whether the edge
// was created; nothing; the edges; how many there are; whether there is one; and the
// edge to the end.
type listCall struct {
	verb listVerb
	edge edgeState // to be added, or with the end of which it is about
	span span      // of the edges that are listed or counted
}

type listVerb string

const (
	addEdge    listVerb = "add"
	removeEdge listVerb = "remove"
	listEdges  listVerb = "list"
	countEdges listVerb = "count"
	existEdges listVerb = "exist"
	getEdge    listVerb = "get"
)

// span is a part of a list: the edges with ranks from low to high, without the first
// offset of them, and at most limit; a limit of 0 is none.
type span struct{ low, high, offset, limit int }

// wholeList is all of a list.
var wholeList = span{high: math.MaxInt}

func (s span) String() string {
	if s == wholeList {
		return "all"
	}
	return fmt.Sprintf("ranks %d to %d, offset %d, limit %d", s.low, s.high, s.offset, s.limit)
}

func (c listCall) String() string {
	switch c.verb {
	case addEdge:
		return fmt.Sprintf("add %v", c.edge)
	case removeEdge, getEdge:
		return fmt.Sprintf("%s the edge to %d", c.verb, c.edge.end)
	}
	return fmt.Sprintf("%s %v", c.verb, c.span)
}

func (e edgeState) String() string {
	return fmt.Sprintf("%d(to %d, rank %d)", e.value, e.end, e.rank)
}

// listModel is a list of edges. The fixed ones, in order, are always there.
func listModel(fixed []edgeState) porcupine.Model {
	return describe(model(func(s listState, c listCall, out any) (listState, bool) {
		present := s[c.edge.end] != edgeState{}
		switch c.verb {
		case addEdge:
			s[c.edge.end] = c.edge
			return s, out == nil || out == !present
		case removeEdge:
			s[c.edge.end] = edgeState{}
			return s, out == nil || present
		case getEdge:
			return s, out == s[c.edge.end]
		case listEdges:
			return s, c.span.lists(s.with(fixed), out.([]edgeState))
		case countEdges:
			return s, c.span.count(s.with(fixed)) == out
		}
		return s, (c.span.count(s.with(fixed)) > 0) == out
	}))
}

// with yields the edges of the list and the fixed ones in order.
func (s *listState) with(fixed []edgeState) iter.Seq[edgeState] {
	return func(yield func(edgeState) bool) {
		var buf [maxEnds]edgeState
		for edges := s.sorted(buf[:0]); len(edges)+len(fixed) > 0; {
			next := &edges
			if len(edges) == 0 || len(fixed) > 0 && compareEdges(fixed[0], edges[0]) < 0 {
				next = &fixed
			}
			if !yield((*next)[0]) {
				return
			}
			*next = (*next)[1:]
		}
	}
}

// of yields the edges of a list that are in the span.
func (s span) of(list iter.Seq[edgeState]) iter.Seq[edgeState] {
	return func(yield func(edgeState) bool) {
		n := 0
		for e := range list {
			if e.rank < s.low || s.limit > 0 && n == s.offset+s.limit {
				return
			}
			if e.rank > s.high {
				continue
			}
			if n++; n > s.offset && !yield(e) {
				return
			}
		}
	}
}

func (s span) count(list iter.Seq[edgeState]) (n int) {
	for range s.of(list) {
		n++
	}
	return n
}

// lists reports whether the edges are those of the list that are in the span.
func (s span) lists(list iter.Seq[edgeState], edges []edgeState) bool {
	for e := range s.of(list) {
		if len(edges) == 0 || edges[0] != e {
			return false
		}
		edges = edges[1:]
	}
	return len(edges) == 0
}
