package redis_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// wakes is a subscription of a test.
type wakes struct {
	*testing.T
	next func() ([]string, error, bool)
}

// listen returns a subscription that stands.
func (l *logTest) listen(ctx context.Context) *wakes {
	l.Helper()
	next, stop := iter.Pull2(l.log.Wakes(ctx))
	l.Cleanup(stop)
	w := &wakes{l.T, next}
	w.hears(nil)
	return w
}

// hears checks the next wake-up.
func (w *wakes) hears(want []string) {
	w.Helper()
	keys, err, ok := w.next()
	slices.Sort(keys)
	if err != nil || !ok || !slices.Equal(keys, want) || (keys == nil) != (want == nil) {
		w.Fatalf("heard %q, error %v, more %t; want %q", keys, err, ok, want)
	}
}

func TestLogWakesProcesses(t *testing.T) {
	for name, addrs := range map[string][]string{
		"server": redistest.Addrs(t), "cluster": redistest.StartCluster(t, 3, 0).Addrs(),
	} {
		t.Run(name, func(t *testing.T) {
			prefix := logPrefix()
			l := newLogTest(t, addrs, redis.Options{Prefix: prefix})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			var all []*wakes
			for range 5 {
				all = append(all, newLogTest(t, addrs, redis.Options{Prefix: prefix}).listen(ctx))
			}
			if err := newLogTest(t, addrs, redis.Options{}).log.Wake(ctx, []string{"of others"}); err != nil {
				t.Fatal(err)
			}
			if err := l.log.Wake(ctx, []string{"a", "", "\x00{b}"}); err != nil {
				t.Fatal(err)
			}
			for _, w := range all {
				w.hears([]string{"", "\x00{b}", "a"})
			}
		})
	}
}

