package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
	xdriver "go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/graphcache/graphcache/driver"
)

// What an error says of a write. Only what certainly was not applied is Refused: the command
// was not sent, or the server has looked at it and said no. A connection that broke, a
// deadline that passed, a primary that stepped down, and a majority that did not confirm
// leave it open.

// Codes of the server's errors.
const (
	codeNotWritablePrimary    = 10107
	codeNotPrimaryNoSecondary = 13435
	codeDuplicateKey          = 11000
	codeInvalidOptions        = 72
)

// openCodes lists the errors after which a write may have been applied although the server has
// answered: it was interrupted, the node is no longer what it was, or it was applied before
// and the server cannot say any more with what result.
var openCodes = []int{
	50,    // MaxTimeMSExpired
	64,    // WriteConcernFailed
	91,    // ShutdownInProgress
	189,   // PrimarySteppedDown
	11600, // InterruptedAtShutdown
	11601, // Interrupted
	11602, // InterruptedDueToReplStateChange
	24,    // LockTimeout
	202,   // NetworkInterfaceExceededTimeLimit
	89,    // NetworkTimeout
	6, 7,  // HostUnreachable, HostNotFound: of a mongos
	262,  // ExceededTimeLimit
	9001, // SocketException
	237,  // CursorKilled
	43,   // CursorNotFound
	217,  // IncompleteTransactionHistory: of a findAndModify that was sent again
	225,  // TransactionTooOld
	279,  // ClientDisconnect
}

// refused reports whether a write that ended with the error was certainly not applied.
func refused(err error) bool {
	var before *refusal
	var selection topology.ServerSelectionError
	var pool topology.WaitQueueTimeoutError
	switch {
	case errors.As(err, &before), errors.As(err, &selection), errors.As(err, &pool):
		return true
	case mongo.IsNetworkError(err), mongo.IsTimeout(err), errors.Is(err, context.Canceled), cleared(err):
		return false
	}
	var labeled mongo.LabeledError
	if errors.As(err, &labeled) {
		// The driver has sent it a second time, maybe, and this is the answer to that. Then
		// NoWritesPerformed says nothing of the first, of which there may be no other trace.
		if labeled.HasErrorLabel("RetryableWriteError") || labeled.HasErrorLabel("RetryableError") {
			return false
		}
		if labeled.HasErrorLabel("NoWritesPerformed") {
			return true
		}
	}
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return unsent(err)
	}
	var write mongo.WriteException
	if errors.As(err, &write) && write.WriteConcernError != nil {
		return false
	}
	var bulk mongo.BulkWriteException
	if errors.As(err, &bulk) && bulk.WriteConcernError != nil {
		return false
	}
	for _, code := range openCodes {
		if server.HasErrorCode(code) {
			return false
		}
	}
	return true
}

// unsent reports whether an error is of something that comes before a command is sent: of the
// store itself, or because it cannot be encoded.
func unsent(err error) bool {
	for _, before := range []error{driver.ErrInvalid, driver.ErrSchema, driver.ErrExists, driver.ErrUnavailable, driver.ErrConflict,
		mongo.ErrClientDisconnected, mongo.ErrNilDocument, xdriver.ErrDocumentTooLarge} {
		if errors.Is(err, before) {
			return true
		}
	}
	var encoding mongo.MarshalError
	return errors.As(err, &encoding)
}

// cleared reports whether a connection could not be had because the pool was emptied, after an
// error of another one. It can be what became of a second try, and then hides the first.
func cleared(err error) bool {
	var pool xdriver.RetryablePoolError
	return errors.As(err, &pool)
}

// describe wraps an error of the server around what it means to graphcache.
func describe(collection string, key any, err error) error {
	if unreachable(err) {
		err = fmt.Errorf("%w: %w", driver.ErrUnavailable, err)
	}
	return locate(collection, key, err)
}

// locate says in an error what it is about.
func locate(collection string, key any, err error) error {
	if key == nil {
		return fmt.Errorf("mongo: collection %q: %w", collection, err)
	}
	return fmt.Errorf("mongo: collection %q: %v: %w", collection, key, err)
}

// unreachable reports whether the error is one of the way to the server, or of its state.
func unreachable(err error) bool {
	var selection topology.ServerSelectionError
	var pool topology.WaitQueueTimeoutError
	var server mongo.ServerError
	return errors.As(err, &selection) || errors.As(err, &pool) || cleared(err) || mongo.IsNetworkError(err) || mongo.IsTimeout(err) ||
		errors.As(err, &server) && (server.HasErrorCode(codeNotWritablePrimary) || server.HasErrorCode(codeNotPrimaryNoSecondary) ||
			server.HasErrorCodeWithMessage(codeInvalidOptions, "afterClusterTime")) // a shard that has not heard of the time yet
}

// duplicateIn returns the name of the index that a write would have broken, as the server's
// message has it, and whether that is why it was refused.
func duplicateIn(err error) (index string, ok bool) {
	if !mongo.IsDuplicateKeyError(err) {
		return "", false
	}
	return indexInMessage(err.Error()), true
}

// indexInMessage finds the name in "… index: NAME dup key: …". Servers send keyPattern as
// well, which does not tell two indexes on the same fields apart.
func indexInMessage(message string) string {
	_, rest, found := strings.Cut(message, " index: ")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(rest, " dup key")
	return strings.TrimSpace(name)
}
