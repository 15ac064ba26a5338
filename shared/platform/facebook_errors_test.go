package platform_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// A code that is refused without a subcode is told by the message.
func testFacebookExchangeCodeRefusedInWordsAlone(t *testing.T) {
	for _, omit := range []bool{true, false} {
		w := newWorld(t, facebookRow)
		w.box.Tune(func(k *sandbox.Knobs) { k.Facebook().OmitCodeSubcodes = omit })
		a := w.authorization()
		code := w.consent(a, sandbox.Choice{})
		other := a
		other.RedirectURI += "/"
		_, err := exchange(t.Context(), w.platform, w.app, other, code)
		w.fails(err, connector.AppMisconfigured, false)
		if _, err := exchange(t.Context(), w.platform, w.app, a, code); err != nil {
			t.Fatal(err)
		}
		for name, refused := range map[string]connector.Secret{"used": code, "unknown": connector.NewSecret("test-code")} {
			_, err = exchange(t.Context(), w.platform, w.app, a, refused)
			if e := w.fails(err, connector.StateInvalid, false); e.Reason != "code_refused" {
				t.Errorf("%s: reason %q", name, e.Reason)
			}
		}
		code = w.consent(a, sandbox.Choice{})
		w.now = w.now.Add(11 * time.Minute)
		_, err = exchange(t.Context(), w.platform, w.app, a, code)
		w.fails(err, connector.StateInvalid, false)
	}
}

func testFacebookExchangeInspectionRefused(t *testing.T) {
	app := connector.App{ClientID: "test-app", ClientSecret: connector.NewSecret("test-secret")}
	answers := map[string]string{
		"oauth/access_token": `{"access_token":"test-user-token"}`,
		"me":                 `{"id":"1","name":"Test"}`,
		"me/permissions":     `{"data":[{"permission":"pages_show_list","status":"granted"},{"permission":"pages_manage_posts","status":"granted"}]}`,
		"me/accounts":        `{"data":[{"id":"42","name":"Page","access_token":"test-page-token"}]}`,
		"debug_token":        `{"error":{"message":"unknown path","type":"OAuthException","code":10}}`,
	}
	run := func() ([]connector.Grant, error) {
		return exchange(t.Context(), graphOf(t, answers), app, connector.Authorization{}, connector.NewSecret("test-code"))
	}
	grants, err := run()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"pages_show_list", "pages_manage_posts"}, grants[0].Credentials.Scopes); diff != "" || grants[0].UserID != "1" {
		t.Errorf("granted to %q, scopes (-want +got):\n%s", grants[0].UserID, diff)
	}
	delete(answers, "me/permissions")
	if _, err := run(); !errors.Is(err, connector.ReauthorizationRequired) {
		t.Errorf("with neither: %v", err)
	}
	for code, answer := range map[connector.Code]string{
		connector.RateLimited:             `{"error":{"message":"slow down","type":"OAuthException","code":17}}`,
		connector.PlatformUnavailable:     `{"error":{"message":"no","type":"OAuthException","code":2}}`,
		connector.ReauthorizationRequired: `{"data":{"is_valid":false,"error":{"code":190,"subcode":460,"message":"no"}}}`,
	} {
		answers["debug_token"] = answer
		if _, err := run(); !errors.Is(err, code) {
			t.Errorf("%s: %v", code, err)
		}
	}
}

