package platform

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"platform-api-connector/shared/connector"
)

// graphVersion is the version of the Graph API, the latest since 2026-07-29
// (https://developers.facebook.com/docs/graph-api/changelog, read 2026-11-23).
const graphVersion = "v26.0"

const (
	facebookDialog = "https://www.facebook.com/" + graphVersion + "/dialog/oauth"
	facebookGraph  = "https://graph.facebook.com/" + graphVersion + "/"
	facebookTokens = facebookGraph + "oauth/access_token"
	facebookIssuer = "https://www.facebook.com"
	pageFields     = "id,name,access_token,instagram_business_account{id,username}"
	// The list of a person's Pages adds the tasks
	// (https://developers.facebook.com/docs/pages-api/manage-pages, read 2026-11-25).
	accountFields = pageFields + ",tasks"
	graphPage     = 100  // rows of a list at a time
	maxRows       = 5000 // of one list

	pageListScope       = "pages_show_list"
	postsScope          = "pages_manage_posts"
	instagramScope      = "instagram_basic"
	instagramPostsScope = "instagram_content_publish"
	businessesScope     = "business_management"

	// The longest lives that Facebook documents: of a user token, and so of a Page
	// token that ends
	// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived),
	// and of the access to a person's data
	// (https://developers.facebook.com/documentation/facebook-login/auth-vs-data;
	// both read 2026-11-25).
	facebookTokenLife  = 60 * 24 * time.Hour
	facebookDataAccess = 90 * 24 * time.Hour
)

// facebook is Facebook Pages, and Instagram professional accounts through them.
// One consent yields all Pages that the person selected.
type facebook struct {
	meta
	guide func() connector.Guide
}

func newFacebook(o Options) *facebook {
	return &facebook{meta: newMeta("Facebook", o), guide: guideOf("facebook")}
}

var facebookShape = shape{
	id: "app_id", secret: "app_secret",
	required: []string{"page_id", "page_access_token"},
	optional: []string{"ig_user_id"},
}

var facebookUserShape = shape{id: "app_id", secret: "app_secret", required: []string{"user_access_token"}}

// Describe implements connector.Platform.
func (f *facebook) Describe() connector.Description {
	return connector.Description{
		Name:     "facebook",
		Title:    "Facebook",
		AuthKind: "oauth2",
		// Some people have their role on a Page through a business portfolio.
		// /me/accounts leaves out such Pages. With business_management the lists of
		// the portfolio have them, with their names
		// (https://github.com/getopenpost/openpost/issues/216 and
		// https://github.com/trypostit/trypost/pull/301, read 2026-11-25). The roles on
		// ads that Meta's reference lists for such people are for calls about
		// Instagram
		// (https://developers.facebook.com/documentation/instagram-platform/instagram-graph-api/reference/ig-user/media_publish,
		// read 2026-11-25).
		Scopes: []string{
			pageListScope, "pages_read_engagement", "pages_manage_posts",
			"instagram_basic", "instagram_content_publish", businessesScope,
		},
		Required: []string{pageListScope},
		// A consent replaces what the person granted to the app before: Meta has one
		// authorization of a person for an app
		// (https://developers.facebook.com/documentation/facebook-login/guides/permissions,
		// read 2026-11-25).
		UncoveredReason: reasonPageNotGranted,
		Issuers:         f.issuers(facebookIssuer),
		AppFields:       []connector.AppField{{Name: "config_id"}},
		Notices:         metaNotices(),
		// A Page token from a long-lived user token does not expire
		// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived,
		// read 2026-11-23). A new password or a lost role ends it.

		ClientFields: []string{"app_id"},

		Cadence: connector.Cadence{Model: connector.Permanent, CheckEvery: 7 * 24 * time.Hour},
		Guide:   f.guide(),
	}
}

