package plan

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// variants is how many values a probe makes. No list of probe values below is
// longer, and neighbouring fields start at different places in theirs.
const variants = 8

var errLost = errors.New("a value does not come back as it was")

// Probe sends values through Document, Encode and Decode and refuses the plan if
// one does not come back: a value that a write would change without a word must
// be found before there is one. It cannot be exhaustive for types that marshal
// themselves; it offers them texts of the usual sorts and keeps those that they
// accept. It calls their methods and does not panic when they do. The error wraps
// driver.ErrSchema and names the field.
func (p *Plan) Probe() (err error) {
	defer func() {
		if r := recover(); r != nil { // an Equal method, or the like
			err = report(driver.ErrSchema, p.owner, fmt.Errorf("a probe value panicked: %v", r))
		}
	}()
	pr := prober{samples: map[sampleKey]*sample{}, open: map[*node]int{}, seen: map[*node]bool{}}
	if err := pr.examine(p.root); err != nil {
		return report(driver.ErrSchema, p.owner, err)
	}
	for k := range variants + 1 {
		v := reflect.New(p.root.typ).Elem()
		if pr.left = maxFill; k > 0 { // else it stays the zero value
			pr.fill(p.root, v, k-1)
		}
		if err := p.comesBack(v); err != nil {
			return report(driver.ErrSchema, p.owner, err)
		}
	}
	return nil
}

// comesBack sends one value there and back.
func (p *Plan) comesBack(v reflect.Value) error {
	var d documenter
	doc, err := d.record(p.root, nil, v)
	if err != nil {
		return err
	}
	var e encoder
	b, err := e.record(p.root, nil, doc)
	if err != nil {
		return err
	}
	back := reflect.New(p.root.typ)
	end, err := p.decode(b, back.UnsafePointer())
	switch {
	case err != nil:
		return err
	case end < len(b):
		return fmt.Errorf("%d bytes of the encoding are left over", len(b)-end)
	}
	return p.root.differ(v, back.Elem())
}

// maxFill is how many nodes one probe value may visit. Types that refer to each
// other in many ways would otherwise make it grow without end.
const maxFill = 10_000

// prober makes probe values.
type prober struct {
	samples map[sampleKey]*sample
	// seen are the nodes that were examined.
	seen map[*node]bool
	// open counts the nodes around the one that is being filled.
	open map[*node]int
	// left is how many more nodes the value may visit.
	left int
}

type sampleKey struct {
	form form
	typ  reflect.Type
}

// sample returns what is known of a type that marshals itself.
func (p *prober) sample(f form, t reflect.Type) *sample {
	key := sampleKey{f, t}
	if p.samples[key] == nil {
		p.samples[key] = f.sample(t)
	}
	return p.samples[key]
}

// examine looks for types that marshal themselves and lose something.
func (p *prober) examine(n *node) error {
	if p.seen[n] {
		return nil
	}
	p.seen[n] = true
	if n.form == tableForm && n.keys == textKeys {
		if s := p.sample(textForm, n.typ.Key()); s.lost != nil {
			return fmt.Errorf("map keys of type %v do not come back: %w", n.typ.Key(), s.lost)
		}
	}
	if n.elem != nil {
		if err := p.examineChild(n.elem, n.form == arrayForm && n.size > 0); err != nil {
			if n.form != pointerForm {
				err = at("[]", err)
			}
			return err
		}
	}
	for i := range n.fields {
		f := &n.fields[i]
		if err := p.examineChild(f.node, true); err != nil {
			return f.fault(err)
		}
	}
	return nil
}

// examineChild examines n. It is always there if nothing around it can be nil or
// empty: then its zero value must come back, too.
func (p *prober) examineChild(n *node, always bool) error {
	if n.form != textForm && n.form != jsonForm {
		return p.examine(n)
	}
	s := p.sample(n.form, n.typ)
	switch {
	case s.lost != nil:
		return fmt.Errorf("a %v does not come back: %w", n.typ, s.lost)
	case s.zero != nil && always && !n.nilable:
		return fmt.Errorf("the zero value of %v does not come back, use a pointer: %w", n.typ, s.zero)
	}
	return nil
}

// fault adds the field to the place of an error. An inline field has no place of
// its own.
func (f *field) fault(err error) error {
	if f.inline {
		return err
	}
	return atField(f.name, err)
}

