package mongo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// Begin starts a transaction: a snapshot of what a majority has, in which conflicting writes
// are detected, but not reads that have become old. Transactions take a replica set or a
// sharded cluster.
func (s *Store) Begin(ctx context.Context) (driver.Tx, error) {
	if err := s.db.usable(ctx); err != nil {
		return nil, err
	}
	if !s.db.caps.Transactions {
		return nil, fmt.Errorf("mongo: %s is neither a replica set nor a sharded cluster, and has no transactions: %w", s.db.caps.Name, errors.ErrUnsupported)
	}
	session, err := s.db.client.StartSession()
	if err != nil {
		return nil, fmt.Errorf("mongo: start a session: %w: %w", driver.ErrUnavailable, err)
	}
	if at := s.db.floor.get(); at != "" {
		if err := advance(session, at); err != nil {
			session.EndSession(ctx)
			return nil, err
		}
	}
	err = session.StartTransaction(options.Transaction().
		SetReadPreference(readpref.Primary()).
		SetReadConcern(readconcern.Snapshot()).
		SetWriteConcern(writeconcern.Majority()))
	if err != nil {
		session.EndSession(ctx)
		return nil, fmt.Errorf("mongo: start a transaction: %w", err)
	}
	return &tx{s: s, session: session}, nil
}

// tx is a transaction. Its commands are sent one after the other, because they share a
// session.
type tx struct {
	s       *Store
	session *mongo.Session
	dead    error // why it cannot commit
	ended   bool
}

func (t *tx) usable(ctx context.Context) error {
	switch {
	case t.ended:
		return fmt.Errorf("mongo: the transaction has ended: %w", driver.ErrInvalid)
	case t.dead != nil:
		return t.dead
	}
	return t.s.db.usable(ctx)
}

// Read implements driver.Tx.
func (t *tx) Read(ctx context.Context, steps []driver.Step, _ driver.Stamp) ([]driver.Result, error) {
	if err := t.usable(ctx); err != nil {
		return nil, err
	}
	results, err := (&reader{s: t.s, tx: t.session}).read(ctx, steps)
	t.died(err)
	return results, err
}

