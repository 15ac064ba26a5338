package handler_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// Platforms whose credentials do not tell the account.
var namelessPlatforms = []string{sandbox.Twitter, sandbox.YouTube}

// standIn imports a file without verification. The account of the connection is then not
// known.
func (s *stack) standIn(t *testing.T, platform, owner string, choice sandbox.Choice) (id string, file map[string]any, account string) {
	t.Helper()
	file, account = s.elsewhere(t, platform, choice)
	id, _ = importedAs(t, s.importReply(t, platform, owner, false, file), 201)
	if c := s.show(t, id); !strings.HasPrefix(c["account_id"].(string), "unverified-") {
		t.Fatalf("the account is %v", c["account_id"])
	}
	return id, file, account
}

// twins returns a stand-in, and a connection to the same account whose consent could not
// find that out.
func (s *stack) twins(t *testing.T, platform string) (standIn, known string, file map[string]any, account string) {
	t.Helper()
	standIn, file, account = s.standIn(t, platform, "acme", sandbox.Choice{})
	lookup := map[string]string{sandbox.Twitter: "me", sandbox.YouTube: "channels"}[platform]
	s.sandbox.Fault(sandbox.Fault{Platform: platform, Endpoint: lookup, Kind: sandbox.Outage})
	known = s.connect(t, platform, "acme", sandbox.Choice{})[0]
	s.sandbox.ClearFaults()
	if len(s.connections(t)) != 2 || known == standIn {
		t.Fatal("there are no twins")
	}
	return standIn, known, file, account
}

// wantOne wants one connection of acme, to the account, and the stand-in ended by it
// without a revocation.
func (s *stack) wantOne(t *testing.T, what, remaining, ended, account string) {
	t.Helper()
	list := s.connections(t)
	if len(list) != 1 || list[0]["id"] != remaining || list[0]["account_id"] != account || list[0]["status"] != "active" {
		t.Errorf("%s: the connections are %v, want one, %s to %s", what, list, remaining, account)
	}
	if c := s.show(t, ended); c["status"] != "disconnected" || c["status_reason"] != "same_account" {
		t.Errorf("%s: the stand-in is %v (%v)", what, c["status"], c["status_reason"])
	}
	events := 0
	for _, e := range s.events.All() {
		if e.Type == connector.EventDisconnected {
			events++
			if string(e.ConnectionID) != ended || e.Reason != "same_account" {
				t.Errorf("%s: an event of %s with the reason %q", what, e.ConnectionID, e.Reason)
			}
		}
	}
	var token map[string]any
	if s.do(t, "GET", "/connections/"+ended+"/token").decode(t, 200, &token); token["connection_id"] != remaining {
		t.Errorf("%s: the id of the stand-in leads to %v", what, token["connection_id"])
	}
	if events != 1 {
		t.Errorf("%s: %d events of a disconnection", what, events)
	}
	if n := s.sandbox.Count(list[0]["platform"].(string), "revoke"); n != 0 {
		t.Errorf("%s: %d revocations", what, n)
	}
	s.wantWorks(t, what, remaining)
	s.clock.Advance(time.Hour)
	s.sweepNow(t)
	if _, _, err := s.vault.Get(t.Context(), "connections/"+ended, ""); err == nil {
		t.Errorf("%s: the secret of the stand-in is still there", what)
	}
	s.wantWorks(t, what+", an hour later", remaining)
}

// sweepNow runs a sweep, and the worker on all that it queued.
func (s *stack) sweepNow(t *testing.T) {
	t.Helper()
	if _, err := s.service.QueueDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, item := range s.queue.Drain() {
		if _, err := s.service.HandleDue(t.Context(), item); err != nil {
			t.Fatal(err)
		}
	}
}

