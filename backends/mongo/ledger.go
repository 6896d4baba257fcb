package mongo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/graphcache/graphcache/driver"
)

// What a driver.Ledger keeps is in Options.Collection:
//
//	{_id: "ledger:owed:…", anchor, owner, token, window, record}    an entry of the journal
//	{_id: "ledger:raised:KIND", n}                                  a generation
//	{_id: "ledger:registered:KIND", entries: {…: {spec, at, ready}}}
//
// What is of any bytes is in binary fields; … is a hash of an entry's anchor and owner, or of
// its spec. A find goes through _id in order and may see each document at another moment, a
// later one at no earlier moment. So the journal comes first, and in it last what is owed of
// all anchors, in whose favour other entries are settled.
const (
	ledgerID     = "ledger:"
	owedID       = ledgerID + "owed:"
	owedAllID    = owedID + "~" // after all hexadecimal digits
	raisedID     = ledgerID + "raised:"
	registeredID = ledgerID + "registered:"
)

// Look implements driver.Ledger. It is one command for up to 10,000 entries of 16 MiB in all.
// Its stamp is the server's operationTime, and like all reads it is not before what this
// process has written or was told of; in the seconds after an election it can miss what
// another process has done.
func (s *Store) Look(ctx context.Context) (driver.Look, error) {
	if err := s.db.usable(ctx); err != nil {
		return driver.Look{}, err
	}
	look := driver.Look{Generations: make(map[string]uint64)}
	r := reader{s: &Store{db: s.db, space: s.db.space("")}}
	var err error
	look.Stamp, err = s.db.session(ctx, "", func(ctx context.Context) error {
		filter := bson.D{{Key: "_id", Value: prefixRange(ledgerID)}}
		order := options.Find().SetSort(bson.D{{Key: "_id", Value: int32(1)}})
		return r.find(ctx, s.db.opts.Collection, filter, order, func(raw bson.Raw) error {
			id, _ := raw.Lookup("_id").StringValueOK()
			if err := takeEntry(&look, id, raw); err != nil {
				return locate(s.db.opts.Collection, id, err)
			}
			return nil
		})
	})
	if err != nil {
		return driver.Look{}, err
	}
	s.db.floor.raise(look.Stamp)
	return look, nil
}

// errEntry is of a document that is not what the store has written.
var errEntry = errors.New("a field is missing or is of another type")

// takeEntry adds to the look what a document says. One that it does not know is none of the
// store's, or a later version's.
func takeEntry(look *driver.Look, id string, raw bson.Raw) error {
	if strings.HasPrefix(id, owedID) {
		e, err := journalEntry(raw)
		look.Journal = append(look.Journal, e)
		return err
	}
	if kind, ok := strings.CutPrefix(id, raisedID); ok {
		n, ok := raw.Lookup("n").AsInt64OK()
		if !ok || n < 0 {
			return errEntry
		}
		if n > 0 {
			look.Generations[kind] = uint64(n)
		}
	}
	if kind, ok := strings.CutPrefix(id, registeredID); ok {
		return eachRegistered(raw, func(_ string, e registered) {
			look.Registry = append(look.Registry, driver.RegistryEntry{Kind: kind, Spec: e.spec, Ready: e.ready})
		})
	}
	return nil
}

func journalEntry(raw bson.Raw) (e driver.JournalEntry, err error) {
	text := func(field string) string {
		_, b, ok := raw.Lookup(field).BinaryOK()
		if !ok {
			err = errEntry
		}
		return string(b)
	}
	e = driver.JournalEntry{Anchor: text("anchor"), Owner: text("owner"), Token: text("token"), Record: text("record")}
	ms, ok := raw.Lookup("window").AsInt64OK()
	if most := math.MaxInt64 / int64(time.Millisecond); !ok || ms < -most || ms > most {
		err = errEntry
	}
	e.Window = time.Duration(ms) * time.Millisecond
	return e, err
}

// registered is an entry of the registry as it is stored.
type registered struct {
	spec  string
	at    time.Time // of the last renewal, by the clock of whoever made it
	ready bool
}

