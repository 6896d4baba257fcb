package plan_test

import (
	"math"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

const owner = `object kind "user"`

func planOf(t testing.TB, value any) *plan.Plan {
	t.Helper()
	p, err := plan.Of(owner, reflect.TypeOf(value), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// same are the options by which values are compared: all fields, zero and minus
// zero apart, NaN equal to itself.
var same = cmp.Options{
	cmp.Exporter(func(reflect.Type) bool { return true }),
	cmp.Comparer(func(a, b big.Int) bool { return a.Cmp(&b) == 0 }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b }),
	cmp.Comparer(func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b }),
}

// throughAll sends a value through a document and the encoding.
func throughAll(t testing.TB, p *plan.Plan, value any) (driver.Document, []byte, any) {
	t.Helper()
	doc, err := p.Document(reflect.ValueOf(value))
	if err != nil {
		t.Fatalf("Document: %v", err)
	}
	b, err := p.Encode(nil, doc)
	if err != nil {
		t.Fatalf("Encode: %v", err)
	}
	return doc, b, decode(t, p, b, reflect.TypeOf(value))
}

func decode(t testing.TB, p *plan.Plan, b []byte, typ reflect.Type) any {
	t.Helper()
	v := reflect.New(typ).Elem()
	rest, err := p.Decode(append(b[:len(b):len(b)], "rest"...), v)
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	if string(rest) != "rest" {
		t.Errorf("Decode left %q, want %q", rest, "rest")
	}
	return v.Interface()
}

func TestRoundTrip(t *testing.T) {
	for _, s := range corpus() {
		t.Run(s.name, func(t *testing.T) {
			p := planOf(t, s.value)
			want := s.want
			if want == nil {
				want = s.value
			}
			doc, b, got := throughAll(t, p, s.value)
			if diff := cmp.Diff(want, got, same, cmpopts.EquateComparable()); diff != "" {
				t.Errorf("came back different (-want +got):\n%s", diff)
			}
			checkDocument(t, doc)

			again, err := p.Document(reflect.ValueOf(&got).Elem().Elem())
			if err != nil {
				t.Fatal(err)
			}
			if !driver.Equal(doc, again) {
				t.Errorf("the document of what came back is %v, want %v", again, doc)
			}
			b2, err := p.Encode([]byte("before"), again)
			if err != nil {
				t.Fatal(err)
			}
			if string(b2) != "before"+string(b) {
				t.Errorf("the second encoding is %x, want %x", b2[6:], b)
			}
		})
	}
}

// checkDocument fails the test if a document holds what driver.Value must not.
func checkDocument(t *testing.T, v driver.Value) {
	t.Helper()
	switch v := v.(type) {
	case []driver.Value:
		for _, x := range v {
			checkDocument(t, x)
		}
	case driver.Document:
		names := map[string]bool{}
		for _, f := range v {
			if f.Name == "" || names[f.Name] {
				t.Errorf("the name %q is empty or there twice", f.Name)
			}
			names[f.Name] = true
			checkDocument(t, f.Value)
		}
	case uint64:
		if v <= math.MaxInt64 {
			t.Errorf("uint64 %d, want an int64", v)
		}
	case time.Time:
		if v != time.UnixMilli(v.UnixMilli()).UTC() {
			t.Errorf("the time %v, want whole milliseconds in UTC", v)
		}
	case nil, bool, int64, float64, string, []byte:
	default:
		t.Errorf("the document holds a %T", v)
	}
}

// Decode into a value that is in use must leave nothing of it.
func TestDecodeOverwrites(t *testing.T) {
	for _, s := range corpus() {
		t.Run(s.name, func(t *testing.T) {
			p := planOf(t, s.value)
			_, b, _ := throughAll(t, p, s.value)
			typ := reflect.TypeOf(s.value)
			v := reflect.New(typ).Elem()
			for _, other := range corpus() {
				if reflect.TypeOf(other.value) != typ || typ == reflect.TypeFor[Secret]() {
					continue
				}
				_, otherB, want := throughAll(t, p, other.value)
				if _, err := p.Decode(otherB, v); err != nil {
					t.Fatal(err)
				}
				before := v.Interface()
				if _, err := p.Decode(b, v); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(decode(t, p, b, typ), v.Interface(), same, cmpopts.EquateComparable()); diff != "" {
					t.Errorf("after %s (-want +got):\n%s", other.name, diff)
				}
				// Nor may what was handed out before change: the arrays in the
				// struct are copies, what it points to is not.
				if diff := cmp.Diff(want, before, same, cmpopts.EquateComparable()); diff != "" {
					t.Errorf("%s changed (-want +got):\n%s", other.name, diff)
				}
			}
		})
	}
}

// A document and a value share no memory.
func TestNothingShared(t *testing.T) {
	p := planOf(t, Bytes{})
	v := Bytes{A: []byte("abc"), B: Blob("abc"), D: [3]byte{1, 2, 3}}
	doc, err := p.Document(reflect.ValueOf(&v).Elem())
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Encode(nil, doc)
	if err != nil {
		t.Fatal(err)
	}
	var got Bytes
	if _, err := p.Decode(b, reflect.ValueOf(&got).Elem()); err != nil {
		t.Fatal(err)
	}
	v.A[0], v.B[0], v.D[0] = 'x', 'x', 9
	clear(b)
	for _, name := range []string{"A", "B", "D"} {
		if x, _ := doc.Get(name); x.([]byte)[0] == 'x' || x.([]byte)[0] == 9 {
			t.Errorf("%s of the document changed with the value", name)
		}
	}
	if string(got.A) != "abc" || string(got.B) != "abc" {
		t.Errorf("the decoded value changed with the encoding: %q %q", got.A, got.B)
	}
}

func TestSkip(t *testing.T) {
	type User struct {
		ID      Named `json:"id" graph:"id"`
		Name    string
		Version int
	}
	p, err := plan.Of(owner, reflect.TypeFor[User](), func(sf reflect.StructField) bool {
		return sf.Name == "ID" || sf.Name == "Version"
	})
	if err != nil {
		t.Fatal(err)
	}
	doc, b, got := throughAll(t, p, User{"u", "Ann", 3})
	if diff := cmp.Diff(driver.Document{{Name: "Name", Value: "Ann"}}, doc); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(User{Name: "Ann"}, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	kept := User{"u", "Bob", 3}
	if _, err := p.Decode(b, reflect.ValueOf(&kept).Elem()); err != nil {
		t.Fatal(err)
	}
	if want := (User{"u", "Ann", 3}); kept != want {
		t.Errorf("decoded %v, want %v", kept, want)
	}
}

// Only the fields of the struct itself are skipped, not those of its parts.
func TestSkipIsShallow(t *testing.T) {
	type Part struct{ ID string }
	type Version struct{ Version int }
	type Whole struct {
		ID   string
		Part Part
		Version
	}
	p, err := plan.Of(owner, reflect.TypeFor[Whole](), func(sf reflect.StructField) bool {
		return sf.Name == "ID" || sf.Type.Kind() == reflect.Int
	})
	if err != nil {
		t.Fatal(err)
	}
	doc, _, _ := throughAll(t, p, Whole{"w", Part{"p"}, Version{3}})
	want := driver.Document{
		{Name: "Part", Value: driver.Document{{Name: "ID", Value: "p"}}},
		{Name: "Version", Value: int64(3)},
	}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	_, doc := documentOf(t, Embedding{Base: Base{noon, "lost"}, Audit: &Audit{}, Name: "n"})
	want := []string{"created", "by", "tags", "depth", "width", "celsius", "Named", "name"}
	var got []string
	for _, f := range doc {
		got = append(got, f.Name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	_, doc = documentOf(t, Secret{"s", "hidden", "d", "note"})
	if diff := cmp.Diff(driver.Document{{Name: "Shown", Value: "s"}, {Name: "-", Value: "d"}}, doc); diff != "" {
		t.Errorf("secret (-want +got):\n%s", diff)
	}
}

func documentOf(t *testing.T, value any) (*plan.Plan, driver.Document) {
	t.Helper()
	p := planOf(t, value)
	doc, err := p.Document(reflect.ValueOf(value))
	if err != nil {
		t.Fatal(err)
	}
	return p, doc
}

// A name is that of the tagged field among those at the same depth.
func TestTaggedNameWins(t *testing.T) {
	type A struct{ X string }
	type B struct {
		Y string `json:"X"`
	}
	type Both struct {
		A
		B
	}
	_, doc := documentOf(t, Both{A{"a"}, B{"b"}})
	if diff := cmp.Diff(driver.Document{{Name: "X", Value: "b"}}, doc); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

// A map's entries are in order, whatever Go's order is, and the methods of a
// string type do not make its keys.
func TestMapNames(t *testing.T) {
	v := struct{ A map[fickle]int }{map[fickle]int{}}
	var want []string
	for i := range 50 {
		v.A[fickle(rune('0'+i))] = i
		want = append(want, string(rune('0'+i)))
	}
	v.A["panic"], want = -1, append(want, "panic")
	slices.Sort(want)
	doc, _, got := throughAll(t, planOf(t, v), v)
	var names []string
	for _, f := range doc[0].Value.(driver.Document) {
		names = append(names, f.Name)
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(v, got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

// An older name counts only for a field that has a name.
func TestHiddenOldName(t *testing.T) {
	type Part struct {
		Name  string `graph:"was=Title"`
		Title string
	}
	type Whole struct {
		Part
		Name string
	}
	_, doc := documentOf(t, Whole{Part{"hidden", "t"}, "n"})
	if diff := cmp.Diff(driver.Document{{Name: "Title", Value: "t"}, {Name: "Name", Value: "n"}}, doc); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

// Fields at a depth where the paths to siblings could share memory.
func TestDeepEmbedding(t *testing.T) {
	type D struct{ A, B, C int }
	type C struct{ D }
	type B struct{ C }
	type A struct{ B }
	v := A{B{C{D{1, 2, 3}}}}
	doc, _, got := throughAll(t, planOf(t, v), v)
	want := driver.Document{{Name: "A", Value: int64(1)}, {Name: "B", Value: int64(2)}, {Name: "C", Value: int64(3)}}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	if got != v {
		t.Errorf("decoded %v, want %v", got, v)
	}
}

// appending appends to what it reads, as it may not but could.
type appending string

func (a appending) MarshalText() ([]byte, error) { return []byte(a), nil }

func (a *appending) UnmarshalText(b []byte) error {
	*a = appending(b)
	_ = append(b, "overwritten"...)
	return nil
}

func TestUnmarshalCannotOverwrite(t *testing.T) {
	v := struct {
		A appending
		B string
	}{"a", "behind it"}
	if _, _, got := throughAll(t, planOf(t, v), v); got != v {
		t.Errorf("decoded %v, want %v", got, v)
	}
}

func TestEmpty(t *testing.T) {
	p := plan.Empty("edge kind \"wrote\"")
	if err := p.Probe(); err != nil {
		t.Error(err)
	}
	type NoData struct{ _ struct{} }
	for _, p := range []*plan.Plan{p, planOf(t, NoData{})} {
		doc, b, _ := throughAll(t, p, struct{}{})
		if doc == nil || len(doc) > 0 || string(b) != "\x90" {
			t.Errorf("document %#v, encoding %x; want an empty one and 90", doc, b)
		}
	}
	if plan.Empty("a").Fingerprint() != planOf(t, NoData{}).Fingerprint() {
		t.Error("the fingerprints of empty plans differ")
	}
}

func TestConcurrentUse(t *testing.T) {
	all := corpus()
	plans := map[reflect.Type]*plan.Plan{}
	for _, s := range all {
		plans[reflect.TypeOf(s.value)] = planOf(t, s.value)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for _, s := range all {
				p := plans[reflect.TypeOf(s.value)]
				doc, err := p.Document(reflect.ValueOf(s.value))
				if err != nil {
					t.Error(err)
					continue
				}
				b, err := p.Encode(nil, doc)
				if err != nil {
					t.Error(err)
				}
				if _, err := p.Decode(b, reflect.New(reflect.TypeOf(s.value)).Elem()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
