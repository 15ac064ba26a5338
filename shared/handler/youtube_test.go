package handler_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

const (
	userinfoEmail   = "https://www.googleapis.com/auth/userinfo.email"
	userinfoProfile = "https://www.googleapis.com/auth/userinfo.profile"
)

// tune changes the knobs of YouTube.
func (s *stack) tuneYouTube(change func(k *sandbox.YouTubeKnobs)) {
	s.sandbox.Tune(func(k *sandbox.Knobs) { change(k.YouTube()) })
}

// A person with brand accounts connects the channel that they select.
func TestYouTube_BrandAccount(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	person := s.sandbox.People("youtube")[0]
	for _, channel := range append([]sandbox.Channel{{ID: person.Channel, Title: person.ChannelTitle}}, person.BrandChannels...) {
		id := s.connect(t, "youtube", "acme", sandbox.Choice{Channel: channel.ID})[0]
		if c := s.show(t, id); c["account_id"] != channel.ID || c["account_name"] != channel.Title {
			t.Errorf("selected %s: connected %v, %v", channel.ID, c["account_id"], c["account_name"])
		}
	}
	if got := len(s.connections(t)); got != 3 {
		t.Errorf("%d connections, want one for each of 3 channels", got)
	}
}

// A scope is known under the name of the request and under that of Google's answer:
// in the connection, after a refresh, and to callers of token-get.
func TestYouTube_ScopeNames(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.limitScopes(connector.ScopeLists{"youtube": {upload, readonly, "email", "profile", "openid"}}, nil)
	link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL,
		"scopes": []string{readonly, "email", "profile", "openid"}})
	ended := s.consent(t, link, sandbox.Choice{}).Query()
	if ended.Get("status") != "connected" || ended.Has("missing_scopes") {
		t.Fatalf("the consent ended with %v", ended)
	}
	id := ended.Get("connection_id")
	check := func(when string) {
		t.Helper()
		c := s.show(t, id)
		if missing := c["missing_scopes"].([]any); len(missing) != 0 {
			t.Errorf("%s: missing_scopes %v", when, missing)
		}
		for _, scope := range []string{"email", userinfoEmail, "profile", userinfoProfile, "openid"} {
			if !slices.Contains(c["scopes"].([]any), any(scope)) {
				t.Errorf("%s: scopes %v lack %s", when, c["scopes"], scope)
			}
			if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`","scopes":["`+scope+`"]}`); failure != nil {
				t.Errorf("%s: token-get for %s: %s", when, scope, failure.Message)
			}
		}
	}
	check("after the consent")
	s.clock.Advance(2 * time.Hour)
	s.do(t, http.MethodPost, "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
	check("after a refresh")
}

// A scope that the person refused is missing under the name of the request.
func TestYouTube_ScopeNames_Untick(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.limitScopes(connector.ScopeLists{"youtube": {readonly, "email", "profile"}}, nil)
	link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL,
		"scopes": []string{readonly, "email", "profile"}})
	ended := s.consent(t, link, sandbox.Choice{Untick: []string{"email"}}).Query()
	c := s.show(t, ended.Get("connection_id"))
	if missing := c["missing_scopes"].([]any); len(missing) != 1 || missing[0] != "email" {
		t.Errorf("the person refused email: missing_scopes %v", missing)
	}
}

// An account that YouTube refuses is the person's matter: the answer has a reason, and
// asks nobody to wait.
func TestYouTube_AccountRefused(t *testing.T) {
	t.Parallel()
	for refusal, reason := range map[string]string{
		"authenticatedUserAccountSuspended": "account_suspended",
		"authenticatedUserAccountClosed":    "account_closed",
		"authenticatedUserNotChannel":       "no_channel",
		"channelSuspended":                  "channel_suspended",
		"channelClosed":                     "channel_closed",
		"channelNotFound":                   "no_channel",
	} {
		t.Run(refusal, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
			s.tuneYouTube(func(k *sandbox.YouTubeKnobs) { k.AccountRefusal = refusal })

			checked := s.do(t, http.MethodPost, "/connections/"+id+"/verify").refused(t, 403, connector.AccessDenied)
			if checked.Reason != reason || checked.RetryAfter != 0 {
				t.Errorf("verify: reason %q, retry_after %d, want %q", checked.Reason, checked.RetryAfter, reason)
			}
			f := s.flow(t, "youtube", sandbox.Choice{})
			if got := f.finish(t).refused(t, 403, connector.AccessDenied); got.Reason != reason {
				t.Errorf("a consent: reason %q, want %q", got.Reason, reason)
			}
			if got := len(s.connections(t)); got != 1 {
				t.Errorf("%d connections", got)
			}
		})
	}
}

