package handler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// mixed returns credentials with the access token of the first person and the refresh
// token of the second, and the accounts of both.
func (s *stack) mixed(t *testing.T, platform string) (credentials map[string]any, first, second string) {
	t.Helper()
	credentials, first = s.elsewhere(t, platform, sandbox.Choice{})
	other, second := s.elsewhere(t, platform, sandbox.Choice{Account: s.sandbox.People(platform)[1].ID})
	credentials["refresh_token"] = other["refresh_token"]
	return credentials, first, second
}

// wantChanged wants the connection marked, and nothing handed out by any way.
func (s *stack) wantChanged(t *testing.T, what, id, account string) {
	t.Helper()
	c := s.show(t, id)
	if c["status"] != "needs_reauth" || c["status_reason"] != connector.ReasonAccountChanged || c["account_id"] != account {
		t.Errorf("%s: the connection is %v (%v) to %v, want needs_reauth (account_changed) to %s", what, c["status"], c["status_reason"], c["account_id"], account)
	}
	s.do(t, "GET", "/connections/"+id+"/token").refused(t, 409, connector.ReauthorizationRequired)
	s.do(t, "GET", "/connections/"+id+"/token?full=true").refused(t, 409, connector.ReauthorizationRequired)
	s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
	// AccountMismatch or, once the access token expired, ReauthorizationRequired.
	if got := s.do(t, "POST", "/connections/"+id+"/verify"); got.StatusCode != 409 {
		t.Errorf("%s: a verification is answered %d %s", what, got.StatusCode, got.Body)
	}
	if got := s.reauthEvents(); !slices.Equal(got, []string{connector.ReasonAccountChanged}) {
		t.Errorf("%s: events with the reasons %v, want one account_changed", what, got)
	}
	if c := s.show(t, id); c["status"] != "needs_reauth" {
		t.Errorf("%s: a verification made the connection %v", what, c["status"])
	}
	// Who can write to the table cannot have the tokens of another account handed out.
	s.setRecord(t, id, func(c *connector.Connection) { c.Status, c.StatusReason = connector.Active, "" })
	for _, full := range []string{"", "?full=true"} {
		if got := s.do(t, "GET", "/connections/"+id+"/token"+full); got.StatusCode != 409 {
			t.Errorf("%s: of a record that was forged as active: %d %s", what, got.StatusCode, got.Body)
		}
	}
}

