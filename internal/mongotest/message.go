package mongotest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
)

// message is a message of the wire protocol: four numbers, which are its length, its id,
// the id that it answers and its opcode, and a body.
type message []byte

const (
	headerSize = 16
	longest    = 48<<20 + 16<<10 // of a message

	opQuery = 2004 // only for a client's first greeting
	opMsg   = 2013
)

func readMessage(r io.Reader) (message, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(header[:])
	if n < headerSize || n > longest {
		return nil, fmt.Errorf("mongotest: a message of %d bytes", n)
	}
	m := make(message, n)
	copy(m, header[:])
	_, err := io.ReadFull(r, m[headerSize:])
	return m, err
}

func (m message) opcode() uint32 { return binary.LittleEndian.Uint32(m[12:]) }

// moreToCome reports whether the message is an OP_MSG after which the other side is not
// to speak: a request that wants no reply, or a reply which others follow.
func (m message) moreToCome() bool {
	const flag = 1 << 1
	return m.opcode() == opMsg && len(m) > headerSize && m[headerSize]&flag != 0
}

// command returns the name of a request's command. In an OP_MSG it is the first key of
// the body, behind the flags, the kind of the section, the length of the document and the
// key's type. An OP_QUERY is a greeting.
func (m message) command() string {
	const at = headerSize + 4 + 1 + 4 + 1
	switch {
	case m.opcode() == opQuery:
		return "isMaster"
	case m.opcode() != opMsg || len(m) <= at || m[headerSize+4] != 0:
		return ""
	}
	name, _, _ := bytes.Cut(m[at:], []byte{0})
	return string(name)
}
