package main

import (
	"context"
	"fmt"

	"github.com/go-redis/redis_rate/v10"
	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

// asked measures what decisions that ask the counters cost the server.
func (s settings) asked(ctx context.Context) ([]table, error) {
	b, err := redis.OpenUniversal(ctx, at(s.addr), &redis.Options{BatchTimeout: patience})
	if err != nil {
		return nil, err
	}
	defer b.Close(ctx)
	client := newClient(s.addr)
	defer client.Close()
	tasks := countingTasks(ctx, b, client)
	t := table{
		Title:   "Processor time of the server for decisions that ask it",
		Columns: []string{"operation", "µs, 100 a pipeline", "times GET", "µs, one at a time", "times GET"},
		Note: fmt.Sprintf("By the server's own account. Increment is of one element, with a token and a bound, as Sampler.Decide sends it for each of the first %d requests "+
			"of a key in the fleet, and once a window in a process for what is beyond. GET is of 300 bytes. INCR is with an EXPIRE NX and a PTTL, without a script. redis_rate asks for "+
			"every request, and has no batches.", sampledFirst),
	}
	many, err := s.processorTimes(ctx, client, tasks, 10_000, 100)
	if err != nil {
		return nil, err
	}
	one, err := s.processorTimes(ctx, client, tasks, 3_000, 1)
	if err != nil {
		return nil, err
	}
	get := len(tasks) - 1
	for i, task := range tasks {
		if i > 0 && i < sampledFirst-1 {
			continue // in between
		}
		piped, times := fmt.Sprintf("%.2f", spreadOf(many[i]).median), timesOf(many[i], many[get]).String()
		if task.name == allowTask {
			piped, times = "", ""
		}
		t.add(task.name, piped, times, fmt.Sprintf("%.2f", spreadOf(one[i]).median), timesOf(one[i], one[get]).String())
	}
	inMemory, err := counterMemory(ctx, client, tasks)
	return []table{t, inMemory}, err
}

const allowTask = "redis_rate Allow"

// countedTenants is how many tenants share the keys. Those of a pipeline are of different
// ones, as if 100 callers had sent them.
const countedTenants = 100

func counterKey(i int) driver.CounterKey {
	return driver.CounterKey{
		Group:  fmt.Sprintf("0:wcustomer-%05d", i%countedTenants),
		Member: fmt.Sprintf("GET /v1/things-%02d/{id}", i/countedTenants),
	}
}

// countingTasks returns first the requests of a key, one after the other up to the first
// that is beyond the first N, and last GET.
func countingTasks(ctx context.Context, b *redis.Backend, client *goredis.Client) []task {
	counters := b.Counters()
	var tasks []task
	for place := 1; place <= sampledFirst+1; place++ {
		tasks = append(tasks, task{fmt.Sprintf("Increment, request %d of a key", place), func(keys []int) error {
			counts, err := counters.Increment(ctx, each(keys, func(i int) driver.Increment {
				return driver.Increment{
					Key: counterKey(i), N: 1, Window: sampledWindow, Token: fmt.Sprintf("token-%02d", place), Exact: sampledFirst,
					Members: 500, Other: "__other__",
				}
			}))
			return all(err, counts, func(c driver.Count) bool { return c.Count == int64(place) && !c.Other })
		}})
	}
	limiter := redis_rate.NewLimiter(client)
	limit := redis_rate.Limit{Rate: sampledFirst, Burst: sampledFirst, Period: sampledWindow}
	plain := tasksOf(ctx, b.Cache(), client)
	set, get := plain[len(plain)-3], plain[len(plain)-2]
	return append(tasks,
		task{"INCR", func(keys []int) error {
			_, err := client.Pipelined(ctx, func(p goredis.Pipeliner) error {
				for _, i := range keys {
					k := counterKey(i)
					key := k.Group + k.Member
					p.Incr(ctx, key)
					p.ExpireNX(ctx, key, sampledWindow)
					p.PTTL(ctx, key)
				}
				return nil
			})
			return err
		}},
		task{allowTask, func(keys []int) error {
			for _, i := range keys {
				k := counterKey(i)
				if _, err := limiter.Allow(ctx, k.Group+k.Member, limit); err != nil {
					return err
				}
			}
			return nil
		}},
		set, get,
	)
}

// counterMemory measures the memory that counters take in the server.
func counterMemory(ctx context.Context, client *goredis.Client, tasks []task) (table, error) {
	t := table{
		Title:   "Memory of the server for counters",
		Columns: []string{"after", "bytes a key", "times INCR"},
		Note:    fmt.Sprintf("By used_memory, of %d keys of %d tenants; with what is kept of the tenants.", memoryKeys, countedTenants),
	}
	keys := make([]int, memoryKeys)
	for i := range keys {
		keys[i] = i
	}
	used := func(tasks ...task) (float64, error) {
		if err := client.FlushDB(ctx).Err(); err != nil {
			return 0, err
		}
		before, err := infoNumber(ctx, client, "memory", "used_memory")
		for _, task := range tasks {
			for from := 0; from < len(keys) && err == nil; from += 100 {
				err = task.do(keys[from : from+100])
			}
		}
		if err != nil {
			return 0, err
		}
		after, err := infoNumber(ctx, client, "memory", "used_memory")
		return (after - before) / memoryKeys, err
	}
	counting := tasks[:sampledFirst+1]
	incr, allow := tasks[sampledFirst+1], tasks[sampledFirst+2]
	plain, err := used(incr)
	if err != nil {
		return t, err
	}
	for _, r := range []struct {
		name  string
		tasks []task
	}{
		{"1 request", counting[:1]}, {fmt.Sprintf("%d requests", sampledFirst), counting[:sampledFirst]},
		{fmt.Sprintf("%d and more", sampledFirst+1), counting}, {incr.name, []task{incr}}, {allow.name, []task{allow}},
	} {
		bytes, err := used(r.tasks...)
		if err != nil {
			return t, fmt.Errorf("%s: %w", r.name, err)
		}
		t.add(r.name, fmt.Sprintf("%.0f", bytes), fmt.Sprintf("%.2f", bytes/plain))
	}
	return t, nil
}
