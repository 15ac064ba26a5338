package main

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"platform-api-connector/shared/config"
)

// guard refuses the requests that other machines and other sites send. Every
// listener of the stack has it, because the stack verifies no signature. Only the
// public routes of the HTTP API are excepted: the deployed ones accept any request,
// and a tunnel must lead to them.
//
// The functions have no such check: on AWS, API Gateway adds forwarding headers to
// each request itself.
type guard struct {
	// hosts are the names of this machine, in lower case, besides the loopback ones.
	hosts []string
}

// tunnelHint ends each refusal that a tunnel can cause.
const tunnelHint = "; to expose the public routes alone, start the stack with -public 127.0.0.1:8424 and point the tunnel at that address"

// refuse returns the reason for which a request is refused, in one line, or "".
func (g guard) refuse(r *http.Request) string {
	sign := forwardingSign(r)
	switch {
	case sign != "":
		return "Forbidden: this address answers requests of this machine only, and a proxy or a tunnel forwarded this one (" + sign + ")" + tunnelHint
	case !g.isThisMachine(r.Host):
		return "Forbidden: this address answers requests of this machine only, and their Host is a name of it, such as 127.0.0.1" + tunnelHint
	case isOtherSite(r):
		return "Forbidden: this address does not answer to pages of other sites"
	}
	return ""
}

// protect refuses requests before they reach h.
func (g guard) protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refusal := g.refuse(r); refusal != "" {
			http.Error(w, refusal, http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}

var hostPattern = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$`)

// isThisMachine reports whether a Host header names this machine. A page whose DNS
// name was rebound to loopback sends its own name.
func (g guard) isThisMachine(host string) bool {
	parts := hostPattern.FindStringSubmatch(host)
	if parts == nil {
		return false
	}
	name := strings.TrimSuffix(strings.ToLower(strings.Trim(parts[1], "[]")), ".")
	return config.Loopback(name) || slices.Contains(g.hosts, name)
}

var crossOrigin = http.NewCrossOriginProtection()

// isOtherSite reports whether a page of another site sent a request. A person may
// follow a link from another site: the redirect of a consent leads to the start page.
func isOtherSite(r *http.Request) bool {
	sites, origins := r.Header.Values("Sec-Fetch-Site"), r.Header.Values("Origin")
	if len(sites) > 1 || len(origins) > 1 || crossOrigin.Check(r) != nil {
		return true
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "none", "same-origin":
		return false
	case "":
		// A browser that does not send Sec-Fetch-Site, or a program.
		return len(origins) == 1 && !isOriginOf(origins[0], r.Host)
	}
	return r.Header.Get("Sec-Fetch-Mode") != "navigate"
}

func isOriginOf(origin, host string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host == host
}
