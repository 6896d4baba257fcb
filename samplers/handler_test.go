package samplers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache/samplers"
)

// within gives all lines a context, as slogtest does not.
type within struct {
	slog.Handler
	ctx context.Context
}

func (w within) Enabled(_ context.Context, l slog.Level) bool { return w.Handler.Enabled(w.ctx, l) }
func (w within) Handle(_ context.Context, r slog.Record) error {
	return w.Handler.Handle(w.ctx, r)
}
func (w within) WithAttrs(attrs []slog.Attr) slog.Handler {
	return within{w.Handler.WithAttrs(attrs), w.ctx}
}
func (w within) WithGroup(name string) slog.Handler {
	return within{w.Handler.WithGroup(name), w.ctx}
}

var upgradeMode = &samplers.HandlerOptions{Upgrade: &samplers.UpgradeOptions{}}

func TestHandlerConforms(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     *samplers.HandlerOptions
		began *samplers.Decision
	}{
		{"cheap, without a request", nil, nil},
		{"cheap, first", nil, &first},
		{"cheap, tail", nil, &tailed},
		{"upgrade, without a request", upgradeMode, nil},
		{"upgrade, first", upgradeMode, &first},
		{"upgrade, tail, held", upgradeMode, &tailed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			var ctx context.Context
			slogtest.Run(t, func(t *testing.T) slog.Handler {
				out.Reset()
				if ctx = t.Context(); tt.began != nil {
					ctx = samplers.ContextWithDecision(ctx, *tt.began)
				}
				return within{samplers.NewHandler(slog.NewJSONHandler(&out, nil), tt.o), ctx}
			}, func(t *testing.T) map[string]any {
				samplers.End(ctx)
				var got map[string]any
				if err := json.Unmarshal(out.Bytes(), &got); err != nil {
					t.Fatal(err)
				}
				if _, sampled := got["sample.weight"]; sampled != (tt.began != nil) {
					t.Errorf("sample.weight at the top: %v", sampled)
				}
				return got
			})
		})
	}
}

func TestHandlerCheap(t *testing.T) {
	for _, tt := range []struct {
		name  string
		began samplers.Decision
		want  []string
	}{
		{"first", first, []string{
			logged("INFO", "info", ``, 1, "first"),
			logged("ERROR", "error", `"code":7,`, 1, "first"),
			logged("INFO", "later", ``, 1, "first"),
		}},
		{"throttled", throttled, []string{
			logged("ERROR", "error", `"code":7,`, 1, "always"),
			logged("INFO", "later", ``, 1, "upgraded"),
		}},
		{"tail", tailed, []string{
			logged("INFO", "info", ``, 4, "tail"),
			logged("ERROR", "error", `"code":7,`, 1, "always"),
			logged("INFO", "later", ``, 1, "upgraded"),
		}},
		{"local, kept", localKept, []string{
			logged("INFO", "info", ``, 1, "local"),
			logged("ERROR", "error", `"code":7,`, 1, "local"),
			logged("INFO", "later", ``, 1, "local"),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out logBuffer
			logger := slog.New(samplers.NewHandler(out.handler(), nil))
			ctx := samplers.ContextWithDecision(t.Context(), tt.began)
			logger.DebugContext(ctx, "debug")
			logger.InfoContext(ctx, "info")
			logger.ErrorContext(ctx, "error", "code", 7)
			samplers.Upgrade(ctx)
			logger.InfoContext(ctx, "later")
			out.expect(t, "at the end", tt.want...)
		})
	}
}

func TestHandlerWithoutRequest(t *testing.T) {
	for _, o := range []*samplers.HandlerOptions{nil, upgradeMode} {
		var out logBuffer
		slog.New(samplers.NewHandler(out.handler(), o)).InfoContext(t.Context(), "info", "a", 1)
		out.expect(t, "at once", `{"level":"INFO","msg":"info","a":1}`)
	}
}

