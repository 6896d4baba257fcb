package streams_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/streams"
)

// poll sends a request and returns the answer.
func poll(t *testing.T, c *client) wire {
	t.Helper()
	synctest.Wait()
	if !c.ended.Load() || c.status != 200 || c.header.Get("Content-Type") != "application/json" {
		t.Fatalf("ended %t, status %d, %v", c.ended.Load(), c.status, c.header)
	}
	return decode(t, c.body.String())
}

// TestPoll polls a key, with all that can happen between two polls.
func TestPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Cap, o.TTL = 10, time.Minute
		s := newStream(t, memory.NewLog(nil), o)
		h := newHandler(t, s, nil)
		c := get(t, h, "/")
		if w := poll(t, c); w.Pos != (streams.Pos{}) || w.Stats.Total != 0 || w.Cap != 10 || !strings.HasPrefix(c.body.String(), `{"events":[],`) {
			t.Error(c.body.String())
		}
		n, at := 0, streams.Pos{}
		for _, step := range []struct {
			some   int // appended
			filter string
			want   []int
			missed int64
		}{
			{3, "", []int{1, 2, 3}, 0},
			{0, "", []int{}, 0},
			{10, "", []int{4, 5, 6, 7, 8, 9, 10, 11, 12, 13}, 0},
			{12, "", []int{16, 17, 18, 19, 20, 21, 22, 23, 24, 25}, 2},
			{4, "&filter=-n:27", []int{26, 28, 29}, 0},
			{3, "&filter=nothing", []int{}, 0},
			{13, "&filter=n:%3E43", []int{44, 45}, 3},
		} {
			for range step.some {
				n++
				s.Append("k", event{N: n, Type: "t", User: "ann"})
			}
			time.Sleep(2 * time.Second)
			c := get(t, h, "/?since="+at.String()+step.filter)
			w := poll(t, c)
			if diff := cmp.Diff(step.want, numbers(w.Events)); diff != "" || w.Pos.Seq != int64(n) || w.Stats.Total != int64(n) || w.Stats.Pos != w.Pos || w.Stats.Unique != 1 {
				t.Errorf("%+v: %s: %s", step, c.body.String(), diff)
			}
			if step.missed == 0 != (w.Gap == nil) || w.Gap != nil && (w.Gap.Missed != step.missed || w.Gap.Reset) {
				t.Errorf("%+v: gap %+v", step, w.Gap)
			}
			if filtered := int64(step.some) - step.missed - int64(len(step.want)); step.filter == "" != (w.Stats.Filtered == nil) || w.Stats.Filtered != nil && *w.Stats.Filtered != filtered {
				t.Errorf("%+v: filtered %v, want %d", step, w.Stats.Filtered, filtered)
			}
			at = w.Pos
		}
		w := poll(t, get(t, h, "/?filter=n:%3C38"))
		if diff := cmp.Diff([]int{36, 37}, numbers(w.Events)); diff != "" || *w.Stats.Filtered != 8 || w.Pos != at {
			t.Errorf("%+v: %s", w, diff)
		}
		time.Sleep(2 * time.Minute)
		s.Append("k", event{N: 1})
		time.Sleep(2 * time.Second)
		c = get(t, h, "/?since="+at.String())
		time.Sleep(2 * time.Second)
		if w := poll(t, c); w.Gap == nil || !w.Gap.Reset || w.Gap.Missed != 0 || w.Pos.Seq != 1 || len(w.Events) != 1 {
			t.Errorf("%+v, want a reset", w)
		}
	})
}

// TestPollShared polls a key from many clients: it is read once a second.
func TestPollShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newCountingLog()
		s := newStream(t, log, options())
		h := newHandler(t, s, nil)
		const seconds = 20
		for range seconds * 10 {
			s.Append("k", event{})
			for range 50 {
				c := get(t, h, "/?since=0-0")
				synctest.Wait()
				if !c.ended.Load() || c.status != 200 {
					t.Fatalf("ended %t, status %d", c.ended.Load(), c.status)
				}
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := log.snapshots.Load(); n < seconds-1 || n > seconds+1 {
			t.Errorf("%d snapshots in %d s", n, seconds)
		}
		// One that knows more than this process waits for the next, and is not reset.
		s.Append("k", event{})
		mustFlush(t, s)
		pos := recent(t, s, "k").Pos
		c := get(t, h, "/?since="+pos.String())
		time.Sleep(time.Second)
		if w := poll(t, c); w.Gap != nil || w.Pos != pos || len(w.Events) != 0 {
			t.Errorf("%+v at %v", w, pos)
		}
		before := log.snapshots.Load()
		pos.Seq = 1 << 60 // which nobody knows
		for range 20 {
			c := get(t, h, "/?since="+pos.String())
			time.Sleep(100 * time.Millisecond)
			defer func() {
				if w := poll(t, c); w.Gap == nil || !w.Gap.Reset {
					t.Errorf("%+v, want a reset", w)
				}
			}()
		}
		time.Sleep(time.Second)
		if n := log.snapshots.Load() - before; n > 3 {
			t.Errorf("%d snapshots in 3 s", n)
		}
	})
}
