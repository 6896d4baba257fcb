package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/memory"
)

type User struct {
	ID    graphcache.ID[User] `json:"id"`
	Name  string              `json:"name"`
	Email string              `json:"email"`
	City  string              `json:"city" graph:"index"`
	Token string              `json:"-"` // kept neither in the store nor in the cache
	Posts []*Post             `json:"-"` // set by a query with With
}

type Post struct {
	ID      graphcache.ID[Post] `json:"id"`
	Version graphcache.Version  `json:"version"`
	Title   string              `json:"title"`
	Score   int                 `json:"score"`
}

type Topic struct {
	ID   graphcache.ID[Topic] `json:"id"`
	Name string               `json:"name" graph:"unique"`
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
	Topics  = graphcache.NewObjectKind[Topic]("topic").CacheScans()
	Schema  = graphcache.NewSchema(Users, Posts, Topics, Follows, Wrote, Boss, Friends, Likes, Loves, ByCity)
)

// So are the fields that queries and changes name, and the indexes on several of them.
var (
	City   = graphcache.StringFieldOf(Users, func(u *User) *string { return &u.City })
	Name   = graphcache.StringFieldOf(Users, func(u *User) *string { return &u.Name })
	Title  = graphcache.StringFieldOf(Posts, func(p *Post) *string { return &p.Title })
	Score  = graphcache.OrderedFieldOf(Posts, func(p *Post) *int { return &p.Score })
	Note   = graphcache.StringFieldOf(Follows, func(e *graphcache.Edge[User, User, Follow]) *string { return &e.Data.Note })
	ByCity = graphcache.NewIndex("by_city", Users, City, Name)
)

// open returns a graph with a few users and posts.
func open(ctx context.Context) *graphcache.Graph {
	g, err := graphcache.Open(ctx, Schema, memory.NewStore(nil), &graphcache.Options{Cache: memory.NewCache(nil)})
	if err != nil {
		log.Fatal(err)
	}
	err = g.CreateAll(ctx,
		&User{ID: "ann", Name: "Ann", City: "Berlin"}, &User{ID: "bob", Name: "Bob", City: "Paris"}, &User{ID: "cid", Name: "Cid", City: "Berlin"},
		&Post{ID: "p1", Title: "On graphs", Score: 3}, &Post{ID: "p2", Title: "On caches", Score: 9}, &Post{ID: "p3", Title: "On both", Score: 5})
	if err != nil {
		log.Fatal(err)
	}
	return g
}

// bobWrote adds the edges to the posts, the newest to "p3".
func bobWrote(ctx context.Context, g *graphcache.Graph) {
	for i, id := range []graphcache.ID[Post]{"p1", "p2", "p3"} {
		_, err := Wrote.AddEdge(ctx, g, graphcache.Edge[User, Post, graphcache.NoData]{From: "bob", To: id, Time: time.Unix(int64(i), 0)})
		check(err)
	}
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
	bobWrote(ctx, g)
	for p, err := range Wrote.Out(graphcache.ID[User]("bob")).Iter(ctx, g) {
		check(err)
		fmt.Println(p.Title) // newest first
	}
	// Output:
	// On both
	// On caches
	// On graphs
}

func ExampleObjectKind_Where() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	// The field is tagged `graph:"index"`, so the answer is cached, until a user
	// comes to Berlin or leaves it.
	users, err := Users.Where(City.Eq("Berlin")).All(ctx, g)
	check(err)
	for _, u := range users {
		fmt.Println(u.Name)
	}
	// Output:
	// Ann
	// Cid
}

func ExampleNewIndex() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	// ByCity is on the city and the name: it has those in a city by name.
	last, err := Users.Where(City.Eq("Berlin")).OrderBy(Name.Desc()).First(ctx, g)
	check(err)
	fmt.Println(last.Name)
	// Output: Cid
}

