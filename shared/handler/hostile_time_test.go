package handler_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// TestHostileTime sends hostile requests after time has passed.
func TestHostileTime(t *testing.T) {
	t.Parallel()
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, s *stack)
	}{
		{"03_unknown_state_looks_like_an_expired_one", unknownState},
		{"06_state_expired_a_second_ago", stateExpired},
		{"26_link_expired_a_second_ago", linkExpired},
		{"41_schedule_twice_at_once", scheduleTwice},
		{"46_revoke_endpoint_down", revokeDown},
		{"clock_goes_back", clockGoesBack},
		{"imported_client_that_is_refused", importedClientRefused},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			attack.run(t, newStack(t))
		})
	}
}

func unknownState(t *testing.T, s *stack) {
	expired := s.flow(t, "youtube", sandbox.Choice{})
	s.clock.Advance(11 * time.Minute)
	want := expired.finish(t)
	want.refused(t, 400, connector.StateInvalid)
	unknown := strings.Repeat("A", 43)
	got := s.do(t, http.MethodGet, "/oauth/youtube/callback?code=test-code&state="+unknown, withCookie(browserCookie(unknown)+"="+unknown))
	got.refused(t, 400, connector.StateInvalid)
	if withoutID(got) != withoutID(want) || len(got.Cookies) != len(want.Cookies) {
		t.Errorf("unknown: %s\nexpired: %s", got.Body, want.Body)
	}
}

func stateExpired(t *testing.T, s *stack) {
	f := s.flow(t, "tiktok", sandbox.Choice{})
	s.clock.Advance(10*time.Minute + time.Second) // the store in memory does not delete expired states
	f.finish(t).refused(t, 400, connector.StateInvalid)
	if n := f.exchanges(); n != 0 {
		t.Errorf("%d exchanges", n)
	}
}

func linkExpired(t *testing.T, s *stack) {
	expired := s.link(t, map[string]any{"platform": "youtube", "owner": "acme", "expires_in": 1})
	s.clock.Advance(2 * time.Second)
	got, unknown := s.do(t, http.MethodGet, expired), s.do(t, http.MethodGet, "/connect/"+strings.Repeat("C", 43))
	got.refused(t, 410, connector.LinkGone)
	if got.Body != unknown.Body || len(got.Cookies) != 0 {
		t.Errorf("expired: %s, cookies %q\nunknown: %s", got.Body, got.Cookies, unknown.Body)
	}
}

func scheduleTwice(t *testing.T, s *stack) {
	id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
	s.clock.Advance(7000 * time.Second)
	var schedulers sync.WaitGroup
	for range 5 {
		schedulers.Go(func() {
			if _, err := s.functions["refresh"](invocation(context.WithoutCancel(t.Context())), []byte("{}")); err != nil {
				t.Errorf("refresh: %v", err)
			}
		})
	}
	schedulers.Wait()
	if queued := s.queue.Drain(); len(queued) != 1 || queued[0].ID != id {
		t.Errorf("queued: %v", queued)
	}
	message := events.SQSMessage{MessageId: "1", Body: `{"connection_id":"` + id + `"}`}
	again := message
	again.MessageId = "2"
	for range 2 {
		if answer, failure := s.invoke(t, "refresh-worker", string(encode(t, events.SQSEvent{Records: []events.SQSMessage{message, again}}))); failure != nil || len(answer["batchItemFailures"].([]any)) != 0 {
			t.Errorf("%v, %v", answer, failure)
		}
	}
	if n := s.sandbox.Count("twitter", "token/refresh_token"); n != 1 {
		t.Errorf("%d refreshes", n)
	}
}

func revokeDown(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	s.sandbox.Fault(sandbox.Fault{Platform: "youtube", Endpoint: "revoke", Kind: sandbox.Outage, Times: 2})
	if got := s.do(t, http.MethodDelete, "/connections/"+id); got.StatusCode != 204 {
		t.Fatalf("%d %s", got.StatusCode, got.Body)
	}
	if c := s.show(t, id); c["status"] != "disconnected" || c["status_reason"] != "revocation_pending" {
		t.Errorf("%v", c)
	}
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure == nil {
		t.Error("a token after the disconnect")
	}
	for range 2 {
		s.clock.Advance(2 * time.Hour)
		if _, failure := s.invoke(t, "refresh", `{}`); failure != nil {
			t.Fatal(failure)
		}
		for _, due := range s.queue.Drain() {
			batch := events.SQSEvent{Records: []events.SQSMessage{{MessageId: "1", Body: messageOf(due)}}}
			if _, failure := s.invoke(t, "refresh-worker", string(encode(t, batch))); failure != nil {
				t.Fatal(failure)
			}
		}
	}
	if n := s.sandbox.Count("youtube", "revoke"); n != 3 {
		t.Errorf("%d revocations were tried, want 3", n)
	}
	if got := s.show(t, id)["status_reason"]; got != "" {
		t.Errorf("status_reason %v", got)
	}
}

func clockGoesBack(t *testing.T, s *stack) {
	id := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
	f := s.flow(t, "youtube", sandbox.Choice{})
	s.clock.Advance(-24 * time.Hour)
	if got := f.finish(t); got.StatusCode >= 500 {
		t.Errorf("callback: %d %s", got.StatusCode, got.Body)
	}
	if _, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`); failure != nil {
		t.Errorf("token: %v", failure)
	}
	if _, failure := s.invoke(t, "refresh", `{}`); failure != nil {
		t.Errorf("refresh: %v", failure)
	}
}

func importedClientRefused(t *testing.T, s *stack) {
	for name, id := range map[string]string{"youtube": "client_id", "twitter": "client_id", "tiktok": "client_key"} {
		credentials := map[string]string{id: "test-no-such-client", "client_secret": "test-secret", "access_token": "test-access", "refresh_token": "test-refresh"}
		if name == "tiktok" {
			credentials["open_id"] = "test-open-id"
		}
		sound := s.connect(t, name, "acme", sandbox.Choice{})[0]
		s.clock.Advance(25 * time.Hour) // past the expiry of every access token
		refused := s.importUnverified(t, name, "mallory", credentials)
		for range 8 {
			s.do(t, http.MethodPost, "/connections/"+refused+"/refresh").refused(t, 502, connector.AppMisconfigured)
			s.clock.Advance(5 * time.Second)
		}
		s.do(t, http.MethodGet, "/connections/"+sound+"/token").decode(t, 200, &struct{}{})

		// After an outage, the refused client must not keep the breaker open for
		// the connections of the configured app.
		s.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: "token/refresh_token", Kind: sandbox.Outage, Times: -1})
		for range 10 {
			s.do(t, http.MethodPost, "/connections/"+sound+"/refresh")
			s.clock.Advance(time.Minute)
		}
		s.sandbox.ClearFaults()
		s.clock.Advance(2 * time.Hour)
		s.do(t, http.MethodPost, "/connections/"+refused+"/refresh").refused(t, 502, connector.AppMisconfigured)
		s.do(t, http.MethodGet, "/connections/"+sound+"/token").decode(t, 200, &struct{}{})

		// Only the imported connection fails, and its failures delay its refreshes.
		if c := s.show(t, refused); c["status"] != "active" || c["failures"] == 0.0 {
			t.Errorf("%s: %v", name, c)
		}
	}
}
