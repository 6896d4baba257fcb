package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

// task is an operation on some keys at once, each given by its number.
type task struct {
	name string
	do   func(keys []int) error
}

// processor measures the processor time that operations take of the server.
func processor(ctx context.Context, s settings) ([]table, error) {
	b, err := redis.OpenUniversal(ctx, at(s.addr), &redis.Options{BatchTimeout: patience})
	if err != nil {
		return nil, err
	}
	defer b.Close(ctx)
	client := newClient(s.addr)
	defer client.Close()
	tasks := tasksOf(ctx, b.Cache(), client)
	t := table{
		Title:   "Processor time of the server",
		Columns: []string{"operation on one key of 300 bytes", "µs, 100 a pipeline", "times GET", "µs, one at a time", "times GET"},
		Note:    "User and system time of the server by its own account, so that with one at a time most of it is the network's.",
	}
	many, err := s.processorTimes(ctx, client, tasks, 10_000, 100)
	if err != nil {
		return nil, err
	}
	one, err := s.processorTimes(ctx, client, tasks, 3_000, 1)
	if err != nil {
		return nil, err
	}
	get := len(tasks) - 2
	for i, task := range tasks {
		t.add(task.name, fmt.Sprintf("%.2f", spreadOf(many[i]).median), timesOf(many[i], many[get]).String(),
			fmt.Sprintf("%.2f", spreadOf(one[i]).median), timesOf(one[i], one[get]).String())
	}
	return []table{t}, nil
}

func timesOf(a, b []float64) spread {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = a[i] / b[i]
	}
	return spreadOf(v)
}

// tasksOf returns the operations in an order in which each finds what it needs. The last
// but one is GET.
func tasksOf(ctx context.Context, c driver.Cache, client *goredis.Client) []task {
	value := []byte(strings.Repeat("v", 300))
	anchor := func(i int) string { return fmt.Sprintf("user:%06d", i) }
	key := func(i int) string { return "plain:" + anchor(i) }
	piped := func(add func(p goredis.Pipeliner, i int)) func([]int) error {
		return func(keys []int) error {
			_, err := client.Pipelined(ctx, func(p goredis.Pipeliner) error {
				for _, i := range keys {
					add(p, i)
				}
				return nil
			})
			return err
		}
	}
	return []task{
		{"claim", func(keys []int) error {
			entries, err := c.Claim(ctx, each(keys, func(i int) driver.Claim {
				return driver.Claim{Anchor: anchor(i), Version: 1, Lease: time.Minute, TTL: time.Hour}
			}))
			return all(err, entries, func(e driver.Entry) bool { return e.Claimed })
		}},
		{"fill", func(keys []int) error {
			outcomes, err := c.Fill(ctx, each(keys, func(i int) driver.Fill {
				return driver.Fill{Anchor: anchor(i), Version: 1, Value: value, TTL: time.Hour}
			}))
			return all(err, outcomes, isDone)
		}},
		{"hit", func(keys []int) error {
			entries, err := c.Lookup(ctx, each(keys, func(i int) driver.Lookup { return driver.Lookup{Anchor: anchor(i)} }))
			return all(err, entries, func(e driver.Entry) bool { return e.Value != nil })
		}},
		{"hold", func(keys []int) error {
			outcomes, err := c.Hold(ctx, each(keys, func(i int) driver.Hold {
				return driver.Hold{Anchor: anchor(i), Token: "0123456789abcdef", TTL: time.Minute}
			}))
			return all(err, outcomes, isDone)
		}},
		{"release", func(keys []int) error {
			outcomes, err := c.Release(ctx, each(keys, func(i int) driver.Release {
				return driver.Release{Anchor: anchor(i), Token: "0123456789abcdef", Stamp: "0123456789abcdef", KeepStamp: time.Minute}
			}))
			return all(err, outcomes, isDone)
		}},
		{"SET", piped(func(p goredis.Pipeliner, i int) { p.Set(ctx, key(i), value, time.Hour) })},
		{"GET", piped(func(p goredis.Pipeliner, i int) { p.Get(ctx, key(i)) })},
		{"DEL", piped(func(p goredis.Pipeliner, i int) { p.Del(ctx, key(i)) })},
	}
}

func each[T any](keys []int, f func(int) T) []T {
	all := make([]T, len(keys))
	for n, i := range keys {
		all[n] = f(i)
	}
	return all
}

func isDone(o driver.Outcome) bool { return o == driver.Done }

// all reports an answer that is not as it should be.
func all[T any](err error, answers []T, good func(T) bool) error {
	for i := range answers {
		if err == nil && !good(answers[i]) {
			err = fmt.Errorf("answer %d is %+v", i, answers[i])
		}
	}
	return err
}

// processorTimes returns the microseconds for one key that each task takes, by round.
func (s settings) processorTimes(ctx context.Context, client *goredis.Client, tasks []task, keys, batch int) ([][]float64, error) {
	times := make([][]float64, len(tasks))
	for range s.rounds {
		if err := client.FlushDB(ctx).Err(); err != nil {
			return nil, err
		}
		for n, t := range tasks {
			before, err := processorTime(ctx, client)
			for from := 0; from < keys && err == nil; from += batch {
				some := make([]int, batch)
				for i := range some {
					some[i] = from + i
				}
				err = t.do(some)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", t.name, err)
			}
			after, err := processorTime(ctx, client)
			if err != nil {
				return nil, err
			}
			times[n] = append(times[n], (after-before)/float64(keys)*1e6)
		}
	}
	return times, nil
}

// processorTime returns the seconds that the server has taken so far.
func processorTime(ctx context.Context, client *goredis.Client) (float64, error) {
	sum := 0.0
	for _, name := range []string{"used_cpu_user", "used_cpu_sys"} {
		v, err := infoNumber(ctx, client, "cpu", name)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum, nil
}

// infoNumber returns a number in a section of the server's INFO.
func infoNumber(ctx context.Context, client *goredis.Client, section, name string) (float64, error) {
	text, err := client.Info(ctx, section).Result()
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+":"); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("INFO %s has no %s", section, name)
}
