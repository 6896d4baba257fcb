package redis

import "strings"

// Every key is
//
//	prefix {name} suffix
//
// The name is what the engine or an add-on gives, in which braces and percent signs are
// escaped: they would end the part in braces, by which a Cluster finds the key's slot,
// or let a name choose its slot. The suffix sets apart what is kept for one name.

// The suffixes.
const (
	entrySuffix   = "k" // an anchor's entry
	hashSuffix    = "h" // its secondary values
	counterSuffix = "c" // a counter
	groupSuffix   = "g" // the members of a group
	logSuffix     = "l" // a log
	membersSuffix = "u" // its members, followed by the epoch
)

const hexDigits = "0123456789ABCDEF"

// key returns the key of a name.
func (b *Backend) key(name, suffix string) string {
	return joinKey(b.opts.Prefix, name, suffix)
}

func joinKey(prefix, name, suffix string) string {
	if !strings.ContainsAny(name, "{}%") {
		return prefix + "{" + name + "}" + suffix
	}
	var s strings.Builder
	s.Grow(len(prefix) + len(name) + len(suffix) + 16)
	s.WriteString(prefix)
	s.WriteByte('{')
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
	s.WriteByte('}')
	s.WriteString(suffix)
	return s.String()
}
