package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/graphcache/graphcache/driver"
)

// largeCollection is how many documents a collection has when its indexes are built in the
// background.
const largeCollection = 10_000

// Ensure prepares the collections of a schema: see [IndexMode] for their indexes. An index
// that is there, with the same fields but another name, is used. Nothing is ever dropped or
// changed; an index that stands in the way of another is an error that names both.
//
// The records of a kind with a unique index that is still being built can be read; writes
// that the index would have to judge are refused until it is complete.
func (s *Store) Ensure(ctx context.Context, schema driver.Schema) error {
	if err := s.db.usable(ctx); err != nil {
		return err
	}
	s.space.ensuring.Lock()
	defer s.space.ensuring.Unlock()
	plan, err := s.plan(ctx, schema)
	if err != nil {
		return err
	}
	if err := plan.check(&s.db.opts); err != nil {
		return err
	}
	err = s.db.each(ctx, len(plan.collections), func(ctx context.Context, i int) error {
		return s.prepare(ctx, plan.collections[i])
	})
	if err != nil {
		return err
	}
	s.space.declare(plan)
	return nil
}

// IndexPlan says what [Store.Ensure] would do about a schema's indexes, in words, and does
// nothing: the indexes that it would create, and the differences because of which it would
// fail. The schema is that of graphcache.Schema.Driver.
func (s *Store) IndexPlan(ctx context.Context, schema driver.Schema) (create, differences []string, err error) {
	if err := s.db.usable(ctx); err != nil {
		return nil, nil, err
	}
	plan, err := s.plan(ctx, schema)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range plan.collections {
		for _, ix := range c.missing {
			create = append(create, fmt.Sprintf("%s: %s %s, %s", c.name, ix.name, keysText(ix.keys), ix.properties()))
		}
		differences = append(differences, c.differences...)
	}
	return create, differences, nil
}

// Ready reports whether an index of an object kind is complete.
func (s *Store) Ready(kind, index string) bool {
	l, err := s.space.object(kind)
	if err != nil {
		return false
	}
	for _, ix := range *l.indexes.Load() {
		if ix.declared == index && !ix.ready.Load() {
			return false
		}
	}
	return true
}

// preparation is what a schema asks of the collections of a namespace.
type preparation struct {
	objects     []*objectLayout
	indexes     [][]*index // of the objects
	edges       []*edgeLayout
	collections []*collection
}

// collection is one of them, with what the database says of it.
type collection struct {
	name        string // with the namespace
	wanted      []*index
	missing     []*index
	differences []string
	exists      bool
	preImages   bool
}

// plan compares what a schema asks for with what is there.
func (s *Store) plan(ctx context.Context, schema driver.Schema) (*preparation, error) {
	objects, edges, err := s.space.layouts(&s.db.opts, schema)
	if err != nil {
		return nil, err
	}
	p := &preparation{objects: objects, edges: edges}
	for i, l := range objects {
		p.indexes = append(p.indexes, l.with(schema.Objects[i].Indexes, s.db.opts.Plain))
		p.want(s.space.prefix+l.collection, p.indexes[i])
	}
	for _, l := range edges {
		p.want(s.space.prefix+l.collection, l.wanted)
	}
	if err := s.look(ctx, p); err != nil {
		return nil, err
	}
	return p, nil
}

// want adds indexes to those that a collection must have.
func (p *preparation) want(name string, indexes []*index) {
	i := slices.IndexFunc(p.collections, func(c *collection) bool { return c.name == name })
	if i < 0 {
		i = len(p.collections)
		p.collections = append(p.collections, &collection{name: name})
	}
	p.collections[i].wanted = append(p.collections[i].wanted, indexes...)
}

