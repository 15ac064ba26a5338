package handler_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

func TestConnections_Show(t *testing.T) {
	t.Parallel()
	t.Run("fields_of_the_contract", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
		var shown map[string]any
		s.do(t, http.MethodGet, "/connections/"+id).decode(t, 200, &shown)
		always := []string{
			"id", "platform", "owner", "account_id", "account_name", "scopes", "missing_scopes", "status",
			"status_reason", "failures", "created_at", "updated_at", "revision", "expires_at", "refresh_at",
		}
		for _, field := range always {
			if shown[field] == nil {
				t.Errorf("%s is absent or null", field)
			}
		}
		for field := range shown {
			if !slices.Contains(append(always, "last_refreshed_at", "verified_at"), field) {
				t.Errorf("%s is not in the contract", field)
			}
		}
		if _, ok := shown["last_refreshed_at"]; ok {
			t.Error("last_refreshed_at is there before a refresh")
		}
		if shown["created_at"] != "2026-11-23T12:00:00Z" {
			t.Errorf("created_at %v", shown["created_at"])
		}
	})
}

func TestConnections_List(t *testing.T) {
	t.Parallel()
	t.Run("pages", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for i := range 5 {
			s.connect(t, "youtube", fmt.Sprintf("owner-%d", i), sandbox.Choice{})
		}
		s.connect(t, "tiktok", "owner-0", sandbox.Choice{})
		var seen []string
		for cursor, more := "", true; more; more = cursor != "" {
			var page struct {
				Connections []struct{ ID string }
				NextCursor  string `json:"next_cursor"`
			}
			s.do(t, http.MethodGet, "/connections?platform=youtube&limit=2&cursor="+url.QueryEscape(cursor)).decode(t, 200, &page)
			for _, c := range page.Connections {
				seen = append(seen, c.ID)
			}
			cursor = page.NextCursor
		}
		slices.Sort(seen)
		if len(slices.Compact(seen)) != 5 {
			t.Errorf("saw %v", seen)
		}
		var none json.RawMessage
		s.do(t, http.MethodGet, "/connections?owner=nobody").decode(t, 200, &none)
		if string(none) != `{"connections":[]}` {
			t.Errorf("nothing is listed as %s", none)
		}
		for i := range 51 {
			id, err := connector.NewID(s.service.Random)
			if err == nil {
				_, err = s.store.Commit(t.Context(), connector.Change{After: &connector.Connection{ID: id, Platform: "youtube", Owner: "globex", AccountID: fmt.Sprint(i), Status: connector.Active, CreatedAt: noon, UpdatedAt: noon}})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		var first struct {
			Connections []json.RawMessage
			NextCursor  string `json:"next_cursor"`
		}
		s.do(t, http.MethodGet, "/connections?owner=globex").decode(t, 200, &first)
		if len(first.Connections) != 50 || first.NextCursor == "" {
			t.Errorf("without a limit: %d connections, cursor %q", len(first.Connections), first.NextCursor)
		}
	})
}

func TestConnections_MintLink(t *testing.T) {
	t.Parallel()
	t.Run("requests_its_scopes", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		asked := []string{"https://www.googleapis.com/auth/youtube.readonly", "https://www.googleapis.com/auth/yt-analytics.readonly"}
		s.service.LinkScopes = connector.ScopeLists{"youtube": asked}
		started := s.do(t, http.MethodGet, s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "scopes": asked}))
		u, err := url.Parse(started.Headers["location"])
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(u.Query().Get("scope")); !slices.Equal(got, asked) {
			t.Errorf("the person is asked for %q, want %q", got, asked)
		}
	})
	t.Run("reauthorizes_one_connection", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		people := s.sandbox.People("youtube")
		id := s.connect(t, "youtube", "acme", sandbox.Choice{Account: people[0].ID})[0]
		link := func() string {
			return s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "connection_id": id, "return_url": returnURL})
		}
		if ended := s.consent(t, link(), sandbox.Choice{Account: people[1].ID}); ended.Query().Get("error") != "AccountMismatch" {
			t.Errorf("another account ended at %s", ended)
		}
		if ended := s.consent(t, link(), sandbox.Choice{Account: people[0].ID}); ended.Query().Get("connection_id") != id {
			t.Errorf("the same account ended at %s", ended)
		}
		for _, body := range []string{
			`{"platform":"youtube","owner":"acme","connection_id":"x"}`,
			`{"platform":"youtube","owner":"other","connection_id":"` + id + `"}`,
		} {
			_, e := event(t, http.MethodPost, "/links", withBody(jsonType, body))
			s.send(t, "connections", encode(t, e)).refused(t, 404, connector.ConnectionNotFound)
		}
	})
	t.Run("refuses_foreign_return_urls", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for _, target := range []string{
			"//evil.example", "https:evil.example", "https://product.example.com.evil.example/", "https://product.example.com@evil.example/",
			`https://product.example.com\@evil.example`, "javascript:alert(1)", "data:text/html,x", "https://product.example.com/%0d%0aSet-Cookie:x\r\n",
			"https://product.example.com:8443/", "http://product.example.com/", "https://product.example.com./", "https://product。example.com/",
		} {
			p := s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": target})).refused(t, 400, connector.InvalidRequest)
			if !strings.HasPrefix(p.Detail, "return_url:") {
				t.Errorf("%q: %s", target, p.Detail)
			}
		}
	})
}

