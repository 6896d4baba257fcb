package backendtest

import (
	"context"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/driver"
)

// defaultRounds is what StoreHarness.Rounds defaults to.
const defaultRounds = 12

// StoreHarness is what [Store] must know about an implementation.
type StoreHarness struct {
	// New returns a store over an empty database, apart from every other that
	// is in use. The suite closes it.
	New func(t *testing.T) driver.Store
	// Reopen returns a second store over the database of one that New
	// returned. Without it the suite does not test what one process sees of
	// another.
	Reopen func(t *testing.T, s driver.Store) driver.Store
	// Serializable: transactions are, so that one cannot commit after anything
	// that it read has changed. Otherwise only write conflicts are tested.
	Serializable bool
	// Holds reports whether the database can hold a value that is neither an array
	// nor a document, a document of one field, or an array: a server that the store
	// is tested on may not be all that it stands in for. Nil: it can hold any.
	Holds func(v driver.Value) bool
	// StoredUnique: a unique index judges fields as they are stored, so that it may
	// not see one that is missing or has an older name, and sees a nil in a list.
	StoredUnique bool
	// Rounds bounds the rounds of the random searches, and makes large batches smaller
	// in proportion, for a server that is slow. Defaults to 12.
	Rounds int
	// Skip has the reasons why some of the tests are skipped, by their names.
	Skip map[string]string
}

// holds reports whether the database can hold a value and all that is in it.
func (h *StoreHarness) holds(v driver.Value) bool {
	if h.Holds == nil {
		return true
	}
	switch v := v.(type) {
	case []driver.Value:
		return h.Holds(v) && !slices.ContainsFunc(v, func(v driver.Value) bool { return !h.holds(v) })
	case driver.Document:
		return !slices.ContainsFunc(v, func(f driver.Field) bool { return !h.Holds(driver.Document{f}) || !h.holds(f.Value) })
	}
	return h.Holds(v)
}

// held returns the values that the database can hold.
func (h *StoreHarness) held(values []driver.Value) []driver.Value {
	return slices.DeleteFunc(slices.Clone(values), func(v driver.Value) bool { return !h.holds(v) })
}

// Store tests a driver.Store, its driver.Transactor if its capabilities say that it
// has transactions, and its driver.Ledger if it has one.
func Store(t *testing.T, h StoreHarness) {
	tests := []struct {
		name string
		run  func(*storeRig)
	}{
		{"Identity", (*storeRig).identity},
		{"Ensure", (*storeRig).ensure},
		{"Objects", (*storeRig).objects},
		{"Outcomes", (*storeRig).outcomes},
		{"Batches", (*storeRig).batches},
		{"Context", (*storeRig).canceled},
		{"Stamps", (*storeRig).stamps},
		{"Values", (*storeRig).values},
		{"Old", (*storeRig).old},
		{"Names", (*storeRig).names},
		{"Keys", (*storeRig).keys},
		{"Ownership", (*storeRig).ownership},
		{"Times", (*storeRig).times},
		{"Lists", (*storeRig).lists},
		{"RandomLists", (*storeRig).randomLists},
		{"ToOne", (*storeRig).toOne},
		{"Symmetric", (*storeRig).symmetric},
		{"Rekind", (*storeRig).rekind},
		{"ScanEdges", (*storeRig).scanEdges},
		{"ScanDeleting", (*storeRig).scanDeleting},
		{"Namespaces", (*storeRig).namespaces},
		{"OneWins", (*storeRig).oneWins},
		{"OneState", (*storeRig).oneState},
		{"Reopen", (*storeRig).reopen},
		{"FindValues", (*storeRig).findValues},
		{"FindOrder", (*storeRig).findOrder},
		{"FindEdges", (*storeRig).findEdges},
		{"FindRandom", (*storeRig).findRandom},
		{"Unique", (*storeRig).unique},
		{"UniqueEnsure", (*storeRig).uniqueEnsure},
		{"UniqueOneWins", (*storeRig).uniqueOneWins},
		{"UniqueRandom", (*storeRig).uniqueRandom},
		{"Modify", (*storeRig).modify},
		{"ModifySums", (*storeRig).modifySums},
		{"ModifyConcurrent", (*storeRig).modifyConcurrent},
		{"Journal", ledger((*ledgerRig).journal)},
		{"JournalBytes", ledger((*ledgerRig).journalBytes)},
		{"JournalBatches", ledger((*ledgerRig).journalBatches)},
		{"Registry", ledger((*ledgerRig).registry)},
		{"RegistryOneFirst", ledger((*ledgerRig).registryOneFirst)},
		{"Generations", ledger((*ledgerRig).generations)},
		{"LedgerConcurrent", ledger((*ledgerRig).ledgerConcurrent)},
		{"LedgerOrder", ledger((*ledgerRig).ledgerOrder)},
		{"Ledger", ledger((*ledgerRig).ledgerRest)},
		{"Tx", (*storeRig).transactions},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if why := h.Skip[test.name]; why != "" {
				t.Skip(why)
			}
			s := h.New(t)
			t.Cleanup(func() {
				if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			r := &storeRig{T: t, h: h, s: s}
			r.must(s.Ensure(t.Context(), suiteSchema()))
			test.run(r)
		})
	}
}

// The kinds of the suite.
const (
	users   = "user"
	posts   = "post"
	wrote   = "wrote"   // user → post
	follows = "follows" // user → user, of the family of blocks
	blocks  = "blocks"
	pinned  = "pinned" // user → post, at most one, of the family of retired
	retired = "retired"
	friends = "friends" // user – user, of the family of close
	closest = "close"

	things   = "thing" // with indexes, none of them unique
	likes    = "likes" // thing → thing
	prefers  = "prefers"
	pairs    = "pairs"   // thing – thing
	accounts = "account" // with unique indexes
)

