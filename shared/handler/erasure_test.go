package handler_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/handler/hostiletest"
	"platform-api-connector/shared/sandbox"
)

// erasing is a stack in which a person of Facebook asks for the deletion of their data.
type erasing struct {
	*stack
	person sandbox.Person
	tokens []string
	page   string // the status page, once the request was sent
}

func newErasing(t *testing.T) *erasing {
	t.Helper()
	s := newStack(t)
	return &erasing{stack: s, person: s.sandbox.People("facebook")[0]}
}

// noting notes the tokens that are stored.
func (e *erasing) noting(_ context.Context, call connectortest.Call, next func() error) error {
	if call.Name == "Vault.Put" {
		if _, token, ok := strings.Cut(call.Value.Reveal(), `"page_access_token":"`); ok {
			token, _, _ = strings.Cut(token, `"`)
			e.tokens = append(e.tokens, token)
		}
	}
	return next()
}

// erase sends the data deletion, and returns the path of its status page.
func (e *erasing) erase(t *testing.T) string {
	t.Helper()
	var answer struct {
		URL  string
		Code string `json:"confirmation_code"`
	}
	e.do(t, http.MethodPost, "/platforms/facebook/data-deletion", signedRequest(e.stack, e.person.ID)).decode(t, 200, &answer)
	return strings.TrimPrefix(answer.URL, publicURL)
}

// sweep runs the schedule's function, and the worker on what it queued.
func (s *stack) sweep(t *testing.T) {
	t.Helper()
	if _, failure := s.invoke(t, "refresh", `{}`); failure != nil {
		t.Fatal(failure)
	}
	for _, item := range s.queue.Drain() {
		answer, failure := s.invoke(t, "refresh-worker", batch(t, messageOf(item)))
		if failure != nil || len(answer["batchItemFailures"].([]any)) > 0 {
			t.Fatalf("%s: %v, %v", item.Kind, answer, failure)
		}
	}
}

// wantNoTrace wants nothing of the person in the stores: neither their id nor a token,
// also in what can be recovered.
func (e *erasing) wantNoTrace(t *testing.T, when string) {
	t.Helper()
	for store, text := range map[string]string{"table": e.store.Text(), "vault": e.vault.Text()} {
		for _, secret := range append([]string{e.person.ID}, e.tokens...) {
			if strings.Contains(text, secret) {
				t.Errorf("%s: the %s contains %s", when, store, secret)
			}
		}
	}
}

type deletionStatus struct {
	Status      string
	Deleted     int
	Consents    int
	CompletedAt *time.Time `json:"completed_at"`
}

func (e *erasing) status(t *testing.T, page string) deletionStatus {
	t.Helper()
	var shown deletionStatus
	e.do(t, http.MethodGet, page).decode(t, 200, &shown)
	return shown
}

// one is a choice of the first Page of the person.
func (e *erasing) one() sandbox.Choice { return sandbox.Choice{Pages: []string{e.person.Pages[0].ID}} }

