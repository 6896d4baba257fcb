package main

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// way is one way of doing a job.
type way struct {
	name   string
	op     func(i int) error                                // i counts the calls of a turn, by whichever goroutine
	before func() error                                     // before a turn, not measured; may be nil
	finish func() error                                     // at its end, measured; may be nil
	most   int                                              // calls in a turn, 0 is as many as there is time for
	remote func(callers int, d time.Duration) (turn, error) // measures a turn in another process, in place of op; may be nil
}

// turn is what one way did in one round.
type turn struct {
	calls  int
	took   time.Duration
	cpu    time.Duration // of the program, not of the server
	allocs float64       // a call
	bytes  float64       // a call
}

// each returns the time for a call.
func (t turn) each() float64 { return float64(t.took.Nanoseconds()) / float64(t.calls) }

// work returns the processor time for a call.
func (t turn) work() float64 { return float64(t.cpu.Nanoseconds()) / float64(t.calls) }

// compare measures the ways with so many goroutines, taking turns. The result has the
// turns of each way, by round. Before the rounds each way has a short turn that does not
// count.
func (s settings) compare(ways []way, callers int) ([][]turn, error) {
	turns := make([][]turn, len(ways))
	for r := range s.rounds + 1 {
		for n := range ways {
			i := (n + r) % len(ways)
			d := s.turn
			if r == 0 {
				d /= 4
			}
			t, err := ways[i].measure(callers, d)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ways[i].name, err)
			}
			if r > 0 {
				turns[i] = append(turns[i], t)
			}
		}
	}
	return turns, nil
}

func (w *way) measure(callers int, d time.Duration) (t turn, err error) {
	if w.remote != nil {
		return w.remote(callers, d)
	}
	if w.before != nil {
		if err := w.before(); err != nil {
			return t, err
		}
	}
	runtime.GC()
	var first, last runtime.MemStats
	runtime.ReadMemStats(&first)
	used := processTime()
	begin := time.Now()
	calls, err := w.repeat(callers, d)
	if err == nil && w.finish != nil {
		err = w.finish()
	}
	t = turn{calls: calls, took: time.Since(begin), cpu: processTime() - used}
	runtime.ReadMemStats(&last)
	t.allocs = float64(last.Mallocs-first.Mallocs) / float64(calls)
	t.bytes = float64(last.TotalAlloc-first.TotalAlloc) / float64(calls)
	return t, err
}

// processTime returns the processor time that the program has taken so far.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// repeat calls op from so many goroutines until the time is up.
func (w *way) repeat(callers int, d time.Duration) (calls int, err error) {
	var next atomic.Int64
	var over atomic.Bool
	timer := time.AfterFunc(d, func() { over.Store(true) })
	defer timer.Stop()
	errs := make([]error, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for errs[c] == nil && !over.Load() {
				i := int(next.Add(1)) - 1
				if w.most > 0 && i >= w.most {
					next.Add(-1)
					return
				}
				errs[c] = w.op(i)
			}
		})
	}
	wg.Wait()
	for _, e := range errs {
		if e != nil {
			return 0, e
		}
	}
	return int(next.Load()), nil
}

// spread is the median of some figures, with the least and the most of them.
type spread struct{ median, least, most float64 }

func spreadOf(v []float64) spread {
	v = slices.Sorted(slices.Values(v))
	return spread{(v[(len(v)-1)/2] + v[len(v)/2]) / 2, v[0], v[len(v)-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.least, s.most) }

// over returns the spread of what f makes of the turns of two ways in the same round.
func over(a, b []turn, f func(a, b turn) float64) spread {
	v := make([]float64, len(a))
	for i := range a {
		v[i] = f(a[i], b[i])
	}
	return spreadOf(v)
}

// speed returns how many times as fast a is as b, by round.
func speed(a, b []turn) spread {
	return over(a, b, func(a, b turn) float64 { return b.each() / a.each() })
}

// cost returns how many times as long a takes as b, by round.
func cost(a, b []turn) spread { return speed(b, a) }

// median returns the median of what f makes of the turns.
func median(t []turn, f func(turn) float64) float64 {
	return over(t, t, func(a, _ turn) float64 { return f(a) }).median
}

// work returns how many times as much processor time a takes as b, by round.
func work(a, b []turn) spread {
	return over(a, b, func(a, b turn) float64 { return a.work() / b.work() })
}

func micros(t []turn) string {
	return fmt.Sprintf("%.2f", median(t, turn.each)/1e3)
}

func allocs(t []turn) string {
	return fmt.Sprintf("%.1f", median(t, func(t turn) float64 { return t.allocs }))
}

func bytes(t []turn) string {
	return fmt.Sprintf("%.0f", median(t, func(t turn) float64 { return t.bytes }))
}
