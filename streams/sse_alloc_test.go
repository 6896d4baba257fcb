//go:build !race

package streams

import "testing"

// TestViewerAllocs sends full windows: nothing is allocated for a viewer, whether there is a
// filter or not.
func TestViewerAllocs(t *testing.T) {
	for _, expr := range []string{"", "type:view -n:1", "ann"} {
		v, s := newViewer(t)
		var err error
		if v.filter, err = parseFilter(expr); err != nil {
			t.Fatal(err)
		}
		n := testing.AllocsPerRun(100, func() {
			v.pos = Pos{1, 90} // with a gap
			v.sendNews(s)
			v.flush()
		})
		if n > 0 {
			t.Errorf("filter %q: %v allocations for 50 events", expr, n)
		}
		if v.w.(wall).bytes.Load() == 0 || v.err != nil {
			t.Errorf("filter %q: nothing was sent, error %v", expr, v.err)
		}
	}
}