// TestErasure has something of a person in the stores, and the person asks for the
// deletion of their data. Afterwards nothing of theirs is left, whatever it was.
func TestErasure(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		// before brings something into the stores, and returns what happens after the
		// request; nil for nothing.
		before func(t *testing.T, e *erasing) (after func(t *testing.T))
		want   deletionStatus // of the whole
		later  bool           // it is found by the second search only
	}{
		{name: "connection", want: deletionStatus{Deleted: 1}, before: func(t *testing.T, e *erasing) func(*testing.T) {
			id := e.connect(t, "facebook", "acme", e.one())[0]
			return func(t *testing.T) {
				e.do(t, http.MethodGet, "/connections/"+id).refused(t, 404, connector.ConnectionNotFound)
			}
		}},
		{name: "disconnected_connection_whose_secret_can_be_recovered", want: deletionStatus{Deleted: 1}, before: func(t *testing.T, e *erasing) func(*testing.T) {
			id := e.connect(t, "facebook", "acme", e.one())[0]
			e.do(t, http.MethodDelete, "/connections/"+id)
			if names := e.vault.Names("connections/"); len(names) != 1 {
				t.Fatalf("to be recovered: %v", names)
			}
			return nil
		}},
		{name: "connection_that_needs_reauth", want: deletionStatus{Deleted: 1}, before: func(t *testing.T, e *erasing) func(*testing.T) {
			e.connect(t, "facebook", "acme", e.one())
			e.clock.Advance(time.Minute)
			e.do(t, http.MethodPost, "/platforms/facebook/deauthorize", signedRequest(e.stack, e.person.ID)).decode(t, 200, &struct{}{})
			return nil
		}},
		{name: "connections_of_several_owners", want: deletionStatus{Deleted: 2}, before: func(t *testing.T, e *erasing) func(*testing.T) {
			e.connect(t, "facebook", "acme", e.one())
			e.connect(t, "facebook", "beta", e.one())
			return nil
		}},
		{name: "consent_that_waits_to_be_confirmed", want: deletionStatus{Consents: 1}, before: func(t *testing.T, e *erasing) func(*testing.T) {
			confirmation := e.hold(t, "facebook", "acme", e.one())
			return func(t *testing.T) {
				if names := e.vault.Names("pending/"); len(names) > 0 {
					t.Errorf("pending credentials: %v", names)
				}
				e.confirm(t, confirmation, "acme").refused(t, 404, connector.ConnectionNotFound)
			}
		}},
		{name: "consent_that_waits_and_that_the_index_does_not_show_yet", later: true, before: func(t *testing.T, e *erasing) func(*testing.T) {
			confirmation := e.hold(t, "facebook", "acme", e.one())
			e.hook(connectortest.On("Store.UserRecords", func(int, func() error) error { return nil }))
			return func(t *testing.T) {
				e.hook(e.noting)
				e.confirm(t, confirmation, "acme").refused(t, 404, connector.ConnectionNotFound)
				if names := e.vault.Names("pending/"); len(names) > 0 {
					t.Errorf("pending credentials: %v", names)
				}
				if e.sandbox.Count("facebook", "revoke") == 0 {
					t.Error("the grant was not revoked")
				}
			}
		}},
		{name: "authorization_at_the_platform", before: func(t *testing.T, e *erasing) func(*testing.T) {
			f := e.flow(t, "facebook", e.one())
			return func(t *testing.T) {
				e.clock.Advance(time.Minute)
				f.finish(t).refused(t, 403, connector.AccessDenied)
				if e.sandbox.Count("facebook", "revoke") == 0 {
					t.Error("the grant was not revoked")
				}
			}
		}},
		{name: "callback_under_way", want: deletionStatus{Deleted: 1}, later: true, before: func(t *testing.T, e *erasing) func(*testing.T) {
			f := e.flow(t, "facebook", e.one())
			e.hook(connectortest.Chain(e.noting, connectortest.On("Store.Create", func(_ int, next func() error) error {
				e.hook(connectortest.Chain(e.noting, connectortest.On("Store.UserRecords", func(int, func() error) error { return nil })))
				e.page = e.erase(t)
				e.hook(e.noting)
				return next()
			})))
			if ended := f.finish(t); ended.StatusCode != 200 {
				t.Fatalf("the callback: %d %s", ended.StatusCode, ended.Body)
			}
			return nil
		}},
		{name: "secret_whose_record_was_not_created_yet", want: deletionStatus{Consents: 1}, before: func(t *testing.T, e *erasing) func(*testing.T) {
			f := e.flow(t, "facebook", e.one())
			e.hook(connectortest.Chain(e.noting, connectortest.Fail(fmt.Errorf("the table failed"), "Store.Create", "Store.Connection")))
			f.finish(t)
			e.hook(e.noting)
			if names := e.vault.Names("connections/"); len(names) != 1 {
				t.Fatalf("without a record: %v", names)
			}
			return nil
		}},
		{name: "import_that_was_verified_later", want: deletionStatus{Deleted: 2}, before: func(t *testing.T, e *erasing) func(*testing.T) {
			id := e.importPage(t)
			e.do(t, http.MethodPost, "/connections/"+id+"/verify", withBody(jsonType, "{}")).decode(t, 200, &struct{}{})
			return nil
		}},
		{name: "import_that_is_verified_afterwards", want: deletionStatus{Deleted: 1}, later: true, before: func(t *testing.T, e *erasing) func(*testing.T) {
			id := e.importPage(t)
			return func(t *testing.T) {
				e.clock.Advance(time.Minute)
				e.do(t, http.MethodPost, "/connections/"+id+"/verify", withBody(jsonType, "{}")).refused(t, 404, connector.ConnectionNotFound)
			}
		}},
		{name: "import_that_is_checked_afterwards", want: deletionStatus{Deleted: 1}, later: true, before: func(t *testing.T, e *erasing) func(*testing.T) {
			id := e.importPage(t)
			return func(t *testing.T) {
				e.clock.Advance(time.Minute)
				e.do(t, http.MethodPost, "/connections/"+id+"/refresh", withBody(jsonType, "{}")).refused(t, 404, connector.ConnectionNotFound)
			}
		}},
		{name: "nothing", before: func(*testing.T, *erasing) func(*testing.T) { return nil }},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			e := newErasing(t)
			e.hook(e.noting)
			after := row.before(t, e)
			e.clock.Advance(2 * time.Second)
			if e.page == "" {
				e.page = e.erase(t)
			}
			if got := e.status(t, e.page); got.Status != "in_progress" || got.CompletedAt != nil {
				t.Errorf("at once the status is %+v", got)
			}
			if !row.later {
				e.wantNoSecrets(t)
			}
			if after != nil {
				after(t)
			}
			e.sweep(t)
			if got := e.status(t, e.page); got.Status != "in_progress" {
				t.Errorf("before the second search the status is %+v", got)
			}
			e.clock.Advance(15 * time.Minute)
			e.sweep(t)
			e.clock.Advance(15 * time.Minute) // for what the second search left to the sweep
			e.sweep(t)
			e.wantNoTrace(t, "after the second search")
			got := e.status(t, e.page)
			if got.Status != "completed" || got.CompletedAt == nil || got.Deleted != row.want.Deleted || got.Consents != row.want.Consents {
				t.Errorf("the status is %+v, want %+v", got, row.want)
			}
			if shown := e.do(t, http.MethodGet, e.page, with("accept", browserUse)); !strings.Contains(shown.Body, "was deleted") {
				t.Errorf("the page: %s", shown.Body)
			}
			if listed := e.connections(t); len(listed) > 0 {
				t.Errorf("connections: %v", listed)
			}
		})
	}
}

