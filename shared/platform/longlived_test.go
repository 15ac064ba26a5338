package platform

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
)

func TestLongLived_CodeError(t *testing.T) {
	t.Parallel()
	l := newInstagram(Options{})
	for message, want := range map[string]struct {
		code          connector.Code
		reason        string
		clientRefused bool
	}{
		"Matching code was not found or was already used": {connector.StateInvalid, "code_refused", false},
		"This authorization code has been used":           {connector.StateInvalid, "code_refused", false},
		"This authorization code has expired":             {connector.StateInvalid, "code_refused", false},
		"Error validating client secret.":                 {connector.AppMisconfigured, "", true},
		"Invalid platform app":                            {connector.AppMisconfigured, "", false},
		"Invalid redirect_uri":                            {connector.AppMisconfigured, "", false},
		// chatwoot/chatwoot#11403, wagnerdelima/drf-social-oauth2#115.
		"Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request": {connector.AppMisconfigured, "", false},
		"Error validating verification code": {connector.StateInvalid, "code_refused", false},
		// PhantomAppDevelopment/socialmedia-as3#2, crino/instagram-ios-sdk#39.
		"Redirect URI doesn't match original redirect URI":                {connector.AppMisconfigured, "", false},
		"Redirect URI does not match registered             redirect URI": {connector.AppMisconfigured, "", false},
		// TerribleDev/OwinOAuthProviders#276, hybridauth/hybridauth#1139.
		"Invalid scope field(s): basic": {connector.AppMisconfigured, "", false},
		"Invalid scope: ['basic']":      {connector.AppMisconfigured, "", false},
		"Insufficient developer role":   {connector.AppMisconfigured, "not_a_tester", false},
		"Something that nobody has seen, with test-secret-text of the platform ": {connector.PlatformUnavailable, "", false},
	} {
		quoted, err := json.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		for form, body := range map[string]string{
			"plain": `{"error_type":"OAuthException","code":400,"error_message":` + string(quoted) + `}`,
			"graph": `{"error":{"message":` + string(quoted) + `,"type":"THApiException","code":100,"error_subcode":0}}`,
		} {
			got := l.codeError(reply{status: 400, body: []byte(body)})
			if got == nil || got.Code != want.code || got.Reason != want.reason || got.ClientRefused != want.clientRefused || got.Uncertain {
				t.Errorf("%s, %s: got %+v", message, form, got)
				continue
			}
			if strings.Contains(got.Error(), "test-secret-text") {
				t.Errorf("%s, %s: repeats text of the platform: %v", message, form, got)
			}
		}
	}
	// ohld/igbot#212 has the words of Instagram's page about limits, and
	// facebookarchive/python-instagram#34 an answer.
	for status, body := range map[int]string{
		429: `{"code":429,"error_type":"OAuthRateLimitException","error_message":"The maximum number of requests per hour has been exceeded."}`,
		400: `{"code":420,"error_type":"OAuthRateLimitException","error_message":"You have exceeded the maximum number of requests per hour."}`,
	} {
		if got := l.codeError(reply{status: status, body: []byte(body)}); got == nil || got.Code != connector.RateLimited {
			t.Errorf("%s: got %+v", body, got)
		}
	}
	for _, body := range []string{`{"access_token":"test","user_id":1}`, `{"access_token":"test","code":400}`, ``, `[]`, `<html>`} {
		if got := l.codeError(reply{status: 200, body: []byte(body)}); got != nil {
			t.Errorf("%s is the error %v", body, got)
		}
	}
}

func TestReadLongLived(t *testing.T) {
	t.Parallel()
	both := []string{"instagram_business_basic", "instagram_business_content_publish"}
	for body, want := range map[string][]string{
		`{"access_token":"test","user_id":27640875392278831,"permissions":["instagram_business_basic","instagram_business_content_publish"]}`:            both,
		`{"access_token":"test","user_id":"27640875392278831","permissions":"instagram_business_basic,instagram_business_content_publish"}`:              both,
		`{"data":[{"access_token":"test","user_id":"1","permissions":"instagram_business_basic,instagram_business_content_publish"}]}`:                   both,
		`{"data":[{"access_token":"test","user_id":27640875392278831,"permissions":["instagram_business_basic","instagram_business_content_publish"]}]}`: both,
		`{"access_token":"test","user_id":1}`:                        nil,
		`{"access_token":"test","permissions":null}`:                 nil,
		`{"access_token":"test","permissions":""}`:                   nil,
		`{"access_token":"test","token_type":"bearer","user_id":99}`: nil,
	} {
		got, err := readLongLived([]byte(body))
		if err != nil || got.access.Reveal() != "test" || !slices.Equal(got.scopes, want) {
			t.Errorf("%s: scopes %v, %v", body, got.scopes, err)
		}
	}
	for _, body := range []string{
		`{"data":[]}`, `{"data":[{}]}`, `{"data":[{"access_token":"a"},{"access_token":"b"}]}`, `{"data":[{"access_token":"a","access_token":"b"}]}`,
		`{"data":"x"}`, `{"data":[["x"]]}`, `{"data":[{"access_token":"a","error":"x"}]}`, `[]`, ``,
	} {
		if got, err := readLongLived([]byte(body)); err == nil {
			t.Errorf("%s: read as %v", body, got.members)
		}
	}
}