// A consent, and a verified import, find the stand-in of their account. It keeps its id.
func TestStandIn_Found(t *testing.T) {
	t.Parallel()
	for _, platform := range namelessPlatforms {
		for _, confirm := range []bool{false, true} {
			t.Run(fmt.Sprintf("consent/%s/confirm_%v", platform, confirm), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				id, file, account := s.standIn(t, platform, "acme", sandbox.Choice{})
				stranger, _, _ := s.standIn(t, platform, "globex", sandbox.Choice{})
				other, _, _ := s.standIn(t, platform, "acme", sandbox.Choice{Account: s.sandbox.People(platform)[1].ID})
				body := map[string]any{"platform": platform, "owner": "acme", "return_url": returnURL, "confirm": confirm}
				location := s.consent(t, s.link(t, body), sandbox.Choice{})
				if confirm {
					confirmation := location.Query().Get("confirmation")
					s.do(t, "POST", "/connections/confirm", withJSON(t, map[string]any{"confirmation": confirmation, "owner": "acme"})).decode(t, 200, &struct{}{})
				} else if got := location.Query()["connection_id"]; !slices.Equal(got, []string{id}) {
					t.Errorf("the consent is saved on %v, want %s", got, id)
				}
				c := s.show(t, id)
				if c["status"] != "active" || c["account_id"] != account || s.full(t, id)["refresh_token"] == file["refresh_token"] {
					t.Errorf("the stand-in is %v (%v) to %v", c["status"], c["status_reason"], c["account_id"])
				}
				if n := len(s.connections(t)); n != 3 {
					t.Errorf("%d connections, want 3", n)
				}
				if c := s.show(t, other); c["account_id"] == account || c["status"] != "active" {
					t.Errorf("the one of the other account is %v to %v", c["status"], c["account_id"])
				}
				if c := s.show(t, stranger); !strings.HasPrefix(c["account_id"].(string), "unverified-") {
					t.Errorf("the account of another owner was asked for: %v", c["account_id"])
				}
				s.wantWorks(t, "afterwards", id)
				s.wantWorks(t, "the other account", other)
			})
		}
		t.Run("verified_import/"+platform, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id, _, account := s.standIn(t, platform, "acme", sandbox.Choice{})
			file, _ := s.elsewhere(t, platform, sandbox.Choice{})
			status := 200 // what works stands, where a refresh token works once
			if platform == sandbox.YouTube {
				status = 201
			}
			if got, _ := importedAs(t, s.importReply(t, platform, "acme", true, file), status); got != id {
				t.Errorf("got %s, want %s", got, id)
			}
			if c := s.show(t, id); c["account_id"] != account || len(s.connections(t)) != 1 {
				t.Errorf("the account is %v, of %d connections", c["account_id"], len(s.connections(t)))
			}
			s.wantWorks(t, "afterwards", id)
		})
	}
}

