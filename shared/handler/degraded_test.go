package handler_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// told returns the reasons of the events of that type about a connection.
func (s *stack) told(kind connector.EventType, id string) []string {
	var reasons []string
	for _, e := range s.events.All() {
		if e.Type == kind && string(e.ConnectionID) == id {
			reasons = append(reasons, e.Reason)
		}
	}
	return reasons
}

// wantDegraded wants a connection to be degraded for that reason, in its record, in
// token-get and in one event; or to be healthy, for the empty reason.
func (s *stack) wantDegraded(t *testing.T, what, id, reason string, code connector.Code) {
	t.Helper()
	c := s.show(t, id)
	if c["status"] != "active" || c["status_reason"] != reason {
		t.Errorf("%s: the connection is %v (%v), want active (%s)", what, c["status"], c["status_reason"], reason)
	}
	token, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
	if failure != nil {
		t.Fatalf("%s: token-get: %v", what, failure)
	}
	if token["degraded"] != nil && reason == "" || reason != "" && (token["degraded"] != true || token["degraded_reason"] != string(code)) {
		t.Errorf("%s: token-get is degraded %v (%v), want %s", what, token["degraded"], token["degraded_reason"], code)
	}
	var want []string
	if reason != "" {
		want = []string{reason}
	}
	if got := s.told(connector.EventDegraded, id); !slices.Equal(got, want) {
		t.Errorf("%s: Connection Degraded was sent for %q, want %q", what, got, want)
	}
}

// wantRecovered wants a connection that was degraded to work again, and one event of it.
func (s *stack) wantRecovered(t *testing.T, what, id, reason string) {
	t.Helper()
	if c := s.show(t, id); c["status"] != "active" || c["status_reason"] != "" {
		t.Errorf("%s: the connection is %v (%v), want active", what, c["status"], c["status_reason"])
	}
	if token, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure != nil || token["degraded"] != nil {
		t.Errorf("%s: token-get: %v, degraded %v", what, failure, token["degraded"])
	}
	if got := s.told(connector.EventRecovered, id); !slices.Equal(got, []string{reason}) {
		t.Errorf("%s: Connection Recovered was sent for %q, want once for %q", what, got, reason)
	}
}

// A suspended or locked account of X has a reason of its own, which sends its person to X.
func TestDegraded_AccountOfX(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		tune   func(*sandbox.TwitterKnobs, []string)
		reason string
	}{
		"suspended":             {func(k *sandbox.TwitterKnobs, who []string) { k.Suspended = who }, "account_suspended"},
		"suspended by its code": {func(k *sandbox.TwitterKnobs, who []string) { k.Suspended, k.V1Errors = who, true }, "account_suspended"},
		"locked":                {func(k *sandbox.TwitterKnobs, who []string) { k.Locked = who }, "account_locked"},
	} {
		for kind, connect := range map[string]func(*stack) string{
			"tokens": func(s *stack) string { return s.connect(t, "twitter", "acme", sandbox.Choice{})[0] },
			"keys":   func(s *stack) string { return s.importKeys(t, "acme", true) },
		} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				id := connect(s)
				person := s.show(t, id)["account_id"].(string)
				tune := func(who ...string) { s.sandbox.Tune(func(k *sandbox.Knobs) { row.tune(k.Twitter(), who) }) }
				tune(person)
				for range 2 {
					p := s.do(t, http.MethodPost, "/connections/"+id+"/verify").refused(t, 503, connector.PlatformUnavailable)
					if p.Reason != row.reason || p.RetryAfter != 0 || strings.Contains(p.Detail, "twitter.com") {
						t.Errorf("got %+v", p)
					}
				}
				s.wantDegraded(t, "twice verified", id, row.reason, connector.PlatformUnavailable)

				// A renewal of tokens asks nothing about the account.
				if kind == "tokens" {
					s.do(t, http.MethodPost, "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
					s.wantDegraded(t, "renewed", id, row.reason, connector.PlatformUnavailable)
				}
				tune()
				for range 2 {
					s.do(t, http.MethodPost, "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
				}
				s.wantRecovered(t, "verified", id, "verified")
			})
		}
	}
}

// Blocked accounts of many owners do not keep those of others from being refreshed.
func TestDegraded_Breaker(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	people := s.sandbox.People("facebook")
	works := s.connect(t, "facebook", "acme", sandbox.Choice{Account: people[0].ID})[0]
	var blocked []string
	for i := range 8 {
		blocked = append(blocked, s.connect(t, "facebook", fmt.Sprint("owner ", i), sandbox.Choice{Account: people[1].ID})...)
	}
	s.sandbox.Fault(sandbox.Fault{
		Platform: "facebook", Endpoint: "node", Account: people[1].ID, Kind: sandbox.Body, Status: 400, Times: -1,
		Text: `{"error":{"code":368,"message":"test"}}`,
	})
	for _, id := range blocked {
		if p := s.do(t, http.MethodPost, "/connections/"+id+"/refresh").refused(t, 503, connector.PlatformUnavailable); p.Reason != "blocked_for_policy" {
			t.Errorf("got %+v", p)
		}
	}
	s.do(t, http.MethodPost, "/connections/"+works+"/refresh").decode(t, 200, &struct{}{})
}

