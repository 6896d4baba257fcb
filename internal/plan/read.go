package plan

import (
	"bytes"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// Read returns the column's value in an encoding that Encode has made, without
// decoding the rest: what Driver().Value returns for the document that was
// encoded, if this is as Document makes them or lacks fields. It shares no memory
// with the encoding.
//
// Any body is safe: Read does not panic, and allocates only for what is there. It
// does not look at what follows the field. The error wraps driver.ErrInvalid.
func (c *Column) Read(body []byte) (driver.Value, error) {
	b, err := c.seek(body)
	if err != nil {
		return nil, c.invalid(err)
	}
	v, _, err := c.read(c.node, b)
	if err != nil {
		return nil, c.invalid(err)
	}
	return v, nil
}

// seek returns the body from the column on.
func (c *Column) seek(body []byte) (b []byte, err error) {
	b = body
	for _, s := range c.steps {
		if b, err = arrayHeader(b, s.size); err != nil {
			return nil, err
		}
		if b, err = skim(b, s.skip); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// read reads the value of the column, or of one of its elements.
func (c *Column) read(n *node, b []byte) (driver.Value, []byte, error) {
	switch n.form {
	case pointerForm:
		if isNil(b) {
			return nil, b[1:], nil
		}
		return c.read(n.elem, b)
	case listForm:
		return c.readList(n, b)
	case textForm, jsonForm:
		if isNil(b) {
			return c.blank, b[1:], nil
		}
		return readString(b)
	case stringForm:
		return readString(b)
	case bytesForm, byteArrayForm:
		return readBytes(n, b)
	case boolForm:
		v, b, err := msgp.ReadBoolBytes(b)
		return readAs(v, b, err)
	case timeForm:
		return readTime(b)
	}
	return readNumber(n, b)
}

// readAs is what was read, or the error with which it was.
func readAs(v driver.Value, b []byte, err error) (driver.Value, []byte, error) {
	if err != nil {
		return nil, nil, corrupt(err)
	}
	return v, b, nil
}

// readList makes the list only when its elements have been seen to be there.
func (c *Column) readList(n *node, b []byte) (driver.Value, []byte, error) {
	if isNil(b) {
		return nil, b[1:], nil
	}
	count, b, err := msgp.ReadArrayHeaderBytes(b)
	if err != nil {
		return nil, nil, corrupt(err)
	}
	if _, err := skim(b, int(count)); err != nil {
		return nil, nil, err
	}
	list := make([]driver.Value, count)
	for i := range list {
		if list[i], b, err = c.read(n.elem, b); err != nil {
			return nil, nil, atIndex(i, err)
		}
	}
	return list, b, nil
}

func readString(b []byte) (driver.Value, []byte, error) {
	s, b, err := msgp.ReadStringZC(b)
	if err == nil && !utf8.Valid(s) {
		err = errUTF8
	}
	return readAs(string(s), b, err)
}

func readBytes(n *node, b []byte) (driver.Value, []byte, error) {
	if n.form == bytesForm && isNil(b) {
		return nil, b[1:], nil
	}
	x, b, err := msgp.ReadBytesZC(b)
	if err == nil && n.form == byteArrayForm && len(x) != n.size {
		err = errArity
	}
	return readAs(bytes.Clone(x), b, err)
}

func readTime(b []byte) (driver.Value, []byte, error) {
	ms, b, err := msgp.ReadInt64Bytes(b)
	if err == nil && (ms < firstMilli || ms > lastMilli) {
		err = errRange
	}
	return readAs(time.UnixMilli(ms).UTC(), b, err)
}

func readNumber(n *node, b []byte) (driver.Value, []byte, error) {
	switch n.form {
	case intForm:
		i, b, err := msgp.ReadInt64Bytes(b)
		if err == nil && n.typ.OverflowInt(i) {
			err = errRange
		}
		return readAs(i, b, err)
	case uintForm:
		u, b, err := msgp.ReadUint64Bytes(b)
		if err == nil && n.typ.OverflowUint(u) {
			err = errRange
		}
		return readAs(unsigned(u), b, err)
	case floatForm:
		f, b, err := msgp.ReadFloat64Bytes(b)
		if err == nil && n.typ.OverflowFloat(f) {
			err = errRange
		}
		if n.typ.Bits() == 32 {
			f = float64(float32(f))
		}
		return readAs(f, b, err)
	}
	return nil, nil, fmt.Errorf("%v has no column", n.typ)
}
