package redis

// EncodeBlob and DecodeBlob encode a value and decode it, JoinKey makes a key of a name.
var (
	EncodeBlob = encodeBlob
	DecodeBlob = decodeBlob
	JoinKey    = joinKey
)

// EntryParses reports whether the bytes are an entry, and how many of them are its value.
func EntryParses(raw string) (ok bool, value int) {
	h, ok := parseEntry(raw, false)
	return ok, len(h.value)
}
