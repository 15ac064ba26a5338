package platform

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/oauth2"

	"platform-api-connector/shared/connector"
)

// mostDepth bounds the nesting of an answer. Graph's page lists need five.
const mostDepth = 32

// decode reads a platform's answer into v: one JSON object, without duplicate
// keys at any level. With two values under one key, two readers may believe
// different ones.
func decode(body []byte, v any) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return errors.New("JSON of another shape")
	}
	return nil
}

func checkJSON(body []byte) error {
	type level struct {
		keys  map[string]bool // nil in an array
		value bool            // whether a value, not a key, comes next
	}
	var levels []level
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	for first := true; first || len(levels) > 0; first = false {
		token, err := decoder.Token()
		if err != nil {
			return errors.New("not JSON")
		}
		if first && token != json.Delim('{') {
			return errors.New("not a JSON object")
		}
		if n := len(levels); n > 0 && levels[n-1].keys != nil && token != json.Delim('}') {
			top := &levels[n-1]
			if !top.value {
				key := token.(string)
				if top.keys[key] {
					return errors.New("JSON with a duplicate key")
				}
				top.keys[key], top.value = true, true
				continue
			}
			top.value = false
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{keys: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		case json.Delim('}'), json.Delim(']'):
			levels = levels[:len(levels)-1]
		}
		if len(levels) > mostDepth {
			return errors.New("JSON nested too deeply")
		}
	}
	if _, err := decoder.Token(); err == nil {
		return errors.New("more than one JSON value")
	}
	if rest := bytes.TrimSpace(body[decoder.InputOffset():]); len(rest) > 0 {
		return errors.New("something after the JSON object")
	}
	return nil
}

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
	// Google calls it refresh_token_expires_in (seen in its answers for apps
	// in Testing), TikTok refresh_expires_in
	// (https://developers.tiktok.com/doc/oauth-user-access-token-management).
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

// mostSecret bounds a token or secret: many times the longest that was seen,
// and few enough that a whole set fits a vault's 64 KiB.
const mostSecret = 8 << 10

// credible reports whether s may travel in a header: printable ASCII (RFC
// 6749, A.12) of some length.
func credible(s string) bool {
	if len(s) > mostSecret {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// text returns a JSON string or the literal of a JSON number; anything else is
// empty.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// says reports whether a member holds anything: neither absent, null nor "".
func says(raw json.RawMessage) bool {
	s := string(bytes.TrimSpace(raw))
	return s != "" && s != "null" && s != `""`
}

// identifier is an account id. Ids of 64 bits and more come as strings or as
// numbers, which must not pass through a float: Instagram's exceed 2^53.
type identifier string

// UnmarshalJSON takes a string or a number.
func (i *identifier) UnmarshalJSON(b []byte) error {
	*i = identifier(text(b))
	return nil
}

// longestLife is the longest lifetime that is believed. The longest known is
// 365 days, of TikTok's refresh tokens until 2026.
const longestLife = 366 * 24 * time.Hour

// seconds reads a lifetime: a number, or a number in a string. What is not
// positive, or beyond belief, counts as not said.
func seconds(raw json.RawMessage) time.Duration {
	n, err := strconv.ParseFloat(strings.TrimSpace(text(raw)), 64)
	if err != nil || math.IsNaN(n) || n < 1 || n > longestLife.Seconds() {
		return 0
	}
	return time.Duration(n) * time.Second
}

// unix reads an instant in seconds since 1970, zero where it is absent, 0
// ("never"), or nonsense.
func unix(raw json.RawMessage) time.Time {
	n, err := strconv.ParseFloat(text(raw), 64)
	if err != nil || math.IsNaN(n) || n < 1 || n > 253402300799 { // 9999-12-31
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}

var scopePattern = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,200}$`)

// splitScopes reads a list of scopes, separated by spaces or commas. What
// cannot be a scope of these platforms is left out.
func splitScopes(list string) []string {
	scopes := []string{}
	for _, scope := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }) {
		if scopePattern.MatchString(scope) && len(scopes) < 100 {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

var accountPattern = regexp.MustCompile(`^[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,127}$`)

// account returns the account that a platform named, or an error if the id
// cannot be one: it becomes part of keys and of URLs.
func account(id, name string) (connector.Account, error) {
	if !accountPattern.MatchString(id) {
		return connector.Account{}, errors.New("an account id that cannot be one")
	}
	return connector.Account{ID: id, Name: displayName(name)}, nil
}

// displayName makes a name that a stranger chose fit for logs and pages.
func displayName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	if runes := []rune(name); len(runes) > 128 {
		name = string(runes[:128])
	}
	return strings.TrimSpace(name)
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

func (w wire) codeRefused(cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.StateInvalid,
		Message: "the code from " + w.title + " expired or was used; start again",
		Reason:  "code_refused",
		Err:     cause,
	}
}

func (w wire) grantDead(reason string, cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.ReauthorizationRequired,
		Message: w.title + " no longer accepts the authorization; the person has to connect again",
		Reason:  reason,
		Err:     cause,
	}
}

func (w wire) appRefused(advice string, cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.AppMisconfigured,
		Message: w.title + " refuses the app: " + advice,
		Err:     cause,
	}
}

// clientRefused is for a platform that refused the client's own id or secret,
// and has done nothing.
func (w wire) clientRefused(advice string, cause error) *connector.Error {
	e := w.appRefused(advice, cause)
	e.ClientRefused = true
	return e
}

func (w wire) scopeMissing(scopes []string, cause error) *connector.Error {
	e := &connector.Error{Code: connector.ScopeMissing, MissingScopes: scopes, Err: cause}
	e.Message = w.title + " did not grant what this needs; connect again and allow everything"
	return e
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

// spent marks a failure that came after a single-use refresh token was
// redeemed, so that nobody presents that token again.
func spent(err error) error {
	e := *connector.AsError(err)
	e.Uncertain = true
	return &e
}

// query returns a form or query of pairs of name and value.
func query(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1]) // #nosec G602 -- callers write pairs
	}
	return v
}

// authorizeURL returns where the browser goes.
func authorizeURL(config oauth2.Config, a connector.Authorization, options ...oauth2.AuthCodeOption) string {
	return plusless(config.AuthCodeURL(a.State.Reveal(), options...))
}

// plusless writes the spaces of a query as %20, which no platform takes for
// anything else; a plus sign itself is %2B.
func plusless(query string) string { return strings.ReplaceAll(query, "+", "%20") }

func (w wire) noApp() *connector.Error {
	return &connector.Error{
		Code:    connector.AppNotConfigured,
		Message: "no app is configured for " + w.title + ": store its id and secret",
	}
}

// notSigned is the error for a notice that does not come from the platform.
func (w wire) notSigned(cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.StateInvalid,
		Message: "the notice is not signed by " + w.title + " for this app",
		Err:     cause,
	}
}
