package platform_test

import (
	"encoding/json"
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

var twitterRow = rowOf("twitter")

// keys returns a set of OAuth 1.0a keys of the sandbox, as people import them.
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

func TestTwitter_Import(t *testing.T) {
	t.Run("keys_round_trip", testTwitterImportKeysRoundTrip)
	t.Run("read_only_keys", testTwitterImportReadOnlyKeys)
	t.Run("keys_of_the_app", testTwitterImportKeysOfTheApp)
	t.Run("keys_of_another_app", testTwitterImportKeysOfAnotherApp)
	t.Run("refresh_token_is_spent_only_if_needed", testTwitterImportRefreshTokenIsSpentOnlyIfNeeded)
}

func TestTwitter_Revoke(t *testing.T) {
	t.Run("keys", testTwitterRevokeKeys)
	t.Run("both_tokens", testTwitterRevokeBothTokens)
}

func TestTwitter_Verify(t *testing.T) {
	t.Run("credits_and_caps", testTwitterVerifyCreditsAndCaps)
	t.Run("errors_become_codes", testTwitterVerifyErrorsBecomeCodes)
	t.Run("errors_beside_data", testTwitterVerifyErrorsBesideData)
}

func TestTwitter_Refresh(t *testing.T) {
	t.Run("errors_of_the_token_endpoint", testTwitterRefreshErrorsOfTheTokenEndpoint)
	t.Run("public_client", testTwitterRefreshPublicClient)
	t.Run("client_id_is_not_form_encoded", testTwitterRefreshClientIdIsNotFormEncoded)
	t.Run("spent_refresh_token", testTwitterRefreshSpentRefreshToken)
}

func TestTwitter_Exchange(t *testing.T) {
	t.Run("missing_scopes", testTwitterExchangeMissingScopes)
}

func testTwitterImportKeysRoundTrip(t *testing.T) {
	w := newWorld(t, twitterRow)
	// The signature covers the URL of the call.
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().SignedURL = "sent" })
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
		t.Errorf("Full (-imported +got):\n%s", diff)
	}
	token, kind, public := w.platform.Token(w.app, g.Credentials)
	if !token.Equal(keys["access_token"]) || kind != "OAuth1" {
		t.Errorf("token type %q", kind)
	}
	if diff := cmp.Diff(keys.Reveal(), public.Reveal()); diff != "" {
		t.Errorf("the keys of a caller (-want +got):\n%s", diff)
	}
	checked, err := w.platform.Refresh(t.Context(), w.app, g.Credentials)
	if err != nil || !checked.Fields.Equal(g.Credentials.Fields) {
		t.Errorf("a check: error %v", err)
	}
	if calls := w.box.Count("twitter", "token"); calls != 0 {
		t.Errorf("the token endpoint was called %d times", calls)
	}
}

func testTwitterImportReadOnlyKeys(t *testing.T) {
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
			t.Errorf("%s: keys without an expiry lack offline.access: %v", level, g.Credentials.Scopes)
		}
		if warned := strings.HasPrefix(g.Warning, "read_only_keys:"); warned == writes {
			t.Errorf("%s: warning %q", level, g.Warning)
		}
		checked, err := w.platform.Refresh(t.Context(), w.app, connector.Credentials{Fields: g.Credentials.Fields})
		if diff := cmp.Diff(g.Credentials.Scopes, checked.Scopes); diff != "" || err != nil {
			t.Errorf("%s: scopes after a check, error %v (-want +got):\n%s", level, err, diff)
		}
	}
}

