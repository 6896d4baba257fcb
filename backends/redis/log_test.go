package redis_test

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

func testLog(t *testing.T, addrs []string) {
	prefixes := map[driver.Log]string{}
	backendtest.Log(t, backendtest.LogHarness{
		New: func(t *testing.T) driver.Log {
			prefix := newPrefix()
			l := open(t, addrs, redis.Options{Prefix: prefix}).Log()
			prefixes[l] = prefix
			return l
		},
		Peer: func(t *testing.T, l driver.Log) driver.Log {
			return open(t, addrs, redis.Options{Prefix: prefixes[l]}).Log()
		},
		Wakes: true,
	})
}

func TestLog(t *testing.T) { testLog(t, redistest.Addrs(t)) }

func TestLogCluster(t *testing.T) {
	testLog(t, redistest.StartCluster(t, 3, 0).Addrs())
}

func newPrefix() string { return "log:" + strconv.FormatUint(rand.Uint64(), 36) + ":" }
