package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/driver"
)

// Watch implements driver.Feed with a change stream of the database, which takes a replica set
// or a sharded cluster: the error of any other deployment wraps errors.ErrUnsupported.
//
// One caller at a time has the lease that is kept in Options.Collection; one that ends gives it
// back, and one that is gone is replaced after some 15 seconds. The place in the stream is
// kept there, too. The first call ever begins at the moment of the call: changes before are not
// seen. Where the server has forgotten what came after the place, every kind has changed.
//
// A write is taken for graphcache's own if it sets the version (see Options.Version), and the
// deletion of an object if graphcache has marked the object before. Where it is not certain,
// the write counts as foreign, and so does every deletion of an edge.
//
// Earlier states are those of pre-images, which MongoDB 6.0 records where Options.PreImages is
// set. Without one, a deletion or a replacement of an object whose kind has indexes, or an update
// of a field in one of them, counts as a change of the whole kind; and so does a change of an
// edge whose earlier ends are neither in _id nor known from what this call has seen.
//
// What a document is after an update is looked up, and may be what later updates have made of
// it. The user needs the privileges find and changeStream on the database.
func (s *Store) Watch(ctx context.Context, f func(ctx context.Context, changes []driver.ForeignChange) error) error {
	return s.watch(ctx, leaseTTL, f)
}

