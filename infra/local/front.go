package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// front serves -addr: the HTTP API and the start page.
//
// Requests are not signed here, so the guard decides who may use the routes with
// IAM auth and the start page. The public routes accept any request, as the deployed
// ones do, so that a tunnel can lead to them.
type front struct {
	gateway  *gateway
	guard    guard
	page     http.Handler // nil if there is no start page
	terminal *terminal
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	if headBytes(r) > maxHead {
		gatewayError(http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large").write(w)
		return
	}
	if f.page != nil && isStartPagePath(r.URL.Path) {
		if refusal := f.guard.refuse(r); refusal != "" {
			gatewayError(http.StatusForbidden, refusal).write(w)
			return
		}
		f.page.ServeHTTP(w, r)
		return
	}
	m, found := f.gateway.find(r.Method, decodedPath(r.URL))
	if !found {
		answer := f.routeError(r)
		answer.write(w)
		f.terminal.request(r.Method+" (no such route)", "", answer.status, "", time.Since(begun))
		return
	}
	var answer reply
	if refusal := f.guard.refuse(r); refusal != "" && m.signed() {
		answer = gatewayError(http.StatusForbidden, refusal)
	} else {
		answer = f.gateway.answer(r, m)
	}
	answer.header.Set("Apigw-Requestid", newGatewayID())
	answer.write(w)
	f.terminal.request(m.route.Key(), m.route.Function, answer.status, problemCode(answer), time.Since(begun))
}

// headBytes returns the length of the request line and the header values.
func headBytes(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Proto)
	for _, values := range r.Header {
		for _, value := range values {
			n += len(value)
		}
	}
	return n
}

// routeError answers a request without a route. API Gateway answers 404 to a
// wrong method. This stack answers 405, as HTTP (RFC 9110, 15.5.6) and the tools
// that test an OpenAPI document require.
func (f *front) routeError(r *http.Request) reply {
	methods := f.gateway.methods(decodedPath(r.URL))
	if len(methods) == 0 {
		return gatewayError(http.StatusNotFound, "Not Found")
	}
	answer := gatewayError(http.StatusMethodNotAllowed, "Method Not Allowed")
	answer.header.Set("Allow", strings.Join(methods, ", "))
	return answer
}

// isStartPagePath reports whether path belongs to the start page.
func isStartPagePath(path string) bool {
	return path == "/" || path == "/favicon.ico" || strings.HasPrefix(path, "/local/")
}

// hostname returns host without its port.
func hostname(host string) string {
	return (&url.URL{Host: host}).Hostname()
}

var codePattern = regexp.MustCompile(`^[A-Za-z]{1,40}$`)

// codeOnPage matches the code on a page for people.
var codeOnPage = regexp.MustCompile(`<span id="code">([A-Za-z]{1,40})</span>`)

// problemCode returns the code of a failure, for the terminal. It finds the
// code in a problem document, in a page, or in the return URL of a redirect.
func problemCode(a reply) string {
	code := ""
	switch {
	case a.status >= 400 && strings.HasPrefix(a.header.Get("Content-Type"), "text/html"):
		if found := codeOnPage.FindSubmatch(a.body); found != nil {
			code = string(found[1])
		}
	case a.status >= 400:
		var problem struct{ Code string }
		_ = json.Unmarshal(a.body, &problem)
		code = problem.Code
	case a.status >= 300:
		if u, err := url.Parse(a.header.Get("Location")); err == nil {
			code = u.Query().Get("error")
		}
	}
	if codePattern.MatchString(code) {
		return code
	}
	return ""
}
