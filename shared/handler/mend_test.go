package handler_test

import (
	"slices"
	"testing"

	"platform-api-connector/shared/sandbox"
)

// statuses returns the status and the reason of each account of an owner.
func (s *stack) statuses(t *testing.T, owner string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, c := range s.connections(t) {
		if c["owner"] != owner {
			continue
		}
		found[c["account_id"].(string)] = c["status"].(string) + " " + c["status_reason"].(string)
	}
	return found
}

// A person's password change ends the tokens of all their Pages. One consent for one of the
// connections mends the others of the same owner, and no connection of another owner.
func TestReauthorize_OtherConnectionsOfThePerson(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	pages := s.firstPages()
	ids := s.connect(t, "facebook", "acme", sandbox.Choice{})
	s.connect(t, "facebook", "globex", sandbox.Choice{Pages: []string{pages[0].ID}})
	s.sandbox.Kill("facebook", "", 460)
	for _, c := range s.connections(t) {
		s.do(t, "POST", "/connections/"+c["id"].(string)+"/verify")
	}
	link := s.link(t, map[string]any{"platform": "facebook", "owner": "acme", "connection_id": ids[1], "return_url": returnURL})
	before := len(s.connections(t))
	ended := s.consent(t, link, sandbox.Choice{}).Query()

	for account, got := range s.statuses(t, "acme") {
		if got != "active " {
			t.Errorf("%s of the owner is %s", account, got)
		}
	}
	if got := s.statuses(t, "globex")[pages[0].ID]; got != "needs_reauth password_changed" {
		t.Errorf("the connection of another owner is %s", got)
	}
	named := ended["connection_id"]
	if len(named) != len(ids) || named[0] != ids[1] || len(s.connections(t)) != before {
		t.Errorf("the return URL names %v, of %v; %d connections, of %d before", named, ids, len(s.connections(t)), before)
	}
}

// A consent for one connection of a person whose other connections work renews that one
// alone.
func TestReauthorize_WorkingConnectionsStay(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	ids := s.connect(t, "facebook", "acme", sandbox.Choice{})
	revision := map[any]any{}
	for _, c := range s.connections(t) {
		revision[c["id"]] = c["revision"]
	}
	link := s.link(t, map[string]any{"platform": "facebook", "owner": "acme", "connection_id": ids[1], "return_url": returnURL})
	if named := s.consent(t, link, sandbox.Choice{}).Query()["connection_id"]; !slices.Equal(named, ids[1:2]) {
		t.Errorf("the return URL names %v", named)
	}
	for _, c := range s.connections(t) {
		if moved := c["revision"] != revision[c["id"]]; moved != (c["id"] == ids[1]) {
			t.Errorf("%v: revision %v, before %v", c["id"], c["revision"], revision[c["id"]])
		}
	}
}
