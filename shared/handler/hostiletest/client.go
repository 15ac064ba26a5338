package hostiletest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/sandbox"
)

const (
	acceptPage = "text/html,application/xhtml+xml,*/*;q=0.8"
	formType   = "application/x-www-form-urlencoded"
	jsonType   = "application/json"
)

// client sends the requests of one subtest.
type client struct {
	Transport
	t     *testing.T
	owner string
}

// object is a JSON object.
type object = map[string]any

// answer is the answer to an HTTP request.
type answer struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
	body    string
}

// change changes a request before it is sent.
type change func(*http.Request)

func withHeader(name, value string) change {
	return func(r *http.Request) {
		if r.Header.Set(name, value); name == "Host" {
			r.Host = value
		}
	}
}

// withCookie adds a cookie in the form name=value.
func withCookie(pair string) change {
	return func(r *http.Request) {
		if sent := r.Header.Get("Cookie"); sent != "" {
			pair = sent + "; " + pair
		}
		r.Header.Set("Cookie", pair)
	}
}

// request returns a request to a path of the connector.
func (c *client) request(method, target, body string, changes ...change) *http.Request {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.PublicURL+target, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", jsonType)
	}
	for _, change := range changes {
		change(r)
	}
	return r
}

// send sends a request and returns its answer.
func (c *client) send(method, target, body string, changes ...change) answer {
	c.t.Helper()
	response, err := c.Send(c.request(method, target, body, changes...))
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, response.Cookies(), string(b)}
}

func (c *client) get(target string, changes ...change) answer {
	c.t.Helper()
	return c.send(http.MethodGet, target, "", changes...)
}

// post sends a JSON body.
func (c *client) post(target string, body any, changes ...change) answer {
	c.t.Helper()
	return c.send(http.MethodPost, target, encode(c.t, body), changes...)
}

// postForm sends a form.
func (c *client) postForm(target string, form url.Values) answer {
	c.t.Helper()
	return c.send(http.MethodPost, target, form.Encode(), withHeader("Content-Type", formType))
}

// invoke invokes a function directly. On failure it returns the type and the
// message of the error.
func (c *client) invoke(function, payload string) (result object, errorType, errorMessage string) {
	c.t.Helper()
	b, failed, err := c.Invoke(function, payload)
	if err == nil {
		err = json.Unmarshal(b, &result)
	}
	if err != nil {
		c.t.Fatalf("invoking %s: %v", function, err)
	}
	if !failed {
		return result, "", ""
	}
	errorType, _ = result["errorType"].(string)
	errorMessage, _ = result["errorMessage"].(string)
	return nil, errorType, errorMessage
}

