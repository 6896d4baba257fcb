package tao

import (
	"time"

	"github.com/graphcache/graphcache"
)

// nearSettings are those of the near cache; nil is none.
type nearSettings struct {
	bytes    int64
	maxStale time.Duration
	ttl      time.Duration
}

func (n *nearSettings) set(o *graphcache.Options) {
	if n == nil {
		return
	}
	o.NearCache = &graphcache.NearCache{MaxBytes: n.bytes, MaxStale: n.maxStale, TTL: n.ttl}
}

func nearHits(k graphcache.KindStats) int64 { return k.NearHits }
