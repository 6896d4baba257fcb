package streams

import (
	"bytes"
	"errors"
	"net/http"
	"time"
)

// viewer is a client that is sent events.
type viewer[E any] struct {
	*request[E]
	w       http.ResponseWriter
	control *http.ResponseController
	feed    *feed[E]

	pos      Pos    // all before it was sent, filtered or missed
	settled  bool   // pos is known to the window, or is not to be had from read needs on
	needs    uint64 // as in Tail
	filtered int64
	stats    []byte // that were sent last

	buf     []byte // for messages that are this viewer's own
	pending int    // bytes that were written and not flushed
	err     error
}

const (
	// retryAfter is how long a browser waits before it connects again.
	retryAfter = 2 * time.Second
	// deadlineBytes is for how much that is written a deadline is set.
	deadlineBytes = 256 << 10
)

// follow answers a request with server-sent events, until the client goes away or the stream
// is closed.
func (h *handler[E]) follow(w http.ResponseWriter, q *request[E]) error {
	v := &viewer[E]{request: q, w: w, control: http.NewResponseController(w), pos: q.from}
	var o *overview[E]
	if q.first {
		var err error
		if o, err = q.since(q.ctx, time.Now().Add(-h.opts.StatsEvery)); err != nil {
			return err
		}
		v.pos = o.pos()
	}
	feed, ok := h.s.hub.attach(q.key)
	if !ok {
		return ErrClosed
	}
	defer h.s.hub.detach(feed)
	v.feed = feed
	setHeaders(w, "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold messages back
	v.begin(o)
	v.run()
	return nil
}

// begin sends what comes first.
func (v *viewer[E]) begin(o *overview[E]) {
	b := append(v.buf[:0], "retry: "...)
	b = appendInt(b, retryAfter.Milliseconds())
	b = append(b, "\n\n"...)
	if o != nil {
		v.stats = o.stats
		var data []byte
		data, v.filtered = v.snapshotOf(o, v.filter)
		b = appendHead(b, v.pos, "snapshot")
		v.send(b)
		v.write(data)
		b = append(v.buf[:0], "\n\n"...)
	}
	v.send(b)
	v.flush()
}

// run sends what there is, whenever there is something.
func (v *viewer[E]) run() {
	beat := time.NewTimer(v.h.opts.Heartbeat)
	defer beat.Stop()
	for v.err == nil {
		s, o := v.sheetOf(v.feed), v.newest.Load()
		if v.sendNews(s) {
			v.sendStats(o)
		}
		if !o.ok() || s.known && s.pos != o.pos() {
			v.ask(o)
		}
		if v.pending > 0 {
			v.flush()
			beat.Reset(v.h.opts.Heartbeat)
		}
		if v.err != nil {
			return
		}
		select {
		case <-s.replaced:
		case <-o.replaced:
		case <-beat.C:
			v.send(append(v.buf[:0], ": ping\n\n"...))
		case <-v.ctx.Done():
			return
		case <-v.h.s.closing:
			return
		}
	}
}

// sendNews sends what the viewer has not seen of a window. It reports whether the window is
// to be believed, as [Stream.Tail] does; otherwise there will be another one.
func (v *viewer[E]) sendNews(s *sheet[E]) bool {
	switch {
	case !s.known || s.read < v.needs:
		return false
	case !v.settled && !s.reaches(v.pos):
		v.settled, v.needs = true, v.h.s.hub.doubt(v.feed)
		return false
	}
	v.settled = true
	if s.pos == v.pos {
		return true
	}
	fresh, missed, reset := s.after(v.pos)
	frames := s.frames[:len(fresh)]
	v.pos = Pos{s.pos.Epoch, s.pos.Seq - int64(len(fresh))}
	switch {
	case reset:
		v.sendGap("reset", missed)
	case missed > 0:
		v.sendGap("gap", missed)
	}
	for i := len(frames) - 1; i >= 0 && v.err == nil; i-- {
		if v.pos = frames[i].pos; v.filter.matches(frames[i]) {
			v.write(frames[i].message)
		} else {
			v.filtered++
		}
	}
	return true
}

// sendGap tells that the viewer has missed events, and is at pos now.
func (v *viewer[E]) sendGap(event string, missed int64) {
	b := appendHead(v.buf[:0], v.pos, event)
	b = append(b, `{"missed":`...)
	b = appendInt(b, missed)
	b = append(b, `,"pos":`...)
	b = appendPos(b, v.pos)
	v.send(append(b, "}\n\n"...))
}

// sendStats sends the counts if they have changed, once the viewer has what they count.
func (v *viewer[E]) sendStats(o *overview[E]) {
	if !o.ok() || v.pos.Epoch != o.pos().Epoch || v.pos.Seq < o.pos().Seq || bytes.Equal(v.stats, o.stats) {
		return
	}
	v.stats = o.stats
	b := appendHead(v.buf[:0], v.pos, "stats")
	b = appendFiltered(b, o.stats, v.filter, v.filtered)
	v.send(append(b, "\n\n"...))
}

// write writes a part of what is sent. It may wait for the viewer, until the deadline.
func (v *viewer[E]) write(b []byte) {
	for len(b) > 0 && v.err == nil {
		if v.pending%deadlineBytes == 0 {
			v.setDeadline()
		}
		n := min(len(b), deadlineBytes-v.pending%deadlineBytes)
		v.pending += n
		if v.err == nil {
			_, v.err = v.w.Write(b[:n])
		}
		b = b[n:]
	}
}

// send writes what was put together in buf, and keeps that.
func (v *viewer[E]) send(b []byte) {
	v.write(b)
	v.buf = b[:0]
}

// flush has the viewer get what was written.
func (v *viewer[E]) flush() {
	if v.err == nil {
		v.setDeadline()
		v.err = v.control.Flush()
	}
	v.pending = 0
}

// setDeadline gives the viewer time for what is written next.
func (v *viewer[E]) setDeadline() {
	err := v.control.SetWriteDeadline(time.Now().Add(v.h.opts.WriteTimeout))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		v.err = err
	}
}
