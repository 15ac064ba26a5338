package hostiletest

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"platform-api-connector/shared/sandbox"
)

const (
	unknownState = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	unknownID    = "00000000-0000-4000-8000-000000000000"
)

// requests are the hostile requests that need no preparation. None of them may
// store a connection or reach a platform.
//
// A name may have several requests. SECURITY.md and bug reports refer to the
// names, so a name must not change.
//
// The line is a method and a target, or INVOKE and a function. A body is JSON.
// In line and body, {platform} stands for each platform and {unknown_platform},
// {http_function} and {no_owner} for each value of their lists below. {owner}
// is the owner of the subtest, {connection} the id of a connection of that
// owner, and {callback} a callback of that owner that the person's browser has
// not requested yet. A request for {callback} has the cookie of that browser,
// and the authorization must be usable afterwards.
//
// The answer must have one of the alternatives that want lists, separated by
// "|": a status, a code, or both. The code of an invocation is its error type.
var requests = []struct{ name, line, body, want string }{
	{"01_callback_without_parameters", "GET /oauth/{platform}/callback", "", "400 StateInvalid"},
	{"01_callback_without_parameters", "GET /oauth/{platform}/callback?", "", "400 StateInvalid"},
	{"01_callback_without_parameters", "GET /oauth/{platform}/callback?&&&", "", "400 StateInvalid"},
	{"01_callback_without_parameters", "GET /oauth/{platform}/callback?=", "", "400 StateInvalid"},
	{"01_callback_without_parameters", "GET /oauth/{platform}/callback?state", "", "400 StateInvalid"},
	{"01_callback_without_parameters", "GET /oauth/{platform}/callback?state=", "", "400 StateInvalid"},

	{"02_code_without_state", "GET /oauth/{platform}/callback?code=test-code", "", "400 StateInvalid"},
	{"02_code_without_state", "GET /oauth/{platform}/callback?code=test-code&state=", "", "400 StateInvalid"},
	{"02_code_without_state", "GET /oauth/{platform}/callback?code=test-code&state=x", "", "400 StateInvalid"},

	{"12_error_with_unknown_state", "GET /oauth/{platform}/callback?error=access_denied&state=" + unknownState, "", "400 StateInvalid"},

	{"14_post_to_a_get_route", "POST {callback}", "", "405"},
	{"14_post_to_a_get_route", "PUT {callback}", "", "405"},
	{"14_post_to_a_get_route", "DELETE {callback}", "", "405"},
	{"14_post_to_a_get_route", "PATCH {callback}", "", "405"},
	{"14_post_to_a_get_route", "OPTIONS {callback}", "", "405"},
	{"14_post_to_a_get_route", "TRACE {callback}", "", "405"},
	{"14_post_to_a_get_route", "POST /connect/" + unknownState, "", "405"},

	{"25_platforms_that_are_none", "GET /oauth/{unknown_platform}/callback?state=" + unknownState, "", "400|404"},
	{"25_platforms_that_are_none", "GET /platforms/{unknown_platform}", "", "400|404"},
	{"25_platforms_that_are_none", "POST /links", `{"platform":"{unknown_platform}","owner":"{owner}"}`, "400 InvalidRequest"},
	{"25_platforms_that_are_none", "POST /links", `{"platform":"","owner":"{owner}"}`, "400 InvalidRequest"},

	{"30_another_owners_connection_looks_absent", "INVOKE token-get", `{"connection_id":"{connection}","owner":"mallory"}`, "ConnectionNotFound"},
	{"30_another_owners_connection_looks_absent", "INVOKE token-get", `{"connection_id":"` + unknownID + `","owner":"mallory"}`, "ConnectionNotFound"},
	{"30_another_owners_connection_looks_absent", "INVOKE token-get", `{"owner":"mallory","platform":"youtube"}`, "ConnectionNotFound"},
	{"30_another_owners_connection_looks_absent", "INVOKE token-get", `{"owner":"{owner} x","platform":"youtube"}`, "ConnectionNotFound"},
	{"30_another_owners_connection_looks_absent", "INVOKE token-get", `{"owner":"mallory","platform":"youtube","account_id":"UCsandbox-channel-one-01"}`, "ConnectionNotFound"},
	{"30_another_owners_connection_looks_absent", "POST /links", `{"platform":"youtube","owner":"mallory","connection_id":"{connection}"}`, "404 ConnectionNotFound"},
	{"30_another_owners_connection_looks_absent", "POST /links", `{"platform":"youtube","owner":"mallory","connection_id":"` + unknownID + `"}`, "404 ConnectionNotFound"},

	{"47_payloads_of_other_fronts", "INVOKE {http_function}", `{"version":"1.0","httpMethod":"GET","path":"/connections","resource":"/connections","headers":{},"multiValueHeaders":{"Accept":["*/*"]},"requestContext":{}}`, "400|404|InvalidRequest"},
	{"47_payloads_of_other_fronts", "INVOKE {http_function}", `{"httpMethod":"GET","path":"/connections","requestContext":{"elb":{}}}`, "400|404|InvalidRequest"},
	{"47_payloads_of_other_fronts", "INVOKE {http_function}", `{"version":"2.0","routeKey":"GET /connections","body":"!","isBase64Encoded":true}`, "400|404|InvalidRequest"},
	{"47_payloads_of_other_fronts", "INVOKE {http_function}", `{"version":"2.0","routeKey":"GET /connections","headers":"x"}`, "400|404|InvalidRequest"},
	{"47_payloads_of_other_fronts", "INVOKE {http_function}", `{"version":"2.0","routeKey":null,"requestContext":null}`, "400|404|InvalidRequest"},

	{"delimiters_in_names", "POST /links", `{"platform":"youtube","owner":"{no_owner}"}`, "400 InvalidRequest"},
	{"delimiters_in_names", "INVOKE token-get", `{"platform":"youtube","owner":"{no_owner}"}`, "InvalidRequest"},

	{"encodings", "GET /connections?owner=%ff", "", "400 InvalidRequest"},
	{"encodings", "GET /connections?owner=%zz", "", "400 InvalidRequest"},
	{"encodings", "GET /connections?owner=a;limit=1", "", "400 InvalidRequest"},
	{"encodings", "GET /connections?owner=%00", "", "400 InvalidRequest"},
	{"encodings", "GET /connections?owner=%E2%80%AE", "", "400 InvalidRequest"},
	{"encodings", "GET /connections?owner=acme%0d%0aX:y", "", "400 InvalidRequest"},
	{"encodings", "GET /connections?%6fwner={owner}", "", "200"},
	{"encodings", "GET /connections/%2e%2e/token", "", "404"},
	{"encodings", "GET /connections//token", "", "404"},
	{"encodings", "GET /connections/a%2fb", "", "404"},
	{"encodings", "GET /oauth/youtube/callback?state=%F0%9F%98%80", "", "400 StateInvalid"},
	{"encodings", "POST /links", "\xef\xbb\xbf{}", "400 InvalidRequest"},
	{"encodings", "POST /links", "{\"platform\":\"youtube\",\"owner\":\"\xff\"}", "400 InvalidRequest"},
	{"encodings", "POST /links", `{"platform":"youtube","owner":"\ud800"}`, "400 InvalidRequest"},
	{"encodings", "POST /links", `{"platform":"youtube","owner":"a\u0000"}`, "400 InvalidRequest"},

	{"event_with_both_shapes", "INVOKE token-get", `{"connection_id":"{connection}","routeKey":"GET /connections/{id}/token"}`, "400|404"},
	{"event_with_both_shapes", "INVOKE token-get", `{"connection_id":"{connection}","requestContext":{}}`, "400|404"},
	{"event_with_both_shapes", "INVOKE token-get", `{"connection_id":"{connection}","requestContext":null}`, "InvalidRequest"},
	{"event_with_both_shapes", "INVOKE token-get", `{"connection_id":"{connection}","httpMethod":"GET"}`, "400|404"},
	{"event_with_both_shapes", "INVOKE token-get", `{"version":"2.0","routeKey":"GET /connections","pathParameters":{"id":"{connection}"}}`, "400|404"},
	{"event_with_both_shapes", "INVOKE token-get", `{"Connection_ID":"{connection}"}`, "InvalidRequest"},
	{"event_with_both_shapes", "INVOKE token-get", `{"Records":[{"body":"{\"connection_id\":\"{connection}\"}"}]}`, "InvalidRequest"},
	{"event_with_both_shapes", "INVOKE token-get", `[{"connection_id":"{connection}"}]`, "InvalidRequest"},

	{"parameters_twice", "GET {callback}&state=x", "", "400"},
	{"parameters_twice", "GET {callback}&code=x", "", "400"},
	{"parameters_twice", "GET {callback}&error=a&error=b", "", "400"},
	{"parameters_twice", "GET {callback}&iss=a&iss=b", "", "400"},
	{"parameters_twice", "GET {callback}&%73tate=x", "", "400"},
	{"parameters_twice", "GET /connections?limit=1&limit=2", "", "400 InvalidRequest"},
	{"parameters_twice", "GET /connections?owner=a&owner=b", "", "400 InvalidRequest"},
	{"parameters_twice", "GET /connections?owner=a&Owner=b", "", "400 InvalidRequest"},

	{"selectors_left_empty", "INVOKE token-get", `{"connection_id":"{connection}","owner":""}`, "InvalidRequest"},
	{"selectors_left_empty", "INVOKE token-get", `{"connection_id":"{connection}","platform":""}`, "InvalidRequest"},
	{"selectors_left_empty", "INVOKE token-get", `{"connection_id":"{connection}","account_id":""}`, "InvalidRequest"},
	{"selectors_left_empty", "INVOKE token-get", `{"connection_id":"","owner":"{owner}","platform":"youtube"}`, "InvalidRequest"},
	{"selectors_left_empty", "INVOKE token-get", `{"owner":"{owner}","platform":"youtube","account_id":""}`, "InvalidRequest"},
	{"selectors_left_empty", "POST /links", `{"platform":"youtube","owner":"{owner}","connection_id":""}`, "400 InvalidRequest"},
	{"selectors_left_empty", "GET /connections?owner=", "", "400 InvalidRequest"},
}

