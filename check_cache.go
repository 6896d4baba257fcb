package graphcache

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
)

// CheckCache is [Graph.Check] for a tool, which does not have the Go types of the schema:
// it checks what is cached of the kinds that live versions of the program have described
// in the store, each in its own layout. What of it they have not described is skipped.
// The namespace is empty for the graph that Open returns.
//
// It reads the store and the cache, and writes neither, but for what the Ensure method
// of the store does for kinds without indexes. The store must be a driver.Ledger, and
// open as it is for the program: the same database and the same names of collections.
func CheckCache(ctx context.Context, store driver.Store, cache driver.Cache, namespace string, opts *CheckOptions) (_ *CheckReport, err error) {
	defer wrap(&err, "check", "", "")
	if store == nil || cache == nil {
		return nil, fmt.Errorf("%w: the store or the cache is nil", ErrInvalid)
	}
	ledger, ok := store.(driver.Ledger)
	if !ok {
		return nil, fmt.Errorf("the store (%s) has no descriptions of kinds: %w", store.Capabilities().Name, errors.ErrUnsupported)
	}
	id, err := store.ID(ctx)
	if err != nil {
		return nil, fmt.Errorf("identity of the store: %w", err)
	}
	look, err := ledger.Look(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the descriptions of kinds: %w", err)
	}
	kinds, err := readDescriptions(look.Registry)
	if err != nil {
		return nil, err
	}
	schema, err := schemaOf(kinds)
	if err != nil {
		return nil, err
	}
	view := store.Namespace(namespace)
	if err := view.Ensure(ctx, schema.driver()); err != nil {
		return nil, fmt.Errorf("prepare the store: %w", err)
	}
	g := newChecked(schema, ledger, cache).bind(view, keyspace{database: id, namespace: namespace})
	c, err := newChecker(g, opts)
	if err != nil {
		return nil, err
	}
	c.refresh = g.shared.lookForCheck
	c.addLayouts(kinds)
	err = c.run(ctx)
	return c.report, err
}

// readDescriptions returns the described kinds, by name and then in the order of the
// registry's entries, of which each version of a program has one.
func readDescriptions(entries []driver.RegistryEntry) (kinds []*described, err error) {
	slices.SortFunc(entries, func(a, b driver.RegistryEntry) int {
		return strings.Compare(a.Kind+"\x00"+a.Spec, b.Kind+"\x00"+b.Spec)
	})
	for _, e := range entries {
		r := keyReader{b: []byte(e.Spec)}
		parts := part(&r, msgp.ReadArrayHeaderBytes)
		if format, typ := r.int(), r.string(); format != specFormat || typ != specKind || parts != 3 {
			continue
		}
		text := r.string()
		if r.end() != nil || text == "" {
			continue
		}
		d, err := readDescription(e.Kind, text)
		if err != nil {
			return nil, err
		}
		kinds = append(kinds, d)
	}
	if len(kinds) == 0 {
		return nil, fmt.Errorf("no program has described its kinds in this store in the last %v: %w", driver.RegistryTTL, ErrNotFound)
	}
	return kinds, nil
}

// schemaOf returns a schema of the kinds, of each as the first version has it.
func schemaOf(kinds []*described) (*Schema, error) {
	s := new(Schema)
	objects, edges := map[string]*objectKind{}, map[string]*edgeKind{}
	for _, d := range kinds {
		switch {
		case d.edge != nil && objects[d.name] != nil, d.object != nil && edges[d.name] != nil:
			return nil, fmt.Errorf("%w: kind %q is one of objects, and in another version of the program one of edges", ErrSchema, d.name)
		case d.object != nil && objects[d.name] == nil:
			objects[d.name] = d.object
			s.objects = append(s.objects, d.object)
		case d.edge != nil && edges[d.name] == nil:
			edges[d.name] = d.edge
			s.edges = append(s.edges, d.edge)
		}
	}
	for _, d := range kinds {
		if d.edge == nil {
			continue
		}
		if d.edge.from, d.edge.to = objects[d.From], objects[d.To]; d.edge.from == nil || d.edge.to == nil {
			return nil, fmt.Errorf("%w: edge kind %q: a kind at its ends is not described", ErrSchema, d.name)
		}
	}
	return s, nil
}

// newChecked returns what there must be of a graph for it to be checked.
func newChecked(schema *Schema, ledger driver.Ledger, cache driver.Cache) *shared {
	o := (&Options{Cache: cache}).withDefaults()
	s := &shared{
		opts: o, schema: schema, ledger: ledger,
		counters: map[string]*kindCounters{}, generations: map[string]*atomic.Uint64{},
		loads: make(chan struct{}, o.MaxLoads), closing: make(chan struct{}),
	}
	add := func(name string) {
		s.counters[name], s.generations[name] = &kindCounters{kind: name, logger: o.Logger}, new(atomic.Uint64)
	}
	for _, k := range schema.objects {
		add(k.name)
	}
	for _, k := range schema.edges {
		add(k.name)
	}
	s.journal.init()
	return s
}

// lookForCheck learns what a check must know of the ledger, and no more.
func (s *shared) lookForCheck(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.LoadTimeout)
	defer cancel()
	began := time.Now()
	look, err := s.ledger.Look(ctx)
	if err != nil {
		return err
	}
	s.seeGenerations(look.Generations)
	s.journal.see(look.Journal, began)
	return nil
}

// addLayouts makes the checker know the layouts and the columns of all versions.
func (c *checker) addLayouts(kinds []*described) {
	for _, d := range kinds {
		k := c.g.kinds[d.name]
		layout := *k
		layout.fingerprint = d.plan.Fingerprint()
		if layout.object, layout.edge = k.object, k.edge; d.object != nil {
			layout.object = d.object
		} else {
			layout.edge = d.edge
		}
		c.layouts[layoutKey{d.name, layout.fingerprint}] = &layout
		if d.object == nil {
			continue
		}
		if c.columns[d.name] == nil {
			c.columns[d.name] = map[string]*column{}
		}
		for key, column := range d.columns {
			if c.columns[d.name][key] == nil {
				c.columns[d.name][key] = column
			}
		}
	}
}
