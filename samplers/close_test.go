package samplers_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/samplers"
)

// throttleMany decides six times on each of so many keys, so that each has one request to report.
func throttleMany(t *testing.T, s *samplers.Sampler, keys int) {
	t.Helper()
	for i := range keys {
		for range 6 {
			s.Decide(t.Context(), samplers.Key{Tenant: fmt.Sprint(i % 50), Op: fmt.Sprint(i / 50)})
		}
	}
}

// TestCloseAgain has counters that do not answer when the sampler is closed: what was not sent
// is still owed, and another Close reports it.
func TestCloseAgain(t *testing.T) {
	counters := backendtest.NewFaultyCounters(memory.NewCounters(nil), nil)
	s := newSampler(t, counters, &samplers.Options{Timeout: time.Minute, LocalBytes: 128 << 10}) // gone through at once
	const keys = 1500
	throttleMany(t, s, keys)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: error %v", err)
	}
	counters.SetHook(func(context.Context, backendtest.Call) backendtest.Fault {
		return backendtest.Fault{Action: backendtest.Fail}
	})
	if err := s.Close(t.Context()); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("without counters: error %v", err)
	}
	counters.SetHook(nil)
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if st := s.Stats(); st.Reported+st.Unconfirmed != keys || st.Unconfirmed > 128 || st.Lost != 0 {
		t.Errorf("%+v: want all but one batch reported", st)
	}
}

// TestCloseInTime closes a sampler whose counters are slow, while it reports.
func TestCloseInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counters := backendtest.NewFaultyCounters(memory.NewCounters(nil), nil)
		s, err := samplers.New(counters, &samplers.Options{Window: time.Second, Timeout: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		throttleMany(t, s, 2000)
		counters.SetHook(func(context.Context, backendtest.Call) backendtest.Fault {
			return backendtest.Fault{Delay: time.Second}
		})
		time.Sleep(2100 * time.Millisecond) // it has begun to report
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := s.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 50*time.Millisecond {
			t.Errorf("Close took %v, error %v", time.Since(began), err)
		}
	})
}
