package backendtest

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Match selects calls.
type Match func(c Call) bool

// On matches every call of the methods; without any, every call.
func On(methods ...string) Match {
	methods = slices.Clone(methods)
	return func(c Call) bool { return len(methods) == 0 || slices.Contains(methods, c.Method) }
}

// Nth matches the nth call of the method since the last Reset, from 1.
func Nth(method string, n int) Match {
	return func(c Call) bool { return c.Method == method && c.N == n }
}

// Inject does the fault to the calls that match.
func Inject(match Match, fault Fault) Hook {
	return func(_ context.Context, c Call) Fault {
		if match(c) {
			return fault
		}
		return Fault{}
	}
}

// FailOn makes the calls that match fail with err, or nil for the default.
func FailOn(match Match, err error) Hook {
	return Inject(match, Fault{Action: Fail, Err: err})
}

// DropReplies makes the calls that match but drops their replies and returns err,
// or nil for the default.
func DropReplies(match Match, err error) Hook {
	return Inject(match, Fault{Action: DropReply, Err: err})
}

// HangOn makes the calls that match hang until their context ends.
func HangOn(match Match) Hook {
	return Inject(match, Fault{Action: Hang})
}

// DelayOn delays the calls that match.
func DelayOn(match Match, d time.Duration) Hook {
	return Inject(match, Fault{Delay: d})
}

// Chain asks the hooks in order and does what the first says that does not let the
// call pass unharmed. The others are not asked.
func Chain(hooks ...Hook) Hook {
	hooks = slices.Clone(hooks)
	return func(ctx context.Context, c Call) Fault {
		for _, hook := range hooks {
			fault := hook(ctx, c)
			if fault.Action != Pass || fault.Delay != 0 || fault.Err != nil || fault.After != nil {
				return fault
			}
		}
		return Fault{}
	}
}

// Gate holds back calls until it is opened, to force an interleaving:
//
//	gate := NewGate(Nth("Read", 2))
//	store.SetHook(gate.Hook)
//	go reader()
//	gate.Await(ctx)  // the second Read is about to be made
//	writer()
//	gate.Open()      // and only now it is
type Gate struct {
	match   Match
	arrived chan struct{} // one element for each call that is held back
	open    chan struct{}
	once    sync.Once
}

// gateCapacity is the number of arrivals that nobody has awaited yet.
const gateCapacity = 1 << 12

// NewGate returns a closed gate for the calls that match.
func NewGate(match Match) *Gate {
	return &Gate{match: match, arrived: make(chan struct{}, gateCapacity), open: make(chan struct{})}
}

// Hook holds back calls before they are made. A call whose context ends is let
// through, to fail by itself.
func (g *Gate) Hook(ctx context.Context, c Call) Fault {
	if g.match(c) {
		g.pass(ctx)
	}
	return Fault{}
}

// ReplyHook makes the calls that match and holds back their replies.
func (g *Gate) ReplyHook(_ context.Context, c Call) Fault {
	if g.match(c) {
		return Fault{After: g.pass}
	}
	return Fault{}
}

// pass announces an arrival and waits at the gate.
func (g *Gate) pass(ctx context.Context) {
	select {
	case g.arrived <- struct{}{}:
	default: // nobody counts that many
	}
	select {
	case <-g.open:
	case <-ctx.Done():
	}
}

// Await returns when one more call has arrived at the gate since the last Await,
// or with the error of ctx.
func (g *Gate) Await(ctx context.Context) error {
	select {
	case <-g.arrived:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Open lets all calls through, now and later. It may be called more than once.
func (g *Gate) Open() {
	g.once.Do(func() { close(g.open) })
}

// Reorder returns a hook that holds back the first call that matches until the
// reply of a later one is there. It works once.
func Reorder(match Match) Hook {
	var mu sync.Mutex
	seen := 0
	overtaken := make(chan struct{})
	return func(ctx context.Context, c Call) Fault {
		if !match(c) {
			return Fault{}
		}
		mu.Lock()
		seen++
		place := seen
		mu.Unlock()
		switch place {
		case 1:
			select {
			case <-overtaken:
			case <-ctx.Done():
			}
		case 2:
			return Fault{After: func(context.Context) { close(overtaken) }}
		}
		return Fault{}
	}
}
