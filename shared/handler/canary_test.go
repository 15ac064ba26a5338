package handler_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/handler"
	"platform-api-connector/shared/sandbox"
)

// TestCanary runs every flow at LOG_LEVEL=debug, with success and with failure. It
// then searches all output for every secret: logs, answers, pages, errors, records,
// tickets, events, messages, and the URLs of calls to platforms.
//
// The search omits the places that contain a secret by design:
//
//   - the state in the Location and the cookie in the Set-Cookie of oauth-start,
//   - the link in the answer to POST /links,
//   - the confirmation in the Location of a callback,
//   - the access_token of token-get, OAuth 1.0a keys in its credentials, and,
//     with "full", all of its credentials,
//   - the access token in a signed header, which names it,
//   - the confirmation code in the answer to a data deletion,
//   - the authorize URL, the URL of Facebook's debug_token, which takes the token in
//     its query, and those of the exchange and the refresh of Instagram's tokens, which
//     take the token and the client secret there.
func TestCanary(t *testing.T) {
	t.Parallel()
	for _, name := range platforms() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCanary(t)
			c.consents(t, name)
			c.failures(t, name)
			c.tokens(t, name)
			c.refreshes(t, name)
			c.imports(t, name)
			c.notices(t)
			c.mistakes(t, name)
			c.ends(t, name)
			c.search(t)
		})
	}
}

// canary is a stack that records its secrets and its output.
type canary struct {
	*stack
	mu      sync.Mutex
	secrets map[string]string // names by value
	outputs []output
}

// output is a text that must not contain a secret.
type output struct{ source, text string }

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{stack: newStack(t), secrets: map[string]string{}}
	c.hook(c.recordWrites)
	for function, f := range functions(handler.New(c.service, c.service.Log, nil)) {
		c.functions[function] = func(ctx context.Context, payload []byte) ([]byte, error) {
			answer, err := f(ctx, payload)
			if err != nil {
				c.record("error of "+function, fmt.Sprintf("%v %+v %#v", err, err, err))
			}
			c.recordAnswer(function, payload, answer)
			return answer, err
		}
	}
	return c
}

// secret adds secrets. Values shorter than 8 bytes would also match other text.
func (c *canary) secret(name string, values ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, value := range values {
		if len(value) >= 8 {
			c.secrets[value] = name
		}
	}
}

func (c *canary) record(source, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.outputs = append(c.outputs, output{source, text})
}

// recordAnswer records an answer without the secrets that it contains by design.
func (c *canary) recordAnswer(function string, payload, answer []byte) {
	var r reply
	if json.Unmarshal(answer, &r) != nil || r.StatusCode == 0 {
		c.record("answer of "+function, withoutToken(function, string(answer)))
		return
	}
	var e events.APIGatewayV2HTTPRequest
	_ = json.Unmarshal(payload, &e)
	switch {
	case function == blueprint.OAuthStart && r.StatusCode == 302:
		c.secret("a state", queryOf(r.Headers["location"], "state"))
		delete(r.Headers, "location")
		r.Cookies = nil
	case function == blueprint.OAuthCallback && r.StatusCode == 302:
		if confirmation := queryOf(r.Headers["location"], "confirmation"); confirmation != "" {
			c.secret("a confirmation", confirmation)
			r.Headers["location"] = strings.ReplaceAll(r.Headers["location"], confirmation, "")
		}
	case e.RouteKey == "POST /links" && r.StatusCode == 201:
		var minted struct{ URL string }
		_ = json.Unmarshal([]byte(r.Body), &minted)
		c.secret("a link", minted.URL[strings.LastIndex(minted.URL, "/")+1:])
		r.Body = ""
	case strings.HasSuffix(e.RouteKey, "/data-deletion") && r.StatusCode == 200:
		r.Body = ""
	}
	c.record("answer of "+function+" to "+e.RouteKey, fmt.Sprintf("%v %v %s", r.Headers, r.Cookies, withoutToken(function, r.Body)))
}

// withoutToken removes the requested secrets from an answer of token-get.
func withoutToken(function, body string) string {
	var answer map[string]any
	if function != blueprint.TokenGet || json.Unmarshal([]byte(body), &answer) != nil {
		return body
	}
	delete(answer, "access_token")
	if header, ok := answer["authorization"].(string); ok {
		answer["authorization"] = namedToken.ReplaceAllString(header, "")
	}
	credentials, _ := answer["credentials"].(map[string]any)
	if _, full := answer["connection_id"]; !full {
		delete(answer, "credentials")
	}
	if _, isOAuth1 := credentials["access_token_secret"]; isOAuth1 {
		delete(answer, "credentials")
	}
	b, _ := json.Marshal(answer)
	return string(b)
}

