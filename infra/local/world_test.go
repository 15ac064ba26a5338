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

// world is a running stack with its sandbox, and what the terminal showed.
type world struct {
	t    testing.TB
	s    *stack
	box  *sandbox.Sandbox
	said *spoken
	seen *canaries
}

// canaries are values that must stay unseen.
type canaries struct {
	mu  sync.Mutex
	all map[string]string // value to what it is
}

func (c *canaries) add(what, value string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if value != "" {
		c.all[value] = what
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
	said := &spoken{}
	o := options{
		addr: "127.0.0.1:0", aws: "127.0.0.1:0", sandbox: "127.0.0.1:0", refreshEvery: time.Hour, concurrency: 10, build: directory,
		getenv: func(name string) string {
			if value, ok := environment[name]; ok || name != config.LogLevel {
				return value
			}
			return "debug"
		},
		terminal: &terminal{out: said, raw: true, now: time.Now},
	}
	for _, c := range change {
		c(&o)
	}
	s, err := start(t.Context(), o)
	if err != nil {
		t.Fatalf("starting the stack: %v\n%s", err, said)
	}
	w := &world{t: t, s: s, box: s.box, said: said, seen: &canaries{all: map[string]string{}}}
	t.Cleanup(func() {
		s.close()
		w.nothingLeaked()
	})
	return w
}

// nothingLeaked holds everything that the terminal showed, at debug, against
// every secret that there was.
func (w *world) nothingLeaked() {
	w.t.Helper()
	shown := w.said.String()
	if w.box != nil {
		for _, secret := range w.box.Secrets() {
			w.seen.add("a code, token or key of the sandbox", secret)
		}
	}
	for value, what := range w.seen.all {
		if strings.Contains(shown, value) || strings.Contains(shown, url.QueryEscape(value)) {
			w.t.Errorf("the log holds %s", what)
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

// must is do for requests that succeed.
func (w *world) must(method, path string, in any) object {
	w.t.Helper()
	status, out := w.do(method, path, in)
	if status >= 300 {
		w.t.Fatalf("%s %s: %d %v", method, path, status, out)
	}
	return out
}

// refused is do for requests that fail with a code.
func (w *world) refused(wantStatus int, wantCode, method, path string, in any) {
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

// token asks token-get and expects a token that the platform takes.
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

// expired waits until the access token of a connection is.
func (w *world) expired(id string) {
	w.t.Helper()
	shown, _ := w.must("GET", "/connections/"+id, nil)["expires_at"].(string)
	expiresAt, err := time.Parse(time.RFC3339, shown)
	if err != nil {
		w.t.Fatal(err)
	}
	waitFor(w.t, "the token to expire", func() bool { return time.Now().After(expiresAt) })
}

// browser is a person's browser: it keeps cookies and follows nothing by
// itself.
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

// visit returns the status and where the answer redirects to.
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
		b.w.seen.add("a cookie", cookie.Value)
	}
	return response.StatusCode, response.Header.Get("Location")
}

// link mints a connect link that returns to the start page.
func (w *world) link(fields object) string {
	w.t.Helper()
	fields["return_url"] = w.s.servers.front.url + "/"
	address, _ := w.must(http.MethodPost, "/links", fields)["url"].(string)
	w.seen.add("a connect link", address[strings.LastIndex(address, "/")+1:])
	return address
}

// authorize goes to the platform by a link and answers its question, and
// returns the callback's URL.
func (b browser) authorize(link string, choice sandbox.Choice) (callback string) {
	b.w.t.Helper()
	status, authorizeURL := b.visit(link)
	if status != http.StatusFound {
		b.w.t.Fatalf("the link answers %d", status)
	}
	b.w.seen.add("a state", queryOf(authorizeURL, "state"))
	callback, err := b.w.box.Consent(authorizeURL, choice)
	if err != nil {
		b.w.t.Fatal(err)
	}
	b.w.seen.add("a code", queryOf(callback, "code"))
	return callback
}

// consent is the whole way of one person: link, question, callback. It
// returns what the return URL tells.
func (w *world) consent(link object, choice sandbox.Choice) url.Values {
	w.t.Helper()
	b := w.browser()
	return b.comeBack(b.authorize(w.link(link), choice))
}

// comeBack visits the callback and returns what the return URL tells.
func (b browser) comeBack(callback string) url.Values {
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
	told := w.consent(object{"platform": platform, "owner": owner}, choice)
	if told.Get("status") != "connected" || len(told["connection_id"]) == 0 {
		w.t.Fatalf("connecting %s: %v", platform, told)
	}
	return told["connection_id"]
}

// queryOf returns one parameter of a URL's query.
func queryOf(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}