// importPage connects the person, and imports the Page for another owner without
// verification.
func (e *erasing) importPage(t *testing.T) string {
	t.Helper()
	full := e.full(t, e.connect(t, "facebook", "acme", e.one())[0])
	return e.importUnverified(t, "facebook", "beta", map[string]string{
		"page_id": full["page_id"].(string), "page_access_token": full["page_access_token"].(string),
	})
}

// wantNoSecrets wants no token of the person in the vault.
func (e *erasing) wantNoSecrets(t *testing.T) {
	t.Helper()
	for _, token := range e.tokens {
		if strings.Contains(e.vault.Text(), token) {
			t.Errorf("at once: the vault holds %s", token)
		}
	}
}

// A person who comes back after the request is connected, and the second search leaves
// that alone.
func TestErasure_NewConsent(t *testing.T) {
	t.Parallel()
	for _, confirmed := range []bool{false, true} {
		t.Run(fmt.Sprintf("confirmed_%v", confirmed), func(t *testing.T) {
			t.Parallel()
			e := newErasing(t)
			e.connect(t, "facebook", "acme", e.one())
			e.clock.Advance(time.Minute)
			page := e.erase(t)
			e.clock.Advance(time.Second)
			var id string
			if confirmed {
				var connected struct{ Connections []struct{ ID string } }
				e.confirm(t, e.hold(t, "facebook", "acme", e.one()), "acme").decode(t, 200, &connected)
				id = connected.Connections[0].ID
			} else {
				id = e.connect(t, "facebook", "acme", e.one())[0]
			}
			for range 4 {
				e.clock.Advance(10 * time.Minute)
				e.sweep(t)
			}
			if got := e.status(t, page); got.Status != "completed" || got.Deleted != 1 {
				t.Errorf("the status is %+v", got)
			}
			if got := status(t, e.stack, id); got != "active" {
				t.Errorf("the new connection is %s", got)
			}
			if _, failure := e.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure != nil {
				t.Errorf("its token: %v", failure)
			}
		})
	}
}

