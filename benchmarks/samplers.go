package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/honeycombio/dynsampler-go"
	"github.com/rs/zerolog"
	slogsampling "github.com/samber/slog-sampling"
	"github.com/sethvargo/go-limiter/memorystore"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

const (
	sampledFirst  = 5
	sampledWindow = 15 * time.Minute
	burst         = 1_000 // decisions in a call
)

// request is the key of a decision. The ways that know keys of one part only get them
// joined, for which they need not pay unless their name says so.
type request struct {
	key    samplers.Key
	joined string
}

// newRequests returns so many different keys.
func newRequests(n int) []request {
	r := make([]request, n)
	for i := range r {
		r[i] = newRequest(i)
	}
	return r
}

func newRequest(i int) request {
	k := samplers.Key{Tenant: fmt.Sprintf("customer-%05d", i/20), Op: fmt.Sprintf("GET /v1/things-%02d/{id}", i%20)}
	return request{k, join(k)}
}

func join(k samplers.Key) string { return k.Tenant + " " + k.Op }

// decider is one way of deciding.
type decider struct {
	name   string
	keep   func(r *request) bool
	before func() error // before a turn, not measured; may be nil
	some   bool         // keeps some requests
	close  func()       // may be nil
}

// drops is a way that decides on requests which are all, unless some is set, dropped.
func (d *decider) drops(requests []request) way {
	return way{name: d.name, before: d.before, op: func(i int) error {
		kept, n := 0, i*burst%len(requests)
		for range burst {
			if d.keep(&requests[n]) {
				kept++
			}
			if n++; n == len(requests) {
				n = 0
			}
		}
		if kept > 0 && !d.some {
			return fmt.Errorf("kept %d requests", kept)
		}
		return nil
	}}
}

// decisions compares samplers with one another and with limiters, in this process and in
// the server.
func decisions(ctx context.Context, s settings) ([]table, error) {
	s.turn /= 3
	var tables []table
	for _, keys := range []int{1, 10_000} {
		t, err := s.throttled(ctx, keys)
		if err != nil {
			return nil, err
		}
		tables = append(tables, t)
	}
	t, err := keyMemory(ctx)
	if err != nil {
		return nil, err
	}
	inServer, err := s.asked(ctx)
	return append(append(tables, t), inServer...), err
}

// throttled measures decisions on requests of throttled keys.
func (s settings) throttled(ctx context.Context, keys int) (table, error) {
	t := table{
		Title:   fmt.Sprintf("Decisions that drop, with so many keys in turn: %d", keys),
		Columns: []string{"decision", "ns", "times Decide", "ns, 2 goroutines", "times Decide", "ns that pass", "allocations"},
		Note: "Processor time of a decision, and the time that passes for each of those of 2 goroutines. Turns are a third as long as the others. " +
			"GetSampleRate is without the coin that the caller tosses. The key is of one part, joined before, unless it is said to be joined. " +
			"BurstSampler has no keys.",
	}
	requests := newRequests(keys)
	ways, closeAll, err := deciders(ctx, requests)
	if err != nil {
		return t, err
	}
	defer closeAll()
	all := make([]way, len(ways))
	for i := range ways {
		all[i] = ways[i].drops(requests)
	}
	one, err := s.compare(all, 1)
	if err != nil {
		return t, err
	}
	two, err := s.compare(all, 2)
	if err != nil {
		return t, err
	}
	nanos := func(turns []turn, f func(turn) float64) string { return fmt.Sprintf("%.1f", median(turns, f)/burst) }
	for i := range ways {
		t.add(ways[i].name, nanos(one[i], turn.work), work(one[i], one[0]).String(), nanos(two[i], turn.work), work(two[i], two[0]).String(),
			nanos(two[i], turn.each), fmt.Sprintf("%.1f", median(one[i], func(t turn) float64 { return t.allocs })/burst))
	}
	return t, nil
}

// deciders returns all ways, Sampler.Decide first. All of them have throttled the requests.
func deciders(ctx context.Context, requests []request) (ways []decider, closeAll func(), err error) {
	for _, open := range []func(context.Context, []request) (decider, error){
		newDecide(nil, "Sampler.Decide"), newDecide(&samplers.Options{Tail: 0.01}, "Sampler.Decide, a tail of 0.01"),
		newEMA, newJoinedEMA, newPerKey, newZap, newZapLogger, newZerolog, newSlogSampling, newLimiter,
	} {
		d, failed := open(ctx, requests)
		ways, err = append(ways, d), errors.Join(err, failed)
	}
	for i := range ways {
		if err != nil || ways[i].before != nil {
			continue // that throttles, too
		}
		for range 4 * sampledFirst { // the counters of slog-sampling are lost at times while their map grows
			for n := range requests {
				ways[i].keep(&requests[n])
			}
		}
	}
	return ways, func() {
		for _, d := range ways {
			if d.close != nil {
				d.close()
			}
		}
	}, err
}

// full are counters that say of the first request of a key that it is the last of the first
// N, so that they need not keep any.
type full struct{}

func (full) Increment(_ context.Context, increments []driver.Increment) ([]driver.Count, error) {
	counts := make([]driver.Count, len(increments))
	for i := range counts {
		counts[i] = driver.Count{Outcome: driver.Done, Count: sampledFirst, Remaining: sampledWindow, Epoch: 1}
	}
	return counts, nil
}

