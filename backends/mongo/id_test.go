package mongo

import (
	"bytes"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

var allIDs = []*IDs{StringIDs, ObjectIDs, IntIDs, UUIDs}

// stored returns an ID as BSON, nil if it cannot be stored.
func stored(t testing.TB, ids *IDs, id string) bson.Raw {
	t.Helper()
	v, ok := ids.encode(id)
	if !ok {
		return nil
	}
	return marshal(t, bson.D{{Key: "_id", Value: v}})
}

// An ID comes back as it was or is refused, and no two are stored as one.
func FuzzID(f *testing.F) {
	for _, pair := range [][2]string{
		{"1", "01"}, {"1", "+1"}, {"0", "-0"}, {"-9223372036854775808", "9223372036854775807"}, {"9223372036854775808", "1e3"},
		{"0123456789abcdef01234567", "0123456789ABCDEF01234567"}, {"0123456789abcdef0123456", "{\"$oid\":\"0123456789abcdef01234567\"}"},
		{"00112233-4455-6677-8899-aabbccddeeff", "00112233-4455-6677-8899-AABBCCDDEEFF"},
		{"00112233-4455-6677-8899-aabbccddeeff", "00112233445566778899aabbccddeeff"},
		{"00112233x4455x6677x8899xaabbccddeeff", "{00112233-4455-6677-8899-aabbccddeeff}"},
		{"", "\x00"}, {"a\x00", "a"}, {"é", "e\u0301"}, {"$gt", "."},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if a == "" || b == "" || !utf8.ValidString(a) || !utf8.ValidString(b) {
			t.Skip("no store gets such an ID")
		}
		for _, ids := range allIDs {
			x, y := stored(t, ids, a), stored(t, ids, b)
			if ids == StringIDs && x == nil {
				t.Errorf("%q cannot be stored as a string", a)
			}
			if x != nil {
				if got, err := ids.id(x.Lookup("_id")); err != nil || got != a {
					t.Errorf("as %s %q comes back as %q, %v", ids.name, a, got, err)
				}
			}
			if a != b && x != nil && bytes.Equal(x, y) {
				t.Errorf("%q and %q are the same %s", a, b, ids.name)
			}
			if a < b && x != nil && y != nil && ids.ordered && bytes.Compare(payload(ids, x), payload(ids, y)) >= 0 {
				t.Errorf("%q and %q have another order as %s", a, b, ids.name)
			}
		}
	})
}

// payload returns the bytes by which MongoDB orders an ID.
func payload(ids *IDs, raw bson.Raw) []byte {
	v := raw.Lookup("_id")
	switch ids {
	case StringIDs:
		return []byte(v.StringValue())
	case UUIDs:
		_, data := v.Binary()
		return data
	}
	return v.Value
}

// What is stored and not an ID of its kind is an error, and never another ID.
func FuzzStoredID(f *testing.F) {
	for _, v := range []any{"a", "", int32(5), int64(5), 5.0, bson.ObjectID{7}, bson.Binary{Subtype: 4, Data: make([]byte, 16)}, bson.Binary{Subtype: 3, Data: make([]byte, 16)}, bson.D{}, nil} {
		raw := marshal(f, bson.D{{Key: "_id", Value: v}}).Lookup("_id")
		f.Add(byte(raw.Type), raw.Value)
		f.Add(byte(raw.Type), raw.Value[:len(raw.Value)/2])
	}
	f.Fuzz(func(t *testing.T, typ byte, data []byte) {
		for _, ids := range allIDs {
			id, err := ids.id(bson.RawValue{Type: bson.Type(typ), Value: data})
			if err != nil {
				continue
			}
			v, ok := ids.encode(id)
			if !ok {
				t.Fatalf("%s is read as %q, which cannot be stored", ids.name, id)
			}
			again := marshal(t, bson.D{{Key: "_id", Value: v}}).Lookup("_id")
			if bson.Type(typ) == again.Type && ids != StringIDs && !bytes.HasPrefix(data, again.Value) {
				t.Errorf("%s %x is read as %q, which is %x", ids.name, data, id, again.Value)
			}
		}
	})
}

