// Package emasample chooses sample rates by how busy keys have been of late, the way
// that EMASampleRate of github.com/honeycombio/dynsampler-go does with its default
// settings, as a rival that first-N sampling can be compared with.
//
// It follows the documented behaviour and that of version 0.6.3, with its own clock taken
// out: an interval ends when the caller says so. What is left out is that the original
// ends an interval early when traffic doubles, and that it can bound its keys.
package emasample

import (
	"maps"
	"math"
	"slices"
)

const (
	weight = 0.5 // of the last interval in the average
	ageOut = 0.5 // averages below it are forgotten
)

// Sampler aims at keeping one in so many requests on average, with more of them from rare
// keys: what is kept of a key is to grow with the logarithm of its requests. It is not safe
// for concurrent use.
type Sampler struct {
	goal     int
	started  bool // an interval with requests has ended
	counts   map[string]float64
	averages map[string]float64
	rates    map[string]int
}

// New returns a sampler that keeps about one in goalRate requests; less than 1 means 1.
func New(goalRate int) *Sampler {
	return &Sampler{goal: max(goalRate, 1), counts: map[string]float64{}}
}

// Rate counts a request of the key and returns its sample rate: a rate of r means that
// the request should be kept with probability 1/r. It is the goal in the first interval,
// and later 1 for a key without an average.
func (s *Sampler) Rate(key string) int {
	s.counts[key]++
	if !s.started {
		return s.goal
	}
	if rate, ok := s.rates[key]; ok {
		return rate
	}
	return 1
}

// Update ends an interval: the rates of the next follow from what has been seen. One
// without requests does not count.
func (s *Sampler) Update() {
	if len(s.counts) == 0 {
		return
	}
	for key, average := range s.averages {
		s.counts[key] += average * (1 - weight) / weight
	}
	maps.DeleteFunc(s.counts, func(_ string, n float64) bool { return n*weight < ageOut })
	for key := range s.counts {
		s.counts[key] *= weight
	}
	s.averages, s.counts = s.counts, make(map[string]float64, len(s.counts))
	s.rates = s.share()
	s.started = true
}

// share divides what is to be kept of an interval like the last ones among their keys. A
// key gets by the logarithm of its requests, and one at least; what it cannot use goes to
// those after it in the alphabet, in equal parts.
func (s *Sampler) share() map[string]int {
	keys := slices.Sorted(maps.Keys(s.averages))
	requests, logs := 0.0, 0.0
	for _, key := range keys {
		n := max(1, s.averages[key])
		requests += n
		logs += math.Log10(n)
	}
	rates := make(map[string]int, len(keys))
	spare := 0.0
	for i, key := range keys {
		n := max(1, s.averages[key])
		gift := spare / float64(len(keys)-i)
		due := 1.0
		if logs > 0 {
			due = max(due, math.Log10(n)/logs*requests/float64(s.goal))
		}
		due += gift
		rate := max(1, math.Ceil(n/due))
		rates[key] = int(rate)
		spare += due - n/rate - gift
	}
	return rates
}
