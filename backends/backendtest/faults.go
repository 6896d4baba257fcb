package backendtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// Call is a call of a backend's method that is about to be made.
type Call struct {
	// Method is the method's name; for those of a transaction "Tx.Read",
	// "Tx.Write", "Tx.Commit" and "Tx.Rollback".
	Method string
	// N is the running number of the call among those of this method, from 1.
	N int
	// Batch is the argument: []driver.Step, []driver.Write, []driver.Lookup, the
	// kinds of a Raise and so on, one driver.Schema in a slice for Ensure, nil
	// where there is none.
	// It must not be modified or kept.
	Batch any
}

// Action is what happens to a call.
type Action uint8

const (
	// Pass makes the call.
	Pass Action = iota
	// Fail does not make the call and returns an error. The writes of a store
	// are Refused, unless the error wraps driver.ErrUnknownOutcome: that is a
	// call that was sent and never arrived. The elements for a cache and for
	// counters are Unknown.
	Fail
	// DropReply makes the call, then returns an error in place of its reply:
	// everything asked is Unknown, though it was applied.
	DropReply
	// Hang does not make the call and returns when the context ends.
	Hang
	// Late returns an error at once, like DropReply, but makes the call only
	// when Fault.Until is closed: a write that arrives after its writer has
	// given up.
	Late
)

// Fault is what a [Hook] does to a call. The zero Fault does nothing.
type Fault struct {
	// Delay passes before the action, or until the context ends.
	Delay  time.Duration
	Action Action
	// Err is the error of Fail, DropReply and Late. Defaults to one that wraps
	// driver.ErrUnavailable for Fail and driver.ErrUnknownOutcome for the
	// others.
	Err error
	// Until is closed to let a Late call go. It must not be nil then.
	Until <-chan struct{}
	// After is called, if it is not nil, when the call was made and before its
	// reply is returned. It may wait, to hold back the reply.
	After func(ctx context.Context)
}

// A Hook decides what is to happen to a call. It is called before the call is
// made, by the goroutine that makes it, and may wait; it should return when ctx
// ends.
type Hook func(ctx context.Context, c Call) Fault

// Faults is what [FaultyStore], [FaultyCache] and [FaultyCounters] have in common: the hook, and
// counters of the calls. It is safe for concurrent use.
type Faults struct {
	mu    sync.Mutex // protects what follows
	hook  Hook
	calls map[string]int
	items map[string]int
	late  sync.WaitGroup
}

// SetHook replaces the hook; nil lets every call pass.
func (f *Faults) SetHook(hook Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// Calls returns the number of calls of the method since the last Reset, those that
// failed included.
func (f *Faults) Calls(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[method]
}

// Items returns the number of elements in the batches of these calls.
func (f *Faults) Items(method string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.items[method]
}

// Total returns the number of calls of all methods.
func (f *Faults) Total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	total := 0
	for _, n := range f.calls {
		total += n
	}
	return total
}

// Reset sets the counters, and with them the running numbers of the calls, to 0.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.calls)
	clear(f.items)
}

// WaitLate returns when every Late call whose Until was closed has been made. It
// waits for the others too.
func (f *Faults) WaitLate() {
	f.late.Wait()
}

// count numbers a call and returns the hook that it is to be shown to.
func (f *Faults) count(method string, items int) (int, Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.calls == nil {
		f.calls, f.items = make(map[string]int), make(map[string]int)
	}
	f.calls[method]++
	f.items[method] += items
	return f.calls[method], f.hook
}

// consult asks the hook and lets its delay pass.
func (f *Faults) consult(ctx context.Context, method string, items int, batch any) Fault {
	n, hook := f.count(method, items)
	if hook == nil {
		return Fault{}
	}
	fault := hook(ctx, Call{Method: method, N: n, Batch: batch})
	if fault.Delay > 0 {
		wait(ctx, fault.Delay)
	}
	return fault
}

// wait returns after d or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// do makes a call, or does to it what the hook says. unmade, if it is not nil, gives
// the results of a call that is never made, which ends with the error.
func do[E, R any](ctx context.Context, f *Faults, method string, batch []E,
	call func(ctx context.Context, batch []E) (R, error), unmade func(err error) R,
) (result R, err error) {
	fault := f.consult(ctx, method, len(batch), argument(batch))
	switch fault.Action {
	case Fail, Hang:
		err = fault.fail(ctx, method)
		if unmade != nil {
			result = unmade(err)
		}
		return result, err
	case Late:
		f.makeLate(ctx, fault.Until, lateCall(batch, call))
		return result, fault.err(method, driver.ErrUnknownOutcome)
	}
	reply, err := call(ctx, batch)
	if fault.After != nil {
		fault.After(ctx)
	}
	if fault.Action == DropReply {
		return result, fault.err(method, driver.ErrUnknownOutcome)
	}
	return reply, err
}

// argument returns what the hook is shown of a batch.
func argument[E any](batch []E) any {
	if batch == nil {
		return nil
	}
	return batch
}

// fail returns the error of a call that is not made, for Hang when ctx ends. What
// hung may have been applied, for all that its caller knows.
func (f *Fault) fail(ctx context.Context, method string) error {
	if f.Action == Fail {
		return f.err(method, driver.ErrUnavailable)
	}
	<-ctx.Done()
	return fmt.Errorf("backendtest: %s hung: %w: %w", method, driver.ErrUnknownOutcome, ctx.Err())
}

// lateCall keeps a copy of the batch, which is the caller's again before the call
// is made.
func lateCall[E, R any](batch []E, call func(context.Context, []E) (R, error)) func(context.Context) {
	batch = slices.Clone(batch)
	for i := range batch {
		copyElement(&batch[i])
	}
	return func(ctx context.Context) {
		_, _ = call(ctx, batch) // its caller has had an answer already
	}
}

// makeLate makes a call when until is closed. Its goroutine ends then.
func (f *Faults) makeLate(ctx context.Context, until <-chan struct{}, call func(context.Context)) {
	ctx = context.WithoutCancel(ctx)
	f.late.Go(func() {
		<-until
		call(ctx)
	})
}

// copyElement copies what an element of a batch points to.
func copyElement(element any) {
	switch e := element.(type) {
	case *driver.Fill:
		e.Value = slices.Clone(e.Value)
	case *driver.Claim:
		e.Replace = slices.Clone(e.Replace)
	case *driver.Write:
		e.Old = copyDocument(e.Old)
		e.Changes = slices.Clone(e.Changes)
		for i := range e.Changes {
			e.Changes[i].Set = copyValue(e.Changes[i].Set)
		}
		if e.Object != nil {
			object := *e.Object
			object.Doc = copyDocument(object.Doc)
			e.Object = &object
		}
		if e.Edge != nil {
			edge := *e.Edge
			edge.Data = copyDocument(edge.Data)
			e.Edge = &edge
		}
	}
}

func copyDocument(doc driver.Document) driver.Document {
	doc = slices.Clone(doc)
	for i := range doc {
		doc[i].Value = copyValue(doc[i].Value)
	}
	return doc
}

func copyValue(v driver.Value) driver.Value {
	switch v := v.(type) {
	case []byte:
		return slices.Clone(v)
	case driver.Document:
		return copyDocument(v)
	case []driver.Value:
		v = slices.Clone(v)
		for i := range v {
			v[i] = copyValue(v[i])
		}
		return v
	}
	return v
}

// err returns the fault's error, or one that wraps the sentinel.
func (f *Fault) err(method string, sentinel error) error {
	if f.Err != nil {
		return f.Err
	}
	return fmt.Errorf("backendtest: %s was made to fail: %w", method, sentinel)
}