func TestIDs(t *testing.T) {
	for _, c := range []struct {
		ids *IDs
		ok  []string
		bad []string
	}{
		{ObjectIDs, []string{"0123456789abcdef01234567"}, []string{"", "x", "0123456789ABCDEF01234567", "0123456789abcdef0123456", "0123456789abcdef012345678"}},
		{IntIDs, []string{"0", "-1", "9223372036854775807", "-9223372036854775808"}, []string{"", "a", "+1", "01", "-0", "1.0", "1_0", "0x1", " 1", "9223372036854775808"}},
		{UUIDs, []string{"00112233-4455-6677-8899-aabbccddeeff"}, []string{"", "00112233445566778899aabbccddeeff", "00112233-4455-6677-8899-AABBCCDDEEFF", "00112233-4455-6677-8899-aabbccddeef", "00112233x4455-6677-8899-aabbccddeeff"}},
	} {
		for _, id := range c.ok {
			if stored(t, c.ids, id) == nil {
				t.Errorf("%q is not %s", id, c.ids.name)
			}
		}
		for _, id := range c.bad {
			if stored(t, c.ids, id) != nil {
				t.Errorf("%q is %s", id, c.ids.name)
			}
		}
	}
}

// Names of fields and collections are escaped without two becoming one.
func FuzzEscape(f *testing.F) {
	for _, pair := range [][2]string{
		{"a.b", "a%2Eb"}, {"%", "%25"}, {"$", "%24"}, {"%2", "%252"}, {"a", "A"}, {"_a", "%5Fa"}, {"a_", "a"}, {"", "a"}, {"a/b", "a%2Fb"},
		{"system.indexes", "system"}, {"é", "\xc3"}, {"\x00", "0"}, {"%2E", "."}, {"%252E", "%2E"},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if got := unescape(escape(a)); got != a {
			t.Errorf("the field %q comes back as %q", a, got)
		}
		if strings.ContainsAny(escape(a), ".$") {
			t.Errorf("the field %q is stored as %q", a, escape(a))
		}
		if a != b && escape(a) == escape(b) {
			t.Errorf("the fields %q and %q are both stored as %q", a, b, escape(a))
		}
		if got, err := url.PathUnescape(escapeName(a)); err != nil || got != a {
			t.Errorf("the name %q is escaped as %q, which is %q, %v", a, escapeName(a), got, err)
		}
		if a != b && escapeName(a) == escapeName(b) {
			t.Errorf("%q and %q are both called %q", a, b, escapeName(a))
		}
		if strings.ContainsAny(escapeName(a), "$./\x00 ") || strings.HasPrefix(escapeName(a), "_") {
			t.Errorf("a collection is called %q", escapeName(a))
		}
	})
}

// Two kinds of two namespaces never share a collection.
func FuzzNamespace(f *testing.F) {
	for _, c := range [][4]string{
		{"a", "b", "a/b", ""}, {"", "a/b", "a", "b"}, {"a", "b/c", "a/b", "c"}, {"", "a", "a", ""}, {"", "graphcache", "x", "graphcache"}, {"a%2F", "b", "a/", "b"},
	} {
		f.Add(c[0], c[1], c[2], c[3])
	}
	o, err := (*Options)(nil).withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, space1, kind1, space2, kind2 string) {
		if kind1 == "" || kind2 == "" || space1 == space2 && kind1 == kind2 {
			t.Skip("one kind, or a kind without a name")
		}
		names := make(map[string]bool)
		for _, c := range [][2]string{{space1, kind1}, {space2, kind2}} {
			s := newSpace(c[0])
			objects, _, err := s.layouts(&o, driver.Schema{Objects: []driver.ObjectKind{{Name: c[1]}}})
			if err != nil {
				t.Skip(err) // it is too long, or the store's own
			}
			name := s.prefix + objects[0].collection
			if names[name] || name == o.Collection {
				t.Errorf("%q of %q and %q of %q share the collection %q", kind1, space1, kind2, space2, name)
			}
			names[name] = true
		}
	})
}
