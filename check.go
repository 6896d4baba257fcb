package graphcache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// CheckOptions are the settings of [Graph.Check]. The zero value, or nil, checks
// everything that is cached, slowly; 0 in a field is its default.
type CheckOptions struct {
	// Kinds are the names of the kinds to check. Default all.
	Kinds []string
	// Rate is how many cached values are looked at in a second, at most. A value is
	// mostly an object, or a list of up to 1,024 edges. Default 1,000; -1 is no bound.
	Rate int
	// Limit ends the check when so many values have been looked at, those included that
	// turn out not to be there. Default 0, which is no limit.
	Limit int
	// Sample is the share of the values to look at, each chosen at random: 0.1 is every
	// tenth. Default 1, which is all.
	Sample float64
	// MaxFindings is how many findings the report has; others are only counted. Default
	// 100.
	MaxFindings int
}

func (o *CheckOptions) withDefaults() (CheckOptions, error) {
	var c CheckOptions
	if o != nil {
		c = *o
	}
	setDefault(&c.Rate, 1000)
	setDefault(&c.Sample, 1)
	setDefault(&c.MaxFindings, 100)
	switch {
	case c.Rate < -1:
		return c, fmt.Errorf("%w: CheckOptions.Rate is %d: less than -1", ErrInvalid, c.Rate)
	case c.Limit < 0 || c.MaxFindings < 0:
		return c, fmt.Errorf("%w: CheckOptions.Limit and MaxFindings are %d and %d: negative", ErrInvalid, c.Limit, c.MaxFindings)
	case !(c.Sample > 0 && c.Sample <= 1):
		return c, fmt.Errorf("%w: CheckOptions.Sample is %v: not between 0 and 1", ErrInvalid, c.Sample)
	}
	return c, nil
}

// FindingType says what is wrong with a cached value.
type FindingType uint8

const (
	// Stale: the store has another value.
	Stale FindingType = iota + 1
	// Lost: the cache says that something is not there which the store has: an object, or
	// edges or objects of a list. What it has besides is right.
	Lost
	// Foreign: the cache has something that the store has not: an object, or edges or
	// objects of a list; or the value is that of another key.
	Foreign
	// Corrupt: the value cannot be read. Reads take it for a miss.
	Corrupt
)

var findingTypes = [...]string{Stale: "stale", Lost: "lost", Foreign: "foreign", Corrupt: "corrupt"}

// String returns the type's name in lower case.
func (t FindingType) String() string {
	if t >= Stale && t <= Corrupt {
		return findingTypes[t]
	}
	return "?"
}

// Finding is a cached value that is not what the store has.
type Finding struct {
	Type FindingType
	// Kind is the name of the kind of the objects or edges.
	Kind string
	// Anchor says in words whose value it is, such as `user "ann"`, `follows out of
	// "ann"` or `user by city = "rome"`. IDs and indexed values are in it, and no others.
	Anchor string
	// Fragment says which of the anchor's values it is: object, prefix, range, count,
	// edge, search.
	Fragment string
	// Detail says how the two differ, without the values of fields.
	Detail string
	// AnchorKey and FieldKey are the value's key in the cache, in which any bytes may be.
	AnchorKey, FieldKey string
	// Version is the one under which the value is in the cache, 0 if the cache could not
	// read its entry.
	Version uint64
}

// String returns the finding in a line.
func (f Finding) String() string {
	return fmt.Sprintf("%v: %s, %s: %s", f.Type, f.Anchor, f.Fragment, f.Detail)
}

// CheckCount counts the cached values of a kind.
type CheckCount struct {
	// Checked are the values that were compared with the store, those with a finding
	// included.
	Checked int
	// Findings are the ones that were wrong, by type.
	Findings map[FindingType]int
}

// CheckReport says what [Graph.Check] has found.
type CheckReport struct {
	// Kinds counts what was compared, by the names of the kinds.
	Kinds map[string]CheckCount
	// Skipped counts the values that were looked at and not compared, by reason.
	Skipped map[string]int
	// Findings are the values that are wrong, in the order in which they were found, up
	// to CheckOptions.MaxFindings.
	Findings []Finding
	// Complete: the whole cache was walked through. It is false if the check ended early
	// or looked at a sample.
	Complete bool
	// Elapsed is how long it took.
	Elapsed time.Duration
}

