package plan_test

import (
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/graphcache/graphcache/internal/plan"
)

// Post is an object of the usual size.
type Post struct {
	Title   string    `json:"title"`
	Body    string    `json:"body"`
	Author  string    `json:"author"`
	Score   int       `json:"score"`
	Live    bool      `json:"live"`
	Created time.Time `json:"created"`
	Tags    []string  `json:"tags"`
}

var post = Post{
	"A typed graph", "Objects and edges, cached and invalidated for you.", "3f9a1c",
	42, true, noon, []string{"go", "graphs"},
}

func planOfPost(b testing.TB) (*plan.Plan, []byte) {
	p := planOf(b, Post{})
	_, encoding, _ := throughAll(b, p, post)
	return p, encoding
}

func BenchmarkDocument(b *testing.B) {
	p, _ := planOfPost(b)
	v := reflect.ValueOf(&post).Elem()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Document(v); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	p, encoding := planOfPost(b)
	doc, err := p.Document(reflect.ValueOf(post))
	if err != nil {
		b.Fatal(err)
	}
	for name, dst := range map[string][]byte{"nil": nil, "buffer": encoding[:0]} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err = p.Encode(dst, doc); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// decoders are the ways to decode a Post: the one of DecodeByReflection, and those
// with and without a reflect.Value.
var decoders = []struct {
	name   string
	decode func(p *plan.Plan, b []byte, to *Post) ([]byte, error)
}{
	{"reflection", func(p *plan.Plan, b []byte, to *Post) ([]byte, error) {
		return p.DecodeByReflection(b, reflect.ValueOf(to).Elem())
	}},
	{"value", func(p *plan.Plan, b []byte, to *Post) ([]byte, error) {
		return p.Decode(b, reflect.ValueOf(to).Elem())
	}},
	{"pointer", func(p *plan.Plan, b []byte, to *Post) ([]byte, error) {
		return p.DecodeTo(b, unsafe.Pointer(to))
	}},
}

func BenchmarkDecode(b *testing.B) {
	p, encoding := planOfPost(b)
	for _, d := range decoders {
		b.Run("new/"+d.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.decode(p, encoding, new(Post)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("same/"+d.name, func(b *testing.B) {
			to := new(Post)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.decode(p, encoding, to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecodeOf decodes what a Post does not have.
func BenchmarkDecodeOf(b *testing.B) {
	type scalars struct {
		A, B, C int64
		D       bool
		E       float64
		F       time.Time
		G       uint64
	}
	for _, s := range []struct {
		name  string
		value any
	}{
		{"scalars", scalars{1, -1000, 1e6, true, 2.5, noon, 1 << 40}},
		{"small ints", Ints{B: 1, C: 1000, D: 1e6, F: 5}},
		{"nested", struct{ A, B, C Point }{Point{1, 2}, Point{3, 4}, Point{5, 6}}},
		{"structs", struct{ A []Audit }{[]Audit{{"me", nil}, {"you", nil}, {"they", nil}}}},
		{"pointers", struct{ A, B, C *Point }{&Point{1, 2}, &Point{3, 4}, &Point{5, 6}}},
		{"map of ints", struct{ A map[string]int }{map[string]int{"a": 1, "b": 2, "c": 3}}},
		{"map of structs", struct{ A map[string]Point }{map[string]Point{"a": {1, 2}, "b": {}, "c": {}}}},
		{"text", struct{ A, B, C Celsius }{Celsius{1}, Celsius{2}, Celsius{3}}},
	} {
		p := planOf(b, s.value)
		_, encoding, _ := throughAll(b, p, s.value)
		to := reflect.New(reflect.TypeOf(s.value))
		b.Run(s.name+"/reflection", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.DecodeByReflection(encoding, to.Elem()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(s.name+"/pointer", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.DecodeTo(encoding, to.UnsafePointer()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Decode allocates one string for all of a short encoding, a string for each in a
// long one, the slice, and nothing else; Encode into a buffer allocates nothing, and
// else what it returns.
func TestAllocations(t *testing.T) {
	p, encoding := planOfPost(t)
	long := post
	long.Body = strings.Repeat("x", 512)
	_, longEncoding, _ := throughAll(t, p, long)
	for _, test := range []struct {
		name     string
		encoding []byte
		want     float64
	}{
		{"short", encoding, 1 + 1},
		{"long", longEncoding, 3 + 1 + 2},
	} {
		for _, d := range decoders[1:] {
			to := new(Post)
			if got := testing.AllocsPerRun(100, func() {
				if _, err := d.decode(p, test.encoding, to); err != nil {
					t.Error(err)
				}
			}); got > test.want {
				t.Errorf("%s, %s: decoding makes %v allocations, want %v", test.name, d.name, got, test.want)
			}
		}
	}
	doc, err := p.Document(reflect.ValueOf(post))
	if err != nil {
		t.Fatal(err)
	}
	if encoding := testing.AllocsPerRun(100, func() {
		if encoding, err = p.Encode(encoding[:0], doc); err != nil {
			t.Error(err)
		}
	}); encoding > 0 {
		t.Errorf("Encode into a buffer makes %v allocations, want none", encoding)
	}
	if encoding := testing.AllocsPerRun(100, func() {
		if _, err := p.Encode(nil, doc); err != nil {
			t.Error(err)
		}
	}); encoding > 1 {
		t.Errorf("Encode makes %v allocations, want 1", encoding)
	}
}
