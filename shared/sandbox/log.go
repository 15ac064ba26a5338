package sandbox

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// maxCalls is the number of calls that Calls can return.
const maxCalls = 512

// Call is one request to a platform. It contains secrets, so the sandbox never
// serves it. Tests in this process read it.
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
	Status   int  // of the answer; 0: none
	Fault    Kind // the fault of the call, or empty
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
	if name := detailedEndpoint(rt, c); name != rt.endpoint {
		l.counts[countKey(rt.platform, name)]++
	}
	entry := Call{
		At: c.now, Platform: rt.platform, Endpoint: rt.endpoint, Method: c.method, Host: c.host, Path: c.path,
		Query: c.query, Form: c.form, Header: c.header.Clone(), Body: c.body, Status: status,
	}
	if fault != nil {
		entry.Fault = fault.Kind
	}
	if len(l.calls) == maxCalls {
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

// detailedEndpoint returns the endpoint, with the grant type of a token call. A
// call with a code may leave out the grant type.
func detailedEndpoint(rt route, c *call) string {
	if rt.endpoint != "token" {
		return rt.endpoint
	}
	grantType := c.parameter("grant_type")
	if grantType == "" && c.parameter("code") != "" {
		grantType = "authorization_code"
	}
	return rt.endpoint + "/" + grantType
}

// Count returns the number of calls of a platform's endpoint.
func (s *Sandbox) Count(platform, endpoint string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.counts[countKey(platform, endpoint)]
}

// Calls returns the calls of a platform's endpoint, oldest first. It returns those
// among the last 512 calls of all platforms. An empty endpoint means every
// endpoint.
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
