package backendtest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// CountersHarness tells [Counters] how to reach a backend.
type CountersHarness struct {
	// New returns counters that share nothing with those of another call. It
	// registers with t what is to be cleaned up. It is required.
	New func(t *testing.T) driver.Counters
	// Peer returns another client of the same counters, as another process has
	// one. Nil if the backend serves a single process.
	Peer func(t *testing.T, c driver.Counters) driver.Counters
	// Advance moves the clock of all counters that New returned. If it is nil
	// the suite waits for windows of some hundred milliseconds.
	Advance func(d time.Duration)
	// LoseExpiry makes the backend forget when the counter ends, and nothing
	// else. Nil if that cannot happen.
	LoseExpiry func(t *testing.T, c driver.Counters, key driver.CounterKey)
	// LoseGroupExpiry is the same for a group.
	LoseGroupExpiry func(t *testing.T, c driver.Counters, group string)
}

// Counters tests that a backend keeps the contract of [driver.Counters]. Each
// failure names the rule that was broken.
func Counters(t *testing.T, h CountersHarness) {
	for _, c := range countersCases {
		t.Run(c.name, func(t *testing.T) {
			a := addonTest{T: t, rule: c.rule, advance: h.Advance}
			ct := &countersTest{addonTest: a, harness: h, counters: h.New(t)}
			c.run(ct)
		})
	}
}

var countersCases = []struct {
	name, rule string
	run        func(*countersTest)
}{
	{"Count", "the elements of a batch are applied in order and answered in order, a key that occurs twice included", (*countersTest).testCount},
	{"Window", "a window opens with the first increment, ends Window later, and no later increment moves its end", (*countersTest).testWindow},
	{"Remaining", "Remaining is positive, at most the window's length, and falls as time passes", (*countersTest).testRemaining},
	{"LostExpiry", "an increment that finds a counter without an end sets it anew", (*countersTest).testLostExpiry},
	{"Atomic", "increments are atomic: concurrent ones get places that neither overlap nor leave gaps", (*countersTest).testAtomic},
	{"Token", "an increment repeated with its Token is counted once and answered as before, if fewer than Exact were counted before it", (*countersTest).testToken},
	{"TokenWindow", "a token is remembered until its window ends, and not beyond", (*countersTest).testTokenWindow},
	{"TokenRace", "deliveries of one token that overlap are counted once and answered alike", (*countersTest).testTokenRace},
	{"TokenScope", "a token belongs to one counter, and the empty token to nobody", (*countersTest).testTokenScope},
	{"Epoch", "an increment with an Epoch is counted in that window only, and opens none", (*countersTest).testEpoch},
	{"Keys", "keys that differ in a part never share a counter", (*countersTest).testKeys},
	{"Read", "with N 0 a counter is read: nothing is counted, opened, remembered or bounded", (*countersTest).testRead},
	{"Members", "a group opens Members counters, and what is beyond them is counted by Other", (*countersTest).testMembers},
	{"MembersWindow", "a group's window opens with its first counter and is as long, and nothing moves its end", (*countersTest).testMembersWindow},
	{"MembersRace", "openings are atomic: of many that overlap exactly Members succeed, and no increment of the others is lost", (*countersTest).testMembersRace},
	{"MembersOther", "the counter of Other takes no room, and is one like any other", (*countersTest).testMembersOther},
	{"MembersToken", "a token that Other remembers belongs to the member it came from, in whatever window of the group", (*countersTest).testMembersToken},
	{"MembersEpoch", "an increment with an Epoch opens no counter, takes no room, and is not counted by Other", (*countersTest).testMembersEpoch},
	{"MembersNone", "increments without Members neither ask for room nor take any", (*countersTest).testMembersNone},
	{"MembersLostExpiry", "an increment that finds a group without an end sets it anew", (*countersTest).testMembersLostExpiry},
	{"MembersKeys", "neither groups nor members are taken for one another, nor for counters", (*countersTest).testMembersKeys},
	{"Invalid", "a batch with an invalid element is refused as a whole with ErrInvalid and has no effect", (*countersTest).testInvalid},
	{"Limits", "what is just within the limits is served", (*countersTest).testLimits},
	{"Empty", "an empty batch gives an empty result and no error", (*countersTest).testEmpty},
	{"Cancelled", "a call whose context has ended returns its error and has no effect", (*countersTest).testCancelled},
	{"Close", "after Close calls wrap ErrUnavailable, and a second Close does nothing", (*countersTest).testClose},
}

