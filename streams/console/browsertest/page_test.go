package browsertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/graphcache/graphcache/streams/console"
)

type note struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

func notes(n int) []any {
	var events []any
	for i := range n {
		events = append(events, note{"note", fmt.Sprint("number ", i)})
	}
	return events
}

// TestGaps shows what was missed, and that a stream began anew.
func TestGaps(t *testing.T) {
	f, url := newFake(t)
	f.keep(5)
	f.append(notes(3)...)
	tb := open(t, url)
	tb.wait(rows(3))
	f.append(notes(1205)...)
	tb.wait(`document.querySelector("#events .gap")?.textContent.startsWith("1,200 events missed")`)
	tb.wait(rows(8))
	f.restart()
	tb.wait(`document.querySelector("#events .reset")?.textContent.startsWith("The stream began anew")`)
	f.append(notes(7)...)
	tb.wait(rows(13))
	if got := tb.text("#summary"); got != "Showing 13 of 1,215 events · 1,202 missed" {
		t.Error(got)
	}
	if got := tb.texts("#events > .gap"); len(got) != 3 {
		t.Errorf("gaps: %q", got)
	}
}

// TestMany has more events than rows, the oldest of which go, but for the one that is read.
func TestMany(t *testing.T) {
	f, url := newFake(t)
	f.keep(1000)
	f.append(notes(10)...)
	tb := open(t, url)
	tb.wait(rows(10))
	tb.do(chromedp.Click(chromedp.CSS("#events > li:last-child .head")))
	tb.wait(`document.querySelector("#events .tree") !== null`)
	for range 10 {
		f.append(notes(90)...)
	}
	tb.wait(`document.querySelector("#events .seq").textContent === "#910"`)
	if n := get[int](tb, `document.querySelectorAll("#events > li").length`); n != 200 {
		t.Errorf("%d rows", n)
	}
	if got := tb.text("#events > li:last-child .seq"); got != "#1" {
		t.Errorf("the row that was open is gone, the last one is %s", got)
	}
	if got := tb.text("#summary"); got != "Showing 200 of 910 events · 0 missed" {
		t.Error(got)
	}
	tb.do(chromedp.KeyEvent("k"))
	if got := get[string](tb, `document.activeElement.querySelector(".seq").textContent`); got != "#712" {
		t.Errorf("from there k leads to %s", got)
	}
}

// TestScroll has events come while the user looks at older ones, which stay where they are.
func TestScroll(t *testing.T) {
	f, url := newFake(t)
	f.append(notes(50)...)
	tb := open(t, url)
	tb.wait(rows(50))
	const top = `document.querySelector("#events > li:last-child").getBoundingClientRect().top`
	tb.do(eval[chromedp.Void](`scrollTo(0, 500); window.before = ` + top))
	f.append(notes(10)...)
	tb.wait(rows(60) + ` && scrollY > 600 && Math.abs(` + top + ` - before) < 1`)
}

// TestLarge shows events of a megabyte: the page must not become one.
func TestLarge(t *testing.T) {
	long, _ := json.Marshal(strings.Repeat("<b>long</b>", 100_000))
	wide := "[" + strings.Repeat(`{"n":1},`, 130_000) + "0]"
	deep := strings.Repeat(`{"a":[`, 90_000) + strings.Repeat("]}", 90_000)
	f, url := newFake(t)
	tb := open(t, url)
	tb.waitState("live")
	for i, text := range []string{
		`{"type":"long","text":` + string(long) + `}`,
		`{"type":"wide","list":` + wide + `}`, wide,
		`{"type":"deep","of":` + deep + `}`, deep,
		string(long),
	} {
		f.append(json.RawMessage(text))
		tb.wait(rows(i + 1))
		tb.do(chromedp.Click(chromedp.CSS("#events > li:first-child .head")))
		tb.wait(fmt.Sprintf(`document.querySelectorAll("#events .tree").length === %d`, i+1))
		// All that is closed may be opened, level by level.
		tb.do(eval[chromedp.Void](`for (let n = 0; n < 50; n++) document.querySelector("#events > li:first-child .tree [aria-expanded=false]")?.click()`))
		if n := get[int](tb, `document.querySelectorAll("#events > li:first-child *").length`); n > 2000 {
			t.Errorf("%.20s: %d elements", text, n)
		}
		if n := get[int](tb, `document.querySelector("#events > li:first-child").textContent.length`); n > 20_000 {
			t.Errorf("%.20s: %d characters", text, n)
		}
	}
	tb.do(eval[chromedp.Void](`document.querySelector("#events > li:first-child .tree .link").click()`))
	if n := get[int](tb, `document.querySelector("#events > li:first-child").textContent.length`); n < 50_000 || n > 70_000 {
		t.Errorf("after more of a string was asked for there are %d characters", n)
	}
	tb.do(eval[chromedp.Void](`document.querySelector("#events > li:nth-child(4) .tree > ul > li:last-child button").click()`))
	if n := get[int](tb, `document.querySelectorAll("#events > li:nth-child(4) .tree > ul > li").length`); n != 201 {
		t.Errorf("after more of a list was asked for there are %d items", n)
	}
	for range 2 { // the page still does what it is told
		tb.do(chromedp.KeyEvent("p"))
	}
	tb.waitState("live")
	f.append(note{"note", "x"})
	tb.wait(rows(7))
}

