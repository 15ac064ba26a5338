package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// lookUp is the endpoint that is asked for the accounts after the code was redeemed.
func lookUp(platform string) string {
	switch platform {
	case sandbox.Facebook:
		return "accounts"
	case sandbox.YouTube:
		return "channels"
	}
	return "me"
}

// ways are how a browser shows its callback again: as a program and as a browser,
// also with what another tab, a proxy or a person changed in its address.
func (f flow) ways() map[string]func(t *testing.T) reply {
	at := func(name, value string) string {
		path, text, _ := strings.Cut(f.callback, "?")
		query, _ := url.ParseQuery(text)
		query.Del("code")
		query.Del("error")
		query.Set(name, value)
		return path + "?" + query.Encode()
	}
	return map[string]func(t *testing.T) reply{
		"reload":      func(t *testing.T) reply { return f.finish(t) },
		"back button": func(t *testing.T) reply { return f.finish(t, with("cache-control", "max-age=0")) },
		"other code":  func(t *testing.T) reply { return f.s.do(t, http.MethodGet, at("code", "other"), withCookie(f.cookie)) },
		"an error": func(t *testing.T) reply {
			return f.s.do(t, http.MethodGet, at("error", "access_denied"), withCookie(f.cookie))
		},
		"more cookies": func(t *testing.T) reply { return f.finish(t, withCookie("theme=dark")) },
	}
}

// wantAgain wants the first answer again in all ways, and as a page. No code is
// exchanged, and no event is sent.
func (f flow) wantAgain(t *testing.T, what string, first, firstPage reply) {
	t.Helper()
	exchanges, events := f.exchanges(), len(f.s.events.All())
	same := func(way string, got, want reply) {
		t.Helper()
		got.Body, want.Body = withoutWait(got.Body), withoutWait(want.Body)
		if got.StatusCode != want.StatusCode || got.Headers["location"] != want.Headers["location"] || got.Body != want.Body {
			t.Errorf("%s, %s: %d %s %s, want %d %s %s", what, way, got.StatusCode, got.Headers["location"], got.Body,
				want.StatusCode, want.Headers["location"], want.Body)
		}
		if len(got.Cookies) > 0 {
			t.Errorf("%s, %s: cookies %q", what, way, got.Cookies)
		}
	}
	for way, show := range f.ways() {
		same(way, show(t), first)
	}
	same("page", f.finish(t, with("accept", browserUse)), firstPage)
	if n := f.exchanges(); n != exchanges {
		t.Errorf("%s: %d codes were sent to the platform", what, n-exchanges)
	}
	if n := len(f.s.events.All()); n != events {
		t.Errorf("%s: %d events were sent", what, n-events)
	}
}

// withoutWait returns the body of a problem without retry_after, which passes.
func withoutWait(body string) string {
	return regexp.MustCompile(`,"retry_after":\d+`).ReplaceAllString(body, "")
}

// revocations is how many calls revoke one grant: X takes each token alone, and some
// platforms have no such call.
func (s *stack) revocations(platform string) int {
	i := slices.IndexFunc(s.service.Platforms, func(p connector.Platform) bool { return string(p.Describe().Name) == platform })
	switch _, revokes := s.service.Platforms[i].(connector.Revoker); {
	case !revokes:
		return 0
	case platform == sandbox.Twitter:
		return 2
	}
	return 1
}

// wantOnlyHere wants that no other browser gets anything, and that it changes nothing.
func (f flow) wantOnlyHere(t *testing.T, what string) {
	t.Helper()
	other := f.s.flow(t, f.platform, sandbox.Choice{})
	name, _, _ := strings.Cut(f.cookie, "=")
	_, value, _ := strings.Cut(other.cookie, "=")
	exchanges := f.exchanges()
	var mu sync.Mutex
	var changes []string
	watched := f.s.process(func(_ context.Context, call connectortest.Call, next func() error) error {
		mu.Lock()
		defer mu.Unlock()
		if call.Name != "Store.Ticket" && call.Name != "Store.Connection" && call.Name != "Store.Breaker" {
			changes = append(changes, call.Name)
		}
		return next()
	})
	for browser, changes := range map[string][]change{
		"no cookie":                     nil,
		"the cookie of another flow":    {withCookie(other.cookie)},
		"the value of another flow":     {withCookie(name + "=" + value)},
		"a value that was made up":      {withCookie(name + "=" + strings.Repeat("B", 43))},
		"a value that is not well made": {withCookie(name + "=short")},
	} {
		for _, accept := range []string{"*/*", browserUse} {
			got := watched.do(t, http.MethodGet, f.callback, append(changes, with("accept", accept))...)
			if got.StatusCode != http.StatusBadRequest || !strings.Contains(got.Body, "StateInvalid") || got.Headers["location"] != "" {
				t.Errorf("%s, %s: %d %s %s", what, browser, got.StatusCode, got.Headers["location"], got.Body)
			}
		}
	}
	if len(changes) > 0 || f.exchanges() != exchanges {
		t.Errorf("%s: another browser caused %v and %d exchanges", what, changes, f.exchanges()-exchanges)
	}
}

