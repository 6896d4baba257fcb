package tao

import (
	"context"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// op is an operation of an application.
type op uint8

const (
	objGet op = iota
	assocGet
	assocCount
	assocRange
	assocTimeRange
	objAdd
	objUpdate
	objDelete
	assocAdd
	assocDelete
	assocChangeType
	ops
)

var opNames = [ops]string{
	"obj_get", "assoc_get", "assoc_count", "assoc_range", "assoc_time_range",
	"obj_add", "obj_update", "obj_delete", "assoc_add", "assoc_delete", "assoc_change_type",
}

// weights are the shares of operations among the reads, or among the writes, in any unit.
type weights [ops]float64

var (
	// taoReads and taoWrites are TAO's (Bronson et al., "TAO: Facebook's distributed data
	// store for the social graph", USENIX ATC 2013).
	taoReads  = weights{objGet: 28.9, assocGet: 15.7, assocCount: 11.7, assocRange: 40.9, assocTimeRange: 2.8}
	taoWrites = weights{objAdd: 16.5, objUpdate: 20.7, objDelete: 2.0, assocAdd: 52.5, assocDelete: 8.3, assocChangeType: 0.9}
	// stormReads and stormWrites are of the few keys that Storm fights over.
	stormReads  = weights{objGet: 50, assocGet: 10, assocCount: 10, assocRange: 30}
	stormWrites = weights{objUpdate: 60, assocAdd: 20, assocDelete: 20}
)

// table draws operations.
type table struct {
	limit [ops]float64
}

// newTable makes the table of a mix with the share of writes.
func newTable(reads, writes weights, share float64) *table {
	sum := func(w weights) (s float64) {
		for _, v := range w {
			s += v
		}
		return s
	}
	t, total := new(table), 0.0
	for o := range ops {
		total += reads[o]/sum(reads)*(1-share) + writes[o]/sum(writes)*share
		t.limit[o] = total
	}
	t.limit[ops-1] = math.Inf(1)
	return t
}

func (t *table) next(r *rand.Rand) op {
	u := r.Float64()
	for o := range ops {
		if u < t.limit[o] {
			return o
		}
	}
	return 0
}

// What TAO publishes of its queries: the shares of those that find something, and of those
// with a limit of 1; of the others almost all have a limit above 1,000, which is the one
// here.
const (
	rangeFinds  = 0.310
	oneFinds    = 0.07 // of those with a limit of 1, so that few reach their limit
	countFinds  = 0.55
	getFinds    = 0.196
	windowFinds = 0.019
	limitOne    = 0.12
	limitSome   = 0.05 // of the others: from 2 to 999
	limitMost   = 1000
)

// What LinkBench's writes of edges find, and how many of the objects whose lists are read
// or written are chosen by how long their lists are.
const (
	addFinds      = 0.05
	changeFinds   = 0.9
	alongDegree   = 0.005
	alongDegreeOf = 0.05 // of writes
)

// spareGets is the share of reads of objects that go to those which the run has added or
// removed, or not added yet. No published workload says.
const spareGets = 0.01

// Storm's keys, and the edges of each list.
const (
	stormKeys  = 50
	stormEdges = 20
)

// mixture chooses what an application asks for. It is shared by all callers.
type mixture struct {
	g     *Graph
	table *table
	storm []int // the objects; nil in the TAO mix

	nodes, updated                          *zipf // objects read and written
	lists, listsByDegree, edges, edgesByDeg *zipf // of which lists are read and written
	rangeBias, oneBias, countBias           bias
	existing                                float64 // of assoc_get, where there are edges at all
	span                                    time.Duration

	spares atomic.Int64 // used
}

// bias makes a share of draws be repeated until they are full, or until they are empty.
type bias struct {
	share float64
	full  bool
}

// toward returns the bias that takes a share of full draws to another one.
func toward(share, want float64) bias {
	if want >= share {
		return bias{(want - share) / (1 - share), true}
	}
	return bias{1 - want/share, false}
}

func newMixture(g *Graph, name string, writes float64) *mixture {
	m := &mixture{g: g}
	seed := func(i uint64) shuffle { return newShuffle(g.size, mix(g.seed, i)) }
	m.nodes, m.updated = newZipf(g.size, 0.625, seed(10)), newZipf(g.size, 0.606, seed(10))
	m.lists, m.edges = newZipf(g.size, 0.8, seed(11)), newZipf(g.size, 0.741, seed(11))
	m.listsByDegree, m.edgesByDeg = newZipf(g.size, 0.8, g.byDegree()), newZipf(g.size, 0.741, g.byDegree())
	if name == "storm" {
		m.table = newTable(stormReads, stormWrites, writes)
		for i := range stormKeys {
			m.storm = append(m.storm, m.lists.order.at(i))
		}
		return m
	}
	m.table = newTable(taoReads, taoWrites, writes)
	m.tune()
	return m
}

// tune sets what makes queries find as much as TAO's do, by drawing lists.
func (m *mixture) tune() {
	r := rand.New(rand.NewPCG(m.g.seed, 7))
	const draws = 100_000
	full, with := 0, 0
	lists := make([]int, draws)
	for i := range lists {
		id, kind := m.anyList(r)
		lists[i] = int(m.g.count[kind][id])
		full += min(lists[i], 1)
		with += min(int(m.g.degree[id]), 1)
	}
	share := float64(full) / draws
	m.rangeBias = toward(share, (rangeFinds-limitOne*oneFinds)/(1-limitOne))
	m.oneBias, m.countBias = toward(share, oneFinds), toward(share, countFinds)
	m.existing = min(1, getFinds*draws/float64(max(with, 1)))
	// The longer the window, the more lists have an edge in it.
	low, high := 0.0, 1.0
	for range 30 {
		f, sum := (low+high)/2, 0.0
		for _, n := range lists {
			sum += 1 - math.Pow(1-f, float64(n))
		}
		if sum/draws > windowFinds {
			high = f
		} else {
			low = f
		}
	}
	m.span = time.Duration(low * float64(days*day))
}

// anyList draws an object and a kind of edges.
func (m *mixture) anyList(r *rand.Rand) (id, kind int) {
	z := m.lists
	if r.Float64() < alongDegree {
		z = m.listsByDegree
	}
	return z.next(r), r.IntN(kinds)
}

// list draws a list, with a bias.
func (m *mixture) list(r *rand.Rand, b bias) (id, kind int) {
	if m.storm != nil {
		return m.storm[r.IntN(len(m.storm))], r.IntN(kinds)
	}
	id, kind = m.anyList(r)
	if r.Float64() < b.share {
		for try := 0; try < 20 && (m.g.count[kind][id] > 0) != b.full; try++ {
			id, kind = m.anyList(r)
		}
	}
	return id, kind
}

// edge draws an edge: an object and the number of an edge of it, which exists in the beginning
// with the probability exists, if the object has any.
func (m *mixture) edge(r *rand.Rand, reads bool, exists float64) (id, j int) {
	if m.storm != nil {
		return m.storm[r.IntN(len(m.storm))], r.IntN(stormEdges)
	}
	z, most, share := m.edges, m.edgesByDeg, alongDegreeOf
	if reads {
		z, most, share = m.lists, m.listsByDegree, alongDegree
	}
	if r.Float64() < share {
		z = most
	}
	id = z.next(r)
	degree := int(m.g.degree[id])
	if degree > 0 && r.Float64() < exists {
		return id, r.IntN(degree)
	}
	return id, min(degree+r.IntN(max(4, degree)), m.g.size-2)
}

func (m *mixture) object(r *rand.Rand, z *zipf) int {
	if m.storm != nil {
		return m.storm[r.IntN(len(m.storm))]
	}
	return z.next(r)
}

// limit draws the limit of a query.
func (m *mixture) limit(r *rand.Rand) int {
	switch u := r.Float64(); {
	case u < limitOne:
		return 1
	case u < limitOne+(1-limitOne)*limitSome:
		return 2 + r.IntN(998)
	}
	return limitMost
}

// client is one of the callers of a run: what it does, checked.
type client struct {
	m *mixture
	v variant
	c *checker
	n *misses
	r *rand.Rand
	// at is when the operation began, on the checker's clock.
	at int64
	// found counts queries that found something, asked all of them.
	asked, found [ops]int64
	lengths      [3]int64 // of lists that assoc_range found: all, those with one edge, those that reached the limit
}

// do does one operation.
func (c *client) do(ctx context.Context, o op) error {
	found, err := false, error(nil)
	switch o {
	case objGet:
		found, err = c.get(ctx)
	case assocGet:
		found, err = c.getEdge(ctx)
	case assocCount:
		found, err = c.count(ctx)
	case assocRange:
		found, err = c.list(ctx)
	case assocTimeRange:
		found, err = c.window(ctx)
	case objAdd:
		err = c.create(ctx)
	case objUpdate:
		err = c.update(ctx, c.m.object(c.r, c.m.updated))
	case objDelete:
		err = c.remove(ctx)
	default:
		err = c.writeEdge(ctx, o)
	}
	c.asked[o]++
	if found {
		c.found[o]++
	}
	return err
}

func (c *client) get(ctx context.Context) (bool, error) {
	i := c.m.object(c.r, c.m.nodes)
	if c.m.storm == nil && c.r.Float64() < spareGets {
		i = c.m.g.size + c.r.IntN(min(int(c.m.spares.Load())+10, c.m.g.size))
	}
	o, err := c.v.object(ctx, c.m.g.ids[i])
	if err == nil {
		c.c.readObject(c.at, i, o)
	}
	return o != nil, err
}

func (c *client) getEdge(ctx context.Context) (bool, error) {
	i, j := c.m.edge(c.r, true, c.m.existing)
	g := c.m.g
	kind, end := g.kindOf(i, j), g.end(i, j)
	e, err := c.v.edge(ctx, kind, g.ids[i], g.ids[end])
	if err == nil {
		c.c.readEdge(c.at, kind, i, end, e)
	}
	return e != nil, err
}

func (c *client) count(ctx context.Context) (bool, error) {
	i, kind := c.m.list(c.r, c.m.countBias)
	reading := c.c.readList(c.at, kind, i)
	n, err := c.v.count(ctx, kind, c.m.g.ids[i])
	if err == nil {
		c.c.readCount(reading, kind, i, n)
	}
	return n > 0, err
}

func (c *client) list(ctx context.Context) (bool, error) {
	limit, b := c.m.limit(c.r), c.m.rangeBias
	if limit == 1 {
		b = c.m.oneBias
	}
	i, kind := c.m.list(c.r, b)
	n, err := c.listOf(ctx, kind, i, limit)
	if n > 0 {
		c.lengths[0]++
	}
	if n == 1 {
		c.lengths[1]++
	}
	if n == limit {
		c.lengths[2]++
	}
	return n > 0, err
}

func (c *client) listOf(ctx context.Context, kind, i, limit int) (int, error) {
	reading := c.c.readList(c.at, kind, i)
	edges, err := c.v.list(ctx, kind, c.m.g.ids[i], limit)
	if err == nil {
		c.c.readRange(reading, kind, i, limit, edges)
	}
	return len(edges), err
}

func (c *client) window(ctx context.Context) (bool, error) {
	i, kind := c.m.list(c.r, bias{})
	low := c.m.g.begin.Add(time.Duration(c.r.Float64() * float64(days*day-c.m.span))).Truncate(time.Millisecond)
	reading := c.c.readList(c.at, kind, i)
	edges, err := c.v.window(ctx, kind, c.m.g.ids[i], low.Add(c.m.span).Truncate(time.Millisecond), low, c.m.limit(c.r))
	if err == nil {
		c.c.readWindow(reading, kind, i, edges)
	}
	return len(edges) > 0, err
}

func (c *client) create(ctx context.Context) error {
	spare := int(c.m.spares.Add(1)) - 1
	i := c.m.g.size + spare
	if i >= len(c.m.g.ids) {
		return c.update(ctx, c.m.object(c.r, c.m.updated)) // they are all used
	}
	w := c.c.writeObject(i, sets)
	o := &Object{ID: c.m.g.ids[i], Write: w.number, Type: c.m.g.typeOf(i), Created: c.m.g.begin, Data: c.m.g.data(i, w.number)}
	return c.write(ctx, w, place{objects.Name(), string(o.ID)}, func(ctx context.Context) (int, error) { return 0, c.v.create(ctx, o) })
}

func (c *client) update(ctx context.Context, i int) error {
	w := c.c.writeObject(i, sets)
	o := &Object{ID: c.m.g.ids[i], Write: w.number, Type: c.m.g.typeOf(i), Created: c.m.g.begin, Data: c.m.g.data(i, w.number)}
	return c.write(ctx, w, place{objects.Name(), string(o.ID)}, func(ctx context.Context) (int, error) { return 0, c.v.update(ctx, o) })
}

// remove removes an object that the run has added: it has no edges, so that it means the same
// whether or not those of a removed object go as well.
func (c *client) remove(ctx context.Context) error {
	n := min(int(c.m.spares.Load()), c.m.g.size)
	if n == 0 {
		return nil
	}
	i := c.m.g.size + c.r.IntN(n)
	w := c.c.writeObject(i, deletes)
	id := c.m.g.ids[i]
	return c.write(ctx, w, place{objects.Name(), string(id)}, func(ctx context.Context) (int, error) { return 0, c.v.remove(ctx, id) })
}

// write makes a write of a place.
func (c *client) write(ctx context.Context, w *write, p place, f func(ctx context.Context) (int, error)) error {
	defer c.n.writing(p)()
	return w.guarded(ctx, f)
}

func (c *client) writeEdge(ctx context.Context, o op) error {
	exists := changeFinds
	if o == assocAdd {
		exists = addFinds
	}
	i, j := c.m.edge(c.r, false, exists)
	g := c.m.g
	kind, end := g.kindOf(i, j), g.end(i, j)
	from, to := g.ids[i], g.ids[end]
	p := place{links[kind].Name(), string(from)}
	switch o {
	case assocAdd:
		w := c.c.writeEdge(kind, i, end, sets)
		e := &Edge{From: from, To: to, Time: time.Now().UTC().Truncate(time.Millisecond), Data: Link{w.number, g.linkData(i, j, w.number)}}
		return c.write(ctx, w, p, func(ctx context.Context) (int, error) {
			created, err := c.v.add(ctx, kind, e)
			if created {
				return 1, err
			}
			return 0, err
		})
	case assocDelete:
		w := c.c.writeEdge(kind, i, end, deletes)
		return c.write(ctx, w, p, func(ctx context.Context) (int, error) { return -1, c.v.removeEdge(ctx, kind, from, to) })
	}
	defer c.n.writing(p)()
	defer c.n.writing(place{links[1-kind].Name(), string(from)})()
	away, here := c.c.writeEdge(kind, i, end, deletes), c.c.writeEdge(1-kind, i, end, moves)
	err := c.v.changeKind(context.WithValue(ctx, ofWrite{}, true), kind, from, to)
	switch {
	case err == nil:
		away.done(-1)
		here.done(1)
	case isNothing(err):
		away.none()
		here.none()
		return nil
	}
	return err
}
