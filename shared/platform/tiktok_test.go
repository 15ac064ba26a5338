package platform_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

var tiktokRow = rowOf("tiktok")

func TestTikTok_Exchange(t *testing.T) {
	t.Run("lifetimes_of_the_answer", testTikTokExchangeLifetimesOfTheAnswer)
	t.Run("accounts", testTikTokExchangeAccounts)
	t.Run("errors_in_200", testTikTokExchangeErrorsIn200)
	t.Run("errors_become_codes", testTikTokExchangeErrorsBecomeCodes)
	t.Run("stable_id", testTikTokExchangeStableID)
}

func TestTikTok_Import(t *testing.T) {
	t.Run("tokens_of_another_account", testTikTokImportTokensOfAnotherAccount)
}

func TestTikTok_Verify(t *testing.T) {
	t.Run("errors_become_codes", testTikTokVerifyErrorsBecomeCodes)
}

func TestTikTok_ReadNotice(t *testing.T) {
	t.Run("signed_and_forged", testTikTokReadNoticeSignedAndForged)
}

func testTikTokExchangeLifetimesOfTheAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		legacy        bool
		access, grant time.Duration
	}{
		"today":        {false, 2 * time.Hour, 180 * 24 * time.Hour},
		"as in spring": {true, 24 * time.Hour, 365 * 24 * time.Hour},
	} {
		w := newWorld(t, tiktokRow)
		w.box.Tune(func(k *sandbox.Knobs) {
			if test.legacy {
				k.TikTok().Legacy()
			}
		})
		c := w.connect().Credentials
		if !c.ExpiresAt.Equal(w.now.Add(test.access)) || !c.GrantExpiresAt.Equal(w.now.Add(test.grant)) {
			t.Errorf("%s: expires %v, grant %v", name, c.ExpiresAt, c.GrantExpiresAt)
		}
		if got, want := c.Fields.Get("refresh_token_expiry"), c.GrantExpiresAt.Format(time.RFC3339); got != want {
			t.Errorf("%s: refresh_token_expiry %q, want %q", name, got, want)
		}
		w.now = w.now.Add(time.Hour)
		renewed, err := w.platform.Refresh(t.Context(), w.app, c)
		if err != nil {
			t.Fatal(err)
		}
		if !renewed.GrantExpiresAt.Equal(c.GrantExpiresAt) {
			t.Errorf("%s: the rest of the grant differs from the answer", name)
		}
	}
}

func testTikTokExchangeAccounts(t *testing.T) {
	w := newWorld(t, tiktokRow)
	a := w.authorization()
	spoil := func(fault sandbox.Fault) ([]connector.Grant, error) {
		fault.Platform = "tiktok"
		w.box.Fault(fault)
		return exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{}))
	}
	_, err := spoil(sandbox.Fault{Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"open_id"}})
	w.fails(err, connector.PlatformUnavailable, true)
	_, err = spoil(sandbox.Fault{Endpoint: "me", Kind: sandbox.Body, Text: `{"data":{"user":{"open_id":"another"}},"error":{"code":"ok"}}`})
	w.fails(err, connector.PlatformUnavailable, true)
	asked := w.box.Count("tiktok", "me")
	grants, err := spoil(sandbox.Fault{Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{"scope": json.RawMessage(`"video.publish"`)}})
	if err != nil || grants[0].Account.ID != tiktokRow.account || w.box.Count("tiktok", "me") != asked {
		t.Fatalf("without user.info.basic: got %+v, error %v", grants, err)
	}
	w.box.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"open_id"}})
	renewed, err := w.platform.Refresh(t.Context(), w.app, grants[0].Credentials)
	if err != nil || renewed.Fields.Get("open_id") != tiktokRow.account {
		t.Errorf("a refresh without an open_id: got %q, error %v", renewed.Fields.Get("open_id"), err)
	}
}

// The union_id is the stable id of a consent, of an import and of a check.
func testTikTokExchangeStableID(t *testing.T) {
	for _, omit := range []bool{false, true} {
		w := newWorld(t, tiktokRow)
		w.box.Tune(func(k *sandbox.Knobs) { k.TikTok().OmitUnionID = omit })
		want := w.box.People(sandbox.TikTok)[0].UnionID
		if omit {
			want = ""
		}
		g := w.connect()
		checked, err := w.platform.Verify(t.Context(), w.app, g.Credentials)
		if err != nil {
			t.Fatal(err)
		}
		imported, err := w.platform.Import(t.Context(), w.app, w.pasted(), true)
		if err != nil {
			t.Fatal(err)
		}
		for name, got := range map[string]string{"consent": g.StableID, "check": checked.StableID, "import": imported[0].StableID} {
			if got != want {
				t.Errorf("union_id left out %t: %s has %q, want %q", omit, name, got, want)
			}
		}
	}
}