// AuthorizeURL implements connector.Platform. With a config_id the app uses
// Facebook Login for Business, where the configuration names the permissions
// (https://developers.facebook.com/documentation/facebook-login/facebook-login-for-business,
// read 2026-11-23). Facebook has PKCE only in an OIDC variant that is still in
// testing
// (https://developers.facebook.com/documentation/facebook-login/guides/advanced/oidc-token,
// read 2026-11-23).
func (f *facebook) AuthorizeURL(app connector.App, a connector.Authorization) (string, error) {
	if app.ClientID == "" {
		return "", f.noApp()
	}
	config := oauth2.Config{
		ClientID:    app.ClientID,
		RedirectURL: a.RedirectURI,
		Endpoint:    oauth2.Endpoint{AuthURL: f.rewriteOrigin(facebookDialog)},
	}
	permissions := oauth2.SetAuthURLParam("scope", strings.Join(a.Scopes, ","))
	if id := app.Extras.Get("config_id"); id != "" {
		permissions = oauth2.SetAuthURLParam("config_id", id)
	}
	// Without rerequest the dialog does not offer a scope again that the person
	// declined before.
	return authorizeURL(config, a, permissions, oauth2.SetAuthURLParam("auth_type", "rerequest")), nil
}

// AuthorizationError implements connector.Platform. Facebook also ends
// the login with an error_code and no error: 901 for an app in development mode
// (https://github.com/jaredhanson/passport-oauth/issues/16 and
// https://github.com/omniauth/omniauth-oauth2/issues/39, read 2026-11-25), or with an
// error_reason alone (https://github.com/omniauth/omniauth/issues/58, read
// 2026-11-25). Code 200 is that of a person who denied the consent
// (https://github.com/stretchr/gomniauth/issues/16, read 2026-11-25), 1 and 2 are
// Graph's passing troubles. Assumed: every other code is about the app.
func (f *facebook) AuthorizationError(r connector.Refusal) *connector.Error {
	code := r["error_code"]
	switch {
	case r["error"] != "":
		return f.wire.AuthorizationError(r)
	case code == "1", code == "2":
		return f.wire.AuthorizationError(connector.Refusal{"error": "server_error"})
	case r["error_reason"] != "", code == "200":
		return f.consentDenied()
	case code != "":
		return f.appRefused("check that it is live, and its settings", nil)
	}
	return nil
}

// Redeem implements connector.Platform. A code yields a short-lived user token.
func (f *facebook) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	token, err := f.userToken(ctx, query(
		"client_id", app.ClientID,
		"client_secret", app.ClientSecret.Reveal(),
		"redirect_uri", a.RedirectURI,
		"code", code.Reveal(),
	))
	if err != nil {
		return connector.Credentials{}, err
	}
	return connector.Credentials{Fields: connector.Fields{userAccessToken: token}, IssuedAt: f.now().UTC()}, nil
}

// userAccessToken is the field of a user token, which no connection has.
const userAccessToken = "user_access_token"

// Extend implements connector.Platform. The short-lived user token is exchanged for a
// long-lived one, since a Page token expires with the user token that it was requested
// with.
func (f *facebook) Extend(ctx context.Context, app connector.App, redeemed connector.Credentials) (connector.Credentials, error) {
	c := client{id: app.ClientID, secret: app.ClientSecret}
	long, err := f.extend(ctx, c, redeemed.Fields[userAccessToken])
	switch {
	case err == nil:
	case app.Extras.Get("config_id") != "" && !connector.AsError(err).Code.TryLater():
		// A configuration may issue tokens of system users. They do not expire,
		// and cannot be extended.
		return redeemed, nil
	default:
		return connector.Credentials{}, err
	}
	redeemed.Fields = redeemed.Fields.Clone()
	redeemed.Fields[userAccessToken] = long
	return redeemed, nil
}

// Accounts implements connector.Platform. The first part inspects the user token, which
// names the Pages and Instagram accounts that the person selected. Each part reads one
// page of a list: the person's Pages, then their portfolios and the Pages of each. The
// last part has the selected Pages that no list has. Facebook keeps one authorization
// for a person and an app, which covers the Pages of the last consent alone.
func (f *facebook) Accounts(ctx context.Context, app connector.App, consent connector.Credentials, cursor string) (connector.AccountList, error) {
	c := client{id: app.ClientID, secret: app.ClientSecret}
	return f.accounts(ctx, c, consent.Fields[userAccessToken], connector.Fields{}, cursor)
}

