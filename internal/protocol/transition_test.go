package protocol_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// verb names a method of driver.Cache, or the deadline of a token.
type verb uint8

const (
	lookup verb = iota
	claim
	fill
	hold
	release
	expire
)

var verbs = [...]string{"lookup", "claim", "fill", "hold", "release", "expire"}

func (v verb) String() string { return verbs[v] }

// operation is one call on one entry.
type operation struct {
	verb    verb
	field   field
	version uint8
	value   payload
	token   uint8
	stamp   uint8
	replace bool // claim: with the corrupt bytes that were seen
	passed  bool // claim: after the loading deadline, if there is one
}

// reply is what the caller learns: an entry if the state is set, else an outcome.
type reply struct {
	state   driver.State
	version uint8
	value   payload
	loading bool
	claimed bool
	stamp   uint8
	corrupt bool
	outcome driver.Outcome
}

// transition is one thing that a cache may do. Several transitions with the same
// before and operation are alternatives.
type transition struct {
	before    entry
	operation operation
	after     entry
	reply     reply
}

func seen(e driver.Entry) reply {
	return reply{
		state:   e.State,
		version: uint8(e.Version),
		value:   payloadFrom(e.Value),
		loading: e.Loading,
		claimed: e.Claimed,
		stamp:   stampFrom(e.Stamp),
		corrupt: e.Corrupt != nil,
	}
}

// recorder collects the distinct transitions of a search.
type recorder struct {
	raw   map[transition]struct{} // as they were found, to recognise them quickly
	found map[transition]struct{}
}

func newRecorder() *recorder {
	return &recorder{make(map[transition]struct{}), make(map[transition]struct{})}
}

func (r *recorder) record(before entry, op operation, after entry, reply reply) {
	t := transition{before, op, after, reply}
	if _, ok := r.raw[t]; ok {
		return
	}
	r.raw[t] = struct{}{}
	r.found[t.canonical()] = struct{}{}
}

// recordFill records a fill and what else the contract allows in its place: a value
// that nobody can see may be refused as well.
func (r *recorder) recordFill(before entry, op operation) {
	after, outcome := before.fill(op.field, op.version, op.value, flaws{})
	r.record(before, op, after, reply{outcome: outcome})
	if op.field == secondary && (before.state != driver.Versioned || before.version != op.version) {
		r.record(before, op, before, reply{outcome: driver.Refused})
	}
}

// canonical gives versions, values, stamps and tokens the smallest numbers, so that
// a transition is found once.
func (t transition) canonical() transition {
	versions := renaming(t.before.version, t.before.hash.version, t.operation.version)
	values := renaming(uint8(t.before.primary.value), uint8(t.before.hash.value), uint8(t.operation.value))
	low, high := min(t.before.stamp, t.operation.stamp), max(t.before.stamp, t.operation.stamp)
	stamps := renaming(low, high)
	tokens := t.tokenOrder()

	for _, e := range []*entry{&t.before, &t.after} {
		e.version, e.hash.version = versions[e.version], versions[e.hash.version]
		e.primary.value, e.hash.value = payload(values[e.primary.value]), payload(values[e.hash.value])
		e.stamp = stamps[e.stamp]
		set := uint8(0)
		for i, token := range tokens {
			set |= e.tokens >> token & 1 << i
		}
		e.tokens = set
	}
	op, r := &t.operation, &t.reply
	op.version, op.value, op.stamp, op.token = versions[op.version], payload(values[op.value]), stamps[op.stamp], 0
	r.version, r.value, r.stamp = versions[r.version], payload(values[r.value]), stamps[r.stamp]
	return t
}

// renaming numbers the values that are not 0 in the order in which they come.
func renaming(order ...uint8) *[256]uint8 {
	var names [256]uint8
	next := uint8(1)
	for _, v := range order {
		if v != 0 && names[v] == 0 {
			names[v] = next
			next++
		}
	}
	return &names
}

// tokenOrder lists the tokens that occur, that of the operation first.
func (t transition) tokenOrder() []uint8 {
	var order []uint8
	switch t.operation.verb {
	case hold, release, expire:
		order = append(order, t.operation.token)
	}
	for token := range uint8(8) {
		if t.before.tokens&(1<<token) != 0 && !slices.Contains(order, token) {
			order = append(order, token)
		}
	}
	return order
}

// The text form of a transition is one line of four parts, each a list of words:
//
//	before | operation | after | reply
//
// A word is a name, or name=value. Names that are not there are zero. The token of a
// hold, a release or an expiry is token0.

func (t transition) String() string {
	return fmt.Sprintf("%v | %v | %v | %v", t.before, t.operation, t.after, t.reply)
}

type words []string

func (w *words) flag(name string, set bool) {
	if set {
		*w = append(*w, name)
	}
}

