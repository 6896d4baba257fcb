package redis_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol/replay"
	"github.com/graphcache/graphcache/internal/redistest"
)

var prefixes atomic.Int64

// open returns a backend with keys of its own on the servers at the addresses.
func open(t *testing.T, addrs []string, opts redis.Options) *redis.Backend {
	t.Helper()
	if opts.Prefix == "" {
		opts.Prefix = strings.Join([]string{"test", time.Now().Format("150405.000000000"), string(rune('a' + prefixes.Add(1)%26))}, ":")
	}
	b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{Addrs: addrs}, &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// garble makes the entry of the anchor one that cannot be parsed.
func garble(t *testing.T, b *redis.Backend, anchor string) {
	t.Helper()
	err := b.Client().Set(t.Context(), b.EntryKey(anchor), "V garbage", time.Hour).Err()
	if err != nil {
		t.Fatal(err)
	}
}

func testCache(t *testing.T, addrs []string, opts redis.Options) {
	backends := map[driver.Cache]*redis.Backend{}
	backendtest.Cache(t, backendtest.CacheHarness{
		New: func(t *testing.T) driver.Cache {
			b := open(t, addrs, opts)
			c := b.Cache()
			backends[c] = b
			return c
		},
		Corrupt: func(t *testing.T, c driver.Cache, anchor string) { garble(t, backends[c], anchor) },
	})
}

func TestCache(t *testing.T) {
	testCache(t, redistest.Addrs(t), redis.Options{})
}

func TestCacheCompressed(t *testing.T) {
	testCache(t, redistest.Addrs(t), redis.Options{CompressAbove: 1})
}

func TestCacheCluster(t *testing.T) {
	testCache(t, redistest.StartCluster(t, 3, 1).Addrs(), redis.Options{})
}

func testReplay(t *testing.T, addrs []string) {
	b := open(t, addrs, redis.Options{})
	replay.All(t, replay.Backend{
		Cache: b.Cache(), Pass: time.Sleep, Soon: 300 * time.Millisecond,
		Garble: func(anchor string) { garble(t, b, anchor) },
	})
}

func TestCacheReplay(t *testing.T) { testReplay(t, redistest.Addrs(t)) }

func TestCacheReplayCluster(t *testing.T) {
	testReplay(t, redistest.StartCluster(t, 3, 0).Addrs())
}