func TestHandlerEnabled(t *testing.T) {
	warn := new(slog.LevelVar)
	warn.Set(slog.LevelWarn)
	for _, tt := range []struct {
		name  string
		o     *samplers.HandlerOptions
		began *samplers.Decision
		end   bool
		want  slog.Level // the lowest that is enabled
	}{
		{name: "without a request", want: slog.LevelInfo},
		{name: "first", began: &first, want: slog.LevelInfo},
		{name: "tail", began: &tailed, want: slog.LevelInfo},
		{name: "throttled", began: &throttled, want: slog.LevelError},
		{name: "throttled, always from warnings", o: &samplers.HandlerOptions{AlwaysLevel: warn}, began: &throttled, want: slog.LevelWarn},
		{name: "throttled, lines held", o: upgradeMode, began: &throttled, want: slog.LevelInfo},
		{name: "throttled, lines held, ended", o: upgradeMode, began: &throttled, end: true, want: slog.LevelError},
		{name: "throttled, upgrade by warnings, ended", o: &samplers.HandlerOptions{Upgrade: &samplers.UpgradeOptions{Level: warn}}, began: &throttled, end: true, want: slog.LevelWarn},
		{name: "tail, lines held, ended", o: upgradeMode, began: &tailed, end: true, want: slog.LevelInfo},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := samplers.NewHandler(slog.NewJSONHandler(io.Discard, nil), tt.o)
			ctx := t.Context()
			if tt.began != nil {
				ctx = samplers.ContextWithDecision(ctx, *tt.began)
			}
			if tt.end {
				samplers.End(ctx)
			}
			for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
				if got, want := h.Enabled(ctx, level), level >= tt.want; got != want {
					t.Errorf("%v: enabled %v, want %v", level, got, want)
				}
			}
		})
	}
}

// TestHandlerNotAsked: a line whose level nobody asked about is dropped all the same.
func TestHandlerNotAsked(t *testing.T) {
	var out logBuffer
	h := samplers.NewHandler(out.handler(), nil)
	ctx := samplers.ContextWithDecision(t.Context(), throttled)
	if err := h.Handle(ctx, slog.NewRecord(time.Time{}, slog.LevelInfo, "info", 0)); err != nil {
		t.Error(err)
	}
	out.expect(t, "at once")
}

// groupLines logs lines with attributes and groups of all kinds.
func groupLines(l *slog.Logger, ctx context.Context) {
	a := l.With("a", 1)
	g := a.WithGroup("g")
	b := g.With("b", 2)
	h := b.WithGroup("h")
	l.With().WithGroup("").InfoContext(ctx, "nothing")
	slog.New(l.Handler().WithAttrs(nil).WithGroup("")).InfoContext(ctx, "nothing")
	a.InfoContext(ctx, "attr", "x", 0)
	g.InfoContext(ctx, "group", "x", 0)
	b.InfoContext(ctx, "attr in group", "x", 0)
	h.InfoContext(ctx, "group in group", "x", 0)
	i, j := h.With("i", 5), h.With("j", 6)
	i.InfoContext(ctx, "sibling")
	j.InfoContext(ctx, "sibling")
	g.With("c", 3).InfoContext(ctx, "other attr", "x", 0)
	b.WithGroup("i").With("d", 4).InfoContext(ctx, "empty")
}

func TestHandlerGroups(t *testing.T) {
	const sample = `"sample.weight":1,"sample.reason":"upgraded"`
	want := []string{
		`{"level":"INFO","msg":"nothing",` + sample + `}`,
		`{"level":"INFO","msg":"nothing",` + sample + `}`,
		`{"level":"INFO","msg":"attr","a":1,"x":0,` + sample + `}`,
		`{"level":"INFO","msg":"group","a":1,` + sample + `,"g":{"x":0}}`,
		`{"level":"INFO","msg":"attr in group","a":1,` + sample + `,"g":{"b":2,"x":0}}`,
		`{"level":"INFO","msg":"group in group","a":1,` + sample + `,"g":{"b":2,"h":{"x":0}}}`,
		`{"level":"INFO","msg":"sibling","a":1,` + sample + `,"g":{"b":2,"h":{"i":5}}}`,
		`{"level":"INFO","msg":"sibling","a":1,` + sample + `,"g":{"b":2,"h":{"j":6}}}`,
		`{"level":"INFO","msg":"other attr","a":1,` + sample + `,"g":{"c":3,"x":0}}`,
		`{"level":"INFO","msg":"empty","a":1,` + sample + `,"g":{"b":2,"i":{"d":4}}}`,
	}
	var out logBuffer
	ctx := samplers.ContextWithDecision(t.Context(), throttled)
	samplers.Upgrade(ctx)
	groupLines(slog.New(samplers.NewHandler(out.handler(), nil)), ctx)
	out.expect(t, "at once", want...)

	ctx = samplers.ContextWithDecision(t.Context(), throttled)
	groupLines(slog.New(samplers.NewHandler(out.handler(), upgradeMode)), ctx)
	out.expect(t, "held")
	samplers.Upgrade(ctx)
	out.expect(t, "upgraded", want...)
}

