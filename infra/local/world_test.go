package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/config"
	"platform-api-connector/shared/sandbox"
)

// buildOnce builds the real functions once for all stories.
var buildOnce = sync.OnceValues(func() (string, error) {
	directory, err := makeTempDir("functions")
	if err != nil {
		return "", err
	}
	root, err := moduleRoot(context.Background())
	if err != nil {
		return "", err
	}
	return directory, buildFunctions(context.Background(), root, directory, blueprint.Functions(), &terminal{out: io.Discard, now: time.Now})
})

// world is a running stack with its sandbox, the output of its terminal, and the
// secrets that the output must not contain.
type world struct {
	t       testing.TB
	s       *stack
	box     *sandbox.Sandbox
	output  *outputBuffer
	secrets *secretValues
}

// secretValues are values that neither the terminal nor the table may contain.
type secretValues struct {
	mu    sync.Mutex
	names map[string]string // by value
}

func (s *secretValues) add(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value != "" {
		s.names[value] = name
	}
}

// newWorld starts the stack as `go run ./infra/local` does, with the variables
// of environment, and at LOG_LEVEL=debug.
func newWorld(t testing.TB, environment map[string]string, change ...func(*options)) *world {
	t.Helper()
	directory, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	output := &outputBuffer{}
	o := options{
		addr: "127.0.0.1:0", aws: "127.0.0.1:0", sandbox: "127.0.0.1:0", refreshEvery: time.Hour, concurrency: 10, build: directory,
		getenv: func(name string) string {
			if value, ok := environment[name]; ok || name != config.LogLevel {
				return value
			}
			return "debug"
		},
		terminal: &terminal{out: output, raw: true, now: time.Now},
	}
	for _, c := range change {
		c(&o)
	}
	s, err := start(t.Context(), o)
	if err != nil {
		t.Fatalf("starting the stack: %v\n%s", err, output)
	}
	w := &world{t: t, s: s, box: s.box, output: output, secrets: &secretValues{names: map[string]string{}}}
	t.Cleanup(func() {
		s.close()
		w.checkOutput()
	})
	return w
}

// checkOutput searches the output of the terminal, at LOG_LEVEL=debug, for every
// secret.
func (w *world) checkOutput() {
	w.t.Helper()
	output := w.output.String()
	if w.box != nil {
		for _, secret := range w.box.Secrets() {
			w.secrets.add("a code, token or key of the sandbox", secret)
		}
	}
	for value, name := range w.secrets.names {
		if strings.Contains(output, value) || strings.Contains(output, url.QueryEscape(value)) {
			w.t.Errorf("the log contains %s", name)
		}
	}
}

// object is a JSON object.
type object = map[string]any

// do sends a request and returns its status and JSON.
func (w *world) do(method, path string, in any) (int, object) {
	w.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			w.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.s.servers.front.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, w.read(response)
}

func (w *world) read(response *http.Response) object {
	w.t.Helper()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	var out object
	_ = json.Unmarshal(b, &out)
	return out
}

// must sends a request that must succeed, and returns its JSON.
func (w *world) must(method, path string, in any) object {
	w.t.Helper()
	status, out := w.do(method, path, in)
	if status >= 300 {
		w.t.Fatalf("%s %s: %d %v", method, path, status, out)
	}
	return out
}

// expectError sends a request that must fail with a status and a code.
func (w *world) expectError(wantStatus int, wantCode, method, path string, in any) {
	w.t.Helper()
	if status, out := w.do(method, path, in); status != wantStatus || out["code"] != wantCode {
		w.t.Errorf("%s %s: %d %v, want %d %s", method, path, status, out, wantStatus, wantCode)
	}
}

