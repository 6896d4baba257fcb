package main

import (
	"math"
	"math/big"

	"github.com/256dpi/lungo/bsonkit"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// compare is the engine's order, but decimals and floating-point numbers are compared by
// their exact values: the engine takes a float for the shortest decimal that rounds to
// it, and infinities for 0.
func compare(a, b any) int {
	switch x := a.(type) {
	case primitive.Decimal128:
		if y, ok := b.(float64); ok && !math.IsNaN(y) {
			if d, ok := exact(x); ok {
				return d.Cmp(big.NewFloat(y))
			}
		}
	case float64:
		if y, ok := b.(primitive.Decimal128); ok && !math.IsNaN(x) {
			if d, ok := exact(y); ok {
				return big.NewFloat(x).Cmp(d)
			}
		}
	}
	return bsonkit.Compare(a, b)
}

// exact returns a decimal that is a whole number.
func exact(d primitive.Decimal128) (*big.Float, bool) {
	n, exp, err := d.BigInt()
	if err != nil || exp != 0 {
		return nil, false
	}
	return new(big.Float).SetInt(n), true
}

// inOrder is the engine's order of documents by columns, with compare.
func inOrder(a, b bsonkit.Doc, columns []bsonkit.Column) int {
	for _, c := range columns {
		one := []bsonkit.Column{c}
		x, y := bsonkit.Get(a, c.Path), bsonkit.Get(b, c.Path)
		_, decimal := x.(primitive.Decimal128)
		_, decimals := y.(primitive.Decimal128)
		n := 0
		if decimal || decimals {
			if n = compare(x, y); c.Reverse {
				n = -n
			}
		} else {
			n = bsonkit.Order(a, b, one, false)
		}
		if n != 0 {
			return n
		}
	}
	return 0
}
