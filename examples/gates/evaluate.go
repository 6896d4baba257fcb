package main

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/graphcache/graphcache"
)

// Decision is what a gate is for a user, and why.
type Decision struct {
	Gate string `json:"gate"`
	On   bool   `json:"on"`
	Why  string `json:"why"`
}

// evaluate decides one gate for a user. Nothing in it knows of the cache, which
// answers nearly all of it: called in a transaction it decides by what is in the
// store. The error wraps graphcache.ErrNotFound if there is no such gate or user.
func evaluate(ctx context.Context, c graphcache.Conn, gate string, user graphcache.ID[User]) (Decision, error) {
	u, err := findUser(ctx, c, user)
	if err != nil {
		return Decision{}, err
	}
	g, err := gatesFor(u).Where(GateName.Eq(gate)).Only(ctx, c)
	if err != nil {
		return Decision{}, err
	}
	return decide(g, u), nil
}

// evaluateAll decides all gates for a user, by name: what a client asks for when it
// starts.
func evaluateAll(ctx context.Context, c graphcache.Conn, user graphcache.ID[User]) ([]Decision, error) {
	u, err := findUser(ctx, c, user)
	if err != nil {
		return nil, err
	}
	var all []Decision
	for g, err := range gatesFor(u).OrderBy(GateName.Asc()).Iter(ctx, c) {
		if err != nil {
			return nil, err
		}
		all = append(all, decide(g, u))
	}
	return all, nil
}

// findUser returns the user with the segments that she is in and has not left.
func findUser(ctx context.Context, c graphcache.Conn, id graphcache.ID[User]) (*User, error) {
	segments := MemberOf.OutInto(func(u *User, s []*Segment) { u.Segments = s }).WhereEdge(OptedOut.Eq(false))
	return Users.ByID(id).With(segments).Only(ctx, c)
}

// gatesFor finds gates, each with the rules that may apply to the user, and those with
// their segments. It takes a batch for each of these levels, however many there are.
func gatesFor(u *User) graphcache.Query[Gate, graphcache.NoEdge] {
	segments := IsFor.OutInto(func(r *Rule, s []*Segment) { r.Segments = s })
	rules := HasRule.OutInto(func(g *Gate, r []*Rule) { g.Rules = r }).
		Where(Country.In("", u.Country), MinVersion.Le(u.Version)).
		OrderByEdge(Position.Asc()).
		With(segments)
	return Gates.Where().With(rules)
}

// decide is the decision itself, a function of what was read.
func decide(g *Gate, u *User) Decision {
	if g.Killed {
		return Decision{Gate: g.Name, Why: "killed"}
	}
	for _, r := range g.Rules {
		if r.isFor(u) && bucket(g.Name, u.ID) < r.Percent {
			return Decision{Gate: g.Name, On: r.On, Why: r.String()}
		}
	}
	return Decision{Gate: g.Name, Why: "no rule applies"}
}

// String says what the rule is for.
func (r *Rule) String() string {
	if r.Percent == 100 {
		return r.Note
	}
	return fmt.Sprintf("%s, %d %%", r.Note, r.Percent)
}

// isFor reports whether the user is in one of the rule's segments, or it has none.
func (r *Rule) isFor(u *User) bool {
	for _, s := range r.Segments {
		for _, of := range u.Segments {
			if s.ID == of.ID {
				return true
			}
		}
	}
	return len(r.Segments) == 0
}

// bucket returns a number from 0 to 99 that is always the same for a user and a gate.
// A rollout that goes from 10 % to 50 % so keeps those who have the feature, and two
// gates at 10 % are not on for the same users.
func bucket(gate string, user graphcache.ID[User]) int {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s\x00%s", gate, user)
	return int(h.Sum64() % 100)
}
