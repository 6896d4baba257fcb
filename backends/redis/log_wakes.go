package redis

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// Wake-ups are the messages of one channel. A message is the byte k and the keys, each
// with its length as a varint before it; anything else says that anything may have
// changed, the byte a on purpose. In a Cluster a message reaches the subscribers of all
// servers.

const (
	wakesChannel = "wakes" // after the prefix
	wakeKeys     = 'k'
	wakeAll      = "a"
	// wakePulse is how often the server is asked whether it is there, if nothing was
	// heard of it.
	wakePulse = time.Second
	// wakeSilence is the number of pulses without an answer after which it is not.
	wakeSilence = 3
	// wakePause is the time between two attempts to subscribe, up to twice of it.
	wakePause = 200 * time.Millisecond
)

// Wake implements driver.LogWaker.
func (l *Log) Wake(ctx context.Context, keys []string) error {
	if err := cmp.Or(driver.ValidateLogKeys(keys), l.ready(ctx)); err != nil || len(keys) == 0 {
		return err
	}
	channel, message := l.b.opts.Prefix+wakesChannel, wakeMessage(keys)
	calls := []call{{
		key: channel, cmd: goredis.NewIntCmd(noContext, "publish", channel, message), size: len(channel) + len(message),
	}}
	if err := l.b.do(ctx, writeLane, calls); err != nil {
		return err
	}
	return calls[0].failure()
}

func wakeMessage(keys []string) string {
	if len(keys) > driver.MaxLogWake {
		return wakeAll
	}
	b := []byte{wakeKeys}
	for _, k := range keys {
		b = binary.AppendUvarint(b, uint64(len(k)))
		b = append(b, k...)
	}
	return string(b)
}

// parseWake returns the keys that a message names; none if anything may have changed.
func parseWake(message string) []string {
	rest, ok := strings.CutPrefix(message, string(wakeKeys))
	if !ok {
		return nil
	}
	var keys []string
	for rest != "" {
		// A key's length has two bytes at the most.
		size, n := binary.Uvarint([]byte(rest[:min(2, len(rest))]))
		if n <= 0 || size > driver.MaxLogKey || int(size) > len(rest)-n || len(keys) == driver.MaxLogWake {
			return nil
		}
		keys = append(keys, rest[n:n+int(size)])
		rest = rest[n+int(size):]
	}
	return keys
}

// Wakes implements driver.LogWaker. While the server is away it goes on trying: there
// is an error only when the backend or its client is closed, or when the server does not
// let it subscribe.
func (l *Log) Wakes(ctx context.Context) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		if err := l.ready(ctx); err != nil {
			if ctx.Err() == nil {
				yield(nil, err)
			}
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		inbox := &wakeInbox{ring: make(chan struct{}, 1)}
		var listener sync.WaitGroup
		listener.Go(func() { inbox.end(l.listen(ctx, inbox)) })
		defer listener.Wait()
		defer cancel()
		for {
			select {
			case <-ctx.Done():
			case <-inbox.ring:
			}
			if ctx.Err() != nil {
				return
			}
			keys, some, err := inbox.take()
			if (some || err != nil) && !yield(keys, err) || err != nil {
				return
			}
		}
	}
}

// listen subscribes, again and again until that can lead nowhere.
func (l *Log) listen(ctx context.Context, inbox *wakeInbox) error {
	for {
		err := l.subscribe(ctx, inbox)
		switch {
		case ctx.Err() != nil:
			return nil
		case l.b.closed.Load():
			return errClosed
		case errors.Is(err, goredis.ErrClosed), goredis.IsPermissionError(err), goredis.IsAuthError(err):
			return fmt.Errorf("redis: subscribe: %w: %w", driver.ErrUnavailable, err)
		}
		select {
		case <-ctx.Done():
		case <-l.b.closing:
		case <-time.After(wakePause + rand.N(wakePause)):
		}
	}
}

var errSilent = errors.New("the server does not answer")

// subscribe passes on what one subscription hears, until it breaks.
//
// The client would subscribe again by itself, but it has no deadline for a server that is
// gone without a word. One for each message would not do: what is cut in the middle of a
// message takes the rest of it for another one.
func (l *Log) subscribe(ctx context.Context, inbox *wakeInbox) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sub := l.b.client.Subscribe(ctx, l.b.opts.Prefix+wakesChannel)
	defer sub.Close()
	defer context.AfterFunc(ctx, func() { sub.Close() })()
	var alive atomic.Bool
	var watcher sync.WaitGroup
	watcher.Go(func() { cancel(l.keepAlive(ctx, sub, &alive)) })
	defer watcher.Wait()
	defer cancel(nil)
	for {
		m, err := receive(ctx, sub)
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return err
		}
		alive.Store(true)
		switch m := m.(type) {
		case *goredis.Subscription:
			inbox.add(nil) // whatever came before it is lost
		case *goredis.Message:
			inbox.add(parseWake(m.Payload))
		}
	}
}

// receive waits for the next message. The client panics if it is none of those that it
// knows.
func receive(ctx context.Context, sub *goredis.PubSub) (m any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("redis: unexpected message: %v", p)
		}
	}()
	return sub.Receive(ctx)
}

// keepAlive returns when the subscription is to end.
func (l *Log) keepAlive(ctx context.Context, sub *goredis.PubSub, alive *atomic.Bool) error {
	pulse := time.NewTicker(wakePulse)
	defer pulse.Stop()
	for silent := 0; silent < wakeSilence; {
		select {
		case <-ctx.Done():
			return nil
		case <-l.b.closing:
			return errClosed
		case <-pulse.C:
		}
		if alive.Swap(false) {
			silent = 0
			continue
		}
		silent++
		_ = sub.Ping(ctx) // what is wrong with it, receive hears too
	}
	return errSilent
}

// wakeInbox holds what a receiver has not heard yet, merged: it costs the same however
// slow the receiver is.
type wakeInbox struct {
	ring chan struct{} // holds one signal: there is something to hear

	mu      sync.Mutex // protects what follows
	pending map[string]struct{}
	all     bool // pending has overflowed, or wake-ups were lost
	err     error
}

// add adds keys, or everything if there are none.
func (w *wakeInbox) add(keys []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending == nil {
		w.pending = make(map[string]struct{}, len(keys))
	}
	if len(keys) == 0 {
		w.all = true
	}
	for _, k := range keys {
		if w.all {
			break
		}
		w.pending[k] = struct{}{}
		w.all = len(w.pending) > driver.MaxLogWake
	}
	if w.all {
		w.pending = nil
	}
	w.signal()
}

// end tells that nothing follows.
func (w *wakeInbox) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	w.signal()
}

// signal is never in the way: one signal stands for all that is pending.
func (w *wakeInbox) signal() {
	select {
	case w.ring <- struct{}{}:
	default:
	}
}

// take takes what is pending, if there is some: no keys if it is everything.
func (w *wakeInbox) take() (keys []string, some bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return nil, false, w.err
	}
	some = w.all || len(w.pending) > 0
	for k := range w.pending {
		keys = append(keys, strings.Clone(k)) // not the whole message for its sake
	}
	w.all, w.pending = false, nil
	return keys, some, nil
}
