package samplers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/samplers"
)

func BenchmarkDecide(b *testing.B) {
	k := samplers.Key{Tenant: "customer-1234", Op: "GET /v1/users/{id}"}
	throttle := func(b *testing.B, o *samplers.Options) *samplers.Sampler {
		s := newSampler(b, memory.NewCounters(nil), o)
		for range 6 {
			s.Decide(b.Context(), k)
		}
		return s
	}
	b.Run("throttled", func(b *testing.B) {
		s, ctx := throttle(b, nil), b.Context()
		b.ReportAllocs()
		for b.Loop() {
			s.Decide(ctx, k)
		}
	})
	b.Run("throttled/parallel", func(b *testing.B) {
		s, ctx := throttle(b, nil), b.Context()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				s.Decide(ctx, k)
			}
		})
	})
	b.Run("throttled/100000 keys", func(b *testing.B) {
		s, ctx := newSampler(b, memory.NewCounters(nil), nil), b.Context()
		keys := make([]samplers.Key, 100_000)
		for i := range keys {
			keys[i] = samplers.Key{Tenant: fmt.Sprint("customer-", i%2000), Op: fmt.Sprint("GET /v1/users/", i/2000)}
			for range 6 {
				s.Decide(ctx, keys[i])
			}
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			s.Decide(ctx, keys[i])
			if i++; i == len(keys) {
				i = 0
			}
		}
	})
	b.Run("tail", func(b *testing.B) {
		s, ctx := throttle(b, &samplers.Options{Tail: 0.01}), b.Context()
		b.ReportAllocs()
		for b.Loop() {
			s.Decide(ctx, k)
		}
	})
	b.Run("first", func(b *testing.B) {
		s, ctx := newSampler(b, memory.NewCounters(nil), &samplers.Options{Window: 100 * time.Millisecond, FirstN: 1000}), b.Context()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			s.Decide(ctx, samplers.Key{Tenant: k.Tenant, Op: names[i%len(names)]})
		}
	})
}

var names = func() (all [256]string) {
	for i := range all {
		all[i] = fmt.Sprint("operation ", i)
	}
	return
}()
