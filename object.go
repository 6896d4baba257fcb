package graphcache

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"unsafe"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// Version is the version of an object's record. A struct with an exported field of
// this type, whatever its json tag, has it filled by every read; Put and Update then
// return [ErrConflict] if the record has moved on, which is what an HTML form or an
// ETag needs. A version is opaque; it survives a journey through a JSON number. 0 is no
// version, and checks nothing.
type Version int64

// newRecordVersion starts the version of a new record at a random number, so that
// a record that is deleted and created again does not repeat its versions. It stays
// below 2⁵³, where JSON numbers stop being exact.
func newRecordVersion() int64 { return rand.Int64N(1<<52) + 1 }

// ObjectKind is a kind of objects whose Go type is T, a struct. It is immutable,
// safe for concurrent use, and may be part of many schemas.
//
// T has a field of type ID[T], the one named ID or tagged `graph:"id"`. Its other
// exported fields are stored under their JSON names; a field tagged `json:"-"` is
// stored nowhere. See the package documentation for the types that a field may
// have.
type ObjectKind[T any] struct {
	core *objectKind
}

// NewObjectKind declares a kind of objects. The name is stored with the data: it
// has 1 to 64 letters, digits, '_' and '-', and starts with a letter. A mistake in
// the declaration is reported by [Open].
func NewObjectKind[T any](name string) *ObjectKind[T] {
	k := &objectKind{name: name, typ: reflect.TypeFor[T]()}
	k.err = k.declare(reflect.TypeFor[ID[T]]())
	if k.err == nil && k.plan.Flat() {
		k.copied = func(id string, v *value) any {
			if o, err := decodeObject[T](k, id, v); err == nil && o != nil {
				return o
			}
			return nil
		}
	}
	return &ObjectKind[T]{k}
}

// declare finds the ID and Version fields and makes the plan of the others.
func (k *objectKind) declare(idType reflect.Type) error {
	label := fmt.Sprintf("object kind %q", k.name)
	if k.typ.Kind() != reflect.Struct {
		return fmt.Errorf("%w: %s: %v is not a struct", ErrSchema, label, k.typ)
	}
	tagged := false
	for i := range k.typ.NumField() {
		f := k.typ.Field(i)
		switch {
		case !f.IsExported():
		case f.Type == idType && f.Tag.Get("graph") == "id":
			if tagged {
				return fmt.Errorf("%w: %s: field %q: a second field tagged `graph:\"id\"`", ErrSchema, label, f.Name)
			}
			tagged, k.id = true, f.Index
		case f.Type == idType && f.Name == "ID" && !tagged:
			k.id = f.Index
		case f.Type == reflect.TypeFor[Version]():
			if k.version != nil {
				return fmt.Errorf("%w: %s: field %q: a second field of type graphcache.Version", ErrSchema, label, f.Name)
			}
			k.version = f.Index
		}
	}
	if k.id == nil {
		return fmt.Errorf("%w: %s: no field is the ID: %v needs a field ID of type graphcache.ID[%v], or one tagged `graph:\"id\"`",
			ErrSchema, label, k.typ, k.typ.Name())
	}
	k.idAt = k.typ.FieldByIndex(k.id).Offset
	if k.version != nil {
		k.versionAt = k.typ.FieldByIndex(k.version).Offset
	}
	var err error
	k.plan, err = plan.Of(label, k.typ, func(f reflect.StructField) bool {
		return reflect.DeepEqual(f.Index, k.id) || k.version != nil && reflect.DeepEqual(f.Index, k.version)
	})
	return err
}

// CacheScans returns the kind as one of which whole searches are cached: a query with
// [ObjectKind.Where] that no index answers is a cached value, which every write of an
// object of the kind invalidates. It is for small kinds that are rarely written, such
// as feature gates: all their writes mark one and the same place in the cache. It leaves
// the kind that it is called on as it is; declare edge kinds, fields and indexes on the
// one that it returns.
func (k *ObjectKind[T]) CacheScans() *ObjectKind[T] {
	c := *k.core
	c.scans = true
	return &ObjectKind[T]{&c}
}