// clobber is a handler that makes use of its right to change the attributes that it is
// given.
type clobber struct{ slog.Handler }

func (c clobber) WithAttrs(attrs []slog.Attr) slog.Handler {
	next := c.Handler.WithAttrs(attrs)
	clear(attrs)
	return clobber{next}
}
func (c clobber) WithGroup(name string) slog.Handler { return clobber{c.Handler.WithGroup(name)} }

func TestHandlerOwnedAttributes(t *testing.T) {
	var out logBuffer
	logger := slog.New(samplers.NewHandler(clobber{out.handler()}, nil)).WithGroup("g").With("a", 1)
	ctx := samplers.ContextWithDecision(t.Context(), first)
	for range 2 {
		logger.InfoContext(ctx, "line")
	}
	const want = `{"level":"INFO","msg":"line","sample.weight":1,"sample.reason":"first","g":{"a":1}}`
	out.expect(t, "at once", want, want)
}

func TestHandlerUpgrade(t *testing.T) {
	logLines := func(l *slog.Logger, ctx context.Context) {
		l.InfoContext(ctx, "one")
		l.WarnContext(ctx, "two", "code", 7)
	}
	kept := func(weight int, reason string) []string {
		return []string{logged("INFO", "one", ``, weight, reason), logged("WARN", "two", `"code":7,`, weight, reason)}
	}
	for _, tt := range []struct {
		name            string
		began           samplers.Decision
		held            bool
		ended, upgraded []string
		later           []string // after the end without an upgrade
	}{
		{"first", first, false, kept(1, "first"), kept(1, "first"), kept(1, "first")},
		{"throttled", throttled, true, nil, kept(1, "upgraded"), nil},
		{"tail", tailed, true, kept(4, "tail"), kept(1, "upgraded"), kept(4, "tail")},
		{"local, kept", localKept, false, kept(1, "local"), kept(1, "local"), kept(1, "local")},
		{"local, dropped", localDrop, true, nil, kept(1, "upgraded"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out logBuffer
			logger := slog.New(samplers.NewHandler(out.handler(), upgradeMode))
			begin := func() context.Context {
				ctx := samplers.ContextWithDecision(t.Context(), tt.began)
				logLines(logger, ctx)
				if tt.held {
					out.expect(t, "held")
				}
				return ctx
			}

			ctx := begin()
			samplers.End(ctx)
			out.expect(t, "ended", tt.ended...)
			logLines(logger, ctx)
			samplers.Upgrade(ctx)
			samplers.End(ctx)
			out.expect(t, "after the end", tt.later...)
			logger.ErrorContext(ctx, "error")
			reason := "always"
			if !tt.held {
				reason = tt.began.Reason.String()
			}
			out.expect(t, "an error after the end", logged("ERROR", "error", ``, 1, reason))

			ctx = begin()
			samplers.Upgrade(ctx)
			out.expect(t, "upgraded", tt.upgraded...)
			logLines(logger, ctx)
			out.expect(t, "after the upgrade", tt.upgraded...)
			samplers.End(ctx)
			logLines(logger, ctx)
			out.expect(t, "after the end of an upgraded one", tt.upgraded...)

			ctx = begin()
			logger.ErrorContext(ctx, "error")
			d, _ := samplers.FromContext(ctx)
			if tt.held && d != upgradedFrom(tt.began) {
				t.Errorf("after an error: %+v", d)
			}
			out.expect(t, "after an error", append(tt.upgraded[:2:2], logged("ERROR", "error", ``, 1, d.Reason.String()))...)
			samplers.End(ctx)
			out.expect(t, "after an error and the end")
		})
	}
}

