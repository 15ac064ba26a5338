package handler_test

import (
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
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
		"state_a_second_time": {func(t *testing.T, s *stack, callback, cookie string) reply {
			s.do(t, http.MethodGet, callback, withCookie(cookie))
			return s.do(t, http.MethodGet, callback, withCookie(cookie))
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

// Any request for the token of the decoy rings, and is answered as for a grant that
// is gone. A look at its record does not ring.
func TestIncident_DecoyUsed(t *testing.T) {
	t.Parallel()
	for name, use := range map[string]func(t *testing.T, s *stack, id string){
		"by_id": func(t *testing.T, s *stack, id string) { s.invoke(t, "token-get", `{"connection_id":"`+id+`"}`) },
		"by_owner": func(t *testing.T, s *stack, _ string) {
			s.invoke(t, "token-get", `{"owner":"vault","platform":"twitter"}`)
		},
		"full": func(t *testing.T, s *stack, id string) {
			s.invoke(t, "token-get", `{"connection_id":"`+id+`","full":true}`)
		},
		"by_request": func(t *testing.T, s *stack, id string) { s.do(t, http.MethodGet, "/connections/"+id+"/token") },
		"signature": func(t *testing.T, s *stack, id string) {
			s.do(t, http.MethodPost, "/connections/"+id+"/sign", signing(t, http.MethodGet, usersMe, nil))
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
			s.do(t, http.MethodGet, "/connections/"+id+"/token").refused(t, http.StatusConflict, connector.ReauthorizationRequired)
		})
	}
}
