package handler_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// choosing takes a person through a Facebook consent of a link with choose, to the page
// with the boxes.
func (s *stack) choosing(t *testing.T, link map[string]any) (page reply, state, cookie string) {
	t.Helper()
	body := map[string]any{"platform": "facebook", "owner": "acme", "choose": true}
	for name, value := range link {
		body[name] = value
	}
	callback, cookie := s.authorize(t, s.link(t, body), sandbox.Choice{})
	page = s.do(t, http.MethodGet, callback, withCookie(cookie), with("accept", browserUse))
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	return page, u.Query().Get("state"), cookie
}

// choose posts the form of the page.
func (s *stack) choose(t *testing.T, state, cookie string, ids ...string) reply {
	t.Helper()
	return s.do(t, http.MethodPost, "/oauth/facebook/choose",
		withBody(formType, url.Values{"state": {state}, "account_id": ids}.Encode()), withCookie(cookie), with("accept", browserUse))
}

// firstPages returns the Pages of the sandbox's first person.
func (s *stack) firstPages() []sandbox.Page { return s.sandbox.People(sandbox.Facebook)[0].Pages }

func TestChoose_Page(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	pages := s.firstPages()
	page, state, cookie := s.choosing(t, map[string]any{"return_url": returnURL})
	if page.StatusCode != 200 || len(s.connections(t)) != 0 {
		t.Fatalf("status %d, %d connections, body %s", page.StatusCode, len(s.connections(t)), page.Body)
	}
	for _, p := range pages {
		if !strings.Contains(page.Body, p.Name) || !strings.Contains(page.Body, `value="`+p.ID+`"`) {
			t.Errorf("the page lacks %s", p.Name)
		}
	}
	if policy := page.Headers["content-security-policy"]; !strings.Contains(policy, "form-action 'self' https://product.example.com;") {
		t.Errorf("policy %q", policy)
	}

	ended := s.choose(t, state, cookie, pages[1].ID)
	location, err := url.Parse(ended.Headers["location"])
	if err != nil || ended.StatusCode != http.StatusFound {
		t.Fatalf("status %d, body %s", ended.StatusCode, ended.Body)
	}
	got := s.connections(t)
	if len(got) != 1 || got[0]["account_id"] != pages[1].ID || location.Query().Get("connection_id") != got[0]["id"] {
		t.Errorf("connections %v, location %s", got, location)
	}
	// What was not chosen is in no event and in no record, and works at the platform.
	told, err := json.Marshal(s.events.All())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{string(told), location.String()} {
		if strings.Contains(text, pages[0].ID) || strings.Contains(text, pages[0].Name) {
			t.Errorf("a Page that was not chosen is in %s", text)
		}
	}
	if n := s.sandbox.Count(sandbox.Facebook, "revoke"); n != 0 {
		t.Errorf("%d revocations", n)
	}
	// The person sends the form again, or goes back to the platform's redirect.
	if again := s.choose(t, state, cookie, pages[0].ID); again.Headers["location"] != ended.Headers["location"] || len(s.connections(t)) != 1 {
		t.Errorf("a second choice ended at %s", again.Headers["location"])
	}
}

func TestChoose_Refused(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	pages := s.firstPages()
	_, state, cookie := s.choosing(t, nil)
	nothing := s.choose(t, state, cookie)
	if nothing.StatusCode != 400 || !strings.Contains(nothing.Body, "choose at least one") || !strings.Contains(nothing.Body, pages[2].ID) {
		t.Errorf("nothing chosen: status %d, body %s", nothing.StatusCode, nothing.Body)
	}
	if other := s.choose(t, state, cookie, pages[0].ID, "200000000000004"); other.StatusCode != 400 || len(s.connections(t)) != 0 {
		t.Errorf("a Page of somebody else: status %d", other.StatusCode)
	}
	for name, changed := range map[string][2]string{
		"another browser": {state, "connect-0000000000000000=" + strings.Repeat("x", 43)},
		"another state":   {strings.Repeat("y", 43), cookie},
	} {
		if got := s.choose(t, changed[0], changed[1], pages[0].ID); got.StatusCode != 400 || len(s.connections(t)) != 0 {
			t.Errorf("%s: status %d", name, got.StatusCode)
		}
	}
	// The first choice that is good counts.
	if good := s.choose(t, state, cookie, pages[0].ID, pages[2].ID); good.StatusCode != 200 || len(s.connections(t)) != 2 {
		t.Errorf("status %d, %d connections", good.StatusCode, len(s.connections(t)))
	}
	s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "facebook", "owner": "acme", "choose": true, "connection_id": s.connections(t)[0]["id"]})).refused(t, 400, connector.InvalidRequest)
}

