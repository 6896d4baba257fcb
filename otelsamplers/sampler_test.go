package otelsamplers

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

func newSampler(t *testing.T, counters driver.Counters, o *samplers.Options) *samplers.Sampler {
	t.Helper()
	s, err := samplers.New(counters, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newTail returns a sampler that keeps so many of what is named "GET /", and the first
// request of what is named differently.
func newTail(t *testing.T, tail float64) *samplers.Sampler {
	s := newSampler(t, memory.NewCounters(nil), &samplers.Options{FirstN: 1, Tail: tail})
	for range 2 {
		s.Decide(t.Context(), samplers.Key{Op: "GET /"})
	}
	return s
}

// traceID returns an ID with this randomness, and the other bits set.
func traceID(randomness uint64) (id trace.TraceID) {
	for i := range id {
		id[i] = 0xff
	}
	binary.BigEndian.PutUint64(id[8:], randomness|0xff<<56)
	return id
}

// contextOf returns a context with a span context. With an ID of 0 that is not a valid one.
func contextOf(t *testing.T, id trace.TraceID, flags trace.TraceFlags, state string) context.Context {
	t.Helper()
	ts, err := trace.ParseTraceState(state)
	if err != nil {
		t.Fatal(err)
	}
	c := trace.SpanContextConfig{TraceID: id, TraceFlags: flags, TraceState: ts}
	if id.IsValid() {
		c.SpanID = trace.SpanID{1}
	}
	return trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(c))
}

const high, low = none - 1, none/4 - 1 // kept and dropped with probability 1/4 and 3/4

var (
	first     = samplers.Decision{Keep: true, Weight: 1, Reason: samplers.First}
	upgraded  = samplers.Decision{Keep: true, Weight: 1, Reason: samplers.Upgraded}
	tail      = samplers.Decision{Keep: true, Weight: 4, Reason: samplers.Tail}
	throttled = samplers.Decision{}
)

func TestShouldSample(t *testing.T) {
	const sampled = trace.FlagsSampled
	s := New(newTail(t, 0.25), nil)
	for _, tt := range []struct {
		name    string
		carried *samplers.Decision
		child   bool // of a parent with the flags
		flags   trace.TraceFlags
		random  uint64
		state   string
		want    string // the tracestate, or "dropped " and the tracestate
	}{
		{name: "coin of the trace", random: high, want: "ot=th:c"},
		{name: "coin of the trace, just kept", random: none / 4 * 3, want: "ot=th:c"},
		{name: "coin of the trace, just dropped", random: none/4*3 - 1, want: "dropped "},
		{name: "rv wins, kept", random: low, state: "ot=rv:c0000000000000", want: "ot=th:c;rv:c0000000000000"},
		{name: "rv wins, dropped", random: high, state: "ot=rv:bfffffffffffff", want: "dropped ot=rv:bfffffffffffff"},
		{name: "malformed rv", random: high, state: "ot=rv:1;x:y,a=1", want: "ot=th:c;x:y,a=1"},
		{name: "others stay", random: high, state: "a=1,ot=p:8;r:62,b=2", want: "ot=th:c;p:8;r:62,a=1,b=2"},
		{name: "dropped, th goes", random: low, state: "a=1,ot=th:8;p:8", want: "dropped ot=p:8,a=1"},
		{name: "child with a coin", child: true, flags: sampled, random: high, state: "ot=th:8", want: "ot=th:c"},

		{name: "carried first", carried: &first, random: low, want: "ot=th:0"},
		{name: "carried first, child", carried: &first, child: true, random: low, state: "ot=th:8", want: "ot=th:0"},
		{name: "carried upgraded", carried: &upgraded, random: low, state: "ot=rv:00000000000000", want: "ot=th:0;rv:00000000000000"},
		{name: "carried throttled", carried: &throttled, random: high, state: "ot=th:8;rv:c0000000000000", want: "dropped ot=rv:c0000000000000"},
		{name: "carried tail of a trace with an rv", carried: &tail, random: high, state: "ot=rv:f0000000000000", want: "ot=rv:f0000000000000"},
		{name: "carried tail, the parent's", carried: &tail, child: true, flags: sampled, random: high, state: "ot=th:c", want: "ot=th:c"},
		{name: "carried tail, the parent's with an rv", carried: &tail, child: true, flags: sampled, random: low,
			state: "ot=th:c;rv:c0000000000000", want: "ot=th:c;rv:c0000000000000"},
		{name: "carried tail, R too low", carried: &tail, child: true, flags: sampled, random: low, state: "ot=th:c", want: ""},
		{name: "carried tail, parent's threshold is another", carried: &tail, child: true, flags: sampled, random: high, state: "ot=th:8", want: ""},
		{name: "carried tail, parent without threshold", carried: &tail, child: true, flags: sampled, random: high, want: ""},
		{name: "carried tail, parent dropped", carried: &tail, child: true, random: high, state: "ot=th:c", want: ""},
		{name: "dropped with a weight", carried: &samplers.Decision{Weight: 1}, random: high, state: "ot=th:c", want: "dropped "},
		{name: "kept without a weight", carried: &samplers.Decision{Keep: true}, random: high, state: "ot=th:c", want: ""},
		{name: "kept with an impossible weight", carried: &samplers.Decision{Keep: true, Weight: math.NaN()}, random: high, want: ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := traceID(tt.random)
			parent := trace.TraceID{}
			if tt.child {
				parent = id
			}
			ctx := contextOf(t, parent, tt.flags, tt.state)
			if tt.carried != nil {
				ctx = samplers.ContextWithDecision(ctx, *tt.carried)
			}
			r := s.ShouldSample(sdktrace.SamplingParameters{ParentContext: ctx, TraceID: id, Name: "GET /"})
			got := r.Tracestate.String()
			switch r.Decision {
			case sdktrace.Drop:
				got = "dropped " + got
				if len(r.Attributes) != 0 {
					t.Errorf("dropped with %v", r.Attributes)
				}
			case sdktrace.RecordAndSample:
				want := tail
				if tt.carried != nil {
					want = *tt.carried
				}
				checkAttributes(t, r.Attributes, want)
			default:
				t.Errorf("decision %v", r.Decision)
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func checkAttributes(t *testing.T, got []attribute.KeyValue, want samplers.Decision) {
	t.Helper()
	if len(got) != 2 || got[0] != attribute.String("sample.reason", want.Reason.String()) ||
		got[1].Key != "sample.weight" || math.Float64bits(got[1].Value.AsFloat64()) != math.Float64bits(want.Weight) {
		t.Errorf("attributes %v of %+v", got, want)
	}
}

// What an rv is drawn from is what is left of R if it is known that it has reached the
// threshold; so whoever samples further by it, at a higher threshold, counts right.
func TestDrawnRandomness(t *testing.T) {
	const n, threshold, higher = 100_000, none / 4 * 3, none / 32 * 31
	s := New(newTail(t, 0.25), nil)
	ctx := samplers.ContextWithDecision(t.Context(), tail)
	kept := 0
	for range n {
		r := s.ShouldSample(sdktrace.SamplingParameters{ParentContext: ctx, TraceID: traceID(low), Name: "GET /"})
		m := parseMember(r.Tracestate.Get(memberKey))
		if m.th != threshold || m.rv == "" || parseHex(m.rv) < threshold {
			t.Fatalf("tracestate %q", r.Tracestate)
		}
		if parseHex(m.rv) >= higher {
			kept++
		}
	}
	// n coins of probability 1/8. Beyond six standard deviations: with odds of 2e-9.
	checkSum(t, float64(kept), n/8., math.Sqrt(n/8.*7/8))
}

func checkSum(t *testing.T, got, want, deviation float64) {
	t.Helper()
	if z := (got - want) / deviation; math.Abs(z) > 6 {
		t.Errorf("sum %.0f, want %.0f ± %.0f: off by %.1f standard deviations", got, want, deviation, z)
	}
}

// Two services that share nothing but the trace's ID keep the same of what both throttle;
// and one that keeps more keeps all that the others do.
func TestConsistency(t *testing.T) {
	a, b, more := New(newTail(t, 0.25), nil), New(newTail(t, 0.25), nil), New(newTail(t, 0.5), nil)
	random := rand.New(rand.NewPCG(1, 2))
	kept := 0
	for range 10_000 {
		p := sdktrace.SamplingParameters{ParentContext: t.Context(), TraceID: traceID(random.Uint64N(none)), Name: "GET /"}
		inA, inB, inMore := a.ShouldSample(p), b.ShouldSample(p), more.ShouldSample(p)
		if inA.Decision != inB.Decision || inA.Tracestate.String() != inB.Tracestate.String() {
			t.Fatalf("%s: %+v in one service, %+v in the other", p.TraceID, inA, inB)
		}
		if inA.Decision == sdktrace.RecordAndSample {
			kept++
			if inMore.Decision != sdktrace.RecordAndSample {
				t.Fatalf("%s: kept with 0.25, dropped with 0.5", p.TraceID)
			}
		}
	}
	if kept < 2_000 || kept > 3_000 {
		t.Errorf("%d of 10,000 are kept", kept)
	}
}

// The sum of 2^56/(2^56-T) over the spans that are kept estimates all spans without bias,
// whether the sampler decides or the context carries its decision. The variance of one
// span's term is w-1 in the tail, and 0 before.
func TestSumIsUnbiased(t *testing.T) {
	const n, weight, names = 200_000, 64., 50
	for _, carried := range []bool{false, true} {
		core := newSampler(t, memory.NewCounters(nil), &samplers.Options{FirstN: 5, Tail: 1 / weight})
		s := New(core, nil)
		random := rand.New(rand.NewPCG(1, 2))
		sum, sumOfAttributes := 0.0, 0.0
		for range n {
			p := sdktrace.SamplingParameters{ParentContext: t.Context(), TraceID: traceID(random.Uint64N(none)), Name: string(rune('a' + random.IntN(names)))}
			if carried {
				p.ParentContext = samplers.ContextWithDecision(t.Context(), core.Decide(t.Context(), samplers.Key{Op: p.Name}))
			}
			r := s.ShouldSample(p)
			m := parseMember(r.Tracestate.Get(memberKey))
			if r.Decision == sdktrace.Drop {
				if m.th != none {
					t.Fatalf("dropped with %q", r.Tracestate)
				}
				continue
			}
			if m.th == none || m.randomness(p.TraceID) < m.th {
				t.Fatalf("kept with %q", r.Tracestate)
			}
			sum += none / float64(none-m.th)
			sumOfAttributes += r.Attributes[1].Value.AsFloat64()
		}
		checkSum(t, sum, n, math.Sqrt((n-5*names)*(weight-1)))
		if sum != sumOfAttributes {
			t.Errorf("sum %v by thresholds, %v by attributes", sum, sumOfAttributes)
		}
	}
}

// With ParentBased the spans of a trace go with the first one, and have its tracestate.
func TestParentBased(t *testing.T) {
	core := newTail(t, 0.25)
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(
		sdktrace.WithSpanProcessor(spans),
		sdktrace.WithSampler(sdktrace.ParentBased(New(core, func(p sdktrace.SamplingParameters) samplers.Key {
			return samplers.Key{Tenant: "t", Op: p.Name}
		}))),
	).Tracer("")
	for _, d := range []*samplers.Decision{nil, &first, &tail, &throttled} {
		ctx := t.Context()
		if d != nil {
			ctx = samplers.ContextWithDecision(ctx, *d)
		}
		ctx, root := tracer.Start(ctx, "root")
		_, child := tracer.Start(ctx, "child")
		if d := core.Stats(); d.First != 2 { // that of newTail, and the first root
			t.Fatalf("%d asked for and kept, want 2", d.First)
		}
		a, b := root.SpanContext(), child.SpanContext()
		if keep := d == nil || d.Keep; a.IsSampled() != keep || b.IsSampled() != keep {
			t.Errorf("%+v: root %v, child %v", d, a.IsSampled(), b.IsSampled())
		}
		if a.TraceState().String() != b.TraceState().String() {
			t.Errorf("%+v: %q and %q", d, a.TraceState(), b.TraceState())
		}
		child.End()
		root.End()
	}
	var names []string
	for _, s := range spans.Ended() {
		names = append(names, s.Name())
	}
	if want := []string{"child", "root", "child", "root", "child", "root"}; !slices.Equal(names, want) {
		t.Errorf("recorded %v, want %v", names, want)
	}
}

// A decision that is carried is the only one: the request is not counted again.
func TestCarriedIsNotCounted(t *testing.T) {
	core := newTail(t, 0.25)
	before := core.Stats()
	s := New(core, func(sdktrace.SamplingParameters) samplers.Key {
		t.Error("asked for a key")
		return samplers.Key{}
	})
	for _, d := range []samplers.Decision{first, tail, throttled} {
		s.ShouldSample(sdktrace.SamplingParameters{ParentContext: samplers.ContextWithDecision(t.Context(), d), Name: "new"})
	}
	if after := core.Stats(); after.Calls != before.Calls || after.Throttled != before.Throttled {
		t.Errorf("%+v, and %+v before", after, before)
	}
}
