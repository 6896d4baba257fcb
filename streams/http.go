package streams

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// HandlerOptions are the settings of [Stream.Handler]. The zero HandlerOptions, and nil,
// consist entirely of default values.
type HandlerOptions struct {
	// Heartbeat is after how long without a message a viewer is sent a comment, which
	// tells proxies that the connection is alive. Default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a viewer may take for what it is sent at a time, up to
	// 256 KiB. One that takes longer is disconnected, and can come back to where it was.
	// Default 10 s.
	WriteTimeout time.Duration
	// StatsEvery is how often the counts of a key are read and sent, if they have changed.
	// What a viewer is shown first, and what is polled, may be as old as that. Default 1 s.
	StatsEvery time.Duration
	// MaxConns and MaxConnsPerKey bound the requests that are being served at a time, of
	// all keys and of one. Default 10,000 and 2,000.
	MaxConns, MaxConnsPerKey int
	// MaxEvent is the greatest length of an event's JSON, in bytes: a larger event is sent
	// without it, with a problem that says so. Default 64 KiB.
	MaxEvent int
}

func (o *HandlerOptions) withDefaults() (HandlerOptions, error) {
	var c HandlerOptions
	if o != nil {
		c = *o
	}
	c.Heartbeat = cmp.Or(c.Heartbeat, 15*time.Second)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 10*time.Second)
	c.StatsEvery = cmp.Or(c.StatsEvery, time.Second)
	c.MaxConns = cmp.Or(c.MaxConns, 10_000)
	c.MaxConnsPerKey = cmp.Or(c.MaxConnsPerKey, 2_000)
	c.MaxEvent = cmp.Or(c.MaxEvent, 64<<10)
	if min(c.Heartbeat, c.WriteTimeout, c.StatsEvery) < time.Millisecond || min(c.MaxConns, c.MaxConnsPerKey, c.MaxEvent) < 1 {
		return c, fmt.Errorf("streams: %w: HandlerOptions: a duration below 1 ms, or a number below 1", driver.ErrInvalid)
	}
	return c, nil
}

// ErrUnauthorized is for the key function of [Stream.Handler], for a request of which it does
// not know whom it comes from: the response is 401 instead of 403.
var ErrUnauthorized = errors.New("streams: unauthorized")

var errNoHandlerKey = fmt.Errorf("streams: %w: Handler without a key function", driver.ErrInvalid)

// handler is what Handler returns.
type handler[E any] struct {
	s    *Stream[E]
	key  func(*http.Request) (string, error)
	opts HandlerOptions

	mu     sync.Mutex // protects what follows
	conns  int
	topics map[string]*topic[E]
}

// Handler returns a handler that shows a key to a browser: as server-sent events, or as
// JSON to be polled.
//
// The key function is where requests are authorised. It returns the key that a request is
// shown, for instance the customer's of the session, or an error if it is shown none, which
// is answered with 403, or 401 for [ErrUnauthorized], and never shown itself. Nothing else in
// a request says which key that is, and nothing is read before. It may be called by several
// goroutines. Handler adds no headers for other origins.
//
// # Requests
//
// GET, with the parameters
//
//	since    a position, [Pos.String]: go on from there; a header Last-Event-ID goes before
//	filter   only events that match, see below
//
// and Accept: text/event-stream for server-sent events, otherwise JSON. Positions are those
// of [Stream.Tail], and so are gaps: within an epoch the events that a client is sent, those
// that were filtered, and those that it is told it has missed are all that there were,
// however often it comes back, and whichever process it comes to.
//
// # Server-sent events
//
// Every message has the position that it leads to as its id.
//
//	snapshot   {"events":[EVENT...], "pos", "stats":STATS, "cap"}, without a position; the oldest first
//	event      EVENT is {"pos", "time", "data", "problem"}, with data or a problem
//	gap        {"missed", "pos"}
//	reset      {"missed", "pos"}: a gap with Reset
//	stats      STATS is {"pos", "total", "unique", "types":[{"type", "count"}], "spark":[60],
//	           "bucket_ms", "created", "filtered"}, after a change, at most once in StatsEvery;
//	           filtered, with a filter, is how many events were held back since the beginning
//
// The key function is asked when a connection begins, and not again: to end those of a user who
// has lost the right to see the events, end their contexts.
//
// # JSON
//
// Without a position, the data of a snapshot; with one,
// {"events":[EVENT...], "gap":{"missed", "reset"} or null, "pos", "stats":STATS}.
//
// # Filters
//
// A filter has up to 16 terms, separated by spaces, in 256 bytes. An event must match all.
//
//	word, "two words"      occurs in the event's JSON, upper or lower case
//	user.name:ann          a field is this string, number, true or false; of an array, any element
//	price:>10, price:<10   a number is greater or less
//	-term                  the term does not match
//
// Words are looked for in the first 8 KiB of an event, and an event with more than that has no
// fields for a filter.
//
// # Cost
//
// Viewers of a key share what is read and encoded: in a process a key is read once, as by
// [Stream.Tail], and its counts once in StatsEvery, whatever the number of viewers. A viewer
// that reads slowly delays no other one. There is no queue for it: it gets what is still there
// when it comes to it, and is told what it has missed.
//
// Errors are {"error"} with a status of 400 or more: 429 beyond MaxConns or MaxConnsPerKey,
// and 503 if the log does not answer or the stream is closed. The timeouts of an http.Server
// do not end server-sent events; [Stream.Close] does, so that the server can shut down.
//
// The error wraps driver.ErrInvalid, if key is nil or an option below its bound.
func (s *Stream[E]) Handler(key func(*http.Request) (string, error), o *HandlerOptions) (http.Handler, error) {
	if key == nil {
		return nil, errNoHandlerKey
	}
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &handler[E]{s: s, key: key, opts: opts, topics: make(map[string]*topic[E])}, nil
}