// Checked returns how many values were compared with the store.
func (r *CheckReport) Checked() (n int) {
	for _, c := range r.Kinds {
		n += c.Checked
	}
	return n
}

// Found returns how many of the values are wrong, of one of the types if any are given.
func (r *CheckReport) Found(types ...FindingType) (n int) {
	for _, c := range r.Kinds {
		for t, found := range c.Findings {
			if len(types) == 0 || slices.Contains(types, t) {
				n += found
			}
		}
	}
	return n
}

// String returns the report as text, a line for each kind, each reason and each finding.
func (r *CheckReport) String() string {
	var b strings.Builder
	extent := ""
	if !r.Complete {
		extent = ", not all of the cache"
	}
	fmt.Fprintf(&b, "%d cached values checked in %v%s: %d wrong\n", r.Checked(), r.Elapsed.Round(time.Millisecond), extent, r.Found())
	for _, kind := range slices.Sorted(maps.Keys(r.Kinds)) {
		c := r.Kinds[kind]
		fmt.Fprintf(&b, "  %s: %d checked", kind, c.Checked)
		for _, t := range slices.Sorted(maps.Keys(c.Findings)) {
			fmt.Fprintf(&b, ", %d %v", c.Findings[t], t)
		}
		b.WriteByte('\n')
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Skipped)) {
		fmt.Fprintf(&b, "  skipped: %d, %s\n", r.Skipped[reason], reason)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%v\n", f)
	}
	if more := r.Found() - len(r.Findings); more > 0 {
		fmt.Fprintf(&b, "… and %d more\n", more)
	}
	return b.String()
}

// Why a value is not compared.
const (
	skipGone        = "there is no value, or not any more"
	skipHeld        = "it is being written"
	skipChanged     = "it was written while it was looked at"
	skipUnanswered  = "the cache did not answer in time"
	skipOwed        = "its invalidation is owed to the cache, so nobody reads it"
	skipGeneration  = "it is from before its kind was invalidated, so nobody reads it"
	skipLayout      = "it is in the layout of another version of the program"
	skipUnknown     = "its key is of nothing in this program's schema"
	skipLarge       = "it marks a value that is too large"
	skipUnreadable  = "its record cannot be read"
	skipUnconfirmed = "it differs, and the check ended before a second look"
)

// Check compares what is cached, in this graph's namespace, with the store, and reports
// what is wrong by kind and type. It changes nothing, neither in the cache nor in the
// store, and may run at any time, beside all other use and on a part of it: see
// [CheckOptions]. Its reads count among the loads that Options.MaxLoads bounds.
//
// A value counts as wrong only if it differs from the store twice, two LookPeriods
// apart, and has stood in the cache under one version all the time: no write by
// graphcache has touched it between, so it was wrong. What something else has written,
// and [Graph.Watch] or [Graph.Invalidate] have not dealt with when the second look comes,
// is found too. A value that changes hands while it is looked at is skipped.
//
// The cache is walked through once. What is filled meanwhile may be left out, and a
// value may be looked at twice. When ctx ends, or a backend fails, the report has what
// was found so far, and comes with the error; it is nil only if there is nothing to
// check: the error of a graph without a cache, and of a cache that cannot be walked
// through, wraps [errors.ErrUnsupported].
func (g *Graph) Check(ctx context.Context, opts *CheckOptions) (_ *CheckReport, err error) {
	defer wrap(&err, "check", "", "")
	c, err := newChecker(g, opts)
	if err != nil {
		return nil, err
	}
	if !g.shared.begin() {
		return nil, errClosed
	}
	defer g.shared.end()
	ctx, cancel := g.shared.untilClosed(ctx)
	defer cancel()
	err = c.run(ctx)
	return c.report, err
}

const (
	// checkPage is how many values are looked at together.
	checkPage = 64
	// checkItems is about how many edges and IDs are read from the store together.
	checkItems = 4096
	// maxSuspects and maxSuspectBytes bound what waits for its second look.
	maxSuspects     = 1024
	maxSuspectBytes = 16 << 20
)

