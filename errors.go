package graphcache

import (
	"errors"
	"fmt"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// The errors that graphcache returns wrap one of these, found with errors.Is, or else
// what a backend, a function of the caller or the context has returned. The text of
// an error names the operation, the kind and the ID.
var (
	// ErrNotFound: the object or edge does not exist, or First and Only have no
	// result.
	ErrNotFound = driver.ErrNotFound
	// ErrNotUnique: Only has more than one result.
	ErrNotUnique = driver.ErrNotUnique
	// ErrConflict: the record changed under a write that depended on it, in each
	// of Options.MaxAttempts attempts; or its Version is not the one given.
	ErrConflict = driver.ErrConflict
	// ErrExists: there already is a record with that ID, an edge with those ends, or
	// an object with those values in a unique index, which the error names.
	ErrExists = driver.ErrExists
	// ErrInvalid: an argument or a value cannot be accepted. A single write had no
	// effect; of those that are several, the first ones may have been applied.
	ErrInvalid = driver.ErrInvalid
	// ErrSchema: the schema has a mistake, or does not have the kind.
	ErrSchema = driver.ErrSchema
	// ErrUnavailable: a backend could not be reached, or the graph is closed.
	// A single write had no effect then; of a Delete, CreateAll, UpdateAll,
	// ApplyAll, DeleteAll, Backfill or Repair, which are several, the first ones may
	// have been applied.
	ErrUnavailable = driver.ErrUnavailable
	// ErrOverloaded: the context ended while the read was queued behind
	// Options.MaxLoads. The context's error is wrapped too.
	ErrOverloaded = driver.ErrOverloaded
	// ErrCursor: Page was given a cursor that is not one, or not of its query.
	ErrCursor = driver.ErrCursor
	// ErrUnknownOutcome: the store did not answer a write, which may have been
	// applied or may yet be. Read the record to find out; for Options.HoldTTL
	// such reads go to the store.
	ErrUnknownOutcome = driver.ErrUnknownOutcome
)

// because returns an error of one sentinel with its cause. If the cause wraps a
// sentinel that contradicts it, it is quoted: whoever tests for one must not find both.
func because(sentinel error, what string, cause error) error {
	if cause == nil {
		cause = errors.New("no reason was given")
	}
	for _, other := range []error{ErrUnavailable, ErrUnknownOutcome} {
		if other != sentinel && errors.Is(cause, other) {
			return fmt.Errorf("%w: %s: %v", sentinel, what, cause)
		}
	}
	return fmt.Errorf("%w: %s: %w", sentinel, what, cause)
}

// opError is an error with the operation that failed.
type opError struct {
	op, kind string
	id, to   string // to is the far end of an edge
	err      error
}

// wrap adds the operation and the record to an error, once, where it leaves the
// package.
func wrap(err *error, op, kind, id string) {
	if *err != nil {
		*err = &opError{op: op, kind: kind, id: id, err: *err}
	}
}

// Error names the package once, then the operation, then the cause.
func (e *opError) Error() string {
	cause := strings.ReplaceAll(e.err.Error(), "graphcache: ", "")
	where := e.op
	if e.kind != "" {
		where += " " + e.kind
	}
	if e.id != "" {
		where += fmt.Sprintf(" %.80q", e.id)
	}
	if e.to != "" {
		where += fmt.Sprintf(" to %.80q", e.to)
	}
	return "graphcache: " + where + ": " + cause
}

func (e *opError) Unwrap() error { return e.err }
