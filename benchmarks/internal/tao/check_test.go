package tao

import (
	"testing"
	"time"
)

// someList returns a list with at least one edge, and the numbers of its first edge.
func someList(t *testing.T, g *Graph) (kind, from, end int) {
	t.Helper()
	for i := range g.size {
		if g.degree[i] > 0 {
			return g.kindOf(i, 0), i, g.end(i, 0)
		}
	}
	t.Fatal("no object has an edge")
	return 0, 0, 0
}

func (g *Graph) listOf(kind, from int) (edges []Edge) {
	for j := range int(g.degree[from]) {
		if g.kindOf(from, j) == kind {
			edges = append(edges, *g.edge(from, j))
		}
	}
	return edges
}

func TestCheckerOfObjects(t *testing.T) {
	g := NewGraph(1000, 1)
	object := func(write int64) *Object { return &Object{ID: g.ids[0], Write: write} }
	tests := []struct {
		name string
		// read makes writes and returns when a read began and what it returned.
		read func(c *checker) (begin int64, o *Object)
		want int64
	}{
		{"never written", func(c *checker) (int64, *Object) { return c.now(), object(0) }, 0},
		{"missing", func(c *checker) (int64, *Object) { return c.now(), nil }, 1},
		{"of a write that nobody has made", func(c *checker) (int64, *Object) { return c.now(), object(7) }, 1},
		{"another object", func(c *checker) (int64, *Object) { return c.now(), &Object{ID: g.ids[1]} }, 1},
		{"the last write", func(c *checker) (int64, *Object) {
			w := c.writeObject(0, sets)
			w.done(0)
			return c.now(), object(w.number)
		}, 0},
		{"before the last write", func(c *checker) (int64, *Object) {
			c.writeObject(0, sets).done(0)
			return c.now(), object(0)
		}, 1},
		{"before a write that overlaps the read", func(c *checker) (int64, *Object) {
			begin := c.now()
			c.writeObject(0, sets).done(0)
			return begin, object(0)
		}, 0},
		{"before a write under way", func(c *checker) (int64, *Object) {
			c.writeObject(0, sets)
			return c.now(), object(0)
		}, 0},
		{"a write under way", func(c *checker) (int64, *Object) { return c.now(), object(c.writeObject(0, sets).number) }, 0},
		{"either of two writes at once", func(c *checker) (int64, *Object) {
			a, b := c.writeObject(0, sets), c.writeObject(0, sets)
			a.done(0)
			b.done(0)
			return c.now(), object(a.number)
		}, 0},
		{"the first of two writes", func(c *checker) (int64, *Object) {
			a := c.writeObject(0, sets)
			a.done(0)
			c.writeObject(0, sets).done(0)
			return c.now(), object(a.number)
		}, 1},
		{"deleted", func(c *checker) (int64, *Object) {
			c.writeObject(0, deletes).done(0)
			return c.now(), nil
		}, 0},
		{"after a deletion", func(c *checker) (int64, *Object) {
			c.writeObject(0, deletes).done(0)
			return c.now(), object(0)
		}, 1},
		{"missing after it was created again", func(c *checker) (int64, *Object) {
			c.writeObject(0, deletes).done(0)
			c.writeObject(0, sets).done(0)
			return c.now(), nil
		}, 1},
		{"missing while it is deleted", func(c *checker) (int64, *Object) {
			c.writeObject(0, deletes)
			return c.now(), nil
		}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newChecker(g)
			begin, o := test.read(c)
			c.readObject(begin, 0, o)
			if got := c.stale.Load(); got != test.want {
				t.Errorf("%d stale reads, want %d", got, test.want)
			}
		})
	}
}

func TestCheckerOfSpareObjects(t *testing.T) {
	g := NewGraph(1000, 1)
	c := newChecker(g)
	c.readObject(c.now(), g.size, nil)
	w := c.writeObject(g.size, sets)
	c.readObject(c.now(), g.size, nil)
	w.done(0)
	c.readObject(c.now(), g.size, &Object{ID: g.ids[g.size], Write: w.number})
	if got := c.stale.Load(); got != 0 {
		t.Fatalf("%d stale reads: %s", got, *c.first.Load())
	}
	c.readObject(c.now(), g.size, nil)
	c.readObject(c.now(), g.size, &Object{ID: g.ids[g.size]})
	if got := c.stale.Load(); got != 2 {
		t.Errorf("%d stale reads, want 2: a created object that is missing, and one that nobody wrote", got)
	}
}

