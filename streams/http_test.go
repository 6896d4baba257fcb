package streams_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

// countingLog counts what a log is asked for. It cannot wake.
type countingLog struct {
	driver.Log
	snapshots, afters, heads atomic.Int64
	down, hangs              atomic.Bool
}

func newCountingLog() *countingLog { return &countingLog{Log: memory.NewLog(nil)} }

func (l *countingLog) Snapshot(ctx context.Context, keys []string) ([]driver.LogSnapshot, error) {
	l.snapshots.Add(int64(len(keys)))
	if l.hangs.Load() {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if l.down.Load() {
		return nil, driver.ErrUnavailable
	}
	return l.Log.Snapshot(ctx, keys)
}

func (l *countingLog) After(ctx context.Context, reads []driver.LogAfter) ([]driver.LogDelta, error) {
	l.afters.Add(int64(len(reads)))
	if l.down.Load() {
		return nil, driver.ErrUnavailable
	}
	return l.Log.After(ctx, reads)
}

func (l *countingLog) Heads(ctx context.Context, keys []string) ([]driver.LogHead, error) {
	l.heads.Add(int64(len(keys)))
	if l.down.Load() {
		return nil, driver.ErrUnavailable
	}
	return l.Log.Heads(ctx, keys)
}

// keyOf takes the key from a header, as a test's way to log in.
func keyOf(r *http.Request) (string, error) {
	switch customer := r.Header.Get("Customer"); customer {
	case "":
		return "", fmt.Errorf("a secret: %w", streams.ErrUnauthorized)
	case "evil":
		return "", errors.New("a secret")
	default:
		return customer, nil
	}
}

func newHandler(t testing.TB, s *streams.Stream[event], o *streams.HandlerOptions) http.Handler {
	t.Helper()
	h, err := s.Handler(keyOf, o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// message is one of server-sent events.
type message struct{ id, event, data string }

// parseMessage takes a message from the beginning of a text. A comment is a message with
// that as its event.
func parseMessage(text string) (m message, rest string, ok bool) {
	head, rest, ok := strings.Cut(text, "\n\n")
	if !ok {
		return message{}, text, false
	}
	for _, line := range strings.Split(head, "\n") {
		switch name, value, _ := strings.Cut(line, ": "); name {
		case "id":
			m.id = value
		case "event":
			m.event = value
		case "data":
			m.data += value
		default:
			m.event = line
		}
	}
	return m, rest, true
}

// client is a viewer without a network.
type client struct {
	t       testing.TB
	status  int
	header  http.Header
	text    string // that was not taken yet
	body    strings.Builder
	flushes int
	dirty   bool // something was written and not flushed
	stop    context.CancelFunc
	ended   atomic.Bool
}

func (c *client) Header() http.Header              { return c.header }
func (c *client) WriteHeader(status int)           { c.status = status }
func (c *client) SetWriteDeadline(time.Time) error { return nil }
func (c *client) Flush()                           { c.flushes++; c.dirty = false }
func (c *client) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	c.dirty = true
	return c.body.Write(b)
}

// get sends a request of the customer "k", whose other headers are pairs of a name and a
// value, in a goroutine of its own.
func get(t testing.TB, h http.Handler, target string, header ...string) *client {
	ctx, stop := context.WithCancel(t.Context())
	c := &client{t: t, header: make(http.Header), stop: stop}
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	r.Header.Set("Customer", "k")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() {
		h.ServeHTTP(c, r)
		c.ended.Store(true)
	}()
	return c
}

// follow is get for server-sent events.
func follow(t testing.TB, h http.Handler, target string, header ...string) *client {
	return get(t, h, target, append(header, "Accept", "text/event-stream")...)
}

// messages returns what has come since it was called last. It is for a synctest bubble.
func (c *client) messages() (all []message) {
	c.t.Helper()
	synctest.Wait()
	if c.dirty {
		c.t.Error("something was written and not flushed")
	}
	c.text += c.body.String()
	c.body.Reset()
	for {
		m, rest, ok := parseMessage(c.text)
		if !ok {
			return all
		}
		c.text = rest
		all = append(all, m)
	}
}

// names returns the messages' names.
func names(all []message) (names []string) {
	for _, m := range all {
		names = append(names, m.event)
	}
	return names
}

// wire is what messages and JSON have, of all kinds.
type wire struct {
	Pos     streams.Pos
	Missed  int64
	Events  []wire
	Data    *event
	Time    time.Time
	Problem string
	Cap     int
	Gap     *struct {
		Missed int64
		Reset  bool
	}
	Total, Unique int64
	Types         []struct {
		Type  string
		Count int64
	}
	Spark    []int64
	Bucket   int64 `json:"bucket_ms"`
	Created  *time.Time
	Filtered *int64
	Stats    *wire
	Error    string
}

func decode(t testing.TB, data string) (w wire) {
	t.Helper()
	if err := json.Unmarshal([]byte(data), &w); err != nil {
		t.Fatalf("%s: %v", data, err)
	}
	return w
}

// numbers returns the numbers of some events.
func numbers(all []wire) []int {
	n := []int{}
	for _, e := range all {
		n = append(n, e.Data.N)
	}
	return n
}

// TestHandlerErrors sends requests that are refused.
func TestHandlerErrors(t *testing.T) {
	log := newCountingLog()
	s := newStream(t, log, options())
	h := newHandler(t, s, nil)
	for _, tt := range []struct {
		name, method, target string
		header               []string
		status               int
		want                 string
	}{
		{"no customer", "GET", "/", []string{"Customer", ""}, 401, "unauthorized"},
		{"another customer", "GET", "/?since=x", []string{"Customer", "evil"}, 403, "forbidden"},
		{"a long key", "GET", "/", []string{"Customer", strings.Repeat("k", 1025)}, 404, "there is no such stream"},
		{"POST", "POST", "/", nil, 405, "the method must be GET"},
		{"HEAD", "HEAD", "/", nil, 405, "the method must be GET"},
		{"OPTIONS", "OPTIONS", "/", []string{"Customer", ""}, 405, "the method must be GET"},
		{"HTML only", "GET", "/", []string{"Accept", "text/html, image/*"}, 406, "there is text/event-stream and application/json"},
		{"not JSON", "GET", "/", []string{"Accept", "application/json;q=0"}, 406, "there is text/event-stream and application/json"},
		{"since", "GET", "/?since=1-x", nil, 400, "since: this is no position"},
		{"Last-Event-ID", "GET", "/?since=0-0", []string{"Last-Event-ID", "0"}, 400, "Last-Event-ID: this is no position"},
		{"filter", "GET", "/?filter=a+b:%3Ex", []string{"Accept", "text/event-stream"}, 400, "filter: character 6: this is no number"},
		{"query", "GET", "/?filter=%zz", nil, 400, `query: invalid URL escape "%zz"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.target, nil)
			r.Header.Set("Customer", "k")
			for i := 0; i < len(tt.header); i += 2 {
				r.Header.Set(tt.header[i], tt.header[i+1])
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if got := decode(t, w.Body.String()).Error; w.Code != tt.status || got != tt.want {
				t.Errorf("%d %q, want %d %q", w.Code, got, tt.status, tt.want)
			}
			if allow := w.Header().Get("Allow"); (allow == "GET") != (w.Code == 405) {
				t.Errorf("Allow: %q", allow)
			}
			if ct := w.Header().Get("Content-Type"); ct != "application/json" {
				t.Errorf("Content-Type: %q", ct)
			}
		})
	}
	if n := log.snapshots.Load() + log.afters.Load(); n != 0 {
		t.Errorf("%d reads for requests that were refused", n)
	}
	log.down.Store(true)
	for range 2 {
		for _, accept := range []string{"*/*", "text/event-stream"} {
			w := httptest.NewRecorder()
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Customer", "k")
			r.Header.Set("Accept", accept)
			h.ServeHTTP(w, r)
			if w.Code != 503 || w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: status %d while the log is down, %v", accept, w.Code, w.Header())
			}
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, accept := range []string{"*/*", "text/event-stream"} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/?since=0-0", nil)
		r.Header.Set("Customer", "other")
		r.Header.Set("Accept", accept)
		h.ServeHTTP(w, r)
		if w.Code != 503 {
			t.Errorf("%s: status %d after Close", accept, w.Code)
		}
	}
}

// TestHandlerOptions refuses what is out of bounds.
func TestHandlerOptions(t *testing.T) {
	s := newStream(t, memory.NewLog(nil), options())
	if _, err := s.Handler(nil, nil); !errors.Is(err, driver.ErrInvalid) {
		t.Errorf("no key function: error %v", err)
	}
	for _, o := range []streams.HandlerOptions{{Heartbeat: -1}, {WriteTimeout: 1}, {StatsEvery: -1}, {MaxConns: -1}, {MaxConnsPerKey: -1}, {MaxEvent: -1}} {
		if _, err := s.Handler(keyOf, &o); !errors.Is(err, driver.ErrInvalid) {
			t.Errorf("%+v: error %v", o, err)
		}
	}
}

// TestHandlerAccept finds what a client wants.
func TestHandlerAccept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t, memory.NewLog(nil), options())
		h := newHandler(t, s, nil)
		for accept, want := range map[string]string{
			"":                                      "application/json",
			"*/*":                                   "application/json",
			"text/html,*/*;q=1":                     "application/json",
			"application/json":                      "application/json",
			"text/event-stream":                     "text/event-stream",
			"Text/Event-Stream; charset=utf-8, */*": "text/event-stream",
			"text/event-stream;q=0, */*":            "application/json",
		} {
			c := get(t, h, "/", "Accept", accept)
			synctest.Wait()
			if got := c.header.Get("Content-Type"); got != want || c.status != 200 {
				t.Errorf("%q: %s, status %d", accept, got, c.status)
			}
			if cc, v := c.header.Get("Cache-Control"), c.header.Get("Vary"); cc != "no-store" || v != "Accept" {
				t.Errorf("%q: Cache-Control %q, Vary %q", accept, cc, v)
			}
			for name := range c.header {
				if strings.HasPrefix(name, "Access-Control") {
					t.Errorf("%s is set", name)
				}
			}
			c.stop()
		}
	})
}

// TestHandlerKeys shows each customer what is its own, whatever else it asks for.
func TestHandlerKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t, memory.NewLog(nil), options())
		h := newHandler(t, s, nil)
		s.Append("k", event{N: 1})
		s.Append("other", event{N: 2})
		time.Sleep(time.Second)
		pos := recent(t, s, "k").Pos
		for _, target := range []string{"/", "/other?key=other&Customer=other&customer=other", "/?since=" + pos.String(), "/?since=0-0", "/?filter=n:1+other:-1", "/?filter=-n:1"} {
			for _, accept := range []string{"", "text/event-stream"} {
				c := get(t, h, target, "Customer", "other", "Accept", accept, "Key", "k")
				synctest.Wait()
				if text := c.body.String(); strings.Contains(text, `"n":1`) || c.status != 200 {
					t.Errorf("%s %s: status %d, %s", target, accept, c.status, text)
				}
				c.stop()
			}
		}
	})
}

// sse is a viewer over the network.
type sse struct {
	t    testing.TB
	body io.ReadCloser
	read *bufio.Reader
}

// connect follows a key, "k", from a position, of which "" is none.
func connect(t testing.TB, c *http.Client, url, from string) *sse {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Customer", "k")
	r.Header.Set("Accept", "text/event-stream")
	if from != "" {
		r.Header.Set("Last-Event-ID", from)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return &sse{t, resp.Body, bufio.NewReader(resp.Body)}
}

// next returns the next message, or an error at the end.
func (s *sse) next() (message, error) {
	var text bytes.Buffer
	for {
		line, err := s.read.ReadString('\n')
		if err != nil {
			return message{}, err
		}
		text.WriteString(line)
		if line == "\n" {
			m, _, _ := parseMessage(text.String())
			return m, nil
		}
	}
}

// until returns the next message of a kind.
func (s *sse) until(event string) message {
	s.t.Helper()
	for {
		m, err := s.next()
		if err != nil {
			s.t.Fatal(err)
		}
		if m.event == event {
			return m
		}
	}
}

// await waits for a condition.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waiting in vain for ", what)
		}
	}
}

// TestHandlerNetwork follows a key over HTTP/1.1 and HTTP/2.
func TestHandlerNetwork(t *testing.T) {
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprint("HTTP/", version), func(t *testing.T) {
			before := runtime.NumGoroutine()
			o := options()
			o.FlushEvery, o.Poll = 5*time.Millisecond, 5*time.Millisecond
			s := newStream(t, memory.NewLog(nil), o)
			server := httptest.NewUnstartedServer(newHandler(t, s, nil))
			if server.EnableHTTP2 = version == 2; server.EnableHTTP2 {
				server.StartTLS()
			} else {
				server.Config.ReadTimeout = time.Second // which are not for a stream
				server.Config.WriteTimeout = time.Second
				server.Start()
			}
			s.Append("k", event{N: 1, User: "ann"})
			mustFlush(t, s)

			first := connect(t, server.Client(), server.URL, "")
			if m, err := first.next(); err != nil || m.event != "retry: 2000" {
				t.Fatal(m, err)
			}
			m := first.until("snapshot")
			sn := decode(t, m.data)
			if diff := cmp.Diff([]int{1}, numbers(sn.Events)); diff != "" || m.id != sn.Pos.String() || sn.Cap != 50 || sn.Stats.Total != 1 || sn.Stats.Unique != 1 {
				t.Errorf("%v: %s", m, diff)
			}
			second := connect(t, server.Client(), server.URL, m.id)
			for n := 2; n < 20; n++ {
				s.Append("k", event{N: n})
				for _, c := range []*sse{first, second} {
					m := c.until("event")
					if e := decode(t, m.data); e.Data.N != n || m.id != e.Pos.String() || e.Pos.Seq != int64(n) {
						t.Fatal(m)
					}
				}
				if n == 10 {
					time.Sleep(server.Config.WriteTimeout + 100*time.Millisecond) // a stream goes on after it
				}
			}
			first.until("stats")
			_ = first.body.Close()
			await(t, "the viewer to leave", func() bool { return s.Stats().Readers == 1 })
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
			for {
				if _, err := second.next(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("after Close: error %v, want the end", err)
				}
			}
			_ = second.body.Close()
			server.Close()
			await(t, "goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
		})
	}
}
