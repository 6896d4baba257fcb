package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// entDir is the module of ent's part. The benchmarks are run from their own directory.
const entDir = "peers/ent"

// entProcess is ent's part, which is measured in a process of its own.
type entProcess struct {
	in  io.WriteCloser
	out *bufio.Scanner
}

// openEnt generates, builds and starts ent's part.
func (p *peerSet) openEnt(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "graphcache-benchmarks")
	if err != nil {
		return err
	}
	p.closers = append(p.closers, func() { _ = os.RemoveAll(dir) })
	module := filepath.Join(dir, entDir)
	if err := os.CopyFS(module, os.DirFS(entDir)); err != nil {
		return fmt.Errorf("to be run in the directory of the benchmarks: %w", err)
	}
	for _, name := range []string{"measure.go", "peers_data.go"} {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o600)
		}
		if err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"generate", "."}, {"build", "-o", "ent.exe", "."}} {
		if _, err := timeGo(ctx, module, args...); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(module, "ent.exe"))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.closers = append(p.closers, func() { _ = in.Close(); _ = cmd.Wait() })
	e := &entProcess{in, bufio.NewScanner(out)}
	if !e.out.Scan() || e.out.Text() != "ready" {
		return errors.New("ent's part did not start")
	}
	const name = "ent, SQLite"
	p.rows = append(p.rows, peerRow{
		users: way{name: name, remote: func(callers int, d time.Duration) (turn, error) { return e.measure("user", callers, d) }},
		feeds: way{name: name, remote: func(callers int, d time.Duration) (turn, error) { return e.measure("feed", callers, d) }},
		stale: "not at all", copies: "yes",
	})
	return nil
}

// measure asks the process for a turn.
func (e *entProcess) measure(what string, callers int, d time.Duration) (t turn, err error) {
	if _, err := fmt.Fprintln(e.in, what, callers, int64(d)); err != nil {
		return t, err
	}
	if !e.out.Scan() {
		return t, errors.New("ent's part has ended")
	}
	_, err = fmt.Sscan(e.out.Text(), &t.calls, (*int64)(&t.took), (*int64)(&t.cpu), &t.allocs, &t.bytes)
	return t, err
}
