package lincheck

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache"
)

// aside is what is commonly built: a reader that misses loads from the store and sets
// what it got; a writer writes the store and then deletes the key. A reader that has
// loaded before the write and sets after the deletion leaves the old value there.
type aside struct {
	mu    sync.Mutex
	store [asideKeys]int64
	cache map[int]int64
}

const asideKeys = 50

func (a *aside) get(key int) int64 {
	a.mu.Lock()
	value, ok := a.cache[key]
	if !ok {
		value = a.store[key]
	}
	a.mu.Unlock()
	if !ok {
		time.Sleep(5 * time.Millisecond)
		a.mu.Lock()
		a.cache[key] = value
		a.mu.Unlock()
	}
	return value
}

func (a *aside) put(key int, value int64) {
	a.mu.Lock()
	a.store[key] = value
	a.mu.Unlock()
	a.mu.Lock()
	delete(a.cache, key)
	a.mu.Unlock()
}

// TestRunFindsCacheAside is the control of Run.
func TestRunFindsCacheAside(t *testing.T) {
	a := &aside{cache: map[int]int64{}}
	regs := Registers{
		Keys:   asideKeys,
		Get:    func(_ context.Context, _, key int) (int64, error) { return a.get(key), nil },
		Put:    func(_ context.Context, _, key int, value int64) error { a.put(key, value); return nil },
		Stored: func(context.Context) ([]int64, error) { return a.store[:], nil },
	}
	cfg := Config{Operations: 20_000, Writes: 0.5, RoundOperations: 100, Dir: t.TempDir()}
	found(t, RunRegisters(t.Context(), cfg, regs))
}

// TestSoakFindsCacheAside is the control of Soak.
func TestSoakFindsCacheAside(t *testing.T) {
	a := &aside{cache: map[int]int64{}}
	var sequences []*sequence
	for key := range asideKeys {
		sequences = append(sequences, &sequence{
			name:  fmt.Sprint("key ", key),
			write: func(_ context.Context, _ int, n int64) error { a.put(key, n); return nil },
			views: []*view{{
				name:  "value",
				shows: func(n int64) int64 { return n },
				read:  func(context.Context, int, graphcache.Freshness) (int64, error) { return a.get(key), nil },
			}},
		})
	}
	cfg := Config{Operations: 5_000, Writes: 0.5}.withDefaults()
	report := newSoak(&cfg, sequences).run(t.Context())
	found(t, report)
	if report.StaleReads == 0 || report.LongestStale == 0 {
		t.Errorf("%d stale reads were found, the longest for %v", report.StaleReads, report.LongestStale)
	}
}

// found fails the test if no violation was found.
func found(t *testing.T, report *Report) {
	t.Helper()
	t.Log(report)
	if report.Violations == 0 {
		t.Fatal("no violation was found")
	}
	if err := report.Err(); err == nil || !strings.Contains(err.Error(), report.Details[0]) {
		t.Errorf("the error does not describe the violation: %v", err)
	}
	t.Log(report.Details[0])
}
