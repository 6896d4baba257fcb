package redis_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// dropMembers is a hook that loses the pipelines which bring members.
type dropMembers struct{ on atomic.Bool }

func (d *dropMembers) DialHook(next goredis.DialHook) goredis.DialHook          { return next }
func (d *dropMembers) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }
func (d *dropMembers) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		for _, c := range cmds {
			if key, ok := c.Args()[min(3, len(c.Args())-1)].(string); ok && d.on.Load() && redis.IsMembersKey(key) {
				for _, c := range cmds {
					c.SetErr(errors.New("lost"))
				}
				return cmds[0].Err()
			}
		}
		return next(ctx, cmds)
	}
}

func TestLogMembersLost(t *testing.T) {
	l := newLogTest(t, redistest.Addrs(t), redis.Options{})
	drop := &dropMembers{}
	l.Client().AddHook(drop)
	b, plain := l.batch(5, 1, 1), l.batch(5, 1, 1)
	b.Members, plain.Key = []string{"a", "b"}, "other"
	drop.on.Store(true)
	heads, err := l.log.Append(t.Context(), []driver.LogBatch{b, plain})
	if !errors.Is(err, driver.ErrUnavailable) || len(heads) != 2 || heads[0] != (driver.LogHead{}) || heads[1].Outcome != driver.Done {
		t.Fatalf("%+v, error %v; want the first unknown and the second done", heads, err)
	}
	drop.on.Store(false)
	l.append(b)
	if s := l.snapshot("k"); s.Unique != 2 || s.Head.Position.Seq != 1 {
		t.Errorf("%d unique at position %d after a repetition, want 2 at 1", s.Unique, s.Head.Position.Seq)
	}
}

// TestLogDroppedReplies repeats batches until they are answered, while answers get lost.
func TestLogDroppedReplies(t *testing.T) {
	server := redistest.Addrs(t)[0]
	proxy := redistest.NewProxy(t, server)
	l := newLogTest(t, []string{proxy.Addr}, redis.Options{BatchTimeout: 30 * time.Millisecond})
	stop := make(chan struct{})
	var dropper sync.WaitGroup
	dropper.Go(func() {
		for on := true; ; on = !on {
			select {
			case <-stop:
				proxy.DropReplies(false)
				return
			case <-time.After(time.Duration(1+rand.IntN(8)) * time.Millisecond):
				proxy.DropReplies(on)
			}
		}
	})
	var added, repeated int64
	const batches = 200
	for n := range int64(batches) {
		b := l.batch(50, n%7, added+n%7)
		b.Counted, b.Members = 1, []string{fmt.Sprint("m", n)}
		b.Types = []driver.LogCount{{Type: "a", Count: 1}}
		added += b.Added
		other := b
		other.Key = "k2"
		todo := []driver.LogBatch{b, other, b}
		for try := 0; len(todo) > 0; try++ {
			if try > 1000 {
				t.Fatal("no batch gets through")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 25*time.Millisecond)
			heads, err := l.log.Append(ctx, todo)
			cancel()
			if err != nil {
				repeated++
				time.Sleep(5 * time.Millisecond)
			}
			var rest []driver.LogBatch
			for i := range todo {
				if heads == nil || heads[i].Outcome != driver.Done {
					rest = append(rest, todo[i])
				}
			}
			todo = rest
		}
	}
	close(stop)
	dropper.Wait()
	direct := newLogTest(t, []string{server}, redis.Options{Prefix: strings.TrimSuffix(l.LogKey(""), "{}l")})
	for _, key := range []string{"k", "k2"} {
		s := direct.snapshot(key)
		if s.Head.Position.Seq != added || s.Head.Total != added+batches || s.Types[0].Count != batches {
			t.Errorf("%s: %+v, want position %d and %d counted", key, s.Head, added, batches)
		}
		if s.Unique < batches*95/100 || s.Unique > batches*105/100 {
			t.Errorf("%s: %d unique, want %d", key, s.Unique, batches)
		}
	}
	t.Logf("%d calls failed", repeated)
	if repeated < 5 {
		t.Error("too few to say anything")
	}
}

// TestLogScriptFlush lets the server forget its scripts while calls that have a key
// several times are under way.
func TestLogScriptFlush(t *testing.T) {
	addrs := redistest.Addrs(t)
	stop := make(chan struct{})
	var others sync.WaitGroup
	flusher := newLogTest(t, addrs, redis.Options{})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				flusher.Client().ScriptFlush(context.Background())
			}
		}
	})
	loader := newLogTest(t, addrs, redis.Options{})
	others.Go(func() {
		for n := uint64(1); ; n++ {
			select {
			case <-stop:
				return
			default:
				_, _ = loader.log.Append(context.Background(), []driver.LogBatch{{Key: "x", Producer: "x", Number: n, Cap: 1, TTL: time.Hour}})
			}
		}
	})
	l := newLogTest(t, addrs, redis.Options{})
	var seq int64
	for range 100 {
		var batches []driver.LogBatch
		var want []int64
		for range 6 {
			seq++
			b := l.batch(10, 1, seq)
			// So long that the server sees to others before it has read all.
			b.Entries[0] = make([]byte, driver.MaxLogEntry)
			batches = append(batches, b)
			want = append(want, seq)
		}
		var got []int64
		for _, h := range l.append(batches...) {
			got = append(got, h.Position.Seq)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("positions %d, want %d", got, want)
		}
	}
	close(stop)
	others.Wait()
	t.Logf("%d scripts were loaded", l.Stats().ScriptLoads)
}

// TestLogNoMemory has a server without memory: batches are not confirmed, and what is
// there can be read.
func TestLogNoMemory(t *testing.T) {
	server := redistest.Start(t, "--maxmemory-policy", "noeviction")
	l := newLogTest(t, []string{server.Addr}, redis.Options{})
	b := l.batch(5, 1, 1)
	b.Members = []string{"a"}
	l.append(b)
	l.Client().ConfigSet(t.Context(), "maxmemory", "1")
	more := l.batch(5, 1, 2)
	heads, err := l.log.Append(t.Context(), []driver.LogBatch{more, l.batch(5, 1, 3)})
	if !errors.Is(err, driver.ErrUnavailable) || heads != nil {
		t.Errorf("%+v, error %v; want nothing confirmed", heads, err)
	}
	if s := l.snapshot("k"); s.Head.Position.Seq != 1 || len(s.Entries) != 1 || s.Unique != 1 {
		t.Errorf("%+v, want the first batch", s)
	}
	if _, err := l.log.After(t.Context(), []driver.LogAfter{{Key: "k"}}); err != nil {
		t.Error(err)
	}
	l.Client().ConfigSet(t.Context(), "maxmemory", "0")
	if h := l.append(more)[0]; h.Position.Seq != 2 {
		t.Errorf("%+v after there was memory again, want position 2", h)
	}
}
