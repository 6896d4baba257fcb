package redis

import (
	"encoding/binary"

	"github.com/graphcache/graphcache/driver"
)

// An anchor's entry is a string under the key that ends in k:
//
//	state                    1 byte: V versioned, H held, S empty but for a stamp
//	length of the stamp      1 byte
//	the end of the stamp     8 bytes: milliseconds since 1970, like all times here
//	stamp
//
// In state V there follow
//
//	version                  8 bytes
//	loading deadline         8 bytes, 0 if there is none
//	0, or 1 and the value
//
// and in state H, for each token, its length in 1 byte, the token, and its deadline in
// 8 bytes. Nothing is an empty entry without a stamp. Numbers are big-endian. The key
// expires with what lasts longest of the version, the tokens and the stamp, so that a
// plain GET mostly needs no clock.
//
// The secondary values are the fields of a hash under the key that ends in h. A value is
// V, the version of the entry under which it was filled, and the value; a loading
// deadline is L, the version, and the deadline. The field with the empty name has the
// version that all of them should have, and the number of values in 4 bytes. What has
// another version than the entry is dead: writes leave the hash alone, and the first
// fill of a new version replaces it.
//
// A value starts with a byte that says how it is encoded; blob.go has the codes.

const (
	headerStart = 10 // before the stamp
	maxStamp    = 255
	// headerLen is the most that comes before a value.
	headerLen = headerStart + maxStamp + 17
	// latest is the latest time that is taken for one.
	latest = 1e15
)

// wrongType is the content of a key that is not a string, as entry.lua knows it.
const wrongType = "graphcache: not a string"

// header is an entry without what follows in state V and H.
type header struct {
	state   driver.State
	stamp   driver.Stamp
	version uint64
	loading bool
	value   string // with its encoding
	full    bool   // there is a value
}

// parseEntry reads an entry, or the first headerLen bytes of one if partial. It accepts
// what entry.lua accepts.
func parseEntry(raw string, partial bool) (h header, ok bool) {
	if len(raw) < headerStart {
		return h, false
	}
	rest := headerStart + int(raw[1])
	if rest > len(raw) || be64(raw[2:]) > latest {
		return h, false
	}
	h.stamp = driver.Stamp(raw[headerStart:rest])
	body := raw[rest:]
	switch raw[0] {
	case 'S':
		h.state = driver.Empty
		return h, body == ""
	case 'H':
		h.state = driver.Held
		return h, partial || tokensParse(body)
	case 'V':
		if len(body) < 17 || be64(body[8:]) > latest || body[16] > 1 || body[16] == 0 && len(body) > 17 {
			return h, false
		}
		h.state = driver.Versioned
		h.version = be64(body)
		h.full = body[16] == 1
		h.loading = !h.full && be64(body[8:]) != 0
		h.value = body[17:]
		return h, h.version != 0
	}
	return h, false
}

// tokensParse reports whether the tokens of a held entry can be read.
func tokensParse(body string) bool {
	for body != "" {
		n := 1 + int(body[0])
		if len(body) < n+8 || be64(body[n:]) > latest {
			return false
		}
		body = body[n+8:]
	}
	return true
}

// parseField reads a field of the hash under a version. What cannot be read, and what
// has another version, is nothing.
func parseField(raw string, version uint64) (value string, full, loading bool) {
	if len(raw) < 9 || be64(raw[1:]) != version {
		return "", false, false
	}
	switch {
	case raw[0] == 'V':
		return raw[9:], true, false
	case raw[0] == 'L' && len(raw) == 17:
		return "", false, true
	}
	return "", false, false
}

func be64(s string) uint64 {
	_ = s[7]
	return uint64(s[7]) | uint64(s[6])<<8 | uint64(s[5])<<16 | uint64(s[4])<<24 |
		uint64(s[3])<<32 | uint64(s[2])<<40 | uint64(s[1])<<48 | uint64(s[0])<<56
}

// versionBytes returns a version as it is stored.
func versionBytes(v uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return string(b[:])
}
