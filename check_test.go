package graphcache_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// checkAll runs a check without a bound on its rate.
func checkAll(t testing.TB, e *fixtureEngine) *graphcache.CheckReport {
	t.Helper()
	report, err := e.Check(t.Context(), &graphcache.CheckOptions{Rate: -1})
	fixtureMust(t, err)
	return report
}

// checkFound compares findings, each as "type: anchor, fragment".
func checkFound(t testing.TB, report *graphcache.CheckReport, want ...string) {
	t.Helper()
	got := map[string]bool{}
	for _, f := range report.Findings {
		got[fmt.Sprintf("%v: %s, %s", f.Type, f.Anchor, f.Fragment)] = true
	}
	wanted := map[string]bool{}
	for _, w := range want {
		wanted[w] = true
	}
	if diff := cmp.Diff(wanted, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s\n%v", diff, report)
	}
}

// checkShop fills the cache with values of every sort.
func checkShop(t testing.TB, e *fixtureEngine) {
	t.Helper()
	ctx := t.Context()
	shopFill(t, e)
	for i := range 5 {
		fixtureMust(t, shopBought.Add(ctx, e, "b0", shopItemID(fmt.Sprintf("i%02d", i)), shopSale{Note: "n"}))
		fixtureMust(t, shopBought.Add(ctx, e, shopBuyerID(fmt.Sprintf("b%d", i+1)), "i00", shopSale{Note: "m"}))
	}
	fixtureMust(t, shopHome.Add(ctx, e, "b0", "i00", graphcache.NoData{}))
	fixtureMust(t, shopPeers.Add(ctx, e, "b1", "b0", graphcache.NoData{}))
	fixtureMust(t, checkRead(ctx, e))
	e.settle(t)
}

// checkRead reads everything in every way.
func checkRead(ctx context.Context, c graphcache.Conn) error {
	var errs []error
	add := func(_ any, err error) {
		if !errors.Is(err, graphcache.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	page := func(_, _ any, err error) { add(nil, err) }
	for i := range shopQueries {
		q := shopQueries[i].query
		add(q.All(ctx, c))
		add(q.Count(ctx, c))
		add(q.Offset(1).Limit(2).IDs(ctx, c))
		page(q.Limit(3).Page(ctx, c, ""))
	}
	for _, f := range []graphcache.Query[shopFlag, graphcache.NoEdge]{
		shopFlags.Where(flagOn.Eq(true)), shopFlags.Where(flagLevel.Ge(1)).OrderBy(flagLevel.Desc(), flagName.Asc()),
		shopFlags.Where(graphcache.Or(flagName.HasPrefix("name 1"), graphcache.Not(flagLevel.In(0, 1)))),
	} {
		add(f.All(ctx, c))
		add(f.Count(ctx, c))
		page(f.Limit(2).Page(ctx, c, ""))
	}
	for i := range 8 {
		b := shopBuyerID(fmt.Sprintf("b%d", i))
		add(shopBuyers.Get(ctx, c, b))
		add(shopBought.Out(b).All(ctx, c))
		add(shopBought.Out(b).Until(time.Now().Truncate(time.Second)).Limit(2).Edges(ctx, c))
		add(shopBought.Out(b).Until(time.Now().Truncate(time.Hour)).Count(ctx, c))
		add(shopHome.Out(b).Edges(ctx, c))
		add(shopPeers.Out(b).Edges(ctx, c))
		add(shopBought.Get(ctx, c, b, "i11"))
	}
	for _, i := range shopUniverse() {
		add(shopBought.In(i).Edges(ctx, c))
	}
	add(shopItems.GetMany(ctx, c, shopUniverse()))
	return errors.Join(errs...)
}

// TestCheckHealthy: nothing is found where nothing is wrong, and every sort of value is
// compared.
func TestCheckHealthy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		checkShop(t, e)
		values := e.fcache.Items("Fill")
		e.on(nil)
		report := checkAll(t, e)
		checkFound(t, report)
		if len(report.Skipped) > 0 || !report.Complete {
			t.Errorf("some are skipped or left out: %v", report)
		}
		if got := report.Checked(); got == 0 || got > values {
			t.Errorf("%d values were checked, %d were filled", got, values)
		}
		for _, kind := range []string{"item", "flag", "buyer", "bought", "home", "peers"} {
			if report.Kinds[kind].Checked == 0 {
				t.Errorf("no value of %s was checked: %v", kind, report)
			}
		}
		for _, method := range []string{"Claim", "Fill", "Hold", "Release", "Write"} {
			if n := e.fcache.Calls(method) + e.fstore.Calls(method); n > 0 {
				t.Errorf("a check calls %s %d times", method, n)
			}
		}
	})
}

