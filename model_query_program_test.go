package graphcache_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// mqProgram is a random run: the queries that are asked again and again, those of which
// page after page is read while the graph changes, and the steps between.
type mqProgram struct {
	CacheBytes int
	Objects    []mqOp // that are there at the start
	Edges      []mqOp
	Queries    []mqQuery
	Paged      []mqQuery
	Indexes    []mqIndexOf // all entries of which are looked at
	Steps      []mqStep
}

// mqIndexOf is an index of a kind.
type mqIndexOf struct {
	Kind string
	mqIndex
}

// mqStep is a change of the graph or of the cache, and a query that has not been asked
// before.
type mqStep struct {
	mqOp
	Query mqQuery
}

// mqOp is one operation. It uses the fields that it needs.
type mqOp struct {
	What     string
	Graph    int    // which of the graphs writes
	Kind     string // of objects or of edges
	From, To string // of an edge; From is also the ID of an object
	Time     time.Time
	N        int
	Changes  []mqSet
	Query    *mqQuery // of a bulk write, or of a read that a write comes in between of
	Tx       []mqOp
}

// mqSet is a change of a column.
type mqSet struct {
	Column, Op string
	N          int
}

// The programs of a failure are printed in this form.

func (p mqProgram) GoString() string {
	var b strings.Builder
	fmt.Fprintf(&b, "cache of %d bytes\n", p.CacheBytes)
	for _, o := range slices.Concat(p.Objects, p.Edges) {
		fmt.Fprintf(&b, "\t%v\n", o)
	}
	for _, q := range p.Queries {
		fmt.Fprintf(&b, "\task %v\n", q)
	}
	for _, q := range p.Paged {
		fmt.Fprintf(&b, "\tpages of %v\n", q)
	}
	for _, ix := range p.Indexes {
		fmt.Fprintf(&b, "\tindex %s of %s\n", ix.name, ix.Kind)
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "\t%d: %v\n\t\task %v\n", i, s.mqOp, s.Query)
	}
	return b.String()
}

func (o mqOp) String() string {
	s := o.What
	if o.Kind != "" {
		s += fmt.Sprintf(" %s %q", o.Kind, o.From)
	}
	if o.To != "" {
		s += fmt.Sprintf(" to %q at %s", o.To, modelTimeString(o.Time))
	}
	s += fmt.Sprintf(" on graph %d, n %d", o.Graph, o.N)
	if len(o.Changes) > 0 {
		s += fmt.Sprintf(", changes %v", o.Changes)
	}
	if o.Query != nil {
		s += fmt.Sprintf(", of %v", *o.Query)
	}
	for _, inner := range o.Tx {
		s += fmt.Sprintf("; %v", inner)
	}
	return s
}

func (p mqPred) String() string {
	if len(p.Of) > 0 || p.Column == "" {
		return fmt.Sprintf("%s%v", p.Op, p.Of)
	}
	return fmt.Sprintf("%s %s %v", p.Column, p.Op, p.Args)
}

func (q mqQuery) String() string {
	s := fmt.Sprintf("%q", q.Start)
	if q.Start == nil {
		s = q.Kind
	}
	for _, h := range q.Hops {
		s += fmt.Sprintf(" → %v", h)
	}
	for _, a := range q.With {
		s += fmt.Sprintf(" with %v", a)
	}
	return s
}

func (h mqHop) String() string {
	s := h.Edge
	if h.In {
		s += ".In"
	}
	for _, part := range []struct {
		name string
		of   any
		has  bool
	}{
		{"Where", h.Where, len(h.Where) > 0}, {"WhereEdge", h.WhereEdge, len(h.WhereEdge) > 0},
		{"OrderBy", h.Order, len(h.Order) > 0 && !h.ByEdge}, {"OrderByEdge", h.Order, len(h.Order) > 0 && h.ByEdge},
		{"Since", modelTimeString(h.Since), !h.Since.IsZero()}, {"Until", modelTimeString(h.Until), !h.Until.IsZero()},
		{"LimitPer", h.LimitPer, h.LimitPer > 0}, {"Distinct", "", h.Distinct}, {"Offset", h.Offset, h.Offset > 0}, {"Limit", h.Limit, h.Limit > 0},
	} {
		if part.has {
			s += fmt.Sprintf(".%s(%v)", part.name, part.of)
		}
	}
	return s
}

