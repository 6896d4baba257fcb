package graphcache_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
)

// mqWorld is the graph as the documentation describes it. Every question is answered by
// looking at everything, on Go structs.
type mqWorld struct {
	objects map[string]map[string]*mqRecord // kind → ID → record
	edges   map[string][]*mqLink            // kind → edges

	nilsCollide bool // in unique indexes
}

// mqRecord is an object as it is kept. It is never modified. What a version of the
// program sees of it depends on the names under which the title and the level are kept.
type mqRecord struct {
	body                  any // all but the title and the level of a user
	name, title, headline *string
	rank, level           *int8
	views                 [3]*mqObject
}

// mqLink is an edge as it is kept. It is never modified.
type mqLink struct {
	mqEdge
	note, remark *string
}

func newMQWorld() *mqWorld {
	return &mqWorld{
		objects: map[string]map[string]*mqRecord{"user": {}, "post": {}, "place": {}},
		edges:   map[string][]*mqLink{},
	}
}

func (w *mqWorld) clone() *mqWorld {
	c := newMQWorld()
	c.nilsCollide = w.nilsCollide
	for kind, objects := range w.objects {
		c.objects[kind] = maps.Clone(objects)
	}
	for kind, edges := range w.edges {
		c.edges[kind] = slices.Clone(edges)
	}
	return c
}

// mqFirst returns what the first pointer that is not nil points to.
func mqFirst[V any](of ...*V) V {
	for _, p := range of {
		if p != nil {
			return *p
		}
	}
	var zero V
	return zero
}

// view returns what a version of the program sees of the record.
func (r *mqRecord) view(k *mqObjects, version int, id string) *mqObject {
	if r == nil {
		return nil
	}
	if r.views[version] == nil {
		body := k.clone(r.body)
		if u, ok := body.(*mqUserBody); ok {
			u.Title, u.Level = mqFirst(r.title, r.name), mqFirst(r.level, r.rank)
			if version == 2 {
				u.Title = mqFirst(r.headline, r.title, r.name)
			}
		}
		r.views[version] = &mqObject{ID: id, Body: body}
	}
	return r.views[version]
}

// written returns the record that a version of the program makes of the one that is
// there, which may be nil: what it knows under the names that it has for it, and what it
// does not know as it is.
func (r *mqRecord) written(k *mqObjects, version int, o *mqObject) *mqRecord {
	tidied := &mqObject{ID: o.ID, Body: k.clone(o.Body)}
	k.tidy(tidied)
	now := &mqRecord{body: tidied.Body}
	u, ok := tidied.Body.(*mqUserBody)
	if !ok {
		return now
	}
	if r == nil {
		r = new(mqRecord)
	}
	switch version {
	case 0:
		now.name, now.rank = &u.Title, &u.Level
		now.title, now.headline, now.level = r.title, r.headline, r.level
		u.Points = 0
		if r.body != nil {
			u.Points = r.body.(*mqUserBody).Points
		}
	case 1:
		now.title, now.level, now.headline = &u.Title, &u.Level, r.headline
	case 2:
		now.headline, now.level = &u.Title, &u.Level
	}
	return now
}

// view returns what a version sees of the edge.
func (l *mqLink) view(version int) mqEdge {
	e := l.mqEdge
	e.Note.Note = mqFirst(l.note)
	if version == 2 {
		e.Note.Note = mqFirst(l.remark, l.note)
	}
	return e
}

// mqView is the world as a version of the program sees it.
type mqView struct {
	*mqWorld
	*mqVersion
}

func (v mqView) object(k *mqObjects, id string) *mqObject {
	return v.mqWorld.objects[k.name][id].view(k, v.n, id)
}

// mqQuery is a query: it starts from objects, or from a kind if the first hop has no
// edge kind.
type mqQuery struct {
	Kind  string // that it starts from
	Start []string
	Hops  []mqHop
	With  []mqAttach
}

// mqHop is one hop. What is zero is not asked for.
type mqHop struct {
	Edge             string
	In               bool
	Where, WhereEdge []mqPred
	Order            []mqOrder
	ByEdge           bool // the order is one of edges
	Since, Until     time.Time
	LimitPer         int
	Distinct         bool
	Offset, Limit    int
}

// mqAttach are neighbours to be loaded.
type mqAttach struct {
	Hop  mqHop // without Since, Until, Distinct, Offset and Limit
	With []mqAttach
}

// mqPred is a predicate: an operator on a column, or And, Or or Not of others.
type mqPred struct {
	Op     string
	Column string
	Args   []int
	Of     []mqPred
}

type mqOrder struct {
	Column string
	Desc   bool
}

