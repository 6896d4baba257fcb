package samplers

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
)

// What is carried is one member of the W3C's baggage, whose value is the reason, the place
// and, for what is kept, the threshold, which is exact where a weight in decimals is not:
//
//	throttled-6    first-3-0    tail-1a-fd70a3d
//
// The numbers are hexadecimal, the threshold without the zeros at its end, as OpenTelemetry
// writes it. All of it is of characters that no program escapes.
const (
	baggageHeader = "Baggage"
	baggageMember = "graphcache.sample"

	maxBaggageMembers = 64
	maxBaggageBytes   = 8192

	seqDigits       = 16
	thresholdDigits = thresholdBits / 4
)

// Inject writes the decision of the context's request into the headers of a call to another
// service, as a member of the W3C's header "baggage", so that what the call brings forth is
// kept or dropped alike. Dropping is carried, too. It is the decision that holds now: a later
// [Upgrade] does not reach the other service.
//
// A decision that the headers carry already is removed. The header's other members stay, in
// their order and in one line. If one more would exceed the W3C's limits of 64 members or
// 8,192 bytes, nothing is carried; nor is a decision that no [Sampler] would make. Without
// a request the headers stay as they are.
func Inject(ctx context.Context, h http.Header) {
	d, ok := FromContext(ctx)
	if !ok {
		return
	}
	value := d.text()
	carried, fits := parseDecision(value)
	had, members, line := false, 0, make([]byte, 0, 128)
	for member := range baggage(h) {
		if _, ours := cutOurs(member); ours {
			had = true
			continue
		}
		line = append(append(line, member...), ',')
		members++
	}
	fits = fits && carried.Threshold() == d.Threshold() && members < maxBaggageMembers && len(line)+len(baggageMember)+1+len(value) <= maxBaggageBytes
	switch {
	case fits:
		h[baggageHeader] = []string{string(line) + baggageMember + "=" + value}
	case had && members > 0:
		h[baggageHeader] = []string{string(line[:len(line)-1])}
	case had:
		delete(h, baggageHeader)
	}
}

// Extract returns the decision that the headers of a request carry, and false if they carry
// none, or several, or one that [Inject] would not have written. It allocates nothing. As
// anybody can write such headers, ask only where all callers are trusted; see
// [MiddlewareOptions].TrustIncoming.
func Extract(h http.Header) (Decision, bool) {
	var d Decision
	found := false
	for member := range baggage(h) {
		value, ours := cutOurs(member)
		if !ours {
			continue
		}
		again := found
		if d, found = parseDecision(value); again || !found {
			return Decision{}, false
		}
	}
	return d, found
}

// Transport returns a transport that carries the decision of each request's context, as
// [Inject] does, and calls next: http.DefaultTransport if that is nil. It is for calls to
// services of one's own. A transport that writes the header "baggage" by itself belongs
// around this one, not beneath it.
func Transport(next http.RoundTripper) http.RoundTripper {
	if next == nil {
		next = http.DefaultTransport
	}
	return transport{next}
}

type transport struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if requestOf(r.Context()) != nil {
		r = r.Clone(r.Context())
		if r.Header == nil {
			r.Header = make(http.Header)
		}
		Inject(r.Context(), r.Header)
	}
	return t.next.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.
func (t transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// baggage returns the members of the header, without the white space around them.
func baggage(h http.Header) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range h[baggageHeader] {
			for member := range strings.SplitSeq(line, ",") {
				if member = strings.Trim(member, " \t"); member != "" && !yield(member) {
					return
				}
			}
		}
	}
}

// cutOurs returns the value of a member if it is ours. Properties are no part of it.
func cutOurs(member string) (value string, ours bool) {
	key, value, _ := strings.Cut(member, "=")
	value, _, _ = strings.Cut(value, ";")
	return strings.Trim(value, " \t"), strings.TrimRight(key, " \t") == baggageMember
}

// text returns what is carried of the decision.
func (d Decision) text() string {
	text := fmt.Sprintf("%v-%x", d.Reason, d.Seq)
	if !d.Keep {
		return text
	}
	threshold := fmt.Sprintf("%0*x", thresholdDigits, d.Threshold()>>(randomBits-thresholdBits))
	return text + "-" + threshold[:1] + strings.TrimRight(threshold[1:], "0")
}

// parseDecision parses what text returns for the decisions that a Sampler makes, and
// nothing else.
func parseDecision(text string) (Decision, bool) {
	reason, rest, _ := strings.Cut(text, "-")
	place, rest, keep := strings.Cut(rest, "-")
	seq, ok := parseHex(place, seqDigits)
	if !ok || place != "0" && place[0] == '0' {
		return Decision{}, false
	}
	d := Decision{Keep: keep, Reason: Reason(slices.Index(reasonNames[:], reason)), Seq: seq}
	if !keep {
		return d, d.Reason == Throttled || d.Reason == Local
	}
	threshold, ok := parseHex(rest, thresholdDigits)
	if !ok || rest != "0" && strings.HasSuffix(rest, "0") {
		return Decision{}, false
	}
	threshold <<= randomBits - 4*len(rest)
	d.Weight = weightOf(threshold)
	sure := d.Reason == First || d.Reason == Local || d.Reason == Upgraded
	return d, d.Reason == Tail || sure && threshold == 0
}

// parseHex parses up to so many digits in lower case.
func parseHex(text string, digits int) (n uint64, ok bool) {
	if len(text) == 0 || len(text) > digits {
		return 0, false
	}
	for i := range len(text) {
		digit := strings.IndexByte("0123456789abcdef", text[i])
		if digit < 0 {
			return 0, false
		}
		n = n<<4 | uint64(digit)
	}
	return n, true
}
