package graphcache

import (
	"reflect"
	"strings"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// A check reads the keys of fragments back, and makes the requests that they are of. Keys
// come from the cache, where anything may have written them: what cannot be read, and
// what does not make the same keys again, is none of this program's fragments.

// appendSpacePrefix appends what the keys of all anchors start with.
func (s keyspace) appendSpacePrefix(b []byte) []byte {
	b = msgp.AppendArrayHeader(b, 5)
	b = msgp.AppendString(b, s.database)
	return msgp.AppendString(b, s.namespace)
}

// readAnchor reads an anchor's key.
func readAnchor(key string) (keyspace, anchor, error) {
	r := keyReader{b: []byte(key)}
	r.array(5)
	s := keyspace{database: r.string(), namespace: r.string()}
	typ := r.uint()
	a := anchor{kind: r.string(), id: r.string()}
	if typ < uint64(objectAnchor) || typ > uint64(kindAnchor) {
		r.fail()
	}
	a.typ = anchorType(typ)
	return s, a, r.end()
}

// readField reads a secondary fragment's key.
func readField(key string) (field, error) {
	r := fragmentReader{keyReader: keyReader{b: []byte(key)}}
	r.array(7)
	typ := r.uint()
	f := field{fingerprint: r.uint(), span: r.readSpan(), end: r.string()}
	if typ < uint64(countField) || typ > uint64(foundField) {
		r.fail()
	}
	f.typ = fieldType(typ)
	return f, r.end()
}

// fragmentReader reads the parts of a key that name columns of a kind.
type fragmentReader struct {
	keyReader
	columns map[string]*column // by their keys
}

// readSearch reads what a field searches for: a hop with conditions and an order, and a
// place in it.
func readSearch(end string, columns map[string]*column) (*hop, error) {
	r := fragmentReader{keyReader{b: []byte(end)}, columns}
	r.array(11)
	_, _ = r.string(), r.uint()
	_ = r.readSpan() // the bounds of time, LimitPer and Offset
	_, _ = r.int(), r.bool()
	_ = r.readPreds()
	h := &hop{where: r.readPreds(), order: readAll(&r.keyReader, leastOrderKey, r.readOrder)}
	h.after = r.values()
	return h, r.end()
}

// readIndex reads the ID of an index's anchor, as that of an index that need not be
// declared.
func readIndex(id string, kind *objectKind, columns map[string]*column) (*index, []driver.Value, error) {
	r := fragmentReader{keyReader{b: []byte(id)}, columns}
	r.array(2)
	ix := &index{kind: kind, columns: readAll(&r.keyReader, leastColumnKey, r.readColumn)}
	values := r.values()
	if err := r.end(); err != nil {
		return nil, nil, err
	}
	if len(values) == 0 || len(values) > len(ix.columns) {
		return nil, nil, errKey
	}
	names := make([]string, len(ix.columns))
	for i, c := range ix.columns {
		names[i] = c.Name()
		if n, ok := intValue(values, i); ok && c.Type == driver.FloatType {
			values[i] = float64(n)
		}
	}
	ix.name, ix.prefix = strings.Join(names, ","), ix.makePrefix()
	return ix, values, nil
}

// intValue returns value i if there is one and it is an integer: of floats, keys have the
// integers of the same value.
func intValue(values []driver.Value, i int) (n int64, ok bool) {
	if i < len(values) {
		n, ok = values[i].(int64)
	}
	return n, ok
}

// The least that a condition, an order and a column take in a key.
const (
	leastPredKey   = 3
	leastOrderKey  = 5
	leastColumnKey = 3
)

func (r *fragmentReader) readSpan() span {
	return span{high: r.readBound(), low: r.readBound(), offset: r.int(), limit: r.int()}
}

func (r *fragmentReader) readBound() bound {
	if r.err == nil && msgp.IsNil(r.b) {
		r.b = r.b[1:]
		return bound{}
	}
	return bound{ms: part(&r.keyReader, msgp.ReadInt64Bytes), set: true}
}

func (r *fragmentReader) readPreds() []pred {
	if r.depth++; r.depth > maxNesting {
		r.fail()
	}
	defer func() { r.depth-- }()
	return readAll(&r.keyReader, leastPredKey, r.readPred)
}

func (r *fragmentReader) readPred() (p pred) {
	n := part(&r.keyReader, msgp.ReadArrayHeaderBytes)
	op := r.uint()
	if p.op = driver.FilterOp(op); op == 0 || op > uint64(driver.Has) || p.isLeaf() != (n == 4) || !p.isLeaf() && n != 2 || p.op == driver.Not {
		r.fail()
	}
	if !p.isLeaf() {
		p.of = r.readPreds()
		return p
	}
	p.neg, p.col = r.bool(), r.readColumn()
	if p.vs = r.values(); len(p.vs) == 1 {
		p.v, p.vs = p.vs[0], nil
	}
	return p
}

func (r *fragmentReader) readOrder() orderKey {
	r.array(2)
	return orderKey{r.readColumn(), r.bool()}
}

// readColumn reads a column, which must be one of the kind's. After a failure it is any.
func (r *fragmentReader) readColumn() *column {
	start := r.b
	r.array(2)
	r.uint()
	readAll(&r.keyReader, 1, r.string)
	if r.err == nil {
		if c := r.columns[string(start[:len(start)-len(r.b)])]; c != nil {
			return c
		}
		r.fail()
	}
	return new(column)
}

// columnsOf returns the columns of a kind of objects, by their keys.
func (k *objectKind) columnsOf() map[string]*column {
	id := idColumn(k)
	columns := map[string]*column{id.key: id}
	k.addColumns(columns, k.typ, 0)
	return columns
}

// idColumn returns the column of the ID.
func idColumn(k *objectKind) *column {
	return newColumn(recordKind{object: k}, nil, driver.Column{Of: driver.ObjectID, Zero: "", Type: driver.StringType})
}

// addColumns adds the columns of the fields of the struct t, which is at the offset.
func (k *objectKind) addColumns(columns map[string]*column, t reflect.Type, offset uintptr) {
	for i := range t.NumField() {
		f := t.Field(i)
		if p, err := k.plan.ColumnAt(offset+f.Offset, f.Type); err == nil {
			c := newColumn(recordKind{object: k}, p, typed(p, f.Type))
			columns[c.key] = c
		}
		if f.Type.Kind() == reflect.Struct {
			k.addColumns(columns, f.Type, offset+f.Offset)
		}
	}
}

// fragmentRequest returns the request that a fragment's keys are of, with which a check
// reads it from the store, or why there is none.
func (c *checker) fragmentRequest(l driver.Lookup, a anchor) (r request, skip string) {
	k, columns := c.g.kinds[a.kind], c.columnsOf(a.kind)
	if k == nil {
		return r, skipUnknown
	}
	var f field
	if l.Field != "" {
		var err error
		if f, err = readField(l.Field); err != nil {
			return r, skipUnknown
		}
		if k = c.layout(k, f.fingerprint); k == nil {
			return r, skipLayout
		}
	}
	ok := false
	switch {
	case a.typ == objectAnchor && k.object != nil:
		r, ok = k.objectRequest(a.id), f.isPrimary()
	case a.typ == outAnchor && k.edge != nil:
		r, ok = k.edgesRequest(driver.Out, a.id, f)
	case a.typ == inAnchor && k.edge != nil && !k.edge.symmetric:
		r, ok = k.edgesRequest(driver.In, a.id, f)
	case a.typ == indexAnchor && k.object != nil:
		r, ok = k.indexedRequest(a.id, f, columns)
	case a.typ == kindAnchor && k.object != nil:
		r, ok = k.foundRequest(a, f, columns)
	}
	if f.typ == foreignField {
		r.field = f.key()
	}
	if ok {
		r.anchor = r.kind.anchorKey(r.typ, r.id)
	}
	if !ok || r.anchor != l.Anchor || r.field != l.Field {
		return r, skipUnknown
	}
	return r, ""
}

// isPrimary reports whether the field, if it is one, has the primary fragment.
func (f field) isPrimary() bool { return f.typ == 0 || f.typ == foreignField }

func (k *boundKind) edgesRequest(d driver.Direction, id string, f field) (r request, ok bool) {
	switch f.typ {
	case countField:
		return k.countRequest(d, id, f.span), true
	case spanField:
		return k.spanRequest(d, id, f.span), true
	case endField:
		return k.endRequest(d, id, f.end), true
	}
	return k.probeRequest(d, id), f.isPrimary()
}

func (k *boundKind) indexedRequest(id string, f field, columns map[string]*column) (r request, ok bool) {
	ix, values, err := readIndex(id, k.object, columns)
	if err != nil {
		return r, false
	}
	if f.isPrimary() {
		return k.indexRequest(ix, values), true
	}
	r, ok = k.foundRequest(anchor{indexAnchor, k.name, id}, f, columns)
	r.index, r.values = ix, values
	return r, ok
}

func (k *boundKind) foundRequest(a anchor, f field, columns map[string]*column) (r request, ok bool) {
	if f.typ != findField && f.typ != foundField {
		return r, false
	}
	h, err := readSearch(f.end, columns)
	if err != nil {
		return r, false
	}
	h.offset, h.limit = f.span.offset, f.span.limit
	return k.searchRequest(a.typ, a.id, h, f.typ == foundField), true
}