// reauthEvents returns the reasons of the events that ask for a new consent.
func (s *stack) reauthEvents() (reasons []string) {
	for _, e := range s.events.All() {
		if e.Type == connector.EventReauth {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

// An import with the tokens of two accounts is never handed out as the first account
// once it was refreshed.
func TestAccount_ImportOfTwo(t *testing.T) {
	t.Parallel()
	expire := func(t *testing.T, s *stack, id string) { s.clock.Advance(2 * time.Hour) }
	for _, way := range []struct {
		name  string
		first func(*testing.T, *stack, string) // what the caller does first
		ask   func(*testing.T, *stack, string) // what refreshes
	}{
		{"refresh", nil, func(t *testing.T, s *stack, id string) {
			s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
		}},
		{"token_of_an_expired_one", expire, func(t *testing.T, s *stack, id string) {
			s.do(t, "GET", "/connections/"+id+"/token").refused(t, 409, connector.ReauthorizationRequired)
		}},
		{"forced_refresh", nil, func(t *testing.T, s *stack, id string) {
			s.do(t, "GET", "/connections/"+id+"/token?force_refresh=true").refused(t, 409, connector.ReauthorizationRequired)
		}},
		{"full_of_a_direct_invocation", expire, func(t *testing.T, s *stack, id string) {
			if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`","full":true}`); failure == nil || failure.Type != "ReauthorizationRequired" {
				t.Errorf("got %v, want ReauthorizationRequired", failure)
			}
		}},
		{"worker", expire, func(t *testing.T, s *stack, id string) {
			_, err := s.service.HandleDue(t.Context(), connector.RecordKey{Kind: connector.ConnectionKind, ID: id})
			if err != nil {
				t.Error(err)
			}
		}},
		{"crash_before_the_record", expire, func(t *testing.T, s *stack, id string) {
			s.crash(t, id, "Store.Update", 2)
			s.clock.Advance(2 * time.Minute)
			s.do(t, "GET", "/connections/"+id+"/token").refused(t, 409, connector.ReauthorizationRequired)
		}},
		{"crash_before_the_mark", expire, func(t *testing.T, s *stack, id string) {
			s.crash(t, id, "Store.Update", 3)
			s.clock.Advance(2 * time.Minute)
			s.do(t, "GET", "/connections/"+id+"/token").refused(t, 409, connector.ReauthorizationRequired)
		}},
		{"crash_and_worker", expire, func(t *testing.T, s *stack, id string) {
			s.crash(t, id, "Store.Update", 2)
			s.clock.Advance(2 * time.Hour)
			if _, err := s.service.HandleDue(t.Context(), connector.RecordKey{Kind: connector.ConnectionKind, ID: id}); err != nil {
				t.Error(err)
			}
		}},
		{"vault_takes_no_writes", expire, func(t *testing.T, s *stack, id string) {
			s.hook(connectortest.Fail(fmt.Errorf("down"), "Vault.Put"))
			s.do(t, "GET", "/connections/"+id+"/token").refused(t, 409, connector.ReauthorizationRequired)
			s.hook(nil)
		}},
	} {
		for _, platform := range []string{"youtube", "twitter", "tiktok"} {
			t.Run(way.name+"/"+platform, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				credentials, first, _ := s.mixed(t, platform)
				id := s.importOfTwo(t, platform, credentials)
				if c := s.show(t, id); c["account_id"] != first {
					t.Fatalf("the import is of %v, want %s", c["account_id"], first)
				}
				if way.first != nil {
					way.first(t, s, id)
				}
				way.ask(t, s, id)
				s.wantChanged(t, way.name, id, first)
				if !strings.Contains(s.logs.String(), "tokens of another account") {
					t.Error("no log line says so")
				}
			})
		}
	}
}

// importOfTwo imports tokens of two accounts, as the account of the access token.
// YouTube shows already at a verified import that they do not belong together.
func (s *stack) importOfTwo(t *testing.T, platform string, credentials map[string]any) string {
	t.Helper()
	if platform != sandbox.YouTube {
		return s.imported(t, platform, "mallory", true, credentials)
	}
	s.do(t, "POST", "/connections", withJSON(t, map[string]any{"platform": platform, "owner": "mallory", "credentials": credentials})).
		refused(t, 400, connector.InvalidRequest)
	id := s.imported(t, platform, "mallory", false, credentials)
	s.do(t, "POST", "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
	return id
}

// crash has a token-get end in a panic at the n-th call of a port.
func (s *stack) crash(t *testing.T, id, call string, n int) {
	t.Helper()
	s.hook(connectortest.On(call, func(i int, next func() error) error {
		if i == n {
			panic("crash")
		}
		return next()
	}))
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure == nil {
		t.Fatal("nothing crashed")
	}
	s.hook(nil)
}

// A claim of the fields is compared, too: an unverified import under the id of another
// account.
func TestAccount_Claimed(t *testing.T) {
	t.Parallel()
	t.Run("tiktok", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		_, _, second := s.mixed(t, "tiktok")
		credentials, first := s.elsewhere(t, "tiktok", sandbox.Choice{})
		credentials["open_id"] = second
		id := s.imported(t, "tiktok", "mallory", false, credentials)
		s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
		s.wantChanged(t, "tokens of "+first, id, second)
	})
	t.Run("facebook", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		pages := s.connect(t, "facebook", "giver", sandbox.Choice{})
		credentials, other := s.full(t, pages[0]), s.show(t, pages[1])["account_id"].(string)
		credentials["page_id"] = other
		id := s.imported(t, "facebook", "mallory", false, credentials)
		s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
		s.wantChanged(t, "the token of another Page", id, other)
	})
	t.Run("consent", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
		account := s.show(t, id)["account_id"].(string)
		s.sandbox.Fault(sandbox.Fault{Platform: "tiktok", Endpoint: "token", Kind: sandbox.Fields, Set: rawFields(t, map[string]string{"open_id": "-000sandbox-open-id-two"})})
		s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
		c := s.show(t, id)
		if c["status"] != "needs_reauth" || c["status_reason"] != "account_changed" || c["account_id"] != account {
			t.Errorf("the connection is %v (%v) to %v", c["status"], c["status_reason"], c["account_id"])
		}
		if got := s.reauthEvents(); !slices.Equal(got, []string{"account_changed"}) {
			t.Errorf("events with the reasons %v", got)
		}
	})
}

