package platform

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"platform-api-connector/shared/connector"
)

const (
	twitterAuthorize  = "https://x.com/i/oauth2/authorize"
	twitterTokens     = "https://api.x.com/2/oauth2/token"
	twitterRevoke     = "https://api.x.com/2/oauth2/revoke"
	twitterInvalidate = "https://api.x.com/1.1/oauth/invalidate_token.json"
	twitterMe         = "https://api.x.com/2/users/me"
	twitterIssuer     = "https://x.com"
)

// twitterLifetime is the lifetime of X's access tokens
// (https://docs.x.com/fundamentals/authentication/oauth-2-0/authorization-code,
// read 2026-11-23).
const twitterLifetime = 2 * time.Hour

// twitterLapse is the lifetime of X's refresh tokens: six months
// (https://github.com/trypostit/trypost/issues/126, read 2026-11-23). X's own
// pages do not state it.
const twitterLapse = 181 * 24 * time.Hour

var twitterLives = lives{access: twitterLifetime, longest: twitterLifetime, grant: twitterLapse}

// twitter is X. Besides OAuth 2.0 it has the static keys of OAuth 1.0a, which
// people copy from its console. They sign each request and cannot be refreshed.
type twitter struct {
	wire
	guide func() connector.Guide
}

func newTwitter(o Options) *twitter {
	return &twitter{wire: newWire("X (Twitter)", o), guide: guideOf("twitter")}
}

var twitterShape = shape{
	id: "client_id", secret: "client_secret", public: true,
	required: []string{"refresh_token"},
	optional: []string{"access_token", "token_expiry"},
}

// twitterKeys is the set of OAuth 1.0a keys. api_key and api_secret belong to the
// app, but differ from the id and the secret of its OAuth 2.0 client. They are
// extras of the app.
var twitterKeys = shape{
	id: "api_key", secret: "api_secret",
	required: []string{"access_token", "access_token_secret"},
	optional: []string{"bearer_token"},
}

// keysApp returns the app as OAuth 1.0a knows it.
func keysApp(app connector.App) connector.App {
	return connector.App{ClientID: app.Extras.Get("api_key"), ClientSecret: app.Extras["api_secret"]}
}

// isOAuth1 reports whether credentials are OAuth 1.0a keys.
func isOAuth1(fields connector.Fields) bool {
	_, ok := fields["access_token_secret"]
	return ok
}

// Describe implements connector.Platform.
func (x *twitter) Describe() connector.Description {
	return connector.Description{
		Name:     "twitter",
		Title:    "X (Twitter)",
		AuthKind: "oauth2 and oauth1.0a",
		Scopes:   []string{"tweet.read", "tweet.write", "users.read", "media.write", "offline.access"},
		// users/me wants both, by X's openapi.json v2.167 of 2026-08-22.
		Required: []string{"tweet.read", "users.read"},
		Issuers:  x.issuers(twitterIssuer),
		AppFields: []connector.AppField{
			{Name: "api_key"},
			{Name: "api_secret", Secret: true, SecretOf: "api_key"},
			{Name: "bearer_token", Secret: true},
			{Name: "tier"},
			{Name: "monthly_post_limit", Number: true},
			{Name: "billing_day", Number: true},
		},
		// X ends the whole grant when a spent refresh token is sent again
		// (https://github.com/trypostit/trypost/issues/126, read
		// 2026-11-23).

		ClientFields: []string{"client_id", "api_key"},

		// X authorizes the account that is signed in in the browser
		// (https://docs.x.com/tools/mcp, read 2026-11-25). Its page offers others only if
		// they are signed in there, too
		// (https://github.com/ComposioHQ/composio/issues/3251, read 2026-11-25).
		OtherAccount: "sign out of X in this browser first, because X connects the account that is signed in",

		Cadence: connector.Cadence{
			Model:      connector.Rotating,
			Lifetime:   twitterLifetime,
			Lapse:      twitterLapse,
			CheckEvery: 7 * 24 * time.Hour, // OAuth 1.0a keys
		},
		Guide: x.guide(),
	}
}

