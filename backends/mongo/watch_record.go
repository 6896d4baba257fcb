package mongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// memory is what a watcher has last seen of a record. Nothing in it is from a document that was
// looked up, which may be newer than the event.
type memory struct {
	version  int64    // of an object, 0 if it is not known
	deleting bool     // of an object
	ends     edgeEnds // of an edge
}

// recentRecords is how many records a watcher remembers at least.
const recentRecords = 1 << 14

// recent remembers the records that were seen last. What is forgotten counts as not known.
type recent struct{ now, before map[string]memory }

func (r *recent) get(key string) memory {
	if m, ok := r.now[key]; ok {
		return m
	}
	return r.before[key]
}

func (r *recent) set(key string, m memory) {
	if r.now == nil || len(r.now) >= recentRecords {
		r.now, r.before = make(map[string]memory), r.now
	}
	r.now[key] = m
}

func (r *recent) forget(key string) {
	delete(r.now, key)
	delete(r.before, key)
}

// record is the key of the event's record in recent.
func (in *watched) record(e *event) string {
	return in.namespace + "\x00" + e.collection + "\x00" + string(rune(e.id.Type)) + string(e.id.Value)
}

// object adds what an event says of an object.
func (w *watcher) object(b *changeBatch, in *watched, e *event) {
	l, key := in.object, in.record(e)
	was := w.recent.get(key)
	if e.op == "delete" {
		w.recent.forget(key)
	} else {
		w.recent.set(key, l.remember(e, was))
	}
	if l.own(e, was) {
		return
	}
	id, err := l.ids.id(e.id)
	if err != nil {
		w.broken(e)
		b.kind(l.name)
		return
	}
	c := driver.ForeignChange{Namespace: in.namespace, Kind: l.name, ID: id}
	for _, raw := range []bson.Raw{e.before, e.document} {
		if raw == nil {
			continue
		}
		o, err := l.object(raw)
		if err != nil {
			w.broken(e)
			b.kind(l.name)
			return
		}
		c.Objects = append(c.Objects, o)
	}
	if fields := l.indexed(); fields != nil && e.op != "insert" && e.before == nil && e.touches(fields...) {
		b.kind(l.name) // nobody can say which entries it had
		return
	}
	b.changes = append(b.changes, c)
}

// indexed returns the fields at the top from which the entries of an object in the declared
// indexes are made, nil if there are no such indexes.
func (l *objectLayout) indexed() (fields []string) {
	for _, ix := range *l.indexes.Load() {
		if ix.declared == "" {
			continue
		}
		fields = append(fields, deletingField, docField)
		for i := range ix.columns {
			c := &ix.columns[i]
			if c.Of == driver.ObjectID {
				continue
			}
			fields = append(fields, escape(c.Path[0]))
			if c.Was != nil {
				for _, name := range c.Was[0] {
					fields = append(fields, escape(name))
				}
			}
		}
	}
	return fields
}

// remember returns what is known of an object after an event.
func (l *objectLayout) remember(e *event, was memory) memory {
	if e.op != "update" {
		deleting, _ := e.document.Lookup(deletingField).BooleanOK()
		return memory{version: knownVersion(e.document, l.version), deleting: deleting}
	}
	switch {
	case e.removed[l.version]:
		was.version = unversioned
	case e.touched[l.version]:
		was.version = knownVersion(e.updated, l.version)
	}
	if e.touched[deletingField] {
		was.deleting, _ = e.updated.Lookup(deletingField).BooleanOK()
	}
	return was
}

// knownVersion returns the version in a document, 0 if it cannot be read.
func knownVersion(raw bson.Raw, field string) int64 {
	v, err := raw.LookupErr(field)
	if err != nil {
		return unversioned
	}
	n, _ := versionOf(v)
	return n
}

// copiedVersions is how many updates a program may have missed that copies a version.
const copiedVersions = 1 << 20

// own reports whether graphcache has certainly made the change, or one that does not matter.
//
// Versions begin at random and go up by one. A program that replaces a document by what it has
// read before gives it the version that it had then, which is that of the document or a little
// less.
func (l *objectLayout) own(e *event, was memory) bool {
	if e.before != nil {
		deleting, _ := e.before.Lookup(deletingField).BooleanOK()
		was = memory{version: knownVersion(e.before, l.version), deleting: deleting}
	}
	switch e.op {
	case "delete": // one that is marked has been taken for absent since
		return was.deleting
	case "replace":
		n := knownVersion(e.document, l.version)
		if n == 0 || n == unversioned || was.version == 0 {
			return false
		}
		return was.version == unversioned || n > was.version || n < was.version-copiedVersions
	}
	return e.versions(l.version)
}

