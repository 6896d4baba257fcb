package redis_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/graphcache/graphcache/backends/redis"
	"github.com/graphcache/graphcache/internal/redistest"
)

// TestBreakerEvents: every change of a breaker is logged, with the node and without what
// is secret, and only those that begin and end an outage above debugging.
func TestBreakerEvents(t *testing.T) {
	s := redistest.Start(t, "--requirepass", "hunter2")
	p := redistest.NewProxy(t, s.Addr)
	log := new(diary)
	b := openURL(t, "redis://:hunter2@"+p.Addr, &redis.Options{
		BatchTimeout: 200 * time.Millisecond,
		Logger:       slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	look := func() error { return pipeLook(patient(t), b.Cache(), 1) }
	p.Hang(true)
	until(t, "a failed probe", func() bool { _ = look(); return log.count(`"from":"half-open","to":"open"`) > 0 })
	p.Cut()
	p.Hang(false)
	until(t, "recovery", func() bool { _ = look(); return log.count(`"to":"closed"`) > 0 })

	type event struct{ Level, Node, From, To, Error string }
	state := "closed"
	for line := range strings.Lines(log.String()) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if e.To == "" {
			continue
		}
		want := map[string]string{"closed/open": "WARN", "half-open/closed": "INFO"}[e.From+"/"+e.To]
		if want == "" {
			want = "DEBUG"
		}
		if e.Level != want || e.Node != p.Addr || e.From != state || (e.Error != "") != (e.To == "open") {
			t.Errorf("in the state %s: %s", state, line)
		}
		state = e.To
	}
	if state != "closed" || log.count(`"from":"closed"`) != 1 || log.count("hunter2") != 0 {
		t.Errorf("the breaker is %s, and the log: %s", state, log)
	}
}
