package mongo

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// index is an index that the layout of a kind asks for.
type index struct {
	declared string // the name of the driver.Index, empty for what every kind has
	name     string // in the database
	columns  []driver.Column
	keys     bson.D
	unique   bool
	sparse   bool // or whatever the server makes of it, if loose
	loose    bool
	partial  bson.D

	ready  atomic.Bool
	failed atomic.Pointer[error] // why it cannot be built
}

// newIndex names an index by what it is: a schema that changes an index asks for another, and
// the old one stays for the programs that still use it.
func newIndex(keys bson.D) *index {
	var b strings.Builder
	b.WriteString("graphcache")
	for _, k := range keys {
		fmt.Fprintf(&b, "_%s_%v", k.Key, k.Value)
	}
	return &index{name: b.String(), keys: keys}
}

func (ix *index) asUnique() *index {
	ix.unique = true
	ix.name += "_unique"
	return ix
}

// indexesOf returns what the database must have for a declared index.
//
// The index is sorted by ID where its own columns leave off. One that is unique has no entry
// for an object whose fields are not there, which are those of one marked Deleting: it is
// sparse. If a column can be nil or is a list, an entry with a nil in it, or of no elements,
// must not be there either; that takes a partial index, which queries do not use, and so
// another one beside it. So does one of several columns: a search that is sorted by the last
// of them is sorted by ID at the end, and a sparse index is none for sorting.
func indexesOf(declared *driver.Index, plain bool) []*index {
	var keys bson.D
	var partial bson.D
	byID := false
	for i := range declared.Columns {
		c := &declared.Columns[i]
		if c.Of == driver.ObjectID {
			byID = true
		}
		field := columnPath(c, "")
		keys = append(keys, bson.E{Key: field, Value: int32(1)})
		switch {
		case c.List:
			partial = append(partial, bson.E{Key: field + ".0", Value: bson.D{{Key: "$exists", Value: true}}})
		case c.Zero == nil:
			partial = append(partial, bson.E{Key: field, Value: bson.D{{Key: "$type", Value: notNull}}})
		}
	}
	var all []*index
	if declared.Unique {
		ix := newIndex(keys).asUnique()
		if ix.partial = partial; plain {
			ix.partial = nil
		}
		ix.sparse, ix.loose = ix.partial == nil, plain
		all = append(all, ix)
	}
	if !declared.Unique || partial != nil || len(keys) > 1 {
		if !byID {
			keys = append(slices.Clip(keys), bson.E{Key: "_id", Value: int32(1)})
		}
		all = append(all, newIndex(keys))
	}
	for _, ix := range all {
		ix.declared, ix.columns = declared.Name, declared.Columns
	}
	return all
}

// notNull are the types of values other than null.
var notNull = bson.A{"double", "string", "object", "array", "binData", "objectId", "bool", "date", "int", "long", "decimal"}

// deletingIndex finds the objects that are marked Deleting.
func deletingIndex() *index {
	ix := newIndex(bson.D{{Key: deletingField, Value: int32(1)}})
	ix.sparse = true
	return ix
}

// indexes returns the indexes on the edges of a kind: what makes them unique, if _id does
// not, and one for the lists of each direction, if _id does not serve.
func (l *edgeLayout) indexes() []*index {
	prefix := bson.D{}
	if l.kindField != "" {
		prefix = bson.D{{Key: l.kindField, Value: int32(1)}}
	}
	keys := func(fields ...bson.E) bson.D { return append(slices.Clip(prefix), fields...) }
	from, to := bson.E{Key: l.from, Value: int32(1)}, bson.E{Key: l.to, Value: int32(1)}
	newest := bson.E{Key: l.time, Value: int32(-1)}
	var all []*index
	switch {
	case l.kind.ToOne && l.from != "_id":
		all = append(all, newIndex(keys(from)).asUnique())
	case l.kind.ToOne || l.endsAreID():
	default:
		all = append(all, newIndex(keys(from, to)).asUnique())
	}
	if !l.kind.ToOne {
		all = append(all, newIndex(keys(from, newest, to)))
	}
	return append(all, newIndex(keys(to, newest, from)))
}

// present is an index that the database has.
type present struct {
	Name    string   `bson:"name"`
	Key     bson.D   `bson:"key"`
	Unique  bool     `bson:"unique"`
	Sparse  bool     `bson:"sparse"`
	Partial bson.D   `bson:"partialFilterExpression"`
	Hidden  bool     `bson:"hidden"`
	TTL     *float64 `bson:"expireAfterSeconds"`
	BuildID any      `bson:"buildUUID"`
	Spec    *present `bson:"spec"` // what is above, of an index that is not complete
}

// building reports whether the index is not complete.
func (p *present) building() bool { return p.BuildID != nil }

// compare looks for the index among those that are there. It returns whether one serves, or
// in what way one differs that stands in its place.
func (ix *index) compare(there []present) (found bool, difference string) {
	for i := range there {
		p := &there[i]
		same := sameKeys(p.Key, ix.keys)
		switch {
		case same && p.serves(ix) && !p.building():
			return true, ""
		case same && p.serves(ix):
			// It is waited for like one that is missing.
		case same:
			difference = fmt.Sprintf("the index %q has the keys of %q, but is %s and should be %s", p.Name, ix.name, p.properties(), ix.properties())
		case p.Name == ix.name:
			difference = fmt.Sprintf("the index %q has the keys %s and should have %s", p.Name, keysText(p.Key), keysText(ix.keys))
		}
	}
	return false, difference
}

// serves reports whether the index does what is asked of the other, which has the same keys.
func (p *present) serves(ix *index) bool {
	switch {
	case p.Hidden || p.TTL != nil:
		return false
	case ix.unique && ix.partial != nil:
		return p.Unique && len(p.Partial) > 0
	case ix.unique:
		return p.Unique && len(p.Partial) == 0 && (p.Sparse || !ix.sparse || ix.loose)
	}
	return len(p.Partial) == 0 && (!p.Sparse || ix.sparse)
}

func (p *present) properties() string { return properties(p.Unique, p.Sparse, p.Partial, p.Hidden) }
func (ix *index) properties() string  { return properties(ix.unique, ix.sparse, ix.partial, false) }

func properties(unique, sparse bool, partial bson.D, hidden bool) string {
	var words []string
	for _, p := range []struct {
		is   bool
		word string
	}{{unique, "unique"}, {sparse, "sparse"}, {len(partial) > 0, "partial"}, {hidden, "hidden"}} {
		if p.is {
			words = append(words, p.word)
		}
	}
	if words == nil {
		return "plain"
	}
	return strings.Join(words, " and ")
}

func sameKeys(a, b bson.D) bool {
	return slices.EqualFunc(a, b, func(a, b bson.E) bool {
		return a.Key == b.Key && fmt.Sprint(a.Value) == fmt.Sprint(b.Value) // any type of number
	})
}

func keysText(keys bson.D) string {
	var parts []string
	for _, k := range keys {
		parts = append(parts, fmt.Sprintf("%s: %v", k.Key, k.Value))
	}
	return "{" + strings.Join(parts, ", ") + "}"
}