// Events that the bus does not accept name the person no longer, and are still sent.
func TestErasure_OwedEvents(t *testing.T) {
	t.Parallel()
	e := newErasing(t)
	e.events.Refuse(func(connector.Event) bool { return true })
	id := e.connect(t, "facebook", "acme", e.one())[0]
	e.clock.Advance(time.Minute)
	e.erase(t)
	for range 6 {
		e.clock.Advance(5 * time.Minute)
		e.sweep(t)
	}
	e.wantNoTrace(t, "after the second search")
	if strings.Contains(e.store.Text(), e.person.Pages[0].ID) {
		t.Error("the table names the account")
	}
	e.events.Refuse(nil)
	e.clock.Advance(2 * time.Hour)
	e.sweep(t)
	var types []connector.EventType
	for _, event := range e.events.All() {
		types = append(types, event.Type)
		if string(event.ConnectionID) != id || event.Owner != "acme" || event.AccountID != "" {
			t.Errorf("the event is %+v, want the connection and the owner alone", event)
		}
	}
	slices.Sort(types)
	if want := []connector.EventType{connector.EventConnected, connector.EventDisconnected}; !slices.Equal(types, want) {
		t.Errorf("the events are %q, want %q", types, want)
	}
}

// A search that fails is continued, and the status does not claim more.
func TestErasure_Failure(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"Store.UserRecords", "Vault.Delete", "Store.Update", "Store.Delete"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			e := newErasing(t)
			e.connect(t, "facebook", "acme", e.one())
			e.clock.Advance(time.Minute)
			e.hook(connectortest.On(call, func(n int, next func() error) error {
				if n == 1 {
					return fmt.Errorf("the service failed")
				}
				return next()
			}))
			page := e.erase(t)
			e.hook(nil)
			if got := e.status(t, page); got.Status != "in_progress" || call != "Store.Update" && got.Deleted != 0 {
				t.Errorf("the status is %+v", got)
			}
			e.clock.Advance(5 * time.Minute)
			e.sweep(t)
			if names := e.vault.Names("connections/"); len(names) > 0 {
				t.Errorf("five minutes later: %v", names)
			}
			e.clock.Advance(15 * time.Minute)
			e.sweep(t)
			if got := e.status(t, page); got.Status != "completed" {
				t.Errorf("the status is %+v", got)
			}
		})
	}
}

// A signed request names no route. The first one that takes it is the only one.
func TestPlatformNotice_OneRoute(t *testing.T) {
	t.Parallel()
	const deauthorize, deletion = "/platforms/facebook/deauthorize", "/platforms/facebook/data-deletion"
	for _, row := range []struct{ first, second string }{{deauthorize, deletion}, {deletion, deauthorize}} {
		t.Run("first_"+row.first[strings.LastIndex(row.first, "/")+1:], func(t *testing.T) {
			t.Parallel()
			e := newErasing(t)
			id := e.connect(t, "facebook", "acme", e.one())[0]
			e.clock.Advance(time.Minute)
			signed := e.sandbox.SignedRequest(e.person.ID)
			signature, payload, _ := strings.Cut(signed, ".")
			send := func(target, signed string) reply {
				return e.do(t, http.MethodPost, target, withBody(formType, url.Values{"signed_request": {signed}}.Encode()))
			}
			send(row.first, signed).decode(t, 200, &struct{}{})
			for _, form := range []string{signed, signature + "=." + payload} {
				for _, later := range []time.Duration{0, time.Hour, 22 * time.Hour, 48 * time.Hour} {
					e.clock.Advance(later)
					send(row.second, form).refused(t, 401, connector.InvalidRequest)
				}
				e.clock.Advance(-71 * time.Hour)
			}
			send(row.first, signed).decode(t, 200, &struct{}{})
			if row.first == deauthorize {
				if got := status(t, e.stack, id); got != "needs_reauth" {
					t.Errorf("the connection is %s", got)
				}
			}
		})
	}
}

