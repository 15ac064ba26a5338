package sandbox_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

const usersMe = "https://api.x.com/2/users/me"

func TestTwitter_Token(t *testing.T) {
	t.Run("spent_refresh_token_ends_the_grant", testTwitterTokenSpentRefreshTokenEndsTheGrant)
	t.Run("no_offline_access", testTwitterTokenNoOfflineAccess)
}

func TestTwitter_UsersMe(t *testing.T) {
	t.Run("both_read_scopes", testTwitterUsersMeBothReadScopes)
	t.Run("app_only_bearer", testTwitterUsersMeAppOnlyBearer)
	t.Run("rate_limit", testTwitterUsersMeRateLimit)
	t.Run("limits_of_a_day", testTwitterUsersMeLimitsOfADay)
	t.Run("suspended_and_locked", testTwitterUsersMeSuspendedAndLocked)
	t.Run("no_credits", testTwitterUsersMeNoCredits)
	t.Run("oauth1_signatures", testTwitterUsersMeOauth1Signatures)
}

func testTwitterTokenSpentRefreshTokenEndsTheGrant(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.Twitter)
	first := v.connect(d, sandbox.Choice{})
	second := v.refresh(d, first.text("refresh_token"))
	if second.status != 200 || second.text("refresh_token") == first.text("refresh_token") {
		t.Fatalf("no rotation: %d %s", second.status, second.body)
	}
	v.want(v.refresh(d, first.text("refresh_token")), 400, "invalid_request")
	v.want(v.refresh(d, second.text("refresh_token")), 400, "invalid_request")
	if a := v.get(usersMe, second.text("access_token")); a.status != 401 {
		t.Errorf("the family's access token: %d, want 401", a.status)
	}
}

func testTwitterTokenNoOfflineAccess(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.Twitter)
	d.authorize = with(d.authorize, "scope", "tweet.read users.read")
	if a := v.connect(d, sandbox.Choice{}); a.text("refresh_token") != "" {
		t.Error("the answer has a refresh token")
	}
}

func testTwitterUsersMeBothReadScopes(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.Twitter)
	d.authorize = with(d.authorize, "scope", "users.read tweet.write")
	a := v.connect(d, sandbox.Choice{})
	if got := v.get(usersMe, a.text("access_token")); got.status != 403 {
		t.Errorf("got %d %s, want 403", got.status, got.body)
	}
}

func testTwitterUsersMeAppOnlyBearer(t *testing.T) {
	v := newVisit(t)
	a := v.get(usersMe, v.box.AppOf(sandbox.Twitter).Extras["bearer_token"])
	if a.status != 403 || a.text("title") != "Unsupported Authentication" {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func testTwitterUsersMeRateLimit(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.Twitter)
	v.box.Tune(func(k *sandbox.Knobs) { k.Twitter().UsersMeLimit = 2 })
	token := v.connect(d, sandbox.Choice{}).text("access_token")
	for i, want := range []int{200, 200, 429} {
		a := v.get(usersMe, token)
		if a.status != want || a.header.Get("x-rate-limit-limit") != "2" || a.header.Get("x-rate-limit-reset") == "" {
			t.Errorf("call %d: got %d %v, want %d", i, a.status, a.header, want)
		}
	}
	v.box.Advance(15 * time.Minute)
	if a := v.get(usersMe, token); a.status != 200 || a.header.Get("x-rate-limit-remaining") != "1" {
		t.Errorf("in the next window: %d, remaining %s", a.status, a.header.Get("x-rate-limit-remaining"))
	}
}

func testTwitterUsersMeLimitsOfADay(t *testing.T) {
	for _, scope := range []string{"user", "app"} {
		v, d := newVisit(t), dialectOf(sandbox.Twitter)
		v.box.Tune(func(k *sandbox.Knobs) {
			k.Twitter().AccessSeconds = 2 * 24 * 3600
			if scope == "user" {
				k.Twitter().UserDayLimit = 1
			} else {
				k.Twitter().AppDayLimit = 1
			}
		})
		token := v.connect(d, sandbox.Choice{}).text("access_token")
		for i, want := range []int{200, 429} {
			a := v.get(usersMe, token)
			if a.status != want || a.header.Get("x-"+scope+"-limit-24hour-remaining") != "0" || a.header.Get("x-rate-limit-remaining") == "0" {
				t.Errorf("%s, call %d: got %d %v, want %d", scope, i, a.status, a.header, want)
			}
		}
		v.box.Advance(24 * time.Hour)
		if a := v.get(usersMe, token); a.status != 200 {
			t.Errorf("%s, the next day: %d %s", scope, a.status, a.body)
		}
	}
}

func testTwitterUsersMeSuspendedAndLocked(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.Twitter)
	person := v.box.People(sandbox.Twitter)[0].ID
	token := v.connect(d, sandbox.Choice{}).text("access_token")
	for want, tune := range map[string]func(*sandbox.TwitterKnobs){
		`problems/user-suspended"`: func(k *sandbox.TwitterKnobs) { k.Suspended, k.V1Errors, k.Locked = []string{person}, false, nil },
		`"code":64`:                func(k *sandbox.TwitterKnobs) { k.Suspended, k.V1Errors, k.Locked = []string{person}, true, nil },
		`"code":326`:               func(k *sandbox.TwitterKnobs) { k.Suspended, k.V1Errors, k.Locked = nil, false, []string{person} },
	} {
		v.box.Tune(func(k *sandbox.Knobs) { tune(k.Twitter()) })
		if a := v.get(usersMe, token); a.status != 403 || !strings.Contains(string(a.body), want) {
			t.Errorf("got %d %s, want %s", a.status, a.body, want)
		}
	}
	other := v.box.People(sandbox.Twitter)[1].ID
	if a := v.get(usersMe, v.connect(d, sandbox.Choice{Account: other}).text("access_token")); a.status != 200 {
		t.Errorf("another person: %d %s", a.status, a.body)
	}
}

