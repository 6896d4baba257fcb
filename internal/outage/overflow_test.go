package outage_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
	"github.com/graphcache/graphcache/driver"
)

// many is more than the journal takes.
const many = 10_500

// TestOverflow: when a process owes more anchors than the journal takes, one entry stands
// for all, and every process reads from the store until the kinds have been raised.
func TestOverflow(t *testing.T) {
	for _, tt := range []struct {
		mode graphcache.WhenCacheDown
		how  string
		back bool // the cache is back before it is drained
	}{
		{graphcache.Ack, "bulk", true}, {graphcache.Ack, "one by one", false},
		{graphcache.Wait, "bulk", false}, {graphcache.Wait, "bulk", true},
	} {
		if testing.Short() && tt.how == "bulk" && !(tt.mode == graphcache.Wait && tt.back) {
			continue
		}
		t.Run(fmt.Sprintf("%v/back %v/%s", tt.mode, tt.back, tt.how), func(t *testing.T) {
			bubble(t, func(t *testing.T) { testOverflow(t, tt.mode, tt.back, tt.how) })
		})
	}
}

func testOverflow(t *testing.T, mode graphcache.WhenCacheDown, back bool, how string) {
	w := newPopulated(t, 3, withMode(mode))
	var writes []driver.Write
	for i := range many {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: "item", Object: &driver.Object{
			ID: fmt.Sprint("m", i), Version: 1,
			Doc: driver.Document{{Name: "shelf", Value: "many"}, {Name: "price", Value: int64(1)}}}})
	}
	_, err := w.store.Write(t.Context(), writes)
	must(t, err)
	w.warmUp()
	price := func(g graphcache.Conn) (n int) {
		for _, id := range []itemID{"m0", "m5000", "m10400"} {
			i, err := items.Get(t.Context(), g, id)
			must(t, err)
			n += i.Price
		}
		return n
	}
	for _, p := range w.processes {
		price(p)
		must(t, p.Settle(t.Context()))
	}
	p := w.processes[0]
	w.cacheDown(backendtest.Fail, p)
	switch how {
	case "bulk":
		_, err = items.Where(itemShelf.Eq("many")).UpdateAll(t.Context(), p, func(i *item) error { i.Price = 2; return nil })
	default:
		for i := range many {
			if _, err = items.Apply(t.Context(), p, itemID(fmt.Sprint("m", i)), itemPrice.Set(2)); err != nil {
				break
			}
		}
	}
	must(t, err)
	if mode == graphcache.Ack {
		if got := price(p); got != 6 {
			t.Errorf("its process reads %d at once", got)
		}
		time.Sleep(2 * period)
	}
	for i, q := range w.processes {
		if got := price(q); got != 6 {
			t.Errorf("process %d reads %d", i, got)
		}
	}
	if n := len(w.journal()); n > 10_001 {
		t.Errorf("%d entries in the journal", n)
	}
	w.agree("then")
	if back {
		p.well()
	}
	for range 5 {
		time.Sleep(3 * time.Second)
		w.agree("later")
	}
	if left := w.journal(); len(left) > 1000 || back && len(left) > 0 { // some came after it
		t.Errorf("%d entries are left, such as %v", len(left), left[0])
	}
	must(t, p.set(t.Context(), "a", 30))
	if !back {
		time.Sleep(2 * period)
	}
	w.agree("after another write")
	p.well()
	time.Sleep(holdTTL + 5*time.Second)
	synctest.Wait()
	w.quiet()
	w.same()
	if s := p.Stats(); s.Owed == 0 || s.Drained == 0 {
		t.Errorf("%d entries owed, %d drained", s.Owed, s.Drained)
	}
}

// TestOverflowUnanswered: the one entry for all stands for a write in doubt, too.
func TestOverflowUnanswered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPopulated(t, 2)
		w.warmUp()
		p := w.processes[0]
		// Another program's entries fill the journal.
		var entries []driver.JournalEntry
		for i := range many {
			entries = append(entries, driver.JournalEntry{Anchor: fmt.Sprint(i), Owner: "nobody", Token: "t", Window: 5 * time.Second})
		}
		must(t, w.store.Owe(t.Context(), entries))
		time.Sleep(2 * period)
		w.cacheDown(backendtest.Fail, p)
		p.unanswered(100 * time.Second)
		_ = p.set(t.Context(), "a", 9)
		time.Sleep(2 * period)
		for range 34 {
			time.Sleep(4 * time.Second)
			w.agree("in doubt")
			if t.Failed() {
				t.FailNow()
			}
		}
		p.well()
		time.Sleep(time.Minute)
		w.quiet()
		w.same()
	})
}

// TestOverflowReaders: what is loaded while the kinds are raised is not served afterwards.
func TestOverflowReaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newPopulated(t, 3)
		p, q := w.processes[0], w.processes[1]
		var entries []driver.JournalEntry
		for i := range many {
			entries = append(entries, driver.JournalEntry{Anchor: fmt.Sprint(i), Owner: "nobody", Token: "t", Window: 0})
		}
		must(t, w.store.Owe(t.Context(), entries))
		gate := backendtest.NewGate(backendtest.On("Fill"))
		q.onCache(gate.Hook)
		read := make(chan int, 1)
		go func() { read <- q.n(t, "a") }()
		must(t, gate.Await(t.Context()))
		<-read
		w.cacheDown(backendtest.Fail, p)
		must(t, p.set(t.Context(), "a", 9))
		time.Sleep(100 * time.Millisecond)
		gate.Open()
		synctest.Wait()
		w.agree("at once", p)
		for range 6 {
			time.Sleep(2 * period)
			w.agree("later")
		}
		w.well()
		time.Sleep(4 * period)
		w.quiet()
		w.same()
	})
}
