package mongo

import (
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// Explain says which commands answer a step, with a question mark for each value, and which
// index is expected to serve them: the one whose first fields are asked to be equal to
// something, and whose next are those of the order. MongoDB decides when it is asked, by what
// it has learned of the data, and may decide otherwise. The result is empty for a kind that is
// not declared.
func (s *Store) Explain(step driver.Step) string {
	x := explainer{s: s, step: &step}
	switch step.Op {
	case driver.GetObjects, driver.ScanDeleting, driver.FindObjects:
		l, err := s.space.object(step.Kind)
		if err != nil {
			return ""
		}
		x.objects(l)
	default:
		l, err := s.space.edge(step.Kind)
		if err != nil {
			return ""
		}
		x.edges(l)
	}
	return strings.Join(x.parts, "; ")
}

// explainer makes the words for one step.
type explainer struct {
	s     *Store
	step  *driver.Step
	parts []string
}

func (x *explainer) say(format string, args ...any) {
	x.parts = append(x.parts, fmt.Sprintf(format, args...))
}

// asked is a command in words.
type asked struct {
	verb       string
	collection string
	indexes    []*index
	filter     bson.D
	sort       bson.D
	project    bson.D
	rest       string
}

func (x *explainer) command(a asked) {
	text := fmt.Sprintf("%s %s %s", a.verb, x.s.space.prefix+a.collection, shape(a.filter))
	if a.sort != nil {
		text += " sort " + keysText(a.sort)
	}
	if a.project != nil {
		text += " project " + keysText(a.project)
	}
	x.say("%s%s, %s", text, a.rest, x.s.expected(&a))
}

// objects explains a step on objects.
func (x *explainer) objects(l *objectLayout) {
	indexes := *l.indexes.Load()
	find := asked{verb: "find", collection: l.collection, indexes: indexes}
	switch x.step.Op {
	case driver.GetObjects:
		find.filter = x.ids("_id")
		x.command(find)
		return
	case driver.ScanDeleting:
		find.filter = bson.D{{Key: deletingField, Value: true}}
		x.command(find)
		x.say("sorted by the client")
		return
	}
	step := forObjects(x.step)
	q := l.searchObjects(step)
	find.filter = q.filter
	switch {
	case q.never:
		x.say("nothing is asked: no object can match")
	case step.Count && q.exact && step.After == nil:
		find.verb = "count"
		x.command(find)
	case !step.Count && q.sorted:
		find.sort, find.project = sorting(q.keys), q.projection()
		if q.after != nil {
			find.filter = q.and(q.after)
		}
		if q.exact {
			find.rest = skipped(step.Range.Offset, step.Range.Limit)
		}
		x.command(find)
		if !q.exact {
			x.say("checked by the client, until enough match")
		}
		x.strays(find, &q)
	default:
		find.project = q.projection()
		x.command(find)
		x.client(q.exact, "all are read")
	}
}

// client says what is left for the client to do with what the server has found.
func (x *explainer) client(exact bool, what string) {
	todo := []string{"checked"}
	if exact {
		todo = nil
	}
	switch {
	case x.step.Count:
		todo = append(todo, "counted")
	default:
		todo = append(todo, "sorted")
	}
	x.say("%s, %s by the client", what, strings.Join(todo, " and "))
}

// strays explains the command that looks for what the server would sort elsewhere.
func (x *explainer) strays(a asked, q *search) {
	if q.strays == nil {
		return
	}
	a.filter, a.sort, a.project, a.rest = q.and(q.strays), nil, nil, " limit 1"
	x.command(a)
	x.say("if that finds any, all are read and sorted by the client")
}

// skipped returns offset and limit in words.
func skipped(offset, limit int) (text string) {
	if offset > 0 {
		text += fmt.Sprintf(" skip %d", offset)
	}
	if limit > 0 {
		text += fmt.Sprintf(" limit %d", limit)
	}
	return text
}

// ids returns the condition that a field is one of the step's IDs, of which there may be any
// number if they are not known.
func (x *explainer) ids(path string) bson.D {
	if len(x.step.IDs) == 1 {
		return bson.D{{Key: path, Value: bson.D{{Key: "$eq", Value: ""}}}}
	}
	return bson.D{{Key: path, Value: bson.D{{Key: "$in", Value: bson.A{}}}}}
}

// edges explains a step on edges.
func (x *explainer) edges(l *edgeLayout) {
	find := asked{verb: "find", collection: l.collection, indexes: l.wanted}
	within := l.within(x.step.Range)
	switch x.step.Op {
	case driver.GetEdges:
		if l.endsAreID() {
			find.filter = bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{}}}}}
			x.command(find)
			return
		}
		for _, side := range l.sides(x.step.Direction) {
			find.filter = slices.Concat(x.ids(side.near), bson.D{{Key: side.far, Value: bson.D{{Key: "$in", Value: bson.A{}}}}}, l.of())
			x.command(find)
		}
	case driver.ListEdges:
		for _, side := range l.sides(x.step.Direction) {
			find.filter = append(x.ids(side.near), within...)
			x.list(l, find, side)
		}
	case driver.CountEdges:
		find.verb = "aggregate"
		for _, side := range l.sides(x.step.Direction) {
			find.filter, find.rest = append(x.ids(side.near), within...), fmt.Sprintf(", counted by %s", side.near)
			x.command(find)
		}
		if l.kind.Symmetric {
			x.say("less those from an object to itself, counted alike")
		}
	case driver.ScanEdges:
		find.sort, find.filter = sorting(l.scanKeys()), l.of()
		if limit := x.step.Range.Limit; limit > 0 {
			find.rest = skipped(0, limit+1)
		}
		x.command(find)
	case driver.FindEdges:
		x.findEdges(l, find)
	}
}

