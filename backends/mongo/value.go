package mongo

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// Values and BSON. What graphcache writes comes back type for type: an int64 is a 64-bit
// integer, a uint64 above its range a Decimal128, which has its order, a time a date. What
// other programs write may have other types: each that is not listed here is read as a
// document with its bytes, which no field of a Go type accepts, so that it is an error where
// it is asked for and no matter where it is not. Written again, it is what it was.

// foreignMark is in front of the only name in such a document, that of the type. It is no
// character, and so in no name that people give.
const foreignMark = "\uFFFF"

// foreign is a value of a type that graphcache has not.
func foreign(v bson.RawValue) driver.Document {
	return driver.Document{{Name: foreignMark + v.Type.String(), Value: append([]byte{byte(v.Type)}, v.Value...)}}
}

// foreignIn returns the value that foreign has made a document of.
func foreignIn(doc driver.Document) (v bson.RawValue, ok bool) {
	if len(doc) != 1 || !strings.HasPrefix(doc[0].Name, foreignMark) {
		return v, false
	}
	data, _ := doc[0].Value.([]byte)
	if len(data) == 0 {
		return v, false
	}
	v = bson.RawValue{Type: bson.Type(data[0]), Value: data[1:]}
	return v, foreignMark+v.Type.String() == doc[0].Name && v.Validate() == nil
}

// toBSON returns a value as the driver's library takes it.
func toBSON(v driver.Value) any {
	switch v := v.(type) {
	case uint64:
		d, _ := bson.ParseDecimal128(strconv.FormatUint(v, 10)) // 34 digits are enough
		return d
	case []byte:
		return bson.Binary{Data: append([]byte{}, v...)}
	case time.Time:
		return bson.DateTime(v.UnixMilli())
	case []driver.Value:
		a := make(bson.A, len(v))
		for i := range v {
			a[i] = toBSON(v[i])
		}
		return a
	case driver.Document:
		if there, ok := foreignIn(v); ok {
			return there
		}
		return documentToBSON(v)
	}
	return v
}

func documentToBSON(doc driver.Document) bson.D {
	d := make(bson.D, len(doc))
	for i := range doc {
		d[i] = bson.E{Key: escape(doc[i].Name), Value: toBSON(doc[i].Value)}
	}
	return d
}

// fromBSON returns what is stored as a value.
func fromBSON(v bson.RawValue) (driver.Value, error) {
	if err := v.Validate(); err != nil {
		return nil, err
	}
	switch v.Type {
	case bson.TypeNull, bson.TypeUndefined:
		return nil, nil
	case bson.TypeBoolean:
		return v.Boolean(), nil
	case bson.TypeInt32:
		return int64(v.Int32()), nil
	case bson.TypeInt64:
		return v.Int64(), nil
	case bson.TypeDouble:
		return v.Double(), nil
	case bson.TypeDateTime:
		return time.UnixMilli(v.DateTime()).UTC(), nil
	case bson.TypeString:
		if s, ok := v.StringValueOK(); ok && utf8.ValidString(s) {
			return s, nil
		}
	case bson.TypeBinary:
		if subtype, data, ok := v.BinaryOK(); ok && subtype == bson.TypeBinaryGeneric {
			return append([]byte{}, data...), nil
		}
	case bson.TypeDecimal128:
		if n, ok := fromDecimal(v.Decimal128()); ok {
			return n, nil
		}
	case bson.TypeArray:
		array, _ := v.ArrayOK() // what Validate lets pass may still be too short
		return arrayFromBSON(bson.Raw(array))
	case bson.TypeEmbeddedDocument:
		doc, _ := v.DocumentOK()
		return documentFromBSON(doc)
	}
	return foreign(v), nil
}

// fromDecimal returns a decimal that is a whole number above the range of int64.
func fromDecimal(d bson.Decimal128) (uint64, bool) {
	n, exp, err := d.BigInt()
	if err != nil || exp < 0 || exp >= 20 {
		return 0, false
	}
	n.Mul(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(exp)), nil))
	return n.Uint64(), n.IsUint64() && n.Uint64() > math.MaxInt64
}

func arrayFromBSON(raw bson.Raw) (driver.Value, error) {
	elements, err := raw.Values()
	if err != nil {
		return nil, err
	}
	values := make([]driver.Value, len(elements))
	for i := range elements {
		if values[i], err = fromBSON(elements[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func documentFromBSON(raw bson.Raw) (driver.Document, error) {
	doc := driver.Document{}
	err := eachElement(raw, func(name string, v bson.RawValue) (err error) {
		doc, err = appendField(doc, name, v)
		return err
	})
	return doc, err
}

// appendField appends an element under its name.
func appendField(doc driver.Document, name string, v bson.RawValue) (driver.Document, error) {
	value, err := fromBSON(v)
	if err != nil {
		return nil, fmt.Errorf("field %q: %w", unescape(name), err)
	}
	return append(doc, driver.Field{Name: unescape(name), Value: value}), nil
}

// eachElement calls f for each element of a document, without believing the lengths in it.
func eachElement(raw bson.Raw, f func(name string, v bson.RawValue) error) error {
	if len(raw) < 5 || int(binary.LittleEndian.Uint32(raw)) != len(raw) {
		return fmt.Errorf("a document of %d bytes says that it has another length", len(raw))
	}
	elements, err := raw.Elements()
	if err != nil {
		return err
	}
	for _, e := range elements {
		name, err := e.KeyErr()
		if err != nil {
			return err
		}
		v, err := e.ValueErr()
		if err != nil {
			return err
		}
		if err := f(name, v); err != nil {
			return err
		}
	}
	return nil
}

// escape makes a field's name one that is no path and no operator: MongoDB gives dots, and
// dollar signs in front, a meaning in queries. Few names have any.
func escape(name string) string {
	if !strings.ContainsAny(name, ".$%") {
		return name
	}
	return escaper.Replace(name)
}

var (
	escaper   = strings.NewReplacer("%", "%25", ".", "%2E", "$", "%24")
	unescaper = strings.NewReplacer("%25", "%", "%2E", ".", "%24", "$")
)

func unescape(name string) string {
	if !strings.Contains(name, "%") {
		return name
	}
	return unescaper.Replace(name)
}

// path returns the path of a column's field below the fields in front.
func path(front string, names []string) string {
	for _, name := range names {
		if front != "" {
			front += "."
		}
		front += escape(name)
	}
	return front
}
