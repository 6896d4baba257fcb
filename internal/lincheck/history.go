package lincheck

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/graphcache/graphcache"
)

// A history is a list of porcupine operations. The input of one is what was asked for,
// the output what was returned: nil is that of a write whose outcome is unknown, and
// which has never returned.

// never is when a write of unknown outcome returned.
const never = math.MaxInt64

// partition is what one read depends on.
type partition struct {
	name  string
	n     int             // its number, which is the same in all processes
	model porcupine.Model // without Init
	state any             // at the beginning of the round
}

// cell is a few partitions that are written together. No operation reaches from one
// cell into another.
type cell struct {
	name       string
	n          int // the number, as for a partition
	partitions []*partition
	read       func(context.Context, *client)
	write      func(context.Context, *client)
	// states reads the state of every partition from the store, in their order.
	states func(context.Context) ([]any, error)

	// unclear: nobody knows whether a write of this round was applied.
	unclear atomic.Bool
	// late: such a write may yet be applied.
	late atomic.Bool
	// clear is when the last such write can no longer be applied.
	clear time.Time
	// loaded: the partitions have the states of the store.
	loaded bool
}

// storeState asks for the whole state of a partition, which is the output.
type storeState struct{}

// model makes a model of a function that applies an input to a state. It says what
// comes of it, and whether the output is what it should be; a nil output always is,
// and if there is no such input in that state it leaves the state alone.
func model[S comparable, I any](step func(state S, in I, out any) (S, bool)) porcupine.Model {
	return porcupine.Model{
		Step: func(state, input, output any) (bool, any) {
			if input == (storeState{}) {
				return state == output, state
			}
			after, ok := step(state.(S), input.(I), output)
			return ok, after
		},
	}
}

// tally counts what the clients have done.
type tally struct {
	reads, writes, ambiguous, failedReads, refusedWrites atomic.Int64
	readError                                            atomic.Pointer[error] // the first
}

// failedRead counts a read that returned an error.
func (t *tally) failedRead(err error) {
	t.readError.CompareAndSwap(nil, &err)
	t.count(readFailed)
}

// count counts an operation.
func (t *tally) count(o outcome) {
	switch o {
	case wasRead:
		t.reads.Add(1)
	case readFailed:
		t.failedReads.Add(1)
	case written:
		t.writes.Add(1)
	case refused:
		t.refusedWrites.Add(1)
	default:
		t.ambiguous.Add(1)
	}
}

func (t *tally) operations() int64 { return t.reads.Load() + t.writes.Load() + t.ambiguous.Load() }

// client does one operation after the other and records them.
type client struct {
	id      int
	rng     *rand.Rand
	clock   func() int64 // that all clients share
	tally   *tally
	fresh   float64 // the share of the reads that go to the store itself
	cell    *cell   // of the operation under way
	records []record
	told    *wire // what is told of the operations, if they are recorded elsewhere
}

// record is an operation as one partition sees it.
type record struct {
	partition *partition
	operation porcupine.Operation
}

// effect is what an operation asked of a partition, and what that returned.
type effect struct {
	partition *partition
	in, out   any
}

// done is the output of a write that returns nothing.
type done struct{}

func (done) String() string { return "done" }

// now is the time on the clients' clock, which never goes back.
func (c *client) now() int64 { return c.clock() }

// chance is true with the probability p.
func (c *client) chance(p float64) bool { return c.rng.Float64() < p }

// freshness makes a few reads go to the store itself. They are judged like the others.
func (c *client) freshness() graphcache.Freshness {
	if c.chance(c.fresh) {
		return graphcache.Fresh
	}
	return graphcache.Cached
}

// outcome is what became of an operation.
type outcome int64

const (
	wasRead    outcome = iota
	readFailed         // and has seen nothing
	written
	refused // certainly had no effect
	unknown // may take effect at any time
	halfWay // errHalfWay
)

// didRead records a read.
func (c *client) didRead(called int64, err error, effects ...effect) {
	if err != nil {
		c.tally.readError.CompareAndSwap(nil, &err)
		c.end(readFailed, called, c.now(), nil)
		return
	}
	c.end(wasRead, called, c.now(), effects)
}

// willWrite begins a write and returns when.
func (c *client) willWrite(effects ...effect) int64 {
	called := c.now()
	if c.told != nil {
		c.told.begun(c, called, effects)
	}
	return called
}

// didWrite records a write.
func (c *client) didWrite(called int64, err error, effects ...effect) {
	c.end(outcomeOf(err), called, c.now(), effects)
}

// outcomeOf returns what became of a write that returned the error.
func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return written
	case hadNoEffect(err):
		return refused
	case errors.Is(err, errHalfWay):
		return halfWay
	}
	return unknown
}

// end records an operation.
func (c *client) end(o outcome, called, returned int64, effects []effect) {
	if o == unknown || o == halfWay {
		c.cell.unclear.Store(true)
		if o == unknown {
			c.cell.late.Store(true)
		}
		for i := range effects {
			effects[i].out = nil
		}
		returned = never
	}
	if c.told != nil {
		c.told.ended(c, o, called, returned, effects)
		return
	}
	c.tally.count(o)
	if o == readFailed || o == refused {
		return
	}
	for _, e := range effects {
		c.records = append(c.records, record{e.partition, porcupine.Operation{
			ClientId: c.id, Input: e.in, Call: called, Output: e.out, Return: returned,
		}})
	}
}

// errHalfWay is the error of a write that consists of several. It may have had an effect,
// but is over.
var errHalfWay = errors.New("lincheck: ended half-way")

// hadNoEffect reports whether a write that is a single one, and returned the error,
// changed nothing.
func hadNoEffect(err error) bool {
	for _, certain := range []error{
		graphcache.ErrUnavailable, graphcache.ErrConflict, graphcache.ErrNotFound, graphcache.ErrExists, graphcache.ErrInvalid,
	} {
		if errors.Is(err, certain) {
			return true
		}
	}
	return false
}
