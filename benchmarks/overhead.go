package main

import (
	"context"
	"fmt"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/internal/redistest"
)

// overhead measures what a hit costs in the process itself: over a connection that
// answers from memory at once.
func overhead(ctx context.Context, s settings) ([]table, error) {
	st, err := newStore(ctx, 1)
	if err != nil {
		return nil, err
	}
	id := userID(0)
	var stub redistest.Stub
	if err := copyEntry(ctx, s.addr, st, id, &stub); err != nil {
		return nil, err
	}
	stub.Set("plain", string(newUser(0).encode()))
	g, closeGraph, err := open(ctx, st, &goredis.UniversalOptions{Addrs: []string{"stub:6379"}, Dialer: stub.Dial}, nil)
	if err != nil {
		return nil, err
	}
	defer closeGraph()
	client := goredis.NewClient(&goredis.Options{
		Addr: "stub:6379", Dialer: stub.Dial,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer client.Close()
	auto, err := client.AutoPipeline()
	if err != nil {
		return nil, err
	}
	st.refuses.Store(true)
	read := func(cmd *goredis.StringCmd) error {
		b, err := cmd.Bytes()
		if err != nil {
			return err
		}
		u, err := decode(id, b)
		return check(u, id, err)
	}
	ways := []way{
		{name: "graphcache Get", op: func(int) error {
			u, err := users.Get(ctx, g, id)
			return check(u, id, err)
		}},
		{name: "go-redis pipeline of one GET", op: func(int) error {
			p := client.Pipeline()
			cmd := p.Get(ctx, "plain")
			_, _ = p.Exec(ctx) // whose error is the command's
			return read(cmd)
		}},
		{name: "go-redis GET", op: func(int) error { return read(client.Get(ctx, "plain")) }},
		{name: "go-redis GET, automatic pipelining", op: func(int) error { return read(auto.Get(ctx, "plain")) }},
	}
	turns, err := s.compare(ways, 1)
	if err != nil {
		return nil, err
	}
	t := table{
		Title:   "What a hit costs within the process",
		Columns: []string{"way, one caller", "µs a read", "more than the pipeline, µs", "times the pipeline", "allocations", "bytes"},
		Note: "The connection is a stub that answers at once, without a system call. Target: graphcache at most 1.5 µs more than " +
			"a pipeline of one GET with the same decoding.",
	}
	for i, w := range ways {
		more := over(turns[i], turns[1], func(a, b turn) float64 { return (a.each() - b.each()) / 1e3 })
		t.add(w.name, micros(turns[i]), more.String(), cost(turns[i], turns[1]).String(), allocs(turns[i]), bytes(turns[i]))
	}
	return []table{t}, nil
}

// copyEntry lets graphcache fill the cache of a server with the user, and copies what is
// then there to the stub.
func copyEntry(ctx context.Context, addr string, st *store, id graphcache.ID[User], stub *redistest.Stub) error {
	client := newClient(addr)
	defer client.Close()
	if err := client.FlushDB(ctx).Err(); err != nil {
		return err
	}
	g, closeGraph, err := open(ctx, st, at(addr), nil)
	if err != nil {
		return err
	}
	defer closeGraph()
	if _, err := users.Get(ctx, g, id); err != nil {
		return err
	}
	if err := g.Settle(ctx); err != nil {
		return err
	}
	keys, err := client.Keys(ctx, "*").Result()
	if err != nil {
		return err
	}
	if len(keys) != 1 {
		return fmt.Errorf("%d keys, want one: %q", len(keys), keys)
	}
	text, err := client.Get(ctx, keys[0]).Result()
	stub.Set(keys[0], text)
	return err
}
