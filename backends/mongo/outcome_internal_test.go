package mongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// An answer to what the driver library may have sent a second time says nothing about the first.
func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		err  mongo.CommandError
		want bool
	}{
		{"the server says no", mongo.CommandError{Code: 121}, true},
		{"nothing was written", mongo.CommandError{Code: 11602, Labels: []string{"NoWritesPerformed"}}, true},
		{"nothing was written by a second try", mongo.CommandError{Code: 11602, Labels: []string{"NoWritesPerformed", "RetryableWriteError"}}, false},
		{"too much load for a second try", mongo.CommandError{Code: 462, Labels: []string{"NoWritesPerformed", "SystemOverloadedError", "RetryableError"}}, false},
		{"applied, and what was there is forgotten", mongo.CommandError{Code: 217}, false},
	} {
		if got := refused(c.err); got != c.want {
			t.Errorf("%s: refused is %t, want %t", c.name, got, c.want)
		}
	}
}
