package otelsamplers_test

import (
	"context"
	"fmt"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/otelsamplers"
	"github.com/graphcache/graphcache/samplers"
)

// A program has an exporter in the place of the recorder, and the counters of a backend that
// its processes share.
func Example() {
	ctx := context.Background()
	s, err := samplers.New(memory.NewCounters(nil), &samplers.Options{FirstN: 2})
	if err != nil {
		panic(err)
	}
	defer s.Close(ctx)
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithSampler(sdktrace.ParentBased(otelsamplers.New(s, nil))),
		sdktrace.WithSpanProcessor(spans),
	)
	tracer := provider.Tracer("shop")
	for range 100 {
		ctx, request := tracer.Start(ctx, "GET /users/{id}")
		_, query := tracer.Start(ctx, "SELECT users")
		query.End()
		request.End()
	}
	for _, span := range spans.Ended() {
		fmt.Println(span.Name(), span.SpanContext().TraceState())
		for _, a := range span.Attributes() {
			fmt.Println("  "+string(a.Key), a.Value.Emit())
		}
	}
	// Output:
	// SELECT users ot=th:0
	// GET /users/{id} ot=th:0
	//   sample.reason first
	//   sample.weight 1
	// SELECT users ot=th:0
	// GET /users/{id} ot=th:0
	//   sample.reason first
	//   sample.weight 1
}
