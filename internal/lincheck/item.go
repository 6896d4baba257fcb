package lincheck

import (
	"fmt"

	"github.com/anishathalye/porcupine"
)

// itemState is the state of an object, the zero value that of one that is absent.
type itemState struct {
	value int64 // distinct in all writes
	city  int
	count int64
}

func (s itemState) String() string {
	if s == (itemState{}) {
		return "absent"
	}
	return fmt.Sprintf("value %d, city %d, count %d", s.value, s.city, s.count)
}

// itemCall is what is asked of an object. The output of a get, update, move or apply is
// the object as it is afterwards.
type itemCall struct {
	verb  itemVerb
	value int64
	city  int
}

type itemVerb string

const (
	getItem    itemVerb = "get"
	createItem itemVerb = "create"
	putItem    itemVerb = "put"
	updateItem itemVerb = "update" // sets the value
	moveItem   itemVerb = "move"   // sets value and city
	applyItem  itemVerb = "apply"  // sets the value, and counts one more
	deleteItem itemVerb = "delete"
)

func (c itemCall) String() string {
	switch c.verb {
	case getItem, deleteItem:
		return string(c.verb)
	case updateItem, applyItem:
		return fmt.Sprintf("%s to value %d", c.verb, c.value)
	}
	return fmt.Sprintf("%s with value %d, city %d", c.verb, c.value, c.city)
}

// on returns the state after the call; ok is false if it cannot succeed in this one.
func (c itemCall) on(s itemState) (after itemState, ok bool) {
	absent := s == itemState{}
	switch c.verb {
	case createItem, putItem:
		return itemState{value: c.value, city: c.city}, c.verb == putItem || absent
	case updateItem:
		return itemState{c.value, s.city, s.count}, !absent
	case moveItem:
		return itemState{c.value, c.city, s.count}, !absent
	case applyItem:
		return itemState{c.value, s.city, s.count + 1}, !absent
	case deleteItem: // two of them may both succeed, the one finishing what the other began
		return itemState{}, true
	}
	return s, true
}

// itemModel is a register.
var itemModel = describe(model(func(s itemState, c itemCall, out any) (itemState, bool) {
	after, ok := c.on(s)
	if out == nil {
		if !ok {
			after = s
		}
		return after, true
	}
	return after, ok && (out == done{} || out == after)
}))

// describe makes a model's inputs, outputs and states readable.
func describe(m porcupine.Model) porcupine.Model {
	m.DescribeOperation = func(in, out any) string {
		switch {
		case in == storeState{}:
			return fmt.Sprintf("state of the store → %v", out)
		case out == nil:
			return fmt.Sprint(in)
		}
		return fmt.Sprintf("%v → %v", in, out)
	}
	m.DescribeState = func(s any) string { return fmt.Sprint(s) }
	return m
}
