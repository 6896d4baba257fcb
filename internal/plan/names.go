package plan

import (
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

// oldNames returns the older names of a field by its graph tag.
func oldNames(sf reflect.StructField) ([]string, error) {
	tag := sf.Tag.Get("graph")
	if tag == "" {
		return nil, nil
	}
	var was []string
	for option := range strings.SplitSeq(tag, ",") {
		name, isWas := strings.CutPrefix(option, "was=")
		switch {
		case isWas:
			if err := checkName(name); err != nil {
				return nil, fmt.Errorf("graph tag option %q: %w", option, err)
			}
			was = append(was, name)
		case option == "id": // the caller's
		default:
			return nil, fmt.Errorf("unknown graph tag option %q", option)
		}
	}
	return was, nil
}

// checkName refuses the names that some store cannot have or gives a meaning of
// its own.
func checkName(name string) error {
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
