package memory

import (
	"math"
	"slices"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// moment is a reading of the cache's clock, or a deadline. What has a deadline
// lasts until the clock reads it.
type moment time.Duration

// add returns the moment d later, or the last one if there is none so late.
func (m moment) add(d time.Duration) moment {
	if d > 0 && m > math.MaxInt64-moment(d) {
		return math.MaxInt64
	}
	return m + moment(d)
}

// entry is what the cache knows about an anchor: Held if it has tokens, Versioned
// if it has a version, Empty otherwise. It never has both.
type entry struct {
	anchor string

	version uint64
	until   moment // the end of the version
	primary fragment
	// The secondary fragments by field. They share one deadline; values and
	// valueBytes are the number of those that have a value, and their size.
	secondary          map[string]fragment
	secondaryUntil     moment
	values, valueBytes int

	tokens []token

	stamp      driver.Stamp
	stampUntil moment

	// The entry's place in the cache, and the size that it is counted with.
	queue      *queue
	prev, next *entry
	accounted  int
}

// fragment is a value, or the deadline of the one who loads it.
type fragment struct {
	value   []byte // nil: none
	until   moment // the end of a primary value
	loading moment // 0: nobody is loading
}

type token struct {
	name  string
	until moment
}

// state returns the entry's state. A nil entry is Empty.
func (e *entry) state() driver.State {
	switch {
	case e == nil:
		return driver.Empty
	case len(e.tokens) > 0:
		return driver.Held
	case e.version != 0:
		return driver.Versioned
	}
	return driver.Empty
}

// void reports whether nothing would be lost with the entry.
func (e *entry) void() bool {
	return e.state() == driver.Empty && e.stamp == ""
}

// view returns the entry as seen through one of its fragments.
func (e *entry) view(field string, now moment) driver.Entry {
	seen := driver.Entry{State: e.state()}
	if e == nil {
		return seen
	}
	seen.Stamp = e.stamp
	if seen.State == driver.Versioned {
		f := e.fragment(field)
		seen.Version = e.version
		seen.Value = f.value
		seen.Loading = f.value == nil && f.loading > now
	}
	return seen
}

func (e *entry) fragment(field string) fragment {
	if field == "" {
		return e.primary
	}
	return e.secondary[field]
}

// setFragment stores f and keeps the count of the secondary values right.
func (e *entry) setFragment(field string, f fragment) {
	if field == "" {
		e.primary = f
		return
	}
	if e.secondary == nil {
		e.secondary = make(map[string]fragment)
	}
	if old := e.secondary[field].value; old != nil {
		e.values--
		e.valueBytes -= len(old)
	}
	if f.value != nil {
		e.values++
		e.valueBytes += len(f.value)
	}
	if f.value == nil && f.loading == 0 {
		delete(e.secondary, field)
		return
	}
	e.secondary[field] = f
}

// claim gives the fragment a loading deadline if it needs one.
func (e *entry) claim(field string, now, deadline moment) bool {
	f := e.fragment(field)
	if e.state() != driver.Versioned || f.value != nil || f.loading > now {
		return false
	}
	e.setFragment(field, fragment{loading: deadline})
	return true
}

// giveBack ends the loading of a fragment: nobody need wait for it.
func (e *entry) giveBack(field string) {
	f := e.fragment(field)
	f.loading = 0
	e.setFragment(field, f)
}

// fill stores a value under the version that is there, and reports whether it did.
// Without a value it ends the loading.
func (e *entry) fill(fill *driver.Fill, now moment) bool {
	if fill.Value == nil {
		e.giveBack(fill.Field)
		return true
	}
	if fill.Field != "" && e.fragment(fill.Field).value == nil && e.values >= fill.Limit {
		return false
	}
	until := now.add(fill.TTL)
	switch {
	case fill.Field == "":
		e.until = max(e.until, until) // the value needs its version
	case e.values == 0:
		e.secondaryUntil = until
	}
	value := make([]byte, len(fill.Value)) // not nil, even if empty
	copy(value, fill.Value)
	e.setFragment(fill.Field, fragment{value: value, until: until})
	return true
}

// hold adds a token, or gives it a new deadline, and drops the version.
func (e *entry) hold(name string, until moment) {
	e.dropVersion()
	for i := range e.tokens {
		if e.tokens[i].name == name {
			e.tokens[i].until = until
			return
		}
	}
	e.tokens = append(e.tokens, token{name: name, until: until})
}

// release removes a token. If it was lost, so was the protection that it gave:
// what was filled since may be stale and goes, unless other tokens stand, under
// which there is nothing to go.
func (e *entry) release(name string) driver.Outcome {
	before := len(e.tokens)
	e.tokens = slices.DeleteFunc(e.tokens, func(t token) bool { return t.name == name })
	e.dropVersion()
	if len(e.tokens) == before {
		return driver.Refused
	}
	return driver.Done
}

// keep remembers the later of two stamps, for the longer of two times.
func (e *entry) keep(stamp driver.Stamp, until moment) {
	if stamp == "" {
		return
	}
	e.stamp = max(e.stamp, stamp)
	e.stampUntil = max(e.stampUntil, until)
}

// standing returns the number of tokens that have not expired.
func (e *entry) standing(now moment) int {
	n := 0
	for _, t := range e.tokens {
		if t.until > now {
			n++
		}
	}
	return n
}

func (e *entry) dropVersion() {
	e.version, e.until = 0, 0
	e.primary = fragment{}
	e.secondary, e.secondaryUntil = nil, 0
	e.values, e.valueBytes = 0, 0
}

// expire drops what has reached its deadline and reports whether there was any.
func (e *entry) expire(now moment) bool {
	expired := false
	if e.version != 0 && e.until <= now {
		e.dropVersion()
		expired = true
	}
	if e.primary.value != nil && e.primary.until <= now {
		e.primary = fragment{}
		expired = true
	}
	if e.values > 0 && e.secondaryUntil <= now {
		e.expireSecondary(now)
		expired = true
	}
	if e.stamp != "" && e.stampUntil <= now {
		e.stamp, e.stampUntil = "", 0
		expired = true
	}
	before := len(e.tokens)
	e.tokens = slices.DeleteFunc(e.tokens, func(t token) bool { return t.until <= now })
	return expired || len(e.tokens) < before
}

// expireSecondary drops the secondary values and what is left of past loadings.
func (e *entry) expireSecondary(now moment) {
	for field, f := range e.secondary {
		if f.value != nil || f.loading <= now {
			e.setFragment(field, fragment{})
		}
	}
}

// What it costs, about, to keep an entry, a fragment and a token.
const (
	entryOverhead    = 320
	fragmentOverhead = 96
	tokenOverhead    = 64
)

// size estimates the memory that the entry takes.
func (e *entry) size() int {
	return entryOverhead + len(e.anchor) + len(e.stamp) + len(e.primary.value) +
		len(e.secondary)*fragmentOverhead + e.valueBytes + len(e.tokens)*tokenOverhead
}

// sizeWith estimates what the size would be with the fill's value.
func (e *entry) sizeWith(fill *driver.Fill) int {
	return e.size() + len(fill.Value) - len(e.fragment(fill.Field).value)
}
