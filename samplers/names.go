package samplers

import "strings"

// name is what a key is called: the numbers of the texts of its parts, of which those of
// a tenant and an operation are shared by many keys. The zero name is of a key whose
// texts had no room: what is counted of it can be reported only with its next call.
type name struct{ tenant, op uint32 }

// texts numbers the texts of keys, in bounded memory.
type texts struct {
	numbers map[string]uint32
	list    []string // by number; the first is nobody's
	free    []uint32
	bytes   int
	max     int
	tidied  uint32 // the reading of the clock when it was last full
	full    bool
}

// textBytes is about what a text takes besides its own bytes.
const textBytes = 80

func newTexts(bytes int) texts {
	return texts{numbers: make(map[string]uint32), list: []string{""}, max: bytes}
}

// number returns the number of a text: 0 if there is no room for it.
func (x *texts) number(text string) uint32 {
	if n, ok := x.numbers[text]; ok {
		return n
	}
	if x.bytes+textBytes+len(text) > x.max {
		return 0
	}
	x.bytes += textBytes + len(text)
	text = strings.Clone(text) // it may be a part of something large
	n := uint32(len(x.list))
	if last := len(x.free) - 1; last >= 0 {
		n = x.free[last]
		x.free = x.free[:last]
		x.list[n] = text
	} else {
		x.list = append(x.list, text)
	}
	x.numbers[text] = n
	return n
}

// key returns the key with a name, and whether it is known.
func (x *texts) key(n name) (Key, bool) {
	if n == (name{}) {
		return Key{}, false
	}
	return Key{Tenant: x.list[n.tenant], Op: x.list[n.op]}, true
}

// tidy forgets the texts whose numbers are not in use.
func (x *texts) tidy(used []bool) {
	for n := 1; n < len(x.list); n++ {
		text := x.list[n]
		if used[n] || x.numbers[text] != uint32(n) {
			continue
		}
		delete(x.numbers, text)
		x.bytes -= textBytes + len(text)
		x.list[n] = ""
		x.free = append(x.free, uint32(n))
	}
}

// tidyEvery is how long, in milliseconds, a full store of texts stays full: to find what
// is not in use takes a walk through the table.
const tidyEvery = 1000

// nameLocked returns the name of a key: none if there is no room for its texts.
func (t *table) nameLocked(k Key, now uint32) name {
	for range 2 {
		n := name{tenant: t.texts.number(k.Tenant), op: t.texts.number(k.Op)}
		if n.tenant != 0 && n.op != 0 {
			return n
		}
		if t.texts.full && now-t.texts.tidied < tidyEvery {
			break
		}
		t.texts.full, t.texts.tidied = true, now
		t.tidyLocked()
	}
	return name{}
}

func (t *table) tidyLocked() {
	used := make([]bool, len(t.texts.list))
	for _, n := range t.names {
		used[n.tenant], used[n.op] = true, true
	}
	for d := range t.debts.all() {
		used[d.name.tenant], used[d.name.op] = true, true
	}
	t.texts.tidy(used)
}
