package graphcache_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
)

// The model tests run against this schema: three kinds of objects, and a kind of
// edges of every sort that there is.

type modelLevel int8

// modelUser has a field of every common sort, so that a value that comes back from
// the cache other than from the store is noticed.
type modelUser struct {
	ID      graphcache.ID[modelUser] `json:"id"`
	Version graphcache.Version       `json:"version"`
	Name    string                   `json:"name"`
	Nick    *string                  `json:"nick,omitempty"`
	Age     int                      `json:"age,omitempty"`
	Balance int64                    `json:"balance"`
	Visits  uint64                   `json:"visits"`
	Rate    float64                  `json:"rate"`
	Small   float32                  `json:"small"`
	Active  bool                     `json:"active"`
	Level   modelLevel               `json:"level"`
	Photo   []byte                   `json:"photo"`
	Born    time.Time                `json:"born"`
	Tags    []string                 `json:"tags"`
	Scores  map[string]int           `json:"scores"`
	Home    modelAddress             `json:"home"`
	Others  []modelAddress           `json:"others"`
}

type modelAddress struct {
	Street string `json:"street"`
	Zip    uint16 `json:"zip"`
}

type modelPost struct {
	Title string                   `json:"title"`
	Score int                      `json:"score"`
	Key   graphcache.ID[modelPost] `graph:"id"`
}

type modelPlace struct {
	ID      graphcache.ID[modelPlace]
	Version graphcache.Version
	Name    string
}

type modelNote struct {
	Text   string    `json:"text"`
	Weight int       `json:"weight,omitempty"`
	At     time.Time `json:"at"`
}

var (
	modelUserKind  = graphcache.NewObjectKind[modelUser]("user")
	modelPostKind  = graphcache.NewObjectKind[modelPost]("post")
	modelPlaceKind = graphcache.NewObjectKind[modelPlace]("place")

	modelFollows = graphcache.NewEdgeKind[modelNote]("follows", modelUserKind, modelUserKind)
	modelWrote   = graphcache.NewEdgeKind[graphcache.NoData]("wrote", modelUserKind, modelPostKind)
	modelPinned  = graphcache.NewEdgeKind[modelNote]("pinned", modelUserKind, modelPostKind).ToOne()
	modelBoss    = graphcache.NewEdgeKind[graphcache.NoData]("boss", modelUserKind, modelUserKind).ToOne()
	modelFriend  = graphcache.NewEdgeKind[modelNote]("friend", modelUserKind, modelUserKind).Symmetric()
	modelLikes   = graphcache.NewEdgeKind[modelNote]("likes", modelUserKind, modelPostKind).Family("opinion")
	modelDislike = graphcache.NewEdgeKind[modelNote]("dislikes", modelUserKind, modelPostKind).Family("opinion")
	modelLives   = graphcache.NewEdgeKind[graphcache.NoData]("lives", modelUserKind, modelPlaceKind).ToOne().Family("whereabouts")
	modelVisits  = graphcache.NewEdgeKind[graphcache.NoData]("visits", modelUserKind, modelPlaceKind).ToOne().Family("whereabouts")
	modelAlly    = graphcache.NewEdgeKind[modelNote]("ally", modelPlaceKind, modelPlaceKind).Symmetric().Family("treaty")
	modelRival   = graphcache.NewEdgeKind[modelNote]("rival", modelPlaceKind, modelPlaceKind).Symmetric().Family("treaty")

	modelSchema = graphcache.NewSchema(modelUserKind, modelPostKind, modelPlaceKind,
		modelFollows, modelWrote, modelPinned, modelBoss, modelFriend, modelLikes, modelDislike,
		modelLives, modelVisits, modelAlly, modelRival)
)

// modelBase is the time around which the edges of the model lie.
var modelBase = time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)

