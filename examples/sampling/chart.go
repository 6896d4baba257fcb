package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// The chart's size and margins, in pixels.
const (
	width, height            = 720, 440
	left, right, top, bottom = 64, 24, 48, 56
)

// marks are the shapes and colours of the schemes.
var marks = map[string]string{
	static:              "#7a7a7a",
	staticEqualCoverage: "#3d3d3d",
	perProcess:          "#c26b00",
	shared:              "#0060c0",
	ema:                 "#8a2fa0",
}

// chart draws which share of the keys is covered against how many requests are kept: a
// curve for static sampling with any p, and a point for each scheme.
func chart(r *report) []byte {
	o := newOdds(r.trace.counts)
	all := float64(len(r.trace.requests))
	lowest := math.Pow(10, math.Floor(math.Log10(all/1e4))) // four or five decades
	for _, x := range r.results {
		for float64(x.kept) < lowest && lowest > 1 {
			lowest /= 10
		}
	}
	lowest = max(1, lowest)
	x := func(kept float64) float64 {
		span := max(math.Log10(all/lowest), 1e-9)
		return left + (width-left-right)*max(0, math.Log10(max(kept, lowest)/lowest))/span
	}
	y := func(covered float64) float64 { return top + (height-top-bottom)*(1-covered) }

	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<title>Coverage against volume</title>`+"\n"+`<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	text := func(x, y float64, anchor, s string) {
		fmt.Fprintf(&b, `<text x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", x, y, anchor, html.EscapeString(s))
	}
	line := func(x1, y1, x2, y2 float64) {
		fmt.Fprintf(&b, `<path d="M%.1f %.1fL%.1f %.1f" stroke="#ddd"/>`+"\n", x1, y1, x2, y2)
	}
	text(left, 20, "start", fmt.Sprintf("Keys with the first %d requests kept, or all of theirs, by what is kept", r.settings.n))
	text(left, 36, "start", fmt.Sprintf("%.3g requests of %d keys, s=%s, P=%d", all, len(r.trace.keys), orDash("%g", r.trace.zipf), r.settings.processes))
	for percent := 0; percent <= 100; percent += 20 {
		at := y(float64(percent) / 100)
		line(left, at, width-right, at)
		text(left-8, at+4, "end", fmt.Sprintf("%d %%", percent))
	}
	for kept := lowest; kept <= all; kept *= 10 {
		line(x(kept), top, x(kept), height-bottom)
		text(x(kept), height-bottom+18, "middle", fmt.Sprintf("%.0f", kept))
	}
	text((left+width-right)/2, height-16, "middle", "requests kept (logarithmic)")

	fmt.Fprintf(&b, `<path fill="none" stroke="%s" stroke-width="1.5" d="`, marks[static])
	const steps = 120
	for i := range steps + 1 {
		kept := lowest * math.Pow(all/lowest, float64(i)/steps)
		fmt.Fprintf(&b, "%c%.1f %.1f", "ML"[min(i, 1)], x(kept), y(o.covered(r.settings.n, kept/all)))
	}
	fmt.Fprintf(&b, `"><title>static sampling, by its p</title></path>`+"\n")
	for i, s := range r.results {
		px, py := x(float64(s.kept)), y(s.covered(r.settings.n))
		fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="5" fill="%s"><title>%s: %d kept, %.2f %% covered</title></circle>`+"\n",
			px, py, marks[s.scheme], s.scheme, s.kept, 100*s.covered(r.settings.n))
		ly := top + 40 + 18*float64(i)
		fmt.Fprintf(&b, `<circle cx="%d" cy="%.1f" r="5" fill="%s"/>`+"\n", left+24, ly-4, marks[s.scheme])
		text(left+36, ly, "start", s.scheme)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
