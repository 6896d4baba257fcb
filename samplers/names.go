package samplers

import (
	"hash/maphash"
	"math/bits"
)

// name is what a key is called: the numbers of the texts of its parts, of which those of
// a tenant and an operation are shared by many keys. The zero name is of a key whose
// texts had no room: what is counted of it can be reported only with its next call.
type name struct{ tenant, op uint32 }

// texts numbers the texts of keys, in memory that is allocated once.
type texts struct {
	seed  maphash.Seed
	data  []byte   // the texts, one behind the other
	at    []textAt // by number, of which 0 is nobody's
	free  uint32   // a number that is free; its length is the next one
	index []uint32 // the numbers by hash; 0 is none
	shift int      // from a hash to a place in the index

	full   bool
	tidied uint32 // the reading of the clock when it was full last
}

// textAt is where a text is. The offset of a number that is free is noText.
type textAt struct{ offset, length uint32 }

const (
	noText = 1<<32 - 1
	// usualText is about how long a text is. With longer ones there is room for fewer.
	usualText = 20
	textBytes = usualText + 8 + 2*4 // with its place, and its share of the index
)

func newTexts(seed maphash.Seed, bytes int) texts {
	most := bytes / textBytes
	width := bits.Len(uint(most)) // so that the index is at least half empty on the average
	return texts{
		seed:  seed,
		data:  make([]byte, 0, bytes-8*most-4<<width),
		at:    make([]textAt, 1, most),
		index: make([]uint32, 1<<width),
		shift: 64 - width,
	}
}

// text returns the text with a number.
func (x *texts) text(n uint32) []byte {
	at := x.at[n]
	return x.data[at.offset:][:at.length]
}

// number returns the number of a text: 0 if there is no room for it.
func (x *texts) number(text string) uint32 {
	i := x.place(text)
	for ; x.index[i] != 0; i = x.after(i) {
		if n := x.index[i]; string(x.text(n)) == text {
			return n
		}
	}
	if len(x.data)+len(text) > cap(x.data) {
		return 0
	}
	n := x.free
	switch {
	case n != 0:
		x.free = x.at[n].length
	case len(x.at) < cap(x.at):
		n = uint32(len(x.at))
		x.at = x.at[:n+1]
	default:
		return 0
	}
	x.at[n] = textAt{uint32(len(x.data)), uint32(len(text))}
	x.data = append(x.data, text...)
	x.index[i] = n
	return n
}

func (x *texts) place(text string) int { return int(maphash.String(x.seed, text) >> x.shift) }

func (x *texts) after(i int) int { return (i + 1) & (len(x.index) - 1) }

// key returns the key with a name, and whether it is known.
func (x *texts) key(n name) (Key, bool) {
	if n == (name{}) {
		return Key{}, false
	}
	return Key{Tenant: string(x.text(n.tenant)), Op: string(x.text(n.op))}, true
}

// tidy forgets the texts whose numbers are not in use. The others keep theirs.
func (x *texts) tidy(used []bool) {
	clear(x.index)
	old := x.data
	x.data = make([]byte, 0, cap(old))
	x.free = 0
	for n := uint32(1); n < uint32(len(x.at)); n++ {
		at := &x.at[n]
		if at.offset == noText || !used[n] {
			*at = textAt{noText, x.free}
			x.free = n
			continue
		}
		text := old[at.offset:][:at.length]
		at.offset = uint32(len(x.data))
		x.data = append(x.data, text...)
		i := x.place(string(text))
		for x.index[i] != 0 {
			i = x.after(i)
		}
		x.index[i] = n
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
		if t.texts.full && int32(now-t.texts.tidied) < tidyEvery {
			break
		}
		t.texts.full, t.texts.tidied = true, now
		t.tidyLocked()
	}
	return name{}
}

func (t *table) tidyLocked() {
	used := make([]bool, len(t.texts.at))
	for _, n := range t.names {
		used[n.tenant], used[n.op] = true, true
	}
	for d := range t.debts.all() {
		used[d.name.tenant], used[d.name.op] = true, true
	}
	t.texts.tidy(used)
}
