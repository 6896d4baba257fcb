package emasample

// Keys returns the number of keys with an average.
func (s *Sampler) Keys() int { return len(s.averages) }
