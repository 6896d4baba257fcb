package samplers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/samplers"
)

func containsAll(s string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// TestDecideAllocates counts what a throttled decision allocates: nothing.
func TestDecideAllocates(t *testing.T) {
	for name, tail := range map[string]float64{"no tail": 0, "tail": 0.5} {
		s, ctx := newSampler(t, memory.NewCounters(nil), &samplers.Options{Tail: tail, Timeout: time.Minute}), t.Context()
		k := samplers.Key{Tenant: "customer-1234", Op: "GET /v1/users/{id}"}
		decide := func() { s.Decide(ctx, k) }
		for range 6 {
			decide()
		}
		if got := testing.AllocsPerRun(1000, decide); got != 0 {
			t.Errorf("%s: %v allocations, want none", name, got)
		}
	}
}
