package handler_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/sandbox"
)

func encode(t *testing.T, value any) []byte {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRequest_Body(t *testing.T) {
	t.Parallel()
	t.Run("strict_json", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for name, test := range map[string]struct {
			method, target, body, names string
		}{
			"unknown field":           {"POST", "/links", `{"platform":"youtube","owner":"acme","colour":"red"}`, "colour"},
			"name in another case":    {"POST", "/links", `{"platform":"youtube","Owner":"acme"}`, "Owner"},
			"field given twice":       {"POST", "/links", `{"platform":"youtube","owner":"a","owner":"b"}`, "owner"},
			"nested field twice":      {"POST", "/connections", `{"platform":"youtube","owner":"a","credentials":{"client_id":"a","client_id":"b"}}`, "client_id"},
			"data after the object":   {"POST", "/links", `{"platform":"youtube","owner":"acme"} {}`, "body"},
			"wrong type":              {"POST", "/links", `{"platform":"youtube","owner":7}`, "owner"},
			"list of numbers":         {"POST", "/links", `{"platform":"youtube","owner":"a","scopes":[1]}`, "scopes"},
			"number as text":          {"POST", "/links", `{"platform":"youtube","owner":"a","expires_in":"60"}`, "expires_in"},
			"number too large":        {"POST", "/links", `{"platform":"youtube","owner":"a","expires_in":604801}`, "expires_in"},
			"number in exponent form": {"POST", "/links", `{"platform":"youtube","owner":"a","expires_in":1e2}`, "expires_in"},
			"no object":               {"POST", "/links", `["platform"]`, "body"},
			"null":                    {"POST", "/links", `null`, "body"},
			"no JSON":                 {"POST", "/links", `platform=youtube`, "body"},
			"empty":                   {"POST", "/links", ``, "body"},
			"deep":                    {"POST", "/links", `{"owner":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`, "body"},
			"nested credentials":      {"POST", "/connections", `{"platform":"youtube","owner":"a","credentials":{"client_id":{}}}`, "credentials.client_id"},
			"credentials as a list":   {"POST", "/connections", `{"platform":"youtube","owner":"a","credentials":[]}`, "credentials"},
			"flag as text":            {"POST", "/connections", `{"platform":"youtube","owner":"a","verify":"no"}`, "verify"},
			"extra of another app":    {"PUT", "/platforms/youtube/app", `{"client_id":"a","client_secret":"b","api_key":"c"}`, "api_key"},
			"no posts":                {"POST", "/connections/" + unknownID + "/usage", `{}`, "posts"},
			"too many posts":          {"POST", "/connections/" + unknownID + "/usage", `{"posts":1001}`, "posts"},
			"negative posts":          {"POST", "/connections/" + unknownID + "/usage", `{"posts":-1}`, "posts"},
			"something to verify":     {"POST", "/connections/" + unknownID + "/verify", `{"now":true}`, "now"},
			"owner with line break":   {"POST", "/links", `{"platform":"youtube","owner":"a\r\nSet-Cookie: x=y"}`, "owner"},
		} {
			t.Run(name, func(t *testing.T) {
				p := s.do(t, test.method, test.target, withBody(jsonType, test.body)).refused(t, 400, connector.InvalidRequest)
				if !strings.HasPrefix(p.Detail, test.names+":") {
					t.Errorf("detail %q does not name %s", p.Detail, test.names)
				}
			})
		}
	})
	t.Run("oversize_is_refused", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		large := `{"platform":"youtube","owner":"` + strings.Repeat("a", 64<<10) + `"}`
		for name, body := range map[string]change{
			"plain": withBody(jsonType, large),
			"base64": func(e *events.APIGatewayV2HTTPRequest) {
				e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString([]byte(large)), true
			},
		} {
			if p := s.do(t, "POST", "/links", body).refused(t, 400, connector.InvalidRequest); !strings.HasPrefix(p.Detail, "body:") {
				t.Errorf("%s: detail %q", name, p.Detail)
			}
		}
	})
	t.Run("json_of_any_content_type", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for _, contentType := range []string{"", "application/json", "Application/JSON; charset=UTF-8", "text/plain", formType} {
			_, e := event(t, "POST", "/links", withBody(contentType, `{"platform":"youtube","owner":"acme"}`))
			if contentType == "" {
				delete(e.Headers, "content-type")
			}
			if got := s.send(t, "connections", encode(t, e)).StatusCode; got != 201 {
				t.Errorf("%q: status %d, want 201", contentType, got)
			}
			if got := s.do(t, "POST", "/links", withBody(contentType, "platform=youtube&owner=acme")); got.StatusCode != 400 {
				t.Errorf("%q: a form got status %d, want 400", contentType, got.StatusCode)
			}
		}
	})
	t.Run("base64", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		inBase64 := func(body string) change {
			return func(e *events.APIGatewayV2HTTPRequest) { e.Body, e.IsBase64Encoded = body, true }
		}
		plain := `{"platform":"youtube","owner":"acme"}`
		if got := s.do(t, "POST", "/links", with("content-type", jsonType), inBase64(base64.StdEncoding.EncodeToString([]byte(plain)))); got.StatusCode != 201 {
			t.Errorf("status %d, body %s", got.StatusCode, got.Body)
		}
		notUTF8 := base64.StdEncoding.EncodeToString([]byte("{\"platform\":\"youtube\",\"owner\":\"\xff\"}"))
		s.do(t, "POST", "/links", inBase64(notUTF8)).refused(t, 400, connector.InvalidRequest)
		s.do(t, "POST", "/links", inBase64("not base64!")).refused(t, 400, connector.InvalidRequest)
	})
}

