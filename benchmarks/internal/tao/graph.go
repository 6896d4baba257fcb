package tao

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// maxDegree is the longest list: what one query of TAO returns at most.
const maxDegree = 6000

// day and the days over which the times of edges are spread, as in LinkBench.
const (
	day  = 24 * time.Hour
	days = 50
)

// The means of lengths in bytes, and the share of edges that have no data: TAO, table of
// payloads. Their shape, lognormal with σ = 1, is LinkBench's.
const (
	objectBytes = 673
	linkBytes   = 97.8
	linksEmpty  = 0.395
)

// degrees are points of the distribution of how many edges start at an object:
// LinkBench's nlinks, cut at maxDegree.
var degrees = []struct {
	share  float64 // of objects with at most so many edges
	degree float64
}{
	{0.453, 0}, {0.775, 1}, {0.870, 2}, {0.958, 5}, {0.99, 15}, {0.999, 264}, {0.9999, 6051}, {1, 24000},
}

// Graph is a graph of LinkBench's shape. It is a function of its size and the seed: what is
// in it is computed whenever it is asked for. Objects have numbers from 0. Those from size on are
// spare: they do not exist in the beginning.
type Graph struct {
	size int
	seed uint64
	ids  []ID // of the objects, spare ones included
	// degree is how many edges start at an object, count how many of them are of a kind.
	degree []uint16
	count  [kinds][]uint16
	begin  time.Time // of all edges
	text   []byte    // of which all data is a part
	bytes  int       // of all values, without what it takes to keep them
}

// NewGraph returns a graph of so many objects.
func NewGraph(size int, seed uint64) *Graph {
	g := &Graph{
		size: size, seed: seed, ids: make([]ID, 2*size), degree: make([]uint16, size),
		begin: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), text: text(seed),
	}
	for i := range g.ids {
		g.ids[i] = ID(fmt.Sprintf("%08d", i))
	}
	for kind := range g.count {
		g.count[kind] = make([]uint16, size)
	}
	order := g.byDegree()
	for rank := range size {
		i := order.at(rank)
		g.degree[i] = uint16(min(degreeOf(1-(float64(rank)+0.5)/float64(size)), maxDegree, size-1))
		g.bytes += len(g.data(i, 0)) + 24
		for j := range int(g.degree[i]) {
			g.count[g.kindOf(i, j)][i]++
			g.bytes += len(g.linkData(i, j, 0)) + 20
		}
	}
	return g
}

// byDegree returns the order of the objects by how many edges start at them, most first.
func (g *Graph) byDegree() shuffle { return newShuffle(g.size, mix(g.seed, 1)) }

// degreeOf returns the degree that so large a share of objects do not exceed.
func degreeOf(share float64) int {
	for i := 1; i < len(degrees); i++ {
		a, b := degrees[i-1], degrees[i]
		switch {
		case share < degrees[0].share:
			return 0
		case share > b.share:
			continue
		case b.degree-a.degree <= 1:
			return int(b.degree)
		}
		// A power law between the points: straight where both are logarithms.
		x := math.Log((1-a.share)/(1-share)) / math.Log((1-a.share)/max(1-b.share, 1e-6))
		return int(math.Ceil(a.degree * math.Pow(b.degree/a.degree, x)))
	}
	return maxDegree
}

// text returns random letters.
func text(seed uint64) []byte {
	const letters = "etaoin shrdlu cmfwyp vbgkqjxz0123456789ETAOINSHRDLUCMFWYPVBGKQJX"
	b := make([]byte, 1<<20)
	for i := range b {
		b[i] = letters[mix(seed, uint64(i))%uint64(len(letters))]
	}
	return b
}

// payload returns so many bytes of text, nil if there are to be none.
func (g *Graph) payload(h uint64, n int) []byte {
	if n == 0 {
		return nil
	}
	n = min(n, 1<<16)
	at := int(h % uint64(len(g.text)-n))
	return g.text[at : at+n : at+n]
}

// data returns the data that a write gives an object.
func (g *Graph) data(i int, write int64) []byte {
	h := mix(mix(g.seed, 2), mix(uint64(i), uint64(write)))
	return g.payload(h, lognormal(h, objectBytes))
}

// linkData returns the data that a write gives the edge number j of an object.
func (g *Graph) linkData(i, j int, write int64) []byte {
	h := mix(mix(g.seed, 3), mix(mix(uint64(i), uint64(j)), uint64(write)))
	if unit(h) < linksEmpty {
		return nil
	}
	return g.payload(h, lognormal(mix(h, 1), linkBytes))
}

// end returns the object to which the edge number j leads: those that come after the one
// where it starts, as in LinkBench.
func (g *Graph) end(i, j int) int { return (i + 1 + j) % g.size }

// numberOf is the opposite of end.
func (g *Graph) numberOf(i, end int) int { return (end - i - 1 + 2*g.size) % g.size }

// kindOf returns the kind of the edge number j of an object. One that is added has the kind
// too that an edge of its number would have had.
func (g *Graph) kindOf(i, j int) int {
	return int(mix(mix(g.seed, 4), mix(uint64(i), uint64(j))) % kinds)
}

// has reports whether there is an edge in the beginning.
func (g *Graph) has(kind, i, end int) bool {
	if i >= g.size || end >= g.size {
		return false
	}
	j := g.numberOf(i, end)
	return j < int(g.degree[i]) && g.kindOf(i, j) == kind
}

func (g *Graph) typeOf(i int) int64 { return int64(mix(mix(g.seed, 5), uint64(i)) % 100) }

// object returns the object as it is in the beginning.
func (g *Graph) object(i int) *Object {
	return &Object{
		ID: g.ids[i], Type: g.typeOf(i), Created: g.begin, Data: g.data(i, 0),
	}
}

// edge returns the edge number j as it is in the beginning.
func (g *Graph) edge(i, j int) *Edge {
	at := time.Duration(unit(mix(mix(g.seed, 6), mix(uint64(i), uint64(j)))) * float64(days*day))
	return &Edge{
		From: g.ids[i], To: g.ids[g.end(i, j)], Time: g.begin.Add(at).Truncate(time.Millisecond),
		Data: Link{Data: g.linkData(i, j, 0)},
	}
}

// number returns the number of an object.
func number(id ID) int {
	i, err := strconv.Atoi(string(id))
	if err != nil {
		return -1
	}
	return i
}

// load writes the graph to a store that has nothing yet.
func (g *Graph) load(ctx context.Context, s driver.Store) error {
	if err := s.Ensure(ctx, stored); err != nil {
		return err
	}
	var batch []driver.Write
	flush := func() error {
		results, err := s.Write(ctx, batch)
		for i := range results {
			if err == nil && results[i].Outcome != driver.Done {
				err = fmt.Errorf("load the graph: %v", results[i].Outcome)
			}
		}
		batch = batch[:0]
		return err
	}
	add := func(w driver.Write) error {
		batch = append(batch, w)
		if len(batch) == 2000 {
			return flush()
		}
		return nil
	}
	for i := range g.size {
		if err := add(driver.Write{Op: driver.Insert, Kind: objects.Name(), Object: g.object(i).record()}); err != nil {
			return err
		}
	}
	for i := range g.size {
		for j := range int(g.degree[i]) {
			kind := links[g.kindOf(i, j)].Name()
			if err := add(driver.Write{Op: driver.Insert, Kind: kind, Edge: recordOf(g.edge(i, j))}); err != nil {
				return err
			}
		}
	}
	return flush()
}
