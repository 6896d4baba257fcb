package redis

import (
	"unsafe"

	"github.com/klauspost/compress/s2"
)

// The encodings of a value, its first byte.
const (
	rawBlob = 0
	s2Blob  = 1
)

// maxRatio bounds what a compressed value may claim to be, in multiples of its length:
// what comes from a server must not decide how much is allocated. Values that could be
// compressed further are stored as they are.
const maxRatio = 64

// encodeBlob encodes a value, compressed if it has at least so many bytes (0 is never)
// and that saves an eighth of them.
func encodeBlob(value []byte, compressAbove int) []byte {
	if compressAbove > 0 && len(value) >= compressAbove {
		b := make([]byte, 1+s2.MaxEncodedLen(len(value)))
		b[0] = s2Blob
		packed := s2.Encode(b[1:], value)
		if n := len(packed); n <= len(value)-len(value)/8 && n*maxRatio >= len(value) {
			return b[:1+n]
		}
	}
	b := make([]byte, 1+len(value))
	b[0] = rawBlob
	copy(b[1:], value)
	return b
}

// decodeBlob decodes a value. It returns the bytes themselves, and false, if it cannot:
// the engine then finds that they are no value of its, and replaces them. The result is
// not to be written to: it may be part of a reply.
func decodeBlob(blob string) ([]byte, bool) {
	if blob == "" {
		return []byte{}, false
	}
	body := unsafe.Slice(unsafe.StringData(blob), len(blob))[1:]
	switch blob[0] {
	case rawBlob:
		return body, true
	case s2Blob:
		n, err := s2.DecodedLen(body)
		if err != nil || n > maxRatio*len(body) {
			return body, false
		}
		value, err := s2.Decode(nil, body)
		if err != nil {
			return body, false
		}
		return value, true
	}
	return body, false
}