// A refusal of the account does not say to which account the renewed tokens of an import
// belong.
func TestYouTube_AccountRefused_Import(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	file, account := s.elsewhere(t, "youtube", sandbox.Choice{})
	imported := map[string]string{}
	for name, value := range file {
		imported[name], _ = value.(string)
	}
	imported["token_expiry"] = "2026-11-01T00:00:00Z"
	id := s.importUnverified(t, "youtube", "acme", imported)
	s.tuneYouTube(func(k *sandbox.YouTubeKnobs) { k.AccountRefusal = "channelSuspended" })
	_, _ = s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
	if c := s.show(t, id); c["status"] != "active" {
		t.Fatalf("while the channel is suspended: %v, %v", c["status"], c["status_reason"])
	}
	s.tuneYouTube(func(k *sandbox.YouTubeKnobs) { k.AccountRefusal = "" })
	s.clock.Advance(time.Hour)
	s.do(t, http.MethodPost, "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
	if c := s.show(t, id); c["account_id"] != account {
		t.Errorf("afterwards: account %v, want %s", c["account_id"], account)
	}
}

// A grant that ends about seven days after its consent is that of an app in Testing,
// whether or not Google said when it ends.
func TestYouTube_AppInTesting(t *testing.T) {
	t.Parallel()
	const reason = "app_in_testing"
	for _, row := range []struct {
		name    string
		tune    func(k *sandbox.YouTubeKnobs)
		worked  time.Duration // the last success before the refusal; zero: the consent
		refused time.Duration // since the consent
		kill    bool          // the person removed the app
		reason  string
	}{
		{"end not told", func(k *sandbox.YouTubeKnobs) { k.Testing, k.OmitGrantEnd = true, true }, 6 * 24 * time.Hour, 7*24*time.Hour + time.Minute, false, reason},
		{"end told", func(k *sandbox.YouTubeKnobs) { k.Testing = true }, 6 * 24 * time.Hour, 7*24*time.Hour + time.Minute, false, reason},
		{"not used meanwhile", func(k *sandbox.YouTubeKnobs) { k.Testing, k.OmitGrantEnd = true, true }, 0, 8 * 24 * time.Hour, false, reason},
		{"removed on the third day", func(k *sandbox.YouTubeKnobs) {}, 2 * 24 * time.Hour, 3 * 24 * time.Hour, true, "grant_refused"},
		{"removed on the third day, in Testing", func(k *sandbox.YouTubeKnobs) { k.Testing = true }, 2 * 24 * time.Hour, 3 * 24 * time.Hour, true, "grant_refused"},
		{"worked after seven days", func(k *sandbox.YouTubeKnobs) {}, 7*24*time.Hour + 2*time.Hour, 7*24*time.Hour + 4*time.Hour, true, "grant_refused"},
		{"removed after a month", func(k *sandbox.YouTubeKnobs) {}, 0, 30 * 24 * time.Hour, true, "grant_refused"},
		{"time-based access", func(k *sandbox.YouTubeKnobs) { k.TimeLimitSeconds = 30 * 24 * 60 * 60 }, 29 * 24 * time.Hour, 30*24*time.Hour + time.Minute, false, "access_limited"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.tuneYouTube(row.tune)
			id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
			refresh := func(after time.Duration) reply {
				t.Helper()
				s.clock.Advance(noon.Add(after).Sub(s.clock.Now()))
				return s.do(t, http.MethodPost, "/connections/"+id+"/refresh")
			}
			if row.worked > 0 {
				refresh(row.worked).decode(t, 200, &struct{}{})
			}
			if row.kill {
				s.sandbox.Kill("youtube", "", 0)
			}
			got := refresh(row.refused).refused(t, 409, connector.ReauthorizationRequired)
			if got.Reason != row.reason {
				t.Errorf("reason %q, want %q", got.Reason, row.reason)
			}
			c := s.show(t, id)
			if word, _, _ := strings.Cut(c["status_reason"].(string), ":"); c["status"] != "needs_reauth" || word != row.reason {
				t.Errorf("%v, %v", c["status"], c["status_reason"])
			}
			_, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
			if failure == nil {
				t.Fatal("token-get handed out a token")
			}
			for _, text := range []string{got.Detail, c["status_reason"].(string), failure.Message} {
				if told := strings.Contains(text, "In production"); told != (row.reason == reason) {
					t.Errorf("%q says what to do: %t", text, told)
				}
			}
		})
	}
}

