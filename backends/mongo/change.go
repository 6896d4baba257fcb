package mongo

import (
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// change is a write as the command that makes it.
type change struct {
	write      *driver.Write
	collection string // without the namespace
	name       string // the record's, in messages
	key        bson.D // finds the record
	condition  bson.D // that it is as expected
	taken      bson.D // finds the record that stands in the way, if not key does

	// One of them is set.
	insert      bson.D
	replacement bson.D
	update      bson.D
	remove      bool

	object *objectLayout
	edge   *edgeLayout // that of the new kind, after a Rekind
}

// found is a record that a write has met.
type found struct {
	object *driver.Object
	edge   *driver.Edge
}

// result is an outcome with the record, if there is one.
func (f *found) result(o driver.Outcome) driver.WriteResult {
	if f == nil {
		return driver.WriteResult{Outcome: o}
	}
	return driver.WriteResult{Outcome: o, Object: f.object, Edge: f.edge}
}

// change returns the command for a prepared write.
func (s *Store) change(w *driver.Write) (*change, error) {
	c := &change{write: w, name: backend.Name(w)}
	var err error
	if w.Object != nil {
		err = s.objectChange(c)
	} else {
		err = s.edgeChange(c)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (s *Store) objectChange(c *change) error {
	w := c.write
	l, err := s.space.object(w.Kind)
	if err != nil {
		return err
	}
	c.object, c.collection = l, l.collection
	id, err := l.ids.value(w.Object.ID)
	if err != nil {
		if w.Op == driver.Insert {
			return c.invalid(err)
		}
		id = bson.NewObjectID() // there is no record with such an ID
	}
	c.key = bson.D{{Key: "_id", Value: id}}
	c.condition = conditionOf(w, l.version, "")
	if w.Op != driver.Delete {
		if err := judged(l.collection, *l.indexes.Load()); err != nil {
			return err
		}
	}
	switch w.Op {
	case driver.Insert:
		c.insert, err = l.document(w.Object)
	case driver.Delete:
		c.remove = true
	case driver.Modify:
		c.modify(l)
	case driver.Replace:
		err = c.replaceObject(l)
	}
	return err
}

// replaceObject replaces a document, but for the fields that are not known if they are to be
// kept. If the version says which fields are gone, the document is changed in place, so that
// the change stream shows that graphcache has done it.
func (c *change) replaceObject(l *objectLayout) error {
	document, err := l.document(c.write.Object)
	if err != nil {
		return err
	}
	if !l.keep && c.write.Expect == 0 {
		c.replacement = document
		return nil
	}
	set := document[1:] // without _id
	var unset bson.D
	if c.write.Object.Deleting {
		for _, f := range c.write.Object.Doc {
			unset = append(unset, bson.E{Key: escape(f.Name), Value: ""})
		}
	} else {
		unset = bson.D{{Key: deletingField, Value: ""}, {Key: docField, Value: ""}}
	}
	if !l.keep {
		for _, name := range c.write.Gone {
			if _, there := c.write.Object.Doc.Get(name); !there {
				unset = append(unset, bson.E{Key: escape(name), Value: ""})
			}
		}
	}
	c.update = bson.D{{Key: "$set", Value: set}}
	if len(unset) > 0 {
		c.update = append(c.update, bson.E{Key: "$unset", Value: unset})
	}
	return nil
}

func (s *Store) edgeChange(c *change) error {
	w := c.write
	l, err := s.space.edge(w.Kind)
	if err == nil {
		err = backend.CheckEnds(w, &l.kind)
	}
	if err != nil {
		return err
	}
	c.edge, c.collection = l, l.collection
	if w.Op != driver.Delete {
		if err := judged(l.collection, l.wanted); err != nil {
			return err
		}
	}
	if c.key, err = l.key(w.Edge.From, w.Edge.To); err != nil {
		if w.Op == driver.Insert {
			return c.invalid(err)
		}
		c.key = bson.D{{Key: "_id", Value: bson.NewObjectID()}}
	}
	c.condition = conditionOf(w, l.version, l.data)
	switch w.Op {
	case driver.Insert:
		c.insert, err = l.document(w.Edge)
	case driver.Delete:
		c.remove = true
	case driver.Replace:
		set := l.content(w.Edge)
		if l.kind.ToOne {
			to, err := l.toIDs.value(w.Edge.To)
			if err != nil {
				return c.invalid(err)
			}
			set = append(set, bson.E{Key: l.to, Value: to})
		}
		c.update = bson.D{{Key: "$set", Value: set}}
	case driver.Rekind:
		err = s.rekind(c, l)
	}
	if err != nil {
		return c.invalid(err)
	}
	return nil
}

// rekind makes the change that moves an edge to another kind: they share a collection.
func (s *Store) rekind(c *change, from *edgeLayout) error {
	w := c.write
	to, err := s.space.edge(w.NewKind)
	if err == nil {
		err = backend.CheckRekind(w, &from.kind, &to.kind)
	}
	if err != nil {
		return err
	}
	c.edge = to
	c.update = bson.D{{Key: "$set", Value: bson.D{{Key: from.kindField, Value: w.NewKind}, {Key: from.version, Value: w.Edge.Version}}}}
	if taken, err := to.key(w.Edge.From, w.Edge.To); err == nil {
		c.taken = taken
	}
	return nil
}

func (c *change) invalid(err error) error {
	return fmt.Errorf("mongo: collection %q: %s: %w", c.collection, c.name, err)
}

// conditionOf returns the condition that a record is as the write expects. data is the field
// that its document is in.
func conditionOf(w *driver.Write, version, data string) bson.D {
	var d bson.D
	switch w.Expect {
	case 0:
	case unversioned:
		d = append(d, bson.E{Key: version, Value: nil})
	default:
		d = append(d, bson.E{Key: version, Value: w.Expect})
	}
	for _, f := range w.Old {
		d = append(d, equal(path(data, []string{f.Name}), f.Value)...)
	}
	return d
}

// equal returns the condition that a field has a value, also by type: MongoDB takes numbers
// of all types for one, and an array for each of its elements.
func equal(path string, v driver.Value) bson.D {
	is := bson.D{{Key: "$eq", Value: toBSON(v)}}
	notArray := bson.E{Key: "$not", Value: bson.D{{Key: "$type", Value: "array"}}}
	typed := func(types ...string) bson.D {
		return append(is, bson.E{Key: "$type", Value: types}, notArray)
	}
	switch v := v.(type) {
	case int64:
		is = typed("int", "long")
	case float64:
		is = typed("double")
	case uint64:
		is = typed("decimal")
	case []driver.Value:
		d := bson.D{{Key: path, Value: append(is, bson.E{Key: "$size", Value: int32(len(v))})}}
		if len(v) == 0 {
			return d
		}
		if _, nested := v[0].([]driver.Value); !nested { // else it is that of an array in this array
			d = append(d, bson.E{Key: path + ".0", Value: bson.D{notArray}})
		}
		return d
	default:
		is = append(is, notArray)
	}
	return bson.D{{Key: path, Value: is}}
}

// restate makes the condition one on the values as they are stored, after they have been found
// to be what is expected.
func (c *change) restate(present *found, raw bson.Raw) {
	data := ""
	if c.edge != nil {
		data = c.edge.data
	}
	names := []string{c.version()}
	for _, f := range c.write.Old {
		names = append(names, path(data, []string{f.Name}))
	}
	for i := range c.write.Changes {
		names = append(names, columnPath(c.write.Changes[i].Column, ""))
	}
	c.condition = nil
	for _, name := range names {
		v, err := raw.LookupErr(strings.Split(name, ".")...)
		if err != nil {
			c.condition = append(c.condition, bson.E{Key: name, Value: bson.D{{Key: "$exists", Value: false}}})
		} else {
			c.condition = append(c.condition, bson.E{Key: name, Value: bson.D{{Key: "$eq", Value: v}}})
		}
	}
	if c.write.Op == driver.Modify {
		c.remodify(present)
	}
}

func (c *change) version() string {
	if c.object != nil {
		return c.object.version
	}
	return c.edge.version
}

// read reads the record in a document.
func (c *change) read(raw bson.Raw) (*found, error) {
	if c.object != nil {
		o, err := c.object.object(raw)
		return &found{object: o}, err
	}
	e, err := c.edge.edge(raw)
	return &found{edge: e}, err
}

// expects reports whether a record is as the write expects, by package driver's rules.
func (c *change) expects(f *found) bool {
	version, doc := int64(0), driver.Document(nil)
	if f.object != nil {
		version, doc = f.object.Version, f.object.Doc
	} else {
		version, doc = f.edge.Version, f.edge.Data
	}
	if c.write.Op == driver.Modify {
		if f.object.Deleting {
			return false
		}
		if _, ok := backend.Modified(doc, c.write.Changes); !ok {
			return false
		}
	}
	return backend.Expected(c.write, version, doc)
}

// done is the result of a change that was made, of a record that was as it was in old.
func (c *change) done(old bson.Raw) (driver.WriteResult, error) {
	r := driver.WriteResult{Outcome: driver.Done}
	w := c.write
	if old != nil {
		f, err := c.read(old)
		if err != nil {
			f = &found{} // what cannot be read was there all the same
		}
		r.OldObject, r.OldEdge = f.object, f.edge
	}
	switch {
	case w.Op == driver.Delete:
	case w.Op == driver.Modify:
		if r.OldObject != nil {
			doc, _ := backend.Modified(r.OldObject.Doc, w.Changes)
			r.Object = &driver.Object{ID: w.Object.ID, Version: nextVersion(r.OldObject.Version), Doc: doc}
		}
	case w.Op == driver.Rekind:
		if r.OldEdge != nil {
			e := *r.OldEdge
			e.Version = w.Edge.Version
			r.Edge = &e
		}
	default:
		r.Object, r.Edge = w.Object, w.Edge
	}
	return r, nil
}

// nextVersion is what $inc makes of a version.
func nextVersion(v int64) int64 {
	if v == unversioned {
		return 1
	}
	return v + 1
}

// declared returns the declared name of an index, from its name in the database.
func (c *change) declared(index string) string {
	if c.object == nil {
		return ""
	}
	for _, ix := range *c.object.indexes.Load() {
		if ix.unique && ix.name == index {
			return ix.declared
		}
	}
	return ""
}
