package samplers_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

// recordedCounters records the counters that are asked for.
type recordedCounters struct {
	driver.Counters

	mu   sync.Mutex // protects keys
	keys []driver.CounterKey
}

func (c *recordedCounters) Increment(ctx context.Context, batch []driver.Increment) ([]driver.Count, error) {
	c.mu.Lock()
	for i := range batch {
		c.keys = append(c.keys, batch[i].Key)
	}
	c.mu.Unlock()
	return c.Counters.Increment(ctx, batch)
}

// take returns the counters that were asked for since the last time, each once.
func (c *recordedCounters) take() []driver.CounterKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	var keys []driver.CounterKey
	for _, k := range c.keys {
		if !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	c.keys = nil
	return keys
}

// FuzzDecide has two samplers decide, each on a key of its own, on the same counters: unless
// name and key are the same, what they count in is not, neither for windows nor for totals.
// The parts of the keys are repeated, as an input of a megabyte makes a fuzzer slow.
func FuzzDecide(f *testing.F) {
	long := strings.Repeat("a", 512)
	for _, seed := range [][6]string{
		{"", "t", "op", "", "t", "op"},
		{"", "a", "b", "", "b", "a"},
		{"", "ab", "", "", "", "ab"},
		{"", "a", "bc", "", "ab", "c"},
		{"", "a\x00b", "c", "", "a", "b\x00c"},
		{"", "a:b", "c", "", "a", "b:c"},
		{"", "", "", "", "", samplers.OtherOp},
		{"", "\xff\xfe", "\x80", "", "\xfe\xff", "\x80"},
		{"", long + "a", "", "", long + "b", ""},
		{"", long, "", "", long + "a", ""},
		{"", long[:511], "", "", long, ""},
		{"", "", "x", "", "", "y"},
		{"", "é", "x", "", "éé", "x"},
		{"a", "t", "op", "b", "t", "op"},
		{"1:", "wt", "op", "1", ":wt", "op"},
		{"", "2:aw", "op", "2", "aw", "op"},
		{"w", "t", "op", "", "wt", "op"},
		{"", "t1772323200:x", "op", "", "x", "op"},
	} {
		for _, times := range []uint{1, 512, 1 << 20} {
			f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5], times)
		}
	}
	f.Fuzz(func(t *testing.T, nameA, tenantA, opA, nameB, tenantB, opB string, times uint) {
		nameA, nameB = nameA[:min(len(nameA), 128)], nameB[:min(len(nameB), 128)]
		clock := newFakeClock()
		counters := &recordedCounters{Counters: memory.NewCounters(&memory.CountersOptions{Now: clock.now})}
		asks := func(name string, k samplers.Key) (seqs [2]uint64, windows, totals []driver.CounterKey) {
			s := newSampler(t, counters, &samplers.Options{Name: name, FirstN: 1, MaxOps: -1, LocalBytes: 64 << 10, Timeout: patience, Now: clock.now, Logger: quiet})
			for i := range seqs {
				seqs[i] = s.Decide(t.Context(), k).Seq
			}
			s.Decide(t.Context(), k)
			windows = counters.take()
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			totals = counters.take()
			if len(windows) != 1 || len(totals) != 1 {
				t.Errorf("%q, %q: counts in %q, and %q for the total", k.Tenant, k.Op, windows, totals)
			}
			for _, c := range slices.Concat(windows, totals) {
				if err := (driver.Increment{Key: c, Window: time.Minute}).Validate(); err != nil {
					t.Errorf("%q: %v", c, err)
				}
			}
			return seqs, windows, totals
		}
		n := max(1, int(min(times, 1<<20))/max(len(tenantA), len(tenantB), len(opA), len(opB), 1))
		repeat := func(part string) string { return strings.Repeat(part, n) }
		a, b := samplers.Key{Tenant: repeat(tenantA), Op: repeat(opA)}, samplers.Key{Tenant: repeat(tenantB), Op: repeat(opB)}
		firstA, windowsA, totalsA := asks(nameA, a)
		firstB, windowsB, totalsB := asks(nameB, b)
		same := nameA == nameB && a == b
		if firstA != [2]uint64{1, 0} || !same && firstB != firstA || same && firstB != [2]uint64{2, 0} {
			t.Errorf("the same: %t; places %v and %v", same, firstA, firstB)
		}
		if got := slices.Equal(windowsA, windowsB); got != same {
			t.Errorf("the same: %t; windows %q and %q", same, windowsA, windowsB)
		}
		if got := slices.Equal(totalsA, totalsB); got != same {
			t.Errorf("the same: %t; totals %q and %q", same, totalsA, totalsB)
		}
		for _, total := range slices.Concat(totalsA, totalsB) {
			if slices.Contains(windowsA, total) || slices.Contains(windowsB, total) {
				t.Errorf("%q is of a window and of a total", total)
			}
		}
	})
}

// TestSharedTable has one sampler decide on keys of the same bytes, cut in all ways: each
// has a place of its own.
func TestSharedTable(t *testing.T) {
	s := newSampler(t, memory.NewCounters(nil), &samplers.Options{FirstN: 1, MaxOps: -1, Timeout: patience, Logger: quiet})
	met, whole := make(map[samplers.Key]bool), strings.Repeat("ab\x00:\xff", 100)
	for i := range whole {
		front, back := whole[:i], whole[i:]
		for _, k := range []samplers.Key{{Tenant: front, Op: back}, {Tenant: back, Op: front}, {Tenant: front}, {Op: front}} {
			if d := s.Decide(t.Context(), k); d.Keep == met[k] {
				t.Errorf("cut at %d, met %t: %+v", i, met[k], d)
			}
			met[k] = true
		}
	}
}
