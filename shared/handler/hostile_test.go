package handler_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// TestHostile sends what a hostile browser, platform, caller or queue could.
// The names are those of SECURITY.md's table; bug reports cite them.
func TestHostile(t *testing.T) {
	t.Parallel()
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, s *stack)
	}{
		{"01_callback_without_parameters", callbackWithoutParameters},
		{"02_code_without_state", codeWithoutState},
		{"03_unknown_state_looks_like_an_expired_one", unknownState},
		{"04_state_used_twice", stateTwice},
		{"05_same_state_50_times_at_once", stateFiftyTimes},
		{"06_state_expired_a_second_ago", stateExpired},
		{"07_state_without_its_cookie_is_kept", stateWithoutCookie},
		{"08_state_with_the_cookie_of_another_flow", cookieOfAnotherFlow},
		{"09_state_of_another_platform", stateOfAnotherPlatform},
		{"10_issuer_of_somebody_else", foreignIssuer},
		{"11_error_description_is_not_repeated", errorDescription},
		{"12_error_with_unknown_state", errorWithUnknownState},
		{"14_post_to_the_callback", postToCallback},
		{"15_host_headers_change_nothing", hostHeaders},
		{"17_more_scopes_than_asked", moreScopes},
		{"18_another_account_at_the_reconnect", anotherAccount},
		{"19_reconnect_without_a_refresh_token", withoutRefreshToken},
		{"20_error_in_200", errorIn200},
		{"21_token_answers_that_are_none", brokenTokenAnswers},
		{"23_token_endpoint_that_redirects", tokenEndpointRedirects},
		{"24_identity_fails_after_the_exchange", identityFails},
		{"25_platforms_that_are_none", noPlatforms},
		{"26_links_that_are_none", noLinks},
		{"27_return_urls_elsewhere", returnURLs},
		{"29_no_page_can_be_framed", framing},
		{"30_another_owners_connection_looks_absent", anotherOwner},
		{"39_sealed_credentials_swapped", sealedSwapped},
		{"40_vault_down", vaultDown},
		{"41_schedule_twice_at_once", scheduleTwice},
		{"42_platform_that_panics", platformPanics},
		{"44_schedule_with_a_forged_list", forgedSchedule},
		{"45_notices_forged_and_replayed", forgedNotices},
		{"46_revoke_endpoint_down", revokeDown},
		{"47_one_request_in_every_payload", everyPayload},
		{"delimiters_in_names", delimiters},
		{"header_injection", headerInjection},
		{"log_injection", logInjection},
		{"cursor_of_another_owner", foreignCursor},
		{"route_key_of_another_function", foreignRouteKey},
		{"event_with_both_shapes", bothShapes},
		{"link_preview_robots", previewRobots},
		{"cookie_twice", cookieTwice},
		{"return_origin_taken_off_the_list", originTakenOff},
		{"clock_goes_back", clockGoesBack},
		{"leaked_app_secret_is_ended", leakedSecretEnded},
		{"old_data_deletion_replayed", oldDeletionReplayed},
		{"selectors_left_empty", emptySelectors},
		{"imported_client_that_is_refused", importedClientRefused},
		{"import_under_the_id_of_a_person", importUnderPerson},
		{"import_that_claims_somebody_elses_account", importClaimsAccount},
		{"import_that_borrows_the_apps_keys", importBorrowsKeys},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			attack.run(t, newStack(t))
		})
	}
}

// flow is one authorization, as far as the callback.
type flow struct {
	s                *stack
	platform         string
	callback, cookie string
}

func (s *stack) flow(t *testing.T, platform string, choice sandbox.Choice) flow {
	t.Helper()
	return s.flowOf(t, platform, s.link(t, map[string]any{"platform": platform, "owner": "acme"}), choice)
}

func (s *stack) flowOf(t *testing.T, platform, link string, choice sandbox.Choice) flow {
	t.Helper()
	callback, cookie := s.authorize(t, link, choice)
	return flow{s, platform, callback, cookie}
}

func (f flow) state() string {
	u, _ := url.Parse(f.callback)
	return u.Query().Get("state")
}

func (f flow) end(t *testing.T, changes ...change) reply {
	t.Helper()
	return f.s.do(t, http.MethodGet, f.callback, append([]change{withCookie(f.cookie)}, changes...)...)
}

// exchanges is how often a code was shown to the platform.
func (f flow) exchanges() int { return f.s.sandbox.Count(f.platform, "token/authorization_code") }

// connections returns what is stored for everybody.
func (s *stack) connections(t *testing.T) []map[string]any {
	t.Helper()
	var list struct{ Connections []map[string]any }
	s.do(t, http.MethodGet, "/connections?limit=100").decode(t, 200, &list)
	return list.Connections
}

func (s *stack) wantNothingStored(t *testing.T) {
	t.Helper()
	if list := s.connections(t); len(list) != 0 {
		t.Errorf("stored: %v", list)
	}
}

func (s *stack) show(t *testing.T, id string) (c map[string]any) {
	t.Helper()
	s.do(t, http.MethodGet, "/connections/"+id).decode(t, 200, &c)
	return c
}

// withoutID is a problem's body without the id of its invocation.
func withoutID(r reply) string { return strings.ReplaceAll(r.Body, requestID, "") }

func callbackWithoutParameters(t *testing.T, s *stack) {
	s.service.Store = nil // any use panics, and would be answered with 500
	for _, name := range platforms() {
		s.do(t, http.MethodGet, "/oauth/"+name+"/callback").refused(t, 400, connector.StateInvalid)
		page := s.do(t, http.MethodGet, "/oauth/"+name+"/callback", with("accept", browserUse))
		if page.StatusCode != 400 || !strings.HasPrefix(page.Headers["content-type"], "text/html") {
			t.Errorf("%s: %d %s", name, page.StatusCode, page.Headers["content-type"])
		}
	}
}

func codeWithoutState(t *testing.T, s *stack) {
	for _, name := range platforms() {
		s.do(t, http.MethodGet, "/oauth/"+name+"/callback?code=test-code").refused(t, 400, connector.StateInvalid)
		s.do(t, http.MethodGet, "/oauth/"+name+"/callback?code=test-code&state=").refused(t, 400, connector.StateInvalid)
		if n := s.sandbox.Count(name, ""); n != 0 || len(s.sandbox.Calls(name, "token")) != 0 {
			t.Errorf("%s was asked", name)
		}
	}
}

func unknownState(t *testing.T, s *stack) {
	expired := s.flow(t, "youtube", sandbox.Choice{})
	s.clock.Advance(11 * time.Minute)
	want := expired.end(t)
	want.refused(t, 400, connector.StateInvalid)
	unknown := strings.Repeat("A", 43)
	got := s.do(t, http.MethodGet, "/oauth/youtube/callback?code=test-code&state="+unknown, withCookie(browserCookie(unknown)+"="+unknown))
	got.refused(t, 400, connector.StateInvalid)
	if withoutID(got) != withoutID(want) || len(got.Cookies) != len(want.Cookies) {
		t.Errorf("unknown: %s\nexpired: %s", got.Body, want.Body)
	}
}

func browserCookie(state string) string {
	return connector.BrowserCookie(connector.NewSecret(state), true)
}

func stateTwice(t *testing.T, s *stack) {
	for _, name := range platforms() {
		f := s.flow(t, name, sandbox.Choice{})
		if first := f.end(t); first.StatusCode != 200 {
			t.Fatalf("%s: %d %s", name, first.StatusCode, first.Body)
		}
		f.end(t).refused(t, 400, connector.StateInvalid)
		if n := f.exchanges(); n != 1 {
			t.Errorf("%s: %d exchanges", name, n)
		}
	}
}

