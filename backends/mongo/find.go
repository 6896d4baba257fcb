package mongo

import (
	"context"
	"reflect"
	"slices"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// search is a find command that answers a step, or brings what the answer is made from.
type search struct {
	query
	keys []key
	// sorted: the server's order is that of the step.
	sorted bool
	// strays finds documents that the server would sort elsewhere, nil if there can be none.
	strays bson.D
	after  bson.D
	fields []string // what is needed of the documents, nil for all
}

// whole reports whether the server alone can apply offset and limit.
func (q *search) whole() bool { return q.exact && q.sorted }

// everyColumn is for documents that have all columns of a filter.
func everyColumn(*driver.Column) bool { return true }

// searchObjects returns the search for FindObjects.
func (l *objectLayout) searchObjects(s *driver.Step) search {
	f := fields{ids: l.ids}
	q := search{query: f.translate(s.Filter, everyColumn), sorted: l.ids.ordered}
	if q.exact && matchesAbsent(s.Filter) {
		q.filter = append(slices.Clip(q.filter), bson.E{Key: deletingField, Value: nil})
	}
	var strays bson.A
	q.fields = []string{"_id"}
	if !q.exact {
		q.fields = append(q.fields, deletingField)
		q.need(f, columns(nil, s.Filter))
	}
	for i, o := range s.Order {
		q.sorted = q.sorted && f.sortable(o.Column)
		var value any
		q.need(f, []*driver.Column{o.Column})
		if zeroed(o.Column) {
			strays = append(strays, bson.D{{Key: f.path(o.Column), Value: nil}})
		}
		if s.After != nil {
			q.sorted = q.sorted && follows(o.Column, s.After[i])
			value = l.placed(o.Column, s.After[i])
		}
		q.by(f.path(o.Column), o.Desc, value)
	}
	var id any
	if s.After != nil {
		var ok bool
		id, ok = l.ids.encode(s.After[len(s.Order)].(string))
		q.sorted = q.sorted && ok
	}
	q.by("_id", false, id)
	if s.After != nil {
		q.after = after(q.keys)
	}
	q.strays = joined("$or", strays)
	return q
}

// by adds a key to the order, unless there is one of the path, which decides.
func (q *search) by(path string, desc bool, after any) {
	i := slices.IndexFunc(q.keys, func(k key) bool { return k.path == path })
	if i < 0 {
		q.keys = append(q.keys, key{path, desc, after})
	} else if !reflect.DeepEqual(q.keys[i].after, after) {
		q.sorted = false // a place where no record can stand
	}
}

// placed returns a value of After as it is stored.
func (l *objectLayout) placed(c *driver.Column, v driver.Value) any {
	if id, ok := v.(string); ok && c.Of == driver.ObjectID {
		stored, _ := l.ids.encode(id)
		return stored
	}
	return toBSON(v)
}

// need adds the columns' fields to those that are asked for. Where there are older names, all
// of the record is needed that can be at the front of a path, because a field that is there
// counts even if the rest of its path is not.
func (q *search) need(f fields, columns []*driver.Column) {
	for _, c := range columns {
		if !renamed(c) {
			q.fields = append(q.fields, f.path(c))
			continue
		}
		q.fields = append(q.fields, escape(c.Path[0]))
		for _, name := range c.Was[0] {
			q.fields = append(q.fields, escape(name))
		}
	}
}

// projection returns the fields as MongoDB takes them: none below another one.
func (q *search) projection() bson.D {
	var d bson.D
	for _, name := range slices.Compact(slices.Sorted(slices.Values(q.fields))) {
		covered := slices.ContainsFunc(d, func(e bson.E) bool {
			return len(name) > len(e.Key) && name[:len(e.Key)] == e.Key && name[len(e.Key)] == '.'
		})
		if !covered {
			d = append(d, bson.E{Key: name, Value: int32(1)})
		}
	}
	return d
}

// and returns the filter with another condition.
func (q *search) and(more bson.D) bson.D {
	var parts bson.A
	for _, d := range []bson.D{q.filter, more} {
		if d != nil {
			parts = append(parts, d)
		}
	}
	return joined("$and", parts)
}

// findObjects answers FindObjects.
func (r *reader) findObjects(ctx context.Context, l *objectLayout, s *driver.Step) (driver.Result, error) {
	s = forObjects(s)
	q := l.searchObjects(s)
	switch {
	case q.never && s.Count:
		return driver.Result{Counts: []int{0}}, nil
	case q.never:
		return driver.Result{}, nil
	case s.Count && q.exact && s.After == nil:
		n, err := r.count(ctx, l.collection, q.filter)
		return driver.Result{Counts: []int{n}}, err
	}
	if !s.Count && q.sorted {
		found, ok, err := r.sortedObjects(ctx, l, s, &q)
		if err != nil || ok {
			return found, err
		}
	}
	return r.allObjects(ctx, l, s, &q)
}

// forObjects returns the step without what does not apply to objects.
func forObjects(s *driver.Step) *driver.Step {
	object := *s
	object.LimitPer, object.Distinct = 0, false
	return &object
}

// inOrder runs a command whose answer is in the server's order, and beside it, where there can
// be any, one that looks for documents that belong elsewhere. It reports whether there are none.
func (r *reader) inOrder(ctx context.Context, collection string, q *search, f func(context.Context) error) (bool, error) {
	var strayed atomic.Bool
	commands := 1
	if q.strays != nil {
		commands = 2
	}
	err := r.run(ctx, commands, func(ctx context.Context, i int) error {
		if i == 0 {
			return f(ctx)
		}
		o := options.Find().SetProjection(bson.D{{Key: "_id", Value: int32(1)}}).SetLimit(1)
		return r.find(ctx, collection, q.and(q.strays), o, func(bson.Raw) error {
			strayed.Store(true)
			return nil
		})
	})
	return !strayed.Load(), err
}

// sortedObjects reads objects in the server's order as far as they are needed. It gives up if
// there is an object that belongs elsewhere in the order.
func (r *reader) sortedObjects(ctx context.Context, l *objectLayout, s *driver.Step, q *search) (driver.Result, bool, error) {
	var found driver.Result
	ok, err := r.inOrder(ctx, l.collection, q, func(ctx context.Context) error {
		o := options.Find().SetSort(sorting(q.keys)).SetProjection(q.projection())
		skip, limit := s.Range.Offset, s.Range.Limit
		if q.exact {
			o.SetSkip(int64(skip)).SetLimit(int64(limit))
			skip = 0
		} else if n := 100 + skip + limit; limit > 0 && n > 0 && n < manyInOne { // few may be needed
			o.SetBatchSize(int32(n))
		}
		filter := q.filter
		if q.after != nil {
			filter = q.and(q.after)
		}
		return r.find(ctx, l.collection, filter, o, func(raw bson.Raw) error {
			hit, ok, err := q.hit(l, raw, s)
			if err != nil || !ok {
				return err
			}
			if skip > 0 {
				skip--
				return nil
			}
			found.IDs = append(found.IDs, hit.Far)
			if n := len(s.Order); n > 0 {
				found.Keys = append(found.Keys, hit.Place[:n:n])
			}
			if limit > 0 && len(found.IDs) == limit {
				return errEnough
			}
			return nil
		})
	})
	return found, ok, err
}

// hit returns the object in a document, with the fields that were asked for, if it matches.
func (q *search) hit(l *objectLayout, raw bson.Raw, s *driver.Step) (backend.Hit, bool, error) {
	o, err := l.object(raw)
	if err != nil || o.Deleting {
		return backend.Hit{}, false, err
	}
	value := func(c *driver.Column) driver.Value { return c.ValueIn(o, nil) }
	if !q.exact && !s.Filter.Matches(value) {
		return backend.Hit{}, false, nil
	}
	return backend.Hit{Place: append(backend.OrderValues(s, value), o.ID), Far: o.ID}, true, nil
}

// allObjects reads all objects that the server finds, and arranges those that match.
func (r *reader) allObjects(ctx context.Context, l *objectLayout, s *driver.Step, q *search) (driver.Result, error) {
	var hits []backend.Hit
	err := r.run(ctx, 1, func(ctx context.Context, _ int) error {
		hits = nil
		o := options.Find().SetProjection(q.projection())
		return r.find(ctx, l.collection, q.filter, o, func(raw bson.Raw) error {
			hit, ok, err := q.hit(l, raw, s)
			if ok {
				hits = append(hits, hit)
			}
			return err
		})
	})
	if err != nil {
		return driver.Result{}, err
	}
	return answer(s, hits), nil
}

// answer arranges hits and returns the part of them that a step asks for.
func answer(s *driver.Step, hits []backend.Hit) driver.Result {
	arranged := backend.Arrange(s, slices.Values(hits))
	if s.Count {
		return driver.Result{Counts: []int{backend.Count(arranged)}}
	}
	var found driver.Result
	for h := range backend.Page(arranged, s.Range) {
		if s.Op == driver.FindObjects {
			found.IDs = append(found.IDs, h.Far)
		} else {
			found.Rows = append(found.Rows, driver.Row{ID: h.Near, Edge: *h.Edge})
		}
		if n := len(s.Order); n > 0 {
			found.Keys = append(found.Keys, h.Place[:n:n])
		}
	}
	return found
}

// count counts documents.
func (r *reader) count(ctx context.Context, collection string, filter bson.D) (n int, err error) {
	if filter == nil {
		filter = bson.D{}
	}
	err = r.run(ctx, 1, func(ctx context.Context, _ int) error {
		c, err := r.s.collection(collection).CountDocuments(ctx, filter)
		if err != nil {
			return r.failed(collection, "count", err)
		}
		n = int(c)
		return nil
	})
	return n, err
}

// aboutEdges is for documents of edges, which have no columns of objects.
func aboutEdges(c *driver.Column) bool { return c.Of == driver.EdgeField || c.Of == driver.EdgeTime }

// aboutObjects is for documents of objects.
func aboutObjects(c *driver.Column) bool { return !aboutEdges(c) }

// findEdges answers FindEdges. The edges of one list are read in the server's order as far as
// they are needed, if that is the order that is asked for. Otherwise the edges that can match
// are all read, then the objects that they lead to, and what matches is arranged here.
func (r *reader) findEdges(ctx context.Context, l *edgeLayout, s *driver.Step) (driver.Result, error) {
	q := l.searchEdges(s)
	if q.never {
		if s.Count {
			return driver.Result{Counts: []int{0}}, nil
		}
		return driver.Result{}, nil
	}
	sides := l.sides(s.Direction)
	if s.Far == "" && len(sides) == 1 && s.LimitPer == 0 && !s.Distinct && q.whole() && len(s.IDs) <= r.s.db.opts.Batch {
		found, ok, err := r.sortedEdges(ctx, l, s, &q, sides[0])
		if err != nil || ok {
			return found, err
		}
	}
	found, err := r.candidates(ctx, l, s, &q)
	if err != nil {
		return driver.Result{}, err
	}
	far, err := r.farObjects(ctx, s, found)
	if err != nil {
		return driver.Result{}, err
	}
	var hits []backend.Hit
	for i, list := range found.lists {
		slices.SortFunc(list, compareListed)
		for _, item := range once(list) {
			var object *driver.Object
			if s.Far != "" {
				if object = far[item.far]; object == nil {
					continue
				}
			}
			value := func(c *driver.Column) driver.Value { return c.ValueIn(object, item.edge) }
			if !s.Filter.Matches(value) {
				continue
			}
			h := backend.Hit{Near: s.IDs[i], Far: item.far, Edge: item.edge}
			if len(s.Order) == 0 {
				h.Place = []driver.Value{int64(i), item.edge.Time, item.far}
			} else {
				h.Place = append(backend.OrderValues(s, value), h.Far, h.Near)
			}
			hits = append(hits, h)
		}
	}
	return answer(s, hits), nil
}

// searchEdges returns the search for the edges of FindEdges.
func (l *edgeLayout) searchEdges(s *driver.Step) search {
	f := fields{time: l.time, data: l.data}
	q := search{query: f.translate(s.Filter, aboutEdges), sorted: true}
	if within := l.within(s.Range); len(within) > 0 {
		q.filter = q.and(within)
	}
	side := l.sides(s.Direction)[0]
	if s.After == nil {
		q.orderEdges(f, l, s, side, func(int) driver.Value { return nil })
		return q
	}
	q.orderEdges(f, l, s, side, func(i int) driver.Value { return s.After[i] })
	q.after = after(q.keys)
	return q
}

// orderEdges adds the keys of the step's order, each with its value of After.
func (q *search) orderEdges(f fields, l *edgeLayout, s *driver.Step, side side, place func(i int) driver.Value) {
	stored := func(ids *IDs, v driver.Value) any {
		id, _ := v.(string)
		value, ok := ids.encode(id)
		q.sorted = q.sorted && (ok || v == nil)
		return value
	}
	if len(s.Order) == 0 {
		// The lists follow each other in the order of the IDs, which no server knows.
		q.sorted = len(s.IDs) == 1
		q.by(l.time, true, toBSON(place(1)))
		q.by(side.far, false, stored(side.farIDs, place(2)))
		if l.adopted {
			q.strays = bson.D{{Key: l.time, Value: nil}}
		}
		return
	}
	var strays bson.A
	for i, o := range s.Order {
		if !aboutEdges(o.Column) || !f.sortable(o.Column) || s.After != nil && !follows(o.Column, place(i)) {
			q.sorted = false
			return
		}
		q.by(f.path(o.Column), o.Desc, toBSON(place(i)))
		if zeroed(o.Column) || l.adopted && o.Column.Of == driver.EdgeTime {
			strays = append(strays, bson.D{{Key: f.path(o.Column), Value: nil}})
		}
	}
	q.strays = joined("$or", strays)
	n := len(s.Order)
	q.by(side.far, false, stored(side.farIDs, place(n)))
	q.by(side.near, false, stored(side.nearIDs, place(n+1)))
}

// sortedEdges reads edges in the server's order as far as they are needed. It gives up if
// there is one that belongs elsewhere in the order.
func (r *reader) sortedEdges(ctx context.Context, l *edgeLayout, s *driver.Step, q *search, side side) (driver.Result, bool, error) {
	near := anyOf(side.near, side.nearIDs.stored(s.IDs))
	if near == nil {
		if s.Count {
			return driver.Result{Counts: []int{0}}, true, nil
		}
		return driver.Result{}, true, nil
	}
	q.filter = q.and(near)
	filter := q.filter
	if q.after != nil {
		filter = q.and(q.after)
	}
	if s.Count && (q.after == nil || q.strays == nil) {
		n, err := r.count(ctx, l.collection, filter)
		return driver.Result{Counts: []int{n}}, true, err
	}
	if s.Count {
		return driver.Result{}, false, nil
	}
	var found driver.Result
	ok, err := r.inOrder(ctx, l.collection, q, func(ctx context.Context) error {
		o := options.Find().SetSort(sorting(q.keys)).SetSkip(int64(s.Range.Offset)).SetLimit(int64(s.Range.Limit))
		return r.find(ctx, l.collection, filter, o, func(raw bson.Raw) error {
			e, err := l.edge(raw)
			if err != nil {
				return err
			}
			row := driver.Row{ID: e.From, Edge: *e}
			if s.Direction == driver.In {
				row.ID = e.To
			}
			found.Rows = append(found.Rows, row)
			if len(s.Order) > 0 {
				found.Keys = append(found.Keys, backend.OrderValues(s, func(c *driver.Column) driver.Value { return c.ValueIn(nil, e) }))
			}
			return nil
		})
	})
	return found, ok, err
}

// candidates reads the edges in the lists of a step that can match.
func (r *reader) candidates(ctx context.Context, l *edgeLayout, s *driver.Step, q *search) (*lists, error) {
	found := newLists(s.IDs)
	type command struct {
		out    bool
		filter bson.D
	}
	var commands []command
	for i, side := range l.sides(s.Direction) {
		for ids := range slices.Chunk(side.nearIDs.stored(s.IDs), r.s.db.opts.Batch) {
			commands = append(commands, command{s.Direction == driver.Out && i == 0, q.and(anyOf(side.near, ids))})
		}
	}
	batches := make([][]bson.Raw, len(commands))
	err := r.run(ctx, len(commands), func(ctx context.Context, i int) error {
		return r.find(ctx, l.collection, commands[i].filter, options.Find(), func(raw bson.Raw) error {
			batches[i] = append(batches[i], raw)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	for i, batch := range batches {
		for _, raw := range batch {
			if err := l.take(raw, commands[i].out, found); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// farObjects reads the objects at the far ends that can match, if they count.
func (r *reader) farObjects(ctx context.Context, s *driver.Step, found *lists) (map[string]*driver.Object, error) {
	if s.Far == "" {
		return nil, nil
	}
	l, err := r.s.space.object(s.Far)
	if err != nil {
		return nil, err
	}
	f := fields{ids: l.ids}
	q := search{query: f.translate(s.Filter, aboutObjects), fields: []string{"_id", deletingField}}
	if q.never {
		return nil, nil
	}
	q.need(f, slices.DeleteFunc(columns(nil, s.Filter), aboutEdges))
	for _, o := range s.Order {
		if aboutObjects(o.Column) {
			q.need(f, []*driver.Column{o.Column})
		}
	}
	seen := make(map[string]bool)
	var ids []string
	for _, list := range found.lists {
		for _, item := range list {
			if !seen[item.far] {
				seen[item.far] = true
				ids = append(ids, item.far)
			}
		}
	}
	chunks := slices.Collect(slices.Chunk(l.ids.stored(ids), r.s.db.opts.Batch))
	batches := make([][]*driver.Object, len(chunks))
	err = r.run(ctx, len(chunks), func(ctx context.Context, i int) error {
		o := options.Find().SetProjection(q.projection())
		return r.find(ctx, l.collection, q.and(anyOf("_id", chunks[i])), o, func(raw bson.Raw) error {
			object, err := l.object(raw)
			if err == nil && !object.Deleting {
				batches[i] = append(batches[i], object)
			}
			return err
		})
	})
	objects := make(map[string]*driver.Object, len(ids))
	for _, batch := range batches {
		for _, object := range batch {
			objects[object.ID] = object
		}
	}
	return objects, err
}
