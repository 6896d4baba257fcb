package mongo

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// Where records are. An object is a document of its kind's collection:
//
//	{_id: ID, _v: version, …its fields}
//	{_id: ID, _v: version, _deleting: true, _doc: {…its fields}}
//
// One that is marked Deleting has its fields apart, so that no index has it and no search
// finds it. An edge is a document of the collection of its kind, or of its family:
//
//	{_id: {from, to}, _v, time, data: {…}}              by default
//	{_id: from, to, _v, time, data}                     in a kind that is ToOne
//	{_id: {from, to, u}, kind, _v, time, data}          in a family: u is unique
//	{_id: {from, u}, to, kind, _v, time, data}          in a family that is ToOne
//	{_id: anything, from, to, kind, _v, time, data}     in a collection of another program
//
// The ends are in _id because the change stream has nothing but _id to say of a record that
// was deleted, and because it saves an index.
const (
	deletingField = "_deleting"
	docField      = "_doc"
)

// unversioned is the version of records that have none, which other programs have written.
const unversioned = -1 << 63

// objectLayout is where the objects of a kind are.
type objectLayout struct {
	name       string // the kind's
	collection string // without the namespace
	version    string
	ids        *IDs
	keep       bool // fields that are not known

	indexes atomic.Pointer[[]*index] // those of all schemas so far
}

// edgeLayout is where the edges of a kind are.
type edgeLayout struct {
	kind           driver.EdgeKind
	collection     string
	from, to       string // the paths of the ends
	time, data     string
	version        string
	kindField      string // "" if the collection has one kind only
	adopted        bool   // another program chooses _id
	fromIDs, toIDs *IDs
	wanted         []*index
}

// side is one of the directions in which a list can be read: the path of the end whose list
// it is, and that of the other.
type side struct {
	near, far       string
	nearIDs, farIDs *IDs
}

// sides returns how to read the lists of a direction. Those of a kind that is Symmetric are
// in two parts, of which the second has not the edges from an object to itself.
func (l *edgeLayout) sides(d driver.Direction) []side {
	out := side{l.from, l.to, l.fromIDs, l.toIDs}
	in := side{l.to, l.from, l.toIDs, l.fromIDs}
	switch {
	case l.kind.Symmetric:
		return []side{out, in}
	case d == driver.In:
		return []side{in}
	}
	return []side{out}
}

// of returns the condition that a document of the collection is of this kind.
func (l *edgeLayout) of() bson.D {
	if l.kindField == "" {
		return nil
	}
	return bson.D{{Key: l.kindField, Value: l.kind.Name}}
}

// objectLayout returns where the objects of a kind are to be.
func (o *Options) objectLayout(kind string) *objectLayout {
	c := o.Objects[kind]
	l := &objectLayout{name: kind, collection: c.Name, version: o.Version, ids: c.IDs, keep: c.KeepUnknown}
	if l.collection == "" {
		l.collection = escapeName(kind)
	}
	if l.ids == nil {
		l.ids = StringIDs
	}
	return l
}

// edgeLayout returns where the edges of a kind are to be.
func (o *Options) edgeLayout(kind driver.EdgeKind) *edgeLayout {
	name := kind.Name
	if kind.Family != "" {
		name = kind.Family
	}
	c := o.Edges[name]
	l := &edgeLayout{
		kind: kind, collection: c.Name, version: o.Version, adopted: c.From != "",
		time: or(c.Time, "time"), data: or(c.Data, "data"),
		fromIDs: o.endIDs(kind.From), toIDs: o.endIDs(kind.To),
	}
	if l.collection == "" {
		l.collection = escapeName(name)
	}
	if kind.Family != "" {
		l.kindField = or(c.Kind, "kind")
	}
	switch {
	case l.adopted:
		l.from, l.to = c.From, c.To
	case kind.ToOne && kind.Family == "":
		l.from, l.to = "_id", "to"
	case kind.ToOne:
		l.from, l.to = "_id.from", "to"
	default:
		l.from, l.to = "_id.from", "_id.to"
	}
	l.wanted = l.indexes()
	return l
}

