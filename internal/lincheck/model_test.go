package lincheck

import (
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// step is an operation of a history in which one follows the other, except those that
// have no output: they have not returned.
type step struct{ in, out any }

func historyOf(steps []step) (history []porcupine.Operation) {
	for i, s := range steps {
		op := porcupine.Operation{ClientId: i, Input: s.in, Output: s.out, Call: int64(2 * i), Return: int64(2*i + 1)}
		if s.out == nil {
			op.Return = never
		}
		history = append(history, op)
	}
	return history
}

// TestModels checks which histories the models accept.
func TestModels(t *testing.T) {
	fixed := []edgeState{{end: 6, rank: 20, value: -1}, {end: 7, rank: 10, value: -2}}
	a, b := edgeState{end: 1, rank: 15, value: 101}, edgeState{end: 2, rank: 15, value: 102}
	list := func(limit int) listCall { return listCall{verb: listEdges, span: span{high: 1000, limit: limit}} }
	get := itemCall{verb: getItem}
	put := func(value int64, city int) itemCall { return itemCall{putItem, value, city} }
	set := func(item int, in bool) memberCall { return memberCall{verb: setMember, item: item, in: in} }
	for _, test := range []struct {
		name  string
		model porcupine.Model
		state any
		steps []step
		want  bool
	}{
		{"item", itemModel, itemState{}, []step{
			{get, itemState{}}, {put(1, 2), done{}}, {itemCall{applyItem, 2, 0}, itemState{2, 2, 1}},
			{itemCall{moveItem, 3, 1}, itemState{3, 1, 1}}, {itemCall{updateItem, 4, 0}, itemState{4, 1, 1}},
			{get, itemState{4, 1, 1}}, {itemCall{verb: deleteItem}, done{}}, {itemCall{createItem, 5, 0}, done{}},
			{storeState{}, itemState{value: 5}}}, true},
		{"item read stale", itemModel, itemState{}, []step{{put(1, 0), done{}}, {put(2, 0), done{}}, {get, itemState{value: 1}}}, false},
		{"item in another city", itemModel, itemState{}, []step{{put(1, 2), done{}}, {get, itemState{value: 1}}}, false},
		{"item lost an addition", itemModel, itemState{value: 1}, []step{{itemCall{applyItem, 2, 0}, itemState{2, 0, 1}}, {itemCall{applyItem, 3, 0}, itemState{3, 0, 1}}}, false},
		{"item created twice", itemModel, itemState{}, []step{{itemCall{createItem, 1, 0}, done{}}, {itemCall{createItem, 2, 0}, done{}}}, false},
		{"item updated though absent", itemModel, itemState{}, []step{{itemCall{updateItem, 1, 0}, itemState{value: 1}}}, false},
		{"item write of unknown outcome, not applied", itemModel, itemState{value: 1}, []step{{put(2, 0), nil}, {get, itemState{value: 1}}}, true},
		{"item write of unknown outcome, applied late", itemModel, itemState{value: 1}, []step{{put(2, 0), nil}, {get, itemState{value: 1}}, {get, itemState{value: 2}}}, true},
		{"item write of unknown outcome, applied and gone", itemModel, itemState{value: 1}, []step{{put(2, 0), nil}, {get, itemState{value: 2}}, {get, itemState{value: 1}}}, false},
		{"item write of unknown outcome that is impossible", itemModel, itemState{}, []step{{itemCall{updateItem, 2, 0}, nil}, {get, itemState{}}}, true},

		{"list", listModel(fixed), listState{}, []step{
			{list(0), fixed}, {listCall{verb: addEdge, edge: b}, true}, {listCall{verb: addEdge, edge: a}, true},
			{list(0), []edgeState{fixed[0], a, b, fixed[1]}}, {list(2), []edgeState{fixed[0], a}},
			{listCall{verb: listEdges, span: span{low: 12, high: 18, offset: 1}}, []edgeState{b}},
			{listCall{verb: countEdges, span: span{low: 15, high: 1000}}, 3},
			{listCall{verb: existEdges, span: span{low: 21, high: 1000}}, false},
			{listCall{verb: getEdge, edge: edgeState{end: 1}}, a}, {listCall{verb: getEdge, edge: edgeState{end: 3}}, edgeState{}},
			{listCall{verb: addEdge, edge: a}, false}, {listCall{verb: removeEdge, edge: edgeState{end: 1}}, done{}},
			{storeState{}, listState{2: b}}}, true},
		{"list stale", listModel(nil), listState{}, []step{{listCall{verb: addEdge, edge: a}, true}, {list(0), []edgeState{}}}, false},
		{"list in another order", listModel(fixed), listState{1: a}, []step{{list(0), []edgeState{a, fixed[0], fixed[1]}}}, false},
		{"list too long", listModel(fixed), listState{}, []step{{list(1), fixed}}, false},
		{"list too short", listModel(fixed), listState{}, []step{{list(0), fixed[:1]}}, false},
		{"list counts what is gone", listModel(nil), listState{1: a}, []step{
			{listCall{verb: removeEdge, edge: edgeState{end: 1}}, done{}}, {listCall{verb: countEdges, span: wholeList}, 1}}, false},
		{"list created what is there", listModel(nil), listState{1: a}, []step{{listCall{verb: addEdge, edge: a}, true}}, false},
		{"list removed what is absent", listModel(nil), listState{}, []step{{listCall{verb: removeEdge, edge: edgeState{end: 1}}, done{}}}, false},

		{"members", memberModel, members(0), []step{
			{set(2, true), done{}}, {set(0, true), done{}}, {memberCall{verb: listMembers}, members(0b101)},
			{memberCall{verb: listMembers, limit: 1}, members(1)}, {memberCall{verb: countMembers}, int64(2)},
			{set(0, false), done{}}, {memberCall{verb: existMembers}, true}, {storeState{}, members(0b100)}}, true},
		{"members stale", memberModel, members(1), []step{{set(0, false), done{}}, {memberCall{verb: listMembers}, members(1)}}, false},
		{"members in disorder", memberModel, members(3), []step{{memberCall{verb: listMembers}, membersOf([]itemID{"i000-1", "i000-0"})}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := segment{model: test.model, state: test.state, history: historyOf(test.steps)}
			if got := s.check(time.Minute); (got == porcupine.Ok) != test.want {
				t.Errorf("the history is %s, want linearizable: %t", got, test.want)
			}
		})
	}
}

// TestExplain checks that a description ends with the operation that cannot be explained,
// whatever comes after it.
func TestExplain(t *testing.T) {
	get := func(value int64) step { return step{itemCall{verb: getItem}, itemState{value: value}} }
	put := func(value int64) step { return step{itemCall{verb: putItem, value: value}, done{}} }
	steps := []step{get(1), put(2), get(2), get(1), put(3), get(3)}
	s := segment{partition: "item", model: itemModel, state: itemState{value: 1}, history: historyOf(steps)}
	text := s.explain(time.Minute, t.TempDir())
	if !strings.Contains(text, "> client  3") || strings.Contains(text, "client  4") {
		t.Errorf("the description does not end with the operation of client 3:\n%s", text)
	}
}

// TestUnknown checks that a history that cannot be searched in time is no pass.
func TestUnknown(t *testing.T) {
	var steps []step
	for value := range int64(40) {
		steps = append(steps, step{itemCall{applyItem, value + 2, 0}, nil})
	}
	steps = append(steps, step{itemCall{verb: getItem}, itemState{value: 1000}})
	cfg := Config{CheckTime: 100 * time.Millisecond}.withDefaults()
	r := newRun(&cfg, nil)
	r.jobs <- &segment{partition: "item", model: itemModel, state: itemState{value: 1}, history: historyOf(steps)}
	close(r.jobs)
	r.search()
	if r.report.Unknown != 1 || r.report.Violations != 0 || r.report.Err() == nil {
		t.Errorf("%d histories are unknown and %d not linearizable, and the error is %v", r.report.Unknown, r.report.Violations, r.report.Err())
	}
}
