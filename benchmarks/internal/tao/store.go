package tao

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// backend is what a store is made of.
type backend interface {
	driver.Store
	driver.Ledger
}

// store is a store at some distance: every call takes delay longer than it takes the
// backend, and so many calls are answered at once as there are slots. What is read arrives
// pause later. It counts what it is asked.
type store struct {
	driver.Store
	driver.Ledger
	delay, pause atomic.Int64 // in nanoseconds
	slots        chan struct{}
	misses       *misses // nil counts none

	// Calls are those that read or write records, items the objects, lists, counts and
	// single edges that reads asked for. Those of writes count apart.
	calls, items, writeItems, writes, looks atomic.Int64
}

func newStore(b backend, slots int) *store {
	return &store{Store: b, Ledger: b, slots: make(chan struct{}, slots)}
}

// ofWrite marks the context of a write, so that what it reads is not taken for a miss.
type ofWrite struct{}

// wait takes a slot for as long as the call is delayed.
func (s *store) wait(ctx context.Context) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	time.Sleep(time.Duration(s.delay.Load()))
	return nil
}

// Read implements driver.Store.
func (s *store) Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error) {
	s.calls.Add(1)
	n := int64(0)
	for i := range steps {
		n += int64(max(1, len(steps[i].IDs)*max(1, len(steps[i].Ends))))
	}
	if ctx.Value(ofWrite{}) != nil {
		s.writeItems.Add(n)
	} else {
		s.items.Add(n)
		s.misses.count(steps)
	}
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	results, err := s.Store.Read(ctx, steps, atLeast)
	<-s.slots
	if ctx.Value(ofWrite{}) == nil {
		time.Sleep(time.Duration(s.pause.Load()))
	}
	return results, err
}

// Write implements driver.Store.
func (s *store) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	s.calls.Add(1)
	s.writes.Add(int64(len(writes)))
	if err := s.wait(ctx); err != nil {
		results := make([]driver.WriteResult, len(writes))
		for i := range results {
			results[i].Outcome = driver.Refused
		}
		return results, err
	}
	defer func() { <-s.slots }()
	return s.Store.Write(ctx, writes)
}

// Look implements driver.Ledger.
func (s *store) Look(ctx context.Context) (driver.Look, error) {
	s.looks.Add(1)
	if err := s.wait(ctx); err != nil {
		return driver.Look{}, err
	}
	defer func() { <-s.slots }()
	return s.Ledger.Look(ctx)
}

// Capabilities implements driver.Store, without transactions.
func (s *store) Capabilities() driver.Capabilities {
	c := s.Store.Capabilities()
	c.Transactions = false
	return c
}

// reset sets the counts to 0.
func (s *store) reset() {
	for _, c := range []*atomic.Int64{&s.calls, &s.items, &s.writeItems, &s.writes, &s.looks} {
		c.Store(0)
	}
	if s.misses != nil {
		s.misses.compulsory.Store(0)
		s.misses.written.Store(0)
		s.misses.capacity.Store(0)
	}
}

// misses says why the store is asked for something: because it has not been asked for it
// before (compulsory); because it has been written since, or is just being written; or
// because the cache has lost it (capacity).
type misses struct {
	began                         time.Time
	compulsory, written, capacity atomic.Int64
	shards                        [64]missShard
}

type missShard struct {
	mu     sync.Mutex
	loads  map[fragment]lastLoad
	writes map[place]lastWrite
}

// place is an object, or the list of the edges of a kind that start at one.
type place struct{ kind, id string }

// lastLoad is when something was last asked for, and which count that was.
type lastLoad struct {
	at  time.Duration
	why *atomic.Int64
}

// A second load within sameLoad, with no write between, is one of a reader who did not see
// the first one's value yet: it counts as what that counted.
const sameLoad = time.Second

type lastWrite struct {
	underWay int
	end      time.Duration
}

// fragment is what can be asked for of a place.
type fragment struct {
	place
	op            driver.Op
	end           string
	high, low     int64
	offset, limit int
}

func newMisses() *misses {
	m := &misses{began: time.Now()}
	for i := range m.shards {
		m.shards[i].loads, m.shards[i].writes = make(map[fragment]lastLoad), make(map[place]lastWrite)
	}
	return m
}

func (m *misses) shard(p place) *missShard {
	h := uint64(len(p.kind))
	for i := range len(p.id) {
		h = h*31 + uint64(p.id[i])
	}
	return &m.shards[mix(h, 0)%uint64(len(m.shards))]
}

// count counts what is asked for.
func (m *misses) count(steps []driver.Step) {
	if m == nil {
		return
	}
	now := time.Since(m.began)
	for i := range steps {
		s := &steps[i]
		f := fragment{op: s.Op, offset: s.Range.Offset}
		if !s.Range.High.IsZero() || !s.Range.Low.IsZero() {
			f.high, f.low, f.limit = s.Range.High.UnixMilli(), s.Range.Low.UnixMilli(), s.Range.Limit
		}
		for _, id := range s.IDs {
			f.place = place{s.Kind, id}
			for _, f.end = range append([]string{""}, s.Ends...)[min(len(s.Ends), 1):] {
				m.countOne(f, now)
			}
		}
	}
}

func (m *misses) countOne(f fragment, now time.Duration) {
	shard := m.shard(f.place)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	last, loaded := shard.loads[f]
	w := shard.writes[f.place]
	why := &m.capacity
	switch {
	case !loaded:
		why = &m.compulsory
	case w.underWay > 0 || w.end > last.at:
		why = &m.written
	case now-last.at < sameLoad:
		why = last.why
	}
	why.Add(1)
	shard.loads[f] = lastLoad{now, why}
}

// writing notes that a place is being written, until the result is called.
func (m *misses) writing(p place) (done func()) {
	if m == nil {
		return func() {}
	}
	note := func(by int) {
		shard := m.shard(p)
		shard.mu.Lock()
		defer shard.mu.Unlock()
		w := shard.writes[p]
		w.underWay += by
		w.end = time.Since(m.began)
		shard.writes[p] = w
	}
	note(1)
	return func() { note(-1) }
}
