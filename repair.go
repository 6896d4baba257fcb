package graphcache

import (
	"context"
	"fmt"

	"github.com/graphcache/graphcache/driver"
)

// RepairReport says what [Graph.Repair] did.
type RepairReport struct {
	// Edges is how many edges were looked at.
	Edges int
	// Hanging is how many of them had an end that does not exist, and were
	// removed.
	Hanging int
	// Deletions is how many deletions that had been begun were finished.
	Deletions int
}

const repairChunk = 1024

// Repair removes what interrupted writes can leave behind: edges whose ends do not
// exist, from an Add that died between storing its edge and checking its ends, and
// objects whose deletion was begun. It reads every edge of every kind in the
// schema, in this graph's namespace, and may run beside all other use.
//
// An Add that is under way has its edge in the store before its ends are checked.
// So Repair removes an edge only if it finds it hanging, and the same edge still
// hanging one WriteTimeout later, when any Add that could have stored it has ended:
// a run takes at least that long if there are suspects. The report counts what was
// done also when an error ends it half-way.
func (g *Graph) Repair(ctx context.Context) (report RepairReport, err error) {
	defer wrap(&err, "repair", "", "")
	for _, k := range g.shared.schema.objects {
		results, err := g.conn().read(ctx, markedStep(k, ""))
		if err != nil {
			return report, err
		}
		n, err := g.finishDeletes(ctx, k, results[0].Objects)
		report.Deletions += n
		if err != nil {
			return report, err
		}
	}
	for _, k := range g.shared.schema.edges {
		if err := g.repairKind(ctx, k, &report); err != nil {
			return report, fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return report, nil
}

// repairKind removes the hanging edges of one kind.
func (g *Graph) repairKind(ctx context.Context, k *edgeKind, report *RepairReport) error {
	var suspects []driver.Edge
	var after []string
	for {
		results, err := g.conn().read(ctx, driver.Step{
			Op: driver.ScanEdges, Kind: k.name, IDs: after, Range: driver.Range{Limit: repairChunk},
		})
		if err != nil {
			return err
		}
		edges, err := onlyList(results[0])
		if err != nil {
			return err
		}
		if len(edges) == 0 {
			break
		}
		report.Edges += len(edges)
		hanging, err := g.hanging(ctx, k, edges)
		if err != nil {
			return err
		}
		suspects = append(suspects, hanging...)
		last := edges[len(edges)-1]
		after = []string{last.From, last.To}
	}
	if len(suspects) == 0 {
		return nil
	}
	if err := sleep(ctx, g.shared.opts.WriteTimeout); err != nil {
		return err
	}
	return g.removeHanging(ctx, k, suspects, report)
}

// hanging returns the edges with an end that does not exist.
func (g *Graph) hanging(ctx context.Context, k *edgeKind, edges []driver.Edge) ([]driver.Edge, error) {
	ends := map[*objectKind]map[string]bool{k.from: {}, k.to: {}}
	for _, e := range edges {
		ends[k.from][e.From], ends[k.to][e.To] = false, false
	}
	for kind, exists := range ends {
		step := driver.Step{Op: driver.GetObjects, Kind: kind.name}
		for id := range exists {
			step.IDs = append(step.IDs, id)
		}
		results, err := g.conn().read(ctx, step)
		if err != nil {
			return nil, err
		}
		if len(results[0].Objects) != len(step.IDs) {
			return nil, errResult
		}
		for i, o := range results[0].Objects {
			exists[step.IDs[i]] = o != nil && !o.Deleting
		}
	}
	var hanging []driver.Edge
	for _, e := range edges {
		if !ends[k.from][e.From] || !ends[k.to][e.To] {
			hanging = append(hanging, e)
		}
	}
	return hanging, nil
}

// removeHanging removes the suspects that still hang and are still the same record.
func (g *Graph) removeHanging(ctx context.Context, k *edgeKind, suspects []driver.Edge, report *RepairReport) error {
	for len(suspects) > 0 {
		chunk := suspects[:min(deleteChunk, len(suspects))]
		suspects = suspects[len(chunk):]
		hanging, err := g.hanging(ctx, k, chunk)
		if err != nil {
			return err
		}
		if len(hanging) == 0 {
			continue
		}
		n, err := g.conn().removeAll(ctx, k, hanging)
		report.Hanging += n
		if err != nil {
			return err
		}
	}
	return nil
}
