package platform_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

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
	if diff := cmp.Diff(connector.Notice{UserID: "100000000000001", Revoked: true, Reason: "deauthorized", At: w.now}, got); diff != "" {
		t.Errorf("deauthorize (-want +got):\n%s", diff)
	}
	got, err = noticer.ReadNotice(w.app, "data-deletion", notice(signed))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(connector.Notice{UserID: "100000000000001", Delete: true, Reason: "data_deletion", At: w.now}, got); diff != "" {
		t.Errorf("data-deletion (-want +got):\n%s", diff)
	}

	signature, payload, _ := strings.Cut(signed, ".")
	other := base64.RawURLEncoding.EncodeToString([]byte(`{"algorithm":"HMAC-SHA256","user_id":"1"}`))
	for name, forged := range map[string]string{
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
