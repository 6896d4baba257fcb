package main

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	"github.com/tidwall/btree"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// namespace names a collection.
type namespace struct {
	db, coll string
}

func (n namespace) String() string { return n.db + "." + n.coll }

// catalog is the data of the server at one moment. A published catalog never
// changes; a writer clones it and clones the collections it changes. Cloning
// must be done under the lock of the server, reading needs none.
type catalog struct {
	collections map[namespace]*collection
}

func (c *catalog) clone() *catalog {
	return &catalog{collections: maps.Clone(c.collections)}
}

// own replaces a collection, which is created if need be, with a clone that
// may be changed.
func (c *catalog) own(ns namespace) *collection {
	coll := c.collections[ns]
	if coll == nil {
		coll = newCollection(nil)
	} else {
		coll = coll.clone()
	}
	c.collections[ns] = coll
	return coll
}

// names lists the collections of a database in order.
func (c *catalog) names(db string) []string {
	var names []string
	for ns := range c.collections {
		if ns.db == db {
			names = append(names, ns.coll)
		}
	}
	slices.Sort(names)
	return names
}

// record is a document in a collection.
type record struct {
	n       uint64      // unique in the server and never used again
	version uint64      // the optime of the commit that wrote the document
	doc     bsonkit.Doc // never changed
}

type collection struct {
	options bson.D
	schema  uint64 // the optime of the last change of options or indexes
	records *btree.BTreeG[record]
	indexes []*index // the first is _id_
}

func newCollection(options bson.D) *collection {
	return &collection{
		options: options,
		records: btree.NewBTreeGOptions(
			func(a, b record) bool { return a.n < b.n },
			btree.Options{NoLocks: true, Degree: 8},
		),
		indexes: []*index{newIndex(indexSpec{Name: "_id_", Key: bson.D{{Key: "_id", Value: int32(1)}}, Unique: true})},
	}
}

func (c *collection) clone() *collection {
	clone := &collection{options: c.options, schema: c.schema, records: c.records.Copy()}
	for _, ix := range c.indexes {
		clone.indexes = append(clone.indexes, ix.clone())
	}
	return clone
}

// preImages tells whether the collection keeps documents as they were before
// a change.
func (c *collection) preImages() bool {
	spec, _ := lookup(c.options, "changeStreamPreAndPostImages").(bson.D)
	return truthy(lookup(spec, "enabled"))
}

func (c *collection) get(n uint64) (record, bool) {
	return c.records.Get(record{n: n})
}

func (c *collection) byID(id any) (record, bool) {
	var found record
	var ok bool
	c.indexes[0].scan([]any{id}, func(n uint64) bool {
		found, ok = c.get(n)
		return false
	})
	return found, ok
}

// put adds the record or replaces the one with its number. The keys must have
// been checked.
func (c *collection) put(rec record) {
	c.remove(rec.n)
	c.records.Set(rec)
	for _, ix := range c.indexes {
		ix.add(rec)
	}
}

func (c *collection) remove(n uint64) {
	old, ok := c.records.Delete(record{n: n})
	if !ok {
		return
	}
	for _, ix := range c.indexes {
		ix.remove(old)
	}
}

func (c *collection) index(name string) *index {
	for _, ix := range c.indexes {
		if ix.spec.Name == name {
			return ix
		}
	}
	return nil
}

// find returns the records that match the filter in their natural order. The
// filter must have passed prepareFilter. A limit of 0 means all.
func (c *collection) find(filter bson.D, limit int) ([]record, error) {
	var found []record
	var failure error
	visit := func(rec record) bool {
		ok, err := mongokit.Match(rec.doc, &filter)
		if err != nil {
			failure = err
			return false
		}
		if ok {
			found = append(found, rec)
		}
		return limit == 0 || len(found) < limit
	}
	numbers, ok := c.narrow(filter)
	if !ok {
		c.records.Scan(visit)
		return found, failure
	}
	for _, n := range numbers {
		if rec, ok := c.get(n); ok && !visit(rec) {
			break
		}
	}
	return found, failure
}

// findSorted is find with a sort order, which may be empty, and a skip.
func (c *collection) findSorted(filter, order bson.D, skip, limit int) ([]record, error) {
	if len(order) == 0 {
		bound := 0
		if limit > 0 {
			bound = skip + limit
		}
		found, err := c.find(filter, bound)
		return page(found, skip, limit), err
	}
	found, err := c.find(filter, 0)
	if err != nil {
		return nil, err
	}
	columns, err := mongokit.Columns(&order)
	if err != nil {
		return nil, err
	}
	sort.SliceStable(found, func(i, j int) bool {
		return inOrder(found[i].doc, found[j].doc, columns) < 0
	})
	return page(found, skip, limit), nil
}

// page cuts a page out of a list. A limit of 0 means no limit.
func page[T any](list []T, skip, limit int) []T {
	list = list[min(skip, len(list)):]
	if limit > 0 {
		list = list[:min(limit, len(list))]
	}
	return list
}

// narrow returns the numbers of the records that can match the filter, if an
// index tells them.
func (c *collection) narrow(filter bson.D) ([]uint64, bool) {
	bound := map[string][]any{}
	bindings(filter, bound)
	var best *index
	depth := 0
	for _, ix := range c.indexes {
		if ix.spec.Partial != nil {
			continue
		}
		d := 0
		for d < len(ix.columns) && bound[ix.columns[d].Path] != nil {
			d++
		}
		if d > depth {
			best, depth = ix, d
		}
	}
	if best == nil {
		return nil, false
	}
	seen := map[uint64]bool{}
	for _, key := range product(best.columns[:depth], bound) {
		best.scan(key, func(n uint64) bool {
			seen[n] = true
			return true
		})
	}
	return slices.Sorted(maps.Keys(seen)), true
}

// bindings collects the fields that the filter binds to one or a few values.
func bindings(filter bson.D, bound map[string][]any) {
	for _, e := range filter {
		if e.Key == "$and" {
			for _, sub := range e.Value.(bson.A) {
				bindings(sub.(bson.D), bound)
			}
			continue
		}
		if strings.HasPrefix(e.Key, "$") {
			continue
		}
		values := bson.A{e.Value}
		if ops, ok := e.Value.(bson.D); ok && isExpression(ops) {
			values = nil
			for _, op := range ops {
				switch op.Key {
				case "$eq":
					values = bson.A{op.Value}
				case "$in":
					values = op.Value.(bson.A)
				}
			}
		}
		if values != nil && !slices.ContainsFunc(values, unindexed) {
			bound[e.Key] = append([]any{}, values...)
		}
	}
}

// unindexed tells whether an equality with v matches other documents than
// those under v in an index.
func unindexed(v any) bool {
	switch v.(type) {
	case nil, bson.A, primitive.Regex, primitive.Null:
		return true
	}
	return false
}

func product(columns []bsonkit.Column, bound map[string][]any) [][]any {
	keys := [][]any{nil}
	for _, col := range columns {
		var next [][]any
		for _, key := range keys {
			for _, v := range bound[col.Path] {
				next = append(next, append(slices.Clip(slices.Clone(key)), v))
			}
		}
		keys = next
	}
	return keys
}
