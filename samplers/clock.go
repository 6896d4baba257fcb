package samplers

import (
	"sync/atomic"
	"time"
)

const (
	// tick is how often the clock is read. Reading it takes longer than the rest of a
	// throttled decision.
	tick = 10 * time.Millisecond
	// trusted is how far ahead of the coarse clock a deadline must be for that clock
	// to do. It makes up for ticks that come late on a busy machine.
	trusted = 100 // ms
)

// clock counts milliseconds from its start, in 32 bits that wrap after 49 days: times
// are compared by their difference, and none that matters is further away than half of
// that. The coarse reading is at most a tick old, if the goroutine that reads it is
// scheduled; the precise one never is.
type clock struct {
	now    func() time.Time
	start  time.Time
	coarse atomic.Uint32 // 0: read the precise clock
	lag    atomic.Int64  // the greatest delay of a tick, in nanoseconds
}

// init starts the clock with the time of now; the coarse reading begins with run.
func (c *clock) init(now func() time.Time) {
	c.now = now
	c.start = now()
}

// run reads the clock until done is closed.
func (c *clock) run(done <-chan struct{}) {
	t := time.NewTicker(tick)
	defer t.Stop()
	defer c.coarse.Store(0)
	last := c.now()
	for {
		now := c.now()
		c.coarse.Store(c.reading(now))
		if late := int64(now.Sub(last) - tick); late > c.lag.Load() {
			c.lag.Store(late)
		}
		last = now
		select {
		case <-t.C:
		case <-done:
			return
		}
	}
}

// read returns the time, which may be a tick or more ago.
func (c *clock) read() uint32 {
	if t := c.coarse.Load(); t != 0 {
		return t
	}
	return c.precise()
}

// precise returns the time, rounded down.
func (c *clock) precise() uint32 { return c.reading(c.now()) }

func (c *clock) reading(now time.Time) uint32 { return uint32(now.Sub(c.start).Milliseconds()) }

// wall returns the time of a reading that is within 24 days of now.
func (c *clock) wall(reading uint32) time.Time {
	now := c.now()
	return now.Add(time.Duration(int32(reading-c.reading(now))) * time.Millisecond)
}

// before reports whether the time now, as read, is before the deadline. It looks again
// if that is near. Nothing is before 0.
func (c *clock) before(now, deadline uint32) bool {
	left := int32(deadline - now)
	return left > 0 && deadline != 0 && (left > trusted || int32(deadline-c.precise()) > 0)
}
