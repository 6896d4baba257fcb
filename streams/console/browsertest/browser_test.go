// Package browsertest tests the page of streams/console in Chromium.
package browsertest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience is how long something in the browser may take.
const patience = 30 * time.Second

var browser struct {
	once sync.Once
	ctx  context.Context
	stop []context.CancelFunc
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, stop := range slices.Backward(browser.stop) {
		stop()
	}
	os.Exit(code)
}

func findChromium() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "headless-shell"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no chromium on the PATH (on Debian: apt-get install chromium)")
}

// start starts the one browser of all tests. A test without one is skipped, unless
// GRAPHCACHE_REQUIRE_SERVERS says that there must be one.
func start(t *testing.T) context.Context {
	t.Helper()
	path, err := findChromium()
	if err != nil {
		if os.Getenv("GRAPHCACHE_REQUIRE_SERVERS") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	browser.once.Do(func() {
		options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
			chromedp.ExecPath(path),
			chromedp.Flag("disable-gpu", true),
			chromedp.Flag("disable-component-update", true),
			chromedp.Flag("no-proxy-server", true),
			chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"), // nothing leaves the machine
			chromedp.WSURLReadTimeout(2*patience),
		)
		if os.Geteuid() == 0 {
			options = append(options, chromedp.NoSandbox)
		}
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		browser.stop = append(browser.stop, stop)
		browser.ctx, stop = chromedp.NewContext(allocator)
		browser.stop = append(browser.stop, stop)
		browser.err = chromedp.Do(browser.ctx)
	})
	if browser.err != nil {
		t.Fatalf("chromium does not start: %v", browser.err)
	}
	return browser.ctx
}

// step is something that is done in a page.
type step = chromedp.Action[chromedp.Void]

// tab is a page of a browser that remembers nothing of other tests.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	troubles []string // what the browser complains of, and dialogs
	allowed  []string // parts of complaints that are expected
}

// viewports of the tests.
var (
	desktop = chromedp.EmulateViewport(1280, 860)
	phone   = chromedp.EmulateViewport(360, 740, chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch)
)

// open opens a page. When the test ends, it must not have given the browser cause to complain.
func open(t *testing.T, url string, before ...step) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(start(t), chromedp.WithNewBrowserContext())
	tb := &tab{t: t, ctx: ctx}
	t.Cleanup(func() {
		// What is answered has been heard, with all that the browser said before.
		if !t.Failed() {
			tb.do(eval[chromedp.Void](`0`))
		}
		cancel()
		tb.mu.Lock()
		defer tb.mu.Unlock()
		for _, trouble := range tb.troubles {
			if !slices.ContainsFunc(tb.allowed, func(part string) bool { return strings.Contains(trouble, part) }) {
				t.Errorf("the browser says: %s", trouble)
			}
		}
	})
	if err := chromedp.Listen(ctx, tb.listen); err != nil {
		t.Fatal(err)
	}
	tb.do(append([]step{command(log.Enable, cdp.Empty{}), desktop}, before...)...)
	tb.do(chromedp.Navigate(url))
	return tb
}

// command is a step that is a command of the protocol.
func command[P, R any](c cdp.Command[P, R], params P) step {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, c, params)
		return chromedp.Void{}, err
	}
}

func (tb *tab) listen(event any) {
	trouble := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		trouble = "exception: " + (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error()
	case *runtime.EventConsoleAPICalled:
		trouble = "console: " + string(e.Type)
		for _, a := range e.Args {
			trouble += " " + string(a.Value) + a.Description
		}
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning || e.Entry.Source == log.EntrySourceSecurity {
			trouble = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *page.EventJavascriptDialogOpening:
		trouble = "dialog: " + e.Message
		go func() {
			_, _ = chromedp.Call(tb.ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{})
		}()
	}
	if trouble != "" {
		tb.mu.Lock()
		defer tb.mu.Unlock()
		tb.troubles = append(tb.troubles, trouble)
	}
}

// expect says that a complaint of the browser is no failure.
func (tb *tab) expect(part string) { tb.allowed = append(tb.allowed, part) }

func (tb *tab) do(steps ...step) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatal(err)
	}
}

// eval evaluates an expression, and waits for it if it is a promise.
func eval[T any](expression string) chromedp.Action[T] {
	return chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise)
}

// get returns what an expression is.
func get[T any](tb *tab, expression string) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, eval[T](expression))
	if err != nil {
		tb.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// texts returns the texts of the elements that a selector matches.
func (tb *tab) texts(selector string) []string {
	tb.t.Helper()
	return get[[]string](tb, fmt.Sprintf(`[...document.querySelectorAll(%q)].map((e) => e.textContent)`, selector))
}

// text returns the text of the first of them.
func (tb *tab) text(selector string) string {
	tb.t.Helper()
	return get[string](tb, fmt.Sprintf(`document.querySelector(%q).textContent`, selector))
}

// wait waits until an expression is true.
func (tb *tab) wait(condition string) {
	tb.t.Helper()
	for deadline := time.Now().Add(patience); !get[bool](tb, `Boolean(`+condition+`)`); {
		if time.Now().After(deadline) {
			tb.t.Fatalf("it does not come to be that %s; the page has:\n%.2000s", condition, get[string](tb, `document.body.innerText`))
		}
		tb.do(chromedp.Sleep(20 * time.Millisecond))
	}
}

func (tb *tab) waitState(name string) {
	tb.t.Helper()
	tb.wait(fmt.Sprintf(`document.getElementById("state")?.dataset.state === %q`, name))
}

// rows is the condition that the list has so many events.
func rows(n int) string {
	return fmt.Sprintf(`document.querySelectorAll("#events > .event").length === %d`, n)
}

// scheme has the page think that the system is light or dark.
func scheme(name string) step { return media(name, "no-preference") }

// media has the page think that the user prefers a scheme, and to have motion reduced.
func media(scheme, motion string) step {
	return command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: scheme},
		{Name: "prefers-reduced-motion", Value: motion},
	}})
}