func TestCheckerOfLists(t *testing.T) {
	g := NewGraph(1000, 1)
	kind, from, end := someList(t, g)
	initial := g.listOf(kind, from)
	without := func(to int) (edges []Edge) {
		for _, e := range initial {
			if e.To != g.ids[to] {
				edges = append(edges, e)
			}
		}
		return edges
	}
	const other = 999
	added := func(number int64) []Edge {
		return append([]Edge{{From: g.ids[from], To: g.ids[other], Time: time.Now(), Data: Link{Write: number}}}, initial...)
	}
	if g.has(kind, from, other) {
		t.Fatalf("there is an edge from %d to %d", from, other)
	}
	tests := []struct {
		name string
		read func(c *checker)
		want int64
	}{
		{"as in the beginning", func(c *checker) {
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, initial)
			c.readCount(r, kind, from, len(initial))
			c.readEdge(c.now(), kind, from, end, &initial[len(initial)-len(without(end))-1])
			c.readEdge(c.now(), kind, from, other, nil)
		}, 0},
		{"an edge is missing", func(c *checker) {
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, without(end))
			c.readCount(r, kind, from, len(initial)-1)
			c.readEdge(c.now(), kind, from, end, nil)
		}, 3},
		{"removed", func(c *checker) {
			c.writeEdge(kind, from, end, deletes).done(-1)
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, without(end))
			c.readCount(r, kind, from, len(initial)-1)
			c.readEdge(c.now(), kind, from, end, nil)
		}, 0},
		{"removed, and still there", func(c *checker) {
			c.writeEdge(kind, from, end, deletes).done(-1)
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, initial)
			c.readCount(r, kind, from, len(initial))
		}, 2},
		{"removed meanwhile", func(c *checker) {
			r := c.readList(c.now(), kind, from)
			c.writeEdge(kind, from, end, deletes).done(-1)
			c.readRange(r, kind, from, limitMost, initial)
			c.readRange(r, kind, from, limitMost, without(end))
			c.readCount(r, kind, from, len(initial))
			c.readCount(r, kind, from, len(initial)-1)
		}, 0},
		{"added", func(c *checker) {
			w := c.writeEdge(kind, from, other, sets)
			w.done(1)
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, added(w.number))
			c.readRange(r, kind, from, 1, added(w.number)[:1])
			c.readCount(r, kind, from, len(initial)+1)
		}, 0},
		{"added, and not there", func(c *checker) {
			c.writeEdge(kind, from, other, sets).done(1)
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, initial)
			c.readCount(r, kind, from, len(initial))
		}, 2},
		{"one added and another removed, and neither seen", func(c *checker) {
			c.writeEdge(kind, from, other, sets).done(1)
			c.writeEdge(kind, from, end, deletes).done(-1)
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, initial)
		}, 1},
		{"replaced, with the old data", func(c *checker) {
			first := c.writeEdge(kind, from, other, sets)
			first.done(1)
			c.writeEdge(kind, from, other, sets).done(0)
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, added(first.number))
			c.readWindow(r, kind, from, added(first.number)[:1])
		}, 2},
		{"moved from the other kind", func(c *checker) {
			c.writeEdge(1-kind, from, other, sets).done(1)
			away, here := c.writeEdge(1-kind, from, other, deletes), c.writeEdge(kind, from, other, moves)
			away.done(-1)
			here.done(1)
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, added(1))
		}, 0},
		{"moved, and not there", func(c *checker) {
			c.writeEdge(1-kind, from, other, sets).done(1)
			away, here := c.writeEdge(1-kind, from, other, deletes), c.writeEdge(kind, from, other, moves)
			away.done(-1)
			here.done(1)
			r := c.readList(c.now(), kind, from)
			c.readRange(r, kind, from, limitMost, initial)
		}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newChecker(g)
			test.read(c)
			if got := c.stale.Load(); got != test.want {
				t.Errorf("%d stale reads, want %d: %v", got, test.want, c.first.Load())
			}
		})
	}
}

// A stale value is as old as the time since the first write after it was acknowledged.
func TestCheckerOfAges(t *testing.T) {
	c := newChecker(NewGraph(1000, 1))
	r := newRegister(true)
	for i := range int64(3) {
		w := &write{c: c, number: i + 1, r: r, begin: 100 * (i + 1)}
		c.ack(w.number).Store(w.begin + 10)
		r.history = append(r.history, interval{w.begin, w.begin + 10})
		raise(&r.latest, w.begin)
	}
	for number, want := range map[int64]int64{0: 890, 1: 790, 2: 690, 3: 0} {
		if got := r.overwritten(c.acked(number), 1000); got != want {
			t.Errorf("the value of write %d had been overwritten for %d at 1000, want %d", number, got, want)
		}
	}
}
