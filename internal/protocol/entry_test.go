package protocol_test

import "github.com/graphcache/graphcache/driver"

// entry is the reference model of one entry of a driver.Cache, small enough to be
// compared and counted. Versions, values, stamps and tokens are small numbers.
//
// The values of the secondary fragment are apart from the entry proper, in a hash
// that is stamped with the version under which it was filled. That is how a cache
// works that cannot change both at once, and it allows more than one that can: in
// the model every method that concerns the secondary fragment comes in two steps.
type entry struct {
	state   driver.State
	corrupt bool // only if Empty
	version uint8
	primary fragment
	tokens  uint8 // a set: bit i is token i
	stamp   uint8
	hash    hash
}

// fragment is what an entry knows of one fragment: a value, a loading deadline, or
// neither.
type fragment struct {
	value   payload
	loading bool
}

// hash holds the secondary fragment. It says nothing unless its version is that of
// the entry.
type hash struct {
	version uint8
	fragment
}

// field names one of the two fragments of an entry.
type field uint8

const (
	primary field = iota
	secondary
)

// payload is a fragment's value, 0 if there is none. It holds what the store said
// and whether that is the whole of it or a prefix.
type payload uint8

const prefix payload = 0x80

func payloadOf(content uint8, short bool) payload {
	p := payload(content) + 1
	if short {
		p |= prefix
	}
	return p
}

func (p payload) content() uint8 { return uint8(p&^prefix) - 1 }
func (p payload) short() bool    { return p&prefix != 0 }

// The model's numbers as the values that the driver package has for them, made
// once because the search asks for them millions of times.
var (
	payloadBytes [256][]byte
	stamps       = [...]driver.Stamp{"", "stamp 1", "stamp 2", "stamp 3", "stamp 4"}
	corruption   = []byte("corrupt")
)

func init() {
	for p := 1; p < len(payloadBytes); p++ {
		payloadBytes[p] = []byte{byte(p)}
	}
}

const foreign = 255 // what the model did not make

func payloadFrom(value []byte) payload {
	switch {
	case value == nil:
		return 0
	case len(value) != 1:
		return foreign
	}
	return payload(value[0])
}

func stampFrom(s driver.Stamp) uint8 {
	for i := range stamps {
		if stamps[i] == s {
			return uint8(i)
		}
	}
	return foreign
}

// flaws are what a cache may do wrong. The zero flaws are a cache that keeps its
// contract.
type flaws struct {
	// singleOwner: a second hold replaces the first, and any release ends it.
	singleOwner bool
	// timidRelease: a release leaves an entry alone that is no longer held.
	timidRelease bool
	// fillAnyVersion: a fill does not look at the version.
	fillAnyVersion bool
}

// header is what every look at the entry shows, whatever the fragment.
func (e entry) header() driver.Entry {
	seen := driver.Entry{State: e.state, Version: uint64(e.version), Stamp: stamps[e.stamp]}
	if e.corrupt {
		seen.Corrupt = corruption
	}
	return seen
}

// with adds what is known of a fragment to what a header showed.
func with(header driver.Entry, f fragment) driver.Entry {
	header.Value = payloadBytes[f.value]
	header.Loading = f.loading
	return header
}

// under returns what the hash says to somebody who found that version in the entry.
func (h hash) under(version uint8) fragment {
	if h.version != version {
		return fragment{}
	}
	return h.fragment
}

// lookup reads a fragment in one step.
func (e entry) lookup(f field) driver.Entry {
	switch {
	case e.state != driver.Versioned:
		return e.header()
	case f == primary:
		return with(e.header(), e.primary)
	}
	return with(e.header(), e.hash.under(e.version))
}

// open is the first step of a claim: an entry that says nothing gets a version. One
// that cannot be read says nothing to those who name the bytes in it.
func (e entry) open(fresh uint8, replace bool) entry {
	if e.state == driver.Empty && (!e.corrupt || replace) {
		e.state, e.corrupt, e.version = driver.Versioned, false, fresh
	}
	return e
}

// claim gives the fragment a loading deadline if it needs one, and reports whether
// it did. passed says that a deadline that is there has passed.
func (f fragment) claim(passed bool) (fragment, bool) {
	if f.value != 0 || f.loading && !passed {
		return f, false
	}
	return fragment{loading: true}, true
}

// lease is the second step of a claim of the secondary fragment. The header is what
// the first step showed; the entry may have changed since.
func (h hash) lease(header driver.Entry, passed bool) (hash, driver.Entry) {
	version := uint8(header.Version)
	f, claimed := h.under(version).claim(passed)
	if claimed {
		h = hash{version, f}
	}
	seen := with(header, f)
	seen.Claimed = claimed
	return h, seen
}

// claim is a claim in one step.
func (e entry) claim(f field, fresh uint8, replace, passed bool) (entry, driver.Entry) {
	e = e.open(fresh, replace)
	if e.state != driver.Versioned {
		return e, e.header()
	}
	var seen driver.Entry
	if f == secondary {
		e.hash, seen = e.hash.lease(e.header(), passed)
		return e, seen
	}
	e.primary, seen.Claimed = e.primary.claim(passed)
	claimed := seen.Claimed
	seen = with(e.header(), e.primary)
	seen.Claimed = claimed
	return e, seen
}

// fill stores a value, or takes the loading deadline away if there is none.
func (e entry) fill(f field, version uint8, value payload, flaws flaws) (entry, driver.Outcome) {
	if f == secondary {
		return e.fillHash(version, value)
	}
	matches := e.version == version || flaws.fillAnyVersion
	if e.state != driver.Versioned || !matches {
		return e, driver.Refused
	}
	e.primary = e.primary.fill(value)
	return e, driver.Done
}

func (f fragment) fill(value payload) fragment {
	if value == 0 {
		return fragment{value: f.value}
	}
	return fragment{value: value}
}

// fillHash does not look at the entry: a stamp that is not the entry's makes the
// value invisible, and versions never come back.
func (e entry) fillHash(version uint8, value payload) (entry, driver.Outcome) {
	if value == 0 && e.hash.version != version {
		return e, driver.Done
	}
	e.hash = hash{version, e.hash.under(version).fill(value)}
	return e, driver.Done
}

func (e entry) hold(token uint8, flaws flaws) (entry, driver.Outcome) {
	if flaws.singleOwner {
		e.tokens = 0
	}
	e.tokens |= 1 << token
	e.state, e.corrupt, e.version, e.primary = driver.Held, false, 0, fragment{}
	return e, driver.Done
}

func (e entry) release(token, stamp uint8, flaws flaws) (entry, driver.Outcome) {
	outcome := driver.Refused
	if e.tokens&(1<<token) != 0 {
		outcome = driver.Done
	}
	if e.state != driver.Held && flaws.timidRelease {
		return e, outcome
	}
	e.stamp = max(e.stamp, stamp)
	e.tokens &^= 1 << token
	if flaws.singleOwner {
		e.tokens = 0
	}
	if e.tokens == 0 {
		e = e.empty()
	}
	return e, outcome
}

// expire is the deadline of a token.
func (e entry) expire(token uint8) entry {
	e.tokens &^= 1 << token
	if e.tokens == 0 {
		e = e.empty()
	}
	return e
}

// empty returns the entry without all that it says, but for the stamp.
func (e entry) empty() entry {
	return entry{state: driver.Empty, stamp: e.stamp, hash: e.hash}
}
