package platform_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
)

func testFacebookReadNoticeSignedAndForged(t *testing.T) {
	w := newWorld(t, facebookRow)
	noticer := w.platform.(connector.Noticer)
	notice := func(signed string) connector.RawNotice {
		return connector.RawNotice{Body: []byte(url.Values{"signed_request": {signed}}.Encode())}
	}
	signed := w.box.SignedRequest("100000000000001")

	got, err := noticer.ReadNotice(w.app, "deauthorize", notice(signed))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(connector.Notice{ID: got.ID, UserID: "100000000000001", Revoked: true, Reason: "deauthorized", At: w.now}, got); diff != "" {
		t.Errorf("deauthorize (-want +got):\n%s", diff)
	}
	id := got.ID
	got, err = noticer.ReadNotice(w.app, "data-deletion", notice(signed))
	if err != nil {
		t.Fatal(err)
	}
	if id == "" || got.ID != id {
		t.Errorf("the signed request has the ids %q and %q", id, got.ID)
	}
	if diff := cmp.Diff(connector.Notice{ID: id, UserID: "100000000000001", Delete: true, Reason: "data_deletion", At: w.now}, got); diff != "" {
		t.Errorf("data-deletion (-want +got):\n%s", diff)
	}

	signature, payload, _ := strings.Cut(signed, ".")
	other := base64.RawURLEncoding.EncodeToString([]byte(`{"algorithm":"HMAC-SHA256","user_id":"1"}`))
	sign := func(payload string, at time.Time) string {
		encoded := base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, payload, at.Unix()))
		mac := hmac.New(sha256.New, []byte(w.app.ClientSecret.Reveal()))
		mac.Write([]byte(encoded))
		return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) + "." + encoded
	}
	const form = `{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":%d}`
	for _, at := range []time.Time{w.now.Add(-24 * time.Hour), w.now.Add(5 * time.Minute)} {
		if _, err := noticer.ReadNotice(w.app, "data-deletion", notice(sign(form, at))); err != nil {
			t.Errorf("signed at %v: %v", at, err)
		}
	}
	for name, forged := range map[string]string{
		"a day old":         sign(form, w.now.Add(-24*time.Hour-time.Second)),
		"from the future":   sign(form, w.now.Add(5*time.Minute+time.Second)),
		"without a time":    sign(`{"algorithm":"HMAC-SHA256","user_id":"1"}%.0d`, w.now),
		"with a code":       sign(`{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":%d,"code":"test"}`, w.now),
		"with a user token": sign(`{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":%d,"oauth_token":"test"}`, w.now),
		"too long":          sign(`{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":%d,"x":"`+strings.Repeat("x", 4096)+`"}`, w.now),

		"another payload":   signature + "." + other,
		"no signature":      "." + payload,
		"a cut signature":   signature[:20] + "." + payload,
		"no dot":            signature,
		"a second payload":  signed + "." + other,
		"an empty envelope": ".",
	} {
		_, err := noticer.ReadNotice(w.app, "deauthorize", notice(forged))
		if e := connector.AsError(err); e == nil || e.Code != connector.StateInvalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
	_, err = noticer.ReadNotice(connector.App{ClientSecret: connector.NewSecret("another-secret")}, "deauthorize", notice(signed))
	w.fails(err, connector.StateInvalid, false)
	_, err = noticer.ReadNotice(connector.App{}, "deauthorize", notice(signed))
	w.fails(err, connector.AppNotConfigured, false)
	_, err = noticer.ReadNotice(w.app, "webhook", notice(signed))
	w.fails(err, connector.InvalidRequest, false)
	for _, body := range []string{"", "signed_request=", "signed_request=" + signed + "&signed_request=b", "%zz"} {
		if _, err := noticer.ReadNotice(w.app, "deauthorize", connector.RawNotice{Body: []byte(body)}); err == nil {
			t.Errorf("body %q was taken", body)
		}
	}
}
