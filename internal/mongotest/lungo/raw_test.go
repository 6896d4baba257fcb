package main

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// raw is a connection without a driver, for what a driver does not let one
// say: sending the same number twice.
type raw struct {
	t    *testing.T
	conn net.Conn
	lsid bson.D
}

func dial(t *testing.T, address string, session byte) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	check(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	id := make([]byte, 16)
	id[15] = session
	return &raw{t, conn, bson.D{{Key: "id", Value: primitive.Binary{Subtype: 4, Data: id}}}}
}

// send runs a command with the extra fields in the database db.
func (r *raw) send(cmd bson.D, extra ...bson.E) bson.D {
	r.t.Helper()
	cmd = append(append(bson.D{}, cmd...), extra...)
	cmd = append(cmd, bson.E{Key: "lsid", Value: r.lsid}, bson.E{Key: "$db", Value: "db"})
	body, err := bson.Marshal(cmd)
	check(r.t, err)
	out := make([]byte, 21, 21+len(body))
	binary.LittleEndian.PutUint32(out, uint32(21+len(body)))
	binary.LittleEndian.PutUint32(out[12:], opMsg)
	_, err = r.conn.Write(append(out, body...))
	check(r.t, err)
	var head [21]byte
	_, err = io.ReadFull(r.conn, head[:])
	check(r.t, err)
	data := make([]byte, binary.LittleEndian.Uint32(head[:])-21)
	_, err = io.ReadFull(r.conn, data)
	check(r.t, err)
	var reply bson.D
	check(r.t, bson.Unmarshal(data, &reply))
	return reply
}

// want fails unless the reply has the fields.
func (r *raw) want(reply bson.D, fields ...any) {
	r.t.Helper()
	for i := 0; i < len(fields); i += 2 {
		same(r.t, fields[i].(string), format(lookup(reply, fields[i].(string))), format(fields[i+1]))
	}
}

func number64(n int64) bson.E { return bson.E{Key: "txnNumber", Value: n} }

func inTxn(n int64, first bool) []bson.E {
	fields := []bson.E{number64(n), {Key: "autocommit", Value: false}}
	if first {
		fields = append(fields, bson.E{Key: "startTransaction", Value: true})
	}
	return fields
}

func insertOf(docs ...any) bson.D {
	return bson.D{{Key: "insert", Value: "coll"}, {Key: "documents", Value: bson.A(docs)}}
}

func incOf(id any) bson.D {
	return bson.D{{Key: "update", Value: "coll"}, {Key: "updates", Value: bson.A{bson.D{
		{Key: "q", Value: bson.D{{Key: "_id", Value: id}}},
		{Key: "u", Value: bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int32(1)}}}}},
	}}}}
}

func findOf(id any) bson.D {
	return bson.D{{Key: "find", Value: "coll"}, {Key: "filter", Value: bson.D{{Key: "_id", Value: id}}}}
}

func batchOf(reply bson.D) bson.A {
	cursor, _ := lookup(reply, "cursor").(bson.D)
	batch, _ := lookup(cursor, "firstBatch").(bson.A)
	return batch
}

func TestRetriedWrites(t *testing.T) {
	s := serve(t, "127.0.0.1:0", Options{})
	r := dial(t, s.Address(), 1)
	r.want(r.send(insertOf(bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: int32(0)}}), number64(1)), "ok", 1.0, "n", int32(1))
	r.want(r.send(insertOf(bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: int32(0)}}), number64(1)), "ok", 1.0, "n", int32(1), "writeErrors", nil)
	for range 3 {
		r.want(r.send(incOf(int32(1)), number64(2)), "ok", 1.0, "nModified", int32(1))
	}
	r.want(r.send(insertOf(bson.D{{Key: "_id", Value: int32(9)}}), number64(1)), "ok", 0.0, "code", int32(codeTransactionTooOld))
	fam := bson.D{{Key: "findAndModify", Value: "coll"}, {Key: "query", Value: bson.D{{Key: "_id", Value: int32(1)}}},
		{Key: "update", Value: bson.D{{Key: "$inc", Value: bson.D{{Key: "n", Value: int32(1)}}}}}, {Key: "new", Value: true}}
	for range 2 {
		r.want(r.send(fam, number64(3)), "value", bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: int32(2)}})
	}
	same(t, "document", format(batchOf(r.send(findOf(int32(1))))), "[ { _id: 1, n: 2 } ]")
}