// Account implements connector.Platform. It asks the Page for its token.
func (f *facebook) Account(ctx context.Context, app connector.App, consent connector.Credentials, g connector.Grant) (connector.Grant, error) {
	c := client{id: app.ClientID, secret: app.ClientSecret}
	return f.complete(ctx, c, consent.Fields[userAccessToken], g)
}

// extend exchanges a user token for a long-lived one
// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived,
// read 2026-11-23).
func (f *facebook) extend(ctx context.Context, c client, token connector.Secret) (connector.Secret, error) {
	return f.userToken(ctx, query(
		"grant_type", "fb_exchange_token",
		"client_id", c.id,
		"client_secret", c.secret.Reveal(),
		"fb_exchange_token", token.Reveal(),
	))
}

// userToken sends a request to the token endpoint. It uses POST, because the
// documented GET has the secret in the URL.
func (f *facebook) userToken(ctx context.Context, form url.Values) (connector.Secret, error) {
	t, err := f.token(ctx, call{url: facebookTokens, form: form}, f.apiError(true))
	return t.access, err
}

// ReadCredentials implements connector.FileReader. An access_token is that of the
// Page that the file names, as in a row of /me/accounts. Without a Page it is that of
// a person, as in the answer of the token endpoint.
func (f *facebook) ReadCredentials(fields connector.Fields) (connector.Fields, error) {
	read := facebookFile.read(fields)
	page := read.has("page_id") || read.has("page_access_token")
	if page {
		read.move("access_token", "page_access_token")
	} else {
		read.move("access_token", "user_access_token")
	}
	if id, ok := read.words["page_id"]; ok && !accountPattern.MatchString(id.value) {
		read.problems.add(id.name, "not the id of a Page")
	}
	if token, ok := read.words["user_access_token"]; ok {
		if page {
			read.problems.add(token.name, "a token of a person, beside a Page: send one of the two")
		}
		return read.credentials(facebookUserShape)
	}
	return read.credentials(facebookShape)
}

// ReadApp implements connector.FileReader.
func (f *facebook) ReadApp(fields map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	return facebookAppFile.readApp(fields)
}

// Import implements connector.Platform. It imports a Page token, or the Pages of a
// user token from the Graph API Explorer.
func (f *facebook) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	read, err := f.ReadCredentials(fields)
	if err != nil {
		return nil, err
	}
	if _, ok := read["user_access_token"]; ok {
		return f.importUser(ctx, app, read, verify)
	}
	parsed, err := facebookShape.parse(app, read)
	if err != nil {
		return nil, err
	}
	grant := connector.Grant{
		Account:     connector.Account{ID: parsed.Get("page_id")},
		Credentials: connector.Credentials{Fields: parsed, IssuedAt: f.now().UTC()},
	}
	if verify {
		if err := f.verifyImport(ctx, app, &grant); err != nil {
			return nil, err
		}
	}
	return []connector.Grant{grant}, nil
}

func (f *facebook) verifyImport(ctx context.Context, app connector.App, grant *connector.Grant) error {
	fields := grant.Credentials.Fields
	c := facebookShape.client(app, fields)
	found, err := f.me(ctx, c, fields["page_access_token"])
	if err != nil {
		return err
	}
	if found.ID != grant.Account.ID {
		return connector.Invalid("credentials.page_id", "the token is of another Page")
	}
	grant.Account = found
	grant.Credentials.VerifiedKey = f.AppKey(app, grant.Credentials) // by appsecret_proof

	p, err := f.instagramOf(ctx, c, fields, found.ID)
	switch given := fields.Get("ig_user_id"); {
	case err != nil && connector.AsError(err).Code.TryLater():
		return err
	case err != nil, p.instagram() == "": // no permission to read it, or no such account
		p.Instagram.ID = identifier(given)
	case given != "" && given != p.instagram():
		return connector.Invalid("credentials.ig_user_id", "not the Instagram account of this Page")
	}

	inspected, err := f.inspect(ctx, c, fields["page_access_token"])
	switch code := connector.AsError(err); {
	case err == nil:
		grant.UserID = inspected.userID
		grant.Credentials.Scopes = inspected.granted.scopesOf(p)
		grant.Credentials.ExpiresAt = inspected.ExpiresAt
		grant.Credentials.GrantExpiresAt = inspected.DataAccessUntil
		grant.Warning = cmp.Or(inspected.warning(), inspected.granted.warning(p))
	case code.Code.GrantDead():
		return err
	default:
		grant.Warning = "expiry_unknown: Facebook did not say when the Page token ends"
	}
	grant.Credentials.Fields = inspected.granted.applyTo(fields, p)
	return nil
}