// TestJSON compares what the page reads and copies with what JavaScript makes of it, for texts
// of which that can be told.
func TestJSON(t *testing.T) {
	_, url := newFake(t)
	tb := open(t, url)
	tb.waitState("live")
	got := get[string](tb, `(async () => {
		const { Value, pretty } = await import("./json.js");
		let seed = 1;
		const random = (n) => (seed = (seed * 48271) % 2147483647) % n;
		const scalars = [0, -1.5e-7, 12345678901, true, false, null, "", "a", "\"", "\\", "\\\"", "]}", "{\"a\":[", "\u2028é😀\n", "\\u0022"];
		const make = (depth) => {
			const kind = depth > 0 ? random(4) : 0;
			if (kind < 2) return scalars[random(scalars.length)];
			const list = Array.from({ length: random(4) }, () => make(depth - 1));
			return kind === 2 ? list : Object.fromEntries(list.map((v, i) => [scalars[6 + random(8)] + "k" + i, v]));
		};
		const read = (value) => {
			if (value.kind === "object") return Object.fromEntries([...value.entries()].map(([k, v]) => [k, read(v)]));
			if (value.kind === "array") return [...value.entries()].map(([, v]) => read(v));
			return value.kind === "string" ? value.string : JSON.parse(value.raw);
		};
		for (let i = 0; i < 3000; i++) {
			const want = make(6);
			const text = JSON.stringify(want, null, [0, 1, "\t\r"][i % 3]);
			const value = Value.of(" " + text + " ");
			if (value.raw !== text) return "the end of " + text + ": " + value.raw;
			if (JSON.stringify(read(value)) !== JSON.stringify(want)) return "read " + text;
			if (pretty(value) !== JSON.stringify(want, null, 2)) return "pretty " + text + ": " + pretty(value);
		}
		for (const bad of ["", " ", "{", "[1", "[1 2", "\"", "\"\\\"", "{\"a\"", "{\"a\":", "{\"a\" 1}", "[,]", "nul", "}", "[}", ":"]) {
			try {
				const value = Value.of(bad);
				[...value.entries()];
				pretty(value);
			} catch (e) {
				if (!(e instanceof SyntaxError)) return bad + ": " + e;
			}
		}
		return "";
	})()`)
	if got != "" {
		t.Error(got)
	}
}

// copied is what was copied last.
const copied = `window.copied`

// catchCopies has the page remember what it copies, in the one way or the other.
func catchCopies(clipboard bool) step {
	return onLoad(fmt.Sprintf(`
		if (%t) navigator.clipboard.writeText = async (text) => { window.copied = text; };
		else Object.defineProperty(navigator, "clipboard", { value: undefined });
		addEventListener("copy", () => { window.copied = document.activeElement.value; });`, clipboard))
}

// onLoad runs a script before those of the page.
func onLoad(script string) step {
	return command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
}

