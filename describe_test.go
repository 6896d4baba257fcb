package graphcache

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/graphcache/graphcache/driver"
)

type describedPart struct {
	Inner string
	Deep  struct{ Flag bool }
	Next  *describedPart
}

type describedThing struct {
	ID    ID[describedThing] `json:"id"`
	Name  string             `json:"name" graph:"was=title,unique"`
	Count *int8
	Tags  []string `graph:"index"`
	At    time.Time
	Data  []byte
	Part  describedPart `graph:"was=piece"`
	Ratio float32
	Opt   *describedPart
	Votes map[string]int
}

// TestDescribe: a kind that is read from its description has the columns of the kind, and
// everything else that a check needs.
func TestDescribe(t *testing.T) {
	things := NewObjectKind[describedThing]("thing").CacheScans()
	k := things.core
	text := k.describe()
	if text != k.describe() || text == "" {
		t.Fatalf("descriptions %q", text)
	}
	d, err := readDescription("thing", text)
	if err != nil {
		t.Fatal(err)
	}
	if d.edge != nil || !d.object.scans || d.plan.Fingerprint() != k.plan.Fingerprint() {
		t.Errorf("read as %+v", d)
	}
	columns := func(all map[string]*column) map[string]driver.Column {
		plain := map[string]driver.Column{}
		for key, c := range all {
			plain[key] = c.Column
		}
		return plain
	}
	if diff := cmp.Diff(columns(k.columnsOf()), columns(d.columns), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("columns (-want +got):\n%s", diff)
	}
	if n := len(d.columns); n != 9 { // the ID and those that are compared
		t.Errorf("%d columns", n)
	}
	rates := NewEdgeKind[describedPart]("rates", things, things).Symmetric().Family("opinions")
	e, err := readDescription("rates", rates.core.describe())
	if err != nil {
		t.Fatal(err)
	}
	if e.edge == nil || e.From != "thing" || e.To != "thing" || !e.edge.symmetric || e.edge.toOne || e.edge.family != "opinions" || e.plan.Fingerprint() != rates.core.plan.Fingerprint() {
		t.Errorf("read as %+v", e)
	}
}

// TestDescribeMalformed: what is no description is an error, and so are kinds that make no
// schema.
func TestDescribeMalformed(t *testing.T) {
	good := NewObjectKind[describedThing]("thing").core.describe()
	for name, text := range map[string]string{
		"nothing": "", "an array": "[]", "no plan": `{"format":1}`, "another format": strings.Replace(good, `"format":1`, `"format":2`, 1),
		"one end": strings.Replace(good, `"format":1`, `"format":1,"to":"a"`, 1), "a column": strings.Replace(good, `"path":["`, `"path":[],"x":["`, 1),
		"a zero": strings.Replace(good, `"zero":"`, `"zero":"AAAA`, 1),
	} {
		if d, err := readDescription("thing", text); err == nil {
			t.Errorf("%s: read as %+v", name, d)
		}
	}
	if _, err := readDescription("a thing", good); err == nil {
		t.Error("a name that is none is read")
	}
	things := NewObjectKind[describedThing]("thing")
	rates := NewEdgeKind[NoData]("rates", things, things).core.describe()
	spec := func(kind, text string) driver.RegistryEntry {
		return driver.RegistryEntry{Kind: kind, Spec: describedSpec(text)}
	}
	for name, entries := range map[string][]driver.RegistryEntry{
		"none": nil, "a bare one": {{Kind: "thing", Spec: string(appendSpec(specKind, 0))}}, "too long a one": {spec("thing", "")},
		"no ends": {spec("rates", rates)}, "two sorts": {spec("thing", good), spec("thing", rates)},
		"garbage": {spec("thing", "{}")},
	} {
		kinds, err := readDescriptions(entries)
		if err == nil {
			_, err = schemaOf(kinds)
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// FuzzReadDescription: any text is a description or an error, and one that is read makes
// a kind that can be used.
func FuzzReadDescription(f *testing.F) {
	things := NewObjectKind[describedThing]("thing")
	f.Add(things.core.describe())
	f.Add(NewEdgeKind[describedPart]("rates", things, things).core.describe())
	f.Add(`{"format":1,"plan":{"format":1,"nodes":[{"form":15}]},"columns":[{"path":["a"],"zero":"wA=="}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := readDescription("thing", text)
		if err == nil {
			_, _ = d.plan.Encode(nil, driver.Document{{Name: "name", Value: "a"}, {Name: "Next", Value: driver.Document{}}})
		}
	})
}

// FuzzFragmentRequest: any keys are those of a request, which has the same keys, or of none.
func FuzzFragmentRequest(f *testing.F) {
	things := NewObjectKind[describedThing]("thing")
	rates := NewEdgeKind[describedPart]("rates", things, things)
	names := StringFieldOf(things, func(d *describedThing) *string { return &d.Name })
	ratios := OrderedFieldOf(things, func(d *describedThing) *float32 { return &d.Ratio })
	schema := NewSchema(things, rates, NewIndex("name_ratio", things, names, ratios))
	g := newChecked(schema, nil, nil).bind(nil, keyspace{"db", "ns"})
	c := &checker{g: g, columns: map[string]map[string]*column{}, layouts: map[layoutKey]*boundKind{}}
	k, e := g.kinds["thing"], g.kinds["rates"]
	ix := schema.indexes[0]
	where := things.Where(names.Eq("a"), Or(ratios.Gt(1), Not(names.HasPrefix("b")))).OrderBy(ratios.Desc()).Limit(7).src.last
	where.after = []driver.Value{1.5, "id"}
	seeds := []request{
		k.objectRequest("a"), e.listRequest(driver.Out, "a", span{}), e.spanRequest(driver.In, "a", span{high: bound{5, true}, limit: 9}),
		e.countRequest(driver.Out, "a", span{low: bound{-5, true}}), e.endRequest(driver.In, "a", "b"),
		k.indexRequest(ix, []driver.Value{"a"}), k.indexRequest(ix, []driver.Value{"a", 2.0}),
		k.searchRequest(kindAnchor, "", &where, false), k.searchRequest(kindAnchor, "", &where, true),
		k.searchRequest(indexAnchor, ix.anchorID([]driver.Value{"a", 1.5}), &where, false),
	}
	foreign := k.objectRequest("a")
	foreign.field = field{typ: foreignField, fingerprint: k.fingerprint}.key()
	f.Add("\x95\xa2db\xa2ns\xd0\x03\xa5rates\xa10", "") // a number in another encoding
	seeds = append(seeds, foreign)
	name(seeds)
	for _, r := range seeds {
		f.Add(r.anchor, r.field)
		_, a, err := readAnchor(r.anchor)
		if err != nil {
			f.Fatal(err)
		}
		if _, skip := c.fragmentRequest(driver.Lookup{Anchor: r.anchor, Field: r.field}, a); skip != "" {
			f.Errorf("the request for %s of %s is not found: %s", r.describe().Fragment, r.describe().AnchorKey, skip)
		}
	}
	f.Fuzz(func(t *testing.T, anchor, field string) {
		space, a, err := readAnchor(anchor)
		if err != nil || space != g.space {
			return
		}
		r, skip := c.fragmentRequest(driver.Lookup{Anchor: anchor, Field: field}, a)
		if skip == "" && (r.anchor != anchor || r.field != field) {
			t.Errorf("the request for %x %x is that for %x %x", anchor, field, r.anchor, r.field)
		}
		if skip == "" {
			_ = r.anchorWords()
			stepsFor([]*request{&r})
		}
	})
}