// TestHandlerUnbiased: beyond the first N the weights of a line are 1 on average, whatever
// happens to its request. A quarter of the requests are of the tail.
func TestHandlerUnbiased(t *testing.T) {
	line := func(level slog.Level) func(*slog.Logger, context.Context, int) {
		return func(l *slog.Logger, ctx context.Context, i int) { l.Log(ctx, level, "line", "i", i) }
	}
	steps := map[string]func(*slog.Logger, context.Context, int){
		"info":    line(slog.LevelInfo),
		"warn":    line(slog.LevelWarn),
		"error":   line(slog.LevelError),
		"upgrade": func(_ *slog.Logger, ctx context.Context, _ int) { samplers.Upgrade(ctx) },
		"end":     func(_ *slog.Logger, ctx context.Context, _ int) { samplers.End(ctx) },
	}
	for name, o := range map[string]*samplers.HandlerOptions{
		"cheap":                             nil,
		"cheap, always from warnings":       {AlwaysLevel: slog.LevelWarn},
		"upgrade":                           upgradeMode,
		"upgrade, always from warnings":     {AlwaysLevel: slog.LevelWarn, Upgrade: &samplers.UpgradeOptions{}},
		"upgrade by warnings":               {Upgrade: &samplers.UpgradeOptions{Level: slog.LevelWarn}},
		"upgrade by nothing, always errors": {Upgrade: &samplers.UpgradeOptions{Level: slog.LevelError + 1}},
		"upgrade, two lines held":           {Upgrade: &samplers.UpgradeOptions{Buffer: 2}},
	} {
		for _, course := range []string{
			"info warn info end",
			"info error warn end",
			"info warn upgrade info end",
			"info end info warn error upgrade info",
			"info error end info error warn",
			"upgrade info end end info",
			"info warn info info info end",
			"info warn info info error info info info end info",
			"info info info info upgrade end",
		} {
			var sums [10]float64
			for _, began := range []samplers.Decision{tailed, throttled, throttled, throttled} {
				var out bytes.Buffer
				logger := slog.New(samplers.NewHandler(slog.NewJSONHandler(&out, nil), o))
				ctx := samplers.ContextWithDecision(t.Context(), began)
				for i, step := range strings.Fields(course) {
					steps[step](logger, ctx, i)
				}
				for d := json.NewDecoder(&out); d.More(); {
					var l struct {
						I      int
						Weight float64 `json:"sample.weight"`
					}
					if err := d.Decode(&l); err != nil {
						t.Fatal(err)
					}
					sums[l.I] += l.Weight
				}
			}
			for i, step := range strings.Fields(course) {
				if want := 4.0; step != "upgrade" && step != "end" && sums[i] != want {
					t.Errorf("%s: %q: the weights of line %d are %v in all, want %v", name, course, i, sums[i], want)
				}
			}
		}
	}
}

func TestHandlerUpgradeLevels(t *testing.T) {
	var out logBuffer
	logger := slog.New(samplers.NewHandler(out.handler(), &samplers.HandlerOptions{
		AlwaysLevel: slog.LevelWarn,
		Upgrade:     &samplers.UpgradeOptions{Level: slog.LevelError + 4},
	}))
	ctx := samplers.ContextWithDecision(t.Context(), tailed)
	logger.InfoContext(ctx, "info")
	logger.WarnContext(ctx, "warn")
	logger.ErrorContext(ctx, "error")
	out.expect(t, "always", logged("WARN", "warn", ``, 1, "always"), logged("ERROR", "error", ``, 1, "always"))
	logger.Log(ctx, slog.LevelError+4, "fatal")
	out.expect(t, "upgraded", logged("INFO", "info", ``, 1, "upgraded"), logged("ERROR+4", "fatal", ``, 1, "upgraded"))
}