// addonNames are strings that a careless encoding takes for one another.
var addonNames = []string{
	"", "a", "b", "ab", "abc", "bc", "A", "a:", ":a", "a:b", "a/b", "a b", "a\x00", "\x00a", "a\x00b", "\x00",
	"{a}", "{a}b", "a{b}", "{", "}", "{}", "a}", "a*", "?", "[a]", "1", "01", "1:a", "\xff", "\xff\xfe", "é", "e\u0301",
	"a\n", "a\r\nb", "\"a\"", "a\\", "%61", "+", strings.Repeat("a", 300), strings.Repeat("a", 301),
}

// countersTest is one case of [Counters].
type countersTest struct {
	addonTest
	harness  CountersHarness
	counters driver.Counters
}

// peer returns a client that stands for another process.
func (c *countersTest) peer() driver.Counters {
	if c.harness.Peer == nil {
		return c.counters
	}
	return c.harness.Peer(c.T, c.counters)
}

// counterAdd returns an increment by one that a test alters.
func counterAdd(group, member string) driver.Increment {
	return driver.Increment{
		Key:    driver.CounterKey{Group: group, Member: member},
		N:      1,
		Window: time.Hour,
	}
}

// add makes one batch and checks that every element was applied.
func (c *countersTest) add(increments ...driver.Increment) []driver.Count {
	c.Helper()
	counts, err := c.counters.Increment(c.Context(), increments)
	c.must(err)
	if len(counts) != len(increments) {
		c.Fatalf("broken rule: a result has one element for each asked\n\t%d for %d", len(counts), len(increments))
	}
	for i, count := range counts {
		if count.Outcome != driver.Done || count.Epoch == 0 || count.Remaining <= 0 {
			c.broken("element %d: %+v, want Done with an epoch and a remaining time", i, count)
		}
	}
	return counts
}

// want checks one count.
func (c *countersTest) want(what string, got driver.Count, want int64) {
	c.Helper()
	if got.Count != want {
		c.broken("%s: count %d, want %d", what, got.Count, want)
	}
}

func (c *countersTest) testCount() {
	five := counterAdd("g", "five")
	five.N = 5
	batch := []driver.Increment{counterAdd("g", "a"), five, counterAdd("g", "a"), counterAdd("h", "a"), five, counterAdd("g", "a")}
	wants := []int64{1, 5, 2, 1, 10, 3}
	for i, count := range c.add(batch...) {
		c.want(fmt.Sprintf("element %d", i), count, wants[i])
	}
	c.want("the next batch", c.add(five)[0], 15)
}

func (c *countersTest) testWindow() {
	w, since := c.window(), time.Now()
	first := counterAdd("g", "a")
	first.Window = w
	var others []driver.Increment // that end together with the first
	for n := range 20 {
		others = append(others, first)
		others[n].Key.Group = fmt.Sprint("other ", n)
	}
	c.add(others...)
	epoch := c.add(first)[0].Epoch
	c.ends(since, w, func() bool {
		later := c.add(counterAdd("g", "a"))[0]
		if later.Epoch != epoch {
			c.want("the first increment of a new window", later, 1)
			return true
		}
		if later.Count < 2 {
			c.broken("count %d in a window in which something was counted before", later.Count)
		}
		if later.Remaining > w {
			c.broken("%v remain of a window of %v", later.Remaining, w)
		}
		return false
	})
	for n, count := range c.add(others...) {
		c.want(fmt.Sprintf("counter %d of many whose windows ended at once", n), count, 1)
	}
}

