package hostiletest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// scenarios are the hostile exchanges of more than one request.
var scenarios = []struct {
	name string
	run  func(t *testing.T, c *client)
}{
	{"03_unknown_state_looks_like_a_spent_one", unknownStateLooksSpent},
	{"04_state_used_twice", stateTwice},
	{"05_same_state_50_times_at_once", state50Times},
	{"07_state_without_its_cookie_is_kept", stateWithoutCookie},
	{"08_state_with_the_cookie_of_another_flow", cookieOfAnotherFlow},
	{"09_state_of_another_platform", stateOfAnotherPlatform},
	{"10_issuer_of_somebody_else", foreignIssuer},
	{"11_error_description_is_not_repeated", errorDescription},
	{"15_host_headers_change_nothing", hostHeaders},
	{"17_more_scopes_than_asked", moreScopes},
	{"18_another_account_at_the_reconnect", anotherAccount},
	{"19_reconnect_without_a_refresh_token", reconnectWithoutRefreshToken},
	{"20_error_in_200", errorIn200},
	{"21_token_answers_that_are_none", brokenTokenAnswers},
	{"23_token_endpoint_that_redirects", tokenEndpointRedirects},
	{"26_links_that_are_none", unknownLinks},
	{"27_return_urls_elsewhere", foreignReturnURLs},
	{"29_no_page_can_be_framed", framing},
	{"30_another_owners_connection_looks_absent", anotherOwner},
	{"44_schedule_with_a_forged_list", forgedSchedule},
	{"45_notices_forged", forgedNotices},
	{"cookie_twice", cookieTwice},
	{"cursor_of_another_owner", foreignCursor},
	{"delimiters_in_names", delimiters},
	{"header_injection", headerInjection},
	{"import_that_borrows_the_apps_keys", importWithAppKeys},
	{"link_preview_robots", previewRobots},
}

func unknownStateLooksSpent(t *testing.T, c *client) {
	spent := c.authorize("youtube", sandbox.Choice{})
	spent.expectUsable()
	want := c.get(spent.callback)
	c.expect("a spent state", want, 400, connector.StateInvalid)
	query := spent.query()
	query.Set("state", unknownState)
	got := c.get(spent.with(query))
	c.expect("an unknown state", got, 400, connector.StateInvalid)
	if got.withoutInstance() != want.withoutInstance() || len(got.cookies) != len(want.cookies) {
		t.Errorf("unknown: %s\nspent:   %s", got.body, want.body)
	}
}

func stateTwice(_ *testing.T, c *client) {
	for _, platform := range c.Platforms {
		a := c.authorize(platform, sandbox.Choice{})
		a.expectUsable()
		if again := a.finish(); again.status != 200 {
			c.t.Errorf("%s: the same browser a second time: %d %s, want the first answer", platform, again.status, again.body)
		}
		c.expect(platform+", another browser", c.get(a.callback), 400, connector.StateInvalid)
		a.expectExchanges(1)
	}
}

func state50Times(t *testing.T, c *client) {
	a := c.authorize("twitter", sandbox.Choice{})
	var browsers sync.WaitGroup
	var mu sync.Mutex
	answers := map[int]int{} // by status
	for range 50 {
		r := c.request(http.MethodGet, a.callback, "", withCookie(a.cookie))
		browsers.Go(func() {
			response, err := c.Send(r)
			if err != nil {
				t.Error(err)
				return
			}
			_ = response.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			answers[response.StatusCode]++
		})
	}
	browsers.Wait()
	if answers[200] != 50 {
		t.Errorf("answers by status: %v, want 50 times the same 200", answers)
	}
	a.expectExchanges(1)
	c.expectConnections(1)
}

func stateWithoutCookie(_ *testing.T, c *client) {
	a := c.authorize("youtube", sandbox.Choice{})
	c.expect("without the cookie", c.get(a.callback), 400, connector.StateInvalid)
	a.expectExchanges(0)
	a.expectUsable()
}