func ExampleObjectKind_Create_unique() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	check(Topics.Create(ctx, g, &Topic{Name: "caches"}))
	err := Topics.Create(ctx, g, &Topic{ID: "t2", Name: "caches"}) // the name is tagged `graph:"unique"`
	fmt.Println(errors.Is(err, graphcache.ErrExists), err)
	// Output: true graphcache: create topic "t2": already exists: another topic has the same values in the unique index "name"
}

func ExampleObjectKind_CacheScans() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	check(g.CreateAll(ctx, &Topic{ID: "t1", Name: "caches"}, &Topic{ID: "t2", Name: "graphs"}))
	all := Topics.Where() // no index has them
	for range 2 {
		fmt.Print(all.Explain(ctx, g))
		_, err := all.All(ctx, g)
		check(err)
		check(g.Settle(ctx)) // what was loaded is cached in the background
	}
	// Output:
	// 1. topic: scan of the kind
	//    all of topic, search: to be loaded
	// 1. topic: scan of the kind
	//    all of topic, search: cached
	//    topic "t1", object: cached
	//    topic "t2", object: cached
}

func ExampleQuery_Where() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	bobWrote(ctx, g)
	posts, err := Wrote.Out(graphcache.ID[User]("bob")).Where(Score.Ge(5)).All(ctx, g)
	check(err)
	for _, p := range posts {
		fmt.Println(p.Title, p.Score)
	}
	// Output:
	// On both 5
	// On caches 9
}

func ExampleOr() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	bobWrote(ctx, g)
	either := graphcache.Or(Title.HasPrefix("On g"), Score.Gt(8))
	for _, p := range []graphcache.Predicate[Post]{either, graphcache.Not(either)} {
		n, err := Wrote.Out(graphcache.ID[User]("bob")).Where(p).Count(ctx, g)
		check(err)
		fmt.Println(n)
	}
	// Output:
	// 2
	// 1
}

func ExampleQuery_WhereEdge() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	check(Follows.Add(ctx, g, "ann", "bob", Follow{Note: "met at work"}))
	check(Follows.Add(ctx, g, "ann", "cid", Follow{Note: "met at school"}))
	fromWork, err := Follows.Out(graphcache.ID[User]("ann")).WhereEdge(Note.Contains("work")).All(ctx, g)
	check(err)
	fmt.Println(fromWork[0].Name, len(fromWork))
	// Output: Bob 1
}

func ExampleQuery_OrderBy() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	bobWrote(ctx, g)
	best, err := Wrote.Out(graphcache.ID[User]("bob")).OrderBy(Score.Desc(), Title.Asc()).Limit(2).All(ctx, g)
	check(err)
	for _, p := range best {
		fmt.Println(p.Title, p.Score)
	}
	// Output:
	// On caches 9
	// On both 5
}

func ExampleQuery_Page() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	bobWrote(ctx, g)
	q := Wrote.Out(graphcache.ID[User]("bob")).Limit(2)
	for cursor := ""; ; {
		page, next, err := q.Page(ctx, g, cursor)
		check(err)
		for _, p := range page {
			fmt.Println(p.Title)
		}
		if next == "" {
			break
		}
		fmt.Println("next page")
		cursor = next // a client may have kept it meanwhile
	}
	// Output:
	// On both
	// On caches
	// next page
	// On graphs
}

func ExampleQuery_With() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	bobWrote(ctx, g)
	// The posts of all users are one batch, however many users there are.
	posts := Wrote.OutInto(func(u *User, posts []*Post) { u.Posts = posts }).LimitPer(2)
	users, err := Users.Where(City.In("Berlin", "Paris")).With(posts).All(ctx, g)
	check(err)
	for _, u := range users {
		fmt.Println(u.Name, len(u.Posts))
	}
	// Output:
	// Ann 0
	// Bob 2
	// Cid 0
}

