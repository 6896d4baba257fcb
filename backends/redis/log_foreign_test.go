package redis_test

import (
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/redistest"
)

// TestLogForeign puts under a log's key what no log has put there.
func TestLogForeign(t *testing.T) {
	addrs := redistest.Addrs(t)
	head := func(l *logTest, alter func(h []byte)) error {
		l.append(l.batch(5, 3, 3))
		raw, err := l.Client().HGet(l.Context(), l.LogKey("k"), "h").Bytes()
		if err != nil {
			return err
		}
		alter(raw)
		return l.Client().HSet(l.Context(), l.LogKey("k"), "h", raw).Err()
	}
	fill := func(from, to int, with byte) func(*logTest) error {
		return func(l *logTest) error {
			return head(l, func(h []byte) {
				for i := from; i < to; i++ {
					h[i] = with
				}
			})
		}
	}
	for name, put := range map[string]func(l *logTest) error{
		"string": func(l *logTest) error { return l.Client().Set(l.Context(), l.LogKey("k"), "L", 0).Err() },
		"list":   func(l *logTest) error { return l.Client().LPush(l.Context(), l.LogKey("k"), "h", "e0").Err() },
		"headless": func(l *logTest) error {
			return l.Client().HSet(l.Context(), l.LogKey("k"), "e0", "x", "p", "y", "pp", strings.Repeat("\xff", 16)).Err()
		},
		"empty head":     func(l *logTest) error { return l.Client().HSet(l.Context(), l.LogKey("k"), "h", "").Err() },
		"short head":     func(l *logTest) error { return l.Client().HSet(l.Context(), l.LogKey("k"), "h", "L123").Err() },
		"other letter":   fill(0, 1, 'X'),
		"no epoch":       fill(1, 9, 0),
		"great position": fill(9, 17, 0xff),
		"small position": fill(9, 17, 0),
		"great total":    fill(17, 25, 0xff),
		"late":           fill(25, 33, 0x7f),
		"many turns":     fill(33, 41, 0xff),
		"many entries":   fill(41, 43, 0xff),
		"more entries":   fill(42, 43, 4), // than it has in blocks, and than its position
		"many producers": fill(43, 45, 0xff),
		"members":        fill(45, 46, 2),
		"empty block":    fill(52, 54, 0),
		"small block":    fill(53, 54, 2),
		"all bits":       fill(1, 54, 0xff),
		"odd length": func(l *logTest) error {
			return l.Client().HSet(l.Context(), l.LogKey("k"), "h", "L"+strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x01", 5)+strings.Repeat("\x00", 12)).Err()
		},
		"many blocks": func(l *logTest) error {
			return l.Client().HSet(l.Context(), l.LogKey("k"), "h", "L"+strings.Repeat("\x00\x00\x00\x00\x00\x00\x00\x01", 5)+
				strings.Repeat("\x00", 11)+strings.Repeat("\x00\x01", driver.MaxLogCap+2)).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogTest(t, addrs, redis.Options{})
			if err := put(l); err != nil {
				t.Fatal(err)
			}
			none := driver.LogHead{Outcome: driver.Done}
			heads, err := l.log.Heads(t.Context(), []string{"k"})
			if err != nil {
				t.Error(err)
			}
			l.same("heads", heads, []driver.LogHead{none})
			l.same("snapshots", l.snapshot("k"), driver.LogSnapshot{Head: none})
			old := driver.Position{Epoch: 7, Seq: 1}
			deltas, err := l.log.After(t.Context(), []driver.LogAfter{{Key: "k", Position: old}})
			if err != nil {
				t.Error(err)
			}
			l.same("deltas", deltas, []driver.LogDelta{{Head: none, Reset: true}})
			got := l.append(l.batch(5, 2, 2))[0]
			if got.Position.Seq != 2 || got.Total != 2 {
				t.Errorf("head %+v after the first batch, want position and total 2", got)
			}
			l.check([]string{"entry 2", "entry 1"}, driver.Position{})
			if ttl := l.Client().PTTL(t.Context(), l.LogKey("k")).Val(); ttl <= 0 {
				t.Errorf("time to live %v", ttl)
			}
		})
	}
}