func TestConnections_PutApp(t *testing.T) {
	t.Parallel()
	t.Run("never_shows_secrets", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		put := s.do(t, http.MethodPut, "/platforms/twitter/app", withJSON(t, map[string]any{
			"client_id": "test-client", "client_secret": "test-client-secret",
			"api_key": "test-api-key", "api_secret": "test-api-secret", "bearer_token": "test-bearer",
			"tier": "free", "monthly_post_limit": 2, "billing_day": 17,
		}))
		var app map[string]any
		put.decode(t, 200, &app)
		for field, want := range map[string]any{
			"platform": "twitter", "client_id": "test-client", "client_secret_set": true, "mode": "live",
			"api_key": "test-api-key", "api_secret_set": true, "bearer_token_set": true,
			"tier": "free", "monthly_post_limit": 2.0, "billing_day": 17.0,
			"redirect_uri": publicURL + "/oauth/twitter/callback",
		} {
			if app[field] != want {
				t.Errorf("%s: %v, want %v", field, app[field], want)
			}
		}
		var guide struct {
			App       map[string]any
			AppFields []map[string]any `json:"app_fields"`
		}
		s.do(t, http.MethodGet, "/platforms/twitter").decode(t, 200, &guide)
		want := map[string]any{"name": "api_secret", "secret": true, "number": false}
		if guide.App["client_id"] != "test-client" || !slices.ContainsFunc(guide.AppFields, func(f map[string]any) bool { return maps.Equal(f, want) }) {
			t.Errorf("guide: app %v, fields %v", guide.App, guide.AppFields)
		}
		for _, answer := range []reply{put, s.do(t, http.MethodGet, "/platforms/twitter"), s.do(t, http.MethodGet, "/platforms")} {
			for _, secret := range []string{"test-client-secret", "test-api-secret", "test-bearer"} {
				if strings.Contains(answer.Body, secret) {
					t.Errorf("the answer shows %s: %s", secret, answer.Body)
				}
			}
		}
	})
	t.Run("manual_mode_needs_no_client", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.clear(t, "tiktok")
		s.do(t, http.MethodPut, "/platforms/tiktok/app", withBody(jsonType, `{"mode":"manual"}`)).decode(t, 200, &struct{}{})
		s.do(t, http.MethodPost, "/links", withBody(jsonType, `{"platform":"tiktok","owner":"acme"}`)).refused(t, 409, connector.ManualMode)
		var imported struct{ Connections []struct{ ID, Status string } }
		s.do(t, http.MethodPost, "/connections", withBody(jsonType, `{"platform":"tiktok","owner":"acme","account_name":"Example"}`)).decode(t, 201, &imported)
		if len(imported.Connections) != 1 || imported.Connections[0].Status != "manual" {
			t.Fatalf("imported %+v", imported)
		}
		s.do(t, http.MethodGet, "/connections/"+imported.Connections[0].ID+"/token").refused(t, 409, connector.ManualMode)
		s.do(t, http.MethodPut, "/platforms/tiktok/app", withBody(jsonType, `{"mode":"live"}`)).refused(t, 400, connector.InvalidRequest)
	})
}

