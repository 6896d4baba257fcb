// Package bubble has what testing/synctest does not tell of a bubble.
package bubble

import (
	"bytes"
	"runtime"
)

// Goroutines returns how many goroutines the bubble of the caller has, itself included.
// runtime.NumGoroutine counts those outside it too, which other tests have left behind or
// the runtime has started, and for which a test on a fake clock does not wait. Without a
// bubble it returns 0.
func Goroutines() int {
	own := make([]byte, 256)
	own = own[:runtime.Stack(own, false)]
	// The first line reads "goroutine 7 [running, synctest bubble 3]:".
	line, _, _ := bytes.Cut(own, []byte("\n"))
	at := bytes.Index(line, []byte(", synctest bubble "))
	if at < 0 {
		return 0
	}
	all := make([]byte, 1<<20)
	for n := runtime.Stack(all, true); n == len(all); n = runtime.Stack(all, true) {
		all = make([]byte, 2*len(all))
	}
	return bytes.Count(all, line[at:])
}
