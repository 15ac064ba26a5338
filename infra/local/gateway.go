package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"platform-api-connector/infra/blueprint"
)

// Limits of an HTTP API.
// https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
const (
	maxBody            = 10 << 20
	maxHead            = 10240 // request line and header values
	integrationTimeout = 30 * time.Second
)

// maxHeaderBytes limits the head of a request that is read. It exceeds maxHead, so
// that the gateway can answer a longer head as an HTTP API does.
const maxHeaderBytes = 64 << 10

// invoker runs a function once. It returns an error only if there is no result.
type invoker func(ctx context.Context, function string, payload []byte) (result, error)

// gateway replaces the HTTP API. It finds the route of a request and invokes
// the function of the route.
type gateway struct {
	routes []blueprint.Route
	invoke invoker
	now    func() time.Time
}

// match is a route that matches a request.
type match struct {
	route      blueprint.Route
	parameters map[string]string
}

func (m match) signed() bool { return m.route.Auth == blueprint.IAM }

// find returns the most specific route for a request: literal segments go
// before parameters, from the left.
func (g *gateway) find(method, path string) (match, bool) {
	segments := strings.Split(path, "/")
	var best match
	found := false
	for _, route := range g.routes {
		parameters, fits := fit(strings.Split(route.Path, "/"), segments)
		if route.Method != method || !fits {
			continue
		}
		if !found || moreSpecific(route.Path, best.route.Path) {
			best, found = match{route, parameters}, true
		}
	}
	return best, found
}

// methods returns the methods that have a route for path.
func (g *gateway) methods(path string) []string {
	var methods []string
	for _, route := range g.routes {
		if _, fits := fit(strings.Split(route.Path, "/"), strings.Split(path, "/")); fits {
			methods = append(methods, route.Method)
		}
	}
	slices.Sort(methods)
	return slices.Compact(methods)
}

func fit(pattern, segments []string) (parameters map[string]string, fits bool) {
	if len(pattern) != len(segments) {
		return nil, false
	}
	for i, part := range pattern {
		name, isParameter := parameter(part)
		switch {
		case isParameter && segments[i] != "":
			if parameters == nil {
				parameters = map[string]string{}
			}
			parameters[name] = segments[i]
		case part != segments[i]:
			return nil, false
		}
	}
	return parameters, true
}

func parameter(part string) (name string, is bool) {
	if strings.HasPrefix(part, "{") && strings.HasSuffix(part, "}") {
		return part[1 : len(part)-1], true
	}
	return "", false
}

// moreSpecific compares two patterns of the same length that match one path.
func moreSpecific(a, b string) bool {
	literals := func(pattern string) []int {
		var out []int
		for part := range strings.SplitSeq(pattern, "/") {
			literal := 1
			if _, is := parameter(part); is {
				literal = 0
			}
			out = append(out, literal)
		}
		return out
	}
	return slices.Compare(literals(a), literals(b)) > 0
}

// answer passes r to the function of m.
func (g *gateway) answer(r *http.Request, m match) reply {
	body, tooLarge, err := readBody(r, maxBody)
	switch {
	case tooLarge:
		return gatewayError(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	case err != nil:
		return gatewayError(http.StatusBadRequest, "Bad Request")
	}
	payload, err := json.Marshal(newEvent(r, m, body, g.now()))
	if err != nil {
		return gatewayError(http.StatusInternalServerError, "Internal Server Error")
	}
	if len(payload) > maxPayload {
		return gatewayError(http.StatusRequestEntityTooLarge, "Request Entity Too Large")
	}
	ctx, cancel := context.WithTimeout(r.Context(), integrationTimeout)
	defer cancel()
	result, err := g.invoke(ctx, m.route.Function, payload)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errClosed):
		return gatewayError(http.StatusServiceUnavailable, "Service Unavailable")
	case err != nil, result.functionError != "":
		return gatewayError(http.StatusInternalServerError, "Internal Server Error")
	}
	out, err := readReply(result.payload)
	if err != nil {
		return gatewayError(http.StatusInternalServerError, "Internal Server Error")
	}
	return out
}