// list explains how lists are read on one side.
func (x *explainer) list(l *edgeLayout, find asked, side side) {
	reach := l.reach(x.step.Range, side)
	several := len(x.step.IDs) != 1
	switch {
	case several && reach == 0:
		x.command(find)
		x.say("sorted by the client")
		return
	case several && x.s.db.lookups():
		find.verb, find.rest = "aggregate: $documents of the IDs, $lookup in", fmt.Sprintf(" limit %d for each ID", reach)
		find.filter = append(bson.D{{Key: side.near, Value: bson.D{{Key: "$eq", Value: ""}}}}, l.within(x.step.Range)...)
	case several:
		find.filter = append(bson.D{{Key: side.near, Value: bson.D{{Key: "$eq", Value: ""}}}}, l.within(x.step.Range)...)
		find.rest = fmt.Sprintf("%s, one find for each ID, up to %d at once", skipped(0, int(reach)), x.s.db.opts.Concurrency)
	default:
		find.rest = skipped(0, int(reach))
	}
	find.sort = l.newest(side)
	x.command(find)
}

// findEdges explains FindEdges.
func (x *explainer) findEdges(l *edgeLayout, find asked) {
	step := x.step
	q := l.searchEdges(step)
	sides := l.sides(step.Direction)
	if q.never {
		x.say("nothing is asked: no edge can match")
		return
	}
	if step.Far == "" && len(sides) == 1 && step.LimitPer == 0 && !step.Distinct && q.whole() &&
		len(step.IDs) <= x.s.db.opts.Batch && (!step.Count || q.after == nil || q.strays == nil) {
		q.filter = q.and(x.ids(sides[0].near))
		find.filter = q.filter
		if q.after != nil {
			find.filter = q.and(q.after)
		}
		if step.Count {
			find.verb = "count"
			x.command(find)
			return
		}
		find.sort, find.rest = sorting(q.keys), skipped(step.Range.Offset, step.Range.Limit)
		x.command(find)
		x.strays(find, &q)
		return
	}
	for _, side := range sides {
		find.filter = q.and(x.ids(side.near))
		x.command(find)
	}
	what := "all are read"
	if far, err := x.s.space.object(step.Far); err == nil && step.Far != "" {
		f := fields{ids: far.ids}
		condition := search{query: f.translate(step.Filter, aboutObjects)}
		x.command(asked{
			verb: "then find", collection: far.collection, indexes: *far.indexes.Load(),
			filter: condition.and(bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{}}}}}),
		})
		what = "joined"
	}
	x.client(q.exact && step.Far == "", what)
}

// shape returns a filter without its values.
func shape(filter bson.D) string { return "{" + strings.Join(shapes(filter), ", ") + "}" }

func shapes(filter bson.D) (parts []string) {
	for _, e := range filter {
		if e.Key != "$and" {
			parts = append(parts, e.Key+": "+shapeOf(e.Key, e.Value))
			continue
		}
		for _, d := range e.Value.(bson.A) {
			parts = append(parts, shapes(d.(bson.D))...)
		}
	}
	return parts
}

