package tao

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// checker checks what reads return against the intervals in which writes were made. Every
// write has a number, which is in the value that it writes. A read is stale if what it
// returns was overwritten before it began: if another write began after the one that it
// returns was acknowledged, and was itself acknowledged before the read began. Absence is
// a value like any other, that of the deletions.
//
// Checked are: every object, found or not; every edge that is asked for by its ends; of
// lists the first checkedEdges edges, the absence of the lastEdges that were written last,
// and the number of edges; and every count. That a list as a whole is of one moment is not
// checked.
type checker struct {
	g       *Graph
	began   time.Time
	numbers atomic.Int64
	acks    [1 << 14]atomic.Pointer[ackPage]
	objects []atomic.Pointer[register] // nil until they are written
	lists   [kinds][]atomic.Pointer[written]

	stale  atomic.Int64
	oldest atomic.Int64 // by how much a stale value was, at most, in nanoseconds
	first  atomic.Pointer[string]
}

const (
	checkedEdges = 64
	lastEdges    = 8
	pageSize     = 1 << 12
	// never is when a write is acknowledged that has not been yet, or may not have been made.
	never = math.MaxInt64
)

// ackPage has the moments at which writes were acknowledged, 0 if they were not yet.
type ackPage [pageSize]atomic.Int64

func newChecker(g *Graph) *checker {
	c := &checker{g: g, began: time.Now(), objects: make([]atomic.Pointer[register], len(g.ids))}
	for kind := range c.lists {
		c.lists[kind] = make([]atomic.Pointer[written], g.size)
	}
	return c
}

func (c *checker) now() int64 { return int64(time.Since(c.began)) + 1 }

// ack returns the place of the moment at which the write was acknowledged.
func (c *checker) ack(number int64) *atomic.Int64 {
	p := &c.acks[number/pageSize%int64(len(c.acks))]
	page := p.Load()
	if page == nil {
		p.CompareAndSwap(nil, new(ackPage))
		page = p.Load()
	}
	return &page[number%pageSize]
}

// acked is the moment at which the write was acknowledged. That of number 0 was the load
// of the graph.
func (c *checker) acked(number int64) int64 {
	if number == 0 {
		return 0
	}
	if at := c.ack(number).Load(); at > 0 {
		return at
	}
	return never
}

// write is one that is being made.
type write struct {
	c      *checker
	number int64
	what   effect
	begin  int64
	r      *register
	list   *written // of an edge
}

// effect is what a write does to an object or an edge.
type effect uint8

const (
	sets    effect = iota // writes a value that has the number of the write
	deletes               // leaves nothing
	moves                 // puts an edge in place that has been of another kind, with its value
)

// register is what is known of the writes of one object or edge.
type register struct {
	initially bool // it was there in the beginning

	// latest is the latest beginning of an acknowledged write.
	latest atomic.Int64
	// deleted is the latest end of an acknowledged deletion, deleting how many are under
	// way or of unknown outcome.
	deleted  atomic.Int64
	deleting atomic.Int64
	// moved and moving are the same for writes that move: the values that these bring have
	// numbers of writes of another edge.
	moved, moving atomic.Int64

	mu      sync.Mutex // protects history
	history []interval // of acknowledged writes, the last ones
}

type interval struct{ begin, end int64 }

const maxHistory = 128

func (c *checker) object(i int) *register { return c.objects[i].Load() }

// writeObject begins a write of an object.
func (c *checker) writeObject(i int, what effect) *write {
	r := c.objects[i].Load()
	if r == nil {
		c.objects[i].CompareAndSwap(nil, newRegister(i < c.g.size))
		r = c.objects[i].Load()
	}
	return c.start(r, nil, what)
}

func newRegister(present bool) *register {
	r := &register{initially: present}
	if present {
		r.deleted.Store(-1)
	}
	return r
}

// writeEdge begins a write of an edge.
func (c *checker) writeEdge(kind, from, end int, what effect) *write {
	p := &c.lists[kind][from]
	l := p.Load()
	if l == nil {
		p.CompareAndSwap(nil, &written{edges: make(map[int]*register), size: int(c.g.count[kind][from])})
		l = p.Load()
	}
	l.mu.Lock()
	r := l.edges[end]
	if r == nil {
		r = newRegister(c.g.has(kind, from, end))
		l.edges[end] = r
	}
	l.underWay++
	l.begun++
	l.last[l.begun%lastEdges] = writtenEdge{end, r}
	l.mu.Unlock()
	return c.start(r, l, what)
}

