package platform

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"time"

	"golang.org/x/oauth2"

	"platform-api-connector/shared/connector"
)

const (
	googleAuthorize = "https://accounts.google.com/o/oauth2/v2/auth"
	googleTokens    = "https://oauth2.googleapis.com/token"
	googleRevoke    = "https://oauth2.googleapis.com/revoke"
	googleTokenInfo = "https://oauth2.googleapis.com/tokeninfo"
	youtubeChannels = "https://www.googleapis.com/youtube/v3/channels"
	googleIssuer    = "https://accounts.google.com"

	youtubeUpload   = "https://www.googleapis.com/auth/youtube.upload"
	youtubeReadonly = "https://www.googleapis.com/auth/youtube.readonly"
)

// googleLifetime is the lifetime of Google's access tokens
// (https://developers.google.com/identity/protocols/oauth2, read 2026-11-23).
const googleLifetime = time.Hour

// googleLapse is the time after which an unused refresh token of Google ends: six
// months (https://developers.google.com/identity/protocols/oauth2#expiration,
// read 2026-11-23). The shortest six months have 181 days.
const googleLapse = 181 * 24 * time.Hour

// googleTesting is the lifetime of refresh tokens of an app in Testing
// (https://developers.google.com/identity/protocols/oauth2#expiration, read
// 2026-11-23). A later end is one that the person chose. Google calls it
// time-based access. Its documentation has refresh_token_expires_in for that alone
// (https://developers.google.com/identity/protocols/oauth2/web-server#exchange-authorization-code,
// read 2026-11-25). The answers for apps in Testing were seen with 604799 there; no
// page of Google's says that they have it (2026-11-25).
const googleTesting = 7 * 24 * time.Hour

// googleTolerance is the longest time between the start of a consent and the issue of its
// refresh token. It includes the difference between clocks.
const googleTolerance = time.Hour

// googleIdleCheck is the longest time that passes until a refresh finds the end of an
// unused grant. The connector renews it weekly.
const googleIdleCheck = 8 * 24 * time.Hour

// googleScopeNames are the names that Google returns for scopes with a shorter name in the
// request. Google returns openid for openid
// (https://github.com/googleapis/google-api-python-client/pull/1088, read
// 2026-11-25).
var googleScopeNames = map[string]string{
	"email":   "https://www.googleapis.com/auth/userinfo.email",
	"profile": "https://www.googleapis.com/auth/userinfo.profile",
}

// googleLives has no documented end of a grant: a person can choose any.
var googleLives = lives{access: googleLifetime, longest: googleLifetime, grant: maxLifetime}

// youtube is YouTube, through Google's OAuth. The person selects the channel
// during the consent, so that one consent yields one channel.
type youtube struct {
	wire
	guide func() connector.Guide
}

func newYouTube(o Options) *youtube {
	return &youtube{wire: newWire("YouTube", o), guide: guideOf("youtube")}
}

var youtubeShape = shape{
	id: "client_id", secret: "client_secret",
	required: []string{"refresh_token"},
	optional: []string{"access_token", "token_expiry"},
}

// Describe implements connector.Platform.
func (y *youtube) Describe() connector.Description {
	return connector.Description{
		Name:     "youtube",
		Title:    "YouTube",
		AuthKind: "oauth2",
		Scopes:   []string{youtubeUpload, youtubeReadonly},
		// youtube.upload alone does not permit channels.list. Assumed: no page
		// that says so was seen (2026-11-23).
		Required: []string{youtubeReadonly},
		Issuers:  y.issuers(googleIssuer),

		ClientFields: []string{"client_id"},

		Cadence: connector.Cadence{Model: connector.Stable, Lifetime: googleLifetime, Lapse: googleLapse},
		Guide:   y.guide(),
	}
}

