package tao

import (
	"context"
	"errors"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

// ttl is how long values live in every cache, ±10 %.
const ttl = time.Hour

// patience is how long every variant waits for Redis: on a machine with much else to do
// no call is to be given up.
const patience = 5 * time.Second

// graph is graphcache.
type graph struct {
	g *graphcache.Graph
	b *redis.Backend
}

// openGraph opens graphcache, with a near cache if near is not 0: with so many bytes.
func openGraph(ctx context.Context, s driver.Store, addr string, near *nearSettings) (variant, error) {
	logger := slog.New(slog.DiscardHandler)
	b, err := redis.OpenUniversal(ctx, &goredis.UniversalOptions{
		Addrs: []string{addr}, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	}, &redis.Options{BatchTimeout: patience, Logger: logger})
	if err != nil {
		return nil, err
	}
	o := graphcache.Options{
		Cache: b.Cache(), Logger: logger, TTL: ttl,
		ReadTimeout: patience, HoldTimeout: patience, LeaseTTL: 2 * patience, HoldTTL: 4 * patience,
	}
	near.set(&o)
	g, err := graphcache.Open(ctx, schema, s, &o)
	if err != nil {
		return nil, errors.Join(err, b.Close(ctx))
	}
	return &graph{g, b}, nil
}

func (v *graph) object(ctx context.Context, id ID) (*Object, error) {
	o, err := objects.Get(ctx, v.g, id)
	if errors.Is(err, graphcache.ErrNotFound) {
		return nil, nil
	}
	return o, err
}

func (v *graph) edge(ctx context.Context, kind int, from, to ID) (*Edge, error) {
	e, err := links[kind].Get(ctx, v.g, from, to)
	if errors.Is(err, graphcache.ErrNotFound) {
		return nil, nil
	}
	return e, err
}

func (v *graph) count(ctx context.Context, kind int, from ID) (int, error) {
	return links[kind].Count(ctx, v.g, from)
}

func (v *graph) list(ctx context.Context, kind int, from ID, limit int) ([]Edge, error) {
	return links[kind].Range(ctx, v.g, from, 0, limit)
}

func (v *graph) window(ctx context.Context, kind int, from ID, high, low time.Time, limit int) ([]Edge, error) {
	return links[kind].TimeRange(ctx, v.g, from, high, low, limit)
}

func (v *graph) create(ctx context.Context, o *Object) error { return objects.Create(ctx, v.g, o) }

func (v *graph) update(ctx context.Context, o *Object) error {
	_, err := objects.Apply(ctx, v.g, o.ID, writeField.Set(o.Write), dataField.Set(o.Data))
	return err
}

func (v *graph) remove(ctx context.Context, id ID) error { return objects.Delete(ctx, v.g, id) }

func (v *graph) add(ctx context.Context, kind int, e *Edge) (created bool, err error) {
	return links[kind].AddEdge(ctx, v.g, *e)
}

func (v *graph) removeEdge(ctx context.Context, kind int, from, to ID) error {
	return links[kind].Remove(ctx, v.g, from, to)
}

func (v *graph) changeKind(ctx context.Context, kind int, from, to ID) error {
	return links[kind].ChangeKind(ctx, v.g, from, to, links[1-kind])
}

func (v *graph) lookups() (hits, near, misses int64) {
	for _, k := range v.g.Stats().Kinds {
		hits, near, misses = hits+k.Hits, near+nearHits(k), misses+k.Misses+k.Bypasses
	}
	return hits + near, near, misses
}

func (v *graph) settle(ctx context.Context) error { return v.g.Settle(ctx) }

func (v *graph) close(ctx context.Context) {
	_ = v.g.Close(ctx)
	_ = v.b.Close(ctx)
}
