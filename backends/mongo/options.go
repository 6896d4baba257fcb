package mongo

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
)

// The defaults of [Options].
const (
	DefaultCollection  = "graphcache"
	DefaultVersion     = "_v"
	DefaultBatch       = 1000
	DefaultConcurrency = 16
)

// Options are the options of [Open] and [New]. The zero Options, and nil, consist entirely
// of default values.
type Options struct {
	// Database is the name of the database. Defaults to the one in the URI; [New] has
	// none to take it from.
	Database string
	// Objects and Edges say for kinds, by name, how their collections differ from what
	// they would be by default. Edges has the kinds of a family under the family's name.
	Objects map[string]ObjectCollection
	Edges   map[string]EdgeCollection
	// Collection is where the store keeps what is its own: its identity, a ledger for
	// all its namespaces, and the place of [Store.Watch]. Defaults to DefaultCollection.
	Collection string
	// Version is the field with a record's version. Other programs that write the
	// collections leave it alone or copy it. Defaults to DefaultVersion.
	Version string
	// Indexes says what Ensure does about indexes. Defaults to CreateIndexes.
	Indexes IndexMode
	// PreImages makes Ensure turn on the recording of pre-images for the collections of the
	// schema, from which [Store.Watch] learns what a record was before another program
	// wrote it. It takes MongoDB 6.0, and room in the database.
	PreImages bool
	// Strict refuses a client whose options ask for less than the store guarantees: reads
	// from secondaries, reads that are not majority, writes that a majority has not
	// confirmed, or that the driver library does not send again. The store does not follow
	// the first three in any case; without Strict it says so once in the log.
	Strict bool
	// Plain keeps to what servers have too that say they are MongoDB 6.0 and are not: it does
	// without aggregations with $documents and $lookup, and without partial indexes. A
	// unique index then takes two objects for equal of which both have nil in a field, or an
	// empty list.
	Plain bool
	// Batch is how many IDs one command asks for, and how many records one inserts, at
	// most. Defaults to DefaultBatch.
	Batch int
	// Concurrency is how many steps of a Read are answered at once, at most, how many commands
	// one step sends at once, and how many a Write of several records. Defaults to
	// DefaultConcurrency. It should be less than the client's MaxPoolSize.
	Concurrency int
	// Logger takes what happens in the background, such as an index that could not be
	// built. Defaults to slog.Default().
	Logger *slog.Logger
}

// ObjectCollection says where the objects of a kind are.
type ObjectCollection struct {
	// Name is the collection's. Defaults to the kind's.
	Name string
	// IDs says how IDs are stored in _id. Defaults to StringIDs.
	IDs *IDs
	// KeepUnknown leaves the fields alone that a kind does not know, for collections that
	// are shared with other programs. Only fields at the top of a document are meant: a
	// nested record is replaced as a whole. Without it a record is what graphcache
	// has written last.
	KeepUnknown bool
}

// EdgeCollection says where the edges of a kind or of a family are.
type EdgeCollection struct {
	// Name is the collection's. Defaults to that of the kind or the family.
	Name string
	// From and To are the fields that have the IDs at the ends of an edge, as strings or
	// as [IDs] of the kinds there says. If they are set, both must be, and the collection
	// is one that another program has made: _id can be anything, and a unique index makes
	// sure that there is one edge between two objects. By default the ends are in _id.
	From, To string
	// Time, Data and Kind are the fields with an edge's time, its data, and in a family
	// its kind. Default to "time", "data" and "kind".
	Time, Data, Kind string
}

// IndexMode says what [Store.Ensure] does about indexes.
type IndexMode uint8

const (
	// CreateIndexes creates the indexes that are missing. Those of collections with more
	// than 10,000 documents are built in the background; see [Store.Ready].
	CreateIndexes IndexMode = iota
	// RequireIndexes creates nothing, and returns an error that lists what is missing.
	RequireIndexes
	// IgnoreIndexes does not look at indexes. Uniqueness is then as good as the indexes
	// are that somebody else has created.
	IgnoreIndexes
)

// withDefaults returns complete options.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Collection == "" {
		c.Collection = DefaultCollection
	}
	if c.Version == "" {
		c.Version = DefaultVersion
	}
	if c.Batch == 0 {
		c.Batch = DefaultBatch
	}
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	switch {
	case c.Batch < 0 || c.Concurrency < 0:
		return c, fmt.Errorf("mongo: Options.Batch and Options.Concurrency must not be negative")
	case c.Indexes > IgnoreIndexes:
		return c, fmt.Errorf("mongo: Options.Indexes is %d, which is no IndexMode", c.Indexes)
	}
	if err := checkField("Options.Version", c.Version); err != nil {
		return c, err
	}
	names := []string{c.Collection}
	for _, o := range c.Objects {
		names = append(names, o.Name)
	}
	for _, e := range c.Edges {
		names = append(names, e.Name)
	}
	for _, name := range names {
		if strings.ContainsAny(name, "/$\x00") || strings.HasPrefix(name, "system.") {
			return c, fmt.Errorf("mongo: %q cannot be the name of a collection: it has a dollar sign, a NUL or a slash, which is for namespaces, or starts with \"system.\"", name)
		}
	}
	for name, e := range c.Edges {
		if (e.From == "") != (e.To == "") {
			return c, fmt.Errorf("mongo: Options.Edges[%q] has only one of From and To", name)
		}
		fields := []string{e.From, e.To, e.Time, e.Data, e.Kind, c.Version}
		for i, f := range fields {
			where := fmt.Sprintf("Options.Edges[%q]", name)
			if err := checkField(where, f); err != nil {
				return c, err
			}
			if f != "" && slices.Contains(fields[:i], f) {
				return c, fmt.Errorf("mongo: %s: the field %q would be two things", where, f)
			}
		}
	}
	return c, nil
}

// checkField checks a field's name that the user chooses.
func checkField(where, name string) error {
	if escape(name) != name || name == "_id" || name == deletingField || name == docField {
		return fmt.Errorf("mongo: %s: %q cannot be the name of a field", where, name)
	}
	return nil
}