// Write implements driver.Tx. The results have no stamps: the moment of the writes is that of
// Commit.
func (t *tx) Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error) {
	if err := t.usable(ctx); err != nil {
		return refuseAll(len(writes)), err
	}
	prepared, errs := backend.PrepareAll(writes, time.Now)
	results := make([]driver.WriteResult, len(writes))
	w := &writer{s: t.s, tx: t}
	for i := range prepared {
		if errs[i] == nil && t.dead == nil {
			results[i], errs[i] = w.write(ctx, &prepared[i])
			t.died(errs[i])
		}
		if errs[i] != nil || t.dead != nil {
			results[i] = driver.WriteResult{Outcome: driver.Refused} // it cannot commit any more
		}
	}
	for _, err := range errs {
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// died notes that the server has ended the transaction, which it does after every error of its
// own.
func (t *tx) died(err error) {
	var server mongo.ServerError
	if err != nil && (errors.As(err, &server) || mongo.IsNetworkError(err) || mongo.IsTimeout(err) || errors.Is(err, driver.ErrConflict)) {
		t.dead = asConflict(err)
	}
}

// asConflict marks the errors after which a transaction can be run again.
func asConflict(err error) error {
	if err == nil || errors.Is(err, driver.ErrConflict) || !hasLabel(err, labelTransient) {
		return err
	}
	return fmt.Errorf("%w: %w", driver.ErrConflict, err)
}

// commitTries is how often a commit is sent while its outcome is not known: the server applies
// it once.
const commitTries = 3

// Commit implements driver.Tx.
func (t *tx) Commit(ctx context.Context) (driver.Stamp, error) {
	if err := t.usable(ctx); err != nil {
		if t.ended {
			return "", err
		}
		t.ended = true
		t.end(ctx)
		if !errors.Is(err, driver.ErrConflict) && !errors.Is(err, driver.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", driver.ErrUnavailable, err) // nothing was applied
		}
		return "", err
	}
	t.ended = true
	defer t.end(ctx)
	var err error
	unclear := false // whether an earlier one was applied
	for range commitTries {
		err = t.session.CommitTransaction(ctx)
		if !hasLabel(err, labelUnknownCommit) || ctx.Err() != nil {
			break
		}
		unclear = true
	}
	if err == nil {
		stamp := stampOf(t.session)
		t.s.db.floor.raise(stamp)
		return stamp, nil
	}
	return "", commitError(err, unclear)
}

// The labels by which servers and the driver say what an error means to a transaction.
const (
	labelTransient     = "TransientTransactionError"
	labelUnknownCommit = "UnknownTransactionCommitResult"
)

func hasLabel(err error, label string) bool {
	var labeled mongo.LabeledError
	return errors.As(err, &labeled) && labeled.HasErrorLabel(label)
}

// commitError says what the error of a commit means: that nothing was applied, or that it is
// not known. If it is unclear whether an earlier one was applied, only the server can say that
// there is no such transaction; that it was not reached the last time says nothing.
func commitError(err error, unclear bool) error {
	switch {
	case hasLabel(err, labelUnknownCommit):
		return fmt.Errorf("mongo: commit: %w: %w", driver.ErrUnknownOutcome, err)
	case hasLabel(err, labelTransient):
		return fmt.Errorf("mongo: commit: %w: %w", driver.ErrConflict, err)
	case refused(err) && !unclear:
		return fmt.Errorf("mongo: commit: %w: %w", driver.ErrUnavailable, err)
	}
	return fmt.Errorf("mongo: commit: %w: %w", driver.ErrUnknownOutcome, err)
}

// Rollback implements driver.Tx. What the server does not hear of ends there by itself, after
// a minute by default.
func (t *tx) Rollback(ctx context.Context) error {
	if t.ended {
		return fmt.Errorf("mongo: the transaction has ended: %w", driver.ErrInvalid)
	}
	t.ended = true
	t.end(ctx)
	return nil
}

// endTimeout is for how long it is tried to tell the server that a transaction or a cursor has
// ended.
const endTimeout = time.Second

// end ends the session, which aborts a transaction that is not committed or may not be: also
// if the context has ended, because others would wait for the transaction, but not for long.
func (t *tx) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	t.session.EndSession(ctx)
}

// taken looks in a transaction for what stands in the way of a new record, Done if there is
// nothing. The index would say so, too, and end the transaction.
func (w *writer) taken(ctx context.Context, c *change) (driver.WriteResult, error) {
	key := c.key
	if c.taken != nil {
		key = c.taken
	}
	if c.insert != nil || c.taken != nil {
		present, _, err := w.look(ctx, c, key)
		if err != nil || present != nil {
			return present.result(driver.Exists), err
		}
	}
	if c.object == nil || c.write.Op == driver.Delete || c.write.Op == driver.Modify {
		return driver.WriteResult{Outcome: driver.Done}, nil
	}
	known := c.insert != nil
	for _, ix := range *c.object.indexes.Load() {
		entry := ix.entry(c.write.Object)
		if entry == nil {
			continue
		}
		if !known { // what is Missing or a Conflict is that first
			present, _, err := w.look(ctx, c, key)
			if err != nil || present == nil || !c.expects(present) {
				return driver.WriteResult{Outcome: driver.Done}, err
			}
			known = true
		}
		entry = append(entry, bson.E{Key: "_id", Value: bson.D{{Key: "$ne", Value: c.key[0].Value}}})
		other, _, err := w.look(ctx, c, entry)
		if err != nil {
			return driver.WriteResult{}, err
		}
		if other != nil {
			return driver.WriteResult{Outcome: driver.Exists, Index: ix.declared}, nil
		}
	}
	return driver.WriteResult{Outcome: driver.Done}, nil
}

// entry returns the filter for the objects that have an entry of this one in a unique index,
// nil if there can be none.
func (ix *index) entry(o *driver.Object) bson.D {
	if !ix.unique || o.Deleting {
		return nil
	}
	var filter bson.D
	for _, c := range ix.columns {
		switch v := c.ValueIn(o, nil).(type) {
		case nil:
			return nil
		case []driver.Value:
			var in bson.A
			for i := range v {
				in = append(in, toBSON(v[i]))
			}
			if in == nil {
				return nil
			}
			filter = append(filter, anyOf(columnPath(&c, ""), in)...)
		default:
			filter = append(filter, bson.E{Key: columnPath(&c, ""), Value: toBSON(v)})
		}
	}
	return filter
}
