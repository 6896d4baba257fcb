package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"go.mongodb.org/mongo-driver/bson"
)

// journal is a file of commits. It survives the end of the process, not the
// end of the machine. A nil journal keeps nothing.
type journal struct {
	file *os.File
}

// openJournal reads the commits of an earlier run, in order, and goes on
// behind them. A commit that was cut off is dropped.
func openJournal(path string, replay func(*commit)) (*journal, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	var end int64
	for r := bufio.NewReader(file); ; {
		c, n, err := readCommit(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return nil, errors.Join(err, file.Close())
		}
		replay(c)
		end += n
	}
	if err := file.Truncate(end); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if _, err := file.Seek(end, io.SeekStart); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &journal{file}, nil
}

func readCommit(r io.Reader) (*commit, int64, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, 0, err
	}
	size := int(binary.LittleEndian.Uint32(head[:]))
	if size < len(head) {
		return nil, 0, errMalformed
	}
	data := make([]byte, size)
	copy(data, head[:])
	if _, err := io.ReadFull(r, data[len(head):]); err != nil {
		return nil, 0, err
	}
	c := &commit{}
	return c, int64(size), bson.Unmarshal(data, c)
}

func (j *journal) append(c *commit) error {
	if j == nil {
		return nil
	}
	data, err := bson.Marshal(c)
	if err != nil {
		return err
	}
	_, err = j.file.Write(data)
	return err
}

func (j *journal) close() error {
	if j == nil {
		return nil
	}
	return j.file.Close()
}