// with returns the indexes of the kind with those that are declared, each in the place of one
// with its name.
func (l *objectLayout) with(declared []driver.Index, plain bool) []*index {
	all := slices.Clone(*l.indexes.Load())
	if len(all) == 0 {
		all = append(all, deletingIndex())
	}
	for i := range declared {
		wanted := indexesOf(&declared[i], plain)
		ours := func(ix *index) bool { return ix.declared == declared[i].Name }
		there := slices.DeleteFunc(slices.Clone(all), func(ix *index) bool { return !ours(ix) })
		if !slices.EqualFunc(there, wanted, func(a, b *index) bool { return a.name == b.name }) {
			all = append(slices.DeleteFunc(all, ours), wanted...)
		}
	}
	return all
}

// look finds out which collections and indexes there are.
func (s *Store) look(ctx context.Context, p *preparation) error {
	var names bson.A
	for _, c := range p.collections {
		names = append(names, c.name)
	}
	specs, err := s.db.db.ListCollectionSpecifications(ctx, bson.D{{Key: "name", Value: bson.D{{Key: "$in", Value: names}}}})
	if err != nil {
		return describe(s.db.db.Name(), "list the collections", err)
	}
	for _, spec := range specs {
		for _, c := range p.collections {
			if c.name == spec.Name {
				c.read(&spec)
			}
		}
	}
	return s.db.each(ctx, len(p.collections), func(ctx context.Context, i int) error {
		c := p.collections[i]
		there, err := s.list(ctx, c)
		if err != nil {
			return describe(c.name, "list the indexes", err)
		}
		for _, ix := range c.wanted {
			if s.db.opts.Indexes == IgnoreIndexes {
				ix.ready.Store(true)
				continue
			}
			found, difference := ix.compare(there)
			switch {
			case found:
				ix.ready.Store(true)
			case difference != "":
				c.differences = append(c.differences, fmt.Sprintf("collection %q: %s", c.name, difference))
			default:
				c.missing = append(c.missing, ix)
			}
		}
		return nil
	})
}

// read takes what the database says of a collection.
func (c *collection) read(spec *mongo.CollectionSpecification) {
	c.exists = true
	if spec.Type != "collection" && spec.Type != "" {
		c.differences = append(c.differences, fmt.Sprintf("%q is a %s and not a collection", c.name, spec.Type))
	}
	if locale, ok := spec.Options.Lookup("collation", "locale").StringValueOK(); ok && locale != "simple" {
		c.differences = append(c.differences, fmt.Sprintf("the collection %q has the collation %q, in which strings are not compared byte by byte", c.name, locale))
	}
	c.preImages, _ = spec.Options.Lookup("changeStreamPreAndPostImages", "enabled").BooleanOK()
}

// list returns the indexes of a collection.
func (s *Store) list(ctx context.Context, c *collection) ([]present, error) {
	if !c.exists || s.db.opts.Indexes == IgnoreIndexes {
		return nil, nil
	}
	// Without includeBuildUUIDs an index that is being built looks like one that is complete.
	command := bson.D{{Key: "listIndexes", Value: c.name}, {Key: "cursor", Value: bson.D{}}, {Key: "includeBuildUUIDs", Value: true}}
	cursor, err := s.db.db.RunCommandCursor(ctx, command, options.RunCmd().SetReadPreference(readpref.Primary()))
	var server mongo.ServerError
	if errors.As(err, &server) { // not every server knows it, and not every API version has it
		cursor, err = s.db.collection(c.name).Indexes().List(ctx)
	}
	if err != nil {
		return nil, err
	}
	var there []present
	err = cursor.All(ctx, &there)
	for i := range there {
		if spec := there[i].Spec; spec != nil {
			spec.BuildID = there[i].BuildID
			there[i] = *spec
		}
	}
	return there, err
}

