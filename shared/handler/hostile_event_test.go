package handler_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

// TestHostileEvent sends inputs that only a Lambda event can express, and checks
// effects that are visible only in the process.
func TestHostileEvent(t *testing.T) {
	t.Parallel()
	for _, attack := range []struct {
		name string
		run  func(t *testing.T, s *stack)
	}{
		{"01_callback_without_parameters_reads_nothing", callbackWithoutParameters},
		{"12_refused_callback_is_one_log_line", oneLogLine},
		{"14_post_to_the_callback", postToCallback},
		{"42_platform_that_panics", platformPanics},
		{"47_one_request_in_every_payload", everyPayload},
		{"header_injection", headerInjection},
		{"log_injection", logInjection},
		{"route_key_of_another_function", foreignRouteKey},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			attack.run(t, newStack(t))
		})
	}
}

func callbackWithoutParameters(t *testing.T, s *stack) {
	s.service.Store = nil // a use panics, and the answer is then 500
	for _, name := range platforms() {
		s.do(t, http.MethodGet, "/oauth/"+name+"/callback").refused(t, 400, connector.StateInvalid)
		page := s.do(t, http.MethodGet, "/oauth/"+name+"/callback", with("accept", browserUse))
		if page.StatusCode != 400 || !strings.HasPrefix(page.Headers["content-type"], "text/html") {
			t.Errorf("%s: %d %s", name, page.StatusCode, page.Headers["content-type"])
		}
	}
}

func oneLogLine(t *testing.T, s *stack) {
	f := s.flow(t, "youtube", sandbox.Choice{})
	for what, target := range map[string]string{
		"no cookie":                     f.callback,
		"an error with a state unknown": "/oauth/youtube/callback?error=access_denied&state=" + strings.Repeat("B", 43),
	} {
		before := len(s.logs.lines(t))
		s.do(t, http.MethodGet, target).refused(t, 400, connector.StateInvalid)
		lines := s.logs.lines(t)[before:]
		if len(lines) != 1 || lines[0]["outcome"] != "StateInvalid" {
			t.Errorf("%s: log %v", what, lines)
		}
	}
	if published := s.events.All(); len(published) != 0 {
		t.Errorf("events: %v", published)
	}
}

func postToCallback(t *testing.T, s *stack) {
	f := s.flow(t, "youtube", sandbox.Choice{})
	_, query, _ := strings.Cut(f.callback, "?")
	for _, key := range []string{"$default", "POST /oauth/{platform}/callback"} {
		_, e := event(t, http.MethodGet, f.callback, withCookie(f.cookie), withBody(formType, query))
		e.RouteKey, e.RawQueryString, e.RequestContext.HTTP.Method = key, "", http.MethodPost
		if got := s.send(t, "oauth-callback", encode(t, e)); got.StatusCode != 405 || !strings.Contains(got.Headers["allow"], "GET") {
			t.Errorf("%s: %d, allow %q", key, got.StatusCode, got.Headers["allow"])
		}
	}
	if n := f.exchanges(); n != 0 {
		t.Errorf("%d exchanges", n)
	}
}

// panicking is a platform that panics.
type panicking struct{ connector.Platform }

func (panicking) Refresh(context.Context, connector.App, connector.Credentials) (connector.Credentials, error) {
	panic(explosive)
}

func platformPanics(t *testing.T, s *stack) {
	broken := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	sound := s.connect(t, "twitter", "acme", sandbox.Choice{})[0]
	s.service.Platforms = slices.Clone(s.service.Platforms)
	for i, p := range s.service.Platforms {
		if p.Describe().Name == "youtube" {
			s.service.Platforms[i] = panicking{p}
		}
	}
	s.clock.Advance(7100 * time.Second)
	batch := events.SQSEvent{}
	for _, id := range []string{broken, sound} {
		batch.Records = append(batch.Records, events.SQSMessage{MessageId: id, Body: `{"connection_id":"` + id + `"}`})
	}
	answer, failure := s.invoke(t, "refresh-worker", string(encode(t, batch)))
	if failure != nil {
		t.Fatal(failure)
	}
	failures, _ := answer["batchItemFailures"].([]any)
	if len(failures) != 1 || failures[0].(map[string]any)["itemIdentifier"] != broken {
		t.Errorf("failures: %v", failures)
	}
	if s.show(t, sound)["last_refreshed_at"] == nil {
		t.Error("the other connection was not refreshed")
	}
	if strings.Contains(s.logs.String(), explosive) {
		t.Error("the log contains the value of the panic")
	}
}