// A policy cannot name an IPv6 address, so that it allows the scheme.
func TestChoose_ReturnsToIPv6(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.service.ReturnOrigins = []string{"http://[::1]:3000"}
	page, _, _ := s.choosing(t, map[string]any{"return_url": "http://[::1]:3000/done"})
	if policy := page.Headers["content-security-policy"]; !strings.Contains(policy, "form-action 'self' http:;") {
		t.Errorf("policy %q", policy)
	}
}

// The operator removes the origin of a return URL while a person chooses, or while the
// product is to confirm: there is nowhere to send the confirmation.
func TestChoose_ReturnOriginRemoved(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	_, state, cookie := s.choosing(t, map[string]any{"return_url": returnURL, "confirm": true})
	s.service.ReturnOrigins = nil
	for range 2 {
		got := s.choose(t, state, cookie, s.firstPages()[0].ID)
		if got.StatusCode != 400 || got.Headers["location"] != "" {
			t.Errorf("status %d, location %q", got.StatusCode, got.Headers["location"])
		}
	}
}

// The name of a Page that no list of Facebook names is on the page, too.
func TestChoose_UnlistedPage(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	callback, cookie := s.authorize(t, s.link(t, map[string]any{"platform": "facebook", "owner": "acme", "choose": true}),
		sandbox.Choice{Pages: []string{"200000000000003"}, Untick: []string{"business_management"}})
	page := s.do(t, http.MethodGet, callback, withCookie(cookie), with("accept", browserUse))
	if page.StatusCode != 200 || !strings.Contains(page.Body, "Sandbox Gallery") {
		t.Errorf("%d %s", page.StatusCode, page.Body)
	}
}

// If the person does not choose in time, nothing is connected. The sweep revokes the grant,
// and the link can be opened again.
func TestChoose_Late(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	link := s.link(t, map[string]any{"platform": "facebook", "owner": "acme", "choose": true})
	callback, cookie := s.authorize(t, link, sandbox.Choice{})
	s.do(t, http.MethodGet, callback, withCookie(cookie))
	s.clock.Advance(11*time.Minute + time.Second)
	s.sweep(t)
	if n := s.sandbox.Count(sandbox.Facebook, "revoke"); n != 1 {
		t.Errorf("%d revocations, want 1", n)
	}
	if again := s.do(t, http.MethodGet, link, with("accept", browserUse)); again.StatusCode != http.StatusFound {
		t.Errorf("the link: status %d", again.StatusCode)
	}
}

// An operator's product lists the accounts of a consent that waits, and confirms some.
func TestConfirm_SomeAccounts(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	pages := s.firstPages()
	confirmation := s.hold(t, "facebook", "acme", sandbox.Choice{})
	post := func(fields map[string]any) reply {
		body := map[string]any{"confirmation": confirmation, "owner": "acme"}
		for name, value := range fields {
			body[name] = value
		}
		return s.do(t, http.MethodPost, "/connections/confirm", withJSON(t, body))
	}
	var listed struct {
		Accounts []struct {
			ID   string `json:"account_id"`
			Name string `json:"account_name"`
		}
		Count int
	}
	for range 2 {
		post(map[string]any{"list": true}).decode(t, 200, &listed)
		if listed.Count != len(pages) || len(listed.Accounts) != len(pages) || len(s.connections(t)) != 0 {
			t.Fatalf("listed %+v", listed)
		}
	}
	post(map[string]any{"account_ids": []string{pages[0].ID, "1"}}).refused(t, 400, connector.InvalidRequest)
	post(map[string]any{"account_ids": []string{}}).refused(t, 400, connector.InvalidRequest)
	post(map[string]any{"account_ids": nil}).refused(t, 400, connector.InvalidRequest)
	post(map[string]any{"account_ids": []string{pages[0].ID}, "list": true}).refused(t, 400, connector.InvalidRequest)

	post(map[string]any{"account_ids": []string{pages[2].ID, pages[0].ID}}).decode(t, 200, &struct{}{})
	var got []string
	for _, c := range s.connections(t) {
		got = append(got, c["account_id"].(string))
	}
	slices.Sort(got)
	if want := []string{pages[0].ID, pages[2].ID}; !slices.Equal(got, want) {
		t.Errorf("connected %v, want %v", got, want)
	}
	post(map[string]any{"list": true}).refused(t, 404, connector.ConnectionNotFound)
}

