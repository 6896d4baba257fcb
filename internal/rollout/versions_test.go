package rollout_test

import (
	"math/rand/v2"

	"github.com/graphcache/graphcache"
)

// The versions. All of them call the kind of their objects "part" and that of their edges
// "link".

// scenario is a change of the program, given as its versions, the oldest first.
type scenario struct {
	name     string
	versions []version
	// needs says that a version caches under what another one does not know, so that only
	// the registry keeps that right.
	needs bool
	clash bool // two objects may want the same value of a unique field
}

type (
	chance[X any]  = func(r *rand.Rand) X
	linkData       struct{ Note string }
	linkDataLonger struct {
		Note   string
		Weight int
	}
)

// plain has no index.
type plain struct {
	ID   graphcache.ID[plain]
	City string `json:"city"`
	Rank int    `json:"rank"`
	Note string `json:"note"`
}

// make1 returns a version of plain with the CacheScans and indexes that are asked for.
func make1(name string, scans bool, indexes func(k *graphcache.ObjectKind[plain], city graphcache.StringField[plain, string], rank graphcache.OrderedField[plain, int]) []graphcache.Kind) version {
	k := graphcache.NewObjectKind[plain]("part")
	if scans {
		k = k.CacheScans()
	}
	city := graphcache.StringFieldOf(k, func(o *plain) *string { return &o.City })
	rank := graphcache.OrderedFieldOf(k, func(o *plain) *int { return &o.Rank })
	note := graphcache.StringFieldOf(k, func(o *plain) *string { return &o.Note })
	p := &program[plain, linkData]{
		name: name, kind: k, link: graphcache.NewEdgeKind[linkData]("link", k, k),
		where: []chance[graphcache.Predicate[plain]]{
			func(r *rand.Rand) graphcache.Predicate[plain] { return city.Eq(word(r)) },
			func(r *rand.Rand) graphcache.Predicate[plain] { return city.In(word(r), word(r)) },
			func(r *rand.Rand) graphcache.Predicate[plain] { return rank.Eq(r.IntN(3)) },
			func(r *rand.Rand) graphcache.Predicate[plain] { return rank.Ge(r.IntN(3)) },
			func(r *rand.Rand) graphcache.Predicate[plain] {
				return graphcache.And(city.Eq(word(r)), rank.Eq(r.IntN(3)))
			},
		},
		orders: []graphcache.Order[plain]{rank.Asc(), rank.Desc(), city.Asc()},
		changes: []chance[graphcache.Change[plain]]{
			func(r *rand.Rand) graphcache.Change[plain] { return city.Set(word(r)) },
			func(r *rand.Rand) graphcache.Change[plain] { return rank.Add(r.IntN(2)) },
			func(r *rand.Rand) graphcache.Change[plain] { return note.Set(word(r)) },
		},
	}
	if indexes != nil {
		p.indexes = indexes(k, city, rank)
	}
	return p
}

type (
	plainKind = *graphcache.ObjectKind[plain]
	plainCity = graphcache.StringField[plain, string]
	plainRank = graphcache.OrderedField[plain, int]
)

func byCity(k plainKind, city plainCity, _ plainRank) []graphcache.Kind {
	return []graphcache.Kind{graphcache.NewIndex("place", k, city)}
}

func byRank(k plainKind, _ plainCity, rank plainRank) []graphcache.Kind {
	return []graphcache.Kind{graphcache.NewIndex("place", k, rank)}
}

func byBoth(k plainKind, city plainCity, rank plainRank) []graphcache.Kind {
	return []graphcache.Kind{graphcache.NewIndex("place", k, city, rank)}
}

// renamed has City under another name.
type renamed struct {
	ID   graphcache.ID[renamed]
	Town string `json:"town" graph:"was=city"`
	Rank int    `json:"rank"`
	Note string `json:"note"`
}

