package main

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"platform-api-connector/infra/blueprint"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// echo is an invoker that returns its event.
func echo(_ context.Context, _ string, payload []byte) (result, error) {
	b, _ := json.Marshal(map[string]any{"statusCode": 200, "body": string(payload)})
	return result{payload: b}, nil
}

// answers returns an invoker that returns payload.
func answers(payload string) invoker {
	return func(context.Context, string, []byte) (result, error) { return result{payload: []byte(payload)}, nil }
}

func newTestFront(invoke invoker) (*front, *outputBuffer) {
	output := &outputBuffer{}
	return &front{
		gateway:  &gateway{routes: blueprint.Routes(), invoke: invoke, now: func() time.Time { return noon }},
		terminal: &terminal{out: output, now: func() time.Time { return noon }},
	}, output
}

// ask sends one request and returns the answer, with its body read.
func ask(t *testing.T, h http.Handler, method, target string, header http.Header, body string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:8422"
	maps.Copy(r.Header, header)
	if host := header.Get("Host"); host != "" {
		r.Host = host
		r.Header.Del("Host")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	response := w.Result()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(b)
}

// eventOf returns the event of a request, without the values that are random.
func eventOf(t *testing.T, method, target string, header http.Header, body string) map[string]any {
	t.Helper()
	f, _ := newTestFront(echo)
	response, text := ask(t, f, method, target, header, body)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s", method, target, response.Status)
	}
	var event map[string]any
	if err := json.Unmarshal([]byte(text), &event); err != nil {
		t.Fatal(err)
	}
	delete(event["headers"].(map[string]any), "x-amzn-trace-id")
	delete(event["requestContext"].(map[string]any), "requestId")
	return event
}

