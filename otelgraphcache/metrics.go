package otelgraphcache

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/graphcache/graphcache"
)

// scope names this package to OpenTelemetry.
const scope = "github.com/graphcache/graphcache/otelgraphcache"

const (
	kindKey      = attribute.Key("graphcache.kind")
	operationKey = attribute.Key("graphcache.operation")
)

// count is a metric that only grows, of a graph or of a kind.
type count[S any] struct {
	name, unit, description string
	of                      func(*S) int64
}

var graphCounts = []count[graphcache.Stats]{
	{"graphcache.store.reads", "{call}", "Calls of the store that read.", func(s *graphcache.Stats) int64 { return s.StoreReads }},
	{"graphcache.store.writes", "{call}", "Calls of the store that write.", func(s *graphcache.Stats) int64 { return s.StoreWrites }},
	{"graphcache.cache.errors", "{call}", "Calls of the cache that failed or were not answered in time.", func(s *graphcache.Stats) int64 { return s.CacheErrors }},
	{"graphcache.cache.rewinds", "{rewind}", "Times that the cache may have gone back in time, so that all cached values were dropped.", func(s *graphcache.Stats) int64 { return s.CacheRewinds }},
	{"graphcache.ledger.looks", "{look}", "Successful reads of the store's ledger.", func(s *graphcache.Stats) int64 { return s.Looks }},
	{"graphcache.ledger.failed_looks", "{look}", "Reads of the store's ledger that failed.", func(s *graphcache.Stats) int64 { return s.FailedLooks }},
	{"graphcache.journal.owed", "{entry}", "Entries that this process put into the journal.", func(s *graphcache.Stats) int64 { return s.Owed }},
	{"graphcache.journal.drained", "{entry}", "Entries of the journal that this process cleared and removed.", func(s *graphcache.Stats) int64 { return s.Drained }},
	{"graphcache.near.notices", "{anchor}", "Anchors that the near cache was told had changed.", func(s *graphcache.Stats) int64 { return s.Near.Notices }},
	{"graphcache.near.losses", "{loss}", "Times that the near cache may not have been told, so that all of it was dropped.", func(s *graphcache.Stats) int64 { return s.Near.Losses }},
	{"graphcache.foreign.changes", "{change}", "Changes made by something else that were dealt with.", func(s *graphcache.Stats) int64 { return s.ForeignChanges }},
}

var kindCounts = []count[graphcache.KindStats]{
	{"graphcache.near.hits", "{fragment}", "Reads that the near cache answered.", func(s *graphcache.KindStats) int64 { return s.NearHits }},
	{"graphcache.cache.hits", "{fragment}", "Look-ups that the cache answered.", func(s *graphcache.KindStats) int64 { return s.Hits }},
	{"graphcache.cache.misses", "{fragment}", "Look-ups that the cache did not answer.", func(s *graphcache.KindStats) int64 { return s.Misses }},
	{"graphcache.cache.bypasses", "{fragment}", "Reads that went to the store because the cache must not answer them.", func(s *graphcache.KindStats) int64 { return s.Bypasses }},
	{"graphcache.cache.fills", "{fragment}", "Values stored in the cache.", func(s *graphcache.KindStats) int64 { return s.Fills }},
	{"graphcache.cache.refusals", "{fragment}", "Values that were not stored: a write came in between, or they were too large or too many.", func(s *graphcache.KindStats) int64 { return s.Refusals }},
	{"graphcache.cache.corrupt", "{fragment}", "Cached values that could not be read, and were replaced.", func(s *graphcache.KindStats) int64 { return s.Corrupt }},
	{"graphcache.cache.drops", "{drop}", "Times that everything cached of the kind was dropped.", func(s *graphcache.KindStats) int64 { return s.Drops }},
	{"graphcache.load.fragments", "{fragment}", "Fragments read from the store.", func(s *graphcache.KindStats) int64 { return s.Loads }},
	{"graphcache.load.items", "{item}", "Objects and edges in the fragments read from the store.", func(s *graphcache.KindStats) int64 { return s.Items }},
	{"graphcache.load.joins", "{fragment}", "Misses that took the result of a load under way in this process.", func(s *graphcache.KindStats) int64 { return s.Joins }},
	{"graphcache.write.records", "{record}", "Records written.", func(s *graphcache.KindStats) int64 { return s.Writes }},
	{"graphcache.write.conflicts", "{record}", "Attempts at a write that were lost to another writer.", func(s *graphcache.KindStats) int64 { return s.Conflicts }},
	{"graphcache.write.refused", "{write}", "Writes that neither the cache nor the journal took.", func(s *graphcache.KindStats) int64 { return s.RefusedWrites }},
	{"graphcache.write.unheld", "{record}", "Writes that met a record which something else had changed.", func(s *graphcache.KindStats) int64 { return s.Unheld }},
	{"graphcache.hold.lost", "{hold}", "Marks that the cache lost before their write ended.", func(s *graphcache.KindStats) int64 { return s.LostHolds }},
	{"graphcache.hold.abandoned", "{hold}", "Marks that were left to their deadline.", func(s *graphcache.KindStats) int64 { return s.AbandonedHolds }},
}

