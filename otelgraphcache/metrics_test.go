package otelgraphcache

import (
	"context"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
)

type user struct {
	ID   graphcache.ID[user] `json:"id"`
	Name string              `json:"name"`
}

var (
	users  = graphcache.NewObjectKind[user]("user")
	schema = graphcache.NewSchema(users)
)

// open returns a graph in which ann is cached after one miss.
func open(t *testing.T, tracer graphcache.Tracer) *graphcache.Graph {
	t.Helper()
	g, err := graphcache.Open(t.Context(), schema, memory.NewStore(nil), &graphcache.Options{Cache: memory.NewCache(nil), Tracer: tracer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close(context.Background()) })
	if err := users.Create(t.Context(), g, &user{ID: "ann"}); err != nil {
		t.Fatal(err)
	}
	if _, err := users.Get(t.Context(), g, "ann"); err != nil {
		t.Fatal(err)
	}
	if err := g.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestMetricsAreAll: each numeric field of the structs is in one metric, and each metric
// is of one field.
func TestMetricsAreAll(t *testing.T) {
	ofGraph := func(s *graphcache.Stats) (names []string) {
		for _, m := range graphCounts {
			if m.of(s) != 0 {
				names = append(names, m.name)
			}
		}
		for _, m := range gauges {
			if m.of(s) != 0 {
				names = append(names, m.name)
			}
		}
		return names
	}
	near := reflect.TypeFor[graphcache.NearStats]().NumField()
	mapped := fieldsOf(t, len(graphCounts)+len(gauges)-near, ofGraph)
	mapped = append(mapped, fieldsOf(t, near, func(n *graphcache.NearStats) []string {
		return ofGraph(&graphcache.Stats{Near: *n})
	})...)
	mapped = append(mapped, fieldsOf(t, len(kindCounts), func(s *graphcache.KindStats) (names []string) {
		for _, m := range kindCounts {
			if m.of(s) != 0 {
				names = append(names, m.name)
			}
		}
		return names
	})...)
	wellFormed := regexp.MustCompile(`^graphcache\.[a-z]+\.[a-z]+(_[a-z]+)*$`)
	for i, name := range mapped {
		if !wellFormed.MatchString(name) || slices.Contains(mapped[:i], name) {
			t.Errorf("the name %q is malformed, or taken", name)
		}
	}
}

// fieldsOf sets one numeric field of S after the other, and returns the metrics that have
// them, of which there are to be n.
func fieldsOf[S any](t *testing.T, n int, metrics func(*S) []string) (mapped []string) {
	t.Helper()
	typ := reflect.TypeFor[S]()
	for i := range typ.NumField() {
		var s S
		f := reflect.ValueOf(&s).Elem().Field(i)
		switch {
		case f.CanInt():
			f.SetInt(int64(time.Second))
		case f.CanUint():
			f.SetUint(1)
		case f.CanFloat():
			f.SetFloat(1)
		case f.Kind() == reflect.Bool:
			f.SetBool(true)
		case typ.Field(i).Name == "Kinds", typ.Field(i).Name == "Near":
			continue // they have their turn
		default:
			t.Errorf("%v.%s is no number: what is to become of it?", typ, typ.Field(i).Name)
			continue
		}
		names := metrics(&s)
		if len(names) != 1 {
			t.Errorf("%v.%s is in the metrics %q, want one", typ, typ.Field(i).Name, names)
		}
		mapped = append(mapped, names...)
	}
	if len(mapped) != n {
		t.Errorf("%v: %d fields for %d metrics", typ, len(mapped), n)
	}
	return mapped
}

// collect returns the values of all metrics, by name and kind.
func collect(t *testing.T, r metric.Reader) map[string]float64 {
	t.Helper()
	var data metricdata.ResourceMetrics
	if err := r.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	add := func(name string, attrs attribute.Set, v float64) {
		if kind, ok := attrs.Value(kindKey); ok {
			name += " " + kind.AsString()
		}
		if of, ok := attrs.Value("graph"); ok {
			name += " of " + of.AsString()
		}
		values[name] = v
	}
	for _, s := range data.ScopeMetrics {
		if s.Scope.Name != scope {
			t.Errorf("scope %q", s.Scope.Name)
		}
		for _, m := range s.Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				if !d.IsMonotonic || d.Temporality != metricdata.CumulativeTemporality {
					t.Errorf("%s is no count", m.Name)
				}
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, float64(p.Value))
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					add(m.Name, p.Attributes, p.Value)
				}
			default:
				t.Errorf("%s is a %T", m.Name, m.Data)
			}
			if m.Unit == "" || m.Description == "" {
				t.Errorf("%s has the unit %q and the description %q", m.Name, m.Unit, m.Description)
			}
		}
	}
	return values
}

func TestRegister(t *testing.T) {
	r := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(r))
	one, two := open(t, nil), open(t, nil)
	stop, err := Register(one, provider, attribute.String("graph", "one"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Register(two, provider, attribute.String("graph", "two")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := users.Get(t.Context(), one, "ann"); err != nil {
			t.Fatal(err)
		}
	}
	got := collect(t, r)
	for name, want := range map[string]float64{
		"graphcache.cache.hits user of one":    3,
		"graphcache.cache.misses user of one":  1,
		"graphcache.write.records user of one": 1,
		"graphcache.cache.hits user of two":    0,
		"graphcache.store.writes of two":       1,
		"graphcache.journal.entries of one":    0,
	} {
		if n, ok := got[name]; n != want || !ok {
			t.Errorf("%s is %v (%v), want %v", name, n, ok, want)
		}
	}
	if n := 2 * (len(graphCounts) + len(gauges) + len(kindCounts)); len(got) != n {
		t.Errorf("%d metrics, want %d: %v", len(got), n, got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := collect(t, r); len(got) != len(graphCounts)+len(gauges)+len(kindCounts) {
		t.Errorf("after one has stopped: %v", got)
	}
}

// TestRegisterNowhere: without a provider of its own it reports to the global one, which
// may do nothing.
func TestRegisterNowhere(t *testing.T) {
	g := open(t, nil)
	for _, stop := range []func() (func() error, error){
		func() (func() error, error) { return Register(g, nil) },
		func() (func() error, error) { return Register(g, noop.NewMeterProvider()) },
	} {
		stop, err := stop()
		if err != nil {
			t.Fatal(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
