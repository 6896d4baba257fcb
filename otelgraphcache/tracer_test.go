package otelgraphcache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/graphcache/graphcache"
)

// words returns the attributes as text, without how long it took.
func words(attrs []attribute.KeyValue) string {
	var b strings.Builder
	for _, a := range attrs {
		if a.Key != "graphcache.duration" {
			fmt.Fprintf(&b, " %s=%s", strings.TrimPrefix(string(a.Key), "graphcache."), a.Value.String())
		} else if a.Value.AsFloat64() < 0 {
			b.WriteString(" negative")
		}
	}
	return b.String()
}

// describe returns a span and its events, a line for each.
func describe(s sdktrace.ReadOnlySpan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v%s", s.Name(), s.SpanKind(), words(s.Attributes()))
	if st := s.Status(); st.Code != codes.Unset {
		fmt.Fprintf(&b, " %v: %s", st.Code, st.Description)
	}
	for _, e := range s.Events() {
		fmt.Fprintf(&b, "\n  %s%s", e.Name, words(e.Attributes))
	}
	return b.String()
}

func TestTracer(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	g := open(t, NewTracer(provider))
	before := len(spans.Ended())
	ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
	for _, id := range []graphcache.ID[user]{"ann", "bob", ""} {
		_, _ = users.Get(ctx, g, id)
	}
	if _, err := users.Where().IDs(ctx, g); err != nil {
		t.Fatal(err)
	}
	if err := users.Put(ctx, g, &user{ID: "ann"}); err != nil {
		t.Fatal(err)
	}
	if err := g.Tx(ctx, func(*graphcache.Tx) error { return errors.New("ann") }); err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`graphcache.get user internal operation=get kind=user
  graphcache.fetch outcome=done kind=user access=by ID fragments=1 near_hits=0 hits=1 misses=0 joins=0 waits=0 loads=0`,
		`graphcache.get user internal operation=get kind=user error.type=not_found
  graphcache.fetch outcome=done kind=user access=by ID fragments=1 near_hits=0 hits=0 misses=1 joins=0 waits=0 loads=1`,
		`graphcache.get user internal operation=get kind=user error.type=invalid Error: invalid`,
		`graphcache.ids user internal operation=ids kind=user
  graphcache.fetch outcome=done kind=user access=store fragments=1 near_hits=0 hits=0 misses=0 joins=0 waits=0 loads=1`,
		`graphcache.put user internal operation=put kind=user
  graphcache.read outcome=done kind=user
  graphcache.hold outcome=done
  graphcache.store outcome=done
  graphcache.release outcome=done`,
		`graphcache.tx internal operation=tx error.type=_OTHER Error: _OTHER`,
	}
	got := spans.Ended()[before:]
	if len(got) != len(want) {
		t.Fatalf("%d spans, want %d", len(got), len(want))
	}
	for i, s := range got {
		if d := describe(s); d != want[i] {
			t.Errorf("span %d: got\n%s\nwant\n%s", i, d, want[i])
		}
		if s.Parent().SpanID() != parent.SpanContext().SpanID() || s.InstrumentationScope().Name != scope {
			t.Errorf("span %d has the parent %v and the scope %q", i, s.Parent(), s.InstrumentationScope().Name)
		}
	}
}

// TestTracerNests: what the store does in an operation is within its span.
func TestTracerNests(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	ctx, s := NewTracer(provider).Start(t.Context(), graphcache.Operation{Name: "get", Kind: "user"})
	_, child := provider.Tracer("store").Start(ctx, "find")
	child.End()
	s.End(nil)
	all := spans.Ended()
	if len(all) != 2 || all[0].Parent().SpanID() != all[1].SpanContext().SpanID() {
		t.Errorf("%v", all)
	}
}

// TestTracerUnsampled: who does not record is told nothing, but passes on the context.
func TestTracerUnsampled(t *testing.T) {
	for name, provider := range map[string]trace.TracerProvider{
		"none": noop.NewTracerProvider(), "global": nil,
		"never": sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())),
	} {
		ctx, s := NewTracer(provider).Start(t.Context(), graphcache.Operation{Name: "get"})
		if s != nil {
			t.Errorf("%s: a span %v", name, s)
		}
		if sampled := trace.SpanContextFromContext(ctx); name == "never" && (!sampled.IsValid() || sampled.IsSampled()) {
			t.Errorf("%s: the context has %v", name, sampled)
		}
	}
}

// TestClassOf: each class is found in an error that wraps it, and the one that says most
// comes first.
func TestClassOf(t *testing.T) {
	for _, c := range classes {
		if name, answer := classOf(fmt.Errorf("get user \"ann\": %w", c.err)); name != c.name || answer != c.answer {
			t.Errorf("%v is %q (%v)", c.err, name, answer)
		}
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("%w: %w", graphcache.ErrOverloaded, context.DeadlineExceeded), "overloaded"},
		{fmt.Errorf("%w: %w", graphcache.ErrUnavailable, context.Canceled), "unavailable"},
		{errors.New("ann"), "_OTHER"},
	} {
		if name, _ := classOf(tt.err); name != tt.want {
			t.Errorf("%v is %q, want %q", tt.err, name, tt.want)
		}
	}
}
