package streams_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/streams"
)

// TestLimits connects more viewers than are allowed, of one key and of all.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t, memory.NewLog(nil), options())
		h := newHandler(t, s, &streams.HandlerOptions{MaxConns: 5, MaxConnsPerKey: 3})
		var clients []*client
		connect := func(key string, status int) {
			t.Helper()
			c := follow(t, h, "/", "Customer", key)
			synctest.Wait()
			if c.status != status {
				t.Errorf("viewer %d: status %d, want %d", len(clients), c.status, status)
			}
			if status == 429 {
				if w := decode(t, c.body.String()); c.header.Get("Retry-After") == "" || w.Error == "" {
					t.Errorf("%v %+v", c.header, w)
				}
				return
			}
			clients = append(clients, c)
		}
		for range 3 {
			connect("a", 200)
		}
		connect("a", 429)
		connect("b", 200)
		connect("b", 200)
		connect("c", 429)
		if c := get(t, h, "/", "Customer", "b"); true {
			synctest.Wait()
			if c.status != 429 {
				t.Errorf("a poll beyond the limit: status %d", c.status)
			}
		}
		clients[0].stop()
		synctest.Wait()
		connect("a", 200)
		connect("a", 429)
		for _, c := range clients {
			c.stop()
		}
		synctest.Wait()
		for i := range 5 {
			connect(fmt.Sprint("key", i), 200)
		}
		connect("a", 429)
	})
}

// TestLimitsReads has a client that comes again and again, which makes no more reads than one
// that stays.
func TestLimitsReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newCountingLog()
		s := newStream(t, log, options())
		h := newHandler(t, s, nil)
		for range 100 {
			c := follow(t, h, "/")
			synctest.Wait()
			c.stop()
			time.Sleep(100 * time.Millisecond)
			s.Append("k", event{})
		}
		if n := log.snapshots.Load(); n > 11 {
			t.Errorf("%d snapshots in 10 s", n)
		}
		time.Sleep(10 * time.Second)
		n := log.snapshots.Load()
		time.Sleep(time.Minute)
		if more := log.snapshots.Load() - n; more != 0 {
			t.Errorf("%d snapshots for nobody", more)
		}
	})
}
