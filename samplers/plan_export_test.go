package samplers

// PoissonTails exposes poisson.tails.
func PoissonTails(mean float64, m int) (below, atLeast float64) { return newPoisson(m).tails(mean) }
