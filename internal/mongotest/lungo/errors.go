package main

import (
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/bson"
)

// The error codes of MongoDB that are answered here.
const (
	codeInternal           = 1
	codeBadValue           = 2
	codeFailedToParse      = 9
	codeTypeMismatch       = 14
	codeInvalidLength      = 16
	codeNamespaceNotFound  = 26
	codeIndexNotFound      = 27
	codeConflictingUpdate  = 40
	codePathNotViable      = 28
	codeCursorNotFound     = 43
	codeNoMatchingDocument = 47
	codeNamespaceExists    = 48
	codeMaxTimeExpired     = 50
	codeCommandNotFound    = 59
	codeImmutableField     = 66
	codeCannotCreateIndex  = 67
	codeInvalidOptions     = 72
	codeOptionsConflict    = 85
	codeKeySpecsConflict   = 86
	codeWriteConflict      = 112
	codeNotSupported       = 115
	codeParallelArrays     = 171
	codeTransactionTooOld  = 225
	codeNoSuchTransaction  = 251
	codeCommitted          = 256
	codeInvalidResumeToken = 260
	codeNotInTransaction   = 263
	codeHistoryLost        = 286
	codeDuplicateKey       = 11000
	codeTooLarge           = 10334
	codeUnknownField       = 40415
	codeUnknownStage       = 40324
	codeInvalidIDField     = 53
	codeDollarPrefixed     = 52
)

var codeNames = map[int32]string{
	codeInternal:           "InternalError",
	codeBadValue:           "BadValue",
	codeFailedToParse:      "FailedToParse",
	codeTypeMismatch:       "TypeMismatch",
	codeInvalidLength:      "InvalidLength",
	codeNamespaceNotFound:  "NamespaceNotFound",
	codeIndexNotFound:      "IndexNotFound",
	codeConflictingUpdate:  "ConflictingUpdateOperators",
	codePathNotViable:      "PathNotViable",
	codeCursorNotFound:     "CursorNotFound",
	codeNoMatchingDocument: "NoMatchingDocument",
	codeNamespaceExists:    "NamespaceExists",
	codeMaxTimeExpired:     "MaxTimeMSExpired",
	codeCommandNotFound:    "CommandNotFound",
	codeImmutableField:     "ImmutableField",
	codeCannotCreateIndex:  "CannotCreateIndex",
	codeInvalidOptions:     "InvalidOptions",
	codeOptionsConflict:    "IndexOptionsConflict",
	codeKeySpecsConflict:   "IndexKeySpecsConflict",
	codeWriteConflict:      "WriteConflict",
	codeNotSupported:       "CommandNotSupported",
	codeParallelArrays:     "CannotIndexParallelArrays",
	codeTransactionTooOld:  "TransactionTooOld",
	codeNoSuchTransaction:  "NoSuchTransaction",
	codeCommitted:          "TransactionCommitted",
	codeInvalidResumeToken: "InvalidResumeToken",
	codeNotInTransaction:   "OperationNotSupportedInTransaction",
	codeHistoryLost:        "ChangeStreamHistoryLost",
	codeDuplicateKey:       "DuplicateKey",
	codeTooLarge:           "BSONObjectTooLarge",
	codeInvalidIDField:     "InvalidIdField",
	codeDollarPrefixed:     "DollarPrefixedFieldName",
}

// commandError is an error as MongoDB answers it.
type commandError struct {
	code   int32
	msg    string
	labels []string
	extra  bson.D // further fields, such as keyPattern
}

func (e *commandError) Error() string { return e.msg }

func fail(code int32, format string, args ...any) *commandError {
	return &commandError{code: code, msg: fmt.Sprintf(format, args...)}
}

func (e *commandError) labelled(label string) *commandError {
	e.labels = append(e.labels, label)
	return e
}

func (e *commandError) codeName() string {
	if name := codeNames[e.code]; name != "" {
		return name
	}
	return fmt.Sprintf("Location%d", e.code)
}

func (e *commandError) reply() bson.D {
	reply := bson.D{
		{Key: "ok", Value: float64(0)},
		{Key: "errmsg", Value: e.msg},
		{Key: "code", Value: e.code},
		{Key: "codeName", Value: e.codeName()},
	}
	if len(e.labels) > 0 {
		labels := bson.A{}
		for _, label := range e.labels {
			labels = append(labels, label)
		}
		reply = append(reply, bson.E{Key: "errorLabels", Value: labels})
	}
	return append(reply, e.extra...)
}

// toCommandError gives the errors of the engine the code that MongoDB has for
// them.
func toCommandError(err error) *commandError {
	if e, ok := errors.AsType[*commandError](err); ok {
		return e
	}
	msg := err.Error()
	switch {
	case strings.Contains(msg, "not a number"), strings.Contains(msg, "is not an array"):
		return fail(codeTypeMismatch, "%s", msg)
	case strings.Contains(msg, "cannot put value"):
		return fail(codePathNotViable, "%s", msg)
	case strings.Contains(msg, "conflicting key"):
		return fail(codeConflictingUpdate, "Updating the path would create a conflict: %s", msg)
	}
	return fail(codeBadValue, "%s", msg)
}

// writeConflict aborts the transaction it happens in; the client may run the
// whole transaction again.
func writeConflict() *commandError {
	return fail(codeWriteConflict, "WriteConflict error: this operation conflicted with another operation. Please retry your operation or multi-document transaction.")
}

// errHeld tells that a document or key is held by an open transaction.
var errHeld = errors.New("held by an open transaction")
