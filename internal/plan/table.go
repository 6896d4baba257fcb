package plan

import (
	"bytes"
	"errors"
	"reflect"
	"unsafe"

	"github.com/tinylib/msgp/msgp"
)

// tableSlack is how many slots a map may make for each of its entries.
const tableSlack = 3

// errTwins is for keys that differ in the encoding only.
var errTwins = errors.New("two keys of a map are the same")

func (d *decoder) table(n *node, i int, p unsafe.Pointer) (int, error) {
	*(*unsafe.Pointer)(p) = nil
	if d.isNil(i) {
		return i + 1, nil
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	count, b, err := msgp.ReadMapHeaderBytes(d.body[i:])
	if err != nil {
		return 0, corrupt(err)
	}
	size := tableSlack * int(n.keyWidth+n.elem.width+1)
	if err := d.afford(b, count, 1+n.elem.least, size, 2); err != nil {
		return 0, err
	}
	if i, err = d.entries(n, int(count), d.after(b), p); err != nil {
		return 0, err
	}
	d.leave()
	return i, nil
}

// entries makes the map and sets its entries.
func (d *decoder) entries(n *node, count, i int, p unsafe.Pointer) (int, error) {
	switch n.values {
	case reflect.String:
		return scalarEntries(d, count, i, (*map[string]string)(p))
	case reflect.Int:
		return scalarEntries(d, count, i, (*map[string]int)(p))
	case reflect.Int64:
		return scalarEntries(d, count, i, (*map[string]int64)(p))
	case reflect.Float64:
		return scalarEntries(d, count, i, (*map[string]float64)(p))
	case reflect.Bool:
		return scalarEntries(d, count, i, (*map[string]bool)(p))
	}
	return d.anyEntries(n, count, i, p)
}

// scalarEntries is entries for the maps that need no reflection.
func scalarEntries[V string | int | int64 | float64 | bool](d *decoder, count, i int, p *map[string]V) (int, error) {
	m := make(map[string]V, count)
	*p = m
	var last []byte
	for k := range count {
		from, end, err := d.name(k, i, last)
		if err != nil {
			return 0, err
		}
		var x V
		if i, err = scalar(d, end, &x); err != nil {
			return 0, atKey(string(d.body[from:end]), err)
		}
		m[d.part(from, end)] = x
		last = d.body[from:end]
	}
	return i, nil
}

func scalar[V string | int | int64 | float64 | bool](d *decoder, i int, to *V) (int, error) {
	switch to := any(to).(type) {
	case *string:
		return d.string(i, to)
	case *float64:
		return d.float64(i, to)
	case *bool:
		return d.bool(i, to)
	case *int:
		x, i, err := d.int64(i)
		if *to = int(x); err == nil && int64(*to) != x {
			return 0, corrupt(errRange)
		}
		return i, err
	case *int64:
		x, i, err := d.int64(i)
		*to = x
		return i, err
	}
	panic("unreachable")
}

// name returns where the k-th key is, which must come after the last one.
func (d *decoder) name(k, i int, last []byte) (from, end int, err error) {
	if from, end, err = d.span(i); err != nil {
		return 0, 0, err
	}
	if k > 0 && bytes.Compare(last, d.body[from:end]) >= 0 {
		return 0, 0, corrupt(errOrder)
	}
	return from, end, nil
}

// anyEntries is entries for all other maps. It sets them by reflection, by way of a
// key and an element that are used for each entry again.
func (d *decoder) anyEntries(n *node, count, i int, p unsafe.Pointer) (int, error) {
	m := reflect.NewAt(n.typ, p).Elem()
	m.Set(reflect.MakeMapWithSize(n.typ, count))
	key, x := reflect.New(n.typ.Key()).Elem(), reflect.New(n.elem.typ).Elem()
	to := x.Addr().UnsafePointer()
	owed := d.owed
	var last []byte
	for k := range count {
		from, end, err := d.name(k, i, last)
		if err != nil {
			return 0, err
		}
		last = d.body[from:end]
		if err := d.key(n.keys, from, end, key); err != nil {
			return 0, err
		}
		d.owed = owed + (count-1-k)*(1+n.elem.least)
		if i, err = d.value(n.elem, end, to); err != nil {
			return 0, atKey(string(last), err)
		}
		if err := setEntry(m, key, x); err != nil {
			return 0, err
		}
	}
	if m.Len() != count {
		return 0, corrupt(errTwins)
	}
	return i, nil
}

// key sets the key from a part of the body.
func (d *decoder) key(k keyForm, from, end int, key reflect.Value) error {
	if k == stringKeys {
		key.SetString(d.part(from, end))
		return nil
	}
	return k.set(d.body[from:end], key)
}

// setEntry is m[key] = x. A key type that unmarshals itself may make a key that
// cannot be hashed.
func setEntry(m, key, x reflect.Value) (err error) {
	defer guard("hashing a map key", &err)
	m.SetMapIndex(key, x)
	return nil
}
