package streams

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// flusher sends what is pending. The batches of a key are numbered, and one is sent, again
// and again, until it is answered, before the next is made; what is appended meanwhile is
// coalesced. So a batch is applied once, whatever replies are lost, and a process holds no
// more than two batches a key.
type flusher[E any] struct {
	s      *Stream[E]
	ctx    context.Context // of what runs in the background
	cancel context.CancelFunc

	turn    chan struct{} // has an element while somebody sends; protects what follows, and the parts of pending that say so
	number  uint64        // of the last batch
	changed []string      // keys that were sent since others were told
	last    int           // the place of the shard of which something was sent last

	failing bool // used by run
}

const (
	// flushTimeout is how long a flush of the background may take, and wakeTimeout a message
	// to those who follow.
	flushTimeout = 2 * time.Second
	wakeTimeout  = 100 * time.Millisecond
	// flushBatches is how many keys are sent with one call, and flushBytes about how many
	// bytes of their events.
	flushBatches = 512
	flushBytes   = 1 << 20
	// maxFailures is after how many calls without any answer a flush gives up.
	maxFailures = 3
	// idleFlushes is after how many flushes without events a key is forgotten, if there are
	// not many of them.
	idleFlushes = 64
	// finishPause is how long Close waits between attempts.
	finishPause = 20 * time.Millisecond
)

func (f *flusher[E]) init(s *Stream[E]) {
	f.s, f.turn = s, make(chan struct{}, 1)
	f.ctx, f.cancel = context.WithCancel(context.Background())
}

// lock waits for its turn, as long as ctx lets it.
func (f *flusher[E]) lock(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case f.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("streams: flush: %w", ctx.Err())
	}
}

func (f *flusher[E]) unlock() { <-f.turn }

// run sends what there is, every now and then, until the stream is closed.
func (f *flusher[E]) run() {
	t := time.NewTicker(f.s.opts.FlushEvery)
	defer t.Stop()
	for {
		select {
		case <-f.s.closing:
			return
		case <-t.C:
			f.note(f.limited(f.all))
		case key := <-f.s.full:
			f.note(f.limited(func(ctx context.Context) error { return f.key(ctx, key) }))
		}
	}
}

// limited calls what sends in the background.
func (f *flusher[E]) limited(send func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(f.ctx, flushTimeout)
	defer cancel()
	return send(ctx)
}

// note logs the beginning and the end of an outage.
func (f *flusher[E]) note(err error) {
	failing := err != nil
	if failing == f.failing {
		return
	}
	f.failing = failing
	if failing {
		f.s.opts.Logger.Warn("graphcache: streams: events cannot be sent, and are kept to be sent later",
			slog.String("stream", f.s.opts.Name), slog.Any("error", err))
	} else {
		f.s.opts.Logger.Info("graphcache: streams: events are sent again", slog.String("stream", f.s.opts.Name))
	}
}

// key sends what is pending of one key. If a batch of it was still unanswered, it takes two.
func (f *flusher[E]) key(ctx context.Context, key string) error {
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.unlock()
	sh, hash := f.s.shardOf(key)
	sh.mu.Lock()
	p := sh.findLocked(hash, key)
	sh.mu.Unlock()
	if p == nil {
		return nil // it was sent by another
	}
	defer f.wakeLocked(ctx)
	defer f.tidyLocked()
	for range 2 {
		if !f.fillLocked(p) {
			return nil
		}
		if err := f.sendLocked(ctx, []*pending[E]{p}); err != nil {
			return err
		}
	}
	return nil
}

// all sends what is pending of all keys. It gives up when nothing of a call is answered.
func (f *flusher[E]) all(ctx context.Context) error {
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.unlock()
	defer f.wakeLocked(ctx)
	keys := f.s.pending(false)
	if at := slices.IndexFunc(keys, func(p *pending[E]) bool { return p.place > f.last }); at > 0 {
		keys = slices.Concat(keys[at:], keys[:at]) // from where the last one ended
	}
	again, err := f.sendAllLocked(ctx, keys)
	if err != nil {
		return err
	}
	_, err = f.sendAllLocked(ctx, again)
	f.tidyLocked()
	return err
}

// tidyLocked forgets idle keys if there are many, so that there are never more than twice
// MaxKeys.
func (f *flusher[E]) tidyLocked() {
	if f.s.keys.Load() > int64(f.s.opts.MaxKeys) {
		f.s.pending(true)
	}
}

// sendAllLocked sends the next batches of some keys, as long as ctx lets it. It goes on after a
// call that fails, but not after several: then nobody answers. It returns those keys of
// which there was a batch to be repeated first, and which may have more to send now.
func (f *flusher[E]) sendAllLocked(ctx context.Context, keys []*pending[E]) (again []*pending[E], failure error) {
	var ready []*pending[E]
	size := 0
	failures := 0
	send := func() bool {
		before := f.s.stats.sent.Load()
		err := f.sendLocked(ctx, ready)
		f.last = ready[len(ready)-1].place
		ready, size = ready[:0], 0
		failure = cmp.Or(failure, err)
		if err != nil && f.s.stats.sent.Load() == before {
			failures++
		}
		return failures < maxFailures
	}
	for _, p := range keys {
		if err := ctx.Err(); err != nil {
			return again, cmp.Or(failure, fmt.Errorf("streams: flush: %w", err))
		}
		if p.sending {
			again = append(again, p)
		}
		if !f.fillLocked(p) {
			continue
		}
		ready, size = append(ready, p), size+p.size
		if (len(ready) == flushBatches || size > flushBytes) && !send() {
			return again, failure
		}
	}
	if len(ready) > 0 {
		send()
	}
	return again, failure
}