func stateFiftyTimes(t *testing.T, s *stack) {
	f := s.flow(t, "twitter", sandbox.Choice{})
	_, e := event(t, http.MethodGet, f.callback, withCookie(f.cookie))
	payload := encode(t, e)
	var callers sync.WaitGroup
	statuses := make(chan int, 50)
	for range 50 {
		callers.Go(func() {
			result, err := s.functions["oauth-callback"](invocation(context.WithoutCancel(t.Context())), payload)
			var r reply
			if err != nil || json.Unmarshal(result, &r) != nil {
				t.Errorf("callback: %v", err)
			}
			statuses <- r.StatusCode
		})
	}
	callers.Wait()
	close(statuses)
	count := map[int]int{}
	for status := range statuses {
		count[status]++
	}
	if count[200] != 1 || count[400] != 49 {
		t.Errorf("answers: %v", count)
	}
	if n, stored := f.exchanges(), s.connections(t); n != 1 || len(stored) != 1 {
		t.Errorf("%d exchanges, %d connections", n, len(stored))
	}
}

func stateExpired(t *testing.T, s *stack) {
	f := s.flow(t, "tiktok", sandbox.Choice{})
	s.clock.Advance(10*time.Minute + time.Second) // the store in memory sweeps nothing
	f.end(t).refused(t, 400, connector.StateInvalid)
	if n := f.exchanges(); n != 0 {
		t.Errorf("%d exchanges", n)
	}
}

func stateWithoutCookie(t *testing.T, s *stack) {
	f := s.flow(t, "youtube", sandbox.Choice{})
	before := len(s.logs.lines(t))
	s.do(t, http.MethodGet, f.callback).refused(t, 400, connector.StateInvalid)
	lines := s.logs.lines(t)[before:]
	if len(lines) != 1 || lines[0]["outcome"] != "StateInvalid" {
		t.Errorf("log: %v", lines)
	}
	if n := f.exchanges(); n != 0 {
		t.Errorf("%d exchanges", n)
	}
	if got := f.end(t); got.StatusCode != 200 {
		t.Errorf("the person's own browser: %d %s", got.StatusCode, got.Body)
	}
}

func cookieOfAnotherFlow(t *testing.T, s *stack) {
	victim, attacker := s.flow(t, "youtube", sandbox.Choice{}), s.flow(t, "youtube", sandbox.Choice{})
	_, value, _ := strings.Cut(attacker.cookie, "=")
	for name, cookie := range map[string]string{
		"as it is":              attacker.cookie,
		"under the other name":  browserCookie(victim.state()) + "=" + value,
		"the state as a cookie": browserCookie(victim.state()) + "=" + victim.state(),
		"empty":                 browserCookie(victim.state()) + "=",
	} {
		if got := s.do(t, http.MethodGet, victim.callback, withCookie(cookie)); got.StatusCode != 400 {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
	}
	if n := victim.exchanges(); n != 0 {
		t.Errorf("%d exchanges", n)
	}
	s.wantNothingStored(t)
}

func stateOfAnotherPlatform(t *testing.T, s *stack) {
	f := s.flow(t, "youtube", sandbox.Choice{})
	for _, other := range []string{"facebook", "twitter", "tiktok"} {
		mixed := strings.Replace(f.callback, "/youtube/", "/"+other+"/", 1)
		// Its own iss would give it away sooner.
		u, _ := url.Parse(mixed)
		q := u.Query()
		q.Del("iss")
		s.do(t, http.MethodGet, u.Path+"?"+q.Encode(), withCookie(f.cookie)).refused(t, 400, connector.StateInvalid)
		if n := s.sandbox.Count(other, "token"); n != 0 {
			t.Errorf("%s got the code", other)
		}
	}
	if n := f.exchanges(); n != 0 {
		t.Errorf("%d exchanges", n)
	}
}

func foreignIssuer(t *testing.T, s *stack) {
	for _, name := range platforms() {
		f := s.flow(t, name, sandbox.Choice{})
		u, _ := url.Parse(f.callback)
		q := u.Query()
		q.Set("iss", "https://evil.example")
		s.do(t, http.MethodGet, u.Path+"?"+q.Encode(), withCookie(f.cookie)).refused(t, 400, connector.StateInvalid)
		if n := f.exchanges(); n != 0 {
			t.Errorf("%s: %d exchanges", name, n)
		}
	}
}

const markup = `<script>alert("test-markup")</script>`

func errorDescription(t *testing.T, s *stack) {
	for _, name := range platforms() {
		f := s.flow(t, name, sandbox.Choice{Deny: true})
		got := s.do(t, http.MethodGet, f.callback+"&error_description="+url.QueryEscape(markup+"\r\nforged"), withCookie(f.cookie), with("accept", browserUse))
		if got.StatusCode != 403 || strings.Contains(got.Body, "test-markup") {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.Body)
		}
	}
	f := s.flow(t, "youtube", sandbox.Choice{Deny: true})
	u, _ := url.Parse(f.callback)
	q := u.Query()
	q.Set("error", markup)
	if got := s.do(t, http.MethodGet, u.Path+"?"+q.Encode(), withCookie(f.cookie), with("accept", browserUse)); got.StatusCode != 403 || strings.Contains(got.Body, "test-markup") {
		t.Errorf("as the error itself: %d %s", got.StatusCode, got.Body)
	}
	if strings.Contains(s.logs.String(), "test-markup") {
		t.Error("the log repeats it")
	}
}

func errorWithUnknownState(t *testing.T, s *stack) {
	before := len(s.logs.lines(t))
	for range 20 {
		s.do(t, http.MethodGet, "/oauth/youtube/callback?error=access_denied&state="+strings.Repeat("B", 43)).refused(t, 400, connector.StateInvalid)
	}
	if n := len(s.logs.lines(t)) - before; n != 20 {
		t.Errorf("%d log lines for 20 requests", n)
	}
	if published := s.events.All(); len(published) != 0 {
		t.Errorf("events: %v", published)
	}
}

func postToCallback(t *testing.T, s *stack) {
	f := s.flow(t, "youtube", sandbox.Choice{})
	_, query, _ := strings.Cut(f.callback, "?")
	for _, key := range []string{"$default", "POST /oauth/{platform}/callback"} {
		_, e := event(t, http.MethodGet, f.callback, withCookie(f.cookie), withBody(formType, query))
		e.RouteKey, e.RawQueryString, e.RequestContext.HTTP.Method = key, "", http.MethodPost
		if got := s.send(t, "oauth-callback", encode(t, e)); got.StatusCode != 405 || !strings.Contains(got.Headers["allow"], "GET") {
			t.Errorf("%s: %d, allow %q", key, got.StatusCode, got.Headers["allow"])
		}
	}
	if n := f.exchanges(); n != 0 {
		t.Errorf("%d exchanges", n)
	}
}

