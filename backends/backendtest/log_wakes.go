package backendtest

import (
	"context"
	"fmt"
	"iter"

	"github.com/graphcache/graphcache/driver"
)

func (l *logTest) waker() driver.LogWaker {
	l.Helper()
	w, ok := l.log.(driver.LogWaker)
	if !ok {
		l.Fatalf("the harness declares wake-ups, and %T is not a driver.LogWaker", l.log)
	}
	return w
}

// listen starts a subscription, and has heard its first element when it returns.
func (l *logTest) listen(ctx context.Context) (next func() ([]string, error, bool), stop func()) {
	l.Helper()
	next, stop = iter.Pull2(l.waker().Wakes(ctx))
	if keys, err, ok := next(); keys != nil || err != nil || !ok {
		l.broken("a subscription begins with %v, error %v, more %t; want nil and more", keys, err, ok)
	}
	return next, stop
}

func (l *logTest) testWakes() {
	if !l.harness.Wakes {
		l.Skip("the harness declares no wake-ups")
	}
	ctx, cancel := context.WithTimeout(l.Context(), addonPatience)
	defer cancel()
	next, stop := l.listen(ctx)
	defer stop()
	w := l.waker()
	l.must(w.Wake(ctx, nil)) // says nothing
	heard := map[string]bool{}
	for all := false; !all && !(heard["a"] && heard["b\x00"]); {
		l.must(w.Wake(ctx, []string{"a", "b\x00"})) // again, for a hint may be lost
		keys, err, ok := next()
		if err != nil || !ok {
			l.Fatalf("broken rule: %s\n\theard %v, then error %v", l.rule, heard, err)
		}
		all = keys == nil
		for _, k := range keys {
			heard[k] = true
		}
	}
	if delete(heard, "a"); len(heard) > 1 {
		l.broken("heard %v beside what was woken", heard)
	}
	cancel()
	for {
		_, err, ok := next()
		if err != nil {
			l.broken("error %v at the end of the context, want the sequence to end", err)
		}
		if !ok {
			return
		}
	}
}

// wakeMany wakes n keys one by one, and gives up when ctx ends.
func (l *logTest) wakeMany(ctx context.Context, n int) {
	l.Helper()
	w, done := l.waker(), make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < n && err == nil; i++ {
			err = w.Wake(ctx, []string{fmt.Sprint("key ", i)})
		}
		done <- err
	}()
	select {
	case err := <-done:
		l.must(err)
	case <-ctx.Done():
		l.Fatalf("broken rule: %s\n\t%d calls of Wake took over %v", l.rule, n, addonPatience)
	}
}

func (l *logTest) testWakesSlow() {
	if !l.harness.Wakes {
		l.Skip("the harness declares no wake-ups")
	}
	ctx, cancel := context.WithTimeout(l.Context(), addonPatience)
	defer cancel()
	// A Wake that hangs may hang stop too, and the failure is to be seen: stop
	// is called at the end, and not if the test ends early.
	next, stop := l.listen(ctx)
	l.wakeMany(ctx, 10*driver.MaxLogWake) // while nobody calls next
	heard := 0
	for heard < 10*driver.MaxLogWake {
		keys, err, ok := next()
		if err != nil || !ok {
			l.Fatalf("broken rule: %s\n\theard %d keys, then error %v", l.rule, heard, err)
		}
		if keys == nil {
			break
		}
		heard += len(keys)
	}
	// It has kept up so far. More than a wake-up can name may be heard as nil.
	many := make([]string, driver.MaxLogWake+1)
	l.must(l.waker().Wake(ctx, many))
	if _, err, ok := next(); err != nil || !ok {
		l.broken("error %v, more %t after a wake-up of many keys", err, ok)
	}
	stop()
}
