package handler_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/credentialstore"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/handler/hostiletest"
	"platform-api-connector/shared/platform"
	"platform-api-connector/shared/sandbox"
)

const allowedOrigin = "https://product.example.com"

// fuzzed returns a connector with sandbox platforms and their apps.
func fuzzed(f *testing.F, output io.Writer) (*connector.Service, map[string]handler.Function) {
	f.Helper()
	clock := connectortest.NewClock(noon)
	played := sandbox.New(sandbox.Options{Now: clock.Now, Random: chance(2)})
	server := httptest.NewServer(played)
	f.Cleanup(server.Close)
	log := slog.New(slog.NewJSONHandler(output, nil))
	s := &connector.Service{
		Platforms: platform.All(platform.Options{HTTP: server.Client(), Endpoints: sandbox.Endpoints(server.URL), Now: clock.Now}),
		Now:       clock.Now, Random: chance(1), Log: log,
		Sleep:     func(ctx context.Context, d time.Duration) error { clock.Advance(d); return ctx.Err() },
		PublicURL: publicURL, ReturnOrigins: []string{allowedOrigin},
	}
	ports := connectortest.Ports{
		Store: connectortest.NewStore(), Vault: connectortest.NewVault(), Sealer: connectortest.Sealer{},
		Queue: connectortest.NewQueue(), Events: connectortest.NewEvents(),
	}
	ports.Wire(s, nil, credentialstore.Options{})
	for _, name := range platforms() {
		app := played.AppOf(name)
		if _, err := s.PutApp(f.Context(), connector.Name(name), connector.App{ClientID: app.ClientID, ClientSecret: connector.NewSecret(app.ClientSecret), Mode: connector.Live}); err != nil {
			f.Fatal(err)
		}
	}
	return s, functions(handler.New(s, log, nil))
}

// FuzzEvents sends arbitrary payloads to every function. The function must answer or
// fail with a code other than Internal. It must answer an HTTP event with an HTTP
// answer.
func FuzzEvents(f *testing.F) {
	written := &logs{}
	_, functions := fuzzed(f, written)
	for _, path := range samples(f) {
		payload, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	for _, seed := range []string{
		`{"version":"1.0","resource":"/connections","path":"/connections","httpMethod":"GET","headers":{"Accept":"*/*"},"multiValueHeaders":{"Accept":["*/*"]},"queryStringParameters":null,"requestContext":{"stage":"prod"}}`,
		`{"Records":[{"messageId":"1","body":"{\"connection_id\":\"x\"}"}]}`, `{}`, `null`, `[]`, `"`, "\xff",
	} {
		f.Add([]byte(seed))
	}
	names := []string{
		blueprint.OAuthStart, blueprint.OAuthCallback, blueprint.TokenGet, blueprint.Refresh, blueprint.RefreshWorker,
		blueprint.Connections, blueprint.PlatformNotice,
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		for _, name := range names {
			answer, err := functions[name](invocation(t.Context()), payload)
			if err != nil {
				typed, ok := err.(messages.InvokeResponse_Error)
				if !ok || typed.Type == string(connector.Internal) || !slices.Contains(connector.Codes(), connector.Code(typed.Type)) {
					t.Errorf("%s: %v", name, err)
				}
				continue
			}
			var r events.APIGatewayV2HTTPResponse
			if json.Unmarshal(answer, &r) != nil || !utf8.Valid(answer) {
				t.Errorf("%s: %q", name, answer)
			}
			if r.StatusCode == 500 || written.panicked() {
				t.Errorf("%s: %s", name, answer)
			}
			for header, value := range r.Headers {
				if strings.ContainsFunc(header+value, unicode.IsControl) {
					t.Errorf("%s: %s is %q", name, header, value)
				}
			}
		}
	})
}

// panicked reports whether a function has panicked since the last call.
func (l *logs) panicked() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return strings.Contains(l.b.String(), `"panic"`)
}