// AuthorizeURL implements connector.Platform.
func (x *twitter) AuthorizeURL(app connector.App, a connector.Authorization) (string, error) {
	if app.ClientID == "" {
		return "", x.noApp()
	}
	return authorizeURL(oauth2.Config{
		ClientID:    app.ClientID,
		RedirectURL: a.RedirectURI,
		Scopes:      a.Scopes,
		Endpoint:    oauth2.Endpoint{AuthURL: x.rewriteOrigin(twitterAuthorize)},
	}, a, oauth2.S256ChallengeOption(a.Verifier.Reveal())), nil
}

// AuthorizationError implements connector.Platform. A person who cancels the page of
// OAuth 1.0a comes back with denied alone
// (https://github.com/omab/python-social-auth/pull/242, read 2026-11-25).
func (x *twitter) AuthorizationError(r connector.Refusal) *connector.Error {
	if r["error"] == "" && r["denied"] != "" {
		return x.consentDenied()
	}
	return x.wire.AuthorizationError(r)
}

// Redeem implements connector.Platform. X's codes expire after 30 seconds
// (https://docs.x.com/fundamentals/authentication/oauth-2-0/authorization-code,
// read 2026-11-23).
func (x *twitter) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	t, err := x.token(ctx, authenticated(client{id: app.ClientID, secret: app.ClientSecret}, call{url: twitterTokens, form: query(
		"grant_type", "authorization_code",
		"code", code.Reveal(),
		"code_verifier", a.Verifier.Reveal(),
		"redirect_uri", a.RedirectURI,
	)}), x.tokenEndpointErrors(true))
	if err != nil {
		return connector.Credentials{}, err
	}
	return x.applyTokens(connector.Credentials{Scopes: a.Scopes}, t, twitterLives), nil
}

// Accounts implements connector.Platform.
func (x *twitter) Accounts(ctx context.Context, app connector.App, c connector.Credentials, _ string) (connector.AccountList, error) {
	unknown := oneAccount(connector.Grant{Credentials: c})
	for _, scope := range []string{"tweet.read", "users.read"} {
		if !slices.Contains(c.Scopes, scope) {
			return unknown, x.scopeMissing([]string{scope}, nil)
		}
	}
	me, _, err := x.me(ctx, app, c)
	if err != nil {
		return unknown, err
	}
	grant := connector.Grant{Account: me, UserID: me.ID, Credentials: c}
	if c.Fields["refresh_token"].Empty() {
		grant.Warning = "no_refresh_token: X gave no refresh token, so this ends within hours; connect again with offline.access"
	}
	return oneAccount(grant), nil
}

// authenticated adds the credentials of the client to a call. A client with a
// secret uses HTTP Basic as RFC 2617 has it, without the form encoding of RFC
// 6749. A client without a secret sends its id
// (https://docs.x.com/fundamentals/authentication/oauth-2-0/user-access-token,
// read 2026-11-23).
func authenticated(c client, to call) call {
	if c.secret.Empty() {
		to.form.Set("client_id", c.id)
	} else {
		to.user, to.password = c.id, c.secret.Reveal()
	}
	return to
}

// tokenEndpointErrors decodes errors of X's token endpoint. X sends
// invalid_request in place of invalid_grant, and only the description tells them
// apart (https://github.com/PLhery/node-twitter-api-v2/issues/496, read
// 2026-11-23). Spent credits have the form of an API error.
func (x *twitter) tokenEndpointErrors(forCode bool) errorDecoder {
	standard := x.tokenErrorDecoder(forCode, func(e oauthError) *connector.Error {
		description := strings.ToLower(e.description)
		switch {
		case e.code != "invalid_request":
		case !forCode && strings.Contains(description, "for the token was invalid"):
			return x.grantDead("", e)
		case forCode && (strings.Contains(description, "the authorization code was invalid") ||
			strings.Contains(description, "code verifier") || strings.Contains(description, "for the token was invalid")):
			return x.codeRejected(e)
		}
		return nil
	})
	return func(r reply) *connector.Error {
		if r.status == http.StatusPaymentRequired || r.status == http.StatusTooManyRequests {
			return x.apiError(r)
		}
		return standard(r)
	}
}

