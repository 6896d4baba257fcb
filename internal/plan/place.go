package plan

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// place is a field by its position in its record.
type place struct {
	record *node
	i      int
}

func (at place) field() *field { return &at.record.fields[at.i] }

// ColumnAt returns the column of the Go field of type t at the offset in the
// struct. The type tells a struct from its first field. Fields behind pointers
// have no offset. The error wraps driver.ErrSchema, and says why the field has no
// column and what to do instead.
func (p *Plan) ColumnAt(offset uintptr, t reflect.Type) (*Column, error) {
	path, found := p.root.seek(offset, t)
	if !found {
		return nil, report(driver.ErrSchema, p.owner, p.root.unfound(path, offset, t))
	}
	if f := path[len(path)-1].field(); f.inline {
		err := fmt.Errorf("the struct behind the embedded pointer %v is not compared: embed the struct itself", t)
		return nil, report(driver.ErrSchema, p.owner, at(selectorOf(goFields(p.root.typ, offset, t)), err))
	}
	c, err := newColumn(p.owner, path)
	if err != nil {
		return nil, report(driver.ErrSchema, p.owner, atField(nameAt(path), err))
	}
	return c, nil
}

// seek returns the places that lead to the field of type t at the offset in the
// record. If there is none, they lead to the innermost field around the offset.
func (n *node) seek(offset uintptr, t reflect.Type) (path []place, found bool) {
	for i := range n.fields {
		f := &n.fields[i]
		within := offset - offsetOf(n.typ, f.index)
		switch {
		case within == 0 && f.node.typ == t:
			return []place{{n, i}}, true
		case within >= f.node.typ.Size(): // also if it is negative, or nothing is inside
			continue
		}
		path = []place{{n, i}}
		if f.node.form == recordForm {
			inner, found := f.node.seek(within, t)
			return append(path, inner...), found
		}
	}
	return path, false
}

// offsetOf returns the offset of a field in the struct type t.
func offsetOf(t reflect.Type, index []int) (offset uintptr) {
	for _, i := range index {
		offset, t = offset+t.Field(i).Offset, t.Field(i).Type
	}
	return offset
}

// nameAt returns the path in documents to the last of the places.
func nameAt(path []place) (name string) {
	for _, at := range path {
		name = join(name, at.field().name)
	}
	return name
}

// unfound says why there is no field of type t at the offset, which is inside the
// last of the places if there are any.
func (n *node) unfound(path []place, offset uintptr, t reflect.Type) error {
	chain := goFields(n.typ, offset, t)
	if len(chain) > 0 && promotes(chain[len(chain)-1]) {
		return at(selectorOf(chain), fmt.Errorf("the embedded struct %v is not compared as a whole: select a field inside it", t))
	}
	record := n
	for i, at := range path {
		around := at.field().node
		if err := around.indivisible(); err != nil {
			return atField(nameAt(path[:i+1]), err)
		}
		if around.form == recordForm {
			record = around
		}
	}
	if len(chain) == 0 {
		return fmt.Errorf("%v has no field of type %v at the offset %d", n.typ, t, offset)
	}
	return at(selectorOf(chain), record.unkept(chain))
}

// promotes reports whether the fields of an embedded struct count as those of the
// struct around it.
func promotes(sf reflect.StructField) bool {
	_, tagged, omit := jsonName(sf)
	return sf.Anonymous && !tagged && !omit && structBehind(sf.Type) != nil
}

// indivisible says why what is inside a value has no column, nil if it could.
func (n *node) indivisible() error {
	switch n.form {
	case arrayForm, byteArrayForm:
		return fmt.Errorf("what is inside the array %v is not compared: use a slice, or a field of its own", n.typ)
	case timeForm, textForm, jsonForm:
		return fmt.Errorf("what is inside %v is not compared, because it is kept as one value: select the field itself", n.typ)
	}
	return nil
}

// goFields returns the Go fields that lead to the one of type t at the offset in
// the struct type s, whether they are kept or not.
func goFields(s reflect.Type, offset uintptr, t reflect.Type) []reflect.StructField {
	for i := range s.NumField() {
		sf := s.Field(i)
		if sf.Offset == offset && sf.Type == t {
			return []reflect.StructField{sf}
		}
		if sf.Type.Kind() != reflect.Struct {
			continue
		}
		if inner := goFields(sf.Type, offset-sf.Offset, t); inner != nil {
			return append([]reflect.StructField{sf}, inner...)
		}
	}
	return nil
}

func selectorOf(chain []reflect.StructField) string {
	names := make([]string, len(chain))
	for i := range chain {
		names[i] = chain[i].Name
	}
	return strings.Join(names, ".")
}

// unkept says why a Go field is not one of the record.
func (n *node) unkept(chain []reflect.StructField) error {
	for _, sf := range chain {
		if _, _, omit := jsonName(sf); omit {
			return errors.New(`it is not stored, because of the tag json:"-": give it a name`)
		}
		if !sf.IsExported() && !promotes(sf) {
			return errors.New("it is not stored, because it is not exported: export it")
		}
	}
	name, _, _ := jsonName(chain[len(chain)-1])
	if n.has(name) {
		return fmt.Errorf("it is not stored, because another field is named %q: give it a name of its own", name)
	}
	return errors.New("it is not stored in the document: select another field")
}

// has reports whether the record has a field of the name.
func (n *node) has(name string) (found bool) {
	n.each(func(f *field) { found = found || f.name == name })
	return found
}
