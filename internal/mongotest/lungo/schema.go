package main

import (
	"slices"
	"strings"

	"github.com/256dpi/lungo/mongokit"
	"go.mongodb.org/mongo-driver/bson"
)

// alter runs a change of the schema under the lock, once no open transaction
// has written to the collections that it touches.
func (s *Server) alter(c *command, touches func(namespace) bool, run func() ([]change, bson.D, error)) (bson.D, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for until := c.until(lockWait); s.writesLocked(touches); {
		if !s.waitLocked(until) {
			return nil, fail(codeMaxTimeExpired, "operation exceeded time limit while waiting for a transaction")
		}
	}
	changes, reply, err := run()
	if err == nil && len(changes) > 0 {
		err = s.commitLocked(changes, nil)
	}
	return reply, err
}

// alterCollection is alter for the collection that the command names.
func (s *Server) alterCollection(c *command, run func(ns namespace, coll *collection) ([]change, bson.D, error)) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	return s.alter(c, func(n namespace) bool { return n == ns }, func() ([]change, bson.D, error) {
		return run(ns, s.latest.collections[ns])
	})
}

// preImageOptions checks the one option a collection may have.
func (c *command) preImageOptions() (bson.D, error) {
	if !has(c.body, "changeStreamPreAndPostImages") {
		return nil, nil
	}
	spec := c.doc("changeStreamPreAndPostImages")
	if _, ok := lookup(spec, "enabled").(bool); !ok || len(spec) != 1 {
		return nil, fail(codeFailedToParse, "changeStreamPreAndPostImages needs {enabled: <bool>}")
	}
	return bson.D{{Key: "changeStreamPreAndPostImages", Value: spec}}, nil
}

func (s *Server) create(c *command) (bson.D, error) {
	options, err := c.preImageOptions()
	if err != nil {
		return nil, err
	}
	return s.alterCollection(c, func(ns namespace, coll *collection) ([]change, bson.D, error) {
		if coll != nil {
			return nil, nil, fail(codeNamespaceExists, "Collection %s already exists.", ns)
		}
		return []change{{Kind: opCreate, DB: ns.db, Coll: ns.coll, Spec: options}}, nil, nil
	})
}

func (s *Server) collMod(c *command) (bson.D, error) {
	options, err := c.preImageOptions()
	if err != nil {
		return nil, err
	}
	return s.alterCollection(c, func(ns namespace, coll *collection) ([]change, bson.D, error) {
		if coll == nil {
			return nil, nil, fail(codeNamespaceNotFound, "ns does not exist")
		}
		if options == nil {
			return nil, nil, nil
		}
		return []change{{Kind: opModify, DB: ns.db, Coll: ns.coll, Spec: options}}, nil, nil
	})
}

func (s *Server) drop(c *command) (bson.D, error) {
	return s.alterCollection(c, func(ns namespace, coll *collection) ([]change, bson.D, error) {
		if coll == nil {
			return nil, nil, nil
		}
		reply := bson.D{{Key: "nIndexesWas", Value: int32(len(coll.indexes))}, {Key: "ns", Value: ns.String()}}
		return []change{{Kind: opDrop, DB: ns.db, Coll: ns.coll}}, reply, nil
	})
}

func (s *Server) dropDatabase(c *command) (bson.D, error) {
	return s.alter(c, func(n namespace) bool { return n.db == c.db }, func() ([]change, bson.D, error) {
		if len(s.latest.names(c.db)) == 0 {
			return nil, nil, nil
		}
		return []change{{Kind: opDropDatabase, DB: c.db}}, bson.D{{Key: "dropped", Value: c.db}}, nil
	})
}

// listing answers with a cursor over documents that pass the filter.
func (s *Server) listing(c *command, ns namespace, docs []bson.D) (bson.D, error) {
	filter, err := c.filter("filter")
	if err != nil {
		return nil, err
	}
	var passed []bson.D
	for _, doc := range docs {
		ok, err := mongokit.Match(&doc, &filter)
		if err != nil {
			return nil, err
		}
		if ok {
			passed = append(passed, doc)
		}
	}
	return s.openCursor(c, &cursor{ns: ns, docs: passed}, c.doc("cursor"))
}