func TestRepeatedCommit(t *testing.T) {
	s := serve(t, "127.0.0.1:0", Options{})
	r, other := dial(t, s.Address(), 1), dial(t, s.Address(), 2)
	commit := bson.D{{Key: "commitTransaction", Value: int32(1)}}
	r.want(r.send(insertOf(bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: int32(0)}}), inTxn(1, true)...), "ok", 1.0)
	same(t, "outside", len(batchOf(other.send(findOf(int32(1))))), 0)
	same(t, "inside", len(batchOf(r.send(findOf(int32(1)), inTxn(1, false)...))), 1)
	for range 3 {
		r.want(r.send(commit, inTxn(1, false)...), "ok", 1.0)
	}
	same(t, "outside", len(batchOf(other.send(findOf(int32(1))))), 1)
	r.want(r.send(incOf(int32(1)), inTxn(1, false)...), "code", int32(codeCommitted))
	r.want(r.send(commit, inTxn(2, false)...), "code", int32(codeNoSuchTransaction))
	// An error aborts the transaction.
	r.want(r.send(incOf(int32(1)), inTxn(3, true)...), "ok", 1.0)
	r.want(r.send(bson.D{{Key: "count", Value: "coll"}}, inTxn(3, false)...), "code", int32(codeNotInTransaction))
	r.want(r.send(insertOf(bson.D{{Key: "_id", Value: int32(1)}}), inTxn(3, false)...), "n", int32(0))
	r.want(r.send(commit, inTxn(3, false)...), "code", int32(codeNoSuchTransaction))
	same(t, "document", format(batchOf(other.send(findOf(int32(1))))), "[ { _id: 1, n: 0 } ]")
	// The end of its session ends the transaction.
	r.want(r.send(incOf(int32(1)), inTxn(4, true)...), "ok", 1.0)
	other.want(other.send(bson.D{{Key: "killSessions", Value: bson.A{r.lsid}}}), "ok", 1.0)
	r.want(r.send(commit, inTxn(4, false)...), "code", int32(codeNoSuchTransaction))
	other.want(other.send(incOf(int32(1)), bson.E{Key: "maxTimeMS", Value: int32(1000)}), "nModified", int32(1))
}

func TestConflicts(t *testing.T) {
	s := serve(t, "127.0.0.1:0", Options{})
	a, b, plain := dial(t, s.Address(), 1), dial(t, s.Address(), 2), dial(t, s.Address(), 3)
	plain.send(insertOf(bson.D{{Key: "_id", Value: int32(1)}}, bson.D{{Key: "_id", Value: int32(2)}}))
	transient := bson.A{"TransientTransactionError"}

	// A document that another open transaction has written.
	a.want(a.send(incOf(int32(1)), inTxn(1, true)...), "ok", 1.0)
	b.want(b.send(incOf(int32(1)), inTxn(1, true)...), "code", int32(codeWriteConflict), "errorLabels", transient)
	b.want(b.send(incOf(int32(2)), inTxn(1, false)...), "code", int32(codeNoSuchTransaction), "errorLabels", transient)
	// The same key as an insert of another open transaction.
	a.want(a.send(insertOf(bson.D{{Key: "_id", Value: int32(3)}}), inTxn(1, false)...), "ok", 1.0)
	b.want(b.send(insertOf(bson.D{{Key: "_id", Value: int32(3)}}), inTxn(2, true)...), "code", int32(codeWriteConflict))
	// A plain write waits, to its end if told so.
	plain.want(plain.send(incOf(int32(1)), bson.E{Key: "maxTimeMS", Value: int32(50)}), "code", int32(codeMaxTimeExpired))
	plain.want(plain.send(insertOf(bson.D{{Key: "_id", Value: int32(3)}}), bson.E{Key: "maxTimeMS", Value: int32(50)}), "code", int32(codeMaxTimeExpired))
	// A document changed by a commit since the snapshot.
	b.want(b.send(findOf(int32(1)), inTxn(3, true)...), "ok", 1.0)
	done := make(chan bson.D)
	go func() { done <- plain.send(incOf(int32(1))) }()
	time.Sleep(50 * time.Millisecond)
	a.want(a.send(bson.D{{Key: "commitTransaction", Value: int32(1)}}, inTxn(1, false)...), "ok", 1.0)
	plain.want(<-done, "nModified", int32(1))
	same(t, "snapshot", format(batchOf(b.send(findOf(int32(1)), inTxn(3, false)...))), "[ { _id: 1 } ]")
	same(t, "snapshot", format(batchOf(b.send(findOf(int32(3)), inTxn(3, false)...))), "[  ]")
	b.want(b.send(incOf(int32(1)), inTxn(3, false)...), "code", int32(codeWriteConflict))
	// A key taken by a commit since the snapshot.
	b.want(b.send(findOf(int32(1)), inTxn(4, true)...), "ok", 1.0)
	plain.want(plain.send(insertOf(bson.D{{Key: "_id", Value: int32(4)}})), "n", int32(1))
	b.want(b.send(insertOf(bson.D{{Key: "_id", Value: int32(4)}}), inTxn(4, false)...), "code", int32(codeWriteConflict))
	same(t, "sum", format(batchOf(plain.send(findOf(int32(1))))), "[ { _id: 1, n: 2 } ]")
}

