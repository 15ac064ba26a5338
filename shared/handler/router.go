package handler

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"

	"platform-api-connector/shared/connector"
)

const (
	maxBody  = 64 << 10
	maxQuery = 32 << 10
)

// request is one HTTP request, as read from an event.
type request struct {
	key        string // the route, in API Gateway's form: "GET /connections/{id}"
	method     string
	path       string
	parameters map[string]string // of the path, decoded
	query      url.Values
	header     map[string]string // names in lower case
	cookies    []string          // each "name=value"
	principal  string            // the ARN of the signer; empty if the request is not signed
	body       []byte
}

// answer is one HTTP answer. A status of zero means that no answer was set.
type answer struct {
	status  int
	header  map[string]string
	cookies []string
	body    string
	style   string // the hash of the page's style sheet; empty if the body is not a page
	forms   string // where forms of the page may lead; empty: nowhere
}

// routes maps route keys to their functions. A function may return an answer
// together with an error. The cookies of that answer are sent. If the answer
// has a status, it replaces the rendered error.
type routes map[string]func(context.Context, *call, *request) (answer, error)

// serve returns a Function for HTTP API events. If pages is set, a browser
// gets errors as HTML pages instead of JSON problems.
func (h *Handler) serve(function string, pages bool, routes routes) Function {
	return h.function(function, func(ctx context.Context, c *call, payload []byte) (any, error) {
		if !isHTTP(payload) {
			return nil, connector.Invalid("event", "not an HTTP API event of payload format 2.0")
		}
		return h.respond(ctx, c, payload, pages, routes), nil
	})
}

// respond answers an HTTP API event. It renders an error as an answer and
// stores the error in c for the log.
func (h *Handler) respond(ctx context.Context, c *call, payload []byte, pages bool, routes routes) events.APIGatewayV2HTTPResponse {
	r, err := readRequest(payload)
	var a answer
	if err == nil {
		c.caller = requestCaller(ctx, r)
		err = h.recovered(ctx, c, func() (err error) {
			a, err = dispatch(h.confineRequest(ctx, r), c, r, routes)
			return err
		})
	}
	if err != nil {
		c.failed = connector.AsError(err)
		if a.status == 0 {
			rendered := h.problem(err, c.requestID, pages && (r.method == http.MethodGet || r.key == chooseRoute) && r.wantsPage())
			rendered.cookies = a.cookies
			a = rendered
		}
	}
	c.status = a.status
	return h.response(a)
}

func dispatch(ctx context.Context, c *call, r *request, routes routes) (answer, error) {
	serve, ok := routes[r.key]
	if !ok {
		return answer{}, routeError(r, routes)
	}
	c.route = r.key
	c.setConnection(r.connectionID())
	return serve(ctx, c, r)
}

// routeError returns the error for a request without a route: 405 if the path
// exists with another method, 404 otherwise. The path never selects a route,
// because only API Gateway knows which route it authorized.
func routeError(r *request, routes routes) error {
	var methods []string
	for key := range routes {
		if method, pattern, _ := strings.Cut(key, " "); matches(pattern, r.path) {
			methods = append(methods, method)
		}
	}
	if len(methods) == 0 {
		return &statusError{status: http.StatusNotFound, err: connector.Invalid("path", "no such route")}
	}
	slices.Sort(methods)
	return &statusError{
		status: http.StatusMethodNotAllowed,
		header: map[string]string{"allow": strings.Join(slices.Compact(methods), ", ")},
		err:    connector.Invalid("method", "not one that this route takes"),
	}
}

func matches(pattern, path string) bool {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return false
	}
	for i, segment := range want {
		if !strings.HasPrefix(segment, "{") && segment != got[i] {
			return false
		}
	}
	return true
}

// isHTTP reports whether payload is an HTTP event, of any payload format. All
// other payloads are direct invocations.
func isHTTP(payload []byte) bool {
	var shape struct {
		RouteKey       *string         `json:"routeKey"`
		HTTPMethod     *string         `json:"httpMethod"`
		RequestContext json.RawMessage `json:"requestContext"`
	}
	if json.Unmarshal(payload, &shape) != nil {
		return false
	}
	return shape.RouteKey != nil || shape.HTTPMethod != nil || shape.RequestContext != nil
}

// readRequest reads an event. It always returns a request. With an error, the
// request contains the parts that were read before the error.
func readRequest(payload []byte) (*request, error) {
	r := &request{}
	var event events.APIGatewayV2HTTPRequest
	if err := json.Unmarshal(payload, &event); err != nil {
		return r, connector.Invalid("event", "not an HTTP API event of payload format 2.0")
	}
	r.header = make(map[string]string, len(event.Headers))
	for name, value := range event.Headers {
		r.header[strings.ToLower(name)] = value
	}
	r.key = event.RouteKey
	r.method = event.RequestContext.HTTP.Method
	if r.method == "" {
		r.method, _, _ = strings.Cut(r.key, " ")
	}
	r.path = event.RawPath
	r.principal = principalOf(event.RequestContext)
	r.cookies = event.Cookies
	for pair := range strings.SplitSeq(r.header["cookie"], ";") {
		r.cookies = append(r.cookies, strings.TrimSpace(pair))
	}
	if event.Version != "2.0" {
		return r, connector.Invalid("event", "not an HTTP API event of payload format 2.0")
	}
	var err error
	if r.parameters, err = readPath(event.PathParameters); err != nil {
		return r, err
	}
	if r.query, err = readQuery(event); err != nil {
		return r, err
	}
	r.body, err = readBody(event)
	return r, err
}

