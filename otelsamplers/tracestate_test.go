package otelsamplers

import (
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

func TestMember(t *testing.T) {
	const rv = "0123456789abcd"
	for _, tt := range []struct {
		value string
		want  member
		text  string // "": the same as value
	}{
		{"", member{th: none}, ""},
		{"th:0", member{th: 0}, ""},
		{"th:8", member{th: 1 << 55}, ""},
		{"th:fd70a4", member{th: 0xfd70a400000000}, ""},
		{"th:00000000000001", member{th: 1}, ""},
		{"th:ffffffffffffff", member{th: none - 1}, ""},
		{"th:C000", member{th: 3 << 54}, "th:c"},
		{"th:000", member{th: 0}, "th:0"},
		{"rv:" + rv, member{th: none, rv: rv}, ""},
		{"rv:0123456789ABCD;th:c", member{th: 3 << 54, rv: "0123456789ABCD"}, "th:c;rv:0123456789ABCD"},
		{"p:8;th:c;r:62", member{th: 3 << 54, rest: []string{"p:8", "r:62"}}, "th:c;p:8;r:62"},
		{" p:8 ;; th:c ;", member{th: 3 << 54, rest: []string{"p:8"}}, "th:c;p:8"},
		{"th", member{th: none}, "-"},
		{"th:", member{th: none}, "-"},
		{"th:g", member{th: none}, "-"},
		{"th:0x1", member{th: none}, "-"},
		{"th:000000000000000", member{th: none}, "-"},
		{"th:+1;thx:1", member{th: none, rest: []string{"thx:1"}}, "thx:1"},
		{"rv:" + rv[1:], member{th: none}, "-"},
		{"rv:" + rv + "e", member{th: none}, "-"},
		{"rv:0123456789abc_", member{th: none}, "-"},
		{"rv:+123456789abcd", member{th: none}, "-"},
		{"th:8;th:c;rv:" + rv + ";rv:00000000000000", member{th: 1 << 55, rv: rv}, "th:8;rv:" + rv},
	} {
		got := parseMember(tt.value)
		if got.th != tt.want.th || got.rv != tt.want.rv || !slices.Equal(got.rest, tt.want.rest) {
			t.Errorf("parseMember(%q) = %+v, want %+v", tt.value, got, tt.want)
		}
		want := tt.text
		switch want {
		case "":
			want = tt.value
		case "-":
			want = ""
		}
		if text := got.text(); text != want {
			t.Errorf("%q becomes %q, want %q", tt.value, text, want)
		}
	}
}

func TestPutInto(t *testing.T) {
	long := "x:" + strings.Repeat("y", maxMember-2)
	almost := long[:maxMember-4]
	full := make([]string, 32)
	for i := range full {
		full[i] = string('a'+rune(i%26)) + strings.Repeat("x", 1+i/26) + "=1"
	}
	for _, tt := range []struct {
		name  string
		state string
		th    uint64
		want  string
	}{
		{"new", "", 0, "ot=th:0"},
		{"first", "a=1,b=2", 1 << 55, "ot=th:8,a=1,b=2"},
		{"moves if it changes", "a=1,ot=th:c;p:8,b=2", 1 << 55, "ot=th:8;p:8,a=1,b=2"},
		{"stays if it does not", "a=1,ot=th:8;p:8,b=2", 1 << 55, "a=1,ot=th:8;p:8,b=2"},
		{"erased", "a=1,ot=th:c;p:8,b=2", none, "ot=p:8,a=1,b=2"},
		{"all erased", "a=1,ot=th:c,b=2", none, "a=1,b=2"},
		{"nothing to erase", "a=1,b=2", none, "a=1,b=2"},
		{"nothing to erase in the member", "a=1,ot=p:8", none, "a=1,ot=p:8"},
		{"too long", "a=1,ot=" + long, 0, "a=1,ot=" + long},
		{"fits to the byte", "a=1,ot=" + almost[:maxMember-5], 0, "ot=th:0;" + almost[:maxMember-5] + ",a=1"},
		{"too long by one", "a=1,ot=" + almost, 0, "a=1,ot=" + almost},
		{"too long with another threshold", "a=1,ot=" + long[:maxMember-5] + ";th:c", 0xabc << 44, "ot=" + long[:maxMember-5] + ",a=1"},
		{"other members to the limit", strings.Join(full[:31], ","), 0, "ot=th:0," + strings.Join(full[:31], ",")},
		{"beyond it the last one gives way", strings.Join(full, ","), 0, "ot=th:0," + strings.Join(full[:31], ",")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			state, err := trace.ParseTraceState(tt.state)
			if err != nil {
				t.Fatal(err)
			}
			m := parseMember(state.Get(memberKey))
			m.th = tt.th
			if got := m.putInto(state).String(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := state.String(); got != tt.state {
				t.Errorf("the old tracestate has become %s", got)
			}
		})
	}
}

// FuzzMember: whatever is parsed has one text, from which it is parsed again; a tracestate
// with it is well-formed, and has the other members as they were.
func FuzzMember(f *testing.F) {
	for _, s := range []string{"", "th:0", "th:8;rv:0123456789abcd;p:8;r:62", "p: ;th:c", "th:;rv:;=,\x00é", ";;;", "a:1;th:1"} {
		f.Add(s, uint64(0), true)
		f.Add(s, uint64(1<<55+1), false)
	}
	f.Fuzz(func(t *testing.T, value string, th uint64, set bool) {
		m := parseMember(value)
		if set {
			m.th = min(th, none)
		}
		text := m.text()
		again := parseMember(text)
		if again.th != m.th || again.rv != m.rv || !slices.Equal(again.rest, m.rest) || again.text() != text {
			t.Fatalf("%+v becomes %q, which is %+v", m, text, again)
		}
		state, err := trace.ParseTraceState("a=1,ot=" + value + ",b=2")
		if err != nil || strings.ContainsAny(value, ",=") {
			return
		}
		got := m.putInto(state)
		if got.Get("a") != "1" || got.Get("b") != "2" {
			t.Fatalf("%s becomes %s", state, got)
		}
		if v := got.Get(memberKey); v != text && (len(text) <= maxMember || parseMember(v).th != none) {
			t.Fatalf("%+v becomes %q", m, v)
		}
		if _, err := trace.ParseTraceState(got.String()); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
	})
}

// FuzzThreshold: no two thresholds have the same text.
func FuzzThreshold(f *testing.F) {
	f.Add(uint64(0), uint64(1))
	f.Add(uint64(0xc<<52), uint64(0x0c<<48))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		a, b = a&(none-1), b&(none-1)
		textA, textB := (&member{th: a}).text(), (&member{th: b}).text()
		if (textA == textB) != (a == b) {
			t.Errorf("%#x becomes %s, and %#x %s", a, textA, b, textB)
		}
		if got := parseMember(textA).th; got != a {
			t.Errorf("%#x becomes %s, which is %#x", a, textA, got)
		}
	})
}
