package plan_test

import (
	"reflect"
	"testing"
	"time"

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
	b.ReportAllocs()
	b.SetBytes(int64(len(encoding)))
	for b.Loop() {
		if encoding, err = p.Encode(encoding[:0], doc); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	p, encoding := planOfPost(b)
	b.ReportAllocs()
	b.SetBytes(int64(len(encoding)))
	for b.Loop() {
		var post Post
		if _, err := p.Decode(encoding, reflect.ValueOf(&post).Elem()); err != nil {
			b.Fatal(err)
		}
	}
}

// Decode allocates the object, its strings and its slice, and nothing else;
// Encode into a buffer allocates nothing.
func TestAllocations(t *testing.T) {
	p, encoding := planOfPost(t)
	decoding := testing.AllocsPerRun(100, func() {
		post := new(Post)
		if _, err := p.Decode(encoding, reflect.ValueOf(post).Elem()); err != nil {
			t.Error(err)
		}
	})
	if want := 1 + 3 + 1 + 2.0; decoding > want {
		t.Errorf("Decode makes %v allocations, want at most %v", decoding, want)
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
		t.Errorf("Encode makes %v allocations, want none", encoding)
	}
}
