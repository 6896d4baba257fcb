package graphcache

import (
	"context"
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// exec runs one query, hop by hop. All lists of a hop are fetched in one batch, and
// once more, those that the cached prefixes did not answer.
type exec struct {
	ctx   context.Context
	c     conn
	ids   []string
	hops  []hop
	fresh Freshness
	// starts are the objects that the last hop starts from, once they are known.
	starts  []string
	started bool
	paging  bool // the results are a page, and must be in their order throughout
}

// row is one result of a hop: an edge, the object in whose list it is, and if it had to
// be looked at, the object that it leads to. Of a hop that starts from a kind there is
// only the far end.
type row struct {
	edge
	near   string
	object *value
	// keys are the values by which a store or an index has put the row in its place.
	keys []driver.Value
}

func (x *exec) last() *hop { return &x.hops[len(x.hops)-1] }

// start runs all hops but the last.
func (x *exec) start() error {
	if x.started {
		return nil
	}
	x.starts = x.ids
	for i := range x.hops[:len(x.hops)-1] {
		rows, err := x.hop(&x.hops[i], x.starts)
		if err != nil {
			return err
		}
		x.starts = distinct(farEnds(rows))
	}
	x.started = true
	return nil
}

// rows returns the results of the last hop.
func (x *exec) rows() ([]row, error) {
	if err := x.start(); err != nil {
		return nil, err
	}
	return x.hop(x.last(), x.starts)
}

// distinct returns the IDs without repetitions.
func distinct(ids []string) []string {
	seen := make(map[string]bool, len(ids))
	kept := ids[:0]
	for _, id := range ids {
		if !seen[id] {
			seen[id] = true
			kept = append(kept, id)
		}
	}
	return kept
}

// cached reports whether the cache may answer.
func (x *exec) cached() bool { return x.c.cached(x.fresh) }

// plan returns the hop's kind as the graph uses it, and the hop's plan.
func (x *exec) plan(h *hop) (*boundKind, hopPlan) {
	var k *boundKind
	if h.edge != nil {
		k = x.c.g.edges[h.edge]
	} else {
		k = x.c.g.objects[h.end]
	}
	return k, planHop(h, k, x.cached())
}

// hop returns the results of one hop.
func (x *exec) hop(h *hop, starts []string) ([]row, error) {
	k, p := x.plan(h)
	switch {
	case h.edge != nil && len(starts) == 0:
		return nil, nil
	case p.access == ByStore:
		return x.ask(k, h, starts)
	case h.edge == nil:
		return x.objects(k, h, p)
	case h.plain():
		return x.edges(h, starts)
	}
	rows, ok, err := x.filtered(h, starts)
	if err != nil || ok {
		return rows, err
	}
	return x.ask(k, h, starts)
}

// ask lets the store find the results of a hop.
func (x *exec) ask(k *boundKind, h *hop, starts []string) ([]row, error) {
	reqs := [...]request{k.storeRequest(h, starts, false)}
	if err := x.c.fetch(x.ctx, reqs[:], x.fresh); err != nil {
		return nil, err
	}
	if h.edge == nil {
		return rowsOf(reqs[0].list)
	}
	return reqs[0].rows, nil
}

// rowsOf returns the rows of a list of objects.
func rowsOf(l edgeList) ([]row, error) {
	rows := make([]row, l.len())
	for i := range rows {
		e := l.at(i)
		rows[i].far = e.far
		if len(e.data) > 0 {
			r := keyReader{b: e.data}
			rows[i].keys = r.values()
			if err := r.end(); err != nil {
				return nil, err
			}
		}
	}
	return rows, nil
}

// edges returns the rows of a hop without conditions, in the order of the lists. With a
// limit, no list is read further than the limit can reach, nor need it be: a list leads
// to an object once, so one that is longer fills the limit by itself, whatever Distinct
// leaves out.
func (x *exec) edges(h *hop, starts []string) ([]row, error) {
	limit := h.limitPer // of one list
	if h.limit > 0 {
		if reach := addOffset(h.limit, h.offset); limit == 0 || reach < limit {
			limit = reach
		}
	}
	s, offset := span{high: h.high, low: h.low, limit: limit}, h.offset
	if len(starts) == 1 && h.limitPer == 0 {
		s.offset, s.limit, offset = h.offset, h.limit, 0
	}
	lists, err := x.lists(h, starts, s)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, l := range lists {
		total += l.to - l.from
	}
	rows := make([]row, 0, total)
	for i, l := range lists {
		for n, far := range l.list.ends(l.from, l.to) {
			rows = append(rows, row{edge: edge{far: far, ms: l.list.time(n), data: l.list.data(n)}, near: starts[i]})
		}
	}
	if h.distinct {
		rows = distinctRows(rows)
	}
	return window(rows, offset, h.limit), nil
}

// distinctRows keeps the first row of each far end.
func distinctRows(rows []row) []row {
	seen := make(map[string]bool, len(rows))
	kept := rows[:0]
	for _, r := range rows {
		if !seen[r.far] {
			seen[r.far] = true
			kept = append(kept, r)
		}
	}
	return kept
}

// window returns what an offset and a limit leave of the rows.
func window(rows []row, offset, limit int) []row {
	rows = rows[min(offset, len(rows)):]
	if limit > 0 && limit < len(rows) {
		rows = rows[:limit]
	}
	return rows
}

// lists returns the first edges of each object's list that are within the hop's
// times, at most limit of each, if that is not 0.
func (x *exec) lists(h *hop, starts []string, s span) ([]listed, error) {
	lists := make([]listed, len(starts))
	var beyond []int
	err := x.prefixes(h, starts, &s, func(i int, l edgeList) {
		if from, to, ok := l.answer(s); ok {
			lists[i] = listed{l, from, to}
		} else {
			beyond = append(beyond, i)
		}
	})
	if err != nil || len(beyond) == 0 {
		return lists, err
	}
	return lists, x.spans(h, starts, beyond, s, lists)
}

// prefixes fetches the prefix of each object's list and passes it to use. With a
// need, a prefix that is too short for it is replaced by a longer one if that can
// help.
func (x *exec) prefixes(h *hop, starts []string, need *span, use func(i int, l edgeList)) error {
	k, err := x.c.g.boundEdge(h.edge)
	if err != nil || len(starts) == 0 {
		return err
	}
	if !x.cached() {
		for i := range starts {
			use(i, edgeList{}) // answers nothing: what is asked for is read as such
		}
		return nil
	}
	reqs := make([]request, len(starts))
	for i, id := range starts {
		if need != nil {
			reqs[i] = k.listRequest(h.direction, id, *need)
		} else {
			reqs[i] = k.probeRequest(h.direction, id)
		}
	}
	if err := x.c.fetch(x.ctx, reqs, x.fresh); err != nil {
		return err
	}
	for i := range reqs {
		use(i, reqs[i].list)
	}
	return nil
}

// spans fetches what prefixes did not answer.
func (x *exec) spans(h *hop, starts []string, beyond []int, s span, lists []listed) error {
	k, err := x.c.g.boundEdge(h.edge)
	if err != nil {
		return err
	}
	reqs := make([]request, len(beyond))
	for i, n := range beyond {
		reqs[i] = k.spanRequest(h.direction, starts[n], s)
	}
	if err := x.c.fetch(x.ctx, reqs, x.fresh); err != nil {
		return err
	}
	for i, n := range beyond {
		lists[n] = listed{list: reqs[i].list, to: reqs[i].list.len()}
	}
	return nil
}

// count returns the number of results of the last hop. Lists that are not cached whole
// are counted, not loaded, unless it matters which objects their edges lead to.
func (x *exec) count() (int, error) {
	h := x.last()
	h.dropOrder()
	if err := x.start(); err != nil {
		return 0, err
	}
	k, p := x.plan(h)
	switch {
	case h.edge != nil && len(x.starts) == 0:
		return 0, nil
	case p.access == ByStore:
		return x.countFound(h, k.storeRequest(h, x.starts, true))
	case h.edge == nil:
		return x.countObjects(k, h, p)
	case !h.plain():
		rows, ok, err := x.filtered(h, x.starts)
		if err == nil && !ok {
			return x.countFound(h, k.storeRequest(h, x.starts, true))
		}
		return len(rows), err
	case h.distinct && len(x.starts) > 1:
		rows, err := x.edges(h, x.starts)
		return len(rows), err
	}
	counts, err := x.counts(h, x.starts)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, n := range counts {
		if h.limitPer > 0 {
			n = min(n, h.limitPer)
		}
		total += n
	}
	return h.within(total), nil
}

// dropOrder drops an order that does not decide how many results there are. Only of what
// LimitPer keeps does it, and then only under Distinct.
func (h *hop) dropOrder() {
	if h.limitPer == 0 || !h.distinct {
		h.order = nil
	}
}

// within returns how many of n results the hop's offset and limit leave.
func (h *hop) within(n int) int { return span{offset: h.offset, limit: h.limit}.within(n) }

// countFound counts what a search finds.
func (x *exec) countFound(h *hop, r request) (int, error) {
	reqs := [...]request{r}
	if err := x.c.fetch(x.ctx, reqs[:], x.fresh); err != nil {
		return 0, err
	}
	n, _, err := msgp.ReadIntBytes(reqs[0].body)
	if err != nil {
		return 0, fmt.Errorf("%s: decode a count: %w", r.kind.name, err)
	}
	return h.within(n), nil
}

// counts returns the number of edges within the hop's times in each list.
func (x *exec) counts(h *hop, starts []string) ([]int, error) {
	s := span{high: h.high, low: h.low}
	counts := make([]int, len(starts))
	var beyond []int
	err := x.prefixes(h, starts, nil, func(i int, l edgeList) {
		if from, to, ok := l.answer(s); ok {
			counts[i] = to - from
		} else {
			beyond = append(beyond, i)
		}
	})
	if err != nil || len(beyond) == 0 {
		return counts, err
	}
	k, err := x.c.g.boundEdge(h.edge)
	if err != nil {
		return nil, err
	}
	reqs := make([]request, len(beyond))
	for i, n := range beyond {
		reqs[i] = k.countRequest(h.direction, starts[n], s)
	}
	if err := x.c.fetch(x.ctx, reqs, x.fresh); err != nil {
		return nil, err
	}
	for i, n := range beyond {
		if counts[n], _, err = msgp.ReadIntBytes(reqs[i].body); err != nil {
			return nil, fmt.Errorf("%s %q: decode a count: %w", k.name, starts[n], err)
		}
	}
	return counts, nil
}

// getEdges returns the edges of an object to the far ends, nil where there is none.
func (x *exec) getEdges(h *hop, id string, ends []string) ([]*edge, error) {
	edges := make([]*edge, len(ends))
	var beyond []int
	err := x.prefixes(h, []string{id}, nil, func(_ int, l edgeList) {
		for i, end := range ends {
			if n := l.find(end); n >= 0 {
				e := l.at(n)
				edges[i] = &e
			} else if !l.complete() {
				beyond = append(beyond, i)
			}
		}
	})
	if err != nil || len(beyond) == 0 {
		return edges, err
	}
	k, err := x.c.g.boundEdge(h.edge)
	if err != nil {
		return nil, err
	}
	reqs := make([]request, len(beyond))
	for i, n := range beyond {
		reqs[i] = k.endRequest(h.direction, id, ends[n])
	}
	if err := x.c.fetch(x.ctx, reqs, x.fresh); err != nil {
		return nil, err
	}
	for i, n := range beyond {
		if reqs[i].list.len() > 0 {
			e := reqs[i].list.at(0)
			edges[n] = &e
		}
	}
	return edges, nil
}

// fetchEdges is the entry of EdgeKind.Get and GetMany.
func fetchEdges(ctx context.Context, c conn, k *edgeKind, from string, ends []string, fresh Freshness) ([]*edge, error) {
	x := &exec{ctx: ctx, c: c, fresh: fresh}
	return x.getEdges(&hop{edge: k, direction: driver.Out}, from, ends)
}