// The columns and kinds are those of the present version.
var mqPresent = mqVersions[1]

// mqAnyLeaf draws a predicate on one of the columns.
func mqAnyLeaf(columns []*mqColumn) *rapid.Generator[mqPred] {
	return rapid.Custom(func(t *rapid.T) mqPred {
		c := rapid.SampledFrom(columns).Draw(t, "column")
		p := mqPred{Op: rapid.SampledFrom(c.ops).Draw(t, "op"), Column: c.name}
		switch p.Op {
		case "zero", "nil":
		case "in":
			p.Args = rapid.SliceOfN(rapid.IntRange(0, c.args-1), 0, 3).Draw(t, "args")
		default:
			p.Args = []int{rapid.IntRange(0, c.args-1).Draw(t, "arg")}
		}
		return p
	})
}

// mqAnyPred draws a predicate, now and then one that is made of others.
func mqAnyPred(columns []*mqColumn, depth int) *rapid.Generator[mqPred] {
	return rapid.Custom(func(t *rapid.T) mqPred {
		op := "leaf"
		if depth > 0 {
			op = rapid.SampledFrom([]string{"leaf", "leaf", "leaf", "and", "or", "or", "not"}).Draw(t, "op")
		}
		switch op {
		case "leaf":
			return mqAnyLeaf(columns).Draw(t, "leaf")
		case "not":
			return mqPred{Op: op, Of: []mqPred{mqAnyPred(columns, depth-1).Draw(t, "of")}}
		}
		if rapid.Bool().Draw(t, "same column") { // where sets are merged
			columns = []*mqColumn{rapid.SampledFrom(columns).Draw(t, "column")}
		}
		return mqPred{Op: op, Of: rapid.SliceOfN(mqAnyPred(columns, depth-1), 0, 3).Draw(t, "of")}
	})
}

// mqAnyOrder draws an order.
func mqAnyOrder(columns []*mqColumn) *rapid.Generator[[]mqOrder] {
	columns = slices.DeleteFunc(slices.Clone(columns), func(c *mqColumn) bool { return !c.ordered })
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) mqOrder {
		return mqOrder{rapid.SampledFrom(columns).Draw(t, "by").name, rapid.Bool().Draw(t, "desc")}
	}), 1, 3)
}

// mqIndexed draws a hop as an index can answer it: its first columns are equal to
// something, and the others are the order.
func mqIndexed(k *mqObjects, h *mqHop, t *rapid.T) {
	ix := rapid.SampledFrom(mqAllIndexes(k.name)).Draw(t, "index")
	n := rapid.IntRange(1, len(ix.columns)).Draw(t, "columns")
	for _, name := range ix.columns[:n] {
		c := k.column(name)
		p := mqPred{Op: "eq", Column: name, Args: []int{rapid.IntRange(0, c.args-1).Draw(t, "value")}}
		switch {
		case slices.Contains(c.ops, "has"):
			p.Op = "has"
		case rapid.IntRange(0, 5).Draw(t, "several") == 0:
			p.Op, p.Args = "in", append(p.Args, rapid.IntRange(0, c.args-1).Draw(t, "value"))
		}
		h.Where = append(h.Where, p)
	}
	if rapid.Bool().Draw(t, "ordered") {
		for _, name := range ix.columns[n:] {
			if !k.column(name).ordered {
				break
			}
			h.Order = append(h.Order, mqOrder{name, rapid.Bool().Draw(t, "desc")})
		}
		if rapid.IntRange(0, 3).Draw(t, "by id") == 0 {
			h.Order = append(h.Order, mqOrder{"id", rapid.Bool().Draw(t, "desc")})
		}
	}
}