// Three failures of a check in a row that do not pass by themselves degrade a connection.
func TestDegraded_Checks(t *testing.T) {
	t.Parallel()
	facebook := func(t *testing.T, s *stack) string {
		return s.connect(t, "facebook", "acme", sandbox.Choice{})[0]
	}
	keys := func(t *testing.T, s *stack) string { return s.importKeys(t, "acme", true) }
	refused := func(body string) func(*stack) {
		return func(s *stack) {
			s.sandbox.Fault(sandbox.Fault{Platform: "facebook", Endpoint: "node", Kind: sandbox.Body, Status: 400, Times: -1, Text: body})
		}
	}
	for name, row := range map[string]struct {
		connect func(*testing.T, *stack) string
		fail    func(*stack)
		reason  string // empty: it stays healthy
		code    connector.Code
	}{
		"blocked by Facebook":      {facebook, refused(`{"error":{"code":368,"message":"test"}}`), "blocked_for_policy", connector.PlatformUnavailable},
		"identity to be confirmed": {facebook, refused(`{"error":{"code":4854002,"message":"test"}}`), "identity_confirmation", connector.PlatformUnavailable},
		"permission taken back":    {facebook, refused(`{"error":{"code":10,"message":"test"}}`), "scope_missing", connector.ScopeMissing},
		"a fault that passes":      {facebook, refused(`{"error":{"code":2,"message":"test"}}`), "", ""},
		"suspended at X": {keys, func(s *stack) {
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Twitter().Suspended = []string{s.sandbox.UserKeys()[0].Account} })
		}, "account_suspended", connector.PlatformUnavailable},
		"credits spent": {keys, func(s *stack) {
			s.clock.Advance(24 * time.Hour)
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Twitter().PrepaidReads = 0 })
		}, "credits_depleted", connector.QuotaExhausted},
		"the app refused by X": {keys, func(s *stack) { s.sandbox.Tune(func(k *sandbox.Knobs) { k.Twitter().NotEnrolled = true }) }, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := row.connect(t, s)
			row.fail(s)
			check := func() int {
				s.clock.Advance(time.Hour)
				return s.do(t, http.MethodPost, "/connections/"+id+"/refresh").StatusCode
			}
			for range 2 {
				if status := check(); status < 400 {
					t.Fatalf("the check: status %d", status)
				}
				s.wantHealthy(t, "before the third failure", id, row.reason == "")
			}
			for range 2 {
				check()
			}
			if row.reason == "" {
				s.wantHealthy(t, "after four failures", id, true)
				return
			}
			s.wantDegraded(t, "after four failures", id, row.reason, row.code)
			s.sandbox.ClearFaults()
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.Twitter().Suspended, k.Twitter().PrepaidReads = nil, -1 })
			for range 2 {
				if status := check(); status != 200 {
					t.Fatalf("the check: status %d", status)
				}
			}
			s.wantRecovered(t, "checked", id, "verified")
		})
	}
}

// wantHealthy wants no status reason and no event. A connection whose check failed for a
// reason that passes may still hand out a degraded token.
func (s *stack) wantHealthy(t *testing.T, what, id string, mayFail bool) {
	t.Helper()
	if !mayFail {
		s.wantDegraded(t, what, id, "", "")
		return
	}
	if c := s.show(t, id); c["status"] != "active" || c["status_reason"] != "" || len(s.told(connector.EventDegraded, id)) > 0 {
		t.Errorf("%s: the connection is %v (%v)", what, c["status"], c["status_reason"])
	}
}

// A check finds that the channel of a Google account is gone, or is another one.
func TestDegraded_Channel(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		channels, reason string
		status           int
		code             connector.Code
	}{
		"gone":    {`{"kind":"youtube#channelListResponse","pageInfo":{"totalResults":0,"resultsPerPage":5}}`, "no_channel", 403, connector.AccessDenied},
		"another": {`{"items":[{"id":"UCsandboxAnotherChannel0","snippet":{"title":"Another"}}]}`, "account_changed", 409, connector.AccountMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
			s.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "channels", Kind: sandbox.Body, Times: -1, Text: row.channels})
			for range 2 {
				s.do(t, http.MethodPost, "/connections/"+id+"/verify").refused(t, row.status, row.code)
			}
			s.wantDegraded(t, "twice verified", id, row.reason, row.code)
			s.sandbox.ClearFaults()
			s.do(t, http.MethodPost, "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
			s.wantDegraded(t, "renewed", id, row.reason, row.code)

			// A new consent to the channel clears the reason.
			s.consent(t, s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "connection_id": id, "return_url": returnURL}), sandbox.Choice{})
			s.wantRecovered(t, "connected again", id, "")
			if got := s.told(connector.EventConnected, id); len(got) != 1 {
				t.Errorf("Connection Connected was sent %d times", len(got))
			}
		})
	}
}

