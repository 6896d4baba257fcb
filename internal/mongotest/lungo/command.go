package main

import (
	"strings"
	"time"

	"github.com/256dpi/lungo/mongokit"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// handler runs one command. Fields it does not list are refused, so that no
// option is silently ignored.
type handler struct {
	run           func(*Server, *command) (bson.D, error)
	fields        string
	inTransaction bool // allowed in a transaction
	write         bool // a retryable write
}

// commonFields are those that every command may carry.
const commonFields = " lsid $db $clusterTime txnNumber autocommit startTransaction readConcern writeConcern maxTimeMS maxTimeMSOpOnly $readPreference apiVersion comment "

var handlers map[string]handler

func init() {
	handlers = map[string]handler{
		"hello":             {run: (*Server).hello, fields: "*"},
		"ismaster":          {run: (*Server).hello, fields: "*"},
		"ping":              {run: (*Server).ping},
		"buildinfo":         {run: (*Server).buildInfo},
		"endsessions":       {run: (*Server).endSessions},
		"killsessions":      {run: (*Server).endSessions},
		"committransaction": {run: (*Server).commitTransaction, inTransaction: true, fields: "recoveryToken"},
		"aborttransaction":  {run: (*Server).abortTransaction, inTransaction: true, fields: "recoveryToken"},

		"insert":        {run: (*Server).insert, inTransaction: true, write: true, fields: "documents ordered bypassDocumentValidation"},
		"update":        {run: (*Server).update, inTransaction: true, write: true, fields: "updates ordered bypassDocumentValidation"},
		"delete":        {run: (*Server).delete, inTransaction: true, write: true, fields: "deletes ordered"},
		"findandmodify": {run: (*Server).findAndModify, inTransaction: true, write: true, fields: "query sort update remove upsert new fields bypassDocumentValidation hint"},

		"find":        {run: (*Server).find, inTransaction: true, fields: "filter sort projection skip limit batchSize singleBatch hint allowDiskUse noCursorTimeout allowPartialResults"},
		"getmore":     {run: (*Server).getMore, inTransaction: true, fields: "collection batchSize"},
		"killcursors": {run: (*Server).killCursors, inTransaction: true, fields: "cursors"},
		"count":       {run: (*Server).count, fields: "query limit skip hint"},
		"distinct":    {run: (*Server).distinct, inTransaction: true, fields: "key query hint"},
		"aggregate":   {run: (*Server).aggregate, inTransaction: true, fields: "pipeline cursor allowDiskUse bypassDocumentValidation hint"},

		"create":          {run: (*Server).create, fields: "changeStreamPreAndPostImages"},
		"collmod":         {run: (*Server).collMod, fields: "changeStreamPreAndPostImages"},
		"drop":            {run: (*Server).drop},
		"dropdatabase":    {run: (*Server).dropDatabase},
		"listcollections": {run: (*Server).listCollections, fields: "filter nameOnly authorizedCollections cursor"},
		"listdatabases":   {run: (*Server).listDatabases, fields: "filter nameOnly authorizedDatabases"},
		"createindexes":   {run: (*Server).createIndexes, fields: "indexes commitQuorum"},
		"listindexes":     {run: (*Server).listIndexes, fields: "cursor includeBuildUUIDs"},
		"dropindexes":     {run: (*Server).dropIndexes, fields: "index"},
	}
}

// command is one request while it runs.
type command struct {
	name    string // in lower case
	body    bson.D
	db      string
	begun   time.Time
	maxTime time.Duration
	after   uint64 // readConcern.afterClusterTime
	level   string // readConcern.level
	session *session
	number  int64        // of the transaction or the retryable write
	txn     *transaction // nil outside one
	optime  uint64       // of the data a read was answered from
}

func newCommand(m *message) *command {
	c := &command{body: m.body, begun: time.Now(), number: -1}
	if len(m.body) == 0 {
		return c
	}
	c.name = strings.ToLower(m.body[0].Key)
	c.db, _ = c.get("$db").(string)
	return c
}

// check reads the fields that all commands have and refuses unknown ones.
func (c *command) check(h handler) error {
	allowed := commonFields + h.fields + " "
	for _, e := range c.body[1:] {
		if h.fields != "*" && !strings.Contains(allowed, " "+e.Key+" ") {
			return fail(codeUnknownField, "BSON field '%s.%s' is an unknown field.", c.body[0].Key, e.Key)
		}
	}
	ms, _ := number(c.get("maxTimeMS"))
	c.maxTime = time.Duration(ms) * time.Millisecond
	concern := c.doc("readConcern")
	c.level, _ = lookup(concern, "level").(string)
	if after, ok := lookup(concern, "afterClusterTime").(primitive.Timestamp); ok {
		c.after = optime(after)
	}
	if has(concern, "atClusterTime") {
		return fail(codeInvalidOptions, "readConcern.atClusterTime is not supported")
	}
	return nil
}

// until returns the moment at which a wait must end, the given time from the
// beginning of the command unless maxTimeMS says otherwise.
func (c *command) until(wait time.Duration) time.Time {
	if c.maxTime > 0 {
		wait = c.maxTime
	}
	return c.begun.Add(wait)
}

func (c *command) get(key string) any { return lookup(c.body, key) }

func (c *command) doc(key string) bson.D {
	d, _ := c.get(key).(bson.D)
	return d
}

func (c *command) list(key string) bson.A {
	a, _ := c.get(key).(bson.A)
	return a
}

// natural returns a number that must not be negative, 0 if it is left out.
func (c *command) natural(key string) (int, error) { return natural(c.body, key) }

func natural(doc bson.D, key string) (int, error) {
	v := lookup(doc, key)
	if v == nil {
		return 0, nil
	}
	n, ok := number(v)
	if !ok || n < 0 {
		return 0, fail(codeBadValue, "Field '%s' must be a non-negative integer", key)
	}
	return int(n), nil
}

// namespace returns the collection that the command names first.
func (c *command) namespace() (namespace, error) {
	name, ok := c.body[0].Value.(string)
	if !ok || name == "" || strings.ContainsAny(name, "$\x00") || c.db == "" {
		return namespace{}, fail(73, "Invalid namespace specified '%s.%v'", c.db, c.body[0].Value)
	}
	return namespace{c.db, name}, nil
}

// filter returns a checked filter.
func (c *command) filter(key string) (bson.D, error) { return filterOf(c.body, key) }

func filterOf(doc bson.D, key string) (bson.D, error) {
	switch v := lookup(doc, key).(type) {
	case nil:
		return bson.D{}, nil
	case bson.D:
		return prepareFilter(v)
	default:
		return nil, fail(codeTypeMismatch, "Expected field %s to be an object", key)
	}
}

// order returns a checked sort order.
func (c *command) order(key string) (bson.D, error) {
	order := c.doc(key)
	if c.get(key) != nil && order == nil {
		return nil, fail(codeTypeMismatch, "Expected field %s to be an object", key)
	}
	return order, checkOrder(order)
}

func checkOrder(order bson.D) error {
	for _, e := range order {
		if e.Key == "" || strings.HasPrefix(e.Key, "$") {
			return fail(codeBadValue, "cannot sort by '%s'", e.Key)
		}
	}
	if _, err := mongokit.Columns(&order); err != nil {
		return fail(codeBadValue, "%v", err)
	}
	return nil
}
