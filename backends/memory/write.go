package memory

import (
	"fmt"
	"time"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// change takes one record from one state to another; a nil record is absence.
// Whatever changes the store is the application of a change, and undoing is the
// application of its reverse, so that no index beside the records is forgotten.
type change struct {
	objects                   *objects
	objectBefore, objectAfter *driver.Object
	edges                     *edges
	edgeBefore, edgeAfter     *driver.Edge
}

func (c change) reverse() change {
	c.objectBefore, c.objectAfter = c.objectAfter, c.objectBefore
	c.edgeBefore, c.edgeAfter = c.edgeAfter, c.edgeBefore
	return c
}

// applyLocked makes the change, and adds it to the log if there is one.
func (db *database) applyLocked(c change, log *[]change) {
	if c.objects != nil {
		c.objects.put(c.objectBefore, c.objectAfter)
		db.records += present(c.objectAfter) - present(c.objectBefore)
	} else {
		c.edges.put(c.edgeBefore, c.edgeAfter)
		db.records += present(c.edgeAfter) - present(c.edgeBefore)
	}
	if log != nil {
		*log = append(*log, c)
	}
}

func present[T any](record *T) int {
	if record == nil {
		return 0
	}
	return 1
}

// undoLocked takes back the changes in the log.
func (db *database) undoLocked(log []change) {
	for i := len(log) - 1; i >= 0; i-- {
		db.applyLocked(log[i].reverse(), nil)
	}
}

// fullLocked returns an error if no record can be added.
func (db *database) fullLocked() error {
	if db.maxRecords < 0 || db.records < db.maxRecords {
		return nil
	}
	return fmt.Errorf("memory: the store is bounded to %d records (StoreOptions.MaxRecords): %w", db.maxRecords, driver.ErrUnavailable)
}

// prepareAll copies the writes out of the caller's reach and checks what can be
// checked without looking at the store.
func prepareAll(writes []driver.Write, now func() time.Time) ([]driver.Write, []error) {
	prepared, errs := backend.PrepareAll(writes, now)
	for i := range errs {
		errs[i] = named(errs[i])
	}
	return prepared, errs
}

// named says whose error it is.
func named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("memory: %w", err)
}

// writeLocked applies a prepared write. With an error nothing was changed.
func (db *database) writeLocked(name string, w *driver.Write, log *[]change) (driver.WriteResult, error) {
	sp := db.spaces[name]
	switch {
	case w.Object != nil:
		return db.writeObjectLocked(sp, w, log)
	case w.Op == driver.Rekind:
		return db.rekindLocked(sp, w, log)
	}
	return db.writeEdgeLocked(sp, w, log)
}

func (db *database) writeObjectLocked(sp *space, w *driver.Write, log *[]change) (driver.WriteResult, error) {
	kind, err := sp.objectKind(w.Kind)
	if err != nil {
		return driver.WriteResult{}, err
	}
	before := kind.records[w.Object.ID]
	if w.Op == driver.Modify {
		return db.modifyLocked(kind, before, w, log), nil
	}
	if before != nil && (w.Op == driver.Insert || !backend.Expected(w, before.Version, before.Doc)) {
		return driver.WriteResult{Outcome: clash(w.Op), Object: before}, nil
	}
	if outcome, err := db.vacantLocked(w.Op, before == nil); outcome != driver.Done {
		return driver.WriteResult{Outcome: outcome}, err
	}
	after := w.Object
	if w.Op == driver.Delete {
		after = nil
	} else if index := kind.taken(after); index != "" {
		return driver.WriteResult{Outcome: driver.Exists, Index: index}, nil
	}
	db.applyLocked(change{objects: kind, objectBefore: before, objectAfter: after}, log)
	return driver.WriteResult{Outcome: driver.Done, Object: after, OldObject: before}, nil
}

func (db *database) writeEdgeLocked(sp *space, w *driver.Write, log *[]change) (driver.WriteResult, error) {
	kind, err := sp.edgeKind(w.Kind)
	if err == nil {
		err = named(backend.CheckEnds(w, &kind.kind))
	}
	if err != nil {
		return driver.WriteResult{}, err
	}
	before := kind.records[kind.key(w.Edge)]
	if before != nil && (w.Op == driver.Insert || !backend.Expected(w, before.Version, before.Data)) {
		return driver.WriteResult{Outcome: clash(w.Op), Edge: before}, nil
	}
	if outcome, err := db.vacantLocked(w.Op, before == nil); outcome != driver.Done {
		return driver.WriteResult{Outcome: outcome}, err
	}
	after := w.Edge
	if w.Op == driver.Delete {
		after = nil
	}
	db.applyLocked(change{edges: kind, edgeBefore: before, edgeAfter: after}, log)
	return driver.WriteResult{Outcome: driver.Done, Edge: after, OldEdge: before}, nil
}

// rekindLocked moves an edge. The key alone says which: in a kind that is ToOne
// the edge keeps its own To.
func (db *database) rekindLocked(sp *space, w *driver.Write, log *[]change) (driver.WriteResult, error) {
	from, to, err := sp.rekinded(w)
	if err != nil {
		return driver.WriteResult{}, err
	}
	before := from.records[from.key(w.Edge)]
	if before == nil {
		return driver.WriteResult{Outcome: driver.Missing}, nil
	}
	if !backend.Expected(w, before.Version, before.Data) {
		return driver.WriteResult{Outcome: driver.Conflict, Edge: before}, nil
	}
	if taken := to.records[to.key(before)]; taken != nil {
		return driver.WriteResult{Outcome: driver.Exists, Edge: taken}, nil
	}
	after := *before
	after.Version = w.Edge.Version
	db.applyLocked(change{edges: from, edgeBefore: before}, log)
	db.applyLocked(change{edges: to, edgeAfter: &after}, log)
	return driver.WriteResult{Outcome: driver.Done, Edge: &after, OldEdge: before}, nil
}

// rekinded returns the kinds between which a Rekind moves its edge.
func (sp *space) rekinded(w *driver.Write) (from, to *edges, err error) {
	if from, err = sp.edgeKind(w.Kind); err != nil {
		return nil, nil, err
	}
	if to, err = sp.edgeKind(w.NewKind); err != nil {
		return nil, nil, err
	}
	return from, to, named(backend.CheckRekind(w, &from.kind, &to.kind))
}

// vacantLocked judges a write by whether there is a record with its key; one that
// is there has been judged already.
func (db *database) vacantLocked(op driver.WriteOp, vacant bool) (driver.Outcome, error) {
	switch {
	case !vacant:
		return driver.Done, nil
	case op != driver.Insert:
		return driver.Missing, nil
	}
	if err := db.fullLocked(); err != nil {
		return driver.Refused, err
	}
	return driver.Done, nil
}

// clash is the outcome of an operation that a present record stands against.
func clash(op driver.WriteOp) driver.Outcome {
	if op == driver.Insert {
		return driver.Exists
	}
	return driver.Conflict
}
