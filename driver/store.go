package driver

import (
	"context"
	"time"
)

// Store is the durable backend: it holds the objects and the edges and is the
// only source of truth.
//
// Reads are linearizable with respect to acknowledged writes: a Read that starts
// after a Write returned sees it. A store that cannot promise this without help
// from a logical clock returns a [Stamp] from its writes and honours it in its
// reads.
type Store interface {
	// ID returns the random identity of the database, made once, when it is
	// first opened, and kept in it. Cache keys contain it, so that two
	// databases behind one cache never meet. It is the same for every
	// namespace.
	ID(ctx context.Context) (string, error)

	// Ensure prepares the database for the kinds of a schema: collections,
	// uniqueness of records, indexes, what the reads below need to be fast. It is
	// idempotent, drops nothing, and may be called by many processes at once.
	// Kinds that the database has and the schema has not are left alone.
	Ensure(ctx context.Context, schema Schema) error

	// Read answers the steps, each from one state of the database, and that
	// state includes every write whose stamp is not after atLeast. The results
	// of two steps may come from different states. With an error the results
	// are nil: a batch is answered whole or not at all.
	Read(ctx context.Context, steps []Step, atLeast Stamp) ([]Result, error)

	// Write applies the writes in order, each atomically, but not the batch:
	// a later one is attempted even if an earlier one was not applied. An
	// outcome other than Unknown and Refused comes with a nil error. When the
	// error is not nil, the outcomes say what is known of each write; a
	// missing outcome is Unknown. Write never retries on its own what could
	// then be applied twice.
	Write(ctx context.Context, writes []Write) ([]WriteResult, error)

	// Namespace returns a view of the store whose records are apart from those
	// of every other namespace. The empty name is the store itself. Views
	// share connections, and closing one does nothing.
	Namespace(name string) Store

	// Capabilities says what this deployment can do. It does not change while
	// the store is open.
	Capabilities() Capabilities

	// Close releases the store's resources. Calls that are under way may fail.
	Close(ctx context.Context) error
}

// Capabilities is what a [Store] can do.
type Capabilities struct {
	// Name says what the store is, for messages: "memory", "MongoDB 8.0".
	Name string
	// Stamps: writes return a Stamp, and reads honour one.
	Stamps bool
	// Transactions: the store is a [Transactor] and this deployment supports it.
	Transactions bool
}

// Stamp is a moment of a store's logical clock, opaque but for its order: the
// later of two stamps of one store is the greater string, byte by byte. The empty
// stamp is before all others. At most 64 bytes.
type Stamp string

// Schema lists the kinds that a graph uses.
type Schema struct {
	Objects []ObjectKind
	Edges   []EdgeKind
}

// ObjectKind describes a kind of objects to a store.
type ObjectKind struct {
	Name    string
	Indexes []Index
}

// Index is an index on a kind of objects. It makes FindObjects fast whose Filter asks
// for its first columns to be equal to a value, and whose Order is that of the ones
// that follow.
//
// An object's entry is the values of the columns. A column that is a List gives an
// entry for each of its distinct elements, and none if there are none; at most one
// column of an index is a List. An object that is marked Deleting has no entry.
type Index struct {
	// Name is unique within the kind.
	Name    string
	Columns []Column
	// Unique: no two objects may have the same entry, unless a value in it is
	// nil. A write that would break it is Exists, with the index's name. Ensure
	// returns an error that wraps ErrExists if the objects that are there break
	// it, and names the index. A store may judge a record by the fields that are stored
	// under their present names, and take a nil in a list for a value.
	Unique bool
}

// EdgeKind describes a kind of edges to a store.
type EdgeKind struct {
	Name string
	// From and To name the object kinds at the two ends.
	From, To string
	// Family names the group of kinds between which Rekind moves edges; empty
	// for a kind that is in none. Kinds of one family share From, To, ToOne and
	// Symmetric.
	Family string
	// ToOne: at most one edge per From, whatever its To.
	ToOne bool
	// Symmetric: an edge has no direction. It is written with From ≤ To, and
	// it is in the list of both its ends.
	Symmetric bool
}