// TestCopy copies an event, exactly as it was, with the clipboard API and without.
func TestCopy(t *testing.T) {
	const text = `{"id":9007199254740993,"b":1,"10":2,"2":1.0,"e":1e400,"b":"twice","lt":"\u003c&","deep":[[],{}]}`
	const want = `{
  "id": 9007199254740993,
  "b": 1,
  "10": 2,
  "2": 1.0,
  "e": 1e400,
  "b": "twice",
  "lt": "<&",
  "deep": [
    [],
    {}
  ]
}`
	for _, clipboard := range []bool{true, false} {
		f, url := newFake(t)
		f.append(json.RawMessage(text))
		tb := open(t, url, catchCopies(clipboard))
		tb.wait(rows(1))
		tb.do(chromedp.Click(chromedp.CSS("#events .head")))
		tb.wait(`document.querySelector("#events .tree")?.innerText.includes("9007199254740993")`)
		tb.do(chromedp.Click(chromedp.CSS("#events button.copy")))
		tb.wait(`document.querySelector("#events button.copy").textContent === "Copied" && ` + copied + ` !== undefined`)
		if got := get[string](tb, copied); got != want {
			t.Errorf("copied %s", got)
		}
		tb.do(eval[chromedp.Void](copied+` = ""`), chromedp.KeyEvent("c"))
		tb.wait(copied + ` !== ""`)
		if !get[bool](tb, `document.activeElement.classList.contains("copy") && document.querySelector("textarea") === null`) {
			t.Error("the focus has moved")
		}
	}
}

// TestConnection loses the connection in every way.
func TestConnection(t *testing.T) {
	f, url := newFake(t)
	f.append(notes(2)...)
	tb := open(t, url)
	tb.expect("Failed to load resource")
	tb.expect("ERR_")
	tb.wait(rows(2))
	retry := func() {
		t.Helper()
		f.disconnect(0)
		tb.do(chromedp.Click(chromedp.CSS("#pause")))
		tb.waitState("live")
		if !get[bool](tb, `document.getElementById("notice").hidden`) {
			t.Errorf("the page is connected, and says: %s", tb.text("#notice"))
		}
	}
	for _, c := range []struct {
		status        int
		state, notice string
	}{
		{401, "denied", "the test says 401."},
		{403, "denied", "the test says 403."},
		{400, "closed", "the test says 400."},
		{404, "closed", "the test says 404."},
		{429, "waiting", "the test says 429."},
		{503, "waiting", "the test says 503."},
	} {
		f.disconnect(c.status)
		f.append(notes(1)...)
		tb.wait(fmt.Sprintf(`document.getElementById("notice").textContent === %q`, c.notice))
		tb.waitState(c.state)
		if c.state == "waiting" {
			tb.wait(`/^Reconnecting in \d+ s$/.test(document.getElementById("state-text").textContent)`)
		}
		retry()
	}
	tb.wait(rows(8)) // what came meanwhile is there

	// A connection that ends is made again, from where it was.
	f.disconnect(0)
	f.append(notes(3)...)
	tb.wait(rows(11))
	tb.waitState("live")
	if got := tb.text("#summary"); got != "Showing 11 of 11 events · 0 missed" {
		t.Error(got)
	}
	asked := f.requests()
	if last := asked[len(asked)-1]; asked[0] != "/live/events" || !strings.HasPrefix(last, "/live/events?since=1-") {
		t.Errorf("asked for %s first and %s last", asked[0], last)
	}
}

// TestFilterMeanwhile has the server be slow to say whether a filter is right.
func TestFilterMeanwhile(t *testing.T) {
	f, url := newFake(t)
	f.append(notes(2)...)
	tb := open(t, url)
	tb.expect("ERR_")
	tb.wait(rows(2))
	filterBy := func(text string) {
		tb.do(eval[chromedp.Void](`document.getElementById("filter").value = ""`), chromedp.SendKeys(chromedp.CSS("#filter"), text+"\r"))
		tb.wait(`document.querySelector(".filter[aria-busy]") !== null`)
	}

	// A new connection does not make it forgotten.
	release := f.holdJSON()
	filterBy("number 1")
	f.disconnect(0)
	tb.waitState("waiting")
	tb.waitState("live")
	release()
	tb.wait(rows(1))
	tb.waitState("live")

	// A pause does, since the filter would end it; one that comes later goes first.
	release = f.holdJSON()
	filterBy("number 0")
	tb.do(eval[chromedp.Void](`document.getElementById("pause").click()`))
	tb.wait(`document.querySelector(".filter[aria-busy]") === null`)
	release()
	if get[string](tb, `document.getElementById("state").dataset.state`) != "paused" || len(list(tb)) != 1 {
		t.Error("the filter was applied in spite of the pause")
	}
	release = f.holdJSON()
	filterBy("number 0")
	filterBy("number")
	release()
	tb.wait(rows(2))
	tb.waitState("live")
	if got := get[string](tb, `document.getElementById("filter").value + new URLSearchParams(location.search).get("filter")`); got != "numbernumber" {
		t.Errorf("filter and URL are %q", got)
	}
}