// edgeEnds are the kind and the ends of an edge, empty as far as they are not known.
type edgeEnds struct{ kind, from, to string }

func (d edgeEnds) complete() bool { return d.from != "" && d.to != "" }

// or returns the ends, those that are not known from others.
func (d edgeEnds) or(o edgeEnds) edgeEnds {
	return edgeEnds{or(d.kind, o.kind), or(d.from, o.from), or(d.to, o.to)}
}

// endsIn returns the ends of an edge as far as its document has them, which may be nothing but
// the _id.
func (l *edgeLayout) endsIn(document bson.Raw) (d edgeEnds) {
	d.kind = l.kind.Name
	if l.kindField != "" {
		d.kind, _ = document.Lookup(l.kindField).StringValueOK()
	}
	d.from, _ = l.fromIDs.id(lookup(document, l.from))
	d.to, _ = l.toIDs.id(lookup(document, l.to))
	return d
}

// rememberEnds returns what is known of the ends of an edge after an event.
func (l *edgeLayout) rememberEnds(e *event, was edgeEnds) edgeEnds {
	if e.op != "update" {
		return l.endsIn(e.document)
	}
	now := l.endsIn(e.updated)
	if l.kindField != "" && !e.touched[l.kindField] {
		now.kind = was.kind
	}
	if !e.touched[l.from] {
		now.from = was.from
	}
	if !e.touched[l.to] {
		now.to = was.to
	}
	return now
}

// state is an edge as it was or is.
type state struct {
	edgeEnds
	document bson.Raw // nil if there is none
	needed   bool     // else nothing is missed if the ends are not known
}

// edge adds what an event says of an edge.
func (w *watcher) edge(b *changeBatch, in *watched, e *event) {
	l, key := in.edges[0], in.record(e)
	was, inKey := w.recent.get(key).ends, l.endsIn(keyDocument(e.id))
	before := state{inKey.or(was), e.before, true}
	if e.before != nil {
		before.edgeEnds = l.endsIn(e.before)
	}
	after := state{document: e.document}
	if e.op == "delete" {
		w.recent.forget(key)
	} else {
		now := l.rememberEnds(e, was)
		if !l.endsAreID() {
			w.recent.set(key, memory{ends: now})
		}
		after.edgeEnds = inKey.or(now).or(l.endsIn(e.document))
	}
	switch {
	case e.op == "delete":
		in.pass(b, before)
	case e.op != "replace" && e.versions(l.version): // it is graphcache's own
	case e.op == "insert":
		after.needed = true
		in.pass(b, after)
	case e.touches(l.from, l.to) || l.kindField != "" && e.touches(l.kindField):
		in.pass(b, before, after)
	default:
		after.edgeEnds, after.needed = after.or(before.edgeEnds), true
		in.pass(b, after)
	}
	if e.document != nil && !l.endsIn(e.document).complete() {
		w.broken(e)
	}
}

// pass adds the states of an edge, or a change of every kind of which it may have been.
func (in *watched) pass(b *changeBatch, states ...state) {
	for _, l := range in.edges {
		c := driver.ForeignChange{Namespace: in.namespace, Kind: l.kind.Name}
		for _, s := range states {
			switch {
			case s.kind != "" && s.kind != l.kind.Name:
			case s.complete():
				c.From, c.To = s.from, s.to
				c.Edges = append(c.Edges, l.state(s))
			case s.needed:
				b.kind(l.kind.Name)
			}
		}
		if c.Edges != nil {
			b.changes = append(b.changes, c)
		}
	}
}

// state returns an edge as far as it is known.
func (l *edgeLayout) state(s state) *driver.Edge {
	if s.document != nil {
		if e, err := l.edge(s.document); err == nil && e.From == s.from && e.To == s.to {
			return e
		}
	}
	return &driver.Edge{From: s.from, To: s.to}
}

// keyDocument returns a document that has nothing but the _id.
func keyDocument(id bson.RawValue) bson.Raw {
	raw, err := bson.Marshal(bson.D{{Key: "_id", Value: id}})
	if err != nil {
		return nil
	}
	return raw
}
