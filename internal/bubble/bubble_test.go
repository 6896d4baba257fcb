package bubble_test

import (
	"testing"
	"testing/synctest"

	"github.com/graphcache/graphcache/internal/bubble"
)

func TestGoroutines(t *testing.T) {
	if n := bubble.Goroutines(); n != 0 {
		t.Errorf("without a bubble: %d goroutines", n)
	}
	outside := make(chan struct{})
	defer close(outside)
	for range 5 {
		go func() { <-outside }()
	}
	synctest.Test(t, func(*testing.T) {
		before, end := bubble.Goroutines(), make(chan struct{})
		for range 3 {
			go func() { <-end }()
		}
		synctest.Wait()
		if n := bubble.Goroutines(); n != before+3 {
			t.Errorf("%d goroutines, want %d and 3", n, before)
		}
		close(end)
		synctest.Wait()
		if n := bubble.Goroutines(); n != before {
			t.Errorf("%d goroutines at the end, want %d", n, before)
		}
	})
}
