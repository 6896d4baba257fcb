package samplers

import (
	"bufio"
	"cmp"
	"io"
	"net"
	"net/http"
)

// UnmatchedOp is the operation of the requests that match no route. See [PatternKey].
const UnmatchedOp = "__unmatched__"

// MiddlewareOptions are the settings of [Sampler.Middleware]. The zero MiddlewareOptions,
// and nil, consist entirely of default values.
type MiddlewareOptions struct {
	// TrustIncoming uses the decision that the request's headers carry, if they do,
	// without counting the request; see [Extract]. It is for services whose callers are
	// one's own, and do not hand on the header "baggage" of clients: those could have
	// themselves kept, or never logged. Default false.
	TrustIncoming bool
}

// Middleware returns a middleware that decides on every request, by its key, and hands on
// the decision in the request's context, for a handler of [NewHandler], for [FromContext] and
// for [Transport]. The request ends, as with [End], when the handler returns.
//
// A handler that panics, or calls WriteHeader with 500 or more, even if that is too late to
// be sent, has ended in an error: the request is kept after all, as with [Upgrade]. The panic
// goes on.
//
// The ResponseWriter that the handler gets can be flushed and hijacked if the one beneath
// can; for deadlines and the like there is http.ResponseController. It is no http.Pusher. The handler gets a copy of the
// request, so that what the middleware is wrapped in sees neither the decision nor, for
// instance, Request.Pattern.
func (s *Sampler) Middleware(key func(*http.Request) Key, o *MiddlewareOptions) func(http.Handler) http.Handler {
	trust := o != nil && o.TrustIncoming
	decide := func(r *http.Request) Decision {
		if trust {
			if d, ok := Extract(r.Header); ok {
				return d
			}
		}
		return s.Decide(r.Context(), key(r))
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := ContextWithDecision(r.Context(), decide(r))
			defer End(ctx)
			writer := &responseWriter{ResponseWriter: w}
			returned := false
			defer func() {
				if !returned || writer.failed {
					Upgrade(ctx)
				}
			}()
			next.ServeHTTP(writer.withAbilities(), r.WithContext(ctx))
			returned = true
		})
	}
}

// responseWriter notes whether the handler has told of an error.
type responseWriter struct {
	http.ResponseWriter
	failed bool
}

func (w *responseWriter) WriteHeader(status int) {
	w.failed = w.failed || status >= http.StatusInternalServerError
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (w *responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// ReadFrom and WriteString use those of the writer beneath, if it has them.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) { return io.Copy(w.ResponseWriter, r) }

func (w *responseWriter) WriteString(s string) (int, error) {
	return io.WriteString(w.ResponseWriter, s)
}

// flushWriter is a responseWriter above one that can be flushed.
type flushWriter struct{ *responseWriter }

func (w flushWriter) Flush() { _ = w.FlushError() }

func (w flushWriter) FlushError() error {
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// connWriter is a responseWriter above one that can be hijacked, as that of a connection
// of HTTP/1, which can be flushed too.
type connWriter struct{ flushWriter }

func (w connWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// withAbilities returns the writer with the optional methods that the one beneath has.
func (w *responseWriter) withAbilities() http.ResponseWriter {
	switch w.ResponseWriter.(type) {
	case http.Hijacker:
		return connWriter{flushWriter{w}}
	case http.Flusher:
		return flushWriter{w}
	}
	return w
}

// PatternKey returns a key function for [Sampler.Middleware]: the pattern of the request's
// route is the Op, never its path. The patterns are those of mux, around which the
// middleware is put; with nil they are those of the mux within which it is, as in
// Request.Pattern. Requests that match no route are of [UnmatchedOp]. A nil tenant stands
// for the empty one.
func PatternKey(mux *http.ServeMux, tenant func(*http.Request) string) func(*http.Request) Key {
	return func(r *http.Request) Key {
		k := Key{Op: pattern(mux, r)}
		if tenant != nil {
			k.Tenant = tenant(r)
		}
		return k
	}
}

func pattern(mux *http.ServeMux, r *http.Request) string {
	if mux != nil && r.Method != http.MethodConnect { // of which the mux may return the path
		if _, p := mux.Handler(r); p != "" {
			return p
		}
	}
	return cmp.Or(r.Pattern, UnmatchedOp)
}
