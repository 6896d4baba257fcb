package streams

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// frameOf returns the frame of an event that has this JSON.
func frameOf(t testing.TB, data string) *frame {
	t.Helper()
	f := newFrame(&Event[json.RawMessage]{Pos: Pos{1, 2}, Time: time.UnixMilli(3), Data: json.RawMessage(data)}, 1<<20)
	if f.data == nil {
		t.Fatalf("%s: %s", data, f.problem)
	}
	return f
}

func TestFilter(t *testing.T) {
	const data = `{"type":"Click","user":{"name":"Ann Lee","age":41.5,"admin":true},"n":10,"big":9007199254740993,
		"tags":["red","dark blue",7],"items":[{"sku":"a"},{"sku":"b","list":[[1],[2]]}],"none":null,"op":">10","at":"12:30","html":"<a>&b","ü":"Ö"}`
	event := frameOf(t, data)
	for filter, want := range map[string]bool{
		"":                           true,
		"   ":                        true,
		"click":                      true,
		"CLICK ann":                  true,
		"click bob":                  false,
		`"ann lee"`:                  true,
		`"ann  lee"`:                 false,
		`"type"`:                     true,
		"ö":                          true,
		"<a>&b":                      true,
		"type:Click":                 true,
		"type:click":                 false,
		"-type:click":                true,
		"-click":                     false,
		`-"bob"`:                     true,
		"user.name:Ann":              false,
		`user.name:"Ann Lee"`:        true,
		"user.age:41.5":              true,
		"user.age:4.15e1":            true,
		"user.age:>41":               true,
		"user.age:>41.5":             false,
		"user.age:<41.6":             true,
		"user.age:<-1":               false,
		"user.admin:true":            true,
		"user.admin:1":               false,
		"user.age:Ann":               false,
		"user:Ann":                   false,
		"user.name.first:Ann":        false,
		"n:10":                       true,
		"n:10.0":                     true,
		`n:"10"`:                     true,
		"n:>9 n:<11":                 true,
		"n:>10":                      false,
		"big:9007199254740993":       true,
		"big:9007199254740992":       false,
		"big:>9007199254740992":      true,
		"big:<1e400":                 true,
		"tags:red":                   true,
		`tags:"dark blue" -tags:8`:   true,
		"tags:>6":                    true,
		"tags:<7":                    false,
		"items.sku:b":                true,
		"items.sku:c":                false,
		"items.list:2":               true,
		"none:null":                  false,
		"missing:x":                  false,
		"-missing:x":                 true,
		`op:">10"`:                   true,
		"at:12:30":                   true,
		"ü:Ö":                        true,
		"-nothing -bob type:Click":   true,
		"type:Click type:View":       false,
		"-type:View -type:Click":     false,
		strings.Repeat("n:10 ", 16):  true,
		`html:<1`:                    false,
		"user.name:\"Ann Lee\" n:10": true,
	} {
		f, err := parseFilter(filter)
		if err != nil {
			t.Errorf("%s: %v", filter, err)
		} else if got := f.matches(event); got != want {
			t.Errorf("%s: matches is %t", filter, got)
		}
	}
}

// TestFilterProblem filters an event that has no data.
func TestFilterProblem(t *testing.T) {
	e := newFrame(&Event[int]{Problem: "Too large"}, 10)
	for filter, want := range map[string]bool{"large": true, "small": false, "type:x": false, "-type:x": true} {
		f, err := parseFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.matches(e); got != want {
			t.Errorf("%s: matches is %t", filter, got)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for filter, want := range map[string]string{
		strings.Repeat("x", 257):     "257 bytes: at most 256",
		strings.Repeat("x ", 17):     "character 33: this is one term more than 16",
		"\xff":                       "this is not UTF-8",
		"-":                          "character 2: a term is missing after the minus",
		"a - b":                      "character 4: a term is missing after the minus",
		`"two words`:                 "character 1: the quote is not closed",
		`ü "x`:                       "character 3: the quote is not closed",
		`""`:                         "character 1: the text is empty",
		`"a"b`:                       "character 4: a space is missing after the quote",
		`"a":b`:                      "character 4: a space is missing after the quote",
		`a"b"`:                       "character 2: a quote within a word",
		`a:b"c"`:                     "character 4: a quote within a value",
		`a:"b`:                       "character 3: the quote is not closed",
		":x":                         "character 1: a field before the colon has no name",
		"a..b:x":                     "character 1: a field before the colon has no name",
		"-.a:x":                      "character 2: a field before the colon has no name",
		"a:":                         "character 3: a value is missing",
		"a:> b":                      "character 4: a value is missing",
		"a:>b":                       "character 4: this is no number",
		"a:<0x10":                    "character 4: this is no number",
		"a:>=10":                     "character 4: this is no number",
		"a:<Inf":                     "character 4: this is no number",
		"a:>\"10 \"":                 "character 4: this is no number",
		"a:>1_0":                     "character 4: this is no number",
		"word user.age:>true n:<100": "character 16: this is no number",
	} {
		_, err := parseFilter(filter)
		if err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", filter, err, want)
		}
	}
}

func only(t term) *filter { return &filter{terms: []term{t}} }

// FuzzFilter parses anything, and filters anything by it.
func FuzzFilter(f *testing.F) {
	f.Add(`user.name:"Ann Lee" -n:>10 word`, `{"user":{"name":"Ann Lee"},"n":[1,2]}`)
	f.Add(`-a.b.c:<1e999 "x`, `[[[{"a":{"b":[{"c":-1}]}}]]]`)
	f.Add(`a:true`, `{"a":true,"A":null}`)
	f.Fuzz(func(t *testing.T, expr, data string) {
		filter, err := parseFilter(expr)
		if err != nil {
			if filter != nil {
				t.Error("a filter with an error")
			}
			return
		}
		if filter != nil && (len(filter.terms) > maxTerms || len(expr) > maxFilter) {
			t.Errorf("%d terms", len(filter.terms))
		}
		if !json.Valid([]byte(data)) {
			return
		}
		e := newFrame(&Event[json.RawMessage]{Data: json.RawMessage(data)}, 1<<20)
		got := filter.matches(e)
		if filter == nil {
			if !got {
				t.Error("nothing does not match")
			}
			return
		}
		// It matches if each term does, and a term or its negation does.
		want := true
		for _, one := range filter.terms {
			alone := only(one).matches(e)
			one.not = !one.not
			if alone == only(one).matches(e) {
				t.Errorf("%q: a term and its negation agree", expr)
			}
			want = want && alone
		}
		if got != want {
			t.Errorf("%q: matches is %t, its terms %t", expr, got, want)
		}
	})
}
