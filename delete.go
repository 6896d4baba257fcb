package graphcache

import (
	"context"
	"errors"
	"fmt"

	"github.com/graphcache/graphcache/driver"
)

// An object is deleted in three steps, each of them safe to repeat: mark its
// record, so that it reads as absent; remove its edges; remove the record. An Add
// that runs at the same time inserts its edge first and looks at the ends then, so
// either it sees the mark and takes its edge back, or the edge was there before the
// mark and is removed here.

// deleteChunk is how many edges one write of a deletion removes.
const deleteChunk = 256

// delete marks the object and removes it.
func (c conn) delete(ctx context.Context, k *objectKind, id string) error {
	return c.attempts(ctx, func() (bool, error) {
		present, err := c.readObject(ctx, k, id)
		switch {
		case err != nil:
			return true, err
		case present == nil:
			return true, ErrNotFound
		case !present.Deleting:
			marked := *present
			marked.Version++
			marked.Deleting = true
			res, err := k.writeObject(ctx, c, driver.Write{Op: driver.Replace, Object: &marked, Expect: present.Version})
			if err != nil || res.Outcome != driver.Done {
				return false, err
			}
			return true, c.finishDelete(ctx, k, &marked, res.Stamp)
		}
		return true, c.finishDelete(ctx, k, present, "")
	})
}

// finishDelete removes the edges and the record of an object that is marked, as it
// is known to have been at the stamp.
func (c conn) finishDelete(ctx context.Context, k *objectKind, marked *driver.Object, stamp driver.Stamp) error {
	own := *marked // edgesOf may change it
	marked = &own
	kinds, directions := c.g.shared.schema.edgesAt(k)
	for i, e := range kinds {
		if err := c.deleteEdges(ctx, e, directions[i], k, marked, stamp); err != nil {
			return fmt.Errorf("remove its %s edges: %w", e.name, err)
		}
	}
	// Whoever else finished the deletion meanwhile did the same.
	_, err := k.writeObject(ctx, c, driver.Write{Op: driver.Delete, Object: marked, Expect: marked.Version})
	return err
}

// deleteEdges removes the marked object's edges of one kind in one direction.
func (c conn) deleteEdges(ctx context.Context, e *edgeKind, d driver.Direction, k *objectKind, marked *driver.Object, stamp driver.Stamp) error {
	for stuck := 0; stuck < c.g.shared.opts.MaxAttempts; {
		edges, err := c.edgesOf(ctx, e, d, k, marked, stamp)
		if err != nil || len(edges) == 0 {
			return err
		}
		removed, err := c.removeAll(ctx, e, edges)
		if err != nil {
			return err
		}
		if removed > 0 {
			stuck = 0
			continue
		}
		stuck++
		if err := backoff(ctx, stuck); err != nil {
			return err
		}
	}
	return ErrConflict
}

// edgesOf returns some of the marked object's edges, none if there are no more. It
// looks at the mark after it has seen the edges:
//
//  1. A and B finish the same deletion; B removes the record
//  2. somebody creates an object with that ID and adds an edge to it
//  3. A lists the edges
//
// An edge that was there while the mark was still there is not of the new object.
func (c conn) edgesOf(ctx context.Context, e *edgeKind, d driver.Direction, k *objectKind, marked *driver.Object, stamp driver.Stamp) ([]driver.Edge, error) {
	results, err := c.readAt(ctx, stamp, driver.Step{
		Op: driver.ListEdges, Kind: e.name, Direction: d, IDs: []string{marked.ID},
		Range: driver.Range{Limit: deleteChunk},
	})
	if err != nil {
		return nil, err
	}
	if len(results[0].Lists) != 1 {
		return nil, errResult
	}
	edges := results[0].Lists[0]
	if len(edges) == 0 {
		return nil, nil
	}
	present, err := c.readObject(ctx, k, marked.ID)
	if err == nil && present == nil {
		present, err = c.markAgain(ctx, k, marked)
	}
	if err != nil || present == nil || present.Version != marked.Version {
		return nil, err
	}
	return edges, nil
}

