package platform

import (
	"context"
	"encoding/json"
	"errors"
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
	youtubeChannels = "https://www.googleapis.com/youtube/v3/channels"
	googleIssuer    = "https://accounts.google.com"

	youtubeUpload   = "https://www.googleapis.com/auth/youtube.upload"
	youtubeReadonly = "https://www.googleapis.com/auth/youtube.readonly"
)

// googleLifetime is how long Google's access tokens live
// (https://developers.google.com/identity/protocols/oauth2, read 2026-11-23).
const googleLifetime = time.Hour

// googleLapse is how long Google's refresh tokens live unused: six months
// (https://developers.google.com/identity/protocols/oauth2#expiration, read
// 2026-11-23), here the shortest six there are.
const googleLapse = 181 * 24 * time.Hour

// googleTesting is how long refresh tokens of an app in Testing live
// (https://developers.google.com/identity/protocols/oauth2#expiration, read
// 2026-11-23). An end that is further off is one that the person chose: Google
// calls it time-based access
// (https://developers.google.com/identity/protocols/oauth2/web-server#exchange-authorization-code,
// read 2026-11-23).
const googleTesting = 7 * 24 * time.Hour

// youtube is YouTube, through Google's OAuth. The person picks the channel
// during consent, so one consent yields one channel.
type youtube struct {
	wire
	guide func() connector.Guide
}

func newYouTube(o Options) *youtube {
	return &youtube{wire: newWire("YouTube", o), guide: guideOf("youtube")}
}

var youtubeShape = shape{
	id: "client_id", secret: "client_secret",
	required: []string{"access_token", "refresh_token"},
	optional: []string{"token_expiry"},
}

// Describe implements connector.Platform.
func (y *youtube) Describe() connector.Description {
	return connector.Description{
		Name:     "youtube",
		Title:    "YouTube",
		AuthKind: "oauth2",
		Scopes:   []string{youtubeUpload, youtubeReadonly},
		// youtube.upload alone cannot ask whose channel it is. Assumed: no page
		// that says so was seen (2026-11-23).
		Required: []string{youtubeReadonly},
		Issuers:  y.issuers(googleIssuer),
		Traits: connector.Traits{
			Cadence: connector.Cadence{Model: connector.Stable, Lifetime: googleLifetime, Lapse: googleLapse},
		},
		Guide: y.guide(),
	}
}

// AuthorizeURL implements connector.Platform. Google gives a refresh token
// only for offline access, and only when the consent was really shown
// (https://developers.google.com/identity/protocols/oauth2/web-server#creatingclient,
// read 2026-11-23).
func (y *youtube) AuthorizeURL(app connector.App, a connector.Authorization) (string, error) {
	if app.ClientID == "" {
		return "", y.noApp()
	}
	return authorizeURL(oauth2.Config{
		ClientID:    app.ClientID,
		RedirectURL: a.RedirectURI,
		Scopes:      a.Scopes,
		Endpoint:    oauth2.Endpoint{AuthURL: y.at(googleAuthorize)},
	}, a,
		oauth2.S256ChallengeOption(a.Verifier.Reveal()),
		oauth2.AccessTypeOffline,
		oauth2.SetAuthURLParam("prompt", "consent"),
		oauth2.SetAuthURLParam("include_granted_scopes", "true"),
	), nil
}

// AuthorizationError implements connector.Platform with Google's own word
// (https://developers.google.com/identity/protocols/oauth2/web-server#authorization-errors,
// read 2026-11-23).
func (y *youtube) AuthorizationError(code string) *connector.Error {
	if code == "redirect_uri_mismatch" {
		return y.authorizationRefused()
	}
	return y.wire.AuthorizationError(code)
}

