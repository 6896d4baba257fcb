package lincheck

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// segment is the history of one partition in one round.
type segment struct {
	partition string
	round     int
	model     porcupine.Model
	state     any // at the beginning
	history   []porcupine.Operation
}

// check searches for an order of the operations that explains what they returned.
func (s *segment) check(limit time.Duration) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(s.from(), s.history, limit)
}

// from returns the model in the segment's first state.
func (s *segment) from() porcupine.Model {
	m := s.model
	m.Init = func() any { return s.state }
	return m
}

// until returns the segment as it was at a moment: what had not been called by then is
// left out, and what had not returned is not known.
func (s *segment) until(moment int64) *segment {
	short := *s
	short.history = nil
	for _, op := range s.history {
		switch {
		case op.Call > moment:
			continue
		case op.Return > moment && isRead(op):
			continue
		case op.Return > moment:
			op.Output, op.Return = nil, never
		}
		short.history = append(short.history, op)
	}
	return &short
}

// isRead reports whether the operation has no effect.
func isRead(op porcupine.Operation) bool {
	switch in := op.Input.(type) {
	case itemCall:
		return in.verb == getItem
	case listCall:
		return in.verb != addEdge && in.verb != removeEdge
	case memberCall:
		return in.verb != setMember
	}
	return true
}

// shortest returns the segment at the first moment at which it was not linearizable:
// its last operation is the one that no order explains. A history that is not
// linearizable does not become so by going on, so that moment is found by halving.
func (s *segment) shortest(limit time.Duration) *segment {
	var returns []int64
	for _, op := range s.history {
		if op.Return != never {
			returns = append(returns, op.Return)
		}
	}
	slices.Sort(returns)
	i := sort.Search(len(returns), func(i int) bool {
		return s.until(returns[i]).check(limit) == porcupine.Illegal
	})
	if i == len(returns) {
		return s // the search was out of time
	}
	return s.until(returns[i])
}

// told is how many operations before the offending one a description has.
const told = 30

// explain describes a segment that is not linearizable, and draws it into a file in dir.
func (s *segment) explain(limit time.Duration, dir string) string {
	short := s.shortest(limit)
	ops := slices.Clone(short.history)
	slices.SortStableFunc(ops, func(a, b porcupine.Operation) int { return cmp.Compare(a.Return, b.Return) })
	var b strings.Builder
	fmt.Fprintf(&b, "not linearizable: %s, round %d\n", s.partition, s.round)
	fmt.Fprintf(&b, "state at the beginning: %v\n", s.state)
	pending := len(ops)
	for pending > 0 && ops[pending-1].Return == never {
		pending--
	}
	if pending > told {
		fmt.Fprintf(&b, "... %d operations that can be explained ...\n", pending-told)
		ops, pending = ops[pending-told:], told
	}
	for i, op := range ops {
		returned := "never"
		if op.Return != never {
			returned = time.Duration(op.Return).String()
		}
		mark := " "
		if i == pending-1 {
			mark = ">" // no order explains this one
		}
		fmt.Fprintf(&b, "%s client %2d  [%v, %s]  %s\n", mark, op.ClientId, time.Duration(op.Call), returned, s.model.DescribeOperation(op.Input, op.Output))
	}
	if path, err := short.draw(limit, dir); err != nil {
		fmt.Fprintf(&b, "it could not be drawn: %v\n", err)
	} else {
		fmt.Fprintf(&b, "drawn in %s\n", path)
	}
	return b.String()
}

// draw writes the visualisation of the segment.
func (s *segment) draw(limit time.Duration, dir string) (path string, err error) {
	if dir == "" {
		if dir, err = os.MkdirTemp("", "lincheck"); err != nil {
			return "", err
		}
	}
	name := strings.NewReplacer(" ", "-", "/", "-").Replace(s.partition)
	path = filepath.Join(dir, fmt.Sprintf("%s-round-%d.html", name, s.round))
	_, info := porcupine.CheckOperationsVerbose(s.from(), s.history, limit)
	return path, porcupine.VisualizePath(s.from(), info, path)
}