// check returns an error for what is in the way of a schema.
func (p *preparation) check(o *Options) error {
	var all []error
	for _, c := range p.collections {
		for _, d := range c.differences {
			all = append(all, errors.New("mongo: "+d))
		}
		if o.Indexes == RequireIndexes {
			for _, ix := range c.missing {
				all = append(all, fmt.Errorf("mongo: collection %q: the index %q %s, %s, is missing or not complete", c.name, ix.name, keysText(ix.keys), ix.properties()))
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %w", driver.ErrSchema, errors.Join(all...))
}

// prepare creates what a collection lacks.
func (s *Store) prepare(ctx context.Context, c *collection) error {
	if err := s.keepPreImages(ctx, c); err != nil {
		return err
	}
	if len(c.missing) == 0 {
		return nil
	}
	large := false
	if c.exists {
		n, err := s.db.collection(c.name).EstimatedDocumentCount(ctx)
		if err != nil {
			return describe(c.name, "count the documents", err)
		}
		large = n > largeCollection
	}
	if !large {
		for _, ix := range c.missing {
			if err := s.db.build(ctx, c.name, ix); err != nil {
				return err
			}
		}
		return nil
	}
	s.db.builds.Go(func() { s.db.buildAll(c) })
	return nil
}

// keepPreImages turns the recording of pre-images on, if it is to be.
func (s *Store) keepPreImages(ctx context.Context, c *collection) error {
	if !s.db.opts.PreImages || c.preImages {
		return nil
	}
	if s.db.caps.wire < wirePreImages || !s.db.caps.Stamps {
		return fmt.Errorf("mongo: Options.PreImages takes a replica set or a sharded cluster of MongoDB 6.0, and this is %s: %w", s.db.caps.Name, driver.ErrSchema)
	}
	enabled := bson.D{{Key: "enabled", Value: true}}
	if !c.exists {
		err := s.db.db.CreateCollection(ctx, c.name, options.CreateCollection().SetChangeStreamPreAndPostImages(enabled))
		var server mongo.ServerError
		if !errors.As(err, &server) || !server.HasErrorCode(codeNamespaceExists) {
			return wrapped(c.name, "create", err)
		}
	}
	command := bson.D{{Key: "collMod", Value: c.name}, {Key: "changeStreamPreAndPostImages", Value: enabled}}
	return wrapped(c.name, "keep pre-images", s.db.db.RunCommand(ctx, command).Err())
}

const codeNamespaceExists = 48

// wrapped is describe, and nil for no error.
func wrapped(collection string, key any, err error) error {
	if err == nil {
		return nil
	}
	return describe(collection, key, err)
}

// build creates an index and waits until it is complete. It is done if somebody else has been
// faster.
func (db *database) build(ctx context.Context, collection string, ix *index) error {
	o := options.Index().SetName(ix.name)
	if ix.unique {
		o.SetUnique(true)
	}
	if ix.sparse {
		o.SetSparse(true)
	}
	if ix.partial != nil {
		o.SetPartialFilterExpression(ix.partial)
	}
	_, err := db.collection(collection).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: ix.keys, Options: o})
	switch {
	case err == nil:
		ix.ready.Store(true)
		return nil
	case mongo.IsDuplicateKeyError(err):
		err = fmt.Errorf("mongo: collection %q: the index %q (%s) cannot be unique: %w: %w", collection, ix.declared, ix.name, driver.ErrExists, err)
		ix.failed.Store(&err)
		return err
	}
	return describe(collection, ix.name, err)
}

// buildAll builds the indexes of a large collection, in the background.
func (db *database) buildAll(c *collection) {
	for _, ix := range c.missing {
		for pause := time.Second; ; pause = min(2*pause, time.Minute) {
			err := db.build(db.background, c.name, ix)
			if err == nil || db.background.Err() != nil {
				break
			}
			db.opts.Logger.Error("mongo: an index could not be built", "collection", c.name, "index", ix.name, "error", err)
			if ix.failed.Load() != nil {
				break
			}
			select {
			case <-time.After(pause):
			case <-db.background.Done():
			}
		}
	}
}

// judged returns an error while a unique index is not complete: a write could break it
// unnoticed.
func judged(collection string, indexes []*index) error {
	for _, ix := range indexes {
		if !ix.unique || ix.ready.Load() {
			continue
		}
		if why := ix.failed.Load(); why != nil {
			return *why
		}
		return fmt.Errorf("mongo: collection %q: the unique index %q is still being built: %w", collection, ix.name, driver.ErrUnavailable)
	}
	return nil
}
