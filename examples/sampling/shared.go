package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

// clock tells the time of the trace.
type clock struct{ since atomic.Int64 }

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (c *clock) now() time.Time          { return begin.Add(time.Duration(c.since.Load())) }
func (c *clock) set(since time.Duration) { c.since.Store(int64(since)) }

// countingCounters counts what is asked of counters.
type countingCounters struct {
	driver.Counters
	decisions, writeBacks atomic.Int64
}

// Increment tells the two apart by what a decision needs: that its count is exact.
func (c *countingCounters) Increment(ctx context.Context, increments []driver.Increment) ([]driver.Count, error) {
	for _, i := range increments {
		if i.Exact > 0 {
			c.decisions.Add(1)
		} else {
			c.writeBacks.Add(1)
		}
	}
	return c.Counters.Increment(ctx, increments)
}

// openCounters returns the counters that the processes share.
func openCounters(ctx context.Context, s *settings, t *trace, c *clock) (driver.Counters, error) {
	if s.redis == "" {
		return memory.NewCounters(&memory.CountersOptions{
			Now:         c.now,
			MaxCounters: 2*len(t.keys) + 1, // windows and totals
			MaxGroups:   2*len(t.keys) + 1,
		}), nil
	}
	backend, err := redis.Open(ctx, s.redis, nil)
	if err != nil {
		return nil, usagef("-redis: %w", err)
	}
	counters := backend.Counters()
	// A decision would not wait for long, and would make do without an answer.
	if _, err := counters.Increment(ctx, []driver.Increment{{Window: time.Second}}); err != nil {
		return nil, errors.Join(fmt.Errorf("-redis: the server does not answer: %w", err), backend.Close(ctx))
	}
	return counters, nil
}

// replayShared keeps the first n requests of a key in all processes, each of which has a
// sampler.
func replayShared(ctx context.Context, s *settings, t *trace) (_ *result, err error) {
	var now clock
	opened, err := openCounters(ctx, s, t, &now)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, opened.Close(context.WithoutCancel(ctx))) }()
	counters := &countingCounters{Counters: opened}
	options := &samplers.Options{
		Name:        "example-" + rand.Text(), // other runs have counted in the same server
		FirstN:      s.n,
		Window:      s.window,
		MaxOps:      -1,          // the trace may be of anything
		Timeout:     time.Second, // so that the figures do not depend on how busy the machine is
		LocalBytes:  max(64<<10, min(16_000_000, 64*len(t.keys), 512_000_000/s.processes)),
		TotalPeriod: max(s.window, time.Minute),
		Now:         now.now,
	}
	processes := make([]*samplers.Sampler, s.processes)
	for i := range processes {
		if processes[i], err = samplers.New(counters, options); err != nil {
			return nil, err
		}
		defer processes[i].Close(context.WithoutCancel(ctx))
	}

	r := newResult(shared, t)
	for i, q := range t.requests {
		now.set(t.at(i, s.window))
		if processes[q.process].Decide(ctx, t.keys[q.key]).Keep {
			r.keep(q)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	for _, p := range processes {
		if err := p.Close(ctx); err != nil { // reports what was dropped
			return nil, err
		}
		stats := p.Stats()
		if stats.Local > 0 {
			return nil, fmt.Errorf("the counters did not answer for %d of the requests that were kept", stats.Local)
		}
		r.reported += stats.Reported
	}
	r.redisCalls, r.writeBackCalls = counters.decisions.Load(), counters.writeBacks.Load()
	return r, nil
}
