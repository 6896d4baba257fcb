package memory_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// addonClock is a clock that stands still between calls of advance.
type addonClock struct{ passed atomic.Int64 }

func (c *addonClock) now() time.Time {
	return time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC).Add(time.Duration(c.passed.Load()))
}

func (c *addonClock) advance(d time.Duration) { c.passed.Add(int64(d)) }

func TestCounters(t *testing.T) {
	var clock addonClock
	backendtest.Counters(t, backendtest.CountersHarness{
		New:     func(*testing.T) driver.Counters { return memory.NewCounters(&memory.CountersOptions{Now: clock.now}) },
		Advance: clock.advance,
	})
}

// addCounters adds one to each member of a group, with windows that end one after
// the other, and returns the counts.
func addCounters(t *testing.T, c *memory.Counters, members ...string) []int64 {
	t.Helper()
	counts := make([]int64, len(members))
	for i, m := range members {
		got, err := c.Increment(t.Context(), []driver.Increment{{
			Key: driver.CounterKey{Group: "g", Member: m}, N: 1, Window: time.Minute + time.Duration(i)*time.Second,
		}})
		if err != nil {
			t.Fatal(err)
		}
		counts[i] = got[0].Count
	}
	return counts
}

func TestCountersMaxCounters(t *testing.T) {
	c := memory.NewCounters(&memory.CountersOptions{MaxCounters: 2})
	got := addCounters(t, c, "ends first", "ends second", "ends third", "ends third", "ends second", "ends first")
	if want := "[1 1 1 2 2 1]"; fmt.Sprint(got) != want {
		t.Errorf("counts %v, want %s: a third counter makes room by ending the window that is next to end", got, want)
	}
}

func TestCountersMaxGroups(t *testing.T) {
	c := memory.NewCounters(&memory.CountersOptions{MaxGroups: 1})
	for i, group := range []string{"g", "g", "h", "g"} {
		got, err := c.Increment(t.Context(), []driver.Increment{{
			Key: driver.CounterKey{Group: group, Member: fmt.Sprint(i)}, N: 1, Window: time.Hour, Members: 1, Other: "other",
		}})
		if want := i == 1; err != nil || got[0].Other != want {
			t.Errorf("step %d: %+v, error %v; want a full group: %t", i, got, err, want)
		}
	}
}

func TestCountersLostTakesRoomTwice(t *testing.T) {
	c := memory.NewCounters(&memory.CountersOptions{MaxCounters: 1})
	for i, member := range []string{"a", "b", "a", "b"} {
		got, err := c.Increment(t.Context(), []driver.Increment{{
			Key: driver.CounterKey{Group: "g", Member: member}, N: 1, Window: time.Hour, Members: 3, Other: "other",
		}})
		if want := (i == 3); err != nil || got[0].Other != want || got[0].Count != 1 {
			t.Errorf("step %d: %+v, error %v; want a count of 1 and a full group: %t", i, got, err, want)
		}
	}
}

func TestCountersDefaultClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := memory.NewCounters(nil)
		addCounters(t, c, "a", "a")
		time.Sleep(time.Minute) // the bubble's clock
		if got := addCounters(t, c, "a"); got[0] != 1 {
			t.Errorf("count %d after the window, want 1", got[0])
		}
	})
}
