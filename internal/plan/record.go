package plan

import (
	"reflect"
	"slices"
	"strings"
)

// candidate is a Go field that becomes a field of a record, unless another of
// the same name hides it.
type candidate struct {
	name   string
	tagged bool
	options
	typ reflect.Type
	// index leads to the field from the struct that its group stands for.
	index []int
	// selector is the Go expression for the field, depth the number of
	// embedded structs in it.
	selector string
	depth    int
	hidden   bool
}

// group is a struct of which fields are kept: the record's own, or one that it
// embeds by a pointer.
type group struct {
	typ      reflect.Type
	index    []int
	selector string
	members  []member
}

// member is a candidate or a group.
type member struct {
	field *candidate
	group *group
}

// promoter finds the fields of one record by the rules of encoding/json.
type promoter struct {
	b    *builder
	path string
	skip func(reflect.StructField) bool
	// names are the candidates by name, order the names as they were found.
	names map[string][]*candidate
	order []string
	// embedding are the structs that are being walked, against recursion.
	embedding []reflect.Type
	// unexported and exported say which fields there were, kept or not.
	unexported, exported bool
}

// record plans the struct type of n.
func (b *builder) record(n *node, path string, skip func(reflect.StructField) bool) {
	p := promoter{b: b, path: path, skip: skip, names: map[string][]*candidate{}}
	g := &group{typ: n.typ}
	p.walk(g, n.typ, nil, "")
	if p.unexported && !p.exported {
		b.refuse(path, "%v has no exported fields and no methods to marshal it, its content would be lost: "+
			`export the fields, give it MarshalText and UnmarshalText, or leave it out with json:"-"`, n.typ)
		return
	}
	n.form = recordForm
	p.hide()
	p.checkOldNames()
	n.fields = p.fields(g)
}

// walk adds the fields of t to g. The index leads to t from the group's struct,
// and selector from the record.
func (p *promoter) walk(g *group, t reflect.Type, index []int, selector string) {
	p.embedding = append(p.embedding, t)
	defer func() { p.embedding = p.embedding[:len(p.embedding)-1] }()
	for i := range t.NumField() {
		sf := t.Field(i)
		if !sf.IsExported() && !(sf.Anonymous && structBehind(sf.Type) != nil) {
			p.unexported = p.unexported || sf.Name != "_"
			p.leaveOut(sf, selector)
			continue
		}
		o, err := optionsOf(sf)
		if err != nil {
			p.refuse(selector+sf.Name, "%v", err)
			continue
		}
		name, tagged, omit := jsonName(sf)
		if omit || len(p.embedding) == 1 && p.skip != nil && p.skip(sf) {
			p.exported = true
			p.leaveOut(sf, selector)
			continue
		}
		at := append(slices.Clip(index), i)
		if sf.Anonymous && !tagged && structBehind(sf.Type) != nil {
			p.embed(g, sf, at, selector+sf.Name, o)
			continue
		}
		p.add(g, sf, &candidate{
			name: name, tagged: tagged, options: o, typ: sf.Type,
			index: at, selector: selector + sf.Name, depth: len(p.embedding) - 1,
		})
	}
}

// leaveOut refuses an index on a field that is not kept.
func (p *promoter) leaveOut(sf reflect.StructField, selector string) {
	if o, err := optionsOf(sf); err == nil && o.indexed {
		p.refuse(selector+sf.Name, "a field that is not stored as one of the document has no index")
	}
}

// refuse notes a mistake at a Go field.
func (p *promoter) refuse(selector, format string, args ...any) {
	p.b.refuse(join(p.path, selector), format, args...)
}

