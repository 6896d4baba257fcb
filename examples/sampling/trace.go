package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/graphcache/graphcache/samplers"
)

// trace is the requests of a window, in the order in which they come.
type trace struct {
	about    string // for the report
	zipf     float64
	keys     []samplers.Key
	counts   []int // the requests of each key
	requests []request
	traffic  samplers.Histogram // what the planner is told
	hasBytes bool
}

// request is one of a trace. The process that serves it is given by chance.
type request struct {
	key          int32
	process      int32
	lines, bytes int32
}

// lineBytes is the length of a line that a trace says nothing about.
const lineBytes = 200

// add adds a request of a key that is known by its number.
func (t *trace) add(key, lines, bytes int) {
	t.counts[key]++
	t.requests = append(t.requests, request{key: int32(key), lines: int32(lines), bytes: int32(bytes)})
}

func (t *trace) mostRequests() int { return slices.Max(t.counts) }

// chance returns a source of random numbers. Each purpose has its own, so that one does not
// change when another needs more of them.
func (s *settings) chance(purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, purpose)) }

const (
	forTrace = iota
	forProcesses
	forStatic
	forEMA
)

// openTrace reads the trace or makes one, and gives its requests to the processes.
func (s *settings) openTrace() (t *trace, err error) {
	switch s.trace {
	case "":
		t = s.makeTrace()
	case "-":
		t, err = readTrace(s.stdin, "standard input")
	default:
		t, err = openFile(s.trace)
	}
	if err != nil {
		return nil, err
	}
	chance := s.chance(forProcesses)
	for i := range t.requests {
		t.requests[i].process = int32(chance.IntN(s.processes))
	}
	return t, nil
}

// makeTrace makes a trace by Zipf's law. Busy operations log more lines than rare ones.
func (s *settings) makeTrace() *trace {
	t := &trace{
		about: fmt.Sprintf("made with -seed %d: %d tenants and %d operations by Zipf's law, s = %g; the j-th operation logs 2+18/j lines of %d bytes",
			s.seed, s.tenants, s.ops, s.zipf, lineBytes),
		zipf:     s.zipf,
		traffic:  samplers.Zipf(s.tenants, s.ops, s.zipf, s.zipf, float64(s.requests)),
		hasBytes: true,
	}
	for i := range t.traffic {
		lines := linesOf(i % s.ops)
		t.traffic[i].Lines, t.traffic[i].Bytes = float64(lines), float64(lines*lineBytes)
	}
	chance := s.chance(forTrace)
	tenant, op := newPicker(s.tenants, s.zipf), newPicker(s.ops, s.zipf)
	numbers := map[int]int{} // of the keys, in the order in which they are seen
	for range s.requests {
		i, j := tenant.pick(chance), op.pick(chance)
		key, ok := numbers[i*s.ops+j]
		if !ok {
			key = len(t.keys)
			numbers[i*s.ops+j] = key
			t.keys = append(t.keys, samplers.Key{Tenant: "tenant" + strconv.Itoa(i+1), Op: "op" + strconv.Itoa(j+1)})
			t.counts = append(t.counts, 0)
		}
		t.add(key, linesOf(j), linesOf(j)*lineBytes)
	}
	return t
}

// linesOf returns the number of lines that a request of the operation logs, from 0.
func linesOf(op int) int { return 2 + 18/(op+1) }

// picker picks numbers from 0 by Zipf's law.
type picker []float64 // the sums of the shares up to each number

func newPicker(n int, s float64) picker {
	p, sum := make(picker, n), 0.0
	for i := range p {
		sum += math.Pow(float64(i+1), -s)
		p[i] = sum
	}
	return p
}

func (p picker) pick(chance *rand.Rand) int {
	return min(sort.SearchFloat64s(p, chance.Float64()*p[len(p)-1]), len(p)-1)
}

func openFile(name string) (*trace, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, usagef("-trace: %w", err)
	}
	defer f.Close()
	return readTrace(f, name)
}

// readTrace reads a trace of lines tenant,operation[,lines[,bytes]].
func readTrace(r io.Reader, name string) (*trace, error) {
	t := &trace{about: "from " + name, zipf: math.NaN()}
	numbers := map[samplers.Key]int{}
	in := bufio.NewScanner(r)
	line := 0
	for in.Scan() {
		line++
		k, lines, bytes, err := parseRequest(in.Text())
		if err != nil {
			return nil, usagef("%s: line %d: %w", name, line, err)
		}
		key, ok := numbers[k]
		if !ok {
			key = len(t.keys)
			numbers[k] = key
			t.keys = append(t.keys, k)
			t.counts = append(t.counts, 0)
		}
		t.add(key, lines, bytes)
		t.hasBytes = t.hasBytes || bytes > 0
	}
	switch err := in.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, usagef("%s: line %d: longer than %d bytes", name, line+1, bufio.MaxScanTokenSize)
	case err != nil:
		return nil, fmt.Errorf("%s: after line %d: %w", name, line, err)
	case len(t.requests) == 0:
		return nil, usagef("%s: a trace without requests", name)
	}
	t.traffic = t.observed()
	return t, nil
}

// parseRequest parses a line of a trace. A request logs one line unless the trace says
// otherwise, and bytes that are not known are 0.
func parseRequest(text string) (k samplers.Key, lines, bytes int, err error) {
	fields := strings.Split(strings.TrimSuffix(text, "\r"), ",")
	if len(fields) < 2 || len(fields) > 4 {
		return k, 0, 0, fmt.Errorf("%.80q: want tenant,operation[,lines[,bytes]]", text)
	}
	if k = (samplers.Key{Tenant: fields[0], Op: fields[1]}); k.Tenant == "" || k.Op == "" {
		return k, 0, 0, fmt.Errorf("%.80q: no tenant or no operation", text)
	}
	numbers := []int{1, 0}
	for i, field := range fields[2:] {
		n, err := strconv.ParseInt(field, 10, 32)
		if least := int64(1 - i); err != nil || n < least {
			return k, 0, 0, fmt.Errorf("%.80q: %s are %.20q: want a number from %d to %d", text, []string{"lines", "bytes"}[i], field, least, math.MaxInt32)
		}
		numbers[i] = int(n)
	}
	return k, numbers[0], numbers[1], nil
}

// observed returns the traffic as the trace has it: what was seen of a key is taken for
// what is expected of it. Keys with as many requests share a bin.
func (t *trace) observed() samplers.Histogram {
	sums := map[int]*samplers.Bin{} // by the requests of a key
	for _, n := range t.counts {
		if sums[n] == nil {
			sums[n] = &samplers.Bin{Requests: float64(n)}
		}
		sums[n].Keys++
	}
	for _, r := range t.requests {
		b := sums[t.counts[r.key]]
		b.Lines += float64(r.lines)
		b.Bytes += float64(r.bytes)
	}
	var h samplers.Histogram
	for _, n := range slices.Sorted(maps.Keys(sums)) {
		b := *sums[n]
		b.Lines /= float64(b.Keys) * b.Requests
		b.Bytes /= float64(b.Keys) * b.Requests
		h = append(h, b)
	}
	return h
}
