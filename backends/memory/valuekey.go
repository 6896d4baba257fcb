package memory

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// valueKey returns a string that two values have in common if they are equal by
// driver.Compare. That of nil is empty, and no other is.
func valueKey(v driver.Value) string {
	return string(appendKey(nil, v))
}

func appendKey(b []byte, v driver.Value) []byte {
	switch v := v.(type) {
	case int64:
		return appendNumber(b, 'i', uint64(v))
	case uint64:
		return appendNumber(b, 'u', v)
	case float64:
		return appendFloat(b, v)
	case string:
		return append(append(b, 's'), v...)
	case []byte:
		return append(append(b, 'b'), v...)
	case bool:
		if v {
			return append(b, '1')
		}
		return append(b, '0')
	case time.Time:
		return appendNumber(b, 't', uint64(v.UnixMilli()))
	case []driver.Value:
		b = append(b, 'a')
		for i := range v {
			b = appendPart(b, v[i])
		}
	case driver.Document:
		b = append(b, 'd')
		for i := range v {
			b = appendPart(appendPart(b, v[i].Name), v[i].Value)
		}
	}
	return b
}

// appendPart adds the key of a value inside another, with its length.
func appendPart(b []byte, v driver.Value) []byte {
	key := valueKey(v)
	return append(binary.AppendUvarint(b, uint64(len(key))), key...)
}

func appendNumber(b []byte, tag byte, bits uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, tag), bits)
}

// appendFloat gives a float that is a whole number the key of the integer.
func appendFloat(b []byte, f float64) []byte {
	switch {
	case f >= math.MinInt64 && f < 1<<63 && f == math.Trunc(f):
		return appendNumber(b, 'i', uint64(int64(f)))
	case f >= 1<<63 && f < 1<<64:
		return appendNumber(b, 'u', uint64(f))
	case math.IsNaN(f):
		f = math.NaN() // one of many
	}
	return appendNumber(b, 'f', math.Float64bits(f))
}