func TestRequest_Query(t *testing.T) {
	t.Parallel()
	t.Run("strict_parameters", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for target, names := range map[string]string{
			"/connections?colour=red":                                 "colour",
			"/connections?limit=5&limit=6":                            "limit",
			"/connections?owner=":                                     "owner",
			"/connections?limit=":                                     "limit",
			"/connections?limit=0":                                    "limit",
			"/connections?limit=101":                                  "limit",
			"/connections?limit=ten":                                  "limit",
			"/connections?status=gone":                                "status",
			"/connections?platform=myspace":                           "platform",
			"/connections?cursor=nonsense":                            "cursor",
			"/connections?owner=%00":                                  "owner",
			"/connections?owner=%ff":                                  "query",
			"/connections?owner=%zz":                                  "query",
			"/connections?owner=" + strings.Repeat("a", 3<<10):        "owner",
			"/connections?owner=" + strings.Repeat("a", 33<<10):       "query",
			"/connections/" + unknownID + "?verbose=true":             "verbose",
			"/connections/" + unknownID + "/token?full=yes":           "full",
			"/connections/" + unknownID + "/token?min_ttl_seconds=-1": "min_ttl_seconds",
			"/platforms?x=1":                                          "x",
		} {
			p := s.do(t, "GET", target).refused(t, 400, connector.InvalidRequest)
			if !strings.HasPrefix(p.Detail, names+":") {
				t.Errorf("%.60s: detail %q does not name %s", target, p.Detail, names)
			}
		}
		s.do(t, "DELETE", "/connections/"+unknownID+"?purge=1").refused(t, 400, connector.InvalidRequest)
	})
	t.Run("duplicates_on_the_callback", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		callback, cookie := s.authorize(t, s.link(t, map[string]any{"platform": "youtube", "owner": "acme"}), sandbox.Choice{})
		for added, code := range map[string]connector.Code{
			"&state=again":     connector.StateInvalid,
			"&code=again":      connector.InvalidRequest,
			"&iss=a&iss=b":     connector.InvalidRequest,
			"&error=a&error=b": connector.InvalidRequest,
		} {
			s.do(t, "GET", callback+added, withCookie(cookie)).refused(t, 400, code)
		}
		if got := s.do(t, "GET", callback, withCookie(cookie)); got.StatusCode != 200 {
			t.Errorf("the duplicates spent the state: status %d, body %s", got.StatusCode, got.Body)
		}
	})
	t.Run("oversize_values_reach_no_store", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Store = nil // any use panics, which is answered with 500
		long := strings.Repeat("a", 5<<10)
		s.do(t, "GET", "/connect/"+long).refused(t, 410, connector.LinkGone)
		s.do(t, "GET", "/oauth/youtube/callback?code=c&state="+long).refused(t, 400, connector.StateInvalid)
		s.do(t, "GET", "/oauth/youtube/callback?state=s&code="+long).refused(t, 400, connector.InvalidRequest)
		s.do(t, "GET", "/oauth/youtube/callback?state=s&error="+long).refused(t, 400, connector.InvalidRequest)
		s.do(t, "GET", "/oauth/youtube/callback?state=s&iss="+long).refused(t, 400, connector.InvalidRequest)
		s.do(t, "GET", "/oauth/youtube/callback?x="+strings.Repeat("a", 1<<20)).refused(t, 400, connector.InvalidRequest)
		s.do(t, "GET", "/connections/"+long).refused(t, 404, connector.ConnectionNotFound)
		s.do(t, "GET", "/platforms/facebook/data-deletion/"+long).refused(t, 404, connector.InvalidRequest)
	})
}

