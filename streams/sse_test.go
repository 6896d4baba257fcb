package streams_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/streams"
)

// tally adds up what a viewer is sent, over all its connections.
type tally struct {
	t                           testing.TB
	delivered, missed, filtered int64
	resets                      int
	last                        string // the id
	pos                         streams.Pos
	before                      int64 // of filtered, in earlier connections
}

// add takes a message, and checks that its position is where it leads to.
func (a *tally) add(m message) {
	a.t.Helper()
	if strings.HasPrefix(m.event, "retry") {
		a.before = a.filtered
		return
	}
	if m.event == ": ping" {
		return
	}
	w := decode(a.t, m.data)
	a.last = m.id
	at, err := streams.ParsePos(m.id)
	if err != nil {
		a.t.Error(err)
	}
	step := at.Seq - a.pos.Seq
	ok := at == w.Pos
	switch m.event {
	case "snapshot":
		a.delivered += int64(len(w.Events))
		a.missed += at.Seq - int64(len(w.Events)) // before it came
		if w.Stats.Filtered != nil {
			a.filtered += *w.Stats.Filtered
			a.missed -= *w.Stats.Filtered
		}
	case "event":
		a.delivered++
		ok = ok && step >= 1 // after those that were filtered
	case "gap":
		a.missed += w.Missed
		ok = ok && step >= w.Missed
	case "reset":
		a.missed += w.Missed
		a.resets++
	case "stats":
		ok = step >= 0 && at.Seq >= w.Pos.Seq // what is counted was sent before
		if w.Filtered != nil {
			a.filtered = a.before + *w.Filtered
		}
	default:
		ok = false
	}
	if !ok {
		a.t.Errorf("after %v: %+v", a.pos, m)
	}
	a.pos = at
}

// all is how many events the viewer knows of.
func (a *tally) all() int64 { return a.delivered + a.missed + a.filtered }

// TestFollow follows a key that is read in time.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t, memory.NewLog(nil), options())
		h := newHandler(t, s, nil)
		c := follow(t, h, "/")
		m := c.messages()
		if diff := cmp.Diff([]string{"retry: 2000", "snapshot"}, names(m)); diff != "" {
			t.Fatal(diff)
		}
		want := `{"events":[],"pos":"0-0","stats":{"pos":"0-0","total":0,"unique":0,"types":[],"spark":[` + strings.Repeat("0,", 59) + `0],"bucket_ms":0,"created":null},"cap":50}`
		if m[1].data != want || m[1].id != "0-0" {
			t.Errorf("%+v\nwant %s", m[1], want)
		}
		for n := range 3 {
			s.Append("k", event{N: n, Type: "<a>", User: "ann"})
		}
		began := time.Now()
		time.Sleep(2 * time.Second)
		m = c.messages()
		a := tally{t: t}
		for _, m := range m {
			a.add(m)
		}
		if a.delivered != 3 || a.missed != 0 || c.flushes > 6 {
			t.Errorf("%+v with %d flushes", a, c.flushes)
		}
		e := decode(t, m[0].data)
		if *e.Data != (event{0, "<a>", "ann"}) || began.Sub(e.Time).Abs() > 10*time.Millisecond || e.Problem != "" {
			t.Errorf("%+v", e)
		}
		st := decode(t, m[3].data)
		if m[3].event != "stats" || st.Total != 3 || st.Unique != 1 || st.Types[0].Type != "<a>" || st.Types[0].Count != 3 || st.Bucket != 1000 || len(st.Spark) != 60 || st.Created.Sub(began) > time.Second {
			t.Errorf("%+v", m[3])
		}
		c.stop()
		synctest.Wait()
		if !c.ended.Load() || s.Stats().Readers != 0 {
			t.Error("the viewer has not ended")
		}
	})
}

