package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
)

type User struct {
	ID    graphcache.ID[User] `json:"id"`
	Name  string              `json:"name"`
	Email string              `json:"email"`
	Token string              `json:"-"` // kept neither in the store nor in the cache
}

type Post struct {
	ID      graphcache.ID[Post] `json:"id"`
	Version graphcache.Version  `json:"version"`
	Title   string              `json:"title"`
}

type Follow struct {
	Note string `json:"note"`
}

// Kinds are package variables, usually beside the types.
var (
	Users   = graphcache.NewObjectKind[User]("user")
	Posts   = graphcache.NewObjectKind[Post]("post")
	Follows = graphcache.NewEdgeKind[Follow]("follows", Users, Users)
	Wrote   = graphcache.NewEdgeKind[graphcache.NoData]("wrote", Users, Posts)
	Boss    = graphcache.NewEdgeKind[graphcache.NoData]("boss", Users, Users).ToOne()
	Friends = graphcache.NewEdgeKind[graphcache.NoData]("friends", Users, Users).Symmetric()
	Likes   = graphcache.NewEdgeKind[graphcache.NoData]("likes", Users, Posts).Family("reaction")
	Loves   = graphcache.NewEdgeKind[graphcache.NoData]("loves", Users, Posts).Family("reaction")
	Schema  = graphcache.NewSchema(Users, Posts, Follows, Wrote, Boss, Friends, Likes, Loves)
)

// open returns a graph with a few users and posts.
func open(ctx context.Context) *graphcache.Graph {
	g, err := graphcache.Open(ctx, Schema, memory.NewStore(nil), &graphcache.Options{Cache: memory.NewCache(nil)})
	if err != nil {
		log.Fatal(err)
	}
	err = g.CreateAll(ctx,
		&User{ID: "ann", Name: "Ann"}, &User{ID: "bob", Name: "Bob"}, &User{ID: "cid", Name: "Cid"},
		&Post{ID: "p1", Title: "On graphs"}, &Post{ID: "p2", Title: "On caches"}, &Post{ID: "p3", Title: "On both"})
	if err != nil {
		log.Fatal(err)
	}
	return g
}

// check ends an example that goes wrong.
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func Example() {
	ctx := context.Background()
	g, err := graphcache.Open(ctx, Schema, memory.NewStore(nil), &graphcache.Options{Cache: memory.NewCache(nil)})
	check(err)
	defer g.Close(ctx)

	ann, bob := &User{Name: "Ann"}, &User{Name: "Bob"}
	check(Users.Create(ctx, g, ann)) // gives ann an ID
	check(Users.Create(ctx, g, bob))
	post := &Post{Title: "On graphs"}
	check(Posts.Create(ctx, g, post))
	check(Follows.Add(ctx, g, ann.ID, bob.ID, Follow{Note: "met at work"}))
	check(Wrote.Add(ctx, g, bob.ID, post.ID, graphcache.NoData{}))

	// What have the people that Ann follows written?
	posts, err := Wrote.Out(Follows.Out(ann.ID)).Limit(20).All(ctx, g)
	check(err)
	for _, p := range posts {
		fmt.Println(p.Title)
	}
	// Output: On graphs
}

func ExampleObjectKind_Get() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	u, err := Users.Get(ctx, g, "ann")
	check(err)
	fmt.Println(u.Name)
	_, err = Users.Get(ctx, g, "dan")
	fmt.Println(errors.Is(err, graphcache.ErrNotFound), err)
	// Output:
	// Ann
	// true graphcache: get user "dan": not found
}

func ExampleObjectKind_Update() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	u, err := Users.Update(ctx, g, "ann", func(u *User) error {
		u.Name += " B." // may run again if somebody else writes Ann meanwhile
		return nil
	})
	check(err)
	fmt.Println(u.Name)
	// Output: Ann B.
}

func ExampleVersion() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	form, err := Posts.Get(ctx, g, "p1") // shown to somebody, with its version
	check(err)
	_, err = Posts.Update(ctx, g, "p1", func(p *Post) error { p.Title = "Changed"; return nil })
	check(err)
	form.Title = "Typed meanwhile"
	err = Posts.Put(ctx, g, form)
	fmt.Println(errors.Is(err, graphcache.ErrConflict))
	// Output: true
}

func ExampleEdgeKind_AddEdge() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	e := graphcache.Edge[User, User, Follow]{From: "ann", To: "bob", Time: time.Unix(1700000000, 0)}
	for range 2 {
		created, err := Follows.AddEdge(ctx, g, e)
		check(err)
		fmt.Println(created)
	}
	err := Follows.Add(ctx, g, "ann", "nobody", Follow{})
	fmt.Println(err)
	// Output:
	// true
	// false
	// graphcache: add follows "ann" to "nobody": not found: user "nobody"
}

func ExampleEdgeKind_ToOne() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	check(Boss.Add(ctx, g, "ann", "bob", graphcache.NoData{}))
	check(Boss.Add(ctx, g, "ann", "cid", graphcache.NoData{})) // takes the place of the first
	boss, err := Boss.Out(graphcache.ID[User]("ann")).Only(ctx, g)
	check(err)
	n, err := Boss.In(graphcache.ID[User]("bob")).Count(ctx, g)
	check(err)
	fmt.Println(boss.Name, n)
	// Output: Cid 0
}

func ExampleEdgeKind_Symmetric() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	check(Friends.Add(ctx, g, "ann", "bob", graphcache.NoData{}))
	edges, err := Friends.Out(graphcache.ID[User]("bob")).Edges(ctx, g)
	check(err)
	fmt.Println(edges[0].From, edges[0].To)
	// Output: bob ann
}

func ExampleEdgeKind_ChangeKind() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	check(Likes.Add(ctx, g, "ann", "p1", graphcache.NoData{}))
	check(Likes.ChangeKind(ctx, g, "ann", "p1", Loves))
	likes, err := Likes.Count(ctx, g, "ann")
	check(err)
	loves, err := Loves.Count(ctx, g, "ann")
	check(err)
	fmt.Println(likes, loves)
	// Output: 0 1
}

func ExampleQuery_Iter() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	for i, id := range []graphcache.ID[Post]{"p1", "p2", "p3"} {
		_, err := Wrote.AddEdge(ctx, g, graphcache.Edge[User, Post, graphcache.NoData]{From: "bob", To: id, Time: time.Unix(int64(i), 0)})
		check(err)
	}
	for p, err := range Wrote.Out(graphcache.ID[User]("bob")).Iter(ctx, g) {
		check(err)
		fmt.Println(p.Title) // newest first
	}
	// Output:
	// On both
	// On caches
	// On graphs
}

func ExampleGraph_Tx() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	err := g.Tx(ctx, func(tx *graphcache.Tx) error {
		if err := Posts.Create(ctx, tx, &Post{ID: "p4", Title: "Both or none"}); err != nil {
			return err
		}
		return Wrote.Add(ctx, tx, "ann", "p4", graphcache.NoData{})
	})
	check(err)
	p, err := Wrote.Out(graphcache.ID[User]("ann")).First(ctx, g)
	check(err)
	fmt.Println(p.Title)
	// Output: Both or none
}

func ExampleGraph_Namespace() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	tenant, err := g.Namespace(ctx, "acme")
	check(err)
	_, err = Users.Get(ctx, tenant, "ann") // Ann is not one of this tenant's users
	fmt.Println(errors.Is(err, graphcache.ErrNotFound))
	// Output: true
}
