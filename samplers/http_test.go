package samplers_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/samplers"
)

func keyOf(*http.Request) samplers.Key { return samplers.Key{Op: "op"} }

// throttledSampler is one that throttles keyOf's key.
func throttledSampler(t testing.TB) *samplers.Sampler {
	s := newSampler(t, memory.NewCounters(nil), &samplers.Options{FirstN: 1, Timeout: time.Minute})
	s.Decide(t.Context(), keyOf(nil))
	return s
}

// serve calls a handler within the middleware, and returns what it panics with.
func serve(s *samplers.Sampler, o *samplers.MiddlewareOptions, r *http.Request, h http.HandlerFunc) (p any) {
	defer func() { p = recover() }()
	s.Middleware(keyOf, o)(h).ServeHTTP(httptest.NewRecorder(), r)
	return nil
}

func TestMiddlewareDecides(t *testing.T) {
	s := newSampler(t, memory.NewCounters(nil), &samplers.Options{FirstN: 2, Timeout: time.Minute})
	for _, want := range []samplers.Reason{samplers.First, samplers.First, samplers.Throttled} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		serve(s, nil, r, func(_ http.ResponseWriter, r *http.Request) {
			if d, ok := samplers.FromContext(r.Context()); !ok || d.Reason != want {
				t.Errorf("got %+v, %v, want %v", d, ok, want)
			}
		})
		if _, ok := samplers.FromContext(r.Context()); ok {
			t.Error("the caller's request has changed")
		}
	}
}

func TestMiddlewareUpgrade(t *testing.T) {
	for _, tt := range []struct {
		name     string
		handler  http.HandlerFunc
		upgraded bool
		panics   any
	}{
		{name: "nothing", handler: func(http.ResponseWriter, *http.Request) {}},
		{name: "a body", handler: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "body") }},
		{name: "499", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(499) }},
		{name: "early hints", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusEarlyHints) }},
		{name: "500", handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, upgraded: true},
		{name: "early hints, then 503", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(503)
		}, upgraded: true},
		{name: "503 through http.Error", handler: func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", 503) }, upgraded: true},
		{name: "500 after a body", handler: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "body")
			w.WriteHeader(500)
		}, upgraded: true},
		{name: "200 after 500", handler: func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(500)
			w.WriteHeader(200)
		}, upgraded: true},
		{name: "panic", handler: func(http.ResponseWriter, *http.Request) { panic("panic") }, upgraded: true, panics: "panic"},
		{name: "abort", handler: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, upgraded: true, panics: http.ErrAbortHandler},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out logBuffer
			logger := slog.New(samplers.NewHandler(out.handler(), upgradeMode))
			var ctx context.Context
			p := serve(throttledSampler(t), nil, httptest.NewRequest(http.MethodGet, "/", nil), func(w http.ResponseWriter, r *http.Request) {
				ctx = r.Context()
				logger.InfoContext(ctx, "line")
				tt.handler(w, r)
			})
			if p != tt.panics {
				t.Errorf("panics with %v, want %v", p, tt.panics)
			}
			var want []string
			if tt.upgraded {
				want = append(want, logged("INFO", "line", ``, 1, "upgraded"))
			}
			out.expect(t, "served", want...)
			if d, _ := samplers.FromContext(ctx); d.Keep != tt.upgraded {
				t.Errorf("at the end: %+v", d)
			}
			before, _ := samplers.FromContext(ctx)
			samplers.Upgrade(ctx)
			if after, _ := samplers.FromContext(ctx); after != before {
				t.Error("the request has not ended")
			}
		})
	}
}

func TestMiddlewareTrustIncoming(t *testing.T) {
	for _, tt := range []struct {
		name    string
		o       *samplers.MiddlewareOptions
		baggage string
		want    samplers.Reason
	}{
		{"not by default", nil, "graphcache.sample=tail-7-c", samplers.Throttled},
		{"trusted", &samplers.MiddlewareOptions{TrustIncoming: true}, "graphcache.sample=tail-7-c", samplers.Tail},
		{"not there", &samplers.MiddlewareOptions{TrustIncoming: true}, "a=1", samplers.Throttled},
		{"malformed", &samplers.MiddlewareOptions{TrustIncoming: true}, "graphcache.sample=first-1-8", samplers.Throttled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Baggage", tt.baggage)
			serve(throttledSampler(t), tt.o, r, func(_ http.ResponseWriter, r *http.Request) {
				if d, _ := samplers.FromContext(r.Context()); d.Reason != tt.want {
					t.Errorf("got %+v, want %v", d, tt.want)
				}
			})
		})
	}
}

