package tao

import (
	"fmt"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/driver"
)

// Object is an object of the graph, with the fields of a node of LinkBench.
type Object struct {
	ID      graphcache.ID[Object] `json:"id"`
	Write   int64                 `json:"write"` // the number of the write that this is from
	Type    int64                 `json:"type"`
	Created time.Time             `json:"created"`
	Data    []byte                `json:"data"`
}

// Link is the data of an edge.
type Link struct {
	Write int64  `json:"write"`
	Data  []byte `json:"data"`
}

// ID is that of an object.
type ID = graphcache.ID[Object]

// Edge is an edge of either kind.
type Edge = graphcache.Edge[Object, Object, Link]

// kinds is how many kinds of edges there are, as in LinkBench.
const kinds = 2

var (
	objects = graphcache.NewObjectKind[Object]("object")
	links   = [kinds]*graphcache.EdgeKind[Object, Object, Link]{
		graphcache.NewEdgeKind[Link]("link0", objects, objects).Family("link"),
		graphcache.NewEdgeKind[Link]("link1", objects, objects).Family("link"),
	}
	schema     = graphcache.NewSchema(objects, links[0], links[1])
	writeField = graphcache.FieldOf(objects, func(o *Object) *int64 { return &o.Write })
	dataField  = graphcache.FieldOf(objects, func(o *Object) *[]byte { return &o.Data })
)

// stored is the schema as a store takes it.
var stored = driver.Schema{
	Objects: []driver.ObjectKind{{Name: objects.Name()}},
	Edges: []driver.EdgeKind{
		{Name: links[0].Name(), From: objects.Name(), To: objects.Name(), Family: "link"},
		{Name: links[1].Name(), From: objects.Name(), To: objects.Name(), Family: "link"},
	},
}

// record returns the object as a store keeps it: what graphcache would write.
func (o *Object) record() *driver.Object {
	return &driver.Object{ID: string(o.ID), Version: o.Write + 1, Doc: driver.Document{
		{Name: "write", Value: o.Write}, {Name: "type", Value: o.Type},
		{Name: "created", Value: o.Created}, {Name: "data", Value: o.Data},
	}}
}

// objectOf is the opposite of record.
func objectOf(r *driver.Object) (*Object, error) {
	if r == nil || r.Deleting {
		return nil, nil
	}
	o := &Object{ID: ID(r.ID)}
	for _, f := range r.Doc {
		ok := true
		switch f.Name {
		case "write":
			o.Write, ok = f.Value.(int64)
		case "type":
			o.Type, ok = f.Value.(int64)
		case "created":
			o.Created, ok = f.Value.(time.Time)
		case "data":
			o.Data, ok = f.Value.([]byte)
		}
		if !ok {
			return nil, fmt.Errorf("object %s: field %s is a %T", r.ID, f.Name, f.Value)
		}
	}
	return o, nil
}

// recordOf returns the edge as a store keeps it.
func recordOf(e *Edge) *driver.Edge {
	return &driver.Edge{
		From: string(e.From), To: string(e.To), Time: e.Time, Version: e.Data.Write + 1,
		Data: driver.Document{{Name: "write", Value: e.Data.Write}, {Name: "data", Value: e.Data.Data}},
	}
}

// edgeOf is the opposite of recordOf.
func edgeOf(r *driver.Edge) (Edge, error) {
	e := Edge{From: ID(r.From), To: ID(r.To), Time: r.Time}
	for _, f := range r.Data {
		ok := true
		switch f.Name {
		case "write":
			e.Data.Write, ok = f.Value.(int64)
		case "data":
			e.Data.Data, ok = f.Value.([]byte)
		}
		if !ok {
			return e, fmt.Errorf("edge %s to %s: field %s is a %T", r.From, r.To, f.Name, f.Value)
		}
	}
	return e, nil
}

func edgesOf(records []driver.Edge) ([]Edge, error) {
	edges := make([]Edge, len(records))
	for i := range records {
		var err error
		if edges[i], err = edgeOf(&records[i]); err != nil {
			return nil, err
		}
	}
	return edges, nil
}
