package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// apply does the operation to the graph and to the naive world, and compares what it
// returns.
func (m *mqRun) apply(op mqOp) error {
	m.keys = nil
	g, view := m.graphs[op.Graph], mqView{m.world, mqVersionOf(op.Graph)}
	switch op.What {
	case "nothing":
		return nil
	case "flush":
		m.cache.Flush()
		return nil
	case "evict":
		m.cache.evict(op.N)
		return nil
	case "advance":
		m.clock.Advance(modelAdvance(op.N))
		return nil
	case "tx", "rollback", "conflict":
		if !m.store.Capabilities().Transactions {
			return nil
		}
		return m.transaction(g, op)
	case "foreign put", "foreign put by kind", "foreign delete", "foreign add":
		return m.foreign(op)
	case "backfill":
		return m.backfill(g, view, op.N)
	case "race":
		return m.race(op)
	}
	return m.write(g, view, op)
}

// transaction does several writes at once, and reads in between what they have done.
func (m *mqRun) transaction(g *graphcache.Graph, op mqOp) error {
	var world *mqWorld
	var mismatch error
	attempts, overtaken := 0, false
	overtake := func() error {
		overtaking := mqOp{What: "put", Kind: op.Tx[0].Kind, From: op.Tx[0].From, N: op.N}
		revision := m.world.objects[overtaking.Kind][overtaking.From]
		mismatch = m.write(m.graphs[0], mqView{m.world, mqPresent}, overtaking)
		overtaken = m.world.objects[overtaking.Kind][overtaking.From] != revision
		return mismatch
	}
	err := g.Tx(m.ctx, func(tx *graphcache.Tx) error {
		attempts++
		world = m.world.clone()
		view := mqView{world, mqVersionOf(op.Graph)}
		r := mqReader{"in the transaction", tx, view, false, m}
		before := view.all()
		conflict := op.What == "conflict" && attempts == 1
		if conflict && m.setup.locks { // a write of what the transaction has written would wait for it
			if mismatch = r.objects(view.kind(op.Tx[0].Kind)); mismatch != nil {
				return mismatch
			}
			if err := overtake(); err != nil {
				return err
			}
			do, _, _ := m.writeObject(tx, mqView{world.clone(), view.mqVersion}, op.Tx[0])
			if _, err := do(); err != nil || overtaken {
				return err
			}
			return errModelRollback
		}
		for _, inner := range op.Tx {
			if mismatch = m.write(tx, view, inner); mismatch != nil {
				return mismatch
			}
			if inner.Query != nil {
				if mismatch = r.askNext(*inner.Query); mismatch != nil {
					return mismatch
				}
			}
			if mismatch = r.sweep(mqIndexOf{"user", mqTagged["user"][0]}); mismatch != nil {
				return mismatch
			}
		}
		if conflict {
			if err := overtake(); err != nil {
				return err
			}
		}
		m.writing = mqWriting{mqOp: op, Objects: "user", Before: before, After: view.all()} // what the commit writes
		if op.What == "rollback" {
			return errModelRollback
		}
		return nil
	})
	switch {
	case mismatch != nil:
		return mismatch
	case (op.What == "rollback" || !overtaken) && errors.Is(err, errModelRollback):
		return nil
	case m.setup.locks && attempts == 1 && (errors.Is(err, graphcache.ErrExists) || errors.Is(err, graphcache.ErrNotFound)):
		return nil // it came to no write
	case err != nil || op.What == "rollback" || overtaken && attempts < 2:
		return &modelMismatch{"the end of the transaction", fmt.Sprintf("after %d attempts, overtaken %v: %v", attempts, overtaken, err)}
	}
	m.world = world
	return nil
}

// all returns all users.
func (v mqView) all() map[string]*mqObject {
	all := map[string]*mqObject{}
	for id := range v.mqWorld.objects["user"] {
		all[id] = v.object(v.kind("user"), id)
	}
	return all
}

