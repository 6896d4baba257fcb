package main

import (
	"sort"
	"strings"

	"github.com/256dpi/lungo/bsonkit"
	"github.com/256dpi/lungo/mongokit"
	"github.com/tidwall/btree"
	"go.mongodb.org/mongo-driver/bson"
)

// A stage turns the documents before it into those after it.
type stage func(p *pipeline, docs []bson.D) ([]bson.D, error)

// pipeline is an aggregation that is answered from one catalog.
type pipeline struct {
	data *catalog
	db   string
}

// stages compile the argument of each stage.
var stages map[string]func(arg any) (stage, error)

// lookupStages are those allowed in the pipeline of a $lookup.
var lookupStages = map[string]bool{"$match": true, "$sort": true, "$limit": true, "$project": true}

func init() {
	stages = map[string]func(arg any) (stage, error){
		"$match":       compileMatch,
		"$sort":        compileSort,
		"$skip":        compileSkip,
		"$limit":       compileLimit,
		"$project":     compileProject,
		"$group":       compileGroup,
		"$lookup":      compileLookup,
		"$unwind":      compileUnwind,
		"$replaceRoot": compileReplaceRoot,
	}
}

func (s *Server) aggregate(c *command) (bson.D, error) {
	list := c.list("pipeline")
	if first, ok := firstStage(list); ok && first.Key == "$changeStream" {
		return s.watch(c, first.Value, list[1:])
	}
	ns := namespace{c.db, "$cmd.aggregate"}
	whole, isNumber := number(c.body[0].Value)
	if isNumber && whole != 1 {
		return nil, fail(codeFailedToParse, "Invalid command format: the 'aggregate' field must specify a collection name or 1")
	}
	var docs []bson.D
	if isNumber {
		first, ok := firstStage(list)
		if !ok || first.Key != "$documents" {
			return nil, fail(codeFailedToParse, "{aggregate: 1} is not valid for a pipeline that does not begin with $documents or $changeStream")
		}
		var err error
		if docs, err = documents(first.Value); err != nil {
			return nil, err
		}
		list = list[1:]
	} else {
		var err error
		if ns, err = c.namespace(); err != nil {
			return nil, err
		}
	}
	run, err := compilePipeline(list, nil)
	if err != nil {
		return nil, err
	}
	data, err := s.snapshot(c)
	if err != nil {
		return nil, err
	}
	if !isNumber {
		if docs, err = source(data, ns, list); err != nil {
			return nil, err
		}
	}
	docs, err = run(&pipeline{data: data, db: c.db}, docs)
	if err != nil {
		return nil, err
	}
	return s.openCursor(c, &cursor{ns: ns, docs: docs}, c.doc("cursor"))
}

// source reads the collection; a $match in front is run twice so that it can
// use an index.
func source(data *catalog, ns namespace, list bson.A) ([]bson.D, error) {
	filter := bson.D{}
	if first, ok := firstStage(list); ok && first.Key == "$match" {
		var err error
		if filter, err = prepareFilter(first.Value.(bson.D)); err != nil {
			return nil, err
		}
	}
	found, err := collectionOf(data, ns).find(filter, 0)
	docs := make([]bson.D, len(found))
	for i, rec := range found {
		docs[i] = *rec.doc
	}
	return docs, err
}

func firstStage(list bson.A) (bson.E, bool) {
	if len(list) == 0 {
		return bson.E{}, false
	}
	doc, ok := list[0].(bson.D)
	if !ok || len(doc) != 1 {
		return bson.E{}, false
	}
	return doc[0], true
}

// compilePipeline joins stages to one. A nil allowed allows all.
func compilePipeline(list bson.A, allowed map[string]bool) (stage, error) {
	var compiled []stage
	for i := range list {
		e, ok := firstStage(list[i:])
		if !ok {
			return nil, fail(40323, "A pipeline stage specification object must contain exactly one field.")
		}
		compile := stages[e.Key]
		if compile == nil || allowed != nil && !allowed[e.Key] {
			return nil, fail(codeUnknownStage, "Unrecognized pipeline stage name: '%s'", e.Key)
		}
		st, err := compile(e.Value)
		if err != nil {
			return nil, err
		}
		compiled = append(compiled, st)
	}
	return func(p *pipeline, docs []bson.D) ([]bson.D, error) {
		for _, st := range compiled {
			var err error
			if docs, err = st(p, docs); err != nil {
				return nil, err
			}
		}
		return docs, nil
	}, nil
}

// documents reads the argument of $documents, which must be constant, or the $literal of something.
func documents(arg any) ([]bson.D, error) {
	list, ok := arg.(bson.A)
	if !ok {
		return nil, fail(5858203, "$documents needs an array of objects")
	}
	var docs []bson.D
	for _, item := range list {
		doc, ok := item.(bson.D)
		if !ok {
			return nil, fail(5858203, "$documents needs an array of objects")
		}
		doc = append(bson.D(nil), doc...)
		for i, e := range doc {
			if of, ok := e.Value.(bson.D); ok && len(of) == 1 && of[0].Key == "$literal" {
				doc[i].Value = of[0].Value
			} else if strings.HasPrefix(e.Key, "$") || !constant(e.Value) {
				return nil, fail(codeNotSupported, "expressions in $documents other than $literal are not supported")
			}
		}
		docs = append(docs, doc)
	}
	return docs, nil
}

