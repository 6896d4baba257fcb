package main

import (
	"context"
	"fmt"

	"github.com/graphcache/graphcache"
)

// users is how many there are beside those with a name.
const users = 200

// seed fills the graph: segments, users and gates. Every run makes the same.
func seed(ctx context.Context, g *graphcache.Graph) error {
	err := g.CreateAll(ctx,
		&Segment{ID: "staff", Name: "Staff"}, &Segment{ID: "beta", Name: "Beta testers"}, &Segment{ID: "minors", Name: "Under 18"},
		&User{ID: "ann", Country: "DE", Version: 12}, &User{ID: "bob", Country: "US", Version: 12}, &User{ID: "cid", Country: "FR", Version: 9})
	if err != nil {
		return err
	}
	for i := range users {
		u := &User{ID: userID(i), Country: []string{"DE", "FR", "US"}[i%3], Version: 9 + i%4}
		if err := Users.Create(ctx, g, u); err != nil {
			return err
		}
	}
	if err := seedMembers(ctx, g); err != nil {
		return err
	}
	return seedGates(ctx, g)
}

func userID(i int) graphcache.ID[User] { return graphcache.ID[User](fmt.Sprintf("user-%03d", i)) }

// seedMembers puts users into segments. Cid has left the beta test.
func seedMembers(ctx context.Context, g *graphcache.Graph) error {
	type member struct {
		user    graphcache.ID[User]
		segment graphcache.ID[Segment]
		Membership
	}
	members := []member{{"ann", "staff", Membership{}}, {"bob", "beta", Membership{}}, {"cid", "beta", Membership{OptedOut: true}}}
	for i := 0; i < users; i += 20 {
		members = append(members, member{userID(i), "beta", Membership{}}, member{userID(i + 5), "minors", Membership{}})
	}
	for _, m := range members {
		if err := MemberOf.Add(ctx, g, m.user, m.segment, m.Membership); err != nil {
			return err
		}
	}
	return nil
}

// seedGates creates the gates, with rules that are first to last.
func seedGates(ctx context.Context, g *graphcache.Graph) error {
	staff := newRule{Rule{Note: "staff", On: true, Percent: 100}, []graphcache.ID[Segment]{"staff"}}
	beta := newRule{Rule{Note: "beta testers", On: true, Percent: 100}, []graphcache.ID[Segment]{"beta"}}
	minors := newRule{Rule{Note: "not under 18", Percent: 100}, []graphcache.ID[Segment]{"minors"}}
	some := func(percent int) newRule {
		return newRule{Rule{Note: "rollout", On: true, Percent: percent}, nil}
	}
	for _, x := range []struct {
		Gate
		rules []newRule
	}{
		{Gate{Name: "checkout-v2", Team: "payments"}, []newRule{staff, beta, some(10)}},
		{Gate{Name: "one-click", Team: "payments", Experiment: true}, []newRule{minors, some(50)}},
		{Gate{Name: "wallet", Team: "payments"}, []newRule{{Rule{Note: "Germany, from version 11", On: true, Percent: 100, Country: "DE", MinVersion: 11}, nil}}},
		{Gate{Name: "dark-mode", Team: "design"}, []newRule{{Rule{Note: "everybody", On: true, Percent: 100}, nil}}},
		{Gate{Name: "new-onboarding", Team: "growth", Experiment: true}, []newRule{staff, some(30)}},
		{Gate{Name: "referrals", Team: "growth", Experiment: true}, []newRule{minors, some(20)}},
	} {
		if err := createGate(ctx, g, &x.Gate, x.rules...); err != nil {
			return fmt.Errorf("gate %q: %w", x.Name, err)
		}
	}
	return nil
}
