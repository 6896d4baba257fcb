// Command ent is the part of the benchmarks that reads the graph of the peers with ent
// from SQLite. It is a module and a process of its own, so that neither the generated
// code nor the database is in those of the others. It answers one line of its input after
// the other: what is to be measured, by how many goroutines and for how long, with what
// was measured.
package main

//go:generate go generate ./ent
//go:generate cp ../../measure.go ../../peers_data.go .

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	_ "modernc.org/sqlite"

	"github.com/graphcache/graphcache/benchmarks/peers/ent/ent"
	"github.com/graphcache/graphcache/benchmarks/peers/ent/ent/event"
	"github.com/graphcache/graphcache/benchmarks/peers/ent/ent/user"
)

// settings are what measure.go needs of those of the benchmarks.
type settings struct {
	rounds int
	turn   time.Duration
}

// count:begin declare ent
type entPeer struct{ c *ent.Client }

// count:end

// count:begin read ent
func (p entPeer) entUser(ctx context.Context, id string) (*ent.User, error) {
	return p.c.User.Get(ctx, id)
}

func (p entPeer) entFeed(ctx context.Context, id string) ([]*ent.Event, error) {
	return p.c.User.Query().Where(user.ID(id)).QueryTeams().QueryEvents().
		Order(event.ByCreated(entsql.OrderDesc())).Limit(100).All(ctx)
}

// count:end

// count:begin write ent
func (p entPeer) rename(ctx context.Context, id, name string) error {
	return p.c.User.UpdateOneID(id).SetName(name).Exec(ctx)
}

func (p entPeer) join(ctx context.Context, id, team string) error {
	return p.c.User.UpdateOneID(id).AddTeamIDs(team).Exec(ctx)
}

func (p entPeer) publish(ctx context.Context, team string, e *peerEvent) error {
	return p.c.Event.Create().SetID(e.ID).SetKind(e.Kind).SetTitle(e.Title).SetBody(e.Body).
		SetCreated(e.Created).SetTeamID(team).Exec(ctx)
}

// count:end

// user implements peer.
func (p entPeer) user(ctx context.Context, id string) (*peerUser, error) {
	u, err := p.entUser(ctx, id)
	if err != nil {
		return nil, err
	}
	return &peerUser{
		ID: u.ID, Name: u.Name, Email: u.Email, City: u.City, About: u.About, Score: u.Score,
		Active: u.Active, Created: u.Created.UTC(),
	}, nil
}

// feed implements peer.
func (p entPeer) feed(ctx context.Context, id string) ([]*peerEvent, error) {
	found, err := p.entFeed(ctx, id)
	if err != nil {
		return nil, err
	}
	events := make([]*peerEvent, len(found))
	for i, e := range found {
		events[i] = &peerEvent{ID: e.ID}
	}
	return events, nil
}

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "ent:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "graphcache-benchmarks-ent")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "graph.db")+
		"?_pragma=foreign_keys(1)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	defer db.Close()
	p := entPeer{ent.NewClient(ent.Driver(entsql.OpenDB(dialect.SQLite, db)))}
	if err := p.load(ctx); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	if err := verifyPeer(ctx, p); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	users, feeds := peerWays(ctx, "ent", p.entUser, func(u *ent.User) (id, about string) { return u.ID, u.About }, p.entFeed)
	ways := map[string]way{"user": users, "feed": feeds}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var name string
		var callers int
		var d int64
		if _, err := fmt.Sscan(in.Text(), &name, &callers, &d); err != nil {
			return err
		}
		w := ways[name]
		t, err := w.measure(callers, time.Duration(d))
		if err != nil {
			return err
		}
		fmt.Println(t.calls, int64(t.took), int64(t.cpu), t.allocs, t.bytes)
	}
	return nil
}

// load creates what the graph has at first.
func (p entPeer) load(ctx context.Context) error {
	if err := p.c.Schema.Create(ctx); err != nil {
		return err
	}
	var teams []*ent.TeamCreate
	for t := range peerTeams + 1 {
		teams = append(teams, p.c.Team.Create().SetID(peerTeamID(t)))
	}
	if err := p.c.Team.CreateBulk(teams...).Exec(ctx); err != nil {
		return err
	}
	for t := range peerTeams {
		var events []*ent.EventCreate
		for n := range peerEventsAll {
			e := newPeerEvent(t, n)
			events = append(events, p.c.Event.Create().SetID(e.ID).SetKind(e.Kind).SetTitle(e.Title).SetBody(e.Body).
				SetCreated(e.Created).SetTeamID(peerTeamID(t)))
		}
		if err := p.c.Event.CreateBulk(events...).Exec(ctx); err != nil {
			return err
		}
	}
	var users []*ent.UserCreate
	for i := range peerUsers + 1 {
		u := newPeerUser(i)
		create := p.c.User.Create().SetID(u.ID).SetName(u.Name).SetEmail(u.Email).SetCity(u.City).SetAbout(u.About).
			SetScore(u.Score).SetActive(u.Active).SetCreated(u.Created)
		if i < peerUsers {
			for _, t := range peerTeamsOf(i) {
				create.AddTeamIDs(peerTeamID(t))
			}
		}
		users = append(users, create)
	}
	for len(users) > 0 {
		n := min(len(users), 100) // as many values as a statement of SQLite takes
		if err := p.c.User.CreateBulk(users[:n]...).Exec(ctx); err != nil {
			return err
		}
		users = users[n:]
	}
	return nil
}