func TestFunction_Invoke(t *testing.T) {
	t.Parallel()
	t.Run("payloads_of_other_formats", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for name, payload := range map[string]string{
			"REST API":          `{"resource":"/connections","path":"/connections","httpMethod":"GET","headers":{"Accept":"*/*"},"multiValueHeaders":{"Accept":["*/*"]},"requestContext":{"httpMethod":"GET","stage":"prod"},"isBase64Encoded":false}`,
			"HTTP API 1.0":      `{"version":"1.0","resource":"/connections","path":"/connections","httpMethod":"GET","headers":{},"requestContext":{}}`,
			"load balancer":     `{"requestContext":{"elb":{"targetGroupArn":"arn"}},"httpMethod":"GET","path":"/connections","headers":{}}`,
			"headers as a list": `{"version":"2.0","routeKey":"GET /connections","headers":[],"requestContext":{}}`,
			"another type":      `{"version":2,"routeKey":"GET /connections","requestContext":{}}`,
		} {
			for _, function := range []string{"oauth-start", "oauth-callback", "connections", "platform-notice", "token-get"} {
				t.Run(name+"/"+function, func(t *testing.T) {
					s.send(t, function, []byte(payload)).refused(t, 400, connector.InvalidRequest)
				})
			}
		}
	})
	t.Run("payload_without_request_context", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		got := s.send(t, "connections", []byte(`{"version":"2.0","routeKey":"GET /connections","rawPath":"/connections"}`))
		if got.StatusCode != 200 || got.Body != `{"connections":[]}` {
			t.Errorf("status %d, body %s", got.StatusCode, got.Body)
		}
	})
	t.Run("unknown_path_and_wrong_method", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		_, e := event(t, "GET", "/connections")
		e.RouteKey, e.RawPath = "$default", "/nowhere"
		s.send(t, "connections", encode(t, e)).refused(t, 404, connector.InvalidRequest)
		e.RouteKey, e.RawPath, e.RequestContext.HTTP.Method = "$default", "/connections", "PATCH"
		wrong := s.send(t, "connections", encode(t, e))
		wrong.refused(t, 405, connector.InvalidRequest)
		if got := wrong.Headers["allow"]; got != "GET, POST" {
			t.Errorf("allow %q", got)
		}
	})
	t.Run("malformed_payload_is_a_typed_error", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for function := range s.functions {
			for _, payload := range []string{``, `x`, `null`, `[]`, `"text"`, `7`, `{"a":`, `{"a":1}{"b":2}`, "\xff"} {
				answer, failure := s.invoke(t, function, payload)
				switch {
				case function == blueprint.Refresh && payload == `null`:
					// The event of the schedule has no input.
				case failure == nil:
					t.Errorf("%s took %q: %v", function, payload, answer)
				case failure.Type != "InvalidRequest":
					t.Errorf("%s with %q: %s", function, payload, failure.Type)
				}
			}
		}
	})
	t.Run("panic_shows_only_an_id", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.Store = exploding{s.service.Store}
		p := s.do(t, "GET", "/connections/"+unknownID).refused(t, 500, connector.Internal)
		if p.Instance != requestID || !strings.Contains(p.Detail, requestID) {
			t.Errorf("instance %q, detail %q", p.Instance, p.Detail)
		}
		_, failure := s.invoke(t, "token-get", `{"connection_id":"`+unknownID+`"}`)
		if failure == nil || failure.Type != "Internal" || !strings.Contains(failure.Message, requestID) {
			t.Errorf("direct: %+v", failure)
		}
		if text := s.logs.String(); !strings.Contains(text, `"stack"`) || strings.Contains(text, explosive) {
			t.Errorf("log: %s", text)
		}
	})
	t.Run("malformed_id_looks_absent", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for _, id := range []string{"x", "%2e%2e", strings.ToUpper("5f0c7a52-9d3e-4b61-8a7f-2c4e6d8b0a13"), "5f0c7a52-9d3e-1b61-8a7f-2c4e6d8b0a13"} {
			got := s.do(t, "GET", "/connections/"+id)
			want := s.do(t, "GET", "/connections/"+unknownID)
			if got.StatusCode != 404 || got.Body != want.Body {
				t.Errorf("%s: %d %s", id, got.StatusCode, got.Body)
			}
		}
	})
}

