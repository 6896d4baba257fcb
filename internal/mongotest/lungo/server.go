package main

import (
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// Options configures a Server.
type Options struct {
	Path        string        // the journal; empty keeps the data in memory
	WireVersion int32         // the maxWireVersion to report; 0 means 21
	Stale       time.Duration // how old plain reads may be; 0 means not at all
	Oplog       int           // the events kept for change streams; 0 means 100000
}

// lockWait bounds how long a write waits for an open transaction.
const lockWait = 5 * time.Second

// Server is a replica set of one member.
type Server struct {
	options  Options
	listener net.Listener
	address  string
	done     chan struct{}
	running  sync.WaitGroup

	mu         sync.Mutex // protects the fields below
	wake       chan struct{}
	clock      uint64 // the last optime
	latest     *catalog
	lastRecord uint64
	history    history
	events     eventLog
	journal    *journal
	sessions   sessions
	open       map[*transaction]bool
	cursors    map[int64]*cursor
	lastCursor int64
	conns      map[net.Conn]bool
}

// Start serves on the address until Close.
func Start(address string, options Options) (*Server, error) {
	amendOperators()
	if options.WireVersion == 0 {
		options.WireVersion = 21
	}
	if options.Oplog == 0 {
		options.Oplog = 100_000
	}
	s := &Server{
		options: options,
		done:    make(chan struct{}),
		wake:    make(chan struct{}),
		latest:  &catalog{collections: map[namespace]*collection{}},
		history: history{span: options.Stale},
		events:  eventLog{size: options.Oplog},
		open:    map[*transaction]bool{},
		cursors: map[int64]*cursor{},
		conns:   map[net.Conn]bool{},
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, errors.Join(err, s.journal.close())
	}
	s.listener, s.address = listener, listener.Addr().String()
	s.running.Go(s.accept)
	s.running.Go(s.expire)
	return s, nil
}

// load replays the journal. A new one begins with an empty commit, whose
// optime is the oldest place a change stream can begin at.
func (s *Server) load() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.options.Path != "" {
		j, err := openJournal(s.options.Path, func(c *commit) {
			if s.clock == 0 {
				s.events.floor = token(c.Time, 0)
			}
			s.applyLocked(c)
		})
		if err != nil {
			return err
		}
		s.journal = j
	}
	if s.clock > 0 {
		s.history.items = s.history.items[len(s.history.items)-1:] // the rest is of an earlier run
		return nil
	}
	if err := s.commitLocked(nil, nil); err != nil {
		return err
	}
	s.events.floor = token(s.clock, 0)
	return nil
}

// Address returns host and port.
func (s *Server) Address() string { return s.address }

// Close ends all connections and waits for their goroutines.
func (s *Server) Close() error {
	close(s.done)
	err := s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		conn.Close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return errors.Join(err, s.journal.close())
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[conn] = true
		s.mu.Unlock()
		s.running.Go(func() {
			s.serve(conn)
			s.mu.Lock()
			delete(s.conns, conn)
			s.mu.Unlock()
			conn.Close()
		})
	}
}

// serve answers the requests of a connection in order.
func (s *Server) serve(conn net.Conn) {
	select {
	case <-s.done:
		return
	default:
	}
	for id := int32(1); ; id++ {
		m, err := readMessage(conn)
		if err != nil {
			return
		}
		reply := s.answer(m)
		if m.flags&flagMoreToCome != 0 {
			continue
		}
		if err := writeReply(conn, m, id, reply); err != nil {
			return
		}
	}
}

// answer runs a command and adds what all replies carry.
func (s *Server) answer(m *message) bson.D {
	c := newCommand(m)
	reply, err := s.run(c)
	if err != nil {
		reply = toCommandError(err).reply()
	} else {
		reply = append(reply, bson.E{Key: "ok", Value: float64(1)})
	}
	s.mu.Lock()
	clock := s.clock
	s.mu.Unlock()
	if c.optime == 0 {
		c.optime = clock
	}
	return append(reply,
		bson.E{Key: "$clusterTime", Value: bson.D{
			{Key: "clusterTime", Value: timestamp(clock)},
			{Key: "signature", Value: bson.D{
				{Key: "hash", Value: primitive.Binary{Data: make([]byte, 20)}},
				{Key: "keyId", Value: int64(0)},
			}},
		}},
		bson.E{Key: "operationTime", Value: timestamp(c.optime)},
	)
}

