package platform

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	mostGraphPages  = 50 // of 100 rows each
	mostBusinesses  = 25
	pageListScope   = "pages_show_list"
	businessesScope = "business_management"
)

// facebook is Facebook Pages, and Instagram professional accounts through
// them. One consent yields every Page that the person ticked.
type facebook struct{ wire }

func newFacebook(o Options) *facebook { return &facebook{newWire("Facebook", o)} }

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
		// business_management is for people whose role on a Page comes through
		// a business portfolio: without it /me/accounts answers 200 with an
		// empty list (https://github.com/getopenpost/openpost/issues/216, read
		// 2026-11-23).
		Scopes: []string{
			pageListScope, "pages_read_engagement", "pages_manage_posts",
			"instagram_basic", "instagram_content_publish", businessesScope,
		},
		Required:  []string{pageListScope},
		Issuers:   f.issuers(facebookIssuer),
		AppFields: []connector.AppField{{Name: "config_id"}},
		Traits: connector.Traits{
			SeveralAccounts: true,
			// PKCE is only in an OIDC variant that is still in testing
			// (https://developers.facebook.com/documentation/facebook-login/guides/advanced/oidc-token,
			// read 2026-11-23).
			ScopeSeparator: ",",
			// A Page token from a long-lived user token has no end
			// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/get-long-lived,
			// read 2026-11-23); it dies with a password change or a lost role.
			Cadence: connector.Cadence{Model: connector.Permanent, CheckEvery: 7 * 24 * time.Hour},
		},
		Guide: guide("facebook"),
	}
}

// AuthorizeURL implements connector.Platform. With a config_id the app uses
// Facebook Login for Business, where the configuration names the permissions
// (https://developers.facebook.com/documentation/facebook-login/facebook-login-for-business,
// read 2026-11-23).
func (f *facebook) AuthorizeURL(app connector.App, a connector.Authorization) (string, error) {
	if app.ClientID == "" {
		return "", f.noApp()
	}
	config := oauth2.Config{
		ClientID:    app.ClientID,
		RedirectURL: a.RedirectURI,
		Endpoint:    oauth2.Endpoint{AuthURL: f.at(facebookDialog)},
	}
	if id := app.Extras.Get("config_id"); id != "" {
		return authorizeURL(config, a, oauth2.SetAuthURLParam("config_id", id)), nil
	}
	return authorizeURL(config, a,
		oauth2.SetAuthURLParam("scope", strings.Join(a.Scopes, ",")),
		// Without it the dialog never again offers what was once declined.
		oauth2.SetAuthURLParam("auth_type", "rerequest")), nil
}

// Exchange implements connector.Platform: code, short-lived user token,
// long-lived user token, Pages. A Page token lives as long as the user token
// that it came from, so extending comes first.
func (f *facebook) Exchange(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) ([]connector.Grant, error) {
	c := client{id: app.ClientID, secret: app.ClientSecret}
	short, err := f.userToken(ctx, query(
		"client_id", c.id,
		"client_secret", c.secret.Reveal(),
		"redirect_uri", a.RedirectURI,
		"code", code.Reveal(),
	))
	if err != nil {
		return nil, err
	}
	long, err := f.extend(ctx, c, short)
	switch {
	case err == nil:
	case app.Extras.Get("config_id") != "" && !connector.AsError(err).Code.TryLater():
		// A configuration may issue tokens of system users, which cannot be
		// extended and need not be.
		long = short
	default:
		return nil, err
	}
	return f.grants(ctx, c, long, connector.Fields{})
}

// extend makes a user token long-lived
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

// userToken asks the token endpoint, by POST: the documented GET has the
// secret in the URL.
func (f *facebook) userToken(ctx context.Context, form url.Values) (connector.Secret, error) {
	t, err := f.token(ctx, call{url: facebookTokens, form: form}, f.refused(true))
	return t.access, err
}