// bare is a ResponseWriter that can do nothing else.
type bare struct{ http.ResponseWriter }

// readerFrom counts the calls of ReadFrom and WriteString.
type readerFrom struct {
	http.ResponseWriter
	reads, strings int
}

func (r *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	r.reads++
	return io.Copy(struct{ io.Writer }{r.ResponseWriter}, src)
}

func (r *readerFrom) WriteString(s string) (int, error) {
	r.strings++
	return io.WriteString(r.ResponseWriter, s)
}

// hijacker is a ResponseWriter that can be hijacked and not flushed.
type hijacker struct{ http.ResponseWriter }

func (hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, io.EOF }

// failingFlusher is one that tells why it fails.
type failingFlusher struct{ http.ResponseWriter }

func (failingFlusher) Flush()            {}
func (failingFlusher) FlushError() error { return io.EOF }

// TestMiddlewareAbilities: the writer can do what that beneath can, and claims nothing else.
func TestMiddlewareAbilities(t *testing.T) {
	s := throttledSampler(t)
	within := func(w http.ResponseWriter, h func(http.ResponseWriter)) {
		s.Middleware(keyOf, nil)(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { h(w) })).
			ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	}
	type abilities struct{ Flush, Hijack bool }
	for _, tt := range []struct {
		name  string
		w     http.ResponseWriter
		want  abilities
		flush error // of the ResponseController
	}{
		{"bare", bare{httptest.NewRecorder()}, abilities{}, http.ErrNotSupported},
		{"recorder", httptest.NewRecorder(), abilities{Flush: true}, nil},
		{"failing", failingFlusher{httptest.NewRecorder()}, abilities{Flush: true}, io.EOF},
		{"hijacker", hijacker{httptest.NewRecorder()}, abilities{Flush: true, Hijack: true}, http.ErrNotSupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			within(tt.w, func(w http.ResponseWriter) {
				f, flush := w.(http.Flusher)
				h, hijack := w.(http.Hijacker)
				if got := (abilities{flush, hijack}); got != tt.want {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
				if flush {
					f.Flush()
				}
				if hijack {
					if _, _, err := h.Hijack(); err != io.EOF {
						t.Errorf("hijacking: %v", err)
					}
				}
				if err := http.NewResponseController(w).Flush(); !errors.Is(err, tt.flush) {
					t.Errorf("flushing: %v, want %v", err, tt.flush)
				}
			})
		})
	}

	counting := &readerFrom{ResponseWriter: httptest.NewRecorder()}
	within(counting, func(w http.ResponseWriter) {
		_, _ = io.Copy(w, io.LimitReader(strings.NewReader("body"), 10))
		_, _ = io.WriteString(w, "more")
	})
	if counting.reads != 1 || counting.strings != 1 {
		t.Errorf("%d calls of ReadFrom and %d of WriteString, want one of each", counting.reads, counting.strings)
	}
}

// TestMiddlewareServed: what handlers do with a connection works through the middleware.
func TestMiddlewareServed(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/copy", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})
	flushed := make(chan struct{})
	mux.HandleFunc("/flush", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "first ")
		w.(http.Flusher).Flush()
		<-flushed
		_, _ = io.WriteString(w, "second")
	})
	mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
		conn, buf, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = buf.WriteString("HTTP/1.1 418 taken over\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		_ = buf.Flush()
		_ = conn.Close()
	})
	mux.HandleFunc("/abilities", func(w http.ResponseWriter, r *http.Request) {
		_, flush := w.(http.Flusher)
		_, hijack := w.(http.Hijacker)
		if !flush || hijack != (r.ProtoMajor == 1) {
			t.Errorf("%v: can be flushed: %v, hijacked: %v", r.Proto, flush, hijack)
		}
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			t.Error(err)
		}
	})
	handler := throttledSampler(t).Middleware(keyOf, nil)(mux)
	one := httptest.NewServer(handler)
	defer one.Close()
	two := httptest.NewUnstartedServer(handler)
	two.EnableHTTP2 = true
	two.StartTLS()
	defer two.Close()
	for _, tt := range []struct {
		server *httptest.Server
		path   string
		status int
		body   string
	}{
		{one, "/copy", 200, "body"},
		{one, "/hints", 418, ""},
		{one, "/hijack", 418, ""},
		{one, "/abilities", 200, ""},
		{two, "/copy", 200, "body"},
		{two, "/abilities", 200, ""},
	} {
		resp, err := tt.server.Client().Post(tt.server.URL+tt.path, "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || string(body) != tt.body {
			t.Errorf("%s %s: %d %q, %v, want %d %q", resp.Proto, tt.path, resp.StatusCode, body, err, tt.status, tt.body)
		}
	}

	resp, err := one.Client().Get(one.URL + "/flush")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	begin := make([]byte, len("first "))
	if _, err := io.ReadFull(resp.Body, begin); err != nil || string(begin) != "first " {
		t.Fatalf("flushed: %q, %v", begin, err)
	}
	close(flushed)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "second" {
		t.Errorf("the rest: %q, %v", rest, err)
	}
}