// A policy that ended a grant is the matter of a person or an administrator: the
// connection needs a consent at once, with a reason that says who has to act. It does
// not trouble other connections.
func TestYouTube_Policy(t *testing.T) {
	t.Parallel()
	for refusal, row := range map[string]struct{ reason, says string }{
		"admin_policy_enforced": {"admin_policy", "administrator"},
		"policy_enforced":       {"advanced_protection", "Advanced Protection"},
		"access_denied":         {"access_denied", ""},
	} {
		t.Run(refusal, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
			other := s.connect(t, "youtube", "globex", sandbox.Choice{Account: s.sandbox.People("youtube")[1].ID})[0]
			s.tuneYouTube(func(k *sandbox.YouTubeKnobs) { k.PolicyRefusal = refusal })

			f := s.flow(t, "youtube", sandbox.Choice{})
			f.finish(t).refused(t, 403, connector.AccessDenied)
			got := s.do(t, http.MethodPost, "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
			c := s.show(t, id)
			status, _ := c["status_reason"].(string)
			if word, _, _ := strings.Cut(status, ":"); c["status"] != "needs_reauth" || word != row.reason || got.Reason != row.reason {
				t.Errorf("%v, %v; the answer has the reason %q", c["status"], status, got.Reason)
			}
			if !strings.Contains(status, row.says) || !strings.Contains(got.Detail, row.says) {
				t.Errorf("neither %q nor %q says who has to act", status, got.Detail)
			}

			s.tuneYouTube(func(k *sandbox.YouTubeKnobs) { k.PolicyRefusal = "" })
			s.do(t, http.MethodPost, "/connections/"+other+"/refresh").decode(t, 200, &struct{}{})
		})
	}
}

// A project that Google suspended or deleted is the operator's matter, and no connection
// loses its grant.
func TestYouTube_ProjectSuspended(t *testing.T) {
	t.Parallel()
	for _, refusal := range []string{"CONSUMER_SUSPENDED", "CONSUMER_INVALID"} {
		t.Run(refusal, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
			s.tuneYouTube(func(k *sandbox.YouTubeKnobs) { k.ProjectRefusal = refusal })
			got := s.do(t, http.MethodPost, "/connections/"+id+"/verify").refused(t, 502, connector.AppMisconfigured)
			if got.Reason != "project_suspended" {
				t.Errorf("reason %q", got.Reason)
			}
			if c := s.show(t, id); c["status"] != "active" {
				t.Errorf("%v, %v", c["status"], c["status_reason"])
			}
		})
	}
}

// A consent that brings no refresh token does not take the one that a connection has, and
// that still works (https://github.com/gitroomhq/postiz-app/pull/1884, read 2026-11-25).
func TestYouTube_ConsentWithoutRefreshToken(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	s.tuneYouTube(func(k *sandbox.YouTubeKnobs) { k.OmitRefreshToken = true })
	if again := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]; again != id {
		t.Fatalf("a second consent: connection %s, want %s", again, id)
	}
	if c := s.show(t, id); c["status"] != "active" || c["status_reason"] != "" {
		t.Errorf("after the second consent: %v, %v", c["status"], c["status_reason"])
	}
	s.clock.Advance(2 * time.Hour)
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure != nil {
		t.Errorf("after the end of the access token: %s", failure.Message)
	}
}

// A refresh token of another client, such as that of Google's OAuth Playground, is
// refused with the reason, and does not trouble the connections of the app.
func TestYouTube_RefreshTokenOfAnotherClient(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	own := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	app := s.sandbox.AppOf("youtube")
	s.sandbox.SetClient("youtube", "sandbox-youtube-other", "sandbox-youtube-other-secret")
	file, _ := s.elsewhere(t, "youtube", sandbox.Choice{Account: s.sandbox.People("youtube")[1].ID})
	s.sandbox.SetClient("youtube", app.ClientID, app.ClientSecret)
	credentials := map[string]any{"refresh_token": file["refresh_token"]}
	got := s.do(t, http.MethodPost, "/connections", withJSON(t, map[string]any{
		"platform": "youtube", "owner": "globex", "credentials": credentials,
	})).refused(t, 502, connector.AppMisconfigured)
	if !strings.Contains(got.Detail, "another client_id") {
		t.Errorf("the refusal does not say why: %q", got.Detail)
	}
	s.do(t, http.MethodPost, "/connections/"+own+"/refresh").decode(t, 200, &struct{}{})
}
