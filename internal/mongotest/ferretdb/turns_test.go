package main

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// request returns an OP_MSG with a command that has nothing but a name.
func request(id, flags uint32, command string) message {
	doc := append([]byte{0, 0, 0, 0, 0x10}, command...)
	doc = append(doc, 0, 1, 0, 0, 0, 0) // the end of the key, the number 1, the end
	binary.LittleEndian.PutUint32(doc, uint32(len(doc)))
	m := make(message, headerSize+5, headerSize+5+len(doc))
	binary.LittleEndian.PutUint32(m, uint32(cap(m)))
	binary.LittleEndian.PutUint32(m[4:], id)
	binary.LittleEndian.PutUint32(m[12:], opMsg)
	binary.LittleEndian.PutUint32(m[headerSize:], flags)
	return append(m, doc...)
}

func (m message) id() uint32 { return binary.LittleEndian.Uint32(m[4:]) }

// server replies to each request with the request itself, when answer returns.
func server(t *testing.T, answer func(m message)) string {
	return listen(t, func(l net.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for {
					m, err := readMessage(conn)
					if err != nil {
						return
					}
					answer(m)
					if _, err := conn.Write(m); err != nil {
						return
					}
				}
			}()
		}
	})
}

func listen(t *testing.T, serve func(net.Listener)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go serve(l)
	return l.Addr().String()
}

func startTurns(t *testing.T, timeout time.Duration, answer func(m message)) string {
	target := server(t, answer)
	return listen(t, func(l net.Listener) { _ = (&turns{target: target, timeout: timeout}).serve(l) })
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ask sends a request and returns the reply.
func ask(conn net.Conn, m message) (message, error) {
	if _, err := conn.Write(m); err != nil {
		return nil, err
	}
	return readMessage(conn)
}

func TestOneCommandAtATime(t *testing.T) {
	var running atomic.Int32
	addr := startTurns(t, time.Minute, func(message) {
		if running.Add(1) > 1 {
			t.Error("two commands run at once")
		}
		time.Sleep(time.Millisecond)
		running.Add(-1)
	})
	var wg sync.WaitGroup
	for range 8 {
		conn := dial(t, addr)
		wg.Go(func() {
			for id := range uint32(10) {
				reply, err := ask(conn, request(id, 0, "update"))
				if err != nil || reply.id() != id {
					t.Errorf("the reply to %d is %v, %v", id, reply, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestRepliesThatNobodyWants(t *testing.T) {
	conn := dial(t, startTurns(t, time.Minute, func(message) {}))
	if _, err := conn.Write(request(1, moreToCome, "insert")); err != nil {
		t.Fatal(err)
	}
	reply, err := ask(conn, request(2, exhaustAllowed, "find"))
	if err != nil || reply.id() != 2 {
		t.Errorf("the reply is %v, %v, want that to 2", reply, err)
	}
	if reply.flag(exhaustAllowed) {
		t.Error("the server is allowed several replies")
	}
}

// A command without a reply costs its own connection, and greetings do not wait for it.
func TestHangingCommand(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	addr := startTurns(t, 200*time.Millisecond, func(m message) {
		if m.command() == "update" {
			<-hang
		}
	})
	hanging := make(chan error)
	conn := dial(t, addr)
	start := time.Now()
	go func() {
		_, err := ask(conn, request(1, 0, "update"))
		hanging <- err
	}()
	other := dial(t, addr)
	time.Sleep(20 * time.Millisecond)
	if _, err := ask(other, request(2, 0, "hello")); err != nil {
		t.Error(err)
	}
	if _, err := ask(other, request(3, 0, "find")); err != nil {
		t.Errorf("the next command: %v", err)
	}
	if took := time.Since(start); took < 200*time.Millisecond {
		t.Errorf("the next command's turn came after %v", took)
	}
	if err := <-hanging; err == nil {
		t.Error("a command without a reply has one")
	}
}
