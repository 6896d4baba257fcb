package mongo

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// maker makes values out of bytes, whatever they are.
type maker struct {
	data  []byte
	depth int
}

func (m *maker) byte() byte {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return b
}

func (m *maker) uint64() uint64 {
	var b [8]byte
	m.data = m.data[copy(b[:], m.data):]
	return binary.LittleEndian.Uint64(b[:])
}

func (m *maker) bytes() []byte {
	n := min(int(m.byte())%24, len(m.data))
	b := m.data[:n]
	m.data = m.data[n:]
	return b
}

func (m *maker) text() string { return strings.ToValidUTF8(string(m.bytes()), "\uFFFD") }

// names are parts of names that have a meaning somewhere.
var names = []string{".", "$", "%", "%2E", "%24", "%25", "_", "_id", "_v", "$gt", "a", "a.b", "kind", "time", "data", "0", " ", "é", "\U0010FFFF"}

func (m *maker) name(top bool) string {
	var name string
	for n := m.byte() % 4; n > 0; n-- {
		name += names[int(m.byte())%len(names)]
	}
	name += strings.ReplaceAll(m.text(), "\x00", "0")
	if name == "" || top && name[0] == '_' {
		return "x" + name
	}
	return name
}

func (m *maker) value() driver.Value {
	if m.depth++; m.depth > 60 {
		return nil
	}
	defer func() { m.depth-- }()
	switch m.byte() % 16 {
	case 0:
		return nil
	case 1:
		return m.byte()%2 == 0
	case 2, 3:
		return int64(m.uint64())
	case 4:
		return int64(int8(m.byte()))
	case 5:
		return m.uint64() | 1<<63
	case 6:
		return math.Float64frombits(m.uint64())
	case 7:
		all := []float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 1 << 53, math.MaxFloat64, math.SmallestNonzeroFloat64, 1}
		return all[int(m.byte())%len(all)]
	case 8, 9:
		return m.text()
	case 10:
		return append([]byte{}, m.bytes()...)
	case 11:
		return time.UnixMilli(int64(m.uint64()) >> 12).UTC()
	case 12, 13:
		array := []driver.Value{}
		for n := m.byte() % 5; n > 0; n-- {
			array = append(array, m.value())
		}
		return array
	}
	return m.document(false)
}

func (m *maker) document(top bool) driver.Document {
	doc := driver.Document{}
	for n := m.byte() % 6; n > 0; n-- {
		name := m.name(top)
		if _, there := doc.Get(name); !there {
			doc = append(doc, driver.Field{Name: name, Value: m.value()})
		}
	}
	return doc
}

func addRandom(f *testing.F, n int) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		data := make([]byte, 1+i%300)
		for j := range data {
			data[j] = byte(random.Uint32())
		}
		f.Add(data)
	}
}

// same reports whether two values are the same type for type, the order of fields and the sign
// of zero included.
func same(a, b driver.Value) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && (a == b && math.Signbit(a) == math.Signbit(b) || math.IsNaN(a) && math.IsNaN(b))
	case []driver.Value:
		b, ok := b.([]driver.Value)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !same(a[i], b[i]) {
				return false
			}
		}
		return true
	case driver.Document:
		b, ok := b.(driver.Document)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if a[i].Name != b[i].Name || !same(a[i].Value, b[i].Value) {
				return false
			}
		}
		return true
	}
	return driver.Equal(a, b)
}

