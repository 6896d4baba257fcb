package model_test

import (
	"testing"

	"github.com/graphcache/graphcache/internal/protocol/model"
)

const line = "held token0 token1 hash=1 hashvalue=a | release stamp=1 | held token1 stamp=1 hash=1 hashvalue=a | done"

func TestParse(t *testing.T) {
	all, err := model.Parse("# a comment\n" + line + "\n")
	if err != nil || len(all) != 1 || all[0].String() != line {
		t.Errorf("Parse: %v, %v, want %s", all, err, line)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{
		"\n",
		"empty | lookup | empty",
		"full | lookup | empty | empty",
		"empty | look | empty | empty",
		"empty | lookup | empty | maybe",
		"empty color=1 | lookup | empty | empty",
		"empty | lookup version=x | empty | empty",
	} {
		if all, err := model.Parse(text); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", text, all)
		}
	}
}
