package samplers

import (
	"crypto/sha256"
	"strconv"
	"strings"
	"time"

	"github.com/graphcache/graphcache/driver"
)

// maxPart is the greatest length of a part of a key that is used as it is. A longer one
// is cut, and ends in its hash: as it is one byte longer then than any other can be, it
// is not taken for one.
const maxPart = 512

// shorten returns what stands for the key in counters, and in what is reported.
func (k Key) shorten() Key { return Key{Tenant: shortPart(k.Tenant), Op: shortPart(k.Op)} }

func shortPart(part string) string {
	if len(part) <= maxPart {
		return part
	}
	sum := sha256.Sum256([]byte(part))
	return part[:maxPart+1-len(sum)] + string(sum[:])
}

// groups are the groups of a sampler's counters: one for a tenant, and one for a tenant's
// totals of a period. The length of the name says where it ends.
type groups struct{ name string }

func newGroups(name string) groups { return groups{strconv.Itoa(len(name)) + ":" + name} }

// window returns the counter of a key's window.
func (g groups) window(k Key) driver.CounterKey {
	return driver.CounterKey{Group: g.name + "w" + k.Tenant, Member: k.Op}
}

// total returns the counter of what is beyond the first n of a key in a period.
func (g groups) total(k Key, begin time.Time) driver.CounterKey {
	return driver.CounterKey{Group: g.name + "t" + strconv.FormatInt(begin.Unix(), 10) + ":" + k.Tenant, Member: k.Op}
}

// probe returns the counter of calls that ask whether counters of the key's tenant answer. Its
// member is longer than any operation.
func (g groups) probe(k Key) driver.CounterKey {
	return driver.CounterKey{Group: g.window(k).Group, Member: probeMember}
}

var probeMember = strings.Repeat("p", maxPart+2)
