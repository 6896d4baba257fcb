package plan

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxSteps is how much of a path an error shows. The path to a value that is
// nested too deeply would hide the message.
const maxSteps = 12

// fault is an error at a place in a value. The steps to the place are collected
// while the error is returned, innermost first, so that nothing is spent on them
// unless something is wrong.
type fault struct {
	steps []string
	err   error
}

func (f *fault) Error() string { return f.path() + ": " + f.err.Error() }

func (f *fault) Unwrap() error { return f.err }

// path returns the place, as in `address.lines[2]`.
func (f *fault) path() string {
	steps := slices.Clone(f.steps)
	slices.Reverse(steps)
	if len(steps) > maxSteps {
		steps = append(steps[:maxSteps], "…")
	}
	return strings.TrimPrefix(strings.Join(steps, ""), ".")
}

// at adds a step to the place where err happened.
func at(step string, err error) error {
	f, ok := err.(*fault)
	if !ok {
		f = &fault{err: err}
	}
	f.steps = append(f.steps, step)
	return f
}

func atField(name string, err error) error { return at("."+name, err) }

func atIndex(i int, err error) error { return at("["+strconv.Itoa(i)+"]", err) }

func atKey(key string, err error) error {
	const most = 40
	if len(key) > most {
		key = key[:most] + "…"
	}
	return at("["+key+"]", err)
}

// report makes the error that leaves the package: the sentinel, the kind, the
// field if the error has a place, and what is wrong there.
func report(sentinel error, owner string, err error) error {
	var f *fault
	if errors.As(err, &f) {
		return fmt.Errorf("%w: %s: field %q: %w", sentinel, owner, f.path(), f.err)
	}
	return fmt.Errorf("%w: %s: %w", sentinel, owner, err)
}
