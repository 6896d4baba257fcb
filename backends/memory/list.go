package memory

import (
	"cmp"
	"slices"
	"sort"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// list is the edge list of one object, in the reverse of the order in which it is
// read: oldest first. New edges are mostly the newest, and a slice grows cheaply
// only at its end.
type list []listed

// listed is an edge's place in a list.
type listed struct {
	ms   int64 // the edge's time
	far  string
	edge *driver.Edge
}

// compareListed orders by time ascending, then by far end descending.
func compareListed(a, b listed) int {
	return cmp.Or(cmp.Compare(a.ms, b.ms), cmp.Compare(b.far, a.far))
}

func (l list) insert(item listed) list {
	i, _ := slices.BinarySearchFunc(l, item, compareListed)
	return slices.Insert(l, i, item)
}

func (l list) remove(item listed) list {
	i, found := slices.BinarySearchFunc(l, item, compareListed)
	if !found {
		return l
	}
	return slices.Delete(l, i, i+1)
}

// within returns the part of the list inside the bounds of time.
func (l list) within(r driver.Range) list {
	if !r.High.IsZero() {
		high := r.High.UnixMilli()
		l = l[:sort.Search(len(l), func(i int) bool { return l[i].ms > high })]
	}
	if !r.Low.IsZero() {
		low := ceilMilli(r.Low)
		l = l[sort.Search(len(l), func(i int) bool { return l[i].ms >= low }):]
	}
	return l
}

// ceilMilli rounds up: no whole millisecond before it is at or after t.
func ceilMilli(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

// page returns a copy of the edges in the range, newest first.
func (l list) page(r driver.Range) []driver.Edge {
	l = l.within(r)
	l = l[:len(l)-min(r.Offset, len(l))]
	if r.Limit > 0 && r.Limit < len(l) {
		l = l[len(l)-r.Limit:]
	}
	if len(l) == 0 {
		return nil
	}
	edges := make([]driver.Edge, 0, len(l))
	for _, item := range slices.Backward(l) {
		edges = append(edges, *item.edge)
	}
	return edges
}
