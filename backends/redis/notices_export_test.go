package redis

// NoticesChannel returns the channel of notices.
func (b *Backend) NoticesChannel() string { return b.noticesChannel() }

// Notice returns the message about an anchor, and ParseNotice reads one.
func Notice(prefix, anchor string) string { return noticeHeld + joinKey(prefix, anchor, entrySuffix) }
func ParseNotice(prefix, message string) (anchor string, ok bool) {
	return (&Backend{opts: Options{Prefix: prefix}}).parseNotice(message)
}
