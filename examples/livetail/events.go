package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/graphcache/graphcache/streams"
)

// event is what a customer's users do.
type event struct {
	Type    string         `json:"type"`
	User    string         `json:"user"`
	Page    string         `json:"page,omitempty"`
	Country string         `json:"country"`
	Device  string         `json:"device"`
	Props   map[string]any `json:"props,omitempty"`
}

// customers are those whose events there are, the busiest first.
var customers = []string{"acme", "globex", "initech", "umbrella", "hooli", "stark", "wayne", "wonka"}

var (
	countries = []string{"US", "US", "US", "DE", "GB", "IN", "IN", "BR", "JP", "NO"}
	devices   = []string{"desktop", "desktop", "mobile", "mobile", "tablet"}
	pages     = []string{"/", "/pricing", "/docs", "/docs/quickstart", "/login", "/dashboard", "/settings", "/projects", "/projects/new", "/billing"}
	features  = []string{"dark_mode", "new_checkout", "ai_search", "bulk_export", "inline_comments"}
	problems  = []string{"timeout", "card_declined", "quota_exceeded", "not_found", "validation"}
)

// newEvent makes up an event. Some users are busier than others, and most look at pages.
func newEvent(rnd *rand.Rand, users *rand.Zipf) event {
	e := event{
		User:    fmt.Sprintf("user-%04d", users.Uint64()),
		Page:    pick(rnd, pages),
		Country: pick(rnd, countries),
		Device:  pick(rnd, devices),
	}
	switch n := rnd.IntN(100); {
	case n < 55:
		e.Type = "page_view"
		e.Props = map[string]any{"ms": 40 + rnd.IntN(900), "referrer": pick(rnd, []string{"direct", "search", "newsletter", "social"})}
	case n < 75:
		e.Type = "feature_exposure"
		e.Props = map[string]any{"feature": pick(rnd, features), "variant": pick(rnd, []string{"control", "treatment"}), "version": 1 + rnd.IntN(9)}
	case n < 85:
		e.Type = "search"
		e.Props = map[string]any{"results": rnd.IntN(40), "filters": []string{"last_7_days", "mine"}[:rnd.IntN(3)]}
	case n < 91:
		e.Type = "sign_up"
		e.Props = map[string]any{"plan": pick(rnd, []string{"free", "free", "team", "enterprise"}), "invited_by": nil}
	case n < 96:
		e.Type = "purchase"
		item := map[string]any{"sku": fmt.Sprintf("sku-%03d", rnd.IntN(200)), "quantity": 1 + rnd.IntN(3)}
		e.Props = map[string]any{"amount_cents": 500 + rnd.IntN(40_000), "currency": "USD", "items": []any{item}}
	default:
		e.Type = "error"
		e.Props = map[string]any{"code": pick(rnd, problems), "retryable": rnd.IntN(2) == 0}
	}
	return e
}

func pick[T any](rnd *rand.Rand, from []T) T { return from[rnd.IntN(len(from))] }

// produce appends events until ctx ends, and then tells how many.
func produce(ctx context.Context, s *settings, stream *streams.Stream[event]) <-chan int64 {
	var running sync.WaitGroup
	counts := make([]int64, s.producers)
	for i := range counts {
		running.Go(func() {
			rnd := rand.New(rand.NewPCG(s.seed, uint64(i)))
			counts[i] = produceSome(ctx, stream, rnd, s.rate/float64(s.producers))
		})
	}
	total := make(chan int64, 1)
	go func() {
		running.Wait()
		sum := int64(0)
		for _, n := range counts {
			sum += n
		}
		total <- sum
	}()
	return total
}

// produceSome appends so many events a second, on the average, in a rhythm that varies.
func produceSome(ctx context.Context, stream *streams.Stream[event], rnd *rand.Rand, rate float64) (n int64) {
	users := rand.NewZipf(rnd, 1.3, 20, 4999)
	which := rand.NewZipf(rnd, 1.5, 2, uint64(len(customers)-1))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	due, last := 0.0, time.Now()
	for {
		select {
		case now := <-tick.C:
			due += now.Sub(last).Seconds() * rate * rnd.Float64() * 2
			last = now
		case <-ctx.Done():
			return n
		}
		for ; due >= 1; due-- {
			stream.Append(customers[which.Uint64()], newEvent(rnd, users))
			n++
		}
	}
}