// grants returns one grant for each Page behind a user token. foreign holds
// the app of the token where it is not the configured one.
func (f *facebook) grants(ctx context.Context, c client, user connector.Secret, foreign connector.Fields) ([]connector.Grant, error) {
	person, err := f.me(ctx, c, user)
	if err != nil {
		return nil, err
	}
	scopes, err := f.permissions(ctx, c, user)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(scopes, pageListScope) {
		return nil, f.scopeMissing([]string{pageListScope}, nil)
	}
	pages, err := f.pages(ctx, c, user, slices.Contains(scopes, businessesScope))
	if err != nil {
		return nil, err
	}
	if len(pages) == 0 {
		// What mends it is another consent, so it is told as a refused one.
		return nil, &connector.Error{
			Code:    connector.AccessDenied,
			Message: "no Facebook Page came with the consent: connect again, choose a Page, and allow everything",
			Reason:  "no_page",
		}
	}
	// All these tokens share the fate of the user token, so one tells of all.
	seen, err := f.inspect(ctx, c, pages[0].Token)
	if err != nil {
		seen = inspection{}
	}
	var grants []connector.Grant
	for _, p := range pages {
		account, err := account(string(p.ID), p.Name)
		if err != nil {
			return nil, f.garbled(http.MethodGet, err.Error())
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
				ExpiresAt:      seen.expiresAt,
				GrantExpiresAt: seen.dataAccessUntil,
			},
			Warning: seen.warning(),
		})
	}
	return grants, nil
}

// permissions returns what the person granted
// (https://developers.facebook.com/docs/graph-api/reference/user/permissions/,
// read 2026-11-23).
func (f *facebook) permissions(ctx context.Context, c client, user connector.Secret) ([]string, error) {
	var answer struct {
		Data []struct{ Permission, Status string }
	}
	if err := f.get(ctx, c, user, "me/permissions", nil, &answer); err != nil {
		return nil, err
	}
	granted := []string{}
	for _, p := range answer.Data {
		if p.Status == "granted" && scopePattern.MatchString(p.Permission) {
			granted = append(granted, p.Permission)
		}
	}
	return granted, nil
}

// page is a row of a list of Pages.
type page struct {
	ID        identifier       `json:"id"`
	Name      string           `json:"name"`
	Token     connector.Secret `json:"access_token"`
	Instagram struct {
		ID identifier `json:"id"`
	} `json:"instagram_business_account"`
}

// instagram returns the id of the Page's Instagram account, empty where it has
// none.
func (p page) instagram() string {
	if !accountPattern.MatchString(string(p.Instagram.ID)) {
		return ""
	}
	return string(p.Instagram.ID)
}

// pages returns the Pages behind a user token, with their tokens. Those that
// came through a business portfolio stand in its lists alone, at times without
// a token, which the Page itself then gives
// (https://github.com/trypostit/trypost/pull/301, read 2026-11-23). What goes
// wrong there loses no Page of the ordinary list.
func (f *facebook) pages(ctx context.Context, c client, user connector.Secret, businesses bool) ([]page, error) {
	rows, err := f.list(ctx, c, user, "me/accounts")
	if err != nil {
		return nil, err
	}
	if businesses {
		rows = append(rows, f.businessPages(ctx, c, user)...)
	}
	var pages []page
	at := map[identifier]int{}
	for _, row := range rows {
		if i, known := at[row.ID]; !known {
			at[row.ID] = len(pages)
			pages = append(pages, row)
		} else if pages[i].Token.Empty() {
			pages[i] = row
		}
	}
	for i, p := range pages {
		if !p.Token.Empty() || !accountPattern.MatchString(string(p.ID)) {
			continue
		}
		var whole page
		err := f.get(ctx, c, user, url.PathEscape(string(p.ID)), query("fields", pageFields), &whole)
		if err == nil && whole.ID == p.ID {
			pages[i] = whole
		}
	}
	return slices.DeleteFunc(pages, func(p page) bool {
		return p.Token.Empty() || !credible(p.Token.Reveal())
	}), nil
}

func (f *facebook) businessPages(ctx context.Context, c client, user connector.Secret) []page {
	businesses, err := f.list(ctx, c, user, "me/businesses")
	if err != nil {
		return nil
	}
	var rows []page
	for _, business := range businesses[:min(len(businesses), mostBusinesses)] {
		if !accountPattern.MatchString(string(business.ID)) {
			continue
		}
		for _, edge := range []string{"/owned_pages", "/client_pages"} {
			more, err := f.list(ctx, c, user, url.PathEscape(string(business.ID))+edge)
			if err == nil {
				rows = append(rows, more...)
			}
		}
	}
	return rows
}

