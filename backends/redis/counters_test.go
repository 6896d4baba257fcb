package redis_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// countersPatience is the time that a pipeline has on a machine with much else to do.
const countersPatience = 10 * time.Second

func testCounters(t *testing.T, addrs []string) {
	opts := make(map[driver.Counters]redis.Options)
	backends := make(map[driver.Counters]*redis.Backend)
	var mu sync.Mutex // protects both
	add := func(t *testing.T, o redis.Options) driver.Counters {
		b := open(t, addrs, o)
		c := b.Counters()
		mu.Lock()
		defer mu.Unlock()
		opts[c], backends[c] = o, b
		return c
	}
	backendtest.Counters(t, backendtest.CountersHarness{
		New: func(t *testing.T) driver.Counters {
			prefix := fmt.Sprintf("%s:%d:", t.Name(), time.Now().UnixNano())
			return add(t, redis.Options{Prefix: prefix[max(0, len(prefix)-64):], BatchTimeout: countersPatience})
		},
		Peer: func(t *testing.T, c driver.Counters) driver.Counters { return add(t, opts[c]) },
		LoseExpiry: func(t *testing.T, c driver.Counters, key driver.CounterKey) {
			persist(t, backends[c], backends[c].CounterKey(key))
		},
		LoseGroupExpiry: func(t *testing.T, c driver.Counters, group string) {
			persist(t, backends[c], backends[c].GroupKey(group))
		},
	})
}

func TestCounters(t *testing.T) { testCounters(t, redistest.Addrs(t)) }

func TestCountersCluster(t *testing.T) { testCounters(t, redistest.StartCluster(t, 3, 0).Addrs()) }

// persist takes the expiry of a key away.
func persist(t *testing.T, b *redis.Backend, key string) {
	t.Helper()
	if ok, err := b.Client().Persist(t.Context(), key).Result(); err != nil || !ok {
		t.Fatalf("persist %q: %t, error %v", key, ok, err)
	}
}

// oneMore adds one to the counter g, a that lives for a minute.
func oneMore(t *testing.T, c driver.Counters, token string, exact int64) driver.Count {
	t.Helper()
	got, err := c.Increment(t.Context(), []driver.Increment{{
		Key: driver.CounterKey{Group: "g", Member: "a"}, N: 1, Window: time.Minute, Token: token, Exact: exact,
	}})
	if err != nil || got[0].Outcome != driver.Done {
		t.Fatalf("increment: %+v, error %v", got, err)
	}
	return got[0]
}

// join adds one to a member of the group g, which lives for a minute and may open that
// many counters.
func join(t *testing.T, c driver.Counters, member string, members int) driver.Count {
	t.Helper()
	got, err := c.Increment(t.Context(), []driver.Increment{{
		Key: driver.CounterKey{Group: "g", Member: member}, N: 1, Window: time.Minute, Members: members, Other: "other",
	}})
	if err != nil || got[0].Outcome != driver.Done {
		t.Fatalf("increment in a group: %+v, error %v", got, err)
	}
	return got[0]
}

// counterKeys returns the keys of the counters a and other, and that of their group g.
func counterKeys(b *redis.Backend) (counter, other, group string) {
	return b.CounterKey(driver.CounterKey{Group: "g", Member: "a"}), b.CounterKey(driver.CounterKey{Group: "g", Member: "other"}), b.GroupKey("g")
}

func TestCountersKeys(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	names := []string{""} // all of up to three letters
	for first := 0; len(names) < 6+6*6+6*6*6; first++ {
		for _, letter := range []string{"0", "1", ":", "{", "}", "%"} {
			names = append(names, names[first]+letter)
		}
	}
	names = append(names, "%7B", "%7D", "%25", "%257B", "\x00", "\xff", "a", "a:")
	keys := make(map[string][2]string)
	check := func(key, tag string, name [2]string) {
		if _, rest, _ := strings.Cut(key, "{"); tag == "" || !strings.HasPrefix(rest, tag+"}") {
			t.Fatalf("%q has the key %q, want the hash tag %q", name, key, tag)
		}
		if other, taken := keys[key]; taken {
			t.Fatalf("%q and %q have the same key %q", other, name, key)
		}
		keys[key] = name
	}
	for _, group := range names {
		key := b.GroupKey(group)
		tag := key[strings.IndexByte(key, '{')+1 : strings.IndexByte(key, '}')]
		check(key, tag, [2]string{"the group", group})
		for _, member := range names {
			check(b.CounterKey(driver.CounterKey{Group: group, Member: member}), tag, [2]string{group, member})
		}
	}
}