func ExampleQuery_WithObjects() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	check(Follows.Add(ctx, g, "ann", "bob", Follow{Note: "met at work"}))
	pairs, err := Follows.Out(graphcache.ID[User]("ann")).WithObjects(ctx, g)
	check(err)
	for _, p := range pairs {
		fmt.Println(p.Object.Name, p.Edge.Data.Note)
	}
	// Output: Bob met at work
}

func ExampleObjectKind_Apply() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	// No index has the score: two who add at the same time do not get into each
	// other's way.
	p, err := Posts.Apply(ctx, g, "p1", Score.Add(2), Title.Set("On large graphs"))
	check(err)
	fmt.Println(p.Title, p.Score)
	// Output: On large graphs 5
}

func ExampleQuery_ApplyAll() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	report, err := Users.Where(City.Eq("Berlin")).ApplyAll(ctx, g, City.Set("Rome"))
	check(err)
	n, err := Users.Where(City.Eq("Rome")).Count(ctx, g)
	check(err)
	fmt.Println(report.Written, n)
	// Output: 2 2
}

func ExampleQuery_UpdateAll() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	bobWrote(ctx, g)
	report, err := Wrote.Out(graphcache.ID[User]("bob")).Where(Score.Lt(9)).UpdateAll(ctx, g, func(p *Post) error {
		p.Title = strings.ToUpper(p.Title)
		return nil
	})
	check(err)
	p, err := Posts.Get(ctx, g, "p3")
	check(err)
	fmt.Println(report.Found, report.Written, p.Title)
	// Output: 2 2 ON BOTH
}

func ExampleQuery_DeleteAll() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	bobWrote(ctx, g)
	_, err := Wrote.Out(graphcache.ID[User]("bob")).Where(Score.Lt(9)).DeleteAll(ctx, g)
	check(err)
	n, err := Wrote.Count(ctx, g, "bob") // the edges have gone with the posts
	check(err)
	fmt.Println(n)
	// Output: 1
}

func ExampleQuery_Explain() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	fmt.Print(Users.Where(Name.Eq("Ann")).Explain(ctx, g))
	// Output:
	// 1. user where name = "Ann": store
	//    no anchor, search: loaded every time
	//    because no index starts with a field that the predicates set equal to a value
	//    what would help: an index on user(name)
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

func ExampleGraph_Tx_rollback() {
	ctx := context.Background()
	g := open(ctx)
	defer g.Close(ctx)
	tooMany := errors.New("too many")
	err := g.Tx(ctx, func(tx *graphcache.Tx) error {
		if _, err := Users.Where(City.Eq("Berlin")).ApplyAll(ctx, tx, City.Set("Paris")); err != nil {
			return err
		}
		n, err := Users.Where(City.Eq("Paris")).Count(ctx, tx) // sees what was written
		if err == nil && n > 2 {
			err = tooMany
		}
		return err
	})
	fmt.Println(err)
	n, err := Users.Where(City.Eq("Paris")).Count(ctx, g)
	check(err)
	fmt.Println(n)
	// Output:
	// too many
	// 1
}

func ExampleGraph_Invalidate() {
	ctx := context.Background()
	store := memory.NewStore(nil)
	g, err := graphcache.Open(ctx, Schema, store, &graphcache.Options{Cache: memory.NewCache(nil)})
	check(err)
	defer g.Close(ctx)
	script, err := graphcache.Open(ctx, Schema, store, nil) // something that does not use the cache
	check(err)
	defer script.Close(ctx)

	check(Users.Create(ctx, g, &User{ID: "ann", Name: "Ann"}))
	_, err = Users.Get(ctx, g, "ann")
	check(err)
	check(g.Settle(ctx)) // Ann is in the cache now
	_, err = Users.Apply(ctx, script, "ann", Name.Set("Ann B."))
	check(err)

	for range 2 {
		u, err := Users.Get(ctx, g, "ann")
		check(err)
		fmt.Println(u.Name)
		check(g.Invalidate(ctx, Users.Ref("ann"))) // or InvalidateKind, if nobody knows whom
	}
	// Output:
	// Ann
	// Ann B.
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