func TestLogWakesReconnect(t *testing.T) {
	server := redistest.Addrs(t)[0]
	proxy := redistest.NewProxy(t, server)
	prefix := logPrefix()
	direct := newLogTest(t, []string{server}, redis.Options{Prefix: prefix})
	l := newLogTest(t, []string{proxy.Addr}, redis.Options{Prefix: prefix})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w := l.listen(ctx)
	wake := func() {
		t.Helper()
		if err := direct.log.Wake(ctx, []string{"a"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, fail := range []struct {
		name string
		do   func()
	}{
		{"a cut", proxy.Cut},
		{"refused connections", func() {
			proxy.Refuse(true)
			time.Sleep(500 * time.Millisecond)
			proxy.Refuse(false)
		}},
		{"a server that does not answer", func() {
			proxy.Hang(true)
			time.AfterFunc(5*time.Second, func() {
				proxy.Cut()
				proxy.Hang(false)
			})
		}},
		{"a server that is gone without a word", func() { proxy.DropReplies(true); time.AfterFunc(time.Second, func() { proxy.DropReplies(false) }) }},
	} {
		wake()
		w.hears([]string{"a"})
		start := time.Now()
		fail.do()
		wake() // which is lost
		w.hears(nil)
		t.Logf("%s: heard after %v", fail.name, time.Since(start).Round(time.Millisecond))
	}
	cancel()
	if keys, err, ok := w.next(); ok {
		t.Errorf("heard %v, error %v after the end", keys, err)
	}
}

func TestLogWakesMalformed(t *testing.T) {
	l := newLogTest(t, redistest.Addrs(t), redis.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w := l.listen(ctx)
	for _, message := range []string{
		"", "a", "x", "k", "k\x01", "k\x05abc", "k\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "k\xff", "k\x01a\xff\x7f",
		redis.WakeMessage(make([]string, driver.MaxLogWake+1)), "k" + strings.Repeat("\x00", driver.MaxLogWake+1),
	} {
		if err := l.Client().Publish(ctx, l.WakesChannel(), message).Err(); err != nil {
			t.Fatal(err)
		}
		w.hears(nil)
	}
	if err := l.log.Wake(ctx, []string{"a"}); err != nil {
		t.Fatal(err)
	}
	w.hears([]string{"a"})
}

// TestLogWakesClosed ends subscriptions from below.
func TestLogWakesClosed(t *testing.T) {
	addr := redistest.Addrs(t)[0]
	for name, end := range map[string]func(*redis.Backend, *goredis.Client) error{
		"backend": func(b *redis.Backend, _ *goredis.Client) error { return b.Close(context.Background()) },
		"client":  func(_ *redis.Backend, c *goredis.Client) error { return c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			client := goredis.NewClient(&goredis.Options{Addr: addr})
			defer client.Close()
			b, err := redis.New(t.Context(), client, &redis.Options{Prefix: logPrefix()})
			if err != nil {
				t.Fatal(err)
			}
			l := &logTest{T: t, Backend: b, log: b.Log()}
			w := l.listen(t.Context())
			if err := end(b, client); err != nil {
				t.Fatal(err)
			}
			if keys, err, _ := w.next(); !errors.Is(err, driver.ErrUnavailable) {
				t.Errorf("heard %v, error %v; want one that wraps ErrUnavailable", keys, err)
			}
			if keys, err, ok := w.next(); ok {
				t.Errorf("heard %v, error %v after the error", keys, err)
			}
		})
	}
}

func TestLogWakesForbidden(t *testing.T) {
	server := redistest.Start(t)
	l := newLogTest(t, []string{server.Addr}, redis.Options{})
	if _, err := server.CLI("ACL", "SETUSER", "default", "resetchannels"); err != nil {
		t.Fatal(err)
	}
	for keys, err := range l.log.Wakes(t.Context()) {
		if !errors.Is(err, driver.ErrUnavailable) {
			t.Errorf("heard %v, error %v; want one that wraps ErrUnavailable", keys, err)
		}
	}
	if err := l.log.Wake(t.Context(), []string{"a"}); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("error %v, want one that wraps ErrUnavailable", err)
	}
}

func FuzzLogWake(f *testing.F) {
	for _, message := range []string{"", "a", "k", redis.WakeMessage([]string{"a", "", strings.Repeat("b", 200)})} {
		f.Add(message)
	}
	f.Fuzz(func(t *testing.T, message string) {
		keys := redis.ParseWake(message)
		if len(keys) > driver.MaxLogWake {
			t.Errorf("%d keys", len(keys))
		}
		if len(keys) > 0 && !slices.Equal(redis.ParseWake(redis.WakeMessage(keys)), keys) {
			t.Errorf("%q does not come back", keys)
		}
	})
}

func FuzzLogParse(f *testing.F) {
	head := "L" + strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x09", 5) + "\x00\x09\x00\x09\x01\x00\x09\x00\x00\x00\x09\x00\x09"
	for _, raw := range []string{
		"", head, "\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01",
		strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x01", 2+driver.LogBuckets),
	} {
		f.Add(raw, int64(1e12))
	}
	f.Fuzz(func(t *testing.T, raw string, now int64) {
		h, types, spark := redis.ParseLog(raw, max(0, now))
		if h.Position.Seq < 0 || h.Total < 0 || h.Outcome == driver.Done && h.Position.Epoch == 0 {
			t.Errorf("%+v", h)
		}
		for _, c := range types {
			if c.Count < 0 {
				t.Errorf("%+v", types)
			}
		}
		for _, n := range spark {
			if n < 0 {
				t.Errorf("%+v", spark)
			}
		}
	})
}

func TestLogWakeMessage(t *testing.T) {
	for _, n := range []int{1, 2, driver.MaxLogWake} {
		var keys []string
		for i := range n {
			keys = append(keys, strings.Repeat(fmt.Sprint(i%10), i*7%(driver.MaxLogKey+1)))
		}
		if got := redis.ParseWake(redis.WakeMessage(keys)); !slices.Equal(got, keys) {
			t.Errorf("%d keys do not come back", n)
		}
	}
	if got := redis.ParseWake("k" + string(binary.AppendUvarint(nil, driver.MaxLogKey+1)) + strings.Repeat("x", driver.MaxLogKey+1)); got != nil {
		t.Error("a key that is too long was read")
	}
}