// eachRegistered calls f with what is registered of a kind, and the name of its field.
func eachRegistered(raw bson.Raw, f func(field string, e registered)) error {
	entries, ok := raw.Lookup("entries").DocumentOK()
	if !ok {
		return errEntry
	}
	elements, err := entries.Elements()
	if err != nil {
		return errEntry
	}
	for _, element := range elements {
		entry, ok := element.Value().DocumentOK()
		_, spec, isSpec := entry.Lookup("spec").BinaryOK()
		at, isTime := entry.Lookup("at").DateTimeOK()
		if !ok || !isSpec || !isTime {
			return errEntry
		}
		ready, _ := entry.Lookup("ready").BooleanOK()
		f(element.Key(), registered{string(spec), time.UnixMilli(at), ready})
	}
	return nil
}

// binaryOf returns what a binary field has.
func binaryOf(s string) bson.Binary { return bson.Binary{Data: []byte(s)} }

// journalID returns the _id of an entry: one of two parts of any bytes that is not too long
// for an index.
func journalID(e *driver.JournalEntry) string {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(e.Anchor))))
	h.Write([]byte(e.Anchor))
	h.Write([]byte(e.Owner))
	prefix := owedID
	if e.Anchor == "" {
		prefix = owedAllID
	}
	return prefix + hex.EncodeToString(h.Sum(nil))
}

// Owe implements driver.Ledger, with one command for as many entries as Options.Batch says.
func (s *Store) Owe(ctx context.Context, entries []driver.JournalEntry) error {
	// Of two entries for the same the later one counts: the commands have no order.
	last := make(map[string]int, len(entries))
	for i := range entries {
		last[journalID(&entries[i])] = i
	}
	return s.journal(ctx, entries, func(i int) mongo.WriteModel {
		e := &entries[i]
		id := journalID(e)
		if last[id] != i {
			return nil
		}
		return mongo.NewReplaceOneModel().SetUpsert(true).SetFilter(bson.D{{Key: "_id", Value: id}}).SetReplacement(bson.D{
			{Key: "anchor", Value: binaryOf(e.Anchor)},
			{Key: "owner", Value: binaryOf(e.Owner)},
			{Key: "token", Value: binaryOf(e.Token)},
			{Key: "window", Value: e.Window.Milliseconds()},
			{Key: "record", Value: binaryOf(e.Record)},
		})
	})
}

// Settle implements driver.Ledger, with one command for as many entries as Options.Batch says.
func (s *Store) Settle(ctx context.Context, entries []driver.JournalEntry) error {
	return s.journal(ctx, entries, func(i int) mongo.WriteModel {
		e := &entries[i]
		return mongo.NewDeleteOneModel().SetFilter(bson.D{{Key: "_id", Value: journalID(e)}, {Key: "token", Value: binaryOf(e.Token)}})
	})
}

// journal makes the write that each entry stands for, unless it is nil.
func (s *Store) journal(ctx context.Context, entries []driver.JournalEntry, write func(i int) mongo.WriteModel) error {
	if err := s.db.usable(ctx); err != nil {
		return err
	}
	var batch []mongo.WriteModel
	size := 0
	for i := range entries {
		model := write(i)
		if model == nil {
			continue
		}
		size += len(entries[i].Anchor) + len(entries[i].Record)
		if len(batch) == s.db.opts.Batch || size > maxInsert {
			if err := s.send(ctx, batch); err != nil {
				return err
			}
			batch, size = nil, len(entries[i].Anchor)+len(entries[i].Record)
		}
		batch = append(batch, model)
	}
	return s.send(ctx, batch)
}

// send makes writes of the journal in one command.
func (s *Store) send(ctx context.Context, batch []mongo.WriteModel) error {
	if len(batch) == 0 {
		return nil
	}
	err := s.upsert(ctx, func(ctx context.Context, meta *mongo.Collection) error {
		_, err := meta.BulkWrite(ctx, batch, options.BulkWrite().SetOrdered(false))
		return err
	})
	if err != nil {
		return describe(s.db.opts.Collection, "the journal", err)
	}
	return nil
}

// upsert runs f, and again if it has failed because another upsert of the same was first.
func (s *Store) upsert(ctx context.Context, f func(context.Context, *mongo.Collection) error) error {
	meta := s.db.collection(s.db.opts.Collection)
	stamp, err := s.db.session(ctx, "", func(ctx context.Context) error {
		for try := 1; ; try++ {
			err := f(ctx, meta)
			if !mongo.IsDuplicateKeyError(err) && !errors.Is(err, mongo.ErrNoDocuments) || try == 3 {
				return err
			}
		}
	})
	s.db.floor.raise(stamp)
	return err
}