// TestCheckForeignWrites: what something else than graphcache has written is found in
// every value that it concerns, with its type.
func TestCheckForeignWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		lookWorld(t, e)
		ctx := t.Context()
		read := func() {
			for _, id := range []shopItemID{"i01", "i02", "i03"} {
				_, err := shopItems.GetMany(ctx, e, []shopItemID{id})
				fixtureMust(t, err)
			}
			for _, city := range []string{"rome", "oslo"} {
				_, err := shopItems.Where(itemCity.Eq(city)).IDs(ctx, e)
				fixtureMust(t, err)
			}
			for _, q := range []shopItemsQ{
				shopItems.Where(itemShelf.Eq("low")).OrderBy(itemRank.Asc()),
				shopItems.Where(itemShelf.Eq("top")).OrderBy(itemRank.Asc()),
			} {
				_, err := q.IDs(ctx, e)
				fixtureMust(t, err)
			}
			_, err := shopBuyers.Get(ctx, e, "b0")
			fixtureMust(t, err)
			_, err = shopBought.Out(shopBuyerID("b0")).Edges(ctx, e)
			fixtureMust(t, err)
			_, err = shopBought.Out(shopBuyerID("b0")).Until(time.Now().Add(-1000*time.Hour)).Count(ctx, e)
			fixtureMust(t, err)
			_, err = shopBought.In(shopItemID("i02")).Edges(ctx, e)
			fixtureMust(t, err)
			_, err = shopFlags.Where(flagOn.Eq(true)).IDs(ctx, e)
			fixtureMust(t, err)
			_, err = shopFlags.Where(flagOn.Eq(true)).Count(ctx, e)
			fixtureMust(t, err)
		}
		read()
		e.settle(t)
		checkFound(t, checkAll(t, e))
		lookChange(t, e)
		report := checkAll(t, e)
		want := []string{
			`stale: item "i01", object`, `lost: item "i02", object`,
			`foreign: item by city = "rome", prefix`, `lost: item by city = "oslo", prefix`,
			`foreign: item by shelf = "top", search`, `lost: item by shelf = "low", search`,
			`stale: buyer "b0", object`, `lost: bought out of "b0", prefix`, `lost: bought into "i02", prefix`,
			`foreign: all of flag, search`, `foreign: all of flag, count`,
		}
		checkFound(t, report, want...)
		if got := report.Found(graphcache.Foreign); got != 4 {
			t.Errorf("%d are foreign, want 4: %v", got, report)
		}
		for _, w := range []string{"11 wrong", "item: ", "lost: bought out of \"b0\", prefix: 1 in the cache, 2 in the store; 1 of the store's are not in the cache"} {
			if !strings.Contains(report.String(), w) {
				t.Errorf("the report does not say %q: %v", w, report)
			}
		}
		// What has been dealt with is not found any more, and what is loaded is right.
		fixtureMust(t, e.InvalidateKind(ctx, shopItems, shopFlags, shopBuyers, shopBought))
		report = checkAll(t, e)
		checkFound(t, report)
		if report.Checked() != 0 {
			t.Errorf("values that nobody reads are checked: %v", report)
		}
		read()
		e.settle(t)
		checkFound(t, checkAll(t, e))
	})
}

