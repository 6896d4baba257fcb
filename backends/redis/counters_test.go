package redis_test

import (
	"context"
	"errors"
	"fmt"
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

// join asks for a place in the group g of three members, which lives for a minute.
func join(t *testing.T, c driver.Counters, member string) driver.Admission {
	t.Helper()
	got, err := c.Admit(t.Context(), []driver.Admit{{Group: "g", Member: member, Max: 3, Window: time.Minute}})
	if err != nil || got[0].Outcome != driver.Done {
		t.Fatalf("admit: %+v, error %v", got, err)
	}
	return got[0]
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
	check := func(key string, name [2]string) {
		if other, taken := keys[key]; taken {
			t.Fatalf("%q and %q have the same key %q", other, name, key)
		}
		keys[key] = name
	}
	for _, group := range names {
		check(b.GroupKey(group), [2]string{"the group", group})
		for _, member := range names {
			check(b.CounterKey(driver.CounterKey{Group: group, Member: member}), [2]string{group, member})
		}
	}
}

func TestCountersLostExpiry(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	c := b.Counters()
	counter, group := b.CounterKey(driver.CounterKey{Group: "g", Member: "a"}), b.GroupKey("g")
	for name, lose := range map[string][]any{
		"never":             {"persist", ""},
		"in the year 3000":  {"pexpireat", "", 32503680000000},
		"after all numbers": {"pexpireat", "", int64(1) << 62},
	} {
		t.Run(name, func(t *testing.T) {
			before, members := oneMore(t, c, "", 0), join(t, c, name)
			for _, key := range []string{counter, group} {
				lose[1] = key
				if err := b.Client().Do(t.Context(), lose...).Err(); err != nil {
					t.Fatal(err)
				}
			}
			after, again := oneMore(t, c, "", 0), join(t, c, name)
			if after.Count != before.Count+1 || after.Epoch != before.Epoch || again.Members != members.Members {
				t.Errorf("%+v became %+v, and %+v became %+v: want the same windows", before, after, members, again)
			}
			for key, left := range map[string]time.Duration{counter: after.Remaining, group: again.Remaining} {
				if ttl := b.Client().PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Minute || left <= 0 || left > time.Minute {
					t.Errorf("key %q: %v remain and the server says %v, want at most 1m", key, left, ttl)
				}
			}
		})
	}
}

func TestCountersGarbage(t *testing.T) {
	b := open(t, redistest.Addrs(t), redis.Options{})
	c, client := b.Counters(), b.Client()
	counter, group := b.CounterKey(driver.CounterKey{Group: "g", Member: "a"}), b.GroupKey("g")
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
			put(group)
			for want := range 2 {
				if got := join(t, c, fmt.Sprint(want)); !got.Admitted || got.Members != want+1 || got.Remaining > time.Minute {
					t.Errorf("admission %d: %+v, want a new window", want, got)
				}
			}
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

// TestCountersOrder has batches with one key, while other processes make scripts known
// and forgotten.
func TestCountersOrder(t *testing.T) {
	server := redistest.Start(t)
	opts := redis.Options{Prefix: "order:", BatchTimeout: countersPatience}
	b := open(t, []string{server.Addr}, opts)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
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

func TestCountersScriptFlush(t *testing.T) {
	b := open(t, []string{redistest.Start(t).Addr}, redis.Options{})
	c := b.Counters()
	for want := range int64(3) {
		if got := oneMore(t, c, "", 0); got.Count != want+1 {
			t.Errorf("count %d, want %d", got.Count, want+1)
		}
		if got := join(t, c, fmt.Sprint(want)); got.Members != int(want+1) {
			t.Errorf("%d members, want %d", got.Members, want+1)
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
	join(t, c, "a")
	if err := b.Client().Do(t.Context(), "acl", "setuser", "default", "resetkeys", "~*1:g*", "~*{g}*").Err(); err != nil {
		t.Fatal(err)
	}
	increments := []driver.Increment{
		{Key: driver.CounterKey{Group: "h"}, N: 1, Window: time.Minute},
		{Key: driver.CounterKey{Group: "g", Member: "a"}, N: 1, Window: time.Minute},
	}
	counts, err := c.Increment(t.Context(), increments)
	if !errors.Is(err, driver.ErrUnavailable) || len(counts) != 2 || counts[0] != (driver.Count{}) || counts[1].Count != 2 {
		t.Errorf("%+v, error %v; want the first Unknown, a count of 2, and an error", counts, err)
	}
	admissions, err := c.Admit(t.Context(), []driver.Admit{{Group: "h", Max: 1, Window: time.Minute}, {Group: "g", Max: 2, Window: time.Minute}})
	if !errors.Is(err, driver.ErrUnavailable) || len(admissions) != 2 || admissions[0] != (driver.Admission{}) || admissions[1].Members != 2 {
		t.Errorf("%+v, error %v; want the first Unknown, 2 members, and an error", admissions, err)
	}
	counts, err = c.Increment(t.Context(), increments[:1])
	if counts != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("%+v, error %v; want no result and an error", counts, err)
	}
	server.Kill()
	admissions, err = c.Admit(t.Context(), []driver.Admit{{Group: "g", Max: 2, Window: time.Minute}})
	if admissions != nil || !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("without a server: %+v, error %v; want no result and an error", admissions, err)
	}
}
