package redis_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// TestConnectSlowly: over a slow network a connection comes about, although that takes
// several round trips and a pipeline has the time for little more than one.
func TestConnectSlowly(t *testing.T) {
	p := redistest.NewProxy(t, redistest.Start(t).Addr)
	b := open(t, []string{p.Addr}, redis.Options{BatchTimeout: 500 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	p.Delay(300 * time.Millisecond)
	p.Cut()
	until(t, "an answer over a new connection", func() bool {
		_, err := b.Cache().Lookup(patient(t), []driver.Lookup{{Anchor: "a"}})
		return err == nil
	})
}

// TestConnectUnasked: a connection on which the server does not say who it is is not
// used. go-redis would take the refusal for one of HELLO, and go on.
func TestConnectUnasked(t *testing.T) {
	s := redistest.Start(t)
	b := openURL(t, "redis://"+s.Addr, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
	ctx, c := patient(t), b.Cache()
	if err := keep(ctx, c, "a", "old"); err != nil {
		t.Fatal(err)
	}
	saved(t, s)
	for _, err := range []error{write(ctx, c, "a"), keep(ctx, c, "a", "new")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1100 * time.Millisecond)
	if _, err := find(ctx, c, "a"); err != nil { // it is asked now, and not for a second
		t.Fatal(err)
	}
	s.Kill()
	restart(t, s)
	do(t, s.Addr, "acl", "setuser", "default", "-info")
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got, err := find(ctx, c, "a"); err == nil {
			t.Fatalf("got %q from a server that has not said who it is", got)
		}
	}
}

// TestConnectImpatiently: a caller without time does not make the others believe that a
// Cluster cannot be reached.
func TestConnectImpatiently(t *testing.T) {
	p := redistest.NewProxy(t, redistest.StartCluster(t, 3, 0).Addrs()[0])
	p.Refuse(true)
	b := open(t, []string{p.Addr, "127.0.0.1:1"}, redis.Options{Logger: slog.New(slog.DiscardHandler)})
	p.Refuse(false)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Microsecond)
	defer cancel()
	if _, err := b.Cache().Lookup(ctx, []driver.Lookup{{Anchor: "a"}}); err == nil {
		t.Log("the impatient caller was answered, so this shows nothing")
	}
	if _, err := b.Cache().Lookup(patient(t), []driver.Lookup{{Anchor: "a"}}); err != nil {
		t.Errorf("after an impatient caller: %v", err)
	}
}
