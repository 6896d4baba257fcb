package protocol_test

import (
	"flag"
	"strings"
	"sync"
	"testing"

	"github.com/graphcache/graphcache/internal/protocol"
	"github.com/graphcache/graphcache/internal/protocol/model"
)

var fullSearch = flag.Bool("search.full", false, "search the large configurations too (a quarter of an hour, 15 GB, and a -timeout)")

// The fragments that readers are after, by short names for the tables.
const (
	primary   = model.Primary
	secondary = model.Secondary
)

// apart are readers of anchor 0, each in a process of its own.
func apart(fields ...model.Field) []readerSpec {
	var specs []readerSpec
	for i, f := range fields {
		specs = append(specs, readerSpec{process: uint8(i), field: f})
	}
	return specs
}

// flights are readers of anchor 0, all but the last in one process.
func flights(f model.Field, n int) []readerSpec {
	specs := make([]readerSpec, n)
	for i := range specs {
		specs[i].field = f
	}
	specs[n-1].process = 1
	return specs
}

// of are readers of anchor 0 in the processes given.
func of(processes ...uint8) []readerSpec {
	specs := make([]readerSpec, len(processes))
	for i, p := range processes {
		specs[i].process = p
	}
	return specs
}

// together and asunder are the processes of two writers.
var (
	together = [maxWriters]uint8{0, 0}
	asunder  = [maxWriters]uint8{0, 1}
)

var (
	both     = []readerSpec{{process: 0}, {process: 1, anchor: 1}}
	prefixes = []readerSpec{{process: 0, short: true}, {process: 1, short: true}, {process: 2}}
	lists    = []readerSpec{{process: 0, anchor: 1}, {process: 1, anchor: 1}, {process: 2, anchor: 2}}
	someOf   = budget{lost: 1, stalls: 1, crashes: 1, ambiguous: 1, evictions: 1, corrupted: 1, failures: 1}
	moreOf   = budget{lost: 2, stalls: 1, crashes: 1, ambiguous: 1, evictions: 1, corrupted: 1, failures: 1}
)

