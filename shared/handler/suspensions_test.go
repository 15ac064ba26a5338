package handler_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/sandbox"
)

// suspension is the JSON form of a suspension.
type suspension struct {
	ID           string    `json:"id"`
	ConnectionID string    `json:"connection_id"`
	Owner        string    `json:"owner"`
	Platform     string    `json:"platform"`
	All          bool      `json:"all"`
	Reason       string    `json:"reason"`
	Rest         bool      `json:"rest"`
	CreatedAt    time.Time `json:"created_at"`
	CreatedBy    string    `json:"created_by"`
}

// suspend creates a suspension as the operator.
func (s *stack) suspend(t *testing.T, body map[string]any) (created suspension) {
	t.Helper()
	s.do(t, http.MethodPost, "/suspensions", withJSON(t, body), as(role+"all/session")).decode(t, 201, &created)
	return created
}

func TestConnections_Suspensions(t *testing.T) {
	t.Parallel()
	t.Run("nothing_is_signed", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		sign := func() reply {
			return s.do(t, http.MethodPost, "/connections/"+id+"/sign", signing(t, http.MethodGet, usersMe, nil))
		}
		suspended := s.suspend(t, map[string]any{"owner": "acme", "reason": "a test"})
		sign().refused(t, http.StatusForbidden, connector.Suspended)
		if got := s.do(t, http.MethodDelete, "/suspensions/"+suspended.ID); got.StatusCode != http.StatusNoContent {
			t.Fatalf("deleting the suspension: status %d", got.StatusCode)
		}
		var signed struct{ Authorization string }
		sign().decode(t, http.StatusOK, &signed)
	})
	// Every form of a token request, by HTTP and by direct invocation.
	t.Run("no_form_of_token_is_handed_out", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
		account := s.account(t, id)
		for name, target := range map[string]map[string]any{
			"connection": {"connection_id": id}, "owner": {"owner": "acme"}, "platform": {"platform": "youtube"}, "all": {"all": true},
		} {
			target["reason"], target["rest"] = "leaked key, incident 42", true
			created := s.suspend(t, target)
			for _, query := range []string{"", "?force_refresh=true", "?full=true", "?min_ttl_seconds=3600", "?scopes=none.such"} {
				refused := s.do(t, http.MethodGet, "/connections/"+id+"/token"+query).refused(t, 403, connector.Suspended)
				if !strings.Contains(refused.Detail, "leaked key, incident 42") {
					t.Errorf("suspended by %s: detail %q", name, refused.Detail)
				}
			}
			for _, payload := range []string{
				`{"connection_id":"` + id + `"}`, `{"owner":"acme","platform":"youtube"}`,
				`{"owner":"acme","platform":"youtube","account_id":"` + account + `"}`,
				`{"connection_id":"` + id + `","force_refresh":true}`, `{"connection_id":"` + id + `","full":true}`,
				`{"owner":"acme","platform":"youtube","full":true,"force_refresh":true}`,
			} {
				if _, failure := s.invoke(t, "token-get", payload); failure == nil || failure.Type != "Suspended" || !strings.Contains(failure.Message, "leaked key, incident 42") {
					t.Errorf("suspended by %s: %s: %v", name, payload, failure)
				}
			}
			for _, route := range []string{"/verify", "/refresh"} {
				s.do(t, http.MethodPost, "/connections/"+id+route).refused(t, 403, connector.Suspended)
			}
			var shown struct {
				Suspended       bool   `json:"suspended"`
				SuspendedReason string `json:"suspended_reason"`
			}
			s.do(t, http.MethodGet, "/connections/"+id).decode(t, 200, &shown)
			if !shown.Suspended || shown.SuspendedReason != "leaked key, incident 42" {
				t.Errorf("suspended by %s: shown as %+v", name, shown)
			}

			if deleted := s.do(t, http.MethodDelete, "/suspensions/"+created.ID); deleted.StatusCode != http.StatusNoContent || deleted.Body != "" {
				t.Errorf("deleted: %d %s", deleted.StatusCode, deleted.Body)
			}
			s.do(t, http.MethodGet, "/connections/"+id+"/token").decode(t, 200, &struct{}{})
			if shown := s.do(t, http.MethodGet, "/connections/"+id); strings.Contains(shown.Body, "suspended") {
				t.Errorf("after its deletion: %s", shown.Body)
			}
		}
		if s.sandbox.Count("youtube", "token/refresh_token") != 0 {
			t.Error("the platform was called")
		}
	})
	t.Run("created_listed_deleted", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		var list struct{ Suspensions []suspension }
		s.do(t, http.MethodGet, "/suspensions").decode(t, 200, &list)
		if list.Suspensions == nil || len(list.Suspensions) != 0 {
			t.Errorf("at first: %+v", list)
		}
		first := s.suspend(t, map[string]any{"owner": "acme", "reason": "one"})
		s.clock.Advance(time.Second)
		second := s.suspend(t, map[string]any{"all": true, "reason": "two", "rest": true})
		want := suspension{ID: first.ID, Owner: "acme", Reason: "one", CreatedAt: noon, CreatedBy: role + "all/session"}
		if first != want {
			t.Errorf("created %+v, want %+v", first, want)
		}
		want = suspension{ID: second.ID, All: true, Reason: "two", Rest: true, CreatedAt: noon.Add(time.Second), CreatedBy: role + "all/session"}
		if second != want {
			t.Errorf("created %+v, want %+v", second, want)
		}
		s.do(t, http.MethodGet, "/suspensions").decode(t, 200, &list)
		if len(list.Suspensions) != 2 || list.Suspensions[0] != first || list.Suspensions[1] != second {
			t.Errorf("listed %+v", list)
		}
		var shown suspension
		if s.do(t, http.MethodGet, "/suspensions/"+second.ID).decode(t, 200, &shown); shown != second {
			t.Errorf("shown %+v, want %+v", shown, second)
		}
		s.do(t, http.MethodDelete, "/suspensions/"+first.ID)
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			for _, id := range []string{first.ID, unknownID, "acme"} {
				s.do(t, method, "/suspensions/"+id).refused(t, 404, connector.ConnectionNotFound)
			}
		}
	})
	t.Run("malformed_requests", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for body, names := range map[string]string{
			`{"reason":"x"}`:                                           "exactly one of",
			`{"all":false,"reason":"x"}`:                               "exactly one of",
			`{"owner":"a","all":true,"reason":"x"}`:                    "exactly one of",
			`{"owner":"a"}`:                                            "reason",
			`{"owner":"","reason":"x"}`:                                "owner",
			`{"connection_id":"","all":true,"reason":"x"}`:             "connection_id",
			`{"platform":"myspace","reason":"x"}`:                      "platform",
			`{"all":"true","reason":"x"}`:                              "all",
			`{"all":true,"reason":1}`:                                  "reason",
			`{"all":true,"reason":"x","rest":1}`:                       "rest",
			`{"all":true,"reason":"x","until":"tomorrow"}`:             "until",
			`{"all":true,"reason":"x","created_by":"else"}`:            "created_by",
			`{"all":true,"reason":"a\u0000b"}`:                         "reason",
			`{"all":true,"all":true,"reason":"x"}`:                     "all",
			`{"all":true,"reason":"` + strings.Repeat("a", 257) + `"}`: "reason",
		} {
			refused := s.do(t, http.MethodPost, "/suspensions", withBody(jsonType, body)).refused(t, 400, connector.InvalidRequest)
			if !strings.Contains(refused.Detail, names) {
				t.Errorf("%s: %q does not name %s", body, refused.Detail, names)
			}
		}
		s.do(t, http.MethodPost, "/suspensions", withBody(jsonType, `{"connection_id":"`+unknownID+`","reason":"x"}`)).refused(t, 404, connector.ConnectionNotFound)
		s.do(t, http.MethodGet, "/suspensions?owner=acme").refused(t, 400, connector.InvalidRequest)
		s.do(t, http.MethodDelete, "/suspensions/"+unknownID+"?purge=true").refused(t, 400, connector.InvalidRequest)
	})
	// A confined caller is told so before anything is read, whatever it asks for.
	t.Run("confined_caller", func(t *testing.T) {
		t.Parallel()
		s, acme, _ := confinedStack(t)
		created := s.suspend(t, map[string]any{"owner": "acme", "reason": "incident 42"})
		own := as(role + "acme/session")
		for _, row := range []struct {
			method, target string
			changes        []change
		}{
			{http.MethodPost, "/suspensions", []change{withBody(jsonType, `{"all":true,"reason":"x"}`)}},
			{http.MethodPost, "/suspensions", []change{withBody(jsonType, `{"owner":"acme","reason":"x"}`)}},
			{http.MethodPost, "/suspensions", []change{withBody(jsonType, `{"connection_id":"`+acme+`","reason":"x"}`)}},
			{http.MethodGet, "/suspensions", nil},
			{http.MethodGet, "/suspensions/" + created.ID, nil},
			{http.MethodGet, "/suspensions/" + unknownID, nil},
			{http.MethodDelete, "/suspensions/" + created.ID, nil},
		} {
			s.do(t, row.method, row.target, append(row.changes, own)...).refused(t, 400, connector.InvalidRequest)
		}
		s.do(t, http.MethodGet, "/connections/"+acme+"/token", own).refused(t, 403, connector.Suspended)
		if failure := s.invokeAs(t, acmesAlias, `{"connection_id":"`+acme+`"}`); !strings.HasPrefix(failure, "Suspended") {
			t.Errorf("by its alias: %q", failure)
		}
	})
	t.Run("log_names_suspension_and_caller", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		created := s.suspend(t, map[string]any{"all": true, "reason": "incident 42"})
		s.do(t, http.MethodDelete, "/suspensions/"+created.ID, as(role+"other/session"))
		logged := map[string]any{}
		for _, line := range s.logs.lines(t) {
			if line["suspension_id"] == created.ID && line["connection_id"] == nil {
				logged[fmt.Sprint(line["route"])] = line["caller"]
			}
		}
		if logged["POST /suspensions"] != role+"all/session" || logged["DELETE /suspensions/{id}"] != role+"other/session" {
			t.Errorf("logged %v", logged)
		}
	})
	// The caller of an event that names no principal is not known.
	t.Run("caller_that_is_no_arn", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.confine(handler.Callers{"*": {"*"}})
		var created suspension
		s.do(t, http.MethodPost, "/suspensions", withBody(jsonType, `{"all":true,"reason":"x"}`), as("someone\nelse")).decode(t, 201, &created)
		if created.CreatedBy != "" {
			t.Errorf("created by %q", created.CreatedBy)
		}
	})
}

// A message of the queue for a connection that rests is done with: it is neither
// delivered again nor dead.
func TestRefreshWorker_Resting(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	id := s.connect(t, "tiktok", "acme", sandbox.Choice{})[0]
	s.clock.Advance(23 * time.Hour)
	s.suspend(t, map[string]any{"platform": "tiktok", "reason": "incident 42", "rest": true})
	batch := `{"Records":[{"messageId":"1","body":"{\"kind\":\"connection\",\"id\":\"` + id + `\"}"}]}`
	answer, failure := s.invoke(t, "refresh-worker", batch)
	if failure != nil || len(answer["batchItemFailures"].([]any)) != 0 {
		t.Errorf("answer %v, %v", answer, failure)
	}
	if !strings.Contains(s.logs.String(), `"refresh":"suspended"`) || s.sandbox.Count("tiktok", "token/refresh_token") != 0 {
		t.Error("the connection was refreshed")
	}
}
