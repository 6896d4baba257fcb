package plan_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "write the golden files")

// maxGolden is how long an encoding in the golden file may be.
const maxGolden = 1000

// The encodings of the corpus are frozen: caches are full of them. To change one
// is to raise the format's version.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "encoding.golden")
	var got bytes.Buffer
	for _, s := range corpus() {
		p := planOf(t, s.value)
		_, b, _ := throughAll(t, p, s.value)
		if len(b) <= maxGolden {
			fmt.Fprintf(&got, "%s\t%016x\t%x\n", s.name, p.Fingerprint(), b)
		}
	}
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// What the golden file holds can still be read.
func TestGoldenDecodes(t *testing.T) {
	encodings := map[string]string{}
	b, err := os.ReadFile(filepath.Join("testdata", "encoding.golden"))
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		columns := strings.Split(lines.Text(), "\t")
		encodings[columns[0]] = columns[2]
	}
	for _, s := range corpus() {
		text, ok := encodings[s.name]
		if !ok {
			continue
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		want := s.want
		if want == nil {
			want = s.value
		}
		got := decode(t, planOf(t, s.value), b, reflect.TypeOf(s.value))
		if diff := cmp.Diff(want, got, same, cmpopts.EquateComparable()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", s.name, diff)
		}
	}
}
