package main

import (
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/bson"
)

// transactionLife is how long a transaction may stay open.
const transactionLife = 60 * time.Second

// transaction is an open multi-document transaction. It reads the catalog as
// it was when it began, together with its own writes. Every document and every
// unique key it writes is checked against the committed data and against the
// other open transactions at once, so that its commit cannot fail.
type transaction struct {
	session *session
	begun   time.Time
	base    uint64 // the optime of the snapshot

	// The lock of the server protects the fields below. The catalog itself
	// never changes, it is replaced.
	catalog *catalog
	changes []change
	written map[uint64]bool // the numbers of the records written
}

// inTransaction runs a command in the transaction of its session. Any error
// but that of a repeated commit or abort ends the transaction.
func (s *Server) inTransaction(c *command, h handler) (bson.D, error) {
	ending := c.name == "committransaction" || c.name == "aborttransaction"
	s.mu.Lock()
	err := s.joinLocked(c, ending)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	reply, err := h.run(s, c)
	if c.txn == nil || ending {
		return reply, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil && !s.open[c.txn] {
		return nil, noSuchTransaction(c)
	}
	if err != nil || has(reply, "writeErrors") {
		s.abortLocked(c.txn)
	}
	if e, ok := errors.AsType[*commandError](err); ok && e.code == codeWriteConflict {
		return nil, e.labelled("TransientTransactionError")
	}
	return reply, err
}

// joinLocked finds or begins the transaction of a command.
func (s *Server) joinLocked(c *command, ending bool) error {
	sess := c.session
	if truthy(c.get("startTransaction")) {
		if c.number == sess.number {
			return fail(50911, "Cannot start a transaction at given transaction number %d on a session that has used it", c.number)
		}
		if err := s.beginNumberLocked(c); err != nil {
			return err
		}
		c.txn = &transaction{
			session: sess,
			begun:   time.Now(),
			base:    s.clock,
			catalog: s.latest,
			written: map[uint64]bool{},
		}
		sess.txn = c.txn
		s.open[c.txn] = true
		return nil
	}
	switch {
	case c.number < sess.number:
		return fail(codeTransactionTooOld, "Transaction %d is older than %d", c.number, sess.number)
	case c.number > sess.number:
		return noSuchTransaction(c)
	case sess.committed && c.name == "committransaction":
		return nil
	case sess.committed:
		return fail(codeCommitted, "Transaction %d has been committed.", c.number)
	case sess.txn == nil:
		return noSuchTransaction(c)
	}
	c.txn = sess.txn
	return nil
}

func noSuchTransaction(c *command) *commandError {
	return fail(codeNoSuchTransaction, "Given transaction number %d does not match any in-progress transactions.", c.number).
		labelled("TransientTransactionError")
}

// abortLocked ends a transaction without a trace.
func (s *Server) abortLocked(t *transaction) {
	delete(s.open, t)
	if t.session.txn == t {
		t.session.txn = nil
	}
	for id, cur := range s.cursors {
		if cur.txn == t {
			delete(s.cursors, id)
		}
	}
	s.broadcastLocked()
}

func (s *Server) commitTransaction(c *command) (bson.D, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := c.txn
	if t == nil {
		return nil, nil // committed before
	}
	if !s.open[t] {
		return nil, noSuchTransaction(c)
	}
	mark := &sessionMark{ID: t.session.id, Number: c.number, Committed: true}
	if len(t.changes) == 0 {
		s.sessions.remember(mark)
	} else if err := s.commitLocked(t.changes, mark); err != nil {
		return nil, err
	}
	s.abortLocked(t)
	return nil, nil
}

func (s *Server) abortTransaction(c *command) (bson.D, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.txn == nil || !s.open[c.txn] {
		return nil, noSuchTransaction(c)
	}
	s.abortLocked(c.txn)
	return nil, nil
}

// holderLocked tells whether an open transaction other than t has written the
// record.
func (s *Server) holderLocked(t *transaction, record uint64) bool {
	for other := range s.open {
		if other != t && other.written[record] {
			return true
		}
	}
	return false
}

// writesLocked tells whether an open transaction has written to a collection
// that passes.
func (s *Server) writesLocked(pass func(namespace) bool) bool {
	for t := range s.open {
		for _, ch := range t.changes {
			if pass(ch.namespace()) {
				return true
			}
		}
	}
	return false
}