// list reads an edge to its end. paging.next is a whole URL with the token in
// it; only its cursor is taken, so that no answer decides where the token goes
// (https://developers.facebook.com/docs/graph-api/results, read 2026-11-23).
func (f *facebook) list(ctx context.Context, c client, user connector.Secret, path string) ([]page, error) {
	fields := pageFields
	if path == "me/businesses" {
		fields = "id,name"
	}
	next := query("fields", fields, "limit", "100")
	var rows []page
	for range mostGraphPages {
		var answer struct {
			Data   []page
			Paging struct {
				Next    string
				Cursors struct{ After string }
			}
		}
		if err := f.get(ctx, c, user, path, next, &answer); err != nil {
			return nil, err
		}
		rows = append(rows, answer.Data...)
		if answer.Paging.Next == "" {
			return rows, nil
		}
		after := query("fields", fields, "limit", "100")
		if cursor := answer.Paging.Cursors.After; cursor != "" {
			after.Set("after", cursor)
		} else if u, err := url.Parse(answer.Paging.Next); err == nil {
			for _, name := range []string{"after", "offset", "__paging_token", "until"} {
				if value := u.Query().Get(name); value != "" {
					after.Set(name, value)
				}
			}
		}
		if after.Encode() == next.Encode() {
			break
		}
		next = after
	}
	return nil, f.garbled(http.MethodGet, "a list without end")
}

// inspection is what Facebook tells of a token.
type inspection struct {
	known           bool
	userID          string
	scopes          []string
	expiresAt       time.Time // zero: never
	dataAccessUntil time.Time
}

// warning names what is wrong with a Page token that should have no end.
func (i inspection) warning() string {
	if i.expiresAt.IsZero() {
		return ""
	}
	return "page_token_expires: the Page token ends on " + i.expiresAt.Format(time.DateOnly) +
		"; connect through a link to get one that does not"
}

// inspect asks what a token is good for
// (https://developers.facebook.com/docs/graph-api/reference/debug_token/, read
// 2026-11-23). The token asked about has no other place than the query; what
// authorizes the question travels in the header.
func (f *facebook) inspect(ctx context.Context, c client, token connector.Secret) (inspection, error) {
	var answer struct {
		Data struct {
			IsValid *bool           `json:"is_valid"`
			UserID  identifier      `json:"user_id"`
			Scopes  []string        `json:"scopes"`
			Expires json.RawMessage `json:"expires_at"`
			Data    json.RawMessage `json:"data_access_expires_at"`
		}
	}
	err := f.get(ctx, c, c.appToken(), "debug_token", query("input_token", token.Reveal()), &answer)
	if err != nil {
		return inspection{}, err
	}
	if answer.Data.IsValid == nil {
		return inspection{}, f.garbled(http.MethodGet, "debug_token without is_valid")
	}
	if !*answer.Data.IsValid {
		return inspection{}, f.grantDead("", nil)
	}
	return inspection{
		known:           true,
		userID:          string(answer.Data.UserID),
		scopes:          splitScopes(strings.Join(answer.Data.Scopes, ",")),
		expiresAt:       unix(answer.Data.Expires),
		dataAccessUntil: unix(answer.Data.Data),
	}, nil
}

// appToken is the app's own access token
// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens#apptokens,
// read 2026-11-23).
func (c client) appToken() connector.Secret {
	return connector.NewSecret(c.id + "|" + c.secret.Reveal())
}

// Import implements connector.Platform. It takes a finished Page token, or a
// user token from the Graph API Explorer.
func (f *facebook) Import(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	if _, ok := fields["user_access_token"]; ok {
		return f.importUser(ctx, app, fields, verify)
	}
	taken, err := facebookShape.take(app, fields)
	if err != nil {
		return nil, err
	}
	if !accountPattern.MatchString(taken.Get("page_id")) {
		return nil, connector.Invalid("credentials.page_id", "not the id of a Page")
	}
	grant := connector.Grant{
		Account:     connector.Account{ID: taken.Get("page_id")},
		Credentials: connector.Credentials{Fields: taken, IssuedAt: f.now().UTC()},
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

	var p page
	err = f.get(ctx, c, fields["page_access_token"], url.PathEscape(found.ID), query("fields", "instagram_business_account{id,username}"), &p)
	switch given := fields.Get("ig_user_id"); {
	case err != nil && connector.AsError(err).Code.TryLater():
		return err
	case err != nil, p.instagram() == "": // no permission to see it, or none there
	case given != "" && given != p.instagram():
		return connector.Invalid("credentials.ig_user_id", "not the Instagram account of this Page")
	default:
		fields.Set("ig_user_id", p.instagram())
	}

	seen, err := f.inspect(ctx, c, fields["page_access_token"])
	switch code := connector.AsError(err); {
	case err == nil:
		grant.UserID = seen.userID
		grant.Credentials.Scopes = seen.scopes
		grant.Credentials.ExpiresAt = seen.expiresAt
		grant.Credentials.GrantExpiresAt = seen.dataAccessUntil
		grant.Warning = seen.warning()
	case code.Code.GrantDead():
		return err
	default:
		grant.Warning = "expiry_unknown: Facebook did not say when the Page token ends"
	}
	return nil
}

func (f *facebook) importUser(ctx context.Context, app connector.App, fields connector.Fields, verify bool) ([]connector.Grant, error) {
	taken, err := facebookUserShape.take(app, fields)
	if err != nil {
		return nil, err
	}
	if !verify {
		return nil, connector.Invalid("verify", "a user access token has to be verified: its Pages are asked for")
	}
	c := facebookUserShape.client(app, taken)
	long, err := f.extend(ctx, c, taken["user_access_token"])
	if err != nil {
		return nil, err
	}
	delete(taken, "user_access_token")
	return f.grants(ctx, c, long, taken)
}

// Refresh implements connector.Platform. There is nothing to renew: it checks
// that the Page token still works, and looks up its end anew.
func (f *facebook) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	if !c.ExpiresAt.IsZero() && !f.now().Before(c.ExpiresAt) {
		return connector.Credentials{}, f.grantDead("page_token_expired", nil)
	}
	_, seen, err := f.check(ctx, app, c)
	if err != nil {
		return connector.Credentials{}, err
	}
	if seen.known {
		c.Scopes, c.ExpiresAt, c.GrantExpiresAt = seen.scopes, seen.expiresAt, seen.dataAccessUntil
	}
	return c, nil
}