// endIDs returns how the IDs of a kind are stored at the ends of edges.
func (o *Options) endIDs(kind string) *IDs {
	if ids := o.Objects[kind].IDs; ids != nil && ids.ordered {
		return ids
	}
	return StringIDs
}

func or(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// escapeName makes a name that can be one of a collection, or a part of it, and is no
// other's.
func escapeName(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// maxCollectionName is how long the name of a collection may be, with the database's.
const maxCollectionName = 235

// space is the kinds of a namespace.
type space struct {
	prefix string // of the names of collections

	ensuring sync.Mutex // one Ensure after the other

	mu      sync.RWMutex
	objects map[string]*objectLayout // by kind
	edges   map[string]*edgeLayout
}

func newSpace(namespace string) *space {
	s := &space{objects: make(map[string]*objectLayout), edges: make(map[string]*edgeLayout)}
	if namespace != "" {
		s.prefix = escapeName(namespace) + "/"
	}
	return s
}

func (s *space) object(kind string) (*objectLayout, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if l := s.objects[kind]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("mongo: object kind %q is not declared: %w", kind, driver.ErrSchema)
}

func (s *space) edge(kind string) (*edgeLayout, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if l := s.edges[kind]; l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("mongo: edge kind %q is not declared: %w", kind, driver.ErrSchema)
}

// layouts returns where the kinds of a schema are, those that are known already as they
// are.
func (s *space) layouts(o *Options, schema driver.Schema) (objects []*objectLayout, edges []*edgeLayout, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, kind := range schema.Objects {
		l := s.objects[kind.Name]
		if l == nil {
			l = o.objectLayout(kind.Name)
			l.indexes.Store(new([]*index))
		}
		objects = append(objects, l)
	}
	for _, kind := range schema.Edges {
		l := s.edges[kind.Name]
		if l == nil || l.kind != kind {
			l = o.edgeLayout(kind)
		}
		edges = append(edges, l)
	}
	return objects, edges, s.collide(o, objects, edges)
}

// collide returns an error if two kinds would share a collection that must not.
func (s *space) collide(o *Options, objects []*objectLayout, edges []*edgeLayout) error {
	owners := map[string]string{o.Collection: "the store itself"}
	take := func(collection, owner string) error {
		if there, ok := owners[collection]; ok && there != owner {
			return fmt.Errorf("mongo: %s and %s would share the collection %q: name another in Options: %w",
				there, owner, collection, driver.ErrSchema)
		}
		owners[collection] = owner
		if name := o.Database + "." + s.prefix + collection; len(name) > maxCollectionName {
			return fmt.Errorf("mongo: the name of the collection %q is longer than %d bytes: name another in Options: %w",
				name, maxCollectionName, driver.ErrInvalid)
		}
		return nil
	}
	for _, l := range objects {
		if err := take(l.collection, fmt.Sprintf("object kind %q", l.name)); err != nil {
			return err
		}
	}
	for _, l := range edges {
		owner := fmt.Sprintf("edge kind %q", l.kind.Name)
		if l.kind.Family != "" {
			owner = fmt.Sprintf("edge family %q", l.kind.Family)
		}
		if err := take(l.collection, owner); err != nil {
			return err
		}
	}
	return nil
}

// declare makes what has been prepared what the namespace has.
func (s *space) declare(p *preparation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, l := range p.objects {
		l.indexes.Store(&p.indexes[i])
		s.objects[l.name] = l
	}
	for _, l := range p.edges {
		s.edges[l.kind.Name] = l
	}
}

// inCollection returns the layouts of the kinds in a collection.
func (s *space) inCollection(collection string) (objects []*objectLayout, edges []*edgeLayout) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, l := range s.objects {
		if l.collection == collection {
			objects = append(objects, l)
		}
	}
	for _, l := range s.edges {
		if l.collection == collection {
			edges = append(edges, l)
		}
	}
	slices.SortFunc(edges, func(a, b *edgeLayout) int { return strings.Compare(a.kind.Name, b.kind.Name) })
	return objects, edges
}