// checkEntry returns a key that was looked up, with its entry.
func checkEntry(t testing.TB, e *fixtureEngine, anchor, field string) driver.Entry {
	t.Helper()
	entries, err := e.cache.Lookup(t.Context(), []driver.Lookup{{Anchor: anchor, Field: field}})
	fixtureMust(t, err)
	return entries[0]
}

// checkPlant puts a value in the place of the one that is cached, under its version.
func checkPlant(t testing.TB, e *fixtureEngine, anchor string, version uint64, value []byte) {
	t.Helper()
	outcomes, err := e.cache.Fill(t.Context(), []driver.Fill{{Anchor: anchor, Version: version, Value: value, TTL: time.Hour}})
	fixtureMust(t, err)
	if outcomes[0] != driver.Done {
		t.Fatalf("the value was not planted: %v", outcomes[0])
	}
}

// checkSum puts the checksum right.
func checkSum(value []byte) []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(value[2:], crc32.Update(crc32.Checksum(value[:2], table), table, value[6:]))
	return value
}

// TestCheckPlanted: values that no program has put where they are.
func TestCheckPlanted(t *testing.T) {
	damage := func(i int) func([]byte, []byte) []byte {
		return func(own, _ []byte) []byte {
			own[(i+len(own))%len(own)] ^= 1
			return own
		}
	}
	tests := []struct {
		name  string
		plant func(own, other []byte) []byte
		want  string
	}{
		{"another object's", func(_, other []byte) []byte { return other }, `foreign: user "ann", object`},
		{"a flipped bit", damage(-1), `corrupt: user "ann", object`},
		{"another format", damage(0), `corrupt: user "ann", object`},
		{"a flipped bit in the key", damage(30), `corrupt: user "ann", object`},
		{"nothing", func(_, _ []byte) []byte { return []byte{} }, `corrupt: user "ann", object`},
		{"no version", func(own, _ []byte) []byte { return checkSum(append(own[:len(own)-len("v1 of ann")-11], 0xc0)) }, `corrupt: user "ann", object`},
		{"other content", func(own, _ []byte) []byte { own[len(own)-3]++; return checkSum(own) }, `stale: user "ann", object`},
		{"said to be absent", func(own, _ []byte) []byte { own[1] |= 1; return checkSum(own) }, `lost: user "ann", object`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := fixtureNew(t)
				e.seed(t, []fixtureUserID{"ann", "bob"})
				keys := e.anchors(t, func() { e.name(t, "ann"); e.name(t, "bob") })
				own, other := checkEntry(t, e, keys[0], ""), checkEntry(t, e, keys[1], "")
				checkPlant(t, e, keys[0], own.Version, test.plant(append([]byte{}, own.Value...), append([]byte{}, other.Value...)))
				report := checkAll(t, e)
				checkFound(t, report, test.want)
				if f := report.Findings; len(f) == 1 && (f[0].AnchorKey != keys[0] || f[0].Version != own.Version || f[0].Kind != "user") {
					t.Errorf("the finding is %+v", f[0])
				}
				if got := report.Kinds["user"]; got.Checked != 2 {
					t.Errorf("%d were checked, want 2", got.Checked)
				}
			})
		})
	}
}