// mqConditions draws what a hop asks of its objects and edges; k is nil for one that
// starts from a kind.
func mqConditions(h *mqHop, far *mqObjects, k *mqEdges, t *rapid.T) {
	shape := rapid.IntRange(0, 5).Draw(t, "shape")
	switch {
	case shape < 3 && k == nil && len(mqAllIndexes(far.name)) > 0:
		mqIndexed(far, h, t)
		if shape == 0 {
			h.Where = append(h.Where, mqAnyPred(far.columns, 1).Draw(t, "also"))
		}
	case shape < 2 && k != nil: // as it is
	default:
		h.Where = rapid.SliceOfN(mqAnyPred(far.columns, 2), 0, 2).Draw(t, "where")
		if k != nil {
			h.WhereEdge = rapid.SliceOfN(mqAnyPred(k.columns, 1), 0, 2).Draw(t, "where edge")
		}
		switch rapid.IntRange(0, 3).Draw(t, "order") {
		case 0:
			h.Order = mqAnyOrder(far.columns).Draw(t, "by")
		case 1:
			if k != nil {
				h.Order, h.ByEdge = mqAnyOrder(k.columns).Draw(t, "by"), true
			}
		}
	}
}

// mqAnyHop draws a hop along one of the edges that start at the kind, any if it is nil.
func mqAnyHop(start *mqObjects, t *rapid.T) (h mqHop, near, far *mqObjects) {
	var hops []mqHop
	for _, k := range mqPresent.edges {
		if start == nil || k.from == start {
			hops = append(hops, mqHop{Edge: k.name})
		}
		if start == nil || k.to == start {
			hops = append(hops, mqHop{Edge: k.name, In: true})
		}
	}
	h = rapid.SampledFrom(hops).Draw(t, "edge")
	k := mqPresent.edge(h.Edge)
	near, far = k.from, k.to
	if h.In {
		near, far = far, near
	}
	mqConditions(&h, far, k, t)
	if rapid.IntRange(0, 2).Draw(t, "per") == 0 {
		h.LimitPer = rapid.IntRange(1, 3).Draw(t, "limit per")
	}
	return h, near, far
}

// mqAnyQuery draws a query of one to three hops.
var mqAnyQuery = rapid.Custom(func(t *rapid.T) mqQuery {
	var q mqQuery
	var end *mqObjects
	hops := rapid.SampledFrom([]int{1, 1, 1, 1, 2, 2, 3}).Draw(t, "hops")
	small := rapid.SampledFrom([]int{0, 0, 1, 2, 3})
	for i := range hops {
		var h mqHop
		if i == 0 && rapid.IntRange(0, 9).Draw(t, "from a kind") < 6 {
			end = rapid.SampledFrom([]*mqObjects{mqPresent.objects[0], mqPresent.objects[0], mqPresent.objects[1], mqPresent.objects[2]}).Draw(t, "kind")
			q.Kind = end.name
			mqConditions(&h, end, nil, t)
		} else {
			var near *mqObjects
			h, near, end = mqAnyHop(end, t)
			if i == 0 {
				q.Start = rapid.SliceOfN(rapid.SampledFrom(near.ids), rapid.SampledFrom([]int{1, 1, 4}).Draw(t, "at least"), 5).Draw(t, "start")
			}
			h.Distinct = rapid.IntRange(0, 2).Draw(t, "distinct") == 0
			if rapid.IntRange(0, 4).Draw(t, "bounds") == 0 {
				h.Since, h.Until = rapid.SampledFrom(modelTimes).Draw(t, "since"), rapid.SampledFrom(modelTimes).Draw(t, "until")
			}
		}
		if rapid.IntRange(0, 2).Draw(t, "limits") > 0 {
			h.Offset, h.Limit = rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "offset"), small.Draw(t, "limit")
		}
		q.Hops = append(q.Hops, h)
	}
	q.With = mqAnyAttach(end, 1, t)
	return q
})

// mqAnyAttach draws what is to be loaded with objects of a kind.
func mqAnyAttach(of *mqObjects, depth int, t *rapid.T) []mqAttach {
	var all []mqAttach
	for range rapid.IntRange(0, 2).Draw(t, "with") {
		h, _, far := mqAnyHop(of, t)
		a := mqAttach{Hop: h}
		if depth > 0 && rapid.Bool().Draw(t, "nested") {
			a.With = mqAnyAttach(far, depth-1, t)
		}
		all = append(all, a)
	}
	return all
}