func shapeOf(name string, value any) string {
	switch v := value.(type) {
	case nil:
		return "null"
	case bson.A:
		if name != "$or" && name != "$nor" {
			return "[?]"
		}
		parts := make([]string, len(v))
		for i := range v {
			parts[i] = shape(v[i].(bson.D))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case bson.D:
		if name[0] != '$' && len(v) > 0 && v[0].Key[0] == '$' || name == "$not" {
			return shape(v)
		}
	}
	return "?"
}

// restriction is how a filter restricts a field, for what an index can make of it.
type restriction struct {
	equal, ranged bool // to one value or several, or to a range
	null          bool // a document without the field matches
}

// and returns what two conditions on one field come to.
func (r restriction) and(o restriction) restriction {
	return restriction{r.equal || o.equal, r.ranged || o.ranged, r.null && o.null}
}

// or returns what is left of them if either will do.
func (r restriction) or(o restriction) restriction {
	both := (r.equal || r.ranged) && (o.equal || o.ranged)
	equal := r.equal && o.equal
	return restriction{equal, both && !equal, r.null || o.null}
}

// unrestricted is for fields that a filter does not name.
var unrestricted = restriction{null: true}

// restrictions returns how a filter restricts fields.
func restrictions(filter bson.D) map[string]restriction {
	found := make(map[string]restriction)
	add := func(all map[string]restriction) {
		for name, r := range all {
			if there, ok := found[name]; ok {
				r = r.and(there)
			}
			found[name] = r
		}
	}
	for _, e := range filter {
		switch {
		case e.Key == "$and":
			for _, d := range e.Value.(bson.A) {
				add(restrictions(d.(bson.D)))
			}
		case e.Key == "$or":
			add(common(e.Value.(bson.A)))
		case e.Key[0] != '$':
			add(map[string]restriction{e.Key: restrictionOf(e.Value)})
		}
	}
	return found
}

// common returns how one of several filters restricts fields, whichever matches.
func common(filters bson.A) map[string]restriction {
	found := restrictions(filters[0].(bson.D))
	for _, d := range filters[1:] {
		other := restrictions(d.(bson.D))
		for name, r := range found {
			o, ok := other[name]
			if !ok {
				o = unrestricted
			}
			found[name] = r.or(o)
		}
	}
	return found
}

func restrictionOf(value any) restriction {
	d, ok := value.(bson.D)
	if !ok || len(d) == 0 || d[0].Key[0] != '$' {
		return restriction{equal: true, null: value == nil}
	}
	r := unrestricted
	for _, e := range d {
		switch e.Key {
		case "$eq":
			r = r.and(restriction{equal: true, null: e.Value == nil})
		case "$in":
			r = r.and(restriction{equal: true})
		case "$lt", "$lte", "$gt", "$gte", "$regex":
			r = r.and(restriction{ranged: e.Key != "$regex"})
		}
	}
	return r
}

// expected says which index is expected to serve a command, and whether in its order.
func (s *Store) expected(a *asked) string {
	byID := &index{name: "_id_", keys: bson.D{{Key: "_id", Value: int32(1)}}}
	byID.ready.Store(true)
	restricted := restrictions(a.filter)
	var best *index
	var most use
	for _, ix := range append([]*index{byID}, a.indexes...) {
		if u := ix.use(restricted, a.sort); u.better(most) {
			best, most = ix, u
		}
	}
	if best == nil {
		return "no index: every document of the collection is looked at"
	}
	text := fmt.Sprintf("expected index %s %s", best.name, keysText(best.keys))
	switch {
	case s.db.opts.Indexes == IgnoreIndexes && best != byID:
		text += " if it is there"
	case !best.ready.Load():
		text += ", which is not complete"
	}
	switch {
	case !most.sorted:
		text += ", and sorted by the server"
	case most.equal == 0 && !most.ranged && len(a.filter) > 0:
		text += " for the order: documents are looked at until enough match"
	}
	return text
}

// use is what a command can use an index for.
type use struct {
	equal  int // its first fields, which are restricted to values
	ranged bool
	sorted bool
}

func (u use) better(v use) bool {
	switch {
	case u.equal != v.equal:
		return u.equal > v.equal
	case u.sorted != v.sorted:
		return u.sorted
	}
	return u.ranged && !v.ranged
}

// use returns what an index is good for. One that lacks documents is only for those that have
// its first field.
func (ix *index) use(restricted map[string]restriction, order bson.D) use {
	of := func(name string) restriction {
		if r, ok := restricted[name]; ok {
			return r
		}
		return unrestricted
	}
	if ix.partial != nil || ix.sparse && of(ix.keys[0].Key).null {
		return use{}
	}
	var u use
	for u.equal < len(ix.keys) && of(ix.keys[u.equal].Key).equal {
		u.equal++
	}
	rest := ix.keys[u.equal:]
	u.ranged = len(rest) > 0 && of(rest[0].Key).ranged
	order = slices.DeleteFunc(slices.Clone(order), func(e bson.E) bool { return of(e.Key).equal })
	used := u.equal > 0 || u.ranged
	u.sorted = len(order) == 0 && used || len(order) > 0 && inOrder(rest, order)
	return u
}

// inOrder reports whether keys begin with an order, or its reverse.
func inOrder(keys, order bson.D) bool {
	if len(keys) < len(order) {
		return false
	}
	same, reverse := true, true
	for i := range order {
		is, want := keys[i].Value.(int32), order[i].Value.(int32)
		same = same && keys[i].Key == order[i].Key && is == want
		reverse = reverse && keys[i].Key == order[i].Key && is == -want
	}
	return same || reverse
}
