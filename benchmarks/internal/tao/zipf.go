package tao

import (
	"math"
	"math/rand/v2"
)

// zipf draws ranks from 0, the hottest, to n-1, each with a probability in proportion to
// 1/(rank+1)^theta for a theta below 1: the closed form of Gray et al., "Quickly
// generating billion-record synthetic databases", SIGMOD 1994.
type zipf struct {
	n                int
	zeta, alpha, eta float64
	zetaTwo          float64
	second           float64 // 0.5^theta: what rank 1 has beside rank 0
	order            shuffle // takes ranks to objects
}

func newZipf(n int, theta float64, order shuffle) *zipf {
	z := &zipf{n: n, order: order, second: math.Pow(0.5, theta)}
	for i := n; i > 0; i-- { // the small terms first
		z.zeta += math.Pow(float64(i), -theta)
	}
	z.zetaTwo = 1 + z.second
	z.alpha = 1 / (1 - theta)
	z.eta = (1 - math.Pow(2/float64(n), 1-theta)) / (1 - z.zetaTwo/z.zeta)
	return z
}

// next draws an object.
func (z *zipf) next(r *rand.Rand) int { return z.order.at(z.rank(r)) }

func (z *zipf) rank(r *rand.Rand) int {
	u := r.Float64()
	switch uz := u * z.zeta; {
	case uz < 1:
		return 0
	case uz < z.zetaTwo:
		return 1
	}
	return min(int(float64(z.n)*math.Pow(z.eta*u-z.eta+1, z.alpha)), z.n-1)
}

// shuffle is a permutation of the numbers below n: a Feistel network of four rounds,
// walked until it leads back below n.
type shuffle struct {
	n    uint64
	half uint
	seed uint64
}

func newShuffle(n int, seed uint64) shuffle {
	s := shuffle{n: uint64(n), half: 1, seed: seed}
	for 1<<(2*s.half) < s.n {
		s.half++
	}
	return s
}

func (s shuffle) at(i int) int {
	x := uint64(i)
	for {
		if x = s.encrypt(x); x < s.n {
			return int(x)
		}
	}
}

func (s shuffle) encrypt(x uint64) uint64 {
	mask := uint64(1)<<s.half - 1
	left, right := x>>s.half, x&mask
	for round := range uint64(4) {
		left, right = right, left^mix(s.seed+round, right)&mask
	}
	return left<<s.half | right
}

// mix hashes two numbers (the finalizer of splitmix64).
func mix(a, b uint64) uint64 {
	x := a*0x9e3779b97f4a7c15 + b
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit returns a number from 0 to 1 made of a hash.
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// lognormal returns a length with the mean, of a lognormal distribution with σ = 1, made
// of a hash.
func lognormal(h uint64, mean float64) int {
	// Box and Muller.
	u, v := unit(h), unit(mix(h, 1))
	normal := math.Sqrt(-2*math.Log(1-u)) * math.Cos(2*math.Pi*v)
	return int(math.Round(mean * math.Exp(normal-0.5)))
}
