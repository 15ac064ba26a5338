// Package platform implements connector.Platform for each social or content
// service. Each platform has one file. All lists them.
//
// The platforms share these files:
//
//   - wire.go sends every request. It follows no redirects, waits ten seconds at
//     most, reads one mebibyte at most, and uses no proxy. It sends each call to
//     the origin that Options.Endpoints has for it. Authorize URLs get that
//     origin too.
//   - request.go builds the parts that the requests of several platforms have.
//   - answer.go reads the values of an answer. A success is a JSON object
//     without duplicate names and without an error in it, whatever the HTTP
//     status.
//   - tokens.go sends requests to token endpoints, and maps their errors.
//   - errors.go makes the errors that several platforms return.
//   - fields.go reads imported credentials, and returns credentials in the
//     shapes that people paste.
//   - accounts.go has the methods of platforms whose code yields lasting credentials
//     of one account.
//   - file.go reads the files that people import, and aliases.go has the names that
//     the fields have in them.
//   - meta.go, facebookgraph.go and facebooknotice.go have the errors and the notices
//     of Meta's platforms: Facebook, Instagram and Threads.
//   - longlived.go is the client of Instagram and Threads, whose access token is
//     refreshed without a refresh token. instagram.go and threads.go describe their
//     endpoints.
//   - facebooklist.go lists the Pages of a person on Facebook, and facebookgrants.go
//     reads what the person granted for each.
//
// A platform holds no state and retries nothing. Every error is a
// *connector.Error. Neither its message nor its cause holds a URL query, a body,
// a token, a secret, or text of the platform.
//
// A fact about a platform is beside the code that relies on it, with the page that
// states it and the date on which the page was read. A fact that is
// marked as assumed has no such page.
package platform