// ReadCredentials implements connector.FileReader. X's console shows the OAuth 1.0a
// keys beside the id and secret of the OAuth 2.0 client, and people copy all of
// them. Those that the credentials do not use are not needed.
func (x *twitter) ReadCredentials(fields connector.Fields) (connector.Fields, error) {
	f := twitterFile.read(fields)
	switch keys := f.has("access_token_secret"); {
	case keys && f.has("refresh_token"):
		f.problems.add("refresh_token", "of OAuth 2.0, beside an access_token_secret of OAuth 1.0a: send one of the two")
	case keys, !f.has("refresh_token") && usesKeys(f):
		f.drop("client_id", "client_secret")
		delete(f.times, "token_expiry")
		if f.has("bearer_token") && !f.has("access_token") {
			f.problems.add("bearer_token", "app-only: it cannot post for an account, which needs access_token and access_token_secret, too")
		}
		return f.credentials(twitterKeys)
	default:
		f.drop("api_key", "api_secret", "bearer_token")
	}
	return f.credentials(twitterShape)
}

// usesKeys reports whether a file without a refresh token has keys of OAuth 1.0a.
func usesKeys(f *file) bool { return f.has("api_key") || f.has("api_secret") || f.has("bearer_token") }

// ReadApp implements connector.FileReader.
func (x *twitter) ReadApp(fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	return twitterAppFile.readApp(fields)
}

// Import implements connector.Platform.
func (x *twitter) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	read, err := x.ReadCredentials(fields)
	if err != nil {
		return nil, err
	}
	_, key := read["api_key"]
	_, secret := read["api_secret"]
	_, bearer := read["bearer_token"]
	if isOAuth1(read) || key || secret || bearer {
		return x.importKeys(ctx, app, read, verify)
	}
	parsed, err := twitterShape.parse(app, read)
	if err != nil {
		return nil, err
	}
	c := x.importedTokens(parsed, twitterLifetime)
	if !verify {
		return []connector.Grant{{Credentials: c}}, nil
	}
	grant := connector.Grant{Credentials: c}
	if err := x.verifyImport(ctx, app, &grant); err != nil {
		return ifRenewed(grant, c), err
	}
	return []connector.Grant{grant}, nil
}

func (x *twitter) verifyImport(ctx context.Context, app connector.App, grant *connector.Grant) error {
	me, err := x.verifyImportedTokens(grant, []string{"tweet.read", "users.read", "offline.access"},
		func(c connector.Credentials) (connector.Account, error) {
			me, _, err := x.me(ctx, app, c)
			return me, err
		},
		func(c connector.Credentials) (connector.Credentials, error) {
			renewed, err := x.Refresh(ctx, app, c)
			renewed.VerifiedKey = x.AppKey(app, c)
			return renewed, err
		})
	if err != nil {
		return err
	}
	grant.Account, grant.UserID = me, me.ID
	return nil
}

// importKeys imports the five keys of OAuth 1.0a.
func (x *twitter) importKeys(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	parsed, err := twitterKeys.parse(keysApp(app), fields)
	if err != nil {
		return nil, err
	}
	// Such credentials are used with the app's keys. An import therefore uses them
	// only if X verifies that the user's keys belong to the app, or if the importer
	// has the app's secret. The app's keys are handed out only in the first case.
	if !verify && parsed["api_key"].Empty() && !fields["api_secret"].Equal(app.Extras["api_secret"]) {
		return nil, connector.Invalid("credentials.api_secret", "not the secret of the stored app; only a verified import may omit it")
	}
	if parsed["bearer_token"].Equal(app.Extras["bearer_token"]) {
		delete(parsed, "bearer_token")
	}
	// An access token begins with the numeric id of its account
	// (https://docs.x.com/fundamentals/authentication/oauth-1-0a/obtaining-user-access-tokens,
	// read 2026-11-23).
	id, _, _ := strings.Cut(parsed.Get("access_token"), "-")
	if _, err := strconv.ParseUint(id, 10, 64); err != nil {
		id = ""
	}
	grant := connector.Grant{
		Account:     connector.Account{ID: id},
		UserID:      id,
		Credentials: connector.Credentials{Fields: parsed, IssuedAt: x.now().UTC()},
	}
	if verify {
		v, err := x.Verify(ctx, app, grant.Credentials)
		if err != nil {
			return nil, err
		}
		grant.Account, grant.UserID, grant.Credentials.Scopes, grant.Warning = v.Account, v.Account.ID, v.Scopes, v.Warning
		grant.Credentials.VerifiedKey = x.AppKey(app, grant.Credentials) // by the signature
	}
	return []connector.Grant{grant}, nil
}

