package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// terminal shows each request and invocation on one line. A line names routes,
// functions, statuses and codes. It never contains a path or a query, because
// these contain links, states and codes.
type terminal struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	raw    bool // show the functions' output unchanged
	now    func() time.Time
}

func newTerminal(out *os.File, raw bool) *terminal {
	info, err := out.Stat()
	isTerminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &terminal{out: out, colour: isTerminal && os.Getenv("NO_COLOR") == "", raw: raw, now: time.Now}
}

// The colours of a line.
const (
	plain  = ""
	dim    = "\x1b[2m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	red    = "\x1b[31m"
)

// line prints one line with the time.
func (t *terminal) line(colour, format string, args ...any) {
	t.print(t.paint(dim, t.now().Format("15:04:05")) + "  " + t.paint(colour, fmt.Sprintf(format, args...)))
}

func (t *terminal) print(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = io.WriteString(t.out, s+"\n")
}

func (t *terminal) paint(colour, s string) string {
	if !t.colour || colour == plain {
		return s
	}
	return colour + s + "\x1b[0m"
}

// request shows a request of the HTTP API.
func (t *terminal) request(key, function string, status int, code string, took time.Duration) {
	colour := green
	switch {
	case status >= 500:
		colour = red
	case status >= 400, code != "":
		colour = yellow
	}
	t.line(plain, "%-38s %-16s %s %s", key, cmp.Or(function, "-"),
		t.paint(colour, strings.TrimSpace(fmt.Sprint(status, " ", code))), t.paint(dim, brief(took)))
}

// invoked shows an invocation that did not come over HTTP.
func (t *terminal) invoked(by, function string, r result, took time.Duration, note string) {
	outcome, colour := "ok", green
	if r.functionError != "" {
		kind, message := failureOf(r)
		outcome, colour = kind+": "+message, red
	}
	if note != "" {
		outcome += ", " + note
	}
	t.line(plain, "%-38s %-16s %s %s", by, function, t.paint(colour, outcome), t.paint(dim, brief(took)))
}

func brief(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

// plural counts things.
func plural(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// notify shows a message of the stack itself.
func (t *terminal) notify(format string, args ...any) { t.line(yellow, format, args...) }

// function returns the writer for the output of a function. Unless raw is set,
// it omits log lines below warn, because the line of the request has the same
// facts.
func (t *terminal) function(name string) io.Writer {
	return &lines{each: func(line []byte) {
		if t.raw {
			t.print(t.paint(dim, name+" | ") + string(line))
			return
		}
		if text, colour, shown := readable(line); shown {
			t.line(colour, "%-16s %s", name, text)
		}
	}}
}

// readable converts a line of output for a person. It knows the JSON records of
// slog and the errors that aws-lambda-go prints, and leaves other lines
// unchanged.
func readable(line []byte) (text, colour string, shown bool) {
	start := bytes.IndexByte(line, '{')
	var record map[string]any
	if start < 0 || json.Unmarshal(line[start:], &record) != nil {
		return string(line), plain, len(bytes.TrimSpace(line)) > 0
	}
	if _, isError := record["errorType"]; isError && record["level"] == nil {
		// aws-lambda-go prints its answer, which the stack shows already.
		return "", plain, false
	}
	var level slog.Level
	if name, isText := record["level"].(string); !isText || level.UnmarshalText([]byte(name)) != nil {
		return string(line), plain, true
	}
	if level < slog.LevelWarn {
		return "", plain, false
	}
	colour = yellow
	if level >= slog.LevelError {
		colour = red
	}
	words := []string{level.String() + ":", fmt.Sprint(record[slog.MessageKey])}
	for _, key := range slices.Sorted(maps.Keys(record)) {
		switch key {
		case slog.LevelKey, slog.MessageKey, slog.TimeKey:
		default:
			words = append(words, fmt.Sprintf("%s=%v", key, record[key]))
		}
	}
	return strings.Join(words, " "), colour, true
}

// lines splits its input into lines, for one writer at a time.
type lines struct {
	mu   sync.Mutex
	rest []byte
	each func(line []byte)
}

// maxLine is the maximum length of a line. A longer line is split.
const maxLine = 64 << 10

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, b...)
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) < maxLine {
			return len(b), nil
		}
		end := i + 1
		if i < 0 {
			i, end = len(l.rest), len(l.rest)
		}
		l.each(bytes.TrimRight(l.rest[:i], "\r"))
		l.rest = append([]byte(nil), l.rest[end:]...)
	}
}
