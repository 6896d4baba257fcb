module github.com/graphcache/graphcache

go 1.26

require (
	github.com/google/go-cmp v0.7.0
	github.com/tinylib/msgp v1.6.5
	pgregory.net/rapid v1.3.0
)

require github.com/philhofer/fwd v1.2.0 // indirect
