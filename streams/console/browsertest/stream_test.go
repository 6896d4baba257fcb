package browsertest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/streams"
)

// newStream returns a stream of shop events, and the URL of a page that shows of it what the
// parameter tenant says, which may not be "forbidden".
func newStream(t *testing.T, capacity int) (*streams.Stream[shopEvent], string) {
	t.Helper()
	s, err := streams.New(memory.NewLog(nil), &streams.Options[shopEvent]{
		Cap:        capacity,
		FlushEvery: 5 * time.Millisecond,
		Poll:       5 * time.Millisecond,
		Type:       func(e *shopEvent) string { return e.Type },
		Member:     func(e *shopEvent) string { return e.User },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	h, err := s.Handler(func(r *http.Request) (string, error) {
		tenant := r.FormValue("tenant")
		if tenant == "forbidden" {
			return "", fmt.Errorf("tenant %s", tenant)
		}
		return tenant, nil
	}, &streams.HandlerOptions{StatsEvery: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return s, serve(t, h)
}

// add appends events, and returns when they are in the log.
func add(t *testing.T, s *streams.Stream[shopEvent], key string, events ...shopEvent) {
	t.Helper()
	for _, e := range events {
		s.Append(key, e)
	}
	if err := s.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// users returns events of so many users, from one on.
func users(from, n int) []shopEvent {
	events := make([]shopEvent, n)
	for i := range events {
		events[i] = shopEvent{Type: "seen", User: fmt.Sprint("u", from+i)}
	}
	return events
}

// row is a row of the list: an event with its number, or a gap.
type row struct {
	Seq, Missed int
	Text        string
}

// list returns the rows, the newest first.
func list(tb *tab) []row {
	tb.t.Helper()
	return get[[]row](tb, `[...document.querySelectorAll("#events > li")].map((li) => ({
		Seq: Number((li.querySelector(".seq")?.textContent ?? "").replace(/[#,]/g, "")),
		Missed: Number((/^([\d,]+) events? missed/.exec(li.textContent)?.[1] ?? "").replace(/,/g, "")),
		Text: li.textContent,
	}))`)
}

func TestStream(t *testing.T) {
	s, url := newStream(t, 50)
	add(t, s, "", shopEvent{Type: "created", User: "ann", Amount: 1.5}, shopEvent{Type: "paid", User: "ben", Cart: []any{map[string]any{"item": "Kettle"}}})
	tb := open(t, url)
	tb.waitState("live")
	tb.wait(rows(2))
	add(t, s, "", shopEvent{Type: "paid", User: "ann"})
	tb.wait(rows(3))
	tb.wait(`document.getElementById("total").textContent === "3" && document.getElementById("unique").textContent === "2"`)
	tb.wait(`document.querySelectorAll("#types button").length === 2 && document.querySelector("#types button").textContent === "paid2"`)
	tb.wait(`document.querySelectorAll("#spark rect.some").length >= 1`)
	if got := tb.text("#summary"); got != "Showing 3 of 3 events · 0 missed" {
		t.Error(got)
	}
	got := list(tb)
	for i, want := range []string{"paiduser ann#3", "paiduser ben cart […]", "createduser annamount 1.5#1"} {
		if text := strings.Join(strings.Fields(got[i].Text), " "); !strings.Contains(strings.ReplaceAll(text, " ", ""), strings.ReplaceAll(want, " ", "")) || got[i].Seq != 3-i {
			t.Errorf("row %d: %+v, want %s", i, got[i], want)
		}
	}
	tb.do(chromedp.Click(chromedp.CSS("#events > li:nth-child(2) .head")))
	tb.wait(`document.querySelector("#events .tree")?.innerText.includes("Kettle")`)
	tb.do(chromedp.Click(chromedp.CSS("#events > li:nth-child(2) .head")))
	tb.wait(`document.querySelector("#events .tree") === null`)
}

// TestPause pauses and goes on, for less and for more than the stream keeps.
func TestPause(t *testing.T) {
	s, url := newStream(t, 20)
	tb := open(t, url)
	tb.waitState("live")
	appended := 0
	more := func(n int) {
		add(t, s, "", users(appended+1, n)...)
		appended += n
	}
	check := func(missed int) {
		t.Helper()
		tb.wait(fmt.Sprintf(`document.querySelector("#events .seq")?.textContent === "#%d"`, appended))
		at, gaps := appended+1, 0
		for _, r := range list(tb) {
			switch {
			case r.Seq == at-1 && strings.Contains(r.Text, fmt.Sprint("u", r.Seq)):
				at--
			case r.Missed > 0:
				at -= r.Missed
				gaps += r.Missed
			default:
				t.Errorf("%+v follows event %d", r, at)
			}
		}
		if at != 1 || gaps != missed {
			t.Errorf("of %d events the list begins at %d, and %d are missed, want %d", appended, at, gaps, missed)
		}
		if want := fmt.Sprintf("Showing %d of %d events · %d missed", appended-missed, appended, missed); tb.text("#summary") != want {
			t.Errorf("%s, want %s", tb.text("#summary"), want)
		}
	}
	more(3)
	check(0)
	missed := 0
	for _, n := range []int{5, 20, 27, 1} {
		before := list(tb)
		tb.do(chromedp.Click(chromedp.CSS("#pause")))
		tb.waitState("paused")
		waitReaders(t, s, 0)
		more(n)
		if now := list(tb); len(now) != len(before) {
			t.Errorf("%d rows while paused, before that %d", len(now), len(before))
		}
		tb.do(chromedp.Click(chromedp.CSS("#pause")))
		tb.waitState("live")
		missed += max(0, n-20)
		check(missed)
		waitReaders(t, s, 1)
	}
	more(4)
	check(missed)
}

// waitReaders waits until so many follow the stream.
func waitReaders(t *testing.T, s *streams.Stream[shopEvent], n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); s.Stats().Readers != n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d readers, want %d", s.Stats().Readers, n)
		}
	}
}

// TestAccount has a page that is paused all the time follow a stream that is too fast for it.
func TestAccount(t *testing.T) {
	s, url := newStream(t, 10)
	tb := open(t, url)
	tb.waitState("live")
	ctx, stop := context.WithCancel(t.Context())
	appended := make(chan int)
	go func() {
		n := 0
		for tick := time.NewTicker(50 * time.Millisecond); n < 150 && ctx.Err() == nil; <-tick.C {
			for range 1 + n%40 {
				s.Append("", shopEvent{Type: "seen"})
				n++
			}
		}
		appended <- n
	}()
	total := 0
	for total == 0 {
		tb.do(chromedp.KeyEvent("p"))
		select {
		case total = <-appended:
		case <-time.After(20 * time.Millisecond):
		}
	}
	stop()
	if get[string](tb, `document.getElementById("state").dataset.state`) == "paused" {
		tb.do(chromedp.KeyEvent("p"))
	}
	tb.wait(fmt.Sprintf(`document.querySelector("#events .seq")?.textContent === "#%d"`, total))
	at, delivered, missed := total+1, 0, 0
	for _, r := range list(tb) {
		if r.Missed > 0 {
			at -= r.Missed
			missed += r.Missed
			continue
		}
		if at--; r.Seq != at {
			t.Fatalf("event %d where %d should be", r.Seq, at)
		}
		delivered++
	}
	if delivered+missed != total || missed == 0 {
		t.Errorf("%d delivered and %d missed of %d", delivered, missed, total)
	}
	if want := fmt.Sprintf("Showing %d of %d events · %d missed", delivered, total, missed); tb.text("#summary") != want {
		t.Errorf("%s, want %s", tb.text("#summary"), want)
	}
}

func TestFilter(t *testing.T) {
	s, url := newStream(t, 50)
	for i := range 6 {
		add(t, s, "", shopEvent{Type: []string{"created", "paid", "two words"}[i%3], User: "ann", Amount: float64(i)})
	}
	tb := open(t, url)
	tb.wait(rows(6))
	filterBy := func(text string) {
		tb.do(eval[chromedp.Void](`document.getElementById("filter").value = ""`), chromedp.SendKeys(chromedp.CSS("#filter"), text+"\r"))
	}
	filterBy("type:paid")
	tb.wait(rows(2))
	tb.waitState("live")
	if got := tb.text("#summary"); got != "Showing 2 of 6 events · 4 filtered out · 0 missed" {
		t.Error(got)
	}
	add(t, s, "", shopEvent{Type: "created"}, shopEvent{Type: "paid"}, shopEvent{Type: "created"})
	tb.wait(`document.getElementById("summary").textContent === "Showing 3 of 9 events · 6 filtered out · 0 missed"`)

	// It is kept when the stream goes on after a pause, and when the page is loaded again.
	tb.do(chromedp.Click(chromedp.CSS("#pause")))
	waitReaders(t, s, 0)
	add(t, s, "", shopEvent{Type: "created"}, shopEvent{Type: "paid"})
	tb.do(chromedp.Click(chromedp.CSS("#pause")))
	tb.wait(`document.getElementById("summary").textContent === "Showing 4 of 11 events · 7 filtered out · 0 missed"`)
	tb.do(chromedp.Reload())
	tb.wait(rows(4))
	if got := get[string](tb, `document.getElementById("filter").value`); got != "type:paid" {
		t.Errorf("after a reload the filter is %q", got)
	}

	// One that is wrong is refused, with a reason, and changes nothing.
	tb.expect("400 (Bad Request)")
	filterBy("amount:>x")
	tb.wait(`!document.getElementById("filter-error").hidden`)
	if got := tb.text("#filter-error"); !strings.Contains(got, "no number") {
		t.Error(got)
	}
	if !get[bool](tb, `document.getElementById("filter").getAttribute("aria-invalid") === "true"`) {
		t.Error("the field does not say that it is invalid")
	}
	add(t, s, "", shopEvent{Type: "paid"}, shopEvent{Type: "created"})
	tb.wait(rows(5))
	tb.do(chromedp.Click(chromedp.CSS("#filter-clear")))
	tb.wait(rows(13))
	if !get[bool](tb, `document.getElementById("filter-error").hidden && !location.search`) {
		t.Error("the error is still there, or the filter in the URL")
	}

	// A click on a type filters by the field that it is in, the next one by nothing.
	for _, c := range []struct {
		name, filter string
		n            int
	}{{"two words", `type:"two words"`, 2}, {"created", "type:created", 6}} {
		click := fmt.Sprintf(`[...document.querySelectorAll("#types button")].find((b) => b.textContent.startsWith(%q)).click()`, c.name)
		tb.do(eval[chromedp.Void](click))
		tb.wait(rows(c.n))
		if got := get[string](tb, `document.getElementById("filter").value`); got != c.filter {
			t.Errorf("filter %q, want %q", got, c.filter)
		}
		tb.wait(`document.querySelector("#types [aria-pressed=true]") !== null`)
		tb.do(eval[chromedp.Void](click))
		tb.wait(rows(13))
	}
}

// TestTenants has two pages for different tenants, and one for whom it is not.
func TestTenants(t *testing.T) {
	s, url := newStream(t, 50)
	add(t, s, "acme", users(1, 2)...)
	add(t, s, "globex", users(10, 3)...)
	acme, globex := open(t, url+"?tenant=acme"), open(t, url+"?tenant=globex")
	acme.wait(rows(2))
	globex.wait(rows(3))
	add(t, s, "acme", users(3, 1)...)
	add(t, s, "globex", users(13, 1)...)
	acme.wait(rows(3))
	globex.wait(rows(4))
	for _, r := range list(acme) {
		if !strings.Contains(r.Text, fmt.Sprintf("u%d#", r.Seq)) {
			t.Errorf("acme is shown %+v", r)
		}
	}
	for _, r := range list(globex) {
		if !strings.Contains(r.Text, fmt.Sprintf("u%d#", r.Seq+9)) {
			t.Errorf("globex is shown %+v", r)
		}
	}
	nobody := open(t, url+"?tenant=forbidden")
	nobody.expect("403 (Forbidden)")
	nobody.waitState("denied")
	if got := nobody.text("#notice"); got != "forbidden." || len(list(nobody)) != 0 {
		t.Errorf("the page says %q", got)
	}
}

// TestHostile shows events whose parts would do something if they were taken for HTML.
func TestHostile(t *testing.T) {
	s, url := newStream(t, 50)
	attack := `"'></script></p><script>alert(1)</script><img src=x onerror=alert(2)><svg onload=alert(3)>` + "\u202e\u0000{{.}}${1}javascript:alert(4)"
	tb := open(t, url)
	tb.waitState("live")
	e := shopEvent{Type: attack, User: attack, Item: attack, Cart: []any{attack, []any{attack}}, Client: map[string]any{attack: attack, "__proto__": attack, "constructor": map[string]any{"prototype": attack}, "toString": nil}}
	add(t, s, "", e, shopEvent{Type: "__proto__", User: "constructor"}, shopEvent{Type: "toString"})
	tb.wait(rows(3))
	tb.wait(`document.querySelectorAll("#types button").length === 3`)
	tb.do(eval[chromedp.Void](`for (const head of document.querySelectorAll("#events .head")) head.click()`))
	tb.do(eval[chromedp.Void](`for (let b; (b = document.querySelector(".tree [aria-expanded=false]"));) b.click()`))
	if n := get[int](tb, `document.querySelectorAll("#events :is(script, img, svg, p, a), #types :is(script, img, svg)").length`); n != 0 {
		t.Errorf("%d elements were made of events", n)
	}
	// Strings are shown quoted, as in JSON.
	if n := get[int](tb, `document.querySelectorAll("#events")[0].innerText.split("<img src=x onerror=alert(2)>").length - 1`); n < 7 {
		t.Errorf("the text is shown %d times", n)
	}
	if !get[bool](tb, `({}).prototype === undefined && Object.keys(Object.prototype).length === 0`) {
		t.Error("the prototype of all objects has been changed")
	}
	tb.do(eval[chromedp.Void](`[...document.querySelectorAll("#types button")].find((b) => b.innerText.startsWith("__proto__")).click()`))
	tb.wait(rows(1))
}

// TestPolicy tries what the Content-Security-Policy is to prevent.
func TestPolicy(t *testing.T) {
	_, url := newFake(t)
	tb := open(t, url)
	tb.waitState("live")
	for name, attempt := range map[string]string{
		"HTML of a text":  `document.body.innerHTML = "<b>x</b>"`,
		"an inline style": `document.body.setAttribute("style", "display: none"); if (getComputedStyle(document.body).display !== "none") throw "blocked"`,
		"a script of a text": `const s = document.createElement("script"); s.append("window.ran = true"); document.body.append(s);
			if (!window.ran) throw "blocked"`,
		"a request to elsewhere": `await fetch("http://127.0.0.1:1/")`,
	} {
		if !get[bool](tb, `(async () => { `+attempt+` })().then(() => false, () => true)`) {
			t.Errorf("%s is possible", name)
		}
	}
	tb.expect("Content Security Policy")
	tb.expect("requires 'Trusted")
	tb.expect("violates")
}
