package main

import (
	"context"
	"fmt"
	"time"

	"github.com/go-redis/cache/v9"
	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/driver"
)

// missKeys is how many misses a turn has at most.
const missKeys = 50_000

// costs compares what a miss and a write cost.
func costs(ctx context.Context, s settings) ([]table, error) {
	st, err := newStore(ctx, missKeys)
	if err != nil {
		return nil, err
	}
	g, closeGraph, err := open(ctx, st, at(s.addr), nil)
	if err != nil {
		return nil, err
	}
	defer closeGraph()
	client := newClient(s.addr)
	defer client.Close()
	ways := costWays(ctx, st, g, client)
	t := table{
		Title:   "Misses and writes",
		Columns: []string{"callers, way", "µs", "times a SET", "times go-redis/cache Set", "allocations", "bytes"},
		Note: "The store is in memory and takes next to nothing. A miss of graphcache is a look-up, a claim, a read of the store and a fill, " +
			"which the reader does not wait for but the measurement does; a write is a hold, a write of the store and a release. " +
			"A write in the other ways would be one of the store and a DEL or a SET, after which stale values are possible.",
	}
	for _, callers := range []int{1, 64} {
		turns, err := s.compare(ways, callers)
		if err != nil {
			return nil, err
		}
		for i, w := range ways {
			t.add(fmt.Sprintf("%d, %s", callers, w.name), micros(turns[i]), cost(turns[i], turns[4]).String(),
				cost(turns[i], turns[3]).String(), allocs(turns[i]), bytes(turns[i]))
		}
	}
	return []table{t}, nil
}

func costWays(ctx context.Context, st *store, g *graphcache.Graph, client *goredis.Client) []way {
	boxed := cache.New(&cache.Options{Redis: client})
	some, encoded := make([]*User, hitKeys), make([][]byte, hitKeys)
	for i := range some {
		some[i] = newUser(i)
		encoded[i] = some[i].encode()
	}
	empty := func() error { return client.FlushDB(ctx).Err() }
	key := func(i int) string { return fmt.Sprintf("user:%06d", i) }
	reads := int64(0)
	calls := func() int64 { return st.reads.Load() - reads }
	return []way{
		{
			name: "graphcache Get, a miss", most: missKeys,
			before: func() error { reads = st.reads.Load(); return empty() },
			op: func(i int) error {
				u, err := users.Get(ctx, g, userID(i))
				return check(u, userID(i), err)
			},
			finish: func() error {
				if err := g.Settle(ctx); err != nil || calls() > 0 {
					return err
				}
				return fmt.Errorf("the store was not asked")
			},
		},
		{
			name: "graphcache Apply, a write", before: empty,
			op: func(i int) error {
				_, err := users.Apply(ctx, g, userID(i%hitKeys), score.Add(1))
				return err
			},
		},
		{
			name: "go-redis/cache Once, a miss", most: missKeys, before: empty,
			op: func(i int) error {
				u := new(User)
				err := boxed.Once(&cache.Item{Ctx: ctx, Key: key(i), Value: u, TTL: time.Hour, Do: func(*cache.Item) (any, error) {
					return st.user(ctx, userID(i))
				}})
				return check(u, userID(i), err)
			},
		},
		{
			name: "go-redis/cache Set", before: empty,
			op: func(i int) error {
				return boxed.Set(&cache.Item{Ctx: ctx, Key: key(i % hitKeys), Value: some[i%hitKeys], TTL: time.Hour})
			},
		},
		{
			name: "go-redis SET, already encoded", before: empty,
			op: func(i int) error {
				return client.Set(ctx, key(i%hitKeys), encoded[i%hitKeys], time.Hour).Err()
			},
		},
		{
			name: "go-redis DEL", before: empty,
			op: func(i int) error { return client.Del(ctx, key(i%hitKeys)).Err() },
		},
	}
}

// user reads a user as a program without graphcache would.
func (s *store) user(ctx context.Context, id graphcache.ID[User]) (*User, error) {
	r, err := s.Read(ctx, []driver.Step{{Op: driver.GetObjects, Kind: users.Name(), IDs: []string{string(id)}}}, "")
	if err != nil {
		return nil, err
	}
	b, err := userPlan.Encode(nil, r[0].Objects[0].Doc)
	if err != nil {
		return nil, err
	}
	return decode(id, b)
}
