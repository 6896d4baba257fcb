package model

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// The text form of a transition is one line of four parts, each a list of words:
//
//	before | operation | after | reply
//
// A word is a name, or name=value. Names that are not there are zero. The token of a
// hold, a release or an expiry is token0.

// String returns the line that says the transition.
func (t Transition) String() string {
	return fmt.Sprintf("%v | %v | %v | %v", t.Before, t.Operation, t.After, t.Reply)
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

func (w *words) value(name string, p Payload) {
	if p != 0 {
		*w = append(*w, name+"="+p.String())
	}
}

func (w words) String() string { return strings.Join(w, " ") }

// String is a letter for the content, with a tilde if the value is a prefix.
func (p Payload) String() string {
	s := string(rune('a' + p.Content()))
	if p.Short() {
		s += "~"
	}
	return s
}

// String returns the words that describe the entry.
func (e Entry) String() string {
	w := words{e.State.String()}
	w.flag("corrupt", e.Corrupt)
	w.number("version", e.Version)
	w.value("value", e.Primary.Value)
	w.flag("loading", e.Primary.Loading)
	for token := range 8 {
		w.flag("token"+strconv.Itoa(token), e.Tokens&(1<<token) != 0)
	}
	w.number("stamp", e.Stamp)
	w.number("hash", e.Hash.Version)
	w.value("hashvalue", e.Hash.Value)
	w.flag("hashloading", e.Hash.Loading)
	return w.String()
}

// String returns the words that describe the operation.
func (o Operation) String() string {
	w := words{o.Verb.String()}
	w.flag("secondary", o.Field == Secondary)
	w.number("version", o.Version)
	w.value("value", o.Value)
	w.flag("replace", o.Replace)
	w.flag("passed", o.Passed)
	w.number("stamp", o.Stamp)
	return w.String()
}

// String returns the words that describe the reply.
func (r Reply) String() string {
	if r.State == driver.StateUnknown {
		return r.Outcome.String()
	}
	w := words{r.State.String()}
	w.flag("corrupt", r.Corrupt)
	w.number("version", r.Version)
	w.value("value", r.Value)
	w.flag("loading", r.Loading)
	w.flag("claimed", r.Claimed)
	w.number("stamp", r.Stamp)
	return w.String()
}

// Parse returns the transitions of a text, one a line. Lines that begin with # are
// comments.
func Parse(text string) ([]Transition, error) {
	var all []Transition
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		t, err := parseTransition(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// parseTransition is the inverse of String for a canonical transition.
func parseTransition(line string) (Transition, error) {
	parts := strings.Split(line, " | ")
	if len(parts) != 4 {
		return Transition{}, fmt.Errorf("%d parts, want 4: %q", len(parts), line)
	}
	t := Transition{
		Before:    parseEntry(parts[0]),
		Operation: parseOperation(parts[1]),
		After:     parseEntry(parts[2]),
		Reply:     parseReply(parts[3]),
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

func (a attributes) value(name string) Payload {
	if a[name] == "" {
		return 0
	}
	return PayloadOf(a[name][0]-'a', strings.HasSuffix(a[name], "~"))
}

func parseState(name string) driver.State {
	for s := driver.Empty; s <= driver.Held; s++ {
		if s.String() == name {
			return s
		}
	}
	return driver.StateUnknown
}

func parseEntry(part string) Entry {
	state, a := parseWords(part)
	e := Entry{
		State:   parseState(state),
		Corrupt: a.flag("corrupt"),
		Version: a.number("version"),
		Primary: Fragment{a.value("value"), a.flag("loading")},
		Stamp:   a.number("stamp"),
		Hash:    Hash{a.number("hash"), Fragment{a.value("hashvalue"), a.flag("hashloading")}},
	}
	for token := range 8 {
		if a.flag("token" + strconv.Itoa(token)) {
			e.Tokens |= 1 << token
		}
	}
	return e
}

func parseOperation(part string) Operation {
	name, a := parseWords(part)
	o := Operation{
		Verb:    Verb(slices.Index(verbs[:], name)),
		Version: a.number("version"),
		Value:   a.value("value"),
		Stamp:   a.number("stamp"),
		Replace: a.flag("replace"),
		Passed:  a.flag("passed"),
	}
	if a.flag("secondary") {
		o.Field = Secondary
	}
	return o
}

func parseReply(part string) Reply {
	name, a := parseWords(part)
	r := Reply{
		State:   parseState(name),
		Corrupt: a.flag("corrupt"),
		Version: a.number("version"),
		Value:   a.value("value"),
		Loading: a.flag("loading"),
		Claimed: a.flag("claimed"),
		Stamp:   a.number("stamp"),
	}
	for o := driver.Done; r.State == driver.StateUnknown && o <= driver.Refused; o++ {
		if o.String() == name {
			r.Outcome = o
		}
	}
	return r
}
