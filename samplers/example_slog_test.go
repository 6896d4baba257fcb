package samplers_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/samplers"
)

// withoutTime leaves out the times, which differ each time.
var withoutTime = &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}}

// The first two requests of a customer and an operation are logged with all their lines,
// the third with its error only.
func ExampleNewHandler() {
	ctx := context.Background()
	s, err := samplers.New(memory.NewCounters(nil), &samplers.Options{FirstN: 2, Timeout: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close(ctx)

	logger := slog.New(samplers.NewHandler(slog.NewTextHandler(os.Stdout, withoutTime), nil))
	for n := range 3 {
		d := s.Decide(ctx, samplers.Key{Tenant: "acme", Op: "GET /orders"})
		ctx := samplers.ContextWithDecision(ctx, d)
		logger.InfoContext(ctx, "begin", "n", n)
		logger.ErrorContext(ctx, "no connection", "n", n)
		samplers.End(ctx)
	}
	// Output:
	// level=INFO msg=begin n=0 sample.weight=1 sample.reason=first
	// level=ERROR msg="no connection" n=0 sample.weight=1 sample.reason=first
	// level=INFO msg=begin n=1 sample.weight=1 sample.reason=first
	// level=ERROR msg="no connection" n=1 sample.weight=1 sample.reason=first
	// level=ERROR msg="no connection" n=2 sample.weight=1 sample.reason=always
}

// A request beyond the first is dropped, unless it ends in an error: then it is logged with
// all its lines.
func ExampleNewHandler_upgrade() {
	ctx := context.Background()
	s, err := samplers.New(memory.NewCounters(nil), &samplers.Options{FirstN: 1, Timeout: time.Minute})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close(ctx)

	logger := slog.New(samplers.NewHandler(slog.NewTextHandler(os.Stdout, withoutTime), &samplers.HandlerOptions{
		Upgrade: &samplers.UpgradeOptions{},
	}))
	for n := range 4 {
		d := s.Decide(ctx, samplers.Key{Tenant: "acme", Op: "GET /orders"})
		ctx := samplers.ContextWithDecision(ctx, d)
		logger.InfoContext(ctx, "begin", "n", n)
		if n == 2 {
			logger.ErrorContext(ctx, "no connection", "n", n)
		}
		logger.InfoContext(ctx, "end", "n", n)
		samplers.End(ctx)
	}
	// Output:
	// level=INFO msg=begin n=0 sample.weight=1 sample.reason=first
	// level=INFO msg=end n=0 sample.weight=1 sample.reason=first
	// level=INFO msg=begin n=2 sample.weight=1 sample.reason=upgraded
	// level=ERROR msg="no connection" n=2 sample.weight=1 sample.reason=upgraded
	// level=INFO msg=end n=2 sample.weight=1 sample.reason=upgraded
}

// What is not in a handler of NewHandler, such as a file of traces, asks for the decision.
func ExampleFromContext() {
	ctx := samplers.ContextWithDecision(context.Background(), samplers.Decision{Reason: samplers.Throttled})
	defer samplers.End(ctx)

	show := func() {
		d, _ := samplers.FromContext(ctx)
		fmt.Println(d.Keep, d.Weight, d.Reason)
	}
	show()
	samplers.Upgrade(ctx) // because of an error
	show()
	// Output:
	// false 0 throttled
	// true 1 upgraded
}
