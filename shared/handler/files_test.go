package handler_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// object is a JSON object.
type object = map[string]any

// importFile imports a file and returns the answer.
func (s *stack) importFile(t *testing.T, platform, owner string, verify bool, file object) reply {
	t.Helper()
	return s.do(t, http.MethodPost, "/connections", withJSON(t, object{"platform": platform, "owner": owner, "verify": verify, "credentials": file}))
}

// TestFiles imports files as people have them: each must be stored as the brief's
// shape with the same values is, with and without asking the platform.
func TestFiles(t *testing.T) {
	t.Parallel()
	later, millis := noon.Add(50*time.Minute).Format("2006-01-02T15:04:05.000000Z"), noon.Add(50*time.Minute).UnixMilli()
	for _, row := range []struct {
		name, platform string
		file           func(full object) object
		verifyOnly     bool
	}{
		{"google_token_json", "youtube", func(c object) object {
			return object{
				"token": c["access_token"], "refresh_token": c["refresh_token"], "token_uri": "https://accounts.google.com/o/oauth2/token",
				"client_id": c["client_id"], "client_secret": c["client_secret"], "scopes": []string{"a", "b"},
				"universe_domain": "googleapis.com", "account": "", "expiry": later,
			}
		}, false},
		{"google_token_json_scopes_as_text", "youtube", func(c object) object {
			return object{"token": c["access_token"], "refresh_token": c["refresh_token"], "client_id": c["client_id"], "client_secret": c["client_secret"], "scopes": "a b", "expiry": nil}
		}, false},
		{"gcloud_adc", "youtube", func(c object) object {
			return object{"account": "", "client_id": c["client_id"], "client_secret": c["client_secret"], "refresh_token": c["refresh_token"], "type": "authorized_user", "universe_domain": "googleapis.com", "quota_project_id": "p"}
		}, false},
		{"node_google_auth", "youtube", func(c object) object {
			return object{"access_token": c["access_token"], "refresh_token": c["refresh_token"], "scope": "a b", "token_type": "Bearer", "id_token": "test.id.token", "expiry_date": millis}
		}, false},
		{"google_token_answer", "youtube", func(c object) object {
			return object{"access_token": c["access_token"], "refresh_token": c["refresh_token"], "scope": "a b", "token_type": "Bearer", "expires_in": 3599, "refresh_token_expires_in": 604799}
		}, false},
		{"go_oauth2", "youtube", func(c object) object {
			return object{"access_token": c["access_token"], "token_type": "Bearer", "refresh_token": c["refresh_token"], "expiry": "0001-01-01T00:00:00Z"}
		}, false},
		{"google_php", "youtube", func(c object) object {
			return object{"access_token": c["access_token"], "token_type": "Bearer", "refresh_token": c["refresh_token"], "created": noon.Unix(), "expires_in": 3599}
		}, false},
		{"google_refresh_token_alone", "youtube", func(c object) object { return object{"refresh_token": c["refresh_token"]} }, false},
		{"postiz_youtube", "youtube", func(c object) object {
			return object{
				"id": "x", "internalId": "1234", "name": "n", "picture": nil, "providerIdentifier": "youtube", "type": "social", "token": c["access_token"],
				"refreshToken": c["refresh_token"], "tokenExpiration": later, "profile": "p", "disabled": false, "refreshNeeded": false, "postingTimes": "[]",
			}
		}, false},
		{"supabase_session", "youtube", func(c object) object {
			return object{
				"provider_token": c["access_token"], "provider_refresh_token": c["refresh_token"], "access_token": "eyJ.supabase.jwt", "refresh_token": "supabase-own",
				"expires_in": 3600, "expires_at": noon.Add(time.Hour).Unix(), "token_type": "bearer", "user": object{"id": "x"},
			}
		}, false},
		{"environment_names", "youtube", func(c object) object {
			return object{"GOOGLE_CLIENT_ID": c["client_id"], "GOOGLE_CLIENT_SECRET": c["client_secret"], "YOUTUBE_REFRESH_TOKEN": c["refresh_token"]}
		}, false},
		{"x_token_answer", "twitter", func(c object) object {
			return object{"token_type": "bearer", "expires_in": 7200, "access_token": c["access_token"], "refresh_token": c["refresh_token"], "scope": "tweet.read users.read"}
		}, false},
		{"xurl", "twitter", func(c object) object {
			return object{"client_id": c["client_id"], "client_secret": c["client_secret"], "redirect_uri": "http://localhost:8080/callback", "access_token": c["access_token"], "refresh_token": c["refresh_token"], "expiration_time": noon.Add(time.Hour).Unix()}
		}, false},
		{"node_twitter_api_v2", "twitter", func(c object) object {
			return object{"clientId": c["client_id"], "clientSecret": c["client_secret"], "accessToken": c["access_token"], "refreshToken": c["refresh_token"], "expiresIn": 7200}
		}, false},
		{"requests_oauthlib", "twitter", func(c object) object {
			return object{"access_token": c["access_token"], "refresh_token": c["refresh_token"], "token_type": "bearer", "expires_in": 7200, "expires_at": float64(noon.Add(time.Hour).Unix()) + 0.52, "scope": []string{"tweet.read"}}
		}, false},
		{"x_refresh_token_alone", "twitter", func(c object) object { return object{"REFRESH_TOKEN": c["refresh_token"]} }, false},
		{"tiktok_token_answer", "tiktok", func(c object) object {
			return object{"access_token": c["access_token"], "expires_in": 86400, "open_id": c["open_id"], "refresh_expires_in": 31536000, "refresh_token": c["refresh_token"], "scope": "user.info.basic,video.publish", "token_type": "Bearer"}
		}, false},
		{"tiktok_refresh_token_alone", "tiktok", func(c object) object { return object{"refreshToken": c["refresh_token"]} }, false},
		{"postiz_tiktok", "tiktok", func(c object) object {
			return object{"internalId": strings.ReplaceAll(c["open_id"].(string), "-", ""), "providerIdentifier": "tiktok", "token": c["access_token"], "refreshToken": c["refresh_token"], "tokenExpiration": "2099-01-01T00:00:00.000Z"}
		}, false},
		{"page_of_me_accounts", "facebook", func(c object) object {
			return object{
				"id": c["page_id"], "name": "Page", "category": "Brand", "category_list": []object{{"id": "1", "name": "Brand"}}, "tasks": []string{"CREATE_CONTENT"},
				"access_token": c["page_access_token"], "instagram_business_account": object{"id": c["ig_user_id"], "username": "u"},
			}
		}, false},
		{"page_with_usual_names", "facebook", func(c object) object {
			return object{"FB_APP_ID": c["app_id"], "FACEBOOK_APP_SECRET": c["app_secret"], "FB_PAGE_ID": c["page_id"], "FB_PAGE_ACCESS_TOKEN": c["page_access_token"]}
		}, false},
		{"postiz_facebook", "facebook", func(c object) object {
			return object{"internalId": c["page_id"], "providerIdentifier": "facebook", "token": c["page_access_token"], "refreshToken": c["page_access_token"], "tokenExpiration": "2026-12-30"}
		}, false},
	} {
		for _, verify := range []bool{false, true} {
			t.Run(row.name+map[bool]string{false: "/unverified", true: "/verified"}[verify], func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				full, account := s.elsewhere(t, row.platform, sandbox.Choice{})
				r := s.importFile(t, row.platform, "acme", verify, row.file(full))
				var imported struct {
					Connections []struct {
						ID        string `json:"id"`
						AccountID string `json:"account_id"`
					}
				}
				r.decode(t, 201, &imported)
				id := imported.Connections[0].ID
				if verify && imported.Connections[0].AccountID != account {
					t.Errorf("account %q, want %q", imported.Connections[0].AccountID, account)
				}
				token, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
				if failure != nil {
					t.Fatalf("token-get: %v", failure)
				}
				if token["access_token"] == "" || row.platform == "tiktok" && token["credentials"].(object)["open_id"] != full["open_id"] {
					t.Errorf("token-get answers %v", slices.Sorted(maps.Keys(token)))
				}
				// What is handed out is imported as it is: here, and by another connector.
				s.importFile(t, row.platform, "acme", false, s.full(t, id)).decode(t, 200, &struct{}{})
				s.deployment(t, row.platform).imported(t, row.platform, "again", false, s.full(t, id))
			})
		}
	}
}

