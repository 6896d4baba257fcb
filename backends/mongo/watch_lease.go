package mongo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/graphcache/graphcache/driver"
)

// leaseTTL is for how long a lease is good that is not renewed.
const leaseTTL = 15 * time.Second

// watchID is the _id of the document with the lease and the place in the change stream.
const watchID = "watch"

// errLease ends the work of a watcher that is not the one of the deployment any more.
var errLease = fmt.Errorf("mongo: watch: the lease is lost: %w", driver.ErrUnavailable)

// leaseDocument is that document. n counts what its owner has written: whoever waits takes the
// lease when n has not changed for a TTL by the waiter's own clock, so that the clocks of two
// machines are never compared.
type leaseDocument struct {
	Owner string   `bson:"owner"` // random, empty if the lease was given back
	N     int64    `bson:"n"`
	Token bson.Raw `bson:"token,omitempty"`
	// Lost: there was a token before, and somebody has removed the document.
	Lost bool `bson:"lost,omitempty"`
}

// lease is the right to be the watcher of a database.
type lease struct {
	meta  *mongo.Collection
	ttl   time.Duration
	owner string

	mu    sync.Mutex
	n     int64     // protects
	token bson.Raw  // protects: everything before it was dealt with
	lost  bool      // protects
	good  time.Time // protects: when the last renewal was begun that succeeded
}

func newLease(db *database, ttl time.Duration) *lease {
	return &lease{meta: db.collection(db.opts.Collection), ttl: ttl, owner: rand.Text()}
}

// take waits until it has the lease.
func (l *lease) take(ctx context.Context) error {
	var seen *leaseDocument
	var since time.Time // when that was seen first, nil if there was none
	for first := true; ; first = false {
		asked := time.Now()
		there, err := l.read(ctx)
		if err != nil {
			return l.failed(err)
		}
		same := !first && sameLease(there, seen)
		if first && there == nil || there != nil && there.Owner == "" || same && asked.Sub(since) >= l.ttl {
			began := time.Now()
			if taken, err := l.seize(ctx, there, !first); err != nil {
				return l.failed(err)
			} else if taken {
				l.good = began
				return nil
			}
		}
		if !same {
			seen, since = there, time.Now()
		}
		if err := pause(ctx, l.ttl/15); err != nil {
			return err
		}
	}
}

func sameLease(a, b *leaseDocument) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Owner == b.Owner && a.N == b.N
}

// read returns the document, nil if there is none.
func (l *lease) read(ctx context.Context) (*leaseDocument, error) {
	var d leaseDocument
	err := l.meta.FindOne(ctx, bson.D{{Key: "_id", Value: watchID}}).Decode(&d)
	if errors.Is(err, mongo.ErrNoDocuments) {
		return nil, nil
	}
	return &d, err
}

// seize takes the lease if the document is still the same, or there is still none.
func (l *lease) seize(ctx context.Context, there *leaseDocument, lost bool) (bool, error) {
	if there == nil {
		l.n, l.lost = 1, lost
		return l.insert(ctx, l.owner)
	}
	filter := bson.D{{Key: "_id", Value: watchID}, {Key: "owner", Value: there.Owner}, {Key: "n", Value: there.N}}
	update := bson.D{{Key: "$set", Value: bson.D{{Key: "owner", Value: l.owner}, {Key: "n", Value: there.N + 1}}}}
	r, err := l.meta.UpdateOne(ctx, filter, update)
	if err != nil || r.MatchedCount == 0 {
		return false, err
	}
	// The one before may not have come as far as to store a place.
	l.n, l.token, l.lost = there.N+1, there.Token, there.Lost || there.Token == nil
	return true, nil
}

// insert adds the document. It reports false if there is one.
func (l *lease) insert(ctx context.Context, owner string) (bool, error) {
	d := bson.D{{Key: "_id", Value: watchID}, {Key: "owner", Value: owner}, {Key: "n", Value: l.n}}
	if l.token != nil {
		d = append(d, bson.E{Key: "token", Value: l.token})
	}
	if l.lost {
		d = append(d, bson.E{Key: "lost", Value: true})
	}
	_, err := l.meta.InsertOne(ctx, d)
	if mongo.IsDuplicateKeyError(err) {
		return false, nil
	}
	return err == nil, err
}

// place returns the token to go on after, nil for none; lost says that there was one.
func (l *lease) place() (token bson.Raw, lost bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.token, l.lost
}

// advance moves the place. The next renewal stores it.
func (l *lease) advance(token bson.Raw) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token, l.lost = token, false
}

// store moves the place and stores it, if the lease is still held.
func (l *lease) store(ctx context.Context, token bson.Raw) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.token, l.lost = token, false
	return l.failed(l.writeLocked(ctx, l.owner))
}

func (l *lease) renew(ctx context.Context) (good time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.writeLocked(ctx, l.owner)
	return l.good, err
}

// writeLocked writes the document as it should be, and who owns the lease from now on. It does
// not outlast the lease.
func (l *lease) writeLocked(ctx context.Context, owner string) error {
	ctx, cancel := context.WithDeadline(ctx, l.good.Add(l.ttl))
	defer cancel()
	for range 3 {
		began := time.Now()
		ok, err := l.updateLocked(ctx, owner)
		var there *leaseDocument
		if !ok && err == nil {
			there, err = l.read(ctx)
		}
		if !ok && err == nil && there == nil { // the database was dropped
			l.n++
			ok, err = l.insert(ctx, owner)
		}
		switch {
		case err != nil:
			return err
		case ok:
			l.good = began
			return nil
		case there != nil && there.Owner != l.owner:
			return errLease
		case there != nil: // a write of which no answer came was applied
			l.n = there.N
		}
	}
	return errLease
}

// updateLocked changes the document. It reports false if it is not as it was left.
func (l *lease) updateLocked(ctx context.Context, owner string) (bool, error) {
	filter := bson.D{{Key: "_id", Value: watchID}, {Key: "owner", Value: l.owner}, {Key: "n", Value: l.n}}
	set := bson.D{{Key: "owner", Value: owner}, {Key: "n", Value: l.n + 1}}
	if l.token != nil {
		set = append(set, bson.E{Key: "token", Value: l.token})
	}
	update := bson.D{{Key: "$set", Value: set}}
	if !l.lost {
		update = append(update, bson.E{Key: "$unset", Value: bson.D{{Key: "lost", Value: ""}}})
	}
	r, err := l.meta.UpdateOne(ctx, filter, update)
	if err != nil || r.MatchedCount == 0 {
		return false, err
	}
	l.n++
	return true, nil
}

// keep renews the lease until ctx ends, or it is lost, and returns why.
func (l *lease) keep(ctx context.Context) error {
	for wait := l.ttl / 3; ; {
		if err := pause(ctx, wait); err != nil {
			return err
		}
		good, err := l.renew(ctx)
		switch {
		case err == nil:
			wait = l.ttl / 3
		case errors.Is(err, errLease):
			return err
		case time.Since(good) >= l.ttl:
			return fmt.Errorf("%w: %w", errLease, err)
		default:
			wait = l.ttl / 30
		}
	}
}

// release gives the lease back, with the place where the next watcher goes on.
func (l *lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.ttl/3)
	defer cancel()
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.writeLocked(ctx, "") // else the others wait until it runs out
}

func (l *lease) failed(err error) error {
	if err == nil || errors.Is(err, errLease) {
		return err
	}
	return describe(l.meta.Name(), watchID, err)
}

// pause waits, or returns why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
