package main

import (
	"context"
	"fmt"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
	"github.com/graphcache/graphcache/driver"
)

// count:begin declare graphcache
type graphUser struct {
	ID      graphcache.ID[graphUser] `json:"id"`
	Name    string                   `json:"name"`
	Email   string                   `json:"email"`
	City    string                   `json:"city"`
	About   string                   `json:"about"`
	Score   int                      `json:"score"`
	Active  bool                     `json:"active"`
	Created time.Time                `json:"created"`
}

type graphTeam struct {
	ID graphcache.ID[graphTeam] `json:"id"`
}

type graphEvent struct {
	ID      graphcache.ID[graphEvent] `json:"id"`
	Kind    string                    `json:"kind"`
	Title   string                    `json:"title"`
	Body    string                    `json:"body"`
	Created time.Time                 `json:"created"`
}

var (
	graphUsers  = graphcache.NewObjectKind[graphUser]("member")
	graphTeams  = graphcache.NewObjectKind[graphTeam]("team")
	graphEvents = graphcache.NewObjectKind[graphEvent]("event")
	memberOf    = graphcache.NewEdgeKind[graphcache.NoData]("member_of", graphUsers, graphTeams)
	published   = graphcache.NewEdgeKind[graphcache.NoData]("published", graphTeams, graphEvents)
	graphName   = graphcache.StringFieldOf(graphUsers, func(u *graphUser) *string { return &u.Name })
	graphSchema = graphcache.NewSchema(graphUsers, graphTeams, graphEvents, memberOf, published)
)

type graphPeer struct{ g *graphcache.Graph }

// count:end

// count:begin read graphcache
func (p graphPeer) getUser(ctx context.Context, id string) (*graphUser, error) {
	return graphUsers.Get(ctx, p.g, graphcache.ID[graphUser](id))
}

func (p graphPeer) getFeed(ctx context.Context, user string) ([]*graphEvent, error) {
	return published.Out(memberOf.Out(graphcache.ID[graphUser](user))).LimitPer(10).All(ctx, p.g)
}

// count:end

// count:begin write graphcache
func (p graphPeer) rename(ctx context.Context, user, name string) error {
	_, err := graphUsers.Apply(ctx, p.g, graphcache.ID[graphUser](user), graphName.Set(name))
	return err
}

func (p graphPeer) join(ctx context.Context, user, team string) error {
	return memberOf.Add(ctx, p.g, graphcache.ID[graphUser](user), graphcache.ID[graphTeam](team), graphcache.NoData{})
}

func (p graphPeer) publish(ctx context.Context, team string, e *peerEvent) error {
	return p.g.Tx(ctx, func(tx *graphcache.Tx) error {
		event := &graphEvent{ID: graphcache.ID[graphEvent](e.ID), Kind: e.Kind, Title: e.Title, Body: e.Body, Created: e.Created}
		if err := graphEvents.Create(ctx, tx, event); err != nil {
			return err
		}
		return published.Add(ctx, tx, graphcache.ID[graphTeam](team), event.ID, graphcache.NoData{})
	})
}

// count:end

// getUserInto reads a user into a variable.
func (p graphPeer) getUserInto(ctx context.Context, id string) (u graphUser, err error) {
	err = graphUsers.GetInto(ctx, p.g, graphcache.ID[graphUser](id), &u)
	return u, err
}

// user implements peer.
func (p graphPeer) user(ctx context.Context, id string) (*peerUser, error) {
	u, err := p.getUser(ctx, id)
	if err != nil {
		return nil, err
	}
	return &peerUser{string(u.ID), u.Name, u.Email, u.City, u.About, u.Score, u.Active, u.Created}, nil
}

// feed implements peer.
func (p graphPeer) feed(ctx context.Context, user string) ([]*peerEvent, error) {
	found, err := p.getFeed(ctx, user)
	if err != nil {
		return nil, err
	}
	events := make([]*peerEvent, len(found))
	for i, e := range found {
		events[i] = &peerEvent{ID: string(e.ID)}
	}
	return events, nil
}

func (p graphPeer) ways(ctx context.Context, name string) (users, feeds way) {
	return peerWays(ctx, name, p.getUser, keyOfGraphUser, p.getFeed)
}

func keyOfGraphUser(u *graphUser) (id, about string) { return string(u.ID), u.About }

// newGraphStore returns a store that has the graph. It is for one graph at a time.
func newGraphStore(ctx context.Context) (*store, error) {
	s := &store{Store: memory.NewStore(nil)}
	d, err := graphSchema.Driver()
	if err != nil {
		return nil, err
	}
	if err := s.Ensure(ctx, d); err != nil {
		return nil, err
	}
	var writes []driver.Write
	object := func(kind, id string, fields ...driver.Field) {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: kind, Object: &driver.Object{ID: id, Version: 1, Doc: fields}})
	}
	edge := func(kind, from, to string, at time.Time) {
		writes = append(writes, driver.Write{Op: driver.Insert, Kind: kind, Edge: &driver.Edge{From: from, To: to, Version: 1, Time: at}})
	}
	for t := range peerTeams + 1 {
		object("team", peerTeamID(t))
		for n := range peerEventsAll {
			if t < peerTeams {
				e := newPeerEvent(t, n)
				object("event", e.ID, driver.Field{Name: "kind", Value: e.Kind}, driver.Field{Name: "title", Value: e.Title},
					driver.Field{Name: "body", Value: e.Body}, driver.Field{Name: "created", Value: e.Created})
				edge("published", peerTeamID(t), e.ID, e.Created)
			}
		}
	}
	for i := range peerUsers + 1 {
		u := newPeerUser(i)
		object("member", u.ID, driver.Field{Name: "name", Value: u.Name}, driver.Field{Name: "email", Value: u.Email},
			driver.Field{Name: "city", Value: u.City}, driver.Field{Name: "about", Value: u.About},
			driver.Field{Name: "score", Value: int64(u.Score)}, driver.Field{Name: "active", Value: u.Active},
			driver.Field{Name: "created", Value: u.Created})
		for _, t := range peerTeamsOf(i) {
			if i < peerUsers {
				edge("member_of", u.ID, peerTeamID(t), u.Created)
			}
		}
	}
	results, err := s.Write(ctx, writes)
	for _, r := range results {
		if err == nil && r.Outcome != driver.Done {
			err = fmt.Errorf("the graph: %v", r.Outcome)
		}
	}
	return s, err
}
