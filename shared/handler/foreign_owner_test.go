package handler_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

// recorded are the names of the calls of ports.
type recorded struct {
	mu    sync.Mutex
	calls []string
}

// record records every call of the ports from here on.
func (s *stack) record() *recorded {
	r := &recorded{}
	s.hook(func(_ context.Context, call connectortest.Call, next func() error) error {
		r.mu.Lock()
		r.calls = append(r.calls, call.Name)
		r.mu.Unlock()
		return next()
	})
	return r
}

// during returns the calls that act makes, in the order of their names: some are
// made at once.
func (r *recorded) during(act func()) string {
	r.mu.Lock()
	r.calls = nil
	r.mu.Unlock()
	act()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.calls)
	return strings.Join(r.calls, " ")
}

// TestHandler_Callers_Reads: how long a call takes must not tell what another
// owner has. A call that names another owner reads and writes nothing at all. A
// call that names the connection of one makes the calls that it makes for an
// absent connection.
func TestHandler_Callers_Reads(t *testing.T) {
	t.Parallel()
	s, _, globex := confinedStack(t)
	account := s.account(t, globex)
	confined := s.functions
	s.confine(nil)
	held := s.hold(t, "tiktok", "globex", sandbox.Choice{})
	s.functions = confined
	ports := s.record()

	body := func(format string, values ...any) change { return withBody(jsonType, fmt.Sprintf(format, values...)) }
	cursor := base64.RawURLEncoding.EncodeToString([]byte("after " + globex))
	nothing := change(func(*events.APIGatewayV2HTTPRequest) {})
	ask := func(method, target string, change change) func() {
		return func() {
			s.clock.Advance(time.Minute) // nothing that was read before is fresh
			s.do(t, method, target, change, as(role+"acme/session"))
		}
	}
	invoke := func(payload string) func() {
		return func() {
			s.clock.Advance(time.Minute)
			if failure := s.invokeAs(t, acmesAlias, payload); !strings.HasPrefix(failure, "ConnectionNotFound") {
				t.Errorf("%s: %q", payload, failure)
			}
		}
	}

	for name, call := range map[string]func(){
		"list":                         ask("GET", "/connections?owner=globex", nothing),
		"list a platform":              ask("GET", "/connections?owner=globex&platform=youtube", nothing),
		"list a status":                ask("GET", "/connections?owner=globex&status=disconnected&limit=1", nothing),
		"list with a cursor":           ask("GET", "/connections?owner=globex&cursor="+cursor, nothing),
		"link":                         ask("POST", "/links", body(`{"platform":"youtube","owner":"globex"}`)),
		"link to confirm":              ask("POST", "/links", body(`{"platform":"youtube","owner":"globex","confirm":true,"return_url":%q}`, returnURL)),
		"link to re-authorize":         ask("POST", "/links", body(`{"platform":"youtube","owner":"globex","connection_id":%q}`, globex)),
		"import":                       ask("POST", "/connections", body(`{"platform":"youtube","owner":"globex","credentials":{"access_token":"x","refresh_token":"y"}}`)),
		"import without a check":       ask("POST", "/connections", body(`{"platform":"youtube","owner":"globex","verify":false,"credentials":{"access_token":"x","refresh_token":"y"}}`)),
		"import by hand":               ask("POST", "/connections", body(`{"platform":"tiktok","owner":"globex"}`)),
		"confirm":                      ask("POST", "/connections/confirm", body(`{"confirmation":%q,"owner":"globex"}`, held)),
		"suspend":                      ask("POST", "/suspensions", body(`{"owner":"globex","reason":"x"}`)),
		"suspend a connection":         ask("POST", "/suspensions", body(`{"connection_id":%q,"reason":"x"}`, globex)),
		"token by owner":               invoke(`{"owner":"globex","platform":"youtube"}`),
		"token by owner, forced":       invoke(`{"owner":"globex","platform":"youtube","force_refresh":true}`),
		"token by owner, full":         invoke(`{"owner":"globex","platform":"youtube","full":true}`),
		"token by account":             invoke(`{"owner":"globex","platform":"youtube","account_id":"` + account + `"}`),
		"token by id and owner":        invoke(`{"owner":"globex","connection_id":"` + globex + `"}`),
		"token by id, owner, platform": invoke(`{"owner":"globex","platform":"youtube","connection_id":"` + globex + `"}`),
	} {
		t.Run("owner/"+name, func(t *testing.T) {
			if calls := ports.during(call); calls != "" {
				t.Errorf("it made the calls %s, want none", calls)
			}
		})
	}

	of := func(id string) string { return "/connections/" + id }
	for name, call := range map[string]func(id string) func(){
		"show":        func(id string) func() { return ask("GET", of(id), nothing) },
		"token":       func(id string) func() { return ask("GET", of(id)+"/token", nothing) },
		"full token":  func(id string) func() { return ask("GET", of(id)+"/token?full=true", nothing) },
		"force token": func(id string) func() { return ask("GET", of(id)+"/token?force_refresh=true", nothing) },
		"verify":      func(id string) func() { return ask("POST", of(id)+"/verify", nothing) },
		"refresh":     func(id string) func() { return ask("POST", of(id)+"/refresh", nothing) },
		"usage":       func(id string) func() { return ask("POST", of(id)+"/usage", body(`{"posts":1}`)) },
		"disconnect":  func(id string) func() { return ask("DELETE", of(id), nothing) },
		"purge":       func(id string) func() { return ask("DELETE", of(id)+"?purge=true", nothing) },
		"re-authorize": func(id string) func() {
			return ask("POST", "/links", body(`{"platform":"youtube","owner":"acme","connection_id":%q}`, id))
		},
		"direct token":               func(id string) func() { return invoke(`{"connection_id":"` + id + `"}`) },
		"direct token with an owner": func(id string) func() { return invoke(`{"owner":"acme","connection_id":"` + id + `"}`) },
		"direct token of an account": func(id string) func() { return invoke(`{"connection_id":"` + id + `","account_id":"` + account + `"}`) },
		"direct token of a platform": func(id string) func() { return invoke(`{"connection_id":"` + id + `","platform":"youtube"}`) },
		"direct token with full":     func(id string) func() { return invoke(`{"connection_id":"` + id + `","full":true}`) },
	} {
		t.Run("connection/"+name, func(t *testing.T) {
			another, absent := ports.during(call(globex)), ports.during(call(unknownID))
			if another != absent || another == "" {
				t.Errorf("for another owner's: %s\nfor an absent one:  %s", another, absent)
			}
		})
	}

	// A caller of several owners that names none reads its own owners alone.
	t.Run("listing_of_own_owners", func(t *testing.T) {
		calls := ports.during(ask("GET", "/connections", nothing))
		if calls != "Store.Connections Store.Connections" {
			t.Errorf("it made the calls %s, want one for each owner", calls)
		}
		var list struct{ Connections []struct{ Owner string } }
		s.do(t, http.MethodGet, "/connections", as(role+"acme/session")).decode(t, 200, &list)
		if len(list.Connections) != 1 || list.Connections[0].Owner != "acme" {
			t.Errorf("listed %+v", list)
		}
	})
}
