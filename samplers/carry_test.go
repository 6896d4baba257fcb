package samplers_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/samplers"
)

// inject returns what Inject makes of the lines of a header, nil if it removes it.
func inject(t testing.TB, d samplers.Decision, lines ...string) []string {
	h := http.Header{"Baggage": lines}
	if len(lines) == 0 {
		h = http.Header{}
	}
	samplers.Inject(samplers.ContextWithDecision(t.Context(), d), h)
	return h["Baggage"]
}

func extract(lines ...string) (samplers.Decision, bool) {
	return samplers.Extract(http.Header{"Baggage": lines})
}

func TestCarry(t *testing.T) {
	tail := func(weight float64) samplers.Decision {
		return samplers.Decision{Keep: true, Weight: weight, Reason: samplers.Tail, Seq: 26}
	}
	for _, tt := range []struct {
		d    samplers.Decision
		want string
	}{
		{first, "first-3-0"},
		{throttled, "throttled-6"},
		{localKept, "local-0-0"},
		{localDrop, "local-0"},
		{upgradedFrom(tailed), "upgraded-7-0"},
		{tailed, "tail-7-c"},
		{tail(1), "tail-1a-0"},
		{tail(2), "tail-1a-8"},
		{tail(100), "tail-1a-fd70a3d"}, // as near as 28 bits come
		{tail(1 << 28), "tail-1a-fffffff"},
		{samplers.Decision{Seq: math.MaxUint64}, "throttled-ffffffffffffffff"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			lines := inject(t, tt.d)
			if diff := cmp.Diff([]string{"graphcache.sample=" + tt.want}, lines); diff != "" {
				t.Fatal(diff)
			}
			got, ok := extract(lines...)
			if !ok || got.Threshold() != tt.d.Threshold() {
				t.Fatalf("got %+v, %v, want %+v", got, ok, tt.d)
			}
			if tt.d.Weight != 100 && got != tt.d {
				t.Errorf("got %+v, want %+v", got, tt.d)
			}
			if again := inject(t, got); !cmp.Equal(again, lines) {
				t.Errorf("carried on: %q, want %q", again, lines)
			}
		})
	}
}

// TestCarryNothing: decisions that no sampler makes are not carried.
func TestCarryNothing(t *testing.T) {
	for _, d := range []samplers.Decision{
		{Keep: true, Weight: 0, Reason: samplers.First},
		{Keep: true, Weight: 0.5, Reason: samplers.Tail},
		{Keep: true, Weight: 2, Reason: samplers.First},
		{Keep: true, Weight: -1, Reason: samplers.Tail},
		{Keep: true, Weight: math.NaN(), Reason: samplers.Tail},
		{Keep: true, Weight: math.Inf(1), Reason: samplers.Tail},
		{Keep: true, Weight: 1 << 30, Reason: samplers.Tail},
		{Keep: true, Weight: 1, Reason: samplers.Throttled},
		{Keep: true, Weight: 1, Reason: samplers.Always},
		{Keep: true, Weight: 1, Reason: 77},
		{Reason: samplers.First},
		{Reason: samplers.Always},
		{Reason: 77},
	} {
		if lines := inject(t, d); lines != nil {
			t.Errorf("%+v: carried as %q", d, lines)
		}
		if diff := cmp.Diff([]string{"a=1"}, inject(t, d, "a=1,graphcache.sample=first-1-0")); diff != "" {
			t.Errorf("%+v: an older one (-want +got):\n%s", d, diff)
		}
		if lines := inject(t, d, "graphcache.sample=first-1-0"); lines != nil {
			t.Errorf("%+v: an older one is left as %q", d, lines)
		}
	}
}

