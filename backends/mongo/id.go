package mongo

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// IDs says how the IDs of a kind are stored, so that collections which other programs have
// made can be used. It is immutable.
type IDs struct {
	name   string
	encode func(id string) (any, bool)
	decode func(v bson.RawValue) (string, bool)
	// ordered: stored values are in the order of the IDs' bytes.
	ordered bool
}

var (
	// StringIDs stores an ID as a string. It is the default.
	StringIDs = &IDs{"a string", func(id string) (any, bool) { return id, true }, decodeStringID, true}
	// ObjectIDs stores IDs of 24 hexadecimal digits, in lower case, as ObjectIDs.
	ObjectIDs = &IDs{"an ObjectID in 24 hexadecimal digits", encodeObjectID, decodeObjectID, true}
	// IntIDs stores IDs that are decimal integers as 64-bit integers; it reads those of
	// 32 bits too. Because their order is not that of the IDs, searches of the kind are
	// sorted by the client, and the ends of edges are stored as strings.
	IntIDs = &IDs{"a decimal integer", encodeIntID, decodeIntID, false}
	// UUIDs stores UUIDs, in lower case with hyphens, as binary of subtype 4.
	UUIDs = &IDs{"a UUID in lower case", encodeUUID, decodeUUID, true}
)

// value returns the ID as it is stored.
func (c *IDs) value(id string) (any, error) {
	v, ok := c.encode(id)
	if !ok {
		return nil, fmt.Errorf("%w: the ID %q is not %s", driver.ErrInvalid, id, c.name)
	}
	return v, nil
}

// id returns a stored ID.
func (c *IDs) id(v bson.RawValue) (string, error) {
	if v.Validate() == nil {
		if id, ok := c.decode(v); ok {
			return id, nil
		}
	}
	return "", fmt.Errorf("the ID is a BSON %s and not %s", v.Type, c.name)
}

func decodeStringID(v bson.RawValue) (string, bool) {
	id, ok := v.StringValueOK()
	return id, ok && id != "" && utf8.ValidString(id)
}

func encodeObjectID(id string) (any, bool) {
	oid, err := bson.ObjectIDFromHex(id)
	return oid, err == nil && oid.Hex() == id
}

func decodeObjectID(v bson.RawValue) (string, bool) {
	oid, ok := v.ObjectIDOK()
	return oid.Hex(), ok
}

func encodeIntID(id string) (any, bool) {
	n, err := strconv.ParseInt(id, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == id // "+1" and "01" would be other IDs' values
}

func decodeIntID(v bson.RawValue) (string, bool) {
	if n, ok := v.Int32OK(); ok {
		return strconv.FormatInt(int64(n), 10), true
	}
	n, ok := v.Int64OK()
	return strconv.FormatInt(n, 10), ok
}

func encodeUUID(id string) (any, bool) {
	digits := make([]byte, 0, 32)
	for i := range len(id) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			continue
		}
		digits = append(digits, id[i])
	}
	data := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(data, digits); err != nil || len(data) != 16 || formatUUID(data) != id {
		return nil, false
	}
	return bson.Binary{Subtype: bson.TypeBinaryUUID, Data: data}, true
}

func decodeUUID(v bson.RawValue) (string, bool) {
	subtype, data, ok := v.BinaryOK()
	if !ok || subtype != bson.TypeBinaryUUID || len(data) != 16 {
		return "", false
	}
	return formatUUID(data), true
}

func formatUUID(b []byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
