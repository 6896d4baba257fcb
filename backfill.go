package graphcache

import (
	"context"
	"fmt"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// BackfillReport says what [Graph.Backfill] did.
type BackfillReport struct {
	// Read is how many records were looked at.
	Read int
	// Written is how many of them were not in the current layout, and were rewritten.
	Written int
}

const backfillChunk = 256

// Backfill rewrites the records of a kind, objects or edges, as this program would write
// them now: fields that have been renamed get their new names, fields that a record
// lacks get the zero value, and fields that the program does not know are kept. It is
// not needed for correct answers. It is needed before an older name is taken out of a
// `graph:"was=…"` tag, and it lets a store use its own index for a field that was renamed
// or added. It may run beside all other use, and again after an error, which leaves what
// has been done; the report counts it. It covers this graph's namespace.
func (g *Graph) Backfill(ctx context.Context, kind Kind) (report BackfillReport, err error) {
	objects, edges, err := coreOf(kind)
	if err != nil {
		wrap(&err, "backfill", "", "")
		return report, err
	}
	if objects != nil {
		err = g.backfillObjects(ctx, objects, &report)
		wrap(&err, "backfill", objects.name, "")
		return report, err
	}
	err = g.backfillEdges(ctx, edges, &report)
	wrap(&err, "backfill", edges.name, "")
	return report, err
}

// coreOf returns the object kind or the edge kind behind a Kind.
func coreOf(kind Kind) (*objectKind, *edgeKind, error) {
	s := NewSchema(kind)
	switch {
	case len(s.objects) == 1:
		return s.objects[0], nil, nil
	case len(s.edges) == 1:
		return nil, s.edges[0], nil
	}
	if len(s.indexes) == 1 {
		return nil, nil, fmt.Errorf("%w: the index %q is not a kind of objects or edges", ErrInvalid, s.indexes[0].name)
	}
	return nil, nil, fmt.Errorf("%w: the kind is nil", ErrInvalid)
}

func (g *Graph) backfillObjects(ctx context.Context, k *objectKind, report *BackfillReport) error {
	b, err := g.boundObject(k)
	if err != nil {
		return err
	}
	c := g.conn()
	step := driver.Step{Op: driver.FindObjects, Kind: k.name, Range: driver.Range{Limit: backfillChunk}}
	for {
		found, err := c.read(ctx, step)
		if err != nil || len(found[0].IDs) == 0 {
			return err
		}
		ids := found[0].IDs
		work := &bulk{c: c, kind: b}
		if err := work.write(ctx, ids, func(record *driver.Object) (driver.Document, error) { return relaid(k.plan, record.Doc) }); err != nil {
			report.Written += work.report.Written
			return err
		}
		report.Read += len(ids)
		report.Written += work.report.Written
		step.After = []driver.Value{ids[len(ids)-1]}
	}
}

// relaid returns the document in the current layout, nil if it is in that already.
func relaid(p *plan.Plan, doc driver.Document) (driver.Document, error) {
	now, err := p.Rewrite(doc)
	if err != nil {
		return nil, err
	}
	if now = p.Keep(now, doc); driver.Equal(now, doc) {
		return nil, nil
	}
	return now, nil
}

func (g *Graph) backfillEdges(ctx context.Context, k *edgeKind, report *BackfillReport) error {
	if _, err := g.boundEdge(k); err != nil {
		return err
	}
	step := driver.Step{Op: driver.ScanEdges, Kind: k.name, Range: driver.Range{Limit: backfillChunk}}
	for {
		found, err := g.conn().read(ctx, step)
		if err != nil {
			return err
		}
		edges, err := onlyList(found[0])
		if err != nil || len(edges) == 0 {
			return err
		}
		n, err := g.backfillChunk(ctx, k, edges)
		report.Written += n
		if err != nil {
			return err
		}
		report.Read += len(edges)
		last := edges[len(edges)-1]
		step.IDs = []string{last.From, last.To}
	}
}

// onlyList returns a result's only list.
func onlyList(r driver.Result) ([]driver.Edge, error) {
	if len(r.Lists) != 1 {
		return nil, errResult
	}
	return r.Lists[0], nil
}

// backfillChunk rewrites the edges that are not in the current layout. One that somebody
// else writes meanwhile is then in the layout of that program.
func (g *Graph) backfillChunk(ctx context.Context, k *edgeKind, edges []driver.Edge) (written int, err error) {
	var writes []driver.Write
	var anchors []anchor
	for _, e := range edges {
		data, err := relaid(k.plan, e.Data)
		if err != nil {
			return 0, fmt.Errorf("the edge from %q to %q: %w", e.From, e.To, err)
		}
		if data == nil {
			continue
		}
		now := e
		now.Version, now.Data = e.Version+1, data
		writes = append(writes, driver.Write{Op: driver.Replace, Kind: k.name, Edge: &now, Expect: e.Version})
		anchors = append(anchors, k.touched(e.From, e.To)...)
	}
	if len(writes) == 0 {
		return 0, nil
	}
	err = g.mutate(ctx, exactly(anchors...), func(ctx context.Context, s *session) error {
		results, err := s.writeAll(ctx, writes)
		for _, r := range results {
			if r.Outcome == driver.Done {
				written++
			}
		}
		return err
	})
	return written, err
}
