package main

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	"go.mongodb.org/mongo-driver/bson"
	"go.mongodb.org/mongo-driver/bson/primitive"
)

// amendOperators adds to the engine what it lacks and corrects where it
// differs from MongoDB.
var amendOperators = sync.OnceFunc(func() {
	query := mongokit.ExpressionQueryOperators
	query["$regex"] = matchRegex
	for _, op := range []string{"$gt", "$gte", "$lt", "$lte"} {
		query[op] = matchOrder
	}
	query["$in"] = matchIn
	query["$nin"] = negate(matchIn)
	query["$eq"] = matchEqual(query["$eq"])
	engineEqual, engineNot, engineType := query[""], query["$not"], query["$type"]
	query[""] = func(ctx mongokit.Context, doc bsonkit.Doc, op, path string, v any) error {
		if isRegex(v) {
			return matchRegex(ctx, doc, op, path, v)
		}
		return engineEqual(ctx, doc, op, path, v)
	}
	query["$not"] = func(ctx mongokit.Context, doc bsonkit.Doc, op, path string, v any) error {
		if isRegex(v) {
			return negate(matchRegex)(ctx, doc, op, path, v)
		}
		return engineNot(ctx, doc, op, path, v)
	}
	query["$type"] = func(ctx mongokit.Context, doc bsonkit.Doc, op, path string, v any) error {
		if err := engineType(ctx, doc, op, path, v); err != nil {
			return err
		}
		if bsonkit.Get(doc, path) == any(bsonkit.Missing) {
			if _, nested := bsonkit.All(doc, path, true, false); !nested {
				return mongokit.ErrNotMatched // a missing field has no type
			}
		}
		return nil
	}
	engineInc := mongokit.FieldUpdateOperators["$inc"]
	mongokit.FieldUpdateOperators["$inc"] = func(ctx mongokit.Context, doc bsonkit.Doc, op, path string, v any) error {
		v, err := widen(bsonkit.Get(doc, path), v)
		if err != nil {
			return err
		}
		return engineInc(ctx, doc, op, path, v)
	}
})

// matchAny tells whether the value at the path, or an element of it, passes.
func matchAny(doc bsonkit.Doc, path string, pass func(v any) bool) error {
	value, nested := bsonkit.All(doc, path, true, true)
	if list, ok := value.(bson.A); ok && slices.ContainsFunc(list, pass) {
		return nil
	}
	if !nested && pass(value) {
		return nil
	}
	return mongokit.ErrNotMatched
}

func negate(op mongokit.Operator) mongokit.Operator {
	return func(ctx mongokit.Context, doc bsonkit.Doc, name, path string, v any) error {
		err := op(ctx, doc, name, path, v)
		switch err {
		case nil:
			return mongokit.ErrNotMatched
		case mongokit.ErrNotMatched:
			return nil
		}
		return err
	}
}

// matchOrder compares within a type. NaN is neither less nor greater than a
// number.
func matchOrder(_ mongokit.Context, doc bsonkit.Doc, op, path string, v any) error {
	class, _ := bsonkit.Inspect(v)
	return matchAny(doc, path, func(field any) bool {
		if c, _ := bsonkit.Inspect(field); c != class {
			return false
		}
		if isNaN(v) != isNaN(field) {
			return false
		}
		order := compare(field, v)
		switch op {
		case "$gt":
			return order > 0
		case "$gte":
			return order >= 0
		case "$lt":
			return order < 0
		default:
			return order <= 0
		}
	})
}

func isNaN(v any) bool {
	switch v := v.(type) {
	case float64:
		return math.IsNaN(v)
	case primitive.Decimal128:
		return v.IsNaN()
	}
	return false
}

// matchEqual corrects the comparison of decimals with floating-point numbers.
func matchEqual(engine mongokit.Operator) mongokit.Operator {
	return func(ctx mongokit.Context, doc bsonkit.Doc, op, path string, v any) error {
		switch v.(type) {
		case float64, primitive.Decimal128:
			return matchAny(doc, path, func(field any) bool { return compare(field, v) == 0 })
		}
		return engine(ctx, doc, op, path, v)
	}
}

func matchIn(_ mongokit.Context, doc bsonkit.Doc, op, path string, v any) error {
	list, ok := v.(bson.A)
	if !ok {
		return fmt.Errorf("%s needs an array", op)
	}
	return matchAny(doc, path, func(field any) bool {
		return slices.ContainsFunc(list, func(item any) bool {
			if re, ok := item.(primitive.Regex); ok {
				if text, ok := field.(string); ok {
					compiled, err := compile(re)
					return err == nil && compiled.MatchString(text)
				}
			}
			return compare(field, item) == 0
		})
	})
}

func matchRegex(_ mongokit.Context, doc bsonkit.Doc, _, path string, v any) error {
	re, err := compile(v.(primitive.Regex))
	if err != nil {
		return err
	}
	return matchAny(doc, path, func(field any) bool {
		if text, ok := field.(string); ok {
			return re.MatchString(text)
		}
		return isRegex(field) && bsonkit.Compare(field, v) == 0
	})
}

func isRegex(v any) bool {
	_, ok := v.(primitive.Regex)
	return ok
}

// compiled keeps the regular expressions in use; tests use few.
var compiled sync.Map

func compile(re primitive.Regex) (*regexp.Regexp, error) {
	if c, ok := compiled.Load(re); ok {
		return c.(*regexp.Regexp), nil
	}
	if strings.Trim(re.Options, "ims") != "" {
		return nil, fmt.Errorf("regular expression options %q are not supported", re.Options)
	}
	pattern := re.Pattern
	if re.Options != "" {
		pattern = "(?" + re.Options + ")" + pattern
	}
	c, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	compiled.Store(re, c)
	return c, nil
}

