package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/honeycombio/dynsampler-go"
	slogsampling "github.com/samber/slog-sampling"
	"github.com/sethvargo/go-limiter/memorystore"
	"go.uber.org/zap/zapcore"

	"github.com/graphcache/graphcache/samplers"
)

const sampledKeys = 1_000_000

// holder is one way of deciding, of which the memory is measured. fill lets it meet the
// first request of each key, and more as it likes, and returns how many of the first were
// kept. What is measured is there until close is called.
type holder struct {
	name string
	keys int
	fill func(ctx context.Context, keys int) (kept int, remark string, close func(), err error)
}

// keyMemory measures the memory that keys take.
func keyMemory(ctx context.Context) (table, error) {
	t := table{
		Title:   "Memory of the process for keys",
		Columns: []string{"decision", "keys", "bytes a key", "first requests kept", "remark"},
		Note: "What is allocated more after a collection. The counters of Decide keep nothing here. Those of dynsampler have met each key in " +
			"two intervals, and have the counts of the second beside what follows from the first.",
	}
	base := heap()
	for _, h := range []holder{
		{"Sampler.Decide, LocalBytes 16,000,000", sampledKeys, fillDecide(0)},
		{"Sampler.Decide, LocalBytes 40,000,000", sampledKeys, fillDecide(40_000_000)},
		{"dynsampler EMASampleRate", sampledKeys, fillEMA},
		{"dynsampler PerKeyThroughput", sampledKeys, fillPerKey},
		{"zapcore sampler", sampledKeys, fillZap},
		{"slog-sampling, threshold", 20_000, fillSlogSampling}, // a million would take more than an hour
		{"go-limiter memorystore", sampledKeys, fillLimiter},
	} {
		before, err := heapOf(base)
		if err != nil {
			return t, err
		}
		kept, remark, closeIt, err := h.fill(ctx, h.keys)
		if err != nil {
			return t, fmt.Errorf("%s: %w", h.name, err)
		}
		after := heap()
		closeIt()
		t.add(h.name, fmt.Sprint(h.keys), fmt.Sprintf("%.1f", (after-before)/float64(h.keys)), fmt.Sprintf("%.1f %%", 100*float64(kept)/float64(h.keys)), remark)
	}
	return t, nil
}

// heap returns the bytes that are in use.
func heap() float64 {
	runtime.GC()
	runtime.GC() // what finalizers have freed
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// heapOf returns the bytes that are in use when what was used beyond base is free again,
// which is soon after the goroutines that need it are told to end.
func heapOf(base float64) (n float64, err error) {
	err = await(func() bool {
		n = heap()
		return n < base+sampledKeys
	})
	return n, err
}

// meet returns how many of the keys' requests are kept.
func meet(keys int, keep func(r request) bool) (kept int) {
	for i := range keys {
		if keep(newRequest(i)) {
			kept++
		}
	}
	return kept
}

func fillDecide(localBytes int) func(context.Context, int) (int, string, func(), error) {
	return func(ctx context.Context, keys int) (int, string, func(), error) {
		s, err := samplers.New(full{}, &samplers.Options{LocalBytes: localBytes})
		if err != nil {
			return 0, "", nil, err
		}
		kept := meet(keys, func(r request) bool { return s.Decide(ctx, r.key).Keep })
		return kept, fmt.Sprintf("bounded; %.1f %% of the keys are dropped without a call", 100*float64(s.Stats().Keys)/float64(keys)),
			func() { _ = s.Close(ctx) }, nil
	}
}

const sampledInterval = 20 * time.Second // longer than it takes to meet all keys, if nothing comes between

func fillEMA(_ context.Context, keys int) (int, string, func(), error) {
	const remark = "unbounded by default; new keys are first kept at the goal's rate, then all"
	kept := 0.
	s, err := inTwoIntervals(keys, func() dynsampler.Sampler {
		kept = 0
		return &dynsampler.EMASampleRate{AdjustmentIntervalDuration: sampledInterval}
	}, func(rate int) {
		kept += 1 / float64(rate) // as the caller tosses
	})
	return int(kept), remark, func() { _ = s.Stop() }, err
}

func fillPerKey(_ context.Context, keys int) (int, string, func(), error) {
	const remark = "unbounded by default; all requests of a new key are kept"
	kept := 0
	s, err := inTwoIntervals(keys, func() dynsampler.Sampler {
		kept = 0
		return &dynsampler.PerKeyThroughput{ClearFrequencyDuration: sampledInterval}
	}, func(rate int) {
		if rate == 1 {
			kept++
		}
	})
	return kept, remark, func() { _ = s.Stop() }, err
}

// inTwoIntervals returns a sampler that has met all keys in the interval before this one and
// in this one. met is told the rates of the first requests.
func inTwoIntervals(keys int, newSampler func() dynsampler.Sampler, met func(rate int)) (dynsampler.Sampler, error) {
	for range 5 {
		s := newSampler()
		if err := s.Start(); err != nil {
			return s, err
		}
		meetAll := func(met func(rate int)) bool {
			meet(keys, func(r request) bool {
				met(s.GetSampleRateMulti(r.joined, 2))
				return false
			})
			return s.GetMetrics("")["keyspace_size"] == int64(keys) // no interval has ended meanwhile
		}
		last := newRequest(keys - 1).joined
		first := s.GetSampleRate(last)
		if meetAll(met) {
			// The last key has so many requests that its rate changes.
			if err := await(func() bool { return s.GetSampleRateMulti(last, 1_000) != first }); err != nil {
				return s, err
			}
			if meetAll(func(int) {}) {
				return s, nil
			}
		}
		if err := s.Stop(); err != nil {
			return s, err
		}
	}
	return newSampler(), errors.New("it takes longer than an interval to meet all keys")
}

func await(ready func() bool) error {
	for deadline := time.Now().Add(3 * sampledInterval); !ready(); {
		if time.Now().After(deadline) {
			return errors.New("it takes too long")
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

func fillZap(_ context.Context, keys int) (int, string, func(), error) {
	core, now := newZapCore(), time.Now()
	kept := meet(keys, func(r request) bool {
		return core.Check(zapcore.Entry{Level: zapcore.InfoLevel, Time: now, Message: r.joined}, nil) != nil
	})
	return kept, "4,096 counters for a level, shared by hash", func() { runtime.KeepAlive(core) }, nil
}

func fillSlogSampling(ctx context.Context, keys int) (int, string, func(), error) {
	kept := 0
	h := slogsampling.ThresholdSamplingOption{
		Tick: sampledWindow, Threshold: sampledFirst, Matcher: slogsampling.MatchByMessage(),
		OnAccepted: func(context.Context, slog.Record) { kept++ },
	}.NewMiddleware()(slog.DiscardHandler)
	var err error
	meet(keys, func(r request) bool {
		err = errors.Join(err, h.Handle(ctx, slog.NewRecord(time.Time{}, slog.LevelInfo, r.joined, 0)))
		return false
	})
	return kept, "unbounded", func() { runtime.KeepAlive(h) }, err
}

func fillLimiter(ctx context.Context, keys int) (int, string, func(), error) {
	s, err := memorystore.New(&memorystore.Config{Tokens: sampledFirst, Interval: sampledWindow})
	if err != nil {
		return 0, "", nil, err
	}
	kept := meet(keys, func(r request) bool {
		_, _, _, ok, failed := s.Take(ctx, r.joined)
		err = errors.Join(err, failed)
		return ok
	})
	return kept, "forgotten after 12 hours", func() { _ = s.Close(ctx) }, err
}
