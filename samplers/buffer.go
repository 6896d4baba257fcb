package samplers

import (
	"context"
	"errors"
	"log/slog"
	"sync"
)

// line is a line that waits for the fate of its request.
type line struct {
	handler *handler
	ctx     context.Context
	record  slog.Record
}

// lines are the latest lines of a request, up to a number of them, in order. They have
// room for one more: the one that brings them forth.
type lines struct {
	slots []line // grown as they fill
	first int
	n     int
	size  int
	lost  int // lines for which there was no room, since one was written
}

// linesPool has lines whose slots are empty.
var linesPool = sync.Pool{New: func() any { return new(lines) }}

func newLines(size int) *lines {
	b := linesPool.Get().(*lines)
	b.size = size
	return b
}

func (b *lines) free() {
	clear(b.slots)
	*b = lines{slots: b.slots[:0]}
	linesPool.Put(b)
}

func (b *lines) full() bool { return b.n >= b.size }

func (b *lines) push(l line) {
	i := (b.first + b.n) % (b.size + 1)
	if i == len(b.slots) {
		b.slots = append(b.slots, l)
	} else {
		b.slots[i] = l
	}
	b.n++
}

func (b *lines) pop() line {
	l := b.slots[b.first]
	b.first = (b.first + 1) % (b.size + 1)
	b.n--
	return l
}

// takeLost returns how many lines were lost since it was asked last.
func (b *lines) takeLost() int {
	lost := b.lost
	b.lost = 0
	return lost
}

// holdLocked adds a line for whose request nothing is certain. If the oldest has to make room
// for it, and the request is of the tail, that one is returned: it is written now, with the weight
// of the tail, for which it does not matter how the request ends. Of a request that is
// dropped it is lost.
func (r *request) holdLocked(l line) (oldest line, tail bool) {
	if r.lines == nil {
		r.lines = newLines(l.handler.buffer)
	}
	if r.lines.full() {
		if oldest, tail = r.lines.pop(), r.began.Keep; !tail {
			r.lines.lost++
		}
	}
	r.lines.push(l)
	return oldest, tail
}

// log writes a line of a handler that holds lines, or holds it, or forgets it.
func (r *request) log(l line) error {
	certain := l.record.Level >= l.handler.certain()
	r.mu.Lock()
	if l.record.Level >= l.handler.upgrade.Level() {
		r.enterLocked(upgraded)
	}
	switch {
	case !r.settled() && !certain:
		if oldest, tail := r.holdLocked(l); tail {
			r.mu.Unlock()
			return oldest.write(r.began, 0)
		}
	case r.settled() && r.lines != nil && (!r.emitting || !r.lines.full()):
		// After those that are held, or are being written.
		r.lines.push(l)
	default:
		r.mu.Unlock()
		return l.write(r.decision(), 0)
	}
	return r.unlockAndEmit()
}

// unlockAndEmit ends a section that may have settled the request. If it has, the lines that
// are held are forgotten or written, as the decision says: without the lock, because what
// writes them may log by itself. It returns the handlers' errors.
func (r *request) unlockAndEmit() error {
	if r.lines == nil || r.emitting || !r.settled() {
		r.mu.Unlock()
		return nil
	}
	if !r.decision().Keep {
		r.freeLocked()
		r.mu.Unlock()
		return nil
	}
	r.emitting = true
	r.mu.Unlock()
	return r.emit()
}

func (r *request) freeLocked() {
	r.lines.free()
	r.lines = nil
}

// emit writes the lines until there are none.
func (r *request) emit() error {
	done := false
	defer func() {
		if !done { // a handler has panicked: the others are left to the next who emits
			r.mu.Lock()
			r.emitting = false
			r.mu.Unlock()
		}
	}()
	var errs []error
	for {
		l, lost, ok := r.next()
		if !ok {
			done = true
			return errors.Join(errs...)
		}
		if err := l.write(r.decision(), lost); err != nil {
			errs = append(errs, err)
		}
	}
}

// next takes the oldest line. When there is none the emitting is over.
func (r *request) next() (l line, lost int, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lines.n == 0 {
		r.emitting = false
		r.freeLocked()
		return line{}, 0, false
	}
	lost = r.lines.takeLost()
	return r.lines.pop(), lost, true
}
