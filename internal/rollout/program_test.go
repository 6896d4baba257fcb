package rollout_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"

	"github.com/graphcache/graphcache"
)

// version is what a version of the program does at random.
type version interface {
	label() string
	schema() *graphcache.Schema
	read(r *rand.Rand) (what string, ask question)
	write(ctx context.Context, g *graphcache.Graph, r *rand.Rand, clash bool) (what string, err error)
}

// question is a read, by the cache or by the store alone.
type question func(ctx context.Context, c graphcache.Conn, fresh bool) (string, error)

// program is a version whose objects are of type T and whose edges have data of type D.
type program[T, D any] struct {
	name    string
	kind    *graphcache.ObjectKind[T]
	link    *graphcache.EdgeKind[T, T, D]
	indexes []graphcache.Kind
	where   []func(r *rand.Rand) graphcache.Predicate[T]
	orders  []graphcache.Order[T]
	changes []func(r *rand.Rand) graphcache.Change[T]
}

// objects is how many there may be.
const objects = 6

func randomID(r *rand.Rand) string { return string(rune('p' + r.IntN(objects))) }

func (p *program[T, D]) label() string { return p.name }

func (p *program[T, D]) schema() *graphcache.Schema {
	return graphcache.NewSchema(append([]graphcache.Kind{p.kind, p.link}, p.indexes...)...)
}

// words are the values of strings.
var words = []string{"", "a", "b", "c"}

func word(r *rand.Rand) string { return words[r.IntN(len(words))] }

// fill sets the fields to random values.
func fill(v reflect.Value, r *rand.Rand, id string, clash bool) {
	for i := range v.NumField() {
		f, t := v.Field(i), v.Type().Field(i)
		name, _, _ := strings.Cut(t.Tag.Get("json"), ",")
		switch {
		case t.Name == "ID":
			f.SetString(id)
		case name == "code":
			code := id
			if clash {
				code = randomID(r)
			}
			if code += word(r); r.IntN(3) > 0 {
				f.Set(reflect.ValueOf(&code))
			}
		case f.Kind() == reflect.String:
			f.SetString(word(r))
		case f.CanInt():
			f.SetInt(r.Int64N(3))
		case f.CanFloat():
			f.SetFloat(float64(r.IntN(3)))
		case f.Kind() == reflect.Bool:
			f.SetBool(r.IntN(2) == 0)
		case f.Kind() == reflect.Slice:
			list := reflect.Zero(f.Type())
			for range r.IntN(4) {
				list = reflect.Append(list, reflect.ValueOf(word(r)))
			}
			f.Set(list)
		case f.Kind() == reflect.Struct:
			fill(f, r, id, clash)
		case f.Kind() == reflect.Pointer:
			f.SetZero()
			if r.IntN(3) == 0 {
				continue
			}
			to := reflect.New(f.Type().Elem())
			if to.Elem().Kind() == reflect.String {
				to.Elem().SetString(word(r))
			} else {
				to.Elem().SetInt(r.Int64N(3))
			}
			f.Set(to)
		default:
			panic(t.Type.String())
		}
	}
}

// pick returns one of the functions' results.
func pick[X any](r *rand.Rand, from []func(*rand.Rand) X) X { return from[r.IntN(len(from))](r) }

