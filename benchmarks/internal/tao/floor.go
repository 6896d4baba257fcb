package tao

import (
	"context"
	"errors"
	"time"
)

// floor answers from arrays: what it takes is what the measurement itself takes. It has no
// writes.
type floor struct {
	direct
	g       *Graph
	objects []*Object
	edges   [kinds][][]Edge
}

func newFloor(g *Graph) *floor {
	f := &floor{g: g, objects: make([]*Object, g.size)}
	for kind := range kinds {
		f.edges[kind] = make([][]Edge, g.size)
	}
	for i := range g.size {
		f.objects[i] = g.object(i)
		for j := range int(g.degree[i]) {
			l := &f.edges[g.kindOf(i, j)][i]
			*l = append(*l, *g.edge(i, j))
		}
	}
	return f
}

func (f *floor) object(_ context.Context, id ID) (*Object, error) {
	if i := number(id); i < f.g.size {
		return f.objects[i], nil
	}
	return nil, nil
}

func (f *floor) edge(_ context.Context, kind int, from, to ID) (*Edge, error) {
	l := f.edges[kind][number(from)]
	for i := range l {
		if l[i].To == to {
			return &l[i], nil
		}
	}
	return nil, nil
}

func (f *floor) count(_ context.Context, kind int, from ID) (int, error) {
	return len(f.edges[kind][number(from)]), nil
}

func (f *floor) list(_ context.Context, kind int, from ID, limit int) ([]Edge, error) {
	l := f.edges[kind][number(from)]
	return l[:min(limit, len(l))], nil
}

// window returns nothing: almost all of them are empty.
func (f *floor) window(context.Context, int, ID, time.Time, time.Time, int) ([]Edge, error) {
	return nil, nil
}

var errNoWrites = errors.New("tao: the floor has no writes: use -writes 0")

func (f *floor) create(context.Context, *Object) error         { return errNoWrites }
func (f *floor) update(context.Context, *Object) error         { return errNoWrites }
func (f *floor) remove(context.Context, ID) error              { return errNoWrites }
func (f *floor) add(context.Context, int, *Edge) (bool, error) { return false, errNoWrites }
func (f *floor) removeEdge(context.Context, int, ID, ID) error { return errNoWrites }
func (f *floor) changeKind(context.Context, int, ID, ID) error { return errNoWrites }
