package plan

import (
	"fmt"
	"math"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

func (n *node) appendInteger(dst []byte, x driver.Value) ([]byte, error) {
	u, negative, ok := integer(x)
	switch {
	case !ok:
		return nil, n.mismatch(x)
	case n.form == uintForm && (negative || n.typ.OverflowUint(u)),
		n.form == intForm && (!negative && u > math.MaxInt64 || n.typ.OverflowInt(int64(u))):
		return nil, fmt.Errorf("found %v, which %v cannot hold", x, n.typ)
	case negative:
		return msgp.AppendInt64(dst, int64(u)), nil
	}
	return msgp.AppendUint64(dst, u), nil
}

// integer returns the integer that a store gave back in any type of number. A
// negative one is in two's complement.
func integer(x driver.Value) (u uint64, negative, ok bool) {
	switch x := x.(type) {
	case int64:
		return uint64(x), x < 0, true
	case int32:
		return uint64(x), x < 0, true
	case int:
		return uint64(x), x < 0, true
	case uint64:
		return x, false, true
	case float64:
		switch {
		case x != math.Trunc(x) || x < math.MinInt64 || x >= 1<<64: // NaN is in the first
			return 0, false, false
		case x < 0:
			return uint64(int64(x)), true, true
		}
		return uint64(x), false, true
	}
	return 0, false, false
}

func (n *node) appendFloat(dst []byte, x driver.Value) ([]byte, error) {
	f, ok := x.(float64)
	if !ok {
		// An integer stands for the float of the same value: a store may not
		// tell 3.0 from 3, and the field may have had an integer type before.
		u, negative, isInteger := integer(x)
		f = float64(u)
		if negative {
			f = float64(int64(u))
		}
		if back, _, exact := integer(f); !isInteger || !exact || back != u {
			return nil, n.mismatch(x)
		}
	}
	if n.typ.Bits() == 32 {
		small := float64(float32(f))
		if math.IsInf(small, 0) != math.IsInf(f, 0) || (small == 0) != (f == 0) {
			return nil, fmt.Errorf("found %v, which %v cannot hold", f, n.typ)
		}
		f = small
	}
	return msgp.AppendFloat64(dst, f), nil
}
