package redis_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
	"github.com/graphcache/graphcache/internal/within"
)

// BenchmarkLookup compares look-ups of a value of 300 bytes by many callers with plain
// GETs of it, one by one and through go-redis's automatic pipelining.
func BenchmarkLookup(b *testing.B) {
	addr := redistest.Start(b).Addr
	ctx := context.Background()
	backend, err := redis.OpenUniversal(ctx, &goredis.UniversalOptions{Addrs: []string{addr}}, nil)
	if err != nil {
		b.Fatal(err)
	}
	cache := backend.Cache()
	const keys = 1000
	for i := range keys {
		anchor := fmt.Sprint("anchor ", i)
		if _, err := cache.Claim(ctx, []driver.Claim{{Anchor: anchor, Version: 1, Lease: time.Minute, TTL: time.Hour}}); err != nil {
			b.Fatal(err)
		}
		if _, err := cache.Fill(ctx, []driver.Fill{{Anchor: anchor, Version: 1, Value: []byte(strings.Repeat("v", 300)), TTL: time.Hour}}); err != nil {
			b.Fatal(err)
		}
	}
	plain := goredis.NewClient(&goredis.Options{Addr: addr, PoolSize: 64})
	auto, err := plain.AutoPipeline()
	if err != nil {
		b.Fatal(err)
	}
	anchors := make([]string, keys)
	names := make([]string, keys)
	for i := range keys {
		anchors[i] = fmt.Sprint("anchor ", i)
		names[i] = backend.EntryKey(anchors[i])
	}
	for _, callers := range []int{1, 8, 64, 512} {
		for _, way := range []struct {
			name string
			get  func(i int) error
		}{
			{"lookup", func(i int) error {
				ctx := within.New(ctx, 5*time.Second) // as the engine does
				defer ctx.End()
				e, err := cache.Lookup(ctx, []driver.Lookup{{Anchor: anchors[i%keys]}})
				if err == nil && len(e[0].Value) != 300 {
					return fmt.Errorf("%d bytes", len(e[0].Value))
				}
				return err
			}},
			{"auto", func(i int) error { return auto.Get(ctx, names[i%keys]).Err() }},
			{"plain", func(i int) error { return plain.Get(ctx, names[i%keys]).Err() }},
		} {
			b.Run(fmt.Sprintf("%s/%d", way.name, callers), func(b *testing.B) {
				b.ReportAllocs()
				parallel(b, callers, way.get)
			})
		}
	}
}

// parallel lets so many goroutines call f in all b.N times.
func parallel(b *testing.B, callers int, f func(i int) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				if err := f(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
