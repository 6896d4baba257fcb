package plan

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// texts are offered to types that marshal themselves. Those with methods for JSON
// are not shown the ones that are not JSON.
var texts = []string{
	"1", "a", "-1.5", "true", "null", "2006-01-02T15:04:05Z", "2006-01-02", "15:04:05",
	"1h30m", "127.0.0.1", "10.0.0.0/8", "::1", "00:11:22:33:44:55", "en-GB",
	"6ba7b810-9dad-11d1-80b4-00c04fd430c8", "0123456789abcdef01234567",
	"https://example.com/a?b=c", "a@example.com",
	`"a"`, `"1"`, `""`, `"2006-01-02T15:04:05Z"`, `"2006-01-02"`, `"127.0.0.1"`, `"1h30m"`,
	`"6ba7b810-9dad-11d1-80b4-00c04fd430c8"`, `"0123456789abcdef01234567"`,
	`{}`, `{"a":1}`, `{"a":"b"}`, `[]`, `[1]`, `["a"]`, `[1.5,2.5]`,
}

// sample is what is known of a type that marshals itself.
type sample struct {
	// values are some that come back, among them the zero value if it does.
	values []reflect.Value
	// zero is why the zero value does not come back.
	zero error
	// lost is why the type cannot be trusted at all.
	lost error
}

// sample tries a type that marshals itself.
func (f form) sample(t reflect.Type) *sample {
	s := &sample{}
	zero := reflect.New(t).Elem()
	if _, s.zero = f.back(zero); s.zero == nil {
		s.values = append(s.values, zero)
	}
	s.offerTexts(f, t)
	s.offerMade(f, t)
	// A value that the methods refuse may be refused for a reason, and nothing
	// is written; that they panic on the only value there is has none.
	var p *panicError
	if len(s.values) == 0 && s.lost == nil && errors.As(s.zero, &p) {
		s.lost = s.zero
	}
	return s
}

// unwritten is the error of a value that could not be marshaled.
type unwritten struct{ error }

func (e unwritten) Unwrap() error { return e.error }

// back sends v there and back and returns what came back. It is an error if that
// is not v.
func (f form) back(v reflect.Value) (reflect.Value, error) {
	text, err := f.marshal(v)
	if err != nil {
		return v, unwritten{err}
	}
	w, err := f.read(text, v.Type())
	if err != nil {
		return v, fmt.Errorf("it writes %q: %w", text, err)
	}
	if !f.alike(v, w) {
		return w, fmt.Errorf("it writes %q, which it reads as another value", text)
	}
	return w, nil
}

func (f form) read(text string, t reflect.Type) (reflect.Value, error) {
	v := reflect.New(t).Elem()
	return v, f.unmarshal([]byte(text), v)
}

// offerTexts tries the values that the type makes of the texts. What it accepts
// it must be able to write, and read again, unless it says that it cannot write
// it.
func (s *sample) offerTexts(f form, t reflect.Type) {
	for _, text := range texts {
		v, err := f.read(text, t)
		if err != nil || v.IsZero() {
			continue
		}
		_, err = f.back(v)
		var u unwritten
		var p *panicError
		switch {
		case err == nil:
			s.values = append(s.values, v)
		case !errors.As(err, &u) || errors.As(err, &p):
			s.lost = err
			return
		}
	}
}

// offerMade tries values made without the type's help. They may be nonsense to
// it, and it may refuse or normalise them, or write one of several fields only.
// But what is zero when it comes back, whatever else is set, is never written:
// so it is with the field beside an embedded time.Time.
func (s *sample) offerMade(f form, t reflect.Type) {
	if t.Kind() != reflect.Struct {
		for k := range 3 {
			v := reflect.New(t).Elem()
			if !made(v, k+1) || v.IsZero() {
				return
			}
			w, err := f.back(v)
			if err == nil {
				s.values = append(s.values, v)
			} else if w.IsZero() {
				s.lost = err
			}
		}
		return
	}
	full := reflect.New(t).Elem()
	made(full, 1)
	back, err := f.back(full)
	if err == nil {
		s.values = append(s.values, full)
		return
	}
	for i := range t.NumField() {
		if f.forgets(full, back, i) {
			s.lost = fmt.Errorf("its field %s is lost", t.Field(i).Name)
		}
	}
}

// forgets reports whether field i is zero in back, which came back for full, and
// also when it is the only one that is set.
func (f form) forgets(full, back reflect.Value, i int) bool {
	if !full.Type().Field(i).IsExported() || full.Field(i).IsZero() || !back.Field(i).IsZero() {
		return false
	}
	alone := reflect.New(full.Type()).Elem()
	alone.Field(i).Set(full.Field(i))
	text, err := f.marshal(alone)
	if err != nil {
		return false
	}
	w, err := f.read(text, alone.Type())
	return err == nil && w.Field(i).IsZero()
}

// made sets v, and what it consists of, to something that is not zero, and
// reports whether it could. The depth is bounded by that of the type's structs,
// for nothing behind a pointer is set.
func made(v reflect.Value, k int) bool {
	switch {
	case v.Type() == timeType:
		v.Set(reflect.ValueOf(time.Date(2006, 1, 2, 15, 4, k, 0, time.UTC)))
	case v.CanInt():
		v.SetInt(int64(k))
	case v.CanUint():
		v.SetUint(uint64(k))
	case v.CanFloat():
		v.SetFloat(float64(k) + 0.5)
	case v.Kind() == reflect.Bool:
		v.SetBool(true)
	case v.Kind() == reflect.String:
		v.SetString(string(rune('0' + k)))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				made(v.Field(i), k)
			}
		}
	default:
		return false
	}
	return true
}

// alike reports whether two values of a type that marshals itself are the same:
// by reflect.DeepEqual, else by the type's method Equal, else by their texts if
// the first is zero or DeepEqual cannot tell, being false even for two readings of
// one text.
func (f form) alike(a, b reflect.Value) bool {
	if reflect.DeepEqual(a.Interface(), b.Interface()) {
		return true
	}
	if same, ok := equalMethod(a, b); ok {
		return same
	}
	text, err := f.marshal(a)
	other, err2 := f.marshal(b)
	if err != nil || err2 != nil || text != other {
		return false
	}
	c, err := f.read(text, a.Type())
	return a.IsZero() || err == nil && !reflect.DeepEqual(b.Interface(), c.Interface())
}

// equalMethod calls a.Equal(b) if the type has such a method.
func equalMethod(a, b reflect.Value) (same, ok bool) {
	m := a.MethodByName("Equal")
	if !m.IsValid() {
		return false, false
	}
	t := m.Type()
	if t.NumIn() != 1 || t.In(0) != b.Type() || t.NumOut() != 1 || t.Out(0).Kind() != reflect.Bool {
		return false, false
	}
	return m.Call([]reflect.Value{b})[0].Bool(), true
}
