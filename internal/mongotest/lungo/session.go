package main

import (
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// maxSessions bounds the sessions that are remembered.
const maxSessions = 10_000

// session remembers what a client has done under its last number, so that a
// write or commit that is sent again is not done again.
type session struct {
	id   bson.D
	busy sync.Mutex // held while a numbered command runs

	// The lock of the server protects the fields below.
	used      time.Time
	number    int64
	results   map[int32]bson.D // of the statements of a retryable write
	committed bool             // the transaction of the number is
	txn       *transaction     // the open one, if any
}

// sessionMark is what is remembered of a session together with a commit.
type sessionMark struct {
	ID        bson.D
	Number    int64
	Statement int32
	Result    bson.D `bson:",omitempty"`
	Committed bool   `bson:",omitempty"` // the commit is that of a transaction
}

type sessions struct {
	byID map[string]*session
}

func sessionKey(id bson.D) string {
	b, _ := lookup(id, "id").(primitive.Binary)
	return string(b.Data)
}

// get returns the session, which is made if need be.
func (s *sessions) get(id bson.D) *session {
	key := sessionKey(id)
	if sess := s.byID[key]; sess != nil {
		sess.used = time.Now()
		return sess
	}
	if s.byID == nil {
		s.byID = map[string]*session{}
	}
	if len(s.byID) >= maxSessions {
		s.forgetOldest()
	}
	sess := &session{id: id, number: -1, used: time.Now()}
	s.byID[key] = sess
	return sess
}

func (s *sessions) forgetOldest() {
	oldest := ""
	for key, sess := range s.byID {
		if sess.txn == nil && (oldest == "" || sess.used.Before(s.byID[oldest].used)) {
			oldest = key
		}
	}
	delete(s.byID, oldest)
}

func (s *sessions) remember(mark *sessionMark) {
	sess := s.get(mark.ID)
	sess.advance(mark.Number)
	if mark.Committed {
		sess.committed = true
		return
	}
	if sess.results == nil {
		sess.results = map[int32]bson.D{}
	}
	sess.results[mark.Statement] = mark.Result
}

// advance begins a number if it is new.
func (sess *session) advance(number int64) {
	if number == sess.number {
		return
	}
	sess.number, sess.results, sess.committed = number, nil, false
}

// inSession runs a command in its session and, if it says so, transaction.
func (s *Server) inSession(c *command, h handler) (bson.D, error) {
	n, numbered := c.get("txnNumber").(int64)
	if !numbered {
		return h.run(s, c)
	}
	id := c.doc("lsid")
	if sessionKey(id) == "" {
		return nil, fail(codeInvalidOptions, "txnNumber needs an lsid")
	}
	s.mu.Lock()
	c.session, c.number = s.sessions.get(id), n
	s.mu.Unlock()
	c.session.busy.Lock()
	defer c.session.busy.Unlock()

	auto, ok := c.get("autocommit").(bool)
	if !ok {
		return s.retryable(c, h)
	}
	if auto {
		return nil, fail(codeInvalidOptions, "autocommit must be false")
	}
	if !h.inTransaction {
		return nil, fail(codeNotInTransaction, "Cannot run '%s' in a multi-document transaction.", c.body[0].Key)
	}
	return s.inTransaction(c, h)
}

// retryable runs a write whose number lets the client send it again.
func (s *Server) retryable(c *command, h handler) (bson.D, error) {
	if !h.write {
		return nil, fail(codeInvalidOptions, "txnNumber may only be provided for retryable writes and multi-document transactions")
	}
	s.mu.Lock()
	err := s.beginNumberLocked(c)
	if err == nil && c.session.committed {
		err = fail(codeCommitted, "Transaction %d has been committed.", c.number)
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return h.run(s, c)
}

// beginNumberLocked refuses numbers of the past. A new number ends the
// transaction that is still open.
func (s *Server) beginNumberLocked(c *command) error {
	sess := c.session
	if c.number < sess.number {
		return fail(codeTransactionTooOld, "Cannot start transaction %d on session because a newer transaction %d has already started.", c.number, sess.number)
	}
	if c.number > sess.number && sess.txn != nil {
		s.abortLocked(sess.txn)
	}
	sess.advance(c.number)
	return nil
}

// recorded returns the result of a statement that has been applied before.
func (s *Server) recorded(c *command, statement int) (bson.D, bool) {
	if c.session == nil || c.txn != nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	result, ok := c.session.results[int32(statement)]
	return result, ok
}

// endSessions is also killSessions.
func (s *Server) endSessions(c *command) (bson.D, error) {
	ids, _ := c.body[0].Value.(bson.A)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		doc, _ := id.(bson.D)
		if sess := s.sessions.byID[sessionKey(doc)]; sess != nil {
			if sess.txn != nil {
				s.abortLocked(sess.txn)
			}
			if c.name == "endsessions" {
				delete(s.sessions.byID, sessionKey(doc))
			}
		}
	}
	return nil, nil
}
