package streams

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

// frame is an event as it is sent, and what filters need of it. A process makes it once.
type frame struct {
	pos     Pos
	message []byte // of server-sent events
	event   []byte // EVENT, which is a part of message
	data    []byte // the event's JSON, which is a part of it, nil if there is none
	problem string

	lower func() string // the event's JSON, or the problem, in lower case
	value func() any    // the event's JSON, decoded, with numbers as json.Number
}

// timeFormat is RFC 3339 with milliseconds.
const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// newFrame makes the frame of an event.
func newFrame[E any](e *Event[E], maxEvent int) *frame {
	data, problem := []byte(nil), e.Problem
	if problem == "" {
		var err error
		data, err = e.json()
		switch {
		case err != nil:
			data, problem = nil, clip("the event cannot be sent: "+err.Error())
		case len(data) > maxEvent:
			data, problem = nil, fmt.Sprintf("the event has %d bytes: at most %d are sent", len(data), maxEvent)
		}
	}
	f := &frame{pos: e.Pos, problem: problem}
	b := make([]byte, 0, len(data)+len(problem)+160)
	b = appendHead(b, e.Pos, "event")
	from := len(b)
	b = append(b, `{"pos":`...)
	b = appendPos(b, e.Pos)
	b = append(b, `,"time":`...)
	if e.Time.IsZero() {
		b = append(b, "null"...)
	} else {
		b = append(b, '"')
		b = e.Time.UTC().AppendFormat(b, timeFormat)
		b = append(b, '"')
	}
	if problem != "" {
		text, _ := json.Marshal(problem)
		b = append(b, `,"problem":`...)
		b = append(b, text...)
	} else {
		b = append(b, `,"data":`...)
		at := len(b)
		b = append(b, data...)
		f.data = b[at:len(b):len(b)]
	}
	b = append(b, '}')
	f.event = b[from:len(b):len(b)]
	f.message = append(b, "\n\n"...)
	f.lower = sync.OnceValue(f.toLower)
	f.value = sync.OnceValue(f.decode)
	return f
}

// json returns the JSON of an event, in one line.
func (e *Event[E]) json() ([]byte, error) {
	var b bytes.Buffer
	if e.raw != nil {
		raw := e.raw
		if !utf8.Valid(raw) {
			raw = bytes.ToValidUTF8(raw, []byte("\uFFFD"))
		}
		if !bytes.ContainsAny(raw, "\r\n") {
			return raw, nil
		}
		err := json.Compact(&b, raw)
		return b.Bytes(), err
	}
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // no browser takes it for HTML
	if err := enc.Encode(&e.Data); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// maxFiltered is how much of an event a filter looks at, in bytes of its JSON: words are looked
// for in so many at its beginning, and an event that has more has no fields. What is kept
// for filters takes many times as much.
const maxFiltered = 8 << 10

func (f *frame) toLower() string {
	if f.data == nil {
		return strings.ToLower(f.problem)
	}
	return strings.ToLower(unescapeHTML.Replace(string(f.data[:min(len(f.data), maxFiltered)])))
}

// unescapeHTML undoes what json.Marshal does to characters that a filter may look for.
var unescapeHTML = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&")

func (f *frame) decode() any {
	var v any
	if f.data != nil && len(f.data) <= maxFiltered {
		dec := json.NewDecoder(bytes.NewReader(f.data))
		dec.UseNumber()
		_ = dec.Decode(&v) // it was encoded here, and is not nested deeper than can be decoded
	}
	return v
}

// sheet is a window with its frames. It never changes.
type sheet[E any] struct {
	*window[E]
	frames []*frame // of the window's events
}

// sheetOf returns the sheet of a feed's window. The first reader makes it for all.
func (t *topic[E]) sheetOf(f *feed[E]) *sheet[E] {
	if s := t.sheet.Load(); s != nil && s.window == f.window.Load() {
		return s
	}
	t.printing.Lock()
	defer t.printing.Unlock()
	old, w := t.sheet.Load(), f.window.Load()
	if old != nil && old.window == w {
		return old
	}
	s := &sheet[E]{window: w, frames: make([]*frame, len(w.events))}
	known := 0 // how many of the old events are there already
	for i, e := range w.events {
		// A window has the newest of the one before after what is new.
		if old != nil && known < len(old.frames) && old.events[known] == e {
			s.frames[i] = old.frames[known]
			known++
			continue
		}
		s.frames[i] = newFrame(e, t.h.opts.MaxEvent)
	}
	t.sheet.Store(s)
	return s
}

// appendHead appends the beginning of a message, up to its data.
func appendHead(b []byte, id Pos, event string) []byte {
	b = append(b, "id: "...)
	b = id.append(b)
	b = append(b, "\nevent: "...)
	b = append(b, event...)
	return append(b, "\ndata: "...)
}

// append appends what String returns.
func (p Pos) append(b []byte) []byte {
	b = strconv.AppendUint(b, p.Epoch, 16)
	b = append(b, '-')
	return strconv.AppendInt(b, p.Seq, 10)
}

func appendPos(b []byte, p Pos) []byte { return append(p.append(append(b, '"')), '"') }

func appendInt(b []byte, n int64) []byte { return strconv.AppendInt(b, n, 10) }

// appendEvents appends those of some events that match, oldest first, and returns how many
// do not.
func appendEvents(b []byte, frames []*frame, f *filter) (_ []byte, filtered int64) {
	b = append(b, '[')
	empty := true
	for i := len(frames) - 1; i >= 0; i-- {
		if !f.matches(frames[i]) {
			filtered++
			continue
		}
		if !empty {
			b = append(b, ',')
		}
		b = append(b, frames[i].event...)
		empty = false
	}
	return append(b, ']'), filtered
}

// appendFiltered appends STATS.
func appendFiltered(b, stats []byte, f *filter, filtered int64) []byte {
	b = append(b, stats...)
	if f != nil {
		b = append(b, `,"filtered":`...)
		b = appendInt(b, filtered)
	}
	return append(b, '}')
}
