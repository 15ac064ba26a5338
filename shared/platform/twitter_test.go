package platform_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

var twitterRow = rows[2]

// keys is the brief's set of OAuth 1.0a keys, for one of the sandbox's.
func (w *world) keys(level string) connector.Fields {
	w.t.Helper()
	extras := w.box.AppOf("twitter").Extras
	for _, key := range w.box.UserKeys() {
		if key.Level == level {
			f := connector.Fields{}
			f.Set("api_key", extras["api_key"])
			f.Set("api_secret", extras["api_secret"])
			f.Set("bearer_token", extras["bearer_token"])
			f.Set("access_token", key.AccessToken)
			f.Set("access_token_secret", key.AccessTokenSecret)
			return f
		}
	}
	w.t.Fatalf("no key with level %q", level)
	return nil
}

func TestTwitterKeysAreSignedAndRoundTrip(t *testing.T) {
	w := newWorld(t, twitterRow)
	// What is called is what is signed.
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter.SignedURL = "sent" })
	keys := w.keys("read-write")
	grants, err := w.platform.Import(t.Context(), w.app, keys, true)
	if err != nil {
		t.Fatal(err)
	}
	g := grants[0]
	if g.Account.ID != "1500000000000000001" || g.Account.Name != "sandbox_one" || g.Warning != "" || !g.Credentials.ExpiresAt.IsZero() {
		t.Errorf("got %+v, warning %q, expires %v", g.Account, g.Warning, g.Credentials.ExpiresAt)
	}
	if diff := cmp.Diff(keys.Reveal(), w.platform.Full(w.app, g.Credentials).Reveal()); diff != "" {
		t.Errorf("given back (-brought +got):\n%s", diff)
	}
	token, kind, public := w.platform.Token(w.app, g.Credentials)
	if !token.Equal(keys["access_token"]) || kind != "OAuth1" {
		t.Errorf("token type %q", kind)
	}
	if diff := cmp.Diff(keys.Reveal(), public.Reveal()); diff != "" {
		t.Errorf("what a caller signs with (-want +got):\n%s", diff)
	}
	checked, err := w.platform.Refresh(t.Context(), w.app, g.Credentials)
	if err != nil || !checked.Fields.Equal(g.Credentials.Fields) {
		t.Errorf("a check: error %v", err)
	}
	if calls := w.box.Count("twitter", "token"); calls != 0 {
		t.Errorf("the token endpoint was called %d times", calls)
	}
}

func TestTwitterReadOnlyKeysAreFoundOut(t *testing.T) {
	for level, writes := range map[string]bool{"read": false, "read-write": true, "read-write-directmessages": true} {
		w := newWorld(t, twitterRow)
		grants, err := w.platform.Import(t.Context(), w.app, w.keys(level), true)
		if err != nil {
			t.Fatalf("%s: %v", level, err)
		}
		g := grants[0]
		if got := len(without([]string{"tweet.write"}, g.Credentials.Scopes)) == 0; got != writes {
			t.Errorf("%s: scopes %v", level, g.Credentials.Scopes)
		}
		if !slices.Contains(g.Credentials.Scopes, "offline.access") {
			t.Errorf("%s: keys that have no end miss offline.access: %v", level, g.Credentials.Scopes)
		}
		if warned := strings.HasPrefix(g.Warning, "read_only_keys:"); warned == writes {
			t.Errorf("%s: warning %q", level, g.Warning)
		}
	}
}