// namedToken is the access token in a signed header.
var namedToken = regexp.MustCompile(`oauth_token="[^"]*"`)

func queryOf(address, name string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

// recordWrites records the writes to the store and the queue.
func (c *canary) recordWrites(_ context.Context, call connectortest.Call, next func() error) error {
	if after := call.Change.After; after != nil {
		c.record("record", string(mustJSON(after))+fmt.Sprintf(" %+v", *after))
	}
	written := slices.Concat(call.Change.Put, call.Change.Overwrite)
	for _, replacement := range call.Change.Replace {
		written = append(written, replacement.New)
	}
	for _, t := range written {
		c.record("ticket", string(t.Body)+" "+t.ID+" "+t.Bound)
	}
	if call.Counter != "" {
		c.record("counter", call.Counter)
	}
	if call.Items != nil {
		c.record("message", fmt.Sprint(call.Items))
	}
	return next()
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// begin begins an authorization and records its secrets.
func (c *canary) begin(t *testing.T, name string, link map[string]any, choice sandbox.Choice) flow {
	t.Helper()
	f := c.flowOf(t, name, c.link(t, link), choice)
	_, cookie, _ := strings.Cut(f.cookie, "=")
	c.secret("a cookie", cookie)
	c.secret("a code", queryOf(f.callback, "code"))
	return f
}

// raw sends a request that may violate the OpenAPI document.
func (c *canary) raw(t *testing.T, method, target string, changes ...change) reply {
	t.Helper()
	route, e := event(t, method, target, changes...)
	return c.send(t, route.Function, encode(t, e))
}

func (c *canary) consents(t *testing.T, name string) {
	link := map[string]any{"platform": name, "owner": "acme"}
	withReturnURL := map[string]any{"platform": name, "owner": "acme", "return_url": returnURL}
	f := c.begin(t, name, link, sandbox.Choice{})
	c.raw(t, "GET", f.callback)
	c.raw(t, "GET", f.callback, withCookie(f.cookie), with("sec-purpose", "prefetch"))
	f.finish(t, with("accept", browserUse))
	f.finish(t, with("accept", browserUse))
	f.finish(t)
	c.begin(t, name, withReturnURL, sandbox.Choice{}).finish(t)
	c.begin(t, name, withReturnURL, sandbox.Choice{Deny: true}).finish(t)
	c.begin(t, name, link, sandbox.Choice{Deny: true}).finish(t, with("accept", browserUse))
	late := c.begin(t, name, link, sandbox.Choice{})
	c.clock.Advance(11 * time.Minute)
	late.finish(t)
	mixed := c.begin(t, name, link, sandbox.Choice{})
	for _, other := range platforms() {
		c.raw(t, "GET", strings.Replace(mixed.callback, "/"+name+"/", "/"+other+"/", 1))
	}
	c.raw(t, "GET", mixed.callback+"&iss=https://evil.example", withCookie(mixed.cookie))
	c.raw(t, "GET", mixed.callback+"&code=again&state=again", withCookie(mixed.cookie))
	c.confirms(t, withReturnURL)
}

// confirms runs a consent that must be confirmed, as another owner and as its own.
func (c *canary) confirms(t *testing.T, link map[string]any) {
	t.Helper()
	pending := map[string]any{"confirm": true}
	for field, value := range link {
		pending[field] = value
	}
	pending["owner"] = "confirmed"
	for _, owner := range []string{"mallory", "confirmed"} {
		f := c.begin(t, link["platform"].(string), pending, sandbox.Choice{})
		confirmation := queryOf(f.finish(t).Headers["location"], "confirmation")
		if confirmation == "" {
			t.Fatal("no confirmation")
		}
		for range 2 {
			c.raw(t, "POST", "/connections/confirm", withJSON(t, map[string]any{"confirmation": confirmation, "owner": owner}))
		}
	}
}

func (c *canary) failures(t *testing.T, name string) {
	for _, endpoint := range []string{"token", "me", "channels", "permissions", "accounts"} {
		for _, kind := range []sandbox.Kind{
			sandbox.Cut, sandbox.Throttled, sandbox.Quota, sandbox.Outage, sandbox.HTML, sandbox.DeadGrant, sandbox.WrongClient,
			sandbox.ErrorIn200, sandbox.Oversize, sandbox.Truncated, sandbox.DuplicateKeys, sandbox.Elsewhere,
		} {
			c.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: endpoint, Kind: kind, Location: "https://evil.example/"})
			c.begin(t, name, map[string]any{"platform": name, "owner": "failing"}, sandbox.Choice{}).finish(t)
			c.sandbox.ClearFaults()
		}
	}
}

