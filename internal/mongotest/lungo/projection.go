package main

import (
	"strings"

	"go.mongodb.org/mongo-driver/bson"
)

// projection includes or excludes fields. The zero value leaves documents as
// they are.
type projection struct {
	include bool
	hideID  bool
	fields  projectionTree
}

// projectionTree holds paths; a nil tree is the end of one.
type projectionTree map[string]projectionTree

// newProjection accepts inclusion or exclusion by 0, 1, true and false.
func newProjection(spec bson.D) (projection, error) {
	p := projection{fields: projectionTree{}}
	kind := 0 // 1 includes, -1 excludes
	for _, e := range spec {
		n, isNumber := number(e.Value)
		flag, isBool := e.Value.(bool)
		if !isNumber && !isBool || strings.Contains(e.Key, "$") {
			return p, fail(codeNotSupported, "projection of '%s' by an expression is not supported", e.Key)
		}
		on := flag || n != 0
		if e.Key == "_id" {
			p.hideID = !on
			if on && kind == 0 && len(spec) == 1 {
				kind = 1
			}
			continue
		}
		if on && kind < 0 || !on && kind > 0 {
			return p, fail(31254, "Cannot do inclusion and exclusion in one projection, at '%s'", e.Key)
		}
		if kind = -1; on {
			kind = 1
		}
		if err := p.fields.add(e.Key); err != nil {
			return p, err
		}
	}
	p.include = kind > 0
	return p, nil
}

func (t projectionTree) add(path string) error {
	head, rest, more := strings.Cut(path, ".")
	sub, ok := t[head]
	if ok && (sub == nil || !more) {
		return fail(31249, "Path collision at %s", path)
	}
	if !more {
		t[head] = nil
		return nil
	}
	if sub == nil {
		sub = projectionTree{}
		t[head] = sub
	}
	return sub.add(rest)
}

func (p projection) apply(doc bson.D) bson.D {
	if !p.include && !p.hideID && len(p.fields) == 0 {
		return doc
	}
	out := bson.D{}
	for _, e := range doc {
		if e.Key == "_id" && p.fields["_id"] == nil {
			if !p.hideID {
				out = append(out, e)
			}
			continue
		}
		if v, ok := p.fields.value(e, p.include); ok {
			out = append(out, bson.E{Key: e.Key, Value: v})
		}
	}
	return out
}

// value projects one field; it is false if the field goes.
func (t projectionTree) value(e bson.E, include bool) (any, bool) {
	sub, ok := t[e.Key]
	if !ok {
		return e.Value, !include
	}
	if sub == nil {
		return e.Value, include
	}
	return sub.nested(e.Value, include)
}

func (t projectionTree) nested(v any, include bool) (any, bool) {
	switch v := v.(type) {
	case bson.D:
		out := bson.D{}
		for _, e := range v {
			if value, ok := t.value(e, include); ok {
				out = append(out, bson.E{Key: e.Key, Value: value})
			}
		}
		return out, true
	case bson.A:
		out := bson.A{}
		for _, item := range v {
			if value, ok := t.nested(item, include); ok {
				out = append(out, value)
			}
		}
		return out, true
	}
	return v, !include
}