// run finds the handler of a command and runs it in its session.
func (s *Server) run(c *command) (reply bson.D, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fail(codeInternal, "%v", r)
			if _, ok := r.(string); !ok { // the engine panics with strings on unknown types
				err = fail(codeInternal, "%v\n%s", r, debug.Stack())
			}
		}
	}()
	h, ok := handlers[c.name]
	if !ok {
		return nil, fail(codeCommandNotFound, "no such command: '%s'", c.name)
	}
	if err := c.check(h); err != nil {
		return nil, err
	}
	if err := s.waitForClock(c); err != nil {
		return nil, err
	}
	return s.inSession(c, h)
}

// waitForClock waits until the server has reached readConcern.afterClusterTime.
// Like a primary it goes there by an empty commit, unless the time is ahead of
// its wall clock.
func (s *Server) waitForClock(c *command) error {
	if c.after == 0 {
		return nil
	}
	until := c.until(10 * time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.clock < c.after {
		if int64(c.after>>32) <= time.Now().Unix() {
			s.clock = c.after - 1
			return s.commitLocked(nil, nil)
		}
		if !s.waitLocked(until) {
			return fail(codeMaxTimeExpired, "operation exceeded time limit while waiting for clusterTime")
		}
	}
	return nil
}

func (s *Server) broadcastLocked() {
	close(s.wake)
	s.wake = make(chan struct{})
}

// waitLocked unlocks until the next broadcast. It is false when the time is up
// or the server closes.
func (s *Server) waitLocked(until time.Time) bool {
	wake := s.wake
	s.mu.Unlock()
	defer s.mu.Lock()
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-wake:
		return true
	case <-timer.C:
	case <-s.done:
	}
	return false
}

// expire ends forgotten transactions and cursors.
func (s *Server) expire() {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case now := <-ticker.C:
			s.mu.Lock()
			for t := range s.open {
				if now.Sub(t.begun) > transactionLife {
					s.abortLocked(t)
				}
			}
			for id, cur := range s.cursors {
				if now.Sub(cur.used) > cursorLife {
					delete(s.cursors, id)
				}
			}
			s.mu.Unlock()
		}
	}
}

func (s *Server) hello(c *command) (bson.D, error) {
	return bson.D{
		{Key: "helloOk", Value: true},
		{Key: "ismaster", Value: true},
		{Key: "isWritablePrimary", Value: true},
		{Key: "secondary", Value: false},
		{Key: "setName", Value: "rs0"},
		{Key: "setVersion", Value: int32(1)},
		{Key: "hosts", Value: bson.A{s.address}},
		{Key: "primary", Value: s.address},
		{Key: "me", Value: s.address},
		{Key: "maxBsonObjectSize", Value: int32(maxDocument)},
		{Key: "maxMessageSizeBytes", Value: int32(maxMessage)},
		{Key: "maxWriteBatchSize", Value: int32(100_000)},
		{Key: "localTime", Value: time.Now()},
		{Key: "logicalSessionTimeoutMinutes", Value: int32(30)},
		{Key: "minWireVersion", Value: int32(0)},
		{Key: "maxWireVersion", Value: s.options.WireVersion},
		{Key: "readOnly", Value: false},
	}, nil
}

func (s *Server) buildInfo(*command) (bson.D, error) {
	return bson.D{
		{Key: "version", Value: "7.0.0"},
		{Key: "versionArray", Value: bson.A{int32(7), int32(0), int32(0), int32(0)}},
		{Key: "gitVersion", Value: fmt.Sprintf("lungo, wire version %d", s.options.WireVersion)},
		{Key: "bits", Value: int32(64)},
		{Key: "maxBsonObjectSize", Value: int32(maxDocument)},
	}, nil
}

func (s *Server) ping(*command) (bson.D, error) { return nil, nil }
