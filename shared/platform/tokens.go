package platform

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"platform-api-connector/shared/connector"
)

// tokens is a successful answer of a token endpoint (RFC 6749, 5.1). A member
// that is absent, or has a value that it cannot have, is zero.
type tokens struct {
	access, refresh  connector.Secret
	expiresIn        time.Duration
	refreshExpiresIn time.Duration
	scopes           []string                   // nil where the answer has no scope
	members          map[string]json.RawMessage // the whole answer
}

// token sends a request to a token endpoint (RFC 6749, 3.2) and reads the
// answer.
//
// golang.org/x/oauth2 builds the authorize URLs. It does not send codes or
// refresh tokens, because v0.37.0 can lose the answer after the token is spent.
// It discards the whole answer where expires_in is no number. It reads
// text/plain as a form. It cuts a long body without an error. Its errors hold
// the body, and do not tell whether the request was sent.
func (w wire) token(ctx context.Context, c call, decodeError errorDecoder) (tokens, error) {
	c.method = http.MethodPost
	r, err := w.do(ctx, c, decodeError)
	if err != nil {
		return tokens{}, err
	}
	t, err := readTokens(r.body)
	if err != nil {
		return tokens{}, w.malformed(c.method, err.Error())
	}
	return t, nil
}

// readTokens reads a successful answer of a token endpoint.
func readTokens(body []byte) (tokens, error) {
	var raw map[string]json.RawMessage
	if err := decode(body, &raw); err != nil {
		return tokens{}, err
	}
	t := tokens{
		access:    connector.NewSecret(stringOrNumber(raw["access_token"])),
		refresh:   connector.NewSecret(stringOrNumber(raw["refresh_token"])),
		expiresIn: parseSeconds(raw["expires_in"]),
		members:   raw,
	}
	// TikTok calls it refresh_expires_in
	// (https://developers.tiktok.com/doc/oauth-user-access-token-management,
	// read 2026-11-23), Google refresh_token_expires_in
	// (https://developers.google.com/identity/protocols/oauth2/web-server#exchange-authorization-code,
	// read 2026-11-25).
	t.refreshExpiresIn = max(parseSeconds(raw["refresh_token_expires_in"]), parseSeconds(raw["refresh_expires_in"]))
	if scope, ok := raw["scope"]; ok {
		t.scopes = splitScopes(stringOrNumber(scope))
	}
	switch {
	case isPresent(raw["error"]):
		return tokens{}, errors.New("an error beside the tokens")
	case t.access.Empty():
		return tokens{}, errors.New("no access_token")
	case !isCredential(t.access.Reveal()) || !isCredential(t.refresh.Reveal()):
		return tokens{}, errors.New("a token with characters or a length that no token has")
	}
	return t, nil
}

// oauthError is an error answer of a token endpoint (RFC 6749, 5.2).
type oauthError struct {
	status      int
	code        string
	description string // untrusted text, for comparison only
	subtype     string // of Google
}

// readOAuthError reads an error answer of a token endpoint. ok is false where
// the body has no error.
func readOAuthError(r reply) (e oauthError, ok bool) {
	var raw map[string]json.RawMessage
	if decode(r.body, &raw) != nil {
		return oauthError{}, false
	}
	e = oauthError{
		status:      r.status,
		code:        stringOrNumber(raw["error"]),
		description: stringOrNumber(raw["error_description"]),
		subtype:     stringOrNumber(raw["error_subtype"]),
	}
	return e, isPresent(raw["error"])
}

// Error names the code if it is one of registeredErrors. It repeats no other
// text of the platform.
func (e oauthError) Error() string {
	code := e.code
	if !registeredErrors[code] {
		code = "an unknown error"
	}
	return "token endpoint: " + code + ", HTTP status " + strconv.Itoa(e.status)
}

// registeredErrors are the error codes of RFC 6749 (4.1.2.1, 5.2) and those
// that platforms add: Google https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors
// (read 2026-11-23) and https://github.com/twentyhq/twenty/pull/25148 (read 2026-11-25),
// TikTok https://developers.tiktok.com/doc/oauth-error-handling (read 2026-11-23).
var registeredErrors = map[string]bool{
	"access_denied": true, "admin_policy_enforced": true, "deleted_client": true, "disabled_client": true,
	"internal_failure": true, "invalid_client": true, "invalid_grant": true,
	"policy_enforced": true,
	"invalid_request": true, "invalid_scope": true, "invalid_token": true, "org_internal": true,
	"rate_limit_exceeded": true, "redirect_uri_mismatch": true, "server_error": true, "slow_down": true,
	"temporarily_unavailable": true, "unauthorized_client": true,
	"unsupported_grant_type": true, "unsupported_response_type": true,
}