// TestRedirect has the events ask to sign in, elsewhere.
func TestRedirect(t *testing.T) {
	tb := open(t, serve(t, http.RedirectHandler("/login", http.StatusFound)))
	tb.expect("Failed to load resource")
	tb.expect("MIME type")
	tb.waitState("denied")
	if got := tb.text("#notice"); !strings.Contains(got, "sign in") {
		t.Error(got)
	}
}

// TestHidden has the page be hidden for a minute, which passes at once.
func TestHidden(t *testing.T) {
	f, url := newFake(t)
	f.append(notes(1)...)
	tb := open(t, url, onLoad(`
		let hidden = false;
		Object.defineProperty(document, "hidden", { get: () => hidden });
		window.hide = (h) => { hidden = h; document.dispatchEvent(new Event("visibilitychange")); };
		const timeout = setTimeout;
		window.minutes = [];
		window.setTimeout = (f, ms, ...args) => ms === 60000 ? minutes.push(f) : timeout(f, ms, ...args);`))
	tb.wait(rows(1))
	tb.do(eval[chromedp.Void](`hide(true)`))
	f.append(notes(1)...)
	tb.wait(rows(2)) // it goes on, for now
	tb.do(eval[chromedp.Void](`minutes.pop()()`))
	tb.waitState("asleep")
	f.append(notes(3)...)
	if n := len(list(tb)); n != 2 {
		t.Errorf("%d rows while it is stopped", n)
	}
	tb.do(eval[chromedp.Void](`hide(false)`))
	tb.wait(rows(5))
	tb.waitState("live")

	// What was paused by the user stays so.
	tb.do(chromedp.Click(chromedp.CSS("#pause")))
	tb.do(eval[chromedp.Void](`hide(true); minutes.pop()(); hide(false)`))
	tb.waitState("paused")
}

func TestKeyboard(t *testing.T) {
	f, url := newFake(t)
	f.append(notes(3)...)
	tb := open(t, url)
	tb.wait(rows(3))
	press := func(keys string) {
		t.Helper()
		tb.do(chromedp.KeyEvent(keys))
	}
	focused := func(what string) {
		t.Helper()
		if !get[bool](tb, `document.activeElement.matches(":focus-visible") && (document.activeElement.id || document.activeElement.querySelector(".seq")?.textContent || document.activeElement.className) === `+fmt.Sprintf("%q", what)) {
			t.Errorf("the focus is on %s, want %s", get[string](tb, `document.activeElement.outerHTML.slice(0, 200)`), what)
		}
		if outline := get[string](tb, `(({ outlineStyle, outlineWidth }) => outlineStyle + " " + outlineWidth)(getComputedStyle(document.activeElement))`); what != "filter" && outline != "solid 2px" {
			t.Errorf("the focus on %s is drawn %s", what, outline)
		}
	}
	for _, what := range []string{"skip", "pause", "theme"} {
		press(kb.Tab)
		focused(what)
	}
	// The browser makes a character of a key only if the page lets it.
	tb.do(command(input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: "/", Text: "/"}))
	focused("filter")
	press("p/ jk") // which are text here
	if got := get[string](tb, `document.getElementById("filter").value`); got != "p/ jk" {
		t.Errorf("the filter is %q", got)
	}
	press(kb.Escape)
	if !get[bool](tb, `document.activeElement === document.body && document.getElementById("filter").value === ""`) {
		t.Error("Escape does not leave the filter as it was")
	}
	for _, key := range []string{"p", " "} {
		press(key)
		tb.waitState("paused")
		press(key)
		tb.waitState("live")
	}
	press("j")
	focused("#3")
	press("j")
	focused("#2")
	f.append(notes(1)...)
	tb.wait(rows(4))
	press(kb.ArrowDown)
	focused("#1")
	press("j") // there is no further one
	focused("#1")
	press("k")
	press(kb.ArrowUp)
	focused("#3")
	press("\r")
	tb.wait(`document.activeElement.getAttribute("aria-expanded") === "true" && document.querySelectorAll("#events .tree").length === 1`)
	press(kb.Tab)
	focused("small copy")
	press("k")
	focused("#4")
	press("j")
	press(" ") // presses the button that it is on
	tb.wait(`document.querySelectorAll("#events .tree").length === 0`)
	tb.waitState("live")
	if n := get[int](tb, `[...document.querySelectorAll("#events .head")].filter((h) => h.tabIndex === 0).length`); n != 1 {
		t.Errorf("Tab stops at %d rows", n)
	}
}

