package graphcache

import (
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// iterBatch is how many objects are loaded at once when there is no limit.
const iterBatch = 1024

// each calls use with the results of the query that are there and match, in batches
// with their objects, until it returns false.
func (x *exec) each(use func([]row) (bool, error)) error {
	h := x.last()
	limit, used, more := h.limit, 0, 0
	p := loader{exec: x, hop: h, low: h.after}
	for {
		rows, err := x.rows()
		if err != nil {
			return err
		}
		cut := limit > 0 && len(rows) == h.limit
		for left := p.unseen(rows); len(left) > 0; {
			batch := left[:min(len(left), iterBatch)]
			left = left[len(batch):]
			if batch, err = p.load(batch, cut || limit > 0 && len(left) > 0); err != nil {
				return err
			}
			if limit > 0 {
				batch = batch[:min(len(batch), limit-used)]
			}
			used += len(batch)
			if goOn, err := use(batch); err != nil || !goOn || limit > 0 && used == limit {
				return err
			}
		}
		// Objects that no longer exist, or no longer match, have used up the
		// limit: take as many again as are missing, and twice as many each time
		// after that. The list may have grown at its head since.
		if !cut {
			return nil
		}
		more = max(limit-used, 2*more)
		h.limit = addOffset(h.limit, more)
	}
}

// loader loads the objects of a hop's rows, batch by batch. They may be of another moment
// than the rows: objects have gone, do not match any more, or have moved in the order.
//
// With a limit, what a batch returns are the objects whose place is now between the end
// of the batch before and the place that its own last row had when the rows were found.
// What has moved to behind that comes later, if at all; what has moved to before it is
// not found. So what has not moved is returned once and in its place, whatever happens
// to the others.
type loader struct {
	exec  *exec
	hop   *hop
	seen  map[[2]string]bool // the rows that have been returned or dropped
	low   []driver.Value     // the end of the batch before
	moved []row              // rows whose place is behind their batch
}

// unseen returns the rows that have not been returned or dropped.
func (p *loader) unseen(rows []row) []row {
	p.moved = nil // they are among the rows, or have gone
	if len(p.seen) == 0 {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return p.seen[p.hop.rowKey(&r)] })
}

// load fetches the objects of the rows that have none, checks that they match, and
// returns those whose place is in the batch. bounded says that others follow it.
func (p *loader) load(rows []row, bounded bool) ([]row, error) {
	p.remember(rows)
	if !slices.ContainsFunc(rows, func(r row) bool { return r.object == nil }) {
		return rows, nil
	}
	last := rows[len(rows)-1]
	rows, err := p.exec.withObjects(p.hop, rows)
	if err != nil {
		return nil, err
	}
	if !p.exec.c.g.shared.unchecked {
		if rows, err = matching(rows, p.hop.where); err != nil {
			return nil, err
		}
	}
	if last.keys == nil { // what places the rows is in them, and does not move
		return p.behind(rows, &last)
	}
	if rows, err = p.hop.sort(append(rows, p.moved...)); err != nil || p.hop.limit == 0 {
		return rows, err
	}
	var high []driver.Value
	if bounded {
		high = p.hop.placeOf(last.keys, &last)
	}
	return p.between(rows, high)
}

// remember notes rows that are not to be returned again by a later round.
func (p *loader) remember(rows []row) {
	if p.hop.limit == 0 {
		return // there is one round
	}
	if p.seen == nil {
		p.seen = make(map[[2]string]bool, len(rows))
	}
	for i := range rows {
		p.seen[p.hop.rowKey(&rows[i])] = true
	}
}

// behind returns, of a page, the rows behind the batch before: others have come into the
// list since that one was read.
func (p *loader) behind(rows []row, last *row) ([]row, error) {
	if !p.exec.paging {
		return rows, nil
	}
	kept := rows[:0:len(rows)]
	for _, r := range rows {
		past, err := p.hop.past(&r, p.low, p.exec.starts)
		if err != nil {
			return nil, err
		}
		if past {
			kept = append(kept, r)
		}
	}
	forward, err := p.hop.past(last, p.low, p.exec.starts)
	if err == nil && forward { // as in between
		p.low, err = p.hop.place(last)
	}
	return kept, err
}

// between returns the sorted rows behind the batch before and up to a place, and keeps
// those behind that.
func (p *loader) between(rows []row, high []driver.Value) ([]row, error) {
	p.moved = nil
	var kept []row
	for i := range rows {
		place, err := p.hop.place(&rows[i])
		switch {
		case err != nil:
			return nil, err
		case p.low != nil && p.hop.comparePlaces(place, p.low) <= 0:
			continue
		case high != nil && p.hop.comparePlaces(place, high) > 0:
			p.moved = append(p.moved, rows[i])
			delete(p.seen, p.hop.rowKey(&rows[i]))
			continue
		}
		kept = append(kept, rows[i])
	}
	// Never back: the unseen rows of a later round may all be new, and at the head.
	if high != nil && (p.low == nil || p.hop.comparePlaces(high, p.low) > 0) {
		p.low = high
	}
	return kept, nil
}

// withObjects fetches the objects of the rows in one batch, and returns the rows whose
// objects exist.
func (x *exec) withObjects(h *hop, rows []row) ([]row, error) {
	values, err := fetchValues(x.ctx, x.c, h.end, farEnds(rows), x.fresh)
	if err != nil {
		return nil, err
	}
	kept := make([]row, 0, len(rows))
	for i, r := range rows {
		if r.object = values[i]; r.object != nil {
			kept = append(kept, r)
		}
	}
	return kept, nil
}
