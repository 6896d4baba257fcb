package graphcache

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// Kind is what a schema is made of: an [*ObjectKind], an [*EdgeKind] or an [*Index].
// [Graph.Backfill] and [Graph.InvalidateKind] take no index.
type Kind interface {
	declareIn(s *Schema)
}

// Schema is the set of kinds that a graph knows. It is immutable, and may be used
// by many graphs at once. Mistakes in it are reported by [Open].
type Schema struct {
	objects []*objectKind
	edges   []*edgeKind
	indexes []*index
	nils    int // kinds that were nil
}

// NewSchema returns a schema with the kinds and indexes given. The object kinds at the
// ends of an edge kind, and those of an index, must be among them.
func NewSchema(kinds ...Kind) *Schema {
	s := new(Schema)
	for _, k := range kinds {
		if k == nil || reflect.ValueOf(k).IsNil() {
			s.nils++
			continue
		}
		k.declareIn(s)
	}
	return s
}

// objectKind is what an ObjectKind[T] is without its type parameter.
type objectKind struct {
	name            string
	typ             reflect.Type
	plan            *plan.Plan
	id              []int   // index of the ID field
	version         []int   // index of the Version field, nil if there is none
	idAt, versionAt uintptr // where they are in the struct
	scans           bool    // searches of the whole kind are cached
	err             error   // what is wrong with the declaration

	// copied decodes an object of which copies share nothing, to be copied; nil if copies
	// of the kind's objects do.
	copied func(id string, v *value) any
}

// indexesOf returns the indexes of an object kind: those of its tags, which have the
// names of their fields, and those of the schema.
func (s *Schema) indexesOf(k *objectKind) []*index {
	var all []*index
	for _, t := range k.plan.Tagged() {
		ix := &index{kind: k, unique: t.Unique, columns: []*column{k.taggedColumn(t.Column)}}
		ix.name = ix.columns[0].Name()
		ix.prefix = ix.makePrefix()
		all = append(all, ix)
	}
	for _, ix := range s.indexes {
		if ix.kind == k {
			all = append(all, ix)
		}
	}
	return all
}

// edgeKind is what an EdgeKind[A, B, D] is without its type parameters.
type edgeKind struct {
	name      string
	from, to  *objectKind
	data      reflect.Type
	plan      *plan.Plan
	family    string
	toOne     bool
	symmetric bool
	err       error
}

// end returns the kind of the objects that a list in the direction leads to.
func (k *edgeKind) end(d driver.Direction) *objectKind {
	if d == driver.In {
		return k.from
	}
	return k.to
}

// direction returns the direction as anchors and stores know it: a symmetric kind
// has only one.
func (k *edgeKind) direction(d driver.Direction) driver.Direction {
	if k.symmetric {
		return driver.Out
	}
	return d
}

var nameRule = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// validate returns everything that is wrong with the schema.
func (s *Schema) validate() error {
	if s == nil || len(s.objects)+s.nils == 0 {
		return fmt.Errorf("%w: no object kinds", ErrSchema)
	}
	if s.nils > 0 {
		return fmt.Errorf("%w: %d of the kinds are nil: is a package variable used before it is set?", ErrSchema, s.nils)
	}
	v := validator{names: map[string]bool{}, types: map[reflect.Type]string{}, families: map[string]*edgeKind{}}
	for _, k := range s.objects {
		v.object(k)
	}
	for _, k := range s.edges {
		v.edge(s, k)
	}
	for _, ix := range s.indexes {
		v.index(s, ix)
	}
	if len(v.errs) == 0 {
		for _, k := range s.objects {
			v.indexNames(k, s.indexesOf(k))
		}
	}
	return errors.Join(v.errs...)
}

// validator collects the mistakes of a schema.
type validator struct {
	names    map[string]bool
	types    map[reflect.Type]string
	families map[string]*edgeKind
	errs     []error
}

func (v *validator) addf(kind, format string, args ...any) {
	v.errs = append(v.errs, fmt.Errorf("%w: %s: %s", ErrSchema, kind, fmt.Sprintf(format, args...)))
}

func (v *validator) name(what, name string) (label string) {
	label = fmt.Sprintf("%s kind %q", what, name)
	if !nameRule.MatchString(name) {
		v.addf(label, "a name has 1 to 64 letters, digits, '_' and '-', and starts with a letter")
	}
	if v.names[name] {
		v.addf(label, "the name is used twice")
	}
	v.names[name] = true
	return label
}

func (v *validator) object(k *objectKind) {
	v.name("object", k.name)
	if k.err != nil {
		v.errs = append(v.errs, k.err)
		return
	}
	if err := k.plan.Probe(); err != nil {
		v.errs = append(v.errs, err)
	}
}

