package streams

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// filter says which events a client is sent. The nil filter matches all.
type filter struct{ terms []term }

// term is a condition: that a text occurs or, if there is a path, what is found there.
type term struct {
	not  bool
	word string // in lower case
	path []string
	op   byte // '=', '<' or '>'
	text string
	num  number
}

// number is a number of JSON. Whole numbers are compared exactly.
type number struct {
	float float64
	whole int64
	kind  byte // 0 if there is none, 'f', or 'w' if whole is set too
}

// The limits of a filter.
const (
	maxFilter = 256 // bytes
	maxTerms  = 16
)

// parseFilter parses a filter. It returns nil for one without terms.
func parseFilter(expr string) (*filter, error) {
	switch {
	case len(expr) > maxFilter:
		return nil, fmt.Errorf("%d bytes: at most %d", len(expr), maxFilter)
	case !utf8.ValidString(expr):
		return nil, fmt.Errorf("this is not UTF-8")
	}
	p := filterParser{expr: expr}
	var f filter
	for p.skipSpaces(); p.at < len(expr); p.skipSpaces() {
		if len(f.terms) == maxTerms {
			return nil, p.errorf(p.at, "this is one term more than %d", maxTerms)
		}
		t, err := p.term()
		if err != nil {
			return nil, err
		}
		f.terms = append(f.terms, t)
	}
	if len(f.terms) == 0 {
		return nil, nil
	}
	return &f, nil
}

// filterParser reads terms.
type filterParser struct {
	expr string
	at   int
}

// errorf says what is wrong at a place, counted in characters from 1.
func (p *filterParser) errorf(at int, format string, args ...any) error {
	return fmt.Errorf("character %d: %s", utf8.RuneCountInString(p.expr[:at])+1, fmt.Sprintf(format, args...))
}

func (p *filterParser) skipSpaces() {
	for p.at < len(p.expr) && p.expr[p.at] == ' ' {
		p.at++
	}
}

// take skips c, and reports whether it was there.
func (p *filterParser) take(c byte) bool {
	if p.at == len(p.expr) || p.expr[p.at] != c {
		return false
	}
	p.at++
	return true
}

// until returns what comes before the first of some characters.
func (p *filterParser) until(stop string) string {
	rest := p.expr[p.at:]
	if i := strings.IndexAny(rest, stop); i >= 0 {
		rest = rest[:i]
	}
	p.at += len(rest)
	return rest
}

// term reads one term, which may begin with a minus.
func (p *filterParser) term() (t term, err error) {
	t.not = p.take('-')
	start := p.at
	if p.at < len(p.expr) && p.expr[p.at] == '"' {
		t.word, err = p.text()
		if err == nil && t.word == "" {
			err = p.errorf(start, "the text is empty")
		}
		t.word = strings.ToLower(t.word)
		return t, err
	}
	name := p.until(` ":`)
	if p.take(':') {
		t.path = strings.Split(name, ".")
		for _, field := range t.path {
			if field == "" {
				return t, p.errorf(start, "a field before the colon has no name")
			}
		}
		return t, p.comparison(&t)
	}
	switch {
	case p.at < len(p.expr) && p.expr[p.at] == '"':
		return t, p.errorf(p.at, "a quote within a word")
	case name == "":
		return t, p.errorf(start, "a term is missing after the minus")
	}
	t.word = strings.ToLower(name)
	return t, nil
}

// comparison reads what follows the colon of a term.
func (p *filterParser) comparison(t *term) (err error) {
	t.op = '='
	switch {
	case p.take('<'):
		t.op = '<'
	case p.take('>'):
		t.op = '>'
	}
	start := p.at
	if p.at == len(p.expr) || p.expr[p.at] == ' ' {
		return p.errorf(start, "a value is missing")
	}
	if t.text, err = p.text(); err != nil {
		return err
	}
	switch {
	case isNumber(t.text):
		t.num = numberOf(t.text)
	case t.op != '=':
		return p.errorf(start, "this is no number")
	}
	return nil
}

// text reads a text, with quotes or up to the next space.
func (p *filterParser) text() (string, error) {
	start := p.at
	if !p.take('"') {
		text := p.until(` "`)
		if p.at < len(p.expr) && p.expr[p.at] == '"' {
			return "", p.errorf(p.at, "a quote within a value")
		}
		return text, nil
	}
	text := p.until(`"`)
	switch {
	case !p.take('"'):
		return "", p.errorf(start, "the quote is not closed")
	case p.at < len(p.expr) && p.expr[p.at] != ' ':
		return "", p.errorf(p.at, "a space is missing after the quote")
	}
	return text, nil
}

// isNumber reports whether a text is a number of JSON.
func isNumber(text string) bool {
	return text != "" && text == strings.TrimSpace(text) && (text[0] == '-' || text[0] >= '0' && text[0] <= '9') && json.Valid([]byte(text))
}

// numberOf reads a number of JSON.
func numberOf(text string) number {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return number{float64(n), n, 'w'}
	}
	f, _ := strconv.ParseFloat(text, 64) // one that is too large is infinite
	return number{float: f, kind: 'f'}
}

// compare returns -1, 0 or 1.
func (n number) compare(m number) int {
	if n.kind == 'w' && m.kind == 'w' {
		return cmp.Compare(n.whole, m.whole)
	}
	return cmp.Compare(n.float, m.float)
}

// matches reports whether an event is to be sent.
func (f *filter) matches(e *frame) bool {
	if f == nil {
		return true
	}
	for i := range f.terms {
		if t := &f.terms[i]; t.holds(e) == t.not {
			return false
		}
	}
	return true
}

// holds reports whether a term holds, but for the minus.
func (t *term) holds(e *frame) bool {
	if t.path == nil {
		return strings.Contains(e.lower(), t.word)
	}
	return t.finds(e.value(), t.path)
}

// finds looks at what a path leads to, through all elements of arrays. It visits no value
// more than once.
func (t *term) finds(v any, path []string) bool {
	switch v := v.(type) {
	case []any:
		for _, element := range v {
			if t.finds(element, path) {
				return true
			}
		}
		return false
	case map[string]any:
		if len(path) == 0 {
			return false
		}
		field, ok := v[path[0]]
		return ok && t.finds(field, path[1:])
	}
	return len(path) == 0 && t.is(v)
}

// is compares a value that is neither an array nor an object.
func (t *term) is(v any) bool {
	switch v := v.(type) {
	case string:
		return t.op == '=' && v == t.text
	case bool:
		return t.op == '=' && strconv.FormatBool(v) == t.text
	case json.Number:
		if t.num.kind == 0 {
			return false
		}
		n := numberOf(v.String()).compare(t.num)
		return t.op == '=' && n == 0 || t.op == '<' && n < 0 || t.op == '>' && n > 0
	}
	return false
}
