package graphcache

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// Conditions and orders in the engine, on what the fragments of edges and objects have.

// objects returns the results of a hop that starts from a kind.
func (x *exec) objects(k *boundKind, h *hop, p hopPlan) ([]row, error) {
	switch p.access {
	case ByID:
		return x.byID(h, p.ids)
	case ByScan:
		r := k.searchRequest(kindAnchor, "", h, false)
		if len(r.field) > maxFieldKey {
			return x.ask(k, h, nil)
		}
		return x.search(h, r)
	case ByIndexOrder:
		return x.search(h, k.orderRequest(h, p, false))
	}
	candidates, whole, err := x.candidates(k, p)
	if err != nil {
		return nil, err
	}
	if p.exact && len(h.order) == 0 {
		rows, err := h.cut(candidates, nil)
		switch {
		case err != nil:
			return nil, err
		case whole || len(p.prefixes) == 1 && h.limit > 0 && len(rows) == h.limit:
			return rows, nil
		case len(p.prefixes) == 1:
			return x.search(h, k.orderRequest(h, p, false))
		}
		return x.ask(k, h, nil)
	}
	if !whole || len(candidates) > maxCandidates {
		return x.ask(k, h, nil)
	}
	return x.among(h, candidates)
}

// byID returns the results among the objects with the IDs. They are loaded in batches; if
// their order is that of the IDs, as many as it takes to fill the limit.
func (x *exec) byID(h *hop, ids []string) ([]row, error) {
	ids = slices.Sorted(slices.Values(ids))
	var rows []row
	for len(ids) > 0 {
		batch := make([]row, min(len(ids), maxCandidates))
		for i := range batch {
			batch[i].far = ids[i]
		}
		ids = ids[len(batch):]
		found, err := x.withObjects(h, batch)
		if err != nil {
			return nil, err
		}
		if found, err = matching(found, h.where); err != nil {
			return nil, err
		}
		rows = append(rows, found...)
		if len(h.order) > 0 || h.limit == 0 {
			continue
		}
		if result, err := h.cut(rows, nil); err != nil || len(result) == h.limit {
			return result, err
		}
	}
	rows, err := h.sort(rows)
	if err != nil {
		return nil, err
	}
	return h.cut(rows, nil)
}

// search fetches the objects that a search finds for the hop.
func (x *exec) search(h *hop, r request) ([]row, error) {
	reqs := [...]request{r}
	if err := x.c.fetch(x.ctx, reqs[:], x.fresh); err != nil {
		return nil, err
	}
	rows, err := rowsOf(reqs[0].list)
	return window(rows, 0, h.limit), err
}

// candidates returns the objects under the prefixes of an index by ID, each once, and
// whether these are all. If they are not, those of the only prefix are the first ones.
func (x *exec) candidates(k *boundKind, p hopPlan) (rows []row, whole bool, err error) {
	reqs := make([]request, len(p.prefixes))
	for i, values := range p.prefixes {
		reqs[i] = k.indexRequest(p.index, values)
	}
	if err := x.c.fetch(x.ctx, reqs, x.fresh); err != nil {
		return nil, false, err
	}
	whole = true
	for i := range reqs {
		found, err := rowsOf(reqs[i].list)
		if err != nil {
			return nil, false, err
		}
		rows = append(rows, found...)
		whole = whole && reqs[i].list.complete()
	}
	slices.SortFunc(rows, func(a, b row) int { return strings.Compare(a.far, b.far) })
	return slices.CompactFunc(rows, func(a, b row) bool { return a.far == b.far }), whole, nil
}

// countObjects counts the results of a hop that starts from a kind.
func (x *exec) countObjects(k *boundKind, h *hop, p hopPlan) (int, error) {
	switch {
	case p.access == ByScan:
		r := k.searchRequest(kindAnchor, "", h, true)
		if len(r.field) > maxFieldKey {
			r = k.storeRequest(h, nil, true)
		}
		return x.countFound(h, r)
	case p.access == ByIndex && p.exact && len(p.prefixes) == 1:
		candidates, whole, err := x.candidates(k, p)
		if err != nil || whole {
			return h.within(len(candidates)), err
		}
		return x.countFound(h, k.orderRequest(h, p, true))
	}
	if p.access == ByID {
		rows, err := x.byID(h, p.ids)
		return len(rows), err
	}
	candidates, whole, err := x.candidates(k, p)
	switch {
	case err != nil:
		return 0, err
	case whole && p.exact:
		return h.within(len(candidates)), nil
	case !whole || len(candidates) > maxCandidates:
		return x.countFound(h, k.storeRequest(h, nil, true))
	}
	rows, err := x.among(h, candidates)
	return len(rows), err
}

