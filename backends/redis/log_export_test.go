package redis

import (
	"strings"

	"github.com/graphcache/graphcache/driver"
)

// LogKey returns the key of a log, LogMembersKey that of the members of an epoch.
func (b *Backend) LogKey(key string) string { return b.key(key, logSuffix) }
func (b *Backend) LogMembersKey(p string, epoch uint64) string {
	return b.Log().members(p, epoch)
}

// WakesChannel returns the channel of wake-ups.
func (b *Backend) WakesChannel() string { return b.opts.Prefix + wakesChannel }

// WakeMessage and ParseWake write and read wake-ups.
func WakeMessage(keys []string) string  { return wakeMessage(keys) }
func ParseWake(message string) []string { return parseWake(message) }

// ParseLog reads bytes as everything that a log has in bytes.
func ParseLog(raw string, now int64) (driver.LogHead, []driver.LogCount, [driver.LogBuckets]int64) {
	h, _ := parseLogHead(raw)
	types, _ := parseTypes(raw)
	spark, _, _ := parseSpark(raw, now)
	return h.LogHead, types, spark
}

// IsMembersKey reports whether the key is one of members.
func IsMembersKey(key string) bool { return strings.Contains(key, "}"+membersSuffix) }
