// Package platform speaks to the platforms: one file each for facebook,
// youtube, twitter and tiktok, which implements connector.Platform in that
// platform's dialect.
//
// What all of them share:
//
//   - wire.go is the only way out. It follows no redirects, waits for ten
//     seconds at most, reads one mebibyte at most, uses no proxy, and sends
//     each call to where Options.Endpoints says, authorize URLs included.
//   - request.go makes what is the same in every dialect's requests.
//   - answer.go reads what came back. A success is a JSON object without
//     duplicate keys and without an error in it, whatever the HTTP status.
//   - tokens.go asks token endpoints, and knows what their answers and errors
//     mean; refusal.go has the errors that the dialects share.
//   - fields.go takes and gives credentials in the shapes that people paste.
//
// A platform holds no state and retries nothing. Errors are *connector.Error:
// their messages are our own words, and neither they nor their causes hold a
// URL query, a body, a token or a secret.
//
// Facts about a platform stand next to the code that relies on them, with the
// page they come from and the date on which it was read.
package platform