func (v *validator) edge(s *Schema, k *edgeKind) {
	label := v.name("edge", k.name)
	for _, end := range []*objectKind{k.from, k.to} {
		if end == nil {
			v.addf(label, "the object kind at an end is nil")
			return
		}
		if !s.has(end) {
			v.addf(label, "the object kind %q at an end is not in the schema", end.name)
		}
	}
	if k.symmetric && k.from != k.to {
		v.addf(label, "a symmetric kind joins objects of one kind, not %q and %q", k.from.name, k.to.name)
	}
	if k.symmetric && k.toOne {
		v.addf(label, "a kind cannot be both symmetric and to-one")
	}
	v.family(label, k)
	if k.err != nil {
		v.errs = append(v.errs, k.err)
		return
	}
	if err := k.plan.Probe(); err != nil {
		v.errs = append(v.errs, err)
	}
}

func (v *validator) index(s *Schema, ix *index) {
	label := fmt.Sprintf("index %q", ix.name)
	if !nameRule.MatchString(ix.name) {
		v.addf(label, "a name has 1 to 64 letters, digits, '_' and '-', and starts with a letter")
	}
	switch {
	case ix.err != nil:
		v.errs = append(v.errs, ix.err)
	case !s.has(ix.kind):
		v.addf(label, "its object kind %q is not in the schema", ix.kind.name)
	}
}

// indexNames checks that no two indexes of a kind have one name.
func (v *validator) indexNames(k *objectKind, indexes []*index) {
	seen := map[string]bool{}
	for _, ix := range indexes {
		if seen[ix.name] {
			v.addf(fmt.Sprintf("object kind %q", k.name), "two indexes have the name %q", ix.name)
		}
		seen[ix.name] = true
	}
}

// family checks that the kinds of a family can take each other's edges.
func (v *validator) family(label string, k *edgeKind) {
	if k.family == "" {
		return
	}
	if !nameRule.MatchString(k.family) {
		v.addf(label, "the family name %q: a name has 1 to 64 letters, digits, '_' and '-', and starts with a letter", k.family)
	}
	first := v.families[k.family]
	if first == nil {
		v.families[k.family] = k
		return
	}
	switch {
	case first.from != k.from || first.to != k.to:
		v.addf(label, "its ends differ from those of %q in the same family %q", first.name, k.family)
	case first.data != k.data:
		v.addf(label, "its data type %v differs from that of %q in the same family %q, %v", k.data, first.name, k.family, first.data)
	case first.toOne != k.toOne || first.symmetric != k.symmetric:
		v.addf(label, "it differs in ToOne or Symmetric from %q in the same family %q", first.name, k.family)
	}
}

func (s *Schema) has(k *objectKind) bool {
	for _, o := range s.objects {
		if o == k {
			return true
		}
	}
	return false
}

// kindOf returns the only object kind of the schema whose Go type is t.
func (s *Schema) kindOf(t reflect.Type) (*objectKind, error) {
	var found *objectKind
	for _, k := range s.objects {
		if k.typ == t {
			if found != nil {
				return nil, fmt.Errorf("%w: the object kinds %q and %q are both of type %v", ErrSchema, found.name, k.name, t)
			}
			found = k
		}
	}
	if found == nil {
		return nil, fmt.Errorf("%w: no object kind is of type %v", ErrSchema, t)
	}
	return found, nil
}

// driver describes the schema to a store.
// Driver returns the schema as stores know it, for what they offer beside a graph, such as to
// say which indexes they would create. The error is the one that [Open] returns for a schema
// with a mistake.
func (s *Schema) Driver() (driver.Schema, error) {
	if err := s.validate(); err != nil {
		return driver.Schema{}, err
	}
	return s.driver(), nil
}

func (s *Schema) driver() driver.Schema {
	var d driver.Schema
	for _, k := range s.objects {
		kind := driver.ObjectKind{Name: k.name}
		for _, ix := range s.indexesOf(k) {
			kind.Indexes = append(kind.Indexes, ix.driver())
		}
		d.Objects = append(d.Objects, kind)
	}
	for _, k := range s.edges {
		d.Edges = append(d.Edges, driver.EdgeKind{
			Name: k.name, From: k.from.name, To: k.to.name,
			Family: k.family, ToOne: k.toOne, Symmetric: k.symmetric,
		})
	}
	return d
}

// edgesAt returns the edge kinds that have edges at objects of the kind, each with
// the directions in which to look for them.
func (s *Schema) edgesAt(k *objectKind) (kinds []*edgeKind, directions []driver.Direction) {
	for _, e := range s.edges {
		if e.from == k {
			kinds, directions = append(kinds, e), append(directions, driver.Out)
		}
		if e.to == k && !e.symmetric {
			kinds, directions = append(kinds, e), append(directions, driver.In)
		}
	}
	return kinds, directions
}
