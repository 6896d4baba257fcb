package streams

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// topic is what the requests for a key share.
type topic[E any] struct {
	h   *handler[E]
	key string // the log's

	conns int // requests; protected by the handler's mu
	left  int // how often the last request has left; protected by the handler's mu

	newest atomic.Pointer[overview[E]] // never nil
	sheet  atomic.Pointer[sheet[E]]    // the newest; nil if there was none

	mu      sync.Mutex // protects what follows
	timer   *time.Timer
	due     time.Time // when timer fires
	reading bool
	stopped bool

	printing sync.Mutex   // protects what follows, and is held while a sheet is made
	printed  *overview[E] // the last one that has frames
}

func newTopic[E any](h *handler[E], key string) *topic[E] {
	t := &topic[E]{h: h, key: key}
	t.newest.Store(&overview[E]{replaced: make(chan struct{})})
	return t
}

// overview is what was known of a key at a time. It never changes.
type overview[E any] struct {
	at       time.Time // the read began; zero before the first one
	err      error     // why it failed: then there is nothing more
	found    driver.LogSnapshot
	stats    []byte        // STATS, without the closing brace
	replaced chan struct{} // closed when there is another one

	frames   []*frame // of found.Entries; protected by the topic's printing
	snapshot []byte   // the data of a snapshot; protected by the topic's printing
}

// pos is where the key was.
func (o *overview[E]) pos() Pos { return Pos(o.found.Head.Position) }

// ok reports whether the overview was read.
func (o *overview[E]) ok() bool { return o.err == nil && !o.at.IsZero() }

// reaches reports whether a position is within what the overview knows of.
func (o *overview[E]) reaches(from Pos) bool {
	return (&window[E]{pos: o.pos()}).reaches(from)
}

// since waits for an overview that was read at a time or later.
func (t *topic[E]) since(ctx context.Context, at time.Time) (*overview[E], error) {
	for {
		o := t.newest.Load()
		if !o.at.Before(at) {
			return o, o.err
		}
		t.ask(o)
		select {
		case <-o.replaced:
		case <-t.h.s.closing:
			return nil, ErrClosed
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// ask has the key read, if o is the newest overview, as soon as StatsEvery has passed.
func (t *topic[E]) ask(o *overview[E]) { t.readAt(o, o.at.Add(t.h.opts.StatsEvery)) }

// readAt has the key read at a time, if o is the newest overview then.
func (t *topic[E]) readAt(o *overview[E], at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped || t.reading || t.newest.Load() != o {
		return
	}
	if t.timer != nil {
		if !at.Before(t.due) || !t.timer.Stop() {
			return // it will be read by then, or is being read
		}
	}
	t.due = at
	t.timer = time.AfterFunc(time.Until(at), t.read)
}

// stop ends the reading.
func (t *topic[E]) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
	if t.timer != nil {
		t.timer.Stop()
	}
}

// read reads an overview.
func (t *topic[E]) read() {
	t.mu.Lock()
	if t.timer = nil; t.stopped || t.h.s.closed.Load() {
		t.mu.Unlock()
		return
	}
	t.reading = true
	t.mu.Unlock()

	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	go func() {
		select {
		case <-t.h.s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	o := &overview[E]{at: time.Now(), replaced: make(chan struct{})}
	t.h.s.stats.reads.Add(1)
	found, err := t.h.s.log.Snapshot(ctx, []string{t.key})
	if o.err = err; err == nil {
		o.found = found[0]
		o.stats = appendStats(nil, &o.found)
	}

	t.mu.Lock()
	t.reading = false
	old := t.newest.Swap(o)
	t.mu.Unlock()
	close(old.replaced)
	if o.found.Spark != [driver.LogBuckets]int64{} { // it moves on although nothing happens
		t.readAt(o, o.at.Add(max(t.h.opts.StatsEvery, o.found.Bucket)))
	}
}

// appendStats appends STATS, without the closing brace.
func appendStats(b []byte, found *driver.LogSnapshot) []byte {
	type typeCount struct {
		Type  string `json:"type"`
		Count int64  `json:"count"`
	}
	stats := struct {
		Pos     Pos                      `json:"pos"`
		Total   int64                    `json:"total"`
		Unique  int64                    `json:"unique"`
		Types   []typeCount              `json:"types"`
		Spark   [driver.LogBuckets]int64 `json:"spark"`
		Bucket  int64                    `json:"bucket_ms"`
		Created *string                  `json:"created"` // null if the key does not exist
	}{
		Pos:    Pos(found.Head.Position),
		Total:  found.Head.Total,
		Unique: found.Unique,
		Types:  []typeCount{},
		Spark:  found.Spark,
		Bucket: found.Bucket.Milliseconds(),
	}
	for _, t := range found.Types {
		stats.Types = append(stats.Types, typeCount(t))
	}
	if !found.Created.IsZero() {
		created := found.Created.UTC().Format(timeFormat)
		stats.Created = &created
	}
	text, _ := json.Marshal(stats) // which cannot fail
	return append(b, text[:len(text)-1]...)
}

// framesOf returns the events of an overview, newest first.
func (t *topic[E]) framesOf(o *overview[E]) []*frame {
	t.printing.Lock()
	defer t.printing.Unlock()
	return t.framesLocked(o)
}

// framesLocked makes the frames of an overview. It takes those of the last one that had
// any, where the entry is the same.
func (t *topic[E]) framesLocked(o *overview[E]) []*frame {
	if o.frames != nil || len(o.found.Entries) == 0 {
		return o.frames
	}
	pos, last := o.pos(), t.printed
	frames := make([]*frame, len(o.found.Entries))
	for i, entry := range o.found.Entries {
		if last != nil && last.pos().Epoch == pos.Epoch {
			j := last.pos().Seq - pos.Seq + int64(i)
			if j >= 0 && j < int64(len(last.frames)) && bytes.Equal(last.found.Entries[j], entry) {
				frames[i] = last.frames[j]
				continue
			}
		}
		e := t.h.s.opts.decode(entry, Pos{pos.Epoch, pos.Seq - int64(i)})
		frames[i] = newFrame(e, t.h.opts.MaxEvent)
	}
	o.frames, t.printed = frames, o
	return frames
}

// snapshotOf returns the data of a snapshot, and how many events do not match the filter.
func (t *topic[E]) snapshotOf(o *overview[E], f *filter) (data []byte, filtered int64) {
	t.printing.Lock()
	frames, whole := t.framesLocked(o), o.snapshot
	t.printing.Unlock()
	if f == nil && whole != nil {
		return whole, 0
	}
	// Without the lock, for which others wait: a filter takes its time.
	data, filtered = appendEvents([]byte(`{"events":`), frames, f)
	data = append(data, `,"pos":`...)
	data = appendPos(data, o.pos())
	data = append(data, `,"stats":`...)
	data = appendFiltered(data, o.stats, f, filtered)
	data = append(data, `,"cap":`...)
	data = appendInt(data, int64(t.h.s.opts.Cap))
	data = append(data, '}')
	if f == nil {
		t.printing.Lock()
		o.snapshot = data
		t.printing.Unlock()
	}
	return data, filtered
}
