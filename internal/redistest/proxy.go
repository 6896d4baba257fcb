package redistest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands before a server and makes the connections to it fail. Its methods may
// be called by several goroutines, and by others than that of the test.
type Proxy struct {
	Addr string // where it listens

	t      testing.TB
	target string
	wg     sync.WaitGroup // of every goroutine

	mu       sync.Mutex
	listener net.Listener   // protects: nil while connections are refused
	closed   bool           // protects: the test is over
	drop     bool           // protects: replies are swallowed
	delay    time.Duration  // protects: of replies
	hang     chan struct{}  // protects: nil, or closed when bytes may move again
	pairs    map[*pair]bool // protects: present connections
}

// NewProxy starts a proxy before the server at an address, until the test ends. At
// first it passes everything on.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, target: target, pairs: make(map[*pair]bool)}
	for try := 1; p.listener == nil; try++ {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		p.Addr = loopback(port)
		if p.listener, err = net.Listen("tcp", p.Addr); err != nil && try == 10 {
			t.Fatal(err)
		}
	}
	p.serveLocked(p.listener)
	t.Cleanup(p.close)
	return p
}

func (p *Proxy) serveLocked(l net.Listener) {
	p.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.add(l, client)
		}
	})
}

// add begins to serve a connection, unless its listener was closed meanwhile.
func (p *Proxy) add(l net.Listener, client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != l {
		client.Close()
		return
	}
	c := &pair{proxy: p, client: client}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	p.pairs[c] = true
	p.wg.Go(c.serve)
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.stopLocked()
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *Proxy) stopLocked() {
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.cutLocked(func(*pair) bool { return true })
}

func (p *Proxy) cutLocked(which func(*pair) bool) {
	for c := range p.pairs {
		if which(c) {
			c.closeLocked()
		}
	}
}

// Cut closes all present connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked(func(*pair) bool { return true })
}

// Refuse says whether connections are refused. The present ones are closed.
func (p *Proxy) Refuse(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
	case on:
		p.stopLocked()
	case p.listener == nil:
		l, err := net.Listen("tcp", p.Addr)
		if err != nil {
			p.t.Errorf("redistest: the proxy does not get its port back: %v", err)
			return
		}
		p.listener = l
		p.serveLocked(l)
	}
}

// DropReplies says whether replies are swallowed: requests reach the server and are
// carried out, but nobody is told. A connection that has lost a byte of a reply gets no
// other one: it is closed when replies are let through again.
func (p *Proxy) DropReplies(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop = on
	if !on {
		p.cutLocked(func(c *pair) bool { return c.lost })
	}
}

// Delay delays each reply that comes from now on by d, and none if that is 0. Replies
// stay in their order.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Hang says whether everything stands still, as when packets are lost on their way:
// connections are accepted, and no byte moves in either direction. What was sent
// meanwhile arrives later, even if its sender has given up: Cut before Hang(false)
// keeps it from that.
func (p *Proxy) Hang(on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case on && p.hang == nil:
		p.hang = make(chan struct{})
	case !on && p.hang != nil:
		close(p.hang)
		p.hang = nil
	}
}

// pair is a connection of a client, and that to the server which stands for it.
type pair struct {
	proxy  *Proxy
	client net.Conn
	ctx    context.Context // ends when the pair is closed
	cancel context.CancelFunc

	// Guarded by proxy.mu.
	server net.Conn // nil until connected
	lost   bool     // a byte of a reply was swallowed
}

// closeLocked closes both connections.
func (c *pair) closeLocked() {
	c.cancel()
	c.client.Close()
	if c.server != nil {
		c.server.Close()
	}
	delete(c.proxy.pairs, c)
}

func (c *pair) close() {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	c.closeLocked()
}

// serve moves bytes until either side is done.
func (c *pair) serve() {
	defer c.close()
	server, ok := c.connect()
	if !ok {
		return
	}
	replies := make(chan chunk, 1024)
	c.proxy.wg.Go(func() { c.receive(server, replies) })
	c.proxy.wg.Go(func() { c.deliver(replies) })
	c.send(server)
}

// connect connects to the server, when nothing hangs.
func (c *pair) connect() (net.Conn, bool) {
	if !c.flow() {
		return nil, false
	}
	server, err := new(net.Dialer).DialContext(c.ctx, "tcp", c.proxy.target)
	if err != nil {
		return nil, false
	}
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if c.ctx.Err() != nil {
		server.Close()
		return nil, false
	}
	c.server = server
	return server, true
}

// flow waits while the proxy hangs, and reports whether the pair is still open.
func (c *pair) flow() bool {
	for {
		c.proxy.mu.Lock()
		hang := c.proxy.hang
		c.proxy.mu.Unlock()
		if hang == nil {
			return c.ctx.Err() == nil
		}
		select {
		case <-hang:
		case <-c.ctx.Done():
		}
		if c.ctx.Err() != nil {
			return false
		}
	}
}

// send passes requests on until there are no more. An end, too, is only seen when
// nothing hangs.
func (c *pair) send(server net.Conn) {
	buf := make([]byte, 32<<10)
	for c.flow() {
		n, err := c.client.Read(buf)
		if !c.flow() {
			return
		}
		if _, werr := server.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// chunk is a part of the replies, and when it is to be delivered.
type chunk struct {
	bytes []byte
	due   time.Time
}

// receive reads replies until there are no more.
func (c *pair) receive(server net.Conn, replies chan<- chunk) {
	defer close(replies)
	for c.flow() {
		buf := make([]byte, 32<<10)
		n, err := server.Read(buf)
		c.proxy.mu.Lock()
		due := time.Now().Add(c.proxy.delay)
		c.proxy.mu.Unlock()
		select {
		case replies <- chunk{buf[:n], due}:
		case <-c.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// deliver passes replies on when they are due, until there are no more.
func (c *pair) deliver(replies <-chan chunk) {
	defer c.close()
	for r := range replies {
		select {
		case <-time.After(time.Until(r.due)):
		case <-c.ctx.Done():
			return
		}
		if !c.flow() {
			return
		}
		if c.swallows(len(r.bytes)) {
			continue
		}
		if _, err := c.client.Write(r.bytes); err != nil {
			return
		}
	}
}

// swallows reports whether the next n bytes are not to be delivered. After the first
// that was not, none is.
func (c *pair) swallows(n int) bool {
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	if c.proxy.drop && n > 0 {
		c.lost = true
	}
	return c.lost
}