// Refresh implements connector.Platform. It verifies OAuth 1.0a keys, because X
// cannot refresh them.
func (x *twitter) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if isOAuth1(c.Fields) {
		v, err := x.Verify(ctx, app, c)
		if err != nil {
			return connector.Credentials{}, err
		}
		c.Scopes, c.AccountID, c.UserID = v.Scopes, v.Account.ID, v.UserID
		return c, nil
	}
	if c.Fields["refresh_token"].Empty() {
		return connector.Credentials{}, x.grantDead("no_refresh_token", nil)
	}
	t, err := x.token(ctx, authenticated(twitterShape.client(app, c.Fields), call{url: twitterTokens, form: query(
		"grant_type", "refresh_token",
		"refresh_token", c.Fields.Get("refresh_token"),
	)}), x.tokenEndpointErrors(false))
	if err != nil {
		return connector.Credentials{}, err
	}
	return x.applyTokens(c, t, twitterLives), nil
}

// Verify implements connector.Platform. X bills it as one read of a user
// (https://docs.x.com/x-api/getting-started/pricing, read 2026-11-23).
func (x *twitter) Verify(ctx context.Context, app connector.App, c connector.Credentials) (connector.Verification, error) {
	me, level, err := x.me(ctx, app, c)
	if err != nil {
		return connector.Verification{}, err
	}
	v := connector.Verification{Account: me, UserID: me.ID, Scopes: c.Scopes}
	if isOAuth1(c.Fields) {
		v.Scopes, v.Warning = keyScopes(level)
	}
	return v, nil
}

// keyScopes returns the scopes that correspond to OAuth 1.0a keys. The keys do
// not expire, as with offline.access. x-access-level is read, read-write or
// read-write-directmessages. It was set when the keys were generated
// (https://docs.x.com/fundamentals/developer-apps, read 2026-11-23).
func keyScopes(level string) (scopes []string, warning string) {
	scopes = []string{"tweet.read", "users.read", "offline.access"}
	switch {
	case strings.Contains(level, "write"):
		return append(scopes, "tweet.write", "media.write"), ""
	case level == "":
		return scopes, "access_level_unknown: X did not say whether these keys may post"
	}
	return scopes, "read_only_keys: these keys cannot post; set the app to Read and write, then generate new keys"
}

// me returns the account of credentials, and the access level in X's answer.
func (x *twitter) me(ctx context.Context, app connector.App, c connector.Credentials) (connector.Account, string, error) {
	if isOAuth1(c.Fields) {
		// X would refuse a signature without the app's secret as if the user's
		// token had ended.
		if consumer := twitterKeys.client(keysApp(app), c.Fields); consumer.id == "" || consumer.secret.Empty() {
			return connector.Account{}, "", x.noKeys()
		}
	}
	to, err := x.authorized(app, c, call{method: http.MethodGet, url: twitterMe})
	if err != nil {
		return connector.Account{}, "", err
	}
	r, err := x.do(ctx, to, x.apiError)
	if err != nil {
		return connector.Account{}, "", err
	}
	var answer struct {
		Data struct {
			ID             identifier
			Name, Username string
		}
	}
	if err := decode(r.body, &answer); err != nil {
		return connector.Account{}, "", x.malformed(http.MethodGet, err.Error())
	}
	// The username differs between two accounts of one person. Their names may
	// be the same.
	me, err := account(string(answer.Data.ID), cmp.Or(answer.Data.Username, answer.Data.Name))
	if err != nil {
		return connector.Account{}, "", x.malformed(http.MethodGet, err.Error())
	}
	return me, r.header.Get("X-Access-Level"), nil
}