func cookieOfAnotherFlow(_ *testing.T, c *client) {
	victim, attacker := c.authorize("youtube", sandbox.Choice{}), c.authorize("youtube", sandbox.Choice{})
	name, _, _ := strings.Cut(victim.cookie, "=")
	_, value, _ := strings.Cut(attacker.cookie, "=")
	for what, cookie := range map[string]string{
		"the attacker's cookie":                  attacker.cookie,
		"its value under the victim's name":      name + "=" + value,
		"the state under the victim's name":      name + "=" + victim.query().Get("state"),
		"an empty value under the victim's name": name + "=",
	} {
		c.expect(what, c.get(victim.callback, withCookie(cookie)), 400, connector.StateInvalid)
	}
	victim.expectExchanges(0)
	c.expectConnections(0)
}

func stateOfAnotherPlatform(t *testing.T, c *client) {
	a := c.authorize("youtube", sandbox.Choice{})
	query := a.query()
	query.Del("iss") // the issuer alone would be refused too
	for _, other := range c.Platforms {
		if other == "youtube" {
			continue
		}
		calls := c.Sandbox.Count(other, "token")
		c.expect(other, c.get("/oauth/"+other+"/callback?"+query.Encode(), withCookie(a.cookie)), 400, connector.StateInvalid)
		if got := c.Sandbox.Count(other, "token"); got != calls {
			t.Errorf("%s received the code", other)
		}
	}
	a.expectExchanges(0)
}

func foreignIssuer(_ *testing.T, c *client) {
	for _, platform := range c.Platforms {
		a := c.authorize(platform, sandbox.Choice{})
		query := a.query()
		query.Set("iss", "https://evil.example")
		c.expect(platform, c.get(a.with(query), withCookie(a.cookie)), 400, connector.StateInvalid)
		a.expectExchanges(0)
	}
}

func errorDescription(t *testing.T, c *client) {
	const markup = `<script>alert("test-markup")</script>`
	send := func(platform string, change func(url.Values)) {
		t.Helper()
		a := c.authorize(platform, sandbox.Choice{Deny: true})
		query := a.query()
		change(query)
		got := c.get(a.with(query), withCookie(a.cookie), withHeader("Accept", acceptPage))
		if got.status != 403 || strings.Contains(got.body, "test-markup") {
			t.Errorf("%s: %d %.300s", platform, got.status, got.body)
		}
	}
	for _, platform := range c.Platforms {
		send(platform, func(query url.Values) { query.Set("error_description", markup+"\r\nforged") })
	}
	send("youtube", func(query url.Values) { query.Set("error", markup) })
	if strings.Contains(c.Logs(), "test-markup") {
		t.Error("the log contains the markup")
	}
}

func hostHeaders(t *testing.T, c *client) {
	forged := []change{
		withHeader("X-Forwarded-Host", "evil.example"), withHeader("Forwarded", "host=evil.example;proto=http"),
		withHeader("X-Forwarded-Proto", "http"), withHeader("X-Original-Url", "/evil"),
	}
	browser := append([]change{withHeader("Host", "evil.example"), withHeader("Accept", acceptPage)}, forged...)
	want := c.PublicURL + "/oauth/youtube/callback"

	start := c.get(c.link(object{"platform": "youtube", "owner": c.owner}), browser...)
	authorizeURL, err := url.Parse(start.header.Get("Location"))
	if err != nil || authorizeURL.Query().Get("redirect_uri") != want {
		t.Errorf("redirect_uri %q, %v", authorizeURL.Query().Get("redirect_uri"), err)
	}
	secure := strings.HasPrefix(c.PublicURL, "https://")
	for _, cookie := range start.cookies {
		if cookie.Secure != secure || cookie.Domain != "" {
			t.Errorf("the cookie is secure: %t, and has the domain %q", cookie.Secure, cookie.Domain)
		}
	}
	a := c.authorize("youtube", sandbox.Choice{})
	if got := a.finish(browser...); got.status != 200 || strings.Contains(got.body, "evil.example") {
		t.Errorf("callback: %d %.300s", got.status, got.body)
	}
	exchanges := c.Sandbox.Calls("youtube", "token")
	if got := exchanges[len(exchanges)-1].Form.Get("redirect_uri"); got != want {
		t.Errorf("the exchange has the redirect_uri %q", got)
	}
	forwardedLink(t, c, forged)
}

