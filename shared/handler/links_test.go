package handler_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// shownLink is the answer of GET /links/{id}.
type shownLink struct {
	ID            string
	Platform      string
	Owner         string
	ConnectionID  string `json:"connection_id"`
	Confirm       bool
	Status        string
	Error         string
	Reason        string
	Accounts      int
	Connections   []struct{ ID, Owner, Status string }
	NextCursor    string    `json:"next_cursor"`
	ExpiresAt     time.Time `json:"expires_at"`
	ConfirmBefore time.Time `json:"confirm_before"`
}

func (l shownLink) ids() (ids []string) {
	for _, c := range l.Connections {
		ids = append(ids, c.ID)
	}
	return ids
}

// mint mints a connect link and returns its id and its path.
func (s *stack) mint(t *testing.T, body map[string]any) (id, path string) {
	t.Helper()
	var minted struct{ ID, URL string }
	s.do(t, http.MethodPost, "/links", withJSON(t, body)).decode(t, 201, &minted)
	return minted.ID, strings.TrimPrefix(minted.URL, publicURL)
}

func (s *stack) showLink(t *testing.T, id string) (l shownLink) {
	t.Helper()
	s.do(t, http.MethodGet, "/links/"+id).decode(t, 200, &l)
	return l
}

func (s *stack) wantLink(t *testing.T, what, id, status, failure, reason string) shownLink {
	t.Helper()
	l := s.showLink(t, id)
	if l.Status != status || l.Error != failure || l.Reason != reason {
		t.Errorf("%s: the link is %q, %q, %q, want %q, %q, %q", what, l.Status, l.Error, l.Reason, status, failure, reason)
	}
	return l
}

func (s *stack) endLink(t *testing.T, id string) {
	t.Helper()
	if r := s.do(t, http.MethodDelete, "/links/"+id); r.StatusCode != http.StatusNoContent || r.Body != "" {
		t.Fatalf("DELETE /links: %d %s", r.StatusCode, r.Body)
	}
}

var toAcme = map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL}

var toBeConfirmed = map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL, "confirm": true}

