//go:build linux

package soak_test

import (
	"context"
	"slices"
	"syscall"

	"github.com/graphcache/graphcache/backends/backendtest"
)

// The steps at which a process can be killed or stopped: before a call of store or cache is made,
// and after it. All but the last four are those of writes.
var stepMethods = []string{
	"Hold", "Read", "Write", "Release", "Begin", "Tx.Read", "Tx.Write", "Tx.Commit", "Owe", "Settle", "Look", "Claim", "Fill",
}

func stepName(step int) string {
	return []string{"before ", "after "}[step%2] + stepMethods[step/2]
}

// ofWrites reports whether only those calls of a method count that writes make.
func ofWrites(method string) bool {
	return !slices.Contains([]string{"Settle", "Look", "Claim", "Fill"}, method)
}

// hook does to calls of store and cache what the trap says.
func (w *worker) hook(ctx context.Context, c backendtest.Call) (fault backendtest.Fault) {
	t := &w.shared.places[w.plan.Place].trap
	if t.action.Load() == 0 {
		return fault
	}
	step := int(t.step.Load())
	if stepMethods[step/2] != c.Method || ofWrites(c.Method) && ctx.Value(writingKey{}) == nil {
		return fault
	}
	if step%2 == 0 {
		t.spring()
		return fault
	}
	fault.After = func(context.Context) { t.spring() }
	return fault
}

// spring does to this process what the trap is for.
func (t *trap) spring() {
	signal := t.action.Load()
	if signal == 0 || t.skip.Add(-1) >= 0 || !t.action.CompareAndSwap(signal, 0) {
		return
	}
	t.sprung.Store(signal)
	_ = syscall.Kill(syscall.Getpid(), syscall.Signal(signal))
}