func (p mqPred) matches(columns []*mqColumn, rec any) bool {
	switch p.Op {
	case "and":
		return !slices.ContainsFunc(p.Of, func(q mqPred) bool { return !q.matches(columns, rec) })
	case "or":
		return slices.ContainsFunc(p.Of, func(q mqPred) bool { return q.matches(columns, rec) })
	case "not":
		return !p.Of[0].matches(columns, rec)
	}
	return mqColumnNamed(columns, p.Column).match(rec, p.Op, p.Args)
}

func mqAllMatch(of []mqPred, columns []*mqColumn, rec any) bool {
	return mqPred{Op: "and", Of: of}.matches(columns, rec)
}

// mqRow is a result of a hop.
type mqRow struct {
	near   string
	edge   *mqEdge
	object *mqObject
}

// ends returns the kinds from which and to which a hop leads; the first is nil for one
// that starts from a kind.
func (v mqView) ends(q mqQuery, h mqHop) (from, to *mqObjects) {
	if h.Edge == "" {
		return nil, v.kind(q.Kind)
	}
	k := v.edge(h.Edge)
	if h.In {
		return k.to, k.from
	}
	return k.from, k.to
}

// end returns the kind of the objects that the query leads to.
func (v mqView) end(q mqQuery) *mqObjects {
	_, to := v.ends(q, q.Hops[len(q.Hops)-1])
	return to
}

// rows answers a query.
func (v mqView) rows(q mqQuery) []*mqRow {
	starts := v.starts(q)
	last := len(q.Hops) - 1
	return q.Hops[last].cut(v.results(q, q.Hops[last], starts))
}

// starts returns the objects from which the last hop starts.
func (v mqView) starts(q mqQuery) []string {
	starts := modelEachOnce(q.Start)
	for _, h := range q.Hops[:len(q.Hops)-1] {
		rows := h.cut(v.results(q, h, starts))
		starts = nil
		for _, r := range rows {
			starts = append(starts, r.object.ID)
		}
		starts = modelEachOnce(starts)
	}
	return starts
}

// cut applies Offset and Limit.
func (h mqHop) cut(rows []*mqRow) []*mqRow {
	rows = rows[min(h.Offset, len(rows)):]
	if h.Limit > 0 && len(rows) > h.Limit {
		rows = rows[:h.Limit]
	}
	return rows
}

// results returns the rows of a hop before Offset and Limit.
func (v mqView) results(q mqQuery, h mqHop, starts []string) []*mqRow {
	_, to := v.ends(q, h)
	rows := v.candidates(q, h, starts)
	rows = slices.DeleteFunc(rows, func(r *mqRow) bool {
		if r.edge != nil {
			if !h.Since.IsZero() && r.edge.Time.Before(h.Since) || !h.Until.IsZero() && r.edge.Time.After(h.Until) ||
				!mqAllMatch(h.WhereEdge, v.edge(h.Edge).columns, r.edge) {
				return true
			}
		}
		return !mqAllMatch(h.Where, to.columns, r.object)
	})
	if len(h.Order) > 0 {
		slices.SortFunc(rows, func(a, b *mqRow) int { return v.compare(q, h, a, b, nil) })
	}
	if h.LimitPer > 0 {
		n := map[string]int{}
		rows = slices.DeleteFunc(rows, func(r *mqRow) bool {
			n[r.near]++
			return n[r.near] > h.LimitPer
		})
	}
	if h.Distinct {
		seen := map[string]bool{}
		rows = slices.DeleteFunc(rows, func(r *mqRow) bool {
			again := seen[r.object.ID]
			seen[r.object.ID] = true
			return again
		})
	}
	return rows
}

// compare says which row comes first. Without an order that is said by the starts.
func (v mqView) compare(q mqQuery, h mqHop, a, b *mqRow, starts []string) int {
	_, to := v.ends(q, h)
	if len(h.Order) == 0 {
		if a.edge == nil {
			return strings.Compare(a.object.ID, b.object.ID)
		}
		return cmp.Or(
			cmp.Compare(slices.Index(starts, a.near), slices.Index(starts, b.near)),
			b.edge.Time.Compare(a.edge.Time), strings.Compare(a.object.ID, b.object.ID))
	}
	for _, o := range h.Order {
		c := 0
		if h.ByEdge {
			c = mqColumnNamed(v.edge(h.Edge).columns, o.Column).compare(a.edge, b.edge)
		} else {
			c = to.column(o.Column).compare(a.object, b.object)
		}
		if o.Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
		if !h.ByEdge && o.Column == "id" {
			break // what follows orders nothing, not even an object after what it was
		}
	}
	return cmp.Or(strings.Compare(a.object.ID, b.object.ID), strings.Compare(a.near, b.near))
}

