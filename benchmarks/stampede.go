package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-redis/cache/v9"
	goredis "github.com/redis/go-redis/v9"
)

const herd = 250 // goroutines of each instance

// stampede lets many goroutines miss the same key at once, and counts the reads of a
// store that takes its time.
func stampede(ctx context.Context, s settings) ([]table, error) {
	st, err := newStore(ctx, hitKeys)
	if err != nil {
		return nil, err
	}
	graphs, closeAll, err := openMany(ctx, st, s.addr, instances)
	if err != nil {
		return nil, err
	}
	defer closeAll()
	st.delay = 20 * time.Millisecond
	clients, boxes := make([]*goredis.Client, instances), make([]*cache.Cache, instances)
	for i := range clients {
		clients[i] = newClient(s.addr)
		defer clients[i].Close()
		boxes[i] = cache.New(&cache.Options{Redis: clients[i]})
	}
	herds := []struct {
		name  string
		read  func(instance, key int) error
		reads []float64 // of the store
		times []float64 // until all have the value, in delays of the store
	}{
		{name: "graphcache Get", read: func(instance, key int) error {
			u, err := users.Get(ctx, graphs[instance], userID(key))
			return check(u, userID(key), err)
		}},
		{name: "go-redis/cache Once", read: func(instance, key int) error {
			u := new(User)
			err := boxes[instance].Once(&cache.Item{
				Ctx: ctx, Key: fmt.Sprintf("boxed:%06d", key), Value: u, TTL: time.Hour,
				Do: func(*cache.Item) (any, error) { return st.user(ctx, userID(key)) },
			})
			return check(u, userID(key), err)
		}},
		{name: "GET, and SET if it is not there", read: func(instance, key int) error {
			name := fmt.Sprintf("plain:%06d", key)
			b, err := clients[instance].Get(ctx, name).Bytes()
			if errors.Is(err, goredis.Nil) {
				u, err := st.user(ctx, userID(key))
				if err != nil {
					return err
				}
				return clients[instance].Set(ctx, name, u.encode(), time.Hour).Err()
			}
			if err != nil {
				return err
			}
			u, err := decode(userID(key), b)
			return check(u, userID(key), err)
		}},
	}
	if err := clients[0].FlushDB(ctx).Err(); err != nil {
		return nil, err
	}
	for round := range 2 * s.rounds {
		for i := range herds {
			h := &herds[i]
			before, begin := st.reads.Load(), time.Now()
			if err := stampOn(round, h.read); err != nil {
				return nil, fmt.Errorf("%s: %w", h.name, err)
			}
			h.times = append(h.times, float64(time.Since(begin))/float64(st.delay))
			h.reads = append(h.reads, float64(st.reads.Load()-before))
		}
	}
	t := table{
		Title:   "A stampede",
		Columns: []string{"way", "reads of the store", "time until all have it, a read of the store = 1"},
		Note:    fmt.Sprintf("%d goroutines in each of %d instances miss the same key at once; a read of the store takes %v.", herd, instances, st.delay),
	}
	for _, h := range herds {
		r := spreadOf(h.reads)
		t.add(h.name, fmt.Sprintf("%.0f (%.0f–%.0f)", r.median, r.least, r.most), spreadOf(h.times).String())
	}
	return []table{t}, nil
}

// stampOn lets the goroutines of all instances read a key at the same time.
func stampOn(key int, read func(instance, key int) error) error {
	start := make(chan struct{})
	errs := make([]error, instances*herd)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			<-start
			errs[i] = read(i%instances, key)
		})
	}
	close(start)
	wg.Wait()
	return errors.Join(errs...)
}