// TestCheckLists: a list that lacks edges, has others, or has them with other content,
// whether it is short or longer than what is cached of it.
func TestCheckLists(t *testing.T) {
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	edge := func(i int) driver.Edge {
		return driver.Edge{From: "ann", To: fmt.Sprintf("u%04d", i), Time: start.Add(time.Duration(i) * time.Second), Version: 1}
	}
	tests := []struct {
		name string
		size int
		op   driver.WriteOp
		i    int
		want string
	}{
		{"lost in a short one", 10, driver.Insert, 20, "lost"},
		{"lost in an empty one", 0, driver.Insert, 20, "lost"},
		{"foreign in a short one", 10, driver.Delete, 3, "foreign"},
		{"foreign, the only one", 1, driver.Delete, 0, "foreign"},
		{"newest lost in a long one", 200, driver.Insert, 200, "lost"},
		{"newest foreign in a long one", 200, driver.Delete, 199, "foreign"},
		{"in the middle of a long one", 200, driver.Delete, 170, "foreign"},
		{"beyond the prefix", 200, driver.Delete, 10, ""},
		{"other content", 10, driver.Replace, 5, "stale"},
		{"just complete", 64, driver.Insert, 300, "lost"},
		{"not complete any more", 64, driver.Insert, -1, "lost"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := fixtureNew(t)
				var writes []driver.Write
				for i := range test.size {
					d := edge(i)
					writes = append(writes, driver.Write{Op: driver.Insert, Kind: "follows", Edge: &d})
				}
				lookWrite(t, e, "", writes...)
				_, err := fixtureFollows.Out(fixtureUserID("ann")).Limit(10).Edges(t.Context(), e)
				fixtureMust(t, err)
				e.settle(t)
				checkFound(t, checkAll(t, e))
				d := edge(test.i)
				if test.op == driver.Replace {
					d.Data = driver.Document{{Name: "note", Value: "other"}}
				}
				lookWrite(t, e, "", driver.Write{Op: test.op, Kind: "follows", Edge: &d})
				var want []string
				if test.want != "" {
					want = append(want, test.want+`: follows out of "ann", prefix`)
				}
				checkFound(t, checkAll(t, e), want...)
			})
		})
	}
}

// TestCheckHeld: what is being written, what is written while it is looked at, and what
// leaves the cache is no finding.
func TestCheckHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t)
		e.seed(t, []fixtureUserID{"ann"})
		read := func() string { return e.anchors(t, func() { e.name(t, "ann") })[0] }
		key := read()
		change := func() {
			lookWrite(t, e, "", driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: "ann", Version: 1}})
		}
		change()
		_, err := e.cache.Hold(t.Context(), []driver.Hold{{Anchor: key, Token: "t", TTL: time.Minute}})
		fixtureMust(t, err)
		report := checkAll(t, e)
		checkFound(t, report)
		if report.Checked() != 0 {
			t.Errorf("what is held is checked: %v", report)
		}
		_, err = e.cache.Release(t.Context(), []driver.Release{{Anchor: key, Token: "t"}})
		fixtureMust(t, err)
		read()
		lookWrite(t, e, "", driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: "ann", Version: 2}})
		other := e.another(t)
		for _, refill := range []bool{true, false} {
			e.on(func(c fixtureCall) backendtest.Fault {
				if c.is("Read") && c.N == 2 { // the second look
					fixtureMust(t, other.Invalidate(t.Context(), fixtureUsers.Ref("ann")))
					if refill {
						other.name(t, "ann")
						other.settle(t)
					}
				}
				return backendtest.Fault{}
			})
			report = checkAll(t, e)
			checkFound(t, report)
			if len(report.Skipped) != 1 || report.Checked() != 0 {
				t.Errorf("what was written meanwhile is checked: %v", report)
			}
			e.on(nil)
			lookWrite(t, e, "", driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: "ann", Version: 3}})
		}
	})
}

