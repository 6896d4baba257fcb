package plan

import (
	"math"
	"reflect"
	"time"
	"unsafe"

	"github.com/tinylib/msgp/msgp"
)

// The methods in this file each decode a value that holds no others, whatever its
// encoding: what is usual and part of a record or of a list does not come here, see
// quick.

func isNil(b []byte) bool { return len(b) > 0 && b[0] == mnil }

const mnil = 0xc0 // nil in msgpack

func (d *decoder) bool(i int, p *bool) (int, error) {
	x, b, err := msgp.ReadBoolBytes(d.body[i:])
	if err != nil {
		return 0, corrupt(err)
	}
	*p = x
	return d.after(b), nil
}

func (d *decoder) int64(i int) (int64, int, error) {
	x, b, err := msgp.ReadInt64Bytes(d.body[i:])
	if err != nil {
		return 0, 0, corrupt(err)
	}
	return x, d.after(b), nil
}

func (d *decoder) int(n *node, i int, p unsafe.Pointer) (int, error) {
	x, i, err := d.int64(i)
	if err != nil {
		return 0, err
	}
	if !fits(uint64(x), n.width, true) {
		return 0, corrupt(errRange)
	}
	store(n.width, p, uint64(x))
	return i, nil
}

func (d *decoder) uint(n *node, i int, p unsafe.Pointer) (int, error) {
	x, b, err := msgp.ReadUint64Bytes(d.body[i:])
	if err != nil {
		return 0, corrupt(err)
	}
	if !fits(x, n.width, false) {
		return 0, corrupt(errRange)
	}
	store(n.width, p, x)
	return d.after(b), nil
}

// fits reports whether an integer of the given width can be x.
func fits(x uint64, width uintptr, signed bool) bool {
	shift := 64 - 8*width
	if signed {
		return int64(x)<<shift>>shift == int64(x)
	}
	return x<<shift>>shift == x
}

// store sets the integer of the given width that p points to, signed or not.
func store(width uintptr, p unsafe.Pointer, x uint64) {
	switch width {
	case 8:
		*(*uint64)(p) = x
	case 4:
		*(*uint32)(p) = uint32(x)
	case 2:
		*(*uint16)(p) = uint16(x)
	default:
		*(*uint8)(p) = uint8(x)
	}
}

func (d *decoder) float64(i int, p *float64) (int, error) {
	x, b, err := msgp.ReadFloat64Bytes(d.body[i:])
	if err != nil {
		return 0, corrupt(err)
	}
	*p = x
	return d.after(b), nil
}

func (d *decoder) float(n *node, i int, p unsafe.Pointer) (int, error) {
	if n.width == 8 {
		return d.float64(i, (*float64)(p))
	}
	var x float64
	i, err := d.float64(i, &x)
	if err != nil {
		return 0, err
	}
	if !fitsFloat32(x) {
		return 0, corrupt(errRange)
	}
	*(*float32)(p) = float32(x)
	return i, nil
}

// fitsFloat32 reports whether x is in the range of float32, rounded or not, or
// infinite, or NaN.
func fitsFloat32(x float64) bool { return !(math.Abs(x) > math.MaxFloat32) || math.IsInf(x, 0) }

func (d *decoder) bytes(i int, p *[]byte) (int, error) {
	if d.isNil(i) {
		*p = nil
		return i + 1, nil
	}
	x, b, err := msgp.ReadBytesZC(d.body[i:])
	if err != nil {
		return 0, corrupt(err)
	}
	own := make([]byte, len(x))
	copy(own, x)
	*p = own
	return d.after(b), nil
}

func (d *decoder) byteArray(i int, p []byte) (int, error) {
	x, b, err := msgp.ReadBytesZC(d.body[i:])
	if err != nil {
		return 0, corrupt(err)
	}
	if len(x) != len(p) {
		return 0, corrupt(errArity)
	}
	copy(p, x)
	return d.after(b), nil
}

func (d *decoder) time(i int, p *time.Time) (int, error) {
	ms, i, err := d.int64(i)
	if err != nil {
		return 0, err
	}
	if ms < firstMilli || ms > lastMilli {
		return 0, corrupt(errRange)
	}
	*p = time.UnixMilli(ms).UTC()
	return i, nil
}

// marshaled reads the text of a type that unmarshals itself. A nil is its zero
// value, whether or not the type has a nil: no text was ever made for it. The value
// is handed to the methods by reflection.
func (d *decoder) marshaled(n *node, i int, p unsafe.Pointer) (int, error) {
	v := reflect.NewAt(n.typ, p).Elem()
	if d.isNil(i) {
		v.SetZero()
		return i + 1, nil
	}
	from, end, err := d.span(i)
	if err != nil {
		return 0, err
	}
	return end, n.form.unmarshal(d.body[from:end], v)
}
