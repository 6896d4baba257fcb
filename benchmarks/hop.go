package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache"
)

const fanOut = 100

// hop compares a list of edges and the objects that they lead to, which are in Redis, with
// two pipelines written by hand.
func hop(ctx context.Context, s settings) (tables []table, err error) {
	st, err := newStore(ctx, fanOut+1)
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
	start, ids := userID(fanOut), make([]string, fanOut)
	for i := range ids {
		ids[i] = string(userID(i))
		if err := follows.Add(ctx, g, start, userID(i), graphcache.NoData{}); err != nil {
			return nil, err
		}
		if err := client.Set(ctx, "hop:user:"+ids[i], newUser(i).encode(), time.Hour).Err(); err != nil {
			return nil, err
		}
	}
	if err := client.Set(ctx, "hop:list", strings.Join(ids, "\n"), time.Hour).Err(); err != nil {
		return nil, err
	}
	q := follows.Out(start)
	if _, err := q.All(ctx, g); err != nil {
		return nil, err
	}
	if err := g.Settle(ctx); err != nil {
		return nil, err
	}
	st.refuses.Store(true)
	ways := []way{
		{name: "graphcache, the query", op: func(int) error {
			all, err := q.All(ctx, g)
			return checkAll(all, err)
		}},
		{name: "two pipelines", op: func(int) error {
			all, err := byHand(ctx, client)
			return checkAll(all, err)
		}},
	}
	t := table{
		Title:   "A list and the 100 objects that it leads to",
		Columns: []string{"callers, way", "µs", "times two pipelines", "own processor time, two pipelines = 1", "allocations", "bytes"},
		Note: "By hand it is a GET of the IDs, one a line, and a pipeline of 100 GETs, decoded by the same code, without deadlines, " +
			"times of edges, or anything that keeps them right. Target: at most 1.3 times.",
	}
	for _, callers := range []int{1, 8} {
		turns, err := s.compare(ways, callers)
		if err != nil {
			return nil, err
		}
		for i, w := range ways {
			t.add(fmt.Sprintf("%d, %s", callers, w.name), micros(turns[i]), cost(turns[i], turns[1]).String(),
				work(turns[i], turns[1]).String(), allocs(turns[i]), bytes(turns[i]))
		}
	}
	return []table{t}, nil
}

// byHand reads the list and the users in two pipelines.
func byHand(ctx context.Context, client *goredis.Client) ([]*User, error) {
	list, err := client.Get(ctx, "hop:list").Result()
	if err != nil {
		return nil, err
	}
	pipeline := client.Pipeline()
	var found []*goredis.StringCmd
	ids := strings.Split(list, "\n")
	for _, id := range ids {
		found = append(found, pipeline.Get(ctx, "hop:user:"+id))
	}
	if _, err := pipeline.Exec(ctx); err != nil {
		return nil, err
	}
	all := make([]*User, len(ids))
	for i, cmd := range found {
		b, err := cmd.Bytes()
		if err != nil {
			return nil, err
		}
		if all[i], err = decode(graphcache.ID[User](ids[i]), b); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// checkAll reports what is not all of the users.
func checkAll(all []*User, err error) error {
	if err == nil && len(all) != fanOut {
		err = fmt.Errorf("%d users", len(all))
	}
	for _, u := range all {
		err = check(u, u.ID, err)
	}
	return err
}
