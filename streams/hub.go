package streams

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// hub reads the keys that are tailed, once for all readers in the process. It asks how far
// the keys are, all with one call, and reads those that have moved. Of a key that has just
// moved, or of which a producer says that it has, it reads the news without asking. When
// producers can wake it, it asks ten times less often by itself, in case a message is lost.
// It reads a key about once in a poll at most, whatever wakes it.
type hub[E any] struct {
	s     *Stream[E]
	woken chan struct{} // has an element if there is something to read at once
	any   atomic.Bool   // anything may have moved

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
	last    time.Time     // when it was read; protected by the hub's mu
	moved   atomic.Bool   // it is to be read, without asking first whether it has moved
	needed  atomic.Uint64 // the number of a read of which a reader needs to know, even if nothing has moved
}

const (
	// wakingPolls is how many times less often keys are polled when producers wake.
	wakingPolls = 10
	// readFeeds is how many keys are read with one call, and readTimeout how long that may
	// take.
	readFeeds   = 512
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

// run reads until ctx ends. What a wake-up tells of is read at once, unless it was read less
// than a poll ago; with a poll, unless it was read in the second half of the one before.
func (h *hub[E]) run(ctx context.Context) {
	var waking atomic.Bool
	var listening sync.WaitGroup
	defer listening.Wait()
	if h.s.waker != nil {
		listening.Go(func() { h.listen(ctx, &waking) })
	}
	poll := h.s.opts.Poll
	t := time.NewTicker(poll)
	defer t.Stop()
	failing := false
	for polls := 0; ; {
		rest, awake := poll, waking.Load()
		select {
		case <-ctx.Done():
			return
		case <-h.woken:
		case <-t.C:
			rest = poll / 2
			if polls++; !awake || polls%wakingPolls == 0 {
				h.any.Store(true)
			}
		}
		all := rest < poll && h.any.Swap(false)
		asked, err := h.read(ctx, all, !awake, rest)
		if asked && ctx.Err() == nil && (err != nil) != failing {
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

// wake marks the feeds of keys as moved, and reports whether there are any. With nil, the next
// poll finds out.
func (h *hub[E]) wake(keys []string) (some bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if keys == nil {
		h.any.Store(true) // with the next poll
		return false
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
// whether they have. It leaves those for later that were read just before, and with again
// takes what has moved to move on. It reports whether there was anything to ask.
func (h *hub[E]) read(ctx context.Context, all, again bool, rest time.Duration) (asked bool, err error) {
	var moved, others []*feed[E]
	now := time.Now()
	h.mu.Lock()
	h.reads++
	number := h.reads
	for _, f := range h.feeds {
		switch {
		case f.moved.Load():
			if now.Sub(f.last) >= rest {
				f.moved.Store(false)
				f.last = now
				moved = append(moved, f)
			}
		case all:
			others = append(others, f)
		}
	}
	h.mu.Unlock()
	asked = len(moved)+len(others) > 0
	for some := range slices.Chunk(others, readFeeds) {
		more, failure := h.ask(ctx, some)
		moved, err = append(moved, more...), cmp.Or(err, failure)
	}
	for some := range slices.Chunk(moved, readFeeds) {
		err = cmp.Or(err, h.readSome(ctx, some, again, number))
	}
	return asked, err
}

// readSome reads some feeds.
func (h *hub[E]) readSome(ctx context.Context, feeds []*feed[E], again bool, number uint64) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	reads := make([]driver.LogAfter, len(feeds))
	for i, f := range feeds {
		reads[i] = driver.LogAfter{Key: f.key, Position: driver.Position(f.window.Load().pos)}
	}
	h.s.stats.reads.Add(int64(len(reads)))
	deltas, err := h.s.log.After(ctx, reads)
	for i, f := range feeds {
		if i >= len(deltas) || deltas[i].Head.Outcome != driver.Done {
			f.moved.Store(true) // with the next poll
			continue
		}
		if h.renew(f, &deltas[i], number) && again {
			f.moved.Store(true)
		}
	}
	return err
}

// ask returns those of some feeds that have moved.
func (h *hub[E]) ask(ctx context.Context, feeds []*feed[E]) (moved []*feed[E], err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
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
