// Package ent has the client that ent generates from the schema.
package ent

//go:generate go tool ent generate ./schema
