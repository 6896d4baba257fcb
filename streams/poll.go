package streams

import (
	"net/http"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// poll answers a request with JSON, out of an overview that is shared with others.
func (h *handler[E]) poll(w http.ResponseWriter, q *request[E]) error {
	now := time.Now()
	o, err := q.since(q.ctx, now.Add(-h.opts.StatsEvery))
	if err == nil && !q.first && !o.reaches(q.from) {
		// Another process may have known more: only one that is read now tells.
		o, err = q.since(q.ctx, now)
	}
	if err != nil {
		return err
	}
	var body []byte
	if q.first {
		body, _ = q.snapshotOf(o, q.filter)
	} else {
		body = q.newsOf(o)
	}
	setHeaders(w, "application/json")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(h.opts.WriteTimeout)) // if it can
	_, _ = w.Write(body)
	return nil
}

// newsOf returns what an overview has beyond the position asked for.
func (q *request[E]) newsOf(o *overview[E]) []byte {
	d := o.found.After(driver.Position(q.from))
	b, filtered := appendEvents([]byte(`{"events":`), q.framesOf(o)[:len(d.Entries)], q.filter)
	b = append(b, `,"gap":`...)
	if d.Missed > 0 || d.Reset {
		b = append(b, `{"missed":`...)
		b = appendInt(b, d.Missed)
		b = append(b, `,"reset":`...)
		if d.Reset {
			b = append(b, "true}"...)
		} else {
			b = append(b, "false}"...)
		}
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"pos":`...)
	b = appendPos(b, o.pos())
	b = append(b, `,"stats":`...)
	b = appendFiltered(b, o.stats, q.filter, filtered)
	return append(b, '}')
}
