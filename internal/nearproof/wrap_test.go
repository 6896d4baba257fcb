package nearproof_test

import (
	"context"
	"time"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/driver"
)

// The controls break what a cache promises.

// wrapped is a cache whose notices are others.
type wrapped struct {
	*redis.Cache
	wrap func(driver.Notices) driver.Notices
}

func (c *wrapped) Notify(ctx context.Context, every time.Duration, n driver.Notices) error {
	return c.Cache.Notify(ctx, every, c.wrap(n))
}

// mute says nothing of what is held, and that all of it was said.
type mute struct{ driver.Notices }

func (mute) Held(string) {}

// late says what is held after it has said that all of it was said.
type late struct {
	driver.Notices
	by time.Duration
}

func (n late) Held(anchor string) { time.AfterFunc(n.by, func() { n.Notices.Held(anchor) }) }

// unheld places no holds, and says that it does.
type unheld struct{ *redis.Cache }

func (unheld) Hold(_ context.Context, holds []driver.Hold) ([]driver.Outcome, error) {
	return done(len(holds)), nil
}

func (unheld) Release(_ context.Context, releases []driver.Release) ([]driver.Outcome, error) {
	return done(len(releases)), nil
}

func done(n int) []driver.Outcome {
	outcomes := make([]driver.Outcome, n)
	for i := range outcomes {
		outcomes[i] = driver.Done
	}
	return outcomes
}