// TestCountersScan: whatever members are called, they are none of the cache's entries.
func TestCountersScan(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{Prefix: fmt.Sprint("scan", time.Now().UnixNano())})
	var batch []driver.Increment
	for _, name := range []string{"", "k", "h", "}k", "}h", "{}k", "{a}h", "a}k", "%7Dk", "{", "}"} {
		batch = append(batch, driver.Increment{
			Key: driver.CounterKey{Group: name, Member: name}, N: 1, Window: time.Minute, Members: 1, Other: name + "}k",
		}, driver.Increment{
			Key: driver.CounterKey{Group: name, Member: "beyond"}, N: 1, Window: time.Minute, Members: 1, Other: name + "}k",
		})
	}
	if _, err := b.Counters().Increment(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	for cursor, more := "", true; more; more = cursor != "" {
		found, next, err := b.Cache().Scan(t.Context(), "", cursor, 100)
		if err != nil || len(found) > 0 {
			t.Fatalf("found %q, error %v; want nothing", found, err)
		}
		cursor = next
	}
}

// TestCountersOpen: an increment of an open counter touches nothing else, and neither does
// one that may open none.
func TestCountersOpen(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	c, client := b.Counters(), b.Client()
	_, other, group := counterKeys(b)
	join(t, c, "a", 1)
	for _, key := range []string{other, group} {
		if err := errors.Join(client.Del(t.Context(), key).Err(), client.RPush(t.Context(), key, "garbage").Err()); err != nil {
			t.Fatal(err)
		}
	}
	if got := join(t, c, "a", 1); got.Count != 2 || got.Other {
		t.Errorf("%+v, want a count of 2", got)
	}
	increments := []driver.Increment{
		{Key: driver.CounterKey{Group: "g", Member: "b"}, Window: time.Minute, Members: 1, Other: "other"},
		{Key: driver.CounterKey{Group: "g", Member: "b"}, N: 1, Window: time.Minute, Members: 1, Other: "other", Epoch: 5},
		{Key: driver.CounterKey{Group: "g", Member: "other"}, Window: time.Minute},
	}
	got, err := c.Increment(t.Context(), increments)
	refused := driver.Count{Outcome: driver.Refused}
	if err != nil || !slices.Equal(got, []driver.Count{refused, refused, refused}) {
		t.Errorf("%+v, error %v; want three times only Refused", got, err)
	}
	for _, key := range []string{other, group} {
		if got := client.Type(t.Context(), key).Val(); got != "list" {
			t.Errorf("under %q there is %s, want what was there", key, got)
		}
	}
}

func TestCountersLostTakesRoomTwice(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	c := b.Counters()
	counter, _, _ := counterKeys(b)
	for n, other := range []bool{false, false, true} {
		if got := join(t, c, "a", 2); got.Other != other || got.Count != 1 {
			t.Errorf("opening %d: %+v, want a count of 1, of Other: %t", n, got, other)
		}
		b.Client().Del(t.Context(), counter)
	}
}

// TestCountersFullMemory has a server that takes nothing more.
func TestCountersFullMemory(t *testing.T) {
	b := open(t, []string{redistest.Start(t).Addr}, redis.Options{})
	c := b.Counters()
	oneMore(t, c, "", 0)
	if err := b.Client().ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	add := driver.Increment{Key: driver.CounterKey{Group: "g", Member: "a"}, N: 1, Window: time.Minute}
	if got, err := c.Increment(t.Context(), []driver.Increment{add}); got != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("%+v, error %v; want ErrUnavailable", got, err)
	}
	read := add
	read.N = 0
	if got, err := c.Increment(t.Context(), []driver.Increment{read}); err != nil || got[0].Count != 1 {
		t.Errorf("read: %+v, error %v; want a count of 1", got, err)
	}
}