// AuthorizeURL implements connector.Platform. Google issues a refresh token only
// for offline access, and only if it showed the consent
// (https://developers.google.com/identity/protocols/oauth2/web-server#creatingclient,
// read 2026-11-23). Without select_account Google may use the account of the last
// consent, and then does not show the channels of the person's brand accounts
// (https://github.com/gitroomhq/postiz-app/pull/1872, read 2026-11-25). There is no
// include_granted_scopes: with it the token covers
// every scope that the person granted to the app before, also for another owner
// (https://developers.google.com/identity/protocols/oauth2/web-server#incrementalAuth,
// read 2026-11-25). Without it, it covers the scopes of this consent.
func (y *youtube) AuthorizeURL(app connector.App, a connector.Authorization) (string, error) {
	if app.ClientID == "" {
		return "", y.noApp()
	}
	return authorizeURL(oauth2.Config{
		ClientID:    app.ClientID,
		RedirectURL: a.RedirectURI,
		Scopes:      a.Scopes,
		Endpoint:    oauth2.Endpoint{AuthURL: y.rewriteOrigin(googleAuthorize)},
	}, a,
		oauth2.S256ChallengeOption(a.Verifier.Reveal()),
		oauth2.AccessTypeOffline,
		oauth2.SetAuthURLParam("prompt", "consent select_account"),
	), nil
}

// AuthorizationError implements connector.Platform with Google's own words
// (https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors,
// read 2026-11-23, and https://support.google.com/accounts/answer/16668185, read
// 2026-11-25). Google shows them on a page of its own. That they can come in the redirect
// is assumed. The person denied nothing then.
func (y *youtube) AuthorizationError(r connector.Refusal) *connector.Error {
	var e *connector.Error
	switch r["error"] {
	case "redirect_uri_mismatch", "deleted_client", "disabled_client":
		return y.authorizationRefused()
	case "org_internal":
		e = y.appRefused("it is for one Google Workspace alone: set its audience to External in the Google Cloud console", nil)
		e.Reason = "app_internal"
	case "admin_policy_enforced":
		e = y.consentDenied()
		e.Reason = "admin_policy"
		e.Message = "the administrator of the account's Google Workspace does not allow the app: they have to mark it as trusted; or connect to YouTube with another account"
	case "disallowed_useragent":
		e = y.consentDenied()
		e.Reason = "embedded_browser"
		e.Message = "Google does not let people sign in to YouTube in the browser of an app: open the link in Chrome, Safari, Firefox or Edge"
	default:
		return y.wire.AuthorizationError(r)
	}
	return e
}

// Redeem implements connector.Platform.
func (y *youtube) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	t, err := y.token(ctx, call{url: googleTokens, form: query(
		"grant_type", "authorization_code",
		"code", code.Reveal(),
		"code_verifier", a.Verifier.Reveal(),
		"redirect_uri", a.RedirectURI,
		"client_id", app.ClientID,
		"client_secret", app.ClientSecret.Reveal(),
	)}, y.tokenErrorDecoder(true, nil))
	if err != nil {
		return connector.Credentials{}, err
	}
	return y.applyTokens(connector.Credentials{Scopes: a.Scopes}, t), nil
}

// applyTokens returns c with the tokens of an answer. Scopes has each granted scope under
// the name that Google returned and under its shorter name.
func (y *youtube) applyTokens(c connector.Credentials, t tokens) connector.Credentials {
	c = y.wire.applyTokens(c, t, googleLives)
	c.Scopes = slices.Clone(c.Scopes)
	for _, short := range slices.Sorted(maps.Keys(googleScopeNames)) {
		if slices.Contains(c.Scopes, googleScopeNames[short]) && !slices.Contains(c.Scopes, short) {
			c.Scopes = append(c.Scopes, short)
		}
	}
	return c
}

