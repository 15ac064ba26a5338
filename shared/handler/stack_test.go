package handler_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

const (
	publicURL  = "https://connector.example.com"
	returnURL  = "https://product.example.com/done?tab=accounts"
	requestID  = "8f6b3c1e-52d4-4f0a-9b7e-1d2c3a4b5e6f"
	unknownID  = "00000000-0000-4000-8000-000000000000"
	jsonType   = "application/json"
	formType   = "application/x-www-form-urlencoded"
	browserUse = "text/html,application/xhtml+xml,*/*;q=0.8"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// stack has all functions over ports in memory and sandbox platforms.
type stack struct {
	service   *connector.Service
	functions map[string]handler.Function
	clock     *connectortest.Clock
	store     *connectortest.Store
	vault     *connectortest.Vault
	queue     *connectortest.Queue
	events    *connectortest.Events
	sandbox   *sandbox.Sandbox
	logs      *logs
	counted   *counted // what it wrote since count
}

// logs are the log lines of the functions.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// lines returns the log lines, parsed.
func (l *logs) lines(t *testing.T) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for text := range strings.Lines(l.String()) {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("a log line is not JSON: %q", text)
		}
		lines = append(lines, line)
	}
	return lines
}

// newStack returns a stack in which every platform's app is configured.
func newStack(t *testing.T) *stack {
	t.Helper()
	s := &stack{
		clock:  connectortest.NewClock(noon),
		store:  connectortest.NewStore(),
		vault:  connectortest.NewVault(),
		queue:  connectortest.NewQueue(),
		events: connectortest.NewEvents(),
		logs:   &logs{},
	}
	uris := map[string][]string{}
	for _, name := range sandbox.Platforms() {
		uris[name] = []string{publicURL + "/oauth/" + name + "/callback"}
	}
	s.sandbox = sandbox.New(sandbox.Options{Now: s.clock.Now, Random: chance(2), RedirectURIs: uris})
	server := httptest.NewServer(s.sandbox)
	t.Cleanup(server.Close)

	log := slog.New(slog.NewJSONHandler(s.logs, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: handler.BoundAttr}))
	s.service = &connector.Service{
		Platforms: platform.All(platform.Options{HTTP: server.Client(), Endpoints: sandbox.Endpoints(server.URL), Now: s.clock.Now}),
		Now:       s.clock.Now,
		Random:    chance(1),
		Log:       log,
		Sleep: func(ctx context.Context, d time.Duration) error {
			s.clock.Advance(d)
			return ctx.Err()
		},
		PublicURL:       publicURL,
		ReturnOrigins:   []string{"https://product.example.com"},
		AllowFull:       true,
		SuspensionCache: &connector.SuspensionCache{},
	}
	s.hook(nil)
	s.functions = functions(handler.New(s.service, log, nil))
	for name := range uris {
		s.putApp(t, name)
	}
	return s
}

// hook wraps every call of the ports with h. Nil removes the hook.
func (s *stack) hook(h connectortest.Hook) {
	ports := connectortest.Ports{Store: s.store, Vault: s.vault, Sealer: connectortest.Sealer{Hides: true}, Queue: s.queue, Events: s.events}
	ports.Wire(s.service, h, credentialstore.Options{})
}

// confine has the functions confine their callers.
func (s *stack) confine(callers handler.Callers) {
	s.functions = functions(handler.New(s.service, s.service.Log, callers))
}

func functions(h *handler.Handler) map[string]handler.Function {
	return map[string]handler.Function{
		blueprint.OAuthStart:     h.OAuthStart(),
		blueprint.OAuthCallback:  h.OAuthCallback(),
		blueprint.TokenGet:       h.TokenGet(),
		blueprint.Refresh:        h.Refresh(),
		blueprint.RefreshWorker:  h.RefreshWorker(),
		blueprint.Connections:    h.Connections(),
		blueprint.PlatformNotice: h.PlatformNotice(),
	}
}

// chance returns the same random bytes in every run.
func chance(seed byte) *lockedReader {
	return &lockedReader{source: rand.NewChaCha8([32]byte{seed})}
}

