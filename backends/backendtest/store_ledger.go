package backendtest

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// ledgerRig is a test of a store's ledger, which is asked through the store and a view of it.
type ledgerRig struct {
	*storeRig
	l, view driver.Ledger
}

// ledger returns the test of a ledger as one of a store, which has to have one.
func ledger(test func(*ledgerRig)) func(*storeRig) {
	return func(r *storeRig) {
		l, ok := r.s.(driver.Ledger)
		if !ok {
			r.Skip("the store has no ledger")
		}
		view, ok := r.s.Namespace("tenant").(driver.Ledger)
		if !ok {
			r.Fatal("a view of a store that has a ledger has it too")
		}
		test(&ledgerRig{r, l, view})
	}
}

// look returns what a ledger has, in order.
func (r *ledgerRig) look(from driver.Ledger) driver.Look {
	r.Helper()
	look, err := from.Look(r.Context())
	r.must(err)
	slices.SortFunc(look.Journal, compareOwed)
	slices.SortFunc(look.Registry, compareRegistered)
	return look
}

func compareOwed(a, b driver.JournalEntry) int {
	return cmp.Or(cmp.Compare(a.Anchor, b.Anchor), cmp.Compare(a.Owner, b.Owner))
}

func compareRegistered(a, b driver.RegistryEntry) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Spec, b.Spec))
}

// owes compares the journal, as the store and as the view shows it.
func (r *ledgerRig) owes(rule string, want ...driver.JournalEntry) {
	r.Helper()
	want = slices.Clone(want)
	slices.SortFunc(want, compareOwed)
	for _, l := range []driver.Ledger{r.l, r.view} {
		got := r.look(l).Journal
		if len(got) != len(want) {
			r.Errorf("%s: %d entries in the journal, want %d", rule, len(got), len(want))
			continue
		}
		for i := range want {
			if got[i] != want[i] {
				r.Errorf("%s: got %s, want %s", rule, brief(got[i]), brief(want[i]))
			}
		}
	}
}

// brief is an entry in a message.
func brief(e driver.JournalEntry) string {
	return fmt.Sprintf("anchor %.20q (%d bytes), owner %q, token %q, window %v, record %.20q (%d bytes)",
		e.Anchor, len(e.Anchor), e.Owner, e.Token, e.Window, e.Record, len(e.Record))
}

// registers compares the registry of one kind: what is registered, and whether it is Ready.
func (r *ledgerRig) registers(rule string, from driver.Ledger, kind string, want map[string]bool) {
	r.Helper()
	got := make(map[string]bool)
	for _, e := range r.look(from).Registry {
		if _, twice := got[e.Spec]; twice && e.Kind == kind {
			r.Errorf("%s: %q is there twice", rule, e.Spec)
		}
		if e.Kind == kind {
			got[e.Spec] = e.Ready
		}
	}
	r.equal(rule, got, want)
}

// many returns how many there are of something, less on a server that is slow.
func (r *storeRig) many(n int) int {
	if r.h.Rounds > 0 {
		n = max(1, n*r.h.Rounds/defaultRounds)
	}
	return n
}

// owed returns an entry with a short token.
func owed(anchor, owner, token string) driver.JournalEntry {
	return driver.JournalEntry{Anchor: anchor, Owner: owner, Token: token, Window: 5 * time.Second}
}

