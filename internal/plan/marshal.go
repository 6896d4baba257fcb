package plan

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"unicode/utf8"
)

// methods says by which methods a type, or a pointer to it, marshals itself.
type methods uint8

const (
	marshalText methods = 1 << iota
	unmarshalText
	marshalJSON
	unmarshalJSON

	textPair = marshalText | unmarshalText
	jsonPair = marshalJSON | unmarshalJSON
)

// methodNames are the names of the methods and of the ones they belong with.
var methodNames = []struct {
	method      methods
	has, misses string
}{
	{marshalText, "MarshalText", "UnmarshalText"},
	{unmarshalText, "UnmarshalText", "MarshalText"},
	{marshalJSON, "MarshalJSON", "UnmarshalJSON"},
	{unmarshalJSON, "UnmarshalJSON", "MarshalJSON"},
}

// methodsOf returns the methods of *t, which are those of t and more. There are
// none if t is a pointer or an interface.
func methodsOf(t reflect.Type) methods {
	var m methods
	for i, iface := range []reflect.Type{
		reflect.TypeFor[encoding.TextMarshaler](),
		reflect.TypeFor[encoding.TextUnmarshaler](),
		reflect.TypeFor[json.Marshaler](),
		reflect.TypeFor[json.Unmarshaler](),
	} {
		if reflect.PointerTo(t).Implements(iface) {
			m |= 1 << i
		}
	}
	return m
}

// pair reports whether the methods can write a value and read it.
func (m methods) pair() bool { return m&textPair == textPair || m&jsonPair == jsonPair }

// marshaled reports whether the type of n is kept by its own methods, and then
// plans it so. A type with half of what it takes is refused: its other half would
// be guesswork.
func (b *builder) marshaled(n *node, path string) bool {
	m := methodsOf(n.typ)
	switch {
	case m&textPair == textPair:
		n.form = textForm
	case m&jsonPair == jsonPair:
		n.form = jsonForm
	case m != 0:
		b.refuseHalf(n.typ, m, path)
	}
	n.nilable = m != 0 && hasNil(n.typ)
	return m != 0
}

func (b *builder) refuseHalf(t reflect.Type, m methods, path string) {
	for _, name := range methodNames {
		if m&name.method != 0 {
			b.refuse(path, "%v has %s but not %s: give it both or neither", t, name.has, name.misses)
			return
		}
	}
}

// panicError is the panic of a method that is not ours.
type panicError struct {
	method string
	value  any
}

func (e *panicError) Error() string { return fmt.Sprintf("%s panicked: %v", e.method, e.value) }

// guard turns a panic of the method into an error. Deferred.
func guard(method string, err *error) {
	if r := recover(); r != nil {
		*err = &panicError{method, r}
	}
}

// pointerTo returns a pointer to v, or to a copy of it, since a method may have
// either receiver.
func pointerTo(v reflect.Value) any {
	if !v.CanAddr() {
		c := reflect.New(v.Type()).Elem()
		c.Set(v)
		v = c
	}
	return v.Addr().Interface()
}

// marshal returns v as its methods write it.
func (f form) marshal(v reflect.Value) (string, error) {
	if f == textForm {
		return textOf(v)
	}
	return jsonOf(v)
}

func textOf(v reflect.Value) (s string, err error) {
	defer guard("MarshalText", &err)
	text, err := pointerTo(v).(encoding.TextMarshaler).MarshalText()
	if err != nil {
		return "", fmt.Errorf("MarshalText: %w", err)
	}
	if !utf8.Valid(text) {
		return "", errors.New("MarshalText: the text is not valid UTF-8")
	}
	return string(text), nil
}

func jsonOf(v reflect.Value) (s string, err error) {
	defer guard("MarshalJSON", &err)
	text, err := pointerTo(v).(json.Marshaler).MarshalJSON()
	if err != nil {
		return "", fmt.Errorf("MarshalJSON: %w", err)
	}
	if !json.Valid(text) || !utf8.Valid(text) {
		return "", errors.New("MarshalJSON: the text is not valid JSON")
	}
	return string(text), nil
}

// unmarshal sets v, which must be addressable, from what marshal returned. The
// methods get the bytes themselves: both interfaces oblige them to copy what they
// keep.
func (f form) unmarshal(text []byte, v reflect.Value) error {
	v.SetZero()
	text = text[:len(text):len(text)]
	if f == textForm {
		return readText(text, v)
	}
	return readJSON(text, v)
}

func readText(text []byte, v reflect.Value) (err error) {
	defer guard("UnmarshalText", &err)
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(text); err != nil {
		return fmt.Errorf("UnmarshalText: %w", err)
	}
	return nil
}

func readJSON(text []byte, v reflect.Value) (err error) {
	if !json.Valid(text) {
		return errors.New("the text is not valid JSON")
	}
	defer guard("UnmarshalJSON", &err)
	if err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(text); err != nil {
		return fmt.Errorf("UnmarshalJSON: %w", err)
	}
	return nil
}