// Verify implements connector.Platform.
func (f *facebook) Verify(ctx context.Context, app connector.App, c connector.Credentials) (connector.Verification, error) {
	found, seen, err := f.check(ctx, app, c)
	if err != nil {
		return connector.Verification{}, err
	}
	scopes := c.Scopes
	if seen.known {
		scopes = seen.scopes
	}
	return connector.Verification{Account: found, Scopes: scopes, CheckedAt: f.now().UTC(), Warning: seen.warning()}, nil
}

// check asks whose the Page token is and, where Facebook tells, what it is
// good for.
func (f *facebook) check(ctx context.Context, app connector.App, c connector.Credentials) (connector.Account, inspection, error) {
	of := facebookShape.client(app, c.Fields)
	token := c.Fields["page_access_token"]
	found, err := f.me(ctx, of, token)
	if err != nil {
		return connector.Account{}, inspection{}, err
	}
	seen, err := f.inspect(ctx, of, token)
	if err != nil {
		seen = inspection{}
	}
	return found, seen, nil
}

// me returns whose a token is.
func (f *facebook) me(ctx context.Context, c client, token connector.Secret) (connector.Account, error) {
	var me struct {
		ID   identifier `json:"id"`
		Name string     `json:"name"`
	}
	if err := f.get(ctx, c, token, "me", query("fields", "id,name"), &me); err != nil {
		return connector.Account{}, err
	}
	found, err := account(string(me.ID), me.Name)
	if err != nil {
		return connector.Account{}, f.garbled(http.MethodGet, err.Error())
	}
	return found, nil
}

