package lincheck

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"
)

// What processes tell each other is numbers: how many there are, as an unsigned varint, and
// each as a signed one. The first says which message it is.

// What the first number says, and in the comments what follows.
const (
	// To a process:
	hire       = iota // what [crew.hire] sends
	runRound          // its number, when it ends, the cells
	soakRound         // its number, when it ends, the process's sequences; for each the next write, and from when on
	cellClosed        // the cell, which is not to be written in this round

	// From a process:
	ready      // nothing
	begun      // client, cell, time, effects: of a write
	ended      // client, cell, outcome, when called and returned, effects: of an operation
	writeBegun // sequence, number, time
	writeEnded // sequence, number, outcome, time
	seen       // sequence, view, when called and returned, what was returned
	notSeen    // nothing: a read has failed
	roundOver  // what [countsOf] returns
)

// million is what a share is multiplied by to be sent.
const million = 1e6

// wire is one direction of a connection between processes.
type wire struct {
	mu sync.Mutex
	w  *bufio.Writer // protected by mu
}

func newWire(w io.Writer) *wire { return &wire{w: bufio.NewWriter(w)} }

// send sends a message, which may wait for the next that is sent at once. Whoever is at the
// other end finds out himself when the connection is broken.
func (w *wire) send(atOnce bool, message ...int64) {
	b := binary.AppendUvarint(nil, uint64(len(message)))
	for _, n := range message {
		b = binary.AppendVarint(b, n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_, _ = w.w.Write(b)
	if atOnce {
		_ = w.w.Flush()
	}
}

// begun tells of a write before it is made, so that it is known even if nobody is left to
// tell of its end.
func (w *wire) begun(c *client, called int64, effects []effect) {
	w.send(true, appendEffects([]int64{begun, int64(c.id), int64(c.cell.n), called}, effects)...)
}

// ended tells of an operation. A write of unknown outcome closes its cell, so it must not wait.
func (w *wire) ended(c *client, o outcome, called, returned int64, effects []effect) {
	if o == readFailed || o == refused {
		effects = nil
	}
	m := []int64{ended, int64(c.id), int64(c.cell.n), int64(o), called, returned}
	w.send(o == unknown || o == halfWay, appendEffects(m, effects)...)
}

// longest is how many numbers a message can have.
const longest = 1 << 16

// parcel is a message that is being read. What is behind its end is 0.
type parcel struct{ rest []int64 }

// receive receives a message.
func receive(r *bufio.Reader) (*parcel, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n > longest {
		return nil, fmt.Errorf("lincheck: a message of %d numbers: something else is on the line", n)
	}
	p := &parcel{make([]int64, n)}
	for i := range p.rest {
		if p.rest[i], err = binary.ReadVarint(r); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *parcel) take() int64 {
	if len(p.rest) == 0 {
		return 0
	}
	n := p.rest[0]
	p.rest = p.rest[1:]
	return n
}

func appendEffects(b []int64, effects []effect) []int64 {
	for _, e := range effects {
		b = append(b, int64(e.partition.n))
		b = appendValue(b, e.in)
		b = appendValue(b, e.out)
	}
	return b
}

// effects takes what [appendEffects] has appended.
func (p *parcel) effects(partitions []*partition) (effects []effect) {
	for len(p.rest) > 0 {
		e := effect{partition: partitions[p.take()]}
		e.in, e.out = p.value(), p.value()
		effects = append(effects, e)
	}
	return effects
}

// The types of inputs and outputs.
const (
	noValue = iota
	aDone
	aBool
	anInt
	anInt64
	aMembers
	anItemState
	anEdgeState
	edgeStates // and how many
	anItemCall
	aListCall
	aMemberCall
)

var (
	itemVerbs   = []itemVerb{getItem, createItem, putItem, updateItem, moveItem, applyItem, deleteItem}
	listVerbs   = []listVerb{addEdge, removeEdge, listEdges, countEdges, existEdges, getEdge}
	memberVerbs = []memberVerb{setMember, listMembers, countMembers, existMembers}
)

// appendValue appends an input or an output.
func appendValue(b []int64, v any) []int64 {
	switch v := v.(type) {
	case nil:
		return append(b, noValue)
	case done:
		return append(b, aDone)
	case bool:
		return append(b, aBool, number(v))
	case int:
		return append(b, anInt, int64(v))
	case int64:
		return append(b, anInt64, v)
	case members:
		return append(b, aMembers, int64(v))
	case itemState:
		return append(b, anItemState, v.value, int64(v.city), v.count)
	case edgeState:
		return appendEdge(append(b, anEdgeState), v)
	case []edgeState:
		b = append(b, edgeStates, int64(len(v)))
		for _, e := range v {
			b = appendEdge(b, e)
		}
		return b
	case itemCall:
		return append(b, anItemCall, int64(slices.Index(itemVerbs, v.verb)), v.value, int64(v.city))
	case listCall:
		b = appendEdge(append(b, aListCall, int64(slices.Index(listVerbs, v.verb))), v.edge)
		return append(b, int64(v.span.low), int64(v.span.high), int64(v.span.offset), int64(v.span.limit))
	case memberCall:
		return append(b, aMemberCall, int64(slices.Index(memberVerbs, v.verb)), int64(v.item), number(v.in), int64(v.limit))
	}
	panic(fmt.Sprintf("lincheck: a %T is no input or output", v))
}

func number(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func appendEdge(b []int64, e edgeState) []int64 {
	return append(b, int64(e.end), int64(e.rank), e.value)
}

func (p *parcel) edge() edgeState { return edgeState{int(p.take()), int(p.take()), p.take()} }

// value takes an input or an output.
func (p *parcel) value() any {
	switch t := p.take(); t {
	case noValue:
		return nil
	case aDone:
		return done{}
	case aBool:
		return p.take() != 0
	case anInt:
		return int(p.take())
	case anInt64:
		return p.take()
	case aMembers:
		return members(p.take())
	case anItemState:
		return itemState{p.take(), int(p.take()), p.take()}
	case anEdgeState:
		return p.edge()
	case edgeStates:
		edges := make([]edgeState, p.take())
		for i := range edges {
			edges[i] = p.edge()
		}
		return edges
	case anItemCall:
		return itemCall{itemVerbs[p.take()], p.take(), int(p.take())}
	case aListCall:
		return listCall{listVerbs[p.take()], p.edge(), span{int(p.take()), int(p.take()), int(p.take()), int(p.take())}}
	case aMemberCall:
		return memberCall{memberVerbs[p.take()], int(p.take()), p.take() != 0, int(p.take())}
	default:
		panic(fmt.Sprintf("lincheck: %d is no type of an input or output", t))
	}
}
