package plan

import (
	"reflect"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// The functions in this file each decode a value that holds no others.

func isNil(b []byte) bool { return len(b) > 0 && b[0] == mnil }

const mnil = 0xc0 // nil in msgpack

func decodeBool(b []byte, v reflect.Value) ([]byte, error) {
	x, b, err := msgp.ReadBoolBytes(b)
	if err != nil {
		return nil, corrupt(err)
	}
	v.SetBool(x)
	return b, nil
}

func decodeInt(b []byte, v reflect.Value) ([]byte, error) {
	i, b, err := msgp.ReadInt64Bytes(b)
	if err != nil {
		return nil, corrupt(err)
	}
	if v.OverflowInt(i) {
		return nil, corrupt(errRange)
	}
	v.SetInt(i)
	return b, nil
}

func decodeUint(b []byte, v reflect.Value) ([]byte, error) {
	u, b, err := msgp.ReadUint64Bytes(b)
	if err != nil {
		return nil, corrupt(err)
	}
	if v.OverflowUint(u) {
		return nil, corrupt(errRange)
	}
	v.SetUint(u)
	return b, nil
}

func decodeFloat(b []byte, v reflect.Value) ([]byte, error) {
	f, b, err := msgp.ReadFloat64Bytes(b)
	if err != nil {
		return nil, corrupt(err)
	}
	if v.OverflowFloat(f) {
		return nil, corrupt(errRange)
	}
	v.SetFloat(f)
	return b, nil
}

func decodeString(b []byte, v reflect.Value) ([]byte, error) {
	s, b, err := msgp.ReadStringZC(b)
	if err != nil {
		return nil, corrupt(err)
	}
	v.SetString(string(s))
	return b, nil
}

func decodeBytes(b []byte, v reflect.Value) ([]byte, error) {
	if isNil(b) {
		v.SetZero()
		return b[1:], nil
	}
	x, b, err := msgp.ReadBytesZC(b)
	if err != nil {
		return nil, corrupt(err)
	}
	v.SetBytes(append(make([]byte, 0, len(x)), x...))
	return b, nil
}

func decodeByteArray(b []byte, v reflect.Value) ([]byte, error) {
	x, b, err := msgp.ReadBytesZC(b)
	if err != nil {
		return nil, corrupt(err)
	}
	if len(x) != v.Len() {
		return nil, corrupt(errArity)
	}
	copy(v.Bytes(), x)
	return b, nil
}

func decodeTime(b []byte, v reflect.Value) ([]byte, error) {
	ms, b, err := msgp.ReadInt64Bytes(b)
	if err != nil {
		return nil, corrupt(err)
	}
	if ms < firstMilli || ms > lastMilli {
		return nil, corrupt(errRange)
	}
	*v.Addr().Interface().(*time.Time) = time.UnixMilli(ms).UTC()
	return b, nil
}

// decodeMarshaled reads the text of a type that unmarshals itself. A nil is its
// zero value, whether or not the type has a nil: no text was ever made for it.
func decodeMarshaled(n *node, b []byte, v reflect.Value) ([]byte, error) {
	if isNil(b) {
		v.SetZero()
		return b[1:], nil
	}
	text, b, err := msgp.ReadStringZC(b)
	if err != nil {
		return nil, corrupt(err)
	}
	if err := n.form.unmarshal(text, v); err != nil {
		return nil, err
	}
	return b, nil
}
