package main

import "testing"

func TestOriginOf(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		host string
		port int
		want string
	}{
		{"127.0.0.1", 8422, "http://127.0.0.1:8422"},
		{"LocalHost", 8422, "http://localhost:8422"},
		{"127.0.0.1", 80, "http://127.0.0.1"},
		{"::1", 8422, "http://[::1]:8422"},
		{"0:0:0:0:0:0:0:1", 80, "http://[::1]"},
		{"::ffff:127.0.0.1", 8422, "http://127.0.0.1:8422"},
	} {
		if got := originOf(row.host, row.port); got != row.want {
			t.Errorf("%s %d: %s, want %s", row.host, row.port, got, row.want)
		}
	}
}

func TestWithOrigin(t *testing.T) {
	t.Parallel()
	const page = "http://127.0.0.1:8422"
	for list, want := range map[string]string{
		"":                        page,
		"https://app.example.com": "https://app.example.com," + page,
		"https://a.example,  HTTP://127.0.0.1:8422/ ": "https://a.example,  HTTP://127.0.0.1:8422/ ",
	} {
		if got := withOrigin(list, page); got != want {
			t.Errorf("%q: %q, want %q", list, got, want)
		}
	}
}