// modelMakeUser returns the n-th value of a user.
func modelMakeUser(id string, n int) modelUser {
	u := modelUser{
		ID: graphcache.ID[modelUser](id), Name: fmt.Sprintf("user %s %d", id, n), Age: n % 3,
		Balance: -int64(n) << 40, Visits: 1<<63 + uint64(n), Rate: float64(n) / 3, Small: float32(n) / 7,
		Active: n%2 == 0, Level: modelLevel(-n),
		Born: modelBase.Add(-time.Duration(n) * 20 * 365 * 24 * time.Hour),
		Home: modelAddress{Street: strings.Repeat("é", n), Zip: uint16(n)},
	}
	if n%3 > 0 {
		nick := fmt.Sprint("nick ", n)
		u.Nick, u.Photo, u.Tags = &nick, []byte{0, byte(n), 255}, []string{"", "t"}
		u.Scores, u.Others = map[string]int{"é": n, "x": -n}, []modelAddress{u.Home, {}}
	}
	return u
}

func modelMakePost(id string, n int) modelPost {
	return modelPost{Key: graphcache.ID[modelPost](id), Title: fmt.Sprint("post ", n), Score: n}
}

func modelMakePlace(id string, n int) modelPlace {
	return modelPlace{ID: graphcache.ID[modelPlace](id), Name: fmt.Sprint("place ", n)}
}

// modelMakeNote returns the n-th value of an edge's data; n is also about its size.
func modelMakeNote(n int) modelNote {
	return modelNote{Text: strings.Repeat("x", n), Weight: n % 4, At: modelBase.Add(time.Duration(n) * time.Millisecond)}
}

func modelMakeNoData(int) graphcache.NoData { return graphcache.NoData{} }

// modelObjects is an object kind without its type parameter. Objects are values of
// the struct type, not pointers.
type modelObjects struct {
	name string
	ids  []string // those that random programs use

	versioned bool
	source    func(ids []string) any
	get       func(ctx context.Context, c graphcache.Conn, id string, fresh ...graphcache.Freshness) (any, error)
	getMany   func(ctx context.Context, c graphcache.Conn, ids []string, fresh ...graphcache.Freshness) (map[string]any, error)
	// The writes return the object as it is to be read from then on. stale makes
	// put carry a version that the record does not have.
	create func(ctx context.Context, c graphcache.Conn, id string, n int) (any, error)
	put    func(ctx context.Context, c graphcache.Conn, id string, n int, stale bool) (any, error)
	update func(ctx context.Context, c graphcache.Conn, id string, n int) (any, error)
	delete func(ctx context.Context, c graphcache.Conn, id string) error
}

// modelObjectsOf returns the kind; version returns a pointer to the field in which
// the struct has its version, and is nil if it has none.
func modelObjectsOf[T any](k *graphcache.ObjectKind[T], ids []string, value func(id string, n int) T, version func(*T) *graphcache.Version) *modelObjects {
	return &modelObjects{
		name: k.Name(), ids: ids, versioned: version != nil,
		source: func(ids []string) any {
			if len(ids) == 1 {
				return graphcache.ID[T](ids[0])
			}
			return graphcache.IDs[T](modelIDs[T](ids))
		},
		get: func(ctx context.Context, c graphcache.Conn, id string, fresh ...graphcache.Freshness) (any, error) {
			o, err := k.Get(ctx, c, graphcache.ID[T](id), fresh...)
			return modelValue(o), err
		},
		getMany: func(ctx context.Context, c graphcache.Conn, ids []string, fresh ...graphcache.Freshness) (map[string]any, error) {
			found, err := k.GetMany(ctx, c, modelIDs[T](ids), fresh...)
			m := map[string]any{}
			for id, o := range found {
				m[string(id)] = *o
			}
			return m, err
		},
		create: func(ctx context.Context, c graphcache.Conn, id string, n int) (any, error) {
			o := value(id, n)
			err := k.Create(ctx, c, &o)
			return o, err
		},
		put: func(ctx context.Context, c graphcache.Conn, id string, n int, stale bool) (any, error) {
			o := value(id, n)
			if stale {
				*version(&o) = 1 << 60 // versions start below 2⁵²
			}
			err := k.Put(ctx, c, &o)
			return o, err
		},
		update: func(ctx context.Context, c graphcache.Conn, id string, n int) (any, error) {
			o, err := k.Update(ctx, c, graphcache.ID[T](id), func(o *T) error {
				next := value(id, n)
				if version != nil {
					*version(&next) = *version(o)
				}
				*o = next
				return nil
			})
			return modelValue(o), err
		},
		delete: func(ctx context.Context, c graphcache.Conn, id string) error {
			return k.Delete(ctx, c, graphcache.ID[T](id))
		},
	}
}