func marshal(t testing.TB, d bson.D) bson.Raw {
	t.Helper()
	raw, err := bson.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Every record comes back from BSON as it was, type for type, whatever its fields are called.
func FuzzValue(f *testing.F) {
	addRandom(f, 500)
	defaults, err := (*Options)(nil).withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	objects := defaults.objectLayout("k")
	var edges []*edgeLayout
	for _, kind := range []driver.EdgeKind{{Name: "e"}, {Name: "e", ToOne: true}, {Name: "e", Family: "f"}, {Name: "e", Family: "f", ToOne: true}} {
		edges = append(edges, defaults.edgeLayout(kind))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &maker{data: data}
		version := int64(m.uint64())
		if version == 0 || version == unversioned {
			version = 1
		}
		o := &driver.Object{ID: "i" + m.text(), Version: version, Deleting: m.byte()%4 == 0, Doc: m.document(true)}
		d, err := objects.document(o)
		if err != nil {
			t.Fatal(err)
		}
		raw := marshal(t, d)
		got, err := objects.object(raw)
		if err != nil {
			t.Fatal(err)
		}
		if got.ID != o.ID || got.Version != o.Version || got.Deleting != o.Deleting || !same(got.Doc, o.Doc) {
			t.Errorf("the object\n%#v\nis stored as\n%v\nand comes back as\n%#v", o, raw, got)
		}
		for _, e := range d[1:] {
			if strings.ContainsAny(e.Key, ".$") {
				t.Errorf("a field is called %q", e.Key)
			}
		}
		edge := &driver.Edge{From: "f" + m.text(), To: "t" + m.text(), Version: version, Time: time.UnixMilli(int64(m.uint64()) >> 12).UTC(), Data: m.document(true)}
		for _, l := range edges {
			d, err := l.document(edge)
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.edge(marshal(t, d))
			if err != nil {
				t.Fatal(err)
			}
			if got.From != edge.From || got.To != edge.To || got.Version != edge.Version || !got.Time.Equal(edge.Time) || !same(got.Data, edge.Data) {
				t.Errorf("the edge\n%#v\ncomes back as\n%#v", edge, got)
			}
		}
	})
}

// Whatever bytes a server sends, reading them neither panics nor takes much more memory than
// they do. What is read is made of the values that package driver has.
func FuzzFromBSON(f *testing.F) {
	addRandom(f, 100)
	f.Add([]byte("\x01\x00\x00\x00"))
	for _, d := range []bson.D{
		{{Key: "_id", Value: "a"}, {Key: "", Value: 1}},
		{{Key: "_id", Value: "a"}, {Key: "_v", Value: 1.5}},
		{{Key: "_id", Value: "a"}, {Key: "_deleting", Value: true}, {Key: "_doc", Value: bson.D{{Key: "a", Value: bson.A{1, nil}}}}},
		{{Key: "_id", Value: bson.D{{Key: "from", Value: "a"}, {Key: "to", Value: "b"}}}, {Key: "time", Value: bson.DateTime(1)}, {Key: "data", Value: bson.D{}}},
		{{Key: "d", Value: bson.NewDecimal128(math.MaxUint64, math.MaxUint64)}, {Key: "r", Value: bson.Regex{Pattern: "a"}}, {Key: "m", Value: bson.MinKey{}}},
		{{Key: "t", Value: bson.Timestamp{T: 1}}, {Key: "c", Value: bson.CodeWithScope{Code: "x", Scope: bson.D{}}}, {Key: "s", Value: bson.Symbol("x")}},
		{{Key: "b", Value: bson.Binary{Subtype: 2, Data: []byte{1}}}, {Key: "u", Value: bson.Undefined{}}, {Key: "o", Value: bson.NewObjectID()}},
	} {
		raw := marshal(f, d)
		f.Add([]byte(raw))
		for i := range raw { // each byte broken once
			broken := append([]byte{}, raw...)
			broken[i] ^= 0xFF
			f.Add(broken)
		}
	}
	defaults, err := (*Options)(nil).withDefaults()
	if err != nil {
		f.Fatal(err)
	}
	objects := defaults.objectLayout("k")
	edges := defaults.edgeLayout(driver.EdgeKind{Name: "e"})
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if o, err := objects.object(data); err == nil {
			checkDocument(t, o.Doc)
		}
		if e, err := edges.edge(data); err == nil {
			checkDocument(t, e.Data)
		}
		types := []bson.Type{bson.TypeEmbeddedDocument, bson.TypeArray, bson.TypeString, bson.TypeBinary, bson.TypeDecimal128, bson.TypeRegex, bson.TypeCodeWithScope}
		if len(data) > 0 {
			types = append(types, bson.Type(data[0]))
		}
		for _, typ := range types {
			if v, err := fromBSON(bson.RawValue{Type: typ, Value: data}); err == nil {
				checkValue(t, v)
			}
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(len(data))*4000+1<<20 {
			t.Errorf("%d bytes take %d", len(data), took)
		}
	})
}