// httpError is an error to be answered with a status.
type httpError struct {
	status int
	text   string
	retry  int // seconds, for Retry-After; 0 for none
}

func (e *httpError) Error() string { return e.text }

// errorOf says how an error of the stream is answered.
func errorOf(err error) *httpError {
	var e *httpError
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, driver.ErrInvalid):
		return &httpError{status: http.StatusNotFound, text: "there is no such stream"} // the key is too long
	case errors.Is(err, ErrClosed):
		return &httpError{status: http.StatusServiceUnavailable, text: "the stream is closed", retry: 5}
	default:
		return &httpError{status: http.StatusServiceUnavailable, text: "the stream cannot be read now", retry: 2}
	}
}

func (e *httpError) write(w http.ResponseWriter) {
	if e.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(e.retry))
	}
	setHeaders(w, "application/json")
	w.WriteHeader(e.status)
	body, _ := json.Marshal(map[string]string{"error": e.text})
	_, _ = w.Write(append(body, '\n'))
}

func setHeaders(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Accept")
}

// request is what a client asks for.
type request[E any] struct {
	*topic[E]
	ctx    context.Context
	from   Pos
	first  bool // there is no from
	filter *filter
}

// ServeHTTP implements http.Handler.
func (h *handler[E]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		(&httpError{status: http.StatusMethodNotAllowed, text: "the method must be GET"}).write(w)
		return
	}
	if err := h.serve(w, r); err != nil && !errors.Is(r.Context().Err(), context.Canceled) {
		errorOf(err).write(w)
	}
}

// serve answers a request. It returns an error if nothing has been written.
func (h *handler[E]) serve(w http.ResponseWriter, r *http.Request) error {
	key, err := h.key(r)
	switch {
	case errors.Is(err, ErrUnauthorized):
		return &httpError{status: http.StatusUnauthorized, text: "unauthorized"}
	case err != nil:
		return &httpError{status: http.StatusForbidden, text: "forbidden"}
	}
	events, ok := accepts(r.Header.Values("Accept"))
	if !ok {
		return &httpError{status: http.StatusNotAcceptable, text: "there is text/event-stream and application/json"}
	}
	q := request[E]{ctx: r.Context()}
	if err := q.parse(r); err != nil {
		return err
	}
	if q.topic, err = h.enter(key); err != nil {
		return err
	}
	defer h.leave(q.topic)
	if events {
		return h.follow(w, &q)
	}
	return h.poll(w, &q)
}

// parse reads what the request says about the place and the events.
func (q *request[E]) parse(r *http.Request) error {
	bad := func(what string, err error) error {
		return &httpError{status: http.StatusBadRequest, text: what + ": " + err.Error()}
	}
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bad("query", err)
	}
	from, what := r.Header.Get("Last-Event-ID"), "Last-Event-ID"
	if from == "" {
		from, what = params.Get("since"), "since"
	}
	if q.first = from == ""; !q.first {
		if q.from, err = ParsePos(from); err != nil {
			return bad(what, errors.New("this is no position"))
		}
	}
	if q.filter, err = parseFilter(params.Get("filter")); err != nil {
		return bad("filter", err)
	}
	return nil
}

// accepts reports whether a client wants server-sent events, and whether it wants anything
// that there is.
func accepts(accept []string) (events, ok bool) {
	if len(accept) == 0 {
		return false, true
	}
	for _, part := range strings.Split(strings.Join(accept, ","), ",") {
		kind, params, _ := strings.Cut(part, ";")
		if q := strings.TrimSpace(params); q == "q=0" || q == "q=0.0" {
			continue
		}
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "text/event-stream":
			return true, true
		case "", "application/json", "application/*", "*/*":
			ok = true
		}
	}
	return false, ok
}
