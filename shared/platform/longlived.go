package platform

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"platform-api-connector/shared/connector"
)

// longLived is a platform of Meta whose access token is refreshed without a refresh
// token and without the app: Instagram and Threads. A code yields a token that lives one
// hour. The client exchanges it for a token that lives 60 days. A refresh returns a token
// that lives 60 days more. It needs a token that is at least 24 hours old and has not
// expired
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login
// and https://developers.facebook.com/docs/threads/get-started/long-lived-tokens/,
// both read 2026-11-25).
type longLived struct {
	meta
	longLivedAPI
	guide func() connector.Guide
}

// longLivedAPI is what differs between these platforms.
type longLivedAPI struct {
	name  connector.Name
	title string

	// The endpoints: for consent, for a code, for a long-lived token, for a refresh
	// and for the profile. The documented requests for a long-lived token, which
	// contain the secret of the app, and for a refresh have their parameters in the
	// query.
	authorize, tokens, extend, refresh, me string

	extendGrant, refreshGrant string // values of grant_type

	scopes []string // the first one is required

	profileFields string // of the profile, as the request names them
	// accountMember is the member of the profile that identifies the account.
	// accountField is the field of credentials for its value.
	accountMember, accountField string

	// testers says how the operator lets an account use an app in development.
	testers string

	file, appFile *aliases
}

func newLongLived(o Options, api longLivedAPI) *longLived {
	return &longLived{meta: newMeta(api.title, o), longLivedAPI: api, guide: guideOf(api.name)}
}

const (
	// longLivedLife is the life of a long-lived token in the examples of both pages:
	// 60 days, less 56 seconds.
	longLivedLife = 5183944 * time.Second
	maxTokenLife  = 60 * 24 * time.Hour
	shortLife     = time.Hour
	// longLivedAge is the least age of a token that can be refreshed.
	longLivedAge = 24 * time.Hour
	// assumedLife is the assumed life of a token that works although the platform does
	// not refresh it. Such a token is probably younger than longLivedAge. The assumed
	// life leaves time for a refresh at that age.
	assumedLife = 2 * longLivedAge

	// alreadyLong is the code of the refusal to exchange a long-lived token. No page of
	// Meta lists it. A public note of 2026-05-09 about the set-up of Threads has this
	// answer, with the message "Session key invalid" (read 2026-11-25). Assumed for
	// Instagram.
	alreadyLong = 452
	// refusedArgument is the code of an argument that is refused
	// (https://developers.facebook.com/docs/graph-api/guides/error-handling). It is also
	// that of the refresh of a token that was revoked
	// (https://github.com/in2code-de/instagram/issues/41 and
	// https://github.com/stevenschobert/instafeed.js/issues/654; all read 2026-11-25).
	refusedArgument = 100
)

var (
	shortLives = lives{access: shortLife, longest: maxTokenLife}
	longLives  = lives{access: longLivedLife, longest: maxTokenLife}
)

func (l *longLived) shape() shape {
	return shape{
		id: "client_id", secret: "client_secret",
		required: []string{"access_token"},
		optional: []string{l.accountField, "token_expiry"},
	}
}

// Describe implements connector.Platform.
func (l *longLived) Describe() connector.Description {
	authorize, _ := url.Parse(l.authorize)
	return connector.Description{
		Name:         l.name,
		Title:        l.title,
		AuthKind:     "oauth2",
		Scopes:       slices.Clone(l.scopes),
		Required:     l.scopes[:1:1],
		Issuers:      l.issuers(authorize.Scheme + "://" + authorize.Host),
		ClientFields: []string{"client_id"},
		Notices:      metaNotices(),
		Cadence:      connector.Cadence{Model: connector.Extending, Lifetime: longLivedLife, MinimumAge: longLivedAge},
		Guide:        l.guide(),
	}
}

// AuthorizeURL implements connector.Platform. There is no PKCE.
func (l *longLived) AuthorizeURL(app connector.App, a connector.Authorization) (string, error) {
	if app.ClientID == "" {
		return "", l.noApp()
	}
	return l.rewriteOrigin(l.authorize) + "?" + encodeSpaces(query(
		"client_id", app.ClientID,
		"redirect_uri", a.RedirectURI,
		"response_type", "code",
		"scope", strings.Join(a.Scopes, ","),
		"state", a.State.Reveal(),
	).Encode()), nil
}

