package nearproof_test

import (
	"bytes"
	"context"
	"net"
	"sync"
	"time"
)

// line is the way from an instance to the servers.
type line struct {
	mu    sync.Mutex // protects what follows
	fault fault
	ended chan struct{} // closed when the fault is
	conns map[*conn]bool
}

// fault is what a line does to what comes back.
type fault int

const (
	passes   fault = iota
	swallows       // what a subscription brings is gone, and nobody is told
	delays         // what a subscription brings comes when the fault has ended
	cuts           // there is no connection
)

func newLine() *line { return &line{ended: make(chan struct{}), conns: make(map[*conn]bool)} }

// set begins a fault, or ends the one that there is.
func (l *line) set(f fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
	close(l.ended)
	l.ended = make(chan struct{})
	if f == cuts {
		for c := range l.conns {
			c.Conn.Close()
		}
	}
}

func (l *line) now() (fault, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fault, l.ended
}

// dial is the dialer of a client.
func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if f, _ := l.now(); f == cuts {
		return nil, net.ErrClosed
	}
	inner, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: inner, l: l, closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = true
	return c, nil
}

// conn is a connection of a line.
type conn struct {
	net.Conn
	l      *line
	once   sync.Once
	closed chan struct{}

	mu         sync.Mutex // protects what follows
	subscribes bool       // it is that of a subscription
	lost       bool       // some of it was swallowed, so nothing comes any more
}

func (c *conn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("subscribe\r\n")) {
		c.mu.Lock()
		c.subscribes = true
		c.mu.Unlock()
	}
	return c.Conn.Write(b)
}

func (c *conn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		f, ended := c.l.now()
		c.mu.Lock()
		if !c.subscribes {
			f = passes
		}
		c.lost = c.lost || f == swallows
		lost := c.lost
		c.mu.Unlock()
		switch {
		case err != nil:
			return 0, err
		case lost:
			continue
		case f == delays:
			select {
			case <-ended:
			case <-c.closed:
				return 0, net.ErrClosed
			}
		}
		return n, nil
	}
}

func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		delete(c.l.conns, c)
	})
	return c.Conn.Close()
}