// mqAnyPaged draws a query of which there are pages.
var mqAnyPaged = rapid.Custom(func(t *rapid.T) mqQuery {
	q := mqAnyQuery.Draw(t, "query")
	h := &q.Hops[len(q.Hops)-1]
	if h.Limit == 0 {
		h.Limit = rapid.IntRange(1, 3).Draw(t, "limit")
	}
	if len(q.Hops) > 1 && len(h.Order) == 0 {
		h.Order, h.ByEdge = []mqOrder{{"weight", true}}, true
	}
	q.With = nil
	return q
})

// mqAnyObject draws an object that is written.
func mqAnyObject(t *rapid.T) mqOp {
	k := rapid.SampledFrom([]*mqObjects{mqPresent.objects[0], mqPresent.objects[0], mqPresent.objects[0], mqPresent.objects[1], mqPresent.objects[2]}).Draw(t, "kind")
	return mqOp{Kind: k.name, From: rapid.SampledFrom(k.ids).Draw(t, "id"), N: rapid.IntRange(0, 1<<16).Draw(t, "n")}
}

// mqAnyLink draws an edge that is written.
func mqAnyLink(t *rapid.T) mqOp {
	k := rapid.SampledFrom(mqPresent.edges).Draw(t, "kind")
	return mqOp{
		Kind: k.name, N: rapid.IntRange(0, 99).Draw(t, "n"), Time: rapid.SampledFrom(modelTimes).Draw(t, "time"),
		From: rapid.SampledFrom(k.from.ids).Draw(t, "from"), To: rapid.SampledFrom(k.to.ids).Draw(t, "to"),
	}
}

// mqAnyChanges draws changes of an object's columns, each at most once.
func mqAnyChanges(k *mqObjects, t *rapid.T) []mqSet {
	columns := slices.DeleteFunc(slices.Clone(k.columns), func(c *mqColumn) bool { return len(c.changes) == 0 })
	return rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) mqSet {
		c := rapid.SampledFrom(columns).Draw(t, "column")
		s := mqSet{Column: c.name, Op: rapid.SampledFrom(c.changes).Draw(t, "op")}
		switch s.Op {
		case "set":
			s.N = rapid.IntRange(0, c.args-1).Draw(t, "value")
		case "add":
			s.N = rapid.IntRange(0, c.deltas-1).Draw(t, "delta")
		}
		return s
	}), 1, 3, func(s mqSet) string { return s.Column }).Draw(t, "changes")
}

// mqAnyWrite draws a single write.
var mqAnyWrite = rapid.Custom(func(t *rapid.T) mqOp {
	what := rapid.SampledFrom([]string{
		"add", "add", "add", "remove", "create", "create", "put", "update", "update", "update", "update",
		"apply", "apply", "apply", "apply", "delete", "apply all", "update all", "delete all",
	}).Draw(t, "what")
	var op mqOp
	switch what {
	case "add", "remove":
		op = mqAnyLink(t)
	case "apply all", "update all", "delete all":
		q := mqAnyQuery.Draw(t, "query")
		q.With = nil
		last := &q.Hops[len(q.Hops)-1]
		if what == "delete all" && last.Limit == 0 {
			last.Limit = 2 // to leave something
		}
		end := mqView{nil, mqPresent}.end(q)
		op = mqOp{Query: &q, N: rapid.IntRange(0, 1<<16).Draw(t, "n"), Changes: mqAnyChanges(end, t)}
	default:
		op = mqAnyObject(t)
		if what == "apply" {
			op.Changes = mqAnyChanges(mqPresent.kind(op.Kind), t)
		}
	}
	op.What = what
	return op
})

