//go:build !go1.27

// Package fluent tests the form of queries that Go 1.27 allows, in a package of its own
// so that little is compiled for it.
package fluent

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// toolchain is the one that the fluent form is tested with.
const toolchain = "go1.27.3"

// TestToolchain runs TestFluent, which is of a language that this toolchain does not
// know, with one that does. It is skipped only where that cannot be fetched.
func TestToolchain(t *testing.T) {
	run := func(limit time.Duration, args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+toolchain)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(2*time.Minute, "version"); err != nil || !strings.Contains(out, toolchain) {
		t.Skipf("NOT TESTED: the fluent form of Go 1.27, because %s cannot be fetched: %v\n%s", toolchain, err, out)
	}
	out, err := run(5*time.Minute, "test", "-vet=off", "-v", "-run=^TestFluent$", ".")
	if err != nil || !strings.Contains(out, "--- PASS: TestFluent") {
		t.Errorf("with %s: %v\n%s", toolchain, err, out)
	}
}
