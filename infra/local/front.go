package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"platform-api-connector/shared/config"
)

// front is what listens on -addr: the HTTP API, and the start page beside it.
//
// Nobody signs requests here, so the routes with IAM auth and the start page
// answer only to this machine: by a loopback name in Host, which a page that
// rebinds its DNS name cannot send, and to no page of another site. The public
// routes are open as they are when deployed, so that a tunnel may lead to them.
type front struct {
	gateway  *gateway
	page     http.Handler // nil where there is none
	terminal *terminal
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begun := time.Now()
	if headBytes(r) > maxHead {
		gatewayError(http.StatusRequestHeaderFieldsTooLarge, "Request Header Fields Too Large").write(w)
		return
	}
	if f.page != nil && ours(r.URL.Path) {
		if refusal := refuse(r); refusal != "" {
			gatewayError(http.StatusForbidden, refusal).write(w)
			return
		}
		f.page.ServeHTTP(w, r)
		return
	}
	m, found := f.gateway.find(r.Method, decodedPath(r.URL))
	if !found {
		answer := f.unrouted(r)
		answer.write(w)
		f.terminal.request(r.Method+" (no such route)", "", answer.status, "", time.Since(begun))
		return
	}
	var answer reply
	if refusal := refuse(r); refusal != "" && m.signed() {
		answer = gatewayError(http.StatusForbidden, refusal)
	} else {
		answer = f.gateway.answer(r, m)
	}
	answer.header.Set("Apigw-Requestid", newGatewayID())
	answer.write(w)
	f.terminal.request(m.route.Key(), m.route.Function, answer.status, problemCode(answer), time.Since(begun))
}

// headBytes is how long the request line and the header values are together.
func headBytes(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Proto)
	for _, values := range r.Header {
		for _, value := range values {
			n += len(value)
		}
	}
	return n
}

// unrouted answers what no route takes. An HTTP API says 404 to a wrong method,
// too; here it is told from a wrong path, as HTTP (RFC 9110, 15.5.6) and the
// tools that test against an OpenAPI document want it.
func (f *front) unrouted(r *http.Request) reply {
	methods := f.gateway.methods(decodedPath(r.URL))
	if len(methods) == 0 {
		return gatewayError(http.StatusNotFound, "Not Found")
	}
	answer := gatewayError(http.StatusMethodNotAllowed, "Method Not Allowed")
	answer.header.Set("Allow", strings.Join(methods, ", "))
	return answer
}

// ours reports whether path belongs to the start page.
func ours(path string) bool {
	return path == "/" || path == "/favicon.ico" || strings.HasPrefix(path, "/local/")
}

var crossOrigin = http.NewCrossOriginProtection()

// refuse says why a request may not use what only this machine may use; ""
// where it may.
func refuse(r *http.Request) string {
	switch {
	case !config.Loopback(hostname(r.Host)):
		return "Forbidden: this route answers on loopback only"
	case r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate",
		crossOrigin.Check(r) != nil:
		return "Forbidden: this route does not answer to other sites"
	}
	return ""
}

// hostname returns host without its port.
func hostname(host string) string {
	return (&url.URL{Host: host}).Hostname()
}

var codePattern = regexp.MustCompile(`^[A-Za-z]{1,40}$`)

// codeOnPage is where a page for people has its code.
var codeOnPage = regexp.MustCompile(`<span id="code">([A-Za-z]{1,40})</span>`)

// problemCode returns the code of a failure, for the terminal: that of a
// problem, of a page, or of the return URL that a person is sent back to.
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