// forwardedLink mints a link with the headers of a proxy.
func forwardedLink(t *testing.T, c *client, forged []change) {
	minted := c.post("/links", object{"platform": "youtube", "owner": c.owner}, forged...)
	if c.RefusesForwarded {
		if minted.status != 403 {
			t.Errorf("a forwarded request to an operator's route: %d", minted.status)
		}
		return
	}
	link, _ := c.decode(minted, 201)["url"].(string)
	if !strings.HasPrefix(link, c.PublicURL+"/connect/") {
		t.Error("the link has another origin")
	}
}

func moreScopes(t *testing.T, c *client) {
	c.Sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{
		"scope": json.RawMessage(`"user.info.basic,video.upload,video.publish,user.info.stats"`),
	}})
	id := c.connect("tiktok", c.owner, sandbox.Choice{})
	want := []any{"user.info.basic", "video.upload", "video.publish", "user.info.stats"}
	if got, _ := c.show(id)["scopes"].([]any); !slices.Equal(got, want) {
		t.Errorf("scopes %v, want %v", got, want)
	}
	c.expect("a scope that was not granted", c.get("/connections/"+id+"/token?scopes=video.list"), 403, connector.ScopeMissing)
}

func anotherAccount(t *testing.T, c *client) {
	for _, platform := range c.Platforms {
		people := c.Sandbox.People(platform)
		if len(people) < 2 || platform == "facebook" { // a person of Facebook has several accounts
			continue
		}
		id := c.connect(platform, c.owner, sandbox.Choice{Account: people[0].ID})
		before, credentials := c.show(id), c.credentials(id)
		link := c.link(object{"platform": platform, "owner": c.owner, "connection_id": id})
		c.expect(platform, c.authorizeLink(platform, link, sandbox.Choice{Account: people[1].ID}).finish(), 409, connector.AccountMismatch)
		if after := c.show(id); after["revision"] != before["revision"] || after["account_id"] != before["account_id"] {
			t.Errorf("%s: the connection %v became %v", platform, before, after)
		}
		if after := c.credentials(id); after["refresh_token"] != credentials["refresh_token"] {
			t.Errorf("%s: the credentials changed", platform)
		}
	}
}

func reconnectWithoutRefreshToken(t *testing.T, c *client) {
	omit := func() {
		c.Sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"refresh_token"}})
	}
	people := c.Sandbox.People("youtube")
	id := c.connect("youtube", c.owner, sandbox.Choice{Account: people[0].ID})
	before := c.credentials(id)["refresh_token"]
	omit()
	c.connect("youtube", c.owner, sandbox.Choice{Account: people[0].ID})
	if got := c.credentials(id)["refresh_token"]; got != before || got == "" {
		t.Error("the same account and client: the refresh token was lost")
	}
	omit()
	other := c.connect("youtube", c.owner, sandbox.Choice{Account: people[1].ID})
	if got := c.credentials(other)["refresh_token"]; other == id || got != "" {
		t.Error("another account has the refresh token")
	}
}

