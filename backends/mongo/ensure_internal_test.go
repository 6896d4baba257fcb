package mongo

import (
	"errors"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/graphcache/graphcache/driver"
)

// A collection whose strings are not compared byte by byte is refused, and so is a view. No
// server that stands in for MongoDB has either.
func TestCollectionsRefused(t *testing.T) {
	collation := func(locale string) bson.Raw {
		return marshal(t, bson.D{{Key: "collation", Value: bson.D{{Key: "locale", Value: locale}}}})
	}
	for _, c := range []struct {
		name string
		spec mongo.CollectionSpecification
		want string // in the error
	}{
		{"view", mongo.CollectionSpecification{Name: "c", Type: "view", Options: marshal(t, bson.D{{Key: "viewOn", Value: "d"}})}, "view"},
		{"time series", mongo.CollectionSpecification{Name: "c", Type: "timeseries"}, "timeseries"},
		{"collation", mongo.CollectionSpecification{Name: "c", Type: "collection", Options: collation("de")}, `"de"`},
		{"simple collation", mongo.CollectionSpecification{Name: "c", Type: "collection", Options: collation("simple")}, ""},
		{"plain", mongo.CollectionSpecification{Name: "c", Type: "collection", Options: marshal(t, bson.D{})}, ""},
	} {
		there := &collection{name: "c"}
		there.read(&c.spec)
		p := &preparation{collections: []*collection{there}}
		err := p.check(&Options{Indexes: IgnoreIndexes})
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (!errors.Is(err, driver.ErrSchema) || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want a word of %s", c.name, err, c.want)
		}
		if !there.exists {
			t.Errorf("%s does not exist", c.name)
		}
	}
}
