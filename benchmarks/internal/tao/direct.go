package tao

import (
	"context"
	"fmt"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/driver"
)

// direct reads and writes the store, with no cache.
type direct struct{ s driver.Store }

func (d direct) read(ctx context.Context, step driver.Step) (r driver.Result, err error) {
	results, err := d.s.Read(ctx, []driver.Step{step}, "")
	if err != nil {
		return r, err
	}
	return results[0], nil
}

func (d direct) object(ctx context.Context, id ID) (*Object, error) {
	r, err := d.read(ctx, driver.Step{Op: driver.GetObjects, Kind: objects.Name(), IDs: []string{string(id)}})
	if err != nil {
		return nil, err
	}
	return objectOf(r.Objects[0])
}

func (d direct) edge(ctx context.Context, kind int, from, to ID) (*Edge, error) {
	r, err := d.read(ctx, driver.Step{Op: driver.GetEdges, Kind: links[kind].Name(), IDs: []string{string(from)}, Ends: []string{string(to)}})
	if err != nil || len(r.Lists[0]) == 0 {
		return nil, err
	}
	e, err := edgeOf(&r.Lists[0][0])
	return &e, err
}

func (d direct) count(ctx context.Context, kind int, from ID) (int, error) {
	r, err := d.read(ctx, driver.Step{Op: driver.CountEdges, Kind: links[kind].Name(), IDs: []string{string(from)}})
	if err != nil {
		return 0, err
	}
	return r.Counts[0], nil
}

func (d direct) list(ctx context.Context, kind int, from ID, limit int) ([]Edge, error) {
	return d.ranged(ctx, kind, from, driver.Range{Limit: limit})
}

func (d direct) window(ctx context.Context, kind int, from ID, high, low time.Time, limit int) ([]Edge, error) {
	return d.ranged(ctx, kind, from, driver.Range{High: high, Low: low, Limit: limit})
}

func (d direct) ranged(ctx context.Context, kind int, from ID, span driver.Range) ([]Edge, error) {
	r, err := d.read(ctx, driver.Step{Op: driver.ListEdges, Kind: links[kind].Name(), IDs: []string{string(from)}, Range: span})
	if err != nil {
		return nil, err
	}
	return edgesOf(r.Lists[0])
}

// write makes one write, and turns outcomes into errors.
func (d direct) write(ctx context.Context, w driver.Write) error {
	results, err := d.s.Write(ctx, []driver.Write{w})
	if err != nil {
		return err
	}
	switch results[0].Outcome {
	case driver.Done:
		return nil
	case driver.Exists:
		return graphcache.ErrExists
	case driver.Missing:
		return graphcache.ErrNotFound
	case driver.Conflict:
		return graphcache.ErrConflict
	}
	return fmt.Errorf("write: %v", results[0].Outcome)
}

func (d direct) create(ctx context.Context, o *Object) error {
	return d.write(ctx, driver.Write{Op: driver.Insert, Kind: objects.Name(), Object: o.record()})
}

func (d direct) update(ctx context.Context, o *Object) error {
	return d.write(ctx, driver.Write{Op: driver.Replace, Kind: objects.Name(), Object: o.record()})
}

func (d direct) remove(ctx context.Context, id ID) error {
	return d.write(ctx, driver.Write{Op: driver.Delete, Kind: objects.Name(), Object: &driver.Object{ID: string(id), Version: 1}})
}

func (d direct) add(ctx context.Context, kind int, e *Edge) (created bool, err error) {
	for { // until nobody adds or removes the edge meanwhile
		err = d.write(ctx, driver.Write{Op: driver.Insert, Kind: links[kind].Name(), Edge: recordOf(e)})
		if err == nil || !isNothing(err) {
			return err == nil, err
		}
		err = d.write(ctx, driver.Write{Op: driver.Replace, Kind: links[kind].Name(), Edge: recordOf(e)})
		if err == nil || !isNothing(err) {
			return false, err
		}
	}
}

func (d direct) removeEdge(ctx context.Context, kind int, from, to ID) error {
	return d.write(ctx, driver.Write{
		Op: driver.Delete, Kind: links[kind].Name(), Edge: &driver.Edge{From: string(from), To: string(to), Version: 1},
	})
}

func (d direct) changeKind(ctx context.Context, kind int, from, to ID) error {
	return d.write(ctx, driver.Write{
		Op: driver.Rekind, Kind: links[kind].Name(), NewKind: links[1-kind].Name(),
		Edge: &driver.Edge{From: string(from), To: string(to), Version: 1},
	})
}

func (d direct) lookups() (hits, near, misses int64) { return 0, 0, 0 }
func (d direct) settle(context.Context) error        { return nil }
func (d direct) close(context.Context)               {}
