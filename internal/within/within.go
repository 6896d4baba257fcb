// Package within has a context with a deadline that costs nothing until somebody needs
// it to be told.
//
// context.WithTimeout starts a timer, makes a channel and enters itself into its parent,
// which is more than a look-up in a cache costs otherwise. Who knows this package can
// wait with a timer of its own that it uses again and again.
package within

import (
	"context"
	"sync"
	"time"
)

// Context is a context that ends with its parent, or at a deadline.
type Context struct {
	parent   context.Context
	deadline time.Time

	once   sync.Once // protects what follows
	timed  context.Context
	cancel context.CancelFunc
}

// New returns a context that ends with the parent or after d. End must be called when it
// is not needed any more.
func New(parent context.Context, d time.Duration) *Context {
	c := &Context{parent: parent, deadline: time.Now().Add(d)}
	if at, ok := parent.Deadline(); ok && at.Before(c.deadline) {
		c.deadline = at
	}
	return c
}

// End releases what Done has taken.
func (c *Context) End() {
	c.once.Do(func() { c.timed, c.cancel = c.parent, func() {} })
	c.cancel()
}

// Deadline implements context.Context.
func (c *Context) Deadline() (time.Time, bool) { return c.deadline, true }

// Value implements context.Context.
func (c *Context) Value(key any) any { return c.parent.Value(key) }

// Done implements context.Context. It is then as costly as any other.
func (c *Context) Done() <-chan struct{} {
	c.once.Do(func() { c.timed, c.cancel = context.WithDeadline(c.parent, c.deadline) })
	return c.timed.Done()
}

// Err implements context.Context.
func (c *Context) Err() error {
	if err := c.parent.Err(); err != nil {
		return err
	}
	if !time.Now().Before(c.deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Split returns a channel that is closed when ctx ends, and the time at which it ends
// besides without that being told; the zero time if there is none.
func Split(ctx context.Context) (done <-chan struct{}, deadline time.Time) {
	if c, ok := ctx.(*Context); ok {
		return c.parent.Done(), c.deadline
	}
	return ctx.Done(), time.Time{}
}