// TestFollowQuiet follows a key on which nothing happens: it is not read, and the connection
// is kept alive.
func TestFollowQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newCountingLog()
		s := newStream(t, log, options())
		c := follow(t, newHandler(t, s, nil), "/")
		s.Append("k", event{})
		time.Sleep(61 * time.Second)
		stats := 0
		for _, m := range c.messages() {
			if m.event == "stats" {
				stats++
			}
		}
		if stats < 59 || stats > 62 {
			t.Errorf("%d stats in a minute in which the sparkline moved", stats)
		}
		time.Sleep(5 * time.Second)
		c.messages()
		reads := s.Stats().Reads
		time.Sleep(time.Minute + time.Second)
		if diff := cmp.Diff([]string{": ping", ": ping", ": ping", ": ping"}, names(c.messages())); diff != "" {
			t.Error(diff)
		}
		if n := s.Stats().Reads - reads; n != 0 {
			t.Errorf("%d reads of a key on which nothing happens", n)
		}
	})
}

// TestFollowBucket follows a key whose sparkline moves once in a minute.
func TestFollowBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Bucket = time.Minute
		log := newCountingLog()
		s := newStream(t, log, o)
		c := follow(t, newHandler(t, s, nil), "/")
		s.Append("k", event{})
		time.Sleep(10 * time.Minute)
		if n := log.snapshots.Load(); n < 10 || n > 13 {
			t.Errorf("%d snapshots in ten minutes", n)
		}
		a := tally{t: t}
		for _, m := range c.messages() {
			a.add(m)
		}
		if a.delivered != 1 {
			t.Errorf("%+v", a)
		}
	})
}

// TestFollowUnflushed has a writer that cannot be flushed: the viewer is sent what there is,
// and comes back.
func TestFollowUnflushed(t *testing.T) {
	s := newStream(t, memory.NewLog(nil), options())
	s.Append("k", event{N: 7})
	mustFlush(t, s)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Customer", "k")
	r.Header.Set("Accept", "text/event-stream")
	w := httptest.NewRecorder()
	newHandler(t, s, nil).ServeHTTP(struct{ http.ResponseWriter }{w}, r)
	if text := w.Body.String(); w.Code != 200 || !strings.Contains(text, "event: snapshot\n") || !strings.Contains(text, `"data":{"n":7,`) {
		t.Errorf("status %d: %s", w.Code, text)
	}
}

// TestFollowGap comes back too late, and with a position of a key that has expired.
func TestFollowGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := options()
		o.Cap, o.TTL = 10, time.Minute
		s := newStream(t, memory.NewLog(nil), o)
		h := newHandler(t, s, nil)
		s.Append("k", event{})
		mustFlush(t, s)
		first := recent(t, s, "k").Pos
		for n := range 30 {
			s.Append("k", event{N: 1 + n})
		}
		mustFlush(t, s)
		c := follow(t, h, "/?since=0-0", "Last-Event-ID", first.String())
		time.Sleep(time.Second / 2)
		m := c.messages()
		c.stop()
		at := streams.Pos{Epoch: first.Epoch, Seq: 21}
		if want := (message{at.String(), "gap", `{"missed":20,"pos":"` + at.String() + `"}`}); m[1] != want {
			t.Errorf("%+v, want %+v", m[1], want)
		}
		if e := decode(t, m[2].data); len(m) != 13 || m[2].event != "event" || e.Data.N != 21 || m[12].event != "stats" {
			t.Errorf("%v", m)
		}
		time.Sleep(2 * time.Minute)
		for n := range 12 {
			s.Append("k", event{N: 100 + n})
		}
		c = follow(t, h, "/?since="+m[12].id)
		time.Sleep(3 * time.Second)
		m = c.messages()
		for len(m) > 0 && m[0].event != "event" {
			if strings.HasPrefix(m[0].event, "reset") && decode(t, m[0].data).Pos == (streams.Pos{}) {
				m = m[1:] // the key was empty, and is not any more
				continue
			}
			if m[0].event == "reset" || m[0].event == "gap" {
				if w := decode(t, m[0].data); w.Missed != 2 || w.Pos.Seq != 2 || w.Pos.Epoch == first.Epoch {
					t.Errorf("%+v", m[0])
				}
			}
			m = m[1:]
		}
		if len(m) < 10 || decode(t, m[0].data).Data.N != 102 {
			t.Errorf("%v", m)
		}
	})
}

