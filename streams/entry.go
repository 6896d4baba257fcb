package streams

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Event is one event of a key.
type Event[E any] struct {
	Pos  Pos
	Time time.Time // when it was appended, in milliseconds; up to 10 ms early
	Data E
	// Problem, if it is not empty, says why Data is the zero value: the event could not
	// be encoded, or was too large to be kept, or cannot be decoded. It has its
	// place in the stream all the same.
	Problem string

	raw []byte // the event as JSON, if that is how events are encoded
}

// An entry of the log is
//
//	1 byte   the format: what follows the time is an event, or a text that says why not
//	varint   the time, in milliseconds since 1970
//	rest     the event, encoded, or the text
const (
	formatEvent   = 1
	formatProblem = 2

	maxProblem = 200
	// maxEvent is the greatest length of an encoded event.
	maxEvent = driver.MaxLogEntry - 1 - binary.MaxVarintLen64
)

// encode returns the entry of an event.
func (o *Options[E]) encode(e *E, ms int64) []byte {
	data, err := o.safeEncode(e)
	switch {
	case err != nil:
		return appendEntry(formatProblem, ms, []byte(clip("the event cannot be encoded: "+err.Error())))
	case len(data) > maxEvent:
		return appendEntry(formatProblem, ms, fmt.Appendf(nil, "the event has %d bytes: at most %d are kept", len(data), maxEvent))
	}
	return appendEntry(formatEvent, ms, data)
}

// safeEncode is Encode, and safeDecode Decode, with an error for a panic: they are called in
// the background, where nobody could recover it.
func (o *Options[E]) safeEncode(e *E) (data []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			data, err = nil, fmt.Errorf("panic: %v", r)
		}
	}()
	return o.Encode(e)
}

func (o *Options[E]) safeDecode(data []byte, e *E) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return o.Decode(data, e)
}

func appendEntry(format byte, ms int64, rest []byte) []byte {
	entry := make([]byte, 0, 1+binary.MaxVarintLen64+len(rest))
	entry = append(entry, format)
	entry = binary.AppendVarint(entry, ms)
	return append(entry, rest...)
}

func clip(text string) string { return text[:min(len(text), maxProblem)] }

// decode reads an entry, which may be of anybody's making.
func (o *Options[E]) decode(entry []byte, pos Pos) *Event[E] {
	e := &Event[E]{Pos: pos}
	if len(entry) == 0 || entry[0] != formatEvent && entry[0] != formatProblem {
		e.Problem = "the event is in an unknown format"
		return e
	}
	ms, n := binary.Varint(entry[1:])
	if n <= 0 {
		e.Problem = "the event has no time"
		return e
	}
	e.Time = time.UnixMilli(ms)
	rest := entry[1+n:]
	if entry[0] == formatProblem {
		e.Problem = clip(string(rest))
		return e
	}
	if err := o.safeDecode(rest, &e.Data); err != nil {
		var none E
		e.Data, e.Problem = none, clip("the event cannot be decoded: "+err.Error())
		return e
	}
	if o.isJSON {
		e.raw = rest
	}
	return e
}
