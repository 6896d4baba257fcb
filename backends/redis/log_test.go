package redis_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

func logPrefix() string { return "log:" + strconv.FormatUint(rand.Uint64(), 36) + ":" }

// openLog returns a backend that waits long for an answer: a machine that is busy is no
// failure.
func openLog(t *testing.T, addrs []string, opts redis.Options) *redis.Backend {
	t.Helper()
	const patience = 20 * time.Second
	opts.BatchTimeout = cmp.Or(opts.BatchTimeout, patience)
	b, err := redis.OpenUniversal(t.Context(), &goredis.UniversalOptions{
		Addrs: addrs, ReadTimeout: patience, WriteTimeout: patience, PoolTimeout: patience, DialTimeout: patience,
	}, &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func testLog(t *testing.T, addrs []string) {
	prefixes := map[driver.Log]string{}
	backendtest.Log(t, backendtest.LogHarness{
		New: func(t *testing.T) driver.Log {
			prefix := logPrefix()
			l := openLog(t, addrs, redis.Options{Prefix: prefix}).Log()
			prefixes[l] = prefix
			return l
		},
		Peer: func(t *testing.T, l driver.Log) driver.Log {
			return openLog(t, addrs, redis.Options{Prefix: prefixes[l]}).Log()
		},
		Wakes: true,
	})
}

func TestLog(t *testing.T) { testLog(t, redistest.Addrs(t)) }

func TestLogCluster(t *testing.T) {
	testLog(t, redistest.StartCluster(t, 3, 0).Addrs())
}

// logTest has a log of its own.
type logTest struct {
	*testing.T
	*redis.Backend
	log    *redis.Log
	number uint64
}

func newLogTest(t *testing.T, addrs []string, opts redis.Options) *logTest {
	opts.Prefix = cmp.Or(opts.Prefix, logPrefix())
	b := openLog(t, addrs, opts)
	return &logTest{T: t, Backend: b, log: b.Log()}
}

// batch returns the next batch of the producer p for the key k.
func (l *logTest) batch(limit int, added, newest int64) driver.LogBatch {
	l.number++
	b := driver.LogBatch{Key: "k", Producer: "p", Number: l.number, Cap: limit, TTL: time.Hour, Added: added}
	for i := range min(added, int64(limit)) {
		b.Entries = append(b.Entries, fmt.Appendf(nil, "entry %d", newest-i))
	}
	return b
}

func (l *logTest) append(batches ...driver.LogBatch) []driver.LogHead {
	l.Helper()
	heads, err := l.log.Append(l.Context(), batches)
	if err != nil {
		l.Fatal(err)
	}
	return heads
}

func (l *logTest) snapshot(key string) driver.LogSnapshot {
	l.Helper()
	s, err := l.log.Snapshot(l.Context(), []string{key})
	if err != nil {
		l.Fatal(err)
	}
	return s[0]
}

func (l *logTest) same(what string, got, want any) {
	l.Helper()
	if diff := gocmp.Diff(want, got); diff != "" {
		l.Errorf("%s differ (-want +got):\n%s", what, diff)
	}
}

// TestLogCaps compares a log whose cap changes from batch to batch with a list.
func TestLogCaps(t *testing.T) {
	addrs := redistest.Addrs(t)
	for _, caps := range [][]int{{1, 2, 3, 5, 7}, {10, 11}, {1, 50, 1000}, {3, 100, 20, 999, 1000}} {
		t.Run(fmt.Sprint(caps), func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 0))
			l := newLogTest(t, addrs, redis.Options{})
			var list []string
			var seq int64
			for range 300 {
				limit := caps[random.IntN(len(caps))]
				added := random.Int64N(int64(2*limit + 1))
				if random.IntN(2) == 0 {
					added = random.Int64N(4)
				}
				seq += added
				b := l.batch(limit, added, seq)
				var next []string
				for _, e := range b.Entries {
					next = append(next, string(e))
				}
				list = append(next, list[:min(len(list), limit-len(next))]...)
				head := l.append(b)[0]
				if head.Position.Seq != seq {
					t.Fatalf("position %d, want %d", head.Position.Seq, seq)
				}
				l.check(list, driver.Position{Epoch: head.Position.Epoch, Seq: random.Int64N(seq + 1)})
				if t.Failed() {
					t.Fatalf("under a cap of %d, %d added", limit, added)
				}
			}
		})
	}
}