// TestFollowElsewhere comes from a process that knew more to one that will know in a minute:
// nothing has been lost. A position that nobody knows is one of a lost key.
func TestFollowElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newCountingLog()
		slow, quick := options(), options()
		slow.Poll = time.Minute
		here, there := newStream(t, log, slow), newStream(t, log, quick)
		h := newHandler(t, here, nil)
		append5 := func() {
			for range 5 {
				there.Append("k", event{})
			}
			mustFlush(t, there)
		}
		append5()
		other := follow(t, h, "/")
		synctest.Wait()
		append5() // which this process does not know
		pos := recent(t, there, "k").Pos
		tallies := map[string]*tally{"": {t: t}, pos.String(): {t: t, missed: 10, pos: pos}}
		clients := make(map[string]*client)
		time.Sleep(100 * time.Millisecond)
		early := follow(t, h, "/?since="+pos.String())
		time.Sleep(2 * time.Second) // the snapshot is to be newer than the window
		for from := range tallies {
			clients[from] = follow(t, h, "/", "Last-Event-ID", from)
		}
		synctest.Wait()
		time.Sleep(5 * time.Second)
		lost := follow(t, h, "/?since="+streams.Pos{Epoch: pos.Epoch, Seq: 1000}.String())
		time.Sleep(5 * time.Second)
		append5()
		time.Sleep(3 * time.Minute)
		for from, a := range tallies {
			for _, m := range clients[from].messages() {
				a.add(m)
			}
			if a.resets != 0 || a.all() != 15 || from == "" && a.delivered != 15 {
				t.Errorf("from %q: %+v", from, a)
			}
		}
		for _, m := range early.messages() {
			if m.event == "reset" {
				t.Errorf("%+v", m)
			}
		}
		m := lost.messages()
		for len(m) > 0 && (m[0].event == "retry: 2000" || m[0].event == ": ping") {
			m = m[1:]
		}
		if len(m) == 0 || m[0].event != "reset" {
			t.Errorf("%v, want a reset", m)
		}
		a := tally{t: t}
		for _, m := range other.messages() {
			a.add(m)
		}
		if a.delivered != 15 {
			t.Errorf("%+v", a)
		}
	})
}

// TestFollowFilter holds back events, and moves the position on over them.
func TestFollowFilter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStream(t, memory.NewLog(nil), options())
		h := newHandler(t, s, nil)
		for n := range 20 {
			s.Append("k", event{N: n, Type: fmt.Sprint("t", n%4)})
		}
		mustFlush(t, s)
		c := follow(t, h, "/?filter=type:t1+-n:5")
		a := tally{t: t}
		m := c.messages()
		sn := decode(t, m[1].data)
		if diff := cmp.Diff([]int{1, 9, 13, 17}, numbers(sn.Events)); diff != "" || *sn.Stats.Filtered != 16 || m[1].id != sn.Pos.String() {
			t.Errorf("%+v: %s", m[1], diff)
		}
		a.add(m[0])
		a.add(m[1])
		for range 3 {
			for n := range 33 {
				s.Append("k", event{N: n, Type: "t2"})
			}
			time.Sleep(3 * time.Second)
			for _, m := range c.messages() {
				if m.event != "stats" {
					t.Errorf("%+v", m)
				}
				a.add(m)
			}
			if seq := recent(t, s, "k").Pos.Seq; a.pos.Seq != seq || a.all() != seq {
				t.Errorf("at %d: %+v", seq, a)
			}
		}
		c.stop()
		for n := range 100 { // of which 50 are gone
			s.Append("k", event{N: n, Type: "t1"})
		}
		mustFlush(t, s)
		c = follow(t, h, "/?filter=n:>97", "Last-Event-ID", a.last)
		time.Sleep(3 * time.Second)
		m = c.messages()
		for _, m := range m {
			a.add(m)
		}
		if a.delivered != 6 || a.missed != 50 || a.filtered != 16+99+48 || a.all() != 219 || a.pos.Seq != 219 {
			t.Errorf("%+v", a)
		}
	})
}