func TestHandlerLost(t *testing.T) {
	for _, tt := range []struct {
		name         string
		buffer, want int // lines
	}{
		{"default", 0, 64},
		{"one", 1, 1},
		{"some", 100, 100},
		{"too few", -1, 1},
		{"too many", 5000, 1024},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			logger := slog.New(samplers.NewHandler(slog.NewJSONHandler(&out, nil), &samplers.HandlerOptions{
				Upgrade: &samplers.UpgradeOptions{Buffer: tt.buffer},
			}))
			for _, n := range []int{tt.want, tt.want + 1, 3*tt.want + 7} {
				ctx := samplers.ContextWithDecision(t.Context(), throttled)
				for i := range n {
					logger.InfoContext(ctx, "line", "i", i)
				}
				logger.ErrorContext(ctx, "line", "i", n)
				i := n - tt.want // the next that is due
				for d := json.NewDecoder(&out); d.More(); i++ {
					var l struct {
						I    int
						Lost int `json:"sample.lost"`
					}
					if err := d.Decode(&l); err != nil {
						t.Fatal(err)
					}
					lost := 0
					if i == n-tt.want {
						lost = i
					}
					if l.I != i || l.Lost != lost {
						t.Fatalf("%d lines: got %+v, want line %d after %d lost", n, l, i, lost)
					}
				}
				if i != n+1 {
					t.Errorf("%d lines: line %d is missing", n, i)
				}
			}
		})
	}
}

// TestHandlerRecord: a record stays as it is, and a line that is held as it was.
func TestHandlerRecord(t *testing.T) {
	var out logBuffer
	for _, began := range []samplers.Decision{first, throttled} {
		h := samplers.NewHandler(out.handler(), upgradeMode)
		ctx := samplers.ContextWithDecision(t.Context(), began)
		record := slog.NewRecord(time.Time{}, slog.LevelInfo, "info", 0)
		for range 10 { // which leave room behind them
			record.Add("a", 1)
		}
		for range 2 {
			_ = h.Handle(ctx, record)
		}
		record.Add("b", 2)
		samplers.Upgrade(ctx)
		d, _ := samplers.FromContext(ctx)
		want := logged("INFO", "info", strings.Repeat(`"a":1,`, 10), 1, d.Reason.String())
		out.expect(t, began.Reason.String(), want, want)
	}
}

// TestHandlerForgets: when a request is over, nothing keeps what its lines referred to, even
// if something keeps its context.
func TestHandlerForgets(t *testing.T) {
	logger := slog.New(samplers.NewHandler(slog.NewJSONHandler(io.Discard, nil), upgradeMode))
	for _, began := range []samplers.Decision{throttled, tailed} {
		ctx := samplers.ContextWithDecision(t.Context(), began)
		var held weak.Pointer[[1000]byte]
		func() {
			value := new([1000]byte)
			held = weak.Make(value)
			logger.InfoContext(ctx, "line", "value", value)
			logger.InfoContext(ctx, "line", "value", value)
		}()
		if runtime.GC(); held.Value() == nil {
			t.Errorf("%v: the line is not held", began.Reason)
		}
		samplers.End(ctx)
		if runtime.GC(); held.Value() != nil {
			t.Errorf("%v: the line is held after the end", began.Reason)
		}
		runtime.KeepAlive(ctx)
	}
}

// TestHandlerContext: a held line is written with the context that it was logged with.
func TestHandlerContext(t *testing.T) {
	type key struct{}
	var got []any
	next := handlerFunc(func(ctx context.Context, _ slog.Record) error {
		got = append(got, ctx.Value(key{}))
		return nil
	})
	logger := slog.New(samplers.NewHandler(next, upgradeMode))
	ctx := samplers.ContextWithDecision(t.Context(), throttled)
	logger.InfoContext(context.WithValue(ctx, key{}, "one"), "")
	logger.InfoContext(context.WithValue(ctx, key{}, "two"), "")
	samplers.Upgrade(ctx)
	if diff := cmp.Diff([]any{"one", "two"}, got); diff != "" {
		t.Error(diff)
	}
}