func makeRenamed(name string, index, scans bool) version {
	k := graphcache.NewObjectKind[renamed]("part")
	if scans {
		k = k.CacheScans()
	}
	town := graphcache.StringFieldOf(k, func(o *renamed) *string { return &o.Town })
	rank := graphcache.OrderedFieldOf(k, func(o *renamed) *int { return &o.Rank })
	p := &program[renamed, linkData]{
		name: name, kind: k, link: graphcache.NewEdgeKind[linkData]("link", k, k),
		where: []chance[graphcache.Predicate[renamed]]{
			func(r *rand.Rand) graphcache.Predicate[renamed] { return town.Eq(word(r)) },
			func(r *rand.Rand) graphcache.Predicate[renamed] { return town.HasPrefix("a") },
			func(r *rand.Rand) graphcache.Predicate[renamed] {
				return graphcache.And(town.Eq(word(r)), rank.Le(r.IntN(3)))
			},
		},
		orders: []graphcache.Order[renamed]{rank.Asc(), town.Desc()},
		changes: []chance[graphcache.Change[renamed]]{
			func(r *rand.Rand) graphcache.Change[renamed] { return town.Set(word(r)) },
			func(r *rand.Rand) graphcache.Change[renamed] { return rank.Add(r.IntN(2)) },
		},
	}
	if index {
		p.indexes = []graphcache.Kind{graphcache.NewIndex("town", k, town)}
	}
	return p
}

// forgetful has the new name and does not know the old one.
type forgetful struct {
	ID   graphcache.ID[forgetful]
	Town string `json:"town" graph:"index"`
	Rank int    `json:"rank"`
}

func makeForgetful(name string) version {
	k := graphcache.NewObjectKind[forgetful]("part")
	town := graphcache.StringFieldOf(k, func(o *forgetful) *string { return &o.Town })
	rank := graphcache.OrderedFieldOf(k, func(o *forgetful) *int { return &o.Rank })
	return &program[forgetful, linkData]{
		name: name, kind: k, link: graphcache.NewEdgeKind[linkData]("link", k, k),
		where: []chance[graphcache.Predicate[forgetful]]{
			func(r *rand.Rand) graphcache.Predicate[forgetful] { return town.Eq(word(r)) },
			func(r *rand.Rand) graphcache.Predicate[forgetful] { return rank.Eq(r.IntN(3)) },
		},
		orders: []graphcache.Order[forgetful]{rank.Asc(), town.Desc()},
		changes: []chance[graphcache.Change[forgetful]]{
			func(r *rand.Rand) graphcache.Change[forgetful] { return town.Set(word(r)) },
			func(r *rand.Rand) graphcache.Change[forgetful] { return rank.Add(r.IntN(2)) },
		},
	}
}

// colored has an index on a field that plain lacks, and on one that is a slice, and lacks
// Note.
type colored struct {
	ID    graphcache.ID[colored]
	City  string   `json:"city"`
	Rank  int      `json:"rank"`
	Color string   `json:"color"`
	Tags  []string `json:"tags"`
}

func makeColored(name string, color, tags bool) version {
	k := graphcache.NewObjectKind[colored]("part")
	hue := graphcache.StringFieldOf(k, func(o *colored) *string { return &o.Color })
	tag := graphcache.SliceFieldOf(k, func(o *colored) *[]string { return &o.Tags })
	rank := graphcache.OrderedFieldOf(k, func(o *colored) *int { return &o.Rank })
	p := &program[colored, linkDataLonger]{
		name: name, kind: k, link: graphcache.NewEdgeKind[linkDataLonger]("link", k, k),
		where: []chance[graphcache.Predicate[colored]]{
			func(r *rand.Rand) graphcache.Predicate[colored] { return hue.Eq(word(r)) },
			func(r *rand.Rand) graphcache.Predicate[colored] { return tag.Has(word(r)) },
			func(r *rand.Rand) graphcache.Predicate[colored] { return hue.In(word(r), word(r)) },
			func(r *rand.Rand) graphcache.Predicate[colored] {
				return graphcache.And(tag.Has(word(r)), hue.Eq(word(r)))
			},
		},
		orders: []graphcache.Order[colored]{rank.Asc(), hue.Asc()},
		changes: []chance[graphcache.Change[colored]]{
			func(r *rand.Rand) graphcache.Change[colored] { return hue.Set(word(r)) },
			func(r *rand.Rand) graphcache.Change[colored] { return tag.Set([]string{word(r), word(r)}) },
			func(r *rand.Rand) graphcache.Change[colored] { return rank.Add(r.IntN(2)) },
		},
	}
	if color {
		p.indexes = append(p.indexes, graphcache.NewIndex("color", k, hue))
	}
	if tags {
		p.indexes = append(p.indexes, graphcache.NewIndex("tags", k, tag, rank))
	}
	return p
}

