package handler_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/sandbox"
)

// incidents collects what would ring.
func (s *stack) incidents() *[]connector.Incident {
	var seen []connector.Incident
	s.service.OnIncident = func(i connector.Incident) { seen = append(seen, i) }
	return &seen
}

// A state that is shown with a cookie that is not its own rings; what previews,
// double clicks and old links send does not. The browser is told the same.
func TestIncident_ForeignCookie(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		show func(t *testing.T, s *stack, callback, cookie string) reply
		want int
	}{
		"cookie_of_its_own_making": {func(t *testing.T, s *stack, callback, cookie string) reply {
			name, _, _ := strings.Cut(cookie, "=")
			return s.do(t, http.MethodGet, callback, withCookie(name+"="+strings.Repeat("B", 43)))
		}, 1},
		"record_with_another_owner": {func(t *testing.T, s *stack, callback, cookie string) reply {
			s.changeState(t, callback, func(body []byte) []byte {
				return bytes.Replace(body, []byte(`"owner":"acme"`), []byte(`"owner":"mallory"`), 1)
			})
			return s.do(t, http.MethodGet, callback, withCookie(cookie))
		}, 1},
		"no_cookie": {func(t *testing.T, s *stack, callback, _ string) reply {
			return s.do(t, http.MethodGet, callback)
		}, 0},
		"malformed_cookie": {func(t *testing.T, s *stack, callback, cookie string) reply {
			name, _, _ := strings.Cut(cookie, "=")
			return s.do(t, http.MethodGet, callback, withCookie(name+"=short"))
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			seen := s.incidents()
			callback, cookie := s.authorize(t, s.link(t, map[string]any{"platform": "youtube", "owner": "acme"}), sandbox.Choice{})
			row.show(t, s, callback, cookie).refused(t, http.StatusBadRequest, connector.StateInvalid)
			if len(*seen) != row.want {
				t.Errorf("incidents: %v, want %d", *seen, row.want)
			}
			if name == "record_with_another_owner" && len(s.connections(t)) > 0 {
				t.Errorf("the consent was connected: %v", s.connections(t))
			}
		})
	}
}

