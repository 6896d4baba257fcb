package graphcache

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxIDLen is the length in bytes that an ID may have.
const MaxIDLen = 512

// ID is the ID of an object whose Go type is T: any UTF-8 string of 1 to
// [MaxIDLen] bytes, unique within its kind. An ID is a [Source] of queries.
type ID[T any] string

// IDs is a set of objects to start a query from, visited in this order, each once.
type IDs[T any] []ID[T]

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// NewID returns a new random ID of 26 characters. IDs made in different
// milliseconds sort in the order in which they were made: the first 48 bits are
// the Unix time in milliseconds and the other 80 are random, as in a ULID, written
// in the base32 alphabet of RFC 4648, section 7, in lower case.
func NewID[T any]() ID[T] { return ID[T](newID()) }

func newID() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(b[6:]) // never fails: crypto/rand ends the program instead
	return strings.ToLower(idEncoding.EncodeToString(b[:]))
}

// checkID says what is wrong with an ID of the kind.
func checkID(kind, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%w: %s: the ID is empty", ErrInvalid, kind)
	case len(id) > MaxIDLen:
		return fmt.Errorf("%w: %s: the ID has %d bytes, more than %d: %.40q…", ErrInvalid, kind, len(id), MaxIDLen, id)
	case !utf8.ValidString(id):
		return fmt.Errorf("%w: %s: the ID %.80q is not valid UTF-8", ErrInvalid, kind, id)
	}
	return nil
}