// wantForgotten wants that the callback answers its browser no more after ten minutes.
func (f flow) wantForgotten(t *testing.T, what string) {
	t.Helper()
	exchanges := f.exchanges()
	f.s.clock.Advance(10*time.Minute + time.Second)
	if got := f.finish(t); got.StatusCode != http.StatusBadRequest || !strings.Contains(got.Body, "StateInvalid") || got.Headers["location"] != "" {
		t.Errorf("%s, after ten minutes: %d %s %s", what, got.StatusCode, got.Headers["location"], got.Body)
	}
	if n := f.exchanges(); n != exchanges {
		t.Errorf("%s, after ten minutes: a code was sent to the platform", what)
	}
}

// A callback that ended well leads its browser again where it led the first time.
func TestCallbackAgain_Connected(t *testing.T) {
	t.Parallel()
	for _, platform := range platforms() {
		for name, body := range map[string]map[string]any{
			"return_url":  {"return_url": returnURL},
			"page":        {},
			"confirm":     {"return_url": returnURL, "confirm": true},
			"reauthorize": {"return_url": returnURL},
		} {
			t.Run(platform+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				if name == "reauthorize" {
					body["connection_id"] = s.connect(t, platform, "acme", sandbox.Choice{})[0]
				}
				body["platform"], body["owner"] = platform, "acme"
				id, link := s.mint(t, body)
				f := s.flowOf(t, platform, link, sandbox.Choice{})
				f.wantOnlyHere(t, "before the first answer")
				first := f.finish(t)
				page := first
				if name == "page" {
					page = f.finish(t, with("accept", browserUse))
				} else if first.StatusCode != http.StatusFound {
					t.Fatalf("ended with %d %s", first.StatusCode, first.Body)
				}
				if name == "page" && (first.StatusCode != 200 || !strings.Contains(page.Body, "is connected. You can close this window.")) {
					t.Fatalf("ended with %d %s and %d %s", first.StatusCode, first.Body, page.StatusCode, page.Body)
				}
				f.wantAgain(t, "at once", first, page)
				f.wantOnlyHere(t, "afterwards")
				if confirm := body["confirm"] == true; confirm {
					target, err := url.Parse(first.Headers["location"])
					if err != nil || target.Query().Get("status") != "confirm" {
						t.Fatalf("ended at %s", first.Headers["location"])
					}
					s.wantLink(t, "shown again", id, "pending_confirmation", "", "")
					confirmation := target.Query().Get("confirmation")
					if r := s.confirm(t, confirmation, "acme"); r.StatusCode != 200 {
						t.Fatalf("the confirmation: %d %s", r.StatusCode, r.Body)
					}
					f.wantAgain(t, "confirmed", first, page)
					s.confirm(t, confirmation, "acme").refused(t, 404, connector.ConnectionNotFound)
				}
				l := s.wantLink(t, "afterwards", id, "connected", "", "")
				s.clock.Advance(9 * time.Minute)
				f.wantAgain(t, "after nine minutes", first, page)
				s.endLink(t, id)
				f.wantAgain(t, "the link was ended", first, page)
				s.wantWorks(t, "afterwards", l.ids()[0])
				f.wantForgotten(t, name)
			})
		}
	}
}

// A consent to several Pages leads again to all of them, also where they are too many
// for the return URL.
func TestCallbackAgain_Pages(t *testing.T) {
	t.Parallel()
	for _, pages := range []int{2, 60, 150} {
		for _, returnTo := range []string{"", returnURL} {
			t.Run(fmt.Sprintf("%d/%v", pages, returnTo != ""), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				body := map[string]any{"platform": "facebook", "owner": "acme"}
				if returnTo != "" {
					body["return_url"] = returnTo
				}
				f := s.flowOf(t, "facebook", s.link(t, body), s.rich(pages))
				first := f.finish(t)
				f.wantAgain(t, "all Pages", first, f.finish(t, with("accept", browserUse)))
			})
		}
	}
}