func (full) Close(context.Context) error { return nil }

func newDecide(o *samplers.Options, name string) func(context.Context, []request) (decider, error) {
	return func(ctx context.Context, _ []request) (decider, error) {
		s, err := samplers.New(full{}, o)
		if err != nil {
			return decider{}, err
		}
		return decider{
			name:  name,
			keep:  func(r *request) bool { return s.Decide(ctx, r.key).Keep },
			some:  o != nil && o.Tail > 0,
			close: func() { _ = s.Close(ctx) },
		}, nil
	}
}

// newEMA returns one that has its rates already.
func newEMA(_ context.Context, requests []request) (decider, error) {
	s, err := startEMA(requests)
	return decider{
		name:  "dynsampler EMASampleRate",
		keep:  func(r *request) bool { return s.GetSampleRate(r.joined) == 1 },
		close: func() { _ = s.Stop() },
	}, err
}

func newJoinedEMA(_ context.Context, requests []request) (decider, error) {
	s, err := startEMA(requests)
	return decider{
		name:  "dynsampler EMASampleRate, the key joined each time",
		keep:  func(r *request) bool { return s.GetSampleRate(join(r.key)) == 1 },
		close: func() { _ = s.Stop() },
	}, err
}

func startEMA(requests []request) (*dynsampler.EMASampleRate, error) {
	s := &dynsampler.EMASampleRate{}
	var state struct {
		Rates    map[string]int     `json:"saved_sample_rates"`
		Averages map[string]float64 `json:"moving_average"`
	}
	state.Rates, state.Averages = map[string]int{}, map[string]float64{}
	for _, r := range requests {
		state.Rates[r.joined], state.Averages[r.joined] = 10, 1e6
	}
	text, err := json.Marshal(state)
	if err == nil {
		err = s.LoadState(text)
	}
	return s, errors.Join(err, s.Start())
}

// newPerKey returns one that is given time for its rates before each turn: it forgets them
// after a second without requests.
func newPerKey(_ context.Context, requests []request) (decider, error) {
	s := &dynsampler.PerKeyThroughput{ClearFrequencyDuration: time.Second, PerKeyThroughputPerSec: 1}
	feed := func() {
		for _, r := range requests {
			s.GetSampleRateMulti(r.joined, 10)
		}
	}
	throttle := func() error {
		for deadline := time.Now().Add(patience); s.GetSampleRate(requests[len(requests)-1].joined) == 1; {
			if time.Now().After(deadline) {
				return errors.New("it does not throttle")
			}
			feed()
			time.Sleep(time.Millisecond)
		}
		feed() // so that the next rates drop, too
		return nil
	}
	return decider{
		name:   "dynsampler PerKeyThroughput",
		keep:   func(r *request) bool { return s.GetSampleRate(r.joined) == 1 },
		before: throttle,
		close:  func() { _ = s.Stop() },
	}, s.Start()
}

func newZapCore() zapcore.Core {
	core := zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(io.Discard), zapcore.InfoLevel)
	return zapcore.NewSamplerWithOptions(core, sampledWindow, sampledFirst, 0)
}

func newZap(context.Context, []request) (decider, error) {
	core, now := newZapCore(), time.Now()
	return decider{name: "zapcore sampler, the time given", keep: func(r *request) bool {
		return core.Check(zapcore.Entry{Level: zapcore.InfoLevel, Time: now, Message: r.joined}, nil) != nil
	}}, nil
}

func newZapLogger(context.Context, []request) (decider, error) {
	logger := zap.New(newZapCore())
	return decider{name: "zap.Logger.Check with it", keep: func(r *request) bool {
		return logger.Check(zapcore.InfoLevel, r.joined) != nil
	}}, nil
}

func newZerolog(context.Context, []request) (decider, error) {
	s := &zerolog.BurstSampler{Burst: sampledFirst, Period: sampledWindow}
	return decider{name: "zerolog BurstSampler", keep: func(*request) bool { return s.Sample(zerolog.InfoLevel) }}, nil
}

// newSlogSampling returns one that matches messages, which are the keys here.
func newSlogSampling(ctx context.Context, _ []request) (decider, error) {
	var accepted atomic.Int64
	sampling := slogsampling.ThresholdSamplingOption{
		Tick: sampledWindow, Threshold: sampledFirst, Matcher: slogsampling.MatchByMessage(),
		OnAccepted: func(context.Context, slog.Record) { accepted.Add(1) },
	}
	h := sampling.NewMiddleware()(slog.DiscardHandler)
	return decider{name: "slog-sampling, threshold", keep: func(r *request) bool {
		before := accepted.Load()
		_ = h.Handle(ctx, slog.NewRecord(time.Time{}, slog.LevelInfo, r.joined, 0))
		return accepted.Load() != before
	}}, nil
}

func newLimiter(ctx context.Context, _ []request) (decider, error) {
	s, err := memorystore.New(&memorystore.Config{Tokens: sampledFirst, Interval: sampledWindow})
	return decider{
		name: "go-limiter memorystore",
		keep: func(r *request) bool {
			_, _, _, ok, err := s.Take(ctx, r.joined)
			return ok || err != nil
		},
		close: func() { _ = s.Close(ctx) },
	}, err
}
