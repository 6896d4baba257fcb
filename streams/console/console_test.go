package console_test

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/graphcache/graphcache/streams/console"
)

// do answers a request, and checks what all responses have in common.
func do(t *testing.T, h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	policy := w.Header().Get("Content-Security-Policy")
	for _, part := range []string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self'", "base-uri 'none'",
		"form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
	} {
		if !strings.Contains("; "+policy+";", "; "+part+";") {
			t.Errorf("%s %s: the policy %q lacks %s", method, target, policy, part)
		}
	}
	for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s %s: %s is %q", method, target, name, got)
		}
	}
	return w
}

// names returns the names of the files that are served.
func names(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("assets")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestFiles(t *testing.T) {
	h := console.Handler(nil)
	types := map[string]string{"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml", "": "text/html; charset=utf-8"}
	for _, name := range names(t) {
		if name == "index.html" {
			name = ""
		}
		_, ext, _ := strings.Cut(name, ".")
		for _, at := range []string{"/", "/a/b/"} {
			w := do(t, h, "GET", at+name)
			tag := w.Header().Get("ETag")
			if w.Code != 200 || w.Body.Len() == 0 || w.Header().Get("Content-Type") != types[ext] || tag == "" || w.Header().Get("Cache-Control") != "no-cache" {
				t.Errorf("%s%s: status %d, %d bytes, header %v", at, name, w.Code, w.Body.Len(), w.Header())
			}
			if head := do(t, h, "HEAD", at+name); head.Code != 200 || head.Body.Len() != 0 || head.Header().Get("ETag") != tag {
				t.Errorf("HEAD %s%s: status %d, %d bytes, header %v", at, name, head.Code, head.Body.Len(), head.Header())
			}
			if again := do(t, h, "GET", at+name, "If-None-Match", tag); again.Code != 304 || again.Body.Len() != 0 {
				t.Errorf("%s%s: status %d for what the browser has", at, name, again.Code)
			}
			for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "CONNECT"} {
				if w := do(t, h, method, at+name); w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
					t.Errorf("%s %s%s: status %d, header %v", method, at, name, w.Code, w.Header())
				}
			}
		}
	}
	for _, target := range []string{"/x", "/events", "/index.html", "/assets", "/a/console.go", "/console.js.", "/%2e%2e%2fconsole.go", "/CONSOLE.JS"} {
		if w := do(t, h, "GET", target); w.Code != 404 {
			t.Errorf("%s: status %d", target, w.Code)
		}
	}
}

// TestSlash asks for the page without the slash that its relative URLs need.
func TestSlash(t *testing.T) {
	bare := http.StripPrefix("/a/live", console.Handler(nil))
	for target, want := range map[string]string{
		"/a/live":                "./live/",
		"/a/live?tenant=a%26b&x": "./live/?tenant=a%26b&x",
	} {
		if w := do(t, bare, "GET", target); w.Code != 307 || w.Header().Get("Location") != want {
			t.Errorf("%s: status %d, to %s", target, w.Code, w.Header().Get("Location"))
		}
	}
	if w := do(t, bare, "GET", "/a/live/"); w.Code != 200 {
		t.Errorf("with a slash: status %d", w.Code)
	}
	odd := http.StripPrefix("/a:b//evil.example", console.Handler(nil))
	if w := do(t, odd, "GET", "/a:b//evil.example"); w.Header().Get("Location") != "./evil.example/" {
		t.Errorf("to %s", w.Header().Get("Location"))
	}
}

func TestOptions(t *testing.T) {
	page := func(o *console.Options) string { return do(t, console.Handler(o), "GET", "/").Body.String() }
	plain := page(nil)
	for _, part := range []string{"<title>Live events</title>", "<h1>Live events</h1>", `data-events="events"`} {
		if !strings.Contains(plain, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	own := page(&console.Options{Title: `A & "B" </title><script>`, Events: `../e?a=1&b="><script>`})
	for _, part := range []string{"<title>A &amp; &#34;B&#34; &lt;/title&gt;&lt;script&gt;</title>", "<h1>A &amp; &#34;B&#34; &lt;/title&gt;&lt;script&gt;</h1>", `data-events="../e?a=1&amp;b=&#34;&gt;&lt;script&gt;"`} {
		if !strings.Contains(own, part) {
			t.Errorf("the page lacks %s", part)
		}
	}
	a, b := do(t, console.Handler(nil), "GET", "/"), do(t, console.Handler(&console.Options{Title: "B"}), "GET", "/")
	if a.Header().Get("ETag") == b.Header().Get("ETag") {
		t.Error("pages that differ have the same ETag")
	}
}

// TestSources looks for what could make HTML or code of a text, for what the
// Content-Security-Policy forbids, and for files that are not there or not used.
func TestSources(t *testing.T) {
	forbidden := map[string]*regexp.Regexp{
		".js":   regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|setHTML|DOMParser|createContextualFragment|srcdoc|\beval\b|new Function|setTimeout\(["'` + "`" + `]|javascript:|https?://[^w]|"style"|cssText`),
		".html": regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|https?:|<script>|<iframe|<base`),
		".css":  regexp.MustCompile(`url\(|@import|expression\(`),
		".svg":  regexp.MustCompile(`(?i)<script|<style|\son[a-z]+=|href`),
	}
	all := os.DirFS("assets")
	var sources strings.Builder
	for _, name := range names(t) {
		source, err := fs.ReadFile(all, name)
		if err != nil {
			t.Fatal(err)
		}
		sources.Write(source)
		pattern := forbidden[name[strings.LastIndex(name, "."):]]
		if pattern == nil {
			t.Errorf("%s: what is that?", name)
		} else if found := pattern.FindString(string(source)); found != "" {
			t.Errorf("%s contains %s", name, found)
		}
	}
	used := map[string]bool{"index.html": true}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"#]+)"|from "\./([^"]+)"`).FindAllStringSubmatch(sources.String(), -1) {
		used[m[1]+m[2]] = true
	}
	for _, name := range names(t) {
		if !used[name] {
			t.Errorf("%s is not used", name)
		}
		delete(used, name)
	}
	for name := range used {
		t.Errorf("%s is used, and is not there", name)
	}
}
