package memory

import (
	"context"
	"iter"
	"sync"

	"github.com/graphcache/graphcache/driver"
)

// logBell wakes those who listen.
type logBell struct {
	closed chan struct{}

	mu        sync.Mutex // protects what follows
	listeners map[*logListener]struct{}
}

// logListener is one subscription. What it has not heard yet is merged, so that it
// costs the same however slow it is.
type logListener struct {
	ring    chan struct{} // holds one signal: there is something to hear
	pending map[string]struct{}
	all     bool // pending has overflowed: anything may have changed
}

// Wake implements [driver.LogWaker].
func (l *Log) Wake(ctx context.Context, keys []string) error {
	if err := driver.ValidateLogKeys(keys); err != nil {
		return err
	}
	l.mu.Lock()
	err := l.readyLocked(ctx)
	l.mu.Unlock()
	if err != nil || len(keys) == 0 {
		return err
	}
	l.bell.mu.Lock()
	defer l.bell.mu.Unlock()
	for s := range l.bell.listeners {
		s.add(keys)
		s.signal()
	}
	return nil
}

// Wakes implements [driver.LogWaker].
func (l *Log) Wakes(ctx context.Context) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		s := l.bell.listen()
		defer l.bell.leave(s)
		for {
			// A select picks any case that is ready: look at the ends first.
			select {
			case <-ctx.Done():
				return
			case <-l.bell.closed:
				yield(nil, errLogClosed())
				return
			default:
			}
			select {
			case <-ctx.Done():
			case <-l.bell.closed:
			case <-s.ring:
				if !yield(l.bell.heard(s), nil) {
					return
				}
			}
		}
	}
}

func (b *logBell) listen() *logListener {
	s := &logListener{ring: make(chan struct{}, 1), all: true}
	s.signal()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners[s] = struct{}{}
	return s
}

func (b *logBell) leave(s *logListener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.listeners, s)
}

// heard takes what is pending: nil if it is everything.
func (b *logBell) heard(s *logListener) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var keys []string
	for k := range s.pending {
		keys = append(keys, k)
	}
	s.all, s.pending = false, nil
	return keys
}

func (s *logListener) add(keys []string) {
	if s.all || len(keys) > driver.MaxLogWake {
		s.all, s.pending = true, nil
		return
	}
	if s.pending == nil {
		s.pending = make(map[string]struct{}, len(keys))
	}
	for _, k := range keys {
		s.pending[k] = struct{}{}
	}
	if len(s.pending) > driver.MaxLogWake {
		s.all, s.pending = true, nil
	}
}

// signal is never in the way: one signal stands for all that is pending.
func (s *logListener) signal() {
	select {
	case s.ring <- struct{}{}:
	default:
	}
}
