package graphcache_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
)

// mqObjects is an object kind without its type parameter.
type mqObjects struct {
	name    string
	ids     []string
	columns []*mqColumn
	indexes []mqIndex
	scans   bool

	fresh   func() any // a new body
	clone   func(body any) any
	combine func(op string, of []any) any
	source  func(ids []string) any
	where   func(preds []any) mqAsked
	ref     func(o *mqObject, before bool) graphcache.Ref
	get     func(ctx context.Context, c graphcache.Conn, id string) (*mqObject, error)
	getMany func(ctx context.Context, c graphcache.Conn, ids []string) ([]*mqObject, error)
	create  func(ctx context.Context, c graphcache.Conn, o *mqObject) error
	put     func(ctx context.Context, c graphcache.Conn, o *mqObject) error
	update  func(ctx context.Context, c graphcache.Conn, id string, change func(*mqObject) error) (*mqObject, error)
	apply   func(ctx context.Context, c graphcache.Conn, id string, changes []any) (*mqObject, error)
	delete  func(ctx context.Context, c graphcache.Conn, id string) error
	change  func(change func(*mqObject) error) any // for UpdateAll
	typed   any                                    // the *graphcache.ObjectKind
	unwrap  any                                    // func(*T) *mqObject
	near    any                                    // func(*T) *[]mqNear
}

// mqIndex is an index as the model knows it.
type mqIndex struct {
	name    string
	columns []string
	unique  bool
}

func (k *mqObjects) column(name string) *mqColumn { return mqColumnNamed(k.columns, name) }

func mqColumnNamed(columns []*mqColumn, name string) *mqColumn {
	for _, c := range columns {
		if c.name == name {
			return c
		}
	}
	panic("no column " + name)
}

// tidy makes the values of an object what they are when they come back.
func (k *mqObjects) tidy(o *mqObject) {
	for _, c := range k.columns {
		c.tidy(o)
	}
}

