# What a change must pass is `make test`; .ci/run calls it too.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

FUZZTIME ?= 20s
SOAK     ?= 20
SOAKTIME ?= 8m
SCALE    ?= 20
UNRACED  := internal/(protocol|outage|rollout|plan)$$|examples/(flights|gates|sampling)$$
BENCH       ?= .
BENCHTIME   ?= 0.2s
BENCHROUNDS ?= 6
BENCHED     ?= . ./backends/redis
BENCHSTAT   := golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# No test is skipped for want of a server.
export GRAPHCACHE_REQUIRE_SERVERS := 1

.PHONY: test servers lint fuzz bench benchstat soak

# The files for Go 1.27 are of a language that the gofmt of Go 1.26 does not know.
# Shuffled runs are never taken from the test cache, which could not tell that the
# answers of `go list` have changed. The search of interleavings has one goroutine, for which
# the race detector would take two minutes, as have field plans and most of the examples;
# others wait for their servers most of the time. Models do a fifth under the race detector,
# and outages and deploys are gone through without it; .ci/run does it all.
test: servers
	go mod download
	@bad=$$(find . -name '*.go' -not -name '*_go127*.go' -exec gofmt -l {} +); if [[ -n $$bad ]]; then echo "gofmt -w would change:"; echo "$$bad"; exit 1; fi
	go vet ./...
	go test -race -shuffle=on -timeout=15m -p=3 $$(go list ./... | grep -vE '$(UNRACED)')
	go test -short -shuffle=on $$(go list ./... | grep -E '$(UNRACED)')

# The tests start servers of their own, in temporary directories. Those that stand in for
# MongoDB are compiled here, which takes a minute or two the first time, so that no test
# has to wait for it.
servers:
	for module in internal/mongotest/{ferretdb,lungo}; do (cd "$$module" && GOWORK=off go build -buildvcs=false -o /dev/null .); done
	@command -v redis-server >/dev/null && command -v redis-cli >/dev/null && exit; \
	if ! command -v apt-get >/dev/null || ((EUID != 0)); then \
		echo "install redis-server 7.0 or later, with redis-cli, and put them on the PATH (on Debian: apt-get install redis-server, as root)" >&2; \
		exit 1; \
	fi; \
	apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server

# golangci-lint is built from source where it is not installed, which takes a while.
lint:
	go vet ./...
	@if command -v golangci-lint >/dev/null; then golangci-lint run ./...; else go run $(LINT) run ./...; fi

# Every fuzz target of every package, one after the other.
fuzz:
	@packages=$$(go list ./...); \
	for package in $$packages; do \
		list=$$(go test -list '^Fuzz' "$$package"); \
		for target in $$(sed -n '/^Fuzz/p' <<<"$$list"); do \
			echo "== $$package $$target"; \
			go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) "$$package"; \
		done; \
	done

# The comparison with other ways is a module of its own, so that those are in no other. It
# takes less than a quarter of an hour on two processors, and 8 GB of memory, most of which the
# compiler takes for a program of 100 kinds; SHORT=1 only shows that it works, in a file of its own.
bench: servers
	cd benchmarks && go run . -results $(if $(SHORT),$${TMPDIR:-/tmp}/RESULTS.md -short,RESULTS.md)

# The benchmarks of packages at another commit and here, in turns: what differs, and how
# surely. BENCH and BENCHTIME are those of go test. Compiling both takes minutes.
benchstat: servers
	@[[ -n "$(BASE)" ]] || { echo "make benchstat BASE=<commit>" >&2; exit 1; }
	@here=$$PWD; there=$$(mktemp -d); base=$$(git rev-parse --verify --quiet '$(BASE)^{commit}') || { echo "there is no commit $(BASE)" >&2; exit 1; }; \
	trap 'git worktree remove --force "$$there/tree" || true; rm -rf "$$there"' EXIT; \
	git worktree add --quiet --detach "$$there/tree" "$$base"; \
	for package in $(BENCHED); do \
		name=$$(tr -c a-z0-9 _ <<<"$$package"); \
		(cd "$$there/tree" && go test -c -o "$$there/base.$$name" "$$package"); \
		go test -c -o "$$there/here.$$name" "$$package"; \
	done; \
	for ((round = 1; round <= $(BENCHROUNDS); round++)); do \
		sides="base here"; ((round % 2)) || sides="here base"; \
		for package in $(BENCHED); do \
			name=$$(tr -c a-z0-9 _ <<<"$$package"); \
			for side in $$sides; do \
				tree=$$here; [[ $$side == here ]] || tree=$$there/tree; \
				echo "round $$round of $(BENCHROUNDS): $$package, $$side" >&2; \
				(cd "$$tree/$$package" && "$$there/$$side.$$name" -test.run='^$$' -test.bench='$(BENCH)' -test.benchmem -test.benchtime=$(BENCHTIME) -test.timeout=1h) >>"$$there/$$side.txt"; \
			done; \
		done; \
	done; \
	go run $(BENCHSTAT) "base=$$there/base.txt" "here=$$there/here.txt"

# The search of all interleavings in its large configurations, which needs minutes
# and gigabytes; then the models at such a length that those of paths and of queries ask a
# million times and more; ten million reads through Redis, and each of its faults for ten
# minutes; then four processes whose parts fail, 17 phases of SOAKTIME each and of some two
# minutes until all is at rest: more than 10^8 reads in three hours on two processors;
# then samplers in fleets of up to 256 processes, which takes hours with 10^9 requests;
# then the accounts of streams, for five minutes; then every test many times over.
soak: servers
	go test -timeout=2h ./internal/protocol -search.full
	go test -run='^TestModel' -timeout=4h . -model.scale=$(SCALE)
	go test -run='^TestLinearizable' -timeout=4h ./backends/redis -linear.time=10m -linear.reads=10000000
	go test -run='^Test(Controls|Soak)$$' -timeout=12h -v ./internal/soak -soak.time=$(SOAKTIME)
	go test -run='^Test(Fleet|FleetRedis|Unbiased|MemoryBound)$$' -timeout=12h -v ./samplers -samplers.full
	go test -run='^Test(Account|CloseMeanwhile|HubComesAndGoes)' -timeout=1h ./streams -streams.full
	go test -race -shuffle=on -count=$(SOAK) -timeout=4h ./...