func errorIn200(t *testing.T, c *client) {
	for _, platform := range c.Platforms {
		for _, fault := range []sandbox.Fault{
			{Kind: sandbox.ErrorIn200},
			{Kind: sandbox.Body, Text: `{"error":{"message":"test","code":190}}`},
			{Kind: sandbox.Body, Text: `{"error":"invalid_grant","access_token":"test-token"}`},
		} {
			fault.Platform, fault.Endpoint = platform, "token"
			c.Sandbox.Fault(fault)
			if got := c.authorize(platform, sandbox.Choice{}).finish(); got.status < 400 || got.status == 500 {
				t.Errorf("%s, %s %s: %d %.300s", platform, fault.Kind, fault.Text, got.status, got.body)
			}
			c.Sandbox.ClearFaults()
		}
	}
	c.expectConnections(0)
}

func brokenTokenAnswers(_ *testing.T, c *client) {
	for _, platform := range c.Platforms {
		for _, kind := range []sandbox.Kind{
			sandbox.HTML, sandbox.Empty, sandbox.Oversize, sandbox.GzipBomb, sandbox.Deep, sandbox.DuplicateKeys,
			sandbox.Truncated, sandbox.Broken, sandbox.Cut,
		} {
			c.Sandbox.Fault(sandbox.Fault{Platform: platform, Endpoint: "token", Kind: kind})
			a := c.authorize(platform, sandbox.Choice{})
			c.expect(platform+", "+string(kind), a.finish(), 503, connector.PlatformUnavailable)
			a.expectExchanges(1)
			c.Sandbox.ClearFaults()
		}
	}
	c.expectConnections(0)
}

func tokenEndpointRedirects(t *testing.T, c *client) {
	var visits atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { visits.Add(1) }))
	defer elsewhere.Close()
	for _, platform := range c.Platforms {
		for _, status := range []int{301, 302, 303, 307, 308} {
			c.Sandbox.Fault(sandbox.Fault{Platform: platform, Endpoint: "token", Kind: sandbox.Elsewhere, Status: status, Location: elsewhere.URL})
			c.expect(platform, c.authorize(platform, sandbox.Choice{}).finish(), 503, connector.PlatformUnavailable)
			c.Sandbox.ClearFaults()
		}
	}
	if n := visits.Load(); n != 0 {
		t.Errorf("%d redirects were followed", n)
	}
	c.expectConnections(0)
}

func unknownLinks(t *testing.T, c *client) {
	link := c.link(object{"platform": "youtube", "owner": c.owner})
	token := strings.TrimPrefix(link, "/connect/")
	flipped := []byte(token)
	flipped[20] ^= 1
	used := c.link(object{"platform": "youtube", "owner": c.owner})
	c.authorizeLink("youtube", used, sandbox.Choice{}).expectUsable()
	var bodies []string
	for what, target := range map[string]string{
		"unknown":                "/connect/" + unknownState,
		"one bit changed":        "/connect/" + string(flipped),
		"used":                   used,
		"too short":              "/connect/" + token[:42],
		"too long":               "/connect/" + token + "A",
		"very short":             "/connect/x",
		"padded":                 "/connect/" + token + "=",
		"JWT with alg=none":      "/connect/eyJhbGciOiJub25lIn0.eyJvd25lciI6ImFjbWUifQ.",
		"hash of a link":         "/connect/" + fmt.Sprintf("%x", sha256.Sum256([]byte(token))),
		"path traversal":         "/connect/..%2fconnections",
		"zero byte":              "/connect/%00",
		"line break":             "/connect/" + token[:40] + "%0d%0a",
		"byte that is not UTF-8": "/connect/" + token[:42] + "%ff",
		"unknown, in escapes":    "/connect/" + strings.Repeat("%41", 43),
	} {
		got := c.get(target)
		if got.status == 404 && strings.Contains(target, "%2f") {
			continue // two segments, which are not the route of a link
		}
		c.expect(what, got, 410, connector.LinkGone)
		if len(got.cookies) != 0 {
			t.Errorf("%s: the answer sets a cookie", what)
		}
		bodies = append(bodies, got.withoutInstance())
	}
	if slices.Sort(bodies); len(slices.Compact(bodies)) != 1 {
		t.Errorf("the answers differ: %q", bodies)
	}
	if got := c.get(link); got.status != 302 {
		t.Errorf("the link itself: %d", got.status)
	}
}

