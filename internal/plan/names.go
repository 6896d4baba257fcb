package plan

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"
)

// jsonName returns the name of a field by its json tag, whether the tag gave it,
// and whether the tag leaves the field out. What follows the name in the tag is
// ignored.
func jsonName(sf reflect.StructField) (name string, tagged, omit bool) {
	tag := sf.Tag.Get("json")
	if tag == "-" {
		return "", false, true
	}
	name, _, _ = strings.Cut(tag, ",")
	if name == "" {
		return sf.Name, false, false
	}
	return name, true, false
}

// options are what the graph tag of a field says.
type options struct {
	// was are older names.
	was []string
	// indexed and unique are set if there is to be an index on the field; unique
	// is not set without the other.
	indexed, unique bool
}

// optionsOf returns the options of a field.
func optionsOf(sf reflect.StructField) (o options, err error) {
	tag := sf.Tag.Get("graph")
	if tag == "" {
		return o, nil
	}
	seen := map[string]bool{}
	for option := range strings.SplitSeq(tag, ",") {
		seen[option] = true
		name, isWas := strings.CutPrefix(option, "was=")
		switch {
		case isWas:
			if err := CheckName(name); err != nil {
				return o, fmt.Errorf("graph tag option %q: %w", option, err)
			}
			o.was = append(o.was, name)
		case option == "index" || option == "unique" || option == "id": // id is the caller's
		default:
			return o, fmt.Errorf("unknown graph tag option %q", option)
		}
	}
	o.unique = seen["unique"]
	o.indexed = o.unique || seen["index"]
	switch {
	case o.unique && seen["index"]:
		return o, errors.New("the graph tag options index and unique exclude each other: a unique index is an index")
	case o.indexed && seen["id"]:
		return o, errors.New("the ID needs no index: it is unique and found by itself")
	}
	return o, nil
}

// CheckName refuses the names that some store cannot have or gives a meaning of
// its own.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case !utf8.ValidString(name):
		return fmt.Errorf("the name %q is not valid UTF-8", name)
	case name[0] == '_' || name[0] == '$':
		return fmt.Errorf("the name %q starts with %q: stores use such names themselves", name, name[0])
	case strings.Contains(name, "."):
		return fmt.Errorf("the name %q contains a dot: stores read it as a path", name)
	case strings.Contains(name, "\x00"):
		return fmt.Errorf("the name %q contains a NUL byte", name)
	}
	return nil
}
