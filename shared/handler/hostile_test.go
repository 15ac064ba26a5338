package handler_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda/messages"

	"platform-api-connector/infra/blueprint"
	"platform-api-connector/shared/connector"
	"platform-api-connector/shared/handler/hostiletest"
)

// TestHostile runs the hostile suite on the functions in process. The tests of
// infra/local run it over HTTP.
func TestHostile(t *testing.T) {
	t.Parallel()
	hostiletest.Run(t, func(t *testing.T) hostiletest.Transport {
		t.Parallel()
		s := newStack(t)
		// Those who wait for one another must not move the clock of all.
		s.service.Sleep = connector.Sleep
		return hostiletest.Transport{
			PublicURL: publicURL, ReturnURL: returnURL, Platforms: platforms(), Sandbox: s.sandbox, Now: s.clock.Now, Logs: s.logs.String,
			Send: func(r *http.Request) (*http.Response, error) { return s.roundTrip(t, r) },
			Invoke: func(function, payload string) ([]byte, bool, error) {
				answer, err := s.functions[function](invocation(t.Context()), []byte(payload))
				if failure, ok := errors.AsType[messages.InvokeResponse_Error](err); ok {
					answer, err = json.Marshal(failure)
					return answer, true, err
				}
				return answer, false, err
			},
		}
	})
}

// roundTrip converts a request to the event that API Gateway sends to the
// function of its route, and converts the answer of the function back. For a
// path or method without a route, it sends the event that a route $default
// would send.
func (s *stack) roundTrip(t *testing.T, r *http.Request) (*http.Response, error) {
	body := []byte{}
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	route, parameters := findRoute(r)
	e := events.APIGatewayV2HTTPRequest{
		Version: "2.0", RouteKey: route.Key(), RawPath: r.URL.EscapedPath(), RawQueryString: r.URL.RawQuery,
		Headers: map[string]string{"host": r.Host, "accept": "*/*"}, PathParameters: parameters, Body: string(body),
	}
	if route.Method == "" {
		e.RouteKey = "$default"
	}
	e.RequestContext.RouteKey = e.RouteKey
	e.RequestContext.HTTP.Method, e.RequestContext.HTTP.Path = r.Method, r.URL.Path
	for name, values := range r.Header {
		if name == "Cookie" {
			e.Cookies = strings.Split(strings.Join(values, "; "), "; ")
			continue
		}
		e.Headers[strings.ToLower(name)] = strings.Join(values, ",")
	}
	if e.Headers["content-type"] == formType || !utf8.Valid(body) {
		e.Body, e.IsBase64Encoded = base64.StdEncoding.EncodeToString(body), true
	}
	payload, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	result, err := s.functions[route.Function](invocation(r.Context()), payload)
	if err != nil {
		return nil, err
	}
	var answer reply
	if err := json.Unmarshal(result, &answer); err != nil || answer.StatusCode == 0 {
		return nil, fmt.Errorf("%s: no HTTP answer: %s", route.Function, result)
	}
	if route.Method != "" {
		checkDocument(t, route, e, answer)
	}
	response := &http.Response{StatusCode: answer.StatusCode, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(answer.Body))}
	for name, value := range answer.Headers {
		response.Header.Set(name, value)
	}
	for _, cookie := range answer.Cookies {
		response.Header.Add("Set-Cookie", cookie)
	}
	return response, nil
}

// findRoute returns the route of a request and the parameters of its path. If
// only the method has no route, it returns the function of the path, and
// otherwise the function of the operator's routes.
func findRoute(r *http.Request) (route blueprint.Route, parameters map[string]string) {
	route.Function = blueprint.Connections
	for _, candidate := range blueprint.Routes() {
		found, ok := match(candidate.Path, r.URL.EscapedPath())
		switch {
		case ok && candidate.Method == r.Method:
			return candidate, found
		case ok:
			route.Function = candidate.Function
		}
	}
	return route, nil
}
