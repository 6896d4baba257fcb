package redis_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// TestFullCache: a server that has no memory left and evicts nothing still takes holds,
// releases and returned claims. Fills are refused, and leave nobody waiting.
func TestFullCache(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, []string{s.Addr}, redis.Options{BatchTimeout: countersPatience})
	ctx, c := patient(t), b.Cache()
	if err := keep(ctx, c, "kept", "value"); err != nil {
		t.Fatal(err)
	}
	claim := func(field string) ([]driver.Entry, error) {
		return c.Claim(ctx, []driver.Claim{{Anchor: "a", Field: field, Version: 42, Lease: time.Minute, TTL: time.Hour}})
	}
	for _, field := range []string{"", "f"} {
		if e, err := claim(field); err != nil || !e[0].Claimed {
			t.Fatalf("%+v, error %v", e, err)
		}
	}
	config(t, s.Addr, "maxmemory-policy", "noeviction", "maxmemory", "1")

	if got, err := find(ctx, c, "kept"); err != nil || got != [2]string{"value", "value"} {
		t.Errorf("what was cached: %q, error %v", got, err)
	}
	fills := []driver.Fill{
		{Anchor: "a", Version: 42, Value: []byte("value"), TTL: time.Hour},
		{Anchor: "a", Field: "f", Version: 42, Value: []byte("value"), TTL: time.Hour, Limit: 9},
	}
	if got, err := c.Fill(ctx, fills); got == nil || got[0] != driver.Refused || got[1] != driver.Refused {
		t.Errorf("fills: %v, error %v, want Refused", got, err)
	}
	l, err := c.Lookup(ctx, []driver.Lookup{{Anchor: "a"}, {Anchor: "a", Field: "f"}})
	if err != nil || l[0].Loading || l[1].Loading || l[0].State != driver.Versioned {
		t.Errorf("after the fills: %+v, error %v: somebody would wait", l, err)
	}
	for _, field := range []string{"", "f"} {
		if e, err := claim(field); !errors.Is(err, driver.ErrUnavailable) || e != nil && e[0].Claimed {
			t.Errorf("claim of %q: %+v, error %v, want ErrUnavailable", field, e, err)
		}
	}
	for _, anchor := range []string{"kept", "a", "another"} {
		if err := write(ctx, c, anchor); err != nil {
			t.Errorf("a write of %s: %v", anchor, err)
		}
	}
	if got, err := find(ctx, c, "kept"); err != nil || got != [2]string{} {
		t.Errorf("after the write: %q, error %v", got, err)
	}
	if n := b.Stats().FailedBatches; n != 0 {
		t.Errorf("%d pipelines count as failed", n)
	}
	config(t, s.Addr, "maxmemory", "0")
	works(t, c)
}

// TestFullCacheGraph: for a graph that is a slower cache, nothing else.
func TestFullCacheGraph(t *testing.T) {
	s := redistest.Start(t)
	b := open(t, []string{s.Addr}, redis.Options{BatchTimeout: countersPatience, Logger: slog.New(slog.DiscardHandler)})
	g := openGraph(t, memory.NewStore(nil), b.Cache())
	for _, id := range []string{"ann", "bob"} {
		if err := watchUsers.Create(patient(t), g, &watchUser{ID: graphcache.ID[watchUser](id), Name: "old"}); err != nil {
			t.Fatal(err)
		}
	}
	warm(t, g, "ann")
	config(t, s.Addr, "maxmemory-policy", "noeviction", "maxmemory", "1")
	start := time.Now()
	for i := range 10 {
		want := fmt.Sprint("name ", i)
		rename(t, g, "ann", want)
		if got := userName(t, g, "ann"); got != want {
			t.Errorf("the name is %q, want %q", got, want)
		}
		if got := userName(t, g, "bob"); got != "old" {
			t.Errorf("the name is %q", got)
		}
	}
	if d := time.Since(start); d > 4*time.Second { // a lease lasts 5 s
		t.Errorf("it took %v", d)
	}
	config(t, s.Addr, "maxmemory", "0")
	warm(t, g, "ann")
	if n := g.Stats().Kinds["user"]; n.LostHolds != 0 || n.AbandonedHolds != 0 {
		t.Errorf("%+v", n)
	}
}

