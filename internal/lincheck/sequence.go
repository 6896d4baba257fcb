package lincheck

import (
	"context"
	"errors"
	"fmt"

	"github.com/graphcache/graphcache"
)

// The sequences of a cell. Every record has the number of its last write as its value, so
// what is there in state n follows from n.

// lastWrite returns the last write up to number n of the record, of so many that are
// written in turn.
func lastWrite(n int64, record, records int) int64 {
	return n - (n-int64(record)+int64(records))%int64(records)
}

// refresh returns the query with the freshness.
func refresh[T, E any](q graphcache.Query[T, E], fresh graphcache.Freshness) graphcache.Query[T, E] {
	if fresh == graphcache.Fresh {
		return q.Fresh()
	}
	return q
}

// wrong is what a read returns for what no state shows.
const wrong = -1 << 32

// sequences returns those of all cells.
func (w *world) sequences() (all []*sequence) {
	for cell := range w.cells {
		all = append(all, w.itemSequence(cell), w.linkSequence(cell))
	}
	return all
}

// itemSequence moves the items of a cell from city to city, one after the other.
type itemSequence struct {
	w    *world
	cell int
}

func (w *world) itemSequence(cell int) *sequence {
	s := itemSequence{w, cell}
	q := &sequence{name: fmt.Sprintf("items of cell %d", cell), first: cellItems, write: s.write}
	for item := range cellItems {
		q.views = append(q.views, s.item(item))
	}
	for city := range cellCities {
		q.views = append(q.views, s.ids(city), s.count(city))
	}
	return q
}

func (s itemSequence) write(ctx context.Context, client int, n int64) error {
	r := itemRecord{ID: itemAt(s.cell, int(n%cellItems)), Value: n, City: cityName(s.cell, s.city(n))}
	if n <= cellItems || n%5 == 0 {
		return items.Put(ctx, s.w.graph(client), &r)
	}
	_, err := items.Apply(ctx, s.w.graph(client), r.ID, itemValue.Set(r.Value), itemCity.Set(r.City))
	return err
}

// city returns the city that write n moves its item to.
func (s itemSequence) city(n int64) int { return int(n/cellItems) % cellCities }

// members returns the items that are in the city in state n.
func (s itemSequence) members(n int64, city int) (m members) {
	for i := range cellItems {
		if s.city(lastWrite(n, i, cellItems)) == city {
			m |= 1 << i
		}
	}
	return m
}

// item reads the value of an item, which also says where the item must be.
func (s itemSequence) item(item int) *view {
	id := itemAt(s.cell, item)
	return &view{
		name:  "item " + string(id),
		shows: func(n int64) int64 { return lastWrite(n, item, cellItems) },
		read: func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error) {
			r, err := items.Get(ctx, s.w.graph(client), id, fresh)
			switch {
			case errors.Is(err, graphcache.ErrNotFound):
				return wrong, nil
			case err != nil:
				return 0, err
			case r.City != cityName(s.cell, s.city(r.Value)):
				return wrong, nil
			}
			return r.Value, nil
		},
	}
}

func (s itemSequence) ids(city int) *view {
	name := cityName(s.cell, city)
	return &view{
		name:  "IDs in city " + name,
		shows: func(n int64) int64 { return int64(s.members(n, city)) },
		read: func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error) {
			ids, err := refresh(items.Where(itemCity.Eq(name)), fresh).IDs(ctx, s.w.graph(client))
			return int64(membersOf(ids)), err
		},
	}
}

func (s itemSequence) count(city int) *view {
	name := cityName(s.cell, city)
	return &view{
		name:  "count in city " + name,
		shows: func(n int64) int64 { return s.members(n, city).count() },
		read: func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error) {
			count, err := refresh(items.Where(itemCity.Eq(name)), fresh).Count(ctx, s.w.graph(client))
			return int64(count), err
		},
	}
}

// linkSequence adds a link to each of the ends in turn, replaces each, removes each, and
// begins again.
type linkSequence struct {
	w     *world
	cell  int
	hub   nodeID
	fixed []edgeState
}