// What cannot be a notice, by its form, size or time, costs no read of a secret and no
// other call.
func TestPlatformNotice_ReadsNothing(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	now, app := s.clock.Now(), s.sandbox.AppOf("facebook")
	meta := func(format string, at time.Time) string {
		return hostiletest.MetaSigned(app.ClientSecret, fmt.Sprintf(format, at.Unix()))
	}
	const good = `{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":%d}`
	signature, payload, _ := strings.Cut(meta(good, now), ".")
	form := func(signed string) change {
		return withBody(formType, url.Values{"signed_request": {signed}}.Encode())
	}
	body, tiktok := s.sandbox.TikTokNotice("authorization.removed", s.sandbox.People("tiktok")[0].ID)
	webhook := func(signature, body string) []change {
		return []change{withBody(jsonType, body), with("tiktok-signature", signature)}
	}
	mac := tiktok[strings.Index(tiktok, "s="):]
	at := func(d time.Duration) string { return fmt.Sprintf("t=%d,", now.Add(d).Unix()) + mac }
	const facebookRoutes = "deauthorize data-deletion"
	for _, row := range []struct {
		name, target string
		changes      []change
	}{
		{"no_dot", facebookRoutes, []change{form(signature)}},
		{"no_signature", facebookRoutes, []change{form("." + payload)}},
		{"short_signature", facebookRoutes, []change{form(signature[:40] + "." + payload)}},
		{"long_signature", facebookRoutes, []change{form(signature + "AAAA." + payload)}},
		{"no_payload", facebookRoutes, []change{form(signature + ".")}},
		{"payload_that_is_not_base64", facebookRoutes, []change{form(signature + ".%%%")}},
		{"payload_that_is_not_json", facebookRoutes, []change{form(meta(`x%d`, now))}},
		{"payload_that_is_a_list", facebookRoutes, []change{form(meta(`[%d]`, now))}},
		{"another_algorithm", facebookRoutes, []change{form(meta(`{"algorithm":"none","user_id":"1","issued_at":%d}`, now))}},
		{"no_algorithm", facebookRoutes, []change{form(meta(`{"user_id":"1","issued_at":%d}`, now))}},
		{"no_person", facebookRoutes, []change{form(meta(`{"algorithm":"HMAC-SHA256","issued_at":%d}`, now))}},
		{"person_that_is_a_path", facebookRoutes, []change{form(meta(`{"algorithm":"HMAC-SHA256","user_id":"../me","issued_at":%d}`, now))}},
		{"no_time", facebookRoutes, []change{form(meta(`{"algorithm":"HMAC-SHA256","user_id":"1"}%.0d`, now))}},
		{"time_zero", facebookRoutes, []change{form(meta(good, time.Unix(0, 0)))}},
		{"a_day_and_a_second_old", facebookRoutes, []change{form(meta(good, now.Add(-24*time.Hour-time.Second)))}},
		{"a_year_old", facebookRoutes, []change{form(meta(good, now.AddDate(-1, 0, 0)))}},
		{"an_hour_from_now", facebookRoutes, []change{form(meta(good, now.Add(time.Hour)))}},
		{"made_for_a_browser", facebookRoutes, []change{form(meta(`{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":%d,"code":"test"}`, now))}},
		{"with_a_user_token", facebookRoutes, []change{form(meta(`{"algorithm":"HMAC-SHA256","user_id":"1","issued_at":%d,"oauth_token":"test"}`, now))}},
		{"long_payload", facebookRoutes, []change{form(signature + "." + strings.Repeat("A", 5000))}},
		{"twice", facebookRoutes, []change{withBody(formType, "signed_request=a&signed_request=b")}},
		{"another_field", facebookRoutes, []change{withBody(formType, "signed=x")}},
		{"not_a_form", facebookRoutes, []change{withBody(formType, "%zz")}},
		{"long_body", facebookRoutes, []change{withBody(formType, "signed_request="+signature+"."+payload+"&x="+strings.Repeat("x", 20<<10))}},
		{"webhook_without_signature", "webhook", webhook("", string(body))},
		{"webhook_signed_in_another_form", "webhook", webhook("sha256="+mac, string(body))},
		{"webhook_with_a_short_signature", "webhook", webhook(fmt.Sprintf("t=%d,s=00", now.Unix()), string(body))},
		{"webhook_without_time", "webhook", webhook(mac, string(body))},
		{"webhook_with_two_times", "webhook", webhook("t=1,"+tiktok, string(body))},
		{"webhook_older_than_any_retry", "webhook", webhook(at(-74*time.Hour), string(body))},
		{"webhook_from_the_future", "webhook", webhook(at(6*time.Minute), string(body))},
		{"webhook_with_a_long_signature", "webhook", webhook(at(0)+strings.Repeat(" ", 300), string(body))},
		{"webhook_that_is_not_json", "webhook", webhook(at(0), "x")},
		{"webhook_without_a_client", "webhook", webhook(at(0), `{"event":"authorization.removed"}`)},
		{"webhook_without_a_person", "webhook", webhook(at(0), `{"client_key":"x","event":"authorization.removed"}`)},
		{"long_webhook", "webhook", webhook(at(0), `{"client_key":"x","x":"`+strings.Repeat("x", 20<<10)+`"}`)},
	} {
		t.Run(row.name, func(t *testing.T) {
			for kind := range strings.FieldsSeq(row.target) {
				platform := "facebook"
				if kind == "webhook" {
					platform = "tiktok"
				}
				var calls []string
				s.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
					calls = append(calls, call.Name+" "+call.Secret)
					return next()
				})
				_, e := event(t, http.MethodPost, "/platforms/"+platform+"/"+kind, row.changes...)
				got := s.send(t, "platform-notice", encode(t, e))
				if got.StatusCode != 400 && got.StatusCode != 401 && got.StatusCode != 413 {
					t.Errorf("%s: %d %s", kind, got.StatusCode, got.Body)
				}
				if len(calls) > 0 {
					t.Errorf("%s: calls %v", kind, calls)
				}
			}
		})
	}

	// A notice that only the signature tells from a true one costs one read.
	for name, row := range map[string]struct {
		target  string
		changes []change
		status  int
	}{
		"forged":         {"/platforms/facebook/data-deletion", []change{form(hostiletest.MetaSigned("test-other", fmt.Sprintf(good, now.Unix())))}, 401},
		"forged_webhook": {"/platforms/tiktok/webhook", webhook(at(0), string(body)+" "), 401},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []string
			s.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
				calls = append(calls, call.Name)
				return next()
			})
			s.do(t, http.MethodPost, row.target, row.changes...).refused(t, row.status, connector.InvalidRequest)
			if len(calls) != 1 || calls[0] != "Vault.Get" {
				t.Errorf("calls %v, want one read of the app", calls)
			}
		})
	}
}

