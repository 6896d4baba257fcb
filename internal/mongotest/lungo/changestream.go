package main

import (
	"strings"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// stream is the state of a change stream.
type stream struct {
	ns       namespace // without a collection it watches the database
	full     string    // fullDocument
	before   string    // fullDocumentBeforeChange
	stages   stage
	position string // the token that a client resumes with
	pending  string // the position once the documents at hand are taken
	scanned  string // the last token looked at
	ended    bool   // an invalidate event is the last
	invalid  string // the token of an invalidate event still to be told
}

// watch opens a change stream.
func (s *Server) watch(c *command, arg any, rest bson.A) (bson.D, error) {
	if c.txn != nil {
		return nil, fail(codeNotInTransaction, "$changeStream is not supported in a transaction")
	}
	spec, ok := arg.(bson.D)
	if !ok {
		return nil, fail(codeFailedToParse, "$changeStream needs an object")
	}
	if err := onlyFields(spec, "$changeStream", "fullDocument", "fullDocumentBeforeChange", "resumeAfter", "startAfter", "startAtOperationTime"); err != nil {
		return nil, err
	}
	st := &stream{ns: namespace{db: c.db}}
	reply := namespace{c.db, "$cmd.aggregate"}
	if n, ok := number(c.body[0].Value); !ok || n != 1 {
		ns, err := c.namespace()
		if err != nil {
			return nil, err
		}
		st.ns, reply = ns, ns
	}
	var err error
	if st.full, err = oneOf(spec, "fullDocument", "default", "updateLookup", "whenAvailable", "required"); err != nil {
		return nil, err
	}
	if st.before, err = oneOf(spec, "fullDocumentBeforeChange", "off", "whenAvailable", "required"); err != nil {
		return nil, err
	}
	if st.stages, err = compilePipeline(rest, map[string]bool{"$match": true}); err != nil {
		return nil, err
	}
	cur := &cursor{ns: reply, stream: st}
	s.mu.Lock()
	if err = st.begin(spec, s.clock); err == nil {
		s.invalidateLocked(cur, has(spec, "startAfter"))
		err = s.advanceLocked(cur)
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	out, err := s.openCursor(c, cur, c.doc("cursor"))
	if err != nil {
		return nil, err
	}
	st.taken(cur)
	return cur.reply("firstBatch", lookup(lookup(out, "cursor").(bson.D), "firstBatch").(bson.A)), nil
}

func oneOf(spec bson.D, key string, values ...string) (string, error) {
	if !has(spec, key) {
		return values[0], nil
	}
	for _, v := range values {
		if lookup(spec, key) == any(v) {
			return v, nil
		}
	}
	return "", fail(codeBadValue, "Enumeration value '%v' for field '$changeStream.%s' is not a valid value.", lookup(spec, key), key)
}

// invalidMark ends the token of an invalidate event, which shares the place of
// the event that caused it.
const invalidMark = "i"

// begin finds the place to start behind.
func (st *stream) begin(spec bson.D, clock uint64) error {
	st.scanned = token(clock, 1<<32-1)
	for _, key := range []string{"resumeAfter", "startAfter"} {
		if !has(spec, key) {
			continue
		}
		doc, _ := lookup(spec, key).(bson.D)
		data, ok := lookup(doc, "_data").(string)
		plain := strings.TrimSuffix(data, invalidMark)
		if !ok || len(plain) != len(token(0, 0)) || strings.Trim(plain, "0123456789abcdef") != "" {
			return fail(codeInvalidResumeToken, "invalid resume token")
		}
		if plain != data && key == "resumeAfter" {
			return fail(codeInvalidResumeToken, "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification.")
		}
		st.scanned = plain
	}
	if at, ok := lookup(spec, "startAtOperationTime").(primitive.Timestamp); ok {
		st.scanned = token(optime(at), 0)
	}
	st.position = st.scanned
	return nil
}

// invalidateLocked ends a stream that is resumed at the event that took away
// what it watches.
func (s *Server) invalidateLocked(cur *cursor, passed bool) {
	st := cur.stream
	events := s.events.events
	i, found := s.events.search(st.scanned)
	if passed || !found || !st.watches(&events[i]) || !st.endedBy(&events[i]) {
		return
	}
	st.ended, st.invalid = true, st.scanned+invalidMark
	st.pending = st.invalid
	cur.docs = []bson.D{st.head(&events[i], st.invalid, "invalidate")}
}

// endedBy tells whether the event takes away what is watched.
func (st *stream) endedBy(e *event) bool {
	return e.kind == opDropDatabase || e.kind == opDrop && st.ns.coll != ""
}

// await fills an empty change stream, waiting for events.
func (s *Server) await(c *command, cur *cursor, size int) error {
	until := c.until(awaitTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.advanceLocked(cur); err != nil {
			return err
		}
		if len(cur.docs) > 0 || cur.stream.ended {
			return nil
		}
		if !s.waitLocked(until) {
			return nil
		}
		if s.cursors[cur.id] == nil {
			return fail(codeCursorNotFound, "cursor id %d was killed", cur.id)
		}
	}
}

// advanceLocked turns the events since the last call into documents of the
// cursor.
func (s *Server) advanceLocked(cur *cursor) error {
	st := cur.stream
	if st.ended || len(cur.docs) > 0 {
		return nil
	}
	events, ok := s.events.after(st.scanned)
	if !ok {
		return fail(codeHistoryLost, "Resume of change stream was not possible, as the resume point may no longer be in the oplog.").
			labelled("NonResumableChangeStreamError")
	}
	for i := range events {
		if st.ended {
			break
		}
		e := &events[i]
		st.scanned = e.token
		if !st.watches(e) {
			continue
		}
		docs, err := s.describeLocked(st, e)
		if err != nil {
			return err
		}
		if docs, err = st.stages(nil, docs); err != nil {
			return err
		}
		cur.docs = append(cur.docs, docs...)
	}
	if !st.ended {
		st.scanned = max(st.scanned, token(s.clock, 1<<32-1))
	}
	st.pending = st.scanned
	if st.ended {
		st.pending = st.invalid
	}
	return nil
}

// taken moves the resume position: to the last document handed out while there
// are more at hand, otherwise to the end of what has been looked at.
func (st *stream) taken(cur *cursor) {
	if len(cur.docs) == 0 {
		st.position = st.pending
		return
	}
	// The document at the front is the next; resuming must come to it, so the
	// position is just before its place.
	data := lookup(lookup(cur.docs[0], "_id").(bson.D), "_data").(string)
	if trimmed, ok := strings.CutSuffix(data, invalidMark); ok {
		st.position = trimmed
		return
	}
	st.position = before(data)
}

// before returns a token less than the given one and not less than any event
// in front of it.
func before(t string) string {
	digits := []byte(t)
	for i := len(digits) - 1; i >= 0; i-- {
		switch digits[i] {
		case '0':
			digits[i] = 'f'
			continue
		case 'a':
			digits[i] = '9'
		default:
			digits[i]--
		}
		break
	}
	return string(digits)
}

// watches tells whether the stream is about the event.
func (st *stream) watches(e *event) bool {
	if e.ns.db != st.ns.db {
		return false
	}
	if st.ns.coll == "" {
		return true
	}
	return e.ns.coll == st.ns.coll
}

// describeLocked makes the documents of an event: itself, and an invalidate
// event where it takes away what is watched.
func (s *Server) describeLocked(st *stream, e *event) ([]bson.D, error) {
	ns := bson.D{{Key: "db", Value: e.ns.db}}
	if e.ns.coll != "" {
		ns = append(ns, bson.E{Key: "coll", Value: e.ns.coll})
	}
	doc := st.head(e, e.token, e.kind)
	if e.mark != nil {
		doc = append(doc, bson.E{Key: "txnNumber", Value: e.mark.Number}, bson.E{Key: "lsid", Value: e.mark.ID})
	}
	if e.id == nil && (e.kind == opDrop || e.kind == opDropDatabase) {
		docs := []bson.D{append(doc, bson.E{Key: "ns", Value: ns})}
		if st.endedBy(e) {
			st.ended, st.invalid = true, e.token+invalidMark
			docs = append(docs, st.head(e, st.invalid, "invalidate"))
		}
		return docs, nil
	}
	full, ok, err := s.fullDocumentLocked(st, e)
	if err != nil {
		return nil, err
	}
	if ok {
		doc = append(doc, bson.E{Key: "fullDocument", Value: full})
	}
	doc = append(doc, bson.E{Key: "ns", Value: ns}, bson.E{Key: "documentKey", Value: bson.D{{Key: "_id", Value: e.id}}})
	if e.kind == opUpdate {
		doc = append(doc, bson.E{Key: "updateDescription", Value: e.update})
	}
	if st.before != "off" && e.kind != opInsert {
		var image any
		if e.preImages {
			image = *e.before
		} else if st.before == "required" {
			return nil, fail(codeNoMatchingDocument, "Change stream was configured to require a pre-image for all update, delete and replace events, but the pre-image was not found")
		}
		doc = append(doc, bson.E{Key: "fullDocumentBeforeChange", Value: image})
	}
	return []bson.D{doc}, nil
}

func (st *stream) head(e *event, token, kind string) bson.D {
	return bson.D{
		{Key: "_id", Value: bson.D{{Key: "_data", Value: token}}},
		{Key: "operationType", Value: kind},
		{Key: "clusterTime", Value: timestamp(e.time)},
		{Key: "wallTime", Value: primitive.NewDateTimeFromTime(e.wall)},
	}
}

// fullDocumentLocked returns the document to tell, false for none. A lookup
// finds the document as it is now, which may be gone.
func (s *Server) fullDocumentLocked(st *stream, e *event) (any, bool, error) {
	switch {
	case e.kind == opInsert, e.kind == opReplace:
		return *e.after, true, nil
	case e.kind == opDelete, st.full == "default":
		return nil, false, nil
	case st.full == "updateLookup":
		if rec, ok := collectionOf(s.latest, e.ns).byID(e.id); ok {
			return *rec.doc, true, nil
		}
		return nil, true, nil
	case e.preImages:
		return *e.after, true, nil
	case st.full == "required":
		return nil, false, fail(codeNoMatchingDocument, "Change stream was configured to require a post-image, but the post-image was not found")
	}
	return nil, true, nil
}