// checker is one check.
type checker struct {
	g       *Graph
	cache   driver.Scanner
	opts    CheckOptions
	report  *CheckReport
	columns map[string]map[string]*column // of kinds of objects, by name
	layouts map[layoutKey]*boundKind      // besides those that the graph has
	refresh func(context.Context) error   // looks, if nobody else does; or nil

	start    time.Time
	next     time.Time // when there may be more work
	looked   int       // values
	suspects []suspect
	bytes    int       // of the suspects
	last     time.Time // when the last suspect was added
}

// suspect is a value that seems to be wrong, and its entry as it was found.
type suspect struct {
	request
	entry  driver.Entry
	stored bool // it has been compared with the store
}

func newChecker(g *Graph, opts *CheckOptions) (*checker, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	for _, name := range o.Kinds {
		if g.kinds[name] == nil {
			return nil, g.notInSchema("object or edge", name)
		}
	}
	if g.shared.opts.Cache == nil {
		return nil, fmt.Errorf("the graph has no cache: %w", errors.ErrUnsupported)
	}
	scanner, ok := g.shared.opts.Cache.(driver.Scanner)
	if !ok {
		return nil, fmt.Errorf("the cache cannot be walked through: %w", errors.ErrUnsupported)
	}
	return &checker{
		g: g, cache: scanner, opts: o, start: time.Now(),
		columns: map[string]map[string]*column{}, layouts: map[layoutKey]*boundKind{},
		report: &CheckReport{Kinds: map[string]CheckCount{}, Skipped: map[string]int{}},
	}, nil
}

