package otelsamplers

import (
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/graphcache/graphcache/samplers"
)

const (
	reasonKey = attribute.Key("sample.reason")
	weightKey = attribute.Key("sample.weight")
)

// New returns a sampler of traces that s decides for, unless the context of a span carries
// a decision. It is meant to be the root of a [sdktrace.ParentBased].
//
// key returns the key of a span that is about to start. A nil key stands for that of the
// empty tenant and the span's name, which is to be one of few: "GET /users/{id}", not
// "GET /users/7".
func New(s *samplers.Sampler, key func(sdktrace.SamplingParameters) samplers.Key) sdktrace.Sampler {
	if key == nil {
		key = nameKey
	}
	return sampler{s, key}
}

func nameKey(p sdktrace.SamplingParameters) samplers.Key { return samplers.Key{Op: p.Name} }

type sampler struct {
	s   *samplers.Sampler
	key func(sdktrace.SamplingParameters) samplers.Key
}

// Description implements [sdktrace.Sampler].
func (sampler) Description() string { return "GraphcacheFirstN" }

// ShouldSample implements [sdktrace.Sampler].
func (s sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	state := parent.TraceState()
	m := parseMember(state.Get(memberKey))
	d, carried := samplers.FromContext(p.ParentContext)
	if !carried {
		d = s.s.DecideRandom(p.ParentContext, s.key(p), m.randomness(p.TraceID))
	}
	threshold := d.Threshold()
	switch {
	case !d.Keep || threshold >= none:
		threshold = none
	case !carried || threshold == 0:
		// Every R is above 0, and one that was the coin is above the threshold.
	case !parent.IsValid() && m.rv == "":
		m.rv = hex(threshold + rand.Uint64N(none-threshold))
	case !parent.IsSampled() || m.th != threshold || m.randomness(p.TraceID) < threshold:
		threshold = none
	}
	m.th = threshold
	result := sdktrace.SamplingResult{Decision: sdktrace.Drop, Tracestate: m.putInto(state)}
	if d.Keep {
		result.Decision = sdktrace.RecordAndSample
		result.Attributes = []attribute.KeyValue{reasonKey.String(d.Reason.String()), weightKey.Float64(d.Weight)}
	}
	return result
}

// randomness returns R.
func (m *member) randomness(id trace.TraceID) uint64 {
	if m.rv != "" {
		return parseHex(m.rv)
	}
	return binary.BigEndian.Uint64(id[8:]) & (none - 1)
}
