package backend

import (
	"errors"
	"fmt"

	"github.com/graphcache/graphcache/driver"
)

// Expected reports whether a record with this version and document is what the write
// expects.
func Expected(w *driver.Write, version int64, doc driver.Document) bool {
	if w.Expect != 0 && w.Expect != version {
		return false
	}
	for i := range w.Old {
		now, _ := doc.Get(w.Old[i].Name)
		if !driver.Equal(now, w.Old[i].Value) {
			return false
		}
	}
	return true
}

// CheckEnds checks what is asked of the ends of an edge in its kind.
func CheckEnds(w *driver.Write, kind *driver.EdgeKind) error {
	byKey := kind.ToOne && (w.Op == driver.Delete || w.Op == driver.Rekind)
	switch {
	case w.Edge.To == "" && !byKey:
		return InvalidWrite(w, errors.New("To is empty"))
	case kind.Symmetric && w.Edge.From > w.Edge.To && !byKey:
		return InvalidWrite(w, errors.New("the kind is symmetric and From is after To"))
	}
	return nil
}

// CheckRekind checks the kinds between which a Rekind moves an edge.
func CheckRekind(w *driver.Write, from, to *driver.EdgeKind) error {
	switch {
	case from.Name == to.Name:
		return InvalidWrite(w, errors.New("NewKind is the kind itself"))
	case from.Family == "" || from.Family != to.Family:
		return InvalidWrite(w, fmt.Errorf("kind %q is not of the same family", w.NewKind))
	case from.ToOne != to.ToOne || from.Symmetric != to.Symmetric:
		return InvalidWrite(w, fmt.Errorf("kind %q differs in ToOne or Symmetric", w.NewKind))
	}
	return CheckEnds(w, from)
}