// ForeignReturnURLs returns return URLs that a connector must refuse if
// allowed, an origin such as https://product.example.com, is the only origin
// that it allows.
func ForeignReturnURLs(allowed string) []string {
	scheme, host, _ := strings.Cut(allowed, "://")
	name, _, _ := strings.Cut(host, ":")
	otherScheme := "http"
	if scheme == "http" {
		otherScheme = "https"
	}
	return []string{
		"//evil.example", "///evil.example", "/done", "done", "?x", "#x", "https:evil.example", "https:/evil.example", "https:///evil.example",
		allowed + ".evil.example/", "https://evil.example/" + host, "https://evil.example?" + allowed,
		allowed + "@evil.example/", allowed + ":x@evil.example/", scheme + "://user@" + host + "/", scheme + "://@" + host + "/",
		allowed + `\@evil.example`, `\\evil.example`, `https:\\evil.example`, allowed + `\.evil.example`,
		"javascript:alert(1)", "javascript://" + host + "/%0aalert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "ftp://" + host + "/", "blob:" + allowed + "/x",
		allowed + "/%0d%0aSet-Cookie:x=y", allowed + "/?a=%0aLocation:x", allowed + "/%00", allowed + "/\r\nX: y",
		allowed + "\t/", "\t" + allowed + " /", " " + allowed + "\u00a0/", allowed + "/ x", strings.Replace(allowed, "tp", "t\np", 1) + "/",
		strings.Replace(allowed, ".", "\u3002", 1) + "/", allowed + "\u3002/", allowed + "/\u202e", "https://pr\u043educt.example.com/",
		strings.Replace(allowed, ".", "%2e", 1) + "/", strings.Replace(allowed, ".", "%E3%80%82", 1) + "/",
		scheme + "://" + name + "./", scheme + "://" + name + ":8443/", scheme + "://" + name + ":443/", scheme + "://" + name + ":/", scheme + "://" + name + ":99999/",
		otherScheme + "://" + host + "/", otherScheme + "://" + name + ":443/",
		allowed + "/#fragment", "https://[::1]/", "https://127.0.0.1/", "https://0x7f000001/", "http://localhost/", scheme + "://sub." + host + "/", "https://example.com/", "https://*.example.com/",
		allowed + "/" + strings.Repeat("a", 2100),
	}
}

func foreignReturnURLs(t *testing.T, c *client) {
	allowed, err := url.Parse(c.ReturnURL)
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range ForeignReturnURLs(allowed.Scheme + "://" + allowed.Host) {
		got := c.post("/links", object{"platform": "youtube", "owner": c.owner, "return_url": target})
		if detail, _ := got.problem()["detail"].(string); got.status != 400 || !strings.HasPrefix(detail, "return_url:") {
			t.Errorf("%.80q: %d %.300s", target, got.status, got.body)
		}
	}
	a := c.authorizeLink("youtube", c.link(object{"platform": "youtube", "owner": c.owner, "return_url": c.ReturnURL}), sandbox.Choice{})
	a.callback += "&return_url=https%3A%2F%2Fevil.example&redirect_uri=https%3A%2F%2Fevil.example"
	if got := a.finish().header.Get("Location"); !strings.HasPrefix(got, c.ReturnURL) || strings.Contains(got, "evil") {
		t.Errorf("the callback redirects to %q", got)
	}
}

