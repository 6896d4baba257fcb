package otelsamplers

import (
	"fmt"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

const (
	memberKey  = "ot"
	digits     = 14 // of 56 bits
	maxMember  = 256
	none       = 1 << 56 // a threshold that is not there: no R reaches it
	listMark   = ";"
	keyMark    = ":"
	thresholds = "th"
	randoms    = "rv"
)

// member is OpenTelemetry's member of a tracestate.
type member struct {
	th   uint64   // the threshold, or none
	rv   string   // the randomness as it was written, "" if there is none
	rest []string // the other parts
}

// parseMember parses the member's value. What is malformed of th and rv is left out, and so
// is what comes again.
func parseMember(value string) member {
	m := member{th: none}
	for part := range strings.SplitSeq(value, listMark) {
		part = strings.TrimSpace(part)
		key, v, _ := strings.Cut(part, keyMark)
		switch {
		case part == "":
		case key == thresholds:
			if m.th == none && len(v) <= digits && isHex(v) {
				m.th = parseHex(v) << (4 * (digits - len(v)))
			}
		case key == randoms:
			if m.rv == "" && len(v) == digits && isHex(v) {
				m.rv = v
			}
		default:
			m.rest = append(m.rest, part)
		}
	}
	return m
}

// text returns the member's value.
func (m *member) text() string {
	var parts []string
	if m.th < none {
		th := hex(m.th)
		parts = append(parts, thresholds+keyMark+th[:1]+strings.TrimRight(th[1:], "0"))
	}
	if m.rv != "" {
		parts = append(parts, randoms+keyMark+m.rv)
	}
	return strings.Join(append(parts, m.rest...), listMark)
}

// putInto returns the tracestate with the member in place of the one that it had.
func (m *member) putInto(state trace.TraceState) trace.TraceState {
	text := m.text()
	if len(text) > maxMember {
		old := parseMember(state.Get(memberKey))
		old.th = none
		text = old.text()
	}
	if text == state.Get(memberKey) {
		return state
	}
	if changed, err := state.Insert(memberKey, text); err == nil {
		return changed
	}
	return state.Delete(memberKey)
}

// hex returns a number of 56 bits.
func hex(n uint64) string { return fmt.Sprintf("%0*x", digits, n) }

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

// parseHex parses what isHex, of up to 56 bits.
func parseHex(s string) uint64 {
	n, _ := strconv.ParseUint(s, 16, 56)
	return n
}
