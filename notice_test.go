package graphcache_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/graphcache/graphcache"
	"github.com/graphcache/graphcache/backends/backendtest"
)

// noticeLog is a slog.Handler that keeps what it is told, a line for each record.
type noticeLog struct {
	level slog.Level
	mu    *sync.Mutex
	lines *[]string
}

func noticeNew(level slog.Level) noticeLog { return noticeLog{level, new(sync.Mutex), new([]string)} }

func (l noticeLog) Enabled(_ context.Context, level slog.Level) bool { return level >= l.level }
func (l noticeLog) WithAttrs([]slog.Attr) slog.Handler               { return l }
func (l noticeLog) WithGroup(string) slog.Handler                    { return l }

func (l noticeLog) Handle(_ context.Context, r slog.Record) error {
	line := []string{r.Level.String(), r.Message}
	r.Attrs(func(a slog.Attr) bool {
		line = append(line, a.String())
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	*l.lines = append(*l.lines, strings.Join(line, " "))
	return nil
}

// about returns the lines with the text.
func (l noticeLog) about(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(*l.lines), func(line string) bool { return !strings.Contains(line, text) })
}

// TestNoticeCorrupt: damage is logged once a minute for each kind, with how often it was
// found, and without what is damaged.
func TestNoticeCorrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := noticeNew(slog.LevelInfo)
		e := fixtureNew(t, fixtureDefaults, func(o *graphcache.Options) { o.Logger = slog.New(log) })
		users := []fixtureUserID{"ann", "bob", "cid"}
		e.seed(t, users, "p1")
		damage := func(read func()) {
			faultPlant(t, e, e.anchors(t, read)[0], func(b []byte) []byte { return b[:len(b)-1] })
			read()
			e.settle(t)
		}
		post := func() {
			_, err := fixturePosts.Get(t.Context(), e, "p1")
			fixtureMust(t, err)
		}
		for range 2 {
			for _, id := range users {
				damage(func() { e.name(t, id) })
			}
			damage(post)
			time.Sleep(time.Minute)
		}
		damage(post)
		const text = "WARN graphcache: a cached value could not be read, and is replaced kind=%s error=%s times=%d"
		want := []string{
			fmt.Sprintf(text, "user", "graphcache: malformed cache value", 1),
			fmt.Sprintf(text, "post", "graphcache: malformed cache value", 1),
			fmt.Sprintf(text, "user", "graphcache: malformed cache value", 3),
			fmt.Sprintf(text, "post", "graphcache: malformed cache value", 1),
			fmt.Sprintf(text, "post", "graphcache: malformed cache value", 1),
		}
		if got := log.about("could not be read"); !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// TestNoticeRefusal: values that are not cached are logged for debugging only.
func TestNoticeRefusal(t *testing.T) {
	for level, want := range map[slog.Level][]string{
		slog.LevelDebug: {"DEBUG graphcache: a value was not cached kind=user reason=too large times=1"},
		slog.LevelInfo:  nil,
	} {
		t.Run(level.String(), func(t *testing.T) {
			log := noticeNew(level)
			e := fixtureNew(t, func(o *graphcache.Options) { o.Logger, o.MaxFragmentBytes = slog.New(log), 50 })
			e.seed(t, []fixtureUserID{"ann", "bob"})
			for _, id := range []fixtureUserID{"ann", "bob"} {
				e.name(t, id)
				e.settle(t)
			}
			if got := log.about("not cached"); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestNoticeRefusedWrite: a write that is refused is counted, and logged once a minute.
func TestNoticeRefusedWrite(t *testing.T) {
	log := noticeNew(slog.LevelInfo)
	e := fixtureNew(t, func(o *graphcache.Options) { o.Logger, o.WhenCacheDown = slog.New(log), graphcache.Fail })
	e.seed(t, []fixtureUserID{"ann"})
	e.on(func(c fixtureCall) backendtest.Fault {
		if c.is("Hold") {
			return backendtest.Fault{Action: backendtest.Fail}
		}
		return backendtest.Fault{}
	})
	for range 2 {
		if err := e.rename(t.Context(), "ann", "new"); !errors.Is(err, graphcache.ErrUnavailable) {
			t.Errorf("error %v, want ErrUnavailable", err)
		}
	}
	got := log.about("refused")
	if len(got) != 1 || !strings.HasPrefix(got[0], "WARN graphcache: a write was refused kind=user error=") || !strings.HasSuffix(got[0], " times=1") {
		t.Errorf("got %q", got)
	}
	if n := e.Stats().Kinds["user"].RefusedWrites; n != 2 {
		t.Errorf("%d were counted", n)
	}
}

// TestNoticeLostHold: a mark that the cache has lost is logged in the same way.
func TestNoticeLostHold(t *testing.T) {
	log := noticeNew(slog.LevelInfo)
	e := fixtureNew(t, func(o *graphcache.Options) { o.Logger = slog.New(log) })
	e.seed(t, []fixtureUserID{"ann"})
	e.on(func(c fixtureCall) backendtest.Fault {
		if c.is("Write") {
			e.cache.Flush()
		}
		return backendtest.Fault{}
	})
	for range 2 {
		fixtureMust(t, e.rename(t.Context(), "ann", "new"))
	}
	got := log.about("lost the mark")
	if len(got) != 1 || !strings.HasPrefix(got[0], "WARN ") || !strings.HasSuffix(got[0], " kind=user times=1") {
		t.Errorf("got %q", got)
	}
	if n := e.Stats().Kinds["user"].LostHolds; n != 2 {
		t.Errorf("%d were counted", n)
	}
}

// TestNoticeGenerations: whoever learns that a kind was invalidated says so.
func TestNoticeGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, away := noticeNew(slog.LevelInfo), noticeNew(slog.LevelInfo)
		e := fixtureNew(t, fixtureDefaults, func(o *graphcache.Options) { o.Logger = slog.New(here) })
		e.another(t, fixtureDefaults, func(o *graphcache.Options) { o.Logger = slog.New(away) })
		fixtureMust(t, e.InvalidateKind(t.Context(), fixtureUsers))
		time.Sleep(2 * time.Second) // a look, and what is to spare
		if n := e.Stats().Kinds["user"].Drops; n != 1 {
			t.Errorf("%d drops were counted", n)
		}
		for _, l := range []noticeLog{here, away} {
			lines := l.about("dropped from the cache")
			if len(lines) != 1 || !strings.HasPrefix(lines[0], "INFO ") || !strings.Contains(lines[0], "kind=user") {
				t.Errorf("%q", lines)
			}
		}
	})
}
