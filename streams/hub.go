package streams

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// hub reads the keys that are tailed, once for all readers in the process. It asks how far
// the keys are, all with one call, and reads those that have moved. Of a key that has just
// moved, or of which a producer says that it has, it reads the news without asking. When
// producers can wake it, it asks ten times less often by itself, in case a message is lost.
// It reads no key more often than once in a poll, whatever wakes it.
type hub[E any] struct {
	s     *Stream[E]
	woken chan struct{} // has an element if there is something to read at once

	mu      sync.Mutex // protects what follows
	feeds   map[string]*feed[E]
	reads   uint64             // that have begun
	stop    context.CancelFunc // of what runs while there are feeds; nil if there are none
	running sync.WaitGroup
}

// feed is a key that is tailed.
type feed[E any] struct {
	key     string
	window  atomic.Pointer[window[E]]
	readers int           // protected by the hub's mu
	moved   atomic.Bool   // it is to be read, without asking first whether it has moved
	needed  atomic.Uint64 // the number of a read of which a reader needs to know, even if nothing has moved
}

const (
	// wakingPolls is how many times less often keys are polled when producers wake.
	wakingPolls = 10
	// readTimeout is how long a call may take.
	readTimeout = 2 * time.Second
)

func (h *hub[E]) init(s *Stream[E]) {
	h.s, h.woken, h.feeds = s, make(chan struct{}, 1), make(map[string]*feed[E])
}

// attach adds a reader of a key, unless the stream is closed.
func (h *hub[E]) attach(key string) (*feed[E], bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.s.closed.Load() {
		return nil, false
	}
	f := h.feeds[key]
	if f == nil {
		f = &feed[E]{key: key}
		f.window.Store(&window[E]{replaced: make(chan struct{})})
		f.moved.Store(true)
		h.feeds[key] = f
		h.ring()
	}
	f.readers++
	if h.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		h.stop = stop
		h.running.Go(func() { h.run(ctx) })
	}
	return f, true
}

// detach removes a reader. A key without readers is not read any more.
func (h *hub[E]) detach(f *feed[E]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if f.readers--; f.readers > 0 {
		return
	}
	delete(h.feeds, f.key)
	if len(h.feeds) == 0 {
		h.stop()
		h.stop = nil
	}
}

// close ends what runs. The readers end by themselves.
func (h *hub[E]) close() {
	h.mu.Lock()
	if h.stop != nil {
		h.stop()
	}
	h.mu.Unlock()
	h.running.Wait()
}

// doubt has a feed read, by a read that begins from now on, and returns its number.
func (h *hub[E]) doubt(f *feed[E]) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	f.moved.Store(true)
	f.needed.Store(h.reads + 1)
	h.ring()
	return h.reads + 1
}

// ring has the keys that are marked as moved read at once.
func (h *hub[E]) ring() {
	select {
	case h.woken <- struct{}{}:
	default:
	}
}

// run reads until ctx ends.
func (h *hub[E]) run(ctx context.Context) {
	var waking atomic.Bool
	var listening sync.WaitGroup
	defer listening.Wait()
	if h.s.waker != nil {
		listening.Go(func() { h.listen(ctx, &waking) })
	}
	t := time.NewTicker(h.s.opts.Poll)
	defer t.Stop()
	failing := false
	var last time.Time // when it has read
	for polls := 0; ; {
		all, awake := false, waking.Load()
		select {
		case <-ctx.Done():
			return
		case <-h.woken:
			if time.Since(last) < h.s.opts.Poll {
				continue // what has moved is read with the next poll
			}
			t.Reset(h.s.opts.Poll)
		case <-t.C:
			polls++
			all = !awake || polls%wakingPolls == 0
		}
		last = time.Now()
		err := h.read(ctx, all, !awake)
		if ctx.Err() == nil && (err != nil) != failing {
			failing = err != nil
			h.note(err)
		}
	}
}

