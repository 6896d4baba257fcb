package redis_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

func TestNoticesCluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, 1)
	t.Run("names", func(t *testing.T) { testNotices(t, c.Addrs()) })
	t.Run("slots", func(t *testing.T) { allSlotsAreTold(t, c) })
	t.Run("moves", func(t *testing.T) { movedSlotsAreTold(t, c) })
	t.Run("killed master", func(t *testing.T) { killedMasterIsLost(t, c) })
}

// allSlotsAreTold holds an anchor of each slot.
func allSlotsAreTold(t *testing.T, c *redistest.Cluster) {
	ours, theirs := twoProcesses(t, c.Addrs())
	w := notify(t, ours.Cache())
	anchors := make(map[uint16]string)
	var holds []driver.Hold
	for i := 0; len(anchors) < 16384; i++ {
		anchor := fmt.Sprint("slot ", i)
		if s := slot(theirs.EntryKey(anchor)); anchors[s] == "" {
			anchors[s] = anchor
			holds = append(holds, driver.Hold{Anchor: anchor, Token: "token", TTL: time.Second})
		}
	}
	got, err := theirs.Cache().Hold(patient(t), holds)
	if err != nil || slices.ContainsFunc(got, func(o driver.Outcome) bool { return o != driver.Done }) {
		t.Fatalf("error %v", err)
	}
	w.isCurrent()
	for slot, anchor := range anchors {
		if w.held(anchor) == 0 {
			t.Errorf("a hold in slot %d is not told", slot)
		}
	}
}

// movedSlotsAreTold moves slots to and fro while anchors are held.
func movedSlotsAreTold(t *testing.T, c *redistest.Cluster) {
	ours, theirs := twoProcesses(t, c.Addrs())
	w := notify(t, ours.Cache())
	n := w.holding(theirs.Cache(), func() {
		for i := range 2 {
			if err := c.Reshard(t.Context(), c.Servers[i], c.Servers[1-i], 300); err != nil {
				t.Fatal(err)
			}
			w.isCurrent()
		}
	})
	if w.lostTimes() != 3 {
		t.Errorf("Lost was said %d times in %d holds, want once for each master", w.lostTimes(), n)
	}
}

// killedMasterIsLost replaces a master by its replica.
func killedMasterIsLost(t *testing.T, c *redistest.Cluster) {
	o := redis.Options{Prefix: logPrefix(), Logger: slog.New(slog.DiscardHandler)}
	ours, theirs := open(t, c.Addrs(), o), open(t, c.Addrs(), o)
	w := notify(t, ours.Cache())
	n := w.holding(theirs.Cache(), func() {
		before := w.lostTimes()
		c.Servers[0].Kill()
		killed := time.Now()
		until(t, "Lost", func() bool { return w.lostTimes() > before })
		w.isCurrent()
		masters, err := c.Masters()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(masters, c.Servers[3]) {
			t.Errorf("Current while the slots of the killed master had none, %v after", time.Since(killed))
		}
		t.Logf("Current %v after the master was killed", time.Since(killed))
	})
	if n == 0 {
		t.Error("nothing was held")
	}
	ctx := patient(t)
	if err := reaches(ctx, theirs); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		anchor := fmt.Sprint("afterwards ", i)
		until(t, "a hold", func() bool { return w.hold(ctx, theirs.Cache(), anchor) == nil })
		w.hears(anchor)
	}
}

// TestNoticesSentinel: after a failover the subscription is at the new master.
func TestNoticesSentinel(t *testing.T) {
	s := redistest.StartSentinel(t)
	connect := func(prefix string) *redis.Backend {
		u := &goredis.UniversalOptions{MasterName: s.MasterName, Addrs: s.Addrs()}
		b, err := redis.OpenUniversal(t.Context(), u, &redis.Options{Prefix: prefix, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { b.Close(context.Background()) })
		return b
	}
	prefix := logPrefix()
	ours, theirs := connect(prefix), connect(prefix)
	w := notify(t, ours.Cache())
	for _, fail := range []struct {
		name string
		do   func(master *redistest.Server) error
	}{
		{"a failover", func(*redistest.Server) error { return s.Failover(t.Context()) }},
		{"a failover from a dead master", func(master *redistest.Server) error {
			master.Kill()
			return s.Failover(t.Context())
		}},
	} {
		old, err := s.Master()
		if err != nil {
			t.Fatal(err)
		}
		w.breaks(fail.name, func() {
			if err := fail.do(old); err != nil {
				t.Fatal(err)
			}
		})
		anchor := "after " + fail.name
		until(t, "a hold after "+fail.name, func() bool { return w.hold(t.Context(), theirs.Cache(), anchor) == nil })
		w.hears(anchor)
		w.isCurrent()
	}
}
