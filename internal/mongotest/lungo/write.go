package main

import (
	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	"go.mongodb.org/mongo-driver/bson"
)

// each runs the statements of a write command. A conflict or a lost
// transaction fails the command, other errors are told with their statement.
func (c *command) each(key string, run func(i int, statement bson.D) error) (bson.A, error) {
	list := c.list(key)
	if len(list) == 0 || len(list) > 100_000 {
		return nil, fail(codeInvalidLength, "Write batch sizes must be between 1 and 100000. Got %d operations.", len(list))
	}
	ordered := c.get("ordered") == nil || truthy(c.get("ordered"))
	failed := bson.A{}
	for i, item := range list {
		statement, ok := item.(bson.D)
		if !ok {
			return nil, fail(codeTypeMismatch, "%s must be documents", key)
		}
		err := run(i, statement)
		if err == nil {
			continue
		}
		e := toCommandError(err)
		switch e.code {
		case codeWriteConflict, codeNoSuchTransaction, codeMaxTimeExpired:
			return nil, e
		}
		doc := bson.D{{Key: "index", Value: int32(i)}, {Key: "code", Value: e.code}}
		failed = append(failed, append(append(doc, e.extra...), bson.E{Key: "errmsg", Value: e.msg}))
		if ordered || c.txn != nil {
			break
		}
	}
	return failed, nil
}

func withErrors(reply bson.D, failed bson.A) bson.D {
	if len(failed) > 0 {
		reply = append(reply, bson.E{Key: "writeErrors", Value: failed})
	}
	return reply
}

func onlyFields(doc bson.D, what string, fields ...string) error {
next:
	for _, e := range doc {
		for _, f := range fields {
			if e.Key == f {
				continue next
			}
		}
		return fail(codeUnknownField, "BSON field '%s.%s' is an unknown field.", what, e.Key)
	}
	return nil
}

// resultCount returns a count in the result of a statement, 0 for none.
func resultCount(result bson.D, key string) int32 {
	n, _ := number(lookup(result, key))
	return int32(n)
}

func (s *Server) insert(c *command) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	n := int32(0)
	failed, err := c.each("documents", func(i int, doc bson.D) error {
		_, err := s.statement(c, i, func(w *writer) (bson.D, error) {
			_, err := w.insert(ns, doc)
			return bson.D{{Key: "n", Value: int32(1)}}, err
		})
		if err == nil {
			n++
		}
		return err
	})
	return withErrors(bson.D{{Key: "n", Value: n}}, failed), err
}

func (s *Server) update(c *command) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	matched, modified, upserted := int32(0), int32(0), bson.A{}
	failed, err := c.each("updates", func(i int, u bson.D) error {
		result, err := s.updateOne(c, ns, i, u)
		matched += resultCount(result, "n")
		modified += resultCount(result, "nModified")
		if has(result, "upserted") {
			upserted = append(upserted, bson.D{{Key: "index", Value: int32(i)}, {Key: "_id", Value: lookup(result, "upserted")}})
		}
		return err
	})
	reply := bson.D{{Key: "n", Value: matched}, {Key: "nModified", Value: modified}}
	if len(upserted) > 0 {
		reply = append(reply, bson.E{Key: "upserted", Value: upserted})
	}
	return withErrors(reply, failed), err
}

// updateOne runs one statement of an update command.
func (s *Server) updateOne(c *command, ns namespace, i int, u bson.D) (bson.D, error) {
	if err := onlyFields(u, "update.updates", "q", "u", "multi", "upsert", "hint"); err != nil {
		return nil, err
	}
	filter, err := filterOf(u, "q")
	if err != nil {
		return nil, err
	}
	update, operators, err := checkUpdate(lookup(u, "u"))
	if err != nil {
		return nil, err
	}
	limit := 1
	if truthy(lookup(u, "multi")) {
		if limit = 0; !operators {
			return nil, fail(codeFailedToParse, "multi update is not supported for replacement-style update")
		}
		if c.session != nil && c.txn == nil {
			return nil, fail(codeInvalidOptions, "Cannot use retryable writes with multi=true")
		}
	}
	return s.statement(c, i, func(w *writer) (bson.D, error) {
		found, err := w.find(ns, filter, nil, limit)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 && truthy(lookup(u, "upsert")) {
			doc, err := w.upsert(ns, filter, update, operators)
			if err != nil {
				return nil, err
			}
			return bson.D{{Key: "n", Value: int32(1)}, {Key: "nModified", Value: int32(0)}, {Key: "upserted", Value: lookup(doc, "_id")}}, nil
		}
		matched, modified := int32(0), int32(0)
		for _, rec := range found {
			_, changed, err := w.change(ns, rec, filter, update, operators)
			if err != nil {
				return bson.D{{Key: "n", Value: matched}, {Key: "nModified", Value: modified}}, err
			}
			matched++
			if changed {
				modified++
			}
		}
		return bson.D{{Key: "n", Value: matched}, {Key: "nModified", Value: modified}}, nil
	})
}