// readPath returns the parameters of the path by the rule for pasted text. A link and
// a code that have other characters inside are unknown ones: their answers are equal.
func readPath(given map[string]string) (map[string]string, error) {
	parameters := make(map[string]string, len(given))
	for _, name := range slices.Sorted(maps.Keys(given)) {
		word, problem := connector.Word(given[name])
		if problem != "" && name != "link" && name != "code" {
			return nil, connector.Invalid(name, problem)
		}
		parameters[name] = word
	}
	return parameters, nil
}

// readQuery parses the raw query. In queryStringParameters, repeated
// parameters are joined by commas and cannot be distinguished from one value
// that contains a comma.
func readQuery(event events.APIGatewayV2HTTPRequest) (url.Values, error) {
	if len(event.RawQueryString) > maxQuery {
		return nil, connector.Invalid("query", "too long")
	}
	values, err := url.ParseQuery(event.RawQueryString)
	if err != nil {
		return nil, connector.Invalid("query", "malformed")
	}
	if event.RawQueryString == "" {
		for name, value := range event.QueryStringParameters {
			values.Set(name, value)
		}
	}
	for name, list := range values {
		if !utf8.ValidString(name) || slices.ContainsFunc(list, func(s string) bool { return !utf8.ValidString(s) }) {
			return nil, connector.Invalid("query", "not valid UTF-8")
		}
	}
	return values, nil
}

func readBody(event events.APIGatewayV2HTTPRequest) ([]byte, error) {
	body := []byte(event.Body)
	if event.IsBase64Encoded && base64.StdEncoding.DecodedLen(len(body)) <= maxBody+2 {
		decoded, err := base64.StdEncoding.DecodeString(event.Body)
		if err != nil {
			return nil, connector.Invalid("body", "not valid base64")
		}
		body = decoded
	}
	if len(body) > maxBody {
		return nil, connector.Invalid("body", "larger than 64 KiB")
	}
	return body, nil
}

// cookie returns the value of a cookie, or "" if the request has none of that
// name.
func (r *request) cookie(name string) string {
	for _, pair := range r.cookies {
		if got, value, ok := strings.Cut(pair, "="); ok && got == name {
			return value
		}
	}
	return ""
}

// connectionID returns the id in the path. The service refuses a malformed id
// in the same way as an unknown one.
func (r *request) connectionID() connector.ID { return connector.ID(r.parameters["id"]) }

// platform returns the name in the path. The service refuses an unknown one.
func (r *request) platform() connector.Name { return connector.Name(r.parameters["platform"]) }

// isPreview reports whether no person sees the answer: the request is a HEAD,
// or the browser fetches the page before a click.
func (r *request) isPreview() bool {
	if r.method == http.MethodHead {
		return true
	}
	for _, name := range []string{"sec-purpose", "purpose", "x-purpose", "x-moz"} {
		value := strings.ToLower(r.header[name])
		if strings.Contains(value, "prefetch") || strings.Contains(value, "preview") || strings.Contains(value, "prerender") {
			return true
		}
	}
	return false
}

// answerPreview answers a preview without any read or write. It refuses a
// prefetch, because a browser shows the answer of a successful prefetch when
// the person clicks, instead of requesting the page
// (https://wicg.github.io/nav-speculation/prefetch.html, 2026-11-23).
func answerPreview(r *request) answer {
	if r.method == http.MethodHead {
		return answer{status: http.StatusNoContent}
	}
	return answer{status: http.StatusForbidden}
}

// response adds the headers that every answer has. Answers contain tokens,
// links and codes, so browsers must not cache them, frame them, or send their
// URL as a referrer.
func (h *Handler) response(a answer) events.APIGatewayV2HTTPResponse {
	policy := "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action " + cmp.Or(a.forms, "'none'")
	if a.style != "" {
		policy += "; style-src '" + a.style + "'"
	}
	header := map[string]string{
		"cache-control":           "no-store",
		"referrer-policy":         "no-referrer",
		"content-security-policy": policy,
		"x-content-type-options":  "nosniff",
	}
	if h.secure {
		header["strict-transport-security"] = "max-age=31536000"
	}
	for name, value := range a.header {
		header[name] = value
	}
	return events.APIGatewayV2HTTPResponse{StatusCode: a.status, Headers: header, Cookies: a.cookies, Body: a.body}
}

func jsonAnswer(status int, value any) (answer, error) {
	body, err := json.Marshal(value)
	if err != nil {
		return answer{}, err
	}
	return answer{status: status, header: map[string]string{"content-type": "application/json"}, body: string(body)}, nil
}

func redirect(location string) answer {
	return answer{status: http.StatusFound, header: map[string]string{"location": location}}
}
