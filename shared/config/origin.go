package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"platform-api-connector/shared/connector"
)

// parseReturnOrigins reads origins that are separated by commas.
func parseReturnOrigins(s string) (origins []string, problem string) {
	for entry := range strings.SplitSeq(s, ",") {
		if entry = connector.Trim(entry); entry == "" {
			continue
		}
		origin, path, problem := splitOrigin(entry)
		switch {
		case problem == "" && path != "" && path != "/":
			problem = "has more than scheme, host and port"
		case slices.Contains(origins, origin) && problem == "":
			problem = "is named twice"
		}
		if problem != "" {
			return nil, quote(entry) + " " + problem
		}
		origins = append(origins, origin)
	}
	return origins, ""
}

// urlPath matches the path of PUBLIC_URL. It needs no escapes.
var urlPath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)

// parsePublicURL requires https, except on loopback, because cookies and codes are
// sent to this URL. Redirect URIs begin with it and platforms compare them byte by
// byte, so it must be written as browsers write it.
func parsePublicURL(s string) (address, problem string) {
	address = strings.TrimRight(s, "/")
	origin, path, problem := splitOrigin(address)
	switch {
	case problem != "":
	case !urlPath.MatchString(path):
		problem = "has a path with other characters than letters, digits and ._~-"
	case origin+path != address:
		problem = "is not written as browsers write it: " + origin + path
	default:
		return address, ""
	}
	return "", quote(s) + " " + problem
}

// parseAWSEndpoint checks the variable that the SDK reads.
func parseAWSEndpoint(s string) (string, string) {
	u, err := url.Parse(s)
	if err != nil || !isHTTP(u) {
		return "", quote(s) + " is not an http or https URL"
	}
	return s, ""
}

// queueURLParser returns the parser of the queue's URL. An emulator of AWS may have
// its queues on plain http.
func queueURLParser(emulated bool) func(string) (string, string) {
	return func(s string) (string, string) {
		u, err := url.Parse(s)
		switch {
		case err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?# "):
			return "", quote(s) + " is not the URL of a queue, such as https://sqs.eu-west-1.amazonaws.com/123456789012/refresh"
		case u.Scheme == "https", u.Scheme == "http" && (emulated || Loopback(u.Hostname())):
			return s, ""
		}
		return "", quote(s) + " is neither https nor http on loopback"
	}
}

// splitOrigin splits a URL into its origin and its path. The origin has the form in
// which browsers send it (https://html.spec.whatwg.org/multipage/browsers.html#origin,
// read on 2026-11-25): lower case, no default port. Plain http is for loopback only.
func splitOrigin(s string) (origin, path, problem string) {
	if problem := checkCharacters(s); problem != "" {
		return "", "", problem
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || !isHTTP(u):
		return "", "", "is not an http or https origin, such as https://app.example.com"
	case strings.ContainsAny(s, "?#@"):
		return "", "", "has more than scheme, host and port"
	}
	host, problem := canonicalHost(u.Hostname())
	if problem == "" {
		problem = checkPort(u)
	}
	switch {
	case problem != "":
		return "", "", problem
	case u.Scheme == "http" && !Loopback(host):
		return "", "", "uses http, which is for loopback only: write https"
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if u.Port() != "" {
		host += ":" + u.Port()
	}
	return u.Scheme + "://" + host, u.EscapedPath(), ""
}

// isHTTP reports whether u is an absolute URL with one of the two schemes.
func isHTTP(u *url.URL) bool {
	return u.Host != "" && (u.Scheme == "https" || u.Scheme == "http")
}

// checkCharacters refuses what browsers and Go read differently.
func checkCharacters(s string) string {
	for _, r := range s {
		switch {
		case r > '~':
			return "has a letter outside ASCII: write the host as browsers send it, with xn--"
		case r == '*':
			return "has a star: list each origin"
		case r <= ' ' || r == '\\':
			return "has a character that is not allowed in a URL"
		}
	}
	return ""
}

var (
	domainName = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$`)
	// numberAtEnd matches the hosts that browsers take for IPv4 addresses
	// (https://url.spec.whatwg.org/#ends-in-a-number-checker, read on 2026-11-25).
	numberAtEnd = regexp.MustCompile(`(^|\.)([0-9]+|0x[0-9a-f]*)$`)
)

// canonicalHost returns a host as browsers write it.
func canonicalHost(host string) (canonical, problem string) {
	host = strings.ToLower(host)
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil && (ip.Zone() != "" || ip.Is4In6()):
		return "", "has an IPv6 address that is an IPv4 address, or has a zone"
	case err == nil:
		return ip.String(), ""
	case numberAtEnd.MatchString(host):
		return "", "has a host that browsers take for an IPv4 address: write its four numbers"
	case strings.HasSuffix(host, "."):
		return "", "has a dot at the end of its host, which makes it another origin"
	case len(host) > 253 || !domainName.MatchString(host):
		return "", "has a malformed host"
	}
	return host, ""
}

func checkPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		if strings.HasSuffix(u.Host, ":") {
			return "has a colon without a port"
		}
		return ""
	}
	number, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || number == 0 || strconv.FormatUint(number, 10) != port:
		return "has a malformed port"
	case u.Scheme == "https" && number == 443, u.Scheme == "http" && number == 80:
		return "names the default port, which browsers leave out: write it without :" + port
	}
	return ""
}

// quote returns an entry for a message, on one line. It leaves out what precedes an
// at sign, which can be a password.
func quote(entry string) string {
	if i := strings.LastIndex(entry, "@"); i >= 0 {
		entry = "…" + entry[i:]
	}
	if runes := []rune(entry); len(runes) > 200 {
		entry = string(runes[:200]) + "…"
	}
	return strconv.Quote(entry)
}

// Loopback reports whether host is this machine.
func Loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
