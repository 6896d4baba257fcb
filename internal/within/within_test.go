package within_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/internal/within"
)

// TestContext: it is what context.WithTimeout returns, whether or not its channel was
// asked for.
func TestContext(t *testing.T) {
	for _, asked := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			type key struct{}
			parent := context.WithValue(t.Context(), key{}, "value")
			c := within.New(parent, time.Second)
			defer c.End()
			if asked {
				c.Done()
			}
			if at, ok := c.Deadline(); !ok || time.Until(at) != time.Second || c.Value(key{}) != "value" || c.Err() != nil {
				t.Errorf("deadline in %v, value %v, error %v", time.Until(at), c.Value(key{}), c.Err())
			}
			time.Sleep(time.Second - time.Nanosecond)
			if c.Err() != nil {
				t.Errorf("before its deadline: %v", c.Err())
			}
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			if !errors.Is(c.Err(), context.DeadlineExceeded) {
				t.Errorf("at its deadline: %v", c.Err())
			}
			select {
			case <-c.Done():
			default:
				t.Error("at its deadline the channel is open")
			}
		})
	}
}

// TestParent: it ends with its parent, and not after it.
func TestParent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		parent, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		c := within.New(parent, time.Hour)
		defer c.End()
		if at, _ := c.Deadline(); time.Until(at) != time.Second {
			t.Errorf("it ends in %v, its parent in %v", time.Until(at), time.Second)
		}
		cancel()
		<-c.Done()
		if !errors.Is(c.Err(), context.Canceled) {
			t.Errorf("after its parent: %v", c.Err())
		}
	})
}

// TestSplit: one of the two ends it is there for every context.
func TestSplit(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done, at := within.Split(ctx)
	if done != ctx.Done() || !at.IsZero() {
		t.Errorf("an ordinary context ends at %v", at)
	}
	c := within.New(ctx, time.Hour)
	defer c.End()
	done, at = within.Split(c)
	if want, _ := c.Deadline(); done != ctx.Done() || at != want {
		t.Errorf("it ends at %v, want %v, or with its parent", at, want)
	}
}

func TestAllocs(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if n := testing.AllocsPerRun(100, func() {
		c := within.New(ctx, time.Hour)
		within.Split(c)
		c.End()
	}); n > 2 {
		t.Errorf("%v allocations, want at most 2", n)
	}
}
