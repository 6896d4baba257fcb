package mongo

import (
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/backend"
)

// modify makes the update of a Modify: sums are made by the server, on the condition that what
// is there is a number of the same type and the sum within its bounds. What that condition
// does not cover, which are fields that are missing or null and bounds of floating-point
// numbers, is read, computed, and set on the condition that nobody was faster: see remodify.
func (c *change) modify(l *objectLayout) {
	inc := bson.D{{Key: l.version, Value: int64(1)}}
	var set bson.D
	switch c.write.Expect { // a version that is null cannot be added to
	case 0:
		c.condition = append(c.condition, bson.E{Key: l.version, Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$type", Value: "null"}}}}})
	case unversioned:
		c.condition[0].Value = bson.D{{Key: "$exists", Value: false}}
	}
	c.condition = append(c.condition, bson.E{Key: deletingField, Value: nil})
	for i := range c.write.Changes {
		ch := &c.write.Changes[i]
		field := columnPath(ch.Column, "")
		if ch.Add == nil {
			set = append(set, bson.E{Key: field, Value: toBSON(ch.Set)})
			continue
		}
		c.condition = append(c.condition, bson.E{Key: field, Value: summand(ch)})
		inc = append(inc, bson.E{Key: field, Value: toBSON(ch.Add)})
	}
	c.update = bson.D{{Key: "$inc", Value: inc}}
	if set != nil {
		c.update = append(c.update, bson.E{Key: "$set", Value: set})
	}
}

// summand returns the condition on a number to which another is added.
func summand(ch *driver.Change) bson.D {
	notArray := bson.E{Key: "$not", Value: bson.D{{Key: "$type", Value: "array"}}}
	add, whole := ch.Add.(int64)
	switch {
	case whole:
		low, high := int64(math.MinInt64), int64(math.MaxInt64)
		if v, ok := ch.Low.(int64); ok {
			low = v
		}
		if v, ok := ch.High.(int64); ok {
			high = v
		}
		return bson.D{
			{Key: "$type", Value: bson.A{"int", "long"}}, notArray,
			{Key: "$gte", Value: minus(low, add)}, {Key: "$lte", Value: minus(high, add)},
		}
	case ch.Low == nil && ch.High == nil:
		return bson.D{{Key: "$type", Value: "double"}, notArray}
	}
	return bson.D{{Key: "$in", Value: bson.A{}}}
}

// minus returns a-b, or what is nearest to it in an int64.
func minus(a, b int64) int64 {
	d := a - b
	switch {
	case b > 0 && d > a:
		return math.MinInt64
	case b < 0 && d < a:
		return math.MaxInt64
	}
	return d
}

// remodify makes the update one that sets what the changes make of the object that was found,
// which the condition then asks for.
func (c *change) remodify(f *found) {
	doc, _ := backend.Modified(f.object.Doc, c.write.Changes)
	set := bson.D{{Key: c.object.version, Value: nextVersion(f.object.Version)}}
	for i := range c.write.Changes {
		name := c.write.Changes[i].Column.Path[0]
		v, _ := doc.Get(name)
		set = append(set, bson.E{Key: escape(name), Value: toBSON(v)})
	}
	c.condition = append(c.condition, bson.E{Key: deletingField, Value: nil})
	c.update = bson.D{{Key: "$set", Value: set}}
}
