package mongo

import (
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// document returns the document of an object.
func (l *objectLayout) document(o *driver.Object) (bson.D, error) {
	id, err := l.ids.value(o.ID)
	if err != nil {
		return nil, err
	}
	if _, clash := o.Doc.Get(l.version); clash {
		return nil, fmt.Errorf("%w: the field %q is that of the version (Options.Version)", driver.ErrInvalid, l.version)
	}
	d := bson.D{{Key: "_id", Value: id}, {Key: l.version, Value: o.Version}}
	if o.Deleting {
		return append(d, bson.E{Key: deletingField, Value: true}, bson.E{Key: docField, Value: documentToBSON(o.Doc)}), nil
	}
	return append(d, documentToBSON(o.Doc)...), nil
}

// object returns the object in a document.
func (l *objectLayout) object(raw bson.Raw) (*driver.Object, error) {
	o := &driver.Object{Version: unversioned, Doc: driver.Document{}}
	var apart bson.RawValue
	err := eachElement(raw, func(name string, v bson.RawValue) (err error) {
		switch name {
		case "_id":
			o.ID, err = l.ids.id(v)
		case l.version:
			o.Version, err = versionOf(v)
		case deletingField:
			o.Deleting, _ = v.BooleanOK()
		case docField:
			apart = v
		default:
			if name == "" || name[0] == '_' { // of another program: it cannot be a field of a kind
				return nil
			}
			o.Doc, err = appendField(o.Doc, name, v)
		}
		return err
	})
	if err == nil && o.Deleting {
		err = l.apart(o, apart)
	}
	if err != nil {
		return nil, l.broken(raw, err)
	}
	return o, nil
}

func (l *objectLayout) broken(raw bson.Raw, why error) error {
	return fmt.Errorf("mongo: collection %q: document %v: %w", l.collection, raw.Lookup("_id"), why)
}

// versionOf returns a record's version. Other programs may have copied it as another type of
// number.
func versionOf(v bson.RawValue) (int64, error) {
	if v.Type == bson.TypeNull {
		return unversioned, nil
	}
	n, ok := v.AsInt64OK()
	if !ok || n == 0 {
		return 0, fmt.Errorf("the version is %v", v)
	}
	return n, nil
}

// key returns the filter by which a document of an edge is found, whatever _id has beside
// the ends.
func (l *edgeLayout) key(from, to string) (bson.D, error) {
	f, err := l.fromIDs.value(from)
	if err != nil {
		return nil, err
	}
	if l.kind.ToOne {
		return append(bson.D{{Key: l.from, Value: f}}, l.of()...), nil
	}
	t, err := l.toIDs.value(to)
	if err != nil {
		return nil, err
	}
	if l.endsAreID() {
		return bson.D{{Key: "_id", Value: ends(f, t)}}, nil
	}
	return append(bson.D{{Key: l.from, Value: f}, {Key: l.to, Value: t}}, l.of()...), nil
}

// endsAreID reports whether _id is the ends and nothing else.
func (l *edgeLayout) endsAreID() bool {
	return !l.adopted && !l.kind.ToOne && l.kindField == ""
}

func ends(from, to any) bson.D {
	return bson.D{{Key: "from", Value: from}, {Key: "to", Value: to}}
}

// document returns the document of a new edge.
func (l *edgeLayout) document(e *driver.Edge) (bson.D, error) {
	f, err := l.fromIDs.value(e.From)
	if err != nil {
		return nil, err
	}
	t, err := l.toIDs.value(e.To)
	if err != nil {
		return nil, err
	}
	unique := bson.E{Key: "u", Value: bson.NewObjectID()}
	d := bson.D{}
	switch {
	case l.adopted:
		d = append(d, bson.E{Key: "_id", Value: unique.Value}, bson.E{Key: l.from, Value: f}, bson.E{Key: l.to, Value: t})
	case l.kind.ToOne && l.kindField == "":
		d = append(d, bson.E{Key: "_id", Value: f}, bson.E{Key: l.to, Value: t})
	case l.kind.ToOne:
		d = append(d, bson.E{Key: "_id", Value: bson.D{{Key: "from", Value: f}, unique}}, bson.E{Key: l.to, Value: t})
	case l.kindField == "":
		d = append(d, bson.E{Key: "_id", Value: ends(f, t)})
	default:
		d = append(d, bson.E{Key: "_id", Value: append(ends(f, t), unique)})
	}
	d = append(d, l.of()...)
	return append(d, l.content(e)...), nil
}

// content returns the fields of an edge that do not say which one it is.
func (l *edgeLayout) content(e *driver.Edge) bson.D {
	return bson.D{
		{Key: l.version, Value: e.Version},
		{Key: l.time, Value: bson.DateTime(e.Time.UnixMilli())},
		{Key: l.data, Value: documentToBSON(e.Data)},
	}
}

// edge returns the edge in a document.
func (l *edgeLayout) edge(raw bson.Raw) (*driver.Edge, error) {
	e := &driver.Edge{Version: unversioned, Time: time.UnixMilli(0).UTC(), Data: driver.Document{}}
	var err error
	if e.From, err = l.fromIDs.id(lookup(raw, l.from)); err != nil {
		return nil, l.broken(raw, l.from, err)
	}
	if e.To, err = l.toIDs.id(lookup(raw, l.to)); err != nil {
		return nil, l.broken(raw, l.to, err)
	}
	err = eachElement(raw, func(name string, v bson.RawValue) (err error) {
		switch name {
		case l.version:
			e.Version, err = versionOf(v)
		case l.time:
			if ms, ok := v.DateTimeOK(); ok {
				e.Time = time.UnixMilli(ms).UTC()
			} else if v.Type != bson.TypeNull {
				err = fmt.Errorf("field %q is a BSON %s and not a date", name, v.Type)
			}
		case l.data:
			if doc, ok := v.DocumentOK(); ok {
				e.Data, err = documentFromBSON(doc)
			} else if v.Type != bson.TypeNull {
				err = fmt.Errorf("field %q is a BSON %s and not a document", name, v.Type)
			}
		}
		return err
	})
	if err != nil {
		return nil, l.broken(raw, l.data, err)
	}
	return e, nil
}

func (l *edgeLayout) broken(raw bson.Raw, field string, why error) error {
	return fmt.Errorf("mongo: collection %q: document %v: field %q: %w", l.collection, raw.Lookup("_id"), field, why)
}

// lookup returns the value at the path of an end.
func lookup(raw bson.Raw, path string) bson.RawValue {
	switch path {
	case "_id.from":
		return raw.Lookup("_id", "from")
	case "_id.to":
		return raw.Lookup("_id", "to")
	}
	return raw.Lookup(path)
}

// apart takes the fields of an object that is marked Deleting from where they are.
func (l *objectLayout) apart(o *driver.Object, v bson.RawValue) (err error) {
	doc, ok := v.DocumentOK()
	if !ok {
		return nil // another program has made the mark, or removed them
	}
	fields, err := documentFromBSON(doc)
	o.Doc = append(fields, o.Doc...)
	return err
}
