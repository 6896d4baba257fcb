//go:build linux

package soak_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// shared is the memory that all processes of a run have in common. It survives each of them.
type shared struct {
	mode      atomic.Int64 // what clients do
	writes    atomic.Int64 // per second, in each process
	places    [maxPlaces]placeState
	sequences [maxSequences]sequence
}

// The modes.
const (
	rest = iota
	work
)

const (
	maxPlaces    = 4
	maxSequences = 512
	maxStale     = 4096 // kinds of stale reads that a place can tell apart
	recent       = 256  // states of a sequence of which more is known than that they were
)

// placeState is what a process says of itself, after others that were in its place.
type placeState struct {
	counts  [counts]atomic.Int64
	working atomic.Int64 // clients that are in an operation
	trap    trap
	used    atomic.Int64 // of stale
	stale   [maxStale]staleRead
}

// What is counted.
const (
	cReads = iota
	cCalls // reads of several anchors at once count once
	cFresh
	cFailedReads
	cWrites
	cTxs
	cRefused   // writes without effect
	cAmbiguous // writes of unknown outcome
	cOwed      // writes that were in the journal when they were acknowledged
	cStale
	cLost // stale reads for which there was no room
	counts
)

// trap kills or stops the process at a step of a write.
type trap struct {
	action atomic.Int64 // 0 for none, or the signal
	step   atomic.Int64
	skip   atomic.Int64 // how often the step is passed before
	sprung atomic.Int64
}

// sequence is a record, or an edge: what has states of which the next replaces the last.
type sequence struct {
	begun atomic.Int64    // the last state that a write was to make
	acked atomic.Int64    // the last one whose write was acknowledged
	seen  [2]atomic.Int64 // the last one that a read of each of its anchors must have returned
	clear atomic.Int64    // when a write of unknown outcome can no longer be applied
	log   [recent]write
}

// write is what is known of the write that made a state, or was to make it. Times are those
// of [clock].
type write struct {
	n     atomic.Int64
	begun atomic.Int64 // by the first who tried
	by    atomic.Int64 // a bit for each place that tried
	acked atomic.Int64 // 0 if it was not
	acker atomic.Int64 // the place for which it was
	// When what each place tried was in the journal, 0 if it was not.
	owed [maxPlaces]atomic.Int64
}

// begin notes that a process is about to write a state.
func (s *sequence) begin(n int64, place int) {
	w := &s.log[n%recent]
	if old := w.n.Load(); old < n && w.n.CompareAndSwap(old, n) {
		w.by.Store(0)
		w.acked.Store(0)
		for place := range w.owed {
			w.owed[place].Store(0)
		}
		w.begun.Store(clock())
	}
	w.by.Or(1 << place)
	raise(&s.begun, n)
}

// owe notes that the anchors of a write are in the journal.
func (s *sequence) owe(n int64, place int) {
	if w := &s.log[n%recent]; w.n.Load() == n {
		w.owed[place].Store(clock())
	}
}

// debt returns when the write was in the journal, 0 if it was not, and the place that has put it
// there: the one whose attempt was acknowledged, or if none was the first.
func (w *write) debt() (owed int64, ower int) {
	if w.acked.Load() != 0 {
		ower = int(w.acker.Load())
		return w.owed[ower].Load(), ower
	}
	for place := range w.owed {
		if t := w.owed[place].Load(); t != 0 && (owed == 0 || t < owed) {
			owed, ower = t, place
		}
	}
	return owed, ower
}

// ack notes that a write was acknowledged.
func (s *sequence) ack(n int64, place int) {
	w := &s.log[n%recent]
	w.acker.Store(int64(place))
	w.acked.Store(clock())
	raise(&s.acked, n)
}

// raise sets n to x unless it is more.
func raise(n *atomic.Int64, x int64) {
	for old := n.Load(); old < x && !n.CompareAndSwap(old, x); {
		old = n.Load()
	}
}

// staleRead is all the reads of one anchor that returned one state, which the same write had
// replaced.
type staleRead struct {
	sequence, view, state atomic.Int64 // state -1 is none that there ever was
	fresh, knew, counted  atomic.Int64 // 1 for yes
	count                 atomic.Int64
	first, last           atomic.Int64 // when the reads began
	look                  atomic.Int64 // when the last look began that the reader's process had finished
	failed                atomic.Int64 // when the last look had failed
	low, high             atomic.Int64 // the states that were possible for the first
	over                  atomic.Int64 // the state that replaced it, and what is known of that write:
	begun, by             atomic.Int64
	acked, owed, ower     atomic.Int64
}

// mapShared maps the file, which has room, into memory.
func mapShared(path string) (*shared, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := int(unsafe.Sizeof(shared{}))
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return (*shared)(unsafe.Pointer(&b[0])), nil
}

// clock returns the time in nanoseconds of CLOCK_MONOTONIC, which all processes of a machine
// share and which never goes back.
func clock() int64 {
	const monotonic = 1
	var now syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&now)), 0); errno != 0 {
		panic(errno) // no kernel lacks that clock
	}
	return now.Nano()
}
