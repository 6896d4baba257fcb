package backend

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/graphcache/graphcache/driver"
)

// PrepareAll copies the writes out of the caller's reach and checks what can be
// checked without looking at the store.
func PrepareAll(writes []driver.Write, now func() time.Time) ([]driver.Write, []error) {
	prepared := make([]driver.Write, len(writes))
	errs := make([]error, len(writes))
	for i := range writes {
		prepared[i], errs[i] = Prepare(&writes[i], now)
	}
	return prepared, errs
}

func Prepare(w *driver.Write, now func() time.Time) (driver.Write, error) {
	p := *w
	err := checkWrite(w)
	if err != nil {
		return p, InvalidWrite(w, err)
	}
	if w.Object != nil {
		p.Object, err = copyObject(w)
	} else {
		p.Edge, err = copyEdge(w, now)
	}
	if err != nil {
		return p, InvalidWrite(w, err)
	}
	if p.Old, err = copyDocument(w.Old, true); err != nil {
		return p, InvalidWrite(w, fmt.Errorf("Old: %w", err))
	}
	if p.Changes, err = copyChanges(w); err != nil {
		return p, InvalidWrite(w, fmt.Errorf("Changes: %w", err))
	}
	return p, nil
}

// checkWrite checks the shape of a write.
func checkWrite(w *driver.Write) error {
	switch {
	case w.Op < driver.Insert || w.Op > driver.Modify:
		return errors.New("the operation is not known")
	case w.Object == nil && w.Edge == nil:
		return errors.New("neither Object nor Edge is set")
	case w.Object != nil && w.Edge != nil:
		return errors.New("both Object and Edge are set")
	case w.Op == driver.Rekind && w.Edge == nil:
		return errors.New("only an edge can be moved to another kind")
	case w.Op == driver.Modify && w.Object == nil:
		return errors.New("only the fields of an object can be changed one by one")
	}
	if w.Object != nil {
		return cmp.Or(checkID("ID", w.Object.ID), checkVersion(w.Op, w.Object.Version))
	}
	err := cmp.Or(checkID("From", w.Edge.From), checkVersion(w.Op, w.Edge.Version))
	if err == nil && w.Edge.To != "" { // whether To may be empty depends on the kind
		err = checkID("To", w.Edge.To)
	}
	return err
}

func checkID(what, id string) error {
	switch {
	case id == "":
		return fmt.Errorf("%s is empty", what)
	case !utf8.ValidString(id):
		return fmt.Errorf("%s is not UTF-8", what)
	}
	return nil
}

func checkVersion(op driver.WriteOp, version int64) error {
	if version == 0 && op != driver.Delete && op != driver.Modify {
		return errors.New("Version is 0")
	}
	return nil
}

// InvalidWrite wraps the reason why a write is malformed.
func InvalidWrite(w *driver.Write, why error) error {
	return fmt.Errorf("write of %s: %w: %w", Name(w), driver.ErrInvalid, why)
}

// Name names the record that a write is about, in a message.
func Name(w *driver.Write) string {
	name := w.Kind
	if w.Object != nil {
		name += fmt.Sprintf(" %q", w.Object.ID)
	}
	if w.Edge != nil {
		name += fmt.Sprintf(" %q→%q", w.Edge.From, w.Edge.To)
	}
	return name
}

// copyObject returns a deep copy of what the write stores; in a Delete and a Modify
// that is only the key.
func copyObject(w *driver.Write) (*driver.Object, error) {
	if w.Op == driver.Delete || w.Op == driver.Modify {
		return &driver.Object{ID: w.Object.ID}, nil
	}
	o := *w.Object
	var err error
	o.Doc, err = copyDocument(o.Doc, true)
	return &o, err
}

// copyEdge is copyObject for an edge. It gives the edge the store's time if it has
// none.
func copyEdge(w *driver.Write, now func() time.Time) (*driver.Edge, error) {
	if w.Op == driver.Delete || w.Op == driver.Rekind {
		return &driver.Edge{From: w.Edge.From, To: w.Edge.To, Version: w.Edge.Version}, nil
	}
	e := *w.Edge
	if e.Time.IsZero() {
		e.Time = now()
	}
	e.Time = Truncate(e.Time)
	var err error
	e.Data, err = copyDocument(e.Data, true)
	return &e, err
}

// Truncate returns the whole millisecond that t is in.
func Truncate(t time.Time) time.Time {
	return time.UnixMilli(t.UnixMilli()).UTC()
}

// copyDocument returns a deep copy and checks that the names are acceptable.
func copyDocument(doc driver.Document, top bool) (driver.Document, error) {
	if doc == nil {
		return nil, nil
	}
	if err := checkNames(doc, top); err != nil {
		return nil, err
	}
	fields := make(driver.Document, len(doc))
	for i, f := range doc {
		value, err := CopyValue(f.Value)
		if err != nil {
			return nil, fmt.Errorf("field %q: %w", f.Name, err)
		}
		fields[i] = driver.Field{Name: f.Name, Value: value}
	}
	return fields, nil
}

func checkNames(doc driver.Document, top bool) error {
	for _, f := range doc {
		switch {
		case f.Name == "":
			return errors.New("a field name is empty")
		case !utf8.ValidString(f.Name) || strings.ContainsRune(f.Name, 0):
			return fmt.Errorf("field name %q holds NUL or is not UTF-8", f.Name)
		case top && f.Name[0] == '_':
			return fmt.Errorf("field name %q starts with '_'", f.Name)
		}
	}
	if name := twice(doc); name != "" {
		return fmt.Errorf("field %q is there twice", name)
	}
	return nil
}

// twice returns a name that two fields have, or "".
func twice(doc driver.Document) string {
	if len(doc) <= 16 { // most documents: comparing costs less than a map
		for i := range doc {
			if _, found := doc[:i].Get(doc[i].Name); found {
				return doc[i].Name
			}
		}
		return ""
	}
	seen := make(map[string]bool, len(doc))
	for _, f := range doc {
		if seen[f.Name] {
			return f.Name
		}
		seen[f.Name] = true
	}
	return ""
}

// CopyValue returns a deep copy of a value of one of the types that driver.Value
// allows, and refuses every other.
func CopyValue(v driver.Value) (driver.Value, error) {
	switch v := v.(type) {
	case nil, bool, int64, float64:
		return v, nil
	case uint64:
		if v <= math.MaxInt64 {
			return nil, fmt.Errorf("the uint64 %d fits an int64", v)
		}
		return v, nil
	case string:
		if !utf8.ValidString(v) {
			return nil, errors.New("a string is not UTF-8")
		}
		return v, nil
	case []byte:
		return append([]byte(nil), v...), nil
	case time.Time:
		return Truncate(v), nil
	case []driver.Value:
		return copyArray(v)
	case driver.Document:
		return copyDocument(v, false)
	}
	return nil, fmt.Errorf("a value has the type %T", v)
}

func copyArray(array []driver.Value) (driver.Value, error) {
	values := make([]driver.Value, len(array))
	for i := range array {
		var err error
		if values[i], err = CopyValue(array[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}
