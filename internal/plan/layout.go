package plan

import (
	"reflect"
	"time"
	"unsafe"
)

// layout is what decoding needs to know of a Go type, found out once.
type layout struct {
	maker
	// width is the size of a value, keyWidth that of a table's keys.
	width, keyWidth uintptr
	// parts are the fields of a record.
	parts []part
	// row is set if values have a quick way: a few of them, one after the other, as
	// if they were the fields of a record.
	row []part
	// values is set for a table that is made without reflection: its keys are of the
	// type string, and its values of the basic type of this kind.
	values reflect.Kind
}

// part is a field of a record as decoding sees it.
type part struct {
	node          *node
	offset, width uintptr
	// behind is how many bytes the fields behind this one take at the least.
	behind int
	quick  quick
}

const rowLength = 8

// lay sets the layout of n and of all that it leads to, which have been measured.
func (n *node) lay() {
	if n.alloc != nil {
		return
	}
	n.width, n.maker = n.typ.Size(), makerOf(n.typ)
	if q := quickOf(n); q > 0 {
		n.row = make([]part, rowLength)
		for i := range n.row {
			n.row[i] = part{offset: uintptr(i) * n.width, width: n.width, quick: q}
		}
	}
	if n.form == tableForm {
		n.layTable()
	}
	if n.elem != nil {
		n.elem.lay()
	}
	n.parts = make([]part, len(n.fields))
	behind := 0
	for i := len(n.fields) - 1; i >= 0; i-- {
		f := &n.fields[i]
		n.parts[i] = part{f.node, offsetOf(n.typ, f.index), f.node.typ.Size(), behind, quickOf(f.node)}
		behind += f.node.least
		f.node.lay()
	}
}

func (n *node) layTable() {
	key, elem := n.typ.Key(), n.typ.Elem()
	n.keyWidth = key.Size()
	if key != reflect.TypeFor[string]() {
		return
	}
	switch elem {
	case reflect.TypeFor[string](), reflect.TypeFor[int](), reflect.TypeFor[int64](),
		reflect.TypeFor[float64](), reflect.TypeFor[bool]():
		n.values = elem.Kind()
	}
}

// maker makes values of one type.
type maker struct {
	// alloc returns a pointer to a new zero value.
	alloc func() unsafe.Pointer
	// makeList sets the slice that p points to, which is nil and of the given type,
	// to one of count zero values, and returns a pointer to the first.
	makeList func(list reflect.Type, count int, p unsafe.Pointer) unsafe.Pointer
}

// makerOf returns the maker of a type by way of another that the collector cannot
// tell from it. Structs, arrays and rare types have none and are made by reflection.
func makerOf(t reflect.Type) maker {
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		return makerFor[uint8]()
	case reflect.Int16, reflect.Uint16:
		return makerFor[uint16]()
	case reflect.Int32, reflect.Uint32, reflect.Float32:
		return makerFor[uint32]()
	case reflect.Int64, reflect.Uint64, reflect.Float64:
		return makerFor[uint64]()
	case reflect.Int, reflect.Uint, reflect.Uintptr:
		return makerFor[uint]()
	case reflect.String:
		return makerFor[string]()
	case reflect.Slice:
		return makerFor[[]byte]()
	case reflect.Pointer, reflect.Map:
		return makerFor[unsafe.Pointer]()
	}
	if t == timeType {
		return makerFor[time.Time]()
	}
	return maker{func() unsafe.Pointer { return reflect.New(t).UnsafePointer() }, growList}
}

func makerFor[T any]() maker { return maker{alloc[T], makeList[T]} }

func alloc[T any]() unsafe.Pointer { return unsafe.Pointer(new(T)) }

func makeList[T any](_ reflect.Type, count int, p unsafe.Pointer) unsafe.Pointer {
	list := make([]T, count)
	*(*[]T)(p) = list
	return unsafe.Pointer(unsafe.SliceData(list))
}

func growList(list reflect.Type, count int, p unsafe.Pointer) unsafe.Pointer {
	v := reflect.NewAt(list, p).Elem()
	v.Grow(count)
	v.SetLen(count)
	return v.UnsafePointer()
}
