// Package redis keeps graphcache's cache, counters and logs in Redis. (To be written.)
package redis