// gauge is a metric of a graph that goes up and down.
type gauge struct {
	name, unit, description string
	of                      func(*graphcache.Stats) float64
}

var gauges = []gauge{
	{"graphcache.journal.entries", "{entry}", "Entries of the journal that this process knows of.", func(s *graphcache.Stats) float64 { return float64(s.Journal) }},
	{"graphcache.near.entries", "{anchor}", "Anchors of which the near cache has something.", func(s *graphcache.Stats) float64 { return float64(s.Near.Entries) }},
	{"graphcache.near.bytes", "By", "Estimated size of what the near cache has.", func(s *graphcache.Stats) float64 { return float64(s.Near.Bytes) }},
	{"graphcache.near.serving", "1", "1 while the near cache is served, else 0.", func(s *graphcache.Stats) float64 {
		if s.Near.Serving {
			return 1
		}
		return 0
	}},
	{"graphcache.ledger.look_age", "s", "How long ago the last successful read of the store's ledger began.", func(s *graphcache.Stats) float64 { return s.LookAge.Seconds() }},
}

// Register makes metrics of g.Stats() until stop is called. A nil provider is the global
// one. The attributes are added to all of them: with several graphs in one process, each
// needs one that tells it from the others.
func Register(g *graphcache.Graph, provider metric.MeterProvider, attrs ...attribute.KeyValue) (stop func() error, err error) {
	if provider == nil {
		provider = otel.GetMeterProvider()
	}
	r := reporter{g: g, attrs: attrs, of: metric.WithAttributeSet(attribute.NewSet(attrs...))}
	meter := provider.Meter(scope)
	var all []metric.Observable
	r.counts, all = countersOf(meter, graphCounts, all, &err)
	r.kindCounts, all = countersOf(meter, kindCounts, all, &err)
	for _, m := range gauges {
		i, failed := meter.Float64ObservableGauge(m.name, metric.WithUnit(m.unit), metric.WithDescription(m.description))
		err = errors.Join(err, failed)
		r.gauges, all = append(r.gauges, i), append(all, i)
	}
	if err != nil {
		return nil, fmt.Errorf("otelgraphcache: %w", err)
	}
	registration, err := meter.RegisterCallback(r.report, all...)
	if err != nil {
		return nil, fmt.Errorf("otelgraphcache: %w", err)
	}
	return registration.Unregister, nil
}

// countersOf makes the instruments of the counts, and adds them to all.
func countersOf[S any](meter metric.Meter, counts []count[S], all []metric.Observable, err *error) ([]metric.Int64Observable, []metric.Observable) {
	instruments := make([]metric.Int64Observable, len(counts))
	for n, m := range counts {
		i, failed := meter.Int64ObservableCounter(m.name, metric.WithUnit(m.unit), metric.WithDescription(m.description))
		*err = errors.Join(*err, failed)
		instruments[n], all = i, append(all, i)
	}
	return instruments, all
}

// reporter observes one graph.
type reporter struct {
	g                  *graphcache.Graph
	attrs              []attribute.KeyValue
	of                 metric.ObserveOption
	counts, kindCounts []metric.Int64Observable
	gauges             []metric.Float64Observable
}

func (r *reporter) report(_ context.Context, o metric.Observer) error {
	s := r.g.Stats()
	for i, m := range graphCounts {
		o.ObserveInt64(r.counts[i], m.of(&s), r.of)
	}
	for i, m := range gauges {
		o.ObserveFloat64(r.gauges[i], m.of(&s), r.of)
	}
	for name, k := range s.Kinds {
		of := metric.WithAttributes(append(r.attrs[:len(r.attrs):len(r.attrs)], kindKey.String(name))...)
		for i, m := range kindCounts {
			o.ObserveInt64(r.kindCounts[i], m.of(&k), of)
		}
	}
	return nil
}
