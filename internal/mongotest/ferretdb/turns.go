package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// turns stands before a server and passes the commands of all connections on one at a
// time: the next one goes when the reply to the last one is there.
type turns struct {
	target  string
	timeout time.Duration // of a turn

	mu sync.Mutex // held during a turn
}

// serve serves connections until the listener fails.
func (t *turns) serve(l net.Listener) error {
	for {
		client, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer client.Close()
			server, err := net.Dial("tcp", t.target)
			if err != nil {
				fmt.Fprintln(os.Stderr, "ferretdb:", err)
				return
			}
			defer server.Close()
			t.relay(client, server)
		}()
	}
}

// relay passes requests on, and replies back, until either side is done.
func (t *turns) relay(client, server net.Conn) {
	for {
		request, err := readMessage(client)
		if err != nil {
			return
		}
		silent := request.flag(moreToCome)
		// Several replies to one request would not be told from those to the next one.
		request.clear(exhaustAllowed)
		reply, err := t.exchange(server, request)
		if err != nil {
			fmt.Fprintf(os.Stderr, "ferretdb: no reply to %s: %v\n", request.command(), err)
			return
		}
		if silent {
			continue // this server replies even to a request that wants no reply
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// exchange sends a request and returns the reply. It waits for the reply even where the
// client has gone, as the turn is not over before the server is done. A greeting needs
// no turn: clients measure by it how far away the server is.
func (t *turns) exchange(server net.Conn, request message) (message, error) {
	if !request.greets() {
		t.mu.Lock()
		defer t.mu.Unlock()
	}
	if err := server.SetDeadline(time.Now().Add(t.timeout)); err != nil {
		return nil, err
	}
	if _, err := server.Write(request); err != nil {
		return nil, err
	}
	return readMessage(server)
}

// message is a message of the wire protocol: four numbers, which are its length, its
// id, the id that it answers and its opcode, and a body.
type message []byte

const (
	headerSize = 16
	longest    = 48<<20 + 16<<10 // of a message

	opMsg = 2013

	// Flags of an OP_MSG.
	moreToCome     = 1 << 1  // it wants no reply
	exhaustAllowed = 1 << 16 // it may have several
)

func readMessage(r io.Reader) (message, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n < headerSize || n > longest {
		return nil, fmt.Errorf("a message of %d bytes", n)
	}
	m := make(message, n)
	copy(m, header[:])
	_, err := io.ReadFull(r, m[headerSize:])
	return m, err
}

// flags returns the bytes of an OP_MSG's flags, or nil for another message.
func (m message) flags() []byte {
	if binary.LittleEndian.Uint32(m[12:]) != opMsg || len(m) < headerSize+4 {
		return nil
	}
	return m[headerSize : headerSize+4]
}

func (m message) flag(f uint32) bool {
	b := m.flags()
	return b != nil && binary.LittleEndian.Uint32(b)&f != 0
}

func (m message) clear(f uint32) {
	if b := m.flags(); b != nil {
		binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)&^f)
	}
}

// command returns the name of an OP_MSG's command: the first key of its body, behind
// the flags, the kind of the section, the length of the document and the key's type. It
// is empty for another message.
func (m message) command() string {
	const at = headerSize + 4 + 1 + 4 + 1
	if m.flags() == nil || len(m) <= at || m[headerSize+4] != 0 {
		return ""
	}
	name, _, _ := bytes.Cut(m[at:], []byte{0})
	return string(name)
}

// greets reports whether the message is a client's greeting, which is the only thing
// that is still said by other messages than OP_MSG.
func (m message) greets() bool {
	switch m.command() {
	case "hello", "isMaster", "ismaster":
		return true
	}
	return m.flags() == nil
}
