package handler_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

func TestTokenGet(t *testing.T) {
	t.Parallel()
	t.Run("direct_and_http_answers_agree", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
		direct, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
		if failure != nil {
			t.Fatal(failure)
		}
		var http map[string]any
		s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &http)
		bySelector, failure := s.invoke(t, "token-get", `{"owner":"acme","platform":"youtube"}`)
		if failure != nil {
			t.Fatal(failure)
		}
		for _, field := range []string{"connection_id", "platform", "owner", "account_id", "account_name", "status", "access_token", "token_type", "expires_at"} {
			if direct[field] == nil || direct[field] != http[field] || direct[field] != bySelector[field] {
				t.Errorf("%s: direct %v, over HTTP %v, by owner %v", field, direct[field], http[field], bySelector[field])
			}
		}
		for _, field := range []string{"degraded", "degraded_reason", "refresh_token"} {
			if value, ok := direct[field]; ok {
				t.Errorf("%s is there: %v", field, value)
			}
		}
		if _, ok := direct["credentials"].(map[string]any); !ok {
			t.Errorf("credentials: %v", direct["credentials"])
		}
	})
	t.Run("min_ttl_refreshes_first", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
		before, _ := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
		s.clock.Advance(time.Hour)
		s.do(t, http.MethodGet, "/connections/"+id+"/token?min_ttl_seconds=60").decode(t, 200, &struct{}{})
		if n := s.sandbox.Count("twitter", "token/refresh_token"); n != 0 {
			t.Errorf("%d refreshes for a token that lives long enough", n)
		}
		after, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`","min_ttl_seconds":7000}`)
		if failure != nil || after["access_token"] == before["access_token"] {
			t.Errorf("the token was not refreshed: %v, %v", after, failure)
		}
	})
	t.Run("forced_refresh_is_a_new_token", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
		ask := map[string]func() string{
			"direct": func() string {
				answer, failure := s.invoke(t, "token-get", `{"owner":"acme","platform":"youtube","force_refresh":true}`)
				if failure != nil {
					t.Fatal(failure)
				}
				return answer["access_token"].(string)
			},
			"over HTTP": func() string {
				var token struct {
					AccessToken string `json:"access_token"`
				}
				s.do(t, http.MethodGet, "/connections/"+id+"/token?force_refresh=true").decode(t, 200, &token)
				return token.AccessToken
			},
		}
		seen := map[string]bool{}
		for name, get := range ask {
			for range 2 {
				s.clock.Advance(10 * time.Minute)
				if token := get(); seen[token] {
					t.Errorf("%s: the token is the one before", name)
				} else {
					seen[token] = true
				}
				if lines := s.logs.lines(t); lines[len(lines)-1]["connection_id"] != id {
					t.Errorf("%s: line %v", name, lines[len(lines)-1])
				}
			}
		}
	})
	t.Run("degraded_has_a_reason", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
		s.clock.Advance(time.Hour)
		s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Outage, Times: -1})
		var token map[string]any
		s.do(t, http.MethodGet, "/connections/"+id+"/token?min_ttl_seconds=7000").decode(t, 200, &token)
		if token["degraded"] != true || token["degraded_reason"] != "PlatformUnavailable" {
			t.Errorf("token: %v", token)
		}
	})
	t.Run("full_has_the_shape_of_an_import", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
		full, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`","full":true}`)
		if failure != nil {
			t.Fatal(failure)
		}
		credentials, _ := full["credentials"].(map[string]any)
		if len(full) != 2 || full["platform"] != "tiktok" || credentials["refresh_token"] == nil || credentials["client_secret"] == nil {
			t.Errorf("full: %v", full)
		}
		s.service.AllowFull = false
		s.do(t, http.MethodGet, "/connections/"+id+"/token?full=true").refused(t, 400, connector.InvalidRequest)
	})
	t.Run("failures_are_typed", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		pages := s.connect(t, "facebook", "acme", sandbox.Choice{})
		if len(pages) < 2 {
			t.Fatalf("%d Pages, the test wants several", len(pages))
		}
		for payload, want := range map[string]string{
			`{}`:                                                   "InvalidRequest connection_id",
			`{"owner":"acme"}`:                                     "InvalidRequest platform",
			`{"connection_id":7}`:                                  "InvalidRequest connection_id",
			`{"connection_id":"x"}`:                                "ConnectionNotFound no such connection",
			`{"connection_id":"` + unknownID + `"}`:                "ConnectionNotFound no such connection",
			`{"owner":"nobody","platform":"facebook"}`:             "ConnectionNotFound no such connection",
			`{"owner":"acme","platform":"facebook"}`:               "AmbiguousConnection",
			`{"connection_id":"` + pages[0] + `","owner":"other"}`: "ConnectionNotFound no such connection",
			`{"connection_id":"` + pages[0] + `","scopes":["ads_management"]}`:                     "ScopeMissing",
			`{"connection_id":"` + pages[0] + `","min_ttl_seconds":31536001}`:                      "InvalidRequest min_ttl_seconds",
			`{"connection_id":"` + pages[0] + `","min_ttl":1}`:                                     "InvalidRequest min_ttl",
			`{"connection_id":"` + pages[0] + `","connection_id":"` + pages[1] + `"}`:              "InvalidRequest connection_id",
			`{"connection_id":"` + pages[0] + `","padding":"` + strings.Repeat("a", 70<<10) + `"}`: "InvalidRequest event",
		} {
			_, failure := s.invoke(t, "token-get", payload)
			if failure == nil {
				t.Errorf("%.80s was answered", payload)
				continue
			}
			code, message, _ := strings.Cut(want, " ")
			if failure.Type != code || !strings.HasPrefix(failure.Message, message) {
				t.Errorf("%.80s: %s %q, want %s", payload, failure.Type, failure.Message, want)
			}
		}
		_, ambiguous := s.invoke(t, "token-get", `{"owner":"acme","platform":"facebook"}`)
		_, lacking := s.invoke(t, "token-get", `{"connection_id":"`+pages[0]+`","scopes":["ads_management"]}`)
		if !strings.Contains(ambiguous.Message, pages[0]) || !strings.Contains(ambiguous.Message, pages[1]) || !strings.Contains(lacking.Message, "ads_management") {
			t.Errorf("messages do not list what is at issue: %q, %q", ambiguous.Message, lacking.Message)
		}
		for _, query := range []string{
			"scopes=ads_management,pages_show_list",
			"scopes=ads_management%20pages_show_list",
			"scopes=pages_show_list&scopes=ads_management",
		} {
			overHTTP := s.do(t, "GET", "/connections/"+pages[0]+"/token?"+query).refused(t, 403, connector.ScopeMissing)
			if len(overHTTP.MissingScopes) != 1 || overHTTP.MissingScopes[0] != "ads_management" {
				t.Errorf("%s: missing_scopes %v", query, overHTTP.MissingScopes)
			}
		}
		s.do(t, "GET", "/connections/"+pages[0]+"/token?scopes=,").refused(t, 400, connector.InvalidRequest)
	})
}
