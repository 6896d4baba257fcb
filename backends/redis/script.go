package redis

import (
	"crypto/sha1" // the name that Redis gives a script
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// script is a Lua script that touches one key, KEYS[1], and no other; or some of one slot.
type script struct {
	source string
	sha    string
}

func newScript(parts ...string) *script {
	source := strings.Join(parts, "\n")
	sum := sha1.Sum([]byte(source))
	return &script{source, hex.EncodeToString(sum[:])}
}

// call is a command on a key, or a script. When [Backend.do] has returned without an
// error, its answer is in cmd.
type call struct {
	key    string
	cmd    goredis.Cmder
	script *script // nil: a plain command
	size   int     // of its arguments in bytes, more or less
	lost   error   // set by do: nobody waits for the answer any more
}

// notSent is the error of a command that was not sent, and will not be.
type notSent struct{ error }

// Unwrap gives way to errors.Is.
func (e notSent) Unwrap() error { return e.error }

// once is the command of a script. go-redis would send it again, with the rest of its
// pipeline, when a node of a Cluster does not answer, and an addition would count twice.
type once struct{ *goredis.Cmd }

// NoRetry implements goredis.Cmder.
func (once) NoRetry() bool { return true }

// plain returns a call of a command that answers with a string. The key is its first
// argument.
func plain(command, key string, args ...any) call {
	all := make([]any, 0, 2+len(args))
	return plainCall(append(append(all, command, key), args...))
}

// plainCall is plain with the command and its arguments in one slice, which it keeps.
func plainCall(args []any) call {
	return call{key: args[1].(string), cmd: goredis.NewStringCmd(noContext, args...), size: sizeOf(args)}
}

// run returns a call of a script.
func (s *script) run(key string, args ...any) call {
	all := make([]any, 0, 4+len(args))
	all = append(append(all, "evalsha", s.sha, 1, key), args...)
	return call{key: key, cmd: once{goredis.NewCmd(noContext, all...)}, script: s, size: sizeOf(all)}
}

// runOn returns a call of a script with several keys, which are all of one slot.
func (s *script) runOn(keys []string, args ...any) call {
	all := make([]any, 0, 3+len(keys)+len(args))
	all = append(all, "evalsha", s.sha, len(keys))
	for _, key := range keys {
		all = append(all, key)
	}
	all = append(all, args...)
	return call{key: keys[0], cmd: once{goredis.NewCmd(noContext, all...)}, script: s, size: sizeOf(all)}
}

// keys returns the keys of a script's call.
func (c *call) keys() []any {
	args := c.cmd.Args()
	return args[3:][:args[2].(int)]
}

// sizeOf adds up the arguments that may be long.
func sizeOf(args []any) int {
	n := 16 * len(args)
	for _, a := range args {
		switch a := a.(type) {
		case string:
			n += len(a)
		case []byte:
			n += len(a)
		}
	}
	return n
}

// err returns the error of the call's answer.
func (c *call) err() error {
	if c.lost != nil {
		return c.lost
	}
	return c.cmd.Err()
}

// failure says why the call has no answer, nil if it has one. That there is nothing is
// an answer.
func (c *call) failure() error {
	err := c.err()
	if err == nil || errors.Is(err, goredis.Nil) {
		return nil
	}
	if errors.Is(err, driver.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("redis: %s: %w: %w", c.cmd.Name(), driver.ErrUnavailable, err)
}

// wrongType reports whether the key has something else than the command is for.
func (c *call) wrongType() bool {
	err := c.err()
	return err != nil && goredis.HasErrorPrefix(err, "WRONGTYPE")
}

// outOfMemory reports whether the server has no memory for what the call would store.
func (c *call) outOfMemory() bool {
	err := c.err()
	return err != nil && goredis.IsOOMError(err)
}

// unsent reports whether it is certain that the call was not sent and will not be.
func (c *call) unsent() bool {
	var not notSent
	return c.lost == nil && errors.As(c.cmd.Err(), &not)
}

// text returns the answer of a plain command, and whether there is one.
func (c *call) text() (string, bool) {
	cmd := c.cmd.(*goredis.StringCmd)
	return cmd.Val(), cmd.Err() == nil
}

// reply returns the answer of a script.
func (c *call) reply() any { return c.cmd.(once).Val() }

// withSource returns the call again, with the whole script in place of its name.
func (c *call) withSource() goredis.Cmder {
	args := c.cmd.Args()
	all := make([]any, len(args))
	copy(all, args)
	all[0], all[1] = "eval", c.script.source
	return once{goredis.NewCmd(noContext, all...)}
}

// adopt takes over the answer of a repeated call.
func (c *call) adopt(again goredis.Cmder) {
	from, to := again.(once), c.cmd.(once)
	to.SetVal(from.Val())
	to.SetErr(from.Err())
}

// unknownScript reports whether the server does not have the call's script.
func (c *call) unknownScript() bool {
	if c.script == nil || c.cmd.Err() == nil {
		return false
	}
	return goredis.HasErrorPrefix(c.cmd.Err(), "NOSCRIPT")
}