type lockedReader struct {
	mu     sync.Mutex
	source *rand.ChaCha8
}

func (r *lockedReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.source.Read(p)
}

// putApp configures the sandbox's app of a platform.
func (s *stack) putApp(t *testing.T, name string) {
	t.Helper()
	registered := s.sandbox.AppOf(name)
	app := connector.App{
		ClientID: registered.ClientID, ClientSecret: connector.NewSecret(registered.ClientSecret),
		Mode: connector.Live, Extras: connector.Fields{},
	}
	if name == sandbox.Twitter {
		for field, value := range registered.Extras {
			app.Extras.Set(field, value)
		}
	}
	if _, err := s.service.PutApp(t.Context(), connector.Name(name), app); err != nil {
		t.Fatalf("configuring %s: %v", name, err)
	}
}

// connect runs a whole consent and returns the ids of the connections.
func (s *stack) connect(t *testing.T, platform, owner string, choice sandbox.Choice) []string {
	t.Helper()
	location := s.consent(t, s.link(t, map[string]any{"platform": platform, "owner": owner, "return_url": returnURL}), choice)
	if got := location.Query().Get("status"); got != "connected" {
		t.Fatalf("connecting %s ended at %s", platform, location)
	}
	return location.Query()["connection_id"]
}

// link mints a connect link and returns its path.
func (s *stack) link(t *testing.T, body map[string]any) string {
	t.Helper()
	var minted struct{ URL string }
	s.do(t, http.MethodPost, "/links", withJSON(t, body)).decode(t, 201, &minted)
	return strings.TrimPrefix(minted.URL, publicURL)
}

// consent opens a link, gives consent at the platform and requests the callback. It
// returns the target of the last redirect.
func (s *stack) consent(t *testing.T, link string, choice sandbox.Choice) *url.URL {
	t.Helper()
	callback, cookie := s.authorize(t, link, choice)
	ended := s.do(t, http.MethodGet, callback, withCookie(cookie), with("accept", browserUse))
	if ended.StatusCode != http.StatusFound {
		t.Fatalf("callback: status %d, body %s", ended.StatusCode, ended.Body)
	}
	location, err := url.Parse(ended.Headers["location"])
	if err != nil {
		t.Fatal(err)
	}
	return location
}

// authorize opens a link and gives consent at the platform. It returns the URL of the
// callback and the cookie of the browser.
func (s *stack) authorize(t *testing.T, link string, choice sandbox.Choice) (callback, cookie string) {
	t.Helper()
	started := s.do(t, http.MethodGet, link, with("accept", browserUse))
	if started.StatusCode != http.StatusFound {
		t.Fatalf("start: status %d, body %s", started.StatusCode, started.Body)
	}
	back, err := s.sandbox.Consent(started.Headers["location"], choice)
	if err != nil {
		t.Fatal(err)
	}
	cookie, _, _ = strings.Cut(started.Cookies[0], ";")
	back, _, _ = strings.Cut(back, "#") // stays in the browser
	return strings.TrimPrefix(back, publicURL), cookie
}

// reply is the answer of a function to an HTTP event.
type reply struct {
	events.APIGatewayV2HTTPResponse
}

func (r reply) decode(t *testing.T, status int, into any) {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("status %d, want %d; body %s", r.StatusCode, status, r.Body)
	}
	if err := json.Unmarshal([]byte(r.Body), into); err != nil {
		t.Fatalf("body %q: %v", r.Body, err)
	}
}

// problem is an answer's problem document.
type problem struct {
	Type          string   `json:"type"`
	Title         string   `json:"title"`
	Status        int      `json:"status"`
	Detail        string   `json:"detail"`
	Code          string   `json:"code"`
	Instance      string   `json:"instance"`
	Reason        string   `json:"reason"`
	MissingScopes []string `json:"missing_scopes"`
	ConnectionIDs []string `json:"connection_ids"`
	RetryAfter    int      `json:"retry_after"`
	ResetsAt      string   `json:"resets_at"`
}

