package lincheck

import (
	"syscall"
	"unsafe"
)

// sharedClock returns the time in nanoseconds of a clock that all processes share and that
// never goes back. That is CLOCK_MONOTONIC, which counts from the start of the machine. The
// monotonic reading in a time.Time is of the same clock, but cannot be taken out of it. The
// system call is made directly, as golang.org/x/sys is no direct dependency of the module.
var sharedClock = func() int64 {
	const monotonic = 1
	var now syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&now)), 0); errno != 0 {
		panic(errno) // no kernel lacks that clock
	}
	return now.Nano()
}
