package mongo

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/graphcache/graphcache/driver"
)

// Filters and orders in MongoDB's language. What the server is asked matches at least what the
// driver.Filter matches. Where it may match more, or where MongoDB's idea of a comparison is
// not that of package driver, what comes back is looked at once more with the filter itself;
// where the order is another, it is sorted again.
//
// The two agree about columns whose Type is known, as far as they have been written by
// graphcache, and disagree about: ranges, which MongoDB confines to operands of one type;
// arrays, of which it compares the elements; binary data, of which it compares the length
// first; and fields that are missing, which it takes for null.

// query is a condition on documents.
type query struct {
	filter bson.D // nil matches everything
	never  bool   // it matches nothing
	exact  bool   // it matches what the driver.Filter does and no more
}

// fields says where the columns of a record are in its document.
type fields struct {
	ids  *IDs   // of objects
	time string // of edges
	data string
}

// path returns the path of a column.
func (f fields) path(c *driver.Column) string {
	switch c.Of {
	case driver.ObjectID:
		return "_id"
	case driver.EdgeTime:
		return f.time
	case driver.EdgeField:
		return columnPath(c, f.data)
	}
	return columnPath(c, "")
}

func columnPath(c *driver.Column, front string) string {
	if c.Of == driver.ObjectID {
		return "_id"
	}
	return path(front, c.Path)
}

// paths returns the column's path and those of its older names, or nil if they are too many.
func (f fields) paths(c *driver.Column) []string {
	all := []string{""}
	if c.Of == driver.EdgeField {
		all[0] = f.data
	}
	if c.Of == driver.ObjectID || c.Of == driver.EdgeTime {
		return []string{f.path(c)}
	}
	for i, name := range c.Path {
		names := []string{name}
		if c.Was != nil {
			names = append(names, c.Was[i]...)
		}
		var longer []string
		for _, name := range names {
			for _, front := range all {
				longer = append(longer, path(front, []string{name}))
			}
		}
		if all = longer; len(all) > 16 {
			return nil
		}
	}
	return all
}

func renamed(c *driver.Column) bool {
	return slices.ContainsFunc(c.Was, func(names []string) bool { return len(names) > 0 })
}

// translate returns the query of a filter. A column that about reports not to be one of the
// documents leaves its condition out.
func (f fields) translate(filter *driver.Filter, about func(*driver.Column) bool) query {
	switch {
	case filter == nil:
		return query{exact: true}
	case filter.Op == driver.And:
		return f.and(filter.Of, about)
	case filter.Op == driver.Or:
		return f.or(filter.Of, about)
	case filter.Op == driver.Not:
		return f.translate(&filter.Of[0], about).not()
	case !about(filter.Column):
		return query{}
	case filter.Column.Of == driver.ObjectID:
		return f.onID(filter)
	}
	return f.onField(filter)
}

func (f fields) and(of []driver.Filter, about func(*driver.Column) bool) query {
	all := query{exact: true}
	var parts bson.A
	for i := range of {
		q := f.translate(&of[i], about)
		all.exact = all.exact && q.exact
		all.never = all.never || q.never
		if q.filter != nil {
			parts = append(parts, q.filter)
		}
	}
	all.filter = joined("$and", parts)
	return all
}

func (f fields) or(of []driver.Filter, about func(*driver.Column) bool) query {
	either := query{exact: true, never: true}
	var parts bson.A
	everything := false
	for i := range of {
		q := f.translate(&of[i], about)
		either.exact = either.exact && q.exact
		if q.never {
			continue
		}
		either.never = false
		everything = everything || q.filter == nil
		parts = append(parts, q.filter)
	}
	if !everything {
		either.filter = joined("$or", parts)
	}
	return either
}

func joined(op string, parts bson.A) bson.D {
	switch len(parts) {
	case 0:
		return nil
	case 1:
		return parts[0].(bson.D)
	}
	return bson.D{{Key: op, Value: parts}}
}

func (q query) not() query {
	switch {
	case !q.exact: // what is left out may match more, and then its opposite less
		return query{}
	case q.never:
		return query{exact: true}
	case q.filter == nil:
		return query{never: true, exact: true}
	}
	return query{filter: bson.D{{Key: "$nor", Value: bson.A{q.filter}}}, exact: true}
}

// onID returns the query of a condition on the ID of objects.
func (f fields) onID(filter *driver.Filter) query {
	if filter.Op == driver.AnyOf {
		var in bson.A
		for _, v := range filter.Values {
			if id, ok := v.(string); ok {
				if stored, ok := f.ids.encode(id); ok {
					in = append(in, stored)
				}
			}
		}
		return query{filter: anyOf("_id", in), never: in == nil, exact: true}
	}
	if _, text := filter.Values[0].(string); !text || f.ids != StringIDs {
		return query{}
	}
	return onPath("_id", filter, driver.StringType)
}

