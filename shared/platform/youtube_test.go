package platform_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

var youtubeRow = rowOf("youtube")

func TestYouTube_Exchange(t *testing.T) {
	t.Run("missing_scopes", testYouTubeExchangeMissingScopes)
	t.Run("scopes_that_read_channels", testYouTubeExchangeScopesThatReadChannels)
	t.Run("app_in_testing", testYouTubeExchangeAppInTesting)
	t.Run("time_based_access", testYouTubeExchangeTimeBasedAccess)
	t.Run("account_without_channel", testYouTubeExchangeAccountWithoutChannel)
}

func TestYouTube_Verify(t *testing.T) {
	t.Run("errors_become_codes", testYouTubeVerifyErrorsBecomeCodes)
}

func TestYouTube_Refresh(t *testing.T) {
	t.Run("session_control", testYouTubeRefreshSessionControl)
	t.Run("errors_become_codes", testYouTubeRefreshErrorsBecomeCodes)
}

func TestYouTube_Revoke(t *testing.T) {
	t.Run("refresh_token_or_access_token", testYouTubeRevokeRefreshTokenOrAccessToken)
}

func TestYouTube_Import(t *testing.T) {
	t.Run("refresh_token_is_proven", testYouTubeImportRefreshTokenIsProven)
}

func testYouTubeExchangeMissingScopes(t *testing.T) {
	w := newWorld(t, youtubeRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.YouTube().OmitRefreshToken = true })
	g := w.connect()
	if !strings.HasPrefix(g.Warning, "no_refresh_token:") {
		t.Errorf("without a refresh token: warning %q", g.Warning)
	}
	_, err := w.platform.Refresh(t.Context(), w.app, g.Credentials)
	if e := w.fails(err, connector.ReauthorizationRequired, false); e.Reason != "no_refresh_token" {
		t.Errorf("reason %q", e.Reason)
	}

	a := w.authorization()
	readonly := "https://www.googleapis.com/auth/youtube.readonly"
	fresh := newWorld(t, youtubeRow)
	_, err = exchange(t.Context(), fresh.platform, fresh.app, a, fresh.consent(a, sandbox.Choice{Untick: []string{readonly}}))
	if e := fresh.fails(err, connector.ScopeMissing, false); !slices.Contains(e.MissingScopes, readonly) {
		t.Errorf("missing scopes %v", e.MissingScopes)
	}
}

func testYouTubeExchangeScopesThatReadChannels(t *testing.T) {
	for _, scope := range []string{"youtube", "youtube.force-ssl", "youtubepartner"} {
		w := newWorld(t, youtubeRow)
		granted := json.RawMessage(`"https://www.googleapis.com/auth/` + scope + `"`)
		w.box.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{"scope": granted}})
		if got := w.connect(); got.Account.ID != youtubeRow.account {
			t.Errorf("%s: got %+v", scope, got.Account)
		}
	}
}

func testYouTubeExchangeAppInTesting(t *testing.T) {
	w := newWorld(t, youtubeRow)
	w.box.Tune(func(k *sandbox.Knobs) { k.YouTube().Testing = true })
	g := w.connect()
	if want := w.now.Add(604799 * time.Second); !g.Credentials.GrantExpiresAt.Equal(want) || !strings.HasPrefix(g.Warning, "app_in_testing:") {
		t.Errorf("grant ends %v, want %v; warning %q", g.Credentials.GrantExpiresAt, want, g.Warning)
	}
}

func testYouTubeExchangeTimeBasedAccess(t *testing.T) {
	w := newWorld(t, youtubeRow)
	const seconds = 180 * 24 * 60 * 60
	w.box.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Fields, Set: map[string]json.RawMessage{"refresh_token_expires_in": json.RawMessage(strconv.Itoa(seconds))}})
	g := w.connect()
	if want := w.now.Add(seconds * time.Second); !g.Credentials.GrantExpiresAt.Equal(want) || !strings.HasPrefix(g.Warning, "access_limited:") {
		t.Errorf("grant ends %v, want %v; warning %q", g.Credentials.GrantExpiresAt, want, g.Warning)
	}
}