// embed adds the fields that an embedded struct promotes.
func (p *promoter) embed(g *group, sf reflect.StructField, index []int, selector string, o options) {
	t, pointer := structBehind(sf.Type), sf.Type.Kind() == reflect.Pointer
	switch {
	case t == timeType || methodsOf(t).pair():
		p.refuse(selector, "%v is kept as one value, not by its fields: name the embedded field with a json tag", t)
	case len(o.was) > 0:
		p.refuse(selector, "an embedded struct whose fields are promoted has no older name")
	case o.indexed:
		p.refuse(selector, "an embedded struct whose fields are promoted has no index: tag a field inside it")
	case slices.Contains(p.embedding, t):
		p.refuse(selector, "%v embeds itself", t)
	case pointer && !sf.IsExported():
		p.refuse(selector, "an embedded pointer to the unexported type %v cannot be set: embed the struct or export the type", t)
	case pointer:
		inner := &group{typ: t, index: index, selector: selector}
		g.members = append(g.members, member{group: inner})
		p.walk(inner, t, nil, selector+".")
	default:
		p.walk(g, t, index, selector+".")
	}
}

// add adds a candidate to g.
func (p *promoter) add(g *group, sf reflect.StructField, c *candidate) {
	p.exported = true
	if !sf.IsExported() && (sf.Type.Kind() == reflect.Pointer || methodsOf(sf.Type).pair()) {
		p.refuse(c.selector, "an embedded field of the unexported type %v cannot be set: name the field and export it", sf.Type)
		return
	}
	if err := CheckName(c.name); err != nil {
		p.refuse(c.selector, "%v", err)
		return
	}
	g.members = append(g.members, member{field: c})
	if len(p.names[c.name]) == 0 {
		p.order = append(p.order, c.name)
	}
	p.names[c.name] = append(p.names[c.name], c)
}

// hide decides between the candidates of one name: those nearest to the record's
// own struct come first, and among them those named by a tag. If several are left
// encoding/json would drop them all; here that is a mistake.
func (p *promoter) hide() {
	for _, name := range p.order {
		all := p.names[name]
		first := slices.MinFunc(all, func(a, b *candidate) int { return a.rank() - b.rank() }).rank()
		var shown []string
		for _, c := range all {
			c.hidden = c.rank() > first
			if !c.hidden {
				shown = append(shown, c.selector)
			}
		}
		if len(shown) > 1 {
			p.b.refuse(join(p.path, name), "the Go fields %s all have this name", strings.Join(shown, " and "))
		}
	}
}

func (c *candidate) rank() int {
	if c.tagged {
		return 2 * c.depth
	}
	return 2*c.depth + 1
}

// checkOldNames refuses an older name that is a name now: the field would read
// another one's content.
func (p *promoter) checkOldNames() {
	for _, name := range p.order {
		for _, c := range p.names[name] {
			for _, old := range c.was {
				if len(p.names[old]) > 0 && !c.hidden {
					p.b.refuse(join(p.path, name), "the older name %q is the name of a field now", old)
				}
			}
		}
	}
}

// fields makes the fields of a group that are not hidden.
func (p *promoter) fields(g *group) []field {
	var fields []field
	for _, m := range g.members {
		switch {
		case m.group != nil:
			fields = append(fields, p.inline(m.group))
		case !m.field.hidden:
			c := m.field
			fields = append(fields, field{
				name: c.name, options: c.options, index: c.index,
				node: p.b.node(c.typ, join(p.path, c.name)),
			})
		}
	}
	return fields
}

// inline makes the field for a struct that is embedded by a pointer. In a
// document nothing but its fields shows whether the pointer is nil, so there must
// be one.
func (p *promoter) inline(g *group) field {
	record := &node{form: recordForm, typ: g.typ, fields: p.fields(g)}
	if !slices.ContainsFunc(record.fields, func(f field) bool { return !f.inline }) {
		p.refuse(g.selector, "the embedded pointer promotes no field of %v: embed the struct or name the field", g.typ)
	}
	return field{
		index: g.index, inline: true,
		node: &node{form: pointerForm, typ: reflect.PointerTo(g.typ), elem: record},
	}
}

// structBehind returns t or what it points to if that is a struct type.
func structBehind(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer && t.Name() == "" {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}

// join appends a name to a path. Inline fields have none.
func join(path, name string) string {
	switch {
	case path == "":
		return name
	case name == "":
		return path
	}
	return path + "." + name
}
