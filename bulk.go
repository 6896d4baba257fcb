package graphcache

import (
	"context"
	"fmt"
	"reflect"

	"github.com/graphcache/graphcache/driver"
)

// BulkReport says what a bulk write has done, also when it stopped half-way.
type BulkReport struct {
	// Found is how many objects the query found.
	Found int
	// Written is how many of them were changed or deleted.
	Written int
	// Skipped is how many of them did not exist any more when their turn came, or
	// no longer matched the last Where.
	Skipped int
}

// bulkChunk is how many objects are changed by one call of the store.
const bulkChunk = 256

// UpdateAll is [ObjectKind.Update] for every object that the query finds. The query is
// resolved to IDs, by the store, and the objects are written in chunks, each of them
// compared with what was read, so that every write invalidates exactly what it changes.
// change may run several times for one object: one that somebody else has written
// meanwhile is read and changed again. An object that has changed since it was found is
// written if it still matches the last Where.
//
// It is not one transaction unless c is a [Tx]: it stops at the first error, and the
// report says how far it got. After an error of change, neither the object that it was
// called for is written nor those after it, and maybe not some of those before it.
func (q Query[T, E]) UpdateAll(ctx context.Context, c Conn, change func(*T) error) (BulkReport, error) {
	k := q.src.last.end
	if change == nil {
		q.src.fail("UpdateAll", fmt.Errorf("%w: the function is nil", ErrInvalid))
	}
	return q.bulk(ctx, c.conn(), "update_all", "update", func(ctx context.Context, b *bulk, chunk []string) error {
		return b.write(ctx, chunk, func(record *driver.Object) (driver.Document, error) {
			o := new(T)
			v := reflect.ValueOf(o).Elem()
			if err := k.decodeRecord(record, v); err != nil {
				return nil, err
			}
			if err := change(o); err != nil {
				return nil, err
			}
			doc, err := k.rewritten(v, record)
			if err != nil {
				return nil, err
			}
			return k.plan.Keep(doc, record.Doc), nil
		})
	})
}

// ApplyAll is [ObjectKind.Apply] for every object that the query finds, in the way of
// [Query.UpdateAll].
func (q Query[T, E]) ApplyAll(ctx context.Context, c Conn, changes ...Change[T]) (BulkReport, error) {
	k := q.src.last.end
	plain, err := k.changes(changesOf(changes))
	if err != nil {
		q.src.fail("ApplyAll", err)
	}
	return q.bulk(ctx, c.conn(), "apply_all", "apply changes to", func(ctx context.Context, b *bulk, chunk []string) error {
		return b.write(ctx, chunk, func(record *driver.Object) (driver.Document, error) { return k.changed(record, plain) })
	})
}

// DeleteAll is [ObjectKind.Delete] for every object that the query finds, one after the
// other, in the way of [Query.UpdateAll]. It deletes the objects that the edges lead to,
// with all their edges; edges alone are for [EdgeKind.Remove].
func (q Query[T, E]) DeleteAll(ctx context.Context, c Conn) (BulkReport, error) {
	return q.bulk(ctx, c.conn(), "delete_all", "delete", func(ctx context.Context, b *bulk, chunk []string) error {
		for _, id := range chunk {
			if err := b.delete(ctx, id); err != nil {
				return fmt.Errorf("%q: %w", id, err)
			}
		}
		return nil
	})
}

// bulk is a bulk write in progress.
type bulk struct {
	c      conn
	kind   *boundKind
	where  []pred // of the last hop
	report BulkReport
}

// bulk finds the objects and calls do with chunks of their IDs.
func (q Query[T, E]) bulk(ctx context.Context, c conn, name, what string, do func(context.Context, *bulk, []string) error) (_ BulkReport, err error) {
	defer func() { wrap(&err, what+" all", q.name(), "") }()
	ctx, op := c.g.start(ctx, name, q.name())
	defer op.end(&err)
	x, err := q.Fresh().exec(ctx, c)
	if err != nil {
		return BulkReport{}, err
	}
	rows, err := x.rows()
	if err != nil {
		return BulkReport{}, err
	}
	ids := distinct(farEnds(rows))
	b := &bulk{c: c, kind: c.g.objects[x.last().end], where: x.last().where, report: BulkReport{Found: len(ids)}}
	for len(ids) > 0 {
		if err := ctx.Err(); err != nil {
			return b.report, err
		}
		chunk := ids[:min(bulkChunk, len(ids))]
		ids = ids[len(chunk):]
		if err := do(ctx, b, chunk); err != nil {
			return b.report, err
		}
	}
	return b.report, nil
}