// onField returns the query of a condition on a field.
func (f fields) onField(filter *driver.Filter) query {
	c := filter.Column
	paths := f.paths(c)
	if paths == nil {
		return query{}
	}
	typed := c.Type
	if c.List != (filter.Op == driver.Has) {
		typed = driver.AnyType // of the elements, not of the array
	}
	either := query{exact: !renamed(c)}
	var parts bson.A
	for _, p := range paths {
		q := onPath(p, filter, typed)
		either.exact = either.exact && q.exact
		if q.filter == nil && !q.never {
			return query{}
		}
		if q.filter != nil {
			parts = append(parts, q.filter)
		}
	}
	if filter.MatchesValue(c.Zero) {
		parts = append(parts, bson.D{{Key: paths[0], Value: nil}})
	}
	either.filter, either.never = joined("$or", parts), len(parts) == 0
	return either
}

// onPath returns the query for values other than nil at a path.
func onPath(path string, filter *driver.Filter, typed driver.Type) query {
	v := filter.Values
	switch filter.Op {
	case driver.AnyOf:
		exact := typed != driver.AnyType
		var in bson.A
		for i := range v {
			if v[i] != nil {
				in = append(in, toBSON(v[i]))
			}
		}
		return query{filter: anyOf(path, in), never: in == nil, exact: exact}
	case driver.Has:
		exact := typed != driver.AnyType && v[0] != nil
		return query{filter: bson.D{{Key: path, Value: bson.D{{Key: "$eq", Value: toBSON(v[0])}}}}, exact: exact}
	case driver.HasPrefix:
		return query{filter: bson.D{{Key: path, Value: prefixRange(v[0].(string))}}, exact: typed == driver.StringType}
	case driver.Contains:
		return contains(path, v[0].(string), typed)
	}
	if !comparable(typed, v[0]) {
		return query{}
	}
	op := map[driver.FilterOp]string{
		driver.Less: "$lt", driver.LessEqual: "$lte", driver.Greater: "$gt", driver.GreaterEqual: "$gte",
	}[filter.Op]
	return query{
		filter: bson.D{{Key: path, Value: bson.D{{Key: op, Value: toBSON(v[0])}}}},
		// Not every server has NaN apart from the numbers that are less.
		exact: typed != driver.FloatType || filter.Op == driver.Greater || filter.Op == driver.GreaterEqual,
	}
}

// anyOf returns the filter for one of the values, nil if there are none.
func anyOf(path string, values bson.A) bson.D {
	switch len(values) {
	case 0:
		return nil
	case 1:
		return bson.D{{Key: path, Value: bson.D{{Key: "$eq", Value: values[0]}}}}
	}
	return bson.D{{Key: path, Value: bson.D{{Key: "$in", Value: values}}}}
}

// comparable reports whether MongoDB compares values of the type with v as package driver
// does.
func comparable(typed driver.Type, v driver.Value) bool {
	switch v.(type) {
	case bool:
		return typed == driver.BoolType
	case int64, uint64, float64:
		return typed == driver.IntType || typed == driver.FloatType
	case string:
		return typed == driver.StringType
	case time.Time:
		return typed == driver.TimeType
	}
	return false
}

// prefixRange returns the range of the strings that start with a prefix.
func prefixRange(prefix string) bson.D {
	bounds := bson.D{{Key: "$gte", Value: prefix}}
	if next, ok := successor(prefix); ok {
		bounds = append(bounds, bson.E{Key: "$lt", Value: next})
	}
	return bounds
}

// successor returns the least string after all those that start with the prefix, if there is
// one.
func successor(prefix string) (string, bool) {
	for prefix != "" {
		r, size := utf8.DecodeLastRuneInString(prefix)
		prefix = prefix[:len(prefix)-size]
		switch {
		case r == 0xD7FF: // the surrogates follow, which UTF-8 has not
			return prefix + "\uE000", true
		case r < utf8.MaxRune:
			return prefix + string(r+1), true
		}
	}
	return "", false
}

// maxPattern is how long a text may be that is quoted in a regular expression, of which MongoDB
// takes 32,764 bytes.
const maxPattern = 16_000

func contains(path, text string, typed driver.Type) query {
	switch {
	case text == "":
		return query{filter: bson.D{{Key: path, Value: bson.D{{Key: "$gte", Value: ""}}}}, exact: typed == driver.StringType}
	case strings.ContainsRune(text, 0), len(text) > maxPattern: // no regular expression is like that
		return query{}
	}
	pattern := bson.D{{Key: "$regex", Value: regexp.QuoteMeta(text)}}
	return query{filter: bson.D{{Key: path, Value: pattern}}, exact: typed == driver.StringType}
}

