package lincheck

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/graphcache/graphcache"
)

// graphCell is a cell of records in the graphs.
type graphCell struct {
	w      *world
	n      int
	values *atomic.Int64 // the last value that was written

	items  [cellItems]*partition
	cities [cellCities]*partition
	hubs   [cellHubs]*partition // the lists of their links
	ends   [cellEnds]*partition // the lists of the links that lead there
}

// newCell returns a cell of the world.
func (w *world) newCell(n int, values *atomic.Int64) *cell {
	g := &graphCell{w: w, n: n, values: values}
	c := &cell{name: fmt.Sprintf("cell %d", n), n: n, read: g.read, write: g.write, states: g.states}
	for i := range g.items {
		g.items[i] = &partition{name: fmt.Sprintf("item %s", itemAt(n, i)), model: itemModel}
		c.partitions = append(c.partitions, g.items[i])
	}
	for i := range g.cities {
		g.cities[i] = &partition{name: fmt.Sprintf("items in city %s", cityName(n, i)), model: memberModel}
		c.partitions = append(c.partitions, g.cities[i])
	}
	for i := range g.hubs {
		g.hubs[i] = &partition{name: fmt.Sprintf("links from %s", hubID(n, i)), model: listModel(fixedAt(i))}
		c.partitions = append(c.partitions, g.hubs[i])
	}
	for i := range g.ends {
		g.ends[i] = &partition{name: fmt.Sprintf("links to %s", endID(n, i)), model: listModel(nil)}
		c.partitions = append(c.partitions, g.ends[i])
	}
	for i, p := range c.partitions {
		p.n = n*len(c.partitions) + i
	}
	return c
}

// fixedAt returns the fixed links of a hub.
func fixedAt(hub int) []edgeState {
	if hub != 0 {
		return nil
	}
	return fixedEdges()
}

// read does one read.
func (g *graphCell) read(ctx context.Context, c *client) {
	switch n := c.rng.IntN(100); {
	case n < 25:
		g.get(ctx, c)
	case n < 35:
		g.getMany(ctx, c)
	case n < 60:
		g.search(ctx, c)
	case n < 65:
		g.getLink(ctx, c)
	case n < 85:
		hub := c.rng.IntN(cellHubs)
		readLinks(ctx, c, g.w.graph(c.id), g.hubs[hub], links.Out(hubID(g.n, hub)), func(l *link) nodeID { return l.To })
	default:
		end := c.rng.IntN(cellEnds)
		readLinks(ctx, c, g.w.graph(c.id), g.ends[end], links.In(endID(g.n, end)), func(l *link) nodeID { return l.From })
	}
}

// stateOf returns the state of an item, which may be nil.
func stateOf(i *itemRecord) itemState {
	if i == nil {
		return itemState{}
	}
	return itemState{i.Value, lastNumber(i.City), i.Count}
}

func (g *graphCell) get(ctx context.Context, c *client) {
	i := c.rng.IntN(cellItems)
	called := c.now()
	item, err := items.Get(ctx, g.w.graph(c.id), itemAt(g.n, i), c.freshness())
	if errors.Is(err, graphcache.ErrNotFound) {
		err = nil
	}
	c.didRead(called, err, effect{g.items[i], itemCall{verb: getItem}, stateOf(item)})
}

// getMany reads all items at once, which for each of them is a read of its own.
func (g *graphCell) getMany(ctx context.Context, c *client) {
	called := c.now()
	found, err := items.GetMany(ctx, g.w.graph(c.id), g.itemIDs(), c.freshness())
	var effects []effect
	for i, p := range g.items {
		effects = append(effects, effect{p, itemCall{verb: getItem}, stateOf(found[itemAt(g.n, i)])})
	}
	c.didRead(called, err, effects...)
}

func (g *graphCell) itemIDs() (ids []itemID) {
	for i := range g.items {
		ids = append(ids, itemAt(g.n, i))
	}
	return ids
}

// search asks which items are in a city. What it reads is one value of the index, and
// no object.
func (g *graphCell) search(ctx context.Context, c *client) {
	city := c.rng.IntN(cellCities)
	p, conn := g.cities[city], g.w.graph(c.id)
	q := items.Where(itemCity.Eq(cityName(g.n, city)))
	if c.freshness() == graphcache.Fresh {
		q = q.Fresh()
	}
	switch n := c.rng.IntN(10); {
	case n < 6:
		limit := max(0, c.rng.IntN(8)-4)
		called := c.now()
		ids, err := q.Limit(limit).IDs(ctx, conn)
		c.didRead(called, err, effect{p, memberCall{verb: listMembers, limit: limit}, membersOf(ids)})
	case n < 9:
		called := c.now()
		count, err := q.Count(ctx, conn)
		c.didRead(called, err, effect{p, memberCall{verb: countMembers}, int64(count)})
	default:
		called := c.now()
		found, err := q.Exists(ctx, conn)
		c.didRead(called, err, effect{p, memberCall{verb: existMembers}, found})
	}
}