// configs are the configurations in which the protocol must be right. Each has a few
// readers and writers, and its share of what may go wrong: all of it at once would be
// too much to search.
var configs = []config{
	{name: "string key", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		budget: budget{crashes: 2, ambiguous: 2, evictions: 2, failures: 1}},
	{name: "string key, lost replies", layout: counter{}, readers: apart(primary, primary), writers: 2,
		budget: budget{lost: 2, stalls: 1}, expireEarly: true},
	{name: "string key, all faults", layout: counter{}, readers: apart(primary, primary), writers: 2,
		budget: someOf, expireEarly: true},
	{name: "string key, stamps", layout: counter{}, readers: apart(primary, primary), writers: 2,
		budget: budget{lost: 1, crashes: 1, evictions: 1}, stamps: true, expireEarly: true},
	{name: "string key, stamps and prefixes", layout: counter{}, readers: prefixes, writers: 2,
		stamps: true},
	{name: "string key, prefixes", layout: counter{}, readers: prefixes, writers: 2,
		budget: budget{evictions: 1, crashes: 1}},
	{name: "hash", layout: counter{}, readers: apart(secondary, secondary, secondary), writers: 2,
		budget: budget{evictions: 1, crashes: 1}},
	{name: "hash and string key", layout: counter{}, readers: apart(secondary, secondary, primary), writers: 2,
		budget: budget{evictions: 1, ambiguous: 1}},
	{name: "hash, all faults", layout: counter{}, readers: apart(secondary, primary), writers: 1,
		budget: moreOf, expireEarly: true},
	{name: "hash, stamps", layout: counter{}, readers: apart(secondary, primary), writers: 2,
		budget: budget{crashes: 1, evictions: 1, corrupted: 1}, stamps: true, expireEarly: true},
	{name: "flights", layout: counter{}, readers: flights(primary, 3), writers: 2,
		budget: budget{evictions: 1, crashes: 1}},
	{name: "flights, lost replies", layout: counter{}, readers: flights(primary, 3)[:2], writers: 2,
		budget: budget{lost: 2, failures: 1}},
	{name: "flights, hash", layout: counter{}, readers: flights(secondary, 3), writers: 2,
		budget: budget{evictions: 1}},
	{name: "to-one edge", layout: toOne{}, readers: lists[1:], writers: 2,
		budget: budget{evictions: 1}},
	{name: "to-one edge, crashes", layout: toOne{}, readers: lists[2:], writers: 2,
		budget: budget{crashes: 1, ambiguous: 1, evictions: 1}},
	{name: "to-one edge, lost replies", layout: toOne{}, readers: lists[2:], writers: 2,
		budget: budget{lost: 1}},
	{name: "lost holds", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		budget: budget{evictions: 2}, loseHolds: true, check: acknowledged},
	{name: "deposed primary", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		budget: budget{lost: 1, crashes: 1}, lag: true, check: acknowledged},
	{name: "deposed primary, flights", layout: counter{}, readers: flights(primary, 3), writers: 2,
		lag: true, check: acknowledged},

	{name: "journal", layout: counter{}, readers: of(0, 1), writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1, crashes: 1, stalls: 1, evictions: 1, unsaved: 1}},
	{name: "journal, three processes", layout: counter{}, readers: of(1, 2), writers: 1, journal: ack, processes: 3,
		budget: budget{outages: 1, crashes: 1}},
	{name: "journal, flights", layout: counter{}, readers: of(0, 0, 1), writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1}},
	{name: "journal, hash", layout: counter{}, readers: []readerSpec{{process: 0, field: secondary}, {process: 1, field: secondary}}, writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1, evictions: 1}},
	{name: "journal, lost replies", layout: counter{}, readers: of(0, 1), writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1, lost: 1, deaths: 1}},
	{name: "journal, holds of which some stand", layout: counter{}, readers: of(0, 1), writers: 1, journal: ack, processes: 2,
		budget: budget{lost: 2}},
	{name: "journal, one owner", layout: counter{}, readers: of(0, 1), writers: 2, homes: together, journal: ack, processes: 2,
		budget: budget{outages: 2}},
	{name: "journal, two owners", layout: counter{}, readers: of(0, 1), writers: 2, homes: asunder, journal: ack, processes: 2,
		budget: budget{outages: 1}},
	{name: "journal, conflicts", layout: compared{}, readers: of(1), writers: 2, homes: asunder, journal: ack, processes: 2,
		budget: budget{outages: 1}},
	{name: "journal, two anchors", layout: pair{}, readers: both[1:], writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1, unsaved: 1}},
	{name: "waiting", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1, crashes: 1, stalls: 1, evictions: 1, unsaved: 1}},
	{name: "waiting, three processes", layout: counter{}, readers: of(1, 2), writers: 1, journal: wait, processes: 3,
		budget: budget{outages: 1, stalls: 1}},
	{name: "waiting, flights", layout: counter{}, readers: of(1, 1, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1, evictions: 1}},
	{name: "waiting, two owners", layout: counter{}, readers: of(0, 1), writers: 2, homes: asunder, journal: wait, processes: 2,
		budget: budget{outages: 1}},
	{name: "waiting, two anchors", layout: pair{}, readers: both, writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1}},
	{name: "waiting, two anchors, lost replies", layout: pair{}, readers: both[1:], writers: 1, journal: wait, processes: 2,
		budget: budget{lost: 2}},
	{name: "unanswered write", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{ambiguous: 1, outages: 1, unsaved: 1}},
	{name: "unanswered write, three processes", layout: counter{}, readers: of(1, 2), writers: 1, journal: wait, processes: 3,
		budget: budget{ambiguous: 1, crashes: 1}},
	{name: "unanswered write, one owner", layout: counter{}, readers: of(1), writers: 2, homes: together, journal: wait, processes: 2,
		budget: budget{ambiguous: 1, outages: 1}},
	{name: "unanswered write, lost holds", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{ambiguous: 1, evictions: 2}, loseHolds: true, check: acknowledged},
	{name: "unconfirmed release", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{lost: 2, unsaved: 1}, expireEarly: true},
	{name: "unconfirmed release, lost holds", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{lost: 2, evictions: 1}, loseHolds: true, check: acknowledged},
	{name: "unconfirmed release, two writers", layout: counter{}, readers: of(1), writers: 2, homes: asunder, journal: ack, processes: 2,
		budget: budget{outages: 1, evictions: 1}, loseHolds: true, check: acknowledged},

	{name: "large: string key, readers", layout: counter{}, readers: apart(primary, primary, primary, primary), writers: 2,
		budget: budget{crashes: 1, evictions: 1}, full: true},
	{name: "large: string key, writers", layout: counter{}, readers: apart(primary, primary, primary), writers: 3,
		budget: budget{crashes: 1, evictions: 1}, full: true},
	{name: "large: string key, lost replies", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		budget: budget{lost: 2, stalls: 1}, expireEarly: true, full: true},
	{name: "large: string key, all faults", layout: counter{}, readers: apart(primary, primary), writers: 2,
		budget: moreOf, expireEarly: true, full: true},
	{name: "large: hash, all faults", layout: counter{}, readers: apart(secondary, secondary), writers: 2,
		budget: moreOf, expireEarly: true, full: true},
	{name: "large: flights", layout: counter{}, readers: flights(primary, 3), writers: 2,
		budget: budget{lost: 1, crashes: 1, evictions: 1, failures: 1}, full: true},
	{name: "large: flights of four", layout: counter{}, readers: flights(primary, 4), writers: 2, full: true},
	{name: "large: to-one edge", layout: toOne{}, readers: lists, writers: 2,
		budget: budget{evictions: 1}, full: true},
	{name: "large: to-one edge, all faults", layout: toOne{}, readers: lists[1:], writers: 2,
		budget: budget{lost: 1, crashes: 1, ambiguous: 1}, full: true},
	{name: "large: journal, two owners", layout: counter{}, readers: of(0, 1), writers: 2, homes: asunder, journal: ack, processes: 2,
		budget: budget{outages: 2}, full: true},
	{name: "large: journal, deaths", layout: counter{}, readers: of(0, 1), writers: 1, journal: ack, processes: 3,
		budget: budget{outages: 1, crashes: 1, deaths: 1, lost: 1}, full: true},
	{name: "large: journal, to-one edge", layout: toOne{}, readers: lists[2:], writers: 2, homes: together, journal: ack, processes: 1,
		budget: budget{outages: 1}, full: true},
	{name: "large: journal, two anchors", layout: pair{}, readers: both, writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1, unsaved: 1}, full: true},
	{name: "large: waiting, two owners", layout: counter{}, readers: of(0, 1), writers: 2, homes: asunder, journal: wait, processes: 2,
		budget: budget{outages: 2}, full: true},
	{name: "large: unconfirmed release, two writers", layout: counter{}, readers: of(0, 1), writers: 2, homes: asunder, journal: ack, processes: 2,
		budget: budget{outages: 1, evictions: 1}, loseHolds: true, check: acknowledged, full: true},
	{name: "large: unanswered write, conflicts", layout: compared{}, readers: of(1), writers: 2, homes: asunder, journal: wait, processes: 2,
		budget: budget{ambiguous: 1, outages: 1}, full: true},
	{name: "large: unanswered write, one owner", layout: counter{}, readers: of(0, 1), writers: 2, homes: together, journal: wait, processes: 2,
		budget: budget{ambiguous: 1, outages: 1}, full: true},
	{name: "large: unanswered write, two owners", layout: counter{}, readers: of(0, 1), writers: 2, homes: asunder, journal: wait, processes: 2,
		budget: budget{ambiguous: 1, outages: 1}, full: true},
}

