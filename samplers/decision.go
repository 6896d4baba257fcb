package samplers

import (
	"fmt"
	"math"
)

// Key names what is sampled: a tenant's requests of one operation. Both parts are
// arbitrary bytes and may be empty; two keys that differ in a part are never
// counted together, but for what Options.MaxOps has share [OtherOp].
//
// Op should come from a small set, such as the pattern of a route: with the raw
// path every request would be the first of its key, up to MaxOps. Tenant should be one
// that is authenticated: nothing bounds how many there are.
type Key struct {
	Tenant string
	Op     string
}

// Reason says why a [Decision] is as it is.
type Reason uint8

const (
	// Throttled: the first N of the window are through. Dropped.
	Throttled Reason = iota
	// First: among the first N of its key's window in the whole fleet. Kept,
	// with weight 1.
	First
	// Tail: beyond the first N, and chosen by chance with the probability
	// Options.Tail. Kept, with one over the probability as its weight.
	Tail
	// Local: decided by this process alone, because the counters did not answer,
	// as Options.OnOutage says. Kept with weight 1, or dropped.
	Local
	// Upgraded: dropped or of the tail at first, and kept after all because the
	// request ended in an error. Weight 1. See [Upgrade].
	Upgraded
	// Always: not a reason for a request, but for a line of a request that was not
	// kept, which is logged because of its level. Weight 1.
	Always
)

var reasonNames = [...]string{"throttled", "first", "tail", "local", "upgraded", "always"}

// String returns the reason's name in lower case.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", r)
}

// Decision says whether a request's logs and traces are kept. It is made once for each
// request and holds for all that the request brings forth.
//
// The sum of Weight over the decisions that are kept estimates the number of requests
// without bias, and so does the sum of any quantity times Weight for its total (Horvitz
// and Thompson, 1952), as long as Options.Tail is not 0 and nothing was dropped for
// another reason than Throttled.
//
// It has no more than four fields, so that the compiler keeps it in registers: a fifth
// makes a decision take a third longer.
type Decision struct {
	// Keep reports whether the request is kept.
	Keep bool
	// Weight is how many requests a kept one stands for: 0 if it is not kept.
	Weight float64
	// Reason is why.
	Reason Reason
	// Seq is the request's place in its key's window, from 1, if the counters were
	// asked: 0 otherwise.
	Seq uint64
}

// randomBits is the number of bits of a coin, which is that of the W3C's and
// OpenTelemetry's randomness of a trace.
const randomBits = 56

// thresholdBits of a threshold are used, so that a weight and its threshold can be
// computed from each other without loss.
const thresholdBits = 28

// Threshold returns the rejection threshold that belongs to Weight: the probability
// that 56 random bits are at least as great is one over Weight. It is 0 for weight 1,
// and 2^56 for a request that is not kept.
func (d Decision) Threshold() uint64 {
	if d.Weight < 1 {
		return nobody
	}
	return thresholdOf(1 / d.Weight)
}

// nobody is the threshold that no coin reaches.
const nobody = 1 << randomBits

// thresholdOf returns the threshold of a probability, rounded to thresholdBits.
func thresholdOf(probability float64) uint64 {
	kept := uint64(math.RoundToEven(probability * (1 << thresholdBits)))
	return (1<<thresholdBits - kept) << (randomBits - thresholdBits)
}

// weightOf returns the weight of what is kept with a threshold.
func weightOf(threshold uint64) float64 {
	return (1 << randomBits) / float64(1<<randomBits-threshold)
}