// Sound imports are refreshed and handed out, and the platform is asked once whose
// they are.
func TestAccount_Sound(t *testing.T) {
	t.Parallel()
	lookup := map[string]string{"youtube": "channels", "twitter": "me", "tiktok": "me"}
	for platform, endpoint := range lookup {
		for _, verify := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/verified_%v", platform, verify), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				credentials, account := s.elsewhere(t, platform, sandbox.Choice{})
				id := s.imported(t, platform, "acme", verify, credentials)
				for range 3 {
					s.clock.Advance(3 * time.Hour)
					var token map[string]any
					s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &token)
					if token["account_id"] != account {
						t.Errorf("the account is %v, want %s", token["account_id"], account)
					}
				}
				calls := s.sandbox.Count(platform, endpoint)
				s.clock.Advance(3 * time.Hour)
				s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
				if n := s.sandbox.Count(platform, endpoint) - calls; n != 0 {
					t.Errorf("%d lookups at a later refresh, want none", n)
				}
				if c := s.show(t, id); c["status"] != "active" || c["account_id"] != account {
					t.Errorf("the connection is %v (%v) to %v", c["status"], c["status_reason"], c["account_id"])
				}
			})
		}
	}
	t.Run("previous_release", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		credentials, _ := s.elsewhere(t, "twitter", sandbox.Choice{})
		id := s.imported(t, "twitter", "acme", true, credentials)
		s.setProof(t, id, withoutProofs)
		s.clock.Advance(3 * time.Hour)
		before := s.sandbox.Count("twitter", "me")
		s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
		if n := s.sandbox.Count("twitter", "me") - before; n != 1 {
			t.Errorf("%d lookups, want 1", n)
		}
	})
	t.Run("consents_are_not_looked_up", func(t *testing.T) {
		t.Parallel()
		for platform, endpoint := range lookup {
			s := newStack(t)
			id := s.connect(t, platform, "acme", sandbox.Choice{})[0]
			before := s.sandbox.Count(platform, endpoint)
			s.do(t, "POST", "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
			if n := s.sandbox.Count(platform, endpoint) - before; n != 0 {
				t.Errorf("%s: %d lookups", platform, n)
			}
		}
	})
}