// A connection is purged while the platform answers to its refresh. Whatever the answer
// is, the caller is told that there is no such connection, and nothing can be recovered.
func TestConnections_PurgeDuringRefresh(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]sandbox.Kind{
		"renewed": "", "refused": sandbox.DeadGrant, "outage": sandbox.Outage, "throttled": sandbox.Throttled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
			if fault != "" {
				s.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: fault, Times: -1})
			}
			s.beforeAnswer("tiktok", func() {
				if got := s.do(t, http.MethodDelete, "/connections/"+id+"?purge=true"); got.StatusCode != 204 {
					t.Errorf("the purge: %d %s", got.StatusCode, got.Body)
				}
			})
			s.do(t, http.MethodPost, "/connections/"+id+"/refresh", withBody(jsonType, "{}")).refused(t, 404, connector.ConnectionNotFound)
			if names := s.vault.Names("connections/"); len(names) > 0 {
				t.Errorf("in the vault, to be recovered: %v", names)
			}
			s.do(t, http.MethodDelete, "/connections/"+id+"?purge=true").refused(t, 404, connector.ConnectionNotFound)
		})
	}

	t.Run("disconnected_before", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
		for _, query := range []string{"", "?purge=true"} {
			if got := s.do(t, http.MethodDelete, "/connections/"+id+query); got.StatusCode != 204 {
				t.Errorf("DELETE %s: %d %s", query, got.StatusCode, got.Body)
			}
		}
		if names := s.vault.Names("connections/"); len(names) > 0 {
			t.Errorf("in the vault, to be recovered: %v", names)
		}
	})
}

// beforeAnswer acts while a platform answers to a refresh.
func (s *stack) beforeAnswer(name connector.Name, act func()) {
	for i, p := range s.service.Platforms {
		if p.Describe().Name == name {
			s.service.Platforms[i] = answering{p, act}
		}
	}
}

type answering struct {
	connector.Platform
	act func()
}

func (p answering) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	renewed, err := p.Platform.Refresh(ctx, app, c)
	p.act()
	return renewed, err
}

func (p answering) Revoke(ctx context.Context, app connector.App, c connector.Credentials, userID string) error {
	return p.Platform.(connector.Revoker).Revoke(ctx, app, c, userID)
}
