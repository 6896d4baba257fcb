package graphcache

import (
	"errors"
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// An edge list is cached as a prefix: its newest edges. A miss loads the short
// prefix if that is enough for the read, else the long one.
const (
	shortPrefix = 64
	longPrefix  = 1024
	prefixBytes = 64 << 10
)

// request is one fragment that a read needs, and what has become of it.
type request struct {
	kind   *boundKind
	id     string // the object, or the one whose edges are asked for
	typ    anchorType
	anchor string // key
	field  string // key, empty for the primary fragment

	// What the store is asked for if it comes to that.
	op   driver.Op
	end  string // GetEdges
	span span   // ListEdges, CountEdges
	// size is the number of edges that a primary list is loaded with, 0 for any
	// other fragment; need is the span that the reader wants of it.
	size int
	need span
	grow bool // a prefix that does not answer need is worth replacing by the long one

	// The answer: a value or an error.
	value
	err error

	// The way there.
	next    protocol.Next
	claimed bool // the cache expects its load
	foreign bool // the primary value has another schema's layout: look in the field
	flight  *flight
	leads   bool // this request's caller started the flight
}

// value is a fragment's content: what an envelope carries, decoded as far as lists
// go.
type value struct {
	flags byte
	body  []byte
	list  edgeList // of a fragment that is a list
	items int      // objects or edges in it
}

// isList reports whether the fragment's body is an edge list.
func (r *request) isList() bool { return r.op == driver.ListEdges || r.op == driver.GetEdges }

// objectRequest asks for one object.
func (k *boundKind) objectRequest(id string) request {
	return request{kind: k, id: id, typ: objectAnchor, anchor: k.anchorKey(objectAnchor, id), op: driver.GetObjects}
}

// listRequest asks for the prefix of a list, long enough for the span if a prefix
// can be.
func (k *boundKind) listRequest(d driver.Direction, id string, need span) request {
	r := k.probeRequest(d, id)
	r.need, r.grow = need, !need.high.set && !need.beyondPrefix()
	if r.grow && (need.limit == 0 || need.offset+need.limit > shortPrefix) {
		r.size = longPrefix
	}
	return r
}

// probeRequest asks for the prefix of a list as it happens to be cached, or else
// the short one, by a reader who can also do with less.
func (k *boundKind) probeRequest(d driver.Direction, id string) request {
	t := edgesAnchor(d)
	return request{
		kind: k, id: id, typ: t, anchor: k.anchorKey(t, id),
		op: driver.ListEdges, size: shortPrefix,
	}
}

// beyondPrefix reports that no prefix that leaves something out can hold the span.
func (s span) beyondPrefix() bool {
	return s.offset >= longPrefix || s.limit > longPrefix-s.offset
}

// spanRequest asks for the edges of a span that a prefix does not answer.
func (k *boundKind) spanRequest(d driver.Direction, id string, s span) request {
	t := edgesAnchor(d)
	f := field{typ: spanField, fingerprint: k.fingerprint, span: s}
	return request{kind: k, id: id, typ: t, anchor: k.anchorKey(t, id), field: f.key(), op: driver.ListEdges, span: s}
}

// countRequest asks for the number of edges between the span's bounds.
func (k *boundKind) countRequest(d driver.Direction, id string, s span) request {
	t := edgesAnchor(d)
	s.offset, s.limit = 0, 0
	f := field{typ: countField, fingerprint: k.fingerprint, span: s}
	return request{kind: k, id: id, typ: t, anchor: k.anchorKey(t, id), field: f.key(), op: driver.CountEdges, span: s}
}

// endRequest asks for the edge to one far end.
func (k *boundKind) endRequest(d driver.Direction, id, end string) request {
	t := edgesAnchor(d)
	f := field{typ: endField, fingerprint: k.fingerprint, end: end}
	return request{kind: k, id: id, typ: t, anchor: k.anchorKey(t, id), field: f.key(), op: driver.GetEdges, end: end}
}

// direction returns the direction of a list's anchor.
func (r *request) direction() driver.Direction {
	if r.typ == inAnchor {
		return driver.In
	}
	return driver.Out
}

// accept takes a value's flags and body as the request's answer and says what they
// are worth to it.
func (r *request) accept(flags byte, body []byte) (protocol.Found, error) {
	v := value{flags: flags, body: body}
	if !r.isList() {
		r.value = v
		return protocol.Whole, nil
	}
	var err error
	if v.list, err = parseList(body); err != nil {
		return protocol.Short, err
	}
	v.items = v.list.len()
	r.value = v
	if r.short() {
		return protocol.Short, nil
	}
	return protocol.Whole, nil
}

// short reports that the list does not answer the read and a longer prefix may.
func (r *request) short() bool {
	if !r.grow || r.list.capped() {
		return false
	}
	_, _, ok := r.list.answer(r.need)
	return !ok
}

// judge says what a cache entry is worth to the request, and takes its value.
func (r *request) judge(e driver.Entry) protocol.Found {
	if e.Value == nil {
		return protocol.Nothing
	}
	env, err := unseal(e.Value, r.anchor, r.field)
	if err == nil && env.fingerprint != r.kind.fingerprint {
		// Another program version's layout. Its value is left alone, and this
		// version keeps its own beside it.
		r.foreign = r.field == ""
		return protocol.Short
	}
	found := protocol.Short
	if err == nil && env.flags&flagLarge == 0 {
		found, err = r.accept(env.flags, env.body)
	}
	if err != nil {
		r.kind.counters.corrupt.Add(1)
	}
	return found
}

// stepsFor returns the steps that load the requests, and where in the results each
// request finds its answer. Requests that differ only in their object share a step.
func stepsFor(reqs []*request) (steps []driver.Step, places []place) {
	type shape struct {
		kind      string
		op        driver.Op
		direction driver.Direction
		span      span
		parent    string // GetEdges: each object has its own step
	}
	index := map[shape]int{}
	places = make([]place, len(reqs))
	for i, r := range reqs {
		s := shape{kind: r.kind.name, op: r.op, direction: r.direction(), span: r.loadSpan()}
		if r.op == driver.GetEdges {
			s.parent = r.id
		}
		n, ok := index[s]
		if !ok {
			n = len(steps)
			index[s] = n
			steps = append(steps, driver.Step{Op: r.op, Kind: s.kind, Direction: s.direction, Range: s.span.driver()})
		}
		step := &steps[n]
		places[i] = place{step: n, index: len(step.IDs)}
		switch {
		case r.op != driver.GetEdges:
			step.IDs = append(step.IDs, r.id)
		case len(step.IDs) == 0:
			step.IDs = []string{r.id}
			fallthrough
		default:
			places[i].index = 0
			step.Ends = append(step.Ends, r.end)
		}
	}
	return steps, places
}

// place is where in a batch of results a request finds its answer.
type place struct{ step, index int }

// loadSpan is the span that the store is asked for: of a prefix, one edge more than
// it holds, to know whether it is complete.
func (r *request) loadSpan() span {
	if r.size > 0 {
		return span{limit: r.size + 1}
	}
	return r.span
}

var errResult = errors.New("the store's result does not fit the step")

// encode turns the store's answer into the fragment's value.
func (r *request) encode(results []driver.Result, p place) (v value, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s %q: %w", r.kind.name, r.id, err)
		}
	}()
	if p.step >= len(results) {
		return v, errResult
	}
	res := results[p.step]
	switch r.op {
	case driver.GetObjects:
		if p.index >= len(res.Objects) {
			return v, errResult
		}
		return r.encodeObject(res.Objects[p.index])
	case driver.CountEdges:
		if p.index >= len(res.Counts) {
			return v, errResult
		}
		return value{body: msgp.AppendInt(nil, res.Counts[p.index])}, nil
	}
	if p.index >= len(res.Lists) {
		return v, errResult
	}
	return r.encodeList(res.Lists[p.index])
}