// instagramOf reads the Instagram account of a Page with the Page token. Where the Page
// has none, or the token may not see it, the result has none.
func (f *facebook) instagramOf(ctx context.Context, c client, fields connector.Fields, pageID string) (page, error) {
	var p page
	err := f.get(ctx, c, fields["page_access_token"], url.PathEscape(pageID), query("fields", "instagram_business_account{id,username}"), &p)
	p.ID = identifier(pageID)
	return p, err
}

func (f *facebook) importUser(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	parsed, err := facebookUserShape.parse(app, fields)
	if err != nil {
		return nil, err
	}
	if !verify {
		return nil, connector.Invalid("verify", "must be true for a user access token, whose Pages are read from Facebook")
	}
	c := facebookUserShape.client(app, parsed)
	long, err := f.extend(ctx, c, parsed["user_access_token"])
	if err != nil {
		return nil, err
	}
	delete(parsed, "user_access_token")
	grants, err := f.allPages(ctx, c, long, parsed)
	for i := range grants {
		grants[i].Credentials.VerifiedKey = f.AppKey(app, grants[i].Credentials)
	}
	return grants, err
}

// allPages returns the grants of all Pages of a user token, each with its token.
func (f *facebook) allPages(ctx context.Context, c client, user connector.Secret, foreign connector.Fields) ([]connector.Grant, error) {
	grants, err := connector.ListAccounts(func(cursor string) (connector.AccountList, error) {
		return f.accounts(ctx, c, user, foreign, cursor)
	})
	if err != nil {
		return grants, err
	}
	complete := grants[:0]
	var refused error
	for _, g := range grants {
		if g.Incomplete {
			completed, err := f.complete(ctx, c, user, g)
			if errors.Is(err, connector.ScopeMissing) {
				refused = err
				continue
			}
			if err != nil {
				return nil, err
			}
			g = completed
		}
		complete = append(complete, g)
	}
	if len(complete) == 0 {
		return nil, refused
	}
	return complete, nil
}

// Refresh implements connector.Platform. A Page token cannot be refreshed. Refresh
// checks that it works and of which Page it is, and reads its expiry, its scopes and the
// Page's Instagram account again. That account may have been linked after the consent.
func (f *facebook) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if !c.ExpiresAt.IsZero() && !f.now().Before(c.ExpiresAt) {
		return connector.Credentials{}, f.grantDead("page_token_expired", nil)
	}
	checked, err := f.check(ctx, app, c)
	if err != nil {
		return connector.Credentials{}, err
	}
	c.AccountID, c.Fields, c.Scopes = checked.account.ID, checked.fields, checked.scopes
	if checked.token.known {
		c.ExpiresAt, c.GrantExpiresAt, c.UserID = checked.token.ExpiresAt, checked.token.DataAccessUntil, checked.token.userID
	}
	return c, nil
}

// Verify implements connector.Platform. The account of a Page token is the Page, and
// debug_token names the person
// (https://developers.facebook.com/docs/graph-api/reference/debug_token/, read
// 2026-11-25).
func (f *facebook) Verify(ctx context.Context, app connector.App, c connector.Credentials) (connector.Verification, error) {
	checked, err := f.check(ctx, app, c)
	if err != nil {
		return connector.Verification{}, err
	}
	return connector.Verification{
		Account: checked.account, UserID: checked.token.userID, Scopes: checked.scopes, Warning: checked.warning,
		Outdated: !checked.fields.Equal(c.Fields),
	}, nil
}

// pageCheck is what Facebook says about a Page token.
type pageCheck struct {
	account connector.Account
	token   inspection
	fields  connector.Fields
	scopes  []string
	warning string
}

