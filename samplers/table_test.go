package samplers

import (
	"fmt"
	"testing"
)

// TestTableFills puts as many keys into a table as it has slots, and looks how many stay when it
// is full to a degree.
func TestTableFills(t *testing.T) {
	for load, most := range map[float64]float64{0.5: 0.0005, 0.75: 0.01, 0.9: 0.05, 1: 0.1} {
		tb := newTable(5, 4_000_000)
		n := int(load * float64(len(tb.slots)))
		for i := range n {
			k := Key{Tenant: fmt.Sprint("tenant ", i%2000), Op: fmt.Sprint(i / 2000)}
			tb.throttle(tb.fingerprint(k), k, 0, 1000, uint64(i))
		}
		lost := float64(tb.evictions) / float64(n)
		t.Logf("%.2f full: %.2f %% of the keys are lost", load, 100*lost)
		if lost > most {
			t.Errorf("%.2f full: %.2f %% of the keys are lost", load, 100*lost)
		}
	}
}

// TestTexts numbers texts, forgets some, and checks that the others keep their numbers.
func TestTexts(t *testing.T) {
	tb := newTable(5, 1<<20)
	x := &tb.texts
	numbers, size, capacity := make(map[string]uint32), cap(x.data), cap(x.at)
	for round := range 20 {
		for i := 0; ; i++ {
			text := fmt.Sprint("text ", round, " ", i)
			if i == 0 && round == 0 {
				text = ""
			}
			n := x.number(text)
			if n == 0 {
				break
			}
			if again := x.number(text); again != n || string(x.text(n)) != text {
				t.Fatalf("%q has the numbers %d and %d, which is %q", text, n, again, x.text(n))
			}
			numbers[text] = n
		}
		if len(numbers) < 1000 {
			t.Fatalf("room for %d texts", len(numbers))
		}
		used := make([]bool, len(x.at))
		for text, n := range numbers {
			if string(x.text(n)) != text || x.number(text) != n {
				t.Fatalf("number %d is %q, want %q", n, x.text(n), text)
			}
			if used[n] {
				t.Fatalf("number %d is of two texts", n)
			}
			if used[n] = len(text)%3 != round%3 && n%2 == 0; !used[n] {
				delete(numbers, text)
			}
		}
		x.tidy(used)
	}
	if cap(x.data) > size || cap(x.at) != capacity {
		t.Errorf("the texts have grown from %d and %d to %d and %d", size, capacity, cap(x.data), cap(x.at))
	}
}