func hostHeaders(t *testing.T, s *stack) {
	evil := []change{
		with("host", "evil.example"), with("x-forwarded-host", "evil.example"), with("forwarded", "host=evil.example;proto=http"),
		with("x-forwarded-proto", "http"), with("x-original-url", "/evil"), with("accept", browserUse),
	}
	started := s.do(t, http.MethodGet, s.link(t, map[string]any{"platform": "youtube", "owner": "acme"}), evil...)
	u, _ := url.Parse(started.Headers["location"])
	if got, want := u.Query().Get("redirect_uri"), publicURL+"/oauth/youtube/callback"; got != want {
		t.Errorf("redirect_uri %q", got)
	}
	if !strings.Contains(started.Cookies[0], "; Secure") || strings.Contains(started.Cookies[0], "Domain") {
		t.Errorf("cookie %q", started.Cookies[0])
	}
	f := s.flow(t, "youtube", sandbox.Choice{})
	if got := f.end(t, evil...); got.StatusCode != 200 || strings.Contains(got.Body, "evil.example") {
		t.Errorf("%d %s", got.StatusCode, got.Body)
	}
	for _, call := range s.sandbox.Calls("youtube", "token") {
		if got := call.Form.Get("redirect_uri"); got != publicURL+"/oauth/youtube/callback" {
			t.Errorf("exchanged with %q", got)
		}
	}
	var minted struct{ URL string }
	s.do(t, http.MethodPost, "/links", append(evil, withJSON(t, map[string]any{"platform": "youtube", "owner": "acme"}))...).decode(t, 201, &minted)
	if !strings.HasPrefix(minted.URL, publicURL+"/connect/") {
		t.Error("the link leads elsewhere")
	}
}

func moreScopes(t *testing.T, s *stack) {
	s.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{
		"scope": json.RawMessage(`"user.info.basic,video.upload,video.publish,user.info.stats"`),
	}})
	id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	want := []any{"user.info.basic", "video.upload", "video.publish", "user.info.stats"}
	if got := s.show(t, id)["scopes"]; !slices.Equal(got.([]any), want) {
		t.Errorf("scopes %v, want %v", got, want)
	}
	s.do(t, http.MethodGet, "/connections/"+id+"/token?scopes=video.list").refused(t, 403, connector.ScopeMissing)
}

func anotherAccount(t *testing.T, s *stack) {
	for _, name := range []string{"youtube", "twitter", "tiktok"} {
		people := s.sandbox.People(name)
		id := s.connect(t, name, "acme", sandbox.Choice{})[0]
		before, vault := s.show(t, id), s.full(t, id)
		link := s.link(t, map[string]any{"platform": name, "owner": "acme", "connection_id": id})
		s.flowOf(t, name, link, sandbox.Choice{Account: people[1].ID}).end(t).refused(t, 409, connector.AccountMismatch)
		if after := s.show(t, id); after["revision"] != before["revision"] || after["account_id"] != before["account_id"] {
			t.Errorf("%s: %v became %v", name, before, after)
		}
		if after := s.full(t, id); after["refresh_token"] != vault["refresh_token"] {
			t.Errorf("%s: the credentials changed", name)
		}
	}
}

// full returns credentials in the brief's shape.
func (s *stack) full(t *testing.T, id string) map[string]any {
	t.Helper()
	answer, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`","full":true}`)
	if failure != nil {
		t.Fatal(failure)
	}
	return answer["credentials"].(map[string]any)
}

func withoutRefreshToken(t *testing.T, s *stack) {
	leaveOut := func() {
		s.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"refresh_token"}})
	}
	people := s.sandbox.People("youtube")
	id := s.connect(t, "youtube", "acme", sandbox.Choice{Account: people[0].ID})[0]
	kept := s.full(t, id)["refresh_token"]
	leaveOut()
	s.connect(t, "youtube", "acme", sandbox.Choice{Account: people[0].ID})
	if got := s.full(t, id)["refresh_token"]; got != kept || kept == "" {
		t.Error("the same account and client: the refresh token is gone")
	}
	leaveOut()
	other := s.connect(t, "youtube", "acme", sandbox.Choice{Account: people[1].ID})[0]
	if got := s.full(t, other)["refresh_token"]; other == id || got != "" {
		t.Error("another account has a refresh token")
	}
}

func errorIn200(t *testing.T, s *stack) {
	for _, name := range platforms() {
		for _, fault := range []sandbox.Fault{
			{Kind: sandbox.ErrorIn200},
			{Kind: sandbox.Body, Text: `{"error":{"message":"test","code":190}}`},
			{Kind: sandbox.Body, Text: `{"error":"invalid_grant","access_token":"test-token"}`},
		} {
			fault.Platform, fault.Endpoint = name, "token"
			s.sandbox.Fault(fault)
			if got := s.flow(t, name, sandbox.Choice{}).end(t); got.StatusCode < 400 || got.StatusCode == 500 {
				t.Errorf("%s, %s %s: %d %s", name, fault.Kind, fault.Text, got.StatusCode, got.Body)
			}
			s.sandbox.ClearFaults()
		}
	}
	s.wantNothingStored(t)
}

func brokenTokenAnswers(t *testing.T, s *stack) {
	for _, name := range platforms() {
		for _, kind := range []sandbox.Kind{
			sandbox.HTML, sandbox.Empty, sandbox.Oversize, sandbox.GzipBomb, sandbox.Deep, sandbox.DuplicateKeys,
			sandbox.Truncated, sandbox.Broken, sandbox.Cut,
		} {
			s.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: "token", Kind: kind})
			f := s.flow(t, name, sandbox.Choice{})
			before := f.exchanges()
			f.end(t).refused(t, 503, connector.PlatformUnavailable)
			if n := f.exchanges() - before; n != 1 {
				t.Errorf("%s, %s: the code was sent %d times", name, kind, n)
			}
			s.sandbox.ClearFaults()
		}
	}
	s.wantNothingStored(t)
}

func tokenEndpointRedirects(t *testing.T, s *stack) {
	var mu sync.Mutex
	visits := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		visits++
	}))
	defer elsewhere.Close()
	for _, name := range platforms() {
		for _, status := range []int{301, 302, 303, 307, 308} {
			s.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: "token", Kind: sandbox.Elsewhere, Status: status, Location: elsewhere.URL})
			s.flow(t, name, sandbox.Choice{}).end(t).refused(t, 503, connector.PlatformUnavailable)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if visits != 0 {
		t.Errorf("%d requests followed a redirect", visits)
	}
	s.wantNothingStored(t)
}

func identityFails(t *testing.T, s *stack) {
	identity := map[string]string{"facebook": "accounts", "youtube": "channels", "twitter": "me", "tiktok": "me"}
	revoke := map[string]string{"facebook": "revoke", "youtube": "revoke", "twitter": "revoke", "tiktok": "revoke"}
	for _, name := range platforms() {
		s.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: identity[name], Kind: sandbox.Outage})
		f := s.flow(t, name, sandbox.Choice{})
		f.end(t).refused(t, 503, connector.PlatformUnavailable)
		s.sandbox.ClearFaults()
		if n := s.sandbox.Count(name, revoke[name]); n == 0 {
			t.Errorf("%s: the grant was left behind", name)
		}
	}
	s.wantNothingStored(t)

	// Where the same person has a connection, a revocation would end that too.
	id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	before := s.sandbox.Count("tiktok", "revoke")
	s.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "me", Kind: sandbox.Outage})
	s.flow(t, "tiktok", sandbox.Choice{}).end(t).refused(t, 503, connector.PlatformUnavailable)
	if n := s.sandbox.Count("tiktok", "revoke"); n != before {
		t.Error("the connection that stands was revoked")
	}
	s.do(t, http.MethodPost, "/connections/"+id+"/refresh", withBody(jsonType, "{}")).decode(t, 200, &struct{}{})
}