func testYouTubeExchangeAccountWithoutChannel(t *testing.T) {
	w := newWorld(t, youtubeRow)
	a := w.authorization()
	_, err := exchange(t.Context(), w.platform, w.app, a, w.consent(a, sandbox.Choice{Account: "100000000000000000003"}))
	if e := w.fails(err, connector.AccessDenied, false); e.Reason != "no_channel" {
		t.Errorf("reason %q", e.Reason)
	}
}

func testYouTubeVerifyErrorsBecomeCodes(t *testing.T) {
	google := func(reason, status string) string {
		return `{"error":{"code":403,"message":"canary","errors":[{"reason":"` + reason + `"}],"status":"` + status + `"}}`
	}
	for name, test := range map[string]struct {
		body   string
		status int
		code   connector.Code
	}{
		"quota":          {google("quotaExceeded", ""), 403, connector.QuotaExhausted},
		"upload limit":   {google("uploadLimitExceeded", ""), 400, connector.QuotaExhausted},
		"user rate":      {google("userRateLimitExceeded", ""), 403, connector.RateLimited},
		"scope":          {google("insufficientPermissions", ""), 403, connector.ScopeMissing},
		"scope by name":  {`{"error":{"code":403,"details":[{"reason":"ACCESS_TOKEN_SCOPE_INSUFFICIENT"}],"status":"PERMISSION_DENIED"}}`, 403, connector.ScopeMissing},
		"API disabled":   {google("accessNotConfigured", ""), 403, connector.AppMisconfigured},
		"no channel":     {google("youtubeSignupRequired", ""), 401, connector.AccessDenied},
		"suspended":      {google("authenticatedUserAccountSuspended", ""), 403, connector.AccessDenied},
		"closed":         {google("authenticatedUserAccountClosed", "PERMISSION_DENIED"), 403, connector.AccessDenied},
		"not a channel":  {google("authenticatedUserNotChannel", ""), 403, connector.AccessDenied},
		"channel gone":   {google("channelSuspended", ""), 403, connector.AccessDenied},
		"token":          {google("authError", "UNAUTHENTICATED"), 401, connector.ReauthorizationRequired},
		"no reason":      {`{"error":{"code":401,"message":"canary"}}`, 401, connector.ReauthorizationRequired},
		"token in a 200": {google("authError", "UNAUTHENTICATED"), 200, connector.ReauthorizationRequired},
		"suspended app":  {`{"error":{"code":403,"details":[{"reason":"CONSUMER_SUSPENDED"}],"status":"PERMISSION_DENIED"}}`, 403, connector.AppMisconfigured},
		"unknown":        {google("canary", ""), 403, connector.PlatformUnavailable},
		"forbidden":      {google("forbidden", ""), 403, connector.PlatformUnavailable},
		"daily limit":    {google("dailyLimitExceeded", ""), 403, connector.QuotaExhausted},
		"of another":     {google("accountDelegationForbidden", ""), 403, connector.PlatformUnavailable},
		"no object":      {`{"error":"canary"}`, 403, connector.PlatformUnavailable},
		"two channels":   {`{"items":[{"id":"../x","snippet":{"title":"x"}}]}`, 200, connector.PlatformUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, youtubeRow)
			c := w.connect().Credentials
			w.box.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "channels", Kind: sandbox.Body, Text: test.body, Status: test.status})
			_, err := w.platform.Verify(t.Context(), w.app, c)
			e := w.fails(err, test.code, false)
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the message repeats text of the platform: %v", err)
			}
			if wait := e.ResetsAt.Sub(w.now); test.code == connector.QuotaExhausted && (wait <= 0 || wait > 24*time.Hour || e.ResetsAt.Hour() != 8) {
				t.Errorf("resets at %v", e.ResetsAt)
			}
		})
	}
}