// TestCheckOwed: what another process owes to the cache is no finding, whether this process
// knows that when it looks for the first time or learns of it until the second.
func TestCheckOwed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t)
		other := e.another(t, func(o *graphcache.Options) { o.WhenCacheDown = graphcache.Ack })
		e.seed(t, []fixtureUserID{"ann", "bob"})
		read := func() { e.name(t, "ann"); e.name(t, "bob"); e.settle(t) }
		read()
		other.on(func(c fixtureCall) backendtest.Fault {
			if c.is("Hold", "Release") {
				return backendtest.Fault{Action: backendtest.Fail}
			}
			return backendtest.Fault{}
		})
		fixtureMust(t, other.rename(t.Context(), "ann", "new"))
		report := checkAll(t, e) // during which this process looks
		checkFound(t, report)
		if report.Checked() != 1 || len(report.Skipped) != 1 {
			t.Errorf("want one checked and one skipped: %v", report)
		}
		checkFound(t, checkAll(t, e))
		// It is found if nobody owes it.
		lookWrite(t, e, "", driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: "bob", Version: 1}})
		checkFound(t, checkAll(t, e), `stale: user "bob", object`)
		other.on(nil)
	})
}

// TestCheckRate: the rate is kept, and the limit and the kinds are.
func TestCheckRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		checkShop(t, e)
		all := checkAll(t, e).Checked()
		for _, rate := range []int{10, 100, 0} {
			e.on(nil)
			start := time.Now()
			report, err := e.Check(t.Context(), &graphcache.CheckOptions{Rate: rate})
			fixtureMust(t, err)
			if rate == 0 {
				rate = 1000
			}
			if got := report.Checked(); got != all {
				t.Errorf("at %d/s %d are checked, want %d", rate, got, all)
			}
			least := time.Duration(all-min(rate, 64)) * time.Second / time.Duration(rate)
			if took := time.Since(start); took < least || took > 2*least+time.Second || took != report.Elapsed {
				t.Errorf("%d values at %d/s took %v, reported as %v, want %v or a bit more", all, rate, took, report.Elapsed, least)
			}
		}
		report, err := e.Check(t.Context(), &graphcache.CheckOptions{Limit: 17})
		if got := report.Checked(); err != nil || got != 17 || report.Complete {
			t.Errorf("with a limit of 17, %d are checked, error %v, complete %v", got, err, report.Complete)
		}
		report, err = e.Check(t.Context(), &graphcache.CheckOptions{Kinds: []string{"buyer", "home"}, Rate: -1})
		if err != nil || len(report.Kinds) != 2 || report.Kinds["buyer"].Checked == 0 || report.Kinds["home"].Checked == 0 {
			t.Errorf("of two kinds: %v, error %v", report, err)
		}
		report, err = e.Check(t.Context(), &graphcache.CheckOptions{Sample: 0.5, Rate: -1})
		if got := report.Checked(); err != nil || got < all/5 || got > all*4/5 {
			t.Errorf("of about half of %d values %d are checked, error %v", all, got, err)
		}
	})
}

// TestCheckFindings: findings beyond the bound are counted.
func TestCheckFindings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t)
		var ids []fixtureUserID
		var writes []driver.Write
		for i := range 150 {
			ids = append(ids, fixtureUserID(fmt.Sprint("u", i)))
			writes = append(writes, driver.Write{Op: driver.Insert, Kind: "user", Object: &driver.Object{ID: fmt.Sprint("u", i), Version: 1}})
		}
		_, err := fixtureUsers.GetMany(t.Context(), e, ids)
		fixtureMust(t, err)
		e.settle(t)
		lookWrite(t, e, "", writes...)
		report, err := e.Check(t.Context(), &graphcache.CheckOptions{MaxFindings: 7})
		fixtureMust(t, err)
		if len(report.Findings) != 7 || report.Found() != 150 || report.Found(graphcache.Lost) != 150 || report.Found(graphcache.Stale) != 0 {
			t.Errorf("%d findings are listed and %d counted: %v", len(report.Findings), report.Found(), report)
		}
		if !strings.Contains(report.String(), "… and 143 more") {
			t.Errorf("the report does not tell of the others: %v", report)
		}
	})
}

