package redis

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/graphcache/graphcache/driver"
)

// Notices are the messages of one channel: the byte h and the key of the entry, published
// by the script that holds it. In a Cluster they reach the subscribers of all servers,
// and a process, which is subscribed at all masters, hears each as often as there are
// masters.
//
// What makes sure of them is a tick: a message on a channel that only one subscription
// has, published by a script that takes the way of a hold. A server executes one script
// after the other, and a connection keeps their messages in order, so who hears the tick
// has heard of every hold that this server had confirmed before the tick was sent. The
// way of a hold leads to the server that takes holds now; that this is the one at the
// other end of the subscription is known from the number of subscribers that it has,
// which does not count those of other servers:
//
//  1. A subscription stands at a master, which is deposed. It becomes a replica, and its
//     subscribers hear what the new master publishes.
//  2. Before it is in touch with the new master, that one takes a hold.
//  3. A tick is sent to the new master, and is heard by way of the replica. It has found
//     no subscriber there, so it says nothing about the hold, which was missed.
//
// The script names a key, as a hold does: a master that has lost its slots or the majority
// of a Cluster would still publish, but refuses the key.

const (
	noticesChannel = "notices" // after the prefix; that of ticks goes on after a colon
	noticeHeld     = "h"
	// noticeLook is the time after which the masters of a Cluster are looked up again.
	noticeLook = time.Second
	// noticePatience bounds a round of ticks.
	noticePatience = time.Second
	// noticeSilence is the number of rounds in a row whose tick finds its subscription, and
	// is not heard, before the subscription is given up.
	noticeSilence = 3
	// noticeAstray is the number of ticks in a row that do not find their subscription
	// before it is given up. One may have been led astray by a slot on the move.
	noticeAstray = 2
	// noticePause is the time between a round that has failed and the next one, unless
	// that is due earlier.
	noticePause = 100 * time.Millisecond
	// noticeKey and a number are the names of the keys by which ticks find their way.
	// Nothing is kept there.
	noticeKey = "notices"
	// noticeTries bounds the search for keys of all masters: there are 2^14 slots.
	noticeTries = 1 << 18
)

func (b *Backend) noticesChannel() string { return b.opts.Prefix + noticesChannel }

// parseNotice returns the anchor that a message is about.
func (b *Backend) parseNotice(message string) (anchor string, ok bool) {
	key, ok := strings.CutPrefix(message, noticeHeld)
	if !ok {
		return "", false
	}
	anchor, suffix, ok := b.name(key)
	return anchor, ok && suffix == entrySuffix && key == b.key(anchor, suffix)
}

