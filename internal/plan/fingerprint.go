package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
)

// formatVersion is raised when the meaning of the encoding changes while the
// nodes stay the same.
const formatVersion = 1

// fingerprintOf hashes all of a plan that decides what Encode makes of a document
// and what Decode makes of that.
//
// Types may be recursive, and two Go types may have the same shape while one of
// them shares its parts and the other repeats them. So in each round every node's
// hash is made from what it is and from the hashes of its children after the
// round before: after k rounds it covers k levels. No value has more containers
// inside each other than maxDepth, and no two pointers follow each other without
// one, hence the number of rounds.
func fingerprintOf(root *node) uint64 {
	h := hasher{sums: map[*node]hash{}}
	h.collect(root)
	for range 2*maxDepth + 2 {
		if !h.round() {
			break
		}
	}
	sum := h.sums[root]
	return binary.BigEndian.Uint64(sum[:])
}

type hash [sha256.Size]byte

// hasher has the hashes of a plan's nodes after the last round.
type hasher struct {
	nodes []*node
	sums  map[*node]hash
}

// collect finds n and the nodes that it leads to.
func (h *hasher) collect(n *node) {
	if _, ok := h.sums[n]; ok {
		return
	}
	h.nodes = append(h.nodes, n)
	h.sums[n] = hash{}
	if n.elem != nil {
		h.collect(n.elem)
	}
	for i := range n.fields {
		h.collect(n.fields[i].node)
	}
}

// round makes all hashes again and reports whether one changed.
func (h *hasher) round() bool {
	next, changed := make(map[*node]hash, len(h.nodes)), false
	for _, n := range h.nodes {
		next[n] = sha256.Sum256(h.describe(n))
		changed = changed || next[n] != h.sums[n]
	}
	h.sums = next
	return changed
}

// describe says what n is. The text of a type that marshals itself means
// something only to that type; of other types the name does not matter.
func (h *hasher) describe(n *node) []byte {
	var text bytes.Buffer
	fmt.Fprintf(&text, "%d %d %t %d", formatVersion, n.form, n.boxed, n.size)
	switch n.form {
	case intForm, uintForm, floatForm:
		fmt.Fprintf(&text, " %v", n.typ.Kind())
	case textForm, jsonForm:
		text.WriteString(identity(n.typ))
	case tableForm:
		fmt.Fprintf(&text, " %d %v", n.keys, n.typ.Key().Kind())
		if n.keys == textKeys {
			text.WriteString(identity(n.typ.Key()))
		}
	}
	if n.elem != nil {
		fmt.Fprintf(&text, " %x", h.sums[n.elem])
	}
	for i := range n.fields {
		f := &n.fields[i]
		fmt.Fprintf(&text, " %q %q %t %x", f.name, f.was, f.inline, h.sums[f.node])
	}
	return text.Bytes()
}

func identity(t reflect.Type) string { return fmt.Sprintf(" %q %q", t.PkgPath(), t.String()) }