func encode(t *testing.T, value any) string {
	t.Helper()
	b, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// problem returns the body of an answer as a JSON object.
func (a answer) problem() object {
	var p object
	_ = json.Unmarshal([]byte(a.body), &p)
	return p
}

func (a answer) code() string {
	code, _ := a.problem()["code"].(string)
	return code
}

// withoutInstance returns the body of a problem without the id of its
// invocation.
func (a answer) withoutInstance() string {
	instance, _ := a.problem()["instance"].(string)
	if instance == "" {
		return a.body
	}
	return strings.ReplaceAll(a.body, instance, "")
}

// expect checks the status of an answer, and its code if the answer is a
// problem.
func (c *client) expect(what string, a answer, status int, code connector.Code) {
	c.t.Helper()
	if a.status != status || code != "" && a.code() != string(code) {
		c.t.Errorf("%s: %d %.300s, want %d %s", what, a.status, a.body, status, code)
	}
}

// decode reads the JSON body of an answer of that status.
func (c *client) decode(a answer, status int) object {
	c.t.Helper()
	var result object
	if err := json.Unmarshal([]byte(a.body), &result); a.status != status || err != nil {
		c.t.Fatalf("status %d, body %.300s, want status %d and a JSON object", a.status, a.body, status)
	}
	return result
}

// link creates a connect link and returns its path.
func (c *client) link(fields object) string {
	c.t.Helper()
	address, _ := c.decode(c.post("/links", fields), 201)["url"].(string)
	return strings.TrimPrefix(address, c.PublicURL)
}

// authorization is an authorization that the person has granted at the
// platform. The browser has not requested the callback yet.
type authorization struct {
	client    *client
	platform  string
	callback  string // path and query
	cookie    string // name=value
	exchanges int    // the count of code exchanges of the platform before the callback
}

// authorize opens a new link of the subtest's owner and answers the platform's
// question.
func (c *client) authorize(platform string, choice sandbox.Choice) authorization {
	c.t.Helper()
	return c.authorizeLink(platform, c.link(object{"platform": platform, "owner": c.owner}), choice)
}

func (c *client) authorizeLink(platform, link string, choice sandbox.Choice) authorization {
	c.t.Helper()
	start := c.get(link)
	if start.status != http.StatusFound || len(start.cookies) != 1 {
		c.t.Fatalf("the link answered %d with %d cookies: %.300s", start.status, len(start.cookies), start.body)
	}
	callback, err := c.Sandbox.Consent(start.header.Get("Location"), choice)
	if err != nil {
		c.t.Fatal(err)
	}
	callback, _, _ = strings.Cut(callback, "#") // browsers do not send the fragment
	return authorization{
		client: c, platform: platform,
		callback:  strings.TrimPrefix(callback, c.PublicURL),
		cookie:    start.cookies[0].Name + "=" + start.cookies[0].Value,
		exchanges: c.exchanges(platform),
	}
}

// exchanges returns how often a platform has received a code.
func (c *client) exchanges(platform string) int {
	return c.Sandbox.Count(platform, "token/authorization_code")
}

// finish requests the callback in the browser of the authorization.
func (a authorization) finish(changes ...change) answer {
	a.client.t.Helper()
	return a.client.get(a.callback, append([]change{withCookie(a.cookie)}, changes...)...)
}

// query returns the parameters of the callback.
func (a authorization) query() url.Values {
	u, _ := url.Parse(a.callback)
	return u.Query()
}

// with returns the target of the callback with other parameters.
func (a authorization) with(query url.Values) string {
	path, _, _ := strings.Cut(a.callback, "?")
	return path + "?" + query.Encode()
}

// expectExchanges checks how often the platform has received a code since the
// authorization began.
func (a authorization) expectExchanges(want int) {
	a.client.t.Helper()
	if got := a.client.exchanges(a.platform) - a.exchanges; got != want {
		a.client.t.Errorf("%s: %d exchanges, want %d", a.platform, got, want)
	}
}

// expectUsable checks that the authorization can still be finished.
func (a authorization) expectUsable() {
	a.client.t.Helper()
	if got := a.finish(); got.status != http.StatusOK {
		a.client.t.Errorf("%s: the authorization ended before its callback: %d %.300s", a.platform, got.status, got.body)
	}
}

// connect connects one account and returns the id of its first connection.
func (c *client) connect(platform, owner string, choice sandbox.Choice) string {
	c.t.Helper()
	a := c.authorizeLink(platform, c.link(object{"platform": platform, "owner": owner}), choice)
	list, _ := c.decode(a.finish(), http.StatusOK)["connections"].([]any)
	if len(list) == 0 {
		c.t.Fatalf("connecting %s: no connection", platform)
	}
	id, _ := list[0].(object)["id"].(string)
	return id
}

// connections returns the connections of an owner, or of all owners.
func (c *client) connections(owner string) (all []object) {
	c.t.Helper()
	query := url.Values{"limit": {"100"}}
	if owner != "" {
		query.Set("owner", owner)
	}
	for {
		page := c.decode(c.get("/connections?"+query.Encode()), http.StatusOK)
		list, _ := page["connections"].([]any)
		for _, connection := range list {
			all = append(all, connection.(object))
		}
		next, _ := page["next_cursor"].(string)
		if next == "" {
			return all
		}
		query.Set("cursor", next)
	}
}

// expectConnections checks how many connections the subtest's owner has.
func (c *client) expectConnections(want int) {
	c.t.Helper()
	if got := c.connections(c.owner); len(got) != want {
		c.t.Errorf("%d connections, want %d: %v", len(got), want, got)
	}
}

func (c *client) show(id string) object {
	c.t.Helper()
	return c.decode(c.get("/connections/"+id), http.StatusOK)
}

// credentials returns the full credentials of a connection.
func (c *client) credentials(id string) object {
	c.t.Helper()
	result, errorType, message := c.invoke("token-get", encode(c.t, object{"connection_id": id, "full": true}))
	credentials, ok := result["credentials"].(object)
	if !ok {
		c.t.Fatalf("full credentials: %s %s", errorType, message)
	}
	return credentials
}
