// Package plan holds the field plan of a Go struct type: which of its fields are
// kept, under which names, in which order and as which types.
//
// A [Plan] is made once for each kind, by reflection, and drives everything that
// is done with a value: [Plan.Document] turns it into the tree that a store
// keeps, [Plan.Encode] turns such a tree into the msgpack that a cache keeps, and
// [Plan.Decode] turns that into a value again. A value is always read by way of
// Encode and Decode, whether a cache was involved or not, so that a cache hit and
// a miss cannot give different answers.
//
// Names follow encoding/json: the name in the json tag or that of the field,
// promotion from embedded structs, "-" for a field that is to be kept nowhere.
// The options after the name are ignored, because zero is a value. The graph tag
// adds was=NAME, an older name of the field under which a store may still have
// it, and index or unique, which [Plan.Tagged] reports.
//
// A [Column] is one field of a record, for conditions and orders: where a document
// has it, and where the encoding does, from which it is read without the rest.
//
// # Memory
//
// A decoded value shares no memory with its encoding, but its strings may with each
// other: those of an encoding of up to 512 bytes are parts of one copy of it, unless
// the type has a single string. That is one allocation instead of one for each, and
// takes about as much memory as they would, since what is copied with them is little.
// The price is that a string which outlives its value keeps the whole copy, at most
// 512 bytes; strings.Clone makes it do without. The strings of a longer encoding are
// each on their own.
package plan

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/graphcache/graphcache/driver"
)

// maxDepth is how deep the containers of one value may be nested. It turns a
// cycle of pointers into an error, and keeps a hostile encoding from exhausting
// the stack.
const maxDepth = 100

var errDepth = fmt.Errorf("nested deeper than %d levels", maxDepth)

// nesting counts the containers around a place in a value. An embedded pointer
// counts, because it is an array of its own in the encoding.
type nesting struct{ depth int }

// enter goes into a container.
func (n *nesting) enter() error {
	if n.depth++; n.depth > maxDepth {
		return errDepth
	}
	return nil
}

// leave comes out of the container that was entered last.
func (n *nesting) leave() { n.depth-- }

// Plan is the field plan of one struct type. It is immutable and safe for
// concurrent use.
type Plan struct {
	owner       string
	root        *node
	fingerprint uint64
	tagged      []Tagged
	// shares is set if the strings of a short value share memory.
	shares bool
	// flat is what Flat returns.
	flat bool
}

// Of makes the plan of the struct type t. The fields of t itself, though not
// those that it promotes from embedded structs, are left out if skip reports
// true; skip may be nil. Methods that marshal t as a whole are not used: a kind
// is always a record of its fields. The owner names the kind in errors, as in
// `object kind "user"`. The error wraps driver.ErrSchema and tells every mistake
// that was found, one in a line.
func Of(owner string, t reflect.Type, skip func(reflect.StructField) bool) (*Plan, error) {
	b := builder{owner: owner, nodes: map[reflect.Type]*node{}}
	if t == nil || t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%w: %s: %v is not a struct type", driver.ErrSchema, owner, t)
	}
	// The root is not among the builder's nodes: where the type contains itself,
	// nothing is skipped and its marshalers count.
	root := &node{typ: t}
	b.record(root, "", skip)
	tagged := b.tagged(root)
	if len(b.errs) > 0 {
		return nil, errors.Join(b.errs...)
	}
	p := newPlan(owner, root)
	p.tagged = tagged
	return p, nil
}

// Empty returns the plan of a struct type without fields: its document has none
// and its encoding is an empty array.
func Empty(owner string) *Plan {
	return newPlan(owner, &node{form: recordForm, typ: reflect.TypeFor[struct{}]()})
}

func newPlan(owner string, root *node) *Plan {
	root.measure()
	root.lay()
	return &Plan{
		owner: owner, root: root, fingerprint: fingerprintOf(root),
		shares: root.texts(map[*node]int{}) > 1, flat: flat(root.typ),
	}
}

// Fingerprint identifies the plan's encoding. Two plans with the same
// fingerprint make the same encoding of every document and read it alike; a
// field that is renamed, moved, or given another type changes it, as does an
// older name. An index does not.
func (p *Plan) Fingerprint() uint64 { return p.fingerprint }

// invalid makes the error for a value that cannot be accepted.
func (p *Plan) invalid(err error) error { return report(driver.ErrInvalid, p.owner, err) }