func TestMiddlewarePatternKey(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("example.org/", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/files/", func(http.ResponseWriter, *http.Request) {})
	tenant := func(r *http.Request) string { return r.Header.Get("Tenant") }
	for _, tt := range []struct {
		name, method, url string
		mux               *http.ServeMux
		pattern           string
		tenant            func(*http.Request) string
		want              samplers.Key
	}{
		{"around a mux", "GET", "/users/1", mux, "", tenant, samplers.Key{Tenant: "ann", Op: "GET /users/{id}"}},
		{"no tenants", "GET", "/users/1", mux, "", nil, samplers.Key{Op: "GET /users/{id}"}},
		{"host", "GET", "http://example.org/users", mux, "", nil, samplers.Key{Op: "example.org/"}},
		{"redirection", "GET", "/files", mux, "", nil, samplers.Key{Op: "/files/"}},
		{"other method", "POST", "/users/1", mux, "", nil, samplers.Key{Op: samplers.UnmatchedOp}},
		{"no route", "GET", "/wp-admin.php", mux, "", tenant, samplers.Key{Tenant: "ann", Op: samplers.UnmatchedOp}},
		{"within a mux", "GET", "/users/1", nil, "/u/", nil, samplers.Key{Op: "/u/"}},
		{"within no mux", "GET", "/users/1", nil, "", nil, samplers.Key{Op: samplers.UnmatchedOp}},
		{"around a mux within another", "GET", "/users/1", mux, "/", nil, samplers.Key{Op: "GET /users/{id}"}},
		{"only the outer mux has a route", "GET", "/wp-admin.php", mux, "/", nil, samplers.Key{Op: "/"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.url, nil)
			r.Header.Set("Tenant", "ann")
			r.Pattern = tt.pattern
			if diff := cmp.Diff(tt.want, samplers.PatternKey(tt.mux, tt.tenant)(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// BenchmarkMiddleware is about a throttled request, whose handler does nothing.
func BenchmarkMiddleware(b *testing.B) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /users/{id}", func(http.ResponseWriter, *http.Request) {})
	key := samplers.PatternKey(mux, nil)
	s := newSampler(b, memory.NewCounters(nil), &samplers.Options{FirstN: 1, Timeout: time.Minute})
	r := httptest.NewRequest(http.MethodGet, "/users/1", nil)
	s.Decide(b.Context(), key(r))
	for _, bb := range []struct {
		name string
		h    http.Handler
	}{
		{"without", mux},
		{"with", s.Middleware(func(*http.Request) samplers.Key { return samplers.Key{Op: "GET /users/{id}"} }, nil)(mux)},
		{"with PatternKey", s.Middleware(key, nil)(mux)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			w := httptest.NewRecorder()
			b.ReportAllocs()
			for b.Loop() {
				bb.h.ServeHTTP(w, r)
			}
		})
	}
}

// TestPatternKeyConnect has a method for which a mux may return the path.
func TestPatternKeyConnect(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/x/{id}/", func(http.ResponseWriter, *http.Request) {})
	r := httptest.NewRequest(http.MethodConnect, "/x/secret", nil)
	if op := samplers.PatternKey(mux, nil)(r).Op; op != samplers.UnmatchedOp {
		t.Errorf("the key is %q", op)
	}
}