func framing(t *testing.T, c *client) {
	link := c.link(object{"platform": "youtube", "owner": c.owner})
	a := c.authorize("youtube", sandbox.Choice{})
	page := withHeader("Accept", acceptPage)
	for what, got := range map[string]answer{
		"a link": c.get(link, page), "an unknown link": c.get("/connect/x", page), "a callback": a.finish(page), "a refused callback": a.finish(page),
		"an operator's route": c.get("/platforms"), "an unknown deletion": c.get("/platforms/facebook/data-deletion/x", page),
	} {
		for header, want := range map[string]string{
			"Content-Security-Policy": "frame-ancestors 'none'", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer",
			"X-Content-Type-Options": "nosniff",
		} {
			if !strings.Contains(got.header.Get(header), want) {
				t.Errorf("%s: %s is %q, want %s", what, header, got.header.Get(header), want)
			}
		}
		secure := strings.HasPrefix(c.PublicURL, "https://")
		if has := got.header.Get("Strict-Transport-Security") != ""; has != secure {
			t.Errorf("%s: Strict-Transport-Security is present: %t, want %t", what, has, secure)
		}
	}
}

func anotherOwner(t *testing.T, c *client) {
	id := c.connect("youtube", c.owner, sandbox.Choice{})
	_, foreignType, foreignMessage := c.invoke("token-get", `{"connection_id":"`+id+`","owner":"mallory"}`)
	_, absentType, absentMessage := c.invoke("token-get", `{"connection_id":"`+unknownID+`","owner":"mallory"}`)
	if foreignType != absentType || foreignMessage != absentMessage {
		t.Errorf("foreign: %s %s\nabsent:  %s %s", foreignType, foreignMessage, absentType, absentMessage)
	}
}

func forgedSchedule(t *testing.T, c *client) {
	id := c.connect("twitter", c.owner, sandbox.Choice{})
	refreshes := c.Sandbox.Count("twitter", "token/refresh_token")
	if _, errorType, message := c.invoke("refresh", `{"detail":{"connection_ids":["`+id+`"]},"connection_id":"`+id+`","Records":[{"body":"{\"connection_id\":\"`+id+`\"}"}]}`); errorType != "" {
		t.Fatalf("refresh: %s %s", errorType, message)
	}
	if _, errorType, message := c.invoke("refresh-worker", `{"Records":[{"messageId":"1","body":"{\"connection_id\":\"`+id+`\"}"}]}`); errorType != "" {
		t.Fatalf("refresh-worker: %s %s", errorType, message)
	}
	if got := c.Sandbox.Count("twitter", "token/refresh_token"); got != refreshes || c.show(id)["last_refreshed_at"] != nil {
		t.Error("a connection that is not due was refreshed")
	}
}

// MetaSigned returns a signed_request as Meta creates it.
func MetaSigned(secret, payload string) string {
	encoded := base64.RawURLEncoding.EncodeToString([]byte(payload))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(encoded))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + encoded
}