func TestNewEvent(t *testing.T) {
	t.Parallel()
	t.Run("payload_format_2", func(t *testing.T) {
		t.Parallel()
		got := eventOf(t, "GET", "/oauth/youtube/callback?state=a%20b&scope=x&scope=y", http.Header{
			"Cookie": {"connect-1=first; connect-2=second"}, "User-Agent": {"test"}, "X-Several": {"1", "2"},
		}, "")
		want := map[string]any{
			"version": "2.0", "routeKey": "GET /oauth/{platform}/callback",
			"rawPath": "/oauth/youtube/callback", "rawQueryString": "state=a%20b&scope=x&scope=y",
			"cookies": []any{"connect-1=first", "connect-2=second"},
			"headers": map[string]any{
				"host": "127.0.0.1:8422", "user-agent": "test", "x-several": "1,2", "content-length": "0",
				"x-forwarded-for": "192.0.2.1", "x-forwarded-port": "8422", "x-forwarded-proto": "http",
			},
			"queryStringParameters": map[string]any{"state": "a b", "scope": "x,y"},
			"pathParameters":        map[string]any{"platform": "youtube"},
			"requestContext": map[string]any{
				"routeKey": "GET /oauth/{platform}/callback", "accountId": "000000000000", "stage": "$default", "apiId": "local",
				"domainName": "127.0.0.1", "domainPrefix": "127", "time": "23/Nov/2026:12:00:00 +0000", "timeEpoch": 1795435200000.0,
				"authentication": map[string]any{"clientCert": map[string]any{
					"clientCertPem": "", "issuerDN": "", "serialNumber": "", "subjectDN": "", "validity": map[string]any{"notAfter": "", "notBefore": ""},
				}},
				"http": map[string]any{
					"method": "GET", "path": "/oauth/youtube/callback", "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "test",
				},
			},
			"isBase64Encoded": false,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	})
	t.Run("route_with_iam_auth_names_the_caller", func(t *testing.T) {
		t.Parallel()
		event := eventOf(t, "GET", "/platforms", nil, "")
		authorizer, _ := event["requestContext"].(map[string]any)["authorizer"].(map[string]any)
		iam, _ := authorizer["iam"].(map[string]any)
		if iam["accountId"] != account || iam["userArn"] == "" {
			t.Errorf("authorizer is %v", authorizer)
		}
	})
	t.Run("path", func(t *testing.T) {
		t.Parallel()
		for target, want := range map[string]string{
			"/connect/a%20b":   "/connect/a b",
			"/connect/%C3%A9":  "/connect/é",
			"/connect/a%3Fb=c": "/connect/a",
			"/connect/a%25b":   "/connect/a%b",
			"/connect/abc?d=e": "/connect/abc",
			"/connect/a+b;c=d": "/connect/a+b;c=d",
			"/connect/..%2e":   "/connect/...",
		} {
			event := eventOf(t, "GET", target, nil, "")
			if got := event["rawPath"]; got != want {
				t.Errorf("rawPath of %s is %q, want %q", target, got, want)
			}
			if got, want := event["pathParameters"].(map[string]any)["link"], strings.TrimPrefix(want, "/connect/"); got != want {
				t.Errorf("link of %s is %q, want %q", target, got, want)
			}
		}
	})
	t.Run("body", func(t *testing.T) {
		t.Parallel()
		for _, c := range []struct {
			contentType, body, want string
			encoded                 bool
		}{
			{"application/json", `{"a":1}`, `{"a":1}`, false},
			{"application/json; charset=utf-8", `{"a":1}`, `{"a":1}`, false},
			{"text/plain", "hello", "hello", false},
			{"application/x-www-form-urlencoded", "signed_request=x", "c2lnbmVkX3JlcXVlc3Q9eA==", true},
			{"application/octet-stream", "hello", "aGVsbG8=", true},
			{"", "hello", "aGVsbG8=", true},
		} {
			event := eventOf(t, "POST", "/platforms/facebook/deauthorize", http.Header{"Content-Type": {c.contentType}}, c.body)
			if event["body"] != c.want || event["isBase64Encoded"] != c.encoded {
				t.Errorf("%q: body %q, base64 %v; want %q, %v", c.contentType, event["body"], event["isBase64Encoded"], c.want, c.encoded)
			}
		}
		if body, present := eventOf(t, "POST", "/platforms/facebook/deauthorize", nil, "")["body"]; present {
			t.Errorf("an event without a body has %q", body)
		}
	})
}

func TestGateway_Find(t *testing.T) {
	t.Parallel()
	t.Run("most_specific_route", func(t *testing.T) {
		t.Parallel()
		g := &gateway{routes: []blueprint.Route{
			{Method: "GET", Path: "/a/{x}/c"}, {Method: "GET", Path: "/{x}/b/c"}, {Method: "GET", Path: "/a/b/{x}"}, {Method: "POST", Path: "/a/b/c"},
		}}
		for request, want := range map[string]string{
			"GET /a/b/c":  "GET /a/b/{x}",
			"GET /a/z/c":  "GET /a/{x}/c",
			"GET /z/b/c":  "GET /{x}/b/c",
			"GET /a/b/":   "",
			"GET /a/b":    "",
			"GET /a/b/c/": "",
			"PUT /a/b/c":  "",
			"POST /a/b/c": "POST /a/b/c",
		} {
			method, path, _ := strings.Cut(request, " ")
			m, found := g.find(method, path)
			if found != (want != "") || found && m.route.Key() != want {
				t.Errorf("%s: %q, %v; want %q", request, m.route.Key(), found, want)
			}
		}
	})
	t.Run("every_route_of_the_blueprint", func(t *testing.T) {
		t.Parallel()
		g := &gateway{routes: blueprint.Routes()}
		for _, route := range blueprint.Routes() {
			path := strings.NewReplacer("{", "", "}", "").Replace(route.Path)
			if m, found := g.find(route.Method, path); !found || m.route != route {
				t.Errorf("%s leads to %q", route.Key(), m.route.Key())
			}
		}
	})
}

func TestGateway_Answer(t *testing.T) {
	t.Parallel()
	t.Run("answers", func(t *testing.T) {
		t.Parallel()
		for name, c := range map[string]struct {
			payload     string
			status      int
			contentType string
			body        string
		}{
			"statusCode and body":    {`{"statusCode":201,"headers":{"content-type":"text/html"},"body":"x"}`, 201, "text/html", "x"},
			"statusCode as a string": {`{"statusCode":"404","body":"x"}`, 404, "text/plain;charset=UTF-8", "x"},
			"base64":                 {`{"statusCode":200,"headers":{"Content-Type":"image/png"},"body":"aGVsbG8=","isBase64Encoded":true}`, 200, "image/png", "hello"},
			"no statusCode":          {`{"url":"x"}`, 200, "application/json", `{"url":"x"}`},
			"a string":               {`"hello"`, 200, "application/json", `"hello"`},
			"null":                   {`null`, 200, "application/json", `null`},
			"malformed base64":       {`{"statusCode":200,"body":"!","isBase64Encoded":true}`, 500, "application/json", `{"message":"Internal Server Error"}`},
			"malformed headers":      {`{"statusCode":200,"headers":[]}`, 500, "application/json", `{"message":"Internal Server Error"}`},
			"invalid statusCode":     {`{"statusCode":99}`, 500, "application/json", `{"message":"Internal Server Error"}`},
			"no JSON":                {`hello`, 500, "application/json", `{"message":"Internal Server Error"}`},
		} {
			f, _ := newTestFront(answers(c.payload))
			response, body := ask(t, f, "GET", "/connect/x", nil, "")
			if response.StatusCode != c.status || response.Header.Get("Content-Type") != c.contentType || body != c.body {
				t.Errorf("%s: %d %q %q; want %d %q %q", name, response.StatusCode, response.Header.Get("Content-Type"), body, c.status, c.contentType, c.body)
			}
		}
	})
	t.Run("one_header_for_each_cookie", func(t *testing.T) {
		t.Parallel()
		f, _ := newTestFront(answers(`{"statusCode":302,"headers":{"location":"/x"},"cookies":["a=1; Path=/","b=2"]}`))
		response, _ := ask(t, f, "GET", "/connect/x", nil, "")
		if got, want := response.Header.Values("Set-Cookie"), []string{"a=1; Path=/", "b=2"}; !slices.Equal(got, want) {
			t.Errorf("cookies are %q, want %q", got, want)
		}
	})
	t.Run("failures", func(t *testing.T) {
		t.Parallel()
		fails := func(r result, err error) invoker {
			return func(context.Context, string, []byte) (result, error) { return r, err }
		}
		for name, c := range map[string]struct {
			invoke invoker
			target string
			body   string
			status int
			answer string
		}{
			"function failed":   {fails(result{payload: failure("Runtime.ExitError", "exit status 1"), functionError: "Unhandled"}, nil), "/links", "", 500, "Internal Server Error"},
			"no result in time": {fails(result{}, context.DeadlineExceeded), "/links", "", 503, "Service Unavailable"},
			"ending":            {fails(result{}, errClosed), "/links", "", 503, "Service Unavailable"},
			"no such route":     {echo, "/nowhere", "", 404, "Not Found"},
			"wrong method":      {echo, "/platforms", "", 405, "Method Not Allowed"},
			"beyond 10 MB":      {echo, "/links", strings.Repeat("x", 10<<20+1), 413, "Request Entity Too Large"},
			"event beyond 6 MB": {echo, "/links", strings.Repeat("x", 5<<20), 413, "Request Entity Too Large"},
		} {
			f, _ := newTestFront(c.invoke)
			response, body := ask(t, f, "POST", c.target, nil, c.body)
			if want := `{"message":"` + c.answer + `"}`; response.StatusCode != c.status || body != want {
				t.Errorf("%s: %d %s; want %d %s", name, response.StatusCode, body, c.status, want)
			}
		}
	})
}

func TestFront_ServeHTTP(t *testing.T) {
	t.Parallel()
	t.Run("other_sites_are_refused", func(t *testing.T) {
		t.Parallel()
		f, _ := newTestFront(echo)
		f.page = newStartPage(caller{f.gateway, "http://127.0.0.1:8422"}, false, f.terminal)
		rebound := http.Header{"Host": {"rebound.example:8422"}}
		foreign := http.Header{"Origin": {"https://elsewhere.example"}, "Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"cors"}}
		otherPort := http.Header{"Origin": {"http://127.0.0.1:9000"}, "Sec-Fetch-Site": {"same-site"}}
		own := http.Header{"Origin": {"http://127.0.0.1:8422"}, "Sec-Fetch-Site": {"same-origin"}}
		for _, c := range []struct {
			name, method, target string
			header               http.Header
			want                 int
		}{
			{"a program", "POST", "/links", nil, 200},
			{"localhost", "POST", "/links", http.Header{"Host": {"localhost:8422"}}, 200},
			{"IPv6", "POST", "/links", http.Header{"Host": {"[::1]:8422"}}, 200},
			{"own page", "POST", "/links", own, 200},
			{"rebound name", "GET", "/connections", rebound, 403},
			{"rebound name, start page", "GET", "/", rebound, 403},
			{"rebound name, public route", "GET", "/connect/x", rebound, 200},
			{"foreign page writes", "POST", "/links", foreign, 403},
			{"foreign page deletes", "DELETE", "/connections/x", foreign, 403},
			{"foreign page without Sec-Fetch", "POST", "/links", http.Header{"Origin": {"https://elsewhere.example"}}, 403},
			{"foreign page reads", "GET", "/connections/x/token", foreign, 403},
			{"page on another port writes", "POST", "/links", otherPort, 403},
			{"page on another port, start page", "POST", "/local/connect", otherPort, 403},
			{"platform posts a notice", "POST", "/platforms/tiktok/webhook", foreign, 200},
			{"browser returns from a platform", "GET", "/oauth/tiktok/callback", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Sec-Fetch-Mode": {"navigate"}}, 200},
		} {
			if response, body := ask(t, f, c.method, c.target, c.header, ""); response.StatusCode != c.want {
				t.Errorf("%s: %d %s, want %d", c.name, response.StatusCode, body, c.want)
			}
		}
	})
	t.Run("terminal_shows_no_path_and_no_query", func(t *testing.T) {
		t.Parallel()
		f, output := newTestFront(answers(`{"statusCode":400,"body":"{\"code\":\"StateInvalid\"}"}`))
		ask(t, f, "GET", "/oauth/youtube/callback?state=the-state&code=the-code", nil, "")
		ask(t, f, "GET", "/connect/the-link", nil, "")
		ask(t, f, "GET", "/nowhere/the-link?the-query", nil, "")
		for _, canary := range []string{"the-state", "the-code", "the-link", "the-query"} {
			if strings.Contains(output.String(), canary) {
				t.Errorf("the terminal shows %s:\n%s", canary, output)
			}
		}
		if !strings.Contains(output.String(), "GET /oauth/{platform}/callback") || !strings.Contains(output.String(), "400 StateInvalid") {
			t.Errorf("the terminal does not show the route and the code:\n%s", output)
		}
	})
	t.Run("terminal_shows_the_code_of_a_consent", func(t *testing.T) {
		t.Parallel()
		for payload, want := range map[string]string{
			`{"statusCode":302,"headers":{"location":"https://product.example.com/done?tab=1&error=AccessDenied"}}`: "302 AccessDenied",
			`{"statusCode":302,"headers":{"location":"https://product.example.com/done?status=connected"}}`:         "302 0 ms",
			`{"statusCode":302,"headers":{"location":"https://product.example.com/done?error=the%20words"}}`:        "302 0 ms",
			`{"statusCode":410,"headers":{"content-type":"text/html"},"body":"<span id=\"code\">LinkGone</span>"}`:  "410 LinkGone",
		} {
			f, output := newTestFront(answers(payload))
			ask(t, f, "GET", "/oauth/youtube/callback", nil, "")
			if got := regexp.MustCompile(`\d+ ms`).ReplaceAllString(output.String(), "0 ms"); !strings.Contains(got, want) {
				t.Errorf("%s: the terminal shows %q, want %q", payload, got, want)
			}
		}
	})
}

func TestListen(t *testing.T) {
	t.Parallel()
	t.Run("address_that_is_not_loopback", func(t *testing.T) {
		t.Parallel()
		for _, addr := range []string{":0", "0.0.0.0:0", "192.0.2.1:0", "[::]:0", "example.com:0", "127.0.0.1"} {
			if s, err := listen(addr); err == nil {
				t.Errorf("listens on %s", addr)
				_ = s.at.Close()
			}
		}
		s, err := listen("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = s.at.Close()
		if strings.HasSuffix(s.url, ":0") || !strings.HasPrefix(s.url, "http://127.0.0.1:") {
			t.Errorf("URL is %s", s.url)
		}
	})
}
