package plan_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// described returns the plan made from a plan's description.
func described(t rapid.TB, p *plan.Plan) *plan.Plan {
	t.Helper()
	text := p.Describe()
	if !bytes.Equal(text, p.Describe()) {
		t.Fatal("a plan has two descriptions")
	}
	d, err := plan.Described("described", text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if d.Fingerprint() != p.Fingerprint() {
		t.Errorf("the fingerprint is %x, want %x", d.Fingerprint(), p.Fingerprint())
	}
	return d
}

// checkDescribed checks that both plans make the same of a document.
func checkDescribed(t rapid.TB, p, d *plan.Plan, doc driver.Document) {
	t.Helper()
	want, wantErr := p.Encode(nil, doc)
	got, err := d.Encode(nil, doc)
	if !bytes.Equal(want, got) || errors.Is(wantErr, driver.ErrInvalid) != errors.Is(err, driver.ErrInvalid) || (wantErr == nil) != (err == nil) {
		t.Errorf("encoded as %x, error %v; want %x, error %v", got, err, want, wantErr)
	}
}

// TestDescribed: a plan made from a description encodes every document as the plan does.
func TestDescribed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range corpus() {
		t.Run(s.name, func(t *testing.T) {
			p := planOf(t, s.value)
			d := described(t, p)
			doc, err := p.Document(reflect.ValueOf(s.value))
			if err != nil {
				t.Fatal(err)
			}
			checkDescribed(t, p, d, nil)
			checkDescribed(t, p, d, doc)
			for range 5 {
				checkDescribed(t, p, d, disguise(doc, r.IntN).(driver.Document))
			}
			// Documents of other types: mostly mistakes.
			for _, other := range corpus() {
				if doc, err := planOf(t, other.value).Document(reflect.ValueOf(other.value)); err == nil {
					checkDescribed(t, p, d, doc)
				}
			}
		})
	}
	p := planOf(t, Article{})
	d := described(t, p)
	checkDescribed(t, p, d, nils().document())
	for _, doc := range []doc{
		{{"headline", "h"}}, {{"votes", doc{{"b", int64(2)}, {"a", nil}}}}, {{"years", doc{{"1", true}}}}, {{"years", doc{{"01", true}}}},
		{{"box", list{nil}}}, {{"box", list{}}}, {{"zip", "z"}}, {{"small", 300}}, {{"sum", []byte{1}}}, {{"ends", list{nil}}}, {{"at", inRome}},
	} {
		checkDescribed(t, p, d, doc.document())
	}
}

func TestDescribedRandom(t *testing.T) {
	p := planOf(t, Random{})
	d := described(t, p)
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.Make[Random]().Draw(t, "value")
		doc, err := p.Document(reflect.ValueOf(v))
		if err != nil {
			return
		}
		checkDescribed(t, p, d, disguise(doc, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "choice") }).(driver.Document))
	})
}

// FuzzDescribed: any text is a description or an error, and a plan that is made from one
// encodes a document or says why it does not.
func FuzzDescribed(f *testing.F) {
	var docs []driver.Document
	for _, s := range corpus() {
		p, err := plan.Of("kind", reflect.TypeOf(s.value), nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p.Describe())
		if doc, err := p.Document(reflect.ValueOf(s.value)); err == nil {
			docs = append(docs, doc)
		}
	}
	for _, text := range []string{
		``, `{}`, `{"format":1,"nodes":[]}`, `{"format":2,"nodes":[{"form":15}]}`, `{"format":1,"nodes":[{"form":1}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":0}]}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1}]},{"form":15,"fields":[{"name":"a","node":1}]}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1}]},{"form":11,"elem":1}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1,"inline":true}]},{"form":11,"elem":2},{"form":15,"fields":[{"node":1,"inline":true}]}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1,"inline":true}]},{"form":5}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1}]},{"form":13,"size":1000000,"elem":2},{"form":13,"size":1000000,"elem":3},{"form":1}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1}]},{"form":13,"size":2,"elem":1}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1}]},{"form":2}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1}]},{"form":14,"elem":2,"keys":2},{"form":1}]}`,
		`{"format":1,"nodes":[{"form":15,"fields":[{"name":"a","node":1}]},{"form":12}]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := plan.Described("kind", text)
		if err != nil {
			if !errors.Is(err, driver.ErrSchema) {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, doc := range docs {
			_, _ = p.Encode(nil, doc)
		}
	})
}
