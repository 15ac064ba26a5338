package handler_test

import (
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// Meta has one authorization of a person for an app. A consent with other Pages ends the
// tokens of the earlier ones, of all owners: they are marked at once, with an event each.
func TestCoverage_FewerPages(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	pages := s.firstPages()
	s.connect(t, "facebook", "acme", sandbox.Choice{Pages: []string{pages[0].ID, pages[1].ID}})
	s.connect(t, "facebook", "globex", sandbox.Choice{Pages: []string{pages[1].ID, pages[2].ID}})

	if got := s.statuses(t, "acme"); got[pages[0].ID] != "needs_reauth page_not_granted" || got[pages[1].ID] != "active " {
		t.Errorf("acme: %v", got)
	}
	if got := s.statuses(t, "globex"); got[pages[1].ID] != "active " || got[pages[2].ID] != "active " {
		t.Errorf("globex: %v", got)
	}
	told := 0
	for _, e := range s.events.All() {
		if e.Type == connector.EventReauth && e.AccountID == pages[0].ID && e.Owner == "acme" && e.Reason == "page_not_granted" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d events tell of the Page, want 1", told)
	}
	// The platform agrees.
	for _, c := range s.connections(t) {
		r := s.do(t, "POST", "/connections/"+c["id"].(string)+"/verify")
		if works := r.StatusCode == 200; works != (c["status"] == "active") {
			t.Errorf("%v of %v: verified with %d, and is %v", c["account_id"], c["owner"], r.StatusCode, c["status"])
		}
	}
}

// If Facebook does not say which Pages an authorization covers, a worker checks the
// connections whose Pages the consent does not list, and no others.
func TestCoverage_Unknown(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	pages := s.firstPages()
	s.connect(t, "facebook", "acme", sandbox.Choice{Pages: []string{pages[0].ID, pages[1].ID}})
	s.sandbox.Fault(sandbox.Fault{
		Platform: sandbox.Facebook, Endpoint: "debug_token", Kind: sandbox.Body, Status: 400,
		Text: `{"error":{"message":"(#10) not permitted","type":"OAuthException","code":10}}`,
	})
	s.connect(t, "facebook", "globex", sandbox.Choice{Pages: []string{pages[1].ID}})
	if got := s.statuses(t, "acme"); got[pages[0].ID] != "active " || got[pages[1].ID] != "active " {
		t.Errorf("before they were asked: %v", got)
	}
	queued := s.queue.Drain()
	if len(queued) != 1 {
		t.Fatalf("queued %v, want the one connection that the consent does not list", queued)
	}
	if _, failure := s.invoke(t, "refresh-worker", batch(t, messageOf(queued[0]))); failure != nil {
		t.Fatal(failure)
	}
	if got := s.statuses(t, "acme"); got[pages[0].ID] != "needs_reauth page_not_granted" || got[pages[1].ID] != "active " {
		t.Errorf("after they were asked: %v", got)
	}
}

// The accounts that an agency did not choose for one client stay connected for the others.
func TestCoverage_Chosen(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	pages := s.firstPages()
	s.connect(t, "facebook", "acme", sandbox.Choice{Pages: []string{pages[0].ID}})
	_, state, cookie := s.choosing(t, map[string]any{"owner": "globex"})
	if got := s.choose(t, state, cookie, pages[1].ID); got.StatusCode != 200 {
		t.Fatalf("status %d", got.StatusCode)
	}
	if got := s.statuses(t, "acme"); len(got) != 1 || got[pages[0].ID] != "active " {
		t.Errorf("acme: %v", got)
	}
	if got := s.statuses(t, "globex"); len(got) != 1 || got[pages[1].ID] != "active " {
		t.Errorf("globex: %v", got)
	}
}