// Accounts implements connector.Platform.
func (y *youtube) Accounts(ctx context.Context, _ connector.App, c connector.Credentials, _ string) (connector.AccountList, error) {
	unknown := oneAccount(connector.Grant{Credentials: c})
	// A person can untick each scope of Google's consent
	// (https://developers.google.com/identity/protocols/oauth2/resources/granular-permissions,
	// read 2026-11-23).
	if !slices.ContainsFunc(c.Scopes, readsChannels) {
		return unknown, y.scopeMissing([]string{youtubeReadonly}, nil)
	}
	channel, err := y.channel(ctx, c.Fields["access_token"])
	if err != nil {
		return unknown, err
	}
	grant := connector.Grant{Account: channel, UserID: channel.ID, Credentials: c}
	switch {
	case c.Fields["refresh_token"].Empty():
		grant.Warning = "no_refresh_token: Google gave no refresh token, so this ends within the hour; " +
			"remove the app at myaccount.google.com/permissions and connect again"
	case c.GrantExpiresAt.Sub(c.IssuedAt) > googleTesting:
		grant.Warning = "access_limited: the person allowed it until " + c.GrantExpiresAt.Format(time.DateOnly) + " only"
	case !c.GrantExpiresAt.IsZero():
		grant.Warning = "app_in_testing: Google ends this on " + c.GrantExpiresAt.Format(time.DateOnly) +
			" because the app is in Testing; publish it and connect again"
	}
	return oneAccount(grant), nil
}

// readsChannels reports whether a scope permits channels.list.
func readsChannels(scope string) bool {
	switch scope {
	case youtubeReadonly,
		"https://www.googleapis.com/auth/youtube",
		"https://www.googleapis.com/auth/youtube.force-ssl",
		"https://www.googleapis.com/auth/youtubepartner":
		return true
	}
	return false
}

// ReadCredentials implements connector.FileReader.
func (y *youtube) ReadCredentials(fields connector.Fields) (connector.Fields, error) {
	return youtubeFile.read(fields).credentials(youtubeShape)
}

// ReadApp implements connector.FileReader. A client_secret.json holds the app in an
// object, web or installed
// (https://googleapis.github.io/google-api-python-client/docs/client-secrets.html,
// read 2026-11-25).
func (y *youtube) ReadApp(fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	return youtubeAppFile.readApp(fields, "web", "installed")
}

// Import implements connector.Platform. To verify, it refreshes once. That proves
// the refresh token and the app, and returns the scopes. It does not spend the
// refresh token, because Google does not rotate. The imported access token is
// stored if it works and Google says how long it lives: the file's word does not
// suffice. Both tokens must be those of one channel.
func (y *youtube) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	read, err := y.ReadCredentials(fields)
	if err != nil {
		return nil, err
	}
	parsed, err := youtubeShape.parse(app, read)
	if err != nil {
		return nil, err
	}
	imported := y.importedTokens(parsed, googleLifetime)
	if !verify {
		return []connector.Grant{{Credentials: imported}}, nil
	}
	renewed, err := y.Refresh(ctx, app, imported)
	if err != nil {
		return nil, err
	}
	channel, err := y.channel(ctx, renewed.Fields["access_token"])
	if err != nil {
		return nil, err
	}
	stored := renewed
	if !parsed["access_token"].Empty() {
		given, err := y.channel(ctx, parsed["access_token"])
		if err == nil && given.ID != channel.ID {
			return nil, connector.Invalid("credentials.refresh_token", "of another channel than access_token")
		}
		if err == nil && imported.ExpiresAt.After(y.now()) && y.boundExpiry(ctx, &imported) {
			stored = imported
			stored.Scopes, stored.GrantExpiresAt = renewed.Scopes, renewed.GrantExpiresAt
		}
	}
	stored.VerifiedKey, stored.AccountID = y.AppKey(app, imported), channel.ID
	return []connector.Grant{{Account: channel, UserID: channel.ID, Credentials: stored}}, nil
}