// TestCheckNamespaces: a check is of the graph's namespace.
func TestCheckNamespaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := fixtureNew(t)
		one, err := e.Namespace(t.Context(), "one")
		fixtureMust(t, err)
		for _, g := range []*graphcache.Graph{e.Graph, one} {
			fixtureMust(t, fixtureUsers.Create(t.Context(), g, &fixtureUser{ID: "ann", Name: "old"}))
			_, err := fixtureUsers.Get(t.Context(), g, "ann")
			fixtureMust(t, err)
		}
		e.settle(t)
		lookWrite(t, e, "one", driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: "ann", Version: 1}})
		checkFound(t, checkAll(t, e))
		report, err := one.Check(t.Context(), nil)
		fixtureMust(t, err)
		checkFound(t, report, `stale: user "ann", object`)
		if report.Checked() != 1 {
			t.Errorf("%d are checked in the namespace, want 1", report.Checked())
		}
	})
}

// TestCheckEnds: a context that ends, a backend that fails and Close end a check, which
// reports what it has found.
func TestCheckEnds(t *testing.T) {
	tests := []struct {
		name string
		hook func(*fixtureEngine, context.CancelFunc) func(fixtureCall) backendtest.Fault
		want error
	}{
		{"context", func(_ *fixtureEngine, cancel context.CancelFunc) func(fixtureCall) backendtest.Fault {
			return func(c fixtureCall) backendtest.Fault {
				if c.is("Read") && c.N == 3 {
					cancel()
				}
				return backendtest.Fault{}
			}
		}, context.Canceled},
		{"store", func(*fixtureEngine, context.CancelFunc) func(fixtureCall) backendtest.Fault {
			return func(c fixtureCall) backendtest.Fault {
				if c.is("Read") && c.N == 3 {
					return backendtest.Fault{Action: backendtest.Fail}
				}
				return backendtest.Fault{}
			}
		}, graphcache.ErrUnavailable},
		{"cache", func(*fixtureEngine, context.CancelFunc) func(fixtureCall) backendtest.Fault {
			return func(c fixtureCall) backendtest.Fault {
				if c.is("Scan") && c.N == 3 {
					return backendtest.Fault{Action: backendtest.Fail}
				}
				return backendtest.Fault{}
			}
		}, graphcache.ErrUnavailable},
		{"close", func(e *fixtureEngine, _ context.CancelFunc) func(fixtureCall) backendtest.Fault {
			return func(c fixtureCall) backendtest.Fault {
				if c.is("Scan") && c.N == 3 {
					go e.Close(context.WithoutCancel(c.ctx))
					<-c.ctx.Done()
				}
				return backendtest.Fault{}
			}
		}, graphcache.ErrUnavailable},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := shopNew(t)
				checkShop(t, e)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				e.on(test.hook(e, cancel))
				report, err := e.Check(ctx, &graphcache.CheckOptions{Rate: -1})
				if !errors.Is(err, test.want) || report == nil || report.Checked() == 0 || report.Complete {
					t.Errorf("error %v, want %v; report %v", err, test.want, report)
				}
				e.on(nil)
			})
		})
	}
}

// TestCheckLookups: a cache that does not answer for a moment does not end a check.
func TestCheckLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		checkShop(t, e)
		e.on(func(c fixtureCall) backendtest.Fault {
			if c.is("Lookup") && c.N%2 == 0 {
				return backendtest.Fault{Action: backendtest.Hang}
			}
			return backendtest.Fault{}
		})
		report := checkAll(t, e)
		if report.Checked() == 0 || len(report.Skipped) != 1 {
			t.Errorf("report %v", report)
		}
	})
}