// authorized adds the access token to a call without parameters, or an OAuth 1.0a
// signature over the URL that is called.
func (x *twitter) authorized(app connector.App, c connector.Credentials, to call) (call, error) {
	if !isOAuth1(c.Fields) {
		to.bearer = c.Fields["access_token"]
		return to, nil
	}
	var nonce [16]byte
	if _, err := io.ReadFull(x.random, nonce[:]); err != nil {
		return call{}, &connector.Error{Code: connector.Internal, Message: "a request to X (Twitter) could not be signed", Err: err}
	}
	request := connector.SignatureRequest{Method: to.method, Nonce: hex.EncodeToString(nonce[:]), At: x.now()}
	header, err := oauth1Header(twitterKeys.client(keysApp(app), c.Fields), c.Fields, request, x.rewriteOrigin(to.url), nil)
	to.authorization = header
	return to, err
}

// Revoke implements connector.Revoker
// (https://docs.x.com/fundamentals/authentication/oauth-2-0/user-access-token,
// read 2026-11-23). OAuth 1.0a keys end for every other user of them, too.
func (x *twitter) Revoke(ctx context.Context, app connector.App, c connector.Credentials, _ string) error {
	if isOAuth1(c.Fields) {
		to, err := x.authorized(app, c, call{method: http.MethodPost, url: twitterInvalidate})
		if err != nil {
			return err
		}
		_, err = x.do(ctx, to, x.apiError)
		if errors.Is(err, connector.ReauthorizationRequired) {
			return nil
		}
		return err
	}
	oauthClient := twitterShape.client(app, c.Fields)
	for _, name := range []string{"refresh_token", "access_token"} {
		token := c.Fields.Get(name)
		if token == "" {
			continue
		}
		dead := false
		to := authenticated(oauthClient, call{method: http.MethodPost, url: twitterRevoke, form: query("token", token, "token_type_hint", name)})
		_, err := x.do(ctx, to, func(r reply) *connector.Error {
			e, ok := readOAuthError(r)
			if !ok {
				return nil
			}
			refusal := x.tokenEndpointErrors(false)(r)
			dead = e.code == "invalid_token" || refusal != nil && refusal.Code.GrantDead()
			return refusal
		})
		if err != nil && !dead {
			return err
		}
	}
	return nil
}

// Token implements connector.Platform. Callers sign with OAuth 1.0a keys, so that
// the public fields have all of them.
func (x *twitter) Token(app connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	if !isOAuth1(c.Fields) {
		return c.Fields["access_token"], "Bearer", connector.Fields{}
	}
	public := x.Full(app, c)
	maps.DeleteFunc(public, func(_ string, value connector.Secret) bool { return value.Empty() })
	return c.Fields["access_token"], "OAuth1", public
}

// TokenNeedsApp implements connector.Platform. OAuth 1.0a keys that were imported
// without consumer keys need those of the app.
func (x *twitter) TokenNeedsApp(c connector.Credentials) bool {
	return isOAuth1(c.Fields) && c.Fields["api_key"].Empty()
}

// Full implements connector.Platform.
func (x *twitter) Full(app connector.App, c connector.Credentials) connector.Fields {
	if !isOAuth1(c.Fields) {
		return twitterShape.complete(app, c.Fields)
	}
	all := twitterKeys.complete(keysApp(app), c.Fields)
	if all["bearer_token"].Empty() && c.Fields["api_key"].Empty() {
		all["bearer_token"] = app.Extras["bearer_token"]
	}
	return all
}

// AppKey implements connector.Platform. The API key and the client id of one app
// are two keys.
func (x *twitter) AppKey(app connector.App, c connector.Credentials) string {
	if isOAuth1(c.Fields) {
		return twitterKeys.appKey(keysApp(app), c.Fields)
	}
	return twitterShape.appKey(app, c.Fields)
}

