package redis_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// What the user of a backend must be allowed to do with the keys and the channels that
// start with the prefix. Sentinels have users of their own.
var (
	// sentCommands are those that a backend sends.
	sentCommands = []string{"info", "get", "getrange", "hget", "evalsha", "eval", "pfcount", "publish", "subscribe", "ping"}
	// scriptCommands are those that scripts call.
	scriptCommands = []string{
		"time", "get", "set", "del", "unlink", "pexpire", "pttl", "hget", "hset", "hdel", "hmget", "hkeys", "hlen", "pfadd", "publish",
		"pubsub|numsub",
	}
	// clusterCommands are needed in a Cluster besides.
	clusterCommands = []string{"cluster|slots", "command"}
)

// aclRules are those of a user who may do no more than a backend needs, without those
// commands.
func aclRules(prefix string, without ...string) []any {
	rules := []any{"reset", "on", ">secret", "~" + prefix + "*", "&" + prefix + "*"}
	for _, c := range slices.Concat(sentCommands, scriptCommands, clusterCommands) {
		if !slices.Contains(without, c) {
			rules = append(rules, "+"+c)
		}
	}
	return rules
}

// setUser makes the user app of the server.
func setUser(t *testing.T, admin goredis.UniversalClient, rules []any) {
	t.Helper()
	if err := admin.Do(t.Context(), append([]any{"acl", "setuser", "app"}, rules...)...).Err(); err != nil {
		t.Fatal(err)
	}
}

