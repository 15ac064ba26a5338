package handler_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// hold creates a pending consent and returns its confirmation.
func (s *stack) hold(t *testing.T, platform, owner string, choice sandbox.Choice) string {
	t.Helper()
	ended := s.consent(t, s.link(t, map[string]any{"platform": platform, "owner": owner, "return_url": returnURL, "confirm": true}), choice)
	query := ended.Query()
	if query.Get("status") != "confirm" || query.Has("connection_id") || len(query["confirmation"]) != 1 {
		t.Fatalf("a consent to be confirmed ended at %s", ended)
	}
	return query.Get("confirmation")
}

func (s *stack) confirm(t *testing.T, confirmation, owner string) reply {
	t.Helper()
	return s.do(t, http.MethodPost, "/connections/confirm", withJSON(t, map[string]any{"confirmation": confirmation, "owner": owner}))
}

func TestConnections_Confirm(t *testing.T) {
	t.Parallel()
	t.Run("every_platform", func(t *testing.T) {
		t.Parallel()
		for _, name := range platforms() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				confirmation := s.hold(t, name, "acme", sandbox.Choice{})

				var list struct{ Connections []struct{ ID string } }
				s.do(t, http.MethodGet, "/connections?owner=acme").decode(t, 200, &list)
				if len(list.Connections) > 0 {
					t.Errorf("connections before the confirmation: %v", list.Connections)
				}
				_, failure := s.invoke(t, "token-get", `{"owner":"acme","platform":"`+name+`"}`)
				if failure == nil || failure.Type != "ConnectionNotFound" {
					t.Errorf("token before the confirmation: %v", failure)
				}

				s.confirm(t, confirmation, "acme").decode(t, 200, &list)
				if len(list.Connections) == 0 {
					t.Fatal("nothing is connected")
				}
				var token map[string]any
				s.do(t, http.MethodGet, "/connections/"+list.Connections[0].ID+"/token").decode(t, 200, &token)
				if token["access_token"] == "" || token["owner"] != "acme" {
					t.Errorf("token: %v", token)
				}
				s.confirm(t, confirmation, "acme").refused(t, 404, connector.ConnectionNotFound)
			})
		}
	})
	t.Run("refusals", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		confirmation := s.hold(t, "youtube", "acme", sandbox.Choice{})
		unknown := strings.Repeat("x", 43)
		want := s.confirm(t, unknown, "acme").refused(t, 404, connector.ConnectionNotFound)
		for _, row := range []struct{ name, confirmation, owner string }{
			{"another owner", confirmation, "globex"},
			{"another alphabet", "../pending/" + confirmation, "acme"},
			{"one character less", confirmation[1:], "acme"},
			{"60 kB", strings.Repeat("y", 60_000), "acme"},
		} {
			if got := s.confirm(t, row.confirmation, row.owner).refused(t, 404, connector.ConnectionNotFound); got.Detail != want.Detail {
				t.Errorf("%s: %q, an unknown one %q", row.name, got.Detail, want.Detail)
			}
		}
		for _, row := range []struct{ name, body, field string }{
			{"no confirmation", `{"owner":"acme"}`, "confirmation"},
			{"no owner", `{"confirmation":"` + confirmation + `"}`, "owner"},
			{"a number", `{"confirmation":1,"owner":"acme"}`, "confirmation"},
			{"twice", `{"confirmation":"a","confirmation":"b","owner":"acme"}`, "confirmation"},
			{"more", `{"confirmation":"` + confirmation + `","owner":"acme","force":true}`, "force"},
			{"not JSON", `confirmation=` + confirmation, "body"},
		} {
			p := s.do(t, http.MethodPost, "/connections/confirm", withBody(jsonType, row.body)).refused(t, 400, connector.InvalidRequest)
			if !strings.HasPrefix(p.Detail, row.field+":") {
				t.Errorf("%s: %q, want it to name %s", row.name, p.Detail, row.field)
			}
		}
		s.do(t, http.MethodPost, "/connections/confirm?owner=acme", withJSON(t, map[string]any{"confirmation": confirmation, "owner": "acme"})).refused(t, 400, connector.InvalidRequest)

		s.clock.Advance(10*time.Minute + time.Second)
		if late := s.confirm(t, confirmation, "acme").refused(t, 404, connector.ConnectionNotFound); late.Detail != want.Detail {
			t.Errorf("a second late: %q, an unknown one %q", late.Detail, want.Detail)
		}
	})
	// The sweep and the worker end an unconfirmed consent.
	t.Run("unconfirmed_consent_is_revoked_by_the_sweep", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		confirmation := s.hold(t, "youtube", "acme", sandbox.Choice{})
		s.clock.Advance(15 * time.Minute)
		if answer, failure := s.invoke(t, "refresh", `{}`); failure != nil || answer["queued"] != 1.0 {
			t.Fatalf("refresh: %v, %v", answer, failure)
		}
		for _, due := range s.queue.Drain() {
			message := batch(t, messageOf(due))
			if answer, failure := s.invoke(t, "refresh-worker", message); failure != nil || len(answer["batchItemFailures"].([]any)) > 0 {
				t.Errorf("refresh-worker: %v, %v", answer, failure)
			}
		}
		if s.sandbox.Count(sandbox.YouTube, "revoke") != 1 || len(s.vault.Names("pending/")) > 0 {
			t.Error("the grant was not revoked and deleted")
		}
		s.confirm(t, confirmation, "acme").refused(t, 404, connector.ConnectionNotFound)
		if logs := s.logs.String(); strings.Contains(logs, confirmation) || strings.Contains(logs, url.QueryEscape(confirmation)) {
			t.Error("the confirmation is in the log")
		}
	})
	// A parameter of the return URL with the same name is not used as a confirmation.
	t.Run("return_url_cannot_forge_it", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		link := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL + "&confirmation=forged", "confirm": true})
		query := s.consent(t, link, sandbox.Choice{}).Query()
		if len(query["confirmation"]) != 1 || query.Get("confirmation") == "forged" {
			t.Errorf("query %v", query)
		}
	})
}
