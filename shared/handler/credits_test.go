package handler_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// Through a link with confirm the product gets its confirmation at once. The consent is
// completed once it is confirmed and the operator has bought credits.
func TestConfirm_CreditsSpent(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sandbox.Fault(sandbox.Fault{Platform: sandbox.Twitter, Endpoint: "me", Kind: sandbox.Quota, Times: -1})
	confirmation := s.hold(t, "twitter", "acme", sandbox.Choice{})
	s.confirm(t, confirmation, "acme").refused(t, 429, connector.QuotaExhausted)
	for range 24 {
		s.clock.Advance(time.Hour)
		s.sweep(t)
	}
	s.sandbox.ClearFaults()
	s.clock.Advance(time.Hour)
	s.sweep(t)
	if n := s.sandbox.Count(sandbox.Twitter, "revoke"); n != 0 || len(s.connections(t)) != 1 {
		t.Errorf("%d revocations, %d connections", n, len(s.connections(t)))
	}
}

// The credits of the app are spent when a person consents, so that X does not name the
// account of the tokens. The consent waits, for days if necessary. It is completed once
// the operator has bought credits.
func TestCallback_CreditsSpent(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	f := s.flow(t, "twitter", sandbox.Choice{})
	s.sandbox.Fault(sandbox.Fault{Platform: sandbox.Twitter, Endpoint: "me", Kind: sandbox.Quota, Times: -1})
	f.finish(t).refused(t, 429, connector.QuotaExhausted)
	if page := f.finish(t, with("accept", browserUse)); page.StatusCode != 429 || !strings.Contains(page.Body, "nothing is lost") {
		t.Errorf("the page: %d %s", page.StatusCode, page.Body)
	}
	for range 3 * 24 {
		s.clock.Advance(time.Hour)
		s.sweep(t)
	}
	if n := s.sandbox.Count(sandbox.Twitter, "revoke"); n != 0 || len(s.connections(t)) != 0 {
		t.Fatalf("%d revocations, %d connections", n, len(s.connections(t)))
	}
	s.sandbox.ClearFaults()
	s.clock.Advance(time.Hour)
	s.sweep(t)
	connections := s.connections(t)
	if len(connections) != 1 {
		t.Fatalf("%d connections after the credits were bought", len(connections))
	}
	if got := s.do(t, http.MethodGet, "/connections/"+connections[0]["id"].(string)+"/token"); got.StatusCode != 200 {
		t.Errorf("token: %d %s", got.StatusCode, got.Body)
	}
}
