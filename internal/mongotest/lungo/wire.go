package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"go.mongodb.org/mongo-driver/bson"
)

// The operation codes of the wire protocol that are spoken here.
const (
	opReply = 1
	opQuery = 2004
	opMsg   = 2013
)

// The flag bits of an OP_MSG message.
const (
	flagChecksum   = 1 << 0
	flagMoreToCome = 1 << 1
)

// maxMessage is the largest message accepted, in bytes, as told by hello.
const maxMessage = 48_000_000

var errMalformed = errors.New("malformed message")

// message is one request as it came over the wire.
type message struct {
	id     int32
	opcode int32
	flags  uint32
	body   bson.D
}

// readMessage reads one OP_MSG or OP_QUERY. The documents of a document
// sequence are put into the body under the name of the sequence.
func readMessage(r io.Reader) (*message, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := int32(binary.LittleEndian.Uint32(head[:]))
	if size < 16 || size > maxMessage {
		return nil, errMalformed
	}
	m := &message{
		id:     int32(binary.LittleEndian.Uint32(head[4:])),
		opcode: int32(binary.LittleEndian.Uint32(head[12:])),
	}
	data := make([]byte, size-16)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, err
	}
	switch m.opcode {
	case opMsg:
		return m, m.parseMsg(data)
	case opQuery:
		return m, m.parseQuery(data)
	}
	return nil, fmt.Errorf("unknown operation code %d", m.opcode)
}

func (m *message) parseMsg(data []byte) error {
	if len(data) < 4 {
		return errMalformed
	}
	m.flags = binary.LittleEndian.Uint32(data)
	data = data[4:]
	if m.flags&flagChecksum != 0 && len(data) >= 4 {
		data = data[:len(data)-4]
	}
	var sequences bson.D
	for len(data) > 0 {
		kind := data[0]
		data = data[1:]
		section, rest, err := cut(data)
		if err != nil {
			return err
		}
		data = rest
		switch kind {
		case 0:
			if err := bson.Unmarshal(section, &m.body); err != nil {
				return err
			}
		case 1:
			e, err := parseSequence(section)
			if err != nil {
				return err
			}
			sequences = append(sequences, e)
		default:
			return errMalformed
		}
	}
	if len(m.body) == 0 {
		return errMalformed
	}
	m.body = append(m.body, sequences...)
	return nil
}

// parseSequence reads a document sequence, its leading length included.
func parseSequence(section []byte) (bson.E, error) {
	name, data, err := cutString(section[4:])
	if err != nil {
		return bson.E{}, err
	}
	docs := bson.A{}
	for len(data) > 0 {
		raw, rest, err := cut(data)
		if err != nil {
			return bson.E{}, err
		}
		var doc bson.D
		if err := bson.Unmarshal(raw, &doc); err != nil {
			return bson.E{}, err
		}
		docs = append(docs, doc)
		data = rest
	}
	return bson.E{Key: name, Value: docs}, nil
}

func (m *message) parseQuery(data []byte) error {
	if len(data) < 4 {
		return errMalformed
	}
	_, data, err := cutString(data[4:])
	if err != nil {
		return err
	}
	if len(data) < 8 {
		return errMalformed
	}
	raw, _, err := cut(data[8:])
	if err != nil {
		return err
	}
	return bson.Unmarshal(raw, &m.body)
}

// cut splits off the part of data whose length, itself included, leads it.
func cut(data []byte) (part, rest []byte, err error) {
	if len(data) < 5 {
		return nil, nil, errMalformed
	}
	n := int(int32(binary.LittleEndian.Uint32(data)))
	if n < 5 || n > len(data) {
		return nil, nil, errMalformed
	}
	return data[:n], data[n:], nil
}

func cutString(data []byte) (string, []byte, error) {
	for i, b := range data {
		if b == 0 {
			return string(data[:i]), data[i+1:], nil
		}
	}
	return "", nil, errMalformed
}

// writeReply answers the request in the operation code it came with.
func writeReply(w io.Writer, req *message, id int32, reply bson.D) error {
	body, err := bson.Marshal(reply)
	if err != nil {
		return err
	}
	var prefix []byte
	code := uint32(opMsg)
	if req.opcode == opQuery {
		code = opReply
		prefix = make([]byte, 20)
		binary.LittleEndian.PutUint32(prefix, 8)      // await capable
		binary.LittleEndian.PutUint32(prefix[16:], 1) // one document
	} else {
		prefix = make([]byte, 5) // no flags, a section of kind 0
	}
	out := make([]byte, 16, 16+len(prefix)+len(body))
	binary.LittleEndian.PutUint32(out[4:], uint32(id))
	binary.LittleEndian.PutUint32(out[8:], uint32(req.id))
	binary.LittleEndian.PutUint32(out[12:], code)
	out = append(append(out, prefix...), body...)
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	_, err = w.Write(out)
	return err
}
