package redistest

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Stub is a server within the process, for what a client itself costs: its connections
// answer as soon as they are written to, without a system call and without allocating.
// It has strings, which GET reads, and otherwise knows only INFO: it is no Redis. Its
// methods may be called by several goroutines.
type Stub struct {
	mu      sync.RWMutex
	replies map[string][]byte // protects: to a GET, by key
}

// Set sets the string of a key.
func (s *Stub) Set(key, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replies == nil {
		s.replies = make(map[string][]byte)
	}
	s.replies[key] = []byte(bulk(value))
}

// Dial returns a new connection: it is a Dialer of go-redis.
func (s *Stub) Dial(context.Context, string, string) (net.Conn, error) {
	c := &stubConn{stub: s}
	c.ready.L = &c.mu
	return c, nil
}

func bulk(s string) string { return "$" + strconv.Itoa(len(s)) + "\r\n" + s + "\r\n" }

// The replies of a stub. A client that is refused HELLO goes on with version 2 of the
// protocol.
var (
	noString = []byte("$-1\r\n")
	unknown  = []byte("-ERR unknown command\r\n")
	stubInfo = []byte(bulk(strings.Join([]string{
		"redis_version:7.0.0", "run_id:stub", "master_replid:stub", "role:master", "cluster_enabled:0", "",
	}, "\r\n")))
)

// reply returns the reply to a command.
func (s *Stub) reply(args [][]byte) []byte {
	switch {
	case len(args) == 2 && bytes.EqualFold(args[0], []byte("get")):
		s.mu.RLock()
		defer s.mu.RUnlock()
		if r, ok := s.replies[string(args[1])]; ok {
			return r
		}
		return noString
	case len(args) > 0 && bytes.EqualFold(args[0], []byte("info")):
		return stubInfo
	}
	return unknown
}

// stubConn is a connection to a Stub.
type stubConn struct {
	stub *Stub

	mu       sync.Mutex // protects what follows
	ready    sync.Cond
	closed   bool
	deadline time.Time // of reads
	in       []byte    // the beginning of a command
	out      []byte    // replies
	read     int       // of out
	args     [][]byte  // of the last command: kept for its memory
}

// Write takes commands, and answers those that are complete.
func (c *stubConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.read == len(c.out) {
		c.out, c.read = c.out[:0], 0
	}
	c.in = append(c.in, p...)
	rest := c.in
	for {
		size := c.parse(rest)
		if size == 0 {
			break
		}
		c.out = append(c.out, c.stub.reply(c.args)...)
		rest = rest[size:]
	}
	c.in = c.in[:copy(c.in, rest)]
	c.ready.Broadcast()
	return len(p), nil
}

// parse sets args to those of the command at the start of b, and returns its size, 0 if
// it is not complete.
func (c *stubConn) parse(b []byte) (size int) {
	c.args = c.args[:0]
	n, size := number(b, 0)
	for range n {
		length, start := number(b, size)
		if start == 0 || start+length+2 > len(b) {
			return 0
		}
		c.args = append(c.args, b[start:start+length])
		size = start + length + 2
	}
	return size
}

// number reads the number of a line, after its first byte. It returns where the next
// line begins, 0 if it is not there.
func number(b []byte, from int) (n, next int) {
	for i := from + 1; i < len(b); i++ {
		if b[i] == '\n' {
			return n, i + 1
		}
		if b[i] != '\r' {
			n = 10*n + int(b[i]-'0')
		}
	}
	return 0, 0
}

// Read returns replies. It waits only if there are none.
func (c *stubConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.read == len(c.out) {
		switch left := time.Until(c.deadline); {
		case c.closed:
			return 0, io.EOF
		case c.deadline.IsZero():
			c.ready.Wait()
		case left <= 0:
			return 0, os.ErrDeadlineExceeded
		default:
			t := time.AfterFunc(left, c.ready.Broadcast)
			c.ready.Wait()
			t.Stop()
		}
	}
	n := copy(p, c.out[c.read:])
	c.read += n
	return n, nil
}

// Close closes the connection.
func (c *stubConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.ready.Broadcast()
	return nil
}

// SetReadDeadline sets the end of reads that find no reply.
func (c *stubConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	c.ready.Broadcast()
	return nil
}

// SetDeadline is SetReadDeadline: writes never wait.
func (c *stubConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetWriteDeadline does nothing.
func (c *stubConn) SetWriteDeadline(time.Time) error { return nil }

// LocalAddr returns an address that nobody listens on.
func (c *stubConn) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr returns an address that nobody listens on.
func (c *stubConn) RemoteAddr() net.Addr { return &net.TCPAddr{} }
