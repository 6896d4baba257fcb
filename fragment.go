package graphcache

import (
	"errors"
	"fmt"
	"slices"

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
	id     string // the object, or the one whose edges are asked for, or that of the anchor
	typ    anchorType
	anchor string // key, once it is needed: see name
	field  string // key, empty for the primary fragment
	// direct requests are answered by the store and not cached: no anchor covers
	// what they depend on. Their field says what they ask for.
	direct bool
	// bypass requests are answered by the store this time, and fill nothing.
	bypass bool

	// What the store is asked for if it comes to that.
	op     driver.Op
	end    string  // GetEdges
	span   span    // ListEdges, CountEdges, FindObjects, FindEdges
	search *search // FindObjects, FindEdges
	index  *index  // of an index's anchor, with the values
	values []driver.Value
	// size is the number of edges that a primary list is loaded with, 0 for any
	// other fragment; need is the span that the reader wants of it.
	size int
	need span
	grow bool // a prefix that does not answer need is worth replacing by the long one

	// The answer: a value or an error.
	value
	err error

	// The way there.
	generation uint64 // of the kind, when the read began
	next       protocol.Next
	claimed    bool // the cache expects its load
	keep       bool // the near cache may keep the answer, while its stripe is told of nothing
	told       uint64
	asked      string // the field by which the near cache is asked for it: a foreign one is the reader's affair
	foreign    bool   // the primary value has another schema's layout: look in the field
	flight     *flight
	leads      bool // this request's caller started the flight
	way        way  // for tracing
}

// value is a fragment's content: what an envelope carries, decoded as far as lists
// go.
type value struct {
	flags byte
	body  []byte
	list  edgeList // of a fragment that is a list
	rows  []row    // of FindEdges
	items int      // objects or edges in it
}

// search is what FindObjects and FindEdges are asked for besides a span.
type search struct {
	ids      []string // the starts of FindEdges
	filter   *driver.Filter
	order    []driver.Order
	after    []driver.Value
	far      string
	limitPer int
	distinct bool
	count    bool
}

// isList reports whether the fragment's body is a list, of edges or of objects, without
// times and with the values by which they are ordered for data.
func (r *request) isList() bool {
	return r.op == driver.ListEdges || r.op == driver.GetEdges || r.op == driver.FindObjects && !r.search.count
}

// isCount reports whether the fragment's body is a number.
func (r *request) isCount() bool {
	return r.op == driver.CountEdges || r.search != nil && r.search.count
}

var errCount = errors.New("graphcache: malformed count")

// name makes the keys of the requests' anchors, in one allocation.
func name(reqs []request) {
	var buf [512]byte // on the stack: enough for a few
	b := buf[:0]
	for i := range reqs {
		if r := &reqs[i]; r.anchor == "" && r.way != wayNear {
			b = msgp.AppendString(append(b, r.kind.prefixes[r.typ]...), r.id)
		}
	}
	if len(b) == 0 {
		return
	}
	keys := string(b)
	for i := range reqs {
		if r := &reqs[i]; r.anchor == "" && r.way != wayNear {
			n := len(r.kind.prefixes[r.typ]) + stringSize(r.id)
			r.anchor, keys = keys[:n], keys[n:]
		}
	}
}

// stringSize returns how many bytes a string has in MessagePack.
func stringSize(s string) int {
	switch n := len(s); {
	case n < 1<<5:
		return 1 + n
	case n < 1<<8:
		return 2 + n
	case n < 1<<16:
		return 3 + n
	default:
		return 5 + n
	}
}

// objectRequest asks for one object.
func (k *boundKind) objectRequest(id string) request {
	return request{kind: k, id: id, typ: objectAnchor, op: driver.GetObjects}
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
		kind: k, id: id, typ: t, op: driver.ListEdges, size: shortPrefix,
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
	return request{kind: k, id: id, typ: t, field: f.key(), op: driver.ListEdges, span: s}
}