// Redeem implements connector.Platform. The platforms append "#_" to the redirect.
// It is no part of the code, and a proxy may have encoded it
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login,
// read 2026-11-25). The user_id of the answer identifies no account at the API.
func (l *longLived) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	r, err := l.do(ctx, call{method: http.MethodPost, url: l.tokens, form: query(
		"client_id", app.ClientID,
		"client_secret", app.ClientSecret.Reveal(),
		"grant_type", "authorization_code",
		"redirect_uri", a.RedirectURI,
		"code", strings.TrimSuffix(code.Reveal(), "#_"),
	)}, l.codeError)
	if err != nil {
		return connector.Credentials{}, err
	}
	t, err := readLongLived(r.body)
	if err != nil {
		return connector.Credentials{}, l.malformed(http.MethodPost, err.Error())
	}
	return l.applyTokens(connector.Credentials{Scopes: a.Scopes}, t, shortLives), nil
}

// readLongLived reads an answer with a token: one object, or a list of one in data.
// Instagram documents the list, and sends the object
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login;
// the object is in the provider of https://github.com/gitroomhq/postiz-app; both read
// 2026-11-25). The granted scopes are in permissions, in a string or a list.
func readLongLived(body []byte) (tokens, error) {
	var listed struct{ Data []json.RawMessage }
	if decode(body, &listed) == nil && len(listed.Data) == 1 {
		body = listed.Data[0]
	}
	t, err := readTokens(body)
	if err != nil {
		return tokens{}, err
	}
	if permissions := t.members["permissions"]; isPresent(permissions) {
		var list []string
		if json.Unmarshal(permissions, &list) != nil {
			list = []string{stringOrNumber(permissions)}
		}
		t.scopes = splitScopes(strings.Join(list, ","))
	}
	return t, nil
}

// Extend implements connector.Platform. It returns a token that is long-lived already
// unchanged. Such a token was issued after the consent began, so that its end is known.
func (l *longLived) Extend(ctx context.Context, app connector.App, redeemed connector.Credentials) (connector.Credentials, error) {
	t, err := l.exchange(ctx, app.ClientSecret, redeemed.Fields["access_token"])
	if hasGraphCode(err, alreadyLong) {
		if redeemed.ExpiresAt.Sub(redeemed.IssuedAt) <= shortLife {
			redeemed.Fields = redeemed.Fields.Clone()
			redeemed.ExpiresAt = redeemed.IssuedAt.Add(longLivedLife)
			setTime(redeemed.Fields, "token_expiry", redeemed.ExpiresAt)
		}
		return redeemed, nil
	}
	if err != nil {
		return connector.Credentials{}, l.notServed(err)
	}
	return l.applyTokens(redeemed, t, longLives), nil
}

// notServed returns err, the error for the first call with a token that was just
// issued. A published app with standard access may serve only the accounts that have a
// role in it. Instagram issues a token to every account, and answers each call with
// the token of another one with code 100, as if the method were wrong
// (https://github.com/diwenne/openreply/pull/17 and
// https://github.com/chatwoot/chatwoot/issues/12656, read 2026-11-25).
func (l *longLived) notServed(err error) error {
	var graph graphError
	if !errors.As(err, &graph) || graph.code != refusedArgument || connector.AsError(err).Code != connector.PlatformUnavailable {
		return err
	}
	return l.notTester("it answers no call for this account, as for an account that has no role in an app without advanced access", graph)
}

// notTester returns the error for an account that the app may not serve.
func (l *longLived) notTester(problem string, cause error) *connector.Error {
	e := l.appRefused(problem+": "+l.testers, cause)
	e.Reason = "not_a_tester"
	return e
}

// exchange exchanges a short-lived token for a long-lived one.
func (l *longLived) exchange(ctx context.Context, secret, token connector.Secret) (tokens, error) {
	return l.renew(ctx, l.extend, query(
		"grant_type", l.extendGrant,
		"client_secret", secret.Reveal(),
		"access_token", token.Reveal(),
	))
}

// renew sends a request for a token that replaces another one.
func (l *longLived) renew(ctx context.Context, endpoint string, q url.Values) (tokens, error) {
	r, err := l.do(ctx, call{method: http.MethodGet, url: endpoint, query: q}, l.apiError(true))
	if err != nil {
		return tokens{}, err
	}
	t, err := readLongLived(r.body)
	if err != nil {
		return tokens{}, l.malformed(http.MethodGet, err.Error())
	}
	return t, nil
}