// FuzzTokens sends arbitrary links, states and cookies. Only issued ones may be
// accepted.
func FuzzTokens(f *testing.F) {
	s, functions := fuzzed(f, io.Discard)
	minted, err := s.MintLink(f.Context(), connector.LinkRequest{Platform: "youtube", Owner: "acme", ExpiresIn: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	link := strings.TrimPrefix(minted.URL.Reveal(), publicURL+"/connect/")
	started, err := s.Start(f.Context(), connector.NewSecret(link))
	if err != nil {
		f.Fatal(err)
	}
	state := queryOf(started.URL.Reveal(), "state")
	for _, seed := range []string{link, state, link + "=", link[:42], " " + link + "\u00a0\r\n", link[:20] + " " + link[20:], strings.ToLower(link), "\x00", "", strings.Repeat("A", 43), "%00", "é"} {
		f.Add(seed, started.CookieValue.Reveal())
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, token, browser string) {
		start := events.APIGatewayV2HTTPRequest{Version: "2.0", RouteKey: "GET /connect/{link}", PathParameters: map[string]string{"link": token}}
		if got, want := statusOf(t, functions[blueprint.OAuthStart], start), 302; (got == want) != (connector.Trim(token) == link) || got != want && got != 410 {
			t.Errorf("link %q: %d", token, got)
		}
		if token == state && browser == started.CookieValue.Reveal() {
			return
		}
		callback := events.APIGatewayV2HTTPRequest{
			Version: "2.0", RouteKey: "GET /oauth/{platform}/callback", PathParameters: map[string]string{"platform": "youtube"},
			RawQueryString: url.Values{"state": {token}, "code": {"x"}}.Encode(),
			Cookies:        []string{browserCookie(token) + "=" + browser, started.CookieName + "=" + browser},
		}
		if got := statusOf(t, functions[blueprint.OAuthCallback], callback); got != 400 {
			t.Errorf("state %q with %q: %d", token, browser, got)
		}
	})
}

func statusOf(t *testing.T, function handler.Function, e events.APIGatewayV2HTTPRequest) int {
	t.Helper()
	payload, err := json.Marshal(e)
	if err != nil {
		t.Skip("not an event that API Gateway could send")
	}
	answer, err := function(invocation(t.Context()), payload)
	if err != nil {
		t.Fatal(err)
	}
	var r events.APIGatewayV2HTTPResponse
	if err := json.Unmarshal(answer, &r); err != nil {
		t.Fatal(err)
	}
	return r.StatusCode
}

// FuzzReturnURL mints links with arbitrary return URLs. An accepted URL must have an
// allowed origin, both for Go and for browsers.
func FuzzReturnURL(f *testing.F) {
	s, _ := fuzzed(f, io.Discard)
	for _, target := range hostiletest.ForeignReturnURLs(allowedOrigin) {
		f.Add(target)
	}
	for _, target := range []string{returnURL, allowedOrigin, allowedOrigin + "/a//b", "HTTPS://PRODUCT.example.COM/x", allowedOrigin + "?a=b#", allowedOrigin + "/%2e%2e/%5c"} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		_, err := s.MintLink(t.Context(), connector.LinkRequest{Platform: "youtube", Owner: "acme", ReturnURL: target})
		if err != nil {
			if code := connector.AsError(err).Code; code != connector.InvalidRequest {
				t.Errorf("%q: %v", target, err)
			}
			return
		}
		if target == "" {
			return
		}
		u, err := url.Parse(target)
		if err != nil || u.Scheme+"://"+strings.ToLower(u.Host) != allowedOrigin || u.User != nil {
			t.Errorf("%q was accepted; Go reads %v, %v", target, u, err)
		}
		if got := originInBrowsers(target); got != allowedOrigin {
			t.Errorf("%q was accepted; a browser opens %q", target, got)
		}
		if strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q cannot be sent in a header", target)
		}
	})
}

// originInBrowsers returns the origin of an absolute http or https URL by the
// rules of browsers (https://url.spec.whatwg.org/#url-parsing, read
// 2026-11-23), as far as they differ from RFC 3986: the stripped
// characters, the skipped slashes of both kinds, and the ends of user and port.
func originInBrowsers(s string) string {
	s = strings.TrimFunc(s, func(r rune) bool { return r <= ' ' })
	s = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(s)
	scheme, rest, ok := strings.Cut(s, ":")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "https" && scheme != "http" {
		return "not http: " + scheme
	}
	rest = strings.TrimLeft(rest, `/\`)
	if end := strings.IndexAny(rest, `/\?#`); end >= 0 {
		rest = rest[:end]
	}
	if at := strings.LastIndex(rest, "@"); at >= 0 {
		rest = rest[at+1:]
	}
	host, err := url.PathUnescape(rest)
	if err != nil {
		return "not a host: " + rest
	}
	host = strings.ToLower(host)
	host = strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[scheme])
	return scheme + "://" + strings.TrimSuffix(host, ":")
}

func TestOriginInBrowsers(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"https:evil.example": "https://evil.example", `https:\\evil.example`: "https://evil.example", "https:////evil.example/x": "https://evil.example",
		"https://a@b@evil.example:443/": "https://evil.example", "\thttps://e\nvil.example": "https://evil.example", "HTTP://EVIL.example:80": "http://evil.example",
		`https://good.example\@evil.example`: "https://good.example", "https://good%2eexample/": "https://good.example",
	} {
		if got := originInBrowsers(target); got != want {
			t.Errorf("%q: %q, want %q", target, got, want)
		}
	}
}

// FuzzScopes mints links with arbitrary scopes. The authorize URL must have an accepted
// scope as one scope.
func FuzzScopes(f *testing.F) {
	s, _ := fuzzed(f, io.Discard)
	for _, scope := range []string{"video.list", "https://www.googleapis.com/auth/youtube", "a b", "a,b", "a\tb", "", "é", "a&scope=b", "a%20b", "a+b", "\u2003", strings.Repeat("a", 257)} {
		f.Add(scope, "tiktok")
		f.Add(scope, "youtube")
	}
	f.Fuzz(func(t *testing.T, scope, name string) {
		s := *s
		s.LinkScopes = connector.ScopeLists{connector.Name(name): {scope}} // the operator allows whatever it is
		minted, err := s.MintLink(t.Context(), connector.LinkRequest{Platform: connector.Name(name), Owner: "acme", Scopes: []string{scope}})
		if err != nil {
			if code := connector.AsError(err).Code; code != connector.InvalidRequest {
				t.Errorf("%q: %v", scope, err)
			}
			return
		}
		started, err := s.Start(t.Context(), connector.NewSecret(strings.TrimPrefix(minted.URL.Reveal(), publicURL+"/connect/")))
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(started.URL.Reveal())
		if err != nil {
			t.Fatal(err)
		}
		scopes := strings.FieldsFunc(u.Query().Get("scope"), func(r rune) bool { return r == ',' || r == ' ' })
		if !slices.Contains(scopes, scope) || len(u.Query()["scope"]) != 1 || len(u.Query()["state"]) != 1 {
			t.Errorf("%q became %q", scope, u.Query()["scope"])
		}
	})
}
