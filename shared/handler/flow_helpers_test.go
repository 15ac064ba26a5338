package handler_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/sandbox"
)

// flow is an authorization that the person has granted at the platform. The
// browser has not requested the callback yet.
type flow struct {
	s                *stack
	platform         string
	callback, cookie string
}

func (s *stack) flow(t *testing.T, platform string, choice sandbox.Choice) flow {
	t.Helper()
	return s.flowOf(t, platform, s.link(t, map[string]any{"platform": platform, "owner": "acme"}), choice)
}

func (s *stack) flowOf(t *testing.T, platform, link string, choice sandbox.Choice) flow {
	t.Helper()
	callback, cookie := s.authorize(t, link, choice)
	return flow{s, platform, callback, cookie}
}

// finish requests the callback in the browser of the authorization.
func (f flow) finish(t *testing.T, changes ...change) reply {
	t.Helper()
	return f.s.do(t, http.MethodGet, f.callback, append([]change{withCookie(f.cookie)}, changes...)...)
}

// exchanges returns how often the platform has received a code.
func (f flow) exchanges() int { return f.s.sandbox.Count(f.platform, "token/authorization_code") }

// connections returns the connections of all owners.
func (s *stack) connections(t *testing.T) []map[string]any {
	t.Helper()
	var list struct{ Connections []map[string]any }
	s.do(t, http.MethodGet, "/connections?limit=100").decode(t, 200, &list)
	return list.Connections
}

func (s *stack) show(t *testing.T, id string) (c map[string]any) {
	t.Helper()
	s.do(t, http.MethodGet, "/connections/"+id).decode(t, 200, &c)
	return c
}

// full returns the full credentials of a connection.
func (s *stack) full(t *testing.T, id string) map[string]any {
	t.Helper()
	answer, failure := s.invoke(t, "token-get", `{"connection_id":"`+id+`","full":true}`)
	if failure != nil {
		t.Fatal(failure)
	}
	return answer["credentials"].(map[string]any)
}

// elsewhere returns a file that another tool of a person has, of a consent to the same app
// that this connector knows nothing of, and its account.
func (s *stack) elsewhere(t *testing.T, platform string, choice sandbox.Choice) (credentials map[string]any, account string) {
	t.Helper()
	other := s.deployment(t, platform)
	id := other.connect(t, platform, "elsewhere", choice)[0]
	return other.full(t, id), other.show(t, id)["account_id"].(string)
}

// deployment returns another connector, with records and secrets of its own and the same
// app on the same platform.
func (s *stack) deployment(t *testing.T, platform string) *stack {
	t.Helper()
	other, service := *s, *s.service
	other.service = &service
	other.store, other.vault, other.queue, other.events = connectortest.NewStore(), connectortest.NewVault(), connectortest.NewQueue(), connectortest.NewEvents()
	service.SuspensionCache = &connector.SuspensionCache{}
	other.hook(nil)
	other.functions = functions(handler.New(&service, service.Log, nil))
	other.putApp(t, platform)
	return &other
}

// process returns a second process over the same records, secrets and platforms, with h
// around its calls of the ports.
func (s *stack) process(h connectortest.Hook) *stack {
	other, service := *s, *s.service
	other.service = &service
	service.SuspensionCache = &connector.SuspensionCache{}
	other.hook(h)
	other.functions = functions(handler.New(&service, service.Log, nil))
	return &other
}

// importUnverified imports credentials without asking the platform, and
// returns the id of the connection.
func (s *stack) importUnverified(t *testing.T, platform, owner string, credentials map[string]string) string {
	t.Helper()
	return s.imported(t, platform, owner, false, credentials)
}

// importKeys imports OAuth 1.0a keys of X that lean on the app's keys, and returns the
// id of the connection. Without verify they come with the secrets of the app, which
// an unverified import must know.
func (s *stack) importKeys(t *testing.T, owner string, verify bool) string {
	t.Helper()
	key := s.sandbox.UserKeys()[0]
	credentials := map[string]string{"access_token": key.AccessToken, "access_token_secret": key.AccessTokenSecret}
	if !verify {
		app := s.sandbox.AppOf(sandbox.Twitter)
		credentials["api_key"], credentials["api_secret"] = app.Extras["api_key"], app.Extras["api_secret"]
	}
	return s.imported(t, "twitter", owner, verify, credentials)
}

// imported imports credentials and returns the id of the connection.
func (s *stack) imported(t *testing.T, platform, owner string, verify bool, credentials any) string {
	t.Helper()
	var imported struct{ Connections []struct{ ID string } }
	s.do(t, http.MethodPost, "/connections", withJSON(t, map[string]any{
		"platform": platform, "owner": owner, "verify": verify, "credentials": credentials,
	})).decode(t, 201, &imported)
	return imported.Connections[0].ID
}

// withoutID returns the body of a problem without the id of its invocation.
func withoutID(r reply) string { return strings.ReplaceAll(r.Body, requestID, "") }

func browserCookie(state string) string {
	return connector.BrowserCookie(connector.NewSecret(state), true)
}

// rawFields returns fields as the sandbox's faults take them.
func rawFields(t *testing.T, fields map[string]string) map[string]json.RawMessage {
	t.Helper()
	raw := map[string]json.RawMessage{}
	for name, value := range fields {
		raw[name] = encode(t, value)
	}
	return raw
}