// markAgain puts the mark back that another process removed before all edges were
// gone: its schema does not have all their kinds. It returns nil if somebody has
// created an object with that ID meanwhile.
func (c conn) markAgain(ctx context.Context, k *objectKind, marked *driver.Object) (*driver.Object, error) {
	marked.Version = newRecordVersion()
	res, err := k.writeObject(ctx, c, driver.Write{Op: driver.Insert, Object: marked})
	if err != nil || res.Outcome != driver.Done {
		return nil, err
	}
	return marked, nil
}

// removeAll removes the edges that are still as given, and says how many were.
func (c conn) removeAll(ctx context.Context, k *edgeKind, edges []driver.Edge) (removed int, err error) {
	var anchors []anchor
	writes := make([]driver.Write, len(edges))
	for i := range edges {
		e := &edges[i]
		anchors = append(anchors, k.touched(e.From, e.To)...)
		writes[i] = driver.Write{Op: driver.Delete, Kind: k.name, Edge: e, Expect: e.Version}
	}
	err = c.mutate(ctx, anchors, func(ctx context.Context, s *session) error {
		results, err := s.writeAll(ctx, writes)
		for _, r := range results {
			if r.Outcome == driver.Done {
				removed++
			}
		}
		return err
	})
	return removed, err
}

// markedStep asks for objects of the kind whose deletion has begun, after the ID
// given.
func markedStep(k *objectKind, after string) driver.Step {
	step := driver.Step{Op: driver.ScanDeleting, Kind: k.name, Range: driver.Range{Limit: deleteChunk}}
	if after != "" {
		step.IDs = []string{after}
	}
	return step
}

// resumeDeletes looks for deletions that were begun and not finished, and finishes
// them in the background.
func (g *Graph) resumeDeletes(ctx context.Context) error {
	var steps []driver.Step
	for _, k := range g.shared.schema.objects {
		steps = append(steps, markedStep(k, ""))
	}
	results, err := g.conn().read(ctx, steps...)
	if err != nil {
		return fmt.Errorf("graphcache: open: look for unfinished deletions: %w", err)
	}
	pending := map[*objectKind][]*driver.Object{}
	for i, k := range g.shared.schema.objects {
		if objects := results[i].Objects; len(objects) > 0 {
			pending[k] = objects
		}
	}
	if len(pending) == 0 {
		return nil
	}
	ctx = context.WithoutCancel(ctx)
	g.shared.spawn(func() {
		defer g.logPanic(ctx, "resume deletions")
		for k, objects := range pending {
			n, err := g.finishDeletes(ctx, k, objects)
			if err != nil && !errors.Is(err, errClosed) {
				g.shared.opts.Logger.WarnContext(ctx, "graphcache: unfinished deletions were not resumed",
					"kind", k.name, "resumed", n, "error", err)
			} else if n > 0 {
				g.shared.opts.Logger.InfoContext(ctx, "graphcache: resumed unfinished deletions", "kind", k.name, "objects", n)
			}
		}
	})
	return nil
}

// finishDeletes finishes the deletions of the objects, and of those marked after
// the last of them. One that fails does not keep the others from being tried; the
// error is the last.
func (g *Graph) finishDeletes(ctx context.Context, k *objectKind, objects []*driver.Object) (n int, failed error) {
	for len(objects) > 0 {
		for _, o := range objects {
			if err := g.conn().finishDelete(ctx, k, o, ""); err != nil {
				failed = fmt.Errorf("%s %q: %w", k.name, o.ID, err)
			} else {
				n++
			}
			if ctx.Err() != nil || g.shared.isClosed() {
				return n, failed
			}
		}
		results, err := g.conn().read(ctx, markedStep(k, objects[len(objects)-1].ID))
		if err != nil {
			return n, errors.Join(failed, err)
		}
		objects = results[0].Objects
	}
	return n, failed
}