func noPlatforms(t *testing.T, s *stack) {
	for _, name := range []string{"myspace", "../facebook", "FACEBOOK", "facebook ", "facebook\x00", "__proto__", "constructor", "", "facebook/../youtube", "faceboоk"} {
		if got := s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": name, "owner": "acme"})); got.StatusCode != 400 {
			t.Errorf("link for %q: %d", name, got.StatusCode)
		}
		_, e := event(t, http.MethodGet, "/oauth/x/callback?state="+strings.Repeat("A", 43))
		e.PathParameters["platform"] = name
		if got := s.send(t, "oauth-callback", encode(t, e)); got.StatusCode != 400 {
			t.Errorf("callback of %q: %d", name, got.StatusCode)
		}
		_, e = event(t, http.MethodGet, "/platforms/x")
		e.PathParameters["platform"] = name
		if got := s.send(t, "connections", encode(t, e)); got.StatusCode != 400 {
			t.Errorf("guide of %q: %d", name, got.StatusCode)
		}
	}
}

func noLinks(t *testing.T, s *stack) {
	link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme"})
	token := strings.TrimPrefix(link, "/connect/")
	flipped := []byte(token)
	flipped[20] ^= 1
	used := s.link(t, map[string]any{"platform": "youtube", "owner": "acme"})
	if got := s.flowOf(t, "youtube", used, sandbox.Choice{}).end(t); got.StatusCode != 200 {
		t.Fatalf("%d %s", got.StatusCode, got.Body)
	}
	expired := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "expires_in": 1})
	s.clock.Advance(2 * time.Second)
	var bodies []string
	for name, target := range map[string]string{
		"unknown":              "/connect/" + strings.Repeat("C", 43),
		"one bit off":          "/connect/" + string(flipped),
		"used":                 used,
		"expired":              expired,
		"short":                "/connect/" + token[:42],
		"long":                 "/connect/" + token + "A",
		"padded":               "/connect/" + token + "=",
		"JWT with alg=none":    "/connect/eyJhbGciOiJub25lIn0.eyJvd25lciI6ImFjbWUifQ.",
		"its hash":             "/connect/" + fmt.Sprintf("%x", sha256.Sum256([]byte(token))),
		"traversal":            "/connect/..%2f..%2fconnections",
		"line break":           "/connect/" + token[:40] + "%0d%0a",
		"byte that is no text": "/connect/" + token[:42] + "%ff",
	} {
		got := s.do(t, http.MethodGet, target)
		got.refused(t, 410, connector.LinkGone)
		if len(got.Cookies) != 0 {
			t.Errorf("%s: a cookie was set", name)
		}
		bodies = append(bodies, withoutID(got))
	}
	if slices.Sort(bodies); len(slices.Compact(bodies)) != 1 {
		t.Errorf("they are told apart: %q", bodies)
	}
	if got := s.do(t, http.MethodGet, link); got.StatusCode != 302 {
		t.Errorf("the good one: %d", got.StatusCode)
	}
}

// Return URLs that must not be taken where https://product.example.com is
// allowed.
var foreignReturnURLs = []string{
	"//evil.example", "///evil.example", "/done", "done", "?x", "#x", "https:evil.example", "https:/evil.example", "https:///evil.example",
	"https://product.example.com.evil.example/", "https://evil.example/product.example.com", "https://evil.example?https://product.example.com",
	"https://product.example.com@evil.example/", "https://product.example.com:x@evil.example/", "https://user@product.example.com/", "https://@product.example.com/",
	`https://product.example.com\@evil.example`, `\\evil.example`, `https:\\evil.example`, `https://product.example.com\.evil.example`,
	"javascript:alert(1)", "javascript://product.example.com/%0aalert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "ftp://product.example.com/", "blob:https://product.example.com/x",
	"https://product.example.com/%0d%0aSet-Cookie:x=y", "https://product.example.com/?a=%0aLocation:x", "https://product.example.com/%00", "https://product.example.com/\r\nX: y",
	"https://product.example.com\t/", "\thttps://product.example.com/", " https://product.example.com/", "https://product.example.com/ x", "ht\ntps://product.example.com/",
	"https://product。example.com/", "https://product.example.com。/", "https://product.example.com/\u202e", "https://prоduct.example.com/", "https://product%2eexample.com/", "https://product.example%E3%80%82com/",
	"https://product.example.com./", "https://product.example.com:8443/", "https://product.example.com:443/", "https://product.example.com:/", "https://product.example.com:99999/", "http://product.example.com/", "http://product.example.com:443/",
	"https://product.example.com/#fragment", "https://[::1]/", "https://127.0.0.1/", "https://0x7f000001/", "https://sub.product.example.com/", "https://example.com/", "https://*.example.com/",
	"https://product.example.com/" + strings.Repeat("a", 2100),
}

func returnURLs(t *testing.T, s *stack) {
	for _, target := range foreignReturnURLs {
		_, e := event(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": target}))
		got := s.send(t, "connections", encode(t, e))
		var p problem
		if json.Unmarshal([]byte(got.Body), &p) != nil || got.StatusCode != 400 || !strings.HasPrefix(p.Detail, "return_url:") {
			t.Errorf("%.80q: %d %s", target, got.StatusCode, got.Body)
		}
	}
	f := s.flowOf(t, "youtube", s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL}), sandbox.Choice{})
	f.callback += "&return_url=https%3A%2F%2Fevil.example&redirect_uri=https%3A%2F%2Fevil.example"
	if got := f.end(t).Headers["location"]; !strings.HasPrefix(got, returnURL) || strings.Contains(got, "evil") {
		t.Errorf("the callback's query sends to %q", got)
	}
}

func framing(t *testing.T, s *stack) {
	link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme"})
	f := s.flow(t, "youtube", sandbox.Choice{})
	page := with("accept", browserUse)
	for name, got := range map[string]reply{
		"start": s.do(t, http.MethodGet, link, page), "gone": s.do(t, http.MethodGet, "/connect/x", page),
		"connected": f.end(t, page), "refused": f.end(t, page), "operator's": s.do(t, http.MethodGet, "/platforms"),
		"not found": s.do(t, http.MethodGet, "/platforms/facebook/data-deletion/x", page),
	} {
		for header, want := range map[string]string{
			"content-security-policy": "frame-ancestors 'none'", "cache-control": "no-store", "referrer-policy": "no-referrer",
			"x-content-type-options": "nosniff", "strict-transport-security": "max-age",
		} {
			if !strings.Contains(got.Headers[header], want) {
				t.Errorf("%s: %s is %q", name, header, got.Headers[header])
			}
		}
	}
}

func anotherOwner(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	_, foreign := s.invoke(t, "token-get", `{"connection_id":"`+id+`","owner":"mallory"}`)
	_, absent := s.invoke(t, "token-get", `{"connection_id":"`+unknownID+`","owner":"mallory"}`)
	if foreign == nil || absent == nil || foreign.Message != absent.Message || absent.Type != foreign.Type || foreign.Type != "ConnectionNotFound" {
		t.Errorf("foreign: %+v, absent: %+v", foreign, absent)
	}
	for _, selector := range []string{
		`{"owner":"mallory","platform":"youtube"}`, `{"owner":"ACME","platform":"youtube"}`, `{"owner":"acme ","platform":"youtube"}`,
		`{"owner":"mallory","platform":"youtube","account_id":"UCsandbox-channel-one-01"}`,
	} {
		if _, failure := s.invoke(t, "token-get", selector); failure == nil || failure.Type != "ConnectionNotFound" {
			t.Errorf("%s: %+v", selector, failure)
		}
	}
	for _, body := range []string{
		`{"platform":"youtube","owner":"mallory","connection_id":"` + id + `"}`,
		`{"platform":"youtube","owner":"mallory","connection_id":"` + unknownID + `"}`,
	} {
		s.do(t, http.MethodPost, "/links", withBody(jsonType, body)).refused(t, 404, connector.ConnectionNotFound)
	}
}