// countRequest asks for the number of edges between the span's bounds.
func (k *boundKind) countRequest(d driver.Direction, id string, s span) request {
	t := edgesAnchor(d)
	s.offset, s.limit = 0, 0
	f := field{typ: countField, fingerprint: k.fingerprint, span: s}
	return request{kind: k, id: id, typ: t, field: f.key(), op: driver.CountEdges, span: s}
}

// endRequest asks for the edge to one far end.
func (k *boundKind) endRequest(d driver.Direction, id, end string) request {
	t := edgesAnchor(d)
	f := field{typ: endField, fingerprint: k.fingerprint, end: end}
	return request{kind: k, id: id, typ: t, field: f.key(), op: driver.GetEdges, end: end}
}

// indexRequest asks for the objects whose entry in an index starts with the values: the
// first of them by ID.
func (k *boundKind) indexRequest(ix *index, values []driver.Value) request {
	id := ix.anchorID(values)
	return request{
		kind: k, id: id, typ: indexAnchor, op: driver.FindObjects, size: longPrefix, search: &search{filter: ix.filter(values)},
		index: ix, values: values,
	}
}

// orderRequest asks for what the hop finds under the only values of its plan's index.
func (k *boundKind) orderRequest(h *hop, p hopPlan, count bool) request {
	r := k.searchRequest(indexAnchor, p.index.anchorID(p.prefixes[0]), h, count)
	r.index, r.values = p.index, p.prefixes[0]
	return r
}

// searchStride is what the number of results of a cached search is rounded up to, so that
// queries that differ a little in their limits share it: a page looks one further than
// All, and both look further when objects have gone.
const searchStride = 64

// searchRequest asks for what the hop finds among the objects that an anchor of its kind
// covers, which the filter selects; maybe for more than the limit.
func (k *boundKind) searchRequest(t anchorType, id string, h *hop, count bool) request {
	s := &search{filter: driverFilter(h.where), order: driverOrder(h.order), after: h.after, count: count}
	f := field{typ: findField, fingerprint: k.fingerprint, span: span{offset: h.offset, limit: h.limit}}
	if n := addOffset(h.limit, searchStride-1); h.limit > 0 {
		f.span.limit = n - n%searchStride
	}
	if count {
		f.typ, f.span, s.order, s.after = foundField, span{}, nil, nil
	}
	c := hop{where: h.where, order: h.order, after: s.after}
	f.end = string(appendValues(c.appendKey(nil), c.after))
	return request{
		kind: k, id: id, typ: t, field: f.key(), op: driver.FindObjects, span: f.span, search: s,
	}
}

// storeRequest asks the store for what the hop finds.
func (k *boundKind) storeRequest(h *hop, starts []string, count bool) request {
	s := &search{
		ids: starts, filter: driverFilter(h.whereEdge, h.where), order: driverOrder(h.order), after: h.after,
		limitPer: h.limitPer, distinct: h.distinct, count: count,
	}
	r := request{
		kind: k, typ: kindAnchor, anchor: "store", op: driver.FindObjects, search: s, direct: true,
		span: span{high: h.high, low: h.low, offset: h.offset, limit: h.limit},
	}
	if h.edge != nil {
		r.op, r.typ = driver.FindEdges, edgesAnchor(h.direction)
		if h.needsObjects() {
			s.far = h.end.name
		}
	}
	// The key keeps what is asked for apart in flight.
	b := k.space.appendAnchorPrefix(nil, r.typ, k.name)
	b = appendValues(h.appendKey(b), h.after)
	for _, id := range starts {
		b = msgp.AppendString(b, id)
	}
	r.field = string(msgp.AppendBool(b, count))
	return r
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
		if n, rest, err := msgp.ReadIntBytes(body); r.isCount() && (err != nil || n < 0 || len(rest) > 0) {
			return protocol.Short, errCount
		}
		r.value = v
		return protocol.Whole, nil
	}
	var err error
	if v.list, err = parseList(body); err != nil {
		return protocol.Short, err
	}
	v.items = v.list.len()
	if r.search != nil && !v.list.keyed(len(r.search.order)) {
		return protocol.Short, errList
	}
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
	// The cache may have gone back in time since the read began: rewind.go.
	r.generation = max(r.generation, r.kind.generation.Load())
	env, err := unseal(e.Value, r.anchor, r.field)
	if err == nil && env.generation < r.generation {
		return protocol.Short // from before the kind was last invalidated
	}
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
		r.kind.counters.foundCorrupt(err)
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
		if r.search != nil {
			places[i] = place{step: len(steps)}
			steps = append(steps, r.searchStep())
			continue
		}
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

