package backendtest

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// addonTest is one case of a suite of [Counters] or [Log].
type addonTest struct {
	*testing.T
	rule    string
	advance func(time.Duration)
}

// addonReal is the length of a window in tests that wait for its end.
const addonReal = 300 * time.Millisecond

// addonPatience is how much later than it should a thing may happen before a test
// gives up, where the clock is the real one.
const addonPatience = 10 * time.Second

// broken fails the test, naming the rule.
func (a *addonTest) broken(format string, args ...any) {
	a.Helper()
	a.Errorf("broken rule: %s\n\t%s", a.rule, fmt.Sprintf(format, args...))
}

// must ends the test if a call failed that no rule allows to fail.
func (a *addonTest) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatalf("broken rule: %s\n\tunexpected error: %v", a.rule, err)
	}
}

// window returns a length of time for things that are to end within the test.
func (a *addonTest) window() time.Duration {
	if a.advance == nil {
		return addonReal
	}
	return time.Minute
}

// ends checks that something set at the time since, or just after it, is over when
// d has passed and not before.
func (a *addonTest) ends(since time.Time, d time.Duration, over func() bool) {
	a.Helper()
	if a.advance != nil {
		a.advance(d - time.Millisecond)
		if over() {
			a.broken("over 1ms before %v had passed", d)
		}
		a.advance(time.Millisecond)
		if !over() {
			a.broken("not over when %v had passed", d)
		}
		return
	}
	a.poll(d+addonPatience, over)
	if passed := time.Since(since); passed < d {
		a.broken("over after %v instead of %v", passed, d)
	}
}

// poll waits until a condition holds, by the real clock.
func (a *addonTest) poll(atMost time.Duration, holds func() bool) {
	a.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(atMost); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			a.Fatalf("broken rule: %s\n\tnot so after %v", a.rule, atMost)
		}
	}
}

// refused checks that a call returned nothing but an error that wraps the one
// wanted.
func (a *addonTest) refused(what string, results int, err, want error) {
	a.Helper()
	if !errors.Is(err, want) {
		a.broken("%s: error %v, want one that wraps %q", what, err, want)
	}
	if results != 0 {
		a.broken("%s: %d results with the error, want none", what, results)
	}
}
