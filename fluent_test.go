//go:build !go1.27

package graphcache_test

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// fluentToolchain is the one that the fluent form is tested with.
const fluentToolchain = "go1.27.3"

// TestFluentToolchain runs TestFluent, which is of a language that this toolchain does not
// know, with one that does. It is skipped only where that cannot be fetched.
func TestFluentToolchain(t *testing.T) {
	run := func(limit time.Duration, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+fluentToolchain)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(20*time.Second, "version"); err != nil || !strings.Contains(out, fluentToolchain) {
		t.Skipf("NOT TESTED: the fluent form of Go 1.27, because %s cannot be fetched: %v\n%s", fluentToolchain, err, out)
	}
	out, err := run(58*time.Second, "test", "-vet=off", "-v", "-run=^TestFluent$", ".")
	if err != nil || !strings.Contains(out, "--- PASS: TestFluent") {
		t.Errorf("with %s: %v\n%s", fluentToolchain, err, out)
	}
}