// show prints an object with all that has been loaded beside it.
func (k *mqObjects) show(o *mqObject) string {
	if o == nil {
		return "nothing"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q", k.name, o.ID)
	for _, c := range k.columns {
		if c.name != "id" {
			fmt.Fprintf(&b, " %s=%s", c.name, c.show(o))
		}
	}
	for i, n := range o.near {
		fmt.Fprintf(&b, " near %d=[", i)
		for _, o := range n.objects {
			fmt.Fprintf(&b, "{%s}", n.kind.show(o))
		}
		b.WriteString("]")
	}
	return b.String()
}

func (e *mqEdge) show() string {
	gain := "nil"
	if e.Note.Gain != nil {
		gain = fmt.Sprint(*e.Note.Gain)
	}
	return fmt.Sprintf("%q to %q at %s: %q %d %s", e.From, e.To, e.Time.Format(time.RFC3339Nano), e.Note.Note, e.Note.Weight, gain)
}

func mqObjectsOf[T, B any](k *graphcache.ObjectKind[T], ids []string, id func(*T) *graphcache.ID[T], body func(*T) *B,
	near func(*T) *[]mqNear, columns func(mqTable[T, B]) []*mqColumn) *mqObjects {
	wrap := func(o *mqObject) *T {
		t := new(T)
		*id(t), *body(t) = graphcache.ID[T](o.ID), *o.Body.(*B)
		return t
	}
	unwrap := func(t *T) *mqObject {
		if t == nil {
			return nil
		}
		b := *body(t)
		return &mqObject{ID: string(*id(t)), Body: &b, near: *near(t)}
	}
	written := func(o *mqObject, t *T) { o.ID = string(*id(t)) }
	m := &mqObjects{
		name: k.Name(), ids: ids, typed: k, unwrap: unwrap, near: near,
		fresh:   func() any { return new(B) },
		clone:   func(b any) any { c := *b.(*B); return &c },
		combine: mqCombine[T],
		source: func(ids []string) any {
			if len(ids) == 1 {
				return graphcache.ID[T](ids[0])
			}
			return graphcache.IDs[T](modelIDs[T](ids))
		},
		where: func(preds []any) mqAsked {
			return mqTyped[T, graphcache.NoEdge]{q: k.Where(mqPreds[T](preds)...), unwrap: unwrap}
		},
		ref: func(o *mqObject, before bool) graphcache.Ref {
			if !before {
				return k.Ref(graphcache.ID[T](o.ID))
			}
			return k.Ref(graphcache.ID[T](o.ID), wrap(o))
		},
		get: func(ctx context.Context, c graphcache.Conn, id string) (*mqObject, error) {
			t, err := k.Get(ctx, c, graphcache.ID[T](id))
			return unwrap(t), err
		},
		getMany: func(ctx context.Context, c graphcache.Conn, ids []string) ([]*mqObject, error) {
			found, err := k.GetMany(ctx, c, modelIDs[T](ids))
			objects := make([]*mqObject, len(ids))
			for i, id := range ids {
				objects[i] = unwrap(found[graphcache.ID[T](id)])
			}
			return objects, err
		},
		create: func(ctx context.Context, c graphcache.Conn, o *mqObject) error {
			t := wrap(o)
			err := k.Create(ctx, c, t)
			written(o, t)
			return err
		},
		put: func(ctx context.Context, c graphcache.Conn, o *mqObject) error { return k.Put(ctx, c, wrap(o)) },
		update: func(ctx context.Context, c graphcache.Conn, id string, change func(*mqObject) error) (*mqObject, error) {
			t, err := k.Update(ctx, c, graphcache.ID[T](id), mqChanging(unwrap, body, change))
			return unwrap(t), err
		},
		apply: func(ctx context.Context, c graphcache.Conn, id string, changes []any) (*mqObject, error) {
			t, err := k.Apply(ctx, c, graphcache.ID[T](id), mqChanges[T](changes)...)
			return unwrap(t), err
		},
		delete: func(ctx context.Context, c graphcache.Conn, id string) error {
			return k.Delete(ctx, c, graphcache.ID[T](id))
		},
	}
	m.columns = append([]*mqColumn{mqIDColumn(k, id, ids)}, columns(mqTable[T, B]{
		kind: k, typed: body, plain: func(rec any) *B { return rec.(*mqObject).Body.(*B) },
	})...)
	m.change = func(change func(*mqObject) error) any { return mqChanging(unwrap, body, change) }
	return m
}

// mqChanging makes a change of a T out of one of an object of the model.
func mqChanging[T, B any](unwrap func(*T) *mqObject, body func(*T) *B, change func(*mqObject) error) func(*T) error {
	return func(t *T) error {
		o := unwrap(t)
		err := change(o)
		*body(t) = *o.Body.(*B)
		return err
	}
}

func mqCast[V any](of []any) []V {
	typed := make([]V, len(of))
	for i, x := range of {
		typed[i] = x.(V)
	}
	return typed
}

func mqPreds[T any](of []any) []graphcache.Predicate[T] { return mqCast[graphcache.Predicate[T]](of) }

func mqChanges[T any](of []any) []graphcache.Change[T] { return mqCast[graphcache.Change[T]](of) }

func mqCombine[T any](op string, of []any) any {
	switch op {
	case "and":
		return graphcache.And(mqPreds[T](of)...)
	case "or":
		return graphcache.Or(mqPreds[T](of)...)
	}
	return graphcache.Not(of[0].(graphcache.Predicate[T]))
}

// mqEdges is an edge kind without its type parameters.
type mqEdges struct {
	name             string
	from, to         *mqObjects
	toOne, symmetric bool
	columns          []*mqColumn

	combine func(op string, of []any) any
	out, in func(source any) mqAsked
	into    func(in bool, build func(mqAsked) mqAsked, with []any) any // an Attachment
	ref     func(from, to string) graphcache.Ref
	add     func(ctx context.Context, c graphcache.Conn, e mqEdge) (bool, error)
	remove  func(ctx context.Context, c graphcache.Conn, from, to string) error
	typed   any // the *graphcache.EdgeKind
}

func mqEdgesOf[A, B, D any](k *graphcache.EdgeKind[A, B, D], from, to *mqObjects, data func(*D) *mqNote) *mqEdges {
	type edge = graphcache.Edge[A, B, D]
	plain := func(e edge) mqEdge {
		return mqEdge{From: string(e.From), To: string(e.To), Time: e.Time, Note: *data(&e.Data)}
	}
	return &mqEdges{
		name: k.Name(), from: from, to: to, typed: k, columns: mqEdgeColumns(k, data), combine: mqCombine[edge],
		out: func(s any) mqAsked {
			return mqTyped[B, edge]{q: k.Out(s.(graphcache.Source[A])), unwrap: to.unwrap.(func(*B) *mqObject), edge: plain}
		},
		in: func(s any) mqAsked {
			return mqTyped[A, edge]{q: k.In(s.(graphcache.Source[B])), unwrap: from.unwrap.(func(*A) *mqObject), edge: plain}
		},
		into: func(in bool, build func(mqAsked) mqAsked, with []any) any {
			if in {
				n := k.InInto(mqSetNear[B, A](to, from))
				return build(mqNeighbours[B, A, edge]{n: n}).(mqNeighbours[B, A, edge]).n.With(mqCast[graphcache.Attachment[A]](with)...)
			}
			n := k.OutInto(mqSetNear[A, B](from, to))
			return build(mqNeighbours[A, B, edge]{n: n}).(mqNeighbours[A, B, edge]).n.With(mqCast[graphcache.Attachment[B]](with)...)
		},
		ref: func(from, to string) graphcache.Ref { return k.Ref(graphcache.ID[A](from), graphcache.ID[B](to)) },
		add: func(ctx context.Context, c graphcache.Conn, e mqEdge) (bool, error) {
			typed := edge{From: graphcache.ID[A](e.From), To: graphcache.ID[B](e.To), Time: e.Time}
			*data(&typed.Data) = e.Note
			return k.AddEdge(ctx, c, typed)
		},
		remove: func(ctx context.Context, c graphcache.Conn, from, to string) error {
			return k.Remove(ctx, c, graphcache.ID[A](from), graphcache.ID[B](to))
		},
	}
}

// mqSetNear keeps the neighbours beside the object. They have theirs already.
func mqSetNear[A, B any](from, to *mqObjects) func(*A, []*B) {
	near, unwrap := from.near.(func(*A) *[]mqNear), to.unwrap.(func(*B) *mqObject)
	return func(a *A, all []*B) {
		n := mqNear{kind: to}
		for _, b := range all {
			n.objects = append(n.objects, unwrap(b))
		}
		*near(a) = append(*near(a), n)
	}
}

// mqAsked is a query, or neighbours, without type parameters.
type mqAsked interface {
	where(preds []any) mqAsked
	whereEdge(preds []any) mqAsked
	orderBy(orders []any) mqAsked
	orderByEdge(orders []any) mqAsked
	limitPer(n int) mqAsked
}

// mqRunnable is a query that can be run.
type mqRunnable interface {
	mqAsked
	limits(offset, limit int) mqAsked
	distinct() mqAsked
	times(since, until time.Time) mqAsked
	fresh() mqRunnable
	with(attachments []any) mqRunnable
	source() any

	key() (string, error)
	explain(ctx context.Context, c graphcache.Conn) graphcache.Plan
	ids(ctx context.Context, c graphcache.Conn) ([]string, error)
	all(ctx context.Context, c graphcache.Conn) ([]*mqObject, error)
	count(ctx context.Context, c graphcache.Conn) (int, error)
	exists(ctx context.Context, c graphcache.Conn) (bool, error)
	first(ctx context.Context, c graphcache.Conn) (*mqObject, error)
	only(ctx context.Context, c graphcache.Conn) (*mqObject, error)
	edges(ctx context.Context, c graphcache.Conn) ([]mqEdge, error)
	withObjects(ctx context.Context, c graphcache.Conn) ([]mqEdge, []*mqObject, error)
	page(ctx context.Context, c graphcache.Conn, cursor string) ([]*mqObject, string, error)
	updateAll(ctx context.Context, c graphcache.Conn, change any) (graphcache.BulkReport, error)
	applyAll(ctx context.Context, c graphcache.Conn, changes []any) (graphcache.BulkReport, error)
	deleteAll(ctx context.Context, c graphcache.Conn) (graphcache.BulkReport, error)
}

type mqTyped[T, E any] struct {
	q      graphcache.Query[T, E]
	unwrap any // func(*T) *mqObject
	edge   func(E) mqEdge
}

func (q mqTyped[T, E]) where(preds []any) mqAsked {
	q.q = q.q.Where(mqPreds[T](preds)...)
	return q
}

func (q mqTyped[T, E]) whereEdge(preds []any) mqAsked {
	q.q = q.q.WhereEdge(mqPreds[E](preds)...)
	return q
}

func (q mqTyped[T, E]) orderBy(orders []any) mqAsked {
	q.q = q.q.OrderBy(mqCast[graphcache.Order[T]](orders)...)
	return q
}

func (q mqTyped[T, E]) orderByEdge(orders []any) mqAsked {
	q.q = q.q.OrderByEdge(mqCast[graphcache.Order[E]](orders)...)
	return q
}

func (q mqTyped[T, E]) limitPer(n int) mqAsked { q.q = q.q.LimitPer(n); return q }

func (q mqTyped[T, E]) limits(offset, limit int) mqAsked {
	q.q = q.q.Limit(limit).Offset(offset)
	return q
}

func (q mqTyped[T, E]) distinct() mqAsked { q.q = q.q.Distinct(); return q }

func (q mqTyped[T, E]) times(since, until time.Time) mqAsked {
	q.q = q.q.Since(since).Until(until)
	return q
}

func (q mqTyped[T, E]) fresh() mqRunnable { q.q = q.q.Fresh(); return q }

func (q mqTyped[T, E]) with(attachments []any) mqRunnable {
	q.q = q.q.With(mqCast[graphcache.Attachment[T]](attachments)...)
	return q
}

func (q mqTyped[T, E]) source() any          { return q.q }
func (q mqTyped[T, E]) key() (string, error) { return q.q.Key() }

func (q mqTyped[T, E]) explain(ctx context.Context, c graphcache.Conn) graphcache.Plan {
	return q.q.Explain(ctx, c)
}

func (q mqTyped[T, E]) object(t *T) *mqObject { return q.unwrap.(func(*T) *mqObject)(t) }

func (q mqTyped[T, E]) objects(of []*T) []*mqObject {
	objects := make([]*mqObject, len(of))
	for i, t := range of {
		objects[i] = q.object(t)
	}
	return objects
}

func (q mqTyped[T, E]) plainEdges(of []E) []mqEdge {
	edges := make([]mqEdge, len(of))
	for i, e := range of {
		edges[i] = q.edge(e)
	}
	return edges
}

func (q mqTyped[T, E]) ids(ctx context.Context, c graphcache.Conn) ([]string, error) {
	ids, err := q.q.IDs(ctx, c)
	plain := make([]string, len(ids))
	for i, id := range ids {
		plain[i] = string(id)
	}
	return plain, err
}

func (q mqTyped[T, E]) all(ctx context.Context, c graphcache.Conn) ([]*mqObject, error) {
	all, err := q.q.All(ctx, c)
	return q.objects(all), err
}

func (q mqTyped[T, E]) count(ctx context.Context, c graphcache.Conn) (int, error) {
	return q.q.Count(ctx, c)
}

func (q mqTyped[T, E]) exists(ctx context.Context, c graphcache.Conn) (bool, error) {
	return q.q.Exists(ctx, c)
}

func (q mqTyped[T, E]) first(ctx context.Context, c graphcache.Conn) (*mqObject, error) {
	t, err := q.q.First(ctx, c)
	return q.object(t), err
}

func (q mqTyped[T, E]) only(ctx context.Context, c graphcache.Conn) (*mqObject, error) {
	t, err := q.q.Only(ctx, c)
	return q.object(t), err
}

func (q mqTyped[T, E]) edges(ctx context.Context, c graphcache.Conn) ([]mqEdge, error) {
	edges, err := q.q.Edges(ctx, c)
	return q.plainEdges(edges), err
}

func (q mqTyped[T, E]) withObjects(ctx context.Context, c graphcache.Conn) (edges []mqEdge, objects []*mqObject, err error) {
	pairs, err := q.q.WithObjects(ctx, c)
	for _, p := range pairs {
		edges, objects = append(edges, q.edge(p.Edge)), append(objects, q.object(p.Object))
	}
	return edges, objects, err
}

func (q mqTyped[T, E]) page(ctx context.Context, c graphcache.Conn, cursor string) ([]*mqObject, string, error) {
	page, next, err := q.q.Page(ctx, c, cursor)
	return q.objects(page), next, err
}

func (q mqTyped[T, E]) updateAll(ctx context.Context, c graphcache.Conn, change any) (graphcache.BulkReport, error) {
	return q.q.UpdateAll(ctx, c, change.(func(*T) error))
}

func (q mqTyped[T, E]) applyAll(ctx context.Context, c graphcache.Conn, changes []any) (graphcache.BulkReport, error) {
	return q.q.ApplyAll(ctx, c, mqChanges[T](changes)...)
}

func (q mqTyped[T, E]) deleteAll(ctx context.Context, c graphcache.Conn) (graphcache.BulkReport, error) {
	return q.q.DeleteAll(ctx, c)
}

// mqNeighbours refines what With loads.
type mqNeighbours[A, B, E any] struct {
	n graphcache.Neighbours[A, B, E]
}

func (n mqNeighbours[A, B, E]) where(preds []any) mqAsked {
	n.n = n.n.Where(mqPreds[B](preds)...)
	return n
}

func (n mqNeighbours[A, B, E]) whereEdge(preds []any) mqAsked {
	n.n = n.n.WhereEdge(mqPreds[E](preds)...)
	return n
}

func (n mqNeighbours[A, B, E]) orderBy(orders []any) mqAsked {
	n.n = n.n.OrderBy(mqCast[graphcache.Order[B]](orders)...)
	return n
}

func (n mqNeighbours[A, B, E]) orderByEdge(orders []any) mqAsked {
	n.n = n.n.OrderByEdge(mqCast[graphcache.Order[E]](orders)...)
	return n
}

func (n mqNeighbours[A, B, E]) limitPer(limit int) mqAsked { n.n = n.n.LimitPer(limit); return n }

// mqVersion is a version of the program: its schema, and its kinds.
type mqVersion struct {
	n       int // 0 is the oldest
	schema  *graphcache.Schema
	objects []*mqObjects
	edges   []*mqEdges
}

func (v *mqVersion) kind(name string) *mqObjects {
	return v.objects[slices.IndexFunc(v.objects, func(k *mqObjects) bool { return k.name == name })]
}

func (v *mqVersion) edge(name string) *mqEdges {
	return v.edges[slices.IndexFunc(v.edges, func(k *mqEdges) bool { return k.name == name })]
}

// The indexes that the tags declare, and those that do not come from a tag.
var (
	mqTagged = map[string][]mqIndex{
		"user": {
			{"city", []string{"city"}, false}, {"email", []string{"email"}, true}, {"alias", []string{"alias"}, true},
			{"visits", []string{"visits"}, false}, {"tags", []string{"tags"}, false}, {"active", []string{"active"}, false},
			{"photo", []string{"photo"}, false}, {"lang", []string{"lang"}, false},
		},
		"post": {{"topic", []string{"topic"}, false}},
	}
	mqDeclared = map[string][]mqIndex{
		"user": {
			{"city_level_age", []string{"city", "level", "age"}, false},
			{"city_rate", []string{"city", "rate"}, false},
			{"active_nums_age", []string{"active", "nums", "age"}, false},
			{"zip_born", []string{"zip", "born"}, false},
			{"alias_lang", []string{"alias", "lang"}, false},
			{"level_tags_seen", []string{"level", "tags", "seen"}, false},
		},
		"post": {{"topic_slot", []string{"topic", "slot"}, true}, {"hot_score_at", []string{"hot", "score", "at"}, false}},
	}
)

// mqIndexes declares the indexes of a kind.
func mqIndexes[T any](m *mqObjects) []graphcache.Kind {
	var kinds []graphcache.Kind
	for _, ix := range mqDeclared[m.name] {
		fields := make([]graphcache.AnyField[T], len(ix.columns))
		for i, name := range ix.columns {
			fields[i] = m.column(name).field.(graphcache.AnyField[T])
		}
		declared := graphcache.NewIndex(ix.name, m.typed.(*graphcache.ObjectKind[T]), fields...)
		if ix.unique {
			declared = declared.Unique()
		}
		kinds = append(kinds, declared)
	}
	m.indexes = slices.Concat(mqTagged[m.name], mqDeclared[m.name])
	return kinds
}

var (
	mqUserIDs  = []string{"a", "10", "B", "9", "é", "ab", "b", "u"}
	mqPostIDs  = []string{"p", "q", "P", "a", "pp", "10"}
	mqPlaceIDs = []string{"x", "Y", "z", "xx"}
)

// newMQVersion declares everything anew; the oldest version has no indexes.
func newMQVersion[U, D any](n int, users *graphcache.ObjectKind[U], id func(*U) *graphcache.ID[U], body func(*U) *mqUserBody,
	near func(*U) *[]mqNear, note func(*D) *mqNote) *mqVersion {
	posts := graphcache.NewObjectKind[mqPost]("post").CacheScans()
	places := graphcache.NewObjectKind[mqPlace]("place")
	user := mqObjectsOf(users, mqUserIDs, id, body, near, mqUserColumns[U])
	post := mqObjectsOf(posts, mqPostIDs, func(p *mqPost) *graphcache.ID[mqPost] { return &p.Key },
		func(p *mqPost) *mqPostBody { return &p.mqPostBody }, func(p *mqPost) *[]mqNear { return &p.Near }, mqPostColumns)
	place := mqObjectsOf(places, mqPlaceIDs, func(p *mqPlace) *graphcache.ID[mqPlace] { return &p.ID },
		func(p *mqPlace) *mqPlaceBody { return &p.mqPlaceBody }, func(p *mqPlace) *[]mqNear { return &p.Near }, mqPlaceColumns)
	post.scans = true

	follows := graphcache.NewEdgeKind[D]("follows", users, users)
	wrote := graphcache.NewEdgeKind[D]("wrote", users, posts)
	lives := graphcache.NewEdgeKind[D]("lives", users, places).ToOne()
	friend := graphcache.NewEdgeKind[D]("friend", users, users).Symmetric()
	kinds := []graphcache.Kind{users, posts, places, follows, wrote, lives, friend}
	if n > 0 {
		kinds = slices.Concat(kinds, mqIndexes[U](user), mqIndexes[mqPost](post))
	}
	v := &mqVersion{
		n: n, schema: graphcache.NewSchema(kinds...), objects: []*mqObjects{user, post, place},
		edges: []*mqEdges{
			mqEdgesOf(follows, user, user, note), mqEdgesOf(wrote, user, post, note),
			mqEdgesOf(lives, user, place, note), mqEdgesOf(friend, user, user, note),
		},
	}
	v.edge("lives").toOne, v.edge("friend").symmetric = true, true
	return v
}

// mqVersions are the program's versions: the oldest, the present and the next.
var mqVersions = []*mqVersion{
	newMQVersion(0, graphcache.NewObjectKind[mqOldUser]("user"),
		func(u *mqOldUser) *graphcache.ID[mqOldUser] { return &u.ID },
		func(u *mqOldUser) *mqUserBody { return (*mqUserBody)(&u.mqOldBody) },
		func(u *mqOldUser) *[]mqNear { return &u.Near }, func(n *mqNote) *mqNote { return n }),
	newMQVersion(1, graphcache.NewObjectKind[mqUser]("user"),
		func(u *mqUser) *graphcache.ID[mqUser] { return &u.ID },
		func(u *mqUser) *mqUserBody { return &u.mqUserBody },
		func(u *mqUser) *[]mqNear { return &u.Near }, func(n *mqNote) *mqNote { return n }),
	newMQVersion(2, graphcache.NewObjectKind[mqNewUser]("user"),
		func(u *mqNewUser) *graphcache.ID[mqNewUser] { return &u.ID },
		func(u *mqNewUser) *mqUserBody { return (*mqUserBody)(&u.mqNewBody) },
		func(u *mqNewUser) *[]mqNear { return &u.Near }, func(n *mqNewNote) *mqNote { return (*mqNote)(n) }),
}