// among returns the results of a hop among the candidates, which are all there are.
func (x *exec) among(h *hop, candidates []row) ([]row, error) {
	rows, err := x.withObjects(h, candidates)
	if err != nil {
		return nil, err
	}
	if rows, err = matching(rows, h.where); err != nil {
		return nil, err
	}
	if rows, err = h.sort(rows); err != nil {
		return nil, err
	}
	return h.cut(rows, nil)
}

// filtered returns the results of a hop along edges that has conditions, an order or a
// cursor, if the lists' cached prefixes and at most maxCandidates objects tell. ok is
// false if they do not.
func (x *exec) filtered(h *hop, starts []string) (rows []row, ok bool, err error) {
	rows, whole, err := x.matchingEdges(h, starts)
	switch {
	case err != nil:
		return nil, false, err
	case len(h.order) > 0 && !whole:
		return nil, false, nil
	case len(h.order) == 0 && h.limitPer == 0 && !h.distinct:
		// Not to load objects that are on an earlier page.
		if rows, err = h.skip(rows, starts); err != nil {
			return nil, false, err
		}
	}
	if h.needsObjects() {
		return x.matchingObjects(h, rows, starts, whole)
	}
	if rows, err = h.sort(rows); err != nil {
		return nil, false, err
	}
	if rows, err = h.cut(rows, starts); err != nil {
		return nil, false, err
	}
	return rows, whole || h.limit > 0 && len(rows) == h.limit, nil
}

// matchingEdges returns the edges of the lists that match, up to the end of the first
// list that is not known to its end. whole says that there is no such list.
func (x *exec) matchingEdges(h *hop, starts []string) (rows []row, whole bool, err error) {
	s := span{high: h.high, low: h.low}
	need := s
	if need.high.set {
		need = span{} // no prefix is ever loaded for an upper bound, but here a long one helps
	}
	lists, ends := make([][]row, len(starts)), make([]bool, len(starts))
	var failed error
	err = x.prefixes(h, starts, &need, func(i int, l edgeList) {
		from, to, known := l.answer(s)
		found := make([]row, 0, to-from)
		for ; from < to; from++ {
			found = append(found, row{edge: l.at(from), near: starts[i]})
		}
		var err error
		if lists[i], err = matching(found, h.whereEdge); err != nil {
			failed = err
		}
		ends[i] = known
		if n := h.limitPer; n > 0 && len(lists[i]) >= n && len(h.order) == 0 && !h.needsObjects() {
			lists[i], ends[i] = lists[i][:n], true
		}
	})
	if err == nil {
		err = failed
	}
	for i := range lists {
		rows = append(rows, lists[i]...)
		if !ends[i] {
			return rows, false, err
		}
	}
	return rows, true, err
}

// matchingObjects returns the results of a hop among the rows whose edges match. The
// objects are loaded in batches, as many as it takes to fill the limit.
func (x *exec) matchingObjects(h *hop, candidates []row, starts []string, whole bool) (rows []row, ok bool, err error) {
	batch := maxCandidates
	if reach := addOffset(h.limit, h.offset); len(h.order) == 0 && h.limit > 0 && reach < maxCandidates/4 {
		batch = 4 * max(reach, 16)
	}
	seen := map[string]bool{} // how many objects are loaded
	for {
		n := 0
		for ; n < len(candidates) && n < batch; n++ {
			if seen[candidates[n].far] = true; len(seen) > maxCandidates {
				return nil, false, nil
			}
		}
		found, err := x.withObjects(h, candidates[:n])
		if err != nil {
			return nil, false, err
		}
		if found, err = matching(found, h.where); err != nil {
			return nil, false, err
		}
		rows, candidates = append(rows, found...), candidates[n:]
		if len(candidates) > 0 && (len(h.order) > 0 || h.limit == 0) {
			continue
		}
		result, err := h.sort(slices.Clone(rows))
		if err != nil {
			return nil, false, err
		}
		if result, err = h.cut(result, starts); err != nil {
			return nil, false, err
		}
		full := len(h.order) == 0 && h.limit > 0 && len(result) == h.limit
		if full || len(candidates) == 0 {
			return result, whole || full, nil
		}
		batch = min(2*batch, maxCandidates)
	}
}

