package redis_test

import (
	"encoding/binary"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// stubbed returns a backend on a server within the process, which has a value of 300
// bytes for the anchor "anchor", and a plain client of that server.
func stubbed(t testing.TB) (*redis.Backend, *goredis.Client) {
	t.Helper()
	var stub redistest.Stub
	b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{Addrs: []string{"stub:6379"}, Dialer: stub.Dial}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(t.Context()) })
	entry := binary.BigEndian.AppendUint64([]byte{'V', 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1) // without a stamp, of version 1
	entry = append(entry, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0)                               // not loading; a value, as it is
	stub.Set(b.EntryKey("anchor"), string(entry)+strings.Repeat("v", 300))
	return b, b.Client().(*goredis.Client)
}

// lookupAllocs is what a hit of one anchor allocates, with go-redis's own part of it. It
// is that of go1.26; whoever lowers it lowers the bound.
const lookupAllocs = 12

func TestLookupAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	b, _ := stubbed(t)
	cache, lookups := b.Cache(), []driver.Lookup{{Anchor: "anchor"}}
	got := testing.AllocsPerRun(1000, func() {
		e, err := cache.Lookup(t.Context(), lookups)
		if err != nil || e[0].State != driver.Versioned || len(e[0].Value) != 300 {
			t.Fatalf("%+v, %v", e, err)
		}
	})
	if got > lookupAllocs {
		t.Errorf("%v allocations, the bound is %v", got, lookupAllocs)
	}
}

// BenchmarkOverhead is a look-up without what the server and the network take, beside
// a pipeline of one GET.
func BenchmarkOverhead(b *testing.B) {
	backend, client := stubbed(b)
	b.Run("lookup", func(b *testing.B) {
		cache, lookups := backend.Cache(), []driver.Lookup{{Anchor: "anchor"}}
		b.ReportAllocs()
		for b.Loop() {
			if e, err := cache.Lookup(b.Context(), lookups); err != nil || len(e[0].Value) != 300 {
				b.Fatal(e, err)
			}
		}
	})
	b.Run("pipeline", func(b *testing.B) {
		key := backend.EntryKey("anchor")
		b.ReportAllocs()
		for b.Loop() {
			p := client.Pipeline()
			cmd := p.Get(b.Context(), key)
			if _, err := p.Exec(b.Context()); err != nil || len(cmd.Val()) < 300 {
				b.Fatal(err)
			}
		}
	})
}
