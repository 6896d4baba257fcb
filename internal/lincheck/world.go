package lincheck

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/graphcache/graphcache"
)

// The schema: items, which an index finds by their city, and nodes with links. Nodes are
// never written, so a write of a link touches its two lists and nothing else.

type itemRecord struct {
	ID    graphcache.ID[itemRecord] `json:"id"`
	Value int64                     `json:"value"`
	City  string                    `json:"city" graph:"index"`
	Count int64                     `json:"count"`
}

type nodeRecord struct {
	ID   graphcache.ID[nodeRecord] `json:"id"`
	Name string                    `json:"name"`
}

type linkData struct {
	Value int64 `json:"value"`
}

type (
	itemID = graphcache.ID[itemRecord]
	nodeID = graphcache.ID[nodeRecord]
	link   = graphcache.Edge[nodeRecord, nodeRecord, linkData]
)

var (
	items     = graphcache.NewObjectKind[itemRecord]("item")
	nodes     = graphcache.NewObjectKind[nodeRecord]("node")
	links     = graphcache.NewEdgeKind[linkData]("link", nodes, nodes)
	itemValue = graphcache.OrderedFieldOf(items, func(i *itemRecord) *int64 { return &i.Value })
	itemCity  = graphcache.StringFieldOf(items, func(i *itemRecord) *string { return &i.City })
	itemCount = graphcache.OrderedFieldOf(items, func(i *itemRecord) *int64 { return &i.Count })
	schema    = graphcache.NewSchema(items, nodes, links)
)

// The records of a cell: items that move between cities, and hubs with links to the same
// ends. The list of hub 0 has fixed links besides, so many that it is longer than what
// is loaded of a list at first.
const (
	cellItems  = 4
	cellCities = 3
	cellHubs   = 2
	cellEnds   = maxEnds
	fixedLinks = 80
	ranks      = 1000
)

// world is the graphs that are checked.
type world struct {
	graphs []*graphcache.Graph
	cells  int
}

// openGraphs opens a graph on each cache.
func openGraphs(ctx context.Context, cfg *Config) (*world, error) {
	w := &world{cells: cfg.Cells}
	for _, cache := range cfg.Caches {
		opts := cfg.Options
		opts.Cache = cache
		g, err := graphcache.Open(ctx, schema, cfg.Store, &opts)
		if err != nil {
			w.close(ctx)
			return nil, err
		}
		w.graphs = append(w.graphs, g)
	}
	return w, nil
}

// openWorld opens a graph on each cache and creates the nodes and the fixed links.
func openWorld(ctx context.Context, cfg *Config) (*world, error) {
	w, err := openGraphs(ctx, cfg)
	if err != nil {
		return nil, err
	}
	errs := make([]error, w.cells)
	var wg sync.WaitGroup
	for cell := range w.cells {
		wg.Go(func() { errs[cell] = w.fill(ctx, cell) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		w.close(ctx)
		return nil, fmt.Errorf("create the nodes: %w", err)
	}
	time.Sleep(cfg.Stale)
	return w, nil
}

func (w *world) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, g := range w.graphs {
		_ = g.Close(ctx) // what is still under way then ends with the backends
	}
}

// graph returns the graph whose turn it is for a client.
func (w *world) graph(client int) *graphcache.Graph { return w.graphs[client%len(w.graphs)] }

func (w *world) fill(ctx context.Context, cell int) error {
	g := w.graphs[0]
	for hub := range cellHubs {
		if err := insist(func() error { return nodes.Put(ctx, g, &nodeRecord{ID: hubID(cell, hub)}) }); err != nil {
			return err
		}
	}
	for end := range cellEnds + fixedLinks {
		if err := insist(func() error { return nodes.Put(ctx, g, &nodeRecord{ID: endID(cell, end)}) }); err != nil {
			return err
		}
	}
	for _, e := range fixedEdges() {
		err := insist(func() error {
			_, err := links.AddEdge(ctx, g, e.link(hubID(cell, 0), endID(cell, e.end)))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// insist repeats a write that a busy machine, with time-outs that are short, refuses or does
// not confirm.
func insist(write func() error) (err error) {
	for range 20 {
		if err = write(); !errors.Is(err, graphcache.ErrUnavailable) && !errors.Is(err, graphcache.ErrUnknownOutcome) {
			return err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

func itemAt(cell, item int) itemID { return itemID(fmt.Sprintf("i%03d-%d", cell, item)) }
func hubID(cell, hub int) nodeID   { return nodeID(fmt.Sprintf("h%03d-%d", cell, hub)) }
func endID(cell, end int) nodeID   { return nodeID(fmt.Sprintf("n%03d-%03d", cell, end)) }
func cityName(cell, city int) string {
	return fmt.Sprintf("c%03d-%d", cell, city)
}

// lastNumber returns the number at the end of a name.
func lastNumber[S ~string](name S) int {
	s := string(name)
	n, err := strconv.Atoi(s[strings.LastIndexByte(s, '-')+1:])
	if err != nil {
		return -1
	}
	return n
}

// rankTime returns the time of links of a rank.
func rankTime(rank int) time.Time {
	return time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rank) * time.Millisecond)
}

// fixedEdges returns the fixed links in the order of the list, their ranks between all
// others.
func fixedEdges() (edges []edgeState) {
	for i := range fixedLinks {
		edges = append(edges, edgeState{end: cellEnds + i, rank: (fixedLinks - i) * ranks / (fixedLinks + 1), value: int64(-1 - i)})
	}
	return edges
}

func (e edgeState) link(from, to nodeID) link {
	return link{From: from, To: to, Time: rankTime(e.rank), Data: linkData{e.value}}
}

// edgeOf returns a link in the list of one of its ends, the other of which is far.
func edgeOf(l *link, far nodeID) edgeState {
	return edgeState{end: lastNumber(far), rank: int(l.Time.Sub(rankTime(0)).Milliseconds()), value: l.Data.Value}
}
