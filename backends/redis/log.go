package redis

// Log is a driver.Log in Redis.
type Log struct{ b *Backend }
