package backendtest

import (
	"github.com/graphcache/graphcache/driver"
)

// cacheModel is what the contract says about one entry, without time: no deadline
// passes.
type cacheModel struct {
	version uint64
	values  map[string]string // by field
	loading map[string]bool
	tokens  map[string]bool
	stamp   driver.Stamp
	// doubtful: a secondary value was filled under another version. A cache that
	// keeps secondary values apart from the entry may then lose those that it
	// has; it never returns the new one.
	doubtful bool
	had      map[uint64]bool // the versions that it has had
}

func newCacheModel() *cacheModel {
	m := &cacheModel{tokens: make(map[string]bool), had: make(map[uint64]bool)}
	m.clear()
	return m
}

// clear drops the version and what depends on it.
func (m *cacheModel) clear() {
	m.version, m.doubtful = 0, false
	m.values, m.loading = make(map[string]string), make(map[string]bool)
}

// repeats reports whether the act would give the entry a version that it has had.
func (m *cacheModel) repeats(act cacheAct) bool {
	return m.state() == driver.Empty && m.had[act.fresh]
}

func (m *cacheModel) state() driver.State {
	switch {
	case len(m.tokens) > 0:
		return driver.Held
	case m.version != 0:
		return driver.Versioned
	}
	return driver.Empty
}

// see returns the entry as Lookup does.
func (m *cacheModel) see(field string) driver.Entry {
	seen := driver.Entry{State: m.state(), Version: m.version, Stamp: m.stamp}
	if value, ok := m.values[field]; ok {
		seen.Value = []byte(value)
	} else {
		seen.Loading = m.loading[field]
	}
	return seen
}

// cacheAct is a call of one method for one entry. It is done to the model, which
// gives what is expected of it.
type cacheAct struct {
	name  string
	rule  string
	fresh uint64 // of a claim: the version that it brings, which must be a new one
	model func(*cacheModel) any
	cache func(r *cacheRig, anchor string) any
}

// cacheActs are calls that reach every state and apply every method there in
// every way that the contract tells apart.
func cacheActs() []cacheAct {
	return []cacheAct{
		claimAct("", 1), claimAct("f", 2),
		fillAct("", 1, "one"), fillAct("", 2, "two"), fillAct("f", 1, "f one"), fillAct("f", 2, "f two"), fillAct("g", 1, "g one"),
		giveBackAct("", 1), giveBackAct("f", 2),
		holdAct("t"), holdAct("u"),
		releaseAct("t", ""), releaseAct("u", "s1"), releaseAct("t", "s2"),
	}
}

func claimAct(field string, version uint64) cacheAct {
	return cacheAct{
		name:  "claim " + fieldName(field),
		fresh: version,
		rule:  "Claim makes an Empty entry Versioned, gives a fragment without value or loading deadline one, and changes nothing otherwise",
		model: func(m *cacheModel) any {
			if m.state() == driver.Empty {
				m.version, m.had[version] = version, true
			}
			_, has := m.values[field]
			claimed := m.state() == driver.Versioned && !has && !m.loading[field]
			if claimed {
				m.loading[field] = true
			}
			seen := m.see(field)
			seen.Claimed = claimed
			return seen
		},
		cache: func(r *cacheRig, anchor string) any { return r.claim(anchor, field, version) },
	}
}

func fillAct(field string, version uint64, value string) cacheAct {
	return cacheAct{
		name: "fill " + fieldName(field) + " under " + versionName(version),
		rule: "Fill stores a value if the entry is Versioned with the fill's version, and is Refused otherwise",
		model: func(m *cacheModel) any {
			if m.version != version {
				m.doubtful = m.doubtful || field != ""
				return anyIf(field != "", driver.Refused)
			}
			m.values[field] = value
			delete(m.loading, field)
			return driver.Done
		},
		cache: func(r *cacheRig, anchor string) any { return r.fill(anchor, field, version, value) },
	}
}

func giveBackAct(field string, version uint64) cacheAct {
	return cacheAct{
		name: "give back " + fieldName(field) + " under " + versionName(version),
		rule: "a Fill whose Value is nil removes the fragment's loading deadline under that version and stores nothing",
		model: func(m *cacheModel) any {
			if m.version != version {
				return anyIf(field != "", driver.Refused)
			}
			delete(m.loading, field)
			return driver.Done
		},
		cache: func(r *cacheRig, anchor string) any {
			return r.fillFor(driver.Fill{Anchor: anchor, Field: field, Version: version, TTL: long, Limit: 100})
		},
	}
}

func holdAct(token string) cacheAct {
	return cacheAct{
		name: "hold " + token,
		rule: "Hold adds the token whatever the state, drops version and values, and keeps the stamp",
		model: func(m *cacheModel) any {
			m.clear()
			m.tokens[token] = true
			return driver.Done
		},
		cache: func(r *cacheRig, anchor string) any {
			r.hold(anchor, token, long)
			return driver.Done
		},
	}
}

func releaseAct(token string, stamp driver.Stamp) cacheAct {
	return cacheAct{
		name: "release " + token + string(stamp),
		rule: "Release removes its token only, keeps the later stamp, and leaves the entry Empty unless other tokens stand",
		model: func(m *cacheModel) any {
			had := m.tokens[token]
			delete(m.tokens, token)
			m.stamp = max(m.stamp, stamp)
			m.clear()
			if had {
				return driver.Done
			}
			return driver.Refused
		},
		cache: func(r *cacheRig, anchor string) any { return r.release(anchor, token, stamp) },
	}
}

// anyIf returns nil, which stands for any answer, or the one that is wanted. The
// outcome of a secondary fill under another version is left open, because a cache
// that keeps those values apart stores it where it is never found.
func anyIf(open bool, want driver.Outcome) any {
	if open {
		return nil
	}
	return want
}

func fieldName(field string) string {
	if field == "" {
		return "the primary"
	}
	return "secondary " + field
}

func versionName(version uint64) string {
	return "version " + string(rune('0'+version))
}
