package handler_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// A person who is signed in to TikTok and authorized the app before can still select
// another account.
func TestTikTok_AnotherAccountInOneBrowser(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	for _, person := range s.sandbox.People("tiktok") {
		id := s.connect(t, "tiktok", "acme", sandbox.Choice{Account: person.ID})[0]
		if got := s.account(t, id); got != person.ID {
			t.Errorf("connected %s, want %s", got, person.ID)
		}
	}
}

// goLive replaces TikTok's sandbox app by the live one.
func (s *stack) goLive(t *testing.T) {
	t.Helper()
	s.sandbox.SetClient("tiktok", "sandbox-tiktok-live", "sandbox-tiktok-live-secret")
	s.putApp(t, "tiktok")
}

// An app that went live sees another open_id of the same person. The connection is
// re-authorized for it, and the owner has no second one.
func TestTikTok_LiveApp(t *testing.T) {
	t.Parallel()
	omit := func(omit bool) func(s *stack) {
		return func(s *stack) {
			s.sandbox.Tune(func(k *sandbox.Knobs) { k.TikTok().OmitUnionID = omit })
		}
	}
	nothing := func(*stack) {}
	for _, row := range []struct {
		name          string
		before, after func(s *stack) // of the change of the app
		sameApp       bool
		another       bool // another person consents
		link          bool // with connection_id
		error         connector.Code
		connections   int
	}{
		{"same person", nothing, nothing, false, false, true, "", 1},
		{"union_id unknown", omit(true), nothing, false, false, true, "", 1},
		{"union_id not answered any more", nothing, omit(true), false, false, true, "", 1},
		{"union_id never answered", omit(true), nothing, false, false, true, "", 1},
		{"another person", nothing, nothing, false, true, true, connector.AccountMismatch, 1},
		{"another person, same app", nothing, nothing, true, true, true, connector.AccountMismatch, 1},
		{"another person, same app, union_id unknown", omit(true), nothing, true, true, true, connector.AccountMismatch, 1},
		{"same person by a plain link", nothing, nothing, false, false, false, "", 1},
		{"another person by a plain link", nothing, nothing, false, true, false, "", 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			people := s.sandbox.People("tiktok")
			row.before(s)
			id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
			s.clock.Advance(time.Minute)
			if !row.sameApp {
				s.goLive(t)
			}
			row.after(s)
			body := map[string]any{"platform": "tiktok", "owner": "acme", "return_url": returnURL}
			if row.link {
				body["connection_id"] = id
			}
			choice := sandbox.Choice{}
			if row.another {
				choice.Account = people[1].ID
			}
			ended := s.consent(t, s.link(t, body), choice).Query()
			if got := ended.Get("error"); got != string(row.error) {
				t.Fatalf("the consent ended with %v, want the error %q", ended, row.error)
			}
			if got := len(s.connections(t)); got != row.connections {
				t.Errorf("%d connections, want %d", got, row.connections)
			}
			want := s.sandbox.OpenID("")
			if row.error != "" || row.another {
				want = people[0].ID
			}
			if got := s.account(t, id); got != want {
				t.Errorf("account %s, want %s", got, want)
			}
			if row.error != "" || row.another {
				return
			}
			if got := ended.Get("connection_id"); got != id {
				t.Errorf("connected %s, want %s", got, id)
			}
			if _, failure := s.invoke(t, "token-get", `{"owner":"acme","platform":"tiktok","account_id":"`+people[0].ID+`"}`); failure == nil {
				t.Error("the former open_id still names the connection")
			}
			answer, failure := s.invoke(t, "token-get", `{"owner":"acme","platform":"tiktok","account_id":"`+want+`"}`)
			if failure != nil || answer["connection_id"] != id {
				t.Fatalf("token-get by the new open_id: %v, %v", answer, failure)
			}
			if credentials := answer["credentials"].(map[string]any); credentials["open_id"] != want {
				t.Errorf("credentials %v", credentials)
			}
			s.clock.Advance(3 * time.Hour)
			s.do(t, http.MethodPost, "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})

			// The person is known under the new open_id, too.
			s.clock.Advance(time.Minute)
			s.webhook(t, want).decode(t, 200, &struct{}{})
			if got := status(t, s, id); got != "needs_reauth" {
				t.Errorf("after the person removed the app: %s", got)
			}
		})
	}
}

// A connection that was imported is recognized, too, once the platform accepted it with
// the client of before.
func TestTikTok_LiveApp_Import(t *testing.T) {
	t.Parallel()
	for _, verify := range []bool{true, false} {
		s := newStack(t)
		s.sandbox.Tune(func(k *sandbox.Knobs) { k.TikTok().OmitUnionID = true })
		file, _ := s.elsewhere(t, "tiktok", sandbox.Choice{})
		id := s.imported(t, "tiktok", "acme", verify, file)
		s.do(t, http.MethodPost, "/connections/"+id+"/refresh").decode(t, 200, &struct{}{})
		s.clock.Advance(time.Minute)
		s.goLive(t)
		link := s.link(t, map[string]any{"platform": "tiktok", "owner": "acme", "return_url": returnURL, "connection_id": id})
		if ended := s.consent(t, link, sandbox.Choice{}).Query(); ended.Get("connection_id") != id {
			t.Errorf("verified %t: the consent ended with %v", verify, ended)
		}
		if got := s.connections(t); len(got) != 1 || got[0]["account_id"] != s.sandbox.OpenID("") {
			t.Errorf("verified %t: connections %v", verify, got)
		}
	}
}

