package main

import (
	"context"
	"fmt"

	"github.com/graphcache/graphcache"
)

// newRule is a rule that is to be created, and the segments that it is for.
type newRule struct {
	Rule
	segments []graphcache.ID[Segment]
}

// createGate creates a gate with its rules, all or nothing: nobody evaluates a gate
// half of whose rules are there. The error wraps graphcache.ErrExists if there is a
// gate of that name.
func createGate(ctx context.Context, g *graphcache.Graph, gate *Gate, rules ...newRule) error {
	return g.Tx(ctx, func(tx *graphcache.Tx) error {
		if err := Gates.Create(ctx, tx, gate); err != nil {
			return err
		}
		for i, r := range rules {
			if err := addRule(ctx, tx, gate.ID, i, r); err != nil {
				return err
			}
		}
		return nil
	})
}

// addRule adds a rule to a gate.
func addRule(ctx context.Context, c graphcache.Conn, gate graphcache.ID[Gate], position int, r newRule) error {
	rule := r.Rule
	if err := Rules.Create(ctx, c, &rule); err != nil {
		return err
	}
	for _, s := range r.segments {
		if err := IsFor.Add(ctx, c, rule.ID, s, graphcache.NoData{}); err != nil {
			return err
		}
	}
	return HasRule.Add(ctx, c, gate, rule.ID, Place{Position: position})
}

// kill switches a gate off for everybody. Who asks after kill has returned, in
// whichever process, gets off.
func kill(ctx context.Context, c graphcache.Conn, gate string) error {
	g, err := Gates.Where(GateName.Eq(gate)).Only(ctx, c)
	if err != nil {
		return err
	}
	_, err = Gates.Apply(ctx, c, g.ID, Killed.Set(true))
	return err
}

// rollOut changes the percentage of one of a gate's rules, the first being 0.
func rollOut(ctx context.Context, c graphcache.Conn, gate string, position, percent int) error {
	if percent < 0 || percent > 100 {
		return fmt.Errorf("%d %% is not between 0 and 100", percent)
	}
	rule, err := HasRule.Out(Gates.Where(GateName.Eq(gate))).WhereEdge(Position.Eq(position)).Only(ctx, c)
	if err != nil {
		return err
	}
	_, err = Rules.Apply(ctx, c, rule.ID, Percent.Set(percent))
	return err
}

// endExperiments kills all experiments of a team and returns how many there were.
func endExperiments(ctx context.Context, c graphcache.Conn, team string) (int, error) {
	running := Gates.Where(Team.Eq(team), Experiment.Eq(true), Killed.Eq(false))
	report, err := running.ApplyAll(ctx, c, Killed.Set(true))
	return report.Written, err
}
