package graphcache_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/driver"
)

// TestModelQueryMutation takes one sort of anchor at a time away from the writes that
// touch it, and sees that the model of queries notices.
func TestModelQueryMutation(t *testing.T) {
	// always drops one sort of anchor of a kind.
	always := func(kind string, typ graphcache.AnchorType) mqDrop {
		return func(_ mqWriting, k string, a graphcache.AnchorType, _ string) bool { return k == kind && a == typ }
	}
	// during does so during one sort of operation.
	during := func(what, kind string, typ graphcache.AnchorType) mqDrop {
		return func(w mqWriting, k string, a graphcache.AnchorType, _ string) bool {
			return w.What == what && k == kind && a == typ
		}
	}
	// old and new choose the entries that an object leaves and those to which it comes.
	old := func(w mqWriting) (leaves, comes map[string]*mqObject) { return w.Before, w.After }
	new := func(w mqWriting) (leaves, comes map[string]*mqObject) { return w.After, w.Before }
	tests := []struct {
		name  string
		focus mqFocus
		fault mqFault
	}{
		{"object", mqFocus{}, mqFault{drop: always("user", graphcache.ObjectAnchor)}},
		{"out list", mqFocus{}, mqFault{drop: always("follows", graphcache.OutAnchor)}},
		{"in list", mqFocus{}, mqFault{drop: always("wrote", graphcache.InAnchor)}},
		{"index", mqFocus{}, mqFault{drop: always("user", graphcache.IndexAnchor)}},
		{"index of a kind with scans", mqFocus{}, mqFault{drop: always("post", graphcache.IndexAnchor)}},
		{"kind", mqFocus{}, mqFault{drop: always("post", graphcache.KindAnchor)}},

		{"create/index", mqFocus{what: "create", kind: "user", index: "city"}, mqFault{drop: during("create", "user", graphcache.IndexAnchor)}},
		{"put/index", mqFocus{what: "put", kind: "user", index: "city"}, mqFault{drop: during("put", "user", graphcache.IndexAnchor)}},
		{"update/index", mqFocus{what: "update", kind: "user", index: "city"}, mqFault{drop: during("update", "user", graphcache.IndexAnchor)}},
		{"apply/index", mqFocus{what: "apply", kind: "user", index: "city"}, mqFault{drop: during("apply", "user", graphcache.IndexAnchor)}},
		{"apply/object", mqFocus{what: "apply", kind: "user", index: "city"}, mqFault{drop: during("apply", "user", graphcache.ObjectAnchor)}},
		{"apply/kind", mqFocus{what: "apply", kind: "post", index: "topic"}, mqFault{drop: during("apply", "post", graphcache.KindAnchor)}},
		{"delete/index", mqFocus{what: "delete", kind: "user", index: "city"}, mqFault{drop: during("delete", "user", graphcache.IndexAnchor)}},
		{"update all/index", mqFocus{what: "update all", kind: "user", index: "city"}, mqFault{drop: during("update all", "user", graphcache.IndexAnchor)}},
		{"apply all/object", mqFocus{what: "apply all", kind: "user", index: "city"}, mqFault{drop: during("apply all", "user", graphcache.ObjectAnchor)}},
		{"delete all/index", mqFocus{what: "delete all", kind: "user", index: "city"}, mqFault{drop: during("delete all", "user", graphcache.IndexAnchor)}},
		{"transaction/index", mqFocus{what: "tx"}, mqFault{drop: during("tx", "user", graphcache.IndexAnchor)}},
		{"invalidate/object", mqFocus{what: "foreign put"}, mqFault{drop: during("invalidate", "user", graphcache.ObjectAnchor)}},
		{"invalidate/index", mqFocus{what: "foreign put"}, mqFault{drop: during("invalidate", "user", graphcache.IndexAnchor)}},
		{"invalidate/lists", mqFocus{what: "foreign add"}, mqFault{drop: func(w mqWriting, _ string, a graphcache.AnchorType, _ string) bool {
			return w.What == "invalidate" && (a == graphcache.OutAnchor || a == graphcache.InAnchor)
		}}},
		{"backfill/object", mqFocus{what: "backfill"}, mqFault{drop: during("backfill", "user", graphcache.ObjectAnchor)}},

		{"old entry", mqFocus{}, mqFault{drop: mqEntryOf("", 0, old)}},
		{"new entry", mqFocus{}, mqFault{drop: mqEntryOf("", 0, new)}},
		{"old entry of a slice", mqFocus{index: "tags"}, mqFault{drop: mqEntryOf("tags", 1, old)}},
		{"new entry of a slice", mqFocus{index: "tags"}, mqFault{drop: mqEntryOf("tags", 1, new)}},
		{"old entry of a unique index", mqFocus{index: "email"}, mqFault{drop: mqEntryOf("email", 1, old)}},
		{"new entry of a unique index", mqFocus{index: "email"}, mqFault{drop: mqEntryOf("email", 1, new)}},
		{"old entry of a compound index, whole", mqFocus{index: "zip_born"}, mqFault{drop: mqEntryOf("zip_born", 2, old)}},
		{"new entry of a compound index, whole", mqFocus{index: "zip_born"}, mqFault{drop: mqEntryOf("zip_born", 2, new)}},

		{"first column of compound indexes", mqFocus{}, mqFault{drop: mqPrefixOf(func(n, of int) bool { return n == 1 && of > 1 })}},
		{"whole entries of compound indexes", mqFocus{}, mqFault{drop: mqPrefixOf(func(n, of int) bool { return n == of && of > 1 })}},
		{"second of three columns", mqFocus{index: "city_level_age"}, mqFault{drop: mqPrefixOf(func(n, of int) bool { return n == 2 && of == 3 })}},

		{"no check of loaded objects", mqFocus{what: "race"}, mqFault{uncheck: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			mqMustFail(t, tt.focus, mqSetup{fault: tt.fault})
		})
	}
}