func (s *Server) listCollections(c *command) (bson.D, error) {
	s.mu.Lock()
	data := s.latest
	s.mu.Unlock()
	var docs []bson.D
	for _, name := range data.names(c.db) {
		coll := data.collections[namespace{c.db, name}]
		doc := bson.D{{Key: "name", Value: name}, {Key: "type", Value: "collection"}}
		if !truthy(c.get("nameOnly")) {
			options := coll.options
			if options == nil {
				options = bson.D{}
			}
			doc = append(doc,
				bson.E{Key: "options", Value: options},
				bson.E{Key: "info", Value: bson.D{{Key: "readOnly", Value: false}}},
				bson.E{Key: "idIndex", Value: coll.indexes[0].spec.document()})
		}
		docs = append(docs, doc)
	}
	return s.listing(c, namespace{c.db, "$cmd.listCollections"}, docs)
}

func (s *Server) listDatabases(c *command) (bson.D, error) {
	s.mu.Lock()
	data := s.latest
	s.mu.Unlock()
	var names []string
	for ns := range data.collections {
		if !slices.Contains(names, ns.db) {
			names = append(names, ns.db)
		}
	}
	slices.Sort(names)
	filter, err := c.filter("filter")
	if err != nil {
		return nil, err
	}
	list := bson.A{}
	for _, name := range names {
		doc := bson.D{{Key: "name", Value: name}, {Key: "sizeOnDisk", Value: int64(1)}, {Key: "empty", Value: false}}
		if ok, err := mongokit.Match(&doc, &filter); err != nil {
			return nil, err
		} else if ok {
			list = append(list, doc)
		}
	}
	return bson.D{{Key: "databases", Value: list}, {Key: "totalSize", Value: int64(len(list))}}, nil
}