func sealedSwapped(t *testing.T, s *stack) {
	var records [2]connector.Connection
	for i, owner := range []string{"acme", "mallory"} {
		id := connector.ID(s.connect(t, "youtube", owner, sandbox.Choice{})[0])
		c, err := s.store.Connection(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		value, _, err := s.vault.Get(t.Context(), "connections/"+string(id), "")
		if err != nil {
			t.Fatal(err)
		}
		purpose := fmt.Sprintf("credentials %s generation %d", id, c.Generation)
		if c.Sealed, err = s.service.Sealer.Seal(t.Context(), value, purpose); err != nil {
			t.Fatal(err)
		}
		records[i] = c
	}
	if c, err := s.store.Update(t.Context(), records[1]); err != nil {
		t.Fatal(err)
	} else if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+string(c.ID)+`"}`); failure != nil {
		t.Fatalf("its own: %v", failure)
	}
	records[0].Sealed = records[1].Sealed
	swapped, err := s.store.Update(t.Context(), records[0])
	if err != nil {
		t.Fatal(err)
	}
	_, failure := s.invoke(t, "token-get", `{"connection_id":"`+string(swapped.ID)+`"}`)
	if failure == nil || failure.Type != "Internal" {
		t.Errorf("swapped: %+v", failure)
	}
	if !strings.Contains(s.logs.String(), `"level":"ERROR"`) {
		t.Error("nothing rings")
	}
}

// brokenVault fails every call.
type brokenVault struct{ connector.Vault }

func (brokenVault) Get(context.Context, string, string) (connector.Secret, string, error) {
	return connector.Secret{}, "", errors.New("AccessDeniedException: the key is disabled")
}

func vaultDown(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	s.service.Vault = brokenVault{s.vault}
	answer, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
	if failure == nil || failure.Type != "Internal" || strings.Contains(failure.Message, "key is disabled") {
		t.Errorf("%v, %+v", answer, failure)
	}
	s.service.Vault = s.vault
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure != nil {
		t.Errorf("afterwards: %v", failure)
	}
	if got := s.show(t, id)["status"]; got != "active" {
		t.Errorf("status %v", got)
	}
}

func scheduleTwice(t *testing.T, s *stack) {
	id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
	s.clock.Advance(7000 * time.Second)
	var schedulers sync.WaitGroup
	for range 5 {
		schedulers.Go(func() {
			if _, err := s.functions["refresh"](invocation(context.WithoutCancel(t.Context())), []byte("{}")); err != nil {
				t.Errorf("refresh: %v", err)
			}
		})
	}
	schedulers.Wait()
	if queued := s.queue.Drain(); len(queued) != 1 || string(queued[0]) != id {
		t.Errorf("queued: %v", queued)
	}
	message := events.SQSMessage{MessageId: "1", Body: `{"connection_id":"` + id + `"}`}
	again := message
	again.MessageId = "2"
	for range 2 {
		if answer, failure := s.invoke(t, "refresh-worker", string(encode(t, events.SQSEvent{Records: []events.SQSMessage{message, again}}))); failure != nil || len(answer["batchItemFailures"].([]any)) != 0 {
			t.Errorf("%v, %v", answer, failure)
		}
	}
	if n := s.sandbox.Count("twitter", "token/refresh_token"); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

// panicking is a platform with a defect.
type panicking struct{ connector.Platform }

func (panicking) Refresh(context.Context, connector.App, connector.Credentials) (connector.Credentials, error) {
	panic(explosive)
}

func platformPanics(t *testing.T, s *stack) {
	poison := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	sound := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
	s.service.Platforms = slices.Clone(s.service.Platforms)
	for i, p := range s.service.Platforms {
		if p.Describe().Name == "youtube" {
			s.service.Platforms[i] = panicking{p}
		}
	}
	s.clock.Advance(7100 * time.Second)
	batch := events.SQSEvent{}
	for _, id := range []string{poison, sound} {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: id, Body: `{"connection_id":"` + id + `"}`})
	}
	answer, failure := s.invoke(t, "refresh-worker", string(encode(t, batch)))
	if failure != nil {
		t.Fatal(failure)
	}
	failures, _ := answer["batchItemFailures"].([]any)
	if len(failures) != 1 || failures[0].(map[string]any)["itemIdentifier"] != poison {
		t.Errorf("failures: %v", failures)
	}
	if s.show(t, sound)["last_refreshed_at"] == nil {
		t.Error("the other connection was not refreshed")
	}
	if strings.Contains(s.logs.String(), explosive) {
		t.Error("the log holds what the platform panicked with")
	}
}

func forgedSchedule(t *testing.T, s *stack) {
	id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
	answer, failure := s.invoke(t, "refresh", `{"detail":{"connection_ids":["`+id+`"]},"connection_id":"`+id+`","Records":[{"body":"{\"connection_id\":\"`+id+`\"}"}]}`)
	if failure != nil || answer["queued"] != 0.0 || len(s.queue.Drain()) != 0 {
		t.Errorf("%v, %v", answer, failure)
	}
	s.do(t, http.MethodGet, "/connections/"+id).decode(t, 200, &struct{}{})
	if _, failure := s.invoke(t, "refresh-worker", `{"Records":[{"messageId":"1","body":"{\"connection_id\":\"`+id+`\"}"}]}`); failure != nil {
		t.Fatal(failure)
	}
	if n := s.sandbox.Count("twitter", "token/refresh_token"); n != 0 {
		t.Error("a connection that is not due was refreshed")
	}
}

// metaSigned is a signed_request as Meta makes it.
func metaSigned(secret, payload string) string {
	encoded := base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(encoded))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + encoded
}

func forgedNotices(t *testing.T, s *stack) {
	person := s.sandbox.People("facebook")[0].ID
	id := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	s.clock.Advance(time.Minute)
	secret := s.sandbox.AppOf("facebook").ClientSecret
	payload := fmt.Sprintf(`{"algorithm":"HMAC-SHA256","user_id":"%s","issued_at":%d}`, person, s.clock.Now().Unix())
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(payload, "HMAC-SHA256", "none", 1)))
	good := metaSigned(secret, payload)
	for name, forged := range map[string]string{
		"of another app":           metaSigned("test-other-secret", payload),
		"with an empty key":        metaSigned("", payload),
		"algorithm none, unsigned": "." + unsigned,
		"algorithm none, signed":   metaSigned(secret, strings.Replace(payload, "HMAC-SHA256", "none", 1)),
		"algorithm in small":       metaSigned(secret, strings.Replace(payload, "HMAC-SHA256", "hmac-sha1", 1)),
		"no algorithm":             metaSigned(secret, `{"user_id":"`+person+`"}`),
		"two users":                metaSigned(secret, `{"algorithm":"HMAC-SHA256","user_id":"1","user_id":"`+person+`"}`),
		"user as an object":        metaSigned(secret, `{"algorithm":"HMAC-SHA256","user_id":{"id":"`+person+`"}}`),
		"parts swapped":            swapParts(good),
		"signature cut":            good[4:],
		"payload of another":       strings.Split(good, ".")[0] + "." + strings.Split(metaSigned("x", strings.Replace(payload, person, "1", 1)), ".")[1],
		"empty":                    "",
	} {
		for _, target := range []string{"/platforms/facebook/deauthorize", "/platforms/facebook/data-deletion"} {
			_, e := event(t, http.MethodPost, target, withBody(formType, url.Values{"signed_request": {forged}}.Encode()))
			if got := s.send(t, "platform-notice", encode(t, e)); got.StatusCode != 401 && got.StatusCode != 400 {
				t.Errorf("%s to %s: %d %s", name, target, got.StatusCode, got.Body)
			}
		}
	}
	if got := status(t, s, id); got != "active" {
		t.Fatalf("a forged notice made it %s", got)
	}

	form := withBody(formType, url.Values{"signed_request": {good}}.Encode())
	first := s.do(t, http.MethodPost, "/platforms/facebook/data-deletion", form)
	s.clock.Advance(time.Minute)
	again := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	replayed := s.do(t, http.MethodPost, "/platforms/facebook/data-deletion", form)
	if first.StatusCode != 200 || replayed.Body != first.Body {
		t.Errorf("the same deletion again: %d %s, before %s", replayed.StatusCode, replayed.Body, first.Body)
	}
	s.do(t, http.MethodPost, "/platforms/facebook/deauthorize", form)
	if got := status(t, s, again); got != "active" {
		t.Errorf("a replay made what was connected since %s", got)
	}
}