// Where a stand-in and a connection to its account exist, they end as one, whatever makes
// the platform name the account of the stand-in.
func TestStandIn_Twins(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*testing.T, *stack, string){
		"verify": func(t *testing.T, s *stack, id string) {
			s.do(t, "POST", "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
		},
		"refresh": func(t *testing.T, s *stack, id string) {
			s.do(t, "POST", "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
		},
		"token": func(t *testing.T, s *stack, id string) {
			s.clock.Advance(3 * time.Hour)
			s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
		},
		"worker": func(t *testing.T, s *stack, id string) {
			s.clock.Advance(3 * time.Hour)
			s.sweepNow(t)
		},
		"consent_while_it_is_expired": func(t *testing.T, s *stack, id string) {
			s.setRecord(t, id, func(c *connector.Connection) { c.ExpiresAt = noon })
			s.connect(t, s.show(t, id)["platform"].(string), "acme", sandbox.Choice{})
			s.do(t, "GET", "/connections/"+id+"/token").decode(t, 200, &struct{}{})
		},
		"consent": func(t *testing.T, s *stack, id string) {
			s.connect(t, s.show(t, id)["platform"].(string), "acme", sandbox.Choice{})
		},
		"consent_to_the_stand_in": func(t *testing.T, s *stack, id string) {
			link := s.link(t, map[string]any{"platform": s.show(t, id)["platform"], "owner": "acme", "connection_id": id, "return_url": returnURL})
			if got := s.consent(t, link, sandbox.Choice{}); got.Query().Get("status") != "connected" {
				t.Errorf("the consent ended at %s", got)
			}
		},
	}
	for name, way := range ways {
		for _, platform := range namelessPlatforms {
			t.Run(name+"/"+platform, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				standIn, known, file, account := s.twins(t, platform)
				s.clock.Advance(time.Minute)
				way(t, s, standIn)
				s.wantOne(t, name, known, standIn, account)
				// The file of the stand-in leads to the one that remains, also after the
				// record of the stand-in is gone.
				sent := s.exchanges(platform)
				for _, later := range []time.Duration{0, 8 * 24 * time.Hour} {
					s.clock.Advance(later)
					if got, _ := importedAs(t, s.importReply(t, platform, "acme", false, file), 200); got != known {
						t.Errorf("the file leads to %s, want %s", got, known)
					}
				}
				if n := s.exchanges(platform) - sent; n != 0 {
					t.Errorf("its refresh token was sent %d times", n)
				}
			})
		}
	}
	// What the connection has is dead, seen or not: it gets what works.
	for _, seen := range []bool{true, false} {
		for _, platform := range namelessPlatforms {
			t.Run(fmt.Sprintf("known_one_is_dead/seen_%v/%s", seen, platform), func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				known := s.connect(t, platform, "acme", sandbox.Choice{})[0]
				s.sandbox.Kill(platform, "", 0)
				if seen {
					s.do(t, "POST", "/connections/"+known+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
				}
				standIn, _, account := s.standIn(t, platform, "acme", sandbox.Choice{})
				s.do(t, "POST", "/connections/"+standIn+"/verify").decode(t, 200, &struct{}{})
				s.wantOne(t, "verify", known, standIn, account)
			})
		}
	}
	// While the platform does not say whether the connection works, both stay.
	t.Run("known_one_cannot_be_asked", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		standIn, known, _, account := s.twins(t, "twitter")
		s.setRecord(t, known, func(c *connector.Connection) { c.ExpiresAt = noon }) // it must be refreshed to be asked
		s.clock.Advance(time.Minute)
		s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "token", Kind: sandbox.Outage, Times: -1})
		s.do(t, "POST", "/connections/"+standIn+"/verify").refused(t, 503, connector.PlatformUnavailable)
		for _, id := range []string{standIn, known} {
			if c := s.show(t, id); c["status"] != "active" {
				t.Errorf("one of them is %v", c["status"])
			}
		}
		s.sandbox.ClearFaults()
		s.clock.Advance(time.Hour)
		s.do(t, "POST", "/connections/"+standIn+"/verify").decode(t, 200, &struct{}{})
		s.wantOne(t, "later", known, standIn, account)
	})
	t.Run("two_stand_ins_at_once", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Sleep = connector.Sleep
		first, _, account := s.standIn(t, "twitter", "acme", sandbox.Choice{})
		second, _, _ := s.standIn(t, "twitter", "acme", sandbox.Choice{})
		var all sync.WaitGroup
		for _, id := range []string{first, second, first, second} {
			all.Go(func() {
				if r := s.do(t, "POST", "/connections/"+id+"/verify"); r.StatusCode != 200 && r.StatusCode != 404 {
					t.Errorf("a verification is answered %d %s", r.StatusCode, r.Body)
				}
			})
		}
		all.Wait()
		list := s.connections(t)
		if len(list) != 1 {
			t.Fatalf("%d connections, want one", len(list))
		}
		remaining, ended := first, second
		if list[0]["id"] == second {
			remaining, ended = second, first
		}
		s.wantOne(t, "at once", remaining, ended, account)
	})
	// The platform refused the stand-in, and the person consents to the account that the
	// other connection has.
	t.Run("dead_stand_in_is_authorized_anew", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		standIn, _, account := s.standIn(t, "twitter", "acme", sandbox.Choice{})
		s.sandbox.Kill("twitter", "", 0)
		s.do(t, "POST", "/connections/"+standIn+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
		known := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
		link := s.link(t, map[string]any{"platform": "twitter", "owner": "acme", "connection_id": standIn, "return_url": returnURL})
		if got := s.consent(t, link, sandbox.Choice{}); got.Query().Get("connection_id") != known {
			t.Errorf("the consent ended at %s", got)
		}
		s.wantOne(t, "authorized anew", known, standIn, account)
	})
}

