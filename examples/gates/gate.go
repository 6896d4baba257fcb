package main

import "github.com/graphcache/graphcache"

// Gate is a feature that can be on or off. The first of its rules that applies to a
// user says which of the two; if none does, it is off.
type Gate struct {
	ID         graphcache.ID[Gate] `json:"id"`
	Name       string              `json:"name" graph:"unique"`
	Team       string              `json:"team"`
	Experiment bool                `json:"experiment"`
	Killed     bool                `json:"killed"` // off for everybody, whatever the rules say

	Rules []*Rule `json:"-"` // those that may apply to a user, in order
}

// Rule is one step of the decision. It applies to a user who is in one of its
// segments, or to anybody if it has none, and of these to so many percent.
type Rule struct {
	ID         graphcache.ID[Rule] `json:"id"`
	Note       string              `json:"note"`
	On         bool                `json:"on"`          // what it decides
	Percent    int                 `json:"percent"`     // 100 is everybody
	Country    string              `json:"country"`     // only users there, unless it is empty
	MinVersion int                 `json:"min_version"` // only apps of this version or later

	Segments []*Segment `json:"-"`
}

// Segment is a group of users.
type Segment struct {
	ID   graphcache.ID[Segment] `json:"id"`
	Name string                 `json:"name" graph:"unique"`
}

// User is somebody for whom gates are evaluated.
type User struct {
	ID      graphcache.ID[User] `json:"id"`
	Country string              `json:"country"`
	Version int                 `json:"version"` // of the app

	Segments []*Segment `json:"-"`
}

// Place is where a rule stands among those of its gate.
type Place struct {
	Position int `json:"position"`
}

// Membership is that of a user in a segment.
type Membership struct {
	OptedOut bool `json:"opted_out"`
}

// Gates are few and seldom written, and a client asks for all of them at once: their
// searches are cached as a whole.
var (
	Gates    = graphcache.NewObjectKind[Gate]("gate").CacheScans()
	Rules    = graphcache.NewObjectKind[Rule]("rule")
	Segments = graphcache.NewObjectKind[Segment]("segment")
	Users    = graphcache.NewObjectKind[User]("user")

	HasRule  = graphcache.NewEdgeKind[Place]("has_rule", Gates, Rules)
	IsFor    = graphcache.NewEdgeKind[graphcache.NoData]("is_for", Rules, Segments)
	MemberOf = graphcache.NewEdgeKind[Membership]("member_of", Users, Segments)

	Schema = graphcache.NewSchema(Gates, Rules, Segments, Users, HasRule, IsFor, MemberOf)
)

// The fields that queries and changes name.
var (
	GateName   = graphcache.StringFieldOf(Gates, func(g *Gate) *string { return &g.Name })
	Team       = graphcache.StringFieldOf(Gates, func(g *Gate) *string { return &g.Team })
	Experiment = graphcache.FieldOf(Gates, func(g *Gate) *bool { return &g.Experiment })
	Killed     = graphcache.FieldOf(Gates, func(g *Gate) *bool { return &g.Killed })
	Percent    = graphcache.OrderedFieldOf(Rules, func(r *Rule) *int { return &r.Percent })
	Country    = graphcache.StringFieldOf(Rules, func(r *Rule) *string { return &r.Country })
	MinVersion = graphcache.OrderedFieldOf(Rules, func(r *Rule) *int { return &r.MinVersion })
	Position   = graphcache.OrderedFieldOf(HasRule, func(e *graphcache.Edge[Gate, Rule, Place]) *int { return &e.Data.Position })
	OptedOut   = graphcache.FieldOf(MemberOf, func(e *graphcache.Edge[User, Segment, Membership]) *bool { return &e.Data.OptedOut })
)