func revokeDown(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	s.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "revoke", Kind: sandbox.Outage, Times: 2})
	if got := s.do(t, http.MethodDelete, "/connections/"+id); got.StatusCode != 204 {
		t.Fatalf("%d %s", got.StatusCode, got.Body)
	}
	if c := s.show(t, id); c["status"] != "disconnected" || c["status_reason"] != "revocation_pending" {
		t.Errorf("%v", c)
	}
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure == nil {
		t.Error("a token after the disconnect")
	}
	for range 2 {
		s.clock.Advance(2 * time.Hour)
		if _, failure := s.invoke(t, "refresh", `{}`); failure != nil {
			t.Fatal(failure)
		}
		for _, due := range s.queue.Drain() {
			batch := events.SQSEvent{Records: []events.SQSMessage{{MessageId: "1", Body: `{"connection_id":"` + string(due) + `"}`}}}
			if _, failure := s.invoke(t, "refresh-worker", string(encode(t, batch))); failure != nil {
				t.Fatal(failure)
			}
		}
	}
	if n := s.sandbox.Count("youtube", "revoke"); n != 3 {
		t.Errorf("%d revocations were tried, want 3", n)
	}
	if got := s.show(t, id)["status_reason"]; got != "" {
		t.Errorf("status_reason %v", got)
	}
}

func everyPayload(t *testing.T, s *stack) {
	give := map[string]func(f flow, e *events.APIGatewayV2HTTPRequest){
		"cookies as an array": func(f flow, e *events.APIGatewayV2HTTPRequest) { e.Cookies = []string{f.cookie} },
		"cookie as a header":  func(f flow, e *events.APIGatewayV2HTTPRequest) { e.Headers["cookie"] = "a=b; " + f.cookie },
		"header in capitals":  func(f flow, e *events.APIGatewayV2HTTPRequest) { e.Headers["COOKIE"] = f.cookie },
		"no requestContext": func(f flow, e *events.APIGatewayV2HTTPRequest) {
			e.Cookies = []string{f.cookie}
			e.RequestContext = events.APIGatewayV2HTTPRequestContext{}
		},
		"parsed query alone": func(f flow, e *events.APIGatewayV2HTTPRequest) {
			e.Cookies = []string{f.cookie}
			q, _ := url.ParseQuery(e.RawQueryString)
			e.RawQueryString, e.QueryStringParameters = "", map[string]string{}
			for name := range q {
				e.QueryStringParameters[name] = q.Get(name)
			}
		},
		"empty base64 body": func(f flow, e *events.APIGatewayV2HTTPRequest) {
			e.Cookies = []string{f.cookie}
			e.IsBase64Encoded = true
		},
	}
	for name, change := range give {
		f := s.flow(t, "youtube", sandbox.Choice{})
		_, e := event(t, http.MethodGet, f.callback)
		change(f, &e)
		if got := s.send(t, "oauth-callback", encode(t, e)); got.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.Body)
		}
	}
}

func delimiters(t *testing.T, s *stack) {
	owners := []string{"a", "a#youtube", "a|b", "a:b", "a/b", "a\\b", "a b", "a\"b", "a'b", "a%23b", "é", "e\u0301", "日本", "*", "..", "{}", "$where", "connection#x", "account#"}
	ids := map[string]string{}
	for _, owner := range owners {
		id := s.connect(t, "youtube", owner, sandbox.Choice{})[0]
		if other, taken := ids[id]; taken {
			t.Errorf("%q and %q share a connection", owner, other)
		}
		ids[id] = owner
	}
	for id, owner := range ids {
		answer, failure := s.invoke(t, "token-get", string(encode(t, map[string]string{"owner": owner, "platform": "youtube"})))
		if failure != nil || answer["connection_id"] != id || answer["owner"] != owner {
			t.Errorf("%q: %v, %v", owner, answer["owner"], failure)
		}
	}
	for _, owner := range []string{"", "a\nb", "a\rb", "a\tb", "a\x00b", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\u200bb", "a\u0085b", "a\ufffd", strings.Repeat("a", 129), strings.Repeat("日", 129)} {
		s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": owner})).refused(t, 400, connector.InvalidRequest)
		if _, failure := s.invoke(t, "token-get", string(encode(t, map[string]string{"owner": owner, "platform": "youtube"}))); failure == nil || failure.Type != "InvalidRequest" {
			t.Errorf("%q: %+v", owner, failure)
		}
	}
	s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": strings.Repeat("日", 128)})).decode(t, 201, &struct{}{})
}

func headerInjection(t *testing.T, s *stack) {
	link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": "https://product.example.com/done?a=b;c=d&x=%20%22%3C"})
	f := s.flowOf(t, "youtube", link, sandbox.Choice{})
	f.callback += "&scope=" + url.QueryEscape("x\r\nSet-Cookie: a=b")
	got := f.end(t, with("accept", browserUse), with("user-agent", "x\r\ny"))
	if got.StatusCode != 302 {
		t.Fatalf("%d %s", got.StatusCode, got.Body)
	}
	for name, value := range got.Headers {
		if strings.ContainsFunc(name+value, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: %q", name, value)
		}
	}
	if len(got.Cookies) != 1 {
		t.Errorf("cookies %q", got.Cookies)
	}
}

func logInjection(t *testing.T, s *stack) {
	forged := "x\n{\"level\":\"ERROR\",\"msg\":\"test-forged\"}\x1b[2J"
	q := url.QueryEscape(forged)
	send := func(method, target string, changes ...change) {
		_, e := event(t, method, target, changes...)
		e.RawPath = forged
		e.RequestContext.RequestID, e.RequestContext.HTTP.UserAgent = forged, forged
		for _, function := range []string{"oauth-start", "oauth-callback", "connections", "platform-notice", "token-get"} {
			s.send(t, function, encode(t, e))
		}
	}
	send("GET", "/oauth/youtube/callback?state="+q+"&error="+q+"&iss="+q, with("user-agent", forged), with("cookie", forged))
	send("GET", "/connect/"+url.PathEscape(forged))
	send("GET", "/connections?"+q+"="+q)
	send("GET", "/connections/"+url.PathEscape(forged)+"/token?scopes="+q)
	send("POST", "/links", withJSON(t, map[string]any{forged: forged}))
	send("POST", "/connections", withJSON(t, map[string]any{"platform": "youtube", "owner": "a", "credentials": map[string]any{forged: []int{}}}))
	send("POST", "/connections", withJSON(t, map[string]any{"platform": "youtube", "owner": "a", "credentials": map[string]any{forged: forged}}))
	send("POST", "/platforms/tiktok/webhook", withBody(jsonType, forged), with("tiktok-signature", forged))
	for _, line := range s.logs.lines(t) { // one that was broken in two would not parse
		if line["msg"] == "test-forged" {
			t.Error("a line was forged")
		}
	}
	if strings.Contains(s.logs.String(), "test-forged") {
		t.Error("the log repeats what came in")
	}
}

