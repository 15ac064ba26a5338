package handler_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/connectortest"
	"platform-api-connector/shared/sandbox"
)

const usersMe = "https://api.x.com/2/users/me"

// signing is the body of a request to sign.
func signing(t *testing.T, method, target string, parameters map[string]string) change {
	t.Helper()
	body := map[string]any{"method": method, "url": target}
	if parameters != nil {
		body["parameters"] = parameters
	}
	return withJSON(t, body)
}

// sign returns the header for a request of a connection.
func (s *stack) sign(t *testing.T, id, method, target string, parameters map[string]string) string {
	t.Helper()
	var signed struct{ Authorization string }
	s.do(t, http.MethodPost, "/connections/"+id+"/sign", signing(t, method, target, parameters)).decode(t, 200, &signed)
	return signed.Authorization
}

// callX sends a request to the sandbox of X, with a header, and returns the status. Its
// target is the URL without https.
func (s *stack) callX(t *testing.T, method, target, form, header string) int {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "http://sandbox.test/"+target, strings.NewReader(form))
	r.Header.Set("Authorization", header)
	if form != "" {
		r.Header.Set("Content-Type", formType)
	}
	w := httptest.NewRecorder()
	s.sandbox.ServeHTTP(w, r)
	return w.Code
}

func TestSign(t *testing.T) {
	t.Parallel()
	t.Run("platform_accepts_the_header", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		s.service.WithholdAppKeys = true
		id := s.importKeys(t, "acme", true)
		first := s.sign(t, id, "GET", usersMe+"?user.fields=id,name", nil)
		if got := s.callX(t, "GET", "api.x.com/2/users/me?user.fields=id,name", "", first); got != 200 {
			t.Errorf("a query that was signed: %d", got)
		}
		if got := s.callX(t, "GET", "api.x.com/2/users/me?user.fields=id,name", "", first); got != 401 {
			t.Errorf("the same header again: %d, want 401 for its nonce", got)
		}
		if got := s.callX(t, "GET", "api.x.com/2/users/me?user.fields=id", "", s.sign(t, id, "GET", usersMe+"?user.fields=id,name", nil)); got != 401 {
			t.Errorf("another query: %d, want 401", got)
		}
		parameters := map[string]string{"command": "INIT", "media_type": "video/mp4", "total_bytes": "1024"}
		const upload, form = "upload.x.com/1.1/media/upload.json", "command=INIT&media_type=video%2Fmp4&total_bytes=1024"
		if got := s.callX(t, "POST", upload, form, s.sign(t, id, "POST", "https://"+upload, parameters)); got != 202 {
			t.Errorf("a form that was signed: %d", got)
		}
		if got := s.callX(t, "POST", upload, form, s.sign(t, id, "POST", "https://"+upload, nil)); got != 401 {
			t.Errorf("a form that was not signed: %d, want 401", got)
		}
		if got := s.callX(t, "POST", upload, form, s.sign(t, id, "PUT", "https://"+upload, parameters)); got != 401 {
			t.Errorf("another method: %d, want 401", got)
		}
		if !strings.Contains(first, fmt.Sprintf(`oauth_timestamp="%d"`, s.clock.Now().Unix())) {
			t.Errorf("the time is not the connector's: %s", first)
		}
	})
	t.Run("no_key_in_answer_or_log", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		const canary = "canary-parameter"
		answers := s.sign(t, id, "POST", usersMe+"?a="+canary, map[string]string{"b": canary})
		for _, change := range []change{
			signing(t, "GET", "https://"+canary+".example/2", nil),
			signing(t, "GET", usersMe, map[string]string{"oauth_" + canary: canary}),
			signing(t, canary, usersMe, nil),
		} {
			answers += s.do(t, "POST", "/connections/"+id+"/sign", change).refused(t, 400, connector.InvalidRequest).Detail
		}
		key := s.sandbox.UserKeys()[0]
		app := s.sandbox.AppOf("twitter").Extras
		for _, secret := range []string{key.AccessTokenSecret, app["api_secret"], app["bearer_token"], canary} {
			if strings.Contains(answers, secret) || strings.Contains(s.logs.String(), secret) {
				t.Errorf("%q is in an answer or in the log", secret)
			}
		}
		if strings.Contains(s.logs.String(), "oauth_signature") {
			t.Error("a signature is in the log")
		}
	})
	t.Run("malformed_requests", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		many := map[string]string{}
		for i := range 101 {
			many[fmt.Sprint("p", i)] = ""
		}
		for name, body := range map[string]string{
			"no method":                 `{"url":"` + usersMe + `"}`,
			"a method in lower case":    `{"method":"get","url":"` + usersMe + `"}`,
			"another method":            `{"method":"CONNECT","url":"` + usersMe + `"}`,
			"no url":                    `{"method":"GET"}`,
			"a url that is too long":    `{"method":"GET","url":"` + usersMe + "?a=" + strings.Repeat("x", 5000) + `"}`,
			"another host":              `{"method":"GET","url":"https://example.com/2/users/me"}`,
			"an endpoint of OAuth":      `{"method":"POST","url":"https://api.x.com/1.1/oauth/invalidate_token.json"}`,
			"parameters in a list":      `{"method":"GET","url":"` + usersMe + `","parameters":["a"]}`,
			"a number":                  `{"method":"GET","url":"` + usersMe + `","parameters":{"a":1}}`,
			"null":                      `{"method":"GET","url":"` + usersMe + `","parameters":{"a":null}}`,
			"nested":                    `{"method":"GET","url":"` + usersMe + `","parameters":{"a":{"b":"c"}}}`,
			"a parameter twice":         `{"method":"GET","url":"` + usersMe + `","parameters":{"a":"1","a":"2"}}`,
			"a parameter of the query":  `{"method":"GET","url":"` + usersMe + `?a=1","parameters":{"a":"1"}}`,
			"a parameter without name":  `{"method":"GET","url":"` + usersMe + `","parameters":{"":"1"}}`,
			"a long name":               `{"method":"GET","url":"` + usersMe + `","parameters":{"` + strings.Repeat("x", 300) + `":"1"}}`,
			"a long value":              `{"method":"GET","url":"` + usersMe + `","parameters":{"a":"` + strings.Repeat("x", 33<<10) + `"}}`,
			"a parameter of OAuth":      `{"method":"GET","url":"` + usersMe + `","parameters":{"oauth_token":"1"}}`,
			"a body that is too large":  `{"method":"GET","url":"` + usersMe + `","padding":"` + strings.Repeat("x", 70<<10) + `"}`,
			"an unknown field":          `{"method":"GET","url":"` + usersMe + `","body":""}`,
			"a nonce":                   `{"method":"GET","url":"` + usersMe + `","nonce":"1"}`,
			"no body":                   ``,
			"too many parameters":       string(encode(t, map[string]any{"method": "GET", "url": usersMe, "parameters": many})),
			"a token of the query":      `{"method":"GET","url":"` + usersMe + `?oauth_token=1"}`,
			"an address of the machine": `{"method":"GET","url":"http://127.0.0.1/api.x.com/2/users/me"}`,
		} {
			_, e := event(t, "POST", "/connections/"+id+"/sign", withBody(jsonType, body))
			got := s.send(t, "token-get", encode(t, e))
			if got.StatusCode != 400 || !strings.Contains(got.Body, "InvalidRequest") {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.Body)
			}
		}
		_, forged := event(t, "POST", "/connections/"+id+"/sign", signing(t, "GET", usersMe, nil))
		forged.PathParameters = nil
		if got := s.send(t, "token-get", encode(t, forged)); got.StatusCode != 400 {
			t.Errorf("an event without an id: %d %s", got.StatusCode, got.Body)
		}
		s.do(t, "POST", "/connections/"+id+"/sign?a=b", signing(t, "GET", usersMe, nil)).refused(t, 400, connector.InvalidRequest)
	})
	t.Run("connections_that_cannot_sign", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		ask := func(id string) reply {
			return s.do(t, "POST", "/connections/"+id+"/sign", signing(t, "GET", usersMe, nil))
		}
		for _, platform := range platforms() {
			ask(s.connect(t, platform, "acme", sandbox.Choice{})[0]).refused(t, 400, connector.InvalidRequest)
		}
		ask(unknownID).refused(t, 404, connector.ConnectionNotFound)

		unverified := s.importKeys(t, "unverified", false)
		if got := ask(unverified).refused(t, 400, connector.InvalidRequest); !strings.Contains(got.Detail, "/verify") {
			t.Errorf("the detail does not say what to do: %s", got.Detail)
		}
		s.do(t, "POST", "/connections/"+unverified+"/verify").decode(t, 200, &struct{}{})
		ask(unverified).decode(t, 200, &struct{}{})

		disconnected := s.importKeys(t, "disconnected", true)
		s.do(t, "DELETE", "/connections/"+disconnected)
		ask(disconnected).refused(t, 404, connector.ConnectionNotFound)
	})
	t.Run("dead_keys", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.DeadGrant})
		s.do(t, "POST", "/connections/"+id+"/refresh").refused(t, 409, connector.ReauthorizationRequired)
		s.do(t, "POST", "/connections/"+id+"/sign", signing(t, "GET", usersMe, nil)).refused(t, 409, connector.ReauthorizationRequired)
	})
	t.Run("keys_of_another_app", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		s.putKeys(t, map[string]string{"api_key": "test-other-key", "api_secret": "test-other-secret"})
		s.do(t, "POST", "/connections/"+id+"/sign", signing(t, "GET", usersMe, nil)).refused(t, 502, connector.AppMisconfigured)
		s.putKeys(t, nil)
		s.do(t, "POST", "/connections/"+id+"/sign", signing(t, "GET", usersMe, nil)).refused(t, 409, connector.AppNotConfigured)
		s.putApp(t, "twitter")
		if got := s.callX(t, "GET", "api.x.com/2/users/me", "", s.sign(t, id, "GET", usersMe, nil)); got != 200 {
			t.Errorf("with the first app again: %d", got)
		}
	})
	t.Run("own_keys", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		app, key := s.sandbox.AppOf("twitter").Extras, s.sandbox.UserKeys()[0]
		s.putKeys(t, map[string]string{"api_key": "test-other-key", "api_secret": "test-other-secret"})
		id := s.importUnverified(t, "twitter", "acme", map[string]string{
			"api_key": app["api_key"], "api_secret": app["api_secret"], "access_token": key.AccessToken, "access_token_secret": key.AccessTokenSecret,
		})
		if got := s.callX(t, "GET", "api.x.com/2/users/me", "", s.sign(t, id, "GET", usersMe, nil)); got != 200 {
			t.Errorf("keys that the import brought: %d", got)
		}
	})
	t.Run("previous_release", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		s.setProof(t, id, withoutProofs)
		s.sandbox.Fault(sandbox.Fault{Platform: "twitter", Endpoint: "me", Kind: sandbox.Outage})
		s.do(t, "POST", "/connections/"+id+"/sign", signing(t, "GET", usersMe, nil)).refused(t, 503, connector.PlatformUnavailable)
		s.clock.Advance(time.Minute)
		before := s.sandbox.Count("twitter", "me")
		s.sign(t, id, "GET", usersMe, nil)
		s.sign(t, id, "GET", usersMe, nil)
		if n := s.sandbox.Count("twitter", "me") - before; n != 1 {
			t.Errorf("%d calls of the platform, want 1", n)
		}
		// Tokens sign nothing, and are not refreshed to find that out.
		tokens := s.imported(t, "twitter", "globex", true, leaning("twitter", s.importable(t, "twitter")))
		s.setProof(t, tokens, withoutProofs)
		s.do(t, "POST", "/connections/"+tokens+"/sign", signing(t, "GET", usersMe, nil)).refused(t, 400, connector.InvalidRequest)
		if n := s.sandbox.Count("twitter", "token/refresh_token"); n != 0 {
			t.Errorf("%d refreshes", n)
		}
	})
	t.Run("no_randomness", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		s.service.Random = strings.NewReader("")
		s.do(t, "POST", "/connections/"+id+"/sign", signing(t, "GET", usersMe, nil)).refused(t, 500, connector.Internal)
	})
	t.Run("vault_down", func(t *testing.T) {
		t.Parallel()
		s := newStack(t)
		id := s.importKeys(t, "acme", true)
		s.hook(connectortest.Fail(fmt.Errorf("down"), "Vault.Get"))
		s.do(t, "POST", "/connections/"+id+"/sign", signing(t, "GET", usersMe, nil)).refused(t, 500, connector.Internal)
	})
}