// Exchange implements connector.Platform.
func (y *youtube) Exchange(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) ([]connector.Grant, error) {
	t, err := y.token(ctx, call{url: googleTokens, form: query(
		"grant_type", "authorization_code",
		"code", code.Reveal(),
		"code_verifier", a.Verifier.Reveal(),
		"redirect_uri", a.RedirectURI,
		"client_id", app.ClientID,
		"client_secret", app.ClientSecret.Reveal(),
	)}, y.tokenRefused(true, nil))
	if err != nil {
		return nil, err
	}
	c := y.renewed(connector.Credentials{Scopes: a.Scopes}, t, googleLifetime)
	unknown := []connector.Grant{{Credentials: c}}
	// The boxes of Google's consent can be unticked one by one
	// (https://developers.google.com/identity/protocols/oauth2/resources/granular-permissions,
	// read 2026-11-23).
	if !slices.ContainsFunc(c.Scopes, readsChannels) {
		return unknown, y.scopeMissing([]string{youtubeReadonly}, nil)
	}
	channel, err := y.channel(ctx, t.access)
	if err != nil {
		return unknown, err
	}
	grant := connector.Grant{Account: channel, UserID: channel.ID, Credentials: c}
	switch {
	case t.refresh.Empty():
		grant.Warning = "no_refresh_token: Google gave no refresh token, so this ends within the hour; " +
			"remove the app at myaccount.google.com/permissions and connect again"
	case c.GrantExpiresAt.Sub(c.IssuedAt) > googleTesting:
		grant.Warning = "access_limited: the person allowed it until " + c.GrantExpiresAt.Format(time.DateOnly) + " only"
	case !c.GrantExpiresAt.IsZero():
		grant.Warning = "app_in_testing: Google ends this on " + c.GrantExpiresAt.Format(time.DateOnly) +
			" because the app is in Testing; publish it and connect again"
	}
	return []connector.Grant{grant}, nil
}

// readsChannels reports whether a scope lets channels.list be called.
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

// Import implements connector.Platform. Verifying renews the access token
// once: that proves the refresh token and the app, and tells the scopes, and
// costs nothing, for Google does not rotate. The access token that was brought
// stays as long as it works.
func (y *youtube) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	taken, err := youtubeShape.take(app, fields)
	if err != nil {
		return nil, err
	}
	brought, err := y.broughtTokens(taken)
	if err != nil {
		return nil, err
	}
	if !verify {
		return []connector.Grant{{Credentials: brought}}, nil
	}
	renewed, err := y.Refresh(ctx, app, brought)
	if err != nil {
		return nil, err
	}
	channel, err := y.channel(ctx, taken["access_token"])
	if err == nil && brought.ExpiresAt.After(y.now()) {
		brought.Scopes, brought.GrantExpiresAt = renewed.Scopes, renewed.GrantExpiresAt
		return []connector.Grant{{Account: channel, UserID: channel.ID, Credentials: brought}}, nil
	}
	channel, err = y.channel(ctx, renewed.Fields["access_token"])
	if err != nil {
		return nil, err
	}
	return []connector.Grant{{Account: channel, UserID: channel.ID, Credentials: renewed}}, nil
}

// Refresh implements connector.Platform.
func (y *youtube) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if c.Fields["refresh_token"].Empty() {
		return connector.Credentials{}, y.grantDead("no_refresh_token", nil)
	}
	of := youtubeShape.client(app, c.Fields)
	t, err := y.token(ctx, call{url: googleTokens, form: query(
		"grant_type", "refresh_token",
		"refresh_token", c.Fields.Get("refresh_token"),
		"client_id", of.id,
		"client_secret", of.secret.Reveal(),
	)}, y.tokenRefused(false, func(e refused) *connector.Error {
		// A Workspace's session control ends grants on purpose, and will again
		// until its administrator trusts the app
		// (https://github.com/openclaw/gogcli/issues/338, read 2026-11-23).
		if e.code == "invalid_grant" && e.subtype == "invalid_rapt" {
			return y.grantDead("invalid_rapt", e)
		}
		return nil
	}))
	if err != nil {
		return connector.Credentials{}, err
	}
	return y.renewed(c, t, googleLifetime), nil
}