func testYouTubeRefreshSessionControl(t *testing.T) {
	w := newWorld(t, youtubeRow)
	c := w.connect().Credentials
	w.box.Tune(func(k *sandbox.Knobs) { k.YouTube().SessionControl = true })
	_, err := w.platform.Refresh(t.Context(), w.app, c)
	if e := w.fails(err, connector.ReauthorizationRequired, false); e.Reason != "invalid_rapt" {
		t.Errorf("reason %q", e.Reason)
	}
	w.box.Tune(func(k *sandbox.Knobs) { k.YouTube().SessionControl = false })
	w.box.Kill("youtube", "", 0)
	_, err = w.platform.Refresh(t.Context(), w.app, c)
	if e := w.fails(err, connector.ReauthorizationRequired, false); e.Reason != "" {
		t.Errorf("a grant that was revoked: reason %q", e.Reason)
	}
}

// The answers are those of public reports, all read 2026-11-25.
func testYouTubeRefreshErrorsBecomeCodes(t *testing.T) {
	for name, test := range map[string]struct {
		status            int
		body              string
		forCode, forRenew connector.Code
		reason            string // of the refresh
	}{
		// https://github.com/twentyhq/twenty/pull/25148
		"Advanced Protection": {400, `{"error":"policy_enforced","error_description":"canary"}`, connector.AccessDenied, connector.ReauthorizationRequired, "advanced_protection"},
		// https://github.com/dust-tt/dust/pull/31975
		"a Workspace's policy": {400, `{"error":"admin_policy_enforced"}`, connector.AccessDenied, connector.ReauthorizationRequired, "admin_policy"},
		// https://github.com/closeio/sync-engine/pull/1014
		"a restricted account": {400, `{"error":"access_denied","error_description":"canary"}`, connector.AccessDenied, connector.ReauthorizationRequired, "access_denied"},
		// https://github.com/GAM-team/GAM/pull/1171
		"a deleted account": {400, `{"error":"invalid_grant","error_description":"The account has been deleted"}`, connector.StateInvalid, connector.ReauthorizationRequired, ""},
		// https://github.com/googleapis/oauth2client/issues/719
		"no reason": {400, `{"error":"invalid_grant","error_description":"Bad Request"}`, connector.StateInvalid, connector.ReauthorizationRequired, ""},
		// https://github.com/xyou365/AutoRclone/issues/98
		"a deleted client": {401, `{"error":"deleted_client","error_description":"The OAuth client was deleted."}`, connector.AppMisconfigured, connector.AppMisconfigured, ""},
		// https://github.com/prasmussen/gdrive/issues/375
		"a token of another client": {401, `{"error":"unauthorized_client","error_description":"Unauthorized"}`, connector.AppMisconfigured, connector.AppMisconfigured, ""},
		// https://github.com/n8n-io/n8n/issues/22953
		"a wrong secret": {401, `{"error":"invalid_client","error_description":"Unauthorized"}`, connector.AppMisconfigured, connector.AppMisconfigured, ""},
		// https://github.com/googleapis/google-api-java-client/issues/932
		"401 and nothing else": {401, ``, connector.PlatformUnavailable, connector.PlatformUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, youtubeRow)
			c := w.connect().Credentials
			a := w.authorization()
			code := w.consent(a, sandbox.Choice{})
			w.box.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "token", Kind: sandbox.Body, Text: test.body, Status: test.status, Times: 2})
			_, err := exchange(t.Context(), w.platform, w.app, a, code)
			w.fails(err, test.forCode, false)
			_, err = w.platform.Refresh(t.Context(), w.app, c)
			if e := w.fails(err, test.forRenew, false); e.Reason != test.reason {
				t.Errorf("reason %q, want %q", e.Reason, test.reason)
			}
			if strings.Contains(err.Error(), "canary") {
				t.Errorf("the message repeats text of the platform: %v", err)
			}
		})
	}
}

