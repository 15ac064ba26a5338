package platform

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"platform-api-connector/shared/connector"
)

// graphVersion is the version of the Graph API, the latest since 2026-07-29
// (https://developers.facebook.com/docs/graph-api/changelog, read 2026-11-23).
const graphVersion = "v26.0"

const (
	facebookDialog  = "https://www.facebook.com/" + graphVersion + "/dialog/oauth"
	facebookGraph   = "https://graph.facebook.com/" + graphVersion + "/"
	facebookTokens  = facebookGraph + "oauth/access_token"
	facebookIssuer  = "https://www.facebook.com"
	pageFields      = "id,name,access_token,instagram_business_account{id,username}"
	graphPage       = 100 // rows of a list at a time
	maxGraphPages   = 50
	maxBusinesses   = 25
	pageListScope   = "pages_show_list"
	businessesScope = "business_management"

	// The longest lives that Facebook documents: of a user token, and so of a Page
	// token that ends
	// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived),
	// and of the access to a person's data
	// (https://developers.facebook.com/documentation/facebook-login/auth-vs-data;
	// both read 2026-11-25).
	facebookTokenLife  = 60 * 24 * time.Hour
	facebookDataAccess = 90 * 24 * time.Hour

	facebookDeauthorize = "deauthorize"
	facebookDeletion    = "data-deletion"
)

// facebook is Facebook Pages, and Instagram professional accounts through them.
// One consent yields all Pages that the person selected.
type facebook struct {
	wire
	guide func() connector.Guide
}

func newFacebook(o Options) *facebook {
	return &facebook{wire: newWire("Facebook", o), guide: guideOf("facebook")}
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
		// Without business_management /me/accounts returns an empty list for
		// them (https://github.com/getopenpost/openpost/issues/216, read
		// 2026-11-23).
		Scopes: []string{
			pageListScope, "pages_read_engagement", "pages_manage_posts",
			"instagram_basic", "instagram_content_publish", businessesScope,
		},
		Required:  []string{pageListScope},
		Issuers:   f.issuers(facebookIssuer),
		AppFields: []connector.AppField{{Name: "config_id"}},
		Notices:   []connector.NoticeKind{{Name: facebookDeauthorize}, {Name: facebookDeletion, Deletion: true}},
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
	if id := app.Extras.Get("config_id"); id != "" {
		return authorizeURL(config, a, oauth2.SetAuthURLParam("config_id", id)), nil
	}
	return authorizeURL(config, a,
		oauth2.SetAuthURLParam("scope", strings.Join(a.Scopes, ",")),
		// Without it the dialog does not offer a scope again that the person
		// declined before.
		oauth2.SetAuthURLParam("auth_type", "rerequest")), nil
}

