package plan

import "reflect"

// Flat reports whether a copy of a struct of the plan's type, made by assignment,
// shares nothing with it that could be changed through one of them. The whole type
// counts, also what the plan does not keep: it is flat if it consists of bools,
// numbers, strings, times, and of structs and arrays of them.
func (p *Plan) Flat() bool { return p.flat }

func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		if t == timeType {
			return true
		}
		for i := range t.NumField() {
			if !flat(t.Field(i).Type) {
				return false
			}
		}
		return true
	case reflect.Array:
		return flat(t.Elem())
	case reflect.Pointer, reflect.UnsafePointer, reflect.Slice, reflect.Map, reflect.Func, reflect.Chan, reflect.Interface:
		return false
	}
	return true
}