// journal tests Owe and Settle.
func (r *ledgerRig) journal() {
	ctx := r.Context()
	look := r.look(r.l)
	r.equal("there is nothing in a new ledger", len(look.Journal)+len(look.Registry)+len(look.Generations), 0)
	r.must(r.l.Owe(ctx, nil))
	r.must(r.l.Settle(ctx, nil))
	r.owes("Owe and Settle without entries do nothing")

	a, b, c := owed("a", "me", "1"), owed("a", "you", "1"), owed("b", "me", "1")
	r.must(r.l.Owe(ctx, []driver.JournalEntry{a, b}))
	r.must(r.view.Owe(ctx, []driver.JournalEntry{c}))
	r.owes("Owe adds the entries, the same in all namespaces", a, b, c)
	a.Token, a.Window, a.Record = "2", 2*time.Minute, "record"
	r.must(r.view.Owe(ctx, []driver.JournalEntry{a}))
	r.owes("an entry takes the place of the one with the same anchor and owner", a, b, c)
	r.must(r.l.Owe(ctx, []driver.JournalEntry{a}))
	r.owes("Owe of what is there changes nothing", a, b, c)
	r.must(r.l.Owe(ctx, []driver.JournalEntry{owed("b", "me", "2"), owed("b", "me", "3"), c}))
	r.owes("of two entries with the same anchor and owner the later one takes the place", a, b, c)

	r.must(r.l.Settle(ctx, []driver.JournalEntry{owed("a", "me", "1"), owed("a", "us", "1"), owed("x", "me", "1"), owed("", "me", "1")}))
	r.owes("Settle leaves entries of which anchor, owner or token is another", a, b, c)
	r.must(r.view.Settle(ctx, []driver.JournalEntry{owed("a", "me", "1"), {Anchor: "a", Owner: "me", Token: "2"}, b}))
	r.owes("Settle removes the entries of which anchor, owner and token are those given", c)
	r.must(r.l.Settle(ctx, []driver.JournalEntry{b}))
	r.owes("Settle passes over what is not there", c)
	look = r.look(r.l)
	look.Journal[0].Token = "changed"
	r.owes("the caller owns the result", c)
	r.must(r.l.Owe(ctx, []driver.JournalEntry{a}))
	r.owes("what was settled can be owed again", a, c)
}

// anything returns texts that a store may mistake for something else, or for each other.
func anything(longest int) []string {
	return []string{
		"", "\x00", "\x00\x00", "\xff", "\xff\xfe\x00", "a", "A", "a\x00", "a.b", "$a", "\u00e9", "e\u0301", "\xc3", "id", "watch", "7", " ", "a\n",
		strings.Repeat("\xff", longest), strings.Repeat("\xff", longest-1) + "\x00", strings.Repeat("x", longest),
	}
}

// journalBytes tests what the parts of entries may be.
func (r *ledgerRig) journalBytes() {
	var all []driver.JournalEntry
	for i, anchor := range anything(32 << 10) {
		all = append(all, owed(anchor, "owner", fmt.Sprint(i)))
	}
	for i, text := range anything(64) {
		all = append(all, owed("by many", text, fmt.Sprint(i)), owed("token", fmt.Sprint(i), text))
	}
	for i, record := range anything(32 << 10) {
		e := owed("record", fmt.Sprint(i), "token")
		e.Record = record
		all = append(all, e)
	}
	all = append(all, owed("ab", "c", "1"), owed("a", "bc", "2"), owed("abc", "", "3"), owed("", "abc", "4"))
	most := time.Duration(math.MaxInt64).Truncate(time.Millisecond)
	for i, window := range []time.Duration{0, time.Millisecond, 999 * time.Millisecond, 5 * time.Second, 15*time.Minute + time.Millisecond, most} {
		e := owed("window", fmt.Sprint(i), "token")
		e.Window = window
		all = append(all, e)
	}
	r.must(r.l.Owe(r.Context(), all))
	r.owes("anchors, owners, tokens and records are any bytes, windows whole milliseconds", all...)
	for i := range all {
		wrong := all[i]
		wrong.Token += "\x00"
		all[i].Window, all[i].Record = 0, ""
		r.must(r.l.Settle(r.Context(), []driver.JournalEntry{wrong}))
	}
	r.equal("Settle leaves entries whose token is another", len(r.look(r.l).Journal), len(all))
	r.must(r.l.Settle(r.Context(), all))
	r.owes("Settle asks for anchor, owner and token only")
}

// journalBatches tests large batches.
func (r *ledgerRig) journalBatches() {
	all := make([]driver.JournalEntry, r.many(3000))
	for i := range all {
		all[i] = owed(fmt.Sprint("anchor ", i), "me", "1")
	}
	old := slices.Clone(all)
	r.must(r.l.Owe(r.Context(), all))
	r.owes("Owe adds all entries", all...)
	for i := range all {
		all[i].Token = fmt.Sprint(i)
	}
	all[1].Token = "1"
	r.must(r.l.Owe(r.Context(), all))
	r.owes("Owe replaces all entries", all...)
	r.must(r.l.Settle(r.Context(), old))
	r.owes("Settle removes only the entries with the tokens given", append(all[2:], all[0])...)
	half := len(all) / 2
	r.must(r.l.Settle(r.Context(), all[half:]))
	r.must(r.l.Settle(r.Context(), all))
	r.owes("Settle removes all entries")
}