// retyped has other types for Rank and City.
type retyped struct {
	ID   graphcache.ID[retyped]
	City *string  `json:"city"`
	Rank float64  `json:"rank"`
	Note []string `json:"notes"`
}

func makeRetyped(name string, index bool) version {
	k := graphcache.NewObjectKind[retyped]("part")
	city := graphcache.OptionalFieldOf(k, func(o *retyped) **string { return &o.City })
	rank := graphcache.OrderedFieldOf(k, func(o *retyped) *float64 { return &o.Rank })
	p := &program[retyped, linkData]{
		name: name, kind: k, link: graphcache.NewEdgeKind[linkData]("link", k, k),
		where: []chance[graphcache.Predicate[retyped]]{
			func(r *rand.Rand) graphcache.Predicate[retyped] { return city.Eq(word(r)) },
			func(r *rand.Rand) graphcache.Predicate[retyped] { return city.IsNil() },
			func(r *rand.Rand) graphcache.Predicate[retyped] { return rank.Eq(float64(r.IntN(3))) },
			func(r *rand.Rand) graphcache.Predicate[retyped] { return rank.Lt(float64(r.IntN(3))) },
		},
		orders: []graphcache.Order[retyped]{rank.Asc(), city.Desc()},
		changes: []chance[graphcache.Change[retyped]]{
			func(r *rand.Rand) graphcache.Change[retyped] { return city.Set(word(r)) },
			func(r *rand.Rand) graphcache.Change[retyped] { return city.Clear() },
			func(r *rand.Rand) graphcache.Change[retyped] { return rank.Add(float64(r.IntN(2))) },
		},
	}
	if index {
		p.indexes = []graphcache.Kind{graphcache.NewIndex("place", k, city, rank), graphcache.NewIndex("rank", k, rank)}
	}
	return p
}

// coded has a field whose values differ, and one further down.
type coded struct {
	ID    graphcache.ID[coded]
	Rank  int     `json:"rank"`
	Code  *string `json:"code"`
	Place struct {
		City string `json:"city"`
	} `json:"place"`
}

func makeCoded(name string, unique, nested bool) version {
	k := graphcache.NewObjectKind[coded]("part")
	code := graphcache.OptionalFieldOf(k, func(o *coded) **string { return &o.Code })
	city := graphcache.StringFieldOf(k, func(o *coded) *string { return &o.Place.City })
	rank := graphcache.OrderedFieldOf(k, func(o *coded) *int { return &o.Rank })
	p := &program[coded, linkData]{
		name: name, kind: k, link: graphcache.NewEdgeKind[linkData]("link", k, k),
		where: []chance[graphcache.Predicate[coded]]{
			func(r *rand.Rand) graphcache.Predicate[coded] { return code.Eq(randomID(r) + word(r)) },
			func(r *rand.Rand) graphcache.Predicate[coded] { return code.Eq(randomID(r) + word(r)) },
			func(r *rand.Rand) graphcache.Predicate[coded] { return city.Eq(word(r)) },
		},
		orders: []graphcache.Order[coded]{rank.Asc(), city.Desc()},
		changes: []chance[graphcache.Change[coded]]{
			func(r *rand.Rand) graphcache.Change[coded] { return code.Clear() },
			func(r *rand.Rand) graphcache.Change[coded] { return city.Set(word(r)) },
			func(r *rand.Rand) graphcache.Change[coded] { return rank.Add(r.IntN(2)) },
		},
	}
	if unique {
		p.indexes = append(p.indexes, graphcache.NewIndex("code", k, code).Unique())
	}
	if nested {
		p.indexes = append(p.indexes, graphcache.NewIndex("city", k, city, rank))
	}
	return p
}

