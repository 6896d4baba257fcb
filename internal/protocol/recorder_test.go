package protocol_test

import (
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol/model"
)

// recorder collects the distinct transitions of a search.
type recorder struct {
	raw   map[model.Transition]struct{} // as they were found, to recognise them quickly
	found map[model.Transition]struct{}
}

func newRecorder() *recorder {
	return &recorder{make(map[model.Transition]struct{}), make(map[model.Transition]struct{})}
}

func (r *recorder) record(before model.Entry, op model.Operation, after model.Entry, reply model.Reply) {
	t := model.Transition{Before: before, Operation: op, After: after, Reply: reply}
	if _, ok := r.raw[t]; ok {
		return
	}
	r.raw[t] = struct{}{}
	r.found[t.Canonical()] = struct{}{}
}

// recordFill records a fill and what else the contract allows in its place: a value
// that nobody can see may be refused as well.
func (r *recorder) recordFill(before model.Entry, op model.Operation) {
	after, outcome := before.Fill(op.Field, op.Version, op.Value, model.Flaws{})
	r.record(before, op, after, model.Reply{Outcome: outcome})
	if op.Field == secondary && (before.State != driver.Versioned || before.Version != op.Version) {
		r.record(before, op, before, model.Reply{Outcome: driver.Refused})
	}
}
