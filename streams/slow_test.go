package streams_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

// slowLog takes its time for each call of Append and for each key of After, does not wake, and
// never takes the batches of keys that end in "poison".
type slowLog struct {
	driver.Log
	call, key time.Duration
}

func (l slowLog) wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l slowLog) Append(ctx context.Context, batches []driver.LogBatch) ([]driver.LogHead, error) {
	if err := l.wait(ctx, l.call); err != nil {
		return nil, err
	}
	heads := make([]driver.LogHead, len(batches))
	var failure error
	for i := range batches {
		if strings.HasSuffix(batches[i].Key, "poison") {
			failure = driver.ErrUnavailable
			continue
		}
		head, err := l.Log.Append(ctx, batches[i:i+1])
		if err != nil {
			return heads, err
		}
		heads[i] = head[0]
	}
	return heads, failure
}

func (l slowLog) After(ctx context.Context, reads []driver.LogAfter) ([]driver.LogDelta, error) {
	if err := l.wait(ctx, l.key*time.Duration(len(reads))); err != nil {
		return nil, err
	}
	return l.Log.After(ctx, reads)
}

// TestSlowLog has so much to send that a flush has no time for all, and a key that is never
// taken, whose events fill a call: the others are sent in turn.
func TestSlowLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := streams.New(slowLog{memory.NewLog(nil), 30 * time.Millisecond, 0}, &streams.Options[string]{FlushEvery: time.Minute, Logger: options().Logger})
		if err != nil {
			t.Fatal(err)
		}
		const keys = 40
		large := strings.Repeat("x", 60_000)
		for range 6 {
			for k := range keys {
				for range 20 {
					s.Append(fmt.Sprint(k), large)
				}
			}
			for range 20 {
				s.Append("poison", large)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			if err := s.Flush(ctx); err == nil {
				t.Error("a flush that cannot be complete returns nil")
			}
			cancel()
		}
		for k := range keys {
			if sn, err := s.Recent(t.Context(), fmt.Sprint(k)); err != nil || sn.Total == 0 {
				t.Errorf("key %d: %d events, error %v: it was never sent", k, sn.Total, err)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Close(ended); err == nil {
			t.Error("Close says nothing of what it could not send")
		}
	})
}

// TestManyFeeds follows more keys than can be read in the time of one call.
func TestManyFeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t, slowLog{memory.NewLog(nil), 0, time.Millisecond}, options())
		const n = 3000
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var readers sync.WaitGroup
		for i := range n {
			key := fmt.Sprint("key", i)
			s.Append(key, event{N: i})
			readers.Go(func() {
				for it, err := range s.Tail(ctx, key, streams.Pos{}) {
					if err != nil || it.Event.Data.N != i {
						t.Errorf("%s: %+v, error %v", key, it, err)
					}
					return
				}
				t.Errorf("%s: nothing in 10 s", key)
			})
		}
		readers.Wait()
	})
}

// TestPanickingCode has an encoding that panics: the event keeps its place, and says why it is not there.
func TestPanickingCode(t *testing.T) {
	o := &streams.Options[int]{FlushEvery: time.Minute}
	o.Encode = func(n *int) ([]byte, error) {
		if *n == 2 {
			panic("a test")
		}
		return []byte{byte(*n)}, nil
	}
	o.Decode = func(b []byte, n *int) error {
		if b[0] == 3 {
			panic("another test")
		}
		*n = int(b[0])
		return nil
	}
	s, err := streams.New(memory.NewLog(nil), o)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		s.Append("k", n)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	again, err := streams.New(memory.NewLog(nil), o)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close(t.Context())
	for n := range 5 {
		again.Append("k", n)
	}
	if err := again.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for it, err := range again.Tail(t.Context(), "k", streams.Pos{}) {
		if err != nil {
			t.Fatal(err)
		}
		if bad := seen == 2 || seen == 3; bad != (it.Event.Problem != "") || !bad && it.Event.Data != seen {
			t.Errorf("event %d: %+v", seen, it.Event)
		}
		if seen++; seen == 5 {
			break
		}
	}
}

// TestCloseNothing closes streams with nothing to send, with a context that has ended.
func TestCloseNothing(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 {
		s := newStream(t, memory.NewLog(nil), options())
		if err := s.AppendSync(t.Context(), "k", event{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(ended); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForgedPos follows a key from places that there cannot be.
func TestForgedPos(t *testing.T) {
	s := newStream(t, memory.NewLog(nil), options())
	if err := s.AppendSync(t.Context(), "k", event{N: 1}); err != nil {
		t.Fatal(err)
	}
	epoch := recent(t, s, "k").Pos.Epoch
	for _, seq := range []int64{-1, math.MinInt64, math.MaxInt64} {
		for it, err := range s.Tail(t.Context(), "k", streams.Pos{Epoch: epoch, Seq: seq}) {
			if err != nil || it.Gap == nil || !it.Gap.Reset || it.Gap.Missed != 0 {
				t.Errorf("from %d: %+v, error %v; want a reset", seq, it, err)
			}
			break
		}
	}
}
