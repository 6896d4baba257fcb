// Package backend has what stores have in common: the checks of what they are asked,
// and the arrangement of what a search has found. It follows the contract of package
// driver to the letter, so that no store has to.
package backend