func TestDocumentSize(t *testing.T) {
	r := dial(t, serve(t, "127.0.0.1:0", Options{}).Address(), 1)
	reply := r.send(insertOf(bson.D{{Key: "s", Value: strings.Repeat("x", maxDocument)}}))
	r.want(lookup(reply, "writeErrors").(bson.A)[0].(bson.D), "code", int32(codeTooLarge))
}

func TestJournal(t *testing.T) {
	path := t.TempDir() + "/journal"
	s, err := Start("127.0.0.1:0", Options{Path: path})
	check(t, err)
	r := dial(t, s.Address(), 1)
	index := bson.D{{Key: "createIndexes", Value: "coll"}, {Key: "indexes", Value: bson.A{bson.D{
		{Key: "name", Value: "k"}, {Key: "key", Value: bson.D{{Key: "k", Value: int32(1)}}}, {Key: "unique", Value: true}}}}}
	r.want(r.send(index), "ok", 1.0)
	r.send(insertOf(bson.D{{Key: "_id", Value: int32(1)}, {Key: "n", Value: int32(0)}, {Key: "k", Value: "x"}}))
	first := r.send(incOf(int32(1)), number64(1))
	r.want(first, "nModified", int32(1))
	r.want(r.send(incOf(int32(1)), inTxn(2, true)...), "ok", 1.0)
	r.want(r.send(bson.D{{Key: "commitTransaction", Value: int32(1)}}, inTxn(2, false)...), "ok", 1.0)
	address := s.Address()
	check(t, s.Close())
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	check(t, err)
	_, err = file.Write([]byte{100, 0, 0, 0, 3}) // a commit that was cut off
	check(t, errors.Join(err, file.Close()))

	s = serve(t, address, Options{Path: path})
	r = dial(t, s.Address(), 1)
	same(t, "document", format(batchOf(r.send(findOf(int32(1))))), `[ { _id: 1, n: 2, k: "x" } ]`)
	r.want(r.send(bson.D{{Key: "commitTransaction", Value: int32(1)}}, inTxn(2, false)...), "ok", 1.0)
	r.want(r.send(incOf(int32(1)), number64(1)), "code", int32(codeTransactionTooOld))
	reply := r.send(insertOf(bson.D{{Key: "_id", Value: int32(2)}, {Key: "k", Value: "x"}}))
	same(t, "unique", len(lookup(reply, "writeErrors").(bson.A)), 1)
	watch := bson.D{{Key: "aggregate", Value: int32(1)}, {Key: "cursor", Value: bson.D{}}, {Key: "pipeline", Value: bson.A{bson.D{
		{Key: "$changeStream", Value: bson.D{{Key: "startAtOperationTime", Value: lookup(first, "operationTime")}}}}}}}
	same(t, "events of the first run", len(batchOf(r.send(watch))), 2)
}

func bsonID(id int32) bson.D { return bson.D{{Key: "_id", Value: id}} }

func lookupTimestamp(reply bson.D) primitive.Timestamp {
	return lookup(reply, "operationTime").(primitive.Timestamp)
}

func maxTime(ms int32) bson.E { return bson.E{Key: "maxTimeMS", Value: ms} }

func afterTime(ts primitive.Timestamp) bson.E {
	return bson.E{Key: "readConcern", Value: bson.D{{Key: "afterClusterTime", Value: ts}}}
}