// registry tests Register.
func (r *ledgerRig) registry() {
	ctx := r.Context()
	register := func(l driver.Ledger, entries ...driver.RegistryEntry) {
		r.Helper()
		r.must(l.Register(ctx, entries))
	}
	register(r.l)
	r.equal("Register without entries registers nothing", len(r.look(r.l).Registry), 0)
	register(r.l, driver.RegistryEntry{Kind: users, Spec: "a"}, driver.RegistryEntry{Kind: posts, Spec: "a", Ready: true}, driver.RegistryEntry{Kind: users, Spec: "b"})
	want := map[string]bool{"a": true, "b": true}
	r.registers("entries of a kind of which nothing is registered are Ready, all that come in one call", r.l, users, want)
	r.registers("the registry is the same in all namespaces", r.view, users, want)
	r.registers("kinds are apart", r.l, posts, map[string]bool{"a": true})

	register(r.view, driver.RegistryEntry{Kind: users, Spec: "c"}, driver.RegistryEntry{Kind: users, Spec: "a"}, driver.RegistryEntry{Kind: "new", Spec: "c"})
	want["c"] = false
	r.registers("an entry of a kind of which something is registered is not Ready, others stay so", r.l, users, want)
	r.registers("an entry of a kind of which nothing is registered is Ready, whatever else is in the call", r.l, "new", map[string]bool{"c": true})
	register(r.l, driver.RegistryEntry{Kind: users, Spec: "c"})
	r.registers("renewing makes nothing Ready", r.l, users, want)
	register(r.l, driver.RegistryEntry{Kind: users, Spec: "c", Ready: true}, driver.RegistryEntry{Kind: users, Spec: "d", Ready: true})
	want["c"], want["d"] = true, true
	r.registers("an entry can be made Ready, or be so when it is added", r.l, users, want)
	register(r.l, driver.RegistryEntry{Kind: users, Spec: "c"}, driver.RegistryEntry{Kind: users, Spec: "e"}, driver.RegistryEntry{Kind: users, Spec: "a"})
	want["e"] = false
	r.registers("what is Ready stays so", r.l, users, want)
	register(r.l, driver.RegistryEntry{Kind: users, Spec: "f", Ready: true}, driver.RegistryEntry{Kind: users, Spec: "f"})
	want["f"] = true
	r.registers("an entry that comes twice is Ready if one of the two is", r.l, users, want)

	look := r.look(r.l)
	look.Registry[0].Spec = "changed"
	r.registers("the caller owns the result", r.l, users, want)
	var entries []driver.RegistryEntry
	for _, kind := range []string{"never declared", "a.b $c", "Ü", "$"} {
		for _, spec := range anything(64 << 10) {
			entries = append(entries, driver.RegistryEntry{Kind: kind, Spec: spec})
		}
		register(r.l, entries[len(entries)-len(anything(64<<10)):]...)
	}
	for _, e := range r.look(r.view).Registry {
		entries = slices.DeleteFunc(entries, func(w driver.RegistryEntry) bool { return w.Kind == e.Kind && w.Spec == e.Spec && e.Ready })
	}
	r.equal("kinds need not be declared, and a spec is any bytes; entries that are missing", len(entries), 0)
}

// registryOneFirst tests that one of several calls is the first of a kind.
func (r *ledgerRig) registryOneFirst() {
	const callers = 8
	for round := range r.many(12) {
		kind := fmt.Sprint("kind ", round)
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				l := []driver.Ledger{r.l, r.view}[i%2]
				entries := []driver.RegistryEntry{{Kind: kind, Spec: fmt.Sprint(i)}, {Kind: kind, Spec: fmt.Sprint(i, " too")}, {Kind: kind, Spec: "common"}}
				if err := l.Register(r.Context(), entries); err != nil {
					r.Errorf("Register: %v", err)
				}
			})
		}
		group.Wait()
		ready, common := make(map[string]int), false
		registered := 0
		for _, e := range r.look(r.l).Registry {
			switch {
			case e.Kind != kind:
				continue
			case e.Spec == "common":
				common = e.Ready
			case e.Ready:
				ready[strings.TrimSuffix(e.Spec, " too")]++
			}
			registered++
		}
		r.equal("of concurrent calls of Register none is lost", registered, 2*callers+1)
		for caller, n := range ready {
			r.equal("what is registered of a kind is changed atomically: entries that are Ready of caller "+caller, n, 2)
		}
		if len(ready) != 1 || !common {
			r.Errorf("the entries of the first call of a kind are Ready and no others: those of the callers %v are, and what is common to all: %v", ready, common)
		}
	}
}

