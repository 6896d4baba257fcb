package otelgraphcache_test

import (
	"context"
	"fmt"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/otelgraphcache"
)

type Post struct {
	ID    graphcache.ID[Post] `json:"id"`
	Title string              `json:"title"`
}

var Posts = graphcache.NewObjectKind[Post]("post")

// A program has one provider of each sort, with exporters in the place of these.
func Example() {
	ctx := context.Background()
	spans := tracetest.NewSpanRecorder()
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))

	g, err := graphcache.Open(ctx, graphcache.NewSchema(Posts), memory.NewStore(nil), &graphcache.Options{
		Cache:  memory.NewCache(nil),
		Tracer: otelgraphcache.NewTracer(traces),
	})
	if err != nil {
		panic(err)
	}
	defer g.Close(ctx)
	stop, err := otelgraphcache.Register(g, meters)
	if err != nil {
		panic(err)
	}
	defer stop()

	if err := Posts.Create(ctx, g, &Post{ID: "p1", Title: "Hello"}); err != nil {
		panic(err)
	}
	if _, err := Posts.Get(ctx, g, "p1"); err != nil {
		panic(err)
	}
	for _, s := range spans.Ended() {
		fmt.Println(s.Name())
		for _, e := range s.Events() {
			fmt.Println("  " + e.Name)
		}
	}
	// Output:
	// graphcache.create post
	//   graphcache.hold
	//   graphcache.store
	//   graphcache.release
	// graphcache.get post
	//   graphcache.fetch
}