// write does one write.
func (m *mqRun) write(c graphcache.Conn, view mqView, op mqOp) error {
	after := mqView{view.mqWorld.clone(), view.mqVersion}
	var do func() (string, error)
	var want string
	var wantErr error
	switch op.What {
	case "add", "remove":
		do, want, wantErr = m.writeEdge(c, after, op)
	case "apply all", "update all", "delete all":
		do, want, wantErr = m.writeAll(c, after, op)
	default:
		do, want, wantErr = m.writeObject(c, after, op)
	}
	if m.setup.vague && errors.As(wantErr, new(*mqTaken)) {
		return nil // and what the store says of it is not known
	}
	if errors.Is(wantErr, errMQOrder) {
		return nil
	}
	kind := op.Kind
	if op.Query != nil {
		kind = view.end(*op.Query).name
	}
	m.writing = mqWriting{mqOp: op, Objects: kind}
	if kind == "user" {
		m.writing.Before, m.writing.After = view.all(), after.all()
	}
	got, err := do()
	*view.mqWorld = *after.mqWorld
	return m.compare(got, err, want, wantErr, "%v", op)
}

func (m *mqRun) writeEdge(c graphcache.Conn, view mqView, op mqOp) (do func() (string, error), want string, wantErr error) {
	k := view.edge(op.Kind)
	if op.What == "remove" {
		return func() (string, error) { return "", k.remove(m.ctx, c, op.From, op.To) }, "", view.removeEdge(k, op.From, op.To)
	}
	e := mqEdge{op.From, op.To, op.Time, mqMakeNote(op.N)}
	if e.Time.IsZero() && m.setup.store != nil {
		e.Time = m.clock.Now()
	}
	do = func() (string, error) {
		created, err := k.add(m.ctx, c, e)
		return fmt.Sprint(created), err
	}
	kept := e
	if kept.Time.IsZero() {
		kept.Time = m.clock.Now()
	}
	created, wantErr := view.addEdge(k, kept)
	return do, fmt.Sprint(created), wantErr
}

func (m *mqRun) writeObject(c graphcache.Conn, view mqView, op mqOp) (do func() (string, error), want string, wantErr error) {
	k := view.kind(op.Kind)
	present := view.object(k, op.From)
	shown := func(o *mqObject, err error) (string, error) { return k.show(o), err }
	switch op.What {
	case "create", "put":
		o := mqMake(k, op.From, op.N)
		do = func() (string, error) { return "", k.put(m.ctx, c, o) }
		if op.What == "create" {
			do = func() (string, error) { return "", k.create(m.ctx, c, o) }
			if present != nil {
				return do, "", graphcache.ErrExists
			}
		}
		return do, "", view.store(k, o)
	case "delete":
		return func() (string, error) { return "", k.delete(m.ctx, c, op.From) }, "", view.delete(k, op.From)
	case "update":
		do = func() (string, error) {
			o, err := k.update(m.ctx, c, op.From, func(o *mqObject) error { mqChange(k, o, op.N); return nil })
			if err == nil {
				k.tidy(o) // it is as the function left it
			}
			return shown(o, err)
		}
		if present == nil {
			return do, "", graphcache.ErrNotFound
		}
		o := &mqObject{ID: op.From, Body: k.clone(present.Body)}
		mqChange(k, o, op.N)
		wantErr = view.store(k, o)
	case "apply":
		do = func() (string, error) { return shown(k.apply(m.ctx, c, op.From, mqTypedChanges(k, op.Changes))) }
		if present == nil {
			return do, "", graphcache.ErrNotFound
		}
		o, err := mqApplied(k, present, op.Changes)
		switch {
		case err != nil:
			wantErr = err
		case mqInPlace(k, op.Changes):
			// What the change does not concern stays under its old name.
			record := *view.mqWorld.objects[k.name][op.From]
			record.body, record.views = o.Body, [3]*mqObject{}
			view.mqWorld.objects[k.name][op.From] = &record
		default:
			wantErr = view.store(k, o)
		}
	}
	return do, k.show(view.object(k, op.From)), wantErr
}

// mqTypedChanges makes the changes for the kind.
func mqTypedChanges(k *mqObjects, changes []mqSet) []any {
	var typed []any
	for _, s := range changes {
		typed = append(typed, k.column(s.Column).changing(s.Op, s.N))
	}
	return typed
}

// mqApplied returns the object with the changes.
func mqApplied(k *mqObjects, o *mqObject, changes []mqSet) (*mqObject, error) {
	o = &mqObject{ID: o.ID, Body: k.clone(o.Body)}
	for _, s := range changes {
		if err := k.column(s.Column).change(o, s.Op, s.N); err != nil {
			return nil, err
		}
	}
	return o, nil
}