// A link has choose and confirm: the person chooses, and then the product confirms some of
// the chosen accounts.
func TestChoose_ThenConfirm(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	pages := s.firstPages()
	_, state, cookie := s.choosing(t, map[string]any{"return_url": returnURL, "confirm": true})
	location, err := url.Parse(s.choose(t, state, cookie, pages[0].ID, pages[1].ID).Headers["location"])
	if err != nil || location.Query().Get("status") != "confirm" || len(s.connections(t)) != 0 {
		t.Fatalf("the choice ended at %s", location)
	}
	confirmation := location.Query().Get("confirmation")
	body := map[string]any{"confirmation": confirmation, "owner": "acme", "account_ids": []string{pages[2].ID}}
	s.do(t, http.MethodPost, "/connections/confirm", withJSON(t, body)).refused(t, 400, connector.InvalidRequest)
	s.confirm(t, confirmation, "acme").decode(t, 200, &struct{}{})
	if n := len(s.connections(t)); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// Nothing that a stranger or a broken client sends to the route of the choice connects
// anything, and no answer repeats it. The person can still choose afterwards.
func TestChoose_Hostile(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	_, state, cookie := s.choosing(t, nil)
	id := s.firstPages()[0].ID
	const marker = "marker-of-the-attacker"
	form := func(pairs ...string) string { return strings.Join(pairs, "&") }
	for name, row := range map[string]struct {
		path, kind, body, cookie string
		want                     int
	}{
		"another platform":   {"/oauth/youtube/choose", formType, form("state="+state, "account_id="+id), cookie, 400},
		"unknown platform":   {"/oauth/" + marker + "/choose", formType, form("state="+state, "account_id="+id), cookie, 400},
		"without cookie":     {"", formType, form("state="+state, "account_id="+id), "", 400},
		"without state":      {"", formType, form("account_id=" + id), cookie, 400},
		"state twice":        {"", formType, form("state="+state, "state="+state, "account_id="+id), cookie, 400},
		"long state":         {"", formType, form("state="+strings.Repeat("s", 4000), "account_id="+id), cookie, 400},
		"markup":             {"", formType, form("state="+state, "account_id="+url.QueryEscape("<script>"+marker+"</script>")), cookie, 400},
		"control characters": {"", formType, form("state="+state, "account_id="+marker+"%00%0d%0aset-cookie:x"), cookie, 400},
		"not UTF-8":          {"", formType, form("state="+state, "account_id=%ff%fe"+marker), cookie, 400},
		"one of two unknown": {"", formType, form("state="+state, "account_id="+id, "account_id="+marker), cookie, 400},
		"empty id":           {"", formType, form("state="+state, "account_id="+id, "account_id="), cookie, 400},
		"another parameter":  {"", formType, form("state="+state, "account_id="+id, marker+"=1"), cookie, 400},
		"malformed form":     {"", formType, form("state="+state, "account_id=%zz"), cookie, 400},
		"large form":         {"", formType, form("state="+state, strings.Repeat("account_id="+id+"&", 4000)), cookie, 400},
		"many unknown ids":   {"", formType, form("state="+state, strings.Repeat("account_id=1&", 2001)), cookie, 400},
		"text":               {"", "text/plain", form("state="+state, "account_id="+id), cookie, 400},
		"JSON list":          {"", "application/json", `["` + state + `"]`, cookie, 400},
		"JSON null":          {"", "application/json", `{"state":"` + state + `","account_ids":null}`, cookie, 400},
		"JSON number":        {"", "application/json", `{"state":"` + state + `","account_ids":[` + id + `]}`, cookie, 400},
		"JSON twice":         {"", "application/json", `{"state":"` + state + `","account_ids":[],"account_ids":["` + id + `"]}`, cookie, 400},
	} {
		for _, accept := range []string{browserUse, "application/json"} {
			path := row.path
			if path == "" {
				path = "/oauth/facebook/choose"
			}
			got := s.do(t, http.MethodPost, path, withBody(row.kind, row.body), withCookie(row.cookie), with("accept", accept))
			if got.StatusCode != row.want || strings.Contains(got.Body, marker) || got.Headers["location"] != "" || len(s.connections(t)) != 0 {
				t.Errorf("%s (%s): status %d, location %q, %d connections, body %.300s", name, accept, got.StatusCode, got.Headers["location"], len(s.connections(t)), got.Body)
			}
		}
	}
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
		r, err := http.NewRequestWithContext(t.Context(), method, publicURL+"/oauth/facebook/choose?state="+state+"&account_id="+id, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Cookie", cookie)
		got, err := s.roundTrip(t, r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		if got.StatusCode != 405 || len(s.connections(t)) != 0 {
			t.Errorf("%s: status %d", method, got.StatusCode)
		}
	}
	if strings.Contains(s.logs.String(), marker) {
		t.Error("the log has what the attacker sent")
	}
	s.clock.Advance(time.Minute)
	if got := s.choose(t, state, cookie, id); got.StatusCode != 200 || len(s.connections(t)) != 1 {
		t.Errorf("the person's choice: status %d, body %s", got.StatusCode, got.Body)
	}
}