// invoke calls a function as another Lambda does, and returns the answer, or
// the type of the error.
func (w *world) invoke(function string, payload any) (answer object, errorType string) {
	w.t.Helper()
	b, err := json.Marshal(payload)
	if err != nil {
		w.t.Fatal(err)
	}
	response, err := http.Post(w.s.servers.aws.url+"/2015-03-31/functions/"+function+"/invocations", "application/json", bytes.NewReader(b))
	if err != nil {
		w.t.Error(err)
		return nil, "none"
	}
	defer func() { _ = response.Body.Close() }()
	answer = w.read(response)
	if response.Header.Get("X-Amz-Function-Error") != "" {
		errorType, _ = answer["errorType"].(string)
	}
	return answer, errorType
}

// token invokes token-get, which must return an access token.
func (w *world) token(selector object) object {
	w.t.Helper()
	answer, errorType := w.invoke("token-get", selector)
	if errorType != "" {
		w.t.Fatalf("token-get %v: %v", selector, answer)
	}
	if answer["access_token"] == "" {
		w.t.Fatalf("token-get %v: no access token", selector)
	}
	return answer
}

// waitForExpiry waits until the access token of a connection expires.
func (w *world) waitForExpiry(id string) {
	w.t.Helper()
	shown, _ := w.must("GET", "/connections/"+id, nil)["expires_at"].(string)
	expiresAt, err := time.Parse(time.RFC3339, shown)
	if err != nil {
		w.t.Fatal(err)
	}
	waitFor(w.t, "the token to expire", func() bool { return time.Now().After(expiresAt) })
}

// browser is the browser of a person. It stores cookies and does not follow
// redirects.
type browser struct {
	w      *world
	client *http.Client
}

func (w *world) browser() browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return browser{w, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// visit requests a page, and returns its status and the target of its redirect.
func (b browser) visit(address string) (status int, location string) {
	b.w.t.Helper()
	r, err := http.NewRequestWithContext(b.w.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.w.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	response, err := b.client.Do(r)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	for _, cookie := range response.Cookies() {
		b.w.secrets.add("a cookie", cookie.Value)
	}
	return response.StatusCode, response.Header.Get("Location")
}

// link mints a connect link with the start page as its return URL.
func (w *world) link(fields object) string {
	w.t.Helper()
	fields["return_url"] = w.s.servers.front.url + "/"
	address, _ := w.must(http.MethodPost, "/links", fields)["url"].(string)
	w.secrets.add("a connect link", address[strings.LastIndex(address, "/")+1:])
	return address
}

// authorize opens a connect link, gives consent at the platform, and returns the
// URL of the callback.
func (b browser) authorize(link string, choice sandbox.Choice) (callback string) {
	b.w.t.Helper()
	status, authorizeURL := b.visit(link)
	if status != http.StatusFound {
		b.w.t.Fatalf("the link answers %d", status)
	}
	b.w.secrets.add("a state", queryOf(authorizeURL, "state"))
	callback, err := b.w.box.Consent(authorizeURL, choice)
	if err != nil {
		b.w.t.Fatal(err)
	}
	b.w.secrets.add("a code", queryOf(callback, "code"))
	return callback
}

// consent takes one person from a new link to the callback. It returns the query
// of the return URL.
func (w *world) consent(link object, choice sandbox.Choice) url.Values {
	w.t.Helper()
	b := w.browser()
	return b.followCallback(b.authorize(w.link(link), choice))
}

// followCallback visits the callback and returns the query of the return URL.
func (b browser) followCallback(callback string) url.Values {
	b.w.t.Helper()
	status, location := b.visit(callback)
	if status != http.StatusFound {
		b.w.t.Fatalf("the callback answers %d", status)
	}
	u, err := url.Parse(location)
	if err != nil {
		b.w.t.Fatal(err)
	}
	return u.Query()
}

// connect connects an account and returns the ids of its connections.
func (w *world) connect(platform, owner string, choice sandbox.Choice) []string {
	w.t.Helper()
	query := w.consent(object{"platform": platform, "owner": owner}, choice)
	if query.Get("status") != "connected" || len(query["connection_id"]) == 0 {
		w.t.Fatalf("connecting %s: %v", platform, query)
	}
	return query["connection_id"]
}

// queryOf returns one parameter of a URL's query.
func queryOf(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}
