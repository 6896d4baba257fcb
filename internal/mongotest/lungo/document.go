package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/256dpi/lungo/bsonkit"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// maxDocument is the largest document, in bytes.
const maxDocument = 16 << 20

// lookup returns the value of a field, nil if there is none.
func lookup(doc bson.D, key string) any {
	for _, e := range doc {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

func has(doc bson.D, key string) bool {
	for _, e := range doc {
		if e.Key == key {
			return true
		}
	}
	return false
}

// truthy tells whether a value counts as true, as MongoDB takes flags.
func truthy(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	}
	n, ok := number(v)
	return !ok || n != 0
}

// number returns a number that has an integral value.
func number(v any) (int64, bool) {
	switch v := v.(type) {
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<62 {
			return int64(v), true
		}
	}
	return 0, false
}

// isExpression tells whether a value in a filter is made of operators.
func isExpression(doc bson.D) bool {
	return len(doc) > 0 && strings.HasPrefix(doc[0].Key, "$")
}

// withIDFirst returns the document with its _id, or with a new one, in front.
func withIDFirst(doc bson.D) bson.D {
	id := any(primitive.NewObjectID())
	out := bson.D{{Key: "_id"}}
	for _, e := range doc {
		if e.Key == "_id" {
			id = e.Value
			continue
		}
		out = append(out, e)
	}
	out[0].Value = id
	return out
}

// checkDocument refuses what MongoDB does not store.
func checkDocument(doc bson.D) error {
	data, err := bson.Marshal(doc)
	if err != nil {
		return err
	}
	if len(data) > maxDocument {
		return fail(codeTooLarge, "object to insert too large. size in bytes: %d, max size: %d", len(data), maxDocument)
	}
	switch id := lookup(doc, "_id").(type) {
	case bson.A, primitive.Regex:
		return fail(codeInvalidIDField, "The '_id' value cannot be of this type")
	case bson.D:
		for _, e := range id {
			if strings.HasPrefix(e.Key, "$") {
				return fail(codeDollarPrefixed, "_id fields may not contain '$'-prefixed fields: %s is not valid for storage.", e.Key)
			}
		}
	}
	bsonkit.Clone(&doc) // panics on types that the engine does not know
	return nil
}

// identical tells whether two documents are the same to the byte.
func identical(a, b bson.D) bool {
	x, errX := bson.Marshal(a)
	y, errY := bson.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// format writes a value as in the text of a duplicate key error.
func format(v any) string {
	switch v := v.(type) {
	case nil, primitive.Null, bsonkit.MissingType:
		return "null"
	case string:
		return strconv.Quote(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatFloat(v, 'f', 1, 64)
		}
		return strconv.FormatFloat(v, 'g', -1, 64)
	case primitive.ObjectID:
		return "ObjectId('" + v.Hex() + "')"
	case primitive.Binary:
		return fmt.Sprintf("BinData(%d, %s)", v.Subtype, strings.ToUpper(hex.EncodeToString(v.Data)))
	case primitive.DateTime:
		return "new Date(" + strconv.FormatInt(int64(v), 10) + ")"
	case time.Time:
		return "new Date(" + strconv.FormatInt(v.UnixMilli(), 10) + ")"
	case primitive.Timestamp:
		return fmt.Sprintf("Timestamp(%d, %d)", v.T, v.I)
	case bson.D:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = e.Key + ": " + format(e.Value)
		}
		return "{ " + strings.Join(parts, ", ") + " }"
	case bson.A:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = format(e)
		}
		return "[ " + strings.Join(parts, ", ") + " ]"
	}
	return fmt.Sprint(v)
}
