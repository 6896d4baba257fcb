package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/graphcache/graphcache/driver"
)

// A description is what [Plan.Encode] needs of a plan, without its Go types: a program
// that lacks them can tell what one that has them keeps in a cache.
//
// It is JSON: the nodes of a plan in the order in which they are met, the root first,
// which refer to each other by their places.

const descriptionFormat = 1

type description struct {
	Format      int               `json:"format"`
	Fingerprint uint64            `json:"fingerprint,string"`
	Nodes       []nodeDescription `json:"nodes"`
}

type nodeDescription struct {
	Form form `json:"form"`
	// Type is the Go kind of a number, Key that of a map's keys.
	Type   reflect.Kind       `json:"type,omitempty"`
	Keys   keyForm            `json:"keys,omitempty"`
	Key    reflect.Kind       `json:"key,omitempty"`
	Elem   int                `json:"elem,omitempty"` // the root is no element
	Size   int                `json:"size,omitempty"`
	Boxed  bool               `json:"boxed,omitempty"`
	Fields []fieldDescription `json:"fields,omitempty"`
}

type fieldDescription struct {
	Name   string   `json:"name,omitempty"`
	Was    []string `json:"was,omitempty"`
	Node   int      `json:"node"`
	Inline bool     `json:"inline,omitempty"`
}

// Describe returns the plan's description, the same whenever the plan is.
func (p *Plan) Describe() []byte {
	h := hasher{sums: map[*node]hash{}}
	h.collect(p.root)
	places := make(map[*node]int, len(h.nodes))
	for i, n := range h.nodes {
		places[n] = i
	}
	d := description{Format: descriptionFormat, Fingerprint: p.fingerprint, Nodes: make([]nodeDescription, len(h.nodes))}
	for i, n := range h.nodes {
		t := nodeDescription{Form: n.form, Keys: n.keys, Size: n.size, Boxed: n.boxed}
		switch n.form {
		case intForm, uintForm, floatForm:
			t.Type = n.typ.Kind()
		case tableForm:
			t.Key = n.typ.Key().Kind()
		}
		if n.elem != nil {
			t.Elem = places[n.elem]
		}
		for j := range n.fields {
			f := &n.fields[j]
			t.Fields = append(t.Fields, fieldDescription{f.name, f.was, places[f.node], f.inline})
		}
		d.Nodes[i] = t
	}
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // there is nothing in it that could not be marshaled
	}
	return b
}

// maxZero is how long the encoding of a described plan's zero value may be.
const maxZero = 1 << 20

var errDescription = errors.New("malformed description of a plan")

// Described returns a plan that encodes as the described one does. It does nothing else
// than that: it has no columns, no Go type, and neither Document nor Decode.
func Described(owner string, text []byte) (*Plan, error) {
	var d description
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("%w: %s: %w: %w", driver.ErrSchema, owner, errDescription, err)
	}
	if d.Format != descriptionFormat || len(d.Nodes) == 0 || d.Nodes[0].Form != recordForm {
		return nil, fmt.Errorf("%w: %s: %w: format %d, %d nodes", driver.ErrSchema, owner, errDescription, d.Format, len(d.Nodes))
	}
	nodes := make([]node, len(d.Nodes))
	for i := range d.Nodes {
		if !d.Nodes[i].into(i, nodes) {
			return nil, fmt.Errorf("%w: %s: %w: node %d", driver.ErrSchema, owner, errDescription, i)
		}
	}
	c := circles{zeros: map[*node]int{}, chains: map[*node]bool{}}
	for i := range nodes {
		if c.zero(&nodes[i]) < 0 || !c.ends(&nodes[i]) {
			return nil, fmt.Errorf("%w: %s: %w: node %d contains itself, or is too large", driver.ErrSchema, owner, errDescription, i)
		}
	}
	return &Plan{owner: owner, root: &nodes[0], fingerprint: d.Fingerprint}, nil
}

