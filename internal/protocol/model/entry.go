package model

import "github.com/graphcache/graphcache/driver"

// Entry is the reference model of one entry of a driver.Cache, small enough to be
// compared and counted. Versions, values, stamps and tokens are small numbers.
//
// The values of the secondary fragment are apart from the entry proper, in a hash
// that is stamped with the version under which it was filled. That is how a cache
// works that cannot change both at once, and it allows more than one that can: in
// the model every method that concerns the secondary fragment comes in two steps.
type Entry struct {
	State   driver.State
	Corrupt bool // only if Empty
	Version uint8
	Primary Fragment
	Tokens  uint8 // a set: bit i is token i
	Stamp   uint8
	Hash    Hash
}

// Fragment is what an entry knows of one fragment: a value, a loading deadline, or
// neither.
type Fragment struct {
	Value   Payload
	Loading bool
}

// Hash holds the secondary fragment. It says nothing unless its version is that of
// the entry.
type Hash struct {
	Version uint8
	Fragment
}

// Field names one of the two fragments of an entry.
type Field uint8

const (
	// Primary is the fragment that is in the entry proper.
	Primary Field = iota
	// Secondary is the fragment that is in the hash.
	Secondary
)

// Payload is a fragment's value, 0 if there is none. It holds what the store said
// and whether that is the whole of it or a prefix.
type Payload uint8

const prefix Payload = 0x80

// PayloadOf returns the value for what the store said, or for a prefix of it.
func PayloadOf(content uint8, short bool) Payload {
	p := Payload(content) + 1
	if short {
		p |= prefix
	}
	return p
}

// Content is what the store said.
func (p Payload) Content() uint8 { return uint8(p&^prefix) - 1 }

// Short reports whether the value is a prefix.
func (p Payload) Short() bool { return p&prefix != 0 }

// Bytes returns the value as the driver package has it.
func (p Payload) Bytes() []byte { return payloadBytes[p] }

// The model's numbers as the values that the driver package has for them, made
// once because the search asks for them millions of times.
var (
	payloadBytes = func() (all [256][]byte) {
		for p := 1; p < len(all); p++ {
			all[p] = []byte{byte(p)}
		}
		return all
	}()
	stamps     = [...]driver.Stamp{"", "stamp 1", "stamp 2", "stamp 3", "stamp 4"}
	corruption = []byte("corrupt")
)

const foreign = 255 // what the model did not make

// PayloadFrom is the inverse of [Payload.Bytes]. Bytes that the model did not make
// become a value that it does not have.
func PayloadFrom(value []byte) Payload {
	switch {
	case value == nil:
		return 0
	case len(value) != 1:
		return foreign
	}
	return Payload(value[0])
}

// StampOf returns the stamp as the driver package has it.
func StampOf(n uint8) driver.Stamp { return stamps[n] }

// StampFrom is the inverse of [StampOf]. A stamp that the model did not make becomes
// one that it does not have.
func StampFrom(s driver.Stamp) uint8 {
	for i := range stamps {
		if stamps[i] == s {
			return uint8(i)
		}
	}
	return foreign
}

// Flaws are what a cache may do wrong. The zero Flaws are a cache that keeps its
// contract.
type Flaws struct {
	// singleOwner: a second hold replaces the first, and any release ends it.
	SingleOwner bool
	// timidRelease: a release leaves an entry alone that is no longer held.
	TimidRelease bool
	// fillAnyVersion: a fill does not look at the version.
	FillAnyVersion bool
}

// header is what every look at the entry shows, whatever the fragment.
func (e Entry) header() driver.Entry {
	seen := driver.Entry{State: e.State, Version: uint64(e.Version), Stamp: stamps[e.Stamp]}
	if e.Corrupt {
		seen.Corrupt = corruption
	}
	return seen
}

// With adds what is known of a fragment to what a header showed.
func With(header driver.Entry, f Fragment) driver.Entry {
	header.Value = payloadBytes[f.Value]
	header.Loading = f.Loading
	return header
}

// Under returns what the hash says to somebody who found that version in the entry.
func (h Hash) Under(version uint8) Fragment {
	if h.Version != version {
		return Fragment{}
	}
	return h.Fragment
}

// Lookup reads a fragment in one step.
func (e Entry) Lookup(f Field) driver.Entry {
	switch {
	case e.State != driver.Versioned:
		return e.header()
	case f == Primary:
		return With(e.header(), e.Primary)
	}
	return With(e.header(), e.Hash.Under(e.Version))
}

