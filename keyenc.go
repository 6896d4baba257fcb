package graphcache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// Keys are written in MessagePack by hand, element by element: every string
// carries its length and every number its own code, so two keys are equal only if
// all their parts are, and a key can be read back. The full key is used
// everywhere, never a hash of it.
//
//	anchor    [database, namespace, type, kind, id]
//	field     [type, fingerprint, …], empty for the primary fragment
//	query     [2, kind, [id…], [[edge kind, direction, high, low, limit per
//	          parent, offset, limit, distinct, [condition on edges…],
//	          [condition on objects…], [[column, descending]…]]…]]
//	condition [operator, negated, column, [value…]] or [operator, [condition…]]
//	column    [of, [name…]]
//
// The ID of an index's anchor is [[column…], [value…]], that of a kind's is empty. The
// edge kind of a hop that starts from a kind is empty. Times are milliseconds since
// 1970, or nil where there is no bound; the times among the values of conditions have a
// type of their own.

var errKey = errors.New("graphcache: malformed key")

// anchorType says what an anchor is an anchor of.
type anchorType uint8

const (
	objectAnchor anchorType = iota + 1
	outAnchor               // edges that start at the object
	inAnchor                // edges that end at the object
	indexAnchor             // objects whose entry in an index starts with some values
	kindAnchor              // all objects of a kind
)

// edgesAnchor returns the type of the anchors of edge lists in the direction.
func edgesAnchor(d driver.Direction) anchorType {
	if d == driver.In {
		return inAnchor
	}
	return outAnchor
}

// anchor is the unit of invalidation: one object; one object's edges of one kind in
// one direction; the objects under some values of an index; or a kind of objects.
type anchor struct {
	typ  anchorType
	kind string
	id   string
}

// keyspace is what sets the keys of one database and namespace apart.
type keyspace struct {
	database  string
	namespace string
}

// appendAnchorPrefix appends all of an anchor's key but the ID.
func (s keyspace) appendAnchorPrefix(b []byte, t anchorType, kind string) []byte {
	b = msgp.AppendArrayHeader(b, 5)
	b = msgp.AppendString(b, s.database)
	b = msgp.AppendString(b, s.namespace)
	b = msgp.AppendUint8(b, uint8(t))
	return msgp.AppendString(b, kind)
}

// key returns an anchor's key.
func (s keyspace) key(a anchor) string {
	return anchorKeyAfter(string(s.appendAnchorPrefix(nil, a.typ, a.kind)), a.id)
}

// anchorKeyAfter returns the key of an anchor whose prefix is known: the hot path.
func anchorKeyAfter(prefix, id string) string {
	var buf [128]byte // on the stack; few keys are longer
	return string(msgp.AppendString(append(buf[:0], prefix...), id))
}

// fieldType says which secondary fragment a field holds.
type fieldType uint8

const (
	countField   fieldType = iota + 1 // how many edges are in the span
	spanField                         // the edges in the span
	endField                          // the edge to one far end
	foreignField                      // the primary fragment in another schema's layout
	findField                         // the objects that a search finds
	foundField                        // how many objects a search finds
)

// field names a secondary fragment of an anchor. The fingerprint is part of it, so
// program versions with different layouts keep their values apart.
type field struct {
	typ         fieldType
	fingerprint uint64
	span        span   // countField, spanField
	end         string // endField; what is searched for, in findField and foundField
}

// key returns the field's key.
func (f field) key() string {
	b := msgp.AppendArrayHeader(nil, 7)
	b = msgp.AppendUint8(b, uint8(f.typ))
	b = msgp.AppendUint64(b, f.fingerprint)
	b = f.span.appendKey(b)
	return string(msgp.AppendString(b, f.end))
}

// appendKey appends the span's four parts.
func (s span) appendKey(b []byte) []byte {
	b = s.high.appendKey(b)
	b = s.low.appendKey(b)
	b = msgp.AppendInt(b, s.offset)
	return msgp.AppendInt(b, s.limit)
}

// appendKey appends the bound, nil if there is none.
func (t bound) appendKey(b []byte) []byte {
	if !t.set {
		return msgp.AppendNil(b)
	}
	return msgp.AppendInt64(b, t.ms)
}

// queryVersion starts every query key; it changes with the layout.
const queryVersion = 2

// appendKey appends the canonical key of a query.
func (s *source) appendKey(b []byte) []byte {
	b = msgp.AppendArrayHeader(b, 4)
	b = msgp.AppendInt(b, queryVersion)
	b = msgp.AppendString(b, s.kind)
	switch {
	case s.ids == nil && s.startsFromKind():
		b = msgp.AppendArrayHeader(b, 0)
	case s.ids == nil:
		b = msgp.AppendArrayHeader(b, 1)
		b = msgp.AppendString(b, s.id)
	default:
		b = msgp.AppendArrayHeader(b, uint32(len(s.ids)))
		for _, id := range s.ids {
			b = msgp.AppendString(b, id)
		}
	}
	b = msgp.AppendArrayHeader(b, uint32(s.hops))
	b = s.appendHops(b, s.prev, s.hops-1)
	return s.appendHop(b, &s.last, s.hops-1)
}

