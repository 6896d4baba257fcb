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

// delete marks the object and removes it. wanted, if it is not nil, looks at the record
// first, which may be nil, and reports whether it is to be deleted.
func (c conn) delete(ctx context.Context, k *objectKind, id string, wanted func(*driver.Object) (bool, error)) error {
	return c.attempts(ctx, func() (bool, error) {
		present, err := c.readObject(ctx, k, id)
		if err == nil && wanted != nil {
			if ok, err := wanted(present); err != nil || !ok {
				return true, err
			}
		}
		switch {
		case err != nil:
			return true, err
		case present == nil:
			return true, ErrNotFound
		case !present.Deleting:
			marked := *present
			marked.Version++
			marked.Deleting = true
			res, err := k.writeObject(ctx, c, driver.Write{Op: driver.Replace, Object: &marked, Expect: present.Version}, present)
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
	d := deletion{c: c, kind: k, marked: *marked, stamp: stamp}
	kinds, directions := c.g.shared.schema.edgesAt(k)
	for i, e := range kinds {
		if err := d.removeEdges(ctx, e, directions[i]); err != nil {
			return fmt.Errorf("remove its %s edges: %w", e.name, err)
		}
	}
	// Whoever else finished the deletion meanwhile did the same.
	_, err := k.writeObject(ctx, c, driver.Write{Op: driver.Delete, Object: &d.marked, Expect: d.marked.Version}, &d.marked)
	return err
}

// deletion is the removal of one marked object.
type deletion struct {
	c      conn
	kind   *objectKind
	marked driver.Object
	stamp  driver.Stamp // the record was marked then; all reads must see that
}

// removeEdges removes the object's edges of one kind in one direction.
func (d *deletion) removeEdges(ctx context.Context, e *edgeKind, direction driver.Direction) error {
	for stuck := 0; stuck < d.c.g.shared.opts.MaxAttempts; {
		edges, err := d.edges(ctx, e, direction)
		if err != nil || len(edges) == 0 {
			return err
		}
		removed, err := d.c.removeAll(ctx, e, edges)
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

// edges returns some of the object's edges, none if there are no more. It looks at
// the mark after it has seen the edges:
//
//  1. A and B finish the same deletion; B removes the record
//  2. somebody creates an object with that ID and adds an edge to it
//  3. A lists the edges
//
// An edge that was there while the mark was still there is not of the new object.
func (d *deletion) edges(ctx context.Context, e *edgeKind, direction driver.Direction) ([]driver.Edge, error) {
	results, err := d.c.readAt(ctx, d.stamp, driver.Step{
		Op: driver.ListEdges, Kind: e.name, Direction: direction, IDs: []string{d.marked.ID},
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
	if stands, err := d.stands(ctx); err != nil || !stands {
		return nil, err
	}
	return edges, nil
}

// stands reports whether the record is still there and marked by this deletion. If
// another process has removed it before all edges were gone, because its schema does
// not have all their kinds, the mark is put back; not if somebody has created an
// object with that ID since.
func (d *deletion) stands(ctx context.Context) (bool, error) {
	present, err := d.c.readObjectAt(ctx, d.kind, d.marked.ID, d.stamp)
	if err != nil {
		return false, err
	}
	if present != nil {
		return present.Version == d.marked.Version, nil
	}
	d.marked.Version = newRecordVersion()
	res, err := d.kind.writeObject(ctx, d.c, driver.Write{Op: driver.Insert, Object: &d.marked}, nil)
	d.stamp = max(d.stamp, res.Stamp)
	return res.Outcome == driver.Done, err
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
	err = c.mutate(ctx, exactly(anchors...), func(ctx context.Context, s *session) error {
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
			if err := ctx.Err(); err != nil {
				return n, errors.Join(failed, err)
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