func (w *world) linkSequence(cell int) *sequence {
	s := linkSequence{w, cell, hubID(cell, 0), fixedEdges()}
	q := &sequence{name: fmt.Sprintf("links from %s", s.hub), first: cellEnds, write: s.write}
	q.views = append(q.views, s.newest(), s.count(), s.far())
	for end := range cellEnds {
		q.views = append(q.views, s.to(end), s.link(end))
	}
	return q
}

// removes reports whether write n removes a link.
func (s linkSequence) removes(n int64) bool { return n/cellEnds%3 == 2 }

func (s linkSequence) write(ctx context.Context, client int, n int64) error {
	end := endID(s.cell, int(n%cellEnds))
	if s.removes(n) {
		err := links.Remove(ctx, s.w.graph(client), s.hub, end)
		if errors.Is(err, graphcache.ErrNotFound) {
			return nil // an earlier attempt has removed it
		}
		return err
	}
	e := edgeState{rank: ranks + int(n), value: n}
	_, err := links.AddEdge(ctx, s.w.graph(client), e.link(s.hub, end))
	return err
}

// at returns the value of the link to an end in state n, 0 if it is absent.
func (s linkSequence) at(n int64, end int) int64 {
	if last := lastWrite(n, end, cellEnds); !s.removes(last) {
		return last
	}
	return 0
}

// written returns the number of links in state n, without the fixed ones, and the value
// of the newest, 0 if there is none.
func (s linkSequence) written(n int64) (count, newest int64) {
	for end := range cellEnds {
		if value := s.at(n, end); value > 0 {
			count, newest = count+1, max(newest, value)
		}
	}
	return count, newest
}

func (s linkSequence) newest() *view {
	return &view{
		name:  "the newest",
		shows: func(n int64) int64 { _, newest := s.written(n); return newest },
		read: func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error) {
			found, err := refresh(links.Out(s.hub), fresh).Limit(1).Edges(ctx, s.w.graph(client))
			value := only(found)
			if value == s.fixed[0].value {
				value = 0
			}
			return value, err
		},
	}
}

func (s linkSequence) count() *view {
	return &view{
		name:  "count",
		shows: func(n int64) int64 { count, _ := s.written(n); return count + fixedLinks },
		read: func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error) {
			count, err := refresh(links.Out(s.hub), fresh).Count(ctx, s.w.graph(client))
			return int64(count), err
		},
	}
}

// far reads a link that is beyond what is loaded of a list at first: always a fixed one,
// but not always the same.
func (s linkSequence) far() *view {
	const position = 70
	return &view{
		name:  "far in the list",
		shows: func(n int64) int64 { count, _ := s.written(n); return s.fixed[position-count].value },
		read: func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error) {
			found, err := refresh(links.Out(s.hub), fresh).Offset(position).Limit(1).Edges(ctx, s.w.graph(client))
			return only(found), err
		},
	}
}

// to reads the list of the links to an end.
func (s linkSequence) to(end int) *view {
	id := endID(s.cell, end)
	return &view{
		name:  "links to " + string(id),
		shows: func(n int64) int64 { return s.at(n, end) },
		read: func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error) {
			found, err := refresh(links.In(id), fresh).Edges(ctx, s.w.graph(client))
			return only(found), err
		},
	}
}

// link reads the link to an end, by way of the hub's list.
func (s linkSequence) link(end int) *view {
	id := endID(s.cell, end)
	return &view{
		name:  "the link to " + string(id),
		shows: func(n int64) int64 { return s.at(n, end) },
		read: func(ctx context.Context, client int, fresh graphcache.Freshness) (int64, error) {
			l, err := links.Get(ctx, s.w.graph(client), s.hub, id, fresh)
			if errors.Is(err, graphcache.ErrNotFound) {
				return 0, nil
			}
			if err != nil {
				return 0, err
			}
			return l.Data.Value, nil
		},
	}
}

// only returns the value of the only link, 0 if there is none.
func only(found []link) int64 {
	switch len(found) {
	case 0:
		return 0
	case 1:
		return found[0].Data.Value
	}
	return wrong
}