// Verify implements connector.Platform.
func (y *youtube) Verify(ctx context.Context, _ connector.App, c connector.Credentials) (connector.Verification, error) {
	channel, err := y.channel(ctx, c.Fields["access_token"])
	if err != nil {
		return connector.Verification{}, err
	}
	return connector.Verification{Account: channel, Scopes: c.Scopes}, nil
}

// channel returns whose channel a token is for, at the price of one quota unit
// (https://developers.google.com/youtube/v3/docs/channels/list, read
// 2026-11-23).
func (y *youtube) channel(ctx context.Context, token connector.Secret) (connector.Account, error) {
	r, err := y.do(ctx, call{
		method: http.MethodGet,
		url:    youtubeChannels,
		query:  query("part", "id,snippet", "mine", "true"),
		bearer: token,
	}, y.refused)
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
		return connector.Account{}, y.garbled(http.MethodGet, err.Error())
	}
	if len(answer.Items) == 0 {
		return connector.Account{}, y.noChannel(nil)
	}
	channel, err := account(string(answer.Items[0].ID), answer.Items[0].Snippet.Title)
	if err != nil {
		return connector.Account{}, y.garbled(http.MethodGet, err.Error())
	}
	return channel, nil
}

// noChannel is a Google account without a channel. Another consent, with
// another account, mends it, so it is told as a refused one; the grant itself
// is good.
func (y *youtube) noChannel(cause error) *connector.Error {
	return &connector.Error{
		Code:    connector.AccessDenied,
		Message: "this Google account has no YouTube channel: create one on youtube.com, or connect with the account that has it",
		Reason:  "no_channel",
		Err:     cause,
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
		e, ok := readRefused(r)
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
	return youtubeShape.full(app, c.Fields)
}

// refused reads an error of the YouTube Data API
// (https://developers.google.com/youtube/v3/docs/errors, read 2026-11-23).
func (y *youtube) refused(r reply) *connector.Error {
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	if decode(r.body, &body) != nil || !says(body.Error) {
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
	said := func(some ...string) bool {
		return slices.ContainsFunc(some, func(reason string) bool { return slices.Contains(reasons, reason) })
	}
	cause := statusError(r.status)
	switch {
	case said("youtubeSignupRequired"):
		return y.noChannel(cause)
	case said("quotaExceeded", "dailyLimitExceeded", "uploadLimitExceeded"):
		return &connector.Error{
			Code:     connector.QuotaExhausted,
			Message:  "YouTube's quota of the app is used up for today",
			ResetsAt: nextPacificMidnight(y.now()),
			Err:      cause,
		}
	case said("rateLimitExceeded", "userRateLimitExceeded"), r.status == http.StatusTooManyRequests:
		return &connector.Error{Code: connector.RateLimited, Message: "YouTube asks us to slow down", Err: cause}
	case said("insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"):
		return y.scopeMissing([]string{youtubeReadonly}, cause)
	case said("accessNotConfigured", "SERVICE_DISABLED"):
		return y.appRefused("enable the YouTube Data API v3 in its Google Cloud project", cause)
	case r.status == http.StatusUnauthorized, said("UNAUTHENTICATED", "authError"):
		return y.grantDead("", errors.Join(errors.New("access token refused"), cause))
	}
	return y.unavailable("refused the request in a way that we do not know", cause)
}

// nextPacificMidnight is when YouTube's quotas start anew
// (https://developers.google.com/youtube/v3/determine_quota_cost, read
// 2026-11-23), taken as 08:00 UTC: an hour late in summer, never early.
func nextPacificMidnight(now time.Time) time.Time {
	now = now.UTC()
	reset := time.Date(now.Year(), now.Month(), now.Day(), 8, 0, 0, 0, time.UTC)
	if !reset.After(now) {
		reset = reset.AddDate(0, 0, 1)
	}
	return reset
}
