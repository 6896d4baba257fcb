package samplers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/samplers"
)

// The decisions that a sampler makes.
var (
	first     = samplers.Decision{Keep: true, Weight: 1, Reason: samplers.First, Seq: 3}
	throttled = samplers.Decision{Reason: samplers.Throttled, Seq: 6}
	tailed    = samplers.Decision{Keep: true, Weight: 4, Reason: samplers.Tail, Seq: 7}
	localKept = samplers.Decision{Keep: true, Weight: 1, Reason: samplers.Local}
	localDrop = samplers.Decision{Reason: samplers.Local}
)

// upgradedFrom is the decision after an upgrade.
func upgradedFrom(d samplers.Decision) samplers.Decision {
	d.Keep, d.Weight, d.Reason = true, 1, samplers.Upgraded
	return d
}

func TestContextUpgrade(t *testing.T) {
	for _, tt := range []struct {
		name        string
		began, want samplers.Decision
	}{
		{"first", first, first},
		{"throttled", throttled, upgradedFrom(throttled)},
		{"tail", tailed, upgradedFrom(tailed)},
		{"local, kept", localKept, localKept},
		{"local, dropped", localDrop, upgradedFrom(localDrop)},
		{"upgraded elsewhere", upgradedFrom(throttled), upgradedFrom(throttled)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, ended := range []bool{false, true} {
				ctx := samplers.ContextWithDecision(t.Context(), tt.began)
				want := tt.want
				if ended {
					want = tt.began
					samplers.End(ctx)
				}
				if got, ok := samplers.FromContext(ctx); !ok || got != tt.began {
					t.Errorf("ended %v: before: %+v, %v, want %+v", ended, got, ok, tt.began)
				}
				for range 2 {
					samplers.Upgrade(ctx)
					if got, _ := samplers.FromContext(ctx); got != want {
						t.Errorf("ended %v: after an upgrade: %+v, want %+v", ended, got, want)
					}
				}
				samplers.End(ctx)
				if got, _ := samplers.FromContext(ctx); got != want {
					t.Errorf("ended %v: at the end: %+v, want %+v", ended, got, want)
				}
			}
		})
	}
}

func TestContextWithoutRequest(t *testing.T) {
	if d, ok := samplers.FromContext(t.Context()); ok {
		t.Errorf("got %+v", d)
	}
	samplers.Upgrade(t.Context())
	samplers.End(t.Context())
}

// TestContextDerived: a request passes on what its parent has, reaches all contexts that are
// derived from it, and ends where another begins.
func TestContextDerived(t *testing.T) {
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "value"))
	outer := samplers.ContextWithDecision(parent, throttled)
	derived, stop := context.WithCancel(context.WithoutCancel(outer))
	defer stop()
	inner := samplers.ContextWithDecision(outer, tailed)
	if got := outer.Value(key{}); got != "value" {
		t.Errorf("the parent's value is %v", got)
	}
	samplers.Upgrade(derived)
	if got, _ := samplers.FromContext(outer); got != upgradedFrom(throttled) {
		t.Errorf("outer: %+v", got)
	}
	if got, _ := samplers.FromContext(inner); got != tailed {
		t.Errorf("inner: %+v", got)
	}
	cancel()
	if outer.Err() == nil || inner.Err() == nil {
		t.Error("the parent's end does not reach the request")
	}
}

// TestContextConcurrent: whatever others do, each of a kept request's lines is written
// once, and those of a goroutine in their order.
func TestContextConcurrent(t *testing.T) {
	const writers, each = 4, 100
	for _, end := range []struct {
		name string
		call func(*slog.Logger, context.Context)
	}{
		{"error line", func(l *slog.Logger, ctx context.Context) { l.ErrorContext(ctx, "error", "writer", writers) }},
		{"Upgrade", func(_ *slog.Logger, ctx context.Context) { samplers.Upgrade(ctx) }},
		{"End", func(_ *slog.Logger, ctx context.Context) { samplers.End(ctx) }},
	} {
		t.Run(end.name, func(t *testing.T) {
			var out bytes.Buffer
			logger := slog.New(samplers.NewHandler(slog.NewJSONHandler(&out, nil), &samplers.HandlerOptions{
				Upgrade: &samplers.UpgradeOptions{Buffer: 2 * writers * each},
			}))
			ctx := samplers.ContextWithDecision(t.Context(), tailed)
			var wg sync.WaitGroup
			half := make(chan struct{}, writers)
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						if i == each/2 {
							half <- struct{}{}
						}
						logger.InfoContext(ctx, "line", "writer", w, "i", i)
					}
				})
			}
			wg.Go(func() {
				<-half
				end.call(logger, ctx)
			})
			wg.Wait()
			samplers.End(ctx)

			var next [writers]int
			for d := json.NewDecoder(&out); d.More(); {
				var l struct{ Writer, I int }
				if err := d.Decode(&l); err != nil {
					t.Fatal(err)
				}
				if l.Writer == writers {
					continue
				}
				if l.I != next[l.Writer] {
					t.Fatalf("line %d of writer %d comes instead of line %d", l.I, l.Writer, next[l.Writer])
				}
				next[l.Writer]++
			}
			if want := [writers]int{each, each, each, each}; next != want {
				t.Errorf("lines of the writers: %v, want %v", next, want)
			}
		})
	}
}

func TestContextAllocations(t *testing.T) {
	if allocRace {
		t.Skip("the race detector allocates too")
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		r := samplers.ContextWithDecision(ctx, throttled)
		samplers.Upgrade(r)
		_, _ = samplers.FromContext(r)
		samplers.End(r)
	}); n != 1 {
		t.Errorf("a request allocates %v objects, want 1", n)
	}
}

// logBuffer is what a JSON handler has written, without times.
type logBuffer struct{ bytes.Buffer }

func (b *logBuffer) handler() slog.Handler {
	return slog.NewJSONHandler(b, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}

// expect compares the lines that were written since the last call.
func (b *logBuffer) expect(t *testing.T, when string, want ...string) {
	t.Helper()
	var got []string
	for l := range bytes.Lines(b.Bytes()) {
		got = append(got, string(bytes.TrimSpace(l)))
	}
	b.Reset()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: the lines differ (-want +got):\n%s", when, diff)
	}
}

// logged is a line with the attributes of a weight and a reason, after others.
func logged(level, msg, attrs string, weight int, reason string) string {
	return fmt.Sprintf(`{"level":%q,"msg":%q,%s"sample.weight":%d,"sample.reason":%q}`, level, msg, attrs, weight, reason)
}