// mqInPlace reports whether the store makes the changes by itself.
func mqInPlace(k *mqObjects, changes []mqSet) bool {
	return !slices.ContainsFunc(changes, func(s mqSet) bool {
		switch s.Column {
		case "title", "level", "street":
			return true
		}
		return slices.ContainsFunc(mqAllIndexes(k.name), func(ix mqIndex) bool { return slices.Contains(ix.columns, s.Column) })
	})
}

// errMQOrder leaves out a bulk write of which the order decides what is written: an object
// takes a unique value that another one gives up.
var errMQOrder = errors.New("it depends on the order")

// writeAll does a bulk write.
func (m *mqRun) writeAll(c graphcache.Conn, view mqView, op mqOp) (do func() (string, error), want string, wantErr error) {
	k := view.end(*op.Query)
	built := op.Query.build(view.mqVersion)
	do = func() (string, error) {
		var report graphcache.BulkReport
		var err error
		switch op.What {
		case "apply all":
			report, err = built.applyAll(m.ctx, c, mqTypedChanges(k, op.Changes))
		case "update all":
			report, err = built.updateAll(m.ctx, c, k.change(func(o *mqObject) error { mqChange(k, o, op.N); return nil }))
		default:
			report, err = built.deleteAll(m.ctx, c)
		}
		if errors.Is(err, graphcache.ErrExists) { // which does not keep the others from being written
			return fmt.Sprintf("%+v, exists", report), nil
		}
		return fmt.Sprintf("%+v", report), err
	}
	ids := modelEachOnce(mqIDsOf(mqObjectsIn(view.rows(*op.Query))))
	report := graphcache.BulkReport{Found: len(ids)}
	var changed []*mqObject
	for _, id := range ids {
		o := view.object(k, id)
		switch op.What {
		case "apply all":
			var err error
			if o, err = mqApplied(k, o, op.Changes); err != nil {
				return do, "", err
			}
		case "update all":
			o = &mqObject{ID: o.ID, Body: k.clone(o.Body)}
			mqChange(k, o, op.N)
		}
		changed = append(changed, o)
	}
	refused := map[string]bool{} // in the other order
	if op.What != "delete all" {
		backward := mqView{view.mqWorld.clone(), view.mqVersion}
		for _, o := range slices.Backward(changed) {
			refused[o.ID] = backward.store(k, o) != nil
		}
	}
	suffix := ""
	for _, o := range changed {
		err := error(nil)
		if op.What == "delete all" {
			err = view.delete(k, o.ID)
		} else if err = view.store(k, o); refused[o.ID] != (err != nil) {
			return do, "", errMQOrder
		}
		if err != nil && m.setup.vague {
			return do, "", err
		}
		if err != nil {
			suffix = ", exists"
			continue
		}
		report.Written++
	}
	return do, fmt.Sprintf("%+v%s", report, suffix), nil
}

// foreign lets the oldest version write, which does not know of the cache, and tells the
// others of it.
func (m *mqRun) foreign(op mqOp) error {
	g, oldest, told := m.graphs[op.Graph], mqView{m.world, mqVersions[0]}, mqView{m.world, mqVersionOf(op.Graph)}
	op.What = op.What[len("foreign "):]
	var refs []graphcache.Ref
	if op.What == "add" {
		k := told.edge(op.Kind)
		refs = append(refs, k.ref(op.From, op.To))
		for _, l := range m.world.edges[k.name] {
			if k.toOne && l.From == op.From {
				refs = append(refs, k.ref(op.From, l.To))
			}
		}
	} else {
		k := told.kind(op.Kind)
		if before := told.object(k, op.From); before != nil {
			refs = append(refs, k.ref(before, true))
		} else {
			refs = append(refs, k.ref(&mqObject{ID: op.From}, false))
		}
	}
	byKind := op.What == "put by kind" || op.What == "delete"
	if op.What == "put by kind" {
		op.What = "put"
	}
	if err := m.write(m.old, oldest, op); err != nil {
		return err
	}
	m.writing = mqWriting{mqOp: mqOp{What: "invalidate"}}
	if !byKind {
		return g.Invalidate(m.ctx, refs...)
	}
	for i, g := range m.graphs {
		v := mqVersionOf(i)
		var kinds []graphcache.Kind
		for _, k := range v.objects {
			if k.name == op.Kind {
				kinds = append(kinds, k.typed.(graphcache.Kind))
			}
		}
		for _, k := range v.edges {
			if op.What == "delete" {
				kinds = append(kinds, k.typed.(graphcache.Kind))
			}
		}
		if err := g.InvalidateKind(m.ctx, kinds...); err != nil {
			return err
		}
	}
	return nil
}

