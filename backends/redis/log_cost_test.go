package redis_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// TestLogCost prints what a log of 50 entries of 200 bytes takes, and what it costs the
// server to tell how far it is.
func TestLogCost(t *testing.T) {
	server := redistest.Start(t)
	l := newLogTest(t, []string{server.Addr}, redis.Options{})
	b := l.batch(50, 50, 50)
	for i := range b.Entries {
		b.Entries[i] = []byte(strings.Repeat("x", 200))
	}
	memory := func(what string) {
		n, err := l.Client().MemoryUsage(t.Context(), l.LogKey("k"), 0).Result()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes", what, n)
		if n > 32<<10 {
			t.Errorf("%s: %d bytes", what, n)
		}
	}
	l.append(b)
	memory("50 entries of 200 bytes")
	more := l.batch(50, 0, 0)
	for n := range 10 {
		more.Types = append(more.Types, driver.LogCount{Type: fmt.Sprint("type ", n), Count: 5})
	}
	more.Bucket, more.Times = time.Second, []driver.LogTime{{Time: time.Now(), Count: 50}}
	l.append(more)
	memory("with 10 types and a sparkline")
	position := l.append(l.batch(50, 0, 0))[0].Position

	const rounds, keys = 20, 100
	names := slices.Repeat([]string{"k"}, keys)
	reads := slices.Repeat([]driver.LogAfter{{Key: "k", Position: position}}, keys)
	all := slices.Repeat([]driver.LogAfter{{Key: "k"}}, keys)
	one := l.batch(50, 1, 1)
	one.Entries[0] = b.Entries[0]
	full := more
	full.Added, full.Entries, full.Cap = 50, b.Entries, 50
	cost := map[string]float64{}
	for _, c := range []struct {
		name string
		n    int
		call func() error
	}{
		{"Heads", keys, func() error { _, err := l.log.Heads(t.Context(), names); return err }},
		{"After, nothing new", keys, func() error { _, err := l.log.After(t.Context(), reads); return err }},
		{"After, all 50", keys, func() error { _, err := l.log.After(t.Context(), all); return err }},
		{"Snapshot", keys, func() error { _, err := l.log.Snapshot(t.Context(), names); return err }},
		{"Append of 1 entry", keys, l.appending(one, keys)},
		{"Append of 50, types, times", keys, l.appending(full, keys)},
	} {
		if err := c.call(); err != nil { // loads the script
			t.Fatal(err)
		}
		before := processor(t, l.Client())
		start := time.Now()
		for range rounds {
			if err := c.call(); err != nil {
				t.Fatal(err)
			}
		}
		took := processor(t, l.Client()) - before
		cost[c.name] = took.Seconds() * 1e6 / float64(rounds*c.n)
		t.Logf("%-28s %6.1f us of the server's processor, %6.1f us in all", c.name, cost[c.name], time.Since(start).Seconds()*1e6/float64(rounds*c.n))
	}
	if cost["Heads"]*3 > cost["Snapshot"] {
		t.Errorf("Heads costs %.1f us, Snapshot %.1f us", cost["Heads"], cost["Snapshot"])
	}
}

// appending returns a function that appends the next batch to each of so many keys.
func (l *logTest) appending(b driver.LogBatch, keys int) func() error {
	return func() error {
		batches := make([]driver.LogBatch, keys)
		for i := range batches {
			l.number++
			b.Key, b.Number = fmt.Sprint(i), l.number
			batches[i] = b
		}
		_, err := l.log.Append(l.Context(), batches)
		return err
	}
}

// processor returns the processor time that the server has used.
func processor(t *testing.T, c goredis.UniversalClient) time.Duration {
	t.Helper()
	text, err := c.Info(t.Context(), "cpu").Result()
	if err != nil {
		t.Fatal(err)
	}
	var sum time.Duration
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_sys" || name == "used_cpu_user" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += time.Duration(seconds * 1e9)
		}
	}
	return sum
}
