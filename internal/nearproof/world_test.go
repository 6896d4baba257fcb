package nearproof_test

import (
	"strconv"

	"github.com/graphcache/graphcache"
)

// The schema: users, whose objects are written; the edges from each to some others, whose
// data is written and which stay; and members, edges that come and go, which are counted.

type user struct {
	ID graphcache.ID[user] `json:"id"`
	N  int64               `json:"n"` // the number of its state
}

type link struct {
	N int64 `json:"n"`
}

var (
	users   = graphcache.NewObjectKind[user]("user")
	follows = graphcache.NewEdgeKind[link]("follows", users, users)
	members = graphcache.NewEdgeKind[graphcache.NoData]("member", users, users)
	schema  = graphcache.NewSchema(users, follows, members)
)

const (
	objects   = 2000
	hubs      = 500 // the users with edges, the first of all
	fanOut    = 3   // edges of a hub
	mostCount = 8   // members of a hub
)

func userID(i int) graphcache.ID[user] { return graphcache.ID[user]("u" + strconv.Itoa(i)) }

// followed returns the user at the end of a hub's edge: another hub.
func followed(hub, edge int) int { return (hub*7 + edge*31 + 1) % hubs }

// membersIn returns how many members a hub has in a state: they come one by one, and go one
// by one.
func membersIn(n int64) int {
	m := int(n % (2 * mostCount))
	return min(m, 2*mostCount-m)
}