// apiError reads an error of X's API. v2 sends a problem with a type, v1.1 a list
// of codes
// (https://docs.x.com/x-api/fundamentals/response-codes-and-errors, read
// 2026-11-23). Types have come under api.twitter.com and api.x.com, so only
// their last segment counts.
func (x *twitter) apiError(r reply) *connector.Error {
	if r.ok() {
		return nil // errors beside data are about parts of the answer
	}
	var body struct {
		Type, Reason string
		Errors       []struct {
			Code json.RawMessage
			Type string
		}
	}
	if decode(r.body, &body) != nil {
		return nil // the page of a proxy, which says nothing about the call
	}
	types, codes := []string{lastSegment(body.Type), body.Reason}, []int{}
	for _, e := range body.Errors {
		types, codes = append(types, lastSegment(e.Type)), append(codes, parseInt(e.Code))
	}
	cause := statusError(r.status)
	switch {
	case slices.Contains(types, "usage-capped"):
		return &connector.Error{Code: connector.QuotaExhausted, Message: "the app's monthly cap at X is reached", Reason: "usage_capped", Err: cause}
	case slices.Contains(types, "credits"), r.status == http.StatusPaymentRequired:
		return &connector.Error{Code: connector.QuotaExhausted, Message: "the app's prepaid credits at X are spent; buy credits in its console", Reason: "credits_depleted", Err: cause}
	case slices.Contains(types, "oauth1-permissions"):
		missing := x.scopeMissing([]string{"tweet.write"}, cause)
		missing.Reason, missing.Message = "read_only_keys", "these keys may only read; set the app to Read and write, then generate new keys"
		return missing
	case slices.Contains(types, "user-suspended"), slices.Contains(codes, 64):
		return x.actionRequired("account_suspended", x.title+": the account is suspended; its person has to appeal at X", cause)
	case slices.Contains(codes, 326):
		return x.actionRequired("account_locked", x.title+": the account is locked; its person has to sign in to X and unlock it", cause)
	case slices.Contains(codes, 416):
		return x.appSuspended(cause)
	// 453 is the older API's word for the wrong package
	// (https://github.com/Twitter4J/Twitter4J/issues/407, read 2026-11-25).
	case slices.Contains(types, "client-not-enrolled"), slices.Contains(codes, 453):
		refused := x.appRefused("move it to the Pay-per-use package and the Production environment in X's console", cause)
		refused.Reason = "client_not_enrolled"
		return refused
	case slices.Contains(types, "client-forbidden"):
		return x.appRefused("check its project and package in X's console", cause)
	case slices.Contains(types, "unsupported-authentication"):
		return x.grantDead("not_a_user_token", cause)
	// 215 comes with status 400, for keys that X does not know at all
	// (https://github.com/tweepy/tweepy/issues/954 and
	// https://github.com/pajbot/pajbot2/issues/96, read 2026-11-25).
	case slices.Contains(codes, 32), slices.Contains(codes, 215):
		return x.appRefused("check api_key and api_secret", cause)
	// X does not let the app write, because of its permission or as a sanction
	// (https://github.com/tweepy/tweepy/issues/1663, read 2026-11-25).
	case slices.Contains(codes, 261):
		return x.appRefused("it may not write; check its permission and its standing in X's console", cause)
	case slices.Contains(codes, 135):
		return x.unavailable("refuses our clock", cause)
	case slices.Contains(codes, 89), r.status == http.StatusUnauthorized:
		return x.grantDead("", errors.Join(errors.New("access token refused"), cause))
	case slices.Contains(codes, 88), r.status == http.StatusTooManyRequests:
		return &connector.Error{Code: connector.RateLimited, Message: "X limits the requests; try again later", Err: cause}
	}
	return nil
}

// appSuspended returns the error for an app that X suspended. Its tokens are refused with
// status 401, as if each had ended (code 416 of
// https://github.com/tg-z/web-clip/issues/1029, a copy of X's former page of codes, read
// 2026-11-25). No consent helps.
func (x *twitter) appSuspended(cause error) *connector.Error {
	e := x.appRefused("X suspended it; appeal in X's console", cause)
	e.Reason = "app_suspended"
	return e
}

func lastSegment(u string) string { return u[strings.LastIndexByte(u, '/')+1:] }
