// Package sandbox implements the platforms' side of the conversation, strictly, so
// that the connector can run without an account on a platform. It is written
// from the platforms' documentation. It imports the standard library alone, and
// shares no code with the clients that it tests, so that an error in one is
// found by the other.
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
// Every platform has one registered app ([Sandbox.AppOf]) and a few people
// ([Sandbox.People]). A platform answers a redirect URI that is not registered
// with an error page.
//
// # Adding a platform
//
// A platform is one file with a type that implements dialect, its name, and a
// method of Knobs if it has knobs. registry.go has one line for it.
//
// # The person
//
// The platform's own authorize path shows a consent page. It has the account in
// select[name=account], one input[name=scope] for each scope, one
// input[name=page] for each Facebook Page, one input[name=channel] for each YouTube
// channel, and the buttons #allow and #deny. A
// test without a browser calls [Sandbox.Consent] with the authorize URL, real or
// rewritten. It returns the URL that the browser is redirected to.
//
// # Faults, knobs, time
//
// [Sandbox.Fault] makes the next calls of an endpoint fail, for everybody or for
// one client or account. [Sandbox.Tune] changes the behaviour of a platform.
// [Sandbox.Advance] moves the sandbox's clock. [Sandbox.Expire] and [Sandbox.Kill]
// end tokens and grants. [Sandbox.ChangePage] changes a Facebook Page after a
// consent. [Sandbox.SetClient] replaces the registered app. [Sandbox.Notice] returns a
// signed notice. Most of this is available as JSON under /_sandbox/, see control.go.
//
// The routes of each dialect name its endpoints: authorize, consent, token,
// revoke, me, and so on. Count counts a token call under "token", and also under
// its grant type, such as "token/refresh_token".
//
// # What tests can read
//
// [Sandbox.Count] and [Sandbox.Calls] return the calls so far. [Sandbox.Secrets]
// returns every code, token and key so far.
//
// A fact about a platform has its source and the date on which the source was
// read. A fact that is marked as assumed has none.
package sandbox
