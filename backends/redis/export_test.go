package redis

// EntryKey returns the key of an anchor's entry, HashKey that of its secondary values.
func (b *Backend) EntryKey(anchor string) string { return b.key(anchor, entrySuffix) }
func (b *Backend) HashKey(anchor string) string  { return b.key(anchor, hashSuffix) }
