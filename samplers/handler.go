package samplers

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
)

// HandlerOptions are the settings of [NewHandler]. The zero HandlerOptions, and nil,
// consist entirely of default values.
type HandlerOptions struct {
	// AlwaysLevel is the level from which on a line is logged whatever becomes of its
	// request. Default slog.LevelError.
	AlwaysLevel slog.Leveler
	// Upgrade, if it is not nil, keeps the lines of a request that ends in an error
	// after all.
	Upgrade *UpgradeOptions
}

// UpgradeOptions say how a handler keeps requests after all. The zero UpgradeOptions
// consist entirely of default values.
type UpgradeOptions struct {
	// Level is the level from which on a line tells that its request ends in an error,
	// as a call of [Upgrade] does. Default slog.LevelError.
	Level slog.Leveler
	// Buffer is how many lines of a request are held, from 1 to 1,024; a value beyond
	// is taken as the nearest. If a request has more, the oldest are lost. If several
	// handlers hold lines of a request it is the one that comes first whose Buffer
	// counts. Default 64.
	Buffer int
}

const maxBuffer = 1024

// The names of the attributes.
const (
	weightAttr = "sample.weight"
	reasonAttr = "sample.reason"
	lostAttr   = "sample.lost"
)

// handler is what NewHandler returns, with the attributes and groups that were added to it.
type handler struct {
	base  slog.Handler // with all that came before the first group
	steps []step       // from the first group on
	next  slog.Handler // base with the steps

	always  slog.Leveler
	upgrade slog.Leveler // nil: no line is held
	buffer  int
}

// step opens a group, or adds attributes to it.
type step struct {
	group string
	attrs []slog.Attr
}

func (s step) apply(h slog.Handler) slog.Handler {
	if s.group != "" {
		return h.WithGroup(s.group)
	}
	return h.WithAttrs(slices.Clone(s.attrs)) // which it may change
}

// NewHandler returns a handler that passes to next the lines that are kept, as the request
// of their context is; see [ContextWithDecision]. Lines without a request pass as they are.
//
// To what is kept it adds, outside all groups, sample.weight, the number of lines that this
// one stands for, and sample.reason, the [Reason]. The sum of the weights of some kind of
// lines estimates how many there were, without bias if the sampler has a tail.
//
// A line at AlwaysLevel or above is logged in any case. It stands for itself, with weight 1,
// and has the reason [Always] unless its request is kept with weight 1.
//
// # Cost
//
// Without Upgrade the handler is not enabled for the lines of a request that is dropped, so
// that no record is made of them: that takes a fortieth of the time that a JSON handler
// takes for a line, and allocates nothing. With Upgrade it holds such lines until the request
// ends, in memory that later requests use again: that takes half the time of a JSON handler,
// most of it for the record, and allocates nothing either. Where a group is open, a line that
// is kept takes two to three times as long as otherwise.
//
// # Upgrade
//
// Lines that are held are written, in order and with weight 1, if their request ends in an
// error: as soon as a line at Upgrade.Level or above is logged, or [Upgrade] is called, as
// [Sampler.Middleware] does. Otherwise [End] drops them. The lines of a request of the tail
// are held too, as their weight is not known before: 1 if there was an error, and one over
// the probability if not. If a request has more than Upgrade.Buffer lines, the oldest make room:
// those of the tail are written with its weight, which is right however the request ends; the
// others are lost, and if the request is kept after all, the first line that is written says in
// sample.lost how many.
//
// What a held line refers to must not change until the request has ended, because its values
// are formatted, and their LogValue methods called, only when it is written.
//
// A line that comes while another goroutine writes those that were held is left to that
// one, and Handle returns nil. Otherwise Handle returns the errors of all lines that it has
// written.
func NewHandler(next slog.Handler, o *HandlerOptions) slog.Handler {
	if o == nil {
		o = new(HandlerOptions)
	}
	h := &handler{base: next, next: next, always: levelOf(o.AlwaysLevel)}
	if u := o.Upgrade; u != nil {
		h.upgrade = levelOf(u.Level)
		h.buffer = min(max(cmp.Or(u.Buffer, 64), 1), maxBuffer)
	}
	return h
}

func levelOf(l slog.Leveler) slog.Leveler {
	if l == nil {
		return slog.LevelError
	}
	return l
}

// certain returns the level from which on a line is logged in any case.
func (h *handler) certain() slog.Level {
	if h.upgrade == nil {
		return h.always.Level()
	}
	return min(h.always.Level(), h.upgrade.Level())
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(ctx context.Context, level slog.Level) bool {
	if !h.next.Enabled(ctx, level) {
		return false
	}
	r := requestOf(ctx)
	return r == nil || r.keeps() || h.upgrade != nil && !r.settled() || level >= h.certain()
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, record slog.Record) error {
	r := requestOf(ctx)
	switch {
	case r == nil:
		return h.next.Handle(ctx, record)
	case h.upgrade == nil || r.began.sure():
		return line{h, ctx, record}.write(r.decision(), 0)
	default:
		return r.log(line{h, ctx, record.Clone()})
	}
}

// write passes on a line of a request that is kept or not, before which lost others were
// lost.
func (l line) write(d Decision, lost int) error {
	h := l.handler
	if !d.sure() && l.record.Level >= h.certain() {
		d.Keep, d.Weight, d.Reason = true, 1, Always
	}
	if !d.Keep {
		return nil
	}
	var all [3]slog.Attr
	attrs := append(all[:0], slog.Float64(weightAttr, d.Weight), slog.String(reasonAttr, d.Reason.String()))
	if lost > 0 {
		attrs = append(attrs, slog.Int(lostAttr, lost))
	}
	if len(h.steps) == 0 {
		record := l.record.Clone()
		record.AddAttrs(attrs...)
		return h.next.Handle(l.ctx, record)
	}
	next := h.base.WithAttrs(slices.Clone(attrs))
	for _, s := range h.steps {
		next = s.apply(next)
	}
	return next.Handle(l.ctx, l.record)
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.with(step{attrs: attrs}, len(h.steps) > 0)
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	return h.with(step{group: name}, true)
}

// with returns the handler after a step, which is within a group or not.
func (h *handler) with(s step, grouped bool) *handler {
	c := *h
	c.next = s.apply(h.next)
	if grouped {
		c.steps = append(slices.Clip(h.steps), s)
	} else {
		c.base = c.next
	}
	return &c
}
