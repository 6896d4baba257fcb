package plan

import (
	"errors"
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/tinylib/msgp/msgp"
)

// Decode sets the struct value v, which must be settable, from the encoding at
// the start of b, and returns what follows it. Every field of the plan is
// overwritten; after an error some are. Pointers, slices and maps are new, so
// that v shares no memory with b or with another value; its strings may share
// memory with each other, as the package says.
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
	return p.DecodeTo(b, unsafe.Pointer(v.UnsafeAddr()))
}

// DecodeTo is Decode for the struct that to points to, which must be of the type
// that the plan was made for: nothing checks it. Of a described plan, which was made
// for none, it is an error.
func (p *Plan) DecodeTo(b []byte, to unsafe.Pointer) (rest []byte, err error) {
	if len(p.root.parts) != len(p.root.fields) {
		return b, p.invalid(errors.New("a described plan has no type to decode into"))
	}
	end, err := p.decode(b, to)
	if err != nil {
		return b, p.invalid(err)
	}
	return b[end:], nil
}

// decode returns where the encoding of the struct ends.
func (p *Plan) decode(b []byte, to unsafe.Pointer) (end int, err error) {
	d := decoder{body: b, credit: 8 * len(b), shares: p.shares && len(b) <= maxShared}
	return d.record(p.root, 0, to)
}

// decoder decodes one value. Its methods read what is at the index i of the body,
// set the value that p points to, and return the index of what follows. They work
// by the layout of the nodes, without reflection but where it is said. None of them
// is called by way of a variable or an interface, so that the decoder need not be
// allocated.
type decoder struct {
	nesting
	body []byte
	// text is the body as a string, once a string shares it.
	text string
	// shares is set if strings are parts of text.
	shares bool
	// owed is how many bytes the values that are still to come in the containers
	// around take at the least. What is claimed now must be there besides:
	// otherwise every level of a recursive type could claim the same bytes. Each
	// container sets it anew before a value that may claim something.
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

// after returns the index of what msgp has left over.
func (d *decoder) after(rest []byte) int { return len(d.body) - len(rest) }

func (d *decoder) isNil(i int) bool { return i < len(d.body) && d.body[i] == mnil }

func (d *decoder) value(n *node, i int, p unsafe.Pointer) (int, error) {
	switch n.form {
	case boolForm:
		return d.bool(i, (*bool)(p))
	case intForm:
		return d.int(n, i, p)
	case uintForm:
		return d.uint(n, i, p)
	case floatForm:
		return d.float(n, i, p)
	case stringForm:
		return d.string(i, (*string)(p))
	case bytesForm:
		return d.bytes(i, (*[]byte)(p))
	case byteArrayForm:
		return d.byteArray(i, unsafe.Slice((*byte)(p), n.size))
	case timeForm:
		return d.time(i, (*time.Time)(p))
	case textForm, jsonForm:
		return d.marshaled(n, i, p)
	case pointerForm:
		return d.pointer(n, i, p)
	case listForm:
		return d.list(n, i, p)
	case arrayForm:
		return d.array(n, i, p)
	case tableForm:
		return d.table(n, i, p)
	default:
		return d.record(n, i, p)
	}
}

func (d *decoder) record(n *node, i int, p unsafe.Pointer) (_ int, err error) {
	if err := d.enter(); err != nil {
		return 0, err
	}
	if i, err = d.arrayHeader(i, len(n.parts)); err != nil {
		return 0, err
	}
	owed := d.owed
	for k := 0; ; k++ {
		if k, i = d.quick(n.parts, k, i, p); k == len(n.parts) {
			break
		}
		part := &n.parts[k]
		d.owed = owed + part.behind
		if i, err = d.value(part.node, i, unsafe.Add(p, part.offset)); err != nil {
			return 0, n.fields[k].fault(err)
		}
	}
	d.leave()
	return i, nil
}

// arrayHeader reads the header of an array that must have size elements.
func (d *decoder) arrayHeader(i, size int) (int, error) {
	if size < 16 && i < len(d.body) && d.body[i] == 0x90|byte(size) {
		return i + 1, nil
	}
	rest, err := arrayHeader(d.body[i:], size)
	if err != nil {
		return 0, err
	}
	return d.after(rest), nil
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

func (d *decoder) pointer(n *node, i int, p unsafe.Pointer) (_ int, err error) {
	if d.isNil(i) {
		*(*unsafe.Pointer)(p) = nil
		return i + 1, nil
	}
	if n.boxed {
		if err := d.enter(); err != nil {
			return 0, err
		}
		if i, err = d.arrayHeader(i, 1); err != nil {
			return 0, err
		}
	}
	if len(d.body)-i-d.owed < n.elem.least {
		return 0, corrupt(errLength)
	}
	to := n.elem.alloc()
	if i, err = d.value(n.elem, i, to); err != nil {
		return 0, err
	}
	*(*unsafe.Pointer)(p) = to
	if n.boxed {
		d.leave()
	}
	return i, nil
}

func (d *decoder) list(n *node, i int, p unsafe.Pointer) (int, error) {
	*(*[]byte)(p) = nil
	if d.isNil(i) {
		return i + 1, nil
	}
	b := d.body[i:]
	var count uint32
	var err error
	if len(b) > 0 && b[0]>>4 == 0x9 {
		count, b = uint32(b[0]&15), b[1:]
	} else if count, b, err = msgp.ReadArrayHeaderBytes(b); err != nil {
		return 0, corrupt(err)
	}
	if err := d.afford(b, count, n.elem.least, int(n.elem.width), 1); err != nil {
		return 0, err
	}
	if count == 0 {
		*(*[]byte)(p) = []byte{}
		return d.after(b), nil
	}
	return d.elements(n, int(count), d.after(b), n.elem.makeList(n.typ, int(count), p))
}

func (d *decoder) array(n *node, i int, p unsafe.Pointer) (int, error) {
	i, err := d.arrayHeader(i, n.size)
	if err != nil {
		return 0, err
	}
	return d.elements(n, n.size, i, p)
}

// elements sets count elements, of which p points to the first.
func (d *decoder) elements(n *node, count, i int, p unsafe.Pointer) (_ int, err error) {
	if err := d.enter(); err != nil {
		return 0, err
	}
	owed, row := d.owed, n.elem.row
	for k := 0; k < count; k++ {
		at := unsafe.Add(p, uintptr(k)*n.elem.width)
		if row != nil {
			var done int
			if done, i = d.quick(row[:min(len(row), count-k)], 0, i, at); done > 0 {
				k += done - 1
				continue
			}
		}
		d.owed = owed + (count-1-k)*n.elem.least
		if i, err = d.value(n.elem, i, at); err != nil {
			return 0, atIndex(k, err)
		}
	}
	d.leave()
	return i, nil
}

// afford is called before memory for count elements of the given size is
// allocated. Each element is objects msgpack objects and takes at least least
// bytes of b.
func (d *decoder) afford(b []byte, count uint32, least, size, objects int) error {
	most := max(0, len(b)-d.owed)
	if least > 1 {
		most /= least
	}
	if uint64(count) > uint64(most) {
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
