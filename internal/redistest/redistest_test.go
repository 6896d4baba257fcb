package redistest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// short is how long a test waits for something that must not happen.
const short = 100 * time.Millisecond

// timeout returns a context for what takes time on a busy machine.
func timeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	return ctx
}

func mustAsk(t *testing.T, addr string, args ...string) string {
	t.Helper()
	reply, err := askText(t.Context(), addr, args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestServer(t *testing.T) {
	s := Start(t, "--maxmemory", "50mb")
	if got := mustAsk(t, s.Addr, "CONFIG", "GET", "maxmemory"); got != "maxmemory 52428800" {
		t.Errorf("the option is %q", got)
	}
	for _, end := range []struct {
		name string
		call func()
	}{{"Kill", s.Kill}, {"Stop", s.Stop}, {"Suspend and Kill", func() { s.Suspend(); s.Kill() }}} {
		pid := s.Pid()
		mustAsk(t, s.Addr, "SET", "key", end.name)
		end.call()
		if _, err := ask(t.Context(), s.Addr, "PING"); err == nil {
			t.Errorf("%s: the server still answers", end.name)
		}
		if got := s.Pid(); got != 0 {
			t.Errorf("%s: the pid is %d", end.name, got)
		}
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		if got := mustAsk(t, s.Addr, "DBSIZE"); got != "0" {
			t.Errorf("%s: %s keys have been saved", end.name, got)
		}
		if got := s.Pid(); got == pid || got == 0 {
			t.Errorf("%s: the pid was %d, is %d", end.name, pid, got)
		}
	}
	if !strings.Contains(s.Log(), "Ready to accept connections") {
		t.Errorf("the log is %q", s.Log())
	}
}

func TestSuspend(t *testing.T) {
	s := Start(t)
	s.Suspend()
	ctx, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	if _, err := ask(ctx, s.Addr, "PING"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a suspended server: %v", err)
	}
	s.Resume()
	if err := poll(timeout(t), time.Millisecond, func() error { _, err := ask(t.Context(), s.Addr, "PING"); return err }); err != nil {
		t.Error(err)
	}
	s.Suspend() // and it is left so
}

func TestCLI(t *testing.T) {
	s := Start(t)
	if got, err := s.CLI("SET", "key", "two words"); got != "OK" || err != nil {
		t.Errorf("SET: %q, %v", got, err)
	}
	if got, err := s.CLI("GET", "key"); got != "two words" || err != nil {
		t.Errorf("GET: %q, %v", got, err)
	}
	if got, err := s.CLI("INCR", "key"); err == nil {
		t.Errorf("INCR of words: %q", got)
	}
}

func TestAddrs(t *testing.T) {
	t.Setenv("GRAPHCACHE_REDIS_ADDRS", "")
	for _, addr := range Addrs(t) {
		mustAsk(t, addr, "PING")
	}
	t.Setenv("GRAPHCACHE_REDIS_ADDRS", "a:1,b:2")
	if diff := cmp.Diff([]string{"a:1", "b:2"}, Addrs(t)); diff != "" {
		t.Errorf("Addrs (-want +got)\n%s", diff)
	}
}

// TestOrphan kills a test program and looks for its server, which it has suspended
// besides.
func TestOrphan(t *testing.T) {
	if os.Getenv("REDISTEST_ORPHAN") != "" {
		s := Start(t)
		s.Suspend()
		fmt.Printf("at %s\n", s.Addr)
		select {}
	}
	need(t)
	cmd := exec.Command(os.Args[0], "-test.run=^TestOrphan$")
	cmd.Env = append(os.Environ(), "REDISTEST_ORPHAN=1", "TMPDIR="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	addr := ""
	for lines := bufio.NewScanner(out); addr == "" && lines.Scan(); {
		_, addr, _ = strings.Cut(lines.Text(), "at ")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if addr == "" {
		t.Fatal("the program has started no server")
	}
	err = poll(timeout(t), 5*time.Millisecond, func() error {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return nil
		}
		conn.Close()
		return errors.New("the server is still there")
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCluster moves slots with their keys, and loses a master.
func TestCluster(t *testing.T) {
	c := StartCluster(t, 3, 1)
	from, to := c.Servers[0], c.Servers[1]
	for i := range 20 {
		if _, err := from.CLI("-c", "SET", strconv.Itoa(i), "1"); err != nil {
			t.Fatal(err)
		}
	}
	before := mustAsk(t, to.Addr, "CLUSTER", "NODES")
	if err := c.Reshard(timeout(t), from, to, 100); err != nil {
		t.Fatal(err)
	}
	if got, had := slotsOf(t, mustAsk(t, to.Addr, "CLUSTER", "NODES"), to), slotsOf(t, before, to); got != had+100 {
		t.Errorf("there were %d slots, there are %d", had, got)
	}
	for i := range 20 {
		if got, err := to.CLI("-c", "GET", strconv.Itoa(i)); got != "1" || err != nil {
			t.Errorf("key %d is %q, %v", i, got, err)
		}
	}

	from.Kill()
	replaced := func() error {
		masters, err := c.Masters()
		if err == nil && (len(masters) != 3 || masters[0] == from) {
			err = fmt.Errorf("the masters are %v", addrs(masters))
		}
		return err
	}
	if err := poll(timeout(t), 20*time.Millisecond, replaced); err != nil {
		t.Fatal(err)
	}
	if err := from.Restart(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitOK(timeout(t)); err != nil {
		t.Fatal(err)
	}
	if err := replaced(); err != nil {
		t.Error(err)
	}
}

// slotsOf counts the slots of a server.
func slotsOf(t *testing.T, text string, s *Server) int {
	t.Helper()
	nodes, err := parseNodes(text)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, n := range nodes {
		for _, r := range n.slots {
			first, last, ok := strings.Cut(r, "-")
			if !ok {
				last = first
			}
			a, _ := strconv.Atoi(first)
			b, _ := strconv.Atoi(last)
			if n.addr == s.Addr {
				count += b - a + 1
			}
		}
	}
	return count
}

func TestSentinel(t *testing.T) {
	s := StartSentinel(t)
	for i := range 2 {
		old, err := s.Master()
		if err != nil {
			t.Fatal(err)
		}
		if old != s.Data[i] {
			t.Fatalf("the master is %s, not %s", old.Addr, s.Data[i].Addr)
		}
		if err := s.Failover(timeout(t)); err != nil {
			t.Fatal(err)
		}
	}
}

// client speaks to a server by way of a proxy.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, addr string) client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return client{t, conn, bufio.NewReader(conn)}
}

func (c client) send(args ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, encode(args...)); err != nil {
		c.t.Error(err)
	}
}

// receive returns a reply, or "none" or "closed" after the time within which something
// should come.
func (c client) receive(within time.Duration) string {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(within))
	reply, err := readReply(c.r)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "none"
	case err != nil:
		return "closed"
	}
	return strings.Join(reply, " ")
}

func (c client) want(within time.Duration, want string) {
	c.t.Helper()
	if got := c.receive(within); got != want {
		c.t.Errorf("received %q, not %q", got, want)
	}
}

// reaches waits until a key has a value on the server itself.
func reaches(t *testing.T, s *Server, key, value string) {
	t.Helper()
	err := poll(timeout(t), time.Millisecond, func() error {
		if got := mustAsk(t, s.Addr, "GET", key); got != value {
			return fmt.Errorf("%s is %q, not %q", key, got, value)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestProxy(t *testing.T) {
	s := Start(t)
	tests := []struct {
		name string
		run  func(t *testing.T, p *Proxy, c client)
	}{{"cut", func(t *testing.T, p *Proxy, c client) {
		p.Cut()
		c.want(patience, "closed")
		c = dial(t, p.Addr)
		c.send("PING")
		c.want(patience, "PONG")
	}}, {"refuse", func(t *testing.T, p *Proxy, c client) {
		p.Refuse(true)
		c.want(patience, "closed")
		if conn, err := net.Dial("tcp", p.Addr); err == nil {
			conn.Close()
			t.Error("a connection is accepted")
		}
		p.Refuse(false)
		c = dial(t, p.Addr)
		c.send("PING")
		c.want(patience, "PONG")
	}}, {"drop replies", func(t *testing.T, p *Proxy, c client) {
		idle := dial(t, p.Addr)
		idle.send("PING")
		idle.want(patience, "PONG")
		p.DropReplies(true)
		c.send("SET", t.Name(), "1")
		reaches(t, s, t.Name(), "1")
		c.want(short, "none")
		p.DropReplies(false)
		c.want(patience, "closed")
		idle.send("ECHO", "well")
		idle.want(patience, "well")
	}}, {"delay", func(t *testing.T, p *Proxy, c client) {
		p.Delay(2 * short)
		began := time.Now()
		c.send("ECHO", "1")
		c.send("ECHO", "2")
		c.want(patience, "1")
		c.want(patience, "2")
		if took := time.Since(began); took < 2*short {
			t.Errorf("the replies took %v", took)
		}
		p.Delay(0)
		c.send("ECHO", "3")
		c.want(patience, "3")
	}}, {"hang", func(t *testing.T, p *Proxy, c client) {
		p.Hang(true)
		fresh := dial(t, p.Addr)
		fresh.send("PING")
		c.send("SET", t.Name(), "1")
		c.want(short, "none")
		fresh.want(short, "none")
		reaches(t, s, t.Name(), "")
		p.Hang(false)
		c.want(patience, "OK")
		fresh.want(patience, "PONG")
		reaches(t, s, t.Name(), "1")
	}}, {"cut while it hangs", func(t *testing.T, p *Proxy, c client) {
		p.Hang(true)
		c.send("SET", t.Name(), "1")
		p.Cut()
		c.want(patience, "closed")
		p.Hang(false)
		c = dial(t, p.Addr)
		c.send("GET", t.Name())
		c.want(patience, "")
	}}, {"server down", func(t *testing.T, p *Proxy, c client) {
		s.Kill()
		c.want(patience, "closed")
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		c = dial(t, p.Addr)
		c.send("PING")
		c.want(patience, "PONG")
	}}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := NewProxy(t, s.Addr)
			c := dial(t, p.Addr)
			c.send("PING")
			c.want(patience, "PONG")
			test.run(t, p, c)
		})
	}
}

// TestProxyShift turns the loss of replies on and off under a client that counts. The
// reply to one request must never be taken for that to another.
func TestProxyShift(t *testing.T) {
	s := Start(t)
	p := NewProxy(t, s.Addr)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			p.DropReplies(true)
			time.Sleep(time.Millisecond)
			p.DropReplies(false)
			time.Sleep(time.Millisecond)
		}
	}()
	defer func() { stop.Store(true); <-done }()
	count, lost := 0, 0
	for began := time.Now(); time.Since(began) < 5*short; lost++ {
		conn, err := net.Dial("tcp", p.Addr)
		if err != nil {
			t.Fatal(err)
		}
		c := client{t, conn, bufio.NewReader(conn)}
		for {
			count++
			if _, err := io.WriteString(conn, encode("ECHO", strconv.Itoa(count))); err != nil {
				break
			}
			if got := c.receive(patience); got == "closed" {
				break
			} else if got != strconv.Itoa(count) {
				t.Fatalf("the reply to %d is %s", count, got)
			}
			if time.Since(began) > 5*short {
				break
			}
		}
		conn.Close()
	}
	t.Logf("%d requests, %d connections", count, lost)
}
