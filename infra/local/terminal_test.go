package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTerminal(t *testing.T) {
	t.Parallel()
	t.Run("function_output", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			line string
			raw  bool
			want string
		}{
			"a warning":               {`{"time":"x","level":"WARN","msg":"refresh failed","code":"RateLimited"}`, false, "12:00:00  token-get        WARN: refresh failed code=RateLimited\n"},
			"info is omitted":         {`{"time":"x","level":"INFO","msg":"invoked"}`, false, ""},
			"info at LOG_LEVEL=debug": {`{"time":"x","level":"INFO","msg":"invoked"}`, true, "token-get | {\"time\":\"x\",\"level\":\"INFO\",\"msg\":\"invoked\"}\n"},
			"a panic":                 {"goroutine 1 [running]:", false, "12:00:00  token-get        goroutine 1 [running]:\n"},
			"aws-lambda-go's error":   {`2026/11/23 12:00:00 {"errorMessage":"no","errorType":"StateInvalid"}`, false, ""},
			"an empty line":           {"  ", false, ""},
			"JSON that is no log":     {`{"a":1}`, false, "12:00:00  token-get        {\"a\":1}\n"},
		} {
			output := &outputBuffer{}
			terminal := &terminal{out: output, raw: c.raw, now: func() time.Time { return noon }}
			if _, err := fmt.Fprintln(terminal.function("token-get"), c.line); err != nil {
				t.Fatal(err)
			}
			if got := output.String(); got != c.want {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		}
	})
	t.Run("colours_only_on_terminals", func(t *testing.T) {
		t.Parallel()
		for _, colour := range []bool{true, false} {
			output := &outputBuffer{}
			terminal := &terminal{out: output, colour: colour, now: time.Now}
			terminal.request("GET /platforms", "connections", 500, "", time.Second)
			if got := strings.Contains(output.String(), "\x1b["); got != colour {
				t.Errorf("colour %v: %q", colour, output)
			}
		}
	})
}

func TestLines_Write(t *testing.T) {
	t.Parallel()
	t.Run("whole_lines", func(t *testing.T) {
		t.Parallel()
		var got []string
		l := &lines{each: func(line []byte) { got = append(got, string(line)) }}
		for _, part := range []string{"a", "b\nc\r\n", "\nd", strings.Repeat("x", maxLine)} {
			if n, err := l.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatalf("writing: %d, %v", n, err)
			}
		}
		if len(got) != 4 || got[0] != "ab" || got[1] != "c" || got[2] != "" || len(got[3]) != maxLine+1 {
			t.Errorf("got %d lines: %.20q", len(got), got)
		}
	})
}