// check compares what is read with a list.
func (l *logTest) check(list []string, from driver.Position) {
	l.Helper()
	s := l.snapshot("k")
	got := make([]string, len(s.Entries))
	for i, e := range s.Entries {
		got[i] = string(e)
	}
	if !slices.Equal(got, list) {
		l.Errorf("entries %q, want %q", got, list)
	}
	d, err := l.log.After(l.Context(), []driver.LogAfter{{Key: "k", Position: from}})
	if err != nil {
		l.Fatal(err)
	}
	want := s.After(from)
	if !slices.EqualFunc(d[0].Entries, want.Entries, bytes.Equal) {
		l.Errorf("%d entries %q, want %q", len(d[0].Entries), d[0].Entries, want.Entries)
	}
	d[0].Entries, want.Entries = nil, nil
	l.same("deltas", d[0], want)
	// Fields beyond those of the entries, a head and a producer would pile up.
	fields, err := l.Client().HLen(l.Context(), l.LogKey("k")).Result()
	if most := int64(len(list) + 2); err != nil || fields > most {
		l.Errorf("%d fields, error %v; want %d at the most", fields, err, most)
	}
}

// TestLogProducersBounded has far more producers than are remembered.
func TestLogProducersBounded(t *testing.T) {
	l := newLogTest(t, redistest.Addrs(t), redis.Options{})
	for n := range 5 * driver.LogProducers {
		b := l.batch(10, 1, int64(n+1))
		b.Producer = fmt.Sprint(n)
		l.append(b)
	}
	if fields := l.Client().HLen(t.Context(), l.LogKey("k")).Val(); fields > 11+2*driver.LogProducers {
		t.Errorf("%d fields", fields)
	}
	if s := l.snapshot("k"); s.Head.Total != 5*driver.LogProducers || len(s.Entries) != 10 {
		t.Errorf("%+v", s)
	}
}

// TestLogUnique measures the estimate of distinct members.
func TestLogUnique(t *testing.T) {
	l := newLogTest(t, redistest.Addrs(t), redis.Options{})
	for _, size := range []int{1, 10, 100, 300, 1000, 10_000, 100_000} {
		worst := 0.0
		for run := range 20 {
			b := l.batch(1, 0, 0)
			b.Key = fmt.Sprint(size, " ", run)
			for n := range size {
				b.Members = append(b.Members, fmt.Sprint("member ", run, " ", n))
				if len(b.Members) == driver.MaxLogParts || n == size-1 {
					l.append(b)
					b.Number, b.Members = b.Number+1, nil
				}
			}
			got := l.snapshot(b.Key).Unique
			worst = max(worst, float64(max(got-int64(size), int64(size)-got))/float64(size))
			if size >= 10_000 && run == 4 {
				break
			}
		}
		t.Logf("%6d members: the worst estimate is wrong by %.2f percent", size, 100*worst)
		if worst > 0.05 {
			t.Errorf("%d members: an estimate is wrong by %.1f percent", size, 100*worst)
		}
	}
}

// TestLogMembersLife lets a key outlive its first life by batches without members.
func TestLogMembersLife(t *testing.T) {
	l := newLogTest(t, redistest.Addrs(t), redis.Options{})
	b := l.batch(1, 1, 1)
	b.Members, b.TTL = []string{"a", "b"}, 300*time.Millisecond
	epoch := l.append(b)[0].Position.Epoch
	b = l.batch(1, 1, 2)
	b.TTL = time.Hour
	l.append(b)
	ttl := l.Client().PTTL(t.Context(), l.LogKey("k")).Val()
	if of := l.Client().PTTL(t.Context(), l.LogMembersKey("k", epoch)).Val(); of < ttl-time.Second {
		t.Errorf("the members live for %v, the log for %v", of, ttl)
	}
	if s := l.snapshot("k"); s.Unique != 2 {
		t.Errorf("%d unique, want 2", s.Unique)
	}
	// Another process, which does not know the epoch.
	peer := newLogTest(t, []string{l.Client().(*goredis.Client).Options().Addr}, redis.Options{Prefix: strings.TrimSuffix(l.LogKey(""), "{}l")})
	if s := peer.snapshot("k"); s.Unique != 2 {
		t.Errorf("%d unique for a peer, want 2", s.Unique)
	}
	l.Client().Del(t.Context(), l.LogKey("k"))
	b = l.batch(1, 1, 1)
	b.Members = []string{"c"}
	l.append(b)
	for _, reader := range []*logTest{l, peer, peer} {
		if s := reader.snapshot("k"); s.Unique != 1 {
			t.Errorf("%d unique in a new epoch, want 1", s.Unique)
		}
	}
}

// TestLogLarge has batches of many megabytes in one call.
func TestLogLarge(t *testing.T) {
	l := newLogTest(t, redistest.Addrs(t), redis.Options{})
	var batches []driver.LogBatch
	for n := range 40 {
		b := l.batch(10, 10, 10)
		b.Key = fmt.Sprint(n)
		for i := range b.Entries {
			b.Entries[i] = append(make([]byte, driver.MaxLogEntry-8), fmt.Sprintf("%4d%4d", n, i)...)
		}
		batches = append(batches, b)
	}
	l.append(batches...)
	for n, b := range batches {
		if !slices.EqualFunc(l.snapshot(b.Key).Entries, b.Entries, bytes.Equal) {
			t.Errorf("the entries of key %d differ", n)
		}
	}
}
