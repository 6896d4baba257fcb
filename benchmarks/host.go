package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/graphcache/graphcache/internal/redistest"
)

// host is a program in the place of a test, for package redistest, which calls no other
// methods than these.
type host struct {
	testing.TB // nil
	dir        string
	cleanups   []func()
}

// failure is what a host panics with.
type failure struct{ err error }

func (h *host) Helper()                           {}
func (h *host) TempDir() string                   { return h.dir }
func (h *host) Cleanup(f func())                  { h.cleanups = append(h.cleanups, f) }
func (h *host) Fatal(args ...any)                 { panic(failure{fmt.Errorf("%s", fmt.Sprint(args...))}) }
func (h *host) Skip(args ...any)                  { h.Fatal(args...) }
func (h *host) Errorf(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// withServer calls f with the address of a redis-server that runs meanwhile.
func withServer(f func(addr string) error) error {
	return withHost(func(h *host) error { return f(redistest.Start(h).Addr) })
}

// withHost calls f with a host for servers that run meanwhile.
func withHost(f func(*host) error) (err error) {
	dir, err := os.MkdirTemp("", "graphcache-benchmarks")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	h := &host{dir: dir}
	defer func() {
		for _, f := range h.cleanups {
			f()
		}
		switch v := recover().(type) {
		case nil:
		case failure:
			err = v.err
		default:
			panic(v)
		}
	}()
	return f(h)
}
