package mongotest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// The servers are built once in each test program. Where they have been before, that
// takes a moment, and the first time of all a minute or two.
var (
	ferretdbProgram = sync.OnceValues(func() (string, error) { return build("ferretdb") })
	lungoProgram    = sync.OnceValues(func() (string, error) { return build("lungo") })
)

// build builds the program in a module below this package and returns its path. It lies
// where the next test program finds it, so that only a changed one is linked again.
func build(name string) (string, error) {
	_, file, _, _ := runtime.Caller(0)
	if !filepath.IsAbs(file) {
		return "", fmt.Errorf("mongotest: build %s: the source is not found in a test program built with -trimpath", name)
	}
	dir := filepath.Join(filepath.Dir(file), name)
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("mongotest: build %s: %w", name, err)
	}
	// Every copy of the source has programs of its own.
	cache = filepath.Join(cache, "graphcache-mongotest", strings.ReplaceAll(dir, string(filepath.Separator), "-"))
	if err := os.MkdirAll(cache, 0o700); err != nil {
		return "", fmt.Errorf("mongotest: build %s: %w", name, err)
	}
	program := filepath.Join(cache, name)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-mod=readonly", "-o", program, ".")
	cmd.Dir = dir
	// A linked program is moved to its place from the same file system, and so all at once.
	cmd.Env = append(os.Environ(), "PWD="+dir, "GOWORK=off", "GOTMPDIR="+cache)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mongotest: build %s: %w\n%s", name, err, out)
	}
	return program, nil
}