// refused checks that an answer is a problem of that status and code, and
// returns it.
func (r reply) refused(t *testing.T, status int, code connector.Code) problem {
	t.Helper()
	var p problem
	r.decode(t, status, &p)
	if p.Code != string(code) || p.Status != status || r.Headers["content-type"] != "application/problem+json" {
		t.Fatalf("got %s %d as %s, want %s %d", p.Code, p.Status, r.Headers["content-type"], code, status)
	}
	return p
}

// change changes an event before it is sent.
type change func(*events.APIGatewayV2HTTPRequest)

func with(header, value string) change {
	return func(e *events.APIGatewayV2HTTPRequest) { e.Headers[header] = value }
}

func withCookie(pair string) change {
	return func(e *events.APIGatewayV2HTTPRequest) { e.Cookies = append(e.Cookies, pair) }
}

func withJSON(t *testing.T, body any) change {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return withBody(jsonType, string(b))
}

// withBody sets the body as API Gateway does: in base64 unless the content type is
// text.
func withBody(contentType, body string) change {
	return func(e *events.APIGatewayV2HTTPRequest) {
		e.Headers["content-type"] = contentType
		e.Body = body
		if contentType == formType {
			e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(body)), true
		}
	}
}

// event returns the event that API Gateway sends for a request, and its route.
func event(t *testing.T, method, target string, changes ...change) (blueprint.Route, events.APIGatewayV2HTTPRequest) {
	t.Helper()
	path, query, _ := strings.Cut(target, "?")
	for _, route := range blueprint.Routes() {
		parameters, ok := match(route.Path, path)
		if !ok || route.Method != method {
			continue
		}
		e := events.APIGatewayV2HTTPRequest{
			Version: "2.0", RouteKey: route.Key(), RawPath: path, RawQueryString: query,
			Headers:        map[string]string{"host": "connector.example.com", "accept": "*/*"},
			PathParameters: parameters,
		}
		e.RequestContext.RouteKey = route.Key()
		e.RequestContext.HTTP.Method, e.RequestContext.HTTP.Path = method, path
		for _, change := range changes {
			change(&e)
		}
		return route, e
	}
	t.Fatalf("no route for %s %s", method, path)
	return blueprint.Route{}, events.APIGatewayV2HTTPRequest{}
}

func match(pattern, path string) (map[string]string, bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	parameters := map[string]string{}
	for i, segment := range want {
		if name, ok := strings.CutPrefix(segment, "{"); ok && got[i] != "" {
			value, err := url.PathUnescape(got[i])
			if err != nil {
				return nil, false
			}
			parameters[strings.TrimSuffix(name, "}")] = value
		} else if segment != got[i] {
			return nil, false
		}
	}
	return parameters, true
}

// do sends a request to the function of its route, and compares request and answer
// with the OpenAPI document.
func (s *stack) do(t *testing.T, method, target string, changes ...change) reply {
	t.Helper()
	route, e := event(t, method, target, changes...)
	payload, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	r := s.send(t, route.Function, payload)
	checkDocument(t, route, e, r)
	return r
}

// send invokes a function with an HTTP event.
func (s *stack) send(t *testing.T, function string, payload []byte) reply {
	t.Helper()
	result, err := s.functions[function](invocation(t.Context()), payload)
	if err != nil {
		t.Fatalf("%s failed: %v", function, err)
	}
	var r reply
	if err := json.Unmarshal(result, &r); err != nil || r.StatusCode == 0 {
		t.Fatalf("%s: no HTTP answer: %s", function, result)
	}
	return r
}

// invoke invokes a function directly. On failure it returns errorType and
// errorMessage.
func (s *stack) invoke(t *testing.T, function, payload string) (answer map[string]any, failure *messages.InvokeResponse_Error) {
	t.Helper()
	result, err := s.functions[function](invocation(t.Context()), []byte(payload))
	if err != nil {
		typed, ok := err.(messages.InvokeResponse_Error)
		if !ok {
			t.Fatalf("%s: the error is %T, which the runtime would name by its Go type", function, err)
		}
		return nil, &typed
	}
	if err := json.Unmarshal(result, &answer); err != nil {
		t.Fatalf("%s: answer %q: %v", function, result, err)
	}
	return answer, nil
}

func invocation(ctx context.Context) context.Context {
	return lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: requestID})
}