// boundExpiry has the access token of c end no later than Google says. It returns
// false where Google does not say it. Numbers are strings in the answer
// (https://pkg.go.dev/go.chromium.org/luci/common/gcloud/googleoauth, read
// 2026-11-25). The token is in the form and not in the URL.
func (y *youtube) boundExpiry(ctx context.Context, c *connector.Credentials) bool {
	r, err := y.do(ctx, call{
		method: http.MethodPost, url: googleTokenInfo, form: query("access_token", c.Fields.Get("access_token")),
	}, y.tokenErrorDecoder(false, nil))
	if err != nil {
		return false
	}
	var answer struct {
		ExpiresIn json.RawMessage `json:"expires_in"`
	}
	if decode(r.body, &answer) != nil {
		return false
	}
	life := parseSeconds(answer.ExpiresIn)
	if life == 0 || life > googleLifetime {
		return false
	}
	// Google leaves out the fraction of the last second.
	const rounded = 2 * time.Second
	if end := y.now().UTC().Add(life); c.ExpiresAt.After(end.Add(rounded)) {
		c.ExpiresAt = end
		setTime(c.Fields, "token_expiry", end)
	}
	return true
}

// Refresh implements connector.Platform.
func (y *youtube) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if c.Fields["refresh_token"].Empty() {
		return connector.Credentials{}, y.grantDead("no_refresh_token", nil)
	}
	oauthClient := youtubeShape.client(app, c.Fields)
	t, err := y.token(ctx, call{url: googleTokens, form: query(
		"grant_type", "refresh_token",
		"refresh_token", c.Fields.Get("refresh_token"),
		"client_id", oauthClient.id,
		"client_secret", oauthClient.secret.Reveal(),
	)}, y.tokenErrorDecoder(false, func(e oauthError) *connector.Error {
		// The session control of a Workspace ended the grant. It does so again
		// until the administrator trusts the app
		// (https://github.com/openclaw/gogcli/issues/338, read 2026-11-23).
		if e.code == "invalid_grant" && e.subtype == "invalid_rapt" {
			return y.grantDead("invalid_rapt", e)
		}
		if e.code == "invalid_grant" {
			return y.grantEnded(c, e)
		}
		// The client is another one than that to which Google issued the refresh token
		// (https://github.com/taylorwilsdon/google_workspace_mcp/pull/933, read
		// 2026-11-25). The app may be right, and the token of an import wrong.
		if e.code == "unauthorized_client" {
			return y.appRefused("the refresh token was issued to another client_id", e)
		}
		return y.policyRefused(e)
	}))
	if err != nil {
		return connector.Credentials{}, err
	}
	return y.applyTokens(c, t), nil
}

// policyRefused returns the error for a grant that a policy ended, or nil where e is
// about something else. The administrator of a Google Workspace can restrict what an
// app may use
// (https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors-admin-policy-enforced
// and https://github.com/dust-tt/dust/pull/31975, read 2026-11-25). The Advanced
// Protection Program refuses every app that is not Google's own
// (https://github.com/twentyhq/twenty/pull/25148, read 2026-11-25). A refresh does not
// succeed before the policy changes, and then another consent is needed.
func (y *youtube) policyRefused(e oauthError) *connector.Error {
	switch e.code {
	case "admin_policy_enforced":
		dead := y.grantDead("admin_policy", e)
		dead.Remedy = "the administrator of the person's Google Workspace has to allow the app first"
		return dead
	case "policy_enforced":
		dead := y.grantDead("advanced_protection", e)
		dead.Remedy = "the account's Advanced Protection allows no such app; connect with another account, or without it"
		return dead
	}
	return nil
}

// grantEnded returns the error for the refresh token of c after Google refused it with
// invalid_grant, which has no reason. If Google returned the end of the grant, and that
// end has passed, the reason is that of time-based access or of an app in Testing. If
// Google returned no end, the reason is that of an app in Testing, if the token last
// worked within seven days of the consent and was refused after them
// (https://developers.google.com/identity/protocols/oauth2#expiration, read
// 2026-11-25).
func (y *youtube) grantEnded(c connector.Credentials, cause error) *connector.Error {
	e := y.grantDead("", cause)
	if c.ConsentedAt.IsZero() {
		return e
	}
	now, ends, told := y.now(), c.GrantExpiresAt, !c.GrantExpiresAt.IsZero()
	if !told {
		ends = c.ConsentedAt.Add(googleTesting)
	}
	latest := ends.Add(googleTolerance)
	switch {
	case now.Before(ends.Add(-googleTolerance)):
	case told && ends.Sub(c.ConsentedAt) > googleTesting+googleTolerance:
		e.Reason, e.Remedy = "access_limited", "the person allowed access for a limited time, which is over"
	case told, !c.IssuedAt.After(latest) && now.Before(latest.Add(googleIdleCheck)):
		e.Reason = "app_in_testing"
		e.Remedy = "publish the app (In production) in the Google Cloud console, then connect again"
	}
	return e
}