// fill sets v to the k-th probe value of its type and reports whether there is
// one.
func (p *prober) fill(n *node, v reflect.Value, k int) bool {
	p.left--
	switch n.form {
	case textForm, jsonForm:
		return fillSample(p.sample(n.form, n.typ), v, k)
	case pointerForm, listForm, tableForm:
		if p.left < 0 || p.open[n] > 1 {
			return true
		}
		p.open[n]++
		defer func() { p.open[n]-- }()
		p.fillNilable(n, v, k)
	case arrayForm:
		for i := range min(v.Len(), variants) {
			p.fill(n.elem, v.Index(i), k+i)
		}
	case recordForm:
		for i := range n.fields {
			p.fill(n.fields[i].node, n.fields[i].in(v), k+i)
		}
	default:
		fillScalar(n, v, k)
	}
	return true
}

func fillSample(s *sample, v reflect.Value, k int) bool {
	if len(s.values) > 0 {
		v.Set(s.values[k%len(s.values)])
	}
	return len(s.values) > 0
}

// fillNilable fills a pointer, or a list or table with one or two elements. It
// stays nil or empty if there is no value for the elements.
func (p *prober) fillNilable(n *node, v reflect.Value, k int) {
	elem := reflect.New(n.elem.typ).Elem()
	switch n.form {
	case pointerForm:
		if p.fill(n.elem, elem, k) {
			v.Set(elem.Addr())
		}
	case listForm:
		v.Set(reflect.MakeSlice(n.typ, 0, 2))
		for i := range 1 + k%2 {
			if elem.SetZero(); p.fill(n.elem, elem, k+i) {
				v.Set(reflect.Append(v, elem))
			}
		}
	case tableForm:
		v.Set(reflect.MakeMap(n.typ))
		key := reflect.New(n.typ.Key()).Elem()
		for i := range 1 + k%2 {
			elem.SetZero()
			if p.fillKey(n.keys, key, k+i) && p.fill(n.elem, elem, k+i) {
				v.SetMapIndex(key, elem)
			}
		}
	}
}

func (p *prober) fillKey(k keyForm, v reflect.Value, i int) bool {
	switch k {
	case stringKeys:
		v.SetString([]string{"a", "$b.c", "é"}[i%3])
	case intKeys:
		v.SetInt(integers(v.Type().Bits())[i%4])
	case uintKeys:
		v.SetUint(uint64(integers(v.Type().Bits())[i%4]) & (1<<v.Type().Bits() - 1))
	case timeKeys:
		v.Set(reflect.ValueOf(times[i%len(times)]))
	case textKeys:
		s := p.sample(textForm, v.Type())
		return fillSample(s, v, i) && textKeys.usable(v)
	}
	return true
}

// usable reports whether a document can have the key: a type may well have a
// value whose text is empty.
func (k keyForm) usable(v reflect.Value) bool {
	_, err := k.name(v)
	return err == nil
}

// The probe values of the plain types. The first is zero where there is one.
var (
	floats  = []float64{0, 1.5, math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), math.MaxFloat32, math.SmallestNonzeroFloat32}
	strs    = []string{"", "a", "\x00\"é€😀", strings.Repeat("long ", 100)}
	times   = []time.Time{{}, time.Date(2006, 1, 2, 15, 4, 5, 999_999_999, time.FixedZone("", 3600)), time.UnixMilli(firstMilli), time.UnixMilli(lastMilli)}
	byteses = [][]byte{nil, {}, {0}, {0xff, 'a'}}
)

func integers(bits int) [5]int64 {
	return [...]int64{0, 1, -1, -1 << (bits - 1), 1<<(bits-1) - 1}
}

func fillScalar(n *node, v reflect.Value, k int) {
	switch n.form {
	case boolForm:
		v.SetBool(k%2 == 1)
	case intForm:
		v.SetInt(integers(v.Type().Bits())[k%5])
	case uintForm:
		bits := v.Type().Bits()
		v.SetUint(uint64(integers(bits)[k%5]) & (1<<bits - 1))
	case floatForm:
		v.SetFloat(floats[k%len(floats)])
	case stringForm:
		v.SetString(strs[k%len(strs)])
	case bytesForm:
		v.SetBytes(byteses[k%len(byteses)])
	case byteArrayForm:
		for i, b := range v.Bytes() {
			v.Bytes()[i] = b + byte(i+k)
		}
	case timeForm:
		v.Set(reflect.ValueOf(times[k%len(times)]))
	}
}