const explosive = "test-secret-in-a-panic"

// exploding is a store that panics.
type exploding struct{ connector.Store }

func (exploding) Connection(context.Context, connector.ID) (connector.Connection, error) {
	panic(explosive)
}

func TestFunction_Log(t *testing.T) {
	t.Parallel()
	t.Run("one_line_without_path", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
		before := len(s.logs.lines(t))
		s.do(t, "GET", "/connections/"+id)
		lines := s.logs.lines(t)[before:]
		if len(lines) != 1 {
			t.Fatalf("%d lines: %v", len(lines), lines)
		}
		for key, want := range map[string]any{
			"msg": "request", "function": "connections", "route": "GET /connections/{id}",
			"outcome": "ok", "status": 200.0, "connection_id": id, "request_id": requestID,
		} {
			if lines[0][key] != want {
				t.Errorf("%s: %v, want %v", key, lines[0][key], want)
			}
		}
		if _, ok := lines[0]["duration_ms"]; !ok {
			t.Error("no duration_ms")
		}
	})
	t.Run("names_failure_and_connection", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
		last := func() map[string]any {
			lines := s.logs.lines(t)
			return lines[len(lines)-1]
		}
		if line := last(); line["function"] != "oauth-callback" || line["connection_id"] != id {
			t.Errorf("a consent: %v", line)
		}
		if _, failure := s.invoke(t, "refresh", `{}`); failure != nil || last()["queued"] != 0.0 || last()["complete"] != true {
			t.Errorf("a sweep: %v, %v", last(), failure)
		}
		verify := func() { s.do(t, "POST", "/connections/"+id+"/verify", withBody(jsonType, "{}")) }
		for name, test := range map[string]struct {
			fault          *sandbox.Fault
			ask            func()
			level, outcome string
		}{
			"a caller's mistake": {nil, func() { s.do(t, "GET", "/connections/"+unknownID) }, "INFO", "ConnectionNotFound"},
			"an outage":          {&sandbox.Fault{Endpoint: "channels", Kind: sandbox.Outage}, verify, "WARN", "PlatformUnavailable"},
			"a refused app": {&sandbox.Fault{
				Endpoint: "channels", Kind: sandbox.Body, Status: 403, Text: `{"error":{"errors":[{"reason":"accessNotConfigured"}]}}`,
			}, verify, "WARN", "AppMisconfigured"},
		} {
			if test.fault != nil {
				test.fault.Platform = "youtube"
				s.sandbox.Fault(*test.fault)
			}
			test.ask()
			line := last()
			if line["level"] != test.level || line["outcome"] != test.outcome || !strings.HasPrefix(fmt.Sprint(line["error"]), test.outcome) {
				t.Errorf("%s: %v", name, line)
			}
		}
	})
	t.Run("names_the_caller", func(t *testing.T) {
		t.Parallel()
		const caller = role + "publisher/session"
		for _, row := range []struct {
			name      string
			invoked   string // the function ARN of the invocation
			principal string // the IAM principal of an HTTP event; empty for a direct invocation
			want      any    // the caller in the log line; nil for none
		}{
			{"http_request_names_the_principal", tokenGet, caller, caller},
			{"direct_invocation_names_the_alias", acmesAlias, "", acmesAlias},
			{"direct_invocation_without_alias_names_the_function", tokenGet, "", tokenGet},
			{"http_event_through_an_alias_names_the_alias", acmesAlias, caller, acmesAlias},
			{"principal_that_is_no_arn_is_left_out", tokenGet, "test-principal\nforged", nil},
			{"principal_of_another_service_is_left_out", tokenGet, "arn:aws:s3:::bucket", nil},
		} {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				s := newStack(t)
				id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
				before := len(s.logs.lines(t))
				payload := []byte(`{"connection_id":"` + id + `"}`)
				if row.principal != "" {
					_, e := event(t, http.MethodGet, "/connections/"+id+"/token", as(row.principal))
					payload = encode(t, e)
				}
				ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: requestID, InvokedFunctionArn: row.invoked})
				if _, err := s.functions[blueprint.TokenGet](ctx, payload); err != nil {
					t.Fatal(err)
				}
				lines := s.logs.lines(t)[before:]
				if len(lines) != 1 || lines[0]["caller"] != row.want || lines[0]["connection_id"] != id {
					t.Errorf("log: %v, want one line with the caller %v", lines, row.want)
				}
			})
		}
	})
	t.Run("no_secret", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		var seen []string
		for _, name := range platforms() {
			link := s.link(t, map[string]any{"platform": name, "owner": "acme"})
			callback, cookie := s.authorize(t, link, sandbox.Choice{})
			s.do(t, "GET", callback)
			s.do(t, "GET", callback, withCookie(cookie))
			s.do(t, "GET", callback, withCookie(cookie))
			_, value, _ := strings.Cut(cookie, "=")
			_, state, _ := strings.Cut(callback, "state=")
			state, _, _ = strings.Cut(state, "&")
			seen = append(seen, strings.TrimPrefix(link, "/connect/"), value, state)
		}
		for _, secret := range append(seen, s.sandbox.Secrets()...) {
			if strings.Contains(s.logs.String(), secret) {
				t.Errorf("the log holds %q", secret)
			}
		}
	})
}

