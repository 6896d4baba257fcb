package graphcache

import (
	"github.com/graphcache/graphcache/driver"
)

// Order is one key of the order of a query's results, made by the Asc and Desc methods
// of fields. T is the type of the objects, or of the edges.
type Order[T any] struct {
	key orderKey
}

// orderKey is what an Order is without its type parameter.
type orderKey struct {
	col  *column
	desc bool
}

// appendOrder adds a key to an order, unless what is there leaves it nothing to decide.
func appendOrder(keys []orderKey, k orderKey) []orderKey {
	for _, earlier := range keys {
		if earlier.col.same(k.col) || earlier.col.Of == driver.ObjectID {
			return keys
		}
	}
	return append(keys, k)
}

// compareBy compares the values of the keys' columns.
func compareBy(keys []orderKey, a, b []driver.Value) int {
	for i, k := range keys {
		if c := driver.Compare(a[i], b[i]); c != 0 {
			if k.desc {
				return -c
			}
			return c
		}
	}
	return 0
}

// driverOrder returns the keys as a store takes them.
func driverOrder(keys []orderKey) []driver.Order {
	if len(keys) == 0 {
		return nil
	}
	orders := make([]driver.Order, len(keys))
	for i, k := range keys {
		orders[i] = driver.Order{Column: &k.col.Column, Desc: k.desc}
	}
	return orders
}
