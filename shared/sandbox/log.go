package sandbox

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// keptCalls is how many calls are remembered in full.
const keptCalls = 512

// Call is one request that a platform got. It holds secrets: it is for tests
// in this process and is never served.
type Call struct {
	At       time.Time
	Platform string
	Endpoint string
	Method   string
	Host     string // the real host
	Path     string
	Query    url.Values
	Form     url.Values
	Header   http.Header
	Body     []byte
	Status   int  // of the answer; 0 where there was none
	Fault    Kind // that spoiled it, if any
}

type callLog struct {
	counts map[string]int // by platform and endpoint, see countKey
	calls  []Call
}

func countKey(platform, endpoint string) string { return platform + " " + endpoint }

func (l *callLog) add(rt route, c *call, status int, fault *Fault) {
	if l.counts == nil {
		l.counts = map[string]int{}
	}
	l.counts[countKey(rt.platform, rt.endpoint)]++
	if name := detailed(rt, c); name != rt.endpoint {
		l.counts[countKey(rt.platform, name)]++
	}
	entry := Call{
		At: c.now, Platform: rt.platform, Endpoint: rt.endpoint, Method: c.method, Host: c.host, Path: c.path,
		Query: c.query, Form: c.form, Header: c.header.Clone(), Body: c.body, Status: status,
	}
	if fault != nil {
		entry.Fault = fault.Kind
	}
	if len(l.calls) == keptCalls {
		l.calls = slices.Delete(l.calls, 0, 1)
	}
	l.calls = append(l.calls, entry)
}

// of returns the counts of one platform by endpoint.
func (l *callLog) of(platform string) map[string]int {
	counts := map[string]int{}
	for key, n := range l.counts {
		if endpoint, ok := strings.CutPrefix(key, countKey(platform, "")); ok {
			counts[endpoint] = n
		}
	}
	return counts
}

// detailed is the endpoint with the grant type of a token call. Facebook needs
// no grant type for a code.
func detailed(rt route, c *call) string {
	if rt.endpoint != "token" {
		return rt.endpoint
	}
	grantType := c.either("grant_type")
	if grantType == "" && c.either("code") != "" {
		grantType = "authorization_code"
	}
	return rt.endpoint + "/" + grantType
}

// Count returns how often an endpoint of a platform was called.
func (s *Sandbox) Count(platform, endpoint string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.counts[countKey(platform, endpoint)]
}

// Calls returns the calls of a platform's endpoint, oldest first, as far as
// they are among the last 512 of all. An empty endpoint is every one.
func (s *Sandbox) Calls(platform, endpoint string) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []Call
	for _, c := range s.log.calls {
		if c.Platform == platform && (endpoint == "" || c.Endpoint == endpoint) {
			calls = append(calls, c)
		}
	}
	return calls
}