// run checks, and says why it did not get to the end.
func (c *checker) run(ctx context.Context) error {
	var err error
	if c.refresh != nil {
		err = c.refresh(ctx)
	}
	if err == nil {
		err = c.walk(ctx)
	}
	if err == nil {
		err = c.confirm(ctx)
	}
	if len(c.suspects) > 0 {
		c.report.Skipped[skipUnconfirmed] += len(c.suspects)
	}
	c.report.Elapsed = time.Since(c.start)
	switch {
	case err == nil:
		return nil
	case c.g.shared.isClosed():
		return errClosed
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// walk looks at everything that is cached.
func (c *checker) walk(ctx context.Context) error {
	prefix := string(c.g.space.appendSpacePrefix(nil))
	for cursor := ""; ; {
		// A page on which there is nothing costs as much as a value.
		if err := c.pace(ctx, 1); err != nil {
			return err
		}
		found, next, err := c.scan(ctx, prefix, cursor)
		if err != nil {
			return fmt.Errorf("walk through the cache: %w", err)
		}
		for page := range slices.Chunk(c.choose(found), c.page()) {
			if err := c.take(ctx, page); err != nil {
				return err
			}
		}
		if cursor = next; next == "" {
			c.report.Complete = c.opts.Sample == 1 && len(c.opts.Kinds) == 0
			return nil
		}
		if c.opts.Limit > 0 && c.looked >= c.opts.Limit {
			return nil
		}
	}
}

func (c *checker) scan(ctx context.Context, prefix, cursor string) (found []driver.Lookup, next string, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.g.shared.opts.HoldTimeout)
	defer cancel()
	return c.cache.Scan(ctx, prefix, cursor, c.page())
}

// page is how many values are looked at together.
func (c *checker) page() int {
	if c.opts.Rate > 0 {
		return min(checkPage, c.opts.Rate)
	}
	return checkPage
}

// pace waits until there may be more work, and takes note of how much there is to come.
func (c *checker) pace(ctx context.Context, values int) error {
	now := time.Now()
	if wait := c.next.Sub(now); wait > 0 {
		if err := sleep(ctx, wait); err != nil {
			return err
		}
		now = c.next
	}
	if c.opts.Rate > 0 {
		c.next = now.Add(time.Duration(values) * time.Second / time.Duration(c.opts.Rate))
	}
	return ctx.Err()
}

// candidate is a fragment that is to be checked.
type candidate struct {
	driver.Lookup
	anchor
}

// choose returns the fragments that the options ask for.
func (c *checker) choose(found []driver.Lookup) (chosen []candidate) {
	for _, l := range found {
		if c.opts.Limit > 0 && c.looked >= c.opts.Limit {
			break
		}
		space, a, err := readAnchor(l.Anchor)
		if err == nil && space == c.g.space && len(c.opts.Kinds) > 0 && !slices.Contains(c.opts.Kinds, a.kind) {
			continue
		}
		if c.opts.Sample < 1 && rand.Float64() >= c.opts.Sample {
			continue
		}
		c.looked++
		if err != nil || space != c.g.space {
			c.skip(skipUnknown)
			continue
		}
		chosen = append(chosen, candidate{l, a})
	}
	return chosen
}

func (c *checker) skip(reason string) { c.report.Skipped[reason]++ }

// take looks at a page for the first time.
func (c *checker) take(ctx context.Context, page []candidate) error {
	if err := c.pace(ctx, len(page)); err != nil {
		return err
	}
	var looked []suspect
	for _, l := range page {
		r, skip := c.fragmentRequest(l.Lookup, l.anchor)
		if skip != "" {
			c.skip(skip)
			continue
		}
		looked = append(looked, suspect{request: r})
	}
	c.lookup(ctx, looked)
	var compared []suspect
	for i := range looked {
		s := &looked[i]
		switch v := c.assess(&s.request, s.entry); {
		case v.skip != "":
			c.skip(v.skip)
		case v.typ != 0:
			c.suspect(*s)
		default:
			s.stored = true
			compared = append(compared, *s)
		}
	}
	verdicts, err := c.compare(ctx, compared)
	for i, v := range verdicts {
		switch {
		case v.skip != "":
			c.skip(v.skip)
		case v.typ != 0:
			c.suspect(compared[i])
		default:
			c.count(compared[i].kind.name, 0)
		}
	}
	if err == nil && (len(c.suspects) >= maxSuspects || c.bytes >= maxSuspectBytes) {
		err = c.confirm(ctx)
	}
	return err
}

// columnsOf returns the columns of a kind of objects.
func (c *checker) columnsOf(kind string) map[string]*column {
	if k := c.g.kinds[kind]; c.columns[kind] == nil && k != nil && k.object != nil {
		c.columns[kind] = k.object.columnsOf()
	}
	return c.columns[kind]
}

// layoutKey names the layout that a version of a program has for a kind.
type layoutKey struct {
	kind        string
	fingerprint uint64
}

// layout returns the kind in the layout, nil if it is not known.
func (c *checker) layout(k *boundKind, fingerprint uint64) *boundKind {
	if k.fingerprint == fingerprint {
		return k
	}
	return c.layouts[layoutKey{k.name, fingerprint}]
}

// suspect notes a value that is to be looked at again.
func (c *checker) suspect(s suspect) {
	c.suspects, c.last = append(c.suspects, s), time.Now()
	c.bytes += len(s.entry.Value) + len(s.entry.Corrupt)
}

// count counts a value that was compared.
func (c *checker) count(kind string, t FindingType) {
	n := c.report.Kinds[kind]
	n.Checked++
	if t != 0 {
		if n.Findings == nil {
			n.Findings = map[FindingType]int{}
		}
		n.Findings[t]++
	}
	c.report.Kinds[kind] = n
}

// lookup sets the entries of what is looked at. One that the cache does not tell of is
// unknown.
func (c *checker) lookup(ctx context.Context, of []suspect) {
	lookups := make([]driver.Lookup, len(of))
	for i := range of {
		lookups[i] = driver.Lookup{Anchor: of[i].anchor, Field: of[i].field}
	}
	ctx, cancel := context.WithTimeout(ctx, c.g.shared.opts.HoldTimeout)
	defer cancel()
	entries, _ := c.g.shared.opts.Cache.Lookup(ctx, lookups)
	for i := range of {
		of[i].entry = entryAt(entries, i)
	}
}

// compare reads values from the store and says how what was found in the cache differs.
// The verdicts are fewer if the store fails.
func (c *checker) compare(ctx context.Context, of []suspect) (verdicts []verdict, err error) {
	for len(of) > 0 {
		n, items := 0, 0
		for n < len(of) && (n == 0 || items < checkItems) {
			items += of[n].list.len() + 1
			n++
		}
		values, errs, err := c.read(ctx, of[:n])
		if err != nil {
			return verdicts, err
		}
		for i := range of[:n] {
			v := verdict{skip: skipUnreadable}
			if errs[i] == nil {
				v = of[i].request.differs(values[i])
			}
			verdicts = append(verdicts, v)
		}
		of = of[n:]
	}
	return verdicts, nil
}

// read reads values from the store, as a load does.
func (c *checker) read(ctx context.Context, of []suspect) ([]value, []error, error) {
	s := c.g.shared
	select {
	case s.loads <- struct{}{}:
		defer func() { <-s.loads }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.LoadTimeout)
	defer cancel()
	reqs := make([]*request, len(of))
	stamp := driver.Stamp("")
	for i := range of {
		reqs[i] = &of[i].request
		stamp = max(stamp, of[i].entry.Stamp)
	}
	return s.readRequests(ctx, c.g.store, reqs, stamp)
}

// confirm looks at the suspects for the second time, when this process has learnt what
// others knew at the first.
//
//  1. an entry had a version and a value
//  2. the store had another one
//  3. the store still has another one
//  4. the entry has the same version and the same value
//
// A write that goes through the cache would have dropped the version, so there was none
// from 1 to 4, and the value is none that was in the store then.
func (c *checker) confirm(ctx context.Context) error {
	if len(c.suspects) == 0 {
		return nil
	}
	if err := sleep(ctx, time.Until(c.last.Add(2*c.g.shared.opts.LookPeriod))); err != nil {
		return err
	}
	if c.refresh != nil {
		if err := c.refresh(ctx); err != nil {
			return fmt.Errorf("read the journal: %w", err)
		}
	}
	for len(c.suspects) > 0 {
		page := c.suspects[:min(len(c.suspects), c.page())]
		if err := c.pace(ctx, len(page)); err != nil {
			return err
		}
		if err := c.confirmPage(ctx, page); err != nil {
			return err
		}
		c.suspects = c.suspects[len(page):]
	}
	c.suspects, c.bytes = nil, 0
	return nil
}

func (c *checker) confirmPage(ctx context.Context, page []suspect) error {
	var stored []suspect
	for _, s := range page {
		if s.stored {
			stored = append(stored, s)
		}
	}
	verdicts, err := c.compare(ctx, stored)
	if err != nil {
		return err
	}
	again := slices.Clone(page)
	c.lookup(ctx, again)
	for i := range page {
		v := c.assess(&again[i].request, again[i].entry)
		if page[i].stored {
			if v == (verdict{}) {
				v = verdicts[0]
			}
			verdicts = verdicts[1:]
		}
		if v.skip == "" && (v.typ == 0 || !sameEntry(page[i].entry, again[i].entry)) {
			v.skip = skipChanged
		}
		if v.skip != "" {
			c.skip(v.skip)
			continue
		}
		c.find(&page[i], v)
	}
	return nil
}

// sameEntry reports whether nothing has happened to an entry between two look-ups.
func sameEntry(a, b driver.Entry) bool {
	return a.State == b.State && a.Version == b.Version && bytes.Equal(a.Value, b.Value) && bytes.Equal(a.Corrupt, b.Corrupt)
}

// find adds a finding.
func (c *checker) find(s *suspect, v verdict) {
	c.count(s.kind.name, v.typ)
	if len(c.report.Findings) >= c.opts.MaxFindings {
		return
	}
	c.report.Findings = append(c.report.Findings, Finding{
		Type: v.typ, Kind: s.kind.name, Anchor: s.anchorWords(), Fragment: s.describe().Fragment, Detail: v.detail,
		AnchorKey: s.anchor, FieldKey: s.field, Version: s.entry.Version,
	})
}

// anchorWords says whose value the request is about.
func (r *request) anchorWords() string {
	switch r.typ {
	case inAnchor:
		return fmt.Sprintf("%s into %q", r.kind.name, r.id)
	case indexAnchor:
		parts := make([]string, len(r.values))
		for i, v := range r.values {
			parts[i] = r.index.columns[i].Name() + " = " + valueString(v)
		}
		return r.kind.name + " by " + strings.Join(parts, ", ")
	}
	return r.describe().Anchor
}
