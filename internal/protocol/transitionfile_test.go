package protocol_test

import (
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/graphcache/graphcache/internal/protocol/model"
)

var update = flag.Bool("update", false, "bring replay/testdata/transitions.golden up to date")

const goldenFile = "replay/testdata/transitions.golden"

const goldenHeader = `# What a driver.Cache does to one entry: every transition that the search of the
# protocol's interleavings meets, in the form
#
#	before | operation | after | reply
#
# Lines with the same before and operation are alternatives. Versions, values and
# stamps stand for any; token0 is the token of the operation. A value that is in the
# hash under another version than the entry's cannot be seen. "passed" is a claim
# after the loading deadline, "replace" one with the corrupt bytes that were seen.
#
# Written by go test ./internal/protocol -update: with -search.full anew, otherwise
# only what is missing is added.
`

// TestTransitions checks that the file has what the searches find, and nothing else if
// all of them are made. The replays read only the file.
func TestTransitions(t *testing.T) {
	found := make(map[string]bool)
	for _, c := range configs {
		if c.full && !*fullSearch {
			continue
		}
		for tr := range outcomes[c.name]().transitions {
			found[tr.String()] = true
		}
	}
	file := make(map[string]bool)
	for _, tr := range readGolden(t) {
		file[tr.String()] = true
	}
	if *update {
		if !*fullSearch {
			maps.Copy(found, file)
		}
		writeGolden(t, found)
		return
	}
	for _, line := range slices.Sorted(maps.Keys(found)) {
		if !file[line] {
			t.Errorf("found, but not in %s: %s", goldenFile, line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(file)) {
		if *fullSearch && !found[line] {
			t.Errorf("in %s, but not found: %s", goldenFile, line)
		}
	}
	t.Logf("%d transitions, %d in the file", len(found), len(file))
}

func writeGolden(t *testing.T, lines map[string]bool) {
	t.Helper()
	text := goldenHeader + strings.Join(slices.Sorted(maps.Keys(lines)), "\n") + "\n"
	if err := os.WriteFile(goldenFile, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// readGolden returns the transitions of the file.
func readGolden(t *testing.T) []model.Transition {
	t.Helper()
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	all, err := model.Parse(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return all
}