func constant(v any) bool {
	switch v := v.(type) {
	case string:
		return !strings.HasPrefix(v, "$")
	case bson.D:
		for _, e := range v {
			if strings.HasPrefix(e.Key, "$") || !constant(e.Value) {
				return false
			}
		}
	case bson.A:
		for _, item := range v {
			if !constant(item) {
				return false
			}
		}
	}
	return true
}

func compileMatch(arg any) (stage, error) {
	doc, ok := arg.(bson.D)
	if !ok {
		return nil, fail(15959, "the match filter must be an expression in an object")
	}
	filter, err := prepareFilter(doc)
	if err != nil {
		return nil, err
	}
	return func(_ *pipeline, docs []bson.D) ([]bson.D, error) {
		var out []bson.D
		for _, doc := range docs {
			ok, err := mongokit.Match(&doc, &filter)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, doc)
			}
		}
		return out, nil
	}, nil
}

func compileSort(arg any) (stage, error) {
	order, ok := arg.(bson.D)
	if !ok || len(order) == 0 {
		return nil, fail(15976, "$sort stage must have at least one sort key")
	}
	if err := checkOrder(order); err != nil {
		return nil, err
	}
	columns, err := mongokit.Columns(&order)
	if err != nil {
		return nil, err
	}
	return func(_ *pipeline, docs []bson.D) ([]bson.D, error) {
		docs = append([]bson.D(nil), docs...)
		sort.SliceStable(docs, func(i, j int) bool {
			return inOrder(&docs[i], &docs[j], columns) < 0
		})
		return docs, nil
	}, nil
}

func compileSkip(arg any) (stage, error) {
	n, ok := number(arg)
	if !ok || n < 0 {
		return nil, fail(5107200, "invalid argument to $skip stage: %v", arg)
	}
	return func(_ *pipeline, docs []bson.D) ([]bson.D, error) { return page(docs, int(n), 0), nil }, nil
}

func compileLimit(arg any) (stage, error) {
	n, ok := number(arg)
	if !ok || n <= 0 {
		return nil, fail(15958, "the limit must be positive")
	}
	return func(_ *pipeline, docs []bson.D) ([]bson.D, error) { return page(docs, 0, int(n)), nil }, nil
}

func compileProject(arg any) (stage, error) {
	spec, ok := arg.(bson.D)
	if !ok || len(spec) == 0 {
		return nil, fail(51272, "Invalid $project: projection specification must have at least one field")
	}
	project, err := newProjection(spec)
	if err != nil {
		return nil, err
	}
	return func(_ *pipeline, docs []bson.D) ([]bson.D, error) {
		out := make([]bson.D, len(docs))
		for i, doc := range docs {
			out[i] = project.apply(doc)
		}
		return out, nil
	}, nil
}

// fieldPath reads an expression of the form "$a.b".
func fieldPath(v any) (string, bool) {
	text, ok := v.(string)
	if !ok || len(text) < 2 || text[0] != '$' || text[1] == '$' {
		return "", false
	}
	return text[1:], true
}

func compileGroup(arg any) (stage, error) {
	spec, ok := arg.(bson.D)
	if !ok || !has(spec, "_id") {
		return nil, fail(15955, "a group specification must include an _id")
	}
	key, err := groupKey(lookup(spec, "_id"))
	if err != nil {
		return nil, err
	}
	var counts []string
	for _, e := range spec {
		if e.Key == "_id" {
			continue
		}
		acc, _ := e.Value.(bson.D)
		if n, ok := number(lookup(acc, "$sum")); len(acc) != 1 || !ok || n != 1 {
			return nil, fail(codeNotSupported, "the only accumulator supported is {$sum: 1}, at '%s'", e.Key)
		}
		counts = append(counts, e.Key)
	}
	type group struct {
		key any
		n   int32
	}
	return func(_ *pipeline, docs []bson.D) ([]bson.D, error) {
		groups := btree.NewBTreeG(func(a, b *group) bool { return bsonkit.Compare(a.key, b.key) < 0 })
		for _, doc := range docs {
			g := &group{key: key(doc)}
			if known, ok := groups.Get(g); ok {
				g = known
			} else {
				groups.Set(g)
			}
			g.n++
		}
		var out []bson.D
		groups.Scan(func(g *group) bool {
			doc := bson.D{{Key: "_id", Value: g.key}}
			for _, name := range counts {
				doc = append(doc, bson.E{Key: name, Value: g.n})
			}
			out = append(out, doc)
			return true
		})
		return out, nil
	}, nil
}