// X's own answer that the credits are spent is told once a day and app, as the cap of
// the operator is.
func TestDegraded_Credits(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	first, second := s.connect(t, "twitter", "acme", sandbox.Choice{})[0], s.importKeys(t, "others", true)
	s.sandbox.Tune(func(k *sandbox.Knobs) { k.Twitter().PrepaidReads = 0 })
	told := func() (reasons []string) {
		for _, e := range s.events.All() {
			if e.Type == connector.EventQuota {
				reasons = append(reasons, e.Reason)
			}
		}
		return reasons
	}
	for day := 1; day <= 2; day++ {
		s.clock.Advance(24 * time.Hour)
		s.do(t, http.MethodPost, "/connections/"+first+"/verify").refused(t, 429, connector.QuotaExhausted)
		s.do(t, http.MethodPost, "/connections/"+second+"/refresh").refused(t, 429, connector.QuotaExhausted)
		if c := s.show(t, first); c["status_reason"] != "" {
			t.Errorf("day %d: one answer of 402 is the status reason %v", day, c["status_reason"])
		}
		if got := told(); len(got) != day || got[day-1] != "credits_depleted" {
			t.Errorf("day %d: Quota Exhausted was sent for %q", day, got)
		}
	}
}

// Only the owner can correct a client that an import brought. Its refusal degrades the
// connection. A refusal of the operator's app does not.
func TestDegraded_Client(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	file, _ := s.elsewhere(t, "twitter", sandbox.Choice{})
	file["client_id"], file["client_secret"] = "test-another-client", "test-another-secret"
	brought := s.imported(t, "twitter", "acme", false, file)
	ours := s.connect(t, "twitter", "others", sandbox.Choice{Account: s.sandbox.People("twitter")[1].ID})[0]
	s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.WrongClient, Times: -1})
	for range 3 {
		s.clock.Advance(30 * time.Minute)
		for _, id := range []string{brought, ours} {
			s.do(t, http.MethodPost, "/connections/"+id+"/refresh").refused(t, 502, connector.AppMisconfigured)
		}
	}
	s.wantDegraded(t, "brought", brought, "client_refused", connector.AppMisconfigured)
	s.wantHealthy(t, "of the operator", ours, true)

	// The access token works, which says nothing about the renewal.
	s.do(t, http.MethodPost, "/connections/"+brought+"/verify").decode(t, 200, &struct{}{})
	s.wantDegraded(t, "verified", brought, "client_refused", connector.AppMisconfigured)
	s.sandbox.ClearFaults()
	s.consent(t, s.link(t, map[string]any{"platform": "twitter", "owner": "acme", "connection_id": brought, "return_url": returnURL}), sandbox.Choice{})
	s.wantRecovered(t, "connected again", brought, "")
}

// The page tells a person with a suspended or locked account what to do at X.
func TestConsent_AccountOfX(t *testing.T) {
	t.Parallel()
	for reason, row := range map[string]struct {
		tune func(*sandbox.TwitterKnobs, []string)
		says string
	}{
		"account_suspended": {func(k *sandbox.TwitterKnobs, who []string) { k.Suspended = who }, "Appeal there"},
		"account_locked":    {func(k *sandbox.TwitterKnobs, who []string) { k.Locked = who }, "Sign in there and unlock it"},
	} {
		s := newStack(t)
		who := []string{s.sandbox.People("twitter")[0].ID}
		s.sandbox.Tune(func(k *sandbox.Knobs) { row.tune(k.Twitter(), who) })
		f := s.flow(t, "twitter", sandbox.Choice{})
		if page := f.finish(t, with("accept", browserUse)); page.StatusCode != 503 || !strings.Contains(page.Body, row.says) {
			t.Errorf("%s: %d %s", reason, page.StatusCode, page.Body)
		}
	}
}

// If a limit of a day is exhausted, its end is the time to try again, and not the end of the
// window of 15 minutes, which has calls left.
func TestTwitter_DailyLimits(t *testing.T) {
	t.Parallel()
	for name, tune := range map[string]func(*sandbox.TwitterKnobs){
		"day of the user": func(k *sandbox.TwitterKnobs) { k.UserDayLimit = 2 },
		"day of the app":  func(k *sandbox.TwitterKnobs) { k.AppDayLimit = 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			s.sandbox.Tune(func(k *sandbox.Knobs) { tune(k.Twitter()) })
			id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
			s.do(t, http.MethodPost, "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
			s.clock.Advance(time.Hour)
			p := s.do(t, http.MethodPost, "/connections/"+id+"/verify").refused(t, 429, connector.RateLimited)
			if p.RetryAfter != 23*60*60 {
				t.Errorf("again after %d s, want 23 hours", p.RetryAfter)
			}
			s.wantHealthy(t, "throttled", id, false)
		})
	}
}

// The remedy for an app in the wrong package is that of X's present pages.
func TestTwitter_NotEnrolled(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
	s.sandbox.Tune(func(k *sandbox.Knobs) { k.Twitter().NotEnrolled = true })
	p := s.do(t, http.MethodPost, "/connections/"+id+"/verify").refused(t, 502, connector.AppMisconfigured)
	if p.Reason != "client_not_enrolled" || !strings.Contains(p.Detail, "Pay-per-use package and the Production environment") {
		t.Errorf("got %+v", p)
	}
}