// show returns what was read as text.
func show(v any, err error) (string, error) {
	if errors.Is(err, graphcache.ErrNotFound) {
		return "absent", nil
	}
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func freshness(fresh bool) graphcache.Freshness {
	if fresh {
		return graphcache.Fresh
	}
	return graphcache.Cached
}

// read returns a random read.
func (p *program[T, D]) read(r *rand.Rand) (string, question) {
	id := graphcache.ID[T](randomID(r))
	switch r.IntN(8) {
	case 0:
		return fmt.Sprintf("get %s", id), func(ctx context.Context, c graphcache.Conn, fresh bool) (string, error) {
			return show(p.kind.Get(ctx, c, id, freshness(fresh)))
		}
	case 1:
		ids := []graphcache.ID[T]{id, "p", "q", "r"}
		return fmt.Sprintf("get %v", ids), func(ctx context.Context, c graphcache.Conn, fresh bool) (string, error) {
			return show(p.kind.GetMany(ctx, c, ids, freshness(fresh)))
		}
	case 2:
		return fmt.Sprintf("links out of %s, ", id) + "all", func(ctx context.Context, c graphcache.Conn, fresh bool) (string, error) {
			q := p.link.Out(id)
			if fresh {
				q = q.Fresh()
			}
			return show(q.Edges(ctx, c))
		}
	case 3:
		what, a := ask(p, r, p.link.In(id).Where(pick(r, p.where)), true)
		return fmt.Sprintf("links in to %s, where, ", id) + what, a
	}
	var where []graphcache.Predicate[T]
	for range r.IntN(6) / 2 {
		where = append(where, pick(r, p.where))
	}
	q := p.kind.Where(where...)
	what, a := ask(p, r, q, false)
	key, err := q.Key()
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf("where %q, ", key) + what, a
}

// ask returns a random read of what the query finds.
func ask[T, E, D any](p *program[T, D], r *rand.Rand, q graphcache.Query[T, E], edges bool) (what string, a question) {
	switch k := r.IntN(4); {
	case k == 0 || edges:
	case k == 1:
		q, what = q.OrderBy(p.orders[r.IntN(len(p.orders))]), "ordered "
	default:
		n := r.IntN(3) + 1
		q, what = q.OrderBy(p.orders[r.IntN(len(p.orders))]).Limit(n), fmt.Sprintf("ordered, limit %d ", n)
	}
	of := func(do func(ctx context.Context, c graphcache.Conn, q graphcache.Query[T, E]) (string, error)) question {
		return func(ctx context.Context, c graphcache.Conn, fresh bool) (string, error) {
			if fresh {
				return do(ctx, c, q.Fresh())
			}
			return do(ctx, c, q)
		}
	}
	switch r.IntN(6) {
	case 0:
		return what + "all", of(func(ctx context.Context, c graphcache.Conn, q graphcache.Query[T, E]) (string, error) {
			return show(q.All(ctx, c))
		})
	case 1:
		return what + "IDs", of(func(ctx context.Context, c graphcache.Conn, q graphcache.Query[T, E]) (string, error) {
			ids, err := q.IDs(ctx, c)
			return fmt.Sprint(ids), err
		})
	case 2:
		return what + "count", of(func(ctx context.Context, c graphcache.Conn, q graphcache.Query[T, E]) (string, error) {
			return show(q.Count(ctx, c))
		})
	case 3:
		return what + "exists", of(func(ctx context.Context, c graphcache.Conn, q graphcache.Query[T, E]) (string, error) {
			return show(q.Exists(ctx, c))
		})
	case 4:
		return what + "first", of(func(ctx context.Context, c graphcache.Conn, q graphcache.Query[T, E]) (string, error) {
			return show(q.First(ctx, c))
		})
	}
	return what + "pages", of(func(ctx context.Context, c graphcache.Conn, q graphcache.Query[T, E]) (string, error) {
		var all []string
		for cursor := ""; ; {
			page, next, err := q.Limit(2).Page(ctx, c, cursor)
			if err != nil {
				return "", err
			}
			s, err := show(page, nil)
			if all = append(all, s); next == "" || err != nil {
				return strings.Join(all, ""), err
			}
			cursor = next
		}
	})
}

// expected says whether an error only says what is there.
func expected(err error) bool {
	return errors.Is(err, graphcache.ErrNotFound) || errors.Is(err, graphcache.ErrExists) || errors.Is(err, graphcache.ErrConflict)
}

// write makes a random write.
func (p *program[T, D]) write(ctx context.Context, g *graphcache.Graph, r *rand.Rand, clash bool) (what string, err error) {
	switch r.IntN(12) {
	case 0:
		q := p.kind.Where(pick(r, p.where))
		report, err := q.UpdateAll(ctx, g, func(o *T) error {
			v := reflect.ValueOf(o).Elem()
			fill(v, r, v.FieldByName("ID").String(), clash)
			return nil
		})
		return fmt.Sprintf("update all %+v", report), err
	case 1:
		report, err := p.kind.Where(pick(r, p.where)).ApplyAll(ctx, g, pick(r, p.changes))
		return fmt.Sprintf("apply all %+v", report), err
	case 2:
		switch r.IntN(8) {
		case 0:
		case 1:
			report, err := g.Backfill(ctx, p.kind)
			return fmt.Sprintf("backfill %+v", report), err
		case 2:
			return "invalidate the kind", g.InvalidateKind(ctx, p.kind)
		case 3:
			report, err := g.Repair(ctx)
			return fmt.Sprintf("repair %+v", report), err
		default:
			return p.one(ctx, g, r, clash)
		}
		report, err := p.kind.Where(pick(r, p.where)).DeleteAll(ctx, g)
		return fmt.Sprintf("delete all %+v", report), err
	case 3, 4:
		var done []string
		err := g.Tx(ctx, func(tx *graphcache.Tx) error {
			done = nil
			for range 1 + r.IntN(3) {
				what, err := p.one(ctx, tx, r, clash)
				done = append(done, fmt.Sprintf("%s: %v", what, err))
				if err != nil && (!expected(err) || r.IntN(2) == 0) {
					return err
				}
			}
			return nil
		})
		return fmt.Sprintf("tx %q", done), err
	}
	return p.one(ctx, g, r, clash)
}

// one makes a random write of one record.
func (p *program[T, D]) one(ctx context.Context, c graphcache.Conn, r *rand.Rand, clash bool) (what string, err error) {
	id := randomID(r)
	o := new(T)
	fill(reflect.ValueOf(o).Elem(), r, id, clash)
	switch r.IntN(9) {
	case 0:
		return fmt.Sprintf("create %+v", *o), p.kind.Create(ctx, c, o)
	case 1, 2:
		return fmt.Sprintf("put %+v", *o), p.kind.Put(ctx, c, o)
	case 3:
		o, err := p.kind.Update(ctx, c, graphcache.ID[T](id), func(o *T) error {
			fill(reflect.ValueOf(o).Elem(), r, id, clash)
			return nil
		})
		return fmt.Sprintf("update %s: %+v", id, o), err
	case 4, 5:
		change := pick(r, p.changes)
		o, err := p.kind.Apply(ctx, c, graphcache.ID[T](id), change)
		return fmt.Sprintf("apply %s: %+v", id, o), err
	case 6:
		return "delete " + id, p.kind.Delete(ctx, c, graphcache.ID[T](id))
	case 7:
		from, to := graphcache.ID[T](id), graphcache.ID[T](randomID(r))
		return fmt.Sprintf("remove %s → %s", from, to), p.link.Remove(ctx, c, from, to)
	}
	var d D
	fill(reflect.ValueOf(&d).Elem(), r, "", false)
	from, to := graphcache.ID[T](id), graphcache.ID[T](randomID(r))
	return fmt.Sprintf("add %s → %s", from, to), p.link.Add(ctx, c, from, to, d)
}
