package platform

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/url"
	"strings"

	"golang.org/x/oauth2"

	"platform-api-connector/shared/connector"
)

// query returns a form or query of pairs of name and value.
func query(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1]) // #nosec G602 -- callers write pairs
	}
	return v
}

// authorizeURL returns the URL at which the person consents.
func authorizeURL(config oauth2.Config, a connector.Authorization, options ...oauth2.AuthCodeOption) string {
	return encodeSpaces(config.AuthCodeURL(a.State.Reveal(), options...))
}

// encodeSpaces replaces the plus signs of an encoded query by %20. Both mean a
// space, and every platform reads %20. A plus sign itself is %2B.
func encodeSpaces(query string) string { return strings.ReplaceAll(query, "+", "%20") }

// signature returns the HMAC-SHA256 of message.
func signature(key connector.Secret, message []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write(message)
	return mac.Sum(nil)
}