func TestCountersLostExpiry(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	c, client := b.Counters(), b.Client()
	counter, other, group := counterKeys(b)
	for name, lose := range map[string][]any{
		"never":             {"persist", ""},
		"in the year 3000":  {"pexpireat", "", 32503680000000},
		"after all numbers": {"pexpireat", "", int64(1) << 62},
	} {
		t.Run(name, func(t *testing.T) {
			client.Del(t.Context(), counter, other, group)
			before, beyond := join(t, c, "a", 1), join(t, c, "b", 1)
			for _, key := range []string{counter, other, group} {
				lose[1] = key
				if err := client.Do(t.Context(), lose...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			read, err := c.Increment(t.Context(), []driver.Increment{{Key: driver.CounterKey{Group: "g", Member: "a"}, Window: time.Minute}})
			if err != nil || read[0].Count != 1 || read[0].Remaining != time.Minute {
				t.Errorf("read: %+v, error %v; want a count of 1, and 1m", read, err)
			}
			if ttl := client.PTTL(t.Context(), counter).Val(); ttl > 0 && ttl <= time.Minute {
				t.Errorf("the server says %v after a read, which changes nothing", ttl)
			}
			after, again := join(t, c, "a", 1), join(t, c, "b", 1)
			if after.Count != 2 || after.Epoch != before.Epoch || again.Count != 2 || again.Epoch != beyond.Epoch || !again.Other {
				t.Errorf("%+v became %+v, and %+v became %+v: want the same windows", before, after, beyond, again)
			}
			for key, left := range map[string]time.Duration{counter: after.Remaining, other: again.Remaining, group: time.Minute} {
				if ttl := client.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Minute || left <= 0 || left > time.Minute {
					t.Errorf("key %q: %v remain and the server says %v, want at most 1m", key, left, ttl)
				}
			}
		})
	}
}

func TestCountersGarbage(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	c, client := b.Counters(), b.Client()
	counter, other, group := counterKeys(b)
	const epoch = "1700000000000000"
	for name, content := range map[string][]any{
		"string":          {"set", "", "garbage"},
		"list":            {"rpush", "", "garbage"},
		"sorted set":      {"zadd", "", 1, "garbage"},
		"stream":          {"xadd", "", "*", "n", "1"},
		"foreign hash":    {"hset", "", "name", "value"},
		"no epoch":        {"hset", "", "n", 7},
		"no count":        {"hset", "", "e", epoch},
		"not numbers":     {"hset", "", "n", "seven", "e", "x"},
		"nothing":         {"hset", "", "n", "", "e", ""},
		"count of 0":      {"hset", "", "n", 0, "e", epoch},
		"negative count":  {"hset", "", "n", -7, "e", epoch},
		"count too great": {"hset", "", "n", "9223372036854775807", "e", epoch},
		"fraction":        {"hset", "", "n", "7.5", "e", epoch},
		"not a number":    {"hset", "", "n", "nan", "e", epoch},
		"infinite":        {"hset", "", "n", "inf", "e", "inf"},
		"negative epoch":  {"hset", "", "n", 7, "e", -7},
		"answer":          {"hset", "", "n", 7, "e", epoch, "ttoken", "garbage"},
		"no number":       {"set", "", "7.5"},
		"nothing opened":  {"set", "", "0"},
		"opened too many": {"set", "", "9223372036854775807"},
	} {
		t.Run(name, func(t *testing.T) {
			put := func(key string) {
				content[1] = key
				if err := errors.Join(client.Del(t.Context(), key).Err(), client.Do(t.Context(), content...).Err()); err != nil {
					t.Fatal(err)
				}
			}
			put(counter)
			got, err := c.Increment(t.Context(), []driver.Increment{{
				Key: driver.CounterKey{Group: "g", Member: "a"}, N: 1, Window: time.Minute, Token: "token", Exact: 5, Epoch: 1,
			}})
			if err != nil || got[0] != (driver.Count{Outcome: driver.Refused}) {
				t.Errorf("in another window: %+v, error %v; want only Refused", got, err)
			}
			put(counter)
			for want := range int64(2) {
				if got := oneMore(t, c, fmt.Sprint("token", want)[:5+want], 5); got.Count != want+1 || got.Epoch == 0 || got.Remaining > time.Minute {
					t.Errorf("increment %d: %+v, want a new window", want, got)
				}
			}
			if name == "answer" {
				return // without the token it is a count of 7
			}
			put(counter)
			read, err := c.Increment(t.Context(), []driver.Increment{{Key: driver.CounterKey{Group: "g", Member: "a"}, Window: time.Minute}})
			if err != nil || read[0] != (driver.Count{Outcome: driver.Refused}) {
				t.Errorf("read: %+v, error %v; want only Refused", read, err)
			}
			for _, key := range []string{counter, other, group} {
				put(key)
			}
			for n, member := range []string{"a", "b", "b"} {
				if got := join(t, c, member, 1); got.Other != (n > 0) || got.Count != int64(max(n, 1)) || got.Remaining > time.Minute {
					t.Errorf("member %s: %+v, want new windows", member, got)
				}
			}
			if ttl := client.PTTL(t.Context(), group).Val(); ttl <= 0 || ttl > time.Minute {
				t.Errorf("the group ends in %v, want at most 1m", ttl)
			}
			client.Del(t.Context(), counter, other, group)
		})
	}
}

// TestCountersLargest has a count at the limit of what a script can count.
func TestCountersLargest(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	c := b.Counters()
	oneMore(t, c, "", 0)
	key := b.CounterKey(driver.CounterKey{Group: "g", Member: "a"})
	if err := b.Client().HSet(t.Context(), key, "n", 1<<53-3).Err(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{1<<53 - 2, 1<<53 - 1, 1 << 53, 1 << 53} {
		if got := oneMore(t, c, "", 0); got.Count != want {
			t.Errorf("count %d, want %d", got.Count, want)
		}
	}
}

func TestCountersMemory(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{Prefix: "gc:"})
	c := b.Counters()
	key := driver.CounterKey{Group: fmt.Sprintf("tenant-%d", time.Now().UnixNano()), Member: "GET /v1/users/:id"}
	for n := range 8 {
		_, err := c.Increment(t.Context(), []driver.Increment{{
			Key: key, N: 1, Window: time.Minute, Token: fmt.Sprintf("%016x", n), Exact: 5,
		}})
		if err != nil {
			t.Fatal(err)
		}
		used, err := b.Client().MemoryUsage(t.Context(), b.CounterKey(key)).Result()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d increments with tokens of 16 bytes, Exact 5: %d bytes, %d of them the key", n+1, used, len(b.CounterKey(key)))
		if used > 500 {
			t.Errorf("%d bytes a counter, want at most 500", used)
		}
	}
}

// forgetful starts a server that other processes make know scripts and forget them, until
// the test ends, and opens a backend there.
func forgetful(t *testing.T) *redis.Backend {
	server := redistest.Start(t)
	opts := redis.Options{Prefix: "order:", BatchTimeout: countersPatience}
	b := open(t, []string{server.Addr}, opts)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			_ = b.Client().ScriptFlush(ctx).Err()
			time.Sleep(200 * time.Microsecond)
		}
	})
	for n := range 4 {
		other := open(t, []string{server.Addr}, opts).Counters()
		wg.Go(func() {
			key := driver.CounterKey{Group: "other", Member: fmt.Sprint(n)}
			for ctx.Err() == nil {
				_, _ = other.Increment(ctx, []driver.Increment{{Key: key, N: 1, Window: time.Minute}})
			}
		})
	}
	return b
}

