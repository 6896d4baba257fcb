package otelgraphcache

import (
	"context"
	"errors"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/graphcache/graphcache"
)

// NewTracer returns a tracer for Options.Tracer of a graph that makes spans of its
// operations. A nil provider is the global one.
func NewTracer(provider trace.TracerProvider) graphcache.Tracer {
	if provider == nil {
		provider = otel.GetTracerProvider()
	}
	return tracer{provider.Tracer(scope)}
}

type tracer struct{ t trace.Tracer }

// Start implements graphcache.Tracer.
func (t tracer) Start(ctx context.Context, op graphcache.Operation) (context.Context, graphcache.Span) {
	attrs := make([]attribute.KeyValue, 1, 2)
	attrs[0] = operationKey.String(op.Name)
	if op.Kind != "" {
		attrs = append(attrs, kindKey.String(op.Kind))
	}
	ctx, s := t.t.Start(ctx, strings.TrimSuffix("graphcache."+op.Name+" "+op.Kind, " "), trace.WithAttributes(attrs...))
	if !s.IsRecording() {
		return ctx, nil
	}
	return ctx, span{s}
}

type span struct{ s trace.Span }

// Step implements graphcache.Span.
func (s span) Step(step graphcache.Step) {
	attrs := make([]attribute.KeyValue, 2, 10)
	attrs[0] = attribute.Float64("graphcache.duration", step.Duration.Seconds())
	attrs[1] = attribute.String("graphcache.outcome", step.Outcome)
	if step.Kind != "" {
		attrs = append(attrs, kindKey.String(step.Kind))
	}
	if step.Access != 0 {
		attrs = append(attrs,
			attribute.String("graphcache.access", step.Access.String()),
			attribute.Int("graphcache.fragments", step.Fragments),
			attribute.Int("graphcache.near_hits", step.NearHits),
			attribute.Int("graphcache.hits", step.Hits),
			attribute.Int("graphcache.misses", step.Misses),
			attribute.Int("graphcache.joins", step.Joins),
			attribute.Int("graphcache.waits", step.Waits),
			attribute.Int("graphcache.loads", step.Loads))
	}
	s.s.AddEvent("graphcache."+step.Name, trace.WithAttributes(attrs...))
}

// End implements graphcache.Span.
func (s span) End(err error) {
	if err != nil {
		class, answer := classOf(err)
		s.s.SetAttributes(attribute.String("error.type", class))
		if !answer {
			s.s.SetStatus(codes.Error, class) // the error's text may have IDs in it
		}
	}
	s.s.End()
}

// classes are the errors that a span tells apart; answers are those that say what there
// is, and not that something has gone wrong.
var classes = []struct {
	err    error
	name   string
	answer bool
}{
	{graphcache.ErrNotFound, "not_found", true},
	{graphcache.ErrNotUnique, "not_unique", true},
	{graphcache.ErrExists, "exists", true},
	{graphcache.ErrUnknownOutcome, "unknown_outcome", false},
	{graphcache.ErrOverloaded, "overloaded", false},
	{graphcache.ErrUnavailable, "unavailable", false},
	{graphcache.ErrConflict, "conflict", false},
	{graphcache.ErrCursor, "cursor", false},
	{graphcache.ErrSchema, "schema", false},
	{graphcache.ErrInvalid, "invalid", false},
	{context.Canceled, "canceled", false},
	{context.DeadlineExceeded, "deadline_exceeded", false},
}

// classOf returns the class of an error, "_OTHER" if it is none of them.
func classOf(err error) (class string, answer bool) {
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return c.name, c.answer
		}
	}
	return "_OTHER", false
}