// widen returns the increment as an int64 if the sum needs one.
func widen(field, inc any) (any, error) {
	a, okA := integer(field)
	b, okB := integer(inc)
	if !okA || !okB {
		return inc, nil
	}
	sum := a + b
	if (b > 0 && sum < a) || (b < 0 && sum > a) {
		return nil, fail(codeBadValue, "Failed to apply $inc operations to current value (%d) for document", a)
	}
	_, small := inc.(int32)
	if small && int64(int32(sum)) != sum {
		return b, nil
	}
	return inc, nil
}

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int32:
		return int64(v), true
	case int64:
		return v, true
	}
	return 0, false
}

// prepareFilter checks a filter as a whole, because the engine meets a wrong
// operator only when a document leads it there, and joins $regex with its
// $options.
func prepareFilter(filter bson.D) (bson.D, error) {
	out := make(bson.D, 0, len(filter))
	for _, e := range filter {
		value, err := prepareClause(e)
		if err != nil {
			return nil, err
		}
		out = append(out, bson.E{Key: e.Key, Value: value})
	}
	return out, nil
}

func prepareClause(e bson.E) (any, error) {
	switch {
	case e.Key == "$and", e.Key == "$or", e.Key == "$nor":
		list, ok := e.Value.(bson.A)
		if !ok || len(list) == 0 {
			return nil, fail(codeBadValue, "%s must be a nonempty array", e.Key)
		}
		out := make(bson.A, 0, len(list))
		for _, item := range list {
			sub, ok := item.(bson.D)
			if !ok {
				return nil, fail(codeBadValue, "%s entries need to be full objects", e.Key)
			}
			prepared, err := prepareFilter(sub)
			if err != nil {
				return nil, err
			}
			out = append(out, prepared)
		}
		return out, nil
	case strings.HasPrefix(e.Key, "$"):
		return nil, fail(codeBadValue, "unknown top level operator: %s", e.Key)
	}
	if ops, ok := e.Value.(bson.D); ok && isExpression(ops) {
		return prepareExpression(ops)
	}
	if re, ok := e.Value.(primitive.Regex); ok {
		if _, err := compile(re); err != nil {
			return nil, err
		}
	}
	return e.Value, nil
}

// prepareExpression does it for the operators on one field.
func prepareExpression(ops bson.D) (bson.D, error) {
	out := make(bson.D, 0, len(ops))
	for _, op := range ops {
		value := op.Value
		switch op.Key {
		case "$options":
			if !has(ops, "$regex") {
				return nil, fail(codeBadValue, "$options needs a $regex")
			}
			continue
		case "$regex":
			re, err := joinRegex(value, lookup(ops, "$options"))
			if err != nil {
				return nil, err
			}
			value = re
		case "$not", "$elemMatch":
			prepared, err := prepareNested(op)
			if err != nil {
				return nil, err
			}
			value = prepared
		case "$in", "$nin", "$all":
			list, ok := value.(bson.A)
			if !ok {
				return nil, fail(codeBadValue, "%s needs an array", op.Key)
			}
			if op.Key == "$all" && slices.ContainsFunc(list, func(v any) bool {
				d, ok := v.(bson.D)
				return isRegex(v) || ok && isExpression(d)
			}) {
				return nil, fail(codeBadValue, "$all with expressions is not supported")
			}
			for _, item := range list {
				if re, ok := item.(primitive.Regex); ok {
					if _, err := compile(re); err != nil {
						return nil, err
					}
				}
			}
		default:
			if mongokit.ExpressionQueryOperators[op.Key] == nil || op.Key == "" {
				return nil, fail(codeBadValue, "unknown operator: %s", op.Key)
			}
			if isRegex(value) && op.Key != "$eq" {
				return nil, fail(codeBadValue, "Can't have regex as arg to %s.", op.Key)
			}
			// The engine checks the argument, here against a document that
			// has the field.
			probe := bson.D{{Key: "x", Value: bson.A{}}}
			if err := mongokit.ExpressionQueryOperators[op.Key](mongokit.Context{}, &probe, op.Key, "x", value); err != nil && err != mongokit.ErrNotMatched {
				return nil, fail(codeBadValue, "%v", err)
			}
		}
		out = append(out, bson.E{Key: op.Key, Value: value})
	}
	return out, nil
}

func prepareNested(op bson.E) (any, error) {
	if re, ok := op.Value.(primitive.Regex); ok && op.Key == "$not" {
		_, err := compile(re)
		return re, err
	}
	sub, ok := op.Value.(bson.D)
	if !ok || len(sub) == 0 || op.Key == "$not" && !isExpression(sub) {
		return nil, fail(codeBadValue, "%s needs a regex or a document of operators", op.Key)
	}
	if isExpression(sub) {
		return prepareExpression(sub)
	}
	return prepareFilter(sub)
}

func joinRegex(pattern, options any) (primitive.Regex, error) {
	re, ok := pattern.(primitive.Regex)
	if !ok {
		text, ok := pattern.(string)
		if !ok {
			return re, fail(codeBadValue, "$regex has to be a string")
		}
		re.Pattern = text
	}
	if options != nil {
		text, ok := options.(string)
		if !ok {
			return re, fail(codeBadValue, "$options has to be a string")
		}
		re.Options = text
	}
	if _, err := compile(re); err != nil {
		return re, fail(51091, "Regular expression is invalid: %v", err)
	}
	return re, nil
}
