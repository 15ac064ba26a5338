package sandbox_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

const userInfo = "https://open.tiktokapis.com/v2/user/info/?fields="

func TestTikTok_Token(t *testing.T) {
	t.Run("rotation", testTikTokTokenRotation)
	t.Run("legacy_lifetimes", testTikTokTokenLegacyLifetimes)
	t.Run("challenge_in_hex", testTikTokTokenChallengeInHex)
	t.Run("code_is_decoded_once", testTikTokTokenCodeIsDecodedOnce)
	t.Run("errors_with_status_200", testTikTokTokenErrorsWithStatus200)
	t.Run("open_id_of_another_client", testTikTokTokenOpenIDOfAnotherClient)
}

func TestTikTok_Consent(t *testing.T) {
	t.Run("page_is_skipped_for_a_session", testTikTokConsentPageIsSkippedForASession)
}

func TestTikTok_UserInfo(t *testing.T) {
	t.Run("fields_and_scopes", testTikTokUserInfoFieldsAndScopes)
}

func TestTikTok_Revoke(t *testing.T) {
	t.Run("ends_the_grant", testTikTokRevokeEndsTheGrant)
}

func TestTikTok_CreatorInfo(t *testing.T) {
	t.Run("scopes_and_limits", testTikTokCreatorInfoScopesAndLimits)
}

func TestTikTok_Notice(t *testing.T) {
	t.Run("signed", testTikTokNoticeSigned)
}

func testTikTokTokenRotation(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	first := v.connect(d, sandbox.Choice{})
	v.box.Advance(time.Hour)
	second := v.refresh(d, first.text("refresh_token"))
	if second.status != 200 || second.text("refresh_token") == first.text("refresh_token") {
		t.Fatalf("no rotation: %d %s", second.status, second.body)
	}
	if first.json["refresh_expires_in"] != 15552000.0 || second.json["refresh_expires_in"] != 15552000.0-3600 {
		t.Errorf("refresh_expires_in went from %v to %v", first.json["refresh_expires_in"], second.json["refresh_expires_in"])
	}
	v.want(v.refresh(d, first.text("refresh_token")), 400, "invalid_grant")
	if a := v.refresh(d, second.text("refresh_token")); a.status != 200 {
		t.Errorf("the new refresh token after a replay of the old one: %d %s", a.status, a.body)
	}
}

func testTikTokTokenOpenIDOfAnotherClient(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	first := v.connect(d, sandbox.Choice{})
	v.box.SetClient(sandbox.TikTok, "sandbox-tiktok-live", "sandbox-tiktok-live-secret")
	v.want(v.refresh(d, first.text("refresh_token")), 400, "invalid_client")
	for _, values := range []url.Values{d.authorize, d.token} {
		values = with(values, "client_key", "sandbox-tiktok-live")
		if values.Has("client_secret") {
			d.token = with(values, "client_secret", "sandbox-tiktok-live-secret")
		} else {
			d.authorize = values
		}
	}
	v.want(v.refresh(d, first.text("refresh_token")), 400, "invalid_grant")
	second := v.connect(d, sandbox.Choice{})
	if first.text("open_id") == second.text("open_id") || second.text("open_id") != v.box.OpenID("") {
		t.Errorf("open_id %s, before %s", second.text("open_id"), first.text("open_id"))
	}
	for token, openID := range map[string]string{first.text("access_token"): first.text("open_id"), second.text("access_token"): second.text("open_id")} {
		if a := v.get(userInfo+"open_id,union_id", token); !strings.Contains(a.body, `"open_id":"`+openID+`"`) || !strings.Contains(a.body, "sandbox-union-id-one") {
			t.Errorf("user info: %s", a.body)
		}
	}
	v.box.Tune(func(k *sandbox.Knobs) { k.TikTok().OmitUnionID = true })
	if a := v.get(userInfo+"open_id,union_id", second.text("access_token")); a.status != 200 || strings.Contains(a.body, "union_id") {
		t.Errorf("without union_id: %d %s", a.status, a.body)
	}
}

func testTikTokConsentPageIsSkippedForASession(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	people := v.box.People(sandbox.TikTok)
	v.connect(d, sandbox.Choice{})
	auto := with(d.authorize, "disable_auto_auth", "0")
	if _, err := v.box.Consent(d.authorizeURL+"?"+auto.Encode(), sandbox.Choice{Account: people[1].ID}); err == nil {
		t.Error("another account was selected on a page that is not shown")
	}
	page := v.get(d.authorizeURL+"?"+auto.Encode(), "")
	if page.status != 303 || !strings.HasPrefix(page.header.Get("Location"), redirectURI+"?code=") {
		t.Errorf("0: %d, %s", page.status, page.header.Get("Location"))
	}
	for name, values := range map[string]url.Values{"1": d.authorize, "more scopes": with(auto, "scope", "user.info.basic,video.list")} {
		if page := v.get(d.authorizeURL+"?"+values.Encode(), ""); page.status != 200 {
			t.Errorf("%s: %d", name, page.status)
		}
	}
	if _, err := v.box.Consent(d.authorizeURL+"?"+d.authorize.Encode(), sandbox.Choice{Account: people[1].ID}); err != nil {
		t.Error(err)
	}
	v.box.Kill(sandbox.TikTok, "", 0)
	if page := v.get(d.authorizeURL+"?"+auto.Encode(), ""); page.status != 200 {
		t.Errorf("after the app was removed: %d", page.status)
	}
}

