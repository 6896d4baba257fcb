package plan

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/tinylib/msgp/msgp"
)

// Decode sets the struct value v, which must be settable, from the encoding at
// the start of b, and returns what follows it. Every field of the plan is
// overwritten; after an error some are. Pointers, slices and maps are new, so
// that v shares no memory with b or with another value.
//
// Any b is safe: Decode does not panic, nor do methods that unmarshal a field
// make it, and a length in b earns no more than eight times len(b) of memory before
// its elements are seen to be there. Elements that are there take what Go needs for
// them: 8 bytes for a byte of b in numbers, 16 in empty strings, 24 in nil slices,
// some hundred in maps with one small entry. The error wraps driver.ErrInvalid.
func (p *Plan) Decode(b []byte, v reflect.Value) (rest []byte, err error) {
	if err := p.check(v); err != nil {
		return b, err
	}
	if !v.CanSet() {
		return b, p.invalid(errors.New("the value to decode into cannot be set"))
	}
	d := decoder{credit: 8 * len(b)}
	rest, err = d.record(p.root, b, v)
	if err != nil {
		return b, p.invalid(err)
	}
	return rest, nil
}

// decoder decodes one value.
type decoder struct {
	nesting
	// owed is how many bytes the values that are still to come in the containers
	// around take at the least. What is claimed now must be there besides:
	// otherwise every level of a recursive type could claim the same bytes.
	owed int
	// credit is how many bytes may be allocated for lists and tables on no more
	// than the word of their lengths. Beyond it the elements are counted first.
	credit int
}

// corrupt makes the error for an encoding that Encode does not make.
func corrupt(err error) error { return fmt.Errorf("the encoding is corrupt: %w", err) }

var (
	errLength = errors.New("it is shorter than it claims")
	errArity  = errors.New("an array has the wrong length")
	errRange  = errors.New("a number is out of range")
	errOrder  = errors.New("the keys of a map are not in order")
)

func (d *decoder) value(n *node, b []byte, v reflect.Value) ([]byte, error) {
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

func (d *decoder) record(n *node, b []byte, v reflect.Value) ([]byte, error) {
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

// arrayHeader reads the header of an array that must have size elements.
func arrayHeader(b []byte, size int) ([]byte, error) {
	count, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return nil, corrupt(err)
	}
	if uint64(count) != uint64(size) {
		return nil, corrupt(errArity)
	}
	return b, nil
}

func (d *decoder) pointer(n *node, b []byte, v reflect.Value) (_ []byte, err error) {
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

func (d *decoder) list(n *node, b []byte, v reflect.Value) ([]byte, error) {
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

func (d *decoder) array(n *node, b []byte, v reflect.Value) ([]byte, error) {
	b, err := arrayHeader(b, n.size)
	if err != nil {
		return nil, err
	}
	return d.elements(n, n.size, b, v)
}

func (d *decoder) elements(n *node, count int, b []byte, v reflect.Value) ([]byte, error) {
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

func (d *decoder) table(n *node, b []byte, v reflect.Value) ([]byte, error) {
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
		return nil, corrupt(errors.New("two keys of a map are the same"))
	}
	return b, nil
}

// tableSlack is how many slots a map may make for each of its entries.
const tableSlack = 3

// entries reads the entries of a map by way of key and x, which are used for each
// of them again.
func (d *decoder) entries(n *node, count int, b []byte, v, key, x reflect.Value) ([]byte, error) {
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

// setEntry is v[key] = x. A key type that unmarshals itself may make a key that
// cannot be hashed.
func setEntry(v, key, x reflect.Value) (err error) {
	defer guard("hashing a map key", &err)
	v.SetMapIndex(key, x)
	return nil
}

// afford is called before memory for count elements of the given size is
// allocated. Each element is objects msgpack objects and takes at least least
// bytes of b.
func (d *decoder) afford(b []byte, count uint32, least, size, objects int) error {
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

// skim reads msgpack objects without keeping anything, not even a stack, and
// returns what follows them.
func skim(b []byte, objects int) ([]byte, error) {
	for ; objects > 0; objects-- {
		var children uint32
		var err error
		switch msgp.NextType(b) {
		case msgp.ArrayType:
			children, b, err = msgp.ReadArrayHeaderBytes(b)
			objects += int(children)
		case msgp.MapType:
			children, b, err = msgp.ReadMapHeaderBytes(b)
			objects += 2 * int(children)
		default:
			b, err = msgp.Skip(b)
		}
		if err != nil {
			return nil, corrupt(err)
		}
		if uint64(children) > uint64(len(b)) {
			return nil, corrupt(errLength)
		}
	}
	return b, nil
}