// TestPhone has nothing stick out of a narrow page.
func TestPhone(t *testing.T) {
	f, url := newFake(t)
	tb := open(t, url, phone)
	tb.waitState("live")
	check := func() {
		t.Helper()
		out := get[[]string](tb, `[...document.querySelectorAll("body *")].filter((e) => e.getBoundingClientRect().right > 360 && !e.closest(".text, .types ul")).map((e) => e.tagName + "." + e.className)`)
		if n := get[int](tb, `document.documentElement.scrollWidth`); n > 360 || len(out) > 0 {
			t.Errorf("the page is %d pixels wide, and these stick out: %q", n, out)
		}
	}
	check()
	tb.expect("Failed to load resource")
	wide := strings.Repeat("wide", 200)
	f.append(note{"note", "short"}, note{wide, wide}, map[string]any{wide: wide, "a": map[string]any{wide: []any{wide, 1, nil, true}}},
		json.RawMessage(strings.Repeat(`{"a":`, 30)+"1"+strings.Repeat("}", 30)), json.RawMessage(strings.Repeat("1", 300)))
	tb.wait(rows(5))
	f.keep(1)
	f.append(notes(5)...)
	tb.wait(rows(6))
	check()
	tb.do(eval[chromedp.Void](`for (const head of document.querySelectorAll("#events button.head")) head.click();
		for (let b; (b = document.querySelector(".tree [aria-expanded=false]"));) b.click()`))
	check()
	f.disconnect(503)
	tb.waitState("waiting")
	check()
	tb.do(chromedp.SendKeys(chromedp.CSS("#filter"), wide+"\r"))
	tb.wait(`!document.getElementById("filter-error").hidden`)
	check()
	// What a finger is to meet is large enough.
	if small := tb.texts(`#pause, #theme, #events .head, .field`); len(small) == 0 || get[bool](tb, `[...document.querySelectorAll("#pause, #theme, #events button.head, .field")].some((e) => e.getBoundingClientRect().height < 30)`) {
		t.Error("some control is less than 30 pixels high")
	}
}

// TestContrast compares the colours of all texts with those that they are on, for WCAG 2 AA.
func TestContrast(t *testing.T) {
	for _, name := range []string{"light", "dark"} {
		f, url := newFake(t)
		f.append(notes(3)...)
		tb := open(t, url, scheme(name))
		tb.expect("Failed to load resource")
		tb.wait(rows(3))
		f.keep(2)
		f.append(append(notes(4), map[string]any{"type": "note", "n": 1, "b": true, "s": "s", "none": map[string]any{}, "o": map[string]any{"a": 1}})...)
		tb.wait(`document.querySelector("#events .gap") !== null`)
		f.restart()
		tb.wait(`document.querySelector("#events .reset") !== null`)
		tb.do(eval[chromedp.Void](`for (const head of document.querySelectorAll("#events button.head")) head.click()`))
		for _, status := range []int{0, 403, 503} {
			if status != 0 {
				f.disconnect(status)
				tb.wait(fmt.Sprintf(`document.getElementById("notice").textContent.includes("%d")`, status))
				if status == 403 {
					tb.do(chromedp.SendKeys(chromedp.CSS("#filter"), "x\r"))
					tb.wait(`!document.getElementById("filter-error").hidden`)
					f.disconnect(503)
					tb.do(chromedp.Click(chromedp.CSS("#pause")))
				}
			}
			bad := get[[]string](tb, `(() => {
				const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
				const over = (below, color) => {
					canvas.fillStyle = "rgb(" + below.join(" ") + ")";
					canvas.fillRect(0, 0, 1, 1);
					canvas.fillStyle = color;
					canvas.fillRect(0, 0, 1, 1);
					return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
				};
				const light = (rgb) => {
					const [r, g, b] = rgb.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
					return 0.2126 * r + 0.7152 * g + 0.0722 * b;
				};
				const ground = (e) => over(e.parentElement ? ground(e.parentElement) : [255, 255, 255], getComputedStyle(e).backgroundColor);
				const bad = [];
				let looked = 0;
				for (const e of document.querySelectorAll("body *")) {
					if (!e.checkVisibility() || e.closest(".offscreen") || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
					looked++;
					const on = ground(e);
					const [a, b] = [light(on), light(over(on, getComputedStyle(e).color))].sort((x, y) => y - x);
					const ratio = (a + 0.05) / (b + 0.05);
					if (ratio < 4.5) bad.push(ratio.toFixed(2) + " " + e.tagName + "." + e.className + " " + e.textContent.slice(0, 30));
				}
				return looked < 40 ? ["only " + looked + " texts"] : bad;
			})()`)
			if len(bad) > 0 {
				t.Errorf("%s, with status %d: %q", name, status, bad)
			}
		}
	}
}

