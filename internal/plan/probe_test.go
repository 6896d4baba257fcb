package plan_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache/driver"
)

func TestProbeAccepts(t *testing.T) {
	seen := map[reflect.Type]bool{}
	for _, s := range corpus() {
		if typ := reflect.TypeOf(s.value); !seen[typ] {
			seen[typ] = true
			t.Run(typ.String(), func(t *testing.T) {
				if err := planOf(t, s.value).Probe(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Types that marshal themselves in the ways that such types do.
type (
	// weekday is an enumeration without a name for zero: it must be behind
	// something that can be nil.
	weekday int
	// upper normalises what it reads.
	upper string
	// either is one of two things, and writes one field only.
	either struct{ A, B *string }
	// choice is the same with fields that are not pointers.
	choice struct{ A, B string }
	// money has exported fields, all of which it writes.
	money struct {
		Amount   int64
		Currency string
	}
	// lazy remembers something that cannot be compared.
	lazy struct {
		text string
		f    func() string
	}
	// set has methods that do not expect its nil.
	set map[string]bool
	// zoned holds a time that is not what it was, but equal.
	zoned struct{ time.Time }
)

func (d weekday) MarshalText() ([]byte, error) {
	if d < 1 || d > 7 {
		return nil, fmt.Errorf("no day %d", d)
	}
	return []byte(time.Weekday(d % 7).String()), nil
}

func (d *weekday) UnmarshalText(b []byte) error {
	for i := weekday(1); i <= 7; i++ {
		if text, _ := i.MarshalText(); string(text) == string(b) {
			*d = i
			return nil
		}
	}
	return fmt.Errorf("no day %q", b)
}

func (u upper) MarshalText() ([]byte, error) { return []byte(u), nil }
func (u *upper) UnmarshalText(b []byte) error {
	*u = upper(strings.ToUpper(string(b)))
	return nil
}

func (e either) MarshalJSON() ([]byte, error) {
	if e.A != nil {
		return json.Marshal(map[string]string{"a": *e.A})
	}
	if e.B != nil {
		return json.Marshal(map[string]string{"b": *e.B})
	}
	return []byte("{}"), nil
}

func (e *either) UnmarshalJSON(b []byte) error {
	var m map[string]string
	if err := json.Unmarshal(b, &m); err != nil {
		return err
	}
	if a, ok := m["a"]; ok {
		e.A = &a
	} else if b, ok := m["b"]; ok {
		e.B = &b
	}
	return nil
}

func (c choice) MarshalText() ([]byte, error) {
	if c.A != "" {
		return []byte("a" + c.A), nil
	}
	return []byte("b" + c.B), nil
}

func (c *choice) UnmarshalText(b []byte) error {
	switch {
	case len(b) > 0 && b[0] == 'a':
		c.A = string(b[1:])
	case len(b) > 0 && b[0] == 'b':
		c.B = string(b[1:])
	default:
		return errors.New("no choice")
	}
	return nil
}

func (m money) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%d %s", m.Amount, m.Currency), nil
}

func (m *money) UnmarshalText(b []byte) error {
	amount, currency, _ := strings.Cut(string(b), " ")
	m.Currency = currency
	var err error
	m.Amount, err = strconv.ParseInt(amount, 10, 64)
	return err
}

func (s set) MarshalText() ([]byte, error) {
	if s == nil {
		return nil, errors.New("nil")
	}
	return []byte(strings.Join(slices.Sorted(maps.Keys(s)), " ")), nil
}

func (s *set) UnmarshalText(b []byte) error {
	*s = set{}
	for key := range strings.FieldsSeq(string(b)) {
		(*s)[key] = true
	}
	return nil
}

func (l lazy) MarshalText() ([]byte, error) { return []byte(l.text), nil }
func (l *lazy) UnmarshalText(b []byte) error {
	*l = lazy{string(b), func() string { return l.text }}
	return nil
}
func (z zoned) MarshalText() ([]byte, error)  { return z.UTC().AppendFormat(nil, time.RFC3339Nano), nil }
func (z *zoned) UnmarshalText(b []byte) error { return z.Time.UnmarshalText(b) }
func (z zoned) Equal(y zoned) bool            { return z.Time.Equal(y.Time) }

// What the probe offers must not make it refuse types that are sound.
func TestProbeAcceptsMarshalers(t *testing.T) {
	for _, value := range []any{
		struct{ A net.IP }{}, struct{ A *net.IP }{}, struct{ A netip.Prefix }{}, struct{ A netip.AddrPort }{},
		struct{ A big.Int }{}, struct{ A *big.Float }{}, struct{ A big.Rat }{}, struct{ A slog.Level }{},
		struct{ A regexp.Regexp }{}, struct{ A json.RawMessage }{}, struct{ A []json.RawMessage }{},
		struct{ A *weekday }{}, struct{ A []weekday }{}, struct{ A map[string]weekday }{}, struct{ A map[weekday]int }{},
		struct{ A upper }{}, struct{ A either }{}, struct{ A money }{}, struct{ A *lazy }{}, struct{ A lazy }{}, struct{ A zoned }{},
		struct{ A [2]money }{}, struct{ A [0]weekday }{},
		struct{ A choice }{}, struct{ A set }{}, struct{ A *set }{},
	} {
		t.Run(reflect.TypeOf(value).String(), func(t *testing.T) {
			if err := planOf(t, value).Probe(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Types that lose something, or worse.
type (
	redacted  string
	rounded   struct{ seconds float64 }
	forgetful struct {
		time.Time
		Note string
	}
	truncating struct{ N int }
	mute       struct{ n int }
	panicking  struct{ n int }
	panicsLate struct{ n int }
	panicsRead struct{ n int }
	dated      struct{ year int }
	garbled    struct{ n int }
	badJSON    struct{ n int }
	badEqual   struct{ f func() }
)

func (redacted) MarshalText() ([]byte, error)    { return []byte("[redacted]"), nil }
func (r *redacted) UnmarshalText(b []byte) error { *r = redacted(b); return nil }
func (r rounded) MarshalText() ([]byte, error)   { return fmt.Appendf(nil, "%.0f", r.seconds), nil }
func (r *rounded) UnmarshalText(b []byte) (err error) {
	r.seconds, err = strconv.ParseFloat(string(b), 64)
	return err
}
func (truncating) MarshalJSON() ([]byte, error)    { return []byte(`{}`), nil }
func (*truncating) UnmarshalJSON([]byte) error     { return nil }
func (mute) MarshalText() ([]byte, error)          { return nil, nil }
func (m *mute) UnmarshalText(b []byte) error       { m.n = len(b); return nil }
func (panicking) MarshalText() ([]byte, error)     { panic("boom") }
func (*panicking) UnmarshalText([]byte) error      { panic(errors.New("bang")) }
func (p panicsLate) MarshalText() ([]byte, error)  { return []byte{"x"[p.n]}, nil }
func (p *panicsLate) UnmarshalText(b []byte) error { p.n = int(b[0] - 'x'); return nil }
func (panicsRead) MarshalJSON() ([]byte, error)    { return []byte("1"), nil }
func (*panicsRead) UnmarshalJSON([]byte) error     { var m map[int]int; m[0]++; return nil }
func (d dated) MarshalText() ([]byte, error)       { return fmt.Appendf(nil, "%04d-01-01", d.year), nil }
func (d *dated) UnmarshalText(b []byte) error {
	day, err := time.Parse(time.DateOnly, string(b))
	if d.year = day.Year(); err == nil && d.year == 0 {
		err = errors.New("no year")
	}
	return err
}
func (garbled) MarshalText() ([]byte, error)   { return []byte("\xff"), nil }
func (*garbled) UnmarshalText([]byte) error    { return nil }
func (badJSON) MarshalJSON() ([]byte, error)   { return []byte("{"), nil }
func (*badJSON) UnmarshalJSON([]byte) error    { return nil }
func (badEqual) MarshalText() ([]byte, error)  { return []byte("x"), nil }
func (b *badEqual) UnmarshalText([]byte) error { b.f = func() {}; return nil }
func (badEqual) Equal(badEqual) bool           { panic("unequalled") }

func TestProbeRefuses(t *testing.T) {
	tests := []struct {
		value any
		want  string
	}{
		{struct{ A redacted }{}, `field "A": a plan_test.redacted does not come back: it writes "[redacted]", which it reads as another value`},
		{struct{ A map[string][]*redacted }{}, `field "A[][]": a plan_test.redacted does not come back: it writes "[redacted]", which it reads as another value`},
		{struct{ A map[rounded]int }{}, `field "A": map keys of type plan_test.rounded do not come back: it writes "-2", which it reads as another value`},
		{struct{ A rounded }{}, `field "A": a plan_test.rounded does not come back: it writes "-2", which it reads as another value`},
		{struct{ A forgetful }{}, `field "A": a plan_test.forgetful does not come back: its field Note is lost`},
		{struct{ A *truncating }{}, `field "A": a plan_test.truncating does not come back: its field N is lost`},
		{struct{ A mute }{}, `field "A": a plan_test.mute does not come back: it writes "", which it reads as another value`},
		{struct{ A panicking }{}, `field "A": a plan_test.panicking does not come back: MarshalText panicked: boom`},
		{struct{ A *panicking }{}, `field "A": a plan_test.panicking does not come back: MarshalText panicked: boom`},
		{struct{ A []panicsLate }{}, `field "A[]": a plan_test.panicsLate does not come back: MarshalText panicked: runtime error: index out of range [185] with length 1`},
		{struct{ A *panicsRead }{}, `field "A": a plan_test.panicsRead does not come back: it writes "1": UnmarshalJSON panicked: assignment to entry in nil map`},
		{struct{ A weekday }{}, `field "A": the zero value of plan_test.weekday does not come back, use a pointer: MarshalText: no day 0`},
		{struct{ A [2]weekday }{}, `field "A[]": the zero value of plan_test.weekday does not come back, use a pointer: MarshalText: no day 0`},
		{struct{ A []struct{ B weekday } }{}, `field "A[].B": the zero value of plan_test.weekday does not come back, use a pointer: MarshalText: no day 0`},
		{struct{ A dated }{}, `field "A": the zero value of plan_test.dated does not come back, use a pointer: it writes "0000-01-01": UnmarshalText: no year`},
		{struct{ A garbled }{}, `field "A": the zero value of plan_test.garbled does not come back, use a pointer: MarshalText: the text is not valid UTF-8`},
		{struct{ A badJSON }{}, `field "A": the zero value of plan_test.badJSON does not come back, use a pointer: MarshalJSON: the text is not valid JSON`},
		{struct{ A *badEqual }{}, `a probe value panicked: unequalled`},
		{struct{ *Marked }{}, `field "mark": a plan_test.redacted does not come back: it writes "[redacted]", which it reads as another value`},
	}
	for _, test := range tests {
		t.Run(reflect.TypeOf(test.value).String(), func(t *testing.T) {
			err := planOf(t, test.value).Probe()
			if err == nil {
				t.Fatal("no error")
			}
			if !errors.Is(err, driver.ErrSchema) {
				t.Errorf("%v does not wrap ErrSchema", err)
			}
			if err.Error() != no+test.want {
				t.Errorf("got  %v\nwant %v", err, no+test.want)
			}
		})
	}
}

type Marked struct {
	Mark redacted `json:"mark"`
}

// A dated or a weekday is sound where its zero value need not be kept.
func TestProbeAcceptsBehindPointer(t *testing.T) {
	if err := planOf(t, struct{ A *dated }{}).Probe(); err != nil {
		t.Error(err)
	}
}

// worn reads nothing any more once a wearing was read.
type (
	worn    string
	wearing string
)

var wornOut bool

func (w worn) MarshalText() ([]byte, error) { return []byte(w), nil }
func (w *worn) UnmarshalText(b []byte) error {
	if *w = worn(b); wornOut {
		*w = ""
	}
	return nil
}
func (w wearing) MarshalText() ([]byte, error)  { return []byte(w), nil }
func (w *wearing) UnmarshalText(b []byte) error { *w, wornOut = wearing(b), true; return nil }

// Values are sent through the plan as a whole, too, not only type by type.
func TestProbeComparesWhole(t *testing.T) {
	value := struct {
		A struct{ B []worn } `json:"a"`
		C wearing
	}{}
	err := planOf(t, value).Probe()
	if want := no + `field "a.B[0]": a value does not come back as it was`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}

// Types that all refer to each other must not make the probe take forever.
type (
	webA struct {
		A []webA
		B []webB
		C []webC
		D map[string]webD
	}
	webB webA
	webC struct {
		A map[int]webA
		B *webB
		C *webC
		D []webD
	}
	webD struct {
		A, B *webA
		C    []*webC
		D    [3][]webD
	}
)

func TestProbeEnds(t *testing.T) {
	start := time.Now()
	if err := planOf(t, webA{}).Probe(); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %v", d)
	}
}

// A type that is nested too deeply for any value is found before there is one.
func TestProbeDepth(t *testing.T) {
	typ := reflect.TypeFor[int]()
	for range 101 {
		typ = reflect.StructOf([]reflect.StructField{{Name: "A", Type: typ}})
	}
	err := planOf(t, reflect.Zero(typ).Interface()).Probe()
	want := no + `field "` + strings.TrimSuffix(strings.Repeat("A.", 12), ".") + `…": nested deeper than 100 levels`
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %v", err, want)
	}
}