// TestEviction: a server that evicts what it likes has lost values, and none that is
// wrong.
func TestEviction(t *testing.T) {
	s := redistest.Start(t, "--maxmemory-policy", "allkeys-lru", "--maxmemory", "6mb")
	b := open(t, []string{s.Addr}, redis.Options{BatchTimeout: countersPatience, Logger: slog.New(slog.DiscardHandler)})
	ctx, c := patient(t), b.Cache()
	const callers, each = 8, 100
	name := func(g, i int) string { return fmt.Sprint(g, "/", i) }
	value := func(g, i int) string { return strings.Repeat(name(g, i)+" ", 1000) }
	var wg sync.WaitGroup
	for g := range callers {
		wg.Go(func() {
			for i := range each {
				anchor := name(g, i)
				for _, field := range []string{"", "f"} {
					e, err := c.Claim(ctx, []driver.Claim{{Anchor: anchor, Field: field, Version: uint64(1 + i), Lease: time.Minute, TTL: time.Hour}})
					if err != nil || e[0].State != driver.Versioned {
						t.Errorf("claim: %+v, error %v", e, err)
						return
					}
					_, err = c.Fill(ctx, []driver.Fill{{Anchor: anchor, Field: field, Version: e[0].Version, Value: []byte(value(g, i)), TTL: time.Hour, Limit: 9}})
					if err != nil {
						t.Errorf("fill: %v", err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	found := 0
	for g := range callers {
		for i := range each {
			got, err := c.Lookup(ctx, []driver.Lookup{{Anchor: name(g, i)}, {Anchor: name(g, i), Field: "f"}})
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range got {
				if e.Value != nil {
					found++
					if string(e.Value) != value(g, i) || e.State != driver.Versioned {
						t.Errorf("%s has the value %.20q", name(g, i), e.Value)
					}
				}
			}
		}
	}
	if found == 0 || found == 2*callers*each {
		t.Errorf("%d of %d values are left", found, 2*callers*each)
	}
	t.Logf("%d of %d values are left", found, 2*callers*each)
}

// TestEvictedHold: a write whose hold was evicted is told, and what was filled meanwhile
// goes.
func TestEvictedHold(t *testing.T) {
	s := redistest.Start(t, "--maxmemory-policy", "allkeys-lru", "--maxmemory", "3mb", "--maxmemory-samples", "64")
	b := open(t, []string{s.Addr}, redis.Options{BatchTimeout: countersPatience, Logger: slog.New(slog.DiscardHandler)})
	store := backendtest.NewFaultyStore(memory.NewStore(nil), nil)
	g := openGraph(t, store, b.Cache())
	other := openGraph(t, store, b.Cache())
	if err := watchUsers.Create(patient(t), g, &watchUser{ID: "ann", Name: "old"}); err != nil {
		t.Fatal(err)
	}
	gate := backendtest.NewGate(backendtest.On("Write"))
	defer gate.Open()
	store.SetHook(gate.Hook)
	done := make(chan error, 1)
	go func() {
		_, err := watchUsers.Update(patient(t), g, "ann", func(u *watchUser) error { u.Name = "new"; return nil })
		done <- err
	}()
	if err := gate.Await(patient(t)); err != nil {
		t.Fatal(err)
	}
	ctx := patient(t)
	held, err := b.Client().Keys(ctx, "*k").Result()
	if err != nil || len(held) == 0 {
		t.Fatalf("held keys %q, error %v", held, err)
	}
	i := 0
	until(t, "eviction", func() bool {
		for range 100 {
			i++
			if err := b.Client().Set(ctx, fmt.Sprint("junk ", i), strings.Repeat("j", 10_000), time.Hour).Err(); err != nil {
				t.Fatal(err)
			}
		}
		return b.Client().Exists(ctx, held...).Val() == 0
	})
	if got := userName(t, other, "ann"); got != "old" { // the write is not acknowledged yet
		t.Errorf("the name is %q", got)
	}
	gate.Open()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := g.Stats().Kinds["user"].LostHolds; n == 0 {
		t.Error("the lost hold was not noticed")
	}
	if got := userName(t, other, "ann"); got != "new" {
		t.Errorf("the name is %q", got)
	}
}