func checkDocument(t *testing.T, doc driver.Document) {
	for _, f := range doc {
		checkValue(t, f.Value)
	}
}

func checkValue(t *testing.T, v driver.Value) {
	switch v := v.(type) {
	case nil, bool, int64, float64, []byte:
	case uint64:
		if v <= math.MaxInt64 {
			t.Errorf("%d fits an int64", v)
		}
	case string:
		if !utf8.ValidString(v) {
			t.Errorf("the string %q is not UTF-8", v)
		}
	case time.Time:
		if v.Location() != time.UTC || !v.Equal(v.Truncate(time.Millisecond)) && v.Year() > 0 {
			t.Errorf("the time %v", v)
		}
	case []driver.Value:
		for i := range v {
			checkValue(t, v[i])
		}
	case driver.Document:
		checkDocument(t, v)
	default:
		t.Errorf("a value is a %T", v)
	}
}

// Values of other programs' types are none of a Go field's, and are written as they were.
func TestForeignTypes(t *testing.T) {
	decimal := func(s string) bson.Decimal128 { d, _ := bson.ParseDecimal128(s); return d }
	for _, c := range []struct {
		stored any
		want   driver.Value
	}{
		{int32(-7), int64(-7)},
		{bson.Undefined{}, nil},
		{decimal("9223372036854775808"), uint64(1 << 63)},
		{decimal("18446744073709551615"), uint64(math.MaxUint64)},
		{decimal("1E19"), uint64(1e19)},
	} {
		raw := marshal(t, bson.D{{Key: "v", Value: c.stored}})
		if got, err := fromBSON(raw.Lookup("v")); err != nil || !same(got, c.want) {
			t.Errorf("%v is read as %#v, %v, want %#v", c.stored, got, err, c.want)
		}
	}
	for _, stored := range []any{
		decimal("18446744073709551616"), decimal("5"), decimal("-1E19"), decimal("12.50"), decimal("NaN"), decimal("1E100"), bson.ObjectID{1}, bson.Binary{Subtype: 4, Data: []byte{1}},
		bson.Regex{Pattern: "a", Options: "i"}, bson.Timestamp{T: 1, I: 2}, bson.JavaScript("x"), bson.CodeWithScope{Code: "x", Scope: bson.D{}}, bson.MinKey{}, bson.MaxKey{}, bson.Symbol("x"),
		bson.DBPointer{DB: "a"}, "\xff", bson.RawValue{Type: bson.TypeString, Value: []byte("\x02\x00\x00\x00\xff\x00")},
	} {
		raw := marshal(t, bson.D{{Key: "v", Value: stored}, {Key: "in", Value: bson.A{bson.D{{Key: "v", Value: stored}}}}})
		doc, err := documentFromBSON(raw)
		if err != nil {
			t.Fatal(err)
		}
		switch doc[0].Value.(type) {
		case driver.Document, string:
		default:
			t.Errorf("%v is read as %#v", stored, doc[0].Value)
		}
		if again := marshal(t, documentToBSON(doc)); !bytes.Equal(again, raw) {
			t.Errorf("%v is written again as %v", raw, again)
		}
	}
	for _, data := range []driver.Value{nil, "x", []byte{}, []byte{0xFF}, []byte{2, 1}, []byte{3, 5, 0, 0, 0, 0}} {
		doc := driver.Document{{Name: foreignMark + "string", Value: data}}
		if got, err := documentFromBSON(marshal(t, documentToBSON(driver.Document{{Name: "v", Value: doc}}))); err != nil || !same(got[0].Value, doc) {
			t.Errorf("what only looks foreign, %#v, comes back as %#v, %v", doc, got, err)
		}
	}
}