func everyPayload(t *testing.T, s *stack) {
	for name, change := range map[string]func(f flow, e *events.APIGatewayV2HTTPRequest){
		"cookies as an array": func(f flow, e *events.APIGatewayV2HTTPRequest) { e.Cookies = []string{f.cookie} },
		"cookie as a header":  func(f flow, e *events.APIGatewayV2HTTPRequest) { e.Headers["cookie"] = "a=b; " + f.cookie },
		"header in capitals":  func(f flow, e *events.APIGatewayV2HTTPRequest) { e.Headers["COOKIE"] = f.cookie },
		"no requestContext": func(f flow, e *events.APIGatewayV2HTTPRequest) {
			e.Cookies = []string{f.cookie}
			e.RequestContext = events.APIGatewayV2HTTPRequestContext{}
		},
		"parsed query alone": func(f flow, e *events.APIGatewayV2HTTPRequest) {
			e.Cookies = []string{f.cookie}
			q, _ := url.ParseQuery(e.RawQueryString)
			e.RawQueryString, e.QueryStringParameters = "", map[string]string{}
			for name := range q {
				e.QueryStringParameters[name] = q.Get(name)
			}
		},
		"empty base64 body": func(f flow, e *events.APIGatewayV2HTTPRequest) {
			e.Cookies = []string{f.cookie}
			e.IsBase64Encoded = true
		},
	} {
		f := s.flow(t, "youtube", sandbox.Choice{})
		_, e := event(t, http.MethodGet, f.callback)
		change(f, &e)
		if got := s.send(t, "oauth-callback", encode(t, e)); got.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.Body)
		}
	}
}

// headerInjection sends a line break in a header, which HTTP cannot express.
func headerInjection(t *testing.T, s *stack) {
	got := s.flow(t, "youtube", sandbox.Choice{}).finish(t, with("accept", browserUse), with("user-agent", "x\r\ny"))
	for name, value := range got.Headers {
		if strings.ContainsFunc(name+value, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%s: %q", name, value)
		}
	}
	if got.StatusCode != 200 || len(got.Cookies) != 0 {
		t.Errorf("%d, cookies %q", got.StatusCode, got.Cookies)
	}
}

func logInjection(t *testing.T, s *stack) {
	forged := "x\n{\"level\":\"ERROR\",\"msg\":\"test-forged\"}\x1b[2J"
	q := url.QueryEscape(forged)
	send := func(method, target string, changes ...change) {
		_, e := event(t, method, target, append(changes, as(forged))...)
		e.RawPath = forged
		e.RequestContext.RequestID, e.RequestContext.HTTP.UserAgent = forged, forged
		for _, function := range []string{"oauth-start", "oauth-callback", "connections", "platform-notice", "token-get"} {
			s.send(t, function, encode(t, e))
		}
	}
	send("GET", "/oauth/youtube/callback?state="+q+"&error="+q+"&iss="+q, with("user-agent", forged), with("cookie", forged))
	send("GET", "/connect/"+url.PathEscape(forged))
	send("GET", "/connections?"+q+"="+q)
	send("GET", "/connections/"+url.PathEscape(forged)+"/token?scopes="+q)
	send("POST", "/links", withJSON(t, map[string]any{forged: forged}))
	send("POST", "/connections", withJSON(t, map[string]any{"platform": "youtube", "owner": "a", "credentials": map[string]any{forged: []int{}}}))
	send("POST", "/connections", withJSON(t, map[string]any{"platform": "youtube", "owner": "a", "credentials": map[string]any{forged: forged}}))
	send("POST", "/platforms/tiktok/webhook", withBody(jsonType, forged), with("tiktok-signature", forged))
	for _, line := range s.logs.lines(t) { // fails if a line break splits a line
		if line["msg"] == "test-forged" {
			t.Error("a log line was forged")
		}
	}
	if strings.Contains(s.logs.String(), "test-forged") {
		t.Error("the log contains text of the request")
	}
}

func foreignRouteKey(t *testing.T, s *stack) {
	id := s.connect(t, "youtube", "acme", sandbox.Choice{})[0]
	_, token := event(t, http.MethodGet, "/connections/"+id+"/token")
	_, list := event(t, http.MethodGet, "/connections")
	for _, function := range []string{"oauth-start", "oauth-callback", "platform-notice", "connections"} {
		if got := s.send(t, function, encode(t, token)); got.StatusCode != 404 || strings.Contains(got.Body, "access_token") {
			t.Errorf("%s hands out tokens: %d %s", function, got.StatusCode, got.Body)
		}
		if function == "connections" {
			continue
		}
		if got := s.send(t, function, encode(t, list)); got.StatusCode != 404 {
			t.Errorf("%s lists connections: %d %s", function, got.StatusCode, got.Body)
		}
	}
	// The route key selects the function, not the path.
	_, gone := event(t, http.MethodGet, "/connect/x")
	gone.RawPath, gone.RequestContext.HTTP.Path = "/connections/"+id+"/token", "/connections/"+id+"/token"
	gone.PathParameters["id"] = id
	s.send(t, "oauth-start", encode(t, gone)).refused(t, 410, connector.LinkGone)
}
