package graphcache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/protocol"
)

// Plan says how a query would be answered at the moment: see [Query.Explain].
type Plan struct {
	// Key is the query's canonical key, as from [Query.Key].
	Key string
	// Steps are the hops, in their order.
	Steps []PlanStep
	// Err is the mistake in the query, or the error of the context, because of which
	// there is no more.
	Err error
}

// PlanStep says how one hop is answered.
type PlanStep struct {
	// Kind is the kind of edges that the hop follows, or of objects for one that
	// starts from a kind. Direction is "out" or "in", empty for objects.
	Kind, Direction string
	// Access is from where the hop is answered.
	Access Access
	// Index is the index of ByIndex and ByIndexOrder.
	Index string
	// Where and Order are what the hop asks for, in words.
	Where, Order string
	// Starts is how many objects the hop starts from, -1 if the steps before are not
	// cached, so that nothing more is known.
	Starts int
	// Fragments are the values that are looked up, in this order.
	Fragments []PlanFragment
	// Store is what the store would be asked if none of them were cached, and which of
	// its indexes serve that, a line for each sort of question. It is empty if the store
	// does not tell, or if it depends on what is not known yet.
	Store string
	// Reason says why the hop is not answered from the cache alone, and Advice what
	// would make it so, where there is such a thing.
	Reason, Advice string
}

// PlanFragment is one value that a query looks up.
type PlanFragment struct {
	// Anchor names what invalidates the value, and Fragment which of its values it is.
	Anchor, Fragment string
	// AnchorKey and FieldKey are its keys in the cache, in binary; they are empty for
	// what is not cached.
	AnchorKey, FieldKey string
	// Source says where the value would come from.
	Source PlanSource
}

// PlanSource says where a value would come from.
type PlanSource uint8

const (
	// FromCache: it is cached.
	FromCache PlanSource = iota + 1
	// FromStore: it would be loaded, and cached.
	FromStore
	// FromLoad: another reader is loading it.
	FromLoad
	// FromStoreHeld: a write is under way, the cache does not answer, or the anchor is in
	// the journal: it would be loaded, and not cached.
	FromStoreHeld
	// FromStoreUncached: it would be loaded, and is never cached.
	FromStoreUncached
)

// String returns the source in words.
func (s PlanSource) String() string {
	names := [...]string{"?", "cached", "to be loaded", "being loaded", "held: to be loaded, not cached", "loaded every time"}
	return names[min(int(s), len(names)-1)]
}

// Explain says how [Query.All] would be answered at the moment, without what With adds:
// from where each hop,
// which cached values, and if not from the cache then why, and what index would help. It
// looks into the cache, but not into the store; where the answer to a hop is not cached,
// the hops after it are planned without knowing what they start from. A value that was
// loaded a moment ago may still be on its way into the cache: see [Graph.Settle].
func (q Query[T, E]) Explain(ctx context.Context, c Conn) (p Plan) {
	defer func() { wrap(&p.Err, "explain", q.name(), "") }()
	if p.Key, p.Err = q.Key(); p.Err != nil {
		return p
	}
	peek := &peek{}
	in := c.conn()
	in.peek = peek
	x, err := q.exec(ctx, in)
	if err != nil {
		p.Err = err
		return p
	}
	starts, known := x.ids, true
	for i := range x.hops {
		h := &x.hops[i]
		k, hp := x.plan(h)
		step := h.describe(hp)
		step.Starts = -1
		if known {
			step.Starts = len(starts)
			var rows []row
			rows, known, err = x.peek(peek, h, starts, i == len(x.hops)-1)
			if err != nil {
				p.Err = err
			}
			step.Fragments = peek.fragments
			step.Store = explainSteps(in.g.store, peek.steps)
			step.tooMany(h, hp)
			starts = distinct(farEnds(rows))
		} else if hp.access == ByStore {
			r := k.storeRequest(h, nil, false)
			step.Store = explainSteps(in.g.store, []driver.Step{r.searchStep()})
		}
		p.Steps = append(p.Steps, step)
	}
	return p
}

// peek collects what a query looks up.
type peek struct {
	fragments []PlanFragment
	steps     []driver.Step // by which the store would answer
}

