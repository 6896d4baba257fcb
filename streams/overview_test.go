package streams_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/streams"
)

// encoded counts how often it is turned into JSON.
type encoded struct {
	N int
}

func (e *encoded) MarshalJSON() ([]byte, error) {
	encodings.Add(1)
	return json.Marshal(e.N)
}

var encodings atomic.Int64

// TestOverviewShared has a thousand viewers of a key, who come at once: they make no more
// reads, and no more JSON, than one.
func TestOverviewShared(t *testing.T) {
	for name, filter := range map[string]string{"all": "", "filtered": "?filter=n:%3E2"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testOverviewShared(t, "/"+filter) })
		})
	}
}

func testOverviewShared(t *testing.T, target string) {
	log := newCountingLog()
	s := newStream(t, log, options())
	h := newHandler(t, s, nil)
	const viewers, seconds = 1000, 10
	for n := range 10 {
		s.Append("k", event{N: n % 5})
	}
	mustFlush(t, s)
	clients := make([]*client, viewers)
	for i := range clients {
		clients[i] = follow(t, h, target)
	}
	synctest.Wait()
	time.Sleep(500 * time.Millisecond)
	if snapshots, afters := log.snapshots.Load(), log.afters.Load(); snapshots != 1 || afters > 2 {
		t.Errorf("%d snapshots and %d reads for %d viewers", snapshots, afters, viewers)
	}
	began := time.Now()
	before := log.afters.Load()
	for n := range seconds * 100 {
		s.Append("k", event{N: n % 5})
		time.Sleep(10 * time.Millisecond)
	}
	ticks := int64(time.Since(began) / (100 * time.Millisecond))
	if reads := log.afters.Load() - before; reads > ticks+1 || reads < ticks/2 {
		t.Errorf("%d reads in %d polls", reads, ticks)
	}
	if n := log.snapshots.Load(); n < seconds || n > seconds+2 {
		t.Errorf("%d snapshots in %d s", n, seconds)
	}
	time.Sleep(2 * time.Second)
	synctest.Wait()
	events := 0
	for i, c := range clients {
		text := c.body.String()
		n := strings.Count(text, "\nevent: event\n")
		if i%100 > 0 { // like the one before
			if n != events || c.dirty || strings.Contains(text, "event: gap") || strings.Contains(text, "event: reset") {
				t.Fatalf("viewer %d was sent %d events, want %d", i, n, events)
			}
			continue
		}
		events = n
		a := tally{t: t}
		stats := 0
		for _, m := range c.messages() {
			if m.event == "stats" {
				stats++
			}
			a.add(m)
		}
		if want := int64(10 + seconds*100); a.all() != want || a.missed != 0 || a.delivered == 0 {
			t.Fatalf("viewer %d: %+v of %d", i, a, want)
		}
		if stats < seconds || stats > seconds+3 {
			t.Fatalf("viewer %d: %d stats in %d s", i, stats, seconds)
		}
		if limit := seconds*10 + stats + 5; c.flushes > limit {
			t.Fatalf("viewer %d: %d flushes, at most %d are needed", i, c.flushes, limit)
		}
	}
	if n := s.Stats().Readers; n != viewers {
		t.Errorf("%d readers", n)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	synctest.Wait()
	for i, c := range clients {
		if !c.ended.Load() {
			t.Fatalf("viewer %d goes on after Close", i)
		}
	}
}

// TestOverviewEncodesOnce counts how often an event of another encoding is turned into JSON.
func TestOverviewEncodesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := streams.New(memory.NewLog(nil), &streams.Options[encoded]{
			Encode: func(e *encoded) ([]byte, error) { return []byte{byte(e.N)}, nil },
			Decode: func(b []byte, e *encoded) error { e.N = int(b[0]); return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(t.Context())
		h, err := s.Handler(keyOf, nil)
		if err != nil {
			t.Fatal(err)
		}
		encodings.Store(0)
		for range 100 {
			follow(t, h, "/?filter=1")
			follow(t, h, "/?since=0-0")
		}
		for n := range 200 {
			s.Append("k", encoded{N: n})
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := encodings.Load(); n != 200 {
			t.Errorf("200 events were turned into JSON %d times", n)
		}
		for range 100 {
			get(t, h, "/")
			synctest.Wait()
			time.Sleep(100 * time.Millisecond)
			s.Append("k", encoded{N: 1})
		}
		if n := encodings.Load(); n > 200+2*100+50 {
			t.Errorf("300 events were turned into JSON %d times", n)
		}
	})
}
