package memory

import (
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// modifyLocked applies the changes of a Modify to an object, nil if there is none.
func (db *database) modifyLocked(kind *objects, before *driver.Object, w *driver.Write, log *[]change) driver.WriteResult {
	if before == nil || before.Deleting {
		return driver.WriteResult{Outcome: driver.Missing}
	}
	doc, ok := backend.Modified(before.Doc, w.Changes)
	if !ok || !backend.Expected(w, before.Version, before.Doc) {
		return driver.WriteResult{Outcome: driver.Conflict, Object: before}
	}
	after := &driver.Object{ID: before.ID, Version: before.Version + 1, Doc: doc}
	if index := kind.taken(after); index != "" {
		return driver.WriteResult{Outcome: driver.Exists, Index: index}
	}
	db.applyLocked(change{objects: kind, objectBefore: before, objectAfter: after}, log)
	return driver.WriteResult{Outcome: driver.Done, Object: after, OldObject: before}
}