func TestLinks_Show(t *testing.T) {
	t.Parallel()
	t.Run("id_opens_nothing", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		if strings.Contains(path, id) || strings.Contains(strings.ReplaceAll(path, "-", ""), strings.ReplaceAll(id, "-", "")) {
			t.Errorf("the id %s is part of %s", id, path)
		}
		digits := strings.ReplaceAll(id, "-", "")
		for _, forged := range []string{id, digits, digits + digits[:11], base64.RawURLEncoding.EncodeToString([]byte(digits))} {
			s.do(t, http.MethodGet, "/connect/"+forged).refused(t, 410, connector.LinkGone)
		}
	})
	t.Run("from_open_to_connected", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		l := s.wantLink(t, "minted", id, "open", "", "")
		if l.ID != id || l.Platform != "youtube" || l.Owner != "acme" || l.Confirm || l.Accounts != 0 || l.Connections == nil || !l.ExpiresAt.Equal(noon.Add(15*time.Minute)) {
			t.Errorf("%+v", l)
		}
		callback, cookie := s.authorize(t, path, sandbox.Choice{})
		s.wantLink(t, "started", id, "under_way", "", "")
		ended := s.do(t, http.MethodGet, callback, withCookie(cookie))
		location, _ := url.Parse(ended.Headers["location"])
		l = s.wantLink(t, "connected", id, "connected", "", "")
		if got := location.Query()["connection_id"]; !slices.Equal(l.ids(), got) || l.Accounts != 1 || l.NextCursor != "" || l.Connections[0].Status != "active" {
			t.Errorf("%+v, and the return URL has %v", l, got)
		}
		// It can be asked until a day after the link expired, and not longer.
		s.clock.Advance(15*time.Minute + day - time.Second)
		s.wantLink(t, "a day later", id, "connected", "", "")
		s.clock.Advance(time.Second)
		s.do(t, http.MethodGet, "/links/"+id).refused(t, 404, connector.ConnectionNotFound)
	})
	t.Run("authorization_that_nobody_ends", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		s.authorize(t, path, sandbox.Choice{})
		s.clock.Advance(10*time.Minute - time.Second)
		s.wantLink(t, "still there", id, "under_way", "", "")
		s.clock.Advance(time.Second)
		s.wantLink(t, "gone", id, "open", "", "")
		s.clock.Advance(5*time.Minute - time.Second)
		s.wantLink(t, "a second before its end", id, "open", "", "")
		s.clock.Advance(time.Second)
		s.wantLink(t, "at its end", id, "ended", "", "expired")
	})
	t.Run("authorization_beyond_the_end_of_the_link", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		s.clock.Advance(14 * time.Minute)
		f := s.flowOf(t, "youtube", path, sandbox.Choice{})
		s.clock.Advance(5 * time.Minute)
		s.wantLink(t, "on the consent page", id, "under_way", "", "")
		f.finish(t)
		s.wantLink(t, "connected", id, "connected", "", "")
	})
	// A failure leaves the link good.
	t.Run("failures", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		s.consent(t, path, sandbox.Choice{Deny: true})
		s.wantLink(t, "declined", id, "failed", "AccessDenied", "")
		s.authorize(t, path, sandbox.Choice{})
		s.wantLink(t, "started again", id, "under_way", "", "")
		s.madeUpCode(t, path)
		if l := s.showLink(t, id); l.Status != "failed" || l.Error == "" {
			t.Errorf("a made-up code: %+v", l)
		}
		s.hook(connectortest.Fail(errors.New("the table is down"), "Store.Create"))
		if location := s.consent(t, path, sandbox.Choice{}); location.Query().Get("error") != "Internal" {
			t.Errorf("without a record: %s", location)
		}
		s.hook(nil)
		s.wantLink(t, "without a record", id, "failed", "Internal", "")
		if location := s.consent(t, path, sandbox.Choice{}); location.Query().Get("status") != "connected" {
			t.Errorf("after the failures: %s", location)
		}
		s.wantLink(t, "connected", id, "connected", "", "")
		if location := s.do(t, http.MethodGet, path); location.StatusCode != 410 {
			t.Errorf("opened once more: %d", location.StatusCode)
		}
	})
	// What was saved before a failure stays, and is listed.
	t.Run("partly_saved", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL})
		s.hook(connectortest.On("Store.Create", func(n int, next func() error) error {
			if n > 1 {
				return errors.New("the table is down")
			}
			return next()
		}))
		if location := s.consent(t, path, sandbox.Choice{}); location.Query().Get("error") != "Internal" {
			t.Errorf("ended at %s", location)
		}
		s.hook(nil)
		s.wantLink(t, "partly saved", id, "under_way", "", "")
		s.do(t, http.MethodGet, path).refused(t, 410, connector.LinkGone)
		s.clock.Advance(10 * time.Minute)
		s.sweep(t) // saves the rest
		if l := s.wantLink(t, "saved", id, "connected", "", ""); l.Accounts != 3 || len(l.Connections) != 3 {
			t.Errorf("%+v", l)
		}
	})
	t.Run("failed_and_expired", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		s.consent(t, path, sandbox.Choice{Deny: true})
		s.clock.Advance(15 * time.Minute)
		s.wantLink(t, "expired", id, "ended", "AccessDenied", "expired")
	})
	// A callback that is not the browser's own records nothing.
	t.Run("foreign_callback", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		callback, _ := s.authorize(t, path, sandbox.Choice{})
		s.do(t, http.MethodGet, callback).refused(t, 400, connector.StateInvalid)
		s.wantLink(t, "without the cookie", id, "under_way", "", "")
	})
	t.Run("second_tab", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		first, second := s.flowOf(t, "youtube", path, sandbox.Choice{}), s.flowOf(t, "youtube", path, sandbox.Choice{})
		first.finish(t)
		want := s.wantLink(t, "first tab", id, "connected", "", "").ids()
		if r := second.finish(t); !strings.Contains(r.Headers["location"], "connection_id="+want[0]) {
			t.Errorf("second tab: %v", r.Headers)
		}
		if l := s.wantLink(t, "second tab", id, "connected", "", ""); !slices.Equal(l.ids(), want) {
			t.Errorf("%v, want %v", l.ids(), want)
		}
	})
	t.Run("re_authorization", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		connection := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
		id, path := s.mint(t, map[string]any{"platform": "youtube", "owner": "acme", "return_url": returnURL, "connection_id": connection})
		s.consent(t, path, sandbox.Choice{Account: s.sandbox.People("youtube")[1].ID})
		if l := s.wantLink(t, "another account", id, "failed", "AccountMismatch", ""); l.ConnectionID != connection {
			t.Errorf("%+v", l)
		}
		s.consent(t, path, sandbox.Choice{})
		if l := s.wantLink(t, "the same account", id, "connected", "", ""); !slices.Equal(l.ids(), []string{connection}) {
			t.Errorf("%v, want %s", l.ids(), connection)
		}
	})
	t.Run("purged_connection_is_left_out", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL})
		s.consent(t, path, sandbox.Choice{})
		before := s.showLink(t, id)
		s.do(t, http.MethodDelete, "/connections/"+before.Connections[0].ID+"?purge=true")
		if after := s.showLink(t, id); after.Accounts != before.Accounts || !slices.Equal(after.ids(), before.ids()[1:]) {
			t.Errorf("%+v, want all but the first of %v", after, before.ids())
		}
	})
}