// connectOne connects a platform and returns the id of its first connection.
func (c *canary) connectOne(t *testing.T, name string) string {
	t.Helper()
	return c.connect(t, name, "acme", sandbox.Choice{})[0]
}

func (c *canary) tokens(t *testing.T, name string) {
	id := c.connectOne(t, name)
	for _, payload := range []string{
		`{"connection_id":"` + id + `"}`, `{"connection_id":"` + id + `","full":true}`, `{"connection_id":"` + id + `","force_refresh":true}`,
		`{"connection_id":"` + id + `","scopes":["none.such"]}`, `{"connection_id":"` + id + `","owner":"mallory"}`, `{"owner":"acme","platform":"` + name + `"}`,
	} {
		_, _ = c.invoke(t, "token-get", payload)
	}
	c.raw(t, "GET", "/connections/"+id+"/token?full=true")
	c.raw(t, "GET", "/connections/"+id+"/token?force_refresh=true")
	c.raw(t, "GET", "/connections/"+id)
	c.raw(t, "GET", "/connections")
	c.raw(t, "POST", "/connections/"+id+"/verify")
	c.raw(t, "POST", "/connections/"+id+"/usage", withJSON(t, map[string]any{"posts": 1}))
	c.raw(t, "GET", "/platforms/"+name)
}

func (c *canary) refreshes(t *testing.T, name string) {
	id := c.connectOne(t, name)
	for _, kind := range []sandbox.Kind{
		"", sandbox.Cut, sandbox.Throttled, sandbox.Outage, sandbox.HTML, sandbox.WrongClient, sandbox.Truncated, sandbox.DeadGrant,
	} {
		if kind != "" {
			c.sandbox.Fault(sandbox.Fault{Platform: name, Kind: kind, Times: -1})
		}
		c.clock.Advance(24 * time.Hour)
		_, _ = c.invoke(t, "refresh", `{}`)
		for _, due := range c.queue.Drain() {
			_, _ = c.invoke(t, "refresh-worker", batch(t, messageOf(due)))
		}
		c.raw(t, "POST", "/connections/"+id+"/refresh")
		c.raw(t, "POST", "/connections/"+id+"/verify")
		_, _ = c.invoke(t, "token-get", `{"connection_id":"`+id+`"}`)
		c.sandbox.ClearFaults()
	}
	c.sandbox.Kill(name, "", 0)
	c.raw(t, "POST", "/connections/"+id+"/refresh")
	c.clock.Advance(24 * time.Hour)
	c.begin(t, name, map[string]any{"platform": name, "owner": "acme", "connection_id": id}, sandbox.Choice{}).finish(t)
}

func (c *canary) imports(t *testing.T, name string) {
	credentials := c.full(t, c.connectOne(t, name))
	c.importAll(t, name, credentials)
	if name == sandbox.Twitter {
		app, keys := c.sandbox.AppOf(name), c.sandbox.UserKeys()
		for _, key := range keys {
			c.secret("an OAuth 1.0a key", key.AccessToken, key.AccessTokenSecret, app.Extras["api_secret"], app.Extras["bearer_token"])
			c.importAll(t, name, map[string]any{
				"api_key": app.Extras["api_key"], "api_secret": app.Extras["api_secret"], "bearer_token": app.Extras["bearer_token"],
				"access_token": key.AccessToken, "access_token_secret": key.AccessTokenSecret,
			})
		}
	}
}

