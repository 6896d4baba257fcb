package emasample_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/graphcache/graphcache/internal/emasample"
)

// interval counts requests of each key, and ends it.
func interval(s *emasample.Sampler, requests map[string]int) {
	for key, n := range requests {
		for range n {
			s.Rate(key)
		}
	}
	s.Update()
}

// zipf is the traffic of an interval.
func zipf(keys, busiest int) map[string]int {
	m := map[string]int{}
	for i := range keys {
		m[fmt.Sprintf("key%03d", i)] = busiest / (i + 1)
	}
	return m
}

func TestFirstInterval(t *testing.T) {
	s := emasample.New(7)
	s.Update() // without requests it is no interval
	for range 100 {
		if got := s.Rate("a"); got != 7 {
			t.Fatalf("rate %d in the first interval, want the goal, 7", got)
		}
	}
	s.Update()
	if got := s.Rate("new"); got != 1 {
		t.Errorf("rate %d of a new key, want 1", got)
	}
	if got := s.Rate("a"); got == 1 {
		t.Error("rate 1 of the only key, want more")
	}
	if got := emasample.New(0).Rate("a"); got != 1 {
		t.Errorf("rate %d with goal 0, want 1", got)
	}
}

// Of steady traffic about the goal is kept, busy keys at higher rates than rare ones, and
// something of each.
func TestSteadyTraffic(t *testing.T) {
	for _, goal := range []int{2, 10, 40} {
		s, traffic := emasample.New(goal), zipf(200, 20_000)
		for range 12 {
			interval(s, traffic)
		}
		kept, requests, last := 0.0, 0.0, math.MaxInt
		for i := range 200 {
			key := fmt.Sprintf("key%03d", i)
			n, rate := traffic[key], s.Rate(key)
			requests += float64(n)
			kept += float64(n) / float64(rate)
			if float64(n)/float64(rate) < 1 {
				t.Errorf("goal %d: one in %d of the %d of %s", goal, rate, n, key)
			}
			if i < 20 && rate > last {
				t.Errorf("goal %d: rate %d of %s, above that of the busier key before it, %d", goal, rate, key, last)
			}
			last = rate
		}
		// Rates are whole numbers, rounded up: somewhat less is kept than intended.
		if got := requests / kept; got < float64(goal)*.95 || got > float64(goal)*1.5 {
			t.Errorf("one in %.4g is kept, want one in %d or a little more", got, goal)
		}
	}
}

// With two keys the shares can be worked out: 1,000 requests of the one and 10 of the other
// are to be kept as 3 to 1. Of the 101 that a goal of 10 leaves, the rare key gets 25.25, but
// has only 10; the other gets what is left, 91, if it comes later.
func TestShares(t *testing.T) {
	for _, tt := range []struct {
		rare, busy string
		want       int
	}{
		{"a", "b", 11}, // 1,000 / 91 = 10.99
		{"b", "a", 14}, // 1,000 / 75.75 = 13.2: what the rare key leaves comes too late
	} {
		s := emasample.New(10)
		for range 60 {
			interval(s, map[string]int{tt.rare: 10, tt.busy: 1_000})
		}
		if got := s.Rate(tt.rare); got != 1 {
			t.Errorf("rate %d of the rare key, want 1", got)
		}
		if got := s.Rate(tt.busy); got != tt.want {
			t.Errorf("rate %d of the busy key, want %d", got, tt.want)
		}
	}
}

// What was seen counts half as much with each interval, until it is forgotten; an interval
// without any requests changes nothing.
func TestForgetting(t *testing.T) {
	s := emasample.New(10)
	interval(s, map[string]int{"steady": 100, "gone": 64})
	for i := range 6 { // 32, 16, ... 1, 0.5
		interval(s, map[string]int{"steady": 100})
		s.Update()
		s.Update()
		if got := s.Keys(); got != 2 {
			t.Fatalf("%d keys after %d intervals, want 2", got, i+1)
		}
	}
	interval(s, map[string]int{"steady": 100})
	if got := s.Keys(); got != 1 {
		t.Errorf("%d keys, want the other one forgotten", got)
	}
}

// Where no key has more than a request there is nothing to choose from.
func TestAllRare(t *testing.T) {
	s := emasample.New(10)
	for range 3 {
		interval(s, map[string]int{"a": 1, "b": 1, "c": 1})
	}
	for _, key := range []string{"a", "b", "c"} {
		if got := s.Rate(key); got != 1 {
			t.Errorf("rate %d of %s, want 1", got, key)
		}
	}
}
