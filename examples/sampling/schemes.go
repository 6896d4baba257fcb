package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/graphcache/graphcache/internal/emasample"
)

// The schemes, in the order of the report.
const (
	static              = "static"
	staticEqualCoverage = "static-equal-coverage"
	perProcess          = "per-process"
	shared              = "shared"
	ema                 = "ema"
)

// result is what a scheme has kept of a trace.
type result struct {
	scheme       string
	p            float64 // of static sampling; NaN for the others
	t            *trace
	byKey        []int // the requests that were kept
	kept         int
	lines, bytes int64

	redisCalls, writeBackCalls int64
	reported                   int64 // requests that the write-back has told of
}

func newResult(scheme string, t *trace) *result {
	return &result{scheme: scheme, p: math.NaN(), t: t, byKey: make([]int, len(t.keys))}
}

func (r *result) keep(q request) {
	r.byKey[q.key]++
	r.kept++
	r.lines += int64(q.lines)
	r.bytes += int64(q.bytes)
}

// covered returns the share of the keys of which n requests were kept, or all that there
// were.
func (r *result) covered(n int) float64 {
	covered := 0
	for key, kept := range r.byKey {
		if kept >= min(n, r.t.counts[key]) {
			covered++
		}
	}
	return float64(covered) / float64(len(r.byKey))
}

// shown returns the share, among the keys that had m requests, of those of which m were
// kept.
func (r *result) shown(m int) float64 {
	eligible, shown := 0, 0
	for key, kept := range r.byKey {
		if r.t.counts[key] >= m {
			eligible++
			if kept >= m {
				shown++
			}
		}
	}
	return float64(shown) / float64(eligible)
}

// replay replays the trace through all schemes.
func replay(ctx context.Context, s *settings, t *trace) (*report, error) {
	r := &report{settings: s, trace: t}
	firstN := 0 // what the first n of each key are, which the others are matched with
	for _, n := range t.counts {
		firstN += min(n, s.n)
	}
	share := float64(firstN) / float64(len(t.requests))
	r.results = append(r.results,
		replayStatic(static, t, share, s.chance(forStatic)),
		replayStatic(staticEqualCoverage, t, newOdds(t.counts).needed(s.m, s.q), s.chance(forStatic)),
		replayPerProcess(t, s.n))
	fromShared, err := replayShared(ctx, s, t)
	if err != nil {
		return nil, err
	}
	r.emaGoal = cmp.Or(s.emaGoal, int(max(1, math.Round(1/share))))
	r.results = append(r.results, fromShared, replayEMA(s, t, r.emaGoal))
	return r, nil
}

// replayStatic keeps each request with the same probability.
func replayStatic(scheme string, t *trace, p float64, chance *rand.Rand) *result {
	r := newResult(scheme, t)
	r.p = p
	for _, q := range t.requests {
		if chance.Float64() < p {
			r.keep(q)
		}
	}
	return r
}

// replayPerProcess keeps the first n requests of a key that a process sees.
func replayPerProcess(t *trace, n int) *result {
	r := newResult(perProcess, t)
	type place struct{ process, key int32 }
	seen := map[place]int{}
	for _, q := range t.requests {
		at := place{q.process, q.key}
		if seen[at]++; seen[at] <= n {
			r.keep(q)
		}
	}
	return r
}

// replayEMA samples in each process by a moving average of what it sees.
func replayEMA(s *settings, t *trace, goal int) *result {
	r := newResult(ema, t)
	names := make([]string, len(t.keys))
	for i, k := range t.keys {
		names[i] = fmt.Sprintf("%q,%q", k.Tenant, k.Op)
	}
	processes := make([]*emasample.Sampler, s.processes)
	for i := range processes {
		processes[i] = emasample.New(goal)
	}
	chance, end := s.chance(forEMA), s.interval
	for i, q := range t.requests {
		for ; t.at(i, s.window) >= end; end += s.interval {
			for _, p := range processes {
				p.Update()
			}
		}
		if chance.IntN(processes[q.process].Rate(names[q.key])) == 0 {
			r.keep(q)
		}
	}
	return r
}

// at returns when the i-th request comes: all in less than the window.
func (t *trace) at(i int, window time.Duration) time.Duration {
	return time.Duration(float64(window) * float64(i) / float64(len(t.requests)))
}