// generations tests Raise.
func (r *ledgerRig) generations() {
	read := func(from driver.Ledger) map[string]uint64 {
		r.Helper()
		return r.look(from).Generations
	}
	r.equal("no counter is other than 0 at first", len(read(r.l)), 0)
	r.must(r.l.Raise(r.Context(), nil, 0))
	r.equal("Raise without kinds raises none", len(read(r.l)), 0)
	r.must(r.l.Raise(r.Context(), []string{users, "never declared", "a.b $c", "Ü"}, 0))
	r.must(r.view.Raise(r.Context(), []string{users, posts}, 0))
	want := map[string]uint64{users: 2, posts: 1, "never declared": 1, "a.b $c": 1, "Ü": 1}
	r.equal("Raise adds one to the counters of the kinds, which need not be declared, in all namespaces", read(r.l), want)
	got := read(r.view)
	r.equal("the counters are the same in all namespaces", got, want)
	got[users] = 99
	delete(got, posts)
	r.equal("the caller owns the map", read(r.view), want)
	r.must(r.l.Raise(r.Context(), []string{posts, "restored"}, 82))
	r.must(r.l.Raise(r.Context(), []string{posts, "restored"}, 5))
	want[posts], want["restored"] = 83, 83
	r.equal("Raise sets counters that are less than atLeast to that, and others to one more", read(r.l), want)
}

// ledgerConcurrent makes all calls at once.
func (r *ledgerRig) ledgerConcurrent() {
	const callers = 8
	rounds := r.many(12)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() {
			l := []driver.Ledger{r.l, r.view}[i%2]
			if err := useLedger(r.Context(), l, fmt.Sprint(i), rounds); err != nil {
				r.Error(err)
			}
		})
	}
	group.Wait()
	var left []driver.JournalEntry
	for i := range callers {
		left = append(left, owed("left", fmt.Sprint(i), fmt.Sprint(rounds-1)))
	}
	r.owes("of concurrent calls of Owe and Settle none is lost", left...)
	look := r.look(r.l)
	n := uint64(callers * rounds)
	r.equal("of concurrent calls of Raise none is lost", look.Generations, map[string]uint64{users: n, posts: n})
	r.equal("of concurrent calls of Register none is lost", len(look.Registry), callers*(rounds+1))
}

// useLedger makes all calls, and checks that nobody removes what is the caller's own.
func useLedger(ctx context.Context, l driver.Ledger, caller string, rounds int) error {
	for i := range rounds {
		token := fmt.Sprint(i)
		brief, left := owed("common", caller, token), owed("left", caller, token)
		if err := l.Owe(ctx, []driver.JournalEntry{brief, left}); err != nil {
			return fmt.Errorf("Owe: %w", err)
		}
		if err := l.Raise(ctx, []string{users, posts}, 0); err != nil {
			return fmt.Errorf("Raise: %w", err)
		}
		look, err := l.Look(ctx)
		if err != nil {
			return fmt.Errorf("Look: %w", err)
		}
		if !slices.Contains(look.Journal, brief) || !slices.Contains(look.Journal, left) || look.Generations[users] <= uint64(i) {
			return fmt.Errorf("Look shows what was done before: caller %s in round %d: %d entries, generations %v", caller, i, len(look.Journal), look.Generations)
		}
		// What others owe of the same anchors is not the caller's.
		theirs := owed("left", caller, token+"?")
		if err := l.Settle(ctx, []driver.JournalEntry{brief, theirs}); err != nil {
			return fmt.Errorf("Settle: %w", err)
		}
		entries := []driver.RegistryEntry{{Kind: users, Spec: caller}, {Kind: users, Spec: caller + " " + token}}
		if err := l.Register(ctx, entries); err != nil {
			return fmt.Errorf("Register: %w", err)
		}
	}
	return nil
}