// pending returns the keys that have something to send, and forgets those that have been
// idle for long, or if tidy is set all that are idle.
func (s *Stream[E]) pending(tidy bool) (all []*pending[E]) {
	for i := range s.shards {
		all = s.shards[i].appendPending(all, s, tidy)
	}
	return all
}

func (sh *shard[E]) appendPending(all []*pending[E], s *Stream[E], tidy bool) []*pending[E] {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for hash, p := range sh.keys {
		for ; p != nil; p = p.other {
			switch {
			case p.n > 0 || p.sending:
				p.idle = 0
				all = append(all, p)
			case p.idle < idleFlushes && !tidy:
				p.idle++
			default:
				sh.forgetLocked(hash, p)
				s.keys.Add(-1)
			}
		}
	}
	return all
}

// fillLocked makes the next batch of a key, unless one is unanswered, and reports whether
// there is one to send.
func (f *flusher[E]) fillLocked(p *pending[E]) bool {
	if p.sending {
		return true
	}
	o := &f.s.opts
	b := driver.LogBatch{Key: p.key, Producer: f.s.producer, Cap: o.Cap, TTL: o.TTL, Bucket: o.Bucket}
	p.shard.Lock()
	if p.n == 0 {
		p.shard.Unlock()
		return false
	}
	events := p.take(&b)
	p.sending = true
	p.shard.Unlock()
	f.number++
	b.Number = f.number
	b.Entries = make([][]byte, len(events))
	p.size = 0
	newest := int((b.Added - 1) % int64(o.Cap))
	for i := range events {
		e := &events[(newest-i+len(events))%len(events)]
		b.Entries[i] = o.encode(&e.event, e.ms)
		p.size += len(b.Entries[i])
	}
	clear(events) // what they refer to is not needed any more
	p.batch, p.spare = b, events[:0]
	return true
}

// sendLocked sends the batches of some keys.
func (f *flusher[E]) sendLocked(ctx context.Context, keys []*pending[E]) error {
	batches := make([]driver.LogBatch, len(keys))
	for i, p := range keys {
		batches[i] = p.batch
	}
	heads, err := f.s.log.Append(ctx, batches)
	if len(heads) != len(batches) {
		heads = make([]driver.LogHead, len(batches)) // Unknown
	}
	st := &f.s.stats
	st.flushes.Add(1)
	for i, p := range keys {
		if heads[i].Outcome != driver.Done {
			err = cmp.Or(err, driver.ErrUnavailable)
			st.unanswered.Add(1)
			continue
		}
		st.sent.Add(p.batch.Added)
		st.entries.Add(int64(len(p.batch.Entries)))
		if f.s.waker != nil {
			f.changed = append(f.changed, p.key)
		}
		p.batch, p.size = driver.LogBatch{}, 0
		p.shard.Lock()
		if p.sending = false; p.n == 0 {
			f.s.busy.Add(-1)
		}
		p.shard.Unlock()
	}
	if err != nil {
		return fmt.Errorf("streams: flush: %w", err)
	}
	return nil
}

// wakeLocked tells those who follow the keys that were sent, with one message.
func (f *flusher[E]) wakeLocked(ctx context.Context) {
	if len(f.changed) == 0 {
		return
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), wakeTimeout)
	defer cancel()
	if err := f.s.waker.Wake(limited, f.changed); err != nil && len(f.changed) <= driver.MaxLogWake {
		return // with the next flush; meanwhile they look by themselves
	}
	clear(f.changed)
	f.changed = f.changed[:0]
}

// finish sends all there is, as long as ctx lets it.
func (f *flusher[E]) finish(ctx context.Context) error {
	for {
		err := f.all(ctx)
		if err == nil {
			if err = f.left(ctx); err == nil {
				return nil
			}
		}
		select {
		case <-time.After(finishPause):
		case <-ctx.Done():
			// A moment for whoever is sending, whose context may be longer.
			last, cancel := context.WithTimeout(context.Background(), finishPause)
			defer cancel()
			left := f.left(last)
			if left == nil {
				return nil
			}
			return fmt.Errorf("streams: close: %w: %w: %w", ctx.Err(), left, cmp.Or(err, ctx.Err()))
		}
	}
}

// left returns an error that says how many events have not been sent, or not been confirmed.
func (f *flusher[E]) left(ctx context.Context) error {
	if err := f.lock(ctx); err != nil {
		return err
	}
	defer f.unlock()
	var unsent, unknown, keys int64
	for _, p := range f.s.pending(false) {
		p.shard.Lock()
		keys++
		unsent += p.n
		if p.sending {
			unknown += p.batch.Added
		}
		p.shard.Unlock()
	}
	if keys == 0 {
		return nil
	}
	f.s.stats.lost.Store(unsent)
	return fmt.Errorf("%d events of %d keys were not sent, and of %d more it is unknown whether they have arrived", unsent, keys, unknown)
}