// TestFiles_Keys imports the OAuth 1.0a keys of X by the names that libraries and
// files of environment variables have for them.
func TestFiles_Keys(t *testing.T) {
	t.Parallel()
	for name, names := range map[string][5]string{
		"brief":               {"api_key", "api_secret", "bearer_token", "access_token", "access_token_secret"},
		"tweepy":              {"consumer_key", "consumer_secret", "bearer_token", "access_token", "access_token_secret"},
		"environment":         {"CONSUMER_KEY", "CONSUMER_SECRET", "BEARER_TOKEN", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"},
		"console":             {"X_API_KEY", "X_API_KEY_SECRET", "X_BEARER_TOKEN", "X_ACCESS_TOKEN", "X_ACCESS_TOKEN_SECRET"},
		"twitter":             {"TWITTER_API_KEY", "TWITTER_API_SECRET", "TWITTER_BEARER_TOKEN", "TWITTER_ACCESS_TOKEN_KEY", "TWITTER_ACCESS_SECRET"},
		"lower case":          {"twitter_consumer_key", "twitter_consumer_secret", "x_bearer_token", "x_access_token", "twitter_access_token_secret"},
		"node-twitter-api-v2": {"appKey", "appSecret", "bearerToken", "accessToken", "accessSecret"},
		"xurl":                {"consumer_key", "consumer_secret", "bearer_token", "access_token", "token_secret"},
		"token answer":        {"consumer_key", "consumer_secret", "bearer_token", "oauth_token", "oauth_token_secret"},
	} {
		for _, verify := range []bool{false, true} {
			s := newStack(t)
			key, app := s.sandbox.UserKeys()[0], s.sandbox.AppOf(sandbox.Twitter)
			file := object{
				names[0]: app.Extras["api_key"], names[1]: app.Extras["api_secret"], names[2]: app.Extras["bearer_token"],
				names[3]: key.AccessToken, names[4]: key.AccessTokenSecret,
				// X's console shows them beside the keys.
				"CLIENT_ID": app.ClientID, "CLIENT_SECRET": app.ClientSecret,
			}
			id := s.imported(t, "twitter", "acme", verify, file)
			token, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
			if failure != nil || token["token_type"] != "OAuth1" || token["access_token"] != key.AccessToken || token["credentials"].(object)["access_token_secret"] != key.AccessTokenSecret {
				t.Errorf("%s, verify %t: %v, %v", name, verify, token["token_type"], failure)
			}
		}
	}
	s := newStack(t)
	key := s.sandbox.UserKeys()[0]
	s.imported(t, "twitter", "acme", true, object{"providerIdentifier": "x", "token": key.AccessToken + ":" + key.AccessTokenSecret, "refreshToken": "", "tokenExpiration": "2999-01-01T00:00:00.000Z", "internalId": "1"})
}

// TestFiles_Refused has files that are not taken. Each answer names everything that
// is wrong, and repeats nothing that may be a secret.
func TestFiles_Refused(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	const secret = "canary7Secret"
	for name, row := range map[string]struct {
		platform string
		file     object
		says     []string
	}{
		"two unknown fields":       {"youtube", object{"refresh_tokne": "r", "pasword": "p", "refresh_token": "r"}, []string{"credentials.refresh_tokne: unknown; did you mean refresh_token?", "credentials.pasword: unknown; the fields are refresh_token"}},
		"camel case":               {"youtube", object{"refreshTokn": "r"}, []string{"credentials.refreshTokn: unknown; did you mean refresh_token?"}},
		"upper case":               {"twitter", object{"CONSUMR_KEY": "k"}, []string{"credentials.CONSUMR_KEY: unknown; did you mean consumer_key?"}},
		"a secret for a name":      {"youtube", object{secret: "r", "refresh_token": "r"}, []string{"has an unknown field, whose name may be a secret"}},
		"all fields missing":       {"facebook", object{"ig_user_id": "1"}, []string{"credentials.page_id, credentials.page_access_token: missing"}},
		"an empty template":        {"tiktok", object{"client_key": "", "client_secret": "", "refresh_token": ""}, []string{"credentials.client_key, credentials.client_secret, credentials.refresh_token: missing"}},
		"two names, two values":    {"twitter", object{"api_key": "a", "CONSUMER_KEY": "b", "access_token": "1-a", "access_token_secret": "s"}, []string{"credentials.CONSUMER_KEY and credentials.api_key: two names of one field with two values"}},
		"two names of a time":      {"youtube", object{"refresh_token": "r", "access_token": "a", "expiry": "2026-11-23T12:30:00Z", "expiry_date": 1795438800000}, []string{"credentials.expiry and credentials.expiry_date: two names"}},
		"the bearer token of X":    {"twitter", object{"bearer_token": secret}, []string{"credentials.bearer_token: app-only: it cannot post"}},
		"keys without the user's":  {"twitter", object{"api_key": "a", "api_secret": "b", "bearer_token": secret}, []string{"credentials.bearer_token: app-only"}},
		"both kinds of X":          {"twitter", object{"access_token": "1-a", "access_token_secret": "s", "refresh_token": "r"}, []string{"send one of the two"}},
		"a list in a word":         {"youtube", object{"refresh_token": []string{secret}}, []string{"credentials.refresh_token: not a string"}},
		"an object in a word":      {"youtube", object{"client_id": object{}, "refresh_token": "r"}, []string{"credentials.client_id: not a string"}},
		"a list in a text":         {"youtube", object{"token_uri": []string{"a"}, "refresh_token": "r"}, []string{"credentials.token_uri: not a string"}},
		"the file of an app":       {"youtube", object{"web": object{"client_id": "a", "client_secret": secret}}, []string{"credentials.web: this is the file of an app"}},
		"a service account":        {"youtube", object{"type": "service_account", "client_id": "1"}, []string{"credentials.type: not authorized_user"}},
		"a row of another":         {"facebook", object{"providerIdentifier": "instagram-standalone", "internalId": "1", "token": secret}, []string{"credentials.providerIdentifier: not facebook"}},
		"a Page and a person":      {"facebook", object{"page_id": "1", "user_access_token": secret}, []string{"beside a Page"}},
		"a token with a space":     {"youtube", object{"refresh_token": "canary7 Secret"}, []string{"credentials.refresh_token: has a space inside"}},
		"a token with a line end":  {"youtube", object{"refreshToken": "canary7\nSecret"}, []string{"credentials.refreshToken: has a line end inside"}},
		"a negative life":          {"tiktok", object{"refresh_token": "r", "refresh_expires_in": -5}, []string{"credentials.refresh_expires_in: not a number of seconds"}},
		"a life that is text":      {"tiktok", object{"refresh_token": "r", "refresh_expires_in": "soon"}, []string{"credentials.refresh_expires_in: not a number of seconds"}},
		"a time that is text":      {"youtube", object{"refresh_token": "r", "expiry": "tomorrow"}, []string{"credentials.expiry: neither RFC 3339"}},
		"a year with five digits":  {"youtube", object{"refresh_token": "r", "expiry": "10000-01-01T00:00:00Z"}, []string{"credentials.expiry: neither RFC 3339"}},
		"several kinds of problem": {"facebook", object{"page_id": "1/2", "colour": "red", "app_id": "a b"}, []string{"credentials.page_id: not the id of a Page", "credentials.colour: unknown", "credentials.app_id: has a space"}},
	} {
		for _, verify := range []bool{false, true} {
			detail := s.importFile(t, row.platform, "acme", verify, row.file).refused(t, 400, connector.InvalidRequest).Detail
			for _, part := range row.says {
				if !strings.Contains(detail, part) {
					t.Errorf("%s: %q does not say %q", name, detail, part)
				}
			}
			if strings.Contains(detail, "canary") {
				t.Errorf("%s: %q repeats a secret", name, detail)
			}
		}
	}
	many := object{}
	for i := range 500 {
		many["field"+strings.Repeat("x", i%26)+strings.Repeat("y", i/26)] = "v"
	}
	if detail := s.importFile(t, "youtube", "acme", false, many).refused(t, 400, connector.InvalidRequest).Detail; len(detail) > 4096 {
		t.Errorf("500 unknown fields: a message of %d bytes", len(detail))
	}
	if strings.Contains(s.logs.String(), "canary") {
		t.Error("the log has a secret")
	}
}

// TestFiles_App stores apps as people have them.
func TestFiles_App(t *testing.T) {
	t.Parallel()
	google := object{
		"client_id": "id", "project_id": "p", "auth_uri": "https://accounts.google.com/o/oauth2/auth", "token_uri": "https://oauth2.googleapis.com/token",
		"auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs", "client_secret": "secret",
		"redirect_uris": []string{"https://connector.example.com/oauth/youtube/callback"}, "javascript_origins": []string{"https://x.example"},
	}
	s := newStack(t)
	for name, row := range map[string]struct {
		platform string
		file     object
		key      string
	}{
		"web":              {"youtube", object{"web": google}, ""},
		"installed":        {"youtube", object{"installed": google, "mode": "sandbox"}, ""},
		"camel case":       {"youtube", object{"clientId": "id", "clientSecret": "secret"}, ""},
		"environment":      {"youtube", object{"GOOGLE_CLIENT_ID": "id", "GOOGLE_CLIENT_SECRET": "secret"}, ""},
		"tweepy":           {"twitter", object{"client_id": "id", "client_secret": "secret", "consumer_key": "key", "consumer_secret": "k"}, "key"},
		"X environment":    {"twitter", object{"CLIENT_ID": "id", "CLIENT_SECRET": "secret", "X_API_KEY": "key", "TWITTER_API_KEY_SECRET": "k"}, "key"},
		"node-twitter-api": {"twitter", object{"clientId": "id", "clientSecret": "secret", "appKey": "key", "appSecret": "k"}, "key"},
		"meta":             {"facebook", object{"app_id": "id", "app_secret": "secret"}, ""},
		"tiktok":           {"tiktok", object{"client_key": " id\n", "client_secret": "\ufeffsecret"}, ""},
	} {
		var stored object
		s.do(t, http.MethodPut, "/platforms/"+row.platform+"/app", withJSON(t, row.file)).decode(t, 200, &stored)
		if stored["client_id"] != "id" || stored["client_secret_set"] != true || row.key != "" && stored["api_key"] != row.key {
			t.Errorf("%s: %v", name, stored)
		}
	}
	for name, row := range map[string]struct {
		platform string
		file     object
		says     []string
	}{
		"two unknown fields":    {"youtube", object{"client_id": "i", "client_secret": "s", "colour": "x", "client_secrt": "y"}, []string{"colour: unknown", "client_secrt: unknown; did you mean client_secret?"}},
		"two values":            {"twitter", object{"client_id": "i", "client_secret": "s", "api_key": "a", "consumer_key": "b"}, []string{"api_key and consumer_key: two names of one field with two values"}},
		"two objects":           {"youtube", object{"web": google, "installed": object{"client_id": "other", "client_secret": "secret"}}, []string{"two names of one field"}},
		"tokens of a person":    {"twitter", object{"client_id": "i", "client_secret": "s", "ACCESS_TOKEN": "1-canary"}, []string{"ACCESS_TOKEN: belongs to a connection"}},
		"a key with a line end": {"youtube", object{"client_id": "i\nd", "client_secret": "s"}, []string{"client_id: has a line end inside"}},
	} {
		detail := s.do(t, http.MethodPut, "/platforms/"+row.platform+"/app", withJSON(t, row.file)).refused(t, 400, connector.InvalidRequest).Detail
		for _, part := range row.says {
			if !strings.Contains(detail, part) || strings.Contains(detail, "canary") {
				t.Errorf("%s: %q does not say %q, or has a secret", name, detail, part)
			}
		}
	}
}