// A callback that ended badly says so again, with the same code, and the page says how
// to start anew.
func TestCallbackAgain_Failed(t *testing.T) {
	t.Parallel()
	untickAll := func(t *testing.T, s *stack, platform, link string) flow {
		return s.flowOf(t, platform, link, sandbox.Choice{Untick: s.scopesOf(platform)})
	}
	choose := func(choice sandbox.Choice) func(t *testing.T, s *stack, platform, link string) flow {
		return func(t *testing.T, s *stack, platform, link string) flow { return s.flowOf(t, platform, link, choice) }
	}
	type failing struct {
		platforms []string
		begin     func(t *testing.T, s *stack, platform, link string) flow
		budget    connector.BudgetName
		target    bool
		code      connector.Code
	}
	for name, row := range map[string]failing{
		"denied":        {platforms(), choose(sandbox.Choice{Deny: true}), "", false, connector.AccessDenied},
		"no scope":      {[]string{"youtube"}, untickAll, "", false, connector.AccessDenied},
		"no Page":       {[]string{"facebook"}, choose(sandbox.Choice{Account: "100000000000003"}), "", false, connector.AccessDenied},
		"wrong account": {platforms(), nil, "", true, connector.AccountMismatch},
		"exchanges":     {platforms(), choose(sandbox.Choice{}), connector.ExchangesPerLink, false, connector.RateLimited},
		"accounts":      {platforms(), choose(sandbox.Choice{}), connector.AccountsPerConsent, false, connector.RateLimited},
	} {
		for _, platform := range row.platforms {
			for _, returnTo := range []string{"", returnURL} {
				t.Run(fmt.Sprintf("%s/%s/%v", name, platform, returnTo != ""), func(t *testing.T) {
					t.Parallel()
					s := newStack(t)
					body := map[string]any{"platform": platform, "owner": "acme"}
					if returnTo != "" {
						body["return_url"] = returnTo
					}
					begin := row.begin
					if row.target {
						body["connection_id"] = s.connect(t, platform, "acme", sandbox.Choice{})[0]
						begin = choose(sandbox.Choice{Account: s.sandbox.People(platform)[1].ID})
					}
					if row.budget != "" {
						s.service.Budgets = map[connector.BudgetName]int{row.budget: 0}
					}
					id, link := s.mint(t, body)
					f := begin(t, s, platform, link)
					first := f.finish(t)
					code := row.code
					if returnTo == "" {
						first.refused(t, first.StatusCode, code)
					} else if got := queryValue(t, first.Headers["location"], "error"); got != string(code) {
						t.Fatalf("ended at %s", first.Headers["location"])
					}
					page := f.finish(t, with("accept", browserUse))
					if returnTo == "" && !strings.Contains(page.Body, "Open the connect link again") && !strings.Contains(page.Body, "open the connect link again") {
						t.Errorf("the page does not say how to start anew: %s", page.Body)
					}
					f.wantAgain(t, name, first, page)
					f.wantOnlyHere(t, name)
					if l := s.showLink(t, id); l.Status != "failed" && l.Status != "under_way" || l.Error != string(code) && l.Error != "" {
						t.Errorf("the link: %+v", l)
					}
					s.service.Budgets = nil
					// The link is good, and another authorization of it connects.
					again := s.flowOf(t, platform, link, sandbox.Choice{})
					if ended := again.finish(t); ended.StatusCode >= 400 || strings.Contains(ended.Headers["location"], "error=") {
						t.Errorf("the link opened again: %d %s %s", ended.StatusCode, ended.Headers["location"], ended.Body)
					}
					f.wantAgain(t, "the link has connected since", first, page)
					f.wantForgotten(t, name)
				})
			}
		}
	}
}

// scopesOf returns the scopes of a platform that a person can refuse.
func (s *stack) scopesOf(platform string) []string {
	i := slices.IndexFunc(s.service.Platforms, func(p connector.Platform) bool { return string(p.Describe().Name) == platform })
	var scopes []string
	for _, scope := range s.service.Platforms[i].Describe().Guide.Scopes {
		scopes = append(scopes, scope.Name)
	}
	return scopes
}

func queryValue(t *testing.T, address, name string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get(name)
}

