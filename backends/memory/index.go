package memory

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// index is an index on the objects of a kind: a tree in which the keys of an
// entry's values lead, column by column, to the objects that have the entry.
type index struct {
	driver.Index
	root node
}

// newIndex builds an index from the objects that are there.
func newIndex(kind string, declared *driver.Index, records map[string]*driver.Object) (*index, error) {
	ix := &index{Index: *declared}
	ix.Columns = slices.Clone(declared.Columns)
	for i := range ix.Columns {
		if err := copyColumn(&ix.Columns[i]); err != nil {
			return nil, fmt.Errorf("memory: index %q of kind %q: %w: %w", declared.Name, kind, driver.ErrSchema, err)
		}
	}
	for _, o := range records {
		if ix.clashes(o) {
			return nil, fmt.Errorf("memory: index %q of kind %q is unique, but objects that are there, one of them %q, have the same entry: %w",
				declared.Name, kind, o.ID, driver.ErrExists)
		}
		ix.add(o)
	}
	return ix, nil
}

// copyColumn puts a copy in the place of what the caller may change.
func copyColumn(c *driver.Column) (err error) {
	c.Path, c.Was = slices.Clone(c.Path), slices.Clone(c.Was)
	for i := range c.Was {
		c.Was[i] = slices.Clone(c.Was[i])
	}
	c.Zero, err = backend.CopyValue(c.Zero)
	return err
}

// checkIndexes checks the declarations of the indexes of a kind.
func checkIndexes(kind *driver.ObjectKind) error {
	names := make(map[string]bool)
	for i := range kind.Indexes {
		ix := &kind.Indexes[i]
		err := checkIndex(ix)
		if names[ix.Name] {
			err = errors.New("the name is there twice")
		}
		if err != nil {
			return fmt.Errorf("memory: index %q of kind %q: %w: %w", ix.Name, kind.Name, driver.ErrSchema, err)
		}
		names[ix.Name] = true
	}
	return nil
}

func checkIndex(ix *driver.Index) error {
	if ix.Name == "" || len(ix.Columns) == 0 {
		return errors.New("it has no name or no columns")
	}
	lists := 0
	for i := range ix.Columns {
		if err := backend.CheckColumn(&ix.Columns[i], true, false); err != nil {
			return err
		}
		if ix.Columns[i].List {
			lists++
		}
	}
	if lists > 1 {
		return errors.New("more than one column is a list")
	}
	return nil
}

// is reports whether the index is what is declared.
func (ix *index) is(declared *driver.Index) bool {
	return ix.Name == declared.Name && ix.Unique == declared.Unique && slices.EqualFunc(ix.Columns, declared.Columns,
		func(a, b driver.Column) bool { return sameColumn(&a, &b) })
}

// sameColumn reports whether two columns have the same value in every object. Their Type
// does not count: it says what is known of the values and changes none.
func sameColumn(a, b *driver.Column) bool {
	return a.Of == b.Of && a.List == b.List && slices.Equal(a.Path, b.Path) &&
		slices.EqualFunc(a.Was, b.Was, slices.Equal) && driver.Equal(a.Zero, b.Zero)
}

// entries returns the entries of an object: for each the keys of its values.
func (ix *index) entries(o *driver.Object) [][]string {
	if o.Deleting {
		return nil
	}
	entries := [][]string{nil}
	for i := range ix.Columns {
		var longer [][]string
		keys := columnKeys(&ix.Columns[i], o)
		for _, entry := range entries {
			for _, key := range keys {
				longer = append(longer, append(slices.Clip(entry), key))
			}
		}
		entries = longer
	}
	return entries
}

// columnKeys returns the key of the column's value, or those of its elements.
func columnKeys(c *driver.Column, o *driver.Object) []string {
	v := c.ValueIn(o, nil)
	if !c.List {
		return []string{valueKey(v)}
	}
	list, _ := v.([]driver.Value)
	return distinctKeys(list)
}

