package plan

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// keyForm is how the keys of a map become the names of a document.
type keyForm uint8

const (
	stringKeys keyForm = iota + 1
	intKeys
	uintKeys
	timeKeys
	textKeys
)

// keysOf returns the form of a key type, 0 if there is none. As in encoding/json
// the methods of a string type are not used for keys. Pointers and interfaces have
// none: what comes back would not be equal to what was there.
func keysOf(t reflect.Type) keyForm {
	switch {
	case t.Kind() == reflect.String:
		return stringKeys
	case t == timeType:
		return timeKeys
	case methodsOf(t)&textPair == textPair:
		return textKeys
	case methodsOf(t) != 0:
		return 0
	}
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return intKeys
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return uintKeys
	}
	return 0
}

// name returns the key v as the name of a field.
func (k keyForm) name(v reflect.Value) (string, error) {
	var name string
	var err error
	switch k {
	case stringKeys:
		name = v.String()
	case intKeys:
		name = strconv.FormatInt(v.Int(), 10)
	case uintKeys:
		name = strconv.FormatUint(v.Uint(), 10)
	case timeKeys:
		name, err = timeKey(v)
	case textKeys:
		name, err = textOf(v)
	}
	if err != nil {
		return "", atKey(name, fmt.Errorf("map key: %w", err))
	}
	if err := checkKey(name); err != nil {
		return "", atKey(name, err)
	}
	return name, nil
}

// checkKey refuses the keys that a document cannot have as names.
func checkKey(name string) error {
	switch {
	case name == "":
		return errors.New("a map key is empty")
	case !utf8.ValidString(name):
		return errors.New("a map key is not valid UTF-8")
	case strings.Contains(name, "\x00"):
		return errors.New("a map key contains a NUL byte")
	}
	return nil
}

func timeKey(v reflect.Value) (string, error) {
	ms, err := milliseconds(v.Interface().(time.Time))
	if err != nil {
		return "", err
	}
	return time.UnixMilli(ms).UTC().Format(time.RFC3339Nano), nil
}

// set sets v, which must be addressable, from the name of a field.
func (k keyForm) set(name []byte, v reflect.Value) error {
	var err error
	switch k {
	case stringKeys:
		v.SetString(string(name))
	case intKeys:
		var i int64
		i, err = strconv.ParseInt(string(name), 10, v.Type().Bits())
		v.SetInt(i)
	case uintKeys:
		var u uint64
		u, err = strconv.ParseUint(string(name), 10, v.Type().Bits())
		v.SetUint(u)
	case timeKeys:
		var t time.Time
		t, err = time.Parse(time.RFC3339Nano, string(name))
		*v.Addr().Interface().(*time.Time) = t
	case textKeys:
		err = textForm.unmarshal(name, v)
	}
	if err != nil {
		return atKey(string(name), fmt.Errorf("map key: %w", err))
	}
	return nil
}

// check refuses a name that is not that of a key of type t. Whether a type that
// unmarshals itself accepts it shows when it does.
func (k keyForm) check(name string, t reflect.Type) error {
	if err := checkKey(name); err != nil || k == stringKeys || k == textKeys {
		return err
	}
	key := reflect.New(t).Elem()
	if k.set([]byte(name), key) == nil {
		if canonical, err := k.name(key); err == nil && canonical == name {
			return nil
		}
	}
	return fmt.Errorf("the map key is not one of type %v", t)
}
