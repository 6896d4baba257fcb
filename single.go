package graphcache

import (
	"context"
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// Most reads of edges are of one object's list, without conditions. What is in this file
// does for them what exec does for every query, without what only several hops and several
// lists need.

// single returns the object, its edges of the kind in the direction, and the span of them
// that the query asks for, if that is all that it does.
func (s *source) single() (k *edgeKind, d driver.Direction, id string, part span, ok bool) {
	h := &s.last
	if s.err != nil || s.hops != 1 || s.ids != nil || h.limitPer > 0 || !h.plain() {
		return nil, 0, "", span{}, false
	}
	return h.edge, h.direction, s.id, span{high: h.high, low: h.low, offset: h.offset, limit: h.limit}, true
}

// listed is the part of an object's list that a read asks for.
type listed struct {
	list     edgeList
	from, to int
}

// edgesOf fetches a span of an object's list.
func (c conn) edgesOf(ctx context.Context, kind *edgeKind, d driver.Direction, id string, s span, fresh Freshness) (l listed, err error) {
	k, err := c.boundList(kind, d, id)
	if err != nil {
		return l, err
	}
	if near, ok := c.nearList(k, d, id, fresh); ok {
		if from, to, ok := near.answer(s); ok {
			k.counters.nearHits.add()
			return listed{near, from, to}, nil
		}
	}
	one := idleRequests.Get().(*[1]request)
	defer free(one)
	if c.cached(fresh) {
		one[0] = k.listRequest(d, id, s)
		if err := c.fetch(ctx, one[:], fresh); err != nil {
			return l, err
		}
		l.list = one[0].list
		if from, to, ok := l.list.answer(s); ok {
			l.from, l.to = from, to
			return l, nil
		}
	}
	one[0] = k.spanRequest(d, id, s)
	if err := c.fetch(ctx, one[:], fresh); err != nil {
		return l, err
	}
	return listed{list: one[0].list, to: one[0].list.len()}, nil
}

// countOf returns the number of edges of an object's list between the span's bounds that
// its offset and limit leave.
func (c conn) countOf(ctx context.Context, kind *edgeKind, d driver.Direction, id string, s span, fresh Freshness) (int, error) {
	k, err := c.boundList(kind, d, id)
	if err != nil {
		return 0, err
	}
	if near, ok := c.nearList(k, d, id, fresh); ok {
		if from, to, ok := near.answer(span{high: s.high, low: s.low}); ok {
			k.counters.nearHits.add()
			return s.within(to - from), nil
		}
	}
	one := idleRequests.Get().(*[1]request)
	defer free(one)
	if c.cached(fresh) {
		one[0] = k.probeRequest(d, id)
		if err := c.fetch(ctx, one[:], fresh); err != nil {
			return 0, err
		}
		if from, to, ok := one[0].list.answer(span{high: s.high, low: s.low}); ok {
			return s.within(to - from), nil
		}
	}
	one[0] = k.countRequest(d, id, s)
	if err := c.fetch(ctx, one[:], fresh); err != nil {
		return 0, err
	}
	n, _, err := msgp.ReadIntBytes(one[0].body)
	if err != nil {
		return 0, fmt.Errorf("%s %q: decode a count: %w", k.name, id, err)
	}
	return s.within(n), nil
}

// within returns how many of n edges the offset and the limit leave.
func (s span) within(n int) int {
	n -= min(n, s.offset)
	if s.limit > 0 {
		n = min(n, s.limit)
	}
	return n
}

// edgeTo fetches the edge from an object to a far end, nil if there is none.
func (c conn) edgeTo(ctx context.Context, kind *edgeKind, id, end string, fresh Freshness) (*edge, error) {
	k, err := c.boundList(kind, driver.Out, id)
	if err != nil {
		return nil, err
	}
	d := kind.direction(driver.Out)
	if near, ok := c.nearList(k, d, id, fresh); ok {
		if e, ok := near.edgeTo(end); ok {
			k.counters.nearHits.add()
			return e, nil
		}
	}
	one := idleRequests.Get().(*[1]request)
	defer free(one)
	if c.cached(fresh) {
		one[0] = k.probeRequest(d, id)
		if err := c.fetch(ctx, one[:], fresh); err != nil {
			return nil, err
		}
		if e, ok := one[0].list.edgeTo(end); ok {
			return e, nil
		}
	}
	one[0] = k.endRequest(d, id, end)
	if err := c.fetch(ctx, one[:], fresh); err != nil {
		return nil, err
	}
	if l := one[0].list; l.len() > 0 {
		return &edge{far: end, ms: l.time(0), data: l.data(0)}, nil
	}
	return nil, nil
}

// edgeTo returns the edge to a far end, nil if there is none, and whether the list can tell.
func (l edgeList) edgeTo(end string) (e *edge, ok bool) {
	if i := l.find(end); i >= 0 {
		return &edge{far: end, ms: l.time(i), data: l.data(i)}, true
	}
	return nil, l.complete()
}

// boundList returns the kind as the graph uses it, if the ID is one from which its edges
// can start in the direction.
func (c conn) boundList(kind *edgeKind, d driver.Direction, id string) (*boundKind, error) {
	k, err := c.g.boundEdge(kind)
	if err != nil {
		return nil, err
	}
	for _, end := range []*objectKind{kind.from, kind.to} {
		if _, err := c.g.boundObject(end); err != nil {
			return nil, err
		}
	}
	return k, checkID(nameOf(kind.end(driver.In-d)), id)
}

// readCount is the whole of EdgeKind.Count.
func readCount(ctx context.Context, c conn, k *edgeKind, id string) (n int, err error) {
	defer func() { wrap(&err, "query", k.name, "") }()
	ctx, op := c.g.start(ctx, "count", k.name)
	defer op.end(&err)
	return c.countOf(ctx, k, k.direction(driver.Out), id, span{}, Cached)
}

// readList is the whole of EdgeKind.Range and EdgeKind.TimeRange.
func readList[A, B, D any](ctx context.Context, c conn, k *EdgeKind[A, B, D], id string, s span) (_ []Edge[A, B, D], err error) {
	defer func() { wrap(&err, "query", k.core.name, "") }()
	ctx, op := c.g.start(ctx, "edges", k.core.name)
	defer op.end(&err)
	switch {
	case s.offset < 0:
		return nil, errNegative("Offset", s.offset)
	case s.limit < 0:
		return nil, errNegative("Limit", s.limit)
	}
	return decodeList(ctx, c, k.core, k.core.direction(driver.Out), id, s, Cached, edgeDecoder[Edge[A, B, D]](k))
}

// decodeList fetches a span of an object's list and makes the edges of it.
func decodeList[E any](ctx context.Context, c conn, k *edgeKind, d driver.Direction, id string, s span, fresh Freshness, decode edgeDecoder[E]) ([]E, error) {
	l, err := c.edgesOf(ctx, k, d, id, s, fresh)
	if err != nil {
		return nil, err
	}
	edges := make([]E, l.to-l.from)
	var e edge // one for all: it is passed to a method that nobody knows here
	for i, far := range l.list.ends(l.from, l.to) {
		e.far, e.ms, e.data = far, l.list.time(i), l.list.data(i)
		if edges[i-l.from], err = decode.decodeEdge(d, id, &e); err != nil {
			return nil, err
		}
	}
	return edges, nil
}
