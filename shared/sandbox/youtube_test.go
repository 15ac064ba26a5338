package sandbox_test

import (
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

const channels = "https://www.googleapis.com/youtube/v3/channels?part=id,snippet&mine=true"

func TestYouTube_Token(t *testing.T) {
	t.Run("refresh_token_needs_a_shown_consent", testYouTubeTokenRefreshTokenNeedsAShownConsent)
	t.Run("refresh_token_stays", testYouTubeTokenRefreshTokenStays)
	t.Run("app_in_testing", testYouTubeTokenAppInTesting)
	t.Run("idle_and_surplus_refresh_tokens", testYouTubeTokenIdleAndSurplusRefreshTokens)
	t.Run("include_granted_scopes", testYouTubeTokenIncludeGrantedScopes)
	t.Run("time_based_access", testYouTubeTokenTimeBasedAccess)
	t.Run("scopes_under_another_name", testYouTubeTokenScopesUnderAnotherName)
}

func TestYouTube_Revoke(t *testing.T) {
	t.Run("ends_every_grant_of_the_person", testYouTubeRevokeEndsEveryGrantOfThePerson)
}

func TestYouTube_Channels(t *testing.T) {
	t.Run("parts_scopes_and_quota", testYouTubeChannelsPartsScopesAndQuota)
	t.Run("brand_account", testYouTubeChannelsBrandAccount)
	t.Run("account_refused", testYouTubeChannelsAccountRefused)
}

func TestYouTube_Tokeninfo(t *testing.T) {
	t.Run("numbers_as_strings", testYouTubeTokeninfoNumbersAsStrings)
}

func testYouTubeTokenRefreshTokenNeedsAShownConsent(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	again := d
	again.authorize = with(d.authorize, "prompt", "")
	online := d
	online.authorize = with(d.authorize, "access_type", "online")
	for _, step := range []struct {
		name string
		d    dialect
		want bool
	}{
		{"first consent without prompt", again, true},
		{"second without prompt", again, false},
		{"with prompt=consent", d, true},
		{"online", online, false},
	} {
		if got := v.connect(step.d, sandbox.Choice{}).text("refresh_token") != ""; got != step.want {
			t.Errorf("%s: refresh token %v, want %v", step.name, got, step.want)
		}
	}
	v.box.Kill(sandbox.YouTube, "", 0)
	if v.connect(again, sandbox.Choice{}).text("refresh_token") == "" {
		t.Error("no refresh token after the app was removed and allowed again")
	}
}

func testYouTubeTokenRefreshTokenStays(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	token := v.connect(d, sandbox.Choice{}).text("refresh_token")
	for range 3 {
		if a := v.refresh(d, token); a.status != 200 || a.text("refresh_token") != "" || a.text("access_token") == "" {
			t.Errorf("got %d %s", a.status, a.body)
		}
	}
}

func testYouTubeTokenAppInTesting(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	v.box.Tune(func(k *sandbox.Knobs) { k.YouTube().Testing = true })
	a := v.connect(d, sandbox.Choice{})
	if a.json["refresh_token_expires_in"] != 604799.0 {
		t.Errorf("refresh_token_expires_in is %v", a.json["refresh_token_expires_in"])
	}
	v.box.Advance(7*24*time.Hour - time.Minute)
	if a := v.refresh(d, a.text("refresh_token")); a.status != 200 {
		t.Errorf("before the expiry: %d %s", a.status, a.body)
	}
	v.box.Advance(time.Minute)
	v.want(v.refresh(d, a.text("refresh_token")), 400, "invalid_grant")
}

func testYouTubeTokenIdleAndSurplusRefreshTokens(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	oldest := v.connect(d, sandbox.Choice{}).text("refresh_token")
	second := v.connect(d, sandbox.Choice{}).text("refresh_token")
	for range 99 {
		v.connect(d, sandbox.Choice{})
	}
	v.want(v.refresh(d, oldest), 400, "invalid_grant")
	if a := v.refresh(d, second); a.status != 200 {
		t.Errorf("one of the newest hundred: %d %s", a.status, a.body)
	}
	v.box.Advance(184 * 24 * time.Hour)
	v.want(v.refresh(d, second), 400, "invalid_grant")
}

func testYouTubeRevokeEndsEveryGrantOfThePerson(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	a := v.connect(d, sandbox.Choice{})
	b := v.connect(d, sandbox.Choice{})
	revoke := func() answer {
		return v.post("https://oauth2.googleapis.com/revoke", map[string][]string{"token": {a.text("refresh_token")}})
	}
	if got := revoke(); got.status != 200 || got.body != "{}" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	v.want(revoke(), 400, "invalid_token")
	v.want(v.refresh(d, b.text("refresh_token")), 400, "invalid_grant")
}

func testYouTubeChannelsPartsScopesAndQuota(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	people := v.box.People(sandbox.YouTube)
	token := v.connect(d, sandbox.Choice{}).text("access_token")
	if a := v.get(channels, token); a.status != 200 || !strings.Contains(a.body, people[0].Channel) || !strings.Contains(a.body, people[0].ChannelTitle) {
		t.Errorf("got %d %s", a.status, a.body)
	}
	none := v.connect(d, sandbox.Choice{Account: people[2].ID}).text("access_token")
	if a := v.get(channels, none); a.status != 200 || a.json["items"] != nil {
		t.Errorf("without a channel: %d %s", a.status, a.body)
	}
	blind := v.connect(d, sandbox.Choice{Untick: []string{"https://www.googleapis.com/auth/youtube.readonly"}}).text("access_token")
	if a := v.get(channels, blind); a.status != 403 || !strings.Contains(a.body, "insufficientPermissions") {
		t.Errorf("with youtube.upload alone: %d %s", a.status, a.body)
	}
	if a := v.get("https://www.googleapis.com/youtube/v3/channels?part=id", token); a.status != 400 {
		t.Errorf("without a filter: %d", a.status)
	}
	v.box.Tune(func(k *sandbox.Knobs) { k.YouTube().DailyUnits = 1 })
	if a := v.get(channels, token); a.status != 403 || !strings.Contains(a.body, "quotaExceeded") {
		t.Errorf("beyond the quota: %d %s", a.status, a.body)
	}
}

func testYouTubeTokenTimeBasedAccess(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	v.box.Tune(func(k *sandbox.Knobs) { k.YouTube().TimeLimitSeconds = 15551999 })
	a := v.connect(d, sandbox.Choice{})
	if a.json["refresh_token_expires_in"] != 15551999.0 {
		t.Errorf("refresh_token_expires_in is %v", a.json["refresh_token_expires_in"])
	}
	v.box.Tune(func(k *sandbox.Knobs) { k.YouTube().OmitGrantEnd = true })
	if a := v.connect(d, sandbox.Choice{}); a.json["refresh_token_expires_in"] != nil {
		t.Errorf("left out: refresh_token_expires_in is %v", a.json["refresh_token_expires_in"])
	}
}

func testYouTubeTokenScopesUnderAnotherName(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	d.authorize = with(d.authorize, "scope", "email profile")
	const want = "https://www.googleapis.com/auth/userinfo.email openid https://www.googleapis.com/auth/userinfo.profile"
	if a := v.connect(d, sandbox.Choice{}); a.text("scope") != want {
		t.Errorf("scope is %q, want %q", a.text("scope"), want)
	}
}

func testYouTubeChannelsBrandAccount(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	person := v.box.People(sandbox.YouTube)[0]
	brand := person.BrandChannels[0]
	if _, err := v.box.Consent(d.authorizeURL+"?"+d.authorize.Encode(), sandbox.Choice{Channel: brand.ID}); err == nil {
		t.Error("without select_account the page offers the channel of a brand account")
	}
	d.authorize = with(d.authorize, "prompt", "consent select_account")
	for _, row := range []struct{ chosen, want string }{{"", person.Channel}, {person.Channel, person.Channel}, {brand.ID, brand.ID}} {
		a := v.get(channels, v.connect(d, sandbox.Choice{Channel: row.chosen}).text("access_token"))
		if !strings.Contains(a.body, `"id":"`+row.want+`"`) {
			t.Errorf("chose %q: got %s", row.chosen, a.body)
		}
	}
	if _, err := v.box.Consent(d.authorizeURL+"?"+d.authorize.Encode(), sandbox.Choice{Channel: v.box.People(sandbox.YouTube)[1].Channel}); err == nil {
		t.Error("the page offers the channel of another person")
	}
}

func testYouTubeChannelsAccountRefused(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	token := v.connect(d, sandbox.Choice{}).text("access_token")
	v.box.Tune(func(k *sandbox.Knobs) { k.YouTube().AccountRefusal = "channelSuspended" })
	if a := v.get(channels, token); a.status != 403 || !strings.Contains(a.body, `"reason":"channelSuspended"`) {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

func testYouTubeTokeninfoNumbersAsStrings(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	a := v.get("https://oauth2.googleapis.com/tokeninfo?access_token="+v.connect(d, sandbox.Choice{}).text("access_token"), "")
	if a.text("expires_in") != "3599" || a.text("aud") != "sandbox-youtube-client" {
		t.Errorf("got %s", a.body)
	}
	v.want(v.get("https://oauth2.googleapis.com/tokeninfo?access_token=none", ""), 400, "invalid_token")
}

func testYouTubeTokenIncludeGrantedScopes(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.YouTube)
	v.connect(d, sandbox.Choice{})
	d.authorize = with(d.authorize, "scope", "openid", "include_granted_scopes", "true")
	if a := v.connect(d, sandbox.Choice{}); !strings.Contains(a.text("scope"), "youtube.upload") || !strings.Contains(a.text("scope"), "openid") {
		t.Errorf("scope is %q", a.text("scope"))
	}
	for _, value := range []string{"false", ""} {
		d.authorize = with(d.authorize, "scope", "openid", "include_granted_scopes", value)
		if a := v.connect(d, sandbox.Choice{}); a.text("scope") != "openid" {
			t.Errorf("include_granted_scopes=%s: scope is %q", value, a.text("scope"))
		}
	}
}
