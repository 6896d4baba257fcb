package main

import (
	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	"go.mongodb.org/mongo-driver/bson"
)

// snapshot returns the catalog that a read is answered from: that of its
// transaction, otherwise the latest, or with Options.Stale an older one that is
// not older than readConcern.afterClusterTime. A deposed primary cannot answer
// linearizable reads, so these are never stale.
func (s *Server) snapshot(c *command) (*catalog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.txn != nil {
		if !s.open[c.txn] {
			return nil, noSuchTransaction(c)
		}
		c.optime = c.txn.base
		return c.txn.catalog, nil
	}
	if c.level == "linearizable" {
		c.optime = s.clock
		return s.latest, nil
	}
	picked := s.history.pick(c.after)
	c.optime = picked.time
	return picked.catalog, nil
}

// collectionOf returns an empty collection for one that does not exist.
func collectionOf(c *catalog, ns namespace) *collection {
	if coll := c.collections[ns]; coll != nil {
		return coll
	}
	return newCollection(nil)
}

func (s *Server) find(c *command) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	filter, err := c.filter("filter")
	if err != nil {
		return nil, err
	}
	order, err := c.order("sort")
	if err != nil {
		return nil, err
	}
	project, err := newProjection(c.doc("projection"))
	if err != nil {
		return nil, err
	}
	skip, err := c.natural("skip")
	if err != nil {
		return nil, err
	}
	limit, err := c.natural("limit")
	if err != nil {
		return nil, err
	}
	data, err := s.snapshot(c)
	if err != nil {
		return nil, err
	}
	found, err := collectionOf(data, ns).findSorted(filter, order, skip, limit)
	if err != nil {
		return nil, err
	}
	docs := make([]bson.D, len(found))
	for i, rec := range found {
		docs[i] = project.apply(*rec.doc)
	}
	cur := &cursor{ns: ns, docs: docs, single: truthy(c.get("singleBatch"))}
	return s.openCursor(c, cur, c.body)
}

func (s *Server) count(c *command) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	filter, err := c.filter("query")
	if err != nil {
		return nil, err
	}
	skip, err := c.natural("skip")
	if err != nil {
		return nil, err
	}
	limit, err := c.natural("limit")
	if err != nil {
		return nil, err
	}
	data, err := s.snapshot(c)
	if err != nil {
		return nil, err
	}
	found, err := collectionOf(data, ns).findSorted(filter, nil, skip, limit)
	return bson.D{{Key: "n", Value: int32(len(found))}}, err
}

func (s *Server) distinct(c *command) (bson.D, error) {
	ns, err := c.namespace()
	if err != nil {
		return nil, err
	}
	key, ok := c.get("key").(string)
	if !ok || key == "" {
		return nil, fail(codeTypeMismatch, "distinct needs a key")
	}
	filter, err := c.filter("query")
	if err != nil {
		return nil, err
	}
	data, err := s.snapshot(c)
	if err != nil {
		return nil, err
	}
	found, err := collectionOf(data, ns).find(filter, 0)
	if err != nil {
		return nil, err
	}
	docs := make(bsonkit.List, len(found))
	for i, rec := range found {
		docs[i] = rec.doc
	}
	return bson.D{{Key: "values", Value: mongokit.Distinct(docs, key)}}, nil
}
