package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/go-redis/cache/v9"
	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

const hitKeys = 1000

// hits compares ways of reading an object that is in Redis.
func hits(ctx context.Context, s settings) (tables []table, err error) {
	h, err := newHits(ctx, s.addr)
	if err != nil {
		return nil, err
	}
	defer h.close()
	objects := table{
		Title:   "Reading an object that is in Redis",
		Columns: []string{"callers, way", "µs a read", "speed, automatic pipelining = 1", "speed, go-redis/cache = 1", "own processor time, automatic pipelining = 1", "allocations", "bytes"},
		Note: "Targets: graphcache at least 0.9 of automatic pipelining, and at 64 callers at least 6 times go-redis/cache. " +
			"1,000 keys, chosen uniformly. All but go-redis/cache, which has its own, read the same encoding by the same code; " +
			"graphcache's entries have, besides, a checksum and the name of what they are.",
	}
	driverLevel := table{
		Title:   "Looking up the bytes of a value, without decoding",
		Columns: []string{"callers, way", "µs a read", "speed, automatic pipelining = 1", "own processor time, automatic pipelining = 1", "allocations", "bytes"},
		Note:    "Lookup of backends/redis, one element a call, under a context with a deadline; and GETs of the same keys.",
	}
	for _, callers := range []int{1, 8, 64, 512} {
		turns, err := s.compare(h.ways, callers)
		if err != nil {
			return nil, err
		}
		for i, w := range h.ways {
			objects.add(fmt.Sprintf("%d, %s", callers, w.name), micros(turns[i]), speed(turns[i], turns[h.auto]).String(),
				speed(turns[i], turns[h.rival]).String(), work(turns[i], turns[h.auto]).String(), allocs(turns[i]), bytes(turns[i]))
		}
		low, err := s.compare(h.low, callers)
		if err != nil {
			return nil, err
		}
		for i, w := range h.low {
			driverLevel.add(fmt.Sprintf("%d, %s", callers, w.name), micros(low[i]), speed(low[i], low[1]).String(),
				work(low[i], low[1]).String(), allocs(low[i]), bytes(low[i]))
		}
	}
	if err := h.untouched(); err != nil {
		return nil, err
	}
	return []table{objects, driverLevel}, nil
}

// hitWays are the ways of reading a hit.
type hitWays struct {
	ways, low   []way // of objects, and of bytes
	auto, rival int   // in ways
	closers     []func()
	untouched   func() error // reports a read of the store
}

func (h *hitWays) close() {
	for _, f := range h.closers {
		f()
	}
}

func newHits(ctx context.Context, addr string) (*hitWays, error) {
	h := &hitWays{auto: 2, rival: 3}
	st, err := newStore(ctx, hitKeys)
	if err != nil {
		return nil, err
	}
	g, closeGraph, err := open(ctx, st, at(addr), nil)
	if err != nil {
		return nil, err
	}
	client, piped := newClient(addr), newClient(addr)
	h.closers = append(h.closers, closeGraph, func() { _ = client.Close(); _ = piped.Close() })
	auto, err := piped.AutoPipeline()
	if err != nil {
		return nil, err
	}
	rue, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true, ForceSingleClient: true})
	if err != nil {
		return nil, err
	}
	h.closers = append(h.closers, rue.Close)
	boxed := cache.New(&cache.Options{Redis: client})

	ids, keys, theirs := make([]graphcache.ID[User], hitKeys), make([]string, hitKeys), make([]string, hitKeys)
	for i := range hitKeys {
		ids[i], keys[i], theirs[i] = userID(i), fmt.Sprintf("plain:user:%06d", i), fmt.Sprintf("boxed:user:%06d", i)
		if err := client.Set(ctx, keys[i], newUser(i).encode(), time.Hour).Err(); err != nil {
			return nil, err
		}
		if err := boxed.Set(&cache.Item{Ctx: ctx, Key: theirs[i], Value: newUser(i), TTL: time.Hour}); err != nil {
			return nil, err
		}
	}
	if _, err := users.GetMany(ctx, g, ids); err != nil {
		return nil, err
	}
	if err := g.Settle(ctx); err != nil {
		return nil, err
	}
	st.refuses.Store(true)
	reads := st.reads.Load()
	h.untouched = func() error {
		if n := st.reads.Load() - reads; n > 0 {
			return fmt.Errorf("%d reads of the store", n)
		}
		return nil
	}
	get := func(read func(key string) ([]byte, error)) func(int) error {
		return func(int) error {
			i := rand.IntN(hitKeys)
			b, err := read(keys[i])
			if err != nil {
				return err
			}
			u, err := decode(ids[i], b)
			return check(u, ids[i], err)
		}
	}
	h.ways = []way{
		{name: "graphcache Get", op: func(int) error {
			id := ids[rand.IntN(hitKeys)]
			u, err := users.Get(ctx, g, id)
			return check(u, id, err)
		}},
		{name: "go-redis GET", op: get(func(key string) ([]byte, error) { return client.Get(ctx, key).Bytes() })},
		{name: "go-redis GET, automatic pipelining", op: get(func(key string) ([]byte, error) { return auto.Get(ctx, key).Bytes() })},
		{name: "go-redis/cache Once", op: func(int) error {
			i := rand.IntN(hitKeys)
			u := new(User)
			err := boxed.Once(&cache.Item{Ctx: ctx, Key: theirs[i], Value: u, Do: func(*cache.Item) (any, error) { return nil, errRefused }})
			return check(u, ids[i], err)
		}},
		{name: "rueidis GET", op: get(func(key string) ([]byte, error) {
			return rue.Do(ctx, rue.B().Get().Key(key).Build()).AsBytes()
		})},
	}
	return h, h.addLow(ctx, addr, auto)
}

// addLow adds the ways of reading bytes.
func (h *hitWays) addLow(ctx context.Context, addr string, auto *goredis.AutoPipeliner) error {
	b, err := redis.OpenUniversal(ctx, at(addr), &redis.Options{Prefix: "low:", BatchTimeout: patience})
	if err != nil {
		return err
	}
	h.closers = append(h.closers, func() { _ = b.Close(ctx) })
	c := b.Cache()
	anchors, keys := make([]string, hitKeys), make([]string, hitKeys)
	for i := range hitKeys {
		anchors[i] = fmt.Sprintf("user:%06d", i)
		keys[i] = "low:{" + anchors[i] + "}k"
		_, err := c.Claim(ctx, []driver.Claim{{Anchor: anchors[i], Version: 1, Lease: time.Minute, TTL: time.Hour}})
		if err == nil {
			_, err = c.Fill(ctx, []driver.Fill{{Anchor: anchors[i], Version: 1, Value: []byte(strings.Repeat("v", 300)), TTL: time.Hour}})
		}
		if err != nil {
			return err
		}
	}
	h.low = []way{
		{name: "Lookup", op: func(int) error {
			timed, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			e, err := c.Lookup(timed, []driver.Lookup{{Anchor: anchors[rand.IntN(hitKeys)]}})
			if err == nil && len(e[0].Value) != 300 {
				err = errors.New("not a hit")
			}
			return err
		}},
		{name: "go-redis GET, automatic pipelining", op: func(int) error { return auto.Get(ctx, keys[rand.IntN(hitKeys)]).Err() }},
	}
	return nil
}