// mqPrefixOf drops the anchors of entries of which so many columns are given.
func mqPrefixOf(chosen func(n, of int) bool) mqDrop {
	return func(_ mqWriting, _ string, a graphcache.AnchorType, id string) bool {
		if a != graphcache.IndexAnchor {
			return false
		}
		columns, values := graphcache.ParseIndexAnchor(id)
		return chosen(len(values), len(columns))
	}
}

// mqEntryOf drops the anchors of the entries that the objects have on one side of a write
// and not on the other: those of one index of users up to so many columns, or of all.
func mqEntryOf(name string, n int, sides func(mqWriting) (has, lacks map[string]*mqObject)) mqDrop {
	return func(w mqWriting, kind string, a graphcache.AnchorType, id string) bool {
		if kind != "user" || a != graphcache.IndexAnchor {
			return false
		}
		columns, values := graphcache.ParseIndexAnchor(id)
		if name != "" {
			ix := mqIndexNamed(name)
			if !slices.Equal(columns, ix.columns) || len(values) != n {
				return false
			}
		}
		has, lacks := sides(w)
		return mqAnyHas(has, lacks, columns, values)
	}
}

func mqIndexNamed(name string) mqIndex {
	all := mqAllIndexes("user")
	return all[slices.IndexFunc(all, func(ix mqIndex) bool { return ix.name == name })]
}

// mqAnyHas reports whether an object has the entry on one side and not on the other.
func mqAnyHas(has, lacks map[string]*mqObject, columns []string, values []driver.Value) bool {
	for id, o := range has {
		if mqHasEntry(o, columns, values) && !mqHasEntry(lacks[id], columns, values) {
			return true
		}
	}
	return false
}

// mqHasEntry reports whether the object, which may be nil, has an entry that starts with
// the values.
func mqHasEntry(o *mqObject, columns []string, values []driver.Value) bool {
	if o == nil {
		return false
	}
	u := o.Body.(*mqUserBody)
	for i, v := range values {
		var of []any
		switch columns[i] {
		case "city":
			of = append(of, u.City)
		case "email":
			of = append(of, u.Email)
		case "level":
			of = append(of, u.Level)
		case "age":
			of = append(of, u.Age)
		case "zip":
			of = append(of, u.Home.Zip)
		case "born":
			of = append(of, u.Born)
		case "active":
			of = append(of, u.Active)
		case "visits":
			of = append(of, u.Visits)
		case "tags":
			for _, tag := range u.Tags {
				of = append(of, tag)
			}
		default:
			return false // enough of them are known
		}
		if !slices.ContainsFunc(of, func(x any) bool { return fmt.Sprint(x) == fmt.Sprint(v) }) {
			return false
		}
	}
	return true
}

// mqMustFail runs programs on what has a fault until one finds a wrong answer.
func mqMustFail(t *testing.T, focus mqFocus, setup mqSetup) {
	t.Helper()
	programs := mqAnyProgram(24, focus)
	total := 0
	for seed := range modelMutationBudget {
		n, err := programs.Example(seed).run(t.Context(), setup)
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
