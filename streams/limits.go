package streams

import (
	"net/http"
	"time"
)

var errTooManyConns = &httpError{status: http.StatusTooManyRequests, text: "too many viewers: try again later", retry: 5}

// enter returns the topic of a key, for one more request.
func (h *handler[E]) enter(key string) (*topic[E], error) {
	name, err := h.s.logKey(key)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.topics[name]
	if h.conns >= h.opts.MaxConns || t != nil && t.conns >= h.opts.MaxConnsPerKey {
		return nil, errTooManyConns
	}
	if t == nil {
		t = newTopic(h, name)
		h.topics[name] = t
	}
	t.conns++
	h.conns++
	return t, nil
}

// leave ends a request. The topic stays for StatsEvery, so that a client that polls, or
// comes back again and again, has the key read no more often than one that stays.
func (h *handler[E]) leave(t *topic[E]) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conns--
	if t.conns--; t.conns > 0 {
		return
	}
	t.left++
	left := t.left
	time.AfterFunc(h.opts.StatsEvery, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if t.conns == 0 && t.left == left {
			delete(h.topics, t.key)
			t.stop()
		}
	})
}
