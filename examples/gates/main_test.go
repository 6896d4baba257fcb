package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/graphtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestText(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), nil, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	golden := filepath.Join("testdata", "ann.golden")
	if *update {
		if err := os.WriteFile(golden, stdout.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), stdout.String()); diff != "" {
		t.Errorf("the report has changed; go test ./examples/gates -update accepts it (-want +got):\n%s", diff)
	}
}

// TestJSON checks what the cache saved: everything the second time, and after a change
// all but what the change touched.
func TestJSON(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"-user", "cid", "-json"}, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	var got struct {
		User   string
		Before []struct {
			Gate, Why string
			On        bool
		}
		Evaluations []struct {
			What       string
			Decisions  int
			On         int
			StoreReads int `json:"store_reads"`
			CacheHits  int `json:"cache_hits"`
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.User != "cid" || len(got.Before) != 6 || got.Before[0].Gate != "checkout-v2" || got.Before[0].On {
		t.Errorf("gates of %s: %+v, want six, and checkout-v2 off, for cid has left the beta test", got.User, got.Before)
	}
	if len(got.Evaluations) != 8 {
		t.Fatalf("%d evaluations, want 8", len(got.Evaluations))
	}
	without, empty, again := got.Evaluations[0], got.Evaluations[1], got.Evaluations[2]
	if without.StoreReads < 6*without.Decisions || without.CacheHits != 0 {
		t.Errorf("without a cache everything is read: %+v", without)
	}
	if empty.StoreReads > without.StoreReads/20 {
		t.Errorf("with a cache little is read more than once: %+v", empty)
	}
	if again.StoreReads != 0 || again.CacheHits == 0 {
		t.Errorf("the second time the cache answers: %+v", again)
	}
	if without.On != empty.On || empty.On != again.On {
		t.Errorf("the cache changes the answers: %+v, %+v, %+v", without, empty, again)
	}
	for i, e := range got.Evaluations[3:7] {
		if e.StoreReads == 0 || e.StoreReads > 8 {
			t.Errorf("a change touches little: %+v", e)
		}
		if e.On == got.Evaluations[i+2].On {
			t.Errorf("the evaluations do not see a change: %+v", e)
		}
	}
	if last := got.Evaluations[7]; last.StoreReads != 0 || last.On != got.Evaluations[6].On {
		t.Errorf("what was refused touches nothing: %+v", last)
	}
}

func TestExitCodes(t *testing.T) {
	tests := []struct {
		name   string
		args   []string
		code   int
		stderr string // must contain
	}{
		{"unknown user", []string{"-user", "zoe"}, 2, `no such user: "zoe"`},
		{"unknown user, for a program", []string{"-user", "zoe", "-json"}, 2, `no such user: "zoe"`},
		{"no user", []string{"-user", ""}, 2, `no such user: ""`},
		{"no such flag", []string{"-gate", "wallet"}, 2, "-gate"},
		{"argument", []string{"ann"}, 2, `unexpected argument "ann"`},
		{"help", []string{"-h"}, 0, "-user"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(t.Context(), tt.args, &stdout, &stderr); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if !strings.Contains(stderr.String(), tt.stderr) {
				t.Errorf("stderr does not say %q:\n%s", tt.stderr, &stderr)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout should be empty:\n%s", &stdout)
			}
		})
	}
}

