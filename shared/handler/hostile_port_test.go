package handler_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// TestHostilePort changes the stored data, the vault, the configuration and the
// history of a sandbox.
func TestHostilePort(t *testing.T) {
	t.Parallel()
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, s *stack)
	}{
		{"24_identity_fails_after_the_exchange", identityFails},
		{"39_sealed_credentials_swapped", sealedSwapped},
		{"40_vault_down", vaultDown},
		{"import_under_the_id_of_a_person", importUnderPerson},
		{"return_origin_taken_off_the_list", originTakenOff},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			attack.run(t, newStack(t))
		})
	}
}

func identityFails(t *testing.T, s *stack) {
	for _, name := range platforms() {
		s.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: lookUp(name), Kind: sandbox.Outage})
		f := s.flow(t, name, sandbox.Choice{})
		f.finish(t).refused(t, 503, connector.PlatformUnavailable)
		s.sandbox.ClearFaults()
		if stored := s.connections(t); len(stored) != 0 {
			t.Errorf("%s: stored: %v", name, stored)
		}
		// The grant is stored, and the sweep continues the consent.
		s.clock.Advance(10 * time.Minute)
		s.sweep(t)
		stored := s.connections(t)
		if len(stored) == 0 {
			t.Errorf("%s: the grant was lost", name)
		}
		for _, c := range stored {
			if r := s.do(t, http.MethodDelete, "/connections/"+c["id"].(string)+"?purge=true"); r.StatusCode != 204 {
				t.Errorf("%s: %d", name, r.StatusCode)
			}
		}
	}

	// If the same person has a connection, a revocation would end it too.
	id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	before := s.sandbox.Count("tiktok", "revoke")
	s.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "me", Kind: sandbox.Outage})
	s.flow(t, "tiktok", sandbox.Choice{}).finish(t).refused(t, 503, connector.PlatformUnavailable)
	if n := s.sandbox.Count("tiktok", "revoke"); n != before {
		t.Error("the existing connection was revoked")
	}
	s.do(t, http.MethodPost, "/connections/"+id+"/refresh", withBody(jsonType, "{}")).decode(t, 200, &struct{}{})
}

func sealedSwapped(t *testing.T, s *stack) {
	var records [2]connector.Connection
	for i, owner := range []string{"acme", "mallory"} {
		id := connector.ID(s.connect(t, "youtube", owner, sandbox.Choice{})[0])
		c, err := s.store.Connection(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		value, _, err := s.vault.Get(t.Context(), "connections/"+string(id), "")
		if err != nil {
			t.Fatal(err)
		}
		purpose := fmt.Sprintf("credentials %s generation %d", id, c.Credentials.Generation)
		sealed := c
		if sealed.Credentials.Sealed, err = (connectortest.Sealer{Hides: true}).Seal(t.Context(), value, purpose); err != nil {
			t.Fatal(err)
		}
		if records[i], err = s.store.Commit(t.Context(), connector.Change{Before: &c, After: &sealed}); err != nil {
			t.Fatal(err)
		}
	}
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+string(records[1].ID)+`"}`); failure != nil {
		t.Fatalf("credentials of the connection itself: %v", failure)
	}
	swapped := records[0]
	swapped.Credentials.Sealed = records[1].Credentials.Sealed
	swapped, err := s.store.Commit(t.Context(), connector.Change{Before: &records[0], After: &swapped})
	if err != nil {
		t.Fatal(err)
	}
	_, failure := s.invoke(t, "token-get", `{"connection_id":"`+string(swapped.ID)+`"}`)
	if failure == nil || failure.Type != "Internal" {
		t.Errorf("swapped: %+v", failure)
	}
	if !strings.Contains(s.logs.String(), `"level":"ERROR"`) {
		t.Error("the log has no error, so no alarm can fire")
	}
}

func vaultDown(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	s.hook(connectortest.Fail(errors.New("AccessDeniedException: the key is disabled"), "Vault.Get"))
	answer, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
	if failure == nil || failure.Type != "Internal" || strings.Contains(failure.Message, "key is disabled") {
		t.Errorf("%v, %+v", answer, failure)
	}
	s.hook(nil)
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure != nil {
		t.Errorf("after the outage: %v", failure)
	}
	if got := s.show(t, id)["status"]; got != "active" {
		t.Errorf("status %v", got)
	}
}

func importUnderPerson(t *testing.T, s *stack) {
	person := s.sandbox.People("facebook")[0].ID
	pages := s.full(t, s.connect(t, "facebook", "acme", sandbox.Choice{})[0])
	elsewhere := newStack(t)
	elsewhere.service.Platforms = s.service.Platforms // a second deployment with the same platforms and an empty store
	sound := elsewhere.importUnverified(t, "facebook", "acme", map[string]string{
		"page_id": pages["page_id"].(string), "page_access_token": pages["page_access_token"].(string),
	})
	forged := elsewhere.importUnverified(t, "facebook", "mallory", map[string]string{"page_id": person, "page_access_token": "test-token"})
	if got := elsewhere.do(t, http.MethodDelete, "/connections/"+forged); got.StatusCode != 204 {
		t.Errorf("%d %s", got.StatusCode, got.Body)
	}
	if n := s.sandbox.Count("facebook", "revoke"); n != 0 {
		t.Errorf("the person's grant was revoked %d times", n)
	}
	elsewhere.do(t, http.MethodPost, "/connections/"+sound+"/verify").decode(t, 200, &struct{}{})
}

func originTakenOff(t *testing.T, s *stack) {
	f := s.flowOf(t, "youtube", s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL}), sandbox.Choice{})
	s.service.ReturnOrigins = nil
	if got := f.finish(t); got.StatusCode != 200 || got.Headers["location"] != "" {
		t.Errorf("%d, to %q", got.StatusCode, got.Headers["location"])
	}
}