func testYouTubeRevokeRefreshTokenOrAccessToken(t *testing.T) {
	w := newWorld(t, youtubeRow)
	c := w.connect().Credentials
	whole, short := c, c
	short.Fields = c.Fields.Clone()
	delete(short.Fields, "refresh_token")
	for i, test := range []struct {
		credentials connector.Credentials
		token       connector.Secret
	}{{whole, c.Fields["refresh_token"]}, {short, c.Fields["access_token"]}} {
		w.box.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "revoke", Kind: sandbox.Body, Text: `{"error":"invalid_grant"}`, Status: 400})
		if err := w.platform.(connector.Revoker).Revoke(t.Context(), w.app, test.credentials, ""); err != nil {
			t.Errorf("a grant that has ended: %v", err)
		}
		if got := w.box.Calls("youtube", "revoke")[i].Form.Get("token"); got != test.token.Reveal() {
			t.Errorf("with a refresh token %t: another token was revoked", i == 0)
		}
	}
}

func testYouTubeImportRefreshTokenIsProven(t *testing.T) {
	w := newWorld(t, youtubeRow)
	full := w.pasted()
	imported, err := w.platform.Import(t.Context(), w.app, full, true)
	if err != nil || !imported[0].Credentials.Fields["access_token"].Equal(full["access_token"]) || len(imported[0].Credentials.Scopes) != 2 {
		t.Errorf("a valid access token: error %v, got %+v", err, imported)
	}
	late := full.Clone()
	late.Set("token_expiry", "2020-01-01T00:00:00Z")
	fresh, err := w.platform.Import(t.Context(), w.app, late, true)
	if err != nil || fresh[0].Credentials.Fields["access_token"].Equal(full["access_token"]) || fresh[0].Account.ID != youtubeRow.account || fresh[0].UserID == "" {
		t.Errorf("an expired access token: error %v, got %+v", err, fresh)
	}
	w.box.Expire("youtube")
	grants, err := w.platform.Import(t.Context(), w.app, full, true)
	if err != nil {
		t.Fatal(err)
	}
	g := grants[0]
	if g.Credentials.Fields["access_token"].Equal(full["access_token"]) || !g.Credentials.ExpiresAt.After(w.now) {
		t.Error("the credentials contain an expired access token")
	}
	if len(g.Credentials.Scopes) != 2 {
		t.Errorf("scopes %v", g.Credentials.Scopes)
	}
	revoked := full.Clone()
	revoked.Set("refresh_token", "1//test-unknown")
	_, err = w.platform.Import(t.Context(), w.app, revoked, true)
	w.fails(err, connector.ReauthorizationRequired, false)
}

// Google's own words in a redirect name who has to act: the person denied nothing.
func TestYouTube_AuthorizationErrorReasons(t *testing.T) {
	t.Parallel()
	p := find(t, "youtube", platform.Options{})
	for word, want := range map[string]connector.Error{
		"admin_policy_enforced": {Code: connector.AccessDenied, Reason: "admin_policy"},
		"disallowed_useragent":  {Code: connector.AccessDenied, Reason: "embedded_browser"},
		"org_internal":          {Code: connector.AppMisconfigured, Reason: "app_internal"},
		"deleted_client":        {Code: connector.AppMisconfigured},
		"access_denied":         {Code: connector.AccessDenied},
		"interaction_required":  {Code: connector.AccessDenied},
	} {
		got := p.AuthorizationError(connector.Refusal{"error": word})
		if got.Code != want.Code || got.Reason != want.Reason {
			t.Errorf("%s: got %s %q, want %s %q", word, got.Code, got.Reason, want.Code, want.Reason)
		}
		if blames := strings.Contains(got.Message, "did not give consent"); blames != (want.Code == connector.AccessDenied && want.Reason == "") {
			t.Errorf("%s: message %q", word, got.Message)
		}
	}
}