func TestLinks_Confirm(t *testing.T) {
	t.Parallel()
	pend := func(t *testing.T, s *stack) (id, confirmation string) {
		id, path := s.mint(t, toBeConfirmed)
		confirmation = s.consent(t, path, sandbox.Choice{}).Query().Get("confirmation")
		if l := s.wantLink(t, "consented", id, "pending_confirmation", "", ""); !l.ConfirmBefore.Equal(s.clock.Now().Add(10*time.Minute)) || l.Accounts == 0 || len(l.Connections) > 0 {
			t.Errorf("%+v", l)
		}
		return id, confirmation
	}
	t.Run("confirmed", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, confirmation := pend(t, s)
		var list struct{ Connections []struct{ ID string } }
		s.confirm(t, confirmation, "acme").decode(t, 200, &list)
		l := s.wantLink(t, "confirmed", id, "connected", "", "")
		if len(l.ids()) != len(list.Connections) || l.ids()[0] != list.Connections[0].ID || !l.ConfirmBefore.IsZero() {
			t.Errorf("%+v, confirmed %+v", l, list)
		}
	})
	t.Run("not_confirmed", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, _ := pend(t, s)
		s.clock.Advance(10 * time.Minute)
		s.wantLink(t, "too late", id, "ended", "", "not_confirmed")
	})
	t.Run("ended", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, confirmation := pend(t, s)
		s.endLink(t, id)
		s.confirm(t, confirmation, "acme").refused(t, 404, connector.ConnectionNotFound)
		s.wantLink(t, "ended", id, "ended", "", "ended_by_operator")
		s.clock.Advance(15 * time.Minute)
		s.invoke(t, "refresh", `{}`)
		for _, due := range s.queue.Drain() {
			s.invoke(t, "refresh-worker", batch(t, messageOf(due)))
		}
		if names := s.vault.Names(""); s.sandbox.Count("facebook", "revoke") == 0 || slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "pending/") }) {
			t.Errorf("the consent was not revoked and deleted: %q", names)
		}
	})
	// The connector failed: the confirmation works again.
	t.Run("failed_on_our_side", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, confirmation := pend(t, s)
		s.hook(connectortest.Fail(errors.New("the table is down"), "Store.Create"))
		s.confirm(t, confirmation, "acme").refused(t, 500, connector.Internal)
		s.hook(nil)
		s.wantLink(t, "failed", id, "under_way", "", "")
		s.confirm(t, confirmation, "acme").decode(t, 200, &struct{}{})
		s.wantLink(t, "confirmed", id, "connected", "", "")
	})
}

