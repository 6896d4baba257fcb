package redis_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// scanAll returns how often each fragment is returned.
func scanAll(t *testing.T, c *redis.Cache, prefix string, count int) map[driver.Lookup]int {
	t.Helper()
	seen := map[driver.Lookup]int{}
	for cursor := ""; ; {
		found, next, err := c.Scan(t.Context(), prefix, cursor, count)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range found {
			seen[l]++
		}
		if cursor = next; next == "" {
			return seen
		}
	}
}

// TestScanForeign: what else is on the server is passed over.
func TestScanForeign(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	other := open(t, redistest.Addrs(t), redis.Options{})
	c, ctx := b.Cache(), t.Context()
	for _, cache := range []*redis.Cache{c, other.Cache()} {
		if err := keep(ctx, cache, "a", "value"); err != nil {
			t.Fatal(err)
		}
	}
	key := b.EntryKey("a")
	prefix, _, _ := strings.Cut(key, "{")
	var errs []error
	for _, k := range []string{"{b}x", "{b", "b", "{%G0}k", "{%7}k", "{%}k", "{b}", "{b}kk"} {
		errs = append(errs, b.Client().Set(ctx, prefix+k, "v", time.Minute).Err())
	}
	errs = append(errs, b.Client().Set(ctx, prefix+"{string}h", "v", time.Minute).Err())
	errs = append(errs, b.Client().LPush(ctx, prefix+"{list}k", "v").Err())
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	seen := scanAll(t, c, "", 100)
	for l := range seen {
		if l.Anchor != "a" && l.Anchor != "list" {
			t.Errorf("%q is returned", l)
		}
	}
	if seen[driver.Lookup{Anchor: "a"}] == 0 {
		t.Errorf("%v is returned, and the value is not among it", seen)
	}
	for _, cursor := range []string{"x", " ", " x", "7", "a -1"} {
		if _, _, err := c.Scan(ctx, "", cursor, 1); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("cursor %q: error %v", cursor, err)
		}
	}
}

// TestScanReshard: a walk through a Cluster from which a master loses slots comes to an
// end, and finds what stays where it is.
func TestScanReshard(t *testing.T) {
	cluster := redistest.StartCluster(t, 3, 0)
	b := open(t, cluster.Addrs(), redis.Options{})
	const n = 300
	for i := range n {
		if err := keep(t.Context(), b.Cache(), fmt.Sprint("a", i), "value"); err != nil {
			t.Fatal(err)
		}
	}
	all := scanAll(t, b.Cache(), "a", 10)
	if len(all) < n {
		t.Errorf("%d fragments are returned, want %d", len(all), n)
	}
	masters, err := cluster.Masters()
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Reshard(t.Context(), masters[0], masters[1], 200); err != nil {
		t.Fatal(err)
	}
	if all := scanAll(t, b.Cache(), "a", 10); len(all) < n {
		t.Errorf("after a move of slots %d fragments are returned, want %d", len(all), n)
	}
}

// TestScanACL: what a user needs besides to walk through the cache.
func TestScanACL(t *testing.T) {
	s := redistest.Start(t)
	admin := goredis.NewClient(&goredis.Options{Addr: s.Addr})
	defer admin.Close()
	for _, test := range []struct {
		commands []any
		ok       bool
	}{{[]any{"+scan", "+hlen", "+hkeys", "+hscan"}, true}, {nil, false}} {
		setUser(t, admin, append(aclRules("gc:", "hlen", "hkeys"), append(test.commands, "+hset")...))
		b := openURL(t, "redis://app:secret@"+s.Addr, &redis.Options{})
		if err := admin.HSet(t.Context(), b.HashKey("a"), "f", "v").Err(); err != nil {
			t.Fatal(err)
		}
		_, _, err := b.Cache().Scan(t.Context(), "", "", 1000)
		if (err == nil) != test.ok {
			t.Errorf("with %v: error %v", test.commands, err)
		}
		b.Close(t.Context())
	}
}