// crashAtCall calls run in a process that crashes at its n-th call of a port, and reports
// whether it did.
func (s *stack) crashAtCall(n int, run func(*connector.Service)) (crashed bool) {
	calls := 0
	other := s.process(func(_ context.Context, _ connectortest.Call, next func() error) error {
		if calls++; calls >= n {
			crashed = true
			panic("crash")
		}
		return next()
	})
	defer func() { recover() }()
	run(other.service)
	return crashed
}

// A crash at any call of the merging loses neither of the two.
func TestStandIn_Crash(t *testing.T) {
	t.Parallel()
	for _, dead := range []bool{true, false} {
		t.Run(fmt.Sprintf("known_one_is_dead_%v", dead), func(t *testing.T) {
			t.Parallel()
			for n := 1; n < 200; n++ {
				s := newStack(t)
				var standIn, known, account string
				if dead {
					known = s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
					s.sandbox.Kill("twitter", "", 0)
					s.do(t, "POST", "/connections/"+known+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
					standIn, _, account = s.standIn(t, "twitter", "acme", sandbox.Choice{})
				} else {
					standIn, known, _, account = s.twins(t, "twitter")
				}
				crashed := s.crashAtCall(n, func(service *connector.Service) { service.Verify(t.Context(), connector.ID(standIn)) })
				s.clock.Advance(2 * time.Minute)
				s.sweepNow(t)
				if c := s.show(t, standIn); c["status"] == "active" {
					s.do(t, "POST", "/connections/"+standIn+"/verify").decode(t, 200, &struct{}{})
				}
				s.clock.Advance(2 * time.Minute)
				s.sweepNow(t)
				list := s.connections(t)
				if len(list) != 1 || list[0]["id"] != known || list[0]["account_id"] != account {
					t.Fatalf("crash at call %d: the connections are %v, want %s", n, list, known)
				}
				s.wantWorks(t, fmt.Sprintf("crash at call %d", n), known)
				if !crashed {
					return
				}
			}
		})
	}
}

// The notices of a person reach each Page that was imported without asking Facebook, as
// soon as Facebook has named the person of one of them: that of the same token, whoever
// has it, and those of the same owner.
func TestStandIn_Person(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*testing.T, *stack, string){
		"verify": func(t *testing.T, s *stack, id string) {
			s.do(t, "POST", "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
		},
		"weekly_check": func(t *testing.T, s *stack, _ string) {
			s.clock.Advance(8 * 24 * time.Hour)
			s.sweepNow(t)
		},
		"refresh": func(t *testing.T, s *stack, id string) {
			s.do(t, "POST", "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
			s.clock.Advance(8 * 24 * time.Hour) // the other Page is checked
			s.sweepNow(t)
		},
		"consent": func(t *testing.T, s *stack, id string) {
			if got := s.connect(t, "facebook", "acme", sandbox.Choice{}); !slices.Contains(got, id) {
				t.Errorf("the consent is saved on %v, want %s", got, id)
			}
		},
	}
	for name, way := range ways {
		for _, notice := range []string{"deauthorize", "data-deletion"} {
			t.Run(name+"/"+notice, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				other := s.deployment(t, "facebook")
				var ids []string
				var beta string
				for i, page := range other.connect(t, "facebook", "elsewhere", sandbox.Choice{})[:2] {
					file := other.full(t, page)
					id, _ := importedAs(t, s.importReply(t, "facebook", "acme", false, file), 201)
					ids = append(ids, id)
					if i == 0 {
						beta, _ = importedAs(t, s.importReply(t, "facebook", "beta", false, file), 201)
						ids = append(ids, beta)
					}
				}
				s.clock.Advance(time.Minute)
				way(t, s, ids[0])
				s.clock.Advance(time.Minute)
				person := s.sandbox.People("facebook")[0].ID
				if r := s.do(t, "POST", "/platforms/facebook/"+notice, signedRequest(s, person)); r.StatusCode != 200 {
					t.Fatal(r.Body)
				}
				left := s.connections(t)
				for _, c := range left {
					if notice == "data-deletion" || c["status"] != "needs_reauth" {
						t.Errorf("after the notice %v of %v is %v", c["id"], c["owner"], c["status"])
					}
				}
				if notice == "deauthorize" && len(left) < 3 {
					t.Errorf("%d connections are left", len(left))
				}
			})
		}
	}
}
