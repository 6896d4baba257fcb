// Package console serves a page that shows a stream live: the events as they come, how many
// there were of which type, and what was missed. It is a single handler with everything in
// it, for the handler of a streams.Stream to be next to:
//
//	mux.Handle("/live/events", events) // from Stream.Handler
//	mux.Handle("/live/", console.Handler(nil))
//
// While it is visible, each page has a connection to the server, and over HTTP/1.1 a browser has
// six of them at most: somebody who has many pages open needs HTTP/2.
//
// # Security
//
// The page has no access of its own. All that it shows, it asks of the events' handler,
// as the user that looks at it and with the query of its own URL, so that /live/?tenant=acme
// asks events?tenant=acme. Whoever may not read the events sees an empty page that says so:
// the handler of the page need not be protected, that of the events must be.
//
// What is in an event is shown as text and never read as HTML. The page's
// Content-Security-Policy has the browser see to that too: nothing is loaded from elsewhere,
// no script or style is run but the files of this package, and the page is in no frame.
package console

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// Options are the settings of [Handler]. The zero Options, and nil, consist entirely of
// default values.
type Options struct {
	// Title is the heading of the page. Default "Live events".
	Title string
	// Events is the URL of the events, relative to the page, on the same origin: that of
	// a handler of streams.Stream. The page adds its own query to it. Default "events".
	Events string
}

//go:embed assets
var assets embed.FS

// The browser keeps the page from loading or running anything that is not its own, and,
// with the last two, from making HTML of a text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"require-trusted-types-for 'script'; trusted-types 'none'"

const pageName = "index.html"

// asset is a file that is served.
type asset struct {
	content     []byte
	contentType string
	tag         string
}

type handler map[string]asset

// Handler returns the handler of the page. It may be used by several goroutines.
//
// It answers GET and HEAD, for the page wherever the path ends in a slash, and for its files
// by the last element of the path: so it can be registered for any path that ends in
// a slash, with http.StripPrefix or without.
func Handler(o *Options) http.Handler {
	var c Options
	if o != nil {
		c = *o
	}
	c.Title = cmp.Or(c.Title, "Live events")
	c.Events = cmp.Or(c.Events, "events")
	entries, err := assets.ReadDir("assets")
	if err != nil {
		panic(err) // they are embedded
	}
	h := make(handler)
	for _, e := range entries {
		content, err := assets.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err)
		}
		if e.Name() == pageName {
			content = page(content, &c)
		}
		sum := sha256.Sum256(content)
		h[e.Name()] = asset{content, contentType(e.Name()), `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
	}
	return h
}

// page fills in the options.
func page(source []byte, o *Options) []byte {
	var b bytes.Buffer
	if err := template.Must(template.New(pageName).Parse(string(source))).Execute(&b, o); err != nil {
		panic(err) // it writes to memory, and has fields that exist
	}
	return b.Bytes()
}

// contentType does not depend on what the machine knows of types.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return mime.TypeByExtension(path.Ext(name))
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "" && redirect(w, r) {
		return
	}
	_, name := path.Split(r.URL.Path)
	if name == pageName {
		name = "" // the page has one URL
	} else if name == "" {
		name = pageName
	}
	a, ok := h[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	header.Set("Content-Type", a.contentType)
	header.Set("ETag", a.tag)
	header.Set("Cache-Control", "no-cache")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}

// redirect adds the slash that the relative URLs of the page need, if http.StripPrefix
// has left nothing of a path without one. It tells whether it has.
func redirect(w http.ResponseWriter, r *http.Request) bool {
	asked, err := url.ParseRequestURI(r.RequestURI)
	if err != nil || asked.Path == "" || strings.HasSuffix(asked.Path, "/") {
		return false
	}
	to := url.URL{Path: "./" + path.Base(asked.Path) + "/", RawQuery: asked.RawQuery}
	w.Header().Set("Location", to.String())
	w.WriteHeader(http.StatusTemporaryRedirect)
	return true
}