func distinctKeys(values []driver.Value) []string {
	keys := make([]string, len(values))
	for i := range values {
		keys[i] = valueKey(values[i])
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}

func (ix *index) add(o *driver.Object) {
	for _, entry := range ix.entries(o) {
		ix.root.add(entry, o)
	}
}

func (ix *index) remove(o *driver.Object) {
	for _, entry := range ix.entries(o) {
		ix.root.remove(entry, o.ID)
	}
}

// clashes reports whether the index is unique and another object has an entry of
// this one. An entry with a nil in it may be there more than once.
func (ix *index) clashes(o *driver.Object) bool {
	return ix.Unique && slices.ContainsFunc(ix.entries(o), func(entry []string) bool {
		there := ix.root.at(entry)
		return there != nil && there.records[o.ID] == nil && !slices.Contains(entry, valueKey(nil))
	})
}

// lookup returns the nodes below which all objects are that the conditions match,
// and whether the index can tell. Conditions on the columns that come first must
// say what is equal to what. An object whose list is empty has no entry, so that an
// index with a List must be asked for an element.
func (ix *index) lookup(conditions []*driver.Filter) ([]*node, bool) {
	nodes := []*node{&ix.root}
	known := 0
	for ; known < len(ix.Columns); known++ {
		condition := equality(conditions, &ix.Columns[known])
		if condition == nil {
			break
		}
		nodes = below(nodes, distinctKeys(condition.Values))
	}
	rest := ix.Columns[known:]
	return nodes, known > 0 && !slices.ContainsFunc(rest, func(c driver.Column) bool { return c.List })
}

// equality returns the condition that says what the column, or one of its elements,
// is equal to.
func equality(conditions []*driver.Filter, c *driver.Column) *driver.Filter {
	op := driver.AnyOf
	if c.List {
		op = driver.Has
	}
	for _, f := range conditions {
		if f.Op == op && sameColumn(f.Column, c) {
			return f
		}
	}
	return nil
}

// conjuncts returns the conditions all of which the filter asks for.
func conjuncts(f *driver.Filter) []*driver.Filter {
	switch {
	case f == nil:
		return nil
	case f.Op != driver.And:
		return []*driver.Filter{f}
	}
	var all []*driver.Filter
	for i := range f.Of {
		all = append(all, conjuncts(&f.Of[i])...)
	}
	return all
}

// candidates returns objects among which all are that the filter matches.
func (o *objects) candidates(f *driver.Filter) iter.Seq[*driver.Object] {
	conditions := conjuncts(f)
	var best []*node
	least := -1
	for _, ix := range o.indexes {
		nodes, ok := ix.lookup(conditions)
		if size := totalSize(nodes); ok && (least < 0 || size < least) {
			best, least = nodes, size
		}
	}
	if least < 0 {
		return maps.Values(o.records)
	}
	return func(yield func(*driver.Object) bool) {
		for _, n := range best {
			if !n.each(yield) {
				return
			}
		}
	}
}

// node is a place in the tree of an index.
type node struct {
	size    int                       // the entries at and below it
	next    map[string]*node          // by the key of the next column's value
	records map[string]*driver.Object // after the last column, by ID
}

func (n *node) add(entry []string, o *driver.Object) {
	n.size++
	if len(entry) == 0 {
		if n.records == nil {
			n.records = make(map[string]*driver.Object)
		}
		n.records[o.ID] = o
		return
	}
	if n.next == nil {
		n.next = make(map[string]*node)
	}
	next := n.next[entry[0]]
	if next == nil {
		next = new(node)
		n.next[entry[0]] = next
	}
	next.add(entry[1:], o)
}

func (n *node) remove(entry []string, id string) {
	n.size--
	if len(entry) == 0 {
		delete(n.records, id)
		return
	}
	next := n.next[entry[0]]
	next.remove(entry[1:], id)
	if next.size == 0 {
		delete(n.next, entry[0])
	}
}

// at returns the node of an entry, nil if no object has it.
func (n *node) at(entry []string) *node {
	for _, key := range entry {
		if n = n.next[key]; n == nil {
			return nil
		}
	}
	return n
}

// each calls f for the objects at and below the node until it returns false.
func (n *node) each(f func(*driver.Object) bool) bool {
	for _, o := range n.records {
		if !f(o) {
			return false
		}
	}
	for _, next := range n.next {
		if !next.each(f) {
			return false
		}
	}
	return true
}

// below returns the nodes to which the keys lead.
func below(nodes []*node, keys []string) []*node {
	var found []*node
	for _, n := range nodes {
		for _, key := range keys {
			if next := n.next[key]; next != nil {
				found = append(found, next)
			}
		}
	}
	return found
}

func totalSize(nodes []*node) int {
	total := 0
	for _, n := range nodes {
		total += n.size
	}
	return total
}