// matches reports whether the record is there and still matches.
func (b *bulk) matches(record *driver.Object) (bool, error) {
	if record == nil || record.Deleting {
		return false, nil
	}
	r := request{kind: b.kind, id: record.ID}
	v, err := r.encodeObject(record)
	if err != nil {
		return false, err
	}
	found := row{edge: edge{far: record.ID}, object: &v}
	return found.matchesAll(b.where)
}

// write changes the records of a chunk, and again those that somebody else has written
// meanwhile.
func (b *bulk) write(ctx context.Context, ids []string, change func(*driver.Object) (driver.Document, error)) error {
	return b.c.attempts(ctx, func() (bool, error) {
		var err error
		ids, err = b.writeOnce(ctx, ids, change)
		return len(ids) == 0, err
	})
}

// writeOnce tries once, leaving alone the records for which change returns nil, and
// returns the IDs of the records that were lost to another writer.
func (b *bulk) writeOnce(ctx context.Context, ids []string, change func(*driver.Object) (driver.Document, error)) (lost []string, err error) {
	results, err := b.c.read(ctx, driver.Step{Op: driver.GetObjects, Kind: b.kind.name, IDs: ids})
	if err != nil {
		return nil, err
	}
	if len(results[0].Objects) != len(ids) {
		return nil, errResult
	}
	var writes []driver.Write
	var befores []*driver.Object
	anchors := 0
	for i, record := range results[0].Objects {
		ok, err := b.matches(record)
		if err == nil && !ok {
			b.report.Skipped++
			continue
		}
		var doc driver.Document
		if err == nil {
			doc, err = change(record)
		}
		if err != nil {
			return nil, fmt.Errorf("%q: %w", ids[i], err)
		}
		if doc == nil {
			continue
		}
		writes = append(writes, driver.Write{
			Op: driver.Replace, Kind: b.kind.name, Expect: record.Version, Old: b.kind.indexedFields(record.Doc),
			Object: &driver.Object{ID: record.ID, Version: record.Version + 1, Doc: doc}, Gone: gone(record.Doc, doc),
		})
		befores = append(befores, record)
		anchors += len(b.kind.touched(record.ID, &record.Doc, &doc))
		if anchors > maxBulkAnchors {
			more, err := b.send(ctx, writes, befores)
			if lost = append(lost, more...); err != nil {
				return lost, err
			}
			writes, befores, anchors = nil, nil, 0
		}
	}
	if len(writes) == 0 {
		return lost, nil
	}
	more, err := b.send(ctx, writes, befores)
	return append(lost, more...), err
}

// maxBulkAnchors is above how many anchors a chunk is written before it is complete: all
// of them are held in one call of the cache.
const maxBulkAnchors = 4096

// send writes the records in the place of those before while their anchors are held.
func (b *bulk) send(ctx context.Context, writes []driver.Write, befores []*driver.Object) (lost []string, err error) {
	touched := func() (anchors []anchor) {
		for i := range writes {
			anchors = append(anchors, b.kind.touched(befores[i].ID, &befores[i].Doc, &writes[i].Object.Doc)...)
		}
		return anchors
	}
	var results []driver.WriteResult
	err = b.c.mutate(ctx, touched, func(ctx context.Context, s *session) (err error) {
		results, err = s.writeAll(ctx, writes)
		return err
	})
	for i, r := range results {
		switch id := writes[i].Object.ID; {
		case r.Outcome == driver.Done:
			b.report.Written++
		case r.Outcome == driver.Exists && err == nil:
			err = fmt.Errorf("%q: %w", id, b.kind.object.taken(r.Index))
		case r.Outcome == driver.Conflict || r.Outcome == driver.Missing:
			lost = append(lost, id)
		}
	}
	return lost, err
}

// delete deletes an object that still matches.
func (b *bulk) delete(ctx context.Context, id string) error {
	deleted := false
	err := b.c.delete(ctx, b.kind.object, id, func(record *driver.Object) (bool, error) {
		ok, err := b.matches(record)
		deleted = ok
		return ok, err
	})
	switch {
	case err == nil && deleted:
		b.report.Written++
	case err == nil:
		b.report.Skipped++
	}
	return err
}
