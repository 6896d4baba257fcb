package graphcache

import (
	"sync"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// flights are the loads that this process runs, so that readers who miss the same
// fragment at the same time read the store once. golang.org/x/sync/singleflight
// would collapse them too, but it runs one function a key, where a hop loads a
// hundred fragments in one batch, and whoever comes later joins whatever runs:
// protocol.Joins says why that is wrong.
type flights struct {
	mu sync.Mutex // protects m, and sent, queued and stamp of every flight in it
	m  map[flightKey]*flight
}

// flightKey names what is loaded. With a version, all flights of one key are
// interchangeable; without one, those that are not sent yet.
type flightKey struct {
	anchor  string
	field   string
	version uint64
	size    int
}

// flight is one fragment on its way: read from the store, or awaited from another
// process. The fields below done are set before done is closed.
type flight struct {
	key    flightKey
	waits  bool         // it waits for another process, which loads
	sent   bool         // its store read may have been sent
	queued *flight      // the one to be sent after it, if it has no version
	stamp  driver.Stamp // what its store read must at least see, for all who joined

	done      chan struct{}
	entry     driver.Entry // what waiting ended with, if that is what it did
	impatient bool
	value     value
	err       error
	panicked  *panicError
}

// board finds a flight for a request, or makes one that the caller is to run. waits
// says that the caller would wait for another process rather than load. after is
// the flight that must end before the new one is sent.
func (fs *flights) board(key flightKey, waits bool, stamp driver.Stamp) (f *flight, leads bool, after *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	defer func() { f.stamp = max(f.stamp, stamp) }()
	f = fs.m[key]
	switch {
	case f == nil || f.waits && !waits:
		// The second case:
		//  1. reader A claims the fragment
		//  2. reader B finds it claimed, and starts to wait for the claimant
		//  3. A, who is the claimant, comes here
		// A must load, or nobody does.
		f = newFlight(key, waits)
		fs.m[key] = f
		return f, true, nil
	case protocol.Joins(key.version, f.key.version, f.sent):
		return f, false, nil
	case f.queued != nil:
		return f.queued, false, nil
	}
	after, f.queued = f, newFlight(key, waits)
	return f.queued, true, after
}

func newFlight(key flightKey, waits bool) *flight {
	return &flight{key: key, waits: waits, done: make(chan struct{})}
}

// send marks the flights as sent, and returns what they must at least see: from here
// on nobody without a version joins.
func (fs *flights) send(batch []boarded) (stamp driver.Stamp) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, b := range batch {
		b.flight.sent = true
		stamp = max(stamp, b.flight.stamp)
	}
	return stamp
}

// queuedUp reports whether the flight is a load that is still to be sent.
func (fs *flights) queuedUp(f *flight) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return !f.sent && !f.waits
}

// remove forgets a flight, and makes way for the one queued behind it.
func (fs *flights) remove(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.m[f.key] != f {
		return
	}
	if f.queued != nil {
		fs.m[f.key] = f.queued
	} else {
		delete(fs.m, f.key)
	}
}
