package handler_test

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// browser is a browser with a real cookie jar.
type browser struct {
	s   *stack
	jar *cookiejar.Jar
	// inHeader sends the cookies in the header, and not in the list of payload
	// format 2.0.
	inHeader bool
}

func (s *stack) browser(t *testing.T, inHeader bool) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{s, jar, inHeader}
}

func at(t *testing.T) *url.URL {
	t.Helper()
	u, err := url.Parse(publicURL + "/")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// get requests a path with the cookies of the jar, and stores those of the answer.
func (b browser) get(t *testing.T, path string) reply {
	t.Helper()
	var pairs []string
	for _, cookie := range b.jar.Cookies(at(t)) {
		pairs = append(pairs, cookie.Name+"="+cookie.Value)
	}
	r := b.s.do(t, http.MethodGet, path, with("accept", browserUse), func(e *events.APIGatewayV2HTTPRequest) {
		if b.inHeader {
			e.Headers["Cookie"] = strings.Join(pairs, "; ")
		} else {
			e.Cookies = pairs
		}
	})
	b.jar.SetCookies(at(t), (&http.Response{Header: http.Header{"Set-Cookie": r.Cookies}}).Cookies())
	return r
}

// names returns the names of the cookies in the order in which the browser sends
// them.
func (b browser) names(t *testing.T) (names []string) {
	t.Helper()
	for _, cookie := range b.jar.Cookies(at(t)) {
		names = append(names, cookie.Name)
	}
	return names
}

// own returns the cookies that the connector set.
func own(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !connector.IsBrowserCookie(name, true) })
}

// others are cookies of other programs on the same host.
var others = []string{
	"session", "connect", "connect.sid", "__Host-session", "__Host-connect", "__Host-connect-",
	"connect-0123456789abcdef",                  // without the prefix that our cookies have on https
	"__Host-connect-0123456789abcde",            // too short
	"__Host-connect-0123456789abcdef0",          // too long
	"__Host-connect-0123456789ABCDEF",           // another alphabet
	"x__Host-connect-0123456789abcdef",          // another beginning
	"__Host-connect-" + strings.Repeat("g", 16), // no hash
}

func TestOAuthStart_Cookies(t *testing.T) {
	t.Parallel()
	for _, inHeader := range []bool{false, true} {
		t.Run(fmt.Sprintf("145_starts_in_one_browser_in_header_%v", inHeader), func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			b := s.browser(t, inHeader)
			for _, name := range others {
				b.jar.SetCookies(at(t), []*http.Cookie{{Name: name, Value: "of-another", Path: "/", Secure: true}})
			}
			link := ""
			for n := range 145 {
				if n%20 == 0 {
					link = s.link(t, toAcme)
				}
				if r := b.get(t, link); r.StatusCode != http.StatusFound {
					t.Fatalf("start %d: %d", n, r.StatusCode)
				}
				if got := len(own(b.names(t))); got > 8 || got < min(n+1, 8) {
					t.Fatalf("after %d starts the browser has %d cookies, want 8", n+1, got)
				}
			}
			for _, name := range others {
				if !slices.Contains(b.names(t), name) {
					t.Errorf("the cookie %s of another program was deleted", name)
				}
			}
			// The last of them still works, and so does the eighth from the end.
			for range 7 {
				b.get(t, link)
			}
			started := b.get(t, link)
			for range 7 {
				b.get(t, link)
			}
			back, err := s.sandbox.Consent(started.Headers["location"], sandbox.Choice{})
			if err != nil {
				t.Fatal(err)
			}
			ended := b.get(t, strings.TrimPrefix(back, publicURL))
			if !strings.Contains(ended.Headers["location"], "status=connected") {
				t.Errorf("the callback: %d %s", ended.StatusCode, ended.Headers["location"])
			}
			if got := len(own(b.names(t))); got != 8 {
				t.Errorf("%d cookies after the callback, want 8: it may come again", got)
			}
		})
	}
	// The oldest go, whatever their number, and a browser with very many gets rid of
	// them in several answers.
	t.Run("oldest_go_first", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		b := s.browser(t, false)
		for n := range 100 {
			b.jar.SetCookies(at(t), []*http.Cookie{{Name: fmt.Sprintf("__Host-connect-%016x", n), Value: "x", Path: "/", Secure: true}})
		}
		link := s.link(t, toAcme)
		for _, want := range []int{69, 38, 8, 8} {
			r := b.get(t, link)
			if got := len(own(b.names(t))); got != want || len(r.Cookies) > 33 {
				t.Errorf("%d cookies, %d in the answer, want %d", got, len(r.Cookies), want)
			}
		}
		if names := own(b.names(t)); names[0] != fmt.Sprintf("__Host-connect-%016x", 96) {
			t.Errorf("left are %v", names)
		}
	})
	// Some front ends send the cookies in the list and in the header.
	t.Run("cookies_in_both_places_count_once", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		var pairs []string
		for n := range 7 {
			pairs = append(pairs, fmt.Sprintf("__Host-connect-%016x=x", n))
		}
		r := s.do(t, http.MethodGet, s.link(t, toAcme), func(e *events.APIGatewayV2HTTPRequest) {
			e.Cookies, e.Headers["cookie"] = pairs, strings.Join(pairs, "; ")
		})
		if len(r.Cookies) != 1 {
			t.Errorf("the answer sets %v", r.Cookies)
		}
	})
	// Nothing is deleted where nothing began.
	t.Run("refused_start_deletes_nothing", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		b := s.browser(t, false)
		for n := range 20 {
			b.jar.SetCookies(at(t), []*http.Cookie{{Name: fmt.Sprintf("__Host-connect-%016x", n), Value: "x", Path: "/", Secure: true}})
		}
		if r := b.get(t, "/connect/"+strings.Repeat("x", 43)); r.StatusCode != 410 || len(r.Cookies) > 0 {
			t.Errorf("%d %v", r.StatusCode, r.Cookies)
		}
	})
}