func (s *Store) watch(ctx context.Context, ttl time.Duration, f func(context.Context, []driver.ForeignChange) error) error {
	if err := s.db.usable(ctx); err != nil {
		return err
	}
	if !s.db.caps.Stamps {
		return fmt.Errorf("mongo: watch: %s is neither a replica set nor a sharded cluster, and has no change streams: %w", s.db.caps.Name, errors.ErrUnsupported)
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(s.db.background, func() {
		end(fmt.Errorf("mongo: the store is closed: %w", driver.ErrUnavailable))
	})()
	w := &watcher{s: s, f: f, lease: newLease(s.db, ttl)}
	err := w.lease.take(ctx)
	if err == nil {
		err = w.hold(ctx, end)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// watcher is one call of Watch.
type watcher struct {
	s      *Store
	f      func(context.Context, []driver.ForeignChange) error
	lease  *lease
	recent recent
	logged map[string]bool // collections with documents that cannot be read
}

// hold works while it renews the lease. A lease that is lost ends ctx.
func (w *watcher) hold(ctx context.Context, end context.CancelCauseFunc) error {
	defer w.lease.release(ctx)
	renewing, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.lease.keep(renewing); renewing.Err() == nil {
			end(err)
		}
	}()
	defer func() { stop(); <-done }()
	return w.work(ctx)
}

// errInvalidated: the database was dropped, and with it the change stream. The next one goes
// on after it.
var errInvalidated = errors.New("mongo: watch: the server has ended the change stream")

// work passes changes on until something fails.
func (w *watcher) work(ctx context.Context) error {
	at, lost := w.lease.place()
	for {
		err := w.stream(ctx, at, lost)
		stood := at != nil
		if at, lost = w.lease.place(); at != nil {
			stood = true
		}
		switch {
		case err == errInvalidated:
		case stood && ctx.Err() == nil && placeless(err):
			w.s.db.opts.Logger.WarnContext(ctx, "mongo: watch: the server cannot go on where the last change was; every kind counts as changed", "error", err)
			at, lost = nil, true
		default:
			return err
		}
	}
}

// placeless reports whether the error is that a change stream cannot go on from its place.
func placeless(err error) bool {
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return false
	}
	return server.HasErrorLabel("NonResumableChangeStreamError") || slices.ContainsFunc([]int{
		286,   // ChangeStreamHistoryLost
		280,   // ChangeStreamFatalError
		260,   // InvalidResumeToken
		40615, // the resume token was not found
		40585, // the resume token is not one of this deployment
		50811, // the token's UUID does not exist
		10334, // BSONObjectTooLarge: of an event with two large documents
	}, server.HasErrorCode)
}

// How events are read.
const (
	watchBatch = 1000                  // events that are dealt with together
	watchBytes = 16 << 20              // the most that those have
	watchPause = 50 * time.Millisecond // how long is waited for more of them
	watchAwait = time.Second           // how long the server waits for one
)

// arrival is an event, or nothing after a while, with the place after it.
type arrival struct {
	event bson.Raw
	token bson.Raw
}

// stream reads one change stream, from a place or from now. With lost, every kind counts as
// changed before that.
func (w *watcher) stream(ctx context.Context, at bson.Raw, lost bool) error {
	ctx, cancel := context.WithCancel(ctx)
	cs, err := w.open(ctx, at)
	if err != nil {
		cancel()
		return err
	}
	var ended error
	arrivals := make(chan arrival)
	go func() {
		defer close(arrivals)
		ended = w.read(ctx, cs, arrivals)
	}()
	defer func() {
		cancel()
		for range arrivals { // until the reader has ended
		}
		closing, done := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer done()
		_ = cs.Close(closing)
	}()
	if at == nil {
		w.recent = recent{}
		if err := w.begin(ctx, arrivals, lost); err != nil {
			return err
		}
	}
	for {
		b, more := w.collect(arrivals)
		if err := w.pass(ctx, b); err != nil {
			return err
		}
		switch {
		case b.invalid:
			return errInvalidated
		case !more && ended == errInvalidated:
			return describe(w.s.db.opts.Collection, watchID, errors.New("the server has ended the change stream without a reason"))
		case !more:
			return ended
		}
	}
}

// open opens the change stream.
func (w *watcher) open(ctx context.Context, at bson.Raw) (*mongo.ChangeStream, error) {
	o := options.ChangeStream().SetFullDocument(options.UpdateLookup).SetBatchSize(watchBatch).SetMaxAwaitTime(watchAwait)
	if w.s.db.caps.wire >= wirePreImages {
		o.SetFullDocumentBeforeChange(options.WhenAvailable)
	}
	if at != nil {
		o.SetStartAfter(at)
	}
	// The lease's renewals are nobody's business.
	others := bson.D{{Key: "ns.coll", Value: bson.D{{Key: "$ne", Value: w.s.db.opts.Collection}}}}
	cs, err := w.s.database().Watch(ctx, mongo.Pipeline{{{Key: "$match", Value: others}}}, o)
	return cs, w.lease.failed(err)
}

// read sends what the change stream has.
func (w *watcher) read(ctx context.Context, cs *mongo.ChangeStream, to chan<- arrival) error {
	send := func(event bson.Raw) {
		select {
		case to <- arrival{event, slices.Clone(cs.ResumeToken())}:
		case <-ctx.Done():
		}
	}
	if cs.RemainingBatchLength() == 0 {
		send(nil) // the place at which it begins
	}
	for ctx.Err() == nil {
		switch {
		case cs.TryNext(ctx):
			send(slices.Clone(cs.Current))
		case cs.Err() != nil:
			return w.lease.failed(cs.Err())
		case cs.ID() == 0:
			return errInvalidated
		default:
			send(nil)
		}
	}
	return ctx.Err()
}

// begin stores the first place, after every kind was passed if changes were lost.
func (w *watcher) begin(ctx context.Context, arrivals <-chan arrival, lost bool) error {
	if lost {
		b := &changeBatch{}
		w.everyKind(b)
		if err := w.give(ctx, b); err != nil {
			return err
		}
	}
	for a := range arrivals {
		if a.event != nil { // no place came first
			b := &changeBatch{}
			w.event(b, a)
			return w.pass(ctx, b)
		}
		if a.token != nil {
			return w.lease.store(ctx, a.token)
		}
	}
	return nil // the loop that follows sees why
}

// collect waits for events and returns those that come within a short time. It reports false
// if no more will come.
func (w *watcher) collect(arrivals <-chan arrival) (b *changeBatch, more bool) {
	b = &changeBatch{}
	var end <-chan time.Time
	for b.events < watchBatch && b.bytes < watchBytes && !b.invalid {
		select {
		case <-end:
			return b, true
		case a, ok := <-arrivals:
			if !ok {
				return b, false
			}
			w.event(b, a)
			if a.event == nil {
				return b, true
			}
			if end == nil {
				t := time.NewTimer(watchPause)
				defer t.Stop()
				end = t.C
			}
		}
	}
	return b, true
}

// pass passes the changes of a batch on and stores the place after it. Without changes the
// place is stored with the next renewal.
func (w *watcher) pass(ctx context.Context, b *changeBatch) error {
	switch {
	case b.token == nil:
		return nil
	case len(b.changes) == 0 && !b.invalid:
		w.lease.advance(b.token)
		return nil
	}
	if err := w.give(ctx, b); err != nil {
		return err
	}
	return w.lease.store(ctx, b.token)
}

// give passes the changes of a batch on. Reads of this process see at least what has changed.
func (w *watcher) give(ctx context.Context, b *changeBatch) error {
	if len(b.changes) == 0 {
		return nil
	}
	if !b.time.IsZero() {
		w.s.db.floor.raise(driver.Stamp(appendTimestamp(nil, b.time)))
	}
	if err := w.f(ctx, b.changes); err != nil {
		return fmt.Errorf("mongo: watch: pass changes on: %w", err)
	}
	return nil
}

// changeBatch is what is passed on together.
type changeBatch struct {
	changes []driver.ForeignChange
	kinds   map[string]bool // that have changed as a whole
	events  int
	bytes   int
	token   bson.Raw
	time    bson.Timestamp
	invalid bool // it ends with the change stream
}

// kind adds a change of a whole kind.
func (b *changeBatch) kind(name string) {
	if b.kinds == nil {
		b.kinds = make(map[string]bool)
	}
	if !b.kinds[name] {
		b.kinds[name] = true
		b.changes = append(b.changes, driver.ForeignChange{Kind: name})
	}
}
