package tao

import (
	"errors"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// Values of cacheaside are in MessagePack, written and read by hand: arrays without names,
// times in milliseconds. What does not exist is one nil.

// appendObject appends the object, which may be nil, without its ID.
func appendObject(b []byte, o *Object) []byte {
	if o == nil {
		return msgp.AppendNil(b)
	}
	b = msgp.AppendArrayHeader(b, 4)
	b = msgp.AppendInt64(b, o.Write)
	b = msgp.AppendInt64(b, o.Type)
	b = msgp.AppendInt64(b, o.Created.UnixMilli())
	return msgp.AppendBytes(b, o.Data)
}

var errEncoding = errors.New("tao: malformed value")

func decodeObject(id ID, b []byte) (*Object, error) {
	if msgp.IsNil(b) {
		return nil, nil
	}
	r := reader{b: b}
	if r.array() != 4 {
		return nil, errEncoding
	}
	o := &Object{ID: id, Write: r.int(), Type: r.int(), Created: r.time(), Data: r.bytes()}
	return o, r.err
}

// The prefix of a list that is cached: as long as that of graphcache.
const (
	prefixEdges = 1024
	prefixBytes = 64 << 10
)

// appendList appends the newest edges of a list, and whether these are all.
func appendList(b []byte, edges []Edge) []byte {
	complete, size := len(edges) <= prefixEdges, 0
	edges = edges[:min(len(edges), prefixEdges)]
	for i := range edges {
		if size += 24 + len(edges[i].Data.Data); size > prefixBytes {
			edges, complete = edges[:i], false
			break
		}
	}
	b = msgp.AppendBool(b, complete)
	b = msgp.AppendArrayHeader(b, uint32(len(edges)))
	for i := range edges {
		b = appendEdge(b, &edges[i])
	}
	return b
}

// appendEdge appends the edge, which may be nil, without where it starts.
func appendEdge(b []byte, e *Edge) []byte {
	if e == nil {
		return msgp.AppendNil(b)
	}
	b = msgp.AppendInt64(b, e.Time.UnixMilli())
	b = msgp.AppendString(b, string(e.To))
	b = msgp.AppendInt64(b, e.Data.Write)
	return msgp.AppendBytes(b, e.Data.Data)
}

// reader reads a value. The first error sticks.
type reader struct {
	b   []byte
	err error
}

func (r *reader) array() (n uint32) {
	n, r.b, r.err = msgp.ReadArrayHeaderBytes(r.b)
	return n
}

func (r *reader) bool() (v bool) {
	if r.err == nil {
		v, r.b, r.err = msgp.ReadBoolBytes(r.b)
	}
	return v
}

func (r *reader) int() (v int64) {
	if r.err == nil {
		v, r.b, r.err = msgp.ReadInt64Bytes(r.b)
	}
	return v
}

func (r *reader) time() time.Time { return time.UnixMilli(r.int()).UTC() }

// bytes returns bytes that share the memory of the value, nil if there are none.
func (r *reader) bytes() (v []byte) {
	if r.err == nil {
		v, r.b, r.err = msgp.ReadBytesZC(r.b)
	}
	if len(v) == 0 {
		return nil
	}
	return v
}

func (r *reader) edge(from ID) (e Edge) {
	e.From, e.Time, e.To = from, r.time(), ID(r.bytesOfString())
	e.Data.Write, e.Data.Data = r.int(), r.bytes()
	return e
}

func (r *reader) bytesOfString() (v []byte) {
	if r.err == nil {
		v, r.b, r.err = msgp.ReadStringZC(r.b)
	}
	return v
}

// skipEdge passes over an edge but for its time and where it leads to.
func (r *reader) skipEdge() {
	r.int()
	r.bytes()
}

// cachedList is a list in the cache.
type cachedList struct {
	from     ID
	complete bool
	n        int
	edges    reader
}

func decodeList(from ID, b []byte) (l cachedList, err error) {
	r := reader{b: b}
	l.from, l.complete = from, r.bool()
	if r.err == nil {
		l.n = int(r.array())
	}
	l.edges = r
	return l, r.err
}

// first returns the newest edges, unless there may be more than are in the cache.
func (l cachedList) first(limit int) (edges []Edge, ok bool, err error) {
	if limit > l.n && !l.complete {
		return nil, false, nil
	}
	edges = make([]Edge, 0, min(limit, l.n))
	for range min(limit, l.n) {
		edges = append(edges, l.edges.edge(l.from))
	}
	return edges, true, l.edges.err
}

// between returns the edges between two times.
func (l cachedList) between(high, low time.Time, limit int) (edges []Edge, ok bool, err error) {
	first, last := high.UnixMilli(), low.UnixMilli()
	r := &l.edges
	for range l.n {
		start := *r
		at := r.int()
		if at < last || len(edges) == limit {
			return edges, true, r.err
		}
		if at > first {
			r.bytesOfString()
			r.skipEdge()
			continue
		}
		*r = start
		edges = append(edges, r.edge(l.from))
	}
	return edges, l.complete || len(edges) == limit, r.err
}

// find returns the edge to an object.
func (l cachedList) find(to ID) (e *Edge, ok bool, err error) {
	r := &l.edges
	for range l.n {
		start := *r
		r.int()
		if string(r.bytesOfString()) == string(to) {
			*r = start
			found := r.edge(l.from)
			return &found, true, r.err
		}
		r.skipEdge()
	}
	return nil, l.complete, r.err
}
