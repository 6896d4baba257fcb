package main

import (
	"errors"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	"go.mongodb.org/mongo-driver/bson"
)

// writer collects the changes of one statement. It works on a catalog of its
// own, the latest or that of the transaction with the changes so far.
type writer struct {
	s       *Server
	txn     *transaction
	catalog *catalog
	owned   map[namespace]*collection
	changes []change
}

// statement runs one statement of a command and commits its changes, those
// before an error too. Outside a transaction it waits for open transactions
// that hold what it needs, and begins again. The result is remembered for a
// retryable write.
func (s *Server) statement(c *command, number int, run func(*writer) (bson.D, error)) (bson.D, error) {
	if result, ok := s.recorded(c, number); ok {
		return result, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for until := c.until(lockWait); ; {
		w := &writer{s: s, txn: c.txn, catalog: s.latest, owned: map[namespace]*collection{}}
		if c.txn != nil {
			if !s.open[c.txn] {
				return nil, noSuchTransaction(c)
			}
			w.catalog = c.txn.catalog
		}
		w.catalog = w.catalog.clone()
		result, err := run(w)
		if errors.Is(err, errHeld) {
			switch {
			case c.txn != nil:
				return nil, writeConflict()
			case s.waitLocked(until):
				continue
			case c.maxTime > 0:
				return nil, fail(codeMaxTimeExpired, "operation exceeded time limit")
			}
			return nil, writeConflict()
		}
		if len(w.changes) == 0 {
			return result, err
		}
		if err := w.finishLocked(c, number, result); err != nil {
			return nil, err
		}
		return result, err // of a later document, where many are updated
	}
}

// finishLocked hands the changes to the transaction or commits them.
func (w *writer) finishLocked(c *command, number int, result bson.D) error {
	if t := w.txn; t != nil {
		t.catalog = w.catalog
		t.changes = append(t.changes, w.changes...)
		for _, ch := range w.changes {
			t.written[ch.Record] = true
		}
		return nil
	}
	var mark *sessionMark
	if c.session != nil {
		mark = &sessionMark{ID: c.session.id, Number: c.number, Statement: int32(number), Result: result}
	}
	return w.commitEachLocked(mark)
}

// commitEachLocked commits each change for itself, since an update or delete
// of many documents is not atomic. Other commands run in between; those that
// write to one of the documents find it held, as if by a transaction.
func (w *writer) commitEachLocked(mark *sessionMark) error {
	s, last := w.s, len(w.changes)-1
	if last == 0 {
		return s.commitLocked(w.changes, mark)
	}
	hold := &transaction{session: &session{}, begun: time.Now(), catalog: w.catalog, changes: w.changes, written: map[uint64]bool{}}
	for _, ch := range w.changes {
		hold.written[ch.Record] = true
	}
	s.open[hold] = true
	defer s.abortLocked(hold)
	for i := range last {
		if err := s.commitLocked(w.changes[i:i+1], nil); err != nil {
			return err
		}
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
	return s.commitLocked(w.changes[last:], mark)
}

// collection returns the collection to write to, which is created if need be.
func (w *writer) collection(ns namespace) (*collection, error) {
	if coll := w.owned[ns]; coll != nil {
		return coll, nil
	}
	if w.txn != nil && schemaOf(w.catalog, ns) != schemaOf(w.s.latest, ns) {
		return nil, writeConflict()
	}
	if w.catalog.collections[ns] == nil {
		w.changes = append(w.changes, change{Kind: opCreate, DB: ns.db, Coll: ns.coll})
	}
	coll := w.catalog.own(ns)
	w.owned[ns] = coll
	return coll, nil
}

// schemaOf is 0 for a collection that does not exist or that the transaction
// itself creates.
func schemaOf(c *catalog, ns namespace) uint64 {
	if coll := c.collections[ns]; coll != nil {
		return coll.schema
	}
	return 0
}

// find reads what a statement is about to change.
func (w *writer) find(ns namespace, filter, order bson.D, limit int) ([]record, error) {
	coll := w.catalog.collections[ns]
	if coll == nil {
		return nil, nil
	}
	found, err := coll.findSorted(filter, order, 0, limit)
	if err != nil {
		return nil, err
	}
	for _, rec := range found {
		if err := w.claim(ns, rec); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// claim checks that a record may be written.
func (w *writer) claim(ns namespace, rec record) error {
	if w.s.holderLocked(w.txn, rec.n) {
		return errHeld
	}
	if w.txn == nil || w.txn.written[rec.n] {
		return nil
	}
	if coll := w.s.latest.collections[ns]; coll != nil {
		if now, ok := coll.get(rec.n); ok && now.version == rec.version {
			return nil
		}
	}
	return writeConflict()
}

func (w *writer) insert(ns namespace, doc bson.D) (bson.D, error) {
	doc = withIDFirst(doc)
	if err := checkDocument(doc); err != nil {
		return nil, err
	}
	// A number that a failed insert has taken is not used again.
	w.s.lastRecord++
	rec := record{n: w.s.lastRecord, doc: &doc}
	return doc, w.put(ns, rec, change{Kind: opInsert})
}

// update replaces the document of a record. It is false if that changes
// nothing.
func (w *writer) update(ns namespace, rec record, doc bson.D, kind string, paths []string) (bool, error) {
	if identical(*rec.doc, doc) {
		return false, nil
	}
	if bsonkit.Compare(lookup(*rec.doc, "_id"), lookup(doc, "_id")) != 0 {
		return false, fail(codeImmutableField, "Performing an update on the path '_id' would modify the immutable field '_id'")
	}
	if err := checkDocument(doc); err != nil {
		return false, err
	}
	ch := change{Kind: kind}
	if kind == opUpdate {
		ch.Update = describeUpdate(*rec.doc, doc, paths)
	}
	rec.doc = &doc
	return true, w.put(ns, rec, ch)
}

func (w *writer) put(ns namespace, rec record, ch change) error {
	coll, err := w.collection(ns)
	if err != nil {
		return err
	}
	for _, ix := range coll.indexes {
		if err := w.checkKeys(ns, ix, rec); err != nil {
			return err
		}
	}
	coll.put(rec)
	ch.DB, ch.Coll, ch.Record, ch.Doc = ns.db, ns.coll, rec.n, rec.doc
	w.changes = append(w.changes, ch)
	return nil
}

func (w *writer) remove(ns namespace, rec record) error {
	coll, err := w.collection(ns)
	if err != nil {
		return err
	}
	coll.remove(rec.n)
	w.changes = append(w.changes, change{Kind: opDelete, DB: ns.db, Coll: ns.coll, Record: rec.n})
	return nil
}

// checkKeys checks the keys of a record against the catalog of the writer,
// against the latest one and against those of the open transactions.
func (w *writer) checkKeys(ns namespace, ix *index, rec record) error {
	if ix.parallelArrays(rec.doc) {
		return fail(codeParallelArrays, "cannot index parallel arrays")
	}
	if !ix.spec.Unique {
		return nil
	}
	keys := ix.keys(rec.doc)
	if holder, key, ok := ix.holder(keys, rec.n); ok {
		if w.s.holderLocked(w.txn, holder) {
			return errHeld
		}
		return duplicateKey(ns, ix, key)
	}
	if w.txn != nil {
		if holder, ok := holderIn(w.s.latest, ns, ix, keys, rec.n); ok && !w.txn.written[holder] {
			return writeConflict()
		}
	}
	for other := range w.s.open {
		if other == w.txn {
			continue
		}
		if holder, ok := holderIn(other.catalog, ns, ix, keys, rec.n); ok && other.written[holder] {
			return errHeld
		}
	}
	return nil
}

func holderIn(c *catalog, ns namespace, ix *index, keys [][]any, n uint64) (uint64, bool) {
	coll := c.collections[ns]
	if coll == nil {
		return 0, false
	}
	same := coll.index(ix.spec.Name)
	if same == nil {
		return 0, false
	}
	holder, _, ok := same.holder(keys, n)
	return holder, ok
}

func duplicateKey(ns namespace, ix *index, key []any) *commandError {
	value := bson.D{}
	for i, col := range ix.columns {
		v := key[i]
		if v == any(bsonkit.Missing) {
			v = nil
		}
		value = append(value, bson.E{Key: col.Path, Value: v})
	}
	e := fail(codeDuplicateKey, "E11000 duplicate key error collection: %s index: %s dup key: %s", ns, ix.spec.Name, format(value))
	e.extra = bson.D{{Key: "keyPattern", Value: ix.spec.Key}, {Key: "keyValue", Value: value}}
	return e
}

// modify applies update operators to a copy of the document and returns the
// paths that they touched.
func modify(doc bsonkit.Doc, filter, update bson.D, upsert bool) (bson.D, []string, error) {
	next := bsonkit.Clone(doc)
	changes, err := mongokit.Apply(next, &filter, &update, upsert, nil)
	if err != nil {
		return nil, nil, err
	}
	return *next, slices.Sorted(maps.Keys(changes.Changed)), nil
}

// checkUpdate tells whether an update is made of operators and not a
// replacement.
func checkUpdate(update any) (doc bson.D, operators bool, err error) {
	doc, ok := update.(bson.D)
	if !ok {
		return nil, false, fail(codeFailedToParse, "only documents are supported as update, got %T", update)
	}
	if !isExpression(doc) {
		for _, e := range doc {
			if strings.HasPrefix(e.Key, "$") {
				return nil, false, fail(codeDollarPrefixed, "The dollar ($) prefixed field '%s' is not valid for storage.", e.Key)
			}
		}
		return doc, false, nil
	}
	var paths []string
	for _, e := range doc {
		if mongokit.FieldUpdateOperators[e.Key] == nil {
			return nil, false, fail(codeFailedToParse, "Unknown modifier: %s. Expected a valid update modifier or pipeline-style update specified as an array", e.Key)
		}
		fields, ok := e.Value.(bson.D)
		if !ok {
			return nil, false, fail(codeFailedToParse, "Modifiers operate on fields but we found type %T instead", e.Value)
		}
		for _, f := range fields {
			if f.Key == "" || strings.Contains(f.Key, "$") {
				return nil, false, fail(codeBadValue, "positional and dollar-prefixed paths are not supported: '%s'", f.Key)
			}
			for _, p := range paths {
				if p == f.Key || strings.HasPrefix(p, f.Key+".") || strings.HasPrefix(f.Key, p+".") {
					return nil, false, fail(codeConflictingUpdate, "Updating the path '%s' would create a conflict at '%s'", f.Key, p)
				}
			}
			paths = append(paths, f.Key)
		}
	}
	return doc, true, nil
}

// describeUpdate is the updateDescription of a change event.
func describeUpdate(before, after bson.D, paths []string) bson.D {
	updated, removed := bson.D{}, bson.A{}
	for _, path := range paths {
		path = newPrefix(before, path)
		if has(updated, path) {
			continue
		}
		old, now := bsonkit.Get(&before, path), bsonkit.Get(&after, path)
		if now == any(bsonkit.Missing) {
			if old != any(bsonkit.Missing) {
				removed = append(removed, path)
			}
			continue
		}
		if old != any(bsonkit.Missing) && identical(bson.D{{Key: "v", Value: old}}, bson.D{{Key: "v", Value: now}}) {
			continue
		}
		updated = append(updated, bson.E{Key: path, Value: now})
	}
	return bson.D{
		{Key: "updatedFields", Value: updated},
		{Key: "removedFields", Value: removed},
		{Key: "truncatedArrays", Value: bson.A{}},
	}
}

// newPrefix shortens a path to the first part that the document did not have.
func newPrefix(doc bson.D, path string) string {
	for i, c := range path {
		if c == '.' && bsonkit.Get(&doc, path[:i]) == any(bsonkit.Missing) {
			return path[:i]
		}
	}
	return path
}