// importAll imports credentials unchanged, and with each field replaced.
func (c *canary) importAll(t *testing.T, name string, credentials map[string]any) {
	t.Helper()
	for _, verify := range []bool{true, false} {
		got := c.raw(t, "POST", "/connections", withJSON(t, map[string]any{"platform": name, "owner": fmt.Sprint("importer ", verify), "credentials": credentials, "verify": verify}))
		var imported struct{ Connections []struct{ ID string } }
		_ = json.Unmarshal([]byte(got.Body), &imported)
		for _, connection := range imported.Connections {
			_, _ = c.invoke(t, "token-get", `{"connection_id":"`+connection.ID+`"}`)
			c.raw(t, "POST", "/connections/"+connection.ID+"/verify")
			c.raw(t, "POST", "/connections/"+connection.ID+"/sign", signing(t, "GET", usersMe+"?a=b", map[string]string{"c": "d"}))
			c.raw(t, "POST", "/connections/"+connection.ID+"/sign", signing(t, "GET", "https://evil.example/", nil))
		}
	}
	for field, value := range credentials {
		changed := map[string]any{}
		for field, value := range credentials {
			changed[field] = value
		}
		forged := fmt.Sprint("test-imported-", field, "-", value)
		c.secret("a changed "+field, forged)
		for _, replacement := range []any{forged, forged + "\n", map[string]any{forged: forged}, []string{forged}} {
			changed[field] = replacement
			c.raw(t, "POST", "/connections", withJSON(t, map[string]any{"platform": name, "owner": "changed", "credentials": changed}))
		}
		c.raw(t, "POST", "/connections", withJSON(t, map[string]any{"platform": name, "owner": "changed", "credentials": map[string]any{forged: field}}))
		c.raw(t, "POST", "/connections", withJSON(t, map[string]any{"platform": name, "owner": "changed", "credentials": map[string]any{forged: map[string]any{}}}))
	}
}

func (c *canary) notices(t *testing.T) {
	for _, person := range []string{"0", c.sandbox.People("facebook")[0].ID} {
		signed := c.sandbox.SignedRequest(person)
		for _, body := range []string{signed, "x" + signed, signed + "x"} {
			form := withBody(formType, url.Values{"signed_request": {body}}.Encode())
			c.raw(t, "POST", "/platforms/facebook/deauthorize", form)
			c.raw(t, "POST", "/platforms/facebook/data-deletion", form)
		}
	}
	body, signature := c.sandbox.TikTokNotice("authorization.removed", c.sandbox.People("tiktok")[0].ID)
	for _, signature := range []string{signature, "t=1,s=2", signature + "0"} {
		c.raw(t, "POST", "/platforms/tiktok/webhook", withBody(jsonType, string(body)), with("tiktok-signature", signature))
	}
}

// mistakes sends secrets in the wrong places.
func (c *canary) mistakes(t *testing.T, name string) {
	id := c.connectOne(t, name)
	secret := c.sandbox.AppOf(name).ClientSecret
	token := "test-token-0123456789abcdefABCDEF"
	c.secret("a misplaced token", token)
	for _, value := range []string{secret, token} {
		q := url.QueryEscape(value)
		c.raw(t, "GET", "/connections?"+q+"="+q)
		c.raw(t, "GET", "/connections?cursor="+q)
		c.raw(t, "GET", "/connections?platform="+q)
		c.raw(t, "GET", "/connections?status="+q)
		c.raw(t, "GET", "/connections/"+q)
		c.raw(t, "GET", "/connections/"+q+"/token?scopes="+strings.Repeat("x", 300)+q)
		c.raw(t, "GET", "/connect/"+q)
		c.raw(t, "GET", "/platforms/"+q)
		c.raw(t, "GET", "/oauth/"+q+"/callback?state="+q+"&code="+q+"&error="+q)
		c.raw(t, "POST", "/links", withBody(jsonType, value))
		c.raw(t, "POST", "/links", withJSON(t, map[string]any{value: value}))
		c.raw(t, "POST", "/links", withJSON(t, map[string]any{"platform": value, "owner": "a"}))
		c.raw(t, "POST", "/links", withJSON(t, map[string]any{"platform": name, "owner": "a", "connection_id": value}))
		c.raw(t, "POST", "/links", withJSON(t, map[string]any{"platform": name, "owner": "a", "return_url": "https://" + value}))
		c.raw(t, "PUT", "/platforms/"+name+"/app", withJSON(t, map[string]any{"client_id": "test", "client_secret": value, "mode": value}))
		c.raw(t, "PUT", "/platforms/"+name+"/app", withJSON(t, map[string]any{"client_id": "test", "client_secret": map[string]any{"a": value}}))
		_, _ = c.invoke(t, "token-get", `{"connection_id":"`+value+`"}`)
		_, _ = c.invoke(t, "token-get", `{"`+value+`":"`+value+`"}`)
		_, _ = c.invoke(t, "refresh-worker", `{"Records":[{"messageId":"1","body":"{\"connection_id\":\"`+value+`\"}"},{"messageId":"2","body":"`+value+`"}]}`)
		_, _ = c.invoke(t, "token-get", value)
	}
	c.raw(t, "PUT", "/platforms/"+name+"/app", withJSON(t, map[string]any{"client_id": "test-client", "client_secret": token, "mode": "live"}))
	c.raw(t, "POST", "/connections/"+id+"/refresh") // with the wrong client secret
	c.putApp(t, name)
}