// lists are the values of the placeholders that stand for several.
var lists = map[string][]string{
	"{unknown_platform}": {
		"myspace", "../facebook", "FACEBOOK", "face book", "facebook\x00", "__proto__", "constructor", "facebook/../youtube", "faceb\u043eok",
	},
	"{http_function}": {"oauth-start", "oauth-callback", "connections", "token-get", "platform-notice"},
	"{no_owner}": {
		"", "a\nb", "a\rb", "a\tb", "a\x00b", "a\x1b[31mb", "a\u2028b", "a\u202eb", "a\u200bb", "a\u0085b", "a\ufffd",
		strings.Repeat("a", 129), strings.Repeat("日", 129),
	},
}

// runRequests sends the requests of one name.
func (c *client) runRequests(name string) {
	c.t.Helper()
	var pending *authorization
	connection := ""
	fill := func(line, body string) (string, string) {
		if pending == nil && strings.Contains(line, "{callback}") {
			a := c.authorize("youtube", sandbox.Choice{})
			pending = &a
		}
		if connection == "" && strings.Contains(line+body, "{connection}") {
			connection = c.connect("youtube", c.owner, sandbox.Choice{})
		}
		pairs := []string{"{owner}", c.owner, "{connection}", connection}
		if pending != nil {
			pairs = append(pairs, "{callback}", pending.callback)
		}
		r := strings.NewReplacer(pairs...)
		return r.Replace(line), r.Replace(body)
	}
	for _, row := range requests {
		if row.name != name {
			continue
		}
		for _, each := range c.expand(row.line, row.body) {
			line, body := fill(each[0], each[1])
			stored, calls := len(c.connections(c.owner)), c.platformCalls()
			status, code := c.perform(line, body, pending)
			if !fits(row.want, status, code) {
				c.t.Errorf("%s %.200q: %d %s, want %s", each[0], each[1], status, code, row.want)
			}
			if got := len(c.connections(c.owner)); got != stored {
				c.t.Errorf("%s %.200q: %d connections, before the request %d", each[0], each[1], got, stored)
			}
			if got := c.platformCalls(); got != calls {
				c.t.Errorf("%s %.200q: %d calls to platforms", each[0], each[1], got-calls)
			}
		}
	}
	if pending != nil {
		pending.expectUsable()
	}
}