// handlerFunc is a handler that is enabled for everything.
type handlerFunc func(context.Context, slog.Record) error

func (f handlerFunc) Enabled(context.Context, slog.Level) bool             { return true }
func (f handlerFunc) Handle(ctx context.Context, record slog.Record) error { return f(ctx, record) }
func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler                   { return f }
func (f handlerFunc) WithGroup(string) slog.Handler                        { return f }

func TestHandlerErrors(t *testing.T) {
	one, two := errors.New("one"), errors.New("two")
	fails := map[string]error{"one": one, "two": two}
	h := samplers.NewHandler(handlerFunc(func(_ context.Context, r slog.Record) error { return fails[r.Message] }), upgradeMode)
	ctx := samplers.ContextWithDecision(t.Context(), tailed)
	for _, msg := range []string{"one", "fine"} {
		if err := h.Handle(ctx, slog.NewRecord(time.Time{}, slog.LevelInfo, msg, 0)); err != nil {
			t.Errorf("held: %v", err)
		}
	}
	err := h.Handle(ctx, slog.NewRecord(time.Time{}, slog.LevelError, "two", 0))
	if !errors.Is(err, one) || !errors.Is(err, two) {
		t.Errorf("got %v, want both errors", err)
	}
}

// valuer is a value that does something when it is formatted.
type valuer func() string

func (v valuer) LogValue() slog.Value { return slog.StringValue(v()) }

// TestHandlerReentrant: what writes a line may log for the same request.
func TestHandlerReentrant(t *testing.T) {
	var out logBuffer
	logger := slog.New(samplers.NewHandler(out.handler(), &samplers.HandlerOptions{Upgrade: &samplers.UpgradeOptions{Buffer: 2}}))
	ctx := samplers.ContextWithDecision(t.Context(), throttled)
	logger.InfoContext(ctx, "one", "v", valuer(func() string {
		logger.InfoContext(ctx, "inner")
		return "value"
	}))
	logger.InfoContext(ctx, "two")
	samplers.Upgrade(ctx)
	out.expect(t, "upgraded",
		logged("INFO", "one", `"v":"value",`, 1, "upgraded"),
		logged("INFO", "two", ``, 1, "upgraded"),
		logged("INFO", "inner", ``, 1, "upgraded"))
}

