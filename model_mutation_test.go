package graphcache_test

import (
	"errors"
	"testing"

	"github.com/graphcache/graphcache"
)

// TestModelMutation takes one anchor at a time away from the writes that touch it,
// and sees that the model notices. So the model would notice an anchor that had
// been forgotten in the first place.
func TestModelMutation(t *testing.T) {
	const (
		object = graphcache.ObjectAnchor
		out    = graphcache.OutAnchor
		in     = graphcache.InAnchor
	)
	// on chooses one anchor type of one kind during one operation.
	on := func(what, kind string, typ graphcache.AnchorType) modelDrop {
		return func(w modelWriting, k string, a graphcache.AnchorType, _ string) bool {
			return w.What == what && k == kind && a == typ
		}
	}
	tests := []struct {
		name  string
		kinds []string
		drop  modelDrop
	}{
		{"create/object", []string{"wrote"}, on("create", "post", object)},
		{"put/object", []string{"follows"}, on("put", "user", object)},
		{"update/object", []string{"lives"}, on("update", "place", object)},
		{"delete/object", []string{"follows"}, on("delete", "user", object)},
		{"delete/far out list", []string{"wrote"}, func(w modelWriting, k string, a graphcache.AnchorType, id string) bool {
			return w.What == "delete" && w.Kind == "post" && k == "wrote" && a == out
		}},
		{"delete/far in list", []string{"wrote"}, func(w modelWriting, k string, a graphcache.AnchorType, id string) bool {
			return w.What == "delete" && w.Kind == "user" && k == "wrote" && a == in
		}},
		{"delete/far symmetric list", []string{"friend"}, func(w modelWriting, k string, a graphcache.AnchorType, id string) bool {
			return w.What == "delete" && k == "friend" && id != w.From
		}},

		{"add/out", []string{"follows"}, on("add", "follows", out)},
		{"add/in", []string{"follows"}, on("add", "follows", in)},
		{"add/out between kinds", []string{"wrote"}, on("add", "wrote", out)},
		{"add/in between kinds", []string{"wrote"}, on("add", "wrote", in)},
		{"add/lesser end", []string{"friend"}, modelSymmetricEnd("add", "friend", modelLesser)},
		{"add/greater end", []string{"friend"}, modelSymmetricEnd("add", "friend", modelGreater)},
		{"add/to-one out", []string{"pinned"}, on("add", "pinned", out)},
		{"add/to-one new target", []string{"pinned"}, func(w modelWriting, k string, a graphcache.AnchorType, id string) bool {
			return w.What == "add" && k == "pinned" && a == in && id == w.To
		}},
		{"add/to-one old target", []string{"pinned"}, modelOldTarget("pinned")},
		{"add/to-one old target of its own kind", []string{"boss"}, modelOldTarget("boss")},

		{"remove/out", []string{"follows"}, on("remove", "follows", out)},
		{"remove/in", []string{"follows"}, on("remove", "follows", in)},
		{"remove/lesser end", []string{"friend"}, modelSymmetricEnd("remove", "friend", modelLesser)},
		{"remove/greater end", []string{"friend"}, modelSymmetricEnd("remove", "friend", modelGreater)},
		{"remove/to-one out", []string{"pinned"}, on("remove", "pinned", out)},
		{"remove/to-one in", []string{"pinned"}, on("remove", "pinned", in)},

		{"change kind/old out", []string{"likes"}, modelChangeKind("opinion", false, out)},
		{"change kind/old in", []string{"likes"}, modelChangeKind("opinion", false, in)},
		{"change kind/new out", []string{"likes"}, modelChangeKind("opinion", true, out)},
		{"change kind/new in", []string{"likes"}, modelChangeKind("opinion", true, in)},
		{"change kind/old to-one out", []string{"lives"}, modelChangeKind("whereabouts", false, out)},
		{"change kind/old to-one in", []string{"lives"}, modelChangeKind("whereabouts", false, in)},
		{"change kind/new to-one out", []string{"lives"}, modelChangeKind("whereabouts", true, out)},
		{"change kind/new to-one in", []string{"lives"}, modelChangeKind("whereabouts", true, in)},
		{"change kind/old lesser end", []string{"ally"}, modelChangeKindEnd(false, modelLesser)},
		{"change kind/old greater end", []string{"ally"}, modelChangeKindEnd(false, modelGreater)},
		{"change kind/new lesser end", []string{"ally"}, modelChangeKindEnd(true, modelLesser)},
		{"change kind/new greater end", []string{"ally"}, modelChangeKindEnd(true, modelGreater)},

		{"transaction/object", []string{"follows"}, on("tx", "user", object)},
		{"transaction/out", []string{"follows"}, on("tx", "follows", out)},
		{"transaction/in", []string{"follows"}, on("tx", "follows", in)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			modelMustFail(t, tt.kinds, tt.drop)
		})
	}
}

func modelLesser(a, b string) string  { return min(a, b) }
func modelGreater(a, b string) string { return max(a, b) }

// modelSymmetricEnd drops the list of one end of a symmetric edge.
func modelSymmetricEnd(what, kind string, end func(a, b string) string) modelDrop {
	return func(w modelWriting, k string, _ graphcache.AnchorType, id string) bool {
		return w.What == what && k == kind && w.From != w.To && id == end(w.From, w.To)
	}
}

// modelOldTarget drops the list of the object to which a to-one edge has led until
// now, and no other: it is told from that of the new target by its ID.
func modelOldTarget(kind string) modelDrop {
	return func(w modelWriting, k string, a graphcache.AnchorType, id string) bool {
		return w.What == "add" && k == kind && a == graphcache.InAnchor && id == w.Old && id != w.To
	}
}

// modelChangeKind drops a list of the old or the new kind of an edge.
func modelChangeKind(family string, new bool, typ graphcache.AnchorType) modelDrop {
	return func(w modelWriting, k string, a graphcache.AnchorType, _ string) bool {
		return w.What == "rekind" && modelKindNamed(w.Kind).family == family && (k == w.Other) == new && a == typ
	}
}

// modelChangeKindEnd does the same in a symmetric kind.
func modelChangeKindEnd(new bool, end func(a, b string) string) modelDrop {
	return func(w modelWriting, k string, _ graphcache.AnchorType, id string) bool {
		return w.What == "rekind" && (k == w.Other) == new && w.From != w.To && id == end(w.From, w.To)
	}
}

// modelMutationBudget is how many programs may pass before a mutation counts as
// not noticed.
const modelMutationBudget = 100

// modelMustFail runs programs on the kinds with anchors dropped until one finds a
// wrong answer.
func modelMustFail(t *testing.T, kinds []string, drop modelDrop) {
	t.Helper()
	programs := modelAnyProgram(kinds, 30)
	total := 0
	for seed := range modelMutationBudget {
		n, err := programs.Example(seed).run(t.Context(), drop)
		total += n
		var mismatch *modelMismatch
		switch {
		case errors.As(err, &mismatch):
			t.Logf("found by program %d, after %d queries: %s", seed, total, mismatch.what)
			return
		case err != nil:
			t.Fatalf("program %d: %v", seed, err)
		}
	}
	t.Errorf("%d programs with %d queries did not notice", modelMutationBudget, total)
}