func forgedNotices(t *testing.T, c *client) {
	person, secret := c.Sandbox.People("facebook")[0].ID, c.Sandbox.AppOf("facebook").ClientSecret
	facebook := c.connect("facebook", c.owner, sandbox.Choice{})
	payload := fmt.Sprintf(`{"algorithm":"HMAC-SHA256","user_id":"%s","issued_at":%d}`, person, c.Now().Unix())
	none := strings.Replace(payload, "HMAC-SHA256", "none", 1)
	signature, encoded, _ := strings.Cut(MetaSigned(secret, payload), ".")
	_, anotherPerson, _ := strings.Cut(MetaSigned(secret, strings.Replace(payload, person, "1", 1)), ".")
	for what, forged := range map[string]string{
		"signed by another app":      MetaSigned("test-other-secret", payload),
		"signed with an empty key":   MetaSigned("", payload),
		"algorithm none, unsigned":   "." + base64.RawURLEncoding.EncodeToString([]byte(none)),
		"algorithm none, signed":     MetaSigned(secret, none),
		"another algorithm":          MetaSigned(secret, strings.Replace(payload, "HMAC-SHA256", "hmac-sha1", 1)),
		"no algorithm":               MetaSigned(secret, `{"user_id":"`+person+`"}`),
		"two users":                  MetaSigned(secret, `{"algorithm":"HMAC-SHA256","user_id":"1","user_id":"`+person+`"}`),
		"user as an object":          MetaSigned(secret, `{"algorithm":"HMAC-SHA256","user_id":{"id":"`+person+`"}}`),
		"parts swapped":              encoded + "." + signature,
		"signature cut":              signature[4:] + "." + encoded,
		"payload cut":                signature + "." + encoded[:len(encoded)-4],
		"no signature":               "." + encoded,
		"no payload":                 signature + ".",
		"payload of another request": signature + "." + anotherPerson,
		"empty":                      "",
	} {
		for _, target := range []string{"/platforms/facebook/deauthorize", "/platforms/facebook/data-deletion"} {
			if got := c.postForm(target, url.Values{"signed_request": {forged}}); got.status != 401 && got.status != 400 {
				t.Errorf("%s to %s: %d %.300s", what, target, got.status, got.body)
			}
		}
	}
	if got := c.show(facebook)["status"]; got != "active" {
		t.Errorf("the status of the Facebook connection is %v", got)
	}

	tiktok := c.connect("tiktok", c.owner, sandbox.Choice{})
	body, _ := c.Sandbox.TikTokNotice("authorization.removed", c.Sandbox.People("tiktok")[0].ID)
	now := c.Now().Unix()
	for _, forged := range []string{"", "t=1,s=00", fmt.Sprintf("t=%d,s=", now), fmt.Sprintf("t=%d,s=00", now), "s=00,t=1,t=2"} {
		got := c.send(http.MethodPost, "/platforms/tiktok/webhook", string(body), withHeader("TikTok-Signature", forged))
		if got.status != 401 {
			t.Errorf("a webhook with the signature %q: %d %.300s", forged, got.status, got.body)
		}
	}
	if got := c.show(tiktok)["status"]; got != "active" {
		t.Errorf("the status of the TikTok connection is %v", got)
	}
}

func cookieTwice(t *testing.T, c *client) {
	a := c.authorize("youtube", sandbox.Choice{})
	name, _, _ := strings.Cut(a.cookie, "=")
	got := c.get(a.callback, withCookie(name+"="+unknownState), withCookie(a.cookie))
	if got.status != 400 && got.status != 200 {
		t.Errorf("%d %.300s", got.status, got.body)
	}
	if n, exchanges := len(c.connections(c.owner)), c.exchanges("youtube")-a.exchanges; n > exchanges {
		t.Errorf("%d connections after %d exchanges", n, exchanges)
	}
}

func foreignCursor(t *testing.T, c *client) {
	mallory := c.owner + " of mallory"
	c.connect("youtube", c.owner, sandbox.Choice{})
	for _, person := range c.Sandbox.People("youtube")[:2] {
		c.connect("youtube", mallory, sandbox.Choice{Account: person.ID})
	}
	page := c.decode(c.get("/connections?limit=1&owner="+url.QueryEscape(mallory)), 200)
	cursor, _ := page["next_cursor"].(string)
	if cursor == "" {
		t.Fatal("there is no second page")
	}
	got := c.get("/connections?owner=" + url.QueryEscape(c.owner) + "&cursor=" + url.QueryEscape(cursor))
	if got.status == 200 && strings.Contains(got.body, mallory) || got.status >= 500 {
		t.Errorf("%d %.300s", got.status, got.body)
	}
}

func delimiters(t *testing.T, c *client) {
	owners := map[string]string{} // by connection
	for _, owner := range []string{
		"a", "a#youtube", "a|b", "a:b", "a/b", "a\\b", "a b", "a\"b", "a'b", "a%23b", "é", "e\u0301", "日本", "*", "..", "{}", "$where", "connection#x", "account#",
		strings.Repeat("日", 128),
	} {
		id := c.connect("youtube", owner, sandbox.Choice{})
		if other, taken := owners[id]; taken {
			t.Errorf("%q and %q share a connection", owner, other)
		}
		owners[id] = owner
	}
	for id, owner := range owners {
		result, errorType, message := c.invoke("token-get", encode(t, object{"owner": owner, "platform": "youtube"}))
		if result["connection_id"] != id || result["owner"] != owner {
			t.Errorf("%q: the token of %v, %s %s", owner, result["owner"], errorType, message)
		}
	}
}

