package graphcache

import (
	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// Keys are never read back in production. That they can be is what makes them
// injective, so the tests read them.

// parseAnchor reads an anchor's key.
func parseAnchor(key string) (keyspace, anchor, error) {
	r := keyReader{b: []byte(key)}
	r.array(5)
	s := keyspace{database: r.string(), namespace: r.string()}
	a := anchor{typ: anchorType(r.uint()), kind: r.string(), id: r.string()}
	if a.typ < objectAnchor || a.typ > kindAnchor {
		r.fail()
	}
	return s, a, r.end()
}

// parseField reads a field's key.
func parseField(key string) (field, error) {
	r := keyReader{b: []byte(key)}
	r.array(7)
	f := field{typ: fieldType(r.uint()), fingerprint: r.uint(), span: r.span(), end: r.string()}
	if f.typ < countField || f.typ > foundField {
		r.fail()
	}
	return f, r.end()
}

// The parsed form of a query's key: what it says, without the schema.
type parsedQuery struct {
	kind string
	ids  []string
	hops []parsedHop
}

type parsedHop struct {
	edge                    string
	direction               driver.Direction
	high, low               bound
	limitPer, offset, limit int
	distinct                bool
	whereEdge, where        []parsedPred
	order                   []parsedOrder
}

type parsedColumn struct {
	of   driver.ColumnOf
	path []string
}

type parsedPred struct {
	op     driver.FilterOp
	neg    bool
	column parsedColumn
	values []driver.Value
	of     []parsedPred
}

type parsedOrder struct {
	column parsedColumn
	desc   bool
}

// parseQuery reads a query's key.
func parseQuery(key string) (parsedQuery, error) {
	r := keyReader{b: []byte(key)}
	r.array(4)
	if r.int() != queryVersion {
		r.fail()
	}
	q := parsedQuery{kind: r.string()}
	q.ids = readAll(&r, leastID, r.name)
	q.hops = readAll(&r, leastHop, r.hop)
	return q, r.end()
}

// The least that an ID, a hop, a condition and an order take in a key: an ID is not
// empty.
const (
	leastID     = 2
	leastHop    = 12
	leastPred   = 3
	leastOrder  = 5
	leastColumn = 3
)

func (r *keyReader) hop() parsedHop {
	r.array(11)
	return parsedHop{
		edge: r.string(), direction: driver.Direction(r.uint()),
		high: r.bound(), low: r.bound(),
		limitPer: r.int(), offset: r.int(), limit: r.int(), distinct: r.bool(),
		whereEdge: r.preds(), where: r.preds(), order: readAll(r, leastOrder, r.order),
	}
}

func (r *keyReader) preds() []parsedPred {
	if r.depth++; r.depth > maxNesting {
		r.fail()
	}
	defer func() { r.depth-- }()
	return readAll(r, leastPred, r.pred)
}

func (r *keyReader) pred() (p parsedPred) {
	leaf := false
	switch n := part(r, msgp.ReadArrayHeaderBytes); {
	case r.err != nil:
		return p
	case n == 4:
		leaf = true
	case n != 2:
		r.fail()
		return p
	}
	if p.op = driver.FilterOp(r.uint()); p.op == 0 || p.op > driver.Has {
		r.fail()
	}
	if !leaf {
		p.of = r.preds()
		return p
	}
	p.neg, p.column, p.values = r.bool(), r.column(), r.values()
	return p
}

func (r *keyReader) order() parsedOrder {
	r.array(2)
	return parsedOrder{r.column(), r.bool()}
}

func (r *keyReader) column() parsedColumn {
	r.array(2)
	return parsedColumn{driver.ColumnOf(r.uint()), readAll(r, leastID, r.name)}
}

// parseIndexID reads the ID of an index's anchor.
func parseIndexID(id string) ([]parsedColumn, []driver.Value, error) {
	r := keyReader{b: []byte(id)}
	r.array(2)
	columns, values := readAll(&r, leastColumn, r.column), r.values()
	return columns, values, r.end()
}

// parseSearch reads what a search field says that is searched for: a hop with
// conditions and an order, and the place after which it begins.
func parseSearch(end string) (parsedHop, []driver.Value, error) {
	r := keyReader{b: []byte(end)}
	h, after := r.hop(), r.values()
	return h, after, r.end()
}

// name reads a string that is not empty.
func (r *keyReader) name() string {
	s := r.string()
	if s == "" && r.err == nil {
		r.fail()
	}
	return s
}

func (r *keyReader) bound() bound {
	if r.err == nil && msgp.IsNil(r.b) {
		r.b = r.b[1:]
		return bound{}
	}
	return bound{ms: part(r, msgp.ReadInt64Bytes), set: true}
}

func (r *keyReader) span() span {
	return span{high: r.bound(), low: r.bound(), offset: r.int(), limit: r.int()}
}