func TestCarryBesideOthers(t *testing.T) {
	const ours = "graphcache.sample=first-3-0"
	many := func(n int) string { return strings.Repeat("a=1,", n-1) + "a=1" }
	long := func(n int) string { return "a=" + strings.Repeat("1", n-2) }
	for _, tt := range []struct {
		name      string
		has, want []string
	}{
		{"none", nil, []string{ours}},
		{"empty", []string{""}, []string{ours}},
		{"one", []string{"a=1"}, []string{"a=1," + ours}},
		{"properties and spaces", []string{" b = 2 ; p ;q=1\t,\ta=1 "}, []string{"b = 2 ; p ;q=1,a=1," + ours}},
		{"lines", []string{"b=2,a=1", "b=3,,"}, []string{"b=2,a=1,b=3," + ours}},
		{"not in the grammar", []string{`a,=,;;,"x=",é`}, []string{`a,=,;;,"x=",é,` + ours}},
		{"an older one", []string{"a=1, graphcache.sample = tail-7-c;p ,b=2"}, []string{"a=1,b=2," + ours}},
		{"older ones", []string{"graphcache.sample=", "graphcache.sample", "graphcache.sample=x"}, []string{ours}},
		{"similar names", []string{"graphcache.samples=1,Graphcache.sample=2,x.graphcache.sample=3"}, []string{"graphcache.samples=1,Graphcache.sample=2,x.graphcache.sample=3," + ours}},
		{"63 members", []string{many(63)}, []string{many(63) + "," + ours}},
		{"64 members", []string{many(64)}, []string{many(64)}},
		{"64 members in lines", []string{many(60), many(4)}, []string{many(60), many(4)}},
		{"64 members with an older one", []string{many(63) + ",graphcache.sample=x"}, []string{many(63) + "," + ours}},
		{"65 members with an older one", []string{many(64) + ",graphcache.sample=x"}, []string{many(64)}},
		{"8,192 bytes in all", []string{long(8191 - len(ours))}, []string{long(8191-len(ours)) + "," + ours}},
		{"8,193 bytes in all", []string{long(8192 - len(ours))}, []string{long(8192 - len(ours))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, inject(t, first, tt.has...)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestCarryWithoutRequest(t *testing.T) {
	h := http.Header{"Baggage": {"a=1", "graphcache.sample=first-3-0"}}
	want := h.Clone()
	samplers.Inject(t.Context(), h)
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCarryExtract(t *testing.T) {
	for _, lines := range [][]string{
		{"graphcache.sample=first-3-0"},
		{"a=1,graphcache.sample=first-3-0"},
		{"a=1", "b", "graphcache.sample=first-3-0", "c=\xff"},
		{"\t graphcache.sample \t= first-3-0\t;p;q=graphcache.sample=throttled-0"},
		{`=,,;,"=\`, strings.Repeat("a=1,", 1000) + "graphcache.sample=first-3-0"},
	} {
		if got, ok := extract(lines...); !ok || got != first {
			t.Errorf("%.80q: got %+v, %v, want %+v", lines, got, ok, first)
		}
	}
	for _, value := range []string{
		"", "-", "--", "first", "first-", "first-3", "first-3-", "first-3-0-", "first-3-0-0", "first--0", "first-03-0", "first-00-0", "first-3-00", "first-3-8",
		"First-3-0", "first-A-0", "first-+3-0", "first-0x3-0", "first-3.0-0", "first- 3-0", "first-3-é", "first-10000000000000000-0", "first-3-0 first-3-0",
		"throttled-6-0", "throttled-6-8", "throttled", "local-0-8", "upgraded-7", "upgraded-7-8", "always-0", "always-0-0", "other-0",
		"tail-7", "tail-7-c0", "tail-7-C", "tail-7-fd70a3d0", "tail-7-fd70a3d1", "tail-7--1", "tail-7-0.5", "tail-7-NaN", "tail-7-inf",
	} {
		if d, ok := extract("a=1,graphcache.sample=" + value); ok || d != (samplers.Decision{}) {
			t.Errorf("%q: got %+v, %v, want none", value, d, ok)
		}
	}
	for _, lines := range [][]string{
		nil,
		{"graphcache.sample"},
		{"a=graphcache.sample=first-3-0"},
		{"a=1;graphcache.sample=first-3-0"},
		{"graphcache.sample=first-3-0,graphcache.sample=first-3-0"},
		{"graphcache.sample=first-3-0", "graphcache.sample=throttled-6"},
		{"graphcache.sample=first-3-0", "graphcache.sample=x"},
		{"graphcache.sample=x", "graphcache.sample=first-3-0"},
	} {
		if d, ok := extract(lines...); ok {
			t.Errorf("%q: got %+v, want none", lines, d)
		}
	}
}

func TestCarryAllocations(t *testing.T) {
	if allocRace {
		t.Skip("the race detector allocates too")
	}
	for _, line := range []string{
		strings.Repeat("a=1;p,", 1000) + "graphcache.sample=tail-7-fd70a3d",
		"graphcache.sample=tail-" + strings.Repeat("f", 10_000),
		"graphcache.sample=" + strings.Repeat("-", 10_000),
	} {
		h := http.Header{"Baggage": {line, "b=2"}}
		if n := testing.AllocsPerRun(10, func() { samplers.Extract(h) }); n != 0 {
			t.Errorf("%.40q…: %v allocations", line, n)
		}
	}
}

func FuzzExtract(f *testing.F) {
	for _, d := range []samplers.Decision{first, throttled, localKept, localDrop, tailed, upgradedFrom(throttled)} {
		f.Add(inject(f, d)[0], "a=1")
	}
	f.Add("graphcache.sample=tail-7-fd70a3d;p", "graphcache.sample")
	f.Add(" a = 1 , graphcache.sample = first-0-0 ", ",;=\x00\xff")
	f.Fuzz(func(t *testing.T, one, two string) {
		d, ok := extract(one, two)
		if !ok {
			if d != (samplers.Decision{}) {
				t.Fatalf("none, and %+v", d)
			}
		} else if d.Keep != (d.Weight != 0) || d.Keep && !(d.Weight >= 1 && d.Weight <= 1<<28) {
			t.Fatalf("impossible decision %+v", d)
		} else if again, ok := extract(inject(t, d)...); !ok || again != d {
			t.Fatalf("%+v is carried on as %+v, %v", d, again, ok)
		}

		// Whatever is there, it stays, and what is carried is the last word.
		lines := inject(t, tailed, one, two)
		got, ok := extract(lines...)
		if ok && got != tailed {
			t.Fatalf("%q: carried %+v, want %+v", lines, got, tailed)
		}
		var others, left []string
		for member := range strings.SplitSeq(one+","+two, ",") {
			others = appendOther(others, member)
		}
		for member := range strings.SplitSeq(strings.Join(lines, ","), ",") {
			left = appendOther(left, member)
		}
		if !cmp.Equal(others, left) {
			t.Fatalf("the others were %q, and are %q", others, left)
		}
		if size := len(strings.Join(others, ",")); !ok && len(others) < 64 && size < 8000 {
			t.Fatalf("not carried beside %d others of %d bytes", len(others), size)
		}
	})
}

// appendOther adds a member if it is not ours.
func appendOther(members []string, member string) []string {
	member = strings.Trim(member, " \t")
	name, _, _ := strings.Cut(member, "=")
	if member == "" || strings.TrimRight(name, " \t") == "graphcache.sample" {
		return members
	}
	return append(members, member)
}

// roundTripper is a transport that is a function.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestCarryTransport(t *testing.T) {
	var sent *http.Request
	transport := samplers.Transport(roundTripper(func(r *http.Request) (*http.Response, error) {
		sent = r
		return nil, http.ErrNotSupported
	}))
	for _, header := range []http.Header{nil, {}, {"Baggage": {"a=1"}, "Accept": {"*/*"}}} {
		request, err := http.NewRequestWithContext(samplers.ContextWithDecision(t.Context(), tailed), http.MethodGet, "http://localhost/", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header.Clone()
		if _, err := transport.RoundTrip(request); err != http.ErrNotSupported {
			t.Errorf("got %v, want the next transport's error", err)
		}
		if got, ok := samplers.Extract(sent.Header); !ok || got != tailed {
			t.Errorf("sent %+v, %v, want %+v", got, ok, tailed)
		}
		if sent.Header.Get("Accept") != header.Get("Accept") {
			t.Errorf("sent %v", sent.Header)
		}
		if !cmp.Equal(request.Header, header) {
			t.Errorf("the caller's headers are changed to %v", request.Header)
		}
	}

	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = transport.RoundTrip(request)
	if sent != request {
		t.Error("a call without a decision is not passed as it is")
	}
}

func TestCarryTransportIdle(t *testing.T) {
	client := http.Client{Transport: samplers.Transport(roundTripper(nil))}
	client.CloseIdleConnections() // which the next cannot
	closed := false
	client.Transport = samplers.Transport(idler{closed: &closed})
	if client.CloseIdleConnections(); !closed {
		t.Error("the next transport's connections stay open")
	}
}

type idler struct {
	http.RoundTripper
	closed *bool
}

func (i idler) CloseIdleConnections() { *i.closed = true }

func BenchmarkCarry(b *testing.B) {
	for _, others := range []int{0, 10} {
		lines := []string{strings.Repeat("customer=1234567,", others)}
		ctx := samplers.ContextWithDecision(b.Context(), tailed)
		b.Run(fmt.Sprintf("Inject beside %d", others), func(b *testing.B) {
			b.ReportAllocs()
			h := http.Header{}
			for b.Loop() {
				h["Baggage"] = lines
				samplers.Inject(ctx, h)
			}
		})
		h := http.Header{"Baggage": inject(b, tailed, lines...)}
		b.Run(fmt.Sprintf("Extract beside %d", others), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				samplers.Extract(h)
			}
		})
	}
}