// Object is a stored object.
type Object struct {
	ID string
	// Version is the record's version: graphcache chooses it, a store compares
	// it and keeps it. It is never 0.
	Version int64
	// Deleting marks an object whose edges are being removed. It is data to a
	// store; graphcache reads such an object as absent.
	Deleting bool
	Doc      Document
}

// Edge is a stored edge. Its key is (kind, From, To), or (kind, From) in a kind
// that is ToOne.
type Edge struct {
	From, To string
	// Time orders the lists of both ends: UTC, whole milliseconds. In a Write a
	// zero Time asks the store to use its own clock.
	Time    time.Time
	Version int64
	Data    Document
}

// Direction says from which end an edge is seen.
type Direction uint8

const (
	// Out lists the edges that start at an object.
	Out Direction = iota
	// In lists the edges that end at an object. Kinds that are Symmetric have
	// only Out.
	In
)

// Op is what a [Step] asks for.
type Op uint8

const (
	// GetObjects asks for the objects of a kind with the given IDs.
	GetObjects Op = iota + 1
	// GetEdges asks, for each ID, for its edges to the objects in Ends.
	GetEdges
	// ListEdges asks, for each ID, for the part of its list given by Range.
	ListEdges
	// CountEdges asks, for each ID, for the number of edges in Range; Offset
	// and Limit do not apply.
	CountEdges
	// ScanEdges asks for up to Range.Limit edges of the kind, ordered by (From,
	// To), after the one whose ends are (IDs[0], IDs[1]); without IDs, from the
	// start. It serves repair, not queries, and need not be fast.
	ScanEdges
	// FindObjects asks for the objects of the kind that Filter matches, in Order,
	// and those that are equal in it by ID ascending; objects marked Deleting
	// excepted. IDs, Ends, Direction, Range's bounds of time, Far, LimitPer and
	// Distinct do not apply. The result has their IDs.
	FindObjects
	// FindEdges asks for the edges in the lists of IDs, between Range's bounds of
	// time, that Filter matches. If Far names a kind, the object at the far end
	// must exist and not be Deleting; Filter and Order may then have columns of
	// that object. The rows are in Order, and those that are equal in it by far
	// end and then by near end ascending; without an Order they are in the order
	// of IDs, and for each of them in list order.
	FindEdges
	// ScanDeleting asks for up to Range.Limit objects of the kind that are
	// marked Deleting, ordered by ID, after IDs[0]; without IDs, from the
	// start. It is asked at every Open and must be cheap when there are none.
	ScanDeleting
)

// Step is one read.
type Step struct {
	Op        Op
	Kind      string
	Direction Direction
	// IDs are the objects asked for, or those whose lists are. They are
	// distinct; a step may have thousands.
	IDs []string
	// Ends are the far ends that GetEdges looks for, the same for every ID.
	Ends  []string
	Range Range

	// What follows is for FindObjects and FindEdges. It is applied in this
	// order: Range's bounds of time, Filter, Order, LimitPer, Distinct, After,
	// Range's Offset, its Limit.

	// Filter is the condition; nil matches everything.
	Filter *Filter
	// Order sorts the results.
	Order []Order
	// Far is the kind of the objects at the far ends, if they count.
	Far string
	// LimitPer keeps the first rows of each of IDs; 0 keeps all.
	LimitPer int
	// Distinct keeps the first row of each far end.
	Distinct bool
	// After keeps what comes after a place in the order, whether or not a result
	// stands there. It has the values of the Order's columns and then, for
	// FindObjects, the ID, for FindEdges, the far end and the near end; for
	// FindEdges without an Order the near end, the time, and the far end, and
	// then IDs has the near end. Nil is the start.
	After []Value
	// Count asks for the number of results instead of the results; Offset and
	// Limit do not apply.
	Count bool
}

// Range is a part of an edge list. A list is ordered by (Time descending, far end
// ascending, compared as bytes): newest first. The far end of an edge of a
// Symmetric kind is the end that is not the ID asked for, or both.
type Range struct {
	// High and Low bound the times, both inclusive. A zero time is no bound.
	High, Low time.Time
	// Offset skips edges within the bounds, after which at most Limit edges
	// follow; a Limit of 0 is no limit.
	Offset, Limit int
}