// webhook sends the notice that the person removed the app.
func (s *stack) webhook(t *testing.T, openID string) reply {
	t.Helper()
	body, signature := s.sandbox.TikTokNotice("authorization.removed", openID)
	return s.webhookAgain(t, body, signature)
}

func (s *stack) webhookAgain(t *testing.T, body []byte, signature string) reply {
	t.Helper()
	return s.do(t, http.MethodPost, "/platforms/tiktok/webhook", withBody(jsonType, string(body)), with("tiktok-signature", signature))
}

// TikTok retries a webhook for 72 hours. A retry is accepted with the signature of the
// first delivery and with a new one, and changes nothing that changed since.
func TestTikTok_WebhookRetry(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		after  time.Duration
		resign bool // the retry has its own time and signature
		first  bool // the first delivery arrived, too
		status int
		marked bool
	}{
		{"first delivery after an hour", time.Hour, false, false, 200, true},
		{"first delivery after 72 hours", 72 * time.Hour, false, false, 200, true},
		{"signed again after 72 hours", 72 * time.Hour, true, false, 200, true},
		{"older than any retry", 74 * time.Hour, false, false, 401, false},
		{"again after it was taken", time.Hour, false, true, 200, true},
		{"again after it was taken, signed again", time.Hour, true, true, 200, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
			s.clock.Advance(time.Minute)
			body, signature := s.sandbox.TikTokNotice("authorization.removed", s.account(t, id))
			if row.first {
				s.webhookAgain(t, body, signature).decode(t, 200, &struct{}{})
			}
			s.clock.Advance(row.after)
			if row.resign {
				signature = s.sandbox.TikTokSignature(body)
			}
			for range 2 {
				if got := s.webhookAgain(t, body, signature); got.StatusCode != row.status {
					t.Errorf("status %d, want %d", got.StatusCode, row.status)
				}
			}
			if got := status(t, s, id) == "needs_reauth"; got != row.marked {
				t.Errorf("marked %t, want %t", got, row.marked)
			}
			told := 0
			for _, e := range s.events.All() {
				if e.Type == connector.EventReauth {
					told++
				}
			}
			if want := map[bool]int{true: 1}[row.marked]; told != want {
				t.Errorf("told %d times, want %d", told, want)
			}
		})
	}
	// A retry ends neither a later consent nor a grant that proved to work since.
	for name, mend := range map[string]func(t *testing.T, s *stack, id string){
		"consent": func(t *testing.T, s *stack, id string) {
			s.consent(t, s.link(t, map[string]any{"platform": "tiktok", "owner": "acme", "connection_id": id, "return_url": returnURL}), sandbox.Choice{})
		},
		"verification": func(t *testing.T, s *stack, id string) {
			s.do(t, http.MethodPost, "/connections/"+id+"/verify").decode(t, 200, &struct{}{})
		},
	} {
		for how, resign := range map[string]bool{"as it was": false, "signed again": true} {
			t.Run("after a later "+name+", "+how, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
				s.clock.Advance(time.Minute)
				body, signature := s.sandbox.TikTokNotice("authorization.removed", s.account(t, id))
				s.webhookAgain(t, body, signature).decode(t, 200, &struct{}{})
				s.clock.Advance(time.Minute)
				mend(t, s, id)
				s.clock.Advance(time.Hour)
				if resign {
					signature = s.sandbox.TikTokSignature(body)
				}
				s.webhookAgain(t, body, signature).decode(t, 200, &struct{}{})
				if got := status(t, s, id); got != "active" {
					t.Errorf("a retry made the connection %s", got)
				}
			})
		}
	}
	// Without a create_time the notice is as old as its signature.
	t.Run("without create_time", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
		s.clock.Advance(time.Minute)
		body := `{"client_key":"` + s.sandbox.AppOf("tiktok").ClientID + `","event":"authorization.removed","user_openid":"` + s.account(t, id) + `"}`
		signature := s.sandbox.TikTokSignature([]byte(body))
		s.clock.Advance(time.Minute)
		s.consent(t, s.link(t, map[string]any{"platform": "tiktok", "owner": "acme", "connection_id": id, "return_url": returnURL}), sandbox.Choice{})
		s.clock.Advance(time.Hour)
		s.webhookAgain(t, []byte(body), signature).decode(t, 200, &struct{}{})
		if got := status(t, s, id); got != "active" {
			t.Errorf("a replay made the connection %s", got)
		}
	})
}

// An account that is not a target user of the app's sandbox is the operator's matter: the
// person is not told that they refused.
func TestTikTok_SandboxTargetUser(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	people := s.sandbox.People("tiktok")
	s.sandbox.Tune(func(k *sandbox.Knobs) { k.TikTok().TargetUsers = []string{people[0].ID} })
	path := s.link(t, map[string]any{"platform": "tiktok", "owner": "acme"})
	f := s.flowOf(t, "tiktok", path, sandbox.Choice{Account: people[1].ID})
	got := f.finish(t).refused(t, 502, connector.AppMisconfigured)
	if got.Reason != "not_a_target_user" || !strings.Contains(got.Detail, "target users") {
		t.Errorf("reason %q, %q", got.Reason, got.Detail)
	}
	s.flowOf(t, "tiktok", path, sandbox.Choice{Account: people[0].ID}).finish(t).decode(t, 200, &struct{}{})
}
