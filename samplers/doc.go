// Package samplers decides which requests are logged: the first few of every customer and
// endpoint in a window, counted across the fleet, and of the flood behind them as many as
// one likes, with weights that make up for the rest.
package samplers