// TestLogDamaged damages single fields of a log: what they say is lost, and no more.
func TestLogDamaged(t *testing.T) {
	addrs := redistest.Addrs(t)
	now := time.Now()
	for name, f := range map[string]struct{ field, value string }{
		"types":              {"t", "\xff\xff"},
		"types without end":  {"t", "\x00\x01a\x00"},
		"many types":         {"t", strings.Repeat("\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x01", 100)},
		"sparkline":          {"s", "x"},
		"sparkline of ones":  {"s", strings.Repeat("\xff", 16+8*60)},
		"sparkline of zeros": {"s", strings.Repeat("\x00", 16+8*60)},
		"producer":           {"pp", "x"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogTest(t, addrs, redis.Options{})
			full := func(newest int64) driver.LogBatch {
				b := l.batch(5, 1, newest)
				b.Types, b.Members = []driver.LogCount{{Type: "a", Count: 1}}, []string{"m"}
				b.Bucket, b.Times = 1000*time.Hour, []driver.LogTime{{Time: now, Count: 1}}
				return b
			}
			l.append(full(1))
			if err := l.Client().HSet(t.Context(), l.LogKey("k"), f.field, f.value).Err(); err != nil {
				t.Fatal(err)
			}
			if s := l.snapshot("k"); s.Head.Position.Seq != 1 || len(s.Entries) != 1 || s.Unique != 1 {
				t.Errorf("%+v with the damage, want the entry and the member", s)
			}
			l.append(full(2))
			s := l.snapshot("k")
			if len(s.Types) != 1 || s.Types[0].Count < 1 || s.Types[0].Count > 2 || s.Bucket != 1000*time.Hour || s.Spark[59] < 1 || s.Spark[59] > 2 {
				t.Errorf("%+v after another batch", s)
			}
			if s.Head.Position.Seq != 2 || len(s.Entries) != 2 {
				t.Errorf("%+v, want both entries", s)
			}
		})
	}
	for name, damage := range map[string]any{
		"no block": nil, "empty block": "", "short block": "\x00\x00\x00\x01", "long entry": "\xff\xff\xff\xffabc",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLogTest(t, addrs, redis.Options{})
			for n := range int64(5) {
				b := l.batch(5, 1, n+1)
				b.Entries[0] = append(b.Entries[0], make([]byte, 5000)...) // a block of its own
				l.append(b)
			}
			epoch := l.snapshot("k").Head.Position.Epoch
			if damage == nil {
				l.Client().HDel(t.Context(), l.LogKey("k"), "e3") // the third
			} else {
				l.Client().HSet(t.Context(), l.LogKey("k"), "e3", damage)
			}
			d, err := l.log.After(t.Context(), []driver.LogAfter{{Key: "k", Position: driver.Position{Epoch: epoch, Seq: 1}}})
			if err != nil || len(d[0].Entries) != 2 || d[0].Missed != 2 {
				t.Errorf("%+v, error %v; want 2 entries and 2 missed", d, err)
			}
			l.append(l.batch(50, 1, 6))
			if s := l.snapshot("k"); len(s.Entries) != 3 || string(s.Entries[0]) != "entry 6" || s.Head.Position.Seq != 6 {
				t.Errorf("%q at position %d, want the 3 above the damage", s.Entries, s.Head.Position.Seq)
			}
		})
	}
	t.Run("newest block", func(t *testing.T) {
		l := newLogTest(t, addrs, redis.Options{})
		l.append(l.batch(50, 3, 3))
		l.Client().HSet(t.Context(), l.LogKey("k"), "e1", strings.Repeat("\x00", 11))
		l.append(l.batch(50, 1, 4))
		if s := l.snapshot("k"); len(s.Entries) < 1 || string(s.Entries[0]) != "entry 4" || s.Head.Position.Seq != 4 {
			t.Errorf("%q at position %d, want entry 4 first", s.Entries, s.Head.Position.Seq)
		}
	})
	t.Run("members", func(t *testing.T) {
		l := newLogTest(t, addrs, redis.Options{})
		for _, damage := range []string{"x", "HYLL\x00garbage", ""} {
			b := l.batch(5, 1, 1)
			b.Members = []string{"a", "b"}
			epoch := l.append(b)[0].Position.Epoch
			l.Client().Set(t.Context(), l.LogMembersKey("k", epoch), damage, 0)
			if s := l.snapshot("k"); s.Unique != 0 || len(s.Entries) == 0 {
				t.Errorf("%d unique with the damage", s.Unique)
			}
			b = l.batch(5, 1, 1)
			b.Members = []string{"a", "b", "c"}
			l.append(b)
			if s := l.snapshot("k"); s.Unique != 3 {
				t.Errorf("%d unique after another batch, want 3", s.Unique)
			}
		}
	})
}

// TestLogEnd has positions as great as they can be.
func TestLogEnd(t *testing.T) {
	l := newLogTest(t, redistest.Addrs(t), redis.Options{})
	first := l.append(l.batch(3, 2, 2))[0]
	raw, err := l.Client().HGet(t.Context(), l.LogKey("k"), "h").Bytes()
	if err != nil {
		t.Fatal(err)
	}
	l.Client().Del(t.Context(), l.LogKey("k"))
	const end = 1<<53 - 1
	copy(raw[9:], "\x00\x1f\xff\xff\xff\xff\xff\xfc") // end-3
	copy(raw[41:], "\x00\x00")                        // no entries
	l.Client().HSet(t.Context(), l.LogKey("k"), "h", raw)
	for range 3 {
		l.append(l.batch(3, 1, int64(l.number)))
	}
	want := first.Position
	want.Seq = end
	if s := l.snapshot("k"); s.Head.Position != want || string(s.Entries[0]) != "entry 3" || string(s.Entries[2]) != "entry 1" {
		t.Errorf("%+v %q, want %+v", s.Head, s.Entries, want)
	}
	if h := l.append(l.batch(3, 1, 1))[0]; h.Position.Seq != 1 || h.Position.Epoch == want.Epoch {
		t.Errorf("%+v past the end, want a new epoch", h)
	}
}