// membersOf returns the items with the IDs, which are to be in order.
func membersOf(ids []itemID) (m members) {
	for i, id := range ids {
		if i > 0 && ids[i-1] >= id {
			return noMembers
		}
		m |= 1 << lastNumber(id)
	}
	return m
}

func (g *graphCell) getLink(ctx context.Context, c *client) {
	hub, end := c.rng.IntN(cellHubs), c.rng.IntN(cellEnds)
	called := c.now()
	l, err := links.Get(ctx, g.w.graph(c.id), hubID(g.n, hub), endID(g.n, end), c.freshness())
	var e edgeState
	if errors.Is(err, graphcache.ErrNotFound) {
		err = nil
	} else if err == nil {
		e = edgeOf(l, l.To)
	}
	// It is read from the list of the hub alone.
	c.didRead(called, err, effect{g.hubs[hub], listCall{verb: getEdge, edge: edgeState{end: end}}, e})
}

// readLinks reads a part of a list.
func readLinks[T any](ctx context.Context, c *client, g *graphcache.Graph, p *partition, q graphcache.Query[T, link], far func(*link) nodeID) {
	s := randomSpan(c)
	if s.low > 0 {
		q = q.Since(rankTime(s.low))
	}
	if s.high < wholeList.high {
		q = q.Until(rankTime(s.high))
	}
	if c.freshness() == graphcache.Fresh {
		q = q.Fresh()
	}
	switch n := c.rng.IntN(10); {
	case n < 6:
		called := c.now()
		found, err := q.Offset(s.offset).Limit(s.limit).Edges(ctx, g)
		c.didRead(called, err, effect{p, listCall{verb: listEdges, span: s}, edgesOf(found, far)})
	case n < 9:
		s.offset, s.limit = 0, 0
		called := c.now()
		count, err := q.Count(ctx, g)
		c.didRead(called, err, effect{p, listCall{verb: countEdges, span: s}, count})
	default:
		s.offset, s.limit = 0, 0
		called := c.now()
		found, err := q.Exists(ctx, g)
		c.didRead(called, err, effect{p, listCall{verb: existEdges, span: s}, found})
	}
}

// randomSpan returns a part of a list. Most are short and at its beginning; others are
// beyond the part of it that is loaded first.
func randomSpan(c *client) span {
	s := wholeList
	switch n := c.rng.IntN(10); {
	case n < 5:
		s.limit = 1 + c.rng.IntN(8)
	case n < 6:
		s.offset, s.limit = fixedLinks-c.rng.IntN(10), 1+c.rng.IntN(8)
	case n < 7:
		s.offset, s.limit = c.rng.IntN(4), 1+c.rng.IntN(8)
	case n < 8:
		s.low = ranks - 100
	case n < 9:
		s.high = 100
	}
	return s
}

func edgesOf(found []link, far func(*link) nodeID) []edgeState {
	edges := make([]edgeState, len(found))
	for i := range found {
		edges[i] = edgeOf(&found[i], far(&found[i]))
	}
	return edges
}

// write does one write.
func (g *graphCell) write(ctx context.Context, c *client) {
	switch n := c.rng.IntN(100); {
	case n < 60:
		g.writeItem(ctx, c)
	default:
		g.writeLink(ctx, c)
	}
}