// Register implements driver.Ledger. The age of entries is by the clocks of those who renew
// them.
func (s *Store) Register(ctx context.Context, entries []driver.RegistryEntry) error {
	if err := s.db.usable(ctx); err != nil {
		return err
	}
	ready := make(map[string]map[string]bool) // by kind and spec
	for _, e := range entries {
		if ready[e.Kind] == nil {
			ready[e.Kind] = make(map[string]bool)
		}
		ready[e.Kind][e.Spec] = ready[e.Kind][e.Spec] || e.Ready
	}
	for _, kind := range slices.Sorted(maps.Keys(ready)) {
		if err := s.register(ctx, kind, ready[kind]); err != nil {
			return describe(s.db.opts.Collection, registeredID+kind, err)
		}
	}
	return nil
}

// register registers what is given of a kind, and whether it is Ready in any case.
func (s *Store) register(ctx context.Context, kind string, specs map[string]bool) error {
	now := time.Now()
	var always, first bson.D
	for _, spec := range slices.Sorted(maps.Keys(specs)) {
		hash := sha256.Sum256([]byte(spec))
		path := "entries." + hex.EncodeToString(hash[:])
		always = append(always, bson.E{Key: path + ".spec", Value: binaryOf(spec)}, bson.E{Key: path + ".at", Value: bson.NewDateTimeFromTime(now)})
		if isReady := (bson.E{Key: path + ".ready", Value: true}); specs[spec] {
			always = append(always, isReady)
		} else {
			first = append(first, isReady)
		}
	}
	update := bson.D{{Key: "$set", Value: always}}
	if first != nil {
		update = append(update, bson.E{Key: "$setOnInsert", Value: first})
	}
	filter := bson.D{{Key: "_id", Value: registeredID + kind}}
	return s.upsert(ctx, func(ctx context.Context, meta *mongo.Collection) error {
		after := options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)
		there, err := meta.FindOneAndUpdate(ctx, filter, update, after).Raw()
		if err != nil {
			return err
		}
		return prune(ctx, meta, filter, there, now.Add(-driver.RegistryTTL))
	})
}

// prune removes from the registry what was last renewed before the moment, if nobody has
// renewed any of it meanwhile.
func prune(ctx context.Context, meta *mongo.Collection, filter bson.D, there bson.Raw, before time.Time) error {
	stale, gone := filter[:1:1], bson.D{}
	err := eachRegistered(there, func(field string, e registered) {
		if e.at.Before(before) {
			stale = append(stale, bson.E{Key: "entries." + field + ".at", Value: bson.D{{Key: "$lt", Value: bson.NewDateTimeFromTime(before)}}})
			gone = append(gone, bson.E{Key: "entries." + field, Value: ""})
		}
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	_, err = meta.UpdateOne(ctx, stale, bson.D{{Key: "$unset", Value: gone}})
	return err
}

// Raise implements driver.Ledger.
func (s *Store) Raise(ctx context.Context, kinds []string, atLeast uint64) error {
	if err := s.db.usable(ctx); err != nil {
		return err
	}
	if atLeast > math.MaxInt64 {
		return fmt.Errorf("mongo: a generation of %d: %w", atLeast, driver.ErrInvalid)
	}
	for _, kind := range kinds {
		if err := s.raise(ctx, kind, int64(atLeast)); err != nil {
			return describe(s.db.opts.Collection, raisedID+kind, err)
		}
	}
	return nil
}

func (s *Store) raise(ctx context.Context, kind string, atLeast int64) error {
	filter := bson.D{{Key: "_id", Value: raisedID + kind}}
	one := bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int64(1)}}}}
	after := options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)
	return s.upsert(ctx, func(ctx context.Context, meta *mongo.Collection) error {
		var now struct{ N int64 }
		if err := meta.FindOneAndUpdate(ctx, filter, one, after).Decode(&now); err != nil || now.N >= atLeast {
			return err
		}
		_, err := meta.UpdateOne(ctx, filter, bson.D{{Key: "$max", Value: bson.D{{Key: "n", Value: atLeast}}}})
		return err
	})
}
