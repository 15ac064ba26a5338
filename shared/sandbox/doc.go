// Package sandbox plays the four platforms, strictly, so that the connector
// can be run and tested without an account on any of them. It is a second
// opinion on what the platforms do: it imports the standard library only and
// shares no code with the clients that it tests.
//
// # Serving
//
// A Sandbox is an http.Handler. Each real host is a path prefix, so that a
// call to the wrong host fails here as it would there:
//
//	box := sandbox.New(sandbox.Options{})
//	server := httptest.NewServer(box)
//	endpoints := sandbox.Endpoints(server.URL) // the PLATFORM_ENDPOINTS map
//	box.SetRedirectURIs("youtube", publicURL+"/oauth/youtube/callback")
//
// Every platform has one registered app ([Sandbox.AppOf]) and a small cast of
// people ([Sandbox.People]). A redirect URI that is not registered is refused
// on a page and never redirected to.
//
// # The person
//
// A browser meets a consent page at the platform's own authorize path: the
// account in select[name=account], one input[name=scope] a scope that may be
// unticked, one input[name=page] a Facebook Page, and the buttons #allow and
// #deny. A test without a browser calls [Sandbox.Consent] with the authorize
// URL, real or rewritten, and gets the redirect that the browser would follow.
//
// # Faults, knobs, time
//
// [Sandbox.Fault] spoils the next calls of an endpoint, [Sandbox.Tune] changes
// how a platform behaves, [Sandbox.Advance] moves the sandbox's clock,
// [Sandbox.Expire] and [Sandbox.Kill] end tokens and grants. All of it is
// served as JSON under /_sandbox/ too (see control.go).
//
// Endpoints are named authorize, consent, token, revoke, me, and so on, see
// the routes at the top of each dialect. A token call is counted under "token"
// and once more under its grant type, "token/refresh_token".
//
// # What tests may ask
//
// [Sandbox.Count] and [Sandbox.Calls] tell what was called and with what.
// [Sandbox.Secrets] lists every code, token and key so far, for a test that
// looks for them where they must not be.
//
// Facts about the platforms carry their source and the date on which it was
// read. Those marked "assumed" have no source that was seen.
package sandbox
