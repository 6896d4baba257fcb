package graphcache

import "github.com/graphcache/graphcache/driver"

// DropAnchors makes the graph and its namespaces leave out, from every write, the
// anchors that drop reports true for. Tests take an anchor away with it and see
// that they fail.
func DropAnchors(g *Graph, drop func(kind string, a AnchorType, id string) bool) {
	g.shared.dropped = func(a anchor) bool { return drop(a.kind, a.typ, a.id) }
}

// Uncheck makes the graph leave out the check that loaded objects still match.
func Uncheck(g *Graph) { g.shared.unchecked = true }

// AnchorType is the type of an anchor.
type AnchorType = anchorType

// The types of anchors.
const (
	ObjectAnchor = objectAnchor
	OutAnchor    = outAnchor
	InAnchor     = inAnchor
	IndexAnchor  = indexAnchor
	KindAnchor   = kindAnchor
)

// The sizes of cached prefixes.
const (
	ShortPrefix = shortPrefix
	LongPrefix  = longPrefix
	PrefixBytes = prefixBytes
)

// ParseIndexAnchor returns the columns of the index that an anchor is of, each by the
// last of its names, and the values of the entries that the anchor covers.
func ParseIndexAnchor(id string) (columns []string, values []driver.Value) {
	r := keyReader{b: []byte(id)}
	r.array(2)
	columns = readAll(&r, 1, func() string {
		r.array(2)
		r.int()
		names := readAll(&r, 1, r.string)
		return names[len(names)-1]
	})
	values = r.values()
	if err := r.end(); err != nil {
		panic(err)
	}
	return columns, values
}

// NearHeld tells the near cache that the anchor was held.
func NearHeld(g *Graph, anchor string) { g.shared.near.Held(anchor) }