func (s *Server) createIndexes(c *command) (bson.D, error) {
	var specs []indexSpec
	for _, item := range c.list("indexes") {
		doc, _ := item.(bson.D)
		spec, err := parseIndex(doc)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	if len(specs) == 0 {
		return nil, fail(codeBadValue, "Must specify at least one index to create")
	}
	return s.alterCollection(c, func(ns namespace, coll *collection) ([]change, bson.D, error) {
		var changes []change
		created := coll == nil
		if created {
			coll = newCollection(nil)
			changes = append(changes, change{Kind: opCreate, DB: ns.db, Coll: ns.coll})
		}
		indexes := slices.Clone(coll.indexes)
		for _, spec := range specs {
			known, err := conflicts(indexes, spec)
			if err != nil {
				return nil, nil, err
			}
			if known {
				continue
			}
			if err := buildable(ns, coll, spec); err != nil {
				return nil, nil, err
			}
			indexes = append(indexes, newIndex(spec))
			changes = append(changes, change{Kind: opCreateIndex, DB: ns.db, Coll: ns.coll, Index: &spec})
		}
		return changes, bson.D{
			{Key: "numIndexesBefore", Value: int32(len(coll.indexes))},
			{Key: "numIndexesAfter", Value: int32(len(indexes))},
			{Key: "createdCollectionAutomatically", Value: created},
		}, nil
	})
}

func parseIndex(doc bson.D) (indexSpec, error) {
	var spec indexSpec
	for _, e := range doc {
		ok := true
		switch e.Key {
		case "v", "background":
		case "name":
			spec.Name, ok = e.Value.(string)
		case "key":
			spec.Key, ok = e.Value.(bson.D)
		case "unique":
			spec.Unique = truthy(e.Value)
		case "sparse":
			spec.Sparse = truthy(e.Value)
		case "partialFilterExpression":
			if spec.Partial, ok = e.Value.(bson.D); ok {
				var err error
				if spec.Partial, err = prepareFilter(spec.Partial); err != nil {
					return spec, err
				}
				if err := checkPartial(spec.Partial); err != nil {
					return spec, err
				}
			}
		default:
			return spec, fail(codeNotSupported, "the index option '%s' is not supported", e.Key)
		}
		if !ok {
			return spec, fail(codeTypeMismatch, "the index option '%s' has the wrong type", e.Key)
		}
	}
	if len(spec.Key) == 0 || spec.Name == "" {
		return spec, fail(codeFailedToParse, "an index needs a key and a name")
	}
	if spec.Sparse && spec.Partial != nil {
		return spec, fail(codeCannotCreateIndex, "cannot mix \"partialFilterExpression\" and \"sparse\" options")
	}
	if err := checkOrder(spec.Key); err != nil {
		return spec, fail(codeCannotCreateIndex, "%v", err)
	}
	return spec, nil
}

// checkPartial refuses the operators that a partial index cannot have.
func checkPartial(filter bson.D) error {
	for _, e := range filter {
		ops := bson.D{{Key: "$eq"}}
		switch value := e.Value.(type) {
		case bson.A:
			if e.Key == "$and" || e.Key == "$or" {
				for _, sub := range value {
					if err := checkPartial(sub.(bson.D)); err != nil {
						return err
					}
				}
				continue
			}
		case bson.D:
			if isExpression(value) {
				ops = value
			}
		}
		if strings.HasPrefix(e.Key, "$") {
			ops = bson.D{{Key: e.Key}}
		}
		for _, op := range ops {
			switch op.Key {
			case "$eq", "$gt", "$gte", "$lt", "$lte", "$in", "$type":
				continue
			case "$exists":
				if truthy(op.Value) {
					continue
				}
			}
			return fail(codeCannotCreateIndex, "Expression not supported in partial index: %s", op.Key)
		}
	}
	return nil
}

// conflicts tells whether the index exists already, and refuses one that is
// too much like another.
func conflicts(indexes []*index, spec indexSpec) (known bool, err error) {
	for _, ix := range indexes {
		other := ix.spec
		if other.Name == "_id_" && other.sameKey(spec) {
			return true, nil
		}
		same := other.sameKey(spec) && other.sameOptions(spec)
		switch {
		case other.Name == spec.Name && same:
			return true, nil
		case other.Name == spec.Name:
			return false, fail(codeKeySpecsConflict, "An existing index has the same name as the requested index. When index names are not specified, they are auto generated and can cause conflicts. Please refer to our documentation. Requested index: %s, existing index: %s", format(spec.document()), format(other.document()))
		case same:
			return false, fail(codeOptionsConflict, "Index already exists with a different name: %s", other.Name)
		}
	}
	return false, nil
}

// buildable checks the documents of the collection against a new index.
func buildable(ns namespace, coll *collection, spec indexSpec) error {
	ix := newIndex(spec)
	var failure error
	coll.records.Scan(func(rec record) bool {
		if ix.parallelArrays(rec.doc) {
			failure = fail(codeParallelArrays, "cannot index parallel arrays")
		} else if _, key, ok := ix.holder(ix.keys(rec.doc), rec.n); ok && spec.Unique {
			failure = duplicateKey(ns, ix, key)
		}
		ix.add(rec)
		return failure == nil
	})
	return failure
}

func (s *Server) listIndexes(c *command) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	coll := s.latest.collections[ns]
	s.mu.Unlock()
	if coll == nil {
		return nil, fail(codeNamespaceNotFound, "ns does not exist: %s", ns)
	}
	var docs []bson.D
	for _, ix := range coll.indexes {
		docs = append(docs, ix.spec.document())
	}
	return s.listing(c, ns, docs)
}

func (s *Server) dropIndexes(c *command) (bson.D, error) {
	return s.alterCollection(c, func(ns namespace, coll *collection) ([]change, bson.D, error) {
		if coll == nil {
			return nil, nil, fail(codeNamespaceNotFound, "ns not found %s", ns)
		}
		var changes []change
		for _, ix := range coll.indexes[1:] {
			if selected(c.get("index"), ix.spec) {
				changes = append(changes, change{Kind: opDropIndex, DB: ns.db, Coll: ns.coll, Index: &ix.spec})
			}
		}
		if len(changes) == 0 && c.get("index") != any("*") {
			return nil, nil, fail(codeIndexNotFound, "index not found with name [%v]", c.get("index"))
		}
		return changes, bson.D{{Key: "nIndexesWas", Value: int32(len(coll.indexes))}}, nil
	})
}

// selected tells whether the argument of dropIndexes means an index.
func selected(arg any, spec indexSpec) bool {
	switch arg := arg.(type) {
	case string:
		return arg == "*" || arg == spec.Name
	case bson.D:
		return spec.sameKey(indexSpec{Key: arg})
	case bson.A:
		return slices.ContainsFunc(arg, func(v any) bool { return v == any(spec.Name) })
	}
	return false
}