var errPeek = errors.New("graphcache: not cached")

// peek runs a hop on what the cache has. known is false if that is not enough.
func (x *exec) peek(p *peek, h *hop, starts []string, last bool) (rows []row, known bool, err error) {
	p.fragments, p.steps = nil, nil
	rows, err = x.hop(h, starts)
	if err == nil && last && len(rows) > 0 {
		_, err = (&loader{exec: x, hop: h}).load(rows, false)
	}
	if errors.Is(err, errPeek) {
		return rows, false, nil
	}
	return rows, err == nil, err
}

// fetch looks the requests up, and loads nothing.
func (p *peek) fetch(ctx context.Context, c conn, reqs []request, fresh Freshness) error {
	cached := c.cached(fresh)
	if cached {
		c.g.bypass(reqs)
	}
	begin(reqs)
	if cached {
		_ = c.g.lookup(ctx, reqs) // what the cache does not answer, the store would
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	missing := false
	pointers := make([]*request, len(reqs))
	for i := range reqs {
		r := &reqs[i]
		pointers[i] = r
		f := r.describe()
		switch {
		case !cached || r.direct:
			f.Source, f.AnchorKey, f.FieldKey = FromStoreUncached, "", ""
		case r.bypass:
			f.Source = FromStoreHeld
		case r.next.Action == protocol.Hit:
			f.Source = FromCache
		case r.next.Action == protocol.Wait:
			f.Source = FromLoad
		case r.next.Action == protocol.Load && r.next.Version == 0:
			f.Source = FromStoreHeld
		default:
			f.Source = FromStore
		}
		p.fragments = append(p.fragments, f)
		missing = missing || f.Source != FromCache
	}
	steps, _ := stepsFor(pointers)
	p.steps = append(p.steps, steps...)
	if missing {
		return errPeek
	}
	return nil
}

// explainSteps returns what the store says of the steps, each line once.
func explainSteps(store driver.Store, steps []driver.Step) string {
	explainer, ok := store.(driver.Explainer)
	if !ok {
		return ""
	}
	var lines []string
	for _, step := range steps {
		if line := explainer.Explain(step); line != "" && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// describe names what a request asks for.
func (r *request) describe() PlanFragment {
	f := PlanFragment{AnchorKey: r.anchor, FieldKey: r.field}
	switch r.typ {
	case objectAnchor:
		f.Anchor = fmt.Sprintf("%s %q", r.kind.name, r.id)
	case outAnchor:
		f.Anchor = fmt.Sprintf("%s out of %q", r.kind.name, r.id)
	case inAnchor:
		f.Anchor = fmt.Sprintf("%s in to %q", r.kind.name, r.id)
	case indexAnchor:
		f.Anchor = fmt.Sprintf("%s index %s %s", r.kind.name, r.index.name, valueString(r.values))
	default:
		f.Anchor = "all of " + r.kind.name
	}
	switch {
	case r.direct:
		f.Anchor, f.Fragment = "no anchor", "search"
	case r.typ == objectAnchor:
		f.Fragment = "object"
	case r.field == "":
		f.Fragment = "prefix"
	case r.op == driver.CountEdges || r.search != nil && r.search.count:
		f.Fragment = "count"
	case r.op == driver.GetEdges:
		f.Fragment = fmt.Sprintf("edge to %q", r.end)
	case r.op == driver.ListEdges:
		f.Fragment = "range"
	default:
		f.Fragment = "search"
	}
	return f
}

// describe returns the step without what is looked up.
func (h *hop) describe(p hopPlan) PlanStep {
	s := PlanStep{
		Kind: nameOf(h.end), Access: p.access, Reason: p.reason, Advice: p.advice,
		Where: predsString(append(h.whereEdge[:len(h.whereEdge):len(h.whereEdge)], h.where...)), Order: orderString(h.order),
	}
	if h.edge != nil {
		s.Kind, s.Direction = h.edge.name, "out"
		if h.direction == driver.In {
			s.Direction = "in"
		}
	}
	if p.index != nil {
		s.Index = p.index.name
	}
	return s
}

// tooMany says why a step that was planned with the cache goes to the store.
func (s *PlanStep) tooMany(h *hop, p hopPlan) {
	for _, f := range s.Fragments {
		if f.Source == FromStoreUncached && p.access != ByStore && s.Reason != uncached {
			s.Access, s.Index, s.Advice = ByStore, "", h.advice()
			s.Reason = fmt.Sprintf("there are more than the %d candidates that are looked at in the engine", maxCandidates)
			if p.access == ByScan {
				s.Advice = ""
				s.Reason = fmt.Sprintf("the predicates take more than the %d bytes of a key", maxFieldKey)
			}
		}
	}
}

// shownFragments is how many fragments of a step String lists.
const shownFragments = 4

// String returns the plan as text, a line for each step, its fragments and its reasons.
func (p Plan) String() string {
	var b strings.Builder
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%d. %s\n", i+1, s.title())
		for j, f := range s.Fragments {
			if j == shownFragments {
				fmt.Fprintf(&b, "   … and %d more\n", len(s.Fragments)-j)
				break
			}
			fmt.Fprintf(&b, "   %s, %s: %v\n", f.Anchor, f.Fragment, f.Source)
		}
		for line := range strings.Lines(s.Store) {
			fmt.Fprintf(&b, "   store: %s\n", strings.TrimSuffix(line, "\n"))
		}
		if s.Reason != "" {
			fmt.Fprintf(&b, "   because %s\n", s.Reason)
		}
		if s.Advice != "" {
			fmt.Fprintf(&b, "   what would help: %s\n", s.Advice)
		}
	}
	if p.Err != nil {
		fmt.Fprintf(&b, "error: %v\n", p.Err)
	}
	return b.String()
}

// title is a step's first line.
func (s *PlanStep) title() string {
	t, preposition := s.Kind, " of"
	if s.Direction == "in" {
		preposition = " to"
	}
	if s.Direction != "" {
		t += " " + s.Direction
	}
	switch {
	case s.Direction == "":
	case s.Starts < 0:
		t += preposition + " what is not known yet"
	case s.Starts == 1:
		t += preposition + " 1 object"
	default:
		t += fmt.Sprintf("%s %d objects", preposition, s.Starts)
	}
	if s.Where != "" {
		t += " where " + s.Where
	}
	if s.Order != "" {
		t += " by " + s.Order
	}
	t += ": " + s.Access.String()
	if s.Index != "" {
		t += " " + s.Index
	}
	return t
}

var opSigns = map[driver.FilterOp]string{
	driver.Less: "<", driver.LessEqual: "<=", driver.Greater: ">", driver.GreaterEqual: ">=",
	driver.HasPrefix: "starts with", driver.Contains: "contains", driver.Has: "has",
}

func (p *pred) String() string {
	switch {
	case p.isAll():
		return "true"
	case p.isNone():
		return "false"
	case p.op == driver.And:
		return "(" + predsString(p.of) + ")"
	case p.op == driver.Or:
		parts := make([]string, len(p.of))
		for i := range p.of {
			parts[i] = p.of[i].String()
		}
		return "(" + strings.Join(parts, " or ") + ")"
	}
	s := p.col.Name() + " "
	switch {
	case p.op != driver.AnyOf:
		s += opSigns[p.op] + " " + valueString(p.v)
	case p.vs == nil:
		if p.v == nil {
			s += "is nil"
			break
		}
		s += "= " + valueString(p.v)
	default:
		s += "in " + valueString(p.vs)
	}
	if p.neg {
		return "not " + s
	}
	return s
}

func predsString(of []pred) string {
	parts := make([]string, len(of))
	for i := range of {
		parts[i] = of[i].String()
	}
	return strings.Join(parts, " and ")
}

func orderString(keys []orderKey) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		if parts[i] = k.col.Name(); k.desc {
			parts[i] += " descending"
		}
	}
	return strings.Join(parts, ", ")
}

func valueString(v driver.Value) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%.40q", v)
	case []byte:
		return fmt.Sprintf("%.40x", v)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case []driver.Value:
		parts := make([]string, 0, len(v))
		for i, x := range v {
			if i == shownFragments {
				parts = append(parts, fmt.Sprintf("… %d more", len(v)-i))
				break
			}
			parts = append(parts, valueString(x))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprint(v)
}