func headerInjection(t *testing.T, c *client) {
	separator := "?"
	if strings.Contains(c.ReturnURL, "?") {
		separator = "&"
	}
	link := c.link(object{"platform": "youtube", "owner": c.owner, "return_url": c.ReturnURL + separator + "a=b;c=d&x=%20%22%3C"})
	a := c.authorizeLink("youtube", link, sandbox.Choice{})
	a.callback += "&scope=" + url.QueryEscape("x\r\nSet-Cookie: a=b")
	got := a.finish(withHeader("Accept", acceptPage))
	if got.status != 302 || len(got.cookies) != 0 {
		t.Fatalf("%d with %d cookies: %.300s", got.status, len(got.cookies), got.body)
	}
	for name, values := range got.header {
		if strings.ContainsFunc(name+strings.Join(values, ""), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: %q", name, values)
		}
	}
}

func importWithAppKeys(t *testing.T, c *client) {
	app := c.Sandbox.AppOf("twitter").Extras
	send := func(keys map[string]string) answer {
		t.Helper()
		credentials := map[string]string{"access_token": "1-test", "access_token_secret": "test-secret"}
		maps.Copy(credentials, keys)
		return c.post("/connections", object{"platform": "twitter", "owner": c.owner, "verify": false, "credentials": credentials})
	}
	for _, keys := range []map[string]string{
		{},
		{"api_key": app["api_key"]},
		{"api_key": app["api_key"], "api_secret": "test-guess"},
		{"api_secret": "test-guess"},
		{"api_key": app["api_key"], "bearer_token": app["bearer_token"]},
	} {
		c.expect("an import without both keys", send(keys), 400, connector.InvalidRequest)
	}
	imported := send(map[string]string{"api_key": app["api_key"], "api_secret": app["api_secret"]})
	c.expect("an import with both keys", imported, 201, "")
	var created struct{ Connections []struct{ ID string } }
	if json.Unmarshal([]byte(imported.body), &created) != nil || len(created.Connections) != 1 {
		t.Fatalf("imported %s", imported.body)
	}
	id := created.Connections[0].ID
	for _, query := range []string{"", "?full=true"} {
		got := c.get("/connections/" + id + "/token" + query)
		for _, name := range []string{"api_key", "api_secret", "bearer_token"} {
			if strings.Contains(got.body, app[name]) {
				t.Errorf("the token%s of an import that X did not verify has %s", query, name)
			}
		}
	}
	c.expect("a signature for it", c.post("/connections/"+id+"/sign", object{"method": "GET", "url": "https://api.x.com/2/users/me"}), 400, connector.InvalidRequest)
}

func previewRobots(t *testing.T, c *client) {
	a := c.authorize("youtube", sandbox.Choice{})
	link := c.link(object{"platform": "tiktok", "owner": c.owner})
	for _, robot := range []string{"Slackbot-LinkExpanding 1.0", "facebookexternalhit/1.1", "Twitterbot/1.0", "WhatsApp/2", "SkypeUriPreview", ""} {
		if got := c.get(link, withHeader("User-Agent", robot)); got.status != 302 {
			t.Errorf("%s at the link: %d", robot, got.status)
		}
		c.expect(robot+" at the callback", c.get(a.callback, withHeader("User-Agent", robot)), 400, connector.StateInvalid)
	}
	a.expectUsable()
	c.authorizeLink("tiktok", link, sandbox.Choice{}).expectUsable()
}
