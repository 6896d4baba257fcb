package plan

import (
	"encoding/binary"
	"math"
	"time"
	"unsafe"
)

// quick says how a field is decoded on the quick way, which is for the scalars that
// most fields are.
type quick uint8

const (
	quickBool quick = iota + 1
	quickInt
	quickUint
	quickFloat
	quickString
	quickTime
)

// First bytes of objects in msgpack.
const (
	mfalse = 0xc2
	mtrue  = 0xc3
	mfloat = 0xcb // of 64 bits
	muint8 = 0xcc
	mint8  = 0xd0
	mint64 = 0xd3
	mstr8  = 0xd9
)

// quickOf returns the quick way for a node, 0 if there is none.
func quickOf(n *node) quick {
	switch n.form {
	case boolForm:
		return quickBool
	case intForm:
		return quickInt
	case uintForm:
		return quickUint
	case floatForm:
		return quickFloat
	case stringForm:
		return quickString
	case timeForm:
		return quickTime
	}
	return 0
}

// quick decodes the fields from the k-th on until it comes to one that has no quick
// way, or whose encoding is unusual, or wrong, or too near to the end of the body. It
// returns which one this is, for [decoder.value], and where its encoding starts. It is
// one function because a call for each field would take as long as the field.
func (d *decoder) quick(parts []part, k, i int, p unsafe.Pointer) (int, int) {
	body := d.body
	for ; k < len(parts) && i < len(body); k++ {
		to, c := unsafe.Add(p, parts[k].offset), body[i]
		switch parts[k].quick {
		case quickBool:
			if c != mfalse && c != mtrue {
				return k, i
			}
			*(*bool)(to) = c == mtrue
			i++
		case quickInt, quickUint:
			signed, size := parts[k].quick == quickInt, 0
			x := uint64(int8(c))
			if c >= 0x80 && !(c >= 0xe0 && signed) {
				// The first bytes of the eight sorts are in order: unsigned and
				// signed, of one, two, four and eight bytes each.
				sort := c - muint8
				if sort > mint64-muint8 || len(body)-i < 9 {
					return k, i
				}
				size = 1 << (sort & 3)
				if x = binary.BigEndian.Uint64(body[i+1 : i+9]); sort < mint8-muint8 {
					x >>= 64 - 8*size
				} else {
					x = uint64(int64(x) >> (64 - 8*size))
				}
				if int64(x) < 0 && signed != (sort >= mint8-muint8) {
					return k, i
				}
			}
			if width := parts[k].width; width == 8 {
				*(*uint64)(to) = x
			} else if fits(x, width, signed) {
				store(width, to, x)
			} else {
				return k, i
			}
			i += 1 + size
		case quickFloat:
			if c != mfloat || len(body)-i < 9 {
				return k, i
			}
			x := math.Float64frombits(binary.BigEndian.Uint64(body[i+1 : i+9]))
			if parts[k].width == 8 {
				*(*float64)(to) = x
			} else if fitsFloat32(x) {
				*(*float32)(to) = float32(x)
			} else {
				return k, i
			}
			i += 9
		case quickString:
			from, end := i+1, i+1+int(c&31)
			if c == mstr8 && from < len(body) {
				from, end = i+2, i+2+int(body[from])
			} else if c>>5 != 0b101 {
				return k, i
			}
			if end > len(body) {
				return k, i
			}
			*(*string)(to) = d.part(from, end)
			i = end
		case quickTime:
			if c != mint64 || len(body)-i < 9 {
				return k, i
			}
			ms := int64(binary.BigEndian.Uint64(body[i+1 : i+9]))
			if ms < firstMilli || ms > lastMilli {
				return k, i
			}
			*(*time.Time)(to) = time.UnixMilli(ms).UTC()
			i += 9
		default:
			return k, i
		}
	}
	return k, i
}
