package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// Write implements driver.Store. Each write is one command that finds the record by its key,
// its version and its old values, and changes it: MongoDB applies it whole or not at all.
// Inserts that follow each other are sent together; other writes of different records at the
// same time, those of one record in their order.
//
// An edge without a time gets that of this process's clock.
func (s *Store) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	if err := s.db.usable(ctx); err != nil {
		return refuseAll(len(writes)), err
	}
	prepared, errs := backend.PrepareAll(writes, time.Now)
	results := make([]driver.WriteResult, len(writes))
	w := &writer{s: s}
	for _, g := range group(prepared, errs, s.db.opts.Batch) {
		w.group(ctx, prepared, g, results, errs)
	}
	for i := range results {
		if errs[i] != nil && refused(errs[i]) {
			results[i] = driver.WriteResult{Outcome: driver.Refused}
		} else if errs[i] != nil {
			results[i] = driver.WriteResult{}
		}
		s.db.floor.raise(results[i].Stamp)
	}
	return results, worst(results, errs)
}

// worst returns the error of a write whose outcome is not known, or else of any.
func worst(results []driver.WriteResult, errs []error) error {
	for i := range errs {
		if errs[i] != nil && results[i].Outcome == driver.Unknown {
			return fmt.Errorf("%w: %w", driver.ErrUnknownOutcome, errs[i])
		}
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func refuseAll(n int) []driver.WriteResult {
	results := make([]driver.WriteResult, n)
	for i := range results {
		results[i].Outcome = driver.Refused
	}
	return results
}

// batch is writes that may be made at the same time: inserts of one kind, which are sent
// together, or others of different records.
type batch struct {
	inserts bool
	writes  []int
}

// group divides writes into batches that are to be made one after the other.
func group(writes []driver.Write, errs []error, most int) []batch {
	var all []batch
	taken := make(map[record]bool)
	for i := range writes {
		if errs[i] != nil {
			continue
		}
		w := &writes[i]
		insert := w.Op == driver.Insert
		var last *batch
		if len(all) > 0 {
			last = &all[len(all)-1]
		}
		fits := last != nil && last.inserts == insert && len(last.writes) < most && !taken[recordOf(w)] &&
			(!insert || writes[last.writes[0]].Kind == w.Kind)
		if !fits {
			all = append(all, batch{inserts: insert})
			last = &all[len(all)-1]
			clear(taken)
		}
		last.writes = append(last.writes, i)
		taken[recordOf(w)] = true
	}
	return all
}

// record says which writes may meet. All edges from one object are taken for one record, as
// in a kind that is ToOne they are, and so are those of all kinds, which a Rekind connects.
type record struct {
	kind, id string
	edge     bool
}

func recordOf(w *driver.Write) record {
	if w.Object != nil {
		return record{kind: w.Kind, id: w.Object.ID}
	}
	if w.Op == driver.Insert {
		return record{kind: w.Edge.From, id: w.Edge.To, edge: true}
	}
	return record{id: w.Edge.From, edge: true}
}

// writer makes writes, in a transaction if it has one.
type writer struct {
	s  *Store
	tx *tx
}

// group makes the writes of a batch.
func (w *writer) group(ctx context.Context, writes []driver.Write, b batch, results []driver.WriteResult, errs []error) {
	if b.inserts && len(b.writes) > 1 && w.tx == nil {
		w.insertMany(ctx, writes, b.writes, results, errs)
		return
	}
	one := func(i int) { results[i], errs[i] = w.write(ctx, &writes[i]) }
	if w.tx != nil || len(b.writes) == 1 {
		for _, i := range b.writes {
			one(i)
		}
		return
	}
	var waiting sync.WaitGroup
	turns := make(chan struct{}, w.s.db.opts.Concurrency)
	for _, i := range b.writes {
		turns <- struct{}{}
		waiting.Go(func() {
			defer func() { <-turns }()
			one(i)
		})
	}
	waiting.Wait()
	for _, i := range b.writes {
		if errs[i] == nil && results[i].Index != "" { // one of the others may have made room meanwhile
			one(i)
		}
	}
}

// write makes one write. With an error, refused says whether it was applied.
func (w *writer) write(ctx context.Context, write *driver.Write) (driver.WriteResult, error) {
	c, err := w.s.change(write)
	if err != nil {
		return driver.WriteResult{}, err
	}
	var result driver.WriteResult
	stamp, err := w.in(ctx, func(ctx context.Context) (err error) {
		result, err = w.apply(ctx, c)
		return err
	})
	if err != nil {
		return result, err
	}
	if result.Outcome == driver.Done {
		result.Stamp = stamp
	}
	return result, nil
}

// in runs f in the transaction, or in a session of its own.
func (w *writer) in(ctx context.Context, f func(context.Context) error) (driver.Stamp, error) {
	if w.tx != nil {
		return "", f(mongo.NewSessionContext(ctx, w.tx.session))
	}
	return w.s.db.session(ctx, "", f)
}

// apply sends a change. If it finds nothing, it looks for the record as it is to say why, and
// once more if what is there is what was expected in other words: numbers or documents that
// are equal to graphcache and not to MongoDB.
func (w *writer) apply(ctx context.Context, c *change) (driver.WriteResult, error) {
	if w.tx != nil {
		if taken, err := w.taken(ctx, c); err != nil || taken.Outcome != driver.Done {
			return taken, err
		}
	}
	if c.insert != nil {
		return w.insert(ctx, c)
	}
	for try := 1; ; try++ {
		old, err := w.send(ctx, c)
		if err == nil {
			return c.done(old)
		}
		if index, ok := duplicateIn(err); ok {
			return w.exists(ctx, c, index, err)
		}
		if !errors.Is(err, mongo.ErrNoDocuments) {
			return driver.WriteResult{}, w.failed(c, err)
		}
		present, raw, err := w.look(ctx, c, c.key)
		switch {
		case err != nil:
			return driver.WriteResult{}, err
		case present == nil, c.write.Op == driver.Modify && present.object.Deleting:
			return driver.WriteResult{Outcome: driver.Missing}, nil
		case !c.expects(present) || try == maxTries:
			return present.result(driver.Conflict), nil
		}
		c.restate(present, raw)
	}
}

// maxTries is how often a change is tried that others get ahead of.
const maxTries = 64

// send sends the command and returns the document that was there.
func (w *writer) send(ctx context.Context, c *change) (bson.Raw, error) {
	coll := w.s.collection(c.collection)
	filter := slices.Concat(c.key, c.condition)
	switch {
	case c.remove:
		return coll.FindOneAndDelete(ctx, filter).Raw()
	case c.replacement != nil:
		return coll.FindOneAndReplace(ctx, filter, c.replacement, options.FindOneAndReplace().SetReturnDocument(options.Before)).Raw()
	}
	return coll.FindOneAndUpdate(ctx, filter, c.update, options.FindOneAndUpdate().SetReturnDocument(options.Before)).Raw()
}

// insert sends an insert.
func (w *writer) insert(ctx context.Context, c *change) (driver.WriteResult, error) {
	_, err := w.s.collection(c.collection).InsertOne(ctx, c.insert)
	if err == nil {
		return c.done(nil)
	}
	if index, ok := duplicateIn(err); ok {
		return w.exists(ctx, c, index, err)
	}
	return driver.WriteResult{}, w.failed(c, err)
}

// exists answers a write that a unique index did not let through.
func (w *writer) exists(ctx context.Context, c *change, index string, cause error) (driver.WriteResult, error) {
	if w.tx != nil { // which the error has ended, and somebody else has written
		return driver.WriteResult{}, w.failed(c, fmt.Errorf("%w: %w", driver.ErrConflict, cause))
	}
	if declared := c.declared(index); declared != "" {
		return driver.WriteResult{Outcome: driver.Exists, Index: declared}, nil
	}
	if index == "" { // there are servers that do not say which
		if taken, err := w.taken(ctx, c); err != nil || taken.Outcome == driver.Exists {
			return taken, err
		}
	}
	key := c.key
	if c.taken != nil {
		key = c.taken
	}
	present, _, err := w.look(ctx, c, key)
	if err != nil {
		return driver.WriteResult{}, err
	}
	return present.result(driver.Exists), nil
}

// look finds the record with a key.
func (w *writer) look(ctx context.Context, c *change, key bson.D) (*found, bson.Raw, error) {
	raw, err := w.s.collection(c.collection).FindOne(ctx, key).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, w.failed(c, &refusal{err})
	}
	p, err := c.read(raw)
	if err != nil {
		return nil, nil, &refusal{err}
	}
	return p, raw, nil
}

// failed wraps the error of a command. If that may have been applied, the error must not say
// that nothing was done.
func (w *writer) failed(c *change, err error) error {
	wrap := locate
	if refused(err) {
		wrap = describe
	}
	err = wrap(w.s.space.prefix+c.collection, c.name, err)
	if w.tx != nil {
		return asConflict(err)
	}
	return err
}

// refusal is the error of a read before a write, or after one that was not applied: whatever
// it is, nothing was written.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// maxInsert is how many bytes of documents one command inserts, about. The driver library
// divides what is more than 48 MB, and of several commands keeps the last one's answer.
const maxInsert = 32 << 20

// insertMany sends inserts of one kind together.
func (w *writer) insertMany(ctx context.Context, writes []driver.Write, which []int, results []driver.WriteResult, errs []error) {
	var b inserts
	for _, i := range which {
		c, err := w.s.change(&writes[i])
		var document bson.Raw
		if err == nil {
			document, err = bson.Marshal(c.insert)
		}
		if err != nil {
			errs[i] = &refusal{err}
			continue
		}
		if b.size += len(document); b.size > maxInsert {
			w.sendInserts(ctx, &b, results, errs)
			b = inserts{size: len(document)}
		}
		b.changes, b.which, b.documents = append(b.changes, c), append(b.which, i), append(b.documents, document)
	}
	w.sendInserts(ctx, &b, results, errs)
}

// inserts are those of one command.
type inserts struct {
	changes   []*change
	which     []int // of the writes
	documents []any
	size      int
}

// sendInserts sends one command.
func (w *writer) sendInserts(ctx context.Context, b *inserts, results []driver.WriteResult, errs []error) {
	if len(b.changes) == 0 {
		return
	}
	var failed mongo.BulkWriteException
	stamp, err := w.in(ctx, func(ctx context.Context) error {
		// Without an order the server goes on after one that it refuses.
		_, err := w.s.collection(b.changes[0].collection).InsertMany(ctx, b.documents, options.InsertMany().SetOrdered(false))
		if errors.As(err, &failed) && failed.WriteConcernError == nil && len(failed.WriteErrors) > 0 && len(failed.Labels) == 0 {
			return nil // each error says which
		}
		failed.WriteErrors = nil
		return err
	})
	why := make([]error, len(b.which))
	for _, e := range failed.WriteErrors {
		if e.Index >= 0 && e.Index < len(why) {
			why[e.Index] = e.WriteError
		}
	}
	for n, i := range b.which {
		switch c := b.changes[n]; {
		case err != nil:
			errs[i] = w.failed(c, err)
		case why[n] == nil:
			results[i], errs[i] = c.done(nil)
			results[i].Stamp = stamp
		case isDuplicate(why[n]):
			results[i], errs[i] = w.exists(ctx, c, indexInMessage(why[n].Error()), why[n])
		default:
			errs[i] = w.failed(c, why[n])
		}
	}
}

// isDuplicate reports whether an element of a bulk write broke a unique index.
func isDuplicate(err error) bool {
	var e mongo.WriteError
	return errors.As(err, &e) && e.Code == codeDuplicateKey
}