// TestFollowLargeEvent has an event that is too large to be sent, and others without data.
func TestFollowLargeEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := streams.New(memory.NewLog(nil), &streams.Options[any]{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(t.Context())
		h, err := s.Handler(keyOf, &streams.HandlerOptions{MaxEvent: 100})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []any{strings.Repeat("x", 98), strings.Repeat("x", 99), func() {}, nil, map[string]string{"a\n": "\r\n\u2028"}} {
			s.Append("k", e)
		}
		mustFlushAny(t, s)
		c := follow(t, h, "/?since=0-0")
		time.Sleep(2 * time.Second)
		var got []string
		for _, m := range c.messages() {
			if m.event == "event" {
				_, text, _ := strings.Cut(m.data, `Z",`)
				got = append(got, text)
			}
		}
		want := []string{
			`"data":"` + strings.Repeat("x", 98) + `"}`,
			`"problem":"the event has 101 bytes: at most 100 are sent"}`,
			`"problem":"the event cannot be encoded: json: unsupported type: func()"}`,
			`"data":null}`,
			`"data":{"a\n":"\r\n\u2028"}}`,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func mustFlushAny(t testing.TB, s *streams.Stream[any]) {
	t.Helper()
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// lines is an event whose JSON has several lines.
type lines struct{ N int }

// TestFollowEncoding sends events that are not encoded as JSON, or not in one line.
func TestFollowEncoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog(nil)
		other, err := streams.New(log, &streams.Options[lines]{
			Encode: func(e *lines) ([]byte, error) { return fmt.Appendf(nil, "{\n\"N\":\r%d}", e.N), nil },
			Decode: func(b []byte, e *lines) error {
				_, err := fmt.Sscanf(string(b), "{\n\"N\":\r%d}", &e.N)
				return err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close(t.Context())
		plain, err := streams.New[lines](log, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Close(t.Context())
		other.Append("k", lines{7})
		if err := other.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m := numbersOf(t, streams.Options[float64]{
			Encode: func(*float64) ([]byte, error) { return nil, nil },
			Decode: func(_ []byte, f *float64) error { *f = math.NaN(); return nil },
		}); !strings.Contains(m, `Z","problem":"the event cannot be sent: json: unsupported value: NaN"}],`) {
			t.Error(m)
		}
		for name, s := range map[string]*streams.Stream[lines]{"another encoding": other, "JSON": plain} {
			h, err := s.Handler(keyOf, nil)
			if err != nil {
				t.Fatal(err)
			}
			c := follow(t, h, "/")
			if m := c.messages(); !strings.Contains(m[1].data, `"data":{"N":7}}],`) {
				t.Errorf("%s: %+v", name, m)
			}
			c.stop()
		}
	})
}

// numbersOf returns the snapshot of a key that has one number.
func numbersOf(t *testing.T, o streams.Options[float64]) string {
	s, err := streams.New(memory.NewLog(nil), &o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(t.Context())
	if err := s.AppendSync(t.Context(), "k", 0); err != nil {
		t.Fatal(err)
	}
	h, err := s.Handler(keyOf, nil)
	if err != nil {
		t.Fatal(err)
	}
	return follow(t, h, "/").messages()[1].data
}

// TestFollowOutage follows a key while the log does not answer.
func TestFollowOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newCountingLog()
		s := newStream(t, log, options())
		h := newHandler(t, s, nil)
		a, c := tally{t: t}, follow(t, h, "/")
		for i := range 3 {
			for range 100 {
				s.Append("k", event{})
				time.Sleep(10 * time.Millisecond)
			}
			log.down.Store(i != 1)
		}
		time.Sleep(time.Second)
		log.down.Store(false)
		time.Sleep(5 * time.Second)
		for _, m := range c.messages() {
			a.add(m)
		}
		if a.all() != 300 || a.resets != 0 || a.delivered < 150 {
			t.Errorf("%+v", a)
		}
		c.stop()
		time.Sleep(2 * time.Minute)
		log.down.Store(true)
		began, reads := time.Now(), log.snapshots.Load()
		late := follow(t, h, "/", "Last-Event-ID", a.last)
		time.Sleep(30 * time.Second)
		if n := log.snapshots.Load() - reads; n > int64(time.Since(began)/time.Second)+1 {
			t.Errorf("%d snapshots in %v", n, time.Since(began))
		}
		if diff := cmp.Diff([]string{"retry: 2000", ": ping"}, names(late.messages())[:2]); diff != "" {
			t.Error(diff)
		}
		log.down.Store(false)
		time.Sleep(5 * time.Second)
		if m := late.messages(); len(m) == 0 || m[len(m)-1].event != "stats" {
			t.Errorf("%v, want stats", m)
		}
	})
}

// TestFollowHanging waits for a log that hangs, until the client goes away, the log has had
// its time, or the stream is closed.
func TestFollowHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newCountingLog()
		log.hangs.Store(true)
		s := newStream(t, log, options())
		h := newHandler(t, s, nil)
		gone, late := follow(t, h, "/"), get(t, h, "/")
		synctest.Wait()
		gone.stop()
		synctest.Wait()
		if !gone.ended.Load() || gone.body.Len() > 0 || late.ended.Load() {
			t.Errorf("the one that went away: ended %t; the other: %t", gone.ended.Load(), late.ended.Load())
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if !late.ended.Load() || late.status != 503 {
			t.Errorf("a poll: ended %t, status %d", late.ended.Load(), late.status)
		}
		last := follow(t, h, "/")
		synctest.Wait()
		if err := s.Close(t.Context()); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if !last.ended.Load() || last.status != 503 {
			t.Errorf("after Close: ended %t, status %d", last.ended.Load(), last.status)
		}
	})
}

// TestFollowAccount follows a key over a network through several processes, and is thrown out
// again and again, while others append: every event is accounted for.
func TestFollowAccount(t *testing.T) {
	t.Run("polling", func(t *testing.T) { testFollowAccount(t, struct{ driver.Log }{memory.NewLog(nil)}) })
	t.Run("woken", func(t *testing.T) { testFollowAccount(t, memory.NewLog(nil)) })
}

func testFollowAccount(t *testing.T, log driver.Log) {
	const processes, viewers, rounds = 3, 6, 150
	var all []*streams.Stream[event]
	var urls []string
	for p := range processes {
		o := options()
		o.FlushEvery, o.Poll = 4*time.Millisecond, time.Duration(1+10*p)*time.Millisecond
		s := newStream(t, log, o)
		server := httptest.NewServer(newHandler(t, s, &streams.HandlerOptions{StatsEvery: 20 * time.Millisecond}))
		t.Cleanup(server.Close)
		all, urls = append(all, s), append(urls, server.URL)
	}
	var producing sync.WaitGroup
	for p, s := range all {
		producing.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(p)))
			for range rounds {
				for range rnd.IntN(60) {
					s.Append("k", event{N: rnd.IntN(4)})
				}
				time.Sleep(time.Duration(rnd.IntN(4)) * time.Millisecond)
			}
			if err := s.Flush(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	var total int64
	produced := make(chan struct{})
	go func() {
		producing.Wait()
		for _, s := range all {
			total += s.Stats().Sent
		}
		close(produced)
	}()
	var viewing sync.WaitGroup
	for v := range viewers {
		viewing.Go(func() {
			rnd := rand.New(rand.NewPCG(2, uint64(v)))
			a := tally{t: t}
			for {
				target := urls[rnd.IntN(processes)]
				if v%2 == 1 {
					target += "?filter=n:" + strconv.Itoa(rnd.IntN(4))
				}
				from := a.last
				if from == "" && v%3 == 1 {
					from = "0-0"
				}
				c := connect(t, http.DefaultClient, target, from)
				for range 1 + rnd.IntN(100) {
					m, err := c.next()
					if err != nil {
						t.Errorf("viewer %d: %v", v, err)
						return
					}
					a.take(m)
					select {
					case <-produced:
						if a.pos.Seq == total {
							if a.all() != total || a.resets != 0 || a.delivered == 0 {
								t.Errorf("viewer %d: %+v of %d", v, a, total)
							}
							_ = c.body.Close()
							return
						}
					default:
					}
				}
				_ = c.body.Close()
			}
		})
	}
	viewing.Wait()
	for _, s := range all {
		await(t, "the viewers to leave", func() bool { return s.Stats().Readers == 0 })
	}
}

// take is add for a viewer that is cut off anywhere, before it is told how many events were
// filtered: its position says so.
func (a *tally) take(m message) {
	a.t.Helper()
	filtered, pos, all := a.filtered, a.pos, a.all()
	a.add(m)
	a.filtered = filtered
	switch {
	case m.event == "snapshot":
		a.filtered += a.pos.Seq - a.all()
	case a.pos != pos:
		a.filtered += a.pos.Seq - pos.Seq - (a.all() - all)
	}
}

// TestFollowSlowly has a viewer that does not read: it is thrown out, and comes back. The
// other one gets everything meanwhile.
func TestFollowSlowly(t *testing.T) {
	o := options()
	o.FlushEvery, o.Poll = time.Millisecond, time.Millisecond
	s := newStream(t, memory.NewLog(nil), o)
	server := httptest.NewUnstartedServer(newHandler(t, s, &streams.HandlerOptions{WriteTimeout: 2 * time.Second}))
	server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		_ = c.(*net.TCPConn).SetWriteBuffer(4096)
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close)
	narrow := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err == nil {
			err = c.(*net.TCPConn).SetReadBuffer(4096)
		}
		return c, err
	}}}
	quick, slow := connect(t, server.Client(), server.URL, "0-0"), connect(t, narrow, server.URL, "0-0")
	await(t, "both viewers", func() bool { return s.Stats().Readers == 2 })
	n := 0
	for deadline := time.Now().Add(time.Minute); s.Stats().Readers == 2; {
		if time.Now().After(deadline) {
			t.Fatal("the slow viewer was not thrown out")
		}
		n++
		s.Append("k", event{N: n, User: strings.Repeat("x", 1<<14)})
		for {
			m, err := quick.next()
			if err != nil {
				t.Fatal(err)
			}
			if m.event == "gap" || m.event == "reset" {
				t.Fatalf("%+v", m)
			}
			if m.event == "event" {
				if got := decode(t, m.data).Data.N; got != n {
					t.Fatalf("event %d, want %d", got, n)
				}
				break
			}
		}
	}
	a := tally{t: t}
	for {
		m, err := slow.next()
		if err != nil {
			break
		}
		a.add(m)
	}
	if a.delivered == 0 || a.delivered == int64(n) {
		t.Errorf("%d of %d events were sent to the one that was thrown out", a.delivered, n)
	}
	slow = connect(t, server.Client(), server.URL, a.last)
	for a.pos.Seq < int64(n) {
		m, err := slow.next()
		if err != nil {
			t.Fatal(err)
		}
		a.add(m)
	}
	if a.all() != int64(n) || a.resets != 0 {
		t.Errorf("%+v of %d", a, n)
	}
}