// Accounts implements connector.Platform.
func (l *longLived) Accounts(ctx context.Context, _ connector.App, c connector.Credentials, _ string) (connector.AccountList, error) {
	if !slices.Contains(c.Scopes, l.scopes[0]) {
		return oneAccount(connector.Grant{Credentials: c}), l.scopeMissing(l.scopes[:1:1], nil)
	}
	me, err := l.profile(ctx, c.Fields["access_token"])
	if err != nil {
		return oneAccount(connector.Grant{Credentials: c}), err
	}
	return oneAccount(me.grant(l, c)), nil
}

// profile is what the platform says about the account of a token.
type profile struct {
	account connector.Account
	// userID identifies the person in notices. It is the id of the account for this
	// app. A signed request has such an id
	// (https://developers.facebook.com/docs/development/create-an-app/app-dashboard/data-deletion-callback,
	// read 2026-11-25). Assumed for Instagram and Threads: their pages do not
	// describe the request.
	userID string
}

// grant returns the grant of the profile's account.
func (p profile) grant(l *longLived, c connector.Credentials) connector.Grant {
	c.Fields = c.Fields.Clone()
	c.Fields.Set(l.accountField, p.account.ID)
	return connector.Grant{Account: p.account, UserID: p.userID, Credentials: c}
}

// namesNothing reports whether a refusal says that the requested resource does not
// exist. Threads also says so, with code 100, of the profile of a token that has ended
// (https://github.com/trypostit/trypost/issues/230 and
// https://github.com/trypostit/trypost/pull/254, read 2026-11-25).
func namesNothing(err error) bool {
	var graph graphError
	return errors.As(err, &graph) && graph.nothing
}

// profile returns the account of a token. Ids exceed 2^53, and are strings or numbers.
func (l *longLived) profile(ctx context.Context, token connector.Secret) (profile, error) {
	r, err := l.do(ctx, call{method: http.MethodGet, url: l.me, query: query("fields", l.profileFields), bearer: token}, l.apiError(false))
	if namesNothing(err) {
		return profile{}, l.grantDead("", err)
	}
	if err != nil {
		return profile{}, err
	}
	var members map[string]json.RawMessage
	if err := decode(r.body, &members); err != nil {
		return profile{}, l.malformed(http.MethodGet, err.Error())
	}
	text := func(member string) string { return stringOrNumber(members[member]) }
	if text("account_type") == "PERSONAL" {
		return profile{}, &connector.Error{
			Code:    connector.AccessDenied,
			Message: "this " + l.title + " account is a personal one: make it a professional account (business or creator) in its settings, and connect again",
			Reason:  "not_professional",
		}
	}
	name := text("username")
	if name == "" {
		name = text("name")
	}
	found, err := account(text(l.accountMember), name)
	if err == nil && !accountPattern.MatchString(text("id")) {
		err = errors.New("no id")
	}
	if err != nil {
		return profile{}, l.malformed(http.MethodGet, err.Error())
	}
	return profile{account: found, userID: text("id")}, nil
}

// ReadCredentials implements connector.FileReader.
func (l *longLived) ReadCredentials(fields connector.Fields) (connector.Fields, error) {
	f := l.file.read(fields)
	if id, ok := f.words[l.accountField]; ok && !accountPattern.MatchString(id.value) {
		f.problems.add(id.name, "not the id of an account")
	}
	return f.credentials(l.shape())
}

// ReadApp implements connector.FileReader.
func (l *longLived) ReadApp(fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	return l.appFile.readApp(fields)
}