// Notify implements driver.Notifier. It takes one connection to the server, in a Cluster
// one to each master, and once a period a round trip. A server that does not let it
// subscribe or publish is an error.
func (c *Cache) Notify(ctx context.Context, every time.Duration, n driver.Notices) error {
	if every <= 0 {
		return fmt.Errorf("redis: notify: %w: every %v", driver.ErrInvalid, every)
	}
	caller := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	t := &notifier{
		b: c.b, n: n, cancel: cancel, ring: make(chan struct{}, 1), listeners: make(map[*goredis.Client]*listener),
	}
	defer t.all.Wait()
	defer cancel(nil)
	t.all.Go(func() {
		select {
		case <-c.b.closing:
			cancel(errClosed)
		case <-ctx.Done():
		}
	})
	for ctx.Err() == nil {
		pause := every
		if !t.round(ctx) {
			pause = min(every, noticePause)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return firstOf(caller.Err(), context.Cause(ctx))
}

// notifier is a call of Notify. Its own goroutine sends the ticks.
type notifier struct {
	b      *Backend
	n      driver.Notices
	cancel context.CancelCauseFunc
	all    sync.WaitGroup // of the other goroutines
	ring   chan struct{}  // has an element when there is something new for a round that waits

	// Of the goroutine that sends the ticks.
	listeners map[*goredis.Client]*listener // of all masters
	looked    time.Time                     // when the masters were looked up
	number    uint64                        // of the last round

	mu     sync.Mutex // protects what follows, and is held while Lost and Current are called
	losses uint64     // how often Lost was called
}

// listener hears what one master tells.
type listener struct {
	t      *notifier
	client *goredis.Client
	stop   context.CancelFunc

	// Of the goroutine that sends the ticks.
	key  string // leads ticks to the master; empty if there is none yet
	next int    // the number of the next key to try

	// Guarded by t.mu.
	channel string             // of the ticks; empty while there is no subscription
	giveUp  context.CancelFunc // ends the subscription
	heard   uint64             // the number of the last tick
	astray  int                // ticks in a row that did not find the subscription
	silent  int                // and that found it, and were not heard
}

// round sends a tick to each master, and says Current if it hears all of them.
func (t *notifier) round(ctx context.Context) bool {
	at := time.Now()
	t.mu.Lock()
	losses := t.losses
	t.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, noticePatience)
	defer cancel()
	err := t.look(ctx, limited)
	if err == nil {
		calls, asked := t.ticks()
		if len(asked) < len(t.listeners) || len(asked) == 0 {
			return false
		}
		if err = t.b.do(limited, writeLane, calls); err == nil {
			err = t.sent(calls, asked)
		}
	}
	if err != nil {
		if isForbidden(err) {
			t.end(err)
		}
		return false
	}
	for {
		if done, ok := t.told(at, losses); done {
			return ok
		}
		select {
		case <-t.ring:
		case <-limited.Done():
			t.unheard()
			return false
		}
	}
}

// look sees to it that there is a listener at each master, and a key that leads there.
func (t *notifier) look(ctx, limited context.Context) error {
	if t.b.cluster == nil {
		if len(t.listeners) == 0 {
			t.listen(ctx, t.b.client.(*goredis.Client)).key = t.b.key(noticeKey, entrySuffix)
		}
		return nil
	}
	if time.Since(t.looked) < noticeLook {
		return t.lead(limited)
	}
	if err := t.b.layout.ready(limited); err != nil {
		return err
	}
	if err := t.b.watch.ready(limited); err != nil {
		return err
	}
	var mu sync.Mutex // protects masters
	masters := make(map[*goredis.Client]bool)
	err := t.b.cluster.ForEachMaster(limited, func(_ context.Context, c *goredis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		masters[c] = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("redis: find the masters of the Cluster: %w: %w", driver.ErrUnavailable, err)
	}
	for c, l := range t.listeners {
		if !masters[c] {
			l.stop()
			l.end() // now, before it can be thought that nothing is missing
			delete(t.listeners, c)
		}
	}
	for c := range masters {
		if t.listeners[c] == nil {
			t.listen(ctx, c)
		}
	}
	t.looked = time.Now()
	return t.lead(limited)
}

// lead finds keys that lead to the masters which have none, or whose key leads elsewhere
// by now.
func (t *notifier) lead(ctx context.Context) error {
	for c, l := range t.listeners {
		for tries := 0; ; tries++ {
			if l.key != "" {
				master, err := t.b.cluster.MasterForKey(ctx, l.key)
				if err != nil {
					return fmt.Errorf("redis: find the nodes of the Cluster: %w: %w", driver.ErrUnavailable, err)
				}
				if master == c {
					break
				}
			}
			if tries == noticeTries {
				t.looked = time.Time{}
				return fmt.Errorf("redis: find a key of %s: %w", c.Options().Addr, driver.ErrUnavailable)
			}
			l.key = t.b.key(noticeKey+strconv.Itoa(l.next%noticeTries), entrySuffix)
			l.next++
		}
	}
	return nil
}

// ticks returns the ticks of a round, and the listeners that are to hear them: those that
// stand.
func (t *notifier) ticks() (calls []call, asked []*listener) {
	t.number++
	number := strconv.FormatUint(t.number, 10)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.listeners {
		if l.channel != "" {
			calls = append(calls, tickScript.run(l.key, l.channel, number))
			asked = append(asked, l)
		}
	}
	return calls, asked
}

// errAstray says that a tick has not found the subscription.
var errAstray = errors.New("redis: the subscription is not at the server that takes the holds")

// sent reads the answers to ticks.
func (t *notifier) sent(calls []call, asked []*listener) (first error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, l := range asked {
		err := calls[i].failure()
		if err == nil && calls[i].reply() == int64(0) {
			err = errAstray
			l.stray()
			t.looked = time.Time{}
		} else if err == nil {
			l.astray = 0
		}
		first = firstOf(first, err)
	}
	return first
}

// stray takes note that a tick has not found the subscription.
func (l *listener) stray() {
	if l.astray++; l.astray == noticeAstray {
		l.giveUp()
	}
	if l.t.b.cluster != nil {
		l.key = "" // the next one may be of a slot that is not on the move
	}
}

// told says Current if all ticks of the round were heard. The round is done then, and
// when they cannot be heard any more.
func (t *notifier) told(at time.Time, losses uint64) (done, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.losses != losses {
		return true, false
	}
	for _, l := range t.listeners {
		if l.heard != t.number {
			return false, false
		}
	}
	t.n.Current(at)
	return true, true
}

// unheard takes note that ticks were sent and not heard in time.
func (t *notifier) unheard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.listeners {
		if l.heard == t.number {
			continue
		}
		if l.silent++; l.silent == noticeSilence && l.channel != "" {
			l.giveUp()
		}
	}
}

// isForbidden reports whether an error says that the user must not do this, or that a
// script of his must not.
func isForbidden(err error) bool {
	return goredis.IsPermissionError(err) || strings.Contains(err.Error(), "The user executing the script can't")
}

// isClosed reports whether an error says that the client is closed. A node that has left a
// Cluster is closed, too.
func (t *notifier) isClosed(ctx context.Context, err error) bool {
	if errors.Is(err, goredis.ErrClosed) && t.b.cluster != nil {
		err = t.b.cluster.ClusterShards(ctx).Err()
	}
	return errors.Is(err, goredis.ErrClosed)
}

// end ends the call of Notify.
func (t *notifier) end(err error) {
	t.cancel(fmt.Errorf("redis: notify: %w: %w", driver.ErrUnavailable, err))
}

// lost says Lost.
func (t *notifier) lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lostLocked()
}

