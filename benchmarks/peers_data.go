package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The graph that peers read: users who are in ten teams each, and the events of the
// teams. Of every team the newest ten events are asked for.
const (
	peerUsers     = 1000
	peerTeams     = 100
	peerTeamsEach = 10
	peerEventsAll = 20 // of a team
	peerEventsNew = 10 // of a team, in a feed
)

// count:begin types

// peerUser is a user as a program without graphcache would declare one.
type peerUser struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Email   string    `json:"email"`
	City    string    `json:"city"`
	About   string    `json:"about"`
	Score   int       `json:"score"`
	Active  bool      `json:"active"`
	Created time.Time `json:"created"`
}

// peerEvent is an event of a team.
type peerEvent struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	Title   string    `json:"title"`
	Body    string    `json:"body"`
	Created time.Time `json:"created"`
}

// count:end

// peer is one way of reading the graph and of writing it. A feed has the newest events
// of each team of a user.
type peer interface {
	user(ctx context.Context, id string) (*peerUser, error)
	feed(ctx context.Context, user string) ([]*peerEvent, error)
	rename(ctx context.Context, user, name string) error
	join(ctx context.Context, user, team string) error
	publish(ctx context.Context, team string, e *peerEvent) error
}

const peerWords = "a river carries small boats past quiet mills and wide green meadows until evening lights appear"

func peerText(r *rand.Rand, bytes int) string {
	all := strings.Fields(peerWords)
	var b strings.Builder
	for b.Len() < bytes {
		b.WriteString(all[r.IntN(len(all))])
		b.WriteByte(' ')
	}
	return b.String()[:bytes]
}

func peerUserID(i int) string { return fmt.Sprintf("u%04d", i) }
func peerTeamID(i int) string { return fmt.Sprintf("t%03d", i) }

// peerTeamsOf returns the numbers of the teams that user i is in.
func peerTeamsOf(i int) []int {
	teams := make([]int, peerTeamsEach)
	for k := range teams {
		teams[k] = (3*i + 11*k) % peerTeams
	}
	return teams
}

// newPeerUser returns a user who is the same for the same number.
func newPeerUser(i int) *peerUser {
	r := rand.New(rand.NewPCG(uint64(i), 2))
	return &peerUser{
		ID: peerUserID(i), Name: peerText(r, 14), Email: fmt.Sprintf("user%d@example.com", i), City: peerText(r, 8),
		About: peerText(r, 200), Score: r.IntN(1e6), Active: r.IntN(2) == 0, Created: time.UnixMilli(1.7e12 + r.Int64N(1e10)).UTC(),
	}
}

// newPeerEvent returns event n of a team. Events of all teams take turns, so that the
// newest of several teams together are as many of each.
func newPeerEvent(team, n int) *peerEvent {
	r := rand.New(rand.NewPCG(uint64(team), uint64(n)))
	return &peerEvent{
		ID: fmt.Sprintf("e%03d-%02d", team, n), Kind: "note", Title: peerText(r, 30), Body: peerText(r, 100),
		Created: time.UnixMilli(1.7e12 + int64(n)*60_000 + int64(team)).UTC(),
	}
}

// peerWays returns ways of reading users and feeds, which check what they read. key
// returns the ID of a user and what she tells about herself.
func peerWays[U, E any](ctx context.Context, name string, user func(context.Context, string) (U, error), key func(U) (id, about string),
	feed func(context.Context, string) ([]E, error)) (users, feeds way) {
	ids := make([]string, peerUsers)
	for i := range ids {
		ids[i] = peerUserID(i)
	}
	users = way{name: name, op: func(i int) error {
		id := ids[peerTurn(i)]
		u, err := user(ctx, id)
		if err != nil {
			return err
		}
		if got, about := key(u); got != id || len(about) != 200 {
			return fmt.Errorf("user %s: read %q, who says %q", id, got, about)
		}
		return nil
	}}
	feeds = way{name: name, op: func(i int) error {
		id := ids[peerTurn(i)]
		events, err := feed(ctx, id)
		if err == nil && len(events) != peerTeamsEach*peerEventsNew {
			err = fmt.Errorf("feed of %s: %d events", id, len(events))
		}
		return err
	}}
	return users, feeds
}

// keyOfPeerUser is the key of users as peers without types of their own have them.
func keyOfPeerUser(u *peerUser) (id, about string) { return u.ID, u.About }

// peerTurn returns the number of a user for call i, in an order that repeats nobody before
// all others have had their turn.
func peerTurn(i int) int { return i * 387 % peerUsers }

