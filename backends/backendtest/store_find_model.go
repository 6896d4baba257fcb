package backendtest

import (
	"cmp"
	"slices"
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// findModel is what the contract says about FindObjects and FindEdges: all that is
// there, and answers that are computed from it by brute force.
type findModel struct {
	objects map[string]*driver.Object
	edges   map[string]*edgeModel // by kind
}

// modelRow is an object in the far place, or an edge with what stands at its ends.
type modelRow struct {
	i         int // the place of near among the IDs
	near, far string
	object    *driver.Object
	edge      *driver.Edge
}

func (row *modelRow) value(c *driver.Column) driver.Value { return c.ValueIn(row.object, row.edge) }

// rows returns what the step matches, in order.
func (m *findModel) rows(s *driver.Step) []modelRow {
	var rows []modelRow
	if s.Op == driver.FindObjects {
		rows = m.objectRows()
	} else {
		rows = m.edgeRows(s)
	}
	rows = slices.DeleteFunc(rows, func(row modelRow) bool { return !s.Filter.Matches(row.value) })
	slices.SortFunc(rows, func(a, b modelRow) int { return comparePlaces(s, placeOf(s, &a), placeOf(s, &b)) })
	return rows
}

func (m *findModel) objectRows() []modelRow {
	var rows []modelRow
	for _, o := range m.objects {
		if !o.Deleting {
			rows = append(rows, modelRow{far: o.ID, object: o})
		}
	}
	return rows
}

func (m *findModel) edgeRows(s *driver.Step) []modelRow {
	var rows []modelRow
	for i, id := range s.IDs {
		bounds := driver.Range{High: s.Range.High, Low: s.Range.Low}
		for _, e := range cut(m.edges[s.Kind].list(s.Direction, id), bounds) {
			row := modelRow{i: i, near: id, far: farEnd(e, id), edge: &e}
			if s.Far != "" {
				row.object = m.objects[row.far]
				if row.object == nil || row.object.Deleting {
					continue
				}
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// placeOf returns the place of a row, as After would have it.
func placeOf(s *driver.Step, row *modelRow) []driver.Value {
	if s.Op == driver.FindEdges && len(s.Order) == 0 {
		return []driver.Value{row.near, row.edge.Time, row.far}
	}
	var place []driver.Value
	for i := range s.Order {
		place = append(place, row.value(s.Order[i].Column))
	}
	place = append(place, row.far)
	if s.Op == driver.FindEdges {
		place = append(place, row.near)
	}
	return place
}

func comparePlaces(s *driver.Step, a, b []driver.Value) int {
	if s.Op == driver.FindEdges && len(s.Order) == 0 {
		near := func(place []driver.Value) int { return slices.Index(s.IDs, place[0].(string)) }
		return cmp.Or(cmp.Compare(near(a), near(b)), driver.Compare(b[1], a[1]), strings.Compare(a[2].(string), b[2].(string)))
	}
	for i := range a {
		c := driver.Compare(a[i], b[i])
		if i < len(s.Order) && s.Order[i].Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// answer returns what a store should give for the step.
func (m *findModel) answer(s *driver.Step) driver.Result {
	rows := m.rows(s)
	if s.LimitPer > 0 {
		per := make(map[string]int)
		rows = slices.DeleteFunc(rows, func(row modelRow) bool {
			per[row.near]++
			return per[row.near] > s.LimitPer
		})
	}
	if s.Distinct {
		seen := make(map[string]bool)
		rows = slices.DeleteFunc(rows, func(row modelRow) bool {
			again := seen[row.far]
			seen[row.far] = true
			return again
		})
	}
	if s.After != nil {
		rows = slices.DeleteFunc(rows, func(row modelRow) bool { return comparePlaces(s, placeOf(s, &row), s.After) <= 0 })
	}
	if s.Count {
		return driver.Result{Counts: []int{len(rows)}}
	}
	return resultOf(s, slicePart(rows, s.Range))
}

func resultOf(s *driver.Step, rows []modelRow) driver.Result {
	var result driver.Result
	for _, row := range rows {
		if s.Op == driver.FindObjects {
			result.IDs = append(result.IDs, row.far)
		} else {
			result.Rows = append(result.Rows, driver.Row{ID: row.near, Edge: *row.edge})
		}
		if n := len(s.Order); n > 0 {
			result.Keys = append(result.Keys, placeOf(s, &row)[:n])
		}
	}
	return result
}

// apply does writes to the model that a store has done.
func (m *findModel) apply(writes []driver.Write) {
	for i := range writes {
		w := &writes[i]
		switch {
		case w.Edge != nil && w.Op == driver.Delete:
			delete(m.edges[w.Kind].edges, m.edges[w.Kind].key(w.Edge))
		case w.Edge != nil:
			m.edges[w.Kind].edges[m.edges[w.Kind].key(w.Edge)] = *w.Edge
		case w.Op == driver.Delete:
			delete(m.objects, w.Object.ID)
		default:
			m.objects[w.Object.ID] = w.Object
		}
	}
}
