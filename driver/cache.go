package driver

import (
	"context"
	"time"
)

// Cache is the shared cache. It keeps one entry for each anchor, the unit of
// invalidation, and in it the values of the fragments that depend on that anchor.
// The methods are the steps of graphcache's coherence protocol; the cache keeps
// the rules below, and graphcache does the rest.
//
// An entry is in one of three states:
//
//	Empty      nothing is known; maybe a stamp is left
//	Versioned  a version, the primary value if it was filled, any number of
//	           secondary values, and for each fragment maybe a loading deadline
//	Held       the tokens of the writers at work, each with a deadline
//
// The rules:
//
//  1. Every method changes one entry atomically. Nothing is atomic across
//     entries.
//  2. A value is only ever returned together with the version under which it was
//     filled, while the entry still had that version.
//  3. Hold drops the version, and with it every value and loading deadline.
//  4. While a token stands the entry is Held: Claim and Fill do nothing.
//  5. Deadlines are set and judged by the cache's own clock. A token past its
//     deadline counts for nothing, and the entry lives until the last deadline.
//  6. Values and versions may vanish at any time. A token must not vanish before
//     its deadline: a backend that cannot promise this says so in its
//     documentation.
//  7. Every method is idempotent: applying a batch twice is the same as once.
//
// A batch may fail in parts. The error then says why, and the elements that were
// not confirmed have State or Outcome Unknown; if the result is nil, that is all
// of them. An element that is Unknown may have been applied, or be applied later.
type Cache interface {
	// Lookup reads one fragment for each element. It changes nothing.
	Lookup(ctx context.Context, lookups []Lookup) ([]Entry, error)

	// Claim asks for the right to load a fragment. It returns the entry as it
	// stands after the call, with Claimed set if the caller is to load:
	//
	//   Empty, or corrupt with exactly the bytes in Replace:
	//        the entry becomes Versioned with Version, keeping its stamp, and the
	//        fragment gets a loading deadline. Claimed.
	//   Versioned, the fragment has no value and no loading deadline that is
	//   still to come:
	//        it gets a loading deadline under the version that is there. Claimed.
	//   otherwise:
	//        nothing changes; the answer is that of Lookup.
	//
	// Claimed only spares the store; nothing depends on a single claimant.
	Claim(ctx context.Context, claims []Claim) ([]Entry, error)

	// Fill stores values. A primary value is stored (Done) if the entry is
	// Versioned with the fill's version, whether or not it has a value already;
	// otherwise the fill is Refused. A secondary value under another version
	// than the entry's is Refused, or stored where rule 2 keeps it from ever
	// being returned; it may then drive out values that could be. A secondary
	// value may also be Refused because the anchor has Limit of them. A Fill
	// whose Value is nil, or that is Refused although the version is right,
	// removes the fragment's loading deadline under that version: nobody need
	// wait for what is not coming.
	Fill(ctx context.Context, fills []Fill) ([]Outcome, error)

	// Hold adds the token to the entry, whatever its state, and makes it Held.
	// A token that is there already gets the new deadline. The stamp is kept, and
	// lives as long as it would have without the hold. The outcome is Refused, with
	// an error, if it is certain that nothing was done and nothing will be; the
	// caller then need not release.
	Hold(ctx context.Context, holds []Hold) ([]Outcome, error)

	// Release removes the token and remembers the stamp if it is later than the
	// one that is there. If no other token stands the entry becomes Empty, and
	// the stamp stays for KeepStamp or longer. The outcome is Done if the token
	// was there; Refused if the entry had lost it, and then the entry is made
	// Empty all the same unless other tokens stand: what was filled meanwhile
	// may be stale.
	Release(ctx context.Context, releases []Release) ([]Outcome, error)

	// Close releases the cache's resources. Calls that are under way may fail.
	Close(ctx context.Context) error
}

// State is the state of a cache entry.
type State uint8

const (
	// StateUnknown: the cache did not answer.
	StateUnknown State = iota
	// Empty, Versioned and Held are explained at [Cache].
	Empty
	Versioned
	Held
)

// String returns the state's name in lower case.
func (s State) String() string {
	names := [...]string{"unknown", "empty", "versioned", "held"}
	if int(s) < len(names) {
		return names[s]
	}
	return "invalid"
}

// Lookup names a fragment: an anchor, and a field that is empty for the anchor's
// primary fragment. Both are arbitrary bytes, at most 32 KiB each, mostly some hundred
// bytes.
type Lookup struct {
	Anchor string
	Field  string
}

// Entry is a cache entry as seen through one of its fragments.
type Entry struct {
	State State
	// Version is the entry's version when it is Versioned, never 0 then.
	Version uint64
	// Value is the fragment's value under that version, nil if it has none.
	Value []byte
	// Loading: the fragment has no value but a loading deadline. It may have
	// passed; Claim judges that.
	Loading bool
	// Claimed: the caller of Claim is to load the fragment.
	Claimed bool
	// Stamp is what a load must at least see. It may be set in any state.
	Stamp Stamp
	// Corrupt is the raw content of an entry that the cache could not parse;
	// its State is Empty.
	Corrupt []byte
}

// Claim is a request to load a fragment.
type Claim struct {
	Anchor string
	Field  string
	// Version is a fresh random number, not 0, for an entry that has none.
	Version uint64
	// Lease is how long the loading deadline lies ahead.
	Lease time.Duration
	// TTL is how long the entry lives if the claim makes it Versioned.
	TTL time.Duration
	// Replace is Entry.Corrupt of the look-up, or nil.
	Replace []byte
}

// Fill is a value to be stored.
type Fill struct {
	Anchor  string
	Field   string
	Version uint64
	Value   []byte
	// TTL is how long the value lives. All secondary values of an anchor expire
	// together, at the latest TTL after the first of them was stored: a later
	// one does not prolong their life.
	TTL time.Duration
	// Limit is the number of secondary values that the anchor may have.
	Limit int
}

// Hold is a writer's mark on an anchor.
type Hold struct {
	Anchor string
	// Token is unique to the write, at most 64 bytes.
	Token string
	// TTL is how long the token's deadline lies ahead.
	TTL time.Duration
}

// Release ends a [Hold].
type Release struct {
	Anchor    string
	Token     string
	Stamp     Stamp
	KeepStamp time.Duration
}