// Name returns the kind's name.
func (k *ObjectKind[T]) Name() string { return k.core.name }

func (k *ObjectKind[T]) declareIn(s *Schema) { s.objects = append(s.objects, k.core) }

// Get returns the object, or [ErrNotFound]. It belongs to the caller. fresh may be [Fresh]
// to read the store, or [Shared] to pass by the near cache; the default is [Cached].
func (k *ObjectKind[T]) Get(ctx context.Context, c Conn, id ID[T], fresh ...Freshness) (*T, error) {
	conn := c.conn()
	if v := conn.near(k.core, string(id), fresh); v != nil {
		if near, ok := v.object.(*T); ok {
			o := new(T)
			*o = *near
			return o, nil
		}
		return nearObject[T](k.core, string(id), v)
	}
	return k.get(ctx, conn, string(id), freshness(fresh))
}

// GetInto is [ObjectKind.Get] into a variable of the caller's, all of which it overwrites,
// or nothing if there is an error. An object that the near cache has, and whose type has no
// pointers, slices, maps or interfaces, costs no allocation. A near hit does not look at ctx.
func (k *ObjectKind[T]) GetInto(ctx context.Context, c Conn, id ID[T], into *T, fresh ...Freshness) error {
	if into == nil {
		return fmt.Errorf("%w: get %s %q into nil", ErrInvalid, k.core.name, string(id))
	}
	conn := c.conn()
	var o *T
	var err error
	if v := conn.near(k.core, string(id), fresh); v == nil {
		o, err = k.get(ctx, conn, string(id), freshness(fresh))
	} else if near, ok := v.object.(*T); ok {
		o = near
	} else {
		o, err = nearObject[T](k.core, string(id), v)
	}
	if err == nil {
		*into = *o
	}
	return err
}

// nearObject makes an object of what the near cache has, which is not to be copied.
func nearObject[T any](k *objectKind, id string, v *nearValue) (o *T, err error) {
	defer wrap(&err, "get", k.name, id)
	o, err = decodeObject[T](k, id, &v.value)
	if err == nil && o == nil {
		err = ErrNotFound
	}
	return o, err
}

// get fetches the object.
func (k *ObjectKind[T]) get(ctx context.Context, c conn, id string, fresh Freshness) (o *T, err error) {
	defer wrap(&err, "get", k.core.name, id)
	ctx, op := c.g.start(ctx, "get", k.core.name)
	defer op.end(&err)
	if err := checkID(k.core.name, id); err != nil {
		return nil, err
	}
	b, err := c.g.boundObject(k.core)
	if err != nil {
		return nil, err
	}
	one := idleRequests.Get().(*[1]request)
	one[0] = b.objectRequest(id)
	if err = c.fetch(ctx, one[:], fresh); err == nil {
		o, err = decodeObject[T](k.core, id, &one[0].value)
	}
	if err == nil && o == nil {
		err = ErrNotFound
	}
	// Loads that go on have copies of their own.
	free(one)
	return o, err
}

// idleRequests are for reads of one object, of which the request is the largest
// allocation.
var idleRequests = sync.Pool{New: func() any { return new([1]request) }}

func free(one *[1]request) {
	one[0] = request{}
	idleRequests.Put(one)
}

// freshness returns the one that a variadic parameter may have.
func freshness(f []Freshness) Freshness {
	if len(f) > 0 {
		return f[0]
	}
	return Cached
}

// GetMany returns the objects that exist, by their IDs, from one batch. An ID may
// be given more than once. fresh is that of [ObjectKind.Get].
func (k *ObjectKind[T]) GetMany(ctx context.Context, c Conn, ids []ID[T], fresh ...Freshness) (_ map[ID[T]]*T, err error) {
	defer wrap(&err, "get", k.core.name, "")
	ctx, op := c.conn().g.start(ctx, "get", k.core.name)
	defer op.end(&err)
	plain := make([]string, len(ids))
	for i, id := range ids {
		if err := checkID(k.core.name, string(id)); err != nil {
			return nil, err
		}
		plain[i] = string(id)
	}
	plain = distinct(plain)
	objects, err := fetchObjects[T](ctx, c.conn(), k.core, plain, freshness(fresh))
	if err != nil {
		return nil, err
	}
	found := make(map[ID[T]]*T, len(plain))
	for i, o := range objects {
		if o != nil {
			found[ID[T](plain[i])] = o
		}
	}
	return found, nil
}