func (h *hub[E]) note(err error) {
	if err != nil {
		h.s.opts.Logger.Warn("graphcache: streams: what is followed cannot be read", slog.String("stream", h.s.opts.Name), slog.Any("error", err))
	} else {
		h.s.opts.Logger.Info("graphcache: streams: what is followed is read again", slog.String("stream", h.s.opts.Name))
	}
}

// listen hears the producers, as long as that is possible, and says whether it is.
func (h *hub[E]) listen(ctx context.Context, waking *atomic.Bool) {
	for ctx.Err() == nil {
		for keys, err := range h.s.waker.Wakes(ctx) {
			if err != nil {
				break
			}
			waking.Store(true)
			if h.wake(keys) {
				h.ring()
			}
		}
		waking.Store(false)
		select {
		case <-time.After(wakingPolls * h.s.opts.Poll):
		case <-ctx.Done():
		}
	}
}

// wake marks the feeds of keys as moved, nil those of all, and reports whether there are
// any.
func (h *hub[E]) wake(keys []string) (some bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if keys == nil {
		for _, f := range h.feeds {
			f.moved.Store(true)
		}
		return len(h.feeds) > 0
	}
	for _, key := range keys {
		if f := h.feeds[key]; f != nil {
			f.moved.Store(true)
			some = true
		}
	}
	return some
}

// read reads the feeds that have moved, and finds out of the others, if all is set,
// whether they have. With again it takes what has moved to move on.
func (h *hub[E]) read(ctx context.Context, all, again bool) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var moved, others []*feed[E]
	h.mu.Lock()
	h.reads++
	number := h.reads
	for _, f := range h.feeds {
		switch {
		case f.moved.Swap(false):
			moved = append(moved, f)
		case all:
			others = append(others, f)
		}
	}
	h.mu.Unlock()
	more, err := h.ask(ctx, others)
	if moved = append(moved, more...); len(moved) == 0 {
		return err
	}
	reads := make([]driver.LogAfter, len(moved))
	for i, f := range moved {
		reads[i] = driver.LogAfter{Key: f.key, Position: driver.Position(f.window.Load().pos)}
	}
	h.s.stats.reads.Add(int64(len(reads)))
	deltas, failure := h.s.log.After(ctx, reads)
	for i, f := range moved {
		if i >= len(deltas) || deltas[i].Head.Outcome != driver.Done {
			f.moved.Store(true) // with the next poll
			continue
		}
		if h.renew(f, &deltas[i], number) && again {
			f.moved.Store(true)
		}
	}
	if failure == nil {
		failure = err
	}
	return failure
}

// ask returns those of some feeds that have moved.
func (h *hub[E]) ask(ctx context.Context, feeds []*feed[E]) (moved []*feed[E], err error) {
	if len(feeds) == 0 {
		return nil, nil
	}
	keys := make([]string, len(feeds))
	for i, f := range feeds {
		keys[i] = f.key
	}
	h.s.stats.polls.Add(int64(len(keys)))
	heads, err := h.s.log.Heads(ctx, keys)
	for i := range heads {
		if heads[i].Outcome == driver.Done && Pos(heads[i].Position) != feeds[i].window.Load().pos {
			moved = append(moved, feeds[i])
		}
	}
	return moved, err
}

// renew gives a feed a new window, if there is anything new, and reports whether there is.
func (h *hub[E]) renew(f *feed[E], d *driver.LogDelta, number uint64) (moved bool) {
	old := f.window.Load()
	pos := Pos(d.Head.Position)
	moved = !old.known || pos != old.pos
	if needed := f.needed.Load(); !moved && (old.read >= needed || number < needed) {
		return false
	}
	w := &window[E]{known: true, read: number, pos: pos, replaced: make(chan struct{})}
	for i, entry := range d.Entries {
		w.events = append(w.events, h.s.opts.decode(entry, Pos{pos.Epoch, pos.Seq - int64(i)}))
	}
	if !d.Reset && d.Missed == 0 {
		w.events = append(w.events, old.events[:min(len(old.events), max(0, h.s.opts.Cap-len(w.events)))]...)
	}
	f.window.Store(w)
	close(old.replaced)
	return moved
}