func testTwitterImportKeysOfTheApp(t *testing.T) {
	w := newWorld(t, twitterRow)
	keys := w.keys("read-write")
	for _, name := range []string{"api_key", "api_secret", "bearer_token"} {
		w.app.Extras[name] = keys[name]
	}
	short := connector.Fields{"access_token": keys["access_token"], "access_token_secret": keys["access_token_secret"]}
	for name, imported := range map[string]connector.Fields{"left out": short, "repeated": keys} {
		grants, err := w.platform.Import(t.Context(), w.app, imported, true)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(short.Reveal(), grants[0].Credentials.Fields.Reveal()); diff != "" {
			t.Errorf("%s: stored (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff(keys.Reveal(), w.platform.Full(w.app, grants[0].Credentials).Reveal()); diff != "" {
			t.Errorf("%s: Full (-want +got):\n%s", name, diff)
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
	if err != nil || grants[0].Account.ID != "1500000000000000001" || grants[0].UserID != "1500000000000000001" {
		t.Errorf("unverified: got %+v, error %v", grants, err)
	}
}

func testTwitterImportKeysOfAnotherApp(t *testing.T) {
	w := newWorld(t, twitterRow)
	w.app.Extras.Set("bearer_token", "test-bearer-of-the-app")
	own, short := w.keys("read-write"), w.keys("read-write")
	delete(own, "bearer_token")
	delete(short, "api_key")
	delete(short, "api_secret")
	oauth2 := w.connect().Credentials.Fields
	for name, test := range map[string]struct {
		fields   connector.Fields
		bearer   string
		needsApp bool
	}{
		"keys with their own app":    {own, "", false},
		"keys with their own bearer": {short, short.Get("bearer_token"), true},
		"tokens":                     {oauth2, "", false},
	} {
		c := connector.Credentials{Fields: test.fields}
		if got := w.platform.Full(w.app, c).Get("bearer_token"); got != test.bearer {
			t.Errorf("%s: Full has the bearer token %q, want %q", name, got, test.bearer)
		}
		if got := w.platform.TokenNeedsApp(c); got != test.needsApp {
			t.Errorf("%s: needs the app: %t", name, got)
		}
	}
	unnamed := w.keys("read-write")
	unnamed.Set("access_token", "test-without-a-number")
	grants, err := w.platform.Import(t.Context(), connector.App{}, unnamed, false)
	if err != nil || grants[0].Account.ID != "" || grants[0].UserID != "" {
		t.Errorf("an access token without an account in it: got %+v, error %v", grants, err)
	}
}

func testTwitterRevokeKeys(t *testing.T) {
	w := newWorld(t, twitterRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().V1Errors = true })
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

func testTwitterVerifyCreditsAndCaps(t *testing.T) {
	w := newWorld(t, twitterRow)
	c := w.connect().Credentials
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().UsageCapped = true })
	_, err := w.platform.Verify(t.Context(), w.app, c)
	w.fails(err, connector.QuotaExhausted, false)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().UsageCapped, k.Twitter().NotEnrolled = false, true })
	_, err = w.platform.Verify(t.Context(), w.app, c)
	w.fails(err, connector.AppMisconfigured, false)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().NotEnrolled = false })
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

func testTwitterVerifyErrorsBecomeCodes(t *testing.T) {
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
		"wrong package, by type": {403, problem("client-not-enrolled"), connector.AppMisconfigured, "client_not_enrolled"},
		"wrong package":          {403, `{"reason":"client-not-enrolled","type":"https://api.twitter.com/2/problems/client-forbidden"}`, connector.AppMisconfigured, "client_not_enrolled"},
		"a suspended account":    {403, problem("user-suspended"), connector.PlatformUnavailable, "account_suspended"},
		"suspended, by its code": {403, `{"errors":[{"code":64,"message":"canary"}]}`, connector.PlatformUnavailable, "account_suspended"},
		"a locked account":       {403, `{"errors":[{"code":326,"message":"canary"}]}`, connector.PlatformUnavailable, "account_locked"},
		"an app-only token":      {403, problem("unsupported-authentication"), connector.ReauthorizationRequired, "not_a_user_token"},
		"a cap told with 402":    {402, problem("usage-capped"), connector.QuotaExhausted, "usage_capped"},
		"a cap told with 403":    {403, problem("usage-capped"), connector.QuotaExhausted, "usage_capped"},
		"no money":               {402, `{}`, connector.QuotaExhausted, "credits_depleted"},
		"a client that may not":  {403, problem("client-forbidden"), connector.AppMisconfigured, ""},
		"a type in a list":       {403, `{"errors":[{"type":"https://api.twitter.com/2/problems/credits"}]}`, connector.QuotaExhausted, "credits_depleted"},
		"wrong keys":             {401, `{"errors":[{"code":32,"message":"canary"}]}`, connector.AppMisconfigured, ""},
		"an invalid token":       {403, `{"errors":[{"code":89}]}`, connector.ReauthorizationRequired, ""},
		"unknown keys":           {400, `{"errors":[{"code":215,"message":"canary"}]}`, connector.AppMisconfigured, ""},
		"a suspended app":        {401, `{"errors":[{"code":416,"message":"canary"}]}`, connector.AppMisconfigured, "app_suspended"},
		"an app that only reads": {403, `{"errors":[{"code":261,"message":"canary"}]}`, connector.AppMisconfigured, ""},
		"wrong package, by code": {403, `{"errors":[{"code":453,"message":"canary"}]}`, connector.AppMisconfigured, "client_not_enrolled"},
		// That went away by itself (https://github.com/nextcloud/integration_twitter/issues/25,
		// read 2026-11-25).
		"another account":        {403, `{"errors":[{"code":63,"message":"canary"}]}`, connector.PlatformUnavailable, ""},
		"our clock":              {401, `{"errors":[{"code":135}]}`, connector.PlatformUnavailable, ""},
		"throttled by code":      {400, `{"errors":[{"code":88}]}`, connector.RateLimited, ""},
		"a catch-all, no death":  {403, `{"type":"about:blank","title":"Forbidden"}`, connector.PlatformUnavailable, ""},
		"a page in place of 401": {401, `<html>`, connector.PlatformUnavailable, ""},
		"truncated answer":       {200, `{"errors":[{"type":"https://api.x.com/2/problems/resource-not-found"}]}`, connector.PlatformUnavailable, ""},
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
				t.Errorf("the message repeats text of the platform: %v", err)
			}
		})
	}
}

