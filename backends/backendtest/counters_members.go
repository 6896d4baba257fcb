package backendtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// counterOther is the Other of the increments of [counterOf].
const counterOther = "the others"

// counterOf returns an increment by one, in a group of so many members.
func counterOf(group, member string, members int) driver.Increment {
	i := counterAdd(group, member)
	i.Members, i.Other = members, counterOther
	return i
}

// checkOther checks which counter it was that counted.
func (c *countersTest) checkOther(what string, got driver.Count, other bool) {
	c.Helper()
	if got.Other != other {
		c.broken("%s: counted by Other: %t, want %t", what, got.Other, other)
	}
}

func (c *countersTest) testMembers() {
	steps := []struct {
		member  string
		members int
		other   bool
		count   int64
	}{
		{"a", 2, false, 1}, {"a", 2, false, 2}, {"b", 2, false, 1}, {"c", 2, true, 1}, {"a", 2, false, 3}, {"c", 2, true, 2},
		{"d", 2, true, 3}, {"b", 1, false, 2}, {"c", 3, false, 1}, {"d", 3, true, 4}, {"c", 1, false, 2}, {"d", 1, true, 5},
	}
	var batch []driver.Increment
	for _, s := range steps {
		batch = append(batch, counterOf("g", s.member, s.members))
	}
	batch = append(batch, counterOf("h", "d", 2))
	epochs := make(map[string]uint64)
	counts := c.add(batch...)
	for n, s := range steps {
		what, counter := fmt.Sprintf("step %d, %q with Members %d", n, s.member, s.members), s.member
		c.checkOther(what, counts[n], s.other)
		c.want(what, counts[n], s.count)
		if s.other {
			counter = counterOther
		}
		if epoch, ok := epochs[counter]; ok && epoch != counts[n].Epoch {
			c.broken("%s: epoch %d, want the %d of counter %q", what, counts[n].Epoch, epoch, counter)
		}
		epochs[counter] = counts[n].Epoch
	}
	c.checkOther("another group", counts[len(steps)], false)
	c.want("the counter of Other", c.add(counterAdd("g", counterOther))[0], 6)
	c.checkRefused("a counter that was never opened", driver.Increment{Key: driver.CounterKey{Group: "g", Member: "d"}, Window: time.Hour})
}

func (c *countersTest) testMembersWindow() {
	w, since := c.window(), time.Now()
	first := counterOf("g", "first", 1)
	first.Window = w
	var others []driver.Increment // whose groups end together with the first
	for n := range 20 {
		others = append(others, first)
		others[n].Key.Group = fmt.Sprint("other ", n)
	}
	// A longer window makes the group's own no longer, whether or not it finds room.
	c.add(append(others, first, counterOf("g", "second", 2), counterOf("g", "third", 2))...)
	asked := 0
	c.ends(since, w, func() bool {
		asked++
		got := c.add(counterOf("g", fmt.Sprint("asks ", asked), 2))[0]
		if got.Other && got.Count != int64(asked+1) {
			c.broken("count %d of Other, want %d", got.Count, asked+1)
		}
		return !got.Other
	})
	got := c.add(counterOf("g", "one more", 2), counterOf("g", "one too many", 2))
	c.checkOther("the second counter of the new window", got[0], false)
	c.checkOther("the third counter of the new window", got[1], true)
	for n := range others {
		others[n].Key.Member = "another"
	}
	for n, got := range c.add(others...) {
		c.checkOther(fmt.Sprintf("group %d of many whose windows ended at once", n), got, false)
	}
}

func (c *countersTest) testMembersRace() {
	const processes, members, limit = 3, 30, 7
	var counts [members][processes]driver.Count
	var wg sync.WaitGroup
	for p := range processes {
		client := c.peer()
		for n := range members {
			wg.Go(func() {
				got, err := client.Increment(c.Context(), []driver.Increment{counterOf("g", fmt.Sprint(n), limit)})
				if err != nil || len(got) != 1 || got[0].Outcome != driver.Done {
					c.broken("answer %+v, error %v", got, err)
					return
				}
				counts[n][p] = got[0]
			})
		}
	}
	wg.Wait()
	opened := 0
	places := make(map[string][][2]int64)
	for n, all := range counts {
		counter := counterOther
		if !all[0].Other {
			opened++
			counter = fmt.Sprint(n)
		}
		for _, count := range all {
			c.checkOther(fmt.Sprintf("member %d, whom another increment found the same", n), count, all[0].Other)
			places[counter] = append(places[counter], [2]int64{count.Count, count.Count})
		}
	}
	if opened != limit {
		c.broken("%d counters were opened, want %d", opened, limit)
	}
	for counter, all := range places {
		c.checkPlaces(counter, all)
	}
}

func (c *countersTest) testMembersOther() {
	own := counterOf("g", counterOther, 1)
	for want := range int64(2) {
		got := c.add(own)[0]
		c.checkOther("the member Other itself", got, false)
		c.want("the member Other itself", got, want+1)
	}
	c.checkOther("the first of the others", c.add(counterOf("g", "a", 1))[0], false)
	w, since := c.window(), time.Now()
	beyond := counterOf("h", "b", 1)
	beyond.Window = w
	got := c.add(counterOf("h", "a", 1), beyond, counterOf("h", "c", 1), counterOf("g", "b", 1))
	c.want("what opens the counter of Other", got[1], 1)
	c.want("another member, with a longer window", got[2], 2)
	c.want("Other, where it was counted in before", got[3], 3)
	c.ends(since, w, func() bool {
		again := c.add(counterOf("h", "d", 1))[0]
		c.checkOther("the group is full for an hour", again, true)
		if again.Epoch == got[1].Epoch && again.Remaining > w {
			c.broken("%v remain of a window of %v", again.Remaining, w)
		}
		return again.Epoch != got[1].Epoch
	})
	c.want("the next window of Other", c.add(counterOf("h", "b", 1))[0], 2)
}