func testTikTokImportTokensOfAnotherAccount(t *testing.T) {
	w := newWorld(t, tiktokRow)
	for open, verify := range map[string]bool{"../me": false, "another": true} {
		fields := w.pasted()
		fields.Set("open_id", open)
		_, err := w.platform.Import(t.Context(), w.app, fields, verify)
		if e := w.fails(err, connector.InvalidRequest, false); !strings.Contains(e.Message, "open_id") {
			t.Errorf("open_id %q: %q does not name it", open, e.Message)
		}
	}
	endless := w.pasted()
	delete(endless, "refresh_token_expiry")
	grants, err := w.platform.Import(t.Context(), w.app, endless, false)
	if err != nil || grants[0].Credentials.Fields.Get("refresh_token_expiry") != "" {
		t.Errorf("without refresh_token_expiry: got %+v, error %v", grants, err)
	}
	endless.Set("refresh_token_expiry", "1795428000")
	grants, err = w.platform.Import(t.Context(), w.app, endless, false)
	if err != nil || grants[0].Credentials.Fields.Get("refresh_token_expiry") != "2026-11-23T10:00:00Z" {
		t.Errorf("refresh_token_expiry in seconds: got %+v, error %v", grants, err)
	}
	delete(grants[0].Credentials.Fields, "refresh_token")
	_, err = w.platform.Refresh(t.Context(), w.app, grants[0].Credentials)
	if e := w.fails(err, connector.ReauthorizationRequired, false); e.Reason != "no_refresh_token" {
		t.Errorf("reason %q", e.Reason)
	}
}

func testTikTokExchangeErrorsIn200(t *testing.T) {
	w := newWorld(t, tiktokRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.TikTok().ErrorsIn200 = true })
	c := w.connect().Credentials
	if _, err := w.platform.Refresh(t.Context(), w.app, c); err != nil {
		t.Fatal(err)
	}
	_, err := w.platform.Refresh(t.Context(), w.app, c)
	w.fails(err, connector.ReauthorizationRequired, false)
	wrong := w.app
	wrong.ClientSecret = connector.NewSecret("test-wrong-secret")
	_, err = w.platform.Refresh(t.Context(), wrong, c)
	w.fails(err, connector.AppMisconfigured, false)
}

// An answer that does not say whose fault it is ends no grant and accuses no app.
func testTikTokExchangeErrorsBecomeCodes(t *testing.T) {
	for name, test := range map[string]struct {
		status            int
		body              string
		forCode, forRenew connector.Code
	}{
		"an expired code":      {400, `{"error":"invalid_grant","error_description":"canary","log_id":"1"}`, connector.StateInvalid, connector.ReauthorizationRequired},
		"a wrong secret":       {401, `{"error":"invalid_client","error_description":"canary","log_id":"1"}`, connector.AppMisconfigured, connector.AppMisconfigured},
		"a form without a key": {400, `{"error":"invalid_request","error_description":"canary","log_id":"1"}`, connector.AppMisconfigured, connector.AppMisconfigured}, // https://github.com/nextauthjs/next-auth/issues/12437, read 2026-11-25
		"the account":          {400, `{"error":"access_denied"}`, connector.AccessDenied, connector.ReauthorizationRequired},
		"the API's envelope":   {401, `{"data":{},"error":{"code":"access_token_invalid","message":"canary","log_id":"1"}}`, connector.PlatformUnavailable, connector.PlatformUnavailable},
		"a number for a word":  {400, `{"error":10007}`, connector.PlatformUnavailable, connector.PlatformUnavailable},
		"maintenance":          {400, `{"error":"temporarily_unavailable"}`, connector.PlatformUnavailable, connector.PlatformUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, tiktokRow)
			c := w.connect().Credentials
			a := w.authorization()
			code := w.consent(a, sandbox.Choice{})
			w.box.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.Body, Text: test.body, Status: test.status, Times: 2})
			_, err := exchange(t.Context(), w.platform, w.app, a, code)
			w.fails(err, test.forCode, false)
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the message repeats text of the platform: %v", err)
			}
			_, err = w.platform.Refresh(t.Context(), w.app, c)
			w.fails(err, test.forRenew, false)
		})
	}
}

func testTikTokVerifyErrorsBecomeCodes(t *testing.T) {
	for code, want := range map[string]connector.Code{
		"access_token_invalid":             connector.ReauthorizationRequired,
		"scope_not_authorized":             connector.ScopeMissing,
		"scope_permission_missed":          connector.ScopeMissing,
		"rate_limit_exceeded":              connector.RateLimited,
		"reached_active_user_cap":          connector.QuotaExhausted,
		"spam_risk_too_many_posts":         connector.QuotaExhausted,
		"spam_risk_too_many_pending_share": connector.QuotaExhausted,
		"internal_error":                   connector.PlatformUnavailable,
		"canary":                           connector.PlatformUnavailable,
	} {
		w := newWorld(t, tiktokRow)
		c := w.connect().Credentials
		w.box.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "me", Kind: sandbox.Body, Text: `{"data":{},"error":{"code":"` + code + `","message":"canary"}}`})
		_, err := w.platform.Verify(t.Context(), w.app, c)
		if e := w.fails(err, want, false); want == connector.QuotaExhausted && e.Reason != code {
			t.Errorf("%s: reason %q", code, e.Reason)
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the message repeats text of the platform: %v", err)
		}
	}
}

