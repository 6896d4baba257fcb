package graphcache

import (
	"context"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// Tracer is told what a graph does, for tracing: see Options.Tracer. Its methods and
// those of its spans may be called concurrently, must return soon, and must not use the
// graph.
type Tracer interface {
	// Start is called when an operation begins, with its caller's context. The store and
	// the cache are called with the context that it returns, or one made from it. A load
	// that several operations wait for has the one of the operation that began it, and
	// may outlast that. A nil Span is told nothing.
	Start(ctx context.Context, op Operation) (context.Context, Span)
}

// Operation is a call of a method of a kind, a query or a graph that reads or writes.
type Operation struct {
	// Name is one of
	//
	//	get                           Get, GetMany
	//	query                         All, Iter, First, Only, WithObjects
	//	ids, edges, count, exists, page
	//	create, put, update, apply, delete
	//	add, remove, change_kind
	//	update_all, apply_all, delete_all
	//	tx, invalidate
	Name string
	// Kind is the kind that a query ends with, or that is read or written. It is empty
	// for tx and invalidate.
	Kind string
}

// Span is an operation under way.
type Span interface {
	// Step is called after each step of the operation. Some follow End: those of work
	// that nobody waits for.
	Step(Step)
	// End is called once, when the operation ends, with the error that it returns or
	// the cause of it.
	End(err error)
}

// Step is a part of an operation that has ended.
type Step struct {
	// Name is one of
	//
	//	fetch    fragments were looked up, and those that were missed were loaded
	//	read     a write, or the preparation of one, read the store
	//	hold     the anchors of a write were marked in the cache
	//	journal  the anchors of a write were put into the store's journal
	//	store    the store was written, or a transaction committed
	//	release  the marks were taken off
	Name string
	// Duration is how long it took.
	Duration time.Duration
	// Outcome is "done", "failed", or "unknown" of a write that the store may yet apply.
	// A step is done if it was answered, whatever the answer is.
	Outcome string

	// The rest is that of a fetch; a read has the Kind too.

	// Kind is the kind of the fragments, and Access how they are found.
	Kind   string
	Access Access
	// Fragments is how many were asked for: NearHits are from the near cache; Hits and
	// Misses of those that were looked up in the shared one; and what is not looked up.
	Fragments, NearHits, Hits, Misses int
	// Joins took the result of a load under way in this process, Waits what another
	// process loaded, and Loads were read from the store, by this operation.
	Joins, Waits, Loads int
}

// operation is an operation's span, if it has one. The span goes down to the steps in
// the operation's context.
type operation struct{ span Span }

type spanKey struct{}

// start tells the tracer that an operation begins.
func (g *Graph) start(ctx context.Context, name, kind string) (context.Context, operation) {
	t := g.shared.opts.Tracer
	if t == nil {
		return ctx, operation{}
	}
	ctx, span := t.Start(ctx, Operation{Name: name, Kind: kind})
	if span != nil {
		ctx = context.WithValue(ctx, spanKey{}, span)
	}
	return ctx, operation{span}
}

// end tells it that the operation ends.
func (o operation) end(err *error) {
	if o.span != nil {
		o.span.End(*err)
	}
}

// span returns the span of the operation that the context is of, nil if it has none.
func (s *shared) span(ctx context.Context) Span {
	if s.opts.Tracer == nil {
		return nil
	}
	span, _ := ctx.Value(spanKey{}).(Span)
	return span
}

func outcome(err error) string {
	if err != nil {
		return "failed"
	}
	return "done"
}

// way is how a request was answered.
type way uint8

const (
	wayHit    way = iota + 1 // from the cache, at once
	wayJoined                // by a load under way in this process
	wayWaited                // by a load of another process
	wayLoaded                // from the store
	wayNear                  // from the near cache
)

// fetched tells the span what has become of the requests.
func (c conn) fetched(span Span, began time.Time, reqs []request, access Access, fresh Freshness, err *error) {
	step := Step{Name: "fetch", Duration: time.Since(began), Outcome: outcome(*err), Access: access, Fragments: len(reqs)}
	for i := range reqs {
		r := &reqs[i]
		step.Kind = r.kind.name
		switch {
		case r.way == wayNear:
			step.NearHits++
			continue
		case r.way == wayHit:
			step.Hits++
		case !r.direct && !r.bypass && c.cached(fresh):
			step.Misses++
		}
		switch {
		case r.way == wayJoined:
			step.Joins++
		case r.way == wayWaited:
			step.Waits++
		case r.way == wayLoaded || c.tx != nil:
			step.Loads++
		}
	}
	span.Step(step)
}

// haveRead tells the span that a write has read the store.
func haveRead(span Span, began time.Time, steps []driver.Step, err *error) {
	span.Step(Step{Name: "read", Duration: time.Since(began), Outcome: outcome(*err), Kind: steps[0].Kind})
}

// access says how the fragment is found.
func (r *request) access() Access {
	switch {
	case r.direct:
		return ByStore
	case r.typ == objectAnchor:
		return ByID
	case r.typ == kindAnchor:
		return ByScan
	case r.typ == indexAnchor && r.field == "":
		return ByIndex
	case r.typ == indexAnchor:
		return ByIndexOrder
	}
	return ByLists
}

// did tells the span of a write what came of an action, unless it was none: something that
// is late has been written, and there may be no journal.
func (m *mutation) did(ctx context.Context, began time.Time, action protocol.WriteAction, ev protocol.WriteEvent) {
	if (action != protocol.WriteStore || !m.late) && (action != protocol.Owe || m.journals()) {
		m.g.shared.wrote(ctx, began, action, ev)
	}
}

// wrote tells the span of a write that it has done what the protocol asked for.
func (s *shared) wrote(ctx context.Context, began time.Time, did protocol.WriteAction, ev protocol.WriteEvent) {
	span := s.span(ctx)
	if span == nil {
		return
	}
	step := Step{Duration: time.Since(began), Outcome: "done"}
	switch did {
	case protocol.PlaceHolds:
		step.Name = "hold"
	case protocol.Owe:
		step.Name = "journal"
	case protocol.WriteStore:
		step.Name = "store"
	case protocol.ReleaseHolds:
		step.Name = "release"
	}
	switch ev {
	case protocol.HoldsFailed, protocol.OweFailed, protocol.ReleaseFailed:
		step.Outcome = "failed"
	case protocol.WriteUnknown:
		step.Outcome = "unknown"
	}
	span.Step(step)
}
