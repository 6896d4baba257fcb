package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// peerFiles are the files that have the peers' code, which is counted between marks.
var peerFiles = []string{"peers_data.go", "peers_graphcache.go", "peers_rivals.go", "peers/ent/main.go", "peers/ent/ent/schema/*.go"}

// handKey and handInvalidation find what a program without a graph has to know by heart.
var (
	handKey          = regexp.MustCompile(`"(user|teams|events):"|BatchKeyFn\("`)
	handInvalidation = regexp.MustCompile(`\.(Delete|Invalidate|Del)\(`)
)

// codeCount is what was counted of one peer.
type codeCount struct {
	lines               map[string]int // by region
	keys, invalidations int
}

// countPeers counts the lines of the peers' code that are neither empty nor comments.
func countPeers() (map[string]*codeCount, error) {
	counts := map[string]*codeCount{}
	for _, pattern := range peerFiles {
		names, err := filepath.Glob(pattern)
		if err == nil && len(names) == 0 {
			err = fmt.Errorf("%s: to be run in the directory of the benchmarks", pattern)
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			countMarked(string(text), counts)
		}
	}
	return counts, nil
}

// countMarked adds what a file has between its marks: "count:begin", the region, and whose
// it is, or nobody's.
func countMarked(text string, counts map[string]*codeCount) {
	var in *codeCount
	region := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if mark, ok := strings.CutPrefix(line, "// count:begin "); ok {
			var whose string
			region, whose, _ = strings.Cut(mark, " ")
			if in = counts[whose]; in == nil {
				in = &codeCount{lines: map[string]int{}}
				counts[whose] = in
			}
			continue
		}
		switch {
		case line == "// count:end":
			in = nil
		case in != nil && line != "" && !strings.HasPrefix(line, "//"):
			in.lines[region]++
			in.keys += len(handKey.FindAllString(line, -1))
			in.invalidations += len(handInvalidation.FindAllString(line, -1))
		}
	}
}

// peerLines counts what a program has to write for what is measured here.
func peerLines(_ context.Context, _ settings) ([]table, error) {
	counts, err := countPeers()
	if err != nil {
		return nil, err
	}
	types := counts[""].lines["types"]
	t := table{
		Title:   "Peers: lines that a program writes",
		Columns: []string{"way", "types and setting up", "two reads", "three writes", "all", "keys written by hand", "invalidations written by hand"},
		Note: fmt.Sprintf("Of the code that is measured above, without empty lines and comments. Those that bring no store get one with methods for each query, which are not counted; "+
			"their two types have %d lines. ent's generated code is not counted here.", types),
	}
	for _, name := range []string{"graphcache", "ent", "go-redis/cache", "rueidis", "sturdyc", "otter"} {
		c := counts[name]
		if c == nil {
			return nil, fmt.Errorf("no code of %s is marked", name)
		}
		declare := c.lines["declare"]
		if name != "graphcache" && name != "ent" {
			declare += types
		}
		t.add(name, fmt.Sprint(declare), fmt.Sprint(c.lines["read"]), fmt.Sprint(c.lines["write"]),
			fmt.Sprint(declare+c.lines["read"]+c.lines["write"]), fmt.Sprint(c.keys), fmt.Sprint(c.invalidations))
	}
	return []table{t}, nil
}
