package main

import (
	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	"github.com/tidwall/btree"
	"go.mongodb.org/mongo-driver/bson"
)

// indexSpec is what an index is declared with.
type indexSpec struct {
	Name    string
	Key     bson.D
	Unique  bool   `bson:",omitempty"`
	Sparse  bool   `bson:",omitempty"`
	Partial bson.D `bson:",omitempty"` // nil for none
}

// document is the form of the specification in listIndexes.
func (s indexSpec) document() bson.D {
	doc := bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: s.Key}, {Key: "name", Value: s.Name}}
	if s.Unique && s.Name != "_id_" {
		doc = append(doc, bson.E{Key: "unique", Value: true})
	}
	if s.Sparse {
		doc = append(doc, bson.E{Key: "sparse", Value: true})
	}
	if s.Partial != nil {
		doc = append(doc, bson.E{Key: "partialFilterExpression", Value: s.Partial})
	}
	return doc
}

func (s indexSpec) sameKey(t indexSpec) bool { return bsonkit.Compare(s.Key, t.Key) == 0 }

func (s indexSpec) sameOptions(t indexSpec) bool {
	return s.Unique == t.Unique && s.Sparse == t.Sparse && bsonkit.Compare(s.Partial, t.Partial) == 0
}

// index keeps the numbers of records by their keys. An array has a key for
// each of its elements.
type index struct {
	spec    indexSpec
	columns []bsonkit.Column
	tree    *btree.BTreeG[indexEntry]
}

type indexEntry struct {
	key []any // a prefix of the columns in a probe
	n   uint64
}

func newIndex(spec indexSpec) *index {
	columns, err := mongokit.Columns(&spec.Key)
	if err != nil {
		panic(err) // checked when the index was declared
	}
	less := func(a, b indexEntry) bool {
		for i := range min(len(a.key), len(b.key)) {
			c := compare(a.key[i], b.key[i])
			if columns[i].Reverse {
				c = -c
			}
			if c != 0 {
				return c < 0
			}
		}
		if len(a.key) != len(b.key) {
			return len(a.key) < len(b.key)
		}
		return a.n < b.n
	}
	return &index{
		spec:    spec,
		columns: columns,
		tree:    btree.NewBTreeGOptions(less, btree.Options{NoLocks: true, Degree: 8}),
	}
}

func (ix *index) clone() *index {
	return &index{spec: ix.spec, columns: ix.columns, tree: ix.tree.Copy()}
}

func (ix *index) add(rec record) {
	for _, key := range ix.keys(rec.doc) {
		ix.tree.Set(indexEntry{key, rec.n})
	}
}

func (ix *index) remove(rec record) {
	for _, key := range ix.keys(rec.doc) {
		ix.tree.Delete(indexEntry{key, rec.n})
	}
}

// scan visits the numbers of the records whose key begins with prefix.
func (ix *index) scan(prefix []any, visit func(n uint64) bool) {
	ix.tree.Ascend(indexEntry{key: prefix}, func(e indexEntry) bool {
		for i, v := range prefix {
			if compare(e.key[i], v) != 0 {
				return false
			}
		}
		return visit(e.n)
	})
}

// holder returns the number of a record with one of the keys that is not n.
func (ix *index) holder(keys [][]any, n uint64) (holder uint64, key []any, ok bool) {
	for _, k := range keys {
		ix.scan(k, func(m uint64) bool {
			if m != n {
				holder, key, ok = m, k, true
			}
			return !ok
		})
		if ok {
			break
		}
	}
	return holder, key, ok
}

// keys returns the keys of a document, none if the index leaves it out.
func (ix *index) keys(doc bsonkit.Doc) [][]any {
	if ix.spec.Partial != nil {
		if ok, err := mongokit.Match(doc, &ix.spec.Partial); err != nil || !ok {
			return nil
		}
	}
	keys := [][]any{nil}
	present := false
	for _, col := range ix.columns {
		value, _ := bsonkit.All(doc, col.Path, true, true)
		present = present || value != any(bsonkit.Missing)
		values, ok := value.(bson.A)
		if !ok || len(values) == 0 {
			values = bson.A{value}
		}
		next := make([][]any, 0, len(keys)*len(values))
		for _, key := range keys {
			for _, v := range values {
				k := make([]any, len(key), len(ix.columns))
				copy(k, key)
				next = append(next, append(k, v))
			}
		}
		keys = next
	}
	if ix.spec.Sparse && !present {
		return nil
	}
	return keys
}

// parallelArrays tells whether more than one column of the document is an
// array, which no index can hold.
func (ix *index) parallelArrays(doc bsonkit.Doc) bool {
	arrays := 0
	for _, col := range ix.columns {
		if value, _ := bsonkit.All(doc, col.Path, true, true); isArray(value) {
			arrays++
		}
	}
	return arrays > 1
}

func isArray(v any) bool {
	_, ok := v.(bson.A)
	return ok
}