func TestResponse_Page(t *testing.T) {
	t.Parallel()
	t.Run("self_contained", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		page := s.do(t, "GET", "/connect/gone", with("accept", browserUse))
		if page.StatusCode != 410 || !strings.HasPrefix(page.Headers["content-type"], "text/html") {
			t.Fatalf("status %d, type %s", page.StatusCode, page.Headers["content-type"])
		}
		for _, foreign := range []string{"http://", "https://", "<script", "<img", "<link", " src=", "onclick"} {
			if strings.Contains(page.Body, foreign) {
				t.Errorf("the page has %q", foreign)
			}
		}
		for _, want := range []string{`<html lang="en">`, "<main>", "<h1>", "prefers-color-scheme: dark", requestID} {
			if !strings.Contains(page.Body, want) {
				t.Errorf("the page lacks %q", want)
			}
		}
		_, style, _ := strings.Cut(page.Body, "<style>")
		style, _, _ = strings.Cut(style, "</style>")
		if want := "style-src '" + digest(style) + "'"; !strings.Contains(page.Headers["content-security-policy"], want) {
			t.Errorf("policy %q, want %s", page.Headers["content-security-policy"], want)
		}
	})
	t.Run("only_for_browsers", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		for accept, html := range map[string]bool{
			"":                                  false,
			"*/*":                               false,
			"application/json":                  false,
			browserUse:                          true,
			"text/html;q=0":                     false,
			"application/json, text/html;q=0.5": false,
			"application/json;q=0.5, text/html": true,
			"TEXT/HTML":                         true,
		} {
			got := s.do(t, "GET", "/connect/gone", with("accept", accept))
			if is := strings.HasPrefix(got.Headers["content-type"], "text/html"); is != html {
				t.Errorf("Accept %q: %s", accept, got.Headers["content-type"])
			}
		}
		if got := s.do(t, "GET", "/connections/x", with("accept", browserUse)); got.Headers["content-type"] != "application/problem+json" {
			t.Errorf("an operator's route answered %s", got.Headers["content-type"])
		}
	})
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func TestResponse_Headers(t *testing.T) {
	t.Parallel()
	t.Run("plain_http_on_loopback_has_no_hsts", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.PublicURL = "http://127.0.0.1:8422"
		s.functions = functions(handler.New(s.service, s.service.Log, nil))
		var minted struct{ URL string }
		s.do(t, http.MethodPost, "/links", withJSON(t, map[string]any{"platform": "youtube", "owner": "acme"})).decode(t, 201, &minted)
		started := s.do(t, http.MethodGet, strings.TrimPrefix(minted.URL, s.service.PublicURL))
		if _, ok := started.Headers["strict-transport-security"]; ok {
			t.Error("HSTS over plain HTTP")
		}
		if cookie := started.Cookies[0]; strings.Contains(cookie, "Secure") || strings.Contains(cookie, "__Host-") {
			t.Errorf("cookie %q", cookie)
		}
	})
}
