package main

import (
	"time"

	"go.mongodb.org/mongo-driver/bson"
)

const (
	// cursorLife is how long a cursor lives without being used.
	cursorLife = 10 * time.Minute
	// firstBatch is the size of the first batch if none is asked for.
	firstBatch = 101
	// awaitTime is how long a change stream waits if not told by maxTimeMS.
	awaitTime = time.Second
)

// cursor is the rest of a result, or a change stream.
type cursor struct {
	id     int64
	ns     namespace
	docs   []bson.D
	single bool // no more than one batch
	stream *stream
	txn    *transaction // the cursor ends with it
	optime uint64

	used time.Time // protected by the lock of the server
}

// openCursor answers with the first batch and keeps the cursor if there is
// more. The batch size is in the document options.
func (s *Server) openCursor(c *command, cur *cursor, options bson.D) (bson.D, error) {
	size := firstBatch
	if has(options, "batchSize") {
		var err error
		if size, err = natural(options, "batchSize"); err != nil {
			return nil, err
		}
	}
	batch, err := cur.take(size)
	if err != nil {
		return nil, err
	}
	if len(cur.docs) > 0 && !cur.single || cur.stream != nil && !cur.stream.ended {
		cur.txn, cur.optime = c.txn, c.optime
		s.mu.Lock()
		s.lastCursor++
		cur.id, cur.used = s.lastCursor, time.Now()
		s.cursors[cur.id] = cur
		s.mu.Unlock()
	}
	return cur.reply("firstBatch", batch), nil
}

// take removes up to size documents, all if size is negative, but no more
// than fit into a reply.
func (cur *cursor) take(size int) (bson.A, error) {
	batch, bytes := bson.A{}, 0
	for len(cur.docs) > 0 && len(batch) != size {
		raw, err := bson.Marshal(cur.docs[0])
		if err != nil {
			return nil, err
		}
		if bytes += len(raw); bytes > maxDocument && len(batch) > 0 {
			break
		}
		batch = append(batch, bson.Raw(raw))
		cur.docs = cur.docs[1:]
	}
	return batch, nil
}

func (cur *cursor) reply(field string, batch bson.A) bson.D {
	doc := bson.D{{Key: field, Value: batch}, {Key: "id", Value: cur.id}, {Key: "ns", Value: cur.ns.String()}}
	if cur.stream != nil {
		doc = append(doc, bson.E{Key: "postBatchResumeToken", Value: bson.D{{Key: "_data", Value: cur.stream.position}}})
	}
	return bson.D{{Key: "cursor", Value: doc}}
}

func (s *Server) getMore(c *command) (bson.D, error) {
	id, _ := c.body[0].Value.(int64)
	size := -1
	if has(c.body, "batchSize") {
		n, err := c.natural("batchSize")
		if err != nil {
			return nil, err
		}
		if n > 0 {
			size = n
		}
	}
	s.mu.Lock()
	cur := s.cursors[id]
	s.mu.Unlock()
	if cur == nil || cur.txn != c.txn {
		return nil, fail(codeCursorNotFound, "cursor id %d not found", id)
	}
	c.optime = cur.optime
	if cur.stream != nil {
		c.optime = 0
		if err := s.await(c, cur, size); err != nil {
			s.dropCursor(id)
			return nil, err
		}
	}
	batch, err := cur.take(size)
	if err != nil {
		return nil, err
	}
	if cur.stream != nil {
		cur.stream.taken(cur)
	}
	if len(cur.docs) == 0 && (cur.stream == nil || cur.stream.ended) {
		s.dropCursor(id)
		cur.id = 0
	}
	s.mu.Lock()
	cur.used = time.Now()
	s.mu.Unlock()
	return cur.reply("nextBatch", batch), nil
}

func (s *Server) dropCursor(id int64) {
	s.mu.Lock()
	delete(s.cursors, id)
	s.mu.Unlock()
}

func (s *Server) killCursors(c *command) (bson.D, error) {
	killed, missing := bson.A{}, bson.A{}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, item := range c.list("cursors") {
		id, _ := item.(int64)
		if s.cursors[id] == nil {
			missing = append(missing, id)
			continue
		}
		delete(s.cursors, id)
		killed = append(killed, id)
	}
	s.broadcastLocked()
	return bson.D{
		{Key: "cursorsKilled", Value: killed},
		{Key: "cursorsNotFound", Value: missing},
		{Key: "cursorsAlive", Value: bson.A{}},
		{Key: "cursorsUnknown", Value: bson.A{}},
	}, nil
}