// Import implements connector.Platform. A verified import exchanges a short-lived token
// for a long-lived one. If the file does not say when a token ends, it asks the platform
// for a token with a known end.
func (l *longLived) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	read, err := l.ReadCredentials(fields)
	if err != nil {
		return nil, err
	}
	parsed, err := l.shape().parse(app, read)
	if err != nil {
		return nil, err
	}
	c := l.importedTokens(parsed, maxTokenLife)
	if !verify {
		return []connector.Grant{{Account: connector.Account{ID: parsed.Get(l.accountField)}, Credentials: c}}, nil
	}
	me, err := l.profile(ctx, parsed["access_token"])
	if err != nil {
		return nil, err
	}
	if given := parsed.Get(l.accountField); given != "" && given != me.account.ID {
		return nil, connector.Invalid("credentials."+l.accountField, "the token is of another account: correct the field, or leave it out")
	}
	warning := ""
	if c.ExpiresAt.Sub(l.now()) <= shortLife {
		c, warning = l.learnEnd(ctx, app, c)
	}
	if c.Scopes == nil {
		c.Scopes = l.scopes[:1:1]
	}
	grant := me.grant(l, c)
	grant.Credentials.AccountID = me.account.ID
	grant.ScopesUnknown = true
	grant.Warning = warning
	if warning == "" {
		grant.Warning = "scopes_unknown: " + l.title + " names the granted scopes only where the person consents; connect through a link to know them"
	}
	return []connector.Grant{grant}, nil
}

// learnEnd returns c, whose token works, with a token with a known end, or with the
// assumed end and a warning. Only the exchange proves that the token belongs to this app,
// because only the exchange takes the secret.
func (l *longLived) learnEnd(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, string) {
	if t, err := l.exchange(ctx, l.shape().client(app, c.Fields).secret, c.Fields["access_token"]); err == nil {
		long := l.applyTokens(c, t, longLives)
		long.VerifiedKey = l.AppKey(app, c)
		return long, ""
	}
	if t, err := l.renew(ctx, l.refresh, l.refreshQuery(c)); err == nil {
		return l.applyTokens(c, t, longLives), ""
	}
	return l.assumeEnd(c), "expiry_unknown: " + l.title + " did not say when the token ends; it is refreshed within two days"
}

// assumeEnd returns c with assumedLife. The token of c works, and the platform does not
// refresh it.
func (l *longLived) assumeEnd(c connector.Credentials) connector.Credentials {
	c.Fields = c.Fields.Clone()
	c.IssuedAt = l.now().UTC()
	c.ExpiresAt = c.IssuedAt.Add(assumedLife)
	setTime(c.Fields, "token_expiry", c.ExpiresAt)
	return c
}

func (l *longLived) refreshQuery(c connector.Credentials) url.Values {
	return query("grant_type", l.refreshGrant, "access_token", c.Fields.Get("access_token"))
}

// Refresh implements connector.Platform. It checks a token that is too young for a
// refresh, and returns it unchanged. A refreshed token may be the same string as before:
// the pages do not say.
func (l *longLived) Refresh(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Credentials, error) {
	now := l.now()
	if now.Before(c.ExpiresAt) && now.Sub(c.ExpiresAt.Add(-longLivedLife)) < longLivedAge {
		me, err := l.profile(ctx, c.Fields["access_token"])
		if err != nil {
			return connector.Credentials{}, err
		}
		c.AccountID, c.UserID = me.account.ID, me.userID
		return c, nil
	}
	t, err := l.renew(ctx, l.refresh, l.refreshQuery(c))
	if err == nil {
		return l.applyTokens(c, t, longLives), nil
	}
	if now.Before(c.ExpiresAt) {
		if namesNothing(err) || hasGraphCode(err, refusedArgument) {
			_, profileErr := l.profile(ctx, c.Fields["access_token"])
			if gone := connector.AsError(profileErr); gone != nil && gone.Code.GrantDead() {
				return connector.Credentials{}, profileErr
			}
		}
		return connector.Credentials{}, err
	}
	return l.afterEnd(ctx, c, connector.AsError(err))
}

// hasGraphCode reports whether the cause of err is an error of the Graph API with that
// code.
func hasGraphCode(err error, code int) bool {
	var graph graphError
	return errors.As(err, &graph) && graph.code == code
}