// tokenErrorDecoder returns the decoder for a token endpoint as RFC 6749 has it.
// oddity may be nil. An error that oddity returns has precedence.
func (w wire) tokenErrorDecoder(forCode bool, oddity func(oauthError) *connector.Error) errorDecoder {
	return func(r reply) *connector.Error {
		e, ok := readOAuthError(r)
		if !ok || r.status == http.StatusTooManyRequests {
			return nil
		}
		if oddity != nil {
			if known := oddity(e); known != nil {
				return known
			}
		}
		return w.tokenError(e, forCode)
	}
}

// tokenError returns what an error of a token endpoint means. forCode is set for
// the exchange of a code. invalid_grant means then that the person has to start
// again; at a refresh it means that the grant has ended.
func (w wire) tokenError(e oauthError, forCode bool) *connector.Error {
	switch e.code {
	case "invalid_grant":
		if forCode {
			return w.codeRejected(e)
		}
		return w.grantDead("", e)
	case "access_denied", "admin_policy_enforced", "policy_enforced", "org_internal":
		if forCode {
			return &connector.Error{Code: connector.AccessDenied, Message: w.title + " refused the consent", Err: e}
		}
		return w.grantDead("access_denied", e)
	case "invalid_client":
		return w.clientRefused("check its id, secret and redirect URI", e)
	case "deleted_client", "disabled_client", "unauthorized_client",
		"redirect_uri_mismatch", "invalid_scope", "unsupported_grant_type", "unsupported_response_type":
		return w.appRefused("check its id, secret and redirect URI", e)
	case "invalid_request":
		return w.appRefused("it calls the request malformed; check the app's type and redirect URI", e)
	case "slow_down", "rate_limit_exceeded":
		return &connector.Error{Code: connector.RateLimited, Message: w.title + " asks us to slow down", Err: e}
	case "temporarily_unavailable":
		return w.unavailable("is temporarily unavailable", e)
	case "server_error", "internal_failure":
		failed := w.unavailable("failed", e)
		failed.Uncertain = true
		return failed
	}
	return w.unavailable("refused the request in a way that we do not know", e)
}

// lives are the lives that a platform documents. A life in an answer that exceeds
// the longest is a mistake, such as milliseconds for seconds.
type lives struct {
	access  time.Duration // of an access token whose answer has no life
	longest time.Duration // of any access token
	grant   time.Duration // of a refresh token, the longest
}

// expiry returns when an access token ends that was issued now. The life in the
// answer counts if the platform has such lives.
func (w wire) expiry(answered time.Duration, documented lives) time.Time {
	if answered <= 0 || answered > documented.longest {
		answered = documented.access
	}
	return w.now().UTC().Add(answered)
}

// past returns t, a time at which something happened, but none after now.
func (w wire) past(t time.Time) time.Time { return earlier(t, w.now().UTC()) }

// applyTokens returns c with the tokens, scopes and times of an answer. What the
// answer leaves out, such as a refresh token that stays the same, is copied
// from c. No time exceeds what is documented, also one that is copied.
func (w wire) applyTokens(c connector.Credentials, t tokens, documented lives) connector.Credentials {
	fields := connector.Fields{}
	if c.Fields != nil {
		fields = c.Fields.Clone()
	}
	fields["access_token"] = t.access
	if !t.refresh.Empty() {
		fields["refresh_token"] = t.refresh
	}
	c.Fields = fields
	if t.scopes != nil {
		c.Scopes = t.scopes
	}
	c.IssuedAt = w.now().UTC()
	c.ExpiresAt = w.expiry(t.expiresIn, documented)
	setTime(fields, "token_expiry", c.ExpiresAt)
	if t.refreshExpiresIn > 0 {
		c.GrantExpiresAt = w.now().UTC().Add(t.refreshExpiresIn)
	}
	if !c.GrantExpiresAt.IsZero() {
		c.GrantExpiresAt = earlier(c.GrantExpiresAt, w.now().UTC().Add(documented.grant))
	}
	return c
}
