//go:build linux

package soak_test

import (
	"fmt"

	"github.com/graphcache/graphcache"
)

// The schema: accounts, which all processes write, one by one and two in a transaction; things,
// which come and go; and links between nodes that are never written. An index finds accounts
// and things by their group.

type account struct {
	ID      graphcache.ID[account] `json:"id"`
	N       int64                  `json:"n"` // the number of its state
	Balance int64                  `json:"balance"`
	Group   string                 `json:"group" graph:"index"`
}

// plainAccount is an account as a version of the program knows it that has no index.
type plainAccount struct {
	ID      graphcache.ID[plainAccount] `json:"id"`
	N       int64                       `json:"n"`
	Balance int64                       `json:"balance"`
	Group   string                      `json:"group"`
}

type thing struct {
	ID    graphcache.ID[thing] `json:"id"`
	N     int64                `json:"n"`
	Group string               `json:"group" graph:"index"`
}

type node struct {
	ID graphcache.ID[node] `json:"id"`
}

type linkData struct {
	N int64 `json:"n"`
}

type link = graphcache.Edge[node, node, linkData]

var (
	accounts      = graphcache.NewObjectKind[account]("account")
	plainAccounts = graphcache.NewObjectKind[plainAccount]("account")
	things        = graphcache.NewObjectKind[thing]("thing")
	nodes         = graphcache.NewObjectKind[node]("node")
	links         = graphcache.NewEdgeKind[linkData]("link", nodes, nodes)
	accountGroup  = graphcache.StringFieldOf(accounts, func(a *account) *string { return &a.Group })
	thingGroup    = graphcache.StringFieldOf(things, func(t *thing) *string { return &t.Group })
	schema        = graphcache.NewSchema(accounts, things, nodes, links)
	plainSchema   = graphcache.NewSchema(plainAccounts, things, nodes, links)
)

// The records of a cell, in the order of their sequences.
const (
	cellAccounts = 8
	cellThings   = 4
	cellHubs     = 2
	cellEnds     = 5
	cellGroups   = 3
	cellSize     = cellAccounts + cellThings + cellHubs*cellEnds

	opening = 1000 // the balance of an account
)

// The sequences of a cell.
func accountAt(cell, i int) int { return cell*cellSize + i }
func thingAt(cell, i int) int   { return cell*cellSize + cellAccounts + i }
func linkAt(cell, hub, end int) int {
	return cell*cellSize + cellAccounts + cellThings + hub*cellEnds + end
}

func accountID[T any](cell, i int) graphcache.ID[T] {
	return graphcache.ID[T](fmt.Sprintf("a%02d-%d", cell, i))
}
func thingID(cell, i int) graphcache.ID[thing] {
	return graphcache.ID[thing](fmt.Sprintf("t%02d-%d", cell, i))
}
func hubID(cell, i int) graphcache.ID[node] {
	return graphcache.ID[node](fmt.Sprintf("h%02d-%d", cell, i))
}
func endID(cell, i int) graphcache.ID[node] {
	return graphcache.ID[node](fmt.Sprintf("n%02d-%d", cell, i))
}
func groupName(cell, g int) string { return fmt.Sprintf("g%02d-%d", cell, g) }

// lastDigit returns the number at the end of an ID.
func lastDigit[S ~string](id S) int { return int(id[len(id)-1] - '0') }

// accountGroupOf returns the group of an account in a state. Every second write changes it.
func accountGroupOf(i int, n int64) int { return (i + int(n/2)) % cellGroups }

// present reports whether a thing or a link is there in a state.
func present(n int64) bool { return n%4 != 0 }

// thingGroupOf returns the group of a thing in a state in which it is there, else -1.
func thingGroupOf(i int, n int64) int {
	if !present(n) {
		return -1
	}
	return (i + int(n/2)) % cellGroups
}

// period is after how many states all of these repeat themselves.
const period = 4 * cellGroups

// The views of a sequence, each of one anchor.
const (
	itself   = 0 // an object; an edge in the list of where it begins
	byGroup  = 1 // an object's place in an index
	incoming = 1 // an edge in the list of where it leads
)

// touches reports whether the write that makes a state has to do with the anchor of the view.
func touches(seq, view int, n int64) bool {
	i := seq % cellSize
	return i >= cellAccounts || view == itself || accountGroupOf(i, n) != accountGroupOf(i, n-1)
}

// describe names what a sequence is, and the view.
func describe(seq, view int) string {
	cell, i := seq/cellSize, seq%cellSize
	switch {
	case i < cellAccounts:
		return fmt.Sprintf("account %s%s", accountID[account](cell, i), []string{"", ", by its group"}[view])
	case i < cellAccounts+cellThings:
		return fmt.Sprintf("thing %s%s", thingID(cell, i-cellAccounts), []string{"", ", by its group"}[view])
	}
	i -= cellAccounts + cellThings
	return fmt.Sprintf("the link from %s to %s, %s", hubID(cell, i/cellEnds), endID(cell, i%cellEnds), []string{"there", "here"}[view])
}
