package main

import (
	"encoding/json"
	"net/http"
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
		gatewayError(http.StatusNotFound, "Not Found").write(w)
		f.terminal.request(r.Method+" (no such route)", "", http.StatusNotFound, "", time.Since(begun))
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

var codePattern = regexp.MustCompile(`^[A-Za-z]{1,40}$`)

// problemCode returns the code of an error answer, for the terminal.
func problemCode(a reply) string {
	if a.status < 400 {
		return ""
	}
	var problem struct{ Code string }
	_ = json.Unmarshal(a.body, &problem)
	if codePattern.MatchString(problem.Code) {
		return problem.Code
	}
	return ""
}