func (c *checker) start(r *register, l *written, what effect) *write {
	w := &write{c: c, number: c.numbers.Add(1), what: what, begin: c.now(), r: r, list: l}
	w.count(1)
	return w
}

// count counts the write among those under way.
func (w *write) count(by int64) {
	switch w.what {
	case deletes:
		w.r.deleting.Add(by)
	case moves:
		w.r.moving.Add(by)
	}
}

// done ends a write. It was made, and has added so many edges to the list.
func (w *write) done(added int) {
	end := w.c.now()
	w.c.ack(w.number).Store(end)
	w.r.mu.Lock()
	if len(w.r.history) == maxHistory {
		w.r.history = append(w.r.history[:0], w.r.history[maxHistory/2:]...)
	}
	w.r.history = append(w.r.history, interval{w.begin, end})
	w.r.mu.Unlock()
	switch w.what {
	case deletes:
		raise(&w.r.deleted, end)
	case moves:
		raise(&w.r.moved, end)
	}
	w.count(-1)
	raise(&w.r.latest, w.begin)
	if w.list != nil {
		w.list.end(added)
	}
}

// none ends a write that was not made, because there was nothing to write or something in
// its place.
func (w *write) none() {
	w.count(-1)
	if w.list != nil {
		w.list.end(0)
	}
}

// A write of which nobody knows what became of it is never ended.

func raise(p *atomic.Int64, to int64) {
	for v := p.Load(); v < to && !p.CompareAndSwap(v, to); v = p.Load() {
	}
}

// written is a list of which edges have been written.
type written struct {
	mu       sync.Mutex // protects what follows
	edges    map[int]*register
	last     [lastEdges]writtenEdge
	size     int // after the writes that are acknowledged
	underWay int
	begun    int
}

type writtenEdge struct {
	end int
	r   *register
}

func (l *written) end(added int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size += added
	l.underWay--
}

// reading is a read under way.
type reading struct {
	begin int64 // or a little before
	// Of a list that has been written, how long it was, how many writes were under way and
	// how many had begun.
	list                  *written
	size, underWay, begun int
}

// readList begins a read of a list.
func (c *checker) readList(begin int64, kind, from int) reading {
	r := reading{begin: begin, list: c.lists[kind][from].Load(), size: int(c.g.count[kind][from])}
	if l := r.list; l != nil {
		l.mu.Lock()
		r.size, r.underWay, r.begun = l.size, l.underWay, l.begun
		l.mu.Unlock()
	}
	return r
}

