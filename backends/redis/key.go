package redis

import "strings"

// Every key is
//
//	prefix {name} suffix
//
// The name is what the engine or an add-on gives, in which braces and percent signs are
// escaped: they would end the part in braces, by which a Cluster finds the key's slot,
// or let a name choose its slot. The suffix sets apart what is kept for one name. That of
// a counter ends with the member, escaped as well, so that no key ends in a brace and
// another suffix unless it is of that sort.

// The suffixes.
const (
	entrySuffix   = "k" // an anchor's entry
	hashSuffix    = "h" // its secondary values
	counterSuffix = "c" // a counter of a group, followed by the member
	groupSuffix   = "g" // the number of counters that a group has opened
	logSuffix     = "l" // a log
	membersSuffix = "u" // its members, followed by the epoch
)

const hexDigits = "0123456789ABCDEF"

// key returns the key of a name.
func (b *Backend) key(name, suffix string) string {
	return joinKey(b.opts.Prefix, name, suffix)
}

func joinKey(prefix, name, suffix string) string {
	return prefix + "{" + escapeName(name) + "}" + suffix
}

// escapeName escapes braces and percent signs.
func escapeName(name string) string {
	if !strings.ContainsAny(name, "{}%") {
		return name
	}
	var s strings.Builder
	s.Grow(len(name) + 16)
	for i := range len(name) {
		switch c := name[i]; c {
		case '{', '}', '%':
			s.WriteByte('%')
			s.WriteByte(hexDigits[c>>4])
			s.WriteByte(hexDigits[c&15])
		default:
			s.WriteByte(c)
		}
	}
	return s.String()
}
