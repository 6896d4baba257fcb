package graphcache

import (
	"encoding/binary"
	"errors"
	"iter"
	"math"
	"sort"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// bound is one end of a range of times in milliseconds since 1970, or none.
type bound struct {
	ms  int64
	set bool
}

// latest returns the bound that keeps times up to t. Edge times are whole
// milliseconds, so what t has beyond them does not count.
func latest(t time.Time) bound { return bound{ms: t.Truncate(time.Millisecond).UnixMilli(), set: true} }

// earliest returns the bound that keeps times from t on.
func earliest(t time.Time) bound {
	b := latest(t)
	if t.After(time.UnixMilli(b.ms)) {
		b.ms++
	}
	return b
}

// time returns the bound as the driver takes it.
func (b bound) time() time.Time {
	if !b.set {
		return time.Time{}
	}
	return time.UnixMilli(b.ms).UTC()
}

// span is a part of an edge list: the edges with times from low to high, both
// inclusive, without the first offset of them, and at most limit; a limit of 0 is
// none.
type span struct {
	high, low     bound
	offset, limit int
}

func (s span) driver() driver.Range {
	return driver.Range{High: s.high.time(), Low: s.low.time(), Offset: s.offset, Limit: s.limit}
}

// edge is an edge as seen from the object whose list it is in. The data is in the
// cache's encoding.
type edge struct {
	far  string
	ms   int64
	data []byte
}

// edgeList is the decoded form of a cached list: the newest edges of an object, or
// the edges of one span, in list order.
//
//	flags 1 · count 4 · count × (time 8 · end of far end 4 · end of data 4) ·
//	far end and data of each edge
//
// The entries have a fixed width, so a time is found by binary search and an edge
// is decoded only when it is asked for.
type edgeList struct {
	flags   byte
	entries []byte
	blob    []byte
}

const (
	listHeader = 5
	entryWidth = 16

	// flagComplete: no edge follows the last one.
	flagComplete = 1
	// flagCapped: loading a longer prefix would not yield one.
	flagCapped = 2
)

var errList = errors.New("graphcache: malformed edge list")

// parseList checks the whole of b and returns the list, which shares its memory.
func parseList(b []byte) (edgeList, error) {
	if len(b) < listHeader {
		return edgeList{}, errList
	}
	n := uint64(binary.BigEndian.Uint32(b[1:]))
	if n*entryWidth > uint64(len(b)-listHeader) {
		return edgeList{}, errList
	}
	split := listHeader + int(n)*entryWidth
	l := edgeList{flags: b[0], entries: b[listHeader:split], blob: b[split:]}
	return l, l.check()
}

// check says whether the ends ascend and stay within the blob.
func (l edgeList) check() error {
	end := uint32(0)
	for i := 0; i < len(l.entries); i += entryWidth {
		far := binary.BigEndian.Uint32(l.entries[i+8:])
		data := binary.BigEndian.Uint32(l.entries[i+12:])
		if far < end || data < far {
			return errList
		}
		end = data
	}
	if uint64(end) != uint64(len(l.blob)) {
		return errList
	}
	return nil
}

func (l edgeList) len() int       { return len(l.entries) / entryWidth }
func (l edgeList) complete() bool { return l.flags&flagComplete != 0 }
func (l edgeList) capped() bool   { return l.flags&flagCapped != 0 }

// time returns the time of edge i.
func (l edgeList) time(i int) int64 {
	return int64(binary.BigEndian.Uint64(l.entries[i*entryWidth:]))
}

// bytes returns the far end and the data of edge i.
func (l edgeList) bytes(i int) (far, data []byte) {
	farEnd := binary.BigEndian.Uint32(l.entries[i*entryWidth+8:])
	return l.blob[l.end(i-1):farEnd], l.blob[farEnd:l.end(i)]
}

func (l edgeList) at(i int) edge {
	far, data := l.bytes(i)
	return edge{far: string(far), ms: l.time(i), data: data}
}

// data returns the data of edge i.
func (l edgeList) data(i int) []byte {
	_, data := l.bytes(i)
	return data
}

// slice returns edges i to j.
func (l edgeList) slice(i, j int) []edge {
	edges := make([]edge, 0, j-i)
	for n, far := range l.ends(i, j) {
		edges = append(edges, edge{far: far, ms: l.time(n), data: l.data(n)})
	}
	return edges
}

// maxSharedEnds is up to how many bytes of a list its far ends are parts of one string: one
// allocation instead of one for each, at the price that an ID keeps so much memory as long
// as it lives.
const maxSharedEnds = 512

// ends yields the far ends of edges i to j.
func (l edgeList) ends(i, j int) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		if i >= j {
			return
		}
		start, stop := l.end(i-1), l.end(j-1)
		var shared string
		if j > i+1 && stop-start <= maxSharedEnds {
			shared = string(l.blob[start:stop])
		}
		for ; i < j; i++ {
			from, to := l.end(i-1), binary.BigEndian.Uint32(l.entries[i*entryWidth+8:])
			var far string
			if shared != "" {
				far = shared[from-start : to-start]
			} else {
				far = string(l.blob[from:to])
			}
			if !yield(i, far) {
				return
			}
		}
	}
}

