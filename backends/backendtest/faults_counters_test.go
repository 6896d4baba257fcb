package backendtest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// The suite passes through a wrapper that does nothing.
func TestTransparentCounters(t *testing.T) {
	now := time.Now()
	backendtest.Counters(t, backendtest.CountersHarness{
		New: func(*testing.T) driver.Counters {
			return backendtest.NewFaultyCounters(memory.NewCounters(&memory.CountersOptions{Now: func() time.Time { return now }}), nil)
		},
		Advance: func(d time.Duration) { now = now.Add(d) },
	})
}

// two are increments of one counter, to 1 and 2.
var two = []driver.Increment{
	{Key: driver.CounterKey{Group: "g", Member: "a"}, N: 1, Window: time.Hour},
	{Key: driver.CounterKey{Group: "g", Member: "a"}, N: 1, Window: time.Hour},
}

// counted returns what a counter was brought to by two, past all faults.
func counted(t *testing.T, c *backendtest.FaultyCounters) int64 {
	t.Helper()
	c.SetHook(nil)
	got, err := c.Increment(t.Context(), []driver.Increment{{Key: two[0].Key, Window: time.Hour}})
	if err != nil {
		t.Fatal(err)
	}
	return got[0].Count
}

func TestCountersFaults(t *testing.T) {
	mine := errors.New("mine")
	tests := []struct {
		name  string
		hook  backendtest.Hook
		err   error
		after int64 // the count
	}{
		{"nil", nil, nil, 2},
		{"fail", backendtest.FailOn(backendtest.On("Increment"), nil), driver.ErrUnavailable, 0},
		{"fail with mine", backendtest.FailOn(backendtest.On("Increment"), mine), mine, 0},
		{"drop the reply", backendtest.DropReplies(backendtest.On("Increment"), nil), driver.ErrUnknownOutcome, 2},
		{"hang", backendtest.HangOn(backendtest.On("Increment")), context.DeadlineExceeded, 0},
		{"delay beyond the deadline", backendtest.DelayOn(backendtest.On("Increment"), time.Hour), context.DeadlineExceeded, 0},
		{"delay", backendtest.DelayOn(backendtest.On("Increment"), time.Second), nil, 2},
		{"another number", backendtest.FailOn(backendtest.Nth("Increment", 2), nil), nil, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := backendtest.NewFaultyCounters(memory.NewCounters(nil), test.hook)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				got, err := c.Increment(ctx, two)
				if !errors.Is(err, test.err) || (err == nil) != (len(got) == 2) {
					t.Errorf("%+v, error %v; want the error %v", got, err, test.err)
				}
				if after := counted(t, c); after != test.after {
					t.Errorf("the count is %d, want %d", after, test.after)
				}
				if c.Calls("Increment") != 2 || c.Items("Increment") != 3 || c.Total() != 2 {
					t.Errorf("counted %d calls with %d elements, %d in all; want 2 with 3", c.Calls("Increment"), c.Items("Increment"), c.Total())
				}
			})
		})
	}
}

func TestCountersHook(t *testing.T) {
	var shown []backendtest.Call
	c := backendtest.NewFaultyCounters(memory.NewCounters(nil), func(_ context.Context, call backendtest.Call) backendtest.Fault {
		shown = append(shown, call)
		return backendtest.Fault{}
	})
	if _, err := c.Increment(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Increment(t.Context(), nil); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("Increment of closed counters: %v", err)
	}
	want := []backendtest.Call{{Method: "Increment", N: 1, Batch: two}, {Method: "Increment", N: 2}}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("the hook is shown (-want +got):\n%s", diff)
	}
}

func TestCountersLate(t *testing.T) {
	arrive := make(chan struct{})
	c := backendtest.NewFaultyCounters(memory.NewCounters(nil),
		backendtest.Inject(backendtest.On(), backendtest.Fault{Action: backendtest.Late, Until: arrive}))
	ctx, cancel := context.WithCancel(t.Context())
	batch := []driver.Increment{two[0], two[1]}
	if got, err := c.Increment(ctx, batch); got != nil || !errors.Is(err, driver.ErrUnknownOutcome) {
		t.Errorf("%+v, error %v; want nothing and an unknown outcome", got, err)
	}
	cancel()
	batch[1].N = 100
	if got := counted(t, c); got != 0 {
		t.Errorf("a late call was made too early: the count is %d", got)
	}
	close(arrive)
	c.WaitLate()
	if got := counted(t, c); got != 2 {
		t.Errorf("a late call is made after all, as it was given: the count is %d, want 2", got)
	}
}
