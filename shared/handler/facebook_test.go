package handler_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// pagesOf returns the ids of the connections, by the Page.
func (s *stack) pagesOf(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for _, c := range s.connections(t) {
		ids[c["account_id"].(string)] = c["id"].(string)
	}
	return ids
}

// wantScope asks for a token that can publish on a Page.
func (s *stack) wantScope(t *testing.T, what, id string, want connector.Code) {
	t.Helper()
	_, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`","scopes":["pages_manage_posts"]}`)
	if got := failure != nil && failure.Type == string(want); got != (want != "") || want == "" && failure != nil {
		t.Errorf("%s: got %v, want %q", what, failure, want)
	}
}

func TestFacebook_PermissionForOnePage(t *testing.T) {
	t.Parallel()
	const bakery, cycles, gallery = "200000000000001", "200000000000002", "200000000000003"
	s := newStack(t)
	s.sandbox.ChangePage(gallery, func(p *sandbox.Page) { p.Business = "" })
	s.sandbox.ChangePage(gallery, func(p *sandbox.Page) { p.Tasks = []string{"ANALYZE"} })
	s.connect(t, "facebook", "acme", sandbox.Choice{
		PageUntick: map[string][]string{cycles: {"pages_manage_posts"}},
		Instagram:  []string{},
	})
	pages := s.pagesOf(t)
	check := func(when string) {
		t.Helper()
		s.wantScope(t, when+": everything granted", pages[bakery], "")
		s.wantScope(t, when+": posts refused for the Page", pages[cycles], connector.ScopeMissing)
		s.wantScope(t, when+": no task to create content", pages[gallery], connector.ScopeMissing)
		for page, reason := range map[string]string{bakery: "instagram_not_granted:", gallery: "create_content_missing:"} {
			if got, _ := s.show(t, pages[page])["status_reason"].(string); !strings.HasPrefix(got, reason) {
				t.Errorf("%s: status reason %q, want %q", when, got, reason)
			}
		}
	}
	check("connected")
	s.clock.Advance(8 * 24 * time.Hour)
	s.sweep(t)
	check("checked")
	for _, id := range pages {
		s.do(t, http.MethodPost, "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
	}
	check("verified")
	if got := s.full(t, pages[gallery]); got["tasks"] != nil || got["page_id"] != gallery {
		t.Errorf("full credentials have the fields %v", got)
	}
}

func TestFacebook_InstagramLinkedLater(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"verify", "sweep"} {
		s := newStack(t)
		s.connect(t, "facebook", "acme", sandbox.Choice{InGeneral: true})
		id := s.pagesOf(t)["200000000000002"]
		for _, linked := range []string{"17841400000000009", ""} {
			s.sandbox.ChangePage("200000000000002", func(p *sandbox.Page) { p.InstagramID = linked })
			s.clock.Advance(8 * 24 * time.Hour)
			if how == "sweep" {
				s.sweep(t)
			} else {
				s.do(t, http.MethodPost, "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
			}
			if got, _ := s.full(t, id)["ig_user_id"].(string); got != linked {
				t.Errorf("%s: the Instagram account is %q, want %q", how, got, linked)
			}
		}
	}
}

func TestFacebook_RoleLostOrNotGranted(t *testing.T) {
	t.Parallel()
	const bakery, cycles, gallery = "200000000000001", "200000000000002", "200000000000003"
	s := newStack(t)
	s.connect(t, "facebook", "acme", sandbox.Choice{})
	pages := s.pagesOf(t)
	s.sandbox.ChangePage(bakery, func(p *sandbox.Page) { p.RoleLost = true })
	s.connect(t, "facebook", "beta", sandbox.Choice{Pages: []string{bakery, gallery}})
	s.clock.Advance(8 * 24 * time.Hour)
	s.sweep(t)
	for page, want := range map[string]string{bakery: "needs_reauth role_lost", cycles: "needs_reauth page_not_granted", gallery: "active "} {
		c := s.show(t, pages[page])
		reason, _ := c["status_reason"].(string)
		if got := c["status"].(string) + " " + reason; got != want {
			t.Errorf("%s is %q, want %q", page, got, want)
		}
	}
	// A block of the app says nothing about a Page.
	s.sandbox.Tune(func(k *sandbox.Knobs) { k.Facebook().Blocked = true })
	s.clock.Advance(8 * 24 * time.Hour)
	s.sweep(t)
	s.do(t, http.MethodPost, "/connections/"+pages[gallery]+"/verify").refused(t, 502, connector.AppMisconfigured)
	if c := s.show(t, pages[gallery]); c["status"] != "active" {
		t.Errorf("after the app was blocked: %v", c)
	}
}

func TestFacebook_PageInNoList(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	// The role is one through a portfolio, which the person may not show.
	s.connect(t, "facebook", "acme", sandbox.Choice{Pages: []string{"200000000000003"}, Untick: []string{"business_management"}})
	c := s.connections(t)
	if len(c) != 1 || c[0]["account_id"] != "200000000000003" || c[0]["account_name"] != "Sandbox Gallery" {
		t.Fatalf("connected %v", c)
	}
	s.wantScope(t, "the Page", c[0]["id"].(string), "")
}

// The answer counts a Page that the consent names although Facebook returns no token for it.
// The others are connected.
func TestFacebook_PageLeftOut(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.sandbox.ChangePage("200000000000003", func(p *sandbox.Page) { p.RoleLost = true })
	id, link := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme"})
	page := s.flowOf(t, "facebook", link, sandbox.Choice{}).finish(t, with("accept", browserUse))
	if page.StatusCode != 200 || !strings.Contains(page.Body, "gave no access to 1 more account") {
		t.Errorf("%d %s", page.StatusCode, page.Body)
	}
	var shown struct {
		Status              string
		Accounts, Connected int
		LeftOut             int `json:"left_out"`
	}
	s.do(t, http.MethodGet, "/links/"+id).decode(t, 200, &shown)
	if len(s.connections(t)) != 2 || shown.Status != "connected" || shown.Accounts != 2 || shown.LeftOut != 1 {
		t.Errorf("%d connections, and the link says %+v", len(s.connections(t)), shown)
	}
}

// An app whose settings list the servers that may call refuses a server that has another
// address since. No connection ends.
func TestFacebook_ServerNotListed(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "facebook", "acme", sandbox.Choice{Pages: []string{"200000000000001"}})[0]
	s.sandbox.Tune(func(k *sandbox.Knobs) { k.Facebook().UnlistedServer = true })
	if p := s.do(t, http.MethodPost, "/connections/"+id+"/verify").refused(t, 502, connector.AppMisconfigured); p.Reason != "server_not_listed" {
		t.Errorf("reason %q", p.Reason)
	}
	ended := s.consent(t, s.link(t, map[string]any{"platform": "facebook", "owner": "globex", "return_url": returnURL}), sandbox.Choice{})
	if got := ended.Query().Get("error"); got != string(connector.AppMisconfigured) {
		t.Errorf("a consent ended at %s", ended)
	}
	if got := status(t, s, id); got != "active" {
		t.Errorf("status %s", got)
	}
}
