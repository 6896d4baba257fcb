package plan

import (
	"bytes"
	"errors"
	"reflect"
	"time"

	"github.com/tinylib/msgp/msgp"
)

// DecodeByReflection is Decode as it was before it had layouts: nothing in it knows
// where a field is, and what it does is what Decode must do.
func (p *Plan) DecodeByReflection(b []byte, v reflect.Value) (rest []byte, err error) {
	if err := p.check(v); err != nil {
		return b, err
	}
	if !v.CanSet() {
		return b, p.invalid(errors.New("the value to decode into cannot be set"))
	}
	d := reflector{credit: 8 * len(b)}
	rest, err = d.record(p.root, b, v)
	if err != nil {
		return b, p.invalid(err)
	}
	return rest, nil
}

type reflector struct {
	nesting
	owed, credit int
}

func (d *reflector) value(n *node, b []byte, v reflect.Value) ([]byte, error) {
	switch n.form {
	case boolForm:
		return decodeBool(b, v)
	case intForm:
		return decodeInt(b, v)
	case uintForm:
		return decodeUint(b, v)
	case floatForm:
		return decodeFloat(b, v)
	case stringForm:
		return decodeString(b, v)
	case bytesForm:
		return decodeBytes(b, v)
	case byteArrayForm:
		return decodeByteArray(b, v)
	case timeForm:
		return decodeTime(b, v)
	case textForm, jsonForm:
		return decodeMarshaled(n, b, v)
	case pointerForm:
		return d.pointer(n, b, v)
	case listForm:
		return d.list(n, b, v)
	case arrayForm:
		return d.array(n, b, v)
	case tableForm:
		return d.table(n, b, v)
	default:
		return d.record(n, b, v)
	}
}

func (d *reflector) record(n *node, b []byte, v reflect.Value) ([]byte, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	b, err := arrayHeader(b, len(n.fields))
	if err != nil {
		return nil, err
	}
	d.owed += n.least - 1
	for i := range n.fields {
		f := &n.fields[i]
		d.owed -= f.node.least
		if b, err = d.value(f.node, b, f.in(v)); err != nil {
			if f.inline {
				return nil, err
			}
			return nil, atField(f.name, err)
		}
	}
	return b, nil
}

func (d *reflector) pointer(n *node, b []byte, v reflect.Value) (_ []byte, err error) {
	if isNil(b) {
		v.SetZero()
		return b[1:], nil
	}
	if n.boxed {
		if err := d.enter(); err != nil {
			return nil, err
		}
		defer d.leave()
		if b, err = arrayHeader(b, 1); err != nil {
			return nil, err
		}
	}
	if len(b)-d.owed < n.elem.least {
		return nil, corrupt(errLength)
	}
	p := reflect.New(n.elem.typ)
	if b, err = d.value(n.elem, b, p.Elem()); err != nil {
		return nil, err
	}
	v.Set(p)
	return b, nil
}

func (d *reflector) list(n *node, b []byte, v reflect.Value) ([]byte, error) {
	v.SetZero()
	if isNil(b) {
		return b[1:], nil
	}
	count, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return nil, corrupt(err)
	}
	if err := d.afford(b, count, n.elem.least, int(n.elem.typ.Size()), 1); err != nil {
		return nil, err
	}
	if count == 0 {
		v.Set(reflect.MakeSlice(n.typ, 0, 0))
		return b, nil
	}
	v.Grow(int(count))
	v.SetLen(int(count))
	return d.elements(n, int(count), b, v)
}

func (d *reflector) array(n *node, b []byte, v reflect.Value) ([]byte, error) {
	b, err := arrayHeader(b, n.size)
	if err != nil {
		return nil, err
	}
	return d.elements(n, n.size, b, v)
}

func (d *reflector) elements(n *node, count int, b []byte, v reflect.Value) ([]byte, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	d.owed += count * n.elem.least
	for i := range count {
		d.owed -= n.elem.least
		var err error
		if b, err = d.value(n.elem, b, v.Index(i)); err != nil {
			return nil, atIndex(i, err)
		}
	}
	return b, nil
}

func (d *reflector) table(n *node, b []byte, v reflect.Value) ([]byte, error) {
	v.SetZero()
	if isNil(b) {
		return b[1:], nil
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	count, b, err := msgp.ReadMapHeaderBytes(b)
	if err != nil {
		return nil, corrupt(err)
	}
	key, x := reflect.New(n.typ.Key()).Elem(), reflect.New(n.elem.typ).Elem()
	size := tableSlack * int(key.Type().Size()+x.Type().Size()+1)
	if err := d.afford(b, count, 1+n.elem.least, size, 2); err != nil {
		return nil, err
	}
	v.Set(reflect.MakeMapWithSize(n.typ, int(count)))
	if b, err = d.entries(n, int(count), b, v, key, x); err != nil {
		return nil, err
	}
	if v.Len() != int(count) {
		return nil, corrupt(errTwins)
	}
	return b, nil
}

// entries reads the entries of a map by way of key and x, which are used for each
// of them again.
func (d *reflector) entries(n *node, count int, b []byte, v, key, x reflect.Value) ([]byte, error) {
	var last []byte
	d.owed += count * (1 + n.elem.least)
	for i := range count {
		d.owed -= 1 + n.elem.least
		name, rest, err := msgp.ReadStringZC(b)
		if err != nil {
			return nil, corrupt(err)
		}
		if i > 0 && bytes.Compare(last, name) >= 0 {
			return nil, corrupt(errOrder)
		}
		if err := n.keys.set(name, key); err != nil {
			return nil, err
		}
		if b, err = d.value(n.elem, rest, x); err != nil {
			return nil, atKey(string(name), err)
		}
		if err := setEntry(v, key, x); err != nil {
			return nil, err
		}
		last = name
	}
	return b, nil
}

// afford is called before memory for count elements of the given size is
// allocated. Each element is objects msgpack objects and takes at least least
// bytes of b.
func (d *reflector) afford(b []byte, count uint32, least, size, objects int) error {
	if uint64(count) > uint64(max(0, len(b)-d.owed)/least) {
		return corrupt(errLength)
	}
	if cost := int(count) * size; cost <= d.credit {
		d.credit -= cost
		return nil
	}
	_, err := skim(b, int(count)*objects)
	return err
}

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
