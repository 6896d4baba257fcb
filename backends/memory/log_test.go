package memory_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

func TestLog(t *testing.T) {
	var clock addonClock
	backendtest.Log(t, backendtest.LogHarness{
		New:     func(*testing.T) driver.Log { return memory.NewLog(&memory.LogOptions{Now: clock.now}) },
		Advance: clock.advance,
		Now:     clock.now,
		Wakes:   true,
	})
}

// appendLog appends one entry, and returns the positions of the keys afterwards.
func appendLog(t *testing.T, l *memory.Log, b driver.LogBatch, keys ...string) string {
	t.Helper()
	b.Producer, b.Cap, b.Added = "p", 5, int64(len(b.Entries))
	if _, err := l.Append(t.Context(), []driver.LogBatch{b}); err != nil {
		t.Fatal(err)
	}
	heads, err := l.Heads(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	positions := make([]int64, len(heads))
	for i, h := range heads {
		positions[i] = h.Position.Seq
	}
	return fmt.Sprint(positions)
}

func TestLogBounds(t *testing.T) {
	large := []byte(strings.Repeat("x", 60))
	for name, o := range map[string]*memory.LogOptions{"keys": {MaxKeys: 2}, "bytes": {MaxBytes: 180}} {
		t.Run(name, func(t *testing.T) {
			l := memory.NewLog(o)
			for i, step := range []struct {
				key  string
				ttl  time.Duration
				want string
			}{
				{"a", 2 * time.Hour, "[1 0 0]"}, {"b", time.Hour, "[1 1 0]"}, {"c", time.Minute, "[1 0 1]"},
				{"a", time.Second, map[string]string{"keys": "[2 0 1]", "bytes": "[2 0 0]"}[name]},
			} {
				b := driver.LogBatch{Key: step.key, Number: uint64(i + 1), TTL: step.ttl, Entries: [][]byte{large}}
				if got := appendLog(t, l, b, "a", "b", "c"); got != step.want {
					t.Errorf("step %d: positions %s, want %s: the next to expire makes room, but never the one written", i, got, step.want)
				}
			}
		})
	}
}

func TestLogMaxUnique(t *testing.T) {
	l := memory.NewLog(&memory.LogOptions{MaxUnique: 3})
	for i, want := range []int64{2, 3, 3} {
		members := []string{fmt.Sprint(2 * i), fmt.Sprint(2*i + 1)}
		appendLog(t, l, driver.LogBatch{Key: "k", Number: uint64(i + 1), TTL: time.Hour, Members: members})
		got, err := l.Snapshot(t.Context(), []string{"k"})
		if err != nil || got[0].Unique != want {
			t.Errorf("batch %d: %+v, error %v; want %d unique", i, got, err, want)
		}
	}
}

func TestLogDefaultClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.NewLog(nil)
		b := driver.LogBatch{Key: "k", Number: 1, TTL: time.Minute, Entries: [][]byte{nil}}
		if got := appendLog(t, l, b, "k"); got != "[1]" {
			t.Errorf("positions %s, want [1]", got)
		}
		time.Sleep(time.Minute) // the bubble's clock
		if got := appendLog(t, l, driver.LogBatch{Key: "other", Number: 1, TTL: time.Minute}, "k"); got != "[0]" {
			t.Errorf("positions %s after the key's life, want [0]", got)
		}
	})
}
