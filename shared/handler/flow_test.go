package handler_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

func platforms() []string {
	return sandbox.Platforms()
}

func TestOAuthCallback(t *testing.T) {
	t.Parallel()
	t.Run("every_platform", func(t *testing.T) {
		t.Parallel()
		for _, name := range platforms() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				ids := s.connect(t, name, "acme", sandbox.Choice{})
				if len(ids) == 0 {
					t.Fatal("no connection_id at the return URL")
				}
				var token struct {
					AccessToken string `json:"access_token"`
					Owner       string `json:"owner"`
					ExpiresAt   string `json:"expires_at"`
					Credentials map[string]string
				}
				s.do(t, http.MethodGet, "/connections/"+ids[0]+"/token").decode(t, 200, &token)
				if token.AccessToken == "" || token.Owner != "acme" || token.Credentials == nil {
					t.Errorf("token: %+v", token)
				}
				i := slices.IndexFunc(s.service.Platforms, func(p connector.Platform) bool { return string(p.Describe().Name) == name })
				if expires := s.service.Platforms[i].Describe().Cadence.Model != connector.Permanent; expires != (token.ExpiresAt != "") {
					t.Errorf("expires_at %q", token.ExpiresAt)
				}
				var verified struct {
					OK        bool
					AccountID string `json:"account_id"`
				}
				s.do(t, http.MethodPost, "/connections/"+ids[0]+"/verify").decode(t, 200, &verified)
				if !verified.OK || verified.AccountID == "" {
					t.Errorf("verify: %+v", verified)
				}
				s.do(t, http.MethodPost, "/connections/"+ids[0]+"/refresh", withBody(jsonType, "{}")).decode(t, 200, &struct{}{})
				if gone := s.do(t, http.MethodDelete, "/connections/"+ids[0]+"?purge=true"); gone.StatusCode != http.StatusNoContent {
					t.Errorf("disconnect: status %d, body %s", gone.StatusCode, gone.Body)
				}
				s.do(t, http.MethodGet, "/connections/"+ids[0]).refused(t, 404, connector.ConnectionNotFound)
			})
		}
	})
	t.Run("keeps_the_query_of_the_return_url", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		link := s.link(t, map[string]any{
			"platform": "youtube", "owner": "acme",
			"return_url": "https://product.example.com/done?b=%2F&a&status=old&error=old&connection_id=old",
		})
		ended := s.consent(t, link, sandbox.Choice{})
		if !strings.HasPrefix(ended.RawQuery, "b=%2F&a&connection_id=") {
			t.Errorf("query %q", ended.RawQuery)
		}
		query := ended.Query()
		if query.Has("error") || query.Has("missing_scopes") || !slices.Equal(query["status"], []string{"connected"}) || len(query["connection_id"]) != 1 {
			t.Errorf("query %v", query)
		}
	})
	t.Run("names_missing_scopes_at_the_return_url", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL})
		upload := "https://www.googleapis.com/auth/youtube.upload"
		ended := s.consent(t, link, sandbox.Choice{Untick: []string{upload}})
		if got := ended.Query().Get("missing_scopes"); got != upload {
			t.Errorf("missing_scopes %q in %s, want %q", got, ended, upload)
		}
	})
	t.Run("shows_denial_at_the_return_url", func(t *testing.T) {
		t.Parallel()
		for _, name := range platforms() {
			s := newStack(t)
			link := s.link(t, map[string]any{"platform": name, "owner": "acme", "return_url": returnURL})
			ended := s.consent(t, link, sandbox.Choice{Deny: true})
			if got := ended.Query().Get("error"); got != "AccessDenied" || ended.Query().Get("tab") != "accounts" {
				t.Errorf("%s: ended at %s", name, ended)
			}
		}
	})
	t.Run("without_return_url", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		body := map[string]any{"platform": "facebook", "owner": "acme"}

		callback, cookie := s.authorize(t, s.link(t, body), sandbox.Choice{})
		page := s.do(t, http.MethodGet, callback, withCookie(cookie), with("accept", browserUse))
		if page.StatusCode != 200 || !strings.HasPrefix(page.Headers["content-type"], "text/html") || !strings.Contains(page.Body, "Sandbox Bakery") {
			t.Errorf("page: status %d, %s", page.StatusCode, page.Body)
		}
		if policy := page.Headers["content-security-policy"]; !strings.Contains(policy, "; style-src 'sha256-") {
			t.Errorf("the page's own style is not allowed: %s", policy)
		}

		callback, cookie = s.authorize(t, s.link(t, body), sandbox.Choice{})
		var ended struct {
			Status      string
			Connections []map[string]any
		}
		s.do(t, http.MethodGet, callback, withCookie(cookie)).decode(t, 200, &ended)
		if ended.Status != "connected" || len(ended.Connections) == 0 {
			t.Errorf("JSON: %+v", ended)
		}

		callback, cookie = s.authorize(t, s.link(t, body), sandbox.Choice{Deny: true})
		denied := s.do(t, http.MethodGet, callback, withCookie(cookie))
		denied.refused(t, 403, connector.AccessDenied)
		if len(denied.Cookies) != 0 {
			t.Errorf("cookies %q; the callback may come again", denied.Cookies)
		}
	})
	t.Run("reads_the_cookie_from_array_and_header", func(t *testing.T) {
		t.Parallel()
		for name, give := range map[string]func(string) change{
			"array":  withCookie,
			"header": func(pair string) change { return with("cookie", "theme=dark; "+pair+"; lang=en") },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				callback, cookie := s.authorize(t, s.link(t, map[string]any{"platform": "tiktok", "owner": "acme"}), sandbox.Choice{})
				s.do(t, http.MethodGet, callback).refused(t, 400, connector.StateInvalid)
				ended := s.do(t, http.MethodGet, callback, give(cookie))
				if ended.StatusCode != 200 {
					t.Fatalf("status %d, body %s", ended.StatusCode, ended.Body)
				}
				if len(ended.Cookies) != 0 {
					t.Errorf("cookies %q; the callback may come again", ended.Cookies)
				}
			})
		}
	})
}