func (c *countersTest) testMembersToken() {
	w, since := c.window(), time.Now()
	step := func(member, token string, n int64) driver.Increment {
		i := counterOf("g", member, 2)
		i.Token, i.N, i.Exact = token, n, 5
		return i
	}
	full := counterOf("g", "a", 2)
	full.Window = w
	batch := []driver.Increment{full, full} // at once, before the window ends
	batch[1].Key.Member = "another"
	wants := []int64{1, 1}
	for _, s := range []struct {
		increment driver.Increment
		want      int64
	}{
		{step("b", "t1", 2), 2}, {step("b", "t1", 2), 2}, {step("c", "t1", 1), 3}, {step("b", "t2", 1), 4}, {step("b", "t1", 2), 2},
		{step(counterOther, "t1", 3), 7}, {step("b", "", 1), 8}, {step("c", "t1", 1), 3}, {step(counterOther, "t1", 3), 7},
		{step("1b", "t", 1), 9}, {step("b", "t2", 1), 4},
	} {
		batch, wants = append(batch, s.increment), append(wants, s.want)
	}
	counts := c.add(batch...)
	for n, got := range counts {
		what := fmt.Sprintf("step %d, member %q with token %q", n, batch[n].Key.Member, batch[n].Token)
		c.checkOther(what, got, n > 1 && batch[n].Key.Member != counterOther)
		c.want(what, got, wants[n])
	}
	asked := 0
	c.ends(since, w, func() bool {
		asked++
		return !c.add(counterOf("g", fmt.Sprint("asks ", asked), 2))[0].Other
	})
	got := c.add(step("b", "t1", 2), step("b", "t3", 2)) // there is room for one
	if first := counts[2]; !got[0].Other || got[0].Count != first.Count || got[0].Epoch != first.Epoch {
		c.broken("repeated in the next window of the group: %+v, want the answer %+v", got[0], first)
	}
	c.checkOther("a new token in the next window of the group", got[1], false)
	c.want("a new token in the next window of the group", got[1], 2)
}

func (c *countersTest) testMembersEpoch() {
	late := counterOf("g", "b", 1)
	late.Epoch = 1
	c.checkRefused("the group is empty", late)
	opened := c.add(counterOf("g", "a", 1))[0]
	c.checkOther("a refused increment took room, it seems", opened, false)
	other := c.add(counterOf("g", "c", 1))[0]
	c.checkOther("the group is full", other, true)
	late.Epoch = other.Epoch
	c.checkRefused("the group is full, and the Epoch that of Other", late)
	late.Key.Member, late.Epoch = "a", opened.Epoch
	c.want("the window is open", c.add(late)[0], 2)
	c.want("Other", c.add(counterAdd("g", counterOther))[0], 2)
}

func (c *countersTest) testMembersNone() {
	var batch []driver.Increment
	for n := range 5 {
		batch = append(batch, counterAdd("g", fmt.Sprint("free ", n)))
		batch[n].Other = counterOther // which has no meaning without Members
	}
	c.add(batch...)
	got := c.add(counterOf("g", "a", 1), counterOf("g", "b", 1), counterOf("g", "free 0", 1))
	c.checkOther("the first of the group", got[0], false)
	c.checkOther("the second of the group", got[1], true)
	c.checkOther("a counter that is open, however it was opened", got[2], false)
	c.want("a counter that is open, however it was opened", got[2], 2)
	free := c.add(counterAdd("g", "b"))[0]
	c.checkOther("a full group", free, false)
	c.want("a full group", free, 1)
}

func (c *countersTest) testMembersLostExpiry() {
	if c.harness.LoseGroupExpiry == nil {
		c.Skip("the harness cannot lose the expiry of a group")
	}
	c.add(counterOf("g", "a", 1))
	c.harness.LoseGroupExpiry(c.T, c.counters, "g")
	w, since := c.window(), time.Now()
	i := counterOf("g", "b", 1)
	i.Window = w
	c.checkOther("the group is full", c.add(i)[0], true)
	asked := 0
	c.ends(since, w, func() bool {
		asked++
		return !c.add(counterOf("g", fmt.Sprint("asks ", asked), 1))[0].Other
	})
}

func (c *countersTest) testMembersKeys() {
	limit := len(addonNames)
	for _, group := range addonNames {
		var batch []driver.Increment
		for _, member := range addonNames {
			batch = append(batch, counterOf(group, member, limit))
		}
		batch = append(batch, counterOf(group, "one too many", limit))
		for n, got := range c.add(batch...) {
			what := fmt.Sprintf("group %q, member %q", group, batch[n].Key.Member)
			c.checkOther(what, got, n == limit)
			c.want(what, got, 1)
		}
	}
	for n, other := range addonNames {
		i := counterOf("others", fmt.Sprint("beyond ", n), 1)
		i.Other = other
		got := c.add(counterOf("others", "first", 1), i)[1]
		c.checkOther(fmt.Sprintf("Other is %q", other), got, true)
		c.want(fmt.Sprintf("Other is %q", other), got, 1)
	}
}