// Verify implements connector.Platform.
func (y *youtube) Verify(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Verification, error) {
	channel, err := y.channel(ctx, c.Fields["access_token"])
	if err != nil {
		return connector.Verification{}, err
	}
	return connector.Verification{Account: channel, UserID: channel.ID, Scopes: c.Scopes}, nil
}

// channel returns the channel of a token. The call costs one unit of quota
// (https://developers.google.com/youtube/v3/docs/channels/list, read
// 2026-11-23).
func (y *youtube) channel(ctx context.Context, token connector.Secret) (connector.Account, error) {
	r, err := y.do(ctx, call{
		method: http.MethodGet,
		url:    youtubeChannels,
		query:  query("part", "id,snippet", "mine", "true"),
		bearer: token,
	}, y.apiError)
	if err != nil {
		return connector.Account{}, err
	}
	var answer struct {
		Items []struct {
			ID      identifier
			Snippet struct{ Title string }
		}
	}
	if err := decode(r.body, &answer); err != nil {
		return connector.Account{}, y.malformed(http.MethodGet, err.Error())
	}
	if len(answer.Items) == 0 {
		return connector.Account{}, y.noChannel(nil)
	}
	channel, err := account(string(answer.Items[0].ID), answer.Items[0].Snippet.Title)
	if err != nil {
		return connector.Account{}, y.malformed(http.MethodGet, err.Error())
	}
	return channel, nil
}

// noChannel returns the error for a Google account without a channel. The grant
// is valid. A consent with another account corrects it, so that the code is that
// of a refused consent.
func (y *youtube) noChannel(cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.AccessDenied,
		Message: "this Google account has no YouTube channel: create one on youtube.com, or connect with the account that has it",
		Reason:  "no_channel",
		Err:     cause,
	}
}

// accountRefused returns the error for an account that YouTube suspended or closed. The
// grant is valid, and waiting does not help. reason is a word.
func (y *youtube) accountRefused(reason, problem string, cause error) *connector.Error {
	return &connector.Error{
		Code:           connector.AccessDenied,
		Message:        problem + ": the person has to settle that with YouTube, or connect with another account",
		Reason:         reason,
		AccountRefused: true,
		Err:            cause,
	}
}

// Revoke implements connector.Revoker. Revoking the refresh token ends the
// whole grant (https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke,
// read 2026-11-23).
func (y *youtube) Revoke(ctx context.Context, _ connector.App, c connector.Credentials, _ string) error {
	token := c.Fields["refresh_token"]
	if token.Empty() {
		token = c.Fields["access_token"]
	}
	dead := false
	_, err := y.do(ctx, call{method: http.MethodPost, url: googleRevoke, form: query("token", token.Reveal())}, func(r reply) *connector.Error {
		e, ok := readOAuthError(r)
		if !ok {
			return nil
		}
		dead = e.code == "invalid_token" || e.code == "invalid_grant"
		return y.tokenError(e, false)
	})
	if dead {
		return nil
	}
	return err
}

// Token implements connector.Platform.
func (y *youtube) Token(_ connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	return c.Fields["access_token"], "Bearer", connector.Fields{}
}

// TokenNeedsApp implements connector.Platform.
func (y *youtube) TokenNeedsApp(connector.Credentials) bool { return false }

// Full implements connector.Platform.
func (y *youtube) Full(app connector.App, c connector.Credentials) connector.Fields {
	return youtubeShape.complete(app, c.Fields)
}

