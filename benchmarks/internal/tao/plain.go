package tao

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/go-redis/cache/v9"
	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// plain is cache-aside by go-redis/cache as its documentation shows it: Once, with its own
// encoding, without a local cache, and Delete after a write. Its keys are those of aside.
type plain struct {
	direct
	client          *goredis.Client
	cache           *cache.Cache
	lookedUp, loads atomic.Int64
}

func openPlain(s driver.Store, addr string) (variant, error) {
	client := newClient(addr)
	return &plain{direct: direct{s}, client: client, cache: cache.New(&cache.Options{Redis: client})}, nil
}

// plainObject and plainList are what is cached: something also where there is nothing.
type plainObject struct {
	Object *Object
}

type plainEdge struct {
	Edge *Edge
}

type plainList struct {
	Edges    []Edge
	Complete bool
}

// once reads the value under the key into v, from the cache or else from load.
func (c *plain) once(ctx context.Context, key string, v any, load func(ctx context.Context) (any, error)) error {
	c.lookedUp.Add(1)
	return c.cache.Once(&cache.Item{Ctx: ctx, Key: key, Value: v, TTL: ttl, Do: func(i *cache.Item) (any, error) {
		c.loads.Add(1)
		return load(i.Context())
	}})
}

func (c *plain) object(ctx context.Context, id ID) (*Object, error) {
	var v plainObject
	err := c.once(ctx, objectKey(id), &v, func(ctx context.Context) (any, error) {
		o, err := c.direct.object(ctx, id)
		return &plainObject{o}, err
	})
	return v.Object, err
}

func (c *plain) prefix(ctx context.Context, kind int, from ID) (l plainList, err error) {
	err = c.once(ctx, listKey(kind, from), &l, func(ctx context.Context) (any, error) {
		edges, err := c.direct.list(ctx, kind, from, prefixEdges+1)
		complete := len(edges) <= prefixEdges
		return &plainList{edges[:min(len(edges), prefixEdges)], complete}, err
	})
	return l, err
}

func (c *plain) edge(ctx context.Context, kind int, from, to ID) (*Edge, error) {
	l, err := c.prefix(ctx, kind, from)
	if err != nil {
		return nil, err
	}
	for i := range l.Edges {
		if l.Edges[i].To == to {
			return &l.Edges[i], nil
		}
	}
	if l.Complete {
		return nil, nil
	}
	var v plainEdge
	err = c.once(ctx, edgeKey(kind, from, to), &v, func(ctx context.Context) (any, error) {
		e, err := c.direct.edge(ctx, kind, from, to)
		return &plainEdge{e}, err
	})
	return v.Edge, err
}

func (c *plain) count(ctx context.Context, kind int, from ID) (n int, err error) {
	l, err := c.prefix(ctx, kind, from)
	if err != nil || l.Complete {
		return len(l.Edges), err
	}
	err = c.once(ctx, countKey(kind, from), &n, func(ctx context.Context) (any, error) {
		return c.direct.count(ctx, kind, from)
	})
	return n, err
}

func (c *plain) list(ctx context.Context, kind int, from ID, limit int) ([]Edge, error) {
	l, err := c.prefix(ctx, kind, from)
	if err != nil {
		return nil, err
	}
	if limit > len(l.Edges) && !l.Complete {
		return c.direct.list(ctx, kind, from, limit)
	}
	return l.Edges[:min(limit, len(l.Edges))], nil
}

func (c *plain) window(ctx context.Context, kind int, from ID, high, low time.Time, limit int) ([]Edge, error) {
	l, err := c.prefix(ctx, kind, from)
	if err != nil {
		return nil, err
	}
	i := 0
	for i < len(l.Edges) && l.Edges[i].Time.After(high) {
		i++
	}
	j := i
	for j < len(l.Edges) && j-i < limit && !l.Edges[j].Time.Before(low) {
		j++
	}
	if j == len(l.Edges) && j-i < limit && !l.Complete {
		return c.direct.window(ctx, kind, from, high, low, limit)
	}
	return l.Edges[i:j], nil
}

// drop deletes keys after a write.
func (c *plain) drop(ctx context.Context, err error, keys ...string) error {
	if isNothing(err) {
		return err
	}
	for _, k := range keys {
		if e := c.cache.Delete(ctx, k); e != nil && e != cache.ErrCacheMiss && err == nil {
			err = e
		}
	}
	return err
}

func (c *plain) create(ctx context.Context, o *Object) error {
	return c.drop(ctx, c.direct.create(ctx, o), objectKey(o.ID))
}

func (c *plain) update(ctx context.Context, o *Object) error {
	return c.drop(ctx, c.direct.update(ctx, o), objectKey(o.ID))
}

func (c *plain) remove(ctx context.Context, id ID) error {
	return c.drop(ctx, c.direct.remove(ctx, id), objectKey(id))
}

func (c *plain) add(ctx context.Context, kind int, e *Edge) (created bool, err error) {
	created, err = c.direct.add(ctx, kind, e)
	return created, c.dropEdge(ctx, err, kind, e.From, e.To)
}

func (c *plain) removeEdge(ctx context.Context, kind int, from, to ID) error {
	return c.dropEdge(ctx, c.direct.removeEdge(ctx, kind, from, to), kind, from, to)
}

func (c *plain) dropEdge(ctx context.Context, err error, kind int, from, to ID) error {
	return c.drop(ctx, err, listKey(kind, from), countKey(kind, from), edgeKey(kind, from, to))
}

func (c *plain) changeKind(ctx context.Context, kind int, from, to ID) error {
	err := c.dropEdge(ctx, c.direct.changeKind(ctx, kind, from, to), kind, from, to)
	return c.dropEdge(ctx, err, 1-kind, from, to)
}

func (c *plain) lookups() (hits, near, misses int64) {
	loads := c.loads.Load()
	return c.lookedUp.Load() - loads, 0, loads
}

func (c *plain) close(context.Context) { _ = c.client.Close() }
