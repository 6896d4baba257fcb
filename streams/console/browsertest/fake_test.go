package browsertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache/streams/console"
)

// fake is a stream that does what a test wants, in the form in which streams.Handler serves
// one: for what that does not do, or not when a test wants it.
type fake struct {
	mu      sync.Mutex
	epoch   int
	events  []json.RawMessage
	cap     int
	unique  int
	spark   [60]int
	status  int           // if it is not 0, what all requests are answered with
	hold    chan struct{} // if it is not nil, requests for JSON wait until it is closed
	asked   []*http.Request
	changed chan struct{}
	cut     chan struct{} // ends the connections there are
}

func newFake(t *testing.T) (*fake, string) {
	f := &fake{epoch: 1, cap: 50, changed: make(chan struct{}), cut: make(chan struct{})}
	return f, serve(t, f)
}

// serve serves a page, and events beside it.
func serve(t *testing.T, events http.Handler) string {
	mux := http.NewServeMux()
	mux.Handle("/live/events", events)
	mux.Handle("/live/", console.Handler(nil))
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL + "/live/"
}

func (f *fake) append(data ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range data {
		b, ok := d.(json.RawMessage)
		if !ok {
			b, _ = json.Marshal(d)
		}
		f.events = append(f.events, b)
	}
	f.changeLocked()
}

// keep sets how many events are kept.
func (f *fake) keep(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cap = n
}

// holdJSON has requests for JSON wait until the function that it returns is called.
func (f *fake) holdJSON() func() {
	f.mu.Lock()
	defer f.mu.Unlock()
	hold := make(chan struct{})
	f.hold = hold
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.hold = nil
		close(hold)
	}
}

func (f *fake) changeLocked() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// restart begins another epoch.
func (f *fake) restart() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch++
	f.events = nil
	f.changeLocked()
}

// disconnect ends all connections, and answers from now on with a status, 0 for as usual.
func (f *fake) disconnect(status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = status
	close(f.cut)
	f.cut = make(chan struct{})
}

// requests returns the URLs that were asked for.
func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var urls []string
	for _, r := range f.asked {
		urls = append(urls, r.URL.String())
	}
	return urls
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asked = append(f.asked, r)
	status, cut, hold := f.status, f.cut, f.hold
	f.mu.Unlock()
	stream := strings.Contains(r.Header.Get("Accept"), "text/event-stream")
	if hold != nil && !stream {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	if status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":"the test says %d"}`, status)
		return
	}
	c := connection{fake: f, w: w, filter: r.FormValue("filter"), first: true}
	if since := r.FormValue("since"); since != "" {
		epoch, seq, _ := strings.Cut(since, "-")
		c.first = false
		c.epoch, _ = strconv.Atoi(epoch)
		c.seq, _ = strconv.Atoi(seq)
	}
	if !stream {
		w.Header().Set("Content-Type", "application/json")
		f.mu.Lock()
		defer f.mu.Unlock()
		_, _ = w.Write(c.snapshotLocked())
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "retry: 2000\n\n")
	for {
		f.mu.Lock()
		c.sendLocked()
		changed := f.changed
		f.mu.Unlock()
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// connection is what a viewer has seen.
type connection struct {
	*fake
	w          http.ResponseWriter
	filter     string
	first      bool
	epoch, seq int
	filtered   int
}

func (c *connection) pos(seq int) string { return fmt.Sprintf("%x-%d", c.fake.epoch, seq) }

func (c *connection) send(event string, seq int, data []byte) {
	fmt.Fprintf(c.w, "id: %s\nevent: %s\ndata: %s\n\n", c.pos(seq), event, data)
}

func (c *connection) sendLocked() {
	head := len(c.events)
	switch {
	case c.first:
		c.send("snapshot", head, c.snapshotLocked())
		c.first, c.epoch, c.seq = false, c.fake.epoch, head
		return
	case c.epoch != c.fake.epoch:
		missed := max(0, head-c.cap)
		c.send("reset", missed, fmt.Appendf(nil, `{"missed":%d,"pos":%q}`, missed, c.pos(missed)))
		c.epoch, c.seq = c.fake.epoch, missed
	case head-c.seq > c.cap:
		missed := head - c.cap - c.seq
		c.seq += missed
		c.send("gap", c.seq, fmt.Appendf(nil, `{"missed":%d,"pos":%q}`, missed, c.pos(c.seq)))
	}
	for c.seq < head {
		c.seq++
		if c.passes(c.events[c.seq-1]) {
			c.send("event", c.seq, c.eventLocked(c.seq))
		} else {
			c.filtered++
		}
	}
	c.send("stats", head, c.statsLocked())
}

func (c *connection) passes(event []byte) bool {
	if field, value, ok := strings.Cut(c.filter, ":"); ok {
		return strings.Contains(string(event), fmt.Sprintf("%q:%q", field, value))
	}
	return strings.Contains(string(event), strings.Trim(c.filter, `"`))
}

func (c *connection) eventLocked(seq int) []byte {
	return fmt.Appendf(nil, `{"pos":%q,"time":%q,"data":%s}`, c.pos(seq), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(seq)*1237*time.Millisecond).Format("2006-01-02T15:04:05.000Z07:00"), c.events[seq-1])
}

func (c *connection) snapshotLocked() []byte {
	b := []byte(`{"events":[`)
	head := len(c.events)
	sep := ""
	for seq := max(0, head-c.cap) + 1; seq <= head; seq++ {
		if c.passes(c.events[seq-1]) {
			b = append(append(b, sep...), c.eventLocked(seq)...)
			sep = ","
		}
	}
	return fmt.Appendf(b, `],"pos":%q,"stats":%s,"cap":%d}`, c.pos(head), c.statsLocked(), c.cap)
}

func (c *connection) statsLocked() []byte {
	types := make(map[string]int64)
	for _, e := range c.events {
		var typed struct{ Type string }
		if json.Unmarshal(e, &typed) == nil && typed.Type != "" {
			types[typed.Type]++
		}
	}
	type typeCount struct {
		Type  string `json:"type"`
		Count int64  `json:"count"`
	}
	stats := struct {
		Pos      string      `json:"pos"`
		Total    int         `json:"total"`
		Unique   int         `json:"unique"`
		Types    []typeCount `json:"types"`
		Spark    [60]int     `json:"spark"`
		BucketMS int         `json:"bucket_ms"`
		Created  string      `json:"created"`
		Filtered *int        `json:"filtered,omitempty"`
	}{Types: []typeCount{}, Pos: c.pos(len(c.events)), Total: len(c.events), Unique: c.unique, Spark: c.spark, BucketMS: 1000, Created: "2026-03-01T12:00:00Z"}
	if c.filter != "" {
		stats.Filtered = &c.filtered
	}
	for name, n := range types {
		stats.Types = append(stats.Types, typeCount{name, n})
	}
	b, _ := json.Marshal(stats)
	return b
}
