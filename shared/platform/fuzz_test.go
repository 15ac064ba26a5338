package platform

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func FuzzReadTokens(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"test","expires_in":3600,"refresh_token":"test-2","scope":"a b","token_type":"Bearer"}`,
		`{"access_token":"test","expires_in":"3600.0","refresh_expires_in":1e18,"scope":"a,b","open_id":"x"}`,
		`{"access_token":"test","expires_in":-1}`,
		`{"access_token":"test","access_token":"test-2"}`,
		`{"access_token":"test","error":"invalid_grant"}`,
		`{"access_token":{"access_token":"test"}}`,
		`{"access_token":"te\u0000st"}`,
		`{"access_token":"test"} x`,
		`[]`, ``, `{`, "\xff", `{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := readTokens(body)
		if err != nil {
			return
		}
		var object map[string]json.RawMessage
		if json.Unmarshal(body, &object) != nil {
			t.Fatal("an answer that is not a JSON object was accepted")
		}
		if got.access.Empty() || !isCredential(got.access.Reveal()) || !isCredential(got.refresh.Reveal()) {
			t.Error("a token that cannot be one was taken")
		}
		if isPresent(object["error"]) {
			t.Error("an error passed for a success")
		}
		for _, life := range []time.Duration{got.expiresIn, got.refreshExpiresIn} {
			if life < 0 || life > maxLifetime {
				t.Errorf("a lifetime of %v was believed", life)
			}
		}
		for _, scope := range got.scopes {
			if !scopePattern.MatchString(scope) {
				t.Errorf("scope %q was taken", scope)
			}
		}
	})
}

func FuzzReadSignedRequest(f *testing.F) {
	secret := connector.NewSecret("test-app-secret")
	sign := func(payload string) string {
		encoded := base64.RawURLEncoding.EncodeToString([]byte(payload))
		return base64.RawURLEncoding.EncodeToString(signature(secret, []byte(encoded))) + "." + encoded
	}
	for _, payload := range []string{
		`{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":1795428000}`,
		`{"algorithm":"HMAC-SHA256","user_id":17841400000000001}`,
		`{"algorithm":"none","user_id":"1"}`,
		`{"algorithm":"HMAC-SHA256"}`,
		`{"algorithm":"HMAC-SHA256","user_id":"1","user_id":"2"}`,
		`not JSON`,
	} {
		f.Add(sign(payload), payload)
	}
	f.Add(sign(`{"algorithm":"HMAC-SHA256","user_id":"1","code":"test"}`), `{"algorithm":"HMAC-SHA256","user_id":"1","oauth_token":"test"}`)
	f.Add(".", "")
	f.Add("a.b", "{}")
	f.Fuzz(func(t *testing.T, signed, payload string) {
		if r, err := parseSignedRequest(signed); err == nil && r.signedWith(connector.NewSecret("another-secret")) {
			t.Error("what another app signed was taken")
		}
		r, err := parseSignedRequest(sign(payload))
		if err != nil {
			return
		}
		var body map[string]any
		if json.Unmarshal([]byte(payload), &body) != nil || !accountPattern.MatchString(r.userID) {
			t.Errorf("took %q from %q", r.userID, payload)
		}
		if body["code"] != nil || body["oauth_token"] != nil {
			t.Errorf("took %q, which was made for a browser", payload)
		}
		if !r.signedWith(secret) {
			t.Error("what the app signed was refused")
		}
	})
}

func FuzzTikTokSignature(f *testing.F) {
	secret, now := connector.NewSecret("test-client-secret"), time.Unix(1795428000, 0)
	header := func(at int64, body string) string {
		t := strconv.FormatInt(at, 10)
		return "t=" + t + ",s=" + hex.EncodeToString(signature(secret, []byte(t+"."+body)))
	}
	f.Add(header(now.Unix(), "{}"), int64(0), "{}")
	f.Add("t=1,s=", int64(301), "")
	f.Add("t=1,t=2,s=00", int64(-301), "x")
	f.Add("t=1,t=2,s=00", int64(-(72*60+5)*60-1), "x")
	f.Add(",,,", int64(1)<<62, "x")
	f.Fuzz(func(t *testing.T, forged string, off int64, body string) {
		if signed, err := parseTikTokSignature(forged); err == nil && signed.signs(connector.NewSecret("another-secret"), []byte(body)) {
			t.Error("what another app signed was taken")
		}
		signed, err := parseTikTokSignature(header(now.Unix()+off, body))
		if err != nil {
			t.Fatal(err)
		}
		const retries = (72*60 + 5) * 60
		if inside := off >= -retries && off <= 300; inside != (signed.checkTime(now) == nil) {
			t.Errorf("%d seconds off: %v", off, signed.checkTime(now))
		}
		if !signed.signs(secret, []byte(body)) {
			t.Error("what the app signed was refused")
		}
		if signed.signs(secret, []byte(body+" ")) {
			t.Error("another body was taken")
		}
	})
}
