package streams

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Options are the settings of a [Stream]. The zero Options, and nil, consist entirely of
// default values. All processes that share a log must have the same Cap, TTL, Bucket and
// encoding.
type Options[E any] struct {
	// Name sets this stream's keys apart from those of other streams in the same
	// backend. At most 128 bytes. Default "".
	Name string
	// Cap is how many events of a key are kept, from 1 to 1,000. Default 50.
	Cap int
	// TTL is how long a key is kept after its last event, from 1 s to 366 days.
	// Default 1 hour.
	TTL time.Duration
	// FlushEvery is how often events are sent, from 1 ms to 1 minute. What a process
	// has not sent when it is killed is lost. Default 100 ms.
	FlushEvery time.Duration
	// FlushEvents is the number of events of one key at which they are sent at once.
	// Default 1,000.
	FlushEvents int
	// MaxKeys bounds the keys of which a process has events to send, and so its memory: for
	// each, and for as many that had some before, two times Cap events; and up to 10,000 members.
	// Events of further keys are dropped and counted. Default 10,000.
	MaxKeys int
	// Poll is how often a process asks for news of the keys that it tails. Where producers
	// wake it, as with Redis, it is how often a key is read at most, and ten times that how
	// often it is asked for in any case: from 1 ms to 1 minute. Default 100 ms.
	Poll time.Duration
	// Type names the type of an event, up to 512 bytes, for counts by type. It is called
	// by Append, with a lock held: it must be fast and must not append. Nil: events have no
	// types.
	Type func(*E) string
	// Member names who or what caused an event, such as a user, up to 512 bytes, for
	// the number of different ones. It is called by Append. Nil: nobody is counted.
	Member func(*E) string
	// Bucket is the width of a bucket of the sparkline, which has 60: in whole
	// milliseconds. Default 1 s: the last minute.
	Bucket time.Duration
	// Encode and Decode turn an event into bytes, at most 65,500, and back. They may be
	// called by several goroutines, and must not keep or change the bytes. A panic counts as an
	// error. Default json.Marshal and json.Unmarshal. The
	// handler of HTTP needs JSON.
	Encode func(*E) ([]byte, error)
	Decode func([]byte, *E) error
	// Logger receives the beginnings and ends of outages. Default slog.Default().
	Logger *slog.Logger

	isJSON bool // events are encoded as JSON
}

const (
	maxName    = 128
	minTTL     = time.Second
	minEvery   = time.Millisecond
	maxEvery   = time.Minute
	maxPending = 1 << 20 // keys
)

func (o *Options[E]) withDefaults() (Options[E], error) {
	var c Options[E]
	if o != nil {
		c = *o
	}
	c.Cap = cmp.Or(c.Cap, 50)
	c.TTL = cmp.Or(c.TTL, time.Hour)
	c.FlushEvery = cmp.Or(c.FlushEvery, 100*time.Millisecond)
	c.FlushEvents = cmp.Or(c.FlushEvents, 1000)
	c.MaxKeys = cmp.Or(c.MaxKeys, 10_000)
	c.Poll = cmp.Or(c.Poll, 100*time.Millisecond)
	c.Bucket = cmp.Or(c.Bucket, time.Second)
	c.isJSON = c.Encode == nil && c.Decode == nil
	if c.Encode == nil {
		c.Encode = func(e *E) ([]byte, error) { return json.Marshal(e) }
	}
	if c.Decode == nil {
		c.Decode = func(b []byte, e *E) error { return json.Unmarshal(b, e) }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if err := c.validate(); err != nil {
		return c, fmt.Errorf("streams: %w: Options.%w", driver.ErrInvalid, err)
	}
	return c, nil
}

func (o *Options[E]) validate() error {
	between := func(d, lo, hi time.Duration) bool { return d >= lo && d <= hi }
	switch {
	case len(o.Name) > maxName:
		return fmt.Errorf("Name of %d bytes: at most %d", len(o.Name), maxName)
	case o.Cap < 1 || o.Cap > driver.MaxLogCap:
		return fmt.Errorf("Cap is %d: from 1 to %d", o.Cap, driver.MaxLogCap)
	case !between(o.TTL, minTTL, driver.MaxLogTTL):
		return fmt.Errorf("TTL is %v: from %v to %v", o.TTL, minTTL, driver.MaxLogTTL)
	case !between(o.FlushEvery, minEvery, maxEvery):
		return fmt.Errorf("FlushEvery is %v: from %v to %v", o.FlushEvery, minEvery, maxEvery)
	case o.FlushEvents < 1:
		return fmt.Errorf("FlushEvents is %d: at least 1", o.FlushEvents)
	case o.MaxKeys < 1 || o.MaxKeys > maxPending:
		return fmt.Errorf("MaxKeys is %d: from 1 to %d", o.MaxKeys, maxPending)
	case !between(o.Poll, minEvery, maxEvery):
		return fmt.Errorf("Poll is %v: from %v to %v", o.Poll, minEvery, maxEvery)
	case o.Bucket < time.Millisecond || o.Bucket%time.Millisecond != 0:
		return fmt.Errorf("Bucket is %v: whole milliseconds", o.Bucket)
	}
	return nil
}
