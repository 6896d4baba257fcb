package samplers

import (
	"context"
	"sync"
	"sync/atomic"
)

// request is the context of a request, and what is known of it.
type request struct {
	context.Context
	began Decision
	state atomic.Uint32 // changed with mu held

	mu    sync.Mutex // protects the following
	lines *lines     // the lines that are held; nil if none is
	// emitting: a goroutine writes the lines, until there are none. Meanwhile others
	// add theirs, so that the order stays.
	emitting bool
}

// The states of a request.
const (
	upgraded = 1 << iota // it ended in an error
	ended
)

type requestKey struct{}

// Value returns the request itself as the value of requestKey, so that a request is one
// object and not a value within a context.
func (r *request) Value(key any) any {
	if key == (requestKey{}) {
		return r
	}
	return r.Context.Value(key)
}

func requestOf(ctx context.Context) *request {
	r, _ := ctx.Value(requestKey{}).(*request)
	return r
}

// ContextWithDecision begins a request: what is logged, traced and called with the context
// that it returns, or with one derived from it, is kept as d says. Call [End] when the
// request is over. A request within another is one of its own.
//
// Such a context may be used by many goroutines at once, and after the end: then the
// decision stays as it was at the end, and no line is held.
func ContextWithDecision(ctx context.Context, d Decision) context.Context {
	return &request{Context: ctx, began: d}
}

// FromContext returns the decision that holds now for the request of the context, and
// false if there is no request.
func FromContext(ctx context.Context) (Decision, bool) {
	if r := requestOf(ctx); r != nil {
		return r.decision(), true
	}
	return Decision{}, false
}

// Upgrade keeps the request of the context after all, because it ended in an error. The
// lines that a handler with [HandlerOptions].Upgrade has held are written now, and those
// that follow at once. What another has dropped is lost.
//
// Its weight is 1 from now on, even if it was chosen for the tail: every request that ends
// in an error is kept, so that each stands for itself. One that is kept with weight 1
// already stays as it is. After the end, and without a request, nothing happens.
//
// The errors of the handlers that lines are written to are ignored, as slog.Logger ignores
// them.
func Upgrade(ctx context.Context) {
	if r := requestOf(ctx); r != nil {
		r.settle(upgraded)
	}
}

// End ends the request of the context. The lines that a handler with
// [HandlerOptions].Upgrade has held are written if the request is kept, and forgotten
// otherwise. A second End does nothing, nor does one without a request. Errors are ignored
// as by [Upgrade].
func End(ctx context.Context) {
	if r := requestOf(ctx); r != nil {
		r.settle(ended)
	}
}

// sure reports whether the decision stays as it is, whatever happens.
func (d Decision) sure() bool { return d.Keep && d.Weight == 1 }

// decision returns the decision that holds now.
func (r *request) decision() Decision {
	d := r.began
	if r.state.Load()&upgraded != 0 {
		d.Keep, d.Weight, d.Reason = true, 1, Upgraded
	}
	return d
}

// settle puts the request in a state, and writes or forgets its lines accordingly.
func (r *request) settle(state uint32) {
	r.mu.Lock()
	r.enterLocked(state)
	_ = r.unlockAndEmit()
}

// enterLocked puts the request in a state, unless it is over. One that is kept for sure
// is not upgraded.
func (r *request) enterLocked(state uint32) {
	if r.state.Load()&ended == 0 && (state == ended || !r.began.sure()) {
		r.state.Or(state)
	}
}

// keeps reports whether the request is kept, as far as is known.
func (r *request) keeps() bool { return r.began.Keep || r.state.Load()&upgraded != 0 }

// settled reports whether it is certain what becomes of the request's lines.
func (r *request) settled() bool {
	return r.began.sure() || r.state.Load()&(upgraded|ended) != 0
}