// AuthorizationError implements connector.Platform.
func (f *facebook) AuthorizationError(r connector.Refusal) *connector.Error {
	return f.metaAuthorizationError(r)
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

// Grants implements connector.Platform. The short-lived user token is exchanged
// for a long-lived one, and that one for the Page tokens. A Page token expires
// with the user token that it was requested with.
func (f *facebook) Grants(ctx context.Context, app connector.App, redeemed connector.Credentials) ([]connector.Grant, error) {
	c := client{id: app.ClientID, secret: app.ClientSecret}
	short := redeemed.Fields[userAccessToken]
	long, err := f.extend(ctx, c, short)
	switch {
	case err == nil:
	case app.Extras.Get("config_id") != "" && !connector.AsError(err).Code.TryLater():
		// A configuration may issue tokens of system users. They do not expire,
		// and cannot be extended.
		long = short
	default:
		return []connector.Grant{{Credentials: redeemed}}, err
	}
	return f.grants(ctx, c, long, connector.Fields{})
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

// grants returns one grant for each Page of a user token. Beside an error it
// returns one that has the person alone. foreign holds the app of the token if
// it is not the configured one.
func (f *facebook) grants(ctx context.Context, c client, user connector.Secret, foreign connector.Fields) ([]connector.Grant, error) {
	person, err := f.me(ctx, c, user)
	if err != nil {
		return nil, err
	}
	consented := []connector.Grant{{UserID: person.ID, Credentials: connector.Credentials{Fields: foreign.Clone()}}}
	scopes, err := f.granted(ctx, c, user)
	if err != nil {
		return consented, err
	}
	if !slices.Contains(scopes, pageListScope) {
		return consented, f.scopeMissing([]string{pageListScope}, nil)
	}
	pages, err := f.pages(ctx, c, user, slices.Contains(scopes, businessesScope))
	if err != nil {
		return consented, err
	}
	if len(pages) == 0 {
		// Another consent corrects it, so that the code is that of a refused
		// consent.
		return consented, &connector.Error{
			Code:    connector.AccessDenied,
			Message: "the consent has no Facebook Page: connect again, select a Page, and allow every permission",
			Reason:  "no_page",
		}
	}
	// All Page tokens expire with the user token, so that one inspection is
	// enough. Without an answer the expiry is unknown.
	inspected, _ := f.inspect(ctx, c, pages[0].Token)
	var grants []connector.Grant
	for _, p := range pages {
		account, err := account(string(p.ID), p.Name)
		if err != nil {
			return nil, f.malformed(http.MethodGet, err.Error())
		}
		fields := foreign.Clone()
		fields.Set("page_id", account.ID)
		fields["page_access_token"] = p.Token
		fields.Set("ig_user_id", p.instagram())
		grants = append(grants, connector.Grant{
			Account: account,
			UserID:  person.ID,
			Credentials: connector.Credentials{
				Fields:         fields,
				Scopes:         scopes,
				IssuedAt:       f.now().UTC(),
				ExpiresAt:      inspected.expiresAt,
				GrantExpiresAt: inspected.dataAccessUntil,
			},
			Warning: inspected.warning(),
		})
	}
	return grants, nil
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

	var p page
	err = f.get(ctx, c, fields["page_access_token"], url.PathEscape(found.ID), query("fields", "instagram_business_account{id,username}"), &p)
	switch given := fields.Get("ig_user_id"); {
	case err != nil && connector.AsError(err).Code.TryLater():
		return err
	case err != nil, p.instagram() == "": // no permission to read it, or no such account
	case given != "" && given != p.instagram():
		return connector.Invalid("credentials.ig_user_id", "not the Instagram account of this Page")
	default:
		fields.Set("ig_user_id", p.instagram())
	}

	inspected, err := f.inspect(ctx, c, fields["page_access_token"])
	switch code := connector.AsError(err); {
	case err == nil:
		grant.UserID = inspected.userID
		grant.Credentials.Scopes = inspected.scopes
		grant.Credentials.ExpiresAt = inspected.expiresAt
		grant.Credentials.GrantExpiresAt = inspected.dataAccessUntil
		grant.Warning = inspected.warning()
	case code.Code.GrantDead():
		return err
	default:
		grant.Warning = "expiry_unknown: Facebook did not say when the Page token ends"
	}
	return nil
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
	grants, err := f.grants(ctx, c, long, parsed)
	for i := range grants {
		grants[i].Credentials.VerifiedKey = f.AppKey(app, grants[i].Credentials)
	}
	return grants, err
}

// Refresh implements connector.Platform. A Page token cannot be refreshed. Refresh
// checks that it works and of which Page it is, and reads its expiry again.
func (f *facebook) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if !c.ExpiresAt.IsZero() && !f.now().Before(c.ExpiresAt) {
		return connector.Credentials{}, f.grantDead("page_token_expired", nil)
	}
	found, inspected, err := f.check(ctx, app, c)
	if err != nil {
		return connector.Credentials{}, err
	}
	c.AccountID = found.ID
	if inspected.known {
		c.Scopes, c.ExpiresAt, c.GrantExpiresAt = inspected.scopes, inspected.expiresAt, inspected.dataAccessUntil
		c.UserID = inspected.userID
	}
	return c, nil
}

// Verify implements connector.Platform. The account of a Page token is the Page, and
// debug_token names the person
// (https://developers.facebook.com/docs/graph-api/reference/debug_token/, read
// 2026-11-25).
func (f *facebook) Verify(ctx context.Context, app connector.App, c connector.Credentials) (connector.Verification, error) {
	found, inspected, err := f.check(ctx, app, c)
	if err != nil {
		return connector.Verification{}, err
	}
	scopes := c.Scopes
	if inspected.known {
		scopes = inspected.scopes
	}
	return connector.Verification{Account: found, UserID: inspected.userID, Scopes: scopes, Warning: inspected.warning()}, nil
}

// check returns the account of the Page token, and the inspection of the token
// where Facebook answers it.
func (f *facebook) check(ctx context.Context, app connector.App, c connector.Credentials) (connector.Account, inspection, error) {
	owner := facebookShape.client(app, c.Fields)
	token := c.Fields["page_access_token"]
	found, err := f.me(ctx, owner, token)
	if err != nil {
		return connector.Account{}, inspection{}, err
	}
	inspected, _ := f.inspect(ctx, owner, token)
	return found, inspected, nil
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