func TestLinks_End(t *testing.T) {
	t.Parallel()
	t.Run("open_link", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		for range 2 {
			s.endLink(t, id)
			s.do(t, http.MethodGet, path).refused(t, 410, connector.LinkGone)
			s.wantLink(t, "ended", id, "ended", "", "ended_by_operator")
		}
	})
	// The grants are those of any spent link: revoked by the sweep.
	t.Run("authorization_under_way", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		f := s.flowOf(t, "youtube", path, sandbox.Choice{})
		s.endLink(t, id)
		if r := f.finish(t); !strings.Contains(r.Headers["location"], "error=LinkGone") {
			t.Errorf("%d %v", r.StatusCode, r.Headers)
		}
		if n := len(s.connections(t)); n > 0 || len(s.vault.Names("connections/")) > 0 {
			t.Errorf("%d connections", n)
		}
		s.wantLink(t, "ended", id, "ended", "", "ended_by_operator")
		s.clock.Advance(15 * time.Minute)
		s.invoke(t, "refresh", `{}`)
		for _, due := range s.queue.Drain() {
			s.invoke(t, "refresh-worker", batch(t, messageOf(due)))
		}
		if s.sandbox.Count("youtube", "revoke") != 1 || len(s.vault.Names("pending/")) > 0 {
			t.Error("the grant was not revoked and deleted")
		}
	})
	t.Run("connected_link", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id, path := s.mint(t, toAcme)
		s.consent(t, path, sandbox.Choice{})
		s.endLink(t, id)
		if l := s.wantLink(t, "connected", id, "connected", "", ""); len(l.Connections) != 1 || l.Connections[0].Status != "active" {
			t.Errorf("%+v", l)
		}
	})
	t.Run("while_it_is_saved", func(t *testing.T) {
		t.Parallel()
		for _, fails := range []bool{false, true} {
			s := newStack(t)
			id, path := s.mint(t, toAcme)
			f := s.flowOf(t, "youtube", path, sandbox.Choice{})
			s.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
				if call.Name == "Store.Create" {
					if err := s.service.EndLink(context.Background(), id); err != nil {
						t.Error(err)
					}
					if fails {
						return errors.New("the table is down")
					}
				}
				return next()
			})
			f.finish(t)
			s.hook(nil)
			if fails {
				s.do(t, http.MethodGet, path).refused(t, 410, connector.LinkGone)
			}
			// The link was ended before its connection could spend it.
			s.wantLink(t, "ended", id, "ended", "", "ended_by_operator")
			for range 2 {
				s.clock.Advance(15 * time.Minute)
				s.sweep(t)
			}
			if s.sandbox.Count("youtube", "revoke") != 1 || len(s.connections(t)) > 0 {
				t.Errorf("fails %v: %d revocations and %v, want one and no connection", fails, s.sandbox.Count("youtube", "revoke"), s.connections(t))
			}
		}
	})
}

// A link of another owner looks absent, on both routes, and so does whatever is no
// link.
func TestLinks_Absent(t *testing.T) {
	t.Parallel()
	s, _, _ := confinedStack(t)
	all, own := as(role+"all/session"), as(role+"acme/session")
	var minted struct{ ID string }
	s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": "globex"}), all).decode(t, 201, &minted)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		want := s.do(t, method, "/links/00000000-0000-8000-a000-000000000000", all)
		want.refused(t, 404, connector.ConnectionNotFound)
		for _, id := range []string{minted.ID, unknownID, "x", strings.Repeat("a", 64), "..%2F" + minted.ID, minted.ID + "%23", strings.ToUpper(minted.ID)} {
			got := s.do(t, method, "/links/"+id, own)
			if got.StatusCode != want.StatusCode || got.Body != want.Body || fmt.Sprint(got.Headers) != fmt.Sprint(want.Headers) {
				t.Errorf("%s %s: %d %s, want %s", method, id, got.StatusCode, got.Body, want.Body)
			}
		}
	}
	var l shownLink
	s.do(t, http.MethodGet, "/links/"+minted.ID, all).decode(t, 200, &l)
	if l.Status != "open" {
		t.Errorf("the link of globex is %s", l.Status)
	}
}