// outcomes are the results of the searches of configs, each made once a process.
var outcomes = func() map[string]func() result {
	m := make(map[string]func() result)
	for i := range configs {
		m[configs[i].name] = sync.OnceValue(func() result { return search(&configs[i]) })
	}
	return m
}()

// TestInterleavings looks at every order of the steps of a few actors.
func TestInterleavings(t *testing.T) {
	for i := range configs {
		c := &configs[i]
		t.Run(c.name, func(t *testing.T) {
			if c.full && !*fullSearch {
				t.Skip("needs -search.full")
			}
			if !c.full {
				t.Parallel() // the large ones need the memory for themselves
			}
			r := outcomes[c.name]()
			t.Logf("states: %d in %v, %d transitions", r.states, r.took, len(r.transitions))
			if r.violation != "" {
				t.Errorf("%s\n%s", r.violation, strings.Join(r.trace, "\n"))
			}
		})
	}
}

// joinsAny joins whatever runs.
func joinsAny(_, _ uint64, _ bool) bool { return true }

// joinsSent joins a load that was sent before the reader came.
func joinsSent(version, flight uint64, _ bool) bool {
	return protocol.Joins(version, flight, false)
}

// controls break one rule each. A search that did not notice would prove nothing.
var controls = []config{
	{name: "the hold of a live writer is lost", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		budget: budget{evictions: 1}, loseHolds: true},
	{name: "a hold has a single owner", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		flaws: model.Flaws{SingleOwner: true}},
	{name: "a release deletes only its own mark", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		budget: budget{evictions: 2}, loseHolds: true, check: acknowledged, flaws: model.Flaws{TimidRelease: true}},
	{name: "a fill does not check the version", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		flaws: model.Flaws{FillAnyVersion: true}},
	{name: "a reader joins any load", layout: counter{}, readers: flights(primary, 3), writers: 2,
		joins: joinsAny},
	{name: "a reader without a version joins a load that was sent", layout: counter{}, readers: flights(primary, 3), writers: 2,
		joins: joinsSent},
	{name: "the store is read before the claim is answered", layout: counter{}, readers: apart(primary, primary, primary), writers: 2,
		readEarly: true},
	{name: "a claim brings back the version that was looked up", layout: counter{}, readers: apart(primary, secondary, primary), writers: 1,
		bringBack: true},
	{name: "a writer does not hold what it takes away", layout: toOne{}, readers: lists, writers: 2,
		forgetOld: true},
	{name: "a second attempt keeps its token", layout: toOne{}, readers: lists[2:], writers: 2,
		budget: budget{lost: 1}, reuseToken: true},
	{name: "a token expires while its write is under way", layout: counter{}, readers: apart(primary, primary), writers: 1,
		expireSoon: true},
	{name: "a look at a held entry drops the stamp", layout: counter{}, readers: apart(primary), writers: 2,
		lag: true, check: acknowledged, dropStamp: true},
	{name: "a load ignores the stamp of a reader that joins it", layout: counter{}, readers: flights(primary, 3), writers: 2,
		lag: true, check: acknowledged, deafLoad: true},

	{name: "a write is not journalled", layout: counter{}, readers: of(0, 1), writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1}, noEntry: true},
	{name: "an unconfirmed release is not journalled", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1, evictions: 1}, loseHolds: true, check: acknowledged, forgetRelease: true},
	{name: "an entry is drained before its window is over", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1}, hasty: true},
	{name: "a window ends before the longer one begins", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1, ambiguous: 1}, tight: true},
	{name: "a later entry shortens the window", layout: counter{}, readers: of(1), writers: 2, homes: together, journal: wait, processes: 2,
		budget: budget{outages: 1, ambiguous: 1}, shorten: true},
	{name: "an entry with a longer window keeps its token", layout: counter{}, readers: of(0, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1, ambiguous: 1}, keepToken: true},
	{name: "an entry is removed before the anchor is cleared", layout: counter{}, readers: of(0, 1), writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1}, settleFirst: true},
	{name: "an entry is removed whatever its token", layout: counter{}, readers: of(1), writers: 2, homes: together, journal: ack, processes: 2,
		budget: budget{outages: 2}, blindSettle: true},
	{name: "an anchor has one entry", layout: counter{}, readers: of(1), writers: 2, homes: asunder, journal: ack, processes: 2,
		budget: budget{outages: 2}, oneOwner: true},
	{name: "a process waits for its look to know what it owes", layout: counter{}, readers: of(0, 0), writers: 1, journal: ack, processes: 1,
		budget: budget{outages: 1}, ownLate: true},
	{name: "a process forgets what it has settled", layout: counter{}, readers: of(1, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1, ambiguous: 1}, forgetSettled: true},
	{name: "a writer does not wait for the others", layout: counter{}, readers: of(1, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1}, check: acknowledged, heedless: true},
	{name: "a writer waits for the others after the write", layout: counter{}, readers: of(1, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1}, heedLate: true},
	{name: "the holds of an unanswered write end before all know of it", layout: counter{}, readers: of(1, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{ambiguous: 1}, expireUnknown: true},
	{name: "a read of a journalled anchor joins a load that was sent", layout: counter{}, readers: of(1, 1), writers: 1, journal: wait, processes: 2,
		budget: budget{outages: 1}, joins: joinsSent},
	{name: "a process takes no notice of what others owe", layout: counter{}, readers: of(1, 1), writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1}, ignores: true},
	{name: "nobody drains", layout: counter{}, readers: of(1), writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1}, undrained: true},
	{name: "holds for entries that are gone are forgotten", layout: counter{}, readers: of(1), writers: 1, journal: ack, processes: 2,
		budget: budget{outages: 1}, forgetHolds: true},
	{name: "the hold for an entry is taken off when another replaces it", layout: counter{}, readers: of(2, 2), writers: 2, homes: together, journal: wait, processes: 3,
		budget: budget{outages: 1, ambiguous: 1}, dropReplaced: true, full: true},
}

// TestControls finds the violation that each broken rule leads to.
func TestControls(t *testing.T) {
	for i := range controls {
		c := &controls[i]
		t.Run(c.name, func(t *testing.T) {
			if c.full && !*fullSearch {
				t.Skip("needs -search.full")
			}
			t.Parallel()
			r := search(c)
			if r.violation == "" {
				t.Fatalf("no violation in %d states", r.states)
			}
			t.Logf("states: %d in %v\n%s:\n%s", r.states, r.took, r.violation, strings.Join(r.trace, "\n"))
		})
	}
}