func TestDecide(t *testing.T) {
	staff, beta := &Segment{ID: "staff"}, &Segment{ID: "beta"}
	on := &Rule{Note: "on", On: true, Percent: 100}
	off := &Rule{Note: "off", Percent: 100}
	forStaff := &Rule{Note: "staff or beta", On: true, Percent: 100, Segments: []*Segment{staff, beta}}
	tests := []struct {
		name string
		gate Gate
		user User
		want Decision
	}{
		{"no rules", Gate{}, User{}, Decision{Why: "no rule applies"}},
		{"the first rule decides", Gate{Rules: []*Rule{off, on}}, User{}, Decision{Why: "off"}},
		{"a killed gate has no rules", Gate{Killed: true, Rules: []*Rule{on}}, User{}, Decision{Why: "killed"}},
		{"in one of the segments", Gate{Rules: []*Rule{forStaff}}, User{Segments: []*Segment{beta}}, Decision{On: true, Why: "staff or beta"}},
		{"in none of them", Gate{Rules: []*Rule{forStaff}}, User{}, Decision{Why: "no rule applies"}},
		{"nobody", Gate{Rules: []*Rule{{On: true, Percent: 0}}}, User{}, Decision{Why: "no rule applies"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := decide(&tt.gate, &tt.user); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// TestBucket checks that a rollout spreads evenly, over each gate in its own way.
func TestBucket(t *testing.T) {
	const n = 10_000
	tenth, both := 0, 0
	for i := range n {
		user := graphcache.ID[User](fmt.Sprint("user", i))
		first, second := bucket("first", user) < 10, bucket("second", user) < 10
		if first {
			tenth++
		}
		if first && second {
			both++
		}
	}
	if tenth < n*9/100 || tenth > n*11/100 {
		t.Errorf("10 %% of %d users are %d", n, tenth)
	}
	if both < n/200 || both > n*2/100 {
		t.Errorf("10 %% of 10 %% of %d users are %d", n, both)
	}
	if got := bucket("checkout-v2", "ann"); got != 55 {
		t.Errorf("the bucket of ann is %d: a change of the hash changes the features of everybody", got)
	}
}

// newGraph returns a graph that is filled.
func newGraph(t *testing.T) *graphcache.Graph {
	t.Helper()
	g := graphtest.New(t, Schema)
	if err := seed(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	return g
}

// mustEvaluate returns what a gate is for a user.
func mustEvaluate(t *testing.T, c graphcache.Conn, gate string, user graphcache.ID[User]) Decision {
	t.Helper()
	d, err := evaluate(t.Context(), c, gate, user)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestRollOut checks that nobody loses a feature when more people get it.
func TestRollOut(t *testing.T) {
	g := newGraph(t)
	on := map[graphcache.ID[User]]bool{}
	for _, percent := range []int{10, 30, 100} {
		if err := rollOut(t.Context(), g, "checkout-v2", 2, percent); err != nil {
			t.Fatal(err)
		}
		before := len(on)
		for i := range users {
			switch d := mustEvaluate(t, g, "checkout-v2", userID(i)); {
			case d.On:
				on[userID(i)] = true
			case on[userID(i)]:
				t.Errorf("%s has lost the feature at %d %%", userID(i), percent)
			}
		}
		if len(on) <= before {
			t.Errorf("at %d %% %d users have the feature, before %d", percent, len(on), before)
		}
	}
	if len(on) != users {
		t.Errorf("at 100 %% %d of %d users have the feature", len(on), users)
	}
	if err := rollOut(t.Context(), g, "checkout-v2", 2, 101); err == nil {
		t.Error("101 % was accepted")
	}
	if err := rollOut(t.Context(), g, "checkout-v2", 9, 1); !errors.Is(err, graphcache.ErrNotFound) {
		t.Errorf("a rule that is not there: %v, want ErrNotFound", err)
	}
}

// TestKill checks that the next evaluation sees a kill, and that one in a transaction
// that does not commit sees it too, and nobody else.
func TestKill(t *testing.T) {
	g := newGraph(t)
	changedMind := errors.New("changed my mind")
	err := g.Tx(t.Context(), func(tx *graphcache.Tx) error {
		if err := kill(t.Context(), tx, "dark-mode"); err != nil {
			return err
		}
		if d := mustEvaluate(t, tx, "dark-mode", "ann"); d.On {
			t.Errorf("in the transaction the gate is %v", d)
		}
		return changedMind
	})
	if !errors.Is(err, changedMind) {
		t.Fatal(err)
	}
	if d := mustEvaluate(t, g, "dark-mode", "ann"); !d.On {
		t.Errorf("the gate is %v, want on: the kill was rolled back", d)
	}
	if err := kill(t.Context(), g, "dark-mode"); err != nil {
		t.Fatal(err)
	}
	if d := mustEvaluate(t, g, "dark-mode", "ann"); d.On {
		t.Errorf("the gate is %v, want off", d)
	}
	if err := kill(t.Context(), g, "no-such-gate"); !errors.Is(err, graphcache.ErrNotFound) {
		t.Errorf("no such gate: %v, want ErrNotFound", err)
	}
}

func TestEvaluateUnknown(t *testing.T) {
	g := newGraph(t)
	for _, tt := range []struct {
		gate string
		user graphcache.ID[User]
	}{{"no-such-gate", "ann"}, {"wallet", "zoe"}} {
		if _, err := evaluate(t.Context(), g, tt.gate, tt.user); !errors.Is(err, graphcache.ErrNotFound) {
			t.Errorf("%s for %s: %v, want ErrNotFound", tt.gate, tt.user, err)
		}
	}
}

// TestCreateGate checks that a gate is created with all of its rules or not at all.
func TestCreateGate(t *testing.T) {
	g := newGraph(t)
	rules := func() int {
		n, err := Rules.Where().Count(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := rules()
	everybody := newRule{Rule{On: true, Percent: 100}, nil}
	if err := createGate(t.Context(), g, &Gate{Name: "wallet"}, everybody); !errors.Is(err, graphcache.ErrExists) {
		t.Errorf("a name that is taken: %v, want ErrExists", err)
	}
	missing := newRule{Rule{On: true, Percent: 100}, []graphcache.ID[Segment]{"no-such-segment"}}
	if err := createGate(t.Context(), g, &Gate{Name: "new"}, everybody, missing); !errors.Is(err, graphcache.ErrNotFound) {
		t.Errorf("a segment that is not there: %v, want ErrNotFound", err)
	}
	if n := rules(); n != before {
		t.Errorf("%d rules were left behind", n-before)
	}
	if err := createGate(t.Context(), g, &Gate{Name: "new"}, everybody); err != nil {
		t.Errorf("the name of a gate that was not created is taken: %v", err)
	}
	if d := mustEvaluate(t, g, "new", "ann"); !d.On {
		t.Errorf("the new gate is %v, want on", d)
	}
}

func TestEndExperiments(t *testing.T) {
	g := newGraph(t)
	for _, want := range []int{2, 0} { // ended ones are not ended again
		if n, err := endExperiments(t.Context(), g, "growth"); err != nil || n != want {
			t.Errorf("%d experiments ended, %v; want %d", n, err, want)
		}
	}
	for gate, want := range map[string]string{"referrals": "killed", "new-onboarding": "killed", "one-click": "rollout, 50 %"} {
		if d := mustEvaluate(t, g, gate, "ann"); d.Why != want {
			t.Errorf("%s: %v, want %q", gate, d, want)
		}
	}
}
