package handler_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler/hostiletest"
	"platform-api-connector/shared/sandbox"
)

// TestHostileNotice sends notices with a valid signature that have expired, or whose
// app was replaced. They must change nothing.
func TestHostileNotice(t *testing.T) {
	t.Parallel()
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, s *stack)
	}{
		{"45_notices_replayed", replayedNotices},
		{"import_that_claims_somebody_elses_account", importClaimsAccount},
		{"leaked_app_secret_is_ended", leakedSecretEnded},
		{"old_data_deletion_replayed", oldDeletionReplayed},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			attack.run(t, newStack(t))
		})
	}
}

func replayedNotices(t *testing.T, s *stack) {
	person, secret := s.sandbox.People("facebook")[0].ID, s.sandbox.AppOf("facebook").ClientSecret
	s.connect(t, "facebook", "acme", sandbox.Choice{})
	s.clock.Advance(time.Minute)
	good := hostiletest.MetaSigned(secret, fmt.Sprintf(`{"algorithm":"HMAC-SHA256","user_id":"%s","issued_at":%d}`, person, s.clock.Now().Unix()))
	form := withBody(formType, url.Values{"signed_request": {good}}.Encode())
	first := s.do(t, http.MethodPost, "/platforms/facebook/data-deletion", form)
	s.clock.Advance(time.Minute)
	again := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	replayed := s.do(t, http.MethodPost, "/platforms/facebook/data-deletion", form)
	if first.StatusCode != 200 || replayed.Body != first.Body {
		t.Errorf("the repeated deletion: %d %s, the first: %s", replayed.StatusCode, replayed.Body, first.Body)
	}
	s.do(t, http.MethodPost, "/platforms/facebook/deauthorize", form)
	if got := status(t, s, again); got != "active" {
		t.Errorf("a replay made a connection that is newer %s", got)
	}
}

func importClaimsAccount(t *testing.T, s *stack) {
	id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	person := s.account(t, id)
	forged := s.importUnverified(t, "tiktok", "mallory", map[string]string{"open_id": person, "access_token": "test-access", "refresh_token": "test-refresh"})

	// The import does not learn that the person removed the app.
	s.clock.Advance(time.Minute)
	body, signature := s.sandbox.TikTokNotice("authorization.removed", person)
	s.do(t, http.MethodPost, "/platforms/tiktok/webhook", withBody(jsonType, string(body)), with("tiktok-signature", signature)).decode(t, 200, &struct{}{})
	if got := [2]string{status(t, s, id), status(t, s, forged)}; got != [2]string{"needs_reauth", "active"} {
		t.Errorf("after the person removed the app: %v", got)
	}

	// The import does not prevent the revocation of the person's grant.
	s.clock.Advance(time.Minute)
	again := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	if got := s.do(t, http.MethodDelete, "/connections/"+again); got.StatusCode != 204 || s.sandbox.Count("tiktok", "revoke") != 1 {
		t.Errorf("%d, %d revocations, want 1", got.StatusCode, s.sandbox.Count("tiktok", "revoke"))
	}
}

func leakedSecretEnded(t *testing.T, s *stack) {
	app := s.sandbox.AppOf("facebook")
	leaked := withBody(formType, url.Values{"signed_request": {hostiletest.MetaSigned(app.ClientSecret,
		fmt.Sprintf(`{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":%d}`, s.clock.Now().Unix()))}}.Encode())
	put := func(id, secret string) {
		t.Helper()
		s.do(t, http.MethodPut, "/platforms/facebook/app", withJSON(t, map[string]any{"client_id": id, "client_secret": secret, "mode": "live"})).decode(t, 200, &struct{}{})
	}
	put(app.ClientID, "test-new-secret")
	if got := s.do(t, http.MethodPost, "/platforms/facebook/deauthorize", leaked); got.StatusCode != 200 {
		t.Errorf("during the rotation: %d %s", got.StatusCode, got.Body)
	}
	put("another", "test-new-secret")
	put(app.ClientID, "test-new-secret")
	s.do(t, http.MethodPost, "/platforms/facebook/deauthorize", leaked).refused(t, 401, connector.InvalidRequest)
}

func oldDeletionReplayed(t *testing.T, s *stack) {
	person, app := s.sandbox.People("facebook")[0].ID, s.sandbox.AppOf("facebook")
	first := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	s.clock.Advance(time.Minute)
	form := withBody(formType, url.Values{"signed_request": {hostiletest.MetaSigned(app.ClientSecret,
		fmt.Sprintf(`{"algorithm":"HMAC-SHA256","user_id":"%s","issued_at":%d}`, person, s.clock.Now().Unix()))}}.Encode())
	send := func() reply {
		t.Helper()
		return s.do(t, http.MethodPost, "/platforms/facebook/data-deletion", form)
	}
	send().decode(t, 200, &struct{}{})
	s.do(t, http.MethodGet, "/connections/"+first).refused(t, 404, connector.ConnectionNotFound)

	s.clock.Advance(time.Minute)
	again := s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	s.do(t, http.MethodPut, "/platforms/facebook/app", withJSON(t, map[string]any{
		"client_id": app.ClientID, "client_secret": "test-new-secret",
	})).decode(t, 200, &struct{}{})
	send().decode(t, 200, &struct{}{}) // under another confirmation code
	if got := status(t, s, again); got != "active" {
		t.Errorf("after the app's secret was replaced, a replay made a connection that is newer %s", got)
	}
	for _, later := range []time.Duration{24 * time.Hour, 91 * 24 * time.Hour} { // the status page expires after 90 days
		s.clock.Advance(later)
		send().refused(t, 401, connector.InvalidRequest)
		if got := status(t, s, again); got != "active" {
			t.Errorf("%v later a replay made a newer connection %s", later, got)
		}
	}
}