// into makes node i of the nodes, and reports whether it is one.
func (d *nodeDescription) into(i int, nodes []node) bool {
	n := &nodes[i]
	*n = node{form: d.Form, keys: d.Keys, size: d.Size, boxed: d.Boxed, typ: reflect.TypeFor[any]()}
	if d.Form < boolForm || d.Form > recordForm || d.Size < 0 || d.Size > maxZero || d.Elem < 0 || d.Elem >= len(nodes) {
		return false
	}
	switch d.Form {
	case pointerForm, listForm, arrayForm, tableForm:
		if d.Elem == 0 {
			// The root is another node than the same type inside of it.
			return false
		}
		n.elem = &nodes[d.Elem]
	}
	switch d.Form {
	case intForm, uintForm, floatForm:
		n.typ = numberTypes[d.Type]
		return n.typ != nil && numberForm(d.Type) == d.Form
	case tableForm:
		return d.setKeys(n)
	case recordForm:
		n.fields = make([]field, len(d.Fields))
		for j, f := range d.Fields {
			if f.Node <= 0 || f.Node >= len(nodes) {
				return false
			}
			n.fields[j] = field{name: f.Name, options: options{was: f.Was}, node: &nodes[f.Node], inline: f.Inline}
		}
	}
	return true
}

// numberTypes are the types of the kinds of numbers.
var numberTypes = map[reflect.Kind]reflect.Type{
	reflect.Int: reflect.TypeFor[int](), reflect.Int8: reflect.TypeFor[int8](), reflect.Int16: reflect.TypeFor[int16](),
	reflect.Int32: reflect.TypeFor[int32](), reflect.Int64: reflect.TypeFor[int64](),
	reflect.Uint: reflect.TypeFor[uint](), reflect.Uint8: reflect.TypeFor[uint8](), reflect.Uint16: reflect.TypeFor[uint16](),
	reflect.Uint32: reflect.TypeFor[uint32](), reflect.Uint64: reflect.TypeFor[uint64](), reflect.Uintptr: reflect.TypeFor[uintptr](),
	reflect.Float32: reflect.TypeFor[float32](), reflect.Float64: reflect.TypeFor[float64](),
}

func numberForm(k reflect.Kind) form {
	switch {
	case k >= reflect.Int && k <= reflect.Int64:
		return intForm
	case k >= reflect.Uint && k <= reflect.Uintptr:
		return uintForm
	}
	return floatForm
}

// setKeys sets the type of a map, of which only that of the keys matters.
func (d *nodeDescription) setKeys(n *node) bool {
	key := reflect.TypeFor[string]()
	switch d.Keys {
	case stringKeys, textKeys:
	case timeKeys:
		key = timeType
	case intKeys, uintKeys:
		key = numberTypes[d.Key]
		if key == nil || numberForm(d.Key) != map[keyForm]form{intKeys: intForm, uintKeys: uintForm}[d.Keys] {
			return false
		}
	default:
		return false
	}
	n.typ = reflect.MapOf(key, reflect.TypeFor[bool]())
	return true
}

// circles looks for nodes that contain themselves without anything between that can be
// nil or empty: no Go type is like that, and the encoding of one would not end.
type circles struct {
	zeros  map[*node]int // lengths of zero values, -1 if there is none
	chains map[*node]bool
}

// zero returns how long the encoding of the zero value is, or -1.
func (c *circles) zero(n *node) int {
	if length, ok := c.zeros[n]; ok {
		return length
	}
	c.zeros[n] = -1 // if it is met again
	length := 9
	add := func(of *node, times int) {
		switch inner := c.zero(of); {
		case length < 0 || inner < 0 || times > 0 && inner > maxZero/times:
			length = -1
		default:
			if length += inner * times; length > maxZero {
				length = -1
			}
		}
	}
	switch n.form {
	case byteArrayForm:
		length += n.size
	case arrayForm:
		add(n.elem, n.size)
	case recordForm:
		for i := range n.fields {
			f := &n.fields[i]
			add(f.node, 1)
			if !f.inline {
				continue
			}
			if f.node.form != pointerForm || f.node.elem.form != recordForm {
				length = -1
				break
			}
			add(f.node.elem, 1)
		}
	}
	c.zeros[n] = length
	return length
}

// ends reports whether pointers to pointers come to an end.
func (c *circles) ends(n *node) bool {
	if n.form != pointerForm || n.boxed {
		return true
	}
	if ends, ok := c.chains[n]; ok {
		return ends
	}
	c.chains[n] = false
	c.chains[n] = c.ends(n.elem)
	return c.chains[n]
}