// A token that Instagram calls long-lived already is used as it is.
func TestLongLived_ExtendTwice(t *testing.T) {
	t.Parallel()
	now := inNovember()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":{"message":"Session key invalid","type":"IGApiException","code":452}}`))
	}))
	t.Cleanup(server.Close)
	l := newInstagram(Options{
		HTTP: server.Client(), Endpoints: map[string]string{"https://graph.instagram.com": server.URL}, Now: func() time.Time { return now },
	})
	for name, test := range map[string]struct{ life, want time.Duration }{
		"life_unknown": {time.Hour, longLivedLife},
		"life_known":   {50 * 24 * time.Hour, 50 * 24 * time.Hour},
	} {
		c := connector.Credentials{Fields: connector.Fields{}, IssuedAt: now, ExpiresAt: now.Add(test.life)}
		c.Fields.Set("access_token", "test")
		got, err := l.Extend(t.Context(), connector.App{}, c)
		if err != nil || got.Fields.Get("access_token") != "test" || got.ExpiresAt.Sub(now) != test.want {
			t.Errorf("%s: lives %v, %v", name, got.ExpiresAt.Sub(now), err)
		}
	}
}

// The first call with a token that was just issued tells an account that the app may not
// serve from other refusals.
func TestLongLived_ExtendRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body   string
		code   connector.Code
		reason string
	}{
		"standard_access": {`{"error":{"message":"Unsupported request - method type: get","type":"IGApiException","code":100}}`, connector.AppMisconfigured, "not_a_tester"},
		"secret":          {`{"error":{"message":"Error validating client secret.","type":"IGApiException","code":100}}`, connector.AppMisconfigured, ""},
		"passing":         {`{"error":{"message":"An unexpected error has occurred","type":"OAuthException","code":2,"is_transient":true}}`, connector.PlatformUnavailable, ""},
		"unknown":         {`{"error":{"message":"x","type":"IGApiException","code":1}}`, connector.PlatformUnavailable, ""},
		"throttled":       {`{"error":{"message":"(#4) Application request limit reached","type":"OAuthException","code":4}}`, connector.RateLimited, ""},
		"token":           {`{"error":{"message":"Cannot parse access token","type":"OAuthException","code":190}}`, connector.ReauthorizationRequired, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = w.Write([]byte(test.body))
			}))
			t.Cleanup(server.Close)
			l := newInstagram(Options{HTTP: server.Client(), Endpoints: map[string]string{"https://graph.instagram.com": server.URL}, Now: inNovember})
			c := connector.Credentials{Fields: connector.Fields{}}
			c.Fields.Set("access_token", "test")
			_, err := l.Extend(t.Context(), connector.App{}, c)
			if got := connector.AsError(err); got == nil || got.Code != test.code || got.Reason != test.reason {
				t.Errorf("got %v", err)
			}
		})
	}
}

// An account behind a checkpoint names the site where its person has to log in.
func TestLongLived_Checkpoint(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"error":{"message":"Error validating access token: You cannot access the app till you log in to www.instagram.com and follow the instructions given.","type":"OAuthException","code":190}}`: "log in on instagram.com first",
		`{"error":{"message":"Error validating access token: Session key is malformed because of invalid user id.","type":"OAuthException","code":190}}`:                                              "log in on instagram.com first",
		`{"error":{"message":"x","type":"OAuthException","code":190,"error_subcode":459}}`:                                                                                                            "log in on instagram.com first",
		`{"error":{"message":"x","type":"OAuthException","code":190,"error_subcode":490}}`:                                                                                                            "log in on instagram.com first",
	} {
		got := newInstagram(Options{}).apiError(false)(reply{status: 400, body: []byte(body)})
		if got == nil || got.Code != connector.ReauthorizationRequired || got.Reason != "checkpoint" || !strings.Contains(got.Message, want) {
			t.Errorf("%s: got %+v", body, got)
		}
	}
}

// An error of the graph names the platform of the account.
func TestLongLived_GraphErrorNamesThePlatform(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		platform *longLived
		body     string
		code     connector.Code
		says     string
	}{
		{newInstagram(Options{}), `{"error":{"code":190,"error_subcode":459}}`, connector.ReauthorizationRequired, "log in on instagram.com"},
		{newThreads(Options{}), `{"error":{"code":190,"error_subcode":490}}`, connector.ReauthorizationRequired, "log in on threads.com"},
		{newInstagram(Options{}), `{"error":{"code":368}}`, connector.PlatformUnavailable, "Instagram has blocked"},
		{newThreads(Options{}), `{"error":{"code":4854002}}`, connector.PlatformUnavailable, "Threads wants the person"},
	} {
		got := test.platform.apiError(false)(reply{status: 400, body: []byte(test.body)})
		if got == nil || got.Code != test.code || !strings.Contains(got.Message, test.says) || strings.Contains(strings.ToLower(got.Message), "facebook") {
			t.Errorf("%s: got %+v", test.body, got)
		}
	}
}