func foreignCursor(t *testing.T, s *stack) {
	for range 3 {
		s.connect(t, "youtube", "acme", sandbox.Choice{})
	}
	for _, person := range s.sandbox.People("youtube")[:2] {
		s.connect(t, "youtube", "mallory", sandbox.Choice{Account: person.ID})
	}
	var page struct {
		Connections []map[string]any
		NextCursor  string `json:"next_cursor"`
	}
	s.do(t, http.MethodGet, "/connections?owner=mallory&limit=1").decode(t, 200, &page)
	_, e := event(t, http.MethodGet, "/connections?owner=acme&cursor="+url.QueryEscape(page.NextCursor))
	got := s.send(t, "connections", encode(t, e))
	if got.StatusCode == 200 && strings.Contains(got.Body, "mallory") || got.StatusCode >= 500 {
		t.Errorf("%d %s", got.StatusCode, got.Body)
	}
}

func foreignRouteKey(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	_, token := event(t, http.MethodGet, "/connections/"+id+"/token")
	_, list := event(t, http.MethodGet, "/connections")
	for function := range map[string]bool{"oauth-start": true, "oauth-callback": true, "platform-notice": true, "connections": true} {
		if got := s.send(t, function, encode(t, token)); got.StatusCode != 404 || strings.Contains(got.Body, "access_token") {
			t.Errorf("%s hands out tokens: %d %s", function, got.StatusCode, got.Body)
		}
		if function == "connections" {
			continue
		}
		if got := s.send(t, function, encode(t, list)); got.StatusCode != 404 {
			t.Errorf("%s lists: %d %s", function, got.StatusCode, got.Body)
		}
	}
	// The path is not what decides.
	_, gone := event(t, http.MethodGet, "/connect/x")
	gone.RawPath, gone.RequestContext.HTTP.Path = "/connections/"+id+"/token", "/connections/"+id+"/token"
	gone.PathParameters["id"] = id
	s.send(t, "oauth-start", encode(t, gone)).refused(t, 410, connector.LinkGone)
}

func bothShapes(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	for name, payload := range map[string]string{
		"a route key on top":    `{"connection_id":"` + id + `","routeKey":"GET /connections/{id}/token"}`,
		"a context on top":      `{"connection_id":"` + id + `","requestContext":null}`,
		"a method on top":       `{"connection_id":"` + id + `","httpMethod":"GET"}`,
		"a route of another":    `{"version":"2.0","routeKey":"GET /connections","pathParameters":{"id":"` + id + `"}}`,
		"an id in another case": `{"Connection_ID":"` + id + `"}`,
		"Records":               `{"Records":[{"body":"{\"connection_id\":\"` + id + `\"}"}]}`,
		"a list of payloads":    `[{"connection_id":"` + id + `"}]`,
	} {
		answer, failure := s.invoke(t, "token-get", payload)
		if failure == nil && answer["statusCode"] == 200.0 || answer["access_token"] != nil {
			t.Errorf("%s: %v", name, answer)
		}
	}
}

func previewRobots(t *testing.T, s *stack) {
	f := s.flowOf(t, "youtube", s.link(t, map[string]any{"platform": "youtube", "owner": "acme"}), sandbox.Choice{})
	link := s.link(t, map[string]any{"platform": "tiktok", "owner": "acme"})
	for _, robot := range []string{"Slackbot-LinkExpanding 1.0", "facebookexternalhit/1.1", "Twitterbot/1.0", "WhatsApp/2", "SkypeUriPreview", ""} {
		if got := s.do(t, http.MethodGet, link, with("user-agent", robot)); got.StatusCode != 302 {
			t.Errorf("%s at the link: %d", robot, got.StatusCode)
		}
		if got := s.do(t, http.MethodGet, f.callback, with("user-agent", robot)); got.StatusCode != 400 {
			t.Errorf("%s at the callback: %d", robot, got.StatusCode)
		}
	}
	if got := f.end(t); got.StatusCode != 200 {
		t.Errorf("the state is spent: %d %s", got.StatusCode, got.Body)
	}
	if got := s.flowOf(t, "tiktok", link, sandbox.Choice{}).end(t); got.StatusCode != 200 {
		t.Errorf("the link is spent: %d %s", got.StatusCode, got.Body)
	}
}

func cookieTwice(t *testing.T, s *stack) {
	f := s.flow(t, "youtube", sandbox.Choice{})
	name, _, _ := strings.Cut(f.cookie, "=")
	forged := name + "=" + strings.Repeat("D", 43)
	if got := s.do(t, http.MethodGet, f.callback, withCookie(forged), withCookie(f.cookie)); got.StatusCode != 400 && got.StatusCode != 200 {
		t.Errorf("%d %s", got.StatusCode, got.Body)
	}
	if n := len(s.connections(t)); n > f.exchanges() {
		t.Errorf("%d connections", n)
	}
}

func originTakenOff(t *testing.T, s *stack) {
	f := s.flowOf(t, "youtube", s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL}), sandbox.Choice{})
	s.service.ReturnOrigins = nil
	if got := f.end(t); got.StatusCode != 200 || got.Headers["location"] != "" {
		t.Errorf("%d, to %q", got.StatusCode, got.Headers["location"])
	}
}

func clockGoesBack(t *testing.T, s *stack) {
	id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
	f := s.flow(t, "youtube", sandbox.Choice{})
	s.clock.Advance(-24 * time.Hour)
	if got := f.end(t); got.StatusCode >= 500 {
		t.Errorf("callback: %d %s", got.StatusCode, got.Body)
	}
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure != nil {
		t.Errorf("token: %v", failure)
	}
	if _, failure := s.invoke(t, "refresh", `{}`); failure != nil {
		t.Errorf("refresh: %v", failure)
	}
}

func swapParts(signed string) string {
	signature, payload, _ := strings.Cut(signed, ".")
	return payload + "." + signature
}

func leakedSecretEnded(t *testing.T, s *stack) {
	app := s.sandbox.AppOf("facebook")
	leaked := withBody(formType, url.Values{"signed_request": {metaSigned(app.ClientSecret, `{"algorithm":"HMAC-SHA256","user_id":"1"}`)}}.Encode())
	put := func(id, secret string) {
		t.Helper()
		s.do(t, http.MethodPut, "/platforms/facebook/app", withJSON(t, map[string]any{"client_id": id, "client_secret": secret, "mode": "live"})).decode(t, 200, &struct{}{})
	}
	put(app.ClientID, "test-new-secret")
	if got := s.do(t, http.MethodPost, "/platforms/facebook/deauthorize", leaked); got.StatusCode != 200 {
		t.Errorf("while it is being rotated: %d %s", got.StatusCode, got.Body)
	}
	put("another", "test-new-secret")
	put(app.ClientID, "test-new-secret")
	s.do(t, http.MethodPost, "/platforms/facebook/deauthorize", leaked).refused(t, 401, connector.InvalidRequest)
}

// bring imports credentials that nobody asks the platform about, and returns
// the connection's id.
func (s *stack) bring(t *testing.T, platform, owner string, credentials map[string]string) string {
	t.Helper()
	var imported struct{ Connections []struct{ ID string } }
	s.do(t, http.MethodPost, "/connections", withJSON(t, map[string]any{
		"platform": platform, "owner": owner, "verify": false, "credentials": credentials,
	})).decode(t, 201, &imported)
	return imported.Connections[0].ID
}