func (t *notifier) lostLocked() {
	t.losses++
	t.n.Lost()
	t.signal()
}

// signal wakes a round that waits.
func (t *notifier) signal() {
	select {
	case t.ring <- struct{}{}:
	default:
	}
}

// listen begins to listen to a master.
func (t *notifier) listen(ctx context.Context, client *goredis.Client) *listener {
	ctx, stop := context.WithCancel(ctx)
	l := &listener{t: t, client: client, stop: stop}
	t.listeners[client] = l
	t.all.Go(func() {
		defer stop()
		for ctx.Err() == nil {
			if err := l.subscribe(ctx); ctx.Err() == nil && (isForbidden(err) || t.isClosed(ctx, err)) {
				t.end(err)
			}
			select {
			case <-ctx.Done():
			case <-time.After(wakePause + rand.N(wakePause)):
			}
		}
	})
	return l
}

// subscribe passes on what one subscription hears, until it breaks.
func (l *listener) subscribe(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	ticks := l.t.b.noticesChannel() + ":" + crand.Text()
	sub := l.client.Subscribe(ctx, l.t.b.noticesChannel(), ticks)
	var closer sync.WaitGroup
	closer.Go(func() {
		<-ctx.Done()
		_ = sub.Close()
	})
	defer closer.Wait()
	defer cancel()
	defer l.end()
	for confirmed := 0; ; {
		m, err := receive(ctx, sub)
		if ctx.Err() != nil {
			return ctx.Err() // given up: that it is closed says nothing of the client
		}
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *goredis.Subscription:
			switch confirmed++; {
			case m.Kind != "subscribe" || confirmed > 2:
				return errAgain
			case confirmed == 2:
				l.begin(ticks, cancel)
			}
		case *goredis.Message:
			l.hear(m, ticks)
		}
	}
}

// errAgain says that the client has connected again by itself.
var errAgain = errors.New("redis: the subscription is another one")

// begin takes note that a subscription stands, with the channel of its ticks.
func (l *listener) begin(ticks string, giveUp context.CancelFunc) {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	l.channel, l.giveUp, l.astray, l.silent = ticks, giveUp, 0, 0
	l.t.lostLocked()
}

// end takes note that there is none any more.
func (l *listener) end() {
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	if l.channel != "" {
		l.channel = ""
		l.t.lostLocked()
	}
}

// hear passes a message on.
func (l *listener) hear(m *goredis.Message, ticks string) {
	t := l.t
	if m.Channel != ticks {
		if anchor, ok := t.b.parseNotice(m.Payload); ok {
			t.n.Held(anchor)
			return
		}
		t.lost()
		return
	}
	number, err := strconv.ParseUint(m.Payload, 10, 64)
	if err != nil {
		t.lost()
		return
	}
	t.mu.Lock()
	l.heard, l.silent = number, 0
	t.mu.Unlock()
	t.signal()
}