func (g *graphCell) writeItem(ctx context.Context, c *client) {
	i, conn := c.rng.IntN(cellItems), g.w.graph(c.id)
	id, call := itemAt(g.n, i), itemCall{randomItemVerb(c), g.values.Add(1), c.rng.IntN(cellCities)}
	record := itemRecord{ID: id, Value: call.value, City: cityName(g.n, call.city)}
	var after *itemRecord
	var err error
	effects := append(g.moves(i, call), effect{g.items[i], call, done{}})
	called := c.willWrite(effects...)
	switch call.verb {
	case putItem:
		err = items.Put(ctx, conn, &record)
	case createItem:
		err = items.Create(ctx, conn, &record)
	case updateItem:
		after, err = items.Update(ctx, conn, id, func(r *itemRecord) error { r.Value = record.Value; return nil })
	case moveItem:
		after, err = items.Apply(ctx, conn, id, itemValue.Set(record.Value), itemCity.Set(record.City))
	case applyItem:
		after, err = items.Apply(ctx, conn, id, itemValue.Set(record.Value), itemCount.Add(1))
	case deleteItem:
		err = items.Delete(ctx, conn, id)
		if errors.Is(err, graphcache.ErrUnavailable) || errors.Is(err, graphcache.ErrConflict) {
			// A deletion is several writes, of which the first may have been applied.
			err = fmt.Errorf("%w: %v", errHalfWay, err)
		}
	}
	if after != nil {
		effects[len(effects)-1].out = stateOf(after)
	}
	c.didWrite(called, err, effects...)
}

func randomItemVerb(c *client) itemVerb {
	switch n := c.rng.IntN(100); {
	case n < 20:
		return putItem
	case n < 30:
		return createItem
	case n < 50:
		return updateItem
	case n < 70:
		return moveItem
	case n < 90:
		return applyItem
	}
	return deleteItem
}

// moves returns what a write of an item does to the cities. Writes that leave it where it
// is do nothing.
func (g *graphCell) moves(item int, call itemCall) (effects []effect) {
	if call.verb == updateItem || call.verb == applyItem {
		return nil
	}
	for city, p := range g.cities {
		in := city == call.city && call.verb != deleteItem
		effects = append(effects, effect{p, memberCall{verb: setMember, item: item, in: in}, done{}})
	}
	return effects
}

func (g *graphCell) writeLink(ctx context.Context, c *client) {
	hub, end, conn := c.rng.IntN(cellHubs), c.rng.IntN(cellEnds), g.w.graph(c.id)
	from, to := hubID(g.n, hub), endID(g.n, end)
	e := edgeState{rank: c.rng.IntN(ranks), value: g.values.Add(1)}
	if c.chance(0.5) {
		e.rank = ranks - 1 - c.rng.IntN(20) // among the newest
	}
	if c.chance(0.4) {
		effects := g.inBoth(hub, end, listCall{verb: removeEdge}, done{})
		called := c.willWrite(effects...)
		err := links.Remove(ctx, conn, from, to)
		c.didWrite(called, err, effects...)
		return
	}
	call := listCall{verb: addEdge, edge: e}
	called := c.willWrite(g.inBoth(hub, end, call, false)...)
	created, err := links.AddEdge(ctx, conn, e.link(from, to))
	c.didWrite(called, err, g.inBoth(hub, end, call, created)...)
}

// inBoth returns what a write of a link does to the lists of its ends.
func (g *graphCell) inBoth(hub, end int, call listCall, out any) []effect {
	atHub, atEnd := call, call
	atHub.edge.end, atEnd.edge.end = end, hub
	return []effect{{g.hubs[hub], atHub, out}, {g.ends[end], atEnd, out}}
}

// states reads everything from the store. No client is at work meanwhile.
func (g *graphCell) states(ctx context.Context) (states []any, err error) {
	conn := g.w.graphs[0]
	found, err := items.GetMany(ctx, conn, g.itemIDs(), graphcache.Fresh)
	if err != nil {
		return nil, err
	}
	for i := range g.items {
		states = append(states, stateOf(found[itemAt(g.n, i)]))
	}
	for i := range g.cities {
		ids, err := items.Where(itemCity.Eq(cityName(g.n, i))).Fresh().IDs(ctx, conn)
		if err != nil {
			return nil, err
		}
		states = append(states, membersOf(ids))
	}
	for i := range g.hubs {
		found, err := links.Out(hubID(g.n, i)).Fresh().Edges(ctx, conn)
		if err != nil {
			return nil, err
		}
		states = append(states, listOf(edgesOf(found, func(l *link) nodeID { return l.To })))
	}
	for i := range g.ends {
		found, err := links.In(endID(g.n, i)).Fresh().Edges(ctx, conn)
		if err != nil {
			return nil, err
		}
		states = append(states, listOf(edgesOf(found, func(l *link) nodeID { return l.From })))
	}
	return states, nil
}

// listOf returns the state of a list with the edges, without the fixed ones.
func listOf(edges []edgeState) (s listState) {
	for _, e := range edges {
		if e.value > 0 {
			s[e.end] = e
		}
	}
	return s
}
