package graphcache

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

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

// canonical returns the canonical form of an operator whose operands are canonical.
func (p pred) canonical() pred {
	of := p.flatten()
	slices.SortFunc(of, comparePreds)
	of = slices.CompactFunc(of, func(a, b pred) bool { return comparePreds(a, b) == 0 })
	absorbing, neutral := matchNone, matchAll
	if p.op == driver.Or {
		absorbing, neutral = matchAll, matchNone
	}
	kept := of[:0:len(of)]
	for i := 0; i < len(of); {
		j := i + 1
		for j < len(of) && of[i].isLeaf() && of[j].isLeaf() && of[i].col.same(of[j].col) {
			j++
		}
		group := of[i:j]
		if len(group) > 1 && !group[0].col.List {
			group = mergeColumn(p.op, slices.Clone(group))
		}
		kept = append(kept, group...)
		i = j
	}
	of = slices.DeleteFunc(kept, func(q pred) bool { return q.op == neutral.op && len(q.of) == 0 })
	switch {
	case slices.ContainsFunc(of, func(q pred) bool { return q.op == absorbing.op && len(q.of) == 0 }) || contradicts(of):
		return absorbing
	case len(of) == 0:
		return neutral
	case len(of) == 1:
		return of[0]
	}
	return pred{op: p.op, of: of}
}

// flatten returns the operands, and in the place of those with the same operator,
// theirs.
func (p pred) flatten() []pred {
	of := make([]pred, 0, len(p.of))
	for _, q := range p.of {
		if q.op == p.op {
			of = append(of, q.of...)
		} else {
			of = append(of, q)
		}
	}
	return of
}

// contradicts reports whether among sorted conditions is a leaf as well as its negation.
func contradicts(of []pred) bool {
	for i := range of {
		if !of[i].isLeaf() {
			break
		}
		if _, found := slices.BinarySearchFunc(of, of[i].negateLeaf(), comparePreds); found {
			return true
		}
	}
	return false
}

// mergeColumn merges the sets among the conditions on one column, each a leaf, that an
// operator joins.
func mergeColumn(op driver.FilterOp, group []pred) []pred {
	if op == driver.Or {
		return mergeUnion(group)
	}
	var in, out *pred // the set that the value is in, and the one that it is not in
	var rest []pred
	for i := range group {
		switch q := &group[i]; {
		case q.op != driver.AnyOf:
			rest = append(rest, *q)
		case q.neg && out == nil:
			out = q
		case q.neg:
			*out = setOf(q.col, append(slices.Clone(out.values()), q.values()...))
			out.neg = true
		case in == nil:
			in = q
		default:
			*in = q.within(in.values())
			if in.isNone() {
				return []pred{matchNone}
			}
		}
	}
	if in == nil {
		if out != nil {
			rest = append(rest, *out)
		}
		return sorted(rest)
	}
	if out != nil {
		rest = append(rest, *out)
	}
	set := slices.DeleteFunc(slices.Clone(in.values()), func(v driver.Value) bool {
		return slices.ContainsFunc(rest, func(q pred) bool { return !q.matches(v) })
	})
	return []pred{setOf(in.col, set)}
}

// within returns the predicate that the value is in the set and matches p.
func (p *pred) within(set []driver.Value) pred {
	return setOf(p.col, slices.DeleteFunc(slices.Clone(set), func(v driver.Value) bool { return !p.matches(v) }))
}

// mergeUnion merges the sets of an Or: what a negated set leaves out, another condition
// may let in.
func mergeUnion(group []pred) []pred {
	var rest []pred
	var in []driver.Value
	var out *pred
	for i := range group {
		switch q := &group[i]; {
		case q.op != driver.AnyOf:
			rest = append(rest, *q)
		case !q.neg:
			in = append(in, q.values()...)
		case out == nil:
			out = q
		default:
			both := pred{op: driver.AnyOf, col: q.col, v: q.v, vs: q.vs}
			*out = both.within(out.values())
			if out.isNone() {
				return []pred{matchAll}
			}
			out.neg = true
		}
	}
	if len(in) > 0 {
		rest = append(rest, setOf(group[0].col, in))
	}
	if out == nil {
		return sorted(rest)
	}
	set := slices.DeleteFunc(slices.Clone(out.values()), func(v driver.Value) bool {
		return slices.ContainsFunc(rest, func(q pred) bool { return q.isAll() || q.matches(v) })
	})
	if len(set) == 0 {
		return []pred{matchAll}
	}
	left := setOf(out.col, set)
	left.neg = true
	return []pred{left}
}

func sorted(of []pred) []pred {
	slices.SortFunc(of, comparePreds)
	return of
}

// comparePreds orders canonical predicates: leaves before operators, by column.
func comparePreds(a, b pred) int {
	if a.isLeaf() != b.isLeaf() {
		if a.isLeaf() {
			return -1
		}
		return 1
	}
	if !a.isLeaf() {
		return cmp.Or(cmp.Compare(a.op, b.op), slices.CompareFunc(a.of, b.of, comparePreds))
	}
	if a.col != b.col {
		if c := cmp.Or(strings.Compare(a.col.key, b.col.key), strings.Compare(a.col.kind.name(), b.col.kind.name())); c != 0 {
			return c
		}
	}
	if a.op != b.op {
		return cmp.Compare(a.op, b.op)
	}
	if a.neg != b.neg {
		if b.neg {
			return -1
		}
		return 1
	}
	if a.vs == nil && b.vs == nil {
		return driver.Compare(a.v, b.v)
	}
	return slices.CompareFunc(a.values(), b.values(), driver.Compare)
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