func testTwitterUsersMeNoCredits(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.Twitter)
	v.box.Tune(func(k *sandbox.Knobs) { k.Twitter().PrepaidReads, k.Twitter().AccessSeconds = 1, 2*24*3600 })
	token := v.connect(d, sandbox.Choice{}).text("access_token")
	for range 2 {
		if a := v.get(usersMe, token); a.status != 200 {
			t.Errorf("the same user on the same day: %d", a.status)
		}
	}
	v.box.Advance(24 * time.Hour)
	if a := v.get(usersMe, token); a.status != 402 || a.text("title") != "CreditsDepleted" {
		t.Errorf("the next day: %d %s", a.status, a.body)
	}
}

// signed is a request to users/me with an OAuth 1.0a header. change edits the
// protocol parameters after the signature.
func (v *visit) signed(key sandbox.UserKey, signedURL, nonce string, at time.Time, change func(map[string]string)) *http.Request {
	v.Helper()
	app := v.box.AppOf(sandbox.Twitter)
	oauth := map[string]string{
		"oauth_consumer_key": app.Extras["api_key"], "oauth_nonce": nonce, "oauth_signature_method": "HMAC-SHA1",
		"oauth_timestamp": strconv.FormatInt(at.Unix(), 10), "oauth_token": key.AccessToken, "oauth_version": "1.0",
	}
	query := url.Values{"user.fields": {"id,name ~*"}}
	oauth["oauth_signature"] = sandbox.SignForTest("GET", signedURL, []url.Values{query}, oauth, app.Extras["api_secret"], key.AccessTokenSecret)
	if change != nil {
		change(oauth)
	}
	r := v.request("GET", usersMe+"?"+query.Encode(), "")
	header := "OAuth realm=\"\""
	for name, value := range oauth {
		header += fmt.Sprintf(", %s=\"%s\"", name, url.PathEscape(value))
	}
	r.Header.Set("Authorization", header)
	return r
}

func testTwitterUsersMeOauth1Signatures(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	v := newVisit(t)
	readWrite, readOnly := v.box.UserKeys()[0], v.box.UserKeys()[1]
	sent := v.url(usersMe)
	for _, test := range []struct {
		name    string
		request *http.Request
		status  int
	}{
		{"over the real URL", v.signed(readWrite, usersMe, "n1", now, nil), 200},
		{"over the URL as sent", v.signed(readWrite, sent, "n2", now, nil), 200},
		{"a nonce again", v.signed(readWrite, usersMe, "n1", now, nil), 401},
		{"another URL", v.signed(readWrite, usersMe+"x", "n3", now, nil), 401},
		{"the clock 4 minutes off", v.signed(readWrite, usersMe, "n4", now.Add(-4*time.Minute), nil), 200},
		{"the clock 6 minutes off", v.signed(readWrite, usersMe, "n5", now.Add(6*time.Minute), nil), 401},
		{"another nonce than signed", v.signed(readWrite, usersMe, "n6", now, func(p map[string]string) { p["oauth_nonce"] = "n7" }), 401},
		{"another key than signed", v.signed(readWrite, usersMe, "n8", now, func(p map[string]string) { p["oauth_token"] = readOnly.AccessToken }), 401},
		{"plain text method", v.signed(readWrite, usersMe, "n9", now, func(p map[string]string) { p["oauth_signature_method"] = "PLAINTEXT" }), 401},
		{"no signature", v.signed(readWrite, usersMe, "n10", now, func(p map[string]string) { delete(p, "oauth_signature") }), 401},
	} {
		if a := v.do(test.request); a.status != test.status {
			t.Errorf("%s: got %d %s, want %d", test.name, a.status, a.body, test.status)
		}
	}
	for i, key := range v.box.UserKeys() {
		a := v.do(v.signed(key, usersMe, "level"+strconv.Itoa(i), now, nil))
		if got := a.header.Get("x-access-level"); a.status != 200 || got != key.Level {
			t.Errorf("x-access-level is %q with status %d, want %q", got, a.status, key.Level)
		}
	}
	v.box.Tune(func(k *sandbox.Knobs) { k.Twitter().SignedURL = "sent" })
	if a := v.do(v.signed(readWrite, usersMe, "strict", now, nil)); a.status != 401 {
		t.Errorf("a signature of the real URL instead of the sent one: %d", a.status)
	}
}
