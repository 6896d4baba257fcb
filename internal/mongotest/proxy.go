package mongotest

import (
	"context"
	"net"
	"sync"
	"testing"
)

// Action is what a [Proxy] does about a request.
type Action int

const (
	// Pass passes the request on, and the reply back.
	Pass Action = iota
	// CutBefore closes the connection and drops the request: the server never sees it.
	CutBefore
	// CutAfter passes the request on, waits for the reply, drops it and closes the
	// connection: the server has carried the request out, and nobody is told.
	CutAfter
	// HangBefore holds the request back until [Proxy.Release]. It arrives then even if
	// its sender has given up, as packets that were late do.
	HangBefore
	// HangAfter passes the request on and holds the reply back until [Proxy.Release].
	HangAfter
)

// Proxy stands before a server that speaks MongoDB's wire protocol and makes requests to
// it fail. Its methods may be called by several goroutines, and by others than that of
// the test.
type Proxy struct {
	t      testing.TB
	addr   string
	target string
	wg     sync.WaitGroup // of every goroutine

	mu       sync.Mutex
	listener net.Listener            // protects: nil while connections are refused
	closed   bool                    // protects: the test is over
	on       func(cmd string) Action // protects: nil passes everything
	hang     chan struct{}           // protects: closed by Release
	held     int                     // protects: requests and replies held back
	pairs    map[*pair]bool          // protects: present connections
}

// NewProxy starts a proxy before the server at an address, until the test ends. At first
// it passes everything on.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{t: t, target: target, hang: make(chan struct{}), pairs: make(map[*pair]bool)}
	for try := 1; p.listener == nil; try++ {
		var err error
		if p.addr, err = freeAddr(); err != nil {
			t.Fatal(err)
		}
		if p.listener, err = net.Listen("tcp", p.addr); err != nil && try == 10 {
			t.Fatal(err)
		}
	}
	p.serveLocked(p.listener)
	t.Cleanup(p.close)
	return p
}

// Addr returns where the proxy listens.
func (p *Proxy) Addr() string { return p.addr }

// URI returns a URI for a client, to which options may be added with "&". Without a direct
// connection, a client that learns the address of a member of a replica set would go past
// the proxy; it retries writes in any case. The size of the pool is one that FerretDB bears.
func (p *Proxy) URI() string {
	return "mongodb://" + p.addr + "/?directConnection=true&maxPoolSize=20"
}

// On makes a function decide about each request, by the name of its command, such as
// "insert", "update", "findAndModify" or "commitTransaction"; nil passes everything. The
// greetings of clients, "hello" and "isMaster", are requests too, and better passed. The
// function may be called by several goroutines at once, and may wait, which delays the
// request.
func (p *Proxy) On(decide func(cmd string) Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.on = decide
}

func (p *Proxy) decide(cmd string) Action {
	p.mu.Lock()
	on := p.on
	p.mu.Unlock()
	if on == nil {
		return Pass
	}
	return on(cmd)
}

// Held returns the number of requests and replies that are held back.
func (p *Proxy) Held() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// Release lets go what is held back, but nothing that is to be held from now on.
func (p *Proxy) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.hang)
	p.hang = make(chan struct{})
}

// Cut closes all present connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutLocked()
}

func (p *Proxy) cutLocked() {
	for c := range p.pairs {
		c.closeLocked()
	}
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
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			p.t.Errorf("mongotest: the proxy does not get its port back: %v", err)
			return
		}
		p.listener = l
		p.serveLocked(l)
	}
}

func (p *Proxy) stopLocked() {
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
	p.cutLocked()
}

func (p *Proxy) close() {
	p.mu.Lock()
	p.closed = true
	p.stopLocked()
	p.mu.Unlock()
	p.wg.Wait()
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

// pair is a connection of a client, and that to the server which stands for it.
type pair struct {
	proxy  *Proxy
	client net.Conn
	ctx    context.Context // ends when the pair is closed
	cancel context.CancelFunc

	server net.Conn // guarded by proxy.mu; nil until connected
}

func (c *pair) closeLocked() {
	c.cancel()
	c.client.Close()
	if c.server != nil {
		c.server.Close()
	}
	delete(c.proxy.pairs, c)
}

// serve relays until either side is done.
func (c *pair) serve() {
	defer func() {
		c.proxy.mu.Lock()
		defer c.proxy.mu.Unlock()
		c.closeLocked()
	}()
	server, ok := c.connect()
	if !ok {
		return
	}
	for c.relay(server) {
	}
}

func (c *pair) connect() (net.Conn, bool) {
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

// relay passes a request on and its reply back, as far as the proxy's action lets it, and
// reports whether the connection is still of use.
func (c *pair) relay(server net.Conn) bool {
	request, err := readMessage(c.client)
	if err != nil {
		return false
	}
	action := c.proxy.decide(request.command())
	if action == CutBefore || action == HangBefore && !c.hold() {
		return false
	}
	if _, err := server.Write(request); err != nil {
		return false
	}
	for more := !request.moreToCome(); more; {
		reply, err := readMessage(server)
		if err != nil || action == CutAfter || action == HangAfter && !c.hold() {
			return false
		}
		if _, err := c.client.Write(reply); err != nil {
			return false
		}
		more = reply.moreToCome() // of several replies to a greeting
	}
	return action != CutAfter
}

// hold waits until what is held back is released, and reports whether the pair is still
// open then.
func (c *pair) hold() bool {
	c.proxy.mu.Lock()
	hang := c.proxy.hang
	c.proxy.held++
	c.proxy.mu.Unlock()
	select {
	case <-hang:
	case <-c.ctx.Done():
	}
	c.proxy.mu.Lock()
	defer c.proxy.mu.Unlock()
	c.proxy.held--
	return c.ctx.Err() == nil
}