func TestOAuthStart_Page(t *testing.T) {
	t.Parallel()
	t.Run("manual_mode", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		link := s.link(t, map[string]any{"platform": "tiktok", "owner": "acme"})
		s.do(t, http.MethodPut, "/platforms/tiktok/app", withBody(jsonType, `{"mode":"manual"}`)).decode(t, 200, &struct{}{})
		page := s.do(t, http.MethodGet, link, with("accept", browserUse))
		if page.StatusCode != 409 || !strings.Contains(page.Body, "<ol>") || !strings.Contains(page.Body, "by hand") {
			t.Errorf("status %d, body %s", page.StatusCode, page.Body)
		}
	})
}

func TestConnections_Reserve(t *testing.T) {
	t.Parallel()
	t.Run("counts_until_the_limit", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
		reserve := func(posts int) reply {
			return s.do(t, http.MethodPost, "/connections/"+id+"/usage", withJSON(t, map[string]int{"posts": posts}))
		}
		if got := reserve(5); got.Body != `{"used":0}` {
			t.Errorf("without a limit: %s", got.Body)
		}
		registered := s.sandbox.AppOf("twitter")
		s.do(t, http.MethodPut, "/platforms/twitter/app", withJSON(t, map[string]any{
			"client_id": registered.ClientID, "client_secret": registered.ClientSecret, "monthly_post_limit": 3, "billing_day": 17,
		})).decode(t, 200, &struct{}{})
		if got := reserve(2); got.Body != `{"used":2,"limit":3,"remaining":1,"resets_at":"2026-12-17T00:00:00Z"}` {
			t.Errorf("with a limit: %s", got.Body)
		}
		if p := reserve(2).refused(t, 429, connector.QuotaExhausted); p.ResetsAt != "2026-12-17T00:00:00Z" {
			t.Errorf("resets_at %q", p.ResetsAt)
		}
	})
}

func TestConnections_Platforms(t *testing.T) {
	t.Parallel()
	t.Run("list_and_guides", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		var list struct {
			Platforms []struct {
				Name          string
				AppConfigured bool   `json:"app_configured"`
				AppMode       string `json:"app_mode"`
				RedirectURI   string `json:"redirect_uri"`
			}
		}
		s.do(t, http.MethodGet, "/platforms").decode(t, 200, &list)
		for i, name := range platforms() {
			if i >= len(list.Platforms) || list.Platforms[i].Name != name || !list.Platforms[i].AppConfigured || list.Platforms[i].AppMode != "live" {
				t.Fatalf("platforms %+v", list.Platforms)
			}
			var guide struct {
				PortalURL   string `json:"portal_url"`
				RedirectURI string `json:"redirect_uri"`
				Steps       []string
			}
			s.do(t, http.MethodGet, "/platforms/"+name).decode(t, 200, &guide)
			if guide.PortalURL == "" || len(guide.Steps) == 0 || guide.RedirectURI != list.Platforms[i].RedirectURI {
				t.Errorf("%s: %+v", name, guide)
			}
			steps := strings.Join(guide.Steps, " ")
			pasted := map[string]string{"facebook": publicURL + "/platforms/facebook/deauthorize", "tiktok": publicURL + "/platforms/tiktok/webhook"}[name]
			if strings.Contains(steps, "PUBLIC_URL") || !strings.Contains(steps, pasted) {
				t.Errorf("%s: the steps do not name %q, to be pasted: %s", name, pasted, steps)
			}
		}
		for _, name := range []string{"myspace", "FACEBOOK", "..%2Ffacebook", "__proto__"} {
			s.do(t, http.MethodGet, "/platforms/"+name).refused(t, 400, connector.InvalidRequest)
		}
	})
}

func TestConnections_RateLimited(t *testing.T) {
	t.Parallel()
	t.Run("retry_after_is_passed_on", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
		s.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Kind: sandbox.Throttled, RetryAfter: 42, Times: -1})
		throttled := s.do(t, http.MethodPost, "/connections/"+id+"/verify")
		if p := throttled.refused(t, 429, connector.RateLimited); p.RetryAfter == 0 || throttled.Headers["retry-after"] != fmt.Sprint(p.RetryAfter) {
			t.Errorf("retry_after %d, header %q", p.RetryAfter, throttled.Headers["retry-after"])
		}
	})
}
