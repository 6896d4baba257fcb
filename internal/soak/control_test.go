//go:build linux

package soak_test

import (
	"testing"
	"time"
)

// The controls leave something out, and must be found out.
var controls = []phase{
	{name: "cache-aside", control: cacheAside, mode: "ack", cells: 2, writes: 100, delay: 20 * time.Millisecond},
	{name: "holds with one owner", control: oneOwner, mode: "ack", cells: 1, lists: true, writes: 200, delay: 100 * time.Millisecond, fresh: 200},
	{name: "release without retry", control: releaseOnce, mode: "ack", faults: "fo", cells: 2, writes: 80, delay: 100 * time.Millisecond},
	{name: "journal off", control: withoutJournal, mode: "ack", faults: "o", cells: 2},
	{name: "registry off", control: noRegistry, mode: "ack", cells: 2, versions: true, writes: 60},
}

func TestControls(t *testing.T) {
	if raceEnabled && *soakTime == 0 {
		t.Skip("they take long with the race detector")
	}
	for _, p := range controls {
		if *soakWhole {
			p.control = ""
		}
		t.Run(p.name, func(t *testing.T) {
			const tries = 3
			for try := 1; ; try++ {
				r := p.start(t, seed(t))
				found := func() bool { return r.faults.stale(r.crew)[""] != nil }
				r.work(30*time.Second, found)
				if found() || *soakWhole || try == tries {
					r.finish(!*soakWhole)
					return
				}
				r.dismiss()
			}
		})
	}
}
