package streams

import (
	"context"
	"iter"
)

// Item is what a [Stream.Tail] yields: an event or a gap. One of the two is nil.
type Item[E any] struct {
	// Event is shared by all who tail the key, and must not be modified.
	Event *Event[E]
	Gap   *Gap
}

// Gap says that events are missing before the next one.
type Gap struct {
	// Missed is the number of events that were appended and are not to be had any more.
	Missed int64
	// Reset: the key has expired or was lost. If it has begun anew, Missed counts from the new
	// beginning; how many of the old events were missed, nobody knows.
	Reset bool
	// Pos is where the reader is after the gap.
	Pos Pos
}

// Tail follows a key from a position on, for instance that of [Stream.Recent] or of the last
// event that was seen; the zero Pos is before all events. It yields what was appended since,
// oldest first, then waits for more. Each event is yielded once, and those that a reader was
// too late for are counted in a Gap: within an epoch the events that it yields and those
// that it reports as missed are all that there were, however slow the reader is, and
// however often it comes back.
//
// It returns when ctx ends. An error ends it too: [ErrClosed] after Close, and one that wraps
// driver.ErrInvalid for a key that is too long. While the log does not answer it waits.
//
// However many readers follow a key in a process, the log is read once for all of them; and
// none of them waits for another. The sequence can be used once, by one goroutine.
func (s *Stream[E]) Tail(ctx context.Context, key string, from Pos) iter.Seq2[Item[E], error] {
	return func(yield func(Item[E], error) bool) {
		name, err := s.logKey(key)
		if err != nil {
			yield(Item[E]{}, err)
			return
		}
		f, ok := s.hub.attach(name)
		if !ok {
			yield(Item[E]{}, ErrClosed)
			return
		}
		defer s.hub.detach(f)
		needs := uint64(0) // the number of the first read that can be believed
		for known := false; ; {
			w := f.window.Load()
			switch {
			case !w.known || w.read < needs:
			case !known && !w.reaches(from):
				// The window may have been read before from was, by another call or in
				// another process. One that is read from now on can be believed; and
				// so can all once the reader has its position from one.
				known, needs = true, s.hub.doubt(f)
			default:
				var more bool
				if from, more = w.yieldAfter(from, ctx, yield); !more {
					return
				}
				known = true
			}
			select {
			case <-w.replaced:
			case <-s.closing:
				yield(Item[E]{}, ErrClosed)
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// window is what is known of a key in a process. It never changes.
type window[E any] struct {
	known    bool   // it was read
	read     uint64 // the number of the read that it is from
	pos      Pos
	events   []*Event[E] // the newest first
	replaced chan struct{}
}

// reaches reports whether a position is within what the window knows of.
func (w *window[E]) reaches(from Pos) bool {
	return from == Pos{} || from.Epoch == w.pos.Epoch && from.Seq >= 0 && from.Seq <= w.pos.Seq
}

// yieldAfter yields what comes after a position, and returns the position that this leads
// to, and whether the reader wants more.
func (w *window[E]) yieldAfter(from Pos, ctx context.Context, yield func(Item[E], error) bool) (Pos, bool) {
	fresh, missed, reset := w.after(from)
	if missed > 0 || reset {
		g := &Gap{Missed: missed, Reset: reset, Pos: Pos{w.pos.Epoch, w.pos.Seq - int64(len(fresh))}}
		if !yield(Item[E]{Gap: g}, nil) {
			return from, false
		}
	}
	for i := len(fresh) - 1; i >= 0; i-- {
		if ctx.Err() != nil || !yield(Item[E]{Event: fresh[i]}, nil) {
			return from, false
		}
	}
	return w.pos, true
}

// after is driver.LogSnapshot.After for events that are decoded.
func (w *window[E]) after(from Pos) (fresh []*Event[E], missed int64, reset bool) {
	seen := from.Seq
	if !w.reaches(from) || from == (Pos{}) {
		seen, reset = 0, from != Pos{}
	}
	n := w.pos.Seq - seen
	fresh = w.events[:min(n, int64(len(w.events)))]
	return fresh, n - int64(len(fresh)), reset
}
