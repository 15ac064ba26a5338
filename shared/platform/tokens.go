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

// tokens is a successful answer of a token endpoint (RFC 6749, 5.1), with the
// members that Google and TikTok add. What was not said, or not credibly, is
// zero.
type tokens struct {
	access, refresh  connector.Secret
	expiresIn        time.Duration
	refreshExpiresIn time.Duration
	scopes           []string // nil where the answer has no scope
	openID           string   // TikTok
}

// token asks a token endpoint (RFC 6749, 3.2) and reads its answer.
//
// golang.org/x/oauth2 builds the authorize URLs; codes and refresh tokens it
// does not get, because of what v0.37.0 does with an answer after the token in
// it is spent: an expires_in that is no number loses the whole answer, an
// error keeps the body, text/plain is read as a form, a long body is cut
// without a word, and nobody learns whether the request had left.
func (w wire) token(ctx context.Context, c call, refuse refuse) (tokens, error) {
	c.method = http.MethodPost
	r, err := w.do(ctx, c, refuse)
	if err != nil {
		return tokens{}, err
	}
	t, err := readTokens(r.body)
	if err != nil {
		return tokens{}, w.garbled(c.method, err.Error())
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
		access:    connector.NewSecret(text(raw["access_token"])),
		refresh:   connector.NewSecret(text(raw["refresh_token"])),
		expiresIn: seconds(raw["expires_in"]),
		openID:    text(raw["open_id"]),
	}
	// TikTok calls it refresh_expires_in
	// (https://developers.tiktok.com/doc/oauth-user-access-token-management,
	// read 2026-11-23), Google refresh_token_expires_in
	// (https://github.com/google/GoogleSignIn-iOS/issues/565, read 2026-11-23;
	// no page of Google's that says so was seen).
	t.refreshExpiresIn = max(seconds(raw["refresh_token_expires_in"]), seconds(raw["refresh_expires_in"]))
	if scope, ok := raw["scope"]; ok {
		t.scopes = splitScopes(text(scope))
	}
	switch {
	case says(raw["error"]):
		return tokens{}, errors.New("an error beside the tokens")
	case t.access.Empty():
		return tokens{}, errors.New("no access_token")
	case !credible(t.access.Reveal()) || !credible(t.refresh.Reveal()):
		return tokens{}, errors.New("a token that cannot be one")
	}
	return t, nil
}

// refused is an error answer of a token endpoint (RFC 6749, 5.2).
type refused struct {
	status      int
	code        string
	description string // the platform's words: to be compared, never shown
	subtype     string // Google
}

// readRefused reads an error answer of a token endpoint. ok is false where
// the body has no error in it.
func readRefused(r reply) (e refused, ok bool) {
	var raw map[string]json.RawMessage
	if decode(r.body, &raw) != nil {
		return refused{}, false
	}
	e = refused{
		status:      r.status,
		code:        text(raw["error"]),
		description: text(raw["error_description"]),
		subtype:     text(raw["error_subtype"]),
	}
	return e, says(raw["error"])
}

// Error names the code if it is one of the registered ones, and nothing of
// what else the platform said.
func (e refused) Error() string {
	code := e.code
	if !knownCode[code] {
		code = "an unknown error"
	}
	return "token endpoint: " + code + ", HTTP status " + strconv.Itoa(e.status)
}

// knownCode are the error codes of RFC 6749 (4.1.2.1, 5.2) and what the
// platforms add: Google https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors,
// TikTok https://developers.tiktok.com/doc/oauth-error-handling (read
// 2026-11-23).
var knownCode = map[string]bool{
	"access_denied": true, "admin_policy_enforced": true, "deleted_client": true, "disabled_client": true,
	"internal_failure": true, "invalid_client": true, "invalid_grant": true,
	"invalid_request": true, "invalid_scope": true, "invalid_token": true, "org_internal": true,
	"rate_limit_exceeded": true, "redirect_uri_mismatch": true, "server_error": true, "slow_down": true,
	"temporarily_unavailable": true, "unauthorized_client": true,
	"unsupported_grant_type": true, "unsupported_response_type": true,
}

// tokenRefused reads the refusals of a token endpoint that speaks RFC 6749.
// oddity, where there is one, has the first word.
func (w wire) tokenRefused(forCode bool, oddity func(refused) *connector.Error) refuse {
	return func(r reply) *connector.Error {
		e, ok := readRefused(r)
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

// tokenError says what the refusal of a token endpoint means. forCode tells
// the exchange of a code, where the person starts again, from a refresh, where
// the grant is dead.
func (w wire) tokenError(e refused, forCode bool) *connector.Error {
	switch e.code {
	case "invalid_grant":
		if forCode {
			return w.codeRefused(e)
		}
		return w.grantDead("", e)
	case "access_denied", "admin_policy_enforced", "org_internal":
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

// expiry returns when a token dies that was issued just now, taking the
// platform's documented lifetime where the answer does not say.
func (w wire) expiry(said, documented time.Duration) time.Time {
	if said == 0 {
		said = documented
	}
	return w.now().UTC().Add(said)
}

// renewed returns c with what a token endpoint said: what it left out, such as
// a refresh token that stays the same, is carried over. lifetime stands in
// where it did not say how long the access token lives.
func (w wire) renewed(c connector.Credentials, t tokens, lifetime time.Duration) connector.Credentials {
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
	c.ExpiresAt = w.expiry(t.expiresIn, lifetime)
	setTime(fields, "token_expiry", c.ExpiresAt)
	if t.refreshExpiresIn > 0 {
		c.GrantExpiresAt = w.expiry(t.refreshExpiresIn, 0)
	}
	return c
}