func TestLinks_Pages(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	choice := s.rich(2000)
	id, path := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL})
	var mu sync.Mutex // several accounts are saved at once
	largest, most := 0, 0
	s.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
		mu.Lock()
		defer mu.Unlock()
		most = max(most, len(call.Change.Put)+len(call.Change.Replace)+len(call.Change.Drop))
		for _, ticket := range call.Change.Put {
			largest = max(largest, len(ticket.Body))
		}
		return next()
	})
	location := s.consent(t, path, choice)
	s.finishConsent(t, id)
	s.hook(nil)
	if largest > 10_000 || most > 90 {
		t.Errorf("a record has %d bytes and a transaction %d parts; DynamoDB takes 400 KB and 100", largest, most)
	}

	// The return URL stays under 2 KB, with some connections, their number and the link.
	query := location.Query()
	if n := len(location.String()); n >= 2048 || n < 1950 {
		t.Errorf("the return URL has %d characters, want almost 2048", n)
	}
	if query.Get("connections") != "2000" || query.Get("link") != id || query.Get("status") != "connected" || query.Get("tab") != "accounts" {
		t.Errorf("the return URL is %s", location)
	}

	for _, limit := range []int{100, 77, 1000} {
		var ids []string
		cursor, pages := "", 0
		for pages < 50 {
			target := fmt.Sprintf("/links/%s?limit=%d&cursor=%s", id, min(limit, 100), cursor)
			var l shownLink
			s.do(t, http.MethodGet, target).decode(t, 200, &l)
			if l.Status != "connected" || l.Accounts != 2000 {
				t.Fatalf("%+v", l)
			}
			ids = append(ids, l.ids()...)
			pages++
			if cursor = l.NextCursor; cursor == "" {
				break
			}
		}
		if distinct := slices.Compact(slices.Sorted(slices.Values(ids))); len(ids) != 2000 || len(distinct) != 2000 {
			t.Fatalf("limit %d: %d connections, %d of them distinct, want 2000", limit, len(ids), len(distinct))
		}
		if got := query["connection_id"]; !slices.Equal(got, ids[:len(got)]) {
			t.Errorf("the return URL does not have the first connections")
		}
	}

	other, _ := s.mint(t, toAcme)
	var l shownLink
	s.do(t, http.MethodGet, "/links/"+id).decode(t, 200, &l)
	if len(l.Connections) != 50 {
		t.Errorf("%d connections on a page, want 50", len(l.Connections))
	}
	for _, query := range []string{"cursor=x", "cursor=e30", "limit=0", "limit=101", "limit=1&limit=2", "owner=acme"} {
		s.do(t, http.MethodGet, "/links/"+id+"?"+query).refused(t, 400, connector.InvalidRequest)
	}
	s.do(t, http.MethodGet, "/links/"+other+"?cursor="+l.NextCursor).refused(t, 400, connector.InvalidRequest)
	s.do(t, http.MethodDelete, "/links/"+id+"?purge=true").refused(t, 400, connector.InvalidRequest)
}

// finishConsent has the worker save what the time of the callback was too short for. The
// time is that of the machine.
func (s *stack) finishConsent(t *testing.T, link string) {
	t.Helper()
	for {
		l := s.showLink(t, link)
		if l.Status != "under_way" && l.Error != "PlatformUnavailable" {
			return
		}
		s.clock.Advance(10 * time.Minute)
		s.sweep(t)
	}
}

// More pages of connections than one transaction takes.
func TestLinks_ManyPages(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("saves 5,100 connections")
	}
	s := newStack(t)
	s.service.Budgets = unlimited()
	s.service.Budgets[connector.AccountsPerConsent] = 5100
	id, path := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": returnURL})
	s.consent(t, path, s.rich(5000))
	s.finishConsent(t, id)
	var l shownLink
	last := base64.RawURLEncoding.EncodeToString([]byte(`{"link":"` + id + `","at":4999}`))
	s.do(t, http.MethodGet, "/links/"+id+"?cursor="+last).decode(t, 200, &l)
	if len(l.Connections) != 1 || l.NextCursor != "" || l.Accounts != 5000 {
		t.Errorf("%+v", l)
	}
}

// A function that crashes leaves a status that is true.
func TestLinks_Crash(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"Store.PutTicket", "Store.Create"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id, path := s.mint(t, toAcme)
			f := s.flowOf(t, "youtube", path, sandbox.Choice{})
			crashed := false
			s.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
				if crashed = crashed || call.Name == at; crashed {
					panic("the process is gone")
				}
				return next()
			})
			f.finish(t)
			s.hook(nil)
			s.wantLink(t, "just now", id, "under_way", "", "")
			s.clock.Advance(5 * time.Minute)
			s.sweep(t)
			s.wantLink(t, "later", id, "connected", "", "")
			s.do(t, http.MethodGet, path).refused(t, 410, connector.LinkGone)
		})
	}
}