// verifyPeer reads what is there, writes, and reads again: a user whose name changes and is
// changed back, and a user in no team who joins one that is not read otherwise.
func verifyPeer(ctx context.Context, p peer) error {
	u, err := p.user(ctx, peerUserID(7))
	if err != nil {
		return err
	}
	got, want := *u, *newPeerUser(7)
	got.Created = got.Created.UTC() // msgpack returns local times
	if got != want {
		return fmt.Errorf("read %+v, want %+v", got, want)
	}
	if err := wantFeed(ctx, p, 7, nil, ""); err != nil {
		return err
	}
	if err := p.rename(ctx, u.ID, "somebody"); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	if u, err = p.user(ctx, u.ID); err != nil || u.Name != "somebody" {
		return fmt.Errorf("after a change of the name: %+v, %v", u, err)
	}
	if err := p.rename(ctx, u.ID, newPeerUser(7).Name); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	const team = peerTeams // which nobody is in
	if err := p.publish(ctx, peerTeamID(team), newPeerEvent(team, 90)); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := wantFeed(ctx, p, peerUsers, nil, ""); err != nil { // of somebody who is in no team
		return err
	}
	if err := p.join(ctx, peerUserID(peerUsers), peerTeamID(team)); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	if err := wantFeed(ctx, p, peerUsers, []int{team}, newPeerEvent(team, 90).ID); err != nil {
		return err
	}
	if err := p.publish(ctx, peerTeamID(team), newPeerEvent(team, 91)); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return wantFeed(ctx, p, peerUsers, []int{team}, newPeerEvent(team, 91).ID)
}

// wantFeed reports what is wrong with the feed of a user: of one of the graph's it has
// the newest of each team, of another one that is new it has one event at least.
func wantFeed(ctx context.Context, p peer, user int, teams []int, id string) error {
	got, err := p.feed(ctx, peerUserID(user))
	if err != nil {
		return fmt.Errorf("feed: %w", err)
	}
	var ids, want []string
	for _, e := range got {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	if user < peerUsers {
		for _, t := range peerTeamsOf(user) {
			for n := range peerEventsNew {
				want = append(want, newPeerEvent(t, peerEventsAll-1-n).ID)
			}
		}
		slices.Sort(want)
		if !slices.Equal(ids, want) {
			return fmt.Errorf("the feed of user %d is %v, want %v", user, ids, want)
		}
		return nil
	}
	if len(teams) == 0 && len(ids) > 0 || len(teams) > 0 && !slices.Contains(ids, id) {
		return fmt.Errorf("the feed of a user in teams %v is %v, want %q in it", teams, ids, id)
	}
	return nil
}

// peerStore is the store of peers that bring none: a database as far as they can tell.
// Its methods are not counted as theirs.
type peerStore struct {
	refuses atomic.Bool

	mu     sync.Mutex // protects what follows
	users  map[string]peerUser
	teams  map[string][]string
	events map[string][]peerEvent // of a team, newest first
}

func newPeerStore() *peerStore {
	s := &peerStore{users: map[string]peerUser{}, teams: map[string][]string{}, events: map[string][]peerEvent{}}
	for i := range peerUsers + 1 {
		u := newPeerUser(i)
		s.users[u.ID] = *u
		for _, t := range peerTeamsOf(i) {
			if i < peerUsers {
				s.teams[u.ID] = append(s.teams[u.ID], peerTeamID(t))
			}
		}
	}
	for t := range peerTeams {
		for n := range peerEventsAll {
			s.events[peerTeamID(t)] = append(s.events[peerTeamID(t)], *newPeerEvent(t, peerEventsAll-1-n))
		}
	}
	return s
}

// enter locks the store, and reports it if it is not to be asked.
func (s *peerStore) enter() error {
	s.mu.Lock()
	if s.refuses.Load() {
		return fmt.Errorf("the store was asked")
	}
	return nil
}

func (s *peerStore) user(_ context.Context, id string) (*peerUser, error) {
	defer s.mu.Unlock()
	if err := s.enter(); err != nil {
		return nil, err
	}
	u, ok := s.users[id]
	if !ok {
		return nil, fmt.Errorf("there is no user %s", id)
	}
	return &u, nil
}

// teamsOf returns the teams of a user.
func (s *peerStore) teamsOf(_ context.Context, user string) ([]string, error) {
	defer s.mu.Unlock()
	if err := s.enter(); err != nil {
		return nil, err
	}
	return slices.Clone(s.teams[user]), nil
}

// newest returns the newest events of each team.
func (s *peerStore) newest(_ context.Context, teams []string) (map[string][]*peerEvent, error) {
	defer s.mu.Unlock()
	if err := s.enter(); err != nil {
		return nil, err
	}
	all := make(map[string][]*peerEvent, len(teams))
	for _, t := range teams {
		events := slices.Clone(s.events[t][:min(len(s.events[t]), peerEventsNew)])
		list := make([]*peerEvent, len(events))
		for i := range events {
			list[i] = &events[i]
		}
		all[t] = list
	}
	return all, nil
}

func (s *peerStore) rename(_ context.Context, user, name string) error {
	defer s.mu.Unlock()
	if err := s.enter(); err != nil {
		return err
	}
	u := s.users[user]
	u.Name = name
	s.users[user] = u
	return nil
}

func (s *peerStore) join(_ context.Context, user, team string) error {
	defer s.mu.Unlock()
	if err := s.enter(); err != nil {
		return err
	}
	s.teams[user] = append(slices.Clip(s.teams[user]), team)
	return nil
}

func (s *peerStore) publish(_ context.Context, team string, e *peerEvent) error {
	defer s.mu.Unlock()
	if err := s.enter(); err != nil {
		return err
	}
	s.events[team] = slices.Insert(s.events[team], 0, *e)
	return nil
}