// mqAnyOp draws an operation.
var mqAnyOp = rapid.Custom(func(t *rapid.T) mqOp {
	var op mqOp
	switch class := rapid.IntRange(0, 19).Draw(t, "class"); class {
	case 0, 1:
		op.What = rapid.SampledFrom([]string{"tx", "tx", "tx", "rollback"}).Draw(t, "what")
		op.Tx = rapid.SliceOfN(mqAnyWrite, 1, 4).Draw(t, "tx")
	case 2:
		op.What = "conflict"
		first := mqAnyObject(t)
		first.What = rapid.SampledFrom([]string{"create", "put", "update"}).Draw(t, "first")
		op.N = rapid.IntRange(0, 1<<16).Draw(t, "n")
		op.Tx = append([]mqOp{first}, rapid.SliceOfN(mqAnyWrite, 0, 2).Draw(t, "tx")...)
	case 3, 4:
		op.What, op.N = rapid.SampledFrom(modelCacheOps).Draw(t, "what"), rapid.IntRange(0, 20).Draw(t, "n")
	case 5, 6:
		op = mqAnyObject(t)
		op.What = rapid.SampledFrom([]string{"foreign put", "foreign put", "foreign put by kind", "foreign delete"}).Draw(t, "what")
		if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
			op = mqAnyLink(t)
			op.What = "foreign add"
		}
	case 7:
		op.What, op.N = "backfill", rapid.IntRange(0, 6).Draw(t, "kind")
	case 8, 9:
		q := mqAnyQuery.Draw(t, "query")
		if rapid.Bool().Draw(t, "indexed") {
			q = mqQuery{Kind: "user", Hops: []mqHop{{}}}
			mqIndexed(mqPresent.kind("user"), &q.Hops[0], t)
		}
		op = mqOp{What: "race", Query: &q, N: rapid.SampledFrom([]int{2, 2, 2, 1, 3}).Draw(t, "read"), Tx: []mqOp{mqAnyWrite.Draw(t, "write")}}
	default:
		op = mqAnyWrite.Draw(t, "write")
	}
	op.Graph = rapid.SampledFrom([]int{0, 0, 1, 1, 2}).Draw(t, "graph")
	return op
})

// mqEveryIndex returns the indexes of all kinds.
func mqEveryIndex() []mqIndexOf {
	var all []mqIndexOf
	for _, k := range mqPresent.objects {
		for _, ix := range mqAllIndexes(k.name) {
			all = append(all, mqIndexOf{k.name, ix})
		}
	}
	return all
}

// mqFocus is what a program is mostly about.
type mqFocus struct {
	what  string // the operation, any if it is empty
	kind  string // that it writes
	index string // that is looked at
}

// op draws an operation.
func (f mqFocus) op(t *rapid.T) mqOp {
	op := mqAnyOp.Draw(t, "op")
	if f.what == "" || rapid.IntRange(0, 3).Draw(t, "focus") == 0 {
		return op
	}
	isIt := func(op mqOp) bool {
		return op.What == f.what && (f.kind == "" || op.Kind == f.kind || op.Query != nil && mqView{nil, mqPresent}.end(*op.Query).name == f.kind)
	}
	return rapid.Custom(func(t *rapid.T) mqOp {
		for range 200 {
			if op = mqAnyOp.Draw(t, "op"); isIt(op) {
				break
			}
		}
		return op
	}).Draw(t, "focused")
}

// indexes draws the indexes that are looked at.
func (f mqFocus) indexes(t *rapid.T) []mqIndexOf {
	all := mqEveryIndex()
	if f.index != "" {
		all = slices.DeleteFunc(all, func(ix mqIndexOf) bool { return ix.name != f.index })
	}
	return rapid.SliceOfN(rapid.SampledFrom(all), 1, 2).Draw(t, "indexes")
}

// mqAnyProgram draws a program of about so many steps.
func mqAnyProgram(steps int, focus mqFocus) *rapid.Generator[mqProgram] {
	return rapid.Custom(func(t *rapid.T) mqProgram {
		return mqProgram{
			CacheBytes: rapid.SampledFrom([]int{0, 0, 0, 24 << 10}).Draw(t, "cache bytes"),
			Objects:    rapid.SliceOfN(rapid.Custom(mqAnyObject), 12, 40).Draw(t, "objects"),
			Edges:      rapid.SliceOfN(rapid.Custom(mqAnyLink), 0, 40).Draw(t, "edges"),
			Queries:    rapid.SliceOfN(mqAnyQuery, 4, 6).Draw(t, "queries"),
			Paged:      rapid.SliceOfN(mqAnyPaged, 2, 2).Draw(t, "paged"),
			Indexes:    focus.indexes(t),
			Steps: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) mqStep {
				return mqStep{focus.op(t), mqAnyQuery.Draw(t, "query")}
			}), rapid.SampledFrom([]int{1, steps / 2, steps / 2, steps / 2}).Draw(t, "at least"), steps).Draw(t, "steps"),
		}
	})
}