func testTikTokTokenLegacyLifetimes(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	if a := v.connect(d, sandbox.Choice{}); a.json["expires_in"] != 7200.0 {
		t.Errorf("expires_in is %v", a.json["expires_in"])
	}
	v.box.Tune(func(k *sandbox.Knobs) { k.TikTok().Legacy() })
	if a := v.connect(d, sandbox.Choice{}); a.json["expires_in"] != 86400.0 || a.json["refresh_expires_in"] != 31536000.0 {
		t.Errorf("legacy: %s", a.body)
	}
}

func testTikTokTokenChallengeInHex(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	code := v.consent(d.authorizeURL, with(d.authorize, "code_challenge", challenge), sandbox.Choice{}).Get("code")
	v.want(v.exchange(d, with(d.token, "code", code)), 400, "invalid_request")
	if _, err := v.box.Consent(d.authorizeURL+"?"+with(d.authorize, "code_challenge", "").Encode(), sandbox.Choice{}); err == nil {
		t.Error("consent without a challenge")
	}
	v.box.Tune(func(k *sandbox.Knobs) { k.TikTok().PKCE = "optional" })
	code = v.consent(d.authorizeURL, with(d.authorize, "code_challenge", ""), sandbox.Choice{}).Get("code")
	if a := v.exchange(d, with(d.token, "code", code, "code_verifier", "")); a.status != 200 {
		t.Errorf("optional: %d %s", a.status, a.body)
	}
}

func testTikTokTokenCodeIsDecodedOnce(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	code := v.consent(d.authorizeURL, d.authorize, sandbox.Choice{}).Get("code")
	if url.QueryEscape(code) == code {
		t.Fatalf("%s needs no encoding", code)
	}
	v.want(v.exchange(d, with(d.token, "code", url.QueryEscape(code))), 400, "invalid_grant")
}

func testTikTokTokenErrorsWithStatus200(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	v.box.Tune(func(k *sandbox.Knobs) { k.TikTok().ErrorsIn200 = true })
	v.want(v.refresh(d, "none"), 200, "invalid_grant")
}

func testTikTokUserInfoFieldsAndScopes(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	token := v.connect(d, sandbox.Choice{}).text("access_token")
	for fields, status := range map[string]int{"open_id,display_name": 200, "open_id,username": 401, "": 400, "open_id,shoe_size": 400} {
		if a := v.get(userInfo+fields, token); a.status != status || !strings.Contains(a.body, `"log_id"`) {
			t.Errorf("fields %q: got %d %s, want %d", fields, a.status, a.body, status)
		}
	}
	v.box.Tune(func(k *sandbox.Knobs) { k.TikTok().UserInfoPerMinute = 0 })
	if a := v.get(userInfo+"open_id", token); a.status != 429 {
		t.Errorf("beyond the limit: %d", a.status)
	}
}

func testTikTokRevokeEndsTheGrant(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	a := v.connect(d, sandbox.Choice{})
	got := v.post("https://open.tiktokapis.com/v2/oauth/revoke/", url.Values{
		"client_key": {"sandbox-tiktok-client"}, "client_secret": {"sandbox-tiktok-secret"}, "token": {a.text("access_token")},
	})
	if got.status != 200 || got.body != "{}" {
		t.Errorf("got %d %s", got.status, got.body)
	}
	v.want(v.refresh(d, a.text("refresh_token")), 400, "invalid_grant")
}

func testTikTokCreatorInfoScopesAndLimits(t *testing.T) {
	v, d := newVisit(t), dialectOf(sandbox.TikTok)
	ask := func(choice sandbox.Choice) answer {
		r := v.request("POST", "https://open.tiktokapis.com/v2/post/publish/creator_info/query/", v.connect(d, choice).text("access_token"))
		r.Header.Set("Content-Type", "application/json; charset=UTF-8")
		return v.do(r)
	}
	if a := ask(sandbox.Choice{}); !strings.Contains(a.body, "PUBLIC_TO_EVERYONE") {
		t.Errorf("a public account: %d %s", a.status, a.body)
	}
	if a := ask(sandbox.Choice{Account: v.box.People(sandbox.TikTok)[1].ID}); !strings.Contains(a.body, "FOLLOWER_OF_CREATOR") {
		t.Errorf("a private account: %d %s", a.status, a.body)
	}
	if a := ask(sandbox.Choice{Untick: []string{"video.publish"}}); a.status != 401 {
		t.Errorf("without video.publish: %d %s", a.status, a.body)
	}
}

func testTikTokNoticeSigned(t *testing.T) {
	v := newVisit(t)
	body, signature := v.box.TikTokNotice("authorization.removed", "open")
	stamp, sum, _ := strings.Cut(strings.TrimPrefix(signature, "t="), ",s=")
	mac := hmac.New(sha256.New, []byte("sandbox-tiktok-secret"))
	mac.Write([]byte(stamp + "." + string(body)))
	if sum != hex.EncodeToString(mac.Sum(nil)) || !strings.Contains(string(body), `"user_openid":"open"`) {
		t.Errorf("got %s with %s", body, signature)
	}
}