// candidates returns all objects of a kind, or the lists of the starts.
func (v mqView) candidates(q mqQuery, h mqHop, starts []string) []*mqRow {
	from, to := v.ends(q, h)
	var rows []*mqRow
	if from == nil {
		for _, id := range slices.Sorted(maps.Keys(v.mqWorld.objects[to.name])) {
			rows = append(rows, &mqRow{object: v.object(to, id)})
		}
		return rows
	}
	k := v.edge(h.Edge)
	for _, near := range starts {
		var list []*mqRow
		for _, l := range v.mqWorld.edges[k.name] {
			e := l.view(v.n)
			if k.symmetric && e.From != near {
				e.From, e.To = e.To, e.From
			}
			here, there := e.From, e.To
			if h.In && !k.symmetric {
				here, there = there, here
			}
			if here == near {
				list = append(list, &mqRow{near: near, edge: &e, object: v.object(to, there)})
			}
		}
		slices.SortFunc(list, func(a, b *mqRow) int {
			return cmp.Or(b.edge.Time.Compare(a.edge.Time), strings.Compare(a.object.ID, b.object.ID))
		})
		rows = append(rows, list...)
	}
	return rows
}

// attached returns a copy of the object with its neighbours.
func (v mqView) attached(o *mqObject, with []mqAttach) *mqObject {
	c := &mqObject{ID: o.ID, Body: o.Body}
	for _, a := range with {
		_, to := v.ends(mqQuery{}, a.Hop)
		n := mqNear{kind: to}
		for _, r := range v.results(mqQuery{}, a.Hop, []string{o.ID}) {
			n.objects = append(n.objects, v.attached(r.object, a.With))
		}
		c.near = append(c.near, n)
	}
	return c
}

// build makes the query for a version of the program.
func (q mqQuery) build(v *mqVersion) mqRunnable {
	var built mqAsked
	for i, h := range q.Hops {
		if h.Edge == "" {
			k := v.kind(q.Kind)
			built = h.refine(k.where(mqBuildPreds(h.Where[:len(h.Where)/2], k.columns, k.combine)), v, k, nil, len(h.Where)/2)
		} else {
			k := v.edge(h.Edge)
			near, far, hop := k.from, k.to, k.out
			if h.In {
				near, far, hop = k.to, k.from, k.in
			}
			if i == 0 {
				built = hop(near.source(q.Start))
			} else {
				built = hop(built.(mqRunnable).source())
			}
			built = h.refine(built, v, far, k, 0)
		}
		r := built.(mqRunnable)
		if h.Edge != "" {
			if !h.Since.IsZero() || !h.Until.IsZero() {
				built = built.(mqRunnable).times(h.Since, h.Until)
			}
			if h.Distinct {
				built = built.(mqRunnable).distinct()
			}
			r = built.(mqRunnable)
		}
		if h.Offset > 0 || h.Limit > 0 {
			built = r.limits(h.Offset, h.Limit)
		}
	}
	return built.(mqRunnable)
}

// refine applies what a hop has in common with an attachment; so many of the predicates
// on objects have been applied before.
func (h mqHop) refine(q mqAsked, v *mqVersion, far *mqObjects, k *mqEdges, before int) mqAsked {
	if preds := h.Where[before:]; len(preds) > 0 {
		q = q.where(mqBuildPreds(preds, far.columns, far.combine))
	}
	if len(h.WhereEdge) > 0 {
		q = q.whereEdge(mqBuildPreds(h.WhereEdge, k.columns, k.combine))
	}
	if len(h.Order) > 0 {
		columns := far.columns
		if h.ByEdge {
			columns = k.columns
		}
		var orders []any
		for _, o := range h.Order {
			orders = append(orders, mqColumnNamed(columns, o.Column).order(o.Desc))
		}
		if h.ByEdge {
			q = q.orderByEdge(orders)
		} else {
			q = q.orderBy(orders)
		}
	}
	if h.LimitPer > 0 {
		q = q.limitPer(h.LimitPer)
	}
	return q
}

func mqBuildPreds(of []mqPred, columns []*mqColumn, combine func(string, []any) any) []any {
	var preds []any
	for _, p := range of {
		switch p.Op {
		case "and", "or", "not":
			preds = append(preds, combine(p.Op, mqBuildPreds(p.Of, columns, combine)))
		default:
			preds = append(preds, mqColumnNamed(columns, p.Column).pred(p.Op, p.Args))
		}
	}
	return preds
}

