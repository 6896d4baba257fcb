package graphcache

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/tinylib/msgp/msgp"

	"github.com/graphcache/graphcache/driver"
	"github.com/graphcache/graphcache/internal/plan"
)

// Every program version registers a description of each of its kinds (registry.go), from
// which [CheckCache] makes a schema without Go types that is good enough to read what is
// cached from the store and to encode it alike.

const descriptionFormat = 1

// maxDescription is how long a description may be. Of a kind with a longer one only the
// name is registered, and CheckCache skips it.
const maxDescription = 60 << 10

// kindDescription is JSON: it is for tools, too.
type kindDescription struct {
	Format int             `json:"format"`
	Plan   json.RawMessage `json:"plan"`
	// Of a kind of objects.
	Columns []columnDescription `json:"columns,omitempty"`
	Scans   bool                `json:"scans,omitempty"`
	// Of a kind of edges.
	From      string `json:"from,omitempty"`
	To        string `json:"to,omitempty"`
	Family    string `json:"family,omitempty"`
	ToOne     bool   `json:"toOne,omitempty"`
	Symmetric bool   `json:"symmetric,omitempty"`
}

// columnDescription is a driver.Column; the zero value is as in keys.
type columnDescription struct {
	Path []string    `json:"path"`
	Was  [][]string  `json:"was,omitempty"`
	Zero []byte      `json:"zero"`
	List bool        `json:"list,omitempty"`
	Type driver.Type `json:"type,omitempty"`
}

// describe returns the kind's description, the same whenever the kind is; it is empty if
// it would be too long.
func (k *objectKind) describe() string {
	d := kindDescription{Plan: k.plan.Describe(), Scans: k.scans}
	columns := k.columnsOf()
	for _, key := range slices.Sorted(maps.Keys(columns)) {
		if c := columns[key]; c.Of == driver.ObjectField {
			d.Columns = append(d.Columns, columnDescription{c.Path, c.Was, appendValue(nil, c.Zero), c.List, c.Type})
		}
	}
	return d.text()
}

// describe returns the kind's description like that of a kind of objects.
func (k *edgeKind) describe() string {
	return kindDescription{
		Plan: k.plan.Describe(), From: k.from.name, To: k.to.name, Family: k.family, ToOne: k.toOne, Symmetric: k.symmetric,
	}.text()
}

func (d kindDescription) text() string {
	d.Format = descriptionFormat
	b, err := json.Marshal(d)
	if err != nil {
		panic(err) // there is nothing in it that could not be marshaled
	}
	if len(b) > maxDescription {
		return ""
	}
	return string(b)
}

// describedSpec is the kind's own entry in the registry.
func describedSpec(description string) string {
	return string(msgp.AppendString(appendSpec(specKind, 1), description))
}

// described is a kind without a Go type, as one version of a program has described it.
type described struct {
	kindDescription
	name    string
	plan    *plan.Plan
	columns map[string]*column // of a kind of objects, by their keys
	object  *objectKind
	edge    *edgeKind
}

// readDescription reads a kind's description.
func readDescription(name, text string) (*described, error) {
	d := &described{name: name}
	label := fmt.Sprintf("kind %q", name)
	if err := json.Unmarshal([]byte(text), &d.kindDescription); err != nil {
		return nil, fmt.Errorf("%w: %s: its description: %w", ErrSchema, label, err)
	}
	if d.Format != descriptionFormat || (d.From == "") != (d.To == "") || !nameRule.MatchString(name) {
		return nil, fmt.Errorf("%w: %s: its description has the format %d", ErrSchema, label, d.Format)
	}
	var err error
	if d.plan, err = plan.Described(label, d.Plan); err != nil {
		return nil, err
	}
	if d.From != "" {
		d.edge = &edgeKind{name: name, plan: d.plan, family: d.Family, toOne: d.ToOne, symmetric: d.Symmetric}
		return d, nil
	}
	d.object = &objectKind{name: name, plan: d.plan, scans: d.Scans}
	return d, d.readColumns(label)
}

func (d *described) readColumns(label string) error {
	id := idColumn(d.object)
	d.columns = map[string]*column{id.key: id}
	for _, c := range d.Columns {
		r := keyReader{b: c.Zero}
		zero := r.value()
		if err := r.end(); err != nil || len(c.Path) == 0 || c.Was != nil && len(c.Was) != len(c.Path) || c.Type > driver.TimeType {
			return fmt.Errorf("%w: %s: its description has a malformed column", ErrSchema, label)
		}
		column := newColumn(recordKind{object: d.object}, nil, driver.Column{Path: c.Path, Was: c.Was, Zero: zero, List: c.List, Type: c.Type})
		d.columns[column.key] = column
	}
	return nil
}