// encodeObject encodes an object as its version and its fields. An object that is
// being deleted is absent.
func (r *request) encodeObject(o *driver.Object) (value, error) {
	if o == nil || o.Deleting {
		return value{flags: flagAbsent}, nil
	}
	body, err := r.kind.plan().Encode(msgp.AppendInt64(nil, o.Version), o.Doc)
	return value{body: body, items: 1}, err
}

// encodeList encodes the edges that the request is about.
func (r *request) encodeList(from []driver.Edge) (value, error) {
	flags, limit := byte(flagComplete), 0
	if r.op == driver.GetEdges {
		from = only(from, r.direction(), r.id, r.end)
	}
	if r.size > 0 {
		limit = prefixBytes
		if len(from) > r.size {
			from, flags = from[:r.size], 0
			if r.size == longPrefix {
				flags = flagCapped
			}
		}
	}
	edges := make([]edge, 0, len(from))
	for _, e := range from {
		data, err := r.kind.plan().Encode(nil, e.Data)
		if err != nil {
			return value{}, fmt.Errorf("the edge from %q to %q: %w", e.From, e.To, err)
		}
		edges = append(edges, edge{far: farEnd(e, r.direction(), r.id), ms: e.Time.UnixMilli(), data: data})
	}
	body, _ := appendList(nil, edges, flags, limit)
	list, err := parseList(body)
	return value{body: body, list: list, items: list.len()}, err
}

// only returns the edge to the far end.
func only(edges []driver.Edge, d driver.Direction, id, end string) []driver.Edge {
	for i, e := range edges {
		if farEnd(e, d, id) == end {
			return edges[i : i+1]
		}
	}
	return nil
}

// farEnd returns the end of the edge that is not the object in whose list it is. An
// edge of a symmetric kind lists the lesser end first, whichever that is.
func farEnd(e driver.Edge, d driver.Direction, id string) string {
	if d == driver.In || e.From != id {
		return e.From
	}
	return e.To
}