func importedClientRefused(t *testing.T, s *stack) {
	for name, id := range map[string]string{"youtube": "client_id", "twitter": "client_id", "tiktok": "client_key"} {
		brought := map[string]string{id: "test-no-such-client", "client_secret": "test-secret", "access_token": "test-access", "refresh_token": "test-refresh"}
		if name == "tiktok" {
			brought["open_id"] = "test-open-id"
		}
		sound := s.connect(t, name, "acme", sandbox.Choice{})[0]
		s.clock.Advance(25 * time.Hour) // to where its token must be renewed
		refused := s.bring(t, name, "mallory", brought)
		for range 8 {
			s.do(t, http.MethodPost, "/connections/"+refused+"/refresh").refused(t, 502, connector.AppMisconfigured)
			s.clock.Advance(5 * time.Second)
		}
		s.do(t, http.MethodGet, "/connections/"+sound+"/token").decode(t, 200, &struct{}{})

		// After an outage it does not keep others from finding out that it is over.
		s.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: "token/refresh_token", Kind: sandbox.Outage, Times: -1})
		for range 10 {
			s.do(t, http.MethodPost, "/connections/"+sound+"/refresh")
			s.clock.Advance(time.Minute)
		}
		s.sandbox.ClearFaults()
		s.clock.Advance(2 * time.Hour)
		s.do(t, http.MethodPost, "/connections/"+refused+"/refresh").refused(t, 502, connector.AppMisconfigured)
		s.do(t, http.MethodGet, "/connections/"+sound+"/token").decode(t, 200, &struct{}{})

		// It is refused alone, and asked about ever more rarely.
		if c := s.show(t, refused); c["status"] != "active" || c["failures"] == 0.0 {
			t.Errorf("%s: %v", name, c)
		}
	}
}

func importUnderPerson(t *testing.T, s *stack) {
	person := s.sandbox.People("facebook")[0].ID
	pages := s.full(t, s.connect(t, "facebook", "acme", sandbox.Choice{})[0])
	elsewhere := newStack(t)
	elsewhere.service.Platforms = s.service.Platforms // another deployment, which knows nobody by name
	sound := elsewhere.bring(t, "facebook", "acme", map[string]string{
		"page_id": pages["page_id"].(string), "page_access_token": pages["page_access_token"].(string),
	})
	forged := elsewhere.bring(t, "facebook", "mallory", map[string]string{"page_id": person, "page_access_token": "test-token"})
	if got := elsewhere.do(t, http.MethodDelete, "/connections/"+forged); got.StatusCode != 204 {
		t.Errorf("%d %s", got.StatusCode, got.Body)
	}
	if n := s.sandbox.Count("facebook", "revoke"); n != 0 {
		t.Errorf("what the person granted was revoked %d times", n)
	}
	elsewhere.do(t, http.MethodPost, "/connections/"+sound+"/verify").decode(t, 200, &struct{}{})
}

func oldDeletionReplayed(t *testing.T, s *stack) {
	person, app := s.sandbox.People("facebook")[0].ID, s.sandbox.AppOf("facebook")
	first := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	s.clock.Advance(time.Minute)
	form := withBody(formType, url.Values{"signed_request": {metaSigned(app.ClientSecret,
		fmt.Sprintf(`{"algorithm":"HMAC-SHA256","user_id":"%s","issued_at":%d}`, person, s.clock.Now().Unix()))}}.Encode())
	replay := func() {
		t.Helper()
		s.do(t, http.MethodPost, "/platforms/facebook/data-deletion", form).decode(t, 200, &struct{}{})
	}
	replay()
	s.do(t, http.MethodGet, "/connections/"+first).refused(t, 404, connector.ConnectionNotFound)

	s.clock.Advance(time.Minute)
	again := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	s.clock.Advance(91 * 24 * time.Hour) // to where nobody can ask for its status any more
	replay()
	if got := status(t, s, again); got != "active" {
		t.Errorf("after its status ended, a replay made what was connected since %s", got)
	}
	s.do(t, http.MethodPut, "/platforms/facebook/app", withJSON(t, map[string]any{
		"client_id": app.ClientID, "client_secret": "test-new-secret",
	})).decode(t, 200, &struct{}{})
	replay()
	if got := status(t, s, again); got != "active" {
		t.Errorf("after the app's secret was replaced, a replay made what was connected since %s", got)
	}
}

func emptySelectors(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	for _, payload := range []string{
		`{"connection_id":"` + id + `","owner":""}`,
		`{"connection_id":"` + id + `","platform":""}`,
		`{"connection_id":"` + id + `","account_id":""}`,
		`{"connection_id":"","owner":"acme","platform":"youtube"}`,
		`{"owner":"acme","platform":"youtube","account_id":""}`,
	} {
		if answer, failure := s.invoke(t, "token-get", payload); failure == nil || failure.Type != "InvalidRequest" || !strings.HasSuffix(failure.Message, ": empty") {
			t.Errorf("%s: %v, %+v", payload, answer["owner"], failure)
		}
	}
	_, e := event(t, http.MethodPost, "/links", withBody(jsonType, `{"platform":"youtube","owner":"acme","connection_id":""}`))
	s.send(t, "connections", encode(t, e)).refused(t, 400, connector.InvalidRequest)
}

func importClaimsAccount(t *testing.T, s *stack) {
	id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	person := s.account(t, id)
	forged := s.bring(t, "tiktok", "mallory", map[string]string{"open_id": person, "access_token": "test-access", "refresh_token": "test-refresh"})

	// It does not tell its owner what becomes of the person's own.
	s.clock.Advance(time.Minute)
	body, signature := s.sandbox.TikTokNotice("authorization.removed", person)
	s.do(t, http.MethodPost, "/platforms/tiktok/webhook", withBody(jsonType, string(body)), with("tiktok-signature", signature)).decode(t, 200, &struct{}{})
	if got := [2]string{status(t, s, id), status(t, s, forged)}; got != [2]string{"needs_reauth", "active"} {
		t.Errorf("after the person removed the app: %v", got)
	}

	// Nor does it keep their grant from being revoked.
	s.clock.Advance(time.Minute)
	again := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	if got := s.do(t, http.MethodDelete, "/connections/"+again); got.StatusCode != 204 || s.sandbox.Count("tiktok", "revoke") != 1 {
		t.Errorf("%d, %d revocations, want 1", got.StatusCode, s.sandbox.Count("tiktok", "revoke"))
	}
}

func importBorrowsKeys(t *testing.T, s *stack) {
	app := s.sandbox.AppOf("twitter").Extras
	user := map[string]string{"access_token": "1-test", "access_token_secret": "test-secret"}
	for _, brought := range []map[string]string{
		{},
		{"api_key": app["api_key"]},
		{"api_key": app["api_key"], "api_secret": "test-guess"},
		{"api_secret": "test-guess"},
		{"api_key": app["api_key"], "bearer_token": app["bearer_token"]},
	} {
		credentials := maps.Clone(user)
		maps.Copy(credentials, brought)
		s.do(t, http.MethodPost, "/connections", withJSON(t, map[string]any{
			"platform": "twitter", "owner": "mallory", "verify": false, "credentials": credentials,
		})).refused(t, 400, connector.InvalidRequest)
	}
	user["api_key"], user["api_secret"] = app["api_key"], app["api_secret"]
	s.bring(t, "twitter", "acme", user)
}