func (c *canary) ends(t *testing.T, name string) {
	ids := c.connect(t, name, "leaving", sandbox.Choice{})
	c.sandbox.Fault(sandbox.Fault{Platform: name, Endpoint: "revoke", Kind: sandbox.Outage})
	c.raw(t, "DELETE", "/connections/"+ids[0])
	c.sandbox.ClearFaults()
	c.clock.Advance(24 * time.Hour)
	_, _ = c.invoke(t, "refresh", `{}`)
	for _, due := range c.queue.Drain() {
		_, _ = c.invoke(t, "refresh-worker", batch(t, messageOf(due)))
	}
	c.raw(t, "DELETE", "/connections/"+ids[0]+"?purge=true")
	c.raw(t, "GET", "/connections/"+ids[0])
}

// search searches all outputs for every secret.
func (c *canary) search(t *testing.T) {
	t.Helper()
	c.secret("a code, token or key of the sandbox", c.sandbox.Secrets()...)
	for _, name := range platforms() {
		for _, call := range c.sandbox.Calls(name, "") {
			c.secret("a code verifier", call.Form.Get("code_verifier"))
			if !slices.Contains([]string{"authorize", "consent", "debug_token", "extend", "refresh"}, call.Endpoint) {
				c.record("URL of "+name+"'s "+call.Endpoint, call.Path+"?"+call.Query.Encode())
			}
		}
	}
	c.record("log", c.logs.String())
	for _, e := range c.events.All() {
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		c.record("event", string(b))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.secrets) < 50 || len(c.outputs) < 200 {
		t.Fatalf("%d secrets and %d outputs, want 50 and 200 at least", len(c.secrets), len(c.outputs))
	}
	var all strings.Builder
	for _, o := range c.outputs {
		all.WriteString(o.text)
		all.WriteByte('\n')
	}
	everything := all.String()
	for value, name := range c.secrets {
		for encoding, encoded := range encodings(value) {
			if !strings.Contains(everything, encoded) {
				continue
			}
			for _, o := range c.outputs {
				if at := strings.Index(o.text, encoded); at >= 0 {
					t.Errorf("%s contains %s (%s): …%s…", o.source, name, encoding, o.text[max(0, at-80):min(len(o.text), at+80)])
					break
				}
			}
		}
	}
}

// encodings returns the encodings in which a secret may be in a text.
func encodings(value string) map[string]string {
	quoted, _ := json.Marshal(value)
	all := map[string]string{
		"plain":          value,
		"in JSON":        strings.Trim(string(quoted), `"`),
		"in a query":     url.QueryEscape(value),
		"in a path":      url.PathEscape(value),
		"in hexadecimal": hex.EncodeToString([]byte(value)),
	}
	// In base64, the position of the secret determines one of three encodings. The
	// characters that also encode bytes around the secret are cut off.
	for shift := range 3 {
		for alphabet, encoding := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			encoded := encoding.EncodeToString([]byte(strings.Repeat("-", shift) + value))
			from, to := (shift*8+5)/6, len(encoded)-1
			all[fmt.Sprint(alphabet, ", offset ", shift)] = encoded[from:to]
		}
	}
	return all
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	const value = "test-secret+/="
	for name, text := range map[string]string{
		"basic": base64.StdEncoding.EncodeToString([]byte("client:" + value)), "basic, shifted": base64.StdEncoding.EncodeToString([]byte("a:" + value + "x")),
		"query": url.Values{"a": {value}}.Encode(), "JSON": fmt.Sprintf("%q", value),
	} {
		found := false
		for _, encoded := range encodings(value) {
			found = found || strings.Contains(text, encoded)
		}
		if !found {
			t.Errorf("%s: not found in %s", name, text)
		}
	}
}