func TestTwitterKeysOfTheApp(t *testing.T) {
	w := newWorld(t, twitterRow)
	keys := w.keys("read-write")
	for _, name := range []string{"api_key", "api_secret", "bearer_token"} {
		w.app.Extras[name] = keys[name]
	}
	short := connector.Fields{"access_token": keys["access_token"], "access_token_secret": keys["access_token_secret"]}
	for name, brought := range map[string]connector.Fields{"left out": short, "repeated": keys} {
		grants, err := w.platform.Import(t.Context(), w.app, brought, true)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(short.Reveal(), grants[0].Credentials.Fields.Reveal()); diff != "" {
			t.Errorf("%s: stored (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(keys.Reveal(), w.platform.Full(w.app, grants[0].Credentials).Reveal()); diff != "" {
			t.Errorf("%s: given back (-want +got):\n%s", name, diff)
		}
	}
	for _, missing := range []string{"api_key", "api_secret", "access_token", "access_token_secret"} {
		some := keys.Clone()
		delete(some, missing)
		_, err := w.platform.Import(t.Context(), connector.App{}, some, false)
		if e := w.fails(err, connector.InvalidRequest, false); !strings.Contains(e.Message, missing) {
			t.Errorf("without %s: %q does not name it", missing, e.Message)
		}
	}
	grants, err := w.platform.Import(t.Context(), connector.App{}, keys, false)
	if err != nil || grants[0].Account.ID != "1500000000000000001" {
		t.Errorf("unverified: got %+v, error %v", grants, err)
	}
}

func TestTwitterKeysAreRevokedAndRefused(t *testing.T) {
	w := newWorld(t, twitterRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter.V1Errors = true })
	grants, err := w.platform.Import(t.Context(), w.app, w.keys("read-write"), true)
	if err != nil {
		t.Fatal(err)
	}
	c := grants[0].Credentials
	wrong := connector.Credentials{Fields: c.Fields.Clone()}
	wrong.Fields.Set("api_secret", "test-wrong-secret")
	_, err = w.platform.Verify(t.Context(), w.app, wrong)
	w.fails(err, connector.AppMisconfigured, false)
	for range 2 {
		if err := w.platform.(connector.Revoker).Revoke(t.Context(), w.app, c, ""); err != nil {
			t.Fatal(err)
		}
	}
	_, err = w.platform.Verify(t.Context(), w.app, c)
	w.fails(err, connector.ReauthorizationRequired, false)
}

func TestTwitterMoneyAndCaps(t *testing.T) {
	w := newWorld(t, twitterRow)
	c := w.connect().Credentials
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter.UsageCapped = true })
	_, err := w.platform.Verify(t.Context(), w.app, c)
	w.fails(err, connector.QuotaExhausted, false)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter.UsageCapped, k.Twitter.NotEnrolled = false, true })
	_, err = w.platform.Verify(t.Context(), w.app, c)
	w.fails(err, connector.AppMisconfigured, false)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter.NotEnrolled = false })
	for _, endpoint := range []string{"me", "token"} {
		w.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: endpoint, Kind: sandbox.Quota})
		if endpoint == "me" {
			_, err = w.platform.Verify(t.Context(), w.app, c)
		} else {
			_, err = w.platform.Refresh(t.Context(), w.app, c)
		}
		if e := w.fails(err, connector.QuotaExhausted, false); e.Reason != "credits_depleted" {
			t.Errorf("%s: reason %q", endpoint, e.Reason)
		}
	}
}

func TestTwitterErrorsBecomeCodes(t *testing.T) {
	problem := func(kind string) string {
		return `{"title":"canary","detail":"canary","type":"https://api.x.com/2/problems/` + kind + `"}`
	}
	for name, test := range map[string]struct {
		status int
		body   string
		code   connector.Code
		reason string
	}{
		"read-only keys":         {403, problem("oauth1-permissions"), connector.ScopeMissing, "read_only_keys"},
		"app outside a project":  {403, problem("client-not-enrolled"), connector.AppMisconfigured, ""},
		"an app-only token":      {403, problem("unsupported-authentication"), connector.ReauthorizationRequired, "not_a_user_token"},
		"a cap told with 402":    {402, problem("usage-capped"), connector.QuotaExhausted, "usage_capped"},
		"a cap told with 403":    {403, problem("usage-capped"), connector.QuotaExhausted, "usage_capped"},
		"a type in a list":       {403, `{"errors":[{"type":"https://api.twitter.com/2/problems/credits"}]}`, connector.QuotaExhausted, "credits_depleted"},
		"wrong keys":             {401, `{"errors":[{"code":32,"message":"canary"}]}`, connector.AppMisconfigured, ""},
		"a dead token":           {403, `{"errors":[{"code":89}]}`, connector.ReauthorizationRequired, ""},
		"our clock":              {401, `{"errors":[{"code":135}]}`, connector.PlatformUnavailable, ""},
		"throttled by code":      {400, `{"errors":[{"code":88}]}`, connector.RateLimited, ""},
		"a catch-all, no death":  {403, `{"type":"about:blank","title":"Forbidden"}`, connector.PlatformUnavailable, ""},
		"a page in place of 401": {401, `<html>`, connector.PlatformUnavailable, ""},
		"half an answer":         {200, `{"errors":[{"type":"https://api.x.com/2/problems/resource-not-found"}]}`, connector.PlatformUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, twitterRow)
			c := w.connect().Credentials
			w.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.Body, Text: test.body, Status: test.status})
			_, err := w.platform.Verify(t.Context(), w.app, c)
			if e := w.fails(err, test.code, false); e.Reason != test.reason {
				t.Errorf("reason %q, want %q", e.Reason, test.reason)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the platform's words are repeated: %v", err)
			}
		})
	}
}