// Result answers one [Step].
type Result struct {
	// Objects answers GetObjects, one for each ID, nil where there is none;
	// ScanDeleting fills it without gaps.
	Objects []*Object
	// Lists answers GetEdges and ListEdges, one list for each ID; ScanEdges
	// gives a single list. GetEdges returns the edges in list order.
	Lists [][]Edge
	// Counts answers CountEdges, one for each ID; and a FindObjects or FindEdges
	// with Count, the only element.
	Counts []int
	// IDs answers FindObjects.
	IDs []string
	// Rows answers FindEdges.
	Rows []Row
	// Keys are, for FindObjects and FindEdges with an Order, the values of the
	// Order's columns by which each result is where it is.
	Keys [][]Value
}

// Row is an edge and the object in whose list it was found.
type Row struct {
	ID   string
	Edge Edge
}

// WriteOp is what a [Write] does.
type WriteOp uint8

const (
	// Insert adds a record. It is Exists if the key is taken, or an entry of it in
	// a unique index.
	Insert WriteOp = iota + 1
	// Replace puts a record in the place of the one with the same key. It is
	// Missing if there is none, Conflict if that one is not as expected, Exists
	// if another record has an entry of it in a unique index. In a ToOne kind it
	// may change the edge's To.
	Replace
	// Delete removes a record; of Object or Edge only the key counts. It is
	// Missing or Conflict like Replace.
	Delete
	// Rekind moves an edge to another kind of its family, NewKind, giving it
	// the Version of Edge and keeping time and data. It is Missing or Conflict
	// like Replace, and Exists if the key is taken in the new kind.
	Rekind
	// Modify applies Changes to the object with the key, all of them or none,
	// and adds 1 to its version; of Object only the ID counts. It is Missing if
	// there is none or it is Deleting, and Conflict if it is not as expected or
	// a sum would not be within its bounds. It is used for columns that are no
	// part of an index.
	Modify
)

// Change is what Modify does to one column: a field at the top of an object's
// document, without older names. Columns are distinct.
type Change struct {
	Column *Column
	// Set is the new value, unless Add is not nil.
	Set Value
	// Add is added to the number that is there, an int64 or a float64 as this
	// one is; a field that is missing or null counts as the column's Zero. The
	// sum must be from Low to High, numbers of the same type, both inclusive;
	// where they are nil there is no bound, but an int64 must not overflow. NaN
	// is within no bounds, and what is there but of another type cannot be added
	// to: both are a Conflict.
	Add       Value
	Low, High Value
}

// Write is one change of one record.
type Write struct {
	Op   WriteOp
	Kind string
	// Object or Edge is the new record; exactly one of them is set.
	Object *Object
	Edge   *Edge
	// NewKind is where Rekind moves the edge.
	NewKind string
	// Expect is the version that the present record must have (Replace, Delete,
	// Rekind, Modify). 0 accepts any version.
	Expect int64
	// Old lists fields of the present record's document with the values that
	// they must have, a field that is missing counting as nil; any difference
	// is a Conflict. It catches writers that do not know about versions.
	Old Document
	// Gone lists, for a Replace of an object with Expect, the fields at the top that the
	// record with that version has and the new one has not. A store may then change the
	// record in place; others need not look at it.
	Gone []string
	// Changes are what Modify does.
	Changes []Change
}

// WriteResult is what became of one [Write].
type WriteResult struct {
	Outcome Outcome
	// Stamp is the moment of the write, where the store has a logical clock.
	Stamp Stamp
	// Object or Edge is the record as it stands now: the one written when the
	// outcome is Done (with the time that the store chose), the present one
	// when it is Exists or Conflict. It is nil after Delete, and may be nil
	// after Exists and Conflict in a store that cannot tell.
	Object *Object
	Edge   *Edge
	// OldObject or OldEdge is the record that a write which is Done has replaced,
	// deleted or modified. A store that cannot tell leaves it nil.
	OldObject *Object
	OldEdge   *Edge
	// Index is the unique index because of which the outcome is Exists, empty if
	// it is because of the key. Object is nil then.
	Index string
}