func modelIDs[T any](ids []string) []graphcache.ID[T] {
	typed := make([]graphcache.ID[T], len(ids))
	for i, id := range ids {
		typed[i] = graphcache.ID[T](id)
	}
	return typed
}

// modelValue returns what o points to, nil if it points to nothing.
func modelValue[T any](o *T) any {
	if o == nil {
		return nil
	}
	return *o
}

// modelEdge is an edge without its type parameters.
type modelEdge struct {
	From, To string
	Time     time.Time
	Data     any
}

// modelKind is an edge kind without its type parameters.
type modelKind struct {
	name      string
	from, to  *modelObjects
	toOne     bool
	symmetric bool
	family    string

	data    func(n int) any
	out, in func(source any) modelQuery
	get     func(ctx context.Context, c graphcache.Conn, from, to string, fresh ...graphcache.Freshness) (modelEdge, error)
	getMany func(ctx context.Context, c graphcache.Conn, from string, to []string, fresh ...graphcache.Freshness) (map[string]modelEdge, error)
	count   func(ctx context.Context, c graphcache.Conn, from string) (int, error)
	span    func(ctx context.Context, c graphcache.Conn, from string, position, limit int) ([]modelEdge, error)
	times   func(ctx context.Context, c graphcache.Conn, from string, high, low time.Time, limit int) ([]modelEdge, error)

	add    func(ctx context.Context, c graphcache.Conn, e modelEdge) (created bool, err error)
	remove func(ctx context.Context, c graphcache.Conn, from, to string) error
	rekind func(ctx context.Context, c graphcache.Conn, from, to string, other *modelKind) error
	typed  any // the *graphcache.EdgeKind
}

func modelKindOf[A, B, D any](k *graphcache.EdgeKind[A, B, D], from, to *modelObjects, data func(n int) D) *modelKind {
	return &modelKind{
		name: k.Name(), from: from, to: to, typed: k,
		data: func(n int) any { return data(n) },
		out: func(s any) modelQuery {
			return modelTyped[B, A, B, D]{k.Out(s.(graphcache.Source[A]))}
		},
		in: func(s any) modelQuery {
			return modelTyped[A, A, B, D]{k.In(s.(graphcache.Source[B]))}
		},
		get: func(ctx context.Context, c graphcache.Conn, from, to string, fresh ...graphcache.Freshness) (modelEdge, error) {
			e, err := k.Get(ctx, c, graphcache.ID[A](from), graphcache.ID[B](to), fresh...)
			if err != nil {
				return modelEdge{}, err
			}
			return modelPlain(*e), nil
		},
		getMany: func(ctx context.Context, c graphcache.Conn, from string, to []string, fresh ...graphcache.Freshness) (map[string]modelEdge, error) {
			found, err := k.GetMany(ctx, c, graphcache.ID[A](from), modelIDs[B](to), fresh...)
			m := map[string]modelEdge{}
			for id, e := range found {
				m[string(id)] = modelPlain(*e)
			}
			return m, err
		},
		count: func(ctx context.Context, c graphcache.Conn, from string) (int, error) {
			return k.Count(ctx, c, graphcache.ID[A](from))
		},
		span: func(ctx context.Context, c graphcache.Conn, from string, position, limit int) ([]modelEdge, error) {
			edges, err := k.Range(ctx, c, graphcache.ID[A](from), position, limit)
			return modelPlainAll(edges), err
		},
		times: func(ctx context.Context, c graphcache.Conn, from string, high, low time.Time, limit int) ([]modelEdge, error) {
			edges, err := k.TimeRange(ctx, c, graphcache.ID[A](from), high, low, limit)
			return modelPlainAll(edges), err
		},
		add: func(ctx context.Context, c graphcache.Conn, e modelEdge) (bool, error) {
			return k.AddEdge(ctx, c, graphcache.Edge[A, B, D]{
				From: graphcache.ID[A](e.From), To: graphcache.ID[B](e.To), Time: e.Time, Data: e.Data.(D),
			})
		},
		remove: func(ctx context.Context, c graphcache.Conn, from, to string) error {
			return k.Remove(ctx, c, graphcache.ID[A](from), graphcache.ID[B](to))
		},
		rekind: func(ctx context.Context, c graphcache.Conn, from, to string, other *modelKind) error {
			return k.ChangeKind(ctx, c, graphcache.ID[A](from), graphcache.ID[B](to), other.typed.(*graphcache.EdgeKind[A, B, D]))
		},
	}
}