// backfill rewrites all records of one of the kinds as a version has them. Done again it
// finds nothing to do.
func (m *mqRun) backfill(g *graphcache.Graph, view mqView, n int) error {
	var kind any
	read := 0
	if n < len(view.mqVersion.objects) {
		k := view.mqVersion.objects[n]
		kind, read = k.typed, len(m.world.objects[k.name])
		for id, r := range maps.Clone(m.world.objects[k.name]) {
			m.world.objects[k.name][id] = r.written(k, view.n, view.object(k, id))
		}
	} else {
		k := view.mqVersion.edges[n-len(view.mqVersion.objects)]
		kind, read = k.typed, len(m.world.edges[k.name])
		for i, l := range m.world.edges[k.name] {
			seen, now := l.view(view.n).Note.Note, *l
			now.note = &seen
			if view.n == 2 {
				now.note, now.remark = nil, &seen
			}
			m.world.edges[k.name][i] = &now
		}
	}
	m.writing = mqWriting{mqOp: mqOp{What: "backfill"}}
	report, err := g.Backfill(m.ctx, kind.(graphcache.Kind))
	if err := m.compare(fmt.Sprint(report.Read), err, fmt.Sprint(read), nil, "records that a backfill has read"); err != nil {
		return err
	}
	report, err = g.Backfill(m.ctx, kind.(graphcache.Kind))
	return m.compare(fmt.Sprintf("%+v", report), err, fmt.Sprintf("%+v", graphcache.BackfillReport{Read: read}), nil, "a second backfill")
}

// race has a write come in between of two reads of the store that one query takes. The
// answer may combine what was before with what is after, but no object may be returned
// that does not match.
func (m *mqRun) race(op mqOp) error {
	r := m.coldReader()
	before := mqView{m.world.clone(), mqPresent}
	built, end := op.Query.build(mqPresent), r.view.end(*op.Query)
	if op.Graph == 2 {
		built = built.fresh()
	}
	m.coldCache.Flush()
	var mismatch error
	n, written := 0, false
	m.store.SetHook(func(_ context.Context, c backendtest.Call) backendtest.Fault {
		if c.Method != "Read" || written {
			return backendtest.Fault{}
		}
		if n++; n == op.N {
			written = true
			mismatch = m.write(m.graphs[op.Graph], mqView{m.world, mqVersionOf(op.Graph)}, op.Tx[0])
		}
		return backendtest.Fault{}
	})
	all, err := built.all(m.ctx, r.conn)
	m.store.SetHook(nil)
	if mismatch = errors.Join(mismatch, r.settle()); mismatch != nil {
		return mismatch
	}
	if err := m.compare("", err, "", nil, "a query that a write comes in between of"); err != nil {
		return err
	}
	return m.compare(mqMixed(*op.Query, end, before, r.view, all), nil, "", nil, "%s: %v, written before read %d", r.name, op.Query, op.N)
}

// mqMixed says what is wrong with an answer that may be of a moment before or after.
func mqMixed(q mqQuery, k *mqObjects, before, after mqView, all []*mqObject) string {
	last := q.Hops[len(q.Hops)-1]
	found := map[string]bool{}
	for i, o := range all {
		shown := k.show(o)
		switch {
		case shown != k.show(before.object(k, o.ID)) && shown != k.show(after.object(k, o.ID)):
			return "never was so: " + shown
		case !mqAllMatch(last.Where, k.columns, o):
			return "does not match: " + shown
		case found[o.ID] && (last.Edge == "" || last.Distinct):
			return "is there twice: " + shown
		case i > 0 && last.Limit == 0 && len(last.Order) > 0 && !last.ByEdge &&
			after.compare(q, last, &mqRow{object: all[i-1]}, &mqRow{object: o}, nil) > 0:
			return "is not in order: " + shown
		}
		found[o.ID] = true
	}
	if last.Edge != "" || last.Limit > 0 || last.Offset > 0 {
		return ""
	}
	there := mqIDsOf(mqObjectsIn(after.rows(q)))
	for _, id := range mqIDsOf(mqObjectsIn(before.rows(q))) {
		if slices.Contains(there, id) && !found[id] {
			return "is missing: " + id
		}
	}
	return ""
}
