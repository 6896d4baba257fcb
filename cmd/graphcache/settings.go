package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"

	"github.com/graphcache/graphcache/backends/mongo"
)

// settings says where a database differs from what graphcache makes, like the
// mongo.Options with which the program opens it. What is left out is as it is by default.
//
//	{
//	  "collection": "graphcache",
//	  "version":    "_v",
//	  "plain":      false,
//	  "indexes":    "ignore",
//	  "objects":    {"user": {"name": "users", "ids": "object"}},
//	  "edges":      {"follows": {"name": "follows", "from": "follower", "to": "followed", "time": "at"}}
//	}
//
// The ids are string, object, int or uuid. With indexes set to ignore it does not matter
// whether those are there that graphcache makes; otherwise it is a mistake if they are
// not, as this may be another database.
type settings struct {
	Database   string                     `json:"database"`
	Collection string                     `json:"collection"`
	Version    string                     `json:"version"`
	Plain      bool                       `json:"plain"`
	Indexes    string                     `json:"indexes"`
	Objects    map[string]objectsSettings `json:"objects"`
	Edges      map[string]edgesSettings   `json:"edges"`
}

type objectsSettings struct {
	Name string `json:"name"`
	IDs  string `json:"ids"`
}

type edgesSettings struct {
	Name string `json:"name"`
	From string `json:"from"`
	To   string `json:"to"`
	Time string `json:"time"`
	Data string `json:"data"`
	Kind string `json:"kind"`
}

var ids = map[string]*mongo.IDs{
	"": mongo.StringIDs, "string": mongo.StringIDs, "object": mongo.ObjectIDs, "int": mongo.IntIDs, "uuid": mongo.UUIDs,
}

// readSettings reads the file, if one is named.
func readSettings(path string) (*mongo.Options, error) {
	o := &mongo.Options{Indexes: mongo.RequireIndexes}
	if path == "" {
		return o, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var s settings
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	o.Database, o.Collection, o.Version, o.Plain = s.Database, s.Collection, s.Version, s.Plain
	switch s.Indexes {
	case "":
	case "ignore":
		o.Indexes = mongo.IgnoreIndexes
	default:
		return nil, fmt.Errorf("%s: indexes is %q, and can only be %q", path, s.Indexes, "ignore")
	}
	o.Objects, o.Edges = map[string]mongo.ObjectCollection{}, map[string]mongo.EdgeCollection{}
	for kind, c := range s.Objects {
		if ids[c.IDs] == nil {
			return nil, fmt.Errorf("%s: the ids of %s are %q, not string, object, int or uuid", path, kind, c.IDs)
		}
		o.Objects[kind] = mongo.ObjectCollection{Name: c.Name, IDs: ids[c.IDs]}
	}
	for kind, c := range s.Edges {
		o.Edges[kind] = mongo.EdgeCollection{Name: c.Name, From: c.From, To: c.To, Time: c.Time, Data: c.Data, Kind: c.Kind}
	}
	return o, nil
}