// sorted says what kind of a kind it is, because the handle does not tell.
func (k *modelKind) sorted(toOne, symmetric bool, family string) *modelKind {
	k.toOne, k.symmetric, k.family = toOne, symmetric, family
	return k
}

func modelPlain[A, B, D any](e graphcache.Edge[A, B, D]) modelEdge {
	return modelEdge{From: string(e.From), To: string(e.To), Time: e.Time, Data: e.Data}
}

func modelPlainAll[A, B, D any](edges []graphcache.Edge[A, B, D]) []modelEdge {
	plain := make([]modelEdge, len(edges))
	for i, e := range edges {
		plain[i] = modelPlain(e)
	}
	return plain
}

// The IDs sort as bytes: neither as numbers nor without regard to case.
var (
	modelUsers = modelObjectsOf(modelUserKind, []string{"a", "10", "B", "9", "é"}, modelMakeUser,
		func(u *modelUser) *graphcache.Version { return &u.Version })
	modelPosts  = modelObjectsOf(modelPostKind, []string{"p", "q", "P", "a"}, modelMakePost, nil)
	modelPlaces = modelObjectsOf(modelPlaceKind, []string{"x", "Y", "z"}, modelMakePlace,
		func(p *modelPlace) *graphcache.Version { return &p.Version })

	modelKinds = []*modelKind{
		modelKindOf(modelFollows, modelUsers, modelUsers, modelMakeNote),
		modelKindOf(modelWrote, modelUsers, modelPosts, modelMakeNoData),
		modelKindOf(modelPinned, modelUsers, modelPosts, modelMakeNote).sorted(true, false, ""),
		modelKindOf(modelBoss, modelUsers, modelUsers, modelMakeNoData).sorted(true, false, ""),
		modelKindOf(modelFriend, modelUsers, modelUsers, modelMakeNote).sorted(false, true, ""),
		modelKindOf(modelLikes, modelUsers, modelPosts, modelMakeNote).sorted(false, false, "opinion"),
		modelKindOf(modelDislike, modelUsers, modelPosts, modelMakeNote).sorted(false, false, "opinion"),
		modelKindOf(modelLives, modelUsers, modelPlaces, modelMakeNoData).sorted(true, false, "whereabouts"),
		modelKindOf(modelVisits, modelUsers, modelPlaces, modelMakeNoData).sorted(true, false, "whereabouts"),
		modelKindOf(modelAlly, modelPlaces, modelPlaces, modelMakeNote).sorted(false, true, "treaty"),
		modelKindOf(modelRival, modelPlaces, modelPlaces, modelMakeNote).sorted(false, true, "treaty"),
	}
	modelObjectKinds = []*modelObjects{modelUsers, modelPosts, modelPlaces}
)

