package graphcache

import (
	"cmp"
	"slices"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// The canonical form of predicates: see pred.

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
