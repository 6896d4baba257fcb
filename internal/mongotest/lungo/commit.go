package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/256dpi/lungo/bsonkit"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// The kinds of change. Those of documents are named as in change streams.
const (
	opInsert       = "insert"
	opUpdate       = "update"
	opReplace      = "replace"
	opDelete       = "delete"
	opDrop         = "drop"
	opDropDatabase = "dropDatabase"
	opCreate       = "create"
	opModify       = "modify"
	opCreateIndex  = "createIndex"
	opDropIndex    = "dropIndex"
)

// change is one step of a commit. It holds what applying it again needs, so
// that a journal of commits rebuilds the catalog.
type change struct {
	Kind   string
	DB     string
	Coll   string
	Record uint64      `bson:",omitempty"` // of a changed document
	Doc    bsonkit.Doc `bson:",omitempty"` // the document afterwards
	Update bson.D      `bson:",omitempty"` // the updateDescription
	Spec   bson.D      `bson:",omitempty"` // the options of a collection
	Index  *indexSpec  `bson:",omitempty"`
}

func (c change) namespace() namespace { return namespace{c.DB, c.Coll} }

// commit is a set of changes that become visible together.
type commit struct {
	Time    uint64 // the optime
	Wall    time.Time
	Changes []change
	Session *sessionMark `bson:",omitempty"`
}

// timestamp turns an optime into its form on the wire.
func timestamp(optime uint64) primitive.Timestamp {
	return primitive.Timestamp{T: uint32(optime >> 32), I: uint32(optime)}
}

func optime(ts primitive.Timestamp) uint64 { return uint64(ts.T)<<32 | uint64(ts.I) }

// tickLocked advances the clock.
func (s *Server) tickLocked() uint64 {
	s.clock = max(s.clock+1, uint64(time.Now().Unix())<<32|1)
	return s.clock
}

// commitLocked makes changes visible and durable. The mark, if any, is
// remembered with them.
func (s *Server) commitLocked(changes []change, mark *sessionMark) error {
	c := &commit{Time: s.tickLocked(), Wall: time.Now().UTC().Truncate(time.Millisecond), Changes: changes, Session: mark}
	if err := s.journal.append(c); err != nil {
		return fail(codeInternal, "journal: %v", err)
	}
	s.applyLocked(c)
	s.broadcastLocked()
	return nil
}

// applyLocked publishes a commit that is in the journal.
func (s *Server) applyLocked(c *commit) {
	next := s.latest.clone()
	a := applier{catalog: next, commit: c, owned: map[namespace]*collection{}}
	for _, ch := range c.Changes {
		a.apply(ch)
		s.lastRecord = max(s.lastRecord, ch.Record)
	}
	s.latest = next
	s.clock = max(s.clock, c.Time)
	s.history.add(c.Time, next)
	s.events.add(a.events)
	if c.Session != nil {
		s.sessions.remember(c.Session)
	}
}

// applier applies the changes of one commit to a catalog.
type applier struct {
	catalog *catalog
	commit  *commit
	owned   map[namespace]*collection
	events  []event
}

func (a *applier) own(ns namespace) *collection {
	if a.owned[ns] == nil {
		a.owned[ns] = a.catalog.own(ns)
	}
	return a.owned[ns]
}

func (a *applier) apply(ch change) {
	ns := ch.namespace()
	switch ch.Kind {
	case opInsert, opUpdate, opReplace, opDelete:
		a.document(ns, ch)
	case opDrop:
		a.drop(ns)
	case opDropDatabase:
		for _, name := range a.catalog.names(ch.DB) {
			a.drop(namespace{ch.DB, name})
		}
		a.event(event{kind: opDropDatabase, ns: namespace{db: ch.DB}})
	case opCreate:
		if a.catalog.collections[ns] != nil {
			return // another transaction has created it
		}
		coll := a.own(ns)
		coll.options, coll.schema = ch.Spec, a.commit.Time
	case opModify:
		coll := a.own(ns)
		coll.options, coll.schema = ch.Spec, a.commit.Time
	case opCreateIndex:
		coll := a.own(ns)
		coll.schema = a.commit.Time
		ix := newIndex(*ch.Index)
		coll.records.Scan(func(rec record) bool {
			ix.add(rec)
			return true
		})
		coll.indexes = append(coll.indexes, ix)
	case opDropIndex:
		coll := a.own(ns)
		coll.schema = a.commit.Time
		coll.indexes = slices.DeleteFunc(coll.indexes, func(ix *index) bool { return ix.spec.Name == ch.Index.Name })
	}
}

func (a *applier) document(ns namespace, ch change) {
	coll := a.own(ns)
	before, _ := coll.get(ch.Record)
	e := event{kind: ch.Kind, ns: ns, before: before.doc, after: ch.Doc, preImages: coll.preImages(), update: ch.Update}
	if ch.Kind == opDelete {
		coll.remove(ch.Record)
		e.id = lookup(*before.doc, "_id")
	} else {
		coll.put(record{n: ch.Record, version: a.commit.Time, doc: ch.Doc})
		e.id = lookup(*ch.Doc, "_id")
	}
	a.event(e)
}

func (a *applier) drop(ns namespace) {
	delete(a.catalog.collections, ns)
	delete(a.owned, ns)
	a.event(event{kind: opDrop, ns: ns})
}

func (a *applier) event(e event) {
	e.time, e.wall = a.commit.Time, a.commit.Wall
	e.token = token(e.time, len(a.events)+1)
	if mark := a.commit.Session; mark != nil && mark.Committed {
		e.mark = mark
	}
	a.events = append(a.events, e)
}

// event is what change streams tell of one change.
type event struct {
	token         string
	time          uint64
	wall          time.Time
	kind          string
	ns            namespace
	id            any
	before, after bsonkit.Doc
	preImages     bool // before may be told
	update        bson.D
	mark          *sessionMark // of the transaction, if any
}

// token is the place of the n-th event of a commit, from 1, in the order of
// all events. Tokens compare as strings; n = 0 is before the first event.
func token(optime uint64, n int) string { return fmt.Sprintf("%016x%08x", optime, n) }

// eventLog keeps the last events.
type eventLog struct {
	size   int
	events []event
	floor  string // the token after which no event is missing
}

func (l *eventLog) add(events []event) {
	l.events = append(l.events, events...)
	if extra := len(l.events) - l.size; extra > 0 {
		l.floor = l.events[extra-1].token
		l.events = l.events[extra:]
	}
}

// after returns the events behind a token, or false if some are lost.
func (l *eventLog) after(token string) ([]event, bool) {
	if token < l.floor {
		return nil, false
	}
	i, found := l.search(token)
	if found {
		i++
	}
	return l.events[i:], true
}

func (l *eventLog) search(token string) (int, bool) {
	return slices.BinarySearchFunc(l.events, token, func(e event, t string) int { return cmp.Compare(e.token, t) })
}