// change updates or replaces the document of a record and returns the new one.
func (w *writer) change(ns namespace, rec record, filter, update bson.D, operators bool) (bson.D, bool, error) {
	kind := opReplace
	next, paths := replacement(update, lookup(*rec.doc, "_id")), []string(nil)
	if operators {
		kind = opUpdate
		var err error
		if next, paths, err = modify(rec.doc, filter, update, false); err != nil {
			return nil, false, err
		}
	}
	changed, err := w.update(ns, rec, next, kind, paths)
	return next, changed, err
}

// replacement is the document with an _id in front, its own if it has one.
func replacement(doc bson.D, id any) bson.D {
	if !has(doc, "_id") {
		doc = append(bson.D{{Key: "_id", Value: id}}, doc...)
	}
	return withIDFirst(doc)
}

// upsert inserts what the filter and the update make together.
func (w *writer) upsert(ns namespace, filter, update bson.D, operators bool) (bson.D, error) {
	base, err := mongokit.Extract(&filter)
	if err != nil {
		return nil, err
	}
	var doc bson.D
	if operators {
		if doc, _, err = modify(base, filter, update, true); err != nil {
			return nil, err
		}
		if has(*base, "_id") && bsonkit.Compare(lookup(*base, "_id"), lookup(doc, "_id")) != 0 {
			return nil, fail(codeImmutableField, "Performing an update on the path '_id' would modify the immutable field '_id'")
		}
	} else {
		id := lookup(*base, "_id")
		doc = update
		if has(*base, "_id") {
			doc = replacement(update, id)
			if bsonkit.Compare(lookup(doc, "_id"), id) != 0 {
				return nil, fail(codeImmutableField, "The _id field cannot be changed from %s to %s.", format(id), format(lookup(doc, "_id")))
			}
		}
	}
	return w.insert(ns, doc)
}

func (s *Server) delete(c *command) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	n := int32(0)
	failed, err := c.each("deletes", func(i int, d bson.D) error {
		result, err := s.deleteOne(c, ns, i, d)
		n += resultCount(result, "n")
		return err
	})
	return withErrors(bson.D{{Key: "n", Value: n}}, failed), err
}

func (s *Server) deleteOne(c *command, ns namespace, i int, d bson.D) (bson.D, error) {
	if err := onlyFields(d, "delete.deletes", "q", "limit", "hint"); err != nil {
		return nil, err
	}
	filter, err := filterOf(d, "q")
	if err != nil {
		return nil, err
	}
	limit, err := natural(d, "limit")
	if err != nil || limit > 1 {
		return nil, fail(codeFailedToParse, "The limit field in delete objects must be 0 or 1. Got %d", limit)
	}
	if limit == 0 && c.session != nil && c.txn == nil {
		return nil, fail(codeInvalidOptions, "Cannot use retryable writes with limit=0")
	}
	return s.statement(c, i, func(w *writer) (bson.D, error) {
		found, err := w.find(ns, filter, nil, limit)
		if err != nil {
			return nil, err
		}
		for _, rec := range found {
			if err := w.remove(ns, rec); err != nil {
				return nil, err
			}
		}
		return bson.D{{Key: "n", Value: int32(len(found))}}, nil
	})
}

func (s *Server) findAndModify(c *command) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	filter, err := c.filter("query")
	if err != nil {
		return nil, err
	}
	order, err := c.order("sort")
	if err != nil {
		return nil, err
	}
	project, err := newProjection(c.doc("fields"))
	if err != nil {
		return nil, err
	}
	remove := truthy(c.get("remove"))
	var update bson.D
	var operators bool
	if !remove {
		if update, operators, err = checkUpdate(c.get("update")); err != nil {
			return nil, err
		}
	} else if truthy(c.get("upsert")) || truthy(c.get("new")) || has(c.body, "update") {
		return nil, fail(codeFailedToParse, "Cannot specify both an update, upsert or new=true and remove=true")
	}
	var value any // the document to return
	report := func(existing bool, upserted bson.D) bson.D {
		last := bson.D{{Key: "n", Value: int32(0)}}
		if existing || upserted != nil {
			last[0].Value = int32(1)
		}
		if !remove {
			last = append(last, bson.E{Key: "updatedExisting", Value: existing})
		}
		if upserted != nil {
			last = append(last, bson.E{Key: "upserted", Value: lookup(upserted, "_id")})
		}
		if doc, ok := value.(bson.D); ok {
			value = project.apply(doc)
		}
		return bson.D{{Key: "lastErrorObject", Value: last}, {Key: "value", Value: value}}
	}
	return s.statement(c, 0, func(w *writer) (bson.D, error) {
		value = nil
		found, err := w.find(ns, filter, order, 1)
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			if !truthy(c.get("upsert")) {
				return report(false, nil), nil
			}
			doc, err := w.upsert(ns, filter, update, operators)
			if err != nil {
				return nil, err
			}
			if truthy(c.get("new")) {
				value = doc
			}
			return report(false, doc), nil
		}
		value = *found[0].doc
		if remove {
			if err := w.remove(ns, found[0]); err != nil {
				return nil, err
			}
			return report(true, nil), nil
		}
		next, _, err := w.change(ns, found[0], filter, update, operators)
		if err != nil {
			return nil, err
		}
		if truthy(c.get("new")) {
			value = next
		}
		return report(true, nil), nil
	})
}