func testFacebookVerifyErrorsBecomeCodes(t *testing.T) {
	graph := func(code, subcode int, more string) string {
		return fmt.Sprintf(`{"error":{"message":"canary","type":"OAuthException","code":%d,"error_subcode":%d%s}}`, code, subcode, more)
	}
	for _, test := range []struct {
		name, body string
		code       connector.Code
		reason     string
	}{
		{"expired or revoked", graph(190, 0, ""), connector.ReauthorizationRequired, ""},
		{"session gone", graph(102, 0, ""), connector.ReauthorizationRequired, ""},
		{"app removed", graph(190, 458, ""), connector.ReauthorizationRequired, "app_removed"},
		{"checkpoint", graph(190, 459, ""), connector.ReauthorizationRequired, "checkpoint"},
		// facebook/facebook-python-business-sdk#525 and mautrix/facebook#226.
		{"blocking checkpoint", graph(190, 490, ""), connector.ReauthorizationRequired, "checkpoint"},
		// gitroomhq/postiz-app#2054.
		{"checkpoint in words", `{"error":{"message":"Error validating access token: You cannot access the app till you log in to www.facebook.com and follow the instructions given.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "checkpoint"},
		{"password changed", graph(190, 460, ""), connector.ReauthorizationRequired, "password_changed"},
		{"session expired", graph(190, 463, ""), connector.ReauthorizationRequired, "expired"},
		{"not confirmed", graph(190, 464, ""), connector.ReauthorizationRequired, "user_not_confirmed"},
		{"logged out", graph(190, 467, ""), connector.ReauthorizationRequired, "logged_out"},
		{"role lost", graph(190, 492, ""), connector.ReauthorizationRequired, "role_lost"},
		{"page not granted", `{"error":{"message":"Any of the pages_read_engagement, pages_show_list or pages_messaging permission(s) must be granted before impersonating a user's page.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "page_not_granted"},
		{"the app is blocked", `{"error":{"message":"API access blocked.","type":"OAuthException","code":200}}`, connector.AppMisconfigured, "api_access_blocked"},
		// codingbadger/instant-tokens.com#27 and genxbe/kirby3-instagram#8; the code is assumed.
		{"data use checkup", `{"error":{"message":"API access disrupted. Go to the App Dashboard and complete Data Use Checkup.","type":"OAuthException","code":190}}`, connector.AppMisconfigured, "api_access_blocked"},
		// jaredhanson/passport-facebook#36 and pdaddyo/soundbounce#292.
		{"server not listed", graph(5, 0, ""), connector.AppMisconfigured, "server_not_listed"},
		// facebook/facebook-python-business-sdk#516 and facebook/facebook-java-business-sdk#438.
		{"two factors", graph(415, 1404120, ""), connector.ScopeMissing, "two_factor_required"},
		// jgorset/facepy#135 and pitchtarget/ember-cli-facebook-js-sdk#32.
		{"a token of nobody", graph(2500, 0, ""), connector.ReauthorizationRequired, ""},
		// microsoft/BotFramework-Services#36.
		{"page deleted", `{"error":{"message":"This Page access token belongs to a Page that has been deleted.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "page_not_accessible"},
		{"page not accessible", `{"error":{"message":"This Page access token belongs to a Page that is not accessible.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "page_not_accessible"},
		// geoff-maddock/events-tracker#1900: an outage that must end no connection.
		{"not visible for a while", graph(100, 33, `,"is_transient":false`), connector.ScopeMissing, "not_visible"},
		// gitroomhq/postiz-app#2068.
		{"too fast", graph(368, 1390008, ""), connector.PlatformUnavailable, "blocked_for_policy"},
		// metacpan/metacpan-web#2076.
		// snarfed/bridgy#596.
		{"no administrator", `{"error":{"message":"The user must be an administrator of the page in order to impersonate it.","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, "role_lost"},
		// facebookarchive/php-graph-sdk#770.
		{"app deleted, as an ended token", `{"error":{"message":"Error validating application. Application has been deleted.","type":"OAuthException","code":190}}`, connector.AppMisconfigured, ""},
		// facebook/facebook-java-business-sdk#272.
		{"person kept out", `{"error":{"message":"Cannot call API for app 1 on behalf of user 2","type":"OAuthException","code":200}}`, connector.AccessDenied, "person_excluded"},
		// ThatGuySam/facebook-live-embed-php#3.
		{"secret in a client", graph(15, 0, ""), connector.AppMisconfigured, ""},
		{"an unknown subcode of an ended token", graph(190, 1340001, ""), connector.ReauthorizationRequired, ""},
		{"app deleted", `{"error":{"message":"Error validating application. Application has been deleted.","type":"OAuthException","code":101}}`, connector.AppMisconfigured, ""},
		{"ninety days", graph(190, 493, ""), connector.ReauthorizationRequired, "data_access_expired"},
		{"other ended session", graph(190, 466, ""), connector.ReauthorizationRequired, ""},
		{"permission missing", graph(10, 0, ""), connector.ScopeMissing, ""},
		{"permission removed", graph(200, 0, ""), connector.ScopeMissing, ""},
		{"capability missing", graph(3, 0, ""), connector.ScopeMissing, ""},
		{"the last of the permissions", graph(299, 0, ""), connector.ScopeMissing, ""},
		{"unknown app", graph(101, 0, ""), connector.AppMisconfigured, ""},
		{"redirect URI of no app", graph(191, 0, ""), connector.AppMisconfigured, ""},
		{"another app's proof", `{"error":{"message":"Invalid appsecret_proof provided in the API argument","code":100}}`, connector.AppMisconfigured, ""},
		{"not visible", graph(100, 33, ""), connector.ScopeMissing, "not_visible"},
		{"outage", graph(1, 0, ""), connector.PlatformUnavailable, ""},
		{"service", graph(2, 0, ""), connector.PlatformUnavailable, ""},
		{"transient, whatever the code", graph(190, 0, `,"is_transient":true`), connector.PlatformUnavailable, ""},
		{"app throttled", graph(4, 0, ""), connector.RateLimited, ""},
		{"user throttled", graph(17, 0, ""), connector.RateLimited, ""},
		{"page throttled", graph(32, 0, ""), connector.RateLimited, ""},
		{"application limit", graph(341, 0, ""), connector.RateLimited, ""},
		{"custom limit", graph(613, 0, ""), connector.RateLimited, ""},
		{"first business limit", graph(80000, 0, ""), connector.RateLimited, ""},
		{"last business limit", graph(80014, 0, ""), connector.RateLimited, ""},
		{"no business limit", graph(80015, 0, ""), connector.PlatformUnavailable, ""},
		{"policy", graph(368, 0, ""), connector.PlatformUnavailable, "blocked_for_policy"},
		{"publishing authorization", graph(0, 1404078, ""), connector.ReauthorizationRequired, "page_publishing_authorization"},
		{"identity", graph(0, 4854002, ""), connector.PlatformUnavailable, "identity_confirmation"},
		{"publishing authorization by code", graph(1404078, 0, ""), connector.ReauthorizationRequired, "page_publishing_authorization"},
		{"identity by code", graph(4854002, 0, ""), connector.PlatformUnavailable, "identity_confirmation"},
		{"a digit more", graph(1900, 0, ""), connector.PlatformUnavailable, ""},
		{"a code in a string", `{"error":{"message":"canary","code":"190","error_subcode":"460"}}`, connector.ReauthorizationRequired, "password_changed"},
		{"no object", `{"error":"canary"}`, connector.PlatformUnavailable, ""},
	} {
		for _, status := range []int{200, 400} {
			t.Run(fmt.Sprintf("%s in %d", test.name, status), func(t *testing.T) {
				w := newWorld(t, facebookRow)
				c := w.connect().Credentials
				w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "node", Kind: sandbox.Body, Text: test.body, Status: status})
				_, err := w.platform.Verify(t.Context(), w.app, c)
				e := w.fails(err, test.code, false)
				if e.Reason != test.reason {
					t.Errorf("reason %q, want %q", e.Reason, test.reason)
				}
				if logIn := strings.Contains(e.Message, "log in on facebook.com"); logIn != (test.reason == "checkpoint") {
					t.Errorf("message asks to log in on facebook.com: %t", logIn)
				}
				if strings.Contains(err.Error(), "canary") {
					t.Errorf("the platform's words are repeated: %v", err)
				}
			})
		}
	}
	for name, test := range map[string]struct {
		body string
		code connector.Code
	}{
		"wrong secret":           {`{"error":{"message":"Error validating client secret.","code":1}}`, connector.AppMisconfigured},
		"code expired":           {graph(100, 36007, ""), connector.StateInvalid},
		"another redirect URI":   {graph(100, 36008, ""), connector.AppMisconfigured},
		"code used":              {graph(100, 36009, ""), connector.StateInvalid},
		"an outage, not the app": {graph(1, 0, ""), connector.PlatformUnavailable},
		// SocialiteProviders/Providers#659 and facebook/facebook-java-business-sdk#272.
		"person kept out": {`{"error":{"message":"Cannot call API for app 1 on behalf of user 2","type":"OAuthException","code":200}}`, connector.AccessDenied},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, facebookRow)
			a := w.authorization()
			code := w.consent(a, sandbox.Choice{})
			w.box.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "token", Kind: sandbox.Body, Text: test.body, Status: 400})
			_, err := exchange(t.Context(), w.platform, w.app, a, code)
			w.fails(err, test.code, false)
		})
	}
}
