package graphcache

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// verdict is what a check says of a value: why it is skipped, or what is wrong with it; or
// nothing, if nothing is.
type verdict struct {
	skip   string
	typ    FindingType
	detail string
}

// assess says what there is to say of an entry without asking the store, and takes its
// value.
func (c *checker) assess(r *request, e driver.Entry) verdict {
	switch {
	case e.State == driver.StateUnknown:
		return verdict{skip: skipUnanswered}
	case e.State == driver.Held:
		return verdict{skip: skipHeld}
	case e.Value == nil && e.Corrupt == nil:
		return verdict{skip: skipGone}
	case c.g.shared.journal.owes(r.anchor):
		return verdict{skip: skipOwed}
	case e.Corrupt != nil:
		return verdict{typ: Corrupt, detail: "the cache cannot read its entry"}
	}
	env, err := unseal(e.Value, r.anchor, r.field)
	switch {
	case err != nil && ofOther(e.Value):
		return verdict{typ: Foreign, detail: "the value is that of another key"}
	case err != nil:
		return verdict{typ: Corrupt, detail: "the value's checksum or format is wrong"}
	case env.generation < r.kind.generation.Load():
		return verdict{skip: skipGeneration}
	case env.flags&flagLarge != 0:
		return verdict{skip: skipLarge}
	}
	k := c.layout(r.kind, env.fingerprint)
	if k == nil || r.field != "" && k != r.kind {
		return verdict{skip: skipLayout}
	}
	r.kind = k
	if _, err := r.accept(env.flags, env.body); err != nil || r.malformed() {
		return verdict{typ: Corrupt, detail: "the value's content cannot be read"}
	}
	r.matchPrefix()
	return verdict{}
}

// ofOther reports whether a sealed value is whole, and so one of another key.
func ofOther(value []byte) bool {
	return len(value) >= envelopeHeader && value[0] == envelopeFormat && binary.BigEndian.Uint32(value[2:]) == checksum(value)
}

// malformed reports whether the value of an object does not start with its version.
func (r *request) malformed() bool {
	if r.op != driver.GetObjects || r.flags&flagAbsent != 0 {
		return false
	}
	_, _, err := msgp.ReadInt64Bytes(r.body)
	return err != nil
}

// matchPrefix makes the store be asked for a prefix as long as the one that is cached.
func (r *request) matchPrefix() {
	if r.size == 0 {
		return
	}
	r.size = longPrefix
	if n := r.list.len(); !r.list.complete() && !r.list.capped() && n > 0 {
		r.size = min(n, longPrefix)
	}
}

// differs says how the request's value differs from what the store has.
func (r *request) differs(stored value) verdict {
	cached := r.value
	if cached.flags == stored.flags && bytes.Equal(cached.body, stored.body) {
		return verdict{}
	}
	switch {
	case r.op == driver.GetObjects:
		return differentObjects(cached, stored)
	case r.isCount():
		return differentCounts(cached, stored)
	}
	return r.differentLists(cached.list, stored.list)
}

func differentObjects(cached, stored value) verdict {
	was, _, _ := msgp.ReadInt64Bytes(cached.body)
	is, _, _ := msgp.ReadInt64Bytes(stored.body)
	switch {
	case cached.flags&flagAbsent != 0 && stored.flags&flagAbsent != 0:
		return verdict{}
	case cached.flags&flagAbsent != 0:
		return verdict{typ: Lost, detail: fmt.Sprintf("the store has it, in version %d", is)}
	case stored.flags&flagAbsent != 0:
		return verdict{typ: Foreign, detail: fmt.Sprintf("the store does not have it, the cache has version %d", was)}
	case was == is:
		return verdict{typ: Stale, detail: fmt.Sprintf("both are version %d, with different content", is)}
	}
	return verdict{typ: Stale, detail: fmt.Sprintf("version %d in the cache, %d in the store", was, is)}
}

func differentCounts(cached, stored value) verdict {
	was, _, _ := msgp.ReadIntBytes(cached.body)
	is, _, _ := msgp.ReadIntBytes(stored.body)
	v := verdict{typ: Stale, detail: fmt.Sprintf("%d in the cache, %d in the store", was, is)}
	switch {
	case was == is:
		return verdict{}
	case was == 0:
		v.typ = Lost
	case is == 0:
		v.typ = Foreign
	}
	return v
}

func (r *request) differentLists(cached, stored edgeList) verdict {
	lost := missing(stored, cached, r.isWhole(cached))
	foreign := missing(cached, stored, r.isWhole(stored))
	v := verdict{typ: Stale}
	switch {
	case lost > 0 && foreign == 0:
		v.typ = Lost
	case foreign > 0 && lost == 0:
		v.typ = Foreign
	}
	v.detail = fmt.Sprintf("%d in the cache, %d in the store", cached.len(), stored.len())
	if lost > 0 {
		v.detail += fmt.Sprintf("; %d of the store's are not in the cache", lost)
	}
	if foreign > 0 {
		v.detail += fmt.Sprintf("; %d of the cache's are not in the store", foreign)
	}
	if lost+foreign == 0 && cached.len() == stored.len() {
		v.detail += ", with different content or in another order"
	}
	return v
}

// isWhole reports whether nothing follows the list in what was asked for.
func (r *request) isWhole(l edgeList) bool {
	switch {
	case r.op == driver.GetEdges:
		return true
	case r.size > 0:
		return l.complete()
	}
	return r.span.limit == 0 || l.len() < r.span.limit
}

// missing returns how many entries of a list another one lacks. What comes after all that
// they have in common may follow the end of the other, unless that is whole.
func missing(of, from edgeList, whole bool) (n int) {
	ends := make(map[string]bool, from.len())
	for i := range from.len() {
		far, _ := from.bytes(i)
		ends[string(far)] = true
	}
	within := whole
	for i := of.len() - 1; i >= 0; i-- {
		far, _ := of.bytes(i)
		switch {
		case ends[string(far)]:
			within = true
		case within:
			n++
		}
	}
	return n
}