// Functions of the previous release spend links by their tickets, beside the status.
func TestLinks_PreviousRelease(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id, path := s.mint(t, toAcme)
	f := s.flowOf(t, "youtube", path, sandbox.Choice{})
	status, err := s.store.Ticket(t.Context(), connector.RecordKey{Kind: connector.LinkStatusKind, ID: id}, s.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	spent := status
	spent.Body = bytes.Replace(status.Body, []byte(`"phase":"open"`), []byte(`"phase":"spent","by":"`+hash("another state")+`"`), 1)
	_, err = s.store.Commit(t.Context(), connector.Change{
		Replace: []connector.Replacement{{Old: status, New: spent}},
		Drop:    []connector.RecordKey{{Kind: connector.LinkKind, ID: hash(strings.TrimPrefix(path, "/connect/"))}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := f.finish(t); !strings.Contains(r.Headers["location"], "error=LinkGone") {
		t.Errorf("ended at %v", r.Headers)
	}
	s.do(t, http.MethodGet, path).refused(t, 410, connector.LinkGone)
}

// A release before the previous one minted links without a status.
func TestLinks_WithoutStatus(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id, path := s.mint(t, toAcme)
	_, err := s.store.Commit(t.Context(), connector.Change{Drop: []connector.RecordKey{{Kind: connector.LinkStatusKind, ID: id}}})
	if err != nil {
		t.Fatal(err)
	}
	f := s.flowOf(t, "youtube", path, sandbox.Choice{})
	s.wantLink(t, "opened", id, "under_way", "", "")
	f.finish(t)
	s.wantLink(t, "in the end", id, "connected", "", "")
	s.do(t, http.MethodGet, path).refused(t, 410, connector.LinkGone)
}

func TestLinks_ExpiresIn(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, row := range []struct {
		body    string
		refused bool
		life    time.Duration
	}{
		{`{"platform":"youtube","owner":"acme"}`, false, 15 * time.Minute},
		{`{"platform":"youtube","owner":"acme","expires_in":900}`, false, 15 * time.Minute},
		{`{"platform":"youtube","owner":"acme","expires_in":901}`, true, 0},
		{`{"platform":"youtube","owner":"acme","expires_in":604800}`, true, 0},
		{`{"platform":"youtube","owner":"acme","expires_in":901,"confirm":null}`, true, 0},
		{`{"platform":"youtube","owner":"acme","expires_in":901,"confirm":false}`, false, 901 * time.Second},
		{`{"platform":"youtube","owner":"acme","expires_in":604800,"confirm":true,"return_url":"` + returnURL + `"}`, false, 7 * day},
		{`{"platform":"youtube","owner":"acme","expires_in":60}`, false, time.Minute},
	} {
		r := s.do(t, http.MethodPost, "/links", withBody(jsonType, row.body))
		if row.refused {
			if p := r.refused(t, 400, connector.InvalidRequest); !strings.HasPrefix(p.Detail, "confirm: ") {
				t.Errorf("%s: %q", row.body, p.Detail)
			}
			continue
		}
		var minted struct {
			ExpiresAt time.Time `json:"expires_at"`
		}
		r.decode(t, 201, &minted)
		if want := noon.Add(row.life); !minted.ExpiresAt.Equal(want) {
			t.Errorf("%s: expires at %v, want %v", row.body, minted.ExpiresAt, want)
		}
	}
}

// The return URL of a product may be long itself.
func TestOAuthCallback_LongReturnURL(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		length int
		pages  int
		ids    int // in the URL
		whole  bool
	}{
		{"one connection", 1900, 1, 1, true},
		{"one connection that does not fit", 2000, 1, 1, false},
		{"three of which one is named", 1900, 3, 1, false},
		{"all fit", 1000, 10, 10, true},
		{"not all fit", 1000, 30, -1, false},
	} {
		s := newStack(t)
		long := returnURL + "&x=" + strings.Repeat("x", row.length-len(returnURL)-len("&x=")) + "&connections=7&link=forged"
		id, path := s.mint(t, map[string]any{"platform": "facebook", "owner": "acme", "return_url": long})
		location := s.consent(t, path, s.rich(row.pages))
		query := location.Query()
		switch {
		case row.whole && (len(query["connection_id"]) != row.ids || query.Has("connections") || query.Has("link")):
			t.Errorf("%s: %s", row.name, location)
		case !row.whole && (query.Get("connections") != fmt.Sprint(row.pages) || !slices.Equal(query["link"], []string{id}) || len(query["connection_id"]) == 0):
			t.Errorf("%s: %s", row.name, location)
		case row.length < 1900 && len(location.String()) >= 2048:
			t.Errorf("%s: %d characters", row.name, len(location.String()))
		}
		if row.ids > 0 && len(query["connection_id"]) != row.ids {
			t.Errorf("%s: %d connections, want %d", row.name, len(query["connection_id"]), row.ids)
		}
	}
}