func testTwitterVerifyErrorsBesideData(t *testing.T) {
	w := newWorld(t, twitterRow)
	c := w.connect().Credentials
	body := `{"data":{"id":"` + twitterRow.account + `","username":"sandbox_one"},"errors":[{"type":"https://api.x.com/2/problems/client-forbidden"}]}`
	w.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.Body, Text: body, Status: 200})
	if v, err := w.platform.Verify(t.Context(), w.app, c); err != nil || v.Account.ID != twitterRow.account {
		t.Errorf("got %+v, error %v", v, err)
	}
}

func testTwitterRefreshErrorsOfTheTokenEndpoint(t *testing.T) {
	invalid := func(what string) string {
		return `{"error":"invalid_request","error_description":"` + what + `"}`
	}
	for name, test := range map[string]struct {
		status            int
		body              string
		forCode, forRenew connector.Code
	}{
		"an invalid token":    {400, invalid("Value passed for the token was invalid."), connector.StateInvalid, connector.ReauthorizationRequired},
		"an invalid code":     {400, invalid("Value passed for the authorization code was invalid."), connector.StateInvalid, connector.AppMisconfigured},
		"another verifier":    {400, invalid("Value passed for the code verifier did not match the code challenge."), connector.StateInvalid, connector.AppMisconfigured},
		"a malformed request": {400, invalid("Missing required parameter [grant_type]."), connector.AppMisconfigured, connector.AppMisconfigured},
		// https://github.com/tweepy/tweepy/issues/2021, read 2026-11-25
		"no verifier":          {400, invalid("Missing required parameter [code_verifier]."), connector.AppMisconfigured, connector.AppMisconfigured},
		"a list beside":        {400, `{"error":"invalid_request","error_description":"Value passed for the token was invalid.","errors":[{"message":"canary"}]}`, connector.StateInvalid, connector.ReauthorizationRequired},
		"a confidential app":   {401, `{"error":"unauthorized_client","error_description":"Missing valid authorization header"}`, connector.AppMisconfigured, connector.AppMisconfigured},
		"a cap told with 429":  {429, `{"type":"https://api.x.com/2/problems/usage-capped"}`, connector.QuotaExhausted, connector.QuotaExhausted},
		"a throttle with code": {429, `{"errors":[{"code":88}]}`, connector.RateLimited, connector.RateLimited},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, twitterRow)
			c := w.connect().Credentials
			a := w.authorization()
			code := w.consent(a, sandbox.Choice{})
			w.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Body, Text: test.body, Status: test.status, Times: 2})
			_, err := exchange(t.Context(), w.platform, w.app, a, code)
			w.fails(err, test.forCode, false)
			_, err = w.platform.Refresh(t.Context(), w.app, c)
			w.fails(err, test.forRenew, false)
		})
	}
}

func testTwitterExchangeMissingScopes(t *testing.T) {
	w := newWorld(t, twitterRow)
	a := w.authorization()
	for _, scope := range []string{"tweet.read", "users.read"} {
		left, err := json.Marshal(strings.Join(without(a.Scopes, []string{scope}), " "))
		if err != nil {
			t.Fatal(err)
		}
		w.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{"scope": left}})
		grants, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{}))
		if e := w.fails(err, connector.ScopeMissing, false); !slices.Contains(e.MissingScopes, scope) {
			t.Errorf("without %s: missing scopes %v", scope, e.MissingScopes)
		}
		if len(grants) != 1 || grants[0].Credentials.Fields["access_token"].Empty() {
			t.Errorf("without %s: there is no grant to revoke", scope)
		}
	}
	w.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Fields, Omit: []string{"refresh_token"}})
	g := w.connect()
	if !strings.HasPrefix(g.Warning, "no_refresh_token:") {
		t.Errorf("without a refresh token: warning %q", g.Warning)
	}
	if err := w.platform.(connector.Revoker).Revoke(t.Context(), w.app, g.Credentials, ""); err != nil || w.box.Count("twitter", "revoke") != 1 {
		t.Errorf("revoking an access token alone: %d calls, error %v", w.box.Count("twitter", "revoke"), err)
	}
}