// changeState changes the body of the ticket of a callback's state, as a writer to
// the table can.
func (s *stack) changeState(t *testing.T, callback string, change func([]byte) []byte) {
	t.Helper()
	u, err := url.Parse(callback)
	if err != nil {
		t.Fatal(err)
	}
	key := connector.RecordKey{Kind: connector.StateKind, ID: hash(u.Query().Get("state"))}
	ticket, err := s.store.Ticket(t.Context(), key, s.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.store.Commit(t.Context(), connector.Change{Drop: []connector.RecordKey{key}}); err != nil {
		t.Fatal(err)
	}
	changed := change(ticket.Body)
	if bytes.Equal(changed, ticket.Body) {
		t.Fatal("nothing was changed")
	}
	ticket.Body = changed
	if _, err := s.store.Commit(t.Context(), connector.Change{Put: []connector.Ticket{ticket}}); err != nil {
		t.Fatal(err)
	}
}

// Each way to ask for the token of the decoy rings once. The answer is the one that
// an ordinary connection with a dead grant has for the same request.
func TestIncident_DecoyUsed(t *testing.T) {
	t.Parallel()
	direct := func(payload string) func(*testing.T, *stack, string) {
		return func(t *testing.T, s *stack, id string) {
			s.invokeAs(t, tokenGet, strings.NewReplacer("ID", id, "ACCOUNT", s.account(t, id)).Replace(payload))
		}
	}
	for name, use := range map[string]func(t *testing.T, s *stack, id string){
		"by_id":              direct(`{"connection_id":"ID"}`),
		"by_owner":           direct(`{"owner":"vault","platform":"twitter"}`),
		"by_account":         direct(`{"owner":"vault","platform":"twitter","account_id":"ACCOUNT"}`),
		"by_id_and_owner":    direct(`{"connection_id":"ID","owner":"vault"}`),
		"with_another_owner": direct(`{"connection_id":"ID","owner":"acme"}`),
		"forced":             direct(`{"connection_id":"ID","force_refresh":true}`),
		"lacking_scopes":     direct(`{"connection_id":"ID","scopes":["no.such.scope"]}`),
		"full":               direct(`{"connection_id":"ID","full":true}`),
		"by_request":         func(t *testing.T, s *stack, id string) { s.do(t, http.MethodGet, "/connections/"+id+"/token") },
		"signature": func(t *testing.T, s *stack, id string) {
			s.do(t, http.MethodPost, "/connections/"+id+"/sign", signing(t, http.MethodGet, usersMe, nil))
		},
		"full_where_it_is_off": func(t *testing.T, s *stack, id string) {
			s.service.AllowFull = false
			s.invokeAs(t, tokenGet, `{"connection_id":"`+id+`","full":true}`)
		},
		"malformed_signature": func(t *testing.T, s *stack, id string) {
			s.do(t, http.MethodPost, "/connections/"+id+"/sign", signing(t, "TRACE", usersMe, nil))
		},
		"disconnected": func(t *testing.T, s *stack, id string) {
			s.do(t, http.MethodDelete, "/connections/"+id)
			s.invokeAs(t, tokenGet, `{"connection_id":"`+id+`"}`)
		},
		"suspended": func(t *testing.T, s *stack, id string) {
			s.suspend(t, map[string]any{"all": true, "reason": "incident 42"})
			s.invokeAs(t, tokenGet, `{"connection_id":"`+id+`"}`)
		},
		"confined_caller": func(t *testing.T, s *stack, id string) {
			s.confine(handler.Callers{acmesAlias: {"acme"}})
			s.invokeAs(t, acmesAlias, `{"connection_id":"`+id+`"}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			seen := s.incidents()
			id := s.importKeys(t, "vault", false)
			s.service.Decoy = connector.ID(id)
			s.show(t, id)
			if len(*seen) > 0 {
				t.Fatalf("showing the record: %v", *seen)
			}
			use(t, s, id)
			if len(*seen) != 1 || (*seen)[0] != connector.DecoyUsed {
				t.Errorf("incidents: %v, want one %s", *seen, connector.DecoyUsed)
			}
		})
	}
}

// The answers for the decoy are those of an ordinary connection that the platform
// refused, byte for byte but for the id: whoever asks must not learn that it rang.
func TestIncident_DecoyUsed_Answer(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, s *stack, id string){
		"refused": func(*testing.T, *stack, string) {},
		"suspended": func(t *testing.T, s *stack, _ string) {
			s.suspend(t, map[string]any{"all": true, "reason": "incident 42"})
		},
		"disconnected": func(t *testing.T, s *stack, id string) {
			s.do(t, http.MethodDelete, "/connections/"+id)
		},
		"confined_caller": func(_ *testing.T, s *stack, _ string) {
			s.confine(handler.Callers{tokenGet: {"acme"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var answers []string
			for _, decoy := range []bool{false, true} {
				s := newStack(t)
				id := s.importKeys(t, "vault", false)
				if decoy {
					s.service.Decoy = connector.ID(id)
				} else {
					s.markRefused(t, id)
				}
				prepare(t, s, id)
				for _, payload := range []string{`{"connection_id":"` + id + `"}`, `{"owner":"vault","platform":"twitter"}`} {
					answers = append(answers, s.invokeAs(t, tokenGet, payload))
				}
				r := s.do(t, http.MethodGet, "/connections/"+id+"/token")
				answers = append(answers, fmt.Sprint(r.StatusCode), strings.ReplaceAll(r.Body, id, "ID"))
			}
			half := len(answers) / 2
			if diff := cmp.Diff(answers[:half], answers[half:]); diff != "" {
				t.Errorf("the decoy (+) is not answered as an ordinary connection (-):\n%s", diff)
			}
		})
	}
}

// The log line of the request is an error, and names the caller and the decoy, also
// where the request does not name it.
func TestIncident_DecoyUsed_Log(t *testing.T) {
	t.Parallel()
	for name, payload := range map[string]string{
		"by_id": `{"connection_id":"ID"}`, "by_owner": `{"owner":"vault","platform":"twitter"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStack(t)
			id := s.importKeys(t, "vault", false)
			s.service.Decoy = connector.ID(id)
			answer := s.invokeAs(t, tokenGet, strings.ReplaceAll(payload, "ID", id))
			var found bool
			for _, line := range s.logs.lines(t) {
				text := fmt.Sprint(line["error"])
				found = found || line["level"] == "ERROR" && line["caller"] == tokenGet && strings.Contains(text, "decoy") && strings.Contains(text, id)
			}
			if !found {
				t.Errorf("no error line names the caller and the decoy: %v", s.logs.lines(t))
			}
			if strings.Contains(answer, "decoy") {
				t.Errorf("the answer is %q", answer)
			}
		})
	}
}

// markRefused marks a connection as one whose grant the platform refused.
func (s *stack) markRefused(t *testing.T, id string) {
	t.Helper()
	c, err := s.store.Connection(t.Context(), connector.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	refused := c
	refused.Status, refused.StatusReason = connector.NeedsReauth, "grant_refused"
	if _, err := s.store.Commit(t.Context(), connector.Change{Before: &c, After: &refused}); err != nil {
		t.Fatal(err)
	}
}
