package main

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// mint mints a connect link and returns its id and its URL.
func (w *world) mint(fields object) (id, address string) {
	w.t.Helper()
	fields["return_url"] = w.s.servers.front.url + "/"
	minted := w.must(http.MethodPost, "/links", fields)
	address, _ = minted["url"].(string)
	w.secrets.add("a connect link", address[strings.LastIndex(address, "/")+1:])
	id, _ = minted["id"].(string)
	return id, address
}

func (w *world) wantLink(what, id, status string) object {
	w.t.Helper()
	l := w.must(http.MethodGet, "/links/"+id, nil)
	if l["status"] != status {
		w.t.Errorf("%s: the link is %v, want %s", what, l, status)
	}
	return l
}

func askAndEndLinks(t *testing.T) {
	w := newWorld(t, nil)
	id, link := w.mint(object{"platform": "facebook", "owner": "acme"})
	w.wantLink("minted", id, "open")
	b := w.browser()
	callback := b.authorize(link, sandbox.Choice{})
	w.wantLink("started", id, "under_way")
	query := b.followCallback(callback)
	shown := w.wantLink("connected", id, "connected")["connections"].([]any)
	if len(shown) != accountsOf["facebook"] || shown[0].(object)["id"] != query.Get("connection_id") {
		t.Errorf("connections %v, and the return URL has %v", shown, query)
	}

	id, link = w.mint(object{"platform": "youtube", "owner": "acme"})
	b = w.browser()
	callback = b.authorize(link, sandbox.Choice{})
	for range 2 {
		w.must(http.MethodDelete, "/links/"+id, nil)
	}
	if query := b.followCallback(callback); query.Get("error") != "LinkGone" {
		t.Errorf("the callback of an ended link: %v", query)
	}
	w.wantLink("ended", id, "ended")
	if status, _ := b.visit(link); status != http.StatusGone {
		t.Errorf("an ended link answers %d", status)
	}
	w.expectError(http.StatusNotFound, "ConnectionNotFound", http.MethodGet, "/links/00000000-0000-8000-a000-000000000000", nil)
}

// Tabs of one link that come back at once: they end as one connection.
func useLinkConcurrently(t *testing.T) {
	w := newWorld(t, nil)
	id, link := w.mint(object{"platform": "youtube", "owner": "acme"})
	var callbacks []func() url.Values
	for range 10 {
		b := w.browser()
		callback := b.authorize(link, sandbox.Choice{})
		callbacks = append(callbacks, func() url.Values { return b.followCallback(callback) })
	}
	var all sync.WaitGroup
	ended := make([]url.Values, len(callbacks))
	for i, callback := range callbacks {
		all.Go(func() { ended[i] = callback() })
	}
	all.Wait()
	for _, query := range ended {
		if query.Get("status") != "connected" || query.Get("connection_id") != ended[0].Get("connection_id") {
			t.Errorf("a tab ended with %v, want the connection of %v", query, ended[0])
		}
	}
	if n := w.box.Count("youtube", "revoke"); n != 0 {
		t.Errorf("the grant was revoked %d times", n)
	}
	if l := w.wantLink("afterwards", id, "connected"); l["accounts"] != 1.0 {
		t.Errorf("%v", l)
	}
}

// Opens of one link at once, by ten processes: none fails because of the others.
func holdBudgets(t *testing.T) {
	w := newWorld(t, map[string]string{config.Budgets: `{"starts_per_link":20,"verifications_per_owner":3}`})
	_, link := w.mint(object{"platform": "youtube", "owner": "acme"})
	var started, refused atomic.Int32
	var all sync.WaitGroup
	for range 60 {
		all.Go(func() {
			switch status, _ := w.browser().visit(link); status {
			case http.StatusFound:
				started.Add(1)
			case http.StatusTooManyRequests:
				refused.Add(1)
			default:
				t.Errorf("a start answers %d", status)
			}
		})
	}
	all.Wait()
	if started.Load() != 20 || refused.Load() != 40 {
		t.Errorf("%d started, %d refused; want 20, 40", started.Load(), refused.Load())
	}

	acme, globex := w.connect("tiktok", "acme", sandbox.Choice{})[0], w.connect("tiktok", "globex", sandbox.Choice{})[0]
	for range 3 {
		w.must(http.MethodPost, "/connections/"+acme+"/verify", nil)
	}
	w.expectError(http.StatusTooManyRequests, "RateLimited", http.MethodPost, "/connections/"+acme+"/verify", nil)
	w.must(http.MethodPost, "/connections/"+globex+"/verify", nil)
}

// A browser that opens 145 authorizations sends a bounded number of cookies.
func openManyAuthorizations(t *testing.T) {
	w := newWorld(t, map[string]string{config.Budgets: `{"starts_per_link":1000}`})
	_, link := w.mint(object{"platform": "youtube", "owner": "acme"})
	b := w.browser()
	for n := range 145 {
		if status, _ := b.visit(link); status != http.StatusFound {
			t.Fatalf("start %d answers %d", n+1, status)
		}
	}
	if query := b.followCallback(b.authorize(link, sandbox.Choice{})); query.Get("status") != "connected" {
		t.Errorf("the last one ended with %v", query)
	}
}