func TestTwitterPublicClient(t *testing.T) {
	w := newWorld(t, twitterRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter.PublicClient = true })
	w.app.ClientSecret = connector.Secret{}
	g := w.connect()
	if _, err := w.platform.Refresh(t.Context(), w.app, g.Credentials); err != nil {
		t.Error(err)
	}
	for _, call := range w.box.Calls("twitter", "token") {
		if call.Header.Get("Authorization") != "" || call.Form.Get("client_id") != w.app.ClientID {
			t.Error("an app without a secret did not name itself in the form")
		}
	}
}

func TestTwitterClientIsNamedAsItStands(t *testing.T) {
	var user, password string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(api.Close)
	p := find(t, "twitter", platform.Options{Endpoints: map[string]string{"https://api.x.com": api.URL}})
	app := connector.App{ClientID: "a b", ClientSecret: connector.NewSecret("c+d/e=:%f")}
	if _, err := p.Exchange(t.Context(), app, connector.Authorization{}, connector.NewSecret("test-code")); !errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("got %v", err)
	}
	if user != "a b" || password != "c+d/e=:%f" {
		t.Errorf("the client called itself %q, %q", user, password)
	}
}

func TestTwitterSpentRefreshTokenIsDead(t *testing.T) {
	w := newWorld(t, twitterRow)
	c := w.connect().Credentials
	if _, err := w.platform.Refresh(t.Context(), w.app, c); err != nil {
		t.Fatal(err)
	}
	_, err := w.platform.Refresh(t.Context(), w.app, c)
	w.fails(err, connector.ReauthorizationRequired, false)
}

func TestImportsSpendARefreshTokenOnlyInNeed(t *testing.T) {
	for _, row := range []row{twitterRow, tiktokRow} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row)
			full := w.brought()
			if _, err := w.platform.Import(t.Context(), w.app, full, true); err != nil {
				t.Fatal(err)
			}
			if got := w.box.Count(row.name, "token/refresh_token"); got != 0 {
				t.Errorf("a token that works was renewed %d times", got)
			}
			w.box.Expire(row.name)
			grants, err := w.platform.Import(t.Context(), w.app, full, true)
			if err != nil {
				t.Fatal(err)
			}
			g := grants[0]
			if g.Credentials.Fields["refresh_token"].Equal(full["refresh_token"]) {
				t.Error("a spent refresh token was kept")
			}
			if lacking := without(w.platform.Describe().Scopes, g.Credentials.Scopes); len(lacking) > 0 || g.Warning != "" {
				t.Errorf("after renewing: lacks %v, warning %q", lacking, g.Warning)
			}
			if _, err := w.platform.Refresh(t.Context(), w.app, g.Credentials); err != nil {
				t.Errorf("refreshing what was stored: %v", err)
			}

			w.box.Expire(row.name)
			spent := w.platform.Full(w.app, w.connect().Credentials)
			spent.Set("token_expiry", "2020-01-01T00:00:00Z")
			w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: row.me, Kind: sandbox.Outage})
			_, err = w.platform.Import(t.Context(), w.app, spent, true)
			w.fails(err, connector.PlatformUnavailable, true)
		})
	}
}