// afterEnd checks a token after its recorded end, if the platform refused to refresh it.
// The recorded end of an import may be too early. If the token works, afterEnd returns c
// with an assumed end, else the error of an expired token. Code 100 is also the answer to
// a request with an expired token
// (https://github.com/in2code-de/instagram/issues/41, read 2026-11-25).
func (l *longLived) afterEnd(ctx context.Context, c connector.Credentials, refused *connector.Error) (connector.Credentials, error) {
	var graph graphError
	if !errors.As(refused, &graph) || refused.Code == connector.RateLimited || graph.code == 1 || graph.code == 2 {
		return connector.Credentials{}, refused
	}
	_, err := l.profile(ctx, c.Fields["access_token"])
	switch {
	case err == nil:
		return l.assumeEnd(c), nil
	case connector.AsError(err).Code.GrantDead(), hasGraphCode(err, refusedArgument):
		gone := l.grantDead("expired", err)
		if reason := connector.AsError(err).Reason; reason != "" {
			gone.Reason = reason
		}
		return connector.Credentials{}, gone
	}
	return connector.Credentials{}, err
}

// Verify implements connector.Platform.
func (l *longLived) Verify(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Verification, error) {
	me, err := l.profile(ctx, c.Fields["access_token"])
	if err != nil {
		return connector.Verification{}, err
	}
	return connector.Verification{Account: me.account, UserID: me.userID, Scopes: c.Scopes}, nil
}

// Token implements connector.Platform.
func (l *longLived) Token(_ connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	public := connector.Fields{}
	public.Set(l.accountField, c.Fields.Get(l.accountField))
	return c.Fields["access_token"], "Bearer", public
}

// TokenNeedsApp implements connector.Platform.
func (l *longLived) TokenNeedsApp(connector.Credentials) bool { return false }

// Full implements connector.Platform.
func (l *longLived) Full(app connector.App, c connector.Credentials) connector.Fields {
	return l.shape().complete(app, c.Fields)
}

// AppKey implements connector.Platform.
func (l *longLived) AppKey(app connector.App, c connector.Credentials) string {
	return l.shape().appKey(app, c.Fields)
}

// plainError is an error of the endpoint for codes. It has no message, because the
// message is untrusted text.
type plainError struct{ code, status int }

func (e plainError) Error() string {
	return graphError{code: e.code, status: e.status}.Error()
}

// codeError reads an error of the endpoint for codes. Its members are not those of the
// Graph API, and all of its errors have the same code
// (https://developers.facebook.com/documentation/instagram-platform/instagram-api-with-instagram-login/business-login,
// read 2026-11-25). Only the messages differ. The page has the first message. The others
// were seen in https://github.com/espresso-dev/instagram-basic-display-php/issues/14,
// https://github.com/pdir/social-feed-bundle/issues/105,
// https://github.com/loicnestler/instagram-basic-display/issues/2,
// https://github.com/TerribleDev/OwinOAuthProviders/issues/276 and
// https://github.com/facebookarchive/python-instagram/pull/34 (read 2026-11-25).
// That Threads sends errors of the Graph API with the same messages is assumed: no page
// of Threads that says so was found.
func (l *longLived) codeError(r reply) *connector.Error {
	var body struct {
		Type    string          `json:"error_type"`
		Code    json.RawMessage `json:"code"`
		Message string          `json:"error_message"`
		Error   json.RawMessage `json:"error"`
	}
	if decode(r.body, &body) != nil {
		return nil
	}
	message := body.Message
	var cause error = plainError{code: parseInt(body.Code), status: r.status}
	graph := isPresent(body.Error)
	if graph {
		var inner struct {
			Message string          `json:"message"`
			Code    json.RawMessage `json:"code"`
		}
		_ = json.Unmarshal(body.Error, &inner)
		message, cause = inner.Message, graphError{code: parseInt(inner.Code), status: r.status}
	}
	if known := l.codeMessage(message, cause); known != nil {
		return known
	}
	switch has := func(part string) bool { return strings.Contains(strings.ToLower(message), part) }; {
	case body.Type == "OAuthRateLimitException":
		return &connector.Error{Code: connector.RateLimited, Message: l.title + " limits the requests; try again later", Err: cause}
	case has("validating client secret"), has("client_secret"):
		return l.clientRefused("check its secret", cause)
	case has("insufficient developer role"):
		return l.notTester("it is in development, and the account has no role in it", cause)
	case has("invalid platform app"), has("client_id"):
		return l.appRefused("check its id, which is not that of the Meta app, and its scopes", cause)
	case has("invalid scope"):
		return l.appRefused("it may not ask for these scopes: enable them in its settings", cause)
	case graph:
		return l.apiError(true)(r)
	case body.Type != "" || body.Message != "":
		return l.unavailable("refused the request in a way that we do not know", cause)
	}
	return nil
}
