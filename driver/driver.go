// Package driver defines what graphcache asks of its backends: a durable
// [Store], a shared [Cache], and the [Counters] and [Log] that the samplers and
// streams add-ons stand on.
//
// The package is for authors of backends. It knows no type parameters and
// imports only the standard library; users of graphcache meet it only through
// the constructors of a backend. Package backendtest holds a conformance suite
// for each interface: a backend that does not pass it breaks the guarantees that
// graphcache documents.
//
// # Rules for every interface
//
// All methods are safe for concurrent use. Every method that waits takes a
// context and returns soon after it ends. Calls are batches: a result has one
// element for each element asked, in the same order, unless the method says
// otherwise. A slice or byte slice that is passed in belongs to the caller again
// when the call returns; one that is returned may be shared with the backend and
// is never modified by anyone. Backends return their own errors, wrapped around a
// sentinel of this package where one fits; graphcache adds the operation and the
// key.
package driver

import "errors"

// The sentinels that errors.Is finds through every layer.
var (
	// ErrNotFound is returned when an object or an edge does not exist.
	ErrNotFound = errors.New("graphcache: not found")
	// ErrNotUnique is returned when one result was asked for and several exist.
	ErrNotUnique = errors.New("graphcache: not unique")
	// ErrConflict is returned when a record changed between a read and the
	// write that depended on it, and retrying did not help.
	ErrConflict = errors.New("graphcache: conflict")
	// ErrExists is returned when a record to be created is there already.
	ErrExists = errors.New("graphcache: already exists")
	// ErrInvalid is returned when an argument or a value cannot be accepted:
	// an ID that is empty or too long, a string that is not UTF-8, a negative
	// limit. The write had no effect.
	ErrInvalid = errors.New("graphcache: invalid")
	// ErrSchema is returned when a schema has a mistake, or when a kind is used
	// with a graph whose schema does not have it.
	ErrSchema = errors.New("graphcache: schema")
	// ErrUnavailable is returned when a backend could not be reached and the
	// operation has had no effect.
	ErrUnavailable = errors.New("graphcache: unavailable")
	// ErrOverloaded is returned when the caller's context ended while its read
	// was still queued behind the limit on concurrent store loads.
	ErrOverloaded = errors.New("graphcache: overloaded")
	// ErrCursor is returned when a page is asked for with a cursor that is none of
	// its query.
	ErrCursor = errors.New("graphcache: bad cursor")
	// ErrUnknownOutcome is returned when a write was sent to the store and no
	// answer came back: it may have been applied, and may yet be.
	ErrUnknownOutcome = errors.New("graphcache: unknown outcome")
)

// Outcome is what a backend knows about one element of a batch. The zero Outcome
// is the careful one: nothing is known.
type Outcome uint8

const (
	// Unknown: the element may have been applied, may not have been, or may
	// yet be.
	Unknown Outcome = iota
	// Done: the element was applied.
	Done
	// Refused: the element was not applied and never will be. For a cache, its
	// condition did not hold; for a store, the call's error says why.
	Refused
	// Exists: a record with the same key is there already (Insert, Rekind), or one
	// with the same entry in a unique index (Insert, Replace, Modify).
	Exists
	// Missing: there is no record with that key (Replace, Delete, Rekind, Modify).
	Missing
	// Conflict: the record is there, but not in the state the write expects.
	Conflict
)

// String returns the outcome's name in lower case.
func (o Outcome) String() string {
	names := [...]string{"unknown", "done", "refused", "exists", "missing", "conflict"}
	if int(o) < len(names) {
		return names[o]
	}
	return "invalid"
}