// attachments makes what With takes.
func (v *mqVersion) attachments(of []mqAttach) []any {
	var made []any
	for _, a := range of {
		k := v.edge(a.Hop.Edge)
		far := k.to
		if a.Hop.In {
			far = k.from
		}
		made = append(made, k.into(a.Hop.In, func(n mqAsked) mqAsked { return a.Hop.refine(n, v, far, k, 0) }, v.attachments(a.With)))
	}
	return made
}

// Writes

// taken returns the unique index that stands against the object, if one does.
func (v mqView) taken(k *mqObjects, o *mqObject) string {
	for _, ix := range mqAllIndexes(k.name) {
		if !ix.unique || !v.nilsCollide && slices.ContainsFunc(ix.columns, func(c string) bool { return k.column(c).isNil(o) }) {
			continue
		}
		for id := range v.mqWorld.objects[k.name] {
			other := v.object(k, id)
			if id != o.ID && !slices.ContainsFunc(ix.columns, func(c string) bool { return k.column(c).compare(o, other) != 0 }) {
				return ix.name
			}
		}
	}
	return ""
}

func mqAllIndexes(kind string) []mqIndex { return slices.Concat(mqTagged[kind], mqDeclared[kind]) }

// store writes the object as the version does, or says what stands against it.
func (v mqView) store(k *mqObjects, o *mqObject) error {
	record := v.mqWorld.objects[k.name][o.ID].written(k, v.n, o)
	if ix := v.taken(k, record.view(k, v.n, o.ID)); ix != "" {
		return &mqTaken{ix}
	}
	v.mqWorld.objects[k.name][o.ID] = record
	return nil
}

// mqTaken is ErrExists with the index that must be named.
type mqTaken struct{ index string }

func (e *mqTaken) Error() string { return fmt.Sprintf("exists in the unique index %q", e.index) }
func (e *mqTaken) Unwrap() error { return graphcache.ErrExists }

// addEdge adds the edge as the version does.
func (v mqView) addEdge(k *mqEdges, e mqEdge) (created bool, err error) {
	w := v.mqWorld
	if w.objects[k.from.name][e.From] == nil || w.objects[k.to.name][e.To] == nil {
		return false, graphcache.ErrNotFound
	}
	e.Time = e.Time.UTC().Truncate(time.Millisecond)
	l := &mqLink{mqEdge: e, note: &e.Note.Note}
	if v.n == 2 {
		l.note, l.remark = nil, l.note
	}
	i := w.at(k, e.From, e.To)
	if k.toOne {
		i = slices.IndexFunc(w.edges[k.name], func(l *mqLink) bool { return l.From == e.From })
	}
	if i >= 0 {
		w.edges[k.name][i] = l
		return false, nil
	}
	w.edges[k.name] = append(w.edges[k.name], l)
	return true, nil
}

func (w *mqWorld) at(k *mqEdges, from, to string) int {
	return slices.IndexFunc(w.edges[k.name], func(l *mqLink) bool {
		return l.From == from && l.To == to || k.symmetric && l.From == to && l.To == from
	})
}

func (w *mqWorld) removeEdge(k *mqEdges, from, to string) error {
	i := w.at(k, from, to)
	if i < 0 {
		return graphcache.ErrNotFound
	}
	w.edges[k.name] = slices.Delete(w.edges[k.name], i, i+1)
	return nil
}

func (v mqView) delete(k *mqObjects, id string) error {
	w := v.mqWorld
	if w.objects[k.name][id] == nil {
		return graphcache.ErrNotFound
	}
	delete(w.objects[k.name], id)
	for _, e := range v.mqVersion.edges {
		w.edges[e.name] = slices.DeleteFunc(w.edges[e.name], func(l *mqLink) bool {
			return e.from == k && l.From == id || e.to == k && l.To == id
		})
	}
	return nil
}

// mqMake returns the n-th value of an object.
func mqMake(k *mqObjects, id string, n int) *mqObject {
	o := &mqObject{ID: id, Body: k.fresh()}
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	for _, c := range k.columns {
		if c.name != "id" {
			c.set(o, rng.IntN(c.values))
		}
	}
	return o
}

// mqChange changes some fields of an object, in the n-th way.
func mqChange(k *mqObjects, o *mqObject, n int) {
	rng := rand.New(rand.NewPCG(uint64(n), 2))
	for range 1 + rng.IntN(3) {
		c := k.columns[1+rng.IntN(len(k.columns)-1)]
		c.set(o, rng.IntN(c.values))
	}
}

// mqMakeNote returns the n-th data of an edge.
func mqMakeNote(n int) mqNote {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	note := mqNote{Note: []string{"", "n", "no"}[rng.IntN(3)], Weight: rng.IntN(3)}
	if rng.IntN(2) == 0 {
		note.Gain = &mqRates.values[rng.IntN(len(mqRates.values))]
	}
	return note
}