func testTikTokReadNoticeSignedAndForged(t *testing.T) {
	w := newWorld(t, tiktokRow)
	noticer := w.platform.(connector.Noticer)
	sent := w.now.Truncate(time.Second)
	body, signature := w.box.TikTokNotice("authorization.removed", tiktokRow.account)
	notice := func(signature string, body []byte) connector.RawNotice {
		return connector.RawNotice{Header: map[string]string{"tiktok-signature": signature}, Body: body}
	}
	got, err := noticer.ReadNotice(w.app, "webhook", notice(signature, body))
	if err != nil {
		t.Fatal(err)
	}
	if got.ID == "" {
		t.Error("nothing tells a retry from another notice")
	}
	again, err := noticer.ReadNotice(w.app, "webhook", notice(w.box.TikTokSignature(body), body))
	if err != nil || again.ID != got.ID {
		t.Errorf("a retry: id %q, want %q, error %v", again.ID, got.ID, err)
	}
	got.ID = ""
	if diff := cmp.Diff(connector.Notice{UserID: tiktokRow.account, Revoked: true, Reason: "deauthorized", At: w.now}, got); diff != "" {
		t.Errorf("authorization.removed (-want +got):\n%s", diff)
	}
	other, otherSignature := w.box.TikTokNotice("video.publish.completed", tiktokRow.account)
	if got, err = noticer.ReadNotice(w.app, "webhook", notice(otherSignature, other)); err != nil || got.UserID != "" || got.Revoked {
		t.Errorf("another event: got %+v, error %v", got, err)
	}
	if got, err = noticer.ReadNotice(w.app, "webhook", w.signedNotice(`{"reason":1}`)); err != nil || got.UserID != tiktokRow.account || !got.Revoked {
		t.Errorf("content that is no string: got %+v, error %v", got, err)
	}
	for name, raw := range map[string]connector.RawNotice{
		"no signature":         notice("", body),
		"of another body":      notice(signature, other),
		"a time of one's own":  notice("t=1,"+signature[strings.Index(signature, "s="):], body),
		"two times":            notice("t=1,"+signature, body),
		"no time":              notice(signature[strings.Index(signature, "s="):], body),
		"no headers whatever":  {Body: body},
		"a signature cut away": notice(signature[:len(signature)-2], body),
	} {
		_, err := noticer.ReadNotice(w.app, "webhook", raw)
		if e := connector.AsError(err); e == nil || e.Code != connector.StateInvalid {
			t.Errorf("%s: got %v", name, err)
		}
	}
	another := w.app
	another.ClientID = "another-client"
	_, err = noticer.ReadNotice(another, "webhook", notice(signature, body))
	w.fails(err, connector.StateInvalid, false)
	_, err = noticer.ReadNotice(connector.App{ClientID: w.app.ClientID}, "webhook", notice(signature, body))
	w.fails(err, connector.AppNotConfigured, false)
	odd, oddSignature := w.box.TikTokNotice("authorization.removed", "../me")
	_, err = noticer.ReadNotice(w.app, "webhook", notice(oddSignature, odd))
	w.fails(err, connector.InvalidRequest, false)
	w.now = w.now.Add(72*time.Hour + 5*time.Minute)
	if late, err := noticer.ReadNotice(w.app, "webhook", notice(signature, body)); err != nil || !late.At.Equal(sent) {
		t.Errorf("the last retry: at %v, want %v, error %v", late.At, sent, err)
	}
	if late, err := noticer.ReadNotice(w.app, "webhook", notice(w.box.TikTokSignature(body), body)); err != nil || !late.At.Equal(sent) {
		t.Errorf("the last retry, signed again: at %v, want %v, error %v", late.At, sent, err)
	}
	w.now = w.now.Add(time.Second)
	_, err = noticer.ReadNotice(w.app, "webhook", notice(signature, body))
	w.fails(err, connector.StateInvalid, false)
	_, err = noticer.ReadNotice(w.app, "deauthorize", notice(signature, body))
	w.fails(err, connector.InvalidRequest, false)
}

// signedNotice returns a signed notice about the removed authorization of the first
// person. Content is any JSON.
func (w *world) signedNotice(content string) connector.RawNotice {
	at := w.now.Unix()
	body := fmt.Sprintf(`{"client_key":%q,"event":"authorization.removed","create_time":%d,"user_openid":%q,"content":%s}`,
		w.app.ClientID, at, tiktokRow.account, content)
	mac := hmac.New(sha256.New, []byte(w.app.ClientSecret.Reveal()))
	fmt.Fprintf(mac, "%d.%s", at, body)
	signature := fmt.Sprintf("t=%d,s=%x", at, mac.Sum(nil))
	return connector.RawNotice{Header: map[string]string{"tiktok-signature": signature}, Body: []byte(body)}
}