func suiteSchema() driver.Schema {
	return driver.Schema{
		Objects: []driver.ObjectKind{
			{Name: users}, {Name: posts}, {Name: things, Indexes: thingIndexes()}, {Name: accounts, Indexes: accountIndexes()},
		},
		Edges: []driver.EdgeKind{
			{Name: wrote, From: users, To: posts},
			{Name: follows, From: users, To: users, Family: "attitude"},
			{Name: blocks, From: users, To: users, Family: "attitude"},
			{Name: pinned, From: users, To: posts, Family: "pin", ToOne: true},
			{Name: retired, From: users, To: posts, Family: "pin", ToOne: true},
			{Name: friends, From: users, To: users, Family: "friendship", Symmetric: true},
			{Name: closest, From: users, To: users, Family: "friendship", Symmetric: true},
			{Name: likes, From: things, To: things},
			{Name: prefers, From: things, To: things, ToOne: true},
			{Name: pairs, From: things, To: things, Symmetric: true},
		},
	}
}

// readWriter is what a store and a transaction have in common.
type readWriter interface {
	Read(ctx context.Context, steps []driver.Step, atLeast driver.Stamp) ([]driver.Result, error)
	Write(ctx context.Context, writes []driver.Write) ([]driver.WriteResult, error)
}

// storeRig is a test with the store that it is about.
type storeRig struct {
	*testing.T
	h StoreHarness
	s driver.Store
}

func (r *storeRig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// read does one step.
func (r *storeRig) read(from readWriter, step driver.Step) driver.Result {
	r.Helper()
	results, err := from.Read(r.Context(), []driver.Step{step}, "")
	return one(r.T, "Read", results, err)
}

// write does one write.
func (r *storeRig) write(to readWriter, w driver.Write) driver.WriteResult {
	r.Helper()
	results, err := to.Write(r.Context(), []driver.Write{w})
	return one(r.T, "Write", results, err)
}

// done does writes that must succeed.
func (r *storeRig) done(to readWriter, writes ...driver.Write) []driver.WriteResult {
	r.Helper()
	results, err := to.Write(r.Context(), writes)
	if err != nil || len(results) != len(writes) {
		r.Fatalf("Write: %d results for %d, %v", len(results), len(writes), err)
	}
	for i := range results {
		if results[i].Outcome != driver.Done {
			r.Fatalf("Write: %s: outcome %v, want %v", describe(&writes[i]), results[i].Outcome, driver.Done)
		}
	}
	return results
}

// wants does a write and compares its outcome.
func (r *storeRig) wants(rule string, to readWriter, w driver.Write, want driver.Outcome) driver.WriteResult {
	r.Helper()
	got := r.write(to, w)
	if got.Outcome != want {
		r.Errorf("%s: %s: outcome %v, want %v", rule, describe(&w), got.Outcome, want)
	}
	return got
}

// get returns an object, nil if there is none.
func (r *storeRig) get(from readWriter, kind, id string) *driver.Object {
	r.Helper()
	found := r.read(from, driver.Step{Op: driver.GetObjects, Kind: kind, IDs: []string{id}})
	if len(found.Objects) != 1 {
		r.Fatalf("GetObjects gives one object for each ID: got %d for 1", len(found.Objects))
	}
	return found.Objects[0]
}

// list returns a part of one list.
func (r *storeRig) list(from readWriter, kind string, dir driver.Direction, id string, part driver.Range) []driver.Edge {
	r.Helper()
	found := r.read(from, driver.Step{Op: driver.ListEdges, Kind: kind, Direction: dir, IDs: []string{id}, Range: part})
	if len(found.Lists) != 1 {
		r.Fatalf("ListEdges gives one list for each ID: got %d for 1", len(found.Lists))
	}
	return found.Lists[0]
}

// equal compares two things and names the rule by which they should be equal.
func (r *storeRig) equal(rule string, got, want any) {
	r.Helper()
	if diff := cmp.Diff(want, got, recordOptions...); diff != "" {
		r.Errorf("%s (-want +got):\n%s", rule, diff)
	}
}

// recordOptions compare documents by the contract's own equality. Whether an empty
// list is nil is nobody's business.
var recordOptions = cmp.Options{
	cmp.Comparer(func(a, b driver.Document) bool { return driver.Equal(a, b) }),
	cmp.Comparer(func(a, b []driver.Value) bool { return driver.Equal(a, b) }),
	cmp.FilterValues(func(a, b []driver.Edge) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore()),
	cmp.FilterValues(func(a, b []string) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore()),
}

func insertObject(kind, id string, version int64, doc driver.Document) driver.Write {
	return driver.Write{Op: driver.Insert, Kind: kind, Object: &driver.Object{ID: id, Version: version, Doc: doc}}
}

func insertEdge(kind, from, to string, version int64, ms int64) driver.Write {
	return driver.Write{Op: driver.Insert, Kind: kind, Edge: edgeAt(from, to, version, ms)}
}

func (r *storeRig) counts(from readWriter, step driver.Step) []int {
	r.Helper()
	step.Op = driver.CountEdges
	return r.read(from, step).Counts
}

// describe names a write in a message.
func describe(w *driver.Write) string {
	ops := [...]string{"?", "insert", "replace", "delete", "rekind", "modify"}
	name := ops[min(int(w.Op), len(ops)-1)] + " " + w.Kind
	switch {
	case w.Object != nil:
		return name + " " + w.Object.ID
	case w.Edge != nil:
		return name + " " + w.Edge.From + "→" + w.Edge.To
	}
	return name
}
