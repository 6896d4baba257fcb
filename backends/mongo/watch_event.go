package mongo

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// event is an event of a change stream.
type event struct {
	op         string
	collection string
	renamed    string        // what a rename makes of the collection
	id         bson.RawValue // of the document
	document   bson.Raw      // an insert's and a replace's; an update's as it is by now, nil if it is gone
	before     bson.Raw      // the pre-image, if there is one
	updated    bson.Raw
	touched    map[string]bool // the fields at the top that an update has changed or removed
	removed    map[string]bool // those that it has removed
	time       bson.Timestamp
}

func parseEvent(raw bson.Raw) *event {
	e := &event{id: raw.Lookup("documentKey", "_id")}
	e.op, _ = raw.Lookup("operationType").StringValueOK()
	e.collection, _ = raw.Lookup("ns", "coll").StringValueOK()
	e.renamed, _ = raw.Lookup("to", "coll").StringValueOK()
	e.document, _ = raw.Lookup("fullDocument").DocumentOK()
	e.before, _ = raw.Lookup("fullDocumentBeforeChange").DocumentOK()
	e.time.T, e.time.I, _ = raw.Lookup("clusterTime").TimestampOK()
	if e.op == "update" {
		e.describe(raw)
	}
	return e
}

// describe reads what an update has done.
func (e *event) describe(raw bson.Raw) {
	e.touched, e.removed = make(map[string]bool), make(map[string]bool)
	e.updated, _ = raw.Lookup("updateDescription", "updatedFields").DocumentOK()
	elements, _ := e.updated.Elements()
	for i := range elements {
		e.touched[top(elements[i].Key())] = true
	}
	for _, v := range values(raw.Lookup("updateDescription", "removedFields")) {
		name, _ := v.StringValueOK()
		e.touched[top(name)] = true
		e.removed[name] = true
	}
	for _, v := range values(raw.Lookup("updateDescription", "truncatedArrays")) {
		if d, ok := v.DocumentOK(); ok {
			name, _ := d.Lookup("field").StringValueOK()
			e.touched[top(name)] = true
		}
	}
}

// wellFormed reports whether everything in a document has the length that it says.
func wellFormed(raw bson.Raw) bool {
	return eachElement(raw, func(_ string, v bson.RawValue) error {
		if err := v.Validate(); err != nil {
			return err
		}
		if nested := v.Type == bson.TypeEmbeddedDocument || v.Type == bson.TypeArray; nested && !wellFormed(v.Value) {
			return errors.New("a malformed document")
		}
		return nil
	}) == nil
}

func values(array bson.RawValue) []bson.RawValue {
	a, ok := array.ArrayOK()
	if !ok {
		return nil
	}
	all, _ := a.Values()
	return all
}

// top returns the first name of a path.
func top(path string) string {
	name, _, _ := strings.Cut(path, ".")
	return name
}

// touches reports whether the event may have changed one of the fields.
func (e *event) touches(fields ...string) bool {
	return e.op != "update" || slices.ContainsFunc(fields, func(name string) bool { return e.touched[top(name)] })
}

// versions reports whether the event sets the version, which only graphcache does.
func (e *event) versions(field string) bool {
	in := e.document
	if e.op == "update" {
		in = e.updated
	}
	v, err := in.LookupErr(field)
	return err == nil && v.Type != bson.TypeNull
}

// collection is a collection of a namespace in which kinds are.
type watched struct {
	namespace string
	object    *objectLayout
	edges     []*edgeLayout
}

// watched returns what the collection can be: that of kinds of the root namespace, and where
// its name begins like that of a namespace, of kinds there.
func (db *database) watched(collection string) (all []watched) {
	add := func(namespace, collection string, spaces ...string) {
		for _, name := range spaces {
			db.mu.Lock()
			sp := db.spaces[name]
			db.mu.Unlock()
			if sp == nil {
				continue
			}
			objects, edges := sp.inCollection(collection)
			if len(objects)+len(edges) == 0 {
				continue
			}
			in := watched{namespace: namespace, edges: edges}
			if len(objects) > 0 {
				in.object = objects[0]
			}
			all = append(all, in)
			return
		}
	}
	add("", collection, "")
	if front, rest, ok := strings.Cut(collection, "/"); ok {
		if namespace, ok := unescapeName(front); ok && namespace != "" {
			add(namespace, rest, namespace, "")
		}
	}
	return all
}

// unescapeName returns the name of which escapeName has made another.
func unescapeName(escaped string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' {
			if i+2 >= len(escaped) {
				return "", false
			}
			n, err := strconv.ParseUint(escaped[i+1:i+3], 16, 8)
			if err != nil {
				return "", false
			}
			c, i = byte(n), i+2
		}
		b.WriteByte(c)
	}
	return b.String(), escapeName(b.String()) == escaped
}

// event adds what an event says to a batch.
func (w *watcher) event(b *changeBatch, a arrival) {
	b.token = a.token
	if a.event == nil {
		return
	}
	b.events++
	b.bytes += len(a.event)
	if !wellFormed(a.event) {
		w.broken(&event{})
		w.everyKind(b)
		return
	}
	e := parseEvent(a.event)
	b.time = e.time
	switch e.op {
	case "insert", "update", "replace", "delete":
		for _, in := range w.s.db.watched(e.collection) {
			if in.object != nil {
				w.object(b, &in, e)
			} else {
				w.edge(b, &in, e)
			}
		}
	case "drop", "rename":
		w.recent = recent{}
		for _, name := range []string{e.collection, e.renamed} {
			for _, in := range w.s.db.watched(name) {
				in.everyKind(b)
			}
		}
	case "dropDatabase", "invalidate":
		w.recent = recent{}
		w.everyKind(b)
		b.invalid = e.op == "invalidate"
	}
}

// everyKind adds a change of every kind that is declared.
func (w *watcher) everyKind(b *changeBatch) {
	var names []string
	w.s.db.mu.Lock()
	for _, sp := range w.s.db.spaces {
		sp.mu.RLock()
		for name := range sp.objects {
			names = append(names, name)
		}
		for name := range sp.edges {
			names = append(names, name)
		}
		sp.mu.RUnlock()
	}
	w.s.db.mu.Unlock()
	slices.Sort(names)
	for _, name := range names {
		b.kind(name)
	}
}

// everyKind adds a change of every kind in the collection.
func (in *watched) everyKind(b *changeBatch) {
	if in.object != nil {
		b.kind(in.object.name)
	}
	for _, l := range in.edges {
		b.kind(l.kind.Name)
	}
}

// broken logs that a document cannot be read, once for a collection.
func (w *watcher) broken(e *event) {
	if w.logged == nil {
		w.logged = make(map[string]bool)
	}
	if !w.logged[e.collection] {
		w.logged[e.collection] = true
		w.s.db.opts.Logger.Warn("mongo: watch: a document that another program has written cannot be read; what it can be counts as changed",
			"collection", e.collection, "operation", e.op)
	}
}