// matchesAbsent reports whether a filter on objects may match a document that has no fields
// but _id.
func matchesAbsent(f *driver.Filter) bool {
	switch {
	case f == nil:
		return true
	case f.Op == driver.And:
		return !slices.ContainsFunc(f.Of, func(f driver.Filter) bool { return !matchesAbsent(&f) })
	case f.Op == driver.Or:
		return slices.ContainsFunc(f.Of, func(f driver.Filter) bool { return matchesAbsent(&f) })
	case f.Op == driver.Not || f.Column.Of == driver.ObjectID:
		return true
	}
	return f.MatchesValue(f.Column.Zero)
}

// columns appends the columns of a filter.
func columns(all []*driver.Column, f *driver.Filter) []*driver.Column {
	if f == nil {
		return all
	}
	if f.Column != nil {
		all = append(all, f.Column)
	}
	for i := range f.Of {
		all = columns(all, &f.Of[i])
	}
	return all
}

// sortable reports whether MongoDB sorts by the column as package driver does, if no document
// lacks it.
func (f fields) sortable(c *driver.Column) bool {
	switch {
	case c.Of == driver.ObjectID:
		return f.ids.ordered
	case c.Of == driver.EdgeTime:
		return true
	}
	return !c.List && !renamed(c) && c.Type != driver.AnyType && c.Type != driver.BytesType
}

// zeroed reports whether a field that is missing has a value, by which MongoDB does not sort
// it.
func zeroed(c *driver.Column) bool {
	return c.Of != driver.ObjectID && c.Of != driver.EdgeTime && c.Zero != nil
}

// follows reports whether MongoDB knows what comes after a value in the order of the column.
func follows(c *driver.Column, v driver.Value) bool {
	if f, ok := v.(float64); ok && math.IsNaN(f) {
		return c.Type == driver.FloatType
	}
	switch c.Of {
	case driver.ObjectID:
		return comparable(driver.StringType, v)
	case driver.EdgeTime:
		return comparable(driver.TimeType, v)
	}
	return v == nil || comparable(c.Type, v)
}

// key is one of the keys of an order, in a document.
type key struct {
	path  string
	desc  bool
	after any // the value after which what is asked for begins
}

func sorting(keys []key) bson.D {
	var d bson.D
	for _, k := range keys {
		direction := int32(1)
		if k.desc {
			direction = -1
		}
		d = append(d, bson.E{Key: k.path, Value: direction})
	}
	return d
}

// after returns the filter for what comes after the values of the keys in their order.
func after(keys []key) bson.D {
	var parts bson.A
	for i := range keys {
		beyond := keys[i].beyond()
		if beyond == nil {
			continue
		}
		var part bson.A
		for _, k := range keys[:i] {
			part = append(part, k.is("$eq", k.after))
		}
		parts = append(parts, joined("$and", append(part, beyond)))
	}
	if parts == nil {
		return nothing
	}
	rest := joined("$or", parts)
	if bound := keys[0].bound(); bound != nil && len(parts) > 1 { // says nothing new, but where in an index to begin
		return bson.D{{Key: "$and", Value: bson.A{bound, rest}}}
	}
	return rest
}

// bound returns the filter for what does not come before the key's value, nil for everything.
func (k *key) bound() bson.D {
	f, float := k.after.(float64)
	switch {
	case k.after == nil || float && math.IsNaN(f):
		return nil
	case k.desc:
		return k.is("$not", bson.D{{Key: "$gt", Value: k.after}})
	}
	return k.is("$gte", k.after)
}

// nothing matches no document.
var nothing = bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: bson.A{}}}}}

func (k *key) is(op string, v any) bson.D {
	return bson.D{{Key: k.path, Value: bson.D{{Key: op, Value: v}}}}
}

// beyond returns the filter for what comes after the key's value: nil is first, NaN next.
func (k *key) beyond() bson.D {
	f, float := k.after.(float64)
	nan := float && math.IsNaN(f)
	switch {
	case k.after == nil && k.desc:
		return nil
	case k.after == nil:
		return k.is("$ne", nil)
	case nan && k.desc:
		return k.is("$eq", nil)
	case nan:
		return k.is("$gte", math.Inf(-1))
	case !k.desc:
		return k.is("$gt", k.after)
	}
	// Not $lt or $eq NaN: some servers that say they are MongoDB cut a connection that names NaN.
	return k.is("$not", bson.D{{Key: "$gte", Value: k.after}})
}