// Two tabs of one link, in which the same person consents, end as one connection,
// whichever comes back first. The second tab leads to the connection too; where the
// link asks for confirmation, it is LinkGone, since the confirmation is the first tab's.
func TestCallbackAgain_Tabs(t *testing.T) {
	t.Parallel()
	for _, platform := range platforms() {
		for _, kind := range []string{"return_url", "page", "confirm", "confirmed", "reauthorize"} {
			for _, winner := range []int{0, 1} {
				t.Run(fmt.Sprintf("%s/%s/%d", platform, kind, winner), func(t *testing.T) {
					t.Parallel()
					s := newStack(t)
					body := map[string]any{"platform": platform, "owner": "acme"}
					confirm := strings.HasPrefix(kind, "confirm")
					if kind != "page" {
						body["return_url"], body["confirm"] = returnURL, confirm
					}
					if kind == "reauthorize" {
						body["connection_id"] = s.connect(t, platform, "acme", sandbox.Choice{})[0]
					}
					before := len(s.connections(t))
					id, link := s.mint(t, body)
					tabs := []flow{s.flowOf(t, platform, link, sandbox.Choice{}), s.flowOf(t, platform, link, sandbox.Choice{})}
					first, second := tabs[winner], tabs[1-winner]
					ended := first.finish(t)
					confirmation := ""
					if confirm {
						confirmation = queryValue(t, ended.Headers["location"], "confirmation")
					}
					if kind == "confirmed" {
						s.confirm(t, confirmation, "acme").decode(t, 200, &struct{}{})
					}
					late := second.finish(t)
					if confirm {
						if got := queryValue(t, late.Headers["location"], "error"); got != "LinkGone" {
							t.Errorf("the second tab ended at %s", late.Headers["location"])
						}
					} else if late.StatusCode != ended.StatusCode || late.Headers["location"] != ended.Headers["location"] || !sameConnections(t, late, ended) {
						t.Errorf("the second tab: %d %s %s, want %d %s %s", late.StatusCode, late.Headers["location"], late.Body,
							ended.StatusCode, ended.Headers["location"], ended.Body)
					}
					first.wantAgain(t, "first tab", first.finish(t), first.finish(t, with("accept", browserUse)))
					second.wantAgain(t, "second tab", late, second.finish(t, with("accept", browserUse)))
					if kind == "confirm" {
						s.confirm(t, confirmation, "acme").decode(t, 200, &struct{}{})
					}
					l := s.wantLink(t, "afterwards", id, "connected", "", "")
					s.clock.Advance(15 * time.Minute)
					s.sweep(t)
					if n := s.sandbox.Count(platform, "revoke"); n != 0 {
						t.Errorf("the person's grant was revoked %d times", n)
					}
					if kind != "reauthorize" && len(s.connections(t)) != before+len(l.Connections) {
						t.Errorf("%d connections, want %d", len(s.connections(t)), len(l.Connections))
					}
					s.wantWorks(t, "afterwards", l.ids()[0])
				})
			}
		}
	}
}

// sameConnections compares the connections of two JSON answers; true for others.
func sameConnections(t *testing.T, a, b reply) bool {
	t.Helper()
	if a.StatusCode != 200 || b.StatusCode != 200 {
		return true
	}
	type answer struct {
		Connections []struct{ ID string }
		Accounts    int
		Link        string
	}
	var of [2]answer
	a.decode(t, 200, &of[0])
	b.decode(t, 200, &of[1])
	return slices.Equal(of[0].Connections, of[1].Connections) && of[0].Accounts == of[1].Accounts && of[0].Link == of[1].Link
}

// Another person who consents in a second tab is refused, each time, and gives nothing:
// their grant is revoked later, and the connection of the first tab works.
func TestCallbackAgain_OtherPerson(t *testing.T) {
	t.Parallel()
	for _, platform := range platforms() {
		for _, confirm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", platform, confirm), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				id, link := s.mint(t, map[string]any{"platform": platform, "owner": "acme", "return_url": returnURL, "confirm": confirm})
				mine := s.flowOf(t, platform, link, sandbox.Choice{})
				theirs := s.flowOf(t, platform, link, sandbox.Choice{Account: s.sandbox.People(platform)[1].ID})
				ended := mine.finish(t)
				late := theirs.finish(t)
				if got := queryValue(t, late.Headers["location"], "error"); got != "LinkGone" || strings.Contains(late.Headers["location"], "connection_id") {
					t.Errorf("the other person ended at %s", late.Headers["location"])
				}
				theirs.wantAgain(t, "other person", late, late)
				mine.wantAgain(t, "first tab", ended, ended)
				if confirm {
					s.confirm(t, queryValue(t, ended.Headers["location"], "confirmation"), "acme").decode(t, 200, &struct{}{})
				}
				s.clock.Advance(15 * time.Minute)
				s.sweep(t)
				if n := s.sandbox.Count(platform, "revoke"); n != s.revocations(platform) {
					t.Errorf("%d revocations, want that of the other person", n)
				}
				l := s.wantLink(t, "afterwards", id, "connected", "", "")
				if len(s.connections(t)) != len(l.Connections) {
					t.Errorf("%d connections, want %d", len(s.connections(t)), len(l.Connections))
				}
				s.wantWorks(t, "afterwards", l.ids()[0])
			})
		}
	}
}

