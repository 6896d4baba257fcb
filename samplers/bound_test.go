package samplers_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

// beyondCounters are counters for which every request is one too many.
type beyondCounters struct{ driver.Counters }

func (beyondCounters) Increment(_ context.Context, batch []driver.Increment) ([]driver.Count, error) {
	counts := make([]driver.Count, len(batch))
	for i := range counts {
		counts[i] = driver.Count{Outcome: driver.Done, Count: 1 << 20, Remaining: batch[i].Window, Epoch: 1}
	}
	return counts, nil
}

// holds returns about how many keys a sampler has room for.
func holds(localBytes int) int { return localBytes / 28 }

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // the first empties pools
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestMemoryBound has ten times as many keys as there is room for, each of a tenant of its
// own: the memory stays as large as it was to be, and what was counted is reported, or
// known to be lost.
func TestMemoryBound(t *testing.T) {
	const constant = 256 << 10
	var ops [1000]string
	for i := range ops {
		ops[i] = fmt.Sprint("operation ", i)
	}
	for name, test := range map[string]struct {
		localBytes int
		failing    bool
		more       int // that is taken besides
	}{
		"1 MB":           {localBytes: 1 << 20},
		"the default":    {localBytes: 16_000_000},
		"1 MB in outage": {localBytes: 1 << 20, failing: true, more: 4 << 20}, // 65,536 tenants
	} {
		t.Run(name, func(t *testing.T) {
			switch {
			case allocRace:
				test.localBytes = 64 << 10 // or it would take minutes
			case test.localBytes > 1<<20 && !*full:
				t.Skip("takes long: use -samplers.full")
			}
			var counters driver.Counters = beyondCounters{}
			if test.failing {
				counters = backendtest.NewFaultyCounters(counters, func(context.Context, backendtest.Call) backendtest.Fault {
					return backendtest.Fault{Action: backendtest.Fail}
				})
			}
			before := heap()
			s, err := samplers.New(counters, &samplers.Options{LocalBytes: test.localBytes, Timeout: patience, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			requests, most := 10*holds(test.localBytes), 0
			for i := range requests {
				k := samplers.Key{Tenant: "tenant " + strconv.Itoa(i), Op: ops[i%len(ops)]}
				if d := s.Decide(t.Context(), k); d.Keep != test.failing {
					t.Fatalf("request %d: %+v", i, d)
				}
				if i%(requests/4) == requests/4-1 {
					most = max(most, heap()-before)
				}
			}
			st := s.Stats()
			t.Logf("%d bytes for %d keys of %d; %d evictions, %d lost", most, st.Keys, requests, st.Evictions, st.Lost)
			if limit := test.localBytes + test.more + constant; most > limit && !allocRace {
				t.Errorf("%d bytes, want at most %d", most, limit)
			}
			if st.Keys < test.localBytes/50 {
				t.Errorf("%d keys: the memory is not used", st.Keys)
			}
			if st.Evictions < int64(requests)/2 {
				t.Errorf("%d evictions by %d keys", st.Evictions, requests)
			}
			checkSums(t, st, requests)
			_ = s.Close(t.Context()) // which cannot report when nobody answers
			st = s.Stats()
			checkSums(t, st, requests)
			if !test.failing && st.Reported+st.Unconfirmed+st.Lost != st.Throttled {
				t.Errorf("%+v: reports do not add up", st)
			}
			runtime.KeepAlive(s)
		})
	}
}

// TestOverflow decides on ten times as many keys as there is room for, some of them often:
// none is dropped wrongly, and what is beyond the first is in the totals, but for what is
// lost knowingly.
func TestOverflow(t *testing.T) {
	localBytes := 256 << 10
	if allocRace {
		localBytes = 64 << 10
	}
	clock := newFakeClock()
	counters := memory.NewCounters(&memory.CountersOptions{Now: clock.now, MaxCounters: 1 << 30, MaxGroups: 1 << 30})
	s := newSampler(t, counters, &samplers.Options{
		FirstN: 1, LocalBytes: localBytes, MaxOps: -1, Tail: 0.1, Timeout: patience, Now: clock.now, Logger: quiet,
	})
	keys, met, requests := 10*holds(localBytes), make(map[int]bool), 0
	random := rand.New(rand.NewPCG(6, 0))
	first, tail, totals := int64(0), int64(0), make(map[int]int64)
	decide := func(key int) {
		d := s.Decide(t.Context(), samplers.Key{Tenant: fmt.Sprint("t", key/100), Op: fmt.Sprint("o", key%100)})
		if (d.Reason == samplers.First) == met[key] || d.Reason == samplers.Local {
			t.Fatalf("key %d, met %t: %+v", key, met[key], d)
		}
		switch {
		case d.Reason == samplers.First:
			first++
		case d.Keep:
			tail++
		}
		if met[key] {
			totals[key]++
		}
		met[key] = true
		requests++
	}
	for range 2 {
		for key := range keys {
			decide(key)
			decide(random.IntN(100)) // keys that are hot
			if key%100 == 0 {
				clock.advance(10 * time.Millisecond)
			}
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	st := s.Stats()
	checkSums(t, st, requests)
	if st.Reported+st.Unconfirmed+st.Lost != st.Throttled+st.Tail || st.First != first || st.Tail != tail || st.Unconfirmed != 0 {
		t.Errorf("%+v with %d first and %d of the tail: they do not add up", st, first, tail)
	}
	if st.Evictions == 0 {
		t.Errorf("%+v: there was room enough", st)
	}
	missing := int64(0)
	for key, want := range totals {
		got, err := s.Total(t.Context(), samplers.Key{Tenant: fmt.Sprint("t", key/100), Op: fmt.Sprint("o", key%100)}, clock.now())
		if err != nil {
			t.Fatal(err)
		}
		if missing += want - got; got > want {
			t.Errorf("key %d: a total of %d, want at most %d", key, got, want)
		}
	}
	if missing != st.Lost {
		t.Errorf("%d requests are missing in the totals, %d were lost", missing, st.Lost)
	}
	t.Logf("%d requests of %d keys in room for %d: %d evictions, %d calls, %d lost", requests, keys, holds(localBytes), st.Evictions, st.Calls, st.Lost)
}
