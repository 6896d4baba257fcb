package mongo

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// Read implements driver.Store. Commands of one call run at the same time. A command is
// answered from what a majority has, and sees what it finds document by document: while a
// write of the same list is under way, an edge whose time changes may be in the answer where
// it was, where it is, or not at all, but never twice.
func (s *Store) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	if err := s.db.usable(ctx); err != nil {
		return nil, err
	}
	if atLeast != "" {
		if err := checkStamp(atLeast); err != nil {
			return nil, err
		}
	}
	results, err := (&reader{s: s, at: atLeast}).read(ctx, steps)
	if err == nil { // else it may be a stamp with which every read fails
		s.db.floor.raise(atLeast)
	}
	return results, err
}

// reader answers steps, in a transaction if it has one.
type reader struct {
	s  *Store
	tx *mongo.Session
	at driver.Stamp // reads are not before it
}

// run runs n commands: in a transaction one after the other, else at the same time, each in a
// session of its own.
func (r *reader) run(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	if r.tx != nil {
		ctx = mongo.NewSessionContext(ctx, r.tx)
		for i := range n {
			if err := f(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	return r.s.db.each(ctx, n, func(ctx context.Context, i int) error {
		_, err := r.s.db.session(ctx, r.at, func(ctx context.Context) error { return f(ctx, i) })
		return err
	})
}

func (r *reader) read(ctx context.Context, steps []driver.Step) ([]driver.Result, error) {
	results := make([]driver.Result, len(steps))
	step := func(ctx context.Context, i int) (err error) {
		if err := backend.CheckStep(&steps[i]); err != nil {
			return fmt.Errorf("mongo: %w", err)
		}
		results[i], err = r.step(ctx, &steps[i])
		return err
	}
	var err error
	if r.tx != nil {
		for i := range steps {
			if err = step(ctx, i); err != nil {
				return nil, err
			}
		}
		return results, nil
	}
	if err = r.s.db.each(ctx, len(steps), step); err != nil {
		return nil, err
	}
	return results, nil
}

func (r *reader) step(ctx context.Context, s *driver.Step) (driver.Result, error) {
	switch s.Op {
	case driver.GetObjects, driver.ScanDeleting, driver.FindObjects:
		l, err := r.s.space.object(s.Kind)
		if err != nil {
			return driver.Result{}, err
		}
		switch s.Op {
		case driver.GetObjects:
			objects, err := r.getObjects(ctx, l, s.IDs)
			return driver.Result{Objects: objects}, err
		case driver.ScanDeleting:
			objects, err := r.scanDeleting(ctx, l, s)
			return driver.Result{Objects: objects}, err
		}
		return r.findObjects(ctx, l, s)
	}
	l, err := r.s.space.edge(s.Kind)
	if err != nil {
		return driver.Result{}, err
	}
	if l.kind.Symmetric && s.Direction == driver.In {
		return driver.Result{}, fmt.Errorf("mongo: %w", backend.InvalidStep(s, "a symmetric kind has only the direction Out"))
	}
	var found driver.Result
	switch s.Op {
	case driver.GetEdges:
		found.Lists, err = r.getEdges(ctx, l, s)
	case driver.ListEdges:
		found.Lists, err = r.listEdges(ctx, l, s)
	case driver.CountEdges:
		found.Counts, err = r.countEdges(ctx, l, s)
	case driver.ScanEdges:
		found.Lists, err = r.scanEdges(ctx, l, s)
	default:
		return r.findEdges(ctx, l, s)
	}
	return found, err
}

// manyInOne is how many documents the first reply to a command may have. Without it, that has
// a hundred or so and another command must follow; a reply ends at 16 MiB in any case.
const manyInOne = 10_000

// find runs one find command and calls f with each document.
func (r *reader) find(ctx context.Context, collection string, filter bson.D, o *options.FindOptionsBuilder, f func(bson.Raw) error) error {
	if filter == nil {
		filter = bson.D{}
	}
	all := options.Find().SetBatchSize(manyInOne)
	if r.s.db.caps.wire < wireDiskUse {
		all.SetAllowDiskUse(true) // of large sorts
	}
	cursor, err := r.s.collection(collection).Find(ctx, filter, all, o)
	if err != nil {
		return r.failed(collection, "find", err)
	}
	return r.drain(ctx, collection, cursor, f)
}

// errEnough ends the reading of a cursor without an error.
var errEnough = fmt.Errorf("enough")

func (r *reader) drain(ctx context.Context, collection string, cursor *mongo.Cursor, f func(bson.Raw) error) error {
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
		defer cancel()
		_ = cursor.Close(closing) // the server ends it by itself otherwise
	}()
	for cursor.Next(ctx) {
		// The cursor's batch is its own only until the next one is read.
		if err := f(slices.Clone(cursor.Current)); err == errEnough {
			return nil
		} else if err != nil {
			return err
		}
	}
	if err := cursor.Err(); err != nil {
		return r.failed(collection, "read", err)
	}
	return nil
}

// failed wraps the error of a read.
func (r *reader) failed(collection, doing string, err error) error {
	err = describe(r.s.space.prefix+collection, doing, err)
	if r.tx != nil {
		return asConflict(err)
	}
	return err
}

// chunks returns the bounds of parts of n things, each at most a batch.
func (s *Store) chunks(n int) [][2]int {
	var all [][2]int
	for from := 0; from < n; from += s.db.opts.Batch {
		all = append(all, [2]int{from, min(from+s.db.opts.Batch, n)})
	}
	return all
}

func (r *reader) getObjects(ctx context.Context, l *objectLayout, ids []string) ([]*driver.Object, error) {
	objects := make([]*driver.Object, len(ids))
	places := make(map[string]int, len(ids))
	for i, id := range ids {
		places[id] = i
	}
	chunks := r.s.chunks(len(ids))
	err := r.run(ctx, len(chunks), func(ctx context.Context, i int) error {
		filter := anyOf("_id", l.ids.stored(ids[chunks[i][0]:chunks[i][1]]))
		if filter == nil {
			return nil
		}
		return r.find(ctx, l.collection, filter, options.Find(), func(raw bson.Raw) error {
			o, err := l.object(raw)
			if err != nil {
				return err
			}
			if place, ok := places[o.ID]; ok {
				objects[place] = o
			}
			return nil
		})
	})
	return objects, err
}

// stored returns the IDs as they are stored, without those that cannot be: there is nothing
// under them.
func (c *IDs) stored(ids []string) bson.A {
	all := make(bson.A, 0, len(ids))
	for _, id := range ids {
		if v, ok := c.encode(id); ok {
			all = append(all, v)
		}
	}
	return all
}

func (r *reader) scanDeleting(ctx context.Context, l *objectLayout, s *driver.Step) ([]*driver.Object, error) {
	objects := []*driver.Object{}
	err := r.run(ctx, 1, func(ctx context.Context, _ int) error {
		filter := bson.D{{Key: deletingField, Value: true}}
		return r.find(ctx, l.collection, filter, options.Find(), func(raw bson.Raw) error {
			o, err := l.object(raw)
			if err == nil && (len(s.IDs) == 0 || o.ID > s.IDs[0]) {
				objects = append(objects, o)
			}
			return err
		})
	})
	// There are few, and not every kind has its IDs in the order of their bytes.
	slices.SortFunc(objects, func(a, b *driver.Object) int { return cmp.Compare(a.ID, b.ID) })
	if s.Range.Limit > 0 {
		objects = objects[:min(s.Range.Limit, len(objects))]
	}
	return objects, err
}

// listed is an edge in a list.
type listed struct {
	far  string
	edge *driver.Edge
}

func compareListed(a, b listed) int {
	return cmp.Or(b.edge.Time.Compare(a.edge.Time), cmp.Compare(a.far, b.far))
}

// lists collects edges in the lists that they belong to.
type lists struct {
	places map[string]int
	lists  [][]listed
}

func newLists(ids []string) *lists {
	l := &lists{places: make(map[string]int, len(ids)), lists: make([][]listed, len(ids))}
	for i, id := range ids {
		l.places[id] = i
	}
	return l
}

// add adds an edge to the list of the object at its near end. One from an object to itself is
// in its list once.
func (l *lists) add(near, far string, e *driver.Edge) {
	if i, ok := l.places[near]; ok {
		l.lists[i] = append(l.lists[i], listed{far, e})
	}
}

// edges returns the part of each list that is asked for, in order.
func (l *lists) edges(offset, limit int) [][]driver.Edge {
	all := make([][]driver.Edge, len(l.lists))
	for i, list := range l.lists {
		slices.SortFunc(list, compareListed)
		list = once(list)
		list = list[min(offset, len(list)):]
		if limit > 0 {
			list = list[:min(limit, len(list))]
		}
		all[i] = make([]driver.Edge, len(list))
		for j := range list {
			all[i][j] = *list[j].edge
		}
	}
	return all
}

// once drops what is there twice: an edge that was found where it was, and then where it is.
func once(list []listed) []listed {
	seen := make(map[string]bool, len(list))
	return slices.DeleteFunc(list, func(l listed) bool {
		there := seen[l.far]
		seen[l.far] = true
		return there
	})
}

// take reads an edge and adds it to the list of one of its ends.
func (l *edgeLayout) take(raw bson.Raw, out bool, to *lists) error {
	e, err := l.edge(raw)
	if err != nil {
		return err
	}
	switch {
	case out:
		to.add(e.From, e.To, e)
	case !l.kind.Symmetric || e.From != e.To:
		to.add(e.To, e.From, e)
	}
	return nil
}

// within returns the conditions on an edge's kind and time.
func (l *edgeLayout) within(r driver.Range) bson.D {
	d := slices.Clone(l.of())
	var bounds bson.D
	if !r.Low.IsZero() {
		bounds = append(bounds, bson.E{Key: "$gte", Value: bson.DateTime(ceil(r.Low))})
	}
	high := bson.DateTime(r.High.UnixMilli())
	switch {
	case r.High.IsZero():
	case l.adopted && high >= 0 && bounds == nil: // an edge may have no time, which counts as 0
		bounds = bson.D{{Key: "$not", Value: bson.D{{Key: "$gt", Value: high}}}}
	default:
		bounds = append(bounds, bson.E{Key: "$lte", Value: high})
	}
	if bounds != nil {
		d = append(d, bson.E{Key: l.time, Value: bounds})
	}
	return d
}

// ceil returns the first millisecond that is not before t.
func ceil(t time.Time) int64 {
	ms := t.UnixMilli()
	if time.UnixMilli(ms).Before(t) {
		ms++
	}
	return ms
}

func (r *reader) getEdges(ctx context.Context, l *edgeLayout, s *driver.Step) ([][]driver.Edge, error) {
	found := newLists(s.IDs)
	filters := l.between(r.s.db.opts.Batch, s)
	batches := make([][]bson.Raw, len(filters))
	err := r.run(ctx, len(filters), func(ctx context.Context, i int) error {
		return r.find(ctx, l.collection, filters[i], options.Find(), func(raw bson.Raw) error {
			batches[i] = append(batches[i], raw)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(s.Ends))
	for _, end := range s.Ends {
		wanted[end] = true
	}
	for _, batch := range batches {
		for _, raw := range batch {
			e, err := l.edge(raw)
			if err != nil {
				return nil, err
			}
			if (s.Direction == driver.Out) && wanted[e.To] {
				found.add(e.From, e.To, e)
			}
			if (s.Direction == driver.In || l.kind.Symmetric) && wanted[e.From] {
				found.add(e.To, e.From, e)
			}
		}
	}
	return found.edges(0, 0), nil
}

// between returns filters that find the edges between the IDs and the ends of a step.
func (l *edgeLayout) between(batch int, s *driver.Step) []bson.D {
	var filters []bson.D
	if l.endsAreID() {
		var keys bson.A
		seen := make(map[[2]string]bool)
		for _, id := range s.IDs {
			for _, end := range s.Ends {
				from, to := id, end
				if s.Direction == driver.In || l.kind.Symmetric && to < from {
					from, to = to, from
				}
				f, ok1 := l.fromIDs.encode(from)
				t, ok2 := l.toIDs.encode(to)
				if ok1 && ok2 && !seen[[2]string{from, to}] {
					seen[[2]string{from, to}] = true
					keys = append(keys, ends(f, t))
				}
			}
		}
		for part := range slices.Chunk(keys, batch) {
			filters = append(filters, anyOf("_id", part))
		}
		return filters
	}
	for _, side := range l.sides(s.Direction) {
		for ids := range slices.Chunk(side.nearIDs.stored(s.IDs), batch) {
			for far := range slices.Chunk(side.farIDs.stored(s.Ends), batch) {
				filters = append(filters, slices.Concat(anyOf(side.near, ids), anyOf(side.far, far), l.of()))
			}
		}
	}
	return filters
}

// listEdges answers ListEdges: with one command for a list, or for up to a batch of them if
// they are read whole, or if the server can limit each of them by itself. Otherwise the lists
// are read one by one, several at the same time.
func (r *reader) listEdges(ctx context.Context, l *edgeLayout, s *driver.Step) ([][]driver.Edge, error) {
	found := newLists(s.IDs)
	type command struct {
		out  bool
		side side
		ids  bson.A
	}
	var commands []command
	for i, side := range l.sides(s.Direction) {
		out := s.Direction == driver.Out && i == 0
		size := r.s.db.opts.Batch
		// Before MongoDB 8.0 no $lookup in a transaction reads a sharded collection.
		if l.reach(s.Range, side) > 0 && (!r.s.db.lookups() || r.tx != nil && r.s.db.caps.sharded) {
			size = 1
		}
		for ids := range slices.Chunk(side.nearIDs.stored(s.IDs), size) {
			commands = append(commands, command{out, side, ids})
		}
	}
	batches := make([][]bson.Raw, len(commands))
	err := r.run(ctx, len(commands), func(ctx context.Context, i int) error {
		c := &commands[i]
		return r.list(ctx, l, s, c.side, c.ids, func(raw bson.Raw) error {
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
	return found.edges(s.Range.Offset, s.Range.Limit), nil
}

// lookups reports whether one command can limit many lists, each by itself.
func (db *database) lookups() bool { return db.caps.wire >= wireLookup && !db.opts.Plain }

// reach returns how much of each list the part that is asked for needs, 0 for all. The second
// part of a list of a Symmetric kind may have an edge that the first has, too.
func (l *edgeLayout) reach(r driver.Range, side side) int64 {
	n := int64(r.Offset) + int64(r.Limit)
	switch {
	case r.Limit == 0 || n < 0 || l.kind.ToOne && side.near == l.from: // there is one edge at most
		return 0
	case l.kind.Symmetric:
		n++
	}
	return n
}

// newest is the order of the lists of a side.
func (l *edgeLayout) newest(s side) bson.D {
	return bson.D{{Key: l.time, Value: int32(-1)}, {Key: s.far, Value: int32(1)}}
}

// list reads the lists of some objects on one side, each as far as it is needed.
func (r *reader) list(ctx context.Context, l *edgeLayout, s *driver.Step, side side, ids bson.A, f func(bson.Raw) error) error {
	reach := l.reach(s.Range, side)
	if reach == 0 || len(ids) == 1 {
		o := options.Find()
		if len(ids) == 1 {
			o.SetSort(l.newest(side)).SetLimit(reach)
		}
		return r.find(ctx, l.collection, append(anyOf(side.near, ids), l.within(s.Range)...), o, f)
	}
	cursor, err := r.s.database().Aggregate(ctx, r.s.limitEach(l, s, side, ids), options.Aggregate().SetBatchSize(manyInOne))
	if err != nil {
		return r.failed(l.collection, "aggregate", err)
	}
	return r.drain(ctx, l.collection, cursor, f)
}

// limitEach returns the pipeline that reads many lists, each by itself: the lookup of equal
// fields uses the index for each of the IDs, and stops at the limit.
func (s *Store) limitEach(l *edgeLayout, step *driver.Step, side side, ids bson.A) bson.A {
	documents := make(bson.A, len(ids))
	for i, id := range ids {
		if text, ok := id.(string); ok && strings.HasPrefix(text, "$") { // else it is the path of a field
			id = bson.D{{Key: "$literal", Value: text}}
		}
		documents[i] = bson.D{{Key: "id", Value: id}}
	}
	pipeline := bson.A{}
	if within := l.within(step.Range); len(within) > 0 {
		pipeline = append(pipeline, bson.D{{Key: "$match", Value: within}})
	}
	pipeline = append(pipeline,
		bson.D{{Key: "$sort", Value: l.newest(side)}},
		bson.D{{Key: "$limit", Value: l.reach(step.Range, side)}})
	return bson.A{
		bson.D{{Key: "$documents", Value: documents}},
		bson.D{{Key: "$lookup", Value: bson.D{
			{Key: "from", Value: s.space.prefix + l.collection},
			{Key: "localField", Value: "id"}, {Key: "foreignField", Value: side.near},
			{Key: "pipeline", Value: pipeline}, {Key: "as", Value: "edge"},
		}}},
		bson.D{{Key: "$unwind", Value: "$edge"}},
		bson.D{{Key: "$replaceRoot", Value: bson.D{{Key: "newRoot", Value: "$edge"}}}},
	}
}

// countEdges answers CountEdges with one command for a batch of lists.
func (r *reader) countEdges(ctx context.Context, l *edgeLayout, s *driver.Step) ([]int, error) {
	places := make(map[string]int, len(s.IDs))
	for i, id := range s.IDs {
		places[id] = i
	}
	type command struct {
		side   side
		filter bson.D
		sign   int
	}
	var commands []command
	for i, side := range l.sides(s.Direction) {
		for ids := range slices.Chunk(side.nearIDs.stored(s.IDs), r.s.db.opts.Batch) {
			commands = append(commands, command{side, append(anyOf(side.near, ids), l.within(s.Range)...), 1})
			if i == 1 { // an edge from an object to itself has been counted twice
				commands = append(commands, command{side, append(l.loops(ids), l.within(s.Range)...), -1})
			}
		}
	}
	counted := make([]map[string]int, len(commands))
	err := r.run(ctx, len(commands), func(ctx context.Context, i int) (err error) {
		counted[i], err = r.group(ctx, l, commands[i].side, commands[i].filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	counts := make([]int, len(s.IDs))
	for i, counted := range counted {
		for id, n := range counted {
			if place, ok := places[id]; ok {
				counts[place] += commands[i].sign * n
			}
		}
	}
	return counts, nil
}

// loops returns the filter for the edges from objects to themselves.
func (l *edgeLayout) loops(ids bson.A) bson.D {
	keys := make(bson.A, len(ids))
	for i, id := range ids {
		if l.endsAreID() {
			keys[i] = ends(id, id)
		} else {
			keys[i] = bson.D{{Key: l.from, Value: id}, {Key: l.to, Value: id}}
		}
	}
	if l.endsAreID() {
		return anyOf("_id", keys)
	}
	return bson.D{{Key: "$or", Value: keys}}
}

// group counts the edges that match by their near end.
func (r *reader) group(ctx context.Context, l *edgeLayout, side side, filter bson.D) (map[string]int, error) {
	pipeline := bson.A{
		bson.D{{Key: "$match", Value: filter}},
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$" + side.near}, {Key: "n", Value: bson.D{{Key: "$sum", Value: int32(1)}}}}}},
	}
	cursor, err := r.s.collection(l.collection).Aggregate(ctx, pipeline, options.Aggregate().SetBatchSize(manyInOne))
	if err != nil {
		return nil, r.failed(l.collection, "count", err)
	}
	counts := make(map[string]int)
	err = r.drain(ctx, l.collection, cursor, func(raw bson.Raw) error {
		id, err := side.nearIDs.id(raw.Lookup("_id"))
		if err != nil {
			return l.broken(raw, side.near, err)
		}
		n, _ := raw.Lookup("n").AsInt64OK()
		counts[id] = int(n)
		return nil
	})
	return counts, err
}

// scanEdges answers ScanEdges.
func (r *reader) scanEdges(ctx context.Context, l *edgeLayout, s *driver.Step) ([][]driver.Edge, error) {
	keys := l.scanKeys()
	filter := slices.Clone(l.of())
	if len(s.IDs) == 2 {
		from, err := l.fromIDs.value(s.IDs[0])
		if err != nil {
			return nil, fmt.Errorf("mongo: %w", err)
		}
		to, err := l.toIDs.value(s.IDs[1])
		if err != nil {
			return nil, fmt.Errorf("mongo: %w", err)
		}
		keys[0].after = from
		switch {
		case l.endsAreID():
			keys[0].after = ends(from, to)
		case !l.kind.ToOne:
			keys[1].after = to
		}
		if !l.kind.ToOne {
			filter = append(filter, after(keys)...)
		} else { // the edge from there may lead further than where the scan was
			filter = append(filter, bson.E{Key: l.from, Value: bson.D{{Key: "$gte", Value: from}}})
		}
	}
	edges := []driver.Edge{}
	err := r.run(ctx, 1, func(ctx context.Context, _ int) error {
		o := options.Find().SetSort(sorting(keys))
		if s.Range.Limit > 0 {
			o.SetLimit(int64(s.Range.Limit) + 1)
		}
		return r.find(ctx, l.collection, filter, o, func(raw bson.Raw) error {
			e, err := l.edge(raw)
			if err != nil {
				return err
			}
			if len(s.IDs) == 0 || e.From > s.IDs[0] || e.From == s.IDs[0] && e.To > s.IDs[1] {
				edges = append(edges, *e)
			}
			return nil
		})
	})
	if s.Range.Limit > 0 {
		edges = edges[:min(s.Range.Limit, len(edges))]
	}
	return [][]driver.Edge{edges}, err
}

// scanKeys is the order in which edges are scanned.
func (l *edgeLayout) scanKeys() []key {
	switch {
	case l.endsAreID(), l.from == "_id":
		return []key{{path: "_id"}}
	case l.kind.ToOne:
		return []key{{path: l.from}}
	}
	return []key{{path: l.from}, {path: l.to}}
}