// denials returns what the server has refused since it was asked last, as command or key.
func denials(t *testing.T, admin *goredis.Client) []string {
	t.Helper()
	log, err := admin.ACLLog(t.Context(), 100).Result()
	if err == nil {
		err = admin.ACLLogReset(t.Context()).Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range log {
		switch {
		case e.Reason == "command" && (e.Object == "config|get" || strings.HasPrefix(e.Object, "client|")):
			// A courtesy to the server, or to the operator.
		default:
			all = append(all, e.Reason+" "+e.Object)
		}
	}
	return all
}

// useAll does everything that a backend can do, and returns what goes wrong.
func useAll(ctx context.Context, b *redis.Backend) error {
	c, l := b.Cache(), b.Log()
	// A long subscription is the last word: it comes, or it is refused.
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var errs []error
	add := func(_ any, err error) { errs = append(errs, err) }
	add(nil, keep(ctx, c, "a", "value"))
	add(c.Lookup(ctx, []driver.Lookup{{Anchor: "a"}, {Anchor: "a", Field: "field"}}))
	add(c.Claim(ctx, []driver.Claim{{Anchor: "b", Version: 1, Lease: time.Minute, TTL: time.Hour}}))
	add(c.Claim(ctx, []driver.Claim{{Anchor: "b", Field: "f", Version: 2, Lease: time.Minute, TTL: time.Hour}}))
	add(c.Fill(ctx, []driver.Fill{{Anchor: "b", Version: 1}, {Anchor: "b", Field: "f", Version: 1}}))
	add(nil, write(ctx, c, "a"))
	add(c.Hold(ctx, []driver.Hold{{Anchor: "a", Token: "t", TTL: time.Minute}}))
	add(c.Lookup(ctx, []driver.Lookup{{Anchor: "a"}}))
	add(nil, keep(ctx, c, "c", "value"))
	add(nil, write(ctx, c, "c"))
	add(nil, keep(ctx, c, "c", "value")) // over the dead hash
	key := driver.CounterKey{Group: "g", Member: "m"}
	add(b.Counters().Increment(ctx, []driver.Increment{{Key: key, N: 1, Window: time.Minute, Token: "t", Exact: 3}}))
	add(b.Counters().Increment(ctx, []driver.Increment{
		{Key: driver.CounterKey{Group: "g", Member: "first"}, N: 1, Window: time.Minute, Members: 1, Other: "other"},
		{Key: driver.CounterKey{Group: "g", Member: "second"}, N: 1, Window: time.Minute, Members: 1, Other: "other"},
		{Key: key, Window: time.Minute},
	}))
	add(l.Append(ctx, []driver.LogBatch{{
		Key: "l", Producer: "p", Number: 1, Cap: 2, TTL: time.Minute, Added: 1, Entries: [][]byte{{1}},
		Types: []driver.LogCount{{Type: "t", Count: 1}}, Members: []string{"m"},
		Bucket: time.Second, Times: []driver.LogTime{{Time: time.Now(), Count: 1}},
	}}))
	add(l.Snapshot(ctx, []string{"l"}))
	add(l.Heads(ctx, []string{"l"}))
	add(l.After(ctx, []driver.LogAfter{{Key: "l"}}))
	add(nil, current(ctx, c))
	for _, err := range l.Wakes(ctx) {
		add(nil, err)
		add(nil, l.Wake(ctx, []string{"l"}))
		break
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// TestACL: the commands above are those that a backend needs, no more and no less.
func TestACL(t *testing.T) {
	s := redistest.Start(t)
	admin := goredis.NewClient(&goredis.Options{Addr: s.Addr})
	defer admin.Close()
	try := func(t *testing.T, without ...string) ([]string, error) {
		setUser(t, admin, aclRules("gc:", without...))
		admin.FlushAll(t.Context())
		admin.ScriptFlush(t.Context())
		denials(t, admin)
		b := openURL(t, "redis://app:secret@"+s.Addr, &redis.Options{Logger: slog.New(slog.DiscardHandler)})
		err := useAll(t.Context(), b)
		b.Close(t.Context())
		return denials(t, admin), err
	}
	if denied, err := try(t); len(denied) > 0 || err != nil {
		t.Errorf("with all of them: %q is denied, error %v", denied, err)
	}
	for _, c := range sentCommands {
		if c == "ping" || c == "subscribe" || slices.Contains(scriptCommands, c) {
			continue // a subscription sends a ping when it has heard nothing for a while
		}
		if denied, _ := try(t, c); !slices.Contains(denied, "command "+c) {
			t.Errorf("without %s nothing of it is missing: %q", c, denied)
		}
	}
}

// TestACLScripts compares the list with the scripts.
func TestACLScripts(t *testing.T) {
	files, err := filepath.Glob("*.lua")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts, error %v", len(files), err)
	}
	called := make(map[string]bool)
	command := regexp.MustCompile(`redis\.p?call\('([A-Z]+)'(?:, '([A-Z]+)')?`)
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found := command.FindAllSubmatch(text, -1)
		for _, m := range found {
			name := string(m[1])
			if len(m[2]) > 0 {
				name += "|" + string(m[2])
			}
			called[strings.ToLower(name)] = true
		}
		if all := strings.Count(string(text), "redis.call(") + strings.Count(string(text), "redis.pcall("); all != len(found) {
			t.Errorf("%s calls %d commands, of which %d are in plain words", name, all, len(found))
		}
	}
	for _, c := range scriptCommands {
		if !called[c] {
			t.Errorf("no script calls %s", c)
		}
		delete(called, c)
	}
	if len(called) > 0 {
		t.Errorf("scripts call %v, which are not in the list", called)
	}
}

// Example_acl prints the command by which the user of a backend is made.
func Example_acl() {
	rules := aclRules("gc:")
	fmt.Print("ACL SETUSER app")
	for _, r := range rules {
		fmt.Print(" ", r)
	}
	fmt.Println()
	// Output:
	// ACL SETUSER app reset on >secret ~gc:* &gc:* +info +get +getrange +hget +evalsha +eval +pfcount +publish +subscribe +ping +time +get +set +del +unlink +pexpire +pttl +hget +hset +hdel +hmget +hkeys +hlen +pfadd +publish +pubsub|numsub +cluster|slots +command
}