// A renewed token is stored, and not handed out, until the platform names its account.
func TestAccount_Unconfirmed(t *testing.T) {
	t.Parallel()
	// waiting returns an import that was refreshed while X answered no lookup.
	waiting := func(t *testing.T, kind sandbox.Kind) (*stack, string) {
		s := newStack(t)
		id := s.imported(t, "twitter", "acme", true, s.importable(t, "twitter"))
		s.clock.Advance(3 * time.Hour)
		s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: kind, Times: -1})
		for range 3 {
			got := s.do(t, "GET", "/connections/"+id+"/token").refused(t, 503, connector.PlatformUnavailable)
			if !strings.Contains(got.Detail, "has not confirmed the account") {
				t.Errorf("detail %q", got.Detail)
			}
		}
		if c := s.show(t, id); c["status"] != "active" {
			t.Errorf("status %v (%v), want active", c["status"], c["status_reason"])
		}
		if n := s.sandbox.Count("twitter", "token/refresh_token"); n != 1 {
			t.Errorf("%d refreshes, want 1: the renewed token waits for its account", n)
		}
		return s, id
	}
	for name, kind := range map[string]sandbox.Kind{"outage": sandbox.Outage, "throttled": sandbox.Throttled, "quota": sandbox.Quota, "html": sandbox.HTML, "app_refused": sandbox.WrongClient} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, id := waiting(t, kind)
			s.sandbox.ClearFaults()
			s.clock.Advance(time.Minute)
			s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
			if n := s.sandbox.Count("twitter", "token/refresh_token"); n != 1 {
				t.Errorf("%d refreshes, want 1", n)
			}
		})
	}
	t.Run("worker_asks_again", func(t *testing.T) {
		t.Parallel()
		s, id := waiting(t, sandbox.Outage)
		s.sandbox.ClearFaults()
		s.clock.Advance(10 * time.Minute)
		result, err := s.service.HandleDue(t.Context(), connector.RecordKey{Kind: connector.ConnectionKind, ID: id})
		if err != nil || result != connector.Refreshed {
			t.Errorf("the worker did %v, %v", result, err)
		}
		before := s.sandbox.Count("twitter", "")
		s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
		if n := s.sandbox.Count("twitter", "") - before; n != 0 {
			t.Errorf("%d calls after the worker, want none", n)
		}
	})
	t.Run("verify_confirms", func(t *testing.T) {
		t.Parallel()
		s, id := waiting(t, sandbox.Outage)
		s.sandbox.ClearFaults()
		s.clock.Advance(time.Minute)
		s.do(t, "POST", "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
		s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
	})
	t.Run("token_refused_meanwhile", func(t *testing.T) {
		t.Parallel()
		s, id := waiting(t, sandbox.Outage)
		s.sandbox.ClearFaults()
		s.sandbox.Expire("twitter") // the access token, not the grant
		s.clock.Advance(time.Minute)
		s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
		if n := s.sandbox.Count("twitter", "token/refresh_token"); n != 2 {
			t.Errorf("%d refreshes, want 2", n)
		}
	})
	t.Run("grant_revoked_meanwhile", func(t *testing.T) {
		t.Parallel()
		s, id := waiting(t, sandbox.Outage)
		s.sandbox.ClearFaults()
		s.sandbox.Kill("twitter", "", 0)
		s.clock.Advance(time.Minute)
		s.do(t, "GET", "/connections/"+id+"/token").refused(t, 409, connector.ReauthorizationRequired)
		if c := s.show(t, id); c["status"] != "needs_reauth" || c["status_reason"] == "account_changed" {
			t.Errorf("the connection is %v (%v)", c["status"], c["status_reason"])
		}
	})
	t.Run("another_account_after_all", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		credentials, first, _ := s.mixed(t, "twitter")
		id := s.imported(t, "twitter", "mallory", true, credentials)
		s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.Outage, Times: 3})
		s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 503, connector.PlatformUnavailable)
		s.do(t, "GET", "/connections/"+id+"/token").refused(t, 503, connector.PlatformUnavailable)
		s.clock.Advance(time.Minute)
		s.sandbox.ClearFaults()
		s.do(t, "GET", "/connections/"+id+"/token").refused(t, 409, connector.ReauthorizationRequired)
		s.wantChanged(t, "after the outage", id, first)
	})
	// An import whose account nobody knows claims none: it is usable, and learns its
	// account when the platform answers.
	t.Run("unknown_account", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		credentials, account := s.elsewhere(t, "twitter", sandbox.Choice{})
		id := s.imported(t, "twitter", "acme", false, credentials)
		s.clock.Advance(3 * time.Hour)
		s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.Outage})
		s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
		if c := s.show(t, id); !strings.HasPrefix(c["account_id"].(string), "unverified-") {
			t.Errorf("the account is %v", c["account_id"])
		}
		s.clock.Advance(3 * time.Hour)
		s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
		if got := s.show(t, id)["account_id"]; got != account {
			t.Errorf("the account is %v, want %v", got, account)
		}
	})
}

// A connection that was marked recovers by a new consent, and by an import, alone.
func TestAccount_Recovers(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	credentials, _, _ := s.mixed(t, "twitter")
	id := s.imported(t, "twitter", "acme", true, credentials)
	s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
	s.do(t, "POST", "/connections/"+id+"/verify").refused(t, 409, connector.AccountMismatch)
	link := s.link(t, map[string]any{"platform": "twitter", "owner": "acme", "connection_id": id, "return_url": returnURL})
	if got := s.consent(t, link, sandbox.Choice{}).Query().Get("status"); got != "connected" {
		t.Fatalf("the consent ended with %q", got)
	}
	s.do(t, "POST", "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
	s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
}