// TestHandlerPanic: the lines after one whose handler panics are not lost.
func TestHandlerPanic(t *testing.T) {
	var got []string
	next := handlerFunc(func(_ context.Context, r slog.Record) error {
		if r.Message == "panic" {
			panic("panic")
		}
		got = append(got, r.Message)
		return nil
	})
	logger := slog.New(samplers.NewHandler(next, upgradeMode))
	ctx := samplers.ContextWithDecision(t.Context(), throttled)
	for _, msg := range []string{"one", "panic", "two"} {
		logger.InfoContext(ctx, msg)
	}
	func() {
		defer func() {
			if p := recover(); p != "panic" {
				t.Errorf("recovered %v", p)
			}
		}()
		samplers.Upgrade(ctx)
	}()
	logger.InfoContext(ctx, "three")
	samplers.End(ctx)
	if diff := cmp.Diff([]string{"one", "two", "three"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestHandlerFull: a line that finds no room behind those that are just being written is
// not lost.
func TestHandlerFull(t *testing.T) {
	var got []string
	var logger *slog.Logger
	var ctx context.Context
	next := handlerFunc(func(_ context.Context, r slog.Record) error {
		if r.Message == "one" { // none is held, and there is room for two
			for _, msg := range []string{"a", "b", "c"} {
				logger.InfoContext(ctx, msg)
			}
		}
		got = append(got, r.Message)
		return nil
	})
	logger = slog.New(samplers.NewHandler(next, &samplers.HandlerOptions{Upgrade: &samplers.UpgradeOptions{Buffer: 2}}))
	ctx = samplers.ContextWithDecision(t.Context(), throttled)
	logger.InfoContext(ctx, "one")
	samplers.Upgrade(ctx)
	if diff := cmp.Diff([]string{"c", "one", "a", "b"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestHandlerTwo: the lines of several handlers of one request keep their order, and each
// is written by its own.
func TestHandlerTwo(t *testing.T) {
	var out logBuffer
	held := slog.New(samplers.NewHandler(out.handler(), upgradeMode)).With("handler", 1)
	other := slog.New(samplers.NewHandler(out.handler(), &samplers.HandlerOptions{Upgrade: &samplers.UpgradeOptions{Buffer: 1}}))
	cheap := slog.New(samplers.NewHandler(out.handler(), nil))
	ctx := samplers.ContextWithDecision(t.Context(), throttled)
	held.InfoContext(ctx, "one")
	cheap.InfoContext(ctx, "never")
	other.InfoContext(ctx, "two")
	cheap.ErrorContext(ctx, "always")
	out.expect(t, "at once", logged("ERROR", "always", ``, 1, "always"))
	other.ErrorContext(ctx, "error")
	cheap.InfoContext(ctx, "later")
	out.expect(t, "upgraded",
		logged("INFO", "one", `"handler":1,`, 1, "upgraded"),
		logged("INFO", "two", ``, 1, "upgraded"),
		logged("ERROR", "error", ``, 1, "upgraded"),
		logged("INFO", "later", ``, 1, "upgraded"))
}

// TestHandlerAllocations: a line that is dropped costs no allocation.
func TestHandlerAllocations(t *testing.T) {
	if allocRace {
		t.Skip("the race detector allocates too")
	}
	for _, tt := range []struct {
		name  string
		o     *samplers.HandlerOptions
		began samplers.Decision
		want  float64
	}{
		{"dropped at once", nil, throttled, 0},
		{"held", upgradeMode, throttled, 0},
		{"written", nil, first, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			next := handlerFunc(func(context.Context, slog.Record) error { return nil })
			logger := slog.New(samplers.NewHandler(next, tt.o))
			ctx := samplers.ContextWithDecision(t.Context(), tt.began)
			err := errors.New("failed")
			log := func() {
				logger.InfoContext(ctx, "order placed", "user", "ann", "items", 3, "err", err)
			}
			for range 64 {
				log() // the lines that are held have all their room
			}
			if n := testing.AllocsPerRun(1000, log); n != tt.want {
				t.Errorf("a line allocates %v objects, want %v", n, tt.want)
			}
		})
	}
}

// BenchmarkHandler is about a line of three attributes.
func BenchmarkHandler(b *testing.B) {
	for _, bb := range []struct {
		name  string
		o     *samplers.HandlerOptions
		began *samplers.Decision
		group bool
	}{
		{"no request", nil, nil, false},
		{"disabled", nil, nil, false},
		{"kept", nil, &first, false},
		{"kept in a group", nil, &first, true},
		{"dropped", nil, &throttled, false},
		{"held", upgradeMode, &throttled, false},
	} {
		b.Run(bb.name, func(b *testing.B) {
			logger := slog.New(samplers.NewHandler(slog.NewJSONHandler(io.Discard, nil), bb.o))
			if bb.group {
				logger = logger.WithGroup("group")
			}
			ctx := b.Context()
			if bb.began != nil {
				ctx = samplers.ContextWithDecision(ctx, *bb.began)
			}
			b.ReportAllocs()
			for b.Loop() {
				if bb.name == "disabled" {
					logger.DebugContext(ctx, "order placed", "user", "ann", "items", 3, "open", true)
					continue
				}
				logger.InfoContext(ctx, "order placed", "user", "ann", "items", 3, "open", true)
			}
		})
	}
	for _, bb := range []struct {
		name  string
		began samplers.Decision
	}{{"first", first}, {"throttled", throttled}, {"tail", tailed}} {
		b.Run("request of ten lines/"+bb.name, func(b *testing.B) {
			logger := slog.New(samplers.NewHandler(slog.NewJSONHandler(io.Discard, nil), upgradeMode))
			b.ReportAllocs()
			for b.Loop() {
				ctx := samplers.ContextWithDecision(b.Context(), bb.began)
				for range 10 {
					logger.InfoContext(ctx, "order placed", "user", "ann", "items", 3, "open", true)
				}
				samplers.End(ctx)
			}
		})
	}
}