// end returns where edge i ends in the blob, 0 for that before the first.
func (l edgeList) end(i int) uint32 {
	if i < 0 {
		return 0
	}
	return binary.BigEndian.Uint32(l.entries[i*entryWidth+12:])
}

// find returns the index of the edge to the far end, or -1.
func (l edgeList) find(end string) int {
	for i := range l.len() {
		if far, _ := l.bytes(i); string(far) == end {
			return i
		}
	}
	return -1
}

// keyed reports whether each of the list's objects has n values by which it is ordered.
func (l edgeList) keyed(n int) bool {
	for i := range l.len() {
		_, data := l.bytes(i)
		if n == 0 {
			return len(data) == 0
		}
		r := keyReader{b: data}
		if values := r.values(); r.end() != nil || len(values) != n {
			return false
		}
	}
	return true
}

// answer returns which of the list's edges are in the span, and whether that is
// all of them. A list that is not complete answers only what ends before the list
// does: the times may tie, so an edge older than the span must be in the list, or
// the span's limit must be reached within it.
func (l edgeList) answer(s span) (from, to int, ok bool) {
	n := l.len()
	from, stop := 0, n
	if s.high.set {
		from = sort.Search(n, func(i int) bool { return l.time(i) <= s.high.ms })
	}
	if s.low.set {
		stop = sort.Search(n, func(i int) bool { return l.time(i) < s.low.ms })
	}
	known := stop < n || l.complete()
	from = addOffset(from, s.offset)
	if s.limit > 0 && from+s.limit <= stop && from+s.limit > from {
		return from, from + s.limit, true
	}
	from = min(from, stop)
	return from, max(from, stop), known
}

// addOffset adds without overflow.
func addOffset(i, offset int) int {
	if offset > math.MaxInt-i {
		return math.MaxInt
	}
	return i + offset
}

// appendList appends the edges as a list. It stops before the list grows beyond
// maxBytes, if that is not 0, and says whether it had to.
func appendList(b []byte, edges []edge, flags byte, maxBytes int) (list []byte, cut bool) {
	n, size := 0, listHeader
	for _, e := range edges {
		size += entryWidth + len(e.far) + len(e.data)
		if maxBytes > 0 && size > maxBytes {
			cut = true
			flags = flags&^flagComplete | flagCapped
			break
		}
		n++
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	end := 0
	for _, e := range edges[:n] {
		b = binary.BigEndian.AppendUint64(b, uint64(e.ms))
		b = binary.BigEndian.AppendUint32(b, uint32(end+len(e.far)))
		end += len(e.far) + len(e.data)
		b = binary.BigEndian.AppendUint32(b, uint32(end))
	}
	for _, e := range edges[:n] {
		b = append(append(b, e.far...), e.data...)
	}
	return b, cut
}
