package tao

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"golang.org/x/sync/singleflight"

	"github.com/graphcache/graphcache/driver"
)

// aside is the cache that a good engineer writes by hand: cache-aside over go-redis with
// automatic pipelining.
//
// A key has an object, the newest edges of a list (as many as graphcache caches), the
// length of a list that is longer, or one edge of such a list. What does not exist is
// cached too. A miss is loaded once at a time in the process, stored for a time that
// is chosen a little at random, and returned. Writes write the store and then delete
// the keys; loads that are under way then are forgotten, so that later readers do not
// share them.
type aside struct {
	direct
	client       *goredis.Client
	redis        *goredis.AutoPipeliner
	flights      singleflight.Group
	hits, misses atomic.Int64
}

func newClient(addr string) *goredis.Client {
	return goredis.NewClient(&goredis.Options{
		Addr: addr, PoolSize: 64, DialTimeout: patience, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience,
	})
}

func openAside(s driver.Store, addr string) (variant, error) {
	client := newClient(addr)
	auto, err := client.AutoPipeline()
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &aside{direct: direct{s}, client: client, redis: auto}, nil
}

func objectKey(id ID) string            { return "o:" + string(id) }
func listKey(kind int, from ID) string  { return "l" + strconv.Itoa(kind) + ":" + string(from) }
func countKey(kind int, from ID) string { return "c" + strconv.Itoa(kind) + ":" + string(from) }
func edgeKey(kind int, from, to ID) string {
	return "e" + strconv.Itoa(kind) + ":" + string(from) + ":" + string(to)
}

// get returns the value under the key, from the cache or else made by load.
func (c *aside) get(ctx context.Context, key string, load func(ctx context.Context) ([]byte, error)) ([]byte, error) {
	b, err := c.redis.Get(ctx, key).Bytes()
	if err == nil {
		c.hits.Add(1)
		return b, nil
	}
	if !errors.Is(err, goredis.Nil) {
		return nil, err
	}
	c.misses.Add(1)
	v, err, _ := c.flights.Do(key, func() (any, error) {
		b, err := load(ctx)
		if err != nil {
			return nil, err
		}
		return b, c.redis.Set(ctx, key, b, ttl-ttl/10+rand.N(ttl/5)).Err()
	})
	if err != nil {
		return nil, err
	}
	return v.([]byte), nil
}

func (c *aside) object(ctx context.Context, id ID) (*Object, error) {
	b, err := c.get(ctx, objectKey(id), func(ctx context.Context) ([]byte, error) {
		o, err := c.direct.object(ctx, id)
		return appendObject(nil, o), err
	})
	if err != nil {
		return nil, err
	}
	return decodeObject(id, b)
}

func (c *aside) prefix(ctx context.Context, kind int, from ID) (cachedList, error) {
	b, err := c.get(ctx, listKey(kind, from), func(ctx context.Context) ([]byte, error) {
		edges, err := c.direct.list(ctx, kind, from, prefixEdges+1)
		return appendList(nil, edges), err
	})
	if err != nil {
		return cachedList{}, err
	}
	return decodeList(from, b)
}

func (c *aside) edge(ctx context.Context, kind int, from, to ID) (*Edge, error) {
	l, err := c.prefix(ctx, kind, from)
	if err != nil {
		return nil, err
	}
	if e, ok, err := l.find(to); ok || err != nil {
		return e, err
	}
	b, err := c.get(ctx, edgeKey(kind, from, to), func(ctx context.Context) ([]byte, error) {
		e, err := c.direct.edge(ctx, kind, from, to)
		return appendEdge(nil, e), err
	})
	if err != nil || len(b) == 1 { // nil
		return nil, err
	}
	r := reader{b: b}
	e := r.edge(from)
	return &e, r.err
}

func (c *aside) count(ctx context.Context, kind int, from ID) (int, error) {
	l, err := c.prefix(ctx, kind, from)
	if err != nil || l.complete {
		return l.n, err
	}
	b, err := c.get(ctx, countKey(kind, from), func(ctx context.Context) ([]byte, error) {
		n, err := c.direct.count(ctx, kind, from)
		return strconv.AppendInt(nil, int64(n), 10), err
	})
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(string(b))
}

func (c *aside) list(ctx context.Context, kind int, from ID, limit int) ([]Edge, error) {
	l, err := c.prefix(ctx, kind, from)
	if err != nil {
		return nil, err
	}
	if edges, ok, err := l.first(limit); ok || err != nil {
		return edges, err
	}
	return c.direct.list(ctx, kind, from, limit)
}

func (c *aside) window(ctx context.Context, kind int, from ID, high, low time.Time, limit int) ([]Edge, error) {
	l, err := c.prefix(ctx, kind, from)
	if err != nil {
		return nil, err
	}
	if edges, ok, err := l.between(high, low, limit); ok || err != nil {
		return edges, err
	}
	return c.direct.window(ctx, kind, from, high, low, limit)
}

// drop deletes keys after a write, whatever became of that.
func (c *aside) drop(ctx context.Context, err error, keys ...string) error {
	if isNothing(err) {
		return err
	}
	for _, k := range keys {
		c.flights.Forget(k)
	}
	return errors.Join(err, c.redis.Del(ctx, keys...).Err())
}

func (c *aside) create(ctx context.Context, o *Object) error {
	return c.drop(ctx, c.direct.create(ctx, o), objectKey(o.ID))
}

func (c *aside) update(ctx context.Context, o *Object) error {
	return c.drop(ctx, c.direct.update(ctx, o), objectKey(o.ID))
}

func (c *aside) remove(ctx context.Context, id ID) error {
	return c.drop(ctx, c.direct.remove(ctx, id), objectKey(id))
}

func (c *aside) add(ctx context.Context, kind int, e *Edge) (created bool, err error) {
	created, err = c.direct.add(ctx, kind, e)
	return created, c.dropEdge(ctx, err, kind, e.From, e.To)
}

func (c *aside) removeEdge(ctx context.Context, kind int, from, to ID) error {
	return c.dropEdge(ctx, c.direct.removeEdge(ctx, kind, from, to), kind, from, to)
}

func (c *aside) dropEdge(ctx context.Context, err error, kind int, from, to ID) error {
	return c.drop(ctx, err, listKey(kind, from), countKey(kind, from), edgeKey(kind, from, to))
}

func (c *aside) changeKind(ctx context.Context, kind int, from, to ID) error {
	err := c.dropEdge(ctx, c.direct.changeKind(ctx, kind, from, to), kind, from, to)
	return c.dropEdge(ctx, err, 1-kind, from, to)
}

func (c *aside) lookups() (hits, near, misses int64) { return c.hits.Load(), 0, c.misses.Load() }

func (c *aside) close(context.Context) { _ = c.client.Close() }
