package streams

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
)

// wall is a viewer that takes everything and shows nothing.
type wall struct {
	header http.Header
	bytes  *atomic.Int64
}

func (w wall) Header() http.Header              { return w.header }
func (w wall) WriteHeader(int)                  {}
func (w wall) SetWriteDeadline(time.Time) error { return nil }
func (w wall) Flush()                           {}
func (w wall) Write(b []byte) (int, error)      { w.bytes.Add(int64(len(b))); return len(b), nil }

type click struct {
	Type string `json:"type"`
	User string `json:"user"`
	Path string `json:"path"`
	N    int    `json:"n"`
}

func newClicks(b testing.TB, o *Options[click]) (*Stream[click], *handler[click]) {
	o.Logger = slog.New(slog.DiscardHandler)
	s, err := New(memory.NewLog(nil), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close(context.Background()) })
	h, err := s.Handler(func(*http.Request) (string, error) { return "k", nil }, nil)
	if err != nil {
		b.Fatal(err)
	}
	return s, h.(*handler[click])
}

// newViewer returns a viewer and a full window that it has not seen.
func newViewer(t testing.TB) (*viewer[click], *sheet[click]) {
	_, h := newClicks(t, &Options[click]{})
	w := &window[click]{known: true, pos: Pos{1, 150}}
	for i := range 50 {
		e := &Event[click]{Pos: Pos{1, 150 - int64(i)}, Time: time.UnixMilli(1), Data: click{"view", "ann", "/a/long/path", i}}
		w.events = append(w.events, e)
	}
	topic := newTopic(h, "k")
	f := new(feed[click])
	f.window.Store(w)
	out := wall{make(http.Header), new(atomic.Int64)}
	q := &request[click]{topic: topic}
	return &viewer[click]{request: q, w: out, control: http.NewResponseController(out), settled: true}, topic.sheetOf(f)
}

func BenchmarkViewer(b *testing.B) {
	for _, expr := range []string{"", "type:view", "ann n:<1000", "-view"} {
		b.Run("filter="+expr, func(b *testing.B) {
			v, s := newViewer(b)
			var err error
			if v.filter, err = parseFilter(expr); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				v.pos = Pos{1, 100}
				v.sendNews(s)
				v.flush()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/50, "ns/event")
			b.ReportMetric(float64(v.w.(wall).bytes.Load())/float64(b.N)/50, "sent-B/event")
		})
	}
}

// BenchmarkFollow appends ten events and waits until all viewers of the key have them.
func BenchmarkFollow(b *testing.B) {
	for _, viewers := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("viewers=", viewers), func(b *testing.B) {
			s, h := newClicks(b, &Options[click]{FlushEvery: time.Minute, Poll: time.Millisecond})
			ctx, stop := context.WithCancel(b.Context())
			var done sync.WaitGroup
			var sent atomic.Int64
			for range viewers {
				r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/?since=0-0", nil)
				r.Header.Set("Accept", "text/event-stream")
				done.Go(func() { h.ServeHTTP(wall{make(http.Header), &sent}, r) })
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			n := 0
			for b.Loop() {
				for range 10 {
					n++
					s.Append("k", click{"view", "ann", "/a/long/path", n})
				}
				at := sent.Load()
				if err := s.Flush(ctx); err != nil {
					b.Fatal(err)
				}
				for sent.Load() < at+int64(viewers)*10*150 { // the least that they have
					time.Sleep(100 * time.Microsecond)
				}
			}
			runtime.ReadMemStats(&after)
			events := float64(n) * float64(viewers)
			b.ReportMetric(float64(after.Mallocs-before.Mallocs)/events, "allocs/event/viewer")
			b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/events, "B/event/viewer")
			b.ReportMetric(float64(sent.Load())/events, "sent-B/event/viewer")
			stop()
			done.Wait()
		})
	}
}