// appendHops appends the first n hops, of which l is the last.
func (s *source) appendHops(b []byte, l *link, n int) []byte {
	if l == nil {
		return b
	}
	return s.appendHop(s.appendHops(b, l.prev, n-1), &l.hop, n-1)
}

// appendHop appends hop i.
func (s *source) appendHop(b []byte, h *hop, i int) []byte {
	c := s.canonical(h, i)
	return c.appendKey(b)
}

func (h *hop) appendKey(b []byte) []byte {
	b = msgp.AppendArrayHeader(b, 11)
	b = msgp.AppendString(b, h.edgeName())
	b = msgp.AppendUint8(b, uint8(h.direction))
	b = h.high.appendKey(b)
	b = h.low.appendKey(b)
	b = msgp.AppendInt(b, h.limitPer)
	b = msgp.AppendInt(b, h.offset)
	b = msgp.AppendInt(b, h.limit)
	b = msgp.AppendBool(b, h.distinct)
	b = appendPreds(b, h.whereEdge)
	b = appendPreds(b, h.where)
	return appendOrderKeys(b, h.order)
}

// edgeName returns the name of the hop's edge kind, empty if it starts from a kind.
func (h *hop) edgeName() string {
	if h.edge == nil {
		return ""
	}
	return h.edge.name
}

func appendPreds(b []byte, of []pred) []byte {
	b = msgp.AppendArrayHeader(b, uint32(len(of)))
	for i := range of {
		b = of[i].appendKey(b)
	}
	return b
}

func (p *pred) appendKey(b []byte) []byte {
	if !p.isLeaf() {
		b = msgp.AppendArrayHeader(b, 2)
		b = msgp.AppendUint8(b, uint8(p.op))
		return appendPreds(b, p.of)
	}
	b = msgp.AppendArrayHeader(b, 4)
	b = msgp.AppendUint8(b, uint8(p.op))
	b = msgp.AppendBool(b, p.neg)
	b = append(b, p.col.key...)
	if p.vs == nil {
		return appendValue(msgp.AppendArrayHeader(b, 1), p.v)
	}
	return appendValues(b, p.vs)
}

func appendOrderKeys(b []byte, keys []orderKey) []byte {
	b = msgp.AppendArrayHeader(b, uint32(len(keys)))
	for _, k := range keys {
		b = msgp.AppendArrayHeader(b, 2)
		b = append(b, k.col.key...)
		b = msgp.AppendBool(b, k.desc)
	}
	return b
}

func appendValues(b []byte, values []driver.Value) []byte {
	b = msgp.AppendArrayHeader(b, uint32(len(values)))
	for _, v := range values {
		b = appendValue(b, v)
	}
	return b
}

// appendValue appends a value with its type. A time is a fixext 8 of the extension type
// timeExtension, because MessagePack's own timestamps have several encodings.
func appendValue(b []byte, v driver.Value) []byte {
	switch v := v.(type) {
	case bool:
		return msgp.AppendBool(b, v)
	case int64:
		return msgp.AppendInt64(b, v)
	case uint64:
		return msgp.AppendUint64(b, v)
	case float64:
		return msgp.AppendFloat64(b, v)
	case string:
		return msgp.AppendString(b, v)
	case []byte:
		return msgp.AppendBytes(b, v)
	case time.Time:
		return binary.BigEndian.AppendUint64(append(b, fixext8, timeExtension), uint64(v.UnixMilli()))
	case []driver.Value:
		return appendValues(b, v)
	}
	return msgp.AppendNil(b)
}

const (
	fixext8       = 0xd7
	timeExtension = 1
)

// leastValue is the least that a value takes in a key.
const leastValue = 1

// readAll reads an array whose elements take at least so many bytes each.
func readAll[T any](r *keyReader, least int, read func() T) []T {
	count := part(r, msgp.ReadArrayHeaderBytes)
	if uint64(count) > uint64(len(r.b)/least) {
		r.fail()
	}
	if r.err != nil || count == 0 {
		return nil
	}
	n := count // arrays in arrays could each claim the same bytes
	if r.depth > 0 {
		n = min(n, 8)
	}
	elements := make([]T, 0, n)
	for range count {
		if elements = append(elements, read()); r.err != nil {
			return nil
		}
	}
	return elements
}

// keyReader reads the parts of a key. The first failure sticks; after it every
// part is zero. It never allocates more than the key holds, because a length is
// believed only up to the bytes that are left.
type keyReader struct {
	b     []byte
	err   error
	depth int
}

func (r *keyReader) fail() { r.err = errKey }

// end returns the first failure, or one if bytes are left over.
func (r *keyReader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	return r.err
}