// Revoke implements connector.Revoker. Facebook knows no smaller unit than
// everything that the person granted the app: the tokens of all their Pages
// end (https://developers.facebook.com/docs/graph-api/reference/user/permissions/,
// read 2026-11-23). Without the person's id nothing is done.
func (f *facebook) Revoke(ctx context.Context, app connector.App, c connector.Credentials, userID string) error {
	if !accountPattern.MatchString(userID) {
		return nil
	}
	of := facebookShape.client(app, c.Fields)
	_, err := f.call(ctx, http.MethodDelete, of, of.appToken(), url.PathEscape(userID)+"/permissions", nil)
	switch e := connector.AsError(err); {
	case err == nil, e.Code == connector.ScopeMissing, e.Reason == "app_removed":
		return nil // there is nothing left to revoke
	case e.Code.GrantDead():
		return f.appRefused("check its id and secret", e.Err)
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

// Full implements connector.Platform.
func (f *facebook) Full(app connector.App, c connector.Credentials) connector.Fields {
	return facebookShape.full(app, c.Fields)
}

// get reads a node or edge of the graph into v.
func (f *facebook) get(ctx context.Context, c client, token connector.Secret, path string, q url.Values, v any) error {
	r, err := f.call(ctx, http.MethodGet, c, token, path, q)
	if err != nil {
		return err
	}
	if err := decode(r.body, v); err != nil {
		return f.garbled(http.MethodGet, err.Error())
	}
	return nil
}

// call makes one call to the graph, with the proof that the token is used by
// its app, which an app can make mandatory. The proof counts in the query
// alone (https://developers.facebook.com/docs/graph-api/guides/secure-requests,
// read 2026-11-23).
func (f *facebook) call(ctx context.Context, method string, c client, token connector.Secret, path string, q url.Values) (reply, error) {
	with := url.Values{}
	for name, values := range q {
		with[name] = values
	}
	if !c.secret.Empty() {
		with.Set("appsecret_proof", appSecretProof(c.secret, token))
	}
	return f.do(ctx, call{method: method, url: facebookGraph + path, query: with, bearer: token}, f.refused(false))
}

func appSecretProof(secret, token connector.Secret) string {
	return hex.EncodeToString(signature(secret, []byte(token.Reveal())))
}

// signature returns the HMAC-SHA256 of message.
func signature(key connector.Secret, message []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write(message)
	return mac.Sum(nil)
}

// graphError is an error of the Graph API; its message is the platform's and
// stays behind.
type graphError struct{ code, subcode, status int }

func (e graphError) Error() string {
	return fmt.Sprintf("Graph error %d/%d, HTTP status %d", e.code, e.subcode, e.status)
}

// refused reads an error of the Graph API
// (https://developers.facebook.com/docs/graph-api/guides/error-handling, read
// 2026-11-23).
func (f *facebook) refused(tokenEndpoint bool) refuse {
	return func(r reply) *connector.Error {
		var body struct {
			Error json.RawMessage `json:"error"`
		}
		if decode(r.body, &body) != nil || !says(body.Error) {
			return nil
		}
		var e struct {
			Message     string          `json:"message"`
			Code        json.RawMessage `json:"code"`
			Subcode     json.RawMessage `json:"error_subcode"`
			IsTransient bool            `json:"is_transient"`
		}
		if json.Unmarshal(body.Error, &e) != nil {
			return f.unavailable("refused the request in a way that we do not know", statusError(r.status))
		}
		known := graphError{code: whole(e.Code), subcode: whole(e.Subcode), status: r.status}
		switch {
		case tokenEndpoint && strings.Contains(strings.ToLower(e.Message), "validating client secret"):
			// Code 1 elsewhere means an outage; on Instagram's host the same
			// text has code 100.
			return f.appRefused("check its secret", known)
		case strings.Contains(e.Message, "appsecret_proof"):
			return f.appRefused("the token is of another app, or the app secret is wrong", known)
		case e.IsTransient:
			return f.unavailable("has a passing trouble", known)
		}
		return f.graphError(known, r.header)
	}
}

// whole reads an integer, zero where there is none.
func whole(raw json.RawMessage) int {
	var n int
	json.Unmarshal([]byte(text(raw)), &n)
	return n
}

// deadSessions are the subcodes that say that a token is dead, with a word
// for those that a person should know apart
// (https://developers.facebook.com/docs/facebook-login/guides/access-tokens/debugging,
// read 2026-11-23).
var deadSessions = map[int]string{
	456: "", 457: "",
	458: "app_removed", 459: "checkpoint", 460: "password_changed",
	461: "", 462: "", 463: "expired", 464: "user_not_confirmed", 465: "", 466: "",
	467: "logged_out", 468: "", 493: "data_access_expired",
}

// graphError says what an error of the Graph API means.
func (f *facebook) graphError(e graphError, header http.Header) *connector.Error {
	if reason, dead := deadSessions[cmp.Or(e.subcode, e.code)]; dead {
		gone := f.grantDead(reason, e)
		if reason == "checkpoint" {
			gone.Message = "Facebook wants the person to log in on facebook.com first, then to connect again"
		}
		return gone
	}
	switch e.subcode {
	case 492:
		missing := f.scopeMissing(nil, e)
		missing.Reason, missing.Message = "role_lost", "the person has no role on this Page any more; someone who has must connect it"
		return missing
	case 36007, 36009:
		return f.codeRefused(e)
	case 36008:
		return f.appRefused("the redirect URI is not the one that the app lists", e)
	case 33:
		missing := f.scopeMissing(nil, e)
		missing.Reason = "not_visible"
		return missing
	case 1404078:
		return f.grantDead("page_publishing_authorization", e)
	case 4854002:
		return f.atPlatform("identity_confirmation", "Facebook wants the person to confirm their identity in its app", e)
	}
	switch code := e.code; {
	case code == 190, code == 102:
		return f.grantDead("", e)
	case code == 3, code == 10, code >= 200 && code <= 299:
		return f.scopeMissing(nil, e)
	case code == 101, code == 191:
		return f.appRefused("check its id and redirect URI", e)
	case code == 1, code == 2:
		return f.unavailable("has a passing trouble", e)
	case code == 4, code == 17, code == 32, code == 341, code == 613, code >= 80000 && code <= 80014:
		return &connector.Error{
			Code:       connector.RateLimited,
			Message:    "Facebook asks us to slow down",
			RetryAfter: regainAccess(header),
			Err:        e,
		}
	case code == 368:
		return f.atPlatform("blocked_for_policy", "Facebook has blocked this for a while for breaking its rules", e)
	case code == 1404078:
		return f.grantDead("page_publishing_authorization", e)
	case code == 4854002:
		return f.atPlatform("identity_confirmation", "Facebook wants the person to confirm their identity in its app", e)
	}
	return f.unavailable("refused the request in a way that we do not know", e)
}

// atPlatform is trouble that neither a retry nor another consent mends, but
// the person, on the platform. It passes as soon as they do, so it is tried
// again.
func (f *facebook) atPlatform(reason, message string, cause error) *connector.Error {
	return &connector.Error{Code: connector.PlatformUnavailable, Message: message, Reason: reason, Err: cause}
}

// regainAccess returns how long the throttle lasts, in minutes in
// X-Business-Use-Case-Usage
// (https://developers.facebook.com/docs/graph-api/overview/rate-limiting, read
// 2026-11-23).
func regainAccess(header http.Header) time.Duration {
	var usage map[string][]struct {
		Minutes json.RawMessage `json:"estimated_time_to_regain_access"`
	}
	if json.Unmarshal([]byte(header.Get("X-Business-Use-Case-Usage")), &usage) != nil {
		return 0
	}
	var longest time.Duration
	for _, rows := range usage {
		for _, row := range rows {
			longest = max(longest, seconds(row.Minutes)*60)
		}
	}
	return min(longest, longestRetryAfter)
}

// ReadNotice implements connector.Noticer for "deauthorize" and
// "data-deletion"
// (https://developers.facebook.com/docs/development/create-an-app/app-dashboard/data-deletion-callback,
// read 2026-11-23).
func (f *facebook) ReadNotice(app connector.App, kind string, raw connector.RawNotice) (connector.Notice, error) {
	if kind != "deauthorize" && kind != "data-deletion" {
		return connector.Notice{}, connector.Invalid("notice", "neither deauthorize nor data-deletion")
	}
	if app.ClientSecret.Empty() {
		return connector.Notice{}, f.noApp()
	}
	form, err := url.ParseQuery(string(raw.Body))
	if err != nil || len(form["signed_request"]) != 1 {
		return connector.Notice{}, connector.Invalid("signed_request", "missing")
	}
	userID, at, err := readSignedRequest(app.ClientSecret, form.Get("signed_request"))
	if err != nil {
		return connector.Notice{}, f.notSigned(err)
	}
	if kind == "deauthorize" {
		return connector.Notice{UserID: userID, Revoked: true, Reason: "deauthorized", At: at}, nil
	}
	return connector.Notice{UserID: userID, Delete: true, Reason: "data_deletion", At: at}, nil
}

// readSignedRequest verifies Meta's own envelope, base64url(signature) "."
// base64url(JSON), and returns whom it is about. The signature is over the
// second part as it was sent.
func readSignedRequest(secret connector.Secret, signed string) (userID string, at time.Time, err error) {
	encoded, payload, ok := strings.Cut(signed, ".")
	if !ok {
		return "", time.Time{}, errors.New("no dot")
	}
	given, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	if err != nil || !hmac.Equal(given, signature(secret, []byte(payload))) {
		return "", time.Time{}, errors.New("signature does not match")
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return "", time.Time{}, errors.New("payload is not base64url")
	}
	var body struct {
		Algorithm string          `json:"algorithm"`
		UserID    identifier      `json:"user_id"`
		IssuedAt  json.RawMessage `json:"issued_at"`
	}
	if err := decode(b, &body); err != nil {
		return "", time.Time{}, err
	}
	switch {
	case body.Algorithm != "HMAC-SHA256":
		return "", time.Time{}, errors.New("another algorithm")
	case !accountPattern.MatchString(string(body.UserID)):
		return "", time.Time{}, errors.New("no user id")
	}
	return string(body.UserID), unix(body.IssuedAt), nil
}