func (c *countersTest) testRemaining() {
	w := c.window()
	i := counterAdd("g", "a")
	i.Window = w - 400*time.Microsecond // rounded up to w
	first := c.add(i)[0].Remaining
	if first > w {
		c.broken("%v remain of a window of %v", first, w)
	}
	if c.advance == nil {
		c.poll(addonPatience, func() bool { return c.add(i)[0].Remaining < first })
		return
	}
	if first != w {
		c.broken("%v remain of a window of %v that just opened", first, w)
	}
	c.advance(w / 3)
	if got := c.add(i)[0].Remaining; got != w-w/3 {
		c.broken("%v remain, want %v", got, w-w/3)
	}
}

func (c *countersTest) testLostExpiry() {
	if c.harness.LoseExpiry == nil {
		c.Skip("the harness cannot lose an expiry")
	}
	i := counterAdd("g", "a")
	c.add(i)
	c.harness.LoseExpiry(c.T, c.counters, i.Key)
	w, since := c.window(), time.Now()
	i.Window = w
	found := c.add(i)[0]
	if found.Remaining > w {
		c.broken("%v remain, want at most %v", found.Remaining, w)
	}
	c.ends(since, w, func() bool { return c.add(i)[0].Epoch != found.Epoch })
}

func (c *countersTest) testAtomic() {
	const workers, rounds = 8, 40
	keys := []string{"a", "b", "c"}
	var mu sync.Mutex
	places := make(map[string][][2]int64) // first and last of each increment
	var wg sync.WaitGroup
	for w := range workers {
		client := c.peer()
		wg.Go(func() {
			for r := range rounds {
				var batch []driver.Increment
				for k := range keys {
					i := counterAdd("g", keys[(k+w)%len(keys)])
					i.N = int64(1 + (w+r)%3)
					batch = append(batch, i)
				}
				counts, err := client.Increment(c.Context(), batch)
				if err != nil {
					c.broken("unexpected error: %v", err)
					return
				}
				mu.Lock()
				for n, count := range counts {
					key := batch[n].Key.Member
					places[key] = append(places[key], [2]int64{count.Count - batch[n].N + 1, count.Count})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, key := range keys {
		c.checkPlaces(key, places[key])
	}
}

func (c *countersTest) checkPlaces(key string, places [][2]int64) {
	c.Helper()
	slices.SortFunc(places, func(a, b [2]int64) int { return cmp.Compare(a[0], b[0]) })
	next := int64(1)
	for _, p := range places {
		if p[0] != next {
			c.broken("counter %q: an increment has the places %d to %d, want them to start at %d", key, p[0], p[1], next)
			return
		}
		next = p[1] + 1
	}
}

func (c *countersTest) testToken() {
	step := func(token string, n int64) driver.Increment {
		i := counterAdd("g", "a")
		i.Token, i.N, i.Exact = token, n, 5
		return i
	}
	c.want("the first", c.add(step("t1", 4))[0], 4)
	c.want("the first, repeated", c.add(step("t1", 4))[0], 4)
	c.want("one that passes Exact", c.add(step("t2", 3))[0], 7)
	c.want("the first, repeated later", c.add(step("t1", 4))[0], 4)
	c.want("one that passes Exact, repeated", c.add(step("t2", 3))[0], 7)
	twice := c.add(step("t3", 1), step("t2", 3))
	c.want("one beyond Exact", twice[0], 8)
	c.want("repeated in one batch with another", twice[1], 7)
	if got := c.add(step("t3", 1))[0].Count; got != 8 && got != 9 {
		c.broken("one beyond Exact, repeated: count %d, want 8 or 9", got)
	}
}

func (c *countersTest) testTokenWindow() {
	w, since := c.window(), time.Now()
	i := counterAdd("g", "a")
	i.Window, i.Exact, i.Token = w, 5, "t1"
	epoch := c.add(i)[0].Epoch
	i.Token = "t2"
	c.add(i)
	c.ends(since, w, func() bool {
		again := c.add(i)[0]
		if again.Epoch != epoch {
			c.want("repeated in the next window", again, 1)
			return true
		}
		c.want("repeated in its window", again, 2)
		return false
	})
}

func (c *countersTest) testTokenRace() {
	const tokens, deliveries = 20, 3
	answers := make([][deliveries]int64, tokens)
	var wg sync.WaitGroup
	for d := range deliveries {
		client := c.peer()
		for n := range tokens {
			wg.Go(func() {
				i := counterAdd("g", "a")
				i.Token, i.Exact = fmt.Sprint("t", n), tokens
				counts, err := client.Increment(c.Context(), []driver.Increment{i})
				if err != nil || len(counts) != 1 {
					c.broken("%d results, error %v", len(counts), err)
					return
				}
				answers[n][d] = counts[0].Count
			})
		}
	}
	wg.Wait()
	for n, got := range answers {
		if got[0] != got[1] || got[1] != got[2] {
			c.broken("token %d was answered %v, want the same for each delivery", n, got)
		}
	}
	c.want("after all", c.add(counterAdd("g", "a"))[0], tokens+1)
}

func (c *countersTest) testTokenScope() {
	a, b := counterAdd("g", "a"), counterAdd("g", "b")
	a.Token, b.Token, a.Exact, b.Exact = "t", "t", 5, 5
	b.N = 3
	got := c.add(a, b)
	c.want("the first counter", got[0], 1)
	c.want("another counter with the same token", got[1], 3)
	a.Token = ""
	c.want("an empty token", c.add(a)[0], 2)
	c.want("an empty token, repeated", c.add(a)[0], 3)
}

func (c *countersTest) testEpoch() {
	w, since := c.window(), time.Now()
	i := counterAdd("g", "a")
	i.Window = w
	opened := c.add(i)[0]
	late := counterAdd("g", "a")
	late.N, late.Epoch = 100, opened.Epoch
	if c.advance != nil { // else the window may be over by now
		c.want("in its window", c.add(late)[0], 101)
	}
	other := late
	other.Epoch++
	c.checkRefused("in another window", other)
	late.Key.Member = "none"
	c.checkRefused("without a window", late)
	late.Key.Member = "a"
	c.ends(since, w, func() bool { return c.send(late).Outcome == driver.Refused })
	c.checkRefused("after its window", late)
	c.want("the next window", c.add(i)[0], 1)
}

func (c *countersTest) send(i driver.Increment) driver.Count {
	c.Helper()
	counts, err := c.counters.Increment(c.Context(), []driver.Increment{i})
	c.must(err)
	return counts[0]
}

func (c *countersTest) checkRefused(what string, i driver.Increment) {
	c.Helper()
	if got := c.send(i); got != (driver.Count{Outcome: driver.Refused}) {
		c.broken("%s: %+v, want only Refused", what, got)
	}
}

func (c *countersTest) testRead() {
	read := counterOf("g", "a", 1)
	read.N, read.Token, read.Exact, read.Window = 0, "t", 5, time.Millisecond
	c.checkRefused("no window is open", read)
	opened := c.add(counterOf("g", "a", 1))[0]
	late := read
	late.Epoch = opened.Epoch
	for name, i := range map[string]driver.Increment{"in any window": read, "in this one": late} {
		got := c.add(i)[0]
		c.want(name, got, 1)
		if got.Epoch != opened.Epoch || got.Other || got.Remaining > opened.Remaining || got.Remaining < opened.Remaining/2 {
			c.broken("%s: %+v, want the window of %+v", name, got, opened)
		}
	}
	late.Epoch++
	c.checkRefused("in another window", late)
	read.Key.Member = "b"
	c.checkRefused("no window is open, and the group is full", read)
	c.checkRefused("Other was not opened", driver.Increment{Key: driver.CounterKey{Group: "g", Member: counterOther}, Window: time.Hour})
	with := counterAdd("g", "a")
	with.Token, with.Exact, with.N = "t", 5, 2
	c.want("a token that was only read with", c.add(with)[0], 3)
	with.N = 0
	c.want("read with a token that is remembered, after another", c.add(counterAdd("g", "a"), with)[1], 4)
}

func (c *countersTest) testKeys() {
	var batch []driver.Increment
	for _, group := range addonNames {
		for _, member := range addonNames {
			batch = append(batch, counterAdd(group, member))
		}
	}
	for i, count := range c.add(batch...) {
		if count.Count != 1 {
			c.broken("counter %q shares its count with another", batch[i].Key)
		}
	}
	for i, count := range c.add(batch...) {
		if count.Count != 2 {
			c.broken("counter %q is at %d when increased again, want 2", batch[i].Key, count.Count)
		}
	}
}

func (c *countersTest) testInvalid() {
	long, token := strings.Repeat("k", driver.MaxCounterKey+1), strings.Repeat("t", driver.MaxToken+1)
	for name, alter := range map[string]func(*driver.Increment){
		"long group":       func(i *driver.Increment) { i.Key.Group = long },
		"long member":      func(i *driver.Increment) { i.Key.Member = long },
		"long other":       func(i *driver.Increment) { i.Other = long },
		"less than zero":   func(i *driver.Increment) { i.N = -1 },
		"too much at once": func(i *driver.Increment) { i.N = driver.MaxIncrement + 1 },
		"no window":        func(i *driver.Increment) { i.Window = 0 },
		"short window":     func(i *driver.Increment) { i.Window = time.Microsecond },
		"long window":      func(i *driver.Increment) { i.Window = driver.MaxCounterWindow + 1 },
		"long token":       func(i *driver.Increment) { i.Token = token },
		"exact below zero": func(i *driver.Increment) { i.Exact = -1 },
		"exact too far":    func(i *driver.Increment) { i.Exact = driver.MaxExact + 1 },
		"bound below zero": func(i *driver.Increment) { i.Members = -1 },
		"bound too great":  func(i *driver.Increment) { i.Members = driver.MaxMembers + 1 },
	} {
		bad := counterAdd("g", "a")
		alter(&bad)
		got, err := c.counters.Increment(c.Context(), []driver.Increment{counterOf("g", "a", 1), bad})
		c.refused(name, len(got), err, driver.ErrInvalid)
	}
	c.checkOther("after the refused batches", c.add(counterOf("g", "b", 1))[0], false)
	c.want("after the refused batches", c.add(counterAdd("g", "a"))[0], 1)
}

func (c *countersTest) testLimits() {
	i := counterAdd(strings.Repeat("g", driver.MaxCounterKey), strings.Repeat("m", driver.MaxCounterKey))
	i.N, i.Exact, i.Window = driver.MaxIncrement, driver.MaxExact, driver.MaxCounterWindow
	i.Token = strings.Repeat("t", driver.MaxToken)
	i.Members, i.Other = driver.MaxMembers, strings.Repeat("o", driver.MaxCounterKey)
	got := c.add(i)[0]
	c.want("the greatest increment", got, driver.MaxIncrement)
	c.want("repeated", c.add(i)[0], driver.MaxIncrement)
	i.Token = ""
	c.want("and once more", c.add(i)[0], 2*driver.MaxIncrement)

	small := counterAdd("g", "many")
	small.Exact = driver.MaxExact
	var batch []driver.Increment
	for n := range driver.MaxExact {
		small.Token = fmt.Sprint(n)
		batch = append(batch, small)
	}
	c.add(batch...)
	for n, count := range c.add(batch...) {
		c.want("as many tokens as there may be, repeated", count, int64(n+1))
	}
}

func (c *countersTest) testEmpty() {
	for _, batch := range [][]driver.Increment{nil, {}} {
		if got, err := c.counters.Increment(c.Context(), batch); err != nil || len(got) != 0 {
			c.broken("Increment: %d results, error %v", len(got), err)
		}
	}
}

func (c *countersTest) testCancelled() {
	ctx, cancel := context.WithCancel(c.Context())
	cancel()
	counts, err := c.counters.Increment(ctx, []driver.Increment{counterOf("g", "a", 1)})
	c.refused("Increment", len(counts), err, context.Canceled)
	c.checkOther("afterwards", c.add(counterOf("g", "b", 1))[0], false)
	c.want("afterwards", c.add(counterAdd("g", "a"))[0], 1)
}

func (c *countersTest) testClose() {
	c.must(c.counters.Close(c.Context()))
	c.must(c.counters.Close(c.Context()))
	counts, err := c.counters.Increment(c.Context(), []driver.Increment{counterAdd("g", "a")})
	c.refused("Increment", len(counts), err, driver.ErrUnavailable)
}
