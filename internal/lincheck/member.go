package lincheck

import (
	"fmt"
	"math/bits"
)

// members is the set of the items that are listed under a value of an index, with bit i
// for item i.
type members uint16

// noMembers is what IDs that are not in order are taken for: no index has it.
const noMembers members = 1 << 15

func (m members) String() string { return fmt.Sprintf("{%b}", uint16(m)) }

func (m members) count() int64 { return int64(bits.OnesCount16(uint16(m))) }

// first returns the first n of the members; if n is 0, all.
func (m members) first(n int) members {
	if n <= 0 {
		return m
	}
	var some members
	for ; n > 0 && m != 0; n-- {
		some |= m & -m
		m &= m - 1
	}
	return some
}

// memberCall is what is asked of the items under a value of an index. The outputs are,
// in this order: nothing; the members; how many there are; and whether there is one.
type memberCall struct {
	verb  memberVerb
	item  int
	in    bool // the item is to be under the value
	limit int
}

type memberVerb string

const (
	setMember    memberVerb = "set"
	listMembers  memberVerb = "list"
	countMembers memberVerb = "count"
	existMembers memberVerb = "exist"
)

func (c memberCall) String() string {
	switch c.verb {
	case setMember:
		return fmt.Sprintf("set item %d: %t", c.item, c.in)
	case listMembers:
		return fmt.Sprintf("list, limit %d", c.limit)
	}
	return string(c.verb)
}

// memberModel is a set.
var memberModel = describe(model(func(s members, c memberCall, out any) (members, bool) {
	switch c.verb {
	case setMember:
		after := s &^ (1 << c.item)
		if c.in {
			after |= 1 << c.item
		}
		return after, true
	case listMembers:
		return s, out == s.first(c.limit)
	case countMembers:
		return s, out == s.count()
	}
	return s, out == (s != 0)
}))
