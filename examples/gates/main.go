// Gates keeps feature gates and their targeting rules in a graph, evaluates them for
// users, and shows what that reads from the store: at first, again, and after each
// change of a gate, which the next evaluation sees.
//
//	go run ./examples/gates -user ann
//
// What a service would copy is gate.go, the kinds; evaluate.go, the decision; and
// change.go, what is done to gates. seed.go fills the graph, report.go prints.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is the program. It returns the exit code: 2 if the arguments make no sense.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("gates", flag.ContinueOnError)
	flags.SetOutput(stderr)
	user := flags.String("user", "ann", "the `user` whose gates to list: ann, bob, cid, or user-000 to user-199")
	asJSON := flags.Bool("json", false, "print one JSON object")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case flags.NArg() > 0:
		fmt.Fprintf(stderr, "gates: unexpected argument %q\n", flags.Arg(0))
		return 2
	}

	r, err := demonstrate(ctx, graphcache.ID[User](*user))
	if err == nil && *asJSON {
		err = r.writeJSON(stdout)
	} else if err == nil {
		err = r.writeText(stdout)
	}
	switch {
	case errors.Is(err, errUnknownUser):
		fmt.Fprintf(stderr, "gates: %v; there are ann, bob, cid, and user-000 to user-199\n", err)
		return 2
	case err != nil:
		fmt.Fprintf(stderr, "gates: %v\n", err)
		return 1
	}
	return 0
}

var errUnknownUser = errors.New("no such user")

// demonstrate evaluates all gates for all users without a cache, and then with one.
func demonstrate(ctx context.Context, user graphcache.ID[User]) (*report, error) {
	r := &report{User: user}
	err := withGraph(ctx, nil, func(g *graphcache.Graph) (err error) {
		r.Before, err = evaluateAll(ctx, g, user)
		switch {
		case errors.Is(err, graphcache.ErrNotFound), errors.Is(err, graphcache.ErrInvalid): // "" is no ID
			return fmt.Errorf("%w: %q", errUnknownUser, string(user))
		case err != nil:
			return err
		}
		return r.evaluate(ctx, g, "without a cache")
	})
	if err != nil {
		return nil, err
	}
	cache := memory.NewCache(nil)
	// The time-out is long so that the figures do not depend on how busy the machine is.
	options := &graphcache.Options{Cache: cache, ReadTimeout: time.Second}
	err = withGraph(ctx, options, func(g *graphcache.Graph) error { return r.tell(ctx, g) })
	return r, errors.Join(err, cache.Close(ctx))
}

// withGraph calls fn with a graph that is filled.
func withGraph(ctx context.Context, options *graphcache.Options, fn func(*graphcache.Graph) error) (err error) {
	store := memory.NewStore(nil)
	g, err := graphcache.Open(ctx, Schema, store, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close(ctx), store.Close(ctx)) }()
	if err := seed(ctx, g); err != nil {
		return err
	}
	return fn(g)
}

// tell evaluates the gates with an empty cache and with a full one, and then after
// each of a few changes.
func (r *report) tell(ctx context.Context, g *graphcache.Graph) (err error) {
	none := func() error { return nil }
	for _, step := range []struct {
		what   string
		change func() error
	}{
		{"with a cache, which is empty", none},
		{"again", none},
		{"checkout-v2 goes from 10 % to 50 %", func() error { return rollOut(ctx, g, "checkout-v2", 2, 50) }},
		{"one-click is killed", func() error { return kill(ctx, g, "one-click") }},
		{"growth ends its experiments", func() (err error) { r.Ended, err = endExperiments(ctx, g, "growth"); return err }},
		{"gift-cards is created", func() error { return addGiftCards(ctx, g) }},
		{"gift-cards is created twice", func() error { return r.addTwice(ctx, g) }},
	} {
		if err := step.change(); err != nil {
			return err
		}
		if err := r.evaluate(ctx, g, step.what); err != nil {
			return err
		}
	}
	r.After, err = evaluateAll(ctx, g, r.User)
	return err
}

// addGiftCards creates a gate with two rules.
func addGiftCards(ctx context.Context, g *graphcache.Graph) error {
	return createGate(ctx, g, &Gate{Name: "gift-cards", Team: "payments"},
		newRule{Rule{Note: "beta testers", On: true, Percent: 100}, []graphcache.ID[Segment]{"beta"}},
		newRule{Rule{Note: "France", On: true, Percent: 100, Country: "FR"}, nil})
}

// addTwice tries to create a gate of a name that is taken, and counts the rules before
// and after.
func (r *report) addTwice(ctx context.Context, g *graphcache.Graph) (err error) {
	if r.RulesBefore, err = Rules.Where().Count(ctx, g); err != nil {
		return err
	}
	if err := addGiftCards(ctx, g); !errors.Is(err, graphcache.ErrExists) {
		return fmt.Errorf("a second gate of the same name: %w", err)
	}
	r.RulesAfter, err = Rules.Where().Count(ctx, g)
	return err
}

// evaluate evaluates every gate for every user and adds what it costs to the report.
func (r *report) evaluate(ctx context.Context, g *graphcache.Graph, what string) error {
	e, before := evaluation{What: what}, g.Stats()
	gates, err := Gates.Where().OrderBy(GateName.Asc()).All(ctx, g)
	if err != nil {
		return err
	}
	for i := range users {
		for _, gate := range gates {
			// Values that were read from the store go into the cache in the
			// background. A service does not wait for that; who counts should.
			if err := g.Settle(ctx); err != nil {
				return err
			}
			d, err := evaluate(ctx, g, gate.Name, userID(i))
			if err != nil {
				return err
			}
			e.add(d)
		}
	}
	e.count(before, g.Stats())
	r.Evaluations = append(r.Evaluations, e)
	return nil
}
