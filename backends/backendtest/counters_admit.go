package backendtest

import (
	"fmt"
	"sync"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// counterAdmit returns an admit that a test alters.
func counterAdmit(group, member string, limit int) driver.Admit {
	return driver.Admit{Group: group, Member: member, Max: limit, Window: time.Hour}
}

// ask makes one batch and checks that every element was answered.
func (c *countersTest) ask(admits ...driver.Admit) []driver.Admission {
	c.Helper()
	admissions, err := c.counters.Admit(c.Context(), admits)
	c.must(err)
	if len(admissions) != len(admits) {
		c.Fatalf("broken rule: a result has one element for each asked\n\t%d for %d", len(admissions), len(admits))
	}
	for i, a := range admissions {
		if a.Outcome != driver.Done {
			c.broken("element %d: %+v, want Done", i, a)
		}
	}
	return admissions
}

func (c *countersTest) testAdmit() {
	steps := []struct {
		member   string
		max      int
		admitted bool
		members  int
	}{
		{"a", 2, true, 1}, {"a", 2, true, 1}, {"b", 2, true, 2}, {"c", 2, false, 2}, {"a", 2, true, 2}, {"c", 2, false, 2},
		{"b", 1, true, 2}, {"c", 3, true, 3}, {"d", 3, false, 3}, {"a", 0, true, 3},
	}
	var batch []driver.Admit
	for _, s := range steps {
		batch = append(batch, counterAdmit("g", s.member, s.max))
	}
	for i, got := range c.ask(batch...) {
		s := steps[i]
		if got.Admitted != s.admitted || got.Members != s.members {
			c.broken("step %d, %q with Max %d: admitted %t of %d members, want %t of %d",
				i, s.member, s.max, got.Admitted, got.Members, s.admitted, s.members)
		}
		if got.Remaining <= 0 || got.Remaining > time.Hour {
			c.broken("step %d: %v remain of a window of 1h", i, got.Remaining)
		}
	}
}

func (c *countersTest) testAdmitWindow() {
	w, since := c.window(), time.Now()
	first := counterAdmit("g", "a", 1)
	first.Window = w
	var others []driver.Admit // whose groups end together with the first
	for n := range 20 {
		others = append(others, first)
		others[n].Group = fmt.Sprint("other ", n)
	}
	c.ask(others...)
	c.ask(first)
	c.ends(since, w, func() bool {
		c.ask(counterAdmit("g", "a", 0)) // would renew the window if asking did; opens none
		got := c.ask(counterAdmit("g", "b", 1))[0]
		if got.Admitted && got.Members != 1 {
			c.broken("%d members in a new window, want 1", got.Members)
		}
		return got.Admitted
	})
	for n := range others {
		others[n].Member = "b"
	}
	for n, got := range c.ask(others...) {
		if !got.Admitted {
			c.broken("group %d of many whose windows ended at once is full", n)
		}
	}
}

func (c *countersTest) testAdmitRace() {
	const members, limit = 30, 7
	var wg sync.WaitGroup
	for range 3 { // three processes that ask for the same members
		client := c.peer()
		for n := range members {
			wg.Go(func() {
				got, err := client.Admit(c.Context(), []driver.Admit{counterAdmit("g", fmt.Sprint(n), limit)})
				if err != nil || len(got) != 1 || got[0].Members > limit {
					c.broken("answer %+v, error %v", got, err)
				}
			})
		}
	}
	wg.Wait()
	admitted := 0
	for n := range members {
		if c.ask(counterAdmit("g", fmt.Sprint(n), limit))[0].Admitted {
			admitted++
		}
	}
	if admitted != limit {
		c.broken("%d members were admitted, want %d", admitted, limit)
	}
}

func (c *countersTest) testAdmitNobody() {
	if got := c.ask(counterAdmit("g", "a", 0))[0]; got != (driver.Admission{Outcome: driver.Done}) {
		c.broken("%+v, want nobody admitted and no window", got)
	}
	short := counterAdmit("g", "a", 1)
	short.Window = time.Minute
	if got := c.ask(short)[0]; !got.Admitted || got.Remaining > time.Minute {
		c.broken("%+v, want the first member to open a window of 1m", got)
	}
}

func (c *countersTest) testAdmitKeys() {
	limit := len(addonNames)
	for _, group := range addonNames {
		var batch []driver.Admit
		for _, member := range addonNames {
			batch = append(batch, counterAdmit(group, member, limit))
		}
		for i, got := range c.ask(batch...) {
			if !got.Admitted || got.Members != i+1 {
				c.broken("group %q, member %q: %+v, want it to be member %d", group, addonNames[i], got, i+1)
			}
		}
		if c.ask(counterAdmit(group, "one too many", limit))[0].Admitted {
			c.broken("group %q has room for one too many", group)
		}
	}
	c.want("a counter of the same name", c.add(counterAdd("a", "b"))[0], 1)
}