func (w *words) number(name string, n uint8) {
	if n != 0 {
		*w = append(*w, name+"="+strconv.Itoa(int(n)))
	}
}

func (w *words) value(name string, p payload) {
	if p != 0 {
		*w = append(*w, name+"="+p.String())
	}
}

func (w words) String() string { return strings.Join(w, " ") }

// String is a letter for the content, with a tilde if the value is a prefix.
func (p payload) String() string {
	s := letter(p.content())
	if p.short() {
		s += "~"
	}
	return s
}

func letter(n uint8) string { return string(rune('a' + n)) }

func (e entry) String() string {
	w := words{e.state.String()}
	w.flag("corrupt", e.corrupt)
	w.number("version", e.version)
	w.value("value", e.primary.value)
	w.flag("loading", e.primary.loading)
	for token := range 8 {
		w.flag("token"+strconv.Itoa(token), e.tokens&(1<<token) != 0)
	}
	w.number("stamp", e.stamp)
	w.number("hash", e.hash.version)
	w.value("hashvalue", e.hash.value)
	w.flag("hashloading", e.hash.loading)
	return w.String()
}

func (o operation) String() string {
	w := words{o.verb.String()}
	w.flag("secondary", o.field == secondary)
	w.number("version", o.version)
	w.value("value", o.value)
	w.flag("replace", o.replace)
	w.flag("passed", o.passed)
	w.number("stamp", o.stamp)
	return w.String()
}

func (r reply) String() string {
	if r.state == driver.StateUnknown {
		return r.outcome.String()
	}
	w := words{r.state.String()}
	w.flag("corrupt", r.corrupt)
	w.number("version", r.version)
	w.value("value", r.value)
	w.flag("loading", r.loading)
	w.flag("claimed", r.claimed)
	w.number("stamp", r.stamp)
	return w.String()
}

// parseTransition is the inverse of String for a canonical transition.
func parseTransition(line string) (transition, error) {
	parts := strings.Split(line, " | ")
	if len(parts) != 4 {
		return transition{}, fmt.Errorf("%d parts, want 4: %q", len(parts), line)
	}
	t := transition{
		before:    parseEntry(parts[0]),
		operation: parseOperation(parts[1]),
		after:     parseEntry(parts[2]),
		reply:     parseReply(parts[3]),
	}
	if back := t.String(); back != line {
		return t, fmt.Errorf("read %q as %q", line, back)
	}
	return t, nil
}

// attributes are the words of a part by name. Flags have the value "1".
type attributes map[string]string

func parseWords(part string) (head string, attrs attributes) {
	attrs = attributes{}
	head, rest, _ := strings.Cut(part, " ")
	for _, word := range strings.Fields(rest) {
		name, value, _ := strings.Cut(word, "=")
		attrs[name] = cmp.Or(value, "1")
	}
	return head, attrs
}

func (a attributes) flag(name string) bool { return a[name] != "" }

func (a attributes) number(name string) uint8 {
	n, _ := strconv.Atoi(a[name])
	return uint8(n)
}

func (a attributes) value(name string) payload {
	if a[name] == "" {
		return 0
	}
	return payloadOf(a[name][0]-'a', strings.HasSuffix(a[name], "~"))
}

func parseState(name string) driver.State {
	for s := driver.Empty; s <= driver.Held; s++ {
		if s.String() == name {
			return s
		}
	}
	return driver.StateUnknown
}

func parseEntry(part string) entry {
	state, a := parseWords(part)
	e := entry{
		state:   parseState(state),
		corrupt: a.flag("corrupt"),
		version: a.number("version"),
		primary: fragment{a.value("value"), a.flag("loading")},
		stamp:   a.number("stamp"),
		hash:    hash{a.number("hash"), fragment{a.value("hashvalue"), a.flag("hashloading")}},
	}
	for token := range 8 {
		if a.flag("token" + strconv.Itoa(token)) {
			e.tokens |= 1 << token
		}
	}
	return e
}

func parseOperation(part string) operation {
	name, a := parseWords(part)
	o := operation{
		verb:    verb(slices.Index(verbs[:], name)),
		version: a.number("version"),
		value:   a.value("value"),
		stamp:   a.number("stamp"),
		replace: a.flag("replace"),
		passed:  a.flag("passed"),
	}
	if a.flag("secondary") {
		o.field = secondary
	}
	return o
}

func parseReply(part string) reply {
	name, a := parseWords(part)
	r := reply{
		state:   parseState(name),
		corrupt: a.flag("corrupt"),
		version: a.number("version"),
		value:   a.value("value"),
		loading: a.flag("loading"),
		claimed: a.flag("claimed"),
		stamp:   a.number("stamp"),
	}
	for o := driver.Done; r.state == driver.StateUnknown && o <= driver.Refused; o++ {
		if o.String() == name {
			r.outcome = o
		}
	}
	return r
}
