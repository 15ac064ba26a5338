// Package hostiletest sends the hostile requests of SECURITY.md to a connector
// and checks its answers. It runs over any transport: the tests of package
// handler run it on the functions in process, and the tests of infra/local run
// it over HTTP on the binaries that deploy.
//
// A hostile request that needs no preparation is one line of the table in
// requests.go. A longer exchange is a function in scenarios.go. What only one
// transport can express, such as the shape of a Lambda event or a clock that
// moves, stays in the tests of that transport.
package hostiletest

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"platform-api-connector/shared/sandbox"
)

// Transport gives access to one connector with sandbox platforms. The app of
// each platform must be configured, and full credentials must be allowed.
type Transport struct {
	PublicURL string
	ReturnURL string // a return URL that the connector allows
	Platforms []string
	Sandbox   *sandbox.Sandbox
	Now       func() time.Time

	// Send sends an HTTP request and does not follow redirects. It may be
	// called from several goroutines.
	Send func(r *http.Request) (*http.Response, error)
	// Invoke invokes a function directly. It returns the payload of the answer
	// or of the error, and whether the function failed.
	Invoke func(function, payload string) (answer []byte, failed bool, err error)
	// RefusesForwarded tells that the operator's routes answer 403 to requests of a
	// proxy or a tunnel, as the local stack does. API Gateway is a proxy itself.
	RefusesForwarded bool
	// Logs returns all that the functions have logged.
	Logs func() string
}

// Names returns the names of the subtests in their order.
func Names() []string {
	var names []string
	for _, r := range requests {
		names = append(names, r.name)
	}
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Run runs one subtest for each name: first the requests of that name, then
// its scenario. It calls open in each subtest. The transports may share one
// connector; a subtest stores connections under an owner of its own name.
func Run(t *testing.T, open func(t *testing.T) Transport) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) {
			c := &client{Transport: open(t), t: t, owner: name}
			c.runRequests(name)
			for _, s := range scenarios {
				if s.name == name {
					s.run(t, c)
				}
			}
		})
	}
}