// groupKey compiles "$field", a constant or a document of "$field"s.
func groupKey(v any) (func(bson.D) any, error) {
	if path, ok := fieldPath(v); ok {
		return func(doc bson.D) any {
			value := bsonkit.Get(&doc, path)
			if value == any(bsonkit.Missing) {
				return nil
			}
			return value
		}, nil
	}
	if spec, ok := v.(bson.D); ok {
		paths := make([]string, len(spec))
		for i, e := range spec {
			path, ok := fieldPath(e.Value)
			if !ok || strings.HasPrefix(e.Key, "$") {
				return nil, fail(codeNotSupported, "unsupported expression in the _id of $group, at '%s'", e.Key)
			}
			paths[i] = path
		}
		return func(doc bson.D) any {
			key := bson.D{}
			for i, e := range spec {
				if value := bsonkit.Get(&doc, paths[i]); value != any(bsonkit.Missing) {
					key = append(key, bson.E{Key: e.Key, Value: value})
				}
			}
			return key
		}, nil
	}
	if !constant(v) {
		return nil, fail(codeNotSupported, "unsupported expression in the _id of $group")
	}
	return func(bson.D) any { return v }, nil
}

func compileLookup(arg any) (stage, error) {
	spec, _ := arg.(bson.D)
	if err := onlyFields(spec, "$lookup", "from", "localField", "foreignField", "pipeline", "as"); err != nil {
		return nil, err
	}
	text := map[string]string{}
	for _, key := range []string{"from", "localField", "foreignField", "as"} {
		value, ok := lookup(spec, key).(string)
		if !ok || value == "" || strings.HasPrefix(value, "$") {
			return nil, fail(codeFailedToParse, "$lookup argument '%s' must be a string", key)
		}
		text[key] = value
	}
	list, ok := lookup(spec, "pipeline").(bson.A)
	if has(spec, "pipeline") && !ok {
		return nil, fail(codeTypeMismatch, "'pipeline' option must be specified as an array")
	}
	run, err := compilePipeline(list, lookupStages)
	if err != nil {
		return nil, err
	}
	return func(p *pipeline, docs []bson.D) ([]bson.D, error) {
		from := collectionOf(p.data, namespace{p.db, text["from"]})
		out := make([]bson.D, len(docs))
		for i, doc := range docs {
			joined, err := join(p, from, doc, text["localField"], text["foreignField"], run)
			if err != nil {
				return nil, err
			}
			next := bsonkit.Clone(&doc)
			if _, err := bsonkit.Put(next, text["as"], joined, false); err != nil {
				return nil, err
			}
			out[i] = *next
		}
		return out, nil
	}, nil
}

// join returns the foreign documents of one document. A missing field joins
// with missing and null, an array with each of its elements.
func join(p *pipeline, from *collection, doc bson.D, local, foreign string, run stage) (bson.A, error) {
	value, _ := bsonkit.All(&doc, local, true, true)
	values, ok := value.(bson.A)
	if !ok {
		if value == any(bsonkit.Missing) {
			value = nil
		}
		values = bson.A{value}
	}
	found, err := from.find(bson.D{{Key: foreign, Value: bson.D{{Key: "$in", Value: values}}}}, 0)
	if err != nil {
		return nil, err
	}
	matches := make([]bson.D, len(found))
	for i, rec := range found {
		matches[i] = *rec.doc
	}
	matches, err = run(p, matches)
	joined := make(bson.A, len(matches))
	for i, m := range matches {
		joined[i] = m
	}
	return joined, err
}

func compileUnwind(arg any) (stage, error) {
	path, ok := fieldPath(arg)
	if !ok {
		return nil, fail(codeNotSupported, "$unwind is supported with a path only")
	}
	return func(_ *pipeline, docs []bson.D) ([]bson.D, error) {
		var out []bson.D
		for _, doc := range docs {
			switch value := bsonkit.Get(&doc, path).(type) {
			case nil, bsonkit.MissingType:
			case bson.A:
				for _, item := range value {
					next := bsonkit.Clone(&doc)
					if _, err := bsonkit.Put(next, path, item, false); err != nil {
						return nil, err
					}
					out = append(out, *next)
				}
			default:
				out = append(out, doc)
			}
		}
		return out, nil
	}, nil
}

func compileReplaceRoot(arg any) (stage, error) {
	spec, _ := arg.(bson.D)
	path, ok := fieldPath(lookup(spec, "newRoot"))
	if !ok || len(spec) != 1 {
		return nil, fail(codeNotSupported, "$replaceRoot is supported with a path only")
	}
	return func(_ *pipeline, docs []bson.D) ([]bson.D, error) {
		out := make([]bson.D, len(docs))
		for i, doc := range docs {
			root, ok := bsonkit.Get(&doc, path).(bson.D)
			if !ok {
				return nil, fail(40228, "'newRoot' expression must evaluate to an object")
			}
			out[i] = root
		}
		return out, nil
	}, nil
}