// ledgerOrder looks while entries are owed and settled:
//
//	W: owe the entry i   owe all anchors   settle the entry   raise the generation to i   settle all anchors
//	R: look
//
// A Look that begins when the entry i was owed shows it, or that all anchors are owed, or a
// generation that is not less than i.
func (r *ledgerRig) ledgerOrder() {
	const lookers = 2
	const kind = "ordered"
	var there atomic.Uint64 // the last entry that was owed
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	var group sync.WaitGroup
	for range lookers {
		group.Go(func() {
			for ctx.Err() == nil {
				n := there.Load()
				look, err := r.view.Look(r.Context())
				if err != nil {
					r.Errorf("Look: %v", err)
					return
				}
				shown := slices.ContainsFunc(look.Journal, func(e driver.JournalEntry) bool { return e.Token == fmt.Sprint(n) })
				if got := look.Generations[kind]; !shown && got < n {
					r.Errorf("a Look that does not show an entry which was there shows what was raised before it was settled: entry %d is gone, the generation is %d", n, got)
					return
				}
			}
		})
	}
	for i, begin := 0, time.Now(); i < r.many(300) && time.Since(begin) < time.Second; i++ {
		token := fmt.Sprint(i + 1)
		one, all := owed("anchor "+token, "me", token), owed("", "me", token)
		r.must(r.l.Owe(r.Context(), []driver.JournalEntry{one}))
		there.Store(uint64(i + 1))
		for _, step := range []func() error{
			func() error { return r.l.Owe(r.Context(), []driver.JournalEntry{all}) },
			func() error { return r.l.Settle(r.Context(), []driver.JournalEntry{one}) },
			func() error { return r.l.Raise(r.Context(), []string{kind}, 0) },
			func() error { return r.l.Settle(r.Context(), []driver.JournalEntry{all}) },
		} {
			time.Sleep(rand.N(100 * time.Microsecond)) // a part of a Look may be in between
			r.must(step())
		}
	}
	stop()
	group.Wait()
}

// ledgerRest tests what all calls have in common: contexts, stamps, and that other processes
// see what they have done.
func (r *ledgerRig) ledgerRest() {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	e, i := owed("a", "me", "1"), driver.RegistryEntry{Kind: users, Spec: "a"}
	for call, err := range map[string]error{
		"Owe":      r.l.Owe(ctx, []driver.JournalEntry{e}),
		"Settle":   r.l.Settle(ctx, []driver.JournalEntry{e}),
		"Register": r.l.Register(ctx, []driver.RegistryEntry{i}),
		"Raise":    r.l.Raise(ctx, []string{users}, 0),
	} {
		if err == nil {
			r.Errorf("%s with a context that has ended returns an error", call)
		}
	}
	if got, err := r.l.Look(ctx); err == nil {
		r.Errorf("Look with a context that has ended returns an error: got %v", got)
	}

	r.must(r.l.Owe(r.Context(), []driver.JournalEntry{e}))
	r.must(r.l.Register(r.Context(), []driver.RegistryEntry{i}))
	r.must(r.l.Raise(r.Context(), []string{posts}, 7))
	r.equal("a Look has a stamp where the store has a logical clock", r.look(r.l).Stamp != "", r.s.Capabilities().Stamps)
	if r.h.Reopen == nil {
		return
	}
	other := r.h.Reopen(r.T, r.s)
	defer other.Close(context.WithoutCancel(r.Context()))
	r.must(other.Ensure(r.Context(), suiteSchema()))
	r.done(other, insertObject(users, "a", 1, nil))
	look := r.look(r.l)
	found, err := r.s.Read(r.Context(), []driver.Step{{Op: driver.GetObjects, Kind: users, IDs: []string{"a"}}}, look.Stamp)
	if one(r.T, "Read", found, err).Objects[0] == nil {
		r.Errorf("a write that was acknowledged before the call of Look is not after its stamp")
	}
	theirs := r.look(other.(driver.Ledger))
	r.equal("the journal is kept in the database", theirs.Journal, []driver.JournalEntry{e})
	r.registers("the registry is kept in the database", other.(driver.Ledger), users, map[string]bool{"a": true})
	r.equal("the counters are kept in the database", theirs.Generations[posts], uint64(7))
	r.must(other.(driver.Ledger).Settle(r.Context(), []driver.JournalEntry{e}))
	r.owes("another process can settle what this one owes")
}
