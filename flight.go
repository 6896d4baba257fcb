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
	mu sync.Mutex // protects m, every flight's fields above done, and every party
	m  map[flightKey]*flight
}

// flightKey names what is loaded. With a version, all flights of one key are
// interchangeable; without one, those that are not sent yet.
type flightKey struct {
	anchor  string
	field   string
	version uint64
	size    int
	// A read that began after its kind was invalidated must not take what was
	// loaded before.
	generation uint64
}

// flight is one fragment on its way: read from the store, or awaited from another
// process. The fields below done are set before done is closed.
type flight struct {
	key     flightKey
	waits   bool         // it waits for another process, which loads
	sent    bool         // its store read may have been sent
	filling bool         // its fill may have been sent
	party   *party       // those who wait for it
	queued  *flight      // the one to be sent after it, if it has no version
	stamp   driver.Stamp // what its store read must at least see, for all who joined

	done      chan struct{}
	entry     driver.Entry // what waiting ended with, if that is what it did
	impatient bool
	value     value
	err       error
	panicked  *panicError
}

// party counts those who wait for the flights that one reader started.
type party struct {
	riders int
	left   bool          // all have given up: what is not sent yet will not be
	gone   chan struct{} // closed when left is set
}

// board finds a flight for a request, or makes one that the caller is to run. waits
// says that the caller would wait for another process rather than load. after is
// the flight that must end before the new one is sent.
func (fs *flights) board(key flightKey, waits, claimed bool, stamp driver.Stamp, p *party) (f *flight, leads bool, after *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	defer func() {
		f.stamp = max(f.stamp, stamp)
		f.party.riders++
	}()
	f = fs.m[key]
	switch {
	case f == nil || f.waits && !waits || f.filling && claimed || f.abandoned():
		// The second case:
		//  1. reader A claims the fragment
		//  2. reader B finds it claimed, and starts to wait for the claimant
		//  3. A, who is the claimant, comes here
		// A must load, or nobody does. The third: the claim that the flight loads
		// for has ended, and the request's is another one. The last: the flight
		// will not be sent.
		f = newFlight(key, waits, p)
		fs.m[key] = f
		return f, true, nil
	case protocol.Joins(key.version, f.key.version, f.sent):
		return f, false, nil
	case f.queued != nil && !f.queued.abandoned():
		return f.queued, false, nil
	}
	after, f.queued = f, newFlight(key, waits, p)
	return f.queued, true, after
}

// abandoned reports whether the flight is a load that will not be sent.
func (f *flight) abandoned() bool { return f.party.left && !f.sent && !f.waits }

// leave takes a rider off the flight.
func (fs *flights) leave(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	p := f.party
	if p.riders--; p.riders == 0 && !p.left {
		p.left = true
		close(p.gone)
	}
}

// fill marks the flights: their fill is about to be sent.
func (fs *flights) fill(batch []boarded) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, b := range batch {
		b.flight.filling = true
	}
}

func newFlight(key flightKey, waits bool, p *party) *flight {
	return &flight{key: key, waits: waits, party: p, done: make(chan struct{})}
}

// send marks the flights as sent, and returns what they must at least see: from here
// on nobody without a version joins.
func (fs *flights) send(batch []boarded) (stamp driver.Stamp, wanted bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if batch[0].flight.abandoned() {
		return "", false
	}
	for _, b := range batch {
		b.flight.sent = true
		stamp = max(stamp, b.flight.stamp)
	}
	return stamp, true
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
	if f.queued != nil && !f.queued.abandoned() {
		fs.m[f.key] = f.queued
	} else {
		delete(fs.m, f.key)
	}
}
