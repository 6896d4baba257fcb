package graphcache

import (
	"fmt"
	"slices"

	"github.com/graphcache/graphcache/driver"
)

// Predicate is a condition on records of type T, made by the methods of fields and by
// [And], [Or] and [Not]. There are two answers, yes and no, never unknown: Not matches
// whatever its operand does not. A predicate is an immutable value; a mistake in it is
// returned when a query with it is run.
type Predicate[T any] struct {
	p   pred
	err error
}

// And matches records that all of the predicates match; without any, all records.
func And[T any](predicates ...Predicate[T]) Predicate[T] { return combine(driver.And, predicates) }

// Or matches records that one of the predicates matches; without any, none.
func Or[T any](predicates ...Predicate[T]) Predicate[T] { return combine(driver.Or, predicates) }

// Not matches records that the predicate does not match.
func Not[T any](p Predicate[T]) Predicate[T] { return Predicate[T]{p.p.negate(), p.err} }

func combine[T any](op driver.FilterOp, predicates []Predicate[T]) Predicate[T] {
	parts := make([]pred, len(predicates))
	for i, p := range predicates {
		if err := p.check(); err != nil {
			return Predicate[T]{err: err}
		}
		parts[i] = p.p
	}
	p := pred{op: op, of: parts}.canonical()
	if p.depth() > maxPredicateDepth {
		return Predicate[T]{err: fmt.Errorf("%w: a predicate is nested deeper than %d levels", ErrInvalid, maxPredicateDepth)}
	}
	return Predicate[T]{p: p}
}

// check returns the first mistake in the predicate.
func (p Predicate[T]) check() error {
	if p.err == nil && p.p.op == 0 {
		return fmt.Errorf("%w: a Predicate that no field and none of And, Or and Not has made", ErrInvalid)
	}
	return p.err
}

// maxPredicateDepth is how deep And and Or may alternate.
const maxPredicateDepth = 32

// pred is what a Predicate is without its type parameter: a tree in canonical form.
// Predicates that are made in different ways and whose canonical forms are equal have
// the same key. In the canonical form
//
//   - a Not stands only at a leaf, as neg, and not where another operator says the same;
//   - And and Or hold no operator of their own kind, and two operands or more, sorted,
//     each once; the exceptions are matchAll and matchNone, which stand alone;
//   - AnyOf has its values sorted, each once, and at least one;
//   - under one And a column that is not a list has at most one AnyOf, negated or not,
//     and beside one that is not negated no other condition, because that was applied to
//     its values; under one Or it is the other way round.
type pred struct {
	op  driver.FilterOp
	neg bool // a leaf's
	col *column
	v   driver.Value   // the only value
	vs  []driver.Value // of an AnyOf with several
	of  []pred
}

var (
	matchAll  = pred{op: driver.And}
	matchNone = pred{op: driver.Or}
)

func (p *pred) isLeaf() bool { return p.op != driver.And && p.op != driver.Or }
func (p *pred) isAll() bool  { return p.op == driver.And && len(p.of) == 0 }
func (p *pred) isNone() bool { return p.op == driver.Or && len(p.of) == 0 }

func (p *pred) depth() int {
	deepest := 0
	for i := range p.of {
		deepest = max(deepest, p.of[i].depth())
	}
	return deepest + 1
}

// values returns the values of a leaf.
func (p *pred) values() []driver.Value {
	if p.vs != nil {
		return p.vs
	}
	return []driver.Value{p.v}
}

// matches reports whether a leaf matches a value of its column.
func (p *pred) matches(v driver.Value) bool {
	f := driver.Filter{Op: p.op, Values: p.values()}
	return f.MatchesValue(v) != p.neg
}

// setOf returns the predicate that the column's value is one of the set.
func setOf(c *column, set []driver.Value) pred {
	slices.SortFunc(set, driver.Compare)
	set = slices.CompactFunc(set, func(a, b driver.Value) bool { return driver.Compare(a, b) == 0 })
	switch len(set) {
	case 0:
		return matchNone
	case 1:
		return pred{op: driver.AnyOf, col: c, v: set[0]}
	}
	if _, isBool := c.Zero.(bool); isBool {
		return matchAll // both
	}
	return pred{op: driver.AnyOf, col: c, vs: set}
}

// negate returns what p does not match.
func (p pred) negate() pred {
	if p.isLeaf() {
		return p.negateLeaf()
	}
	opposite := pred{op: driver.And + driver.Or - p.op, of: make([]pred, len(p.of))}
	for i := range p.of {
		opposite.of[i] = p.of[i].negate()
	}
	return opposite.canonical()
}

var opposites = map[driver.FilterOp]driver.FilterOp{
	driver.Less: driver.GreaterEqual, driver.GreaterEqual: driver.Less,
	driver.Greater: driver.LessEqual, driver.LessEqual: driver.Greater,
}

func (p pred) negateLeaf() pred {
	if op, ok := opposites[p.op]; ok && p.col.total() {
		p.op = op
		return p
	}
	if b, isBool := p.v.(bool); isBool && p.op == driver.AnyOf && !p.col.nilable {
		p.v = !b
		return p
	}
	p.neg = !p.neg
	return p
}

// conjunction returns the parts of a predicate that all must match.
func (p pred) conjunction() []pred {
	if p.op == driver.And {
		return p.of
	}
	return []pred{p}
}

// conjoin adds predicates on a kind to a canonical conjunction, which it leaves as it is.
func conjoin[T any](parts []pred, predicates []Predicate[T], kind recordKind) ([]pred, error) {
	all := pred{op: driver.And, of: make([]pred, 0, len(parts)+len(predicates))}
	all.of = append(all.of, parts...)
	for _, p := range predicates {
		if err := p.check(); err != nil {
			return nil, err
		}
		if err := p.p.mustBe(kind); err != nil {
			return nil, err
		}
		all.of = append(all.of, p.p)
	}
	if all.isCanonical() {
		return all.of, nil
	}
	return all.canonical().conjunction(), nil
}

// isCanonical sorts the parts and reports whether that is all there is to do: the
// common case of leaves on different columns.
func (p *pred) isCanonical() bool {
	for i := range p.of {
		if !p.of[i].isLeaf() {
			return false
		}
	}
	slices.SortFunc(p.of, comparePreds)
	for i := 1; i < len(p.of); i++ {
		if p.of[i].col.same(p.of[i-1].col) {
			return false
		}
	}
	return true
}

// mustBe says when a column of the predicate is not of the kind.
func (p *pred) mustBe(kind recordKind) error {
	if p.isLeaf() {
		return p.col.mustBe(kind)
	}
	for i := range p.of {
		if err := p.of[i].mustBe(kind); err != nil {
			return err
		}
	}
	return nil
}

// driverFilter returns the conjunction as a store takes it, nil if it matches
// everything.
func driverFilter(parts ...[]pred) *driver.Filter {
	f := &driver.Filter{Op: driver.And}
	for _, of := range parts {
		for i := range of {
			f.Of = append(f.Of, of[i].driver())
		}
	}
	switch len(f.Of) {
	case 0:
		return nil
	case 1:
		return &f.Of[0]
	}
	return f
}

func (p *pred) driver() driver.Filter {
	f := driver.Filter{Op: p.op}
	if p.isLeaf() {
		f.Column, f.Values = &p.col.Column, p.values()
		if p.neg {
			return driver.Filter{Op: driver.Not, Of: []driver.Filter{f}}
		}
		return f
	}
	for i := range p.of {
		f.Of = append(f.Of, p.of[i].driver())
	}
	return f
}
