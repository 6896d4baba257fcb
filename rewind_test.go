package graphcache_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// The cache goes back in time in these tests by staying where it was: the store is
// changed by something else, so what is cached is what an old dump would have.

// TestRewind: from the moment on that the cache may have gone back in time, no value
// from before is served, in this process at once, in another one within LookPeriod.
func TestRewind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		period := func(o *graphcache.Options) { o.LookPeriod = time.Second }
		e := shopNew(t, period)
		other := shopAnother(t, e, period)
		lookWorld(t, e)
		for range 2 {
			lookExpect(t, "at first", "old", e, e)
		}
		lookChange(t, e)
		lookExpect(t, "before anybody knows", "old", e, e)
		e.fcache.Rewind(time.Now())
		lookExpect(t, "at once", "new", e, e)
		time.Sleep(time.Second + time.Millisecond)
		synctest.Wait()
		lookExpect(t, "another process, after LookPeriod", "new", other, other)
		if got := e.Stats().CacheRewinds; got != 1 {
			t.Errorf("%d rewinds were counted, want 1", got)
		}
		e.on(nil)
		lookExpect(t, "from the cache", "new", e, e)
		if n := e.fstore.Calls("Read"); n != 1 { // that of the search
			t.Errorf("%d store reads after all was loaded anew, want 1", n)
		}
	})
}

// TestRewindKnown: a process that notices what another one has dealt with, and knows that
// it has, does not drop what was cached since; a process that notices first, or something
// newer, does.
func TestRewindKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		period := func(o *graphcache.Options) { o.LookPeriod = time.Second }
		e := shopNew(t, period)
		other := shopAnother(t, e, period)
		lookWorld(t, e)
		lookExpect(t, "at first", "old", e, e)
		restarted := time.Now()
		time.Sleep(time.Minute)
		e.fcache.Rewind(restarted)
		lookExpect(t, "loaded anew", "old", e, e)
		time.Sleep(time.Minute)
		other.fcache.Rewind(restarted)
		other.on(nil)
		lookExpect(t, "in the other process", "old", other, other)
		if n := other.fstore.Calls("Read"); n != 0 {
			t.Errorf("%d store reads, want 0: the other process has dropped the values again", n)
		}
		if got := other.Stats().CacheRewinds; got != 0 {
			t.Errorf("%d rewinds were counted, want 0", got)
		}
		lookChange(t, e)
		other.fcache.Rewind(time.Now())
		lookExpect(t, "after another one", "new", other, other)
	})
}

// TestRewindClock: generations that are ahead of the clock, because another process's is
// wrong, keep nobody from noticing.
func TestRewindClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		fixtureMust(t, e.store.Raise(t.Context(), []string{"item", "buyer", "flag", "bought"}, uint64(time.Now().Add(time.Hour).UnixMilli())))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		lookWorld(t, e)
		lookExpect(t, "at first", "old", e, e)
		lookChange(t, e)
		e.fcache.Rewind(time.Now().Add(-time.Minute))
		lookExpect(t, "after the rewind", "new", e, e)
	})
}

// TestRewindDuringRead: a read that has begun before, and whose look-up comes after, is
// not served what the cache went back to:
//
//	R begins → the cache goes back → R looks up, and finds an old value
func TestRewindDuringRead(t *testing.T) {
	for _, r := range lookReads {
		t.Run(r.name, func(t *testing.T) {
			e := shopNew(t)
			lookWorld(t, e)
			lookExpect(t, "at first", "old", e, e)
			lookChange(t, e)
			e.on(func(c fixtureCall) backendtest.Fault {
				if c.is("Lookup") {
					e.fcache.Rewind(time.Now())
				}
				return backendtest.Fault{}
			})
			if got, err := r.read(t.Context(), e); got != "new" || err != nil {
				t.Errorf("read %q, %v, want the new world", got, err)
			}
		})
	}
}

// TestRewindStoreDown: the store takes the news late; this process does not wait for
// that, and the others learn of it in the end.
func TestRewindStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		other := shopAnother(t, e)
		lookWorld(t, e)
		lookExpect(t, "at first", "old", e, e)
		lookChange(t, e)
		e.on(func(c fixtureCall) backendtest.Fault {
			return backendtest.Fault{Action: changeFault(c, "Raise", backendtest.Fail)}
		})
		e.fcache.Rewind(time.Now())
		e.fcache.Rewind(time.Now()) // again, before the first is known
		for _, r := range lookReads {
			if got, err := r.read(t.Context(), e); got != "new" || err != nil {
				t.Errorf("while the store is not told: %s is %q, %v", r.name, got, err)
			}
		}
		e.on(nil)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		lookExpect(t, "another process, when the store was told", "new", other, other)
	})
}

// TestRewindClosed: a graph that is closed while it tells the store ends that, and is not
// called any more.
func TestRewindClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := shopNew(t)
		e.on(func(c fixtureCall) backendtest.Fault {
			return backendtest.Fault{Action: changeFault(c, "Raise", backendtest.Fail)}
		})
		e.fcache.Rewind(time.Now())
		time.Sleep(3 * time.Second)
		fixtureMust(t, e.Close(t.Context()))
		e.fcache.Rewind(time.Now())
		if got := e.Stats().CacheRewinds; got != 1 {
			t.Errorf("%d rewinds were counted, want 1: the second came after Close", got)
		}
	})
}