var errColumn = errors.New("a field cannot be read")

// value returns the value of a column of the row.
func (r *row) value(c *column) (v driver.Value, err error) {
	switch c.Of {
	case driver.ObjectID:
		return r.far, nil
	case driver.EdgeTime:
		return time.UnixMilli(r.ms).UTC(), nil
	case driver.EdgeField:
		v, err = c.plan.Read(r.data)
	default:
		var body []byte
		if _, body, err = msgp.ReadInt64Bytes(r.object.body); err == nil {
			v, err = c.plan.Read(body)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s of %q: %w: %w", c.label(), r.far, errColumn, err)
	}
	return v, nil
}

// matching returns the rows that match all of the conditions.
func matching(rows []row, of []pred) ([]row, error) {
	if len(of) == 0 {
		return rows, nil
	}
	kept := rows[:0:len(rows)]
	for i := range rows {
		ok, err := rows[i].matchesAll(of)
		if err != nil {
			return nil, err
		}
		if ok {
			kept = append(kept, rows[i])
		}
	}
	return kept, nil
}

func (r *row) matchesAll(of []pred) (bool, error) {
	for i := range of {
		if ok, err := r.matches(&of[i]); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func (r *row) matches(p *pred) (bool, error) {
	if p.isLeaf() {
		v, err := r.value(p.col)
		return err == nil && p.matches(v), err
	}
	if p.op == driver.And {
		return r.matchesAll(p.of)
	}
	for i := range p.of {
		if ok, err := r.matches(&p.of[i]); err != nil || ok {
			return ok, err
		}
	}
	return false, nil
}

// sort sorts the rows in the hop's order, if it has one, and those of a hop that starts
// from a kind by ID. The order is total: what is equal in it is sorted by the far end
// and then by the near one.
func (h *hop) sort(rows []row) ([]row, error) {
	if h.edge != nil && len(h.order) == 0 {
		return rows, nil
	}
	type keyed struct {
		row
		keys []driver.Value
	}
	sorted := make([]keyed, len(rows))
	for i := range rows {
		keys, err := rows[i].keysNow(h.order)
		if err != nil {
			return nil, err
		}
		sorted[i] = keyed{rows[i], keys}
	}
	slices.SortFunc(sorted, func(a, b keyed) int {
		return cmp.Or(compareBy(h.order, a.keys, b.keys), strings.Compare(a.far, b.far), strings.Compare(a.near, b.near))
	})
	for i := range sorted {
		rows[i] = sorted[i].row
	}
	return rows, nil
}

// keysNow returns the values by which the row is sorted, as they are in its object.
func (r *row) keysNow(order []orderKey) ([]driver.Value, error) {
	keys := make([]driver.Value, len(order))
	for i, k := range order {
		var err error
		if keys[i], err = r.value(k.col); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// cut applies to sorted rows what follows the order: LimitPer, Distinct, the cursor,
// Offset and Limit.
func (h *hop) cut(rows []row, starts []string) ([]row, error) {
	if h.limitPer > 0 {
		rows = limitPer(rows, h.limitPer)
	}
	if h.distinct {
		rows = distinctRows(rows)
	}
	rows, err := h.skip(rows, starts)
	if err != nil {
		return nil, err
	}
	return window(rows, h.offset, h.limit), nil
}

// limitPer keeps the first n rows of each near end.
func limitPer(rows []row, n int) []row {
	counts := map[string]int{}
	kept := rows[:0:len(rows)]
	for _, r := range rows {
		if counts[r.near]++; counts[r.near] <= n {
			kept = append(kept, r)
		}
	}
	return kept
}