func testTwitterRevokeBothTokens(t *testing.T) {
	for name, test := range map[string]struct {
		status int
		body   string
		want   error
		calls  int
	}{
		"both live":             {200, `{"revoked":true}`, nil, 2},
		"both invalid":          {400, `{"error":"invalid_token"}`, nil, 2},
		"invalid, in X's words": {400, `{"error":"invalid_request","error_description":"Value passed for the token was invalid."}`, nil, 2},
		"the app is refused":    {401, `{"error":"invalid_client"}`, connector.AppMisconfigured, 1},
		"something in between":  {403, `<html>`, connector.PlatformUnavailable, 1},
	} {
		w := newWorld(t, twitterRow)
		c := w.connect().Credentials
		w.box.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "revoke", Kind: sandbox.Body, Text: test.body, Status: test.status, Times: 2})
		err := w.platform.(connector.Revoker).Revoke(t.Context(), w.app, c, "")
		if calls := w.box.Count("twitter", "revoke"); !errors.Is(err, test.want) || calls != test.calls {
			t.Errorf("%s: %d calls, error %v, want %d and %v", name, calls, err, test.calls, test.want)
		}
	}
}

func testTwitterRefreshPublicClient(t *testing.T) {
	w := newWorld(t, twitterRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.Twitter().PublicClient = true })
	w.app.ClientSecret = connector.Secret{}
	g := w.connect()
	if _, err := w.platform.Refresh(t.Context(), w.app, g.Credentials); err != nil {
		t.Error(err)
	}
	for _, call := range w.box.Calls("twitter", "token") {
		if call.Header.Get("Authorization") != "" || call.Form.Get("client_id") != w.app.ClientID {
			t.Error("the form has no client id for an app without a secret")
		}
	}
}

func testTwitterRefreshClientIdIsNotFormEncoded(t *testing.T) {
	var user, password string
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ = r.BasicAuth()
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(api.Close)
	p := find(t, "twitter", platform.Options{Endpoints: map[string]string{"https://api.x.com": api.URL}})
	app := connector.App{ClientID: "a b", ClientSecret: connector.NewSecret("c+d/e=:%f")}
	if _, err := exchange(t.Context(), p, app, connector.Authorization{}, connector.NewSecret("test-code")); !errors.Is(err, connector.PlatformUnavailable) {
		t.Errorf("got %v", err)
	}
	if user != "a b" || password != "c+d/e=:%f" {
		t.Errorf("client id and secret are %q, %q", user, password)
	}
}

func testTwitterRefreshSpentRefreshToken(t *testing.T) {
	w := newWorld(t, twitterRow)
	c := w.connect().Credentials
	if _, err := w.platform.Refresh(t.Context(), w.app, c); err != nil {
		t.Fatal(err)
	}
	_, err := w.platform.Refresh(t.Context(), w.app, c)
	w.fails(err, connector.ReauthorizationRequired, false)
}

func testTwitterImportRefreshTokenIsSpentOnlyIfNeeded(t *testing.T) {
	for _, row := range []row{twitterRow, tiktokRow} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row)
			full := w.pasted()
			grants, err := w.platform.Import(t.Context(), w.app, full, true)
			if err != nil {
				t.Fatal(err)
			}
			if g := grants[0]; !g.ScopesUnknown || !strings.HasPrefix(g.Warning, "scopes_unknown:") || len(g.Credentials.Scopes) == 0 {
				t.Errorf("without a refresh: scopes %v, unknown %t, warning %q", g.Credentials.Scopes, g.ScopesUnknown, g.Warning)
			}
			w.box.Fault(sandbox.Fault{Platform: row.name, Endpoint: row.me, Kind: sandbox.Outage})
			_, err = w.platform.Import(t.Context(), w.app, full, true)
			w.fails(err, connector.PlatformUnavailable, false)
			if got := w.box.Count(row.name, "token/refresh_token"); got != 0 {
				t.Errorf("a valid token was refreshed %d times", got)
			}
			w.box.Expire(row.name)
			grants, err = w.platform.Import(t.Context(), w.app, full, true)
			if err != nil {
				t.Fatal(err)
			}
			g := grants[0]
			if g.Credentials.Fields["refresh_token"].Equal(full["refresh_token"]) {
				t.Error("the credentials contain the spent refresh token")
			}
			if lacking := without(w.platform.Describe().Scopes, g.Credentials.Scopes); len(lacking) > 0 || g.Warning != "" {
				t.Errorf("after a refresh: lacks %v, warning %q", lacking, g.Warning)
			}
			if _, err := w.platform.Refresh(t.Context(), w.app, g.Credentials); err != nil {
				t.Errorf("refreshing the imported credentials: %v", err)
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