// fetchObjects returns the objects with the IDs in one batch, nil where there is
// none. An ID that is given twice is fetched once and decoded twice: every object
// belongs to the caller.
func fetchObjects[T any](ctx context.Context, c conn, k *objectKind, ids []string, fresh Freshness) ([]*T, error) {
	values, err := fetchValues(ctx, c, k, ids, fresh)
	if err != nil {
		return nil, err
	}
	objects := make([]*T, len(ids))
	for i, id := range ids {
		if values[i] == nil {
			continue
		}
		if objects[i], err = decodeObject[T](k, id, values[i]); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// fetchValues returns the object fragments of the IDs in one batch, nil where there is
// no object.
func fetchValues(ctx context.Context, c conn, k *objectKind, ids []string, fresh Freshness) ([]*value, error) {
	b, err := c.g.boundObject(k)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	reqs := make([]request, 0, len(ids))
	index := make(map[string]int, len(ids))
	for _, id := range ids {
		if _, ok := index[id]; !ok {
			index[id] = len(reqs)
			reqs = append(reqs, b.objectRequest(id))
		}
	}
	if err := c.fetch(ctx, reqs, fresh); err != nil {
		return nil, err
	}
	values := make([]*value, len(ids))
	for i, id := range ids {
		if v := &reqs[index[id]].value; v.flags&flagAbsent == 0 {
			values[i] = v
		}
	}
	return values, nil
}

// decodeObject decodes a fragment, nil if the object does not exist.
func decodeObject[T any](k *objectKind, id string, v *value) (*T, error) {
	if v.flags&flagAbsent != 0 {
		return nil, nil
	}
	version, rest, err := msgp.ReadInt64Bytes(v.body)
	if err != nil {
		return nil, fmt.Errorf("%s %q: decode: %w", k.name, id, err)
	}
	o := new(T)
	if err := k.decode(rest, unsafe.Pointer(o), id, version); err != nil {
		return nil, err
	}
	return o, nil
}

// decode fills the struct that to points to, which is of the kind's type.
func (k *objectKind) decode(body []byte, to unsafe.Pointer, id string, version int64) error {
	rest, err := k.plan.DecodeTo(body, to)
	if err == nil && len(rest) > 0 {
		err = errors.New("bytes are left over")
	}
	if err != nil {
		return fmt.Errorf("%s %q: decode: %w", k.name, id, err)
	}
	*(*string)(unsafe.Add(to, k.idAt)) = id
	if k.version != nil {
		*(*Version)(unsafe.Add(to, k.versionAt)) = Version(version)
	}
	return nil
}

// decodeRecord decodes a record straight from the store.
func (k *objectKind) decodeRecord(o *driver.Object, v reflect.Value) error {
	body, err := k.plan.Encode(nil, o.Doc)
	if err != nil {
		return fmt.Errorf("%s %q: %w", k.name, o.ID, err)
	}
	return k.decode(body, v.Addr().UnsafePointer(), o.ID, o.Version)
}

// versionOf returns the version in the struct, 0 if it has none.
func (k *objectKind) versionOf(v reflect.Value) int64 {
	if k.version == nil {
		return 0
	}
	return v.FieldByIndex(k.version).Int()
}

// assign sets the ID and the version of an object that has been written. If it was
// written in a transaction that does not commit, it gets back what it had, so that
// the transaction can run again.
func (k *objectKind) assign(c conn, v reflect.Value, id string, version int64) {
	oldID, oldVersion := v.FieldByIndex(k.id).String(), k.versionOf(v)
	c.onRollback(func() { k.setRecord(v, oldID, oldVersion) })
	k.setRecord(v, id, version)
}

// setRecord sets the fields that are not in the document.
func (k *objectKind) setRecord(v reflect.Value, id string, version int64) {
	v.FieldByIndex(k.id).SetString(id)
	if k.version != nil {
		v.FieldByIndex(k.version).SetInt(version)
	}
}

// Create adds the object. If its ID is empty it gets a new one, as from [NewID];
// the ID and the Version, if the struct has one, are set in o. It returns
// [ErrExists] if there is an object with that ID, or with the same values in a unique
// index, which the error names. After [ErrUnknownOutcome] the ID is
// set too, so that the object can be looked for.
func (k *ObjectKind[T]) Create(ctx context.Context, c Conn, o *T) error {
	if o == nil {
		err := fmt.Errorf("%w: the object is nil", ErrInvalid)
		wrap(&err, "create", k.core.name, "")
		return err
	}
	return k.core.create(ctx, c.conn(), reflect.ValueOf(o).Elem())
}

func (k *objectKind) create(ctx context.Context, c conn, v reflect.Value) (err error) {
	id := v.FieldByIndex(k.id).String()
	if id == "" {
		id = newID()
	}
	defer wrap(&err, "create", k.name, id)
	ctx, op := c.g.start(ctx, "create", k.name)
	defer op.end(&err)
	doc, err := k.document(c, id, v)
	if err != nil {
		return err
	}
	err = c.attempts(ctx, func() (bool, error) {
		res, err := k.insert(ctx, c, v, id, doc)
		if err != nil || res.Outcome == driver.Done {
			return true, err
		}
		return c.exists(ctx, k, id, res)
	})
	if errors.Is(err, ErrUnknownOutcome) {
		v.FieldByIndex(k.id).SetString(id) // to find out whether it is there
	}
	return err
}

// insert writes the struct where there is no record.
func (k *objectKind) insert(ctx context.Context, c conn, v reflect.Value, id string, doc driver.Document) (driver.WriteResult, error) {
	record := driver.Object{ID: id, Version: newRecordVersion(), Doc: doc}
	res, err := k.writeObject(ctx, c, driver.Write{Op: driver.Insert, Object: &record}, nil)
	if err == nil && res.Outcome == driver.Exists && res.Index != "" {
		return res, k.taken(res.Index)
	}
	if err == nil && res.Outcome == driver.Done {
		k.assign(c, v, id, record.Version)
	}
	return res, err
}

// exists handles an insert that found a record: an object that is being deleted is
// removed to the end, and the insert may be tried again.
func (c conn) exists(ctx context.Context, k *objectKind, id string, res driver.WriteResult) (done bool, err error) {
	present := res.Object
	if present == nil {
		if present, err = c.readObject(ctx, k, id); err != nil {
			return true, err
		}
	}
	switch {
	case present == nil:
		return false, nil
	case present.Deleting:
		return false, c.finishDelete(ctx, k, present, "")
	}
	return true, ErrExists
}

// document checks the ID and makes the object's document.
func (k *objectKind) document(c conn, id string, v reflect.Value) (driver.Document, error) {
	if err := checkID(k.name, id); err != nil {
		return nil, err
	}
	if _, err := c.g.boundObject(k); err != nil {
		return nil, err
	}
	return k.plan.Document(v)
}

// writeObject writes the object's record in the place of the one before, nil if there
// is none, while its anchors are held.
func (k *objectKind) writeObject(ctx context.Context, c conn, w driver.Write, before *driver.Object) (res driver.WriteResult, err error) {
	b, err := c.g.boundObject(k)
	if err != nil {
		return res, err
	}
	w.Kind = k.name
	after := present(w.Object)
	if w.Op == driver.Delete {
		after = nil
	}
	if before != nil {
		w.Old = b.indexedFields(before.Doc)
		w.Gone = gone(before.Doc, w.Object.Doc)
	}
	touched := func() []anchor { return b.touched(w.Object.ID, present(before), after) }
	err = c.mutate(ctx, touched, func(ctx context.Context, s *session) (err error) {
		res, err = s.write(ctx, w)
		return err
	})
	return res, err
}

// gone returns the names of the fields that a document had before and has not after.
func gone(before, after driver.Document) []string {
	var names []string
	for i := range before {
		if i < len(after) && after[i].Name == before[i].Name { // as in most documents
			continue
		}
		if _, there := after.Get(before[i].Name); !there {
			names = append(names, before[i].Name)
		}
	}
	return names
}

// taken is the error of a write that a unique index stands against.
func (k *objectKind) taken(index string) error {
	return fmt.Errorf("%w: another %s has the same values in the unique index %q", ErrExists, k.name, index)
}

// readObject returns the object's record from the store, nil if there is none.
func (c conn) readObject(ctx context.Context, k *objectKind, id string) (*driver.Object, error) {
	return c.readObjectAt(ctx, k, id, "")
}

// readObjectAt is readObject in a state that is not before the stamp.
func (c conn) readObjectAt(ctx context.Context, k *objectKind, id string, stamp driver.Stamp) (*driver.Object, error) {
	results, err := c.readAt(ctx, stamp, driver.Step{Op: driver.GetObjects, Kind: k.name, IDs: []string{id}})
	if err != nil {
		return nil, err
	}
	if len(results[0].Objects) != 1 {
		return nil, errResult
	}
	return results[0].Objects[0], nil
}

// Update reads the object from the store, lets change modify it, and writes it back
// if nobody else has written it meanwhile; else it starts again with what is there
// then, at most Options.MaxAttempts times, and returns [ErrConflict]. It returns
// the object as written, or [ErrNotFound].
//
// change may run several times, and must not change the ID. An error of it ends the
// update, and is wrapped by the one returned. If the struct has a [Version] and change
// sets it to another than the record's, Update returns ErrConflict at once. Fields of
// the record that this program does not know are kept.
func (k *ObjectKind[T]) Update(ctx context.Context, c Conn, id ID[T], change func(*T) error) (_ *T, err error) {
	defer wrap(&err, "update", k.core.name, string(id))
	ctx, op := c.conn().g.start(ctx, "update", k.core.name)
	defer op.end(&err)
	if err := checkID(k.core.name, string(id)); err != nil {
		return nil, err
	}
	if _, err := c.conn().g.boundObject(k.core); err != nil {
		return nil, err
	}
	var o *T
	err = c.conn().attempts(ctx, func() (bool, error) {
		o = new(T)
		v := reflect.ValueOf(o).Elem()
		return k.core.update(ctx, c.conn(), string(id), v, func() error { return change(o) })
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// update tries once.
func (k *objectKind) update(ctx context.Context, c conn, id string, v reflect.Value, change func() error) (done bool, err error) {
	present, err := c.readObject(ctx, k, id)
	switch {
	case err != nil:
		return true, err
	case present == nil || present.Deleting:
		return true, ErrNotFound
	}
	if err := k.decodeRecord(present, v); err != nil {
		return true, err
	}
	if err := change(); err != nil {
		return true, err
	}
	doc, err := k.rewritten(v, present)
	if err != nil {
		return true, err
	}
	return k.replace(ctx, c, v, present, doc)
}

// rewritten returns the document of a struct that was read from the record and changed.
func (k *objectKind) rewritten(v reflect.Value, record *driver.Object) (driver.Document, error) {
	if got := v.FieldByIndex(k.id).String(); got != record.ID {
		return nil, fmt.Errorf("%w: the ID was changed to %.80q", ErrInvalid, got)
	}
	if given := k.versionOf(v); given != 0 && given != record.Version {
		return nil, fmt.Errorf("%w: the record's version is %d, not %d", ErrConflict, record.Version, given)
	}
	return k.plan.Document(v)
}

// replace writes the struct over the record that is there, if that is still the
// same.
func (k *objectKind) replace(ctx context.Context, c conn, v reflect.Value, present *driver.Object, doc driver.Document) (done bool, err error) {
	if given := k.versionOf(v); given != 0 && given != present.Version {
		return true, fmt.Errorf("%w: the record's version is %d, not %d", ErrConflict, present.Version, given)
	}
	record := driver.Object{ID: present.ID, Version: present.Version + 1, Doc: k.plan.Keep(doc, present.Doc)}
	res, err := k.writeObject(ctx, c, driver.Write{Op: driver.Replace, Object: &record, Expect: present.Version}, present)
	switch {
	case err != nil:
		return false, err
	case res.Outcome == driver.Exists:
		return true, k.taken(res.Index)
	case res.Outcome != driver.Done:
		return false, nil
	}
	k.assign(c, v, record.ID, record.Version)
	return true, nil
}

// Put creates the object, or replaces the one with the same ID. It sets the ID, if
// it is empty, and the [Version] in o. If o has a Version that is not 0, the object
// must exist and have that version, or Put returns [ErrConflict]. Fields of the
// record that this program does not know are kept.
func (k *ObjectKind[T]) Put(ctx context.Context, c Conn, o *T) error {
	if o == nil {
		err := fmt.Errorf("%w: the object is nil", ErrInvalid)
		wrap(&err, "put", k.core.name, "")
		return err
	}
	return k.core.put(ctx, c.conn(), reflect.ValueOf(o).Elem())
}

func (k *objectKind) put(ctx context.Context, c conn, v reflect.Value) (err error) {
	id := v.FieldByIndex(k.id).String()
	if id == "" && k.versionOf(v) == 0 {
		return k.create(ctx, c, v)
	}
	defer wrap(&err, "put", k.name, id)
	ctx, op := c.g.start(ctx, "put", k.name)
	defer op.end(&err)
	doc, err := k.document(c, id, v)
	if err != nil {
		return err
	}
	return c.attempts(ctx, func() (bool, error) {
		present, err := c.readObject(ctx, k, id)
		switch {
		case err != nil:
			return true, err
		case present != nil && present.Deleting:
			return false, c.finishDelete(ctx, k, present, "")
		case present != nil:
			return k.replace(ctx, c, v, present, doc)
		}
		if given := k.versionOf(v); given != 0 {
			return true, fmt.Errorf("%w: the record does not exist, so it does not have version %d", ErrConflict, given)
		}
		res, err := k.insert(ctx, c, v, id, doc)
		return res.Outcome == driver.Done, err
	})
}

// Delete removes the object and all its edges of the kinds in the schema. It returns
// [ErrNotFound] if there is no such object.
//
// The object reads as absent from the first step on; its edges follow in chunks,
// and may be listed until Delete returns. If it ends in between, because the process
// dies, the context ends or a backend fails, the rest is removed when a graph is next
// opened, when the object is deleted or created again, or by [Graph.Repair].
func (k *ObjectKind[T]) Delete(ctx context.Context, c Conn, id ID[T]) (err error) {
	defer wrap(&err, "delete", k.core.name, string(id))
	ctx, op := c.conn().g.start(ctx, "delete", k.core.name)
	defer op.end(&err)
	if err := checkID(k.core.name, string(id)); err != nil {
		return err
	}
	if _, err := c.conn().g.boundObject(k.core); err != nil {
		return err
	}
	return c.conn().delete(ctx, k.core, string(id), nil)
}

// CreateAll creates the objects, each a pointer to the struct of one of the
// schema's object kinds, in the order given. It stops at the first error; the
// objects before it have been created.
func (g *Graph) CreateAll(ctx context.Context, objects ...any) error {
	for i, o := range objects {
		v := reflect.ValueOf(o)
		if v.Kind() != reflect.Pointer || v.IsNil() {
			return createAllError(i, fmt.Errorf("%w: a %T is not a pointer to an object", ErrInvalid, o))
		}
		k, err := g.shared.schema.kindOf(v.Type().Elem())
		if err != nil {
			return createAllError(i, err)
		}
		if err := k.create(ctx, g.conn(), v.Elem()); err != nil {
			return err
		}
	}
	return nil
}

// createAllError says which argument cannot be created.
func createAllError(i int, err error) error {
	wrap(&err, fmt.Sprintf("create object %d", i), "", "")
	return err
}