// modelKindNamed returns the edge kind of that name.
func modelKindNamed(name string) *modelKind {
	for _, k := range modelKinds {
		if k.name == name {
			return k
		}
	}
	panic("no edge kind " + name)
}

// modelObjectsNamed returns the object kind of that name.
func modelObjectsNamed(name string) *modelObjects {
	for _, k := range modelObjectKinds {
		if k.name == name {
			return k
		}
	}
	panic("no object kind " + name)
}

// modelQuery is a query without its type parameters.
type modelQuery interface {
	refine(h modelHop) modelQuery
	fresh() modelQuery
	source() any
	ids(ctx context.Context, c graphcache.Conn) ([]string, error)
	all(ctx context.Context, c graphcache.Conn) ([]any, error)
	edges(ctx context.Context, c graphcache.Conn) ([]modelEdge, error)
	count(ctx context.Context, c graphcache.Conn) (int, error)
	exists(ctx context.Context, c graphcache.Conn) (bool, error)
	first(ctx context.Context, c graphcache.Conn) (any, error)
	only(ctx context.Context, c graphcache.Conn) (any, error)
}

type modelTyped[T, A, B, D any] struct {
	q graphcache.Query[T, graphcache.Edge[A, B, D]]
}

// refine applies what the hop asks for, and leaves unsaid what it does not.
func (q modelTyped[T, A, B, D]) refine(h modelHop) modelQuery {
	if !h.Since.IsZero() {
		q.q = q.q.Since(h.Since)
	}
	if !h.Until.IsZero() {
		q.q = q.q.Until(h.Until)
	}
	if h.LimitPer > 0 {
		q.q = q.q.LimitPer(h.LimitPer)
	}
	if h.Distinct {
		q.q = q.q.Distinct()
	}
	if h.Offset > 0 {
		q.q = q.q.Offset(h.Offset)
	}
	if h.Limit > 0 {
		q.q = q.q.Limit(h.Limit)
	}
	return q
}

func (q modelTyped[T, A, B, D]) fresh() modelQuery { q.q = q.q.Fresh(); return q }

func (q modelTyped[T, A, B, D]) source() any { return q.q }

func (q modelTyped[T, A, B, D]) ids(ctx context.Context, c graphcache.Conn) ([]string, error) {
	ids, err := q.q.IDs(ctx, c)
	plain := make([]string, len(ids))
	for i, id := range ids {
		plain[i] = string(id)
	}
	return plain, err
}

func (q modelTyped[T, A, B, D]) all(ctx context.Context, c graphcache.Conn) ([]any, error) {
	objects, err := q.q.All(ctx, c)
	plain := make([]any, len(objects))
	for i, o := range objects {
		plain[i] = *o
	}
	return plain, err
}

func (q modelTyped[T, A, B, D]) edges(ctx context.Context, c graphcache.Conn) ([]modelEdge, error) {
	edges, err := q.q.Edges(ctx, c)
	return modelPlainAll(edges), err
}

func (q modelTyped[T, A, B, D]) count(ctx context.Context, c graphcache.Conn) (int, error) {
	return q.q.Count(ctx, c)
}

func (q modelTyped[T, A, B, D]) exists(ctx context.Context, c graphcache.Conn) (bool, error) {
	return q.q.Exists(ctx, c)
}

func (q modelTyped[T, A, B, D]) first(ctx context.Context, c graphcache.Conn) (any, error) {
	o, err := q.q.First(ctx, c)
	return modelValue(o), err
}

func (q modelTyped[T, A, B, D]) only(ctx context.Context, c graphcache.Conn) (any, error) {
	o, err := q.q.Only(ctx, c)
	return modelValue(o), err
}