func TestOAuthStart(t *testing.T) {
	t.Parallel()
	t.Run("binds_the_browser", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		started := s.do(t, http.MethodGet, s.link(t, map[string]any{"platform": "twitter", "owner": "acme"}))
		if len(started.Cookies) != 1 {
			t.Fatalf("cookies %q", started.Cookies)
		}
		cookie := started.Cookies[0]
		for _, want := range []string{"__Host-", "; Path=/", "; Max-Age=600", "; HttpOnly", "; Secure", "; SameSite=Lax"} {
			if !strings.Contains(cookie, want) {
				t.Errorf("cookie %q lacks %q", cookie, want)
			}
		}
		for name, want := range map[string]string{
			"cache-control":             "no-store",
			"referrer-policy":           "no-referrer",
			"content-security-policy":   "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
			"x-content-type-options":    "nosniff",
			"strict-transport-security": "max-age=31536000",
		} {
			if got := started.Headers[name]; got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

func TestRequest_IsPreview(t *testing.T) {
	t.Parallel()
	t.Run("prefetch_changes_nothing", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL})
		callback, cookie := s.authorize(t, link, sandbox.Choice{})
		for header, purpose := range map[string]string{"sec-purpose": "Prefetch", "purpose": "prerender", "x-purpose": "preview", "x-moz": "prefetch"} {
			for _, target := range []string{link, callback} {
				passed := s.do(t, http.MethodGet, target, with(header, purpose), withCookie(cookie))
				if passed.StatusCode != http.StatusForbidden || passed.Body != "" || len(passed.Cookies) != 0 {
					t.Errorf("%s on %s: %+v", header, target, passed)
				}
			}
		}
		if ended := s.do(t, http.MethodGet, callback, withCookie(cookie)); !strings.Contains(ended.Headers["location"], "status=connected") {
			t.Errorf("after the previews: %d %s", ended.StatusCode, ended.Headers["location"])
		}
	})
	t.Run("head_changes_nothing", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme"})
		callback, cookie := s.authorize(t, link, sandbox.Choice{})
		for target, name := range map[string]string{link: "oauth-start", callback: "oauth-callback"} {
			_, e := event(t, http.MethodGet, target, withCookie(cookie))
			e.RouteKey, e.RequestContext.HTTP.Method = strings.Replace(e.RouteKey, "GET", "HEAD", 1), http.MethodHead
			if got := s.send(t, name, encode(t, e)); got.StatusCode != 204 || len(got.Cookies) != 0 {
				t.Errorf("HEAD on %s: %+v", name, got)
			}
		}
		if ended := s.do(t, http.MethodGet, callback, withCookie(cookie)); ended.StatusCode != 200 {
			t.Errorf("after HEAD: %d %s", ended.StatusCode, ended.Body)
		}
	})
}