// check asks Facebook about a Page token. Without an answer of debug_token the scopes
// are those of c.
func (f *facebook) check(ctx context.Context, app connector.App, c connector.Credentials) (pageCheck, error) {
	owner, token := facebookShape.client(app, c.Fields), c.Fields["page_access_token"]
	found, err := f.me(ctx, owner, token)
	if e := connector.AsError(err); e != nil && (e.Code != connector.ScopeMissing || e.Reason != "") {
		return pageCheck{}, err
	}
	inspected, inspectErr := f.inspect(ctx, owner, token)
	if err != nil {
		// A missing permission does not say of what. debug_token does.
		switch e := connector.AsError(inspectErr); {
		case e != nil && e.Code.GrantDead():
			return pageCheck{}, inspectErr
		case inspected.known && !inspected.granted.includes(c.Fields.Get("page_id")):
			gone := f.grantDead(reasonPageNotGranted, err)
			gone.Message = pageNotGranted
			return pageCheck{}, gone
		}
		return pageCheck{}, err
	}
	p, err := f.linkedInstagram(ctx, owner, c.Fields, found.ID)
	if err != nil {
		return pageCheck{}, err
	}
	p.Tasks = storedTasks(c.Fields)
	checked := pageCheck{account: found, token: inspected, scopes: c.Scopes}
	if inspected.known {
		checked.scopes = inspected.granted.scopesOf(p)
	}
	checked.fields = inspected.granted.applyTo(c.Fields, p)
	checked.warning = cmp.Or(inspected.warning(), inspected.granted.warning(p))
	return checked, nil
}

// linkedInstagram returns the Page with the Instagram account that it has now. An
// answer without the account may mean that the token may not see it. The account
// itself says then whether it is still linked. Where Facebook says nothing about it,
// the result has the account of fields.
func (f *facebook) linkedInstagram(ctx context.Context, c client, fields connector.Fields, pageID string) (page, error) {
	p, err := f.instagramOf(ctx, c, fields, pageID)
	stored := fields.Get("ig_user_id")
	if err == nil && (p.instagram() != "" || stored == "") {
		return p, nil
	}
	unlinked := false
	if err == nil {
		var account struct{}
		err = f.get(ctx, c, fields["page_access_token"], url.PathEscape(stored), query("fields", "id"), &account)
		unlinked = connector.AsError(err) != nil && connector.AsError(err).Reason == reasonNotVisible
	}
	if e := connector.AsError(err); e != nil && e.Code.TryLater() {
		return page{}, err
	}
	if !unlinked {
		p.Instagram.ID = identifier(stored)
	}
	return p, nil
}

// Revoke implements connector.Revoker. It revokes all permissions that the
// person granted to the app, so that the tokens of all their Pages end. Facebook has no
// smaller unit
// (https://developers.facebook.com/docs/graph-api/reference/user/permissions/,
// read 2026-11-23). Without the id of the person it does nothing.
func (f *facebook) Revoke(ctx context.Context, app connector.App, c connector.Credentials, userID string) error {
	if !accountPattern.MatchString(userID) {
		return nil
	}
	owner := facebookShape.client(app, c.Fields)
	_, err := f.call(ctx, http.MethodDelete, owner, owner.appToken(), url.PathEscape(userID)+"/permissions", nil)
	switch e := connector.AsError(err); {
	case err == nil, e.Code == connector.ScopeMissing, e.Reason == "app_removed":
		return nil // the grant has ended already
	case e.Code.GrantDead():
		return f.clientRefused("check its id and secret", e.Err)
	}
	return err
}

// Token implements connector.Platform.
func (f *facebook) Token(_ connector.App, c connector.Credentials) (connector.Secret, string, connector.Fields) {
	public := connector.Fields{}
	public.Set("page_id", c.Fields.Get("page_id"))
	public.Set("ig_user_id", c.Fields.Get("ig_user_id"))
	return c.Fields["page_access_token"], "Bearer", public
}

// TokenNeedsApp implements connector.Platform.
func (f *facebook) TokenNeedsApp(connector.Credentials) bool { return false }

// Full implements connector.Platform.
func (f *facebook) Full(app connector.App, c connector.Credentials) connector.Fields {
	return facebookShape.complete(app, c.Fields)
}

// AppKey implements connector.Platform.
func (f *facebook) AppKey(app connector.App, c connector.Credentials) string {
	return facebookShape.appKey(app, c.Fields)
}