// TestCheckRefused: options and graphs with which there is nothing to check.
func TestCheckRefused(t *testing.T) {
	e := fixtureNew(t)
	for _, o := range []graphcache.CheckOptions{
		{Rate: -2}, {Limit: -1}, {MaxFindings: -1}, {Sample: -0.1}, {Sample: 1.1},
	} {
		if report, err := e.Check(t.Context(), &o); !errors.Is(err, graphcache.ErrInvalid) || report != nil {
			t.Errorf("%+v: error %v", o, err)
		}
	}
	if _, err := e.Check(t.Context(), &graphcache.CheckOptions{Kinds: []string{"nobody"}}); !errors.Is(err, graphcache.ErrSchema) {
		t.Errorf("a kind that there is not: error %v", err)
	}
	for name, cache := range map[string]driver.Cache{"none": nil, "no scanner": struct{ driver.Cache }{e.cache}} {
		g, err := graphcache.Open(t.Context(), fixtureSchema, e.store, &graphcache.Options{Cache: cache})
		fixtureMust(t, err)
		if _, err := g.Check(t.Context(), nil); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: error %v", name, err)
		}
		fixtureMust(t, g.Close(t.Context()))
	}
}

// TestCheckLayouts: what another version of the program has cached is skipped, and this
// one's own beside it is checked.
func TestCheckLayouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type user struct {
			ID   graphcache.ID[user] `json:"id"`
			Name string              `json:"name"`
			New  int                 `json:"new"`
		}
		users := graphcache.NewObjectKind[user]("user")
		e := fixtureNew(t)
		e.seed(t, []fixtureUserID{"ann"})
		newer := e.withSchema(t, graphcache.NewSchema(users))
		e.name(t, "ann")
		e.settle(t)
		_, err := users.Get(t.Context(), newer, "ann")
		fixtureMust(t, err)
		newer.settle(t)
		lookWrite(t, e, "", driver.Write{Op: driver.Replace, Kind: "user", Object: &driver.Object{ID: "ann", Version: 1}})
		for _, p := range []*fixtureEngine{e, newer} {
			report := checkAll(t, p)
			checkFound(t, report, `stale: user "ann", object`)
			if len(report.Skipped) != 1 || report.Checked() != 1 {
				t.Errorf("the other version's is not skipped: %v", report)
			}
		}
	})
}

// TestCheckConcurrent: nothing is found while everything is written and read.
func TestCheckConcurrent(t *testing.T) {
	e := shopNew(t, fixtureDefaults)
	other := shopAnother(t, e, fixtureDefaults)
	checkShop(t, e)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 2 {
		p := []*fixtureEngine{e, other}[w]
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				id := shopItemID(fmt.Sprintf("i%02d", n%12))
				_, err := shopItems.Update(ctx, p, id, func(i *shopItem) error {
					i.City, i.Shelf, i.Rank = []string{"rome", "oslo"}[(n/12+w)%2], []string{"top", "low"}[n%2], n%5
					return nil
				})
				b := shopBuyerID(fmt.Sprintf("b%d", n%8))
				err = errors.Join(err, shopBought.Add(ctx, p, b, id, shopSale{Note: fmt.Sprint(n)}))
				if n%3 == 0 {
					if removed := shopBought.Remove(ctx, p, b, id); !errors.Is(removed, graphcache.ErrNotFound) {
						err = errors.Join(err, removed)
					}
				}
				if _, changed := shopFlags.Update(ctx, p, shopFlagID(fmt.Sprintf("f%d", n%8)), func(f *shopFlag) error { f.On = !f.On; return nil }); changed != nil {
					err = errors.Join(err, changed)
				}
				if err != nil && ctx.Err() == nil && !errors.Is(err, graphcache.ErrConflict) {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := checkRead(ctx, p); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	checked := 0
	for ctx.Err() == nil {
		report, err := e.Check(ctx, &graphcache.CheckOptions{Rate: -1})
		if err != nil && ctx.Err() == nil {
			t.Fatal(err)
		}
		if report.Found() > 0 {
			t.Errorf("findings where nothing is wrong: %v", report)
		}
		checked += report.Checked()
	}
	wg.Wait()
	t.Logf("%d values checked", checked)
	checkFound(t, checkAll(t, e))
}