// TestTheme chooses the other theme, which stays, unless storage is forbidden.
func TestTheme(t *testing.T) {
	_, url := newFake(t)
	ground := func(tb *tab) string { return get[string](tb, `getComputedStyle(document.body).backgroundColor`) }
	tb := open(t, url, scheme("light"))
	light := ground(tb)
	tb.do(chromedp.Click(chromedp.CSS("#theme")))
	dark := ground(tb)
	if dark == light {
		t.Error("the button changes nothing")
	}
	tb.do(chromedp.Reload())
	tb.waitState("live")
	if ground(tb) != dark {
		t.Error("it is forgotten")
	}
	tb.do(chromedp.Click(chromedp.CSS("#theme")))
	if ground(tb) != light {
		t.Error("there is no way back")
	}

	tb = open(t, url, scheme("dark"), onLoad(`Object.defineProperty(window, "localStorage", { get() { throw new DOMException("no", "SecurityError"); } })`))
	tb.waitState("live")
	if ground(tb) != dark {
		t.Error("the theme of the system is not used")
	}
	tb.do(chromedp.Click(chromedp.CSS("#theme")))
	if ground(tb) != light {
		t.Error("without storage the button changes nothing")
	}
}

// TestMounts serves the page at several places.
func TestMounts(t *testing.T) {
	f, _ := newFake(t)
	f.append(notes(2)...)
	mux := http.NewServeMux()
	mux.Handle("/feed", f)
	mux.Handle("/a/b/", http.StripPrefix("/a/b", console.Handler(&console.Options{Events: "../../feed?x=1", Title: `</title><script>alert("title")</script>`})))
	mux.Handle("/deep/er/", console.Handler(&console.Options{Events: "/feed"}))
	mux.Handle("/bare", http.StripPrefix("/bare", console.Handler(&console.Options{Events: "../feed"})))
	mux.Handle("/bare/", http.StripPrefix("/bare", console.Handler(&console.Options{Events: "../feed"})))
	s := httptest.NewServer(mux)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	for path, want := range map[string]string{
		"/a/b/?tenant=a%26b":             "/feed?x=1&tenant=a%26b",
		"/deep/er/?tenant=a&since=5-5":   "/feed?tenant=a",
		"/bare?tenant=a":                 "/feed?tenant=a",
		"/bare/?tenant=a&filter=number":  "/feed?tenant=a&filter=number&since=1-2",
		"/deep/er/?tenant=a&tenant=b#xx": "/feed?tenant=a&tenant=b",
	} {
		tb := open(t, s.URL+path)
		tb.waitState("live")
		tb.wait(rows(2))
		if got := f.requests(); got[len(got)-1] != want {
			t.Errorf("%s asks for %s, want %s", path, got[len(got)-1], want)
		}
		if strings.HasPrefix(path, "/a/") && tb.text("h1") != `</title><script>alert("title")</script>` {
			t.Errorf("the title is %s", tb.text("h1"))
		}
	}
}

// TestAnnounce has the page tell those who do not see it, now and then.
func TestAnnounce(t *testing.T) {
	f, url := newFake(t)
	tb := open(t, url, onLoad(`
		const interval = setInterval;
		window.setInterval = (f, ms) => interval(f, ms === 10000 ? 10 : ms);`))
	tb.waitState("live")
	f.append(notes(2)...)
	tb.wait(`/^2 new events\. Showing 2 of 2 events · 0 missed$/.test(document.getElementById("status").textContent)`)
	tb.do(chromedp.Click(chromedp.CSS("#pause")))
	tb.wait(`document.getElementById("status").textContent === "Paused"`)
	if !get[bool](tb, `document.getElementById("status").getAttribute("aria-live") === "polite" && document.getElementById("events").getAttribute("aria-label") !== ""`) {
		t.Error("roles or labels are missing")
	}
	// Every control has a name, for those who do not see it.
	if nameless := get[int](tb, `[...document.querySelectorAll("button, input, img, svg[role]")].filter((e) => !(e.textContent.trim() || e.getAttribute("aria-label") || e.hasAttribute("alt"))).length`); nameless != 0 {
		t.Errorf("%d controls have no name", nameless)
	}
}