// part reads one part with read, which returns the bytes that follow it.
func part[T any](r *keyReader, read func([]byte) (T, []byte, error)) (v T) {
	if r.err != nil {
		return v
	}
	v, rest, err := read(r.b)
	if err != nil {
		r.err = fmt.Errorf("%w: %w", errKey, err)
		var zero T
		return zero
	}
	r.b = rest
	return v
}

func (r *keyReader) string() string { return part(r, msgp.ReadStringBytes) }
func (r *keyReader) uint() uint64   { return part(r, msgp.ReadUint64Bytes) }
func (r *keyReader) int() int       { return part(r, msgp.ReadIntBytes) }
func (r *keyReader) bool() bool     { return part(r, msgp.ReadBoolBytes) }

// array expects an array of n parts.
func (r *keyReader) array(n uint32) {
	if part(r, msgp.ReadArrayHeaderBytes) != n && r.err == nil {
		r.fail()
	}
}

func (r *keyReader) values() []driver.Value { return readAll(r, leastValue, r.value) }

// maxNesting is how deep the parts of a key may be nested.
const maxNesting = 2 * maxPredicateDepth

// value reads a value.
func (r *keyReader) value() driver.Value {
	if r.err != nil || len(r.b) == 0 {
		r.fail()
		return nil
	}
	switch msgp.NextType(r.b) {
	case msgp.NilType:
		r.b = r.b[1:]
		return nil
	case msgp.BoolType:
		return r.bool()
	case msgp.IntType:
		return part(r, msgp.ReadInt64Bytes)
	case msgp.UintType:
		if u := r.uint(); u > math.MaxInt64 {
			return u
		} else {
			return int64(u)
		}
	case msgp.Float64Type:
		return part(r, msgp.ReadFloat64Bytes)
	case msgp.StrType:
		return r.string()
	case msgp.BinType:
		return part(r, func(b []byte) ([]byte, []byte, error) { return msgp.ReadBytesBytes(b, nil) })
	case msgp.ArrayType:
		if r.depth++; r.depth > maxNesting {
			r.fail()
		}
		defer func() { r.depth-- }()
		return readAll(r, leastValue, r.value)
	}
	return r.time()
}

func (r *keyReader) time() driver.Value {
	if len(r.b) < 10 || r.b[0] != fixext8 || r.b[1] != timeExtension {
		r.fail()
		return nil
	}
	ms := int64(binary.BigEndian.Uint64(r.b[2:]))
	r.b = r.b[10:]
	return time.UnixMilli(ms).UTC()
}

// The envelope around a cached value:
//
//	format 1 · flags 1 · checksum 4 · fingerprint 8 · generation 8 · length of the
//	anchor key 2 · length of the field key 2 · anchor key · field key · body
//
// The full key is compared on every read: a value under another key, however it
// came there, is no value. The checksum is a CRC-32C (RFC 3720, appendix B.4) of all
// the rest.
const (
	envelopeFormat = 2
	envelopeHeader = 26
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// flagAbsent marks the value of an object that does not exist.
const flagAbsent = 1

// flagLarge marks the place of a value that is too large to be cached: readers load
// it, and do not wait for each other.
const flagLarge = 2

// envelope is a cached value with what surrounds it.
type envelope struct {
	flags       byte
	fingerprint uint64
	generation  uint64 // of the kind, before the value was read from the store
	body        []byte
}

// seal returns the body in its envelope.
func (e envelope) seal(anchor, field string) []byte {
	b := make([]byte, 0, envelopeHeader+len(anchor)+len(field)+len(e.body))
	b = append(b, envelopeFormat, e.flags, 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, e.fingerprint)
	b = binary.BigEndian.AppendUint64(b, e.generation)
	b = binary.BigEndian.AppendUint16(b, uint16(len(anchor)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(field)))
	b = append(b, anchor...)
	b = append(b, field...)
	b = append(b, e.body...)
	binary.BigEndian.PutUint32(b[2:], checksum(b))
	return b
}

// checksum returns the checksum of a sealed value without its own four bytes.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:2], castagnoli), castagnoli, b[6:])
}

var errEnvelope = errors.New("graphcache: malformed cache value")

// unseal opens the value of the fragment. The body shares the value's memory.
func unseal(value []byte, anchor, field string) (envelope, error) {
	if len(value) < envelopeHeader || value[0] != envelopeFormat || binary.BigEndian.Uint32(value[2:]) != checksum(value) {
		return envelope{}, errEnvelope
	}
	e := envelope{flags: value[1], fingerprint: binary.BigEndian.Uint64(value[6:]), generation: binary.BigEndian.Uint64(value[14:])}
	n, m := int(binary.BigEndian.Uint16(value[22:])), int(binary.BigEndian.Uint16(value[24:]))
	rest := value[envelopeHeader:]
	if n+m > len(rest) || string(rest[:n]) != anchor || string(rest[n:n+m]) != field {
		return envelope{}, errEnvelope
	}
	e.body = rest[n+m:]
	return e, nil
}