// A link that was ended while the person was on the platform's pages connects nothing,
// however often the callback comes, and what was granted is revoked.
func TestCallbackAgain_LinkEnded(t *testing.T) {
	t.Parallel()
	for _, platform := range platforms() {
		t.Run(platform, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id, link := s.mint(t, map[string]any{"platform": platform, "owner": "acme"})
			f := s.flowOf(t, platform, link, sandbox.Choice{})
			s.endLink(t, id)
			first := f.finish(t)
			first.refused(t, http.StatusGone, connector.LinkGone)
			page := f.finish(t, with("accept", browserUse))
			if !strings.Contains(page.Body, "ask for a new link") {
				t.Errorf("the page does not say how to start anew: %s", page.Body)
			}
			f.wantAgain(t, "ended", first, page)
			s.clock.Advance(15 * time.Minute)
			s.sweep(t)
			if n := s.sandbox.Count(platform, "revoke"); n != s.revocations(platform) || len(s.connections(t)) > 0 {
				t.Errorf("%d revocations, %d connections", n, len(s.connections(t)))
			}
			s.wantLink(t, "afterwards", id, "ended", "", "ended_by_operator")
		})
	}
}

// Where the platform fails after it redeemed the code, nothing is lost: the page says to
// reload, a reload after the outage connects, and so does the sweep without one.
func TestCallbackAgain_Unfinished(t *testing.T) {
	t.Parallel()
	for _, platform := range platforms() {
		for _, kind := range []sandbox.Kind{sandbox.Outage, sandbox.Throttled, sandbox.Cut} {
			for _, reload := range []bool{true, false} {
				for _, body := range []map[string]any{{}, {"return_url": returnURL}, {"return_url": returnURL, "confirm": true}} {
					t.Run(fmt.Sprintf("%s/%s/reload_%v/%d", platform, kind, reload, len(body)), func(t *testing.T) {
						t.Parallel()
						s := newStack(t)
						minted := map[string]any{"platform": platform, "owner": "acme"}
						for name, value := range body {
							minted[name] = value
						}
						id, link := s.mint(t, minted)
						f := s.flowOf(t, platform, link, sandbox.Choice{})
						s.sandbox.Fault(sandbox.Fault{Platform: platform, Endpoint: lookUp(platform), Kind: kind, Times: -1})
						for range 2 {
							unfinished := f.finish(t)
							if len(body) > 0 {
								if got := queryValue(t, unfinished.Headers["location"], "error"); got != "PlatformUnavailable" && got != "RateLimited" {
									t.Fatalf("ended with %d %s", unfinished.StatusCode, unfinished.Headers["location"])
								}
								continue
							}
							var p problem
							unfinished.decode(t, unfinished.StatusCode, &p)
							if p.Code != "PlatformUnavailable" && p.Code != "RateLimited" || p.Reason != "unfinished" {
								t.Errorf("unfinished: %d %+v", unfinished.StatusCode, p)
							}
							page := f.finish(t, with("accept", browserUse)).Body
							if !strings.Contains(page, "Reload this page") || strings.Contains(strings.ToLower(page), "open the connect link again") {
								t.Errorf("the page does not say to reload: %s", page)
							}
						}
						if l := s.showLink(t, id); l.Status != "failed" && l.Status != "under_way" || l.Accounts != 0 {
							t.Errorf("the link: %+v", l)
						}
						f.wantOnlyHere(t, "unfinished")
						s.sandbox.ClearFaults()
						if reload {
							ended := f.finish(t)
							if ended.StatusCode >= 400 || strings.Contains(ended.Headers["location"], "error=") {
								t.Fatalf("the reload after the outage: %d %s %s", ended.StatusCode, ended.Headers["location"], ended.Body)
							}
						} else {
							s.clock.Advance(5 * time.Minute)
							s.sweep(t)
						}
						if n := f.exchanges(); n != 1 {
							t.Errorf("%d codes were sent to the platform", n)
						}
						if minted["confirm"] == true {
							s.wantLink(t, "afterwards", id, "pending_confirmation", "", "")
							ended := f.finish(t)
							s.confirm(t, queryValue(t, ended.Headers["location"], "confirmation"), "acme").decode(t, 200, &struct{}{})
						}
						l := s.wantLink(t, "afterwards", id, "connected", "", "")
						s.wantWorks(t, "afterwards", l.ids()[0])
						f.wantAgain(t, "afterwards", f.finish(t), f.finish(t, with("accept", browserUse)))
					})
				}
			}
		}
	}
}
