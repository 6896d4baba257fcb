package mongotest

import "testing"

// Feature is something that MongoDB does and a server that stands in for it may not.
type Feature string

const (
	// Persistence is that data outlive a crash of the server.
	Persistence Feature = "persistence"
	// ConcurrentUpdates is that the server itself makes each update of a document atomic.
	// One without it is made to carry out one command at a time.
	ConcurrentUpdates Feature = "concurrent updates"
	// Transactions are multi-document transactions in a session.
	Transactions Feature = "transactions"
	// ChangeStreams are change streams of a collection and of a database, which resume.
	ChangeStreams Feature = "change streams"
	// RetryableWrites is that a write sent again with its number is carried out once.
	RetryableWrites Feature = "retryable writes"
	// OperationTime is operationTime in replies, and reads that wait for afterClusterTime.
	OperationTime Feature = "operation time"
	// PartialIndexes are indexes with a partialFilterExpression.
	PartialIndexes Feature = "partial indexes"
	// SparseIndexes is that a document is in a sparse index, and collides in a unique one,
	// if it has any of the fields.
	SparseIndexes Feature = "sparse compound indexes"
	// UniqueOnUpdate is code 11000 for an update that makes a duplicate key.
	UniqueOnUpdate Feature = "duplicate keys through updates"
	// DuplicateIndex is that the message of a duplicate key names its index.
	DuplicateIndex Feature = "the index in the message of a duplicate key"
	// DocumentSize is that a document of more than 16 MiB is refused.
	DocumentSize Feature = "limit of a document's size"
	// SpecialNumbers are NaN, the infinities and a zero that keeps its sign.
	SpecialNumbers Feature = "special numbers"
	// Decimal128 is the decimal type.
	Decimal128 Feature = "decimal128"
	// Regex is the operator $regex.
	Regex Feature = "regular expressions"
	// Aggregation is a pipeline of $match, $group with $sum, $sort and $limit.
	Aggregation Feature = "aggregation"
	// Lookup is an aggregation that begins with $documents and joins by $lookup.
	Lookup Feature = "$lookup"
)

// Need skips the test on a server that lacks one of the features.
func (s *Server) Need(t testing.TB, features ...Feature) {
	t.Helper()
	for _, f := range features {
		if s.Lacks[f] {
			t.Skipf("%s lacks %s", s.Name, f)
		}
	}
}

// lacks makes the set of features.
func lacks(features ...Feature) map[Feature]bool {
	set := make(map[Feature]bool, len(features))
	for _, f := range features {
		set[f] = true
	}
	return set
}