// sizes returns between which bounds the length of the list was during the read.
func (c *checker) sizes(r *reading, kind, from int) (least, most int) {
	l := r.list
	if l == nil {
		if l = c.lists[kind][from].Load(); l == nil {
			return r.size, r.size
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	writes := r.underWay + l.begun - r.begun
	return r.size - writes, r.size + writes
}

// overwritten returns how long before the read a value had been overwritten that stood
// until the moment end; 0 if it had not been.
func (r *register) overwritten(end, read int64) int64 {
	if r.latest.Load() <= end {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	age := int64(0)
	for _, w := range r.history {
		if w.begin > end && w.end < read {
			age = max(age, read-w.end)
		}
	}
	return age
}

// value checks a value that was found.
func (c *checker) value(r *register, number, read int64) int64 {
	end := c.acked(number)
	switch {
	case number < 0 || number > c.numbers.Load():
		return math.MaxInt64 // nobody has written it
	case r == nil:
		return 0
	case r.moving.Load() > 0:
		return 0
	case r.moved.Load() > 0:
		end = max(end, r.moved.Load())
	case number == 0 && !r.initially:
		return math.MaxInt64
	}
	return r.overwritten(end, read)
}

// absence checks that there was nothing.
func (r *register) absence(initially bool, read int64) int64 {
	if r == nil {
		if initially {
			return math.MaxInt64
		}
		return 0
	}
	if r.deleting.Load() > 0 {
		return 0
	}
	deleted := r.deleted.Load()
	if deleted < 0 { // nobody has ever deleted it
		return math.MaxInt64
	}
	return r.overwritten(deleted, read)
}

// staleValue reports that a read returned something wrong.
func (c *checker) staleValue(age int64, format string, args ...any) {
	c.stale.Add(1)
	if age < math.MaxInt64 {
		raise(&c.oldest, age)
	}
	if c.first.Load() == nil {
		s := fmt.Sprintf(format, args...)
		c.first.CompareAndSwap(nil, &s)
	}
}

// readObject ends a read of an object.
func (c *checker) readObject(begin int64, i int, o *Object) {
	reg := c.objects[i].Load()
	age, number := int64(0), int64(-1)
	switch {
	case o == nil:
		age = reg.absence(i < c.g.size, begin)
	case o.ID != c.g.ids[i]:
		age = math.MaxInt64
	default:
		number = o.Write
		age = c.value(reg, number, begin)
	}
	if age > 0 {
		c.staleValue(age, "object %d as of write %d, overwritten %v before", i, number, time.Duration(age))
	}
}

// readEdge ends a read of one edge.
func (c *checker) readEdge(begin int64, kind, from, end int, e *Edge) {
	reg := c.edge(kind, from, end)
	age, number := int64(0), int64(-1)
	switch {
	case e == nil:
		age = reg.absence(c.g.has(kind, from, end), begin)
	case e.To != c.g.ids[end]:
		age = math.MaxInt64
	default:
		number = e.Data.Write
		age = c.valueOfEdge(reg, kind, from, end, number, begin)
	}
	if age > 0 {
		c.staleValue(age, "edge %d %d %d as of write %d, overwritten %v before", kind, from, end, number, time.Duration(age))
	}
}

func (c *checker) edge(kind, from, end int) *register {
	l := c.lists[kind][from].Load()
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.edges[end]
}

func (c *checker) valueOfEdge(r *register, kind, from, end int, number, read int64) int64 {
	if r == nil && !c.g.has(kind, from, end) {
		return math.MaxInt64
	}
	return c.value(r, number, read)
}

// readCount ends a read of the length of a list.
func (c *checker) readCount(r reading, kind, from, n int) {
	if least, most := c.sizes(&r, kind, from); n < least || n > most {
		c.staleValue(math.MaxInt64, "list %d %d: a count of %d, not from %d to %d", kind, from, n, least, most)
	}
}

// readRange ends a read of a list from its beginning.
func (c *checker) readRange(r reading, kind, from, limit int, edges []Edge) {
	least, most := c.sizes(&r, kind, from)
	if n := len(edges); n > limit || n < min(least, limit) || n > most {
		c.staleValue(math.MaxInt64, "list %d %d: %d edges, not from %d to %d, limit %d", kind, from, n, least, most, limit)
		return
	}
	age, end := c.readEdges(r, kind, from, edges)
	if l := c.lists[kind][from].Load(); l != nil && age == 0 && len(edges) < limit {
		age, end = c.absent(l, r, kind, from, edges)
	}
	if age > 0 {
		c.staleValue(age, "list %d %d: edge to %d, overwritten %v before", kind, from, end, time.Duration(age))
	}
}

// readWindow ends a read of the edges between two times.
func (c *checker) readWindow(r reading, kind, from int, edges []Edge) {
	if age, end := c.readEdges(r, kind, from, edges); age > 0 {
		c.staleValue(age, "list %d %d: edge to %d, overwritten %v before", kind, from, end, time.Duration(age))
	}
}

// readEdges checks edges that were found.
func (c *checker) readEdges(r reading, kind, from int, edges []Edge) (age int64, end int) {
	edges = edges[:min(len(edges), checkedEdges)]
	l := c.lists[kind][from].Load()
	if l == nil { // nobody has written the list
		for i := range edges {
			if edges[i].Data.Write != 0 {
				return math.MaxInt64, number(edges[i].To)
			}
		}
		return 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range edges {
		e := &edges[i]
		end = number(e.To)
		if age = c.valueOfEdge(l.edges[end], kind, from, end, e.Data.Write, r.begin); age > 0 {
			return age, end
		}
	}
	return 0, 0
}

// absent checks that the edges that were written last, and are not in the list, may be
// missing.
func (c *checker) absent(l *written, r reading, kind, from int, edges []Edge) (age int64, end int) {
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	for _, w := range last {
		if w.r == nil || contains(edges, c.g.ids[w.end]) {
			continue
		}
		if age = w.r.absence(c.g.has(kind, from, w.end), r.begin); age > 0 {
			return age, w.end
		}
	}
	return 0, 0
}

func contains(edges []Edge, to ID) bool {
	for i := range edges {
		if edges[i].To == to {
			return true
		}
	}
	return false
}

// guarded runs a write: f makes it, and says how many edges it has added. Where nothing
// was to be written f returns errNothing.
func (w *write) guarded(ctx context.Context, f func(ctx context.Context) (added int, err error)) error {
	added, err := f(context.WithValue(ctx, ofWrite{}, true))
	switch {
	case err == nil:
		w.done(added)
	case isNothing(err):
		w.none()
		return nil
	}
	return err
}