// TestCountersOrder has batches with one key, while other processes make scripts known
// and forgotten.
func TestCountersOrder(t *testing.T) {
	b := forgetful(t)
	c := b.Counters()
	var last int64
	for round := range 100 {
		batch := make([]driver.Increment, 300)
		for n := range batch {
			batch[n] = driver.Increment{Key: driver.CounterKey{Group: "g", Member: "a"}, N: int64(n + 1), Window: time.Minute}
			if n%3 == 2 {
				batch[n].Key.Member = fmt.Sprint("only ", round, n)
			}
		}
		got, err := c.Increment(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for n := range batch {
			want := int64(n + 1)
			if n%3 != 2 {
				last += batch[n].N
				want = last
			}
			if got[n].Count != want {
				t.Fatalf("round %d: element %d brought the counter to %d, want %d", round, n, got[n].Count, want)
			}
		}
	}
	t.Logf("%+v", b.Stats())
}

// TestCountersOrderGroup is the same for keys that have only the group in common, or
// Other, which counts for some and by itself.
func TestCountersOrderGroup(t *testing.T) {
	b := forgetful(t)
	c := b.Counters()
	const members = 100
	for round := range 100 {
		batch := make([]driver.Increment, 200)
		for n := range batch {
			batch[n] = driver.Increment{
				Key: driver.CounterKey{Group: fmt.Sprint(round), Member: fmt.Sprint(n)}, N: 1, Window: time.Minute, Members: members, Other: "other",
			}
			if n >= members && n%3 == 0 {
				batch[n].Key.Member, batch[n].Members = "other", 0
			}
		}
		got, err := c.Increment(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for n := range batch {
			if count, other := int64(max(1, n-members+1)), n >= members && batch[n].Members > 0; got[n].Count != count || got[n].Other != other {
				t.Fatalf("round %d: element %d brought a counter to %d, that of Other: %t; want %d, %t", round, n, got[n].Count, got[n].Other, count, other)
			}
		}
	}
	t.Logf("%+v", b.Stats())
}

func TestCountersScriptFlush(t *testing.T) {
	b := open(t, []string{redistest.Start(t).Addr}, redis.Options{})
	c := b.Counters()
	for want := range int64(3) {
		if got := oneMore(t, c, "", 0); got.Count != want+1 {
			t.Errorf("count %d, want %d", got.Count, want+1)
		}
		got, err := c.Increment(t.Context(), []driver.Increment{{Key: driver.CounterKey{Group: "g", Member: "a"}, Window: time.Minute}})
		if err != nil || got[0].Count != want+1 {
			t.Errorf("read: %+v, error %v; want a count of %d", got, err, want+1)
		}
		if err := b.Client().ScriptFlush(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.Stats().ScriptLoads; got != 6 {
		t.Errorf("%d calls were sent again with their script, want 6", got)
	}
}

func TestCountersLostReplies(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	b := open(t, []string{proxy.Addr}, redis.Options{})
	c := b.Counters()
	direct := goredis.NewClient(&goredis.Options{Addr: server.Addr})
	defer direct.Close()
	key := driver.CounterKey{Group: "g", Member: "a"}
	// It connects, and makes the script known.
	repeat(t, c, []driver.Increment{{N: 1, Window: time.Minute}})

	for n := range int64(5) {
		lost := []driver.Increment{{Key: key, N: 1, Window: time.Minute, Token: fmt.Sprint(n), Exact: 5}}
		proxy.DropReplies(true)
		got, err := c.Increment(t.Context(), lost)
		if got != nil || !errors.Is(err, driver.ErrUnavailable) {
			t.Fatalf("without a reply: %+v, error %v; want ErrUnavailable", got, err)
		}
		proxy.DropReplies(false)
		if got := direct.HGet(t.Context(), b.CounterKey(key), "n").Val(); got != fmt.Sprint(n+1) {
			t.Fatalf("the count is %q when the reply was lost, want %d", got, n+1)
		}
		got = repeat(t, c, lost)
		if got[0].Outcome != driver.Done || got[0].Count != n+1 {
			t.Errorf("repeated: %+v, want the count of %d", got[0], n+1)
		}
	}
	if got := oneMore(t, c, "another", 5); got.Count != 6 {
		t.Errorf("the next count is %d, want 6", got.Count)
	}
}

// repeat sends the increments until they are answered.
func repeat(t *testing.T, c driver.Counters, increments []driver.Increment) []driver.Count {
	t.Helper()
	for deadline := time.Now().Add(countersPatience); ; time.Sleep(10 * time.Millisecond) {
		got, err := c.Increment(t.Context(), increments)
		if err == nil {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestCountersPart has a server that serves a part of a batch.
func TestCountersPart(t *testing.T) {
	server := redistest.Start(t)
	b := open(t, []string{server.Addr}, redis.Options{})
	c := b.Counters()
	oneMore(t, c, "", 0)
	if err := b.Client().Do(t.Context(), "acl", "setuser", "default", "resetkeys", "~*{1:g}*").Err(); err != nil {
		t.Fatal(err)
	}
	increments := []driver.Increment{
		{Key: driver.CounterKey{Group: "h"}, N: 1, Window: time.Minute},
		{Key: driver.CounterKey{Group: "g", Member: "a"}, N: 1, Window: time.Minute},
		{Key: driver.CounterKey{Group: "h"}, N: 1, Window: time.Minute, Members: 1, Other: "other"},
		{Key: driver.CounterKey{Group: "g", Member: "b"}, N: 1, Window: time.Minute, Members: 1, Other: "other"},
		{Key: driver.CounterKey{Group: "h"}, Window: time.Minute},
	}
	counts, err := c.Increment(t.Context(), increments)
	var got []int64
	for _, count := range counts {
		got = append(got, count.Count)
		if (count.Outcome == driver.Done) != (count.Count > 0) || count.Count == 0 && count != (driver.Count{}) {
			t.Errorf("%+v, want it to be Done or only Unknown", count)
		}
	}
	if !errors.Is(err, driver.ErrUnavailable) || !slices.Equal(got, []int64{0, 2, 0, 1, 0}) {
		t.Errorf("counts %v, error %v; want two of five Done, and an error", got, err)
	}
	counts, err = c.Increment(t.Context(), increments[:1])
	if counts != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("%+v, error %v; want no result and an error", counts, err)
	}
	server.Kill()
	counts, err = c.Increment(t.Context(), increments[1:2])
	if counts != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("without a server: %+v, error %v; want no result and an error", counts, err)
	}
}