// perform sends a request or invokes a function, and returns status and code.
func (c *client) perform(line, body string, pending *authorization) (status int, code string) {
	c.t.Helper()
	method, target, _ := strings.Cut(line, " ")
	if method != "INVOKE" {
		var changes []change
		if pending != nil && strings.HasPrefix(target, pending.callback) {
			changes = append(changes, withCookie(pending.cookie))
		}
		a := c.send(method, target, body, changes...)
		return a.status, a.code()
	}
	result, errorType, _ := c.invoke(target, body)
	if errorType != "" {
		return 0, errorType
	}
	number, _ := result["statusCode"].(float64)
	text, _ := result["body"].(string)
	return int(number), answer{body: text}.code()
}

// fits reports whether an answer is one of the alternatives of want.
func fits(want string, status int, code string) bool {
	for alternative := range strings.SplitSeq(want, "|") {
		words := strings.Fields(alternative)
		if !slices.ContainsFunc(words, func(word string) bool { return word != strconv.Itoa(status) && word != code }) {
			return true
		}
	}
	return false
}

// platformCalls returns how often the token endpoints of all platforms were called.
func (c *client) platformCalls() (calls int) {
	for _, platform := range c.Platforms {
		calls += c.Sandbox.Count(platform, "token")
	}
	return calls
}

// expand returns line and body for each value of the list that they refer to.
// It escapes a value for the path of a line, and for a string of a JSON body.
func (c *client) expand(line, body string) [][2]string {
	values := map[string][]string{"{platform}": c.Platforms}
	for placeholder, list := range lists {
		values[placeholder] = list
	}
	for placeholder, list := range values {
		if !strings.Contains(line+body, placeholder) {
			continue
		}
		var expanded [][2]string
		for _, value := range list {
			quoted, _ := json.Marshal(value)
			expanded = append(expanded, [2]string{
				strings.ReplaceAll(line, placeholder, url.PathEscape(value)),
				strings.ReplaceAll(body, placeholder, string(quoted[1:len(quoted)-1])),
			})
		}
		return expanded
	}
	return [][2]string{{line, body}}
}