// searchStep returns the step of a search.
func (r *request) searchStep() driver.Step {
	s := r.search
	return driver.Step{
		Op: r.op, Kind: r.kind.name, Direction: r.direction(), IDs: s.ids, Range: r.loadSpan().driver(),
		Filter: s.filter, Order: s.order, Far: s.far, LimitPer: s.limitPer, Distinct: s.distinct, After: s.after, Count: s.count,
	}
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

// label names what is asked for in messages.
func (r *request) label() string {
	if r.search != nil {
		return r.kind.name
	}
	return fmt.Sprintf("%s %q", r.kind.name, r.id)
}

var errResult = errors.New("the store's result does not fit the step")

// encode turns the store's answer into the fragment's value.
func (r *request) encode(results []driver.Result, p place) (v value, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", r.label(), err)
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
	case driver.FindObjects, driver.FindEdges:
		return r.encodeFound(res)
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

// encodeFound encodes what a search has found.
func (r *request) encodeFound(res driver.Result) (value, error) {
	switch {
	case r.search.count && len(res.Counts) != 1:
		return value{}, errResult
	case r.search.count:
		return value{body: msgp.AppendInt(nil, res.Counts[0])}, nil
	case len(r.search.order) > 0 && !r.keyed(res):
		return value{}, errResult
	case r.op == driver.FindObjects:
		edges := make([]edge, len(res.IDs))
		for i, id := range res.IDs {
			edges[i].far = id
			if len(res.Keys) > 0 {
				edges[i].data = appendValues(nil, res.Keys[i])
			}
		}
		return r.newList(edges)
	}
	v := value{rows: make([]row, len(res.Rows)), items: len(res.Rows)}
	for i, found := range res.Rows {
		e, err := r.edge(found.Edge, found.ID)
		if err != nil {
			return value{}, err
		}
		v.rows[i] = row{edge: e, near: found.ID}
		if len(res.Keys) > 0 {
			v.rows[i].keys = res.Keys[i]
		}
	}
	return v, nil
}

// keyed reports whether each result has the values by which it is ordered.
func (r *request) keyed(res driver.Result) bool {
	short := func(keys []driver.Value) bool { return len(keys) != len(r.search.order) }
	return len(res.Keys) == len(res.IDs)+len(res.Rows) && !slices.ContainsFunc(res.Keys, short)
}

// edge returns an edge of the store as seen from the object.
func (r *request) edge(e driver.Edge, id string) (edge, error) {
	data, err := r.kind.plan().Encode(nil, e.Data)
	if err != nil {
		return edge{}, fmt.Errorf("the edge from %q to %q: %w", e.From, e.To, err)
	}
	return edge{far: farEnd(e, r.direction(), id), ms: e.Time.UnixMilli(), data: data}, nil
}

// encodeList encodes the edges that the request is about.
func (r *request) encodeList(from []driver.Edge) (value, error) {
	if r.op == driver.GetEdges {
		from = only(from, r.direction(), r.id, r.end)
	}
	edges := make([]edge, len(from))
	for i, e := range from {
		var err error
		if edges[i], err = r.edge(e, r.id); err != nil {
			return value{}, err
		}
	}
	return r.newList(edges)
}

// newList makes the value of a list. A prefix was asked for one more than it holds.
func (r *request) newList(edges []edge) (value, error) {
	flags, limit := byte(flagComplete), 0
	if r.size > 0 {
		limit = prefixBytes
		if len(edges) > r.size {
			edges, flags = edges[:r.size], 0
			if r.size == longPrefix {
				flags = flagCapped
			}
		}
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