// open is the first step of a claim: an entry that says nothing gets a version. One
// that cannot be read says nothing to those who name the bytes in it.
func (e Entry) open(fresh uint8, replace bool) Entry {
	if e.State == driver.Empty && (!e.Corrupt || replace) {
		e.State, e.Corrupt, e.Version = driver.Versioned, false, fresh
	}
	return e
}

// claim gives the fragment a loading deadline if it needs one, and reports whether
// it did. passed says that a deadline that is there has passed.
func (f Fragment) claim(passed bool) (Fragment, bool) {
	if f.Value != 0 || f.Loading && !passed {
		return f, false
	}
	return Fragment{Loading: true}, true
}

// Lease is the second step of a claim of the secondary fragment. The header is what
// the first step showed; the entry may have changed since.
func (h Hash) Lease(header driver.Entry, passed bool) (Hash, driver.Entry) {
	version := uint8(header.Version)
	f, claimed := h.Under(version).claim(passed)
	if claimed {
		h = Hash{version, f}
	}
	seen := With(header, f)
	seen.Claimed = claimed
	return h, seen
}

// Claim is a claim in one step.
func (e Entry) Claim(f Field, fresh uint8, replace, passed bool) (Entry, driver.Entry) {
	e = e.open(fresh, replace)
	if e.State != driver.Versioned {
		return e, e.header()
	}
	var seen driver.Entry
	if f == Secondary {
		e.Hash, seen = e.Hash.Lease(e.header(), passed)
		return e, seen
	}
	e.Primary, seen.Claimed = e.Primary.claim(passed)
	claimed := seen.Claimed
	seen = With(e.header(), e.Primary)
	seen.Claimed = claimed
	return e, seen
}

// Fill stores a value, or takes the loading deadline away if there is none.
func (e Entry) Fill(f Field, version uint8, value Payload, flaws Flaws) (Entry, driver.Outcome) {
	if f == Secondary {
		return e.fillHash(version, value)
	}
	matches := e.Version == version || flaws.FillAnyVersion
	if e.State != driver.Versioned || !matches {
		return e, driver.Refused
	}
	e.Primary = e.Primary.fill(value)
	return e, driver.Done
}

func (f Fragment) fill(value Payload) Fragment {
	if value == 0 {
		return Fragment{Value: f.Value}
	}
	return Fragment{Value: value}
}

// fillHash does not look at the entry: a stamp that is not the entry's makes the
// value invisible, and versions never come back.
func (e Entry) fillHash(version uint8, value Payload) (Entry, driver.Outcome) {
	if value == 0 && e.Hash.Version != version {
		return e, driver.Done
	}
	e.Hash = Hash{version, e.Hash.Under(version).fill(value)}
	return e, driver.Done
}

// Hold adds a token, and drops the version and all that is under it.
func (e Entry) Hold(token uint8, flaws Flaws) (Entry, driver.Outcome) {
	if flaws.SingleOwner {
		e.Tokens = 0
	}
	e.Tokens |= 1 << token
	e.State, e.Corrupt, e.Version, e.Primary = driver.Held, false, 0, Fragment{}
	return e, driver.Done
}

// Release removes a token and leaves a stamp. The entry becomes empty unless other
// tokens stand, even if it had lost that one.
func (e Entry) Release(token, stamp uint8, flaws Flaws) (Entry, driver.Outcome) {
	outcome := driver.Refused
	if e.Tokens&(1<<token) != 0 {
		outcome = driver.Done
	}
	if e.State != driver.Held && flaws.TimidRelease {
		return e, outcome
	}
	e.Stamp = max(e.Stamp, stamp)
	e.Tokens &^= 1 << token
	if flaws.SingleOwner {
		e.Tokens = 0
	}
	if e.Tokens == 0 {
		e = e.empty()
	}
	return e, outcome
}

// Expire is the deadline of a token.
func (e Entry) Expire(token uint8) Entry {
	e.Tokens &^= 1 << token
	if e.Tokens == 0 {
		e = e.empty()
	}
	return e
}

// empty returns the entry without all that it says, but for the stamp.
func (e Entry) empty() Entry {
	return Entry{State: driver.Empty, Stamp: e.Stamp, Hash: e.Hash}
}