// AppKey implements connector.Platform.
func (y *youtube) AppKey(app connector.App, c connector.Credentials) string {
	return youtubeShape.appKey(app, c.Fields)
}

// apiError reads an error of the YouTube Data API
// (https://developers.google.com/youtube/v3/docs/errors, read 2026-11-25).
func (y *youtube) apiError(r reply) *connector.Error {
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	if decode(r.body, &body) != nil || !isPresent(body.Error) {
		return nil
	}
	var e struct {
		Status string `json:"status"`
		Errors []struct {
			Reason string `json:"reason"`
		} `json:"errors"`
		Details []struct {
			Reason string `json:"reason"`
		} `json:"details"`
	}
	if json.Unmarshal(body.Error, &e) != nil {
		return y.unavailable("refused the request in a way that we do not know", statusError(r.status))
	}
	reasons := []string{e.Status}
	for _, each := range append(e.Errors, e.Details...) {
		reasons = append(reasons, each.Reason)
	}
	hasReason := func(list ...string) bool {
		return slices.ContainsFunc(list, func(reason string) bool { return slices.Contains(reasons, reason) })
	}
	cause := statusError(r.status)
	switch {
	case hasReason("youtubeSignupRequired", "authenticatedUserNotChannel", "channelNotFound"):
		return y.noChannel(cause)
	case hasReason("authenticatedUserAccountSuspended"):
		return y.accountRefused("account_suspended", "YouTube has suspended the account", cause)
	case hasReason("authenticatedUserAccountClosed"):
		return y.accountRefused("account_closed", "the YouTube account is closed", cause)
	case hasReason("channelSuspended"):
		return y.accountRefused("channel_suspended", "YouTube has suspended the channel", cause)
	case hasReason("channelClosed"):
		return y.accountRefused("channel_closed", "the YouTube channel is closed", cause)
	case hasReason("quotaExceeded", "dailyLimitExceeded", "uploadLimitExceeded"):
		return &connector.Error{
			Code:     connector.QuotaExhausted,
			Message:  "YouTube's quota of the app is used up for today",
			ResetsAt: nextPacificMidnight(y.now()),
			Err:      cause,
		}
	case hasReason("rateLimitExceeded", "userRateLimitExceeded"), r.status == http.StatusTooManyRequests:
		return &connector.Error{Code: connector.RateLimited, Message: "YouTube limits the requests; try again later", Err: cause}
	case hasReason("insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"):
		return y.scopeMissing([]string{youtubeReadonly}, cause)
	// Every call of such a project is refused, and errors has the reason forbidden alone
	// (https://github.com/googleapis/google-api-php-client/issues/2422 and
	// https://github.com/google/generative-ai-docs/issues/356, read 2026-11-25).
	case hasReason("CONSUMER_SUSPENDED", "CONSUMER_INVALID"):
		refused := y.appRefused("its Google Cloud project is suspended or deleted; restore it, or store the app of another project", cause)
		refused.Reason = "project_suspended"
		return refused
	case hasReason("accessNotConfigured", "SERVICE_DISABLED"):
		return y.appRefused("enable the YouTube Data API v3 in its Google Cloud project", cause)
	case r.status == http.StatusUnauthorized, hasReason("UNAUTHENTICATED", "authError"):
		return y.grantDead("", errors.Join(errors.New("access token refused"), cause))
	}
	return y.unavailable("refused the request in a way that we do not know", cause)
}

// nextPacificMidnight returns the time at which YouTube's quotas are reset
// (https://developers.google.com/youtube/v3/determine_quota_cost, read
// 2026-11-23). It takes 08:00 UTC, which is an hour late in summer and never
// early.
func nextPacificMidnight(now time.Time) time.Time {
	now = now.UTC()
	reset := time.Date(now.Year(), now.Month(), now.Day(), 8, 0, 0, 0, time.UTC)
	if !reset.After(now) {
		reset = reset.AddDate(0, 0, 1)
	}
	return reset
}