// moved has Place and its City under other names.
type moved struct {
	ID   graphcache.ID[moved]
	Rank int     `json:"rank"`
	Code *string `json:"code"`
	Site struct {
		Town string `json:"town" graph:"was=city"`
	} `json:"site" graph:"was=place"`
}

func makeMoved(name string) version {
	k := graphcache.NewObjectKind[moved]("part")
	town := graphcache.StringFieldOf(k, func(o *moved) *string { return &o.Site.Town })
	rank := graphcache.OrderedFieldOf(k, func(o *moved) *int { return &o.Rank })
	return &program[moved, linkData]{
		name: name, kind: k, link: graphcache.NewEdgeKind[linkData]("link", k, k),
		where: []chance[graphcache.Predicate[moved]]{
			func(r *rand.Rand) graphcache.Predicate[moved] { return town.Eq(word(r)) },
			func(r *rand.Rand) graphcache.Predicate[moved] { return rank.Eq(r.IntN(3)) },
		},
		orders: []graphcache.Order[moved]{rank.Asc(), town.Desc()},
		changes: []chance[graphcache.Change[moved]]{
			func(r *rand.Rand) graphcache.Change[moved] { return town.Set(word(r)) },
			func(r *rand.Rand) graphcache.Change[moved] { return rank.Add(r.IntN(2)) },
		},
		indexes: []graphcache.Kind{graphcache.NewIndex("city", k, town, rank)},
	}
}

// scenarios are the changes. In every one the oldest version may also be the one that a
// rollout is rolled back to.
func scenarios() []scenario {
	bare := func() version { return make1("plain", false, nil) }
	city := func() version { return make1("by city", false, byCity) }
	return []scenario{
		{name: "new index", versions: []version{bare(), city()}, needs: true},
		{name: "removed index", versions: []version{city(), bare()}, needs: true},
		{name: "index on another field", versions: []version{city(), make1("by rank", false, byRank)}, needs: true},
		{name: "compound index", versions: []version{city(), make1("by both", false, byBoth)}, needs: true},
		{name: "CacheScans on", versions: []version{bare(), make1("scans", true, nil)}, needs: true},
		{name: "CacheScans off", versions: []version{make1("scans", true, byCity), city()}, needs: true},
		{name: "renamed field", versions: []version{bare(), makeRenamed("renamed", false, false)}},
		{name: "renamed field with an index", versions: []version{city(), makeRenamed("renamed by town", true, false)}, needs: true},
		{name: "renamed field with CacheScans", versions: []version{city(), makeRenamed("renamed, scans", false, true)}, needs: true},
		{name: "renamed field, forgotten name", versions: []version{city(), makeRenamed("renamed by town", true, false), makeForgetful("forgetful")}, needs: true},
		{name: "added and removed fields", versions: []version{bare(), makeColored("colored", false, false)}},
		{name: "index on a new field", versions: []version{bare(), makeColored("by color", true, false)}, needs: true},
		{name: "index on a new slice", versions: []version{bare(), makeColored("by tags", false, true)}, needs: true},
		{name: "index on a slice", versions: []version{makeColored("colored", false, false), makeColored("by color and tags", true, true)}, needs: true},
		{name: "retyped fields", versions: []version{bare(), makeRetyped("retyped", false)}},
		{name: "retyped fields with an index", versions: []version{make1("by both", false, byBoth), makeRetyped("retyped by place", true)}, needs: true},
		{name: "unique index", versions: []version{makeCoded("coded", false, false), makeCoded("by code", true, false)}, needs: true, clash: true},
		{name: "index on a new unique field", versions: []version{bare(), makeCoded("by code and city", true, true)}, needs: true},
		{name: "index on a field further down", versions: []version{makeCoded("coded", false, false), makeCoded("by city", false, true)}, needs: true},
		{name: "index on a renamed field further down", versions: []version{makeCoded("by city", false, true), makeMoved("moved")}, needs: true},
		{name: "three versions", versions: []version{city(), makeColored("by color", true, false), makeRenamed("renamed by town", true, true)}, needs: true},
	}
}
