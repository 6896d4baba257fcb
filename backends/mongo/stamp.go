package mongo

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/graphcache/graphcache/driver"
)

// A stamp is the operationTime of a write. A read that is asked for a state not before it has
// a read concern with this afterClusterTime: a primary that has been deposed, and does not
// know it yet, then waits instead of answering with what it has.
//
// Where the deployment signs its cluster times, the stamp has the $clusterTime with its
// signature as well, because a mongos refuses an afterClusterTime that is after all it has
// heard of:
//
//	bytes 0–7    operationTime, seconds and increment
//	bytes 8–15   the $clusterTime's time
//	bytes 16–23  the ID of the key with which it is signed
//	bytes 24–43  the signature
const (
	shortStamp = 8
	longStamp  = 44
)

// stampOf returns the moment of what the session has done last.
func stampOf(s *mongo.Session) driver.Stamp {
	t := s.OperationTime()
	if t == nil {
		return ""
	}
	b := appendTimestamp(make([]byte, 0, longStamp), *t)
	cluster, ok := s.ClusterTime().Lookup("$clusterTime").DocumentOK()
	if !ok {
		return driver.Stamp(b)
	}
	seconds, increment, timed := cluster.Lookup("clusterTime").TimestampOK()
	keyID, keyed := cluster.Lookup("signature", "keyId").AsInt64OK()
	_, hash, signed := cluster.Lookup("signature", "hash").BinaryOK()
	if timed && keyed && signed && keyID != 0 && len(hash) == longStamp-24 {
		b = appendTimestamp(b, bson.Timestamp{T: seconds, I: increment})
		b = append(binary.BigEndian.AppendUint64(b, uint64(keyID)), hash...)
	}
	return driver.Stamp(b)
}

func appendTimestamp(b []byte, t bson.Timestamp) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, t.T), t.I)
}

// checkStamp returns an error for what cannot be a stamp of this store.
func checkStamp(at driver.Stamp) error {
	if len(at) != shortStamp && len(at) != longStamp {
		return fmt.Errorf("mongo: a stamp of %d bytes is none of this store's: %w", len(at), driver.ErrInvalid)
	}
	return nil
}

// advance makes the session's reads see what had happened at the stamp.
func advance(s *mongo.Session, at driver.Stamp) error {
	if err := checkStamp(at); err != nil {
		return err
	}
	b := []byte(at)
	if len(b) == longStamp {
		signature := bson.D{{Key: "hash", Value: bson.Binary{Data: b[24:]}}, {Key: "keyId", Value: int64(binary.BigEndian.Uint64(b[16:]))}}
		raw, err := bson.Marshal(bson.D{{Key: "$clusterTime", Value: bson.D{
			{Key: "clusterTime", Value: timestamp(b[8:])}, {Key: "signature", Value: signature},
		}}})
		if err != nil {
			return fmt.Errorf("mongo: a stamp: %w", err)
		}
		if err := s.AdvanceClusterTime(raw); err != nil {
			return fmt.Errorf("mongo: a stamp: %w", err)
		}
	}
	t := timestamp(b)
	return s.AdvanceOperationTime(&t)
}

func timestamp(b []byte) bson.Timestamp {
	return bson.Timestamp{T: binary.BigEndian.Uint32(b), I: binary.BigEndian.Uint32(b[4:])}
}

// floor is the latest stamp that a store has given or was given. Reads that come without a
// stamp, such as those that do not ask the cache, see at least what this process has written
// or was told of.
type floor struct{ at atomic.Pointer[driver.Stamp] }

func (f *floor) get() driver.Stamp {
	if p := f.at.Load(); p != nil {
		return *p
	}
	return ""
}

func (f *floor) raise(to driver.Stamp) {
	for {
		p := f.at.Load()
		if to == "" || p != nil && *p >= to || f.at.CompareAndSwap(p, &to) {
			return
		}
	}
}

// session runs f in a session whose reads are not before the stamp, and returns the moment
// of what f has done. Where the deployment has no logical clock it runs f without one.
func (db *database) session(ctx context.Context, atLeast driver.Stamp, f func(context.Context) error) (driver.Stamp, error) {
	if !db.caps.Stamps {
		return "", f(ctx)
	}
	s, err := db.client.StartSession()
	if err != nil {
		return "", err
	}
	defer s.EndSession(ctx)
	if at := max(atLeast, db.floor.get()); at != "" {
		if err := advance(s, at); err != nil {
			return "", err
		}
	}
	if err := f(mongo.NewSessionContext(ctx, s)); err != nil {
		return "", err
	}
	return stampOf(s), nil
}
